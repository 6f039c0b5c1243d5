/* SPDX-License-Identifier: Apache-2.0
 * HTTP/1.1 and WebSocket on libwebsockets (this folder is the only one that includes it), on our loop: the
 * JSON gateway of etcd's API, health, version, metrics, later the native API, streams and console. */
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

/* What is not this folder's own: the native API, streams, the console. As a row of routes.def that answers
 * every method; the longest path that fits serves. The handler gets context as request->context. */
struct http_mount {
    const char *path; /* lives as long as the server; what ends with '/' serves all below */
    const struct http_handler *handler;
    void *context;
    bool takes_websocket;
};

struct http_options {
    struct uv_loop_s *loop;
    struct rpc_server *rpc;
    struct registry *registry;     /* NULL = none is served */
    const struct tls_options *tls; /* NULL = plain only; copied, with ALPN http/1.1 */
    uint64_t request_bytes_max;    /* body limit: + 512 KiB, then 413 */
    uint64_t connections_max;
    struct sources *sources;      /* where connections are counted; NULL: nowhere */
    struct output_budget *output; /* where what clients do not read is counted; NULL: nowhere */
    const char *cors;             /* etcd's own paths: comma-separated origins; "*" = any */
    const char *host_whitelist;   /* plain HTTP only; "*" = any */
    /* Mounts: the origins of other pages that may use them; NULL and "" = none, "*" = any. The names
     * by which browsers may call this server over plain HTTP: access.h. */
    const char *origins, *own_hosts;
    bool enable_gateway;        /* --enable-grpc-gateway */
    const char *server_version; /* "3.7.1" */
    /* "3.7.0", as it is now, in the arena; NULL: it is not known yet. May be NULL. */
    const char *(*cluster_version)(void *arg, struct arena *a);
    void *cluster_version_arg;
    /* NULL, or why what is mounted cannot be served yet (NULL: it can): /readyz fails with it. */
    const char *(*not_ready)(void *arg);
    void *not_ready_arg;
    const struct http_mount *mounts; /* copied */
    size_t mount_count;
};

/* What a listener serves: all, or (for --listen-metrics-urls) health and metrics alone. */
enum http_role { HTTP_ALL, HTTP_METRICS_ONLY };

/* ERR_INVALID (certificates), with a sentence in error. */
MUST_CHECK int http_server_new(const struct http_options *options, char *error, size_t error_size,
                               struct http_server **ret);
/* Takes a connected socket whose first bytes are still unread, those of a TLS handshake if is_tls. */
void http_server_adopt(struct http_server *s, int fd, bool is_tls, enum http_role role);
/* No keep-alive, WebSockets get a close frame, long polls end. */
void http_server_drain(struct http_server *s);
size_t http_server_connections(const struct http_server *s);
/* While draining: somebody is still being told the end. s may be NULL. */
bool http_server_is_saying_bye(const struct http_server *s);
/* Requests that were received whole and are owed an answer; streams and WebSockets are not among them. */
size_t http_server_waiting(const struct http_server *s);
void http_server_stop(struct http_server *s, void (*done)(void *arg), void *arg);

#endif
