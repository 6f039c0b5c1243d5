/* SPDX-License-Identifier: Apache-2.0
 * Tests of streams while users are enabled. A reader that may read an instance's source key sees the
 * projected instance. Another reader gets nothing of it: no item, no count, no id in a delete, and no frame
 * when nothing else changes. When a reader's rights change, its view is replaced. */
#include "tests/unit/stream_world.h"

#include "base/log.h"
#include "tests/unit/unit.h"

#define INSTANCES "/cairn/registry/instances/"
#define KRATOS    "/microservices/orders/k1"
#define ENDPOINT  "{\"endpoints\":[\"grpc://10.0.0.5:9000\"]}"
#define OTHER     "{\"endpoints\":[\"grpc://10.0.0.5:9001\"]}"

static struct stream_world world;
static struct stream_options options;

/* alice reads the registry and kratos' keys, bob and carol the registry alone. */
static int open_world(void **state)
{
    static const char *const users[] = {"alice", "bob", "carol"};
    (void)state;
    memset(&world, 0, sizeof world);
    world.has_users = true;
    options = (struct stream_options){.mark_ms = 3600 * 1000};
    stream_world_open(&world, &options, "");
    for (size_t i = 0; i < COUNT_OF(users); i++) {
        stream_world_add_user(&world, users[i]);
        stream_world_grant(&world, users[i], INSTANCES, false);
    }
    stream_world_grant(&world, "alice", "/microservices/", false);
    stream_world_enable(&world);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    stream_world_close(&world);
    one_node_remove(&world.node);
    return 0;
}

static void source(const char *key, const char *value)
{
    if (value)
        one_node_put(&world.node, key, value, 0);
    else
        one_node_delete(&world.node, key, NULL);
}

static void connect_as(struct stream_client *c, const char *user)
{
    stream_client_hello(c, &world, stream_text(",\"token\":\"%s\"", stream_world_token(&world, user)));
}

static void take(struct stream_client *c, struct stream_model *m)
{
    const char *frame = stream_client_next(c);
    if (strstr(frame, "\"type\":\"error\""))
        fail_msg("%s", frame);
    stream_model_take(m, frame);
}

/* The ids, in the order of the model. */
static size_t count_of(const struct stream_model *m)
{
    return json_object_size(m->items);
}

static bool has(const struct stream_model *m, const char *id)
{
    return json_object_get(m->items, id) != NULL;
}

static void test_service(void **state)
{
    (void)state;
    struct stream_client alice, bob;
    struct stream_model a = {.sid = 1}, b = {.sid = 1};
    source(KRATOS, ENDPOINT);
    stream_world_put(&world, "orders", "o1", "{\"host\":\"h\",\"port\":1}");
    connect_as(&alice, "alice");
    connect_as(&bob, "bob");
    stream_client_subscribe(&alice, 1, "service", ",\"name\":\"orders\"");
    stream_client_subscribe(&bob, 1, "service", ",\"name\":\"orders\"");
    take(&alice, &a);
    take(&bob, &b);
    assert_int_equal(count_of(&a), 2);
    assert_int_equal(count_of(&b), 1);
    assert_true(has(&b, "o1"));
    /* It changes, is deleted and is created again: bob gets no frame. */
    source(KRATOS, OTHER);
    take(&alice, &a);
    stream_client_expect_nothing(&bob);
    source(KRATOS, NULL);
    take(&alice, &a);
    assert_int_equal(count_of(&a), 1);
    stream_client_expect_nothing(&bob);
    source(KRATOS, ENDPOINT);
    take(&alice, &a);
    /* The instances that bob may see arrive, with an unbroken chain of revisions. */
    stream_world_put(&world, "orders", "o2", "{\"host\":\"h\",\"port\":2}");
    take(&alice, &a);
    take(&bob, &b);
    assert_int_equal(count_of(&a), 3);
    assert_int_equal(count_of(&b), 2);
    assert_null(strstr(buf_text(&bob.message), "kratos"));
    stream_model_done(&a);
    stream_model_done(&b);
    stream_client_close(&alice);
    stream_client_close(&bob);
}

static void test_services(void **state)
{
    (void)state;
    struct stream_client alice, bob;
    struct stream_model a = {.sid = 1}, b = {.sid = 1};
    stream_world_put(&world, "orders", "o1", "{\"host\":\"h\",\"port\":1}");
    source(KRATOS, ENDPOINT);
    source("/microservices/secret/k1", ENDPOINT);
    connect_as(&alice, "alice");
    connect_as(&bob, "bob");
    stream_client_subscribe(&alice, 1, "services", ",\"prefix\":\"\"");
    stream_client_subscribe(&bob, 1, "services", ",\"prefix\":\"\"");
    take(&alice, &a);
    take(&bob, &b);
    assert_int_equal(count_of(&a), 2);
    assert_int_equal(count_of(&b), 1);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(b.items, "orders"), "instances")), 1);
    source(KRATOS, OTHER);
    take(&alice, &a);
    source("/microservices/secret/k1", NULL);
    take(&alice, &a);
    stream_client_expect_nothing(&bob);
    assert_int_equal(count_of(&a), 1);
    stream_world_delete(&world, "orders", "o1"); /* for bob the service is deleted */
    take(&bob, &b);
    assert_int_equal(count_of(&b), 0);
    stream_model_done(&a);
    stream_model_done(&b);
    stream_client_close(&alice);
    stream_client_close(&bob);
}

/* Readers with equal rights share a topic. */
static void test_shared(void **state)
{
    (void)state;
    struct stream_client list[4];
    static const char *const users[] = {"bob", "carol", "bob", "alice"};
    for (size_t i = 0; i < COUNT_OF(list); i++) {
        connect_as(&list[i], users[i]);
        stream_client_subscribe(&list[i], 1, "service", ",\"name\":\"orders\"");
        stream_client_next(&list[i]);
    }
    assert_int_equal(stream_server_counts(world.stream).topics, 2);
    for (size_t i = 0; i < COUNT_OF(list); i++)
        stream_client_close(&list[i]);
}

static void test_rights_change(void **state)
{
    (void)state;
    struct stream_client bob, carol;
    struct stream_model b = {.sid = 1}, c = {.sid = 1};
    source(KRATOS, ENDPOINT);
    stream_world_put(&world, "orders", "o1", "{\"host\":\"h\",\"port\":1}");
    connect_as(&bob, "bob");
    connect_as(&carol, "carol");
    stream_client_subscribe(&bob, 1, "service", ",\"name\":\"orders\"");
    stream_client_subscribe(&carol, 1, "service", ",\"name\":\"orders\"");
    take(&bob, &b);
    take(&carol, &c);
    /* More rights: a snapshot with the newly visible instances. */
    stream_world_grant(&world, "bob", "/microservices/", false);
    stream_client_expect(&bob, "{\"type\":\"resync\",\"sid\":1,\"reason\":\"rights\"}");
    b.resyncs = 0;
    take(&bob, &b);
    assert_true(has(&b, "kratos:k1"));
    stream_client_expect_nothing(&carol); /* whose rights are the same */
    /* Fewer rights: instances that are not visible any more are deleted. */
    stream_world_revoke(&world, "bob", "/microservices/");
    stream_client_expect(&bob, "{\"type\":\"resync\",\"sid\":1,\"reason\":\"rights\"}");
    take(&bob, &b);
    assert_int_equal(count_of(&b), 1);
    source(KRATOS, OTHER);
    stream_client_expect_nothing(&bob);
    stream_client_expect_nothing(&carol);
    stream_model_done(&b);
    stream_model_done(&c);
    stream_client_close(&bob);
    stream_client_close(&carol);
}

/* A client that reconnects after its rights have changed cannot resume from a revision; without a change it
 * can. */
static void test_comes_back(void **state)
{
    (void)state;
    struct stream_client bob;
    struct stream_model m = {.sid = 1};
    source(KRATOS, ENDPOINT);
    stream_world_put(&world, "orders", "o1", "{\"host\":\"h\",\"port\":1}");
    connect_as(&bob, "bob");
    stream_client_subscribe(&bob, 1, "service", ",\"name\":\"orders\"");
    take(&bob, &m);
    stream_client_close(&bob);
    int64_t has_seen = m.revision;
    stream_world_put(&world, "orders", "o2", "{\"host\":\"h\",\"port\":2}");
    connect_as(&bob, "bob");
    stream_client_subscribe(&bob, 1, "service",
                            stream_text(",\"name\":\"orders\",\"from_revision\":%d", (int)has_seen + 1));
    take(&bob, &m);
    assert_int_equal(m.snapshots, 1);
    assert_int_equal(count_of(&m), 2);
    stream_client_close(&bob);
    stream_world_grant(&world, "bob", "/microservices/", false);
    connect_as(&bob, "bob");
    stream_client_subscribe(&bob, 1, "service",
                            stream_text(",\"name\":\"orders\",\"from_revision\":%d", (int)m.revision + 1));
    stream_client_expect(&bob, "{\"type\":\"resync\",\"sid\":1,\"reason\":\"rights\"}");
    take(&bob, &m);
    assert_int_equal(count_of(&m), 3);
    stream_model_done(&m);
    stream_client_close(&bob);
}

/* Protection does not count an unreadable instance either. */
static void test_protection(void **state)
{
    (void)state;
    struct stream_client bob;
    source(KRATOS, ENDPOINT);
    one_node_put(&world.node, "/cairn/registry/services/default/default/orders",
                 "{\"protect_threshold\":0.5}", 0);
    stream_world_put(&world, "orders", "o1", "{\"host\":\"h\",\"port\":1}");
    stream_world_put(&world, "orders", "o2", "{\"host\":\"h\",\"port\":1,\"state\":\"down\"}");
    connect_as(&bob, "bob");
    stream_client_subscribe(&bob, 1, "service", ",\"name\":\"orders\",\"filter\":{\"healthy\":true}");
    const char *snapshot = stream_client_next(&bob);
    assert_non_null(strstr(snapshot, "\"protected\":true")); /* 1 of 2; with the projected one it is 2 of 3 */
    assert_non_null(strstr(snapshot, "\"o2\""));
    assert_null(strstr(snapshot, "kratos"));
    stream_client_close(&bob);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, open_world, close_world)

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        TEST(test_service),       TEST(test_services),   TEST(test_shared),
        TEST(test_rights_change), TEST(test_comes_back), TEST(test_protection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
