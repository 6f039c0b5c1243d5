/* SPDX-License-Identifier: Apache-2.0
 * Long transactions, deletions, and the keys of a lease, in parts. The result is that of txn.c and write.c:
 * the compares of all nested txns determine the path, the ops on it are checked, then they are executed in
 * order.
 *
 * - A write happens within one open entry. Nothing else changes the index between two steps, so a place in
 *   the tree is valid until the next op.
 * - A read is pinned at a revision and finds its place by key.
 * - Answers are written as bytes at once: the store's bytes that they point to do not live until the next
 *   step. */
#include "base/merge_sort.h"
#include "base/mutant.h"
#include "consensus/store/answer.h"
#include "consensus/store/lease.h"
#include "consensus/store/state.h"

#define READS_UNSEEN 4 /* ranges of a txn whose values may all have the largest size */
#define GATHER_KEYS  512

/* Fields of rpc.proto: TxnResponse.responses, and the fields of a ResponseOp. */
enum { FIELD_RESPONSES = 3, FIELD_RANGE = 1, FIELD_PUT = 2, FIELD_DELETE = 3, FIELD_TXN = 4 };

enum phase { PATH, CHECK, RUN, DELETE_RANGE, LEASE_GATHER, LEASE_SORT, LEASE_DELETE, DONE };

/* A txn whose path is being determined. */
struct frame {
    const Etcdserverpb__TxnRequest *txn;
    size_t compare, next; /* index of the compares; of the branch */
    bool holds, is_chosen;
    struct frame *outer;
};

/* The path, in order: the begin of a txn, its ops, its end. */
struct step {
    enum { STEP_BEGIN, STEP_OP, STEP_END } kind;
    bool succeeded;
    const Etcdserverpb__RequestOp *op;
};

struct store_work {
    struct store *s;
    enum phase phase;
    bool is_reading, succeeded;
    struct op_counts ops; /* its reads */
    int64_t at;           /* the revision before the entry */
    struct answer answer;
    struct arena arena, scratch; /* frames; the answer of one op */

    const Etcdserverpb__TxnRequest *txn;
    struct frame *frame;
    struct compare_walk compare;
    struct step *steps;
    size_t count, capacity, next;
    struct store_walk *walk; /* of the present range */
    size_t places[2 * 128];  /* where nested answers began */
    size_t depth;

    const Etcdserverpb__DeleteRangeRequest *delete; /* the present one */
    struct key_range range;
    struct range_cursor cursor;
    int64_t deleted;

    int64_t lease;
    void *key_position;
    struct merge_sort keys;
    size_t key_capacity;
};

/* --- costs ------------------------------------------------------------------------------------ */

struct cost {
    struct store *s;
    bool is_awaited;
    size_t reads;
    int64_t left;
};

static void charge_range(struct cost *c, ProtobufCBinaryData key, ProtobufCBinaryData range_end,
                         int64_t per_key)
{
    struct key_range range = key_range_of(key, range_end);
    struct range_cursor cursor = range_open(c->s, &range);
    c->left -= STORE_VISIT_COST;
    while (c->left > 0 && range_next(&cursor))
        c->left -= per_key;
}

/* Values are sent, and only their records have their sizes. */
static void charge_values(struct cost *c, ProtobufCBinaryData key, ProtobufCBinaryData range_end)
{
    struct key_range range = key_range_of(key, range_end);
    struct range_cursor cursor = range_open(c->s, &range);
    struct record record;
    for (struct index_entry *e; c->left > 0 && (e = range_next(&cursor));) {
        c->left -= STORE_READ_COST;
        if (!e->is_deleted && store_fetch(c->s, index_entry_revision(e), &record) == 0)
            c->left -= (int64_t)(record.value.size / STORE_BYTES_PER_UNIT);
    }
}

static void charge_ops(struct cost *c, Etcdserverpb__RequestOp *const *ops, size_t count);

static void charge_txn(struct cost *c, const Etcdserverpb__TxnRequest *r)
{
    for (size_t i = 0; i < r->n_compare && c->left > 0; i++)
        charge_range(c, r->compare[i]->key, r->compare[i]->range_end, STORE_READ_COST);
    charge_ops(c, r->success, r->n_success);
    charge_ops(c, r->failure, r->n_failure);
}

static void charge_read(struct cost *c, const Etcdserverpb__RangeRequest *r)
{
    if (!c->is_awaited)
        return;
    if (r->count_only)
        charge_range(c, r->key, r->range_end, STORE_VISIT_COST);
    else if (r->range_end.len == 0 && ++c->reads <= READS_UNSEEN)
        c->left -= STORE_READ_COST;
    else
        charge_values(c, r->key, r->range_end);
}

static void charge_ops(struct cost *c, Etcdserverpb__RequestOp *const *ops, size_t count)
{
    for (size_t i = 0; i < count && c->left > 0; i++) {
        switch ((int)ops[i]->request_case) {
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
            charge_read(c, ops[i]->request_range);
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
            c->left -= STORE_WRITE_COST;
            break;
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE: {
            const Etcdserverpb__DeleteRangeRequest *d = ops[i]->request_delete_range;
            charge_range(c, d->key, d->range_end, STORE_WRITE_COST);
            if (d->prev_kv && c->is_awaited)
                charge_values(c, d->key, d->range_end);
            break;
        }
        case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN:
            charge_txn(c, ops[i]->request_txn);
            break;
        default:
            break;
        }
    }
}

bool store_txn_is_long(struct store *s, const Etcdserverpb__TxnRequest *request, bool is_awaited)
{
    struct cost c = {.s = s, .is_awaited = is_awaited, .left = s->options.long_units};
    charge_txn(&c, request);
    return c.left <= 0;
}

bool store_delete_is_long(struct store *s, const Etcdserverpb__DeleteRangeRequest *request)
{
    struct cost c = {.s = s, .left = s->options.long_units};
    charge_range(&c, request->key, request->range_end, STORE_WRITE_COST);
    if (request->prev_kv)
        charge_values(&c, request->key, request->range_end);
    return c.left <= 0;
}

bool store_lease_is_long(const struct store *s, int64_t id)
{
    return (int64_t)lease_key_count(s->leases, id) * STORE_WRITE_COST > s->options.long_units;
}

/* --- init and free ------------------------------------------------------------------------------ */

static struct store_work *work_new(struct store *s, enum phase phase, struct buf *out)
{
    struct store_work *w = mem_new(sizeof *w);
    w->s = s;
    w->phase = phase;
    w->at = store_view_revision(s);
    w->answer.out = out;
    return w;
}

static void push_frame(struct store_work *w, const Etcdserverpb__TxnRequest *txn)
{
    struct frame *f = arena_new(&w->arena, sizeof *f);
    f->txn = txn;
    f->holds = true;
    f->outer = w->frame;
    w->frame = f;
}

struct store_work *store_work_txn(struct store *s, const Etcdserverpb__TxnRequest *request, struct buf *out)
{
    assert(s->in_entry && s->sub == 0);
    struct store_work *w = work_new(s, PATH, out);
    w->txn = request;
    push_frame(w, request);
    return w;
}

struct store_work *store_work_read(struct store *s, const Etcdserverpb__TxnRequest *request, struct buf *out)
{
    assert(!s->in_entry && store_txn_is_read_only(request));
    struct store_work *w = work_new(s, PATH, out);
    w->txn = request;
    w->is_reading = true;
    push_frame(w, request);
    return w;
}

static void begin_delete(struct store_work *w, const Etcdserverpb__DeleteRangeRequest *request)
{
    w->delete = request;
    w->range = key_range_of(request->key, request->range_end);
    w->cursor = range_open(w->s, &w->range);
    w->deleted = 0;
    w->s->ops.deletes++;
    w->s->ops.ranges += request->prev_kv;
}

struct store_work *store_work_delete(struct store *s, const Etcdserverpb__DeleteRangeRequest *request,
                                     struct buf *out)
{
    assert(s->in_entry && s->sub == 0);
    struct store_work *w = work_new(s, DELETE_RANGE, out);
    begin_delete(w, request);
    return w;
}

struct store_work *store_work_lease(struct store *s, int64_t id)
{
    assert(s->in_entry && s->sub == 0);
    struct store_work *w = work_new(s, LEASE_GATHER, NULL);
    w->lease = id;
    return w;
}

void store_work_free(struct store_work *w)
{
    if (!w)
        return;
    buf_done(&w->compare.position);
    store_walk_free(w->walk);
    merge_sort_done(&w->keys);
    arena_done(&w->arena);
    arena_done(&w->scratch);
    mem_free(w->steps);
    mem_free(w);
}

void store_work_forget_answer(struct store_work *w)
{
    w->answer.out = NULL;
}

bool store_work_is_compacted(const struct store_work *w)
{
    return w->at < w->s->compact_revision;
}

void store_work_result(const struct store_work *w, Etcdserverpb__TxnResponse *ret_txn,
                       Etcdserverpb__DeleteRangeResponse *ret_delete, int64_t *ret_revision)
{
    etcdserverpb__txn_response__init(ret_txn);
    etcdserverpb__delete_range_response__init(ret_delete);
    ret_txn->succeeded = w->succeeded;
    ret_delete->deleted = w->deleted;
    *ret_revision = w->is_reading ? w->at : w->s->revision;
}

/* --- the path ------------------------------------------------------------------------------------ */

static void add_step(struct store_work *w, struct step step)
{
    if (w->count == w->capacity) {
        w->capacity = w->capacity ? w->capacity * 2 : 64;
        w->steps = mem_resize(w->steps, w->capacity * sizeof *w->steps);
    }
    w->steps[w->count++] = step;
}

static int compare_step(struct store_work *w, struct frame *f, int64_t *units)
{
    int err = store_compare_step(w->s, f->txn->compare[f->compare], w->at, &w->compare, units);
    if (err || !w->compare.is_done)
        return err;
    f->holds = w->compare.holds;
    f->compare++;
    w->ops.ranges++;
    buf_done(&w->compare.position);
    w->compare = (struct compare_walk){0};
    return 0;
}

static int path_step(struct store_work *w, int64_t *units)
{
    struct frame *f = w->frame;
    *units -= STORE_VISIT_COST;
    if (!f->is_chosen && f->holds && f->compare < f->txn->n_compare)
        return compare_step(w, f, units);
    if (!f->is_chosen) {
        f->is_chosen = true;
        add_step(w, (struct step){.kind = STEP_BEGIN, .succeeded = f->holds});
    }
    if (f->next < (f->holds ? f->txn->n_success : f->txn->n_failure)) {
        const Etcdserverpb__RequestOp *op = (f->holds ? f->txn->success : f->txn->failure)[f->next++];
        if (op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_TXN)
            push_frame(w, op->request_txn);
        else
            add_step(w, (struct step){.kind = STEP_OP, .op = op});
        return 0;
    }
    add_step(w, (struct step){.kind = STEP_END});
    w->frame = f->outer;
    if (!w->frame)
        w->phase = CHECK;
    return 0;
}

static int check_step(struct store_work *w, int64_t *units)
{
    if (w->next == w->count) {
        w->next = 0;
        w->phase = RUN;
        if (!w->is_reading) /* a write's compares are a transaction of their own */
            op_counts_end(&w->ops);
        return 0;
    }
    const struct step *step = &w->steps[w->next++];
    *units -= STORE_VISIT_COST;
    if (step->kind != STEP_OP)
        return 0;
    if (step->op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE)
        return store_txn_check_range(w->s, step->op->request_range);
    if (step->op->request_case == ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT) {
        w->ops.ranges += store_put_reads(step->op->request_put);
        return store_put_check(w->s, step->op->request_put);
    }
    return 0;
}

/* --- execution ----------------------------------------------------------------------------------- */

/* Opens a ResponseOp and the response in it. */
static void open_answer(struct store_work *w, unsigned field)
{
    assert(w->depth + 2 <= sizeof w->places / sizeof *w->places);
    w->places[w->depth++] = answer_open(&w->answer, FIELD_RESPONSES);
    w->places[w->depth++] = answer_open(&w->answer, field);
}

static void close_answer(struct store_work *w)
{
    answer_close(&w->answer, w->places[--w->depth]);
    answer_close(&w->answer, w->places[--w->depth]);
}

static void begin_txn(struct store_work *w, bool succeeded)
{
    if (w->next == 0) {
        w->succeeded = succeeded;
        return;
    }
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    Etcdserverpb__TxnResponse response = ETCDSERVERPB__TXN_RESPONSE__INIT;
    response.header = &header;
    response.succeeded = succeeded;
    open_answer(w, FIELD_TXN);
    answer_add(&w->answer, &response.base);
}

/* The ops. True: the present one has ended. */
static int range_op(struct store_work *w, const Etcdserverpb__RangeRequest *request, int64_t *units,
                    bool *ret_is_done)
{
    Etcdserverpb__RangeResponse *part;
    *ret_is_done = !answer_is_wanted(&w->answer) && !w->walk;
    if (*ret_is_done)
        return 0;
    if (!w->walk) {
        w->walk = store_walk_new_at(w->s, request, w->is_reading ? w->at : store_view_revision(w->s));
        open_answer(w, FIELD_RANGE);
        w->ops.ranges++;
    }
    int err = store_walk_step_units(w->walk, &w->scratch, units, &part, ret_is_done);
    if (err)
        return err;
    answer_add(&w->answer, &part->base);
    *ret_is_done = *ret_is_done || w->answer.is_too_large;
    if (*ret_is_done) {
        close_answer(w);
        store_walk_free(w->walk);
        w->walk = NULL;
    }
    return 0;
}

static int put_op(struct store_work *w, const Etcdserverpb__PutRequest *request, int64_t *units)
{
    Etcdserverpb__PutResponse *response;
    bool is_wanted = answer_is_wanted(&w->answer);
    *units -= STORE_WRITE_COST + (int64_t)(request->value.len / STORE_BYTES_PER_UNIT);
    int err = store_put_run(w->s, request, &w->scratch, is_wanted ? &response : NULL);
    if (err || !is_wanted)
        return err;
    if (response->prev_kv)
        *units -= (int64_t)(response->prev_kv->value.len / STORE_BYTES_PER_UNIT);
    open_answer(w, FIELD_PUT);
    answer_add(&w->answer, &response->base);
    close_answer(w);
    return 0;
}

static int add_previous(struct store_work *w, const struct index_entry *e, int64_t *units)
{
    struct record old;
    Mvccpb__KeyValue kv, *kvs[] = {&kv};
    Etcdserverpb__DeleteRangeResponse response = ETCDSERVERPB__DELETE_RANGE_RESPONSE__INIT;
    int err = store_fetch(w->s, index_entry_revision(e), &old);
    if (err)
        return err;
    store_fill_kv(&kv, index_entry_revision(e).main, &old);
    response.prev_kvs = kvs;
    response.n_prev_kvs = 1;
    answer_add(&w->answer, &response.base);
    *units -= STORE_READ_COST + (int64_t)(old.value.size / STORE_BYTES_PER_UNIT);
    return 0;
}

/* The shape of the tree does not change: a sweep removes the entry of a deleted key, and it waits for the end
 * of the log entry. */
static int delete_some(struct store_work *w, int64_t *units, bool *ret_is_done)
{
    *ret_is_done = false;
    while (*units > 0) {
        struct index_entry *e = range_next(&w->cursor);
        if (!e) {
            *ret_is_done = true;
            return 0;
        }
        *units -= STORE_VISIT_COST;
        if (e->is_deleted)
            continue;
        int err = w->delete->prev_kv && answer_is_wanted(&w->answer) ? add_previous(w, e, units) : 0;
        if (err)
            return err;
        store_write_delete(w->s, e, true);
        w->deleted++;
        *units -= STORE_WRITE_COST;
    }
    return 0;
}

static int delete_op(struct store_work *w, const Etcdserverpb__DeleteRangeRequest *request, int64_t *units,
                     bool *ret_is_done)
{
    if (!w->delete) {
        begin_delete(w, request);
        open_answer(w, FIELD_DELETE);
    }
    int err = delete_some(w, units, ret_is_done);
    if (err || !*ret_is_done)
        return err;
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    Etcdserverpb__DeleteRangeResponse response = ETCDSERVERPB__DELETE_RANGE_RESPONSE__INIT;
    header.revision = store_view_revision(w->s);
    response.header = &header;
    response.deleted = w->deleted;
    answer_add(&w->answer, &response.base);
    close_answer(w);
    w->delete = NULL;
    return 0;
}

static int run_op(struct store_work *w, const Etcdserverpb__RequestOp *op, int64_t *units, bool *ret_is_done)
{
    switch ((int)op->request_case) {
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE:
        return range_op(w, op->request_range, units, ret_is_done);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT:
        *ret_is_done = true;
        return put_op(w, op->request_put, units);
    case ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_DELETE_RANGE:
        return delete_op(w, op->request_delete_range, units, ret_is_done);
    default:
        *ret_is_done = true; /* check.c refuses an op without a request */
        return 0;
    }
}

/* After the checks only the backend can fail, and that is final: a txn must not be half applied. A compaction
 * that passes the revision of a read is not such a failure. */
static int run_step(struct store_work *w, int64_t *units)
{
    if (w->next == w->count) {
        w->phase = DONE;
        return 0;
    }
    const struct step *step = &w->steps[w->next];
    bool is_done = true;
    int err = 0;
    arena_reset(&w->scratch);
    if (step->kind == STEP_BEGIN)
        begin_txn(w, step->succeeded);
    else if (step->kind == STEP_OP)
        err = run_op(w, step->op, units, &is_done);
    else if (w->next + 1 < w->count)
        close_answer(w);
    w->next += is_done;
    *units -= STORE_VISIT_COST;
    if (err && !w->is_reading)
        store_fail(w->s, err);
    return err;
}

/* --- a lease's keys ------------------------------------------------------------------------------ */

static int compare_keys(const void *a, const void *b, void *arg)
{
    (void)arg;
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

static void lease_gather(struct store_work *w, int64_t *units)
{
    struct merge_sort *m = &w->keys;
    if (m->count + GATHER_KEYS > w->key_capacity) {
        w->key_capacity = w->key_capacity * 2 + GATHER_KEYS;
        m->items = mem_resize(m->items, w->key_capacity * sizeof(struct slice));
    }
    size_t more = lease_some_keys(w->s->leases, w->lease, &w->key_position,
                                  (struct slice *)(void *)m->items + m->count, GATHER_KEYS);
    m->count += more;
    *units -= (int64_t)more + STORE_VISIT_COST;
    if (more == GATHER_KEYS)
        return;
    m->size = sizeof(struct slice);
    m->compare = compare_keys;
    w->phase = LEASE_SORT;
}

static void lease_delete(struct store_work *w, int64_t *units)
{
    const struct slice *keys = (const struct slice *)(const void *)w->keys.items;
    for (; *units > 0 && w->next < w->keys.count; w->next++) {
        struct index_entry *e = index_find(&w->s->index, keys[w->next]);
        if (e && !e->is_deleted)
            store_write_delete(w->s, e, false);
        lease_detach(w->s->leases, w->lease, keys[w->next]);
        *units -= STORE_WRITE_COST;
    }
    if (w->next == w->keys.count) {
        w->s->ops.deletes = (uint32_t)w->keys.count;
        w->phase = DONE;
    }
}

/* --- steps --------------------------------------------------------------------------------------- */

static int work_some(struct store_work *w, int64_t *units)
{
    bool is_done = false;
    int err = 0;
    switch (w->phase) {
    case PATH:
        return path_step(w, units);
    case CHECK:
        return check_step(w, units);
    case RUN:
        return run_step(w, units);
    case DELETE_RANGE:
        err = delete_some(w, units, &is_done);
        if (err)
            store_fail(w->s, err);
        if (is_done)
            w->phase = DONE;
        return err;
    case LEASE_GATHER:
        lease_gather(w, units);
        return 0;
    case LEASE_SORT:
        if (merge_sort_step(&w->keys, units))
            w->phase = LEASE_DELETE;
        return 0;
    case LEASE_DELETE:
        lease_delete(w, units);
        return 0;
    case DONE:
        break;
    }
    return 0;
}

int store_work_step(struct store_work *w, int64_t units, bool *ret_is_last)
{
    int err = w->is_reading && w->at < w->s->compact_revision ? ERR_COMPACTED : 0;
    arena_reset(&w->scratch);
    while (!err && units > 0 && w->phase != DONE)
        err = work_some(w, &units);
    *ret_is_last = err || w->phase == DONE;
    if (!w->is_reading && *ret_is_last) {
        w->s->ops.ranges += w->ops.ranges;
        w->ops = (struct op_counts){0};
        store_change_end(w->s);
    }
    if (w->is_reading && *ret_is_last)
        op_counts_end(&w->ops);
    if (!err && w->phase == DONE && w->answer.is_too_large)
        err = ERR_LIMIT;
    if (err && w->is_reading)
        w->phase = DONE;
    return err;
}
