/* SPDX-License-Identifier: Apache-2.0
 * Tests of the whole store against a naive model: random requests, restarts, crashes after which the log is
 * applied again, compaction, commits at random times. The tests run on the memory backend, alone and over a
 * file on the simulated disk, and on LMDB. */
#include "base/hash.h"
#include "consensus/store/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>
#include <cmocka.h>

#include "consensus/store/lease.h"
#include "consensus/store/record.h"
#include "consensus/store/state.h"
#include "fake_io.h"
#include "store_long.h"
#include "store_model.h"
#include "tests/sim/sim_io.h"
#include "unit.h"

enum where { IN_MEMORY, IN_FILE, IN_LMDB };

/* One store and everything that belongs to it. */
struct rig {
    struct fake_io io;
    struct backend *memory; /* NULL = LMDB or the file at path */
    struct sim_disk *disk;  /* NULL = LMDB */
    struct sim_clock clock;
    struct io *files;
    char path[128];
    struct lease_table *leases;
    struct store *store;
    struct arena arena;
    uint64_t durable;
    int64_t seen;      /* the last revision that on_change got */
    struct buf events; /* changes of on_change since it was last emptied */
    unsigned slices;   /* pauses within entries */
};

static void describe_change(struct buf *out, const struct store_change *change)
{
    for (size_t i = 0; i < change->count; i++) {
        const struct store_event *e = &change->events[i];
        buf_addf(out, "%lld %s ", (long long)change->revision, e->is_delete ? "del" : "put");
        size_t size = mvccpb__key_value__get_packed_size(&e->kv);
        mvccpb__key_value__pack(&e->kv, buf_reserve(out, size));
        out->size += size;
        if (!e->has_previous)
            continue;
        buf_add_text(out, " was ");
        size = mvccpb__key_value__get_packed_size(&e->previous);
        mvccpb__key_value__pack(&e->previous, buf_reserve(out, size));
        out->size += size;
    }
}

static void on_change(void *arg, const struct store_change *change)
{
    struct rig *rig = arg;
    assert_true(change->revision > rig->seen && change->count > 0);
    rig->seen = change->revision;
    describe_change(&rig->events, change);
}

static void on_durable(void *arg, uint64_t index)
{
    struct rig *rig = arg;
    assert_true(index >= rig->durable);
    rig->durable = index;
    assert_int_equal(store_durable_index(rig->store), index);
}

static bool restore_lease(void *arg, struct slice key, struct slice value)
{
    (void)value;
    lease_restore(arg, (int64_t)get_be64(key.data), 1000, 0);
    return true;
}

static void files_start(struct rig *rig)
{
    rig->files = sim_io_new(&(struct sim_io_options){.disk = rig->disk, .clock = &rig->clock, .seed = 1});
}

static void rig_open(struct rig *rig)
{
    char error[256] = "";
    struct backend *backend = rig->memory;
    if (rig->disk)
        assert_int_equal(backend_memory_open(rig->files, rig->path, 64 << 20, error, sizeof error, &backend),
                         0);
    else if (!backend)
        assert_int_equal(backend_lmdb_open(rig->path, 64 << 20, error, sizeof error, &backend), 0);
    rig->leases = lease_table_new(1);
    struct store_options options = {.io = &rig->io.io,
                                    .backend = backend,
                                    .leases = rig->leases,
                                    .commit_interval_ms = 100,
                                    .commit_ops = 40,
                                    .compaction_batch = 10,
                                    .compaction_sleep_ms = 10,
                                    .max_txn_ops = 128};
    assert_int_equal(store_open(&options, error, sizeof error, &rig->store), 0);
    assert_int_equal(store_scan(rig->store, BACKEND_LEASES, restore_lease, rig->leases), 0);
    store_attach_leases(rig->store);
    store_on_change(rig->store, on_change, rig);
    store_on_durable(rig->store, on_durable, rig);
    rig->durable = store_durable_index(rig->store);
    rig->seen = store_revision(rig->store);
    buf_clear(&rig->events);
}

static void rig_start(struct rig *rig, enum where where)
{
    *rig = (struct rig){0};
    fake_io_init(&rig->io);
    if (where == IN_MEMORY)
        rig->memory = backend_memory_new();
    else
        snprintf(rig->path, sizeof rig->path, "/tmp/store_test_%d", (int)getpid());
    if (where == IN_LMDB)
        unlink(rig->path);
    if (where == IN_FILE) {
        rig->disk = sim_disk_new();
        files_start(rig);
    }
    rig_open(rig);
}

static void rig_close(struct rig *rig)
{
    store_close(rig->store);
    fake_io_run_jobs(&rig->io);
    lease_table_free(rig->leases);
}

/* Uncommitted data are lost. */
static void rig_crash(struct rig *rig)
{
    fake_io_drop_jobs(&rig->io);
    struct backend *backend = store_discard(rig->store);
    if (rig->memory)
        backend_memory_crash(backend);
    else
        backend->ops->close(backend);
    if (rig->disk) {
        sim_io_free(rig->files);
        sim_disk_crash(rig->disk, rig->durable);
        files_start(rig);
    }
    lease_table_free(rig->leases);
    rig_open(rig);
}

static void rig_end(struct rig *rig)
{
    char lock[160];
    rig_close(rig);
    backend_memory_free(rig->memory);
    snprintf(lock, sizeof lock, "%s-lock", rig->path);
    if (rig->disk) {
        sim_io_free(rig->files);
        sim_disk_free(rig->disk);
    } else if (!rig->memory) {
        unlink(rig->path);
        unlink(lock);
    }
    buf_done(&rig->events);
    arena_done(&rig->arena);
}

static int apply_revoke(struct rig *rig, int64_t id)
{
    struct slice *keys;
    size_t count;
    int err = lease_keys(rig->leases, id, &keys, &count);
    if (err)
        return err;
    store_delete_keys(rig->store, keys, count);
    mem_free(keys);
    return lease_revoke(rig->leases, id);
}

/* The answers of reads now: everything, with a compare and a count, and the hash. */
static void describe_now(struct rig *rig, struct buf *out)
{
    uint8_t zero[1] = {0};
    struct arena arena = {0};
    Etcdserverpb__RangeRequest all = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT, *ops[] = {&op};
    Etcdserverpb__Compare compare = ETCDSERVERPB__COMPARE__INIT, *compares[] = {&compare};
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__HashKVResponse hash = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
    Etcdserverpb__TxnResponse *answer;
    all.key = all.range_end = compare.key = compare.range_end = (ProtobufCBinaryData){1, zero};
    compare.target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD;
    compare.result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS;
    compare.target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
    compare.mod_revision = store_revision(rig->store) + 1;
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op.request_range = &all;
    txn.compare = compares;
    txn.success = txn.failure = ops;
    txn.n_compare = txn.n_success = 1;
    assert_int_equal(store_txn_read(rig->store, &txn, &arena, &answer), 0);
    assert_int_equal(store_hash_kv(rig->store, 0, &hash), 0);
    buf_clear(out);
    size_t size = protobuf_c_message_get_packed_size(&answer->base);
    protobuf_c_message_pack(&answer->base, buf_reserve(out, size));
    out->size += size;
    buf_addf(out, " hash %x to %d applied %d events %zu", hash.hash, (int)hash.hash_revision,
             (int)store_applied_index(rig->store), rig->events.size);
    arena_done(&arena);
}

/* One entry, a few keys at a time: between two steps every read returns the state before it. */
static int apply_in_slices(struct rig *rig, const struct op *op, int64_t units, struct buf *before,
                           Etcdserverpb__DeleteRangeResponse **deleted, Etcdserverpb__TxnResponse **txn)
{
    struct buf answer = {0}, now = {0};
    struct store_work *w;
    Etcdserverpb__TxnResponse txn_rest;
    Etcdserverpb__DeleteRangeResponse delete_rest;
    Etcdserverpb__ResponseHeader *header = arena_alloc(&rig->arena, sizeof *header);
    bool is_last = false;
    int err;
    if (op->kind == OP_TXN)
        w = store_work_txn(rig->store, op->txn, &answer);
    else if (op->kind == OP_DELETE)
        w = store_work_delete(rig->store, op->delete_range, &answer);
    else
        w = store_work_lease(rig->store, op->number);
    while ((err = store_work_step(w, units, &is_last)) == 0 && !is_last) {
        store_pause(rig->store);
        store_turn(rig->store);
        fake_io_run_jobs(&rig->io);
        describe_now(rig, &now);
        assert_true(slice_equal(buf_slice(&now), buf_slice(before)));
        rig->slices++;
        store_resume(rig->store);
    }
    etcdserverpb__response_header__init(header);
    store_work_result(w, &txn_rest, &delete_rest, &header->revision);
    if (!err && op->kind == OP_TXN) {
        *txn = etcdserverpb__txn_response__unpack(arena_allocator(&rig->arena), answer.size, answer.data);
        (*txn)->succeeded = txn_rest.succeeded;
        (*txn)->header = header;
    } else if (!err && op->kind == OP_DELETE) {
        *deleted = etcdserverpb__delete_range_response__unpack(arena_allocator(&rig->arena), answer.size,
                                                               answer.data);
        (*deleted)->deleted = delete_rest.deleted;
        (*deleted)->header = header;
    }
    store_work_free(w);
    buf_done(&answer);
    buf_done(&now);
    return err;
}

static bool is_sliced(const struct rig *rig, const struct op *op)
{
    return op->kind == OP_TXN || op->kind == OP_DELETE ||
           (op->kind == OP_REVOKE && lease_exists(rig->leases, op->number));
}

static int rig_apply(struct rig *rig, uint64_t index, const struct op *op, Etcdserverpb__PutResponse **put,
                     Etcdserverpb__DeleteRangeResponse **deleted, Etcdserverpb__TxnResponse **txn)
{
    int err = 0;
    if (index % 2 && is_sliced(rig, op)) {
        struct buf before = {0};
        uint8_t id[8];
        put_be64(id, (uint64_t)op->number);
        describe_now(rig, &before);
        store_begin(rig->store, index, 1);
        err = apply_in_slices(rig, op, (int64_t)(index / 2 % 60 + 1), &before, deleted, txn);
        if (op->kind == OP_REVOKE) {
            assert_int_equal(lease_key_count(rig->leases, op->number), 0);
            assert_int_equal(lease_revoke(rig->leases, op->number), 0);
            store_set(rig->store, BACKEND_LEASES, slice_of(id, 8), (struct slice){0});
        }
        store_end(rig->store);
        buf_done(&before);
        return err;
    }
    int64_t ttl;
    uint8_t key[8];
    store_begin(rig->store, index, 1);
    put_be64(key, (uint64_t)op->number);
    switch (op->kind) {
    case OP_PUT:
        err = store_put(rig->store, op->put, &rig->arena, put);
        break;
    case OP_DELETE:
        err = store_delete_range(rig->store, op->delete_range, &rig->arena, deleted);
        break;
    case OP_TXN:
        err = store_txn(rig->store, op->txn, &rig->arena, txn);
        break;
    case OP_COMPACT:
        err = store_compact(rig->store, op->number);
        break;
    case OP_GRANT:
        err = lease_grant(rig->leases, op->number, 1000, 0, &ttl);
        if (!err)
            store_set(rig->store, BACKEND_LEASES, slice_of(key, 8), slice_text("granted"));
        break;
    case OP_REVOKE:
        err = apply_revoke(rig, op->number);
        if (!err)
            store_set(rig->store, BACKEND_LEASES, slice_of(key, 8), (struct slice){0});
        break;
    case OP_SET:
        store_set(rig->store, BACKEND_META, slice_of(key, 8), slice_of(&index, index % 3 ? 8 : 0));
        break;
    case OP_KINDS:
        break;
    }
    store_end(rig->store);
    return err;
}

static void compare_answers(struct rig *rig, struct model *m, const struct op *op, uint64_t index)
{
    Etcdserverpb__PutResponse *put[2] = {0};
    Etcdserverpb__DeleteRangeResponse *deleted[2] = {0};
    Etcdserverpb__TxnResponse *txn[2] = {0};
    int want = model_apply(m, op, &rig->arena, &put[0], &deleted[0], &txn[0]);
    int got = rig_apply(rig, index, op, &put[1], &deleted[1], &txn[1]);
    assert_string_equal(err_name(got), err_name(want));
    assert_int_equal(store_revision(rig->store), m->revision);
    assert_int_equal(store_compact_revision(rig->store), m->compact);
    if (want)
        return;
    if (put[0])
        assert_message_equal(put[0], put[1]);
    if (deleted[0])
        assert_message_equal(deleted[0], deleted[1]);
    if (txn[0])
        assert_message_equal(txn[0], txn[1]);
}

static void compare_range(struct rig *rig, const struct model *m, const Etcdserverpb__RangeRequest *r)
{
    Etcdserverpb__RangeResponse *want, *got;
    int err = model_range(m, r, &rig->arena, &want);
    assert_int_equal(store_range(rig->store, r, &rig->arena, &got), err);
    if (!err)
        assert_message_equal(want, got);
    assert_int_equal(store_range_page(rig->store, r, &rig->arena, &got), err);
    if (err)
        return;
    if (!r->count_only)
        want->count = 0;
    assert_message_equal(want, got);
}

/* Everything, at every revision that is kept. */
static void compare_all(struct rig *rig, const struct model *m)
{
    for (int64_t at = m->compact > 0 ? m->compact : 1; at <= m->revision; at++) {
        Etcdserverpb__RangeRequest r = ETCDSERVERPB__RANGE_REQUEST__INIT;
        uint8_t zero[1] = {0};
        r.key = r.range_end = (ProtobufCBinaryData){1, zero};
        r.revision = at;
        compare_range(rig, m, &r);
        arena_reset(&rig->arena);
    }
}

/* The leases must hold exactly the keys of the model. */
static void compare_leases(struct rig *rig, const struct model *m)
{
    for (int64_t id = 1; id <= MODEL_LEASES; id++) {
        struct slice *keys;
        size_t count, want = 0;
        assert_int_equal(lease_exists(rig->leases, id), m->leases[id]);
        if (!m->leases[id])
            continue;
        assert_int_equal(lease_keys(rig->leases, id, &keys, &count), 0);
        for (size_t i = 0; i < m->count; i++)
            want +=
                m->changes[i].lease == id && model_at(m, m->changes[i].key, m->revision) == &m->changes[i];
        assert_int_equal(count, want);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(model_at(m, keys[i], m->revision)->lease, id);
        mem_free(keys);
    }
}

/* --- history ----------------------------------------------------------------------------------- */

struct expected {
    const struct model *m;
    struct buf text;
};

static void model_kv(Mvccpb__KeyValue *kv, const struct model_change *c)
{
    mvccpb__key_value__init(kv);
    kv->key = (ProtobufCBinaryData){c->key.size, (uint8_t *)(uintptr_t)c->key.data};
    kv->value = (ProtobufCBinaryData){c->value.size, (uint8_t *)(uintptr_t)c->value.data};
    kv->create_revision = c->create;
    kv->mod_revision = c->main;
    kv->version = c->version;
    kv->lease = c->lease;
}

/* The expected output of store_changes. At the compact revision itself only the last change of each key is
 * left. */
static void describe_model(struct buf *out, const struct model *m, int64_t from, int64_t to)
{
    for (size_t i = 0; i < m->count; i++) {
        const struct model_change *c = &m->changes[i];
        if (c->main < from || c->main > to)
            continue;
        if (c->main == m->compact && model_at(m, c->key, c->main) != c)
            continue;
        struct store_event e = {.is_delete = c->version == 0};
        model_kv(&e.kv, c);
        const struct model_change *old = c->main - 1 >= m->compact ? model_at(m, c->key, c->main - 1) : NULL;
        if (old && old->version) {
            e.has_previous = true;
            model_kv(&e.previous, old);
        }
        describe_change(out, &(struct store_change){.revision = c->main, .count = 1, .events = &e});
    }
}

static void collect_change(void *arg, const struct store_change *change)
{
    describe_change(arg, change);
}

static void compare_changes(struct rig *rig, const struct model *m, struct rng *r)
{
    struct buf want = {0}, got = {0};
    int64_t from = 1 + (int64_t)rng_below(r, (uint64_t)m->revision), next = 0;
    if (m->compact > 0 && rng_below(r, 2))
        from = m->compact;
    int64_t to = from + (int64_t)rng_below(r, 50), at = from;
    if (to > m->revision)
        to = m->revision;
    int err = 0;
    while (at <= to && !err) {
        size_t max_bytes = 1 + rng_below(r, 100), max_count = 1 + rng_below(r, 5);
        err = store_changes(rig->store, at, to, max_count, max_bytes, true, collect_change, &got, &next);
        if (!err) {
            assert_true(next > at && next <= to + 1);
            at = next;
        }
    }
    assert_int_equal(err, from < m->compact ? ERR_COMPACTED : 0);
    if (!err) {
        describe_model(&want, m, from, to);
        assert_int_equal(want.size, got.size);
        assert_memory_equal(want.data, got.data, got.size);
    }
    buf_done(&want);
    buf_done(&got);
}

/* --- the walk ---------------------------------------------------------------------------------- */

struct walk {
    struct long_reads longs;
    uint64_t side[8];     /* what OP_SET left; 0 = nothing */
    struct rig rig, twin; /* the twin commits at other times, is never restarted */
    struct model model;
    struct rng rng;
    struct op **log;
    uint64_t count;
    struct arena arena; /* the log's messages */
};

static void compare_twin(struct walk *w)
{
    Etcdserverpb__HashKVResponse a = ETCDSERVERPB__HASH_KVRESPONSE__INIT, b = a;
    int64_t revision = (int64_t)rng_below(&w->rng, (uint64_t)w->model.revision + 2);
    int err = store_hash_kv(w->rig.store, revision, &a);
    assert_int_equal(store_hash_kv(w->twin.store, revision, &b), err);
    assert_message_equal(&a, &b);
    assert_int_equal(store_hash(w->rig.store), store_hash(w->twin.store));
    assert_int_equal(store_hash_kv(w->rig.store, -1, &a), 0); /* of nothing, not of all */
    assert_int_equal(a.hash_revision, -1);
    assert_int_equal(a.hash, crc32c(0, "key", 3)); /* the name of etcd's bucket */
}

static void compare_side(struct walk *w)
{
    for (uint64_t i = 0; i < 8; i++) {
        uint8_t key[8];
        struct slice value;
        put_be64(key, i);
        int err = store_get(w->rig.store, BACKEND_META, slice_of(key, 8), &w->rig.arena, &value);
        assert_int_equal(err, w->side[i] ? 0 : ERR_NOT_FOUND);
        if (!err)
            assert_true(slice_equal(value, slice_of(&w->side[i], 8)));
    }
}

/* Applies again the entries that the crash took, as the log does at start. */
static void replay(struct walk *w)
{
    Etcdserverpb__PutResponse *put;
    Etcdserverpb__DeleteRangeResponse *deleted;
    Etcdserverpb__TxnResponse *txn;
    for (uint64_t i = store_applied_index(w->rig.store); i < w->count; i++)
        (void)rig_apply(&w->rig, i + 1, w->log[i], &put, &deleted, &txn);
}

static void walk_io(struct walk *w, struct rig *rig)
{
    fake_io_pass(&rig->io, rng_below(&w->rng, 40));
    store_turn(rig->store);
    while (rng_below(&w->rng, 3) == 0 && fake_io_run_job(&rig->io))
        ;
}

static void walk_step(struct walk *w)
{
    Etcdserverpb__PutResponse *put;
    Etcdserverpb__DeleteRangeResponse *deleted;
    Etcdserverpb__TxnResponse *txn;
    struct op *op = model_random_op(&w->model, &w->rng, &w->arena);
    w->log = mem_resize(w->log, (w->count + 1) * sizeof *w->log);
    w->log[w->count++] = op;
    compare_answers(&w->rig, &w->model, op, w->count);
    (void)rig_apply(&w->twin, w->count, op, &put, &deleted, &txn);
    if (op->kind == OP_SET)
        w->side[op->number] = w->count % 3 ? w->count : 0;
    compare_side(w);
    for (int i = 0; i < 3; i++)
        compare_range(&w->rig, &w->model, model_random_range(&w->model, &w->rng, &w->rig.arena, false));
    if (rng_below(&w->rng, 4) == 0)
        compare_changes(&w->rig, &w->model, &w->rng);
    long_reads_step(&w->longs, w->rig.store, &w->model, &w->rng, &w->rig.arena, &w->arena);
    arena_reset(&w->rig.arena);
    arena_reset(&w->twin.arena);
    walk_io(w, &w->rig);
    walk_io(w, &w->twin);
}

static void walk(uint64_t seed, enum where where, unsigned steps)
{
    struct walk w = {.rng = {seed}};
    rig_start(&w.rig, where);
    rig_start(&w.twin, IN_MEMORY);
    model_init(&w.model);
    for (unsigned i = 0; i < steps; i++) {
        walk_step(&w);
        if (rng_below(&w.rng, 50) == 0) {
            long_reads_forget(&w.longs);
            rig_crash(&w.rig);
            assert_true(store_applied_index(w.rig.store) <= w.count);
            replay(&w);
            compare_leases(&w.rig, &w.model);
            assert_int_equal(store_revision(w.rig.store), w.model.revision);
        }
        if (rng_below(&w.rng, 60) == 0) {
            compare_twin(&w);
            compare_leases(&w.rig, &w.model);
        }
        if (rng_below(&w.rng, 200) == 0) {
            compare_all(&w.rig, &w.model);
            long_reads_forget(&w.longs);
            rig_close(&w.rig);
            rig_open(&w.rig);
            assert_int_equal(store_applied_index(w.rig.store), w.count);
            compare_all(&w.rig, &w.model);
            compare_twin(&w);
        }
    }
    compare_all(&w.rig, &w.model);
    assert_true(w.longs.ranges_done > steps / 2 && w.longs.hashes_done > steps / 20);
    assert_true(w.longs.most_steps > 5 && w.longs.cut_short > steps / 20);
    long_reads_forget(&w.longs);
    rig_end(&w.rig);
    rig_end(&w.twin);
    model_done(&w.model);
    arena_done(&w.arena);
    mem_free(w.log);
}

static void test_walk_memory(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++)
        walk(seed, IN_MEMORY, 500);
}

static void test_walk_file(void **state)
{
    (void)state;
    for (uint64_t seed = 50; seed < 62; seed++)
        walk(seed, IN_FILE, 500);
}

static void test_walk_lmdb(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 103; seed++)
        walk(seed, IN_LMDB, 400);
}

/* --- failures ------------------------------------------------------------------------------------- */

static void put_text(struct rig *rig, const char *key, const char *value)
{
    Etcdserverpb__PutRequest p = ETCDSERVERPB__PUT_REQUEST__INIT;
    p.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)(uintptr_t)key};
    p.value = (ProtobufCBinaryData){strlen(value), (uint8_t *)(uintptr_t)value};
    store_begin(rig->store, store_applied_index(rig->store) + 1, 1);
    assert_int_equal(store_put(rig->store, &p, &rig->arena, NULL), 0);
    store_end(rig->store);
}

static void settle(struct rig *rig)
{
    for (int i = 0; i < 50; i++) {
        fake_io_pass(&rig->io, 200);
        store_turn(rig->store);
        fake_io_run_jobs(&rig->io);
    }
}

struct outcome {
    int calls, err;
};

static void note_outcome(void *arg, int err)
{
    struct outcome *o = arg;
    o->calls++;
    o->err = err;
}

/* A store of ten revisions whose backend was then damaged must not open. */
static void refuses(const struct backend_op *damage)
{
    struct rig rig;
    char error[200] = "";
    uint64_t freed;
    rig_start(&rig, IN_MEMORY);
    for (int i = 0; i < 10; i++)
        put_text(&rig, "key", "value");
    settle(&rig);
    rig_close(&rig);
    assert_int_equal(rig.memory->ops->commit(rig.memory, damage, 1, &freed), 0);
    struct store_options options = {.io = &rig.io.io, .backend = rig.memory};
    assert_int_equal(store_open(&options, error, sizeof error, &rig.store), ERR_CORRUPT);
    assert_true(strlen(error) > 10);
    backend_memory_free(rig.memory);
    buf_done(&rig.events);
    arena_done(&rig.arena);
}

static void test_damage_is_refused(void **state)
{
    (void)state;
    uint8_t key[REVISION_KEY_SIZE], value[64], number[24] = {0};
    struct slice k = slice_of(key, sizeof key), applied = slice_text("store.applied");
    revision_encode((struct revision){7, 0}, key);
    size_t size = record_encode(&(struct record){slice_text("key"), slice_text("valuf"), 2, 6, 0},
                                (struct revision){7, 0}, value);
    value[size - 1]++;
    refuses(&(struct backend_op){BACKEND_PUT, BACKEND_RECORDS, k, slice_of(value, size)}); /* checksum */
    refuses(&(struct backend_op){BACKEND_PUT, BACKEND_RECORDS, slice_text("short"), slice_of(value, size)});
    revision_encode((struct revision){11, 0}, key);
    refuses(&(struct backend_op){BACKEND_DELETE, BACKEND_RECORDS, k, {0}}); /* the last record is missing */
    revision_encode((struct revision){12, 0}, key);
    size = record_encode(&(struct record){slice_text("key"), slice_text("x"), 2, 11, 0},
                         (struct revision){12, 0}, value);
    refuses(
        &(struct backend_op){BACKEND_APPEND, BACKEND_RECORDS, k, slice_of(value, size)}); /* one too many */
    refuses(&(struct backend_op){BACKEND_DELETE, BACKEND_META, applied, {0}});
    refuses(&(struct backend_op){BACKEND_PUT, BACKEND_META, applied, slice_of(number, 23)});
    refuses(&(struct backend_op){BACKEND_PUT, BACKEND_META, slice_text("store.format"), slice_of(number, 8)});
    put_be64(number, 99);
    refuses(&(struct backend_op){BACKEND_PUT, BACKEND_META, slice_text("store.compact.scheduled"),
                                 slice_of(number, 8)});
}

/* After an error of the worker nothing becomes durable any more and nothing is committed, not even at the
 * close. */
static void test_worker_error_is_final(void **state)
{
    (void)state;
    struct rig rig;
    struct outcome o = {0};
    rig_start(&rig, IN_MEMORY);
    put_text(&rig, "a", "1");
    settle(&rig);
    assert_int_equal(rig.durable, 1);
    backend_memory_fail(rig.memory, ERR_NO_DISK_SPACE);
    put_text(&rig, "b", "2");
    store_force_commit(rig.store, note_outcome, &o);
    fake_io_run_jobs(&rig.io);
    assert_int_equal(o.calls, 1);
    assert_int_equal(o.err, ERR_NO_DISK_SPACE);
    assert_int_equal(store_failed(rig.store), ERR_NO_DISK_SPACE);
    backend_memory_fail(rig.memory, 0);
    put_text(&rig, "c", "3");
    settle(&rig);
    assert_int_equal(rig.durable, 1);
    rig_close(&rig);
    rig_open(&rig);
    assert_int_equal(store_applied_index(rig.store), 1);
    assert_int_equal(store_revision(rig.store), 2);
    rig_end(&rig);
}

static void test_when_compacted(void **state)
{
    (void)state;
    struct rig rig;
    struct outcome before = {0}, after = {0}, stopped = {0};
    rig_start(&rig, IN_MEMORY);
    for (int i = 0; i < 100; i++)
        put_text(&rig, "key", "value");
    settle(&rig);
    for (int64_t main = 2; main <= 101; main++)
        cache_add(&rig.store->cache, (struct revision){main, 0}, slice_text("a record"));
    uint64_t live = store_sizes(rig.store).live;
    store_when_compacted(rig.store, note_outcome, &before);
    assert_int_equal(before.calls, 0);
    store_turn(rig.store);
    assert_int_equal(before.calls, 1);
    store_begin(rig.store, store_applied_index(rig.store) + 1, 1);
    assert_int_equal(store_compact(rig.store, 90), 0);
    store_end(rig.store);
    store_when_compacted(rig.store, note_outcome, &after);
    store_turn(rig.store);
    assert_int_equal(after.calls, 0);
    settle(&rig);
    assert_int_equal(after.calls, 1);
    assert_int_equal(after.err, 0);
    /* 101 - 89 + 1 revisions are left. */
    assert_true(store_sizes(rig.store).live < live / 6);
    struct backend_view *view;
    assert_int_equal(rig.memory->ops->view_open(rig.memory, &view), 0);
    assert_int_equal(rig.memory->ops->count(view, BACKEND_RECORDS), 12);
    rig.memory->ops->view_close(rig.memory, view);
    struct slice cached;
    for (int64_t main = 2; main <= 101; main++)
        assert_int_equal(cache_get(&rig.store->cache, (struct revision){main, 0}, &cached), main >= 90);
    store_begin(rig.store, store_applied_index(rig.store) + 1, 1);
    assert_int_equal(store_compact(rig.store, 95), 0);
    store_end(rig.store);
    store_when_compacted(rig.store, note_outcome, &stopped);
    rig_end(&rig);
    assert_int_equal(stopped.calls, 1);
    assert_int_equal(stopped.err, ERR_STOPPED);
}

/* The last revision is a delete. It is compacted and swept, the mark of the end is not yet written, and the
 * process dies. The revision must not go down (etcd #17780). */
static void test_revision_never_goes_down(void **state)
{
    (void)state;
    for (int turns = 0; turns < 12; turns++) {
        struct rig rig;
        rig_start(&rig, IN_MEMORY);
        put_text(&rig, "a", "1");
        store_begin(rig.store, 2, 1);
        store_delete_keys(rig.store, &(struct slice){(const uint8_t *)"a", 1}, 1);
        store_end(rig.store);
        store_begin(rig.store, 3, 1);
        assert_int_equal(store_compact(rig.store, 3), 0);
        store_end(rig.store);
        for (int i = 0; i < turns; i++) {
            fake_io_pass(&rig.io, 101);
            store_turn(rig.store);
            fake_io_run_job(&rig.io);
        }
        uint64_t applied = store_durable_index(rig.store);
        rig_crash(&rig);
        assert_int_equal(store_applied_index(rig.store), applied);
        assert_int_equal(store_revision(rig.store), applied < 3 ? 1 : 3);
        rig_end(&rig);
    }
}

/* A copy holds the state at its request, committed or not, and is a store of its own. */
static void copies(enum where where)
{
    struct rig rig, other;
    struct outcome o = {0};
    other = (struct rig){0};
    rig_start(&rig, where);
    snprintf(other.path, sizeof other.path, "%.100s-copy", rig.path);
    unlink(other.path);
    for (int i = 0; i < 55; i++)
        put_text(&rig, i % 2 ? "a" : "b", "value");
    store_copy(rig.store, other.path, note_outcome, &o);
    uint32_t hash = store_hash(rig.store);
    put_text(&rig, "late", "value");
    fake_io_run_jobs(&rig.io);
    assert_int_equal(o.calls, 1);
    assert_int_equal(o.err, 0);
    fake_io_init(&other.io);
    if (rig.disk) {
        other.disk = sim_disk_copy(rig.disk);
        files_start(&other);
    }
    rig_open(&other);
    assert_int_equal(store_applied_index(other.store), 55);
    assert_int_equal(store_hash(other.store), hash);
    rig_end(&other);
    rig_end(&rig);
}

static void test_copy(void **state)
{
    (void)state;
    copies(IN_LMDB);
    copies(IN_FILE);
}

/* Real threads: the loop applies and reads while the worker commits and sweeps. For the thread sanitizer. */
static void test_real_worker(void **state)
{
    (void)state;
    struct rig rig = {0};
    uv_loop_t loop;
    char key[32];
    assert_int_equal(uv_loop_init(&loop), 0);
    struct io *io = io_real_new(&loop, true);
    snprintf(rig.path, sizeof rig.path, "/tmp/store_test_%d_real", (int)getpid());
    unlink(rig.path);
    struct backend *backend;
    char error[200];
    assert_int_equal(backend_lmdb_open(rig.path, 64 << 20, error, sizeof error, &backend), 0);
    rig.leases = lease_table_new(1);
    struct store_options options = {.io = io,
                                    .backend = backend,
                                    .leases = rig.leases,
                                    .commit_interval_ms = 2,
                                    .commit_ops = 50,
                                    .compaction_batch = 100,
                                    .compaction_sleep_ms = 1};
    assert_int_equal(store_open(&options, error, sizeof error, &rig.store), 0);
    for (int i = 0; i < 4000; i++) {
        Etcdserverpb__RangeResponse *r;
        Etcdserverpb__RangeRequest q = ETCDSERVERPB__RANGE_REQUEST__INIT;
        snprintf(key, sizeof key, "key%d", i % 500);
        put_text(&rig, key, key);
        snprintf(key, sizeof key, "key%d", (i * 7) % (i < 500 ? i + 1 : 500));
        q.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)key};
        assert_int_equal(store_range(rig.store, &q, &rig.arena, &r), 0);
        if (r->n_kvs)
            assert_memory_equal(r->kvs[0]->value.data, key, strlen(key));
        arena_reset(&rig.arena);
        if (i % 1000 == 999) {
            store_begin(rig.store, store_applied_index(rig.store) + 1, 1);
            assert_int_equal(store_compact(rig.store, store_revision(rig.store) - 10), 0);
            store_end(rig.store);
        }
        if (i % 5 == 0) {
            store_turn(rig.store);
            uv_run(&loop, i % 100 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        }
    }
    store_turn(rig.store);
    while (store_durable_index(rig.store) < 4000)
        uv_run(&loop, UV_RUN_ONCE);
    put_text(&rig, "last", "not committed when closing begins");
    store_close(rig.store);
    io_real_free(io);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    lease_table_free(rig.leases);
    fake_io_init(&rig.io);
    rig_open(&rig);
    assert_int_equal(store_applied_index(rig.store), 4005);
    rig_end(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk_memory),
        cmocka_unit_test(test_walk_file),
        cmocka_unit_test(test_walk_lmdb),
        cmocka_unit_test(test_damage_is_refused),
        cmocka_unit_test(test_worker_error_is_final),
        cmocka_unit_test(test_when_compacted),
        cmocka_unit_test(test_revision_never_goes_down),
        cmocka_unit_test(test_copy),
        cmocka_unit_test(test_real_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
