/* SPDX-License-Identifier: Apache-2.0
 * Tests of schemas of configurations on one member: which one decides, the writes that it holds for, a schema that
 * is put or deleted right before a write, limits, and documents of other clients. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "config/schemas.h"
#include "consensus/feature.h"
#include "tests/unit/config_node.h"

#define PORTS                                                                                                \
    "{\"type\":\"object\",\"properties\":{\"port\":{\"type\":\"integer\",\"maximum\":65535}},\"required\":[" \
    "\"port\"]}"

static int setup(void **state)
{
    struct config_node *n = mem_new(sizeof *n);
    config_node_open(n, NULL);
    *state = n;
    return 0;
}

/* As in a cluster with a member of an older version. */
static int setup_older(void **state)
{
    struct config_node *n = mem_new(sizeof *n);
    n->node.feature_level = FEATURE_LEVEL_CONTENTS - 1;
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

static struct config_reply put(struct config_node *n, const char *pattern, const char *text)
{
    struct config_reply a = config_reply();
    struct config_id id = config_id_of(pattern);
    a.request.author.name = slice_text("root");
    config_put_schema(n->config, &a.request, &id, slice_text(text));
    config_node_wait(n, &a);
    return a;
}

static struct config_reply drop(struct config_node *n, const char *pattern)
{
    struct config_reply a = config_reply();
    struct config_id id = config_id_of(pattern);
    config_delete_schema(n->config, &a.request, &id);
    config_node_wait(n, &a);
    return a;
}

static void check_ok(struct config_reply a, const char *what)
{
    if (a.err)
        fail_msg("%s: %s", what, a.error);
}

static void check_refused(struct config_reply a, int err, const char *part, const char *what)
{
    if (a.err != err || !strstr(a.error, part))
        fail_msg("%s: %d, %s", what, a.err, a.error);
}

#define assert_ok(reply)                 check_ok(reply, #reply)
#define assert_refused(reply, err, part) check_refused(reply, err, part, #reply)

/* --- which one decides ---------------------------------------------------------------------------------- */

static void test_patterns(void **state)
{
    struct config_node *n = *state;
    static const char low[] = "{\"properties\":{\"port\":{\"maximum\":100}}}";
    assert_ok(put(n, "*", "{\"type\":\"object\"}"));
    assert_ok(put(n, "app-*", PORTS));
    assert_ok(put(n, "app-a*", low));
    assert_ok(put(n, "app-ab.json", "true"));
    assert_refused(config_node_publish(n, "x.json", "[]"), ERR_MALFORMED,
                   "line 1, column 1: an array of 0 is of type array");
    assert_ok(config_node_publish(n, "x.json", "{}"));
    assert_refused(config_node_publish(n, "app-.json", "{}"), ERR_MALFORMED, "\"port\" is missing");
    assert_refused(config_node_publish(n, "app-x.yaml", "a: 1\nport: 70000\n"), ERR_MALFORMED,
                   "line 2, column 7: port: 70000 must be at most 65535");
    assert_refused(config_node_publish(n, "app-a.json", "{\"port\":101}"), ERR_MALFORMED,
                   "101 must be at most 100");
    assert_ok(config_node_publish(n, "app-a.json", "{}")); /* the longest beginning alone decides */
    assert_ok(config_node_publish(n, "app-ab.json", "[1]"));
    assert_ok(config_node_publish(n, "other/app-x.json", "[1]"));      /* another group */
    assert_ok(config_node_publish(n, "ns/default/app-x.json", "[1]")); /* another namespace */
    assert_ok(put(n, "app-*", "true"));
    assert_ok(config_node_publish(n, "app-x.yaml", "[]"));
    assert_ok(drop(n, "app-ab.json"));
    assert_refused(config_node_publish(n, "app-ab.json", "{\"port\":101}"), ERR_MALFORMED, "at most 100");
    assert_ok(drop(n, "app-a*"));
    assert_ok(config_node_publish(n, "app-ab.json", "{\"port\":101}"));
    assert_refused(drop(n, "app-a*"), ERR_NOT_FOUND, "there is no schema app-a*");
}

static void test_formats(void **state)
{
    struct config_node *n = *state;
    assert_ok(put(n, "a*", "{\"properties\":{\"server.port\":{\"type\":\"integer\"}}}"));
    assert_ok(config_node_publish(n, "a.properties", "server.port=80\n"));
    assert_refused(config_node_publish(n, "a.properties", "x=1\nserver.port=8o\n"), ERR_MALFORMED,
                   "line 2, column 13");
    assert_refused(config_node_publish(n, "a.txt", "text"), ERR_MALFORMED, "the format text has no values");
    assert_refused(
        config_node_publish_with(n, &(struct config_publish){.key = config_id_of("a.properties"),
                                                             .content = slice_text("server.port=x"),
                                                             .has_format = true,
                                                             .format = FORMAT_TEXT}),
        ERR_MALFORMED, "the format text has no values");
    assert_ok(config_node_delete(n, "a.properties")); /* a deletion has no content */
}

/* --- the writes ----------------------------------------------------------------------------------------- */

static void test_writes(void **state)
{
    struct config_node *n = *state;
    struct config_id key = config_id_of("a.json");
    struct config_reply a;
    assert_ok(config_node_publish(n, "a.json", "[1]"));
    assert_ok(config_node_gray(n, "a.json", "r", "{\"percent\":1,\"content\":\"[2]\"}"));
    assert_ok(put(n, "a.json", PORTS));
    assert_refused(config_node_publish(n, "a.json", "[3]"), ERR_MALFORMED, "");
    a = config_node_publish_with(
        n, &(struct config_publish){.key = key, .content = slice_text("{}"), .only_validate = true});
    assert_refused(a, ERR_MALFORMED, "\"port\" is missing");
    assert_int_equal(a.result.where.line, 1);
    assert_refused(config_node_gray(n, "a.json", "s", "{\"percent\":1,\"content\":\"{}\"}"), ERR_MALFORMED,
                   "is missing");
    struct config_publish bundle[] = {{.key = config_id_of("b.json"), .content = slice_text("{}")},
                                      {.key = key, .content = slice_text("{}")}};
    a = config_reply();
    config_bundle(n->config, &a.request, bundle, 2, NULL, 0);
    config_node_wait(n, &a);
    assert_refused(a, ERR_MALFORMED, "is missing");
    assert_string_equal(a.culprit, "a.json");
    a = config_reply(); /* a draft may be anything; it is checked when it is submitted and published */
    config_put_draft(n->config, &a.request,
                     &(struct config_publish){.key = key, .content = slice_text("{}")});
    config_node_wait(n, &a);
    assert_ok(a);
    a = config_reply();
    config_submit_draft(n->config, &a.request, &key, (struct slice){0});
    config_node_wait(n, &a);
    assert_refused(a, ERR_MALFORMED, "is missing");
    a = config_reply();
    config_publish_draft(n->config, &a.request, &key, (struct slice){0}, (struct slice){0}, NULL);
    config_node_wait(n, &a);
    assert_refused(a, ERR_MALFORMED, "is missing");
    a = config_reply(); /* contents that were published before are not checked again */
    config_promote_gray(n->config, &a.request, &key, slice_text("r"), (struct slice){0}, NULL);
    config_node_wait(n, &a);
    assert_ok(a);
    assert_ok(config_node_publish(n, "a.json", "{\"port\":1}"));
    assert_ok(config_node_rollback(n, "a.json", 1));
}

struct run {
    struct config_import import;
    struct config_import_item items[2];
    bool is_done;
    int err;
};

static void on_imported(struct config_import *i, int err)
{
    struct run *r = container_of(i, struct run, import);
    r->is_done = true;
    r->err = err;
}

static bool is_imported(void *arg)
{
    return ((struct run *)arg)->is_done;
}

static void test_import(void **state)
{
    struct config_node *n = *state;
    struct run r = {.items = {{.key = config_id_of("a.json"), .content = slice_text("{\n}")},
                              {.key = config_id_of("b.json"), .content = slice_text("{}")}}};
    assert_ok(put(n, "a*", PORTS));
    r.import = (struct config_import){.done = on_imported, .items = r.items, .count = 2, .is_dry = true};
    config_import(n->config, &r.import);
    one_node_run(&n->node, is_imported, &r);
    assert_int_equal(r.items[0].action, CONFIG_REFUSED);
    assert_int_equal(r.items[0].line, 1);
    assert_int_not_equal(r.items[1].action, CONFIG_REFUSED);
    config_import_done(&r.import);
}

/* --- a schema right before a write ---------------------------------------------------------------------- */

struct raw {
    struct kv_request request;
    bool is_done;
};

static void on_raw(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    (void)message;
    assert_int_equal(err, OK);
    container_of(kv, struct raw, request)->is_done = true;
}

static bool is_raw_done(void *arg)
{
    return ((struct raw *)arg)->is_done;
}

static ProtobufCBinaryData binary(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* The view does not have the schema when the publish decides. */
static void test_overtaken(void **state)
{
    struct config_node *n = *state;
    struct raw raw = {.request.done = on_raw};
    struct config_reply a = config_reply(), b = config_reply();
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    Etcdserverpb__DeleteRangeRequest d = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    m.key = binary("/cairn/config/schemas/default/default/a*");
    m.value = binary("{\"schema\":\"{\\\"maximum\\\":5}\"}");
    kv_put(n->node.kv, &raw.request, &m);
    config_publish(n->config, &a.request,
                   &(struct config_publish){.key = config_id_of("a.json"), .content = slice_text("6")});
    one_node_run(&n->node, is_raw_done, &raw);
    config_node_wait(n, &a);
    assert_refused(a, ERR_MALFORMED, "6 must be at most 5");
    /* The schema of the name is deleted, and then the other one decides. The check of the content takes place before
     * the delete is applied, the transaction after it. */
    assert_ok(put(n, "a.json", "true"));
    raw = (struct raw){.request.done = on_raw};
    d.key = binary("/cairn/config/schemas/default/default/a.json");
    config_publish(n->config, &b.request,
                   &(struct config_publish){.key = config_id_of("a.json"), .content = slice_text("7")});
    kv_delete_range(n->node.kv, &raw.request, &d);
    one_node_run(&n->node, is_raw_done, &raw);
    config_node_wait(n, &b);
    assert_refused(b, ERR_MALFORMED, "7 must be at most 5");
    assert_ok(config_node_publish(n, "a.json", "5"));
}

/* --- refusals, limits, other clients -------------------------------------------------------------------- */

static void test_refused(void **state)
{
    struct config_node *n = *state;
    struct config_reply a = put(n, "a", "{\n\"type\":1}");
    assert_refused(a, ERR_MALFORMED, "line 2, column 8: type: ");
    assert_int_equal(a.result.where.line, 2);
    assert_refused(put(n, "a*b", "true"), ERR_INVALID, "* at the end");
    assert_refused(put(n, "", "true"), ERR_INVALID, "the schema's pattern is empty");
    char *large = mem_new((64 << 10) + 100);
    memset(large, ' ', (64 << 10) + 1);
    assert_refused(put(n, "a", large), ERR_REQUEST_TOO_LARGE, "the schema has 65537 bytes");
    /* 64 of 64 KiB are 4 MiB. */
    memcpy(large, "true", 4);
    large[64 << 10] = 0;
    for (int i = 0; i < 64; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        assert_ok(put(n, name, large));
    }
    assert_refused(put(n, "one-more", "true"), ERR_QUOTA, "64 other schemas of 4194304 bytes");
    assert_ok(put(n, "n5", large)); /* in the place of itself */
    assert_ok(drop(n, "n5"));
    assert_ok(put(n, "one-more", "true"));
    mem_free(large);
}

static void test_unreadable(void **state)
{
    struct config_node *n = *state;
    config_node_put_raw(n, CONFIG_SCHEMA, "a.json", 0, "no document");
    config_node_settle(n);
    assert_refused(config_node_publish(n, "a.json", "1"), ERR_CONFLICT, "must be repaired");
    assert_ok(config_node_publish(n, "b.json", "1"));
    config_node_put_raw(n, CONFIG_SCHEMA, "a.json", 0, "{\"schema\":\"{\\\"type\\\":7}\"}");
    config_node_settle(n);
    assert_refused(config_node_publish(n, "a.json", "1"), ERR_MALFORMED, "is no schema: it must be repaired");
    config_node_put_raw(n, CONFIG_SCHEMA, "a.json", 0, NULL);
    config_node_settle(n);
    assert_ok(config_node_publish(n, "a.json", "1"));
}

static void test_document(void **state)
{
    struct arena a = {0};
    struct schema_document d;
    struct buf text = {0};
    (void)state;
    schema_document_write(&(struct schema_document){.schema = slice_text("{\"a\":\n1}"),
                                                    .author = {.name = slice_text("alice")},
                                                    .time_ms = 5},
                          &text);
    assert_int_equal(schema_document_read(buf_slice(&text), &a, &d), OK);
    assert_true(slice_equal(d.schema, slice_text("{\"a\":\n1}")) &&
                slice_equal(d.author.name, slice_text("alice")));
    assert_int_equal(d.time_ms, 5);
    assert_int_equal(schema_document_read(slice_text("{}"), &a, &d), ERR_INVALID);
    assert_int_equal(schema_document_read(slice_text("["), &a, &d), ERR_MALFORMED);
    buf_done(&text);
    arena_done(&a);
}

/* The view by itself: a whole state removes what it does not have. */
static void test_view(void **state)
{
    struct schemas s = {0};
    const struct config_name names[] = {
        {CONFIG_SCHEMA, slice_text("n"), slice_text("g"), slice_text("a*"), 0},
        {CONFIG_SCHEMA, slice_text("n"), slice_text("g"), slice_text("b"), 0},
        {CONFIG_SCHEMA, slice_text("m"), slice_text("g"), slice_text("b"), 0}};
    (void)state;
    schemas_begin(&s, true);
    for (int i = 0; i < 3; i++)
        schemas_put(&s, &names[i], slice_text("{\"schema\":\"true\"}"), 10 + i);
    schemas_end(&s);
    assert_int_equal(schemas_revision(&s, slice_text("n")), 11);
    assert_int_equal(schemas_of(&s, slice_text("n"))->bytes, 8);
    schemas_begin(&s, true);
    schemas_put(&s, &names[0], slice_text("{\"schema\":\"false\"}"), 20);
    schemas_end(&s);
    assert_null(schemas_of(&s, slice_text("m")));
    assert_null(schemas_find(&s, slice_text("n"), slice_text("g"), slice_text("b")));
    assert_int_equal(schemas_find(&s, slice_text("n"), slice_text("g"), slice_text("ab"))->revision, 20);
    assert_null(schemas_find(&s, slice_text("n"), slice_text("h"), slice_text("ab")));
    assert_int_equal(schemas_of(&s, slice_text("n"))->bytes, 5);
    schemas_begin(&s, true);
    schemas_end(&s);
    assert_null(schemas_of(&s, slice_text("n")));
    schemas_done(&s);
}

/* A member of an older version would publish what does not fit. */
static void test_older_members(void **state)
{
    struct config_node *n = *state;
    struct config_reply a = put(n, "a*", PORTS);
    assert_int_equal(a.err, ERR_UNIMPLEMENTED);
    assert_string_equal(a.error,
                        "schemas need all members to be of this version: the feature level of the cluster is "
                        "3, and must be 4");
    assert_int_equal(config_node_publish(n, "a.json", "[]").err, OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_patterns, setup, teardown),
        cmocka_unit_test_setup_teardown(test_formats, setup, teardown),
        cmocka_unit_test_setup_teardown(test_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_import, setup, teardown),
        cmocka_unit_test_setup_teardown(test_overtaken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unreadable, setup, teardown),
        cmocka_unit_test(test_document),
        cmocka_unit_test(test_view),
        cmocka_unit_test_setup_teardown(test_older_members, setup_older, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
