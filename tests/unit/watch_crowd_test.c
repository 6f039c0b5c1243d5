/* SPDX-License-Identifier: Apache-2.0
 * Very many watchers of one key: a turn serves a bounded number of them, the others follow in the next turns,
 * and each gets each revision exactly once and in order. */
#include "tests/unit/watch_fake.h"

#include <stdlib.h>

/* LIVE_OFFERS_MAX of watch_deliver.c; a scan adapts its length to SCAN_OFFERS_MAX after it was longer. */
enum { WATCHERS_MAX = 120000, LIVE_MAX = 100000, SCAN_MAX = 100000 };

struct crowd {
    struct store *store;
    struct watch_hub *hub;
    struct watch_stream *streams[WATCHERS_MAX];
    size_t stream_count, watchers_each;
    int64_t last[WATCHERS_MAX]; /* of each watcher: its last revision */
    size_t events;              /* since the last look */
    int ready;
};

static struct crowd crowd;

static void put(void)
{
    assert_true(fake_add(crowd.store, "key", false, 10));
    assert_true(fake_commit(crowd.store, crowd.hub));
}

static void take_all(size_t stream)
{
    Etcdserverpb__WatchResponse *r;
    int64_t header;
    while ((r = take(crowd.streams[stream], &header, NULL))) {
        int64_t *last = &crowd.last[stream * crowd.watchers_each + (size_t)r->watch_id];
        for (size_t i = 0; i < r->n_events; i++) {
            assert_int_equal(r->events[i]->kv->mod_revision, *last + 1);
            ++*last;
            crowd.events++;
        }
        etcdserverpb__watch_response__free_unpacked(r, NULL);
    }
}

/* Events since the last call, of all streams. */
static size_t take_events(void)
{
    crowd.events = 0;
    for (size_t i = 0; i < crowd.stream_count; i++)
        take_all(i);
    return crowd.events;
}

static void begin(size_t streams, size_t watchers_each)
{
    memset(&crowd, 0, sizeof crowd);
    crowd.stream_count = streams;
    crowd.watchers_each = watchers_each;
    crowd.store = fake_new();
    crowd.hub = watch_hub_new(&(struct watch_options){.store = crowd.store, .progress_interval_ms = 1000000});
    for (size_t i = 0; i < streams; i++) {
        crowd.streams[i] = watch_stream_open(crowd.hub, count_ready, &crowd.ready);
        for (size_t k = 0; k < watchers_each; k++) {
            Etcdserverpb__WatchCreateRequest r = request_of("key", NULL, 0);
            watch_create(crowd.streams[i], &r, NULL);
        }
    }
    for (size_t i = 0; i < streams * watchers_each; i++)
        crowd.last[i] = crowd.store->revision;
    assert_int_equal(take_events(), 0);
}

static void end(void)
{
    for (size_t i = 0; i < crowd.stream_count; i++)
        watch_stream_close(crowd.streams[i]);
    assert_int_equal(watch_counts(crowd.hub).unsynced, 0);
    watch_hub_free(crowd.hub);
    mem_free(crowd.store);
}

/* Turns until nobody is behind; no turn delivers more than it may. */
static void settle(void)
{
    for (unsigned turn = 0; watch_counts(crowd.hub).unsynced; turn++) {
        assert_true(turn < 1000);
        (void)watch_turn(crowd.hub, 1);
        assert_in_range(take_events(), 0, SCAN_MAX);
    }
    (void)watch_turn(crowd.hub, 1);
    assert_in_range(take_events(), 0, SCAN_MAX);
    for (size_t i = 0; i < crowd.stream_count * crowd.watchers_each; i++)
        assert_int_equal(crowd.last[i], crowd.store->revision);
}

static void serve(size_t streams, size_t watchers_each)
{
    begin(streams, watchers_each);
    put();
    assert_int_equal(take_events(), LIVE_MAX);
    assert_true(watch_counts(crowd.hub).unsynced > 0);
    settle();
    for (unsigned i = 0; i < 6; i++) { /* some are behind by several revisions */
        put();
        if (i % 3 == 0)
            (void)watch_turn(crowd.hub, 1);
        assert_in_range(take_events(), 0, LIVE_MAX + SCAN_MAX);
    }
    settle();
    end();
}

static void test_many_streams(void **state)
{
    (void)state;
    serve(WATCHERS_MAX, 1);
}

static void test_streams_of_many(void **state)
{
    (void)state;
    serve(20, WATCHERS_MAX / 20);
}

static void test_two_streams(void **state)
{
    (void)state;
    serve(2, WATCHERS_MAX / 2);
}

/* A stream that is far behind does not keep the others from the present. */
static void test_one_far_behind(void **state)
{
    (void)state;
    begin(100, 1);
    for (unsigned i = 0; i < 2000; i++) {
        put();
        for (size_t s = 1; s < crowd.stream_count; s++)
            take_all(s);
        if (i % 500 == 0)
            (void)watch_turn(crowd.hub, 1);
    }
    settle();
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_streams),
        cmocka_unit_test(test_streams_of_many),
        cmocka_unit_test(test_two_streams),
        cmocka_unit_test(test_one_far_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
