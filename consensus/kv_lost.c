/* SPDX-License-Identifier: Apache-2.0
 * Proposals that do not come to anything: refused by the leader, or lost with a leader or with the lane to
 * it. Whoever waits for one is told as soon as that is certain, not when his time is up.
 *
 * What was given to raft before a loss is in the log of who leads now, or will never be in one (but for what
 * the old leader passes on, for which it has an election timeout). So the leader is asked how far its log
 * reaches, by a call that comes behind all else on the lane. Once this member has applied as far, what was
 * given before the loss and still waits is lost. It ends with etcd's words for it, which leave open whether
 * it was applied. */
#include "base/metric.h"
#include "consensus/kv_impl.h"

#define ASK_AGAIN_MS 500

enum { LOST_NOTHING, LOST_NOTED, LOST_ASKED, LOST_KNOWN };

void kv_note_given(struct kv *kv)
{
    if (!node_has_queued(kv->node))
        kv->lost.given = kv->ring.next;
}

void kv_note_loss(struct kv *kv, int err, uint64_t wait_ms)
{
    struct kv_lost *l = &kv->lost;
    if (l->given <= kv->ring.first)
        return;
    l->state = LOST_NOTED;
    l->before = l->given;
    l->err = err;
    l->due_ms = kv_now_ms(kv) + wait_ms;
}

static void kv_lost_ask(struct kv *kv)
{
    struct kv_lost *l = &kv->lost;
    l->due_ms = kv_now_ms(kv) + ASK_AGAIN_MS;
    if (!kv->state.leader)
        return;
    if (!kv->state.is_leader) {
        l->state = LOST_ASKED;
        l->number = kv_ring_add(&kv->calls, NULL);
        kv_ring_clear(&kv->calls, l->number);
        kv_call_log_end(kv, l->number);
    } else if (!node_has_queued(kv->node)) {
        l->state = LOST_KNOWN;
        l->index = kv->state.last_index;
    }
}

void kv_take_log_end(struct kv *kv, uint64_t number, uint64_t index)
{
    struct kv_lost *l = &kv->lost;
    if (l->state != LOST_ASKED || l->number != number)
        return;
    l->state = LOST_KNOWN;
    l->index = index;
}

static void end_lost(struct kv *kv)
{
    struct kv_lost *l = &kv->lost;
    l->state = LOST_NOTHING;
    LIST_FOR_EACH_SAFE (link, &kv->proposed) {
        struct kv_request *r = container_of(link, struct kv_request, link);
        if (r->id >= l->before)
            break;
        metric_add(METRIC_PROPOSALS_FAILED, 1);
        kv_cancel(kv, r);
        kv_fail(kv, r, l->err);
    }
}

void kv_check_lost(struct kv *kv)
{
    struct kv_lost *l = &kv->lost;
    if (l->state == LOST_NOTHING)
        return;
    if (kv->ring.first >= l->before)
        l->state = LOST_NOTHING;
    else if (l->state != LOST_KNOWN && kv_now_ms(kv) >= l->due_ms)
        kv_lost_ask(kv);
    if (l->state == LOST_KNOWN && store_applied_index(kv->store) >= l->index)
        end_lost(kv);
}

/* --- refused ----------------------------------------------------------------------------------------- */

void kv_end_refused(struct kv *kv, uint64_t number, int err)
{
    struct kv_request *r = kv_take_proposed(kv, kv->member_id, number);
    if (r)
        kv_fail(kv, r, err);
}

bool kv_is_internal(void *arg, const struct raft_entry *entry)
{
    (void)arg;
    struct entry e;
    return entry->type != RAFT_ENTRY_NORMAL ||
           (entry_decode(blob_slice(entry->data), &e) == OK && e.who.is_own && e.id == 0);
}

void kv_on_refused(void *arg, const struct raft_entry *entry, int err)
{
    struct kv *kv = arg;
    struct entry e;
    uint64_t member = 0, number = 0;
    if (entry->type != RAFT_ENTRY_NORMAL) {
        kv_change_asker(entry, &member, &number);
    } else if (entry_decode(blob_slice(entry->data), &e) == OK) {
        member = e.member;
        number = e.id;
    }
    if (member == kv->member_id)
        kv_end_refused(kv, number, err);
    else if (member && number)
        kv_send_refusal(kv, member, number, err);
}
