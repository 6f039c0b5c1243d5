/* SPDX-License-Identifier: Apache-2.0
 * Extendible hashing: see keymap.h. The top bits of a key's hash choose the directory slot, the low 9 bits
 * the home slot within the segment, 7 more are a fingerprint. A slot is one word: the entry's address in 48
 * bits, above it the home and the fingerprint, so that probing and deleting need not touch the keys. */
#include "consensus/store/keymap.h"

#include <assert.h>

#include "base/hash.h"
#include "base/mem.h"
#include "consensus/store/index.h"

#define SEGMENT_SLOTS 512u
#define SEGMENT_FULL  (SEGMENT_SLOTS / 8 * 7)
#define POINTER_MASK  ((UINT64_C(1) << 48) - 1)

struct keymap_segment {
    unsigned depth; /* bits of the hash that all keys here share */
    unsigned count;
    uint64_t slots[SEGMENT_SLOTS];
};

static struct index_entry *slot_entry(uint64_t slot)
{
    return (struct index_entry *)(uintptr_t)(slot & POINTER_MASK);
}

static unsigned slot_home(uint64_t slot)
{
    return (unsigned)(slot >> 48) & (SEGMENT_SLOTS - 1);
}

static uint64_t slot_make(uint64_t hash, struct index_entry *entry)
{
    assert(((uintptr_t)entry & ~POINTER_MASK) == 0);
    return (hash & 0xffff) << 48 | (uint64_t)(uintptr_t)entry;
}

static struct keymap_segment **slot_of_hash(const struct keymap *m, uint64_t hash)
{
    return &m->directory[m->depth ? hash >> (64 - m->depth) : 0];
}

void keymap_init(struct keymap *m, size_t expected)
{
    m->depth = 0;
    while (((size_t)SEGMENT_SLOTS << m->depth) * 7 / 10 < expected)
        m->depth++;
    size_t size = (size_t)1 << m->depth;
    m->directory = mem_alloc(size * sizeof *m->directory);
    for (size_t i = 0; i < size; i++) {
        m->directory[i] = mem_new(sizeof **m->directory);
        m->directory[i]->depth = m->depth;
    }
}

void keymap_done(struct keymap *m)
{
    size_t size = (size_t)1 << m->depth;
    for (size_t i = 0; m->directory && i < size;) {
        struct keymap_segment *s = m->directory[i];
        i += (size_t)1 << (m->depth - s->depth);
        mem_free(s);
    }
    mem_free(m->directory);
    *m = (struct keymap){0};
}

void keymap_prefetch(const struct keymap *m, struct slice key, unsigned step)
{
    uint64_t hash = hash64(key.data, key.size);
    const uint64_t *slot = &(*slot_of_hash(m, hash))->slots[(unsigned)hash & (SEGMENT_SLOTS - 1)];
    if (step == 0) {
        __builtin_prefetch(slot);
    } else if (*slot) {
        const char *e = (const char *)slot_entry(*slot);
        __builtin_prefetch(e);
        __builtin_prefetch(e + 64); /* the key of most */
    }
}

void keymap_prefetch_all(const struct keymap *m, const struct slice *keys, size_t count)
{
    const uint64_t *slots[KEYMAP_PREFETCH_MAX];
    size_t n = 0;
    assert(count <= KEYMAP_PREFETCH_MAX);
    for (size_t i = 0; i < count; i++) {
        if (!keys[i].size)
            continue;
        uint64_t hash = hash64(keys[i].data, keys[i].size);
        slots[n] = &(*slot_of_hash(m, hash))->slots[(unsigned)hash & (SEGMENT_SLOTS - 1)];
        __builtin_prefetch(slots[n++]);
    }
    for (size_t i = 0; i < n; i++) {
        const char *e = *slots[i] ? (const char *)slot_entry(*slots[i]) : NULL;
        __builtin_prefetch(e);
        __builtin_prefetch(e ? e + 64 : e);
    }
    for (size_t i = 0; i < n; i++) {
        const struct index_history *h = *slots[i] ? slot_entry(*slots[i])->history : NULL;
        __builtin_prefetch(h);
    }
    /* An update adds the revision that was the latest so far. */
    for (size_t i = 0; i < n; i++) {
        const struct index_history *h = *slots[i] ? slot_entry(*slots[i])->history : NULL;
        if (h)
            __builtin_prefetch(&h->items[h->count]);
    }
}

struct index_entry *keymap_get(const struct keymap *m, struct slice key)
{
    uint64_t hash = hash64(key.data, key.size);
    const struct keymap_segment *s = *slot_of_hash(m, hash);
    uint64_t tag = (hash & 0xffff) << 48;
    for (unsigned i = (unsigned)hash & (SEGMENT_SLOTS - 1); s->slots[i]; i = (i + 1) & (SEGMENT_SLOTS - 1)) {
        if ((s->slots[i] & ~POINTER_MASK) != tag)
            continue;
        struct index_entry *e = slot_entry(s->slots[i]);
        if (slice_equal(index_entry_key(e), key))
            return e;
    }
    return NULL;
}

static void segment_add(struct keymap_segment *s, uint64_t slot)
{
    unsigned i = slot_home(slot);
    while (s->slots[i])
        i = (i + 1) & (SEGMENT_SLOTS - 1);
    s->slots[i] = slot;
    s->count++;
}

static void directory_double(struct keymap *m)
{
    size_t size = (size_t)1 << m->depth;
    struct keymap_segment **wider = mem_alloc(2 * size * sizeof *wider);
    for (size_t i = 0; i < size; i++)
        wider[2 * i] = wider[2 * i + 1] = m->directory[i];
    mem_free(m->directory);
    m->directory = wider;
    m->depth++;
}

/* Replaces a full segment by two that look at one more bit of the hash. */
static void segment_split(struct keymap *m, uint64_t hash)
{
    struct keymap_segment *old = *slot_of_hash(m, hash), *halves[2];
    if (old->depth == m->depth)
        directory_double(m);
    for (int i = 0; i < 2; i++) {
        halves[i] = mem_new(sizeof *halves[i]);
        halves[i]->depth = old->depth + 1;
    }
    for (unsigned i = 0; i < SEGMENT_SLOTS; i++) {
        if (!old->slots[i])
            continue;
        struct slice key = index_entry_key(slot_entry(old->slots[i]));
        unsigned bit = (unsigned)(hash64(key.data, key.size) >> (63 - old->depth)) & 1;
        segment_add(halves[bit], old->slots[i]);
    }
    size_t span = (size_t)1 << (m->depth - old->depth);
    size_t first = (size_t)(slot_of_hash(m, hash) - m->directory) & ~(span - 1);
    for (size_t i = 0; i < span; i++)
        m->directory[first + i] = halves[i >= span / 2];
    mem_free(old);
}

void keymap_add(struct keymap *m, struct index_entry *entry)
{
    struct slice key = index_entry_key(entry);
    uint64_t hash = hash64(key.data, key.size);
    while ((*slot_of_hash(m, hash))->count >= SEGMENT_FULL)
        segment_split(m, hash);
    segment_add(*slot_of_hash(m, hash), slot_make(hash, entry));
}

/* Linear probing without tombstones: what follows moves back as long as it may. */
void keymap_remove(struct keymap *m, struct index_entry *entry)
{
    struct slice key = index_entry_key(entry);
    uint64_t hash = hash64(key.data, key.size);
    struct keymap_segment *s = *slot_of_hash(m, hash);
    uint64_t slot = slot_make(hash, entry);
    unsigned hole = slot_home(slot);
    while (s->slots[hole] != slot) {
        assert(s->slots[hole]);
        hole = (hole + 1) & (SEGMENT_SLOTS - 1);
    }
    for (unsigned i = (hole + 1) & (SEGMENT_SLOTS - 1); s->slots[i]; i = (i + 1) & (SEGMENT_SLOTS - 1)) {
        unsigned from_home = (i - slot_home(s->slots[i])) & (SEGMENT_SLOTS - 1);
        unsigned from_hole = (i - hole) & (SEGMENT_SLOTS - 1);
        if (from_home < from_hole)
            continue;
        s->slots[hole] = s->slots[i];
        hole = i;
    }
    s->slots[hole] = 0;
    s->count--;
}
