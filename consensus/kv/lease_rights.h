/* SPDX-License-Identifier: Apache-2.0
 * Permission checks over all keys of a lease, prepared in slices (lease_rights.c). */
#ifndef CONSENSUS_KV_LEASE_RIGHTS_H
#define CONSENSUS_KV_LEASE_RIGHTS_H

#include "consensus/auth/who.h"
#include "consensus/entry.h"
#include "consensus/kv.h"
#include "consensus/raft/message.h"

struct kv_lease_rights {
    struct link waiting;             /* keep-alives, in the order in which they came */
    uint64_t index;                  /* of the entry that is being prepared; 0 = none */
    const ProtobufCMessage *message; /* of that entry */
    struct arena arena;              /* holds the message */
};

void kv_lease_rights_init(struct kv_lease_rights *l);
void kv_lease_rights_done(struct kv_lease_rights *l);
/* One slice; both subtract their work from *units. False: there is more to do. */
MUST_CHECK bool kv_prepare_leases(struct kv *kv, const struct raft_entry *raw, const struct entry *e,
                                  const struct auth_who *who, int64_t *units);
MUST_CHECK bool kv_pass_keep_alives(struct kv *kv, int64_t *units);
void kv_lease_rights_expire(struct kv *kv); /* at ticks */
void kv_lease_rights_stop(struct kv *kv);   /* kv_close */

#endif
