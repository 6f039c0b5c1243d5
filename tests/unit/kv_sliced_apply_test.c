/* SPDX-License-Identifier: Apache-2.0
 * An entry that is applied over many turns, over a store whose work takes as many steps as the test says:
 * pauses, the end, the answer, and what happens when nobody waits for it any more. */
#define KV_PARTS_REAL_SLICED_APPLY
#include "kv_parts.h"

enum { LEASE = 70, UNITS = 10, REVISION = 9, SLICE_NS = 1500000 };

/* --- the store --------------------------------------------------------------------------------------------- */

struct store_work {
    enum entry_op op;
    unsigned left; /* steps */
    int err;       /* of the last one */
    int64_t units; /* of a step */
    unsigned steps;
    struct buf *out;
    const ProtobufCMessage *message;
};

static struct store_work work;
static struct {
    unsigned freed, begun;
    bool is_long, is_awaited;
    int64_t saved_lease, saved_ttl;
    size_t digest_bytes;
} fake;

static struct store_work *begin_work(enum entry_op op, const ProtobufCMessage *m, struct buf *out)
{
    work.op = op;
    work.message = m;
    work.out = out;
    fake.begun++;
    return &work;
}

struct store_work *store_work_txn(struct store *s, const Etcdserverpb__TxnRequest *request, struct buf *out)
{
    (void)s;
    return begin_work(ENTRY_TXN, &request->base, out);
}

struct store_work *store_work_delete(struct store *s, const Etcdserverpb__DeleteRangeRequest *request,
                                     struct buf *out)
{
    (void)s;
    return begin_work(ENTRY_DELETE_RANGE, &request->base, out);
}

struct store_work *store_work_lease(struct store *s, int64_t id)
{
    (void)s;
    assert_int_equal(id, LEASE);
    return begin_work(ENTRY_LEASE_REVOKE, NULL, NULL);
}

/* With the last step the answer's bytes are written, if somebody waits. */
int store_work_step(struct store_work *w, int64_t units, bool *ret_is_last)
{
    assert_true(w->left > 0);
    w->steps++;
    w->units = units;
    *ret_is_last = --w->left == 0;
    if (!*ret_is_last || !w->out)
        return *ret_is_last ? w->err : OK;
    Etcdserverpb__TxnResponse txn = ETCDSERVERPB__TXN_RESPONSE__INIT;
    Etcdserverpb__DeleteRangeResponse delete = ETCDSERVERPB__DELETE_RANGE_RESPONSE__INIT;
    Etcdserverpb__ResponseOp op = ETCDSERVERPB__RESPONSE_OP__INIT, *ops[] = {&op};
    Mvccpb__KeyValue kv = MVCCPB__KEY_VALUE__INIT, *kvs[] = {&kv};
    txn.responses = ops;
    txn.n_responses = 1;
    delete.prev_kvs = kvs;
    delete.n_prev_kvs = 1;
    const ProtobufCMessage *m = w->op == ENTRY_TXN ? &txn.base : &delete.base;
    protobuf_c_message_pack(m, buf_reserve(w->out, protobuf_c_message_get_packed_size(m)));
    w->out->size += protobuf_c_message_get_packed_size(m);
    return w->err;
}

void store_work_result(const struct store_work *w, Etcdserverpb__TxnResponse *ret_txn,
                       Etcdserverpb__DeleteRangeResponse *ret_delete, int64_t *ret_revision)
{
    assert_int_equal(w->left, 0);
    etcdserverpb__txn_response__init(ret_txn);
    etcdserverpb__delete_range_response__init(ret_delete);
    ret_txn->succeeded = true;
    ret_delete->deleted = 4;
    *ret_revision = REVISION;
}

void store_work_forget_answer(struct store_work *w)
{
    w->out = NULL;
}

void store_work_free(struct store_work *w)
{
    fake.freed += w != NULL;
}

void store_pause(struct store *s)
{
    (void)s;
    parts_trace("pause");
}

void store_end(struct store *s)
{
    (void)s;
    parts_trace("end");
}

bool store_txn_is_long(struct store *s, const Etcdserverpb__TxnRequest *request, bool is_awaited)
{
    (void)s;
    (void)request;
    fake.is_awaited = is_awaited;
    return fake.is_long;
}

bool store_delete_is_long(struct store *s, const Etcdserverpb__DeleteRangeRequest *request)
{
    (void)s;
    (void)request;
    return fake.is_long;
}

bool store_lease_is_long(const struct store *s, int64_t id)
{
    (void)s;
    return fake.is_long && id == LEASE;
}

void store_digest_add(struct store *s, struct slice bytes)
{
    (void)s;
    parts_trace("digest");
    fake.digest_bytes = bytes.size;
}

int lease_revoke(struct lease_table *t, int64_t id)
{
    (void)t;
    assert_int_equal(id, LEASE);
    parts_trace("revoke");
    return OK;
}

void kv_save_lease(struct kv *kv, int64_t id, int64_t ttl_s, int64_t remaining_s)
{
    (void)kv;
    assert_int_equal(remaining_s, 0);
    fake.saved_lease = id;
    fake.saved_ttl = ttl_s;
    parts_trace("save");
}

/* --- a member, and an entry that takes some steps ------------------------------------------------------------------ */

static struct raft_entry entry;
static Etcdserverpb__TxnRequest txn;
static Etcdserverpb__DeleteRangeRequest delete_range;
static Etcdserverpb__LeaseRevokeRequest revoke;

static struct kv *start(void)
{
    if (parts.kv.sliced_apply.waiting.next)
        kv_sliced_apply_end(&parts.kv);
    blob_unref(entry.data);
    entry.data = NULL;
    struct kv *kv = parts_start();
    memset(&fake, 0, sizeof fake);
    memset(&work, 0, sizeof work);
    work.left = 3;
    kv->settings.slice_units = UNITS;
    etcdserverpb__txn_request__init(&txn);
    etcdserverpb__delete_range_request__init(&delete_range);
    etcdserverpb__lease_revoke_request__init(&revoke);
    delete_range.key = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "key"};
    revoke.id = LEASE;
    kv_sliced_apply_init(&kv->sliced_apply);
    return kv;
}

static void begin(struct kv *kv, enum entry_op op, struct kv_request *r)
{
    const ProtobufCMessage *m = op == ENTRY_TXN            ? &txn.base
                                : op == ENTRY_DELETE_RANGE ? &delete_range.base
                                                           : &revoke.base;
    struct entry_who who = {.is_own = true};
    struct entry e;
    entry.data = entry_encode(PARTS_SELF, 1, op, m, &who);
    assert_int_equal(entry_decode(blob_slice(entry.data), &e), OK);
    kv_sliced_apply_begin(kv, &e, r);
    assert_true(kv_sliced_apply_is_open(kv));
}

static void run_to_the_end(struct kv *kv)
{
    unsigned pauses = work.left - 1;
    for (unsigned i = 0; i < pauses; i++) {
        assert_false(kv_sliced_apply_step(kv, &entry));
        ASSERT_TRACE("pause");
        assert_true(kv_sliced_apply_is_open(kv));
    }
    assert_true(kv_sliced_apply_step(kv, &entry));
    assert_false(kv_sliced_apply_is_open(kv));
    assert_int_equal(fake.freed, 1);
}

/* --- tests ---------------------------------------------------------------------------------------------------------- */

/* The answer's bytes are decoded here when the request has no place for them. */
static void test_transaction(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, ENTRY_TXN, parts_request(0));
    assert_waits(0, KV_APPLYING);
    assert_ptr_not_equal(work.message, &txn.base); /* the request's message may go: the entry's is decoded */
    run_to_the_end(kv);
    ASSERT_TRACE("end");
    assert_int_equal(work.units, UNITS);
    assert_answered(0, OK);
    const Etcdserverpb__TxnResponse *response = (void *)parts.callers[0].response;
    assert_true(response->succeeded);
    assert_int_equal(response->n_responses, 1);
    assert_int_equal(response->header->revision, REVISION);
    assert_int_equal(response->header->member_id, PARTS_SELF);
}

static struct buf gathered;

static struct buf *answer_place(struct kv_request *r)
{
    (void)r;
    return &gathered;
}

/* With a place of its own, the request gets the bytes there and the rest by done. */
static void test_answer_in_the_requests_place(void **state)
{
    (void)state;
    struct kv *kv = start();
    parts_request(0)->answer = answer_place;
    begin(kv, ENTRY_DELETE_RANGE, parts_request(0));
    assert_ptr_equal(work.out, &gathered);
    run_to_the_end(kv);
    assert_answered(0, OK);
    const Etcdserverpb__DeleteRangeResponse *response = (void *)parts.callers[0].response;
    assert_int_equal(response->deleted, 4);
    assert_int_equal(response->n_prev_kvs, 0);
    assert_int_equal(response->header->revision, REVISION);
    assert_true(gathered.size > 0);
    buf_done(&gathered);
}

static void test_delete_range(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, ENTRY_DELETE_RANGE, parts_request(0));
    run_to_the_end(kv);
    assert_answered(0, OK);
    const Etcdserverpb__DeleteRangeResponse *response = (void *)parts.callers[0].response;
    assert_int_equal(response->deleted, 4);
    assert_int_equal(response->n_prev_kvs, 1);
}

/* The keys are gone, then the lease; all of it is one entry. */
static void test_lease(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, ENTRY_LEASE_REVOKE, parts_request(0));
    run_to_the_end(kv);
    ASSERT_TRACE("revoke", "save", "digest", "end");
    assert_int_equal(fake.saved_lease, LEASE);
    assert_int_equal(fake.saved_ttl, 0);
    assert_int_equal(fake.digest_bytes, entry.data->size);
    assert_answered(0, OK);
    const Etcdserverpb__LeaseRevokeResponse *response = (void *)parts.callers[0].response;
    assert_int_equal(response->header->revision, REVISION);
}

/* Of another member, or replayed at a start. */
static void test_nobody_waits(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, ENTRY_TXN, NULL);
    assert_null(work.out);
    run_to_the_end(kv);
    ASSERT_TRACE("end");
}

/* The request is canceled: its place for the answer may be gone, the entry goes on. */
static void test_canceled(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, ENTRY_TXN, parts_request(0));
    assert_false(kv_sliced_apply_step(kv, &entry));
    parts.trace_count = 0;
    kv_sliced_apply_drop_answer(kv);
    kv_cancel(kv, parts_request(0));
    assert_null(work.out);
    run_to_the_end(kv);
    ASSERT_TRACE("end");
    assert_int_equal(parts.callers[0].answers, 0);
}

static void test_error(void **state)
{
    (void)state;
    struct kv *kv = start();
    work.err = ERR_LIMIT; /* it was applied, but the answer is too large */
    begin(kv, ENTRY_TXN, parts_request(0));
    run_to_the_end(kv);
    ASSERT_TRACE("end");
    assert_answered(0, ERR_LIMIT);
    assert_null(parts.callers[0].response);
}

/* Without a limit for tests, a slice ends by the clock. */
static void test_slice_by_the_clock(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv->settings.slice_units = 0;
    parts.ns_per_look = SLICE_NS / 2;
    work.left = 5;
    begin(kv, ENTRY_TXN, parts_request(0));
    assert_false(kv_sliced_apply_step(kv, &entry));
    assert_int_equal(work.steps, 2);
    assert_false(kv_sliced_apply_step(kv, &entry));
    assert_true(kv_sliced_apply_step(kv, &entry));
    assert_int_equal(work.steps, 5);
    assert_answered(0, OK);
}

/* The entry stays open for the crash that a close is: only its request ends. */
static void test_close(void **state)
{
    (void)state;
    struct kv *kv = start();
    begin(kv, ENTRY_TXN, parts_request(0));
    assert_false(kv_sliced_apply_step(kv, &entry));
    kv_sliced_apply_stop(kv);
    assert_answered(0, ERR_STOPPED);
    assert_true(kv_sliced_apply_is_open(kv));
    kv_sliced_apply_end(kv);
    assert_false(kv_sliced_apply_is_open(kv));
    ASSERT_TRACE("pause");
}

static void test_which_entries_are_long(void **state)
{
    (void)state;
    struct kv *kv = start();
    fake.is_long = true;
    assert_true(kv_entry_is_long(kv, &(struct entry){.op = ENTRY_TXN}, &txn.base, true));
    assert_true(fake.is_awaited);
    assert_true(kv_entry_is_long(kv, &(struct entry){.op = ENTRY_TXN}, &txn.base, false));
    assert_false(fake.is_awaited);
    assert_true(kv_entry_is_long(kv, &(struct entry){.op = ENTRY_DELETE_RANGE}, &delete_range.base, true));
    assert_true(kv_entry_is_long(kv, &(struct entry){.op = ENTRY_LEASE_REVOKE}, &revoke.base, true));
    revoke.id++;
    assert_false(kv_entry_is_long(kv, &(struct entry){.op = ENTRY_LEASE_REVOKE}, &revoke.base, true));
    assert_false(kv_entry_is_long(kv, &(struct entry){.op = ENTRY_PUT}, NULL, true));
    (void)start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transaction),  cmocka_unit_test(test_answer_in_the_requests_place),
        cmocka_unit_test(test_delete_range), cmocka_unit_test(test_lease),
        cmocka_unit_test(test_nobody_waits), cmocka_unit_test(test_canceled),
        cmocka_unit_test(test_error),        cmocka_unit_test(test_slice_by_the_clock),
        cmocka_unit_test(test_close),        cmocka_unit_test(test_which_entries_are_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
