/* SPDX-License-Identifier: Apache-2.0
 * Connections by source: an IPv4 address, or the /64 of an IPv6 address, because a single host may own all
 * of it. All Unix sockets are one source. A connection has one of two states:
 *
 *   opening  accepted; no complete request has arrived yet
 *   served   a complete request has arrived
 *
 * There are three limits: opening connections of one source, opening connections of all, connections of
 * all. A new connection is never rejected; another one is evicted for it:
 *
 * 1. Its own source is at its limit of opening connections: the oldest opening one of that source.
 * 2. All sources are at the limit of opening connections: the oldest opening one of the source with most.
 * 3. At the limit of all connections: the source with most connections; its oldest opening one, or, if it
 *    has none, its oldest served one.
 * In 2 and 3 the new connection counts for its own source.
 *
 * So a source that fills a limit loses its own connections, and a client from another source can connect.
 * All clients behind a proxy are one source; therefore served connections count for the last limit only.
 * Pure: no clock, no socket. */
#ifndef BASE_NET_SOURCES_H
#define BASE_NET_SOURCES_H

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"

struct sockaddr_storage;
struct source;
struct source_conn;

struct sources {
    size_t opening_max, source_opening_max, connections_max; /* 0 = no limit */
    size_t opening, count;                                   /* count includes the served ones */
    uint64_t evicted_opening, evicted_served;
    struct map table;
    struct heap most_opening, most; /* sources by their number of connections, most first */
};

/* Embedded in a connection; zeroed before it enters and after it has left. */
struct source_conn {
    struct sources *sources;
    struct source *source;
    struct link link; /* in its source's list of opening or served ones, oldest first */
    bool is_served;
    /* calls sources_leave and closes the connection, at once or soon */
    void (*evict)(struct source_conn *c);
};

void sources_init(struct sources *s, size_t opening_max, size_t source_opening_max, size_t connections_max);
void sources_done(struct sources *s);
/* Adds an opening connection. s NULL: nothing is counted. May evict others. */
void sources_enter(struct sources *s, struct source_conn *c, const struct sockaddr_storage *address,
                   void (*evict)(struct source_conn *c));
void sources_serve(struct source_conn *c); /* a complete request has arrived */
void sources_leave(struct source_conn *c);
uint64_t sources_id(const struct sockaddr_storage *address); /* never 0 */
uint64_t source_conn_id(const struct source_conn *c);        /* id of its source; 0 = not counted */

#endif
