/* SPDX-License-Identifier: Apache-2.0
 * The model of etcd's key-value semantics; see store_model.h. It follows etcd's documented behaviour and
 * shares no code with the store. */
#include "store_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#include "unit.h"

uint64_t rng_next(struct rng *r)
{
    r->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = r->state;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    return rng_next(r) % n;
}

static ProtobufCBinaryData bytes(struct slice s)
{
    return (ProtobufCBinaryData){s.size, (uint8_t *)(uintptr_t)s.data};
}

static struct slice slice(ProtobufCBinaryData b)
{
    return (struct slice){b.data, b.len};
}

void assert_message_equal(const void *a, const void *b)
{
    const ProtobufCMessage *x = a, *y = b;
    assert_ptr_equal(x->descriptor, y->descriptor);
    size_t size = protobuf_c_message_get_packed_size(x);
    assert_int_equal(size, protobuf_c_message_get_packed_size(y));
    uint8_t *p = malloc(size + 1), *q = malloc(size + 1);
    assert_true(p && q);
    protobuf_c_message_pack(x, p);
    protobuf_c_message_pack(y, q);
    assert_memory_equal(p, q, size);
    free(p);
    free(q);
}

/* --- random requests --------------------------------------------------------------------------- */

/* Up to three letters out of three, with zeros and a long shared prefix sometimes. */
static struct slice random_key(struct rng *r, struct arena *a)
{
    uint8_t key[64];
    size_t size = 0;
    if (rng_below(r, 4) == 0) {
        memcpy(key, "registry/services/endpoints/", 28);
        size = 28;
    }
    for (uint64_t n = 1 + rng_below(r, 3); n > 0; n--)
        key[size++] = "abc\0"[rng_below(r, rng_below(r, 8) ? 3 : 4)];
    return slice_of(arena_copy(a, key, size), size);
}

static void random_range(struct rng *r, struct arena *a, ProtobufCBinaryData *key, ProtobufCBinaryData *end)
{
    *key = bytes(random_key(r, a));
    switch (rng_below(r, 5)) {
    case 0:
    case 1:
        *end = (ProtobufCBinaryData){0};
        break;
    case 2:
        *end = bytes(slice_of(arena_copy(a, "", 1), 1));
        break;
    default:
        *end = bytes(random_key(r, a));
        break;
    }
}

static int64_t random_lease(struct rng *r)
{
    return rng_below(r, 3) ? 0 : (int64_t)rng_below(r, MODEL_LEASES + 1);
}

static Etcdserverpb__PutRequest *random_put(struct rng *r, struct arena *a)
{
    Etcdserverpb__PutRequest *p = arena_alloc(a, sizeof *p);
    etcdserverpb__put_request__init(p);
    p->key = bytes(random_key(r, a));
    p->prev_kv = rng_below(r, 2) == 0;
    p->ignore_value = rng_below(r, 6) == 0;
    p->ignore_lease = rng_below(r, 6) == 0;
    if (!p->ignore_value) {
        size_t size = rng_below(r, 20) ? rng_below(r, 12) : 3000;
        uint8_t *value = arena_alloc(a, size + 1);
        memset(value, (int)rng_below(r, 256), size + 1);
        p->value = bytes(slice_of(value, size));
    }
    if (!p->ignore_lease)
        p->lease = random_lease(r);
    return p;
}

static Etcdserverpb__DeleteRangeRequest *random_delete(struct rng *r, struct arena *a)
{
    Etcdserverpb__DeleteRangeRequest *d = arena_alloc(a, sizeof *d);
    etcdserverpb__delete_range_request__init(d);
    random_range(r, a, &d->key, &d->range_end);
    if (rng_below(r, 3))
        d->range_end = (ProtobufCBinaryData){0};
    d->prev_kv = rng_below(r, 2) == 0;
    return d;
}

static int64_t random_revision(const struct model *m, struct rng *r)
{
    return (int64_t)rng_below(r, (uint64_t)m->revision + 3);
}

Etcdserverpb__RangeRequest *model_random_range(const struct model *m, struct rng *r, struct arena *a,
                                               bool in_txn)
{
    Etcdserverpb__RangeRequest *q = arena_alloc(a, sizeof *q);
    etcdserverpb__range_request__init(q);
    random_range(r, a, &q->key, &q->range_end);
    if (rng_below(r, 2)) {
        q->revision = random_revision(m, r);
        if (in_txn && rng_below(r, 4) == 0)
            q->revision -= 3;
    }
    if (rng_below(r, 2))
        q->limit = (int64_t)rng_below(r, 8) - 1;
    if (rng_below(r, 2)) {
        q->sort_order = (Etcdserverpb__RangeRequest__SortOrder)rng_below(r, 3);
        q->sort_target = (Etcdserverpb__RangeRequest__SortTarget)rng_below(r, 5);
    }
    q->keys_only = rng_below(r, 4) == 0;
    q->count_only = rng_below(r, 6) == 0;
    if (rng_below(r, 5) == 0)
        q->min_mod_revision = random_revision(m, r);
    if (rng_below(r, 5) == 0)
        q->max_mod_revision = random_revision(m, r);
    if (rng_below(r, 5) == 0)
        q->min_create_revision = random_revision(m, r);
    if (rng_below(r, 5) == 0)
        q->max_create_revision = random_revision(m, r);
    return q;
}

static Etcdserverpb__Compare *random_compare(const struct model *m, struct rng *r, struct arena *a)
{
    Etcdserverpb__Compare *c = arena_alloc(a, sizeof *c);
    etcdserverpb__compare__init(c);
    random_range(r, a, &c->key, &c->range_end);
    c->result = (Etcdserverpb__Compare__CompareResult)rng_below(r, 4);
    c->target = (Etcdserverpb__Compare__CompareTarget)rng_below(r, 5);
    /* Mostly the union member that belongs to the target. */
    unsigned member = rng_below(r, 10) ? (unsigned)c->target : (unsigned)rng_below(r, 5);
    int64_t number = rng_below(r, 2) ? (int64_t)rng_below(r, 3) : random_revision(m, r);
    c->target_union_case = (Etcdserverpb__Compare__TargetUnionCase)(member + 4);
    if (c->target_union_case == ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE)
        c->value = (ProtobufCBinaryData){rng_below(r, 2), arena_copy(a, "x", 1)};
    else
        c->version = number;
    return c;
}

static Etcdserverpb__TxnRequest *random_txn(const struct model *m, struct rng *r, struct arena *a,
                                            unsigned depth);

static Etcdserverpb__RequestOp **random_ops(const struct model *m, struct rng *r, struct arena *a,
                                            unsigned depth, size_t *ret_count)
{
    *ret_count = rng_below(r, 5);
    Etcdserverpb__RequestOp **ops = arena_alloc(a, *ret_count * sizeof *ops + 1);
    for (size_t i = 0; i < *ret_count; i++) {
        ops[i] = arena_alloc(a, sizeof **ops);
        etcdserverpb__request_op__init(ops[i]);
        unsigned kind = (unsigned)rng_below(r, depth < 3 ? 8 : 7);
        if (kind < 3) {
            ops[i]->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
            ops[i]->request_put = random_put(r, a);
        } else if (kind < 5) {
            ops[i]->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
            ops[i]->request_range = model_random_range(m, r, a, true);
        } else if (kind < 7) {
            ops[i]->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
            ops[i]->request_delete_range = random_delete(r, a);
        } else {
            ops[i]->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
            ops[i]->request_txn = random_txn(m, r, a, depth + 1);
        }
    }
    return ops;
}

static Etcdserverpb__TxnRequest *random_txn(const struct model *m, struct rng *r, struct arena *a,
                                            unsigned depth)
{
    Etcdserverpb__TxnRequest *t = arena_alloc(a, sizeof *t);
    etcdserverpb__txn_request__init(t);
    t->n_compare = rng_below(r, 3);
    t->compare = arena_alloc(a, t->n_compare * sizeof *t->compare + 1);
    for (size_t i = 0; i < t->n_compare; i++)
        t->compare[i] = random_compare(m, r, a);
    t->success = random_ops(m, r, a, depth, &t->n_success);
    t->failure = random_ops(m, r, a, depth, &t->n_failure);
    return t;
}

struct op *model_random_op(const struct model *m, struct rng *r, struct arena *a)
{
    struct op *op = arena_new(a, sizeof *op);
    uint64_t dice = rng_below(r, 100);
    if (dice < 45) {
        op->kind = OP_PUT;
        op->put = random_put(r, a);
    } else if (dice < 60) {
        op->kind = OP_DELETE;
        op->delete_range = random_delete(r, a);
    } else if (dice < 85) {
        op->kind = OP_TXN;
        do
            op->txn = random_txn(m, r, a, 0);
        while (store_check_txn(op->txn, 128) != 0);
    } else if (dice < 88) {
        op->kind = OP_COMPACT;
        op->number = random_revision(m, r);
    } else if (dice < 93) {
        op->kind = OP_GRANT;
        op->number = 1 + (int64_t)rng_below(r, MODEL_LEASES);
    } else if (dice < 97) {
        op->kind = OP_REVOKE;
        op->number = 1 + (int64_t)rng_below(r, MODEL_LEASES);
    } else {
        op->kind = OP_SET;
        op->number = (int64_t)rng_below(r, 8);
    }
    return op;
}

/* --- the model --------------------------------------------------------------------------------- */

void model_init(struct model *m)
{
    *m = (struct model){.revision = 1, .compact = -1};
}

void model_done(struct model *m)
{
    arena_done(&m->arena);
    free(m->changes);
}

static struct slice keep(struct model *m, struct slice s)
{
    return slice_of(arena_copy(&m->arena, s.data, s.size), s.size);
}

const struct model_change *model_at(const struct model *m, struct slice key, int64_t at)
{
    for (size_t i = m->count; i-- > 0;) {
        if (m->changes[i].main <= at && slice_equal(m->changes[i].key, key))
            return &m->changes[i];
    }
    return NULL;
}

static void add(struct model *m, struct model_change c)
{
    if (m->count == m->capacity) {
        m->capacity = m->capacity ? m->capacity * 2 : 64;
        m->changes = realloc(m->changes, m->capacity * sizeof *m->changes);
        assert_non_null(m->changes);
    }
    c.main = m->revision + 1;
    c.sub = m->changed && m->count ? m->changes[m->count - 1].sub + 1 : 0;
    c.key = keep(m, c.key);
    c.value = keep(m, c.value);
    m->changes[m->count++] = c;
    m->changed = true;
}

static int64_t now(const struct model *m)
{
    return m->revision + m->changed;
}

static bool in_range(struct slice k, ProtobufCBinaryData key, ProtobufCBinaryData end)
{
    if (end.len == 0)
        return slice_equal(k, slice(key));
    if (slice_compare(k, slice(key)) < 0)
        return false;
    return (end.len == 1 && end.data[0] == 0) || slice_compare(k, slice(end)) < 0;
}

static int by_key(const void *a, const void *b)
{
    const struct model_change *const *x = a, *const *y = b;
    return slice_compare((*x)->key, (*y)->key);
}

/* The keys of a range as of a revision, in order. */
static size_t keys_at(const struct model *m, ProtobufCBinaryData key, ProtobufCBinaryData end, int64_t at,
                      struct arena *a, const struct model_change ***ret_keys)
{
    const struct model_change **found = arena_alloc(a, m->count * sizeof *found + 1);
    size_t n = 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct model_change *c = &m->changes[i];
        if (in_range(c->key, key, end) && c->version != 0 && model_at(m, c->key, at) == c)
            found[n++] = c;
    }
    qsort(found, n, sizeof *found, by_key);
    *ret_keys = found;
    return n;
}

static Mvccpb__KeyValue *to_kv(const struct model_change *c, struct arena *a)
{
    Mvccpb__KeyValue *kv = arena_alloc(a, sizeof *kv);
    mvccpb__key_value__init(kv);
    kv->key = bytes(c->key);
    kv->value = bytes(c->value);
    kv->create_revision = c->create;
    kv->mod_revision = c->main;
    kv->version = c->version;
    kv->lease = c->lease;
    return kv;
}

static Etcdserverpb__ResponseHeader *header(struct arena *a, int64_t revision)
{
    Etcdserverpb__ResponseHeader *h = arena_alloc(a, sizeof *h);
    etcdserverpb__response_header__init(h);
    h->revision = revision;
    return h;
}

static int64_t sort_value(const Mvccpb__KeyValue *kv, Etcdserverpb__RangeRequest__SortTarget target)
{
    return target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VERSION  ? kv->version
           : target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE ? kv->create_revision
                                                                        : kv->mod_revision;
}

static int sort_order(const Mvccpb__KeyValue *a, const Mvccpb__KeyValue *b,
                      Etcdserverpb__RangeRequest__SortTarget target)
{
    if (target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY)
        return slice_compare(slice(a->key), slice(b->key));
    if (target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE)
        return slice_compare(slice(a->value), slice(b->value));
    int64_t x = sort_value(a, target), y = sort_value(b, target);
    return x < y ? -1 : x > y;
}

/* Insertion sort: stable, which is what few elements get in etcd too. */
static void sort_kvs(Mvccpb__KeyValue **kvs, size_t n, const Etcdserverpb__RangeRequest *r)
{
    int sign = r->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND ? -1 : 1;
    for (size_t i = 1; i < n; i++) {
        for (size_t k = i; k > 0 && sign * sort_order(kvs[k - 1], kvs[k], r->sort_target) > 0; k--) {
            Mvccpb__KeyValue *kv = kvs[k];
            kvs[k] = kvs[k - 1];
            kvs[k - 1] = kv;
        }
    }
}

static bool passes(const Etcdserverpb__RangeRequest *r, const Mvccpb__KeyValue *kv)
{
    if (r->max_mod_revision && kv->mod_revision > r->max_mod_revision)
        return false;
    if (r->min_mod_revision && kv->mod_revision < r->min_mod_revision)
        return false;
    if (r->max_create_revision && kv->create_revision > r->max_create_revision)
        return false;
    return !(r->min_create_revision && kv->create_revision < r->min_create_revision);
}

int model_range(const struct model *m, const Etcdserverpb__RangeRequest *r, struct arena *a,
                Etcdserverpb__RangeResponse **ret_response)
{
    int64_t at = r->revision <= 0 ? now(m) : r->revision;
    const struct model_change **keys;
    if (at > now(m))
        return ERR_FUTURE_REV;
    if (at < m->compact)
        return ERR_COMPACTED;
    Etcdserverpb__RangeResponse *response = arena_alloc(a, sizeof *response);
    etcdserverpb__range_response__init(response);
    response->header = header(a, now(m));
    size_t n = keys_at(m, r->key, r->range_end, at, a, &keys);
    response->count = (int64_t)n;
    *ret_response = response;
    if (r->count_only)
        return 0;
    bool keyed = r->sort_target == ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__KEY;
    bool ascends = r->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND;
    bool plain = r->sort_order == ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__NONE || (keyed && ascends);
    bool filters =
        r->max_mod_revision || r->min_mod_revision || r->max_create_revision || r->min_create_revision;
    if (plain && !filters && r->limit > 0 && (int64_t)n > r->limit + 1)
        n = (size_t)r->limit + 1;
    response->kvs = arena_alloc(a, n * sizeof *response->kvs + 1);
    for (size_t i = 0; i < n; i++) {
        Mvccpb__KeyValue *kv = to_kv(keys[i], a);
        if (r->keys_only && r->sort_target != ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE) {
            kv->lease = 0;
            kv->value.len = 0;
        }
        if (passes(r, kv))
            response->kvs[response->n_kvs++] = kv;
    }
    sort_kvs(response->kvs, response->n_kvs, r);
    if (r->limit > 0 && (int64_t)response->n_kvs > r->limit) {
        response->n_kvs = (size_t)r->limit;
        response->more = true;
    }
    for (size_t i = 0; r->keys_only && i < response->n_kvs; i++)
        response->kvs[i]->value.len = 0;
    return 0;
}

static int check_put(const struct model *m, const Etcdserverpb__PutRequest *p)
{
    if (p->lease && !m->leases[p->lease])
        return ERR_LEASE_NOT_FOUND;
    const struct model_change *c = model_at(m, slice(p->key), m->revision);
    return (p->ignore_value || p->ignore_lease) && (!c || c->version == 0) ? ERR_KEY_NOT_FOUND : 0;
}

static Etcdserverpb__PutResponse *run_put(struct model *m, const Etcdserverpb__PutRequest *p, struct arena *a)
{
    const struct model_change *c = model_at(m, slice(p->key), now(m));
    struct model_change old = c && c->version ? *c : (struct model_change){0};
    struct model_change next = {.key = slice(p->key), .value = slice(p->value), .lease = p->lease};
    if (p->ignore_value)
        next.value = old.value;
    if (p->ignore_lease)
        next.lease = old.lease;
    next.create = old.version ? old.create : m->revision + 1;
    next.version = old.version + 1;
    add(m, next);
    Etcdserverpb__PutResponse *response = arena_alloc(a, sizeof *response);
    etcdserverpb__put_response__init(response);
    response->header = header(a, m->revision + 1);
    if (p->prev_kv && old.version)
        response->prev_kv = to_kv(&old, a);
    return response;
}

static Etcdserverpb__DeleteRangeResponse *
run_delete(struct model *m, const Etcdserverpb__DeleteRangeRequest *d, struct arena *a)
{
    const struct model_change **keys;
    size_t n = keys_at(m, d->key, d->range_end, now(m), a, &keys);
    Etcdserverpb__DeleteRangeResponse *response = arena_alloc(a, sizeof *response);
    etcdserverpb__delete_range_response__init(response);
    response->prev_kvs = arena_alloc(a, n * sizeof *response->prev_kvs + 1);
    struct slice *names = arena_alloc(a, n * sizeof *names + 1);
    for (size_t i = 0; i < n; i++) {
        response->prev_kvs[i] = to_kv(keys[i], a);
        names[i] = keys[i]->key;
    }
    response->n_prev_kvs = d->prev_kv ? n : 0;
    for (size_t i = 0; i < n; i++)
        add(m, (struct model_change){.key = names[i]});
    response->deleted = (int64_t)n;
    response->header = header(a, now(m));
    return response;
}

static bool compare_one(const Etcdserverpb__Compare *c, const struct model_change *kv)
{
    int64_t have[] = {kv->version, kv->create, kv->main, 0, kv->lease};
    bool matches = (int)c->target_union_case == (int)c->target + 4;
    int order;
    if (c->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE) {
        order = slice_compare(kv->value, matches ? slice(c->value) : (struct slice){0});
    } else {
        int64_t want = matches ? c->version : 0;
        order = have[c->target] < want ? -1 : have[c->target] > want;
    }
    bool answers[] = {order == 0, order > 0, order < 0, order != 0};
    return answers[c->result];
}

static bool compares_hold(const struct model *m, const Etcdserverpb__TxnRequest *t, struct arena *a)
{
    for (size_t i = 0; i < t->n_compare; i++) {
        const struct model_change **keys;
        const Etcdserverpb__Compare *c = t->compare[i];
        size_t n = keys_at(m, c->key, c->range_end, m->revision, a, &keys);
        if (n == 0 && c->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE)
            return false;
        if (n == 0 && !compare_one(c, &(struct model_change){0}))
            return false;
        for (size_t k = 0; k < n; k++) {
            if (!compare_one(c, keys[k]))
                return false;
        }
    }
    return true;
}

/* Which branch each txn takes is decided before any execution. A field in the message itself would be
 * simplest, but the messages are shared, so a list in order of the walk holds it. */
static void decide(const struct model *m, const Etcdserverpb__TxnRequest *t, struct arena *a, bool *path,
                   size_t *n)
{
    bool holds = compares_hold(m, t, a);
    path[(*n)++] = holds;
    for (size_t i = 0; i < (holds ? t->n_success : t->n_failure); i++) {
        Etcdserverpb__RequestOp *op = holds ? t->success[i] : t->failure[i];
        if (op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            decide(m, op->request_txn, a, path, n);
    }
}

static int check(const struct model *m, const Etcdserverpb__TxnRequest *t, const bool *path, size_t *n)
{
    bool holds = path[(*n)++];
    for (size_t i = 0; i < (holds ? t->n_success : t->n_failure); i++) {
        Etcdserverpb__RequestOp *op = holds ? t->success[i] : t->failure[i];
        int err = 0;
        if (op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            err = check(m, op->request_txn, path, n);
        if (op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
            err = check_put(m, op->request_put);
        if (op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE &&
            op->request_range->revision)
            err = op->request_range->revision > m->revision  ? ERR_FUTURE_REV
                  : op->request_range->revision < m->compact ? ERR_COMPACTED
                                                             : 0;
        if (err)
            return err;
    }
    return 0;
}

static Etcdserverpb__TxnResponse *run(struct model *m, const Etcdserverpb__TxnRequest *t, struct arena *a,
                                      const bool *path, size_t *n)
{
    Etcdserverpb__TxnResponse *response = arena_alloc(a, sizeof *response);
    etcdserverpb__txn_response__init(response);
    response->header = header(a, 0);
    response->succeeded = path[(*n)++];
    response->n_responses = response->succeeded ? t->n_success : t->n_failure;
    response->responses = arena_alloc(a, response->n_responses * sizeof *response->responses + 1);
    for (size_t i = 0; i < response->n_responses; i++) {
        Etcdserverpb__RequestOp *op = response->succeeded ? t->success[i] : t->failure[i];
        Etcdserverpb__ResponseOp *answer = arena_alloc(a, sizeof *answer);
        etcdserverpb__response_op__init(answer);
        answer->response_case = (Etcdserverpb__ResponseOp__ResponseCase)op->request_case;
        response->responses[i] = answer;
        if (op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            answer->response_txn = run(m, op->request_txn, a, path, n);
        else if (op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
            answer->response_put = run_put(m, op->request_put, a);
        else if (op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE)
            assert_int_equal(model_range(m, op->request_range, a, &answer->response_range), 0);
        else
            answer->response_delete_range = run_delete(m, op->request_delete_range, a);
    }
    return response;
}

static int run_txn(struct model *m, const Etcdserverpb__TxnRequest *t, struct arena *a,
                   Etcdserverpb__TxnResponse **ret_response)
{
    bool path[4096];
    size_t n = 0;
    decide(m, t, a, path, &n);
    n = 0;
    int err = check(m, t, path, &n);
    if (err)
        return err;
    n = 0;
    *ret_response = run(m, t, a, path, &n);
    (*ret_response)->header->revision = now(m);
    return 0;
}

static void revoke(struct model *m, int64_t lease, struct arena *a)
{
    const struct model_change **keys;
    ProtobufCBinaryData all = bytes(slice_of("", 1));
    size_t n = keys_at(m, all, all, m->revision, a, &keys);
    struct slice *names = arena_alloc(a, n * sizeof *names + 1);
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        if (keys[i]->lease == lease)
            names[count++] = keys[i]->key;
    }
    for (size_t i = 0; i < count; i++)
        add(m, (struct model_change){.key = names[i]});
    m->leases[lease] = false;
}

int model_apply(struct model *m, const struct op *op, struct arena *a, Etcdserverpb__PutResponse **put,
                Etcdserverpb__DeleteRangeResponse **deleted, Etcdserverpb__TxnResponse **txn)
{
    int err = 0;
    m->changed = false;
    switch (op->kind) {
    case OP_PUT:
        err = check_put(m, op->put);
        if (!err)
            *put = run_put(m, op->put, a);
        break;
    case OP_DELETE:
        *deleted = run_delete(m, op->delete_range, a);
        break;
    case OP_TXN:
        err = run_txn(m, op->txn, a, txn);
        break;
    case OP_COMPACT:
        err = op->number <= m->compact ? ERR_COMPACTED : op->number > m->revision ? ERR_FUTURE_REV : 0;
        if (!err)
            m->compact = op->number;
        break;
    case OP_GRANT:
        err = m->leases[op->number] ? ERR_LEASE_EXISTS : 0;
        m->leases[op->number] = true;
        break;
    case OP_REVOKE:
        err = m->leases[op->number] ? 0 : ERR_LEASE_NOT_FOUND;
        if (!err)
            revoke(m, op->number, a);
        break;
    case OP_SET:
    case OP_KINDS:
        break;
    }
    m->revision = now(m);
    m->changed = false;
    return err;
}
