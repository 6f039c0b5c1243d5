/* SPDX-License-Identifier: Apache-2.0
 * Tests of the web console's files over HTTP: types, tags, compression, refusals, and the security policy of
 * the pages. */
#include "tests/unit/http_fake.h"

#include "base/gzip.h"
#include "server/http/console/console.h"

static struct {
    struct kv_request *waiting; /* not answered at once */
    bool holds;
    int err;
    char *urls[3];
} list;

void kv_member_list(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberListRequest *m)
{
    (void)kv;
    assert_false(m->linearizable);
    Etcdserverpb__Member member = ETCDSERVERPB__MEMBER__INIT, *members[] = {&member};
    Etcdserverpb__MemberListResponse response = ETCDSERVERPB__MEMBER_LIST_RESPONSE__INIT;
    response.n_members = 1;
    response.members = members;
    member.clienturls = list.urls;
    member.n_clienturls = sizeof list.urls / sizeof *list.urls;
    if (list.holds)
        list.waiting = r;
    else
        r->done(r, list.err, list.err ? NULL : &response.base);
}

static char of_kv;

static int start_console(void **state)
{
    static char plain[] = "http://127.0.0.1:2379", tls[] = "https://[::1]:2379",
                evil[] = "http://x;script-src *";
    struct http_mount mounts[CONSOLE_MOUNTS];
    (void)state;
    memset(&store, 0, sizeof store);
    memset(&list, 0, sizeof list);
    list.urls[0] = plain;
    list.urls[1] = evil;
    list.urls[2] = tls;
    store.leader = 1;
    console_mounts((struct kv *)(void *)&of_kv, mounts);
    open_server(mounts, CONSOLE_MOUNTS);
    return 0;
}

static struct client get(const char *path, const char *headers)
{
    struct client c = connect_client();
    char text[1024];
    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, headers);
    send_text(&c, text);
    expect(&c, "\r\n\r\n");
    return c;
}

/* The header's value, in a buffer that the next call reuses. */
static const char *value_of(struct client *c, const char *name)
{
    static char value[512];
    char line[64];
    snprintf(line, sizeof line, "\r\n%s: ", name);
    const char *at = strstr(buf_text(&c->in), line);
    assert_non_null(at);
    at += strlen(line);
    snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

/* The body after the head, when it is complete. */
static struct slice body_of(struct client *c)
{
    size_t size = (size_t)atoi(value_of(c, "Content-Length"));
    uint64_t end = clock_mono_ms() + WAIT_MS;
    size_t at = (size_t)(strstr(buf_text(&c->in), "\r\n\r\n") - buf_text(&c->in)) + 4;
    while (c->in.size < at + size && clock_mono_ms() < end)
        pump(c);
    assert_int_equal(c->in.size, at + size);
    return slice_of(c->in.data + at, size);
}

static void test_files(void **state)
{
    static const struct {
        const char *path, *type;
    } files[] = {
#define CONSOLE_FILE(id, name, type) {"/ui/" name, type},
#include "server/http/console/console.def"
#undef CONSOLE_FILE
        {"/ui/", "text/html; charset=utf-8"},
    };
    size_t total = 0;
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct client plain = get(files[i].path, ""),
                      packed = get(files[i].path, "Accept-Encoding: br, gzip\r\n");
        expect(&plain, "HTTP/1.1 200 OK\r\n");
        assert_string_equal(value_of(&plain, "Content-Type"), files[i].type);
        assert_string_equal(value_of(&packed, "Content-Type"), files[i].type);
        assert_string_equal(value_of(&packed, "Content-Encoding"), "gzip");
        assert_string_equal(value_of(&plain, "Vary"), "Accept-Encoding");
        assert_false(has(&plain, "Content-Encoding"));
        struct slice text = body_of(&plain), in = body_of(&packed);
        total += in.size;
        struct buf inflated = {0};
        struct gzip_reader *g = gzip_reader_new(1 << 20);
        while (in.size)
            assert_int_equal(gzip_read(g, &in, &inflated), 0);
        assert_int_equal(gzip_read_end(g), 0);
        assert_true(text.size > 0 && slice_equal(text, buf_slice(&inflated)));
        gzip_reader_free(g);
        buf_done(&inflated);
        done(&plain);
        done(&packed);
    }
    assert_true(total < 60 * 1024); /* what a browser fetches at first */
}

static void test_unchanged(void **state)
{
    (void)state;
    char plain_tag[128], packed_tag[128], header[400];
    struct client c = get("/ui/main.js", "");
    snprintf(plain_tag, sizeof plain_tag, "%s", value_of(&c, "ETag"));
    assert_string_equal(value_of(&c, "Cache-Control"), "no-cache");
    done(&c);
    c = get("/ui/main.js", "Accept-Encoding: gzip\r\n");
    snprintf(packed_tag, sizeof packed_tag, "%s", value_of(&c, "ETag"));
    done(&c);
    assert_string_not_equal(plain_tag, packed_tag); /* other bytes */
    snprintf(header, sizeof header, "If-None-Match: \"x\", W/%s\r\n", plain_tag);
    c = get("/ui/main.js", header);
    expect(&c, "HTTP/1.1 304 Not Modified\r\n");
    assert_string_equal(value_of(&c, "ETag"), plain_tag);
    assert_string_equal(value_of(&c, "X-Content-Type-Options"), "nosniff");
    assert_false(has(&c, "Content-Length"));
    done(&c);
    c = get("/ui/style.css", header); /* another file's */
    expect(&c, "HTTP/1.1 200 OK\r\n");
    done(&c);
    snprintf(header, sizeof header, "Accept-Encoding: gzip\r\nIf-None-Match: %s\r\n", plain_tag);
    c = get("/ui/main.js", header);
    expect(&c, "HTTP/1.1 200 OK\r\n");
    done(&c);
    c = get("/ui/", "If-None-Match: *\r\n");
    expect(&c, "HTTP/1.1 304 Not Modified\r\n");
    done(&c);
}

static void test_head_and_others(void **state)
{
    (void)state;
    struct client c = connect_client();
    send_text(&c, "HEAD /ui/style.css HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "\r\n\r\n");
    assert_true(atoi(value_of(&c, "Content-Length")) > 100);
    turn(&c, 20);
    assert_false(has(&c, "color"));
    done(&c);
    c = connect_client();
    post(&c, "/ui/style.css", "{}");
    expect(&c, "HTTP/1.1 405 Method Not Allowed\r\n");
    expect(&c, "Allow: GET, HEAD\r\n");
    done(&c);
    c = get("/ui", "");
    expect(&c, "HTTP/1.1 301 Moved Permanently\r\n");
    assert_string_equal(value_of(&c, "Location"), "/ui/");
    done(&c);
}

static void test_refused(void **state)
{
    static const char *const paths[] = {
        "/ui/nope.js",
        "/ui/../health",
        "/ui/..%2fhealth",
        "/ui/%2e%2e/%2e%2e/etc/passwd",
        "/ui//etc/passwd",
        "/ui/main.js/",
        "/ui/main.js%00.css",
        "/ui/MAIN.js",
        "/ui/./main.js",
        "/ui/console.def",
        "/uix",
        "/ui/index.html/../main.js",
        "/ui%2fmain.js",
        "/ui/%2fmain%2Ejs",
        "/ui/index.html%2f/",
        "/ui/main.js.gz",
    };
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct client c = get(paths[i], "");
        if (!has(&c, "HTTP/1.1 404") && !has(&c, "HTTP/1.1 400"))
            fail_msg("%s: %s", paths[i], buf_text(&c.in));
        done(&c);
    }
}

static void test_policy(void **state)
{
    (void)state;
    struct client c = get("/ui/", "");
    const char *policy = value_of(&c, "Content-Security-Policy");
    assert_non_null(
        strstr(policy, "default-src 'self'; connect-src 'self' http://127.0.0.1:2379 https://[::1]:2379;"));
    assert_null(strstr(policy, "unsafe"));
    assert_null(strstr(policy, "script-src")); /* a member's URL adds no directive of its own */
    assert_non_null(strstr(policy, "frame-ancestors 'none'"));
    assert_string_equal(value_of(&c, "X-Frame-Options"), "DENY");
    assert_string_equal(value_of(&c, "X-Content-Type-Options"), "nosniff");
    assert_string_equal(value_of(&c, "Referrer-Policy"), "no-referrer");
    assert_string_equal(value_of(&c, "Cross-Origin-Opener-Policy"), "same-origin");
    assert_false(has(&c, "Access-Control") || has(&c, "Set-Cookie"));
    assert_false(has(&c, "style=") || has(&c, "<script>") || has(&c, "onclick"));
    done(&c);
    list.err = ERR_STOPPED; /* the members are unknown: the page alone */
    c = get("/ui/index.html", "");
    expect(&c, "HTTP/1.1 200 OK\r\n");
    assert_non_null(strstr(value_of(&c, "Content-Security-Policy"), "connect-src 'self';"));
    done(&c);
}

/* A request whose Host is another name, which DNS resolves to this server, is refused. */
static void test_rebinding(void **state)
{
    (void)state;
    struct client c = connect_client();
    send_text(&c, "GET /ui/ HTTP/1.1\r\nHost: evil.example:2379\r\nUser-Agent: Mozilla/5.0\r\n\r\n");
    expect(&c, "HTTP/1.1 421 Misdirected Request\r\n");
    done(&c);
}

/* A client that disconnects before the members are known is forgotten. */
static void test_client_leaves(void **state)
{
    (void)state;
    list.holds = true;
    struct client c = connect_client();
    send_text(&c, "GET /ui/ HTTP/1.1\r\nHost: x\r\n\r\n");
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (!list.waiting && clock_mono_ms() < end)
        pump(&c);
    assert_non_null(list.waiting);
    done(&c);
    while (!store.canceled && clock_mono_ms() < end)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(store.canceled, 1);
}

static void test_takes_gzip(void **state)
{
    static const char *const yes[] = {"gzip",      "GZIP", "br;q=1, gzip;q=0.001", "*", " deflate , gzip ",
                                      "gzip;q=1.0"};
    static const char *const no[] = {
        "", "br", "gzip;q=0", "gzip; q=0.000", "*;q=0", "identity", "xgzip", "*, gzip;q=0", ",", ";", "gzi"};
    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!console_takes_gzip(slice_text(yes[i])))
            fail_msg("%s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (console_takes_gzip(slice_text(no[i])))
            fail_msg("%s", no[i]);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    cmocka_set_test_filter(getenv("ONLY"));
#define TEST(name) cmocka_unit_test_setup_teardown(name, start_console, stop_server)
    const struct CMUnitTest tests[] = {
        TEST(test_files),           TEST(test_unchanged),
        TEST(test_head_and_others), TEST(test_refused),
        TEST(test_policy),          TEST(test_rebinding),
        TEST(test_client_leaves),   cmocka_unit_test(test_takes_gzip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
