/* SPDX-License-Identifier: Apache-2.0
 * Outcomes of entries that are not in the backup: drawn ones, dropped from the front, encoded and decoded, at
 * their limits, and compared with a plain list. */
#include <stdlib.h>

#include "base/mem.h"
#include "consensus/backup/outcomes.h"
#include "unit.h"

enum { COUNT = 50000 };

static struct backup_outcome known[COUNT];

static void draw(struct backup_outcomes *o, uint64_t first, unsigned seed)
{
    int64_t revision = 7;
    uint64_t time_ms = 1000000;
    srand(seed);
    backup_outcomes_reset(o, first - 1, revision);
    for (uint64_t i = 0; i < COUNT; i++) {
        bool is_kept = rand() % 3;
        revision += is_kept && rand() % 2;
        time_ms += rand() % 4 == 0;
        known[i] = (struct backup_outcome){revision, is_kept, time_ms};
        backup_outcomes_add(o, first + i, &known[i]);
    }
}

static void assert_known(struct backup_outcomes *o, uint64_t first, uint64_t from, uint64_t step_ms)
{
    struct backup_outcome got;
    assert_false(backup_outcomes_get(o, first + from - 1, &got));
    assert_false(backup_outcomes_get(o, first + COUNT, &got));
    for (uint64_t i = from; i < COUNT; i++) {
        assert_true(backup_outcomes_get(o, first + i, &got));
        assert_int_equal(got.revision, known[i].revision);
        assert_int_equal(got.is_kept, known[i].is_kept);
        assert_true(got.time_ms <= known[i].time_ms);
        assert_true(known[i].time_ms - got.time_ms < step_ms);
    }
}

static void each_entry_has_its_outcome(void **state)
{
    (void)state;
    for (uint64_t first = 2; first < 8; first++) {
        struct backup_outcomes o = {0};
        draw(&o, first, (unsigned)first);
        assert_known(&o, first, 0, BACKUP_TIME_STEP_MS);
        for (uint64_t from = 1; from < COUNT; from += 1 + from / 2) {
            int64_t revision;
            backup_outcomes_drop(&o, first + from - 1);
            assert_true(backup_outcomes_revision(&o, first + from - 1, &revision));
            assert_int_equal(revision, known[from - 1].revision);
            assert_known(&o, first, from, BACKUP_TIME_STEP_MS);
        }
        backup_outcomes_drop(&o, first + COUNT + 5);
        assert_int_equal(o.count, 0);
        assert_int_equal(o.first, first + COUNT);
        backup_outcomes_done(&o);
    }
}

static void bytes_read_back_as_they_were(void **state)
{
    (void)state;
    for (uint64_t from = 0; from < 9; from++) {
        struct backup_outcomes o = {0}, again;
        struct buf bytes = {0};
        draw(&o, 100, 5);
        backup_outcomes_drop(&o, 100 + from - 1);
        backup_outcomes_encode(&o, &bytes);
        assert_int_equal(backup_outcomes_decode(buf_slice(&bytes), &again), OK);
        assert_known(&again, 100, from, BACKUP_TIME_STEP_MS);
        const struct backup_outcome next = {known[COUNT - 1].revision + 1, true,
                                            known[COUNT - 1].time_ms + 50};
        struct backup_outcome got;
        backup_outcomes_add(&again, 100 + COUNT, &next); /* it goes on where it ended */
        assert_true(backup_outcomes_get(&again, 100 + COUNT, &got));
        assert_int_equal(got.revision, next.revision);
        assert_int_equal(got.time_ms, next.time_ms);
        backup_outcomes_done(&again);
        for (size_t size = 0; size < bytes.size; size += 1 + size / 8) {
            assert_int_not_equal(backup_outcomes_decode(slice_of(bytes.data, size), &again), OK);
            assert_int_equal(again.count, 0);
        }
        bytes.data[3] = 2;
        assert_int_equal(backup_outcomes_decode(buf_slice(&bytes), &again), ERR_LEVEL);
        buf_done(&bytes);
        backup_outcomes_done(&o);
    }
}

/* A snapshot of another member left out entries, or a revision is not the next one. */
static void a_jump_forgets_what_is_before(void **state)
{
    (void)state;
    struct backup_outcomes o = {0};
    struct backup_outcome got;
    int64_t revision;
    struct buf bytes = {0};
    draw(&o, 10, 1);
    const struct backup_outcome far = {1000000, true, 5000000};
    backup_outcomes_add(&o, 900000, &far);
    assert_int_equal(o.count, 0);
    backup_outcomes_encode(&o, &bytes);
    assert_int_equal(bytes.size, 0);
    assert_true(backup_outcomes_revision(&o, 900000, &revision));
    assert_int_equal(revision, 1000000);
    const struct backup_outcome next = {1000001, true, 5000001};
    backup_outcomes_add(&o, 900001, &next);
    assert_true(backup_outcomes_get(&o, 900001, &got));
    assert_int_equal(got.time_ms, 5000001);
    buf_done(&bytes);
    backup_outcomes_done(&o);
}

static void memory_and_bytes_are_bounded(void **state)
{
    (void)state;
    struct backup_outcomes o = {0};
    struct backup_outcome got, e = {1, true, 0};
    struct buf bytes = {0};
    const uint64_t count = BACKUP_OUTCOMES_MAX * UINT64_C(3) + 11;
    backup_outcomes_reset(&o, 1, 1);
    for (uint64_t i = 2; i < 2 + count; i++) {
        e = (struct backup_outcome){(int64_t)i, true, i * 20};
        backup_outcomes_add(&o, i, &e);
    }
    assert_true(o.count <= BACKUP_OUTCOMES_MAX && o.count >= BACKUP_OUTCOMES_MAX / 2);
    assert_true(o.bits.capacity < BACKUP_OUTCOMES_MAX);
    for (uint64_t i = o.first; i < 2 + count; i++) {
        assert_true(backup_outcomes_get(&o, i, &got));
        assert_int_equal(got.revision, i);
        assert_true(got.time_ms <= i * 20);
    }
    backup_outcomes_encode(&o, &bytes);
    assert_true(bytes.size <= 200 << 10);
    buf_done(&bytes);
    backup_outcomes_done(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_entry_has_its_outcome),
        cmocka_unit_test(bytes_read_back_as_they_were),
        cmocka_unit_test(a_jump_forgets_what_is_before),
        cmocka_unit_test(memory_and_bytes_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
