/* SPDX-License-Identifier: Apache-2.0
 * The state machine of a loss: noted, queried, known (loss_tracker.h). */
#include "consensus/kv/loss_tracker.h"

#define QUERY_RETRY_MS 500

void kv_loss_note_handed(struct kv_loss_tracker *t, uint64_t next)
{
    t->handed = next;
}

void kv_loss_note(struct kv_loss_tracker *t, uint64_t oldest, int err, uint64_t due_ms)
{
    if (t->handed <= oldest)
        return;
    t->state = KV_LOSS_NOTED;
    t->before = t->handed;
    t->err = err;
    t->due_ms = due_ms;
}

bool kv_loss_is_query_due(struct kv_loss_tracker *t, uint64_t oldest, uint64_t now_ms)
{
    if (t->state == KV_LOSS_NONE)
        return false;
    if (oldest >= t->before) {
        t->state = KV_LOSS_NONE;
        return false;
    }
    if (t->state == KV_LOSS_KNOWN || now_ms < t->due_ms)
        return false;
    t->due_ms = now_ms + QUERY_RETRY_MS;
    return true;
}

void kv_loss_queried(struct kv_loss_tracker *t, uint64_t number)
{
    t->state = KV_LOSS_QUERIED;
    t->number = number;
}

void kv_loss_known(struct kv_loss_tracker *t, uint64_t index)
{
    t->state = KV_LOSS_KNOWN;
    t->index = index;
}

void kv_loss_answered(struct kv_loss_tracker *t, uint64_t number, uint64_t index)
{
    if (t->state == KV_LOSS_QUERIED && t->number == number)
        kv_loss_known(t, index);
}

bool kv_loss_is_certain(struct kv_loss_tracker *t, uint64_t applied_index)
{
    if (t->state != KV_LOSS_KNOWN || applied_index < t->index)
        return false;
    t->state = KV_LOSS_NONE;
    return true;
}
