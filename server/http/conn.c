/* SPDX-License-Identifier: Apache-2.0
 * One HTTP connection: bytes of the socket on one side, requests and answers on the other.
 *
 *     IDLE --head--> REQUEST --answer complete--> ANSWERED --written, body ended--> IDLE
 *                                                    `--must_close--> LINGERING --> closed
 *
 * libwebsockets reads and closes the socket in its raw role, when sockets.c says that it is ready. TLS is
 * base/net's, so that gRPC and HTTP have one policy. The HTTP role of libwebsockets is not used (README.md,
 * rule 2, has the reasons). Pure code here parses heads, bodies and frames (head.c, chunk.c, ws_frame.c),
 * each with a fuzz target.
 *
 * A connection handles one request at a time: pipelined requests wait in `in`, and reading stops
 * meanwhile. Answers are written at once; bytes that the socket does not take wait in `out` for the
 * writable callback. */
#include "server/http/conn.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/buf_release.h"
#include "base/log_limit.h"
#include "base/text.h"

static void process(struct http_conn *c);
static void resume(struct turn_waiter *w);
static void on_output_limit(struct output_account *a, enum output_reason why);

struct http_conn *http_conn_new(struct http_server *s, enum http_role role, bool is_tls)
{
    struct http_conn *c = mem_new(sizeof *c);
    c->server = s;
    c->role = role;
    c->is_tls = is_tls;
    c->since_ms = http_now_ms(s);
    c->wait.resume = resume;
    output_open(&c->output, s->options.output, on_output_limit);
    list_add_last(&s->conns, &c->link);
    s->conn_count++;
    return c;
}

static void keep_little(struct buf *b)
{
    buf_clear(b);
    if (b->capacity > HEAD_KEEP_BYTES)
        buf_done(b);
}

const char *http_common_name(const struct http_request *q)
{
    const struct http_conn *c = (const void *)((uintptr_t)q - offsetof(struct http_conn, request));
    bool is_ambient = q->is_native && q->origin.size && !q->is_own_page;
    if (is_ambient)
        return "";
    return c->carrier ? c->carried_name : c->tls ? tls_peer_name(c->tls) : "";
}

/* Resets the state of one request and its answer. */
void http_conn_reset_request(struct http_conn *c)
{
    struct http_request *q = &c->request;
    buf_done(&q->headers);
    buf_done(&q->body);
    arena_done(&q->arena);
    *q = (struct http_request){.server = c->server,
                               .peer = c->peer,
                               .source = c->carrier ? c->carried_source : source_conn_id(&c->source),
                               .is_tls = c->is_tls};
    keep_little(&c->head);
    keep_little(&c->target);
    c->chunks = (struct http_chunks){0};
    c->server->gathered -= c->gathered;
    c->gathered = 0;
    c->body_bytes = c->body_length = 0;
    c->is_chunked = c->has_body_ended = c->is_head = c->was_congested = c->is_held = c->is_frugal = false;
    c->is_body_held = false;
}

void http_conn_notify_gone(struct http_conn *c)
{
    struct http_request *q = &c->request;
    const struct http_handler *handler = q->handler;
    q->handler = NULL;
    if (c->phase == CONN_REQUEST && handler && handler->gone)
        handler->gone(q);
}

void http_conn_free(struct http_conn *c)
{
    http_conn_notify_gone(c);
    http_conn_reset_request(c);
    turn_leave(&c->wait);
    http_sockets_forget(&c->server->sockets, c);
    buf_done(&c->sealed);
    buf_done(&c->head);
    buf_done(&c->target);
    buf_done(&c->in);
    buf_release(&c->out);
    buf_done(&c->wire);
    output_forget(&c->output);
    sources_leave(&c->source);
    if (c->tls)
        tls_free(c->tls);
    list_remove(&c->link);
    c->server->conn_count--;
    c->server->carried_count -= c->carrier != NULL;
    mem_free(c);
}

void http_conn_kill(struct http_conn *c)
{
    if (c->carrier)
        c->carrier->reset(c->stream);
    else
        http_sockets_kill(&c->server->sockets, c);
}

void http_conn_want_write(struct http_conn *c)
{
    if (c->carrier) {
        c->carrier->want_writable(c->stream);
        return;
    }
    c->wants_write = true;
    http_sockets_update(&c->server->sockets, c);
}

void http_conn_evict(struct source_conn *s)
{
    struct http_conn *c = container_of(s, struct http_conn, source);
    sources_leave(s);
    if (c->wsi)
        http_conn_kill(c);
}

static void set_phase(struct http_conn *c, enum conn_phase phase)
{
    c->phase = phase;
    c->since_ms = http_now_ms(c->server);
}

/* --- writing ----------------------------------------------------------------------------------------- */

static size_t unwritten(const struct http_conn *c)
{
    size_t carried = c->carrier ? c->carrier->unsent(c->stream) : 0;
    return c->out.size - c->out_at + c->wire.size - c->wire_at + carried;
}

static bool has_unwritten(const struct http_conn *c)
{
    return unwritten(c) > 0;
}

void http_conn_count_output(struct http_conn *c)
{
    size_t bytes = c->carrier ? c->out.size - c->out_at : unwritten(c); /* the carrier counts its own */
    output_set(&c->output, bytes + c->request.charged_bytes, http_now_ms(c->server));
}

/* The client has too much unread output, or has stopped reading. It gets no error, which it would not read
 * either. */
static void on_output_limit(struct output_account *a, enum output_reason why)
{
    static struct log_limit limit;
    struct http_conn *c = container_of(a, struct http_conn, output);
    log_warn_limited(&limit, http_now_ms(c->server), "closing a connection whose output is not read",
                     F_STR("remote-addr", c->peer), F_STR("reason", output_reason_text(why)),
                     F_UINT("bytes", a->bytes));
    buf_release(&c->out);
    buf_done(&c->wire);
    c->out_at = c->wire_at = 0;
    output_forget(a);
    http_conn_kill(c);
}

/* Writes; returns the bytes that the socket has taken, 0: it is full, -1: it is broken. */
static ssize_t write_some(struct http_conn *c, struct slice bytes)
{
    size_t size = bytes.size < WRITE_BYTES_MAX ? bytes.size : WRITE_BYTES_MAX;
    ssize_t n = send(lws_get_socket_fd(c->wsi), bytes.data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n >= 0 ? n : errno == EAGAIN || errno == EINTR ? 0 : -1;
}

/* The next bytes for the socket: the queue itself, or ciphertext of its front and of TLS messages. */
static struct slice wire_bytes(struct http_conn *c)
{
    if (!c->tls)
        return slice_of(c->out.data + c->out_at, c->out.size - c->out_at);
    if (c->wire_at == c->wire.size) {
        size_t n = c->out.size - c->out_at;
        n = n < TLS_STEP_BYTES ? n : TLS_STEP_BYTES;
        c->wire_at = c->wire.size = 0;
        if (n && tls_is_ready(c->tls) && tls_send(c->tls, slice_of(c->out.data + c->out_at, n)) == 0)
            c->out_at += n;
        tls_take_output(c->tls, &c->wire);
    }
    return slice_of(c->wire.data + c->wire_at, c->wire.size - c->wire_at);
}

size_t http_conn_write_direct(struct http_conn *c, const struct iovec *pieces, size_t count)
{
    if (c->tls || c->carrier || c->is_held || c->out.size || c->phase == CONN_LINGERING)
        return 0;
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)pieces, .msg_iovlen = count};
    ssize_t n = sendmsg(lws_get_socket_fd(c->wsi), &m, MSG_NOSIGNAL | MSG_DONTWAIT);
    return n > 0 ? (size_t)n : 0; /* the queue's next write reports an error again */
}

static void set_reading(struct http_conn *c)
{
    if (c->carrier)
        return;
    bool is_paused =
        c->sealed.size ||
        (c->in.size && (c->has_yielded || c->phase == CONN_REQUEST || c->phase == CONN_ANSWERED));
    c->is_paused = is_paused;
    http_sockets_update(&c->server->sockets, c);
}

/* Frees the written part of `out`. */
static void forget_written(struct http_conn *c, size_t before)
{
    size_t from = before - before % FORGET_STEP, to = c->out_at - c->out_at % FORGET_STEP;
    if (from < to)
        mem_forget(c->out.data + from, to - from);
}

static void write_out(struct http_conn *c)
{
    if (c->carrier) {
        if (c->out.size > c->out_at && c->carrier->unsent(c->stream) == 0)
            c->took_ms = http_now_ms(c->server);
        if (c->out.size > c->out_at)
            c->carrier->send(c->stream, &c->out, c->out_at);
        if (c->was_congested)
            c->carrier->want_writable(c->stream); /* it had nothing to wait for while these bytes were here */
        c->out.size = c->out_at = 0;
        if (c->out.capacity > HEAD_KEEP_BYTES || c->is_frugal)
            buf_done(&c->out);
        return;
    }
    for (size_t written = 0;;) {
        size_t before = c->out_at;
        struct slice bytes = wire_bytes(c);
        if (bytes.size == 0)
            break;
        if (written >= WRITE_TURN_BYTES) {
            http_conn_want_write(c);
            return;
        }
        ssize_t n = write_some(c, bytes);
        if (n < 0) {
            c->out.size = c->out_at = c->wire.size = c->wire_at = 0;
            http_conn_kill(c);
            return;
        }
        if (n == 0) {
            http_conn_want_write(c);
            return;
        }
        written += (size_t)n;
        *(c->tls ? &c->wire_at : &c->out_at) += (size_t)n;
        forget_written(c, before);
        output_took(&c->output, (uint64_t)n, http_now_ms(c->server));
    }
    if (c->out_at < c->out.size)
        return; /* before the end of the TLS handshake */
    c->out_at = c->out.size = 0;
    if (c->out.capacity > HEAD_KEEP_BYTES || c->is_websocket || c->is_frugal)
        buf_done(&c->out);
    buf_done(&c->wire);
}

/* Our last byte is written: shuts our side down and waits for the client. Closing while its bytes are
 * unread would reset the connection, and the client would lose the answer. */
static void linger(struct http_conn *c)
{
    set_phase(c, CONN_LINGERING);
    buf_done(&c->in);
    shutdown(lws_get_socket_fd(c->wsi), SHUT_WR);
}

/* Tells the carrier once that the answer is complete. */
static void settle_carried(struct http_conn *c)
{
    if (c->phase != CONN_ANSWERED || c->has_ended)
        return;
    c->has_ended = true;
    buf_done(&c->in);
    c->carrier->end(c->stream, !c->is_broken);
}

/* Continues after a complete answer was written. */
static void http_conn_settle(struct http_conn *c)
{
    if (c->carrier) {
        settle_carried(c);
        return;
    }
    if (c->phase != CONN_ANSWERED || has_unwritten(c))
        return;
    if (c->must_close || c->server->is_draining) {
        linger(c);
    } else if (c->has_body_ended) {
        http_conn_reset_request(c);
        set_phase(c, CONN_IDLE);
        process(c);
    }
}

void http_conn_flush(struct http_conn *c)
{
    write_out(c);
    http_conn_count_output(c);
    http_conn_settle(c);
    if (c->is_processing)
        return;
    if (c->is_backlogged && unwritten(c) < CONGESTED_BYTES / 2) {
        c->is_backlogged = false;
        c->since_ms = http_now_ms(c->server);
        process(c);
    } else if (c->is_backlogged && c->carrier) {
        http_conn_want_write(c);
    }
    if (c->is_body_held && c->phase != CONN_REQUEST) {
        c->is_body_held = false; /* it was answered meanwhile: discard the rest of the body */
        process(c);
    }
    set_reading(c);
}

bool http_conn_is_backlogged(struct http_conn *c)
{
    c->is_backlogged = c->phase == CONN_REQUEST && unwritten(c) >= CONGESTED_BYTES;
    if (c->is_backlogged && c->carrier)
        http_conn_want_write(c);
    return c->is_backlogged;
}

/* The handler has completed its answer; it must not use the request any more. */
void http_conn_answered(struct http_conn *c)
{
    c->request.handler = NULL;
    c->request.charged_bytes = 0;
    c->is_served = true;
    set_phase(c, CONN_ANSWERED);
    if (!c->has_body_ended && !c->is_chunked && c->body_length - c->body_bytes > DISCARD_BYTES_MAX)
        c->must_close = true;
    /* Inside process() the rest of the input is handled first. */
    if (!c->is_processing)
        http_conn_flush(c);
}

void http_conn_hold_body(struct http_conn *c, bool is_held)
{
    bool was_held = c->is_body_held;
    c->is_body_held = is_held;
    if (!was_held || is_held || c->is_processing)
        return;
    c->since_ms = http_now_ms(c->server);
    process(c);
    set_reading(c);
}

void http_conn_account_work(const struct http_conn *c)
{
    if (c->request.handler->work)
        turn_enter(c->request.handler->work);
}

/* --- reading ----------------------------------------------------------------------------------------- */

static size_t body_limit(const struct http_conn *c)
{
    return (size_t)c->server->options.request_bytes_max + 512 * 1024;
}

void http_conn_refuse(struct http_conn *c, int status, const char *text)
{
    const struct http_handler *handler = c->request.handler;
    c->must_close = true;
    if (c->phase == CONN_REQUEST && handler && handler->refuse) {
        handler->refuse(&c->request, status, text);
        return;
    }
    http_conn_notify_gone(c);
    http_respond_error(&c->request, status, text);
}

/* Reads the body's length and coding. Returns 0, or the status to reject the request with. */
static int read_framing(struct http_conn *c, const struct http_head *head)
{
    struct slice length, coding;
    size_t lengths = 0, codings = 0;
    http_head_field(head, "transfer-encoding", &coding, &codings);
    http_head_field(head, "content-length", &length, &lengths);
    /* Two lengths, or an unknown coding: a proxy in front may read it in another way (request smuggling). */
    if (codings + lengths > 1 || (codings && !http_text_is(coding, "chunked")) ||
        (codings && !head->is_http11))
        return 400;
    c->is_chunked = codings > 0;
    if (lengths && (text_to_u64(length, &c->body_length) || *length.data == '+'))
        return 400;
    return 0;
}

/* Prepares for the body, with 100 Continue if it is expected. False: it is too long, and was rejected. */
static bool invite_body(struct http_conn *c, const struct http_head *head)
{
    struct slice expect;
    if (c->body_length > body_limit(c) && !c->request.handler->body) {
        http_conn_refuse(c, 413, "http: request body too large");
        return false;
    }
    if (head->is_http11 && http_head_field(head, "expect", &expect, NULL) &&
        http_text_is(expect, "100-continue")) {
        if (!c->carrier)
            buf_add_text(&c->out, "HTTP/1.1 100 Continue\r\n\r\n");
        else if (!c->is_input_ended)
            c->carrier->head(c->stream, 100, (struct slice){0}, HTTP_ANSWER_INTERIM);
    }
    return true;
}

void http_conn_end_body(struct http_conn *c)
{
    if (c->has_body_ended)
        return;
    c->has_body_ended = true;
    sources_serve(&c->source);
    if (c->phase == CONN_REQUEST && c->request.handler->end) {
        http_conn_account_work(c);
        c->request.handler->end(&c->request);
    }
}

void http_conn_end_input(struct http_conn *c)
{
    if (!c->is_websocket)
        http_conn_end_body(c);
    else if (c->phase == CONN_REQUEST)
        http_ws_end(c);
}

/* Counts the bytes of an incomplete body. False: all connections together have too many. */
bool http_conn_gather(struct http_conn *c, size_t size)
{
    c->server->gathered += size - c->gathered;
    c->gathered = size;
    return c->server->gathered <= GATHERED_BYTES_MAX;
}

static void take_body(struct http_conn *c, struct slice piece)
{
    struct http_request *q = &c->request;
    c->body_bytes += piece.size;
    if (c->phase == CONN_ANSWERED) {
        c->must_close |= c->body_bytes > DISCARD_BYTES_MAX && c->is_chunked;
    } else if (q->handler->body) {
        http_conn_account_work(c);
        q->handler->body(q, piece);
    } else if (c->body_bytes > body_limit(c)) {
        http_conn_refuse(c, 413, "http: request body too large");
    } else if (!http_conn_gather(c, q->body.size + piece.size)) {
        http_conn_refuse(c, 503, "too many bytes of unfinished requests");
    } else {
        if (q->body.capacity == 0 && c->body_length && !c->carrier)
            buf_reserve(&q->body, (size_t)c->body_length);
        buf_add_slice(&q->body, piece);
    }
}

static void read_body(struct http_conn *c, struct slice *in)
{
    if (c->carrier) {
        struct slice piece = *in;
        *in = slice_of(in->data + in->size, 0);
        if (piece.size)
            take_body(c, piece);
        return;
    }
    if (!c->is_chunked) {
        uint64_t left = c->body_length - c->body_bytes;
        size_t n = left < in->size ? (size_t)left : in->size;
        struct slice piece = slice_of(in->data, n);
        *in = slice_of(in->data + n, in->size - n);
        if (n)
            take_body(c, piece);
        if (c->body_bytes == c->body_length)
            http_conn_end_body(c);
        return;
    }
    struct slice piece;
    if (http_chunk_next(&c->chunks, in, &piece)) {
        *in = (struct slice){0};
        c->must_close = true;
        if (c->phase == CONN_REQUEST)
            http_conn_refuse(c, 400, "malformed chunked encoding");
        return;
    }
    if (piece.size)
        take_body(c, piece);
    else if (c->chunks.state == CHUNK_DONE)
        http_conn_end_body(c);
}

/* A head is complete: from now on the client must get an answer. */
void http_conn_begin(struct http_conn *c, const struct http_head *head, int status)
{
    set_phase(c, CONN_REQUEST);
    c->begun_ms = c->since_ms;
    c->is_head = head->method == HTTP_HEAD;
    if (!status)
        status = read_framing(c, head);
    if (status) {
        http_conn_refuse(
            c, status, status == 431 ? "request headers too large" : "the request is malformed or too large");
        return;
    }
    if (!http_request_read(c, head) || !http_request_admit(c) || !invite_body(c, head))
        return;
    http_ws_upgrade(c, head);
    if (c->phase == CONN_REQUEST && c->request.handler->begin) {
        http_conn_account_work(c);
        c->request.handler->begin(&c->request);
    }
}

static void begin_request(struct http_conn *c, struct slice text)
{
    struct http_head head = {0};
    struct slice connection;
    http_conn_reset_request(c);
    c->head_seen = 0;
    buf_add_slice(&c->head, text);
    int status = http_head_parse(buf_slice(&c->head), &head);
    bool has_connection = http_head_field(&head, "connection", &connection, NULL);
    c->knows_chunks = head.is_http11;
    c->is_keep_alive = head.is_http11 ? !has_connection || !http_list_has(connection, "close")
                                      : has_connection && http_list_has(connection, "keep-alive");
    c->must_close = !c->is_keep_alive;
    http_conn_begin(c, &head, status);
    if (!c->is_websocket && !c->is_chunked && c->body_length == 0)
        http_conn_end_body(c);
}

static void http_conn_read_head(struct http_conn *c, struct slice *in)
{
    while (c->head_seen == 0 && in->size && (*in->data == '\r' || *in->data == '\n'))
        *in = slice_of(in->data + 1, in->size - 1); /* RFC 9112, 2.2: blank lines before a request */
    size_t size = http_head_size(*in, c->head_seen);
    if (size > HEAD_BYTES_MAX || (size == 0 && in->size > HEAD_BYTES_MAX)) {
        http_conn_reset_request(c);
        set_phase(c, CONN_REQUEST);
        c->has_body_ended = true;
        *in = (struct slice){0};
        http_conn_refuse(c, 431, "request headers too large");
        return;
    }
    if (size == 0) {
        if (c->head_seen == 0 && in->size)
            c->since_ms = http_now_ms(c->server);
        c->head_seen = in->size;
        return;
    }
    struct slice text = slice_of(in->data, size);
    *in = slice_of(in->data + size, in->size - size);
    begin_request(c, text);
}

/* True: the handler takes the body in pieces and may answer each. */
static bool takes_pieces(const struct http_conn *c)
{
    return c->phase == CONN_REQUEST && c->request.handler && c->request.handler->body;
}

/* The input waits in `in` until a turn of the loop has time for it. */
static void wait_for_turn(struct http_conn *c)
{
    c->has_yielded = true;
    turn_wait(&c->wait);
}

/* Parses input until it needs more input, an answer, a turn with time, or a client that reads its output. */
static void take_steps(struct http_conn *c, struct slice *in)
{
    uint64_t begun_ns = uv_hrtime();
    for (;;) {
        size_t before = in->size;
        enum conn_phase phase = c->phase;
        bool had_ended = c->has_body_ended;
        if (c->phase == CONN_LINGERING) {
            *in = (struct slice){0};
        } else if (c->phase == CONN_IDLE) {
            http_conn_read_head(c, in);
        } else if (c->is_websocket) {
            http_ws_receive(c, in);
        } else if (!c->has_body_ended && takes_pieces(c) && (c->is_body_held || http_conn_is_backlogged(c))) {
            return;
        } else if (!c->has_body_ended) {
            read_body(c, in);
        }
        if (c->phase == CONN_ANSWERED)
            http_conn_flush(c);
        bool has_moved = in->size != before || c->phase != phase || c->has_body_ended != had_ended;
        if (!has_moved || in->size == 0)
            return;
        if (turn_is_spent()) {
            wait_for_turn(c);
            return;
        }
        if (c->phase == CONN_IDLE && uv_hrtime() - begun_ns > AHEAD_NS) {
            c->has_yielded = true;
            http_conn_want_write(c);
            return;
        }
    }
}

static void http_conn_step(struct http_conn *c, struct slice *in)
{
    size_t before = in->size;
    c->is_processing = true;
    take_steps(c, in);
    c->is_processing = false;
    if (!c->carrier)
        return;
    c->carrier->consumed(c->stream, before - in->size);
    if (c->is_websocket)
        (void)http_conn_gather(c, c->request.body.size + in->size);
    if (c->is_input_ended && in->size == 0)
        http_conn_end_input(c);
}

/* Parses the input in c->in. */
static void process(struct http_conn *c)
{
    if (c->is_processing || c->has_yielded || c->in.size == 0)
        return;
    struct buf text = buf_move(&c->in);
    struct slice in = buf_slice(&text);
    http_conn_step(c, &in);
    buf_consume(&text, text.size - in.size);
    if (text.size)
        c->in = buf_move(&text);
    buf_done(&text);
    http_conn_flush(c);
}

void http_conn_resume(struct http_conn *c)
{
    process(c);
    if (!c->is_processing)
        set_reading(c);
}

/* Parses new bytes; they are not copied if no older input waits. */
void http_conn_receive(struct http_conn *c, struct slice in)
{
    if (c->phase == CONN_REQUEST)
        c->since_ms = http_now_ms(c->server);
    if (turn_must_wait() && in.size)
        wait_for_turn(c);
    if (c->in.size || c->has_yielded) {
        buf_add_slice(&c->in, in);
        process(c);
        set_reading(c);
        return;
    }
    http_conn_step(c, &in);
    buf_add_slice(&c->in, in);
    http_conn_flush(c);
}

/* --- callbacks --------------------------------------------------------------------------------------- */

/* Handles ciphertext. -1: close the connection. */
static int on_sealed(struct http_conn *c, struct slice in)
{
    struct buf *plain = &c->server->plain;
    buf_clear(plain);
    int err = tls_receive(c->tls, in, plain);
    if (plain->size)
        http_conn_receive(c, buf_slice(plain));
    http_conn_flush(c); /* TLS handshake messages, or the alert */
    if (err && err != ERR_CLOSED)
        log_debug("an HTTP connection fails TLS", F_STR("peer", c->peer), F_STR("error", tls_error(c->tls)));
    return err ? -1 : 0;
}

/* Handles bytes of the socket. TLS handshakes take long, so ciphertext waits for a turn too. -1: close the
 * connection. */
static int on_bytes(struct http_conn *c, struct slice in)
{
    if (!c->tls) {
        http_conn_receive(c, in);
        return 0;
    }
    if (!c->sealed.size && !turn_must_wait())
        return on_sealed(c, in);
    buf_add_slice(&c->sealed, in);
    wait_for_turn(c);
    set_reading(c);
    return 0;
}

void http_conn_go_on(struct http_conn *c)
{
    c->has_yielded = false;
    http_conn_flush(c);
    process(c);
    if (c->was_congested && (c->carrier ? unwritten(c) : c->out.size - c->out_at) < CONGESTED_BYTES / 2) {
        c->was_congested = false;
        if (c->phase == CONN_REQUEST && c->request.handler->writable) {
            http_conn_account_work(c);
            c->request.handler->writable(&c->request);
        }
    } else if (c->was_congested && c->carrier) {
        http_conn_want_write(c);
    }
}

void http_conn_on_writable(struct http_conn *c)
{
    turn_enter(TURN_HTTP_WRITE);
    if (link_is_in_list(&c->wait.link) || turn_must_wait())
        turn_wait(&c->wait);
    else
        http_conn_go_on(c);
}

static void resume(struct turn_waiter *w)
{
    struct http_conn *c = container_of(w, struct http_conn, wait);
    struct buf sealed = buf_move(&c->sealed);
    turn_enter(c->is_websocket ? TURN_WEBSOCKET : TURN_HTTP_REQUEST);
    c->has_yielded = false;
    if (sealed.size && on_sealed(c, buf_slice(&sealed)))
        http_conn_kill(c);
    buf_done(&sealed);
    if (!c->has_yielded)
        http_conn_go_on(c);
}

int http_conn_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t size)
{
    (void)user;
    struct http_conn *c = wsi ? lws_get_opaque_user_data(wsi) : NULL;
    if (!c)
        return 0;
    switch ((int)reason) {
    case LWS_CALLBACK_RAW_RX:
        turn_enter(c->is_websocket ? TURN_WEBSOCKET : TURN_HTTP_REQUEST);
        return on_bytes(c, slice_of(in, size));
    case LWS_CALLBACK_RAW_CLOSE:
        turn_enter(TURN_HTTP_CLOSE);
        http_conn_notify_gone(c);
        turn_leave(&c->wait);
        http_sockets_remove(&c->server->sockets, c);
        set_phase(c, CONN_LINGERING);
        return 0;
    case LWS_CALLBACK_WSI_DESTROY:
        turn_enter(TURN_HTTP_CLOSE);
        lws_set_opaque_user_data(wsi, NULL);
        http_conn_free(c);
        return 0;
    default:
        return 0;
    }
}

/* --- the periodic check ------------------------------------------------------------------------------ */

/* True: the client has disconnected. While reading is paused nothing else would notice it. */
static bool is_hung_up(const struct http_conn *c)
{
    struct pollfd p = {.fd = lws_get_socket_fd(c->wsi), .events = POLLRDHUP};
    return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

static bool is_overdue(const struct http_conn *c, uint64_t now_ms)
{
    uint64_t age_ms = now_ms - c->since_ms;
    if (c->is_backlogged)
        return false; /* we do not read; the output budget has its own time limit */
    switch (c->phase) {
    case CONN_IDLE:
        return age_ms > (c->head_seen ? HEAD_WAIT_MS : c->is_served ? IDLE_WAIT_MS : FIRST_WAIT_MS);
    case CONN_REQUEST:
        if (c->is_websocket)
            return age_ms > (c->request.handler->silent_ms ? c->request.handler->silent_ms : WS_HANGUP_MS);
        return !c->has_body_ended && !c->request.handler->body &&
               now_ms - c->begun_ms > BODY_WAIT_MS + c->body_bytes * 1000 / BODY_BYTES_PER_S;
    case CONN_ANSWERED:
        return !c->has_body_ended && !c->carrier && age_ms > DISCARD_WAIT_MS;
    case CONN_LINGERING:
        return age_ms > LINGER_MS;
    }
    return false;
}

/* The connection of a carried request may take bytes of other streams while this one's window stays closed. */
static bool is_stalled(const struct http_conn *c, uint64_t now_ms)
{
    const struct output_budget *b = c->server->options.output;
    return c->carrier && b && b->stall_ms && now_ms - c->took_ms > b->stall_ms &&
           c->carrier->unsent(c->stream) > 0;
}

static void end_stalled(struct http_conn *c, uint64_t now_ms)
{
    static struct log_limit limit;
    log_warn_limited(&limit, now_ms, "resetting a stream whose output is not read",
                     F_STR("remote-addr", c->peer), F_STR("reason", output_reason_text(OUTPUT_STALLED)),
                     F_UINT("bytes", c->carrier->unsent(c->stream)));
    c->server->options.output->closed[OUTPUT_STALLED]++;
    http_conn_kill(c);
}

void http_conn_sweep(struct http_conn *c, uint64_t now_ms)
{
    struct http_request *q = &c->request;
    if (!c->wsi && !c->carrier)
        return;
    if (is_stalled(c, now_ms)) {
        end_stalled(c, now_ms);
    } else if (is_overdue(c, now_ms) || (c->is_paused && !c->has_yielded && is_hung_up(c))) {
        http_conn_kill(c);
    } else if (c->phase == CONN_REQUEST && q->deadline_ms && now_ms >= q->deadline_ms &&
               q->handler->expired) {
        http_conn_account_work(c);
        q->handler->expired(q);
    } else if (c->phase == CONN_REQUEST && c->is_websocket && !c->is_pinged && !c->is_backlogged &&
               now_ms - c->since_ms > (q->handler->ping_ms ? q->handler->ping_ms : WS_PING_MS)) {
        c->is_pinged = true;
        http_ws_ping(c);
    }
}

void http_conn_drain(struct http_conn *c)
{
    if (!c->wsi && !c->carrier)
        return;
    if (c->phase == CONN_REQUEST && c->request.handler && c->request.handler->drain) {
        c->request.handler->drain(&c->request);
    } else if (c->is_websocket && c->phase == CONN_REQUEST) {
        http_conn_notify_gone(c);
        http_ws_close(c, WS_GOING_AWAY);
    } else if (c->phase == CONN_IDLE) {
        http_conn_kill(c);
    }
}
