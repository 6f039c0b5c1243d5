/* SPDX-License-Identifier: Apache-2.0
 * Tests of the stream methods of server/rpc over a fake transport and a fake store: RangeStream, Watch,
 * LeaseKeepAlive, Snapshot, Health.Watch; back-pressure, order, cancellation, leader loss, draining. */
#include "tests/unit/unit.h"

#include "base/hash.h"
#include "server/rpc/service.h"
#include "tests/unit/fake_kv.h"
#include "tests/unit/fake_call.h"

static struct kv kv;
static struct rpc_server server;
static uint8_t first_key[] = "k", open_end[] = "\0";

static int setup(void **state)
{
    (void)state;
    fake_kv_init(&kv);
    server = (struct rpc_server){.kv = &kv, .mono_ms = fake_mono_ms};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(server.calls, 0);
    assert_true(list_is_empty(&kv.pending));
    assert_true(list_is_empty(&server.awake));
    assert_int_equal(kv.streams_open, 0);
    arena_done(&kv.arena);
    return 0;
}

static struct fake_call *open_call(const char *path)
{
    struct fake_call *f = fake_call_new(&server, path);
    rpc_start(&f->call);
    return f;
}

static void run(void)
{
    fake_kv_turn(&kv);
    while (rpc_server_turn(&server))
        ;
}

static void expect_end(struct fake_call *f, int status, const char *text)
{
    assert_true(f->is_finished);
    assert_string_equal(f->text, text);
    assert_int_equal(f->status, status);
    fake_call_free(f);
}

/* --- RangeStream ------------------------------------------------------------------------------------- */
static Etcdserverpb__RangeRequest range_all(void)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    m.key = (ProtobufCBinaryData){1, first_key};
    m.range_end = (ProtobufCBinaryData){1, open_end};
    return m;
}

static Etcdserverpb__RangeStreamResponse *chunk_of(struct fake_call *f, size_t i)
{
    assert_true(i < f->count);
    Etcdserverpb__RangeStreamResponse *r =
        etcdserverpb__range_stream_response__unpack(NULL, f->messages[i].size, f->messages[i].data);
    assert_non_null(r);
    assert_non_null(r->range_response);
    return r;
}

/* Checks that the keys come in order without a gap and that only the last chunk carries the rest. */
static void expect_chunks(struct fake_call *f, size_t keys, int64_t count, bool more)
{
    size_t next = 0;
    for (size_t i = 0; i < f->count; i++) {
        Etcdserverpb__RangeStreamResponse *m = chunk_of(f, i);
        Etcdserverpb__RangeResponse *r = m->range_response;
        for (size_t k = 0; k < r->n_kvs; k++, next++) {
            char key[24];
            snprintf(key, sizeof key, "k%06zu", next);
            assert_int_equal(r->kvs[k]->key.len, strlen(key));
            assert_memory_equal(r->kvs[k]->key.data, key, strlen(key));
        }
        bool is_last = i == f->count - 1;
        assert_int_equal(r->header != NULL, is_last);
        assert_true(!is_last || !keys || r->n_kvs); /* a client may stop at its limit: the header is there */
        assert_int_equal(r->count, is_last ? count : 0);
        assert_int_equal(r->more, is_last && more);
        if (is_last)
            assert_int_equal(r->header->revision, 7);
        etcdserverpb__range_stream_response__free_unpacked(m, NULL);
    }
    assert_int_equal(next, keys);
}

static void chunks_double_and_merge(void **state)
{
    (void)state;
    Etcdserverpb__RangeRequest m = range_all();
    struct fake_call *f = open_call("/etcdserverpb.KV/RangeStream");
    fake_receive(f, &m);
    assert_int_equal(f->count, 0); /* waits for the barrier */
    run();
    assert_int_equal(f->count, 3); /* 10, 20, 5 */
    expect_chunks(f, 35, 35, false);
    expect_end(f, 0, "");
}

static void chunks_stay_near_the_target(void **state)
{
    (void)state;
    kv.key_count = 2000;
    kv.value_size = 1000;
    server.request_bytes_max = 100000;
    Etcdserverpb__RangeRequest m = range_all();
    m.serializable = true;
    struct fake_call *f = open_call("/etcdserverpb.KV/RangeStream");
    fake_receive(f, &m);
    run();
    for (size_t i = 4; i + 1 < f->count; i++)
        assert_in_range(f->messages[i].size, 50000, 200000);
    expect_chunks(f, 2000, 2000, false);
    expect_end(f, 0, "");
}

static void limit_counts_the_rest(void **state)
{
    (void)state;
    Etcdserverpb__RangeRequest m = range_all();
    m.limit = 12;
    struct fake_call *f = open_call("/etcdserverpb.KV/RangeStream");
    fake_receive(f, &m);
    run();
    assert_int_equal(f->count, 2); /* 10, 2 with the number of all */
    expect_chunks(f, 12, 35, true);
    expect_end(f, 0, "");

    m.limit = 0;
    m.count_only = true;
    f = open_call("/etcdserverpb.KV/RangeStream");
    fake_receive(f, &m);
    run();
    assert_int_equal(f->count, 1);
    expect_chunks(f, 0, 35, false);
    expect_end(f, 0, "");
}

/* The client has not read the chunks when the rest is counted: a count needs no buffer. */
static void limit_counts_while_congested(void **state)
{
    (void)state;
    Etcdserverpb__RangeRequest m = range_all();
    m.limit = 4;
    struct fake_call *f = open_call("/etcdserverpb.KV/RangeStream");
    f->congested_at = 1;
    fake_receive(f, &m);
    run();
    f->congested_at = 0;
    rpc_writable(&f->call);
    run();
    assert_int_equal(f->count, 1); /* 4, with the number of all */
    expect_chunks(f, 4, 35, true);
    expect_end(f, 0, "");
}

static void revision_is_pinned(void **state)
{
    (void)state;
    Etcdserverpb__RangeRequest m = range_all();
    struct fake_call *f = open_call("/etcdserverpb.KV/RangeStream");
    f->congested_at = 1;
    fake_receive(f, &m);
    run();
    assert_int_equal(f->count, 1);
    kv.revision = 50; /* other work continues */
    f->congested_at = 0;
    rpc_writable(&f->call);
    run();
    expect_chunks(f, 35, 35, false);
    expect_end(f, 0, "");

    f = open_call("/etcdserverpb.KV/RangeStream");
    f->congested_at = 1;
    fake_receive(f, &m);
    run();
    kv.compact_revision = 51;
    f->congested_at = 0;
    rpc_writable(&f->call);
    expect_end(f, 11, "etcdserver: mvcc: required revision has been compacted");
}

static void range_stream_refuses(void **state)
{
    (void)state;
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    struct fake_call *f = open_call("/etcdserverpb.KV/RangeStream");
    fake_receive(f, &m);
    expect_end(f, 3, "etcdserver: key is not provided");
    m = range_all();
    m.sort_order = 9;
    f = open_call("/etcdserverpb.KV/RangeStream");
    fake_receive(f, &m);
    expect_end(f, 3, "etcdserver: invalid sort option");
    m.sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    f = open_call("/etcdserverpb.KV/RangeStream");
    fake_receive(f, &m);
    expect_end(f, 12, "RangeStream does not support custom sort orders");
    m = range_all();
    m.max_mod_revision = 4;
    f = open_call("/etcdserverpb.KV/RangeStream");
    fake_receive(f, &m);
    expect_end(f, 12, "RangeStream does not support revision filters");
    m = range_all();
    m.revision = 100;
    f = open_call("/etcdserverpb.KV/RangeStream");
    fake_receive(f, &m);
    run();
    expect_end(f, 11, "etcdserver: mvcc: required revision is a future revision");
    kv.err = ERR_TIMEOUT;
    f = open_call("/etcdserverpb.KV/RangeStream");
    fake_receive(f, &m);
    run();
    expect_end(f, 14, "etcdserver: request timed out");
}

static void range_stream_is_canceled_anywhere(void **state)
{
    (void)state;
    Etcdserverpb__RangeRequest m = range_all();
    struct fake_call *f = open_call("/etcdserverpb.KV/RangeStream");
    fake_receive(f, &m);
    fake_call_free(f); /* at the barrier */
    assert_int_equal(kv.canceled, 1);
    f = open_call("/etcdserverpb.KV/RangeStream");
    f->congested_at = 1;
    fake_receive(f, &m);
    run();
    fake_call_free(f); /* between chunks */
}

/* --- Watch -------------------------------------------------------------------------------------------- */
static Etcdserverpb__WatchResponse *watch_response_of(struct fake_call *f, size_t i)
{
    assert_true(i < f->count);
    Etcdserverpb__WatchResponse *r =
        etcdserverpb__watch_response__unpack(NULL, f->messages[i].size, f->messages[i].data);
    assert_non_null(r);
    return r;
}

static void watch_send(struct fake_call *f, bool is_create)
{
    Etcdserverpb__WatchRequest m = ETCDSERVERPB__WATCH_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchProgressRequest progress = ETCDSERVERPB__WATCH_PROGRESS_REQUEST__INIT;
    if (is_create) {
        m.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
        m.create_request = &create;
    } else {
        m.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST;
        m.progress_request = &progress;
    }
    fake_receive(f, &m);
}

static void watch_creates_and_streams(void **state)
{
    (void)state;
    struct fake_call *f = open_call("/etcdserverpb.Watch/Watch");
    watch_send(f, true);
    assert_int_equal(f->count, 0); /* answers go out in the turn */
    run();
    Etcdserverpb__WatchResponse *r = watch_response_of(f, 0);
    assert_true(r->created);
    assert_int_equal(r->header->revision, 7);
    assert_int_equal(r->header->member_id, 0x11);
    etcdserverpb__watch_response__free_unpacked(r, NULL);

    Mvccpb__Event event = MVCCPB__EVENT__INIT, *events = &event;
    Etcdserverpb__WatchResponse m = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    m.events = &events;
    m.n_events = 1;
    for (int64_t rev = 8; rev < 18; rev++)
        fake_push(kv.stream, rev, &m);
    run();
    assert_int_equal(f->count, 11);
    for (size_t i = 1; i < 11; i++) {
        r = watch_response_of(f, i);
        assert_int_equal(r->header->revision, 7 + i);
        assert_int_equal(r->n_events, 1);
        etcdserverpb__watch_response__free_unpacked(r, NULL);
    }
    watch_send(f, false);
    run();
    r = watch_response_of(f, 11);
    assert_int_equal(r->watch_id, -1);
    etcdserverpb__watch_response__free_unpacked(r, NULL);
    rpc_half_close(&f->call); /* the watches stay */
    fake_push(kv.stream, 18, &m);
    run();
    assert_int_equal(f->count, 13);
    assert_false(f->is_finished);
    fake_call_free(f);
}

static void a_congested_watch_waits(void **state)
{
    (void)state;
    struct fake_call *f = open_call("/etcdserverpb.Watch/Watch");
    watch_send(f, true);
    run();
    f->congested_at = 3;
    Etcdserverpb__WatchResponse m = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    for (int64_t rev = 8; rev < 1008; rev++)
        fake_push(kv.stream, rev, &m);
    run();
    assert_int_equal(f->count, 3);
    run();
    assert_int_equal(f->count, 3);
    f->congested_at = 0;
    rpc_writable(&f->call);
    run();
    assert_int_equal(f->count, 1001);
    for (size_t i = 1; i < f->count; i++) {
        Etcdserverpb__WatchResponse *r = watch_response_of(f, i);
        assert_int_equal(r->header->revision, 7 + i);
        etcdserverpb__watch_response__free_unpacked(r, NULL);
    }
    fake_call_free(f);
}

/* The number of requests is not limited if the answers are read; otherwise it is. */
static void a_client_that_does_not_read_is_closed(void **state)
{
    (void)state;
    struct fake_call *f = open_call("/etcdserverpb.Watch/Watch");
    for (int i = 0; i < 500; i++)
        watch_send(f, false);
    assert_false(f->is_finished);
    f->congested_at = 1;
    for (int i = 0; i < 100 && !f->is_finished; i++)
        watch_send(f, false);
    assert_true(f->is_finished);
    assert_string_equal(f->text, "etcdserver: too many requests");
    assert_int_equal(kv.streams_open, 0);
    fake_call_free(f);
}

/* --- Watch: long responses --------------------------------------------------------------------------------- */
enum { LONG_SIZE = 3 << 20 };

static struct fake_call *open_watch(struct watch_stream **ret_stream)
{
    struct fake_call *f = open_call("/etcdserverpb.Watch/Watch");
    watch_send(f, true);
    run();
    *ret_stream = f->call.state;
    return f;
}

static void push_long(struct watch_stream *s, int64_t revision)
{
    Mvccpb__KeyValue pair = MVCCPB__KEY_VALUE__INIT;
    Mvccpb__Event event = MVCCPB__EVENT__INIT, *events = &event;
    Etcdserverpb__WatchResponse m = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    event.kv = &pair;
    pair.value.data = mem_new(LONG_SIZE);
    pair.value.len = LONG_SIZE;
    for (size_t i = 0; i < LONG_SIZE; i++)
        pair.value.data[i] = (uint8_t)(i * 31 >> 3);
    m.events = &events;
    m.n_events = 1;
    fake_push(s, revision, &m);
    mem_free(pair.value.data);
}

static void expect_long(struct fake_call *f, size_t i, int64_t revision)
{
    Etcdserverpb__WatchResponse *r = watch_response_of(f, i);
    assert_int_equal(r->header->revision, revision);
    assert_int_equal(r->n_events, 1);
    assert_int_equal(r->events[0]->kv->value.len, LONG_SIZE);
    for (size_t at = 0; at < LONG_SIZE; at++)
        assert_int_equal(r->events[0]->kv->value.data[at], (uint8_t)(at * 31 >> 3));
    etcdserverpb__watch_response__free_unpacked(r, NULL);
}

/* One response, whatever its size; a turn makes half a mebibyte of it. */
static void a_long_response_is_composed_over_turns(void **state)
{
    (void)state;
    struct watch_stream *s;
    struct fake_call *f = open_watch(&s);
    push_long(s, 8);
    fake_push(s, 9, &(Etcdserverpb__WatchResponse)ETCDSERVERPB__WATCH_RESPONSE__INIT);
    for (unsigned turn = 1; turn <= 6; turn++) {
        assert_int_equal(f->count, 1);
        rpc_server_turn(&server);
        assert_true(f->count > 1 || f->call.gathered.size <= (turn + 1) << 19);
    }
    run();
    assert_int_equal(f->count, 3);
    expect_long(f, 1, 8);
    assert_null(f->call.gathered.data);
    fake_call_free(f);
}

/* Composed bytes are not counted as unread yet, so one call composes at a time, in order of arrival. */
static void long_responses_wait_for_each_other(void **state)
{
    (void)state;
    struct watch_stream *s[4];
    struct fake_call *f[4];
    for (int i = 0; i < 4; i++)
        f[i] = open_watch(&s[i]);
    for (int i = 0; i < 4; i++)
        push_long(s[i], 8);
    for (int turn = 0; turn < 3; turn++)
        rpc_server_turn(&server);
    assert_true(f[0]->call.gathered.size > 0);
    for (int i = 1; i < 4; i++)
        assert_int_equal(f[i]->call.gathered.size, 0);
    fake_call_free(f[0]); /* the others continue */
    f[1]->congested_at = 1;
    run();
    assert_int_equal(f[1]->count, 1);
    expect_long(f[2], 1, 8);
    expect_long(f[3], 1, 8);
    f[1]->congested_at = 0;
    rpc_writable(&f[1]->call);
    run();
    expect_long(f[1], 1, 8);
    assert_true(list_is_empty(&server.composing));
    assert_null(server.composer);
    for (int i = 1; i < 4; i++)
        fake_call_free(f[i]);
}

static void a_request_flood_takes_a_long_response_further(void **state)
{
    (void)state;
    struct watch_stream *s;
    struct fake_call *f = open_watch(&s);
    push_long(s, 8);
    rpc_server_turn(&server);
    for (int i = 0; i < 300; i++) {
        watch_send(f, false);
        assert_false(f->is_finished);
    }
    run();
    assert_int_equal(f->count, 302);
    expect_long(f, 1, 8);
    fake_call_free(f);
}

/* As when its watcher has lost its right: the hub continues with another watcher. */
static void a_long_response_that_is_dropped(void **state)
{
    (void)state;
    struct watch_stream *s;
    struct fake_call *f = open_watch(&s);
    push_long(s, 8);
    rpc_server_turn(&server);
    assert_true(f->call.gathered.size > 0);
    s->last_at = SIZE_MAX;
    push_long(s, 9);
    run();
    assert_int_equal(f->count, 2);
    expect_long(f, 1, 9);
    fake_call_free(f);
}

static void watch_without_a_request_is_ignored(void **state)
{
    (void)state;
    struct fake_call *f = open_call("/etcdserverpb.Watch/Watch");
    rpc_receive(&f->call, (struct slice){0});
    run();
    assert_false(f->is_finished);
    assert_int_equal(f->count, 0);
    rpc_receive(&f->call, slice_text("\x0a\x7f")); /* broken: the stream and its watches end */
    assert_int_equal(kv.streams_open, 0);
    assert_int_equal(f->status, 13);
    fake_call_free(f);
}

static void streams_with_hasleader_end_after_three_ticks(void **state)
{
    (void)state;
    struct fake_call *wanting = fake_call_new(&server, "/etcdserverpb.Watch/Watch");
    wanting->call.has_leader_required = true;
    rpc_start(&wanting->call);
    watch_send(wanting, true);
    struct fake_call *other = open_call("/etcdserverpb.Watch/Watch");
    watch_send(other, true);
    run();
    kv.leader = 0;
    rpc_server_tick(&server);
    rpc_server_tick(&server);
    kv.leader = 1;
    rpc_server_tick(&server);
    kv.leader = 0;
    rpc_server_tick(&server);
    rpc_server_tick(&server);
    assert_false(wanting->is_finished);
    rpc_server_tick(&server);
    expect_end(wanting, 14, "etcdserver: no leader");
    assert_false(other->is_finished);
    fake_call_free(other);
}

static void draining_ends_streams(void **state)
{
    (void)state;
    struct fake_call *w = open_call("/etcdserverpb.Watch/Watch");
    watch_send(w, true);
    struct fake_call *empty = open_call("/etcdserverpb.Lease/LeaseKeepAlive");
    struct fake_call *h = open_call("/grpc.health.v1.Health/Watch");
    rpc_receive(&h->call, (struct slice){0});
    struct fake_call *put = open_call("/etcdserverpb.KV/Put");
    rpc_receive(&put->call, (struct slice){0});
    rpc_server_drain(&server);
    expect_end(w, 14, "etcdserver: server stopped");
    expect_end(empty, 14, "etcdserver: server stopped");
    assert_int_equal(h->count, 2);
    assert_memory_equal(h->messages[1].data, "\x08\x02", 2);
    expect_end(h, 14, "etcdserver: server stopped");
    assert_false(put->is_finished);
    run();
    expect_end(put, 0, "");
    expect_end(open_call("/etcdserverpb.Watch/Watch"), 14, "etcdserver: server stopped");
}

static void health_watch_knows_only_the_server(void **state)
{
    (void)state;
    struct fake_call *h = open_call("/grpc.health.v1.Health/Watch");
    rpc_receive(&h->call, slice_text("\x0a\x01x"));
    assert_memory_equal(h->messages[0].data, "\x08\x03", 2);
    assert_false(h->is_finished);
    rpc_server_drain(&server);
    assert_int_equal(h->count, 1);
    fake_call_free(h);
}

/* --- LeaseKeepAlive ----------------------------------------------------------------------------------- */
static void keep_alive_send(struct fake_call *f, int64_t id)
{
    Etcdserverpb__LeaseKeepAliveRequest m = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    m.id = id;
    fake_receive(f, &m);
}

static void expect_keep_alive(struct fake_call *f, size_t i, int64_t id, int64_t ttl, int64_t revision)
{
    Etcdserverpb__LeaseKeepAliveResponse *r =
        etcdserverpb__lease_keep_alive_response__unpack(NULL, f->messages[i].size, f->messages[i].data);
    assert_int_equal(r->id, id);
    assert_int_equal(r->ttl, ttl);
    assert_int_equal(r->header->revision, revision);
    etcdserverpb__lease_keep_alive_response__free_unpacked(r, NULL);
}

static void keep_alives_answer_in_order(void **state)
{
    (void)state;
    struct fake_call *f = open_call("/etcdserverpb.Lease/LeaseKeepAlive");
    for (int64_t id = 1; id <= 3000; id++)
        keep_alive_send(f, id);
    kv.is_reverse = true;
    kv.revision = 20; /* after the messages came: their headers stay at 7 */
    run();
    assert_int_equal(f->count, 3000);
    for (size_t i = 0; i < 3000; i++)
        expect_keep_alive(f, i, (int64_t)i + 1, 60, 7);
    kv.err = ERR_LEASE_NOT_FOUND;
    keep_alive_send(f, 5);
    run();
    expect_keep_alive(f, 3000, 5, 0, 20);
    rpc_half_close(&f->call);
    expect_end(f, 0, "");
}

static void keep_alive_half_close_waits_for_answers(void **state)
{
    (void)state;
    struct fake_call *f = open_call("/etcdserverpb.Lease/LeaseKeepAlive");
    keep_alive_send(f, 1);
    rpc_half_close(&f->call);
    assert_false(f->is_finished);
    run();
    assert_int_equal(f->count, 1);
    expect_end(f, 0, "");
}

static void keep_alive_error_ends_the_stream(void **state)
{
    (void)state;
    struct fake_call *f = open_call("/etcdserverpb.Lease/LeaseKeepAlive");
    keep_alive_send(f, 1);
    keep_alive_send(f, 2);
    kv.err = ERR_NOT_PRIMARY_LESSOR;
    run();
    expect_end(f, 2, "not a primary lessor");
}

static void keep_alive_is_bounded_for_clients_that_do_not_read(void **state)
{
    (void)state;
    struct fake_call *f = open_call("/etcdserverpb.Lease/LeaseKeepAlive");
    f->congested_at = 1;
    keep_alive_send(f, 1);
    run();
    for (int64_t id = 0; id < 20000 && !f->is_finished; id++) {
        keep_alive_send(f, id);
        if (id % 100 == 0)
            run();
    }
    assert_int_equal(f->count, 1);
    expect_end(f, 2, "etcdserver: too many requests");
}

static void a_call_may_be_freed_in_finish(void **state)
{
    (void)state;
    int status = -1;
    struct fake_call *f = open_call("/etcdserverpb.Lease/LeaseKeepAlive");
    f->freed_status = &status;
    for (int64_t id = 0; status < 0 && id < 20000; id++)
        keep_alive_send(f, id); /* nothing is answered: the last one is too many */
    assert_int_equal(status, 2);
    f = open_call("/etcdserverpb.Lease/LeaseKeepAlive");
    f->freed_status = &status;
    rpc_receive(&f->call, slice_text("\x0a"));
    assert_int_equal(status, 13);
    f = open_call("/etcdserverpb.Lease/LeaseKeepAlive");
    f->freed_status = &status;
    keep_alive_send(f, 1);
    rpc_half_close(&f->call);
    run();
    assert_int_equal(status, 0);
}

static void keep_alive_canceled_takes_requests_back(void **state)
{
    (void)state;
    struct fake_call *f = open_call("/etcdserverpb.Lease/LeaseKeepAlive");
    for (int64_t id = 1; id <= 5; id++)
        keep_alive_send(f, id);
    fake_call_free(f);
    assert_int_equal(kv.canceled, 5);
}

/* --- Snapshot ----------------------------------------------------------------------------------------- */
/* Blocks as they arrive, congestion and waiting in between: 32 KiB messages except at the ends of blocks. */
static void snapshot_sends_chunks_and_digest(void **state)
{
    (void)state;
    enum { SIZE = 1000448, BLOCK = 100 * 1024 };
    struct fake_call *f = open_call("/etcdserverpb.Maintenance/Snapshot");
    rpc_receive(&f->call, (struct slice){0});
    rpc_half_close(&f->call);
    run();
    assert_int_equal(f->count, 0); /* it waits for its place, or for the first block */
    fake_export(&kv, 400000, SIZE, BLOCK);
    f->congested_at = 5;
    run();
    assert_int_equal(f->count, 5);
    f->congested_at = 0;
    rpc_writable(&f->call);
    run();
    size_t before = f->count;
    run();
    assert_int_equal(f->count, before); /* nothing more is there */
    fake_export(&kv, SIZE, SIZE, BLOCK);
    run();
    uint8_t digest[32];
    uint64_t total = 0;
    struct sha256 *sha = sha256_new();
    for (size_t i = 0; i < f->count; i++) {
        Etcdserverpb__SnapshotResponse *r =
            etcdserverpb__snapshot_response__unpack(NULL, f->messages[i].size, f->messages[i].data);
        assert_null(r->header);
        assert_string_equal(r->version, "3.7.0");
        if (i + 1 < f->count) {
            total += r->blob.len;
            sha256_add(sha, r->blob.data, r->blob.len);
            assert_int_equal(r->remaining_bytes, SIZE - total);
            assert_in_range(r->blob.len, 1, 32 * 1024);
        } else {
            sha256_finish(sha, digest);
            assert_int_equal(r->blob.len, 32);
            assert_memory_equal(r->blob.data, digest, 32);
            assert_int_equal(r->remaining_bytes, 0);
        }
        etcdserverpb__snapshot_response__free_unpacked(r, NULL);
    }
    assert_int_equal(total, SIZE);
    assert_false(kv.export.is_open);
    expect_end(f, 0, "");
}

static struct fake_call *open_snapshot(void)
{
    struct fake_call *f = open_call("/etcdserverpb.Maintenance/Snapshot");
    rpc_receive(&f->call, (struct slice){0});
    return f;
}

static void snapshot_canceled_at_any_time(void **state)
{
    (void)state;
    struct fake_call *f = open_snapshot();
    fake_call_free(f); /* before the first block */
    assert_false(kv.export.is_open);

    f = open_snapshot();
    fake_export(&kv, 100000, 200000, 50000);
    f->congested_at = 1;
    run();
    fake_call_free(f); /* while it is sent */
    assert_false(kv.export.is_open);

    f = open_snapshot();
    fake_export(&kv, 100000, 200000, 50000);
    run();
    fake_export_fails(&kv, ERR_SNAPSHOT_SLOW);
    run();
    assert_false(kv.export.is_open);
    expect_end(f, 10, err_text(ERR_SNAPSHOT_SLOW));
}

/* No place: etcd's error text, with a status that a client can tell from a fault. */
static void snapshot_refused(void **state)
{
    (void)state;
    struct fake_call *f = open_snapshot();
    fake_export_fails(&kv, ERR_TOO_MANY_REQUESTS);
    run();
    expect_end(f, 8, "etcdserver: too many requests");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(chunks_double_and_merge, setup, teardown),
        cmocka_unit_test_setup_teardown(chunks_stay_near_the_target, setup, teardown),
        cmocka_unit_test_setup_teardown(limit_counts_the_rest, setup, teardown),
        cmocka_unit_test_setup_teardown(limit_counts_while_congested, setup, teardown),
        cmocka_unit_test_setup_teardown(revision_is_pinned, setup, teardown),
        cmocka_unit_test_setup_teardown(range_stream_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(range_stream_is_canceled_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(watch_creates_and_streams, setup, teardown),
        cmocka_unit_test_setup_teardown(a_congested_watch_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(a_client_that_does_not_read_is_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_response_is_composed_over_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(long_responses_wait_for_each_other, setup, teardown),
        cmocka_unit_test_setup_teardown(a_request_flood_takes_a_long_response_further, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_response_that_is_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(watch_without_a_request_is_ignored, setup, teardown),
        cmocka_unit_test_setup_teardown(streams_with_hasleader_end_after_three_ticks, setup, teardown),
        cmocka_unit_test_setup_teardown(draining_ends_streams, setup, teardown),
        cmocka_unit_test_setup_teardown(health_watch_knows_only_the_server, setup, teardown),
        cmocka_unit_test_setup_teardown(keep_alives_answer_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(keep_alive_half_close_waits_for_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(keep_alive_error_ends_the_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(keep_alive_is_bounded_for_clients_that_do_not_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_call_may_be_freed_in_finish, setup, teardown),
        cmocka_unit_test_setup_teardown(keep_alive_canceled_takes_requests_back, setup, teardown),
        cmocka_unit_test_setup_teardown(snapshot_sends_chunks_and_digest, setup, teardown),
        cmocka_unit_test_setup_teardown(snapshot_canceled_at_any_time, setup, teardown),
        cmocka_unit_test_setup_teardown(snapshot_refused, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
