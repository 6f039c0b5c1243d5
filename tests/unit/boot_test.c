/* SPDX-License-Identifier: Apache-2.0
 * Tests of how a member starts: each row of the table in boot_rules.c. boot_walk_test.c has the random
 * walks, boot_shell_test.c tests the shell. */
#include "tests/unit/unit.h"

#include <stdio.h>

#include "consensus/node/boot.h"
#include "consensus/node/boot_rules.h"

#define RUN 77

static const struct kv_member_option three[] = {
    {"n1", "http://h1:2380"}, {"n2", "http://h2:2380"}, {"n3", "http://h3:2380"}};
static const char *const own_urls[] = {"http://h1:2380"};
/* protobuf-c requires a non-const value. */
#define TEXT(literal) ((char[]){literal})
static char texts[3][16] = {"http://h1:2380", "http://h2:2380", "http://h3:2380"},
            names[3][3] = {"n1", "n2", "n3"};
static char *other_urls[][1] = {{texts[0]}, {texts[1]}, {texts[2]}};

static struct boot_rules rules;
static struct boot_decision d;

static void begin_as(bool is_existing, bool is_auto, bool auto_join)
{
    struct boot_self self = {
        .run = RUN,
        .name = "n1",
        .token = "t",
        .cluster = three,
        .cluster_count = 3,
        .peer_urls = own_urls,
        .peer_url_count = 1,
        .is_existing = is_existing,
        .is_auto = is_auto,
        .auto_join = auto_join,
    };
    boot_rules_init(&rules, &self);
}

static void begin(bool is_existing, bool auto_join)
{
    begin_as(is_existing, false, auto_join);
}

static enum boot_step decide_at(uint64_t now_ms)
{
    boot_rules_decide(&rules, now_ms, &d);
    return d.step;
}

static enum boot_step decide(void)
{
    return decide_at(1000);
}

/* The rules take ownership of answers that arrive from the wire. */
static Peerpb__Answer *wire(const Peerpb__Answer *a)
{
    struct buf b = {0};
    boot_write(&b, &a->base);
    Peerpb__Answer *copy = boot_read_answer(buf_slice(&b));
    assert_non_null(copy);
    buf_done(&b);
    return copy;
}

static char flag_texts[4][20] = {"n1=http://h1:2380", "n2=http://h2:2380", "n3=http://h3:2380",
                                 "n4=http://h4:2380"};
static char *flags[] = {flag_texts[0], flag_texts[1], flag_texts[2], flag_texts[3]};
static char token[] = "t", nothing[] = "";

static Peerpb__Answer empty(size_t i)
{
    Peerpb__Answer a = PEERPB__ANSWER__INIT;
    a.run = RUN;
    a.state = PEERPB__ANSWER__STATE__EMPTY;
    a.name = names[i];
    a.n_peer_urls = 1;
    a.peer_urls = other_urls[i];
    a.token = token;
    a.n_initial_cluster = 3;
    a.initial_cluster = flags;
    return a;
}

/* Three members of the flags; this one is members[0]. */
static Peerpb__ListedMember members[3];
static Peerpb__ListedMember *list[3];

static Peerpb__Answer started(size_t i)
{
    Peerpb__Answer a = PEERPB__ANSWER__INIT;
    for (size_t j = 0; j < 3; j++) {
        peerpb__listed_member__init(&members[j]);
        members[j].id = j ? 100 + j : rules.member_id;
        members[j].name = names[j];
        members[j].was_started = true;
        members[j].n_peer_urls = 1;
        members[j].peer_urls = other_urls[j];
        list[j] = &members[j];
    }
    a.run = RUN;
    a.state = PEERPB__ANSWER__STATE__STARTED;
    a.name = members[i].name;
    a.cluster_id = rules.cluster_id;
    a.member_id = members[i].id;
    a.leader = 101;
    a.term = 5;
    a.applied_index = 10;
    a.n_members = 3;
    a.members = list;
    return a;
}

static void answer_query(size_t peer, Peerpb__Answer a)
{
    boot_rules_answer(&rules, peer - 1, wire(&a));
}

static void expect_text(const char *part)
{
    if (!strstr(d.text, part))
        fail_msg("\"%s\" is not in \"%s\"", part, d.text);
}

static void outcome(Peerpb__Answer__Outcome how)
{
    Peerpb__Answer a = PEERPB__ANSWER__INIT;
    a.run = RUN;
    a.outcome = how;
    boot_rules_outcome(&rules, &d, &a);
}

static void test_alone(void **state)
{
    (void)state;
    struct boot_self self = {
        .run = RUN,
        .name = "n1",
        .token = "t",
        .cluster = three,
        .cluster_count = 1,
        .peer_urls = own_urls,
        .peer_url_count = 1,
    };
    boot_rules_init(&rules, &self);
    assert_int_equal(decide(), BOOT_BOOTSTRAP);
    boot_rules_done(&rules);
    self.is_existing = true;
    boot_rules_init(&rules, &self);
    assert_int_equal(decide(), BOOT_REFUSE);
    expect_text("names no other member");
    boot_rules_done(&rules);
}

static void test_all_empty(void **state)
{
    (void)state;
    begin(false, true);
    assert_int_equal(decide(), BOOT_WAIT);
    expect_text("n2 (http://h2:2380), n3 (http://h3:2380)");
    answer_query(1, empty(1));
    assert_int_equal(decide(), BOOT_WAIT);
    expect_text("n3 (http://h3:2380)");
    assert_null(strstr(d.text, "n2"));
    answer_query(2, empty(2));
    assert_int_equal(decide(), BOOT_BOOTSTRAP);
    assert_int_equal(d.member_id, rules.member_id);
    boot_rules_done(&rules);
}

/* n1 lost the disk with which n3 and it had begun, n2 is new, and n3 cannot be reached. n1 sees what it would
 * see at a first start with n3 late (boot_rules.h): with `auto` it must wait, however long, until n3 has
 * answered; also without --auto-join, with which n3 could not come later. */
static void wait_for_all(bool is_auto, bool auto_join)
{
    begin_as(false, is_auto, auto_join);
    for (uint64_t now = 0; now < 3600000; now += 600000) {
        answer_query(1, empty(1));
        boot_rules_answer(&rules, 1, NULL);
        assert_int_equal(decide_at(now), BOOT_WAIT);
        expect_text("n3 (http://h3:2380)");
    }
    answer_query(2, started(2)); /* it has a term and entries: no new cluster */
    assert_int_equal(decide(), auto_join ? BOOT_REQUEST : BOOT_REFUSE);
    if (auto_join)
        assert_int_equal(d.kind, PEERPB__BOOTSTRAP_QUERY__KIND__REPLACE);
    boot_rules_done(&rules);
}

static void test_auto_waits_for_all(void **state)
{
    (void)state;
    wait_for_all(true, true);
    wait_for_all(false, false);
}

/* `new`, as etcd: two of three begin, a little later than they would with the third. */
static void test_a_quorum_begins(void **state)
{
    (void)state;
    begin(false, true);
    assert_int_equal(decide_at(1), BOOT_WAIT);
    assert_int_equal(decide_at(1 + BOOT_QUORUM_MS), BOOT_WAIT); /* alone it is no quorum */
    answer_query(1, empty(1));
    assert_int_equal(decide_at(10000), BOOT_WAIT);
    assert_int_equal(decide_at(10000 + BOOT_QUORUM_MS - 1), BOOT_WAIT);
    assert_int_equal(decide_at(10000 + BOOT_QUORUM_MS), BOOT_BOOTSTRAP);
    assert_int_equal(d.member_id, rules.member_id);
    expect_text("n3 (http://h3:2380)");
    boot_rules_done(&rules);
    begin(false, true); /* the other one has begun, and waits for this one */
    Peerpb__Answer a = started(1);
    a.leader = 0, a.term = 1, a.applied_index = 1, a.is_blank = true;
    answer_query(1, a);
    assert_int_equal(decide_at(10000), BOOT_WAIT);
    assert_int_equal(decide_at(10000 + BOOT_QUORUM_MS), BOOT_BOOTSTRAP);
    boot_rules_done(&rules);
}

/* A member with data means that the cluster has begun before: the quorum that is blank has lost its disks. */
static void test_no_quorum_beside_data(void **state)
{
    (void)state;
    for (int is_gone = 0; is_gone < 2; is_gone++) {
        begin(false, true);
        Peerpb__Answer a = started(2);
        a.leader = 0;
        answer_query(2, a);
        answer_query(1, empty(1));
        if (is_gone)
            boot_rules_answer(&rules, 1, NULL);
        for (uint64_t now = 0; now < 3600000; now += 600000)
            assert_int_equal(decide_at(now), BOOT_WAIT);
        boot_rules_done(&rules);
    }
}

/* A member that was blank once in this run counts as blank, whatever its state is now. */
static void test_blank_is_remembered(void **state)
{
    (void)state;
    begin(false, true);
    answer_query(1, empty(1));
    boot_rules_answer(&rules, 0, NULL);
    assert_int_equal(decide(), BOOT_WAIT);
    answer_query(2, empty(2));
    answer_query(1, started(1)); /* it has begun, with n3, and leads */
    assert_int_equal(decide(), BOOT_BOOTSTRAP);
    boot_rules_done(&rules);
}

/* The leader may have executed the request: there is no way back in this run. */
static void test_replaced_or_not(void **state)
{
    (void)state;
    begin(false, true);
    answer_query(1, empty(1));
    answer_query(1, started(1));
    assert_int_equal(decide(), BOOT_REQUEST); /* n3 was not found blank: its state is unknown */
    assert_int_equal(d.kind, PEERPB__BOOTSTRAP_QUERY__KIND__REPLACE);
    boot_rules_outcome(&rules, &d, NULL);
    answer_query(2, empty(2));
    assert_int_equal(decide(), BOOT_WAIT);
    answer_query(1, started(1));
    assert_int_equal(decide(), BOOT_REQUEST);
    boot_rules_done(&rules);
}

static void test_begun_without_a_term_is_blank(void **state)
{
    (void)state;
    begin(false, true);
    Peerpb__Answer a = started(1);
    a.leader = 0, a.term = 1, a.applied_index = 1, a.is_blank = true;
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_WAIT);
    answer_query(2, empty(2));
    assert_int_equal(decide(), BOOT_BOOTSTRAP);
    boot_rules_done(&rules);
    begin(false, true); /* blank, but begun from other flags */
    a.cluster_id++;
    answer_query(1, a);
    answer_query(2, empty(2));
    assert_int_not_equal(decide(), BOOT_BOOTSTRAP);
    boot_rules_done(&rules);
}

static void test_answer_to_another_run(void **state)
{
    (void)state;
    begin(false, true);
    Peerpb__Answer a = empty(1);
    a.run--;
    answer_query(1, a);
    answer_query(2, empty(2));
    assert_int_equal(decide(), BOOT_WAIT);
    assert_false(rules.peers[0].was_blank);
    boot_rules_done(&rules);
}

static void test_lost_disk(void **state)
{
    (void)state;
    begin(false, true);
    answer_query(2, started(2));
    assert_int_equal(decide(), BOOT_REQUEST);
    assert_int_equal(d.kind, PEERPB__BOOTSTRAP_QUERY__KIND__REPLACE);
    assert_int_equal(d.member_id, rules.member_id);
    assert_string_equal(d.urls[0], "http://h2:2380");
    outcome(PEERPB__ANSWER__OUTCOME__DONE);
    assert_int_equal(decide(), BOOT_WAIT); /* the known data are old */
    Peerpb__Answer a = started(1);         /* replaced: listed under a new id */
    members[0].id = 555, members[0].name = nothing, members[0].was_started = false,
    members[0].is_learner = true;
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_REQUEST);
    assert_int_equal(d.kind, PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM);
    assert_int_equal(d.member_id, 555);
    outcome(PEERPB__ANSWER__OUTCOME__DONE);
    assert_int_equal(decide(), BOOT_JOIN);
    assert_int_equal(d.member_id, 555);
    assert_int_equal(d.best->n_members, 3);
    boot_rules_done(&rules);
}

/* Killed between claim and start: the member has a name now. */
static void test_claimed_before(void **state)
{
    (void)state;
    begin(true, true);
    Peerpb__Answer a = started(1);
    members[0].id = 555, members[0].is_learner = true;
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_REQUEST);
    assert_int_equal(d.kind, PEERPB__BOOTSTRAP_QUERY__KIND__REPLACE);
    assert_int_equal(d.member_id, 555);
    boot_rules_done(&rules);
}

static void test_claim_refused_or_lost(void **state)
{
    (void)state;
    begin(true, true);
    Peerpb__Answer a = started(1);
    members[0].id = 555, members[0].name = nothing, members[0].was_started = false;
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_REQUEST);
    outcome(PEERPB__ANSWER__OUTCOME__LATER);
    assert_int_equal(rules.claimed_id, 0);
    assert_int_equal(decide(), BOOT_WAIT);
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_REQUEST);
    boot_rules_outcome(&rules, &d, NULL);
    assert_int_equal(rules.claimed_id, 0);
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_REQUEST);
    a.run--; /* the result of another member's claim */
    a.outcome = PEERPB__ANSWER__OUTCOME__DONE;
    boot_rules_outcome(&rules, &d, &a);
    assert_int_equal(rules.claimed_id, 0);
    boot_rules_done(&rules);
}

static void test_no_leader(void **state)
{
    (void)state;
    begin(false, true);
    Peerpb__Answer a = started(1);
    a.leader = 0;
    answer_query(1, a);
    answer_query(2, empty(2)); /* two of three have lost their disks */
    assert_int_equal(decide(), BOOT_WAIT);
    expect_text("a leader of cluster");
    expect_text("--force-new-cluster");
    boot_rules_done(&rules);
}

static void test_second_voter(void **state)
{
    (void)state;
    begin(true, true);
    Peerpb__Answer a = started(1);
    a.n_members = 2, a.leader = 0, a.is_settled = true;
    members[0].id = 555, members[0].name = nothing, members[0].was_started = false;
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_JOIN);
    assert_int_equal(d.member_id, 555);
    a.is_settled = false; /* a third one may be joining */
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_WAIT);
    a.is_settled = true;
    members[0].was_started = true;
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_WAIT);
    members[0].was_started = false;
    a.n_members = 3;
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_WAIT);
    boot_rules_done(&rules);
}

static void test_not_listed(void **state)
{
    (void)state;
    begin(true, true);
    Peerpb__Answer a = started(1);
    a.n_members = 2, a.members = list + 1;
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_REQUEST);
    assert_int_equal(d.kind, PEERPB__BOOTSTRAP_QUERY__KIND__ADD);
    boot_rules_done(&rules);
    begin(true, false);
    answer_query(1, a); /* the leader's claim */
    assert_int_equal(decide(), BOOT_REFUSE);
    expect_text("unmatched member while checking PeerURLs");
    boot_rules_done(&rules);
    begin(false, true);
    rules.self.is_auto = true;
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_REQUEST);
    assert_int_equal(d.kind, PEERPB__BOOTSTRAP_QUERY__KIND__ADD);
    boot_rules_done(&rules);
    begin(false, true);
    a.member_id = 102; /* a follower's: it may lag */
    answer_query(2, a);
    assert_int_equal(decide_at(5000), BOOT_WAIT);
    assert_int_equal(decide_at(5000 + BOOT_NOT_LISTED_MS - 1), BOOT_WAIT);
    assert_int_equal(decide_at(5000 + BOOT_NOT_LISTED_MS), BOOT_REFUSE);
    expect_text("start this member with --initial-cluster-state=existing");
    boot_rules_done(&rules);
}

static void test_bootstrapped_already(void **state)
{
    (void)state;
    begin(false, false);
    answer_query(1, started(1));
    assert_int_equal(decide(), BOOT_REFUSE);
    expect_text("has already been bootstrapped");
    boot_rules_done(&rules);
}

static void test_flags_differ(void **state)
{
    (void)state;
    begin(false, true);
    Peerpb__Answer a = empty(1);
    a.n_initial_cluster = 4;
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_REFUSE);
    expect_text("between this member and n2: only that one has n4=http://h4:2380");
    assert_false(rules.peers[0].was_blank);
    a.n_initial_cluster = 2;
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_REFUSE);
    expect_text("only this member has n3=http://h3:2380");
    a = empty(1);
    a.token = TEXT("u");
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_REFUSE);
    expect_text("--initial-cluster-token is \"t\" here and \"u\" on n2");
    a = empty(1);
    a.name = names[2];
    answer_query(1, a);
    assert_int_equal(decide(), BOOT_REFUSE);
    expect_text("the member there is named n3");
    answer_query(2, started(2)); /* a running cluster counts for more */
    assert_int_equal(decide(), BOOT_REQUEST);
    boot_rules_done(&rules);
}

static void test_join_of_an_absent_cluster(void **state)
{
    (void)state;
    begin(true, true);
    Peerpb__Answer a = empty(1), b = empty(2);
    answer_query(1, a);
    answer_query(2, b);
    assert_int_equal(decide(), BOOT_WAIT); /* the others begin, with us */
    expect_text("to begin the cluster");
    a.is_existing = b.is_existing = true;
    answer_query(1, a);
    answer_query(2, b);
    assert_int_equal(decide(), BOOT_REFUSE);
    boot_rules_done(&rules);
}

/* Either order: with the others it begins like a member that was told to begin. */
static void test_auto_begins(void **state)
{
    (void)state;
    begin(false, true);
    rules.self.is_auto = true;
    answer_query(1, empty(1));
    assert_int_equal(decide(), BOOT_WAIT);
    answer_query(2, empty(2));
    assert_int_equal(decide(), BOOT_BOOTSTRAP);
    boot_rules_done(&rules);
}

/* The others began: this member is listed under the identity of the flags, and all were blank in this run. */
static void test_join_of_a_cluster_that_begins_later(void **state)
{
    (void)state;
    begin(true, true);
    answer_query(1, empty(1));
    answer_query(2, empty(2));
    answer_query(1, started(1));
    assert_int_equal(decide(), BOOT_BOOTSTRAP);
    boot_rules_done(&rules);
}

static void test_two_clusters(void **state)
{
    (void)state;
    begin(true, true);
    answer_query(1, started(1));
    Peerpb__Answer a = started(2);
    a.cluster_id++;
    answer_query(2, a);
    assert_int_equal(decide(), BOOT_REFUSE);
    expect_text("members of two clusters");
    boot_rules_done(&rules);
}

static void test_removed_knows_nothing(void **state)
{
    (void)state;
    begin(false, true);
    Peerpb__Answer a = started(1);
    a.state = PEERPB__ANSWER__STATE__REMOVED;
    answer_query(1, a);
    answer_query(2, empty(2));
    assert_int_equal(decide(), BOOT_WAIT);
    expect_text("n2");
    boot_rules_done(&rules);
}

/* The rules believe a member that has a leader, then the higher term, then the higher applied index. */
static void test_best_answer(void **state)
{
    (void)state;
    begin(true, true);
    Peerpb__Answer old = started(1);
    old.leader = 0, old.term = 9;
    answer_query(1, old);
    Peerpb__Answer fresh = started(2);
    fresh.leader = 102;
    answer_query(2, fresh);
    assert_int_equal(decide(), BOOT_REQUEST);
    assert_string_equal(d.urls[0], "http://h3:2380");
    old.leader = 101;
    answer_query(1, old);
    assert_int_equal(decide(), BOOT_REQUEST);
    assert_string_equal(d.urls[0], "http://h2:2380");
    old.term = fresh.term, old.applied_index = fresh.applied_index - 1;
    answer_query(1, old);
    assert_int_equal(decide(), BOOT_REQUEST);
    assert_string_equal(d.urls[0], "http://h3:2380");
    boot_rules_done(&rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_all_empty),
        cmocka_unit_test(test_auto_waits_for_all),
        cmocka_unit_test(test_a_quorum_begins),
        cmocka_unit_test(test_no_quorum_beside_data),
        cmocka_unit_test(test_blank_is_remembered),
        cmocka_unit_test(test_replaced_or_not),
        cmocka_unit_test(test_begun_without_a_term_is_blank),
        cmocka_unit_test(test_answer_to_another_run),
        cmocka_unit_test(test_lost_disk),
        cmocka_unit_test(test_claimed_before),
        cmocka_unit_test(test_claim_refused_or_lost),
        cmocka_unit_test(test_no_leader),
        cmocka_unit_test(test_second_voter),
        cmocka_unit_test(test_not_listed),
        cmocka_unit_test(test_auto_begins),
        cmocka_unit_test(test_bootstrapped_already),
        cmocka_unit_test(test_flags_differ),
        cmocka_unit_test(test_join_of_an_absent_cluster),
        cmocka_unit_test(test_join_of_a_cluster_that_begins_later),
        cmocka_unit_test(test_two_clusters),
        cmocka_unit_test(test_removed_knows_nothing),
        cmocka_unit_test(test_best_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
