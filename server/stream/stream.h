/* SPDX-License-Identifier: Apache-2.0
 * THE DOOR of server/stream: changes pushed to clients over one WebSocket each (/api/v1/stream, subprotocol
 * cairn.v1+json), or as Server-Sent Events on the same path. Rides on server/http's requests; what it shows
 * comes from registry.h, config.h and kv.h. Loop thread only.
 *
 * Mount stream_http_handler at STREAM_PATH with the server as context. */
#ifndef SERVER_STREAM_STREAM_H
#define SERVER_STREAM_STREAM_H

#include "config/config.h"
#include "registry/registry.h"

struct http_handler;
struct identity;
struct stream_server;

#define STREAM_PATH "/api/v1/stream"

struct stream_options {
    struct registry *registry;
    struct config *config;
    struct kv *kv;
    struct identity *identity; /* who comes, once auth is enabled; NULL: nobody is asked (in tests) */
    const char *member;        /* this member's name; lives as long as the server */
    /* 0 = the defaults: 65,536 connections, 1,000,000 subscriptions of all of them, 64 MiB of snapshots that
     * are being read. */
    size_t connections_max, subscriptions_max, snapshot_bytes_max;
    /* Of WebSocket clients and, for tests, of time; 0 = 10 s until hello, a mark each 10 s. */
    uint64_t hello_ms, mark_ms;
    uint64_t judge_ns;        /* for tests: of a turn, for judging open connections; 0 = 1 ms */
    size_t content_bytes_max; /* of a publish; 0 = 1 MiB */
    struct cache_budget *cache_budget; /* borrowed, of what is kept encoded; NULL = none */
    size_t release_bytes_max; /* of configurations that are kept as they are sent; 0 = 64 MiB */
    /* For tests: in place of config_read. */
    void (*read)(struct config *c, struct config_request *q, const struct config_id *key, uint64_t seq,
                 bool is_local);
};

extern const struct http_handler stream_http_handler;

struct stream_server *stream_server_new(const struct stream_options *options);
/* After the HTTP server was stopped, before registry and config center are freed. */
void stream_server_free(struct stream_server *s);
/* In each turn of the loop, after registry_turn and config_turn: sends what has changed, for some
 * milliseconds. True: there is more to send, do not sleep. */
bool stream_server_turn(struct stream_server *s);

struct stream_counts {
    size_t connections, subscriptions, topics;
};
struct stream_counts stream_server_counts(const struct stream_server *s);

#endif
