/* SPDX-License-Identifier: Apache-2.0
 * Tests of inherited metadata in streams: a change of it reaches subscribers, instances begin and cease to match a
 * selector, a large service becomes a snapshot, and clients that resume get what has changed. */
#include "tests/unit/stream_fixture.h"

#include <stdio.h>

#include "tests/unit/unit.h"

#define SETTINGS "/cairn/registry/services/default/default/orders"

static int64_t put(const char *id, const char *metadata)
{
    return stream_world_put(&world, "orders", id,
                            stream_text("{\"host\":\"h\",\"port\":1,\"metadata\":{%s}}", metadata));
}

/* pairs: JSON without braces. */
static int64_t inherit(const char *pairs)
{
    return one_node_put(&world.node, SETTINGS, stream_text("{\"metadata\":{%s},\"inherit\":true}", pairs), 0);
}

static void subscribe(struct stream_client *c, const char *kind, const char *more)
{
    stream_client_subscribe(c, 1, kind, stream_text(",\"name\":\"orders\"%s", more));
}

static const char *value_of(const struct stream_model *m, const char *id, const char *key)
{
    const json_t *item = json_object_get(m->items, id), *inside = json_object_get(item, "instance");
    const json_t *metadata = json_object_get(inside ? inside : item, "metadata");
    const char *value = json_string_value(json_object_get(metadata, key));
    return value ? value : "";
}

static void follow(struct stream_client *c, struct stream_model *m, int64_t revision)
{
    while (m->revision < revision)
        stream_model_take(m, stream_client_next(c));
}

static void follow_changes(const char *kind, const char *a, const char *b)
{
    struct stream_client c;
    struct stream_model m = {.sid = 1};
    put("a", "\"team\":\"own\"");
    int64_t now = put("b", "");
    stream_client_hello(&c, &world, "");
    subscribe(&c, kind, "");
    follow(&c, &m, now);
    assert_string_equal(value_of(&m, b, "team"), "");
    follow(&c, &m, inherit("\"team\":\"shop\""));
    assert_string_equal(value_of(&m, a, "team"), "own");
    assert_string_equal(value_of(&m, b, "team"), "shop");
    follow(&c, &m, inherit("\"team\":\"pay\""));
    assert_string_equal(value_of(&m, b, "team"), "pay");
    follow(&c, &m, one_node_delete(&world.node, SETTINGS, NULL));
    assert_string_equal(value_of(&m, a, "team"), "own");
    assert_string_equal(value_of(&m, b, "team"), "");
    assert_true(m.snapshots == 1 && m.deltas == 3 && m.resyncs == 0);
    /* Other settings are no change of an instance. */
    one_node_put(&world.node, SETTINGS, "{\"protect_threshold\":0.5}", 0);
    stream_client_expect_nothing(&c);
    stream_model_done(&m);
    stream_client_close(&c);
}

static void test_changes(void **state)
{
    (void)state;
    follow_changes("service", "a", "b");
}

static void test_changes_of_many(void **state)
{
    (void)state;
    follow_changes("instances", "orders/a", "orders/b");
}

static void test_selector(void **state)
{
    (void)state;
    struct stream_client c;
    struct stream_model m = {.sid = 1};
    put("a", "\"team\":\"own\"");
    int64_t now = put("b", "");
    stream_client_hello(&c, &world, "");
    subscribe(&c, "service", ",\"filter\":{\"labels\":{\"team\":\"shop\"}}");
    follow(&c, &m, now);
    assert_int_equal(json_object_size(m.items), 0);
    follow(&c, &m, inherit("\"team\":\"shop\""));
    assert_int_equal(json_object_size(m.items), 1);
    assert_string_equal(value_of(&m, "b", "team"), "shop");
    follow(&c, &m, inherit("\"team\":\"pay\""));
    assert_int_equal(json_object_size(m.items), 0);
    stream_model_done(&m);
    stream_client_close(&c);
}

/* Too many for one delta: a snapshot, in parts. */
static void test_large_service(void **state)
{
    (void)state;
    struct stream_client c;
    struct stream_model m = {.sid = 1};
    int64_t now = 0;
    for (int i = 0; i < 600; i++)
        now = one_node_put(&world.node,
                           stream_text("/cairn/registry/instances/default/default/orders/i%03d", i),
                           "{\"host\":\"h\",\"port\":1}", 0);
    stream_client_hello(&c, &world, "");
    subscribe(&c, "service", "");
    follow(&c, &m, now);
    while (m.snapshots < 1)
        stream_model_take(&m, stream_client_next(&c));
    now = inherit("\"team\":\"shop\"");
    stream_client_expect(&c, "{\"type\":\"resync\",\"sid\":1,\"reason\":\"overflow\"}");
    while (m.snapshots < 2)
        stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(json_object_size(m.items), 600);
    assert_true(m.revision >= now && m.deltas == 0);
    assert_string_equal(value_of(&m, "i000", "team"), "shop");
    assert_string_equal(value_of(&m, "i599", "team"), "shop");
    stream_model_done(&m);
    stream_client_close(&c);
}

/* The number of items that a client gets which says what it has. */
static size_t resumed(const char *known, const char *id, const char *team)
{
    struct stream_client c;
    struct stream_model m = {.sid = 1, .items = json_object()};
    stream_client_hello(&c, &world, "");
    subscribe(&c, "service", stream_text(",\"known\":[%s]", known));
    while (!m.deltas)
        stream_model_take(&m, stream_client_next(&c));
    size_t count = json_object_size(m.items);
    if (count)
        assert_string_equal(value_of(&m, id, "team"), team);
    stream_model_done(&m);
    stream_client_close(&c);
    return count;
}

/* The instance stays as it is, and what it inherits does not: set, changed, removed while the client was away. */
static void test_known(void **state)
{
    (void)state;
    char before[100], first[100], second[100];
    int old = (int)inherit("\"team\":\"shop\""), r = (int)put("a", "");
    snprintf(before, sizeof before, "{\"id\":\"a\",\"revision\":%d}", r);
    snprintf(first, sizeof first, "{\"id\":\"a\",\"revision\":%d,\"settings_revision\":%d}", r, old);
    assert_int_equal(resumed(before, "a", "shop"), 1);
    assert_int_equal(resumed(first, "a", "shop"), 0);
    int now = (int)inherit("\"team\":\"pay\"");
    assert_int_equal(resumed(first, "a", "pay"), 1);
    snprintf(second, sizeof second, "{\"id\":\"a\",\"revision\":%d,\"settings_revision\":%d}", r, now);
    assert_int_equal(resumed(second, "a", "pay"), 0);
    one_node_delete(&world.node, SETTINGS, NULL);
    assert_int_equal(resumed(second, "a", ""), 1);
    assert_int_equal(resumed(before, "a", ""), 0);
}

/* A client that resumes by its revision gets the difference. */
static void test_resume(void **state)
{
    (void)state;
    struct stream_client c;
    int64_t base = put("a", "");
    stream_client_hello(&c, &world, "");
    subscribe(&c, "service", "");
    stream_client_expect_frame(&c, "snapshot", "\"a\"");
    stream_client_close(&c);
    int64_t now = inherit("\"team\":\"shop\"");
    stream_client_hello(&c, &world, "");
    subscribe(&c, "service", stream_text(",\"from_revision\":%d", (int)base + 1));
    struct stream_model m = {.sid = 1, .revision = base, .items = json_object()};
    follow(&c, &m, now);
    assert_true(m.deltas == 1 && m.snapshots == 0);
    assert_string_equal(value_of(&m, "a", "team"), "shop");
    stream_model_done(&m);
    stream_client_close(&c);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_changes),       TEST(test_changes_of_many), TEST(test_selector),
        TEST(test_large_service), TEST(test_known),           TEST(test_resume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
