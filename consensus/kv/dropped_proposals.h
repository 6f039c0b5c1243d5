/* SPDX-License-Identifier: Apache-2.0
 * Dropped proposals: refused by the leader, or lost with a leader or a connection (dropped_proposals.c).
 * Their state is a loss tracker. */
#ifndef CONSENSUS_KV_DROPPED_PROPOSALS_H
#define CONSENSUS_KV_DROPPED_PROPOSALS_H

#include "consensus/raft/message.h"
#include "consensus/kv.h"
#include "consensus/kv/loss_tracker.h"

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
