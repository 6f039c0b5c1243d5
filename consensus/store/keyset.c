/* SPDX-License-Identifier: Apache-2.0
 * Linear hashing. With `size` buckets, and L the greatest power of two up to `size`, a hash goes to its low
 * log2(2L) bits if such a bucket exists, else to its low log2(L) bits. Growing by one bucket splits exactly
 * one chain. */
#include "consensus/store/keyset.h"

#include <assert.h>

#include "base/hash.h"
#include "base/mem.h"

#define BUCKETS_MIN 8

static size_t low_power(size_t size)
{
    return (size_t)1 << (63 - __builtin_clzll(size));
}

static size_t bucket_of(size_t size, uint32_t hash)
{
    size_t low = low_power(size);
    size_t i = hash & (2 * low - 1);
    return i < size ? i : i & (low - 1);
}

static uint32_t key_hash(struct slice key)
{
    return (uint32_t)hash64(key.data, key.size);
}

void *keyset_alloc(size_t struct_size, struct slice key)
{
    assert(key.size <= UINT32_MAX);
    uint8_t *memory = mem_alloc(struct_size + key.size);
    memset(memory, 0, struct_size);
    struct keyset_node *n = (struct keyset_node *)(void *)(memory + struct_size - sizeof *n);
    n->size = (uint32_t)key.size;
    n->hash = key_hash(key);
    if (key.size)
        memcpy(memory + struct_size, key.data, key.size);
    return memory;
}

struct keyset_node *const *keyset_chain(const struct keyset *s, struct slice key)
{
    return s->count ? &s->buckets[bucket_of(s->size, key_hash(key))] : NULL;
}

struct keyset_node *keyset_find(const struct keyset *s, struct slice key)
{
    if (!s->count)
        return NULL;
    uint32_t hash = key_hash(key);
    struct keyset_node *n = s->buckets[bucket_of(s->size, hash)];
    while (n && !(n->hash == hash && slice_equal(keyset_key(n), key)))
        n = n->next;
    return n;
}

static void resize(struct keyset *s, size_t capacity)
{
    s->buckets = mem_resize(s->buckets, capacity * sizeof *s->buckets);
    s->capacity = capacity;
}

static void keyset_grow(struct keyset *s)
{
    if (s->size == s->capacity)
        resize(s, s->capacity * 2);
    size_t from = s->size - low_power(s->size);
    struct keyset_node *chain = s->buckets[from];
    s->buckets[from] = s->buckets[s->size] = NULL;
    s->size++;
    while (chain) {
        struct keyset_node *n = chain;
        chain = n->next;
        struct keyset_node **to = &s->buckets[bucket_of(s->size, n->hash)];
        n->next = *to;
        *to = n;
    }
}

static void shrink(struct keyset *s)
{
    struct keyset_node *chain = s->buckets[--s->size];
    struct keyset_node **end = &s->buckets[s->size - low_power(s->size)];
    while (*end)
        end = &(*end)->next;
    *end = chain;
    if (s->size <= s->capacity / 4)
        resize(s, s->capacity / 2);
}

void keyset_add(struct keyset *s, struct keyset_node *n)
{
    if (!s->size) {
        resize(s, BUCKETS_MIN);
        memset(s->buckets, 0, BUCKETS_MIN * sizeof *s->buckets);
        s->size = BUCKETS_MIN;
    } else if (s->count >= s->size) {
        keyset_grow(s);
    }
    struct keyset_node **bucket = &s->buckets[bucket_of(s->size, n->hash)];
    n->next = *bucket;
    *bucket = n;
    s->count++;
}

void keyset_remove(struct keyset *s, struct keyset_node *n)
{
    assert(s->count);
    struct keyset_node **at = &s->buckets[bucket_of(s->size, n->hash)];
    while (*at != n) {
        assert(*at);
        at = &(*at)->next;
    }
    *at = n->next;
    n->next = NULL;
    s->count--;
    /* Two buckets at a time: they decrease faster than the nodes. */
    for (int i = 0; i < 2 && s->size > BUCKETS_MIN && s->count < s->size / 2; i++)
        shrink(s);
}

void keyset_done(struct keyset *s)
{
    mem_free(s->buckets);
    *s = (struct keyset){0};
}
