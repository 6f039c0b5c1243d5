/* SPDX-License-Identifier: Apache-2.0
 * A model of etcd's key-value semantics that is too simple to be wrong: a list of all changes ever made, in
 * order, and answers by a walk over it. Random requests over few keys, so that everything collides. */
#ifndef TESTS_UNIT_STORE_MODEL_H
#define TESTS_UNIT_STORE_MODEL_H

#include "consensus/store/store.h"

#define MODEL_LEASES 4

struct model_change {
    int64_t main, create, version, lease; /* version 0 = deleted */
    uint32_t sub;
    struct slice key, value;
};

struct model {
    struct arena arena; /* keys and values */
    struct model_change *changes;
    size_t count, capacity;
    int64_t revision, compact;
    bool leases[MODEL_LEASES + 1];
    bool changed; /* by the transaction under way */
};

enum op_kind { OP_PUT, OP_DELETE, OP_TXN, OP_COMPACT, OP_GRANT, OP_REVOKE, OP_SET, OP_KINDS };

struct op {
    enum op_kind kind;
    Etcdserverpb__PutRequest *put;
    Etcdserverpb__DeleteRangeRequest *delete_range;
    Etcdserverpb__TxnRequest *txn;
    int64_t number; /* revision to compact, lease, side key */
};

struct rng {
    uint64_t state;
};

uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);

void model_init(struct model *m);
void model_done(struct model *m);
/* A random write that passes the stateless checks; memory from a. */
struct op *model_random_op(const struct model *m, struct rng *r, struct arena *a);
Etcdserverpb__RangeRequest *model_random_range(const struct model *m, struct rng *r, struct arena *a,
                                               bool in_txn);
/* The expected error and responses. */
int model_apply(struct model *m, const struct op *op, struct arena *a, Etcdserverpb__PutResponse **put,
                Etcdserverpb__DeleteRangeResponse **deleted, Etcdserverpb__TxnResponse **txn);
int model_range(const struct model *m, const Etcdserverpb__RangeRequest *r, struct arena *a,
                Etcdserverpb__RangeResponse **ret_response);
/* The last change of a key with main <= at; NULL when there is none. */
const struct model_change *model_at(const struct model *m, struct slice key, int64_t at);

/* Two messages are the same when their encodings are. */
void assert_message_equal(const void *a, const void *b);

#endif
