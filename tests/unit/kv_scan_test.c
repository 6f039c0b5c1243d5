/* SPDX-License-Identifier: Apache-2.0
 * Reads in slices, over walks that take as many steps as the test says: the parts of the answer, how many run
 * at once, and what happens when a compaction or another store takes the data away. */
#define KV_PARTS_REAL_SCAN
#include "kv_parts.h"

enum { RUNNING_MAX = 4, RESTARTS_MAX = 3, REVISION = 9, LEASE = 70 };

/* --- the store: one walk for each read ----------------------------------------------------------------------- */

static struct {
    unsigned left;        /* steps of each walk that begins */
    int err;              /* of the next step; then OK again */
    int begin_err;        /* of store_hash_walk_new */
    bool is_empty;        /* parts without rows */
    bool is_compacted;    /* store_work_is_compacted */
    unsigned open, begun; /* walks */
    unsigned whole;       /* ranges in one piece */
    int64_t units;        /* of the last step */
    unsigned resumed;     /* kv_resume_scan */
    bool must_wait;       /* a scan of a lease's keys waits for a revision */
    unsigned readied;     /* kv_add_ready */
    struct buf *out;      /* of a transaction */
} fake;

/* A stand-in for a walk of any kind. */
struct walk {
    unsigned left;
};

static void *new_walk(void)
{
    struct walk *w = mem_new(sizeof *w);
    w->left = fake.left;
    fake.open++;
    fake.begun++;
    return w;
}

static void free_walk(void *w)
{
    fake.open -= w != NULL;
    mem_free(w);
}

void kv_add_ready(struct kv *kv, struct kv_request *r)
{
    (void)kv;
    (void)r;
    fake.readied++;
}

struct kv_lease_scan *kv_lease_scan_here(int64_t revision, int64_t ttl_s, int64_t granted_s)
{
    (void)revision;
    (void)ttl_s;
    (void)granted_s;
    return new_walk();
}

bool kv_lease_scan_must_wait(const struct kv *kv, const struct kv_lease_scan *l)
{
    (void)kv;
    (void)l;
    return fake.must_wait;
}

static int step(void *walk, bool *ret_is_last)
{
    struct walk *w = walk;
    int err = fake.err;
    fake.err = OK;
    if (err)
        return err;
    assert_true(w->left > 0);
    *ret_is_last = --w->left == 0;
    return OK;
}

struct store_walk *store_walk_new(struct store *s, const Etcdserverpb__RangeRequest *request,
                                  int64_t step_units)
{
    (void)s;
    (void)request;
    fake.units = step_units;
    return new_walk();
}

int64_t kv_slice_units(const struct kv *kv, int64_t units)
{
    (void)kv;
    return units / 2;
}

int store_walk_step_units(struct store_walk *w, struct arena *a, int64_t *units,
                          Etcdserverpb__RangeResponse **ret_part, bool *ret_is_last)
{
    assert_int_equal(*units, fake.units / 2);
    bool is_first = ((struct walk *)(void *)w)->left == fake.left;
    static Mvccpb__KeyValue kv, *kvs[] = {&kv};
    mvccpb__key_value__init(&kv);
    *ret_part = arena_new(a, sizeof **ret_part);
    etcdserverpb__range_response__init(*ret_part);
    if (is_first && !fake.is_empty) {
        (*ret_part)->header = arena_new(a, sizeof *(*ret_part)->header);
        etcdserverpb__response_header__init((*ret_part)->header);
        (*ret_part)->header->revision = REVISION;
    }
    (*ret_part)->kvs = kvs;
    (*ret_part)->n_kvs = !fake.is_empty;
    return step(w, ret_is_last);
}

void store_walk_free(struct store_walk *w)
{
    free_walk(w);
}

int store_range(struct store *s, const Etcdserverpb__RangeRequest *request, struct arena *a,
                Etcdserverpb__RangeResponse **ret_response)
{
    (void)s;
    (void)request;
    fake.whole++;
    *ret_response = arena_new(a, sizeof **ret_response);
    etcdserverpb__range_response__init(*ret_response);
    (*ret_response)->header = arena_new(a, sizeof *(*ret_response)->header);
    etcdserverpb__response_header__init((*ret_response)->header);
    return OK;
}

int store_hash_walk_new(struct store *s, bool is_everything, int64_t revision,
                        struct store_hash_walk **ret_walk)
{
    (void)s;
    assert_int_equal(revision, is_everything ? 0 : REVISION);
    if (fake.begin_err)
        return fake.begin_err;
    *ret_walk = new_walk();
    return OK;
}

int store_hash_walk_step(struct store_hash_walk *h, int64_t units, bool *ret_is_last)
{
    fake.units = units;
    return step(h, ret_is_last);
}

void store_hash_walk_result(const struct store_hash_walk *h, Etcdserverpb__HashKVResponse *ret_response)
{
    (void)h;
    ret_response->hash = 4711;
}

void store_hash_walk_free(struct store_hash_walk *h)
{
    free_walk(h);
}

struct store_work *store_work_read(struct store *s, const Etcdserverpb__TxnRequest *request, struct buf *out)
{
    (void)s;
    (void)request;
    fake.out = out;
    return new_walk();
}

/* With the last step the answer's bytes are written. */
int store_work_step(struct store_work *w, int64_t units, bool *ret_is_last)
{
    fake.units = units;
    int err = step(w, ret_is_last);
    if (err || !*ret_is_last)
        return err;
    Etcdserverpb__TxnResponse txn = ETCDSERVERPB__TXN_RESPONSE__INIT;
    Etcdserverpb__ResponseOp op = ETCDSERVERPB__RESPONSE_OP__INIT, *ops[] = {&op};
    txn.responses = ops;
    txn.n_responses = 1;
    size_t size = etcdserverpb__txn_response__get_packed_size(&txn);
    etcdserverpb__txn_response__pack(&txn, buf_reserve(fake.out, size));
    fake.out->size += size;
    return OK;
}

void store_work_result(const struct store_work *w, Etcdserverpb__TxnResponse *ret_txn,
                       Etcdserverpb__DeleteRangeResponse *ret_delete, int64_t *ret_revision)
{
    (void)w;
    etcdserverpb__txn_response__init(ret_txn);
    etcdserverpb__delete_range_response__init(ret_delete);
    ret_txn->succeeded = true;
    *ret_revision = REVISION;
}

bool store_work_is_compacted(const struct store_work *w)
{
    (void)w;
    return fake.is_compacted;
}

void store_work_free(struct store_work *w)
{
    free_walk(w);
}

/* --- the other parts ----------------------------------------------------------------------------------------- */

int kv_lease_scan_step(struct kv *kv, struct kv_request *r, struct kv_lease_scan **scan, int64_t units,
                       bool *ret_is_finished)
{
    fake.units = units;
    if (!*scan)
        *scan = new_walk();
    int err = step(*scan, ret_is_finished);
    if (!err && *ret_is_finished)
        kv_finish(kv, r, OK, NULL);
    return err;
}

void kv_lease_scan_free(struct kv_lease_scan *l)
{
    free_walk(l);
}

void kv_park_read(struct kv *kv, struct kv_request *r)
{
    list_remove(&r->link);
    r->state = KV_PARKED;
    list_add_last(&kv->read_index.parked, &r->link);
}

void kv_yield_read(struct kv *kv, struct kv_request *r)
{
    list_remove(&r->link);
    list_add_last(&kv->read_index.ready, &r->link);
}

void kv_resume_scan(struct kv *kv)
{
    (void)kv;
    fake.resumed++;
}

void kv_visit_reads(struct kv *kv, void (*fn)(struct kv_request *r))
{
    LIST_FOR_EACH (l, &kv->read_index.ready)
        fn(container_of(l, struct kv_request, link));
    LIST_FOR_EACH (l, &kv->read_index.parked)
        fn(container_of(l, struct kv_request, link));
}

/* --- callers --------------------------------------------------------------------------------------------------- */

static struct {
    unsigned parts, restarts;
    bool is_full; /* they take no more */
} taken[PARTS_CALLERS];

static bool take_part(struct kv_request *r, const ProtobufCMessage *part)
{
    size_t n = (size_t)(container_of(r, struct caller, request) - parts.callers);
    taken[n].parts += part != NULL;
    taken[n].restarts += part == NULL;
    return !taken[n].is_full;
}

static Etcdserverpb__RangeRequest range;
static Etcdserverpb__HashKVRequest hash_kv;
static Etcdserverpb__HashRequest hash;
static Etcdserverpb__TxnRequest txn;
static Etcdserverpb__LeaseTimeToLiveRequest lease;

static struct kv *start(void)
{
    if (parts.kv.read_index.ready.next)
        for (unsigned n = 0; n < PARTS_CALLERS; n++)
            kv_scan_drop(&parts.kv, parts_request(n));
    assert_int_equal(fake.open, 0); /* of the test before */
    struct kv *kv = parts_start();
    memset(&fake, 0, sizeof fake);
    memset(taken, 0, sizeof taken);
    fake.left = 3;
    parts.revision = REVISION;
    list_init(&kv->read_index.ready);
    list_init(&kv->read_index.parked);
    etcdserverpb__range_request__init(&range);
    etcdserverpb__hash_kvrequest__init(&hash_kv);
    etcdserverpb__hash_request__init(&hash);
    etcdserverpb__txn_request__init(&txn);
    etcdserverpb__lease_time_to_live_request__init(&lease);
    hash_kv.revision = REVISION;
    return kv;
}

static void begin(struct kv *kv, unsigned n, enum kv_kind kind, const ProtobufCMessage *m)
{
    struct kv_request *r = parts_request(n);
    r->kind = kind;
    r->message = m;
    r->on_part = take_part;
    r->state = KV_READY;
    list_add_last(&kv->read_index.ready, &r->link);
    kv_scan_start(kv, r);
}

static void run(struct kv *kv, unsigned n)
{
    assert_waits(n, KV_READY);
    kv_scan_run(kv, parts_request(n));
}

/* --- ranges ----------------------------------------------------------------------------------------------------- */

/* The header comes with the first part, the last part is the answer. */
static void test_range(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, 0, KV_RANGE, &range.base);
    assert_int_equal(taken[0].parts, 1);
    run(kv, 0);
    assert_int_equal(taken[0].parts, 2);
    run(kv, 0);
    assert_answered(0, OK);
    assert_int_equal(taken[0].parts, 2);
    assert_int_equal(((Etcdserverpb__RangeResponse *)parts.callers[0].response)->n_kvs, 1);
    assert_int_equal(kv->scans.count, 0);
    assert_int_equal(fake.open, 0);
    assert_int_equal(fake.resumed, 1);
}

static void test_parts_that_are_not_taken(void **state)
{
    (void)state;
    struct kv *kv = start();
    fake.is_empty = true; /* a slice that found nothing is no part */
    begin(kv, 0, KV_RANGE, &range.base);
    assert_int_equal(taken[0].parts, 0);
    fake.is_empty = false;
    taken[0].is_full = true;
    run(kv, 0);
    assert_answered(0, ERR_LIMIT);
    assert_int_equal(fake.open + kv->scans.count, 0);
}

/* A compaction passes the revision: the client gets all anew, and in one piece when that happens again and
 * again. */
static void test_compacted_range(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, 0, KV_RANGE, &range.base);
    for (unsigned i = 1; i < RESTARTS_MAX; i++) {
        fake.err = ERR_COMPACTED;
        run(kv, 0);
        assert_int_equal(taken[0].restarts, i);
        run(kv, 0);
        assert_int_equal(fake.begun, i + 1);
    }
    fake.err = ERR_COMPACTED;
    run(kv, 0);
    assert_answered(0, OK);
    assert_int_equal(fake.whole, 1);
    assert_int_equal(taken[0].restarts, RESTARTS_MAX);
}

static void test_compacted_range_of_a_revision(void **state)
{
    (void)state;
    struct kv *kv = start();
    range.revision = 5;
    begin(kv, 0, KV_RANGE, &range.base);
    fake.err = ERR_COMPACTED;
    run(kv, 0);
    assert_answered(0, ERR_COMPACTED);
    assert_int_equal(taken[0].restarts, 0);
}

/* --- how many run -------------------------------------------------------------------------------------------------- */

/* The fifth waits; the end of one, for whatever reason, calls the first that waits. */
static void test_places(void **state)
{
    (void)state;
    struct kv *kv = start();
    for (unsigned n = 0; n < RUNNING_MAX + 1; n++)
        begin(kv, n, KV_RANGE, &range.base);
    assert_waits(RUNNING_MAX, KV_PARKED);
    assert_int_equal(fake.begun, RUNNING_MAX);
    run(kv, 0); /* one that has a place keeps it */
    kv_cancel(kv, parts_request(1));
    assert_int_equal(fake.resumed, 1);
    assert_int_equal(kv->scans.count, RUNNING_MAX - 1);
    kv_cancel(kv, parts_request(RUNNING_MAX)); /* it had none */
    assert_int_equal(fake.resumed, 1);
    kv_scan_drop(kv, parts_request(1)); /* nothing more to do */
    assert_int_equal(kv->scans.count, RUNNING_MAX - 1);
}

/* --- hashes --------------------------------------------------------------------------------------------------------- */

static void test_hashes(void **state)
{
    (void)state;
    struct kv *kv = start();
    fake.left = 2;
    begin(kv, 0, KV_HASH, &hash.base);
    begin(kv, 1, KV_HASH_KV, &hash_kv.base);
    run(kv, 0);
    run(kv, 1);
    assert_answered(0, OK);
    assert_answered(1, OK);
    assert_int_equal(((Etcdserverpb__HashResponse *)parts.callers[0].response)->hash, 4711);
    const Etcdserverpb__HashKVResponse *response = (void *)parts.callers[1].response;
    assert_ptr_equal(response->base.descriptor, &etcdserverpb__hash_kvresponse__descriptor);
    assert_int_equal(response->header->revision, REVISION);
}

/* The last attempt runs without a break. */
static void test_compacted_hash(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, 0, KV_HASH_KV, &hash_kv.base);
    for (unsigned i = 0; i < RESTARTS_MAX; i++) {
        assert_true(fake.units < INT64_MAX);
        fake.err = ERR_COMPACTED;
        run(kv, 0);
    }
    run(kv, 0);
    assert_true(fake.units == INT64_MAX);
    assert_waits(0, KV_READY);
    kv_cancel(kv, parts_request(0));
    fake.begin_err = ERR_COMPACTED; /* its own revision is gone */
    begin(kv, 1, KV_HASH_KV, &hash_kv.base);
    assert_answered(1, ERR_COMPACTED);
    fake.begin_err = ERR_FUTURE_REV;
    begin(kv, 2, KV_HASH_KV, &hash_kv.base);
    assert_answered(2, ERR_FUTURE_REV);
}

/* --- transactions ------------------------------------------------------------------------------------------------------ */

static struct buf gathered;

static struct buf *answer_place(struct kv_request *r)
{
    (void)r;
    return &gathered;
}

static void test_txn(void **state)
{
    (void)state;
    struct kv *kv = start();
    fake.left = 2;
    begin(kv, 0, KV_TXN_READ, &txn.base); /* no place for the bytes: decoded here */
    run(kv, 0);
    assert_answered(0, OK);
    const Etcdserverpb__TxnResponse *response = (void *)parts.callers[0].response;
    assert_true(response->succeeded);
    assert_int_equal(response->n_responses, 1);
    assert_int_equal(response->header->revision, REVISION);
    parts_request(1)->answer = answer_place;
    begin(kv, 1, KV_TXN_READ, &txn.base);
    run(kv, 1);
    assert_answered(1, OK);
    assert_int_equal(((const Etcdserverpb__TxnResponse *)parts.callers[1].response)->n_responses, 0);
    assert_true(gathered.size > 0);
    buf_done(&gathered);
}

/* Its pinned revision, or one that the request names. */
static void test_compacted_txn(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, 0, KV_TXN_READ, &txn.base);
    fake.err = ERR_COMPACTED;
    fake.is_compacted = true;
    run(kv, 0);
    assert_int_equal(taken[0].restarts, 1);
    assert_waits(0, KV_READY);
    run(kv, 0);
    fake.err = ERR_COMPACTED;
    fake.is_compacted = false;
    run(kv, 0);
    assert_answered(0, ERR_COMPACTED);
}

/* --- leases ---------------------------------------------------------------------------------------------------------------- */

static void test_leases(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv->settings.slice_units = 17;
    begin(kv, 0, KV_TIME_TO_LIVE, &lease.base);
    assert_int_equal(fake.units, 17);
    fake.err = ERR_LEASE_NOT_FOUND; /* it has ended meanwhile: the answer is that of now */
    run(kv, 0);
    assert_int_equal(taken[0].restarts, 1);
    assert_int_equal(fake.open, 0);
    for (unsigned i = 0; i < 3; i++)
        run(kv, 0);
    assert_answered(0, OK);
    begin(kv, 1, KV_LEASE_LEASES, &lease.base);
    fake.err = ERR_PERMISSION_DENIED;
    run(kv, 1);
    assert_answered(1, ERR_PERMISSION_DENIED);
    assert_int_equal(fake.open + kv->scans.count, 0);
}

/* Keys of a lease at the leader's revision: the request goes to the end of the list until it is applied. */
static void test_lease_waits_for_its_revision(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, 0, KV_TIME_TO_LIVE, &lease.base);
    struct kv_request *r = parts_request(0);
    kv_scan_drop(kv, r);
    kv_scan_lease_keys(kv, r, 77, 40, 60);
    assert_int_equal(fake.readied, 1);
    fake.must_wait = true;
    list_add_last(&kv->read_index.ready, &r->link);
    kv_scan_run(kv, r);
    assert_int_equal(fake.readied, 2);
    assert_false(link_is_in_list(&r->link));
    kv_scan_drop(kv, r);
}

/* A read of leases that waited for its place, or begins anew, is checked again before: its place goes to the
 * next one meanwhile. */
static void test_leave_queue(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, 0, KV_TIME_TO_LIVE, &lease.base);
    struct kv_scan *scan = parts_request(0)->slices;
    kv_scan_leave_queue(kv, parts_request(0));
    assert_ptr_equal(parts_request(0)->slices, scan); /* under way */
    fake.err = ERR_LEASE_NOT_FOUND;
    run(kv, 0);
    kv_scan_leave_queue(kv, parts_request(0));
    assert_null(parts_request(0)->slices);
    assert_int_equal(kv->scans.count, 0);
    assert_true(fake.resumed > 0);
    begin(kv, 1, KV_RANGE, &range.base);
    fake.err = ERR_COMPACTED;
    run(kv, 1);
    kv_scan_leave_queue(kv, parts_request(1)); /* a range has nothing to check */
    assert_non_null(parts_request(1)->slices);
    kv_scan_leave_queue(kv, parts_request(2));
}

/* --- another store --------------------------------------------------------------------------------------------------------- */

/* A snapshot is installed: those that have begun begin anew, and keep their places. */
static void test_restart_all(void **state)
{
    (void)state;
    struct kv *kv = start();
    for (unsigned n = 0; n < RUNNING_MAX + 1; n++)
        begin(kv, n, KV_RANGE, &range.base);
    kv_scan_restart_all(kv);
    assert_int_equal(fake.open, 0);
    for (unsigned n = 0; n < RUNNING_MAX; n++)
        assert_int_equal(taken[n].restarts, 1);
    assert_int_equal(taken[RUNNING_MAX].restarts, 0);
    assert_int_equal(kv->scans.count, RUNNING_MAX);
    kv_scan_restart_all(kv); /* nothing has begun since */
    assert_int_equal(taken[0].restarts, 1);
    for (unsigned i = 0; i < 3; i++)
        run(kv, 0);
    assert_answered(0, OK);
    (void)start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_range),
        cmocka_unit_test(test_parts_that_are_not_taken),
        cmocka_unit_test(test_compacted_range),
        cmocka_unit_test(test_compacted_range_of_a_revision),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_compacted_hash),
        cmocka_unit_test(test_txn),
        cmocka_unit_test(test_compacted_txn),
        cmocka_unit_test(test_leases),
        cmocka_unit_test(test_lease_waits_for_its_revision),
        cmocka_unit_test(test_leave_queue),
        cmocka_unit_test(test_restart_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
