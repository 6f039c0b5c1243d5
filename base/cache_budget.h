/* SPDX-License-Identifier: Apache-2.0
 * One budget in bytes for all caches of a process. Each cache is a share: it says what it really holds, with
 * what its entries take beside their contents, and gives up its least useful entry when it is asked to. When
 * all together hold more than the budget, the cache that holds most is asked first.
 *
 * Invariant: after cache_budget_trim, once a turn of the loop, the sum is at most the budget, unless no cache
 * can give up anything (the newest entry of each may stay). So what a cache has handed out stays valid within
 * the turn. Loop thread only. A share without a budget counts for itself alone. */
#ifndef BASE_CACHE_BUDGET_H
#define BASE_CACHE_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"
#include "base/metric.h"

struct cache_budget {
    size_t bytes_max, bytes;
    struct link shares;
};

struct cache_share {
    struct cache_budget *budget; /* NULL = none */
    struct link link;
    size_t bytes;
    enum metric gauge;
    /* Frees one entry or more, with cache_share_sub; false: there is none that may go. */
    bool (*evict)(struct cache_share *share);
    bool is_asked; /* within one trim: it has nothing more to give */
};

void cache_budget_init(struct cache_budget *b, size_t bytes_max);
/* Asks the caches to give up what is too much; not from inside one of them. */
void cache_budget_trim(struct cache_budget *b);

/* The share is zeroed before; budget may be NULL. */
void cache_share_init(struct cache_share *s, struct cache_budget *budget, enum metric gauge,
                      bool (*evict)(struct cache_share *share));
void cache_share_done(struct cache_share *s); /* what it held is gone */
void cache_share_add(struct cache_share *s, size_t bytes);
void cache_share_sub(struct cache_share *s, size_t bytes);

/* The approximate number of bytes that malloc allocates for a block of this size. */
static inline size_t cache_block_bytes(size_t size)
{
    return (size + 8 + 15) / 16 * 16;
}

#endif
