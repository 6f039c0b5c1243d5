/* SPDX-License-Identifier: Apache-2.0
 * Hash tables: open addressing with linear probing. A removed entry leaves a tombstone unless the next slot
 * is empty, so that no entry moves and iteration survives removal. At most 3/4 of the slots are used,
 * tombstones included. A rebuild drops tombstones and computes the capacity again; it may shrink.
 *
 * A slot is empty if its value is NULL and a tombstone if its value is TOMBSTONE. */
#include "base/map.h"

#include <assert.h>

#include "base/hash.h"
#include "base/mem.h"

enum {
    MAP_MIN = 8,
    AT_ONCE_MAX = 8192, /* a strmap of at most so many slots is rebuilt in one call */
    OLD_STEP = 16,      /* slots of a larger one that move with each strmap_put, at least */
};

struct map_slot {
    uint64_t key;
    void *value;
};

struct strmap_slot {
    uint64_t hash;
    uint8_t *key; /* owned; NULL in tombstones */
    size_t size;
    void *value;
};

static char tombstone;
#define TOMBSTONE ((void *)&tombstone)

/* The capacity after a rebuild, with room for one more entry. The live entries then fill between 3/8 and
 * 3/4 of it. So the next rebuild is at least capacity * 3/8 changes away. */
static size_t capacity_for(size_t count)
{
    size_t capacity = MAP_MIN;
    while (capacity / 8 * 3 < count + 1)
        capacity *= 2;
    return capacity;
}

static bool is_full(size_t used, size_t capacity)
{
    return used + 1 > capacity / 4 * 3;
}

/* --- map ------------------------------------------------------------------------------------- */

static struct map_slot *map_find(const struct map *m, uint64_t key)
{
    if (m->count == 0)
        return NULL;
    size_t mask = m->capacity - 1;
    for (size_t i = hash64_u64(key) & mask;; i = (i + 1) & mask) {
        struct map_slot *s = &m->slots[i];
        if (!s->value)
            return NULL;
        if (s->key == key && s->value != TOMBSTONE)
            return s;
    }
}

static void map_rebuild(struct map *m)
{
    struct map old = *m;
    m->capacity = capacity_for(old.count);
    m->slots = mem_new(m->capacity * sizeof *m->slots);
    m->used = old.count;
    size_t mask = m->capacity - 1;
    for (size_t at = 0; at < old.capacity; at++) {
        const struct map_slot *s = &old.slots[at];
        if (!s->value || s->value == TOMBSTONE)
            continue;
        size_t i = hash64_u64(s->key) & mask;
        while (m->slots[i].value)
            i = (i + 1) & mask;
        m->slots[i] = *s;
    }
    mem_free(old.slots);
}

void *map_get(const struct map *m, uint64_t key)
{
    const struct map_slot *s = map_find(m, key);
    return s ? s->value : NULL;
}

void *map_put(struct map *m, uint64_t key, void *value)
{
    assert(value);
    struct map_slot *found = map_find(m, key);
    if (found) {
        void *replaced = found->value;
        found->value = value;
        return replaced;
    }
    if (is_full(m->used, m->capacity))
        map_rebuild(m);
    size_t mask = m->capacity - 1;
    size_t i = hash64_u64(key) & mask;
    while (m->slots[i].value && m->slots[i].value != TOMBSTONE)
        i = (i + 1) & mask;
    m->used += m->slots[i].value == NULL;
    m->slots[i] = (struct map_slot){key, value};
    m->count++;
    return NULL;
}

void *map_remove(struct map *m, uint64_t key)
{
    struct map_slot *s = map_find(m, key);
    if (!s)
        return NULL;
    void *removed = s->value;
    s->value = TOMBSTONE;
    m->count--;
    size_t mask = m->capacity - 1;
    size_t i = (size_t)(s - m->slots);
    if (!m->slots[(i + 1) & mask].value)
        for (; m->slots[i].value == TOMBSTONE; i = (i - 1) & mask) {
            m->slots[i].value = NULL;
            m->used--;
        }
    return removed;
}

void map_done(struct map *m)
{
    mem_free(m->slots);
    *m = (struct map){0};
}

bool map_next(const struct map *m, size_t *at, uint64_t *ret_key, void **ret_value)
{
    for (; *at < m->capacity; ++*at) {
        const struct map_slot *s = &m->slots[*at];
        if (!s->value || s->value == TOMBSTONE)
            continue;
        *ret_key = s->key;
        *ret_value = s->value;
        ++*at;
        return true;
    }
    return false;
}

/* --- strmap ----------------------------------------------------------------------------------
 *
 * During the rebuild of a large one its entries are in two tables. New entries go to the new table. Each
 * strmap_put moves some entries of the old table, where they leave tombstones. Only strmap_put moves
 * entries; so iteration over the old table and then the new one survives removal. */

static struct strmap_slot *find_in(struct strmap_slot *slots, size_t capacity, struct slice key,
                                   uint64_t hash)
{
    size_t mask = capacity - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct strmap_slot *s = &slots[i];
        if (!s->value)
            return NULL;
        if (s->hash == hash && s->value != TOMBSTONE && slice_equal(slice_of(s->key, s->size), key))
            return s;
    }
}

static struct strmap_slot *strmap_find(const struct strmap *m, struct slice key, uint64_t hash)
{
    if (m->count == 0)
        return NULL;
    struct strmap_slot *s = find_in(m->slots, m->capacity, key, hash);
    return s || !m->old ? s : find_in(m->old, m->old_capacity, key, hash);
}

static void strmap_insert(struct strmap *m, const struct strmap_slot *slot)
{
    size_t mask = m->capacity - 1;
    size_t i = slot->hash & mask;
    while (m->slots[i].value && m->slots[i].value != TOMBSTONE)
        i = (i + 1) & mask;
    m->used += m->slots[i].value == NULL;
    m->slots[i] = *slot;
}

static void strmap_move(struct strmap *m, size_t max)
{
    for (; m->old_at < m->old_capacity && max; m->old_at++, max--) {
        struct strmap_slot *s = &m->old[m->old_at];
        if (!s->value || s->value == TOMBSTONE)
            continue;
        strmap_insert(m, s);
        *s = (struct strmap_slot){.value = TOMBSTONE};
    }
    if (m->old_at < m->old_capacity)
        return;
    mem_free(m->old);
    m->old = NULL;
    m->old_capacity = 0;
}

/* Begins a rebuild. The new table accepts capacity / 4 more entries before it is full. Until then all
 * entries of the old table have moved. */
static void strmap_rebuild(struct strmap *m)
{
    if (m->old)
        strmap_move(m, SIZE_MAX);
    m->old = m->slots;
    m->old_capacity = m->capacity;
    m->old_at = 0;
    m->capacity = capacity_for(m->count);
    m->slots = mem_new(m->capacity * sizeof *m->slots);
    m->used = 0;
    m->old_step = m->old_capacity / (m->capacity / 4) + OLD_STEP;
    if (m->old_capacity <= AT_ONCE_MAX)
        strmap_move(m, SIZE_MAX);
}

void *strmap_get(const struct strmap *m, struct slice key)
{
    if (m->count == 0)
        return NULL;
    const struct strmap_slot *s = strmap_find(m, key, hash64(key.data, key.size));
    return s ? s->value : NULL;
}

void *strmap_put(struct strmap *m, struct slice key, void *value)
{
    assert(value);
    uint64_t hash = hash64(key.data, key.size);
    if (m->old)
        strmap_move(m, m->old_step);
    struct strmap_slot *found = strmap_find(m, key, hash);
    if (found) {
        void *replaced = found->value;
        found->value = value;
        return replaced;
    }
    if (is_full(m->used, m->capacity))
        strmap_rebuild(m);
    const struct strmap_slot slot = {hash, mem_copy(key.data, key.size), key.size, value};
    strmap_insert(m, &slot);
    m->count++;
    return NULL;
}

void *strmap_remove(struct strmap *m, struct slice key)
{
    if (m->count == 0)
        return NULL;
    struct strmap_slot *s = strmap_find(m, key, hash64(key.data, key.size));
    if (!s)
        return NULL;
    void *removed = s->value;
    mem_free(s->key);
    *s = (struct strmap_slot){.value = TOMBSTONE};
    m->count--;
    if (m->old && s >= m->old && s < m->old + m->old_capacity)
        return removed;
    size_t mask = m->capacity - 1;
    size_t i = (size_t)(s - m->slots);
    if (!m->slots[(i + 1) & mask].value)
        for (; m->slots[i].value == TOMBSTONE; i = (i - 1) & mask) {
            m->slots[i].value = NULL;
            m->used--;
        }
    return removed;
}

void strmap_done(struct strmap *m)
{
    for (size_t i = 0; i < m->capacity; i++)
        mem_free(m->slots[i].key);
    for (size_t i = 0; i < m->old_capacity; i++)
        mem_free(m->old[i].key);
    mem_free(m->slots);
    mem_free(m->old);
    *m = (struct strmap){0};
}

bool strmap_next(const struct strmap *m, size_t *at, struct slice *ret_key, void **ret_value)
{
    for (; *at < m->old_capacity + m->capacity; ++*at) {
        const struct strmap_slot *s = *at < m->old_capacity ? &m->old[*at] : &m->slots[*at - m->old_capacity];
        if (!s->value || s->value == TOMBSTONE)
            continue;
        *ret_key = slice_of(s->key, s->size);
        *ret_value = s->value;
        ++*at;
        return true;
    }
    return false;
}
