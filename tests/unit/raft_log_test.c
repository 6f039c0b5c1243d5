/* SPDX-License-Identifier: Apache-2.0
 * Tests of the log window: appending over conflicts, unstable entries, entries that may be applied,
 * snapshots, compaction. */
#include "consensus/raft/core.h"

#include "tests/unit/unit.h"

static struct raft silent; /* an owner without a listener */

/* A log after (index, term) that holds entries of the given terms. */
static struct raft_log make(uint64_t index, uint64_t term, const uint64_t *terms, size_t count)
{
    struct raft_entry entries[16] = {0};
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct raft_entry){.index = index + 1 + i, .term = terms[i], .data = blob_new(1)};
    struct raft_log l;
    raft_log_init(&l, &silent, (struct raft_position){index, term}, NULL, 0, index + 1, entries, count,
                  RAFT_NO_LIMIT);
    for (size_t i = 0; i < count; i++)
        blob_unref(entries[i].data);
    return l;
}

static bool append(struct raft_log *l, struct raft_position prev, const uint64_t *terms, size_t count,
                   uint64_t commit)
{
    struct raft_entry entries[16] = {0};
    uint64_t last;
    for (size_t i = 0; i < count; i++)
        entries[i] = (struct raft_entry){.index = prev.index + 1 + i, .term = terms[i], .data = blob_new(1)};
    bool ok = raft_log_append(l, prev, entries, count, commit, &last);
    if (ok)
        assert_int_equal(last, prev.index + count);
    for (size_t i = 0; i < count; i++)
        blob_unref(entries[i].data);
    return ok;
}

static void test_terms(void **state)
{
    (void)state;
    struct raft_log l = make(10, 3, (const uint64_t[]){3, 4, 4}, 3);
    uint64_t term;
    assert_false(raft_log_term(&l, 9, &term));
    assert_true(raft_log_term(&l, 10, &term) && term == 3); /* the last compacted entry is still known */
    assert_true(raft_log_term(&l, 13, &term) && term == 4);
    assert_false(raft_log_term(&l, 14, &term));
    assert_null(raft_log_entry(&l, 10));
    assert_int_equal(raft_log_entry(&l, 11)->index, 11);
    assert_true(raft_log_is_up_to_date(&l, (struct raft_position){13, 4}));
    assert_true(raft_log_is_up_to_date(&l, (struct raft_position){1, 5}));
    assert_false(raft_log_is_up_to_date(&l, (struct raft_position){12, 4}));
    assert_false(raft_log_is_up_to_date(&l, (struct raft_position){99, 3}));
    raft_log_done(&l);
}

static void test_append_conflicts(void **state)
{
    (void)state;
    struct raft_log l = make(0, 0, (const uint64_t[]){1, 1, 2, 2}, 4);
    assert_false(append(&l, (struct raft_position){4, 3}, NULL, 0, 0)); /* other term there */
    assert_false(append(&l, (struct raft_position){5, 2}, NULL, 0, 0)); /* nothing there */
    assert_true(append(&l, (struct raft_position){1, 1}, (const uint64_t[]){1, 2}, 2, 2));
    assert_int_equal(raft_log_last(&l), 4); /* known entries: a shorter message cuts nothing */
    assert_int_equal(l.committed, 2);
    struct raft_log tail = make(0, 0, (const uint64_t[]){1, 1, 2, 2}, 4);
    assert_true(append(&tail, (struct raft_position){1, 1}, (const uint64_t[]){1}, 1, 4));
    assert_int_equal(tail.committed, 2); /* 3 and 4 may not be the leader's */
    raft_log_done(&tail);
    assert_int_equal(l.unstable, 5);
    assert_true(append(&l, (struct raft_position){2, 1}, (const uint64_t[]){3, 3, 3}, 3, 99));
    assert_int_equal(raft_log_last(&l), 5);
    assert_int_equal(l.committed, 5); /* no further than this message proves */
    assert_int_equal(l.unstable, 3);
    assert_int_equal(raft_log_entry(&l, 3)->term, 3);
    raft_log_done(&l);
}

static void test_unstable(void **state)
{
    (void)state;
    struct raft_log l = make(0, 0, NULL, 0);
    size_t count;
    assert_true(append(&l, (struct raft_position){0, 0}, (const uint64_t[]){1, 1, 1}, 3, 0));
    assert_int_equal(raft_log_next_unstable(&l, &count)->index, 1);
    assert_int_equal(count, 3);
    raft_log_accept_unstable(&l);
    (void)raft_log_next_unstable(&l, &count);
    assert_int_equal(count, 0);
    assert_true(raft_log_has_unstable(&l));
    /* A new leader overwrites from 2 on while the old entries are being written. */
    assert_true(append(&l, (struct raft_position){1, 1}, (const uint64_t[]){2, 2}, 2, 0));
    assert_int_equal(raft_log_next_unstable(&l, &count)->index, 2);
    assert_int_equal(count, 2);
    raft_log_stable_to(&l, (struct raft_position){3, 1}); /* the old write is done: not these entries */
    assert_int_equal(l.unstable, 1);
    raft_log_stable_to(&l, (struct raft_position){3, 2});
    assert_int_equal(l.unstable, 4);
    assert_false(raft_log_has_unstable(&l));
    raft_log_stable_to(&l, (struct raft_position){3, 2}); /* again */
    raft_log_stable_to(&l, (struct raft_position){9, 2}); /* unknown */
    assert_int_equal(l.unstable, 4);
    raft_log_done(&l);
}

static void test_apply(void **state)
{
    (void)state;
    struct raft_log l = make(0, 0, NULL, 0);
    size_t count;
    assert_true(append(&l, (struct raft_position){0, 0}, (const uint64_t[]){1, 1, 1}, 3, 3));
    assert_false(raft_log_has_next_committed(&l, false)); /* not on our disk */
    assert_true(raft_log_has_next_committed(&l, true));
    raft_log_accept_unstable(&l);
    raft_log_stable_to(&l, (struct raft_position){2, 1});
    assert_int_equal(raft_log_next_committed(&l, false, &count)->index, 1);
    assert_int_equal(count, 2);
    l.applying_size_max = 1; /* one at a time */
    (void)raft_log_next_committed(&l, false, &count);
    assert_int_equal(count, 1);
    raft_log_accept_applying(&l, 1, 8, false);
    assert_false(raft_log_has_next_committed(&l, false));
    raft_log_applied_to(&l, 1, 8);
    assert_true(raft_log_has_next_committed(&l, false));
    raft_log_done(&l);
}

static void test_meet(void **state)
{
    (void)state;
    struct raft_log l = make(2, 2, (const uint64_t[]){3, 5, 5, 7}, 4); /* 3 .. 6 */
    static const struct {
        struct raft_position theirs, want;
    } cases[] = {
        {{6, 7}, {6, 7}}, {{6, 6}, {5, 5}}, {{6, 5}, {5, 5}},
        {{5, 4}, {3, 3}}, {{6, 1}, {1, 0}}, /* compacted: unknown, so it may be there */
        {{9, 9}, {9, 0}},                   /* beyond the end: unknown */
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct raft_position got = raft_log_meet(&l, cases[i].theirs);
        assert_int_equal(got.index, cases[i].want.index);
        assert_int_equal(got.term, cases[i].want.term);
    }
    raft_log_done(&l);
}

static void test_restore_and_compact(void **state)
{
    (void)state;
    struct raft_log l = make(0, 0, (const uint64_t[]){1, 1, 1, 1}, 4);
    raft_log_commit_to(&l, 3);
    raft_log_compact(&l, 2); /* not applied yet */
    assert_int_equal(raft_log_first(&l), 1);
    raft_log_accept_applying(&l, 3, 0, true);
    raft_log_applied_to(&l, 3, 0);
    raft_log_compact(&l, 2);
    assert_int_equal(raft_log_first(&l), 3);
    assert_int_equal(raft_log_entry(&l, 4)->index, 4);
    struct raft_snapshot snapshot = {.index = 9, .term = 2, .data = blob_new(3)};
    raft_log_restore(&l, &snapshot);
    blob_unref(snapshot.data);
    assert_int_equal(raft_log_first(&l), 10);
    assert_int_equal(raft_log_last(&l), 9);
    assert_int_equal(raft_log_end(&l).term, 2);
    assert_true(raft_log_has_next_snapshot(&l));
    assert_true(append(&l, (struct raft_position){9, 2}, (const uint64_t[]){2}, 1, 10));
    assert_false(raft_log_has_next_committed(&l, true)); /* the snapshot goes first */
    raft_log_accept_unstable(&l);
    assert_false(raft_log_has_next_snapshot(&l));
    raft_log_snapshot_stable(&l, 8); /* another one */
    assert_non_null(l.snapshot);
    raft_log_snapshot_stable(&l, 9);
    raft_log_applied_to(&l, 9, 0);
    assert_true(raft_log_has_next_committed(&l, true));
    raft_log_done(&l);
}

/* A long run: memory stays in proportion to the window. */
static void test_window_moves(void **state)
{
    (void)state;
    struct raft_log l = make(0, 0, NULL, 0);
    struct raft_entry batch[64] = {0};
    for (uint64_t i = 1; i <= 2000; i++) {
        raft_log_append_own(&l, 1, batch, 64);
        uint64_t last = raft_log_last(&l);
        assert_int_equal(last, i * 64);
        raft_log_accept_unstable(&l);
        raft_log_stable_to(&l, (struct raft_position){last, 1});
        raft_log_commit_to(&l, last);
        raft_log_accept_applying(&l, last, 0, true);
        raft_log_applied_to(&l, last, 0);
        if (last > 500)
            raft_log_compact(&l, last - 500);
        assert_int_equal(raft_log_entry(&l, last)->index, last);
        assert_int_equal(raft_log_entry(&l, raft_log_first(&l))->index, raft_log_first(&l));
    }
    assert_true(l.capacity <= 4096);
    raft_log_done(&l);
}

static void test_slice_limits(void **state)
{
    (void)state;
    struct raft_log l = make(0, 0, (const uint64_t[]){1, 1, 1}, 3);
    size_t count, size = raft_entry_size(raft_log_entry(&l, 1));
    (void)raft_log_slice(&l, 1, 3, 0, &count);
    assert_int_equal(count, 1); /* at least one */
    (void)raft_log_slice(&l, 1, 3, 2 * size, &count);
    assert_int_equal(count, 2);
    (void)raft_log_slice(&l, 1, 3, 3 * size - 1, &count);
    assert_int_equal(count, 2);
    (void)raft_log_slice(&l, 4, 3, RAFT_NO_LIMIT, &count);
    assert_int_equal(count, 0);
    raft_log_done(&l);
}

/* --- entries that are on disk only --- */

/* Everything is stable and applied up to the given index. */
static void settle(struct raft_log *l, uint64_t index)
{
    uint64_t term = raft_log_term_or_zero(l, index);
    raft_log_accept_unstable(l);
    raft_log_stable_to(l, (struct raft_position){index, term});
    raft_log_commit_to(l, index);
    raft_log_applied_to(l, index, 0);
}

static void test_evicted_terms_stay_known(void **state)
{
    (void)state;
    struct raft_log l = make(10, 1, (const uint64_t[]){1, 1, 3, 3, 4, 4, 4}, 7);
    settle(&l, 16);
    raft_log_evict(&l, 0);
    assert_int_equal(l.held, 17); /* 17 is not applied */
    assert_int_equal(raft_log_first(&l), 11);
    assert_int_equal(raft_log_last(&l), 17);
    const uint64_t terms[] = {1, 1, 1, 3, 3, 4, 4, 4};
    for (uint64_t i = 10; i <= 17; i++)
        assert_int_equal(raft_log_term_or_zero(&l, i), terms[i - 10]);
    assert_null(raft_log_entry(&l, 16));
    assert_int_equal(raft_log_entry(&l, 17)->index, 17);
    assert_int_equal(raft_log_run_end(&l, 11), 12);
    assert_int_equal(raft_log_run_end(&l, 14), 14);
    assert_int_equal(raft_log_run_end(&l, 15), 16);
    assert_int_equal(raft_log_meet(&l, (struct raft_position){16, 2}).index, 12);
    raft_log_compact(&l, 13); /* in the middle of a run */
    assert_int_equal(raft_log_first(&l), 14);
    assert_int_equal(raft_log_term_or_zero(&l, 13), 3);
    assert_int_equal(raft_log_term_or_zero(&l, 14), 3);
    assert_int_equal(raft_log_term_or_zero(&l, 15), 4);
    raft_log_compact(&l, 16);
    assert_int_equal(l.runs.count, 0);
    assert_int_equal(raft_log_term_or_zero(&l, 16), 4);
    assert_int_equal(raft_log_entry(&l, 17)->term, 4);
    raft_log_done(&l);
}

static void test_eviction_stops_at_its_limits(void **state)
{
    (void)state;
    struct raft_log l = make(0, 0, (const uint64_t[]){1, 1, 1, 1}, 4);
    uint64_t each = l.held_bytes / 4;
    raft_log_evict(&l, 0);
    assert_int_equal(l.held, 5 - 4); /* nothing is applied */
    raft_log_accept_unstable(&l);
    raft_log_stable_to(&l, (struct raft_position){4, 1});
    raft_log_commit_to(&l, 4);
    raft_log_evict(&l, 0);
    assert_int_equal(l.held, 1);
    raft_log_applied_to(&l, 3, 0);
    raft_log_evict(&l, 2 * each);
    assert_int_equal(l.held, 3);
    assert_int_equal(l.held_bytes, 2 * each);
    raft_log_evict(&l, 0);
    assert_int_equal(l.held, 4);
    raft_log_done(&l);
}

/* A leader whose log differs from ours before the first entry in memory, and one that begins before it. */
static void test_conflicts_over_evicted(void **state)
{
    (void)state;
    struct raft_log l = make(0, 0, (const uint64_t[]){1, 1, 1, 2, 2}, 5);
    settle(&l, 3);
    raft_log_evict(&l, 0);
    assert_int_equal(l.held, 4);
    assert_true(append(&l, (struct raft_position){3, 1}, (const uint64_t[]){3, 3}, 2, 3));
    assert_int_equal(raft_log_entry(&l, 4)->term, 3);
    assert_true(append(&l, (struct raft_position){1, 1}, (const uint64_t[]){1, 1, 3}, 3, 4));
    assert_int_equal(raft_log_last(&l), 5);
    assert_false(append(&l, (struct raft_position){2, 2}, (const uint64_t[]){2}, 1, 3));
    settle(&l, 5);
    raft_log_evict(&l, 0);
    assert_int_equal(l.count, 0);
    assert_int_equal(l.held_bytes, 0);
    raft_log_append_own(&l, 4, &(struct raft_entry){0}, 1);
    assert_int_equal(raft_log_entry(&l, 6)->index, 6);
    struct raft_snapshot snapshot = {.index = 9, .term = 5};
    raft_log_restore(&l, &snapshot);
    assert_int_equal(raft_log_first(&l), 10);
    assert_int_equal(l.held_bytes, 0);
    assert_int_equal(raft_log_term_or_zero(&l, 9), 5);
    raft_log_done(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terms),
        cmocka_unit_test(test_append_conflicts),
        cmocka_unit_test(test_unstable),
        cmocka_unit_test(test_apply),
        cmocka_unit_test(test_meet),
        cmocka_unit_test(test_restore_and_compact),
        cmocka_unit_test(test_window_moves),
        cmocka_unit_test(test_slice_limits),
        cmocka_unit_test(test_evicted_terms_stay_known),
        cmocka_unit_test(test_eviction_stops_at_its_limits),
        cmocka_unit_test(test_conflicts_over_evicted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
