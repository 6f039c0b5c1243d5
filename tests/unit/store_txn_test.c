/* SPDX-License-Identifier: Apache-2.0
 * Tests of request checks and transactions: etcd's rules one by one, with etcd's errors. The random
 * comparison with the model is in store_test.c. */
#include "consensus/store/store.h"

#include <stdio.h>

#include "base/metric.h"
#include "consensus/store/lease.h"
#include "fake_io.h"
#include "store_model.h"
#include "unit.h"

struct rig {
    struct fake_io io;
    struct backend *backend;
    struct lease_table *leases;
    struct store *store;
    struct arena arena;
    uint64_t index;
};

static struct rig rig;

static int set_up(void **state)
{
    (void)state;
    char error[100];
    rig = (struct rig){0};
    fake_io_init(&rig.io);
    rig.backend = backend_memory_new();
    rig.leases = lease_table_new(1);
    struct store_options options = {.io = &rig.io.io,
                                    .backend = rig.backend,
                                    .leases = rig.leases,
                                    .commit_interval_ms = 100,
                                    .commit_ops = 100,
                                    .compaction_batch = 10,
                                    .compaction_sleep_ms = 1,
                                    .max_txn_ops = 128};
    return store_open(&options, error, sizeof error, &rig.store);
}

static int tear_down(void **state)
{
    (void)state;
    store_close(rig.store);
    fake_io_run_jobs(&rig.io);
    backend_memory_free(rig.backend);
    lease_table_free(rig.leases);
    arena_done(&rig.arena);
    return 0;
}

/* --- building messages ------------------------------------------------------------------------- */

static ProtobufCBinaryData text(const char *s)
{
    return (ProtobufCBinaryData){strlen(s), (uint8_t *)(uintptr_t)s};
}

static Etcdserverpb__RequestOp *op_new(void)
{
    Etcdserverpb__RequestOp *op = arena_alloc(&rig.arena, sizeof *op);
    etcdserverpb__request_op__init(op);
    return op;
}

static Etcdserverpb__RequestOp *op_put(const char *key, const char *value)
{
    Etcdserverpb__RequestOp *op = op_new();
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op->request_put = arena_alloc(&rig.arena, sizeof *op->request_put);
    etcdserverpb__put_request__init(op->request_put);
    op->request_put->key = text(key);
    op->request_put->value = text(value);
    return op;
}

static Etcdserverpb__RequestOp *op_delete(const char *key, ProtobufCBinaryData end)
{
    Etcdserverpb__RequestOp *op = op_new();
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE;
    op->request_delete_range = arena_alloc(&rig.arena, sizeof *op->request_delete_range);
    etcdserverpb__delete_range_request__init(op->request_delete_range);
    op->request_delete_range->key = text(key);
    op->request_delete_range->range_end = end;
    return op;
}

static Etcdserverpb__RequestOp *op_range(const char *key)
{
    Etcdserverpb__RequestOp *op = op_new();
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op->request_range = arena_alloc(&rig.arena, sizeof *op->request_range);
    etcdserverpb__range_request__init(op->request_range);
    op->request_range->key = text(key);
    return op;
}

static Etcdserverpb__TxnRequest *txn_new(void)
{
    Etcdserverpb__TxnRequest *t = arena_alloc(&rig.arena, sizeof *t);
    etcdserverpb__txn_request__init(t);
    t->compare = arena_alloc(&rig.arena, 256 * sizeof *t->compare);
    t->success = arena_alloc(&rig.arena, 256 * sizeof *t->success);
    t->failure = arena_alloc(&rig.arena, 256 * sizeof *t->failure);
    return t;
}

static void then(Etcdserverpb__TxnRequest *t, Etcdserverpb__RequestOp *op)
{
    t->success[t->n_success++] = op;
}

static void otherwise(Etcdserverpb__TxnRequest *t, Etcdserverpb__RequestOp *op)
{
    t->failure[t->n_failure++] = op;
}

static Etcdserverpb__Compare *when(Etcdserverpb__TxnRequest *t, const char *key, int target, int result,
                                   int64_t n)
{
    Etcdserverpb__Compare *c = arena_alloc(&rig.arena, sizeof *c);
    etcdserverpb__compare__init(c);
    c->key = text(key);
    c->target = (Etcdserverpb__Compare__CompareTarget)target;
    c->result = (Etcdserverpb__Compare__CompareResult)result;
    c->target_union_case = (Etcdserverpb__Compare__TargetUnionCase)(target + 4);
    if (target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE)
        c->value = text("");
    else
        c->version = n;
    t->compare[t->n_compare++] = c;
    return c;
}

static Etcdserverpb__RequestOp *op_txn(Etcdserverpb__TxnRequest *t)
{
    Etcdserverpb__RequestOp *op = op_new();
    op->request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN;
    op->request_txn = t;
    return op;
}

static int run(const Etcdserverpb__TxnRequest *t, Etcdserverpb__TxnResponse **ret)
{
    store_begin(rig.store, ++rig.index, 1);
    int err = store_txn(rig.store, t, &rig.arena, ret);
    store_end(rig.store);
    return err;
}

static void put(const char *key, const char *value)
{
    store_begin(rig.store, ++rig.index, 1);
    assert_int_equal(store_put(rig.store, op_put(key, value)->request_put, &rig.arena, NULL), 0);
    store_end(rig.store);
}

/* The current value; NULL when there is no such key. */
static const char *value_of(const char *key)
{
    Etcdserverpb__RangeResponse *r;
    assert_int_equal(store_range(rig.store, op_range(key)->request_range, &rig.arena, &r), 0);
    return r->n_kvs ? arena_string(&rig.arena, r->kvs[0]->value.data, r->kvs[0]->value.len) : NULL;
}

#define check(t)         store_check_txn(t, 128)
#define assert_err(a, b) assert_string_equal(err_name(a), err_name(b))

/* --- checks without state ---------------------------------------------------------------------- */

static void test_field_checks(void **state)
{
    (void)state;
    Etcdserverpb__RangeRequest *r = op_range("")->request_range;
    assert_err(store_check_range(r), ERR_KEY_EMPTY);
    r->key = text("a");
    assert_err(store_check_range(r), 0);
    r->sort_order = (Etcdserverpb__RangeRequest__SortOrder)3;
    assert_err(store_check_range(r), ERR_INVALID_SORT_OPTION);
    r->sort_order = (Etcdserverpb__RangeRequest__SortOrder)-1;
    assert_err(store_check_range(r), ERR_INVALID_SORT_OPTION);
    r->sort_order = 0;
    r->sort_target = (Etcdserverpb__RangeRequest__SortTarget)5;
    assert_err(store_check_range(r), ERR_INVALID_SORT_OPTION);

    Etcdserverpb__PutRequest *p = op_put("", "v")->request_put;
    assert_err(store_check_put(p), ERR_KEY_EMPTY);
    p->key = text("a");
    p->ignore_value = true;
    assert_err(store_check_put(p), ERR_VALUE_PROVIDED);
    p->value = text("");
    assert_err(store_check_put(p), 0);
    p->ignore_lease = true;
    p->lease = 1;
    assert_err(store_check_put(p), ERR_LEASE_PROVIDED);
    assert_err(store_check_delete_range(op_delete("", text(""))->request_delete_range), ERR_KEY_EMPTY);

    Etcdserverpb__TxnRequest *t = txn_new();
    then(t, op_new());
    assert_err(check(t), ERR_KEY_NOT_FOUND);
    t = txn_new();
    when(t, "", 0, 0, 0);
    assert_err(check(t), ERR_KEY_EMPTY);
}

static void test_op_limit(void **state)
{
    (void)state;
    Etcdserverpb__TxnRequest *t = txn_new(), *nested = txn_new();
    char keys[128][16];
    for (int i = 0; i < 128; i++) {
        snprintf(keys[i], sizeof keys[i], "%d", i);
        then(t, op_put(keys[i], ""));
    }
    assert_err(check(t), 0);
    when(t, "a", 0, 0, 0);
    assert_err(check(t), 0);
    then(t, op_put("x", ""));
    assert_err(check(t), ERR_TOO_MANY_OPS);
    /* A nested txn has the remaining budget of the outer one. */
    t = txn_new();
    then(t, op_txn(nested));
    for (int i = 0; i < 127; i++)
        then(nested, op_put(keys[i], ""));
    assert_err(check(t), 0);
    then(nested, op_put("x", ""));
    assert_err(check(t), ERR_TOO_MANY_OPS);
}

static void test_duplicates(void **state)
{
    (void)state;
    Etcdserverpb__TxnRequest *t = txn_new(), *a = txn_new(), *b = txn_new();
    then(t, op_put("a", ""));
    otherwise(t, op_put("a", ""));
    assert_err(check(t), 0);
    then(t, op_put("a", ""));
    assert_err(check(t), ERR_DUPLICATE_KEY);

    t = txn_new();
    then(t, op_put("b", ""));
    then(t, op_delete("a", text("b")));
    then(t, op_delete("a", text("b")));
    then(t, op_range("b"));
    assert_err(check(t), 0);
    then(t, op_delete("a", text("b\x01")));
    assert_err(check(t), ERR_DUPLICATE_KEY);

    t = txn_new();
    then(t, op_put("b", ""));
    then(t, op_delete("b", text("")));
    assert_err(check(t), ERR_DUPLICATE_KEY);

    /* etcd's quirk: "all from here" overlaps nothing in this check. */
    t = txn_new();
    then(t, op_put("b", ""));
    then(t, op_delete("a", (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) ""}));
    assert_err(check(t), 0);

    /* Then and else of one nested txn may share a key, two nested txns may not. */
    t = txn_new();
    then(a, op_put("k", ""));
    otherwise(a, op_put("k", ""));
    then(t, op_txn(a));
    assert_err(check(t), 0);
    then(b, op_put("k", ""));
    then(t, op_txn(b));
    assert_err(check(t), ERR_DUPLICATE_KEY);

    /* A delete in a nested txn clashes with what follows it, not with an earlier nested put. */
    t = txn_new();
    b = txn_new();
    then(b, op_delete("k", text("")));
    then(t, op_txn(a));
    then(t, op_txn(b));
    assert_err(check(t), 0);
    t = txn_new();
    then(t, op_txn(b));
    then(t, op_txn(a));
    assert_err(check(t), ERR_DUPLICATE_KEY);
    t = txn_new();
    then(t, op_put("k", ""));
    then(t, op_txn(b));
    assert_err(check(t), ERR_DUPLICATE_KEY);
}

/* The sorted sets of the check against the plain definition, one level. */
static void test_duplicates_random(void **state)
{
    (void)state;
    struct rng rng = {7};
    static const char *const keys[] = {"a", "aa", "ab", "b", "ba", "c", "ca", "d", "e", "f", "g", "h"};
    for (int round = 0; round < 20000; round++) {
        Etcdserverpb__TxnRequest *t = txn_new();
        bool clash = false;
        size_t n = 2 + rng_below(&rng, 6);
        for (size_t i = 0; i < n; i++) {
            const char *key = keys[rng_below(&rng, 12)], *end = keys[rng_below(&rng, 12)];
            if (rng_below(&rng, 2))
                then(t, op_put(key, ""));
            else
                then(t, op_delete(key, text(rng_below(&rng, 2) ? end : "")));
        }
        for (size_t i = 0; i < n; i++) {
            for (size_t k = 0; k < n; k++) {
                Etcdserverpb__RequestOp *x = t->success[i], *y = t->success[k];
                if (i == k || x->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT)
                    continue;
                struct slice key = {x->request_put->key.data, x->request_put->key.len};
                if (y->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT) {
                    clash |=
                        slice_equal(key, (struct slice){y->request_put->key.data, y->request_put->key.len});
                    continue;
                }
                Etcdserverpb__DeleteRangeRequest *d = y->request_delete_range;
                struct slice from = {d->key.data, d->key.len}, to = {d->range_end.data, d->range_end.len};
                clash |= to.size == 0 ? slice_equal(from, key)
                                      : slice_compare(from, key) <= 0 && slice_compare(key, to) < 0;
            }
        }
        assert_err(check(t), clash ? ERR_DUPLICATE_KEY : 0);
        arena_reset(&rig.arena);
    }
}

static void test_properties(void **state)
{
    (void)state;
    Etcdserverpb__TxnRequest *t = txn_new(), *nested = txn_new();
    assert_true(store_txn_is_read_only(t) && store_txn_is_serializable(t)); /* etcd's quirk: no ops at all */
    then(t, op_range("a"));
    assert_true(store_txn_is_read_only(t));
    assert_false(store_txn_is_serializable(t));
    t->success[0]->request_range->serializable = true;
    assert_true(store_txn_is_serializable(t));
    assert_int_equal(store_txn_cost(t), 0);
    then(t, op_txn(nested));
    assert_false(store_txn_is_read_only(t));
    assert_false(store_txn_has_put(t));
    otherwise(nested, op_put("key", "value"));
    assert_true(store_txn_has_put(t));
    assert_int_equal(store_txn_cost(t), 256 + 8);
    otherwise(t, op_put("key", ""));
    assert_int_equal(store_txn_cost(t), 256 + 8);
}

/* --- execution --------------------------------------------------------------------------------- */

enum { VERSION, CREATE, MOD, VALUE, LEASE };
enum { EQUAL, GREATER, LESS, NOT_EQUAL };

static bool holds(const char *key, int target, int result, int64_t n)
{
    Etcdserverpb__TxnRequest *t = txn_new();
    Etcdserverpb__TxnResponse *r;
    when(t, key, target, result, n);
    assert_int_equal(store_txn_read(rig.store, t, &rig.arena, &r), 0);
    return r->succeeded;
}

static void test_compares(void **state)
{
    (void)state;
    put("a", "");
    put("a", "");
    assert_true(holds("a", VERSION, EQUAL, 2) && holds("a", CREATE, EQUAL, 2) && holds("a", MOD, EQUAL, 3));
    assert_true(holds("a", MOD, GREATER, 2) && holds("a", MOD, LESS, 4) && holds("a", MOD, NOT_EQUAL, 4));
    assert_true(holds("a", VALUE, EQUAL, 0));
    /* An absent key reads as zeros, but no value compare is true for it. */
    assert_true(holds("none", VERSION, EQUAL, 0) && holds("none", LEASE, EQUAL, 0) &&
                holds("none", MOD, LESS, 1));
    assert_false(holds("none", VALUE, EQUAL, 0) || holds("none", VALUE, NOT_EQUAL, 0));
}

/* Headers: the outer one complete, those of ops only their revision, a nested txn's empty. */
static void test_revisions_of_ops(void **state)
{
    (void)state;
    put("a", "1");
    Etcdserverpb__TxnRequest *t = txn_new(), *nested = txn_new();
    Etcdserverpb__TxnResponse *r;
    then(nested, op_put("c", "3"));
    then(t, op_range("b"));
    then(t, op_put("b", "2"));
    then(t, op_range("b"));
    then(t, op_txn(nested));
    then(t, op_delete("none", text("")));
    assert_int_equal(run(t, &r), 0);
    assert_int_equal(r->header->revision, 3);
    assert_int_equal(r->responses[0]->response_range->header->revision, 2);
    assert_int_equal(r->responses[0]->response_range->count, 0);
    assert_int_equal(r->responses[1]->response_put->header->revision, 3);
    assert_int_equal(r->responses[2]->response_range->header->revision, 3);
    assert_int_equal(r->responses[2]->response_range->kvs[0]->mod_revision, 3);
    assert_int_equal(r->responses[3]->response_txn->header->revision, 0);
    assert_int_equal(r->responses[3]->response_txn->responses[0]->response_put->header->revision, 3);
    assert_int_equal(r->responses[4]->response_delete_range->header->revision, 3);
    assert_int_equal(store_revision(rig.store), 3);
    /* A txn that changes nothing makes no revision. */
    t = txn_new();
    then(t, op_delete("none", text("")));
    assert_int_equal(run(t, &r), 0);
    assert_int_equal(r->header->revision, 3);
    assert_int_equal(store_revision(rig.store), 3);
}

/* The compares of a nested txn see the state before the whole txn. */
static void test_path_is_fixed_first(void **state)
{
    (void)state;
    Etcdserverpb__TxnRequest *t = txn_new(), *nested = txn_new();
    Etcdserverpb__TxnResponse *r;
    when(nested, "a", VERSION, GREATER, 0);
    then(nested, op_put("b", "seen"));
    otherwise(nested, op_put("b", "not seen"));
    then(t, op_put("a", ""));
    then(t, op_txn(nested));
    assert_int_equal(run(t, &r), 0);
    assert_false(r->responses[1]->response_txn->succeeded);
    assert_string_equal(value_of("b"), "not seen");
}

static void test_error_leaves_nothing(void **state)
{
    (void)state;
    Etcdserverpb__TxnResponse *r;
    Etcdserverpb__TxnRequest *t = txn_new(), *nested = txn_new();
    put("a", "1");
    then(t, op_put("b", "2"));
    then(t, op_put("c", "3"));
    t->success[1]->request_put->lease = 99;
    assert_err(run(t, &r), ERR_LEASE_NOT_FOUND);
    t->success[1] = op_txn(nested);
    then(nested, op_put("none", ""));
    nested->success[0]->request_put->ignore_value = true;
    assert_err(run(t, &r), ERR_KEY_NOT_FOUND);
    nested->success[0] = op_range("a");
    nested->success[0]->request_range->revision = 3; /* would exist after the first put: not before */
    assert_err(run(t, &r), ERR_FUTURE_REV);
    assert_int_equal(store_revision(rig.store), 2);
    assert_null(value_of("b"));
    /* The branch that is not taken is not checked. */
    when(t, "a", VERSION, EQUAL, 7);
    assert_int_equal(run(t, &r), 0);
    assert_false(r->succeeded);
}

/* etcd's process ends in this case; ours must not, and must do the same on every member. */
static void test_ignore_value_after_delete_all(void **state)
{
    (void)state;
    Etcdserverpb__TxnResponse *r;
    Etcdserverpb__TxnRequest *t = txn_new();
    put("k", "old");
    then(t, op_delete("a", (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) ""}));
    then(t, op_put("k", ""));
    t->success[1]->request_put->ignore_value = true;
    assert_err(check(t), 0);
    assert_int_equal(run(t, &r), 0);
    assert_string_equal(value_of("k"), "");
}

static void test_delete_prev_and_counts(void **state)
{
    (void)state;
    Etcdserverpb__DeleteRangeResponse *d;
    put("a", "1");
    put("b", "2");
    Etcdserverpb__DeleteRangeRequest *q = op_delete("a", text("c"))->request_delete_range;
    q->prev_kv = true;
    store_begin(rig.store, ++rig.index, 1);
    assert_int_equal(store_delete_range(rig.store, q, &rig.arena, &d), 0);
    store_end(rig.store);
    assert_int_equal(d->deleted, 2);
    assert_int_equal(d->n_prev_kvs, 2);
    assert_int_equal(d->header->revision, 4);
    assert_memory_equal(d->prev_kvs[1]->value.data, "2", 1);
    store_begin(rig.store, ++rig.index, 1);
    assert_int_equal(store_delete_range(rig.store, q, &rig.arena, &d), 0);
    store_end(rig.store);
    assert_int_equal(d->deleted, 0);
    assert_int_equal(d->header->revision, 4);
}

/* keys_only answers from the index and leaves the lease out, unless sorted by value: etcd 3.7. */
static void test_keys_only_lease(void **state)
{
    (void)state;
    int64_t ttl;
    Etcdserverpb__RangeResponse *r;
    Etcdserverpb__PutRequest *p = op_put("a", "1")->request_put;
    assert_int_equal(lease_grant(rig.leases, 5, 10, 0, &ttl), 0);
    p->lease = 5;
    store_begin(rig.store, ++rig.index, 1);
    assert_int_equal(store_put(rig.store, p, &rig.arena, NULL), 0);
    store_end(rig.store);
    Etcdserverpb__RangeRequest *q = op_range("a")->request_range;
    q->keys_only = true;
    assert_int_equal(store_range(rig.store, q, &rig.arena, &r), 0);
    assert_int_equal(r->kvs[0]->lease, 0);
    assert_int_equal(r->kvs[0]->value.len, 0);
    q->sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__VALUE;
    assert_int_equal(store_range(rig.store, q, &rig.arena, &r), 0);
    assert_int_equal(r->kvs[0]->lease, 5);
    assert_int_equal(r->kvs[0]->value.len, 0);
}

/* The counts of etcd 3.7.1 for the same requests: a request is one operation whatever its keys; a transaction of
 * more than one operation is a txn; the compares and checks of a txn that writes are one of their own. */
struct counts {
    double ranges, puts, deletes, txns, bytes;
};

static struct counts counts_since(struct counts c)
{
    return (struct counts){metric_get(METRIC_RANGES) - c.ranges, metric_get(METRIC_PUTS) - c.puts,
                           metric_get(METRIC_DELETES) - c.deletes, metric_get(METRIC_TXNS) - c.txns,
                           metric_get(METRIC_PUT_BYTES) - c.bytes};
}

static void expect_counts(struct counts *before, struct counts wanted)
{
    struct counts got = counts_since(*before);
    assert_memory_equal(&got, &wanted, sizeof got);
    *before = counts_since((struct counts){0});
}

static void test_operation_counts(void **state)
{
    (void)state;
    struct counts at = counts_since((struct counts){0});
    Etcdserverpb__RangeResponse *range;
    Etcdserverpb__TxnResponse *response;
    Etcdserverpb__PutRequest *put = op_put("a", "12345")->request_put;
    store_begin(rig.store, ++rig.index, 1);
    assert_int_equal(store_put(rig.store, put, &rig.arena, NULL), 0);
    store_end(rig.store);
    expect_counts(&at, (struct counts){0, 1, 0, 0, 6});
    put->prev_kv = true; /* reads and writes: a txn of two operations, also where nobody waits for it */
    store_begin(rig.store, ++rig.index, 1);
    assert_int_equal(store_put(rig.store, put, &rig.arena, NULL), 0);
    store_end(rig.store);
    expect_counts(&at, (struct counts){1, 1, 0, 1, 6});
    put->lease = 99; /* refused */
    store_begin(rig.store, ++rig.index, 1);
    assert_int_equal(store_put(rig.store, put, &rig.arena, NULL), ERR_LEASE_NOT_FOUND);
    store_end(rig.store);
    expect_counts(&at, (struct counts){0});
    assert_int_equal(store_range(rig.store, op_range("a")->request_range, &rig.arena, &range), 0);
    expect_counts(&at, (struct counts){1, 0, 0, 0, 0});
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__RequestOp *ops[] = {op_put("b", "1"), op_range("a"), op_delete("a", text("b"))};
    txn.success = ops;
    txn.n_success = 3;
    store_begin(rig.store, ++rig.index, 1);
    assert_int_equal(store_txn(rig.store, &txn, &rig.arena, &response), 0);
    store_end(rig.store);
    expect_counts(&at, (struct counts){1, 1, 1, 1, 2});
    Etcdserverpb__RequestOp *reads[] = {op_range("a"), op_range("b")};
    txn.success = reads;
    txn.n_success = 2;
    assert_int_equal(store_txn_read(rig.store, &txn, &rig.arena, &response), 0);
    expect_counts(&at, (struct counts){2, 0, 0, 1, 0});
    struct slice keys[] = {slice_text("b"), slice_text("gone")};
    store_begin(rig.store, ++rig.index, 1);
    store_delete_keys(rig.store, keys, 2); /* of a lease: a delete for each */
    store_end(rig.store);
    expect_counts(&at, (struct counts){0, 0, 2, 1, 0});
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_field_checks),
        TEST(test_op_limit),
        TEST(test_duplicates),
        TEST(test_duplicates_random),
        TEST(test_properties),
        TEST(test_compares),
        TEST(test_revisions_of_ops),
        TEST(test_path_is_fixed_first),
        TEST(test_error_leaves_nothing),
        TEST(test_ignore_value_after_delete_all),
        TEST(test_delete_prev_and_counts),
        TEST(test_keys_only_lease),
        TEST(test_operation_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
