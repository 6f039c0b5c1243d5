/* SPDX-License-Identifier: Apache-2.0
 * Tests of further kinds of streams: keys, sessions and registering, drains, Server-Sent Events,
 * compression, hostile clients. */
#include "tests/unit/stream_fixture.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tests/unit/unit.h"

/* --- keys -------------------------------------------------------------------------------------------- */

static void test_keys(void **state)
{
    (void)state;
    struct stream_client c;
    int64_t a = one_node_put(&world.node, "/x/a", "1", 0);
    one_node_put(&world.node, "/y/a", "other", 0);
    int64_t now = kv_revision(world.node.kv);
    stream_client_hello(&c, &world, "");
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":4,\"kind\":\"kv\",\"prefix\":\"/x/\"}");
    stream_client_expect(
        &c, stream_text("{\"type\":\"snapshot\",\"sid\":4,\"revision\":%d,\"part\":1,\"last\":true,\"items\":"
                        "[{\"key\":\"/x/a\",\"value\":\"1\",\"create_revision\":%d,\"mod_revision\":%d,"
                        "\"version\":1}]}",
                        (int)now, (int)a, (int)a));
    /* Every event, each revision one delta. */
    int64_t r1 = one_node_put(&world.node, "/x/a", "2", 0), r2 = one_node_put(&world.node, "/x/a", "3", 0);
    stream_client_expect(
        &c, stream_text("{\"type\":\"delta\",\"sid\":4,\"revision\":%d,\"previous\":%d,\"put\":[{\"key\":"
                        "\"/x/a\",\"value\":\"2\",\"create_revision\":%d,\"mod_revision\":%d,\"version\":2}],"
                        "\"delete\":[]}",
                        (int)r1, (int)now, (int)a, (int)r1));
    assert_non_null(
        strstr(stream_client_next(&c), stream_text("\"revision\":%d,\"previous\":%d", (int)r2, (int)r1)));
    one_node_put(&world.node, "/x/b", "x", 0);
    stream_client_next(&c);
    int64_t r4 = one_node_delete(&world.node, "/x/", "/x0");
    stream_client_expect(
        &c,
        stream_text("{\"type\":\"delta\",\"sid\":4,\"revision\":%d,\"previous\":%d,\"put\":[],\"delete\":["
                    "\"/x/a\",\"/x/b\"]}",
                    (int)r4, (int)r4 - 1));
    /* From history, with a sid that was used before. */
    stream_client_say(&c, "{\"type\":\"unsubscribe\",\"sid\":4}");
    stream_client_say(
        &c, stream_text(
                "{\"type\":\"subscribe\",\"sid\":4,\"kind\":\"kv\",\"name\":\"/x/a\",\"from_revision\":%d}",
                (int)r1));
    assert_non_null(
        strstr(stream_client_next(&c), stream_text("\"revision\":%d,\"previous\":%d", (int)r1, (int)r1 - 1)));
    assert_non_null(
        strstr(stream_client_next(&c), stream_text("\"revision\":%d,\"previous\":%d", (int)r2, (int)r1)));
    assert_non_null(strstr(stream_client_next(&c), "\"delete\":[\"/x/a\"]"));
    assert_false(stream_client_receives(&c, 30));
    stream_client_close(&c);
}

static void test_keys_compacted(void **state)
{
    (void)state;
    struct stream_client c;
    struct stream_model m = {.sid = 1};
    for (int i = 0; i < 10; i++)
        one_node_put(&world.node, stream_text("/x/%d", i), "v", 0);
    one_node_compact(&world.node, kv_revision(world.node.kv));
    stream_client_hello(&c, &world, "");
    stream_client_say(
        &c, "{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"kv\",\"prefix\":\"/x/\",\"from_revision\":2}");
    stream_client_expect(&c, "{\"type\":\"resync\",\"sid\":1,\"reason\":\"compacted\"}");
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(json_object_size(m.items), 10);
    one_node_delete(&world.node, "/x/3", NULL);
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(json_object_size(m.items), 9);
    stream_model_done(&m);
    stream_client_close(&c);
}

/* Many keys: parts of one revision, though keys change meanwhile; then the events. */
static void test_many_keys(void **state)
{
    (void)state;
    struct stream_client c;
    struct stream_model m = {.sid = 1};
    char value[1500];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    for (int i = 0; i < 300; i++)
        one_node_put(&world.node, stream_text("/x/%03d", i), value + 1200, 0);
    for (int i = 0; i < 100; i++)
        one_node_put(&world.node, stream_text("/x/%03d", i), value + 1100, 0);
    int64_t now = kv_revision(world.node.kv);
    stream_client_hello(&c, &world, "");
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"kv\",\"prefix\":\"/x/\"}");
    size_t parts = 0;
    while (!m.snapshots) {
        stream_model_take(&m, stream_client_next(&c));
        if (parts++ == 0)
            one_node_delete(&world.node, "/x/", "/x1");
    }
    assert_true(parts > 1);
    assert_int_equal(m.revision, now);
    assert_int_equal(json_object_size(m.items), 300);
    stream_model_take(&m, stream_client_next(&c));
    assert_int_equal(json_object_size(m.items), 0);
    stream_model_done(&m);
    stream_client_close(&c);
}

/* Bytes that are not text; all keys; a slow reader gets every event. */
static void test_odd_keys(void **state)
{
    (void)state;
    struct stream_client c;
    one_node_put(&world.node, "k\xff", "v\xfe", 0);
    stream_client_hello(&c, &world, "");
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"kv\",\"prefix\":\"k\"}");
    assert_non_null(strstr(stream_client_next(&c), "{\"key_base64\":\"a/8=\",\"value_base64\":\"dv4=\""));
    one_node_delete(&world.node, "k\xff", NULL);
    assert_non_null(strstr(stream_client_next(&c), "\"delete\":[{\"key_base64\":\"a/8=\"}]"));
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":2,\"kind\":\"kv\",\"prefix\":\"\"}");
    assert_non_null(strstr(stream_client_next(&c), "\"sid\":2"));
    int64_t first = kv_revision(world.node.kv), revision = first;
    char value[400];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = 0;
    for (int i = 0; i < 3000; i++)
        one_node_put(&world.node, "/slow", value, 0);
    while (revision < first + 3000) {
        int64_t now, previous;
        const char *got = stream_client_next(&c);
        if (sscanf(got, "{\"type\":\"delta\",\"sid\":2,\"revision\":%" SCNd64 ",\"previous\":%" SCNd64, &now,
                   &previous) != 2)
            continue; /* that the window is full */
        assert_int_equal(previous, revision);
        assert_int_equal(now, revision + 1);
        revision = now;
        if (revision % 100 == 0 || strstr(got, "window"))
            stream_client_say(&c, stream_text("{\"type\":\"ack\",\"revision\":%d}", (int)revision));
    }
    stream_client_close(&c);
}

/* --- sessions ------------------------------------------------------------------------------------------ */

static int64_t session_of(const char *text)
{
    const char *at = strstr(text, "\"session\":\"");
    assert_non_null(at);
    return (int64_t)strtoull(at + 11, NULL, 16);
}

#define REGISTER                                                                                             \
    "{\"type\":\"register\",\"rid\":%d,\"name\":\"orders\",\"id\":\"%s\",\"instance\":{\"host\":\"h\","      \
    "\"port\":%d,"                                                                                           \
    "\"ttl\":5}}"

/* A frame with an instance of so many keys, whose metadata ends with `last`. */
static const char *large_register(int rid, const char *last)
{
    static struct buf text;
    buf_clear(&text);
    buf_addf(&text, "{\"type\":\"register\",\"rid\":%d,\"name\":\"large\",\"id\":\"l\",", rid);
    buf_add_text(&text, "\"instance\":{\"host\":\"h\",\"port\":1,\"metadata\":{");
    for (int i = 0; i < 1500; i++)
        buf_addf(&text, "\"k%d\":\"\",", i);
    buf_addf(&text, "%s}}}", last);
    return buf_text(&text);
}

/* Its text is parsed once, by the reader of instances: that changes nothing that a client sees. */
static void test_register_large(void **state)
{
    (void)state;
    struct stream_client c;
    stream_client_hello(&c, &world, "");
    stream_client_say(&c, large_register(1, "\"z\":\"y\""));
    assert_non_null(strstr(stream_client_next(&c), "{\"type\":\"result\",\"rid\":1,"));
    const struct catalog_service *s = catalog_find(registry_catalog(world.registry), slice_text("default"),
                                                   slice_text("default"), slice_text("large"));
    assert_non_null(s);
    assert_int_equal(catalog_instance(s, slice_text("l"))->doc->metadata.count, 1501);
    stream_client_say(&c, large_register(2, "\"z\":7"));
    assert_non_null(strstr(stream_client_next(&c), "{\"type\":\"error\",\"rid\":2,\"code\":\"invalid\""));
    stream_client_say(&c, large_register(3, "\"k7\":\"\""));
    assert_non_null(strstr(stream_client_next(&c), "\"code\":\"malformed\""));
    stream_client_expect_close(&c, 1008);
    stream_client_close(&c);
}

static void test_register(void **state)
{
    (void)state;
    struct stream_client c;
    stream_client_hello(&c, &world, ",\"client_id\":\"me\"");
    /* The first one creates the session, the ones after it wait for it. */
    stream_client_say(&c, stream_text(REGISTER, 1, "a", 1));
    stream_client_say(&c, stream_text(REGISTER, 2, "b", 2));
    stream_client_say(&c, stream_text(REGISTER, 3, "c", 3));
    int64_t session = 0;
    for (int i = 0; i < 3; i++) {
        const char *got = stream_client_next(&c);
        assert_non_null(strstr(got, "{\"type\":\"result\",\"rid\":"));
        assert_non_null(strstr(got, "\"ttl\":5,\"heartbeat_ms\":1666"));
        assert_true(!session || session == session_of(got));
        session = session_of(got);
    }
    const struct catalog_session *s = catalog_session(registry_catalog(world.registry), session);
    assert_non_null(s);
    assert_int_equal(s->instance_count, 3);
    assert_true(slice_equal(s->doc.client_id, slice_text("me")));
    stream_client_say(&c, stream_text(REGISTER, 4, "a", 1));
    assert_non_null(strstr(stream_client_next(&c), "\"unchanged\":true"));
    stream_client_say(&c, "{\"type\":\"deregister\",\"rid\":5,\"name\":\"orders\",\"id\":\"b\"}");
    assert_non_null(strstr(stream_client_next(&c), "{\"type\":\"result\",\"rid\":5,\"revision\":"));
    stream_client_say(&c, "{\"type\":\"deregister\",\"rid\":6,\"name\":\"orders\",\"id\":\"b\"}");
    assert_non_null(strstr(stream_client_next(&c), "{\"type\":\"error\",\"rid\":6,\"code\":\"not_found\""));
    stream_client_say(
        &c,
        "{\"type\":\"register\",\"rid\":7,\"name\":\"or/ders\",\"id\":\"b\",\"instance\":{\"host\":\"h\"}}");
    assert_non_null(strstr(stream_client_next(&c), "{\"type\":\"error\",\"rid\":7,\"code\":\"invalid\""));
    /* The connection closes, the session stays; a client that names the session has it again. */
    stream_client_close(&c);
    stream_client_open(&c, &world, "");
    stream_client_say(&c, stream_text("{\"type\":\"hello\",\"session\":{\"id\":\"%" PRIx64 "\"}}", session));
    assert_int_equal(session_of(stream_client_next(&c)), session);
    stream_client_say(&c, stream_text(REGISTER, 1, "d", 1));
    assert_int_equal(session_of(stream_client_next(&c)), session);
    stream_client_close(&c);
}

static void test_session(void **state)
{
    (void)state;
    struct stream_client c;
    stream_client_open(&c, &world, "");
    stream_client_say(&c, "{\"type\":\"hello\",\"session\":{\"ttl\":6}}");
    const char *welcome = stream_client_next(&c);
    assert_non_null(strstr(welcome, "\"ttl_ms\":6000,\"heartbeat_ms\":2000"));
    int64_t session = session_of(welcome);
    stream_client_say(&c, stream_text(REGISTER, 1, "a", 1));
    assert_int_equal(session_of(stream_client_next(&c)), session);
    stream_client_close(&c);
    /* An absent session: the server reports it, and the client continues without one. */
    stream_client_open(&c, &world, "");
    stream_client_say(&c, "{\"type\":\"hello\",\"session\":{\"id\":\"1234\"}}");
    assert_non_null(strstr(stream_client_next(&c), "\"code\":\"session_gone\""));
    welcome = stream_client_next(&c);
    assert_non_null(strstr(welcome, "\"welcome\""));
    assert_null(strstr(welcome, "\"session\""));
    stream_client_close(&c);
    /* Many requests at once: bounded. */
    stream_client_hello(&c, &world, "");
    world.is_held = true;
    for (int i = 0; i < 70; i++)
        stream_client_say(&c, stream_text(REGISTER, i, stream_text("i%d", i), 1));
    assert_non_null(strstr(stream_client_next(&c), "{\"type\":\"error\",\"rid\":64,\"code\":\"limit\""));
    stream_client_close(&c); /* with pending requests */
    world.is_held = false;
    stream_world_run_ms(&world, 20);
}

/* --- the list of subscribers ------------------------------------------------------------------------ */

struct subscribers {
    struct registry_subscribers query;
    char text[512];
    bool is_done;
};

static void on_seen(struct registry_subscribers *s, const struct registry_seen *seen)
{
    struct subscribers *l = container_of(s, struct subscribers, query);
    size_t n = strlen(l->text);
    snprintf(l->text + n, sizeof l->text - n, "%.*s over %.*s has %d;", (int)seen->client_id.size,
             (const char *)seen->client_id.data, (int)seen->transport.size,
             (const char *)seen->transport.data, (int)seen->revision);
}

static void on_listed(struct registry_request *q, int err, const struct registry_result *result)
{
    (void)err, (void)result;
    container_of(q, struct subscribers, query.request)->is_done = true;
}

static bool is_listed(void *arg)
{
    return ((struct subscribers *)arg)->is_done;
}

static const char *subscribers_of(const char *service)
{
    static struct subscribers l;
    struct registry_key key = {
        .ns = slice_text("default"), .group = slice_text("default"), .service = slice_text(service)};
    l = (struct subscribers){.query = {.request.done = on_listed, .seen = on_seen}};
    registry_subscribers(world.registry, &l.query, &key);
    one_node_run(&world.node, is_listed, &l);
    return l.text;
}

static void test_subscribers(void **state)
{
    (void)state;
    struct stream_client c, events;
    int64_t now = stream_world_put(&world, "orders", "a", "{\"host\":\"h\",\"port\":1}");
    stream_client_hello(&c, &world, ",\"client_id\":\"me\"");
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"service\",\"name\":\"orders\"}");
    stream_client_next(&c);
    assert_null(strstr(subscribers_of("orders"), stream_text("has %d;", (int)now)));
    stream_client_say(
        &c, stream_text("{\"type\":\"ack\",\"revision\":%d}", (int)now + 1000)); /* more than was sent */
    stream_world_run_ms(&world, 20);
    assert_string_equal(subscribers_of("orders"), stream_text("me over websocket has %d;", (int)now));
    stream_client_close(&c);
    assert_string_equal(subscribers_of("orders"), "");
    stream_client_ask(&events, &world,
                      "GET " STREAM_PATH
                      "?client_id=page&kind=service&name=orders HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(stream_client_has_text(&events, "\"snapshot\""));
    stream_world_run_ms(&world, 20);
    assert_string_equal(subscribers_of("orders"), stream_text("page over sse has %d;", (int)now));
    stream_client_close(&events);
}

/* --- events --------------------------------------------------------------------------------------------- */

static void ask(struct stream_client *c, const char *query, const char *extra)
{
    stream_client_ask(c, &world,
                      stream_text("GET " STREAM_PATH "%s HTTP/1.1\r\nHost: x\r\n%s\r\n", query, extra));
}

static void expect_text(struct stream_client *c, const char *text)
{
    if (!stream_client_has_text(c, text))
        fail_msg("no \"%s\" in %s", text, buf_text(&c->in));
}

static void test_events(void **state)
{
    (void)state;
    struct stream_client c;
    uint64_t cluster = kv_cluster_id(world.node.kv);
    int64_t first = stream_world_put(&world, "orders", "a", "{\"host\":\"h\",\"port\":1}");
    ask(&c, "?client_id=web&labels=zone=b&kind=service&name=orders&kind=kv&prefix=/x/", "");
    expect_text(&c, "HTTP/1.1 200 OK\r\n");
    expect_text(&c, "Content-Type: text/event-stream\r\n");
    expect_text(&c, "Cache-Control: no-store\r\n");
    expect_text(&c, "event: welcome\ndata: {\"type\":\"welcome\"");
    expect_text(&c, stream_text("event: snapshot\ndata: {\"type\":\"snapshot\",\"sid\":1,\"revision\":%d",
                                (int)first));
    expect_text(&c, stream_text("event: snapshot\nid: %" PRIu64 ":%d\ndata: {\"type\":\"snapshot\",\"sid\":2",
                                cluster, (int)first));
    int64_t second = one_node_put(&world.node, "/x/1", "v", 0);
    expect_text(&c, stream_text("event: delta\nid: %" PRIu64
                                ":%d\ndata: {\"type\":\"delta\",\"sid\":2,\"revision\":%d",
                                cluster, (int)first, (int)second));
    stream_client_close(&c);
    /* Resuming: the changes since, and nothing else. */
    int64_t third = stream_world_put(&world, "orders", "b", "{\"host\":\"h\",\"port\":2}");
    ask(&c, "?kind=service&name=orders",
        stream_text("Last-Event-ID: %" PRIu64 ":%d\r\n", cluster, (int)first));
    expect_text(&c, stream_text("event: delta\nid: %" PRIu64
                                ":%d\ndata: {\"type\":\"delta\",\"sid\":1,\"revision\":%d,"
                                "\"previous\":%d,\"put\":[{\"id\":\"b\"",
                                cluster, (int)third, (int)third, (int)first));
    stream_client_close(&c);
    ask(&c, "?kind=service&name=orders", "Last-Event-ID: 12:5\r\n");
    expect_text(&c, "\"reason\":\"cluster_changed\"");
    expect_text(&c, "event: snapshot\n");
    stream_client_close(&c);
    ask(&c, "?kind=service&name=orders&healthy=true&label=a=b&tag=x", "");
    expect_text(&c, "\"items\":[]}\n\n");
    stream_client_close(&c);
}

static void test_events_refused(void **state)
{
    (void)state;
    static const struct {
        const char *query, *says;
    } wrong[] = {
        {"", "needs subscriptions"},
        {"?name=orders", "unknown parameter before the first kind: name"},
        {"?kind=service&nam=x", "unknown parameter, or one too many: nam"},
        {"?kind=service&name=a&healthy=maybe", "not a value of this parameter: healthy"},
        {"?labels=x&kind=service&name=a", "a label is name=value, not: x"},
        {"?kind=service&name=%ff", "not UTF-8: name"},
    };
    struct stream_client c;
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        ask(&c, wrong[i].query, "");
        expect_text(&c, "HTTP/1.1 400 Bad Request\r\n");
        expect_text(&c, "{\"error\":{\"code\":\"invalid\",\"message\":\"");
        expect_text(&c, wrong[i].says);
        stream_client_close(&c);
    }
    stream_client_ask(&c, &world,
                      "POST " STREAM_PATH "?kind=kv&name=a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    expect_text(&c, "HTTP/1.1 405 ");
    stream_client_close(&c);
    ask(&c, "?kind=config&prefix=a", ""); /* an error in a subscription: reported in the stream */
    expect_text(&c, "event: error\ndata: {\"type\":\"error\",\"sid\":1,\"code\":\"invalid\"");
    stream_client_close(&c);
    world.is_held = true; /* a token that this member has not reached */
    ask(&c, "?kind=service&name=a",
        stream_text("Last-Event-ID: %" PRIu64 ":99999\r\n", kv_cluster_id(world.node.kv)));
    world.is_held = false;
    expect_text(&c, "HTTP/1.1 503 ");
    expect_text(&c, "Retry-After: 1\r\n");
    stream_client_close(&c);
}

/* --- compression and hostility -------------------------------------------------------------------------- */

static void test_deflate(void **state)
{
    (void)state;
    struct stream_client c, plain;
    struct stream_model m = {.sid = 1}, p = {.sid = 7000};
    for (int i = 0; i < 20; i++)
        stream_world_put(&world, "orders", stream_text("o%02d", i),
                         "{\"host\":\"h\",\"port\":1,\"zone\":\"z\"}");
    stream_client_open(&c, &world,
                       "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n");
    assert_true(c.is_deflated);
    struct buf hello = {0};
    struct deflater *d = NULL;
    deflate_pack(&d, slice_text("{\"type\":\"hello\",\"client_id\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}"),
                 &hello);
    stream_client_frame(&c, 0xc1, buf_slice(&hello));
    assert_non_null(strstr(stream_client_next(&c), "\"welcome\""));
    stream_client_hello(&plain, &world, "");
    assert_false(plain.is_deflated);
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"service\",\"name\":\"orders\"}");
    stream_client_say(&plain,
                      "{\"type\":\"subscribe\",\"sid\":7000,\"kind\":\"service\",\"name\":\"orders\"}");
    stream_model_take(&m, stream_client_next(&c));
    stream_model_take(&p, stream_client_next(&plain));
    assert_int_equal(c.compressed, 1);
    for (int i = 0; i < 5; i++) {
        stream_world_put(
            &world, "orders", "o03",
            stream_text("{\"host\":\"host-%d\",\"port\":1,\"metadata\":{\"x\":\"%0200d\"}}", i, 0));
        stream_model_take(&m, stream_client_next(&c));
        stream_model_take(&p, stream_client_next(&plain));
    }
    assert_true(c.compressed > 1);
    assert_true(json_equal(m.items, p.items));
    /* A bomb, and bytes that are not valid deflate data. */
    struct buf spaces = {0}, bomb = {0};
    memset(buf_reserve(&spaces, 3 << 20), ' ', 3 << 20);
    spaces.size = 3 << 20;
    deflate_pack(&d, buf_slice(&spaces), &bomb);
    stream_client_frame(&c, 0xc1, buf_slice(&bomb));
    stream_client_expect_close(&c, 1009);
    stream_client_close(&c);
    stream_client_open(&c, &world, "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    stream_client_frame(&c, 0xc1, slice_text("\xff\xff\xff"));
    stream_client_expect_close(&c, 1007);
    stream_client_close(&c);
    stream_client_close(&plain);
    stream_model_done(&m);
    stream_model_done(&p);
    buf_done(&hello);
    buf_done(&spaces);
    buf_done(&bomb);
    deflater_free(d);
}

/* None of them harms the well-behaved client. */
static void test_hostile(void **state)
{
    (void)state;
    struct stream_client good, c;
    struct stream_model m = {.sid = 1};
    stream_client_hello(&good, &world, "");
    stream_client_say(&good, "{\"type\":\"subscribe\",\"sid\":1,\"kind\":\"service\",\"name\":\"orders\"}");
    stream_model_take(&m, stream_client_next(&good));
    struct buf big = {0};
    memset(buf_reserve(&big, 100000), ' ', 100000);
    big.size = 100000;
    stream_client_open(&c, &world, ""); /* a frame beyond the limit */
    stream_client_frame(&c, 0x81, buf_slice(&big));
    stream_client_expect_close(&c, 1009);
    stream_client_close(&c);
    stream_client_open(&c, &world, ""); /* nested deeper than JSON may be */
    memset(big.data, '[', 60000);
    stream_client_frame(&c, 0x81, slice_of(big.data, 60000));
    assert_non_null(strstr(stream_client_next(&c), "\"code\":\"malformed\""));
    stream_client_expect_close(&c, 1008);
    stream_client_close(&c);
    stream_client_open(&c, &world, ""); /* not UTF-8 */
    stream_client_frame(&c, 0x81, slice_text("\xff"));
    stream_client_expect_close(&c, 1007);
    stream_client_close(&c);
    stream_client_hello(&c, &world, ""); /* more subscriptions than a connection may have */
    for (int i = 1; i <= 1025; i++)
        stream_client_say(
            &c, stream_text("{\"type\":\"subscribe\",\"sid\":%d,\"kind\":\"service\",\"name\":\"s%d\"}", i,
                            i % 3));
    bool is_refused = false;
    for (int i = 0; i < 1025; i++)
        is_refused |=
            strstr(stream_client_next(&c), "{\"type\":\"error\",\"sid\":1025,\"code\":\"limit\"") != NULL;
    assert_true(is_refused);
    assert_int_equal(stream_server_counts(world.stream).subscriptions, 1025);
    stream_client_close(&c);
    assert_int_equal(stream_server_counts(world.stream).subscriptions, 1);
    stream_client_hello(&c, &world, ""); /* requests much, reads nothing, disconnects in the middle */
    for (int i = 1; i <= 500; i++)
        stream_client_say(
            &c, stream_text("{\"type\":\"subscribe\",\"sid\":%d,\"kind\":\"kv\",\"prefix\":\"%d\"}", i, i));
    for (int i = 0; i < 200; i++)
        stream_client_say(&c, "{\"type\":\"dance\"}");
    stream_client_close(&c);
    stream_world_put(&world, "orders", "a", "{\"host\":\"h\",\"port\":1}");
    stream_model_take(&m, stream_client_next(&good));
    assert_int_equal(json_object_size(m.items), 1);
    assert_int_equal(stream_server_counts(world.stream).connections, 1);
    stream_client_close(&good);
    stream_model_done(&m);
    buf_done(&big);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    cmocka_set_test_filter(getenv("ONLY"));
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)
    const struct CMUnitTest tests[] = {
        TEST(test_keys),           TEST(test_keys_compacted), TEST(test_many_keys), TEST(test_odd_keys),
        TEST(test_register_large), TEST(test_register),       TEST(test_session),   TEST(test_subscribers),
        TEST(test_events),         TEST(test_events_refused), TEST(test_deflate),   TEST(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
