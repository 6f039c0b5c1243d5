/* SPDX-License-Identifier: Apache-2.0
 * Requests that wait: their lists, and the rings that find a request by its number (requests.h). */
#include "consensus/kv/kv_impl.h"

#include "base/metric.h"

void kv_requests_init(struct kv_requests *q, uint64_t first_number)
{
    kv_ring_init(&q->ring, first_number);
    list_init(&q->proposed);
    list_init(&q->failed);
    list_init(&q->waiting);
}

void kv_requests_done(struct kv_requests *q)
{
    kv_ring_done(&q->ring);
}

void kv_assign_proposal_id(struct kv *kv, struct kv_request *r)
{
    r->id = kv_ring_add(&kv->requests.ring, r);
}

void kv_release_proposal_id(struct kv *kv, struct kv_request *r)
{
    kv_ring_clear(&kv->requests.ring, r->id);
}

struct kv_request *kv_take_proposed(struct kv *kv, uint64_t member, uint64_t id)
{
    struct kv_ring *ring = &kv->requests.ring;
    if (member != kv->member_id)
        return NULL;
    /* The ring never moves because of an entry of an earlier run (under a clock that was ahead). The next
     * numbers of that run may be in the log too, and would find requests of this run. */
    struct kv_request *r = kv_ring_find(ring, id);
    if (r) {
        kv_ring_clear(ring, id);
        list_remove(&r->link);
        r->state = KV_IDLE;
    }
    return r;
}

/* Out of its list, and out of its ring. */
static void take_out(struct kv *kv, struct kv_request *r)
{
    if (r->state == KV_PROPOSED)
        kv_ring_clear(&kv->requests.ring, r->id);
    else if (r->state == KV_CALL_SENT)
        kv_forget_call(kv, r);
    else if (r->state == KV_APPLYING)
        kv_sliced_apply_drop_answer(kv);
    kv_scan_drop(kv, r);
    list_remove(&r->link);
    r->begun_ns = 0;
    r->state = KV_IDLE;
}

void kv_finish(struct kv *kv, struct kv_request *r, int err, const ProtobufCMessage *response)
{
    kv_time_request(kv, r, !err);
    take_out(kv, r);
    r->done(r, err, response);
}

void kv_fail(struct kv *kv, struct kv_request *r, int err)
{
    r->state = KV_FAILED;
    r->begun_ns = 0;
    r->slices = NULL;
    r->index = (uint64_t)-err;
    list_add_last(&kv->requests.failed, &r->link);
}

void kv_add_waiting(struct kv *kv, struct kv_request *r)
{
    r->state = KV_WAITING;
    list_add_last(&kv->requests.waiting, &r->link);
}

void kv_cancel(struct kv *kv, struct kv_request *r)
{
    if (r->state != KV_IDLE)
        take_out(kv, r);
}

void kv_answer_failed(struct kv *kv)
{
    struct link now;
    list_init(&now);
    list_move_all(&now, &kv->requests.failed);
    struct link *l;
    while ((l = list_take_first(&now))) {
        struct kv_request *r = container_of(l, struct kv_request, link);
        r->state = KV_IDLE;
        r->done(r, -(int)r->index, NULL);
    }
}

size_t kv_pending_proposals(const struct kv *kv)
{
    return (size_t)(kv->requests.ring.next - kv->requests.ring.first);
}

uint64_t kv_oldest_proposal(const struct kv *kv)
{
    return kv->requests.ring.first;
}

uint64_t kv_next_proposal(const struct kv *kv)
{
    return kv->requests.ring.next;
}

bool kv_has_failed(const struct kv *kv)
{
    return !list_is_empty(&kv->requests.failed);
}

void kv_wait_for_entry(struct kv *kv, struct kv_request *r)
{
    r->state = KV_PROPOSED;
    list_add_last(&kv->requests.proposed, &r->link);
}

void kv_take_waiting(struct kv *kv, enum kv_kind kind, struct link *ret_list)
{
    list_init(ret_list);
    LIST_FOR_EACH_SAFE (l, &kv->requests.waiting) {
        struct kv_request *r = container_of(l, struct kv_request, link);
        if (r->kind == (int)kind) {
            list_remove(l);
            list_add_last(ret_list, l);
        }
    }
}

void kv_fail_proposals_before(struct kv *kv, uint64_t id, int err)
{
    LIST_FOR_EACH_SAFE (link, &kv->requests.proposed) {
        struct kv_request *r = container_of(link, struct kv_request, link);
        if (r->id >= id)
            break;
        metric_add(METRIC_PROPOSALS_FAILED, 1);
        kv_time_request(kv, r, false);
        kv_cancel(kv, r);
        kv_fail(kv, r, err);
    }
}

/* --- limits and the end ------------------------------------------------------------------------------- */

void kv_expire_list(struct kv *kv, struct link *list)
{
    uint64_t now = kv_now_ms(kv);
    while (!list_is_empty(list)) {
        struct kv_request *r = container_of(list->next, struct kv_request, link);
        if (now - r->started_ms < kv->settings.limit_ms)
            break;
        if (r->state == KV_PROPOSED)
            metric_add(METRIC_PROPOSALS_FAILED, 1);
        int err = kv_expiry_err(kv, r);
        kv_time_request(kv, r, false);
        kv_cancel(kv, r);
        kv_fail(kv, r, err);
    }
}

void kv_expire_proposals(struct kv *kv)
{
    kv_expire_list(kv, &kv->requests.proposed);
}

void kv_stop_list(struct kv *kv, struct link *list)
{
    while (!list_is_empty(list))
        kv_finish(kv, container_of(list->next, struct kv_request, link), ERR_STOPPED, NULL);
}

void kv_stop_proposals(struct kv *kv)
{
    kv_stop_list(kv, &kv->requests.proposed);
}

void kv_stop_waiting(struct kv *kv)
{
    kv_stop_list(kv, &kv->requests.failed);
    kv_stop_list(kv, &kv->requests.waiting);
}
