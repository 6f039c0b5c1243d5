/* SPDX-License-Identifier: Apache-2.0
 * Requests and replies; see requests.h. */
#include "tests/sim/cluster/requests.h"

#include <assert.h>

static ProtobufCBinaryData binary(struct slice s, struct arena *a)
{
    return (ProtobufCBinaryData){s.size, arena_copy(a, s.data, s.size)};
}

/* --- requests ------------------------------------------------------------------------------------------ */

static Etcdserverpb__PutRequest *make_put(const struct history_step *s, struct arena *a)
{
    Etcdserverpb__PutRequest *m = arena_alloc(a, sizeof *m);
    etcdserverpb__put_request__init(m);
    m->key = binary(s->key, a);
    m->value = binary(s->value, a);
    m->lease = s->lease;
    m->prev_kv = s->wants_prev;
    return m;
}

static Etcdserverpb__RangeRequest *make_range(const struct history_step *s, bool is_serializable,
                                              struct arena *a)
{
    Etcdserverpb__RangeRequest *m = arena_alloc(a, sizeof *m);
    etcdserverpb__range_request__init(m);
    m->key = binary(s->key, a);
    m->range_end = binary(s->range_end, a);
    m->revision = s->at_revision;
    m->limit = s->limit;
    m->count_only = s->is_count_only;
    m->serializable = is_serializable;
    return m;
}

static Etcdserverpb__DeleteRangeRequest *make_delete(const struct history_step *s, struct arena *a)
{
    Etcdserverpb__DeleteRangeRequest *m = arena_alloc(a, sizeof *m);
    etcdserverpb__delete_range_request__init(m);
    m->key = binary(s->key, a);
    m->range_end = binary(s->range_end, a);
    m->prev_kv = s->wants_prev;
    return m;
}

static void make_steps(struct history_steps steps, bool is_serializable, struct arena *a, size_t *ret_count,
                       Etcdserverpb__RequestOp ***ret_list)
{
    Etcdserverpb__RequestOp **list = arena_alloc(a, (steps.count + 1) * sizeof(Etcdserverpb__RequestOp *));
    for (size_t i = 0; i < steps.count; i++) {
        const struct history_step *s = &steps.items[i];
        Etcdserverpb__RequestOp *op = list[i] = arena_alloc(a, sizeof *op);
        etcdserverpb__request_op__init(op);
        if (s->kind == HISTORY_PUT) {
            op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
            op->request_put = make_put(s, a);
        } else if (s->kind == HISTORY_RANGE) {
            op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
            op->request_range = make_range(s, is_serializable, a);
        } else {
            op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
            op->request_delete_range = make_delete(s, a);
        }
    }
    *ret_count = steps.count;
    *ret_list = list;
}

static Etcdserverpb__Compare *make_compare(const struct history_compare *c, struct arena *a)
{
    Etcdserverpb__Compare *m = arena_alloc(a, sizeof *m);
    etcdserverpb__compare__init(m);
    m->key = binary(c->key, a);
    switch (c->relation) {
    case HISTORY_EQUAL:
        m->result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL;
        break;
    case HISTORY_NOT_EQUAL:
        m->result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL;
        break;
    case HISTORY_GREATER:
        m->result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER;
        break;
    case HISTORY_LESS:
        m->result = ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS;
        break;
    }
    switch (c->target) {
    case HISTORY_VALUE:
        m->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE;
        m->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        m->value = binary(c->value, a);
        break;
    case HISTORY_MOD:
        m->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD;
        m->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
        m->mod_revision = c->number;
        break;
    case HISTORY_CREATE:
        m->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE;
        m->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
        m->create_revision = c->number;
        break;
    case HISTORY_VERSION:
        m->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION;
        m->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
        m->version = c->number;
        break;
    }
    return m;
}

static Etcdserverpb__TxnRequest *make_txn(const struct history_request *h, struct arena *a)
{
    Etcdserverpb__TxnRequest *m = arena_alloc(a, sizeof *m);
    etcdserverpb__txn_request__init(m);
    m->compare = arena_alloc(a, (h->compare_count + 1) * sizeof(Etcdserverpb__Compare *));
    for (size_t i = 0; i < h->compare_count; i++)
        m->compare[m->n_compare++] = make_compare(&h->compares[i], a);
    make_steps(h->then, h->is_serializable, a, &m->n_success, &m->success);
    make_steps(h->otherwise, h->is_serializable, a, &m->n_failure, &m->failure);
    return m;
}

static void start_lease(struct kv *kv, struct kv_request *r, const struct history_request *h, struct arena *a)
{
    if (h->kind == HISTORY_GRANT) {
        Etcdserverpb__LeaseGrantRequest *m = arena_alloc(a, sizeof *m);
        etcdserverpb__lease_grant_request__init(m);
        m->id = h->lease;
        m->ttl = h->ttl_s;
        kv_lease_grant(kv, r, m);
    } else if (h->kind == HISTORY_KEEPALIVE) {
        Etcdserverpb__LeaseKeepAliveRequest *m = arena_alloc(a, sizeof *m);
        etcdserverpb__lease_keep_alive_request__init(m);
        m->id = h->lease;
        kv_lease_keep_alive(kv, r, m);
    } else {
        Etcdserverpb__LeaseRevokeRequest *m = arena_alloc(a, sizeof *m);
        etcdserverpb__lease_revoke_request__init(m);
        m->id = h->lease;
        kv_lease_revoke(kv, r, m);
    }
}

static void start_compact(struct kv *kv, struct kv_request *r, const struct history_request *h,
                          struct arena *a)
{
    Etcdserverpb__CompactionRequest *m = arena_alloc(a, sizeof *m);
    etcdserverpb__compaction_request__init(m);
    m->revision = h->compact_revision;
    m->physical = h->compact_revision % 4 == 0;
    kv_compact(kv, r, m);
}

void request_start(struct kv *kv, struct kv_request *r, const struct history_request *h, struct arena *a)
{
    switch (h->kind) {
    case HISTORY_PUT:
        kv_put(kv, r, make_put(&h->then.items[0], a));
        return;
    case HISTORY_RANGE:
        kv_range(kv, r, make_range(&h->then.items[0], h->is_serializable, a));
        return;
    case HISTORY_DELETE:
        kv_delete_range(kv, r, make_delete(&h->then.items[0], a));
        return;
    case HISTORY_TXN:
        kv_txn(kv, r, make_txn(h, a));
        return;
    case HISTORY_GRANT:
    case HISTORY_KEEPALIVE:
    case HISTORY_REVOKE:
        start_lease(kv, r, h, a);
        return;
    case HISTORY_COMPACT:
        start_compact(kv, r, h, a);
        return;
    case HISTORY_KINDS:
        break;
    }
    assert(!"no such request");
}

/* --- replies ------------------------------------------------------------------------------------------- */

struct history_kv request_kv(const Mvccpb__KeyValue *kv)
{
    return (struct history_kv){
        .key = slice_of(kv->key.data, kv->key.len),
        .value = slice_of(kv->value.data, kv->value.len),
        .create = kv->create_revision,
        .mod = kv->mod_revision,
        .version = kv->version,
        .lease = kv->lease,
    };
}

static struct history_kv keep_kv(const Mvccpb__KeyValue *kv, struct arena *a)
{
    struct history_kv copy = request_kv(kv);
    copy.key.data = arena_copy(a, copy.key.data, copy.key.size);
    copy.value.data = arena_copy(a, copy.value.data, copy.value.size);
    return copy;
}

static struct history_result keep_kvs(Mvccpb__KeyValue **kvs, size_t count, struct arena *a)
{
    struct history_kv *list = arena_alloc(a, (count + 1) * sizeof *list);
    for (size_t i = 0; i < count; i++)
        list[i] = keep_kv(kvs[i], a);
    return (struct history_result){.kvs = list, .kv_count = count};
}

static struct history_result read_put(const Etcdserverpb__PutResponse *m, struct arena *a)
{
    Mvccpb__KeyValue *prev = m->prev_kv;
    return keep_kvs(&prev, prev ? 1 : 0, a);
}

static struct history_result read_range(const Etcdserverpb__RangeResponse *m, struct arena *a)
{
    struct history_result r = keep_kvs(m->kvs, m->n_kvs, a);
    r.count = m->count;
    r.has_more = m->more;
    return r;
}

static struct history_result read_delete(const Etcdserverpb__DeleteRangeResponse *m, struct arena *a)
{
    struct history_result r = keep_kvs(m->prev_kvs, m->n_prev_kvs, a);
    r.count = m->deleted;
    return r;
}

static void read_txn(const Etcdserverpb__TxnResponse *m, struct arena *a, struct history_reply *reply)
{
    struct history_result *results = arena_new(a, (m->n_responses + 1) * sizeof *results);
    for (size_t i = 0; i < m->n_responses; i++) {
        const Etcdserverpb__ResponseOp *op = m->responses[i];
        if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT)
            results[i] = read_put(op->response_put, a);
        else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE)
            results[i] = read_range(op->response_range, a);
        else
            results[i] = read_delete(op->response_delete_range, a);
    }
    reply->succeeded = m->succeeded;
    reply->results = results;
    reply->result_count = m->n_responses;
}

static void one_result(struct history_reply *reply, struct history_result result, struct arena *a)
{
    reply->results = arena_copy(a, &result, sizeof result);
    reply->result_count = 1;
}

/* All of etcd's responses have their header first. */
static int64_t revision_of(const ProtobufCMessage *response)
{
    const struct {
        ProtobufCMessage base;
        Etcdserverpb__ResponseHeader *header;
    } *any = (const void *)response;
    return any->header ? any->header->revision : 0;
}

void request_reply(const struct history_request *h, const ProtobufCMessage *m, struct arena *a,
                   struct history_reply *ret_reply)
{
    struct history_reply r = {.revision = revision_of(m)};
    switch (h->kind) {
    case HISTORY_PUT:
        one_result(&r, read_put((const Etcdserverpb__PutResponse *)m, a), a);
        break;
    case HISTORY_RANGE:
        one_result(&r, read_range((const Etcdserverpb__RangeResponse *)m, a), a);
        break;
    case HISTORY_DELETE:
        one_result(&r, read_delete((const Etcdserverpb__DeleteRangeResponse *)m, a), a);
        break;
    case HISTORY_TXN:
        read_txn((const Etcdserverpb__TxnResponse *)m, a, &r);
        break;
    case HISTORY_GRANT:
        r.ttl_s = ((const Etcdserverpb__LeaseGrantResponse *)m)->ttl;
        break;
    case HISTORY_KEEPALIVE:
        r.ttl_s = ((const Etcdserverpb__LeaseKeepAliveResponse *)m)->ttl;
        break;
    case HISTORY_REVOKE:
    case HISTORY_COMPACT:
    case HISTORY_KINDS:
        break;
    }
    *ret_reply = r;
}

/* kv.h: an operation that may still happen ends with a time-out or with ERR_STOPPED; every other error
 * changed nothing. */
enum history_outcome request_outcome(int err)
{
    if (!err)
        return HISTORY_OK;
    return err == ERR_TIMEOUT || err == ERR_TIMEOUT_LEADER_FAIL || err == ERR_TIMEOUT_CONNECTION_LOST ||
                   err == ERR_TIMEOUT_APPLIED_INDEX || err == ERR_STOPPED
               ? HISTORY_UNKNOWN
               : HISTORY_FAILED;
}
