/* SPDX-License-Identifier: Apache-2.0
 * Tests of the HTTP server: streams, WebSockets, TLS, many connections, draining, stopping. */
#include "tests/unit/http_fake.h"

#include "server/http/sockets.h"

/* --- streams ---------------------------------------- */

static void test_streams(void **state)
{
    (void)state;
    struct client c = connect_client();
    post(&c, "/v3/watch", "{\"create_request\":{\"key\":\"YQ==\"}}{\"progress_request\":{}}\n");
    expect(&c, "HTTP/1.1 200 OK\r\n");
    expect(&c, "Transfer-Encoding: chunked\r\n\r\n");
    expect(&c, "2b\r\n{\"result\":{\"watch_id\":\"1\",\"created\":true}}\n\r\n");
    expect(&c, "{\"result\":{\"watch_id\":\"2\"}}\n");
    expect(&c, "0\r\n\r\n");
    assert_int_equal(rpc.half_closed, 1);
    buf_clear(&c.in);
    /* Requests as they come: the answer to the first is there before the second is sent. */
    send_text(&c, "POST /v3/watch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "15\r\n{\"create_request\":{}}\r\n");
    expect(&c, "\"created\":true");
    send_text(&c, "5\r\n{\"pro\r\n");
    turn(&c, 10);
    send_text(&c, "14\r\ngress_request\":{}}  \r\n");
    expect(&c, "{\"result\":{\"watch_id\":\"4\"}}");
    send_text(&c, "15\r\n{\"cancel_request\":{}}\r\n");
    expect(&c, "{\"error\":{\"code\":14,\"message\":\"etcdserver: no leader\"}}\n");
    expect(&c, "0\r\n\r\n");
    send_text(&c, "0\r\n\r\nGET /version HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c, "etcdserver\":");
    done(&c);
    c = connect_client();
    post(&c, "/v3/watch", "garbage");
    expect(&c, "HTTP/1.1 400 Bad Request");
    expect(
        &c,
        "{\"error\":{\"code\":3,\"message\":\"proto: syntax error (line 1:1): unexpected token garbage\"}}");
    post(&c, "/v3/watch", "");
    expect(&c, "HTTP/1.1 200 OK");
    buf_clear(&c.in);
    post(&c, "/v3/watch", "{\"cancel_request\":{}}");
    expect(&c, "HTTP/1.1 503 Service Unavailable");
    done(&c);
    assert_int_equal(rpc.canceled, 1);
}

static void test_slow_reader(void **state)
{
    (void)state;
    struct client c = connect_client();
    rpc.flood = 600;
    const char *request = "POST /v3/maintenance/snapshot HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    assert_int_equal(send(c.fd, request, strlen(request), 0), strlen(request));
    for (int i = 0; i < 100; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    /* The client does not read: pending data are in the kernel's buffers and at most a little here. */
    assert_true(rpc.flood > 150);
    size_t left = rpc.flood;
    for (int i = 0; i < 50; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(rpc.flood, left);
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (rpc.finished == 0 && clock_mono_ms() < end)
        pump(&c);
    expect(&c, "\r\n0\r\n\r\n");
    assert_int_equal(count(&c, "{\"result\":"), 600);
    assert_true(c.in.size > 600u * 32768 / 3 * 4);
    done(&c);
}

/* --- clients that read nothing ------------------------------ */

/* Sends this again and again and reads nothing, until the socket takes no more. Returns the number of sends;
 * the bytes of one more that was taken in part; the most bytes that waited for the client meanwhile. */
static size_t blast(struct client *c, const void *bytes, size_t size, size_t times, size_t *ret_part,
                    uint64_t *ret_most)
{
    size_t sent = 0, at = 0;
    for (unsigned idle = 0; idle < 300 && sent < times;) {
        ssize_t n = send(c->fd, (const uint8_t *)bytes + at, size - at, MSG_NOSIGNAL);
        at += n > 0 ? (size_t)n : 0;
        if (at == size) {
            sent++;
            at = 0;
        }
        if (n > 0 && sent % 256) {
            idle = 0;
            continue;
        }
        idle += n <= 0;
        uv_run(&loop, UV_RUN_NOWAIT);
        *ret_most = output.bytes > *ret_most ? output.bytes : *ret_most;
        if (n <= 0)
            usleep(300);
    }
    *ret_part = at;
    return sent;
}

static void upgrade(struct client *c, const char *path, const char *headers);

static void test_unread_answers(void **state)
{
    (void)state;
    enum { TIMES = 3000000, LITTLE = 32768 }; /* more than the kernel's buffers take */
    /* 64 KiB, and the answer to one read of input. */
    const uint64_t most_allowed = 1 << 20;
    static const struct {
        const char *name, *path, *begin, *again, *answer;
        size_t again_size;
    } floods[] = {
#define NINE        "ppppppppp"
#define NINETY      NINE NINE NINE NINE NINE NINE NINE NINE NINE NINE
#define AGAIN(text) .again = text, .again_size = sizeof(text) - 1
        {"pings", "/v3/watch", NULL, AGAIN("\x89\xda\0\0\0\0" NINETY), .answer = "\x8a\x5a" NINETY},
        {"messages", "/v3/watch", NULL, AGAIN("\x81\x97\0\0\0\0{\"progress_request\":{}}"),
         .answer = "\"watch_id\""},
        {"a body in pieces", NULL, "POST /v3/watch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
         AGAIN("17\r\n{\"progress_request\":{}}\r\n"), .answer = "\"watch_id\""},
        {"requests", NULL, "", AGAIN("GET /version HTTP/1.1\r\nHost: x\r\n\r\n"), .answer = "etcdserver\":"},
    };
    for (size_t i = 0; i < sizeof floods / sizeof *floods; i++) {
        struct client c = connect_client();
        int little = LITTLE;
        uint64_t most = 0;
        setsockopt(c.fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
        if (floods[i].path) {
            upgrade(&c, floods[i].path, "");
            expect(&c, "101 Switching");
        } else {
            send_text(&c, floods[i].begin);
        }
        buf_clear(&c.in);
        size_t part, sent = blast(&c, floods[i].again, floods[i].again_size, TIMES, &part, &most);
        if (sent == TIMES || most > most_allowed)
            fail_msg("%s: %zu were taken, %llu bytes waited", floods[i].name, sent, (unsigned long long)most);
        assert_false(c.is_closed);
        if (part) { /* the rest of it; this reads */
            send_bytes(&c, (const uint8_t *)floods[i].again + part, floods[i].again_size - part);
            sent++;
        }
        expect_times(&c, floods[i].answer, (unsigned)sent); /* it reads at last: nothing was lost */
        assert_int_equal(output.bytes, 0);
        done(&c);
    }
}

static void expect_connections(size_t count)
{
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (http_server_connections(server) != count && clock_mono_ms() < end)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(http_server_connections(server), count);
}

/* The total is exceeded: the server closes the client that holds the most, and no other. */
static void test_total_of_output(void **state)
{
    (void)state;
    struct client reader = connect_client(), most = connect_client(), less = connect_client();
    const char *request = "POST /v3/maintenance/snapshot HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    int little = 32768;
    uint64_t ignored = 0;
    setsockopt(most.fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    setsockopt(less.fd, SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
    upgrade(&less, "/v3/watch", "");
    expect(&less, "101 Switching");
    size_t part;
    (void)blast(&less, "\x89\xda\0\0\0\0" NINETY, 96, 3000000, &part, &ignored);
    uint64_t before = output.bytes;
    assert_true(before >= 64 * 1024);
    rpc.flood = 600;
    send_text(&most, request);
    for (int i = 0; i < 200; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(300);
    }
    assert_true(output.bytes > 2 * before);
    output.bytes_max = before;
    (void)output_budget_turn(&output, clock_mono_ms() + 2000); /* not its first second */
    assert_int_equal(output.closed[OUTPUT_TOTAL], 1);
    assert_int_equal(output.bytes, before);
    expect_connections(2);
    post(&reader, "/v3/kv/put", "{\"key\":\"YQ==\"}");
    expect(&reader, "{\"header\":{}}");
    assert_false(less.is_closed);
    output.stall_ms = 1000; /* and the other one for reading nothing */
    (void)output_budget_turn(&output, clock_mono_ms() + 2000);
    assert_int_equal(output.closed[OUTPUT_STALLED], 1);
    assert_int_equal(output.bytes, 0);
    expect_connections(1);
    done(&reader);
    done(&most);
    done(&less);
}

/* --- WebSockets ---------------------------------------- */

static void upgrade(struct client *c, const char *path, const char *headers)
{
    char text[2000];
    snprintf(text, sizeof text,
             "GET %s HTTP/1.1\r\nHost: here:2379\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n%s\r\n",
             path, headers);
    send_text(c, text);
}

/* A masked frame; the mask is zero, which is valid. */
static void send_frame(struct client *c, uint8_t first, const char *text)
{
    uint8_t frame[300] = {first, (uint8_t)(0x80 | strlen(text))};
    assert_true(strlen(text) < 126);
    memcpy(frame + 6, text, strlen(text));
    send_bytes(c, frame, 6 + strlen(text));
}

static void test_websocket(void **state)
{
    (void)state;
    struct client c = connect_client();
    upgrade(&c, "/v3/watch", "");
    expect(&c, "HTTP/1.1 101 Switching Protocols");
    expect(&c, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    send_frame(&c, 0x81, "{\"create_request\":{}}");
    expect(&c, "\x81\x2a{\"result\":{\"watch_id\":\"1\",\"created\":true}}");
    send_frame(&c, 0x01, "{\"progress_");
    send_frame(&c, 0x80, "request\":{}}");
    expect(&c, "{\"result\":{\"watch_id\":\"2\"}}");
    /* Pushed by the service, later. */
    Etcdserverpb__WatchResponse response;
    etcdserverpb__watch_response__init(&response);
    response.watch_id = 77;
    reply(rpc.waiting, &response.base);
    expect(&c, "{\"result\":{\"watch_id\":\"77\"}}");
    send_frame(&c, 0x89, "hi");
    expect(&c, "\x8a\x02hi");
    send_frame(&c, 0x81, "{\"cancel_request\":{}}");
    expect(&c, "{\"error\":{\"code\":14,\"message\":\"etcdserver: no leader\"}}");
    expect(&c, "\x88\x02\x03\xe8");
    send_frame(&c, 0x88, "\x03\xe8");
    expect_closed(&c);
    done(&c);
    assert_int_equal(rpc.canceled, 0);

    c = connect_client(); /* a unary call: the first message is the request */
    upgrade(&c, "/v3/kv/put", "");
    send_frame(&c, 0x81, "{\"key\":\"YQ==\"}");
    expect(&c, "{\"header\":{}}");
    expect(&c, "\x88\x02\x03\xe8");
    done(&c);
    c = connect_client();
    upgrade(&c, "/v3/watch", "");
    send_frame(&c, 0x81, "nonsense");
    expect(&c, "{\"error\":{\"code\":3,");
    expect(&c, "\x88\x02\x03\xe8");
    done(&c);
    assert_int_equal(rpc.canceled, 1);
    c = connect_client(); /* disconnected without a close frame */
    upgrade(&c, "/v3/watch", "");
    send_frame(&c, 0x81, "{\"create_request\":{}}");
    expect(&c, "created");
    done(&c);
    wait_for_cancel(2);
    assert_int_equal(http_server_connections(server), 0);
}

static void test_websocket_access(void **state)
{
    (void)state;
    struct client c = connect_client();
    upgrade(&c, "/v3/watch", "Sec-WebSocket-Protocol: Bearer, tok.en\r\n");
    expect(&c, "Sec-WebSocket-Protocol: Bearer\r\n");
    turn(&c, 10);
    assert_string_equal(rpc.token, "tok.en");
    done(&c);
    c = connect_client();
    upgrade(&c, "/v3/watch", "Authorization: Bearer abc\r\n");
    expect(&c, "101 Switching");
    turn(&c, 10);
    assert_string_equal(rpc.token, "abc");
    done(&c);
    c = connect_client();
    upgrade(&c, "/v3/watch", "Cookie: a=b; token=fromcookie\r\nOrigin: http://here:2379\r\n");
    expect(&c, "101 Switching");
    turn(&c, 10);
    assert_string_equal(rpc.token, "fromcookie");
    done(&c);
    c = connect_client(); /* another site's page sends the user's cookie along */
    upgrade(&c, "/v3/watch", "Cookie: token=fromcookie\r\nOrigin: http://evil.example\r\n");
    expect(&c, "101 Switching");
    turn(&c, 10);
    assert_string_equal(rpc.token, "");
    done(&c);
    c = connect_client();
    upgrade(&c, "/version", "");
    expect(&c, "HTTP/1.1 400 Bad Request");
    expect_closed(&c);
    done(&c);
    c = connect_client();
    upgrade(&c, "/v3/nope", "");
    expect(&c, "{\"code\":5,\"message\":\"Not Found\"}");
    done(&c);
    c = connect_client();
    send_text(&c,
              "GET /version HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
              "HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n");
    expect(&c, "HTTP/1.1 200 OK"); /* an unknown upgrade is no reason to refuse */
    done(&c);
    assert_int_equal(restart_with("http://good.example", "*"), 0);
    c = connect_client();
    upgrade(&c, "/v3/watch", "Origin: http://evil.example\r\n");
    expect(&c, "HTTP/1.1 403 Forbidden");
    expect_closed(&c);
    done(&c);
    c = connect_client();
    upgrade(&c, "/v3/watch", "Origin: http://good.example\r\n");
    expect(&c, "101 Switching");
    done(&c);
}

static void test_websocket_limits(void **state)
{
    (void)state;
    struct client c = connect_client();
    upgrade(&c, "/v3/watch", "");
    expect(&c, "101 Switching");
    uint8_t head[14] = {0x81, 0xff, 0, 0, 0, 0, 0, 0x20, 0, 0};
    send_bytes(&c, head, sizeof head);
    char piece[8192];
    memset(piece, ' ', sizeof piece);
    for (int i = 0; i < 100 && !has(&c, "\x88\x02\x03\xf1"); i++)
        send_bytes(&c, piece, sizeof piece);
    expect(&c, "\x88\x02\x03\xf1");
    done(&c);
    wait_for_cancel(1);
    /* A stream that no client reads. */
    c = connect_client();
    upgrade(&c, "/v3/maintenance/snapshot", "");
    expect(&c, "101 Switching");
    rpc.flood = 600;
    uint8_t frame[] = {0x81, 0x82, 0, 0, 0, 0, '{', '}'};
    assert_int_equal(send(c.fd, frame, sizeof frame, 0), sizeof frame);
    for (int i = 0; i < 100; i++) {
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(1000);
    }
    assert_true(rpc.flood > 150);
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (rpc.finished == 0 && clock_mono_ms() < end)
        pump(&c);
    expect_closed(&c); /* a repeated search in all of it would take long */
    expect(&c, "\x88\x02\x03\xe8");
    assert_int_equal(count(&c, "{\"result\":"), 600);
    done(&c);
}

/* --- TLS ---------------------------------------------------------------------------------------- */

struct tls_client {
    struct client socket;
    struct tls *tls;
    struct client plain; /* the deciphered bytes; it has no descriptor of its own */
};

static void tls_pump(struct tls_client *c)
{
    struct buf out = {0};
    tls_take_output(c->tls, &out);
    send_bytes(&c->socket, out.data, out.size);
    buf_done(&out);
    pump(&c->socket);
    if (tls_receive(c->tls, buf_slice(&c->socket.in), &c->plain.in))
        c->plain.is_closed = true;
    c->plain.is_closed |= c->socket.is_closed;
    buf_clear(&c->socket.in);
}

static void tls_expect(struct tls_client *c, const char *text)
{
    uint64_t end = clock_mono_ms() + WAIT_MS;
    while (!has(&c->plain, text) && !c->plain.is_closed && clock_mono_ms() < end)
        tls_pump(c);
    if (!has(&c->plain, text))
        fail_msg("'%s' not in:\n%s\n%s", text, buf_text(&c->plain.in), tls_error(c->tls));
}

static struct tls_client tls_connect_client(struct tls_context *context)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    struct tls_client c = {.socket.fd = pair[0], .plain.fd = -1, .tls = tls_connect(context, "localhost")};
    http_server_adopt(server, pair[1], true, HTTP_ALL);
    assert_int_equal(tls_receive(c.tls, (struct slice){0}, &c.plain.in), 0); /* begins the handshake */
    return c;
}

static void tls_done(struct tls_client *c)
{
    tls_free(c->tls);
    buf_done(&c->plain.in);
    done(&c->socket);
}

static void test_tls(void **state)
{
    (void)state;
    char dir[] = "/tmp/http_test_XXXXXX", cert[64], key[64], error[256] = "";
    const char *hosts[] = {"localhost"};
    assert_non_null(mkdtemp(dir));
    assert_int_equal(tls_self_signed(dir, hosts, 1, 1, error, sizeof error), 0);
    snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    snprintf(key, sizeof key, "%s/key.pem", dir);
    struct tls_options bad = {.cert_file = "/nonexistent", .key_file = key};
    options.tls = &bad;
    assert_int_equal(restart_with("*", "only.example"), ERR_INVALID);
    for (int i = 0; i < 50; i++)
        uv_run(&loop, UV_RUN_NOWAIT), usleep(1000);
    struct tls_options tls = {.cert_file = cert, .key_file = key};
    options.tls = &tls;
    assert_int_equal(http_server_new(&options, error, sizeof error, &server), 0);
    struct tls_options trust = {.ca_file = cert, .alpn = "http/1.1"};
    struct tls_context *context;
    assert_int_equal(tls_context_new(&trust, error, sizeof error, &context), 0);

    struct tls_client c = tls_connect_client(context);
    while (!tls_is_ready(c.tls) && !c.plain.is_closed)
        tls_pump(&c);
    const char *get = "GET /version HTTP/1.1\r\nHost: not.on.the.list\r\n\r\n";
    assert_int_equal(tls_send(c.tls, slice_text(get)), 0);
    tls_expect(&c, "etcdserver"); /* the Host is checked on plain connections only */
    /* An answer of many records, read slowly, and the client's bytes in one piece with its handshake. */
    rpc.flood = 100;
    get = "POST /v3/maintenance/snapshot HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}";
    assert_int_equal(tls_send(c.tls, slice_text(get)), 0);
    struct buf out = {0};
    tls_take_output(c.tls, &out);
    send_bytes(&c.socket, out.data, out.size);
    buf_done(&out);
    for (int i = 0; i < 50; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    tls_expect(&c, "\r\n0\r\n\r\n");
    assert_int_equal(count(&c.plain, "{\"result\":"), 100);
    tls_done(&c);

    struct client raw = connect_client(); /* bytes that are not TLS */
    done(&raw);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    raw = (struct client){.fd = pair[0]};
    http_server_adopt(server, pair[1], true, HTTP_ALL);
    send_text(&raw, get);
    expect_closed(&raw);
    done(&raw);
    assert_int_equal(http_server_connections(server), 0);
    tls_context_free(context);
    unlink(cert);
    unlink(key);
    rmdir(dir);
}

/* --- many, draining, stopping ---------------------------------------- */

static void test_many(void **state)
{
    (void)state;
    struct client clients[100];
    for (int i = 0; i < 100; i++) {
        clients[i] = connect_client();
        if (i % 3 == 0)
            upgrade(&clients[i], "/v3/watch", "");
        else
            post(&clients[i], i % 3 == 1 ? "/v3/kv/put" : "/v3/watch",
                 i % 3 == 1 ? "{\"key\":\"YQ==\"}" : "{\"create_request\":{}}");
    }
    assert_int_equal(http_server_connections(server), 100);
    for (int i = 0; i < 100; i++)
        expect(&clients[i], i % 3 == 0   ? "101 Switching"
                            : i % 3 == 1 ? "{\"header\":{}}"
                                         : "\"created\":true");
    struct client idle[101];
    for (int i = 0; i < 101; i++)
        idle[i] = connect_client();
    expect_closed(&idle[100]); /* connections_max */
    for (int i = 0; i < 101; i++)
        done(&idle[i]);
    for (int i = 0; i < 100; i++)
        done(&clients[i]);
    assert_int_equal(http_server_connections(server), 0);
}

static size_t most_closed_in_a_turn(size_t count)
{
    size_t most = 0;
    uint64_t end = clock_mono_ms() + 5000;
    for (size_t before = count; before > 0 && clock_mono_ms() < end;) {
        uv_run(&loop, UV_RUN_NOWAIT);
        size_t after = http_server_connections(server);
        most = before - after > most ? before - after : most;
        before = after;
    }
    assert_int_equal(http_server_connections(server), 0);
    return most;
}

static uint64_t half_a_minute_later(void)
{
    return clock_mono_ms() + 30 * 1000;
}

/* Connections that end in one turn, or that we end, are closed over several turns. */
static void test_ends_in_one_turn(void **state)
{
    (void)state;
    enum { COUNT = 150, ENDED, RESET, SILENT, DRAINED };
    struct linger abortive = {.l_onoff = 1};
    for (int how = ENDED; how <= DRAINED; how++) {
        struct client clients[COUNT];
        for (int i = 0; i < COUNT; i++)
            clients[i] = connect_client();
        uv_run(&loop, UV_RUN_NOWAIT);
        assert_int_equal(http_server_connections(server), COUNT);
        for (int i = 0; i < COUNT && how == RESET; i++)
            setsockopt(clients[i].fd, SOL_SOCKET, SO_LINGER, &abortive, sizeof abortive);
        for (int i = 0; i < COUNT && how <= RESET; i++)
            close(clients[i].fd);
        if (how == SILENT)
            rpc_server.mono_ms = half_a_minute_later;
        else if (how == DRAINED)
            http_server_drain(server);
        assert_in_range(most_closed_in_a_turn(COUNT), 1, 2 * SOCKETS_CLOSED_MAX);
        rpc_server.mono_ms = clock_mono_ms;
        for (int i = 0; i < COUNT && how > RESET; i++)
            close(clients[i].fd);
    }
}

static void test_drain(void **state)
{
    (void)state;
    struct client idle = connect_client(), socket = connect_client(), running = connect_client();
    send_text(&idle, "GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&idle, "etcdserver");
    upgrade(&socket, "/v3/watch", "");
    expect(&socket, "101 Switching");
    post(&running, "/v3/lock/lock", "{}");
    turn(&running, 20);
    struct rpc_call *waiting = rpc.waiting;
    http_server_drain(server);
    expect_closed(&idle);
    expect(&socket, "\x88\x02\x03\xe9");
    assert_int_equal(rpc.canceled, 1);
    assert_false(running.is_closed);
    finish(waiting, 0, "");
    expect(&running, "HTTP/1.1 200 OK");
    expect(&running, "Connection: close\r\n");
    expect_closed(&running);
    done(&idle);
    done(&socket);
    done(&running);
}

/* The group's teardown stops the server with all of this going on. */
static void test_stop_while_active(void **state)
{
    (void)state;
    struct client c[6];
    for (int i = 0; i < 6; i++)
        c[i] = connect_client();
    upgrade(&c[0], "/v3/watch", "");
    expect(&c[0], "101 Switching");
    post(&c[1], "/v3/lock/lock", "{}");
    send_text(&c[2], "POST /v3/watch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
                     "chunked\r\n\r\n15\r\n{\"create_request\":{}}\r\n");
    expect(&c[2], "created");
    send_text(&c[3], "POST /v3/kv/put HTT");
    send_text(&c[4], "GET /version HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(&c[4], "etcdserver");
    rpc.flood = 600;
    post(&c[5], "/v3/maintenance/snapshot", "{}");
    unsigned running = rpc.started - rpc.finished - rpc.canceled;
    assert_true(running >= 3);
    stop_server(NULL);
    assert_int_equal(rpc.started, rpc.finished + rpc.canceled);
    for (int i = 0; i < 6; i++) {
        close(c[i].fd);
        buf_done(&c[i].in);
    }
    start_server(NULL);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    cmocka_set_test_filter(getenv("ONLY"));
#define TEST(name) cmocka_unit_test_setup_teardown(name, start_server, stop_server)
    const struct CMUnitTest tests[] = {
        TEST(test_streams),          TEST(test_slow_reader), TEST(test_unread_answers),
        TEST(test_total_of_output),  TEST(test_websocket),   TEST(test_websocket_access),
        TEST(test_websocket_limits), TEST(test_tls),         TEST(test_many),
        TEST(test_ends_in_one_turn), TEST(test_drain),       TEST(test_stop_while_active),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
