/* SPDX-License-Identifier: Apache-2.0
 * Applying one entry: the calls of the store, their order, the answers, and entries that have no
 * effect or are not begun. Entries, alarms, the lease table and checks are linked as they are. */
#define KV_PARTS_REAL_ALARMS
#include "kv_parts.h"

enum { INDEX = 50, TERM = 5, REVISION = 9, LEASE = 70, OTHER = 3 };

/* Only reports of membership changes read it (admin.c). */
const Etcdserverpb__MembershipChange *kv_change_of(const struct raft_entry *entry, struct arena *a)
{
    (void)entry, (void)a;
    return NULL;
}

/* --- the store ---------------------------------------------------------------------------------------------- */

static struct {
    const ProtobufCMessage *put; /* the message of the last store_put */
    bool is_answer_wanted;
    int put_err, compact_err;
    size_t deleted_keys, digest_bytes;
    uint8_t lease_row[16];
    size_t lease_row_size; /* SIZE_MAX = none was written */
    void (*compacted)(void *arg, int err);
    void *arg;
} store;

void store_begin(struct store *s, uint64_t index, uint64_t term)
{
    (void)s;
    assert_int_equal(index, INDEX);
    assert_int_equal(term, TERM);
    parts_trace("begin");
}

void store_end(struct store *s)
{
    (void)s;
    parts_trace("end");
}

void store_resume(struct store *s)
{
    (void)s;
    parts_trace("resume");
}

int store_put(struct store *s, const Etcdserverpb__PutRequest *request, struct arena *a,
              Etcdserverpb__PutResponse **ret_response)
{
    (void)s;
    parts_trace("put");
    store.put = &request->base;
    store.is_answer_wanted = ret_response != NULL;
    if (ret_response && !store.put_err) {
        *ret_response = arena_new(a, sizeof **ret_response);
        etcdserverpb__put_response__init(*ret_response);
        (*ret_response)->header = arena_new(a, sizeof *(*ret_response)->header);
        etcdserverpb__response_header__init((*ret_response)->header);
    }
    return store.put_err;
}

int store_delete_range(struct store *s, const Etcdserverpb__DeleteRangeRequest *request, struct arena *a,
                       Etcdserverpb__DeleteRangeResponse **ret_response)
{
    (void)s;
    (void)request;
    (void)a;
    assert_null(ret_response);
    parts_trace("delete range");
    return OK;
}

int store_txn(struct store *s, const Etcdserverpb__TxnRequest *request, struct arena *a,
              Etcdserverpb__TxnResponse **ret_response)
{
    (void)s;
    (void)request;
    (void)a;
    assert_null(ret_response);
    parts_trace("txn");
    return OK;
}

int store_compact(struct store *s, int64_t revision)
{
    (void)s;
    assert_int_equal(revision, 4);
    parts_trace("compact");
    return store.compact_err;
}

void store_when_compacted(struct store *s, void (*done)(void *arg, int err), void *arg)
{
    (void)s;
    store.compacted = done;
    store.arg = arg;
}

void store_delete_keys(struct store *s, const struct slice *keys, size_t count)
{
    (void)s;
    (void)keys;
    store.deleted_keys = count;
    parts_trace("delete keys");
}

void store_set(struct store *s, enum backend_table table, struct slice key, struct slice value)
{
    (void)s;
    (void)key;
    if (table != BACKEND_LEASES)
        return;
    assert_true(value.size <= sizeof store.lease_row);
    store.lease_row_size = value.size;
    if (value.size)
        memcpy(store.lease_row, value.data, value.size);
}

int store_scan(struct store *s, enum backend_table table,
               bool (*fn)(void *arg, struct slice key, struct slice value), void *arg)
{
    (void)s;
    (void)table;
    (void)fn;
    (void)arg;
    return OK;
}

void store_digest_add(struct store *s, struct slice bytes)
{
    (void)s;
    store.digest_bytes = bytes.size;
    parts_trace("digest");
}

void store_prefetch_puts(struct store *s, const struct slice *keys, size_t count)
{
    (void)s;
    assert_int_equal(count, 2);
    assert_true(slice_equal(keys[0], slice_text("key")));
    assert_int_equal(keys[1].size, 0); /* not a Put */
    parts_trace("prefetch");
}

void watch_will_deliver(const struct watch_hub *h, const struct slice *keys, size_t count)
{
    (void)h;
    (void)keys;
    (void)count;
}

/* --- the other parts ------------------------------------------------------------------------------------------ */

static struct {
    bool is_void, stops, is_stopped, is_auth_enabled, is_prepared, is_long, is_open;
    unsigned steps; /* that a long entry still takes */
    int check_err, membership_err, answered_err;
    const struct kv_request *long_request;
    struct link waiting;
    uint64_t checked_index;
    unsigned saved_members;
} fake;

bool kv_feature_is_void(const struct kv *kv, const struct entry *e)
{
    (void)kv;
    (void)e;
    return fake.is_void;
}

bool kv_feature_stops(struct kv *kv, uint64_t index, const struct entry *e, const ProtobufCMessage *m)
{
    (void)kv;
    (void)e;
    (void)m;
    assert_int_equal(index, INDEX);
    return fake.stops;
}

void kv_feature_apply_version(struct kv *kv, const Etcdserverpb__ClusterVersionSetRequest *m)
{
    (void)kv;
    (void)m;
    parts_trace("version");
}

struct kv_outcome kv_feature_apply_downgrade(struct kv *kv, const Etcdserverpb__DowngradeInfoSetRequest *m)
{
    (void)kv;
    (void)m;
    parts_trace("downgrade");
    return (struct kv_outcome){.err = ERR_DOWNGRADE_TARGET};
}

void kv_apply_state_check(struct kv *kv, uint64_t index, const Etcdserverpb__StateCheckRequest *m)
{
    (void)kv;
    (void)m;
    fake.checked_index = index;
    parts_trace("state check");
}

bool kv_is_stopped(const struct kv *kv)
{
    (void)kv;
    return fake.is_stopped;
}

bool kv_auth_is_enabled(const struct kv *kv)
{
    (void)kv;
    return fake.is_auth_enabled;
}

bool kv_prepare_author(struct kv *kv, const struct raft_entry *entry)
{
    (void)kv;
    (void)entry;
    return fake.is_prepared;
}

int kv_check_entry(struct kv *kv, const struct entry *e, const ProtobufCMessage *m)
{
    (void)kv;
    (void)m;
    assert_false(e->who.is_own);
    return fake.check_err;
}

struct kv_outcome kv_apply_auth(struct kv *kv, const struct entry *e, const ProtobufCMessage *m)
{
    (void)kv;
    (void)e;
    (void)m;
    parts_trace("auth");
    return (struct kv_outcome){.err = ERR_USER_EXISTS};
}

int kv_apply_membership(struct kv *kv, const struct raft_entry *entry)
{
    (void)kv;
    (void)entry;
    parts_trace("membership");
    return fake.membership_err;
}

void kv_answer_membership(struct kv *kv, const struct raft_entry *entry, int err)
{
    (void)kv;
    (void)entry;
    fake.answered_err = err;
    parts_trace("answer membership");
}

bool kv_sliced_apply_is_open(const struct kv *kv)
{
    (void)kv;
    return fake.is_open;
}

bool kv_entry_is_long(struct kv *kv, const struct entry *e, const ProtobufCMessage *m, bool is_awaited)
{
    (void)kv;
    (void)e;
    (void)m;
    (void)is_awaited;
    return fake.is_long;
}

void kv_sliced_apply_begin(struct kv *kv, const struct entry *e, struct kv_request *r)
{
    (void)kv;
    (void)e;
    fake.is_open = true;
    fake.long_request = r;
    parts_trace("begin slices");
}

bool kv_sliced_apply_step(struct kv *kv, const struct raft_entry *entry)
{
    (void)kv;
    (void)entry;
    parts_trace("step");
    fake.is_open = --fake.steps > 0;
    return !fake.is_open;
}

void kv_add_waiting(struct kv *kv, struct kv_request *r)
{
    (void)kv;
    r->state = KV_WAITING;
    list_add_last(&fake.waiting, &r->link);
}

void kv_take_waiting(struct kv *kv, enum kv_kind kind, struct link *ret_list)
{
    (void)kv;
    assert_int_equal(kind, KV_COMPACT);
    list_init(ret_list);
    list_move_all(ret_list, &fake.waiting);
}

void member_set_attributes(struct member *member, const char *member_name, const char *const *client_urls,
                           size_t count)
{
    (void)member_name;
    (void)client_urls;
    (void)count;
    member->was_heard = true; /* to be seen by the test */
}

void member_save(const struct member *member, struct store *s)
{
    (void)member;
    (void)s;
    fake.saved_members++;
}

/* --- a member, and entries -------------------------------------------------------------------------------------- */

static Etcdserverpb__PutRequest put;
static struct raft_entry entry;

static struct kv *start(void)
{
    if (parts.kv.leases) {
        lease_table_free(parts.kv.leases);
        alarms_done(&parts.kv.alarms);
    }
    struct kv *kv = parts_start();
    memset(&store, 0, sizeof store);
    memset(&fake, 0, sizeof fake);
    list_init(&fake.waiting);
    store.lease_row_size = SIZE_MAX;
    fake.is_prepared = true;
    parts.revision = REVISION;
    parts.applied_index = INDEX - 1;
    kv->leases = lease_table_new(1);
    etcdserverpb__put_request__init(&put);
    put.key = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "key"};
    return kv;
}

/* The bytes of the entry that request n (PARTS_CALLERS: none) has proposed, or another member. */
static void make(struct kv *kv, unsigned n, bool is_own, enum entry_op op, const ProtobufCMessage *m)
{
    struct entry_who who = {
        .is_own = is_own, .user = slice_text(is_own ? "" : "anna"), .auth_revision = !is_own};
    uint64_t member = OTHER, number = 1;
    if (n < PARTS_CALLERS) {
        struct kv_request *r = parts_request(n);
        kv_assign_proposal_id(kv, r);
        kv_wait_for_entry(kv, r);
        r->message = m;
        member = PARTS_SELF;
        number = r->id;
    }
    blob_unref(entry.data);
    entry =
        (struct raft_entry){.index = INDEX, .term = TERM, .data = entry_encode(member, number, op, m, &who)};
}

static bool apply_for(struct kv *kv, unsigned n, enum entry_op op, const ProtobufCMessage *m)
{
    make(kv, n, true, op, m);
    parts.trace_count = 0;
    return kv_apply(kv, &entry);
}

static bool apply(struct kv *kv, enum entry_op op, const ProtobufCMessage *m)
{
    return apply_for(kv, PARTS_CALLERS, op, m);
}

/* --- whose entry it is ------------------------------------------------------------------------------------------- */

static void test_own_request(void **state)
{
    (void)state;
    struct kv *kv = start();
    assert_true(apply_for(kv, 0, ENTRY_PUT, &put.base));
    ASSERT_TRACE("begin", "put", "end");    /* in the digest by its record */
    assert_ptr_equal(store.put, &put.base); /* the request's own message: nothing is decoded */
    assert_answered(0, OK);
    const Etcdserverpb__PutResponse *response = (void *)parts.callers[0].response;
    assert_int_equal(response->header->revision, REVISION);
    assert_int_equal(response->header->member_id, PARTS_SELF);
    store.put_err = ERR_LEASE_NOT_FOUND;
    assert_true(apply_for(kv, 1, ENTRY_PUT, &put.base));
    assert_answered(1, ERR_LEASE_NOT_FOUND);
    assert_null(parts.callers[1].response);
}

static void test_entry_of_another_member(void **state)
{
    (void)state;
    struct kv *kv = start();
    assert_true(apply(kv, ENTRY_PUT, &put.base));
    assert_false(store.is_answer_wanted);
    assert_ptr_not_equal(store.put, &put.base);
    Etcdserverpb__DeleteRangeRequest delete = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    assert_true(apply(kv, ENTRY_DELETE_RANGE, &delete.base));
    ASSERT_TRACE("begin", "delete range", "end");
    assert_true(apply(kv, ENTRY_TXN, &txn.base));
    ASSERT_TRACE("begin", "txn", "end");
}

/* --- entries without an effect ------------------------------------------------------------------------------------ */

static void test_void_entry(void **state)
{
    (void)state;
    struct kv *kv = start();
    fake.is_void = true;
    assert_true(apply_for(kv, 0, ENTRY_PUT, &put.base));
    ASSERT_TRACE("begin", "end"); /* the index moves */
    assert_answered(0, ERR_NOT_CAPABLE);
}

static void test_bytes_that_are_no_entry(void **state)
{
    (void)state;
    struct kv *kv = start();
    blob_unref(entry.data);
    entry = (struct raft_entry){.index = INDEX, .term = TERM, .data = blob_copy(slice_text("\xff\xff"))};
    assert_true(kv_apply(kv, &entry));
    ASSERT_TRACE("begin", "end");
    blob_unref(entry.data);
    entry.data = NULL; /* of a new leader */
    assert_true(kv_apply(kv, &entry));
    ASSERT_TRACE("begin", "end");
}

/* Not begun: what a newer version has written, and what needs rights that are not merged yet. */
static void test_entries_that_are_not_begun(void **state)
{
    (void)state;
    struct kv *kv = start();
    fake.stops = true;
    assert_false(apply(kv, ENTRY_PUT, &put.base));
    assert_int_equal(parts.trace_count, 0);
    fake.stops = false;
    fake.is_auth_enabled = true;
    fake.is_prepared = false;
    assert_false(apply_for(kv, 0, ENTRY_PUT, &put.base));
    assert_int_equal(parts.trace_count, 0);
    assert_waits(0, KV_PROPOSED); /* it is found again next time */
    fake.is_prepared = true;
    assert_true(kv_apply(kv, &entry));
    assert_answered(0, OK);
}

static void test_permissions(void **state)
{
    (void)state;
    struct kv *kv = start();
    fake.is_auth_enabled = true;
    fake.check_err = ERR_PERMISSION_DENIED;
    make(kv, 0, false, ENTRY_PUT, &put.base);
    assert_true(kv_apply(kv, &entry));
    ASSERT_TRACE("begin", "end");
    assert_answered(0, ERR_PERMISSION_DENIED);
    assert_true(apply_for(kv, 1, ENTRY_PUT, &put.base)); /* of a member itself */
    assert_answered(1, OK);
    fake.is_auth_enabled = false;
    make(kv, 2, false, ENTRY_PUT, &put.base);
    assert_true(kv_apply(kv, &entry));
    assert_answered(2, OK);
}

/* --- alarms ---------------------------------------------------------------------------------------------------------- */

static void raise(struct kv *kv, Etcdserverpb__AlarmType type)
{
    Etcdserverpb__AlarmRequest m = ETCDSERVERPB__ALARM_REQUEST__INIT;
    m.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
    m.memberid = OTHER;
    m.alarm = type;
    assert_true(apply(kv, ENTRY_ALARM, &m.base));
    ASSERT_TRACE("begin", "reset space alarm", "digest", "end");
}

/* NOSPACE refuses what grows the store. */
static void test_no_space(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__LeaseGrantRequest grant = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    Etcdserverpb__DeleteRangeRequest delete = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    Etcdserverpb__RequestOp op = ETCDSERVERPB__REQUEST_OP__INIT, *ops[] = {&op};
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    raise(kv, ETCDSERVERPB__ALARM_TYPE__NOSPACE);
    assert_true(apply_for(kv, 0, ENTRY_PUT, &put.base));
    assert_answered(0, ERR_NO_SPACE);
    grant.id = LEASE;
    grant.ttl = 60;
    assert_true(apply_for(kv, 1, ENTRY_LEASE_GRANT, &grant.base));
    assert_answered(1, ERR_NO_SPACE);
    assert_true(apply(kv, ENTRY_DELETE_RANGE, &delete.base));
    ASSERT_TRACE("begin", "delete range", "end");
    assert_true(apply(kv, ENTRY_TXN, &txn.base)); /* it puts nothing */
    ASSERT_TRACE("begin", "txn", "end");
    op.request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
    op.request_put = &put;
    txn.success = ops;
    txn.n_success = 1;
    assert_true(apply(kv, ENTRY_TXN, &txn.base));
    ASSERT_TRACE("begin", "end");
}

/* CORRUPT refuses every change, where no majority is sound. */
static void test_corrupt(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__DeleteRangeRequest delete = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    Etcdserverpb__StateCheckRequest check = ETCDSERVERPB__STATE_CHECK_REQUEST__INIT;
    raise(kv, ETCDSERVERPB__ALARM_TYPE__CORRUPT);
    assert_true(apply_for(kv, 0, ENTRY_PUT, &put.base));
    assert_answered(0, OK); /* a majority is sound */
    fake.is_stopped = true;
    assert_true(apply_for(kv, 1, ENTRY_PUT, &put.base));
    assert_answered(1, ERR_CORRUPT_CLUSTER);
    assert_true(apply(kv, ENTRY_DELETE_RANGE, &delete.base));
    ASSERT_TRACE("begin", "end");
    assert_true(apply(kv, ENTRY_STATE_CHECK, &check.base));
    ASSERT_TRACE("begin", "state check", "end");
    assert_int_equal(fake.checked_index, INDEX);
    Etcdserverpb__AlarmRequest get = ETCDSERVERPB__ALARM_REQUEST__INIT;
    assert_true(apply_for(kv, 2, ENTRY_ALARM, &get.base)); /* a look changes nothing */
    ASSERT_TRACE("begin", "digest", "end");
    assert_answered(2, OK);
    assert_int_equal(((Etcdserverpb__AlarmResponse *)parts.callers[2].response)->n_alarms, 1);
}

/* --- leases ------------------------------------------------------------------------------------------------------------ */

static void grant(struct kv *kv, unsigned n, int64_t id)
{
    Etcdserverpb__LeaseGrantRequest m = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT, asked = m;
    m.id = id;
    m.ttl = 60;
    make(kv, n, true, ENTRY_LEASE_GRANT, &m.base);
    parts_request(n)->message = &asked.base; /* the id was chosen on the way: the entry has it */
    parts.trace_count = 0;
    assert_true(kv_apply(kv, &entry));
    ASSERT_TRACE("begin", "digest", "end");
}

static void test_lease_grant(void **state)
{
    (void)state;
    struct kv *kv = start();
    grant(kv, 0, LEASE);
    assert_answered(0, OK);
    const Etcdserverpb__LeaseGrantResponse *response = (void *)parts.callers[0].response;
    assert_int_equal(response->id, LEASE);
    assert_int_equal(response->ttl, 60);
    assert_int_equal(store.lease_row_size, 16);
    assert_int_equal(get_be64(store.lease_row), 60);
    assert_int_equal(store.digest_bytes, entry.data->size);
    store.lease_row_size = SIZE_MAX;
    grant(kv, 1, LEASE);
    assert_answered(1, ERR_LEASE_EXISTS);
    assert_true(store.lease_row_size == SIZE_MAX);
}

static void test_lease_revoke(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__LeaseRevokeRequest m = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    grant(kv, 0, LEASE);
    lease_attach(kv->leases, LEASE, slice_text("a"));
    lease_attach(kv->leases, LEASE, slice_text("b"));
    m.id = LEASE;
    assert_true(apply_for(kv, 1, ENTRY_LEASE_REVOKE, &m.base));
    ASSERT_TRACE("begin", "delete keys", "digest", "end");
    assert_int_equal(store.deleted_keys, 2);
    assert_int_equal(store.lease_row_size, 0); /* deleted */
    assert_false(lease_exists(kv->leases, LEASE));
    assert_answered(1, OK);
    assert_true(apply_for(kv, 2, ENTRY_LEASE_REVOKE, &m.base));
    ASSERT_TRACE("begin", "digest", "end");
    assert_answered(2, ERR_LEASE_NOT_FOUND);
}

/* The rest goes into the log and the table; a keep-alive that waited for that runs as a read again. */
static void test_lease_checkpoint(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__LeaseCheckpoint row = ETCDSERVERPB__LEASE_CHECKPOINT__INIT, gone = row,
                                  *rows[] = {&gone, &row};
    Etcdserverpb__LeaseCheckpointRequest m = ETCDSERVERPB__LEASE_CHECKPOINT_REQUEST__INIT;
    grant(kv, 0, LEASE);
    row.id = LEASE;
    row.remaining_ttl = 20;
    gone.id = LEASE + 1;
    m.checkpoints = rows;
    m.n_checkpoints = 2;
    parts_request(1)->kind = KV_KEEP_ALIVE;
    assert_true(apply_for(kv, 1, ENTRY_LEASE_CHECKPOINT, &m.base));
    assert_int_equal(get_be64(store.lease_row), 60);
    assert_int_equal(get_be64(store.lease_row + 8), 20);
    assert_int_equal(lease_logged_rest(kv->leases, LEASE), 20);
    assert_waits(1, KV_READING);
    assert_false(parts.is_read_local);
}

/* --- compaction ---------------------------------------------------------------------------------------------------------- */

static void test_compaction(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__CompactionRequest m = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    m.revision = 4;
    assert_true(apply_for(kv, 0, ENTRY_COMPACTION, &m.base));
    ASSERT_TRACE("begin", "compact", "digest", "end");
    assert_answered(0, OK);
    m.physical = true;
    assert_true(apply_for(kv, 1, ENTRY_COMPACTION, &m.base));
    assert_true(apply_for(kv, 2, ENTRY_COMPACTION, &m.base));
    assert_waits(1, KV_WAITING);
    store.compacted(store.arg, OK); /* the sweep has ended */
    assert_answered(1, OK);
    assert_answered(2, OK);
    assert_true(apply_for(kv, 3, ENTRY_COMPACTION, &m.base));
    store.compacted(store.arg, ERR_IO); /* the entry is in the log: no other error may deny it */
    assert_answered(3, ERR_STOPPED);
    store.compact_err = ERR_COMPACTED;
    assert_true(apply_for(kv, 4, ENTRY_COMPACTION, &m.base));
    assert_answered(4, ERR_COMPACTED);
}

/* --- members ------------------------------------------------------------------------------------------------------------- */

static void test_member_attributes(void **state)
{
    (void)state;
    struct kv *kv = start();
    char name[] = "c", url[] = "http://c:2", none[] = "", *urls[] = {url};
    Etcdserverpb__Attributes attributes = ETCDSERVERPB__ATTRIBUTES__INIT;
    Etcdserverpb__ClusterMemberAttrSetRequest m = ETCDSERVERPB__CLUSTER_MEMBER_ATTR_SET_REQUEST__INIT;
    attributes.name = name;
    m.member_attributes = &attributes;
    m.member_id = OTHER;
    parts.members[OTHER - 1].name = none;
    assert_true(apply_for(kv, 0, ENTRY_MEMBER_ATTRIBUTES, &m.base)); /* a claim: a name alone */
    assert_answered(0, OK);
    assert_true(parts.members[OTHER - 1].was_heard);
    assert_int_equal(fake.saved_members, 1);
    parts.members[OTHER - 1].name = name;
    assert_true(apply_for(kv, 1, ENTRY_MEMBER_ATTRIBUTES, &m.base)); /* claimed once */
    assert_answered(1, ERR_MEMBER_EXISTS);
    attributes.client_urls = urls;
    attributes.n_client_urls = 1;
    assert_true(apply_for(kv, 2, ENTRY_MEMBER_ATTRIBUTES, &m.base)); /* what a member publishes of itself */
    assert_answered(2, OK);
    m.member_id = 99;
    assert_true(apply_for(kv, 3, ENTRY_MEMBER_ATTRIBUTES, &m.base));
    assert_answered(3, ERR_MEMBER_NOT_FOUND);
    assert_int_equal(fake.saved_members, 2);
}

static void test_configuration_change(void **state)
{
    (void)state;
    struct kv *kv = start();
    blob_unref(entry.data);
    entry = (struct raft_entry){INDEX, TERM, RAFT_ENTRY_CONF_CHANGE_V2, blob_copy(slice_text("change"))};
    fake.membership_err = ERR_PEER_URL_EXISTS;
    assert_true(kv_apply(kv, &entry));
    ASSERT_TRACE("begin", "membership", "digest", "end", "answer membership");
    assert_int_equal(fake.answered_err, ERR_PEER_URL_EXISTS);
}

/* --- entries of other parts, long entries ------------------------------------------------------------------------------------ */

static void test_other_parts(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__ClusterVersionSetRequest version = ETCDSERVERPB__CLUSTER_VERSION_SET_REQUEST__INIT;
    Etcdserverpb__DowngradeInfoSetRequest downgrade = ETCDSERVERPB__DOWNGRADE_INFO_SET_REQUEST__INIT;
    Etcdserverpb__AuthEnableRequest enable = ETCDSERVERPB__AUTH_ENABLE_REQUEST__INIT;
    assert_true(apply(kv, ENTRY_CLUSTER_VERSION, &version.base));
    ASSERT_TRACE("begin", "version", "digest", "end");
    assert_true(apply_for(kv, 0, ENTRY_DOWNGRADE_INFO, &downgrade.base));
    ASSERT_TRACE("begin", "downgrade", "end"); /* members of the first level skip it */
    assert_answered(0, ERR_DOWNGRADE_TARGET);
    assert_true(apply_for(kv, 1, ENTRY_AUTH_ENABLE, &enable.base));
    ASSERT_TRACE("begin", "auth", "digest", "end");
    assert_answered(1, ERR_USER_EXISTS);
}

/* The entry stays open, and is given again until it is whole. */
static void test_long_entry(void **state)
{
    (void)state;
    struct kv *kv = start();
    fake.is_long = true;
    fake.steps = 3;
    assert_false(apply_for(kv, 0, ENTRY_PUT, &put.base));
    ASSERT_TRACE("begin", "begin slices", "step");
    assert_ptr_equal(fake.long_request, parts_request(0));
    assert_false(kv_apply(kv, &entry));
    ASSERT_TRACE("resume", "step");
    assert_true(kv_apply(kv, &entry));
    ASSERT_TRACE("resume", "step");
    fake.check_err = ERR_PERMISSION_DENIED;
    fake.is_auth_enabled = true;
    make(kv, 1, false, ENTRY_PUT, &put.base);
    assert_true(kv_apply(kv, &entry)); /* refused at once */
    ASSERT_TRACE("begin", "end");
}

static void test_prefetch(void **state)
{
    (void)state;
    struct kv *kv = start();
    make(kv, PARTS_CALLERS, true, ENTRY_PUT, &put.base);
    struct raft_entry entries[] = {entry, {.index = INDEX + 1}};
    parts.trace_count = 0;
    kv_will_apply(kv, entries, 2);
    ASSERT_TRACE("prefetch");
    (void)start();
    blob_unref(entry.data);
    entry.data = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_request),
        cmocka_unit_test(test_entry_of_another_member),
        cmocka_unit_test(test_void_entry),
        cmocka_unit_test(test_bytes_that_are_no_entry),
        cmocka_unit_test(test_entries_that_are_not_begun),
        cmocka_unit_test(test_permissions),
        cmocka_unit_test(test_no_space),
        cmocka_unit_test(test_corrupt),
        cmocka_unit_test(test_lease_grant),
        cmocka_unit_test(test_lease_revoke),
        cmocka_unit_test(test_lease_checkpoint),
        cmocka_unit_test(test_compaction),
        cmocka_unit_test(test_member_attributes),
        cmocka_unit_test(test_configuration_change),
        cmocka_unit_test(test_other_parts),
        cmocka_unit_test(test_long_entry),
        cmocka_unit_test(test_prefetch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
