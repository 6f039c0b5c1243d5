/* SPDX-License-Identifier: Apache-2.0
 * Tests of the cache of decoded releases: hits, evictions, and no stale reads. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "config/recent.h"
#include "tests/unit/config_node.h"

static struct recent recent;

static struct recent_release *read_size(const char *key, int64_t revision, size_t size)
{
    struct buf content = {0}, text = {0};
    for (size_t i = 0; i < size; i++)
        buf_add_byte(&content, 'x');
    struct config_release r = {.operation = CONFIG_PUBLISH, .content = buf_slice(&content)};
    r.digest = digest_of(r.content);
    config_release_write(&r, &text);
    struct recent_release *e = recent_read(&recent, slice_text(key), revision, buf_slice(&text));
    buf_done(&text);
    buf_done(&content);
    return e;
}

static bool has(const char *key, int64_t revision)
{
    struct recent_release *e = recent_get(&recent, slice_text(key), revision);
    recent_unref(e);
    return e != NULL;
}

static void test_kept(void **state)
{
    (void)state;
    recent_init(&recent, NULL);
    struct recent_release *a = read_size("a", 5, 10), *b = recent_get(&recent, slice_text("a"), 5);
    assert_ptr_equal(a, b);
    assert_int_equal(a->release.content.size, 10);
    assert_false(has("b", 5));
    assert_false(has("a", 6)); /* it was written again: the cached one is dropped */
    assert_false(has("a", 5));
    assert_int_equal(a->release.content.data[9], 'x'); /* but not for a caller that holds it */
    recent_unref(a);
    recent_unref(b);
    recent_unref(read_size("a", 7, 11));
    recent_unref(read_size("a", 8, 12)); /* in the place of the other */
    assert_true(has("a", 8));
    assert_null(recent_read(&recent, slice_text("c"), 1, slice_text("{")));
    assert_false(has("c", 1));
    recent_done(&recent);
}

static void test_bounded(void **state)
{
    (void)state;
    char key[16];
    recent_init(&recent, NULL);
    for (int i = 0; i < 12; i++) {
        snprintf(key, sizeof key, "k%d", i);
        recent_unref(read_size(key, 1, RECENT_BYTES_MAX / 10));
        assert_true(has("k0", 1)); /* it is used again and again */
        assert_in_range(recent.bytes, 1, RECENT_BYTES_MAX);
    }
    assert_true(has("k11", 1));
    assert_false(has("k1", 1));
    struct recent_release *huge = read_size("huge", 1, RECENT_BYTES_MAX);
    assert_true(has("huge", 1)); /* the newest stays, alone */
    assert_int_equal(recent.entries.count, 1);
    recent_done(&recent);
    assert_int_equal(huge->release.content.size, RECENT_BYTES_MAX);
    recent_unref(huge);
}

static void expect_text(struct config_node *n, uint64_t seq, const char *text)
{
    struct config_reply a = config_node_read(n, "app", seq);
    assert_int_equal(a.err, OK);
    assert_string_equal(a.text, text);
}

/* A release under the same key that was replaced in any way. */
static void test_not_stale(void **state)
{
    (void)state;
    struct config_node n = {0};
    config_node_open(&n, NULL);
    const struct config_id app = config_id_of("app");
    assert_int_equal(config_node_publish(&n, "app", "one").err, OK);
    assert_null(config_read_recent(n.config, &app, 1)); /* it was never read */
    expect_text(&n, 1, "one");
    expect_text(&n, 0, "one");
    const struct config_release *recent_one = config_read_recent(n.config, &app, 1);
    assert_non_null(recent_one);
    assert_true(slice_equal(recent_one->content, slice_text("one")));
    assert_null(config_read_recent(n.config, &app, 2));
    config_node_put_raw(&n, CONFIG_RELEASE, "app", 1,
                        "{\"operation\":\"publish\",\"type\":\"text\",\"size\":5,\"md5\":"
                        "\"0123456789abcdef0123456789abcdef\",\"sha256\":"
                        "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\",\"content\":"
                        "\"other\"}");
    assert_null(config_read_recent(n.config, &app, 1));
    expect_text(&n, 1, "other");
    assert_non_null(config_read_recent(n.config, &app, 1));
    config_node_put_raw(&n, CONFIG_RELEASE, "app", 1, "{");
    assert_int_equal(config_node_read(&n, "app", 1).err, ERR_NOT_FOUND);
    config_node_put_raw(&n, CONFIG_RELEASE, "app", 1, NULL);
    assert_null(config_read_recent(n.config, &app, 1));
    assert_int_equal(config_node_read(&n, "app", 1).err, ERR_NOT_FOUND);
    assert_int_equal(config_node_publish(&n, "app", "two").err, OK);
    expect_text(&n, 0, "two");
    config_node_close(&n);
}

/* A release that the head does not name any more is not kept. */
static void test_superseded(void **state)
{
    (void)state;
    struct config_node n = {0};
    config_node_open(&n, NULL);
    const struct config_id app = config_id_of("app");
    assert_int_equal(config_node_publish(&n, "app", "one").err, OK);
    expect_text(&n, 0, "one");
    for (int i = 0; i < 20; i++)
        (void)config_node_settle(&n);
    assert_non_null(config_read_recent(n.config, &app, 1));
    assert_int_equal(config_node_publish(&n, "app", "two").err, OK);
    expect_text(&n, 0, "two");
    for (int i = 0; i < 20; i++)
        (void)config_node_settle(&n);
    assert_null(config_read_recent(n.config, &app, 1));
    assert_non_null(config_read_recent(n.config, &app, 2));
    config_node_close(&n);
}

/* The head that is returned with a content is the view's or the store's: both are equal. */
static void test_head(void **state)
{
    (void)state;
    struct config_node n = {0};
    config_node_open(&n, NULL);
    struct config_publish p = {.key = config_id_of("app"),
                               .content = slice_text("one"),
                               .title = slice_text("a title"),
                               .note = slice_text("a note")};
    assert_int_equal(config_node_publish_with(&n, &p).err, OK);
    struct config_reply a = config_node_read(&n, "app", 0);
    assert_true(a.has_head);
    assert_int_equal(a.head.seq, 1);
    assert_string_equal(a.title, "a title");
    const char *rule = "{\"match\":{\"zone\":[\"b\"]},\"content\":\"gray\"}";
    assert_int_equal(config_node_gray(&n, "app", "r", rule).err, OK);
    a = config_node_read(&n, "app", 0);
    assert_true(a.has_head);
    assert_int_equal(a.head.last_seq, 2);
    assert_int_equal(a.head.gray.count, 1);
    config_node_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept),       cmocka_unit_test(test_bounded), cmocka_unit_test(test_not_stale),
        cmocka_unit_test(test_superseded), cmocka_unit_test(test_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
