/* SPDX-License-Identifier: Apache-2.0
 * Tests of the public API (kv.h) of several members on virtual time: elections, writes and reads on each
 * member, a leader that is lost, restarts, leases over members. */
#include "tests/unit/cluster_world.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "consensus/peer/codec.h"

static int64_t keep_alive(struct machine *m, int64_t lease, int *ret_err)
{
    struct question q = {0};
    Etcdserverpb__LeaseKeepAliveRequest alive = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    alive.id = lease;
    ASK(m, &q, kv_lease_keep_alive, &alive);
    *ret_err = q.err;
    int64_t ttl = q.err ? -1 : ((Etcdserverpb__LeaseKeepAliveResponse *)q.response)->ttl;
    question_done(&q);
    return ttl;
}

static int grant(struct machine *m, int64_t id, int64_t ttl)
{
    struct question q = {0};
    Etcdserverpb__LeaseGrantRequest g = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    g.id = id;
    g.ttl = ttl;
    ASK(m, &q, kv_lease_grant, &g);
    int err = q.err;
    question_done(&q);
    return err;
}

/* --- tests ------------------------------------------------------------------------------------------- */

static void every_member_serves_writes_and_reads(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    world_wait_for_leader(w);
    assert_true(kv_cluster_id(w->machines[0].kv) == kv_cluster_id(w->machines[2].kv));
    for (unsigned i = 0; i < 3; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%u", i);
        assert_int_equal(world_put(&w->machines[i], key, "v", 0), OK);
        for (unsigned j = 0; j < 3; j++)
            world_expect(&w->machines[j], key, "v");
        assert_true(w->machines[i].is_ready);
    }
    assert_int_equal(world_put(&w->machines[0], "k0", "again", 0), OK);
    world_expect(&w->machines[1], "k0", "again");
    world_expect_equal_stores(w);
    world_free(w);
}

static void another_member_leads_when_the_leader_fails(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *first = world_wait_for_leader(w);
    assert_int_equal(world_put(first, "a", "1", 0), OK);
    machine_stop(first);
    struct machine *second = world_wait_for_leader(w);
    assert_ptr_not_equal(first, second);
    world_expect(second, "a", "1");
    assert_int_equal(world_put(world_follower(w), "a", "2", 0), OK);
    machine_start(first, false);
    world_wait_for_leader(w);
    world_expect(first, "a", "2");
    world_expect_equal_stores(w);
    world_free(w);
}

/* A write that arrives without a leader waits for one. */
static void writes_and_reads_wait_for_a_leader(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *first = world_wait_for_leader(w);
    machine_stop(first);
    struct machine *other = world_follower(w);
    while (kv_leader(other->kv))
        world_step(w);
    assert_int_equal(world_put(other, "a", "1", 0), OK);
    world_expect(other, "a", "1");
    world_free(w);
}

/* Power cuts on all members, one after the other and all at once: acknowledged writes are there. */
static void acknowledged_writes_survive_crashes(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    for (unsigned round = 0; round < 6; round++) {
        char value[8];
        snprintf(value, sizeof value, "%u", round);
        struct machine *leader = world_wait_for_leader(w);
        assert_int_equal(world_put(round % 2 ? leader : world_follower(w), "a", value, 0), OK);
        if (round == 4) {
            for (unsigned i = 0; i < 3; i++)
                machine_crash(&w->machines[i]);
            for (unsigned i = 0; i < 3; i++)
                machine_start(&w->machines[i], false);
            leader = world_wait_for_leader(w);
        } else {
            struct machine *victim = round % 3 ? leader : world_follower(w);
            machine_crash(victim);
            world_wait_for_leader(w);
            machine_start(victim, false);
            world_wait_for_leader(w);
        }
        for (unsigned i = 0; i < 3; i++)
            world_expect(&w->machines[i], "a", value);
    }
    world_expect_equal_stores(w);
    world_free(w);
}

static void start_put(struct machine *m, struct question *q, Etcdserverpb__PutRequest *put)
{
    q->request.done = question_on_done;
    put->key = world_bytes("a");
    put->value = world_bytes("lost");
    kv_put(m->kv, &q->request, put);
    kv_turn(m->kv); /* it is on its way to the leader */
}

/* A message in flight is lost when its stream breaks; the client gets the error when the loss is certain. */
static void a_write_that_a_broken_stream_loses_ends_soon(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w), *follower = world_follower(w);
    struct question lost = {0}, kept = {0};
    Etcdserverpb__PutRequest first = ETCDSERVERPB__PUT_REQUEST__INIT, second = first;
    assert_int_equal(world_put(follower, "a", "1", 0), OK);
    start_put(follower, &kept, &first);
    world_run_ms(w, 2); /* the leader has it */
    start_put(follower, &lost, &second);
    uint64_t before = w->clock.now_ns;
    follower->is_cut = true;
    world_run_ms(w, 20);
    follower->is_cut = false;
    follower->events->on_unreachable(follower->events_arg, leader->id, PEER_STREAM_LOG);
    follower->events->on_reachable(follower->events_arg, leader->id, PEER_STREAM_LOG);
    world_wait_for(w, &lost);
    assert_int_equal(lost.err, ERR_TIMEOUT_CONNECTION_LOST);
    assert_true(w->clock.now_ns - before < 1500000000);
    world_wait_for(w, &kept);
    assert_int_equal(kept.err, OK);
    assert_int_equal(world_put(follower, "b", "1", 0), OK);
    question_done(&kept);
    question_done(&lost);
    world_free(w);
}

static void a_write_that_a_dying_leader_loses_ends_soon(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w), *follower = world_follower(w);
    struct question lost = {0};
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    assert_int_equal(world_put(follower, "a", "1", 0), OK);
    start_put(follower, &lost, &put);
    machine_crash(leader);
    world_wait_for_leader(w);
    uint64_t before = w->clock.now_ns;
    world_wait_for(w, &lost);
    assert_int_equal(lost.err, ERR_TIMEOUT_LEADER_FAIL);
    assert_true(w->clock.now_ns - before < 2000000000);
    world_expect(follower, "a", "1");
    question_done(&lost);
    world_free(w);
}

/* All members were killed; measures from their start until one leads. */
static uint64_t restart_all(struct world *w)
{
    for (unsigned i = 0; i < 3; i++)
        machine_crash(&w->machines[i]);
    sim_clock_run(&w->clock); /* their earlier messages are lost */
    for (unsigned i = 0; i < 3; i++)
        machine_start(&w->machines[i], false);
    uint64_t before = w->clock.now_ns;
    for (unsigned i = 0; i < 9; i++) {
        struct machine *m = &w->machines[i / 3], *other = &w->machines[i % 3];
        if (m != other)
            m->events->on_reachable(m->events_arg, other->id, PEER_STREAM_LOG);
    }
    while (!world_leader(w))
        world_step(w);
    return w->clock.now_ns - before;
}

/* --initial-election-tick-advance: a member that reaches a majority at its start does not wait longer than a
 * leader's heartbeat would take. */
static void members_that_start_together_elect_soon(void **state)
{
    (void)state;
    enum { ROUNDS = 10 };
    struct world *w = world_new(3);
    world_wait_for_leader(w);
    for (unsigned i = 0; i < ROUNDS; i++)
        assert_true(restart_all(w) >= 1000000000);
    world_advances_ticks = true;
    uint64_t sum = 0;
    for (unsigned i = 0; i < ROUNDS; i++)
        sum += restart_all(w);
    world_advances_ticks = false;
    assert_true(sum / ROUNDS >= 200000000 && sum / ROUNDS < 700000000);
    world_free(w);
}

static void without_a_quorum_nothing_is_answered(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w);
    int err;
    assert_int_equal(world_put(leader, "a", "1", 0), OK);
    leader->is_cut = true;
    struct question q = {.request.done = question_on_done};
    Etcdserverpb__RangeRequest range = ETCDSERVERPB__RANGE_REQUEST__INIT;
    range.key = world_bytes("a");
    kv_range(leader->kv, &q.request, &range); /* the former leader does not know it */
    struct machine *next = world_wait_for_leader(w);
    assert_int_equal(world_put(next, "a", "2", 0), OK);
    world_wait_for(w, &q);
    assert_int_equal(q.err, ERR_TIMEOUT);
    question_done(&q);
    assert_int_equal(world_put(leader, "a", "3", 0), ERR_TIMEOUT);
    leader->is_cut = false;
    world_wait_for_leader(w);
    world_get(leader, "a", &err);
    world_expect(leader, "a", "2");
    world_free(w);
}

static void leases_are_kept_through_every_member(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w), *follower = world_follower(w);
    int err;
    assert_int_equal(grant(follower, 7, 3), OK);
    assert_int_equal(world_put(follower, "a", "1", 7), OK);
    for (int i = 0; i < 10; i++) {
        world_run_ms(w, 1000);
        assert_int_equal(keep_alive(i % 2 ? follower : leader, 7, &err), 3);
        assert_int_equal(err, OK);
    }
    assert_int_equal(keep_alive(follower, 8, &err), 0); /* there is none */
    assert_int_equal(err, OK);
    struct question q = {0};
    Etcdserverpb__LeaseTimeToLiveRequest live = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    live.id = 7;
    live.keys = true;
    ASK(follower, &q, kv_lease_time_to_live, &live);
    assert_int_equal(q.err, OK);
    const Etcdserverpb__LeaseTimeToLiveResponse *r = (Etcdserverpb__LeaseTimeToLiveResponse *)q.response;
    assert_int_equal(r->grantedttl, 3);
    assert_true(r->ttl >= 2);
    assert_int_equal(r->n_keys, 1);
    assert_true(r->header->member_id == kv_member_id(follower->kv));
    question_done(&q);

    /* A leader that is cut off neither renews the lease nor ends it; the next leader gives it its full time.
     */
    leader->is_cut = true;
    struct machine *next = world_wait_for_leader(w);
    assert_int_equal(keep_alive(leader, 7, &err), -1);
    assert_true(err == ERR_TIMEOUT || err == ERR_NO_LEADER);
    assert_true(world_leader(w) == next);
    world_expect(next, "a", "");
    leader->is_cut = false;
    world_wait_for_leader(w);
    world_expect(leader, "a", "");
    world_expect_equal_stores(w);
    world_free(w);
}

static void a_lease_outlives_its_leader(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w);
    assert_int_equal(grant(leader, 7, 4), OK);
    assert_int_equal(world_put(leader, "a", "1", 7), OK);
    for (int i = 0; i < 5; i++) {
        int err;
        leader = world_wait_for_leader(w);
        assert_int_equal(keep_alive(world_follower(w), 7, &err), 4);
        machine_stop(leader);
        struct machine *gone = leader;
        world_wait_for_leader(w);
        world_run_ms(w, 1500);
        machine_start(gone, false);
    }
    world_expect(world_wait_for_leader(w), "a", "1");
    world_run_ms(w, 7000);
    world_expect(world_wait_for_leader(w), "a", "");
    world_free(w);
}

static void leadership_is_transferred_on_request(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w), *follower = world_follower(w);
    struct question q = {0};
    Etcdserverpb__MoveLeaderRequest m = ETCDSERVERPB__MOVE_LEADER_REQUEST__INIT;
    m.targetid = follower->id;
    ASK(follower, &q, kv_move_leader, &m);
    assert_int_equal(q.err, ERR_NOT_LEADER);
    question_done(&q);
    m.targetid = 4711;
    ASK(leader, &q, kv_move_leader, &m);
    assert_int_equal(q.err, ERR_BAD_LEADER_TRANSFEREE);
    question_done(&q);
    m.targetid = follower->id;
    uint64_t before = w->clock.now_ns;
    ASK(leader, &q, kv_move_leader, &m);
    assert_int_equal(q.err, OK);
    assert_true(w->clock.now_ns - before < 200000000);
    question_done(&q);
    assert_ptr_equal(world_wait_for_leader(w), follower);
    world_free(w);
}

/* Writes that arrive while leadership moves wait for the next leader, on every member; each happens once. */
static void no_write_is_lost_when_the_lead_moves(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w), *follower = world_follower(w);
    struct question move = {.request.done = question_on_done}, writes[60] = {0};
    Etcdserverpb__MoveLeaderRequest m = ETCDSERVERPB__MOVE_LEADER_REQUEST__INIT;
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    int64_t before = kv_revision(leader->kv);
    put.key = world_bytes("a");
    m.targetid = follower->id;
    for (unsigned i = 0; i < 60; i++) {
        if (i == 10)
            kv_move_leader(leader->kv, &move.request, &m);
        writes[i].request.done = question_on_done;
        kv_put(w->machines[i % 3].kv, &writes[i].request, &put);
        world_step(w);
    }
    uint64_t start = w->clock.now_ns;
    for (unsigned i = 0; i < 60; i++) {
        world_wait_for(w, &writes[i]);
        assert_int_equal(writes[i].err, OK);
        question_done(&writes[i]);
    }
    world_wait_for(w, &move);
    assert_int_equal(move.err, OK);
    question_done(&move);
    assert_true(w->clock.now_ns - start < 1000000000);
    world_run_ms(w, 300);
    assert_int_equal(kv_revision(leader->kv), before + 60);
    world_expect_equal_stores(w);
    world_free(w);
}

/* Forged RPCs and answers, whole or truncated, with the numbers of pending calls among them. */
static void forged_messages_are_survived(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w), *follower = world_follower(w);
    struct question q = {.request.done = question_on_done};
    Etcdserverpb__LeaseTimeToLiveRequest live = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    uint64_t random = 4711;
    assert_int_equal(grant(leader, 7, 100), OK);
    live.id = 7;
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t bytes[64];
        size_t size = sim_random(&random) % sizeof bytes;
        for (size_t j = 0; j < size; j++)
            bytes[j] = (uint8_t)(sim_random(&random) >> (j % 3 ? 60 : 20));
        struct machine *to = i % 2 ? leader : follower, *from = i % 2 ? follower : leader;
        if (size)
            bytes[0] = (uint8_t)(i % 3 == 0 ? CODEC_CALL : i % 3 == 1 ? CODEC_REPLY : 6 + i % 250);
        if (size > 1)
            bytes[1] = (uint8_t)(sim_random(&random) % 6);
        if (i % 100 == 0) {
            question_done(&q);
            q.request.done = question_on_done;
            kv_lease_time_to_live(follower->kv, &q.request, &live);
            world_step(w);
        }
        if (size > 9 && !q.is_done && i % 4 == 0)
            put_be64(bytes + 2, q.request.id);
        to->events->on_message(to->events_arg, from->id, PEER_STREAM_LOG, slice_of(bytes, size));
        if (i % 10 == 0)
            world_step(w);
        if (i % 100 == 99)
            world_wait_for(w, &q);
    }
    question_done(&q);
    assert_int_equal(world_put(follower, "a", "1", 0), OK);
    world_expect_equal_stores(w);
    world_free(w);
}

static void a_leader_hands_over_before_it_stops(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w), *follower = world_follower(w);
    kv_hand_over(follower->kv, world_count_done, follower);
    assert_true(follower->done_count);
    kv_hand_over(leader->kv, world_count_done, leader);
    world_run_ms(w, 200);
    assert_true(leader->done_count);
    assert_ptr_not_equal(world_leader(w), leader);
    assert_int_equal(world_put(leader, "a", "1", 0), OK);
    world_free(w);
}

/* Also at the moment when the member has just cleared its list of active members, once per election timeout.
 */
static void a_leader_hands_over_at_any_time(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    world_wait_for_leader(w);
    for (unsigned ms = 780; ms < 920; ms++) {
        world_run_ms(w, ms);
        struct machine *leader = world_wait_for_leader(w);
        unsigned before = leader->done_count;
        kv_hand_over(leader->kv, world_count_done, leader);
        if (leader->done_count != before)
            fail_msg("%u ms after it became leader it knows no follower", ms);
        world_run_ms(w, 200);
        assert_ptr_not_equal(world_wait_for_leader(w), leader);
    }
    world_free(w);
}

int main(void)
{
    log_set_level(getenv("VERBOSE") ? LOG_INFO : LOG_FATAL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_member_serves_writes_and_reads),
        cmocka_unit_test(another_member_leads_when_the_leader_fails),
        cmocka_unit_test(writes_and_reads_wait_for_a_leader),
        cmocka_unit_test(acknowledged_writes_survive_crashes),
        cmocka_unit_test(a_write_that_a_broken_stream_loses_ends_soon),
        cmocka_unit_test(a_write_that_a_dying_leader_loses_ends_soon),
        cmocka_unit_test(members_that_start_together_elect_soon),
        cmocka_unit_test(without_a_quorum_nothing_is_answered),
        cmocka_unit_test(leases_are_kept_through_every_member),
        cmocka_unit_test(a_lease_outlives_its_leader),
        cmocka_unit_test(leadership_is_transferred_on_request),
        cmocka_unit_test(no_write_is_lost_when_the_lead_moves),
        cmocka_unit_test(forged_messages_are_survived),
        cmocka_unit_test(a_leader_hands_over_before_it_stops),
        cmocka_unit_test(a_leader_hands_over_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
