/* SPDX-License-Identifier: Apache-2.0
 * Tests of the answers and services that running members give to starting members. */
#include "tests/unit/cluster_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "consensus/feature.h"
#include "consensus/kv/kv_impl.h"
#include "consensus/node/boot.h"

#define NEW_URL "http://m9:2380"

/* --- a process that sends queries ----------------------------------------------------------------------- */
struct peer_served_query {
    Peerpb__Answer *answer;
};

/* A dial-back is answered as `confirms` says when the query is pending. */
static struct peer_query_sender asker = {.proof = PEER_PROOF_TOKEN};
static bool confirms;
static char confirm_url[64];
static void (*confirm_done)(void *arg, bool is_confirmed);
static void *confirm_arg;

static const struct peer_ops *real_ops;
static struct peer_ops ops; /* the world's, but answers come here */

static void on_answer(struct peers *p, struct peer_served_query *question, struct slice text)
{
    (void)p;
    assert_null(question->answer);
    question->answer = boot_read_answer(text);
    assert_non_null(question->answer);
}

static void on_confirm(struct peers *p, struct peer_served_query *question, const char *const *urls,
                       size_t count, void (*done)(void *arg, bool is_confirmed), void *arg)
{
    (void)p;
    assert_null(question->answer);
    assert_int_equal(count, 1);
    assert_null(confirm_done);
    snprintf(confirm_url, sizeof confirm_url, "%s", urls[0]);
    confirm_done = done;
    confirm_arg = arg;
}

static void finish_confirm(void)
{
    void (*done)(void *, bool) = confirm_done;
    confirm_done = NULL;
    if (done)
        done(confirm_arg, confirms);
}

static void ask_text(struct machine *m, struct peer_served_query *q, struct slice text)
{
    real_ops = m->peers.ops == &ops ? real_ops : m->peers.ops;
    ops = *real_ops;
    ops.answer = on_answer;
    ops.confirm = on_confirm;
    m->peers.ops = &ops;
    m->events->on_query(m->events_arg, q, &asker, text);
}

static void ask(struct machine *m, struct peer_served_query *q, const Peerpb__BootstrapQuery *question)
{
    struct buf b = {0};
    boot_write(&b, &question->base);
    ask_text(m, q, buf_slice(&b));
    buf_done(&b);
}

static void wait_for(struct world *w, struct peer_served_query *q)
{
    for (int i = 0; i < 2000 && !q->answer; i++) {
        world_run_ms(w, 10);
        finish_confirm();
    }
    assert_non_null(q->answer);
}

static void forget(struct peer_served_query *q)
{
    peerpb__answer__free_unpacked(q->answer, NULL);
    q->answer = NULL;
}

static bool was_refused; /* final, in the last answer */
static unsigned asking_level = FEATURE_LEVEL_LAST;

/* NULL: it was done; else why not. */
static const char *fetch(struct machine *m, Peerpb__BootstrapQuery__Kind kind, uint64_t run, uint64_t id,
                         const char *url)
{
    static char reason[1000], name[] = "n9", text[64];
    char *urls[] = {text};
    struct peer_served_query q = {0};
    Peerpb__BootstrapQuery question = PEERPB__BOOTSTRAP_QUERY__INIT;
    strcpy(text, url);
    question.kind = kind;
    question.run = run;
    question.name = name;
    question.n_peer_urls = 1;
    question.peer_urls = urls;
    question.cluster_id = kv_cluster_id(m->kv);
    question.member_id = id;
    question.level = asking_level;
    ask(m, &q, &question);
    wait_for(m->world, &q);
    assert_int_equal(q.answer->run, run);
    bool is_done = q.answer->outcome == PEERPB__ANSWER__OUTCOME__DONE;
    was_refused = q.answer->outcome == PEERPB__ANSWER__OUTCOME__REFUSED;
    strcpy(reason, q.answer->reason);
    forget(&q);
    return is_done ? NULL : reason;
}

static Peerpb__Answer *who(struct machine *m, struct peer_served_query *q)
{
    Peerpb__BootstrapQuery question = PEERPB__BOOTSTRAP_QUERY__INIT;
    question.run = 5;
    ask(m, q, &question);
    assert_non_null(q->answer);
    assert_int_equal(q->answer->run, 5);
    return q->answer;
}

static Peerpb__ListedMember *member_at(const Peerpb__Answer *a, const char *url)
{
    for (size_t i = 0; i < a->n_members; i++)
        if (strcmp(a->members[i]->peer_urls[0], url) == 0)
            return a->members[i];
    return NULL;
}

static uint64_t add_member(struct machine *m, const char *url)
{
    struct question q = {0};
    Etcdserverpb__MemberAddRequest r = ETCDSERVERPB__MEMBER_ADD_REQUEST__INIT;
    char *urls[] = {(char *)(uintptr_t)url};
    r.peerurls = urls;
    r.n_peerurls = 1;
    r.islearner = true;
    ASK(m, &q, kv_member_add, &r);
    assert_int_equal(q.err, 0);
    uint64_t id = ((Etcdserverpb__MemberAddResponse *)q.response)->member->id;
    question_done(&q);
    return id;
}

#define CLAIM   PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM
#define REPLACE PEERPB__BOOTSTRAP_QUERY__KIND__REPLACE
#define ADD     PEERPB__BOOTSTRAP_QUERY__KIND__ADD

/* --- identity ------------------------------------------------------------------------------------------- */
static void blank_until_an_election(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct peer_served_query q = {0};
    machine_stop(&w->machines[1]);
    machine_stop(&w->machines[2]);
    world_run_ms(w, 5000); /* alone: it may query the others as long as it likes */
    Peerpb__Answer *a = who(&w->machines[0], &q);
    assert_int_equal(a->state, PEERPB__ANSWER__STATE__STARTED);
    assert_true(a->is_blank);
    assert_true(a->is_settled);
    assert_int_equal(a->leader, 0);
    assert_int_equal(a->n_members, 3);
    forget(&q);
    machine_start(&w->machines[1], false);
    world_wait_for_leader(w);
    a = who(&w->machines[0], &q);
    assert_false(a->is_blank);
    assert_true(a->leader != 0);
    assert_true(a->member_id == w->machines[0].id);
    for (size_t i = 0; i < 3; i++)
        assert_true(a->members[i]->was_started); /* the flags named them */
    forget(&q);
    world_free(w);
}

static void nonsense_gets_an_answer(void **state)
{
    (void)state;
    struct world *w = world_new(1);
    struct peer_served_query q = {0};
    world_wait_for_leader(w);
    ask_text(&w->machines[0], &q, slice_text("\xff\xff\xff"));
    assert_int_equal(q.answer->run, 0);
    forget(&q);
    world_free(w);
}

/* --- claims --------------------------------------------------------------------------------------------- */
static void an_added_member_is_claimed_once(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct peer_served_query q = {0}, second = {0};
    struct machine *l = world_wait_for_leader(w);
    world_run_ms(w, 6000);
    uint64_t id = add_member(l, NEW_URL);
    assert_false(member_at(who(l, &q), NEW_URL)->was_started);
    forget(&q);
    assert_string_equal(fetch(world_follower(w), CLAIM, 1, id, NEW_URL), "this member does not lead");
    assert_string_equal(fetch(l, CLAIM, 1, id, "http://m8:2380"),
                        "the cluster has no such member at these peer URLs");
    assert_string_equal(fetch(l, CLAIM, 1, id + 1, NEW_URL),
                        "the cluster has no such member at these peer URLs");
    /* Two at once: the second one learns that there is a first. */
    static char name[] = "n9", url[] = NEW_URL;
    char *urls[] = {url};
    Peerpb__BootstrapQuery claim = PEERPB__BOOTSTRAP_QUERY__INIT;
    claim.level = FEATURE_LEVEL_LAST;
    claim.kind = CLAIM;
    claim.run = 1;
    claim.name = name;
    claim.n_peer_urls = 1;
    claim.peer_urls = urls;
    claim.cluster_id = kv_cluster_id(l->kv) + 1;
    claim.member_id = id;
    ask(l, &q, &claim);
    assert_string_equal(q.answer->reason, "this is a member of another cluster");
    forget(&q);
    claim.cluster_id--;
    ask(l, &q, &claim);
    claim.run = 2;
    ask(l, &second, &claim);
    assert_string_equal(second.answer->reason, "another claim is under way");
    forget(&second);
    wait_for(w, &q);
    assert_int_equal(q.answer->outcome, PEERPB__ANSWER__OUTCOME__DONE);
    forget(&q);
    assert_null(fetch(l, CLAIM, 1, id, NEW_URL)); /* its answer was lost: granted again */
    assert_string_equal(fetch(l, CLAIM, 2, id, NEW_URL), "that member has been started before");
    Peerpb__ListedMember *member = member_at(who(l, &q), NEW_URL);
    assert_true(member->was_started);
    assert_string_equal(member->name, "n9");
    forget(&q);
    /* Another leader knows it from the log. */
    machine_crash(l);
    l = world_wait_for_leader(w);
    assert_string_equal(fetch(l, CLAIM, 1, id, NEW_URL), "that member has been started before");
    world_free(w);
}

/* --- a lost disk ---------------------------------------------------------------------------------------- */
static void a_lost_member_is_replaced_once(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct peer_served_query q = {0};
    struct machine *l = world_wait_for_leader(w), *lost = world_follower(w);
    uint64_t old = lost->id;
    world_run_ms(w, 6000);
    assert_string_equal(fetch(l, REPLACE, 1, old, lost->url),
                        "that member is still connected: has it been started twice?");
    machine_crash(lost);
    world_run_ms(w, 2000);
    assert_null(fetch(l, REPLACE, 1, old, lost->url));
    Peerpb__ListedMember *member = member_at(who(l, &q), lost->url);
    assert_true(member->id != old && member->is_learner && !member->was_started);
    uint64_t new = member->id;
    forget(&q);
    assert_string_equal(fetch(l, REPLACE, 1, old, lost->url),
                        "the cluster has no such member at these peer URLs");
    assert_null(fetch(l, CLAIM, 1, new, lost->url));
    world_free(w);
}

static void an_unknown_process_is_added_once(void **state)
{
    (void)state;
    struct world *w = world_new(1);
    struct machine *l = world_wait_for_leader(w);
    struct peer_served_query q = {0};
    assert_null(fetch(l, ADD, 1, 0, NEW_URL));
    assert_string_equal(fetch(l, ADD, 1, 0, NEW_URL), "etcdserver: Peer URLs already exists");
    assert_string_equal(fetch(l, ADD, 1, 0, "nowhere"), "etcdserver: given member URLs are invalid");
    assert_true(member_at(who(l, &q), NEW_URL)->is_learner);
    forget(&q);
    /* Its learner is the only one: others wait, and their requests are not in the log. */
    uint64_t last = node_last_index(l->kv->node);
    assert_string_equal(fetch(l, ADD, 1, 0, "http://m8:2380"),
                        "etcdserver: too many learner members in cluster");
    assert_int_equal(node_last_index(l->kv->node), last);
    world_free(w);
}

/* --- proofs ----------------------------------------------------------------------------------------- */
static void without_a_proof_it_is_confirmed(void **state)
{
    (void)state;
    struct world *w = world_new(3);
    struct machine *l = world_wait_for_leader(w), *lost = world_follower(w);
    world_run_ms(w, 6000);
    asker.proof = PEER_PROOF_NONE;
    uint64_t id = add_member(l, NEW_URL);
    *confirm_url = 0;
    assert_string_equal(fetch(l, CLAIM, 1, id, "http://m8:2380"),
                        "the cluster has no such member at these peer URLs");
    assert_int_equal(*confirm_url, 0); /* nothing else is dialed */
    confirms = false;
    assert_non_null(strstr(fetch(l, CLAIM, 1, id, NEW_URL), "confirmed that it asks"));
    assert_false(was_refused); /* the next attempt may be confirmed */
    assert_string_equal(confirm_url, NEW_URL);
    confirms = true;
    assert_null(fetch(l, CLAIM, 1, id, NEW_URL));
    confirms = false; /* a lost answer is repeated only to a process that is confirmed */
    assert_non_null(fetch(l, CLAIM, 1, id, NEW_URL));

    machine_crash(lost);
    world_run_ms(w, 2000);
    uint64_t old = lost->id;
    assert_non_null(strstr(fetch(l, REPLACE, 1, old, lost->url), "confirmed that it asks"));
    asker = (struct peer_query_sender){PEER_PROOF_CERTIFICATE, slice_text("http://m8:2380," NEW_URL)};
    assert_non_null(strstr(fetch(l, REPLACE, 1, old, lost->url), "confirmed that it asks")); /* of another */
    asker.proof = PEER_PROOF_NONE;
    confirms = true;
    assert_non_null(strstr(fetch(l, REPLACE, 1, old, lost->url), "learner")); /* n9 is a learner */
    asker = (struct peer_query_sender){.proof = PEER_PROOF_TOKEN};
    world_free(w);
}

static void only_a_proof_adds(void **state)
{
    (void)state;
    struct world *w = world_new(1);
    struct machine *l = world_wait_for_leader(w);
    struct peer_served_query q = {0};
    asker.proof = PEER_PROOF_NONE;
    confirms = true;
    const char *reason = fetch(l, ADD, 1, 0, NEW_URL);
    assert_true(was_refused);
    assert_non_null(strstr(reason, "etcdctl member add"));
    assert_non_null(strstr(reason, "--join-token-file"));
    assert_non_null(strstr(reason, "--peer-trusted-ca-file"));
    assert_int_equal(who(l, &q)->n_members, 1);
    forget(&q);
    asker = (struct peer_query_sender){PEER_PROOF_CERTIFICATE, slice_text(NEW_URL)};
    assert_null(fetch(l, ADD, 1, 0, NEW_URL));
    asker = (struct peer_query_sender){.proof = PEER_PROOF_TOKEN};
    world_free(w);
}

/* A query that waits for its dial-back when the member stops is answered. */
static void a_stop_answers(void **state)
{
    (void)state;
    static char name[] = "n9", url[] = NEW_URL;
    char *urls[] = {url};
    struct world *w = world_new(1);
    struct machine *l = world_wait_for_leader(w);
    struct peer_served_query q = {0};
    Peerpb__BootstrapQuery claim = PEERPB__BOOTSTRAP_QUERY__INIT;
    claim.level = FEATURE_LEVEL_LAST;
    claim.kind = CLAIM;
    claim.name = name;
    claim.n_peer_urls = 1;
    claim.peer_urls = urls;
    claim.cluster_id = kv_cluster_id(l->kv);
    claim.member_id = add_member(l, NEW_URL);
    asker.proof = PEER_PROOF_NONE;
    ask(l, &q, &claim);
    assert_null(q.answer);
    machine_stop(l);
    assert_non_null(q.answer);
    assert_int_equal(q.answer->outcome, PEERPB__ANSWER__OUTCOME__LATER);
    forget(&q);
    confirm_done = NULL;
    asker.proof = PEER_PROOF_TOKEN;
    world_free(w);
}

/* --- no member to query --------------------------------------------------------------------------------- */
/* A member began alone, its cluster grew, it lost its disk, and its flags still name it alone. It begins
 * again under the id that the other member knows. It gives that member no vote, and ends. */
static void a_member_that_begins_again_ends(void **state)
{
    (void)state;
    struct world *w = world_new(1);
    struct machine *first = world_wait_for_leader(w), *second = &w->machines[1];
    struct question q = {0};
    Etcdserverpb__MemberAddRequest r = ETCDSERVERPB__MEMBER_ADD_REQUEST__INIT;
    char *urls[] = {second->url};
    r.peerurls = urls;
    r.n_peerurls = 1;
    ASK(first, &q, kv_member_add, &r);
    assert_int_equal(q.err, 0);
    const char *const first_url[] = {first->url}, *const second_url[] = {second->url};
    struct kv_join_member members[] = {{first->id, first_url, 1, false}, {0, second_url, 1, true}};
    members[1].id = ((Etcdserverpb__MemberAddResponse *)q.response)->member->id;
    struct kv_join join = {kv_cluster_id(first->kv), members[1].id, members, 2};
    question_done(&q);
    machine_join(second, &join);
    world_wait_for_leader(w);
    world_run_ms(w, 1000);
    assert_false(kv_is_removed(first->kv));
    machine_crash(first);
    sim_disk_free(first->disk);
    first->disk = sim_disk_new();
    uint64_t id = first->id;
    machine_start(first, false);
    world_run_ms(w, 3000);
    assert_true(first->id == id && kv_leader(first->kv) == id);
    assert_false(kv_is_removed(first->kv));
    /* The streams of this world are between members that know each other; over TCP a new member can be
     * answered. */
    first->events->on_message(first->events_arg, second->id, PEER_STREAM_LOG, slice_of("\x01\x00", 2));
    world_run_ms(w, 3000);
    assert_true(kv_is_removed(first->kv));
    assert_int_equal(kv_leader(second->kv), 0);
    world_free(w);
}

/* An older version must not join: it would not understand the cluster's entries. */
static void a_member_that_is_too_old_is_refused_for_good(void **state)
{
    (void)state;
    struct world *w = world_new(1);
    struct machine *m = world_wait_for_leader(w);
    static const Peerpb__BootstrapQuery__Kind kinds[] = {PEERPB__BOOTSTRAP_QUERY__KIND__ADD,
                                                         PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM,
                                                         PEERPB__BOOTSTRAP_QUERY__KIND__REPLACE};
    for (int i = 0; i < 100 && kv_feature_level(m->kv) < FEATURE_LEVEL_LAST; i++)
        world_run_ms(w, 100);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        asking_level = i ? FEATURE_LEVEL_FIRST : 0; /* 0: a version that is not set */
        assert_non_null(strstr(fetch(m, kinds[i], 7, 1, "http://10.0.0.9:2380"), "start a newer version"));
        assert_true(was_refused);
    }
    asking_level = FEATURE_LEVEL_LAST;
    world_free(w);
}

int main(void)
{
    log_set_level(getenv("VERBOSE") ? LOG_INFO : LOG_FATAL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blank_until_an_election),
        cmocka_unit_test(nonsense_gets_an_answer),
        cmocka_unit_test(an_added_member_is_claimed_once),
        cmocka_unit_test(a_lost_member_is_replaced_once),
        cmocka_unit_test(an_unknown_process_is_added_once),
        cmocka_unit_test(a_member_that_begins_again_ends),
        cmocka_unit_test(without_a_proof_it_is_confirmed),
        cmocka_unit_test(only_a_proof_adds),
        cmocka_unit_test(a_member_that_is_too_old_is_refused_for_good),
        cmocka_unit_test(a_stop_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
