/* SPDX-License-Identifier: Apache-2.0
 * Tests of reports for TTL checks, on three members on virtual time. Clients report through any member, while members
 * die, return and are cut off: no instance whose client reports is ever down, and one whose client has stopped is
 * down once. Reports that change nothing are not written. */
#include "tests/unit/registry_trio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/metric.h"
#include "consensus/feature.h"
#include "tests/unit/registry_node.h"

enum { CLIENTS = 8, TTL_MS = 6000, REPORT_MS = 2000, ATTEMPT_MS = 1500, LIMIT_MS = TTL_MS + CHECK_LATE_MS };

/* It reports every REPORT_MS. An attempt that is not answered in ATTEMPT_MS, or refused, is followed by one at another member. */
struct client {
    struct attempt *attempt; /* under way; NULL = none */
    unsigned at;
    uint64_t next_ms, began_ms;
    size_t reports, written;
};

/* It outlives its client's interest: a request that is abandoned still ends. */
struct attempt {
    struct registry_reply reply; /* first */
    struct attempt *next;
};

struct bench {
    struct trio *trio;
    struct client clients[CLIENTS];
    struct attempt *attempts; /* all */
    bool is_silent;
    uint64_t retry_ms; /* after an attempt that failed */
    unsigned opened;
    size_t downs;
};

static struct bench *bench;

static void never_start(struct check_prober *p, struct check_probe *probe)
{
    (void)p;
    (void)probe;
    fail_msg("a TTL check was run");
}

static struct check_prober prober = {never_start, never_start};

static void *open_module(struct kv *kv, const char *member)
{
    const struct registry_options o = {.kv = kv, .member = member, .prober = &prober, .has_events = true};
    return registry_new(&o);
}

static const struct trio_kind kind = {open_module, registry_trio_close, registry_trio_turn,
                                      registry_trio_is_ready};

static int setup(void **state)
{
    bench = mem_new(sizeof *bench);
    bench->trio = trio_new(&kind);
    bench->retry_ms = 100;
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    trio_free(b->trio);
    for (struct attempt *a = b->attempts, *next; a; a = next) {
        next = a->next;
        mem_free(a);
    }
    mem_free(b);
    return 0;
}

/* --- clients ---------------------------------------------------------------------------------------------- */

static uint64_t now_ms(const struct bench *b)
{
    return b->trio->world->clock.now_ns / 1000000;
}

static const char *id_of(size_t client)
{
    static char id[16];
    snprintf(id, sizeof id, "i%zu", client);
    return id;
}

static bool runs(const struct bench *b, unsigned i)
{
    return b->trio->modules[i] && registry_is_ready(b->trio->modules[i]);
}

static const struct instance *find(const struct bench *b, unsigned i, size_t client)
{
    struct registry_key key = registry_key_of("web", id_of(client));
    struct catalog_service *s =
        catalog_find(registry_catalog(b->trio->modules[i]), key.ns, key.group, key.service);
    struct catalog_instance *instance = s ? catalog_instance(s, key.id) : NULL;
    return instance ? instance->doc : NULL;
}

static struct attempt *report(struct bench *b, unsigned at, const char *id, enum instance_state state,
                              const char *output)
{
    struct attempt *a = mem_new(sizeof *a);
    struct registry_key key = registry_key_of("web", id);
    a->next = b->attempts;
    b->attempts = a;
    a->reply.request.done = registry_reply_done;
    registry_report(b->trio->modules[at], &a->reply.request, &key, state, slice_text(output));
    return a;
}

/* Sends the report again, and again, until one is answered. */
static void step_client(struct bench *b, size_t n)
{
    struct client *c = &b->clients[n];
    struct attempt *a = c->attempt;
    if (a && a->reply.is_done && !a->reply.err) {
        c->attempt = NULL;
        c->reports++;
        c->written += !a->reply.result.is_unchanged;
        c->next_ms = c->began_ms + REPORT_MS;
    } else if (a && (a->reply.is_done || now_ms(b) - c->began_ms >= ATTEMPT_MS)) {
        c->attempt = NULL;
        c->next_ms = now_ms(b) + b->retry_ms;
        c->at++;
    }
    if (c->attempt || b->is_silent || now_ms(b) < c->next_ms)
        return;
    for (unsigned k = 0; k < TRIO && !runs(b, ++c->at % TRIO); k++) {
    }
    if (!runs(b, c->at % TRIO))
        return;
    c->began_ms = now_ms(b);
    c->attempt = report(b, c->at % TRIO, id_of(n), INSTANCE_UP, "");
}

static void look_at_states(struct bench *b)
{
    for (unsigned i = 0; i < TRIO; i++)
        for (size_t n = 0; runs(b, i) && n < CLIENTS; n++) {
            const struct instance *doc = find(b, i, n);
            b->downs += doc && doc->state == INSTANCE_DOWN;
        }
}

static void run_ms(struct bench *b, uint64_t ms)
{
    uint64_t until_ms = now_ms(b) + ms;
    while (now_ms(b) < until_ms) {
        world_run_ms(b->trio->world, 20);
        for (size_t n = 0; n < CLIENTS; n++)
            step_client(b, n);
        look_at_states(b);
    }
}

static struct registry_reply put(struct bench *b, unsigned at, const char *id, const char *check)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    char text[300], error[200];
    struct arena arena = {0};
    struct instance doc;
    snprintf(text, sizeof text, "{\"host\":\"10.0.0.1\",\"port\":80%s%s}", check[0] ? ",\"check\":" : "",
             check);
    struct registry_key key = registry_key_of("web", id);
    assert_int_equal(instance_read(slice_text(text), DOCUMENT_STRICT, &arena, &doc, error, sizeof error), OK);
    registry_register(b->trio->modules[at], &a.request, &key, &doc, 0);
    trio_wait(b->trio, &a.is_done);
    arena_done(&arena);
    return a;
}

/* All are up; the division is older than the lease of any before. */
static void begin(struct bench *b)
{
    for (size_t n = 0; n < CLIENTS; n++)
        assert_int_equal(put(b, (unsigned)n % TRIO, id_of(n), "{\"type\":\"ttl\",\"ttl\":\"6s\"}").err, OK);
    run_ms(b, CHECK_LEASE_MS + CHECK_SILENT_MS + 2 * REPORT_MS);
    for (size_t n = 0; n < CLIENTS; n++)
        assert_int_equal(find(b, 0, n)->state, INSTANCE_UP);
    b->downs = 0;
}

static int64_t revision(const struct bench *b)
{
    for (unsigned i = 0; i < TRIO; i++)
        if (runs(b, i))
            return kv_revision(b->trio->world->machines[i].kv);
    fail_msg("no member runs");
    return 0;
}

static size_t count(const struct bench *b, bool written)
{
    size_t sum = 0;
    for (size_t n = 0; n < CLIENTS; n++)
        sum += written ? b->clients[n].written : b->clients[n].reports;
    return sum;
}

static void stop_member(struct bench *b, unsigned i)
{
    trio_close(b->trio, i);
    machine_crash(&b->trio->world->machines[i]);
}

static void start_member(struct bench *b, unsigned i)
{
    machine_start(&b->trio->world->machines[i], false);
    trio_open(b->trio, i);
}

/* --- the tests ---------------------------------------------------------------------------------------------- */

static void test_reports_at_any_member(void **state)
{
    struct bench *b = *state;
    begin(b);
    int64_t before = revision(b);
    size_t reports = count(b, false);
    run_ms(b, 10 * TTL_MS);
    assert_true(count(b, false) >= reports + CLIENTS * 25);
    assert_int_equal(revision(b), before); /* nothing is written while nothing changes */
    assert_int_equal(b->downs, 0);
    /* The clients stop: one write for each, and no more. */
    b->is_silent = true;
    run_ms(b, LIMIT_MS - REPORT_MS - 500);
    assert_int_equal(b->downs, 0);
    run_ms(b, REPORT_MS + 500 + 2 * CHECK_ROUND_MS);
    for (size_t n = 0; n < CLIENTS; n++) {
        assert_int_equal(find(b, 1, n)->state, INSTANCE_DOWN);
        assert_true(slice_equal(find(b, 1, n)->check->output, slice_text("no report for 6s")));
    }
    run_ms(b, 10 * TTL_MS);
    /* A second of events may be one more write each. */
    assert_in_range(revision(b) - before, CLIENTS + 1, 2 * CLIENTS);
    b->is_silent = false;
    run_ms(b, REPORT_MS + 500);
    for (size_t n = 0; n < CLIENTS; n++)
        assert_int_equal(find(b, 2, n)->state, INSTANCE_UP);
}

/* Members die, return, and are cut off, in all orders; each once as a leader. */
static void test_members_go_and_come(void **state)
{
    struct bench *b = *state;
    struct world *w = b->trio->world;
    begin(b);
    for (unsigned turn = 0; turn < 24; turn++) {
        struct machine *leader = world_leader(w);
        unsigned lead = trio_index(b->trio, leader), i = turn % 2 ? lead : (lead + 1 + turn / 2 % 2) % TRIO;
        uint64_t away_ms = 500 + 977 * turn % 9000;
        if (turn % 3 == 2) {
            w->machines[i].is_cut = true;
            run_ms(b, away_ms);
            w->machines[i].is_cut = false;
        } else {
            stop_member(b, i);
            run_ms(b, away_ms);
            start_member(b, i);
        }
        run_ms(b, 300 + 1501 * turn % 7000);
        world_wait_for_leader(w);
        assert_int_equal(b->downs, 0);
    }
    b->is_silent = true;
    run_ms(b, 3 * LIMIT_MS + 2 * CHECK_LEASE_MS);
    for (size_t n = 0; n < CLIENTS; n++)
        assert_int_equal(find(b, 0, n)->state, INSTANCE_DOWN);
}

/* For longer than the TTL there is no quorum, and then all members start again. The clients go on as soon as a member takes their reports. */
static void test_all_are_restarted(void **state)
{
    struct bench *b = *state;
    begin(b);
    stop_member(b, 0);
    stop_member(b, 1);
    run_ms(b, 2 * LIMIT_MS);
    stop_member(b, 2);
    for (unsigned i = 0; i < TRIO; i++)
        start_member(b, i);
    run_ms(b, 4 * LIMIT_MS);
    assert_int_equal(b->downs, 0);
    for (size_t n = 0; n < CLIENTS; n++)
        assert_true(b->clients[n].reports > 0);
}

/* The clients pause for about as long as they may, while the member that holds the check, or the leader, dies. */
static void test_late_reports(void **state)
{
    struct bench *b = *state;
    begin(b);
    for (unsigned turn = 0; turn < 6; turn++) {
        unsigned i = turn < TRIO ? turn : trio_index(b->trio, world_wait_for_leader(b->trio->world));
        uint64_t pause_ms = TTL_MS - REPORT_MS - 300;
        run_ms(b, 1000 + 333 * turn);
        b->is_silent = true;
        run_ms(b, 200 + pause_ms * (turn % 3) / 3);
        stop_member(b, i);
        run_ms(b, pause_ms - 200 - pause_ms * (turn % 3) / 3);
        b->is_silent = false;
        run_ms(b, 3 * LIMIT_MS);
        start_member(b, i);
        assert_int_equal(b->downs, 0);
        run_ms(b, 2 * LIMIT_MS);
    }
    assert_int_equal(b->downs, 0);
}

/* There is no quorum for a moment, and the clients wait a while after an attempt that failed. */
static void test_outages(void **state)
{
    struct bench *b = *state;
    begin(b);
    b->retry_ms = 3000;
    for (unsigned turn = 0; turn < 9; turn++) {
        run_ms(b, 2 * LIMIT_MS + 397 * turn);
        b->is_silent = true;
        run_ms(b, TTL_MS - REPORT_MS - 1000);
        b->is_silent = false;
        for (unsigned i = 0; i < TRIO; i++)
            if (i != turn % TRIO)
                stop_member(b, i);
        run_ms(b, 1500 + 300 * turn);
        for (unsigned i = 0; i < TRIO; i++)
            if (i != turn % TRIO)
                start_member(b, i);
        run_ms(b, LIMIT_MS);
        assert_int_equal(b->downs, 0);
    }
}

static struct registry_reply wait_for(struct bench *b, struct attempt *a)
{
    trio_wait(b->trio, &a->reply.is_done);
    return a->reply;
}

/* A report that no member confirms is written, though it changes nothing; it makes no event. */
static void test_unconfirmed_reports_are_written(void **state)
{
    struct bench *b = *state;
    b->is_silent = true;
    assert_int_equal(put(b, 0, "x", "{\"type\":\"ttl\",\"ttl\":\"1h\"}").err, OK);
    struct registry_reply a = wait_for(b, report(b, 1, "x", INSTANCE_WARN, "busy"));
    assert_int_equal(a.err, OK);
    assert_false(a.result.is_unchanged);
    a = wait_for(b, report(b, 2, "x", INSTANCE_WARN, "busy")); /* the division has just begun */
    assert_int_equal(a.err, OK);
    assert_false(a.result.is_unchanged);
    run_ms(b, 2 * CHECK_LEASE_MS);
    int64_t before = revision(b);
    for (unsigned i = 0; i < TRIO; i++)
        assert_true(wait_for(b, report(b, i, "x", INSTANCE_WARN, "busy")).result.is_unchanged);
    assert_int_equal(revision(b), before);
    assert_false(wait_for(b, report(b, 0, "x", INSTANCE_WARN, "busier")).result.is_unchanged);
    assert_false(wait_for(b, report(b, 1, "x", INSTANCE_DOWN, "busier")).result.is_unchanged);
    assert_true(wait_for(b, report(b, 2, "x", INSTANCE_DOWN, "busier")).result.is_unchanged);
}

static void test_refusals(void **state)
{
    struct bench *b = *state;
    b->is_silent = true;
    assert_int_equal(put(b, 0, "none", "").err, OK);
    assert_int_equal(put(b, 0, "tcp", "{\"type\":\"tcp\",\"interval\":\"1h\",\"timeout\":\"1s\"}").err, OK);
    static const struct {
        const char *id, *error;
        int err;
    } rows[] = {
        {"unknown", "there is no such instance: register it before its state is reported", ERR_NOT_FOUND},
        {"none", "this instance has no check: only one with a check of the type ttl takes reports",
         ERR_CONFLICT},
        {"tcp", "the check of this instance has the type tcp: only a check of the type ttl takes reports",
         ERR_CONFLICT},
        {"", "the instance's id is empty (1 to 256 bytes of UTF-8 without '/')", ERR_INVALID},
    };
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        struct registry_reply a = wait_for(b, report(b, 1, rows[k].id, INSTANCE_UP, ""));
        assert_int_equal(a.err, rows[k].err);
        assert_string_equal(a.error, rows[k].error);
    }
    /* One that was registered a moment ago through another member is known. */
    assert_int_equal(put(b, 2, "new", "{\"type\":\"ttl\",\"ttl\":\"1h\"}").err, OK);
    assert_int_equal(wait_for(b, report(b, 0, "new", INSTANCE_UP, "")).err, OK);
    struct attempt *last = report(b, 0, "new", INSTANCE_UP, "");
    stop_member(b, 0);
    assert_true(last->reply.is_done);
    assert_int_equal(last->reply.err, ERR_STOPPED);
}

/* --- one member ------------------------------------------------------------------------------------------- */

static void test_feature_level(void **state)
{
    struct registry_node n = {.node.feature_level = FEATURE_LEVEL_CONTENTS - 1};
    struct registry_reply a;
    (void)state;
    registry_node_open(&n, NULL);
    registry_node_register(&n, &a, "web", "a", "{\"host\":\"h\",\"check\":{\"type\":\"ttl\",\"ttl\":\"9s\"}}",
                           0);
    registry_node_wait(&n, &a);
    assert_int_equal(a.err, ERR_UNIMPLEMENTED);
    assert_string_equal(a.error,
                        "TTL checks need all members to be of this version: the feature level of the "
                        "cluster is 3, and must be 4");
    registry_node_registered(&n, "web", "a", "{\"host\":\"h\",\"port\":1,\"check\":{\"type\":\"tcp\"}}", 0);
    registry_node_close(&n);
}

static size_t event_count;
static enum event_cause causes[EVENTS_KEPT];

static void on_event(void *arg, const struct event *e)
{
    (void)arg;
    causes[event_count++] = e->cause;
}

static bool has_events(void *arg)
{
    struct registry_node *n = arg;
    const struct registry_key key = registry_key_of("web", NULL);
    event_count = 0;
    assert_int_equal(registry_events(n->registry, &key, on_event, NULL), OK);
    return event_count == 4;
}

static void report_to(struct registry_node *n, enum instance_state state, const char *output, bool unchanged)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    const struct registry_key key = registry_key_of("web", "a");
    registry_report(n->registry, &a.request, &key, state, slice_text(output));
    registry_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.is_unchanged, unchanged);
}

static void test_events(void **state)
{
    const struct registry_options o = {.has_events = true, .prober = &prober};
    struct registry_node n = {0};
    (void)state;
    registry_node_open(&n, &o);
    registry_node_registered(&n, "web", "a", "{\"host\":\"h\",\"check\":{\"type\":\"ttl\",\"ttl\":\"1h\"}}",
                             0);
    report_to(&n, INSTANCE_UP, "", false);
    report_to(&n, INSTANCE_UP, "", false); /* written, and not changed */
    report_to(&n, INSTANCE_WARN, "slow", false);
    report_to(&n, INSTANCE_DOWN, "", false);
    one_node_run(&n.node, has_events, &n);
    static const enum event_cause wanted[] = {EVENT_CHECK_FAILING, EVENT_CHECK_WARNING, EVENT_CHECK_PASSING,
                                              EVENT_REGISTERED};
    for (int i = 0; i < 4; i++)
        assert_int_equal(causes[i], wanted[i]);
    registry_node_close(&n);
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reports_at_any_member, setup, teardown),
        cmocka_unit_test_setup_teardown(test_members_go_and_come, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_are_restarted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_late_reports, setup, teardown),
        cmocka_unit_test_setup_teardown(test_outages, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unconfirmed_reports_are_written, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
        cmocka_unit_test(test_feature_level),
        cmocka_unit_test(test_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
