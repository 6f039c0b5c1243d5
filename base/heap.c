/* SPDX-License-Identifier: Apache-2.0
 * Binary heap with the place of each node in the node. Invariant: nodes[node->place - 1] == node for every
 * node. Sifting moves the hole, not the node. */
#include "base/heap.h"

#include <assert.h>

#include "base/mem.h"

enum { HEAP_MIN = 16 };

static bool is_before(const struct heap_node *a, const struct heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static void put_at(struct heap *h, struct heap_node *n, size_t i)
{
    h->nodes[i] = n;
    n->place = i + 1;
}

static void sift(struct heap *h, struct heap_node *n, size_t i)
{
    while (i > 0 && is_before(n, h->nodes[(i - 1) / 2])) {
        put_at(h, h->nodes[(i - 1) / 2], i);
        i = (i - 1) / 2;
    }
    for (size_t child; (child = 2 * i + 1) < h->count; i = child) {
        if (child + 1 < h->count && is_before(h->nodes[child + 1], h->nodes[child]))
            child++;
        if (!is_before(h->nodes[child], n))
            break;
        put_at(h, h->nodes[child], i);
    }
    put_at(h, n, i);
}

void heap_add(struct heap *h, struct heap_node *n, uint64_t key)
{
    assert(n->place == 0);
    if (h->count == h->capacity) {
        h->capacity = h->capacity ? h->capacity * 2 : HEAP_MIN;
        h->nodes = mem_resize(h->nodes, h->capacity * sizeof(struct heap_node *));
    }
    n->key = key;
    n->order = h->next_order++;
    h->count++;
    sift(h, n, h->count - 1);
}

void heap_move(struct heap *h, struct heap_node *n, uint64_t key)
{
    assert(n->place != 0 && n->place <= h->count && h->nodes[n->place - 1] == n);
    n->key = key;
    sift(h, n, n->place - 1);
}

void heap_remove(struct heap *h, struct heap_node *n)
{
    if (n->place == 0)
        return;
    assert(n->place <= h->count && h->nodes[n->place - 1] == n);
    size_t i = n->place - 1;
    struct heap_node *last = h->nodes[--h->count];
    n->place = 0;
    if (last != n)
        sift(h, last, i);
}

void heap_done(struct heap *h)
{
    for (size_t i = 0; i < h->count; i++)
        h->nodes[i]->place = 0;
    heap_forget(h);
}

void heap_forget(struct heap *h)
{
    mem_free(h->nodes);
    *h = (struct heap){0};
}
