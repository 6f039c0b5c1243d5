/* SPDX-License-Identifier: Apache-2.0
 * The replicated log of one member: drives the raft core over the WAL and between the peers. Proposals go in,
 * committed entries come out in order, exactly once, on the loop thread. Knows nothing of what entries mean.
 *
 * Order is decided here and nowhere else: what raft wants stored is collected into one WAL batch; the
 * promises attached to it (votes, acks, our own ack) are released only when that batch is on disk, also for a
 * cluster of one. While a batch is under way the next one is collected (group commit). All else that raft
 * says to others is given to the lanes at once; who calls node_turn flushes them. */
#ifndef CONSENSUS_NODE_NODE_H
#define CONSENSUS_NODE_NODE_H

#include "base/blob.h"
#include "base/err.h"
#include "consensus/io.h"
#include "consensus/peer/peer.h"
#include "consensus/raft/raft.h"

struct node;

/* What others show and wait for. */
struct node_state {
    uint64_t term, leader, commit, last_index;
    bool is_leader, is_learner;
};

#define NODE_WILL_APPLY_MAX 16 /* entries told at once */

struct node_options {
    struct io *io;
    struct peers *peers; /* borrowed, its members are the owner's business; NULL = alone */
    const char *wal_dir;
    uint64_t member_id, cluster_id;
    uint64_t heartbeat_ms, election_ms;
    uint64_t wal_segment_bytes; /* 0 = 8 MiB */
    uint64_t entry_bytes_max;   /* of one entry */
    /* Proposals that wait here and those that are in a leader's log and not applied: beyond it clients' are
     * refused. What the cluster itself proposes has a quarter more (8 MiB at most). */
    uint64_t pending_bytes_max;
    uint64_t catchup_entries;  /* kept behind the durable index */
    uint64_t log_bytes_max;    /* of them in memory; the others are read back from the log when needed */
    uint64_t disk_bytes_max;   /* of the log's files; then fewer entries are kept. 0 = no limit */
    uint64_t proposal_wait_ms; /* what is proposed while nobody leads waits so long, then it is dropped */
    bool pre_vote;
    bool is_new; /* there is no WAL: make one whose log starts behind (index 1, term 1) */
    bool joins;  /* the log has no beginning yet: it comes as a snapshot */
    /* A disaster is over and only this member is left: what is not known to be committed is forgotten. The
     * caller has put nobody but this member into conf_state. */
    bool force_alone;

    /* The store's word at start: what is applied and durable already, under which configuration. */
    uint64_t applied_index, applied_term;
    const struct raft_conf_state *conf_state;

    /* All on the loop thread, inside node_turn. */
    /* In log order. For an entry that changes the configuration: node_apply_conf_change, once. False: it
     * takes longer than a turn may; the same entry comes again in the next node_turn, and none before it. */
    bool (*apply)(void *arg, const struct raft_entry *entry);
    /* These come next, a few at a time: a chance to bring near what they will touch. May be NULL. */
    void (*will_apply)(void *arg, const struct raft_entry *entries, size_t count);
    /* False: what was applied and is not durable is too much; what follows waits for a later turn. May be
     * NULL. */
    bool (*may_apply)(void *arg);
    /* Another member's proposal: not a client's, but the cluster's own. May be NULL. */
    bool (*is_internal)(void *arg, const struct raft_entry *entry);
    /* Another member's proposal, which for lack of room was not taken and never will be. */
    void (*refused)(void *arg, const struct raft_entry *entry, int err);
    /* This leader is about to be removed: node_transfer to the best of the others. False: there is none. */
    bool (*hand_over)(void *arg);
    void (*read_done)(void *arg, uint64_t read_id,
                      uint64_t index); /* reads may go on once index is applied */
    void (*state_changed)(void *arg, const struct node_state *state);
    void (*failed)(void *arg, int err); /* a disk error: final */
    /* m->to needs entries that the log does not have any more: bring it the state as of m->snapshot or later,
     * then node_report_snapshot, always. NULL = snapshots are not sent. */
    void (*send_snapshot)(void *arg, const struct raft_message *m);
    /* The log has been cut behind this snapshot, durably: now the store must become it, durably, then
     * node_installed. Nothing is applied and no further batch is written meanwhile. */
    void (*install)(void *arg, const struct raft_snapshot *snapshot);
    void *arg;
};

/* Makes or replays the WAL. ERR_CORRUPT, ERR_IO, ERR_EXISTS (in use) with one sentence. Whoever stands alone
 * in its configuration campaigns at once. */
MUST_CHECK int node_open(const struct node_options *options, char *error, size_t error_size,
                         struct node **ret_node);
/* True when a WAL is there. */
MUST_CHECK int node_exists(struct io *io, const char *wal_dir, bool *ret_exists);

/* Queues; takes the reference. Goes to the leader, whoever that is; without one it waits for one, or is
 * dropped. ERR_TOO_MANY_REQUESTS: nothing was queued, the reference is gone. */
MUST_CHECK int node_propose(struct node *n, struct blob *data);
/* A proposal of the cluster itself: it has a reserve that clients cannot take. */
MUST_CHECK int node_propose_internal(struct node *n, struct blob *data);
/* The same, but only by this member as the leader of this term: what a leader decides (leases that end) must
 * not reach the log through its successor, who may know better (etcd #15247). ERR_NOT_LEADER too. */
MUST_CHECK int node_propose_as_leader(struct node *n, struct blob *data);
/* Raft takes one change at a time: the leader keeps others until it has applied the one before.
 * ERR_TOO_MANY_REQUESTS. */
MUST_CHECK int node_propose_conf_change(struct node *n, const struct raft_conf_change *change);
/* Inside apply: what the entry holds, with node_id 0 in what must not happen. ERR_INVALID, ERR_LIMIT: nothing
 * happened. */
MUST_CHECK int node_apply_conf_change(struct node *n, const struct raft_conf_change *change,
                                      struct raft_conf_state *ret_state);
/* One ReadIndex round; read_done comes with the same id, or never (leadership lost: ask again with a fresh
 * id). ERR_NO_LEADER. */
MUST_CHECK int node_read(struct node *n, uint64_t read_id);
/* Does all there is to do: steps, collects, submits, applies. */
void node_turn(struct node *n);
/* Entries up to index are durable in the store: the log before it (less the catch-up window) may go. */
void node_release(struct node *n, uint64_t durable_index);

/* --- from and about other members --- */
/* A message of kind CODEC_RAFT, the bytes after the kind. What is not fit to be believed is dropped. */
void node_receive(struct node *n, uint64_t from, struct slice bytes);
/* A message of type SNAP: the state it stands for has come in whole and lies on disk, durably. */
bool node_receive_snapshot(struct node *n, const struct raft_message *m); /* true: install will come */
/* The log holds what follows this index. */
uint64_t node_log_begin(const struct node *n);
uint64_t node_log_disk_bytes(const struct node *n); /* of its files */
void node_installed(struct node *n);
void node_report_unreachable(struct node *n, uint64_t id);
void node_report_snapshot(struct node *n, uint64_t id, bool delivered);
/* A follower of nobody is as if all but two ticks of the shortest election timeout had passed. */
void node_advance(struct node *n);
/* Leaders: give the lead to that voter. Shows in node_state, or not within an election timeout. */
void node_transfer(struct node *n, uint64_t to);
/* As of the last applied entry. */
const struct raft_conf_state *node_conf_state(const struct node *n);
void node_get_status(const struct node *n, struct raft_status *ret_status); /* not for every turn */
bool node_is_applying(
    const struct node *n);                /* an entry is open, or there was no time for more; not: no room */
bool node_has_work(const struct node *n); /* node_turn would do something */

/* Inside apply: this entry was not applied and cannot be; nothing is from now on, until the next start. */
void node_stop(struct node *n);

const struct node_state *node_state(const struct node *n);
uint64_t node_last_index(const struct node *n);     /* of the log, at this moment */
bool node_has_change_waiting(const struct node *n); /* of the configuration, in the log behind the applied */
bool node_has_queued(const struct node *n);         /* proposals that raft does not have yet */
bool node_has_queued_change(const struct node *n);  /* of the configuration */
bool node_is_leader(const struct node *n);          /* at this moment; node_state is as of the last turn */
uint64_t node_wal_size(const struct node *n);
uint64_t node_pending_bytes(const struct node *n); /* what pending_bytes_max bounds */
/* Stops the clock, waits for the batch under way; done comes then, and the node is gone. */
void node_close(struct node *n, void (*done)(void *arg), void *arg);

#endif
