/* SPDX-License-Identifier: Apache-2.0
 * Queues of pending linearizable reads; see read_only.h. */
#include "consensus/raft/read_only.h"

void raft_reads_reset(struct raft_reads *r)
{
    r->early.head = r->early.count = 0;
    r->numbered.head = r->numbered.count = 0;
    r->confirmed = 0;
}

void raft_reads_done(struct raft_reads *r)
{
    mem_free(r->early.items);
    mem_free(r->numbered.items);
    *r = (struct raft_reads){0};
}

bool raft_read_queue_add(struct raft_read_queue *q, const struct raft_read *read)
{
    if (q->count == RAFT_READS_MAX)
        return false;
    if (q->head + q->count == q->capacity) {
        if (q->head) {
            memmove(q->items, q->items + q->head, q->count * sizeof *q->items);
            q->head = 0;
        }
        if (q->count >= q->capacity / 2) {
            q->capacity = q->capacity ? q->capacity * 2 : 16;
            q->items = mem_resize(q->items, q->capacity * sizeof *q->items);
        }
    }
    q->items[q->head + q->count++] = *read;
    return true;
}

bool raft_read_queue_take(struct raft_read_queue *q, struct raft_read *ret_read)
{
    if (q->count == 0)
        return false;
    *ret_read = q->items[q->head++];
    if (--q->count == 0)
        q->head = 0;
    return true;
}

uint64_t raft_reads_newest(const struct raft_reads *r)
{
    return r->numbered.count ? r->confirmed + r->numbered.count : 0;
}

bool raft_reads_take_confirmed(struct raft_reads *r, uint64_t number, struct raft_read *ret_read)
{
    if (number <= r->confirmed || !raft_read_queue_take(&r->numbered, ret_read))
        return false;
    r->confirmed++;
    return true;
}

struct raft_context raft_reads_context(uint64_t number)
{
    struct raft_context context = {.size = number ? 8 : 0};
    put_le64(context.data, number);
    return context;
}

uint64_t raft_reads_number(const struct raft_context *context)
{
    return context->size == 8 ? get_le64(context->data) : 0;
}
