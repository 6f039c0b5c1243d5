/* SPDX-License-Identifier: Apache-2.0
 * Choice of an instance as docs/picks.md describes it. Pure: the same input gives the same choice in every
 * SDK, and pick_vectors.json proves it. */
#ifndef SDK_PICK_H
#define SDK_PICK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PICK_TIERS = 3, PICK_WARM_UP_MAX_MS = 3600000 };

struct pick_candidate {
    const char *id, *zone, *region; /* "" = not given */
    uint32_t weight;                /* at most 65,535 */
    bool is_serving;
    uint64_t age_ms; /* since it was first seen in traffic */
};
struct pick_query {
    const char *zone, *region; /* the client's; "" = not given */
    const char *key;           /* NULL = by the draws */
    uint32_t warm_up_ms;       /* 0 = none */
    uint32_t draw_tier;
    uint64_t draw; /* below 2^53 */
};

uint32_t pick_murmur3(const void *data, size_t size, uint32_t seed);
uint32_t pick_cost(uint32_t hash);
uint64_t pick_weight(const struct pick_candidate *i, uint32_t warm_up_ms);
/* Percent of each tier; all 0 = no instance serves. */
void pick_loads(const struct pick_candidate *list, size_t count, const struct pick_query *q,
                uint32_t ret[PICK_TIERS]);
/* The index of the chosen candidate, -1 = none serves. The list is in the order of the ids' bytes. */
long pick_choose(const struct pick_candidate *list, size_t count, const struct pick_query *q);

#endif
