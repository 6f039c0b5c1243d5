/* SPDX-License-Identifier: Apache-2.0
 * Builder of transactions. See txn.h. */
#include "proto/txn.h"

void txn_init(struct txn *t, struct arena *a)
{
    t->arena = a;
    etcdserverpb__txn_request__init(&t->message);
}

static ProtobufCBinaryData bytes_of(struct slice s)
{
    ProtobufCBinaryData b = {s.size, NULL};
    /* protobuf-c's type is not const, but the bytes are only read */
    memcpy(&b.data, &s.data, sizeof b.data);
    return b;
}

/* Grows a list when its count is a power of two. */
static void *grown(struct arena *a, void *list, size_t count)
{
    if (count & (count - 1))
        return list;
    void *copy = arena_alloc(a, (count ? count * 2 : 1) * sizeof(void *));
    if (count)
        memcpy(copy, list, count * sizeof(void *));
    return copy;
}

static Etcdserverpb__Compare *add_compare(struct txn *t, struct slice key)
{
    Etcdserverpb__TxnRequest *m = &t->message;
    Etcdserverpb__Compare *c = arena_alloc(t->arena, sizeof *c);
    etcdserverpb__compare__init(c);
    c->key = bytes_of(key);
    m->compare = grown(t->arena, m->compare, m->n_compare);
    m->compare[m->n_compare++] = c;
    return c;
}

void txn_if_revision(struct txn *t, struct slice key, int64_t mod_revision)
{
    Etcdserverpb__Compare *c = add_compare(t, key);
    c->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD;
    c->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
    c->mod_revision = mod_revision;
}

void txn_if_created(struct txn *t, struct slice key, int64_t create_revision)
{
    Etcdserverpb__Compare *c = add_compare(t, key);
    c->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
    c->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
    c->create_revision = create_revision;
}

void txn_if_there(struct txn *t, struct slice key)
{
    Etcdserverpb__Compare *c = add_compare(t, key);
    c->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
    c->result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER;
    c->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
    c->create_revision = 0;
}

/* In an empty range numbers compare as 0, and no key was created in revision 0. */
void txn_if_empty(struct txn *t, struct slice key, struct slice range_end)
{
    txn_if_created(t, key, 0);
    t->message.compare[t->message.n_compare - 1]->range_end = bytes_of(range_end);
}

void txn_if_older(struct txn *t, struct slice key, struct slice range_end, int64_t mod_revision)
{
    txn_if_revision(t, key, mod_revision + 1);
    Etcdserverpb__Compare *c = t->message.compare[t->message.n_compare - 1];
    c->result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS;
    c->range_end = bytes_of(range_end);
}

void txn_if_value(struct txn *t, struct slice key, struct slice value)
{
    Etcdserverpb__Compare *c = add_compare(t, key);
    c->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE;
    c->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
    c->value = bytes_of(value);
}

static Etcdserverpb__RequestOp *add_op(struct txn *t, bool is_else)
{
    Etcdserverpb__TxnRequest *m = &t->message;
    Etcdserverpb__RequestOp ***list = is_else ? &m->failure : &m->success;
    size_t *count = is_else ? &m->n_failure : &m->n_success;
    Etcdserverpb__RequestOp *op = arena_alloc(t->arena, sizeof *op);
    etcdserverpb__request_op__init(op);
    *list = grown(t->arena, *list, *count);
    (*list)[(*count)++] = op;
    return op;
}

static void add_put(struct txn *t, bool is_else, struct slice key, struct slice value, int64_t lease)
{
    Etcdserverpb__RequestOp *op = add_op(t, is_else);
    Etcdserverpb__PutRequest *put = arena_alloc(t->arena, sizeof *put);
    etcdserverpb__put_request__init(put);
    put->key = bytes_of(key);
    put->value = bytes_of(value);
    put->lease = lease;
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op->request_put = put;
}

void txn_put(struct txn *t, struct slice key, struct slice value, int64_t lease)
{
    add_put(t, false, key, value, lease);
}

void txn_else_put(struct txn *t, struct slice key, struct slice value)
{
    add_put(t, true, key, value, 0);
}

void txn_delete(struct txn *t, struct slice key)
{
    Etcdserverpb__RequestOp *op = add_op(t, false);
    Etcdserverpb__DeleteRangeRequest *m = arena_alloc(t->arena, sizeof *m);
    etcdserverpb__delete_range_request__init(m);
    m->key = bytes_of(key);
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    op->request_delete_range = m;
}

void txn_delete_range(struct txn *t, struct slice key, struct slice range_end)
{
    txn_delete(t, key);
    t->message.success[t->message.n_success - 1]->request_delete_range->range_end = bytes_of(range_end);
}

static Etcdserverpb__RangeRequest *add_range(struct txn *t, bool is_else, struct slice key)
{
    Etcdserverpb__RequestOp *op = add_op(t, is_else);
    Etcdserverpb__RangeRequest *m = arena_alloc(t->arena, sizeof *m);
    etcdserverpb__range_request__init(m);
    m->key = bytes_of(key);
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op->request_range = m;
    return m;
}

void txn_range(struct txn *t, enum txn_side side, struct slice key, bool keys_only)
{
    add_range(t, side == TXN_ELSE, key)->keys_only = keys_only;
}

void txn_else_get(struct txn *t, struct slice key)
{
    txn_range(t, TXN_ELSE, key, true);
}

/* Adds a read of one key of a prefix, which ends with '/'. */
static Etcdserverpb__RangeRequest *add_pick(struct txn *t, bool is_else, struct slice prefix)
{
    Etcdserverpb__RangeRequest *m = add_range(t, is_else, prefix);
    uint8_t *end = arena_copy(t->arena, prefix.data, prefix.size);
    end[prefix.size - 1]++; /* '/' */
    m->range_end = bytes_of(slice_of(end, prefix.size));
    m->keys_only = true;
    m->limit = 1;
    return m;
}

void txn_last(struct txn *t, enum txn_side side, struct slice prefix)
{
    add_pick(t, side == TXN_ELSE, prefix)->sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
}

void txn_first_created(struct txn *t, enum txn_side side, struct slice prefix)
{
    Etcdserverpb__RangeRequest *m = add_pick(t, side == TXN_ELSE, prefix);
    m->sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND;
    m->sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE;
}

void txn_last_created(struct txn *t, enum txn_side side, struct slice prefix, int64_t create_revision_max)
{
    Etcdserverpb__RangeRequest *m = add_pick(t, side == TXN_ELSE, prefix);
    m->sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    m->sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE;
    m->max_create_revision = create_revision_max;
}

int64_t txn_mod_revision(const Etcdserverpb__TxnResponse *response)
{
    for (size_t i = 0; i < response->n_responses; i++) {
        const Etcdserverpb__ResponseOp *op = response->responses[i];
        if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE &&
            op->response_range->n_kvs)
            return op->response_range->kvs[0]->mod_revision;
    }
    return 0;
}

int64_t txn_mod_revision_of(const Etcdserverpb__TxnResponse *response, struct slice key)
{
    for (size_t i = 0; i < response->n_responses; i++) {
        const Etcdserverpb__ResponseOp *op = response->responses[i];
        if (op->response_case != ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE ||
            !op->response_range->n_kvs)
            continue;
        const Mvccpb__KeyValue *pair = op->response_range->kvs[0];
        if (slice_equal(slice_of(pair->key.data, pair->key.len), key))
            return pair->mod_revision;
    }
    return 0;
}
