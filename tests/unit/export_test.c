/* SPDX-License-Identifier: Apache-2.0
 * Tests of a store's exports: their pages, and the state that they hold. LMDB and a store open the exported
 * file, and the test compares it with the store at the start of the export. Writes, compactions, slow reads
 * and a close happen in between. The tests run on LMDB and on the memory backend. */
#include "consensus/store/export.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "base/hash.h"
#include "consensus/store/lease.h"
#include "fake_io.h"
#include "unit.h"
#include "tests/unit/export_lmdb.h"

enum { STEP_MS = 101 };

static uint64_t seed = 1;

static uint64_t draw(uint64_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (seed >> 33) % below;
}

/* --- pages ---------------------------------------------------------------------------------------- */

struct rows {
    struct row {
        struct slice key, value;
    } * list;
    size_t count, capacity;
};

static void rows_add(struct rows *r, struct slice key, struct slice value)
{
    if (r->count == r->capacity) {
        r->capacity = r->capacity ? r->capacity * 2 : 64;
        r->list = mem_resize(r->list, r->capacity * sizeof *r->list);
    }
    r->list[r->count++] = (struct row){slice_of(mem_copy(key.data, key.size), key.size),
                                       slice_of(mem_copy(value.data, value.size), value.size)};
}

static void rows_done(struct rows *r)
{
    for (size_t i = 0; i < r->count; i++) {
        mem_free(r->list[i].key.data);
        mem_free(r->list[i].value.data);
    }
    mem_free(r->list);
}

static int compare_rows(const void *a, const void *b)
{
    return slice_compare(((const struct row *)a)->key, ((const struct row *)b)->key);
}

/* A table of rows whose keys and values have drawn sizes; no key twice. */
static void rows_fill(struct rows *r, size_t count, size_t key_max, size_t value_max)
{
    static uint8_t bytes[70000];
    uint8_t key[511];
    for (size_t i = 0; i < count; i++) {
        size_t key_size = 8 + draw(key_max - 7), value_size = draw(value_max + 1);
        if (draw(20) == 0)
            value_size = draw(sizeof bytes);
        for (size_t k = 0; k < key_size; k++)
            key[k] = (uint8_t)draw(256);
        put_be64(key, draw(1000) << 32 | i);
        for (size_t k = 0; k < value_size; k += 97)
            bytes[k] = (uint8_t)draw(256);
        rows_add(r, slice_of(key, key_size), slice_of(bytes, value_size));
    }
    if (r->count)
        qsort(r->list, r->count, sizeof *r->list, compare_rows);
}

static void write_rows(const struct rows tables[BACKEND_TABLES], struct buf *out)
{
    struct export_writer *w = export_lmdb.new();
    uint64_t size = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (unsigned t = 0; t < BACKEND_TABLES; t++) {
            export_lmdb.table(w, t, out);
            for (size_t i = 0; i < tables[t].count; i++)
                export_lmdb.row(w, tables[t].list[i].key, tables[t].list[i].value, out);
        }
        if (pass == 0) {
            assert_int_equal(out->size, 0);
            size = export_lmdb.plan(w, out);
        }
    }
    assert_int_equal(export_lmdb.finish(w, out), 0);
    assert_int_equal(out->size, size);
    export_lmdb.free(w);
}

static void path_of(const char *what, char ret_path[64])
{
    snprintf(ret_path, 64, "/tmp/export_test_%d_%s", (int)getpid(), what);
}

static void unlink_store(const char *path)
{
    char lock[80];
    unlink(path);
    snprintf(lock, sizeof lock, "%s-lock", path);
    unlink(lock);
}

static struct backend *open_bytes(const struct buf *bytes, const char *path)
{
    struct backend *b;
    char error[256] = "";
    unlink_store(path);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes->data, 1, bytes->size, f), bytes->size);
    fclose(f);
    int err = backend_lmdb_open(path, UINT64_C(1) << 30, error, sizeof error, &b);
    if (err)
        fail_msg("%s", error);
    return b;
}

struct comparison {
    const struct rows *rows;
    size_t at;
};

static bool compare_row(void *arg, struct slice key, struct slice value)
{
    struct comparison *c = arg;
    assert_true(c->at < c->rows->count);
    const struct row *row = &c->rows->list[c->at++];
    assert_true(slice_equal(row->key, key));
    assert_true(slice_equal(row->value, value));
    return true;
}

static void compare_tables(struct backend *b, const struct rows tables[BACKEND_TABLES])
{
    struct backend_view *view;
    assert_int_equal(b->ops->view_open(b, &view), 0);
    for (unsigned t = 0; t < BACKEND_TABLES; t++) {
        struct comparison c = {.rows = &tables[t]};
        assert_int_equal(b->ops->count(view, t), tables[t].count);
        assert_int_equal(b->ops->scan(view, t, (struct slice){0}, compare_row, &c), 0);
        assert_int_equal(c.at, tables[t].count);
        for (size_t i = 0; i < tables[t].count; i += 1 + draw(20)) {
            struct slice value;
            assert_int_equal(b->ops->get(view, t, tables[t].list[i].key, &value), 0);
            assert_true(slice_equal(value, tables[t].list[i].value));
        }
    }
    b->ops->view_close(b, view);
}

/* LMDB continues with the file as with its own: every second row is deleted, some are overwritten. */
static void change_tables(struct backend *b, struct rows tables[BACKEND_TABLES])
{
    for (unsigned t = 0; t < BACKEND_TABLES; t++) {
        struct rows left = {0};
        struct backend_op *ops = mem_new((tables[t].count + 1) * sizeof *ops);
        size_t count = 0;
        uint64_t freed;
        for (size_t i = 0; i < tables[t].count; i++) {
            struct row *row = &tables[t].list[i];
            struct slice value = row->value;
            if (i % 2) {
                ops[count++] = (struct backend_op){BACKEND_DELETE, t, row->key, {0}};
                continue;
            }
            if (i % 5 == 0) {
                value = row->key;
                ops[count++] = (struct backend_op){BACKEND_PUT, t, row->key, value};
            }
            rows_add(&left, row->key, value);
        }
        assert_int_equal(b->ops->commit(b, ops, count, &freed), 0);
        mem_free(ops);
        rows_done(&tables[t]);
        tables[t] = left;
    }
}

static void round_trip(const size_t counts[BACKEND_TABLES], size_t key_max, size_t value_max)
{
    struct rows tables[BACKEND_TABLES] = {0};
    struct buf bytes = {0};
    char path[64];
    path_of("pages", path);
    for (unsigned t = 0; t < BACKEND_TABLES; t++)
        rows_fill(&tables[t], counts[t], key_max, value_max);
    write_rows(tables, &bytes);
    assert_int_equal(bytes.size % 4096, 0);
    struct backend *b = open_bytes(&bytes, path);
    compare_tables(b, tables);
    change_tables(b, tables);
    compare_tables(b, tables);
    b->ops->close(b);
    for (unsigned t = 0; t < BACKEND_TABLES; t++)
        rows_done(&tables[t]);
    buf_done(&bytes);
    unlink_store(path);
}

static void test_pages(void **state)
{
    (void)state;
    round_trip((size_t[]){0, 0, 0, 0, 0}, 20, 10);
    round_trip((size_t[]){1, 0, 2, 3, 0}, 20, 10);
    /* Sizes at which a level of branch pages begins, and at which its last page would have one child. */
    for (size_t n = 2; n < 60; n++)
        round_trip((size_t[]){n, n / 2, 0, 1, n}, 511, 1500);
    for (size_t n = 1; n < 20; n++)
        round_trip((size_t[]){500 + n * 7, 20, 0, 1, n}, 511, 2100);
    round_trip((size_t[]){10000, 3000, 2000, 1, 0}, 12, 300);
}

/* The second pass differs from the first: an error is reported, nothing is written. */
static void test_rows_that_change(void **state)
{
    (void)state;
    struct buf out = {0};
    struct export_writer *w = export_lmdb.new();
    uint8_t key[8] = {0};
    export_lmdb.table(w, BACKEND_RECORDS, &out);
    export_lmdb.row(w, slice_of(key, 8), slice_text("value"), &out);
    export_lmdb.plan(w, &out);
    export_lmdb.table(w, BACKEND_RECORDS, &out);
    assert_int_equal(export_lmdb.finish(w, &out), ERR_CORRUPT);
    export_lmdb.free(w);
    buf_done(&out);
}

/* --- a store -------------------------------------------------------------------------------------- */

struct rig {
    struct fake_io io;
    struct backend *memory; /* NULL = LMDB */
    char path[64];
    struct lease_table *leases;
    struct store *store;
    struct arena arena;
};

static void rig_open(struct rig *rig, struct backend *backend)
{
    char error[256] = "";
    rig->leases = lease_table_new(1);
    struct store_options options = {.io = &rig->io.io,
                                    .backend = backend,
                                    .leases = rig->leases,
                                    .commit_interval_ms = 100,
                                    .commit_ops = 400,
                                    .compaction_batch = 50,
                                    .compaction_sleep_ms = 10,
                                    .max_txn_ops = 128};
    if (store_open(&options, error, sizeof error, &rig->store) != 0)
        fail_msg("%s", error);
    store_attach_leases(rig->store);
}

static void rig_start(struct rig *rig, bool is_lmdb)
{
    char error[256];
    struct backend *backend;
    *rig = (struct rig){0};
    fake_io_init(&rig->io);
    path_of("store", rig->path);
    unlink_store(rig->path);
    if (is_lmdb)
        assert_int_equal(backend_lmdb_open(rig->path, 1 << 28, error, sizeof error, &backend), 0);
    else
        backend = rig->memory = backend_memory_new();
    rig_open(rig, backend);
}

static void rig_free(struct rig *rig)
{
    fake_io_run_jobs(&rig->io);
    lease_table_free(rig->leases);
    arena_done(&rig->arena);
    backend_memory_free(rig->memory);
    unlink_store(rig->path);
}

static void rig_end(struct rig *rig)
{
    store_turn(rig->store);
    store_close(rig->store);
    rig_free(rig);
}

static void put(struct rig *rig, unsigned key, size_t size)
{
    static uint8_t value[400000];
    char name[32];
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    m.key = (ProtobufCBinaryData){(size_t)snprintf(name, sizeof name, "key%u", key), (uint8_t *)name};
    memset(value, (int)draw(256), 16);
    m.value = (ProtobufCBinaryData){size, value};
    uint8_t side[8], text[2] = "v";
    put_be64(side, key % 50);
    store_begin(rig->store, store_applied_index(rig->store) + 1, 1);
    assert_int_equal(store_put(rig->store, &m, &rig->arena, NULL), 0);
    if (draw(4) == 0)
        store_set(rig->store, BACKEND_AUTH, slice_of(side, 8), slice_of(text, draw(2)));
    if (draw(4) == 0)
        store_set(rig->store, BACKEND_ALARMS, slice_text("alarm"), slice_of(side, 8));
    store_end(rig->store);
    arena_reset(&rig->arena);
}

static void compact(struct rig *rig, int64_t revision)
{
    store_begin(rig->store, store_applied_index(rig->store) + 1, 1);
    int err = store_compact(rig->store, revision);
    assert_true(err == 0 || err == ERR_COMPACTED);
    store_end(rig->store);
}

static void fill(struct rig *rig, unsigned count, size_t size)
{
    for (unsigned i = 0; i < count; i++)
        put(rig, (unsigned)draw(count), size ? draw(size) : 0);
}

/* The memory backend has no view open while a job runs. */
static void run_job(struct rig *rig)
{
    if (rig->memory)
        store_turn(rig->store);
    (void)fake_io_run_job(&rig->io);
}

static void turn(struct rig *rig)
{
    fake_io_pass(&rig->io, STEP_MS);
    store_turn(rig->store);
}

/* One client: the bytes that it received, and the expected ones. */
struct reader {
    struct store_export *x;
    struct buf bytes;
    size_t told, largest;
    uint32_t hash;
    uint64_t index;
    int err;
    bool is_done, has_ended;
};

static void on_ready(void *arg)
{
    ((struct reader *)arg)->told++;
}

static void reader_start(struct rig *rig, struct reader *r)
{
    *r = (struct reader){.hash = store_hash(rig->store), .index = store_applied_index(rig->store)};
    r->x = store_export_new(rig->store, &export_lmdb, on_ready, r);
}

/* One block, if there is one. */
static void reader_step(struct reader *r)
{
    struct slice block;
    if (r->is_done || r->err)
        return;
    r->err = store_export_next(r->x, &block);
    buf_add_slice(&r->bytes, block);
    if (block.size > r->largest)
        r->largest = block.size;
    r->is_done = !r->err && block.size == 0 && store_export_is_done(r->x);
}

static void reader_end(struct reader *r)
{
    store_export_close(r->x);
    buf_done(&r->bytes);
}

/* The exported file is a store that equals the store at the start of the export. */
static void reader_judge(struct reader *r)
{
    struct rig copy = {0};
    uint8_t digest[32], expected[32];
    assert_int_equal(r->err, 0);
    assert_true(r->is_done);
    assert_int_equal(r->bytes.size, store_export_size(r->x));
    struct sha256 *sha = sha256_new();
    sha256_add(sha, r->bytes.data, r->bytes.size);
    sha256_finish(sha, expected);
    store_export_digest(r->x, digest);
    assert_memory_equal(digest, expected, 32);
    fake_io_init(&copy.io);
    path_of("copy", copy.path);
    rig_open(&copy, open_bytes(&r->bytes, copy.path));
    assert_int_equal(store_applied_index(copy.store), r->index);
    assert_int_equal(store_revision(copy.store), store_export_revision(r->x));
    assert_int_equal(store_hash(copy.store), r->hash);
    put(&copy, 1, 100);
    rig_end(&copy);
}

/* Runs jobs, takes blocks, turns; until all readers have ended. */
static void finish(struct rig *rig, struct reader *readers, size_t count)
{
    for (bool is_over = false; !is_over;) {
        is_over = true;
        fake_io_run_jobs(&rig->io);
        for (size_t i = 0; i < count; i++) {
            reader_step(&readers[i]);
            is_over = is_over && (readers[i].is_done || readers[i].err);
        }
        turn(rig);
    }
}

static void holds_one_state(bool is_lmdb)
{
    struct rig rig;
    struct reader r[4];
    rig_start(&rig, is_lmdb);
    fill(&rig, 6000, 300);
    put(&rig, 7, 390000);
    for (int walk = 0; walk < 6; walk++) {
        for (size_t i = 0; i < 4; i++) {
            reader_start(&rig, &r[i]);
            fill(&rig, (unsigned)draw(300), 200);
        }
        bool is_over = false;
        while (!is_over) {
            switch (draw(6)) {
            case 0:
                fill(&rig, 1 + (unsigned)draw(60), 300);
                break;
            case 1:
                if (draw(3) == 0)
                    compact(&rig, store_revision(rig.store) - (int64_t)draw(500));
                break;
            case 2:
                turn(&rig);
                break;
            case 3:
                reader_step(&r[draw(4)]);
                break;
            default:
                run_job(&rig);
                break;
            }
            is_over = r[0].is_done && r[1].is_done && r[2].is_done && r[3].is_done;
            for (size_t i = 0; i < 4; i++)
                assert_int_equal(r[i].err, 0);
        }
        for (size_t i = 0; i < 4; i++) {
            reader_judge(&r[i]);
            assert_true(r[i].largest < (256u << 10) + 410000u);
            reader_end(&r[i]);
        }
    }
    rig_end(&rig);
}

static void test_one_state(void **state)
{
    (void)state;
    holds_one_state(false);
    holds_one_state(true);
}

/* No reader takes blocks. So no job runs, the memory is two blocks, and no transaction is open: the file does
 * not grow when data are overwritten meanwhile. */
static void test_unread(void **state)
{
    (void)state;
    struct rig rig;
    struct reader r;
    rig_start(&rig, true);
    fill(&rig, 4000, 1000);
    reader_start(&rig, &r);
    fake_io_run_jobs(&rig.io);
    assert_true(store_export_has_block(r.x));
    reader_step(&r);
    fake_io_run_jobs(&rig.io);
    assert_true(r.bytes.size < store_export_size(r.x) / 2);
    size_t told = r.told;
    for (int i = 0; i < 50; i++) {
        turn(&rig);
        fake_io_run_jobs(&rig.io);
    }
    assert_int_equal(r.told, told);
    finish(&rig, &r, 1);
    reader_judge(&r);
    reader_end(&r);
    rig_end(&rig);
}

static void on_compacted(void *arg, int err)
{
    assert_int_equal(err, 0);
    ++*(int *)arg;
}

/* The sweep waits for the export, and continues when that has been read or closed. */
static void test_sweep_waits(void **state)
{
    (void)state;
    for (int is_read = 0; is_read < 2; is_read++) {
        struct rig rig;
        struct reader r;
        int compacted = 0;
        rig_start(&rig, true);
        fill(&rig, 3000, 1000);
        reader_start(&rig, &r);
        fill(&rig, 3000, 100);
        compact(&rig, store_revision(rig.store));
        store_when_compacted(rig.store, on_compacted, &compacted);
        for (int i = 0; i < 100; i++) {
            turn(&rig);
            fake_io_run_jobs(&rig.io);
        }
        assert_int_equal(compacted, 0);
        if (is_read) {
            finish(&rig, &r, 1);
            reader_judge(&r);
        }
        reader_end(&r);
        for (int i = 0; i < 1000; i++) {
            turn(&rig);
            fake_io_run_jobs(&rig.io);
        }
        assert_int_equal(compacted, 1);
        rig_end(&rig);
    }
}

/* The wait is bounded in time and in growth. After that, no new export begins before the sweep is done. */
static void test_sweep_waits_no_longer(void **state)
{
    (void)state;
    for (int by_growth = 0; by_growth < 2; by_growth++) {
        struct rig rig;
        struct reader r;
        int compacted = 0, turns = 0;
        rig_start(&rig, true);
        fill(&rig, 3000, 1000);
        reader_start(&rig, &r);
        fill(&rig, 3000, 100);
        compact(&rig, store_revision(rig.store));
        store_when_compacted(rig.store, on_compacted, &compacted);
        assert_true(store_export_may_start(rig.store));
        for (; !r.has_ended && turns < 4000; turns++) {
            turn(&rig);
            fake_io_run_jobs(&rig.io);
            if (by_growth)
                put(&rig, 10000 + (unsigned)turns, 100000);
            r.has_ended = r.told > 1;
        }
        reader_step(&r);
        assert_int_equal(r.err, ERR_SNAPSHOT_SLOW);
        /* Five minutes; or 16 MiB and the bytes that the walk to the sweep's deletes took. */
        assert_in_range(turns, by_growth ? 150 : 2900, by_growth ? 250 : 3100);
        assert_false(store_export_may_start(rig.store));
        for (int i = 0; i < 1000; i++) {
            turn(&rig);
            fake_io_run_jobs(&rig.io);
        }
        assert_int_equal(compacted, 1);
        assert_true(store_export_may_start(rig.store));
        reader_end(&r);
        rig_end(&rig);
    }
}

/* Closed after any number of steps: nothing is left, and the store works as before. */
static void test_closed_at_any_time(void **state)
{
    (void)state;
    for (int steps = 0; steps < 60; steps++) {
        struct rig rig;
        struct reader r;
        rig_start(&rig, steps % 2);
        fill(&rig, 900, 3000);
        reader_start(&rig, &r);
        for (int i = 0; i < steps; i++) {
            run_job(&rig);
            if (i % 3 == 0)
                reader_step(&r);
        }
        reader_end(&r);
        put(&rig, 1, 10);
        rig_end(&rig);
    }
}

/* The store ends first: it is closed, or another one replaces it. */
static void test_store_ends(void **state)
{
    (void)state;
    for (int steps = 0; steps < 60; steps++) {
        struct rig rig;
        struct reader r;
        bool is_dropped = steps % 4 > 1;
        rig_start(&rig, true);
        fill(&rig, 900, 3000);
        reader_start(&rig, &r);
        for (int i = 0; i < steps; i++) {
            run_job(&rig);
            if (i % 3 == 0)
                reader_step(&r);
        }
        if (is_dropped)
            store_drop(rig.store);
        else
            store_close(rig.store);
        fake_io_run_jobs(&rig.io);
        while (!r.is_done && !r.err)
            reader_step(&r);
        if (r.err)
            assert_int_equal(r.err, is_dropped ? ERR_NOT_READY : ERR_STOPPED);
        reader_end(&r);
        rig_free(&rig);
    }
}

/* Real threads: writes, commits and sweeps beside three exports. For the thread sanitizer, too. */
static void test_real_workers(void **state)
{
    (void)state;
    struct rig rig = {0};
    struct reader r[3];
    uv_loop_t loop;
    char error[200];
    struct backend *backend;
    assert_int_equal(uv_loop_init(&loop), 0);
    struct io *io = io_real_new(&loop, true);
    path_of("store", rig.path);
    unlink_store(rig.path);
    assert_int_equal(backend_lmdb_open(rig.path, 1 << 28, error, sizeof error, &backend), 0);
    rig.leases = lease_table_new(1);
    struct store_options options = {.io = io,
                                    .backend = backend,
                                    .leases = rig.leases,
                                    .commit_interval_ms = 2,
                                    .commit_ops = 200,
                                    .compaction_batch = 100,
                                    .compaction_sleep_ms = 1};
    assert_int_equal(store_open(&options, error, sizeof error, &rig.store), 0);
    fill(&rig, 8000, 600);
    for (size_t i = 0; i < 3; i++) {
        reader_start(&rig, &r[i]);
        fill(&rig, 50, 100);
    }
    for (bool is_over = false; !is_over;) {
        is_over = true;
        fill(&rig, 20, 300);
        if (draw(10) == 0)
            compact(&rig, store_revision(rig.store) - 10);
        store_turn(rig.store);
        uv_run(&loop, UV_RUN_NOWAIT);
        for (size_t i = 0; i < 3; i++) {
            reader_step(&r[i]);
            is_over = is_over && (r[i].is_done || r[i].err);
        }
    }
    for (size_t i = 0; i < 3; i++) {
        reader_judge(&r[i]);
        reader_end(&r[i]);
    }
    store_close(rig.store);
    io_real_free(io);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    lease_table_free(rig.leases);
    arena_done(&rig.arena);
    unlink_store(rig.path);
}

int main(void)
{
    if (getenv("SEED"))
        seed = strtoull(getenv("SEED"), NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_rows_that_change),
        cmocka_unit_test(test_one_state),
        cmocka_unit_test(test_unread),
        cmocka_unit_test(test_sweep_waits),
        cmocka_unit_test(test_sweep_waits_no_longer),
        cmocka_unit_test(test_closed_at_any_time),
        cmocka_unit_test(test_store_ends),
        cmocka_unit_test(test_real_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
