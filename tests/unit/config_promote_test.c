/* SPDX-License-Identifier: Apache-2.0
 * Tests of two namespaces: what a comparison says of each configuration, also of sealed ones, and what a
 * promotion copies, refuses and keeps. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "config/seal/keys.h"
#include "tests/unit/config_node.h"

#define KEY_A "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define KEY_B "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="

static struct seal_keys keys, other_keys;

static void parse(const char *text, struct seal_keys *ret)
{
    char error[200] = "";
    if (seal_keys_parse(slice_text(text), ret, error, sizeof error) != OK)
        fail_msg("%s", error);
}

static int setup(void **state)
{
    struct config_node *n = mem_new(sizeof *n);
    parse("a " KEY_A "\n", &keys);
    parse("b " KEY_B "\n", &other_keys);
    config_node_open(n, &(struct config_options){.keys = &keys});
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

static void put_policy(struct config_node *n, const char *ns, const char *text)
{
    struct arena a = {0};
    struct workflow_policy policy;
    char error[200] = "";
    struct config_reply r = config_reply();
    assert_int_equal(workflow_policy_request_read(slice_text(text), &a, &policy, error, sizeof error), OK);
    config_put_policy(n->config, &r.request, slice_text(ns), &policy);
    config_node_wait(n, &r);
    assert_int_equal(r.err, OK);
    arena_done(&a);
}

/* --- comparisons ---------------------------------------------------------------------------------------- */

struct compared {
    struct config_compare compare; /* first */
    struct buf text;               /* "name state seq to_seq;" of each item */
    bool is_done, has_more, cancels;
    int err;
    char last[200], error[400];
};

static struct config_node *canceling;

static void on_item(struct config_compare *q, const struct config_compared *item)
{
    static const char *const states[] = {"from", "to", "same", "differs", "unknown"};
    struct compared *x = container_of(q, struct compared, compare);
    buf_addf(&x->text, "%.*s %s %llu %llu;", (int)item->name.size, (const char *)item->name.data,
             states[item->state], (unsigned long long)item->from.seq, (unsigned long long)item->to.seq);
    snprintf(x->last, sizeof x->last, "%.*s/%.*s", (int)item->group.size, (const char *)item->group.data,
             (int)item->name.size, (const char *)item->name.data);
    if (item->error)
        snprintf(x->error, sizeof x->error, "%s", item->error);
    if (x->cancels)
        config_cancel(canceling->config, &q->request);
}

static void on_done(struct config_request *q, int err, const struct config_result *result)
{
    struct config_compare *c = container_of(q, struct config_compare, request);
    struct compared *x = container_of(c, struct compared, compare);
    x->is_done = true;
    x->err = err;
    x->has_more = result->has_more;
}

static bool is_compared(void *arg)
{
    return ((struct compared *)arg)->is_done;
}

static struct compared start_compare(const char *after, size_t limit)
{
    return (struct compared){.compare = {.request = {.done = on_done},
                                         .compared = on_item,
                                         .from = slice_text("dev"),
                                         .to = slice_text("prod"),
                                         .after = slice_text(after),
                                         .limit = limit}};
}

static void assert_compared(struct config_node *n, const char *after, size_t limit, const char *want,
                            bool has_more)
{
    struct compared x = start_compare(after, limit);
    config_compare(n->config, &x.compare);
    one_node_run(&n->node, is_compared, &x);
    assert_int_equal(x.err, OK);
    buf_add_byte(&x.text, 0);
    assert_string_equal((const char *)x.text.data, want);
    assert_int_equal(x.has_more, has_more);
    buf_done(&x.text);
}

static void test_compare(void **state)
{
    struct config_node *n = *state;
    assert_compared(n, "", 10, "", false);
    config_node_publish(n, "dev/g/a", "1");
    config_node_publish(n, "dev/g/b", "1");
    config_node_publish(n, "prod/g/b", "0");
    config_node_publish(n, "prod/g/b", "1");
    config_node_publish(n, "dev/g/c.json", "[1]");
    config_node_publish(n, "prod/g/c.json", "[2]");
    config_node_publish(n, "prod/g/d", "1");
    config_node_publish(n, "dev/h/a", "1");
    config_node_publish(n, "dev/h/gone", "1");
    config_node_publish(n, "prod/h/gone", "1");
    config_node_delete(n, "dev/h/gone");
    /* The same bytes in another format are not the same. */
    struct config_publish p = {.key = config_id_of("dev/h/type"),
                               .content = slice_text("{}"),
                               .has_format = true,
                               .format = FORMAT_JSON};
    config_node_publish_with(n, &p);
    p.key = config_id_of("prod/h/type");
    p.format = FORMAT_TEXT;
    config_node_publish_with(n, &p);
    assert_compared(
        n, "", 10,
        "a from 1 0;b same 1 2;c.json differs 1 1;d to 0 1;a from 1 0;gone to 0 1;type differs 1 1;", false);
    /* Pages. */
    assert_compared(n, "", 3, "a from 1 0;b same 1 2;c.json differs 1 1;", true);
    assert_compared(n, "g/c.json", 3, "d to 0 1;a from 1 0;gone to 0 1;", true);
    assert_compared(n, "h/gone", 3, "type differs 1 1;", false);
    assert_compared(n, "h/gone", 1, "type differs 1 1;", false);
    /* One namespace with itself. */
    struct compared x = start_compare("", 1);
    x.compare.to = slice_text("dev");
    config_compare(n->config, &x.compare);
    one_node_run(&n->node, is_compared, &x);
    assert_int_equal(x.err, ERR_INVALID);
}

/* More deleted items than are looked at in one piece. */
static void test_compare_many(void **state)
{
    struct config_node *n = *state;
    char name[40];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "dev/g/n%03d", i);
        config_node_publish(n, name, "x");
        if (i < 290)
            config_node_delete(n, name);
    }
    config_node_publish(n, "prod/g/n295", "x");
    assert_compared(
        n, "", 7,
        "n290 from 1 0;n291 from 1 0;n292 from 1 0;n293 from 1 0;n294 from 1 0;n295 same 1 1;n296 "
        "from 1 0;",
        true);
}

/* Digests of sealed contents are keyed by their names: the contents are opened. */
static void test_compare_sealed(void **state)
{
    struct config_node *n = *state;
    put_policy(n, "dev", "{\"review\":[],\"encrypt\":[\"*\"]}");
    put_policy(n, "prod", "{\"review\":[],\"encrypt\":[\"s*\"]}");
    config_node_publish(n, "dev/g/clear", "secret 1");
    config_node_publish(n, "prod/g/clear", "secret 1");
    config_node_publish(n, "dev/g/s-same", "secret 1");
    config_node_publish(n, "prod/g/s-same", "secret 1");
    config_node_publish(n, "dev/g/s-size", "secret 1");
    config_node_publish(n, "prod/g/s-size", "secret 10");
    config_node_publish(n, "dev/g/s-text", "secret 1");
    config_node_publish(n, "prod/g/s-text", "secret 2");
    assert_string_equal(config_node_find(n, "dev/g/s-same")->head->sealed.size ? "sealed" : "clear",
                        "sealed");
    assert_compared(n, "", 10, "clear same 1 1;s-same same 1 1;s-size differs 1 1;s-text differs 1 1;",
                    false);
    /* A caller that cancels while contents are read, or from inside the callback. */
    for (int turns = 0; turns < 12; turns++) {
        struct compared x = start_compare("", 10);
        config_compare(n->config, &x.compare);
        for (int i = 0; i < turns; i++)
            uv_run(&n->node.loop, UV_RUN_NOWAIT);
        config_cancel(n->config, &x.compare.request);
        buf_done(&x.text);
    }
    canceling = n;
    struct compared x = start_compare("", 10);
    x.cancels = true;
    config_compare(n->config, &x.compare);
    assert_compared(n, "", 1, "clear same 1 1;", true);
    assert_false(x.is_done);
    buf_done(&x.text);
}

/* --- promotions ----------------------------------------------------------------------------------------- */

static struct config_copied copied(const char *name, uint64_t seq, uint64_t to_seq)
{
    return (struct config_copied){slice_text("g"), slice_text(name), seq, to_seq};
}

static struct config_reply promote_with(struct config_node *n, const struct config_copied *list, size_t count,
                                        const char *note, bool is_dry)
{
    struct config_reply a = config_reply();
    config_promote(n->config, &a.request, slice_text("dev"), slice_text("prod"), list, count,
                   slice_text(note), is_dry);
    config_node_wait(n, &a);
    return a;
}

static struct config_reply promote(struct config_node *n, const struct config_copied *list, size_t count)
{
    return promote_with(n, list, count, "", false);
}

static void test_promote(void **state)
{
    struct config_node *n = *state;
    struct config_publish p = {.key = config_id_of("dev/g/a"),
                               .content = slice_text("[1]"),
                               .has_format = true,
                               .format = FORMAT_JSON,
                               .title = slice_text("t"),
                               .note = slice_text("why")};
    config_node_publish_with(n, &p);
    config_node_publish(n, "dev/g/b", "2");
    config_node_publish(n, "dev/g/c", "3");
    config_node_publish(n, "prod/g/b", "0");
    config_node_publish(n, "prod/g/c", "3");
    const struct config_copied list[] = {copied("a", 1, 0), copied("b", 1, 1), copied("c", 1, 1)};
    int64_t before = kv_revision(n->node.kv);
    struct config_reply a = promote_with(n, list, 3, "", true);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.written_count, 3);
    assert_int_equal(a.result.items, 2);
    assert_int_equal(kv_revision(n->node.kv), before);
    a = promote(n, list, 3);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.items, 2);
    assert_int_equal(kv_revision(n->node.kv), before + 1);
    a = config_node_read(n, "prod/g/a", 0);
    assert_string_equal(a.text, "[1]");
    assert_string_equal(a.title, "t");
    assert_string_equal(a.note, "why");
    assert_int_equal(a.release.format, FORMAT_JSON);
    assert_int_equal(a.release.operation, CONFIG_PUBLISH);
    assert_int_equal(a.release.origin_seq, 1);
    assert_string_equal(config_node_read(n, "prod/g/b", 0).text, "2");
    assert_int_equal(config_node_find(n, "prod/g/c")->head->seq, 1);
    /* Another note than that of the source. */
    p.content = slice_text("[2]");
    config_node_publish_with(n, &p);
    const struct config_copied again = copied("a", 2, 1);
    a = promote_with(n, &again, 1, "release 42", false);
    assert_int_equal(a.err, OK);
    assert_string_equal(config_node_read(n, "prod/g/a", 0).note, "release 42");
    /* Where it was deleted, it has no live release. */
    config_node_delete(n, "prod/g/b");
    const struct config_copied anew = copied("b", 1, 0);
    assert_int_equal(promote(n, &anew, 1).err, OK);
    assert_int_equal(config_node_find(n, "prod/g/b")->head->seq, 4);
}

/* A source or a target that has changed since the comparison: nothing is written. */
static void test_proof(void **state)
{
    struct config_node *n = *state;
    config_node_publish(n, "dev/g/a", "1");
    config_node_publish(n, "dev/g/b", "1");
    config_node_publish(n, "dev/g/b", "2");
    config_node_publish(n, "prod/g/b", "0");
    int64_t before = kv_revision(n->node.kv);
    struct config_copied list[] = {copied("a", 1, 0), copied("b", 1, 1)};
    struct config_reply a = promote(n, list, 2);
    assert_int_equal(a.err, ERR_PRECONDITION);
    assert_string_equal(a.culprit, "b");
    assert_false(a.has_head);
    assert_non_null(strstr(a.error, "release 1 of b is not live in namespace dev"));
    list[1] = copied("b", 2, 0);
    a = promote(n, list, 2);
    assert_int_equal(a.err, ERR_PRECONDITION);
    assert_true(a.has_head && a.head.seq == 1);
    list[1] = copied("b", 2, 2);
    assert_int_equal(promote(n, list, 2).err, ERR_PRECONDITION);
    list[1] = copied("none", 1, 0);
    assert_int_equal(promote(n, list, 2).err, ERR_PRECONDITION);
    assert_int_equal(promote_with(n, list, 2, "", true).err, ERR_PRECONDITION);
    config_node_delete(n, "dev/g/a");
    list[0] = copied("a", 2, 0); /* a tombstone */
    assert_int_equal(promote(n, list, 1).err, ERR_PRECONDITION);
    assert_int_equal(kv_revision(n->node.kv), before + 1);
    assert_null(config_node_find(n, "prod/g/a"));
}

/* The source changes while its content, which is read already, is with the worker: the transaction compares its
 * head. */
static void test_proof_race(void **state)
{
    struct config_node *n = *state;
    struct buf text = {0};
    unsigned copies = 0, refusals = 0;
    for (unsigned i = 0; text.size < 200000; i++)
        buf_addf(&text, "key%u: value\n", i);
    for (unsigned turns = 0; turns < 20; turns++) {
        char path[24], target[24], name[16];
        snprintf(name, sizeof name, "n%u.yaml", turns);
        snprintf(path, sizeof path, "dev/g/n%u.yaml", turns);
        snprintf(target, sizeof target, "prod/g/n%u.yaml", turns);
        struct config_publish p = {.key = config_id_of(path), .content = buf_slice(&text)};
        assert_int_equal(config_node_publish_with(n, &p).err, OK);
        const struct config_copied list = copied(name, 1, 0);
        struct config_reply a = config_reply(), b = config_reply();
        config_promote(n->config, &a.request, slice_text("dev"), slice_text("prod"), &list, 1, slice_text(""),
                       false);
        for (unsigned i = 0; i < turns; i++)
            uv_run(&n->node.loop, UV_RUN_NOWAIT);
        p.content = slice_text("2");
        config_publish(n->config, &b.request, &p);
        config_node_wait(n, &b);
        config_node_wait(n, &a);
        assert_int_equal(b.err, OK);
        if (a.err == OK) /* it was first */
            assert_true(config_node_find(n, target)->revision < config_node_find(n, path)->revision);
        else
            assert_int_equal(a.err, ERR_PRECONDITION);
        copies += a.err == OK;
        refusals += a.err != OK;
    }
    assert_int_equal(copies + refusals, 20);
    assert_true(refusals > 0);
    buf_done(&text);
}

static void test_refusals(void **state)
{
    struct config_node *n = *state;
    struct config_copied list[65];
    char names[65][8];
    for (unsigned i = 0; i < 65; i++) {
        char path[20];
        snprintf(names[i], sizeof names[i], "n%u", i);
        snprintf(path, sizeof path, "dev/g/n%u", i);
        config_node_publish(n, path, "x");
        list[i] = copied(names[i], 1, 0);
    }
    assert_int_equal(promote(n, list, 0).err, ERR_INVALID);
    assert_int_equal(promote(n, list, 65).err, ERR_INVALID);
    list[1] = list[0];
    assert_int_equal(promote(n, list, 2).err, ERR_INVALID);
    list[1] = copied(names[1], 1, 0);
    struct config_reply a = promote(n, list, 64);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.items, 64);
    for (unsigned i = 0; i < 64; i++)
        list[i].to_seq = 1;
    assert_true(promote(n, list, 64).result.is_unchanged);
    a = config_reply();
    config_promote(n->config, &a.request, slice_text("dev"), slice_text("dev"), list, 1, slice_text(""),
                   false);
    config_node_wait(n, &a);
    assert_int_equal(a.err, ERR_INVALID);
    list[0].name = slice_text("");
    assert_int_equal(promote(n, list, 1).err, ERR_INVALID);
}

/* The contents together are larger than a request may be: nothing is read. */
static void test_large(void **state)
{
    struct config_node *n = *state;
    struct buf text = {0};
    while (text.size < 900000)
        buf_add_slice(&text, slice_text("0123456789\n"));
    struct config_publish p = {.key = config_id_of("dev/g/a"), .content = buf_slice(&text)};
    assert_int_equal(config_node_publish_with(n, &p).err, OK);
    p.key = config_id_of("dev/g/b");
    assert_int_equal(config_node_publish_with(n, &p).err, OK);
    const struct config_copied list[] = {copied("a", 1, 0), copied("b", 1, 0)};
    struct config_reply a = promote(n, list, 2);
    assert_int_equal(a.err, ERR_REQUEST_TOO_LARGE);
    assert_non_null(strstr(a.error, "promote fewer at once"));
    assert_int_equal(promote(n, list, 1).err, OK);
    assert_int_equal(config_node_find(n, "prod/g/a")->head->size, text.size);
    buf_done(&text);
}

/* Schemas and policies are those of the target's namespace. */
static void test_rules(void **state)
{
    struct config_node *n = *state;
    config_node_publish(n, "dev/g/a.json", "{\"port\":\"x\"}");
    config_node_publish(n, "dev/g/b", "1");
    struct config_reply a = config_reply();
    struct config_id id = config_id_of("prod/g/a.json");
    config_put_schema(n->config, &a.request, &id,
                      slice_text("{\"properties\":{\"port\":{\"type\":\"integer\"}}}"));
    config_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    const struct config_copied list[] = {copied("b", 1, 0), copied("a.json", 1, 0)};
    a = promote(n, list, 2);
    assert_int_equal(a.err, ERR_MALFORMED);
    assert_string_equal(a.culprit, "a.json");
    put_policy(n, "prod", "{\"review\":[\"b\"]}");
    assert_int_equal(promote(n, list, 1).err, ERR_REVIEW_REQUIRED);
    assert_null(config_node_find(n, "prod/g/b"));
}

/* A sealed content stays sealed, though no policy of the target says so; without its key nothing is copied. */
static void test_sealed(void **state)
{
    struct config_node *n = *state;
    put_policy(n, "dev", "{\"review\":[],\"encrypt\":[\"*\"]}");
    config_node_publish(n, "dev/g/a", "secret");
    const struct config_copied list = copied("a", 1, 0);
    assert_int_equal(promote(n, &list, 1).err, OK);
    assert_string_equal(config_node_read(n, "prod/g/a", 0).text, "secret");
    assert_true(config_node_find(n, "prod/g/a")->head->sealed.size > 0);
    const struct config_copied again = copied("a", 1, 1);
    assert_true(promote(n, &again, 1).result.is_unchanged);
    /* The cluster's state, with another key. */
    config_free(n->config);
    n->config =
        config_new(&(struct config_options){.kv = n->node.kv, .member = "default", .keys = &other_keys});
    config_node_settle(n);
    assert_compared(n, "", 10, "a unknown 1 1;", false);
    assert_int_equal(promote(n, &again, 1).err, ERR_KEY_MISSING);
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(test_compare), WITH(test_compare_many), WITH(test_compare_sealed), WITH(test_promote),
        WITH(test_proof),   WITH(test_proof_race),   WITH(test_refusals),       WITH(test_large),
        WITH(test_rules),   WITH(test_sealed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
