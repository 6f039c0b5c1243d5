/* SPDX-License-Identifier: Apache-2.0
 * What the log knows of a long lease: its rest, every few minutes, so that a change of leaders neither
 * prolongs it by much nor, after a renewal, ends it early. On virtual time. */
#include "tests/unit/cluster_world.h"

#include <stdlib.h>

#include "base/log.h"

enum { TTL = 900, TTL_SHORT = 5, EXTENSION = 30 };

static void grant(struct machine *m, int64_t id, int64_t ttl)
{
    struct question q = {0};
    Etcdserverpb__LeaseGrantRequest g = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    g.id = id;
    g.ttl = ttl;
    ASK(m, &q, kv_lease_grant, &g);
    assert_int_equal(q.err, OK);
    question_done(&q);
}

static int64_t renew(struct machine *m, int64_t id)
{
    struct question q = {0};
    Etcdserverpb__LeaseKeepAliveRequest alive = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    alive.id = id;
    ASK(m, &q, kv_lease_keep_alive, &alive);
    assert_int_equal(q.err, OK);
    int64_t ttl = ((Etcdserverpb__LeaseKeepAliveResponse *)q.response)->ttl;
    question_done(&q);
    return ttl;
}

static int64_t rest(struct machine *m, int64_t id)
{
    struct question q = {0};
    Etcdserverpb__LeaseTimeToLiveRequest live = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    live.id = id;
    ASK(m, &q, kv_lease_time_to_live, &live);
    assert_int_equal(q.err, OK);
    int64_t ttl = ((Etcdserverpb__LeaseTimeToLiveResponse *)q.response)->ttl;
    question_done(&q);
    return ttl;
}

static struct machine *next_leader(struct world *w)
{
    struct machine *leader = world_wait_for_leader(w);
    machine_crash(leader);
    struct machine *next = world_wait_for_leader(w);
    machine_start(leader, false);
    return next;
}

static void a_change_of_leaders_gives_no_whole_time(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    grant(world_wait_for_leader(w), 7, TTL);
    world_run_ms(w, 400000); /* a checkpoint after 300 s: 600 s are left */
    assert_in_range(rest(next_leader(w), 7), TTL - 400, TTL - 300 + EXTENSION);
    world_run_ms(w, 10000);
    assert_in_range(rest(next_leader(w), 7), TTL - 420, TTL - 300 + EXTENSION);
    world_free(w);
}

/* The longer time must be in the log before the renewal is answered: the leader may be gone right after. */
static void a_renewal_outlives_the_leader_that_answered_it(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    grant(world_wait_for_leader(w), 7, TTL);
    world_run_ms(w, 400000);
    assert_int_equal(renew(world_wait_for_leader(w), 7), TTL);
    assert_in_range(rest(next_leader(w), 7), TTL - 10, TTL + EXTENSION);
    world_free(w);
}

/* All members stand still for longer than the TTL, as on a hypervisor that stops. Their clocks go on, but no
 * renewal could be heard: the first one after it is in time, and so is one a second later. */
static void no_lease_ends_by_a_pause(void **state)
{
    (void)state;
    for (unsigned count = 1; count <= 3; count += 2) {
        struct world *w = world_new(count);
        struct machine *leader = world_wait_for_leader(w);
        grant(leader, 7, TTL_SHORT);
        grant(leader, 8, TTL_SHORT);
        world_run_ms(w, 1000);
        uint64_t until = w->clock.now_ns + (TTL_SHORT + 3) * UINT64_C(1000000000);
        for (unsigned i = 0; i < count; i++)
            sim_io_pause(w->machines[i].io, until);
        while (w->clock.now_ns < until)
            world_step(w);
        assert_int_equal(renew(world_wait_for_leader(w), 7), TTL_SHORT);
        world_run_ms(w, 1000);
        assert_int_equal(renew(world_wait_for_leader(w), 8), TTL_SHORT);
        world_run_ms(w, (TTL_SHORT + 3) * 1000); /* and they do end */
        assert_int_equal(renew(world_wait_for_leader(w), 7), 0);
        world_free(w);
    }
}

int main(void)
{
    log_set_level(getenv("VERBOSE") ? LOG_INFO : LOG_FATAL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_of_leaders_gives_no_whole_time),
        cmocka_unit_test(a_renewal_outlives_the_leader_that_answered_it),
        cmocka_unit_test(no_lease_ends_by_a_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
