/* SPDX-License-Identifier: Apache-2.0
 * The turn and its clock (turn.c, kv_turn of kv.h). */
#ifndef CONSENSUS_KV_TURN_H
#define CONSENSUS_KV_TURN_H

#include "consensus/kv.h"

struct kv_turn_state {
    uint64_t now_ms;       /* the clock at the last turn or tick: good enough for what waits seconds */
    struct io_timer tick;  /* every 100 ms: limits of requests, leases, compaction */
    struct io_timer again; /* zero delay: there is more to do */
    bool is_scheduled;
};

void kv_turn_init(struct kv_turn_state *t, uint64_t now_ms);
void kv_turn_open(struct kv *kv);  /* ticks begin */
void kv_turn_close(struct kv *kv); /* both timers stop */
/* Milliseconds of the monotonic clock, now. */
uint64_t kv_now_ms(const struct kv *kv);
/* The same as of the last turn or tick. */
uint64_t kv_turn_ms(const struct kv *kv);
/* For what begins a lease's time: rounded up, or the lease would end a part of a millisecond early. */
uint64_t kv_lease_start_ms(const struct kv *kv);
/* One more turn without waiting for an event. Any number of calls make one turn. */
void kv_schedule_turn(struct kv *kv);

#endif
