/* SPDX-License-Identifier: Apache-2.0
 * One run of `migrate from-etcd` or `migrate to-etcd`. Both sides speak etcd's API, so that either may be an
 * etcd or a Cairn. Private to migrate*.c.
 *
 *   compare   source at revision R against the target: differences are written, in batches
 *   follow    the watch from R + 1: whole revisions in order, one transaction each or several together
 *   verify    SHA-256 over keys, values and leases: the source at the applied revision, and the target
 *
 * A resumed run follows from the saved revision. It compares anew when that history is gone, or when the
 * target has lost a lease. */
#ifndef SDK_CTL_MIGRATE_H
#define SDK_CTL_MIGRATE_H

#include "base/map.h"
#include "sdk/ctl/migrate_plan.h"
#include "sdk/ctl/rpc.h"

struct migrate {
    struct ctl *c; /* flags, output and messages */
    struct ctl from, to;
    struct arena texts[2]; /* of from and to: their endpoints; the arenas of the sides are reset */
    struct migrate_rule rule;
    struct migrate_limits limits;
    char state_key[64];
    int64_t state_mod; /* its revision at the target; 0: it is not there */
    struct migrate_state state;
    int64_t applied; /* revision of the source */
    int64_t source;  /* latest known revision of the source */
    int64_t quiet_ms;
    uint64_t changed_ms; /* when the source's revision was last seen to change */
    uint64_t in_step_ms; /* when applied last was the source's revision */
    uint64_t ticked_ms, shown_ms, leases_ms;
    int64_t shown_applied;
    int64_t verified;   /* applied revision of the last successful verification; 0 = none */
    uint64_t keys;      /* writes that were sent */
    bool needs_compare; /* the target lost something: follow cannot repair it */
    bool is_resumed, is_finishing, is_ticking, told_torn;
    struct map leases; /* of struct migrate_lease, by id */
    struct ctl_stream watch;
    bool has_watch;
    /* The last failed request. */
    int code;
    char error[400];
};

/* --- requests (migrate_link.c) --------------------------------------------------------------------------- */
/* Sends a request until the side answers; errors that pass (no leader, no connection) are waited out. The
 * response lives in `arena`, or until the side's next request if arena is NULL. CTL_ERROR: m->error has the server's
 * words; nothing is reported. */
enum ctl_exit migrate_call(struct migrate *m, struct ctl *side, const char *path,
                           const ProtobufCMessage *request, const ProtobufCMessageDescriptor *answer,
                           struct arena *arena, void *ret_answer);
/* Reports m->error. */
enum ctl_exit migrate_fail(struct migrate *m, const struct ctl *side, const char *what);
/* Applies operations in one transaction together with the state, which then says `revision`. */
enum ctl_exit migrate_write(struct migrate *m, const struct migrate_op *ops, size_t count, int64_t revision);
/* Reads the state at the target: is_resumed, state. */
enum ctl_exit migrate_look(struct migrate *m);
/* Makes this process the writer of the state. */
enum ctl_exit migrate_claim(struct migrate *m);
enum ctl_exit migrate_forget(struct migrate *m);

/* --- reading a side (migrate_copy.c) ---------------------------------------------------------------------- */
enum ctl_exit migrate_compare_sides(struct migrate *m);
/* *ret_is_equal; a compacted source or a difference sets needs_compare. */
enum ctl_exit migrate_verify(struct migrate *m, bool *ret_is_equal, uint64_t *ret_keys, char ret_hash[65]);
/* Whether both sides have the same keys, values and leases now. Changes nothing at the target. */
enum ctl_exit migrate_is_equal(struct migrate *m, bool *ret_is_equal);
/* The number of keys with a prefix. */
enum ctl_exit migrate_count(struct migrate *m, struct ctl *side, struct slice prefix, int64_t *ret_count,
                            int64_t *ret_revision);

/* --- leases (migrate_lease.c) ----------------------------------------------------------------------------- */
/* Grants the source's new leases at the target, renews, and revokes those that ended. */
enum ctl_exit migrate_leases(struct migrate *m);
/* The lease that a key gets at the target: the same id, granted if it is not there; 0 if the source has it no more. */
enum ctl_exit migrate_lease_for(struct migrate *m, int64_t id, int64_t *ret_id);
void migrate_lease_lost(struct migrate *m, int64_t id);
void migrate_leases_done(struct migrate *m);

/* --- users and roles (migrate_auth.c) --------------------------------------------------------------------- */
enum ctl_exit migrate_auth(struct migrate *m, bool is_first);

/* Once a second: leases, the source's revision, the line of progress. */
enum ctl_exit migrate_tick(struct migrate *m);

static inline struct slice migrate_slice(ProtobufCBinaryData b)
{
    return slice_of(b.data, b.len);
}
static inline ProtobufCBinaryData migrate_data(struct slice s)
{
    return (ProtobufCBinaryData){s.size, (uint8_t *)(uintptr_t)s.data};
}

#endif
