/* SPDX-License-Identifier: Apache-2.0
 * One budget in bytes for all caches of a process. Each cache is a share: it reports the bytes that it
 * holds, the overhead of its entries included. When all shares together exceed the budget,
 * cache_budget_trim evicts entries, first from the share that holds the most.
 *
 * Invariant: after cache_budget_trim, once a turn of the loop, the sum is at most the budget, unless no
 * cache can evict an entry (each may keep its newest one). So pointers that a cache has returned stay valid
 * within the turn. Loop thread only. A share without a budget only counts its own bytes. */
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
    /* Frees one entry or more and calls cache_share_sub; false: no entry can be evicted. */
    bool (*evict)(struct cache_share *share);
    bool is_exhausted; /* within one trim: it cannot evict more */
};

void cache_budget_init(struct cache_budget *b, size_t bytes_max);
/* Evicts entries until the budget holds. Must not be called inside `evict`. */
void cache_budget_trim(struct cache_budget *b);

/* Initializes a share. budget may be NULL. */
void cache_share_init(struct cache_share *s, struct cache_budget *budget, enum metric gauge,
                      bool (*evict)(struct cache_share *share));
void cache_share_done(struct cache_share *s); /* its bytes no longer count */
void cache_share_add(struct cache_share *s, size_t bytes);
void cache_share_sub(struct cache_share *s, size_t bytes);

/* The approximate number of bytes that malloc allocates for a block of this size. */
static inline size_t cache_block_bytes(size_t size)
{
    return (size + 8 + 15) / 16 * 16;
}

#endif
