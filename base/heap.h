/* SPDX-License-Identifier: Apache-2.0
 * Binary min-heap of embedded nodes ordered by a 64-bit key (a deadline, usually); ties by insertion order.
 * A node knows its place, so a change of key or a removal costs O(log n). Valid when zeroed. */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap_node {
    uint64_t key;
    uint64_t order; /* set by heap_add: earlier nodes first among equal keys */
    size_t place;   /* index + 1; 0 = in no heap */
};

struct heap {
    struct heap_node **nodes;
    size_t count, capacity;
    uint64_t next_order;
};

void heap_add(struct heap *h, struct heap_node *n, uint64_t key);
void heap_move(struct heap *h, struct heap_node *n, uint64_t key); /* the node must be in the heap */
void heap_remove(struct heap *h, struct heap_node *n);             /* no-op if it is in no heap */
static inline struct heap_node *heap_first(const struct heap *h)
{
    return h->count ? h->nodes[0] : NULL;
}
static inline bool heap_contains(const struct heap_node *n)
{
    return n->place != 0;
}
void heap_done(struct heap *h);
/* As heap_done, but does not touch the nodes, however many. The owner zeroes each node before it uses it
 * again. */
void heap_forget(struct heap *h);

#endif
