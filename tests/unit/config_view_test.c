/* SPDX-License-Identifier: Apache-2.0
 * Tests of the view of heads that readers use: updates and a new read, pages, watches, history, waiting. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/heads.h"
#include "tests/unit/config_node.h"

#define DIGESTS                                                                                              \
    "\"size\":7,\"md5\":\"0123456789abcdef0123456789abcdef\","                                               \
    "\"sha256\":\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\""
#define HEAD    "{\"seq\":1,\"type\":\"text\"," DIGESTS "}"
#define DELETED "{\"seq\":2,\"type\":\"text\",\"deleted\":true}"

/* --- the view alone ------------------------------------------------------------------------------------- */

static char told[512];

static void on_changed(void *arg, struct heads_item *i)
{
    size_t at = strlen(told);
    (void)arg;
    snprintf(told + at, sizeof told - at, "%s%.*s ", i->item.head ? "" : "-", (int)i->item.name.size,
             (const char *)i->item.name.data);
}

static void put(struct heads *h, const char *name, const char *text, int64_t revision)
{
    struct config_id id = config_id_of(name);
    heads_put(h, &(struct config_name){CONFIG_HEAD, id.ns, id.group, id.name, 0}, slice_text(text), 1,
              revision);
}

static void take(struct heads *h, const char *name, int64_t revision)
{
    struct config_id id = config_id_of(name);
    heads_remove(h, &(struct config_name){CONFIG_HEAD, id.ns, id.group, id.name, 0}, revision);
}

static void assert_told(const char *text)
{
    assert_string_equal(told, text);
    told[0] = 0;
}

static void assert_sums(const struct heads *h, size_t live, size_t bytes, size_t deleted, size_t unreadable)
{
    struct heads_sums s = *heads_sums(h);
    assert_int_equal(s.live, live);
    assert_int_equal(s.bytes, bytes);
    assert_int_equal(s.deleted, deleted);
    assert_int_equal(s.unreadable, unreadable);
}

static void test_heads(void **state)
{
    (void)state;
    struct heads *h = heads_new(on_changed, NULL);
    heads_begin(h, 10, true);
    put(h, "b", HEAD, 5);
    put(h, "a", HEAD, 9);
    put(h, "bad", "{", 4);
    assert_told(""); /* when the batch is whole */
    heads_end(h);
    assert_told("b a ");
    assert_sums(h, 2, 14, 0, 1);
    assert_int_equal(heads_absent_revision(h), 10); /* earlier changes are unknown */
    heads_begin(h, 11, false);
    put(h, "a", DELETED, 11);
    take(h, "b", 11);
    take(h, "nothing", 11);
    put(h, "bad", HEAD, 11);
    heads_end(h);
    assert_told("a -b bad ");
    assert_sums(h, 1, 7, 1, 0);
    assert_int_equal(heads_absent_revision(h), 11);
    assert_null(
        heads_find(h, &(struct config_id){slice_text("default"), slice_text("default"), slice_text("b")}));
    heads_begin(h, 12, false);
    put(h, "bad", "[]", 12); /* it becomes unreadable: deleted */
    heads_end(h);
    assert_told("-bad ");
    assert_sums(h, 0, 0, 1, 1);
    /* A new read: watchers are notified only of differences, and missing items are deleted. */
    heads_begin(h, 20, false);
    put(h, "c", HEAD, 20);
    put(h, "d", HEAD, 20);
    heads_end(h);
    told[0] = 0;
    heads_begin(h, 25, true);
    put(h, "a", DELETED, 11);
    heads_begin(h, 30, true); /* it began once more */
    put(h, "c", HEAD, 20);
    put(h, "a", DELETED, 28);
    heads_end(h);
    assert_told("a -bad -d ");
    assert_int_equal(heads_absent_revision(h), 30);
    assert_sums(h, 1, 7, 1, 0);
    heads_free(h);
}

static void test_claims(void **state)
{
    (void)state;
    struct heads *h = heads_new(on_changed, NULL);
    struct heads_claim a = {0}, b = {0}, c = {0}, d = {0};
    const struct heads_limits limits = {.namespaces = 2, .items = 2, .bytes = 100};
    struct slice ns = slice_text("n");
    char error[200];
    assert_int_equal(heads_claim(h, ns, 1, 60, &limits, &a, error, sizeof error), OK);
    assert_int_equal(heads_claim(h, ns, 1, 60, &limits, &b, error, sizeof error), ERR_QUOTA);
    assert_int_equal(heads_claim(h, ns, 1, 40, &limits, &b, error, sizeof error), OK);
    assert_int_equal(heads_claim(h, ns, 1, 0, &limits, &c, error, sizeof error), ERR_QUOTA);
    assert_int_equal(heads_claim(h, slice_text("m"), 1, 0, &limits, &c, error, sizeof error), OK);
    assert_int_equal(heads_claim(h, slice_text("o"), 1, 0, &limits, &d, error, sizeof error), ERR_QUOTA);
    assert_true(heads_has_namespace(h, ns));
    assert_false(heads_has_namespace(h, slice_text("o")));
    heads_release(h, &a);
    heads_release(h, &a);
    assert_int_equal(heads_claim(h, ns, 1, 60, &limits, &a, error, sizeof error), OK);
    heads_release(h, &a);
    heads_release(h, &b);
    heads_release(h, &c);
    heads_free(h); /* asserts that nothing is left */
}

/* --- on a store ------------------------------------------------------------------------------------- */

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

struct page {
    char text[256];
    size_t left;
};

static bool add_to_page(void *arg, const struct config_item *i)
{
    struct page *p = arg;
    size_t at = strlen(p->text);
    snprintf(p->text + at, sizeof p->text - at, "%.*s/%.*s ", (int)i->group.size, (const char *)i->group.data,
             (int)i->name.size, (const char *)i->name.data);
    return --p->left > 0;
}

static void assert_page(struct config_node *n, const char *group, const char *prefix, const char *after,
                        size_t limit, const char *wanted)
{
    struct page p = {.left = limit};
    config_each(n->config, slice_text("default"), slice_text(group), slice_text(prefix), slice_text(after),
                add_to_page, &p);
    assert_string_equal(p.text, wanted);
}

static void test_pages(void **state)
{
    struct config_node *n = *state;
    /* '-' and '.' sort before '/': groups are compared before names. */
    static const char *const names[] = {"g/b",   "g/app.yaml", "g/app",    "g-2/app",
                                        "g.3/x", "h/apq",      "other/g/z"};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        assert_int_equal(config_node_publish(n, names[i], "x: 1").err, OK);
    assert_page(n, "", "", "", 9, "g/app g/app.yaml g/b g-2/app g.3/x h/apq ");
    assert_page(n, "", "", "", 2, "g/app g/app.yaml ");
    assert_page(n, "", "", "g/app.yaml", 2, "g/b g-2/app ");
    assert_page(n, "", "", "g/az", 9, "g/b g-2/app g.3/x h/apq "); /* after a deleted name */
    assert_page(n, "", "app", "", 9, "g/app g/app.yaml g-2/app ");
    assert_page(n, "g", "", "g/app", 9, "g/app.yaml g/b ");
    assert_page(n, "g", "app", "", 9, "g/app g/app.yaml ");
    assert_page(n, "g", "app", "g/app.yaml", 9, "");
    assert_page(n, "g", "x", "", 9, "");
    assert_page(n, "nothing", "", "", 9, "");
}

struct watching {
    struct config_watch watch;
    struct config_subscriber subscriber;
    char text[256];
    bool ends_itself;
    struct watching *ends;
};

static void on_watch(struct config_watch *w, const struct config_item *item, const struct config_id *key)
{
    struct watching *x = container_of(w, struct watching, watch);
    size_t at = strlen(x->text);
    snprintf(x->text + at, sizeof x->text - at, "%.*s:%d ", (int)key->name.size, (const char *)key->name.data,
             item ? (int)item->head->seq : -1);
    if (x->ends)
        config_unwatch(&x->ends->watch);
    if (x->ends_itself)
        config_unwatch(w);
}

static void watch(struct config_node *n, struct watching *x, const char *name, bool is_prefix)
{
    struct config_id key = config_id_of(name);
    *x = (struct watching){.watch.changed = on_watch};
    x->watch.subscriber = &x->subscriber;
    if (is_prefix && slice_equal(key.group, slice_text("*")))
        key.group = (struct slice){0};
    config_watch(n->config, &x->watch, &key, is_prefix);
    assert_string_equal(x->text, "");
}

static void test_watches(void **state)
{
    struct config_node *n = *state;
    struct watching one, group, all, other;
    watch(n, &one, "g/app", false);
    watch(n, &group, "g/app", true);
    watch(n, &all, "*/", true);
    watch(n, &other, "x/g/app", false);
    config_node_publish(n, "g/app", "1");
    config_node_publish(n, "g/app.x", "1");
    config_node_publish(n, "h/app", "1");
    config_node_delete(n, "g/app");
    config_node_put_raw(n, CONFIG_HEAD, "g/app", 0, NULL);
    config_node_settle(n);
    assert_string_equal(one.text, "app:1 app:2 app:-1 ");
    assert_string_equal(group.text, "app:1 app.x:1 app:2 app:-1 ");
    assert_string_equal(all.text, "app:1 app.x:1 app:1 app:2 app:-1 ");
    assert_string_equal(other.text, "");
    /* A callback ends its own watch, and the next one. */
    one.text[0] = group.text[0] = all.text[0] = 0;
    one.ends_itself = true;
    all.ends = &group; /* it began later, so it is notified first */
    config_node_publish(n, "g/app", "2");
    config_node_publish(n, "g/app", "3");
    assert_string_equal(one.text, "app:3 ");
    assert_string_equal(group.text, "");
    assert_string_equal(all.text, "app:3 app:4 ");
    config_unwatch(&one.watch);
    config_unwatch(&all.watch);
    config_unwatch(&other.watch);
}

/* A compaction while no watch was open: the state is read anew, and watchers are notified of the differences.
 */
static void test_compacted(void **state)
{
    struct config_node *n = *state;
    struct watching all;
    config_node_publish(n, "stays", "1");
    config_node_publish(n, "changes", "1");
    config_node_publish(n, "goes", "1");
    watch(n, &all, "*/", true);
    struct config *c = n->config;
    n->config = NULL; /* not turned */
    config_node_put_raw(n, CONFIG_HEAD, "goes", 0, NULL);
    config_node_put_raw(n, CONFIG_HEAD, "changes", 0, DELETED);
    for (int i = 0; i < 3; i++)
        one_node_put(&n->node, "other", "x", 0);
    one_node_compact(&n->node, kv_revision(n->node.kv));
    n->config = c;
    config_node_settle(n);
    assert_true(strstr(all.text, "goes:-1 ") && strstr(all.text, "changes:2 ") && !strstr(all.text, "stays"));
    config_unwatch(&all.watch);
}

static void test_wait(void **state)
{
    struct config_node *n = *state;
    struct config_reply a = config_reply(), b = config_reply();
    int64_t next = config_node_settle(n) + 1;
    config_wait_revision(n->config, &a.request, next, 10000);
    one_node_run_ms(&n->node, 5);
    assert_false(a.is_done);
    one_node_put(&n->node, "whatever", "x", 0); /* any key moves it */
    config_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    assert_true(a.result.revision >= next);
    config_wait_revision(n->config, &b.request, next + 1000, 20);
    config_node_wait(n, &b);
    assert_int_equal(b.err, ERR_TIMEOUT);
}

/* --- history -------------------------------------------------------------------------------------------- */

struct telling {
    struct config_history h;
    struct config_reply *asked;
    struct config_node *n;
    char text[8192];
    bool cancels;
};

static void on_release(struct config_history *h, uint64_t seq, const struct config_release *release)
{
    struct telling *t = container_of(h, struct telling, h);
    size_t at = strlen(t->text);
    assert_null(release->content.data);
    snprintf(t->text + at, sizeof t->text - at, "%llu:%s:%zu ", (unsigned long long)seq,
             config_operation_name(release->operation), release->content.size);
    if (t->cancels)
        config_cancel(t->n->config, &h->request);
}

static struct config_result history_result;
static int history_err;
static bool history_done;

static void on_history(struct config_request *q, int err, const struct config_result *result)
{
    (void)q;
    history_err = err;
    history_result = *result;
    history_done = true;
}

static bool is_history_done(void *arg)
{
    (void)arg;
    return history_done;
}

static void history(struct config_node *n, struct telling *t, const char *name, uint64_t before, size_t limit)
{
    *t = (struct telling){
        .h = {.release = on_release, .key = config_id_of(name), .before = before, .limit = limit}, .n = n};
    t->h.request.done = on_history;
    history_done = false;
    config_history(n->config, &t->h);
    one_node_run(&n->node, is_history_done, NULL);
}

static void test_history(void **state)
{
    struct config_node *n = *state;
    struct telling t;
    history(n, &t, "a", 0, 10);
    assert_int_equal(history_err, ERR_NOT_FOUND);
    config_node_publish(n, "a", "1");
    config_node_publish(n, "a", "22");
    config_node_delete(n, "a");
    config_node_rollback(n, "a", 1);
    config_node_gray(n, "a", "r", "{\"content\":\"555\"}");
    history(n, &t, "a", 0, 10);
    assert_int_equal(history_err, OK);
    assert_string_equal(t.text, "5:gray:3 4:rollback:1 3:delete:0 2:publish:2 1:publish:1 ");
    assert_false(history_result.has_more);
    history(n, &t, "a", 0, 2);
    assert_string_equal(t.text, "5:gray:3 4:rollback:1 ");
    assert_true(history_result.has_more);
    history(n, &t, "a", history_result.seq, 3);
    assert_string_equal(t.text, "3:delete:0 2:publish:2 1:publish:1 ");
    assert_false(history_result.has_more);
    history(n, &t, "a", 1, 3);
    assert_string_equal(t.text, "");
}

/* Holes of any width, also those that a hostile writer makes; an unreadable document is left out. */
static void test_history_holes(void **state)
{
    struct config_node *n = *state;
    struct telling t;
    static const char old[] =
        "{\"operation\":\"publish\",\"type\":\"text\"," DIGESTS ",\"content\":\"1234567\"}";
    config_node_put_raw(n, CONFIG_RELEASE, "a", 3, old);
    config_node_put_raw(n, CONFIG_RELEASE, "a", 2000, old);
    config_node_put_raw(n, CONFIG_RELEASE, "a", 2001, "{");
    config_node_put_raw(n, CONFIG_RELEASE, "a", (uint64_t)1 << 62, old);
    history(n, &t, "a", 0, 10);
    assert_string_equal(t.text, "4611686018427387904:publish:7 2000:publish:7 3:publish:7 ");
    config_node_put_raw(n, CONFIG_HEAD, "a", 0, HEAD);
    history(n, &t, "a", 0, 10);
    assert_string_equal(t.text, "");
}

/* Many large releases: over several turns, each delivered once, in order. */
static void test_history_long(void **state)
{
    struct config_node *n = *state;
    struct telling t;
    struct buf text = {0};
    for (int i = 1; i <= 600; i++) {
        buf_clear(&text);
        buf_addf(&text, "%0*d", i % 100 == 0 ? 200000 : 10, i);
        config_node_publish(n, "a", buf_text(&text));
    }
    buf_done(&text);
    unsigned seen = 0;
    uint64_t before = 0;
    do {
        history(n, &t, "a", before, 250);
        assert_int_equal(history_err, OK);
        for (char *at = t.text, *word; (word = strsep(&at, " ")) && *word;)
            assert_int_equal(strtoul(word, NULL, 10), 600 - seen++);
        before = history_result.seq;
    } while (history_result.has_more);
    assert_int_equal(seen, 600);
}

static void test_history_canceled(void **state)
{
    struct config_node *n = *state;
    struct telling t = {.h = {.release = on_release, .key = config_id_of("a"), .limit = 10}, .n = n};
    config_node_publish(n, "a", "1");
    config_node_publish(n, "a", "2");
    t.h.request.done = on_history;
    t.cancels = true;
    history_done = false;
    config_history(n->config, &t.h);
    one_node_run_ms(&n->node, 20);
    assert_string_equal(t.text, "2:publish:1 ");
    assert_false(history_done);
}

static void test_local(void **state)
{
    struct config_node *n = *state;
    struct config_reply a = config_reply();
    struct config_id key = config_id_of("a");
    config_node_publish(n, "a", "1");
    config_read(n->config, &a.request, &key, 0, true);
    assert_false(a.is_done);
    config_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    assert_string_equal(a.text, "1");
    assert_int_equal(config_node_read(n, "a", 2).err, ERR_NOT_FOUND);
    assert_int_equal(config_node_read(n, "a", UINT64_MAX).err, ERR_NOT_FOUND);
}

/* The view says that it is not complete yet, and never that an item does not exist. */
static void test_not_ready(void **state)
{
    struct config_node *n = *state;
    struct config_reply a = config_reply(), b = config_reply();
    struct config_id key = config_id_of("a");
    struct config_publish p = {.key = key, .content = slice_text("y")};
    config_node_publish(n, "a", "x");
    struct config *other = config_new(&(struct config_options){.kv = n->node.kv, .member = "n2"});
    assert_false(config_is_ready(other));
    config_publish(other, &a.request, &p);
    config_read(other, &b.request, &key, 0, true);
    config_turn(other);
    assert_true(a.is_done && b.is_done);
    assert_int_equal(a.err, ERR_NOT_READY);
    assert_int_equal(b.err, ERR_NOT_READY);
    config_free(other);
    assert_string_equal(config_node_read(n, "a", 0).text, "x");
}

int main(void)
{
#define WITH(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads),
        WITH(test_not_ready),
        cmocka_unit_test(test_claims),
        WITH(test_pages),
        WITH(test_watches),
        WITH(test_compacted),
        WITH(test_wait),
        WITH(test_history),
        WITH(test_history_holes),
        WITH(test_history_long),
        WITH(test_history_canceled),
        WITH(test_local),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
