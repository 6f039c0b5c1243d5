/* SPDX-License-Identifier: Apache-2.0
 * Message lists over one arena. Clearing releases the references and keeps the memory for the next turn. */
#include "consensus/raft/outbox.h"

/* Room for one more. */
static void *raft_outbox_grow(void *items, size_t count, size_t *capacity, size_t item_size)
{
    if (count < *capacity)
        return items;
    *capacity = *capacity ? *capacity * 2 : 8;
    return mem_resize(items, *capacity * item_size);
}

void raft_messages_add(struct raft_messages *list, const struct raft_message *m)
{
    struct raft_message copy = *m; /* m may be in the list that moves */
    list->items = raft_outbox_grow(list->items, list->count, &list->capacity, sizeof *list->items);
    list->items[list->count++] = copy;
}

const struct raft_entry *raft_outbox_entries(struct raft_outbox *o, const struct raft_entry *entries,
                                             size_t count)
{
    if (count == 0)
        return NULL;
    struct raft_entry *copy = arena_copy(&o->arena, entries, count * sizeof *entries);
    for (size_t i = 0; i < count; i++)
        blob_ref(copy[i].data);
    o->runs = raft_outbox_grow(o->runs, o->run_count, &o->run_capacity, sizeof *o->runs);
    o->runs[o->run_count++] = (struct raft_run){copy, count};
    return copy;
}

const struct raft_snapshot *raft_outbox_snapshot(struct raft_outbox *o, const struct raft_snapshot *snapshot)
{
    if (!snapshot)
        return NULL;
    const struct raft_snapshot *copy = arena_copy(&o->arena, snapshot, sizeof *snapshot);
    blob_ref(copy->data);
    o->snapshots =
        raft_outbox_grow(o->snapshots, o->snapshot_count, &o->snapshot_capacity, sizeof *o->snapshots);
    o->snapshots[o->snapshot_count++] = copy;
    return copy;
}

void raft_outbox_add(struct raft_outbox *o, struct raft_messages *list, const struct raft_message *m)
{
    struct raft_message copy = *m;
    copy.entries = raft_outbox_entries(o, m->entries, m->entry_count);
    copy.snapshot = raft_outbox_snapshot(o, m->snapshot);
    raft_messages_add(list, &copy);
}

void raft_outbox_add_read(struct raft_outbox *o, const struct raft_read_state *read)
{
    o->reads = raft_outbox_grow(o->reads, o->read_count, &o->read_capacity, sizeof *o->reads);
    o->reads[o->read_count++] = *read;
}

void raft_outbox_clear(struct raft_outbox *o)
{
    for (size_t i = 0; i < o->run_count; i++)
        for (size_t j = 0; j < o->runs[i].count; j++)
            blob_unref(o->runs[i].entries[j].data);
    for (size_t i = 0; i < o->snapshot_count; i++)
        blob_unref(o->snapshots[i]->data);
    o->messages.count = o->after_append.count = o->steps.count = 0;
    o->read_count = o->run_count = o->snapshot_count = 0;
    arena_reset(&o->arena);
}

void raft_outbox_done(struct raft_outbox *o)
{
    raft_outbox_clear(o);
    mem_free(o->messages.items);
    mem_free(o->after_append.items);
    mem_free(o->steps.items);
    mem_free(o->reads);
    mem_free(o->runs);
    mem_free(o->snapshots);
    arena_done(&o->arena);
    *o = (struct raft_outbox){0};
}
