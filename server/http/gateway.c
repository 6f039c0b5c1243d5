/* SPDX-License-Identifier: Apache-2.0
 * JSON gateway of the gRPC API: /v3/... and /v3beta/..., every method as POST with the request as JSON.
 *
 * It is a transport of rpc.h, as gRPC is, and knows no service. Over a WebSocket each message is one JSON
 * value. It follows grpc-gateway:
 *
 *   - A unary call reads the first JSON value of the body and ignores the rest; an empty body is an empty
 *     message.
 *   - A stream reads value after value. It answers a line {"result":...} for each message; its head is
 *     sent with the first one.
 *   - An error is {"code":..., "message":...}; in a stream it is {"error":{...}}.
 *
 * Unlike grpc-gateway, a stream whose JSON is malformed gets an error instead of waiting for ever.
 *
 * A worker converts large messages (conversion.h). A call has at most one conversion of a request and one
 * of a response under way; later messages wait for it in their order. */
#include <assert.h>
#include <stdio.h>
#include <strings.h>

#include "base/buf_release.h"
#include "base/json.h"
#include "proto/json.h"
#include "server/auth/identity.h"
#include "server/http/conn.h"

enum { HEAD_ROOM = 1024 }; /* bytes for an answer's head before its JSON */

static const char JSON_TYPE[] = "application/json";

struct gateway_call {
    struct rpc_call call;
    struct http_request *q;
    struct json_scan scan;
    size_t start, scanned; /* offsets in q's gathered text: the current value, the end of json_scan */
    struct buf text;       /* stream requests as they come */
    struct buf answer;
    struct arena scratch; /* one response message */
    bool has_request, has_answer, is_open, is_done;
    unsigned busy; /* C stack frames of this file that still use it */

    struct conversion *decoding; /* of a request: the next one is not read before it is delivered */
    bool has_ended;              /* no other request follows; the call is notified after this conversion */
    struct conversion *encoding; /* of an answer ... */
    struct link outgoing;        /* ... and those behind it */
    bool is_finishing;           /* the end of the call, behind them */
    int status;
    char *status_text;
};

struct outgoing {
    struct link link;
    struct buf bytes; /* the message, from `at` on */
    size_t at;
};

static const struct rpc_transport transport;

static struct gateway_call *call_of(struct rpc_call *c)
{
    return container_of(c, struct gateway_call, call);
}

static void call_free(struct gateway_call *g)
{
    struct link *l;
    if (g->decoding)
        conversion_cancel(g->decoding);
    if (g->encoding)
        conversion_cancel(g->encoding);
    while ((l = list_take_first(&g->outgoing))) {
        struct outgoing *o = container_of(l, struct outgoing, link);
        buf_release(&o->bytes);
        mem_free(o);
    }
    mem_free(g->status_text);
    buf_done(&g->text);
    buf_release(&g->answer);
    arena_release(&g->call.arena); /* a request of some MiB */
    mem_free(g);
}

/* The call has ended: frees it, or leaves that to the outer function that still uses it. */
static void call_done(struct gateway_call *g)
{
    g->is_done = true;
    if (g->busy == 0)
        call_free(g);
}

static bool http_gateway_leave(struct gateway_call *g)
{
    if (--g->busy > 0 || !g->is_done)
        return !g->is_done;
    call_free(g);
    return false;
}

/* --- answers ----------------------------------------------------------------------------------------- */

static int http_status(int grpc_status)
{
    static const int statuses[] = {200, 499, 500, 400, 504, 404, 409, 403, 429,
                                   400, 409, 400, 501, 500, 503, 500, 401};
    return grpc_status >= 0 && grpc_status <= 16 ? statuses[grpc_status] : 500;
}

static void http_gateway_add_status(struct json_writer *w, int grpc_status, const char *text)
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
    http_gateway_add_status(&w, grpc_status, text);
    if (grpc_status == 16)
        http_add_header(q, "WWW-Authenticate", text ? text : "");
    http_respond(q, http_status(grpc_status), JSON_TYPE, buf_slice(&out));
    buf_done(&out);
}

static void http_gateway_open_stream(struct gateway_call *g, int status, bool is_result)
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
    http_gateway_open_stream(g, http_status(grpc_status), grpc_status == 0);
    if (grpc_status) {
        struct json_writer w = {.out = &g->answer};
        buf_clear(&g->answer);
        jw_open(&w, '{');
        jw_key(&w, "error");
        http_gateway_add_status(&w, grpc_status, text);
        jw_close(&w, '}');
        http_stream_send(g->q, buf_slice(&g->answer));
    }
    http_stream_close(g->q);
}

static void respond(struct gateway_call *g)
{
    http_add_header(g->q, "Grpc-Metadata-Content-Type", "application/grpc");
    if (g->has_answer)
        http_respond_whole(g->q, 200, JSON_TYPE, &g->answer, HEAD_ROOM);
    else
        http_respond(g->q, 200, JSON_TYPE, slice_text("{}"));
}

static void answer(struct gateway_call *g, int grpc_status, const char *text)
{
    struct http_request *q = g->q;
    q->state = NULL;
    http_charge_output(q, 0);
    if (g->call.method->kind != RPC_UNARY)
        end_stream(g, grpc_status, text);
    else if (grpc_status)
        respond_error(q, grpc_status, text);
    else
        respond(g);
}

/* --- answers as JSON --------------------------------------------------------------------------------- */

static const char RESULT[] = "{\"result\":";

static void send_result(struct gateway_call *g, struct slice text)
{
    http_gateway_open_stream(g, 200, true);
    http_stream_send(g->q, text);
}

/* It uses the server's scratch memory, so that an idle stream has none of its own. */
static void encode_now(struct gateway_call *g, struct slice bytes)
{
    struct arena *scratch = &g->q->server->arena;
    struct buf *text = &g->q->server->text;
    ProtobufCMessage *m =
        protobuf_c_message_unpack(g->call.method->response, arena_allocator(scratch), bytes.size, bytes.data);
    assert(m); /* our own encoding */
    if (g->call.method->kind == RPC_UNARY) {
        (void)buf_reserve(&g->answer, HEAD_ROOM);
        g->answer.size = HEAD_ROOM;
        message_to_json(m, &g->answer);
        g->has_answer = true;
    } else {
        buf_clear(text);
        buf_add_text(text, RESULT);
        message_to_json(m, text);
        buf_add_byte(text, '}');
        send_result(g, buf_slice(text));
        if (text->capacity > CONGESTED_BYTES)
            buf_done(text);
    }
    arena_reset(scratch);
}

static void encode_next(struct gateway_call *g);

static void on_encoded(struct conversion *c)
{
    struct gateway_call *g = c->arg;
    bool is_unary = g->call.method->kind == RPC_UNARY;
    size_t begin = HEAD_ROOM - (sizeof RESULT - 1);
    turn_enter(TURN_GATEWAY);
    g->encoding = NULL;
    g->busy++;
    if (is_unary) {
        g->answer = buf_move(&c->json);
        g->has_answer = true;
    } else {
        memcpy(c->json.data + begin, RESULT, sizeof RESULT - 1);
        buf_add_byte(&c->json, '}');
        http_gateway_open_stream(g, 200, true);
        http_stream_send_whole(g->q, &c->json, begin);
    }
    if (!list_is_empty(&g->outgoing)) {
        encode_next(g);
    } else if (g->is_finishing) {
        answer(g, g->status, g->status_text);
        call_done(g);
    } else {
        http_charge_output(g->q, 0);
        if (!http_is_congested(g->q))
            rpc_writable(&g->call);
    }
    http_gateway_leave(g);
}

/* Bytes that wait here count as unread output. */
static void encode_next(struct gateway_call *g)
{
    struct outgoing *o = container_of(list_take_first(&g->outgoing), struct outgoing, link);
    struct http_server *s = g->q->server;
    size_t owed = o->bytes.size;
    LIST_FOR_EACH (l, &g->outgoing)
        owed += container_of(l, struct outgoing, link)->bytes.size;
    g->encoding = conversion_to_json(&s->conversions, g->call.method->response, &o->bytes, o->at, HEAD_ROOM,
                                     on_encoded, g);
    mem_free(o);
    http_charge_output(g->q, owed);
}

static void encode_later(struct gateway_call *g, struct buf *bytes, size_t at)
{
    struct outgoing *o = mem_new(sizeof *o);
    o->bytes = buf_move(bytes);
    o->at = at;
    list_add_last(&g->outgoing, &o->link);
    if (!g->encoding)
        encode_next(g);
}

/* --- the transport ----------------------------------------------------------------------------------- */

static void on_send(struct rpc_call *c, const struct slice *pieces, size_t count)
{
    struct gateway_call *g = call_of(c);
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += pieces[i].size;
    bool is_now = !g->encoding && size < CONVERSION_INLINE_MAX;
    struct buf bytes = {0};
    uint8_t *at = is_now ? arena_alloc(&g->q->server->arena, size + 1) : buf_reserve(&bytes, size);
    struct slice message = slice_of(at, size);
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].size)
            memcpy(at, pieces[i].data, pieces[i].size);
        at += pieces[i].size;
    }
    if (is_now) {
        encode_now(g, message);
    } else {
        bytes.size = size;
        encode_later(g, &bytes, 0);
    }
}

static void on_send_whole(struct rpc_call *c, struct buf *message)
{
    struct gateway_call *g = call_of(c);
    if (g->encoding || message->size >= CONVERSION_INLINE_MAX) {
        encode_later(g, message, RPC_FRAME_ROOM);
        return;
    }
    encode_now(g, slice_of(message->data + RPC_FRAME_ROOM, message->size - RPC_FRAME_ROOM));
    buf_done(message);
}

static void on_finish(struct rpc_call *c, int grpc_status, const char *text)
{
    struct gateway_call *g = call_of(c);
    if (g->encoding) {
        g->is_finishing = true;
        g->status = grpc_status;
        g->status_text = text ? mem_string(text) : NULL;
        return;
    }
    answer(g, grpc_status, text);
    call_done(g);
}

static bool on_is_congested(const struct rpc_call *c)
{
    const struct gateway_call *g =
        (const struct gateway_call *)((uintptr_t)c - offsetof(struct gateway_call, call));
    return g->encoding || http_is_congested(g->q);
}

static const struct rpc_transport transport = {
    .send = on_send,
    .send_whole = on_send_whole,
    .finish = on_finish,
    .is_congested = on_is_congested,
};

/* --- requests ---------------------------------------------------------------------------------------- */

static struct slice bare_token(struct slice s)
{
    if (s.size > 7 && strncasecmp((const char *)s.data, "Bearer ", 7) == 0)
        return slice_of(s.data + 7, s.size - 7);
    return s;
}

/* Starts a call. NULL: it has ended already. */
static struct gateway_call *start(struct http_request *q, const struct rpc_method *method)
{
    struct gateway_call *g = mem_new(sizeof *g);
    g->q = q;
    list_init(&g->outgoing);
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
        .source = q->source,
    };
    q->state = g;
    g->busy++;
    rpc_start(&g->call);
    return http_gateway_leave(g) ? g : NULL;
}

static void http_gateway_refuse(struct gateway_call *g, int grpc_status, const char *text)
{
    rpc_cancel(&g->call);
    answer(g, grpc_status, text);
    call_done(g);
}

/* Delivers a message, or with m NULL its error. False: the call has ended. */
static bool http_gateway_deliver(struct gateway_call *g, const ProtobufCMessage *m, const char *error)
{
    g->busy++;
    if (!m)
        http_gateway_refuse(g, 3, error);
    else
        rpc_receive_message(&g->call, m);
    if (!g->is_done && g->call.method->kind == RPC_BIDI)
        arena_done(&g->call.arena); /* a stream may be idle for days */
    return http_gateway_leave(g);
}

static bool http_gateway_resume(struct gateway_call *g);

static void on_decoded(struct conversion *c)
{
    struct gateway_call *g = c->arg;
    struct http_request *q = g->q;
    turn_enter(TURN_GATEWAY);
    g->decoding = NULL;
    arena_done(&g->call.arena);
    g->call.arena = c->arena;
    c->arena = (struct arena){0};
    if (http_gateway_deliver(g, c->message, c->error) && http_gateway_resume(g) && !g->decoding)
        http_body_hold(q, false);
}

/* Delivers one JSON value to the service. False: the call has ended. */
static bool http_gateway_receive(struct gateway_call *g, struct slice text, struct buf *owned)
{
    char error[256];
    ProtobufCMessage *m = NULL;
    struct buf copy = {0};
    if (g->call.method->kind != RPC_BIDI && g->has_request)
        return true; /* bytes after the request of a unary call are ignored */
    g->has_request = true;
    if (text.size >= CONVERSION_INLINE_MAX) {
        if (!owned)
            buf_add_slice(owned = &copy, text);
        http_body_hold(g->q, true);
        g->decoding =
            conversion_to_message(&g->q->server->conversions, g->call.method->request, owned, on_decoded, g);
        return true;
    }
    if (json_to_message(g->call.method->request, text, &g->call.arena, error, sizeof error, &m))
        m = NULL;
    return http_gateway_deliver(g, m, error);
}

static bool http_gateway_is_blank(struct slice s)
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
    if (http_gateway_is_blank(text))
        http_gateway_receive(g, slice_text("{}"), NULL);
    else
        http_gateway_receive(g, text, &q->body);
}

/* Delivers complete values until one needs the worker. False: the call has ended. */
static bool take_values(struct gateway_call *g)
{
    size_t limit = (size_t)g->q->server->options.request_bytes_max + 512 * 1024;
    while (g->scanned < g->text.size && !g->decoding) {
        g->scanned += json_scan(&g->scan, slice_of(g->text.data + g->scanned, g->text.size - g->scanned));
        if (!g->scan.is_complete)
            break;
        struct slice value = slice_of(g->text.data + g->start, g->scanned - g->start);
        g->start = g->scanned;
        if (!http_gateway_receive(g, value, NULL))
            return false;
    }
    buf_consume(&g->text, g->start);
    g->scanned -= g->start;
    g->start = 0;
    if (g->text.size == 0)
        buf_done(&g->text);
    if (g->text.size <= limit)
        return true;
    http_gateway_refuse(g, 8, "grpc: received message larger than max");
    return false;
}

static void take_end(struct gateway_call *g)
{
    bool is_running = true;
    if (g->scan.is_inside) {
        g->scan.is_inside = false;
        is_running = http_gateway_receive(g, buf_slice(&g->text), NULL);
    } else if (g->call.method->kind != RPC_BIDI && !g->has_request) {
        is_running = http_gateway_receive(g, slice_text("{}"), NULL);
    }
    if (is_running && !g->decoding)
        rpc_half_close(&g->call);
}

/* Continues with input that came during a conversion. False: the call has ended. */
static bool http_gateway_resume(struct gateway_call *g)
{
    g->busy++;
    if (take_values(g) && !g->decoding && g->has_ended)
        take_end(g);
    return http_gateway_leave(g);
}

static void stream_body(struct http_request *q, struct slice piece)
{
    struct gateway_call *g = q->state;
    buf_add_slice(&g->text, piece);
    if (q->is_websocket)
        buf_add_byte(&g->text, '\n');
    g->busy++;
    take_values(g);
    http_gateway_leave(g);
}

static void stream_end(struct http_request *q)
{
    struct gateway_call *g = q->state;
    g->has_ended = true;
    g->busy++;
    if (!g->decoding)
        take_end(g);
    http_gateway_leave(g);
}

static void call_writable(struct http_request *q)
{
    struct gateway_call *g = q->state;
    g->busy++;
    if (!g->encoding)
        rpc_writable(&g->call);
    http_gateway_leave(g);
}

static void call_expired(struct http_request *q)
{
    struct gateway_call *g = q->state;
    if (g)
        http_gateway_refuse(g, 4, "context deadline exceeded");
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

/* etcd rejects this in the same words: its gateway connects with a certificate that is not the client's. */
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
