/* SPDX-License-Identifier: Apache-2.0
 * Applying log entries: one entry becomes one store transaction (apply.c). */
#ifndef CONSENSUS_KV_APPLY_H
#define CONSENSUS_KV_APPLY_H

#include "consensus/kv.h"
#include "consensus/raft/message.h"

/* The result of an entry: an error, or a response whose header is filled when the entry is whole. */
struct kv_outcome {
    int err;
    ProtobufCMessage *response;
    Etcdserverpb__ResponseHeader *header;
};

/* node_options.apply. False: the entry is not whole yet, or the member stops; come again with it. */
bool kv_apply(void *arg, const struct raft_entry *entry);
/* node_options.will_apply: loads into the CPU's caches what these entries need. */
void kv_will_apply(void *arg, const struct raft_entry *entries, size_t count);
/* Inside an entry. ttl_s 0: the lease is deleted. */
void kv_save_lease(struct kv *kv, int64_t id, int64_t ttl_s, int64_t remaining_s);

#endif
