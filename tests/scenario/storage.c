/* SPDX-License-Identifier: Apache-2.0
 * The behaviour of etcd-io/raft's MemoryStorage. */
#include "tests/scenario/storage.h"

void snapshot_set(struct raft_snapshot *to, const struct raft_snapshot *from)
{
    struct blob *old = to->data;
    *to = *from;
    blob_ref(to->data);
    blob_unref(old);
}

static void cut(struct storage *s, size_t from, size_t count)
{
    for (size_t i = from; i < from + count; i++)
        blob_unref(s->entries[i].data);
    if (s->count > from + count)
        memmove(s->entries + from, s->entries + from + count, (s->count - from - count) * sizeof *s->entries);
    s->count -= count;
}

void storage_done(struct storage *s)
{
    cut(s, 0, s->count);
    mem_free(s->entries);
    blob_unref(s->snapshot.data);
    *s = (struct storage){0};
}

uint64_t storage_first(const struct storage *s)
{
    return s->before_index + 1;
}

uint64_t storage_last(const struct storage *s)
{
    return s->before_index + s->count;
}

const char *storage_install(struct storage *s, const struct raft_snapshot *snapshot)
{
    if (s->snapshot.index != 0 && s->snapshot.index >= snapshot->index)
        return "requested index is older than the existing snapshot";
    snapshot_set(&s->snapshot, snapshot);
    cut(s, 0, s->count);
    s->before_index = snapshot->index;
    s->before_term = snapshot->term;
    return NULL;
}

const char *storage_append(struct storage *s, const struct raft_entry *entries, size_t count)
{
    if (count == 0 || entries[count - 1].index < storage_first(s))
        return NULL;
    while (entries[0].index < storage_first(s)) {
        entries++;
        count--;
    }
    size_t at = entries[0].index - storage_first(s);
    if (at > s->count)
        return "missing log entry";
    cut(s, at, s->count - at);
    s->entries = mem_resize(s->entries, (at + count) * sizeof *s->entries);
    for (size_t i = 0; i < count; i++) {
        s->entries[at + i] = entries[i];
        blob_ref(entries[i].data);
    }
    s->count = at + count;
    return NULL;
}

const char *storage_compact(struct storage *s, uint64_t index)
{
    if (index <= s->before_index)
        return "requested index is unavailable due to compaction";
    if (index > storage_last(s))
        return "compact is out of bound";
    size_t gone = index - s->before_index;
    s->before_term = s->entries[gone - 1].term;
    s->before_index = index;
    cut(s, 0, gone);
    return NULL;
}
