/* SPDX-License-Identifier: Apache-2.0
 * Requests by number. Numbers are given out in sequence, so a ring of slots is a map.
 *
 * A proposal bears the id of its member and a number, and the member with that id answers it: so proposals of
 * two members cannot be confused. Those of two runs of one member cannot either: the first number of a run is
 *
 *   wall clock in milliseconds * 2^20 + 20 random bits
 *
 * and no member proposes a million entries in a millisecond. Two runs would have to begin in the same
 * millisecond of a clock that was set back, and draw the same bits. */
#ifndef CONSENSUS_KV_REQUEST_RING_H
#define CONSENSUS_KV_REQUEST_RING_H

#include <stddef.h>
#include <stdint.h>

struct kv_request;

struct kv_ring {
    struct kv_request **slots;
    size_t capacity;      /* a power of two, or 0 */
    uint64_t first, next; /* numbers in the ring: first <= n < next */
};

void kv_ring_init(struct kv_ring *ring, uint64_t first);
void kv_ring_done(struct kv_ring *ring);
/* Borrows r until kv_ring_clear; r may be NULL: then a number is used up without a request. */
uint64_t kv_ring_add(struct kv_ring *ring, struct kv_request *r);
/* NULL when no request has this number (any more). */
struct kv_request *kv_ring_find(const struct kv_ring *ring, uint64_t number);
/* number must be in the ring. */
void kv_ring_clear(struct kv_ring *ring, uint64_t number);

#endif
