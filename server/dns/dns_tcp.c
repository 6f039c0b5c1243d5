/* SPDX-License-Identifier: Apache-2.0
 * DNS over TCP (RFC 7766): messages with two bytes of length before each; queries are answered in order.
 *
 * A connection buffers one incomplete query, and the output that the client has not read. While that
 * output is more than PENDING_MAX, nothing is read from the client. A connection is closed when
 *   - it has been idle for idle_ms: no complete query came and no byte was sent;
 *   - it sends something that is not a DNS message;
 *   - all connections of the process hold too much unread output (base/net/output.h);
 *   - another connection needs its place: the source prefix with the most connections loses the one that
 *     has been idle for longest. So one source cannot take the connections of all others. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/log_limit.h"
#include "base/metric.h"
#include "base/net/output.h"
#include "base/turn.h"
#include "server/dns/dns_server_private.h"

enum {
    LENGTH_SIZE = 2,
    ACCEPTS_PER_TURN = 32,
    PAUSE_MS = 100, /* pause in accepting when there are no file descriptors left */
    PENDING_MAX = 16384,
};

struct connection {
    struct link link; /* in server->connections */
    uv_poll_t poll;
    struct dns_server *server;
    int fd;
    struct dns_address client;
    struct output_account output;
    uint64_t deadline_ms;
    bool has_ended;  /* the client sends no more */
    bool is_waiting; /* a query for the next turn of the loop */
    int wanted;      /* the poll events in use: changing them takes two system calls */
    struct buf out;  /* not sent yet */
    size_t in_size;
    uint8_t in[LENGTH_SIZE + DNS_QUERY_MAX];
};

static void dns_tcp_on_timer(uv_timer_t *t);
static void dns_tcp_on_ready(uv_poll_t *h, int status, int events);

static void arm_timer(struct dns_server *s)
{
    uint64_t now = uv_now(s->loop), delay = PAUSE_MS;
    if (!s->is_paused) {
        if (list_is_empty(&s->connections))
            return;
        uint64_t end = container_of(s->connections.next, struct connection, link)->deadline_ms;
        delay = end > now ? end - now : 0;
    }
    uv_timer_start(&s->timer, dns_tcp_on_timer, delay, 0);
}

static void dns_tcp_on_closed(uv_handle_t *h)
{
    struct connection *c = h->data;
    struct dns_server *s = c->server;
    buf_done(&c->out);
    mem_free(c);
    dns_server_handle_closed(s);
}

static void close_connection(struct connection *c)
{
    output_forget(&c->output);
    list_remove(&c->link);
    c->server->connection_count--;
    uv_poll_stop(&c->poll);
    uv_close((uv_handle_t *)&c->poll, dns_tcp_on_closed);
    close(c->fd);
}

static void close_for_output(struct output_account *a, enum output_reason why)
{
    static struct log_limit limit;
    struct connection *c = container_of(a, struct connection, output);
    char address[INET6_ADDRSTRLEN] = "?";
    inet_ntop(c->client.size == sizeof(struct in_addr) ? AF_INET : AF_INET6, c->client.bytes, address,
              sizeof address);
    log_warn_limited(&limit, uv_now(c->server->loop), "closing a connection whose output is not read",
                     F_STR("remote-addr", address), F_STR("reason", output_reason_text(why)),
                     F_UINT("bytes", a->bytes));
    close_connection(c);
}

/* Move it to the tail of the list: it was active last. */
static void dns_tcp_touch(struct connection *c)
{
    struct dns_server *s = c->server;
    list_remove(&c->link);
    list_add_last(&s->connections, &c->link);
    c->deadline_ms = uv_now(s->loop) + s->idle_ms;
}

static void dns_tcp_on_timer(uv_timer_t *t)
{
    struct dns_server *s = t->data;
    turn_enter(TURN_TIMER);
    uint64_t now = uv_now(s->loop);
    if (s->is_paused) {
        s->is_paused = false;
        dns_tcp_watch(s);
    }
    while (!list_is_empty(&s->connections)) {
        struct connection *c = container_of(s->connections.next, struct connection, link);
        if (c->deadline_ms > now)
            break;
        close_connection(c);
    }
    arm_timer(s);
}

/* --- one connection ---------------------------------------------------------------------------------- */
/* Answers the complete queries in c->in while the client reads; false: the input is not DNS. */
static bool answer_queries(struct connection *c)
{
    size_t at = 0;
    bool is_dns = true;
    c->is_waiting = false;
    for (unsigned n_answered = 0; c->out.size <= PENDING_MAX && c->in_size - at >= LENGTH_SIZE;
         n_answered++) {
        c->is_waiting = n_answered > 0 && dns_server_is_slice_over(c->server);
        if (c->is_waiting)
            break;
        size_t size = (size_t)(c->in[at] << 8 | c->in[at + 1]);
        is_dns = size >= DNS_HEADER_SIZE && size <= DNS_QUERY_MAX;
        if (!is_dns || c->in_size - at < LENGTH_SIZE + size)
            break;
        size_t n = dns_server_answer(c->server, slice_of(c->in + at + LENGTH_SIZE, size), DNS_TCP, &c->client,
                                     c->server->answer);
        is_dns = n > 0;
        if (!is_dns)
            break;
        buf_add(&c->out, (uint8_t[]){(uint8_t)(n >> 8), (uint8_t)n}, LENGTH_SIZE);
        buf_add(&c->out, c->server->answer, n);
        at += LENGTH_SIZE + size;
        dns_tcp_touch(c);
    }
    c->in_size -= at;
    memmove(c->in, c->in + at, c->in_size);
    return is_dns;
}

/* False: the client has disconnected. */
static bool send_answers(struct connection *c)
{
    while (c->out.size > 0) {
        ssize_t n = send(c->fd, c->out.data, c->out.size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        buf_consume(&c->out, (size_t)n);
        output_took(&c->output, (uint64_t)n, uv_now(c->server->loop));
        dns_tcp_touch(c);
    }
    return true;
}

static bool dns_tcp_receive(struct connection *c)
{
    size_t room = sizeof c->in - c->in_size;
    ssize_t n = room ? recv(c->fd, c->in + c->in_size, room, MSG_DONTWAIT) : -1;
    if (n > 0)
        c->in_size += (size_t)n;
    c->has_ended = n == 0;
    return n >= 0 || !room || errno == EAGAIN || errno == EINTR;
}

/* Sends and answers until there is no progress: sending may make room for an answer that waited. */
static bool transfer(struct connection *c)
{
    size_t in_before, out_before;
    do {
        in_before = c->in_size;
        out_before = c->out.size;
        if (!answer_queries(c) || !send_answers(c))
            return false;
    } while (!c->is_waiting && (c->in_size != in_before || c->out.size != out_before));
    return c->is_waiting || !(c->has_ended && c->out.size == 0);
}

static void dns_tcp_on_ready(uv_poll_t *h, int status, int events)
{
    struct connection *c = h->data;
    turn_enter(TURN_DNS_QUERY);
    if (status < 0 || ((events & UV_READABLE) && !dns_tcp_receive(c)) || !transfer(c)) {
        close_connection(c);
        return;
    }
    output_set(&c->output, c->out.size, uv_now(c->server->loop));
    bool is_read = c->out.size <= PENDING_MAX && !c->has_ended;
    /* A query waits for the next turn of the loop: the socket is writable, so polling for that wakes it at
     * once. */
    int wanted = (is_read ? UV_READABLE : 0) | (c->out.size || c->is_waiting ? UV_WRITABLE : 0);
    if (wanted != c->wanted)
        uv_poll_start(h, wanted, dns_tcp_on_ready);
    c->wanted = wanted;
}

/* --- accepting --------------------------------------------------------------------------------------- */
enum { COUNTERS = 1024 };

/* The counter of a client's prefix. Two prefixes may share one; the hash has a random key, so a client
 * cannot choose which. */
static size_t counter_of(const struct dns_address *client)
{
    struct dns_address prefix = dns_rate_prefix(client);
    return hash64(prefix.bytes, prefix.size) % COUNTERS;
}

static void dns_tcp_make_room(struct dns_server *s, const struct dns_address *newcomer)
{
    uint32_t counts[COUNTERS] = {0}, most = 0;
    counts[counter_of(newcomer)] = 1;
    LIST_FOR_EACH (l, &s->connections) {
        uint32_t count = ++counts[counter_of(&container_of(l, struct connection, link)->client)];
        most = count > most ? count : most;
    }
    LIST_FOR_EACH (l, &s->connections) {
        struct connection *c = container_of(l, struct connection, link);
        if (counts[counter_of(&c->client)] == most) {
            close_connection(c);
            metric_add(METRIC_DNS_CONNECTIONS_EVICTED, 1);
            return;
        }
    }
}

static void accept_connection(struct dns_server *s, int fd, const struct sockaddr_storage *from)
{
    int on = 1;
    struct dns_address client;
    dns_server_read_client(from, &client);
    if (s->connection_count >= s->connections_max)
        dns_tcp_make_room(s, &client);
    struct connection *c = mem_new(sizeof *c);
    if (uv_poll_init(s->loop, &c->poll, fd) != 0) {
        close(fd);
        mem_free(c);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->server = s;
    c->fd = fd;
    c->client = client;
    output_open(&c->output, s->output, close_for_output);
    c->poll.data = c;
    s->open_handles++;
    s->connection_count++;
    dns_tcp_touch(c);
    c->wanted = UV_READABLE;
    uv_poll_start(&c->poll, c->wanted, dns_tcp_on_ready);
    if (!uv_is_active((uv_handle_t *)&s->timer))
        arm_timer(s);
}

static void pause_accepting(struct dns_server *s)
{
    log_warn("cannot accept DNS connections for now", F_STR("error", strerror(errno)));
    s->is_paused = true;
    for (size_t i = 0; i < s->tcp_count; i++)
        uv_poll_stop(&s->tcp[i].poll);
    arm_timer(s);
}

static void on_connection(uv_poll_t *h, int status, int events)
{
    struct dns_socket *socket = h->data;
    (void)status;
    (void)events;
    turn_enter(TURN_ACCEPT);
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage from = {0};
        socklen_t size = sizeof from;
        int fd = accept4(socket->fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accept_connection(socket->server, fd, &from);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(socket->server);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

void dns_tcp_watch(struct dns_server *s)
{
    for (size_t i = 0; i < s->tcp_count; i++)
        uv_poll_start(&s->tcp[i].poll, UV_READABLE, on_connection);
}

void dns_tcp_stop(struct dns_server *s)
{
    uv_timer_stop(&s->timer);
    while (!list_is_empty(&s->connections))
        close_connection(container_of(s->connections.next, struct connection, link));
}

size_t dns_tcp_pending(const struct dns_server *s)
{
    size_t size = 0;
    LIST_FOR_EACH (l, &s->connections)
        size += container_of(l, struct connection, link)->out.size;
    return size;
}
