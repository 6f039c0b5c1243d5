/* SPDX-License-Identifier: Apache-2.0
 * Tests of retention. It keeps the newest releases by number and age, never removes a live or gray release,
 * and removes deleted items completely, in small transactions. The ages are those in the documents. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "base/metric.h"
#include "tests/unit/config_node.h"

#define DIGESTS                                                                                              \
    "\"size\":1,\"md5\":\"0123456789abcdef0123456789abcdef\","                                               \
    "\"sha256\":\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\""
#define OLD 1000

static int setup(void **state)
{
    struct config_node *n = mem_new(sizeof *n);
    struct config_options options = {.releases_kept = 3, .releases_kept_s = 86400};
    config_node_open(n, &options);
    *state = n;
    return 0;
}

static int teardown(void **state)
{
    struct config_node *n = *state;
    config_node_close(n);
    mem_free(n);
    return 0;
}

static int64_t now_ms(struct config_node *n)
{
    return (int64_t)(n->node.io->ops->wall_ns(n->node.io) / 1000000);
}

static void put_release(struct config_node *n, const char *name, uint64_t seq, int64_t time_ms)
{
    char text[512];
    snprintf(text, sizeof text,
             "{\"operation\":\"publish\",\"type\":\"text\",\"time_ms\":%lld," DIGESTS ",\"content\":\"x\"}",
             (long long)time_ms);
    config_node_put_raw(n, CONFIG_RELEASE, name, seq, text);
}

static void put_head(struct config_node *n, const char *name, uint64_t seq, const char *more)
{
    char text[512];
    snprintf(text, sizeof text, "{\"seq\":%llu,\"type\":\"text\"," DIGESTS "%s}", (unsigned long long)seq,
             more);
    config_node_put_raw(n, CONFIG_HEAD, name, 0, text);
}

struct wanted {
    struct config_node *n;
    const char *name;
    size_t releases;
};

static bool is_collected(void *arg)
{
    struct wanted *w = arg;
    return config_node_keys(w->n, CONFIG_RELEASE, w->name) == w->releases;
}

static void wait_for(struct config_node *n, const char *name, size_t releases)
{
    one_node_run(&n->node, is_collected, &(struct wanted){n, name, releases});
}

static bool is_there(struct config_node *n, const char *name, uint64_t seq)
{
    return config_node_read(n, name, seq).err == OK;
}

/* "done" is collected last: then all earlier items were examined. */
static void wait_for_turn(struct config_node *n)
{
    put_release(n, "done", 1, OLD);
    for (uint64_t seq = 2; seq <= 4; seq++)
        put_release(n, "done", seq, now_ms(n));
    put_head(n, "done", 4, "");
    wait_for(n, "done", 3);
}

static void test_number_and_age(void **state)
{
    struct config_node *n = *state;
    /* Old releases beyond the newest three; 5 and 6 are young; 2 is gray; 9 is the newest, 4 is live. */
    for (uint64_t seq = 1; seq <= 9; seq++)
        put_release(n, "a", seq, seq == 5 || seq == 6 ? now_ms(n) : OLD);
    double collected = metric_get(METRIC_CONFIG_COLLECTED);
    put_head(n, "a", 4, ",\"last_seq\":9,\"gray\":[{\"name\":\"r\",\"seq\":2}]");
    wait_for(n, "a", 7);
    wait_for_turn(n);
    assert_false(is_there(n, "a", 1));
    assert_false(is_there(n, "a", 3));
    for (uint64_t seq = 4; seq <= 9; seq++)
        assert_true(is_there(n, "a", seq));
    assert_true(is_there(n, "a", 2));
    assert_true(metric_get(METRIC_CONFIG_COLLECTED) >= collected + 2);
    /* The history continues after the hole. */
    assert_int_equal(config_node_rollback(n, "a", 5).result.seq, 10);
}

/* The newest releases stay, however old; also in an item with few. */
static void test_few(void **state)
{
    struct config_node *n = *state;
    for (uint64_t seq = 1; seq <= 3; seq++)
        put_release(n, "a", seq, OLD);
    put_head(n, "a", 3, ",\"time_ms\":1");
    wait_for_turn(n);
    assert_int_equal(config_node_keys(n, CONFIG_RELEASE, "a"), 3);
}

/* More than one transaction deletes; an unreadable release stays and blocks nothing. */
static void test_many(void **state)
{
    struct config_node *n = *state;
    for (uint64_t seq = 1; seq <= 110; seq++)
        put_release(n, "a", seq, OLD);
    config_node_put_raw(n, CONFIG_RELEASE, "a", 7, "{");
    put_head(n, "a", 110, "");
    wait_for(n, "a", 4);
    assert_true(is_there(n, "a", 108));
}

static void test_deleted(void **state)
{
    struct config_node *n = *state;
    char text[200];
    for (uint64_t seq = 1; seq <= 70; seq++)
        put_release(n, "a", seq, seq < 65 ? OLD : now_ms(n));
    config_node_put_raw(n, CONFIG_DRAFT, "a", 0, "{}");
    config_node_put_raw(n, CONFIG_HEAD, "a", 0,
                        "{\"seq\":70,\"type\":\"text\",\"deleted\":true,\"time_ms\":1}");
    wait_for(n, "a", 0);
    config_node_settle(n);
    assert_null(config_node_find(n, "a"));
    assert_int_equal(config_node_keys(n, CONFIG_HEAD, "a"), 0);
    assert_int_equal(config_node_keys(n, CONFIG_DRAFT, "a"), 1); /* another client's write */
    /* Deleted just now: only old releases are removed. */
    put_release(n, "b", 1, OLD);
    for (uint64_t seq = 2; seq <= 5; seq++)
        put_release(n, "b", seq, now_ms(n));
    snprintf(text, sizeof text, "{\"seq\":5,\"type\":\"text\",\"deleted\":true,\"time_ms\":%lld}",
             (long long)now_ms(n));
    config_node_put_raw(n, CONFIG_HEAD, "b", 0, text);
    wait_for(n, "b", 4);
    wait_for_turn(n);
    assert_int_equal(config_node_keys(n, CONFIG_RELEASE, "b"), 4);
    assert_true(config_node_find(n, "b")->head->is_deleted);
}

/* By the clock: a published release becomes old by itself. */
static void test_time_passes(void **state)
{
    (void)state;
    struct config_node n = {0};
    struct config_options options = {.releases_kept = 2, .releases_kept_s = 1};
    config_node_open(&n, &options);
    char text[16];
    for (int i = 0; i < 6; i++) {
        snprintf(text, sizeof text, "%d", i);
        config_node_publish(&n, "a", text);
    }
    assert_int_equal(config_node_keys(&n, CONFIG_RELEASE, "a"), 6);
    config_node_publish(&n, "b", "x");
    config_node_delete(&n, "b");
    wait_for(&n, "a", 2);
    wait_for(&n, "b", 0);
    assert_string_equal(config_node_read(&n, "a", 0).text, "5");
    assert_int_equal(config_node_publish(&n, "b", "x").result.seq, 1);
    config_node_close(&n);
}

/* --- bounds: releases that are removed however young ---------------------------------------------------- */

static void open_bounded(struct config_node *n, uint64_t releases_max, uint64_t history_bytes_max)
{
    struct config_options options = {.releases_kept = 3,
                                     .releases_kept_s = 86400,
                                     .releases_max = releases_max,
                                     .history_bytes_max = history_bytes_max};
    config_node_open(n, &options);
}

static void publish_many(struct config_node *n, const char *name, int count, size_t size)
{
    struct buf text = {0};
    for (int i = 0; i < count; i++) {
        buf_clear(&text);
        buf_addf(&text, "%d ", i);
        while (text.size < size)
            buf_add_byte(&text, 'x');
        assert_int_equal(config_node_publish(n, name, buf_text(&text)).err, OK);
    }
    buf_done(&text);
}

static void test_number(void **state)
{
    (void)state;
    struct config_node n = {0};
    open_bounded(&n, 10, 0);
    double young = metric_get(METRIC_CONFIG_OVER_BOUND);
    config_node_publish(&n, "a", "first");
    config_node_publish(&n, "a", "second");
    config_node_gray(&n, "a", "r", "{\"match\":{\"zone\":[\"b\"]},\"seq\":1}");
    publish_many(&n, "a", 100, 10);
    wait_for(&n, "a", 11);
    assert_true(is_there(&n, "a", 1)); /* a gray rule names it */
    for (uint64_t seq = 93; seq <= 102; seq++)
        assert_true(is_there(&n, "a", seq));
    assert_true(metric_get(METRIC_CONFIG_OVER_BOUND) - young == 91);
    publish_many(&n, "few", 10, 10);
    wait_for_turn(&n);
    assert_int_equal(config_node_keys(&n, CONFIG_RELEASE, "few"), 10);
    config_node_close(&n);
}

static bool is_within(void *arg)
{
    struct wanted *w = arg;
    return config_node_keys(w->n, CONFIG_RELEASE, w->name) <= w->releases;
}

static void test_bytes(void **state)
{
    (void)state;
    struct config_node n = {0};
    open_bounded(&n, 0, 20000);
    publish_many(&n, "a", 100, 1000); /* 1,3xx bytes each as a document */
    publish_many(&n, "few", 10, 1000);
    publish_many(&n, "large", 5, 30000); /* the newest three stay */
    wait_for(&n, "large", 3);
    one_node_run(&n.node, is_within, &(struct wanted){&n, "a", 16});
    wait_for_turn(&n);
    size_t left = config_node_keys(&n, CONFIG_RELEASE, "a");
    assert_in_range(left, 13, 16);
    assert_int_equal(config_node_keys(&n, CONFIG_RELEASE, "few"), 10);
    /* It continues: later releases count too, and are collected soon, not only after a minute. */
    publish_many(&n, "a", 5, 1001);
    wait_for(&n, "a", left);
    assert_true(is_there(&n, "a", 105));
    assert_int_equal(config_node_rollback(&n, "a", 104).err, OK);
    config_node_close(&n);
}

int main(void)
{
#define WITH(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(test_number_and_age),
        WITH(test_few),
        WITH(test_many),
        WITH(test_deleted),
        cmocka_unit_test(test_time_passes),
        cmocka_unit_test(test_number),
        cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
