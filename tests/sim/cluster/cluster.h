/* SPDX-License-Identifier: Apache-2.0
 * Machines and the processes on them. A machine has a disk, clocks and an address, and outlives its
 * processes; a process is one run of a member: production kv code over a sim_io. The process's loop is the
 * `turn` event: whatever happens to the process asks for a turn a little later, and the turn is kv_turn.
 *
 * A killed process goes on existing, with an io that does nothing, until its objects are closed and its jobs
 * are back (cluster_reap). */
#ifndef TESTS_SIM_CLUSTER_CLUSTER_H
#define TESTS_SIM_CLUSTER_CLUSTER_H

#include "consensus/kv.h"
#include "tests/sim/cluster/world.h"

struct port;
struct raft;

struct boot;

enum process_state {
    PROCESS_BOOTING, /* finds out who it is (consensus/node/boot.h) */
    PROCESS_RUNNING,
    PROCESS_CLOSING, /* was told to stop, or was killed */
    PROCESS_CLOSED,  /* everything is given back but its io */
};

struct process {
    struct machine *machine;
    uint64_t serial; /* never used twice */
    enum process_state state;
    struct io *io;
    struct boot *boot; /* while BOOTING */
    struct kv *kv;     /* while RUNNING, and till it has closed */
    struct raft *raft; /* inside kv, for looking; NULL when it is gone */
    struct port *port;
    struct sim_event turn;
    bool has_turn, is_ready, was_killed;
    bool is_terminating, hands_over; /* it was told to end, and hands the lead to another first */
    struct link link;                /* among those that ended */
};

struct machine {
    struct world *world;
    unsigned slot;
    char name[8], url[32], client_url[32], dir[16];
    struct sim_disk *disk;
    struct process *process; /* NULL: none runs */
    uint64_t random;
    int32_t rate_ppm;
    uint64_t mono_offset_ns;
    int64_t wall_offset_ns;
    uint64_t job_max_us;          /* as its disk is now */
    uint64_t member_id;           /* of the member that lives here; 0 = none yet */
    bool is_member;               /* it should run */
    bool is_added;                /* it was added to a cluster that was there */
    bool was_wiped;               /* it may be refused as it is */
    bool is_refused;              /* it was */
    bool is_flipped;              /* a bit of its log has turned */
    bool is_suspect;              /* a sync has failed: what the page cache shows need not be on the disk */
    uint64_t refused_id;          /* the seat that it cannot have; UINT64_MAX = to be found out */
    unsigned flags[MACHINES_MAX]; /* slots in its --initial-cluster */
    unsigned flag_count;
    struct kv_member_option boot_members[MACHINES_MAX]; /* the same, for boot, which borrows them */
    const char *boot_urls[1];
    bool is_lost;      /* it will never start again as this member */
    bool has_bad_disk; /* a fault was planted: a start may be refused */
    uint64_t starts;
    unsigned level;     /* the feature level of its build; 0 = what this one has */
    bool is_older;      /* it was started with an older build than before: it may be refused, or stop */
    bool is_next_older; /* that is what starts next */
};

/* The process that runs now: hooks that are called from inside production code belong to it. */
extern struct process *cluster_running;

void cluster_init(struct world *w);
void cluster_done(struct world *w); /* everything ends; looks for what was left behind */
struct machine *cluster_add_machine(struct world *w);
/* A run of its member: it boots, then it runs; or it is refused and ends. */
void cluster_start(struct machine *m);
void cluster_kill(struct machine *m, bool is_power_cut);
void cluster_stop(struct machine *m);             /* orderly, at once */
void cluster_terminate(struct machine *m);        /* orderly: the lead is handed over first */
bool cluster_is_closing(const struct machine *m); /* it was told to stop and has not ended */
void cluster_wipe(struct machine *m);             /* a new disk; no process runs */
void cluster_reap(struct world *w);

void process_touch(struct process *p);          /* something has happened: a turn is due */
bool process_is_up(const struct process *p);    /* it has a kv that serves */
bool process_is_alive(const struct process *p); /* that, or it boots */
/* The process's own present, for an event that finds it standing still: 0, or when to come again. */
uint64_t process_paused_until(const struct process *p);
struct process *cluster_find(struct world *w, unsigned slot, uint64_t serial); /* NULL: that run is over */
struct machine *cluster_machine_of(struct world *w, uint64_t member_id);       /* NULL: nobody has that id */
void cluster_print(struct world *w);                                           /* how every member is now */
struct machine *cluster_leader(struct world *w); /* of the highest term; NULL = none knows one */

#endif
