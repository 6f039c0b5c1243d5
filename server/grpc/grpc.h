/* SPDX-License-Identifier: Apache-2.0
 * The gRPC server: HTTP/2 connections, their streams, and the calls of server/rpc/rpc.h. Loop thread only. */
#ifndef SERVER_GRPC_GRPC_H
#define SERVER_GRPC_GRPC_H

#include "base/err.h"
#include "server/rpc/rpc.h"

struct uv_loop_s;
struct grpc_server;
struct tls_context;
struct http_server;
struct http_carried;

struct output_budget;
struct sources;

struct grpc_options {
    struct uv_loop_s *loop;
    struct rpc_server *rpc;
    uint64_t request_bytes_max; /* a message over it + 512 KiB gets RESOURCE_EXHAUSTED with etcd's text */
    uint32_t streams_max;       /* per connection; --max-concurrent-streams */
    uint64_t connections_max;
    struct sources *sources;        /* where connections are counted; NULL: nowhere */
    struct output_budget *output;   /* where what clients do not read is counted; NULL: nowhere */
    uint64_t keepalive_min_ms;      /* a client that pings more often gets GOAWAY too_many_pings (5 s) */
    uint64_t keepalive_interval_ms; /* server pings an idle connection (2 h); 0 = never */
    uint64_t keepalive_timeout_ms;  /* and closes it when no answer came within this time (20 s) */
};

/* The kinds of streams that a connection may have. A request with a content type of gRPC is a call where calls are served; any
 * other is one of HTTP where that is. */
enum grpc_serves { GRPC_ALONE, GRPC_AND_HTTP, GRPC_HTTP_ALONE, GRPC_METRICS_ALONE };

struct grpc_server *grpc_server_new(const struct grpc_options *options);
/* Where requests of HTTP go; it outlives the server's connections. Without it they are rejected as calls. */
void grpc_server_use_http(struct grpc_server *s, struct http_server *http,
                          const struct http_carried *carried);
/* Takes a connected socket whose first bytes are still unread; tls NULL = plain. */
void grpc_server_adopt(struct grpc_server *s, int fd, struct tls_context *tls, enum grpc_serves serves);
/* Writes what calls have queued, one write per connection. Call it once per loop turn, after the state has
 * moved. */
void grpc_server_flush(struct grpc_server *s);
void grpc_server_drain(struct grpc_server *s); /* Sends GOAWAY; running calls continue. */
size_t grpc_server_connections(const struct grpc_server *s);
/* Cancels running calls and closes all connections. `done` is called when the last handle is closed; then
 * the server is freed. */
void grpc_server_stop(struct grpc_server *s, void (*done)(void *arg), void *arg);

#endif
