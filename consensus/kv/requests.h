/* SPDX-License-Identifier: Apache-2.0
 * Requests that wait, and how they end. README.md has the drawing of states and lists.
 *
 * Invariant: a request is in exactly one list, the one that its state names; kv_cancel takes it out of
 * any. */
#ifndef CONSENSUS_KV_REQUESTS_H
#define CONSENSUS_KV_REQUESTS_H

#include "consensus/kv.h"
#include "consensus/kv/request_ring.h"

enum kv_kind {
    KV_RANGE,
    KV_PUT,
    KV_DELETE_RANGE,
    KV_TXN,
    KV_TXN_READ,
    KV_COMPACT,
    KV_LEASE_GRANT,
    KV_LEASE_REVOKE,
    KV_KEEP_ALIVE,
    KV_TIME_TO_LIVE,
    KV_LEASE_LEASES,
    KV_ALARM,
    KV_HASH,
    KV_HASH_KV,
    KV_DEFRAGMENT,
    KV_MEMBER_LIST,
    KV_BARRIER,
    KV_MEMBER_ADD,
    KV_MEMBER_REMOVE,
    KV_MEMBER_UPDATE,
    KV_MEMBER_PROMOTE,
    KV_MEMBER_REPLACE,
    KV_MOVE_LEADER,
    KV_MEMBER_CLAIM,
    KV_AUTH,
    KV_DOWNGRADE,
};

enum kv_request_state {
    KV_IDLE,
    KV_PROPOSED, /* requests.proposed, and in requests.ring under its id */
    KV_READING,  /* read_index.next_round, or read_index.round while the round runs */
    KV_READY,    /* read_index.ready; index = what must be applied before it runs */
    KV_PARKED, /* read_index.parked: its client has not read its answers so far, or too many long reads run */
    KV_FAILED, /* requests.failed; index = the error, negated */
    KV_WAITING,     /* requests.waiting: for a compaction; a list of defrag: for a defragmentation */
    KV_CALL_QUEUED, /* leader_calls.queued: goes to the leader in the next message */
    KV_CALL_SENT,   /* leader_calls.sent, and in leader_calls.ring under its id; index = when */
    KV_MOVING,      /* hand_over.moving: MoveLeader waits for another leader */
    KV_APPLYING,    /* sliced_apply.waiting: its entry is being applied in slices */
    KV_CHECKING,    /* lease_rights.waiting: a keep-alive whose author is checked in slices */
};

struct kv_requests {
    struct kv_ring ring; /* of proposals */
    struct link proposed, failed, waiting;
};

void kv_requests_init(struct kv_requests *q, uint64_t first_number);
void kv_requests_done(struct kv_requests *q);

/* A number for a proposal of r: r->id. kv_take_proposed or kv_release_proposal_id gives it back. */
void kv_assign_proposal_id(struct kv *kv, struct kv_request *r);
void kv_release_proposal_id(struct kv *kv, struct kv_request *r); /* it was not proposed */
uint64_t kv_oldest_proposal(const struct kv *kv); /* of those that wait; kv_next_proposal when none does */
uint64_t kv_next_proposal(const struct kv *kv);

/* Takes r out of its list and answers it. done may start and cancel other requests. */
void kv_finish(struct kv *kv, struct kv_request *r, int err, const ProtobufCMessage *response);
/* r is in no list. It is answered with err at the next turn, or later in this one. */
void kv_fail(struct kv *kv, struct kv_request *r, int err);
/* Answers what kv_fail has collected; called by the turn alone. */
void kv_answer_failed(struct kv *kv);
bool kv_has_failed(const struct kv *kv);
/* r->id is in the ring of proposals and its entry is queued: r waits for the entry to be applied. */
void kv_wait_for_entry(struct kv *kv, struct kv_request *r);
void kv_add_waiting(struct kv *kv, struct kv_request *r);
/* All of one kind that wait, into a list of the caller; each is still to be finished. */
void kv_take_waiting(struct kv *kv, enum kv_kind kind, struct link *ret_list);
/* The request that proposed the entry (member, id), taken out of its list and in no list from now on. NULL
 * when it was proposed elsewhere, by an earlier run, or was canceled. */
struct kv_request *kv_take_proposed(struct kv *kv, uint64_t member, uint64_t id);
/* Numbers in use, from the oldest proposal that waits. */
size_t kv_pending_proposals(const struct kv *kv);
/* Proposals with lower ids end with err. */
void kv_fail_proposals_before(struct kv *kv, uint64_t id, int err);

/* Limits, at ticks: requests at the begin of the list that have waited for settings.limit_ms fail. Each part
 * calls it for its own lists. */
void kv_expire_list(struct kv *kv, struct link *list);
void kv_expire_proposals(struct kv *kv);
/* kv_close: all of the list end with ERR_STOPPED. Each part calls it for its own lists. */
void kv_stop_list(struct kv *kv, struct link *list);
void kv_stop_proposals(struct kv *kv);
void kv_stop_waiting(struct kv *kv); /* and those that have failed */

#endif
