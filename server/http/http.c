/* SPDX-License-Identifier: Apache-2.0
 * The HTTP server: libwebsockets' context on our loop, new connections, drain and stop.
 *
 * libwebsockets runs with our libuv loop as a foreign loop and has no listeners: server/listen.c hands in
 * sockets. This file owns the context, its one vhost and the list of connections; conn.c handles a
 * connection.
 *
 * Stopping a context on a foreign loop:
 *   1. Destroy the context; it closes its connections.
 *   2. Run the loop until its handles are closed (`stopper` watches them).
 *   3. Destroy the context again. */
#include "server/http/http.h"

#include <assert.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log_limit.h"
#include "base/turn.h"
#include "server/http/conn.h"
#include "server/http/health.h"

enum { BIG_BLOCK = 64 * 1024 };

static const struct lws_protocols protocols[] = {
    {.name = "http", .callback = http_conn_callback, .tx_packet_size = WRITE_BYTES_MAX},
    {0},
};

uint64_t http_now_ms(const struct http_server *s)
{
    return s->options.rpc->mono_ms();
}

const char *http_date(struct http_server *s)
{
    uint64_t second = clock_wall_ns() / 1000000000u;
    if (second != s->date_second) {
        time_t t = (time_t)second;
        struct tm tm;
        gmtime_r(&t, &tm);
        strftime(s->date, sizeof s->date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        s->date_second = second;
    }
    return s->date;
}

static void lws_log(int level, const char *line)
{
    size_t n = strcspn(line, "\n");
    if (level & LLL_ERR)
        log_warn("libwebsockets", F_BYTES("line", slice_of(line, n)));
    else
        log_debug("libwebsockets", F_BYTES("line", slice_of(line, n)));
}

/* --- timers ------------------------------------------------------------------------------------------ */

/* Checks each connection once every SWEEP_MS, in slices, because thousands that came together time out
 * together. A checked connection moves to the end of the list. */
static void on_sweep(uv_timer_t *timer)
{
    struct http_server *s = timer->data;
    turn_enter(TURN_HTTP_SWEEP);
    uint64_t now_ms = http_now_ms(s), end_ns = clock_mono_ns() + SWEEP_SLICE_NS;
    if (!s->sweep_left)
        s->sweep_left = s->conn_count;
    while (s->sweep_left && !list_is_empty(&s->conns)) {
        struct link *l = list_take_first(&s->conns);
        list_add_last(&s->conns, l); /* before the check may free it */
        s->sweep_left--;
        http_conn_sweep(container_of(l, struct http_conn, link), now_ms);
        if (clock_mono_ns() >= end_ns)
            break;
    }
    if (list_is_empty(&s->conns))
        uv_timer_stop(timer);
    else
        uv_timer_start(timer, on_sweep, s->sweep_left ? 1 : SWEEP_MS, SWEEP_MS);
}

static void server_free(struct http_server *s)
{
    for (size_t i = 0; i < sizeof s->texts / sizeof *s->texts; i++)
        mem_free(s->texts[i]);
    mem_free(s->routes);
    buf_done(&s->plain);
    deflater_free(s->deflater);
    buf_done(&s->text);
    arena_done(&s->arena);
    if (s->tls)
        tls_context_free(s->tls);
    mem_free(s);
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct http_server *s = handle->data;
    if (--s->open_handles > 0)
        return;
    void (*done)(void *arg) = s->stop_done;
    void *arg = s->stop_arg;
    server_free(s);
    if (done)
        done(arg);
}

struct handle_search {
    const void *context;
    bool is_found;
};

static void on_walk(uv_handle_t *handle, void *arg)
{
    struct handle_search *search = arg;
    if (handle->data == search->context)
        search->is_found = true;
}

/* True: lws still has handles on the loop. They have the context as their data, and close after all
 * connections. */
static bool lws_has_handles(const struct http_server *s)
{
    struct handle_search search = {.context = s->context};
    uv_walk(s->options.loop, on_walk, &search);
    return search.is_found;
}

static void on_stopper(uv_timer_t *timer)
{
    struct http_server *s = timer->data;
    turn_enter(TURN_TIMER);
    if (!s->is_destroying) {
        s->is_destroying = true;
        lws_context_destroy(s->context);
        return;
    }
    if (lws_has_handles(s) || !list_is_empty(&s->conns))
        return;
    lws_context_destroy(s->context);
    conversions_stop(&s->conversions);
    http_health_metrics_stop();
    http_sockets_close(&s->sockets, on_handle_closed);
    uv_close((uv_handle_t *)&s->sweep, on_handle_closed);
    uv_close((uv_handle_t *)&s->stopper, on_handle_closed);
}

/* --- the context ------------------------------------------------------------------------------------- */

static struct lws_context_creation_info context_info(struct http_server *s, void **loops)
{
    loops[0] = s->options.loop;
    return (struct lws_context_creation_info){
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
                   LWS_SERVER_OPTION_SKIP_SERVER_CANONICAL_NAME,
        .protocols = protocols,
        .foreign_loops = loops,
        .gid = (gid_t)-1,
        .uid = (uid_t)-1,
        .pt_serv_buf_size = READ_BYTES,
        .timeout_secs = FIRST_WAIT_MS / 1000,
        .user = s,
    };
}

/* lws sizes two tables by RLIMIT_NOFILE and clears them: with a limit of a million, 16 MiB become
 * resident. (Beyond ten million it assumes 2,560.) Its own option, fd_limit_per_thread, makes each lookup
 * of a descriptor linear. So the limit is lowered while lws reads it, and the cleared pages are given back
 * to the kernel, which zeroes them again on use. */
static struct big_block {
    uint8_t *data;
    size_t size;
} big_blocks[4];

static void *lws_allocate(void *old, size_t size, const char *reason)
{
    (void)reason;
    for (size_t i = 0; old && i < sizeof big_blocks / sizeof *big_blocks; i++)
        if (big_blocks[i].data == old)
            big_blocks[i] = (struct big_block){0};
    if (size == 0) {
        mem_free(old);
        return NULL;
    }
    void *data = mem_resize(old, size);
    if (size < BIG_BLOCK)
        return data;
    for (size_t i = 0; i < sizeof big_blocks / sizeof *big_blocks; i++) {
        if (!big_blocks[i].data) {
            big_blocks[i] = (struct big_block){data, size};
            break;
        }
    }
    return data;
}

static bool http_is_zero(const uint8_t *page, size_t size)
{
    return page[0] == 0 && memcmp(page, page + 1, size - 1) == 0;
}

static void give_back_zero_pages(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < sizeof big_blocks / sizeof *big_blocks; i++) {
        struct big_block b = big_blocks[i];
        if (!b.data)
            continue;
        uint8_t *at = b.data + (page - (uintptr_t)b.data % page) % page;
        for (; at + page <= b.data + b.size; at += page)
            if (http_is_zero(at, page))
                madvise(at, page, MADV_DONTNEED);
        big_blocks[i] = (struct big_block){0};
    }
}

static struct lws_context *create_context(const struct http_server *s, struct lws_context_creation_info *info)
{
    struct rlimit real, lower;
    uint64_t enough = s->options.connections_max * 2 + 1024;
    bool is_lowered = getrlimit(RLIMIT_NOFILE, &real) == 0 && real.rlim_cur > enough;
    if (is_lowered) {
        lower = real;
        lower.rlim_cur = enough;
        is_lowered = setrlimit(RLIMIT_NOFILE, &lower) == 0;
    }
    lws_set_allocator(lws_allocate);
    struct lws_context *context = lws_create_context(info);
    if (is_lowered)
        setrlimit(RLIMIT_NOFILE, &real);
    give_back_zero_pages();
    return context;
}

static int create_vhost(struct http_server *s, struct lws_context_creation_info *info, char *error,
                        size_t error_size)
{
    info->vhost_name = "http";
    s->vhost = lws_create_vhost(s->context, info);
    if (!s->vhost) {
        snprintf(error, error_size, "the HTTP server could not be set up");
        return ERR_INTERNAL;
    }
    if (!s->options.tls)
        return 0;
    struct tls_options tls = *s->options.tls;
    tls.alpn = "http/1.1";
    return tls_context_new(&tls, error, error_size, &s->tls);
}

static const char *http_keep(struct http_server *s, size_t *at, const char *text)
{
    if (!text)
        return NULL;
    assert(*at < sizeof s->texts / sizeof *s->texts);
    return s->texts[(*at)++] = mem_string(text);
}

static void collect_routes(struct http_server *s, const struct http_options *options)
{
    s->routes = mem_alloc((http_route_count + options->mount_count) * sizeof *s->routes);
    memcpy(s->routes, http_routes, http_route_count * sizeof *s->routes);
    s->route_count = http_route_count;
    for (size_t i = 0; i < options->mount_count; i++) {
        const struct http_mount *m = &options->mounts[i];
        unsigned flags = ANSWERS_ALL | IS_NATIVE | (m->takes_websocket ? TAKES_WEBSOCKET : 0);
        s->routes[s->route_count++] = (struct route){HTTP_ANY, m->path, m->handler, flags, m->context};
    }
    s->options.mounts = NULL; /* the caller's */
}

static void timer_init(struct http_server *s, uv_timer_t *timer)
{
    uv_timer_init(s->options.loop, timer);
    timer->data = s;
    s->open_handles++;
}

int http_server_new(const struct http_options *options, char *error, size_t error_size,
                    struct http_server **ret)
{
    struct http_server *s = mem_new(sizeof *s);
    void *loops[1];
    size_t texts = 0;
    s->options = *options;
    s->options.cors = http_keep(s, &texts, options->cors);
    s->options.host_whitelist = http_keep(s, &texts, options->host_whitelist);
    s->options.origins = http_keep(s, &texts, options->origins);
    s->options.own_hosts = http_keep(s, &texts, options->own_hosts);
    s->options.server_version = http_keep(s, &texts, options->server_version);
    collect_routes(s, options);
    list_init(&s->conns);
    s->conversions.loop = options->loop;
    lws_set_log_level(LLL_ERR | LLL_WARN, lws_log);
    struct lws_context_creation_info info = context_info(s, loops);
    if (http_sockets_open(&s->sockets, options->loop, s)) {
        snprintf(error, error_size, "the HTTP server could not be set up: no epoll descriptor");
        server_free(s);
        return ERR_INTERNAL;
    }
    s->open_handles += 2;
    s->context = create_context(s, &info);
    if (!s->context) {
        snprintf(error, error_size, "the HTTP server could not be set up");
        http_sockets_close(&s->sockets, on_handle_closed); /* frees the server */
        return ERR_INTERNAL;
    }
    timer_init(s, &s->sweep);
    timer_init(s, &s->stopper);
    http_health_metrics_start();
    int err = create_vhost(s, &info, error, error_size);
    s->options.tls = NULL; /* the caller's */
    if (err) {
        http_server_stop(s, NULL, NULL);
        return err;
    }
    *ret = s;
    return 0;
}

/* --- connections ------------------------------------------------------------------------------------- */

void http_server_watch(struct http_server *s)
{
    if (!s->is_stopping && !uv_is_active((uv_handle_t *)&s->sweep))
        uv_timer_start(&s->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

void http_server_adopt(struct http_server *s, int fd, bool is_tls, enum http_role role)
{
    bool is_possible = !is_tls || s->tls;
    if (s->is_stopping || !is_possible || http_server_connections(s) >= s->options.connections_max) {
        static struct log_limit limit;
        log_warn_limited(&limit, http_now_ms(s), "an HTTP connection is refused",
                         F_UINT("connections", http_server_connections(s)),
                         F_STR("why", s->is_stopping ? "stopping"
                                      : !is_possible ? "TLS is not set up"
                                                     : "connections_max"));
        close(fd);
        return;
    }
    struct sockaddr_storage from = {0};
    socklen_t size = sizeof from;
    int on = 1;
    /* Small messages of a stream must not wait for TCP acknowledgements. */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    if (is_tls)
        tls_context_refresh(s->tls, http_now_ms(s));
    getpeername(fd, (struct sockaddr *)&from, &size);
    struct http_conn *c = http_conn_new(s, role, is_tls);
    if (is_tls)
        c->tls = tls_accept(s->tls);
    sources_enter(s->options.sources, &c->source, &from, http_conn_evict);
    c->request.source = source_conn_id(&c->source);
    lws_sock_file_fd_type descriptor = {.sockfd = fd};
    struct lws *wsi = lws_adopt_descriptor_vhost(s->vhost, LWS_ADOPT_SOCKET, descriptor, NULL, NULL);
    if (!wsi) { /* lws has closed the descriptor */
        http_conn_free(c);
        return;
    }
    lws_set_opaque_user_data(wsi, c);
    c->wsi = wsi;
    if (http_sockets_add(&s->sockets, c))
        http_conn_kill(c);
    lws_get_peer_simple(wsi, c->peer, sizeof c->peer);
    http_server_watch(s);
}

bool http_server_is_closing(const struct http_server *s)
{
    if (!s)
        return false;
    LIST_FOR_EACH (l, &s->conns) {
        const struct http_conn *c = container_of(l, struct http_conn, link);
        if (c->phase == CONN_LINGERING || c->phase == CONN_ANSWERED)
            return true;
    }
    return false;
}

size_t http_server_connections(const struct http_server *s)
{
    return s->conn_count - s->carried_count;
}

size_t http_server_waiting(const struct http_server *s)
{
    size_t n = 0;
    LIST_FOR_EACH (l, &s->conns) {
        const struct http_conn *c = container_of(l, struct http_conn, link);
        n += c->phase == CONN_REQUEST && c->has_body_ended && !c->is_websocket && !c->request.is_stream;
    }
    return n;
}

void http_server_drain(struct http_server *s)
{
    s->is_draining = true;
    LIST_FOR_EACH_SAFE (l, &s->conns)
        http_conn_drain(container_of(l, struct http_conn, link));
}

/* Call it from a timer, never from inside a libwebsockets callback. */
void http_server_stop(struct http_server *s, void (*done)(void *arg), void *arg)
{
    assert(!s->is_stopping);
    s->is_draining = s->is_stopping = true;
    s->stop_done = done;
    s->stop_arg = arg;
    uv_timer_stop(&s->sweep);
    uv_timer_start(&s->stopper, on_stopper, 0, 1);
}
