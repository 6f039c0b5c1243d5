/* SPDX-License-Identifier: Apache-2.0
 * See watch_room.h. */
#include "consensus/store/watch_room.h"

#include <assert.h>

#include "base/mem.h"

struct watch_source {
    uint64_t id;
    size_t streams, bytes;
};

struct watch_source *watch_room_enter(struct watch_room *r, uint64_t source)
{
    struct watch_source *s = map_get(&r->sources, source);
    if (!s) {
        s = mem_new(sizeof *s);
        s->id = source;
        map_put(&r->sources, source, s);
    }
    s->streams++;
    return s;
}

void watch_room_leave(struct watch_room *r, struct watch_source *s)
{
    if (--s->streams)
        return;
    assert(s->bytes == 0);
    map_remove(&r->sources, s->id);
    mem_free(s);
}

bool watch_room_take(struct watch_room *r, struct watch_source *s, size_t bytes)
{
    size_t left = r->bytes < r->bytes_max ? r->bytes_max - r->bytes : 0;
    if (r->bytes_max && (bytes > left || s->bytes + bytes > left - bytes))
        return false;
    r->bytes += bytes;
    s->bytes += bytes;
    return true;
}

void watch_room_give(struct watch_room *r, struct watch_source *s, size_t bytes)
{
    assert(s->bytes >= bytes && r->bytes >= bytes);
    r->bytes -= bytes;
    s->bytes -= bytes;
}

void watch_room_done(struct watch_room *r)
{
    assert(r->bytes == 0);
    map_done(&r->sources);
}
