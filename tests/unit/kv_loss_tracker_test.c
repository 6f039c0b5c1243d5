/* SPDX-License-Identifier: Apache-2.0
 * Tests of the loss tracker: each transition to a lost proposal, without a member around it. */
#include "unit.h"

#include "consensus/kv/loss_tracker.h"

enum { ERR = -7, OTHER_ERR = -8 };

/* Requests 10 to 19 were handed to raft, 15 is the oldest pending one; the leader is lost at 1000 ms. */
static struct kv_loss_tracker lost_at_1000(void)
{
    struct kv_loss_tracker t = {0};
    kv_loss_note_handed(&t, 20);
    kv_loss_note(&t, 15, ERR, 1000);
    assert_int_equal(t.state, KV_LOSS_NOTED);
    return t;
}

static void test_nothing_was_handed_over(void **state)
{
    (void)state;
    struct kv_loss_tracker t = {0};
    kv_loss_note_handed(&t, 20);
    kv_loss_note(&t, 20, ERR, 1000);
    assert_false(kv_loss_is_query_due(&t, 20, 5000));
    assert_false(kv_loss_is_certain(&t, UINT64_MAX));
}

static void test_a_follower(void **state)
{
    (void)state;
    struct kv_loss_tracker t = lost_at_1000();
    assert_false(kv_loss_is_query_due(&t, 15, 999));
    assert_true(kv_loss_is_query_due(&t, 15, 1000));
    kv_loss_queried(&t, 77);
    kv_loss_answered(&t, 76, 5); /* of an earlier query */
    assert_false(kv_loss_is_certain(&t, UINT64_MAX));
    kv_loss_answered(&t, 77, 300);
    assert_false(kv_loss_is_certain(&t, 299));
    assert_true(kv_loss_is_certain(&t, 300));
    assert_int_equal(t.before, 20);
    assert_int_equal(t.err, ERR);
    assert_false(kv_loss_is_certain(&t, 300)); /* once */
}

static void test_the_leader_itself(void **state)
{
    (void)state;
    struct kv_loss_tracker t = lost_at_1000();
    assert_true(kv_loss_is_query_due(&t, 15, 1000));
    kv_loss_known(&t, 300);
    assert_false(kv_loss_is_query_due(&t, 15, 9000)); /* it is known */
    assert_true(kv_loss_is_certain(&t, 301));
}

/* Without an answer, or without a leader to send the query to. */
static void test_queried_again(void **state)
{
    (void)state;
    struct kv_loss_tracker t = lost_at_1000();
    assert_true(kv_loss_is_query_due(&t, 15, 1200));
    assert_false(kv_loss_is_query_due(&t, 15, 1699));
    assert_true(kv_loss_is_query_due(&t, 15, 1700));
    kv_loss_queried(&t, 1);
    assert_true(kv_loss_is_query_due(&t, 15, 2200));
    kv_loss_queried(&t, 2);
    kv_loss_answered(&t, 1, 5);
    assert_int_equal(t.state, KV_LOSS_QUERIED);
    kv_loss_answered(&t, 2, 6);
    assert_true(kv_loss_is_certain(&t, 6));
}

/* All requests that were handed over before it have ended by themselves. */
static void test_requests_stop_waiting(void **state)
{
    (void)state;
    struct kv_loss_tracker t = lost_at_1000();
    assert_true(kv_loss_is_query_due(&t, 15, 1000));
    kv_loss_queried(&t, 1);
    assert_false(kv_loss_is_query_due(&t, 20, 1001));
    assert_int_equal(t.state, KV_LOSS_NONE);
    kv_loss_answered(&t, 1, 5);
    assert_false(kv_loss_is_certain(&t, UINT64_MAX));
}

/* The second loss alone concerns proposals that were handed over between two losses. */
static void test_a_second_loss(void **state)
{
    (void)state;
    struct kv_loss_tracker t = lost_at_1000();
    assert_true(kv_loss_is_query_due(&t, 15, 1000));
    kv_loss_queried(&t, 1);
    kv_loss_note_handed(&t, 30);
    assert_int_equal(t.before, 20);
    kv_loss_note(&t, 15, OTHER_ERR, 3000);
    kv_loss_answered(&t, 1, 5); /* the answer to the first loss's query says nothing about these */
    assert_false(kv_loss_is_certain(&t, UINT64_MAX));
    assert_false(kv_loss_is_query_due(&t, 15, 2999));
    assert_true(kv_loss_is_query_due(&t, 15, 3000));
    kv_loss_queried(&t, 2);
    kv_loss_answered(&t, 2, 9);
    assert_true(kv_loss_is_certain(&t, 9));
    assert_int_equal(t.before, 30);
    assert_int_equal(t.err, OTHER_ERR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_was_handed_over), cmocka_unit_test(test_a_follower),
        cmocka_unit_test(test_the_leader_itself),       cmocka_unit_test(test_queried_again),
        cmocka_unit_test(test_requests_stop_waiting),   cmocka_unit_test(test_a_second_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
