/* SPDX-License-Identifier: Apache-2.0
 * Tests of the streams' cache of releases. A release that the head of an item names stays, another one is
 * evicted, and the content counts against the budget of all caches. */
#include <stdio.h>

#include "server/stream/release.h"

#include "tests/unit/unit.h"
#include "tests/unit/config_node.h"

static struct config_node node;
static struct cache_budget budget;
static struct stream_releases *releases;

static void on_ready(struct stream_fetch *w)
{
    (void)w;
}

static void begin(size_t bytes_max)
{
    node = (struct config_node){0};
    config_node_open(&node, NULL);
    cache_budget_init(&budget, bytes_max);
    struct stream_releases_options options = {.config = node.config, .cache_budget = &budget};
    releases = stream_releases_new(&options);
}

static void end(void)
{
    stream_releases_free(releases);
    assert_int_equal(budget.bytes, 0);
    config_node_close(&node);
}

static struct stream_release_id id_of(const char *name, uint64_t seq)
{
    const struct config_id key = config_id_of(name);
    const struct config_item *item = config_find(node.config, &key);
    return (struct stream_release_id){key, item ? item->create_revision : 0, seq};
}

static bool has(const char *name, uint64_t seq)
{
    struct stream_release_id id = id_of(name, seq);
    return stream_releases_get(releases, &id) != NULL;
}

/* Requested, and read. */
static void want(const char *name, uint64_t seq)
{
    struct stream_fetch fetch = {.ready = on_ready};
    struct stream_release_id id = id_of(name, seq);
    stream_release_fetch(releases, &fetch, &id);
    for (int i = 0; i < 10 && !stream_releases_get(releases, &id); i++)
        (void)config_node_settle(&node);
    assert_non_null(stream_releases_get(releases, &id));
}

static void settle(const char *name)
{
    const struct config_id key = config_id_of(name);
    stream_releases_drop_superseded(releases, &key, config_find(node.config, &key));
}

static void test_superseded_ones_go(void **state)
{
    (void)state;
    begin(1 << 20);
    assert_int_equal(config_node_publish(&node, "app", "one").err, OK);
    assert_int_equal(config_node_publish(&node, "other", "one").err, OK);
    want("app", 1);
    want("other", 1);
    settle("app");
    assert_true(has("app", 1)); /* the head names it */
    assert_int_equal(config_node_publish(&node, "app", "two").err, OK);
    want("app", 2);
    size_t before = budget.bytes;
    settle("app");
    assert_false(has("app", 1));
    assert_true(has("app", 2));
    assert_true(has("other", 1));
    assert_true(budget.bytes < before);
    assert_int_equal(
        config_node_gray(&node, "app", "r", "{\"match\":{\"zone\":[\"b\"]},\"content\":\"gray\"}").err, OK);
    want("app", 3);
    settle("app");
    assert_true(has("app", 2)); /* the rule's beside the live one */
    assert_true(has("app", 3));
    end();
}

/* There is no notification of the change: it is detected all the same. */
static void test_stale_ones_are_found(void **state)
{
    (void)state;
    begin(1 << 20);
    for (uint64_t seq = 1; seq <= 20; seq++) {
        char text[16];
        snprintf(text, sizeof text, "text %d", (int)seq);
        assert_int_equal(config_node_publish(&node, "app", text).err, OK);
        want("app", seq);
    }
    assert_in_range(stream_releases_counts(releases).count, 1, 20);
    for (int i = 0; i < 200; i++)
        stream_releases_turn(releases, (uint64_t)i);
    assert_int_equal(stream_releases_counts(releases).count, 1);
    assert_true(has("app", 20));
    end();
}

static void test_budget_is_kept(void **state)
{
    (void)state;
    begin(8 << 10);
    for (int i = 0; i < 40; i++) {
        char name[16];
        snprintf(name, sizeof name, "app%d", i);
        assert_int_equal(config_node_publish(&node, name, "content").err, OK);
        want(name, 1);
        cache_budget_trim(&budget);
        assert_in_range(budget.bytes, 1, 8 << 10);
        assert_int_equal(budget.bytes, stream_releases_counts(releases).bytes);
    }
    assert_true(has("app39", 1));
    assert_false(has("app0", 1));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_superseded_ones_go),
        cmocka_unit_test(test_stale_ones_are_found),
        cmocka_unit_test(test_budget_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
