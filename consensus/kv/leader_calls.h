/* SPDX-License-Identifier: Apache-2.0
 * Calls to the leader: requests that only the leader can answer, passed on to it and answered by it
 * (leader_calls.c; the messages are described there). */
#ifndef CONSENSUS_KV_LEADER_CALLS_H
#define CONSENSUS_KV_LEADER_CALLS_H

#include "consensus/kv.h"
#include "consensus/kv/request_ring.h"
#include "consensus/kv/requests.h"

struct kv_replies;

struct kv_leader_calls {
    struct link queued, sent;
    struct kv_ring ring;        /* of sent calls; a number names one attempt */
    struct kv_replies *replies; /* one buffer for each member that called in this turn */
    size_t reply_count;
    struct buf out; /* a message that is being made */
};

void kv_leader_calls_init(struct kv_leader_calls *c, uint64_t first_number);
void kv_leader_calls_done(struct kv_leader_calls *c);
/* r waits to be sent; it is sent when a leader is known. */
void kv_start_call(struct kv *kv, struct kv_request *r, enum kv_kind kind, const ProtobufCMessage *m);
/* True when another member passed r on: it is never passed on again. */
bool kv_is_from_member(const struct kv_request *r);
/* All calls that were sent are sent again: the leader has changed, or the connection was lost. */
void kv_requeue_calls(struct kv *kv);
/* Those without an answer for 500 ms are sent again; called at ticks. */
void kv_retry_calls(struct kv *kv);
/* r is in sent and is taken out of it: a late answer finds no request. */
void kv_forget_call(struct kv *kv, struct kv_request *r);
void kv_expire_calls(struct kv *kv);      /* at ticks */
void kv_leader_calls_stop(struct kv *kv); /* kv_close: all calls end */
/* A number for kv_query_log_end that no request has. */
uint64_t kv_new_call_number(struct kv *kv);
/* Asks the leader for the last index of its log; the answer goes to kv_note_leader_log_end. */
void kv_query_log_end(struct kv *kv, uint64_t number);
/* To the member that passed a proposal on: it is refused with err. */
void kv_send_refusal(struct kv *kv, uint64_t member, uint64_t number, int err);
/* The end of a turn: what is queued is sent, or served here if this member leads. False: nothing was queued,
 * or no leader is known. */
bool kv_send_calls(struct kv *kv);
void kv_send_replies(struct kv *kv);
/* body: what follows CODEC_CALL or CODEC_REPLY. */
void kv_leader_calls_on_message(struct kv *kv, uint64_t from, bool is_reply, struct slice body);

#endif
