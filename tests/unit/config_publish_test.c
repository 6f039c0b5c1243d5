/* SPDX-License-Identifier: Apache-2.0
 * Tests of writes through the config center's public API, each result: the store and the view afterwards,
 * the errors that an outdated view must not cause, limits. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "base/metric.h"
#include "tests/unit/config_node.h"

static int setup(void **state)
{
    struct config_node *n = mem_new(sizeof *n);
    config_node_open(n, NULL);
    *state = n;
    return 0;
}

static int setup_limited(void **state)
{
    struct config_node *n = mem_new(sizeof *n);
    struct config_options options = {
        .content_bytes_max = 100, .namespaces_max = 3, .items_max = 3, .bytes_max = 200, .txn_ops_max = 8};
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

static struct config_publish publish_of(const char *name, const char *content)
{
    return (struct config_publish){.key = config_id_of(name), .content = slice_text(content)};
}

/* --- publish ---------------------------------------------------------------------------------------- */

static void test_publish(void **state)
{
    struct config_node *n = *state;
    int64_t before = kv_revision(n->node.kv);
    struct config_publish p = publish_of("app.yaml", "a: 1\n");
    p.title = slice_text("first");
    p.note = slice_text("why");
    struct config_reply a = config_node_publish_with(n, &p);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 1);
    assert_int_equal(a.result.revision, before + 1); /* one revision */
    assert_false(a.result.is_unchanged);
    assert_string_equal(a.head.digest.md5, "e0ccdaf42c593022e15b18cc0e96d201");
    /* Its writer reads it on this member without a barrier. */
    const struct config_item *i = config_node_find(n, "app.yaml");
    assert_non_null(i);
    assert_int_equal(i->revision, a.result.revision);
    assert_int_equal(i->head->seq, 1);
    assert_int_equal(i->head->format, FORMAT_YAML);
    a = config_node_read(n, "app.yaml", 0);
    assert_int_equal(a.err, OK);
    assert_string_equal(a.text, "a: 1\n");
    assert_string_equal(a.note, "why");
    assert_int_equal(a.release.operation, CONFIG_PUBLISH);
    assert_int_equal(a.release.previous_seq, 0);
    a = config_node_publish(n, "app.yaml", "a: 2\n");
    assert_int_equal(a.result.seq, 2);
    a = config_node_read(n, "app.yaml", 2);
    assert_int_equal(a.release.previous_seq, 1);
    a = config_node_read(n, "app.yaml", 1);
    assert_string_equal(a.text, "a: 1\n");
    assert_int_equal(config_node_keys(n, CONFIG_RELEASE, "app.yaml"), 2);
}

static void test_same_again(void **state)
{
    struct config_node *n = *state;
    config_node_publish(n, "app.yaml", "a: 1\n");
    int64_t before = kv_revision(n->node.kv);
    struct config_reply a = config_node_publish(n, "app.yaml", "a: 1\n");
    assert_int_equal(a.err, OK);
    assert_true(a.result.is_unchanged);
    assert_int_equal(a.result.seq, 1);
    assert_int_equal(kv_revision(n->node.kv), before);
    /* Another type makes another release. */
    struct config_publish p = publish_of("app.yaml", "a: 1\n");
    p.has_format = true;
    p.format = FORMAT_TEXT;
    a = config_node_publish_with(n, &p);
    assert_false(a.result.is_unchanged);
    assert_int_equal(a.result.seq, 2);
    /* The head's format stays if the request names none. */
    a = config_node_publish(n, "app.yaml", "a: [\n");
    assert_int_equal(a.err, OK);
    assert_int_equal(config_node_find(n, "app.yaml")->head->format, FORMAT_TEXT);
}

static void test_malformed(void **state)
{
    struct config_node *n = *state;
    int64_t before = kv_revision(n->node.kv);
    struct config_reply a = config_node_publish(n, "app.yaml", "a: 1\na: 2\n");
    assert_int_equal(a.err, ERR_MALFORMED);
    assert_int_equal(a.result.where.line, 2);
    assert_int_equal(a.result.where.column, 1);
    assert_non_null(strstr(a.error, "line 2, column 1"));
    struct config_publish p = publish_of("x", "{\"a\":1,}");
    p.has_format = true;
    p.format = FORMAT_JSON;
    assert_int_equal(config_node_publish_with(n, &p).err, ERR_MALFORMED);
    p.content = slice_text("{\"a\":1}");
    p.only_validate = true;
    a = config_node_publish_with(n, &p);
    assert_int_equal(a.err, OK);
    assert_int_equal(kv_revision(n->node.kv), before);
    assert_null(config_node_find(n, "x"));
}

static void test_names(void **state)
{
    struct config_node *n = *state;
    struct config_publish p = publish_of("a", "x");
    p.key.name = slice_text("a/b");
    assert_int_equal(config_node_publish_with(n, &p).err, ERR_INVALID);
    p.key.name = slice_text("..");
    assert_int_equal(config_node_publish_with(n, &p).err, ERR_INVALID);
    p = publish_of("a", "x");
    p.title = slice_text("two\nlines");
    struct config_reply a = config_node_publish_with(n, &p);
    assert_int_equal(a.err, ERR_INVALID);
    assert_non_null(strstr(a.error, "title"));
    /* A name that would be two segments or a pattern elsewhere is one name here. */
    assert_int_equal(config_node_publish(n, "a%2Fb", "x").err, OK);
    assert_int_equal(config_node_publish(n, "\xe5\xae\xa2 \xe6\x88\xb7", "x").err, OK);
    assert_non_null(config_node_find(n, "a%2Fb"));
}

static void test_conditions(void **state)
{
    struct config_node *n = *state;
    struct config_publish p = publish_of("app.yaml", "a: 1\n");
    p.condition.if_absent = true;
    assert_int_equal(config_node_publish_with(n, &p).err, OK);
    struct config_reply a = config_node_publish_with(n, &p);
    assert_int_equal(a.err, ERR_PRECONDITION);
    assert_true(a.has_head);
    assert_int_equal(a.head.seq, 1); /* the current head */
    p = publish_of("app.yaml", "a: 2\n");
    p.condition.has_seq = true;
    p.condition.if_seq = 2;
    assert_int_equal(config_node_publish_with(n, &p).err, ERR_PRECONDITION);
    p.condition.if_seq = 1;
    assert_int_equal(config_node_publish_with(n, &p).err, OK);
    p = publish_of("app.yaml", "a: 3\n");
    p.condition.if_md5 = slice_text("e0ccdaf42c593022e15b18cc0e96d201");
    assert_int_equal(config_node_publish_with(n, &p).err, ERR_PRECONDITION);
    a = config_node_read(n, "app.yaml", 0);
    p.condition.if_md5 = slice_text(a.head.digest.md5);
    assert_int_equal(config_node_publish_with(n, &p).err, OK);
    /* seq 0: it has never been there. */
    p = publish_of("new", "x");
    p.condition.has_seq = true;
    assert_int_equal(config_node_publish_with(n, &p).err, OK);
    /* A deleted one is absent. */
    assert_int_equal(config_node_delete(n, "new").err, OK);
    p = publish_of("new", "y");
    p.condition.if_absent = true;
    a = config_node_publish_with(n, &p);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 3);
}

/* Several requests at once on one member take turns: each is decided on the result of the previous one. */
static void test_race(void **state)
{
    struct config_node *n = *state;
    struct config_reply a[6];
    char text[6][16];
    double conflicts = metric_get(METRIC_CONFIG_CONFLICTS);
    for (int i = 0; i < 6; i++) {
        snprintf(text[i], sizeof text[i], "v%d", i);
        struct config_publish p = publish_of("raced", text[i]);
        a[i] = config_reply();
        config_publish(n->config, &a[i].request, &p);
    }
    for (int i = 0; i < 6; i++) {
        if (!a[i].is_done)
            config_node_wait(n, &a[i]);
        assert_int_equal(a[i].err, OK);
        assert_int_equal(a[i].result.seq, i + 1);
    }
    assert_true(metric_get(METRIC_CONFIG_CONFLICTS) == conflicts);
    assert_int_equal(config_node_keys(n, CONFIG_RELEASE, "raced"), 6);
    assert_int_equal(config_node_find(n, "raced")->head->seq, 6);
    /* With a condition exactly one wins. */
    for (int i = 0; i < 6; i++) {
        struct config_publish p = publish_of("raced", text[i]);
        p.condition.has_seq = true;
        p.condition.if_seq = 6;
        p.content = slice_text(text[i]);
        p.title = slice_text("again");
        char other[24];
        snprintf(other, sizeof other, "w%d", i);
        p.content = slice_text(other);
        a[i] = config_reply();
        config_publish(n->config, &a[i].request, &p); /* `other` is freed: it was copied */
    }
    unsigned won = 0;
    for (int i = 0; i < 6; i++) {
        if (!a[i].is_done)
            config_node_wait(n, &a[i]);
        won += a[i].err == OK;
        if (a[i].err)
            assert_int_equal(a[i].err, ERR_PRECONDITION);
    }
    assert_int_equal(won, 1);
    assert_int_equal(config_node_find(n, "raced")->head->seq, 7);
}

struct raw {
    struct kv_request request;
    Etcdserverpb__PutRequest put;
    struct buf key, value;
    bool is_done;
};

static void on_raw(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    (void)response;
    assert_int_equal(err, OK);
    container_of(r, struct raw, request)->is_done = true;
}

/* A direct write to the store that is not awaited: the next request's view does not show it. */
static void put_behind(struct config_node *n, struct raw *w, const char *name, const char *value)
{
    struct config_id id = config_id_of(name);
    *w = (struct raw){.request.done = on_raw};
    config_name_add_key(&w->key, &(struct config_name){CONFIG_HEAD, id.ns, id.group, id.name, 0});
    buf_add_text(&w->value, value);
    etcdserverpb__put_request__init(&w->put);
    w->put.key = (ProtobufCBinaryData){w->key.size, w->key.data};
    w->put.value = (ProtobufCBinaryData){w->value.size, w->value.data};
    kv_put(n->node.kv, &w->request, &w->put);
}

static void free_raw(struct raw *w)
{
    assert_true(w->is_done);
    buf_done(&w->key);
    buf_done(&w->value);
}

#define DIGESTS                                                                                              \
    "\"size\":1,\"md5\":\"0123456789abcdef0123456789abcdef\",\"sha256\":"                                    \
    "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\""

/* The view says unchanged, refused, absent; the store says otherwise and is right. */
static void test_view_behind(void **state)
{
    struct config_node *n = *state;
    struct raw raw;
    double conflicts = metric_get(METRIC_CONFIG_CONFLICTS);
    config_node_publish(n, "a", "one");
    put_behind(n, &raw, "a", "{\"seq\":5,\"type\":\"text\"," DIGESTS "}");
    struct config_reply a = config_node_publish(n, "a", "one");
    assert_int_equal(a.err, OK);
    assert_false(a.result.is_unchanged);
    assert_int_equal(a.result.seq, 6);
    free_raw(&raw);

    put_behind(n, &raw, "a", "{\"seq\":7,\"type\":\"text\"," DIGESTS "}");
    struct config_publish p = publish_of("a", "two");
    p.condition.has_seq = true;
    p.condition.if_seq = 7; /* the view says 6 */
    a = config_node_publish_with(n, &p);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 8);
    free_raw(&raw);

    put_behind(n, &raw, "b", "{\"seq\":3,\"type\":\"text\"," DIGESTS "}");
    a = config_node_delete(n, "b"); /* the view knows nothing of it */
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 4);
    free_raw(&raw);

    /* The request is sent as the view has it. The compare fails, and it is decided again. */
    put_behind(n, &raw, "a", "{\"seq\":9,\"type\":\"text\"," DIGESTS "}");
    a = config_node_publish(n, "a", "three");
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 10);
    assert_true(metric_get(METRIC_CONFIG_CONFLICTS) > conflicts);
    free_raw(&raw);
}

/* A direct delete of a head does not let a release be overwritten. */
static void test_never_overwritten(void **state)
{
    struct config_node *n = *state;
    config_node_publish(n, "a", "one");
    config_node_publish(n, "a", "two");
    config_node_put_raw(n, CONFIG_HEAD, "a", 0, NULL);
    config_node_settle(n);
    assert_null(config_node_find(n, "a"));
    struct config_reply a = config_node_publish(n, "a", "three");
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 3);
    a = config_node_read(n, "a", 1);
    assert_string_equal(a.text, "one");
}

static void test_unreadable(void **state)
{
    struct config_node *n = *state;
    config_node_put_raw(n, CONFIG_HEAD, "a", 0, "{\"seq\":");
    config_node_settle(n);
    assert_null(config_node_find(n, "a"));
    struct config_reply a = config_node_publish(n, "a", "one");
    assert_int_equal(a.err, ERR_CONFLICT);
    assert_non_null(strstr(a.error, "/cairn/config/heads/default/default/a"));
    assert_int_equal(config_node_read(n, "a", 0).err, ERR_NOT_FOUND);
    struct buf out = {0};
    metric_print(&out);
    assert_non_null(strstr(buf_text(&out), "cairn_config_unreadable_documents 1"));
    buf_done(&out);
    config_node_put_raw(n, CONFIG_HEAD, "a", 0, NULL);
    assert_int_equal(config_node_publish(n, "a", "one").err, OK);
}

/* --- rollback, delete ----------------------------------------------------------------------------------- */

static void test_rollback(void **state)
{
    struct config_node *n = *state;
    config_node_publish(n, "a.json", "[1]");
    config_node_publish(n, "a.json", "[2]");
    struct config_reply a = config_node_rollback(n, "a.json", 1);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 3);
    a = config_node_read(n, "a.json", 0);
    assert_string_equal(a.text, "[1]");
    assert_string_equal(a.note, "back");
    assert_int_equal(a.release.operation, CONFIG_ROLLBACK);
    assert_int_equal(a.release.origin_seq, 1);
    assert_true(config_node_rollback(n, "a.json", 1).result.is_unchanged);
    assert_int_equal(config_node_rollback(n, "a.json", 9).err, ERR_NOT_FOUND);
    assert_int_equal(config_node_rollback(n, "a.json", 0).err, ERR_NOT_FOUND);
    assert_int_equal(config_node_rollback(n, "b.json", 1).err, ERR_NOT_FOUND);
    a = config_node_delete(n, "a.json");
    assert_int_equal(a.result.seq, 4);
    assert_int_equal(config_node_rollback(n, "a.json", 4).err, ERR_INVALID);
    a = config_node_rollback(n, "a.json", 2);
    assert_int_equal(a.result.seq, 5);
    assert_string_equal(config_node_read(n, "a.json", 0).text, "[2]");
}

static void test_delete(void **state)
{
    struct config_node *n = *state;
    assert_int_equal(config_node_delete(n, "a").err, ERR_NOT_FOUND);
    config_node_publish(n, "a", "x");
    struct config_reply a = config_reply();
    struct config_id key = config_id_of("a");
    struct config_condition condition = {.has_seq = true, .if_seq = 2};
    config_delete(n->config, &a.request, &key, slice_text("n"), &condition);
    config_node_wait(n, &a);
    assert_int_equal(a.err, ERR_PRECONDITION);
    a = config_node_delete(n, "a");
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 2);
    assert_true(a.head.is_deleted);
    assert_true(config_node_find(n, "a")->head->is_deleted);
    a = config_node_read(n, "a", 0);
    assert_int_equal(a.err, ERR_NOT_FOUND);
    assert_true(a.has_head && a.head.is_deleted);
    a = config_node_read(n, "a", 2);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.release.operation, CONFIG_DELETE);
    assert_int_equal(config_node_delete(n, "a").err, ERR_NOT_FOUND);
    a = config_node_publish(n, "a", "x"); /* the same content as before the delete is a change */
    assert_int_equal(a.result.seq, 3);
    assert_false(a.result.is_unchanged);
}

/* --- bundles -------------------------------------------------------------------------------------------- */

static struct config_reply bundle(struct config_node *n, const struct config_publish *p, size_t publish_count,
                                  const char *const *names, size_t remove_count)
{
    struct config_reply a = config_reply();
    struct config_remove remove[8] = {0};
    for (size_t i = 0; i < remove_count; i++)
        remove[i].key = config_id_of(names[i]);
    config_bundle(n->config, &a.request, p, publish_count, remove, remove_count);
    config_node_wait(n, &a);
    return a;
}

static void test_bundle(void **state)
{
    struct config_node *n = *state;
    config_node_publish(n, "old", "x");
    config_node_publish(n, "same", "x");
    int64_t before = kv_revision(n->node.kv);
    struct config_publish p[] = {publish_of("a.json", "[1]"), publish_of("g/b.json", "[2]"),
                                 publish_of("same", "x")};
    const char *old[] = {"old"};
    struct config_reply a = bundle(n, p, 3, old, 1);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.items, 3);
    assert_int_equal(a.result.written_count, 4);
    assert_int_equal(kv_revision(n->node.kv), before + 1);
    assert_int_equal(config_node_find(n, "a.json")->revision, config_node_find(n, "old")->revision);
    assert_int_equal(config_node_find(n, "g/b.json")->revision, before + 1);
    assert_int_equal(config_node_find(n, "same")->head->seq, 1);
    /* All or nothing. */
    before = kv_revision(n->node.kv);
    p[0].content = slice_text("[3]");
    p[1].content = slice_text("[3");
    a = bundle(n, p, 2, NULL, 0);
    assert_int_equal(a.err, ERR_MALFORMED);
    assert_string_equal(a.culprit, "b.json");
    p[1].content = slice_text("[4]");
    a = bundle(n, p, 2, old, 1); /* deleted already */
    assert_int_equal(a.err, ERR_NOT_FOUND);
    assert_string_equal(a.culprit, "old");
    p[1].condition.if_absent = true;
    a = bundle(n, p, 2, NULL, 0);
    assert_int_equal(a.err, ERR_PRECONDITION);
    p[1] = p[0];
    assert_int_equal(bundle(n, p, 2, NULL, 0).err, ERR_INVALID);
    assert_int_equal(bundle(n, p, 0, NULL, 0).err, ERR_INVALID);
    const char *a_too[] = {"a.json"};
    assert_int_equal(bundle(n, p, 1, a_too, 1).err, ERR_INVALID);
    assert_int_equal(kv_revision(n->node.kv), before);
    /* Every item of the bundle is there already. */
    p[0].content = slice_text("[1]");
    a = bundle(n, p, 1, NULL, 0);
    assert_true(a.err == OK && a.result.is_unchanged && a.result.items == 0);
    assert_int_equal(kv_revision(n->node.kv), before);
}

static void test_bundle_limit(void **state)
{
    struct config_node *n = *state;
    struct config_publish p[65];
    char names[65][16];
    for (int i = 0; i < 65; i++) {
        snprintf(names[i], sizeof names[i], "n%d", i);
        p[i] = publish_of(names[i], "x");
    }
    assert_int_equal(bundle(n, p, 65, NULL, 0).err, ERR_INVALID);
    struct config_reply a = bundle(n, p, 64, NULL, 0);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.items, 64);
}

/* --- drafts --------------------------------------------------------------------------------------------- */

static struct config_reply put_draft(struct config_node *n, const char *name, const char *content)
{
    struct config_reply a = config_reply();
    struct config_publish p = publish_of(name, content);
    p.title = slice_text("t");
    config_put_draft(n->config, &a.request, &p);
    config_node_wait(n, &a);
    return a;
}

static struct config_reply with_key(struct config_node *n, const char *name,
                                    void (*fn)(struct config *c, struct config_request *q,
                                               const struct config_id *key))
{
    struct config_reply a = config_reply();
    struct config_id key = config_id_of(name);
    fn(n->config, &a.request, &key);
    config_node_wait(n, &a);
    return a;
}

static struct config_reply publish_draft(struct config_node *n, const char *name,
                                         const struct config_condition *condition)
{
    struct config_reply a = config_reply();
    struct config_id key = config_id_of(name);
    config_publish_draft(n->config, &a.request, &key, (struct slice){0}, slice_text("n"), condition);
    config_node_wait(n, &a);
    return a;
}

static void test_drafts(void **state)
{
    struct config_node *n = *state;
    assert_int_equal(publish_draft(n, "a.json", NULL).err, ERR_NOT_FOUND);
    assert_int_equal(with_key(n, "a.json", config_read_draft).err, ERR_NOT_FOUND);
    config_node_publish(n, "a.json", "[1]");
    assert_int_equal(put_draft(n, "a.json", "[2").err, OK); /* unfinished */
    struct config_reply a = with_key(n, "a.json", config_read_draft);
    assert_string_equal(a.text, "[2");
    assert_int_equal(a.release.previous_seq, 1); /* its base */
    assert_string_equal(config_node_read(n, "a.json", 0).text, "[1]");
    a = publish_draft(n, "a.json", NULL);
    assert_int_equal(a.err, ERR_MALFORMED);
    put_draft(n, "a.json", "[2]");
    struct config_condition condition = {.has_seq = true, .if_seq = 7};
    assert_int_equal(publish_draft(n, "a.json", &condition).err, ERR_PRECONDITION);
    condition.if_seq = 1;
    a = publish_draft(n, "a.json", &condition);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 2);
    a = config_node_read(n, "a.json", 0);
    assert_string_equal(a.text, "[2]");
    assert_string_equal(a.note, "n");
    assert_string_equal(a.title, "t");
    assert_int_equal(with_key(n, "a.json", config_read_draft).err, ERR_NOT_FOUND); /* in the same revision */
    /* A draft that equals the live release: the draft is removed, nothing else. */
    put_draft(n, "a.json", "[2]");
    a = publish_draft(n, "a.json", NULL);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 2);
    assert_int_equal(config_node_keys(n, CONFIG_DRAFT, "a.json"), 0);
    put_draft(n, "a.json", "[3]");
    assert_int_equal(with_key(n, "a.json", config_delete_draft).err, OK);
    assert_int_equal(with_key(n, "a.json", config_delete_draft).err, ERR_NOT_FOUND);
}

/* --- gray ----------------------------------------------------------------------------------------------- */

static struct config_reply with_rule(struct config_node *n, const char *name, const char *rule, bool promotes)
{
    struct config_reply a = config_reply();
    struct config_id key = config_id_of(name);
    if (promotes)
        config_promote_gray(n->config, &a.request, &key, slice_text(rule), slice_text("n"), NULL);
    else
        config_delete_gray(n->config, &a.request, &key, slice_text(rule), NULL);
    config_node_wait(n, &a);
    return a;
}

static uint64_t choose(struct config_node *n, const char *name, const char *zone)
{
    struct document_pair pair = {slice_text("zone"), slice_text(zone)};
    struct document_map labels = {&pair, 1};
    return config_choose(config_node_find(n, name), &labels, slice_text(""), slice_text("c"));
}

/* The draft changes while it is published: the new draft is not lost, whichever comes first. */
static void test_draft_race(void **state)
{
    struct config_node *n = *state;
    struct config_id key = config_id_of("a");
    struct config_publish p = publish_of("a", "two");
    for (int i = 0; i < 2; i++) {
        struct config_reply a = config_reply(), b = config_reply();
        put_draft(n, "a", i ? "three" : "one");
        if (i == 0)
            config_put_draft(n->config, &a.request, &p);
        config_publish_draft(n->config, &b.request, &key, (struct slice){0}, (struct slice){0}, NULL);
        if (i == 1)
            config_put_draft(n->config, &a.request, &p);
        config_node_wait(n, &a);
        config_node_wait(n, &b);
        assert_true(a.err == OK && b.err == OK);
        bool is_live = strcmp(config_node_read(n, "a", 0).text, "two") == 0;
        bool is_draft = strcmp(with_key(n, "a", config_read_draft).text, "two") == 0;
        assert_true(is_live != is_draft);
        config_node_publish(n, "a", "other");
    }
}

static void test_gray(void **state)
{
    struct config_node *n = *state;
    assert_int_equal(config_node_gray(n, "a.json", "r", "{\"content\":\"[9]\"}").err, ERR_NOT_FOUND);
    config_node_publish(n, "a.json", "[1]");
    assert_int_equal(config_node_gray(n, "a.json", "r", "{\"seq\":7}").err, ERR_NOT_FOUND);
    assert_int_equal(config_node_gray(n, "a.json", "r", "{\"content\":\"[9\"}").err, ERR_MALFORMED);
    struct config_reply a =
        config_node_gray(n, "a.json", "r", "{\"content\":\"[9]\",\"match\":{\"zone\":[\"b\"]}}");
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 2);
    assert_int_equal(a.head.seq, 1);
    assert_int_equal(a.head.last_seq, 2);
    assert_int_equal(choose(n, "a.json", "b"), 2);
    assert_int_equal(choose(n, "a.json", "c"), 1);
    assert_string_equal(config_node_read(n, "a.json", 0).text, "[1]");
    a = config_node_read(n, "a.json", 2);
    assert_string_equal(a.text, "[9]");
    assert_int_equal(a.release.operation, CONFIG_GRAY);
    /* A publish gets the next seq, and the rule stays. */
    a = config_node_publish(n, "a.json", "[3]");
    assert_int_equal(a.result.seq, 3);
    assert_int_equal(choose(n, "a.json", "b"), 2);
    assert_int_equal(choose(n, "a.json", "c"), 3);
    /* A rule for an old release, a changed rule, a rule too many. */
    assert_int_equal(config_node_gray(n, "a.json", "s", "{\"seq\":1,\"match\":{\"zone\":[\"c\"]}}").err, OK);
    assert_int_equal(choose(n, "a.json", "c"), 1);
    a = with_rule(n, "a.json", "s", false);
    assert_int_equal(a.err, OK);
    assert_int_equal(choose(n, "a.json", "c"), 3);
    assert_int_equal(with_rule(n, "a.json", "s", false).err, ERR_NOT_FOUND);
    assert_int_equal(with_rule(n, "a.json", "s", true).err, ERR_NOT_FOUND);
    a = with_rule(n, "a.json", "r", true);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.seq, 4);
    assert_int_equal(config_node_find(n, "a.json")->head->gray.count, 0);
    a = config_node_read(n, "a.json", 0);
    assert_string_equal(a.text, "[9]");
    assert_int_equal(a.release.operation, CONFIG_PROMOTE);
    assert_int_equal(a.release.origin_seq, 2);
    /* The item's rules are deleted with the item. */
    config_node_gray(n, "a.json", "r", "{\"content\":\"[5]\"}");
    assert_int_equal(choose(n, "a.json", ""), 5);
    config_node_delete(n, "a.json");
    assert_int_equal(choose(n, "a.json", ""), 0);
    /* A tombstone as a gray release: deleted for these clients alone; promoted for all. */
    config_node_publish(n, "a.json", "[7]");
    assert_int_equal(config_node_gray(n, "a.json", "r", "{\"seq\":6}").err, OK);
    assert_int_equal(choose(n, "a.json", ""), 6);
    assert_int_equal(with_rule(n, "a.json", "r", true).err, OK);
    assert_true(config_node_find(n, "a.json")->head->is_deleted);
}

/* Rules that are put at once from one view are both stored: heads without a new release are compared too. */
static void test_gray_race(void **state)
{
    struct config_node *n = *state;
    struct config_id key = config_id_of("a");
    struct gray_rule one = {.name = slice_text("one"), .percent = 0, .seq = 1}, two = one;
    struct config_reply a = config_reply(), b = config_reply();
    two.name = slice_text("two");
    config_node_publish(n, "a", "x");
    config_put_gray(n->config, &a.request, &key, &one, NULL, NULL);
    config_put_gray(n->config, &b.request, &key, &two, NULL, NULL);
    config_node_wait(n, &a);
    config_node_wait(n, &b);
    assert_true(a.err == OK && b.err == OK);
    assert_int_equal(config_node_find(n, "a")->head->gray.count, 2);
}

/* Another item has another order of clients. */
static void test_gray_percent(void **state)
{
    struct config_node *n = *state;
    static const char *const names[] = {"a", "g/b"};
    static const char *const items[] = {"default/default/a", "default/g/b"};
    struct document_map none = {NULL, 0};
    unsigned differ = 0;
    for (int k = 0; k < 2; k++) {
        config_node_publish(n, names[k], "x");
        config_node_gray(n, names[k], "r", "{\"content\":\"y\",\"percent\":30}");
    }
    for (int i = 0; i < 200; i++) {
        uint64_t chosen[2];
        char id[16];
        snprintf(id, sizeof id, "c%d", i);
        for (int k = 0; k < 2; k++) {
            chosen[k] =
                config_choose(config_node_find(n, names[k]), &none, (struct slice){0}, slice_text(id));
            bool is_in = gray_bucket(slice_text(id), slice_text(items[k])) < 30;
            assert_int_equal(chosen[k], is_in ? 2 : 1);
        }
        differ += chosen[0] != chosen[1];
    }
    assert_true(differ > 20);
}

static void test_gray_limits(void **state)
{
    struct config_node *n = *state;
    char name[16];
    config_node_publish(n, "a", "x");
    for (int i = 0; i < GRAY_RULES_MAX; i++) {
        snprintf(name, sizeof name, "r%d", i);
        assert_int_equal(config_node_gray(n, "a", name, "{\"seq\":1}").err, OK);
    }
    assert_int_equal(config_node_gray(n, "a", "more", "{\"seq\":1}").err, ERR_LIMIT);
    assert_int_equal(config_node_gray(n, "a", "", "{\"seq\":1}").err, ERR_INVALID);
    /* Every client reads a head, so it stays small. */
    struct buf big = {0};
    buf_add_text(&big, "{\"seq\":1,\"match\":{");
    for (int k = 0; k < 3; k++) {
        buf_addf(&big, "%s\"l%d\":[", k ? "," : "", k);
        for (int i = 0; i < 120; i++)
            buf_addf(&big, "%s\"%0200d\"", i ? "," : "", i);
        buf_add_byte(&big, ']');
    }
    buf_add_text(&big, "}}");
    struct config_reply a = config_node_gray(n, "a", "r0", buf_text(&big));
    assert_int_equal(a.err, ERR_REQUEST_TOO_LARGE);
    assert_non_null(strstr(a.error, "64 KiB"));
    buf_done(&big);
}

/* --- limits --------------------------------------------------------------------------------------------- */

static void test_quota(void **state)
{
    struct config_node *n = *state;
    char text[102];
    memset(text, 'x', sizeof text);
    struct config_publish p = publish_of("a", "");
    p.content = slice_of(text, 101);
    struct config_reply a = config_node_publish_with(n, &p);
    assert_int_equal(a.err, ERR_REQUEST_TOO_LARGE);
    assert_non_null(strstr(a.error, "101 bytes"));
    p.content = slice_of(text, 100);
    assert_int_equal(config_node_publish_with(n, &p).err, OK);
    p.key = config_id_of("b");
    assert_int_equal(config_node_publish_with(n, &p).err, OK);
    p.key = config_id_of("c");
    a = config_node_publish_with(n, &p);
    assert_int_equal(a.err, ERR_QUOTA);
    assert_non_null(strstr(a.error, "200 bytes"));
    config_node_publish(n, "b", "y");
    assert_int_equal(config_node_publish(n, "c", "y").err, OK);
    a = config_node_publish(n, "d", "y");
    assert_int_equal(a.err, ERR_QUOTA);
    assert_non_null(strstr(a.error, "3 configurations"));
    assert_int_equal(config_node_publish(n, "other/g/d", "y").err, OK);
    config_node_delete(n, "c"); /* makes room */
    assert_int_equal(config_node_publish(n, "d", "y").err, OK);
    assert_int_equal(config_node_publish(n, "d", "z").err, OK); /* an existing item may change */
    /* Drafts have a limit of their own. */
    for (int i = 0; i < 3; i++)
        assert_int_equal(put_draft(n, i == 0 ? "x" : i == 1 ? "y" : "z", "d").err, OK);
    assert_int_equal(put_draft(n, "w", "d").err, ERR_QUOTA);
    assert_int_equal(put_draft(n, "x", "e").err, OK);
}

/* A thousand requests at once do not exceed the limit together. */
static void test_namespaces(void **state)
{
    struct config_node *n = *state;
    assert_int_equal(config_node_publish(n, "one/g/a", "y").err, OK);
    assert_int_equal(config_node_publish(n, "two/g/a", "y").err, OK);
    assert_int_equal(config_node_publish(n, "three/g/a", "y").err, OK);
    struct config_reply a = config_node_publish(n, "four/g/a", "y");
    assert_int_equal(a.err, ERR_QUOTA);
    assert_non_null(strstr(a.error, "3 namespaces"));
    config_node_delete(n, "two/g/a"); /* its releases are kept */
    assert_int_equal(config_node_publish(n, "four/g/a", "y").err, ERR_QUOTA);
    assert_int_equal(config_node_publish(n, "three/g/b", "y").err, OK); /* an existing item may grow */
    assert_int_equal(config_node_publish(n, "two/g/a", "y").err, OK);
    /* Drafts of items without a live release count together. */
    assert_int_equal(put_draft(n, "five/g/a", "d").err, OK);
    assert_int_equal(put_draft(n, "six/g/a", "d").err, OK);
    assert_int_equal(put_draft(n, "one/g/a", "d").err, OK);
    a = put_draft(n, "seven/g/a", "d");
    assert_int_equal(a.err, ERR_QUOTA);
    assert_non_null(strstr(a.error, "3 drafts"));
    assert_int_equal(put_draft(n, "six/g/a", "e").err, OK);
    assert_int_equal(put_draft(n, "one/g/b", "d").err, OK);
}

static void test_quota_at_once(void **state)
{
    struct config_node *n = *state;
    struct config_reply a[8];
    char name[8][8];
    unsigned fine = 0;
    for (int i = 0; i < 8; i++) {
        snprintf(name[i], sizeof name[i], "n%d", i);
        struct config_publish p = publish_of(name[i], "x");
        a[i] = config_reply();
        config_publish(n->config, &a[i].request, &p);
    }
    for (int i = 0; i < 8; i++) {
        if (!a[i].is_done)
            config_node_wait(n, &a[i]);
        fine += a[i].err == OK;
        if (a[i].err)
            assert_int_equal(a[i].err, ERR_QUOTA);
    }
    assert_int_equal(fine, 3);
}

/* The largest content that the options promise fits; content whose JSON is too large for a request is
 * refused. */
static void test_large(void **state)
{
    struct config_node *n = *state;
    struct buf text = {0};
    memset(buf_reserve(&text, 1 << 20), '\n', 1 << 20); /* base64: 4/3 */
    text.size = 1 << 20;
    struct config_publish p = publish_of("big.txt", "");
    p.content = buf_slice(&text);
    struct config_reply a = config_node_publish_with(n, &p);
    assert_int_equal(a.err, OK);
    assert_int_equal(config_node_read(n, "big.txt", 0).release.content.size, 1 << 20);
    struct config_publish both[] = {p, p};
    both[0].key = config_id_of("c.txt");
    both[1].key = config_id_of("d.txt");
    a = bundle(n, both, 2, NULL, 0);
    assert_int_equal(a.err, ERR_REQUEST_TOO_LARGE);
    assert_non_null(strstr(a.error, "--max-request-bytes"));
    buf_done(&text);
}

static void test_cancel(void **state)
{
    struct config_node *n = *state;
    struct config_reply a = config_reply(), b = config_reply();
    struct config_publish p = publish_of("a", "x");
    config_publish(n->config, &a.request, &p);
    config_cancel(n->config, &a.request);
    config_cancel(n->config, &a.request);
    struct config_id key = config_id_of("a");
    config_read(n->config, &b.request, &key, 0, false);
    config_cancel(n->config, &b.request);
    one_node_run_ms(&n->node, 30);
    assert_false(a.is_done || b.is_done);
    config_node_settle(n);
    assert_non_null(config_node_find(n, "a")); /* it was started, so it was completed */
}

/* A request that is pending when the config center closes ends with ERR_STOPPED. */
static void test_stop(void **state)
{
    struct config_node *n = *state;
    struct config_reply a = config_reply(), b = config_reply(), d = config_reply();
    struct config_publish p = publish_of("a", "x");
    config_publish(n->config, &a.request, &p);
    config_wait_revision(n->config, &b.request, 1000000, 60000);
    config_barrier(n->config, &d.request);
    config_free(n->config);
    n->config = NULL;
    assert_true(a.is_done && b.is_done && d.is_done);
    assert_int_equal(a.err, ERR_STOPPED);
    assert_int_equal(b.err, ERR_STOPPED);
}

int main(void)
{
#define WITH(fn)    cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define LIMITED(fn) cmocka_unit_test_setup_teardown(fn, setup_limited, teardown)
    const struct CMUnitTest tests[] = {
        WITH(test_publish),       WITH(test_same_again),
        WITH(test_malformed),     WITH(test_names),
        WITH(test_conditions),    WITH(test_race),
        WITH(test_view_behind),   WITH(test_never_overwritten),
        WITH(test_unreadable),    WITH(test_rollback),
        WITH(test_delete),        WITH(test_bundle),
        WITH(test_bundle_limit),  WITH(test_drafts),
        WITH(test_gray),          WITH(test_gray_limits),
        WITH(test_gray_race),     WITH(test_gray_percent),
        WITH(test_draft_race),    LIMITED(test_quota),
        LIMITED(test_namespaces), LIMITED(test_quota_at_once),
        WITH(test_large),         WITH(test_cancel),
        WITH(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
