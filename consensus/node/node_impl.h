/* SPDX-License-Identifier: Apache-2.0
 * Private state of a node, shared by the node*.c files and included by nothing else. */
#ifndef CONSENSUS_NODE_NODE_IMPL_H
#define CONSENSUS_NODE_NODE_IMPL_H

#include "consensus/node/node.h"
#include "consensus/wal/wal.h"

/* Messages that wait: after-append messages for the sync of their batch, or committed entries for their
 * application. With the former the snapshot after which the batch cuts the log. */
struct held_messages {
    struct raft_message *list;
    size_t count, capacity;
    struct raft_snapshot *snapshot; /* NULL = none */
};

/* The fields of an entry mean something else until raft gives it its place:
 *
 *   index  the tick at which it came
 *   term   the only term in which this member may propose it itself (0 = any) */
struct proposals {
    struct raft_entry *list;
    size_t count, capacity;
};

struct node {
    struct node_options options;
    struct raft *raft;
    struct wal *wal;
    struct node_state state;
    struct raft_conf_state conf; /* as of the last applied entry */

    struct proposals proposals, changes; /* node_propose.c: entries that raft does not have yet */
    uint64_t queued_bytes, ticks;
    uint64_t transfer_term; /* of the last transfer before our own removal; once a term */

    struct held_messages collecting, under_way;
    struct held_messages applying; /* committed and not applied: no time, no room, or an entry takes long */
    size_t applied_count;          /* entries of the first of these messages that are applied */
    bool is_entry_open;            /* the next entry has begun: the store's room is not checked again */
    uint64_t apply_began_ns;       /* in this turn */
    bool is_install_waiting;       /* until the held entries are applied */
    bool is_alone;                 /* the only member */
    bool is_learner;
    bool is_stream_closed;           /* in this turn the leader could not be reached: proposals wait */
    bool is_installing;              /* the log is cut, the store does not have the snapshot yet */
    size_t collected;                /* entries in the batch being collected ... */
    size_t collected_bytes;          /* ... and their bytes */
    uint64_t recent_sync_ns;         /* moving average of the duration of a sync */
    bool needs_sync;                 /* after-append messages rest on the batch being collected */
    uint64_t saved_term, saved_vote; /* as last collected */
    uint64_t compacted_index;
    uint64_t read_from; /* the first entry of the read under way */
    struct {            /* node_read_log under way */
        void (*fn)(void *arg, int err, const struct node_log_entry *list, size_t count); /* NULL = canceled */
        void *arg;
    } log_read;

    struct buf out;     /* the message being encoded */
    struct arena arena; /* the message being decoded */
    struct io_timer tick;
    bool is_failed;
    void (*on_closed)(void *arg);
    void *on_closed_arg;
};

/* node_propose.c */
void node_queue(struct node *n, const struct raft_entry *entry); /* takes the reference */
bool node_has_room(const struct node *n, const struct raft_entry *entry, bool is_internal);
uint64_t node_reserve(const struct node *n); /* bytes beyond pending_bytes_max */
void node_propose_queued(struct node *n);
void node_drop_queued(struct node *n);

/* node.c */
void node_set_conf(struct node *n, const struct raft_conf_state *conf);
void node_on_tick(struct io_timer *timer);

void node_close_finish(struct node *n); /* when no batch and no read is under way */

/* node_read_back.c: at the end of a turn */
void node_manage_memory(struct node *n);

/* node_peer.c: a message for another member */
void node_send(struct node *n, const struct raft_message *m);

#endif
