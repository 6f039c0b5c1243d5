/* SPDX-License-Identifier: Apache-2.0
 * Tests of membership through the public API (kv.h): answers, refusals and where they happen, and the member
 * list that every member then has, also after restarts. */
#include "tests/unit/cluster_world.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "consensus/feature.h"

static int add_by(struct machine *m, const char *url, bool is_learner, bool is_joining, uint64_t *ret_id)
{
    struct question q = {0};
    Etcdserverpb__MemberAddRequest r = ETCDSERVERPB__MEMBER_ADD_REQUEST__INIT;
    char *urls[] = {(char *)(uintptr_t)url};
    r.peerurls = urls;
    r.n_peerurls = 1;
    r.islearner = is_learner;
    if (is_joining)
        ASK(m, &q, kv_member_add_joining, &r);
    else
        ASK(m, &q, kv_member_add, &r);
    int err = q.err;
    if (!err) {
        const Etcdserverpb__MemberAddResponse *a = (Etcdserverpb__MemberAddResponse *)q.response;
        *ret_id = a->member->id;
        assert_string_equal(a->member->peerurls[0], url);
        assert_int_equal(a->member->islearner, is_learner);
        assert_int_equal(a->header->revision, 0);
        assert_true(a->header->member_id == kv_member_id(m->kv));
    }
    question_done(&q);
    return err;
}

static int add(struct machine *m, const char *url, bool is_learner, uint64_t *ret_id)
{
    return add_by(m, url, is_learner, false, ret_id);
}

static int remove_one(struct machine *m, uint64_t id, size_t *ret_left)
{
    struct question q = {0};
    Etcdserverpb__MemberRemoveRequest r = ETCDSERVERPB__MEMBER_REMOVE_REQUEST__INIT;
    r.id = id;
    ASK(m, &q, kv_member_remove, &r);
    int err = q.err;
    if (!err)
        *ret_left = ((Etcdserverpb__MemberRemoveResponse *)q.response)->n_members;
    question_done(&q);
    return err;
}

static int update(struct machine *m, uint64_t id, const char *url)
{
    struct question q = {0};
    Etcdserverpb__MemberUpdateRequest r = ETCDSERVERPB__MEMBER_UPDATE_REQUEST__INIT;
    char *urls[] = {(char *)(uintptr_t)url};
    r.id = id;
    r.peerurls = urls;
    r.n_peerurls = 1;
    ASK(m, &q, kv_member_update, &r);
    int err = q.err;
    question_done(&q);
    return err;
}

static int promote(struct machine *m, uint64_t id)
{
    struct question q = {0};
    Etcdserverpb__MemberPromoteRequest r = ETCDSERVERPB__MEMBER_PROMOTE_REQUEST__INIT;
    r.id = id;
    ASK(m, &q, kv_member_promote, &r);
    int err = q.err;
    question_done(&q);
    return err;
}

static int replace(struct machine *m, uint64_t old, const char *url, uint64_t *ret_id)
{
    struct question q = {.request.done = question_on_done};
    Etcdserverpb__MemberAddRequest r = ETCDSERVERPB__MEMBER_ADD_REQUEST__INIT;
    char *urls[] = {(char *)(uintptr_t)url};
    r.peerurls = urls;
    r.n_peerurls = 1;
    kv_member_replace(m->kv, &q.request, old, &r);
    world_wait_for(m->world, &q);
    int err = q.err;
    if (!err)
        *ret_id = ((Etcdserverpb__MemberAddResponse *)q.response)->member->id;
    question_done(&q);
    return err;
}

/* The list as one text: "name url learner|voter; ..." in the order of the ids. */
static const char *list(struct machine *m)
{
    static char text[1000];
    struct question q = {0};
    Etcdserverpb__MemberListRequest r = ETCDSERVERPB__MEMBER_LIST_REQUEST__INIT;
    ASK(m, &q, kv_member_list, &r);
    assert_int_equal(q.err, OK);
    const Etcdserverpb__MemberListResponse *a = (Etcdserverpb__MemberListResponse *)q.response;
    text[0] = '\0';
    for (size_t i = 0; i < a->n_members; i++) {
        const Etcdserverpb__Member *one = a->members[i];
        strcat(strcat(text, one->name), " ");
        strcat(strcat(text, one->peerurls[0]), one->islearner ? " learner; " : " voter; ");
    }
    question_done(&q);
    return text;
}

/* Three members that promote learners by themselves. */
static struct world *promoting_world(void)
{
    struct world *w = world_new(3);
    for (unsigned i = 0; i < 3; i++) {
        machine_stop(&w->machines[i]);
        w->machines[i].promotes_learners = true;
        machine_start(&w->machines[i], false);
    }
    return w;
}

static void expect_equal_lists(struct world *w)
{
    char first[1000] = "";
    world_run_ms(w, 300);
    for (unsigned i = 0; i < WORLD_MACHINES; i++) {
        struct machine *m = &w->machines[i];
        if (!m->kv || kv_is_removed(m->kv))
            continue;
        if (!*first)
            strcpy(first, list(m));
        assert_string_equal(list(m), first);
    }
}

/* A machine that was added to the cluster starts with the configuration that a member returns. */
/* false: it was refused, with this sentence. */
static bool try_join(struct machine *m, struct machine *via, uint64_t id, char *error, size_t size)
{
    struct question q = {0};
    Etcdserverpb__MemberListRequest r = ETCDSERVERPB__MEMBER_LIST_REQUEST__INIT;
    ASK(via, &q, kv_member_list, &r);
    const Etcdserverpb__MemberListResponse *a = (Etcdserverpb__MemberListResponse *)q.response;
    struct kv_join_member members[WORLD_MACHINES + 1];
    for (size_t i = 0; i < a->n_members; i++)
        members[i] = (struct kv_join_member){a->members[i]->id, (const char *const *)a->members[i]->peerurls,
                                             a->members[i]->n_peerurls, a->members[i]->islearner};
    struct kv_join join = {kv_cluster_id(via->kv), id, members, a->n_members};
    bool has_started = machine_try_start(m, &join, error, size);
    question_done(&q);
    return has_started;
}

static void join(struct machine *m, struct machine *via, uint64_t id)
{
    char error[300] = "";
    if (!try_join(m, via, id, error, sizeof error))
        fail_msg("kv_open of %s: %s", m->name, error);
}

/* --- tests ------------------------------------------------------------------------------------------- */

static void nonsense_is_refused_everywhere(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w), *follower = world_follower(w);
    uint64_t id;
    size_t left;
    world_run_ms(w, 6000);
    static const char *const bad[] = {"",
                                      "http://",
                                      "ftp://a:1",
                                      "http://a",
                                      "http://a:1/",
                                      "http://a:port",
                                      "http://:2380",
                                      "10.0.0.1:2380"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(add(follower, bad[i], false, &id), ERR_MEMBER_BAD_URLS);
    assert_int_equal(add(follower, leader->url, false, &id), ERR_PEER_URL_EXISTS);
    assert_int_equal(remove_one(follower, 4711, &left), ERR_MEMBER_NOT_FOUND);
    assert_int_equal(update(follower, 4711, "http://a:1"), ERR_MEMBER_NOT_FOUND);
    assert_int_equal(update(follower, leader->id, follower->url), ERR_PEER_URL_EXISTS);
    assert_int_equal(promote(follower, 4711), ERR_MEMBER_NOT_FOUND);
    assert_int_equal(promote(follower, leader->id), ERR_MEMBER_NOT_LEARNER);
    assert_int_equal(promote(leader, follower->id), ERR_MEMBER_NOT_LEARNER);
    assert_int_equal(replace(follower, 4711, "http://a:1", &id), ERR_MEMBER_NOT_FOUND);
    follower->is_cut = true; /* the distance of a voter to the leader does not matter */
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(world_put(leader, "a", "1", 0), OK);
    assert_int_equal(promote(leader, follower->id), ERR_MEMBER_NOT_LEARNER);
    follower->is_cut = false;
    world_run_ms(w, 2000);
    expect_equal_lists(w);
    world_free(w);
}

static void every_member_knows_of_a_change(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    world_wait_for_leader(w);
    struct machine *follower = world_follower(w);
    uint64_t id = 0, other;
    world_run_ms(w, 6000);
    assert_int_equal(add(follower, "http://10.0.0.9:2380", true, &id), OK);
    assert_non_null(strstr(list(follower), " http://10.0.0.9:2380 learner; "));
    expect_equal_lists(w);
    assert_int_equal(add(follower, "http://10.0.0.8:2380", true, &other), ERR_TOO_MANY_LEARNERS);
    assert_int_equal(promote(follower, id), ERR_LEARNER_NOT_READY); /* it never sent a message */
    assert_int_equal(promote(world_leader(w), id), ERR_LEARNER_NOT_READY);
    assert_int_equal(update(follower, id, "http://10.0.0.7:2380"), OK);
    assert_non_null(strstr(list(follower), " http://10.0.0.7:2380 learner; ")); /* still (etcd #21694) */
    expect_equal_lists(w);
    size_t left = 0;
    assert_int_equal(remove_one(follower, id, &left), OK);
    assert_int_equal(left, 3);
    assert_int_equal(update(follower, id, "http://10.0.0.7:2380"), ERR_MEMBER_NOT_FOUND);
    /* The same URLs at the same second: an id is never used again. */
    assert_int_equal(add(follower, "http://10.0.0.9:2380", true, &other), OK);
    assert_true(other != id);
    for (unsigned i = 0; i < 3; i++)
        machine_crash(&w->machines[i]);
    for (unsigned i = 0; i < 3; i++)
        machine_start(&w->machines[i], false);
    world_wait_for_leader(w);
    expect_equal_lists(w);
    assert_non_null(strstr(list(&w->machines[0]), " http://10.0.0.9:2380 learner; "));
    assert_int_equal(w->machines[0].removed_count, 1);
    assert_true(w->machines[0].removed[0] == id);
    assert_true(w->machines[0].known_count == 3);
    world_free(w);
}

/* The disks of the other members commit, apply and answer a change while the leader's own disk still writes
 * it. The next change reaches a leader that has not applied the first. */
static void a_change_waits_for_the_one_before(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w), *follower = world_follower(w);
    uint64_t id = 0, other;
    size_t left;
    world_run_ms(w, 6000);
    sim_io_set_job_time(leader->io, 300000000, 300000000);
    uint64_t before = w->clock.now_ns;
    assert_int_equal(add(follower, "http://10.0.0.9:2380", true, &id), OK);
    assert_true(w->clock.now_ns - before < 100000000); /* the leader's disk still writes it */
    assert_int_equal(add(follower, leader->url, true, &other), ERR_PEER_URL_EXISTS);
    assert_int_equal(add(follower, "http://10.0.0.8:2380", true, &other), ERR_TOO_MANY_LEARNERS);
    assert_int_equal(update(leader, id, "http://10.0.0.7:2380"), OK);
    assert_int_equal(remove_one(follower, id, &left), OK);
    assert_int_equal(left, 3);
    assert_true(w->clock.now_ns - before < 3000000000);
    sim_io_set_job_time(leader->io, 0, 200000);
    expect_equal_lists(w);
    world_free(w);
}

/* Requests beyond the leader's limit are refused at once, on every member. */
static void changes_that_wait_have_a_limit(void **state)
{
    (void)state;
    enum { MANY = 100, KEPT = 64 };
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w), *follower = world_follower(w);
    struct question list_of[MANY] = {0};
    Etcdserverpb__MemberUpdateRequest r = ETCDSERVERPB__MEMBER_UPDATE_REQUEST__INIT;
    r.id = leader->id;
    r.peerurls = (char *[]){leader->url};
    r.n_peerurls = 1;
    world_run_ms(w, 6000);
    sim_io_set_job_time(leader->io, 300000000, 300000000);
    for (size_t i = 0; i < MANY; i++) {
        list_of[i].request.done = question_on_done;
        kv_member_update(follower->kv, &list_of[i].request, &r);
        world_run_ms(w, 1);
    }
    world_run_ms(w, 50);
    size_t refused = 0, done = 0;
    for (size_t i = 0; i < MANY; i++)
        refused += list_of[i].is_done && list_of[i].err == ERR_TOO_MANY_REQUESTS;
    assert_int_equal(refused, MANY - KEPT - 1); /* and one is in the log */
    sim_io_set_job_time(leader->io, 0, 200000);
    for (size_t i = 0; i < MANY; i++) {
        world_wait_for(w, &list_of[i]);
        done += list_of[i].err == OK;
        question_done(&list_of[i]);
    }
    assert_int_equal(done, KEPT + 1);
    world_free(w);
}

static void a_removed_follower_learns_it(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w), *follower = world_follower(w);
    size_t left = 0;
    world_run_ms(w, 6000);
    assert_int_equal(remove_one(leader, follower->id, &left), OK);
    assert_int_equal(left, 2);
    world_run_ms(w, 4000);
    assert_true(kv_is_removed(follower->kv));
    assert_false(kv_is_removed(leader->kv));
    machine_stop(follower);
    assert_int_equal(world_put(leader, "a", "1", 0), OK);
    expect_equal_lists(w);
    world_free(w);
}

static void a_leader_that_is_removed_hands_over(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w), *follower = world_follower(w);
    size_t left = 0;
    world_run_ms(w, 6000);
    uint64_t before = w->clock.now_ns;
    assert_int_equal(remove_one(follower, leader->id, &left), OK);
    assert_int_equal(left, 2);
    world_run_ms(w, 400);
    assert_true(kv_is_removed(leader->kv));
    machine_stop(leader);
    assert_int_equal(world_put(follower, "a", "1", 0), OK);
    assert_true(w->clock.now_ns - before < 1000000000); /* no member waited for an election timeout */
    expect_equal_lists(w);
    world_free(w);
}

/* A member may learn that it is removed or not: the last other voter does not need it. */
static void a_removed_member_is_not_needed_any_more(void **state)
{
    (void)state;
    for (unsigned through = 0; through < 2; through++) {
        struct world *w = world_new(2);
        struct machine *leader = world_wait_for_leader(w), *other = world_follower(w);
        struct question q = {.request.done = question_on_done};
        Etcdserverpb__MemberRemoveRequest r = ETCDSERVERPB__MEMBER_REMOVE_REQUEST__INIT;
        r.id = leader->id;
        world_run_ms(w, 6000);
        kv_member_remove(through ? other->kv : leader->kv, &q.request, &r);
        world_wait_for(w, &q); /* a request to itself: it has applied its removal */
        assert_int_equal(q.err, OK);
        leader->is_cut = true;
        assert_int_equal(world_put(other, "a", "1", 0), OK);
        world_expect(other, "a", "1");
        question_done(&q);
        world_free(w);
    }
}

/* etcd's strict reconfiguration: a change is refused if its quorum would need members that do not run. */
static void the_quorum_is_protected(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w);
    uint64_t id;
    size_t left;
    world_run_ms(w, 6000);
    struct machine *down = world_follower(w);
    machine_stop(down);
    world_wait_for_leader(w);
    leader = world_leader(w);
    assert_int_equal(add(leader, "http://10.0.0.9:2380", false, &id), ERR_UNHEALTHY);
    assert_int_equal(add(leader, "http://10.0.0.9:2380", true, &id), ERR_UNHEALTHY);
    struct machine *other = world_follower(w);
    assert_int_equal(remove_one(leader, other->id, &left), ERR_UNHEALTHY);
    assert_int_equal(remove_one(leader, down->id, &left), OK); /* that one is not in the quorum */
    world_free(w);

    w = world_new(1);
    leader = world_wait_for_leader(w);
    world_run_ms(w, 100);
    assert_int_equal(remove_one(leader, leader->id, &left), ERR_MEMBER_NOT_ENOUGH_STARTED);
    assert_int_equal(add(leader, "http://10.0.0.9:2380", false, &id), OK);
    assert_int_equal(world_put(leader, "a", "1", 0), ERR_TIMEOUT); /* there is no leader */
    world_free(w);
}

static void a_member_is_replaced_in_one_step(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w), *lost = world_follower(w);
    uint64_t id = 0;
    world_run_ms(w, 6000);
    machine_stop(lost);
    leader = world_wait_for_leader(w);
    assert_int_equal(replace(leader, lost->id, lost->url, &id), OK); /* at the same address */
    assert_true(id != lost->id);
    world_run_ms(w, 500);
    const char *now = list(leader);
    assert_non_null(strstr(now, "learner"));
    expect_equal_lists(w);
    /* The joint configuration was left automatically: one voter of the two is not a majority any more. */
    struct machine *follower = world_follower(w);
    assert_int_equal(world_put(follower, "a", "1", 0), OK);
    for (unsigned i = 0; i < 3; i++)
        if (w->machines[i].kv) {
            machine_crash(&w->machines[i]);
            machine_start(&w->machines[i], false);
        }
    world_wait_for_leader(w);
    world_expect(follower, "a", "1");
    expect_equal_lists(w);
    world_free(w);
}

static void the_last_member_continues_alone(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *leader = world_wait_for_leader(w);
    assert_int_equal(world_put(leader, "a", "1", 0), OK);
    world_run_ms(w, 500);
    for (unsigned i = 0; i < 3; i++)
        machine_stop(&w->machines[i]);
    machine_start(leader, true);
    world_wait_for_leader(w);
    world_expect(leader, "a", "1");
    world_run_ms(w, 500);
    assert_null(strstr(strstr(list(leader), "; ") + 2, "; ")); /* one is left */
    assert_int_equal(leader->removed_count, 2);
    machine_crash(leader);
    machine_start(leader, false); /* for ever */
    world_wait_for_leader(w);
    world_expect(leader, "a", "1");
    assert_int_equal(world_put(leader, "a", "2", 0), OK);
    world_free(w);
}

static void one_member_becomes_three(void **state)
{
    (void)state;
    struct world *w = world_new(1);
    struct machine *first = world_wait_for_leader(w), *second = &w->machines[1], *third = &w->machines[2];
    uint64_t id = 0;
    assert_int_equal(world_put(first, "a", "1", 0), OK);
    world_run_ms(w, 500);
    assert_int_equal(add(first, second->url, false, &id), OK); /* a voter at once, as etcd allows */
    join(second, first, id);
    world_wait_for_leader(w);
    world_expect(second, "a", "1");
    world_run_ms(w, 6000);
    first = world_leader(w);
    assert_int_equal(add(first, third->url, true, &id), OK);
    assert_int_equal(promote(first, id), ERR_LEARNER_NOT_READY);
    join(third, first, id);
    world_run_ms(w, 2000);
    assert_true(kv_is_learner(third->kv));
    assert_int_equal(promote(world_follower(w), id), OK);
    world_run_ms(w, 500);
    assert_false(kv_is_learner(third->kv));
    assert_int_equal(world_put(third, "a", "2", 0), OK);
    expect_equal_lists(w);
    world_expect_equal_stores(w);
    /* Any one of them may fail now. */
    machine_stop(world_leader(w));
    world_expect(world_wait_for_leader(w), "a", "2");
    world_free(w);
}

static void a_learner_that_has_caught_up_votes_by_itself(void **state)
{
    (void)state;
    struct world *w = promoting_world();
    struct machine *lost = world_follower(w), *fresh = &w->machines[3];
    world_wait_for_leader(w);
    for (int i = 0; i < 50; i++)
        assert_int_equal(world_put(lost, "a", "1", 0), OK);
    world_run_ms(w, 6000);
    machine_stop(lost);
    struct machine *leader = world_wait_for_leader(w);
    uint64_t id = 0;
    assert_int_equal(replace(leader, lost->id, fresh->url, &id), OK);
    world_run_ms(w, 3000);
    assert_non_null(strstr(list(leader), "learner")); /* it has not come yet */
    join(fresh, leader, id);
    world_run_ms(w, 4000);
    assert_null(strstr(list(leader), "learner"));
    assert_false(kv_is_learner(fresh->kv));
    world_expect(fresh, "a", "1");
    expect_equal_lists(w);
    machine_crash(fresh);
    machine_start(fresh, false); /* with its own data from now on */
    world_wait_for_leader(w);
    assert_int_equal(world_put(fresh, "a", "2", 0), OK);
    world_expect_equal_stores(w);
    world_free(w);
}

/* The request may arrive at any time: the leader clears its list of active members once per election timeout.
 * The check must not always happen just then. */
static void a_promotion_may_arrive_at_any_time(void **state)
{
    (void)state;
    for (unsigned shift = 0; shift < 10; shift++) {
        struct world *w = promoting_world();
        struct machine *leader = world_wait_for_leader(w), *fresh = &w->machines[3];
        uint64_t id = 0;
        world_run_ms(w, 6000 + shift * 100);
        assert_int_equal(add_by(leader, fresh->url, true, true, &id), OK);
        join(fresh, leader, id);
        world_run_ms(w, 4000);
        if (kv_is_learner(fresh->kv))
            fail_msg("%u ms later it is still a learner", shift * 100);
        world_free(w);
    }
}

/* --max-learners of the member with the request counts, and all members decide alike, the one without it too. An
 * older member does not know the number: while one is there it is one learner. */
static void the_adding_member_limits_learners(void **state)
{
    (void)state;
    for (unsigned is_old = 0; is_old < 2; is_old++) {
        struct world *w = world_new(3);
        struct machine *wide = &w->machines[0], *plain = &w->machines[1], *none = &w->machines[2];
        machine_stop(none); /* before the level can rise */
        none->max_learners = -1;
        none->feature_level = is_old ? FEATURE_LEVEL_LEARNERS - 1 : 0;
        machine_start(none, false);
        world_wait_for_leader(w);
        machine_stop(wide);
        wide->max_learners = 2;
        machine_start(wide, false);
        world_wait_for_leader(w);
        world_run_ms(w, 8000);
        uint64_t id = 0;
        assert_int_equal(add(none, "http://10.0.0.9:2380", true, &id), is_old ? OK : ERR_TOO_MANY_LEARNERS);
        if (!is_old)
            assert_int_equal(add(plain, "http://10.0.0.9:2380", true, &id), OK);
        assert_int_equal(add(plain, "http://10.0.0.8:2380", true, &id), ERR_TOO_MANY_LEARNERS);
        assert_int_equal(add(wide, "http://10.0.0.8:2380", true, &id), is_old ? ERR_TOO_MANY_LEARNERS : OK);
        assert_int_equal(add(wide, "http://10.0.0.7:2380", true, &id), ERR_TOO_MANY_LEARNERS);
        expect_equal_lists(w);
        world_free(w);
    }
}

/* As etcd: neither a restart nor a join goes on beside more learners than --max-learners, whoever added them.
 * Nothing is written: with a higher value the same folder starts. */
static void a_start_beside_too_many_learners_is_refused(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    char error[300];
    uint64_t id = 0, second = 0;
    for (unsigned i = 0; i < WORLD_MACHINES; i++)
        w->machines[i].limits_learners_at_start = true;
    struct machine *wide = &w->machines[0], *plain = &w->machines[1], *fresh = &w->machines[3];
    machine_stop(wide);
    wide->max_learners = 2;
    machine_start(wide, false);
    world_wait_for_leader(w);
    world_run_ms(w, 8000);
    assert_int_equal(add(wide, fresh->url, true, &id), OK);
    machine_stop(plain);
    machine_start(plain, false); /* one is its limit */
    world_wait_for_leader(w);
    world_run_ms(w, 8000);
    assert_int_equal(add(wide, "http://10.0.0.9:2380", true, &second), OK);
    world_run_ms(w, 1000); /* all have it on disk */
    assert_false(try_join(fresh, wide, id, error, sizeof error));
    assert_string_equal(error,
                        "membership: too many learner members in cluster: 2; --max-learners is 1. Give each "
                        "member a higher value, or promote or remove learners");
    machine_stop(plain);
    *error = 0;
    assert_false(machine_try_start(plain, NULL, error, sizeof error));
    assert_non_null(strstr(error, "too many learner members in cluster: 2; --max-learners is 1."));
    plain->max_learners = fresh->max_learners = 2;
    machine_start(plain, false);
    join(fresh, wide, id);
    world_wait_for_leader(w);
    world_run_ms(w, 4000);
    assert_true(kv_is_learner(fresh->kv));
    expect_equal_lists(w);
    world_free(w);
}

/* The mark is on disk: a leader that restarts still promotes the one and leaves the other alone. */
static void a_learner_of_member_add_waits_for_a_promotion(void **state)
{
    (void)state;
    for (unsigned is_joining = 0; is_joining < 2; is_joining++) {
        struct world *w = promoting_world();
        struct machine *leader = world_wait_for_leader(w), *fresh = &w->machines[3];
        uint64_t id = 0;
        world_run_ms(w, 6000);
        assert_int_equal(add_by(leader, fresh->url, true, is_joining, &id), OK);
        world_run_ms(w, 1000);
        for (unsigned i = 0; i < 3; i++) {
            machine_stop(&w->machines[i]);
            machine_start(&w->machines[i], false);
        }
        leader = world_wait_for_leader(w);
        join(fresh, leader, id);
        world_run_ms(w, 8000);
        assert_int_equal(kv_is_learner(fresh->kv), !is_joining);
        world_free(w);
    }
}

int main(void)
{
    log_set_level(getenv("VERBOSE") ? LOG_INFO : LOG_FATAL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nonsense_is_refused_everywhere),
        cmocka_unit_test(every_member_knows_of_a_change),
        cmocka_unit_test(the_adding_member_limits_learners),
        cmocka_unit_test(a_start_beside_too_many_learners_is_refused),
        cmocka_unit_test(a_change_waits_for_the_one_before),
        cmocka_unit_test(changes_that_wait_have_a_limit),
        cmocka_unit_test(a_removed_follower_learns_it),
        cmocka_unit_test(a_leader_that_is_removed_hands_over),
        cmocka_unit_test(a_removed_member_is_not_needed_any_more),
        cmocka_unit_test(the_quorum_is_protected),
        cmocka_unit_test(a_member_is_replaced_in_one_step),
        cmocka_unit_test(the_last_member_continues_alone),
        cmocka_unit_test(one_member_becomes_three),
        cmocka_unit_test(a_learner_that_has_caught_up_votes_by_itself),
        cmocka_unit_test(a_promotion_may_arrive_at_any_time),
        cmocka_unit_test(a_learner_of_member_add_waits_for_a_promotion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
