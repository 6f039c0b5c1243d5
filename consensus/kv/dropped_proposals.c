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
#include "consensus/kv/kv_impl.h"

#define QUERY_RETRY_MS 500

void kv_note_handed_to_raft(struct kv *kv)
{
    if (!node_has_queued(kv->node))
        kv->dropped_proposals.handed = kv_next_proposal(kv);
}

void kv_note_leader_loss(struct kv *kv, int err, uint64_t wait_ms)
{
    struct kv_dropped_proposals *l = &kv->dropped_proposals;
    if (l->handed <= kv_oldest_proposal(kv))
        return;
    l->state = KV_DROPPED_NOTED;
    l->before = l->handed;
    l->err = err;
    l->due_ms = kv_now_ms(kv) + wait_ms;
}

static void query_leader(struct kv *kv)
{
    struct kv_dropped_proposals *l = &kv->dropped_proposals;
    l->due_ms = kv_now_ms(kv) + QUERY_RETRY_MS;
    if (!kv->state.leader)
        return;
    if (!kv->state.is_leader) {
        l->state = KV_DROPPED_QUERIED;
        l->number = kv_new_call_number(kv);
        kv_query_log_end(kv, l->number);
    } else if (!node_has_queued(kv->node)) {
        l->state = KV_DROPPED_KNOWN;
        l->index = kv->state.last_index;
    }
}

void kv_note_leader_log_end(struct kv *kv, uint64_t number, uint64_t index)
{
    struct kv_dropped_proposals *l = &kv->dropped_proposals;
    if (l->state != KV_DROPPED_QUERIED || l->number != number)
        return;
    l->state = KV_DROPPED_KNOWN;
    l->index = index;
}

void kv_check_dropped(struct kv *kv)
{
    struct kv_dropped_proposals *l = &kv->dropped_proposals;
    if (l->state == KV_DROPPED_NONE)
        return;
    if (kv_oldest_proposal(kv) >= l->before)
        l->state = KV_DROPPED_NONE;
    else if (l->state != KV_DROPPED_KNOWN && kv_now_ms(kv) >= l->due_ms)
        query_leader(kv);
    if (l->state == KV_DROPPED_KNOWN && store_applied_index(kv->store) >= l->index) {
        l->state = KV_DROPPED_NONE;
        kv_fail_proposals_before(kv, l->before, l->err);
    }
}

/* --- refused ----------------------------------------------------------------------------------------- */

void kv_fail_refused(struct kv *kv, uint64_t number, int err)
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
        kv_change_proposer(entry, &member, &number);
    } else if (entry_decode(blob_slice(entry->data), &e) == OK) {
        member = e.member;
        number = e.id;
    }
    if (member == kv->member_id)
        kv_fail_refused(kv, number, err);
    else if (member && number)
        kv_send_refusal(kv, member, number, err);
}
