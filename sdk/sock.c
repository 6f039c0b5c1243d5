/* SPDX-License-Identifier: Apache-2.0
 * A connected socket, with or without TLS: it resolves the name, tries each address, then passes bytes.
 * Bytes that the owner writes before the socket is open are queued. One write is under way at a time; later
 * bytes are joined to the next one.
 *
 * Each failure (resolution, every address, handshake, read, write) ends in one on_close with a sentence.
 * The struct lives until libuv has released all its handles, whatever the owner does. */
#include <stdio.h>

#include "base/clock.h"
#include "sdk/private.h"

enum sock_state {
    SOCK_LOOKING_UP,
    SOCK_CONNECTING,
    SOCK_HANDSHAKE,
    SOCK_OPEN,
    SOCK_CLOSING /* the owner has closed it */
};

struct sock {
    uv_tcp_t tcp;
    uv_getaddrinfo_t lookup;
    uv_connect_t connect;
    uv_write_t write;
    struct addrinfo *addresses, *next_address;
    enum sock_state state;
    bool is_resolving, is_writing, has_tcp;
    int last_status; /* the error of the last address */
    const struct sock_ops *ops;
    void *owner;
    struct tls *tls;
    struct buf plain;  /* the owner's bytes until the handshake is complete */
    struct buf out;    /* the bytes of the next write */
    struct buf flying; /* the bytes of the current write */
    struct buf in;     /* decrypted */
    uint8_t read_bytes[64 << 10];
};

static void on_connected(uv_connect_t *request, int status);

static void sock_free_if_done(struct sock *s)
{
    if (s->has_tcp || s->is_resolving)
        return;
    if (s->addresses)
        uv_freeaddrinfo(s->addresses);
    tls_free(s->tls);
    buf_done(&s->plain);
    buf_done(&s->out);
    buf_done(&s->flying);
    buf_done(&s->in);
    mem_free(s);
}

static void on_uv_closed(uv_handle_t *handle)
{
    struct sock *s = handle->data;
    s->has_tcp = false;
    sock_free_if_done(s);
}

void sock_close(struct sock *s)
{
    if (!s || s->state == SOCK_CLOSING)
        return;
    s->state = SOCK_CLOSING;
    if (s->has_tcp && !uv_is_closing((uv_handle_t *)&s->tcp))
        uv_close((uv_handle_t *)&s->tcp, on_uv_closed);
    if (s->is_resolving)
        uv_cancel((uv_req_t *)&s->lookup);
    sock_free_if_done(s);
}

/* Reports the failure to the owner, which may free the struct. */
static void sock_fail(struct sock *s, const char *what, const char *why)
{
    if (s->state == SOCK_CLOSING)
        return;
    char text[320];
    snprintf(text, sizeof text, "%s%s%s", what, *what ? ": " : "", why);
    void *owner = s->owner;
    const struct sock_ops *ops = s->ops;
    sock_close(s);
    ops->on_close(owner, text);
}

/* --- writing -------------------------------------------------------------------------------------------- */
static void flush(struct sock *s);

static void sock_on_written(uv_write_t *request, int status)
{
    struct sock *s = request->data;
    s->is_writing = false;
    if (s->state == SOCK_CLOSING)
        return;
    if (status < 0) {
        sock_fail(s, "write", uv_strerror(status));
        return;
    }
    buf_clear(&s->flying);
    flush(s);
    if (s->state == SOCK_OPEN && !s->is_writing)
        s->ops->on_drain(s->owner);
}

static void flush(struct sock *s)
{
    if (s->tls)
        tls_take_output(s->tls, &s->out);
    if (s->is_writing || !s->out.size)
        return;
    uv_buf_t b = uv_buf_init((char *)s->out.data, (unsigned)s->out.size);
    int n = uv_try_write((uv_stream_t *)&s->tcp, &b, 1);
    if (n > 0)
        buf_consume(&s->out, (size_t)n);
    if (!s->out.size)
        return;
    struct buf empty = buf_move(&s->flying);
    s->flying = buf_move(&s->out);
    s->out = empty;
    b = uv_buf_init((char *)s->flying.data, (unsigned)s->flying.size);
    s->write.data = s;
    s->is_writing = true;
    n = uv_write(&s->write, (uv_stream_t *)&s->tcp, &b, 1, sock_on_written);
    if (n < 0) {
        s->is_writing = false;
        sock_fail(s, "write", uv_strerror(n));
    }
}

void sock_write(struct sock *s, struct slice bytes)
{
    if (s->state == SOCK_CLOSING || !bytes.size)
        return;
    if (s->state != SOCK_OPEN) {
        buf_add_slice(&s->plain, bytes);
        return;
    }
    if (!s->tls)
        buf_add_slice(&s->out, bytes);
    else if (tls_send(s->tls, bytes) != OK) {
        sock_fail(s, "tls", tls_error(s->tls));
        return;
    }
    flush(s);
}

size_t sock_queued(const struct sock *s)
{
    return s->plain.size + s->out.size + s->flying.size;
}

/* --- reading -------------------------------------------------------------------------------------------- */
static void notify_open(struct sock *s)
{
    s->state = SOCK_OPEN;
    struct buf waited = buf_move(&s->plain);
    s->ops->on_open(s->owner);
    sock_write(s, buf_slice(&waited));
    buf_done(&waited);
}

static void receive_tls(struct sock *s, struct slice bytes)
{
    int err = tls_receive(s->tls, bytes, &s->in);
    if (err == ERR_MALFORMED || err == ERR_INTERNAL) {
        tls_take_output(s->tls, &s->out); /* the TLS alert, if it can still be sent */
        sock_fail(s, "", tls_error(s->tls)[0] ? tls_error(s->tls) : "tls: protocol error");
        return;
    }
    flush(s);
    if (s->state == SOCK_HANDSHAKE && tls_is_ready(s->tls))
        notify_open(s);
    if (s->state == SOCK_OPEN && s->in.size) {
        struct buf in = buf_move(&s->in);
        s->ops->on_data(s->owner, buf_slice(&in));
        buf_done(&in);
    }
    if (err == ERR_CLOSED)
        sock_fail(s, "", "closed by the server");
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    struct sock *s = handle->data;
    *ret = uv_buf_init((char *)s->read_bytes, sizeof s->read_bytes);
}

static void sock_on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
    struct sock *s = stream->data;
    if (s->state == SOCK_CLOSING || n == 0)
        return;
    if (n == UV_EOF)
        sock_fail(s, "",
                  s->state == SOCK_HANDSHAKE ? "closed by the server inside the TLS handshake"
                                             : "closed by the server");
    else if (n < 0)
        sock_fail(s, "read", uv_strerror((int)n));
    else if (s->tls)
        receive_tls(s, slice_of(b->base, (size_t)n));
    else
        s->ops->on_data(s->owner, slice_of(b->base, (size_t)n));
}

/* --- connecting ----------------------------------------------------------------------------------------- */
static void connect_next(struct sock *s)
{
    struct addrinfo *a = s->next_address;
    s->next_address = a->ai_next;
    s->state = SOCK_CONNECTING;
    s->has_tcp = uv_tcp_init(s->lookup.loop, &s->tcp) == 0;
    s->tcp.data = s->connect.data = s;
    int rc = s->has_tcp ? uv_tcp_connect(&s->connect, &s->tcp, a->ai_addr, on_connected) : UV_ENOMEM;
    if (rc < 0)
        sock_fail(s, "connect", uv_strerror(rc));
}

static void on_failed_closed(uv_handle_t *handle)
{
    struct sock *s = handle->data;
    s->has_tcp = false;
    if (s->state == SOCK_CLOSING)
        sock_free_if_done(s);
    else
        connect_next(s);
}

static void on_connected(uv_connect_t *request, int status)
{
    struct sock *s = request->data;
    if (s->state == SOCK_CLOSING)
        return;
    if (status < 0 && s->next_address) {
        uv_close((uv_handle_t *)&s->tcp, on_failed_closed);
        return;
    }
    if (status < 0) {
        sock_fail(s, "connect", uv_strerror(status));
        return;
    }
    uv_tcp_nodelay(&s->tcp, 1);
    status = uv_read_start((uv_stream_t *)&s->tcp, on_alloc, sock_on_read);
    if (status < 0)
        sock_fail(s, "read", uv_strerror(status));
    else if (s->tls) {
        s->state = SOCK_HANDSHAKE;
        flush(s);
    } else
        notify_open(s);
}

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct sock *s = request->data;
    s->is_resolving = false;
    s->addresses = s->next_address = list;
    if (s->state == SOCK_CLOSING)
        sock_free_if_done(s);
    else if (status < 0 || !list)
        sock_fail(s, "look up", uv_strerror(status < 0 ? status : UV_EAI_NODATA));
    else
        connect_next(s);
}

struct sock *sock_dial(uv_loop_t *loop, const struct endpoint *e, struct tls_context *tls,
                       const struct sock_ops *ops, void *owner)
{
    struct sock *s = mem_new(sizeof *s);
    s->ops = ops;
    s->owner = owner;
    if (tls) {
        tls_context_refresh(tls, clock_mono_ms()); /* the certificate may have been renewed */
        s->tls = tls_connect(tls, e->host);
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    char port[8];
    snprintf(port, sizeof port, "%u", e->port);
    s->lookup.data = s;
    s->lookup.loop = loop;
    s->is_resolving = uv_getaddrinfo(loop, &s->lookup, on_resolved, e->host, port, &hints) == 0;
    return s;
}
