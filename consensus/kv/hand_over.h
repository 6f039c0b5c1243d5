/* SPDX-License-Identifier: Apache-2.0
 * The lead on purpose to another member: MoveLeader, a shutdown, a leader that was removed (hand_over.c). */
#ifndef CONSENSUS_KV_HAND_OVER_H
#define CONSENSUS_KV_HAND_OVER_H

#include "consensus/kv.h"

struct kv_hand_over_state {
    struct link moving; /* MoveLeader requests */
    uint64_t until_ms;  /* of the hand-over before a shutdown */
    void (*done)(void *arg);
    void *done_arg; /* done NULL = no hand-over before a shutdown is under way */
};

void kv_hand_over_init(struct kv_hand_over_state *h);
/* A leader transfers the lead to the best of the others; false: it does not lead, or there is none. */
bool kv_transfer_lead(struct kv *kv);
bool kv_on_hand_over(void *arg);        /* node_options.hand_over */
void kv_hand_over_stop(struct kv *kv);  /* kv_close: MoveLeader requests end */
void kv_check_hand_over(struct kv *kv); /* after a change of leaders, and at ticks */

#endif
