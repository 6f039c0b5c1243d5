/* SPDX-License-Identifier: Apache-2.0
 * Message kinds, entry sizes, and message copies that own their pointers. */
#include "consensus/raft/message.h"

bool raft_message_is_local(enum raft_message_type type)
{
    static const bool local[] = {
#define MESSAGE(name, etcd, local, response) local,
#include "consensus/raft/message.def"
#undef MESSAGE
    };
    return local[type];
}

bool raft_message_is_response(enum raft_message_type type)
{
    static const bool response[] = {
#define MESSAGE(name, etcd, local, response) response,
#include "consensus/raft/message.def"
#undef MESSAGE
    };
    return response[type];
}

static size_t varint_size(uint64_t value)
{
    return ((size_t)(63 - __builtin_clzll(value | 1)) * 9 + 73) / 64;
}

size_t raft_entry_size(const struct raft_entry *e)
{
    size_t size = 1 + varint_size(e->term) + 1 + varint_size(e->index);
    if (e->type != RAFT_ENTRY_NORMAL)
        size += 2;
    if (e->data)
        size += 1 + varint_size(e->data->size) + e->data->size;
    return size;
}

static struct raft_entry *keep_entries(const struct raft_entry *entries, size_t count)
{
    if (count == 0)
        return NULL;
    struct raft_entry *copy = mem_copy(entries, count * sizeof *entries);
    for (size_t i = 0; i < count; i++)
        blob_ref(copy[i].data);
    return copy;
}

struct raft_message raft_message_keep(const struct raft_message *m)
{
    struct raft_message copy = *m;
    copy.entries = keep_entries(m->entries, m->entry_count);
    if (m->snapshot) {
        copy.snapshot = mem_copy(m->snapshot, sizeof *m->snapshot);
        blob_ref(m->snapshot->data);
    }
    if (m->response_count) {
        struct raft_message *responses = mem_alloc(m->response_count * sizeof *responses);
        for (size_t i = 0; i < m->response_count; i++)
            responses[i] = raft_message_keep(&m->responses[i]);
        copy.responses = responses;
    }
    return copy;
}

void raft_message_done(struct raft_message *m)
{
    for (size_t i = 0; i < m->entry_count; i++)
        blob_unref(m->entries[i].data);
    mem_free(m->entries);
    if (m->snapshot) {
        blob_unref(m->snapshot->data);
        mem_free(m->snapshot);
    }
    for (size_t i = 0; i < m->response_count; i++) {
        struct raft_message response = m->responses[i];
        raft_message_done(&response);
    }
    if (m->response_count)
        mem_free(m->responses);
    *m = (struct raft_message){0};
}
