/* SPDX-License-Identifier: Apache-2.0
 * Dropped proposals: refused by the leader, or lost with a leader or a connection (dropped_proposals.c).
 *
 * Which proposals a loss concerns, as a state machine that knows no other part:
 *
 *   NONE --loss--> NOTED --time to query, a follower--> QUERIED --log end--> KNOWN --applied so far--> NONE
 *                    |  ^______________time to query again___|                ^
 *                    +-----------------time to query, the leader--------------+
 *
 * A further loss leads to NOTED again; the end of all that was handed to raft before it leads to NONE. */
#ifndef CONSENSUS_KV_DROPPED_PROPOSALS_H
#define CONSENSUS_KV_DROPPED_PROPOSALS_H

#include "consensus/raft/message.h"
#include "consensus/kv.h"

enum kv_dropped_state { KV_DROPPED_NONE, KV_DROPPED_NOTED, KV_DROPPED_QUERIED, KV_DROPPED_KNOWN };

struct kv_dropped_proposals {
    uint64_t handed;        /* requests with lower numbers were handed to raft */
    uint64_t before;        /* those were handed to raft before the loss */
    uint64_t due_ms;        /* when the leader is queried (again) */
    uint64_t number, index; /* of the query; the end of the leader's log */
    enum kv_dropped_state state;
    int err; /* what they end with */
};

/* The end of a turn: all is handed to raft. */
void kv_note_handed_to_raft(struct kv *kv);
/* The leader is lost, or the connection to it: in wait_ms the (new) leader is queried. */
void kv_note_leader_loss(struct kv *kv, int err, uint64_t wait_ms);
void kv_check_dropped(struct kv *kv); /* at ticks */
/* The answer to kv_query_log_end. */
void kv_note_leader_log_end(struct kv *kv, uint64_t number, uint64_t index);
/* The leader has refused this member's proposal. */
void kv_fail_refused(struct kv *kv, uint64_t number, int err);
void kv_on_refused(void *arg, const struct raft_entry *entry, int err); /* node_options.refused */
bool kv_is_internal(void *arg, const struct raft_entry *entry);         /* node_options.is_internal */

#endif
