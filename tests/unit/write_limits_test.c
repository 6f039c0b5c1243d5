/* SPDX-License-Identifier: Apache-2.0
 * Tests of the limits of clients' writes: bytes a minute, the reserve of the quota, compaction under
 * pressure. A publisher in a loop uses up no other client's space. */
#include "tests/unit/unit.h"

#include <string.h>

#include "base/metric.h"
#include "consensus/write_limits.h"
#include "tests/unit/config_node.h"

enum { QUOTA = 4 << 20 };

static int admit(struct write_limits *l, enum write_kind kind, const char *ns, size_t bytes)
{
    char error[512] = "";
    int err = write_limits_admit(l, kind, slice_text(ns), bytes, error, sizeof error);
    assert_true(!err == !*error);
    if (err == ERR_TOO_MANY_REQUESTS)
        assert_non_null(strstr(error, "--namespace-write-bytes-per-minute"));
    if (err == ERR_NO_SPACE)
        assert_non_null(strstr(error, "--quota-backend-bytes"));
    return err;
}

static void test_rate(void **state)
{
    (void)state;
    struct one_node n = {0};
    one_node_open(&n);
    struct write_limits *l =
        write_limits_new(&(struct write_limits_options){.kv = n.kv, .namespace_bytes_per_minute = 60000});
    assert_int_equal(admit(l, WRITE_CONTENT, "a", 50000), OK);
    assert_int_equal(admit(l, WRITE_REGISTRATION, "a", 20000), OK); /* the last one may exceed it */
    assert_int_equal(admit(l, WRITE_REGISTRATION, "a", 1), ERR_TOO_MANY_REQUESTS);
    assert_int_equal(admit(l, WRITE_CONTENT, "a", 1), ERR_TOO_MANY_REQUESTS);
    assert_int_equal(admit(l, WRITE_CONTENT, "b", 50000), OK);       /* another namespace */
    assert_int_equal(admit(l, WRITE_REGISTRATION, "", 1 << 20), OK); /* of none */
    write_limits_free(l);
    l = write_limits_new(&(struct write_limits_options){.kv = n.kv, .namespace_bytes_per_minute = 6000000});
    assert_int_equal(admit(l, WRITE_CONTENT, "a", 6000100), OK);
    assert_int_equal(admit(l, WRITE_CONTENT, "a", 1), ERR_TOO_MANY_REQUESTS);
    one_node_run_ms(&n, 50); /* 100 bytes a millisecond */
    assert_int_equal(admit(l, WRITE_CONTENT, "a", 1), OK);
    write_limits_free(l);
    assert_int_equal(admit(NULL, WRITE_CONTENT, "a", 1 << 30), OK);
    one_node_close(&n);
    one_node_remove(&n);
}

static void fill_to(struct one_node *n, uint64_t live)
{
    static char value[100001];
    memset(value, 'v', sizeof value - 1);
    while (kv_space(n->kv).live < live)
        one_node_put(n, "filler", value, 0);
}

static void test_reserve(void **state)
{
    (void)state;
    struct one_node n = {.quota_bytes = QUOTA};
    one_node_open(&n);
    struct write_limits *l = write_limits_new(&(struct write_limits_options){.kv = n.kv});
    assert_int_equal(kv_space(n.kv).quota, QUOTA);
    assert_int_equal(admit(l, WRITE_CONTENT, "a", QUOTA / 2), OK);
    fill_to(&n, QUOTA / 8 * 7);
    assert_int_equal(admit(l, WRITE_CONTENT, "a", 1), ERR_NO_SPACE);
    assert_int_equal(admit(l, WRITE_REGISTRATION, "a", 1), OK);
    fill_to(&n, QUOTA / 16 * 15);
    assert_int_equal(admit(l, WRITE_REGISTRATION, "a", 1), ERR_NO_SPACE);
    one_node_put(&n, "etcd", "goes on", 0);
    assert_int_equal(kv_alarms(n.kv), 0);
    one_node_compact(&n, kv_revision(n.kv));
    one_node_run_ms(&n, 100);
    assert_int_equal(admit(l, WRITE_CONTENT, "a", 1), OK); /* by itself */
    write_limits_free(l);
    one_node_close(&n);
    one_node_remove(&n);
}

/* --- a publisher in a loop ------------------------------------------------------------------------------ */

static void turn_limits(void *arg)
{
    write_limits_turn(*(struct write_limits **)arg);
}

/* Four times the quota: the publisher is refused now and then, and retention makes room for it; other clients
 * do not notice. */
static void test_publisher_in_a_loop(void **state)
{
    (void)state;
    struct config_node n = {.node.quota_bytes = QUOTA};
    struct write_limits *l = NULL;
    struct buf text = {0};
    double compactions = metric_get(METRIC_PRESSURE_COMPACTIONS);
    config_node_open(&n, NULL);
    config_free(n.config);
    l = write_limits_new(&(struct write_limits_options){.kv = n.node.kv, .history_ms = 50});
    struct config_options options = {
        .kv = n.node.kv, .releases_kept = 3, .history_bytes_max = QUOTA / 8, .limits = l};
    n.config = config_new(&options);
    n.turn = turn_limits;
    n.arg = &l;
    config_node_settle(&n);
    size_t refused = 0, written = 0;
    for (int i = 0; written < 4 * QUOTA; i++) {
        buf_clear(&text);
        buf_addf(&text, "%d ", i);
        while (text.size < 50000)
            buf_add_byte(&text, 'x');
        struct config_reply a = config_node_publish(&n, "loop", buf_text(&text));
        assert_true(a.err == OK || a.err == ERR_NO_SPACE);
        if (a.err)
            one_node_run_ms(&n.node, 50);
        refused += a.err != OK;
        written += a.err ? 0 : text.size;
        assert_true(refused < 500);
        one_node_put(&n.node, "other", "client", 0);
    }
    assert_int_equal(kv_alarms(n.node.kv), 0);
    assert_true(metric_get(METRIC_PRESSURE_COMPACTIONS) > compactions);
    assert_true(kv_space(n.node.kv).live < QUOTA);
    assert_int_equal(config_node_publish(&n, "other", "x").err, OK);
    buf_done(&text);
    config_free(n.config);
    n.config = NULL;
    n.turn = NULL;
    write_limits_free(l);
    config_node_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate),
        cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_publisher_in_a_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
