/* SPDX-License-Identifier: Apache-2.0
 * What the log knows of a long lease: its rest, every few minutes, so that a change of leaders neither
 * prolongs it by much nor, after a renewal, ends it early. On virtual time. */
#include "tests/unit/cluster_world.h"

#include <stdlib.h>

#include "base/log.h"

enum { TTL = 900, EXTENSION = 30 };

static void grant(struct machine *m, int64_t id)
{
    struct question q = {0};
    Etcdserverpb__LeaseGrantRequest g = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    g.id = id;
    g.ttl = TTL;
    ASK(m, &q, kv_lease_grant, &g);
    assert_int_equal(q.err, OK);
    question_done(&q);
}

static void renew(struct machine *m, int64_t id)
{
    struct question q = {0};
    Etcdserverpb__LeaseKeepAliveRequest alive = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    alive.id = id;
    ASK(m, &q, kv_lease_keep_alive, &alive);
    assert_int_equal(q.err, OK);
    assert_int_equal(((Etcdserverpb__LeaseKeepAliveResponse *)q.response)->ttl, TTL);
    question_done(&q);
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
    grant(world_wait_for_leader(w), 7);
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
    grant(world_wait_for_leader(w), 7);
    world_run_ms(w, 400000);
    renew(world_wait_for_leader(w), 7);
    assert_in_range(rest(next_leader(w), 7), TTL - 10, TTL + EXTENSION);
    world_free(w);
}

int main(void)
{
    log_set_level(getenv("VERBOSE") ? LOG_INFO : LOG_FATAL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_of_leaders_gives_no_whole_time),
        cmocka_unit_test(a_renewal_outlives_the_leader_that_answered_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
