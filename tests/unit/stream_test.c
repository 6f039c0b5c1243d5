/* SPDX-License-Identifier: Apache-2.0
 * Tests of streams over WebSockets: conversations, refusals, resuming, credit, slow readers, keys, sessions.
 */
#include "tests/unit/stream_world.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tests/unit/unit.h"

static struct stream_world world;
static struct stream_options options;
static uint64_t cluster_id;

static int open_world(void **state)
{
    (void)state;
    memset(&world, 0, sizeof world);
    options.mark_ms = 3600 * 1000;
    stream_world_open(&world, &options, "https://good.example");
    cluster_id = kv_cluster_id(world.node.kv);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    stream_world_close(&world);
    one_node_remove(&world.node);
    options = (struct stream_options){0};
    return 0;
}

#define WELCOME_LIMITS                                                                                       \
    "\"limits\":{\"window\":1048576,\"subscriptions\":1024,\"requests\":64,\"frame_bytes\":65536,"           \
    "\"silent_ms\":30000}}"

static int64_t put(const char *service, const char *id, int port)
{
    return stream_world_put(&world, service, id, stream_text("{\"host\":\"h\",\"port\":%d}", port));
}

/* --- conversations ------------------------------------------------------------------------------------ */

static void test_conversation(void **state)
{
    (void)state;
    struct stream_client c;
    struct stream_model m = {.sid = 1};
    stream_client_open(&c, &world, "Sec-WebSocket-Protocol: other, cairn.v1+json\r\n");
    stream_client_say(
        &c, "{\"type\":\"hello\",\"client_id\":\"web-7\",\"labels\":{\"zone\":\"b\"},\"token\":\"t\"}");
    int64_t now = registry_revision(world.registry);
    stream_client_expect(
        &c, stream_text("{\"type\":\"welcome\",\"cluster_id\":\"%" PRIu64 "\",\"member\":\"n1\","
                        "\"revision\":%d,\"ttl_ms\":30000,\"heartbeat_ms\":10000," WELCOME_LIMITS,
                        cluster_id, (int)registry_revision(world.registry)));
    (void)now;
    int64_t first = put("orders", "o1", 8080);
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"service\",\"name\":\"orders\"}");
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(json_object_size(m.items), 1);
    assert_int_equal(m.revision, first);
    json_t *item = json_object_get(m.items, "o1");
    assert_string_equal(json_string_value(json_object_get(item, "host")), "h");
    assert_string_equal(json_string_value(json_object_get(item, "state")), "up");
    int64_t second = put("orders", "o2", 8081);
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(m.revision, second);
    assert_int_equal(json_object_size(m.items), 2);
    int64_t third = stream_world_delete(&world, "orders", "o1");
    stream_client_expect(
        &c, stream_text("{\"type\":\"delta\",\"sid\":1,\"revision\":%d,\"previous\":%d,\"put\":[],"
                        "\"delete\":[\"o1\"]}",
                        (int)third, (int)second));
    /* A change that does not concern the client is not sent. */
    put("other", "x", 1);
    assert_false(stream_client_receives(&c, 50));
    stream_client_say(&c, "{\"type\":\"unsubscribe\",\"sid\":1}");
    stream_client_say(&c, "{\"type\":\"unsubscribe\",\"sid\":1}");
    stream_client_expect(
        &c, "{\"type\":\"error\",\"sid\":1,\"code\":\"not_found\",\"message\":\"unsubscribe: there "
            "is no such subscription\"}");
    put("orders", "o3", 1);
    assert_false(stream_client_receives(&c, 50));
    assert_int_equal(stream_server_counts(world.stream).subscriptions, 0);
    stream_client_close(&c);
    assert_int_equal(stream_server_counts(world.stream).connections, 0);
    stream_model_done(&m);
}

static void test_services(void **state)
{
    (void)state;
    struct stream_client c;
    int64_t before = put("orders", "o1", 1);
    stream_client_hello(&c, &world, "");
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":9,\"kind\":\"services\",\"prefix\":\"ord\"}");
    stream_client_expect(
        &c, stream_text("{\"type\":\"snapshot\",\"sid\":9,\"revision\":%d,\"part\":1,\"last\":true,"
                        "\"items\":[{\"id\":\"orders\",\"name\":\"orders\",\"group\":\"default\","
                        "\"instances\":1,\"states\":{\"up\":1},\"revision\":%d}]}",
                        (int)before, (int)before));
    int64_t other = put("users", "u1", 1);
    int64_t now = put("orders", "o2", 1);
    assert_true(now > other);
    stream_client_expect(
        &c, stream_text("{\"type\":\"delta\",\"sid\":9,\"revision\":%d,\"previous\":%d,\"put\":[{"
                        "\"id\":\"orders\",\"name\":\"orders\",\"group\":\"default\",\"instances\":2,"
                        "\"states\":{\"up\":2},\"revision\":%d}],\"delete\":[]}",
                        (int)now, (int)before, (int)now));
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":10,\"kind\":\"services\",\"group\":\"\"}");
    assert_non_null(strstr(stream_client_next(&c), "{\"id\":\"default/users\",\"name\":\"users\""));
    stream_client_close(&c);
}

/* A client that sends wrong frames and reads none of the errors: the server does not read from it either. */
static void test_unread_errors(void **state)
{
    (void)state;
    enum { TIMES = 200000 };
    struct stream_client c;
    static const char text[] = "{\"type\":\"dance\"}";
    uint8_t frame[6 + sizeof text - 1] = {0x81, 0x80 | (sizeof text - 1)};
    memcpy(frame + 6, text, sizeof text - 1);
    stream_client_hello(&c, &world, "");
    size_t sent = 0, at = 0;
    uint64_t most = 0;
    for (unsigned idle = 0; idle < 100 && sent < TIMES;) {
        ssize_t n = send(c.fd, frame + at, sizeof frame - at, MSG_NOSIGNAL);
        at += n > 0 ? (size_t)n : 0;
        sent += at == sizeof frame;
        at = at == sizeof frame ? 0 : at;
        if (n > 0)
            continue;
        idle++;
        stream_world_run_ms(&world, 1);
        most = world.output.bytes > most ? world.output.bytes : most;
    }
    assert_true(sent < TIMES);
    assert_true(most > 0 && most < 1 << 20); /* 64 KiB, and what one read was answered */
    for (size_t i = 0; i < sent; i++)        /* a late reader gets all of them */
        stream_client_expect_frame(&c, "error", "unknown type");
    assert_int_equal(world.output.bytes, 0);
    stream_client_close(&c);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *says, *hears;
    } wrong[] = {
        {"{\"type\":\"dance\"}", "\"code\":\"invalid\",\"message\":\"unknown type \\\"dance\\\"\"}"},
        {"{\"type\":\"subscribe\",\"sid\":2,\"kind\":\"service\",\"nam\":\"x\"}",
         "\"sid\":2,\"code\":\"invalid\",\"message\":\"subscribe: unknown field \\\"nam\\\"\"}"},
        {"{\"type\":\"subscribe\",\"sid\":2,\"kind\":\"service\",\"name\":\"a/b\"}",
         "\"sid\":2,\"code\":\"invalid\""},
        {"{\"type\":\"subscribe\",\"sid\":2,\"kind\":\"what\",\"name\":\"x\"}", "unknown kind \\\"what\\\""},
        {"{\"type\":\"subscribe\",\"sid\":2,\"kind\":\"kv\",\"name\":\"x\",\"prefix\":\"y\"}",
         "\"code\":\"invalid\""},
        {"{\"type\":\"subscribe\",\"sid\":2,\"kind\":\"service\",\"name\":\"x\",\"from_revision\":100000}",
         "\"sid\":2,\"code\":\"future_rev\""},
        {"{\"type\":\"hello\"}", "\"code\":\"invalid\",\"message\":\"hello: it was sent already\"}"},
        {"{\"type\":\"register\",\"rid\":7,\"name\":\"a\",\"id\":\"b\",\"instance\":{\"hots\":\"x\"}}",
         "\"rid\":7,\"code\":\"invalid\""},
        {"{\"type\":\"heartbeat\",\"x\":1}", "\"code\":\"invalid\""},
    };
    struct stream_client c;
    stream_client_hello(&c, &world, "");
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        stream_client_say(&c, wrong[i].says);
        const char *got = stream_client_next(&c);
        if (strncmp(got, "{\"type\":\"error\"", 15) != 0 || !strstr(got, wrong[i].hears))
            fail_msg("%s received %s", wrong[i].says, got);
    }
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":2,\"kind\":\"service\",\"name\":\"x\"}");
    assert_non_null(strstr(stream_client_next(&c), "\"snapshot\""));
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":2,\"kind\":\"service\",\"name\":\"y\"}");
    assert_non_null(strstr(stream_client_next(&c), "\"code\":\"exists\""));
    stream_client_say(&c, "{\"type\"");
    assert_non_null(strstr(stream_client_next(&c), "\"code\":\"malformed\""));
    stream_client_expect_close(&c, 1008);
    stream_client_close(&c);

    static const struct {
        const char *says;
        uint16_t status;
    } first[] = {
        {"{\"type\":\"heartbeat\"}", 1008},
        {"{\"type\":\"hello\",\"token\":12}", 1008},
        {"[]", 1008},
        {"", 1008},
    };
    for (size_t i = 0; i < COUNT_OF(first); i++) {
        stream_client_open(&c, &world, "");
        stream_client_say(&c, first[i].says);
        assert_non_null(strstr(stream_client_next(&c), "{\"type\":\"error\""));
        stream_client_expect_close(&c, first[i].status);
        stream_client_close(&c);
    }
}

static void test_origin(void **state)
{
    (void)state;
    struct stream_client c;
    stream_client_open(&c, &world, "Origin: https://good.example\r\n");
    stream_client_close(&c);
    stream_client_open(&c, &world, "Origin: http://x\r\n");
    stream_client_close(&c);
    static const char *const refused[] = {
        "Host: x\r\nOrigin: https://evil.example\r\n", "Host: x\r\nOrigin: null\r\n",
        "Host: x\r\nOrigin: http://x:3000\r\nSec-Fetch-Site: same-site\r\n",
        "Host: x\r\nSec-Fetch-Site: cross-site\r\n", "Host: evil.example\r\nOrigin: http://evil.example\r\n"};
    for (size_t i = 0; i < COUNT_OF(refused); i++) {
        const char *status = strstr(refused[i], "Host: evil") ? "HTTP/1.1 421" : "HTTP/1.1 403";
        stream_client_ask(&c, &world,
                          stream_text("GET " STREAM_PATH
                                      " HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                                      "dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
                                      refused[i]));
        assert_true(stream_client_has_text(&c, status));
        stream_client_close(&c);
        stream_client_ask(
            &c, &world,
            stream_text("GET " STREAM_PATH "?kind=service&name=a HTTP/1.1\r\n%s\r\n", refused[i]));
        assert_true(stream_client_has_text(&c, status));
        stream_client_close(&c);
    }
}

/* Frames that arrive before welcome are answered after it; nothing is served before the view can be read. */
static void test_early_frames(void **state)
{
    (void)state;
    struct stream_client c;
    put("orders", "o1", 1);
    world.is_held = true;
    stream_client_open(&c, &world, "");
    stream_client_say(&c, stream_text("{\"type\":\"hello\",\"resume\":{\"cluster_id\":\"%" PRIu64
                                      "\",\"revision\":%d}}",
                                      cluster_id, (int)kv_revision(world.node.kv) + 1));
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"service\",\"name\":\"orders\"}");
    stream_client_say(&c, "{\"type\":\"dance\"}");
    assert_false(stream_client_receives(&c, 50));
    world.is_held = false;
    assert_false(stream_client_receives(&c, 50)); /* the token is not reached */
    one_node_put(&world.node, "any", "thing", 0);
    assert_non_null(strstr(stream_client_next(&c), "\"welcome\""));
    assert_non_null(strstr(stream_client_next(&c), "unknown type"));
    assert_non_null(strstr(stream_client_next(&c), "\"snapshot\""));
    stream_client_close(&c);
    /* A token that is never reached sends the client to another member. */
    stream_client_open(&c, &world, "");
    stream_client_say(&c, stream_text("{\"type\":\"hello\",\"resume\":{\"cluster_id\":\"%" PRIu64
                                      "\",\"revision\":99999}}",
                                      cluster_id));
    assert_non_null(strstr(stream_client_next(&c), "{\"type\":\"goaway\",\"after_ms\":"));
    stream_client_expect_close(&c, 1001);
    stream_client_close(&c);
    /* Too many frames before welcome. */
    world.is_held = true;
    stream_client_open(&c, &world, "");
    stream_client_say(&c, stream_text("{\"type\":\"hello\",\"resume\":{\"cluster_id\":\"%" PRIu64
                                      "\",\"revision\":99999}}",
                                      cluster_id));
    char *big = malloc(40000);
    memset(big, ' ', 39999);
    big[39999] = 0;
    stream_client_say(&c, big);
    stream_client_say(&c, big);
    free(big);
    world.is_held = false;
    assert_non_null(strstr(stream_client_next(&c), "\"code\":\"limit\""));
    stream_client_expect_close(&c, 1009);
    stream_client_close(&c);
}

/* A member that starts: clients connect before the view is ready. */
static void test_not_ready(void **state)
{
    (void)state;
    struct stream_client c, events;
    put("orders", "o1", 1);
    stream_world_close(&world);
    world.is_held = true;
    stream_world_open(&world, &options, NULL); /* the same folder */
    stream_client_open(&c, &world, "");
    stream_client_say(&c, "{\"type\":\"hello\"}");
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"service\",\"name\":\"orders\"}");
    stream_client_ask(&events, &world,
                      "GET " STREAM_PATH "?kind=service&name=orders HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_false(stream_client_receives(&c, 50));
    assert_int_equal(events.in.size, 0);
    world.is_held = false;
    assert_non_null(strstr(stream_client_next(&c), "\"welcome\""));
    assert_non_null(strstr(stream_client_next(&c), "\"id\":\"o1\"")); /* never an empty list */
    assert_true(stream_client_has_text(&events, "\"id\":\"o1\""));
    stream_client_close(&c);
    stream_client_close(&events);
}

/* The history is compacted before the view reads it, and the view is read anew: the client gets the
 * differences. */
static void test_read_anew(void **state)
{
    (void)state;
    struct stream_client c;
    struct stream_model m = {.sid = 1};
    bool was_away = false;
    for (int i = 0; i < 5; i++)
        put("orders", stream_text("o%d", i), 1);
    stream_client_hello(&c, &world, "");
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"service\",\"name\":\"orders\"}");
    stream_model_take(&m, stream_client_next(&c));
    world.is_held = true;
    const char *prefix = REGISTRY_PREFIX "instances/default/default/orders/";
    for (int i = 0; i < 12000; i++)
        one_node_put(
            &world.node, stream_text("%so%d", prefix, i % 3),
            stream_text("{\"host\":\"h\",\"port\":%d,\"metadata\":{\"x\":\"%0250d\",\"y\":\"%0200d\"}}",
                        i + 1, 0, 0),
            0);
    one_node_delete(&world.node, stream_text("%so4", prefix), NULL);
    one_node_compact(&world.node, kv_revision(world.node.kv));
    world.is_held = false;
    int64_t now = kv_revision(world.node.kv);
    uint64_t end = clock_mono_ms() + 10000;
    while (m.revision < now && clock_mono_ms() < end) {
        was_away |= !registry_is_ready(world.registry);
        if (stream_client_receives(&c, 0))
            stream_model_take(&m, buf_text(&c.message));
    }
    assert_true(was_away);
    assert_int_equal(json_object_size(m.items), 4);
    assert_null(json_object_get(m.items, "o4"));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(m.items, "o2"), "port")), 12000);
    stream_model_done(&m);
    stream_client_close(&c);
}

/* --- resuming --------------------------------------------------------------------------------------- */

static void subscribe(struct stream_client *c, const char *more)
{
    stream_client_subscribe(c, 1, "service", stream_text(",\"name\":\"orders\"%s", more));
}

static void test_resume(void **state)
{
    (void)state;
    struct stream_client c;
    put("orders", "o1", 1);
    int64_t base = put("orders", "o2", 1);
    stream_client_hello(&c, &world, "");
    subscribe(&c, "");
    assert_non_null(strstr(stream_client_next(&c), "\"snapshot\""));
    stream_client_close(&c);
    /* Nothing has changed: nothing is sent. Then the chain continues from the token. */
    int64_t other = put("users", "u1", 1);
    stream_client_hello(&c, &world, "");
    subscribe(&c, stream_text(",\"from_revision\":%d", (int)other + 1));
    assert_false(stream_client_receives(&c, 50));
    int64_t now = stream_world_delete(&world, "orders", "o1");
    stream_client_expect(
        &c, stream_text("{\"type\":\"delta\",\"sid\":1,\"revision\":%d,\"previous\":%d,\"put\":[],"
                        "\"delete\":[\"o1\"]}",
                        (int)now, (int)other));
    stream_client_close(&c);
    /* Changes while it was away: the topic remembers them. */
    now = put("orders", "o3", 1);
    stream_client_hello(&c, &world, "");
    subscribe(&c, stream_text(",\"from_revision\":%d", (int)base + 1));
    struct stream_model m = {.sid = 1, .revision = base, .items = json_object()};
    json_object_set_new(m.items, "o1", json_null());
    json_object_set_new(m.items, "o2", json_null());
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(m.revision, now);
    assert_int_equal(m.deltas, 1);
    assert_int_equal(json_object_size(m.items), 2);
    assert_null(json_object_get(m.items, "o1"));
    stream_model_done(&m);
    stream_client_close(&c);
    /* Further back than the topic remembers: a snapshot, marked as one. */
    stream_client_hello(&c, &world, "");
    subscribe(&c, ",\"from_revision\":1");
    stream_client_expect(&c, "{\"type\":\"resync\",\"sid\":1,\"reason\":\"overflow\"}");
    assert_non_null(strstr(stream_client_next(&c), "\"snapshot\""));
    stream_client_close(&c);
    /* Another cluster's token. */
    stream_client_open(&c, &world, "");
    stream_client_say(&c, "{\"type\":\"hello\",\"resume\":{\"cluster_id\":\"1\",\"revision\":99999}}");
    subscribe(&c, ",\"from_revision\":100000");
    assert_non_null(strstr(stream_client_next(&c), "\"welcome\""));
    stream_client_expect(&c, "{\"type\":\"resync\",\"sid\":1,\"reason\":\"cluster_changed\"}");
    assert_non_null(strstr(stream_client_next(&c), "\"snapshot\""));
    stream_client_close(&c);
}

static void test_known(void **state)
{
    (void)state;
    struct stream_client c;
    int64_t r1 = put("orders", "o1", 1);
    int64_t r2 = put("orders", "o2", 1);
    int64_t now = put("orders", "o3", 1);
    stream_client_hello(&c, &world, "");
    subscribe(&c, stream_text(",\"known\":[{\"id\":\"o1\",\"revision\":%d},{\"id\":\"o2\",\"revision\":%d},"
                              "{\"id\":\"gone\",\"revision\":1}]",
                              (int)r1, (int)r2 - 1));
    struct stream_model m = {.sid = 1, .items = json_object()};
    json_object_set_new(m.items, "o1", json_null());
    json_object_set_new(m.items, "gone", json_null());
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(m.deltas, 1);
    assert_int_equal(m.revision, now);
    assert_int_equal(json_object_size(m.items), 3);
    assert_true(json_is_null(json_object_get(m.items, "o1"))); /* it was known in this form */
    assert_true(json_is_object(json_object_get(m.items, "o2")));
    assert_null(json_object_get(m.items, "gone"));
    stream_world_delete(&world, "orders", "o1");
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(json_object_size(m.items), 2);
    stream_model_done(&m);
    stream_client_close(&c);
}

/* The comparison happens when the frame is sent, not when it is requested: the frame is valid for its
 * revision, and holds the changes between the two. */
static void test_known_is_compared_when_sent(void **state)
{
    (void)state;
    struct stream_client c;
    int64_t r1 = put("orders", "o1", 1), r2 = put("orders", "o2", 1);
    stream_client_hello(&c, &world, "");
    stream_world_run_ms(&world, 20);
    world.is_held = true; /* requested, and not sent yet */
    subscribe(&c, stream_text(",\"known\":[{\"id\":\"o1\",\"revision\":%d},{\"id\":\"o2\",\"revision\":%d}]",
                              (int)r1, (int)r2));
    stream_world_run_ms(&world, 50);
#define ORDERS REGISTRY_PREFIX "instances/default/default/orders/"
    one_node_put(&world.node, ORDERS "o1", "{\"host\":\"h\",\"port\":7}", 0);
    one_node_delete(&world.node, ORDERS "o2", NULL);
    int64_t last = one_node_put(&world.node, ORDERS "o3", "{\"host\":\"h\",\"port\":1}", 0);
    world.is_held = false;
    struct stream_model m = {.sid = 1, .items = json_object()};
    json_object_set_new(m.items, "o1", json_null());
    json_object_set_new(m.items, "o2", json_null());
    while (m.revision < last)
        stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(m.snapshots, 0);
    assert_true(json_is_object(json_object_get(m.items, "o1")));
    assert_null(json_object_get(m.items, "o2"));
    assert_true(json_is_object(json_object_get(m.items, "o3")));
    stream_model_done(&m);
    stream_client_close(&c);
}

#define KEY "/cairn/registry/instances/default/default/orders/a"

/* Protected by a storm guard, and released: both are changes, and a filter leaves protected ones out. */
static void test_guarded(void **state)
{
    (void)state;
    struct stream_client c, other;
    struct stream_model m = {.sid = 1}, filtered = {.sid = 1};
    stream_world_put(&world, "orders", "a", "{\"host\":\"h\",\"port\":1}");
    stream_client_hello(&c, &world, "");
    stream_client_hello(&other, &world, "");
    subscribe(&c, "");
    subscribe(&other, ",\"filter\":{\"guarded\":false}");
    stream_model_take(&m, stream_client_next(&c));
    stream_model_take(&filtered, stream_client_next(&other));
    assert_int_equal(json_object_size(filtered.items), 1);
    one_node_put(&world.node, KEY, "{\"host\":\"h\",\"port\":1,\"guarded\":true,\"session\":\"5\"}", 0);
    stream_model_take(&m, stream_client_next(&c));
    stream_model_take(&filtered, stream_client_next(&other));
    assert_true(json_is_true(json_object_get(json_object_get(m.items, "a"), "guarded")));
    assert_int_equal(json_object_size(filtered.items), 0);
    one_node_put(&world.node, KEY, "{\"host\":\"h\",\"port\":1}", 0);
    stream_model_take(&m, stream_client_next(&c));
    stream_model_take(&filtered, stream_client_next(&other));
    assert_null(json_object_get(json_object_get(m.items, "a"), "guarded"));
    assert_int_equal(json_object_size(filtered.items), 1);
    stream_model_done(&m);
    stream_model_done(&filtered);
    stream_client_close(&c);
    stream_client_close(&other);
}

static void test_filter(void **state)
{
    (void)state;
    struct stream_client c;
    struct stream_model m = {.sid = 1};
    stream_world_put(&world, "orders", "a",
                     "{\"host\":\"h\",\"port\":1,\"version\":\"2\",\"state\":\"starting\"}");
    stream_world_put(&world, "orders", "b", "{\"host\":\"h\",\"port\":1,\"version\":\"1\"}");
    stream_client_hello(&c, &world, "");
    subscribe(&c, ",\"filter\":{\"version\":\"2\",\"healthy\":true}");
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(json_object_size(m.items), 0);
    stream_world_put(&world, "orders", "a", "{\"host\":\"h\",\"port\":1,\"version\":\"2\"}");
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(json_object_size(m.items), 1);
    stream_world_put(&world, "orders", "a", "{\"host\":\"h\",\"port\":1,\"version\":\"1\"}");
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(json_object_size(m.items), 0);
    stream_model_done(&m);
    stream_client_close(&c);
}

/* --- slow readers ----------------------------------------------------------------------------------- */

static void test_window(void **state)
{
    (void)state;
    struct stream_client c;
    struct stream_model m = {.sid = 1};
    char instance[400], other[400];
    sprintf(instance, "{\"host\":\"h\",\"port\":1,\"metadata\":{\"x\":\"%0200d\"}}", 0);
    sprintf(other, "{\"host\":\"h\",\"port\":2,\"metadata\":{\"x\":\"%0200d\"}}", 0);
    stream_client_open(&c, &world, "");
    stream_client_say(&c, "{\"type\":\"hello\",\"window\":1}"); /* at least 16 KiB */
    assert_non_null(strstr(stream_client_next(&c), "\"window\":16384"));
    subscribe(&c, "");
    size_t bytes = 0, frames = 0;
    int64_t last = 0;
    for (int i = 0; i < 200; i++) {
        last = stream_world_put(&world, "orders", "o1", i % 2 ? instance : other);
        while (stream_client_receives(&c, 0)) {
            if (strstr(buf_text(&c.message), "\"code\":\"limit\""))
                continue;
            bytes += c.message.size;
            frames++;
            stream_model_take(&m, buf_text(&c.message));
        }
    }
    assert_true(bytes > 12 * 1024 && bytes < 20 * 1024);
    assert_true(frames < 150);
    assert_true(m.revision < last);
    assert_false(stream_client_receives(&c, 50));
    /* One acknowledgement, and one frame with everything that was missed. */
    stream_client_say(&c, stream_text("{\"type\":\"ack\",\"revision\":%d}", (int)m.revision));
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(m.revision, last);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(m.items, "o1"), "port")), 1);
    /* With acknowledgements of half the window, it never stops. */
    frames = m.deltas;
    for (int i = 0; i < 200; i++) {
        int64_t now = stream_world_put(&world, "orders", "o1", i % 2 ? instance : other);
        stream_model_take(&m, stream_client_next(&c));
        assert_int_equal(m.revision, now);
        if (i % 20 == 19)
            stream_client_say(&c, stream_text("{\"type\":\"ack\",\"revision\":%d}", (int)now - 5));
    }
    assert_int_equal(m.deltas, frames + 200);
    stream_model_done(&m);
    stream_client_close(&c);
}

static void test_slow_reader(void **state)
{
    (void)state;
    struct stream_client slow, quick;
    struct stream_model m = {.sid = 1}, q = {.sid = 1};
    char instance[6000];
    stream_client_hello(&slow, &world, "");
    stream_client_hello(&quick, &world, "");
    subscribe(&slow, "");
    subscribe(&quick, "");
    stream_model_take(&q, stream_client_next(&quick));
    int64_t last = 0;
    for (int i = 0; i < 300; i++) {
        snprintf(instance, sizeof instance,
                 "{\"host\":\"h\",\"port\":%d,\"metadata\":{\"x\":\"%0250d\",\"y\":\"%0250d\"}}", i + 1, 0,
                 0);
        last = stream_world_put(&world, "orders", stream_text("o%d", i % 7), instance);
        while (q.revision < last) {
            stream_model_take(&q, stream_client_next(&quick));
            stream_client_say(&quick, stream_text("{\"type\":\"ack\",\"revision\":%d}", (int)q.revision));
        }
    }
    assert_int_equal(q.snapshots + q.deltas, 301);
    /* The pending bytes of the slow client are bounded; it skips states and ends with the last. */
    while (m.revision < last) {
        stream_model_take(&m, stream_client_next(&slow));
        stream_client_say(&slow, stream_text("{\"type\":\"ack\",\"revision\":%d}", (int)m.revision));
    }
    assert_true(m.deltas <= 300);
    assert_true(json_equal(m.items, q.items));
    stream_model_done(&m);
    stream_model_done(&q);
    stream_client_close(&slow);
    stream_client_close(&quick);
}

/* A snapshot in parts keeps the view with which it began, whatever happens meanwhile. */
static void test_parts(void **state)
{
    (void)state;
    struct stream_client c;
    struct stream_model m = {.sid = 1};
    char text[9000], metadata[8000] = "";
    for (int i = 0; i < 30; i++)
        sprintf(metadata + strlen(metadata), "%s\"k%d\":\"%0200d\"", i ? "," : "", i, 0);
    for (int i = 0; i < 60; i++) {
        snprintf(text, sizeof text, "{\"host\":\"h\",\"port\":1,\"metadata\":{%s}}", metadata);
        stream_world_put(&world, "orders", stream_text("o%02d", i), text);
    }
    stream_client_hello(&c, &world, "");
    subscribe(&c, "");
    size_t parts = 0;
    while (!m.snapshots) {
        stream_model_take(&m, stream_client_next(&c));
        assert_true(c.message.size <= 65536);
        if (parts++ == 0)
            stream_world_delete(&world, "orders", "o59");
    }
    assert_true(parts >= 6);
    assert_int_equal(json_object_size(m.items), 60);
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(json_object_size(m.items), 59);
    assert_int_equal(m.deltas, 1);
    stream_model_done(&m);
    stream_client_close(&c);
}

/* --- marks and time ------------------------------------------------------------------------------------- */

static void test_marks(void **state)
{
    (void)state;
    close_world(NULL);
    options.mark_ms = 50;
    options.hello_ms = 100;
    stream_world_open(&world, &options, NULL);
    cluster_id = kv_cluster_id(world.node.kv);
    struct stream_client c;
    stream_client_hello(&c, &world, "");
    subscribe(&c, "");
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":2,\"kind\":\"kv\",\"prefix\":\"/x/\"}");
    int64_t now = one_node_put(&world.node, "elsewhere", "1", 0);
    int64_t mark = 0;
    while (mark < now) {
        const char *got = stream_client_next(&c);
        if (sscanf(got, "{\"type\":\"mark\",\"revision\":%" SCNd64 "}", &mark) != 1)
            assert_non_null(strstr(got, "\"snapshot\""));
    }
    assert_int_equal(mark, now);
    stream_client_close(&c);
    stream_client_open(&c, &world, ""); /* says nothing */
    assert_non_null(strstr(stream_client_next(&c), "no hello came"));
    stream_client_expect_close(&c, 1008);
    stream_client_close(&c);
}

static void test_drain(void **state)
{
    (void)state;
    struct stream_client c, events;
    stream_client_hello(&c, &world, "");
    subscribe(&c, "");
    assert_non_null(strstr(stream_client_next(&c), "\"snapshot\""));
    stream_client_ask(&events, &world, "GET " STREAM_PATH "?kind=service&name=a HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(stream_client_has_text(&events, "\"snapshot\""));
    http_server_drain(world.http);
    assert_true(http_server_is_closing(world.http));
    assert_non_null(strstr(stream_client_next(&c), "{\"type\":\"goaway\",\"after_ms\":"));
    stream_client_expect_close(&c, 1001);
    assert_true(stream_client_has_text(&events, "event: goaway\n"));
    assert_true(stream_client_has_text(&events, "retry: "));
    assert_true(stream_client_has_text(&events, "\r\n0\r\n\r\n"));
    stream_client_close(&c);
    stream_client_close(&events);
    assert_false(http_server_is_closing(world.http));
    assert_int_equal(stream_server_counts(world.stream).connections, 0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    cmocka_set_test_filter(getenv("ONLY"));
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_conversation),
        TEST(test_services),
        TEST(test_refusals),
        TEST(test_unread_errors),
        TEST(test_origin),
        TEST(test_early_frames),
        TEST(test_not_ready),
        TEST(test_read_anew),
        TEST(test_resume),
        TEST(test_known),
        TEST(test_known_is_compared_when_sent),
        TEST(test_filter),
        TEST(test_guarded),
        TEST(test_window),
        TEST(test_parts),
        TEST(test_slow_reader),
        TEST(test_marks),
        TEST(test_drain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
