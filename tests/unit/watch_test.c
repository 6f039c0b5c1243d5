/* SPDX-License-Identifier: Apache-2.0
 * Tests of the rules of etcd's watch, one by one. A test writes the messages of a stream as text and
 * compares:
 *
 *     @5 #0 created | @6 #0 put a=6 del b | @0 #0 canceled compact=4
 *
 * @ header revision, # watch id; events with their mod_revision where it differs from the header's. */
#include "watch_fake.h"

static void fake_put(struct store *s, struct watch_hub *hub, const char *key)
{
    assert_true(fake_add(s, key, false, 10));
    assert_true(fake_commit(s, hub));
}

static void fake_delete(struct store *s, struct watch_hub *hub, const char *key)
{
    assert_true(fake_add(s, key, true, 0));
    assert_true(fake_commit(s, hub));
}

static struct watch_hub *hub_new(struct store *s)
{
    return watch_hub_new(&(struct watch_options){.store = s, .progress_interval_ms = 1000});
}

static char heard[1 << 16];

/* All pending responses of the stream. */
static const char *listen(struct watch_stream *s)
{
    size_t n = 0;
    int64_t header;
    Etcdserverpb__WatchResponse *r;
    heard[0] = 0;
    while ((r = take(s, &header, NULL))) {
        n +=
            (size_t)snprintf(heard + n, sizeof heard - n, "%s@%ld #%ld", n ? " | " : "", header, r->watch_id);
        if (r->created)
            n += (size_t)snprintf(heard + n, sizeof heard - n, " created");
        if (r->canceled)
            n += (size_t)snprintf(heard + n, sizeof heard - n, " canceled");
        if (r->compact_revision)
            n += (size_t)snprintf(heard + n, sizeof heard - n, " compact=%ld", r->compact_revision);
        if (r->cancel_reason[0])
            n += (size_t)snprintf(heard + n, sizeof heard - n, " (%s)", r->cancel_reason);
        if (r->fragment)
            n += (size_t)snprintf(heard + n, sizeof heard - n, " fragment");
        for (size_t i = 0; i < r->n_events; i++) {
            const Mvccpb__Event *e = r->events[i];
            n += (size_t)snprintf(heard + n, sizeof heard - n, " %s %.*s=%ld", e->type ? "del" : "put",
                                  (int)e->kv->key.len, (const char *)e->kv->key.data, e->kv->mod_revision);
            if (e->prev_kv)
                n += (size_t)snprintf(heard + n, sizeof heard - n, "(was %ld)", e->prev_kv->mod_revision);
        }
        etcdserverpb__watch_response__free_unpacked(r, NULL);
    }
    return heard;
}

struct fixture {
    struct store *store;
    struct watch_hub *hub;
    struct watch_stream *s;
    int ready;
};

static struct fixture f;

static int setup(void **state)
{
    (void)state;
    f = (struct fixture){.store = fake_new()};
    f.hub = hub_new(f.store);
    f.s = watch_stream_open(f.hub, count_ready, &f.ready);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    watch_stream_close(f.s);
    assert_int_equal(watch_counts(f.hub).watchers, 0);
    assert_int_equal(watch_counts(f.hub).unsynced, 0);
    watch_hub_free(f.hub);
    mem_free(f.store);
    return 0;
}

static void watch(const char *key, const char *end, int64_t start_revision)
{
    Etcdserverpb__WatchCreateRequest r = request_of(key, end, start_revision);
    watch_create(f.s, &r, NULL);
}

static void test_level_watchers(void **state)
{
    (void)state;
    watch("a", NULL, 0);
    watch("b", "d", 0);
    watch("c", "", 0);
    watch("", "", 0); /* everything */
    assert_int_equal(f.ready, 1);
    assert_string_equal(listen(f.s), "@1 #0 created | @1 #1 created | @1 #2 created | @1 #3 created");
    assert_false(watch_has_next(f.s));

    fake_put(f.store, f.hub, "a");
    assert_int_equal(f.ready, 1); /* sent in watch_turn, not in the middle of applying */
    watch_turn(f.hub, 1);
    assert_int_equal(f.ready, 2);
    assert_string_equal(listen(f.s), "@2 #0 put a=2 | @2 #3 put a=2");

    fake_add(f.store, "c", false, 1);
    fake_add(f.store, "a", true, 0);
    fake_add(f.store, "d", false, 1);
    fake_commit(f.store, f.hub);
    assert_string_equal(
        listen(f.s), "@3 #3 put c=3 del a=3 put d=3 | @3 #1 put c=3 | @3 #2 put c=3 put d=3 | @3 #0 del a=3");
    fake_put(f.store, f.hub, "zz");
    assert_string_equal(listen(f.s), "@4 #3 put zz=4 | @4 #2 put zz=4");
    assert_int_equal(f.store->scans, 0);
}

static void test_refusals(void **state)
{
    (void)state;
    watch("b", "b", 0);
    watch("b", "a", 0);
    watch("a", NULL, -1);
    Etcdserverpb__WatchCreateRequest r = request_of("a", NULL, 0);
    watch_create(f.s, &r, "rpc error: code = PermissionDenied desc = etcdserver: permission denied");
    r.watch_id = 7;
    watch_create(f.s, &r, NULL);
    watch_create(f.s, &r, NULL);
    assert_string_equal(
        listen(f.s),
        "@1 #-1 created canceled (mvcc: watcher range is empty) | "
        "@1 #-1 created canceled (mvcc: watcher range is empty) | "
        "@1 #-1 created canceled (etcdserver: mvcc: required revision has been compacted) | "
        "@1 #-1 created canceled (rpc error: code = PermissionDenied desc = etcdserver: permission denied) | "
        "@1 #7 created | @1 #-1 created canceled (mvcc: duplicate watch ID provided on the WatchStream)");
    assert_int_equal(watch_counts(f.hub).watchers, 1);
}

static void test_ids_count_from_0_and_skip_used_ones(void **state)
{
    (void)state;
    Etcdserverpb__WatchCreateRequest r = request_of("a", NULL, 0);
    r.watch_id = 1;
    watch_create(f.s, &r, NULL);
    watch("a", NULL, 0);
    watch("a", NULL, 0);
    watch_cancel(f.s, 0);
    watch("a", NULL, 0); /* not 0 again */
    watch_cancel(f.s, 99);
    assert_string_equal(listen(f.s), "@1 #1 created | @1 #0 created | @1 #2 created | @1 #0 canceled | "
                                     "@1 #3 created");
    for (int i = 0; i < 20; i++) /* past the size where a table takes over */
        watch("a", NULL, 0);
    r.watch_id = 12;
    watch_create(f.s, &r, NULL);
    assert_non_null(strstr(listen(f.s), "#-1 created canceled (mvcc: duplicate"));
    watch_cancel(f.s, 12);
    watch_create(f.s, &r, NULL);
    assert_string_equal(listen(f.s), "@1 #12 canceled | @1 #12 created");
    fake_put(f.store, f.hub, "a");
    int count = 0;
    for (const char *p = listen(f.s); (p = strstr(p, "put a=2")); p++)
        count++;
    assert_int_equal(count, 23);
}

static void test_limit_of_watchers(void **state)
{
    (void)state;
    struct watch_hub *hub =
        watch_hub_new(&(struct watch_options){.store = f.store, .stream_watchers_max = 2});
    int ready = 0;
    struct watch_stream *s = watch_stream_open(hub, count_ready, &ready);
    Etcdserverpb__WatchCreateRequest r = request_of("a", NULL, 0);
    for (int i = 0; i < 3; i++)
        watch_create(s, &r, NULL);
    assert_string_equal(listen(s), "@1 #0 created | @1 #1 created | "
                                   "@1 #-1 created canceled (etcdserver: too many watches on this stream)");
    watch_stream_close(s);
    watch_hub_free(hub);
}

static struct watch_stream *open_from(struct watch_hub *hub, uint64_t source, int *ready)
{
    struct watch_stream *s = watch_stream_open(hub, count_ready, ready);
    watch_stream_set_source(s, source);
    return s;
}

/* The number of watchers of this key that the stream gets until one is refused for lack of memory. */
static size_t fill(struct watch_stream *s, const char *key, const char *end)
{
    Etcdserverpb__WatchCreateRequest r = request_of(key, end, 0);
    for (size_t n = 0; n < 10000; n++) {
        watch_create(s, &r, NULL);
        const char *answer = listen(s);
        if (strstr(answer, "#-1 ")) {
            assert_non_null(
                strstr(answer, "created canceled (etcdserver: too many watches (--max-watch-bytes))"));
            return n;
        }
    }
    fail_msg("no watch is refused");
    return 0;
}

/* Each source gets as many bytes as are left for all; it may take freed bytes again. Long keys count. */
static void test_room_of_sources(void **state)
{
    (void)state;
    enum { ROOM = 1 << 20 };
    struct watch_hub *hub =
        watch_hub_new(&(struct watch_options){.store = f.store, .watchers_bytes_max = ROOM});
    int ready = 0;
    char key[5001] = {0};
    memset(key, 'k', sizeof key - 1);
    struct watch_stream *a = open_from(hub, 1, &ready), *again = open_from(hub, 1, &ready);
    struct watch_stream *b = open_from(hub, 2, &ready), *own = watch_stream_open(hub, count_ready, &ready);
    size_t first = fill(a, key, NULL);
    assert_in_range(first, ROOM / 2 / 5400 - 1, ROOM / 2 / 5000);
    assert_in_range(watch_counts(hub).watchers_bytes, ROOM / 2 - 5400, ROOM / 2);
    assert_int_equal(fill(again, key, NULL), 0); /* another stream of that source */
    size_t second = fill(b, "a", key);           /* the end of a range counts too */
    assert_in_range(second, first / 2 - 2, first / 2 + 2);
    Etcdserverpb__WatchCreateRequest r = request_of(key, NULL, 0);
    for (size_t i = 0; i < first; i++) /* not counted: it has limits elsewhere */
        watch_create(own, &r, NULL);
    assert_null(strstr(listen(own), "canceled"));
    watch_cancel(a, 0);
    (void)listen(a);
    assert_int_equal(fill(again, key, NULL), 0); /* it holds more than is left for all */
    watch_stream_close(b);
    assert_int_equal(fill(again, key, NULL), 1);
    watch_stream_close(a);
    assert_int_equal(fill(again, key, NULL), first - 1);
    watch_stream_close(again);
    assert_int_equal(watch_counts(hub).watchers_bytes, 0);
    watch_stream_close(own);
    watch_hub_free(hub);
}

static void test_past_and_future(void **state)
{
    (void)state;
    fake_put(f.store, f.hub, "a"); /* 2 */
    fake_put(f.store, f.hub, "b"); /* 3 */
    fake_put(f.store, f.hub, "a"); /* 4 */
    fake_put(f.store, f.hub, "b"); /* 5 */
    watch("a", NULL, 2);
    watch("a", NULL, 3);
    watch("a", NULL, 6);
    watch("a", NULL, 7);
    assert_int_equal(watch_counts(f.hub).unsynced, 2);
    assert_false(watch_turn(f.hub, 1));
    assert_int_equal(f.store->scans, 1); /* one reading serves both */
    assert_int_equal(watch_counts(f.hub).unsynced, 0);
    assert_string_equal(listen(f.s), "@5 #0 created | @5 #1 created | @5 #2 created | @5 #3 created | "
                                     "@5 #0 put a=2 put a=4 | @5 #1 put a=4");
    watch_request_progress(f.s); /* watch 2 starts only at 6 */
    assert_string_equal(listen(f.s), "");
    fake_put(f.store, f.hub, "a"); /* 6 */
    assert_string_equal(listen(f.s), "@6 #2 put a=6 | @6 #0 put a=6 | @6 #1 put a=6");
    watch_request_progress(f.s); /* watch 3 starts only at 7 */
    assert_string_equal(listen(f.s), "");
    watch_cancel(f.s, 3);
    watch_request_progress(f.s);
    assert_string_equal(listen(f.s), "@6 #3 canceled | @6 #-1");
}

static void test_filters_and_previous(void **state)
{
    (void)state;
    Etcdserverpb__WatchCreateRequest r = request_of("a", NULL, 0);
    Etcdserverpb__WatchCreateRequest__FilterType no_put =
        ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT;
    Etcdserverpb__WatchCreateRequest__FilterType no_del =
        ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE;
    r.prev_kv = true;
    watch_create(f.s, &r, NULL);
    r.n_filters = 1;
    r.filters = &no_put;
    watch_create(f.s, &r, NULL);
    r.prev_kv = false;
    r.filters = &no_del;
    watch_create(f.s, &r, NULL);
    listen(f.s);
    fake_put(f.store, f.hub, "a");
    assert_string_equal(listen(f.s), "@2 #0 put a=2 | @2 #2 put a=2");
    fake_put(f.store, f.hub, "a");
    assert_string_equal(listen(f.s), "@3 #0 put a=3(was 2) | @3 #2 put a=3");
    fake_delete(f.store, f.hub, "a");
    assert_string_equal(listen(f.s), "@4 #0 del a=4(was 3) | @4 #1 del a=4(was 3)");
    fake_put(f.store, f.hub, "a");
    assert_string_equal(listen(f.s), "@5 #0 put a=5 | @5 #2 put a=5");
    f.store->compact_revision = 3;
    r = request_of("a", NULL, 3);
    r.prev_kv = true;
    watch_create(f.s, &r, NULL); /* what 3 replaced is compacted */
    watch_turn(f.hub, 1);
    assert_string_equal(listen(f.s), "@5 #3 created | @5 #3 put a=3 del a=4(was 3) put a=5");
}

static void test_compaction(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++)
        fake_put(f.store, f.hub, "a");
    f.store->compact_revision = 5;
    watch("a", NULL, 4);
    watch("a", NULL, 5); /* allowed */
    watch("a", NULL, 0);
    watch_turn(f.hub, 1);
    assert_string_equal(listen(f.s), "@9 #0 created | @9 #1 created | @9 #2 created | "
                                     "@0 #0 canceled compact=5 | "
                                     "@9 #1 put a=5 put a=6 put a=7 put a=8 put a=9");
    watch_request_progress(f.s); /* the ended one does not hold it up */
    assert_string_equal(listen(f.s), "@9 #-1");
    watch_cancel(f.s, 0); /* etcd keeps a watcher that a compaction ended until the client cancels */
    assert_string_equal(listen(f.s), "@9 #0 canceled");
    watch_cancel(f.s, 0);
    assert_string_equal(listen(f.s), "");
    f.store->compact_revision = 9; /* level watchers are not affected */
    watch_turn(f.hub, 2);
    fake_put(f.store, f.hub, "a");
    assert_string_equal(listen(f.s), "@10 #2 put a=10 | @10 #1 put a=10");
}

/* The id of a watcher that a compaction ended is free after its cancel, and not before. */
static void test_ended_keeps_id(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++)
        fake_put(f.store, f.hub, "a");
    f.store->compact_revision = 5;
    Etcdserverpb__WatchCreateRequest r = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    r.key.data = (uint8_t[]){'a'};
    r.key.len = 1;
    r.start_revision = 2;
    r.watch_id = 1;
    watch_create(f.s, &r, NULL);
    watch_turn(f.hub, 1);
    assert_string_equal(listen(f.s), "@9 #1 created | @0 #1 canceled compact=5");
    watch_request_progress(f.s); /* there is no receiver any more */
    assert_string_equal(listen(f.s), "");
    r.start_revision = 0;
    watch_create(f.s, &r, NULL);
    watch("a", NULL, 0);
    watch("a", NULL, 0);
    assert_string_equal(listen(f.s),
                        "@9 #-1 created canceled (mvcc: duplicate watch ID provided on the WatchStream) | "
                        "@9 #0 created | @9 #2 created");
    assert_int_equal(watch_counts(f.hub).watchers, 2);
    watch_cancel(f.s, 1);
    watch_create(f.s, &r, NULL);
    assert_string_equal(listen(f.s), "@9 #1 canceled | @9 #1 created");
}

static void test_revisions_join_while_the_stream_waits(void **state)
{
    (void)state;
    watch("a", NULL, 0);
    watch("", "", 0);
    listen(f.s);
    fake_put(f.store, f.hub, "a");
    fake_put(f.store, f.hub, "b");
    fake_put(f.store, f.hub, "a");
    watch_turn(f.hub, 1);
    assert_int_equal(f.ready, 2);
    assert_string_equal(listen(f.s), "@4 #0 put a=2 put a=4 | @4 #1 put a=2 put b=3 put a=4");
    /* No event joins a response across another one that has a place in time. */
    fake_put(f.store, f.hub, "a");
    watch_request_progress(f.s);
    watch_request_progress(f.s); /* reports nothing new */
    fake_put(f.store, f.hub, "a");
    assert_string_equal(listen(f.s),
                        "@5 #0 put a=5 | @5 #1 put a=5 | @5 #-1 | @6 #0 put a=6 | @6 #1 put a=6");
    fake_put(f.store, f.hub, "a");
    watch_cancel(f.s, 0);
    watch("a", NULL, 7);
    fake_put(f.store, f.hub, "b");
    watch_turn(f.hub, 1);
    assert_string_equal(listen(f.s), "@7 #0 put a=7 | @7 #1 put a=7 | @7 #0 canceled | @7 #2 created | "
                                     "@8 #1 put b=8 | @8 #2 put a=7");
}

static void test_response_limits(void **state)
{
    (void)state;
    watch("a", NULL, 0);
    listen(f.s);
    for (int i = 0; i < 2500; i++) {
        assert_true(fake_add(f.store, "a", false, 0));
        fake_commit(f.store, f.hub);
    }
    watch("a", NULL, 2);
    while (watch_turn(f.hub, 1))
        ;
    int64_t header, next[2] = {2, 2};
    Etcdserverpb__WatchResponse *r;
    while ((r = take(f.s, &header, NULL))) {
        assert_true(r->n_events <= 1000);
        for (size_t i = 0; i < r->n_events; i++)
            assert_int_equal(r->events[i]->kv->mod_revision, next[r->watch_id]++);
        etcdserverpb__watch_response__free_unpacked(r, NULL);
    }
    assert_int_equal(next[0], 2502);
    assert_int_equal(next[1], 2502);
}

static void test_fragments(void **state)
{
    (void)state;
    struct watch_hub *hub =
        watch_hub_new(&(struct watch_options){.store = f.store, .response_bytes_max = 1000});
    int ready = 0;
    struct watch_stream *s = watch_stream_open(hub, count_ready, &ready);
    Etcdserverpb__WatchCreateRequest r = request_of("", "", 0);
    r.fragment = true;
    watch_create(s, &r, NULL);
    r.fragment = false;
    watch_create(s, &r, NULL);
    listen(s);
    fake_add(f.store, "a", false, 350);
    fake_add(f.store, "b", false, 350);
    fake_add(f.store, "c", false, 350);
    fake_add(f.store, "d", false, 5000);
    fake_add(f.store, "e", false, 10);
    fake_commit(f.store, hub);
    assert_string_equal(listen(s), "@2 #0 fragment put a=2 put b=2 | @2 #0 fragment put c=2 | "
                                   "@2 #0 fragment put d=2 | @2 #0 put e=2 | "
                                   "@2 #1 put a=2 put b=2 put c=2 put d=2 put e=2");
    fake_add(f.store, "a", false, 5000);
    fake_commit(f.store, hub);
    assert_string_equal(listen(s), "@3 #0 put a=3 | @3 #1 put a=3");
    watch_stream_close(s);
    watch_hub_free(hub);
}

static void test_progress(void **state)
{
    (void)state;
    watch_request_progress(f.s);
    assert_string_equal(listen(f.s), ""); /* an empty stream has none */
    watch("a", NULL, 0);
    watch_request_progress(f.s);
    assert_string_equal(listen(f.s), "@1 #0 created | @1 #-1");
    fake_put(f.store, f.hub, "b");
    watch("a", NULL, 1);
    watch_request_progress(f.s); /* one is behind */
    watch_turn(f.hub, 1);
    watch_request_progress(f.s);
    assert_string_equal(listen(f.s), "@2 #1 created | @2 #-1");
}

static void test_progress_notify(void **state)
{
    (void)state;
    Etcdserverpb__WatchCreateRequest r = request_of("a", NULL, 0);
    r.progress_notify = true;
    watch_create(f.s, &r, NULL);
    r.start_revision = 4;
    watch_create(f.s, &r, NULL);
    watch("a", NULL, 0);
    listen(f.s);
    watch_turn(f.hub, 5000); /* the interval, 1,000 ms, starts here */
    fake_put(f.store, f.hub, "b");
    watch_turn(f.hub, 5999);
    assert_string_equal(listen(f.s), "");
    watch_turn(f.hub, 6100);
    assert_string_equal(listen(f.s), "@2 #0");
    fake_put(f.store, f.hub, "a");
    watch_turn(f.hub, 7200); /* an event was sent since */
    assert_string_equal(listen(f.s), "@3 #0 put a=3 | @3 #2 put a=3");
    watch_turn(f.hub, 8300);
    assert_string_equal(listen(f.s), "@3 #0");
    fake_put(f.store, f.hub, "b"); /* 4: watch 1 has started */
    watch_turn(f.hub, 9400);
    assert_string_equal(listen(f.s), "@4 #0 | @4 #1");
    watch_cancel(f.s, 0);
    watch_cancel(f.s, 1);
    listen(f.s);
    watch_turn(f.hub, 20000);
    assert_string_equal(listen(f.s), "");
}

static void test_progress_ticks_are_spread(void **state)
{
    (void)state;
    enum { STREAMS = 50 };
    struct watch_stream *streams[STREAMS];
    int ready[STREAMS] = {0};
    Etcdserverpb__WatchCreateRequest r = request_of("a", NULL, 0);
    r.progress_notify = true;
    for (int i = 0; i < STREAMS; i++) {
        streams[i] = watch_stream_open(f.hub, count_ready, &ready[i]);
        watch_create(streams[i], &r, NULL);
        listen(streams[i]);
    }
    watch_turn(f.hub, 1);
    int at_once_max = 0, total = 0;
    for (uint64_t now = 1001; now <= 1101; now += 10) {
        watch_turn(f.hub, now);
        int at_once = 0;
        for (int i = 0; i < STREAMS; i++)
            at_once += listen(streams[i])[0] != 0;
        at_once_max = at_once > at_once_max ? at_once : at_once_max;
        total += at_once;
    }
    assert_int_equal(total, STREAMS);
    assert_true(at_once_max < STREAMS / 2);
    for (int i = 0; i < STREAMS; i++)
        watch_stream_close(streams[i]);
}

static int work_calls;

static void on_work(void *arg)
{
    (void)arg;
    work_calls++;
}

/* A reader that stops: its stream holds no more than its limit, other readers do not notice, and it gets
 * everything in the end. */
static void test_stalled_reader(void **state)
{
    (void)state;
    struct watch_options o = {.store = f.store, .stream_bytes_max = 10000, .on_work = on_work};
    struct watch_hub *hub = watch_hub_new(&o);
    int ready = 0;
    struct watch_stream *slow = watch_stream_open(hub, count_ready, &ready);
    struct watch_stream *fast = watch_stream_open(hub, count_ready, &ready);
    Etcdserverpb__WatchCreateRequest r = request_of("a", NULL, 0);
    watch_create(slow, &r, NULL);
    watch_create(slow, &r, NULL);
    watch_create(fast, &r, NULL);
    listen(slow);
    listen(fast);
    for (int i = 0; i < 100; i++) {
        fake_add(f.store, "a", false, 500);
        fake_commit(f.store, hub);
        assert_false(watch_turn(hub, 1)); /* no busy loop for a stream that takes nothing */
        assert_true(strlen(listen(fast)) > 0);
    }
    assert_int_equal(watch_counts(hub).unsynced, 2);
    assert_int_equal(f.store->scans, 0);
    watch_request_progress(slow);
    int64_t next[2] = {2, 2}, header;
    size_t size, total = 0;
    work_calls = 0;
    for (int turn = 0; next[0] < 102 || next[1] < 102; turn++) {
        assert_true(turn < 100);
        Etcdserverpb__WatchResponse *got;
        size_t held = 0;
        while ((got = take(slow, &header, &size))) {
            held += size;
            for (size_t i = 0; i < got->n_events; i++)
                assert_int_equal(got->events[i]->kv->mod_revision, next[got->watch_id]++);
            etcdserverpb__watch_response__free_unpacked(got, NULL);
        }
        assert_true(held <= 10000 + 600 + 100);
        total += held;
        watch_turn(hub, 1);
    }
    assert_true(work_calls > 0);
    assert_true(total > 2 * 100 * 500);
    assert_int_equal(watch_counts(hub).unsynced, 0);
    fake_put(f.store, hub, "a");
    assert_string_equal(listen(slow), "@102 #0 put a=102 | @102 #1 put a=102");
    watch_stream_close(slow);
    watch_stream_close(fast);
    watch_hub_free(hub);
}

/* Very many readers that stop: together they hold about as much as the limit of all. A client that reads is
 * served all the while, and in the end every client has everything, once. */
static void test_stalled_crowd(void **state)
{
    (void)state;
    enum { CROWD = 300, PUTS = 200, SIZE = 2000, TOTAL = 10 << 20 };
    static struct watch_stream *crowd[CROWD];
    static int64_t next[CROWD];
    struct watch_options o = {.store = f.store, .total_bytes_max = TOTAL};
    struct watch_hub *hub = watch_hub_new(&o);
    Etcdserverpb__WatchCreateRequest r = request_of("a", NULL, 0);
    Etcdserverpb__WatchResponse *got;
    int ready = 0;
    int64_t header;
    struct watch_stream *reader = watch_stream_open(hub, count_ready, &ready);
    watch_create(reader, &r, NULL);
    for (int i = 0; i < CROWD; i++) {
        crowd[i] = watch_stream_open(hub, count_ready, &ready);
        watch_create(crowd[i], &r, NULL);
        next[i] = 2;
    }
    listen(reader);
    size_t most = 0;
    for (int i = 0; i < PUTS; i++) {
        fake_add(f.store, "a", false, SIZE);
        fake_commit(f.store, hub);
        watch_turn(hub, 1);
        assert_true(strlen(listen(reader)) > 0);
        most = watch_counts(hub).queued_bytes > most ? watch_counts(hub).queued_bytes : most;
    }
    assert_int_equal(watch_counts(hub).unsynced, CROWD);
    assert_int_equal(f.store->scans, 0);
    assert_in_range(most, TOTAL / 2, TOTAL + CROWD * (SIZE + 500));
    int left = CROWD;
    for (int turn = 0; left; turn++) {
        assert_true(turn < PUTS);
        for (int i = 0; i < CROWD; i++)
            while ((got = take(crowd[i], &header, NULL))) {
                for (size_t k = 0; k < got->n_events; k++)
                    assert_int_equal(got->events[k]->kv->mod_revision, next[i]++);
                left -= next[i] == PUTS + 2;
                etcdserverpb__watch_response__free_unpacked(got, NULL);
            }
        watch_turn(hub, 1);
    }
    assert_int_equal(watch_counts(hub).unsynced, 0);
    assert_int_equal(watch_counts(hub).queued_bytes, 0);
    for (int i = 0; i < CROWD; i++)
        watch_stream_close(crowd[i]);
    watch_stream_close(reader);
    watch_hub_free(hub);
}

static void test_stalled_reader_meets_compaction(void **state)
{
    (void)state;
    struct watch_hub *hub =
        watch_hub_new(&(struct watch_options){.store = f.store, .stream_bytes_max = 2000});
    int ready = 0;
    struct watch_stream *s = watch_stream_open(hub, count_ready, &ready);
    Etcdserverpb__WatchCreateRequest r = request_of("a", NULL, 0);
    watch_create(s, &r, NULL);
    listen(s);
    for (int i = 0; i < 10; i++) {
        fake_add(f.store, "a", false, 500);
        fake_commit(f.store, hub);
    }
    f.store->compact_revision = 7;
    watch_turn(hub, 1);
    assert_string_equal(listen(s), "@5 #0 put a=2 put a=3 put a=4 put a=5");
    assert_false(watch_turn(hub, 1));
    assert_string_equal(listen(s), "@0 #0 canceled compact=7");
    assert_int_equal(watch_counts(hub).watchers, 0);
    r.start_revision = 7;
    watch_create(s, &r, NULL);
    watch_turn(hub, 1);
    assert_string_equal(listen(s), "@11 #1 created | @11 #1 put a=7 put a=8 put a=9 put a=10");
    watch_turn(hub, 1);
    assert_string_equal(listen(s), "@11 #1 put a=11");
    watch_stream_close(s);
    watch_hub_free(hub);
}

static void test_store_replaced(void **state)
{
    (void)state;
    fake_put(f.store, f.hub, "a"); /* 2 */
    watch("a", NULL, 0);
    watch("a", NULL, 6);
    watch("a", NULL, 2);
    watch_turn(f.hub, 1);
    assert_string_equal(listen(f.s), "@2 #0 created | @2 #1 created | @2 #2 created | @2 #2 put a=2");
    fake_put(f.store, f.hub, "a"); /* 3, still queued when the snapshot comes */
    struct store *other = mem_copy(f.store, sizeof *f.store);
    for (int i = 0; i < 4; i++) /* 4 to 7 */
        fake_put(other, NULL, "a");
    watch_store_replaced(f.hub, other);
    watch_request_progress(f.s);
    watch_turn(f.hub, 1);
    assert_string_equal(listen(f.s), "@7 #0 put a=3 put a=4 put a=5 put a=6 put a=7 | "
                                     "@7 #2 put a=3 put a=4 put a=5 put a=6 put a=7 | "
                                     "@7 #1 put a=6 put a=7");
    watch("a", NULL, 10);
    fake_put(other, NULL, "a"); /* 8 */
    watch_store_replaced(f.hub, other);
    watch_turn(f.hub, 1);
    fake_put(other, f.hub, "a"); /* 9 */
    listen(f.s);
    fake_put(other, f.hub, "a"); /* 10 */
    assert_string_equal(listen(f.s), "@10 #3 put a=10 | @10 #0 put a=10 | @10 #1 put a=10 | @10 #2 put a=10");
    other->compact_revision = 14;
    for (int i = 0; i < 5; i++)
        fake_put(other, NULL, "a");
    watch_store_replaced(f.hub, other);
    watch_turn(f.hub, 1);
    assert_non_null(strstr(listen(f.s), "@0 #3 canceled compact=14"));
    assert_int_equal(watch_counts(f.hub).watchers, 0);
    mem_free(f.store);
    f.store = other;
}

static void test_cancel_all_and_full(void **state)
{
    (void)state;
    watch("a", NULL, 0);
    watch("b", NULL, 0);
    assert_false(watch_is_full(f.s));
    watch_cancel_all(f.s, "etcdserver: no leader");
    assert_string_equal(listen(f.s),
                        "@1 #0 created | @1 #1 created | @1 #0 canceled (etcdserver: no leader) | "
                        "@1 #1 canceled (etcdserver: no leader)");
    for (int i = 0; i < 9000; i++) {
        assert_false(i < 8192 && watch_is_full(f.s));
        watch("a", NULL, 0);
        watch_cancel(f.s, 2 + i);
    }
    assert_true(watch_is_full(f.s));
    struct watch_output out;
    while (watch_next(f.s, &out))
        ;
    assert_false(watch_is_full(f.s));
}

static void test_large_events_are_not_copied(void **state)
{
    (void)state;
    watch("", "", 0);
    watch("", "", 0);
    listen(f.s);
    fake_add(f.store, "a", false, 100);
    fake_add(f.store, "b", false, 1 << 20);
    fake_add(f.store, "c", false, 100);
    fake_add(f.store, "d", false, 5000);
    fake_commit(f.store, f.hub);
    struct watch_output out[2];
    const uint8_t *big[2];
    for (int i = 0; i < 2; i++) {
        assert_true(watch_next(f.s, &out[i]));
        assert_int_equal(out[i].count, 4);
        assert_true(out[i].pieces[1].size > 1 << 20);
        big[i] = out[i].pieces[1].data;
    }
    assert_ptr_equal(big[0], big[1]);
    assert_false(watch_next(f.s, &out[0]));
}

/* A response that its owner composes in parts is the same response; nothing else gets in between. */
static void test_parts(void **state)
{
    (void)state;
    watch("", "", 0);
    watch("", "", 0);
    listen(f.s);
    fake_add(f.store, "a", false, 300);
    fake_add(f.store, "b", false, 300);
    fake_add(f.store, "c", false, 5000);
    fake_add(f.store, "d", false, 300);
    fake_commit(f.store, f.hub);
    struct watch_output out;
    struct buf whole = {0}, parts = {0};
    assert_false(watch_next_is_long(f.s, 1 << 20));
    assert_true(watch_next(f.s, &out));
    assert_int_equal(out.left, 0);
    for (size_t i = 0; i < out.count; i++)
        buf_add_slice(&whole, out.pieces[i]);
    for (unsigned n = 0; n == 0 || out.left; n++) {
        assert_true(watch_next_is_long(f.s, 500) || n > 0);
        assert_true(watch_next_part(f.s, 500, &out));
        assert_int_equal(out.is_rest, n > 0);
        for (size_t i = 0; i < out.count; i++)
            buf_add_slice(&parts, out.pieces[i]);
        assert_true(n < 3);
        if (n == 0) {
            assert_true(parts.size < 1000);
            watch_request_progress(f.s);
        }
    }
    Etcdserverpb__WatchResponse *r = etcdserverpb__watch_response__unpack(NULL, parts.size, parts.data);
    assert_int_equal(r->watch_id, 1);
    assert_int_equal(r->n_events, 4);
    assert_false(r->fragment);
    etcdserverpb__watch_response__free_unpacked(r, NULL);
    assert_int_equal(parts.size, whole.size + 2); /* #0 needs no field for its number */
    assert_string_equal(listen(f.s), "@2 #-1");
    assert_int_equal(watch_counts(f.hub).queued_bytes, 0);
    buf_done(&whole);
    buf_done(&parts);
}

/* The next response, in outputs of at most size_max; returns how many they were, 0: there is none. */
static unsigned take_response(struct watch_stream *s, size_t part_bytes, size_t size_max, struct buf *ret)
{
    struct watch_output out = {0};
    unsigned n = 0;
    buf_clear(ret);
    do {
        if (!watch_next_part(s, part_bytes, &out))
            return 0;
        assert_int_equal(out.is_rest, n > 0);
        size_t before = ret->size;
        for (size_t i = 0; i < out.count; i++)
            buf_add_slice(ret, out.pieces[i]);
        assert_in_range(ret->size - before, 1, size_max);
        n++;
    } while (out.left);
    return n;
}

/* Fragments that their owner composes in parts are the fragments of one that does not. */
static void test_fragments_in_parts(void **state)
{
    (void)state;
    struct watch_hub *hub =
        watch_hub_new(&(struct watch_options){.store = f.store, .response_bytes_max = 2500});
    struct watch_stream *s[2];
    struct buf text[2] = {{0}, {0}};
    int ready = 0;
    for (int i = 0; i < 2; i++) {
        s[i] = watch_stream_open(hub, count_ready, &ready);
        Etcdserverpb__WatchCreateRequest r = request_of("", "", 0);
        r.fragment = true;
        watch_create(s[i], &r, NULL);
        listen(s[i]);
    }
    for (int i = 0; i < 8; i++)
        assert_true(fake_add(f.store, (char[2]){(char)('a' + i), 0}, false, i == 3 ? 5000 : 700));
    fake_commit(f.store, hub);
    unsigned responses = 0, outputs = 0, n;
    assert_true(watch_next_is_long(s[1], 1000));
    while ((n = take_response(s[1], 1000, 6000, &text[1]))) {
        outputs += n;
        responses++;
        assert_int_equal(take_response(s[0], SIZE_MAX, SIZE_MAX, &text[0]), 1);
        assert_true(slice_equal(buf_slice(&text[0]), buf_slice(&text[1])));
    }
    assert_int_equal(take_response(s[0], SIZE_MAX, SIZE_MAX, &text[0]), 0);
    assert_int_equal(responses, 4);
    assert_int_equal(outputs, 6); /* ab-c, d, ef-g, h */
    assert_int_equal(watch_counts(hub).queued_bytes, 0);
    for (int i = 0; i < 2; i++) {
        watch_stream_close(s[i]);
        buf_done(&text[i]);
    }
    watch_hub_free(hub);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(test_level_watchers),
        T(test_refusals),
        T(test_ids_count_from_0_and_skip_used_ones),
        T(test_limit_of_watchers),
        T(test_room_of_sources),
        T(test_past_and_future),
        T(test_filters_and_previous),
        T(test_compaction),
        T(test_ended_keeps_id),
        T(test_revisions_join_while_the_stream_waits),
        T(test_response_limits),
        T(test_fragments),
        T(test_fragments_in_parts),
        T(test_parts),
        T(test_progress),
        T(test_progress_notify),
        T(test_progress_ticks_are_spread),
        T(test_stalled_reader),
        T(test_stalled_crowd),
        T(test_stalled_reader_meets_compaction),
        T(test_store_replaced),
        T(test_cancel_all_and_full),
        T(test_large_events_are_not_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
