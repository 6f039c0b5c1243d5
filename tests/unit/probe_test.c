/* SPDX-License-Identifier: Apache-2.0
 * Tests of server/probe on loopback: outcomes of TCP, HTTP and HTTPS checks, timeouts, refused addresses to
 * which no connection is made, cancellation; and of the reader of status lines, byte by byte. */
#include "tests/unit/unit.h"

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/mem.h"
#include "server/probe/probe.h"
#include "server/probe/probe_http.h"

struct fixture {
    uv_loop_t loop;
    struct prober *prober;
    uv_tcp_t listener;
    uint16_t port;
    const char *answer; /* NULL: none comes */
    size_t accepted;
    char request[1024]; /* the last one */
    bool is_done;
    enum check_outcome outcome;
    char output[CHECK_OUTPUT_MAX + 1];
};

struct client {
    uv_tcp_t tcp; /* first */
    struct fixture *fixture;
};

static void on_free(uv_handle_t *handle)
{
    mem_free(handle->data);
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *ret)
{
    struct client *c = handle->data;
    (void)size;
    *ret = uv_buf_init(c->fixture->request, sizeof c->fixture->request - 1);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *c = stream->data;
    struct fixture *f = c->fixture;
    (void)buf;
    if (n < 0) {
        uv_close((uv_handle_t *)stream, on_free);
        return;
    }
    f->request[n] = 0;
    if (!f->answer)
        return;
    uv_buf_t out = uv_buf_init(mem_string(f->answer), (unsigned)strlen(f->answer));
    uv_try_write(stream, &out, 1);
    mem_free(out.base);
    uv_close((uv_handle_t *)stream, on_free);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct fixture *f = server->data;
    struct client *c = mem_new(sizeof *c);
    assert_int_equal(status, 0);
    f->accepted++;
    c->fixture = f;
    uv_tcp_init(&f->loop, &c->tcp);
    c->tcp.data = c;
    assert_int_equal(uv_accept(server, (uv_stream_t *)&c->tcp), 0);
    uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

static void open_prober(struct fixture *f, const char *allowed)
{
    f->prober = prober_new(&f->loop, slice_text(allowed));
}

static int setup(void **state)
{
    struct fixture *f = mem_new(sizeof *f);
    struct sockaddr_in address;
    int size = sizeof address;
    uv_loop_init(&f->loop);
    uv_tcp_init(&f->loop, &f->listener);
    f->listener.data = f;
    uv_ip4_addr("127.0.0.1", 0, &address);
    assert_int_equal(uv_tcp_bind(&f->listener, (const struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&f->listener, 16, on_connection), 0);
    uv_tcp_getsockname(&f->listener, (struct sockaddr *)&address, &size);
    f->port = ntohs(address.sin_port);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    prober_free(f->prober);
    uv_close((uv_handle_t *)&f->listener, NULL);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0); /* nothing is left open */
    mem_free(f);
    return 0;
}

struct question {
    struct check_probe probe; /* first */
    struct fixture *fixture;
};

static void on_done(struct check_probe *probe, enum check_outcome outcome, const char *output)
{
    struct fixture *f = container_of(probe, struct question, probe)->fixture;
    assert_false(f->is_done);
    f->is_done = true;
    f->outcome = outcome;
    snprintf(f->output, sizeof f->output, "%s", output);
}

static struct question question(struct fixture *f, enum check_type type, const char *host, uint16_t port)
{
    f->is_done = false;
    return (struct question){{.type = type,
                              .host = host,
                              .port = port,
                              .path = "/health?a=b",
                              .service = "",
                              .timeout_ms = 60000,
                              .done = on_done},
                             f};
}

static void ask(struct fixture *f, struct question *q)
{
    struct check_prober *p = prober_interface(f->prober);
    p->start(p, &q->probe);
    assert_false(f->is_done); /* never from inside of start */
    while (!f->is_done)
        uv_run(&f->loop, UV_RUN_ONCE);
}

static void expect(struct fixture *f, enum check_outcome outcome, const char *output)
{
    assert_string_equal(f->output, output);
    assert_int_equal(f->outcome, outcome);
}

static void test_outcomes(void **state)
{
    static const struct {
        const char *answer;
        enum check_outcome outcome;
        const char *output;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\n\r\n", CHECK_PASS, "HTTP 200"},
        {"HTTP/1.0 204\r\n\r\n", CHECK_PASS, "HTTP 204"},
        {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n", CHECK_PASS, "HTTP 200"},
        {"HTTP/1.1 429 Too Many Requests\r\n\r\n", CHECK_WARN, "HTTP 429"},
        {"HTTP/1.1 404 Not Found\r\n\r\n", CHECK_FAIL, "HTTP 404"},
        {"HTTP/1.1 503 Down\r\n\r\nsecret", CHECK_FAIL, "HTTP 503"},
        {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n", CHECK_FAIL,
         "HTTP 302 (redirects are not followed)"},
        {"SSH-2.0-OpenSSH_9.2\r\n", CHECK_FAIL, "the answer is no HTTP/1 answer"},
        {"HTTP/1.1 2000 OK\r\n", CHECK_FAIL, "the answer is no HTTP/1 answer"},
        {"HTTP/1.1 101 Switching Protocols\r\n\r\n", CHECK_FAIL, "the answer is no HTTP/1 answer"},
        {"HTTP/1.1 200", CHECK_FAIL, "the connection was closed without an answer"},
    };
    struct fixture *f = *state;
    open_prober(f, "127.0.0.0/8");
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct question q = question(f, CHECK_HTTP, "127.0.0.1", f->port);
        f->answer = rows[i].answer;
        ask(f, &q);
        expect(f, rows[i].outcome, rows[i].output);
    }
    char request[200];
    snprintf(request, sizeof request,
             "GET /health?a=b HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUser-Agent: cairn-check\r\nAccept: */*\r\n"
             "Connection: close\r\n\r\n",
             f->port);
    assert_string_equal(f->request, request);
    assert_int_equal(f->accepted, COUNT_OF(rows)); /* a redirect costs no second connection */
}

static void test_tcp_and_names(void **state)
{
    struct fixture *f = *state;
    open_prober(f, "127.0.0.0/8,::1");
    struct question q = question(f, CHECK_TCP, "127.0.0.1", f->port);
    ask(f, &q);
    expect(f, CHECK_PASS, "connected");
    q = question(f, CHECK_TCP, "127.0.0.1", 1);
    ask(f, &q);
    expect(f, CHECK_FAIL, "connection refused");
    q = question(f, CHECK_GRPC, "127.0.0.1", f->port);
    f->answer = "HTTP/1.1 400 No HTTP/2 here\r\n\r\n";
    ask(f, &q);
    expect(f, CHECK_FAIL, "the answer is no HTTP/2 answer");
    q.probe.is_tls = true;
    ask(f, (f->is_done = false, &q));
    assert_int_equal(f->outcome, CHECK_FAIL);
    assert_non_null(strstr(f->output, "tls: "));
    q = question(f, CHECK_HTTPS, "127.0.0.1", f->port);
    f->answer = "HTTP/1.1 400 No TLS here\r\n\r\n";
    ask(f, &q);
    assert_int_equal(f->outcome, CHECK_FAIL);
    assert_non_null(strstr(f->output, "tls: "));
    for (int i = 0; i < 4; i++) { /* no path from a host to another line of the request */
        static const char *const hosts[] = {"127.0.0.1 x", "a\r\nb", "-h", "a/b"};
        q = question(f, CHECK_HTTP, hosts[i], f->port);
        ask(f, &q);
        expect(f, CHECK_FAIL, "the host is neither an address nor a name");
    }
    q = question(f, CHECK_HTTP, "127.0.0.1", f->port);
    q.probe.timeout_ms = 1000;
    f->answer = NULL;
    ask(f, &q);
    expect(f, CHECK_FAIL, "no end of the answer within 1000 ms");
}

/* No connection is made, in whatever form the address comes. */
static void test_refused_addresses(void **state)
{
    static const struct {
        const char *host, *reason;
    } rows[] = {
        {"127.0.0.1", "loopback"},
        {"localhost", "loopback"},
        {"127.1", "loopback"},
        {"2130706433", "loopback"},
        {"0x7f000001", "loopback"},
        {"0177.0.0.1", "loopback"},
        {"0.0.0.0", "unspecified"},
        {"::1", "loopback"},
        {"::", "unspecified"},
        {"::ffff:127.0.0.1", "IPv4-mapped"},
        {"::ffff:7f00:1", "IPv4-mapped"},
        {"::127.0.0.1", "IPv4-compatible"},
        {"169.254.169.254", "cloud metadata"},
        {"fe80::1", "link-local"},
    };
    static const enum check_type types[] = {CHECK_TCP, CHECK_HTTP, CHECK_GRPC};
    struct fixture *f = *state;
    open_prober(f, "");
    for (size_t i = 0; i < COUNT_OF(rows) * COUNT_OF(types); i++) {
        const size_t row = i / COUNT_OF(types);
        char output[200];
        struct question q = question(f, types[i % COUNT_OF(types)], rows[row].host, f->port);
        ask(f, &q);
        snprintf(output, sizeof output, "the address is not allowed: %s (--registry-check-allow)",
                 rows[row].reason);
        expect(f, CHECK_FAIL, output);
    }
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->accepted, 0);
}

static void test_cancel(void **state)
{
    struct fixture *f = *state;
    open_prober(f, "127.0.0.0/8");
    struct check_prober *p = prober_interface(f->prober);
    static const char *const hosts[] = {"127.0.0.1", "localhost", "localhost", "localhost", "169.254.1.1"};
    for (int i = 0; i < 2; i++) {
        struct question q[COUNT_OF(hosts)];
        for (size_t n = 0; n < COUNT_OF(hosts); n++) {
            q[n] = question(f, n == 3 ? CHECK_HTTPS : CHECK_HTTP, hosts[n], f->port);
            p->start(p, &q[n].probe);
        }
        if (i)
            uv_run(&f->loop, UV_RUN_NOWAIT);
        for (size_t n = 0; n < COUNT_OF(hosts); n++)
            p->cancel(p, &q[n].probe);
    }
}

static void test_status_lines(void **state)
{
    static const char text[] = "HTTP/1.1 100 \nA: b\n\nHTTP/1.1 207 Multi\r\nrest";
    struct probe_answer a = {0};
    (void)state;
    for (size_t i = 0; i < sizeof text - 1; i++) {
        assert_int_equal(probe_answer_feed(&a, slice_of(text + i, 1)), OK);
        assert_int_equal(a.status, i < sizeof text - 1 - strlen("\nrest") ? 0 : 207);
    }
    struct probe_answer wrong = {0};
    assert_int_equal(probe_answer_feed(&wrong, slice_text("HTTX")), ERR_MALFORMED); /* before a line ends */
    struct buf long_line = {0};
    buf_add_text(&long_line, "HTTP/1.1 200 ");
    for (int i = 0; i < PROBE_LINE_MAX; i++)
        buf_add_byte(&long_line, 'x');
    struct probe_answer limit = {0};
    assert_int_equal(probe_answer_feed(&limit, buf_slice(&long_line)), ERR_LIMIT);
    buf_done(&long_line);
    struct probe_answer endless = {0};
    int err = OK;
    for (int i = 0; i < 10000 && !err; i++)
        err = probe_answer_feed(&endless, slice_text("HTTP/1.1 100 Continue\r\n\r\n"));
    assert_int_equal(err, ERR_LIMIT);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_outcomes),
        TEST(test_tcp_and_names),
        TEST(test_refused_addresses),
        TEST(test_cancel),
        cmocka_unit_test(test_status_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
