/* SPDX-License-Identifier: Apache-2.0
 * Members that this one does not know yet, as listed by members that it knows (peer_listing.c). */
#ifndef CONSENSUS_KV_PEER_LISTING_H
#define CONSENSUS_KV_PEER_LISTING_H

#include "consensus/kv.h"
#include "consensus/raft/message.h"

struct kv_peer_listing_query {
    struct kv *kv;
    uint64_t ask; /* the transport's; 0 = not under way */
};

struct kv_peer_listing {
    struct kv_peer_listing_query queries[RAFT_MEMBERS_MAX];
    uint64_t run, round, next_ms;
};

void kv_peer_listing_start(struct kv *kv); /* at most one round at a time, 2 s apart */
void kv_peer_listing_close(struct kv *kv);

#endif
