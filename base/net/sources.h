/* SPDX-License-Identifier: Apache-2.0
 * Connections by where they come from: an IPv4 address, or the /64 of an IPv6 one, which a single host may
 * have all of. Unix sockets are one source.
 *
 *   opening  accepted; no whole request has come yet
 *   served   a request has come
 *
 * Limits: opening connections of a source, opening ones of all, connections of all. Nobody is refused: room
 * is made by closing the oldest connection of the source that has the most (of its own source, where that has
 * too many that are opening), and an opening one before a served one. So a source that fills a limit loses
 * its own connections, and a newcomer from elsewhere gets in. Behind a proxy all clients are one source: that
 * is why what is served counts for the last limit only. Pure: no clock, no socket. */
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
    size_t opening, count;                                   /* count: the served ones too */
    uint64_t evicted_opening, evicted_served;
    struct map table;
    struct heap most_opening, most; /* sources, by how many they have, most first */
};

/* In a connection; zeroed before it enters and after it has left. */
struct source_conn {
    struct sources *sources;
    struct source *source;
    struct link link; /* of its source: opening or served, oldest first */
    bool is_served;
    void (*evict)(struct source_conn *c); /* leaves, and closes the connection, at once or soon */
};

void sources_init(struct sources *s, size_t opening_max, size_t source_opening_max, size_t connections_max);
void sources_done(struct sources *s);
/* s NULL: nothing is counted. May evict others. */
void sources_enter(struct sources *s, struct source_conn *c, const struct sockaddr_storage *address,
                   void (*evict)(struct source_conn *c));
void sources_serve(struct source_conn *c); /* a whole request has come */
void sources_leave(struct source_conn *c);
uint64_t sources_id(const struct sockaddr_storage *address); /* never 0 */
uint64_t source_conn_id(const struct source_conn *c);        /* of where it comes from; 0 = not counted */

#endif
