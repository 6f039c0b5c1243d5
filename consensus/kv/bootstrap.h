/* SPDX-License-Identifier: Apache-2.0
 * Queries of processes that start: which cluster is here, and CLAIM, ADD, REPLACE (bootstrap.c). */
#ifndef CONSENSUS_KV_BOOTSTRAP_H
#define CONSENSUS_KV_BOOTSTRAP_H

#include "consensus/kv.h"

struct kv_bootstrap {
    uint64_t claimed_id, claimed_run; /* of the last claim: the member, the run of its process */
    bool is_claim_pending;
    struct link confirming; /* queries whose dial-back is under way */
    void (*on_query)(void *arg, struct peer_served_query *question, const struct peer_query_sender *asker,
                     struct slice text);
    void *on_query_arg;
};

void kv_bootstrap_init(struct kv_bootstrap *b);
void kv_bootstrap_close(struct kv *kv); /* answers queries whose dial-back is under way */
/* Any query of the transport: to kv_on_query's function; without one it is answered here. */
void kv_dispatch_query(struct kv *kv, struct peer_served_query *question,
                       const struct peer_query_sender *asker, struct slice text);

#endif
