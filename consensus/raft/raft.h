/* SPDX-License-Identifier: Apache-2.0
 * Raft core, public API: one member's replicated log as a pure state machine with the behaviour of
 * etcd-io/raft. Events go in (a message, a tick, a proposal), one value comes out (raft_ready). The core has
 * no I/O, clock, randomness, logging or globals. Allocation cannot fail. Loop thread only.
 *
 * The host's turn, with async_storage_writes (the node uses this mode):
 *
 *     events ...                                    raft_step, raft_tick, raft_propose, raft_read_index ...
 *     while (raft_has_ready(r)) {
 *         raft_ready(r, &rd);
 *         for each message in rd:
 *             to RAFT_APPEND_THREAD  write entries, hard state (term|vote|commit != 0), snapshot to the WAL.
 *                                    When they are DURABLE deliver m->responses: to == self ->
 *                                    raft_step_local, else send. Keep them till then (raft_message_keep).
 *                                    Without responses nothing needs to be synced.
 *             to RAFT_APPLY_THREAD   apply m->entries to the store (conf changes: raft_apply_conf_change),
 *                                    then raft_step_local each response. No sync is needed before that.
 *             else                   encode and send now.
 *         rd.read_states             answer a read when applied >= its index.
 *     }
 *
 * Work for one thread is done in order and never dropped. rd.entries, hard_state, snapshot and committed
 * repeat the contents of the two storage messages, for information.
 *
 * The host's turn in synchronous mode:
 *   1. write and sync rd.hard_state, entries, snapshot
 *   2. send rd.messages, only after that
 *   3. apply rd.committed
 *   4. raft_advance
 *
 * Messages and proposals from the network never abort the core: an impossible one is dropped with an error.
 * Asserts guard the core's own state and the host's local answers. */
#ifndef CONSENSUS_RAFT_RAFT_H
#define CONSENSUS_RAFT_RAFT_H

#include "consensus/raft/message.h"

struct raft;
struct raft_trace;

enum raft_role { RAFT_FOLLOWER, RAFT_CANDIDATE, RAFT_LEADER, RAFT_PRE_CANDIDATE };

struct raft_config {
    uint64_t id; /* not 0, not a thread's */
    /* A follower campaigns after [election_tick, 2 * election_tick) ticks without a leader. The core derives
     * the spread from seed alone, so that a run can be repeated. */
    uint32_t election_tick, heartbeat_tick;
    uint64_t seed;

    uint64_t applied; /* index that the store holds at start; at least the snapshot's index, or 0 */

    uint64_t max_size_per_message;         /* bytes of entries in one APP; 0 = one entry each */
    uint64_t max_committed_size_per_ready; /* bytes handed out for apply and not yet answered; 0 = as above */
    uint64_t max_uncommitted_size;         /* bytes proposed and not committed; 0 = no limit */
    uint32_t max_inflight_messages;        /* APPs in flight to one follower; not 0 */
    uint64_t max_inflight_bytes;           /* 0 = no limit, else at least max_size_per_message */

    bool check_quorum; /* on in production, like pre_vote */
    bool pre_vote;
    bool async_storage_writes;
    /* Vote requests wait for the disk, as votes do; on in production. Without it, as in etcd, a candidate can
     * lose its newest entries and its term in a crash. Then it can campaign in the same term again, and count
     * votes that were granted to its longer log. */
    bool durable_campaign;
    bool disable_proposal_forwarding;
    bool disable_conf_change_validation;
    bool step_down_on_removal;
    bool lease_based_reads; /* unsafe when clocks fail; exists only for the scenario files */

    /* Typed events for tests and the simulator (trace.h). May be NULL. */
    void (*trace)(void *arg, const struct raft_trace *event);
    void *trace_arg;
};

/* The term of the entries from index on, up to the next run. */
struct raft_term_run {
    uint64_t index, term;
};

/* State of the storage at start. All zero = a member without any data. */
struct raft_initial {
    struct raft_hard_state hard_state;
    struct raft_conf_state conf_state;      /* as of config.applied */
    uint64_t snapshot_index, snapshot_term; /* the log begins after it */
    /* The oldest entries, all of them applied, may stay on disk. Of these only the terms are given, from
     * snapshot_index + 1 on. */
    const struct raft_term_run *runs;
    size_t run_count;
    const struct raft_entry
        *entries; /* contiguous up to the last, from snapshot_index + 1 or after the runs */
    size_t entry_count;
    uint64_t first_entry; /* its index, with runs */
};

/* ERR_INVALID: the config or the stored state contradicts itself. */
MUST_CHECK int raft_new(const struct raft_config *config, const struct raft_initial *initial,
                        struct raft **ret_raft);
void raft_free(struct raft *r);

/* --- events --- */
/* Handles a message from the network; any bytes are survived. All errors may be ignored:
 *
 *   ERR_PROPOSAL_DROPPED     a PROP, as for raft_propose
 *   ERR_STEP_LOCAL           a kind that only this member's own host may deliver
 *   ERR_STEP_PEER_NOT_FOUND  an answer of a member that is not tracked
 *   ERR_INVALID              not for this member
 *   ERR_MALFORMED            a correct member cannot have sent it */
int raft_step(struct raft *r, const struct raft_message *m);
/* Handles a response that was attached to a storage message and is addressed to this member. */
int raft_step_local(struct raft *r, const struct raft_message *m);
void raft_tick(struct raft *r);
void raft_campaign(struct raft *r);
/* Appends a batch, or forwards it to the leader; all or nothing. type and data of each entry are read, the
 * leader sets index and term. On a leader the batch is then at raft_last_index(r) - count + 1 and on. A
 * configuration change that must not happen now becomes an empty entry there. ERR_PROPOSAL_DROPPED: no
 * leader, a transfer under way, or too much uncommitted. ERR_MALFORMED. */
MUST_CHECK int raft_propose(struct raft *r, const struct raft_entry *entries, size_t count);
MUST_CHECK int raft_propose_conf_change(struct raft *r, const struct raft_conf_change *change, bool v1);
/* Call it when a CONF_CHANGE entry is applied (in log order), with its change; refused parts have node_id 0.
 * ERR_INVALID, ERR_LIMIT: the change is impossible on this configuration, and nothing happened. */
MUST_CHECK int raft_apply_conf_change(struct raft *r, const struct raft_conf_change *change,
                                      struct raft_conf_state *ret_conf_state);
/* Requests an index at which a read is linearizable. It comes in read_states with the context, or never (no
 * leader, a change of leader). The host retries with a FRESH context each time. ERR_PROPOSAL_DROPPED: it
 * certainly never comes. ERR_INVALID: no context. */
MUST_CHECK int raft_read_index(struct raft *r, struct raft_context context);
void raft_transfer_leader(struct raft *r, uint64_t to);
void raft_forget_leader(struct raft *r);
void raft_report_unreachable(struct raft *r, uint64_t id);
void raft_report_snapshot(struct raft *r, uint64_t id,
                          bool delivered); /* call it for every SNAP that was sent */

/* --- value out --- */
struct raft_soft_state {
    uint64_t leader; /* RAFT_NONE = unknown */
    enum raft_role role;
};

struct raft_read_state {
    uint64_t index;
    struct raft_context context;
};

/* Valid until the next raft_ready on r (or raft_free), whatever is called meanwhile. */
struct raft_ready {
    bool has_soft_state, has_hard_state; /* it changed */
    bool must_sync;                      /* entries, vote or term changed */
    struct raft_soft_state soft_state;
    struct raft_hard_state hard_state;
    const struct raft_read_state *read_states;
    size_t read_state_count;
    const struct raft_entry *entries; /* an index seen before: it and all after it are replaced */
    size_t entry_count;
    const struct raft_snapshot *snapshot; /* NULL = none: replaces the log and the store */
    const struct raft_entry *committed;
    size_t committed_count;
    const struct raft_message *messages;
    size_t message_count;
};

bool raft_has_ready(const struct raft *r);
void raft_ready(struct raft *r, struct raft_ready *ret_ready);
void raft_advance(struct raft *r); /* synchronous mode: the last ready is processed */

/* --- the log window: (snapshot or last compaction, last] --- */
uint64_t raft_first_index(const struct raft *r); /* one past the last index when empty */
uint64_t raft_last_index(const struct raft *r);
uint64_t raft_committed_index(const struct raft *r);
uint64_t raft_applied_index(const struct raft *r);
const struct raft_entry *raft_entry_at(const struct raft *r, uint64_t index); /* NULL = not in memory */
/* Known from first - 1 to last. ERR_NOT_FOUND. */
MUST_CHECK int raft_term_at(const struct raft *r, uint64_t index, uint64_t *ret_term);
/* The last index of the run of equal terms that holds index, which is not in memory. */
uint64_t raft_run_end(const struct raft *r, uint64_t index);
/* Drops the entries up to and including index, never beyond what is applied and stable. Returns the new first
 * index. */
uint64_t raft_compact(struct raft *r, uint64_t index);

/* Keeps at most bytes_max of entries in memory, plus those that are not applied or not stable. Older ones are
 * on our disk, and raft_wants_entries names them when a follower needs them. */
void raft_evict(struct raft *r, uint64_t bytes_max);
uint64_t raft_held_bytes(const struct raft *r); /* in memory, with those that were read back */
struct raft_wanted_entries {
    uint64_t from, to; /* indexes; the host reads as many as it wants, at least the first */
    uint64_t term;     /* of each of them: the log on disk may hold others that were overwritten */
};
/* On a leader: entries that a follower waits for and that are not in memory. True until raft_give_entries. */
bool raft_wants_entries(const struct raft *r, struct raft_wanted_entries *ret_wanted);
/* Passes entries that were read back. Entries that the log does not need any more are ignored. ERR_CORRUPT:
 * the log has an entry of another term there; nothing happened. */
MUST_CHECK int raft_give_entries(struct raft *r, const struct raft_entry *entries, size_t count);

/* Sets the snapshot that a leader offers to followers whose entries are not in the log: the newest state that
 * can be sent. It is cheap: call it when the store has moved and before raft_compact. An index below first -
 * 1 is useless. */
void raft_set_snapshot(struct raft *r, const struct raft_snapshot *snapshot);
bool raft_wants_snapshot(const struct raft *r); /* a follower waits for one and there is no usable one */

/* --- status --- */
enum raft_progress_state { RAFT_PROBE, RAFT_REPLICATE, RAFT_SNAPSHOT };

struct raft_progress_status {
    uint64_t id, match, next, pending_snapshot;
    enum raft_progress_state state;
    bool learner, recent_active, paused;
    uint32_t inflight;
    bool inflight_full;
};

struct raft_status {
    uint64_t id, term, vote, commit, applied, leader, transferee;
    enum raft_role role;
    bool learner; /* this member */
    struct raft_conf_state conf_state;
    uint32_t progress_count; /* on leaders only, by id */
    struct raft_progress_status progress[RAFT_MEMBERS_MAX];
};

void raft_get_status(const struct raft *r, struct raft_status *ret_status);
/* Its cheap parts, for every turn. */
uint64_t raft_term(const struct raft *r);
uint64_t raft_leader(const struct raft *r);
enum raft_role raft_role(const struct raft *r);
uint64_t raft_uncommitted_size(const struct raft *r); /* on a leader: bytes proposed and not yet applied */
bool raft_has_change_waiting(const struct raft *r);   /* of the configuration, committed or not */
/* True on a leader that would accept a configuration change now and not make an empty entry of it. A change
 * that leaves a joint configuration is not meant. */
bool raft_takes_change(const struct raft *r);

/* --- for the explorer and tests --- */
struct raft *raft_clone(const struct raft *r); /* shares payloads only; an outstanding ready stays with r */
uint64_t
raft_hash(const struct raft *r); /* equal states have equal hashes, in every run and on every machine */
void raft_set_election_timeout(struct raft *r, uint32_t ticks); /* until the next change of role or term */

#endif
