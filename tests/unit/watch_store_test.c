/* SPDX-License-Identifier: Apache-2.0
 * Tests of the hub on the real store. A watcher re-reads events from the ring, from the backend, and during
 * a compaction sweep. They equal, byte for byte, the events that an up-to-date watcher got when they
 * happened. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "consensus/store/lease.h"
#include "consensus/store/store.h"
#include "consensus/store/watch.h"
#include "fake_io.h"

enum { REVISIONS_MAX = 4000, STEPS = 1200 };

struct rig {
    struct fake_io io;
    struct lease_table *leases;
    struct backend *backend;
    struct store *store;
    struct watch_hub *hub;
    struct watch_stream *witness, *late;
    struct arena arena;
    uint64_t index;
    struct buf told[REVISIONS_MAX]; /* per revision: its events as the witness received them */
    uint64_t seed;
    size_t events, previous_gone;
};

static uint32_t draw(struct rig *r, uint32_t below)
{
    r->seed = r->seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(r->seed >> 33) % below;
}

static void on_change(void *arg, const struct store_change *change)
{
    watch_deliver(((struct rig *)arg)->hub, change);
}

static void on_ready(void *arg)
{
    (void)arg;
}

static ProtobufCBinaryData bytes_of(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void add_kv(struct buf *b, const Mvccpb__KeyValue *kv)
{
    buf_addf(b, " %.*s@%ld c%ld v%ld l%ld %.*s", (int)kv->key.len, (char *)kv->key.data, kv->mod_revision,
             kv->create_revision, kv->version, kv->lease, (int)kv->value.len, (char *)kv->value.data);
}

static Etcdserverpb__WatchResponse *take(struct watch_stream *s)
{
    struct watch_output out;
    if (!watch_next(s, &out))
        return NULL;
    struct buf b = {0};
    for (size_t i = 0; i < out.count; i++)
        buf_add_slice(&b, out.pieces[i]);
    Etcdserverpb__WatchResponse *r = etcdserverpb__watch_response__unpack(NULL, b.size, b.data);
    assert_non_null(r);
    buf_done(&b);
    return r;
}

/* Events whose prev_kv is compacted are marked, so that only the rest is compared. */
static void receive_witness(struct rig *r)
{
    Etcdserverpb__WatchResponse *w;
    while ((w = take(r->witness))) {
        for (size_t i = 0; i < w->n_events; i++) {
            const Mvccpb__Event *e = w->events[i];
            struct buf *b = &r->told[e->kv->mod_revision];
            buf_addf(b, "%d", e->type);
            add_kv(b, e->kv);
            if (e->prev_kv)
                add_kv(b, e->prev_kv);
            buf_add_text(b, "\n");
            r->events++;
        }
        etcdserverpb__watch_response__free_unpacked(w, NULL);
    }
}

static void open_rig(struct rig *r, uint64_t seed)
{
    char error[256] = "";
    *r = (struct rig){.seed = seed};
    fake_io_init(&r->io);
    r->leases = lease_table_new(1);
    r->backend = backend_memory_new();
    struct store_options options = {.io = &r->io.io,
                                    .backend = r->backend,
                                    .leases = r->leases,
                                    .commit_interval_ms = 100,
                                    .commit_ops = 40,
                                    .compaction_batch = 10,
                                    .compaction_sleep_ms = 10,
                                    .max_txn_ops = 128};
    assert_int_equal(store_open(&options, error, sizeof error, &r->store), 0);
    store_on_change(r->store, on_change, r);
    r->hub = watch_hub_new(&(struct watch_options){.store = r->store, .stream_bytes_max = 4000});
    r->witness = watch_stream_open(r->hub, on_ready, r);
    r->late = watch_stream_open(r->hub, on_ready, r);
}

static void watch_all(struct watch_stream *s, int64_t start_revision)
{
    Etcdserverpb__WatchCreateRequest request = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    request.range_end = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) ""};
    request.start_revision = start_revision;
    request.prev_kv = true;
    watch_create(s, &request, NULL);
}

static void apply(struct rig *r)
{
    char key[8], value[16];
    snprintf(key, sizeof key, "k%u", draw(r, 12));
    snprintf(value, sizeof value, "value %u", draw(r, 1000));
    store_begin(r->store, ++r->index, 1);
    if (draw(r, 4) == 0) {
        Etcdserverpb__DeleteRangeRequest d = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
        d.key = bytes_of(key);
        if (draw(r, 4) == 0)
            d.range_end = bytes_of("k5");
        Etcdserverpb__DeleteRangeResponse *response;
        assert_int_equal(store_delete_range(r->store, &d, &r->arena, &response), 0);
    } else {
        Etcdserverpb__PutRequest p = ETCDSERVERPB__PUT_REQUEST__INIT;
        p.key = bytes_of(key);
        p.value = bytes_of(value);
        Etcdserverpb__PutResponse *response;
        assert_int_equal(store_put(r->store, &p, &r->arena, &response), 0);
    }
    int64_t to = store_revision(r->store) - draw(r, 5);
    if (draw(r, 60) == 0 && to > store_compact_revision(r->store))
        assert_int_equal(store_compact(r->store, to), 0);
    store_end(r->store);
    arena_reset(&r->arena);
}

/* A late watcher receives, from its start on, every line of the witness; prev_kv may be missing below the
 * compaction. */
static void compare_late(struct rig *r)
{
    int64_t compact = store_compact_revision(r->store), last = store_revision(r->store);
    int64_t start = compact > 1 ? compact : 1;
    start += draw(r, (uint32_t)(last - start) + 1);
    watch_all(r->late, start);
    struct buf want = {0}, got = {0};
    for (int64_t i = start; i <= last; i++)
        buf_add_slice(&want, buf_slice(&r->told[i]));
    for (bool is_busy = true; is_busy;) {
        is_busy = watch_turn(r->hub, 1);
        Etcdserverpb__WatchResponse *w;
        while ((w = take(r->late))) {
            is_busy = true;
            for (size_t i = 0; i < w->n_events; i++) {
                const Mvccpb__Event *e = w->events[i];
                buf_addf(&got, "%d", e->type);
                add_kv(&got, e->kv);
                if (e->prev_kv) {
                    add_kv(&got, e->prev_kv);
                } else if (e->kv->mod_revision - 1 < compact) {
                    /* use the witness's line */
                    const char *line = buf_text(&want) + got.size, *end = strchr(line, '\n');
                    r->previous_gone += end[0] != line[0];
                    buf_add(&got, line, (size_t)(end - line));
                }
                buf_add_text(&got, "\n");
            }
            etcdserverpb__watch_response__free_unpacked(w, NULL);
        }
    }
    assert_string_equal(buf_text(&got), buf_text(&want));
    buf_done(&want);
    buf_done(&got);
    watch_cancel_all(r->late, NULL);
    etcdserverpb__watch_response__free_unpacked(take(r->late), NULL);
}

static void test_late_watchers_hear_the_same(void **state)
{
    (void)state;
    size_t gone = 0;
    static struct rig r;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        open_rig(&r, seed);
        watch_all(r.witness, 0);
        for (int step = 0; step < STEPS; step++) {
            apply(&r);
            receive_witness(&r);
            if (draw(&r, 8) == 0)
                fake_io_pass(&r.io, 60);
            if (draw(&r, 3) == 0) {
                store_turn(r.store); /* releases the read view, before the worker may run */
                if (draw(&r, 2))
                    fake_io_run_job(&r.io);
            }
            if (step % 10 == 9)
                compare_late(&r);
        }
        assert_true(r.events > STEPS / 2);
        gone += r.previous_gone;
        watch_stream_close(r.witness);
        watch_stream_close(r.late);
        watch_hub_free(r.hub);
        store_close(r.store);
        fake_io_run_jobs(&r.io);
        backend_memory_free(r.backend);
        lease_table_free(r.leases);
        arena_done(&r.arena);
        for (int i = 0; i < REVISIONS_MAX; i++)
            buf_done(&r.told[i]);
    }
    assert_true(gone > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_late_watchers_hear_the_same)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
