/* SPDX-License-Identifier: Apache-2.0
 * Checks of a request that need no state: etcd's v3rpc checks in etcd's order, and the request's cost for the
 * quota. The nesting of txns is limited here, because each level uses at least one of the allowed ops. */
#include <stdlib.h>

#include "base/mem.h"
#include "consensus/store/state.h"

#define PUT_OVERHEAD 256

int store_check_range(const Etcdserverpb__RangeRequest *request)
{
    if (request->key.len == 0)
        return ERR_KEY_EMPTY;
    if ((unsigned)request->sort_order > ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND ||
        (unsigned)request->sort_target > ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE)
        return ERR_INVALID_SORT_OPTION;
    return 0;
}

int store_check_put(const Etcdserverpb__PutRequest *request)
{
    if (request->key.len == 0)
        return ERR_KEY_EMPTY;
    if (request->ignore_value && request->value.len)
        return ERR_VALUE_PROVIDED;
    if (request->ignore_lease && request->lease)
        return ERR_LEASE_PROVIDED;
    return 0;
}

int store_check_delete_range(const Etcdserverpb__DeleteRangeRequest *request)
{
    return request->key.len ? 0 : ERR_KEY_EMPTY;
}

static int check_ops(const Etcdserverpb__TxnRequest *request, uint64_t max_ops);

static int check_op(const Etcdserverpb__RequestOp *op, uint64_t max_ops)
{
    switch ((int)op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        return store_check_range(op->request_range);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        return store_check_put(op->request_put);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        return store_check_delete_range(op->request_delete_range);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
        return check_ops(op->request_txn, max_ops);
    case ETCDSERVERPB__REQUEST_OP__REQUEST__NOT_SET:
    default:
        return ERR_KEY_NOT_FOUND;
    }
}

static int check_ops(const Etcdserverpb__TxnRequest *r, uint64_t max_ops)
{
    size_t ops = r->n_compare > r->n_success ? r->n_compare : r->n_success;
    if (r->n_failure > ops)
        ops = r->n_failure;
    if (ops > max_ops)
        return ERR_TOO_MANY_OPS;
    int err = 0;
    for (size_t i = 0; i < r->n_compare; i++) {
        if (r->compare[i]->key.len == 0)
            return ERR_KEY_EMPTY;
    }
    for (size_t i = 0; i < r->n_success && !err; i++)
        err = check_op(r->success[i], max_ops - ops);
    for (size_t i = 0; i < r->n_failure && !err; i++)
        err = check_op(r->failure[i], max_ops - ops);
    return err;
}

/* --- duplicate keys ---------------------------------------------------------------------------- */

/* The keys that a list of ops, nested ones included, may put and delete. Both are sorted; merges take linear
 * time and searches logarithmic time, because one request of the largest size can hold a hundred thousand
 * ops. */
struct put_set {
    struct slice *keys;
    size_t count;
};

/* [begin, end), or the key `begin` alone. `reach` is the interval with the greatest end up to this one. */
struct interval {
    struct slice begin, end;
    bool is_point;
    size_t reach;
};

struct delete_set {
    struct interval *items; /* by begin */
    size_t count;
};

struct op_keys {
    struct put_set puts;
    struct delete_set deletes;
};

static void op_keys_done(struct op_keys *t)
{
    mem_free(t->puts.keys);
    mem_free(t->deletes.items);
}

static int check_compare_slices(const void *a, const void *b)
{
    const struct slice *x = a, *y = b;
    return slice_compare(*x, *y);
}

static int compare_intervals(const void *a, const void *b)
{
    const struct interval *x = a, *y = b;
    return slice_compare(x->begin, y->begin);
}

/* Adds the keys of `more`; both are sorted. A key in both is kept once, and the result is true. */
static bool put_set_merge(struct put_set *s, const struct put_set *more)
{
    bool overlaps = false;
    if (more->count == 0)
        return false;
    struct slice *all = mem_alloc((s->count + more->count) * sizeof *all);
    size_t n = 0, i = 0, k = 0;
    while (i < s->count || k < more->count) {
        int c = i == s->count ? 1 : k == more->count ? -1 : slice_compare(s->keys[i], more->keys[k]);
        overlaps = overlaps || c == 0;
        all[n++] = c <= 0 ? s->keys[i] : more->keys[k];
        i += c <= 0;
        k += c >= 0;
    }
    mem_free(s->keys);
    *s = (struct put_set){all, n};
    return overlaps;
}

static int compare_ends(const struct interval *a, const struct interval *b)
{
    struct slice x = a->is_point ? a->begin : a->end, y = b->is_point ? b->begin : b->end;
    int c = slice_compare(x, y);
    return c ? c : a->is_point - b->is_point; /* a point includes its own end */
}

static void delete_set_merge(struct delete_set *s, const struct delete_set *more)
{
    if (more->count == 0)
        return;
    struct interval *all = mem_alloc((s->count + more->count) * sizeof *all);
    size_t n = 0, i = 0, k = 0;
    while (i < s->count || k < more->count) {
        bool first =
            k == more->count || (i < s->count && compare_intervals(&s->items[i], &more->items[k]) <= 0);
        all[n] = first ? s->items[i++] : more->items[k++];
        all[n].reach = n > 0 && compare_ends(&all[all[n - 1].reach], &all[n]) >= 0 ? all[n - 1].reach : n;
        n++;
    }
    mem_free(s->items);
    *s = (struct delete_set){all, n};
}

static bool delete_set_has(const struct delete_set *s, struct slice key)
{
    size_t low = 0, high = s->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(s->items[middle].begin, key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return false;
    const struct interval *last = &s->items[s->items[low - 1].reach];
    int c = slice_compare(key, last->is_point ? last->begin : last->end);
    return c < 0 || (c == 0 && last->is_point);
}

static bool clashes(const struct put_set *puts, const struct delete_set *deletes)
{
    for (size_t i = 0; i < puts->count; i++) {
        if (delete_set_has(deletes, puts->keys[i]))
            return true;
    }
    return false;
}

/* Collects the deletes of this level. For this check etcd reads "\0", which means "all keys from here", as an
 * ordinary end. So such a delete, like every delete that ends before it begins, overlaps nothing. This
 * behavior is kept. */
static void level_deletes(Etcdserverpb__RequestOp *const *ops, size_t count, struct delete_set *ret)
{
    struct delete_set level = {mem_alloc(count * sizeof *level.items), 0};
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE)
            continue;
        const Etcdserverpb__DeleteRangeRequest *d = ops[i]->request_delete_range;
        struct interval item = {store_slice(d->key), store_slice(d->range_end), d->range_end.len == 0, 0};
        if (item.is_point || slice_compare(item.begin, item.end) < 0)
            level.items[level.count++] = item;
    }
    if (level.count > 1)
        qsort(level.items, level.count, sizeof *level.items, compare_intervals);
    delete_set_merge(ret, &level);
    mem_free(level.items);
}

/* Collects the puts of this level; true when a key occurs twice. */
static bool level_puts(Etcdserverpb__RequestOp *const *ops, size_t count, struct put_set *ret)
{
    *ret = (struct put_set){mem_alloc(count * sizeof *ret->keys), 0};
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
            ret->keys[ret->count++] = store_slice(ops[i]->request_put->key);
    }
    if (ret->count > 1)
        qsort(ret->keys, ret->count, sizeof *ret->keys, check_compare_slices);
    for (size_t i = 1; i < ret->count; i++) {
        if (slice_equal(ret->keys[i - 1], ret->keys[i]))
            return true;
    }
    return false;
}

static int check_op_keys(Etcdserverpb__RequestOp *const *ops, size_t count, struct op_keys *t);

/* The then and else branches of one nested txn exclude each other: a key may be in both. */
static int collect_txn_keys(const Etcdserverpb__TxnRequest *r, struct op_keys *t)
{
    struct op_keys then = {0}, otherwise = {0};
    int err = check_op_keys(r->success, r->n_success, &then);
    if (!err)
        err = check_op_keys(r->failure, r->n_failure, &otherwise);
    if (!err) {
        (void)put_set_merge(&then.puts, &otherwise.puts);
        if (clashes(&then.puts, &t->deletes) || put_set_merge(&t->puts, &then.puts))
            err = ERR_DUPLICATE_KEY;
        delete_set_merge(&t->deletes, &then.deletes);
        delete_set_merge(&t->deletes, &otherwise.deletes);
    }
    op_keys_done(&then);
    op_keys_done(&otherwise);
    return err;
}

/* Checks in etcd's order, on which the result depends: deletes of this level, nested txns, puts of this
 * level. A put in one nested txn and a later nested delete of its key do not conflict. */
static int check_op_keys(Etcdserverpb__RequestOp *const *ops, size_t count, struct op_keys *t)
{
    struct put_set puts = {0};
    int err = 0;
    if (count == 0)
        return 0;
    level_deletes(ops, count, &t->deletes);
    for (size_t i = 0; i < count && !err; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            err = collect_txn_keys(ops[i]->request_txn, t);
    }
    if (!err && level_puts(ops, count, &puts))
        err = ERR_DUPLICATE_KEY;
    if (!err && (clashes(&puts, &t->deletes) || put_set_merge(&t->puts, &puts)))
        err = ERR_DUPLICATE_KEY;
    mem_free(puts.keys);
    return err;
}

static int check_duplicates(Etcdserverpb__RequestOp *const *ops, size_t count)
{
    /* A single op that is not a txn cannot conflict: the usual compare-and-put. */
    if (count == 0 || (count == 1 && ops[0]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN))
        return 0;
    struct op_keys t = {0};
    int err = check_op_keys(ops, count, &t);
    op_keys_done(&t);
    return err;
}

int store_check_txn(const Etcdserverpb__TxnRequest *request, uint64_t max_ops)
{
    int err = check_ops(request, max_ops);
    if (!err)
        err = check_duplicates(request->success, request->n_success);
    if (!err)
        err = check_duplicates(request->failure, request->n_failure);
    return err;
}

/* --- properties -------------------------------------------------------------------------------- */

static bool ops_are_ranges(Etcdserverpb__RequestOp *const *ops, size_t count, bool serializable)
{
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE)
            return false;
        if (serializable && !ops[i]->request_range->serializable)
            return false;
    }
    return true;
}

bool store_txn_is_read_only(const Etcdserverpb__TxnRequest *r)
{
    return ops_are_ranges(r->success, r->n_success, false) && ops_are_ranges(r->failure, r->n_failure, false);
}

bool store_txn_is_serializable(const Etcdserverpb__TxnRequest *r)
{
    return ops_are_ranges(r->success, r->n_success, true) && ops_are_ranges(r->failure, r->n_failure, true);
}

uint64_t store_put_cost(const Etcdserverpb__PutRequest *request)
{
    return PUT_OVERHEAD + request->key.len + request->value.len;
}

static uint64_t ops_cost(Etcdserverpb__RequestOp *const *ops, size_t count)
{
    uint64_t cost = 0;
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
            cost += store_put_cost(ops[i]->request_put);
        else if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            cost += store_txn_cost(ops[i]->request_txn);
    }
    return cost;
}

uint64_t store_txn_cost(const Etcdserverpb__TxnRequest *r)
{
    uint64_t success = ops_cost(r->success, r->n_success), failure = ops_cost(r->failure, r->n_failure);
    return success > failure ? success : failure;
}

static bool ops_have_put(Etcdserverpb__RequestOp *const *ops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
            return true;
        if (ops[i]->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN &&
            store_txn_has_put(ops[i]->request_txn))
            return true;
    }
    return false;
}

bool store_txn_has_put(const Etcdserverpb__TxnRequest *r)
{
    return ops_have_put(r->success, r->n_success) || ops_have_put(r->failure, r->n_failure);
}
