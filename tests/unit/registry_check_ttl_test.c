/* SPDX-License-Identifier: Apache-2.0
 * Tests of the plan of TTL checks, in virtual time on a catalog: the clock, which reports move it, the grace after a
 * move and after a leader change; and of the bodies and messages of reports. */
#include "tests/unit/check_plan_bench.h"

#include <stdio.h>
#include <string.h>

#include "registry/check_report.h"
#include "registry/event.h"

enum { TTL_MS = 10000, LIMIT_MS = TTL_MS + CHECK_LATE_MS };

/* The member holds all checks, and the lease of any before is over. */
static int setup_held(void **state)
{
    setup(state);
    struct bench *b = *state;
    divide(b, SELF, 0);
    b->now_ms += CHECK_LEASE_MS;
    return 0;
}

static void put_check(struct bench *b, const char *result, const char *more)
{
    char text[400];
    snprintf(text, sizeof text,
             "{\"host\":\"10.0.0.1\",\"check\":{\"type\":\"ttl\",\"ttl\":\"10s\"%s},"
             "\"checked\":{\"state\":\"%s\"}}",
             more, result);
    put(b, "a", text);
}

static bool report(struct bench *b, enum instance_state state)
{
    return check_plan_report(b->plan, slice_text("/cairn/registry/instances/n/g/s/a"), state, b->now_ms);
}

/* The time passes; the leader asks at its end. */
static void pass(struct bench *b, uint64_t ms)
{
    b->now_ms += ms;
    check_plan_judge(b->plan, b->now_ms);
    assert_false(check_plan_fail_some(b->plan, 10, b->now_ms));
}

static void no_write(struct bench *b)
{
    struct check_write w;
    assert_false(check_plan_next_write(b->plan, &w));
}

static uint64_t fails(struct bench *b)
{
    struct check_write w;
    assert_true(check_plan_next_write(b->plan, &w));
    assert_int_equal(w.result, INSTANCE_DOWN);
    assert_false(w.is_deregistration);
    assert_true(slice_equal(w.output, slice_text("no report for 10s")));
    assert_int_equal(w.instance->mod_revision, b->revision);
    no_write(b);
    return w.ticket;
}

static void test_the_clock(void **state)
{
    struct bench *b = *state;
    put_check(b, "starting", "");
    assert_int_equal(check_plan_wake_ms(b->plan), UINT64_MAX); /* nothing is run */
    assert_false(report(b, INSTANCE_UP));                      /* it changes something: it must be written */
    pass(b, LIMIT_MS - 1);
    no_write(b);
    put_check(b, "up", ""); /* it is */
    for (int i = 0; i < 5; i++) {
        pass(b, LIMIT_MS - 1);
        no_write(b);
        assert_true(report(b, INSTANCE_UP));
    }
    assert_false(report(b, INSTANCE_WARN));
    b->now_ms += 10 * LIMIT_MS;
    no_write(b); /* the leader has not asked */
    pass(b, 0);
    uint64_t ticket = fails(b);
    /* A write that was not applied is tried again; one that was applied is the last. */
    check_plan_write_failed(b->plan, ticket);
    no_write(b);
    pass(b, CHECK_ROUND_MS);
    fails(b);
    put_check(b, "down", "");
    pass(b, 100 * LIMIT_MS);
    no_write(b);
    assert_true(report(b, INSTANCE_DOWN));
    assert_false(report(b, INSTANCE_UP));
    put_check(b, "up", "");
    pass(b, LIMIT_MS - 1);
    no_write(b);
    pass(b, 1);
    fails(b);
}

/* A report that comes after the failure was decided, and before it is proposed, prevents it. After that it is written,
 * and one of the two writes fails. */
static void test_reports_and_a_failure(void **state)
{
    struct bench *b = *state;
    put_check(b, "up", "");
    pass(b, LIMIT_MS);
    assert_true(report(b, INSTANCE_UP));
    no_write(b);
    pass(b, LIMIT_MS);
    uint64_t ticket = fails(b);
    assert_false(report(b, INSTANCE_UP));
    put_check(b, "up", ""); /* the report was faster */
    check_plan_write_failed(b->plan, ticket);
    assert_true(report(b, INSTANCE_UP));
    pass(b, LIMIT_MS - 1);
    no_write(b);
}

static void test_another_check_begins_anew(void **state)
{
    struct bench *b = *state;
    put_check(b, "up", "");
    pass(b, LIMIT_MS - 1);
    put(b, "a",
        "{\"host\":\"10.0.0.1\",\"check\":{\"type\":\"ttl\",\"ttl\":\"1s\"},"
        "\"checked\":{\"state\":\"up\"}}");
    pass(b, 1000 + CHECK_LATE_MS - 1);
    no_write(b);
    pass(b, 1);
    struct check_write w;
    assert_true(check_plan_next_write(b->plan, &w));
    assert_true(slice_equal(w.output, slice_text("no report for 1s")));
    /* To a check that is run, and back. */
    put(b, "a",
        "{\"host\":\"10.0.0.1\",\"port\":1,\"check\":{\"type\":\"tcp\"},\"checked\":{\"state\":\"up\"}}");
    assert_int_not_equal(check_plan_wake_ms(b->plan), UINT64_MAX);
    assert_false(report(b, INSTANCE_UP));
    pass(b, 10 * LIMIT_MS);
    no_write(b);
    put_check(b, "up", "");
    assert_int_equal(check_plan_wake_ms(b->plan), UINT64_MAX);
    pass(b, LIMIT_MS);
    fails(b);
}

static void test_a_new_holder(void **state)
{
    struct bench *b = *state;
    put_check(b, "up", "");
    divide(b, 1, 0);
    assert_false(report(b, INSTANCE_UP));
    pass(b, 100 * LIMIT_MS);
    no_write(b);
    divide(b, SELF, 0);
    /* The holder before may confirm reports for CHECK_LEASE_MS, and may fail the check for as long. */
    pass(b, CHECK_LEASE_MS - 1);
    assert_false(report(b, INSTANCE_UP));
    pass(b, LIMIT_MS);
    no_write(b);
    pass(b, 1);
    fails(b);
    put_check(b, "up", "");
    assert_true(report(b, INSTANCE_UP));
    /* Another member comes or goes, and this check stays: nothing begins anew. */
    pass(b, LIMIT_MS - 1);
    divide(b, SELF, 0);
    assert_true(report(b, INSTANCE_UP));
    /* One that is registered right after a move has the same grace. */
    pass(b, 1000);
    put(b, "late",
        "{\"host\":\"h\",\"check\":{\"type\":\"ttl\",\"ttl\":\"10s\"},\"checked\":{\"state\":\"up\"}}");
    assert_true(report(b, INSTANCE_UP));
    assert_false(check_plan_report(b->plan, slice_text("/cairn/registry/instances/n/g/s/late"), INSTANCE_UP,
                                   b->now_ms));
    pass(b, LIMIT_MS - 1);
    no_write(b);
    assert_true(report(b, INSTANCE_UP));
    pass(b, CHECK_LEASE_MS - 1000);
    no_write(b);
    pass(b, 1);
    struct check_write w;
    assert_true(check_plan_next_write(b->plan, &w));
    assert_true(slice_equal(w.instance->id, slice_text("late")));
}

static void test_a_new_leader(void **state)
{
    struct bench *b = *state;
    put_check(b, "up", "");
    b->now_ms += LIMIT_MS + 500; /* reports were held up meanwhile */
    check_plan_grant_grace(b->plan, b->now_ms);
    pass(b, LIMIT_MS + CHECK_LEASE_MS - 1);
    no_write(b);
    assert_true(report(b, INSTANCE_UP));
    /* A report does not shorten the time. */
    check_plan_grant_grace(b->plan, b->now_ms);
    assert_true(report(b, INSTANCE_UP));
    pass(b, LIMIT_MS + CHECK_LEASE_MS - 1);
    no_write(b);
    pass(b, 1);
    fails(b);
}

/* Many clocks that run out at once are looked at in slices; one that a report moves in between does not fail. */
static void test_slices(void **state)
{
    struct bench *b = *state;
    struct check_write w;
    char id[8], key[60];
    for (int i = 0; i < 9; i++) {
        snprintf(id, sizeof id, "%d", i);
        put(b, id,
            "{\"host\":\"h\",\"check\":{\"type\":\"ttl\",\"ttl\":\"10s\"},\"checked\":{\"state\":\"up\"}}");
    }
    b->now_ms += LIMIT_MS;
    check_plan_judge(b->plan, b->now_ms);
    assert_true(check_plan_fail_some(b->plan, 4, b->now_ms));
    for (int i = 0; i < 4; i++)
        assert_true(check_plan_next_write(b->plan, &w));
    no_write(b);
    for (int i = 0; i < 8; i++) {
        snprintf(key, sizeof key, "/cairn/registry/instances/n/g/s/%d", i);
        assert_int_equal(check_plan_report(b->plan, slice_text(key), INSTANCE_UP, b->now_ms), i >= 4);
    }
    /* The leader changes: the last one is spared, too. */
    check_plan_grant_grace(b->plan, b->now_ms);
    assert_false(check_plan_fail_some(b->plan, 100, b->now_ms));
    no_write(b);
    pass(b, LIMIT_MS + CHECK_LEASE_MS - 1);
    no_write(b);
}

static void test_deregistration(void **state)
{
    struct bench *b = *state;
    struct check_write w;
    put_check(b, "up", ",\"deregister_after\":\"1m\"");
    pass(b, LIMIT_MS);
    fails(b);
    put_check(b, "down", ",\"deregister_after\":\"1m\"");
    pass(b, 59999);
    no_write(b);
    assert_true(report(b, INSTANCE_DOWN)); /* it stays down */
    pass(b, 1);
    assert_true(check_plan_next_write(b->plan, &w));
    assert_true(w.is_deregistration);
    assert_false(report(b, INSTANCE_DOWN)); /* its write and the deregistration compare the same revision */
    put_check(b, "up", ",\"deregister_after\":\"1m\"");
    pass(b, 1);
    no_write(b);
}

/* --- bodies, messages, events --------------------------------------------------------------------------- */

static void test_bodies(void **state)
{
    static const struct {
        const char *body, *error;
    } rows[] = {
        {"{}", "state is missing: give up, warn or down"},
        {"{\"state\":\"passing\"}", "state is not one of up, warn, down"},
        {"{\"state\":\"starting\"}", "state is not one of up, warn, down"},
        {"{\"state\":\"up\",\"note\":\"x\"}", "unknown field \"note\""},
        {"{\"state\":\"up\",\"output\":1}", "output is not a string of at most 256 bytes"},
        {"{\"state\":\"up\",\"output\":\"a\\nb\"}", "output holds a control character"},
    };
    struct arena a = {0};
    char error[200], text[300], more[CHECK_OUTPUT_MAX + 2] = "";
    enum instance_state reported;
    struct slice output;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_not_equal(
            report_read(slice_text(rows[i].body), &a, &reported, &output, error, sizeof error), OK);
        assert_string_equal(error, rows[i].error);
    }
    memset(more, 'x', CHECK_OUTPUT_MAX + 1);
    snprintf(text, sizeof text, "{\"state\":\"warn\",\"output\":\"%s\"}", more);
    assert_int_equal(report_read(slice_text(text), &a, &reported, &output, error, sizeof error), ERR_INVALID);
    assert_string_equal(error, "output is longer than 200 bytes");
    snprintf(text, sizeof text, "{\"state\":\"warn\",\"output\":\"%s\"}", more + 1);
    assert_int_equal(report_read(slice_text(text), &a, &reported, &output, error, sizeof error), OK);
    assert_int_equal(reported, INSTANCE_WARN);
    assert_int_equal(output.size, CHECK_OUTPUT_MAX);
    arena_done(&a);
}

static void test_messages(void **state)
{
    static struct check_report list[CHECK_REPORTS_MAX + 1], read[CHECK_REPORTS_MAX];
    static bool held[CHECK_REPORTS_MAX + 1];
    struct buf out = {0};
    size_t count;
    (void)state;
    for (size_t i = 0; i <= CHECK_REPORTS_MAX; i++) {
        list[i] = (struct check_report){slice_text("/key"), i % 2 ? INSTANCE_UP : INSTANCE_DOWN};
        held[i] = i % 3 == 0;
    }
    check_report_write(list, CHECK_REPORTS_MAX, &out);
    assert_int_equal(check_report_read_question(buf_slice(&out), read, &count), OK);
    assert_int_equal(count, CHECK_REPORTS_MAX);
    assert_true(slice_equal(read[5].key, slice_text("/key")));
    assert_int_equal(read[5].state, INSTANCE_UP);
    for (size_t size = 0; size < out.size; size += 7)
        assert_int_equal(check_report_read_question(slice_of(out.data, size), read, &count), ERR_MALFORMED);
    buf_clear(&out);
    check_report_write(list, CHECK_REPORTS_MAX + 1, &out);
    assert_int_equal(check_report_read_question(buf_slice(&out), read, &count), ERR_MALFORMED);
    buf_clear(&out);
    check_report_write_answer(held, 9, &out);
    bool got[CHECK_REPORTS_MAX];
    assert_int_equal(check_report_read_answer(buf_slice(&out), 9, got), OK);
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(got[i], held[i]);
    assert_int_equal(check_report_read_answer(buf_slice(&out), 8, got), ERR_MALFORMED);
    for (size_t size = 0; size < out.size; size++)
        assert_int_equal(check_report_read_answer(slice_of(out.data, size), 9, got), ERR_MALFORMED);
    buf_done(&out);
}

static void test_events(void **state)
{
    static const char *const texts[] = {
        "{\"host\":\"h\",\"check\":{\"type\":\"ttl\",\"ttl\":\"9s\"},\"checked\":{\"state\":\"up\"}}",
        "{\"host\":\"h\",\"check\":{\"type\":\"ttl\",\"ttl\":\"9s\"},\"checked\":{\"state\":\"up\","
        "\"output\":\"slow\"}}",
        "{\"host\":\"h\",\"weight\":3,\"check\":{\"type\":\"ttl\",\"ttl\":\"9s\"},\"checked\":{\"state\":"
        "\"up\"}}",
    };
    struct arena a = {0};
    struct instance docs[3];
    char error[200];
    struct event e;
    struct name name = {.kind = NAME_INSTANCE};
    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(
            instance_read(slice_text(texts[i]), DOCUMENT_TOLERANT, &a, &docs[i], error, sizeof error), OK);
    struct catalog_replaced change = {.name = &name, .old_instance = &docs[0], .instance = &docs[0]};
    assert_false(event_derive(&change, &e)); /* written again, and not changed */
    change.instance = &docs[1];
    assert_true(event_derive(&change, &e));
    assert_int_equal(e.cause, EVENT_CHECK_PASSING);
    assert_true(slice_equal(e.reason, slice_text("slow")));
    change.instance = &docs[2];
    assert_true(event_derive(&change, &e));
    assert_int_equal(e.cause, EVENT_UPDATED);
    arena_done(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_clock, setup_held, teardown),
        cmocka_unit_test_setup_teardown(test_reports_and_a_failure, setup_held, teardown),
        cmocka_unit_test_setup_teardown(test_another_check_begins_anew, setup_held, teardown),
        cmocka_unit_test_setup_teardown(test_a_new_holder, setup_held, teardown),
        cmocka_unit_test_setup_teardown(test_a_new_leader, setup_held, teardown),
        cmocka_unit_test_setup_teardown(test_slices, setup_held, teardown),
        cmocka_unit_test_setup_teardown(test_deregistration, setup_held, teardown),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
