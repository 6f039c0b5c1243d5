/* SPDX-License-Identifier: Apache-2.0
 * Defragmentation of the store's file (defrag.c). */
#ifndef CONSENSUS_KV_DEFRAG_H
#define CONSENSUS_KV_DEFRAG_H

#include "consensus/kv.h"

struct kv_defrag {
    struct link waiting, served; /* requests; served: of the one that runs */
    uint64_t begin_ns;
};

void kv_defrag_init(struct kv_defrag *d);
void kv_defrag_add(struct kv *kv, struct kv_request *r); /* r is in no list */
void kv_defrag_stop(struct kv *kv);                      /* kv_close: all requests end */
void kv_defrag_start(struct kv *kv);                     /* for those that wait, if one may begin now */
/* Once, at the end of kv_open: packs the file if at least so many MiB of it are not in use; 0 = never. */
void kv_defrag_at_start(struct kv *kv, uint64_t threshold_mb);

#endif
