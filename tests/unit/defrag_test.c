/* SPDX-License-Identifier: Apache-2.0
 * Tests of defragmentation of a store on LMDB. A second store on the memory backend applies the same entries
 * and is never defragmented. Both must hold the same at every moment, after a crash at any step, and after
 * they are opened again. Writes, deletes, compactions and exports in between are drawn. SEED=7 WALKS=100
 * runs more. */
#include "consensus/store/defrag.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "consensus/store/export.h"
#include "consensus/store/lease.h"
#include "fake_io.h"
#include "unit.h"
#include "tests/unit/export_lmdb.h"

enum { NOT_DONE = 1, KEYS = 400 };

static uint64_t seed = 1;
static char folder[64];

static uint64_t draw(uint64_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (seed >> 33) % below;
}

static const char *path_of(const char *name)
{
    static char path[4][400];
    static unsigned turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static bool exists(const char *name)
{
    struct stat st;
    return stat(path_of(name), &st) == 0;
}

static uint64_t size_of(const char *name)
{
    struct stat st;
    assert_int_equal(stat(path_of(name), &st), 0);
    return (uint64_t)st.st_size;
}

static void empty_folder(void)
{
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        (void)remove(path_of(e->d_name));
    closedir(dir);
}

/* --- two stores ------------------------------------------------------------------------------------ */

struct one {
    struct fake_io io;
    struct lease_table *leases;
    struct store *store;
};

struct rig {
    struct one a, b; /* the one that is defragmented, and the other */
    struct backend *memory;
    size_t step_bytes;
    int result; /* of the defrag; NOT_DONE = none yet */
    struct {
        uint64_t index;
        uint32_t hash;
    } past[8192];
    size_t past_count;
};

static void one_open(struct one *o, struct io *io, struct backend *backend, size_t step_bytes)
{
    char error[256] = "";
    o->leases = lease_table_new(1);
    struct store_options options = {.io = io,
                                    .backend = backend,
                                    .leases = o->leases,
                                    .commit_interval_ms = 100,
                                    .commit_ops = 60,
                                    .compaction_batch = 50,
                                    .compaction_sleep_ms = 10,
                                    .max_txn_ops = 128,
                                    .defrag_bytes = step_bytes};
    if (store_open(&options, error, sizeof error, &o->store) != 0)
        fail_msg("%s", error);
    store_attach_leases(o->store);
}

static struct backend *open_lmdb(const char *name)
{
    char error[256] = "";
    struct backend *backend;
    if (backend_lmdb_open(path_of(name), 1 << 28, error, sizeof error, &backend) != 0)
        fail_msg("%s", error);
    return backend;
}

static void remember(struct rig *rig)
{
    assert_true(rig->past_count < COUNT_OF(rig->past));
    rig->past[rig->past_count].index = store_applied_index(rig->b.store);
    rig->past[rig->past_count++].hash = store_hash(rig->b.store);
}

static void rig_start(struct rig *rig, size_t step_bytes)
{
    *rig = (struct rig){.step_bytes = step_bytes};
    empty_folder();
    fake_io_init(&rig->a.io);
    fake_io_init(&rig->b.io);
    rig->memory = backend_memory_new();
    one_open(&rig->a, &rig->a.io.io, open_lmdb("store"), step_bytes);
    one_open(&rig->b, &rig->b.io.io, rig->memory, 0);
    remember(rig);
}

static void rig_free(struct rig *rig)
{
    fake_io_run_jobs(&rig->a.io);
    store_close(rig->b.store);
    fake_io_run_jobs(&rig->b.io);
    lease_table_free(rig->a.leases);
    lease_table_free(rig->b.leases);
    backend_memory_free(rig->memory);
}

static void on_done(void *arg, int err)
{
    struct rig *rig = arg;
    assert_int_equal(rig->result, NOT_DONE);
    rig->result = err;
}

static void defrag(struct rig *rig)
{
    rig->result = NOT_DONE;
    store_defrag(rig->a.store, on_done, rig);
}

/* --- entries --------------------------------------------------------------------------------------- */

struct change {
    enum { PUT, DELETE, COMPACT, SIDE } kind;
    unsigned key;
    size_t size;
    uint8_t fill;
    int64_t revision;
    enum backend_table table;
};

static void apply(struct store *s, const struct change *c)
{
    static uint8_t value[60000];
    char name[32];
    struct arena arena = {0};
    size_t size = (size_t)snprintf(name, sizeof name, "key%u", c->key);
    store_begin(s, store_applied_index(s) + 1, 1);
    if (c->kind == PUT) {
        Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
        memset(value, c->fill, c->size);
        m.key = (ProtobufCBinaryData){size, (uint8_t *)name};
        m.value = (ProtobufCBinaryData){c->size, value};
        assert_int_equal(store_put(s, &m, &arena, NULL), 0);
    } else if (c->kind == DELETE) {
        Etcdserverpb__DeleteRangeRequest m = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
        m.key = (ProtobufCBinaryData){size, (uint8_t *)name};
        assert_int_equal(store_delete_range(s, &m, &arena, NULL), 0);
    } else if (c->kind == COMPACT) {
        int err = store_compact(s, c->revision);
        assert_true(err == 0 || err == ERR_COMPACTED);
    } else {
        store_set(s, c->table, slice_of(name, size), slice_of(&c->fill, c->fill % 3 ? 1 : 0));
    }
    store_end(s);
    arena_done(&arena);
}

static void change(struct rig *rig, struct change c)
{
    apply(rig->a.store, &c);
    apply(rig->b.store, &c);
    store_turn(rig->b.store);
    fake_io_pass(&rig->b.io, 200);
    store_turn(rig->b.store);
    fake_io_run_jobs(&rig->b.io);
    remember(rig);
}

static void change_something(struct rig *rig)
{
    static const enum backend_table sides[] = {BACKEND_META, BACKEND_LEASES, BACKEND_ALARMS, BACKEND_AUTH};
    uint64_t kind = draw(100);
    struct change c = {.key = (unsigned)draw(KEYS), .fill = (uint8_t)draw(256)};
    if (kind < 50) {
        c.kind = PUT;
        c.size = draw(20) ? draw(1200) : draw(60000);
    } else if (kind < 70) {
        c.kind = DELETE;
    } else if (kind < 97) {
        c.kind = SIDE;
        c.table = sides[draw(COUNT_OF(sides))];
    } else {
        c.kind = COMPACT;
        c.revision = store_revision(rig->b.store) - (int64_t)draw(30);
    }
    if (c.kind != COMPACT || c.revision > 1)
        change(rig, c);
}

static void fill(struct rig *rig, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        change_something(rig);
        fake_io_pass(&rig->a.io, 5);
        store_turn(rig->a.store);
        fake_io_run_jobs(&rig->a.io);
    }
}

/* Nothing is left to commit or to sweep. */
static void settle(struct rig *rig)
{
    for (unsigned i = 0; i < 100; i++) {
        fake_io_pass(&rig->a.io, 101);
        store_turn(rig->a.store);
        fake_io_run_jobs(&rig->a.io);
    }
}

/* --- comparing --------------------------------------------------------------------------------------- */

/* Many single reads and one long one, by the loop's view. */
static void compare_reads(struct rig *rig)
{
    assert_int_equal(store_failed(rig->a.store), 0);
    assert_int_equal(store_hash(rig->a.store), store_hash(rig->b.store));
}

static bool add_row(void *arg, struct slice key, struct slice value)
{
    struct buf *text = arg;
    if (key.size > 6 && memcmp(key.data, "store.", 6) == 0)
        return true; /* marks of the sweep and the commit, at moments of their own */
    buf_addf(text, "%.*s=", (int)key.size, key.data);
    buf_add_slice(text, value);
    return true;
}

static void compare_sides(struct store *a, struct store *b)
{
    for (unsigned t = BACKEND_META; t < BACKEND_TABLES; t++) {
        struct buf x = {0}, y = {0};
        assert_int_equal(store_scan(a, t, add_row, &x), 0);
        assert_int_equal(store_scan(b, t, add_row, &y), 0);
        assert_int_equal(x.size, y.size);
        if (x.size)
            assert_memory_equal(x.data, y.data, x.size);
        buf_done(&x);
        buf_done(&y);
    }
}

/* The file that is opened again holds committed data, of a state that existed. */
static void judge_file(struct rig *rig, const char *name, uint64_t durable_index)
{
    struct one copy = {0};
    fake_io_init(&copy.io);
    one_open(&copy, &copy.io.io, open_lmdb(name), 0);
    uint64_t index = store_applied_index(copy.store);
    assert_true(index >= durable_index);
    bool is_known = false;
    for (size_t i = 0; i < rig->past_count; i++) {
        if (rig->past[i].index != index)
            continue;
        is_known = true;
        assert_int_equal(store_hash(copy.store), rig->past[i].hash);
    }
    assert_true(is_known);
    if (index == store_applied_index(rig->b.store))
        compare_sides(copy.store, rig->b.store);
    store_close(copy.store);
    fake_io_run_jobs(&copy.io);
    lease_table_free(copy.leases);
}

static void copy_file(const char *from, const char *to)
{
    char buffer[65536];
    FILE *in = fopen(path_of(from), "rb"), *out = fopen(path_of(to), "wb");
    assert_true(in && out);
    for (size_t got; (got = fread(buffer, 1, sizeof buffer, in)) > 0;)
        assert_int_equal(fwrite(buffer, 1, got, out), got);
    fclose(in);
    fclose(out);
}

/* The files that a kill would leave at this moment. The rest of the packed file lies beside it, as after a
 * kill. */
static void judge_crash(struct rig *rig)
{
    copy_file("store", "crash");
    if (exists("store.defrag"))
        copy_file("store.defrag", "crash.defrag");
    judge_file(rig, "crash", store_durable_index(rig->a.store));
    assert_false(exists("crash.defrag"));
    (void)remove(path_of("crash"));
    (void)remove(path_of("crash-lock"));
}

static void rig_end(struct rig *rig)
{
    store_turn(rig->a.store);
    store_close(rig->a.store);
    fake_io_run_jobs(&rig->a.io);
    assert_false(exists("store.defrag"));
    assert_false(exists("store.defrag-lock"));
    judge_file(rig, "store", store_applied_index(rig->b.store));
    rig_free(rig);
}

/* --- tests ------------------------------------------------------------------------------------------- */

static void nothing(void *arg)
{
    (void)arg;
}

/* An export at the same time: export_test.c checks its bytes; here it only has to end well. */
static void export_some(struct rig *rig, struct store_export **x, size_t *bytes)
{
    struct slice block;
    if (!*x && store_export_may_start(rig->a.store)) {
        *x = store_export_new(rig->a.store, &export_lmdb, nothing, NULL);
        *bytes = 0;
        return;
    }
    int err = *x ? store_export_next(*x, &block) : OK;
    assert_true(err == OK || err == ERR_SNAPSHOT_SLOW);
    if (!*x)
        return;
    *bytes += block.size;
    if (err || store_export_is_done(*x) || draw(200) == 0) {
        if (!err && store_export_is_done(*x))
            assert_int_equal(*bytes, store_export_size(*x));
        store_export_close(*x);
        *x = NULL;
    }
}

/* Both halves of jobs, entries, reads, turns, crashes and exports in any order while it runs. */
static void walk(struct rig *rig, bool has_exports)
{
    struct store_export *x = NULL;
    size_t bytes = 0;
    defrag(rig);
    for (unsigned n = 0; rig->result == NOT_DONE; n++) {
        assert_true(n < 20000);
        uint64_t what = draw(100);
        if (what < 25 && rig->past_count < COUNT_OF(rig->past) / 2)
            change_something(rig);
        else if (what < 50)
            (void)fake_io_begin_job(&rig->a.io);
        else if (what < 75)
            (void)fake_io_end_job(&rig->a.io);
        else if (what < 80)
            compare_reads(rig);
        else if (what < 82)
            judge_crash(rig);
        else if (what < 85 && has_exports)
            export_some(rig, &x, &bytes);
        else
            fake_io_pass(&rig->a.io, draw(60)), store_turn(rig->a.store);
    }
    assert_int_equal(rig->result, 0);
    if (x)
        store_export_close(x);
    judge_crash(rig);
}

static void test_any_order(void **state)
{
    (void)state;
    unsigned walks = getenv("WALKS") ? (unsigned)atoi(getenv("WALKS")) : 6;
    for (unsigned i = 0; i < walks; i++) {
        struct rig *rig = mem_new(sizeof *rig);
        rig_start(rig, 1000 + draw(40000));
        fill(rig, 300 + (unsigned)draw(300));
        walk(rig, i % 2);
        fill(rig, 30);
        if (i % 3 == 0)
            walk(rig, i % 2);
        rig_end(rig);
        mem_free(rig);
    }
}

/* Every fourth value of 1 KiB is left, as compaction leaves kept releases. */
static void test_gives_space_back(void **state)
{
    (void)state;
    struct rig *rig = mem_new(sizeof *rig);
    rig_start(rig, 0);
    for (unsigned i = 0; i < 2000; i++) {
        change(rig, (struct change){PUT, i % 4 ? 5000 : i, 1000, (uint8_t)i, 0, 0});
        fake_io_run_jobs(&rig->a.io);
    }
    change(rig, (struct change){.kind = COMPACT, .revision = store_revision(rig->b.store)});
    settle(rig);
    struct store_sizes before = store_sizes(rig->a.store);
    assert_true(before.in_use > 5 * before.live / 2);
    defrag(rig);
    while (rig->result == NOT_DONE) {
        fake_io_run_jobs(&rig->a.io);
        fake_io_pass(&rig->a.io, 1);
    }
    assert_int_equal(rig->result, 0);
    struct store_sizes after = store_sizes(rig->a.store);
    assert_int_equal(after.file, size_of("store"));
    assert_true(after.in_use * 2 <= after.live * 3);
    assert_true(after.file * 2 <= after.live * 3 + 65536);
    assert_true(after.file * 4 < before.file);
    assert_int_equal(after.live, before.live);
    struct backend_pack p = store_defrag_progress(rig->a.store);
    assert_true(p.bytes > 500000 && p.is_renamed);
    compare_reads(rig);
    rig_end(rig);
    mem_free(rig);
}

/* After so many half jobs an event ends it. */
enum ending { CANCEL, CLOSE, DROP, ENDINGS };

static void end_after(unsigned steps, enum ending ending)
{
    struct rig *rig = mem_new(sizeof *rig);
    rig_start(rig, 30000);
    fill(rig, 80);
    defrag(rig);
    for (unsigned i = 0; i < steps && rig->result == NOT_DONE; i++) {
        if (!(i % 2 ? fake_io_end_job(&rig->a.io) : fake_io_begin_job(&rig->a.io)))
            fake_io_pass(&rig->a.io, 5);
        if (i % 5 == 0)
            change_something(rig);
    }
    if (ending == CANCEL) {
        store_defrag_cancel(rig->a.store);
        fake_io_run_jobs(&rig->a.io);
        assert_false(store_defrag_is_running(rig->a.store));
        assert_false(exists("store.defrag"));
        assert_true(rig->result == ERR_CANCELED || rig->result == OK);
        compare_reads(rig);
        fill(rig, 20);
        rig_end(rig);
    } else if (ending == CLOSE) {
        bool was_running = rig->result == NOT_DONE;
        store_close(rig->a.store);
        assert_int_equal(rig->result, was_running ? ERR_STOPPED : OK);
        fake_io_run_jobs(&rig->a.io);
        assert_false(exists("store.defrag"));
        judge_file(rig, "store", store_applied_index(rig->b.store));
        rig_free(rig);
    } else {
        bool was_running = rig->result == NOT_DONE;
        store_drop(rig->a.store);
        assert_int_equal(rig->result, was_running ? ERR_NOT_READY : OK);
        fake_io_run_jobs(&rig->a.io);
        assert_false(exists("store.defrag"));
        judge_file(rig, "store", 0);
        rig_free(rig);
    }
    mem_free(rig);
}

static void test_ends_at_any_step(void **state)
{
    (void)state;
    for (unsigned ending = 0; ending < ENDINGS; ending++) {
        for (unsigned steps = 0; steps < 40; steps++)
            end_after(steps, ending);
    }
}

static void run_to_end(struct rig *rig)
{
    while (rig->result == NOT_DONE) {
        fake_io_run_jobs(&rig->a.io);
        fake_io_pass(&rig->a.io, 5);
        store_turn(rig->a.store);
    }
}

/* It failed, left nothing, and the next one succeeds. */
static void expect_failure(struct rig *rig, int err)
{
    run_to_end(rig);
    assert_int_equal(rig->result, err);
    assert_false(exists("store.defrag"));
    compare_reads(rig);
    fill(rig, 10);
    defrag(rig);
    run_to_end(rig);
    assert_int_equal(rig->result, 0);
    compare_reads(rig);
    rig_end(rig);
}

static void test_file_cannot_be_made(void **state)
{
    (void)state;
    struct rig *rig = mem_new(sizeof *rig);
    rig_start(rig, 20000);
    fill(rig, 100);
    assert_int_equal(mkdir(path_of("store.defrag"), 0700), 0);
    defrag(rig);
    run_to_end(rig);
    assert_int_equal(rig->result, ERR_IO);
    assert_int_equal(rmdir(path_of("store.defrag")), 0);
    expect_failure(rig, ERR_IO);
    mem_free(rig);
}

static void limit_files(uint64_t bytes)
{
    const struct rlimit limit = {bytes, RLIM_INFINITY};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void test_file_cannot_be_written(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    for (unsigned steps = 1; steps < 12; steps++) {
        struct rig *rig = mem_new(sizeof *rig);
        rig_start(rig, 5000);
        fill(rig, 300);
        settle(rig);
        defrag(rig);
        for (unsigned i = 0; i < steps; i++) {
            (void)fake_io_run_job(&rig->a.io);
            fake_io_pass(&rig->a.io, 5);
        }
        limit_files(16384);
        while (rig->result == NOT_DONE && fake_io_run_job(&rig->a.io))
            fake_io_pass(&rig->a.io, 5);
        limit_files(RLIM_INFINITY);
        expect_failure(rig, ERR_IO);
        mem_free(rig);
    }
}

static void test_file_cannot_be_renamed(void **state)
{
    (void)state;
    struct rig *rig = mem_new(sizeof *rig);
    rig_start(rig, 1 << 20);
    fill(rig, 100);
    defrag(rig);
    (void)fake_io_run_job(&rig->a.io);
    assert_int_equal(remove(path_of("store.defrag")), 0);
    expect_failure(rig, ERR_IO);
    mem_free(rig);
}

/* A kill in the middle leaves these two; a store that opens removes them. */
static void test_rest_is_removed(void **state)
{
    (void)state;
    struct rig *rig = mem_new(sizeof *rig);
    rig_start(rig, 0);
    fill(rig, 50);
    store_close(rig->a.store);
    fake_io_run_jobs(&rig->a.io);
    lease_table_free(rig->a.leases);
    copy_file("store", "store.defrag");
    copy_file("store-lock", "store.defrag-lock");
    one_open(&rig->a, &rig->a.io.io, open_lmdb("store"), 0);
    assert_false(exists("store.defrag"));
    assert_false(exists("store.defrag-lock"));
    rig_end(rig);
    mem_free(rig);
}

/* The memory backend has nothing to pack. */
static void test_nothing_to_pack(void **state)
{
    (void)state;
    struct rig *rig = mem_new(sizeof *rig);
    rig_start(rig, 0);
    rig->result = NOT_DONE;
    store_defrag(rig->b.store, on_done, rig);
    assert_int_equal(rig->result, 0);
    assert_false(store_defrag_is_running(rig->b.store));
    rig_end(rig);
    mem_free(rig);
}

/* Real threads: entries, commits, sweeps, exports and reads beside one defrag after the other. For the thread
 * sanitizer, too. */
static void test_real_workers(void **state)
{
    (void)state;
    struct rig *rig = mem_new(sizeof *rig);
    struct store_export *x = NULL;
    size_t bytes = 0;
    uv_loop_t loop;
    empty_folder();
    assert_int_equal(uv_loop_init(&loop), 0);
    struct io *io = io_real_new(&loop, true);
    fake_io_init(&rig->a.io);
    fake_io_init(&rig->b.io);
    rig->memory = backend_memory_new();
    one_open(&rig->a, io, open_lmdb("store"), 30000);
    one_open(&rig->b, &rig->b.io.io, rig->memory, 0);
    for (unsigned i = 0; i < 600; i++)
        change_something(rig);
    for (unsigned round = 0; round < 4; round++) {
        defrag(rig);
        for (unsigned n = 0; rig->result == NOT_DONE; n++) {
            if (rig->past_count < COUNT_OF(rig->past) / 2)
                change_something(rig);
            if (n % 8 == 0)
                compare_reads(rig);
            export_some(rig, &x, &bytes);
            store_turn(rig->a.store);
            uv_run(&loop, UV_RUN_NOWAIT);
        }
        assert_int_equal(rig->result, 0);
    }
    if (x)
        store_export_close(x);
    compare_reads(rig);
    store_close(rig->a.store);
    io_real_free(io);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    judge_file(rig, "store", store_applied_index(rig->b.store));
    rig_free(rig);
    mem_free(rig);
}

int main(void)
{
    if (getenv("SEED"))
        seed = strtoull(getenv("SEED"), NULL, 10);
    snprintf(folder, sizeof folder, "/tmp/defrag_test_XXXXXX");
    if (!mkdtemp(folder))
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_gives_space_back),
        cmocka_unit_test(test_ends_at_any_step),
        cmocka_unit_test(test_file_cannot_be_made),
        cmocka_unit_test(test_file_cannot_be_written),
        cmocka_unit_test(test_file_cannot_be_renamed),
        cmocka_unit_test(test_rest_is_removed),
        cmocka_unit_test(test_nothing_to_pack),
        cmocka_unit_test(test_real_workers),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    empty_folder();
    (void)rmdir(folder);
    return failed;
}
