/* SPDX-License-Identifier: Apache-2.0
 * Comparison of the members' states, through the log (state_check.c, node/corrupt.h). */
#ifndef CONSENSUS_KV_STATE_CHECK_H
#define CONSENSUS_KV_STATE_CHECK_H

#include "consensus/kv.h"
#include "consensus/node/corrupt.h"

struct kv_state_check {
    struct corrupt corrupt;
    uint64_t checked_ms;        /* when the leader last proposed a comparison */
    uint64_t diverged_since_ms; /* when this member learned that its state is wrong; 0 = it is not */
};

void kv_state_check_init(struct kv_state_check *c, uint64_t now_ms);
void kv_state_check_tick(struct kv *kv);
void kv_apply_state_check(struct kv *kv, uint64_t index, const Etcdserverpb__StateCheckRequest *m);
/* CORRUPT alarms: nothing is changed any more, by no member. */
bool kv_is_stopped(const struct kv *kv);
/* This member's state differs from that of the majority: it serves no more. */
bool kv_is_diverged(const struct kv *kv);
/* Another state has replaced this member's: what it remembered of its old one is void. */
void kv_state_check_reset(struct kv *kv);

#endif
