/* SPDX-License-Identifier: Apache-2.0
 * Replicated log of one member: drives the raft core over the WAL and between the members.
 *
 * Proposals go in. Committed entries come out in log order, exactly once, on the loop thread. The node does
 * not know what entries mean.
 *
 * Order is decided here and nowhere else:
 *   1. All that raft wants stored is collected into one WAL batch.
 *   2. The after-append messages of the batch (votes, acknowledgements, also this member's own; etcd-raft's
 *      msgsAfterAppend) leave only when the batch is on disk. A cluster of one does the same.
 *   3. While a batch is under way the next one is collected (group commit).
 *   4. All other messages of raft go to the peer streams at once. The caller of node_turn flushes the
 * streams. */
#ifndef CONSENSUS_NODE_NODE_H
#define CONSENSUS_NODE_NODE_H

#include "base/blob.h"
#include "base/err.h"
#include "consensus/io.h"
#include "consensus/peer/peer.h"
#include "consensus/raft/raft.h"

struct node;

/* State that the owner shows to others and waits for. */
struct node_state {
    uint64_t term, leader, commit, last_index;
    bool is_leader, is_learner;
};

#define NODE_WILL_APPLY_MAX 16 /* entries announced at once */

struct node_options {
    struct io *io;
    struct peers *peers; /* borrowed; the owner adds and removes its members; NULL = alone */
    const char *wal_dir;
    uint64_t member_id, cluster_id;
    uint64_t heartbeat_ms, election_ms;
    uint64_t wal_segment_bytes; /* 0 = 8 MiB */
    uint64_t entry_bytes_max;   /* of one entry */
    /* Limit in bytes of the queued proposals and of those in a leader's log that are not applied. Beyond it
     * the proposals of clients are refused. The cluster's own proposals have a quarter more (8 MiB at
     * most). */
    uint64_t pending_bytes_max;
    uint64_t catchup_entries; /* kept before the durable index */
    uint64_t log_bytes_max; /* of entries in memory; others are read back from the log when they are needed */
    uint64_t disk_bytes_max;   /* of the log's files; beyond it fewer entries are kept. 0 = no limit */
    uint64_t proposal_wait_ms; /* a proposal waits so long for a leader, then it is dropped */
    bool pre_vote;
    bool is_new; /* there is no WAL: creates one whose log starts after (index 1, term 1) */
    bool joins;  /* the log has no beginning yet: a snapshot brings it */
    /* Disaster recovery (--force-new-cluster), only this member is left: entries that are not known to be
     * committed are dropped. The caller has put only this member into conf_state. */
    bool force_alone;

    /* State of the store at start: what is applied and durable, and its configuration. */
    uint64_t applied_index, applied_term;
    const struct raft_conf_state *conf_state;

    /* All callbacks come on the loop thread, inside node_turn. */
    /* In log order. An entry that changes the configuration calls node_apply_conf_change once. False: the
     * entry takes longer than a turn allows. The next node_turn passes the same entry again, and no other
     * before it. */
    bool (*apply)(void *arg, const struct raft_entry *entry);
    /* These entries come next, a few at a time: a chance to prefetch what they touch. May be NULL. */
    void (*will_apply)(void *arg, const struct raft_entry *entries, size_t count);
    /* False: too much is applied and not durable. The following entries wait for a later turn. May be
     * NULL. */
    bool (*may_apply)(void *arg);
    /* True for another member's proposal that is the cluster's own and not a client's. May be NULL. */
    bool (*is_internal)(void *arg, const struct raft_entry *entry);
    /* Another member's proposal was refused for lack of room. It is never proposed. */
    void (*refused)(void *arg, const struct raft_entry *entry, int err);
    /* This leader is about to be removed: call node_transfer with the best of the other voters. False:
     * none. */
    bool (*hand_over)(void *arg);
    void (*read_done)(void *arg, uint64_t read_id,
                      uint64_t index); /* reads may go on once index is applied */
    void (*state_changed)(void *arg, const struct node_state *state);
    void (*failed)(void *arg, int err); /* a disk error: final */
    /* m->to needs entries that the log no longer has. Send it the state as of m->snapshot or later, then
     * always call node_report_snapshot. NULL = snapshots are not sent. */
    void (*send_snapshot)(void *arg, const struct raft_message *m);
    /* The log is cut after this snapshot, durably. The owner makes the snapshot the store, durably, and then
     * calls node_installed. Until then nothing is applied and no batch is written. */
    void (*install)(void *arg, const struct raft_snapshot *snapshot);
    void *arg;
};

/* Creates or replays the WAL. ERR_CORRUPT, ERR_IO, ERR_EXISTS (in use), with one sentence in error. The
 * only voter of a configuration campaigns at once. */
MUST_CHECK int node_open(const struct node_options *options, char *error, size_t error_size,
                         struct node **ret_node);
/* *ret_exists: there is a WAL in wal_dir. ERR_IO. */
MUST_CHECK int node_exists(struct io *io, const char *wal_dir, bool *ret_exists);

/* Queues a proposal and takes the reference. It goes to the leader, this member or another one. Without a
 * leader it waits, at most proposal_wait_ms, and is then dropped. ERR_TOO_MANY_REQUESTS: nothing is queued,
 * the reference is released. */
MUST_CHECK int node_propose(struct node *n, struct blob *data);
/* The same for a proposal of the cluster itself: it has a reserve that clients cannot use. */
MUST_CHECK int node_propose_internal(struct node *n, struct blob *data);
/* The same, but proposed only by this member as the leader of this term. Decisions of a leader (expired
 * leases) must not reach the log through its successor, which may know better (etcd #15247). Also
 * ERR_NOT_LEADER. */
MUST_CHECK int node_propose_as_leader(struct node *n, struct blob *data);
/* Raft takes one change at a time: the leader keeps the others until the one before is applied.
 * ERR_TOO_MANY_REQUESTS. */
MUST_CHECK int node_propose_conf_change(struct node *n, const struct raft_conf_change *change);
/* Call it inside apply, with the entry's change; refused parts have node_id 0. ERR_INVALID, ERR_LIMIT:
 * nothing changed. */
MUST_CHECK int node_apply_conf_change(struct node *n, const struct raft_conf_change *change,
                                      struct raft_conf_state *ret_state);
/* Begins one ReadIndex round. read_done comes with the same id, or never: when leadership is lost, retry with
 * a fresh id. ERR_NO_LEADER. */
MUST_CHECK int node_read(struct node *n, uint64_t read_id);
/* Does all work that is due: raft steps, WAL batches, application. */
void node_turn(struct node *n);
/* Entries up to index are durable in the store: the log may be cut before it, except the catch-up window. */
void node_release(struct node *n, uint64_t durable_index);

struct node_log_entry {
    uint64_t index, term;
    struct slice data; /* borrowed */
};
/* Reads applied entries from the log, from .. to or fewer: about bytes_max, at least one. fn comes once, from
 * inside this call if they are in memory. ERR_NOT_FOUND: the log was cut. ERR_IO, ERR_CORRUPT. False: another
 * read is under way, or the node has failed; try again later. */
bool node_read_log(struct node *n, uint64_t from, uint64_t to, size_t bytes_max,
                   void (*fn)(void *arg, int err, const struct node_log_entry *list, size_t count),
                   void *arg);
void node_read_log_cancel(struct node *n); /* fn is not called any more */

/* --- from and about other members --- */
/* A message of kind CODEC_RAFT, the bytes after the kind. A message that does not decode, or that cannot come
 * from this sender, is dropped. */
void node_receive(struct node *n, uint64_t from, struct slice bytes);
/* A message of type SNAP. The file that it announces is received completely and durable. */
bool node_receive_snapshot(struct node *n, const struct raft_message *m); /* true: install follows */
/* The log holds the entries after this index. */
uint64_t node_log_begin(const struct node *n);
uint64_t node_log_disk_bytes(const struct node *n); /* bytes of its files */
void node_installed(struct node *n);
void node_report_unreachable(struct node *n, uint64_t id);
void node_report_snapshot(struct node *n, uint64_t id, bool delivered);
/* For a follower without a leader: the shortest election timeout passes, except two ticks. */
void node_advance(struct node *n);
/* On a leader: transfers leadership to that voter. node_state shows it, or not within an election timeout. */
void node_transfer(struct node *n, uint64_t to);
/* As of the last applied entry. */
const struct raft_conf_state *node_conf_state(const struct node *n);
void node_get_status(const struct node *n, struct raft_status *ret_status); /* expensive: not in every turn */
bool node_is_applying(
    const struct node *n); /* an entry has begun, or the time was over; false when the store has no room */
bool node_has_work(const struct node *n); /* node_turn would do something */

/* Inside apply: this entry is not applied and cannot be. No entry is applied until the next start. */
void node_stop(struct node *n);

const struct node_state *node_state(const struct node *n);
uint64_t node_last_index(const struct node *n);     /* of the log, at this moment */
bool node_has_change_waiting(const struct node *n); /* of the configuration, in the log and not applied */
bool node_has_queued(const struct node *n);         /* proposals that raft does not have yet */
bool node_has_queued_change(const struct node *n);  /* of the configuration */
bool node_is_leader(const struct node *n);          /* at this moment; node_state is as of the last turn */
uint64_t node_wal_size(const struct node *n);
uint64_t node_pending_bytes(const struct node *n); /* the bytes that pending_bytes_max limits */
/* Stops the clock and waits for the batch under way. Then done comes, and the node is freed. */
void node_close(struct node *n, void (*done)(void *arg), void *arg);

#endif
