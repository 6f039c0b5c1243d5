/* SPDX-License-Identifier: Apache-2.0
 * Record cache; see cache.h. Sets of four slots: a counter chooses the slot in a full set. When the bytes are
 * used up, a clock hand goes round all slots. */
#include "consensus/store/cache.h"

#include "base/mem.h"

#define WAYS 4u
/* One set for each KiB of records, within these limits. */
#define SETS_MIN 64u
#define SETS_MAX (1u << 20)

/* Of the records that would evict another one, only one in eight is admitted. So the cache costs little when
 * records are not read again soon, and records that are read often still get in. */
#define ADMIT 8u

struct cache_slot {
    int64_t main; /* 0 = empty */
    uint32_t sub;
    uint32_t size;
    uint8_t *data;
};

void cache_init(struct cache *c, size_t bytes_max, struct cache_budget *budget)
{
    *c = (struct cache){.bytes_max = bytes_max, .budget = budget, .set_count = SETS_MIN};
    while (c->set_count < SETS_MAX && c->set_count * 1024 < bytes_max)
        c->set_count *= 2;
}

static size_t table_bytes(const struct cache *c)
{
    return c->set_count * WAYS * sizeof *c->slots;
}

static void slot_evict(struct cache *c, struct cache_slot *slot);

/* Evicts one record at the clock hand. */
static bool evict_one(struct cache_share *share)
{
    struct cache *c = container_of(share, struct cache, share);
    size_t before = c->bytes;
    for (size_t i = 0; i < c->set_count * WAYS && c->bytes == before; i++)
        slot_evict(c, &c->slots[c->hand++ % (c->set_count * WAYS)]);
    return c->bytes < before;
}

static void make_table(struct cache *c)
{
    c->slots = mem_new(table_bytes(c));
    cache_share_init(&c->share, c->budget, METRIC_CACHE_RECORDS, evict_one);
    cache_share_add(&c->share, table_bytes(c));
}

void cache_leave(struct cache *c)
{
    if (c->slots)
        cache_share_done(&c->share);
    c->budget = NULL;
}

void cache_turn(struct cache *c)
{
    while (c->evicted_count)
        mem_free(c->evicted[--c->evicted_count]);
}

void cache_done(struct cache *c)
{
    cache_turn(c);
    if (c->budget)
        cache_leave(c);
    for (size_t i = 0; c->slots && i < c->set_count * WAYS; i++)
        mem_free(c->slots[i].data);
    mem_free(c->slots);
    mem_free(c->evicted);
    *c = (struct cache){0};
}

/* Revisions come from our own counter, not from clients: a simple hash is sufficient. */
static struct cache_slot *set_of(const struct cache *c, struct revision revision)
{
    uint64_t h = ((uint64_t)revision.main ^ (uint64_t)revision.sub << 40) * UINT64_C(0x9e3779b97f4a7c15);
    return &c->slots[(h >> 32 & (c->set_count - 1)) * WAYS];
}

static struct cache_slot *cache_find(const struct cache *c, struct revision revision)
{
    if (!c->slots)
        return NULL;
    struct cache_slot *set = set_of(c, revision);
    for (unsigned i = 0; i < WAYS; i++) {
        if (set[i].main == revision.main && set[i].sub == revision.sub)
            return &set[i];
    }
    return NULL;
}

bool cache_get(const struct cache *c, struct revision revision, struct slice *ret_record)
{
    const struct cache_slot *slot = cache_find(c, revision);
    if (slot)
        *ret_record = slice_of(slot->data, slot->size);
    return slot != NULL;
}

void cache_prefetch(const struct cache *c, struct revision revision, unsigned step)
{
    struct slice record;
    if (!c->slots)
        return;
    if (step == 0) {
        const char *set = (const char *)set_of(c, revision);
        for (size_t at = 0; at < WAYS * sizeof(struct cache_slot); at += 64)
            __builtin_prefetch(set + at);
    } else if (cache_get(c, revision, &record)) {
        for (size_t at = 0; at < record.size && at < 512; at += 64)
            __builtin_prefetch(record.data + at);
    }
}

static void cache_count(struct cache *c, size_t add, size_t sub)
{
    c->bytes += add - sub;
    if (add)
        cache_share_add(&c->share, add);
    else
        cache_share_sub(&c->share, sub);
}

static void slot_evict(struct cache *c, struct cache_slot *slot)
{
    if (slot->main == 0)
        return;
    if (c->evicted_count == c->evicted_capacity) {
        c->evicted_capacity = c->evicted_capacity ? c->evicted_capacity * 2 : 64;
        c->evicted = mem_resize(c->evicted, c->evicted_capacity * sizeof *c->evicted);
    }
    c->evicted[c->evicted_count++] = slot->data;
    cache_count(c, 0, cache_block_bytes(slot->size));
    *slot = (struct cache_slot){0};
}

void cache_drop(struct cache *c, struct revision revision)
{
    struct cache_slot *slot = cache_find(c, revision);
    if (slot)
        slot_evict(c, slot);
}

static bool is_full(const struct cache *c, size_t bytes)
{
    return c->bytes + bytes > c->bytes_max || (c->budget && c->budget->bytes + bytes > c->budget->bytes_max);
}

void cache_add(struct cache *c, struct revision revision, struct slice record)
{
    size_t bytes = cache_block_bytes(record.size);
    if (record.size > CACHE_RECORD_MAX || bytes > c->bytes_max)
        return;
    if (!c->slots)
        make_table(c);
    struct cache_slot *set = set_of(c, revision), *slot = NULL;
    for (unsigned i = 0; i < WAYS && !slot; i++) {
        if (set[i].main == 0)
            slot = &set[i];
    }
    if ((!slot || is_full(c, bytes)) && c->refused++ % ADMIT != 0)
        return;
    if (!slot) {
        slot = &set[c->hand++ % WAYS];
        slot_evict(c, slot);
    }
    while (c->bytes + bytes > c->bytes_max)
        slot_evict(c, &c->slots[c->hand++ % (c->set_count * WAYS)]);
    *slot = (struct cache_slot){.main = revision.main, .sub = revision.sub, .size = (uint32_t)record.size};
    slot->data = mem_copy(record.data, record.size);
    cache_count(c, bytes, 0);
}
