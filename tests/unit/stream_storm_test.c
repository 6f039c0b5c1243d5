/* SPDX-License-Identifier: Apache-2.0
 * Tests of streams of configurations under load: changes that come faster than their contents can be read,
 * and expensive frames. */
#include "tests/unit/stream_world.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/text.h"
#include "tests/unit/unit.h"

#define expect_frame stream_client_expect_frame

static struct stream_world world;

enum { STORM_NAMES = 1024, STORM_CHANGES = 512 };

/* All changes of each name; the index of a change plus 1 is its seq. */
static struct {
    size_t count;
    struct {
        int64_t revision;
        bool is_deleted;
    } list[STORM_CHANGES];
} past[STORM_NAMES];

static int open_world(void **state)
{
    (void)state;
    struct stream_options options = {.mark_ms = 3600 * 1000, .read = stream_reads_read};
    memset(past, 0, sizeof past);
    memset(&world, 0, sizeof world);
    stream_reads = (struct stream_reads){0};
    stream_world_open(&world, &options, NULL);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    stream_world_close(&world);
    one_node_remove(&world.node);
    return 0;
}

/* --- the changes, and the received ones ----------------------------------------------------------------- */

static const char *name_of(size_t n)
{
    return stream_text("n%zu", n);
}

static void change(size_t n, bool is_deleted)
{
    size_t k = past[n].count;
    assert_true(n < STORM_NAMES && k < STORM_CHANGES);
    const char *name = name_of(n);
    char content[64];
    snprintf(content, sizeof content, "%zu of %s", k + 1, name);
    past[n].list[k].is_deleted = is_deleted;
    past[n].list[k].revision = is_deleted ? stream_world_unpublish(&world, name)
                                          : stream_world_publish(&world, name, slice_text(content));
    past[n].count++;
}

/* The next change of it is later than the promised revision; k 0 = before the first. */
static bool is_last_before(size_t n, size_t k, int64_t revision)
{
    return k == past[n].count || past[n].list[k].revision > revision;
}

static void check_item(size_t n, json_t *item, int64_t revision)
{
    size_t k = 0;
    if (!item) {
        while (!((k == 0 || past[n].list[k - 1].is_deleted) && is_last_before(n, k, revision)))
            if (++k > past[n].count)
                fail_msg("at %d n%zu should be there", (int)revision, n);
        return;
    }
    json_t *content = json_object_get(item, "content");
    k = (size_t)json_integer_value(json_object_get(item, "seq"));
    assert_true(k > 0 && k <= past[n].count && !past[n].list[k - 1].is_deleted);
    assert_int_equal(json_integer_value(json_object_get(item, "revision")), past[n].list[k - 1].revision);
    if (!is_last_before(n, k, revision))
        fail_msg("at %d n%zu has %zu", (int)revision, n, k);
    if (content)
        assert_string_equal(json_string_value(content), stream_text("%zu of n%zu", k, n));
    else
        assert_non_null(json_object_get(item, "md5"));
}

struct listener {
    struct stream_client client;
    struct stream_model model;
    int64_t had[STORM_NAMES]; /* revisions: of an item never an older one after a newer one */
    size_t only;              /* name; STORM_NAMES = all */
};

static void listen_to(struct listener *l, size_t only)
{
    memset(l, 0, sizeof *l);
    l->model.sid = 1;
    l->only = only;
    stream_client_hello(&l->client, &world, "");
    stream_client_subscribe(&l->client, 1, only < STORM_NAMES ? "config" : "configs",
                            only < STORM_NAMES ? stream_text(",\"name\":\"n%zu\"", only) : "");
}

/* Reads all pending frames. It checks after each frame: every content was published, nothing up to its
 * revision is missing, and no content is older than before. */
static void receive_all(struct listener *l)
{
    while (stream_client_receives(&l->client, 0)) {
        stream_model_take(&l->model, buf_text(&l->client.message));
        if (l->model.parts)
            continue;
        for (size_t n = 0; n < STORM_NAMES; n++) {
            json_t *item = json_object_get(l->model.items, name_of(n));
            if (l->only < STORM_NAMES && n != l->only)
                continue;
            check_item(n, item, l->model.revision);
            int64_t has = json_integer_value(json_object_get(item, "revision"));
            assert_true(!item || has >= l->had[n]);
            l->had[n] = item ? has : l->had[n];
        }
    }
}

/* Until it has a state at this revision or later of the name: within a bounded time, while nothing else
 * happens. */
static void hear_of(struct listener *l, size_t n, int64_t revision)
{
    uint64_t end = clock_mono_ms() + 60000;
    for (receive_all(l); l->had[n] < revision; receive_all(l))
        assert_true(clock_mono_ms() < end);
}

/* Until it has everything, as of some revision; likewise. */
static void receive_state(struct listener *l)
{
    uint64_t end = clock_mono_ms() + 60000;
    for (receive_all(l); !l->model.snapshots; receive_all(l))
        assert_true(clock_mono_ms() < end);
}

/* A change whose content is requested; only then all earlier requested contents arrive. At every moment one
 * is still pending. */
static void change_late(size_t n)
{
    size_t before = stream_reads.held_count;
    change(n, false);
    while (stream_reads.held_count == before)
        stream_world_run_ms(&world, 1);
    stream_reads_finish(stream_reads.held_count - 1);
    stream_world_run_ms(&world, 3);
}

static void end_storm(struct listener *l, size_t count)
{
    stream_reads.is_held = false;
    stream_reads_finish(stream_reads.held_count);
    for (size_t i = 0; i < count; i++) {
        for (size_t n = 0; n < STORM_NAMES; n++) {
            size_t k = past[n].count;
            if (k && !past[n].list[k - 1].is_deleted && (l[i].only == STORM_NAMES || l[i].only == n))
                hear_of(&l[i], n, past[n].list[k - 1].revision);
        }
        stream_client_expect_nothing(&l[i].client);
        stream_model_done(&l[i].model);
        stream_client_close(&l[i].client);
    }
}

/* --- changes that come faster than contents --------------------------------------------------------- */

/* Each time another name: all are sent, with their contents, one change late. */
static void test_storm_of_names(void **state)
{
    (void)state;
    static struct listener l[2];
    size_t n = 1;
    change(0, false);
    listen_to(&l[0], STORM_NAMES);
    hear_of(&l[0], 0, 1);
    stream_reads.is_held = true;
    for (; !l[0].model.deltas; receive_all(&l[0]))
        change_late(n++);
    for (size_t end = n + 30; n < end; n++) {
        change_late(n);
        hear_of(&l[0], n - 1, past[n - 1].list[0].revision);
        const json_t *item = json_object_get(l[0].model.items, name_of(n - 1));
        assert_non_null(json_object_get(item, "content"));
        assert_true(l[0].model.revision >= past[n - 1].list[0].revision);
        assert_true(l[0].model.revision < past[n].list[0].revision);
    }
    /* A new subscriber gets everything; for the item whose content is not in memory it learns that it exists.
     */
    listen_to(&l[1], STORM_NAMES);
    receive_state(&l[1]);
    for (size_t i = 0; i < n; i++) {
        json_t *item = json_object_get(l[1].model.items, name_of(i));
        assert_non_null(item);
        assert_true(!json_object_get(item, "content") == (i == n - 1));
    }
    assert_true(l[1].model.revision < past[n - 1].list[0].revision);
    receive_all(&l[0]);
    assert_int_equal(l[0].model.snapshots, 1);
    end_storm(l, 2);
}

/* Always the same name: it is sent by reference now and then. Clients that are served later get it too, and
 * so do clients that subscribe in between. When the storm is over, it is sent with its content again. */
static void test_storm_of_one(void **state)
{
    (void)state;
    static struct listener l[5];
    change(0, false);
    listen_to(&l[0], 0);
    listen_to(&l[1], STORM_NAMES);
    hear_of(&l[0], 0, 1);
    hear_of(&l[1], 0, 1);
    stream_reads.is_held = true;
    while (l[0].model.deltas < 3 || l[1].model.deltas < 3) {
        change_late(0);
        receive_all(&l[0]);
        receive_all(&l[1]);
    }
    assert_true(past[0].count / 2 > l[0].model.deltas);
    listen_to(&l[2], 0);
    while (!l[2].model.snapshots || l[2].model.deltas < 2) {
        change_late(0);
        for (size_t i = 0; i < 3; i++)
            receive_all(&l[i]);
    }
    /* Two clients see a state each before either is notified. */
    listen_to(&l[3], 0);
    receive_state(&l[3]);
    change_late(0);
    listen_to(&l[4], 0);
    receive_state(&l[4]);
    stream_reads.is_held = false;
    stream_reads_finish(stream_reads.held_count);
    for (size_t i = 0; i < 5; i++)
        hear_of(&l[i], 0, past[0].list[past[0].count - 1].revision);
    stream_world_run_ms(&world, 200);
    change(0, false);
    for (size_t i = 0; i < 5; i++) {
        hear_of(&l[i], 0, past[0].list[past[0].count - 1].revision);
        assert_non_null(json_object_get(json_object_get(l[i].model.items, "n0"), "content"));
    }
    end_storm(l, 5);
}

/* All events, in any order. */
static void test_storm(void **state)
{
    (void)state;
    enum { NAMES = 6 };
    static struct listener l[4];
    uint32_t random = 1;
    size_t count = 0;
    for (size_t i = 0; i < NAMES; i++)
        change(i, false);
    for (unsigned i = 0; i < 1200; i++) {
        if (i % 300 == 0)
            listen_to(&l[count++], i == 300 ? 0 : STORM_NAMES);
        stream_reads.is_held = i > 20 && i % 400 < 350;
        random = random * 1664525 + 1013904223;
        size_t n = random >> 20 & 3 ? (random >> 16) % NAMES : 0; /* one more often */
        size_t k = past[n].count;
        change(n, (random >> 24) % 8 == 0 && !past[n].list[k - 1].is_deleted);
        if (!stream_reads.is_held)
            stream_reads_finish(stream_reads.held_count);
        else
            stream_reads_finish(stream_reads.held_count > 20 ? 20 : (random >> 27) % 3);
        stream_world_run_ms(&world, 1);
        for (size_t c = 0; c < count; c++)
            receive_all(&l[c]);
    }
    for (size_t c = 0; c < count; c++)
        assert_true(l[c].model.deltas > 50);
    end_storm(l, count);
}

/* --- frames that cost much ------------------------------------------------------------------------------ */

/* Each reading of the clock takes longer than a turn may. */
static const struct io_ops *real_ops;
static uint64_t skew_ns, step_ns;

static uint64_t slow_mono_ns(struct io *io)
{
    return real_ops->mono_ns(io) + (skew_ns += step_ns);
}

static size_t count_turns(void)
{
    size_t turns = 1;
    config_turn(world.config);
    step_ns = (uint64_t)10 * 1000 * 1000;
    while (stream_server_turn(world.stream))
        turns++;
    step_ns = 0;
    return turns;
}

/* A frame may be expensive: the turn ends between two connections, and between two subscriptions of one. */
static void test_slice(void **state)
{
    (void)state;
    enum { CLIENTS = 5, MORE = 4 };
    static struct stream_client c[CLIENTS];
    static struct io_ops slow; /* to the end: time never goes back */
    slow = *world.node.io->ops;
    real_ops = world.node.io->ops;
    slow.mono_ns = slow_mono_ns;
    world.node.io->ops = &slow;
    stream_world_publish(&world, "app", slice_text("live"));
    stream_world_put_gray(&world, "app", "r", "{\"match\":{\"x\":[\"1\"]},\"content\":\"x\"}", "gray");
    for (size_t i = 0; i < CLIENTS; i++) {
        stream_client_hello(&c[i], &world, "");
        stream_client_subscribe(&c[i], 1, "configs", "");
        expect_frame(&c[i], "snapshot", "\"content\":\"live\"");
    }
    for (int i = 0; i < MORE; i++) {
        stream_client_subscribe(&c[0], i + 2, "configs", "");
        expect_frame(&c[0], "snapshot", "");
    }
    world.is_held = true;
    one_node_delete(&world.node, "/cairn/config/heads/", "/cairn/config/heads0");
    assert_true(count_turns() >= CLIENTS + MORE);
    world.is_held = false;
    for (size_t i = 0; i < CLIENTS; i++) {
        for (int k = 0; k < (i ? 1 : 1 + MORE); k++)
            expect_frame(&c[i], "delta", "\"delete\":[\"app\"]");
        stream_client_close(&c[i]);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_storm_of_names),
        TEST(test_storm_of_one),
        TEST(test_storm),
        TEST(test_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
