/* SPDX-License-Identifier: Apache-2.0
 * Membership: requests become configuration changes of the log, and the log decides (membership.c). */
#ifndef CONSENSUS_KV_MEMBERSHIP_H
#define CONSENSUS_KV_MEMBERSHIP_H

#include "consensus/kv.h"
#include "consensus/raft/message.h"

struct kv_membership {
    uint64_t promoted_ms; /* when a learner was last proposed as a voter */
    uint64_t removed_ms;  /* when this member learned that it is none any more; 0 = it is one */
    bool is_forcing;      /* force_new_cluster: until the log says that only this member is left */
};

/* Between store_begin and store_end. The error is for the request that proposed it. */
int kv_apply_membership(struct kv *kv, const struct raft_entry *entry);
void kv_answer_membership(struct kv *kv, const struct raft_entry *entry, int err);
void kv_promote_learners(struct kv *kv); /* at ticks */
void kv_force_alone(struct kv *kv);      /* at the start: kv_options.force_new_cluster */
void kv_propose_alone(struct kv *kv);    /* a new leader: if forced, proposes that only this member is left */
/* This member and number have proposed the change; both stay as they are if the entry does not say. */
void kv_change_proposer(const struct raft_entry *entry, uint64_t *ret_member, uint64_t *ret_number);
/* NULL: none, or the leaving of a joint configuration. In the arena. */
const Etcdserverpb__MembershipChange *kv_change_of(const struct raft_entry *entry, struct arena *a);
/* When this member learned that it was removed; 0: it was not. */
uint64_t kv_removed_ms(const struct kv *kv);
/* True the first time: from now on kv_removed_ms is set. */
bool kv_note_removed(struct kv *kv);

#endif
