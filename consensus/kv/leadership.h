/* SPDX-License-Identifier: Apache-2.0
 * Leadership and the clock (leadership.c). */
#ifndef CONSENSUS_KV_LEADERSHIP_H
#define CONSENSUS_KV_LEADERSHIP_H

#include "consensus/kv.h"
#include "consensus/node/compactor.h"
#include "consensus/node/node.h"

struct kv_leadership {
    uint64_t attributes_proposed_ms; /* 0 = not yet under this leader */
    uint64_t elected_ms;             /* when this member last became leader; 0 = never */
    uint64_t advance_until_ms;       /* ticks may be advanced till then, once; 0 = not (any more) */
    struct compactor compactor;
    bool is_ready;
    void (*on_ready)(void *arg);
    void *on_ready_arg;
    void (*on_leader)(void *arg, bool has_leader);
    void *on_leader_arg;
};

/* advance_until_ms: see kv_advance_ticks; 0 = never. */
void kv_leadership_init(struct kv_leadership *l, uint64_t advance_until_ms);
void kv_leadership_open(struct kv *kv, const struct kv_options *o); /* the clock of compaction starts */
void kv_leadership_done(struct kv_leadership *l);
void kv_on_state(void *arg, const struct node_state *state); /* node_options.state_changed */
/* At ticks: limits of requests; on the leader also leases that end, checkpoints, automatic compaction. */
void kv_leadership_tick(struct kv *kv);
/* The error of a request whose limit has passed: one of etcd's timeouts. */
int kv_expiry_err(const struct kv *kv, const struct kv_request *r);
void kv_check_ready(struct kv *kv);   /* calls on_ready once */
void kv_advance_ticks(struct kv *kv); /* another member can be reached */

#endif
