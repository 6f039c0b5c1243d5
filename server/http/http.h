/* SPDX-License-Identifier: Apache-2.0
 * Public API of server/http: the HTTP/1.1 and WebSocket server, on libwebsockets and the process's libuv
 * loop.
 *
 * It serves the JSON gateway of etcd's API, health, version and metrics. The native API, streams and
 * console are mounts. Only this folder includes libwebsockets. */
#ifndef SERVER_HTTP_HTTP_H
#define SERVER_HTTP_HTTP_H

#include "base/err.h"
#include "base/net/tls.h"
#include "server/rpc/rpc.h"

struct uv_loop_s;
struct registry;
struct output_budget;
struct sources;
struct http_server;
struct http_handler;

/* A handler of another folder: the native API, streams, the console. It is like a row of routes.def for
 * every method; the longest matching path wins. The handler gets context as request->context. */
struct http_mount {
    const char *path; /* borrowed, outlives the server; one that ends with '/' matches all paths below */
    const struct http_handler *handler;
    void *context;
    bool takes_websocket;
};

struct http_options {
    struct uv_loop_s *loop;
    struct rpc_server *rpc;
    struct registry *registry;     /* NULL = none is served */
    const struct tls_options *tls; /* NULL = plain only; copied, with ALPN http/1.1 */
    uint64_t request_bytes_max;    /* bytes; a body over this + 512 KiB gets 413 */
    uint64_t connections_max;
    struct sources *sources;      /* counts connections by source; borrowed, NULL = none */
    struct output_budget *output; /* counts output that clients do not read; borrowed, NULL = none */
    const char *cors;             /* etcd's own paths: comma-separated origins; "*" = any */
    const char *host_whitelist;   /* plain HTTP only; "*" = any */
    /* For mounts. origins: origins of other pages that may use them; NULL and "" = none, "*" = any.
     * own_hosts: names that browsers may use for this server over plain HTTP (access.h). */
    const char *origins, *own_hosts;
    bool enable_gateway;        /* --enable-grpc-gateway */
    const char *server_version; /* "3.7.1" */
    /* Returns the current cluster version ("3.7.0") in the arena; NULL: not known yet. The function may be
     * NULL. */
    const char *(*cluster_version)(void *arg, struct arena *a);
    void *cluster_version_arg;
    /* Returns why the mounts cannot be served yet, which fails /readyz; NULL: they can. The function may
     * be NULL. */
    const char *(*not_ready)(void *arg);
    void *not_ready_arg;
    const struct http_mount *mounts; /* copied */
    size_t mount_count;
};

/* The routes of a listener: all, or (for --listen-metrics-urls) only health and metrics. */
enum http_role { HTTP_ALL, HTTP_METRICS_ONLY };

/* ERR_INVALID (certificates), with a sentence in error. */
MUST_CHECK int http_server_new(const struct http_options *options, char *error, size_t error_size,
                               struct http_server **ret);
/* Takes a connected socket whose first bytes are still unread, those of a TLS handshake if is_tls. */
void http_server_adopt(struct http_server *s, int fd, bool is_tls, enum http_role role);
/* Begins to drain: answers close their connection, WebSockets get a close frame, long polls end. */
void http_server_drain(struct http_server *s);
size_t http_server_connections(const struct http_server *s);
/* While draining: true while a client's last answer is still being written. s may be NULL. */
bool http_server_is_closing(const struct http_server *s);
/* Complete requests that are not answered yet, without streams and WebSockets. */
size_t http_server_waiting(const struct http_server *s);
void http_server_stop(struct http_server *s, void (*done)(void *arg), void *arg);

#endif
