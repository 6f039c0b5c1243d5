/* SPDX-License-Identifier: Apache-2.0
 * What watches may take of memory: a budget in bytes for all clients, shared by where they come from. A
 * source may hold as many bytes as are left for all: one alone comes to rest at half of the budget, and
 * whoever comes new has as much again as is left. Pure. */
#ifndef CONSENSUS_STORE_WATCH_ROOM_H
#define CONSENSUS_STORE_WATCH_ROOM_H

#include "base/map.h"

struct watch_source;

struct watch_room {
    size_t bytes_max; /* 0 = no limit */
    size_t bytes;
    struct map sources;
};

/* Of a source that has streams, until the last of them is closed. */
struct watch_source *watch_room_enter(struct watch_room *r, uint64_t source);
void watch_room_leave(struct watch_room *r, struct watch_source *s);
/* False: there is no room for so many bytes, and nothing is taken. */
bool watch_room_take(struct watch_room *r, struct watch_source *s, size_t bytes);
void watch_room_give(struct watch_room *r, struct watch_source *s, size_t bytes);
void watch_room_done(struct watch_room *r); /* all have left */

#endif
