/* SPDX-License-Identifier: Apache-2.0
 * Public API of server/stream: changes of services, configurations and keys, pushed to clients.
 *
 * Each client has one WebSocket (/api/v1/stream, subprotocol cairn.v1+json), or Server-Sent Events on the
 * same path. server/http carries the stream; registry.h, config.h and kv.h are the sources. Loop thread
 * only.
 *
 * Mount stream_http_handler at STREAM_PATH with the server as context. */
#ifndef SERVER_STREAM_STREAM_H
#define SERVER_STREAM_STREAM_H

#include "config/config.h"
#include "namespace/view.h"
#include "registry/registry.h"

struct http_handler;
struct identity;
struct stream_server;

#define STREAM_PATH "/api/v1/stream"

struct stream_options {
    struct registry *registry;
    struct config *config;
    struct namespace_view *namespaces; /* counts subscribers; NULL = they are not counted */
    struct kv *kv;
    struct identity *identity; /* authenticates clients once auth is enabled; NULL = never (in tests) */
    const char *member;        /* this member's name; borrowed, outlives the server */
    /* 0 = the defaults: 65,536 connections, 1,000,000 subscriptions of all connections, 64 MiB of encoded
     * snapshots. */
    size_t connections_max, subscriptions_max, snapshot_bytes_max;
    /* For tests: the time until hello must come, and between two marks; 0 = 10,000 ms. */
    uint64_t hello_ms, mark_ms;
    uint64_t recheck_ns;               /* for tests: of a turn, to check open connections again; 0 = 1 ms */
    size_t content_bytes_max;          /* of a publish; 0 = 1 MiB */
    struct cache_budget *cache_budget; /* borrowed, for encoded frames and releases; NULL = none */
    size_t release_bytes_max;          /* of cached releases of configurations; 0 = 64 MiB */
    /* For tests: replaces config_read. NULL = config_read. */
    void (*read)(struct config *c, struct config_request *q, const struct config_id *key, uint64_t seq,
                 bool is_local);
};

extern const struct http_handler stream_http_handler;

struct stream_server *stream_server_new(const struct stream_options *options);
/* Call it after the HTTP server was stopped and before registry and config center are freed. NULL is fine. */
void stream_server_free(struct stream_server *s);
/* Call it in each turn of the loop, after registry_turn and config_turn: it sends what has changed, for about
 * 2 ms. True: there is more to send, do not sleep. */
bool stream_server_turn(struct stream_server *s);

struct stream_counts {
    size_t connections, subscriptions, topics;
};
struct stream_counts stream_server_counts(const struct stream_server *s);

#endif
