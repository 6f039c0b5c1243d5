/* SPDX-License-Identifier: Apache-2.0
 * Tests of watches on prefixes inside the process: the initial content, every later change, whole revisions,
 * waiting for a revision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "consensus/feed.h"
#include "tests/unit/one_node.h"

struct follower {
    struct one_node node;
    struct feed *feed;
    struct buf log; /* the notifications, as text */
    bool is_open;
    unsigned ends_late; /* so many calls of end say that there is more to do */
    unsigned removed;   /* keys */
    bool is_slow;       /* one removed key uses up a turn's time */
    int64_t last;
    struct feed_waiter waiter;
    bool is_told;
    struct kv_request txn;
};

static void on_begin(void *arg, int64_t revision, bool is_whole)
{
    struct follower *f = arg;
    assert_true(!f->is_open || is_whole);
    assert_true(is_whole ? revision >= f->last : revision > f->last); /* each revision is one batch */
    f->last = revision;
    f->is_open = true;
    buf_addf(&f->log, is_whole ? "[whole" : "[");
}

static void on_put(void *arg, const Mvccpb__KeyValue *pair)
{
    struct follower *f = arg;
    assert_true(f->is_open);
    buf_addf(&f->log, " %.*s=%.*s", (int)pair->key.len, pair->key.data, (int)pair->value.len,
             pair->value.data);
}

static void on_remove(void *arg, struct slice key, int64_t revision)
{
    struct follower *f = arg;
    assert_true(f->is_open && revision > 0);
    f->removed++;
    for (uint64_t end_ns = clock_mono_ns() + 3000000; f->is_slow && clock_mono_ns() < end_ns;) {
    }
    buf_addf(&f->log, " -%.*s", (int)key.size, key.data);
}

static bool on_end(void *arg, uint64_t until_ns)
{
    struct follower *f = arg;
    (void)until_ns;
    if (f->ends_late > 0) {
        f->ends_late--;
        return false;
    }
    f->is_open = false;
    buf_add_text(&f->log, "]");
    return true;
}

static const struct feed_events events = {on_begin, on_put, on_remove, on_end, true};
static const char *const prefixes[] = {"/a/", "/b/"};

static void turn(void *arg)
{
    struct follower *f = arg;
    if (f->feed)
        feed_turn(f->feed);
}

static bool has_begun(void *arg)
{
    return feed_revision(((struct follower *)arg)->feed) > 0;
}

static void on_notified(struct feed_waiter *w)
{
    container_of(w, struct follower, waiter)->is_told = true;
}

static bool is_notified(void *arg)
{
    return ((struct follower *)arg)->is_told;
}

/* The notifications so far, up to the present revision. */
static const char *notifications(struct follower *f)
{
    f->is_told = false;
    f->waiter.fn = on_notified;
    feed_wait(f->feed, &f->waiter, kv_revision(f->node.kv));
    one_node_run(&f->node, is_notified, f);
    return buf_text(&f->log);
}

static void start(struct follower *f, size_t count)
{
    f->feed = feed_new(f->node.kv, prefixes, count, &events, f);
    one_node_run(&f->node, has_begun, f);
}

static int setup(void **state)
{
    struct follower *f = mem_new(sizeof *f);
    f->node.turn = turn;
    f->node.arg = f;
    one_node_open(&f->node);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct follower *f = *state;
    if (f->feed)
        feed_free(f->feed);
    f->feed = NULL;
    one_node_close(&f->node);
    one_node_remove(&f->node);
    buf_done(&f->log);
    mem_free(f);
    return 0;
}

static void test_state_then_changes(void **state)
{
    struct follower *f = *state;
    one_node_put(&f->node, "/a/1", "x", 0);
    one_node_put(&f->node, "/c/1", "not ours", 0);
    one_node_put(&f->node, "/b/1", "y", 0);
    start(f, 2);
    assert_string_equal(notifications(f), "[whole /a/1=x /b/1=y]");
    buf_clear(&f->log);
    one_node_put(&f->node, "/a/2", "z", 0);
    one_node_put(&f->node, "/c/2", "not ours", 0);
    one_node_delete(&f->node, "/a/", "/a0");
    assert_string_equal(notifications(f), "[ /a/2=z][ -/a/1 -/a/2]");
    buf_clear(&f->log);
    /* None of our keys changed: a wait for a later revision still ends. */
    int64_t revision = one_node_put(&f->node, "/c/3", "not ours", 0);
    assert_string_equal(notifications(f), "");
    assert_int_equal(feed_revision(f->feed), revision);
}

static void test_one_prefix(void **state)
{
    struct follower *f = *state;
    start(f, 1);
    one_node_put(&f->node, "/a/1", "x", 0);
    one_node_put(&f->node, "/b/1", "not ours", 0);
    assert_string_equal(notifications(f), "[whole][ /a/1=x]");
}

/* The feed had no turns while the history was compacted: it delivers everything anew. */
static void test_compacted_meanwhile(void **state)
{
    struct follower *f = *state;
    start(f, 2);
    f->node.turn = NULL;
    char large[400];
    memset(large, 'x', sizeof large);
    large[sizeof large - 1] = 0;
    for (int i = 0; i < 20000; i++) /* more than an unread stream may hold */
        one_node_put(&f->node, "/a/1", large, 0);
    one_node_put(&f->node, "/a/1", "x", 0);
    int64_t revision = one_node_put(&f->node, "/b/9", "last", 0);
    one_node_compact(&f->node, revision);
    f->node.turn = turn;
    buf_clear(&f->log);
    const char *log = notifications(f);
    const char *whole = strstr(log, "[whole");
    assert_non_null(whole);
    assert_string_equal(whole, "[whole /a/1=x /b/9=last]");
    buf_clear(&f->log);
    one_node_put(&f->node, "/a/2", "on", 0);
    assert_string_equal(notifications(f), "[ /a/2=on]");
}

/* The first state takes many turns; later changes come after it, and are not in it. */
static void test_long_state(void **state)
{
    struct follower *f = *state;
    enum { KEYS = 3000 };
    char key[32];
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "/a/%05d", i);
        one_node_put(&f->node, key, "x", 0);
    }
    one_node_put(&f->node, "/b/1", "y", 0);
    f->feed = feed_new(f->node.kv, prefixes, 2, &events, f);
    while (!f->is_open)
        uv_run(&f->node.loop, UV_RUN_NOWAIT);
    one_node_put(&f->node, "/a/00000", "later", 0);
    one_node_put(&f->node, "/a/02999", "later", 0);
    while (f->is_open) {
        assert_false(feed_is_following(f->feed));
        uv_run(&f->node.loop, UV_RUN_NOWAIT);
    }
    const char *log = notifications(f);
    assert_non_null(strstr(log, " /a/02999=x /b/1=y][ /a/00000=later][ /a/02999=later]"));
    size_t spaces = 0;
    for (const char *at = log; *at; at++)
        spaces += *at == ' ';
    assert_int_equal(spaces, KEYS + 1 + 2); /* each once */
}

/* One revision with more changes than a turn has time for. The feed delivers it in several turns, and it
 * counts when all of it is delivered and the view has ended it. */
static void deliver_large(struct follower *f, size_t count)
{
    enum { KEYS = 12 };
    char key[32];
    start(f, count);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "/a/%05d", i);
        one_node_put(&f->node, key, "x", 0);
    }
    one_node_put(&f->node, "/b/1", "y", 0);
    notifications(f);
    buf_clear(&f->log);
    f->is_slow = true;
    f->ends_late = 3;
    int64_t revision = one_node_delete(&f->node, "/a/", "/b/2");
    f->is_told = false;
    f->waiter.fn = on_notified;
    feed_wait(f->feed, &f->waiter, revision);
    unsigned turns = 0, last = f->removed;
    for (; !f->is_told; turns++) {
        assert_true(feed_revision(f->feed) < revision);
        assert_true(f->removed <= last + 1);
        last = f->removed;
        uv_run(&f->node.loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(feed_revision(f->feed), revision);
    assert_int_equal(f->ends_late, 0);
    assert_int_equal(f->removed, count > 1 ? KEYS + 1 : KEYS);
    assert_true(turns >= 3);
    f->is_slow = false;
    one_node_put(&f->node, "/a/2", "on", 0);
    assert_non_null(strstr(notifications(f), " -/a/00000 -/a/00001"));
    assert_non_null(strstr(buf_text(&f->log), "][ /a/2=on]"));
}

static void test_large_revision(void **state)
{
    deliver_large(*state, 1);
}

static void test_large_revision_of_two(void **state)
{
    deliver_large(*state, 2);
}

/* A compaction happens during the read: the feed begins again, and delivers everything. */
static void test_compacted_while_read(void **state)
{
    struct follower *f = *state;
    char key[32];
    for (int i = 0; i < 3000; i++) {
        snprintf(key, sizeof key, "/a/%05d", i);
        one_node_put(&f->node, key, "x", 0);
    }
    f->feed = feed_new(f->node.kv, prefixes, 2, &events, f);
    while (!f->is_open)
        uv_run(&f->node.loop, UV_RUN_NOWAIT);
    f->node.turn = NULL;
    one_node_delete(&f->node, "/a/00001", "/a/02998");
    one_node_compact(&f->node, one_node_put(&f->node, "/b/1", "y", 0));
    f->node.turn = turn;
    one_node_run(&f->node, has_begun, f);
    const char *log = notifications(f), *last = log, *next;
    unsigned wholes = 0;
    for (; (next = strstr(last, "[whole")); last = next + 1)
        wholes++;
    assert_int_equal(wholes, 2);
    assert_string_equal(last - 1, "[whole /a/00000=x /a/02998=x /a/02999=x /b/1=y]");
}

static bool is_put(void *arg)
{
    return ((struct follower *)arg)->is_told;
}

static void on_txn(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    (void)response;
    assert_int_equal(err, OK);
    container_of(r, struct follower, txn)->is_told = true;
}

/* One revision in both prefixes. */
static void put_both(struct follower *f, const char *a, const char *b)
{
    const char *keys[] = {b, a};
    Etcdserverpb__PutRequest puts[2];
    Etcdserverpb__RequestOp ops[2], *list[2] = {&ops[0], &ops[1]};
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    for (int i = 0; i < 2; i++) {
        etcdserverpb__put_request__init(&puts[i]);
        etcdserverpb__request_op__init(&ops[i]);
        puts[i].key = (ProtobufCBinaryData){strlen(keys[i]), (uint8_t *)(uintptr_t)keys[i]};
        puts[i].value = (ProtobufCBinaryData){4, (uint8_t *)(uintptr_t) "both"};
        ops[i].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
        ops[i].request_put = &puts[i];
    }
    txn.success = list;
    txn.n_success = 2;
    f->is_told = false;
    f->txn = (struct kv_request){.done = on_txn};
    kv_txn(f->node.kv, &f->txn, &txn);
    one_node_run(&f->node, is_put, f);
}

static void test_one_revision_in_two_prefixes(void **state)
{
    struct follower *f = *state;
    start(f, 2);
    put_both(f, "/a/1", "/b/1");
    one_node_put(&f->node, "/b/2", "x", 0);
    assert_string_equal(notifications(f), "[whole][ /a/1=both /b/1=both][ /b/2=x]");
}

/* Changes without a reader are more than a stream holds, and the watches catch up one after the other.
 * Revisions still arrive in order, whole, each once. */
static void test_watches_apart(void **state)
{
    enum { ROUNDS = 6000 };
    struct follower *f = *state;
    char large[1500], key[32];
    memset(large, 'x', sizeof large);
    large[300] = 0;
    start(f, 2);
    notifications(f);
    f->node.turn = NULL;
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(key, sizeof key, "/a/%d", i % 3);
        one_node_put(&f->node, key, large, 0);
        if (i % 10 == 0)
            one_node_put(&f->node, "/b/1", "y", 0);
        if (i % 100 == 0)
            put_both(f, "/a/both", "/b/both");
    }
    f->node.turn = turn;
    buf_clear(&f->log);
    const char *log = notifications(f);
    size_t batches = 0, both = 0;
    for (const char *at = log; *at; at++)
        batches += *at == '[';
    for (const char *at = log; (at = strstr(at, "[ /a/both=both /b/both=both]")); at++)
        both++;
    assert_int_equal(batches, ROUNDS + ROUNDS / 10 + ROUNDS / 100);
    assert_int_equal(both, ROUNDS / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_state_then_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_prefix, setup, teardown),
        cmocka_unit_test_setup_teardown(test_compacted_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_long_state, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_revision, setup, teardown),
        cmocka_unit_test_setup_teardown(test_large_revision_of_two, setup, teardown),
        cmocka_unit_test_setup_teardown(test_compacted_while_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_one_revision_in_two_prefixes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watches_apart, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
