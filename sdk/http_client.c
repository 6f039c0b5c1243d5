/* SPDX-License-Identifier: Apache-2.0
 * Blocking HTTP/1.1 client on one socket: the socket is non-blocking, and each read and write waits in poll
 * with a deadline. http_answer.c parses the response. */
#include "sdk/http_client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/net/tls.h"
#include "sdk/http_answer.h"

enum { PIECE_SIZE = 64 << 10 };

struct http_client {
    struct http_server server;
    char *host;
    int64_t dial_timeout_ms;
    int stop_fd;
    int fd; /* -1 = not connected */
    struct tls *tls;
    struct http_answer answer;
    struct buf in;   /* plain bytes that are not parsed yet */
    struct buf wire; /* TLS records to send */
    bool was_sent;
    bool is_streamed;
    char error[400];
};

struct deadline {
    uint64_t at_ms; /* 0 = none */
};

static struct deadline deadline_in(int64_t timeout_ms)
{
    if (timeout_ms < 0)
        return (struct deadline){0};
    return (struct deadline){clock_mono_ms() + (uint64_t)timeout_ms + 1};
}

static int http_client_fail(struct http_client *c, int err, const char *why)
{
    snprintf(c->error, sizeof c->error, "%s", why);
    return err;
}

struct http_client *http_client_new(const struct http_server *server, int64_t dial_timeout_ms, int stop_fd)
{
    struct http_client *c = mem_new(sizeof *c);
    c->server = *server;
    c->host = mem_string(server->host);
    c->dial_timeout_ms = dial_timeout_ms;
    c->stop_fd = stop_fd;
    c->fd = -1;
    return c;
}

void http_client_close(struct http_client *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    tls_free(c->tls);
    c->tls = NULL;
    buf_clear(&c->in);
    buf_clear(&c->wire);
}

void http_client_free(struct http_client *c)
{
    if (!c)
        return;
    http_client_close(c);
    http_answer_done(&c->answer);
    buf_done(&c->in);
    buf_done(&c->wire);
    mem_free(c->host);
    mem_free(c);
}

/* Waits until the socket is ready for events, or wake_fd is readable (*ret_is_ready is false then). */
static int http_client_wait_for(struct http_client *c, short events, struct deadline until, int wake_fd,
                                bool *ret_is_ready)
{
    for (;;) {
        struct pollfd fds[] = {{c->fd, events, 0}, {c->stop_fd, POLLIN, 0}, {wake_fd, POLLIN, 0}};
        int wait_ms = -1;
        if (until.at_ms) {
            uint64_t now = clock_mono_ms();
            uint64_t left = until.at_ms > now ? until.at_ms - now : 0;
            wait_ms = left > 1 << 30 ? 1 << 30 : (int)left;
        }
        int n = poll(fds, 3, wait_ms);
        if (n < 0 && errno != EINTR)
            return http_client_fail(c, ERR_IO, strerror(errno));
        if (n > 0 && fds[1].revents)
            return http_client_fail(c, ERR_CANCELED, "interrupted");
        if (n > 0 && (fds[0].revents || fds[2].revents)) {
            *ret_is_ready = fds[0].revents != 0;
            return OK;
        }
        if (n == 0 && until.at_ms)
            return http_client_fail(c, ERR_DEADLINE, "no answer in time");
    }
}

static int send_bytes(struct http_client *c, struct slice s, struct deadline until)
{
    while (s.size) {
        ssize_t n = send(c->fd, s.data, s.size, MSG_NOSIGNAL);
        if (n > 0) {
            s = slice_of(s.data + n, s.size - (size_t)n);
            continue;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return http_client_fail(c, ERR_CLOSED, strerror(errno));
        bool is_ready;
        int err = http_client_wait_for(c, POLLOUT, until, -1, &is_ready);
        if (err)
            return err;
    }
    return OK;
}

static int flush_tls(struct http_client *c, struct deadline until)
{
    tls_take_output(c->tls, &c->wire);
    int err = send_bytes(c, buf_slice(&c->wire), until);
    buf_clear(&c->wire);
    return err;
}

static int send_plain(struct http_client *c, struct slice s, struct deadline until)
{
    if (!c->tls)
        return send_bytes(c, s, until);
    while (s.size) { /* in pieces, so that a large body is not in memory twice */
        size_t size = s.size < PIECE_SIZE ? s.size : PIECE_SIZE;
        int err = tls_send(c->tls, slice_of(s.data, size));
        if (err)
            return http_client_fail(c, ERR_CLOSED, tls_error(c->tls));
        err = flush_tls(c, until);
        if (err)
            return err;
        s = slice_of(s.data + size, s.size - size);
    }
    return OK;
}

/* Reads once into c->in. *ret_is_end: the server has closed the connection. */
static int http_client_receive(struct http_client *c, struct deadline until, int wake_fd, bool *ret_is_end)
{
    *ret_is_end = false;
    bool is_ready;
    int err = http_client_wait_for(c, POLLIN, until, wake_fd, &is_ready);
    if (err || !is_ready)
        return err;
    struct buf *into = c->tls ? &c->wire : &c->in;
    ssize_t n = recv(c->fd, buf_reserve(into, PIECE_SIZE), PIECE_SIZE, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return OK;
    if (n < 0)
        return http_client_fail(c, ERR_CLOSED, strerror(errno));
    if (n == 0) {
        *ret_is_end = true;
        return OK;
    }
    into->size += (size_t)n;
    if (!c->tls)
        return OK;
    err = tls_receive(c->tls, buf_slice(&c->wire), &c->in);
    buf_clear(&c->wire);
    if (err == ERR_CLOSED) {
        *ret_is_end = true;
        return OK;
    }
    if (err) {
        http_client_fail(c, ERR_CLOSED, tls_error(c->tls));
        (void)flush_tls(c, until); /* sends the TLS alert */
        return ERR_CLOSED;
    }
    return flush_tls(c, until);
}

/* --- connecting -------------------------------------------------------------------------------------- */

static int connect_to(struct http_client *c, const struct addrinfo *a, struct deadline until)
{
    c->fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (c->fd < 0)
        return http_client_fail(c, ERR_CLOSED, strerror(errno));
    int one = 1;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int err = OK;
    if (connect(c->fd, a->ai_addr, a->ai_addrlen) != 0) {
        if (errno != EINPROGRESS) {
            err = http_client_fail(c, ERR_CLOSED, strerror(errno));
            goto out;
        }
        bool is_ready;
        err = http_client_wait_for(c, POLLOUT, until, -1, &is_ready);
        if (err)
            goto out;
        int failure = 0;
        socklen_t size = sizeof failure;
        if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0 || failure)
            err = http_client_fail(c, ERR_CLOSED, strerror(failure ? failure : errno));
    }
out:
    if (err)
        http_client_close(c);
    return err;
}

static int shake_hands(struct http_client *c, struct deadline until)
{
    c->tls = tls_connect(c->server.tls, c->host);
    int err = flush_tls(c, until);
    while (!err && !tls_is_ready(c->tls)) {
        bool is_end;
        err = http_client_receive(c, until, -1, &is_end);
        if (!err && is_end)
            err = http_client_fail(
                c, ERR_CLOSED,
                "the TLS handshake was broken off; does the server want a client certificate, or no TLS?");
    }
    if (!err && c->server.checks_name && !tls_peer_is(c->tls, c->host)) {
        snprintf(c->error, sizeof c->error, "tls: the certificate is not for %s", c->host);
        err = ERR_CLOSED;
    }
    if (err)
        http_client_close(c);
    return err;
}

static int http_client_dial(struct http_client *c)
{
    char port[8];
    snprintf(port, sizeof port, "%u", c->server.port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG}, *list = NULL;
    int failure = getaddrinfo(c->host, port, &hints, &list);
    if (failure) /* fails for an address family without interface */
        hints.ai_flags = 0, failure = getaddrinfo(c->host, port, &hints, &list);
    if (failure) {
        snprintf(c->error, sizeof c->error, "cannot find the host %s: %s", c->host, gai_strerror(failure));
        return ERR_CLOSED;
    }
    struct deadline until = deadline_in(c->dial_timeout_ms);
    int err = ERR_CLOSED;
    for (const struct addrinfo *a = list; a && err && err != ERR_CANCELED; a = a->ai_next)
        err = connect_to(c, a, until);
    freeaddrinfo(list);
    if (!err && c->server.tls)
        err = shake_hands(c, until);
    return err;
}

/* True if the idle connection can be reused. It must be silent: if it is readable, it has ended. */
static bool is_usable(const struct http_client *c)
{
    struct pollfd p = {c->fd, POLLIN, 0};
    return c->fd >= 0 && c->answer.phase == HTTP_ANSWER_DONE && c->answer.keeps_alive && c->in.size == 0 &&
           poll(&p, 1, 0) == 0;
}

/* --- a request --------------------------------------------------------------------------------------- */

int http_client_begin(struct http_client *c, const struct http_request *r, int64_t timeout_ms)
{
    c->was_sent = false;
    c->error[0] = 0;
    if (!is_usable(c)) {
        http_client_close(c);
        int err = http_client_dial(c);
        if (err)
            return err;
    }
    http_answer_done(&c->answer);
    c->is_streamed = r->is_streamed;
    struct deadline until = deadline_in(timeout_ms);
    struct buf head = {0};
    bool is_v6 = strchr(c->host, ':') != NULL;
    buf_addf(&head, "%s ", r->method);
    buf_add_slice(&head, r->target);
    buf_addf(&head, " HTTP/1.1\r\nHost: %s%s%s:%u\r\n", is_v6 ? "[" : "", c->host, is_v6 ? "]" : "",
             c->server.port);
    buf_add_slice(&head, r->fields);
    if (r->is_streamed)
        buf_add_text(&head, "Transfer-Encoding: chunked\r\n");
    else if (r->has_body)
        buf_addf(&head, "Content-Length: %zu\r\n", r->body.size);
    buf_add_text(&head, "\r\n");
    bool is_small = r->body.size < PIECE_SIZE; /* then head and body are sent in one packet */
    if (is_small)
        buf_add_slice(&head, r->body);
    c->was_sent = true;
    int err = send_plain(c, buf_slice(&head), until);
    if (!err && !is_small)
        err = send_plain(c, r->body, until);
    buf_done(&head);
    /* A server may reject a large body before it has read all of it. Its response is a better error than
     * the broken pipe. */
    return err == ERR_CLOSED && !is_small ? OK : err;
}

int http_client_send_piece(struct http_client *c, struct slice piece, int64_t timeout_ms)
{
    if (c->fd < 0)
        return http_client_fail(c, ERR_CLOSED, "the connection has ended");
    struct buf chunk = {0};
    buf_addf(&chunk, "%zx\r\n", piece.size);
    buf_add_slice(&chunk, piece);
    buf_add_text(&chunk, "\r\n");
    int err = piece.size ? send_plain(c, buf_slice(&chunk), deadline_in(timeout_ms)) : OK;
    buf_done(&chunk);
    return err;
}

int http_client_end_body(struct http_client *c, int64_t timeout_ms)
{
    if (c->fd < 0 || !c->is_streamed)
        return OK;
    c->is_streamed = false;
    return send_plain(c, slice_text("0\r\n\r\n"), deadline_in(timeout_ms));
}

/* Parses the received bytes; if there are none, it reads once. */
static int http_client_step(struct http_client *c, struct deadline until, int wake_fd, struct buf *body)
{
    if (c->in.size == 0) {
        bool is_end;
        if (c->fd < 0)
            return http_client_fail(c, ERR_CLOSED, "the connection has ended");
        int err = http_client_receive(c, until, wake_fd, &is_end);
        if (err)
            return err;
        if (is_end)
            return http_answer_end(&c->answer)
                       ? http_client_fail(c, ERR_CLOSED, "the server closed the connection")
                       : OK;
    }
    struct slice rest = buf_slice(&c->in);
    int err = http_answer_feed(&c->answer, &rest, body);
    buf_consume(&c->in, c->in.size - rest.size);
    return err ? http_client_fail(c, ERR_MALFORMED, "what answers there does not speak HTTP") : OK;
}

int http_client_head(struct http_client *c, int64_t timeout_ms)
{
    struct deadline until = deadline_in(timeout_ms);
    int err = OK;
    while (!err && !http_answer_has_head(&c->answer))
        err = http_client_step(c, until, -1, NULL); /* the rest stays in `in` for http_client_read */
    if (err)
        http_client_close(c);
    return err;
}

int http_client_read(struct http_client *c, int64_t timeout_ms, int wake_fd, struct buf *ret_body,
                     bool *ret_is_end)
{
    struct deadline until = deadline_in(timeout_ms);
    size_t had = ret_body->size;
    int err = OK;
    do {
        *ret_is_end = c->answer.phase == HTTP_ANSWER_DONE;
        if (*ret_is_end)
            return OK;
        err = http_client_step(c, until, wake_fd, ret_body);
    } while (!err && ret_body->size == had && wake_fd < 0);
    if (err)
        http_client_close(c);
    return err;
}

int http_client_call(struct http_client *c, const struct http_request *r, int64_t timeout_ms,
                     struct buf *ret_body)
{
    struct deadline until = deadline_in(timeout_ms);
    int err = http_client_begin(c, r, timeout_ms);
    if (!err)
        err = http_client_head(c, timeout_ms);
    bool is_end = false;
    while (!err && !is_end) {
        uint64_t now = clock_mono_ms();
        int64_t left_ms = !until.at_ms ? -1 : until.at_ms > now ? (int64_t)(until.at_ms - now) : 0;
        err = http_client_read(c, left_ms, -1, ret_body, &is_end);
    }
    if (err)
        http_client_close(c);
    return err;
}

int http_client_status(const struct http_client *c)
{
    return c->answer.status;
}

bool http_client_field(const struct http_client *c, const char *name, struct slice *ret_value)
{
    return http_answer_field(&c->answer, name, ret_value);
}

bool http_client_was_sent(const struct http_client *c)
{
    return c->was_sent;
}

const char *http_client_error(const struct http_client *c)
{
    return c->error;
}
