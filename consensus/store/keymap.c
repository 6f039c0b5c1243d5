/* SPDX-License-Identifier: Apache-2.0
 * Extendible hashing; see keymap.h. The top bits of a key's hash choose the directory slot. The low 16 bits
 * are the key's tag: with the size of the segment it determines the home slot in the segment. A slot is one
 * word: the entry's address in 48 bits and the tag above it. So probing, deleting and growing do not touch
 * the keys. */
#include "consensus/store/keymap.h"

#include <assert.h>

#include "base/hash.h"
#include "base/mem.h"
#include "consensus/store/index.h"

#define SEGMENT_MAX  1024u /* slots */
#define SEGMENT_STEP (SEGMENT_MAX / 8)
#define POINTER_MASK ((UINT64_C(1) << 48) - 1)

struct keymap_segment {
    unsigned depth; /* bits of the hash that all keys here share */
    unsigned count;
    unsigned size; /* slots, a multiple of SEGMENT_STEP */
    uint64_t slots[];
};

static struct index_entry *slot_entry(uint64_t slot)
{
    return (struct index_entry *)(uintptr_t)(slot & POINTER_MASK);
}

static unsigned tag_home(const struct keymap_segment *s, uint64_t tag)
{
    return (unsigned)((tag & 0xffff) * s->size >> 16);
}

static unsigned slot_home(const struct keymap_segment *s, uint64_t slot)
{
    return tag_home(s, slot >> 48);
}

static unsigned slot_next(const struct keymap_segment *s, unsigned i)
{
    return i + 1 == s->size ? 0 : i + 1;
}

/* The number of slots from one to the other, upwards and around. */
static unsigned slot_distance(const struct keymap_segment *s, unsigned from, unsigned to)
{
    return to >= from ? to - from : to + s->size - from;
}

static unsigned full_count(unsigned size)
{
    return size / 8 * 7;
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

static struct keymap_segment *segment_new(unsigned depth, unsigned size)
{
    struct keymap_segment *s = mem_new(sizeof *s + size * sizeof s->slots[0]);
    s->depth = depth;
    s->size = size;
    return s;
}

void keymap_init(struct keymap *m, size_t expected)
{
    m->depth = 0;
    while (((size_t)full_count(SEGMENT_MAX) << m->depth) < expected)
        m->depth++;
    size_t size = (size_t)1 << m->depth, each = expected >> m->depth;
    unsigned slots = SEGMENT_STEP;
    while (slots < SEGMENT_MAX && full_count(slots) < each)
        slots += SEGMENT_STEP;
    m->directory = mem_alloc(size * sizeof *m->directory);
    for (size_t i = 0; i < size; i++)
        m->directory[i] = segment_new(m->depth, slots);
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
    const struct keymap_segment *s = *slot_of_hash(m, hash);
    const uint64_t *slot = &s->slots[tag_home(s, hash)];
    if (step == 0) {
        __builtin_prefetch(slot);
    } else if (*slot) {
        const char *e = (const char *)slot_entry(*slot);
        __builtin_prefetch(e);
        __builtin_prefetch(e + 64); /* where most keys begin */
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
        const struct keymap_segment *s = *slot_of_hash(m, hash);
        slots[n] = &s->slots[tag_home(s, hash)];
        __builtin_prefetch(slots[n++]);
    }
    for (size_t i = 0; i < n; i++) {
        const char *e = *slots[i] ? (const char *)slot_entry(*slots[i]) : NULL;
        __builtin_prefetch(e);
        __builtin_prefetch(e ? e + 64 : e);
    }
    for (size_t i = 0; i < n; i++) {
        const struct index_history *h = *slots[i] ? index_entry_history(slot_entry(*slots[i])) : NULL;
        __builtin_prefetch(h);
    }
    /* An update also writes the revision that was the latest. */
    for (size_t i = 0; i < n; i++) {
        const struct index_history *h = *slots[i] ? index_entry_history(slot_entry(*slots[i])) : NULL;
        if (h)
            __builtin_prefetch(&h->items[h->count]);
    }
}

struct index_entry *keymap_get(const struct keymap *m, struct slice key)
{
    uint64_t hash = hash64(key.data, key.size);
    const struct keymap_segment *s = *slot_of_hash(m, hash);
    uint64_t tag = (hash & 0xffff) << 48;
    for (unsigned i = tag_home(s, hash); s->slots[i]; i = slot_next(s, i)) {
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
    unsigned i = slot_home(s, slot);
    while (s->slots[i])
        i = slot_next(s, i);
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

/* The directory slots that name the segment of this hash. */
static struct keymap_segment **segment_places(const struct keymap *m, uint64_t hash, size_t *ret_count)
{
    *ret_count = (size_t)1 << (m->depth - (*slot_of_hash(m, hash))->depth);
    size_t place = (size_t)(slot_of_hash(m, hash) - m->directory);
    return &m->directory[place & ~(*ret_count - 1)];
}

/* Replaces a full segment by a larger one. */
static void segment_grow(struct keymap *m, uint64_t hash)
{
    struct keymap_segment *old = *slot_of_hash(m, hash);
    struct keymap_segment *s = segment_new(old->depth, old->size + SEGMENT_STEP);
    for (unsigned i = 0; i < old->size; i++) {
        if (old->slots[i])
            segment_add(s, old->slots[i]);
    }
    size_t count;
    struct keymap_segment **places = segment_places(m, hash, &count);
    for (size_t i = 0; i < count; i++)
        places[i] = s;
    mem_free(old);
}

/* Replaces a full segment by two that use one more bit of the hash. */
static void segment_split(struct keymap *m, uint64_t hash)
{
    struct keymap_segment *old = *slot_of_hash(m, hash), *halves[2];
    if (old->depth == m->depth)
        directory_double(m);
    for (int i = 0; i < 2; i++)
        halves[i] = segment_new(old->depth + 1, SEGMENT_MAX / 2 + SEGMENT_STEP);
    for (unsigned i = 0; i < old->size; i++) {
        if (!old->slots[i])
            continue;
        struct slice key = index_entry_key(slot_entry(old->slots[i]));
        unsigned bit = (unsigned)(hash64(key.data, key.size) >> (63 - old->depth)) & 1;
        segment_add(halves[bit], old->slots[i]);
    }
    size_t count;
    struct keymap_segment **places = segment_places(m, hash, &count);
    for (size_t i = 0; i < count; i++)
        places[i] = halves[i >= count / 2];
    mem_free(old);
}

void keymap_add(struct keymap *m, struct index_entry *entry)
{
    struct slice key = index_entry_key(entry);
    uint64_t hash = hash64(key.data, key.size);
    const struct keymap_segment *s = *slot_of_hash(m, hash);
    while (s->count >= full_count(s->size)) {
        if (s->size < SEGMENT_MAX)
            segment_grow(m, hash);
        else
            segment_split(m, hash);
        s = *slot_of_hash(m, hash);
    }
    segment_add(*slot_of_hash(m, hash), slot_make(hash, entry));
}

/* Linear probing without tombstones: the following entries move back as far as their home slot allows. */
void keymap_remove(struct keymap *m, struct index_entry *entry)
{
    struct slice key = index_entry_key(entry);
    uint64_t hash = hash64(key.data, key.size);
    struct keymap_segment *s = *slot_of_hash(m, hash);
    uint64_t slot = slot_make(hash, entry);
    unsigned hole = slot_home(s, slot);
    while (s->slots[hole] != slot) {
        assert(s->slots[hole]);
        hole = slot_next(s, hole);
    }
    for (unsigned i = slot_next(s, hole); s->slots[i]; i = slot_next(s, i)) {
        if (slot_distance(s, slot_home(s, s->slots[i]), i) < slot_distance(s, hole, i))
            continue;
        s->slots[hole] = s->slots[i];
        hole = i;
    }
    s->slots[hole] = 0;
    s->count--;
}

size_t keymap_slots(const struct keymap *m)
{
    size_t size = (size_t)1 << m->depth, slots = 0;
    for (size_t i = 0; i < size; i += (size_t)1 << (m->depth - m->directory[i]->depth))
        slots += m->directory[i]->size;
    return slots;
}
