/* SPDX-License-Identifier: Apache-2.0
 * Requests from parsed heads, admission (Host, CORS, browsers, OPTIONS, routing), and answers as bytes. */
#include "server/http/request.h"

#include <assert.h>
#include <stdio.h>
#include <strings.h>

#include "base/buf_release.h"
#include "base/text.h"
#include "server/http/access.h"
#include "server/http/conn.h"

static struct http_conn *conn_of(const struct http_request *q)
{
    return (struct http_conn *)((uintptr_t)q - offsetof(struct http_conn, request));
}

/* --- the request ------------------------------------------------------------------------------------- */

/* Grpc-Timeout: up to 8 digits and a unit. 0 = none. */
static uint64_t timeout_ms(struct slice s)
{
    static const struct {
        char unit;
        uint64_t per_ms, ms;
    } units[] = {{'H', 1, 3600000}, {'M', 1, 60000}, {'S', 1, 1000},
                 {'m', 1, 1},       {'u', 1000, 1},  {'n', 1000000, 1}};
    uint64_t n;
    if (s.size < 2 || s.size > 9 || text_to_u64(slice_of(s.data, s.size - 1), &n))
        return 0;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (units[i].unit == (char)s.data[s.size - 1])
            return n * units[i].ms / units[i].per_ms + 1;
    return 0;
}

/* Reads gRPC metadata from HTTP headers, as grpc-gateway does. */
static void read_metadata(struct http_conn *c, const struct http_head *head)
{
    struct http_request *q = &c->request;
    struct slice text;
    http_head_field(head, "authorization", &q->authorization, NULL);
    http_head_field(head, "grpc-metadata-token", &q->authorization, NULL);
    http_head_field(head, "grpc-metadata-client-api-version", &q->client_api_version, NULL);
    http_head_field(head, "last-event-id", &q->last_event_id, NULL);
    q->has_leader_required = http_head_field(head, "grpc-metadata-hasleader", &text, NULL) &&
                             slice_equal(text, slice_text("true"));
    if (http_head_field(head, "grpc-timeout", &text, NULL) && timeout_ms(text))
        q->deadline_ms = http_now_ms(c->server) + timeout_ms(text);
}

static bool has_escaped_slash(struct slice target)
{
    for (size_t i = 0; i + 2 < target.size && target.data[i] != '?'; i++)
        if (target.data[i] == '%' && target.data[i + 1] == '2' && (target.data[i + 2] | 0x20) == 'f')
            return true;
    return false;
}

static void read_browser(struct http_request *q, const struct http_head *head)
{
    struct http_browser_headers h = {.host = q->host};
    http_head_field(head, "origin", &h.origin, NULL);
    http_head_field(head, "sec-fetch-site", &h.fetch_site, NULL);
    http_head_field(head, "user-agent", &h.user_agent, NULL);
    http_head_field(head, "accept-language", &h.accept_language, NULL);
    q->origin = h.origin;
    q->is_from_browser = http_access_is_browser(&h);
    q->is_own_page = http_access_is_own_page(&h);
}

bool http_request_read(struct http_conn *c, const struct http_head *head)
{
    struct http_request *q = &c->request;
    size_t hosts = 0;
    q->method = head->method;
    q->has_escaped_slash = has_escaped_slash(head->target);
    http_head_field(head, "host", &q->host, &hosts);
    http_head_field(head, "content-type", &q->content_type, NULL);
    http_head_field(head, "if-match", &q->if_match, NULL);
    http_head_field(head, "if-none-match", &q->if_none_match, NULL);
    http_head_field(head, "x-cairn-session-key", &q->session_key, NULL);
    http_head_field(head, "idempotency-key", &q->idempotency_key, &q->idempotency_keys);
    http_head_field(head, "accept", &q->accept, NULL);
    http_head_field(head, "accept-encoding", &q->accept_encoding, NULL);
    read_browser(q, head);
    if (hosts > 1 || (hosts == 0 && head->is_http11) ||
        http_target_split(head->target, &c->target, &q->path, &q->query)) {
        c->must_close = true;
        http_respond_error(q, 400,
                           hosts == 1 ? "the request's target is malformed" : "one Host header is required");
        return false;
    }
    read_metadata(c, head);
    return true;
}

bool http_query_next(const struct http_request *q, const char *name, size_t *at, struct slice *ret_value)
{
    size_t n = strlen(name);
    while (*at < q->query.size) {
        const char *piece = (const char *)q->query.data + *at;
        size_t size = strlen(piece);
        *at += size + 1;
        if (size < n || memcmp(piece, name, n) != 0 || (piece[n] != '=' && piece[n] != 0))
            continue;
        size_t skip = n + (piece[n] == '=');
        *ret_value = slice_of(piece + skip, size - skip);
        return true;
    }
    return false;
}

/* --- admission --------------------------------------------------------------------------------------- */

/* Rejects a request, in the handler's own form if it has one. */
static void http_request_refuse(struct http_request *q, int status, const char *text)
{
    if (q->handler && q->handler->refuse)
        q->handler->refuse(q, status, text);
    else
        http_respond_error(q, status, text);
}

static void refuse_host(struct http_request *q, struct slice host)
{
    char *text = arena_printf(
        &q->arena,
        "\nThe Host header %.*s is not one that this server answers to (CVE-2018-5702, DNS rebinding).\n\n"
        "Either use TLS, or add the name to --host-whitelist.",
        (int)(host.size < 200 ? host.size : 200), host.size ? (const char *)host.data : "");
    http_respond_error(q, 421, text);
}

bool http_origin_is_allowed(const struct http_request *q)
{
    const struct http_options *o = &q->server->options;
    if (!q->is_native)
        return !q->origin.size || http_access_is_same_origin(q->origin, q->host) ||
               http_access_list_has(o->cors, q->origin);
    return q->is_own_page || (o->origins && *o->origins && http_access_list_has(o->origins, q->origin));
}

static void add_etcd_cors(struct http_request *q)
{
    const char *cors = q->server->options.cors;
    bool is_open = http_access_allows_all(cors);
    if (!is_open && (!q->origin.size || !http_access_list_has(cors, q->origin)))
        return;
    http_add_header(q, "Access-Control-Allow-Headers", "accept, content-type, authorization");
    http_add_header(q, "Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE");
    http_add_header(q, "Access-Control-Allow-Origin",
                    is_open ? "*" : arena_string(&q->arena, q->origin.data, q->origin.size));
}

/* Never Access-Control-Allow-Credentials: a page of another origin must send a token of its own. */
static void add_native_headers(struct http_request *q)
{
    const char *origins = q->server->options.origins;
    http_add_header(q, "X-Content-Type-Options", "nosniff");
    if (q->is_from_browser)
        http_add_header(q, "Cross-Origin-Resource-Policy", "same-origin");
    if (!origins || !*origins)
        return;
    bool is_open = http_access_allows_all(origins);
    if (!is_open)
        http_add_header(q, "Vary", "Origin");
    if (!q->origin.size || !http_access_list_has(origins, q->origin))
        return;
    if (q->method == HTTP_OPTIONS)
        http_add_header(q, "Access-Control-Max-Age", "600");
    http_add_header(q, "Access-Control-Allow-Headers",
                    "accept, content-type, authorization, if-match, if-none-match, idempotency-key, "
                    "last-event-id, x-cairn-session-key");
    http_add_header(q, "Access-Control-Allow-Methods", "POST, GET, OPTIONS, PUT, DELETE");
    http_add_header(q, "Access-Control-Allow-Origin",
                    is_open ? "*" : arena_string(&q->arena, q->origin.data, q->origin.size));
}

/* Applies the rules for browsers to mounts. False: the request was rejected. */
static bool admit_native(struct http_conn *c, const struct route *route)
{
    struct http_request *q = &c->request;
    q->handler = route->handler; /* it may reject in its own form */
    q->context = route->context;
    struct slice host = http_access_host_name(q->host);
    bool is_read = q->method == HTTP_GET || q->method == HTTP_HEAD;
    if (!c->is_tls && q->is_from_browser && !http_access_is_own_host(host, c->server->options.own_hosts)) {
        refuse_host(q, host);
        return false;
    }
    q->has_body = c->carrier ? !c->is_input_ended : c->is_chunked || c->body_length;
    add_native_headers(q);
    if (!is_read && !http_origin_is_allowed(q)) {
        http_request_refuse(q, 403, "pages of this origin may not write here: see --cors");
        return false;
    }
    return true;
}

bool http_request_admit(struct http_conn *c)
{
    struct http_request *q = &c->request;
    const struct http_options *o = &c->server->options;
    struct slice host = http_access_host_name(q->host);
    if (!c->is_tls && !http_access_allows_all(o->host_whitelist) &&
        !http_access_list_has(o->host_whitelist, host)) {
        refuse_host(q, host);
        return false;
    }
    struct route_match m =
        router_find(c->server->routes, c->server->route_count, q->method, q->path, c->role);
    q->is_native = m.route && (m.route->flags & IS_NATIVE);
    if (!q->is_native)
        add_etcd_cors(q);
    else if (!admit_native(c, m.route))
        return false;
    if (q->method == HTTP_OPTIONS) {
        http_respond(q, 200, NULL, (struct slice){0});
        return false;
    }
    if (m.status == 404 || (!o->enable_gateway && (m.route->flags & IS_GATEWAY))) {
        http_respond_error(q, 404, "404 page not found");
        return false;
    }
    if (m.status == 405) {
        char allow[64];
        router_allow(m.route, allow, sizeof allow);
        http_add_header(q, "Allow", allow);
        http_respond_error(q, 405, "Method Not Allowed");
        return false;
    }
    q->handler = m.route->handler;
    q->context = m.route->context;
    return true;
}

/* --- shared parts of messages ------------------------------------------------------------------------ */

struct http_shared *http_shared_new(struct slice text)
{
    struct http_shared *m = mem_new(sizeof *m);
    m->references = 1;
    m->text = blob_copy(text);
    return m;
}

struct http_shared *http_shared_ref(struct http_shared *m)
{
    m->references++;
    return m;
}

void http_shared_unref(struct http_shared *m)
{
    if (!m || --m->references > 0)
        return;
    blob_unref(m->text);
    blob_unref(m->deflated);
    mem_free(m);
}

/* --- the answer -------------------------------------------------------------------------------------- */

static const char *status_text(int status)
{
    switch (status) {
#define STATUS(code, text)                                                                                   \
    case code:                                                                                               \
        return text;
        STATUS(200, "OK")
        STATUS(301, "Moved Permanently")
        STATUS(304, "Not Modified")
        STATUS(400, "Bad Request")
        STATUS(401, "Unauthorized")
        STATUS(403, "Forbidden")
        STATUS(404, "Not Found")
        STATUS(405, "Method Not Allowed")
        STATUS(409, "Conflict")
        STATUS(410, "Gone")
        STATUS(412, "Precondition Failed")
        STATUS(413, "Request Entity Too Large")
        STATUS(415, "Unsupported Media Type")
        STATUS(421, "Misdirected Request")
        STATUS(422, "Unprocessable Entity")
        STATUS(426, "Upgrade Required")
        STATUS(429, "Too Many Requests")
        STATUS(431, "Request Header Fields Too Large")
        STATUS(499, "status code 499")
        STATUS(500, "Internal Server Error")
        STATUS(501, "Not Implemented")
        STATUS(503, "Service Unavailable")
        STATUS(504, "Gateway Timeout")
        STATUS(505, "HTTP Version Not Supported")
#undef STATUS
    default:
        return "status";
    }
}

void http_add_header(struct http_request *q, const char *name, const char *value)
{
    struct buf *h = &q->headers;
    buf_add_text(h, name);
    buf_add_text(h, ": ");
    for (; *value; value++)
        buf_add_byte(h, *value == '\r' || *value == '\n' ? ' ' : (uint8_t)*value);
    buf_add_text(h, "\r\n");
}

/* The head of an answer. length NULL: not known. */
static void queue_head(struct http_conn *c, int status, const char *type, const size_t *length,
                       enum http_answer answer)
{
    struct http_request *q = &c->request;
    struct buf lines = {0}, *out = c->carrier ? &lines : &c->out;
    if (!c->carrier)
        buf_addf(out, "HTTP/1.1 %d %s\r\n", status, status_text(status));
    buf_add_slice(out, buf_slice(&q->headers));
    if (type)
        buf_addf(out, "Content-Type: %s\r\n", type);
    buf_addf(out, "Date: %s\r\n", http_date(c->server));
    if (!c->carrier && (c->must_close || c->server->is_draining))
        buf_add_text(out, "Connection: close\r\n");
    if (length)
        buf_addf(out, "Content-Length: %zu\r\n", *length);
    else if (answer == HTTP_ANSWER_STREAM && c->knows_chunks)
        buf_add_text(out, "Transfer-Encoding: chunked\r\n");
    if (c->carrier)
        c->carrier->head(c->stream, status, buf_slice(out), answer);
    else
        buf_add_text(out, "\r\n");
    buf_done(&lines);
}

void http_respond(struct http_request *q, int status, const char *type, struct slice text)
{
    struct http_conn *c = conn_of(q);
    assert(c->phase == CONN_REQUEST);
    if (c->is_websocket) {
        if (text.size)
            http_stream_send(q, text);
        http_ws_close(c, WS_NORMAL);
        return;
    }
    bool has_body = !c->is_head && status != 304 && text.size;
    /* In a 304 it would be the length of the body that is not sent. */
    queue_head(c, status, type, status == 304 ? NULL : &text.size,
               has_body ? HTTP_ANSWER_WHOLE : HTTP_ANSWER_EMPTY);
    if (has_body)
        buf_add_slice(&c->out, text);
    http_conn_answered(c);
}

/* The head is written into the room before the text. */
void http_respond_whole(struct http_request *q, int status, const char *type, struct buf *text, size_t room)
{
    struct http_conn *c = conn_of(q);
    struct slice body = slice_of(text->data + room, text->size - room);
    bool is_first = c->out.size == c->out_at && !c->is_websocket && !c->is_head && status != 304;
    if (is_first) {
        c->out.size = c->out_at = 0;
        queue_head(c, status, type, &body.size, HTTP_ANSWER_WHOLE);
    }
    if (is_first && c->out.size <= room) {
        size_t at = room - c->out.size;
        if (c->out.size)
            memcpy(text->data + at, c->out.data, c->out.size);
        buf_done(&c->out);
        c->out = buf_move(text);
        c->out_at = at;
        http_conn_answered(c);
        return;
    }
    if (is_first)
        c->out.size = 0;
    http_respond(q, status, type, body);
    buf_done(text);
}

void http_respond_error(struct http_request *q, int status, const char *text)
{
    if (!q->is_native) /* a mount's answers have it already */
        http_add_header(q, "X-Content-Type-Options", "nosniff");
    size_t n = strlen(text);
    char *line = arena_alloc(&q->arena, n + 2);
    memcpy(line, text, n);
    line[n] = '\n';
    http_respond(q, status, "text/plain; charset=utf-8", slice_of(line, n + 1));
}

void http_charge_output(struct http_request *q, size_t bytes)
{
    q->charged_bytes = bytes;
    http_conn_count_output(conn_of(q));
}

void http_stream_open(struct http_request *q, int status, const char *type)
{
    struct http_conn *c = conn_of(q);
    assert(c->phase == CONN_REQUEST);
    if (c->is_websocket)
        return;
    q->is_stream = true;
    sources_serve(&c->source);
    queue_head(c, status, type, NULL, HTTP_ANSWER_STREAM);
}

void http_stream_open_sized(struct http_request *q, int status, const char *type, size_t size)
{
    struct http_conn *c = conn_of(q);
    assert(c->phase == CONN_REQUEST && !c->is_websocket);
    c->knows_chunks = false; /* its pieces are not chunks */
    queue_head(c, status, type, &size, HTTP_ANSWER_STREAM);
}

/* Sends the pieces after the queued output; bytes that the socket takes at once are not copied. */
static void send_pieces(struct http_conn *c, struct iovec *pieces, size_t count)
{
    size_t taken = http_conn_write_direct(c, pieces, count);
    for (size_t i = 0; i < count; i++) {
        size_t skip = taken < pieces[i].iov_len ? taken : pieces[i].iov_len;
        taken -= skip;
        buf_add(&c->out, (const uint8_t *)pieces[i].iov_base + skip, pieces[i].iov_len - skip);
    }
    if (c->is_held)
        http_conn_count_output(c);
    else
        http_conn_flush(c);
}

static struct iovec part_of(struct slice s)
{
    return (struct iovec){.iov_base = (uint8_t *)(uintptr_t)s.data, .iov_len = s.size};
}

void http_stream_send_shared(struct http_request *q, struct slice head, struct http_shared *shared,
                             struct slice end)
{
    struct http_conn *c = conn_of(q);
    struct slice tail = shared ? blob_slice(shared->text) : (struct slice){0};
    uint8_t room[64];
    assert(c->phase == CONN_REQUEST);
    if (c->is_websocket) {
        struct iovec pieces[4];
        size_t n = http_ws_frame(c, head, shared, end, room, pieces);
        send_pieces(c, pieces, n);
        return;
    }
    if (c->is_head)
        return;
    size_t size = head.size + tail.size + end.size + 1;
    int n = c->knows_chunks ? snprintf((char *)room, sizeof room, "%zx\r\n", size) : 0;
    struct iovec pieces[] = {part_of(slice_of(room, (size_t)n)), part_of(head), part_of(tail), part_of(end),
                             part_of(slice_text(c->knows_chunks ? "\n\r\n" : "\n"))};
    send_pieces(c, pieces, sizeof pieces / sizeof *pieces);
}

void http_stream_send_bytes(struct http_request *q, struct slice bytes)
{
    struct http_conn *c = conn_of(q);
    char size[24];
    assert(c->phase == CONN_REQUEST && !c->is_websocket);
    if (c->is_head || !bytes.size)
        return;
    snprintf(size, sizeof size, "%zx\r\n", bytes.size);
    struct iovec pieces[] = {part_of(slice_text(c->knows_chunks ? size : "")), part_of(bytes),
                             part_of(slice_text(c->knows_chunks ? "\r\n" : ""))};
    send_pieces(c, pieces, sizeof pieces / sizeof *pieces);
}

void http_stream_send(struct http_request *q, struct slice message)
{
    http_stream_send_shared(q, message, NULL, (struct slice){0});
}

void http_stream_send_whole(struct http_request *q, struct buf *text, size_t room)
{
    struct http_conn *c = conn_of(q);
    struct slice message = slice_of(text->data + room, text->size - room);
    size_t queued = c->out.size - c->out_at;
    uint8_t head[64];
    assert(c->phase == CONN_REQUEST);
    if (c->is_head || queued + sizeof head > room) {
        http_stream_send(q, message);
        buf_release(text);
        return;
    }
    size_t n = 0;
    if (c->is_websocket)
        n = ws_frame_head(head, WS_TEXT, message.size);
    else if (c->knows_chunks)
        n = (size_t)snprintf((char *)head, sizeof head, "%zx\r\n", message.size + 1);
    if (!c->is_websocket)
        buf_add_text(text, c->knows_chunks ? "\n\r\n" : "\n");
    size_t at = room - n - queued;
    if (queued)
        memcpy(text->data + at, c->out.data + c->out_at, queued);
    memcpy(text->data + at + queued, head, n);
    buf_done(&c->out);
    c->out = buf_move(text);
    c->out_at = at;
    if (c->is_held)
        http_conn_count_output(c);
    else
        http_conn_flush(c);
}

void http_stream_close(struct http_request *q)
{
    struct http_conn *c = conn_of(q);
    assert(c->phase == CONN_REQUEST);
    if (c->is_websocket) {
        http_ws_close(c, WS_NORMAL);
        return;
    }
    if (!c->is_head && c->knows_chunks)
        buf_add_text(&c->out, "0\r\n\r\n");
    http_conn_answered(c);
}

void http_stream_break(struct http_request *q)
{
    struct http_conn *c = conn_of(q);
    assert(c->phase == CONN_REQUEST && !c->is_websocket);
    c->must_close = c->is_broken = true;
    http_conn_answered(c);
}

void http_stream_end(struct http_request *q, uint16_t ws_status)
{
    struct http_conn *c = conn_of(q);
    c->is_held = false;
    if (c->is_websocket)
        http_ws_close(c, ws_status);
    else
        http_stream_close(q);
}

void http_stream_ping(struct http_request *q)
{
    struct http_conn *c = conn_of(q);
    if (c->is_websocket)
        http_ws_ping(c);
    else
        http_stream_send(q, slice_text(":\n"));
}

void http_stream_hold(struct http_request *q, bool is_held)
{
    struct http_conn *c = conn_of(q);
    c->is_held = is_held;
    if (!is_held && c->out.size)
        http_conn_flush(c);
}

void http_forget_head(struct http_request *q)
{
    struct http_conn *c = conn_of(q);
    q->path = q->query = q->authorization = q->client_api_version = (struct slice){0};
    q->origin = q->host = q->last_event_id = q->accept_encoding = (struct slice){0};
    buf_done(&c->head);
    buf_done(&c->target);
    buf_done(&q->headers);
    arena_done(&q->arena);
    c->is_frugal = true;
}

size_t http_unsent(const struct http_request *q)
{
    const struct http_conn *c = conn_of(q);
    size_t carried = c->carrier ? c->carrier->unsent(c->stream) : 0;
    return c->out.size - c->out_at + c->wire.size - c->wire_at + carried;
}

void http_want_writable(struct http_request *q)
{
    struct http_conn *c = conn_of(q);
    c->was_congested = true;
    http_conn_want_write(c);
}

void http_body_hold(struct http_request *q, bool is_held)
{
    http_conn_hold_body(conn_of(q), is_held);
}

bool http_is_congested(const struct http_request *q)
{
    struct http_conn *c = conn_of(q);
    bool is_full = http_unsent(q) >= CONGESTED_BYTES || (c->carrier && c->carrier->is_congested(c->stream));
    if (is_full && !c->was_congested) {
        c->was_congested = true;
        http_conn_want_write(c);
    }
    return is_full;
}
