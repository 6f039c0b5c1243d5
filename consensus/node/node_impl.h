/* SPDX-License-Identifier: Apache-2.0
 * What node.c, node_open.c and node_peer.c share; nobody else includes it. */
#ifndef CONSENSUS_NODE_NODE_IMPL_H
#define CONSENSUS_NODE_NODE_IMPL_H

#include "consensus/node/node.h"
#include "consensus/wal/wal.h"

/* Promises that wait for a batch, and the snapshot that the batch cuts the log behind. */
struct promises {
    struct raft_message *list;
    size_t count, capacity;
    struct raft_snapshot *snapshot; /* NULL = none */
};

/* Until raft gives them their places the fields of an entry mean: index, the tick it came at; term, the only
 * one in which it may be proposed by this member itself (0 = any). */
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

    struct proposals proposals, changes; /* node_propose.c: what waits to be proposed */
    uint64_t queued_bytes, ticks;
    uint64_t hand_over_term; /* in which this leader has tried to hand over before it is removed; once */

    struct promises collecting, under_way;
    struct promises
        applying; /* committed, and not applied yet: no time, no room in the store, or an entry takes long */
    size_t applied_count;    /* entries of the first of these that are applied */
    bool is_entry_open;      /* the next of them has begun: it is given no room anew */
    uint64_t apply_began_ns; /* in this turn */
    bool is_install_waiting; /* for the end of what is being applied */
    bool is_alone;           /* the only member */
    bool is_learner;
    bool is_stream_closed;         /* in this turn the leader could not be reached: proposals wait */
    bool is_installing;            /* the log is cut, the store does not have the snapshot yet */
    size_t collected;              /* entries in the batch being collected */
    uint64_t recent_sync_ns;       /* what a sync took of late, on average */
    bool needs_sync;               /* the batch being collected holds what promises rest on */
    uint64_t kept_term, kept_vote; /* as last collected */
    uint64_t compacted_index;
    uint64_t read_from; /* the first entry of the reading under way */

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
uint64_t node_reserve(const struct node *n); /* beyond pending_bytes_max */
void node_propose_queued(struct node *n);
void node_drop_queued(struct node *n);

/* node.c */
void node_set_conf(struct node *n, const struct raft_conf_state *conf);
void node_on_tick(struct io_timer *timer);

void node_close_finish(struct node *n); /* when no batch and no reading is under way */

/* node_read_back.c: at the end of a turn */
void node_keep_memory(struct node *n);

/* node_peer.c: a message for another member */
void node_send(struct node *n, const struct raft_message *m);

#endif
