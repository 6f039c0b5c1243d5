/* SPDX-License-Identifier: Apache-2.0
 * Tests of a long lease's remaining time in the log, on virtual time. The leader writes it every few
 * minutes, so that a change of leaders neither prolongs the lease by much nor, after a renewal, ends it
 * early. */
#include "tests/unit/cluster_world.h"

#include <stdio.h>
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

static void a_new_leader_does_not_grant_the_whole_ttl(void **state)
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

/* The longer time must be in the log before the renewal is answered: the leader may fail right after. */
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

/* All members are paused for longer than the TTL, as by a hypervisor. Their clocks continue, but they could
 * receive no renewal. The first renewal after the pause is in time, and so is one a second later. */
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

/* --- the keys of a lease, asked of a follower ---------------------------------------------------------- */

enum { KEYS = 700 };

struct keys_question {
    struct question q;
    size_t keys, largest;
};

static bool on_part(struct kv_request *r, const ProtobufCMessage *part)
{
    struct keys_question *k = container_of(r, struct keys_question, q.request);
    size_t count = part ? ((const Etcdserverpb__LeaseTimeToLiveResponse *)part)->n_keys : 0;
    k->keys = part ? k->keys + count : 0;
    k->largest = count > k->largest ? count : k->largest;
    return true;
}

static struct keys_question ask_for_keys(struct machine *m, int64_t id, int64_t *ret_ttl)
{
    struct keys_question k = {.q.request = {.done = question_on_done, .on_part = on_part}};
    Etcdserverpb__LeaseTimeToLiveRequest live = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    live.id = id;
    live.keys = true;
    kv_lease_time_to_live(m->kv, &k.q.request, &live);
    world_wait_for(m->world, &k.q);
    assert_int_equal(k.q.err, OK);
    const Etcdserverpb__LeaseTimeToLiveResponse *response =
        (const Etcdserverpb__LeaseTimeToLiveResponse *)k.q.response;
    *ret_ttl = response->ttl;
    assert_int_equal(response->header->revision, kv_revision(m->kv));
    assert_int_equal(response->id, id);
    k.keys += response->n_keys;
    k.largest = response->n_keys > k.largest ? response->n_keys : k.largest;
    question_done(&k.q);
    return k;
}

static void a_follower_answers_the_keys_in_parts(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w), *follower = world_follower(w);
    int64_t ttl;
    char key[16];
    grant(leader, 7, TTL);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "k%04d", i);
        assert_int_equal(world_put(leader, key, "v", 7), OK);
        if (i == 3) { /* few keys, and one that the follower has not applied yet */
            assert_int_equal(ask_for_keys(follower, 7, &ttl).keys, 4);
            assert_in_range(ttl, 1, TTL);
        }
    }
    assert_int_equal(ask_for_keys(leader, 7, &ttl).keys, KEYS);
    struct keys_question k = ask_for_keys(follower, 7, &ttl);
    assert_int_equal(k.keys, KEYS);
    assert_true(k.largest < KEYS);
    assert_in_range(ttl, 1, TTL);
    /* The time of a follower's lease does not run: it is the leader's. */
    world_run_ms(w, 5000);
    ask_for_keys(follower, 7, &ttl);
    assert_in_range(ttl, 1, TTL - 5);
    assert_int_equal(ask_for_keys(follower, 8, &ttl).keys, 0);
    assert_int_equal(ttl, -1);
    world_free(w);
}

int main(void)
{
    log_set_level(getenv("VERBOSE") ? LOG_INFO : LOG_FATAL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_leader_does_not_grant_the_whole_ttl),
        cmocka_unit_test(a_renewal_outlives_the_leader_that_answered_it),
        cmocka_unit_test(no_lease_ends_by_a_pause),
        cmocka_unit_test(a_follower_answers_the_keys_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
