/* SPDX-License-Identifier: Apache-2.0
 * Tests of streams of configurations in the client's direction: publish, applied, the list of listeners;
 * event streams. */
#include "tests/unit/stream_world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/text.h"
#include "tests/unit/unit.h"

#define expect_frame   stream_client_expect_frame
#define expect_nothing stream_client_expect_nothing

static struct stream_world world;

static bool is_held; /* contents are not read now */
static struct config_request *held;
static struct config_id held_key;
static uint64_t held_seq;

static void read_release(struct config *c, struct config_request *q, const struct config_id *key,
                         uint64_t seq, bool is_local)
{
    if (!is_held) {
        config_read(c, q, key, seq, is_local);
        return;
    }
    held = q;
    held_key = *key;
    held_seq = seq;
}

static int open_world(void **state)
{
    (void)state;
    struct stream_options options = {.mark_ms = 3600 * 1000, .read = read_release};
    memset(&world, 0, sizeof world);
    is_held = false;
    stream_world_open(&world, &options, NULL);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    stream_world_close(&world);
    one_node_remove(&world.node);
    return 0;
}

static int64_t publish(const char *name, const char *content)
{
    return stream_world_publish(&world, name, slice_text(content));
}

static int64_t publish_bytes(const char *name, struct slice content)
{
    return stream_world_publish(&world, name, content);
}

static int64_t put_gray(const char *name, const char *rule, const char *text, const char *content)
{
    return stream_world_put_gray(&world, name, rule, text, content);
}

/* A text of this size, of one letter. */
static struct buf text_of(char letter, size_t size)
{
    struct buf text = {0};
    memset(buf_reserve(&text, size), letter, size);
    text.size = size;
    return text;
}

/* --- publish, applied, listeners ---------------------------------------------------------------------- */

static void test_publish(void **state)
{
    (void)state;
    static const struct {
        const char *says, *hears;
    } wrong[] = {
        {"\"name\":\"a.json\",\"content\":\"{\\n  x\"",
         "\"code\":\"malformed\",\"message\":\"line 2, column 3: "},
        {"\"name\":\"a.json\",\"content\":\"{\\n  x\"", "\"line\":2,\"column\":3}"},
        {"\"name\":\"a.yaml\",\"content\":\"a: 1\",\"format\":\"yamml\"",
         "\"code\":\"invalid\",\"message\":\"publish: format must be one of"},
        {"\"name\":\"a/b\",\"content\":\"\"", "\"code\":\"invalid\""},
        {"\"name\":\"a\",\"content\":\"?\",\"base64\":true", "publish: content is not base64"},
        {"\"name\":\"a\",\"content\":\"x\",\"title\":\"a\\nb\"", "title holds a control character"},
        {"\"name\":\"a\",\"content\":\"x\",\"if_seq\":3", "\"code\":\"precondition\""},
        {"\"name\":\"b\",\"content\":\"x\",\"if_revision\":1", "\"code\":\"precondition\""},
        {"\"name\":\"b\",\"content\":\"x\",\"if_absent\":true", "\"current\":{\"seq\":2,"},
        {"\"name\":\"b\",\"content\":\"x\",\"if_md5\":\"c4ca4238a0b923820dcc509a6f75849b\"",
         "\"current\":{\"seq\":2,"},
        {"\"name\":\"b\",\"content\":\"x\",\"if_md5\":\"C\"", "publish: if_md5 must be an md5"},
        {"\"name\":\"b\",\"content\":\"x\",\"validate\":true", "publish: validate must be \\\"only\\\""},
        {"\"name\":\"b\",\"content\":\"x\",\"type\":\"text\"", ""},
    };
    struct stream_client c;
    stream_client_hello(&c, &world, "");
    stream_client_say(
        &c,
        "{\"type\":\"publish\",\"rid\":1,\"name\":\"b\",\"content\":\"1\",\"title\":\"t\",\"note\":\"n\"}");
    expect_frame(&c, "result",
                 "\"rid\":1,\"revision\":2,\"seq\":1,\"format\":\"text\",\"md5\":"
                 "\"c4ca4238a0b923820dcc509a6f75849b\"");
    stream_client_say(&c, "{\"type\":\"publish\",\"rid\":2,\"name\":\"b\",\"content\":\"1\"}");
    expect_frame(&c, "result", "\"rid\":2,\"revision\":2,\"seq\":1,");
    assert_non_null(strstr(buf_text(&c.message), "\"unchanged\":true}"));
    stream_client_say(&c, "{\"type\":\"publish\",\"rid\":3,\"name\":\"b\",\"content\":\"/"
                          "wA=\",\"base64\":true,\"format\":\"bin\",\"if_seq\":1}");
    expect_frame(&c, "result", "\"rid\":3,\"revision\":3,\"seq\":2,\"format\":\"bin\",");
    for (size_t i = 0; i + 1 < COUNT_OF(wrong); i++) {
        stream_client_say(&c, stream_text("{\"type\":\"publish\",\"rid\":9,%s}", wrong[i].says));
        expect_frame(&c, "error", wrong[i].hears);
        assert_non_null(strstr(buf_text(&c.message), "\"rid\":9,"));
    }
    stream_client_say(
        &c, "{\"type\":\"publish\",\"rid\":4,\"name\":\"b\",\"content\":\"2\",\"validate\":\"only\"}");
    expect_frame(&c, "result", "\"rid\":4,\"revision\":3,\"valid\":true}");
    struct buf large = {0};
    buf_add_text(&large, "{\"type\":\"publish\",\"rid\":5,\"name\":\"b\",\"content\":\"");
    memset(buf_reserve(&large, 1 << 20), 'x', 1 << 20);
    large.size += 1 << 20;
    buf_add_text(&large, "\"}");
    stream_client_frame(&c, 0x81, buf_slice(&large));
    expect_frame(&c, "result", "\"rid\":5,");
    large.size -= 2;
    buf_add_text(&large, "x\"}");
    stream_client_frame(&c, 0x81, buf_slice(&large));
    expect_frame(&c, "error", "\"rid\":5,\"code\":\"request_too_large\"");
    buf_done(&large);
    stream_client_close(&c);
}

struct listeners {
    struct config_listeners query;
    char text[1024];
    bool is_done;
};

static void on_seen(struct config_listeners *s, const struct config_listener *l)
{
    struct listeners *to = container_of(s, struct listeners, query);
    size_t n = strlen(to->text);
    snprintf(to->text + n, sizeof to->text - n, "%.*s over %.*s: %d %d %d %d %.*s;", (int)l->client_id.size,
             (const char *)l->client_id.data, (int)l->transport.size, (const char *)l->transport.data,
             (int)l->chosen, (int)l->sent, (int)l->applied, (int)l->rejected, (int)l->error.size,
             (const char *)l->error.data);
}

static void on_listed(struct config_request *q, int err, const struct config_result *result)
{
    (void)result;
    assert_int_equal(err, 0);
    container_of(q, struct listeners, query.request)->is_done = true;
}

static bool is_listed(void *arg)
{
    return ((struct listeners *)arg)->is_done;
}

/* Chosen, sent, applied, rejected of each. */
static const char *listeners_of(const char *name)
{
    static struct listeners l;
    struct config_id key = stream_world_config(name);
    l = (struct listeners){.query = {.request.done = on_listed, .on_listener = on_seen}};
    config_listeners(world.config, &l.query, &key);
    one_node_run(&world.node, is_listed, &l);
    return l.text;
}

static void test_applied(void **state)
{
    (void)state;
    struct stream_client c, many;
    publish("app", "1");
    publish("app2", "1");
    stream_client_hello(&c, &world, ",\"client_id\":\"me\"");
    stream_client_subscribe(&c, 1, "config", ",\"name\":\"app\"");
    expect_frame(&c, "snapshot", "\"seq\":1,");
    stream_world_run_ms(&world, 20);
    assert_string_equal(listeners_of("app"), "me over websocket: 1 1 0 0 ;");
    stream_client_say(&c, "{\"type\":\"applied\",\"sid\":1,\"name\":\"app\",\"seq\":1,\"ok\":true}");
    publish("app", "2");
    expect_frame(&c, "delta", "\"seq\":2,");
    stream_client_say(
        &c, "{\"type\":\"applied\",\"sid\":1,\"name\":\"app\",\"seq\":2,\"ok\":false,\"error\":\"no\"}");
    expect_nothing(&c);
    assert_string_equal(listeners_of("app"), "me over websocket: 2 2 1 2 no;");
    put_gray("app", "r", "{\"percent\":100,\"seq\":1}", NULL);
    expect_frame(&c, "delta", "\"seq\":1,");
    stream_world_run_ms(&world, 20);
    assert_string_equal(listeners_of("app"), "me over websocket: 1 1 1 2 no;");
    stream_client_say(&c, "{\"type\":\"applied\",\"sid\":2,\"name\":\"app\",\"seq\":1,\"ok\":true}");
    expect_frame(&c, "error", "\"sid\":2,\"code\":\"not_found\"");
    stream_client_say(&c, "{\"type\":\"applied\",\"sid\":1,\"name\":\"other\",\"seq\":1,\"ok\":true}");
    expect_frame(&c, "error", "\"sid\":1,\"code\":\"invalid\"");
    stream_client_say(&c, "{\"type\":\"applied\",\"sid\":1,\"name\":\"app\",\"seq\":0,\"ok\":true}");
    expect_frame(&c, "error", "\"sid\":1,\"code\":\"invalid\"");
    stream_client_say(&c, "{\"type\":\"subscribe\",\"sid\":3,\"kind\":\"service\",\"name\":\"x\"}");
    expect_frame(&c, "snapshot", "");
    stream_client_say(&c, "{\"type\":\"applied\",\"sid\":3,\"name\":\"x\",\"seq\":1,\"ok\":true}");
    expect_frame(&c, "error", "\"sid\":3,\"code\":\"invalid\"");
    stream_client_close(&c);
    assert_string_equal(listeners_of("app"), "");
    /* Of many items: the sent release of each is known without storing it. */
    stream_client_hello(&many, &world, ",\"client_id\":\"all\"");
    stream_client_subscribe(&many, 1, "configs", ",\"group\":\"\"");
    expect_frame(&many, "snapshot", "\"id\":\"default/app2\"");
    stream_world_run_ms(&world, 20);
    assert_string_equal(listeners_of("app"), "all over websocket: 1 1 0 0 ;");
    assert_string_equal(listeners_of("app2"), "all over websocket: 1 1 0 0 ;");
    stream_client_say(&many,
                      "{\"type\":\"applied\",\"sid\":1,\"name\":\"default/app2\",\"seq\":1,\"ok\":true}");
    stream_client_say(&many, "{\"type\":\"applied\",\"sid\":1,\"name\":\"app2\",\"seq\":1,\"ok\":true}");
    expect_frame(&many, "error", "\"code\":\"invalid\"");
    assert_string_equal(listeners_of("app2"), "all over websocket: 1 1 1 0 ;");
    is_held = true;
    publish("app2", "2");
    assert_string_equal(listeners_of("app2"), "all over websocket: 2 0 1 0 ;");
    config_read(world.config, held, &held_key, held_seq, true);
    expect_frame(&many, "delta", "\"seq\":2,");
    stream_world_run_ms(&world, 20);
    assert_string_equal(listeners_of("app2"), "all over websocket: 2 2 1 0 ;");
    stream_client_close(&many);
}

static bool is_sent(size_t i)
{
    return strstr(listeners_of(stream_text("filler%02d", (int)i)), ": 1 1 0 0");
}

/* Bytes that the socket has not taken do not count as sent; later they do, though nothing else happens. */
static void test_unwritten(void **state)
{
    (void)state;
    enum { ITEMS = 30 };
    struct stream_client c;
    struct buf text = text_of('x', 65536);
    for (int i = 0; i < ITEMS; i++)
        publish_bytes(stream_text("filler%02d", i), buf_slice(&text));
    stream_client_hello(&c, &world, ",\"client_id\":\"me\",\"window\":16777216");
    size_t sent = 0, whole = 0;
    for (bool is_full = false; !is_full && sent < ITEMS; sent += !is_full) {
        stream_client_say(&c, stream_text("{\"type\":\"subscribe\",\"sid\":%d,\"kind\":\"config\",\"name\":"
                                          "\"filler%02d\"}",
                                          (int)sent + 2, (int)sent));
        stream_world_run_ms(&world, 30);
        is_full = !is_sent(sent);
    }
    assert_true(sent > 0 && sent < ITEMS);
    /* The bytes in the socket now, without another turn of the server. */
    for (ssize_t n = 1; n > 0; c.in.size += n > 0 ? (size_t)n : 0)
        n = recv(c.fd, buf_reserve(&c.in, 65536), 65536, MSG_DONTWAIT);
    for (const uint8_t *at = c.in.data; (at = memmem(at, c.in.size - (size_t)(at - c.in.data), "\"}]}", 4));
         at++)
        whole++;
    assert_int_equal(sent, whole);
    for (size_t i = 0; i <= sent; i++)
        expect_frame(&c, "snapshot", stream_text("filler%02d", (int)i));
    uint64_t end = clock_mono_ms() + 10000;
    while (!is_sent(sent) && clock_mono_ms() < end)
        stream_world_run_ms(&world, 10);
    assert_true(is_sent(sent));
    stream_client_close(&c);
    buf_done(&text);
}

static void test_events(void **state)
{
    (void)state;
    struct stream_client c;
    publish("app", "1");
    stream_client_ask(&c, &world,
                      "GET " STREAM_PATH "?client_id=page&labels=zone=b&kind=config&name=app&kind=configs&"
                      "prefix=a&group= HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_true(stream_client_has_text(
        &c, "\"sid\":2,\"revision\":2,\"part\":1,\"last\":true,\"items\":[{\"id\":\"default/app\""));
    assert_true(stream_client_has_text(
        &c, "\"sid\":1,\"revision\":2,\"part\":1,\"last\":true,\"items\":[{\"id\":\"app\""));
    stream_world_run_ms(&world, 20);
    assert_string_equal(listeners_of("app"), "page over sse: 1 1 0 0 ;page over sse: 1 1 0 0 ;");
    put_gray("app", "r", "{\"match\":{\"zone\":[\"b\"]},\"content\":\"x\"}", "gray");
    assert_true(stream_client_has_text(&c, "\"content\":\"gray\""));
    stream_client_close(&c);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_publish),
        TEST(test_applied),
        TEST(test_unwritten),
        TEST(test_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
