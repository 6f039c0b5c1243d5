/* SPDX-License-Identifier: Apache-2.0
 * From a write to a proposed entry: what is refused before, the quota and its alarm, the ids of leases. The
 * node only decodes what is proposed. Entries and checks of requests are linked as they are: both are pure. */
#define KV_PARTS_REAL_WRITES
#include "kv_parts.h"

enum { PENDING_MAX = 1 << 20, QUOTA = 1000, LEASE_COST = 64, MAX_OPS = 4 };

/* --- the node and the other parts -------------------------------------------------------------------------- */

enum way { BY_NOBODY, BY_CLIENT, BY_MEMBER, BY_LEADER };

static struct {
    enum way way; /* of the last proposal */
    uint64_t member, id;
    enum entry_op op;
    bool is_own;
    int64_t lease_id; /* of a grant */
    unsigned proposals, alarms;
    int err;
    size_t pending;
    unsigned level;
    uint64_t live;
    int64_t taken_lease;
} fake;

static int propose(struct blob *data, enum way way)
{
    struct entry e;
    assert_int_equal(entry_decode(blob_slice(data), &e), OK);
    fake.way = way;
    fake.member = e.member;
    fake.id = e.id;
    fake.op = e.op;
    fake.is_own = e.who.is_own;
    ProtobufCMessage *m = protobuf_c_message_unpack(entry_descriptor(e.op), NULL, e.body.size, e.body.data);
    if (e.op == ENTRY_LEASE_GRANT)
        fake.lease_id = ((const Etcdserverpb__LeaseGrantRequest *)m)->id;
    if (e.op == ENTRY_ALARM) {
        const Etcdserverpb__AlarmRequest *alarm = (const Etcdserverpb__AlarmRequest *)m;
        assert_int_equal(alarm->memberid, PARTS_SELF);
        assert_int_equal(alarm->alarm, ETCDSERVERPB__ALARM_TYPE__NOSPACE);
        fake.alarms++;
    }
    protobuf_c_message_free_unpacked(m, NULL);
    blob_unref(data);
    fake.proposals += !fake.err;
    return fake.err;
}

int node_propose(struct node *n, struct blob *data)
{
    (void)n;
    return propose(data, BY_CLIENT);
}

int node_propose_internal(struct node *n, struct blob *data)
{
    (void)n;
    return propose(data, BY_MEMBER);
}

int node_propose_as_leader(struct node *n, struct blob *data)
{
    (void)n;
    return propose(data, BY_LEADER);
}

struct entry_who kv_author_of(const struct kv *kv, const struct kv_request *r)
{
    (void)kv;
    return (struct entry_who){.is_own = !r->who, .user = slice_text(r->who ? "anna" : "")};
}

unsigned kv_feature_level(const struct kv *kv)
{
    (void)kv;
    return fake.level;
}

size_t kv_pending_proposals(const struct kv *kv)
{
    (void)kv;
    return fake.pending;
}

uint64_t store_live_size(const struct store *s)
{
    (void)s;
    return fake.live;
}

bool lease_exists(const struct lease_table *t, int64_t id)
{
    (void)t;
    return id == fake.taken_lease;
}

/* --- a member -------------------------------------------------------------------------------------------------- */

static Etcdserverpb__PutRequest put;

static struct kv *start(void)
{
    static uint8_t key[] = "key", value[100];
    struct kv *kv = parts_start();
    memset(&fake, 0, sizeof fake);
    fake.level = FEATURE_LEVEL_FIRST;
    kv->settings.request_bytes_max = 1000;
    kv->settings.txn_ops_max = MAX_OPS;
    etcdserverpb__put_request__init(&put);
    put.key = (ProtobufCBinaryData){3, key};
    put.value = (ProtobufCBinaryData){sizeof value, value};
    return kv;
}

/* --- proposals ---------------------------------------------------------------------------------------------------- */

static void test_put(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct auth_who who = {0};
    parts_request(0)->who = &who;
    kv_put(kv, parts_request(0), &put);
    assert_waits(0, KV_PROPOSED);
    assert_int_equal(fake.op, ENTRY_PUT);
    assert_int_equal(fake.way, BY_CLIENT);
    assert_int_equal(fake.member, PARTS_SELF);
    assert_int_equal(fake.id, parts_request(0)->id);
    assert_false(fake.is_own);
    kv_put(kv, parts_request(1), &put); /* of this process itself: still a request with a number */
    assert_true(fake.is_own);
    assert_int_equal(fake.way, BY_CLIENT);
    assert_int_not_equal(fake.id, parts_request(0)->id);
}

/* Refused before anything is proposed; the number of a request that was not proposed is given back. */
static void test_refused(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__PutRequest empty = ETCDSERVERPB__PUT_REQUEST__INIT;
    kv_put(kv, parts_request(0), &empty);
    assert_fails(0, ERR_KEY_EMPTY);
    parts.is_diverged = true;
    kv_put(kv, parts_request(1), &put);
    assert_fails(1, ERR_CORRUPT_CLUSTER);
    parts.is_diverged = false;
    kv_start_write(kv, parts_request(2), KV_PUT, ENTRY_TRIAL, &put.base, OK);
    assert_fails(2, ERR_NOT_CAPABLE); /* a member may not understand it */
    fake.pending = PENDING_MAX;
    kv_put(kv, parts_request(3), &put);
    assert_fails(3, ERR_TOO_MANY_REQUESTS);
    fake.pending = PENDING_MAX - 1;
    kv->settings.request_bytes_max = 100;
    kv_put(kv, parts_request(4), &put);
    assert_fails(4, ERR_REQUEST_TOO_LARGE);
    kv->settings.request_bytes_max = 1000;
    parts.is_closing = true;
    kv_put(kv, parts_request(5), &put);
    assert_fails(5, ERR_STOPPED);
    parts.is_closing = false;
    assert_int_equal(fake.way, BY_NOBODY);
    fake.err = ERR_TOO_MANY_REQUESTS;
    kv_put(kv, parts_request(6), &put);
    assert_fails(6, ERR_TOO_MANY_REQUESTS);
    assert_int_equal(fake.proposals + parts.numbers_in_use, 0);
}

/* A member's own entries have a reserve of their own in the node, and no number. */
static void test_own_entries(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__CompactionRequest m = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    assert_int_equal(kv_propose(kv, ENTRY_COMPACTION, &m.base), OK);
    assert_int_equal(fake.way, BY_MEMBER);
    assert_true(fake.is_own);
    assert_int_equal(fake.id, 0);
    assert_int_equal(kv_propose_as_leader(kv, ENTRY_COMPACTION, &m.base), OK);
    assert_int_equal(fake.way, BY_LEADER);
    fake.err = ERR_NOT_LEADER;
    assert_int_equal(kv_propose_as_leader(kv, ENTRY_COMPACTION, &m.base), ERR_NOT_LEADER);
    parts.is_closing = true;
    assert_int_equal(kv_propose(kv, ENTRY_COMPACTION, &m.base), ERR_STOPPED);
    assert_int_equal(kv_propose_as_leader(kv, ENTRY_COMPACTION, &m.base), ERR_STOPPED);
    assert_int_equal(fake.proposals, 2);
}

static void test_other_kinds(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__CompactionRequest compaction = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    Etcdserverpb__LeaseRevokeRequest revoke = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    Etcdserverpb__DeleteRangeRequest delete = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    kv_compact(kv, parts_request(0), &compaction);
    assert_int_equal(fake.op, ENTRY_COMPACTION);
    kv_lease_revoke(kv, parts_request(1), &revoke);
    assert_int_equal(fake.op, ENTRY_LEASE_REVOKE);
    kv_delete_range(kv, parts_request(2), &delete);
    assert_fails(2, ERR_KEY_EMPTY);
    delete.key = put.key;
    kv_delete_range(kv, parts_request(3), &delete);
    assert_int_equal(fake.op, ENTRY_DELETE_RANGE);
}

/* --- transactions ---------------------------------------------------------------------------------------------------- */

static void test_transactions(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT, *ops[MAX_OPS + 1];
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    for (size_t i = 0; i < COUNT_OF(ops); i++)
        ops[i] = &op;
    range.key = put.key;
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE;
    op.request_range = &range;
    txn.success = ops;
    txn.n_success = MAX_OPS + 1;
    kv_txn(kv, parts_request(0), &txn);
    assert_fails(0, ERR_TOO_MANY_OPS);
    txn.n_success = 1;
    kv_txn(kv, parts_request(1), &txn); /* it only reads: no entry */
    assert_waits(1, KV_READING);
    assert_false(parts.is_read_local);
    range.serializable = true;
    kv_txn(kv, parts_request(2), &txn);
    assert_true(parts.is_read_local);
    assert_int_equal(fake.proposals, 0);
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op.request_put = &put;
    kv_txn(kv, parts_request(3), &txn);
    assert_int_equal(fake.op, ENTRY_TXN);
    kv->settings.quota_bytes = QUOTA;
    fake.live = QUOTA;
    kv_txn(kv, parts_request(4), &txn);
    assert_fails(4, ERR_NO_SPACE);
}

/* --- the quota -------------------------------------------------------------------------------------------------------- */

static struct kv *start_full(void)
{
    struct kv *kv = start();
    kv->settings.quota_bytes = QUOTA;
    fake.live = QUOTA;
    return kv;
}

/* One alarm, until it is applied or may be lost. */
static void test_quota(void **state)
{
    (void)state;
    struct kv *kv = start_full();
    kv_put(kv, parts_request(0), &put);
    assert_fails(0, ERR_NO_SPACE);
    assert_int_equal(fake.alarms, 1);
    assert_int_equal(fake.way, BY_MEMBER);
    kv_put(kv, parts_request(1), &put);
    assert_fails(1, ERR_NO_SPACE);
    assert_int_equal(fake.alarms, 1);
    kv_reset_space_alarm(kv);
    kv_put(kv, parts_request(2), &put);
    assert_int_equal(fake.alarms, 2);
    kv_reset_space_alarm(kv);
    Etcdserverpb__AlarmMember alarm = ETCDSERVERPB__ALARM_MEMBER__INIT;
    alarm.alarm = ETCDSERVERPB__ALARM_TYPE__NOSPACE;
    kv->alarms.list = &alarm;
    kv->alarms.count = 1;
    fake.live = 0; /* there is room, but the alarm stands until it is disarmed */
    kv_put(kv, parts_request(3), &put);
    assert_fails(3, ERR_NO_SPACE);
    assert_int_equal(fake.alarms, 2);
    kv->alarms = (struct alarms){0};
}

static void test_alarm_is_not_proposed(void **state)
{
    (void)state;
    struct kv *kv = start_full();
    fake.err = ERR_TOO_MANY_REQUESTS;
    kv_put(kv, parts_request(0), &put);
    fake.err = OK;
    kv_put(kv, parts_request(1), &put); /* tried again */
    assert_int_equal(fake.proposals, 1);
    assert_int_equal(fake.alarms, 2);
}

/* A request that frees room, or costs none, is not limited. */
static void test_no_quota(void **state)
{
    (void)state;
    struct kv *kv = start_full();
    Etcdserverpb__DeleteRangeRequest delete = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    Etcdserverpb__AlarmRequest alarm = ETCDSERVERPB__ALARM_REQUEST__INIT;
    delete.key = put.key;
    kv_delete_range(kv, parts_request(0), &delete);
    assert_waits(0, KV_PROPOSED);
    alarm.memberid = PARTS_SELF;
    alarm.alarm = ETCDSERVERPB__ALARM_TYPE__NOSPACE;
    kv_alarm(kv, parts_request(1), &alarm);
    assert_waits(1, KV_PROPOSED);
    kv->settings.quota_bytes = 0;
    kv_put(kv, parts_request(2), &put);
    assert_waits(2, KV_PROPOSED);
    kv->settings.quota_bytes = QUOTA;
    fake.live = 0;
    kv_put(kv, parts_request(3), &put);
    assert_waits(3, KV_PROPOSED);
}

/* --- leases ------------------------------------------------------------------------------------------------------------- */

static int64_t grant(struct kv *kv, unsigned n, int64_t id)
{
    static Etcdserverpb__LeaseGrantRequest m[PARTS_CALLERS];
    etcdserverpb__lease_grant_request__init(&m[n]);
    m[n].ttl = 10;
    m[n].id = id;
    kv_lease_grant(kv, parts_request(n), &m[n]);
    assert_waits(n, KV_PROPOSED);
    assert_ptr_equal(parts_request(n)->message, &m[n].base); /* the caller's, not the copy with an id */
    assert_int_equal(m[n].id, id);
    return fake.lease_id;
}

/* Positive, ascending, of this member and of this start, and never one that is there. */
static void test_lease_ids(void **state)
{
    (void)state;
    struct kv *kv = start();
    int64_t first = grant(kv, 0, 0);
    assert_true(first > 0);
    assert_int_equal(first >> 48, PARTS_SELF);
    assert_int_equal(grant(kv, 1, 0), first + 1);
    fake.taken_lease = first + 2;
    assert_int_equal(grant(kv, 2, 0), first + 3);
    assert_int_equal(grant(kv, 3, 77), 77); /* the client has chosen */
    parts.wall_ns += 1000000;
    int64_t wall_ns = (int64_t)parts.wall_ns;
    kv = start();
    parts.wall_ns = (uint64_t)wall_ns; /* a later start */
    assert_true(grant(kv, 0, 0) > first + 3);
    kv = start();
    kv->member_id = UINT64_MAX;
    assert_true(grant(kv, 0, 0) > 0);
}

static void test_leases_that_are_refused(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__LeaseGrantRequest m = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    m.ttl = LEASE_TTL_MAX + 1;
    kv_lease_grant(kv, parts_request(0), &m);
    assert_fails(0, ERR_LEASE_TTL_TOO_LARGE);
    m.ttl = 10;
    kv->settings.quota_bytes = QUOTA;
    fake.live = QUOTA - LEASE_COST;
    kv_lease_grant(kv, parts_request(1), &m);
    assert_fails(1, ERR_NO_SPACE);
    fake.live = QUOTA - LEASE_COST - 1;
    kv_lease_grant(kv, parts_request(2), &m);
    assert_waits(2, KV_PROPOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_own_entries),
        cmocka_unit_test(test_other_kinds),
        cmocka_unit_test(test_transactions),
        cmocka_unit_test(test_quota),
        cmocka_unit_test(test_alarm_is_not_proposed),
        cmocka_unit_test(test_no_quota),
        cmocka_unit_test(test_lease_ids),
        cmocka_unit_test(test_leases_that_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
