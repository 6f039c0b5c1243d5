/* SPDX-License-Identifier: Apache-2.0
 * WebSockets: the upgrade, and messages between frames and handlers. A handler's body pieces are received
 * messages; what it sends are text frames. As in etcd's proxy for its gateway:
 *
 *   - the upgrade is a GET but counts as a POST;
 *   - the token may be a subprotocol ("Bearer, <token>", because browsers cannot set headers) or the
 *     cookie `token`.
 *
 * Unlike etcd, an Origin that --cors does not allow is rejected, and a cookie counts only for pages of
 * this server. Otherwise any page that the user visits could act in the user's name. */
#include <stdio.h>

#include "base/text.h"
#include "server/http/access.h"
#include "server/http/conn.h"

enum { DEFLATE_BYTES_MIN = 200 }; /* smaller messages are not compressed */

/* --- the upgrade ------------------------------------------------------------------------------------- */

static struct slice cookie_token(const struct http_head *head)
{
    struct slice all;
    if (!http_head_field(head, "cookie", &all, NULL))
        return (struct slice){0};
    while (all.size) {
        const uint8_t *end = memchr(all.data, ';', all.size);
        size_t n = end ? (size_t)(end - all.data) : all.size;
        struct slice one = slice_of(all.data, n);
        while (one.size && *one.data == ' ')
            one = slice_of(one.data + 1, one.size - 1);
        if (one.size > 6 && memcmp(one.data, "token=", 6) == 0)
            return slice_of(one.data + 6, one.size - 6);
        n += end != NULL;
        all = slice_of(all.data + n, all.size - n);
    }
    return (struct slice){0};
}

static bool is_own_page(const struct http_request *q)
{
    return !q->origin.size || http_access_is_same_origin(q->origin, q->host);
}

/* True: the client offered "Bearer, <token>", so the response must select "Bearer". */
static bool read_token(struct http_request *q, const struct http_head *head)
{
    struct slice protocols, cookie = cookie_token(head);
    bool is_bearer = http_head_field(head, "sec-websocket-protocol", &protocols, NULL) &&
                     protocols.size > 7 && memcmp(protocols.data, "Bearer,", 7) == 0;
    if (is_bearer) {
        struct slice token = slice_of(protocols.data + 7, protocols.size - 7);
        while (token.size && *token.data == ' ')
            token = slice_of(token.data + 1, token.size - 1);
        q->authorization = token;
    }
    if (cookie.size && is_own_page(q))
        q->authorization = cookie;
    return is_bearer;
}

/* The subprotocol to select in the response, or NULL. */
static const char *choose_protocol(struct http_request *q, const struct http_head *head)
{
    struct slice offered;
    const char *spoken = q->handler->subprotocol;
    if (!spoken)
        return read_token(q, head) ? "Bearer" : NULL;
    return http_head_field(head, "sec-websocket-protocol", &offered, NULL) && http_list_has(offered, spoken)
               ? spoken
               : NULL;
}

/* The answer to an extended CONNECT: no key, and 200 in place of 101 (RFC 8441, 5). */
static void answer_connect(struct http_conn *c, const char *protocol)
{
    struct buf lines = {0};
    if (protocol)
        buf_addf(&lines, "Sec-WebSocket-Protocol: %s\r\n", protocol);
    if (c->is_deflated)
        buf_add_text(&lines, "Sec-WebSocket-Extensions: " DEFLATE_ANSWER "\r\n");
    c->carrier->head(c->stream, 200, buf_slice(&lines), HTTP_ANSWER_STREAM);
    buf_done(&lines);
}

static void answer_upgrade(struct http_conn *c, struct slice key, const struct http_head *head)
{
    const char *protocol = choose_protocol(&c->request, head);
    struct slice extensions;
    c->is_deflated = c->request.handler->takes_deflate &&
                     http_head_field(head, "sec-websocket-extensions", &extensions, NULL) &&
                     deflate_is_offered(extensions);
    c->ws.takes_deflate = c->is_deflated;
    if (c->carrier) {
        answer_connect(c, protocol);
        return;
    }
    buf_add_text(&c->out, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Accept: ");
    ws_accept_key(key, &c->out);
    if (protocol)
        buf_addf(&c->out, "\r\nSec-WebSocket-Protocol: %s", protocol);
    if (c->is_deflated)
        buf_add_text(&c->out, "\r\nSec-WebSocket-Extensions: " DEFLATE_ANSWER);
    buf_add_text(&c->out, "\r\n\r\n");
}

static bool is_upgrade(const struct http_head *head)
{
    struct slice upgrade, connection;
    if (head->is_connect)
        return true;
    return head->method == HTTP_GET && head->is_http11 && http_head_field(head, "upgrade", &upgrade, NULL) &&
           http_text_is(upgrade, "websocket") && http_head_field(head, "connection", &connection, NULL) &&
           http_list_has(connection, "upgrade");
}

bool http_ws_upgrade(struct http_conn *c, const struct http_head *head)
{
    struct http_request *q = &c->request;
    struct slice version, key = {0};
    if (!is_upgrade(head))
        return false;
    struct route_match m =
        router_find(c->server->routes, c->server->route_count, HTTP_POST, q->path, c->role);
    c->must_close = true;
    http_head_field(head, "sec-websocket-key", &key, NULL);
    if (!(m.route->flags & TAKES_WEBSOCKET)) {
        http_respond_error(q, 400, "no WebSocket is served here");
    } else if (!http_head_field(head, "sec-websocket-version", &version, NULL) ||
               !http_text_is(version, "13")) {
        http_add_header(q, "Sec-WebSocket-Version", "13");
        http_respond_error(q, head->is_connect ? 400 : 426, /* HTTP/2 has no Upgrade field */
                           "only version 13 of the WebSocket protocol is served");
    } else if (!head->is_connect && key.size != 24) {
        http_respond_error(q, 400, "Sec-WebSocket-Key is not 24 characters long");
    } else if (!http_origin_is_allowed(q)) {
        http_respond_error(q, 403, "pages of this origin must not open a stream: see --cors");
    } else if (c->server->is_draining) {
        http_respond_error(q, 503, "the server is going down");
    } else {
        answer_upgrade(c, key, head);
        c->is_websocket = q->is_websocket = true;
        c->is_served = true;
        sources_serve(&c->source);
        q->method = HTTP_POST;
        buf_done(&q->headers);
    }
    return true;
}

/* --- frames ------------------------------------------------------------------------------------------ */

static struct iovec piece_of(struct slice s)
{
    return (struct iovec){.iov_base = (uint8_t *)(uintptr_t)s.data, .iov_len = s.size};
}

/* The compressed shared part; NULL: it is too small, or the connection does not use compression. */
static struct blob *deflated(struct http_conn *c, size_t head_size, struct http_shared *shared)
{
    if (!c->is_deflated || !shared || shared->is_incompressible || head_size > 0xffff)
        return NULL;
    if (!shared->deflated) {
        struct buf packed = {0};
        struct slice text = blob_slice(shared->text);
        if (text.size >= DEFLATE_BYTES_MIN)
            deflate_pack(&c->server->deflater, text, &packed);
        shared->is_incompressible = packed.size == 0 || packed.size + DEFLATE_STORED_HEAD >= text.size;
        if (!shared->is_incompressible)
            shared->deflated = blob_copy(buf_slice(&packed));
        buf_done(&packed);
    }
    return shared->deflated;
}

/* A compressed message is a stored block with the connection's own head, followed by the shared blocks. */
size_t http_ws_frame(struct http_conn *c, struct slice head, struct http_shared *shared, struct slice end,
                     uint8_t *room, struct iovec *ret_pieces)
{
    struct blob *packed = end.size ? NULL : deflated(c, head.size, shared);
    struct slice tail = blob_slice(packed ? packed : shared ? shared->text : NULL);
    size_t stored = packed && head.size ? DEFLATE_STORED_HEAD : 0;
    size_t n = ws_frame_head(room, WS_TEXT | (packed ? WS_IS_DEFLATED : 0u),
                             stored + head.size + tail.size + end.size);
    if (stored)
        deflate_stored_head(room + n, head.size);
    ret_pieces[0] = piece_of(slice_of(room, n + stored));
    ret_pieces[1] = piece_of(head);
    ret_pieces[2] = piece_of(tail);
    ret_pieces[3] = piece_of(end);
    return 4;
}

static void queue_frame(struct http_conn *c, enum ws_opcode opcode, struct slice payload)
{
    uint8_t head[WS_HEAD_MAX];
    buf_add(&c->out, head, ws_frame_head(head, opcode, payload.size));
    buf_add_slice(&c->out, payload);
}

void http_ws_ping(struct http_conn *c)
{
    queue_frame(c, WS_PING, (struct slice){0});
    http_conn_flush(c);
}

/* After this only the client's close frame counts; the connection waits for it. */
void http_ws_close(struct http_conn *c, uint16_t status)
{
    uint8_t payload[2] = {(uint8_t)(status >> 8), (uint8_t)status};
    queue_frame(c, WS_CLOSE, slice_of(payload, status == WS_NO_STATUS ? 0 : 2));
    c->must_close = c->has_body_ended = true;
    http_conn_answered(c);
}

/* The client has ended its side without a close frame. */
void http_ws_end(struct http_conn *c)
{
    http_conn_notify_gone(c);
    c->has_body_ended = true;
    http_conn_answered(c);
}

/* Returns 0, or the status to close with. */
static uint16_t http_ws_on_message(struct http_conn *c, size_t limit)
{
    struct http_request *q = &c->request;
    struct buf message = buf_move(&q->body);
    uint16_t status = 0;
    if (c->ws.is_deflated) {
        struct buf text = {0};
        int err = deflate_unpack(&c->server->deflater, buf_slice(&message), limit, &text);
        buf_done(&message);
        message = buf_move(&text);
        if (err)
            status = err == ERR_LIMIT ? WS_TOO_LARGE : WS_BAD_TEXT;
        else if (!utf8_is_valid(buf_slice(&message))) /* compressed binary messages are not accepted */
            status = WS_BAD_TEXT;
    }
    if (!status) {
        http_conn_account_work(c);
        q->handler->body(q, buf_slice(&message));
    }
    buf_done(&message);
    return status;
}

/* Handles messages until the input or the turn's time ends, or the client has too much unread output. */
void http_ws_receive(struct http_conn *c, struct slice *in)
{
    size_t limit = c->request.message_bytes_max;
    uint16_t status = 0;
    if (!limit)
        limit = (size_t)c->server->options.request_bytes_max + 512 * 1024;
    c->is_pinged = false;
    while (c->phase == CONN_REQUEST && !c->is_body_held && !http_conn_is_backlogged(c)) {
        switch (ws_parse(&c->ws, in, &c->request.body, limit, &status)) {
        case WS_EVENT_NONE:
            return;
        case WS_EVENT_MESSAGE:
            status = http_ws_on_message(c, limit);
            if (!status)
                break;
            http_conn_notify_gone(c);
            http_ws_close(c, status);
            break;
        case WS_EVENT_PING:
            queue_frame(c, WS_PONG, slice_of(c->ws.control, c->ws.control_size));
            break;
        case WS_EVENT_PONG:
            break;
        case WS_EVENT_CLOSE:
        case WS_EVENT_ERROR:
            http_conn_notify_gone(c);
            http_ws_close(c, status);
            break;
        }
        if (turn_is_spent())
            break; /* conn.c waits for the next turn */
    }
    if (c->phase != CONN_REQUEST)
        *in = (struct slice){0}; /* input after our close frame is ignored */
}
