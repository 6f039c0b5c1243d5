/* SPDX-License-Identifier: Apache-2.0
 * Tests of registrations through the etcd API in the registry's view. They come, change and go with their
 * keys and leases, beside native instances. They are read-only, except for operator overrides. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/registry_node.h"

#define KRATOS   "/microservices/orders/k1"
#define ENDPOINT "{\"endpoints\":[\"grpc://10.0.0.5:9000\"]}"

static int setup(void **state)
{
    struct registry_node *n = mem_new(sizeof *n);
    struct registry_options options = {0};
    char error[300];
    int err = projections_parse(slice_text("defaults,go-zero=order.rpc@prod/g"), error, sizeof error,
                                &options.projections);
    assert_int_equal(err, OK);
    registry_node_open(n, &options);
    *state = n;
    return 0;
}

static int teardown(void **state)
{
    registry_node_close(*state);
    mem_free(*state);
    return 0;
}

static void put(struct registry_node *n, const char *key, const char *value, int64_t lease)
{
    one_node_put(&n->node, key, value, lease);
    registry_node_settle(n);
}

static void test_beside_our_own(void **state)
{
    struct registry_node *n = *state;
    registry_node_registered(n, "orders", "o1", "{\"host\":\"h\",\"port\":1}", 0);
    put(n, KRATOS, ENDPOINT, 0);
    put(n, "order.rpc/77", "10.0.0.9:1", 0);
    struct catalog_instance *i = registry_node_find(n, "orders", "kratos:k1");
    assert_non_null(i);
    assert_int_equal(i->service->instances, 2);
    assert_int_equal(i->doc->port, 9000);
    assert_true(slice_equal(i->doc->source, slice_text("kratos")));
    assert_true(catalog_effect(i).serves);
    assert_non_null(registry_node_find(n, "prod/g/order.rpc", "go-zero:77"));
    put(n, KRATOS, "{\"endpoints\":[\"grpc://10.0.0.5:9001\"]}", 0);
    assert_int_equal(registry_node_find(n, "orders", "kratos:k1")->doc->port, 9001);
    one_node_delete(&n->node, KRATOS, NULL);
    registry_node_settle(n);
    assert_null(registry_node_find(n, "orders", "kratos:k1"));
    assert_non_null(registry_node_find(n, "orders", "o1"));
}

/* etcd's semantics: it is deleted with its lease, and neither lost nor protected. */
static void test_lease(void **state)
{
    struct registry_node *n = *state;
    int64_t lease = registry_node_session(n, 60);
    put(n, KRATOS, ENDPOINT, lease);
    assert_non_null(registry_node_find(n, "orders", "kratos:k1"));
    registry_node_revoke(n, lease);
    assert_null(registry_node_find(n, "orders", "kratos:k1"));
}

static void test_read_only(void **state)
{
    struct registry_node *n = *state;
    struct registry_reply a;
    struct registry_key key = registry_key_of("orders", "kratos:k1");
    put(n, KRATOS, ENDPOINT, 0);
    registry_node_register(n, &a, "orders", "kratos:k1", "{\"host\":\"h\",\"port\":1}", 0);
    registry_node_wait(n, &a);
    assert_int_equal(a.err, ERR_INVALID);
    assert_non_null(strstr(a.error, "read-only"));
    a = (struct registry_reply){.request.done = registry_reply_done};
    registry_deregister(n->registry, &a.request, &key);
    registry_node_wait(n, &a);
    assert_int_equal(a.err, ERR_INVALID);
    /* An etcd client's document under our keys with such an id is left alone, and changes nothing. */
    registry_node_put(n, NAME_INSTANCE, "orders", "kratos:k1", "{\"host\":\"other\",\"port\":1}");
    registry_node_settle(n);
    assert_int_equal(registry_node_find(n, "orders", "kratos:k1")->doc->port, 9000);
    registry_node_remove(n, NAME_INSTANCE, "orders", "kratos:k1");
    registry_node_settle(n);
    assert_non_null(registry_node_find(n, "orders", "kratos:k1"));
    /* An id that only looks similar is allowed. */
    registry_node_registered(n, "orders", "kratosk1", "{\"host\":\"h\",\"port\":1}", 0);
}

/* Operator overrides apply to them as to all others. */
static void test_override(void **state)
{
    struct registry_node *n = *state;
    put(n, KRATOS, ENDPOINT, 0);
    registry_node_put(n, NAME_OVERRIDE, "orders", "kratos:k1", "{\"enabled\":false}");
    registry_node_settle(n);
    struct catalog_instance *i = registry_node_find(n, "orders", "kratos:k1");
    assert_false(catalog_effect(i).serves);
    one_node_delete(&n->node, KRATOS, NULL);
    put(n, KRATOS, ENDPOINT, 0); /* it registers anew */
    assert_false(catalog_effect(registry_node_find(n, "orders", "kratos:k1")).serves);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_beside_our_own),
        TEST(test_lease),
        TEST(test_read_only),
        TEST(test_override),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
