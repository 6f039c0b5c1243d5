/* SPDX-License-Identifier: Apache-2.0
 * Tests of writes whose contents the worker checks: the same results as for small contents, the order of one
 * configuration's writes, cancellation, and the state after a stop. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/config_node.h"

enum { LARGE = 300000 };

static int setup(void **state)
{
    struct config_node *n = mem_new(sizeof *n);
    config_node_open(n, NULL);
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

/* "a: 1\n" and a comment that makes it this long. */
static struct slice large(struct buf *text, const char *line)
{
    buf_clear(text);
    buf_add_text(text, line);
    while (text->size < LARGE)
        buf_add_text(text, "# a comment\n");
    return buf_slice(text);
}

static struct config_publish publish_of(const char *name, struct slice content)
{
    return (struct config_publish){.key = config_id_of(name), .content = content};
}

static void wait_all(struct config_node *n, struct config_reply *a, size_t count)
{
    for (size_t i = 0; i < count; i++)
        config_node_wait(n, &a[i]);
}

static void test_outcomes(void **state)
{
    struct config_node *n = *state;
    struct buf text = {0};
    struct config_publish p = publish_of("a.yaml", large(&text, "a: 1\na: 2\n"));
    struct config_reply a = config_node_publish_with(n, &p);
    assert_int_equal(a.err, ERR_MALFORMED);
    assert_int_equal(a.result.where.line, 2);
    p = publish_of("a.yaml", large(&text, "a: 1\n"));
    p.only_validate = true;
    assert_int_equal(config_node_publish_with(n, &p).err, OK);
    assert_null(config_node_find(n, "a.yaml"));
    p.only_validate = false;
    assert_int_equal(config_node_publish_with(n, &p).result.seq, 1);
    assert_true(config_node_publish_with(n, &p).result.is_unchanged);
    const struct digest digest = digest_of(p.content);
    assert_true(digest_equal(&config_node_find(n, "a.yaml")->head->digest, &digest));
    assert_int_equal(config_node_publish(n, "a.yaml", "a: 2\n").result.seq, 2);
    assert_int_equal(config_node_rollback(n, "a.yaml", 1).result.seq, 3);
    a = config_node_read(n, "a.yaml", 0);
    assert_int_equal(a.release.content.size, p.content.size);
    assert_true(digest_equal(&a.release.digest, &digest));
    buf_done(&text);
}

/* Contents that are stored as base64, and whole again when they are read. */
static void test_encoded(void **state)
{
    struct config_node *n = *state;
    struct buf text = {0};
    for (size_t i = 0; i < LARGE; i++)
        buf_add_byte(&text, (uint8_t)(i * 7));
    struct config_publish p = publish_of("a.bin", buf_slice(&text));
    p.has_format = true;
    p.format = FORMAT_BIN;
    assert_int_equal(config_node_publish_with(n, &p).err, OK);
    const struct digest digest = digest_of(p.content);
    struct config_id key = config_id_of("a.bin");
    assert_int_equal(config_node_read(n, "a.bin", 0).err, OK);
    const struct config_release *r = config_read_recent(n->config, &key, 1);
    assert_non_null(r);
    assert_true(slice_equal(r->content, p.content));
    assert_true(digest_equal(&r->digest, &digest));
    buf_done(&text);
}

/* A large one first, then small ones and a bundle: all of one configuration, in the order of their begin. */
static void test_order(void **state)
{
    struct config_node *n = *state;
    struct config_reply a[5];
    struct buf text = {0};
    for (size_t i = 0; i < 5; i++)
        a[i] = config_reply();
    struct config_publish p = publish_of("a.yaml", large(&text, "v: 0\n"));
    config_publish(n->config, &a[0].request, &p);
    p = publish_of("a.yaml", slice_text("v: 1\n"));
    config_publish(n->config, &a[1].request, &p);
    struct config_publish both[] = {publish_of("b.yaml", slice_text("v: 0\n")),
                                    publish_of("a.yaml", slice_text("v: 2\n"))};
    config_bundle(n->config, &a[2].request, both, 2, NULL, 0);
    p = publish_of("b.yaml", slice_text("v: 1\n"));
    config_publish(n->config, &a[3].request, &p);
    p = publish_of("c.yaml", slice_text("v: 0\n")); /* another one waits for none */
    config_publish(n->config, &a[4].request, &p);
    config_node_wait(n, &a[4]);
    assert_false(a[1].is_done || a[2].is_done || a[3].is_done);
    wait_all(n, a, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(a[i].err, OK);
    assert_int_equal(a[0].result.seq, 1);
    assert_int_equal(a[1].result.seq, 2);
    assert_int_equal(a[3].result.seq, 2);
    assert_string_equal(config_node_read(n, "a.yaml", 3).text, "v: 2\n");
    assert_string_equal(config_node_read(n, "b.yaml", 0).text, "v: 1\n");
    buf_done(&text);
}

/* A published draft is read first, then checked: later requests do not overtake it. */
static void test_draft_order(void **state)
{
    struct config_node *n = *state;
    struct config_reply a = config_reply(), b = config_reply();
    struct buf text = {0};
    struct config_publish p = publish_of("a.yaml", large(&text, "v: 1\n"));
    config_put_draft(n->config, &a.request, &p);
    config_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    a = config_reply();
    config_publish_draft(n->config, &a.request, &p.key, (struct slice){0}, (struct slice){0}, NULL);
    p = publish_of("a.yaml", slice_text("v: 2\n"));
    config_publish(n->config, &b.request, &p);
    config_node_wait(n, &a);
    config_node_wait(n, &b);
    assert_int_equal(a.result.seq, 1);
    assert_int_equal(b.result.seq, 2);
    buf_done(&text);
}

/* A request that is canceled before it was sent has no effect; those after it continue. */
static void test_cancel(void **state)
{
    struct config_node *n = *state;
    struct config_reply a[4];
    struct buf text = {0};
    for (size_t i = 0; i < 4; i++)
        a[i] = config_reply();
    struct config_publish p = publish_of("a.yaml", large(&text, "v: 0\n"));
    config_publish(n->config, &a[0].request, &p);
    config_publish(n->config, &a[1].request, &p); /* waits for its turn */
    p.content = slice_text("v: 2\n");
    config_publish(n->config, &a[2].request, &p);
    config_cancel(n->config, &a[0].request);
    config_cancel(n->config, &a[1].request);
    config_node_wait(n, &a[2]);
    assert_int_equal(a[2].err, OK);
    assert_int_equal(a[2].result.seq, 1);
    assert_false(a[0].is_done || a[1].is_done);
    one_node_run_ms(&n->node, 50); /* the worker returns with a result that no client waits for */
    config_node_settle(n);
    assert_int_equal(config_node_find(n, "a.yaml")->head->last_seq, 1);
    buf_done(&text);
}

/* Only requests beyond the queue's limit are refused. */
static void test_too_many(void **state)
{
    enum { COUNT = 80 };
    struct config_node *n = *state;
    struct config_reply *a = mem_new(COUNT * sizeof *a);
    struct buf text = {0};
    size_t refused = 0;
    large(&text, "v: 0\n");
    while (text.size < 1 << 20)
        buf_add_text(&text, "# much more of it\n");
    text.size = 1 << 20;
    for (size_t i = 0; i < COUNT; i++) {
        char name[32];
        snprintf(name, sizeof name, "a%zu.yaml", i);
        a[i] = config_reply();
        a[i].request.author.address = slice_text("192.0.2.1");
        struct config_publish p = publish_of(name, buf_slice(&text));
        p.only_validate = true;
        config_publish(n->config, &a[i].request, &p);
    }
    wait_all(n, a, COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        assert_true(a[i].err == OK || a[i].err == ERR_TOO_MANY_REQUESTS);
        refused += a[i].err != OK;
    }
    assert_int_equal(refused, COUNT - 16); /* a quarter of 64 MiB for one client */
    assert_non_null(strstr(a[COUNT - 1].error, "try again"));
    buf_done(&text);
    mem_free(a);
}

static void test_stop(void **state)
{
    struct config_node *n = *state;
    struct config_reply a[3];
    struct buf text = {0};
    struct config_publish p = publish_of("a.yaml", large(&text, "v: 0\n"));
    for (size_t i = 0; i < 3; i++) {
        a[i] = config_reply();
        config_publish(n->config, &a[i].request, &p);
    }
    config_free(n->config);
    n->config = NULL;
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(a[i].err, ERR_STOPPED);
    buf_done(&text);
}

int main(void)
{
#define WITH(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(test_outcomes), WITH(test_encoded),  WITH(test_order), WITH(test_draft_order),
        WITH(test_cancel),   WITH(test_too_many), WITH(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
