/* SPDX-License-Identifier: Apache-2.0
 * Conversion between the recorded history and etcd's messages; see convert.h. */
#include "tests/chaos/convert.h"

#include "proto/rpc.pb-c.h"

static ProtobufCBinaryData bytes_of(struct slice s)
{
    return (ProtobufCBinaryData){s.size, (uint8_t *)(uintptr_t)s.data};
}

/* --- requests --------------------------------------------------------------------------------- */

static Etcdserverpb__RangeRequest range_of(const struct history_step *s, bool is_serializable)
{
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    m.key = bytes_of(s->key);
    m.range_end = bytes_of(s->range_end);
    m.limit = s->limit;
    m.revision = s->at_revision;
    m.count_only = s->is_count_only;
    m.serializable = is_serializable;
    return m;
}

static Etcdserverpb__PutRequest put_of(const struct history_step *s)
{
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    m.key = bytes_of(s->key);
    m.value = bytes_of(s->value);
    m.lease = s->lease;
    m.prev_kv = s->wants_prev;
    return m;
}

static Etcdserverpb__DeleteRangeRequest delete_of(const struct history_step *s)
{
    Etcdserverpb__DeleteRangeRequest m = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    m.key = bytes_of(s->key);
    m.range_end = bytes_of(s->range_end);
    m.prev_kv = s->wants_prev;
    return m;
}

static Etcdserverpb__Compare *compare_of(const struct history_compare *c, struct arena *a)
{
    Etcdserverpb__Compare *m = arena_alloc(a, sizeof *m);
    etcdserverpb__compare__init(m);
    m->key = bytes_of(c->key);
    m->result = c->relation == HISTORY_EQUAL       ? ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL
                : c->relation == HISTORY_NOT_EQUAL ? ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL
                : c->relation == HISTORY_GREATER   ? ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER
                                                   : ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS;
    switch (c->target) {
    case HISTORY_VALUE:
        m->target = ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE;
        m->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        m->value = bytes_of(c->value);
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

static Etcdserverpb__RequestOp **steps_of(const struct history_steps *steps, struct arena *a)
{
    Etcdserverpb__RequestOp **list = arena_alloc(a, (steps->count + 1) * sizeof *list);
    for (size_t i = 0; i < steps->count; i++) {
        const struct history_step *s = &steps->items[i];
        Etcdserverpb__RequestOp *m = list[i] = arena_alloc(a, sizeof *m);
        etcdserverpb__request_op__init(m);
        if (s->kind == HISTORY_PUT) {
            m->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
            m->request_put = arena_alloc(a, sizeof *m->request_put);
            *m->request_put = put_of(s);
        } else if (s->kind == HISTORY_DELETE) {
            m->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
            m->request_delete_range = arena_alloc(a, sizeof *m->request_delete_range);
            *m->request_delete_range = delete_of(s);
        } else {
            m->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
            m->request_range = arena_alloc(a, sizeof *m->request_range);
            *m->request_range = range_of(s, false);
        }
    }
    return list;
}

static void start_txn(struct connection *c, struct call *call, const struct history_request *q)
{
    struct arena a = {0};
    Etcdserverpb__TxnRequest m = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__Compare **compares = arena_alloc(&a, (q->compare_count + 1) * sizeof *compares);
    for (size_t i = 0; i < q->compare_count; i++)
        compares[i] = compare_of(&q->compares[i], &a);
    m.n_compare = q->compare_count;
    m.compare = compares;
    m.n_success = q->then.count;
    m.success = steps_of(&q->then, &a);
    m.n_failure = q->otherwise.count;
    m.failure = steps_of(&q->otherwise, &a);
    call_start(c, call, "/etcdserverpb.KV/Txn", &m.base, true, false);
    arena_done(&a);
}

void convert_start(struct connection *c, struct call *call, const struct history_request *q)
{
    const struct history_step *s = q->then.items;
    switch (q->kind) {
    case HISTORY_PUT: {
        Etcdserverpb__PutRequest m = put_of(s);
        call_start(c, call, "/etcdserverpb.KV/Put", &m.base, true, false);
        break;
    }
    case HISTORY_RANGE: {
        Etcdserverpb__RangeRequest m = range_of(s, q->is_serializable);
        call_start(c, call, "/etcdserverpb.KV/Range", &m.base, true, false);
        break;
    }
    case HISTORY_DELETE: {
        Etcdserverpb__DeleteRangeRequest m = delete_of(s);
        call_start(c, call, "/etcdserverpb.KV/DeleteRange", &m.base, true, false);
        break;
    }
    case HISTORY_TXN:
        start_txn(c, call, q);
        break;
    case HISTORY_GRANT: {
        Etcdserverpb__LeaseGrantRequest m = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
        m.id = q->lease;
        m.ttl = q->ttl_s;
        call_start(c, call, "/etcdserverpb.Lease/LeaseGrant", &m.base, true, false);
        break;
    }
    case HISTORY_REVOKE: {
        Etcdserverpb__LeaseRevokeRequest m = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
        m.id = q->lease;
        call_start(c, call, "/etcdserverpb.Lease/LeaseRevoke", &m.base, true, false);
        break;
    }
    case HISTORY_COMPACT: {
        Etcdserverpb__CompactionRequest m = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
        m.revision = q->compact_revision;
        call_start(c, call, "/etcdserverpb.KV/Compact", &m.base, true, false);
        break;
    }
    case HISTORY_KEEPALIVE:
    case HISTORY_KINDS:
        break;
    }
}

/* --- answers ---------------------------------------------------------------------------------- */

static struct slice copy_bytes(ProtobufCBinaryData b, struct arena *a)
{
    return slice_of(arena_copy(a, b.data, b.len), b.len);
}

static struct history_kv kv_of(const Mvccpb__KeyValue *m, struct arena *a)
{
    return (struct history_kv){.key = copy_bytes(m->key, a),
                               .value = copy_bytes(m->value, a),
                               .create = m->create_revision,
                               .mod = m->mod_revision,
                               .version = m->version,
                               .lease = m->lease};
}

static struct history_result kvs_of(Mvccpb__KeyValue **kvs, size_t count, struct arena *a)
{
    struct history_kv *list = arena_alloc(a, (count + 1) * sizeof *list);
    for (size_t i = 0; i < count; i++)
        list[i] = kv_of(kvs[i], a);
    return (struct history_result){.kvs = list, .kv_count = count};
}

static struct history_result result_of_range(const Etcdserverpb__RangeResponse *m, struct arena *a)
{
    struct history_result r = kvs_of(m->kvs, m->n_kvs, a);
    r.count = m->count;
    r.has_more = m->more;
    return r;
}

static struct history_result result_of_put(const Etcdserverpb__PutResponse *m, struct arena *a)
{
    Mvccpb__KeyValue *prev[] = {m->prev_kv};
    return kvs_of(prev, m->prev_kv != NULL, a);
}

static struct history_result result_of_delete(const Etcdserverpb__DeleteRangeResponse *m, struct arena *a)
{
    struct history_result r = kvs_of(m->prev_kvs, m->n_prev_kvs, a);
    r.count = m->deleted;
    return r;
}

static void results_of_txn(const Etcdserverpb__TxnResponse *m, struct arena *a, struct history_reply *r)
{
    struct history_result *list = arena_new(a, (m->n_responses + 1) * sizeof *list);
    for (size_t i = 0; i < m->n_responses; i++) {
        const Etcdserverpb__ResponseOp *op = m->responses[i];
        if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT)
            list[i] = result_of_put(op->response_put, a);
        else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE)
            list[i] = result_of_delete(op->response_delete_range, a);
        else if (op->response_case == ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE)
            list[i] = result_of_range(op->response_range, a);
    }
    r->succeeded = m->succeeded;
    r->results = list;
    r->result_count = m->n_responses;
}

static const ProtobufCMessageDescriptor *response_descriptor(enum history_kind kind)
{
    switch (kind) {
    case HISTORY_PUT:
        return &etcdserverpb__put_response__descriptor;
    case HISTORY_RANGE:
        return &etcdserverpb__range_response__descriptor;
    case HISTORY_DELETE:
        return &etcdserverpb__delete_range_response__descriptor;
    case HISTORY_TXN:
        return &etcdserverpb__txn_response__descriptor;
    case HISTORY_GRANT:
        return &etcdserverpb__lease_grant_response__descriptor;
    case HISTORY_KEEPALIVE:
        return &etcdserverpb__lease_keep_alive_response__descriptor;
    case HISTORY_REVOKE:
        return &etcdserverpb__lease_revoke_response__descriptor;
    case HISTORY_COMPACT:
        return &etcdserverpb__compaction_response__descriptor;
    case HISTORY_KINDS:
        break;
    }
    return NULL;
}

static struct history_result *one_result(struct history_result value, struct arena *a)
{
    return arena_copy(a, &value, sizeof value);
}

/* Every response has its header as its first member. */
static int64_t revision_of(const ProtobufCMessage *m)
{
    const Etcdserverpb__ResponseHeader *header = ((const Etcdserverpb__PutResponse *)m)->header;
    return header ? header->revision : 0;
}

bool convert_reply(const struct history_request *q, struct slice message, struct arena *a,
                   struct history_reply *ret_reply)
{
    const ProtobufCMessage *m = protobuf_c_message_unpack(response_descriptor(q->kind), arena_allocator(a),
                                                          message.size, message.data);
    struct history_reply r = {0};
    if (!m)
        return false;
    r.revision = revision_of(m);
    r.result_count = q->kind == HISTORY_PUT || q->kind == HISTORY_RANGE || q->kind == HISTORY_DELETE;
    if (q->kind == HISTORY_PUT)
        r.results = one_result(result_of_put((const Etcdserverpb__PutResponse *)m, a), a);
    else if (q->kind == HISTORY_RANGE)
        r.results = one_result(result_of_range((const Etcdserverpb__RangeResponse *)m, a), a);
    else if (q->kind == HISTORY_DELETE)
        r.results = one_result(result_of_delete((const Etcdserverpb__DeleteRangeResponse *)m, a), a);
    else if (q->kind == HISTORY_TXN)
        results_of_txn((const Etcdserverpb__TxnResponse *)m, a, &r);
    else if (q->kind == HISTORY_GRANT)
        r.ttl_s = ((const Etcdserverpb__LeaseGrantResponse *)m)->ttl;
    else if (q->kind == HISTORY_KEEPALIVE)
        r.ttl_s = ((const Etcdserverpb__LeaseKeepAliveResponse *)m)->ttl;
    *ret_reply = r;
    return true;
}

bool convert_watch_response(struct slice message, struct arena *a, struct history_response *ret_response)
{
    const Etcdserverpb__WatchResponse *m =
        etcdserverpb__watch_response__unpack(arena_allocator(a), message.size, message.data);
    if (!m)
        return false;
    struct history_event *events = arena_new(a, (m->n_events + 1) * sizeof *events);
    for (size_t i = 0; i < m->n_events; i++) {
        const Mvccpb__Event *e = m->events[i];
        events[i].change = (struct history_change){.is_delete = e->type == MVCCPB__EVENT__EVENT_TYPE__DELETE,
                                                   .kv = kv_of(e->kv, a)};
        events[i].has_prev = e->prev_kv != NULL;
        if (e->prev_kv)
            events[i].prev = kv_of(e->prev_kv, a);
    }
    *ret_response = (struct history_response){.revision = m->header ? m->header->revision : 0,
                                              .is_created = m->created,
                                              .is_canceled = m->canceled,
                                              .is_fragment = m->fragment,
                                              .compact_revision = m->compact_revision,
                                              .events = events,
                                              .event_count = m->n_events};
    return true;
}

/* Only what the store or a check before it decided is certain. A request that was refused because there was
 * no leader, or too many were waiting, may have been refused by a member that passed it on before. */
enum history_outcome convert_failure(int status)
{
    return status == STATUS_INVALID || status == STATUS_NOT_FOUND || status == STATUS_FAILED_PRECONDITION ||
                   status == STATUS_OUT_OF_RANGE
               ? HISTORY_FAILED
               : HISTORY_UNKNOWN;
}
