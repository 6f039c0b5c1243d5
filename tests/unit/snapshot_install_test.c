/* SPDX-License-Identifier: Apache-2.0
 * Tests of the installation of a received file as the store:
 * - every crash between its steps, and crashes of the recovery after it,
 * - each disk operation failing, and files with other content,
 * - LMDB with the old store still open. */
#include "consensus/node/snapshot_install.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "consensus/node/snapshot_receive.h"
#include "consensus/store/lease.h"
#include "consensus/wal/wal.h"
#include "tests/sim/sim_io.h"
#include "unit.h"

#define OLD_INDEX 10
#define NEW_INDEX 50
#define NEW_TERM  4

static const uint8_t own_identity[SNAPSHOT_IDENTITY_SIZE] = "cluster1member_2";
static const uint8_t sender_identity[SNAPSHOT_IDENTITY_SIZE] = "cluster1member_1";

struct machine {
    struct sim_clock clock;
    struct io *io;
    struct lease_table *leases;
    char error[300];
    /* the end of an install */
    int err;
    bool is_done;
    struct store *store;
};

static void machine_start(struct machine *m, struct sim_disk *disk)
{
    *m = (struct machine){0};
    m->io = sim_io_new(&(struct sim_io_options){.disk = disk, .clock = &m->clock, .seed = 1});
    m->leases = lease_table_new(1);
}

static void machine_stop(struct machine *m)
{
    sim_clock_run(&m->clock);
    sim_io_free(m->io);
    lease_table_free(m->leases);
    sim_clock_done(&m->clock);
}

static struct snapshot_install_options options_of(struct machine *m)
{
    struct snapshot_install_options o = {.io = m->io,
                                         .dir = "data",
                                         .backend_open = backend_memory_open,
                                         .map_size = 1 << 20,
                                         .store = {.io = m->io,
                                                   .leases = m->leases,
                                                   .commit_interval_ms = 100,
                                                   .commit_ops = 100,
                                                   .compaction_batch = 100}};
    memcpy(o.identity, own_identity, sizeof o.identity);
    return o;
}

/* A store of puts up to an index, as a member wrote it. */
static void write_store(const struct snapshot_install_options *o, const char *path, uint64_t index,
                        uint64_t term, const uint8_t identity[SNAPSHOT_IDENTITY_SIZE])
{
    struct backend *b;
    struct store *s;
    char error[200];
    struct store_options options = o->store;
    int err = o->backend_open ? o->backend_open(o->io, path, 1 << 20, error, sizeof error, &b)
                              : backend_lmdb_open(path, 1 << 20, error, sizeof error, &b);
    assert_int_equal(err, 0);
    options.backend = b;
    options.commit_ops = 100000; /* all in store_close */
    assert_int_equal(store_open(&options, error, sizeof error, &s), 0);
    for (uint64_t i = 1; i <= index; i++) {
        Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
        put.key = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "key"};
        put.value = (ProtobufCBinaryData){8, (uint8_t *)&i};
        store_begin(s, i, i == index ? term : 1);
        if (i == 1)
            store_set(s, BACKEND_META, slice_text(SNAPSHOT_IDENTITY_KEY),
                      slice_of(identity, SNAPSHOT_IDENTITY_SIZE));
        else
            assert_int_equal(store_put(s, &put, NULL, NULL), 0);
        store_end(s);
    }
    store_close(s);
}

/* Index of the store under a name; its owner must be this member. -1 = cannot be opened, 0 = is not there. */
static int64_t index_of(const struct snapshot_install_options *o, const char *name)
{
    struct backend *b;
    struct store *s;
    struct io_file *file;
    struct arena arena = {0};
    struct slice identity;
    char path[200], error[200];
    struct store_options options = o->store;
    snprintf(path, sizeof path, "%s/%s", o->dir, name);
    if (o->io->ops->open(o->io, path, false, &file) != 0)
        return 0;
    o->io->ops->close(o->io, file);
    int err = o->backend_open ? o->backend_open(o->io, path, 1 << 20, error, sizeof error, &b)
                              : backend_lmdb_open(path, 1 << 20, error, sizeof error, &b);
    if (err)
        return -1;
    options.backend = b;
    if (store_open(&options, error, sizeof error, &s) != 0)
        return -1;
    int64_t index = (int64_t)store_applied_index(s);
    assert_int_equal(store_get(s, BACKEND_META, slice_text(SNAPSHOT_IDENTITY_KEY), &arena, &identity), 0);
    bool is_own = slice_equal(identity, slice_of(own_identity, sizeof own_identity));
    arena_done(&arena);
    store_drop(s);
    return is_own ? index : -1;
}

static void on_batch(void *arg, const struct wal_result *result)
{
    (void)arg;
    assert_int_equal(result->err, 0);
}

/* The log that the store at OLD_INDEX needs. */
static struct wal *write_log(struct io *io, struct sim_clock *clock, const char *dir)
{
    struct wal *w;
    struct wal_options options = {
        .io = io, .dir = dir, .segment_size = 4096, .metadata = slice_of(own_identity, sizeof own_identity)};
    assert_int_equal(wal_create(&options, &w), 0);
    wal_add_snapshot(w, 1, 1);
    for (uint64_t i = 2; i <= OLD_INDEX; i++)
        wal_add_entry(w, &(struct wal_entry){.index = i, .term = 1, .data = slice_text("entry")});
    wal_add_hard_state(w, &(struct wal_hard_state){1, 1, OLD_INDEX});
    wal_submit(w, true, on_batch, NULL);
    if (clock)
        sim_clock_run(clock);
    return w;
}

static void cut_log(struct wal *w)
{
    wal_add_snapshot(w, NEW_INDEX, NEW_TERM);
    wal_add_hard_state(w, &(struct wal_hard_state){NEW_TERM, 0, NEW_INDEX});
    wal_submit(w, true, on_batch, NULL);
}

static void on_installed(void *arg, int err, const char *error, struct store *store)
{
    struct machine *m = arg;
    m->is_done = true;
    m->err = err;
    m->store = store;
    snprintf(m->error, sizeof m->error, "%s", error);
    assert_true(err == 0 || *error);
}

/* Store, log and the received file, everything durable. */
static struct sim_disk *make_disk(uint64_t file_index, uint64_t file_term)
{
    struct machine m;
    struct sim_disk *disk = sim_disk_new();
    machine_start(&m, disk);
    struct snapshot_install_options o = options_of(&m);
    write_store(&o, "data/store", OLD_INDEX, 1, own_identity);
    write_store(&o, "data/snapshot-in", file_index, file_term, sender_identity);
    struct wal *w = write_log(m.io, &m.clock, "data/wal");
    sim_clock_run(&m.clock);
    wal_close(w);
    machine_stop(&m);
    struct sim_disk *durable = sim_disk_copy(disk);
    sim_disk_free(disk);
    return durable;
}

static struct wal *open_log(struct machine *m)
{
    struct wal *w;
    struct wal_options options = {.io = m->io, .dir = "data/wal", .segment_size = 4096};
    struct wal_replay replay = {0};
    assert_int_equal(wal_open(&options, &replay, NULL, m->error, sizeof m->error, &w), 0);
    return w;
}

/* The whole way of production, on a disk that records: mark 1 = the log is compacted, 2 = the store is there.
 */
static void run_install(struct sim_disk *disk)
{
    struct machine m;
    machine_start(&m, disk);
    struct snapshot_install_options o = options_of(&m);
    struct wal *w = open_log(&m);
    cut_log(w);
    sim_clock_run(&m.clock);
    sim_disk_mark(disk, 1);
    struct raft_snapshot snapshot = {.index = NEW_INDEX, .term = NEW_TERM};
    snapshot_install_start(&o, &snapshot, on_installed, &m);
    sim_clock_run(&m.clock);
    assert_true(m.is_done && m.err == 0);
    sim_disk_mark(disk, 2);
    assert_int_equal(store_applied_index(m.store), NEW_INDEX);
    store_close(m.store);
    sim_clock_run(&m.clock);
    wal_close(w);
    machine_stop(&m);
}

/* --- crashes ------------------------------------------------------------------------------------ */

struct crash_test {
    size_t states, old, new;
    bool goes_deeper, may_lose, has_lost;
};

static void check(struct crash_test *t, bool is_well, const struct sim_crash *crash, const char *what)
{
    if (is_well)
        return;
    t->has_lost = true;
    if (!t->may_lose)
        fail_msg("%s after %zu operations, mark %llu: %s", what, crash->position,
                 (unsigned long long)crash->mark, crash->what);
}

static int read_mark(void *arg, uint64_t index, uint64_t term)
{
    (void)term;
    *(uint64_t *)arg = index;
    return 0;
}

static uint64_t mark_of(struct machine *m)
{
    struct wal *w;
    uint64_t mark = 0;
    struct wal_options options = {.io = m->io, .dir = "data/wal", .segment_size = 4096};
    struct wal_replay replay = {.on_snapshot = read_mark, .arg = &mark};
    assert_int_equal(wal_open(&options, &replay, NULL, m->error, sizeof m->error, &w), 0);
    wal_close(w);
    return mark;
}

/* The log and the store fit each other: either both are old, or both are new. */
static bool on_crash(void *arg, struct sim_disk *image, const struct sim_crash *crash)
{
    struct crash_test *t = arg;
    struct machine m;
    struct sim_disk *copy = t->goes_deeper ? sim_disk_copy(image) : NULL;
    machine_start(&m, image);
    struct snapshot_install_options o = options_of(&m);
    int err = snapshot_install_recover(&o, "data/wal", m.error, sizeof m.error);
    check(t, err == 0, crash, m.error);
    if (!err) {
        int64_t index = index_of(&o, "store");
        uint64_t mark = mark_of(&m);
        size_t inode;
        check(t, index == (mark == NEW_INDEX ? NEW_INDEX : OLD_INDEX), crash, "log and store do not fit");
        check(t, crash->mark == 0 || mark == NEW_INDEX, crash, "the log is not cut");
        check(t, !sim_disk_find(image, "data/snapshot-in", &inode), crash, "the file is still there");
        t->old += index == OLD_INDEX;
        t->new += index == NEW_INDEX;
    }
    machine_stop(&m);
    t->states++;
    if (copy && !t->has_lost) {
        struct crash_test second = {.may_lose = t->may_lose};
        sim_disk_record(copy);
        machine_start(&m, copy);
        o = options_of(&m);
        assert_int_equal(snapshot_install_recover(&o, "data/wal", m.error, sizeof m.error), 0);
        machine_stop(&m);
        sim_disk_each_crash(copy, on_crash, &second);
        t->states += second.states;
    }
    sim_disk_free(copy);
    return !t->has_lost;
}

static void crashes(struct crash_test *t, unsigned ignored)
{
    struct sim_disk *disk = make_disk(NEW_INDEX, NEW_TERM);
    sim_disk_record(disk);
    sim_disk_ignore_sync(disk, ignored);
    run_install(disk);
    sim_disk_each_crash(disk, on_crash, t);
    sim_disk_free(disk);
}

static void test_every_crash(void **state)
{
    (void)state;
    struct crash_test t = {.goes_deeper = true};
    crashes(&t, 0);
    print_message("%zu states: %zu old, %zu new\n", t.states, t.old, t.new);
    assert_true(t.old > 0 && t.new > 4 && t.states > 20);
}

static void test_missing_syncs_are_noticed(void **state)
{
    (void)state;
    const unsigned kinds[] = {SIM_OP_SYNC, SIM_OP_SYNC_DIR};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct crash_test t = {.may_lose = true};
        crashes(&t, kinds[i]);
        assert_true(t.has_lost || i == 1);
    }
}

/* --- failures ------------------------------------------------------------------------------------ */

static void test_every_operation_fails(void **state)
{
    (void)state;
    for (uint64_t at = 1;; at++) {
        struct machine m;
        struct sim_disk *disk = make_disk(NEW_INDEX, NEW_TERM);
        machine_start(&m, disk);
        struct snapshot_install_options o = options_of(&m);
        struct wal *w = open_log(&m);
        cut_log(w);
        sim_clock_run(&m.clock);
        wal_close(w);
        sim_disk_fail(disk, SIM_OP_CHANGES | SIM_OP_READ, at, at % 2 ? ERR_IO : ERR_NO_DISK_SPACE, false);
        struct raft_snapshot snapshot = {.index = NEW_INDEX, .term = NEW_TERM};
        snapshot_install_start(&o, &snapshot, on_installed, &m);
        sim_clock_run(&m.clock);
        assert_true(m.is_done && (m.err != 0 || m.store));
        bool is_over = !m.err;
        sim_disk_fail(disk, 0, 0, 0, false);
        if (m.store)
            store_drop(m.store);
        assert_int_equal(snapshot_install_recover(&o, "data/wal", m.error, sizeof m.error), 0);
        assert_int_equal(index_of(&o, "store"), NEW_INDEX);
        machine_stop(&m);
        sim_disk_free(disk);
        if (is_over)
            break;
        assert_true(at < 50);
    }
}

/* The log waits for another state than the file's, or the file is not a store. */
static void test_refused(void **state)
{
    (void)state;
    struct machine m;
    for (int what = 0; what < 3; what++) {
        struct sim_disk *disk = make_disk(what == 0 ? NEW_INDEX + 1 : NEW_INDEX, NEW_TERM + (what == 1));
        if (what == 2)
            sim_disk_put(disk, "data/snapshot-in", slice_text("no store at all, but some text"));
        machine_start(&m, disk);
        struct snapshot_install_options o = options_of(&m);
        struct wal *w = open_log(&m);
        cut_log(w);
        struct raft_snapshot snapshot = {.index = NEW_INDEX, .term = NEW_TERM};
        snapshot_install_start(&o, &snapshot, on_installed, &m);
        sim_clock_run(&m.clock);
        wal_close(w);
        assert_int_equal(m.err, ERR_CORRUPT);
        assert_int_equal(index_of(&o, "store"), OLD_INDEX);
        assert_int_equal(snapshot_install_recover(&o, "data/wal", m.error, sizeof m.error), ERR_CORRUPT);
        assert_true(strstr(m.error, "snapshot-in") != NULL);
        machine_stop(&m);
        sim_disk_free(disk);
    }
}

/* Closed while it runs: no callback, no leak, and the next start continues. */
static void test_cancelled(void **state)
{
    (void)state;
    struct machine m;
    struct sim_disk *disk = make_disk(NEW_INDEX, NEW_TERM);
    machine_start(&m, disk);
    struct snapshot_install_options o = options_of(&m);
    struct wal *w = open_log(&m);
    cut_log(w);
    sim_clock_run(&m.clock);
    wal_close(w);
    struct raft_snapshot snapshot = {.index = NEW_INDEX, .term = NEW_TERM};
    struct snapshot_install *i = snapshot_install_start(&o, &snapshot, on_installed, &m);
    snapshot_install_cancel(i);
    sim_clock_run(&m.clock);
    assert_false(m.is_done);
    assert_int_equal(snapshot_install_recover(&o, "data/wal", m.error, sizeof m.error), 0);
    assert_int_equal(index_of(&o, "store"), NEW_INDEX);
    machine_stop(&m);
    sim_disk_free(disk);
}

/* --- LMDB, threads, a real folder --------------------------------------------------------------- */

static void test_lmdb(void **state)
{
    (void)state;
    uv_loop_t loop;
    struct machine m = {0};
    char dir[] = "/tmp/install_test_XXXXXX", path[200], wal_dir[200], command[200];
    assert_true(mkdtemp(dir) != NULL);
    assert_int_equal(uv_loop_init(&loop), 0);
    m.io = io_real_new(&loop, true);
    m.leases = lease_table_new(1);
    struct snapshot_install_options o = options_of(&m);
    o.dir = dir;
    o.backend_open = NULL;
    snprintf(path, sizeof path, "%s/store", dir);
    snprintf(wal_dir, sizeof wal_dir, "%s/wal", dir);
    write_store(&o, path, OLD_INDEX, 1, own_identity);
    for (int round = 0; round < 3; round++) {
        /* The old store is open and busy while the new one is installed. */
        struct backend *b;
        struct store *old = m.store;
        if (!old) {
            struct store_options options = o.store;
            assert_int_equal(backend_lmdb_open(path, 1 << 20, m.error, sizeof m.error, &b), 0);
            options.backend = b;
            assert_int_equal(store_open(&options, m.error, sizeof m.error, &old), 0);
        }
        uint64_t index = NEW_INDEX * (uint64_t)(round + 1);
        char *from = snapshot_received_path(dir);
        write_store(&o, from, index, NEW_TERM, sender_identity);
        mem_free(from);
        struct raft_snapshot snapshot = {.index = index, .term = NEW_TERM};
        m.is_done = false;
        snapshot_install_start(&o, &snapshot, on_installed, &m);
        uint64_t next = store_applied_index(old);
        while (!m.is_done) {
            store_begin(old, ++next, 2);
            store_end(old);
            store_turn(old);
            uv_run(&loop, UV_RUN_ONCE);
        }
        if (m.err)
            fail_msg("round %d: %s", round, m.error);
        store_begin(old, ++next, 2);
        store_end(old);
        store_force_commit(old, NULL, NULL);
        store_drop(old); /* with a commit out */
        assert_int_equal(store_applied_index(m.store), index);
        store_begin(m.store, index + 1, 7);
        store_end(m.store);
        store_force_commit(m.store, NULL, NULL);
        while (store_durable_index(m.store) != index + 1)
            uv_run(&loop, UV_RUN_ONCE);
    }
    store_close(m.store);
    assert_int_equal(index_of(&o, "store"), 3 * NEW_INDEX + 1);
    assert_int_equal(index_of(&o, "snapshot-in"), 0);
    /* As after a crash: the file is there, the log is compacted. */
    snprintf(path, sizeof path, "%s/snapshot-in", dir);
    write_store(&o, path, NEW_INDEX, NEW_TERM, sender_identity);
    struct wal *w = write_log(m.io, NULL, wal_dir);
    while (wal_is_busy(w))
        uv_run(&loop, UV_RUN_ONCE);
    cut_log(w);
    while (wal_is_busy(w))
        uv_run(&loop, UV_RUN_ONCE);
    wal_close(w);
    /* The store is ahead of the mark: it is deleted. When the store is deleted, the file takes its place. */
    uint64_t end = uv_hrtime() + UINT64_C(60000000000);
    /* The log is closed when its housekeeping has ended. */
    while (snapshot_install_recover(&o, wal_dir, m.error, sizeof m.error) != 0) {
        if (uv_hrtime() > end)
            fail_msg("%s", m.error);
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    assert_int_equal(index_of(&o, "store"), 3 * NEW_INDEX + 1);
    assert_int_equal(access(path, F_OK), -1);
    write_store(&o, path, NEW_INDEX, NEW_TERM, sender_identity);
    snprintf(command, sizeof command, "rm '%s/store'", dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(snapshot_install_recover(&o, wal_dir, m.error, sizeof m.error), 0);
    assert_int_equal(index_of(&o, "store"), NEW_INDEX);
    io_real_free(m.io);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    lease_table_free(m.leases);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

static int quiet(void **state)
{
    (void)state;
    log_set_level(LOG_FATAL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_crash),
        cmocka_unit_test(test_missing_syncs_are_noticed),
        cmocka_unit_test(test_every_operation_fails),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_lmdb),
    };
    return cmocka_run_group_tests(tests, quiet, NULL);
}
