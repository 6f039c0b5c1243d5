/* SPDX-License-Identifier: Apache-2.0
 * Member RPCs: questions of one member to the memory of others (kv.h, "member to member"; member_rpc.c). */
#ifndef CONSENSUS_KV_MEMBER_RPC_H
#define CONSENSUS_KV_MEMBER_RPC_H

#include "consensus/kv.h"

struct kv_member_rpcs {
    struct link calls;     /* ours, under way */
    struct link questions; /* of others (and of this member to itself) that wait for their handler's answer */
    size_t call_count, question_count;
    uint64_t last_number;  /* never used twice in a run */
    struct io_timer timer; /* the first of the calls' deadlines */
    struct {
        void (*fn)(void *arg, struct kv_member_request *q, struct slice question);
        void *arg;
    } handlers[KV_TOPICS_MAX];
};

void kv_member_rpc_open(struct kv *kv, uint64_t first_number);
void kv_member_rpc_close(struct kv *kv); /* all calls end; questions are dropped without an answer */
/* At the begin of a turn: questions of this member to itself, and done for calls that have ended. */
void kv_member_rpc_turn(struct kv *kv);
void kv_member_rpc_on_message(struct kv *kv, uint64_t from, bool is_answer, struct slice bytes);
/* The bulk connection to it is lost: its answers do not come any more. */
void kv_member_rpc_unreachable(struct kv *kv, uint64_t id);

#endif
