/* SPDX-License-Identifier: Apache-2.0
 * Writes: from a request to a proposed log entry (writes.c). */
#ifndef CONSENSUS_KV_WRITES_H
#define CONSENSUS_KV_WRITES_H

#include "consensus/entry.h"
#include "consensus/kv.h"
#include "consensus/kv/requests.h"

struct kv_writes {
    uint64_t lease_number;        /* of the last lease id that was chosen here; 0 = none yet */
    bool is_space_alarm_proposed; /* no second NOSPACE alarm until this one is applied or may be lost */
};

/* Proposes m for r and lets r wait for it. err != OK, or any error here: r fails with it at the next turn. */
void kv_start_write(struct kv *kv, struct kv_request *r, enum kv_kind kind, enum entry_op op,
                    const ProtobufCMessage *m, int err);
/* Entries without a request, as this member's own. ERR_STOPPED, ERR_REQUEST_TOO_LARGE, or node_propose's. */
int kv_propose(struct kv *kv, enum entry_op op, const ProtobufCMessage *m);
/* The same, but the entry counts only in the term in which this member leads now. */
int kv_propose_as_leader(struct kv *kv, enum entry_op op, const ProtobufCMessage *m);
/* The NOSPACE alarm that was proposed is applied, or may be lost with its leader. */
void kv_reset_space_alarm(struct kv *kv);

#endif
