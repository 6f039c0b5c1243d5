/* SPDX-License-Identifier: Apache-2.0
 * Reports of administrative changes: kv_on_admin in kv.h. */
#ifndef CONSENSUS_KV_ADMIN_H
#define CONSENSUS_KV_ADMIN_H

#include "consensus/entry.h"
#include "consensus/kv.h"
#include "consensus/raft/message.h"

struct kv_admin {
    void (*fn)(void *arg, const struct kv_admin_change *change); /* NULL = nobody */
    void *arg;
};

/* After store_end of an entry that was applied without an error. e and m are NULL for a configuration change. */
void kv_report_admin(struct kv *kv, const struct raft_entry *entry, const struct entry *e,
                     const ProtobufCMessage *m);

#endif
