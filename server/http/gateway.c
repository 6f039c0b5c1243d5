/* SPDX-License-Identifier: Apache-2.0
 * The JSON gateway: /v3/... and /v3beta/..., every method of the gRPC API as POST with the request as JSON. A
 * transport of rpc.h, as gRPC is: it knows no service. Over a WebSocket the same, message by message.
 *
 * As grpc-gateway does it: a unary call reads the first JSON value of the body and ignores the rest, an empty
 * body is an empty message; a stream reads value after value and answers a line of {"result":...} for each
 * message, its head not before the first; an error is {"code":..., "message":...}, in a stream
 * {"error":{...}}. Unlike there, a stream whose JSON is broken is told so instead of left hanging. */
#include <assert.h>
#include <stdio.h>
#include <strings.h>

#include "base/json.h"
#include "proto/json.h"
#include "server/auth/identity.h"
#include "server/http/conn.h"

static const char JSON_TYPE[] = "application/json";

struct gateway_call {
    struct rpc_call call;
    struct http_request *q;
    struct json_scan scan;
    size_t start, scanned; /* in q's gathered text: the current value, what json_scan has seen */
    struct buf text;       /* stream requests as they come */
    struct buf answer;
    struct arena scratch; /* one response message */
    bool has_request, has_answer, is_open, is_done;
    unsigned busy; /* our own frames that still look at it */
};

static const struct rpc_transport transport;

static struct gateway_call *call_of(struct rpc_call *c)
{
    return container_of(c, struct gateway_call, call);
}

static void call_free(struct gateway_call *g)
{
    buf_done(&g->text);
    buf_done(&g->answer);
    arena_done(&g->call.arena);
    mem_free(g);
}

/* The call has ended: freed now, or by the frame of ours that is inside of it. */
static void call_done(struct gateway_call *g)
{
    g->is_done = true;
    if (g->busy == 0)
        call_free(g);
}

static bool leave(struct gateway_call *g)
{
    if (--g->busy > 0 || !g->is_done)
        return !g->is_done;
    call_free(g);
    return false;
}

/* --- answers --------------------------------------------------------------------------------------- */

static int http_status(int grpc_status)
{
    static const int statuses[] = {200, 499, 500, 400, 504, 404, 409, 403, 429,
                                   400, 409, 400, 501, 500, 503, 500, 401};
    return grpc_status >= 0 && grpc_status <= 16 ? statuses[grpc_status] : 500;
}

static void add_status(struct json_writer *w, int grpc_status, const char *text)
{
    jw_open(w, '{');
    jw_key(w, "code");
    jw_int(w, grpc_status);
    if (text && *text) {
        jw_key(w, "message");
        jw_text(w, text);
    }
    jw_close(w, '}');
}

static void respond_error(struct http_request *q, int grpc_status, const char *text)
{
    struct buf out = {0};
    struct json_writer w = {.out = &out};
    add_status(&w, grpc_status, text);
    if (grpc_status == 16)
        http_add_header(q, "WWW-Authenticate", text ? text : "");
    http_respond(q, http_status(grpc_status), JSON_TYPE, buf_slice(&out));
    buf_done(&out);
}

static void open_stream(struct gateway_call *g, int status, bool is_result)
{
    if (g->is_open)
        return;
    g->is_open = true;
    if (is_result)
        http_add_header(g->q, "Grpc-Metadata-Content-Type", "application/grpc");
    http_stream_open(g->q, status, JSON_TYPE);
}

static void end_stream(struct gateway_call *g, int grpc_status, const char *text)
{
    open_stream(g, http_status(grpc_status), grpc_status == 0);
    if (grpc_status) {
        struct json_writer w = {.out = &g->answer};
        buf_clear(&g->answer);
        jw_open(&w, '{');
        jw_key(&w, "error");
        add_status(&w, grpc_status, text);
        jw_close(&w, '}');
        http_stream_send(g->q, buf_slice(&g->answer));
    }
    http_stream_close(g->q);
}

static void answer(struct gateway_call *g, int grpc_status, const char *text)
{
    struct http_request *q = g->q;
    q->state = NULL;
    if (g->call.method->kind != RPC_UNARY) {
        end_stream(g, grpc_status, text);
    } else if (grpc_status) {
        respond_error(q, grpc_status, text);
    } else {
        http_add_header(q, "Grpc-Metadata-Content-Type", "application/grpc");
        http_respond(q, 200, JSON_TYPE, g->has_answer ? buf_slice(&g->answer) : slice_text("{}"));
    }
}

/* --- the transport ---------------------------------------------------------------------------------- */

/* The server's scratch memory serves all streams: idle ones hold none. */
static void on_send(struct rpc_call *c, const struct slice *pieces, size_t count)
{
    struct gateway_call *g = call_of(c);
    struct arena *scratch = &g->q->server->arena;
    struct buf *text = c->method->kind == RPC_UNARY ? &g->answer : &g->q->server->text;
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += pieces[i].size;
    uint8_t *bytes = arena_alloc(scratch, size + 1), *at = bytes;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].size)
            memcpy(at, pieces[i].data, pieces[i].size);
        at += pieces[i].size;
    }
    ProtobufCMessage *m =
        protobuf_c_message_unpack(c->method->response, arena_allocator(scratch), size, bytes);
    assert(m); /* our own encoding */
    buf_clear(text);
    if (c->method->kind == RPC_UNARY) {
        message_to_json(m, text);
        g->has_answer = true;
    } else {
        buf_add_text(text, "{\"result\":");
        message_to_json(m, text);
        buf_add_byte(text, '}');
        open_stream(g, 200, true);
        http_stream_send(g->q, buf_slice(text));
        if (text->capacity > CONGESTED_BYTES)
            buf_done(text);
    }
    arena_reset(scratch);
}

static void on_finish(struct rpc_call *c, int grpc_status, const char *text)
{
    struct gateway_call *g = call_of(c);
    answer(g, grpc_status, text);
    call_done(g);
}

static bool on_is_congested(const struct rpc_call *c)
{
    const struct gateway_call *g =
        (const struct gateway_call *)((uintptr_t)c - offsetof(struct gateway_call, call));
    return http_is_congested(g->q);
}

static const struct rpc_transport transport = {
    .send = on_send,
    .finish = on_finish,
    .is_congested = on_is_congested,
};

/* --- requests ------------------------------------------------------------------------------------------ */

static struct slice bare_token(struct slice s)
{
    if (s.size > 7 && strncasecmp((const char *)s.data, "Bearer ", 7) == 0)
        return slice_of(s.data + 7, s.size - 7);
    return s;
}

/* NULL: the call has ended already. */
static struct gateway_call *start(struct http_request *q, const struct rpc_method *method)
{
    struct gateway_call *g = mem_new(sizeof *g);
    g->q = q;
    g->call = (struct rpc_call){
        .transport = &transport,
        .method = method,
        .server = q->server->options.rpc,
        .deadline_ms = q->deadline_ms,
        .has_leader_required = q->has_leader_required,
        .is_gateway = true,
        .token = bare_token(q->authorization),
        .client_api_version = q->client_api_version,
        .peer = q->peer,
    };
    q->state = g;
    g->busy++;
    rpc_start(&g->call);
    return leave(g) ? g : NULL;
}

static void refuse(struct gateway_call *g, int grpc_status, const char *text)
{
    rpc_cancel(&g->call);
    answer(g, grpc_status, text);
    call_done(g);
}

/* One JSON value to the service; false when the call has ended. */
static bool receive(struct gateway_call *g, struct slice text)
{
    char error[256];
    ProtobufCMessage *m = NULL;
    if (g->call.method->kind != RPC_BIDI && g->has_request)
        return true; /* what follows the request of a call that takes one is ignored */
    g->has_request = true;
    g->busy++;
    if (json_to_message(g->call.method->request, text, &g->call.arena, error, sizeof error, &m))
        refuse(g, 3, error);
    else
        rpc_receive_message(&g->call, m);
    if (!g->is_done && g->call.method->kind == RPC_BIDI)
        arena_done(&g->call.arena); /* a stream may be idle for days */
    return leave(g);
}

static bool is_blank(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if (!strchr(" \t\r\n", s.data[i]) || !s.data[i])
            return false;
    return true;
}

static void unary_end(struct http_request *q)
{
    const struct rpc_method *method = rpc_gateway_find(q->path);
    struct gateway_call *g = start(q, method);
    if (!g)
        return;
    struct slice text = buf_slice(&q->body);
    receive(g, is_blank(text) ? slice_text("{}") : text);
}

/* Every value that is complete. */
static void stream_body(struct http_request *q, struct slice piece)
{
    struct gateway_call *g = q->state;
    size_t limit = (size_t)q->server->options.request_bytes_max + 512 * 1024;
    buf_add_slice(&g->text, piece);
    if (q->is_websocket)
        buf_add_byte(&g->text, '\n');
    g->busy++;
    bool is_running = true;
    while (is_running && g->scanned < g->text.size) {
        g->scanned += json_scan(&g->scan, slice_of(g->text.data + g->scanned, g->text.size - g->scanned));
        if (!g->scan.is_complete)
            break;
        struct slice value = slice_of(g->text.data + g->start, g->scanned - g->start);
        g->start = g->scanned;
        is_running = receive(g, value);
    }
    if (is_running) {
        buf_consume(&g->text, g->start);
        g->scanned -= g->start;
        g->start = 0;
        if (g->text.size == 0)
            buf_done(&g->text);
        if (g->text.size > limit)
            refuse(g, 8, "grpc: received message larger than max");
    }
    leave(g);
}

static void stream_end(struct http_request *q)
{
    struct gateway_call *g = q->state;
    g->busy++;
    bool is_running = true;
    if (g->scan.is_inside)
        is_running = receive(g, buf_slice(&g->text));
    else if (g->call.method->kind != RPC_BIDI && !g->has_request)
        is_running = receive(g, slice_text("{}"));
    if (is_running)
        rpc_half_close(&g->call);
    leave(g);
}

static void call_writable(struct http_request *q)
{
    struct gateway_call *g = q->state;
    g->busy++;
    rpc_writable(&g->call);
    leave(g);
}

static void call_expired(struct http_request *q)
{
    struct gateway_call *g = q->state;
    if (g)
        refuse(g, 4, "context deadline exceeded");
}

static void call_gone(struct http_request *q)
{
    struct gateway_call *g = q->state;
    if (!g)
        return;
    q->state = NULL;
    rpc_cancel(&g->call);
    call_done(g);
}

static const struct http_handler stream_handler = {
    .work = TURN_GATEWAY,
    .body = stream_body,
    .end = stream_end,
    .writable = call_writable,
    .expired = call_expired,
    .gone = call_gone,
};

/* etcd's own words: its gateway comes to it with a certificate that is not the client's. */
static bool has_ignored_name(const struct http_request *q)
{
    const struct rpc_server *s = q->server->options.rpc;
    return s->identity && identity_uses_certificates(s->identity) && *http_common_name(q) &&
           kv_auth_is_enabled(s->kv);
}

static void gateway_begin(struct http_request *q)
{
    const struct rpc_method *method = rpc_gateway_find(q->path);
    if (has_ignored_name(q)) {
        http_respond(q, 400, "text/plain; charset=utf-8",
                     slice_text("CommonName of client sending a request against gateway will be ignored and "
                                "not used as expected\n"));
    } else if (!method) {
        respond_error(q, 5, "Not Found");
    } else if (q->method != HTTP_POST) {
        respond_error(q, 12, "Method Not Allowed");
    } else if (method->kind != RPC_UNARY || q->is_websocket) {
        q->handler = &stream_handler;
        start(q, method);
    }
}

const struct http_handler http_handler_gateway = {
    .work = TURN_GATEWAY,
    .begin = gateway_begin,
    .end = unary_end,
    .writable = call_writable,
    .expired = call_expired,
    .gone = call_gone,
};
