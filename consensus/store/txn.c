/* SPDX-License-Identifier: Apache-2.0
 * Transactions, in etcd's three steps:
 * 1. All compares, including those of nested txns, are evaluated on the state before the txn. They determine
 *    the path.
 * 2. The ops on the path are checked on that state. After an error nothing is applied.
 * 3. The ops are executed in order. Each sees the changes of the ones before it. */
#include "consensus/store/state.h"

/* The results of the compares, in the order in which the txns are visited; check.c limits the nesting. */
struct path {
    struct arena *arena;
    bool *results;
    size_t count, capacity, next;
    struct op_counts ops; /* its reads */
};

static void path_add(struct path *p, bool result)
{
    if (p->count == p->capacity) {
        size_t capacity = p->capacity ? p->capacity * 2 : 8;
        bool *more = arena_alloc(p->arena, capacity);
        if (p->count)
            memcpy(more, p->results, p->count);
        p->results = more;
        p->capacity = capacity;
    }
    p->results[p->count++] = result;
}

struct branch {
    Etcdserverpb__RequestOp **ops;
    size_t count;
};

static struct branch branch_of(const Etcdserverpb__TxnRequest *r, bool succeeded)
{
    return succeeded ? (struct branch){r->success, r->n_success} : (struct branch){r->failure, r->n_failure};
}

/* --- compares ---------------------------------------------------------------------------------- */

static int compare_int(int64_t a, int64_t b)
{
    return (a > b) - (a < b);
}

static bool compare_holds(const Etcdserverpb__Compare *c, const struct record *kv, int64_t mod)
{
    int result = 0;
    Etcdserverpb__Compare__TargetUnionCase given = c->target_union_case;
    switch ((int)c->target) {
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE: {
        bool has_value = given == ETCDSERVERPB__COMPARE__TARGET_UNION_VALUE;
        result = slice_compare(kv->value, has_value ? store_slice(c->value) : (struct slice){0});
        break;
    }
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__CREATE:
        result = compare_int(kv->create_revision, given == ETCDSERVERPB__COMPARE__TARGET_UNION_CREATE_REVISION
                                                      ? c->create_revision
                                                      : 0);
        break;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__MOD:
        result =
            compare_int(mod, given == ETCDSERVERPB__COMPARE__TARGET_UNION_MOD_REVISION ? c->mod_revision : 0);
        break;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__VERSION:
        result =
            compare_int(kv->version, given == ETCDSERVERPB__COMPARE__TARGET_UNION_VERSION ? c->version : 0);
        break;
    case ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE:
        result = compare_int(kv->lease, given == ETCDSERVERPB__COMPARE__TARGET_UNION_LEASE ? c->lease : 0);
        break;
    default:
        break;
    }
    switch ((int)c->result) {
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__EQUAL:
        return result == 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__NOT_EQUAL:
        return result != 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__GREATER:
        return result > 0;
    case ETCDSERVERPB__COMPARE__COMPARE_RESULT__LESS:
        return result < 0;
    default:
        return true;
    }
}

/* Most compares use numbers that the index has: then no record is read. */
static int compare_fetch(struct store *s, const Etcdserverpb__Compare *c, const struct index_entry *e,
                         struct revision revision, struct record *ret_record)
{
    bool is_latest = revision_compare(index_entry_revision(e), revision) == 0;
    bool needs_record = !is_latest || c->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE ||
                        (c->target == ETCDSERVERPB__COMPARE__COMPARE_TARGET__LEASE && e->has_lease);
    if (needs_record)
        return store_fetch_one(s, revision, ret_record);
    *ret_record =
        (struct record){.create_revision = index_entry_create(e), .version = index_entry_version(e)};
    return 0;
}

int store_compare_step(struct store *s, const Etcdserverpb__Compare *c, int64_t at, struct compare_walk *w,
                       int64_t *units)
{
    struct key_range range = key_range_of(c->key, c->range_end);
    if (w->position.size)
        range.key = buf_slice(&w->position);
    struct range_cursor cursor = range_open(s, &range);
    for (struct index_entry *e; (e = range_next(&cursor));) {
        struct revision revision;
        struct record record;
        *units -= STORE_VISIT_COST;
        if (index_get(e, at, &revision)) {
            int err = compare_fetch(s, c, e, revision, &record);
            if (err)
                return err;
            w->any = true;
            w->is_done = !compare_holds(c, &record, revision.main);
            *units -= record.key.size ? STORE_READ_COST : 0;
            if (w->is_done)
                return 0;
        }
        if (*units <= 0 && !range.is_one) {
            store_position_after(&w->position, e);
            return 0;
        }
    }
    w->is_done = true;
    w->holds = w->any || (c->target != ETCDSERVERPB__COMPARE__COMPARE_TARGET__VALUE &&
                          compare_holds(c, &(struct record){0}, 0));
    return 0;
}

/* All keys of the range must match. If the range has no key, numbers compare as 0, and a compare of a value
 * does not match, not even NOT_EQUAL. */
static int compare_run(struct store *s, const Etcdserverpb__Compare *c, bool *ret_holds)
{
    struct compare_walk walk = {0};
    int64_t units = INT64_MAX;
    int err = store_compare_step(s, c, store_view_revision(s), &walk, &units);
    *ret_holds = walk.holds;
    return err;
}

static int find_path(struct store *s, const Etcdserverpb__TxnRequest *r, struct path *p)
{
    bool holds = true;
    for (size_t i = 0; i < r->n_compare && holds; i++) {
        p->ops.ranges++;
        int err = compare_run(s, r->compare[i], &holds);
        if (err)
            return err;
    }
    path_add(p, holds);
    struct branch b = branch_of(r, holds);
    for (size_t i = 0; i < b.count; i++) {
        if (b.ops[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            continue;
        int err = find_path(s, b.ops[i]->request_txn, p);
        if (err)
            return err;
    }
    return 0;
}

/* --- checks ------------------------------------------------------------------------------------ */

/* Unlike in a plain range, a negative revision is a compacted one here, if anything was compacted or it is
 * below -1. */
int store_txn_check_range(const struct store *s, const Etcdserverpb__RangeRequest *r)
{
    if (r->revision == 0)
        return 0;
    if (r->revision > s->revision)
        return ERR_FUTURE_REV;
    return r->revision < s->compact_revision ? ERR_COMPACTED : 0;
}

static int check_path(struct store *s, const Etcdserverpb__TxnRequest *r, struct path *p)
{
    struct branch b = branch_of(r, p->results[p->next++]);
    int err = 0;
    for (size_t i = 0; i < b.count && !err; i++) {
        const Etcdserverpb__RequestOp *op = b.ops[i];
        switch ((int)op->request_case) {
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
            err = store_txn_check_range(s, op->request_range);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
            p->ops.ranges += store_put_reads(op->request_put);
            err = store_put_check(s, op->request_put);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
            err = check_path(s, op->request_txn, p);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        case ETCDSERVERPB__REQUEST_OP__REQUEST__NOT_SET:
        default:
            break;
        }
    }
    return err;
}

/* --- execution --------------------------------------------------------------------------------- */

static Etcdserverpb__TxnResponse *response_new(struct arena *a, bool succeeded, size_t count)
{
    Etcdserverpb__TxnResponse *response = arena_alloc(a, sizeof *response);
    etcdserverpb__txn_response__init(response);
    response->header = store_header(a, 0);
    response->succeeded = succeeded;
    response->n_responses = count;
    response->responses = arena_alloc(a, count * sizeof *response->responses);
    for (size_t i = 0; i < count; i++) {
        response->responses[i] = arena_alloc(a, sizeof **response->responses);
        etcdserverpb__response_op__init(response->responses[i]);
    }
    return response;
}

static int run_path(struct store *s, const Etcdserverpb__TxnRequest *r, struct path *p, struct arena *a,
                    Etcdserverpb__TxnResponse **ret_response);

static int run_op(struct store *s, const Etcdserverpb__RequestOp *op, struct path *p, struct arena *a,
                  Etcdserverpb__ResponseOp *answer)
{
    switch ((int)op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        if (!answer)
            return 0;
        answer->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
        p->ops.ranges++;
        return store_range_run(s, op->request_range, a, &answer->response_range);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        if (answer)
            answer->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_PUT;
        return store_put_run(s, op->request_put, a, answer ? &answer->response_put : NULL);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        if (answer)
            answer->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_DELETE_RANGE;
        return store_delete_run(s, op->request_delete_range, a,
                                answer ? &answer->response_delete_range : NULL);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
        if (answer)
            answer->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_TXN;
        return run_path(s, op->request_txn, p, a, answer ? &answer->response_txn : NULL);
    case ETCDSERVERPB__REQUEST_OP__REQUEST__NOT_SET:
    default:
        return 0;
    }
}

static int run_path(struct store *s, const Etcdserverpb__TxnRequest *r, struct path *p, struct arena *a,
                    Etcdserverpb__TxnResponse **ret_response)
{
    bool succeeded = p->results[p->next++];
    struct branch b = branch_of(r, succeeded);
    Etcdserverpb__TxnResponse *response = ret_response ? response_new(a, succeeded, b.count) : NULL;
    for (size_t i = 0; i < b.count; i++) {
        int err = run_op(s, b.ops[i], p, a, response ? response->responses[i] : NULL);
        if (err)
            return err;
    }
    if (ret_response)
        *ret_response = response;
    return 0;
}

static int txn_run(struct store *s, const Etcdserverpb__TxnRequest *request, struct arena *a,
                   Etcdserverpb__TxnResponse **ret_response)
{
    struct path path = {.arena = a};
    int err = find_path(s, request, &path);
    if (!err)
        err = check_path(s, request, &path);
    if (s->in_entry || err) /* a write's compares are a transaction of their own, which only reads */
        op_counts_end(&path.ops);
    if (err)
        return err;
    path.next = 0;
    err = run_path(s, request, &path, a, ret_response);
    if (s->in_entry)
        s->ops.ranges += path.ops.ranges;
    else
        op_counts_end(&path.ops);
    /* After the checks only the backend can fail, and that is final: a txn must not be half applied. */
    if (err)
        store_fail(s, err);
    else if (ret_response)
        (*ret_response)->header->revision = store_view_revision(s);
    return err;
}

int store_txn(struct store *s, const Etcdserverpb__TxnRequest *request, struct arena *a,
              Etcdserverpb__TxnResponse **ret_response)
{
    assert(s->in_entry && s->sub == 0);
    int err = txn_run(s, request, a, ret_response);
    store_change_end(s);
    return err;
}

int store_txn_read(struct store *s, const Etcdserverpb__TxnRequest *request, struct arena *a,
                   Etcdserverpb__TxnResponse **ret_response)
{
    if (!store_txn_is_read_only(request))
        return ERR_INVALID;
    return txn_run(s, request, a, ret_response);
}
