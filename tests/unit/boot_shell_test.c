/* SPDX-License-Identifier: Apache-2.0
 * Tests of boot.c on a real loop and real folders, over a network that is a table of URLs. */
#include "tests/unit/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "base/list.h"
#include "base/log.h"
#include "consensus/node/boot.h"
#include "consensus/node/boot_rules.h"

enum { PLACES = 3 };

/* --- the network ------------------------------------------------------------------------------------ */
struct peer_served_query {
    struct fake_peers *asker;
    uint64_t id;
    struct buf text;          /* the query, then its answer */
    struct fake_peers *asked; /* NULL: nothing listens there */
    bool is_answered;
    void (*done)(void *arg, int err, struct slice answer);
    void *arg;
    struct link link;
};

struct fake_peers {
    struct peers peers;
    const char *url;
    const struct peer_events *events;
    void *arg;
};

static struct fake_peers network[PLACES];
static struct link under_way;
static uint64_t next_ask;
static uv_loop_t loop;
static uv_timer_t limit;
static uv_idle_t carrier;
static struct io *io;

static void set_events(struct peers *p, const struct peer_events *events, void *arg)
{
    struct fake_peers *f = container_of(p, struct fake_peers, peers);
    f->events = events;
    f->arg = arg;
}

static uint64_t ask(struct peers *p, const char *url, struct slice text, uint64_t timeout_ms,
                    void (*done)(void *arg, int err, struct slice answer), void *arg)
{
    (void)timeout_ms;
    struct peer_served_query *q = mem_new(sizeof *q);
    *q = (struct peer_served_query){
        .asker = container_of(p, struct fake_peers, peers), .id = ++next_ask, .done = done, .arg = arg};
    for (size_t i = 0; i < PLACES; i++)
        if (network[i].url && network[i].events && strcmp(network[i].url, url) == 0)
            q->asked = &network[i];
    buf_add_slice(&q->text, text);
    list_add_last(&under_way, &q->link);
    return q->id;
}

static void question_free(struct peer_served_query *q)
{
    list_remove(&q->link);
    buf_done(&q->text);
    mem_free(q);
}

static void cancel(struct peers *p, uint64_t id)
{
    (void)p;
    LIST_FOR_EACH_SAFE (l, &under_way) {
        struct peer_served_query *q = container_of(l, struct peer_served_query, link);
        if (q->id == id)
            question_free(q);
    }
}

static void answer(struct peers *p, struct peer_served_query *question, struct slice text)
{
    (void)p;
    assert_false(question->is_answered);
    question->is_answered = true;
    struct buf copy = {0};
    buf_add_slice(&copy, text);
    buf_done(&question->text);
    question->text = copy;
}

/* One step of one message a turn. */
static void carry(uv_idle_t *handle)
{
    (void)handle;
    struct link *l = under_way.next;
    if (l == &under_way)
        return;
    struct peer_served_query *q = container_of(l, struct peer_served_query, link);
    list_remove(l);
    list_add_last(&under_way, l);
    if (!q->asked) {
        q->done(q->arg, ERR_CLOSED, (struct slice){0});
    } else if (!q->is_answered) {
        struct peer_query_sender asker = {.proof = PEER_PROOF_NONE};
        q->asked->events->on_query(q->asked->arg, q, &asker, buf_slice(&q->text));
        return;
    } else {
        q->done(q->arg, OK, buf_slice(&q->text));
    }
    question_free(q);
}

static const struct peer_ops ops = {
    .set_events = set_events, .query = ask, .cancel = cancel, .answer = answer};

/* --- members ---------------------------------------------------------------------------------------- */
static const struct kv_member_option cluster[] = {
    {"n1", "http://h1"}, {"n2", "http://h2"}, {"n3", "http://h3"}};
static const char *const urls[][1] = {{"http://h1"}, {"http://h2"}, {"http://h3"}};

struct place {
    char dir[64];
    struct boot *boot;
    bool is_done;
    int err;
    char error[512];
    bool is_join;
    uint64_t member_id;
    size_t member_count;
};

static struct place places[PLACES];

/* The answer of a store that has just begun: it is blank. */
static void answer_blank(void *arg, struct peer_served_query *question, const struct peer_query_sender *asker,
                         struct slice text)
{
    (void)asker;
    struct fake_peers *self = arg;
    struct boot_self flags = {.name = "n1", .token = "t", .cluster = cluster, .cluster_count = 3};
    struct boot_rules rules;
    Peerpb__BootstrapQuery *q = boot_read_query(text);
    Peerpb__Answer a = PEERPB__ANSWER__INIT;
    boot_rules_init(&rules, &flags);
    a.run = q->run;
    a.state = PEERPB__ANSWER__STATE__STARTED;
    a.cluster_id = rules.cluster_id;
    a.is_blank = true;
    struct buf b = {0};
    boot_write(&b, &a.base);
    answer(&self->peers, question, buf_slice(&b));
    buf_done(&b);
    peerpb__bootstrap_query__free_unpacked(q, NULL);
    boot_rules_done(&rules);
}

static const struct peer_events blank = {.on_query = answer_blank};

static void on_booted(void *arg, int err, const char *error, const struct boot_result *result)
{
    struct place *p = arg;
    assert_false(p->is_done);
    p->is_done = true;
    p->err = err;
    p->boot = NULL;
    snprintf(p->error, sizeof p->error, "%s", error);
    struct fake_peers *self = &network[p - places];
    if (result && !result->join)
        set_events(&self->peers, &blank, self);
    if (!result || !result->join)
        return;
    p->is_join = true;
    p->member_id = result->join->member_id;
    p->member_count = result->join->member_count;
    assert_string_equal(result->join->members[0].peer_urls[0], "http://h1");
}

static void start_at(size_t i, size_t cluster_count, bool is_existing)
{
    struct boot_options o = {
        .io = io,
        .peers = &network[i].peers,
        .data_dir = places[i].dir,
        .name = cluster[i].name,
        .initial_cluster_token = "t",
        .initial_cluster = cluster,
        .initial_cluster_count = cluster_count,
        .peer_urls = urls[i],
        .peer_url_count = 1,
        .is_existing = is_existing,
        .auto_join = true,
    };
    places[i].is_done = places[i].is_join = false;
    places[i].boot = boot_start(&o, on_booted, &places[i]);
}

static void on_limit(uv_timer_t *handle)
{
    uv_stop(handle->loop);
}

/* Turns until all of the first `count` are done, or the time is over. */
static bool run(size_t count, uint64_t ms)
{
    uv_timer_start(&limit, on_limit, ms, 0);
    uint64_t end = uv_now(&loop) + ms;
    for (;;) {
        size_t done = 0;
        for (size_t i = 0; i < count; i++)
            done += places[i].is_done;
        if (done == count)
            return true;
        if (uv_now(&loop) >= end)
            return false;
        uv_run(&loop, UV_RUN_ONCE);
    }
}

static int setup(void **state)
{
    (void)state;
    uv_loop_init(&loop);
    uv_timer_init(&loop, &limit);
    uv_idle_init(&loop, &carrier);
    uv_idle_start(&carrier, carry);
    io = io_real_new(&loop, true);
    list_init(&under_way);
    memset(places, 0, sizeof places);
    for (size_t i = 0; i < PLACES; i++) {
        network[i] = (struct fake_peers){.peers.ops = &ops, .url = urls[i][0]};
        strcpy(places[i].dir, "/tmp/boot-test-XXXXXX");
        assert_non_null(mkdtemp(places[i].dir));
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < PLACES; i++) {
        struct buf command = {0};
        if (places[i].boot)
            boot_cancel(places[i].boot);
        buf_addf(&command, "rm -rf %s", places[i].dir);
        assert_int_equal(system(buf_text(&command)), 0);
        buf_done(&command);
    }
    while (!list_is_empty(&under_way)) /* the tests' own leader sent it: nothing should be left */
        fail_msg("a member RPC is left");
    io_real_free(io);
    uv_close((uv_handle_t *)&limit, NULL);
    uv_close((uv_handle_t *)&carrier, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

static void three_begin(void **state)
{
    (void)state;
    for (size_t i = 0; i < PLACES; i++)
        start_at(i, 3, false);
    assert_true(run(PLACES, 3000));
    for (size_t i = 0; i < PLACES; i++) {
        assert_int_equal(places[i].err, OK);
        assert_false(places[i].is_join);
    }
}

static void one_is_waited_for(void **state)
{
    (void)state;
    start_at(0, 3, false);
    start_at(1, 3, false);
    assert_false(run(2, 600));
    assert_false(places[0].is_done || places[1].is_done);
    start_at(2, 3, false);
    assert_true(run(PLACES, 3000));
}

static void flags_that_differ_end_it(void **state)
{
    (void)state;
    start_at(0, 3, false);
    start_at(1, 2, false);
    assert_true(run(2, 3000));
    assert_int_equal(places[0].err, ERR_INVALID);
    assert_int_equal(places[1].err, ERR_INVALID);
    assert_non_null(strstr(places[1].error, "only that one has n3=http://h3"));
    assert_non_null(strstr(places[0].error, "only this member has n3=http://h3"));
}

static void a_single_member_needs_no_other(void **state)
{
    (void)state;
    start_at(0, 1, false);
    assert_true(run(1, 500));
    assert_int_equal(places[0].err, OK);
}

/* --- a leader that knows three members ------------------------------------------------------------------ */
static char n1[] = "n1", n2[] = "n2", nothing[] = "", h1[] = "http://h1", h2[] = "http://h2",
            h3[] = "http://h3";
static bool was_replaced, was_claimed;
static unsigned questions;

static bool refuses; /* the requests that it gets */
static char refusal[] = "say who you are first";

static void lead(void *arg, struct peer_served_query *question, const struct peer_query_sender *asker,
                 struct slice text)
{
    (void)asker;
    struct fake_peers *self = arg;
    char *seat_urls[] = {h1, h2, h3}, *seat_names[] = {n1, n2, nothing};
    Peerpb__ListedMember members[3], *list[3];
    Peerpb__BootstrapQuery *q = boot_read_query(text);
    Peerpb__Answer a = PEERPB__ANSWER__INIT;
    assert_non_null(q);
    questions++;
    a.run = q->run;
    for (size_t i = 0; i < 3; i++) {
        peerpb__listed_member__init(&members[i]);
        members[i].id = i < 2 ? 100 + i : was_replaced ? 555 : 102;
        members[i].name = seat_names[i];
        members[i].was_started = i < 2 || !was_replaced;
        members[i].is_learner = i == 2 && was_replaced;
        members[i].n_peer_urls = 1;
        members[i].peer_urls = &seat_urls[i];
        list[i] = &members[i];
    }
    a.state = PEERPB__ANSWER__STATE__STARTED;
    a.cluster_id = 7;
    a.member_id = a.leader = 100;
    a.term = 3;
    a.members = list;
    a.n_members = 3;
    if (refuses && q->kind != PEERPB__BOOTSTRAP_QUERY__KIND__WHO) {
        a.outcome = PEERPB__ANSWER__OUTCOME__REFUSED;
        a.reason = refusal;
    } else if (q->kind == PEERPB__BOOTSTRAP_QUERY__KIND__REPLACE) {
        assert_int_equal(q->member_id, 102);
        a.outcome = PEERPB__ANSWER__OUTCOME__DONE;
        was_replaced = true;
    } else if (q->kind == PEERPB__BOOTSTRAP_QUERY__KIND__CLAIM) {
        assert_int_equal(q->member_id, 555);
        assert_string_equal(q->name, "n3");
        a.outcome = PEERPB__ANSWER__OUTCOME__DONE;
        was_claimed = true;
    }
    struct buf b = {0};
    boot_write(&b, &a.base);
    answer(&self->peers, question, buf_slice(&b));
    buf_done(&b);
    peerpb__bootstrap_query__free_unpacked(q, NULL);
}

static const struct peer_events leader = {.on_query = lead};

static void make_log(const char *dir)
{
    char path[200];
    snprintf(path, sizeof path, "mkdir -p %s/member/wal && touch %s/member/wal/0000000000000000.wal", dir,
             dir);
    assert_int_equal(system(path), 0);
}

static void lost_disk_is_replaced(void **state)
{
    (void)state;
    was_replaced = was_claimed = false;
    set_events(&network[0].peers, &leader, &network[0]);
    start_at(2, 3, false);
    places[0].is_done = places[1].is_done = true;
    assert_true(run(PLACES, 3000));
    assert_true(was_replaced && was_claimed);
    assert_int_equal(places[2].err, OK);
    assert_true(places[2].is_join);
    assert_int_equal(places[2].member_id, 555);
    assert_int_equal(places[2].member_count, 3);
    /* It was killed before its state had arrived: the join is known from the folder, and no member is
     * queried. */
    make_log(places[2].dir);
    questions = 0;
    start_at(2, 3, false);
    assert_true(run(PLACES, 500));
    assert_true(places[2].is_join);
    assert_int_equal(places[2].member_id, 555);
    assert_int_equal(questions, 0);
}

/* A refusal that a repeated query does not change ends the start, with the cluster's own error text. */
static void a_refusal_ends_it(void **state)
{
    (void)state;
    was_replaced = was_claimed = false;
    refuses = true;
    set_events(&network[0].peers, &leader, &network[0]);
    start_at(2, 3, false);
    places[0].is_done = places[1].is_done = true;
    assert_true(run(PLACES, 3000));
    refuses = false;
    assert_int_equal(places[2].err, ERR_INVALID);
    assert_string_equal(places[2].error, refusal);
}

static void data_is_enough(void **state)
{
    (void)state;
    make_log(places[0].dir);
    start_at(0, 3, true);
    assert_true(run(1, 500));
    assert_int_equal(places[0].err, OK);
    assert_false(places[0].is_join);
}

/* Invalid bytes in place of an answer are no answer. */
static void talk_nonsense(void *arg, struct peer_served_query *question,
                          const struct peer_query_sender *asker, struct slice text)
{
    (void)asker;
    static const uint8_t garbage[] = {0xff, 0xff, 0xff, 0x01, 0x02};
    struct fake_peers *self = arg;
    (void)text;
    answer(&self->peers, question, slice_of(garbage, sizeof garbage));
}

static void nonsense_is_no_answer(void **state)
{
    (void)state;
    static const struct peer_events nonsense = {.on_query = talk_nonsense};
    set_events(&network[0].peers, &nonsense, &network[0]);
    start_at(1, 2, false);
    places[0].is_done = true;
    assert_false(run(2, 500));
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(three_begin, setup, teardown),
        cmocka_unit_test_setup_teardown(one_is_waited_for, setup, teardown),
        cmocka_unit_test_setup_teardown(flags_that_differ_end_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_single_member_needs_no_other, setup, teardown),
        cmocka_unit_test_setup_teardown(lost_disk_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refusal_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(data_is_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_is_no_answer, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
