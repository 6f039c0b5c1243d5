/* SPDX-License-Identifier: Apache-2.0
 * Each kind of read when its index is applied: ranges, renewals of leases, permissions. The rounds
 * before are in kv_read_index_test. */
#include "kv_read_parts.h"

/* --- single kinds -------------------------------------------------------------------------------------------- */

static bool take_part(struct kv_request *r, const ProtobufCMessage *part)
{
    (void)r;
    (void)part;
    return true;
}

static void test_ranges(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__RangeRequest m = new_range(true), linearizable = new_range(false);
    fake.check_err = ERR_KEY_EMPTY;
    kv_range(kv, parts_request(0), &m);
    assert_fails(0, ERR_KEY_EMPTY);
    fake.check_err = OK;
    kv_range(kv, parts_request(1), &linearizable);
    assert_waits(1, KV_READING);
    fake.range_err = ERR_COMPACTED;
    kv_range(kv, parts_request(2), &m);
    kv_run_reads(kv);
    assert_answered(2, ERR_COMPACTED);
    fake.range_err = OK;
    fake.is_long = true;
    kv_range(kv, parts_request(3), &m); /* its caller takes no parts: in one piece */
    parts_request(4)->on_part = take_part;
    kv_range(kv, parts_request(4), &m);
    kv_run_reads(kv);
    assert_answered(3, OK);
    const Etcdserverpb__RangeResponse *response = (void *)parts.callers[3].response;
    assert_int_equal(response->header->revision, parts.revision);
    assert_int_equal(response->header->cluster_id, PARTS_CLUSTER);
    assert_waits(4, KV_READY);
    assert_int_equal(fake.scans_started, 1);
}

static void test_other_kinds(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__TxnRequest txn = ETCDSERVERPB__TXN_REQUEST__INIT;
    Etcdserverpb__LeaseLeasesRequest leases = ETCDSERVERPB__LEASE_LEASES_REQUEST__INIT;
    Etcdserverpb__MemberListRequest members = ETCDSERVERPB__MEMBER_LIST_REQUEST__INIT;
    Etcdserverpb__DefragmentRequest defragment = ETCDSERVERPB__DEFRAGMENT_REQUEST__INIT;
    kv_start_read(kv, parts_request(0), KV_TXN_READ, &txn.base, true);
    kv_lease_leases(kv, parts_request(1), &leases);
    kv_member_list(kv, parts_request(2), &members);
    kv_defragment(kv, parts_request(3), &defragment);
    members.linearizable = true;
    kv_member_list(kv, parts_request(4), &members);
    kv_run_reads(kv);
    assert_answered(0, OK);
    assert_answered(1, OK);
    assert_int_equal(((const Etcdserverpb__LeaseLeasesResponse *)parts.callers[1].response)->n_leases, 2);
    assert_answered(2, OK);
    assert_waits(3, KV_WAITING);
    assert_int_equal(fake.defrags, 1);
    assert_waits(4, KV_READING);
}

static void test_permissions_and_quarantine(void **state)
{
    (void)state;
    struct kv *kv = start();
    struct auth_who who = {0};
    Etcdserverpb__RangeRequest m = new_range(true);
    fake.is_auth_enabled = true;
    fake.read_check_err = ERR_PERMISSION_DENIED;
    parts_request(0)->who = &who;
    kv_range(kv, parts_request(0), &m);
    kv_range(kv, parts_request(1), &m); /* of this process itself */
    kv_run_reads(kv);
    assert_answered(0, ERR_PERMISSION_DENIED);
    assert_answered(1, OK);
    assert_int_equal(fake.checked, 1);
    parts.is_diverged = true;
    kv_range(kv, parts_request(2), &m);
    kv_barrier(kv, parts_request(3));
    assert_fails(2, ERR_CORRUPT_CLUSTER);
    assert_fails(3, ERR_CORRUPT_CLUSTER);
}

/* --- leases --------------------------------------------------------------------------------------------------- */

static void test_who_serves_a_renewal(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_lease_keep_alive(kv, parts_request(0), &keep_alive);
    assert_waits(0, KV_CALL_QUEUED);
    parts.is_from_member = true; /* it thinks that we lead: a round says whether */
    kv_lease_keep_alive(kv, parts_request(1), &keep_alive);
    assert_waits(1, KV_READING);
    parts.is_from_member = false;
    parts_set_leader(PARTS_SELF);
    kv_lease_keep_alive(kv, parts_request(2), &keep_alive);
    assert_waits(2, KV_READING);
    kv = start();
    kv->peers = NULL; /* alone */
    kv_lease_keep_alive(kv, parts_request(0), &keep_alive);
    assert_waits(0, KV_READING);
}

/* An election timeout counts from the begin of the round, not from its answer. */
static uint64_t round_ms;

static struct kv *start_renewal(void)
{
    struct kv *kv = start();
    parts_set_leader(PARTS_SELF);
    kv_lease_keep_alive(kv, parts_request(0), &keep_alive);
    kv_run_reads(kv);
    round_ms = parts.now_ms;
    parts.now_ms += 300;
    answer_round(kv, 0, INDEX);
    return kv;
}

static void assert_renewed(int64_t ttl)
{
    assert_answered(0, OK);
    const Etcdserverpb__LeaseKeepAliveResponse *response = (void *)parts.callers[0].response;
    assert_int_equal(response->id, LEASE);
    assert_int_equal(response->ttl, ttl);
}

static void test_renewal(void **state)
{
    (void)state;
    struct kv *kv = start_renewal();
    parts.now_ms = round_ms + kv->settings.election_ms - 1;
    kv_run_reads(kv);
    assert_renewed(60);
    kv = start_renewal();
    fake.renew_err = ERR_LEASE_NOT_FOUND; /* no error for the client */
    kv_run_reads(kv);
    assert_renewed(0);
    kv = start_renewal();
    fake.renew_err = ERR_NOT_PRIMARY_LESSOR;
    kv_run_reads(kv);
    assert_answered(0, ERR_NOT_PRIMARY_LESSOR);
}

/* An election timeout after its round began, another member may lead: a new round, or the new leader. */
static void test_renewal_comes_late(void **state)
{
    (void)state;
    struct kv *kv = start_renewal();
    parts.now_ms = round_ms + kv->settings.election_ms;
    kv_run_reads(kv);
    assert_waits(0, KV_READING);
    kv_run_reads(kv);
    answer_round(kv, 1, INDEX);
    kv_run_reads(kv);
    assert_renewed(60);
    assert_int_equal(fake.renewals, 1);
    kv = start_renewal();
    parts.leads_now = false; /* raft knows, the last report does not */
    kv_run_reads(kv);
    assert_waits(0, KV_CALL_QUEUED);
    assert_int_equal(fake.renewals, 0);
}

/* The log knows a shorter rest: it goes first, then the renewal runs again. */
static void test_renewal_after_a_checkpoint(void **state)
{
    (void)state;
    struct kv *kv = start_renewal();
    fake.is_checkpointed = true;
    kv_run_reads(kv);
    assert_waits(0, KV_PROPOSED);
    const Etcdserverpb__LeaseCheckpointRequest *m = parts_proposed(0, ENTRY_LEASE_CHECKPOINT);
    assert_int_equal(m->n_checkpoints, 1);
    assert_int_equal(m->checkpoints[0]->id, LEASE);
    assert_int_equal(m->checkpoints[0]->remaining_ttl, 0);
    assert_ptr_equal(parts_request(0)->message, &keep_alive.base);
    assert_int_equal(fake.renewals, 0);
    assert_true(list_is_empty(&kv->read_index.ready));
}

static void test_time_to_live(void **state)
{
    (void)state;
    struct kv *kv = start();
    parts_set_leader(PARTS_SELF);
    Etcdserverpb__LeaseTimeToLiveRequest m = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    m.id = LEASE;
    m.keys = true;
    kv_lease_time_to_live(kv, parts_request(0), &m);
    kv_run_reads(kv);
    answer_round(kv, 0, INDEX);
    fake.is_paused = true; /* keys come and go while an entry is open */
    kv_run_reads(kv);
    assert_waits(0, KV_READY);
    fake.is_paused = false;
    kv_run_reads(kv);
    assert_answered(0, OK);
    const Etcdserverpb__LeaseTimeToLiveResponse *response = (void *)parts.callers[0].response;
    assert_int_equal(response->ttl, 40);
    assert_int_equal(response->grantedttl, 60);
    assert_int_equal(response->n_keys, 1);
    kv_lease_time_to_live(kv, parts_request(1), &m);
    kv_run_reads(kv);
    answer_round(kv, 1, INDEX);
    fake.is_lease_long = true;
    kv_run_reads(kv);
    assert_int_equal(fake.scans_started, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_other_kinds),
        cmocka_unit_test(test_permissions_and_quarantine),
        cmocka_unit_test(test_who_serves_a_renewal),
        cmocka_unit_test(test_renewal),
        cmocka_unit_test(test_renewal_comes_late),
        cmocka_unit_test(test_renewal_after_a_checkpoint),
        cmocka_unit_test(test_time_to_live),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
