/* SPDX-License-Identifier: Apache-2.0
 * Tests of members that compare their states. Equal members continue for ever. A diverged member is named,
 * stops serving, and is set aside at its next start. When no state can be judged correct, all members stop.
 */
#include "tests/unit/cluster_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "consensus/kv/kv_impl.h"
#include "consensus/store/state.h"

enum { INTERVAL_MS = 2000 }; /* --compact-hash-check-time */

static int setup(void **state)
{
    (void)state;
    log_set_level(LOG_FATAL);
    world_check_interval_ms = INTERVAL_MS;
    return 0;
}

static struct world *three(void)
{
    struct world *w = world_new(3);
    world_wait_for_leader(w);
    return w;
}

/* As if the member had written another value. */
static void spoil(struct machine *m)
{
    m->kv->store->digest ^= 1;
}

static bool has_alarm(struct machine *m, uint64_t member)
{
    return alarms_has_member(&m->kv->alarms, member, ETCDSERVERPB__ALARM_TYPE__CORRUPT);
}

static void equal_states_are_quiet(void **state)
{
    struct world *w = three();
    char value[16];
    (void)state;
    for (int i = 0; i < 20; i++) {
        snprintf(value, sizeof value, "%d", i);
        assert_int_equal(world_put(&w->machines[i % 3], "k", value, 0), OK);
        world_run_ms(w, 500);
        if (i == 10) { /* a member's comparison is there again after a restart */
            machine_crash(&w->machines[0]);
            machine_start(&w->machines[0], false);
            world_wait_for_leader(w);
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        struct kv *kv = w->machines[i].kv;
        assert_int_equal(kv->alarms.count, 0);
        assert_true(kv->state_check.corrupt.index > 0 && kv->state_check.corrupt.is_known);
        assert_int_equal(kv->state_check.corrupt.count, 1); /* the leader's alone */
        assert_int_equal(store_digest(kv->store), store_digest(w->machines[0].kv->store));
    }
    world_free(w);
}

static void the_diverged_member_leaves(struct world *w, struct machine *diverged)
{
    struct machine *sound = diverged == &w->machines[0] ? &w->machines[1] : &w->machines[0];
    int err;
    assert_int_equal(world_put(sound, "k", "1", 0), OK);
    spoil(diverged);
    for (int i = 0; i < 100 && !diverged->kv->state_check.diverged_since_ms; i++)
        world_run_ms(w, 100);
    assert_true(diverged->kv->state_check.diverged_since_ms != 0);
    assert_int_equal(world_put(diverged, "k", "2", 0), ERR_CORRUPT_CLUSTER);
    world_get(diverged, "k", &err);
    assert_int_equal(err, ERR_CORRUPT_CLUSTER);
    world_run_ms(w, 4000);
    assert_int_equal(kv_failed(diverged->kv), ERR_CORRUPT);
    assert_non_null(strstr(kv_failed_at(diverged->kv), "differs"));
    machine_stop(diverged);
    world_wait_for_leader(w);
    assert_true(has_alarm(sound, diverged->id));
    assert_false(kv_is_stopped(sound->kv));
    assert_int_equal(kv_alarms(sound->kv), 0); /* the cluster is well */
    assert_int_equal(world_put(sound, "k", "3", 0), OK);
    world_expect(sound, "k", "3");
}

static void a_follower_that_differs_stops(void **state)
{
    struct world *w = three();
    struct machine *diverged = world_follower(w);
    (void)state;
    the_diverged_member_leaves(w, diverged);
    world_free(w);
}

/* On a real disk: once, with its log in any folder; then the folder is that of a new member. */
static void a_marked_folder_is_set_aside(void **state)
{
    char dir[] = "/tmp/cairn-diverged-XXXXXX", path[3][64], command[256];
    bool was_diverged = true;
    uv_loop_t loop;
    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(uv_loop_init(&loop), 0);
    struct io *io = io_real_new(&loop, false);
    snprintf(path[0], sizeof path[0], "%s/data", dir);
    snprintf(path[1], sizeof path[1], "%s/data/member", dir);
    snprintf(path[2], sizeof path[2], "%s/log", dir);
    assert_int_equal(kv_set_aside(io, path[0], NULL, &was_diverged), OK); /* there is nothing yet */
    assert_false(was_diverged);
    for (int i = 1; i < 3; i++)
        assert_int_equal(io->ops->mkdir(io, path[i]), OK);
    assert_int_equal(kv_set_aside(io, path[0], path[2], &was_diverged), OK);
    assert_false(was_diverged);
    snprintf(command, sizeof command, "touch %s/diverged %s/member-of-log", path[1], path[2]);
    assert_int_equal(system(command), 0);
    assert_int_equal(kv_set_aside(io, path[0], path[2], &was_diverged), OK);
    assert_true(was_diverged);
    assert_int_not_equal(access(path[1], F_OK), 0);
    assert_int_not_equal(access(path[2], F_OK), 0);
    snprintf(command, sizeof command, "test -f %s.diverged-*/diverged -a -f %s.diverged-*/member-of-log",
             path[1], path[2]);
    assert_int_equal(system(command), 0);
    assert_int_equal(kv_set_aside(io, path[0], path[2], &was_diverged), OK);
    assert_false(was_diverged);
    io_real_free(io);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

static void a_leader_that_differs_stops(void **state)
{
    struct world *w = three();
    (void)state;
    the_diverged_member_leaves(w, world_leader(w));
    world_free(w);
}

/* The states of two members differ: the right one is unknown. */
static void without_a_majority_all_stop(void **state)
{
    struct world *w = world_new(2);
    (void)state;
    struct machine *leader = world_wait_for_leader(w);
    spoil(world_follower(w));
    for (int i = 0; i < 100 && !has_alarm(leader, 0); i++)
        world_run_ms(w, 100);
    assert_true(has_alarm(leader, 0));
    assert_true(kv_is_stopped(leader->kv));
    assert_int_equal(world_put(leader, "k", "1", 0), ERR_CORRUPT_CLUSTER);
    assert_int_equal(kv_failed(leader->kv), OK); /* an operator has to decide */
    world_free(w);
}

/* The alarm of a removed member is removed. */
static void alarms_of_removed_members_are_removed(void **state)
{
    struct world *w = three();
    struct machine *leader = world_leader(w), *diverged = world_follower(w);
    Etcdserverpb__MemberRemoveRequest r = ETCDSERVERPB__MEMBER_REMOVE_REQUEST__INIT;
    struct question q = {0};
    (void)state;
    the_diverged_member_leaves(w, diverged);
    leader = world_leader(w);
    r.id = diverged->id;
    ASK(leader, &q, kv_member_remove, &r);
    assert_int_equal(q.err, OK);
    question_done(&q);
    world_run_ms(w, 2 * INTERVAL_MS);
    assert_int_equal(leader->kv->alarms.count, 0);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_states_are_quiet),
        cmocka_unit_test(a_follower_that_differs_stops),
        cmocka_unit_test(a_leader_that_differs_stops),
        cmocka_unit_test(without_a_majority_all_stop),
        cmocka_unit_test(alarms_of_removed_members_are_removed),
        cmocka_unit_test(a_marked_folder_is_set_aside),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
