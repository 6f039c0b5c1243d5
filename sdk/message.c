/* SPDX-License-Identifier: Apache-2.0
 * Translation of the key-value messages. See message.h. */
#include "sdk/message.h"

enum { TXN_DEPTH_MAX = 16 };

ProtobufCBinaryData bytes_out(struct cairn_bytes b)
{
    ProtobufCBinaryData data = {b.size, NULL};
    /* protobuf-c's type is not const, but the bytes are only read */
    memcpy(&data.data, &b.data, sizeof data.data);
    return data;
}

static struct cairn_bytes bytes_in(ProtobufCBinaryData b)
{
    return (struct cairn_bytes){b.len ? b.data : (const void *)"", b.len};
}

void read_header(const Etcdserverpb__ResponseHeader *in, struct cairn_header *out)
{
    if (in)
        *out = (struct cairn_header){in->cluster_id, in->member_id, in->revision, in->raft_term};
}

/* --- key ranges ----------------------------------------------------------------------------------------- */
/* The range_end of a prefix: the last byte below 0xff is incremented; bytes behind it are dropped. */
static ProtobufCBinaryData end_of_prefix(struct cairn_bytes prefix, struct arena *a)
{
    uint8_t *end = arena_copy(a, prefix.data, prefix.size);
    for (size_t n = prefix.size; n; n--)
        if (end[n - 1] != 0xff) {
            end[n - 1]++;
            return (ProtobufCBinaryData){n, end};
        }
    return bytes_out((struct cairn_bytes){"", 1});
}

int fill_range_end(struct cairn_bytes key, struct cairn_bytes range_end, bool prefix, bool from_key,
                   struct arena *a, ProtobufCBinaryData *ret_key, ProtobufCBinaryData *ret_end,
                   struct cairn_error *error)
{
    if ((prefix && from_key) || ((prefix || from_key) && range_end.size))
        return set_error(error, CAIRN_INVALID,
                         "only one of prefix, from_key and range_end can say which keys");
    struct cairn_bytes first = key;
    if ((prefix || from_key) && !key.size)
        first = (struct cairn_bytes){"", 1}; /* a NUL: the smallest key */
    *ret_key = bytes_out(first);
    if (prefix && key.size)
        *ret_end = end_of_prefix(key, a);
    else if (prefix || from_key)
        *ret_end = bytes_out((struct cairn_bytes){"", 1}); /* a NUL: no end */
    else
        *ret_end = bytes_out(range_end);
    return CAIRN_OK;
}

/* --- keys and values, requests -------------------------------------------------------------------------- */
int fill_range(const struct cairn_range_request *in, struct arena *a, ProtobufCMessage *message,
               struct cairn_error *error)
{
    Etcdserverpb__RangeRequest *m = (Etcdserverpb__RangeRequest *)message;
    m->limit = in->limit;
    m->revision = in->revision;
    m->sort_order = (Etcdserverpb__RangeRequest__SortOrder)in->order;
    m->sort_target = (Etcdserverpb__RangeRequest__SortTarget)in->by;
    m->serializable = in->serializable;
    m->keys_only = in->keys_only;
    m->count_only = in->count_only;
    m->min_mod_revision = in->min_mod_revision;
    m->max_mod_revision = in->max_mod_revision;
    m->min_create_revision = in->min_create_revision;
    m->max_create_revision = in->max_create_revision;
    return fill_range_end(in->key, in->range_end, in->prefix, in->from_key, a, &m->key, &m->range_end, error);
}

int fill_put(const struct cairn_put_request *in, struct arena *a, ProtobufCMessage *message,
             struct cairn_error *error)
{
    (void)a;
    (void)error;
    Etcdserverpb__PutRequest *m = (Etcdserverpb__PutRequest *)message;
    m->key = bytes_out(in->key);
    m->value = bytes_out(in->value);
    m->lease = in->lease;
    m->prev_kv = in->prev_kv;
    m->ignore_value = in->ignore_value;
    m->ignore_lease = in->ignore_lease;
    return CAIRN_OK;
}

int fill_delete(const struct cairn_delete_request *in, struct arena *a, ProtobufCMessage *message,
                struct cairn_error *error)
{
    Etcdserverpb__DeleteRangeRequest *m = (Etcdserverpb__DeleteRangeRequest *)message;
    m->prev_kv = in->prev_kv;
    return fill_range_end(in->key, in->range_end, in->prefix, in->from_key, a, &m->key, &m->range_end, error);
}

static Etcdserverpb__Compare *compare_out(const struct cairn_compare *in, struct arena *a)
{
    Etcdserverpb__Compare *m = arena_alloc(a, sizeof *m);
    etcdserverpb__compare__init(m);
    m->key = bytes_out(in->key);
    m->range_end = bytes_out(in->range_end);
    m->result = (Etcdserverpb__Compare__CompareResult)in->result;
    m->target = (Etcdserverpb__Compare__CompareTarget)in->target;
    switch (in->target) {
    case CAIRN_COMPARE_VERSION:
        m->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION;
        m->version = in->number;
        break;
    case CAIRN_COMPARE_CREATE:
        m->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION;
        m->create_revision = in->number;
        break;
    case CAIRN_COMPARE_MOD:
        m->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION;
        m->mod_revision = in->number;
        break;
    case CAIRN_COMPARE_VALUE:
        m->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        m->value = bytes_out(in->value);
        break;
    case CAIRN_COMPARE_LEASE:
        m->target_union_case = ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE;
        m->lease = in->number;
        break;
    }
    return m;
}

static int fill_txn_at(const struct cairn_txn_request *in, struct arena *a, Etcdserverpb__TxnRequest *m,
                       unsigned depth, struct cairn_error *error);

#define NEW_PART(op, a, type, member, which)                                                                 \
    ((op)->member = arena_alloc(a, sizeof *(op)->member),                                                    \
     (op)->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_##which,                                         \
     etcdserverpb__##type##__init((op)->member))

static int op_out(const struct cairn_op *in, struct arena *a, Etcdserverpb__RequestOp *m, unsigned depth,
                  struct cairn_error *error)
{
    if (!!in->range + !!in->put + !!in->del + !!in->txn != 1)
        return set_error(error, CAIRN_INVALID,
                         "an operation of a transaction is one of range, put, del and txn");
    if (in->range) {
        NEW_PART(m, a, range_request, request_range, REQUEST_RANGE);
        return fill_range(in->range, a, &m->request_range->base, error);
    }
    if (in->put) {
        NEW_PART(m, a, put_request, request_put, REQUEST_PUT);
        return fill_put(in->put, a, &m->request_put->base, error);
    }
    if (in->del) {
        NEW_PART(m, a, delete_range_request, request_delete_range, REQUEST_DELETE_RANGE);
        return fill_delete(in->del, a, &m->request_delete_range->base, error);
    }
    NEW_PART(m, a, txn_request, request_txn, REQUEST_TXN);
    return fill_txn_at(in->txn, a, m->request_txn, depth + 1, error);
}

static int ops_out(const struct cairn_op *list, size_t count, struct arena *a, Etcdserverpb__RequestOp ***ret,
                   unsigned depth, struct cairn_error *error)
{
    int err = CAIRN_OK;
    *ret = arena_alloc(a, (count + 1) * sizeof **ret);
    for (size_t i = 0; i < count && !err; i++) {
        (*ret)[i] = arena_alloc(a, sizeof ***ret);
        etcdserverpb__request_op__init((*ret)[i]);
        err = op_out(&list[i], a, (*ret)[i], depth, error);
    }
    return err;
}

static int fill_txn_at(const struct cairn_txn_request *in, struct arena *a, Etcdserverpb__TxnRequest *m,
                       unsigned depth, struct cairn_error *error)
{
    if (depth > TXN_DEPTH_MAX)
        return set_error(error, CAIRN_INVALID, "transactions are nested more than %d deep",
                         (int)TXN_DEPTH_MAX);
    m->n_compare = in->compare_count;
    m->n_success = in->then_count;
    m->n_failure = in->otherwise_count;
    m->compare = arena_alloc(a, (in->compare_count + 1) * sizeof *m->compare);
    for (size_t i = 0; i < in->compare_count; i++)
        m->compare[i] = compare_out(&in->compares[i], a);
    int err = ops_out(in->then, in->then_count, a, &m->success, depth, error);
    return err ? err : ops_out(in->otherwise, in->otherwise_count, a, &m->failure, depth, error);
}

int fill_txn(const struct cairn_txn_request *in, struct arena *a, ProtobufCMessage *message,
             struct cairn_error *error)
{
    return fill_txn_at(in, a, (Etcdserverpb__TxnRequest *)message, 1, error);
}

static bool ops_are_read(const struct cairn_op *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!list[i].range && !(list[i].txn && txn_is_read(list[i].txn)))
            return false;
    return true;
}

bool txn_is_read(const struct cairn_txn_request *t)
{
    return ops_are_read(t->then, t->then_count) && ops_are_read(t->otherwise, t->otherwise_count);
}

/* --- keys and values, responses ------------------------------------------------------------------------- */
struct cairn_kv *read_kv(const Mvccpb__KeyValue *in, struct cairn_kv *out)
{
    *out = (struct cairn_kv){.key = bytes_in(in->key),
                             .value = bytes_in(in->value),
                             .create_revision = in->create_revision,
                             .mod_revision = in->mod_revision,
                             .version = in->version,
                             .lease = in->lease};
    return out;
}

static const struct cairn_kv *read_kvs(Mvccpb__KeyValue *const *in, size_t count, struct arena *a)
{
    struct cairn_kv *out = arena_alloc(a, (count + 1) * sizeof *out);
    for (size_t i = 0; i < count; i++)
        read_kv(in[i], &out[i]);
    return out;
}

void read_range(const ProtobufCMessage *message, struct arena *a, struct cairn_range_result *out)
{
    const Etcdserverpb__RangeResponse *m = (const Etcdserverpb__RangeResponse *)message;
    read_header(m->header, &out->header);
    out->kvs = read_kvs(m->kvs, m->n_kvs, a);
    out->kv_count = m->n_kvs;
    out->more = m->more;
    out->count = m->count;
}

void read_put(const ProtobufCMessage *message, struct arena *a, struct cairn_put_result *out)
{
    const Etcdserverpb__PutResponse *m = (const Etcdserverpb__PutResponse *)message;
    read_header(m->header, &out->header);
    if (m->prev_kv)
        out->prev_kv = read_kv(m->prev_kv, arena_alloc(a, sizeof *out->prev_kv));
}

void read_delete(const ProtobufCMessage *message, struct arena *a, struct cairn_delete_result *out)
{
    const Etcdserverpb__DeleteRangeResponse *m = (const Etcdserverpb__DeleteRangeResponse *)message;
    read_header(m->header, &out->header);
    out->deleted = m->deleted;
    out->prev_kvs = read_kvs(m->prev_kvs, m->n_prev_kvs, a);
    out->prev_kv_count = m->n_prev_kvs;
}

#define READ_PART(out, a, m, member, name, type)                                                             \
    do {                                                                                                     \
        struct cairn_##name##_result *part = arena_new(a, sizeof *part);                                     \
        read_##name(&(m)->type->base, a, part);                                                              \
        (out)->member = part;                                                                                \
    } while (0)

static void read_op(const Etcdserverpb__ResponseOp *m, struct arena *a, struct cairn_op_result *out)
{
    switch (m->response_case) {
    case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE:
        READ_PART(out, a, m, range, range, response_range);
        break;
    case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT:
        READ_PART(out, a, m, put, put, response_put);
        break;
    case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE:
        READ_PART(out, a, m, del, delete, response_delete_range);
        break;
    case ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN:
        READ_PART(out, a, m, txn, txn, response_txn);
        break;
    case ETCDSERVERPB__RESPONSE_OP__RESPONSE__NOT_SET:
    case _ETCDSERVERPB__RESPONSE_OP__RESPONSE__CASE_IS_INT_SIZE:
        break;
    }
}

void read_txn(const ProtobufCMessage *message, struct arena *a, struct cairn_txn_result *out)
{
    const Etcdserverpb__TxnResponse *m = (const Etcdserverpb__TxnResponse *)message;
    struct cairn_op_result *results = arena_new(a, (m->n_responses + 1) * sizeof *results);
    for (size_t i = 0; i < m->n_responses; i++)
        read_op(m->responses[i], a, &results[i]);
    read_header(m->header, &out->header);
    out->succeeded = m->succeeded;
    out->results = results;
    out->result_count = m->n_responses;
}

int fill_compact(const struct cairn_compact_request *in, struct arena *a, ProtobufCMessage *message,
                 struct cairn_error *error)
{
    (void)a;
    (void)error;
    Etcdserverpb__CompactionRequest *m = (Etcdserverpb__CompactionRequest *)message;
    m->revision = in->revision;
    m->physical = in->physical;
    return CAIRN_OK;
}

void read_compact(const ProtobufCMessage *message, struct arena *a, struct cairn_compact_result *out)
{
    (void)a;
    read_header(((const Etcdserverpb__CompactionResponse *)message)->header, &out->header);
}
