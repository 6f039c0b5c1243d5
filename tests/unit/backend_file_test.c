/* SPDX-License-Identifier: Apache-2.0
 * Tests of the memory backend over its file: every crash of a script that grows, rewrites and copies the
 * file, each disk operation failing once, a full disk, damage. */
#include "consensus/store/backend_file.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "tests/sim/sim_io.h"
#include "unit.h"

#define STEPS    60
#define NUMBERS  5     /* META rows, overwritten again and again: the file must be rewritten now and then */
#define ROW_SIZE 20000 /* so that this happens within the script */

static const char path[] = "data/store", copy_path[] = "data/copy";

struct machine {
    struct sim_clock clock;
    struct io *io;
    struct backend *backend;
    char error[200];
};

static int machine_open(struct machine *m, struct sim_disk *disk, const char *file)
{
    *m = (struct machine){0};
    m->io = sim_io_new(&(struct sim_io_options){.disk = disk, .clock = &m->clock, .seed = 1});
    return backend_memory_open(m->io, file, 1 << 20, m->error, sizeof m->error, &m->backend);
}

static void machine_stop(struct machine *m)
{
    if (m->backend)
        m->backend->ops->close(m->backend);
    sim_io_free(m->io);
    sim_clock_done(&m->clock);
}

/* Step n: a record of its own, one of the numbered rows, and the mark, in one batch; old records are removed.
 */
static int step(struct backend *b, unsigned n)
{
    static uint8_t filler[ROW_SIZE];
    char record[16], old[16], row[16], mark[16];
    uint64_t freed;
    snprintf(record, sizeof record, "r%04u", n);
    snprintf(old, sizeof old, "r%04u", n > 5 ? n - 5 : 9999);
    snprintf(row, sizeof row, "row%u", n % NUMBERS);
    snprintf(mark, sizeof mark, "%u", n);
    const struct backend_op ops[] = {
        {BACKEND_APPEND, BACKEND_RECORDS, slice_text(record), slice_text("value")},
        {BACKEND_DELETE, BACKEND_RECORDS, slice_text(old), {0}},
        {BACKEND_PUT, BACKEND_META, slice_text(row), slice_of(filler, n % 3 ? 700 : ROW_SIZE)},
        {BACKEND_PUT, BACKEND_META, slice_text("mark"), slice_text(mark)},
    };
    return b->ops->commit(b, ops, COUNT_OF(ops), &freed);
}

static bool count_row(void *arg, struct slice key, struct slice value)
{
    (void)key;
    (void)value;
    ++*(unsigned *)arg;
    return true;
}

/* The step whose whole state this is; 0 = empty; -1 = no step's. */
static int state_of(struct backend *b)
{
    struct backend_view *view;
    struct slice mark, value;
    unsigned records = 0, n = 0;
    char name[16];
    bool is_whole = true;
    assert_int_equal(b->ops->view_open(b, &view), 0);
    int err = b->ops->get(view, BACKEND_META, slice_text("mark"), &mark);
    assert_int_equal(b->ops->scan(view, BACKEND_RECORDS, (struct slice){0}, count_row, &records), 0);
    for (size_t i = 0; !err && i < mark.size; i++)
        n = n * 10 + (unsigned)(mark.data[i] - '0');
    is_whole = records == (n > 5 ? 5 : n);
    snprintf(name, sizeof name, "r%04u", n);
    if (n)
        is_whole = is_whole && b->ops->get(view, BACKEND_RECORDS, slice_text(name), &value) == 0;
    for (unsigned i = n > NUMBERS ? n - NUMBERS + 1 : 1; i <= n; i++) {
        snprintf(name, sizeof name, "row%u", i % NUMBERS);
        is_whole = is_whole && b->ops->get(view, BACKEND_META, slice_text(name), &value) == 0 &&
                   value.size == (i % 3 ? 700 : ROW_SIZE);
    }
    b->ops->view_close(b, view);
    return is_whole ? (int)n : -1;
}

/* --- crashes ----------------------------------------------------------------------------------- */

struct crash_test {
    bool may_lose, has_lost;
    size_t opened;
};

static void check(struct crash_test *t, bool is_well, const struct sim_crash *crash, const char *what)
{
    if (is_well)
        return;
    t->has_lost = true;
    if (!t->may_lose)
        fail_msg("%s after %zu operations, step %llu: %s", what, crash->position,
                 (unsigned long long)crash->mark, crash->what);
}

/* Mark n + 1: step n has returned. A file that opens holds step n or the one in progress, and takes another
 * step. */
static bool on_crash(void *arg, struct sim_disk *image, const struct sim_crash *crash)
{
    struct crash_test *t = arg;
    struct machine m;
    int told = crash->mark ? (int)crash->mark - 1 : 0;
    int err = machine_open(&m, image, path);
    check(t, err == 0, crash, m.error);
    if (!err) {
        int n = state_of(m.backend);
        check(t, n == told || n == told + 1, crash, "another state");
        if (n >= 0) {
            assert_int_equal(step(m.backend, (unsigned)n + 1), 0);
            machine_stop(&m);
            err = machine_open(&m, image, path);
            check(t, err == 0 && state_of(m.backend) == n + 1, crash, "the next step is lost");
        }
    }
    machine_stop(&m);
    t->opened++;
    return !t->has_lost;
}

static size_t run_script(struct crash_test *t, unsigned ignored)
{
    struct machine m;
    struct sim_disk *disk = sim_disk_new();
    uint64_t size = 0, rewrites = 0;
    sim_disk_record(disk);
    sim_disk_ignore_sync(disk, ignored);
    assert_int_equal(machine_open(&m, disk, path), 0);
    sim_disk_mark(disk, 1);
    for (unsigned n = 1; n <= STEPS; n++) {
        assert_int_equal(step(m.backend, n), 0);
        sim_disk_mark(disk, n + 1);
        uint64_t now = m.backend->ops->sizes(m.backend).file;
        rewrites += now < size;
        size = now;
    }
    assert_true(rewrites >= 2);
    machine_stop(&m);
    size_t shown = sim_disk_each_crash(disk, on_crash, t);
    sim_disk_free(disk);
    return shown;
}

static void test_every_crash(void **state)
{
    (void)state;
    struct crash_test t = {0};
    size_t shown = run_script(&t, 0);
    print_message("%zu crash states, %zu opened\n", shown, t.opened);
    assert_true(shown > 200 && t.opened == shown);
}

/* Without syncs the same test must fail: otherwise it proves nothing. */
static void test_missing_syncs_are_noticed(void **state)
{
    (void)state;
    const unsigned kinds[] = {SIM_OP_SYNC, SIM_OP_SYNC_DIR};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct crash_test t = {.may_lose = true};
        run_script(&t, kinds[i]);
        assert_true(t.has_lost);
    }
}

/* --- faults ------------------------------------------------------------------------------------ */

/* Every operation fails once: the step that hits the error reports it, and all later steps are refused. */
static void test_every_operation_fails(void **state)
{
    (void)state;
    for (uint64_t at = 1;; at++) {
        struct machine m;
        struct sim_disk *disk = sim_disk_new();
        sim_disk_fail(disk, SIM_OP_CHANGES, at, at % 2 ? ERR_IO : ERR_NO_DISK_SPACE, false);
        int err = machine_open(&m, disk, path);
        unsigned n = 0;
        while (!err && n < STEPS) {
            err = step(m.backend, n + 1);
            n += !err;
        }
        bool is_over = !err;
        if (err) {
            assert_int_equal(err, at % 2 ? ERR_IO : ERR_NO_DISK_SPACE);
            if (m.backend)
                assert_int_equal(step(m.backend, n + 1), err);
        }
        machine_stop(&m);
        sim_disk_fail(disk, 0, 0, 0, false);
        assert_int_equal(machine_open(&m, disk, path), 0);
        int found = state_of(m.backend);
        assert_true(found == (int)n || found == (int)n + 1);
        /* Data that a failed sync lost are not believed to be durable: later data would have no base. */
        assert_int_equal(step(m.backend, (unsigned)found + 1), 0);
        machine_stop(&m);
        sim_disk_crash(disk, at);
        assert_int_equal(machine_open(&m, disk, path), 0);
        assert_int_equal(state_of(m.backend), found + 1);
        machine_stop(&m);
        sim_disk_free(disk);
        if (is_over)
            break;
        assert_true(at < 1000);
    }
}

static void test_full(void **state)
{
    (void)state;
    struct machine m;
    struct sim_disk *disk = sim_disk_new();
    assert_int_equal(machine_open(&m, disk, path), 0);
    static uint8_t big[2 << 20];
    uint64_t freed;
    const struct backend_op put = {BACKEND_PUT, BACKEND_META, slice_text("k"), slice_of(big, sizeof big)};
    assert_int_equal(m.backend->ops->commit(m.backend, &put, 1, &freed), ERR_NO_DISK_SPACE);
    machine_stop(&m);
    assert_int_equal(machine_open(&m, disk, path), 0);
    sim_disk_set_space(disk, sim_disk_size(disk) + 100);
    assert_int_equal(step(m.backend, 3), ERR_NO_DISK_SPACE);
    assert_int_equal(step(m.backend, 1), ERR_NO_DISK_SPACE);
    machine_stop(&m);
    assert_int_equal(machine_open(&m, disk, path), 0);
    assert_int_equal(state_of(m.backend), 0);
    machine_stop(&m);
    sim_disk_free(disk);
}

/* A flipped bit in the last batch looks like a torn batch; an earlier one is refused. */
static void test_damage(void **state)
{
    (void)state;
    struct machine m;
    struct sim_disk *disk = sim_disk_new();
    uint64_t ends[4];
    assert_int_equal(machine_open(&m, disk, path), 0);
    for (unsigned n = 1; n <= 4; n++) {
        assert_int_equal(step(m.backend, n), 0);
        size_t inode;
        assert_true(sim_disk_find(disk, path, &inode));
        ends[n - 1] = sim_disk_content(disk, inode).size;
    }
    machine_stop(&m);
    for (uint64_t at = 0; at < ends[3]; at += 97) {
        struct sim_disk *bad = sim_disk_copy(disk);
        sim_disk_flip(bad, path, at, 0x10);
        int err = machine_open(&m, bad, path);
        if (at < ends[2]) {
            assert_int_equal(err, ERR_CORRUPT);
            assert_true(strstr(m.error, path) != NULL);
        } else {
            assert_int_equal(err, 0);
            assert_in_range(state_of(m.backend), 3, 4); /* 4: the bit was in the padding */
        }
        machine_stop(&m);
        sim_disk_free(bad);
    }
    sim_disk_put(disk, path, slice_text("sixteen bytes of something else"));
    assert_int_equal(machine_open(&m, disk, path), ERR_CORRUPT);
    machine_stop(&m);
    sim_disk_free(disk);
}

/* --- copies ------------------------------------------------------------------------------------ */

static void test_copy(void **state)
{
    (void)state;
    struct machine m;
    struct sim_disk *disk = sim_disk_new();
    assert_int_equal(machine_open(&m, disk, path), 0);
    for (unsigned n = 1; n <= 20; n++)
        assert_int_equal(step(m.backend, n), 0);
    assert_int_equal(m.backend->ops->copy(m.backend, copy_path), 0);
    assert_int_equal(m.backend->ops->copy(m.backend, copy_path), ERR_EXISTS);
    assert_int_equal(step(m.backend, 21), 0);
    assert_int_equal(m.io->ops->sync_dir(m.io, "data"), 0);
    machine_stop(&m);
    sim_disk_crash(disk, 3);
    assert_int_equal(machine_open(&m, disk, copy_path), 0);
    assert_int_equal(state_of(m.backend), 20);
    machine_stop(&m);
    assert_int_equal(machine_open(&m, disk, path), 0);
    assert_int_equal(state_of(m.backend), 21);
    machine_stop(&m);
    sim_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_crash),
        cmocka_unit_test(test_missing_syncs_are_noticed),
        cmocka_unit_test(test_every_operation_fails),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
