/* SPDX-License-Identifier: Apache-2.0
 * Trimming of the shares of a cache budget. See cache_budget.h. There are only a few shares, so that a
 * linear search finds the largest. */
#include "base/cache_budget.h"

#include <assert.h>

void cache_budget_init(struct cache_budget *b, size_t bytes_max)
{
    *b = (struct cache_budget){.bytes_max = bytes_max};
    list_init(&b->shares);
}

void cache_share_init(struct cache_share *s, struct cache_budget *budget, enum metric gauge,
                      bool (*evict)(struct cache_share *share))
{
    *s = (struct cache_share){.budget = budget, .gauge = gauge, .evict = evict};
    if (budget)
        list_add_last(&budget->shares, &s->link);
}

void cache_share_done(struct cache_share *s)
{
    cache_share_sub(s, s->bytes);
    if (s->budget)
        list_remove(&s->link);
    *s = (struct cache_share){0};
}

/* Several caches of one kind share a gauge: there are two stores while a snapshot is installed. */
static void change(struct cache_share *s, size_t add, size_t sub)
{
    s->bytes += add - sub;
    if (!s->budget)
        return;
    s->budget->bytes += add - sub;
    metric_add(s->gauge, (double)add - (double)sub);
}

void cache_share_add(struct cache_share *s, size_t bytes)
{
    change(s, bytes, 0);
}

void cache_share_sub(struct cache_share *s, size_t bytes)
{
    assert(bytes <= s->bytes);
    change(s, 0, bytes);
}

static struct cache_share *largest(const struct cache_budget *b)
{
    struct cache_share *best = NULL;
    LIST_FOR_EACH (l, &b->shares) {
        struct cache_share *s = container_of(l, struct cache_share, link);
        if (!s->is_exhausted && s->bytes && (!best || s->bytes > best->bytes))
            best = s;
    }
    return best;
}

void cache_budget_trim(struct cache_budget *b)
{
    struct cache_share *share;
    if (b->bytes <= b->bytes_max)
        return;
    while (b->bytes > b->bytes_max && (share = largest(b)))
        share->is_exhausted = !share->evict(share);
    LIST_FOR_EACH (l, &b->shares)
        container_of(l, struct cache_share, link)->is_exhausted = false;
}
