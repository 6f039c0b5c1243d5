/* SPDX-License-Identifier: Apache-2.0
 * Tests of the plan of health checks, in virtual time on a catalog: due times, thresholds, writes, moves;
 * and of the division of the checks among members. */
#include "tests/unit/check_plan_bench.h"

#include <stdio.h>
#include <string.h>

static void put_check(struct bench *b, const char *id, const char *result, const char *more)
{
    char text[400];
    snprintf(text, sizeof text,
             "{\"host\":\"10.0.0.1\",\"port\":1,\"check\":{\"type\":\"tcp\",\"interval\":\"10s\"%s},"
             "\"checked\":{\"state\":\"%s\"}}",
             more, result);
    put(b, id, text);
}

/* Lets time pass until the check is due; fails after `most_ms`. */
static uint64_t wait_run(struct bench *b, uint64_t most_ms, struct check_run *ret_run)
{
    uint64_t wake_ms = check_plan_wake_ms(b->plan), before_ms = b->now_ms;
    assert_true(wake_ms != UINT64_MAX);
    if (wake_ms > b->now_ms) {
        b->now_ms = wake_ms - 1;
        assert_false(check_plan_next(b->plan, b->now_ms, ret_run));
        b->now_ms++;
    }
    assert_true(b->now_ms - before_ms <= most_ms);
    assert_true(check_plan_next(b->plan, b->now_ms, ret_run));
    return b->now_ms - before_ms;
}

static void run(struct bench *b, enum check_outcome outcome, const char *output)
{
    struct check_run r;
    wait_run(b, 10400, &r);
    b->now_ms += 5;
    check_plan_outcome(b->plan, r.ticket, outcome, output, b->now_ms);
}

static void no_write(struct bench *b)
{
    struct check_write w;
    assert_false(check_plan_next_write(b->plan, &w));
}

static uint64_t wants(struct bench *b, enum instance_state state, const char *output)
{
    struct check_write w;
    assert_true(check_plan_next_write(b->plan, &w));
    assert_int_equal(w.result, state);
    assert_false(w.is_deregistration);
    assert_true(slice_equal(w.output, slice_text(output)));
    assert_int_equal(w.instance->mod_revision, b->revision);
    no_write(b);
    return w.ticket;
}

static void test_thresholds(void **state)
{
    struct bench *b = *state;
    struct check_run r;
    divide(b, SELF, 0);
    put_check(b, "a", "starting", ",\"failures\":3,\"successes\":2");
    assert_true(wait_run(b, 1000, &r) <= 1000); /* without a result it begins soon */
    check_plan_outcome(b->plan, r.ticket, CHECK_PASS, "", b->now_ms);
    no_write(b);
    run(b, CHECK_FAIL, "x"); /* the successes are counted anew */
    run(b, CHECK_PASS, "");
    no_write(b);
    run(b, CHECK_PASS, "ok");
    wants(b, INSTANCE_UP, "ok");
    put_check(b, "a", "up", ",\"failures\":3,\"successes\":2");
    for (int i = 0; i < 5; i++)
        run(b, CHECK_PASS, "ok");
    run(b, CHECK_FAIL, "x");
    run(b, CHECK_WARN, "busy"); /* worse than up, too */
    no_write(b);
    run(b, CHECK_FAIL, "refused");
    wants(b, INSTANCE_DOWN, "refused");
    put_check(b, "a", "down", ",\"failures\":3,\"successes\":2");
    for (int i = 0; i < 20; i++)
        run(b, CHECK_FAIL, "another reason");
    no_write(b); /* the state stays: nothing is written */
    run(b, CHECK_WARN, "busy");
    run(b, CHECK_WARN, "busy");
    wants(b, INSTANCE_WARN, "busy");
}

static void test_a_write_is_given_out_once(void **state)
{
    struct bench *b = *state;
    divide(b, SELF, 0);
    put_check(b, "a", "up", ",\"failures\":1");
    run(b, CHECK_FAIL, "x");
    uint64_t ticket = wants(b, INSTANCE_DOWN, "x");
    run(b, CHECK_FAIL, "x");
    no_write(b);
    check_plan_write_failed(b->plan, ticket);
    no_write(b);
    run(b, CHECK_FAIL, "y");
    wants(b, INSTANCE_DOWN, "y");
    put_check(b, "a", "up", ",\"failures\":1"); /* another write was faster: the result is still up */
    run(b, CHECK_FAIL, "z");
    wants(b, INSTANCE_DOWN, "z");
    put_check(b, "a", "up", ",\"failures\":1");
    run(b, CHECK_FAIL, "z");
    run(b, CHECK_PASS, ""); /* it was not given out, and is not wanted any more */
    no_write(b);
}

static void test_changes_while_a_probe_runs(void **state)
{
    struct bench *b = *state;
    struct check_run r;
    divide(b, SELF, 0);
    put_check(b, "a", "up", ",\"failures\":1");
    wait_run(b, 10000, &r);
    put_check(b, "a", "up", ",\"failures\":1,\"path\":\"\",\"port\":99"); /* another target */
    check_plan_outcome(b->plan, r.ticket, CHECK_FAIL, "x", b->now_ms);
    no_write(b);
    wait_run(b, 10000, &r);
    put(b, "a", NULL);
    check_plan_outcome(b->plan, r.ticket, CHECK_FAIL, "x", b->now_ms);
    no_write(b);
    assert_int_equal(check_plan_count(b->plan), 0);
    assert_true(check_plan_wake_ms(b->plan) == UINT64_MAX);
    put_check(b, "a", "up", ",\"failures\":1");
    wait_run(b, 10000, &r);
    divide(b, 0, 0); /* the lease is over */
    check_plan_outcome(b->plan, r.ticket, CHECK_FAIL, "x", b->now_ms);
    no_write(b);
    assert_int_equal(check_plan_held(b->plan), 0);
    assert_true(check_plan_wake_ms(b->plan) == UINT64_MAX);
    divide(b, SELF, 0);
    assert_int_equal(check_plan_held(b->plan), 1);
    wait_run(b, 10000, &r);
}

static void test_deregistration(void **state)
{
    struct bench *b = *state;
    struct check_write w = {0};
    divide(b, SELF, 0);
    put_check(b, "a", "down", ",\"deregister_after\":\"1m\"");
    uint64_t from_ms = 0;
    for (int i = 0; !check_plan_next_write(b->plan, &w); i++) {
        assert_true(i < 9);
        run(b, CHECK_FAIL, "x");
        from_ms = from_ms ? from_ms : b->now_ms;
    }
    assert_true(w.is_deregistration && b->now_ms - from_ms >= 60000 && b->now_ms - from_ms < 71000);
    check_plan_write_failed(b->plan, w.ticket);
    run(b, CHECK_WARN, "");
    wants(b, INSTANCE_WARN, ""); /* it is back */
}

static void test_limit_and_others(void **state)
{
    struct bench *b = *state;
    divide(b, SELF, 0);
    b->checks_max = 2;
    put(b, "none", "{\"host\":\"h\",\"port\":1}");
    assert_int_equal(check_plan_count(b->plan), 0);
    put_check(b, "a", "up", "");
    put_check(b, "b", "up", "");
    put_check(b, "c", "up", "");
    assert_int_equal(check_plan_count(b->plan), 2);
    put(b, "a", "{\"host\":\"h\",\"port\":1}"); /* without a check now */
    assert_int_equal(check_plan_count(b->plan), 1);
    put_check(b, "c", "up", "");
    assert_int_equal(check_plan_count(b->plan), 2);
}

/* Two members together run every check once, in even shares, and the starts are spread over the interval. */
static void test_division(void **state)
{
    enum { CHECKS = 1000 };
    struct bench *b = *state;
    struct check_run r;
    size_t slots[10] = {0};
    divide(b, SELF, SELF + 1);
    struct check_plan *mine = b->plan, *other = check_plan_new(b->catalog, SELF + 1, 2);
    for (int i = 0; i < CHECKS; i++) {
        char id[16];
        snprintf(id, sizeof id, "i%d", i);
        b->plan = mine;
        put_check(b, id, "up", "");
        b->plan = other;
        put_check(b, id, "up", "");
    }
    divide(b, SELF, SELF + 1);
    size_t held = check_plan_held(mine);
    assert_int_equal(held + check_plan_held(other), CHECKS);
    assert_true(held > CHECKS * 4 / 10 && held < CHECKS * 6 / 10);
    while (check_plan_wake_ms(mine) < b->now_ms + 10000) {
        uint64_t at_ms = check_plan_wake_ms(mine);
        assert_true(check_plan_next(mine, at_ms, &r));
        slots[(at_ms - b->now_ms) / 1000]++;
    }
    for (int i = 0; i < 10; i++)
        assert_true(slots[i] > held / 20 && slots[i] < held / 5);
    divide(b, SELF + 1, 0);
    assert_int_equal(check_plan_held(other), CHECKS);
    check_plan_free(other);
    b->plan = mine;
    divide(b, SELF + 1, 0);
    assert_int_equal(check_plan_held(mine), 0);
}

/* A third member takes a third of the checks, and no check moves between the other two. */
static void test_a_member_moves_only_its_share(void **state)
{
    struct check_share two = {.ids = {11, 22}, .count = 2}, three = {.ids = {11, 22, 33}, .count = 3};
    size_t taken = 0;
    (void)state;
    for (int i = 0; i < 3000; i++) {
        char key[32];
        snprintf(key, sizeof key, "/cairn/registry/instances/%d", i);
        uint64_t hash = check_share_hash(slice_text(key)), holder = check_share_holder(&three, hash);
        taken += holder == 33;
        assert_true(holder == 33 || holder == check_share_holder(&two, hash));
    }
    assert_true(taken > 900 && taken < 1100);
    assert_true(check_share_hash(slice_text("x")) == check_share_hash(slice_text("x")));
    assert_int_equal(check_share_holder(&(struct check_share){0}, 1), 0);
}

static void test_leases_and_terms(void **state)
{
    struct check_share leader = {.term = 5}, member = {0};
    struct check_roll roll = {0};
    struct buf question = {0};
    bool is_changed;
    (void)state;
    check_roll_hear(&roll, 2, 1000);
    check_roll_hear(&roll, 1, 1000);
    assert_true(check_roll_take(&roll, 1000, &leader));
    check_roll_hear(&roll, 1, 3000);
    assert_false(check_roll_take(&roll, 3000, &leader));
    check_share_write(&leader, &question);
    assert_int_equal(check_share_accept(&member, buf_slice(&question), 3000, &is_changed), OK);
    assert_true(is_changed && member.count == 2 && member.ids[0] == 1 && member.ids[1] == 2);
    assert_int_equal(check_share_accept(&member, buf_slice(&question), 3100, &is_changed), OK);
    assert_false(is_changed);
    assert_true(check_roll_take(&roll, 1000 + CHECK_SILENT_MS, &leader)); /* 2 is silent */
    assert_int_equal(leader.count, 1);
    assert_false(check_share_expire(&member, 3100 + CHECK_LEASE_MS - 1));
    assert_true(check_share_expire(&member, 3100 + CHECK_LEASE_MS));
    assert_int_equal(member.count, 0);
    for (size_t size = 0; size < question.size; size++)
        assert_int_equal(check_share_accept(&member, slice_of(question.data, size), 3200, &is_changed),
                         ERR_MALFORMED);
    member.term = 6;
    assert_int_equal(check_share_accept(&member, buf_slice(&question), 3200, &is_changed), ERR_INVALID);
    leader = (struct check_share){.term = 7}; /* a new leader has heard of nobody: the division stays */
    buf_clear(&question);
    check_share_write(&leader, &question);
    member = (struct check_share){.term = 6, .ids = {1}, .count = 1, .until_ms = 4000};
    assert_int_equal(check_share_accept(&member, buf_slice(&question), 3200, &is_changed), OK);
    assert_true(!is_changed && member.count == 1 && member.term == 7 && member.until_ms == 4000);
    buf_clear(&question);
    check_share_write_answer(true, &question);
    assert_true(check_share_read_answer(buf_slice(&question)));
    assert_false(check_share_read_answer((struct slice){0}));
    buf_clear(&question);
    check_share_write_answer(false, &question);
    assert_false(check_share_read_answer(buf_slice(&question)));
    buf_done(&question);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_thresholds, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_write_is_given_out_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_changes_while_a_probe_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deregistration, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limit_and_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_division, setup, teardown),
        cmocka_unit_test(test_a_member_moves_only_its_share),
        cmocka_unit_test(test_leases_and_terms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
