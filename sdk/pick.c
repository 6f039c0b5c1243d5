/* SPDX-License-Identifier: Apache-2.0
 * See pick.h. All intermediate values are below 2^53, so that languages with doubles alone compute the same.
 * (MurmurHash3 needs products of 32 bits.) */
#include "sdk/pick.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static uint32_t rotate(uint32_t x, unsigned bits)
{
    return x << bits | x >> (32 - bits);
}

/* MurmurHash3_x86_32, Austin Appleby, public domain. */
uint32_t pick_murmur3(const void *data, size_t size, uint32_t seed)
{
    const uint8_t *p = data;
    uint32_t h = seed, k = 0;
    size_t i = 0;
    for (; i + 4 <= size; i += 4) {
        k = (uint32_t)p[i] | (uint32_t)p[i + 1] << 8 | (uint32_t)p[i + 2] << 16 | (uint32_t)p[i + 3] << 24;
        h ^= rotate(k * 0xcc9e2d51u, 15) * 0x1b873593u;
        h = rotate(h, 13) * 5 + 0xe6546b64u;
    }
    k = 0;
    for (unsigned shift = 0; i < size; i++, shift += 8)
        k |= (uint32_t)p[i] << shift;
    h ^= rotate(k * 0xcc9e2d51u, 15) * 0x1b873593u;
    h ^= (uint32_t)size;
    h = (h ^ h >> 16) * 0x85ebca6bu;
    h = (h ^ h >> 13) * 0xc2b2ae35u;
    return h ^ h >> 16;
}

/* -log2 of the hash as a number in (0, 1], times 2^20, by repeated squaring. */
uint32_t pick_cost(uint32_t hash)
{
    uint64_t m = (hash >> 6) + 1, log = 0;
    while (m >> (log + 1))
        log++;
    uint64_t y = log <= 25 ? m << (25 - log) : m >> 1;
    for (int i = 0; i < 20; i++) {
        y = y * y >> 25;
        log *= 2;
        if (y >> 26) {
            log++;
            y >>= 1;
        }
    }
    return (uint32_t)((26u << 20) - log);
}

uint64_t pick_weight(const struct pick_candidate *i, uint32_t warm_up_ms)
{
    uint64_t whole = (uint64_t)i->weight * 100, least = (uint64_t)i->weight * 10;
    if (!warm_up_ms || i->age_ms >= warm_up_ms)
        return whole;
    uint64_t part = whole * i->age_ms / warm_up_ms;
    return part > least ? part : least;
}

static unsigned tier_of(const struct pick_candidate *i, const struct pick_query *q)
{
    if (*q->zone && strcmp(i->zone, q->zone) == 0)
        return 0;
    return *q->region && strcmp(i->region, q->region) == 0 ? 1 : 2;
}

void pick_loads(const struct pick_candidate *list, size_t count, const struct pick_query *q,
                uint32_t ret[PICK_TIERS])
{
    uint64_t total[PICK_TIERS] = {0}, serving[PICK_TIERS] = {0}, health[PICK_TIERS] = {0}, sum = 0,
             left = 100;
    memset(ret, 0, PICK_TIERS * sizeof *ret);
    for (size_t i = 0; i < count; i++) {
        unsigned t = tier_of(&list[i], q);
        total[t]++;
        serving[t] += list[i].is_serving;
    }
    for (unsigned t = 0; t < PICK_TIERS; t++) {
        health[t] = total[t] ? 140 * serving[t] / total[t] : 0;
        health[t] = health[t] < 100 ? health[t] : 100;
        sum += health[t];
    }
    for (unsigned t = 0; t < PICK_TIERS && sum; t++) {
        uint64_t load = sum >= 100 ? health[t] : health[t] * 100 / sum;
        ret[t] = (uint32_t)(load < left ? load : left);
        left -= ret[t];
    }
    for (unsigned t = 0; t < PICK_TIERS && left; t++)
        if (health[t]) {
            ret[t] += (uint32_t)left;
            left = 0;
        }
}

static long choose_by_draw(const struct pick_candidate *list, size_t count, const struct pick_query *q,
                           unsigned tier)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        if (list[i].is_serving && tier_of(&list[i], q) == tier)
            sum += pick_weight(&list[i], q->warm_up_ms);
    uint64_t at = sum ? q->draw % sum : 0;
    for (size_t i = 0; i < count; i++) {
        if (!list[i].is_serving || tier_of(&list[i], q) != tier)
            continue;
        uint64_t w = pick_weight(&list[i], q->warm_up_ms);
        if (at < w)
            return (long)i;
        at -= w;
    }
    return -1;
}

static long choose_by_key(const struct pick_candidate *list, size_t count, const struct pick_query *q,
                          unsigned tier)
{
    size_t key_size = strlen(q->key) + 1, capacity = key_size + 256;
    char *text = mem_alloc(capacity);
    uint64_t best_cost = 0, best_weight = 0;
    uint32_t best_hash = 0;
    long best = -1;
    memcpy(text, q->key, key_size); /* with the NUL, which separates */
    for (size_t i = 0; i < count; i++) {
        if (!list[i].is_serving || tier_of(&list[i], q) != tier)
            continue;
        size_t size = strlen(list[i].id);
        if (key_size + size > capacity) {
            char *longer = mem_alloc(capacity = key_size + size);
            memcpy(longer, q->key, key_size);
            mem_free(text);
            text = longer;
        }
        memcpy(text + key_size, list[i].id, size);
        uint32_t h = pick_murmur3(text, key_size + size, 0);
        uint64_t cost = pick_cost(h), w = pick_weight(&list[i], q->warm_up_ms);
        uint64_t mine = cost * best_weight, its = best_cost * w;
        if (best >= 0 && (mine > its || (mine == its && h <= best_hash)))
            continue;
        best = (long)i;
        best_cost = cost;
        best_weight = w;
        best_hash = h;
    }
    mem_free(text);
    return best;
}

long pick_choose(const struct pick_candidate *list, size_t count, const struct pick_query *q)
{
    uint32_t loads[PICK_TIERS];
    pick_loads(list, count, q, loads);
    uint32_t d = (q->key ? pick_murmur3(q->key, strlen(q->key), 1) : q->draw_tier) % 100;
    for (unsigned tier = 0; tier < PICK_TIERS; tier++) {
        if (d < loads[tier])
            return q->key ? choose_by_key(list, count, q, tier) : choose_by_draw(list, count, q, tier);
        d -= loads[tier];
    }
    return -1;
}
