/* SPDX-License-Identifier: Apache-2.0
 * Tests of corruption detection: which member reports its hash when, and which state is judged correct. */
#include "consensus/node/corrupt.h"
#include "tests/unit/unit.h"

static const struct raft_ids three = {3, {1, 2, 3}}, five = {5, {1, 2, 3, 4, 5}}, two = {2, {1, 2}};

static void equal_states_are_reported_once(void **state)
{
    struct corrupt c = {0};
    (void)state;
    assert_false(corrupt_report(&c, 2, 1, 7, 100)); /* no mark: this member was not there */
    corrupt_mark(&c, 7, 100);
    assert_false(corrupt_report(&c, 2, 1, 6, 99)); /* of an earlier mark */
    assert_int_equal(c.count, 0);
    assert_false(corrupt_report(&c, 2, 1, 7, 100)); /* the leader's: equal, so this member reports nothing */
    assert_int_equal(corrupt_judge(&c, &three), CORRUPT_NOT_YET);
    corrupt_mark(&c, 20, 200);
    assert_int_equal(c.count, 0);
}

/* The same on every member, in the order of the log: the leader reports, the diverged member reports, then
 * the third. */
static void a_follower_is_diverged(void **state)
{
    struct corrupt members[4] = {0};
    static const uint32_t digests[] = {0, 100, 100, 666};
    (void)state;
    for (uint64_t self = 1; self <= 3; self++) {
        struct corrupt *c = &members[self];
        corrupt_mark(c, 7, digests[self]);
        assert_int_equal(corrupt_report(c, self, 1, 7, 100), self == 3);
        assert_int_equal(corrupt_judge(c, &three), CORRUPT_NOT_YET);
        assert_int_equal(corrupt_report(c, self, 3, 7, 666), self == 2); /* the leader has reported already */
        assert_int_equal(corrupt_judge(c, &three), CORRUPT_NOT_YET);
        assert_false(corrupt_report(c, self, 2, 7, 100));
        assert_int_equal(corrupt_judge(c, &three), CORRUPT_DECIDED);
        for (uint64_t member = 1; member <= 3; member++)
            assert_int_equal(corrupt_is_diverged(c, &three, member), member == 3);
    }
}

static void the_leader_is_diverged(void **state)
{
    struct corrupt c = {0};
    (void)state;
    corrupt_mark(&c, 7, 666);
    assert_false(corrupt_report(&c, 1, 1, 7, 666));
    assert_false(corrupt_report(&c, 1, 2, 7, 100));
    assert_int_equal(corrupt_judge(&c, &three), CORRUPT_NOT_YET);
    assert_false(corrupt_report(&c, 1, 2, 7, 666)); /* it reported once; later reports do not count */
    assert_false(corrupt_report(&c, 1, 3, 7, 100));
    assert_int_equal(corrupt_judge(&c, &three), CORRUPT_DECIDED);
    assert_true(corrupt_is_diverged(&c, &three, 1));
    assert_false(corrupt_is_diverged(&c, &three, 2));
}

static void without_a_majority_no_member_is_diverged(void **state)
{
    struct corrupt c = {0};
    (void)state;
    corrupt_mark(&c, 7, 1);
    corrupt_report(&c, 1, 1, 7, 1);
    corrupt_report(&c, 1, 2, 7, 2);
    assert_int_equal(corrupt_judge(&c, &two), CORRUPT_NO_MAJORITY);
    assert_false(corrupt_is_diverged(&c, &two, 1) || corrupt_is_diverged(&c, &two, 2));
    assert_int_equal(corrupt_judge(&c, &three), CORRUPT_NOT_YET); /* the third may decide */
    corrupt_report(&c, 1, 3, 7, 3);
    assert_int_equal(corrupt_judge(&c, &three), CORRUPT_NO_MAJORITY);
}

static void five_members(void **state)
{
    struct corrupt c = {0};
    (void)state;
    corrupt_mark(&c, 7, 1);
    corrupt_report(&c, 1, 1, 7, 1);
    corrupt_report(&c, 1, 2, 7, 2);
    corrupt_report(&c, 1, 3, 7, 2);
    assert_int_equal(corrupt_judge(&c, &five), CORRUPT_NOT_YET); /* two are no majority of five */
    corrupt_report(&c, 1, 4, 7, 1);
    assert_int_equal(corrupt_judge(&c, &five), CORRUPT_NOT_YET);
    corrupt_report(&c, 1, 5, 7, 1);
    assert_int_equal(corrupt_judge(&c, &five), CORRUPT_DECIDED);
    assert_true(corrupt_is_diverged(&c, &five, 2) && corrupt_is_diverged(&c, &five, 3));
    assert_false(corrupt_is_diverged(&c, &five, 1) || corrupt_is_diverged(&c, &five, 4));
}

/* Learners report and are judged; they do not vote. */
static void learners_have_no_vote(void **state)
{
    struct corrupt c = {0};
    (void)state;
    corrupt_mark(&c, 7, 1);
    corrupt_report(&c, 1, 1, 7, 1);
    corrupt_report(&c, 1, 8, 7, 2);
    corrupt_report(&c, 1, 9, 7, 2);
    assert_int_equal(corrupt_judge(&c, &three), CORRUPT_NOT_YET);
    corrupt_report(&c, 1, 2, 7, 1);
    assert_int_equal(corrupt_judge(&c, &three), CORRUPT_DECIDED);
    assert_true(corrupt_is_diverged(&c, &three, 8));
    assert_false(corrupt_is_diverged(&c, &three, 3)); /* has not reported */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_states_are_reported_once),
        cmocka_unit_test(a_follower_is_diverged),
        cmocka_unit_test(the_leader_is_diverged),
        cmocka_unit_test(without_a_majority_no_member_is_diverged),
        cmocka_unit_test(five_members),
        cmocka_unit_test(learners_have_no_vote),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
