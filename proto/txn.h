/* SPDX-License-Identifier: Apache-2.0
 * Transactions for kv_txn, built in an arena condition by condition and operation by operation. Keys and
 * values are borrowed: the caller keeps them while the message is in use. Pure. */
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
/* Conditions. Revision 0: the key must not exist. */
void txn_if_revision(struct txn *t, struct slice key, int64_t mod_revision);
void txn_if_created(struct txn *t, struct slice key, int64_t create_revision);
void txn_if_there(struct txn *t, struct slice key);
/* No key in the range was written after this revision. It says nothing of deleted ones. */
void txn_if_older(struct txn *t, struct slice key, struct slice range_end, int64_t mod_revision);
void txn_if_empty(struct txn *t, struct slice key, struct slice range_end); /* there is no key in the range */
void txn_if_value(struct txn *t, struct slice key, struct slice value);
void txn_put(struct txn *t, struct slice key, struct slice value, int64_t lease);
void txn_delete(struct txn *t, struct slice key);
void txn_delete_range(struct txn *t, struct slice key, struct slice range_end);
/* Operations of the else branch: */
void txn_else_put(struct txn *t, struct slice key, struct slice value);
void txn_else_get(struct txn *t, struct slice key); /* reads the revisions of the key, without the value */

/* Reads in either branch: */
enum txn_side { TXN_THEN, TXN_ELSE };
void txn_range(struct txn *t, enum txn_side side, struct slice key, bool keys_only);
/* Reads the last key that begins with prefix (which ends with '/'), without its value. */
void txn_last(struct txn *t, enum txn_side side, struct slice prefix);
/* Reads one key that begins with prefix, without its value: the one that was created first; or the one that
 * was created last, at most at create_revision_max. */
void txn_first_created(struct txn *t, enum txn_side side, struct slice prefix);
void txn_last_created(struct txn *t, enum txn_side side, struct slice prefix, int64_t create_revision_max);

/* The key's mod revision in the result of txn_else_get, 0 = the key does not exist. */
int64_t txn_mod_revision(const Etcdserverpb__TxnResponse *response);
/* The same, of a transaction with several txn_else_get. */
int64_t txn_mod_revision_of(const Etcdserverpb__TxnResponse *response, struct slice key);

#endif
