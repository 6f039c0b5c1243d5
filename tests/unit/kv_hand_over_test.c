/* SPDX-License-Identifier: Apache-2.0
 * Transfers of the lead: MoveLeader, before a shutdown, and by a leader that was removed, over a node that
 * only records to which member the lead goes. */
#define KV_PARTS_REAL_HAND_OVER
#include "kv_parts.h"

enum { ELECTION_MS = 1000, LIMIT_MS = 7000 };

static struct {
    uint64_t to;
    unsigned transfers, ends;
} fake;

void node_transfer(struct node *n, uint64_t to)
{
    (void)n;
    fake.to = to;
    fake.transfers++;
}

static void on_end(void *arg)
{
    assert_ptr_equal(arg, &fake);
    fake.ends++;
}

/* --- a member ---------------------------------------------------------------------------------------------- */

static struct kv *start(uint64_t leader)
{
    struct kv *kv = parts_start();
    memset(&fake, 0, sizeof fake);
    parts_set_leader(leader);
    kv_hand_over_init(&kv->hand_over);
    return kv;
}

static struct raft_progress_status *add_progress(uint64_t id, uint64_t match)
{
    struct raft_progress_status *p = &parts.status.progress[parts.status.progress_count++];
    *p = (struct raft_progress_status){.id = id, .match = match, .recent_active = true};
    return p;
}

static void move(struct kv *kv, unsigned n, Etcdserverpb__MoveLeaderRequest *m, uint64_t to)
{
    etcdserverpb__move_leader_request__init(m);
    m->targetid = to;
    kv_move_leader(kv, parts_request(n), m);
}

/* --- MoveLeader -------------------------------------------------------------------------------------------- */

static void test_moves(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    Etcdserverpb__MoveLeaderRequest m;
    move(kv, 0, &m, 3);
    assert_waits(0, KV_MOVING);
    assert_int_equal(fake.to, 3);
    assert_int_equal(parts.turns, 1);
    kv_check_hand_over(kv);
    parts_set_leader(0); /* an election */
    kv_check_hand_over(kv);
    parts_set_leader(1); /* another member was faster */
    kv_check_hand_over(kv);
    assert_waits(0, KV_MOVING);
    parts_set_leader(3);
    kv_check_hand_over(kv);
    assert_answered(0, OK);
    assert_non_null(parts.callers[0].response);
}

static void test_refused_moves(void **state)
{
    (void)state;
    Etcdserverpb__MoveLeaderRequest m;
    struct kv *kv = start(1);
    move(kv, 0, &m, 3);
    assert_fails(0, ERR_NOT_LEADER);
    kv = start(PARTS_SELF);
    parts.conf.voters.count = 2; /* member 3 is a learner */
    move(kv, 0, &m, 3);
    move(kv, 1, &m, 99);
    assert_fails(0, ERR_BAD_LEADER_TRANSFEREE);
    assert_fails(1, ERR_BAD_LEADER_TRANSFEREE);
    assert_int_equal(fake.transfers, 0);
}

static void test_limit_cancel_and_close(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    Etcdserverpb__MoveLeaderRequest m[4];
    move(kv, 0, &m[0], 3);
    move(kv, 1, &m[1], 3);
    kv_cancel(kv, parts_request(1));
    parts.now_ms += LIMIT_MS;
    move(kv, 2, &m[2], 1);
    kv_check_hand_over(kv);
    assert_waits(0, KV_MOVING);
    parts.now_ms += 1;
    kv_check_hand_over(kv);
    assert_fails(0, ERR_TIMEOUT_LEADER_TRANSFER);
    assert_waits(2, KV_MOVING);
    assert_int_equal(parts.callers[1].answers, 0);
    kv_hand_over_stop(kv);
    assert_answered(2, ERR_STOPPED);
}

/* --- the successor ------------------------------------------------------------------------------------------ */

/* The longest log, of voters that were heard of. */
static void test_best_successor(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    parts_set_voters(5);
    add_progress(1, 80);
    add_progress(PARTS_SELF, 100);
    add_progress(3, 90);
    add_progress(4, 95)->recent_active = false;
    parts.inactive_member = 4;
    add_progress(6, 99);                 /* no voter (any more) */
    add_progress(5, 99)->learner = true; /* of the other half of a joint configuration */
    assert_true(kv_transfer_lead(kv));
    assert_int_equal(fake.to, 3);
    parts.inactive_member = 0; /* raft has forgotten that it was heard, the connection stands */
    assert_true(kv_on_hand_over(kv));
    assert_int_equal(fake.to, 4);
}

/* A member that has just stopped was heard of too, and often with the longest log. */
static void test_stopped_successor(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    parts_set_voters(5);
    add_progress(1, 100);
    add_progress(3, 90);
    add_progress(4, 100);
    parts.inactive_member = 4;
    assert_true(kv_transfer_lead(kv));
    assert_int_equal(fake.to, 1);
    parts.status.progress_count = 0; /* but it is better than nobody */
    add_progress(4, 100);
    assert_true(kv_transfer_lead(kv));
    assert_int_equal(fake.to, 4);
}

static void test_no_successor(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    add_progress(PARTS_SELF, 100);
    assert_false(kv_transfer_lead(kv));
    add_progress(3, 0); /* a log that has nothing yet is better than no leader */
    assert_true(kv_transfer_lead(kv));
    parts.leads_now = false; /* the last report is old */
    assert_false(kv_transfer_lead(kv));
    assert_int_equal(fake.transfers, 1);
}

/* --- before a shutdown --------------------------------------------------------------------------------------- */

static void test_shutdown(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    add_progress(3, 100);
    kv_hand_over(kv, on_end, &fake);
    assert_int_equal(fake.to, 3);
    assert_int_equal(parts.turns, 1);
    kv_check_hand_over(kv);
    parts_set_leader(0);
    kv_check_hand_over(kv);
    assert_int_equal(fake.ends, 0);
    parts_set_leader(1); /* whoever it is */
    kv_check_hand_over(kv);
    kv_check_hand_over(kv);
    assert_int_equal(fake.ends, 1);
}

static void test_shutdown_without_a_new_leader(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    add_progress(3, 100);
    kv_hand_over(kv, on_end, &fake);
    parts.now_ms += ELECTION_MS - 1;
    kv_check_hand_over(kv);
    assert_int_equal(fake.ends, 0);
    parts.now_ms += 1;
    kv_check_hand_over(kv);
    kv_check_hand_over(kv);
    assert_int_equal(fake.ends, 1);
}

static void test_nothing_to_hand_over(void **state)
{
    (void)state;
    struct kv *kv = start(1);
    add_progress(3, 100);
    kv_hand_over(kv, on_end, &fake);
    assert_int_equal(fake.ends, 1);
    kv = start(PARTS_SELF);
    add_progress(3, 100);
    kv->peers = NULL;
    kv_hand_over(kv, on_end, &fake);
    assert_int_equal(fake.ends, 1);
    kv = start(PARTS_SELF); /* nobody is there to take it */
    kv_hand_over(kv, on_end, &fake);
    assert_int_equal(fake.ends, 1);
    assert_int_equal(fake.transfers, 0);
}

/* --- a leader that was removed --------------------------------------------------------------------------------- */

static void test_removed_leader(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    add_progress(3, 100);
    kv_check_hand_over(kv);
    parts.removed_ms = parts.now_ms;
    kv_check_hand_over(kv);
    assert_int_equal(fake.transfers, 0); /* the others have not applied it yet */
    parts.now_ms += 1;
    kv_check_hand_over(kv);
    assert_int_equal(fake.to, 3);
    parts_set_leader(3);
    kv_check_hand_over(kv);
    assert_int_equal(fake.transfers, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moves),
        cmocka_unit_test(test_refused_moves),
        cmocka_unit_test(test_limit_cancel_and_close),
        cmocka_unit_test(test_best_successor),
        cmocka_unit_test(test_stopped_successor),
        cmocka_unit_test(test_no_successor),
        cmocka_unit_test(test_shutdown),
        cmocka_unit_test(test_shutdown_without_a_new_leader),
        cmocka_unit_test(test_nothing_to_hand_over),
        cmocka_unit_test(test_removed_leader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
