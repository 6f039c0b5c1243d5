/* SPDX-License-Identifier: Apache-2.0
 * One connection of a gRPC client: the socket, TLS, writing, keepalive and closing.
 *
 * Input goes to h2_feed at once. Output is pulled and written once per loop turn (conn_touch, then conn_flush).
 * At most one write is under way, and nothing is pulled meanwhile. So the answers for a peer that does not read
 * stay in the queues of its calls, which are bounded.
 *
 *   CONN_OPEN --our last bytes are out--> CONN_LINGERING --the peer closed, or 1 s--> CONN_CLOSED --> freed
 *       `-------- the peer closed, an error, silence --------------------------------^ */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log_limit.h"
#include "base/net/tls.h"
#include "base/turn.h"
#include "server/grpc/private.h"

static void conn_on_timer(struct grpc_timer *t);
static void on_output_limit(struct output_account *a, enum output_reason why);
static void measure(struct output_account *a);
static void resume(struct turn_waiter *w);

static struct grpc_conn *conn_new(struct grpc_server *s, enum grpc_serves serves)
{
    struct grpc_conn *c = mem_new(sizeof *c);
    c->server = s;
    c->serves = serves;
    list_init(&c->calls);
    list_init(&c->full);
    list_init(&c->held);
    list_add_last(&s->conns, &c->link);
    s->conn_count++;
    c->last_read_ms = server_now(s);
    c->wait.resume = resume;
    output_open(&c->output, s->options.output, on_output_limit);
    c->output.measure = measure;
    c->timer.fire = conn_on_timer;
    server_timer_set(s, &c->timer, c->last_read_ms + GREETING_MS);
    h2_open(c);
    return c;
}

struct grpc_conn *conn_new_memory(struct grpc_server *s)
{
    struct grpc_conn *c = conn_new(s, s->http ? GRPC_AND_HTTP : GRPC_ALONE);
    snprintf(c->peer, sizeof c->peer, "memory");
    return c;
}

/* --- closing --------------------------------------------------------------------------------------- */
static void conn_free(struct grpc_conn *c)
{
    struct grpc_server *s = c->server;
    mem_free(c->write_rest);
    mem_free(c);
    server_conn_gone(s);
}

static void conn_on_close(uv_handle_t *h)
{
    conn_free(h->data);
}

/* Must not be called from inside h2_feed or h2_pull. */
void conn_close(struct grpc_conn *c)
{
    if (c->state == CONN_CLOSED)
        return;
    c->state = CONN_CLOSED;
    turn_leave(&c->wait);
    buf_done(&c->rest);
    output_forget(&c->output);
    sources_leave(&c->source);
    LIST_FOR_EACH_SAFE (l, &c->calls)
        call_free(container_of(l, struct grpc_call, link));
    assert(c->queued == 0 && c->partial_bytes == 0 && c->running_bytes == 0);
    c->current = NULL;
    h2_close(c);
    tls_free(c->tls);
    c->tls = NULL;
    server_timer_clear(c->server, &c->timer);
    list_remove(&c->dirty);
    list_remove(&c->link);
    if (c->has_socket)
        uv_close(&c->handle, conn_on_close);
    else
        conn_free(c);
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    (void)req;
    (void)status;
    turn_enter(TURN_GRPC_WRITE);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret_buf);
static void conn_on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

/* Closing with unread input would make the kernel send a reset, which may overtake our GOAWAY. */
static void linger(struct grpc_conn *c)
{
    if (!c->has_socket || uv_shutdown(&c->shutdown, &c->stream, on_shutdown) != 0) {
        conn_close(c);
        return;
    }
    c->state = CONN_LINGERING;
    if (!c->is_reading)
        c->is_reading = uv_read_start(&c->stream, on_alloc, conn_on_read) == 0;
    LIST_FOR_EACH_SAFE (l, &c->calls)
        call_free(container_of(l, struct grpc_call, link));
    server_timer_set(c->server, &c->timer, server_now(c->server) + LINGER_MS);
}

/* --- output that is not read --------------------------------------------------------------------------- */
/* Counts messages not pulled yet, control frames, and the rest of a write under way. */
void conn_count_output(struct grpc_conn *c)
{
    uint64_t now = server_now(c->server);
    size_t left = c->is_writing ? uv_stream_get_write_queue_size(&c->stream) : 0;
    if (c->state != CONN_OPEN)
        return;
    output_took(&c->output, c->write_left > left ? c->write_left - left : 0, now);
    c->write_left = left;
    output_set(&c->output, c->queued + left + c->h2.out.size - c->h2.out_at, now);
}

static void measure(struct output_account *a)
{
    conn_count_output(container_of(a, struct grpc_conn, output));
}

/* Drops the answers of the connection. A client that reads again within the second finds a GOAWAY after
 * the bytes that were already sent. */
static void on_output_limit(struct output_account *a, enum output_reason why)
{
    static struct log_limit limit;
    struct grpc_conn *c = container_of(a, struct grpc_conn, output);
    log_warn_limited(&limit, server_now(c->server), "closing a connection whose output is not read",
                     F_STR("remote-addr", c->peer), F_STR("reason", output_reason_text(why)),
                     F_UINT("bytes", a->bytes));
    if (why == OUTPUT_STALLED || c->is_over_output_limit || c->state != CONN_OPEN) {
        conn_close(c);
        return;
    }
    c->is_over_output_limit = c->is_evicted = true;
    LIST_FOR_EACH_SAFE (l, &c->calls)
        call_free(container_of(l, struct grpc_call, link));
    h2_goaway(c, H2_ENHANCE_YOUR_CALM, "too many unread bytes");
    server_timer_set(c->server, &c->timer, server_now(c->server) + LINGER_MS);
    output_forget(a);
    conn_touch(c);
}

/* --- writing ----------------------------------------------------------------------------------------- */
void conn_touch(struct grpc_conn *c)
{
    struct grpc_server *s = c->server;
    if (link_is_in_list(&c->dirty) || c->state != CONN_OPEN)
        return;
    if (list_is_empty(&s->dirty))
        server_stay_awake(s);
    list_add_last(&s->dirty, &c->dirty);
}

static void on_write(uv_write_t *req, int status)
{
    struct grpc_conn *c = container_of(req, struct grpc_conn, write);
    turn_enter(TURN_GRPC_WRITE);
    mem_free(c->write_rest);
    c->write_rest = NULL;
    c->is_writing = false;
    conn_count_output(c);
    if (c->state != CONN_OPEN)
        return;
    if (status < 0)
        conn_close(c);
    else
        conn_touch(c);
}

/* Returns how many bytes the kernel accepted; below 0: the connection is broken. libuv queues nothing
 * here, and send is cheaper than the write of uv_try_write. */
static ssize_t try_send(struct grpc_conn *c, const uint8_t *data, size_t size)
{
    uv_os_fd_t fd;
    if (uv_fileno(&c->handle, &fd) != 0)
        return -1;
    ssize_t n;
    do
        n = send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0)
        output_took(&c->output, (uint64_t)n, server_now(c->server));
    return n < 0 && (errno == EAGAIN || errno == ENOBUFS) ? 0 : n;
}

/* False: the connection is closed. */
static bool write_bytes(struct grpc_conn *c, const uint8_t *data, size_t size)
{
    ssize_t n = try_send(c, data, size);
    if (n >= 0 && (size_t)n < size) {
        c->write_rest = mem_copy(data + n, size - (size_t)n);
        uv_buf_t buf = uv_buf_init((char *)c->write_rest, (unsigned)(size - (size_t)n));
        n = uv_write(&c->write, &c->stream, &buf, 1, on_write);
        c->is_writing = n == 0;
        c->write_left = c->is_writing ? uv_stream_get_write_queue_size(&c->stream) : 0;
    }
    if (n >= 0)
        return true;
    conn_close(c);
    return false;
}

static bool write_tls(struct grpc_conn *c, const uint8_t *data, size_t size)
{
    struct buf *out = &c->server->cipher;
    buf_clear(out);
    if (size && tls_send(c->tls, slice_of(data, size)) != 0) {
        conn_close(c);
        return false;
    }
    tls_take_output(c->tls, out);
    return out->size == 0 || write_bytes(c, out->data, out->size);
}

void conn_flush(struct grpc_conn *c)
{
    struct grpc_server *s = c->server;
    list_remove(&c->dirty);
    if (c->state != CONN_OPEN || !c->has_socket)
        return;
    c->has_read_enough = false;
    conn_check_reading(c);
    if (c->tls && !tls_is_ready(c->tls)) {
        (void)(c->is_writing || write_tls(c, NULL, 0));
        return;
    }
    for (int round = 0; !c->is_writing; round++) {
        if (round == FLUSH_ROUNDS) {
            conn_touch(c);
            break;
        }
        size_t size = h2_pull(c, s->scratch, SCRATCH_SIZE);
        if (size == 0 && !c->tls)
            break;
        if (!(c->tls ? write_tls(c, s->scratch, size) : write_bytes(c, s->scratch, size)))
            return;
        if (size < SCRATCH_SIZE / 2)
            break;
    }
    call_wake_all(c);
    conn_count_output(c);
    if (c->must_close || (!c->is_writing && h2_is_over(c)))
        linger(c);
}

/* --- reading ------------------------------------------------------------------------------------------- */
/* Without a buffer libuv reads nothing: on_read gets UV_ENOBUFS, and is called again in the next turn. */
static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret_buf)
{
    (void)suggested;
    struct grpc_conn *c = h->data;
    *ret_buf = uv_buf_init(NULL, 0);
    if (c->state == CONN_OPEN && (link_is_in_list(&c->wait.link) || turn_must_wait()))
        turn_wait(&c->wait);
    else
        *ret_buf = uv_buf_init((char *)c->server->read_buffer, READ_SIZE);
}

static void log_rejection(const struct grpc_conn *c, const char *error)
{
    static struct log_limit limit;
    log_warn_limited(&limit, server_now(c->server), "rejected connection on client endpoint",
                     F_STR("remote-addr", c->peer), F_STR("server-name", ""), F_STR("error", error));
}

static void reject(struct grpc_conn *c)
{
    log_rejection(c, tls_error(c->tls));
    (void)(c->is_writing || write_tls(c, NULL, 0)); /* the alert */
    conn_close(c);
}

/* False: the connection has failed, and is closed or about to be. */
static bool feed(struct grpc_conn *c, struct slice in)
{
    if (h2_feed(c, in) == 0)
        return true;
    conn_flush(c); /* there may be a GOAWAY */
    if (c->state == CONN_OPEN)
        linger(c);
    return false;
}

/* False: the connection is closed. */
static bool conn_receive(struct grpc_conn *c, struct slice in)
{
    if (c->tls) {
        struct buf *plain = &c->server->plain;
        buf_clear(plain);
        bool was_ready = tls_is_ready(c->tls);
        int err = tls_receive(c->tls, in, plain);
        if (err && !was_ready) {
            reject(c);
            return false;
        }
        in = buf_slice(plain);
        if (err && in.size == 0) {
            conn_close(c);
            return false;
        }
    }
    if (in.size && !feed(c, in))
        return false;
    if (c->h2.left.size) {
        buf_add_slice(&c->rest, c->h2.left);
        turn_wait(&c->wait);
    }
    return true;
}

static void conn_on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct grpc_conn *c = stream->data;
    turn_enter(TURN_GRPC_CALL);
    if (n == 0 || n == UV_ENOBUFS)
        return;
    if (n < 0) {
        conn_close(c);
        return;
    }
    if (c->state != CONN_OPEN)
        return;
    c->last_read_ms = server_now(c->server);
    /* Without this libuv would read on from a client that floods: all clients get the same share of a
     * turn. */
    if ((size_t)n == buf->len) {
        c->has_read_enough = true;
        conn_check_reading(c);
    }
    if (conn_receive(c, slice_of(buf->base, (size_t)n)))
        conn_touch(c);
}

/* Handles input that was read before and had to wait. */
static void take_rest(struct grpc_conn *c)
{
    struct buf rest = buf_move(&c->rest);
    if (feed(c, buf_slice(&rest))) {
        buf_consume(&rest, rest.size - c->h2.left.size);
        c->rest = buf_move(&rest);
        if (c->rest.size)
            turn_wait(&c->wait);
        else
            buf_done(&c->rest);
        conn_touch(c);
    }
    buf_done(&rest);
}

/* Resumes a connection that waited in the queue. It reads by itself: in libuv it would be one of all
 * readable sockets. */
static void resume(struct turn_waiter *w)
{
    struct grpc_conn *c = container_of(w, struct grpc_conn, wait);
    uv_os_fd_t fd;
    turn_enter(TURN_GRPC_CALL);
    if (c->state != CONN_OPEN)
        return;
    if (c->rest.size) {
        take_rest(c);
        return;
    }
    if (!c->is_reading || uv_fileno(&c->handle, &fd) != 0)
        return;
    uv_buf_t buf = uv_buf_init((char *)c->server->read_buffer, READ_SIZE);
    ssize_t n = recv(fd, buf.base, buf.len, MSG_DONTWAIT);
    if (n >= 0 || (errno != EAGAIN && errno != EINTR))
        conn_on_read(&c->stream, n > 0 ? n : n == 0 ? UV_EOF : -errno, &buf);
}

/* Reading stops after a full share of the turn, or when too many bytes of requests are being worked on.
 * Then the kernel's buffer fills and TCP slows the client down. */
void conn_check_reading(struct grpc_conn *c)
{
    if (!c->has_socket || c->state != CONN_OPEN)
        return;
    uint64_t running_max = c->is_running_over ? CONN_RUNNING_MAX / 2 : CONN_RUNNING_MAX;
    c->is_running_over = c->running_bytes > running_max;
    bool must_stop = c->has_read_enough || c->is_running_over;
    if (c->is_reading && must_stop) {
        c->is_reading = false;
        uv_read_stop(&c->stream);
    } else if (!c->is_reading && !must_stop) {
        c->is_reading = uv_read_start(&c->stream, on_alloc, conn_on_read) == 0;
    }
}

/* --- keepalive, as grpc-go's server ---------------------------------------------------------------- */
static void arm_keepalive(struct grpc_conn *c, uint64_t at_ms)
{
    if (c->server->options.keepalive_interval_ms)
        server_timer_set(c->server, &c->timer, at_ms);
    else
        server_timer_clear(c->server, &c->timer);
}

void conn_on_greeting(struct grpc_conn *c)
{
    c->is_greeted = true;
    if (!c->is_drain_begun)
        arm_keepalive(c, server_now(c->server) + c->server->options.keepalive_interval_ms);
}

/* A PING is a strike when it comes too early after the last one; anything sent in between makes it free. */
void conn_on_ping(struct grpc_conn *c)
{
    const struct grpc_options *o = &c->server->options;
    uint64_t now = server_now(c->server), last = c->last_ping_ms;
    c->last_ping_ms = now;
    if (c->is_ping_free) {
        c->is_ping_free = false;
        c->ping_strikes = 0;
        return;
    }
    uint64_t least = c->call_count == 0    ? PING_IDLE_MS
                     : o->keepalive_min_ms ? o->keepalive_min_ms
                                           : PING_MIN_MS;
    if (last && now < last + least)
        c->ping_strikes++;
    if (c->ping_strikes <= PING_STRIKES_MAX || c->is_evicted)
        return;
    c->is_evicted = true;
    h2_goaway(c, H2_ENHANCE_YOUR_CALM, "too_many_pings");
    conn_touch(c);
}

static void final_goaway(struct grpc_conn *c)
{
    if (c->is_drained)
        return;
    c->is_drained = true;
    h2_goaway(c, H2_NO_ERROR, "");
    arm_keepalive(c, server_now(c->server) + c->server->options.keepalive_interval_ms);
    conn_touch(c);
}

void conn_on_ping_answer(struct grpc_conn *c)
{
    c->is_ping_out = c->is_ping_overdue = false;
    if (c->is_drain_begun)
        final_goaway(c);
}

/* Drains in two steps: first a GOAWAY that only announces the end. When the client has answered a PING,
 * and so has seen it, a second one with the last stream that we accept. So no running call is lost. */
void conn_drain(struct grpc_conn *c)
{
    if (c->state != CONN_OPEN || c->is_drain_begun)
        return;
    c->is_drain_begun = true;
    h2_announce_end(c);
    h2_ping(c);
    server_timer_set(c->server, &c->timer, server_now(c->server) + DRAIN_MS);
    conn_touch(c);
}

static void conn_on_timer(struct grpc_timer *t)
{
    struct grpc_conn *c = container_of(t, struct grpc_conn, timer);
    const struct grpc_options *o = &c->server->options;
    uint64_t now = server_now(c->server);
    if (c->state == CONN_LINGERING || c->is_over_output_limit) {
        conn_close(c);
    } else if (!c->is_greeted) {
        if (c->tls && !tls_is_ready(c->tls))
            log_rejection(c, "TLS handshake timeout");
        conn_close(c);
    } else if (c->is_drain_begun && !c->is_drained) {
        final_goaway(c);
    } else if (now < c->last_read_ms + o->keepalive_interval_ms) {
        c->is_ping_out = c->is_ping_overdue = false;
        arm_keepalive(c, c->last_read_ms + o->keepalive_interval_ms);
    } else if (!c->is_ping_out) {
        c->is_ping_out = true;
        h2_ping(c);
        arm_keepalive(c, now + o->keepalive_timeout_ms);
        conn_touch(c);
    } else if (!c->is_ping_overdue) {
        /* After a long turn of ours the answer may wait in the socket: the loop reads before the next timer.
         */
        c->is_ping_overdue = true;
        arm_keepalive(c, now + 1);
    } else {
        log_debug("closing a connection that does not answer pings", F_STR("remote-addr", c->peer));
        conn_close(c);
    }
}

static void evict(struct source_conn *s)
{
    conn_close(container_of(s, struct grpc_conn, source));
}

/* --- taking a socket ------------------------------------------------------------------------------- */
static void name_peer(struct grpc_conn *c, const struct sockaddr_storage *a)
{
    char ip[INET6_ADDRSTRLEN] = "";
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)a;
        inet_ntop(AF_INET, &in->sin_addr, ip, sizeof ip);
        snprintf(c->peer, sizeof c->peer, "%s:%u", ip, ntohs(in->sin_port));
    } else if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)a;
        inet_ntop(AF_INET6, &in->sin6_addr, ip, sizeof ip);
        snprintf(c->peer, sizeof c->peer, "[%s]:%u", ip, ntohs(in->sin6_port));
    } else {
        snprintf(c->peer, sizeof c->peer, "@");
    }
}

void conn_adopt(struct grpc_server *s, int fd, struct tls_context *tls, enum grpc_serves serves)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    if (getpeername(fd, (struct sockaddr *)&address, &size) != 0) {
        close(fd);
        return;
    }
    struct grpc_conn *c = conn_new(s, serves);
    sources_enter(s->options.sources, &c->source, &address, evict);
    name_peer(c, &address);
    int rc;
    if (address.ss_family == AF_UNIX) {
        rc = uv_pipe_init(s->options.loop, &c->pipe, 0);
        assert(rc == 0);
        rc = uv_pipe_open(&c->pipe, fd);
    } else {
        rc = uv_tcp_init(s->options.loop, &c->tcp);
        assert(rc == 0);
        rc = uv_tcp_open(&c->tcp, fd);
    }
    c->handle.data = c;
    c->has_socket = true;
    if (rc == 0)
        rc = uv_read_start(&c->stream, on_alloc, conn_on_read);
    else
        close(fd);
    if (rc != 0) {
        conn_close(c);
        return;
    }
    c->is_reading = true;
    if (tls) {
        tls_context_refresh(tls, server_now(s));
        c->tls = tls_accept(tls);
    }
    conn_touch(c);
}
