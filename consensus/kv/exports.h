/* SPDX-License-Identifier: Apache-2.0
 * Snapshots for clients (exports.c, kv_export_open of kv.h). */
#ifndef CONSENSUS_KV_EXPORTS_H
#define CONSENSUS_KV_EXPORTS_H

#include "consensus/kv.h"

struct kv_exports {
    struct link running, waiting;
    size_t running_count, waiting_count, max; /* max: running at once; 0 = no limit */
};

void kv_exports_init(struct kv_exports *e, size_t max);
void kv_exports_tick(struct kv *kv);
void kv_exports_close(struct kv *kv); /* all end with ERR_STOPPED; each is still closed by its owner */

#endif
