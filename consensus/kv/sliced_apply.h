/* SPDX-License-Identifier: Apache-2.0
 * One entry that is applied over many turns (sliced_apply.c). */
#ifndef CONSENSUS_KV_SLICED_APPLY_H
#define CONSENSUS_KV_SLICED_APPLY_H

#include "consensus/entry.h"
#include "consensus/kv.h"
#include "consensus/raft/message.h"

struct store_work;

struct kv_sliced_apply {
    struct store_work *work; /* NULL = no entry is open */
    uint64_t begun_ns;
    struct entry entry; /* its bytes are the node's until kv_apply has returned true */
    const ProtobufCMessage *message;
    struct arena arena;  /* holds the message */
    struct link waiting; /* the request, while it waits here */
    struct buf own;      /* the answer, if the request has no place for it */
};

void kv_sliced_apply_init(struct kv_sliced_apply *a);
bool kv_sliced_apply_is_open(const struct kv *kv);
/* True when the entry would take longer than a turn may. */
bool kv_entry_is_long(struct kv *kv, const struct entry *e, const ProtobufCMessage *m, bool is_awaited);
void kv_sliced_apply_begin(struct kv *kv, const struct entry *e, struct kv_request *r); /* r may be NULL */
bool kv_sliced_apply_step(struct kv *kv,
                          const struct raft_entry *entry); /* true: it is whole, and answered */
void kv_sliced_apply_drop_answer(struct kv *kv);           /* its request was canceled */
void kv_sliced_apply_stop(struct kv *kv);                  /* kv_close: its request ends */
void kv_sliced_apply_end(struct kv *kv);                   /* frees what is open */

#endif
