/* SPDX-License-Identifier: Apache-2.0
 * Tests of sets of ids and majorities, against a plain count. */
#include "consensus/raft/quorum.h"

#include "tests/unit/unit.h"

static void test_ids(void **state)
{
    (void)state;
    struct raft_ids ids = {0};
    for (uint64_t id = RAFT_MEMBERS_MAX; id > 0; id--)
        assert_true(raft_ids_add(&ids, id * 3));
    assert_true(raft_ids_add(&ids, 3)); /* again */
    assert_false(raft_ids_add(&ids, 1));
    assert_true(raft_ids_sorted(&ids));
    assert_true(raft_ids_has(&ids, 9));
    assert_false(raft_ids_has(&ids, 10));
    raft_ids_remove(&ids, 9);
    raft_ids_remove(&ids, 10);
    assert_false(raft_ids_has(&ids, 9));
    assert_int_equal(ids.count, RAFT_MEMBERS_MAX - 1);
    ids.id[1] = ids.id[0];
    assert_false(raft_ids_sorted(&ids));
    ids = (struct raft_ids){.count = RAFT_MEMBERS_MAX + 1};
    assert_false(raft_ids_sorted(&ids));
    ids = (struct raft_ids){.count = 1}; /* id 0 */
    assert_false(raft_ids_sorted(&ids));
}

/* The highest value that more than half have reached, by trying each. */
static uint64_t counted(const uint64_t *values, size_t count)
{
    uint64_t best = 0;
    for (size_t i = 0; i < count; i++) {
        size_t reached = 0;
        for (size_t j = 0; j < count; j++)
            reached += values[j] >= values[i];
        if (reached > count / 2 && values[i] > best)
            best = values[i];
    }
    return best;
}

static void test_majority_index(void **state)
{
    (void)state;
    uint64_t random = 1;
    assert_true(raft_majority_index(NULL, 0) == RAFT_NO_LIMIT);
    for (int run = 0; run < 2000; run++) {
        uint64_t values[9], copy[9];
        size_t count = 1 + (size_t)run % 9;
        for (size_t i = 0; i < count; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
            values[i] = copy[i] = (random >> 33) % 12;
        }
        assert_int_equal(raft_majority_index(copy, count), counted(values, count));
    }
}

static void test_majority_vote(void **state)
{
    (void)state;
    assert_int_equal(raft_majority_vote(NULL, 0), RAFT_VOTE_WON);
    for (unsigned size = 1; size <= 5; size++) {
        unsigned cases = 1;
        for (unsigned i = 0; i < size; i++)
            cases *= 3;
        for (unsigned c = 0; c < cases; c++) {
            enum raft_vote votes[5];
            unsigned rest = c, yes = 0, no = 0;
            for (unsigned i = 0; i < size; i++, rest /= 3) {
                votes[i] = (enum raft_vote)(rest % 3);
                yes += votes[i] == RAFT_VOTE_YES;
                no += votes[i] == RAFT_VOTE_NO;
            }
            enum raft_vote_result result = raft_majority_vote(votes, size);
            assert_int_equal(result == RAFT_VOTE_WON, yes * 2 > size);
            assert_int_equal(result == RAFT_VOTE_LOST, no * 2 >= size);
        }
    }
}

static void test_joint(void **state)
{
    (void)state;
    assert_int_equal(raft_joint_index(5, 3), 3);
    assert_int_equal(raft_joint_index(5, RAFT_NO_LIMIT), 5);
    assert_int_equal(raft_joint_vote(RAFT_VOTE_WON, RAFT_VOTE_WON), RAFT_VOTE_WON);
    assert_int_equal(raft_joint_vote(RAFT_VOTE_WON, RAFT_VOTE_PENDING), RAFT_VOTE_PENDING);
    assert_int_equal(raft_joint_vote(RAFT_VOTE_WON, RAFT_VOTE_LOST), RAFT_VOTE_LOST);
    assert_int_equal(raft_joint_vote(RAFT_VOTE_LOST, RAFT_VOTE_PENDING), RAFT_VOTE_LOST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_majority_index),
        cmocka_unit_test(test_majority_vote),
        cmocka_unit_test(test_joint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
