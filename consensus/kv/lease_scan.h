/* SPDX-License-Identifier: Apache-2.0
 * Slices of LeaseTimeToLive with very many keys and of LeaseLeases (lease_scan.c); called by scan.c. */
#ifndef CONSENSUS_KV_LEASE_SCAN_H
#define CONSENSUS_KV_LEASE_SCAN_H

#include "consensus/kv.h"

struct kv_lease_scan;

/* True when r would take longer than a turn may. */
bool kv_lease_scan_is_needed(const struct kv *kv, const struct kv_request *r);
/* One slice; *scan is NULL at the begin. ERR_LEASE_NOT_FOUND: the lease has gone meanwhile, begin anew. */
MUST_CHECK int kv_lease_scan_step(struct kv *kv, struct kv_request *r, struct kv_lease_scan **scan,
                                  int64_t units, bool *ret_is_finished);
/* Of the keys of a lease as this member knows them, once it has applied that revision. */
struct kv_lease_scan *kv_lease_scan_here(int64_t revision, int64_t ttl_s, int64_t granted_s);
bool kv_lease_scan_must_wait(const struct kv *kv, const struct kv_lease_scan *l);
void kv_lease_scan_free(struct kv_lease_scan *l); /* NULL is allowed */

#endif
