/* SPDX-License-Identifier: Apache-2.0
 * A transaction for kv_txn, put together piece by piece in an arena. Keys and values are borrowed: they live
 * as long as the message is under way. Pure. */
#ifndef PROTO_TXN_H
#define PROTO_TXN_H

#include "base/buf.h"
#include "base/mem.h"
#include "proto/rpc.pb-c.h"

struct txn {
    struct arena *arena;
    Etcdserverpb__TxnRequest message;
};

void txn_init(struct txn *t, struct arena *a);
void txn_if_revision(struct txn *t, struct slice key, int64_t mod_revision);   /* 0: it is not there */
void txn_if_created(struct txn *t, struct slice key, int64_t create_revision); /* likewise */
void txn_if_there(struct txn *t, struct slice key);
void txn_if_value(struct txn *t, struct slice key, struct slice value);
void txn_put(struct txn *t, struct slice key, struct slice value, int64_t lease);
void txn_delete(struct txn *t, struct slice key);
/* If a condition does not hold: */
void txn_else_put(struct txn *t, struct slice key, struct slice value);
void txn_else_get(struct txn *t, struct slice key); /* at its revisions alone */

/* Reads, whether the conditions hold or not: */
enum txn_side { TXN_THEN, TXN_ELSE };
void txn_range(struct txn *t, enum txn_side side, struct slice key, bool keys_only);
/* The last key that begins with prefix (which ends with '/'), without its value. */
void txn_last(struct txn *t, enum txn_side side, struct slice prefix);
/* Of the keys that begin with prefix the one that was created first; or last, of those that were not created
 * after a revision. Without its value. */
void txn_first_created(struct txn *t, enum txn_side side, struct slice prefix);
void txn_last_created(struct txn *t, enum txn_side side, struct slice prefix, int64_t create_revision_max);

/* What txn_else_get found: the key's mod revision, 0 = it is not there. */
int64_t txn_looked(const Etcdserverpb__TxnResponse *response);
int64_t txn_looked_at(const Etcdserverpb__TxnResponse *response, struct slice key); /* with several */

#endif
