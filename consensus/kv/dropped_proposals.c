/* SPDX-License-Identifier: Apache-2.0
 * Proposals that come to nothing: refused by the leader, or lost with a leader or with the connection to it.
 * Their requests end as soon as that is certain, not when their limit has passed.
 *
 * How a loss becomes certain:
 *   1. The leader, or the connection to it, is lost. An entry that was handed to raft before is in the log of
 *      the next leader, or will never be in one. The old leader can still pass entries
 *      on for an election timeout: the query waits as long.
 *   2. The leader is queried for the end of its log, by a call that follows all proposals on the connection.
 *   3. This member applies up to that end.
 *   4. Requests that were handed over before the loss and still wait are lost. They end with one of etcd's
 *      timeouts, which leave open whether the entry was applied. */
#include "consensus/kv/kv_impl.h"

void kv_note_handed_to_raft(struct kv *kv)
{
    if (!node_has_queued(kv->node))
        kv_loss_note_handed(&kv->dropped_proposals, kv_next_proposal(kv));
}

void kv_note_leader_loss(struct kv *kv, int err, uint64_t wait_ms)
{
    kv_loss_note(&kv->dropped_proposals, kv_oldest_proposal(kv), err, kv_now_ms(kv) + wait_ms);
}

static void query_leader(struct kv *kv)
{
    if (kv->state.leader && !kv->state.is_leader) {
        uint64_t number = kv_new_call_number(kv);
        kv_loss_queried(&kv->dropped_proposals, number);
        kv_query_log_end(kv, number);
    } else if (kv->state.is_leader && !node_has_queued(kv->node)) {
        kv_loss_known(&kv->dropped_proposals, kv->state.last_index);
    }
}

void kv_note_leader_log_end(struct kv *kv, uint64_t number, uint64_t index)
{
    kv_loss_answered(&kv->dropped_proposals, number, index);
}

void kv_check_dropped(struct kv *kv)
{
    struct kv_loss_tracker *t = &kv->dropped_proposals;
    if (kv_loss_is_query_due(t, kv_oldest_proposal(kv), kv_now_ms(kv)))
        query_leader(kv);
    if (kv_loss_is_certain(t, store_applied_index(kv->store)))
        kv_fail_proposals_before(kv, t->before, t->err);
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
