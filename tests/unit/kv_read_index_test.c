/* SPDX-License-Identifier: Apache-2.0
 * ReadIndex rounds, and the lists in which reads wait: over a node that answers a round when the test says
 * so. kv_read_kinds_test has what each kind of read does when it runs. */
#include "kv_read_parts.h"

/* --- rounds --------------------------------------------------------------------------------------------- */

/* All that wait share a round; those that come while it runs wait for the next one. */
static void test_one_round_for_all(void **state)
{
    (void)state;
    struct kv *kv = start();
    ask(kv, 0);
    ask(kv, 1);
    kv_run_reads(kv);
    ask(kv, 2);
    kv_run_reads(kv);
    assert_int_equal(rounds.count, 1);
    answer_round(kv, 0, INDEX);
    assert_waits(0, KV_READY); /* runs in the turn, not from inside */
    kv_run_reads(kv);
    assert_answered(0, OK);
    assert_answered(1, OK);
    assert_waits(2, KV_READING);
    assert_int_equal(rounds.count, 2);
    answer_round(kv, 1, INDEX);
    kv_run_reads(kv);
    assert_answered(2, OK);
    kv_run_reads(kv);
    assert_int_equal(rounds.count, 2); /* nobody waits: no round */
}

/* The index of the round must be applied first; a read that may run does not wait behind one that may not. */
static void test_waits_for_the_index(void **state)
{
    (void)state;
    struct kv *kv = start();
    ask(kv, 0);
    kv_run_reads(kv);
    answer_round(kv, 0, INDEX + 1);
    Etcdserverpb__RangeRequest m = new_range(true);
    kv_range(kv, parts_request(1), &m);
    kv_run_reads(kv);
    assert_waits(0, KV_READY);
    assert_answered(1, OK);
    parts.applied_index = INDEX + 1;
    kv_run_reads(kv);
    assert_answered(0, OK);
}

/* etcd #20418: an id that is used again lets a leader that stood still answer for another round. */
static void test_no_answer(void **state)
{
    (void)state;
    struct kv *kv = start();
    ask(kv, 0);
    kv_run_reads(kv);
    ask(kv, 1);
    parts.now_ms += RETRY_MS - 1;
    kv_run_reads(kv);
    assert_int_equal(rounds.count, 1);
    parts.now_ms += 1;
    kv_run_reads(kv);
    assert_int_equal(rounds.count, 2);
    assert_int_not_equal(rounds.ids[0], rounds.ids[1]);
    answer_round(kv, 0, INDEX); /* late: of the attempt that was given up */
    kv_run_reads(kv);
    assert_waits(0, KV_READING);
    answer_round(kv, 1, INDEX);
    answer_round(kv, 1, INDEX + 9); /* twice: once is enough */
    kv_run_reads(kv);
    assert_answered(0, OK);
    assert_answered(1, OK); /* it joined the second attempt */
}

/* No id is used twice, whatever the end of the round was. */
static void test_ids_are_fresh(void **state)
{
    (void)state;
    struct kv *kv = start();
    parts.random = 99;
    for (unsigned n = 0; n < ROUNDS_MAX; n++) {
        ask(kv, n % 4);
        kv_run_reads(kv);
        parts.random++; /* every other number, as the lowest bit is set */
        if (n < 4)
            answer_round(kv, n, INDEX);
        else if (n == 5)
            kv_read_index_fail(kv, ERR_LEADER_CHANGED);
        else
            kv_read_index_forget(kv);
        kv_run_reads(kv);
        kv_cancel(kv, parts_request(n % 4));
        memset(&parts.callers[n % 4], 0, sizeof parts.callers[0]);
        parts_request(n % 4)->done = parts_on_answer;
        if (rounds.count == ROUNDS_MAX)
            break;
    }
    for (size_t i = 0; i < rounds.count; i++) {
        assert_int_not_equal(rounds.ids[i], 0);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(rounds.ids[i], rounds.ids[j]);
    }
}

/* Reads wait for a leader, and the answer to a round of before finds none. */
static void test_no_leader(void **state)
{
    (void)state;
    struct kv *kv = start();
    ask(kv, 0);
    kv_run_reads(kv);
    parts.now_ms += RETRY_MS;
    rounds.err = ERR_NO_LEADER;
    kv_run_reads(kv);
    answer_round(kv, 0, INDEX);
    kv_run_reads(kv);
    assert_waits(0, KV_READING);
    rounds.err = OK;
    kv_run_reads(kv);
    answer_round(kv, 1, INDEX);
    kv_run_reads(kv);
    assert_answered(0, OK);
}

/* --- another leader ------------------------------------------------------------------------------------- */

/* Reads of the round fail, renewals go to the new leader and keep their time; who waits for the next round
 * goes on waiting. */
static void test_new_leader_in_a_round(void **state)
{
    (void)state;
    struct kv *kv = start();
    parts_set_leader(PARTS_SELF);
    ask(kv, 0);
    kv_lease_keep_alive(kv, parts_request(1), &keep_alive);
    kv_run_reads(kv);
    ask(kv, 2);
    parts_set_leader(1);
    uint64_t begin_ms = parts.now_ms;
    parts.now_ms += 300;
    kv_read_index_fail(kv, ERR_LEADER_CHANGED);
    assert_fails(0, ERR_LEADER_CHANGED);
    assert_waits(1, KV_CALL_QUEUED);
    assert_int_equal(parts_request(1)->started_ms, begin_ms);
    assert_ptr_equal(parts_request(1)->message, &keep_alive.base);
    assert_waits(2, KV_READING);
    answer_round(kv, 0, INDEX); /* of the old leader */
    kv_run_reads(kv);
    assert_int_equal(rounds.count, 2);
    answer_round(kv, 1, INDEX);
    kv_run_reads(kv);
    assert_answered(2, OK);
}

/* A call that another member passed on is never passed on again. */
static void test_new_leader_and_a_call_of_a_member(void **state)
{
    (void)state;
    struct kv *kv = start();
    parts_set_leader(PARTS_SELF);
    parts.is_from_member = true;
    kv_lease_keep_alive(kv, parts_request(0), &keep_alive);
    kv_run_reads(kv);
    parts_set_leader(1);
    kv_read_index_fail(kv, ERR_LEADER_CHANGED);
    assert_fails(0, ERR_NOT_LEADER);
    assert_int_equal(parts.calls, 0);
}

static void test_lost_leader_in_a_round(void **state)
{
    (void)state;
    struct kv *kv = start();
    ask(kv, 0);
    kv_run_reads(kv);
    kv_read_index_forget(kv);
    answer_round(kv, 0, INDEX);
    kv_run_reads(kv); /* at once, under a fresh id */
    assert_waits(0, KV_READING);
    assert_int_equal(rounds.count, 2);
    answer_round(kv, 1, INDEX);
    kv_run_reads(kv);
    assert_answered(0, OK);
}

/* --- canceled, expired, closed --------------------------------------------------------------------------- */

static bool has_no_room(const struct kv_request *r)
{
    (void)r;
    return false;
}

static bool has_room(const struct kv_request *r)
{
    (void)r;
    return true;
}

/* 0 in next_round, 1 in round, 2 in ready (not applied), 3 parked. */
static struct kv *start_with_one_in_each_list(void)
{
    struct kv *kv = start();
    parts_request(3)->has_room = has_no_room;
    ask(kv, 3);
    ask(kv, 2);
    kv_run_reads(kv);
    answer_round(kv, 0, INDEX + 1);
    parts_request(3)->index = INDEX;
    kv_run_reads(kv);
    ask(kv, 1);
    kv_run_reads(kv);
    ask(kv, 0);
    assert_waits(2, KV_READY);
    assert_waits(3, KV_PARKED);
    return kv;
}

static void test_cancel_in_each_list(void **state)
{
    (void)state;
    for (unsigned canceled = 0; canceled < 4; canceled++) {
        struct kv *kv = start_with_one_in_each_list();
        kv_cancel(kv, parts_request(canceled));
        answer_round(kv, 1, INDEX);
        parts.applied_index = INDEX + 1;
        kv_run_reads(kv);
        if (rounds.count == 3)
            answer_round(kv, 2, INDEX);
        parts_request(3)->has_room = has_room;
        kv_resume(kv, parts_request(3));
        kv_run_reads(kv);
        for (unsigned n = 0; n < 4; n++)
            assert_int_equal(parts.callers[n].answers, n != canceled);
    }
}

/* One that is parked waits for its client and has no limit here. */
static void test_limits(void **state)
{
    (void)state;
    struct kv *kv = start_with_one_in_each_list();
    parts.now_ms += kv->settings.limit_ms - 1;
    kv_expire_reads(kv);
    assert_waits(0, KV_READING);
    assert_waits(1, KV_READING);
    assert_waits(2, KV_READY);
    parts.now_ms += 1;
    kv_expire_reads(kv);
    for (unsigned n = 0; n < 3; n++)
        assert_fails(n, ERR_TIMEOUT);
    assert_waits(3, KV_PARKED);
    answer_round(kv, 1, INDEX); /* of nobody any more */
    kv_run_reads(kv);
    assert_fails(1, ERR_TIMEOUT);
}

static void test_close(void **state)
{
    (void)state;
    struct kv *kv = start_with_one_in_each_list();
    kv_read_index_stop(kv);
    for (unsigned n = 0; n < 4; n++)
        assert_answered(n, ERR_STOPPED);
}

/* --- parked ----------------------------------------------------------------------------------------------- */

static void test_parked_and_resumed(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__RangeRequest m = new_range(true);
    parts_request(0)->has_room = has_no_room;
    kv_range(kv, parts_request(0), &m);
    kv_run_reads(kv);
    assert_waits(0, KV_PARKED);
    kv_run_reads(kv);
    assert_int_equal(fake.ranges, 0);
    parts.now_ms += 5000;
    kv_resume(kv, parts_request(0));
    assert_int_equal(parts.turns, 1);
    assert_int_equal(parts_request(0)->started_ms, parts.now_ms); /* its client's time is not ours */
    kv_run_reads(kv);
    assert_waits(0, KV_PARKED); /* still no room */
    parts_request(0)->has_room = has_room;
    kv_resume(kv, parts_request(0));
    kv_resume(kv, parts_request(0)); /* it does not wait for room now */
    assert_int_equal(parts.turns, 2);
    kv_run_reads(kv);
    assert_answered(0, OK);
}

/* A place among the reads in slices goes to the first that waits for one, not to one that waits for room. */
static void test_resume_of_scans(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__RangeRequest m = new_range(true);
    for (unsigned n = 0; n < 3; n++) {
        kv_range(kv, parts_request(n), &m);
        kv_park_read(kv, parts_request(n));
    }
    kv_resume_scan(kv);
    assert_waits(0, KV_PARKED);
    parts_request(1)->slices = parts_request(2)->slices = (void *)&scan;
    kv_resume_scan(kv);
    assert_waits(0, KV_PARKED);
    assert_waits(1, KV_READY);
    assert_waits(2, KV_PARKED);
}

static unsigned visited;

static void visit(struct kv_request *r)
{
    (void)r;
    visited++;
}

static void test_visit(void **state)
{
    (void)state;
    struct kv *kv = start_with_one_in_each_list();
    visited = 0;
    kv_visit_reads(kv, visit);
    assert_int_equal(visited, 2); /* ready and parked */
}

/* --- the turn's time ---------------------------------------------------------------------------------------- */

/* A read that is left keeps its place before the reads that became ready meanwhile, and one more turn comes. */
static void test_time_is_over(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__RangeRequest m = new_range(true);
    m.range_end = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "z"};
    for (unsigned n = 0; n < 3; n++)
        kv_range(kv, parts_request(n), &m);
    parts.ns_per_look = 2000000;
    kv_run_reads(kv);
    assert_answered(0, OK);
    assert_waits(1, KV_READY);
    assert_int_equal(parts.turns, 1);
    kv_run_reads(kv);
    assert_answered(1, OK);
    assert_waits(2, KV_READY);
    parts.ns_per_look = 0;
    fake.is_share_spent = true; /* another part has used up the turn */
    kv_range(kv, parts_request(3), &m);
    kv_run_reads(kv);
    assert_answered(2, OK);
    assert_waits(3, KV_READY);
}

/* The clock is read after every eighth small read. */
static void test_small_reads_run_in_eights(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__RangeRequest m = new_range(true);
    for (unsigned n = 0; n < PARTS_CALLERS; n++)
        kv_range(kv, parts_request(n), &m);
    parts.ns_per_look = 2000000;
    kv_run_reads(kv);
    for (unsigned n = 0; n < PARTS_CALLERS; n++)
        assert_answered(n, OK);
    assert_int_equal(parts.turns, 0);
    assert_true(fake.prefetched >= PARTS_CALLERS);
}

/* A read in slices yields to the others after each slice. */
static void test_slices(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__HashRequest hash = ETCDSERVERPB__HASH_REQUEST__INIT;
    kv_hash(kv, parts_request(0), &hash);
    kv_run_reads(kv);
    assert_int_equal(fake.scans_started, 1);
    fake.yields = true;
    parts.now_ms += 100;
    ask(kv, 1);
    kv_run_reads(kv);
    assert_int_equal(fake.scan_slices, 1);
    assert_int_equal(parts_request(0)->started_ms, parts.now_ms); /* it makes progress */
    answer_round(kv, 0, INDEX);
    kv_run_reads(kv);
    assert_answered(1, OK);
    fake.yields = false;
    kv_run_reads(kv);
    assert_answered(0, OK);
}

/* Small reads run before the slices of others that were there first, and one slice runs whatever they take. */
static void test_small_reads_come_first(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__HashRequest hash = ETCDSERVERPB__HASH_REQUEST__INIT;
    Etcdserverpb__RangeRequest m = new_range(true);
    kv_hash(kv, parts_request(0), &hash);
    kv_hash(kv, parts_request(1), &hash);
    kv_run_reads(kv);
    assert_int_equal(fake.scans_started, 2);
    fake.yields = true;
    for (unsigned n = 2; n < 6; n++)
        kv_range(kv, parts_request(n), &m);
    parts.ns_per_look = 2000000; /* a slice ends the time */
    kv_run_reads(kv);
    for (unsigned n = 2; n < 6; n++)
        assert_answered(n, OK);
    assert_int_equal(fake.scan_slices, 1);
    kv_run_reads(kv);
    assert_int_equal(fake.scan_slices, 2);
    m.range_end = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "z"}; /* a look at the clock after each */
    kv_range(kv, parts_request(6), &m);
    kv_range(kv, parts_request(7), &m);
    kv_run_reads(kv);
    assert_answered(6, OK);
    assert_waits(7, KV_READY);
    assert_int_equal(fake.scan_slices, 3);
}

static void test_slices_are_short_beside_small_calls(void **state)
{
    (void)state;
    struct kv *kv = start();
    Etcdserverpb__HashRequest hash = ETCDSERVERPB__HASH_REQUEST__INIT;
    Etcdserverpb__RangeRequest m = new_range(true);
    fake.yields = true;
    kv_hash(kv, parts_request(0), &hash);
    kv_run_reads(kv);
    kv_run_reads(kv);
    assert_int_equal(kv_slice_units(kv, 800), 800);
    kv_range(kv, parts_request(1), &m);
    kv_run_reads(kv);
    assert_int_equal(kv_slice_units(kv, 800), 100);
    for (unsigned n = 0; n < 100; n++)
        kv_run_reads(kv);
    assert_int_equal(kv_slice_units(kv, 800), 800);
    fake.pending = 1;
    assert_int_equal(kv_slice_units(kv, 800), 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_round_for_all),
        cmocka_unit_test(test_waits_for_the_index),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_ids_are_fresh),
        cmocka_unit_test(test_no_leader),
        cmocka_unit_test(test_new_leader_in_a_round),
        cmocka_unit_test(test_new_leader_and_a_call_of_a_member),
        cmocka_unit_test(test_lost_leader_in_a_round),
        cmocka_unit_test(test_cancel_in_each_list),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_parked_and_resumed),
        cmocka_unit_test(test_resume_of_scans),
        cmocka_unit_test(test_visit),
        cmocka_unit_test(test_time_is_over),
        cmocka_unit_test(test_small_reads_run_in_eights),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_small_reads_come_first),
        cmocka_unit_test(test_slices_are_short_beside_small_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
