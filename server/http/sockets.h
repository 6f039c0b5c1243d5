/* SPDX-License-Identifier: Apache-2.0
 * Private to server/http: readiness of the connections' sockets, served for a share of each turn. See
 * sockets.c. */
#ifndef SERVER_HTTP_SOCKETS_H
#define SERVER_HTTP_SOCKETS_H

#include <stdbool.h>
#include <sys/epoll.h>
#include <uv.h>

#include "base/err.h"
#include "base/list.h"

struct http_conn;

enum {
    SOCKETS_BATCH = 64,      /* events taken from the kernel at once */
    SOCKETS_CLOSED_MAX = 12, /* closed at once: up to 70 us each, with TLS or a large body */
};

struct http_sockets {
    int epoll;                                /* -1 = none */
    struct epoll_event events[SOCKETS_BATCH]; /* data.ptr NULL: its connection is gone */
    int count, next;                          /* of them; the next to serve */
    struct link killed;                       /* connections to close */
    unsigned closed; /* in this call of ours: they cost most after it, when the loop ends their handles */
    uv_poll_t poll;
    uv_timer_t timer; /* closes killed connections */
};

/* data: of both handles. ERR_IO. */
MUST_CHECK int http_sockets_open(struct http_sockets *s, uv_loop_t *loop, void *data);
/* Closes the handles; on_closed is called for each of the two. */
void http_sockets_close(struct http_sockets *s, void (*on_closed)(uv_handle_t *handle));

/* Begins to report that the connection can be read. ERR_IO. */
MUST_CHECK int http_sockets_add(struct http_sockets *s, struct http_conn *c);
/* Reports what c->is_paused and c->wants_write say from now on. */
void http_sockets_update(struct http_sockets *s, struct http_conn *c);
/* Before the socket is closed. */
void http_sockets_remove(struct http_sockets *s, struct http_conn *c);
void http_sockets_forget(struct http_sockets *s, struct http_conn *c); /* before c is freed */
/* Closes the connection soon, never from inside this call. */
void http_sockets_kill(struct http_sockets *s, struct http_conn *c);

#endif
