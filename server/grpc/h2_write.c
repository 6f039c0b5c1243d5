/* SPDX-License-Identifier: Apache-2.0
 * Frames to a client. Control frames (SETTINGS, PING, resets, errors) are bytes in h2.out and go first. Answers
 * are made when they are pulled from the queues of their calls: HEADERS, DATA, trailers, straight into the
 * buffer of the socket's write.
 *
 * A call with output is in one of these places:
 *   - `ready`: it is served in turn, one DATA frame at a time
 *   - `starved`: the connection's window is used up
 *   - in no list: its own window is used up, or all output is sent */
#include <assert.h>
#include <stdio.h>

#include "server/grpc/private.h"

void h2_wake(struct grpc_call *call)
{
    bool has_something = call->out.size > call->out_at || call->state == CALL_ANSWERED || !call->is_begun;
    if (call->is_submitted && has_something && !link_is_in_list(&call->ready))
        list_add_last(&call->conn->h2.ready, &call->ready);
}

void h2_answer(struct grpc_call *call)
{
    call->is_submitted = true;
    h2_wake(call);
}

void h2_answer_error(struct grpc_call *call, const char *http_status)
{
    assert(!call->is_submitted);
    call->error_status = http_status;
    h2_answer(call);
}

/* --- one call ------------------------------------------------------------------------------------------ */
/* RST_STREAM is needed when the server ends a stream before its client has. */
static void end_stream(struct grpc_call *call)
{
    if (call->is_half_closed)
        call_free(call);
    else
        h2_reset(call, H2_NO_ERROR);
}

/* Writes the error status, and the response headers if nothing has been sent yet. */
static void add_error(struct grpc_call *call)
{
    struct buf block = {0};
    char status[16];
    if (call->error_status) {
        hpack_add_literal(&block, ":status", slice_text(call->error_status));
        hpack_add_literal(&block, "content-type",
                          slice_text(call->is_proto_type ? "application/grpc+proto" : "application/grpc"));
    }
    snprintf(status, sizeof status, "%d", call->status);
    hpack_add_literal(&block, "grpc-status", slice_text(status));
    if (call->status_text.size)
        hpack_add_literal(&block, "grpc-message", buf_slice(&call->status_text));
    h2_add_block(call->conn, call->stream_id, FRAME_END_STREAM, buf_slice(&block));
    buf_done(&block);
}

/* Returns how much of `left` fits into one frame now. 0: the call waits for a window. */
static size_t frame_room(struct grpc_call *call, size_t left)
{
    struct h2 *h = &call->conn->h2;
    int64_t n = left < FRAME_MAX ? (int64_t)left : FRAME_MAX;
    if (call->window < n)
        n = call->window;
    if (n > 0 && h->window < n)
        n = h->window;
    if (n > 0)
        return (size_t)n;
    if (call->window > 0)
        list_add_last(&h->starved, &call->ready);
    return 0;
}

/* One DATA frame of n bytes; flags: FRAME_END_STREAM or 0. */
static uint8_t *add_data(struct grpc_call *call, uint8_t *p, size_t n, uint8_t flags)
{
    frame_write_head(p, (struct frame){(uint32_t)n, FRAME_DATA, flags, call->stream_id});
    if (n)
        memcpy(p + FRAME_HEAD, call->out.data + call->out_at, n);
    call->conn->h2.window -= (int64_t)n;
    call->window -= (int64_t)n;
    call_taken(call, n);
    return p + FRAME_HEAD + n;
}

/* The head of a request of HTTP. It goes out with the control frames, so its DATA must wait until these are out. */
static void send_web_head(struct grpc_call *call)
{
    bool is_end = call->is_web_empty && call->state == CALL_ANSWERED;
    h2_add_block(call->conn, call->stream_id, is_end ? FRAME_END_STREAM : 0, buf_slice(&call->head));
    buf_done(&call->head);
    call->is_begun = true;
    if (is_end)
        web_sent(call);
    else
        list_add_first(&call->conn->h2.ready, &call->ready);
}

/* Serves one request of HTTP: its head, or at most one DATA frame. */
static uint8_t *send_web(struct grpc_call *call, uint8_t *p)
{
    if (call->is_web_sent)
        return p; /* a WINDOW_UPDATE has woken it */
    if (!call->is_begun) {
        send_web_head(call);
        return p;
    }
    size_t left = call->out.size - call->out_at;
    bool is_whole = call->state == CALL_ANSWERED && !call->is_web_broken;
    if (left) {
        size_t n = frame_room(call, left);
        if (n == 0)
            return p;
        bool is_last = is_whole && n == left && !call->next.size;
        p = add_data(call, p, n, is_last ? FRAME_END_STREAM : 0);
        if (is_last)
            web_sent(call);
        else if (call->out.size || call->state == CALL_ANSWERED)
            list_add_last(&call->conn->h2.ready, &call->ready);
        return p;
    }
    if (is_whole) {
        p = add_data(call, p, 0, FRAME_END_STREAM);
        web_sent(call);
    } else if (call->is_web_broken) {
        h2_reset(call, H2_INTERNAL_ERROR);
    }
    return p;
}

/* Serves one call: at most one DATA frame. */
static uint8_t *send_call(struct grpc_call *call, uint8_t *p)
{
    struct h2 *h = &call->conn->h2;
    if (call->is_web)
        return send_web(call, p);
    if (call->error_status) {
        add_error(call);
        end_stream(call);
        return p;
    }
    if (!call->is_begun)
        p += frame_write_headers_ok(p, &h->hpack_sent, call->stream_id, call->is_proto_type);
    call->is_begun = true;
    size_t left = call->out.size - call->out_at;
    if (left) {
        size_t n = frame_room(call, left);
        if (n == 0)
            return p;
        p = add_data(call, p, n, 0);
        if (call->out.size) { /* of it, or of `next` */
            list_add_last(&h->ready, &call->ready);
            return p;
        }
    }
    if (call->state != CALL_ANSWERED)
        return p;
    if (call->status == 0 && !call->status_text.size)
        p += frame_write_trailers_ok(p, &h->hpack_sent, call->stream_id);
    else
        add_error(call);
    end_stream(call);
    return p;
}

/* --- all of them --------------------------------------------------------------------------------------- */
static uint8_t *send_rare(struct grpc_conn *c, uint8_t *p, const uint8_t *end)
{
    struct h2 *h = &c->h2;
    size_t left = h->out.size - h->out_at, room = (size_t)(end - p), n = left < room ? left : room;
    memcpy(p, h->out.data + h->out_at, n);
    h->out_at += n;
    if (h->out_at == h->out.size) {
        h->out_at = 0;
        if (h->out.capacity > KEPT_FRAME_MAX)
            buf_done(&h->out);
        else
            buf_clear(&h->out);
    }
    return p + n;
}

size_t h2_pull(struct grpc_conn *c, uint8_t *to, size_t capacity)
{
    struct h2 *h = &c->h2;
    uint8_t *p = to;
    const uint8_t *end = to + capacity;
    for (;;) {
        if (h2_has_rare(c)) {
            p = send_rare(c, p, end);
            if (h2_has_rare(c))
                break;
        }
        if (h->is_dead || c->is_evicted || end - p < PULL_RESERVE)
            break;
        struct link *l = list_take_first(&h->ready);
        if (!l)
            break;
        c->is_ping_free = true;
        p = send_call(container_of(l, struct grpc_call, ready), p);
    }
    if (c->is_evicted && !h2_has_rare(c))
        c->must_close = true;
    return (size_t)(p - to);
}
