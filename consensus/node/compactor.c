/* SPDX-License-Identifier: Apache-2.0
 * Automatic compaction policy; see compactor.h. The intervals are etcd's
 * (server/etcdserver/api/v3compactor). */
#include "consensus/node/compactor.h"

#include "base/mem.h"

#define HOUR_MS          (3600ULL * 1000)
#define REVISION_STEP_MS (5ULL * 60 * 1000)

void compactor_init(struct compactor *c, bool is_periodic, uint64_t retention, uint64_t now_ms)
{
    *c = (struct compactor){.is_periodic = is_periodic, .retention = retention, .last_compact_ms = now_ms};
    if (retention == 0)
        return;
    uint64_t interval = retention < HOUR_MS ? retention : HOUR_MS;
    c->step_ms = is_periodic ? interval / 10 : REVISION_STEP_MS;
    if (c->step_ms == 0)
        c->step_ms = 1;
    c->next_ms = is_periodic ? now_ms : now_ms + c->step_ms;
    c->capacity = 1;
    if (is_periodic)
        c->capacity += (size_t)(retention / c->step_ms);
    c->revisions = mem_new(c->capacity * sizeof *c->revisions);
}

void compactor_done(struct compactor *c)
{
    mem_free(c->revisions);
    *c = (struct compactor){0};
}

static void compactor_remember(struct compactor *c, int64_t revision)
{
    if (c->count == c->capacity) {
        c->first = (c->first + 1) % c->capacity;
        c->count--;
    }
    c->revisions[(c->first + c->count) % c->capacity] = revision;
    c->count++;
}

int64_t compactor_tick(struct compactor *c, uint64_t now_ms, int64_t revision)
{
    if (c->retention == 0 || now_ms < c->next_ms)
        return 0;
    c->next_ms = now_ms + c->step_ms;
    int64_t target;
    if (c->is_periodic) {
        uint64_t interval = c->has_compacted && c->retention > HOUR_MS ? HOUR_MS : c->retention;
        bool is_due = now_ms - c->last_compact_ms >= interval;
        target = is_due && c->count ? c->revisions[c->first] : 0;
        compactor_remember(c, revision);
    } else {
        target = revision - (int64_t)c->retention;
    }
    if (target <= 1 || target <= c->last_revision)
        return 0;
    c->last_revision = target;
    c->last_compact_ms = now_ms;
    c->has_compacted = true;
    return target;
}
