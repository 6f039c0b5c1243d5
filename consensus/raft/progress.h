/* SPDX-License-Identifier: Apache-2.0
 * Follower progress on a leader: how far its log matches, what is in flight to it, and how fast to send.
 *
 *            rejected append, unreachable
 *        .----------------------------------.
 *        v                                  |
 *      PROBE --- accepted an append ---> REPLICATE
 *        ^  \                               |
 *        |   '---- entries are compacted ---+
 *        |                                  v
 *        '-- snapshot delivered, failed -- SNAPSHOT -- it acknowledges an index we hold --> REPLICATE
 *
 * PROBE sends one append per heartbeat to find where the logs meet. REPLICATE streams within the limits of
 * the inflights. SNAPSHOT sends nothing. Invariant: match < next. */
#ifndef CONSENSUS_RAFT_PROGRESS_H
#define CONSENSUS_RAFT_PROGRESS_H

#include "consensus/raft/quorum.h"
#include "consensus/raft/raft.h"

/* Appends that were sent and not acknowledged: a ring of (last index, bytes), oldest first. */
struct raft_inflight {
    uint64_t index, bytes;
};

struct raft_inflights {
    uint32_t start, count, capacity; /* capacity: 0 or a power of two */
    uint32_t count_max;
    uint64_t bytes, bytes_max; /* bytes_max is soft: one message may exceed it; 0 = no limit */
    struct raft_inflight *ring;
};

void raft_inflights_init(struct raft_inflights *in, uint32_t count_max, uint64_t bytes_max);
void raft_inflights_done(struct raft_inflights *in);
void raft_inflights_reset(struct raft_inflights *in);
bool raft_inflights_full(const struct raft_inflights *in);
void raft_inflights_add(struct raft_inflights *in, uint64_t index, uint64_t bytes); /* not when full */
void raft_inflights_free_to(struct raft_inflights *in, uint64_t index); /* that one and all before it */

struct raft_progress {
    uint64_t id;
    uint64_t match;            /* its log is known to equal ours up to here */
    uint64_t next;             /* the next index to send; all between match and next is in flight */
    uint64_t sent_commit;      /* highest commit index in flight to it */
    uint64_t pending_snapshot; /* SNAPSHOT: the index that was sent */
    uint64_t read_ack;         /* how many reads of this term its heartbeat answers confirm */
    enum raft_progress_state state;
    enum raft_vote vote; /* in the election under way */
    bool learner;
    bool recent_active; /* a message of it came since the last quorum check */
    bool flow_paused;   /* wait for an answer or the next heartbeat before sending again */
    bool wants_entries; /* the next entries to send are not in memory: the host reads them back */
    struct raft_inflights inflights;
};

void raft_progress_become_probe(struct raft_progress *p);
void raft_progress_become_replicate(struct raft_progress *p);
void raft_progress_become_snapshot(struct raft_progress *p, uint64_t index);
/* Entries from next on were sent in one message. */
void raft_progress_sent(struct raft_progress *p, size_t entries, uint64_t bytes);
bool raft_progress_can_bump_commit(const struct raft_progress *p, uint64_t commit);
/* It acknowledged index; false = nothing new. */
bool raft_progress_acked(struct raft_progress *p, uint64_t index);
/* It rejected an append after `rejected` and guesses that the logs meet at hint; false = an old answer. */
bool raft_progress_rejected(struct raft_progress *p, uint64_t rejected, uint64_t hint);
bool raft_progress_paused(const struct raft_progress *p);
struct raft_progress_status raft_progress_status(const struct raft_progress *p);

/* The configuration and all its members, by id. */
struct raft_tracker {
    struct raft_conf_state config;
    uint32_t inflight_max;
    uint64_t inflight_bytes_max;
    uint32_t count;
    struct raft_progress progress[RAFT_MEMBERS_MAX];
};

void raft_tracker_done(struct raft_tracker *t);
struct raft_progress *raft_tracker_find(struct raft_tracker *t, uint64_t id); /* NULL = not tracked */
bool raft_tracker_is_voter(const struct raft_tracker *t, uint64_t id);        /* of either half */
bool raft_tracker_is_singleton(const struct raft_tracker *t);                 /* one voter decides alone */
uint64_t raft_tracker_committed(const struct raft_tracker *t);                /* by match */
uint64_t raft_tracker_reads_confirmed(const struct raft_tracker *t);          /* by read_ack */
bool raft_tracker_quorum_active(const struct raft_tracker *t);
void raft_tracker_reset_votes(struct raft_tracker *t);
enum raft_vote_result raft_tracker_tally(const struct raft_tracker *t, uint32_t *ret_granted,
                                         uint32_t *ret_rejected);

#endif
