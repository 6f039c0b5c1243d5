/* SPDX-License-Identifier: Apache-2.0
 * Tests of imports through the config center's public API: what each policy does with existing items, and
 * imports of several transactions with other writes between. Nothing is written before everything is valid.
 */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "tests/unit/config_node.h"

static int setup(void **state)
{
    struct config_node *n = mem_new(sizeof *n);
    config_node_open(n, NULL);
    *state = n;
    return 0;
}

static int setup_few_namespaces(void **state)
{
    struct config_node *n = mem_new(sizeof *n);
    struct config_options options = {.namespaces_max = 3};
    config_node_open(n, &options);
    *state = n;
    return 0;
}

/* Four items a transaction. */
static int setup_limited(void **state)
{
    struct config_node *n = mem_new(sizeof *n);
    struct config_options options = {
        .content_bytes_max = 100, .items_max = 20, .bytes_max = 1000, .txn_ops_max = 8};
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

struct run {
    struct config_import import;
    struct config_import_item items[64];
    bool is_done;
    int err;
};

static void on_done(struct config_import *i, int err)
{
    struct run *r = container_of(i, struct run, import);
    assert_false(r->is_done);
    r->is_done = true;
    r->err = err;
}

static bool is_done(void *arg)
{
    return ((struct run *)arg)->is_done;
}

static struct config_import_item *add(struct run *r, const char *name, const char *content)
{
    struct config_import_item *item = &r->items[r->import.count++];
    *item = (struct config_import_item){.key = config_id_of(name), .content = slice_text(content)};
    return item;
}

static void start(struct config_node *n, struct run *r, enum config_import_policy policy)
{
    r->import.done = on_done;
    r->import.items = r->items;
    r->import.policy = policy;
    config_import(n->config, &r->import);
}

static int run_import(struct config_node *n, struct run *r, enum config_import_policy policy)
{
    start(n, r, policy);
    one_node_run(&n->node, is_done, r);
    return r->err;
}

static void assert_actions(const struct run *r, const char *wanted)
{
    struct buf text = {0};
    for (size_t i = 0; i < r->import.count; i++) {
        const struct config_import_item *item = &r->items[i];
        buf_addf(&text, "%s%.*s %s", i ? ", " : "", (int)item->key.name.size,
                 (const char *)item->key.name.data, config_import_action_name(item->action));
    }
    assert_string_equal(buf_text(&text), wanted);
    buf_done(&text);
}

static void assert_text(struct config_node *n, const char *name, const char *wanted)
{
    struct config_reply a = config_node_read(n, name, 0);
    assert_int_equal(a.err, OK);
    assert_string_equal(a.text, wanted);
}

static void end(struct run *r)
{
    config_import_done(&r->import);
    mem_free(r);
}

static void test_policies(void **state)
{
    struct config_node *n = *state;
    static const struct {
        enum config_import_policy policy;
        const char *actions, *b;
        int err;
        size_t revisions;
    } cases[] = {
        {CONFIG_IMPORT_ABORT, "a.json not_written, b conflict, c unchanged", "old", ERR_CONFLICT, 0},
        {CONFIG_IMPORT_SKIP, "a.json created, b skipped, c unchanged", "old", OK, 1},
        {CONFIG_IMPORT_OVERWRITE, "a.json unchanged, b updated, c unchanged", "new", OK, 1},
        {CONFIG_IMPORT_ABORT, "a.json unchanged, b unchanged, c unchanged", "new", OK,
         0}, /* all the same again */
    };
    config_node_publish(n, "b", "old");
    config_node_publish(n, "c", "same");
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        for (int is_dry = 1; is_dry >= 0; is_dry--) {
            struct run *r = mem_new(sizeof *r);
            int64_t before = kv_revision(n->node.kv);
            add(r, "c", "same");
            add(r, "b", "new")->title = slice_text("of the import");
            add(r, "a.json", "{}");
            r->import.is_dry = is_dry;
            int err = run_import(n, r, cases[i].policy);
            assert_int_equal(err, is_dry ? OK : cases[i].err);
            assert_int_equal(kv_revision(n->node.kv) - before, is_dry ? 0 : cases[i].revisions);
            assert_int_equal(r->import.transactions, is_dry ? 0 : cases[i].revisions);
            if (!is_dry)
                assert_actions(r, cases[i].actions);
            else if (cases[i].err)
                assert_actions(r, "a.json created, b conflict, c unchanged");
            if (err)
                assert_non_null(strstr(r->import.error, "default/default/b: another content is live"));
            if (!is_dry)
                assert_text(n, "b", cases[i].b);
            end(r);
        }
    struct config_reply a = config_node_read(n, "b", 0);
    assert_int_equal(a.release.operation, CONFIG_IMPORT);
    assert_string_equal(a.title, "of the import");
    /* A deleted item may be created again, also with abort. */
    config_node_delete(n, "b");
    struct run *r = mem_new(sizeof *r);
    add(r, "b", "back");
    assert_int_equal(run_import(n, r, CONFIG_IMPORT_ABORT), OK);
    assert_actions(r, "b created");
    assert_int_equal(r->items[0].seq, 4);
    end(r);
}

static void test_refused(void **state)
{
    struct config_node *n = *state;
    struct run *r = mem_new(sizeof *r);
    int64_t before = kv_revision(n->node.kv);
    char large[102];
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = 0;
    add(r, "good", "x");
    add(r, "bad.yaml", "a: 1\na: 2\n");
    add(r, "twice", "x");
    add(r, "twice", "y");
    add(r, "wrong", "x")->md5 = slice_text("00000000000000000000000000000000");
    add(r, "wrong2", "x")->sha256 = slice_text("00");
    add(r, "right", "abc")->md5 = slice_text("900150983cd24fb0d6963f7d28e17f72");
    add(r, "large", large);
    add(r, "note", "x")->title = slice_text("two\nlines");
    add(r, "", "x")->key.name = slice_text("a\x01");
    add(r, "", "x")->key.ns = slice_text("..");
    assert_int_equal(run_import(n, r, CONFIG_IMPORT_OVERWRITE), ERR_INVALID);
    assert_int_equal(kv_revision(n->node.kv), before);
    assert_int_equal(r->import.actions[CONFIG_REFUSED], 8);
    assert_int_equal(r->import.actions[CONFIG_LEFT], 3);
    for (size_t i = 0; i < r->import.count; i++) {
        const struct config_import_item *item = &r->items[i];
        assert_int_equal(item->action == CONFIG_REFUSED, item->error != NULL);
        if (slice_equal(item->key.name, slice_text("bad.yaml"))) {
            assert_int_equal(item->line, 2);
            assert_int_equal(item->column, 1);
            assert_non_null(strstr(item->error, "duplicate key"));
        }
    }
    assert_non_null(strstr(r->import.error, "and 7 more"));
    end(r);
}

/* The format comes from the manifest, otherwise from the live release, otherwise from the file's ending. */
static void test_formats(void **state)
{
    struct config_node *n = *state;
    struct config_publish p = {.key = config_id_of("live"), .content = slice_text("{}"), .has_format = true};
    p.format = FORMAT_JSON;
    config_node_publish_with(n, &p);
    struct run *r = mem_new(sizeof *r);
    add(r, "live", "[]");
    add(r, "new.json", "[1]");
    struct config_import_item *told = add(r, "told.json", "not: json");
    told->has_format = true;
    told->format = FORMAT_YAML;
    assert_int_equal(run_import(n, r, CONFIG_IMPORT_OVERWRITE), OK);
    assert_int_equal(config_node_find(n, "live")->head->format, FORMAT_JSON);
    assert_int_equal(config_node_find(n, "new.json")->head->format, FORMAT_JSON);
    assert_int_equal(config_node_find(n, "told.json")->head->format, FORMAT_YAML);
    end(r);
    r = mem_new(sizeof *r);
    add(r, "live", "no json");
    assert_int_equal(run_import(n, r, CONFIG_IMPORT_OVERWRITE), ERR_MALFORMED);
    end(r);
}

static char names[64][16];

static void add_many(struct run *r, size_t count, const char *content)
{
    for (size_t i = 0; i < count; i++) {
        snprintf(names[i], sizeof names[i], "n%02zu", count - 1 - i);
        add(r, names[i], content);
    }
}

static void test_transactions(void **state)
{
    struct config_node *n = *state;
    struct run *r = mem_new(sizeof *r);
    int64_t before = kv_revision(n->node.kv);
    add_many(r, 10, "x");
    assert_int_equal(run_import(n, r, CONFIG_IMPORT_ABORT), OK);
    assert_int_equal(r->import.transactions, 3); /* 4, 4, 2 */
    assert_int_equal(r->import.revision, before + 3);
    assert_int_equal(config_node_find(n, "n00")->revision, before + 1);
    assert_int_equal(config_node_find(n, "n09")->revision, before + 3);
    end(r);
    /* Beyond the namespace's limit no transaction starts. */
    r = mem_new(sizeof *r);
    add_many(r, 21, "x");
    assert_int_equal(run_import(n, r, CONFIG_IMPORT_ABORT), ERR_QUOTA);
    assert_int_equal(kv_revision(n->node.kv), before + 3);
    assert_non_null(strstr(r->import.error, "is full"));
    end(r);
}

/* Another client writes when the first transaction is visible: the second is in progress then, the third is
 * not. */
static struct {
    struct config_node *node;
    struct config_reply asked;
    bool is_asked;
} other;

static void on_turn(void *arg)
{
    (void)arg;
    const struct config_id first = config_id_of("n00");
    if (other.is_asked || !config_find(other.node->config, &first))
        return;
    other.is_asked = true;
    other.asked = config_reply();
    const struct config_publish p = {.key = config_id_of("n09"), .content = slice_text("theirs")};
    config_publish(other.node->config, &other.asked.request, &p);
}

static void interfere(void **state, enum config_import_policy policy)
{
    struct config_node *n = *state;
    struct run *r = mem_new(sizeof *r);
    memset(&other, 0, sizeof other);
    other.node = n;
    n->turn = on_turn;
    add_many(r, 10, "x");
    start(n, r, policy);
    one_node_run(&n->node, is_done, r);
    config_node_wait(n, &other.asked);
    n->turn = NULL;
    config_node_settle(n);
    assert_text(n, "n09", policy == CONFIG_IMPORT_OVERWRITE ? "x" : "theirs");
    assert_int_equal(r->err, policy == CONFIG_IMPORT_ABORT ? ERR_CONFLICT : OK);
    assert_int_equal(r->import.transactions, policy == CONFIG_IMPORT_ABORT ? 2 : 3);
    if (policy == CONFIG_IMPORT_ABORT) {
        assert_int_equal(r->import.actions[CONFIG_CREATED], 8);
        assert_int_equal(r->import.actions[CONFIG_LEFT], 2);
        assert_non_null(strstr(r->import.error, "8 were written in 2 transactions, 2 were not"));
        /* The same import again completes, except for the other client's items. */
        struct run *again = mem_new(sizeof *again);
        add_many(again, 10, "x");
        assert_int_equal(run_import(n, again, CONFIG_IMPORT_SKIP), OK);
        assert_int_equal(again->import.actions[CONFIG_CREATED], 1);
        assert_int_equal(again->import.actions[CONFIG_UNCHANGED], 8);
        assert_int_equal(again->import.actions[CONFIG_SKIPPED], 1);
        end(again);
    } else {
        assert_int_equal(r->items[9].action, policy == CONFIG_IMPORT_SKIP ? CONFIG_SKIPPED : CONFIG_CREATED);
    }
    end(r);
}

static void test_interference_abort(void **state)
{
    interfere(state, CONFIG_IMPORT_ABORT);
}

static void test_interference_skip(void **state)
{
    interfere(state, CONFIG_IMPORT_SKIP);
}

static void test_interference_overwrite(void **state)
{
    interfere(state, CONFIG_IMPORT_OVERWRITE);
}

static void add_in(struct run *r, const char *ns, const char *name)
{
    add(r, name, "x")->key.ns = slice_text(ns);
}

/* Each would fit alone: they are judged together. */
static void test_new_namespaces(void **state)
{
    struct config_node *n = *state;
    config_node_publish(n, "here", "x");
    for (int is_dry = 1; is_dry >= 0; is_dry--) {
        struct run *r = mem_new(sizeof *r);
        int64_t before = kv_revision(n->node.kv);
        r->import.is_dry = is_dry;
        add_in(r, "one", "a");
        add_in(r, "two", "b");
        add_in(r, "three", "c");
        add_in(r, "three", "d");
        add(r, "here", "y");
        assert_int_equal(run_import(n, r, CONFIG_IMPORT_OVERWRITE), is_dry ? OK : ERR_QUOTA);
        assert_actions(r, is_dry
                              ? "here updated, a created, c created, d created, b refused"
                              : "here not_written, a not_written, c not_written, d not_written, b refused");
        assert_non_null(strstr(r->import.error, "the limit of 3 namespaces with configurations is reached: "
                                                "two cannot be added"));
        assert_int_equal(kv_revision(n->node.kv), before);
        end(r);
    }
    struct run *r = mem_new(sizeof *r);
    add_in(r, "one", "a");
    add_in(r, "two", "b");
    add(r, "here", "y");
    assert_int_equal(run_import(n, r, CONFIG_IMPORT_OVERWRITE), OK);
    assert_int_equal(r->import.transactions, 1);
    end(r);
}

/* Larger together than a request may be, though their number is not. */
static void test_bytes(void **state)
{
    struct config_node *n = *state;
    struct run *r = mem_new(sizeof *r);
    char *text = mem_new(400001);
    memset(text, 'x', 400000);
    add_many(r, 9, text);
    assert_int_equal(run_import(n, r, CONFIG_IMPORT_ABORT), OK);
    assert_in_range(r->import.transactions, 3, 9);
    assert_int_equal(r->import.actions[CONFIG_CREATED], 9);
    end(r);
    mem_free(text);
}

static void test_cancel(void **state)
{
    struct config_node *n = *state;
    for (size_t turns = 0; turns < 12; turns++) {
        struct run *r = mem_new(sizeof *r);
        add_many(r, 10, "x");
        start(n, r, CONFIG_IMPORT_ABORT);
        for (size_t i = 0; i < turns && !r->is_done; i++)
            uv_run(&n->node.loop, UV_RUN_NOWAIT);
        if (!r->is_done)
            config_import_cancel(&r->import);
        mem_free(r); /* nothing may touch it */
        config_node_settle(n);
    }
}

/* The config center closes during the import: the import ends, once. */
static void test_closed(void **state)
{
    struct config_node *n = *state;
    struct run *r = mem_new(sizeof *r);
    add_many(r, 10, "x");
    start(n, r, CONFIG_IMPORT_ABORT);
    config_free(n->config);
    n->config = NULL;
    assert_true(r->is_done);
    assert_int_equal(r->err, ERR_STOPPED);
    end(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_policies, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup_limited, teardown),
        cmocka_unit_test_setup_teardown(test_formats, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transactions, setup_limited, teardown),
        cmocka_unit_test_setup_teardown(test_interference_abort, setup_limited, teardown),
        cmocka_unit_test_setup_teardown(test_interference_skip, setup_limited, teardown),
        cmocka_unit_test_setup_teardown(test_interference_overwrite, setup_limited, teardown),
        cmocka_unit_test_setup_teardown(test_new_namespaces, setup_few_namespaces, teardown),
        cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup_limited, teardown),
        cmocka_unit_test_setup_teardown(test_closed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
