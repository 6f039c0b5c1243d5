/* SPDX-License-Identifier: Apache-2.0
 * Reads in slices: those that would hold the loop for longer than a turn lasts (scan.c). */
#ifndef CONSENSUS_KV_SCAN_H
#define CONSENSUS_KV_SCAN_H

#include "consensus/kv.h"

struct kv_scan; /* of one request: kv_request.slices */

struct kv_scans {
    unsigned count; /* under way, each with its answer so far in memory */
};

void kv_scan_start(struct kv *kv, struct kv_request *r); /* by r->kind: a range, a hash ... */
/* LeaseTimeToLive with keys, whose time the leader has told as of that revision. r is in no list. */
void kv_scan_lease_keys(struct kv *kv, struct kv_request *r, int64_t revision, int64_t ttl_s,
                        int64_t granted_s);
void kv_scan_run(struct kv *kv, struct kv_request *r); /* one slice; r is ready */
void kv_scan_drop(struct kv *kv,
                  struct kv_request *r); /* r ends, for any reason; nothing if it has no scan */
void kv_scan_leave_queue(struct kv *kv, struct kv_request *r); /* before each slice of a read of leases */
void kv_scan_restart_all(struct kv *kv);                       /* another store: all begin anew */

#endif
