/* SPDX-License-Identifier: Apache-2.0
 * Tests of requests in their lists, without a store, a log or other members: each request ends once,
 * whatever happens first, and is in no list afterwards. */
#include "base/mem.h"
#include "consensus/kv/kv_impl.h"
#include "unit.h"

#define MEMBER   0xabc
#define FIRST    1000
#define LIMIT_MS 7000

/* --- the other parts ---------------------------------------------------------------------------------- */

static uint64_t now_ms;
static const struct kv_request *forgotten_call, *dropped_answer;

uint64_t kv_now_ms(const struct kv *kv)
{
    (void)kv;
    return now_ms;
}

int kv_expiry_err(const struct kv *kv, const struct kv_request *r)
{
    (void)kv;
    return r->state == KV_PROPOSED ? ERR_TIMEOUT_LEADER_FAIL : ERR_TIMEOUT;
}

void kv_scan_drop(struct kv *kv, struct kv_request *r)
{
    (void)kv;
    assert_null(r->slices);
}

void kv_forget_call(struct kv *kv, struct kv_request *r)
{
    (void)kv;
    forgotten_call = r;
}

void kv_sliced_apply_drop_answer(struct kv *kv)
{
    dropped_answer = container_of(kv->sliced_apply.waiting.next, struct kv_request, link);
}

/* --- callers ------------------------------------------------------------------------------------------ */

struct caller {
    struct kv_request request;
    unsigned answers;
    int err;
};

static struct kv kv;
static struct caller callers[4];

static void on_answer(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct caller *c = container_of(r, struct caller, request);
    (void)response;
    assert_int_equal(r->state, KV_IDLE);
    assert_false(link_is_in_list(&r->link));
    c->answers++;
    c->err = err;
}

static void start(void)
{
    memset(&kv, 0, sizeof kv);
    memset(callers, 0, sizeof callers);
    now_ms = 1;
    forgotten_call = dropped_answer = NULL;
    kv.member_id = MEMBER;
    kv.settings.limit_ms = LIMIT_MS;
    kv_requests_init(&kv.requests, FIRST);
    list_init(&kv.sliced_apply.waiting);
    for (size_t i = 0; i < COUNT_OF(callers); i++)
        callers[i].request.done = on_answer;
}

static struct kv_request *propose(unsigned n)
{
    struct kv_request *r = &callers[n].request;
    r->started_ms = now_ms;
    kv_assign_proposal_id(&kv, r);
    kv_wait_for_entry(&kv, r);
    return r;
}

static void assert_ended(unsigned n, int err)
{
    assert_int_equal(callers[n].answers, 1);
    assert_int_equal(callers[n].err, err);
}

/* --- tests -------------------------------------------------------------------------------------------- */

static void test_an_applied_entry_finds_its_request(void **state)
{
    (void)state;
    start();
    struct kv_request *r = propose(0);
    (void)propose(1);
    assert_int_equal(kv_pending_proposals(&kv), 2);
    assert_null(kv_take_proposed(&kv, MEMBER + 1, r->id)); /* of another member */
    assert_null(kv_take_proposed(&kv, MEMBER, FIRST - 1)); /* of an earlier run */
    assert_ptr_equal(kv_take_proposed(&kv, MEMBER, r->id), r);
    assert_null(kv_take_proposed(&kv, MEMBER, r->id)); /* once */
    kv_finish(&kv, r, OK, NULL);
    assert_ended(0, OK);
    assert_int_equal(kv_oldest_proposal(&kv), callers[1].request.id);
    kv_stop_proposals(&kv);
    assert_ended(1, ERR_STOPPED);
    kv_requests_done(&kv.requests);
}

static void test_a_canceled_one_is_not_answered(void **state)
{
    (void)state;
    start();
    struct kv_request *r = propose(0);
    uint64_t id = r->id;
    kv_cancel(&kv, r);
    kv_cancel(&kv, r); /* nothing more to do */
    assert_null(kv_take_proposed(&kv, MEMBER, id));
    kv_fail(&kv, &callers[1].request, ERR_NO_SPACE);
    kv_cancel(&kv, &callers[1].request);
    assert_false(kv_has_failed(&kv));
    kv_answer_failed(&kv);
    assert_int_equal(callers[0].answers + callers[1].answers, 0);
    kv_requests_done(&kv.requests);
}

/* Each state removes its own pointers to the request. */
static void test_cancel_in_other_parts(void **state)
{
    (void)state;
    start();
    struct link sent;
    list_init(&sent);
    callers[0].request.state = KV_CALL_SENT;
    list_add_last(&sent, &callers[0].request.link);
    kv_cancel(&kv, &callers[0].request);
    assert_ptr_equal(forgotten_call, &callers[0].request);
    callers[1].request.state = KV_APPLYING;
    list_add_last(&kv.sliced_apply.waiting, &callers[1].request.link);
    kv_cancel(&kv, &callers[1].request);
    assert_ptr_equal(dropped_answer, &callers[1].request);
    assert_true(list_is_empty(&sent) && list_is_empty(&kv.sliced_apply.waiting));
    kv_requests_done(&kv.requests);
}

/* The callback never runs inside the call that failed the request; a request that fails meanwhile waits for
 * the next time. */
static void test_failed_ones_are_answered_later(void **state)
{
    (void)state;
    start();
    kv_fail(&kv, &callers[0].request, ERR_NO_SPACE);
    kv_fail(&kv, &callers[1].request, ERR_NOT_LEADER);
    assert_int_equal(callers[0].answers, 0);
    assert_true(kv_has_failed(&kv));
    kv_answer_failed(&kv);
    assert_ended(0, ERR_NO_SPACE);
    assert_ended(1, ERR_NOT_LEADER);
    assert_false(kv_has_failed(&kv));
    kv_requests_done(&kv.requests);
}

static void test_limits(void **state)
{
    (void)state;
    start();
    (void)propose(0);
    now_ms += 10;
    (void)propose(1);
    now_ms += LIMIT_MS - 10;
    kv_expire_proposals(&kv);
    kv_answer_failed(&kv);
    assert_ended(0, ERR_TIMEOUT_LEADER_FAIL);
    assert_int_equal(callers[1].answers, 0);
    kv_stop_proposals(&kv);
    kv_requests_done(&kv.requests);
}

static void test_lost_proposals(void **state)
{
    (void)state;
    start();
    for (unsigned n = 0; n < 3; n++)
        (void)propose(n);
    kv_fail_proposals_before(&kv, callers[2].request.id, ERR_TIMEOUT_CONNECTION_LOST);
    kv_answer_failed(&kv);
    assert_ended(0, ERR_TIMEOUT_CONNECTION_LOST);
    assert_ended(1, ERR_TIMEOUT_CONNECTION_LOST);
    assert_int_equal(callers[2].answers, 0);
    kv_stop_proposals(&kv);
    kv_requests_done(&kv.requests);
}

static void test_waiting_ones_by_kind(void **state)
{
    (void)state;
    struct link list;
    start();
    callers[0].request.kind = callers[2].request.kind = KV_COMPACT;
    callers[1].request.kind = KV_HASH;
    for (unsigned n = 0; n < 3; n++)
        kv_add_waiting(&kv, &callers[n].request);
    kv_take_waiting(&kv, KV_COMPACT, &list);
    kv_cancel(&kv, &callers[0].request); /* still removes it from the caller's list */
    assert_ptr_equal(list.next, &callers[2].request.link);
    kv_finish(&kv, &callers[2].request, OK, NULL);
    assert_true(list_is_empty(&list));
    kv_stop_waiting(&kv);
    assert_int_equal(callers[0].answers, 0);
    assert_ended(1, ERR_STOPPED);
    assert_ended(2, OK);
    kv_requests_done(&kv.requests);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_applied_entry_finds_its_request),
        cmocka_unit_test(test_a_canceled_one_is_not_answered),
        cmocka_unit_test(test_cancel_in_other_parts),
        cmocka_unit_test(test_failed_ones_are_answered_later),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_lost_proposals),
        cmocka_unit_test(test_waiting_ones_by_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
