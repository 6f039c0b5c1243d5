/* SPDX-License-Identifier: Apache-2.0
 * Machines and the processes on them. A machine has a disk, clocks and an address, and outlives its
 * processes. A process is one run of a member: production kv code over a sim_io. The process's loop is the
 * `turn` event: each event of the process schedules a turn a little later, and the turn is kv_turn.
 *
 * A killed process continues to exist, with an io that does nothing, until its objects are closed and its
 * jobs have ended (cluster_reap). */
#ifndef TESTS_SIM_CLUSTER_CLUSTER_H
#define TESTS_SIM_CLUSTER_CLUSTER_H

#include "consensus/kv.h"
#include "tests/sim/cluster/world.h"

struct port;
struct raft;

struct boot;

enum process_state {
    PROCESS_BOOTING, /* finds out its identity (consensus/node/boot.h) */
    PROCESS_RUNNING,
    PROCESS_CLOSING, /* was told to stop, or was killed */
    PROCESS_CLOSED,  /* everything is freed except its io */
};

struct process {
    struct machine *machine;
    uint64_t serial; /* never used twice */
    enum process_state state;
    struct io *io;
    struct boot *boot; /* while BOOTING */
    struct kv *kv;     /* while RUNNING, and until it has closed */
    struct raft *raft; /* inside kv, for inspection; NULL when it is closed */
    struct port *port;
    struct sim_event turn;
    bool has_turn, is_ready, was_killed;
    bool is_terminating, hands_over; /* it was told to end, and transfers leadership first */
    struct link link;                /* in the list of ended processes */
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
    uint64_t member_id;           /* of the member on this machine; 0 = none yet */
    bool is_member;               /* it should run */
    bool is_added;                /* it was added to an existing cluster */
    bool was_wiped;               /* its start may be refused */
    bool is_refused;              /* its start was refused */
    bool is_flipped;              /* a bit of its log has turned */
    bool is_suspect;              /* a sync has failed: what the page cache shows need not be on the disk */
    uint64_t refused_id;          /* the seat that it cannot have; UINT64_MAX = not known yet */
    unsigned flags[MACHINES_MAX]; /* slots in its --initial-cluster */
    unsigned flag_count;
    struct kv_member_option boot_members[MACHINES_MAX]; /* the same, for boot, which borrows them */
    const char *boot_urls[1];
    bool is_lost;      /* it will never start again as this member */
    bool has_bad_disk; /* a fault was injected: a start may be refused */
    uint64_t starts;
    unsigned level;     /* the feature level of its build; 0 = the level of this build */
    bool is_older;      /* it was started with an older build than before: it may be refused, or stop */
    bool is_next_older; /* that build starts next */
};

/* The process that runs now: hooks that are called from inside production code belong to it. */
extern struct process *cluster_running;

void cluster_init(struct world *w);
void cluster_done(struct world *w); /* ends everything and checks for leaks */
struct machine *cluster_add_machine(struct world *w);
/* A run of its member: it boots, then it runs; or its start is refused and it ends. */
void cluster_start(struct machine *m);
void cluster_kill(struct machine *m, bool is_power_cut);
void cluster_stop(struct machine *m);             /* orderly, at once */
void cluster_terminate(struct machine *m);        /* orderly: it transfers leadership first */
bool cluster_is_closing(const struct machine *m); /* it was told to stop and has not ended yet */
void cluster_wipe(struct machine *m);             /* a new disk; no process runs */
void cluster_reap(struct world *w);

void process_touch(struct process *p);          /* something has happened: schedules a turn */
bool process_is_up(const struct process *p);    /* it has a kv that serves */
bool process_is_alive(const struct process *p); /* it serves or boots */
/* The process's current time, for an event that arrives while it is paused: 0, or when to schedule the event
 * again. */
uint64_t process_paused_until(const struct process *p);
struct process *cluster_find(struct world *w, unsigned slot, uint64_t serial); /* NULL: that run is over */
struct machine *cluster_machine_of(struct world *w, uint64_t member_id);       /* NULL: unknown id */
void cluster_print(struct world *w);                                           /* all members' states */
struct machine *cluster_leader(struct world *w); /* of the highest term; NULL = no member knows one */

#endif
