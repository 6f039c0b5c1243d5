/* SPDX-License-Identifier: Apache-2.0
 * Private state of the raft core, and the functions that the files of this folder call in each other. */
#ifndef CONSENSUS_RAFT_CORE_H
#define CONSENSUS_RAFT_CORE_H

#include "base/mutant.h"
#include "consensus/raft/confchange.h"
#include "consensus/raft/log.h"
#include "consensus/raft/outbox.h"
#include "consensus/raft/progress.h"
#include "consensus/raft/raft.h"
#include "consensus/raft/read_only.h"
#include "consensus/raft/trace.h"

/* Entries that the host has read back from our disk for followers, contiguous; see read_back.c. */
struct raft_read_back {
    struct raft_entry *entries;
    size_t count;
    uint64_t served; /* the member that they were read for: the next turn is another one's */
};

enum raft_campaign_kind { RAFT_CAMPAIGN_PRE, RAFT_CAMPAIGN_ELECTION, RAFT_CAMPAIGN_TRANSFER };

struct raft {
    struct raft_config config;

    uint64_t term, vote; /* with log.committed the hard state */
    struct raft_log log;

    enum raft_role role;
    uint64_t leader;
    bool learner; /* this member, in its own configuration */
    struct raft_tracker tracker;

    uint32_t election_elapsed;  /* ticks since a leader was heard, or since the last quorum check */
    uint32_t heartbeat_elapsed; /* on leaders */
    uint32_t election_timeout;  /* drawn anew at each change of role or term */
    uint64_t random;

    /* On leaders. */
    uint64_t transferee;         /* target of a leadership transfer: proposals are dropped meanwhile */
    uint64_t pending_conf_index; /* no configuration change while applied < this */
    uint64_t uncommitted_size;   /* an estimate, never too high */
    struct raft_reads reads;
    struct raft_snapshot *offered_snapshot; /* the newest snapshot that the host can send; NULL = none yet */
    bool snapshot_wanted;
    struct raft_read_back read_back;

    struct raft_outbox next_outbox, ready_outbox;
    struct raft_soft_state previous_soft;
    struct raft_hard_state previous_hard;
};

/* trace.c: one branch when there is no trace callback. */
void raft_trace_emit(const struct raft *r,
                     struct raft_trace event); /* use RAFT_TRACE(r, NAME, .field = ...) */
#define RAFT_TRACE(r, ...)                                                                                   \
    do {                                                                                                     \
        if ((r)->config.trace)                                                                               \
            raft_trace_emit((r), (struct raft_trace){.kind = RAFT_TRACE_##__VA_ARGS__});                     \
    } while (0)

/* raft.c: roles and dispatch. Handlers return 0 or what raft_step documents. */
int raft_handle(struct raft *r, const struct raft_message *m); /* m is already checked */
void raft_send(struct raft *r, struct raft_message m);
void raft_become_follower(struct raft *r, uint64_t term, uint64_t leader);
void raft_become_pre_candidate(struct raft *r);
void raft_become_candidate(struct raft *r);
void raft_become_leader(struct raft *r);

/* check.c: whether a correct member can have sent the message. */
int raft_check_message(const struct raft *r, const struct raft_message *m);

/* election.c */
void raft_hup(struct raft *r, enum raft_campaign_kind kind);
void raft_handle_vote_request(struct raft *r, const struct raft_message *m);
void raft_handle_vote_response(struct raft *r, const struct raft_message *m);
bool raft_is_transfer(const struct raft_message *m);
bool raft_promotable(struct raft *r);

/* propose.c */
int raft_leader_propose(struct raft *r, const struct raft_message *m);
int raft_forward_proposal(struct raft *r, const struct raft_message *m);
bool raft_append_own(struct raft *r, const struct raft_entry *entries, size_t count);
void raft_committed_size(struct raft *r, uint64_t size);

/* replication.c: the leader's side */
void raft_send_append(struct raft *r, struct raft_progress *p);
bool raft_maybe_send_append(struct raft *r, struct raft_progress *p, bool if_empty);
void raft_broadcast_append(struct raft *r);
void raft_broadcast_heartbeat(struct raft *r);
bool raft_maybe_commit(struct raft *r);
void raft_handle_append_response(struct raft *r, struct raft_progress *p, const struct raft_message *m);
void raft_handle_heartbeat_response(struct raft *r, struct raft_progress *p, const struct raft_message *m);
void raft_handle_snapshot_status(struct raft *r, struct raft_progress *p, bool failed);
void raft_handle_unreachable(struct raft *r, struct raft_progress *p);

/* read_back.c: entries that are on our disk and not in memory */
const struct raft_entry *raft_read_back_slice(const struct raft *r, uint64_t index, size_t *ret_count);
void raft_read_back_clear(struct raft *r);

/* follow.c: the follower's side */
void raft_handle_append(struct raft *r, const struct raft_message *m);
void raft_handle_heartbeat(struct raft *r, const struct raft_message *m);
void raft_handle_snapshot(struct raft *r, const struct raft_message *m);

/* transfer.c */
void raft_handle_transfer(struct raft *r, struct raft_progress *p);
void raft_transfer_progressed(struct raft *r, struct raft_progress *p);

/* read.c */
int raft_leader_read(struct raft *r, const struct raft_message *m);
void raft_answer_reads(struct raft *r);        /* after new heartbeat answers */
void raft_release_early_reads(struct raft *r); /* after the first commit of the term */
void raft_read_answered(struct raft *r, const struct raft_message *m);

/* membership.c */
void raft_switch_config(struct raft *r);
void raft_applied(struct raft *r, uint64_t index, uint64_t size);
bool raft_has_unapplied_conf_change(const struct raft *r);

#endif
