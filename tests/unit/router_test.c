/* SPDX-License-Identifier: Apache-2.0
 * Tests of the pure parts of the HTTP server: routes, request heads, targets, access lists, chunks and
 * WebSocket frames. */
#include "server/http/router.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "server/http/access.h"
#include "server/http/conn.h"

static struct route_match find(unsigned method, const char *path, enum http_role role)
{
    return router_find(http_routes, http_route_count, method, slice_text(path), role);
}

static void test_routes(void **state)
{
    (void)state;
    static const struct {
        unsigned method;
        const char *path;
        int status;
        const char *route;
    } cases[] = {
        {HTTP_GET, "/health", 200, "/health"},
        {HTTP_POST, "/health", 405, "/health"},
        {HTTP_HEAD, "/health", 405, "/health"},
        {HTTP_GET, "/health/", 404, NULL},
        {HTTP_GET, "/healthz", 404, NULL},
        {HTTP_GET, "/heal", 404, NULL},
        {HTTP_GET, "/readyz/non_learner", 200, "/readyz/non_learner"},
        {HTTP_GET, "/readyz/", 404, NULL},
        {HTTP_POST, "/v3/kv/put", 200, "/v3/"},
        {HTTP_GET, "/v3/", 200, "/v3/"},
        {HTTP_GET, "/v3", 404, NULL},
        {HTTP_POST, "/v3beta/kv/put", 200, "/v3beta/"},
        {HTTP_HEAD, "/metrics", 200, "/metrics"},
        {HTTP_DELETE, "/metrics", 200, "/metrics"},
        {HTTP_GET, "/", 404, NULL},
        {HTTP_GET, "", 404, NULL},
        {HTTP_OPTIONS, "*", 404, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct route_match m = find(cases[i].method, cases[i].path, HTTP_ALL);
        assert_int_equal(m.status, cases[i].status);
        if (cases[i].route)
            assert_string_equal(m.route->path, cases[i].route);
        else
            assert_null(m.route);
    }
    struct route_match m = find(HTTP_POST, "/v3/kv/put", HTTP_ALL);
    assert_int_equal(m.rest.size, 6);
    assert_memory_equal(m.rest.data, "kv/put", 6);
    assert_int_equal(find(HTTP_GET, "/version", HTTP_METRICS_ONLY).status, 404);
    assert_int_equal(find(HTTP_POST, "/v3/kv/put", HTTP_METRICS_ONLY).status, 404);
    assert_int_equal(find(HTTP_GET, "/metrics", HTTP_METRICS_ONLY).status, 200);
    assert_int_equal(find(HTTP_GET, "/livez", HTTP_METRICS_ONLY).status, 200);
}

static void test_table_rules(void **state)
{
    (void)state;
    static const struct http_handler all, one, get, put;
    const struct route routes[] = {
        {HTTP_ANY, "/", &all, 0, NULL},
        {HTTP_GET, "/a/", &get, 0, NULL},
        {HTTP_PUT | HTTP_DELETE, "/a/", &put, 0, NULL},
        {HTTP_GET, "/a/b", &one, 0, NULL},
    };
    assert_ptr_equal(router_find(routes, 4, HTTP_GET, slice_text("/a/x"), HTTP_ALL).route->handler, &get);
    assert_ptr_equal(router_find(routes, 4, HTTP_PUT, slice_text("/a/x"), HTTP_ALL).route->handler, &put);
    assert_ptr_equal(router_find(routes, 4, HTTP_GET, slice_text("/a/b"), HTTP_ALL).route->handler, &one);
    assert_ptr_equal(router_find(routes, 4, HTTP_GET, slice_text("/a"), HTTP_ALL).route->handler, &all);
    assert_int_equal(router_find(routes, 4, HTTP_PUT, slice_text("/a/b"), HTTP_ALL).status, 405);
    assert_int_equal(router_find(routes, 4, HTTP_POST, slice_text("/a/x"), HTTP_ALL).status, 405);
    char allow[64];
    router_allow(&routes[2], allow, sizeof allow);
    assert_string_equal(allow, "PUT, DELETE");
    router_allow(&routes[0], allow, sizeof allow);
    assert_string_equal(allow, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
    router_allow(&routes[0], allow, 6);
    assert_string_equal(allow, "GET, ");
}

static int parse(const char *text, struct http_head *h)
{
    assert_int_equal(http_head_size(slice_text(text), 0), strlen(text));
    return http_head_parse(slice_text(text), h);
}

static void test_head(void **state)
{
    (void)state;
    struct http_head h;
    struct slice v;
    size_t n;
    assert_int_equal(parse("GET /x?y HTTP/1.1\r\nHost: a:1 \r\nX-A:\t1\r\nx-a: 2\r\nEmpty:\r\n\r\n", &h), 0);
    assert_int_equal(h.method, HTTP_GET);
    assert_true(h.is_http11);
    assert_true(slice_equal(h.target, slice_text("/x?y")));
    assert_int_equal(h.count, 4);
    assert_true(http_head_field(&h, "host", &v, &n));
    assert_true(slice_equal(v, slice_text("a:1")));
    assert_true(http_head_field(&h, "X-A", &v, &n));
    assert_true(slice_equal(v, slice_text("1")));
    assert_int_equal(n, 2);
    assert_true(http_head_field(&h, "empty", &v, NULL));
    assert_int_equal(v.size, 0);
    assert_false(http_head_field(&h, "emp", &v, NULL));
    assert_int_equal(parse("DELETE * HTTP/1.0\r\n\r\n", &h), 0);
    assert_false(h.is_http11);
    static const struct {
        const char *text;
        int status;
    } bad[] = {
        {"\r\n\r\n", 400},
        {"GET\r\n\r\n", 400},
        {"GET /\r\n\r\n", 400},
        {"GET  HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1 \r\n\r\n", 400},
        {"GET / HTTP/1.2\r\n\r\n", 505},
        {"GET / http/1.1\r\n\r\n", 400},
        {"get / HTTP/1.1\r\n\r\n", 501},
        {"G(T / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\nX: 1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nX\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n: 1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nX : 1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n X: 1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nX: a\nb\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nX: a\x7f\r\n\r\n", 400},
        {"GET /\x01 HTTP/1.1\r\n\r\n", 400},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (parse(bad[i].text, &h) != bad[i].status)
            fail_msg("%s", bad[i].text);
    char many[4000] = "GET / HTTP/1.1\r\n";
    for (int i = 0; i < HTTP_FIELDS_MAX; i++)
        strcat(many, "A: b\r\n");
    strcat(many, "\r\n");
    assert_int_equal(parse(many, &h), 0);
    strcpy(many + strlen(many) - 2, "A: b\r\n\r\n");
    assert_int_equal(parse(many, &h), 431);
    /* The end is found, however the input was cut. */
    const char *text = "GET / HTTP/1.1\r\nA: b\r\n\r\nGET";
    for (size_t from = 0; from < strlen(text); from++)
        assert_int_equal(http_head_size(slice_text(text), from < 23 ? from : 23), 24);
    assert_int_equal(http_head_size(slice_of(text, 23), 0), 0);
}

static void test_target(void **state)
{
    (void)state;
    struct buf a = {0};
    struct slice path, query;
    assert_int_equal(http_target_split(slice_text("/a%20b+c?x=1%26&&y+z&q"), &a, &path, &query), 0);
    assert_true(slice_equal(path, slice_text("/a b+c")));
    assert_int_equal(path.data[path.size], 0);
    assert_int_equal(query.size, 11);
    assert_memory_equal(query.data, "x=1&\0y z\0q\0", 11);
    struct http_request q = {.query = query};
    size_t at = 0;
    struct slice v;
    assert_true(http_query_next(&q, "x", &at, &v));
    assert_true(slice_equal(v, slice_text("1&")));
    assert_false(http_query_next(&q, "x", &at, &v));
    at = 0;
    assert_true(http_query_next(&q, "q", &at, &v));
    assert_int_equal(v.size, 0);
    assert_int_equal(http_target_split(slice_text("https://h:1/p"), &a, &path, &query), 0);
    assert_true(slice_equal(path, slice_text("/p")));
    assert_int_equal(http_target_split(slice_text("http://h"), &a, &path, &query), 0);
    assert_true(slice_equal(path, slice_text("/")));
    assert_int_equal(http_target_split(slice_text("*"), &a, &path, &query), 0);
    static const char *const bad[] = {"/%", "/%g0", "/%00", "x", "?a", "/?%zz", "/?%00", "**"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(http_target_split(slice_text(bad[i]), &a, &path, &query), ERR_MALFORMED);
    buf_done(&a);
}

static void test_access(void **state)
{
    (void)state;
    assert_true(http_access_allows_all(NULL));
    assert_true(http_access_allows_all("*"));
    assert_true(http_access_allows_all("a, *"));
    assert_false(http_access_allows_all("a"));
    assert_true(http_access_list_has("a, b", slice_text("b")));
    assert_false(http_access_list_has("ab", slice_text("a")));
    assert_false(http_access_list_has("a,,b", slice_text("")));
    assert_true(slice_equal(http_access_host_name(slice_text("[::1]:1")), slice_text("::1")));
    assert_true(slice_equal(http_access_host_name(slice_text("h:1")), slice_text("h")));
    assert_true(slice_equal(http_access_host_name(slice_text("h")), slice_text("h")));
    assert_true(http_access_is_same_origin(slice_text("https://h:1"), slice_text("h:1")));
    assert_false(http_access_is_same_origin(slice_text("https://h.evil:1"), slice_text("h:1")));
    assert_false(http_access_is_same_origin(slice_text("null"), slice_text("h:1")));
    assert_false(http_access_is_own_host(slice_text(""), NULL));
    assert_false(http_access_is_own_host(slice_text("."), NULL));
    assert_false(http_access_is_own_host(slice_text("a.example"), NULL));
    assert_false(http_access_is_own_host(slice_text("a.example"), ""));
    assert_true(http_access_is_own_host(slice_text("a.example"), "b,a.example"));
    assert_true(http_access_is_own_host(slice_text("a.example"), "*"));
    assert_true(http_access_is_own_host(slice_text("1.2.3.4"), NULL));
    assert_false(http_access_is_own_host(slice_text("1.2.3.4.5"), NULL));
    assert_true(http_list_has(slice_text("keep-alive, UPGRADE"), "upgrade"));
    assert_false(http_list_has(slice_text("upgrades"), "upgrade"));
}

static int dechunk(const char *text, size_t step, struct buf *out, struct http_chunks *p)
{
    *p = (struct http_chunks){0};
    buf_clear(out);
    for (size_t at = 0; at < strlen(text); at += step) {
        struct slice in = slice_of(text + at, at + step < strlen(text) ? step : strlen(text) - at), data;
        do {
            int err = http_chunk_next(p, &in, &data);
            if (err)
                return err;
            buf_add_slice(out, data);
        } while (data.size);
    }
    return 0;
}

static void test_chunks(void **state)
{
    (void)state;
    struct buf out = {0};
    struct http_chunks p;
    const char *good = "3\r\nabc\r\n00A;x=\"y\"\r\n0123456789\r\n0\r\nT: 1\r\n\r\n";
    for (size_t step = 1; step < 45; step++) {
        assert_int_equal(dechunk(good, step, &out, &p), 0);
        assert_int_equal(p.state, CHUNK_DONE);
        assert_string_equal(buf_text(&out), "abc0123456789");
    }
    static const char *const bad[] = {
        "\r\n", "g\r\n", "-1\r\n", " 1\r\n", "1 \r\n", "0x1\r\n", "1\r\nab", "1111111111111111\r\n", ";\r\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(dechunk(bad[i], 1, &out, &p), ERR_MALFORMED);
    buf_done(&out);
}

/* Client frames with a mask of the test's choice; returns the events as letters, with statuses. */
static const char *events(const void *frames, size_t size, size_t step, size_t limit,
                          struct buf *ret_messages)
{
    static char text[200];
    struct ws_parser p = {0};
    struct buf message = {0};
    uint16_t status = 0;
    text[0] = 0;
    buf_clear(ret_messages);
    for (size_t at = 0; at < size; at += step) {
        struct slice in = slice_of((const uint8_t *)frames + at, at + step < size ? step : size - at);
        for (enum ws_event e; (e = ws_parse(&p, &in, &message, limit, &status)) != WS_EVENT_NONE;) {
            size_t n = strlen(text);
            if (e == WS_EVENT_MESSAGE) {
                strcat(text, "M");
                buf_add_slice(ret_messages, buf_slice(&message));
                buf_add_byte(ret_messages, '|');
                buf_clear(&message);
            } else if (e == WS_EVENT_PING || e == WS_EVENT_PONG) {
                strcat(text, e == WS_EVENT_PING ? "I" : "O");
                buf_add(ret_messages, p.control, p.control_size);
            } else {
                snprintf(text + n, sizeof text - n, "%c%u", e == WS_EVENT_CLOSE ? 'C' : 'E', status);
                buf_done(&message);
                return text;
            }
        }
    }
    buf_done(&message);
    return text;
}

static void test_frames(void **state)
{
    (void)state;
    struct buf m = {0}, big = {0};
    /* "Hello" of RFC 6455, 5.7; a ping between two fragments; a close. */
    static const uint8_t talk[] = {0x81,    0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58, 0x01,
                                   0x81,    0,    0,    0,    0,    'a',  0x89, 0x81, 1,    1,    1,    1,
                                   'p' ^ 1, 0x80, 0x80, 9,    9,    9,    9,    0x8a, 0x80, 0,    0,    0,
                                   0,       0x88, 0x82, 0,    0,    0,    0,    3,    0xe8};
    for (size_t step = 1; step <= sizeof talk; step++) {
        assert_string_equal(events(talk, sizeof talk, step, 100, &m), "MIMOC1000");
        assert_string_equal(buf_text(&m), "Hello|pa|");
    }
    static const struct {
        uint8_t bytes[16];
        size_t size;
        const char *events;
    } cases[] = {
        {{0x81, 0x00}, 6, "E1002"}, /* not masked */
        {{0xc1, 0x80}, 6, "E1002"}, /* reserved bit */
        {{0x83, 0x80}, 6, "E1002"}, /* opcodes */
        {{0x8b, 0x80}, 6, "E1002"},
        {{0x09, 0x80}, 6, "E1002"},                          /* fragmented ping */
        {{0x89, 0xfe, 0, 126}, 8, "E1002"},                  /* long ping */
        {{0x80, 0x80}, 6, "E1002"},                          /* nothing to continue */
        {{0x01, 0x80, 0, 0, 0, 0, 0x81, 0x80}, 12, "E1002"}, /* a message inside a message */
        {{0x81, 0xff, 0x80}, 14, "E1009"},                   /* 2^63 bytes */
        {{0x81, 0xfe, 0, 101}, 8, "E1009"},                  /* over the limit */
        {{0x81, 0x81, 0, 0, 0, 0, 0xff}, 7, "E1007"},        /* no UTF-8 */
        {{0x82, 0x81, 0, 0, 0, 0, 0xff}, 7, "M"},            /* binary may have any bytes */
        {{0x88, 0x80}, 6, "C1005"},                          /* a close without status */
        {{0x88, 0x81, 0, 0, 0, 0, 3}, 7, "E1002"},
        {{0x88, 0x82, 0, 0, 0, 0, 3, 0xed}, 8, "E1002"}, /* 1005 is never sent */
        {{0x88, 0x83, 0, 0, 0, 0, 3, 0xe8, 0xff}, 9, "E1002"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (size_t step = 1; step <= cases[i].size; step++)
            assert_string_equal(events(cases[i].bytes, cases[i].size, step, 100, &m), cases[i].events);
    /* Fragments count together. */
    static const uint8_t half[] = {0x01, 0xbc, 0, 0, 0, 0};
    for (int i = 0; i < 2; i++) {
        buf_add(&big, half, sizeof half);
        big.data[big.size - 6] = i ? 0x80 : 0x01;
        for (int k = 0; k < 60; k++)
            buf_add_byte(&big, 'x');
    }
    assert_string_equal(events(big.data, big.size, 1000, 100, &m), "E1009");
    assert_string_equal(events(big.data, big.size, 1000, 120, &m), "M");
    static const size_t sizes[] = {0, 125, 126, 65535, 65536}, heads[] = {2, 2, 4, 4, 10};
    for (size_t i = 0; i < 5; i++) {
        uint8_t head[WS_HEAD_MAX];
        assert_int_equal(ws_frame_head(head, WS_TEXT, sizes[i]), heads[i]);
        assert_int_equal(head[0], 0x81);
    }
    buf_clear(&m);
    ws_accept_key(slice_text("dGhlIHNhbXBsZSBub25jZQ=="), &m);
    assert_string_equal(buf_text(&m), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    buf_done(&m);
    buf_done(&big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes), cmocka_unit_test(test_table_rules), cmocka_unit_test(test_head),
        cmocka_unit_test(test_target), cmocka_unit_test(test_access),      cmocka_unit_test(test_chunks),
        cmocka_unit_test(test_frames),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
