/* SPDX-License-Identifier: Apache-2.0
 * Outgoing messages of the core, collected until the host calls raft_ready. There are two outboxes: one is
 * being filled, the other is handed out and lives until the next ready. All that a message points to is
 * copied into it, so the log may change meanwhile. */
#ifndef CONSENSUS_RAFT_OUTBOX_H
#define CONSENSUS_RAFT_OUTBOX_H

#include "consensus/raft/raft.h"

struct raft_messages {
    struct raft_message *items;
    size_t count, capacity;
};

struct raft_run { /* entries with a reference each, in the arena */
    struct raft_entry *entries;
    size_t count;
};

struct raft_outbox {
    struct raft_messages messages;     /* may leave at once */
    struct raft_messages after_append; /* etcd's msgsAfterAppend: votes, acknowledgements */
    struct raft_messages steps;        /* synchronous mode: for this member, at raft_advance */
    struct raft_read_state *reads;
    size_t read_count, read_capacity;
    struct raft_run *runs;
    size_t run_count, run_capacity;
    const struct raft_snapshot **snapshots; /* in the arena, with a reference each */
    size_t snapshot_count, snapshot_capacity;
    struct arena arena;
};

void raft_outbox_clear(struct raft_outbox *o); /* keeps the memory */
void raft_outbox_done(struct raft_outbox *o);

/* Adds a message, with copies of what it points to. */
void raft_outbox_add(struct raft_outbox *o, struct raft_messages *list, const struct raft_message *m);
void raft_messages_add(struct raft_messages *list, const struct raft_message *m); /* without copies */
void raft_outbox_add_read(struct raft_outbox *o, const struct raft_read_state *read);
const struct raft_entry *raft_outbox_entries(struct raft_outbox *o, const struct raft_entry *entries,
                                             size_t count);
const struct raft_snapshot *raft_outbox_snapshot(struct raft_outbox *o, const struct raft_snapshot *snapshot);

#endif
