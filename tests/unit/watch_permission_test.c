/* SPDX-License-Identifier: Apache-2.0
 * Tests of the rights of open watchers (watch_permission.c): a judge that forbids first letters, watchers
 * level and behind, pending responses, fragments in flight, and many watchers judged over several turns. */
#include "watch_fake.h"

static const char *forbidden; /* first letters of keys */
static unsigned judgments;

static const char *judge(void *arg, struct slice key, struct slice range_end)
{
    (void)arg, (void)range_end;
    judgments++;
    return strchr(forbidden, key.data[0]) && key.data[0] ? "denied" : NULL;
}

struct fixture {
    struct store *store;
    struct watch_hub *hub;
    struct watch_stream *s;
    int ready;
};

static struct fixture open_hub(size_t response_bytes_max)
{
    struct fixture f = {.store = fake_new()};
    f.hub =
        watch_hub_new(&(struct watch_options){.store = f.store, .response_bytes_max = response_bytes_max});
    static int ready;
    ready = 0;
    f.s = watch_stream_open(f.hub, count_ready, &ready);
    watch_stream_set_permission_check(f.s, judge);
    forbidden = "";
    judgments = 0;
    return f;
}

static void close_hub(struct fixture *f)
{
    watch_stream_close(f->s);
    watch_hub_free(f->hub);
    mem_free(f->store);
}

static void watch(struct fixture *f, const char *key, const char *end, int64_t from)
{
    Etcdserverpb__WatchCreateRequest r = request_of(key, end, from);
    r.fragment = true;
    watch_create(f->s, &r, NULL);
}

static void put(struct fixture *f, const char *key, size_t size)
{
    assert_true(fake_add(f->store, key, false, size));
    assert_true(fake_commit(f->store, f->hub));
}

/* "#0 created", "#0 a a b" for events, "#0 canceled denied"; all pending responses. */
static const char *listen(struct watch_stream *s)
{
    static char heard[1 << 18];
    size_t n = 0;
    int64_t header;
    struct watch_output out;
    heard[0] = 0;
    while (watch_next(s, &out)) {
        struct buf b = {0};
        for (size_t i = 0; i < out.count; i++)
            buf_add_slice(&b, out.pieces[i]);
        header = out.header_revision;
        Etcdserverpb__WatchResponse *r = etcdserverpb__watch_response__unpack(NULL, b.size, b.data);
        assert_non_null(r);
        n +=
            (size_t)snprintf(heard + n, sizeof heard - n, "%s#%ld%s%s%s", n ? " | " : "", r->watch_id,
                             r->created ? " created" : "", r->canceled ? " canceled " : "", r->cancel_reason);
        for (size_t i = 0; i < r->n_events; i++)
            n += (size_t)snprintf(heard + n, sizeof heard - n, " %.*s", (int)r->events[i]->kv->key.len,
                                  (const char *)r->events[i]->kv->key.data);
        if (r->fragment)
            n += (size_t)snprintf(heard + n, sizeof heard - n, " ...");
        etcdserverpb__watch_response__free_unpacked(r, NULL);
        buf_done(&b);
    }
    (void)header;
    return heard;
}

static void no_queued_event_is_sent_under_old_rights(void **state)
{
    (void)state;
    struct fixture f = open_hub(0);
    watch(&f, "a", NULL, 0);
    watch(&f, "b", NULL, 0);
    assert_string_equal(listen(f.s), "#0 created | #1 created");
    put(&f, "a", 4);
    put(&f, "b", 4);
    forbidden = "a";
    watch_recheck_permissions(f.hub);
    put(&f, "a", 4); /* applied after the change, before any watcher was judged */
    assert_string_equal(listen(f.s), "#1 b | #0 canceled denied");
    put(&f, "a", 4);
    put(&f, "b", 4);
    assert_string_equal(listen(f.s), "#1 b");
    assert_int_equal(watch_counts(f.hub).watchers, 1);
    unsigned before = judgments;
    put(&f, "b", 4);
    listen(f.s);
    assert_int_equal(judgments, before); /* once a change, not once an event */
    close_hub(&f);
}

static void an_idle_watcher_ends_in_the_turn(void **state)
{
    (void)state;
    struct fixture f = open_hub(0);
    watch(&f, "a", "b", 0);
    watch(&f, "a", "", 0);
    watch(&f, "c", NULL, 0);
    listen(f.s);
    forbidden = "a";
    watch_recheck_permissions(f.hub);
    watch_turn(f.hub, 1);
    assert_true(watch_has_next(f.s));
    assert_string_equal(listen(f.s), "#0 canceled denied | #1 canceled denied");
    /* Its id is free for another. */
    forbidden = "";
    Etcdserverpb__WatchCreateRequest again = request_of("a", NULL, 0);
    again.watch_id = 1;
    watch_create(f.s, &again, NULL);
    assert_string_equal(listen(f.s), "#1 created");
    close_hub(&f);
}

static void created_comes_before_canceled(void **state)
{
    (void)state;
    struct fixture f = open_hub(0);
    watch(&f, "a", NULL, 0);
    put(&f, "a", 4);
    forbidden = "a";
    watch_recheck_permissions(f.hub);
    assert_string_equal(listen(f.s), "#0 created | #0 canceled denied");
    close_hub(&f);
}

static void watchers_behind_end_too(void **state)
{
    (void)state;
    struct fixture f = open_hub(0);
    for (int i = 0; i < 5; i++)
        put(&f, "a", 4);
    watch(&f, "a", NULL, 1);
    forbidden = "a";
    watch_recheck_permissions(f.hub);
    for (int i = 0; i < 5; i++)
        watch_turn(f.hub, 1);
    assert_string_equal(listen(f.s), "#0 created | #0 canceled denied");
    assert_int_equal(watch_counts(f.hub).unsynced, 0);
    close_hub(&f);
}

/* An event of a watcher that its client has canceled, whose id another one has now. */
static void an_id_that_was_used_before(void **state)
{
    (void)state;
    struct fixture f = open_hub(0);
    watch(&f, "a", NULL, 0);
    put(&f, "a", 4);
    watch_cancel(f.s, 0);
    Etcdserverpb__WatchCreateRequest c = request_of("c", NULL, 0), d = request_of("d", NULL, 0);
    watch_create(f.s, &c, NULL); /* 1 */
    d.watch_id = 7;
    watch_create(f.s, &d, NULL);
    put(&f, "d", 4);
    watch_cancel(f.s, 7);
    c.watch_id = 7;
    watch_create(f.s, &c, NULL);
    forbidden = "ad";
    watch(&f, "a", NULL, 0); /* created before it is judged: the refused one */
    watch_recheck_permissions(f.hub);
    const char *heard = listen(f.s);
    assert_null(strstr(heard, " a"));
    assert_null(strstr(heard, " d "));
    assert_non_null(strstr(heard, "canceled denied"));
    put(&f, "c", 4);
    assert_string_equal(listen(f.s), "#1 c | #7 c");
    close_hub(&f);
}

/* etcd's client keeps the first fragments until the last one; anything else of the stream waits for it. */
static void fragments_that_have_begun_are_ended_first(void **state)
{
    (void)state;
    struct fixture f = open_hub(4000);
    struct watch_output out;
    watch(&f, "a", "b", 0);
    watch(&f, "c", NULL, 0);
    listen(f.s);
    for (int i = 0; i < 4; i++) {
        char key[8];
        snprintf(key, sizeof key, "a%d", i);
        assert_true(fake_add(f.store, key, false, 2000));
    }
    assert_true(fake_add(f.store, "c", false, 4));
    assert_true(fake_commit(f.store, f.hub));
    assert_true(watch_next(f.s, &out)); /* some of #0 */
    forbidden = "a";
    watch_recheck_permissions(f.hub);
    assert_string_equal(listen(f.s), "#0 canceled denied | #1 c");
    close_hub(&f);
}

/* Nothing of a response has been sent while its owner composes it: the rest is dropped. */
static void a_response_in_parts_is_dropped(void **state)
{
    (void)state;
    struct fixture f = open_hub(0);
    struct watch_output out;
    Etcdserverpb__WatchCreateRequest r = request_of("a", "b", 0);
    watch_create(f.s, &r, NULL);
    listen(f.s);
    for (int i = 0; i < 4; i++) {
        char key[8];
        snprintf(key, sizeof key, "a%d", i);
        assert_true(fake_add(f.store, key, false, 2000));
    }
    assert_true(fake_commit(f.store, f.hub));
    assert_true(watch_next_part(f.s, 1000, &out));
    assert_true(out.left > 6000);
    forbidden = "a";
    watch_recheck_permissions(f.hub);
    assert_true(watch_next_part(f.s, 1000, &out));
    assert_false(out.is_rest);
    assert_int_equal(out.left, 0);
    assert_false(watch_has_next(f.s));
    close_hub(&f);
}

/* A fragment has gone out, and the next one is being composed: it does not come, and the end goes first. */
static void a_fragment_in_parts_is_dropped(void **state)
{
    (void)state;
    struct fixture f = open_hub(4000);
    struct watch_output out;
    watch(&f, "a", "b", 0);
    watch(&f, "c", NULL, 0);
    listen(f.s);
    for (int i = 0; i < 6; i++) {
        char key[8];
        snprintf(key, sizeof key, "a%d", i);
        assert_true(fake_add(f.store, key, false, 1000));
    }
    assert_true(fake_add(f.store, "c", false, 4));
    assert_true(fake_commit(f.store, f.hub));
    do
        assert_true(watch_next_part(f.s, 500, &out)); /* some of #0 */
    while (out.left);
    assert_true(watch_next_part(f.s, 500, &out));
    assert_false(out.is_rest);
    assert_in_range(out.left, 1000, 2500);
    forbidden = "a";
    watch_recheck_permissions(f.hub);
    assert_string_equal(listen(f.s), "#0 canceled denied | #1 c");
    assert_int_equal(watch_counts(f.hub).queued_bytes, 0);
    close_hub(&f);
}

/* More watchers than are judged in a turn: until the last of them is judged, the stream sends nothing. */
static void many_are_judged_in_slices(void **state)
{
    (void)state;
    enum { MANY = 10000 };
    struct fixture f = open_hub(0);
    struct watch_output out;
    for (int i = 0; i < MANY; i++)
        watch(&f, i % 100 ? "b" : "a", NULL, 0);
    while (watch_next(f.s, &out))
        ;
    forbidden = "a";
    watch_recheck_permissions(f.hub);
    put(&f, "b", 4);
    put(&f, "a", 4);
    unsigned turns = 0, canceled = 0;
    bool has_more = true;
    while (has_more) {
        unsigned before = judgments;
        has_more = watch_turn(f.hub, 1);
        assert_true(judgments - before <= 4096);
        turns++;
        if (has_more)
            assert_false(watch_next(f.s, &out));
    }
    assert_true(turns >= 3);
    const char *heard = NULL;
    for (const char *at = heard = listen(f.s); (at = strstr(at, "canceled")); at++)
        canceled++;
    assert_true(canceled > 0);
    assert_null(strstr(heard, " a"));
    assert_int_equal(watch_counts(f.hub).watchers, MANY - MANY / 100);
    assert_int_equal(judgments, MANY);
    close_hub(&f);
}

static void without_a_judge_no_permission_is_checked(void **state)
{
    (void)state;
    struct fixture f = open_hub(0);
    static int ready;
    struct watch_stream *own = watch_stream_open(f.hub, count_ready, &ready);
    Etcdserverpb__WatchCreateRequest r = request_of("a", NULL, 0);
    watch_create(own, &r, NULL);
    forbidden = "a";
    watch_recheck_permissions(f.hub);
    put(&f, "a", 4);
    watch_turn(f.hub, 1);
    assert_string_equal(listen(own), "#0 created | #0 a");
    watch_stream_close(own);
    close_hub(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_queued_event_is_sent_under_old_rights),
        cmocka_unit_test(an_idle_watcher_ends_in_the_turn),
        cmocka_unit_test(created_comes_before_canceled),
        cmocka_unit_test(watchers_behind_end_too),
        cmocka_unit_test(an_id_that_was_used_before),
        cmocka_unit_test(fragments_that_have_begun_are_ended_first),
        cmocka_unit_test(a_response_in_parts_is_dropped),
        cmocka_unit_test(a_fragment_in_parts_is_dropped),
        cmocka_unit_test(many_are_judged_in_slices),
        cmocka_unit_test(without_a_judge_no_permission_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
