/* SPDX-License-Identifier: Apache-2.0
 * Linearizable reads and their ReadIndex rounds (read_index.c; Raft dissertation, section 6.4). */
#ifndef CONSENSUS_KV_READ_INDEX_H
#define CONSENSUS_KV_READ_INDEX_H

#include "consensus/kv.h"
#include "consensus/kv/requests.h"

struct kv_read_index {
    struct link next_round; /* reads that wait for a round to start */
    struct link round;      /* reads of the round that runs */
    struct link ready;      /* their index is known: they run when it is applied */
    struct link parked;     /* ready, but the client has no room, or too many long reads run */
    uint64_t round_id;      /* of the round that runs; 0 = none. Never used twice */
    uint64_t round_started_ms;
    unsigned slices_short; /* so many slices are short, because small reads came lately */
};

void kv_read_index_init(struct kv_read_index *q);
/* r waits for the next round; is_local: r runs on what is applied here. */
void kv_start_read(struct kv *kv, struct kv_request *r, enum kv_kind kind, const ProtobufCMessage *m,
                   bool is_local);
/* node_options.read_done */
void kv_read_done(void *arg, uint64_t read_id, uint64_t index);
/* Starts a round and runs what is ready, for about 2 ms; called by the turn, twice. */
void kv_run_reads(struct kv *kv);
/* The leader that the round was sent to leads no more: its reads fail with err, calls start again. */
void kv_read_index_fail(struct kv *kv, int err);
/* No leader: the round that runs is forgotten; its reads wait for the next one. */
void kv_read_index_forget(struct kv *kv);
/* The units of the next slice: fewer than `units` while small reads and writes come. */
int64_t kv_slice_units(const struct kv *kv, int64_t units);
/* A ready read to the end of the ready ones. Its time begins anew, because it has made progress. */
void kv_yield_read(struct kv *kv, struct kv_request *r);
/* r is in no list, and runs when r->index is applied. */
void kv_add_ready(struct kv *kv, struct kv_request *r);
/* A ready read waits for kv_resume. */
void kv_park_read(struct kv *kv, struct kv_request *r);
/* The first of the reads in slices that wait for a place goes on. */
void kv_resume_scan(struct kv *kv);
/* Of ready and parked reads. fn does not start or end any. */
void kv_visit_reads(struct kv *kv, void (*fn)(struct kv_request *r));
void kv_expire_reads(struct kv *kv);    /* at ticks */
void kv_read_index_stop(struct kv *kv); /* kv_close: all reads end */

#endif
