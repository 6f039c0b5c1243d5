/* SPDX-License-Identifier: Apache-2.0
 * A growing ring of slots that finds a request by its number. */
#include "consensus/kv/request_ring.h"

#include "base/mem.h"

void kv_ring_init(struct kv_ring *ring, uint64_t first)
{
    *ring = (struct kv_ring){.first = first, .next = first};
}

void kv_ring_done(struct kv_ring *ring)
{
    mem_free(ring->slots);
    ring->slots = NULL;
}

static void ring_grow(struct kv_ring *ring)
{
    size_t capacity = ring->capacity ? ring->capacity * 2 : 1024;
    struct kv_request **slots = mem_new(capacity * sizeof *slots);
    for (uint64_t n = ring->first; n < ring->next; n++)
        slots[n & (capacity - 1)] = ring->slots[n & (ring->capacity - 1)];
    mem_free(ring->slots);
    ring->slots = slots;
    ring->capacity = capacity;
}

uint64_t kv_ring_add(struct kv_ring *ring, struct kv_request *r)
{
    if (ring->next - ring->first == ring->capacity)
        ring_grow(ring);
    ring->slots[ring->next & (ring->capacity - 1)] = r;
    return ring->next++;
}

void kv_ring_clear(struct kv_ring *ring, uint64_t number)
{
    ring->slots[number & (ring->capacity - 1)] = NULL;
    while (ring->first < ring->next && !ring->slots[ring->first & (ring->capacity - 1)])
        ring->first++;
}

struct kv_request *kv_ring_find(const struct kv_ring *ring, uint64_t number)
{
    if (number < ring->first || number >= ring->next)
        return NULL;
    return ring->slots[number & (ring->capacity - 1)];
}
