/* SPDX-License-Identifier: Apache-2.0
 * Hash set of byte-string keys whose nodes are part of the caller's structs. It grows and shrinks by one
 * bucket at a time (linear hashing, Litwin 1980), so no call stops the loop to rehash a million keys. An
 * entry costs 16 bytes beside its key, and one bucket pointer.
 *
 * The node is the LAST member of the caller's struct, and the key's bytes follow it directly:
 *
 *     struct lease_key { ...; struct keyset_node node; };   // allocated with keyset_alloc(sizeof, key) */
#ifndef CONSENSUS_STORE_KEYSET_H
#define CONSENSUS_STORE_KEYSET_H

#include "base/buf.h"

struct keyset_node {
    struct keyset_node *next;
    uint32_t hash;
    uint32_t size;
};

/* Valid when zeroed. */
struct keyset {
    struct keyset_node **buckets;
    size_t count;    /* nodes */
    size_t size;     /* buckets in use */
    size_t capacity; /* buckets allocated */
};

static inline struct slice keyset_key(const struct keyset_node *n)
{
    return slice_of(n + 1, n->size);
}

/* Allocates zeroed memory for a struct of struct_size bytes that ends in a keyset_node, followed by a copy of
 * the key. The caller owns it (mem_free). */
void *keyset_alloc(size_t struct_size, struct slice key);
/* The start of a key's chain, for callers that prefetch many chains. NULL: the set is empty. */
struct keyset_node *const *keyset_chain(const struct keyset *s, struct slice key);
struct keyset_node *keyset_find(const struct keyset *s, struct slice key);
/* The key must not be in the set yet. */
void keyset_add(struct keyset *s, struct keyset_node *n);
/* The node must be in the set. */
void keyset_remove(struct keyset *s, struct keyset_node *n);
/* Frees the buckets; does not touch the nodes. */
void keyset_done(struct keyset *s);

#endif
