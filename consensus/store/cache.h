/* SPDX-License-Identifier: Apache-2.0
 * Copies of records that single reads asked for, by revision. A search in LMDB's pages costs a dozen cache
 * and TLB misses, a hit here two. Records never change, so nothing is ever invalid; what compaction takes is
 * dropped, as nobody asks for it again. Bounded; nothing is allocated before the first read. */
#ifndef CONSENSUS_STORE_CACHE_H
#define CONSENSUS_STORE_CACHE_H

#include "base/cache_budget.h"
#include "consensus/store/revision.h"

#define CACHE_RECORD_MAX 4096u /* larger ones are not kept: their own cost hides the search */

struct cache_slot;

struct cache {
    struct cache_slot *slots;
    size_t set_count;                       /* a power of two */
    size_t bytes, bytes_max, hand, refused; /* bytes: with all that malloc takes for them */
    struct cache_budget *budget;
    struct cache_share share; /* of the budget, from the first record on */
    uint8_t **evicted;        /* still referred to by responses of this turn */
    size_t evicted_count, evicted_capacity;
};

/* budget may be NULL: bytes_max bounds it alone. */
void cache_init(struct cache *c, size_t bytes_max, struct cache_budget *budget);
void cache_done(struct cache *c);
void cache_leave(struct cache *c); /* the budget; cache_done may then run on a worker */
/* The slice lives until cache_turn. */
bool cache_get(const struct cache *c, struct revision revision, struct slice *ret_record);
/* Brings nearer what cache_get will touch: step 0 the slots, step 1 the record. */
void cache_prefetch(const struct cache *c, struct revision revision, unsigned step);
void cache_add(struct cache *c, struct revision revision, struct slice record);
void cache_drop(struct cache *c, struct revision revision); /* nobody asks for it any more */
void cache_turn(struct cache *c);

#endif
