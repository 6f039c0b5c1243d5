/* SPDX-License-Identifier: Apache-2.0
 * One listening URL: its sockets, and the connections whose protocol is not known yet (struct unidentified).
 *
 *   accept -> unidentified --first bytes, peeked--> grpc_server_adopt | http_server_adopt
 *                `--10 s, an invalid start, or too many of them: the oldest--> closed
 *
 * The first bytes are only peeked. A connection with half a preface must not wake the loop again and again, so
 * SO_RCVLOWAT is set to the number of bytes that the next check needs. It goes back to 1 before the hand-over.
 * A handle is closed before its fd is handed over: libuv allows the same fd in a new handle at once.
 *
 * A TLS handshake takes about half a millisecond of the loop. HANDSHAKES_PER_MS of them begin at once. Further
 * connections with a complete ClientHello wait in queues by source, which are served in turn. Waiting costs no
 * CPU. */
#include "server/listen.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

#include "base/log_limit.h"
#include "base/net/sources.h"
#include "base/port_holder.h"
#include "base/text.h"
#include "base/turn.h"
#include "server/alpn.h"
#include "server/options.h"

enum {
    BACKLOG = 1024,
    ACCEPTS_PER_TURN = 64,
    UNIDENTIFIED_MS = 10000,
    PAUSE_MS = 100,        /* without accepting, when file descriptors have run out */
    TCP_IDLE_SECONDS = 30, /* TCP keepalive, as etcd's listener */
    SOCKETS_MAX = 2,       /* localhost: 127.0.0.1 and ::1 */
    TLS_HANDSHAKE = 0x16,
    HANDSHAKES_PER_MS = 1, /* that begin; each takes about half a millisecond of the loop */
    HANDSHAKE_QUEUES = 64, /* several sources may share one */
};

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum verdict { VERDICT_H2, VERDICT_HTTP, VERDICT_H2_TLS, VERDICT_HTTP_TLS, VERDICT_MORE, VERDICT_REFUSE };

struct unidentified {
    struct link link;
    struct source_conn source;
    uv_poll_t poll;
    struct listener *listener;
    int fd;
    int low_water;
    uint64_t deadline_ms;
    struct link waiting; /* while it waits for a handshake: in listener.waiting[queue] */
    unsigned queue;
    enum verdict verdict; /* while it waits */
};

struct socket {
    uv_poll_t poll;
    struct listener *listener;
    int fd;
};

struct listener {
    struct listen_options options;
    struct url url;
    bool is_tls_only, is_unix;
    struct socket sockets[SOCKETS_MAX];
    size_t socket_count;
    struct link unidentified; /* oldest first */
    size_t unidentified_count;
    uv_timer_t timer; /* the deadline of the oldest unidentified connection, or the end of a pause */
    bool is_paused, is_closing, has_exhaustion_logged;
    size_t open_handles;
    uint64_t handshake_ms; /* the loop's time for which `handshakes` counts */
    unsigned handshakes;
    uv_timer_t handshake_timer;
    struct link waiting[HANDSHAKE_QUEUES];
    unsigned next_queue;
    size_t waiting_count;
};

static void server_listen_free_if_done(struct listener *l)
{
    if (l->is_closing && l->open_handles == 0)
        mem_free(l);
}

/* --- connections whose protocol is not known yet ------------------------------------------------------- */
static void arm_timer(struct listener *l);

static void on_unidentified_close(uv_handle_t *h)
{
    struct unidentified *g = h->data;
    struct listener *l = g->listener;
    l->open_handles--;
    mem_free(g);
    server_listen_free_if_done(l);
}

/* Takes the connection out of the listener; returns its socket. */
static int unidentified_leave(struct unidentified *g)
{
    int fd = g->fd;
    list_remove(&g->link);
    g->listener->waiting_count -= link_is_in_list(&g->waiting);
    list_remove(&g->waiting);
    sources_leave(&g->source);
    g->listener->unidentified_count--;
    uv_poll_stop(&g->poll);
    uv_close((uv_handle_t *)&g->poll, on_unidentified_close);
    return fd;
}

static void unidentified_reject(struct unidentified *g, const char *why)
{
    static struct log_limit limit;
    if (why)
        log_warn_limited(&limit, uv_now(g->listener->options.loop), "rejected connection on client endpoint",
                         F_STR("error", why));
    close(unidentified_leave(g));
}

static enum verdict judge_tls(const struct listener *l, struct slice in, size_t *ret_needed)
{
    if (!l->options.tls && l->options.serves != LISTEN_HTTP_ONLY && l->options.serves != LISTEN_METRICS)
        return VERDICT_REFUSE;
    switch (alpn_read(in, ret_needed)) {
    case ALPN_MORE:
        return VERDICT_MORE;
    case ALPN_H2:
        return l->options.tls ? VERDICT_H2_TLS : VERDICT_HTTP_TLS;
    case ALPN_NONE:
    case ALPN_HTTP:
        return l->options.serves == LISTEN_GRPC_ONLY ? VERDICT_H2_TLS : VERDICT_HTTP_TLS;
    case ALPN_BAD:
    default:
        return VERDICT_REFUSE;
    }
}

/* Detects the HTTP/2 preface. HTTP/1.1 methods may have any name. So all bytes that have come must match
 * the preface, and "PRI " decides. */
static enum verdict server_listen_judge(const struct listener *l, struct slice in, size_t *ret_needed)
{
    enum { PREFIX = 4 };
    if (l->is_tls_only || (in.data[0] == TLS_HANDSHAKE && l->options.allow_both))
        return in.data[0] == TLS_HANDSHAKE ? judge_tls(l, in, ret_needed) : VERDICT_REFUSE;
    if (in.data[0] == TLS_HANDSHAKE)
        return VERDICT_REFUSE;
    if (l->options.serves == LISTEN_GRPC_ONLY)
        return VERDICT_H2;
    size_t n = in.size < PREFIX ? in.size : PREFIX;
    if (memcmp(in.data, preface, n) != 0)
        return VERDICT_HTTP;
    *ret_needed = PREFIX;
    return n == PREFIX ? VERDICT_H2 : VERDICT_MORE;
}

static void set_low_water(struct unidentified *g, int bytes)
{
    if (g->low_water == bytes)
        return;
    g->low_water = bytes;
    setsockopt(g->fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
}

static bool may_begin_handshake(struct listener *l)
{
    uint64_t now = uv_now(l->options.loop);
    if (now != l->handshake_ms)
        l->handshakes = 0;
    l->handshake_ms = now;
    return l->waiting_count == 0 && l->handshakes++ < HANDSHAKES_PER_MS;
}

static void evict(struct source_conn *s)
{
    unidentified_reject(container_of(s, struct unidentified, source), NULL);
}

static void server_listen_hand_over(struct unidentified *g, enum verdict verdict)
{
    const struct listen_options *o = &g->listener->options;
    set_low_water(g, 1);
    int fd = unidentified_leave(g);
    enum http_role role = o->serves == LISTEN_METRICS ? HTTP_METRICS_ONLY : HTTP_ALL;
    static const enum grpc_serves serves[] = {
        [LISTEN_ALL] = GRPC_AND_HTTP,
        [LISTEN_GRPC_ONLY] = GRPC_ALONE,
        [LISTEN_HTTP_ONLY] = GRPC_HTTP_ALONE,
        [LISTEN_METRICS] = GRPC_METRICS_ALONE,
    };
    if (verdict == VERDICT_H2 || verdict == VERDICT_H2_TLS)
        grpc_server_adopt(o->grpc, fd, verdict == VERDICT_H2_TLS ? o->tls : NULL, serves[o->serves]);
    else
        http_server_adopt(o->http, fd, verdict == VERDICT_HTTP_TLS, role);
}

/* Takes one from each queue in turn: many handshakes of one source do not delay other sources. */
static struct unidentified *next_waiting(struct listener *l)
{
    for (unsigned i = 0; i < HANDSHAKE_QUEUES; i++) {
        struct link *first = list_take_first(&l->waiting[l->next_queue++ % HANDSHAKE_QUEUES]);
        if (first) {
            l->waiting_count--;
            return container_of(first, struct unidentified, waiting);
        }
    }
    return NULL;
}

static void on_handshake_timer(uv_timer_t *t)
{
    struct listener *l = t->data;
    struct unidentified *g;
    turn_enter(TURN_ACCEPT);
    for (int i = 0; i < HANDSHAKES_PER_MS && (g = next_waiting(l)); i++)
        server_listen_hand_over(g, g->verdict);
    if (l->waiting_count)
        uv_timer_start(t, on_handshake_timer, 1, 0);
}

static void on_unidentified_readable(uv_poll_t *h, int status, int events);

/* The ClientHello stays in the socket. Between two handshakes the loop serves open connections. */
static void wait_for_handshake(struct unidentified *g, enum verdict verdict)
{
    struct listener *l = g->listener;
    g->verdict = verdict;
    list_add_last(&l->waiting[g->queue], &g->waiting);
    l->waiting_count++;
    uv_poll_start(&g->poll, UV_DISCONNECT, on_unidentified_readable);
    if (!uv_is_active((uv_handle_t *)&l->handshake_timer))
        uv_timer_start(&l->handshake_timer, on_handshake_timer, 1, 0);
}

static void on_unidentified_readable(uv_poll_t *h, int status, int events)
{
    struct unidentified *g = h->data;
    uint8_t bytes[ALPN_HELLO_MAX];
    turn_enter(TURN_ACCEPT);
    if (link_is_in_list(&g->waiting)) {
        unidentified_reject(g, NULL); /* it has disconnected */
        return;
    }
    ssize_t n = status < 0 ? 0 : recv(g->fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        unidentified_reject(g, NULL);
        return;
    }
    size_t needed = 0;
    enum verdict verdict = server_listen_judge(g->listener, slice_of(bytes, (size_t)n), &needed);
    switch (verdict) {
    case VERDICT_MORE:
        if (events & UV_DISCONNECT)
            unidentified_reject(g, NULL);
        else
            set_low_water(g, (int)needed);
        return;
    case VERDICT_REFUSE:
        unidentified_reject(g, bytes[0] == TLS_HANDSHAKE
                                   ? "tls: unexpected handshake"
                                   : "tls: first record does not look like a TLS handshake");
        return;
    case VERDICT_H2:
    case VERDICT_HTTP:
        server_listen_hand_over(g, verdict);
        return;
    case VERDICT_H2_TLS:
    case VERDICT_HTTP_TLS:
        if (may_begin_handshake(g->listener))
            server_listen_hand_over(g, verdict);
        else
            wait_for_handshake(g, verdict);
        return;
    }
}

static void unidentified_add(struct listener *l, int fd, const struct sockaddr_storage *from)
{
    if (l->unidentified_count >= l->options.connections_max && !list_is_empty(&l->unidentified))
        unidentified_reject(container_of(l->unidentified.next, struct unidentified, link), NULL);
    struct unidentified *g = mem_new(sizeof *g);
    g->listener = l;
    g->fd = fd;
    g->low_water = 1;
    g->queue = (unsigned)(sources_id(from) >> 8) % HANDSHAKE_QUEUES;
    if (uv_poll_init(l->options.loop, &g->poll, fd) != 0) {
        close(fd);
        mem_free(g);
        return;
    }
    g->poll.data = g;
    g->deadline_ms = uv_now(l->options.loop) + l->options.sniff_timeout_ms;
    sources_enter(l->options.sources, &g->source, from, evict);
    list_add_last(&l->unidentified, &g->link);
    l->unidentified_count++;
    l->open_handles++;
    uv_poll_start(&g->poll, UV_READABLE | UV_DISCONNECT, on_unidentified_readable);
    if (l->unidentified_count == 1)
        arm_timer(l);
}

/* --- accepting ------------------------------------------------------------------------------------- */
static void on_connection(uv_poll_t *h, int status, int events);

static void watch_sockets(struct listener *l)
{
    l->is_paused = false;
    for (size_t i = 0; i < l->socket_count; i++)
        uv_poll_start(&l->sockets[i].poll, UV_READABLE, on_connection);
}

static void pause_accepting(struct listener *l)
{
    if (!l->has_exhaustion_logged)
        log_warn("cannot accept connections for now", F_STR("url", l->options.url),
                 F_STR("error", strerror(errno)));
    l->has_exhaustion_logged = true;
    l->is_paused = true;
    for (size_t i = 0; i < l->socket_count; i++)
        uv_poll_stop(&l->sockets[i].poll);
    arm_timer(l);
}

static void server_listen_on_timer(uv_timer_t *t)
{
    struct listener *l = t->data;
    turn_enter(TURN_TIMER);
    uint64_t now = uv_now(l->options.loop);
    if (l->is_paused)
        watch_sockets(l);
    while (!list_is_empty(&l->unidentified)) {
        struct unidentified *g = container_of(l->unidentified.next, struct unidentified, link);
        if (g->deadline_ms > now)
            break;
        unidentified_reject(g, NULL);
    }
    arm_timer(l);
}

static void arm_timer(struct listener *l)
{
    uint64_t now = uv_now(l->options.loop), delay = PAUSE_MS;
    if (!l->is_paused) {
        if (list_is_empty(&l->unidentified))
            return;
        uint64_t end = container_of(l->unidentified.next, struct unidentified, link)->deadline_ms;
        delay = end > now ? end - now : 0;
    }
    uv_timer_start(&l->timer, server_listen_on_timer, delay, 0);
}

static void on_connection(uv_poll_t *h, int status, int events)
{
    (void)status;
    (void)events;
    struct socket *s = h->data;
    struct listener *l = s->listener;
    turn_enter(TURN_ACCEPT);
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage from = {0};
        socklen_t size = sizeof from;
        int fd = accept4(s->fd, (struct sockaddr *)&from, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            l->has_exhaustion_logged = false;
            unidentified_add(l, fd, &from);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(l);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

/* --- opening --------------------------------------------------------------------------------------- */
static int listen_error(char *error, size_t size, const char *url, const char *what, int errnum)
{
    snprintf(error, size, "cannot listen on %s: %s%s%s", url, what, errnum ? ": " : "",
             errnum ? strerror(errnum) : "");
    return errnum == EADDRINUSE ? ERR_EXISTS : ERR_INVALID;
}

/* Accepted sockets inherit these: a connection costs no system call for them. */
static void set_options(const struct listener *l, int fd, int family)
{
    int on = 1, seconds = TCP_IDLE_SECONDS;
    if (family == AF_UNIX)
        return;
    /* Without it a restart has to wait for old connections to time out; Go sets it always. */
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (l->options.reuse_port)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof seconds);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &seconds, sizeof seconds);
}

static const char *listen_flag(const struct listener *l)
{
    return l->options.serves == LISTEN_HTTP_ONLY ? "--listen-client-http-urls"
           : l->options.serves == LISTEN_METRICS ? "--listen-metrics-urls"
                                                 : "--listen-client-urls and --advertise-client-urls";
}

static int open_socket(struct listener *l, const struct sockaddr *address, socklen_t size, char *error,
                       size_t error_size)
{
    const char *url = l->options.url;
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return listen_error(error, error_size, url, "socket", errno);
    set_options(l, fd, address->sa_family);
    if (bind(fd, address, size) != 0 || listen(fd, BACKLOG) != 0) {
        int errnum = errno;
        close(fd);
        int err = listen_error(error, error_size, url, "bind", errnum);
        if (errnum == EADDRINUSE && address->sa_family != AF_UNIX) {
            size_t n = strlen(error);
            port_holder_describe(l->url.port, false, listen_flag(l), error + n, error_size - n);
        }
        return err;
    }
    struct socket *s = &l->sockets[l->socket_count++];
    s->listener = l;
    s->fd = fd;
    s->poll.data = s;
    int rc = uv_poll_init(l->options.loop, &s->poll, fd);
    assert(rc == 0);
    l->open_handles++;
    return 0;
}

static int open_ip(struct listener *l, const char *ip, uint16_t port, char *error, size_t error_size)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    if (inet_pton(AF_INET, ip, &v4.sin_addr) == 1)
        return open_socket(l, (struct sockaddr *)&v4, sizeof v4, error, error_size);
    if (inet_pton(AF_INET6, ip, &v6.sin6_addr) == 1)
        return open_socket(l, (struct sockaddr *)&v6, sizeof v6, error, error_size);
    return listen_error(error, error_size, l->options.url, "expected an IP address or localhost", 0);
}

static int open_localhost(struct listener *l, char *error, size_t error_size)
{
    int err = open_ip(l, "127.0.0.1", l->url.port, error, error_size);
    if (!err) {
        char ignored[256];
        (void)!open_ip(l, "::1", (uint16_t)listener_port(l), ignored, sizeof ignored);
    }
    return err;
}

/* A socket file left by a process that died is in the way; anything else of that name is not ours to remove.
 */
static int open_unix(struct listener *l, char *error, size_t error_size)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(l->url.host) >= sizeof a.sun_path)
        return listen_error(error, error_size, l->options.url, "the path is too long", 0);
    memcpy(a.sun_path, l->url.host, strlen(l->url.host));
    if (lstat(a.sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(a.sun_path);
    return open_socket(l, (struct sockaddr *)&a, sizeof a, error, error_size);
}

int listener_open(const struct listen_options *options, char *error, size_t error_size, struct listener **ret)
{
    struct url url;
    if (url_parse(slice_text(options->url), &url) != 0)
        return listen_error(error, error_size, options->url, "not a URL", 0);
    bool is_tls = strcmp(url.scheme, "https") == 0 || strcmp(url.scheme, "unixs") == 0;
    if (is_tls && !options->tls)
        return listen_error(error, error_size, options->url, "no certificate and key are given", 0);
    struct listener *l = mem_new(sizeof *l);
    l->options = *options;
    l->options.url = mem_string(options->url);
    if (!l->options.sniff_timeout_ms)
        l->options.sniff_timeout_ms = UNIDENTIFIED_MS;
    l->url = url;
    l->is_tls_only = is_tls && !options->allow_both;
    l->is_unix = url.scheme[0] == 'u';
    list_init(&l->unidentified);
    for (size_t i = 0; i < HANDSHAKE_QUEUES; i++)
        list_init(&l->waiting[i]);
    uv_timer_init(options->loop, &l->timer);
    uv_timer_init(options->loop, &l->handshake_timer);
    l->timer.data = l->handshake_timer.data = l;
    l->open_handles += 2;
    int err;
    if (l->is_unix)
        err = open_unix(l, error, error_size);
    else if (strcmp(url.host, "localhost") == 0)
        err = open_localhost(l, error, error_size);
    else
        err = open_ip(l, url.host, url.port, error, error_size);
    if (err) {
        listener_close(l);
        return err;
    }
    watch_sockets(l);
    *ret = l;
    return 0;
}

int listener_port(const struct listener *l)
{
    struct sockaddr_storage a = {0};
    socklen_t size = sizeof a;
    if (getsockname(l->sockets[0].fd, (struct sockaddr *)&a, &size) != 0)
        return 0;
    if (a.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&a)->sin_port);
    return a.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&a)->sin6_port) : 0;
}

static void on_handle_close(uv_handle_t *h)
{
    struct listener *l = h->type == UV_TIMER ? h->data : ((struct socket *)h->data)->listener;
    l->open_handles--;
    server_listen_free_if_done(l);
}

void listener_close(struct listener *l)
{
    assert(!l->is_closing);
    l->is_closing = true;
    while (!list_is_empty(&l->unidentified))
        unidentified_reject(container_of(l->unidentified.next, struct unidentified, link), NULL);
    for (size_t i = 0; i < l->socket_count; i++) {
        uv_poll_stop(&l->sockets[i].poll);
        uv_close((uv_handle_t *)&l->sockets[i].poll, on_handle_close);
        close(l->sockets[i].fd);
    }
    if (l->is_unix && l->socket_count)
        unlink(l->url.host);
    mem_free(l->options.url);
    l->options.url = NULL;
    uv_close((uv_handle_t *)&l->timer, on_handle_close);
    uv_close((uv_handle_t *)&l->handshake_timer, on_handle_close);
}

static bool is_secure(const char *url)
{
    return strncmp(url, "https:", 6) == 0 || strncmp(url, "unixs:", 6) == 0;
}

void listen_log_serving(const struct text_list *urls, const char *traffic)
{
    for (size_t i = 0; i < urls->count; i++) {
        const char *url = urls->items[i];
        const char *address = strstr(url, "://") + 3;
        if (is_secure(url))
            log_info("serving client traffic securely", F_STR("traffic", traffic), F_STR("address", address));
        else
            log_info("serving client traffic insecurely; this is strongly discouraged!",
                     F_STR("traffic", traffic), F_STR("address", address));
    }
}
