/* SPDX-License-Identifier: Apache-2.0
 * Memory budget of watchers; see watch_budget.h. */
#include "consensus/store/watch_budget.h"

#include <assert.h>

#include "base/mem.h"

struct watch_source {
    uint64_t id;
    size_t streams, bytes;
};

struct watch_source *watch_budget_enter(struct watch_budget *b, uint64_t source)
{
    struct watch_source *s = map_get(&b->sources, source);
    if (!s) {
        s = mem_new(sizeof *s);
        s->id = source;
        map_put(&b->sources, source, s);
    }
    s->streams++;
    return s;
}

void watch_budget_leave(struct watch_budget *b, struct watch_source *s)
{
    if (--s->streams)
        return;
    assert(s->bytes == 0);
    map_remove(&b->sources, s->id);
    mem_free(s);
}

bool watch_budget_take(struct watch_budget *b, struct watch_source *s, size_t bytes)
{
    size_t left = b->bytes < b->bytes_max ? b->bytes_max - b->bytes : 0;
    if (b->bytes_max && (bytes > left || s->bytes + bytes > left - bytes))
        return false;
    b->bytes += bytes;
    s->bytes += bytes;
    return true;
}

void watch_budget_give(struct watch_budget *b, struct watch_source *s, size_t bytes)
{
    assert(s->bytes >= bytes && b->bytes >= bytes);
    b->bytes -= bytes;
    s->bytes -= bytes;
}

void watch_budget_done(struct watch_budget *b)
{
    assert(b->bytes == 0);
    map_done(&b->sources);
}
