/* SPDX-License-Identifier: Apache-2.0
 * Tests of server/grpc/web.c: requests of HTTP on streams, with a fake in place of server/http. Its answers
 * are tested by tests/e2e/http2.sh. */
#include "tests/unit/h2_wire.h"

/* --- in place of server/http --------------------------------------------------------------------------- */
struct http_conn {
    const struct http_carrier *carrier;
    void *stream;
};
static struct {
    unsigned opened, ended, freed, writable;
    int status;
    bool has_body, is_connect, must_answer, must_consume;
    char target[64], host[64], cookie[64];
    size_t body;
    struct http_conn *last;
} web;

static struct http_conn *fake_open(struct http_server *s, const struct http_carried_options *o)
{
    (void)s;
    struct http_conn *c = mem_new(sizeof *c);
    *c = (struct http_conn){o->carrier, o->stream};
    web.last = c;
    web.opened++;
    return c;
}
static void keep(char *to, struct slice s)
{
    snprintf(to, 64, "%.*s", (int)s.size, s.size ? (const char *)s.data : "");
}
static void answer(struct http_conn *c, const char *text)
{
    struct buf b = {0};
    buf_add_text(&b, text);
    c->carrier->head(c->stream, 200, slice_text("Content-Type: text/plain\r\n"), HTTP_ANSWER_WHOLE);
    c->carrier->send(c->stream, &b, 0);
    c->carrier->end(c->stream, true);
    buf_done(&b);
}
static void fake_begin(struct http_conn *c, struct buf *text, const struct http_head *head, int status,
                       bool has_body)
{
    struct slice value = {0};
    web.status = status;
    web.has_body = has_body;
    web.is_connect = head->is_connect;
    keep(web.target, head->target);
    keep(web.host, http_head_field(head, "host", &value, NULL) ? value : (struct slice){0});
    keep(web.cookie, http_head_field(head, "cookie", &value, NULL) ? value : (struct slice){0});
    buf_done(text);
    if (web.must_answer)
        answer(c, "hello");
}
static void fake_body(struct http_conn *c, struct slice bytes)
{
    web.body += bytes.size;
    if (web.must_consume)
        c->carrier->consumed(c->stream, bytes.size);
}
static void fake_end(struct http_conn *c)
{
    (void)c;
    web.ended++;
}
static void fake_took(struct http_conn *c, size_t size)
{
    (void)c;
    (void)size;
}
static void fake_writable(struct http_conn *c)
{
    (void)c;
    web.writable++;
}
static void fake_free(struct http_conn *c)
{
    mem_free(c);
    web.last = NULL;
    web.freed++;
}
static const struct http_carried fake = {fake_open, fake_begin,    fake_body, fake_end,
                                         fake_took, fake_writable, fake_free};

static void web_wire(struct wire *w, struct fixture *f, enum grpc_serves serves)
{
    static int server;
    memset(&web, 0, sizeof web);
    grpc_server_use_http(f->server, (struct http_server *)&server, &fake);
    wire_open(w, f);
    w->conn->serves = serves;
}

/* "name=value;..." as literals. */
static void add_fields(struct wire *w, uint32_t stream_id, uint8_t flags, const char *fields)
{
    struct buf b = {0};
    char text[512], *at = text, *field;
    snprintf(text, sizeof text, "%s", fields);
    while ((field = strsep(&at, ";"))) {
        char *value = strchr(field, '=');
        *value++ = 0;
        hpack_add_literal(&b, field, slice_text(value));
    }
    add(w, FRAME_HEADERS, FRAME_END_HEADERS | flags, stream_id, b.data, b.size);
    buf_done(&b);
}
#define GET     ":method=GET;:scheme=http;:path=/a;:authority=h"
#define CONNECT ":method=CONNECT;:protocol=websocket;:scheme=http;:path=/a;:authority=h"
#define POST    ":method=POST;:scheme=http;:path=/a;:authority=h"

/* --- tests ----------------------------------------------------------------------------------------------- */
static void test_fields(void **state)
{
    static const struct {
        const char *fields;
        int reset, status;
    } trials[] = {
        {GET, -1, 0},
        {GET ";te=trailers;content-type=text/plain", -1, 0},
        {":path=/a;:method=GET;:scheme=http", -1, 0},
        {":method=BREW;:scheme=http;:path=/a", -1, 501},
        {":method=CONNECT;:authority=h", -1, 501},
        {GET ";a=\1", -1, 400},
        {GET ";a b=c", -1, 400},
        {":method=GET;:scheme=http", H2_PROTOCOL_ERROR, 0},
        {":method=GET;:path=/a", H2_PROTOCOL_ERROR, 0},
        {":scheme=http;:path=/a", H2_PROTOCOL_ERROR, 0},
        {":method=GET;:scheme=http;:path=", H2_PROTOCOL_ERROR, 0},
        {GET ";:path=/b", H2_PROTOCOL_ERROR, 0},
        {":method=GET;:scheme=http;a=b;:path=/a", H2_PROTOCOL_ERROR, 0},
        {GET ";:status=200", H2_PROTOCOL_ERROR, 0},
        {GET ";A=b", H2_PROTOCOL_ERROR, 0},
        {GET ";=b", H2_PROTOCOL_ERROR, 0},
        {GET ";a=b\nc", H2_PROTOCOL_ERROR, 0},
        {GET ";connection=close", H2_PROTOCOL_ERROR, 0},
        {GET ";transfer-encoding=chunked", H2_PROTOCOL_ERROR, 0},
        {GET ";upgrade=websocket", H2_PROTOCOL_ERROR, 0},
        {GET ";te=gzip", H2_PROTOCOL_ERROR, 0},
        {POST ";content-length=1", H2_PROTOCOL_ERROR, 0}, /* and no body */
        /* RFC 8441, 4 */
        {CONNECT, -1, 0},
        {":protocol=WebSocket;:path=/a;:authority=h;:scheme=http;:method=CONNECT", -1, 0},
        {":method=CONNECT;:protocol=connect-udp;:scheme=http;:path=/a;:authority=h", -1, 501},
        {":method=CONNECT;:protocol=;:scheme=http;:path=/a;:authority=h", -1, 501},
        {":method=CONNECT;:scheme=http;:path=/a;:authority=h", -1, 501},
        {":method=CONNECT;:protocol=websocket;:authority=h", H2_PROTOCOL_ERROR, 0},
        {":method=CONNECT;:protocol=websocket;:path=/a;:authority=h", H2_PROTOCOL_ERROR, 0},
        {":method=CONNECT;:protocol=websocket;:scheme=http;:authority=h", H2_PROTOCOL_ERROR, 0},
        {CONNECT ";:protocol=websocket", H2_PROTOCOL_ERROR, 0},
        {CONNECT ";connection=upgrade", H2_PROTOCOL_ERROR, 0},
        {CONNECT ";upgrade=websocket", H2_PROTOCOL_ERROR, 0},
        {CONNECT ";content-length=0", H2_PROTOCOL_ERROR, 0},
        {GET ";:protocol=websocket", H2_PROTOCOL_ERROR, 0},
        {":method=GET;:protocol=websocket;:scheme=http;:path=/a;:authority=h", H2_PROTOCOL_ERROR, 0},
    };
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
        struct wire w;
        web_wire(&w, *state, GRPC_AND_HTTP);
        add_fields(&w, 1, FRAME_END_STREAM, trials[i].fields);
        feed(&w, 1 << 20);
        if (w.reset != trials[i].reset || w.goaway != -1 || web.status != trials[i].status ||
            web.opened != (w.reset == -1))
            fail_msg("%s: RST_STREAM %d, GOAWAY %d, status %d", trials[i].fields, w.reset, w.goaway,
                     web.status);
        wire_close(&w);
        assert_int_equal(web.opened, web.freed);
    }
}

static void test_head(void **state)
{
    struct wire w;
    web_wire(&w, *state, GRPC_AND_HTTP);
    web.must_answer = true;
    add_fields(&w, 1, FRAME_END_STREAM, GET ";host=other;cookie=a=1;x=y;cookie=b=2");
    feed(&w, 3);
    assert_string_equal("/a", web.target);
    assert_string_equal("h", web.host);
    assert_string_equal("a=1; b=2", web.cookie);
    assert_false(web.has_body);
    assert_int_equal(1, web.freed); /* answered and ended */
    assert_int_equal(5, w.data);
    assert_int_equal(1, w.headers);
    assert_int_equal(0, w.conn->call_count);
    char fields[512] = GET ";long=";
    memset(fields + strlen(fields), 'x', 400);
    struct buf b = {0};
    for (int i = 0; i < 50; i++) { /* over 17 KiB */
        char name[8];
        snprintf(name, sizeof name, "n%d", i);
        hpack_add_literal(&b, name, slice_text(fields));
    }
    struct buf all = {0};
    buf_add(&all, "\x82\x86\x84", 3); /* GET http / */
    buf_add_slice(&all, buf_slice(&b));
    add(&w, FRAME_HEADERS, FRAME_END_STREAM, 3, all.data, 16000);
    add(&w, FRAME_CONTINUATION, FRAME_END_HEADERS, 3, all.data + 16000, all.size - 16000);
    feed(&w, 1 << 20);
    assert_int_equal(431, web.status);
    buf_done(&b);
    buf_done(&all);
    wire_close(&w);
}

/* A content type of gRPC makes a call of a request, wherever its path leads; where no calls are served, nothing does. */
static void test_kinds(void **state)
{
    static const struct {
        enum grpc_serves serves;
        const char *fields;
        bool is_web;
    } trials[] = {
        {GRPC_AND_HTTP, POST ";content-type=application/grpc", false},
        {GRPC_AND_HTTP, POST ";content-type=application/grpc-web", false},
        {GRPC_AND_HTTP, ":method=POST;:scheme=http;:path=/test.T/Echo;content-type=application/grpc", false},
        {GRPC_AND_HTTP, ":method=POST;:scheme=http;:path=/test.T/Echo;content-type=text/plain", true},
        {GRPC_AND_HTTP, POST, true},
        {GRPC_ALONE, POST, false},
        {GRPC_HTTP_ALONE, POST ";content-type=application/grpc", true},
        {GRPC_METRICS_ALONE, POST ";content-type=application/grpc", true},
    };
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
        struct wire w;
        web_wire(&w, *state, trials[i].serves);
        add_fields(&w, 1, 0, trials[i].fields);
        feed(&w, 1 << 20);
        if (web.opened != trials[i].is_web)
            fail_msg("%s on a port of kind %d", trials[i].fields, (int)trials[i].serves);
        wire_close(&w);
    }
}

static void test_body(void **state)
{
    struct wire w;
    static uint8_t bytes[FRAME_MAX];
    web_wire(&w, *state, GRPC_AND_HTTP);
    add_fields(&w, 1, 0, POST);
    feed(&w, 1 << 20);
    unsigned before = w.windows;
    for (int i = 0; i < 64; i++) /* the whole window */
        add(&w, FRAME_DATA, 0, 1, bytes, sizeof bytes);
    feed(&w, 1 << 20);
    assert_int_equal(STREAM_WINDOW, web.body);
    assert_int_equal(before, w.windows); /* nothing was consumed */
    web.last->carrier->consumed(web.last->stream, STREAM_WINDOW);
    pull(&w);
    assert_int_equal(before + 1, w.windows);
    web.must_consume = true;
    for (int i = 0; i < 64; i++)
        add(&w, FRAME_DATA, i == 63 ? FRAME_END_STREAM : 0, 1, bytes, sizeof bytes);
    feed(&w, 1 << 20);
    assert_int_equal(2 * STREAM_WINDOW, web.body);
    assert_int_equal(1, web.ended);
    assert_int_equal(-1, w.reset);
    /* More than the window is an error of the stream. */
    web.must_consume = false;
    add_fields(&w, 3, 0, POST);
    for (int i = 0; i < 65; i++)
        add(&w, FRAME_DATA, 0, 3, bytes, sizeof bytes);
    feed(&w, 1 << 20);
    assert_int_equal(H2_FLOW_CONTROL_ERROR, w.reset);
    /* As are bytes beyond the announced length, and fewer. */
    w.reset = -1;
    add_fields(&w, 5, 0, POST ";content-length=3");
    ADD(&w, FRAME_DATA, 0, 5, "abcd");
    feed(&w, 1 << 20);
    assert_int_equal(H2_PROTOCOL_ERROR, w.reset);
    w.reset = -1;
    add_fields(&w, 7, 0, POST ";content-length=3");
    ADD(&w, FRAME_DATA, FRAME_END_STREAM, 7, "ab");
    feed(&w, 1 << 20);
    assert_int_equal(H2_PROTOCOL_ERROR, w.reset);
    wire_close(&w);
    assert_int_equal(web.opened, web.freed);
}

/* After an answer the rest of the body is dropped, as much as the window allows to be on the way; then the stream is
 * reset. */
static void test_early_answer(void **state)
{
    struct wire w;
    static uint8_t bytes[FRAME_MAX];
    web_wire(&w, *state, GRPC_AND_HTTP);
    web.must_answer = true;
    add_fields(&w, 1, 0, POST);
    feed(&w, 1 << 20);
    assert_int_equal(5, w.data);
    assert_int_equal(1, web.freed);
    assert_int_equal(-1, w.reset);
    ADD(&w, FRAME_WINDOW_UPDATE, 0, 1, "\0\0\0\1");
    add(&w, FRAME_DATA, FRAME_END_STREAM, 1, bytes, 100);
    feed(&w, 1 << 20);
    assert_int_equal(0, w.conn->call_count);
    assert_int_equal(-1, w.reset);
    add_fields(&w, 3, 0, POST);
    feed(&w, 1 << 20);
    for (int i = 0; i < 64; i++) /* the whole window */
        add(&w, FRAME_DATA, 0, 3, bytes, sizeof bytes);
    feed(&w, 1 << 20);
    assert_int_equal(-1, w.reset);
    ADD(&w, FRAME_DATA, 0, 3, "x");
    feed(&w, 1 << 20);
    assert_int_equal(H2_NO_ERROR, w.reset);
    assert_int_equal(0, w.conn->call_count);
    wire_close(&w);
}

/* A client that reads nothing gets no further answers: requests wait, and so do their bodies. */
static void test_held(void **state)
{
    struct wire w;
    static uint8_t bytes[FRAME_MAX];
    web_wire(&w, *state, GRPC_AND_HTTP);
    add_fields(&w, 1, FRAME_END_STREAM, GET);
    feed(&w, 1 << 20);
    struct buf large = {0};
    for (int i = 0; i < 6; i++) {
        buf_reserve(&large, HELD_SHARE_MAX);
        large.size = HELD_SHARE_MAX;
        memset(large.data, 'x', large.size);
        if (i == 0)
            web.last->carrier->head(web.last->stream, 200, (struct slice){0}, HTTP_ANSWER_WHOLE);
        web.last->carrier->send(web.last->stream, &large, 0);
    }
    buf_done(&large);
    w.conn->is_unary_over = true; /* several answers of this size */
    add_fields(&w, 3, 0, POST);
    add(&w, FRAME_DATA, 0, 3, bytes, 1000);
    feed(&w, 1 << 20);
    assert_int_equal(1, web.opened);
    add(&w, FRAME_DATA, FRAME_END_STREAM, 3, bytes, 1000);
    feed(&w, 1 << 20);
    assert_true(w.conn->partial_bytes >= 2000);
    w.conn->queued_unary = 0;
    call_wake_all(w.conn);
    assert_int_equal(2, web.opened);
    assert_int_equal(2000, web.body);
    assert_int_equal(2, web.ended); /* with the first one */
    assert_int_equal(0, w.conn->partial_bytes);
    w.conn->queued_unary = HELD_SHARE_MAX;
    wire_close(&w);
    assert_int_equal(2, web.freed);
}

/* An extended CONNECT is a GET with the mark, and its DATA are a body without end. It is announced, and taken, where
 * requests of HTTP other than for metrics are served. */
static void test_connect(void **state)
{
    struct wire w;
    web_wire(&w, *state, GRPC_AND_HTTP);
    web.must_consume = true;
    add_fields(&w, 1, 0, CONNECT ";content-type=text/plain");
    feed(&w, 1 << 20);
    assert_true(w.takes_connect);
    assert_true(web.is_connect && web.has_body);
    assert_string_equal("/a", web.target);
    assert_string_equal("h", web.host);
    web.last->carrier->head(web.last->stream, 200, (struct slice){0}, HTTP_ANSWER_STREAM);
    ADD(&w, FRAME_DATA, 0, 1, "abc");
    feed(&w, 1);
    assert_int_equal(3, web.body);
    assert_int_equal(1, w.headers);
    assert_int_equal(0, w.ended);
    ADD(&w, FRAME_DATA, FRAME_END_STREAM, 1, "");
    feed(&w, 1 << 20);
    assert_int_equal(1, web.ended);
    web.last->carrier->end(web.last->stream, true);
    pull(&w);
    assert_int_equal(1, web.freed);
    assert_int_equal(-1, w.reset);
    add_fields(&w, 3, FRAME_END_STREAM, GET);
    feed(&w, 1 << 20);
    assert_false(web.is_connect);
    wire_close(&w);

    static const struct {
        enum grpc_serves serves;
        bool is_served;
    } ports[] = {{GRPC_ALONE, false}, {GRPC_METRICS_ALONE, false}, {GRPC_HTTP_ALONE, true}};
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
        web_wire(&w, *state, ports[i].serves);
        add_fields(&w, 1, 0, CONNECT);
        feed(&w, 1 << 20);
        assert_int_equal(ports[i].is_served ? -1 : H2_PROTOCOL_ERROR, w.reset);
        assert_int_equal(ports[i].is_served, web.opened);
        assert_int_equal(-1, w.goaway);
        wire_close(&w);
    }
    /* A server without HTTP does not announce it. */
    struct fixture *f = *state;
    grpc_server_use_http(f->server, NULL, NULL);
    wire_open(&w, f);
    feed(&w, 1 << 20);
    assert_false(w.takes_connect);
    wire_close(&w);
}

/* An answer goes as far as the window, and tells when there is room again. */
static void test_answer(void **state)
{
    struct wire w;
    struct buf b = {0};
    web_wire(&w, *state, GRPC_AND_HTTP);
    add_fields(&w, 1, FRAME_END_STREAM, GET);
    feed(&w, 1 << 20);
    const struct http_carrier *carrier = web.last->carrier;
    void *stream = web.last->stream;
    carrier->head(stream, 200, slice_text("A: b\r\nC: d\r\n"), HTTP_ANSWER_STREAM);
    buf_reserve(&b, 100000);
    memset(b.data, 'x', 100000);
    b.size = 100000;
    carrier->send(stream, &b, 10);
    assert_int_equal(99990, carrier->unsent(stream));
    carrier->want_writable(stream);
    pull(&w);
    assert_int_equal(WINDOW_DEFAULT, w.data);
    call_wake_all(w.conn);
    assert_int_equal(0, web.writable); /* more than half is left */
    ADD(&w, FRAME_WINDOW_UPDATE, 0, 0, "\0\1\0\0");
    ADD(&w, FRAME_WINDOW_UPDATE, 0, 1, "\0\1\0\0");
    feed(&w, 1 << 20);
    assert_int_equal(99990, w.data);
    call_wake_all(w.conn);
    assert_int_equal(1, web.writable);
    carrier->end(stream, false);
    pull(&w);
    assert_int_equal(H2_INTERNAL_ERROR, w.reset);
    assert_int_equal(1, web.freed);
    buf_done(&b);
    wire_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fields, setup, teardown),
        cmocka_unit_test_setup_teardown(test_head, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_body, setup, teardown),
        cmocka_unit_test_setup_teardown(test_early_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(test_held, setup, teardown),
        cmocka_unit_test_setup_teardown(test_connect, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answer, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
