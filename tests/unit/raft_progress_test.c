/* SPDX-License-Identifier: Apache-2.0
 * Tests of the leader's record of a follower, and of the window of messages in flight to it. */
#include "consensus/raft/progress.h"

#include "tests/unit/unit.h"

static void test_inflights_rotate(void **state)
{
    (void)state;
    struct raft_inflights in;
    raft_inflights_init(&in, 10, 0);
    for (uint64_t round = 0; round < 100; round++) {
        for (uint64_t i = 0; !raft_inflights_full(&in); i++)
            raft_inflights_add(&in, round * 10 + i, 1);
        assert_int_equal(in.count, 10);
        raft_inflights_free_to(&in, in.ring[in.start].index + 3); /* not a multiple of the ring */
        assert_int_equal(in.count, 10 - 4);
        assert_int_equal(in.bytes, 6);
        raft_inflights_free_to(&in, RAFT_NO_LIMIT);
        assert_int_equal(in.count, 0);
    }
    assert_true(in.capacity <= 16);
    raft_inflights_done(&in);
}

static void test_inflights_bytes(void **state)
{
    (void)state;
    struct raft_inflights in;
    raft_inflights_init(&in, 100, 50);
    raft_inflights_add(&in, 1, 49);
    assert_false(raft_inflights_full(&in));
    raft_inflights_add(&in, 2, 49); /* one may cross the limit */
    assert_true(raft_inflights_full(&in));
    raft_inflights_free_to(&in, 0);
    assert_true(raft_inflights_full(&in));
    raft_inflights_free_to(&in, 1);
    assert_false(raft_inflights_full(&in));
    raft_inflights_reset(&in);
    assert_int_equal(in.bytes, 0);
    raft_inflights_done(&in);
}

static struct raft_progress progress(enum raft_progress_state state, uint64_t match, uint64_t next)
{
    struct raft_progress p = {.id = 2, .state = state, .match = match, .next = next};
    raft_inflights_init(&p.inflights, 256, 0);
    return p;
}

static void test_become(void **state)
{
    (void)state;
    struct raft_progress p = progress(RAFT_REPLICATE, 1, 5);
    p.sent_commit = 4;
    raft_progress_become_probe(&p);
    assert_int_equal(p.next, 2);
    assert_int_equal(p.sent_commit, 1);
    raft_progress_become_snapshot(&p, 10);
    assert_int_equal(p.next, 11);
    assert_true(raft_progress_paused(&p));
    raft_progress_become_probe(&p); /* delivered */
    assert_int_equal(p.next, 11);
    raft_progress_become_snapshot(&p, 20);
    p.pending_snapshot = 0;
    raft_progress_become_probe(&p); /* failed */
    assert_int_equal(p.next, 2);
    raft_progress_become_replicate(&p);
    assert_int_equal(p.next, 2);
    assert_int_equal(p.match, 1);
}

static void test_acked(void **state)
{
    (void)state;
    static const struct {
        uint64_t acked, match, next;
        bool news;
    } cases[] = {{2, 3, 5, false}, {3, 3, 5, false}, {4, 4, 5, true}, {5, 5, 6, true}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct raft_progress p = progress(RAFT_REPLICATE, 3, 5);
        p.flow_paused = true;
        assert_int_equal(raft_progress_acked(&p, cases[i].acked), cases[i].news);
        assert_int_equal(p.match, cases[i].match);
        assert_int_equal(p.next, cases[i].next);
        assert_int_equal(p.flow_paused, !cases[i].news);
        assert_true(p.match < p.next);
    }
}

static void test_rejected(void **state)
{
    (void)state;
    static const struct {
        enum raft_progress_state state;
        uint64_t match, next, rejected, hint;
        bool news;
        uint64_t want_next;
    } cases[] = {
        {RAFT_REPLICATE, 5, 10, 5, 5, false, 10}, /* known to match: stale */
        {RAFT_REPLICATE, 5, 10, 4, 4, false, 10}, {RAFT_REPLICATE, 5, 10, 9, 9, true, 6},
        {RAFT_PROBE, 0, 10, 5, 5, false, 10}, /* not what was probed */
        {RAFT_PROBE, 0, 10, 9, 9, true, 9},       {RAFT_PROBE, 0, 2, 1, 1, true, 1},
        {RAFT_PROBE, 0, 1, 0, 0, true, 1}, /* never below 1 */
        {RAFT_PROBE, 0, 10, 9, 2, true, 3},       {RAFT_PROBE, 0, 10, 9, 0, true, 1},
        {RAFT_PROBE, 4, 10, 9, 2, true, 5}, /* never at or below match */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct raft_progress p = progress(cases[i].state, cases[i].match, cases[i].next);
        assert_int_equal(raft_progress_rejected(&p, cases[i].rejected, cases[i].hint), cases[i].news);
        assert_int_equal(p.next, cases[i].want_next);
        assert_true(p.match < p.next);
    }
}

static void test_sent(void **state)
{
    (void)state;
    struct raft_progress p = progress(RAFT_PROBE, 0, 1);
    raft_progress_sent(&p, 0, 0);
    assert_false(raft_progress_paused(&p));
    raft_progress_sent(&p, 3, 30); /* a probe: next stays until the answer */
    assert_true(raft_progress_paused(&p));
    assert_int_equal(p.next, 1);
    raft_progress_become_replicate(&p);
    p.inflights.count_max = 2;
    raft_progress_sent(&p, 3, 30);
    assert_int_equal(p.next, 4);
    assert_false(raft_progress_paused(&p));
    raft_progress_sent(&p, 1, 10);
    assert_true(raft_progress_paused(&p));
    raft_inflights_done(&p.inflights);
}

static void test_tracker(void **state)
{
    (void)state;
    struct raft_tracker t = {.count = 4};
    for (uint64_t i = 0; i < 4; i++)
        t.progress[i] =
            (struct raft_progress){.id = i + 1, .match = 10 * (i + 1), .next = 100, .read_ack = i};
    for (uint64_t id = 1; id <= 3; id++)
        assert_true(raft_ids_add(&t.config.voters, id));
    assert_true(raft_ids_add(&t.config.learners, 4));
    t.progress[3].learner = true;
    assert_int_equal(raft_tracker_committed(&t), 20);
    assert_int_equal(raft_tracker_reads_confirmed(&t), 1);
    assert_true(raft_ids_add(&t.config.voters_outgoing, 1)); /* joint: the old half lags */
    assert_int_equal(raft_tracker_committed(&t), 10);
    t.progress[0].recent_active = t.progress[3].recent_active = true;
    assert_false(raft_tracker_quorum_active(&t)); /* a learner does not count */
    t.progress[1].recent_active = true;
    assert_true(raft_tracker_quorum_active(&t));
    uint32_t granted, rejected;
    t.progress[1].vote = t.progress[2].vote = RAFT_VOTE_YES;
    assert_int_equal(raft_tracker_tally(&t, &granted, &rejected), RAFT_VOTE_PENDING);
    t.progress[0].vote = RAFT_VOTE_NO;
    assert_int_equal(raft_tracker_tally(&t, &granted, &rejected), RAFT_VOTE_LOST);
    assert_int_equal(granted, 2);
    assert_int_equal(rejected, 1);
    raft_tracker_done(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inflights_rotate), cmocka_unit_test(test_inflights_bytes),
        cmocka_unit_test(test_become),           cmocka_unit_test(test_acked),
        cmocka_unit_test(test_rejected),         cmocka_unit_test(test_sent),
        cmocka_unit_test(test_tracker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
