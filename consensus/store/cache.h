/* SPDX-License-Identifier: Apache-2.0
 * Record cache: copies of records that single-key reads fetched, by revision. A search in LMDB's pages costs
 * a dozen cache and TLB misses, a hit here two. Records never change, so no copy is ever invalid; records
 * that compaction deletes are dropped. Bounded; nothing is allocated before the first read. */
#ifndef CONSENSUS_STORE_CACHE_H
#define CONSENSUS_STORE_CACHE_H

#include "base/cache_budget.h"
#include "consensus/store/revision.h"

#define CACHE_RECORD_MAX 4096u /* larger records are not kept: their own cost is much more than the search */

struct cache_slot;

struct cache {
    struct cache_slot *slots;
    size_t set_count;                       /* a power of two */
    size_t bytes, bytes_max, hand, refused; /* bytes: including malloc's overhead */
    struct cache_budget *budget;
    struct cache_share share; /* of the budget; taken with the first record */
    uint8_t **evicted;        /* responses of this turn still point to them */
    size_t evicted_count, evicted_capacity;
};

/* budget may be NULL: then only bytes_max limits it. */
void cache_init(struct cache *c, size_t bytes_max, struct cache_budget *budget);
void cache_done(struct cache *c);
void cache_leave(struct cache *c); /* leaves the budget; cache_done may then run on a worker */
/* The slice lives until cache_turn. */
bool cache_get(const struct cache *c, struct revision revision, struct slice *ret_record);
/* Prefetches what cache_get will read: step 0 the slots, step 1 the record. */
void cache_prefetch(const struct cache *c, struct revision revision, unsigned step);
void cache_add(struct cache *c, struct revision revision, struct slice record);
void cache_drop(struct cache *c, struct revision revision); /* compaction deletes it */
void cache_turn(struct cache *c);

#endif
