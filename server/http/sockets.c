/* SPDX-License-Identifier: Apache-2.0
 * Readiness of the connections' sockets.
 *
 * libwebsockets serves each socket that is ready in its own poll callback, so all connections that end in one
 * turn would be closed in it: 28 ms for 4,000, and 140 ms with TLS. Therefore libwebsockets does not watch the
 * sockets. They are in an epoll set of ours, and the loop watches this set alone:
 *
 *     sockets -> epoll set -> uv_poll -> at most a share of the turn:
 *         readable, ended or broken   lws_service_fd: it reads and calls conn.c, or closes
 *         writable                    conn.c writes
 *
 * A socket that the turn has no time for stays in the set, which is level-triggered: the next turn continues,
 * and the kernel reports first what was not reported for longest. Connections that we end wait in a list and
 * are closed in the same way. */
#include "server/http/sockets.h"

#include <errno.h>
#include <libwebsockets.h>
#include <unistd.h>

#include "base/turn_queue.h"
#include "server/http/conn.h"

enum { BATCHES_MAX = 64 /* where turns are not measured */ };

static void on_kill(uv_timer_t *timer);

/* --- the set ------------------------------------------------------------------------------------------- */

static uint32_t interest_of(const struct http_conn *c)
{
    return (c->is_paused ? 0 : EPOLLIN) | (c->wants_write ? EPOLLOUT : 0);
}

static int http_sockets_set(struct http_sockets *s, struct http_conn *c, uint32_t interest)
{
    struct epoll_event e = {.events = interest, .data.ptr = c};
    int op = !c->interest ? EPOLL_CTL_ADD : interest ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;
    if (interest == c->interest)
        return OK;
    if (epoll_ctl(s->epoll, op, lws_get_socket_fd(c->wsi), &e) < 0)
        return ERR_IO;
    c->interest = interest;
    return OK;
}

int http_sockets_add(struct http_sockets *s, struct http_conn *c)
{
    lws_rx_flow_control(c->wsi, 0); /* libwebsockets watches no event of it */
    return http_sockets_set(s, c, interest_of(c));
}

/* A socket without interest is not in the set: the kernel would report its end again and again. The periodic
 * check notices the end of such a connection. */
void http_sockets_update(struct http_sockets *s, struct http_conn *c)
{
    if (!c->is_closing && http_sockets_set(s, c, interest_of(c)))
        http_conn_kill(c);
}

void http_sockets_remove(struct http_sockets *s, struct http_conn *c)
{
    (void)http_sockets_set(s, c, 0);
    s->closed++;
    http_sockets_forget(s, c);
}

void http_sockets_forget(struct http_sockets *s, struct http_conn *c)
{
    c->is_closing = true;
    list_remove(&c->killed);
    for (int i = s->next; i < s->count; i++)
        if (s->events[i].data.ptr == c)
            s->events[i].data.ptr = NULL;
}

void http_sockets_kill(struct http_sockets *s, struct http_conn *c)
{
    if (c->is_closing || link_is_in_list(&c->killed))
        return;
    list_add_last(&s->killed, &c->killed);
    if (!uv_is_active((uv_handle_t *)&s->timer))
        uv_timer_start(&s->timer, on_kill, 0, 0);
}

/* --- serving ------------------------------------------------------------------------------------------- */

/* True: others have their turn now. Each kind of work has at least TURN_SHARE_NS. */
static bool share_is_over(const struct http_sockets *s, uint64_t begin_ns)
{
    if (s->closed >= SOCKETS_CLOSED_MAX)
        return true;
    return turn_is_spent() && turn_elapsed_ns() - begin_ns >= TURN_SHARE_NS;
}

static void serve(struct http_sockets *s, struct epoll_event *e)
{
    struct http_conn *c = e->data.ptr;
    if (c && (e->events & EPOLLOUT)) {
        c->wants_write = false;
        http_sockets_update(s, c);
        http_conn_on_writable(c);
    }
    c = e->data.ptr;
    if (!c || !(e->events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
        return;
    if (c->is_paused && !(e->events & (EPOLLHUP | EPOLLERR)))
        return;
    /* While reading is paused, the end or the error closes the connection. */
    short ready = c->is_paused ? LWS_POLLHUP : LWS_POLLIN;
    struct lws_pollfd p = {.fd = lws_get_socket_fd(c->wsi), .events = ready, .revents = ready};
    lws_service_fd(c->server->context, &p);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct http_sockets *s = container_of(poll, struct http_sockets, poll);
    (void)status, (void)events;
    turn_enter(TURN_HTTP_REQUEST);
    uint64_t begin_ns = turn_elapsed_ns();
    s->closed = 0;
    for (unsigned i = 0; i < BATCHES_MAX; i++) {
        s->next = 0;
        s->count = epoll_wait(s->epoll, s->events, SOCKETS_BATCH, 0);
        while (s->next < s->count) {
            serve(s, &s->events[s->next]);
            s->next++;
            if (share_is_over(s, begin_ns)) {
                s->count = 0;
                return;
            }
        }
        if (s->count < SOCKETS_BATCH)
            return;
    }
}

static void on_kill(uv_timer_t *timer)
{
    struct http_sockets *s = container_of(timer, struct http_sockets, timer);
    struct link *l;
    turn_enter(TURN_HTTP_CLOSE);
    uint64_t begin_ns = turn_elapsed_ns();
    s->closed = 0;
    while ((l = list_take_first(&s->killed))) {
        struct http_conn *c = container_of(l, struct http_conn, killed);
        lws_set_timeout(c->wsi, PENDING_TIMEOUT_HTTP_CONTENT, LWS_TO_KILL_SYNC);
        if (share_is_over(s, begin_ns))
            break;
    }
    if (!list_is_empty(&s->killed))
        uv_timer_start(timer, on_kill, 1, 0); /* with 0 libuv calls it again at once */
}

/* --- life ---------------------------------------------------------------------------------------------- */

int http_sockets_open(struct http_sockets *s, uv_loop_t *loop, void *data)
{
    list_init(&s->killed);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll < 0)
        return ERR_IO;
    if (uv_poll_init(loop, &s->poll, s->epoll)) {
        close(s->epoll);
        return ERR_IO;
    }
    uv_timer_init(loop, &s->timer);
    s->poll.data = s->timer.data = data;
    uv_poll_start(&s->poll, UV_READABLE, on_ready);
    return OK;
}

void http_sockets_close(struct http_sockets *s, void (*on_closed)(uv_handle_t *handle))
{
    uv_close((uv_handle_t *)&s->poll, on_closed);
    uv_close((uv_handle_t *)&s->timer, on_closed);
    close(s->epoll);
}
