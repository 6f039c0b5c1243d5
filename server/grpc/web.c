/* SPDX-License-Identifier: Apache-2.0
 * A stream that is no call: a request of HTTP, which server/http answers (server/http/carrier.h).
 *
 *   fields --call_begin--> web_begin --> web_open --> the carrier's functions below --> h2_write.c
 *                             `--held while the connection has too many unread answers--^
 *
 * Fields are kept as they come, because the content type, which decides, may be the last. A request for a method
 * of gRPC keeps none after the path: HTTP has no such page.
 *
 * A request that breaks a rule of RFC 9113 (8.1.1) is reset; one that HTTP/1.1 would reject is rejected in the
 * same way there. Windows open when server/http has used the bytes. */
#include <strings.h>

#include "base/net/tls.h"
#include "base/text.h"
#include "base/turn.h"
#include "server/grpc/private.h"

enum {
    FIELD_HEAD = 6,                  /* sizes of name and value */
    WEB_HEAD_MAX = 16 * 1024 + 1024, /* bytes of fields, as in HTTP/1.1; then 431 */
    WEB_CONGESTED = 64 << 10,        /* unsent bytes of a stream: HTTP/1.1's limit */
    WEB_DISCARD_MS = 10000,
    WEB_COPIED_MAX = 4 << 10, /* pieces up to this size are copied into the queue */
    PSEUDO_METHOD = 1,
    PSEUDO_SCHEME = 2,
    PSEUDO_PATH = 4,
    PSEUDO_AUTHORITY = 8,
    PSEUDO_PROTOCOL = 16, /* of an extended CONNECT (RFC 8441) */
    PSEUDO_NEEDED = PSEUDO_METHOD | PSEUDO_SCHEME | PSEUDO_PATH,
};

static const struct http_carrier carrier;

static const struct http_carried *http_of(const struct grpc_call *call)
{
    return call->conn->server->carried;
}

/* --- the request's fields ------------------------------------------------------------------------------ */
static bool is_text(struct slice s, const char *text)
{
    size_t n = strlen(text);
    return s.size == n && memcmp(s.data, text, n) == 0;
}

/* The bit of a pseudo-header field, 0 = unknown. */
static unsigned pseudo_of(struct slice name)
{
    switch (name.size) {
    case 5:
        return is_text(name, ":path") ? PSEUDO_PATH : 0;
    case 7:
        return is_text(name, ":method") ? PSEUDO_METHOD : is_text(name, ":scheme") ? PSEUDO_SCHEME : 0;
    case 9:
        return is_text(name, ":protocol") ? PSEUDO_PROTOCOL : 0;
    case 10:
        return is_text(name, ":authority") ? PSEUDO_AUTHORITY : 0;
    default:
        return 0;
    }
}

static bool has_capital(struct slice name)
{
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] >= 'A' && name.data[i] <= 'Z')
            return true;
    return false;
}

bool web_takes_websockets(const struct grpc_conn *c)
{
    return c->server->http && (c->serves == GRPC_AND_HTTP || c->serves == GRPC_HTTP_ALONE);
}

/* The rules for pseudo-header fields, which hold for calls too, as with grpc-go. */
static bool check_name(struct grpc_call *call, struct slice name)
{
    if (name.size == 0 || name.data[0] != ':') {
        call->has_regular = true;
        return name.size > 0;
    }
    unsigned bit = pseudo_of(name);
    if (!bit || (call->pseudo & bit) || call->has_regular)
        return false;
    if (bit == PSEUDO_PROTOCOL && !web_takes_websockets(call->conn))
        return false;
    call->pseudo |= (uint8_t)bit;
    return true;
}

void web_field(struct grpc_call *call, struct slice name, struct slice value)
{
    struct buf *b = &call->fields;
    if (!check_name(call, name))
        call->is_malformed = true;
    if (call->conn->serves == GRPC_ALONE || call->rpc.method)
        return;
    if (b->size + FIELD_HEAD + name.size + value.size > WEB_HEAD_MAX || name.size > UINT16_MAX) {
        call->is_head_too_large = true;
        return;
    }
    uint8_t *p = buf_reserve(b, FIELD_HEAD + name.size + value.size);
    uint16_t n = (uint16_t)name.size;
    uint32_t v = (uint32_t)value.size;
    memcpy(p, &n, sizeof n);
    memcpy(p + 2, &v, sizeof v);
    memcpy(p + FIELD_HEAD, name.data, n);
    if (v)
        memcpy(p + FIELD_HEAD + n, value.data, v);
    b->size += FIELD_HEAD + n + v;
}

bool web_takes(const struct grpc_call *call)
{
    const struct grpc_conn *c = call->conn;
    if (!c->server->http || c->serves == GRPC_ALONE)
        return false;
    return c->serves != GRPC_AND_HTTP || !call->is_any_grpc;
}

/* The next field of call->fields from *at on. */
static bool next_field(const struct grpc_call *call, size_t *at, struct slice *ret_name,
                       struct slice *ret_value)
{
    const struct buf *b = &call->fields;
    uint16_t n;
    uint32_t v;
    if (*at >= b->size)
        return false;
    memcpy(&n, b->data + *at, sizeof n);
    memcpy(&v, b->data + *at + 2, sizeof v);
    *ret_name = slice_of(b->data + *at + FIELD_HEAD, n);
    *ret_value = slice_of(b->data + *at + FIELD_HEAD + n, v);
    *at += FIELD_HEAD + n + v;
    return true;
}

/* Fields that belong to a connection of HTTP/1.1 (RFC 9113, 8.2.2). */
static bool is_of_connection(struct slice name, struct slice value)
{
    return is_text(name, "connection") || is_text(name, "keep-alive") || is_text(name, "proxy-connection") ||
           is_text(name, "transfer-encoding") || is_text(name, "upgrade") ||
           (is_text(name, "te") && !is_text(value, "trailers"));
}

static bool breaks_line(struct slice s)
{
    return s.size &&
           (memchr(s.data, 0, s.size) || memchr(s.data, '\r', s.size) || memchr(s.data, '\n', s.size));
}

/* 0, an HTTP status, or ERR_MALFORMED. */
static int read_field(struct grpc_call *call, struct http_head *head, struct slice name, struct slice value)
{
    if (has_capital(name) || breaks_line(value) || is_of_connection(name, value))
        return ERR_MALFORMED;
    if (name.data[0] != ':') {
        if (is_text(name, "host") && (call->pseudo & PSEUDO_AUTHORITY))
            return 0; /* :authority goes before it */
        if (is_text(name, "content-length") && (call->pseudo & PSEUDO_PROTOCOL))
            return ERR_MALFORMED; /* a CONNECT has no content */
        if (is_text(name, "content-length") && text_to_u64(value, &call->length_left) == 0)
            call->has_length = true;
        return http_head_add(head, name, value);
    }
    switch (pseudo_of(name)) {
    case PSEUDO_METHOD:
        head->is_connect = (call->pseudo & PSEUDO_PROTOCOL) && is_text(value, "CONNECT");
        if (head->is_connect) {
            head->method = HTTP_GET; /* which it is over HTTP/1.1 */
            return 0;
        }
        return http_method_parse(value, &head->method);
    case PSEUDO_PATH:
        head->target = value;
        return value.size ? 0 : ERR_MALFORMED;
    case PSEUDO_AUTHORITY:
        return http_head_add(head, slice_text("host"), value);
    case PSEUDO_PROTOCOL:
        return http_text_is(value, "websocket") ? 0 : 501;
    default:
        return 0;
    }
}

/* Cookies may come in several fields (RFC 9113, 8.2.3): joined at the end of text. */
static void join_cookies(struct http_head *head, struct buf *text)
{
    size_t kept = 0, first = SIZE_MAX, begin = text->size;
    for (size_t i = 0; i < head->count; i++) {
        if (!is_text(head->fields[i].name, "cookie")) {
            head->fields[kept++] = head->fields[i];
            continue;
        }
        if (first != SIZE_MAX)
            buf_add_text(text, "; ");
        buf_add_slice(text, head->fields[i].value);
        if (first == SIZE_MAX) {
            first = kept;
            head->fields[kept++] = head->fields[i];
        }
    }
    head->count = kept;
    if (first != SIZE_MAX)
        head->fields[first].value = slice_of(text->data + begin, text->size - begin);
}

/* Makes the head of the fields. The same values as read_field. */
static int web_read_head(struct grpc_call *call, struct http_head *head, struct buf *text)
{
    struct slice name, value;
    int status = 0;
    /* Room for the joined cookies: the bytes must not move while head points to them. */
    buf_reserve(text, call->fields.size * 2 + HTTP_FIELDS_MAX * 2);
    buf_add_slice(text, buf_slice(&call->fields));
    for (size_t at = 0; next_field(call, &at, &name, &value);) {
        const uint8_t *base = call->fields.data;
        name = slice_of(text->data + (name.data - base), name.size);
        value = slice_of(text->data + (value.data - base), value.size);
        int rc = read_field(call, head, name, value);
        if (rc < 0)
            return rc;
        if (rc && !status)
            status = rc;
    }
    if (call->rpc.method && !status) /* its fields were not kept: no page has this path */
        status = http_head_add(head, slice_text("host"), slice_text("localhost"));
    head->is_http11 = true;
    join_cookies(head, text);
    bool is_extended = call->pseudo & PSEUDO_PROTOCOL;
    if (is_extended && !head->is_connect && !call->rpc.method)
        return ERR_MALFORMED; /* only a CONNECT has :protocol */
    bool is_connect =
        !is_extended && !head->target.size && status == 501; /* it has neither path nor scheme */
    if ((call->pseudo & PSEUDO_NEEDED) != PSEUDO_NEEDED && !is_connect)
        return call->is_head_too_large ? 431 : ERR_MALFORMED;
    return call->is_head_too_large ? 431 : status;
}

/* --- the request --------------------------------------------------------------------------------------- */
static enum http_role role_of(const struct grpc_conn *c)
{
    return c->serves == GRPC_METRICS_ALONE ? HTTP_METRICS_ONLY : HTTP_ALL;
}

static bool web_fail(struct grpc_call *call, enum h2_error error)
{
    h2_fail_stream(call->conn, call->stream_id, error);
    return false;
}

bool web_begin(struct grpc_call *call)
{
    struct grpc_conn *c = call->conn;
    call->is_web = true;
    call->state = CALL_RUNNING;
    if (!c->is_unary_over)
        return web_open(call);
    if (!call_hold_bytes(call, call->fields.size))
        return web_fail(call, H2_REFUSED_STREAM);
    call->is_held = true;
    list_add_last(&c->held, &call->wait);
    return true;
}

bool web_open(struct grpc_call *call)
{
    struct grpc_conn *c = call->conn;
    struct http_head head = {0};
    struct buf text = {0}, waited = buf_move(&call->in);
    turn_enter(TURN_HTTP_REQUEST);
    call_drop_partial(call);
    int status = web_read_head(call, &head, &text);
    buf_clear(&call->fields);
    c->has_read_large = true; /* it may have cost a large part of the turn */
    bool is_short = call->has_length && call->ends_in_block && call->length_left;
    if (status < 0 || is_short) {
        buf_done(&text);
        buf_done(&waited);
        return web_fail(call, H2_PROTOCOL_ERROR);
    }
    struct http_carried_options options = {
        .carrier = &carrier,
        .stream = call,
        .role = role_of(c),
        .is_tls = c->tls,
        .peer = c->peer,
        .common_name = c->tls ? tls_peer_name(c->tls) : "",
        .source = source_conn_id(&c->source),
    };
    call->web = http_of(call)->open(c->server->http, &options);
    http_of(call)->begin(call->web, &text, &head, status, !call->ends_in_block);
    if (waited.size)
        http_of(call)->body(call->web, buf_slice(&waited));
    buf_done(&waited);
    if (call->is_half_closed)
        http_of(call)->body_end(call->web);
    turn_enter(TURN_GRPC_CALL);
    return true;
}

static void discard(struct grpc_call *call, size_t size)
{
    call->consumed += (uint32_t)size;
    if (call->consumed > STREAM_WINDOW)
        h2_reset(call, H2_NO_ERROR);
}

void web_data(struct grpc_call *call, struct slice chunk)
{
    if (call->state != CALL_RUNNING) {
        if (call->is_web_sent)
            discard(call, chunk.size);
        return;
    }
    if (call->has_length && chunk.size > call->length_left) {
        web_fail(call, H2_PROTOCOL_ERROR);
        return;
    }
    call->length_left -= call->has_length ? chunk.size : 0;
    call->conn->has_read_large = true;
    if (call->web) {
        turn_enter(TURN_HTTP_REQUEST);
        http_of(call)->body(call->web, chunk);
        turn_enter(TURN_GRPC_CALL);
    } else if (!call_hold_bytes(call, chunk.size)) {
        web_fail(call, H2_REFUSED_STREAM);
    } else {
        buf_add_slice(&call->in, chunk);
    }
}

void web_half_close(struct grpc_call *call)
{
    call->is_half_closed = true;
    sources_serve(&call->conn->source);
    if (call->is_web_sent) {
        call_free(call);
        return;
    }
    if (call->has_length && call->length_left && call->state == CALL_RUNNING) {
        web_fail(call, H2_PROTOCOL_ERROR);
    } else if (call->web) {
        turn_enter(TURN_HTTP_REQUEST);
        http_of(call)->body_end(call->web);
        turn_enter(TURN_GRPC_CALL);
    }
}

void web_taken(struct grpc_call *call, size_t size)
{
    if (call->web)
        http_of(call)->took(call->web, size);
    if (call->is_web_stream && call->out.size == 0)
        buf_done(&call->out); /* it may be idle for days */
}

void web_writable(struct grpc_call *call)
{
    if (call->web && call->state == CALL_RUNNING)
        http_of(call)->writable(call->web);
}

void web_free(struct grpc_call *call)
{
    struct http_conn *web = call->web;
    call->web = NULL;
    if (web)
        http_of(call)->free(web);
    buf_done(&call->head);
}

/* The rest of the body is discarded for a while: some clients (curl 7.88) take a reset that comes while they send for
 * an error, although they have the answer. The stream's window is not opened again, so that all that a client has
 * on the way fits into it; a client that sends more is reset. */
void web_sent(struct grpc_call *call)
{
    if (call->is_half_closed) {
        call_free(call);
        return;
    }
    call->is_web_sent = true;
    call->consumed = 0;
    web_free(call);
    server_timer_set(call->conn->server, &call->deadline, server_now(call->conn->server) + WEB_DISCARD_MS);
}

/* --- the answer: functions of the carrier -------------------------------------------------------------- */
static void add_status(struct buf *block, int status)
{
    static const uint16_t known[] = {200, 204, 206, 304, 400, 404, 500}; /* 8 to 14 of the static table */
    char text[8];
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i] == status) {
            buf_add_byte(block, (uint8_t)(0x80 | (8 + i)));
            return;
        }
    snprintf(text, sizeof text, "%d", status);
    hpack_add_literal(block, ":status", slice_text(text));
}

/* Lines of HTTP/1.1 as fields: names in lower case. */
static void add_lines(struct buf *block, struct slice lines)
{
    char name[64];
    while (lines.size) {
        const uint8_t *end = memchr(lines.data, '\r', lines.size);
        const uint8_t *colon = end ? memchr(lines.data, ':', (size_t)(end - lines.data)) : NULL;
        if (!colon || colon + 2 > end || (size_t)(colon - lines.data) >= sizeof name)
            return;
        size_t n = (size_t)(colon - lines.data);
        for (size_t i = 0; i < n; i++) {
            uint8_t b = lines.data[i];
            name[i] = (char)(b >= 'A' && b <= 'Z' ? b + 32 : b);
        }
        name[n] = 0;
        hpack_add_literal(block, name, slice_of(colon + 2, (size_t)(end - colon) - 2));
        lines = slice_of(end + 2, lines.size - (size_t)(end + 2 - lines.data));
    }
}

static void on_head(void *stream, int status, struct slice lines, enum http_answer answer)
{
    struct grpc_call *call = stream;
    struct buf block = {0};
    add_status(&block, status);
    add_lines(&block, lines);
    conn_touch(call->conn);
    if (answer == HTTP_ANSWER_INTERIM) {
        h2_add_block(call->conn, call->stream_id, 0, buf_slice(&block));
        buf_done(&block);
        return;
    }
    call->head = block;
    call->is_web_empty = answer == HTTP_ANSWER_EMPTY;
    call->is_web_stream = answer == HTTP_ANSWER_STREAM;
    if (call->is_web_stream)
        sources_serve(&call->conn->source);
    h2_answer(call);
}

static void on_send(void *stream, struct buf *bytes, size_t at)
{
    struct grpc_call *call = stream;
    size_t size = bytes->size - at;
    struct buf *out = call->next.size ? &call->next : &call->out;
    if (out->size == 0 && size > WEB_COPIED_MAX) {
        buf_done(out);
        *out = buf_move(bytes);
        if (out == &call->out)
            call->out_at = at;
    } else {
        if (call->out_at > call->out.size / 2) {
            buf_consume(&call->out, call->out_at);
            call->out_at = 0;
        }
        buf_add(out, bytes->data + at, size);
        buf_clear(bytes);
    }
    call_queue(call, size);
    h2_answer(call);
    conn_touch(call->conn);
}

static void on_end(void *stream, bool is_whole)
{
    struct grpc_call *call = stream;
    call->state = CALL_ANSWERED;
    call->is_web_broken = !is_whole;
    h2_answer(call);
    conn_touch(call->conn);
}

static void on_reset(void *stream)
{
    struct grpc_call *call = stream;
    struct grpc_conn *c = call->conn;
    h2_reset(call, H2_CANCEL);
    conn_touch(c);
}

static void on_consumed(void *stream, size_t size)
{
    struct grpc_call *call = stream;
    call->consumed += (uint32_t)size;
    if (call->consumed < STREAM_WINDOW / 2 || call->is_half_closed)
        return;
    h2_give_window(call->conn, call->stream_id, call->consumed);
    call->received -= call->consumed;
    call->consumed = 0;
    conn_touch(call->conn);
}

static size_t on_unsent(const void *stream)
{
    return call_unsent(stream);
}

static bool on_is_congested(const void *stream)
{
    const struct grpc_call *call = stream;
    return call->conn->is_over || call_unsent(call) >= call_queue_max(call->conn->server);
}

/* Woken by call_wake_all; without unsent bytes of its own when the connection has fewer. */
static void on_want_writable(void *stream)
{
    struct grpc_call *call = stream;
    if (call->is_full || call_unsent(call) == 0)
        return;
    call->is_full = true;
    list_add_last(&call->conn->full, &call->wait);
}

static const struct http_carrier carrier = {
    .head = on_head,
    .send = on_send,
    .end = on_end,
    .reset = on_reset,
    .consumed = on_consumed,
    .unsent = on_unsent,
    .is_congested = on_is_congested,
    .want_writable = on_want_writable,
};
