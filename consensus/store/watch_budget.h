/* SPDX-License-Identifier: Apache-2.0
 * Memory budget of watchers: bytes for all clients, shared by source address. A source may hold at most as
 * many bytes as are left for all. So a single source stops at half of the budget, and a new source gets up to
 * half of the rest. Pure. */
#ifndef CONSENSUS_STORE_WATCH_BUDGET_H
#define CONSENSUS_STORE_WATCH_BUDGET_H

#include "base/map.h"

struct watch_source;

struct watch_budget {
    size_t bytes_max; /* 0 = no limit */
    size_t bytes;
    struct map sources;
};

/* Returns the source, which has streams; it lives until the last of them leaves. */
struct watch_source *watch_budget_enter(struct watch_budget *b, uint64_t source);
void watch_budget_leave(struct watch_budget *b, struct watch_source *s);
/* False: the budget has no room for these bytes; nothing is taken. */
bool watch_budget_take(struct watch_budget *b, struct watch_source *s, size_t bytes);
void watch_budget_give(struct watch_budget *b, struct watch_source *s, size_t bytes);
void watch_budget_done(struct watch_budget *b); /* all sources have left */

#endif
