/* SPDX-License-Identifier: Apache-2.0
 * Tests of the log after power cuts and disk failures: every crash state of a script and of the recovery
 * after it, each operation failing once, a full disk. */
#include <stdio.h>

#include "base/mem.h"
#include "tests/unit/unit.h"
#include "tests/unit/wal_model.h"

/* --- crashes ---------------------------------------------------------------------------------- */

struct crash_test {
    struct wal_run run;
    size_t recoveries;
    bool goes_deeper;
    struct wal_model expected; /* the result of the interrupted recovery */
    bool is_lost;              /* it has a result: used where that is expected */
    bool may_lose;
};

#define CRASH_CHECK(t, condition, crash, m)                                                                  \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            (t)->is_lost = true;                                                                             \
            if (!(t)->may_lose)                                                                              \
                fail_msg("%s\n  after %zu operations, mark %llu: %s\n  %s", #condition, (crash)->position,   \
                         (unsigned long long)(crash)->mark, (crash)->what, (m)->error);                      \
        }                                                                                                    \
    } while (0)

/* A power cut during recovery: it works the next time, and its reports before it returned stay true. */
static bool on_second_crash(void *arg, struct sim_disk *image, const struct sim_crash *crash)
{
    struct crash_test *t = arg;
    struct wal_machine m;
    struct wal_model found;

    wal_machine_start(&m, image, 3);
    int err = wal_machine_open(&m, &found);
    CRASH_CHECK(t, err == 0, crash, &m);
    if (!err && crash->mark == 1)
        CRASH_CHECK(t, memcmp(&found, &t->expected, sizeof(found)) == 0, crash, &m);
    if (!err)
        CRASH_CHECK(t, wal_run_find(&t->run, &found, 0) >= 0, crash, &m);
    wal_machine_stop(&m);
    t->recoveries++;
    return !t->is_lost;
}

/* A log that could be read can be written: one more batch, and it is there the next time. */
static void append_and_open_again(struct crash_test *t, struct wal_machine *m, struct sim_disk *image,
                                  const struct sim_crash *crash, const struct wal_model *found)
{
    struct wal_model again, want = *found;
    struct wal_machine n;
    uint64_t next = found->last > found->snapshot_index ? found->last + 1 : found->snapshot_index + 1;

    wal_machine_add(m->wal, next, 40, 700);
    assert_int_equal(wal_machine_submit(m, true), 0);
    wal_model_step(&want, &(struct wal_step){.index = next, .term = 40, .count = 1, .size = 700});
    wal_machine_stop(m);
    wal_machine_start(&n, image, 4);
    int err = wal_machine_open(&n, &again);
    CRASH_CHECK(t, err == 0, crash, &n);
    if (!err)
        CRASH_CHECK(t, again.last == next && wal_model_matches(&again, &want), crash, &n);
    wal_machine_stop(&n);
}

static bool on_crash(void *arg, struct sim_disk *image, const struct sim_crash *crash)
{
    struct crash_test *t = arg;
    struct wal_machine m;
    struct wal_model found;
    bool exists = false;

    wal_machine_start(&m, image, 2);
    assert_int_equal(wal_exists(m.io, wal_machine_dir, &exists), 0);
    if (!exists) {
        CRASH_CHECK(t, crash->mark == 0, crash, &m);
        assert_int_equal(wal_machine_create(&m), 0);
        wal_machine_stop(&m);
        return !t->is_lost;
    }
    bool goes_deeper = t->goes_deeper;
    struct sim_disk *copy = goes_deeper ? sim_disk_copy(image) : NULL;
    int err = wal_machine_open(&m, &found);
    CRASH_CHECK(t, err == 0, crash, &m);
    if (!err)
        CRASH_CHECK(t, wal_run_find(&t->run, &found, crash->mark ? (size_t)crash->mark - 1 : 0) >= 0, crash,
                    &m);
    if (err || t->is_lost)
        wal_machine_stop(&m);
    else
        append_and_open_again(t, &m, image, crash, &found);
    t->recoveries++;
    if (goes_deeper && !err) {
        struct wal_machine second;
        sim_disk_record(copy);
        wal_machine_start(&second, copy, 2);
        assert_int_equal(wal_machine_open(&second, &t->expected), 0);
        sim_disk_mark(copy, 1);
        wal_machine_stop(&second);
        sim_disk_each_crash(copy, on_second_crash, t);
    }
    sim_disk_free(copy);
    return !t->is_lost;
}

static void every_crash_recovers(void **state)
{
    struct crash_test *t = mem_new(sizeof(*t));
    struct sim_disk *disk = sim_disk_new();

    (void)state;
    t->goes_deeper = true;
    wal_run_init(&t->run, wal_long_script, WAL_LONG_SCRIPT_STEPS);
    sim_disk_record(disk);
    wal_run_once(&t->run, disk);
    size_t shown = sim_disk_each_crash(disk, on_crash, t);
    print_message("%zu crash states, %zu recoveries\n", shown, t->recoveries);
    assert_true(shown > 400 && t->recoveries > 5000);
    sim_disk_free(disk);
    mem_free(t);
}

/* The enumeration must detect a disk that does not sync: otherwise the test above proves nothing. */
static void missing_syncs_are_noticed(void **state)
{
    const unsigned kinds[] = {SIM_OP_SYNC, SIM_OP_SYNC_DIR};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct crash_test *t = mem_new(sizeof(*t));
        struct sim_disk *disk = sim_disk_new();

        t->may_lose = true;
        wal_run_init(&t->run, wal_long_script, WAL_LONG_SCRIPT_STEPS);
        sim_disk_record(disk);
        sim_disk_ignore_sync(disk, kinds[i]);
        wal_run_once(&t->run, disk);
        sim_disk_each_crash(disk, on_crash, t);
        assert_true(t->is_lost);
        sim_disk_free(disk);
        mem_free(t);
    }
}

/* --- faults ----------------------------------------------------------------------------------- */

/* Each operation of each kind fails once: the error is reported, and stays. Acknowledged batches are there
 * when the process restarts, at once, and after a power cut that follows this second run. */
static void fault_at(unsigned kinds, uint64_t n, int err, bool *ret_reached)
{
    struct wal_run *r = mem_new(sizeof(*r));
    struct sim_disk *disk = sim_disk_new();
    struct wal_machine m;
    struct wal_model found, after;

    wal_run_init(r, wal_long_script, WAL_LONG_SCRIPT_STEPS);
    wal_machine_start(&m, disk, 1);
    sim_disk_fail(disk, kinds, n, err, false);
    int got = wal_machine_create(&m);
    if (!got) {
        got = wal_run_script(r, &m);
        if (got) {
            wal_machine_add(m.wal, r->models[r->submitted].last + 1, 50, 10);
            assert_int_equal(wal_machine_submit(&m, true), err); /* for ever */
        }
    }
    *ret_reached = got != 0;
    assert_true(got == 0 || got == err);
    sim_disk_fail(disk, 0, 0, 0, false);
    sim_io_kill(m.io);
    wal_machine_stop(&m);

    wal_machine_start(&m, disk, 2);
    bool exists;
    assert_int_equal(wal_exists(m.io, wal_machine_dir, &exists), 0);
    if (!exists) {
        assert_int_equal(r->submitted, 0);
        assert_int_equal(wal_machine_create(&m), 0);
    } else {
        if (wal_machine_open(&m, &found) != 0)
            fail_msg("fault %#x %llu: %s", kinds, (unsigned long long)n, m.error);
        assert_true(wal_run_find(r, &found, r->durable) >= 0);
        sim_io_kill(m.io);
        for (uint64_t seed = 0; seed < 8; seed++) {
            struct wal_machine again;
            struct sim_disk *image = sim_disk_copy_unsynced(disk);
            sim_disk_crash(image, seed);
            wal_machine_start(&again, image, 3);
            assert_int_equal(wal_machine_open(&again, &after), 0);
            assert_memory_equal(&after, &found, sizeof(found));
            wal_machine_stop(&again);
            sim_disk_free(image);
        }
    }
    wal_machine_stop(&m);
    sim_disk_free(disk);
    mem_free(r);
}

static void faults_are_reported_and_acknowledged_batches_stay(void **state)
{
    const unsigned kinds[] = {SIM_OP_WRITE,  SIM_OP_SYNC,     SIM_OP_CREATE,
                              SIM_OP_RENAME, SIM_OP_SYNC_DIR, SIM_OP_UNLINK};

    (void)state;
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        uint64_t missed = 0, n = 1;
        for (; missed < 8; n++) {
            bool io = false, space = false;
            fault_at(kinds[k], n, ERR_IO, &io);
            fault_at(kinds[k], n, ERR_NO_DISK_SPACE, &space);
            missed = io ? 0 : missed + 1;
        }
        assert_true(n > (kinds[k] == SIM_OP_CREATE ? 2 : 8));
    }
}

static void a_full_disk_has_its_own_error(void **state)
{
    (void)state;
    for (uint64_t space = 0; space < 60000; space += 777) {
        struct wal_run *r = mem_new(sizeof(*r));
        struct sim_disk *disk = sim_disk_new();
        struct wal_machine m;
        struct wal_model found;

        wal_run_init(r, wal_long_script, WAL_LONG_SCRIPT_STEPS);
        wal_machine_start(&m, disk, 1);
        sim_disk_set_space(disk, space + 1);
        int err = wal_machine_create(&m);
        if (!err)
            err = wal_run_script(r, &m);
        assert_true(err == 0 || err == ERR_NO_DISK_SPACE);
        assert_true(space > 4096 || err);
        wal_machine_stop(&m);
        wal_machine_start(&m, disk, 1); /* the disk is still full */
        bool exists;
        assert_int_equal(wal_exists(m.io, wal_machine_dir, &exists), 0);
        if (exists) {
            assert_int_equal(wal_machine_open(&m, &found), 0);
            assert_true(wal_run_find(r, &found, r->durable) >= 0);
        }
        wal_machine_stop(&m);
        sim_disk_free(disk);
        mem_free(r);
    }
}

/* A full disk is no error for the spare while the segment has room; when space is free again the spare is
 * made. */
static void a_full_disk_stops_only_new_segments(void **state)
{
    struct sim_disk *disk = sim_disk_new();
    struct wal_machine m;

    (void)state;
    wal_machine_start(&m, disk, 1);
    sim_disk_set_space(disk, 4096 + 1000);
    assert_int_equal(wal_machine_create(&m), 0);
    for (uint64_t i = 1; i <= 6; i++) {
        wal_machine_add(m.wal, i, 1, 10);
        assert_int_equal(wal_machine_submit(&m, true), 0);
    }
    sim_disk_set_space(disk, 0);
    wal_machine_add(m.wal, 7, 1, 10);
    assert_int_equal(wal_machine_submit(&m, true), 0);
    sim_clock_run(&m.clock);
    assert_int_equal(wal_disk_size(m.wal), 2 * 4096);
    wal_machine_stop(&m);
    sim_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_crash_recovers),
        cmocka_unit_test(missing_syncs_are_noticed),
        cmocka_unit_test(faults_are_reported_and_acknowledged_batches_stay),
        cmocka_unit_test(a_full_disk_has_its_own_error),
        cmocka_unit_test(a_full_disk_stops_only_new_segments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
