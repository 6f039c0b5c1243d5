/* SPDX-License-Identifier: Apache-2.0
 * One connection of the peer transport, from a name to frames. The happy path:
 *
 *     peer_conn_dial ---> [name -> addresses] -> connect -> [TLS] -> on_open -> frames <-> ...
 *     peer_conn_accept -----------------------------------> [TLS] ------------> frames <-> ...
 *     peer_conn_close --> libuv closes -> on_closed -> freed
 *
 * Rules:
 * - Each failure calls peer_conn_close with a reason, once. A write error is seen by the read side or by the
 *   write's callback; peer_conn_add never fails.
 * - Frames that are added in one turn leave with one write. While it is under way, the next turns' frames are
 *   collected for the next write.
 * - Received bytes are parsed in the read buffer; only the beginning of an incomplete frame is copied.
 * - TLS handshakes of incoming connections take at most TLS_STEPS_PER_MS steps in a millisecond.
 *   Connections beyond that wait in order, with their received bytes in `unread`: many ClientHellos at
 *   once do not block the loop. */
#include "consensus/peer/peer_impl.h"

#include "base/log.h"
#include "base/turn.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>

enum { TLS_STEP = 1 << 20 }; /* bytes encrypted in one call; the rest stays plain */

/* --- closing ----------------------------------------------------------------------------------------- */
static void peer_conn_free_if_done(struct conn *c)
{
    struct tcp_peers *p = c->p;
    if (!c->is_tcp_closed || c->is_resolving)
        return;
    tls_free(c->tls);
    peer_handshake_free(c->handshake);
    buf_done(&c->in);
    buf_done(&c->out);
    buf_done(&c->writing);
    buf_done(&c->unread);
    mem_free(c);
    p->open_handles--;
    peer_release(p);
}

static void on_tcp_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    c->is_tcp_closed = true;
    list_remove(&c->all);
    if (c->owner)
        c->ops->on_closed(c);
    peer_conn_free_if_done(c);
}

void peer_conn_close(struct conn *c, int err, const char *text)
{
    if (c->state == CONN_CLOSING)
        return;
    c->state = CONN_CLOSING;
    c->err = err;
    snprintf(c->text, sizeof c->text, "%s", text);
    c->p->io->ops->timer_stop(c->p->io, &c->timer);
    list_remove(&c->dirty);
    list_remove(&c->waiting);
    output_forget(&c->output);
    if (link_is_in_list(&c->unauthenticated)) {
        list_remove(&c->unauthenticated);
        c->p->unauthenticated_count--;
    }
    if (c->is_resolving)
        uv_cancel((uv_req_t *)&c->lookup);
    uv_close((uv_handle_t *)&c->tcp, on_tcp_closed);
}

static void close_uv(struct conn *c, const char *what, int status)
{
    char text[128];
    snprintf(text, sizeof text, "%s: %s", what, uv_strerror(status));
    peer_conn_close(c, ERR_CLOSED, text);
}

/* --- writing ------------------------------------------------------------------------------------------- */
static void peer_conn_trim(struct buf *b)
{
    buf_clear(b);
    if (b->capacity > KEPT_SIZE)
        buf_done(b);
}

/* Moves bytes from `out` to `writing`, encrypted if there is TLS. False: it failed and the connection
 * closes. */
static bool fill_writing(struct conn *c)
{
    assert(c->writing.size == 0);
    if (!c->tls) {
        struct buf empty = c->writing;
        c->writing = c->out;
        c->out = empty;
        return true;
    }
    if (c->out.size && tls_is_ready(c->tls)) {
        size_t n = c->out.size < TLS_STEP ? c->out.size : TLS_STEP;
        if (tls_send(c->tls, slice_of(c->out.data, n)) != OK) {
            peer_conn_close(c, ERR_CLOSED, tls_error(c->tls));
            return false;
        }
        if (n == c->out.size)
            peer_conn_trim(&c->out);
        else
            buf_consume(&c->out, n);
    }
    tls_take_output(c->tls, &c->writing);
    return true;
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct conn *c = req->data;
    turn_enter(TURN_PEER_MESSAGES);
    if (status < 0 && c->state == CONN_FINISHING)
        peer_conn_close(c, ERR_CLOSED, "finished");
}

static bool has_output(const struct conn *c)
{
    return c->out.size || c->writing.size;
}

static void finish_if_written(struct conn *c)
{
    if (c->state != CONN_FINISHING || c->is_writing || has_output(c) || c->shutdown.data)
        return;
    c->shutdown.data = c;
    int rc = uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, on_shutdown);
    if (rc < 0)
        peer_conn_close(c, ERR_CLOSED, "finished");
}

static void count_output(struct conn *c)
{
    if (c->state == CONN_CLOSING)
        return;
    uint64_t now_ms = peer_now_ms(c->p), bytes = peer_conn_queued(c);
    if (bytes < c->output.bytes)
        output_took(&c->output, c->output.bytes - bytes, now_ms);
    output_set(&c->output, bytes, now_ms);
}

static void peer_conn_on_written(uv_write_t *req, int status)
{
    struct conn *c = req->data;
    turn_enter(TURN_PEER_MESSAGES);
    c->is_writing = false;
    peer_conn_trim(&c->writing);
    if (c->state == CONN_CLOSING)
        return;
    if (status < 0) {
        close_uv(c, "write", status);
        return;
    }
    peer_conn_flush(c);
}

/* One round: writes what is ready to the socket. True = the socket took everything at once. */
static bool write_some(struct conn *c)
{
    if (!fill_writing(c) || c->writing.size == 0)
        return false;
    c->written_n += c->writing.size;
    uv_buf_t b = uv_buf_init((char *)c->writing.data, (unsigned)c->writing.size);
    int n = uv_try_write((uv_stream_t *)&c->tcp, &b, 1);
    if (n < 0 && n != UV_EAGAIN) {
        close_uv(c, "write", n);
        return false;
    }
    if (n == (int)c->writing.size) {
        peer_conn_trim(&c->writing);
        return true;
    }
    size_t done = n > 0 ? (size_t)n : 0;
    b = uv_buf_init((char *)c->writing.data + done, (unsigned)(c->writing.size - done));
    c->write.data = c;
    int rc = uv_write(&c->write, (uv_stream_t *)&c->tcp, &b, 1, peer_conn_on_written);
    if (rc < 0)
        close_uv(c, "write", rc);
    else
        c->is_writing = true;
    return false;
}

void peer_conn_flush(struct conn *c)
{
    list_remove(&c->dirty);
    if (!c->is_writing && c->state >= CONN_TLS && c->state != CONN_CLOSING) {
        while (write_some(c) && c->tls && c->out.size)
            ;
        finish_if_written(c);
    }
    count_output(c);
}

void peer_conn_add(struct conn *c, enum wire_kind kind, struct slice head, struct slice body)
{
    wire_add_frame(&c->out, kind, head, body);
    if (!link_is_in_list(&c->dirty) && c->state != CONN_CLOSING)
        list_add_last(&c->p->dirty, &c->dirty);
}

size_t peer_conn_queued(const struct conn *c)
{
    return c->out.size + uv_stream_get_write_queue_size((const uv_stream_t *)&c->tcp);
}

struct slice peer_conn_host(const struct conn *c)
{
    const char *host = c->remote, *end = strrchr(host, ':');
    if (!end)
        return slice_text(host);
    if (*host == '[' && end > host && end[-1] == ']') {
        host++;
        end--;
    }
    return slice_of((const uint8_t *)host, (size_t)(end - host));
}

void peer_conn_timer(struct conn *c, uint64_t after_ms)
{
    if (c->state == CONN_CLOSING)
        return; /* a write on the way here may have failed: a timer would outlive the connection */
    c->due_ms = peer_now_ms(c->p) + after_ms;
    c->p->io->ops->timer_start(c->p->io, &c->timer, after_ms);
}

/* After a turn that took long, the bytes that came meanwhile are not read yet: then the silence is ours. */
bool peer_conn_is_silent(struct conn *c)
{
    uint64_t now = peer_now_ms(c->p);
    if (now > c->due_ms + c->p->ping_ms)
        c->received_ms = now;
    return now - c->received_ms > c->p->silence_ms;
}

/* A socket that is closed with unread bytes is reset, and the reset can overtake our last frame. So: shut
 * down our side, then read and drop until the other side closes. */
void peer_conn_finish(struct conn *c)
{
    if (c->state >= CONN_FINISHING)
        return;
    c->state = CONN_FINISHING;
    c->stage = WIRE_AWAIT_NOTHING;
    peer_conn_timer(c, LINGER_MS);
    peer_conn_flush(c);
}

static void peer_conn_on_timer(struct io_timer *t)
{
    struct conn *c = container_of(t, struct conn, timer);
    if (c->state == CONN_FINISHING)
        peer_conn_close(c, ERR_CLOSED, "finished");
    else if (c->owner)
        c->ops->on_timer(c);
}

/* --- reading ------------------------------------------------------------------------------------------- */
static void close_malformed(struct conn *c, int err)
{
    peer_conn_close(c, err,
                    err == ERR_CORRUPT ? "damaged bytes: the checksum does not hold"
                    : err == ERR_LIMIT ? "a frame longer than allowed"
                                       : "bytes that are not of the peer protocol");
}

/* Handles all complete frames of the input. Returns the bytes that are left. */
static struct slice handle_frames(struct conn *c, struct slice bytes)
{
    while (c->state == CONN_OPEN) {
        struct wire_frame frame;
        int n = wire_take(&bytes, c->stage, &frame);
        if (n < 0)
            close_malformed(c, n);
        if (n <= 0)
            break;
        c->ops->on_frame(c, &frame);
    }
    return bytes;
}

static void keep_rest(struct conn *c, struct slice rest)
{
    if (c->state != CONN_OPEN)
        return;
    if (rest.size == 0)
        peer_conn_trim(&c->in);
    else if (c->in.size)
        buf_consume(&c->in, c->in.size - rest.size);
    else
        buf_add_slice(&c->in, rest);
}

static void mark_open(struct conn *c)
{
    c->state = CONN_OPEN;
    if (c->owner && c->ops->on_open)
        c->ops->on_open(c);
}

static void receive_tls(struct conn *c, struct slice bytes)
{
    int err = tls_receive(c->tls, bytes, &c->in);
    if (c->state == CONN_TLS && tls_is_ready(c->tls))
        mark_open(c);
    if (c->in.size)
        keep_rest(c, handle_frames(c, buf_slice(&c->in)));
    peer_conn_flush(c);
    if (err && c->state != CONN_CLOSING)
        peer_conn_close(c, ERR_CLOSED, err == ERR_CLOSED ? "closed by the other side" : tls_error(c->tls));
}

static void receive_plain(struct conn *c, struct slice bytes)
{
    if (c->in.size) {
        buf_add_slice(&c->in, bytes);
        bytes = buf_slice(&c->in);
    }
    keep_rest(c, handle_frames(c, bytes));
    if (has_output(c))
        peer_conn_flush(c);
}

static bool may_step_tls(struct tcp_peers *p)
{
    uint64_t now_ms = peer_now_ms(p);
    if (now_ms != p->tls_handshake_ms)
        p->tls_handshake_count = 0;
    p->tls_handshake_ms = now_ms;
    return p->tls_handshake_count++ < TLS_STEPS_PER_MS;
}

static void wait_for_tls_step(struct conn *c, struct slice bytes)
{
    struct tcp_peers *p = c->p;
    buf_add_slice(&c->unread, bytes);
    uv_read_stop((uv_stream_t *)&c->tcp);
    if (list_is_empty(&p->tls_handshakes))
        p->io->ops->timer_start(p->io, &p->tls_handshake_timer, 1);
    list_add_last(&p->tls_handshakes, &c->waiting);
}

static void peer_conn_on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b);
static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *b);

static void start_reading(struct conn *c)
{
    int rc = uv_read_start((uv_stream_t *)&c->tcp, on_alloc, peer_conn_on_read);
    if (rc < 0)
        close_uv(c, "read", rc);
}

static void on_tls_handshake_timer(struct io_timer *t)
{
    struct tcp_peers *p = container_of(t, struct tcp_peers, tls_handshake_timer);
    struct link *l = NULL;
    turn_enter(TURN_PEER_MESSAGES);
    for (int i = 0; i < TLS_STEPS_PER_MS && (l = list_take_first(&p->tls_handshakes)); i++) {
        struct conn *c = container_of(l, struct conn, waiting);
        struct buf unread = c->unread;
        c->unread = (struct buf){0};
        start_reading(c);
        if (c->state == CONN_TLS)
            receive_tls(c, buf_slice(&unread));
        buf_done(&unread);
    }
    if (!list_is_empty(&p->tls_handshakes))
        p->io->ops->timer_start(p->io, &p->tls_handshake_timer, 1);
}

void peer_conn_tls_init(struct tcp_peers *p)
{
    list_init(&p->tls_handshakes);
    p->tls_handshake_timer.fire = on_tls_handshake_timer;
}

static void peer_conn_on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct conn *c = s->data;
    turn_enter(TURN_PEER_MESSAGES);
    if (c->state == CONN_CLOSING || n == 0)
        return;
    if (n < 0) {
        if (n == UV_EOF)
            peer_conn_close(c, ERR_CLOSED, "closed by the other side");
        else
            close_uv(c, "read", (int)n);
        return;
    }
    c->received_ms = peer_now_ms(c->p);
    c->received_n += (size_t)n;
    if (c->state == CONN_FINISHING)
        return;
    if (c->state == CONN_TLS && c->is_accepted && !may_step_tls(c->p))
        wait_for_tls_step(c, slice_of(b->base, (size_t)n));
    else if (c->tls)
        receive_tls(c, slice_of(b->base, (size_t)n));
    else
        receive_plain(c, slice_of(b->base, (size_t)n));
}

/* One buffer for all connections: libuv reads into it and calls peer_conn_on_read at once. */
static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *b)
{
    struct conn *c = h->data;
    (void)suggested;
    *b = uv_buf_init((char *)c->p->read, READ_SIZE);
}

/* --- limit of unread output --------------------------------------------------------------------------- */
static void close_for_output(struct output_account *a, enum output_reason why)
{
    struct conn *c = container_of(a, struct conn, output);
    if (peer_report_may_log(c->p, output_reason_text(why), 0))
        log_warn("closing a connection whose output is not read", F_STR("remote-addr", c->remote),
                 F_STR("reason", output_reason_text(why)), F_UINT("bytes", a->bytes));
    peer_conn_close(c, ERR_LIMIT, output_reason_text(why));
}

/* --- opening ----------------------------------------------------------------------------------------- */
static void set_remote(struct conn *c, const struct sockaddr *address)
{
    char ip[64] = "?";
    uv_ip_name(address, ip, sizeof ip);
    bool is_v6 = address->sa_family == AF_INET6;
    unsigned port = ntohs(is_v6 ? ((const struct sockaddr_in6 *)(const void *)address)->sin6_port
                                : ((const struct sockaddr_in *)(const void *)address)->sin_port);
    snprintf(c->remote, sizeof c->remote, is_v6 ? "[%s]:%u" : "%s:%u", ip, port);
}

/* The kernel closes a connection whose bytes are not acknowledged for as long as a stream may be silent
 * (TCP_USER_TIMEOUT). Without it, a link that comes back after a minute waits another minute for a
 * retransmission. */
static void set_options(struct conn *c)
{
    int fd;
    unsigned timeout_ms = (unsigned)c->p->silence_ms;
    if (c->is_unix)
        return;
    uv_tcp_nodelay(&c->tcp, 1);
    uv_tcp_keepalive(&c->tcp, 1, 30);
    if (uv_fileno((uv_handle_t *)&c->tcp, &fd) == 0)
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof timeout_ms);
}

static struct conn *conn_new(struct tcp_peers *p, bool is_unix, const struct conn_ops *ops)
{
    struct conn *c = mem_new(sizeof *c);
    c->p = p;
    c->ops = ops;
    c->timer.fire = peer_conn_on_timer;
    output_open(&c->output, p->output, close_for_output);
    c->is_unix = is_unix;
    if (is_unix)
        uv_pipe_init(p->loop, &c->pipe, 0);
    else
        uv_tcp_init(p->loop, &c->tcp);
    c->tcp.data = c; /* `data` is at the same place in both */
    list_add_last(&p->conns, &c->all);
    p->open_handles++;
    return c;
}

static void on_connected(uv_connect_t *req, int status)
{
    struct conn *c = req->data;
    turn_enter(TURN_PEER_MESSAGES);
    if (c->state == CONN_CLOSING)
        return;
    if (status < 0) {
        close_uv(c, "connect", status);
        return;
    }
    set_options(c);
    c->received_ms = peer_now_ms(c->p);
    start_reading(c);
    if (c->state == CONN_CLOSING)
        return;
    if (c->tls)
        c->state = CONN_TLS; /* its first bytes are ready since tls_connect */
    else
        mark_open(c);
    peer_conn_flush(c);
}

static void connect_to(struct conn *c, const struct sockaddr *address)
{
    set_remote(c, address);
    c->state = CONN_CONNECTING;
    c->connect.data = c;
    int rc = uv_tcp_connect(&c->connect, &c->tcp, address, on_connected);
    if (rc < 0)
        close_uv(c, "connect", rc);
}

static void connect_to_file(struct conn *c)
{
    c->address_count = 1;
    c->state = CONN_CONNECTING;
    c->connect.data = c;
    uv_pipe_connect(&c->connect, &c->pipe, c->host, on_connected);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct conn *c = req->data;
    const struct addrinfo *chosen = NULL;
    turn_enter(TURN_PEER_MESSAGES);
    c->is_resolving = false;
    if (c->state == CONN_CLOSING) {
        uv_freeaddrinfo(list);
        peer_conn_free_if_done(c);
        return;
    }
    for (const struct addrinfo *a = list; a && c->address_count < ADDRESSES_MAX; a = a->ai_next)
        if (c->address_count++ == c->address)
            chosen = a;
    if (!chosen)
        chosen = list;
    if (status < 0 || !chosen)
        close_uv(c, "lookup", status < 0 ? status : UV_EAI_NODATA);
    else
        connect_to(c, chosen->ai_addr);
    uv_freeaddrinfo(list);
}

static void resolve_host(struct conn *c)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct sockaddr_storage address;
    char port[8];
    if (uv_ip4_addr(c->host, c->port, (struct sockaddr_in *)&address) == 0 ||
        uv_ip6_addr(c->host, c->port, (struct sockaddr_in6 *)&address) == 0) {
        c->address_count = 1;
        connect_to(c, (const struct sockaddr *)&address);
        return;
    }
    snprintf(port, sizeof port, "%u", c->port);
    c->lookup.data = c;
    int rc = uv_getaddrinfo(c->p->loop, &c->lookup, on_resolved, c->host, port, &hints);
    if (rc < 0)
        close_uv(c, "lookup", rc);
    else
        c->is_resolving = true;
}

/* The name in the certificate of a member with a socket file: unixs://localhost:2380 is localhost, as in etcd,
 * and so is a path. */
void peer_tls_name(const struct url *url, char *ret_name)
{
    size_t n = url->scheme[0] == 'u' ? strcspn(url->host, ":/") : strlen(url->host);
    memcpy(ret_name, n ? url->host : "localhost", n ? n : sizeof "localhost");
    ret_name[n ? n : strlen("localhost")] = 0;
}

bool peer_is_certified_for(const struct conn *c, const char *url)
{
    struct url parsed;
    char name[sizeof parsed.host];
    if (url_parse(slice_text(url), &parsed) != OK)
        return false;
    peer_tls_name(&parsed, name);
    return tls_peer_is(c->tls, name);
}

int peer_conn_dial(struct tcp_peers *p, const char *url, unsigned address, const struct conn_ops *ops,
                   void *owner, struct conn **ret_conn)
{
    struct url u;
    if (url_parse(slice_text(url), &u) != OK)
        return ERR_INVALID;
    bool is_unix = u.scheme[0] == 'u', is_tls = strchr(u.scheme + 4, 's') != NULL;
    if ((is_tls && !peer_tls_out(p)) || (is_unix && strlen(u.host) > PEER_SOCKET_PATH_MAX))
        return ERR_INVALID;
    struct conn *c = conn_new(p, is_unix, ops);
    output_exempt(&c->output);
    c->owner = owner;
    c->address = address;
    c->port = u.port;
    size_t n = strlen(u.host);
    memcpy(c->host, u.host, n + 1);
    /* A name may be absolute (with a dot at the end); no certificate has one. */
    if (!is_unix && n > 1 && c->host[n - 1] == '.')
        c->host[n - 1] = 0;
    if (is_tls) {
        char name[sizeof u.host];
        peer_tls_name(&u, name);
        tls_context_refresh(p->tls_out, peer_now_ms(p));
        c->tls = tls_connect(p->tls_out, is_unix ? name : c->host);
    }
    snprintf(c->remote, sizeof c->remote, "%.70s", url);
    peer_conn_timer(c, DIAL_MS);
    if (is_unix)
        connect_to_file(c);
    else
        resolve_host(c);
    *ret_conn = c;
    return OK;
}

int peer_conn_accept(struct tcp_peers *p, uv_stream_t *server, bool is_tls, const struct conn_ops *ops,
                     struct conn **ret_conn)
{
    bool is_unix = server->type == UV_NAMED_PIPE;
    struct sockaddr_storage address = {0};
    int size = sizeof address;
    struct conn *c = conn_new(p, is_unix, ops);
    c->is_accepted = true;
    c->state = CONN_OPEN;
    int rc = uv_accept(server, (uv_stream_t *)&c->tcp);
    if (rc < 0) {
        close_uv(c, "accept", rc);
        return ERR_CLOSED;
    }
    set_options(c);
    if (is_unix)
        snprintf(c->remote, sizeof c->remote, "unix");
    else if (uv_tcp_getpeername(&c->tcp, (struct sockaddr *)&address, &size) == 0)
        set_remote(c, (const struct sockaddr *)&address);
    c->received_ms = peer_now_ms(p);
    if (is_tls) {
        tls_context_refresh(p->tls_in, c->received_ms);
        c->tls = tls_accept(p->tls_in);
        c->state = CONN_TLS;
    }
    start_reading(c);
    *ret_conn = c;
    return c->state == CONN_CLOSING ? ERR_CLOSED : OK;
}
