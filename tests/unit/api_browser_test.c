/* SPDX-License-Identifier: Apache-2.0
 * Tests of the native API with browsers as clients: every route from pages of other origins, with and
 * without --cors, preflight requests, DNS rebinding, and the body types that need no preflight. */
#include "tests/unit/api_fake.h"

#include "server/api/table.h"

/* "/api/v1/configs/{name}" as a path: every name is "1". */
static const char *path_of(const struct api_route *r)
{
    static char path[256];
    size_t n = 0;
    for (const char *at = r->path; *at; at++) {
        path[n++] = *at == '{' ? '1' : *at;
        if (*at == '{')
            at = strchr(at, '}');
    }
    path[n] = 0;
    return path;
}

static const char *method_of(const struct api_route *r)
{
    static char method[16];
    api_methods_text(r->method, method, sizeof method);
    return r->method == HTTP_GET ? "GET" : method;
}

/* The response's head is in c->in. */
static void send_with(struct client *c, const char *method, const char *path, const char *headers,
                      const char *body)
{
    struct buf text = {0};
    buf_clear(&c->in);
    buf_addf(&text, "%s %s HTTP/1.1\r\n%s\r\n%s", method, path, headers, body);
    send_bytes(c, text.data, text.size);
    buf_done(&text);
    expect(c, "\r\n\r\n");
}

static void send_head(struct client *c, const char *method, const char *path, const char *headers)
{
    send_with(c, method, path, headers, "");
}

static void expect_refusal(const struct api_route *r, const char *headers)
{
    struct client c = connect_client();
    fake_registry.call = NULL;
    send_head(&c, method_of(r), path_of(r), headers);
    if (!has(&c, "HTTP/1.1 403 "))
        fail_msg("%s %s with %s: %s", method_of(r), path_of(r), headers, buf_text(&c.in));
    expect(&c, "\"code\":\"forbidden\"");
    expect(&c, "X-Content-Type-Options: nosniff\r\n");
    assert_false(has(&c, "Access-Control-Allow"));
    assert_null(fake_registry.call);
    done(&c);
}

/* Headers as browsers send them for a page of another origin. */
static const char *const foreign[] = {
    "Host: 127.0.0.1:2379\r\nOrigin: http://evil.example\r\n",
    "Host: 127.0.0.1:2379\r\nOrigin: null\r\n",
    "Host: 127.0.0.1:2379\r\nOrigin: http://127.0.0.1:3000\r\nSec-Fetch-Site: same-site\r\n",
    "Host: 127.0.0.1:2379\r\nOrigin: http://127.0.0.1\r\n",
    "Host: 127.0.0.1:2379\r\nSec-Fetch-Site: cross-site\r\n",
    "Host: 127.0.0.1:2379\r\nSec-Fetch-Site: same-site\r\n",
    "Host: 127.0.0.1:2379\r\nOrigin: http://evil.example\r\nSec-Fetch-Site: none\r\n",
};
enum { FOREIGN = sizeof foreign / sizeof *foreign };

/* The options for etcd's paths open nothing here. */
static void test_other_origins(void **state)
{
    (void)state;
    options.cors = "*";
    for (int is_listed = 0; is_listed < 2; is_listed++) {
        options.origins = is_listed ? "http://good.example" : NULL;
        assert_int_equal(restart(), 0);
        for (size_t i = 0; i < api_route_count; i++) {
            const struct api_route *r = &api_routes[i];
            for (size_t k = 0; k < FOREIGN && r->method != HTTP_GET; k++)
                expect_refusal(r, foreign[k]);
        }
    }
}

static void test_reads(void **state)
{
    (void)state;
    struct client c = connect_client();
    for (size_t k = 0; k < FOREIGN; k++) {
        send_head(&c, "GET", "/openapi.json", foreign[k]);
        expect(&c, "HTTP/1.1 200 OK\r\n");
        expect(&c, "Cross-Origin-Resource-Policy: same-origin\r\n");
        assert_false(has(&c, "Access-Control-Allow"));
        done(&c);
        c = connect_client();
    }
    done(&c);
}

static void test_preflights(void **state)
{
    (void)state;
    static const struct {
        const char *origins, *origin, *status, *allowed;
    } rows[] = {
        {NULL, "http://evil.example", "403", NULL},
        {"", "http://evil.example", "403", NULL},
        {"http://good.example", "http://evil.example", "403", NULL},
        {"http://good.example", "http://good.example", "200", "http://good.example"},
        {"http://good.example", "http://good.example.evil", "403", NULL},
        {"*", "http://evil.example", "200", "*"},
        {NULL, "http://127.0.0.1:2379", "200", NULL}, /* this server's own: no header is needed */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[300];
        options.origins = rows[i].origins;
        assert_int_equal(restart(), 0);
        struct client c = connect_client();
        snprintf(text, sizeof text,
                 "Host: 127.0.0.1:2379\r\nOrigin: %s\r\nAccess-Control-Request-Method: PUT\r\n",
                 rows[i].origin);
        send_head(&c, "OPTIONS", "/api/v1/services/a/instances/b", text);
        snprintf(text, sizeof text, "HTTP/1.1 %s ", rows[i].status);
        expect(&c, text);
        assert_false(has(&c, "Access-Control-Allow-Credentials"));
        if (rows[i].allowed) {
            snprintf(text, sizeof text, "Access-Control-Allow-Origin: %s\r\n", rows[i].allowed);
            expect(&c, text);
            assert_int_equal(has(&c, "Vary: Origin\r\n"), strcmp(rows[i].allowed, "*") != 0);
        } else {
            assert_false(has(&c, "Access-Control"));
        }
        done(&c);
    }
}

/* These are not pages of other origins: their writes reach the registry. */
static void test_allowed(void **state)
{
    (void)state;
    static const struct {
        const char *origins, *headers;
    } rows[] = {
        {NULL, "Host: 127.0.0.1:2379\r\n"},
        {NULL, "Host: registry.example:2379\r\nUser-Agent: curl/8\r\n"},
        /* Node's fetch */
        {NULL,
         "Host: registry.example\r\nAccept-Language: *\r\nSec-Fetch-Mode: cors\r\nUser-Agent: node\r\n"},
        {NULL, "Host: 127.0.0.1:2379\r\nOrigin: http://127.0.0.1:2379\r\nSec-Fetch-Site: same-origin\r\n"},
        {NULL, "Host: 10.0.0.1:2379\r\nOrigin: https://front.example\r\nSec-Fetch-Site: same-origin\r\n"},
        {NULL, "Host: localhost:2379\r\nSec-Fetch-Site: none\r\n"},
        {"http://good.example",
         "Host: 127.0.0.1\r\nOrigin: http://good.example\r\nSec-Fetch-Site: cross-site\r\n"},
        {"*", "Host: 127.0.0.1\r\nOrigin: null\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        options.origins = rows[i].origins;
        assert_int_equal(restart(), 0);
        struct client c = connect_client();
        struct buf text = {0};
        buf_addf(&text, "DELETE /api/v1/services/a/instances/b HTTP/1.1\r\n%s\r\n", rows[i].headers);
        fake_registry.call = NULL;
        send_bytes(&c, text.data, text.size);
        uint64_t end = clock_mono_ms() + WAIT_MS;
        while (!fake_registry.call && !c.in.size && clock_mono_ms() < end)
            pump(&c);
        if (!fake_registry.call || strcmp(fake_registry.call, "deregister") != 0)
            fail_msg("%s: %s", rows[i].headers, buf_text(&c.in));
        buf_done(&text);
        done(&c);
    }
}

/* A page is of the same origin if DNS was made to resolve its name to this server. */
static void test_rebinding(void **state)
{
    (void)state;
    static const char *const browsers[] = {
        "Origin: http://evil.example:2379\r\n", "Sec-Fetch-Site: same-origin\r\n",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n", "Accept-Language: en-US,en;q=0.9\r\n"};
    static const char *const own[] = {"127.0.0.1", "[::1]",   "localhost",       "cairn",
                                      "n1.local",  "a.b.svc", "cairn.corp.test", "CAIRN.localhost."};
    static const char *const others[] = {"evil.example",           "localhost.evil.example",
                                         "127.0.0.1.evil.example", "evillocal.example",
                                         "evil.example.",          "1.cairn.corp.test"};
    options.own_hosts = "10.0.0.1,cairn.corp.test";
    assert_int_equal(restart(), 0);
    char text[200];
    struct client c;
    for (size_t k = 0; k < sizeof browsers / sizeof *browsers; k++) {
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
            c = connect_client();
            snprintf(text, sizeof text, "Host: %s:2379\r\n%s", others[i], browsers[k]);
            send_head(&c, i % 2 ? "GET" : "DELETE", "/api/v1/services/a/instances/b", text);
            if (!has(&c, "HTTP/1.1 421 "))
                fail_msg("%s: %s", text, buf_text(&c.in));
            done(&c);
        }
        for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
            c = connect_client();
            snprintf(text, sizeof text, "Host: %s:2379\r\n%s", own[i], browsers[k]);
            send_head(&c, "GET", "/openapi.json", text);
            expect(&c, "HTTP/1.1 200 OK\r\n");
            done(&c);
        }
    }
    /* etcd's own paths keep etcd's --host-whitelist. */
    c = connect_client();
    send_head(&c, "GET", "/version", "Host: evil.example\r\nUser-Agent: Mozilla/5.0\r\n");
    expect(&c, "HTTP/1.1 200 OK\r\n");
    done(&c);
    options.own_hosts = "*";
    assert_int_equal(restart(), 0);
    c = connect_client();
    send_head(&c, "GET", "/openapi.json", "Host: evil.example\r\nUser-Agent: Mozilla/5.0\r\n");
    expect(&c, "HTTP/1.1 200 OK\r\n");
    done(&c);
}

/* The status is 415, or that of a body that is not JSON. */
static bool is_refused_type(const struct api_route *r, const char *headers)
{
    struct client c = connect_client();
    char text[300];
    fake_registry.call = NULL;
    snprintf(text, sizeof text, "Host: x\r\nContent-Length: 1\r\n%s", headers);
    send_with(&c, method_of(r), path_of(r), text, "x");
    bool is = has(&c, "HTTP/1.1 415 ");
    if (is)
        expect(&c, "\"code\":\"unsupported_media\"");
    else
        expect(&c, "HTTP/1.1 400 ");
    assert_null(fake_registry.call);
    done(&c);
    return is;
}

static void test_body_types(void **state)
{
    (void)state;
    static const char *const always[] = {"Content-Type: text/plain\r\n",
                                         "Content-Type: TEXT/PLAIN ;charset=UTF-8\r\n",
                                         "Content-Type: multipart/form-data; boundary=x\r\n"};
    static const char *const of_browsers[] = {"Content-Type: application/x-www-form-urlencoded\r\n", ""};
    static const char *const never[] = {"Content-Type: application/json\r\n",
                                        "Content-Type: application/octet-stream\r\n"};
    size_t posts = 0;
    for (size_t i = 0; i < api_route_count; i++) {
        const struct api_route *r = &api_routes[i];
        char text[200];
        if (r->method != HTTP_POST || strstr(r->path, "/configs") || (r->flags & BODY_STREAM))
            continue; /* of the config center: tests/e2e/config.sh */
        posts++;
        for (size_t k = 0; k < sizeof always / sizeof *always; k++)
            assert_true(is_refused_type(r, always[k]));
        for (size_t k = 0; k < sizeof of_browsers / sizeof *of_browsers; k++) {
            assert_false(is_refused_type(r, of_browsers[k]));
            snprintf(text, sizeof text, "%sOrigin: http://x\r\n", of_browsers[k]);
            assert_true(is_refused_type(r, text));
        }
        for (size_t k = 0; k < sizeof never / sizeof *never; k++) {
            snprintf(text, sizeof text, "%sOrigin: http://x\r\n", never[k]);
            assert_false(is_refused_type(r, text));
        }
    }
    assert_true(posts >= 3);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start_api, stop_api)
    const struct CMUnitTest tests[] = {
        TEST(test_other_origins), TEST(test_reads),     TEST(test_preflights),
        TEST(test_allowed),       TEST(test_rebinding), TEST(test_body_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
