/* SPDX-License-Identifier: Apache-2.0
 * Tests of the HTTP server: pages, gateway, health, access, framing, limits, pipelining. */
#include "server/http/conn.h"
#include "tests/unit/http_fake.h"

/* --- plain requests --------------------------------------------------------------------------------- */

static void test_unary(void **state)
{
    (void)state;
    struct client c = connect_client();
    post(&c, "/v3/kv/put", "{\"key\":\"Zm9v\",\"value\":\"YmFy\",\"prevKv\":true}");
    expect(&c, "HTTP/1.1 200 OK\r\n");
    expect(&c, "Content-Type: application/json\r\n");
    expect(&c, "Content-Length: 52\r\n");
    expect(&c, "Access-Control-Allow-Origin: *\r\n");
    expect(&c, "\r\n\r\n{\"header\":{\"revision\":\"3\"},\"prev_kv\":{\"key\":\"Zm9v\"}}");
    buf_clear(&c.in);
    post(&c, "/v3/kv/put", "{}");
    expect(&c, "HTTP/1.1 400 Bad Request\r\n");
    expect(&c, "\r\n\r\n{\"code\":3,\"message\":\"etcdserver: key is not provided\"}");
    buf_clear(&c.in);
    post(&c, "/v3/kv/put", "");
    expect(&c, "key is not provided");
    post(&c, "/v3/kv/put", " \n");
    expect_times(&c, "key is not provided", 2);
    post(&c, "/v3/kv/put", "{\"key\":\"YQ==\"} trailing");
    expect(&c, "{\"header\":{}}");
    buf_clear(&c.in);
    post(&c, "/v3/kv/put", "{\"key\":1}");
    expect(&c, "{\"code\":3,\"message\":\"proto: (line 1:8): invalid value for bytes field key: 1\"}");
    post(&c, "/v3/kv/put", "{\"key\":\"Zm9v\"");
    expect(&c, "{\"code\":3,\"message\":\"unexpected EOF\"}");
    buf_clear(&c.in);
    post(&c, "/v3/nope", "{}");
    expect(&c, "HTTP/1.1 404 Not Found\r\n");
    expect(&c, "{\"code\":5,\"message\":\"Not Found\"}");
    send_text(&c, "GET /v3/kv/put HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "HTTP/1.1 501 Not Implemented\r\n");
    expect(&c, "{\"code\":12,\"message\":\"Method Not Allowed\"}");
    assert_false(c.is_closed);
    assert_int_equal(rpc.started - rpc.finished, rpc.canceled);
    done(&c);
}

static void test_pages(void **state)
{
    (void)state;
    struct client c = connect_client();
    send_text(&c, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "{\"etcdserver\":\"3.7.1\",\"etcdcluster\":\"3.7.0\",\"storage\":\"3.7.0\"}");
    send_text(&c, "PUT /version HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    expect(&c, "HTTP/1.1 405 Method Not Allowed\r\n");
    expect(&c, "Allow: GET\r\n");
    expect(&c, "\r\n\r\nMethod Not Allowed\n");
    send_text(&c, "GET /nope HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "\r\n\r\n404 page not found\n");
    send_text(&c, "GET /debug/pprof HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "there is no /debug/pprof: it is of Go's runtime");
    buf_clear(&c.in);
    send_text(&c, "GET /debug/pprof/heap?debug=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "Use perf for profiles");
    send_text(&c, "GET /debug/requests HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "there is no /debug/requests: it is of Go's gRPC library");
    send_text(&c, "OPTIONS /anything HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "Content-Length: 0\r\n\r\n");
    buf_clear(&c.in);
    send_text(&c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "Content-Type: text/plain; version=0.0.4");
    expect(&c, "# TYPE etcd_server_has_leader gauge");
    buf_clear(&c.in);
    send_text(&c, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\nGET /debug/vars HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "\"memstats\":{\"Alloc\":");
    assert_false(has(&c, "# TYPE"));
    done(&c);
    c = connect_as(HTTP_METRICS_ONLY);
    send_text(&c, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "404 page not found");
    send_text(&c, "GET /health?serializable=true HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "{\"health\":\"true\",\"reason\":\"\"}");
    done(&c);
}

static void test_health(void **state)
{
    (void)state;
    struct client c = connect_client();
    const char *get = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    send_text(&c, get);
    turn(&c, 20);
    assert_non_null(store.barrier);
    assert_false(has(&c, "200"));
    store.barrier->done(store.barrier, 0, NULL);
    expect(&c, "\r\n\r\n{\"health\":\"true\",\"reason\":\"\"}");
    send_text(&c, get);
    turn(&c, 20);
    store.barrier->done(store.barrier, ERR_TIMEOUT, NULL);
    expect(&c, "503 Service Unavailable");
    expect(&c, "{\"health\":\"false\",\"reason\":\"RANGE ERROR:etcdserver: request timed out\"}\n");
    store.leader = 0;
    send_text(&c, get);
    expect(&c, "\"reason\":\"RAFT NO LEADER\"}\n");
    store.alarms = 1;
    send_text(&c, get);
    expect(&c, "\"reason\":\"ALARM NOSPACE\"}\n");
    send_text(&c, "GET /health?exclude=NOSPACE&serializable=true HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_times(&c, "{\"health\":\"true\"", 2);
    buf_clear(&c.in);
    send_text(&c, "GET /livez?verbose HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "\r\n\r\n[+]serializable_read ok\nok\n");
    buf_clear(&c.in);
    send_text(&c, "GET /readyz?verbose HTTP/1.1\r\nHost: x\r\n\r\n");
    turn(&c, 20);
    store.barrier->done(store.barrier, 0, NULL);
    expect(&c, "\r\n\r\n[+]data_corruption ok\n[+]serializable_read ok\n[+]linearizable_read ok\n"
               "[+]non_learner ok\nok\n");
    buf_clear(&c.in);
    not_ready = "not there yet";
    send_text(&c, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n");
    turn(&c, 20);
    store.barrier->done(store.barrier, 0, NULL);
    expect(&c, "503 Service Unavailable");
    expect(&c, "[+]non_learner ok\n[-]registry failed: not there yet\n");
    not_ready = NULL;
    buf_clear(&c.in);
    store.alarms = 2;
    store.is_learner = true;
    send_text(&c, "GET /readyz?exclude=linearizable_read HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "503 Service Unavailable");
    expect(&c, "\r\n\r\n[-]data_corruption failed: alarm activated: CORRUPT\n[+]serializable_read ok\n"
               "[-]non_learner failed: not supported for learner\n\n");
    buf_clear(&c.in);
    store.range_error = ERR_STOPPED;
    send_text(&c, "GET /readyz/serializable_read HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "\r\n\r\n[-]serializable_read failed: etcdserver: server stopped\n\n");
    send_text(&c, "GET /readyz/nope HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "404 page not found");
    send_text(&c, "POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    expect(&c, "405 Method Not Allowed");
    store.alarms = 0;
    store.leader = 1;
    send_text(&c, get);
    turn(&c, 20);
    assert_non_null(store.barrier);
    done(&c);
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (store.canceled == 0 && clock_mono_ms() < end)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(store.canceled, 1);
}

static void test_metadata(void **state)
{
    (void)state;
    struct client c = connect_client();
    send_text(&c, "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nauthorization: Bearer abc.def\r\n"
                  "Grpc-Metadata-hasleader: true\r\nContent-Length: 2\r\n\r\n{}");
    expect(&c, "key is not provided");
    assert_string_equal(rpc.token, "abc.def");
    assert_true(rpc.has_leader_required);
    send_text(&c, "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nAuthorization: abc\r\nContent-Length: 2\r\n\r\n{}");
    expect_times(&c, "key is not provided", 2);
    assert_string_equal(rpc.token, "abc");
    assert_false(rpc.has_leader_required);
    buf_clear(&c.in);
    send_text(&c, "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nAuthorization: bad\r\nContent-Length: 2\r\n\r\n{}");
    expect(&c, "HTTP/1.1 401 Unauthorized\r\n");
    expect(&c, "WWW-Authenticate: etcdserver: invalid auth token\r\n");
    expect(&c, "{\"code\":16,\"message\":\"etcdserver: invalid auth token\"}");
    char big[15000] = "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nAuthorization: ";
    memset(big + strlen(big), 'j', 12000);
    strcat(big, "\r\nContent-Length: 2\r\n\r\n{}");
    buf_clear(&c.in);
    send_text(&c, big);
    expect(&c, "key is not provided");
    assert_int_equal(strlen(rpc.token), sizeof rpc.token - 1);
    done(&c);
}

static void test_access(void **state)
{
    (void)state;
    assert_int_equal(restart_with("http://good.example", "good.example,localhost"), 0);
    struct client c = connect_client();
    send_text(&c, "GET /version HTTP/1.1\r\nHost: evil.example:2379\r\n\r\n");
    expect(&c, "HTTP/1.1 421 Misdirected Request\r\n");
    buf_clear(&c.in);
    send_text(&c, "GET /version HTTP/1.1\r\nHost: good.example:2379\r\nOrigin: http://good.example\r\n\r\n");
    expect(&c, "Access-Control-Allow-Origin: http://good.example\r\n");
    expect(&c, "etcdserver");
    buf_clear(&c.in);
    send_text(&c, "GET /version HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n");
    expect(&c, "etcdserver");
    assert_false(has(&c, "Access-Control"));
    done(&c);
    options.enable_gateway = false;
    assert_int_equal(restart_with("*", "*"), 0);
    c = connect_client();
    post(&c, "/v3/kv/put", "{}");
    expect(&c, "404 page not found");
    done(&c);
}

/* --- framing and limits ---------------------------------------- */

static void test_framing(void **state)
{
    (void)state;
    static const struct {
        const char *head, *status;
    } bad[] = {
        {"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
         "400"},
        {"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "400"},
        {"GET /version HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "400"},
        {"GET /version HTTP/1.1\r\n\r\n", "400"},
        {"GET /version HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", "400"},
        {"GET /version HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", "400"},
        {"GET /version HTTP/1.1\r\nHost : x\r\n\r\n", "400"},
        {"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        {"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n", "400"},
        {"BREW /version HTTP/1.1\r\nHost: x\r\n\r\n", "501"},
        {"GET /version HTTP/2.0\r\nHost: x\r\n\r\n", "505"},
        {"GET /version\r\n\r\n", "400"},
        {"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "400"},
        {"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n", "400"},
        {"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 0x2\r\n\r\n", "400"},
        {"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", "400"},
        {"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 700000\r\n\r\n", "413"},
        {"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", "400"},
        {"POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}XX", "400"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct client c = connect_client();
        char line[32];
        snprintf(line, sizeof line, "HTTP/1.1 %s ", bad[i].status);
        send_text(&c, bad[i].head);
        expect(&c, line);
        expect_closed(&c);
        done(&c);
    }
    struct client c = connect_client();
    send_text(&c, "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "8;a=b\r\n{\"key\":\"\r\n6\r\nZm9v\"}\r\n0\r\nTrailer: 1\r\n\r\n");
    expect(&c, "{\"header\":{}}");
    send_text(&c, "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "key is not provided");
    send_text(&c,
              "\r\nGET /version HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
              "GET http://other/version?x HTTP/1.1\r\nHost: x\r\n\r\n");
    expect_times(&c, "etcdserver\":", 2);
    done(&c);
    char huge[20000] = "GET /version HTTP/1.1\r\nHost: x\r\nX: ";
    memset(huge + strlen(huge), 'x', 18000);
    c = connect_client();
    send_text(&c, huge);
    expect(&c, "HTTP/1.1 431 Request Header Fields Too Large");
    expect_closed(&c);
    done(&c);
    c = connect_client();
    send_text(&c, "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    expect(&c, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_false(has(&c, "HTTP/1.1 400"));
    send_text(&c, "{}");
    expect(&c, "key is not provided");
    done(&c);
    c = connect_client();
    send_text(&c, "GET /version HTTP/1.0\r\n\r\n");
    expect(&c, "Connection: close\r\n");
    expect_closed(&c);
    done(&c);
}

static void test_big_body(void **state)
{
    (void)state;
    struct client c = connect_client();
    size_t n = 400000;
    struct buf b = {0};
    buf_addf(
        &b,
        "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n{\"key\":\"YQ==\",\"value\":\"",
        n);
    size_t head = strlen("{\"key\":\"YQ==\",\"value\":\"");
    for (size_t i = 0; i < n - head - 2; i++)
        buf_add_byte(&b, 'A');
    buf_add_text(&b, "\"}");
    send_bytes(&c, b.data, b.size);
    expect(&c, "\"revision\":\"299981\"");
    send_bytes(&c, b.data, b.size);
    expect_times(&c, "\"revision\":\"299981\"", 2);
    buf_done(&b);
    done(&c);
    c = connect_client();
    send_text(&c, "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    char chunk[8192 + 8] = "2000\r\n";
    memset(chunk + 6, ' ', 8192);
    memcpy(chunk + 6 + 8192, "\r\n", 2);
    for (int i = 0; i < 100 && !c.is_closed; i++)
        send_bytes(&c, chunk, sizeof chunk);
    expect(&c, "413 Request Entity Too Large");
    expect_closed(&c);
    done(&c);
}

static void test_pipelining(void **state)
{
    (void)state;
    struct client c = connect_client();
    char text[8000] = "";
    for (int i = 0; i < 20; i++)
        strcat(text,
               i % 2 ? "GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
                     : "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{\"key\":\"YQ==\"}");
    send_text(&c, text);
    expect_times(&c, "HTTP/1.1 200 OK", 20);
    buf_clear(&c.in);
    /* A pending call delays the requests after it. */
    post(&c, "/v3/lock/lock", "{}");
    send_text(&c, text);
    turn(&c, 50);
    assert_int_equal(c.in.size, 0);
    assert_non_null(rpc.waiting);
    finish(rpc.waiting, 9, "later");
    expect(&c, "{\"code\":9,\"message\":\"later\"}");
    expect_times(&c, "HTTP/1.1 200 OK", 20);
    assert_false(c.is_closed);
    /* Byte by byte. */
    buf_clear(&c.in);
    for (const char *p =
             "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n\r\n{\"key\":\"YQ==\"}";
         *p; p++)
        send_bytes(&c, p, 1);
    expect(&c, "{\"header\":{}}");
    done(&c);
}

static void test_client_gone(void **state)
{
    (void)state;
    struct client c = connect_client();
    post(&c, "/v3/lock/lock", "{}");
    turn(&c, 20);
    done(&c);
    wait_for_cancel(1);
    c = connect_client(); /* with a pipelined request after it */
    post(&c, "/v3/lock/lock", "{}");
    post(&c, "/v3/lock/lock", "{}");
    turn(&c, 20);
    done(&c);
    wait_for_cancel(2);
    c = connect_client(); /* in the middle of a body */
    send_text(&c, "POST /v3/watch HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{\"create");
    turn(&c, 20);
    done(&c);
    wait_for_cancel(3);
    c = connect_client();
    send_text(&c,
              "POST /v3/lock/lock HTTP/1.1\r\nHost: x\r\nGrpc-Timeout: 100m\r\nContent-Length: 2\r\n\r\n{}");
    expect(&c, "HTTP/1.1 504 Gateway Timeout");
    expect(&c, "{\"code\":4,\"message\":\"context deadline exceeded\"}");
    assert_int_equal(rpc.canceled, 4);
    done(&c);
    assert_int_equal(http_server_connections(server), 0);
}

/* --- clients that open slowly ----------------------------------------------------------------------- */

static uint64_t skipped_ms;

static uint64_t fake_ms(void)
{
    return clock_mono_ms() + skipped_ms;
}

/* So much time passes, and the server checks its connections. */
static void pass(struct client *c, uint64_t ms)
{
    skipped_ms += ms;
    turn(c, 2 * 500 + 100);
}

static void test_slow_opening(void **state)
{
    (void)state;
    enum { SILENT, BLANK, HEAD, BODY, FAST, KINDS };
    struct client c[KINDS];
    rpc_server.mono_ms = fake_ms;
    for (int i = 0; i < KINDS; i++)
        c[i] = connect_client();
    const char *head = "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 190000\r\n\r\n";
    static const char piece[60000] = "{";
    send_text(&c[BODY], head);
    send_text(&c[FAST], head);
    send_text(&c[BLANK], "\r\n");
    send_text(&c[HEAD], "GET /");
    for (int i = 0; i < 3; i++) { /* 5 s each */
        pass(&c[BLANK], 4000);
        send_text(&c[BLANK], "\r\n");
        send_text(&c[HEAD], "x");
        send_text(&c[BODY], "{");
        send_bytes(&c[FAST], piece, sizeof piece);
        turn(&c[HEAD], 20);
    }
    expect_closed(&c[HEAD]); /* the 10 s are of the whole head */
    assert_false(c[BLANK].is_closed);
    for (int i = 0; i < 6 && !c[BLANK].is_closed; i++) {
        pass(&c[BLANK], 2500);
        send_text(&c[BLANK], "\r\n");
    }
    assert_true(c[BLANK].is_closed); /* blank lines do not begin a request */
    expect_closed(&c[SILENT]);
    expect_closed(&c[BODY]); /* a byte now and then */
    turn(&c[FAST], 10);
    assert_false(c[FAST].is_closed);
    send_bytes(&c[FAST], piece, 10000); /* all of it at last */
    expect(&c[FAST], "HTTP/1.1 400");
    for (int i = 0; i < KINDS; i++)
        done(&c[i]);
}

/* A source's silent connections make room for each other; a connection with a request stays. */
static void test_sources(void **state)
{
    (void)state;
    struct client c[6];
    sources.source_opening_max = 3;
    c[0] = connect_client();
    send_text(&c[0], "GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c[0], "etcdserver\":");
    assert_int_equal(sources.opening, 0);
    c[1] = connect_client();
    send_text(&c[1], "POST /v3/lock/lock HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
    turn(&c[1], 20); /* it waits for its first answer */
    for (int i = 2; i < 6; i++) {
        c[i] = connect_client();
        send_text(&c[i], "GET /ver");
        turn(&c[i], 5);
    }
    expect_closed(&c[2]);
    for (int i = 3; i < 6; i++) {
        turn(&c[i], 5);
        assert_false(c[i].is_closed);
    }
    assert_int_equal(sources.evicted_opening, 1);
    assert_int_equal(sources.count, 5);
    post(&c[0], "/v3/kv/put", "{\"key\":\"YQ==\"}");
    expect(&c[0], "{\"header\":{}}");
    for (int i = 0; i < 6; i++)
        done(&c[i]);
}

/* Pipelined requests are answered over several turns of the loop, all of them, in order. */
static void test_sent_ahead(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    struct client c = connect_client();
    struct buf text = {0};
    for (unsigned i = 0; i < COUNT; i++)
        buf_addf(&text, "GET /metrics?%u HTTP/1.1\r\nHost: x\r\n\r\n", i);
    assert_true(text.size < READ_BYTES); /* one read */
    send_bytes(&c, text.data, text.size);
    unsigned yields = 0;
    size_t from = 0;
    uint64_t end = clock_mono_ms() + WAIT_MS;
    for (unsigned seen = 0; seen < COUNT && clock_mono_ms() < end;) {
        pump(&c);
        yields += container_of(server->conns.next, struct http_conn, link)->has_yielded;
        seen += count_on(&c, "HTTP/1.1 200 OK", &from);
    }
    assert_true(yields > 0);
    post(&c, "/v3/kv/put", "{\"key\":\"YQ==\"}");
    expect(&c, "{\"header\":{}}");
    buf_done(&text);
    done(&c);
}

/* The total of incomplete bodies is bounded. */
static void test_gathered(void **state)
{
    (void)state;
    struct client c[2] = {connect_client(), connect_client()};
    const char *head = "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{";
    send_text(&c[0], head);
    turn(&c[0], 20);
    assert_int_equal(server->gathered, 1);
    server->gathered += GATHERED_BYTES_MAX - 1; /* of others */
    send_text(&c[1], head);
    expect(&c[1], "HTTP/1.1 503 Service Unavailable");
    server->gathered -= GATHERED_BYTES_MAX - 1;
    done(&c[1]);
    done(&c[0]);
    assert_int_equal(server->gathered, 0);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    cmocka_set_test_filter(getenv("ONLY"));
#define TEST(name) cmocka_unit_test_setup_teardown(name, start_server, stop_server)
    const struct CMUnitTest tests[] = {
        TEST(test_unary),        TEST(test_pages),      TEST(test_health),   TEST(test_metadata),
        TEST(test_access),       TEST(test_framing),    TEST(test_big_body), TEST(test_pipelining),
        TEST(test_client_gone),  TEST(test_sent_ahead), TEST(test_sources),  TEST(test_gathered),
        TEST(test_slow_opening),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
