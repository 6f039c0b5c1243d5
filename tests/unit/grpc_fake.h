/* SPDX-License-Identifier: Apache-2.0
 * Fake methods in place of server/rpc, and nghttp2's own client over a socket pair (plain or TLS), for tests
 * of server/grpc in one thread and one loop. This file defines rpc_start and its like, so it is included,
 * not linked. */
#ifndef TESTS_UNIT_GRPC_FAKE_H
#define TESTS_UNIT_GRPC_FAKE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/net/tls.h"
#include "server/grpc/private.h"

/* --- methods in place of server/rpc -------------------------------------------------------------------- */
enum { M_ECHO, M_SLOW, M_BIG, M_FAIL, M_STREAM, M_BIDI, METHODS };
static void on_message(struct rpc_call *c, const ProtobufCMessage *m)
{
    (void)c;
    (void)m;
}
static const struct rpc_method methods[METHODS] = {
    [M_ECHO] = {.path = "/test.T/Echo", .kind = RPC_UNARY, .on_message = on_message},
    [M_SLOW] = {.path = "/test.T/Slow", .kind = RPC_UNARY},
    [M_BIG] = {.path = "/test.T/Big", .kind = RPC_UNARY},
    [M_FAIL] = {.path = "/test.T/Fail", .kind = RPC_UNARY},
    [M_STREAM] = {.path = "/test.T/Stream", .kind = RPC_SERVER_STREAM},
    [M_BIDI] = {.path = "/test.T/Bidi", .kind = RPC_BIDI},
};

static struct {
    unsigned started, canceled, received, half_closed, writable;
    struct rpc_call *last;
    char token[64], version[64];
    bool has_leader_required;
    uint64_t stream_left;
} seen;

const struct rpc_method *rpc_method_at(size_t i)
{
    return i < METHODS ? &methods[i] : NULL;
}
const struct rpc_method *rpc_method_find(struct slice path)
{
    for (size_t i = 0; i < METHODS; i++)
        if (slice_equal(path, slice_text(methods[i].path)))
            return &methods[i];
    return NULL;
}
static void send_zeros(struct rpc_call *c, size_t size)
{
    static const uint8_t zeros[1 << 20];
    struct slice piece = slice_of(zeros, size);
    c->transport->send(c, &piece, 1);
}
static void push_stream(struct rpc_call *c)
{
    while (seen.stream_left && !c->transport->is_congested(c)) {
        send_zeros(c, 10000);
        seen.stream_left--;
    }
    if (!seen.stream_left)
        c->transport->finish(c, 0, NULL);
}
void rpc_start(struct rpc_call *c)
{
    seen.started++;
    seen.last = c;
    snprintf(seen.token, sizeof seen.token, "%.*s", (int)c->token.size, (const char *)c->token.data);
    snprintf(seen.version, sizeof seen.version, "%.*s", (int)c->client_api_version.size,
             (const char *)c->client_api_version.data);
    seen.has_leader_required = c->has_leader_required;
}
void rpc_receive(struct rpc_call *c, struct slice message)
{
    struct slice pieces[2] = {slice_of(message.data, message.size / 2),
                              slice_of(message.data + message.size / 2, message.size - message.size / 2)};
    seen.received++;
    switch (c->method - methods) {
    case M_ECHO:
        c->transport->send(c, pieces, 2);
        c->transport->finish(c, 0, NULL);
        return;
    case M_BIG:
        send_zeros(c, 1 << 20);
        c->transport->finish(c, 0, NULL);
        return;
    case M_FAIL:
        c->transport->finish(c, 9,
                             "50% b\xc3\xa4"
                             "d\n");
        return;
    case M_STREAM:
        push_stream(c);
        return;
    case M_BIDI:
        c->transport->send(c, pieces, 2);
        return;
    default:
        return;
    }
}
void rpc_half_close(struct rpc_call *c)
{
    seen.half_closed++;
    if (c->method == &methods[M_BIDI])
        c->transport->finish(c, 0, NULL);
}
void rpc_writable(struct rpc_call *c)
{
    seen.writable++;
    if (c->method != &methods[M_BIDI])
        push_stream(c);
}
void rpc_cancel(struct rpc_call *c)
{
    (void)c;
    seen.canceled++;
}

/* --- a client ------------------------------------------------------------------------------------------- */
enum { ANSWERS = 2100 };
struct reply {
    int http_status, grpc_status;
    char message[256], content_type[64];
    size_t body_size, messages;
    uint8_t head[64]; /* first bytes of the body */
    bool is_closed, has_trailers;
    uint32_t error_code;
};
struct fixture {
    uv_loop_t loop;
    struct rpc_server rpc;
    struct grpc_options options;
    struct grpc_server *server;
    struct sources sources;      /* the same */
    struct output_budget output; /* without limits, unless a test sets them */
    int fd;
    nghttp2_session *client;
    struct reply replies[ANSWERS]; /* of stream 2i + 1 */
    unsigned goaways;
    uint32_t goaway_code;
    int32_t goaway_last;
    char goaway_text[64];
    bool is_deaf; /* does not read */
    bool is_lazy; /* reads, and never opens a window again */
    size_t step;  /* bytes per write; 0 = all */
    bool is_gone; /* the server closed */
    bool is_stopped;
    struct buf to_send;
    struct tls_context *server_tls, *client_tls;
    struct tls *tls; /* the client's side */
};
static struct fixture *F;

static struct reply *reply_of(int32_t id)
{
    assert_true(id > 0 && id / 2 < ANSWERS);
    return &F->replies[id / 2];
}
static int on_header(nghttp2_session *s, const nghttp2_frame *f, const uint8_t *name, size_t n,
                     const uint8_t *value, size_t v, uint8_t flags, void *arg)
{
    (void)s;
    (void)flags;
    (void)arg;
    struct reply *r = reply_of(f->hd.stream_id);
    char text[256];
    snprintf(text, sizeof text, "%.*s", (int)v, (const char *)value);
    if (n == 7 && memcmp(name, ":status", 7) == 0)
        r->http_status = atoi(text);
    if (n == 11 && memcmp(name, "grpc-status", 11) == 0) {
        r->grpc_status = atoi(text);
        r->has_trailers = true;
    }
    if (n == 12 && memcmp(name, "grpc-message", 12) == 0)
        snprintf(r->message, sizeof r->message, "%s", text);
    if (n == 12 && memcmp(name, "content-type", 12) == 0)
        snprintf(r->content_type, sizeof r->content_type, "%.63s", text);
    return 0;
}
static int on_data(nghttp2_session *s, uint8_t flags, int32_t id, const uint8_t *data, size_t size, void *arg)
{
    (void)s;
    (void)flags;
    (void)arg;
    struct reply *r = reply_of(id);
    for (size_t i = 0; i < size && r->body_size + i < sizeof r->head; i++)
        r->head[r->body_size + i] = data[i];
    r->body_size += size;
    return 0;
}
static int on_close(nghttp2_session *s, int32_t id, uint32_t code, void *arg)
{
    (void)s;
    (void)arg;
    reply_of(id)->is_closed = true;
    reply_of(id)->error_code = code;
    return 0;
}
static int on_frame(nghttp2_session *s, const nghttp2_frame *f, void *arg)
{
    (void)s;
    (void)arg;
    if (f->hd.type == NGHTTP2_GOAWAY) {
        F->goaways++;
        F->goaway_code = f->goaway.error_code;
        F->goaway_last = f->goaway.last_stream_id;
        snprintf(F->goaway_text, sizeof F->goaway_text, "%.*s", (int)f->goaway.opaque_data_len,
                 (const char *)f->goaway.opaque_data);
    }
    return 0;
}

static void connect_client(struct fixture *f)
{
    int fds[2];
    assert_int_equal(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
    f->fd = fds[0];
    grpc_server_adopt(f->server, fds[1], f->server_tls, GRPC_ALONE);
    f->tls = f->client_tls ? tls_connect(f->client_tls, NULL) : NULL;
    nghttp2_session_callbacks *cb;
    nghttp2_option *option;
    nghttp2_session_callbacks_new(&cb);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame);
    nghttp2_option_new(&option);
    nghttp2_option_set_peer_max_concurrent_streams(option, 100000);
    nghttp2_option_set_no_auto_window_update(option, f->is_lazy);
    nghttp2_session_client_new2(&f->client, cb, f, option);
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(option);
    nghttp2_submit_settings(f->client, 0, NULL, 0);
}

static void make_tls(struct fixture *f)
{
    const char *hosts[] = {"localhost"};
    char dir[] = "/tmp/grpc_test.XXXXXX", cert[64], key[64], error[256];
    assert_non_null(mkdtemp(dir));
    assert_int_equal(0, tls_self_signed(dir, hosts, 1, 1, error, sizeof error));
    snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    snprintf(key, sizeof key, "%s/key.pem", dir);
    struct tls_options server = {.cert_file = cert, .key_file = key, .alpn = "h2"};
    struct tls_options client = {.ca_file = cert, .alpn = "h2"};
    assert_int_equal(0, tls_context_new(&server, error, sizeof error, &f->server_tls));
    assert_int_equal(0, tls_context_new(&client, error, sizeof error, &f->client_tls));
    unlink(cert);
    unlink(key);
    rmdir(dir);
}

static int setup_with(void **state, struct grpc_options options, bool is_tls, bool is_lazy)
{
    struct fixture *f = F = mem_new(sizeof *f);
    memset(&seen, 0, sizeof seen);
    uv_loop_init(&f->loop);
    f->options = options;
    f->options.loop = &f->loop;
    f->options.rpc = &f->rpc;
    f->options.output = &f->output;
    f->options.sources = &f->sources;
    sources_init(&f->sources, 0, 0, 0);
    output_budget_init(&f->output, 0, 0);
    f->server = grpc_server_new(&f->options);
    for (size_t i = 0; i < ANSWERS; i++)
        f->replies[i].grpc_status = -1;
    if (is_tls)
        make_tls(f);
    f->is_lazy = is_lazy;
    connect_client(f);
    *state = f;
    return 0;
}
static const struct grpc_options usual = {.request_bytes_max = 1 << 20,
                                          .streams_max = UINT32_MAX,
                                          .connections_max = 100,
                                          .keepalive_min_ms = 5000,
                                          .keepalive_interval_ms = 7200000,
                                          .keepalive_timeout_ms = 20000};
static int setup(void **state)
{
    return setup_with(state, usual, false, false);
}
static inline int setup_lazy(void **state)
{
    return setup_with(state, usual, false, true);
}
static inline int setup_tls(void **state)
{
    return setup_with(state, usual, true, false);
}
static inline int setup_keepalive(void **state)
{
    struct grpc_options o = usual;
    o.keepalive_interval_ms = 30;
    o.keepalive_timeout_ms = 30;
    return setup_with(state, o, false, false);
}
static void on_stopped(void *arg)
{
    ((struct fixture *)arg)->is_stopped = true;
}
static int teardown(void **state)
{
    struct fixture *f = *state;
    turn_start(NULL, NULL, NULL); /* a failed test may have left its clock */
    grpc_server_stop(f->server, on_stopped, f);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_true(f->is_stopped);
    assert_int_equal(0, uv_loop_close(&f->loop));
    assert_int_equal(0, f->output.bytes);
    output_budget_done(&f->output);
    assert_int_equal(0, f->sources.count);
    sources_done(&f->sources);
    nghttp2_session_del(f->client);
    tls_free(f->tls);
    tls_context_free(f->server_tls);
    tls_context_free(f->client_tls);
    close(f->fd);
    buf_done(&f->to_send);
    mem_free(f);
    return 0;
}

static void client_write(struct fixture *f)
{
    const uint8_t *data;
    ssize_t n;
    if (f->tls)
        tls_take_output(f->tls, &f->to_send);
    while ((!f->tls || tls_is_ready(f->tls)) && (n = nghttp2_session_mem_send(f->client, &data)) > 0) {
        if (f->tls)
            assert_int_equal(0, tls_send(f->tls, slice_of(data, (size_t)n)));
        else
            buf_add(&f->to_send, data, (size_t)n);
    }
    size_t size = f->step && f->step < f->to_send.size ? f->step : f->to_send.size;
    n = size ? send(f->fd, f->to_send.data, size, MSG_NOSIGNAL) : 0;
    if (n > 0)
        buf_consume(&f->to_send, (size_t)n);
    else if (n < 0 && errno != EAGAIN)
        f->is_gone = true;
}
static void client_read(struct fixture *f)
{
    static uint8_t bytes[256 << 10];
    ssize_t n;
    while (!f->is_deaf && (n = recv(f->fd, bytes, sizeof bytes, 0)) >= 0) {
        f->is_gone = n == 0;
        if (n == 0)
            return;
        struct buf plain = {0};
        if (f->tls)
            assert_int_equal(0, tls_receive(f->tls, slice_of(bytes, (size_t)n), &plain));
        else
            buf_add(&plain, bytes, (size_t)n);
        if (plain.size)
            assert_int_equal(plain.size, nghttp2_session_mem_recv(f->client, plain.data, plain.size));
        buf_done(&plain);
    }
}
static void turn(struct fixture *f)
{
    client_write(f);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    client_read(f);
}
/* Turns until the condition holds; fails after ten seconds. */
#define UNTIL(f, condition)                                                                                  \
    do {                                                                                                     \
        uint64_t until = clock_mono_ms() + 60000;                                                            \
        while (!(condition)) {                                                                               \
            turn(f);                                                                                         \
            if (clock_mono_ms() > until)                                                                     \
                fail_msg("never: %s", #condition);                                                           \
        }                                                                                                    \
    } while (0)

/* --- requests --------------------------------------------------------------------------------------- */
struct body {
    struct buf bytes;
    size_t at;
    bool is_open; /* no END_STREAM at the end */
};
static ssize_t read_body(nghttp2_session *s, int32_t id, uint8_t *to, size_t size, uint32_t *flags,
                         nghttp2_data_source *source, void *arg)
{
    (void)s;
    (void)id;
    (void)arg;
    struct body *b = source->ptr;
    size_t n = b->bytes.size - b->at < size ? b->bytes.size - b->at : size;
    if (n == 0 && b->is_open)
        return NGHTTP2_ERR_DEFERRED;
    if (n)
        memcpy(to, b->bytes.data + b->at, n);
    b->at += n;
    if (b->at == b->bytes.size && !b->is_open)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)n;
}
#define NV(n, v)                                                                                             \
    {                                                                                                        \
        (uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), 0                        \
    }
static int32_t request(struct fixture *f, const char *path, struct body *b, const char *name,
                       const char *value)
{
    nghttp2_nv nv[] = {NV(":method", "POST"),  NV(":scheme", "http"),
                       NV(":path", path),      NV(":authority", "t"),
                       NV("te", "trailers"),   NV("content-type", "application/grpc"),
                       NV("user-agent", "me"), NV(name ? name : "x", value ? value : "y")};
    size_t count = sizeof nv / sizeof *nv;
    for (size_t i = 0; name && i + 1 < count; i++)
        if (strcmp((char *)nv[i].name, name) == 0) {
            nv[i] = nv[count - 1];
            count--;
        }
    nghttp2_data_provider p = {.source.ptr = b, .read_callback = read_body};
    int32_t id = nghttp2_submit_request(f->client, NULL, nv, count, b ? &p : NULL, NULL);
    assert_true(id > 0);
    return id;
}
static void frame(struct body *b, uint8_t flag, uint32_t size, size_t present)
{
    uint8_t head[5] = {flag};
    put_be32(head + 1, size);
    buf_add(&b->bytes, head, 5);
    for (size_t i = 0; i < present; i++)
        buf_add_byte(&b->bytes, (uint8_t)(i * 7 + 1));
}
static void body_done(struct body *b)
{
    buf_done(&b->bytes);
}
/* One message of `size` bytes and the end of the answer. */
static inline struct reply *call(struct fixture *f, const char *path, size_t size, const char *name,
                                 const char *value)
{
    struct body b = {0};
    frame(&b, 0, (uint32_t)size, size);
    int32_t id = request(f, path, &b, name, value);
    UNTIL(f, reply_of(id)->is_closed);
    body_done(&b);
    return reply_of(id);
}
static inline void assert_echo(const struct reply *r, size_t size)
{
    assert_int_equal(200, r->http_status);
    assert_int_equal(0, r->grpc_status);
    assert_string_equal("", r->message);
    assert_int_equal(0, r->error_code);
    assert_int_equal(5 + size, r->body_size);
    assert_int_equal(size, get_be32(r->head + 1));
    for (size_t i = 0; i < size && i + 5 < sizeof r->head; i++)
        assert_int_equal((uint8_t)(i * 7 + 1), r->head[5 + i]);
}
static inline void assert_error(const struct reply *r, int http, int grpc, const char *text)
{
    assert_true(r->is_closed);
    assert_int_equal(0, r->error_code);
    assert_int_equal(http, r->http_status);
    assert_int_equal(grpc, r->grpc_status);
    assert_string_equal(text, r->message);
    assert_string_equal("application/grpc", r->content_type);
}

#endif
