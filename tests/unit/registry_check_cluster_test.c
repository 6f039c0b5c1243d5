/* SPDX-License-Identifier: Apache-2.0
 * Tests of health checks on three members, on virtual time and with a prober whose outcomes the test sets.
 * The members divide the checks, a member that goes or comes moves its share, no check runs on two members
 * for long, and a result is written once a change. */
#include "tests/unit/registry_trio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "tests/unit/registry_node.h"

enum { CHECKS = 30, INTERVAL_MS = 2000, PROBE_MS = 300 };

/* A probe takes PROBE_MS; its port is the number of the check. */
struct fake_prober {
    struct check_prober ops; /* first */
    struct trio *trio;
    struct check_probe *running[CHECKS + 1];
    uint64_t begin_ms[CHECKS + 1];
    size_t runs[CHECKS + 1];
};

static struct fake_prober probers[TRIO];
static enum check_outcome outcomes[CHECKS + 1];
static unsigned opened;

static uint64_t now_ms(const struct trio *t)
{
    return t->world->clock.now_ns / 1000000;
}

static void start(struct check_prober *ops, struct check_probe *probe)
{
    struct fake_prober *f = container_of(ops, struct fake_prober, ops);
    assert_null(f->running[probe->port]); /* never twice at once */
    f->running[probe->port] = probe;
    f->begin_ms[probe->port] = now_ms(f->trio);
    f->runs[probe->port]++;
}

static void cancel(struct check_prober *ops, struct check_probe *probe)
{
    struct fake_prober *f = container_of(ops, struct fake_prober, ops);
    f->running[probe->port] = NULL;
}

static void end_probes(struct fake_prober *f)
{
    for (unsigned i = 1; i <= CHECKS; i++) {
        struct check_probe *probe = f->running[i];
        if (!probe || now_ms(f->trio) - f->begin_ms[i] < PROBE_MS)
            continue;
        f->running[i] = NULL;
        probe->done(probe, outcomes[i], outcomes[i] == CHECK_PASS ? "ok" : "refused");
    }
}

static void *open_module(struct kv *kv, const char *member)
{
    struct registry_options o = {.kv = kv, .member = member, .checks_max = CHECKS};
    unsigned i = opened++ % TRIO;
    o.prober = &probers[i].ops;
    return registry_new(&o);
}

static const struct trio_kind kind = {open_module, registry_trio_close, registry_trio_turn,
                                      registry_trio_is_ready};

static int setup(void **state)
{
    opened = 0;
    memset(probers, 0, sizeof probers);
    memset(outcomes, 0, sizeof outcomes);
    for (int i = 0; i < TRIO; i++)
        probers[i].ops = (struct check_prober){start, cancel};
    struct trio *t = trio_new(&kind);
    for (int i = 0; i < TRIO; i++)
        probers[i].trio = t;
    *state = t;
    return 0;
}

static int teardown(void **state)
{
    trio_free(*state);
    return 0;
}

static void run_ms(struct trio *t, uint64_t ms)
{
    uint64_t until_ms = now_ms(t) + ms;
    while (now_ms(t) < until_ms) {
        world_run_ms(t->world, 20);
        for (int i = 0; i < TRIO; i++)
            if (t->modules[i])
                end_probes(&probers[i]);
    }
}

static struct registry_reply put(struct trio *t, unsigned at, unsigned number, const char *more)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    char id[16], text[300], error[200];
    struct arena arena = {0};
    struct instance doc;
    snprintf(id, sizeof id, "i%u", number);
    snprintf(text, sizeof text,
             "{\"host\":\"10.0.0.1\",\"port\":%u,\"check\":{\"type\":\"tcp\",\"interval\":\"2s\"}%s}", number,
             more);
    struct registry_key key = registry_key_of("web", id);
    assert_int_equal(instance_read(slice_text(text), DOCUMENT_STRICT, &arena, &doc, error, sizeof error), OK);
    registry_register(t->modules[at], &a.request, &key, &doc, 0);
    trio_wait(t, &a.is_done);
    arena_done(&arena);
    return a;
}

static void put_all(struct trio *t)
{
    for (unsigned i = 1; i <= CHECKS; i++)
        assert_int_equal(put(t, i % TRIO, i, "").err, OK);
}

static const struct instance *find(struct trio *t, unsigned at, unsigned number, int64_t *ret_revision)
{
    char id[16];
    snprintf(id, sizeof id, "i%u", number);
    struct registry_key key = registry_key_of("web", id);
    struct catalog_service *s =
        catalog_find(registry_catalog(t->modules[at]), key.ns, key.group, key.service);
    struct catalog_instance *i = s ? catalog_instance(s, key.id) : NULL;
    if (i && ret_revision)
        *ret_revision = i->mod_revision;
    return i ? i->doc : NULL;
}

static void forget_runs(void)
{
    for (int i = 0; i < TRIO; i++)
        memset(probers[i].runs, 0, sizeof probers[i].runs);
}

/* Each check has run on exactly one of the members, and each of the `holders` members runs some. */
static void expect_divided(unsigned holders)
{
    size_t shares[TRIO] = {0}, used = 0;
    for (unsigned n = 1; n <= CHECKS; n++) {
        unsigned on = 0;
        for (int i = 0; i < TRIO; i++) {
            on += probers[i].runs[n] > 0;
            shares[i] += probers[i].runs[n] > 0;
        }
        assert_int_equal(on, 1);
    }
    for (int i = 0; i < TRIO; i++)
        used += shares[i] > 2;
    assert_int_equal(used, holders);
}

static void test_division_and_states(void **state)
{
    struct trio *t = *state;
    int64_t revision, again;
    put_all(t);
    assert_int_equal(find(t, CHECKS % TRIO, CHECKS, NULL)->state, INSTANCE_STARTING);
    run_ms(t, 6000);
    for (unsigned n = 1; n <= CHECKS; n++)
        assert_int_equal(find(t, 0, n, NULL)->state, INSTANCE_UP);
    forget_runs();
    int64_t before = kv_revision(t->world->machines[0].kv);
    run_ms(t, 10000);
    expect_divided(3);
    assert_int_equal(kv_revision(t->world->machines[0].kv), before); /* nothing changes: nothing is written */
    outcomes[5] = CHECK_FAIL;
    run_ms(t, 10000);
    const struct instance *doc = find(t, 1, 5, &revision);
    assert_int_equal(doc->state, INSTANCE_DOWN);
    assert_true(slice_equal(doc->check->output, slice_text("refused")));
    assert_int_equal(kv_revision(t->world->machines[0].kv), before + 1);
    /* The same registration keeps the result and writes nothing; another address begins anew. */
    assert_true(put(t, 2, 5, "").result.is_unchanged);
    assert_int_equal(put(t, 2, 5, ",\"version\":\"2\"").err, OK);
    assert_int_equal(find(t, 2, 5, &again)->state, INSTANCE_DOWN);
    assert_int_equal(put(t, 2, 5, ",\"state\":\"draining\"").err, OK);
    assert_int_equal(find(t, 2, 5, &again)->state, INSTANCE_DRAINING);
    assert_int_equal(put(t, 2, 5, "").err, OK);
    assert_int_equal(find(t, 2, 5, &again)->state, INSTANCE_DOWN);
    outcomes[5] = CHECK_PASS;
    run_ms(t, 5000);
    assert_int_equal(find(t, 0, 5, &again)->state, INSTANCE_UP);
}

/* Runs the checks for a while in which members change, and asserts that each check is run at least every
 * `most_ms`. */
static void test_a_member_goes_and_comes(void **state)
{
    struct trio *t = *state;
    put_all(t);
    run_ms(t, 6000);
    struct machine *follower = world_follower(t->world);
    unsigned i = trio_index(t, follower);
    trio_close(t, i);
    machine_crash(follower);
    run_ms(t, CHECK_SILENT_MS + 2 * CHECK_ROUND_MS);
    forget_runs();
    run_ms(t, 2 * INTERVAL_MS + 500);
    expect_divided(2);
    opened = i;
    machine_start(follower, false);
    trio_open(t, i);
    run_ms(t, 6000);
    forget_runs();
    run_ms(t, 2 * INTERVAL_MS + 500);
    expect_divided(3);
    /* The leader goes. */
    struct machine *leader = world_leader(t->world);
    i = trio_index(t, leader);
    trio_close(t, i);
    machine_crash(leader);
    world_wait_for_leader(t->world);
    run_ms(t, CHECK_SILENT_MS + CHECK_LEASE_MS + 2 * CHECK_ROUND_MS);
    forget_runs();
    run_ms(t, 2 * INTERVAL_MS + 500);
    expect_divided(2);
}

/* A member that is cut off stops by itself; the others run its checks meanwhile. */
static void test_a_member_is_cut_off(void **state)
{
    struct trio *t = *state;
    put_all(t);
    run_ms(t, 6000);
    struct machine *cut = world_leader(t->world);
    unsigned i = trio_index(t, cut);
    cut->is_cut = true;
    run_ms(t, CHECK_LEASE_MS + CHECK_ROUND_MS);
    memset(probers[i].runs, 0, sizeof probers[i].runs);
    run_ms(t, 4000);
    forget_runs();
    run_ms(t, 2 * INTERVAL_MS + 500);
    expect_divided(2);
    for (unsigned n = 1; n <= CHECKS; n++)
        assert_int_equal(probers[i].runs[n], 0);
    cut->is_cut = false;
    run_ms(t, 8000);
    forget_runs();
    run_ms(t, 2 * INTERVAL_MS + 500);
    expect_divided(3);
}

static void test_refusals(void **state)
{
    struct trio *t = *state;
    put_all(t);
    struct registry_reply over = put(t, 0, CHECKS + 1, "");
    assert_int_equal(over.err, ERR_QUOTA);
    assert_string_equal(over.error, "there are 30 instances with a check; at most 30 are allowed "
                                    "(--registry-max-checks)");
    struct registry_reply a = {.request.done = registry_reply_done};
    struct session doc = {.ttl_s = 60};
    registry_session_open(t->modules[0], &a.request, &doc);
    trio_wait(t, &a.is_done);
    struct registry_reply b = {.request.done = registry_reply_done};
    struct check check = {.type = CHECK_TCP, .interval_ms = 1000, .failures = 1, .successes = 1};
    struct instance instance = {.host = slice_text("h"), .port = 1, .ttl_s = 15, .check = &check};
    struct registry_key key = registry_key_of("web", "i1");
    registry_register(t->modules[0], &b.request, &key, &instance, a.result.session);
    trio_wait(t, &b.is_done);
    assert_int_equal(b.err, ERR_INVALID);
    assert_non_null(strstr(b.error, "belongs to no session"));
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_division_and_states, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_member_goes_and_comes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_member_is_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refusals, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
