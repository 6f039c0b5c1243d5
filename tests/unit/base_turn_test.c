/* SPDX-License-Identifier: Apache-2.0
 * Tests of turn: whole turns, the work that a turn names, the longest of each kind, and the turns that get a
 * log line. */
#include "tests/unit/unit.h"

#include <string.h>

#include "base/turn.h"
#include "server/turn_watch.h"

enum { MS = 1000000 };

static uint64_t now_ns, waited_ns;
static unsigned clock_reads;

static uint64_t fake_clock(void)
{
    clock_reads++;
    return now_ns;
}

static uint64_t fake_waited(void *arg)
{
    return *(uint64_t *)arg;
}

static void start(void)
{
    now_ns = 1000 * (uint64_t)MS;
    clock_reads = 0;
    waited_ns = 0;
    turn_start(fake_clock, fake_waited, &waited_ns);
}

/* The loop waits for events: this time belongs to no work. */
static void loop_waits(uint64_t ms)
{
    now_ns += ms * MS;
    waited_ns += ms * MS;
}

static void work(enum turn_work name, uint64_t ms)
{
    turn_enter(name);
    now_ns += ms * MS;
}

static void test_the_longest_work_names_the_turn(void **state)
{
    (void)state;
    struct turn_result r;
    start();
    work(TURN_HTTP_REQUEST, 2);
    work(TURN_KV_APPLY, 5);
    work(TURN_HTTP_REQUEST, 2);
    work(TURN_GRPC_WRITE, 1);
    assert_true(turn_end(&r));
    assert_int_equal(r.ns, 10 * MS);
    assert_int_equal(r.work, TURN_KV_APPLY);
    assert_int_equal(r.work_ns, 5 * MS);
    loop_waits(1000);
    work(TURN_HTTP_REQUEST, 2);
    work(TURN_KV_APPLY, 3);
    work(TURN_HTTP_REQUEST, 2); /* in two pieces, and still more than the other */
    assert_true(turn_end(&r));
    assert_int_equal(r.ns, 7 * MS);
    assert_int_equal(r.work, TURN_HTTP_REQUEST);
    assert_int_equal(r.work_ns, 4 * MS);
}

static void test_nested_work_returns_to_the_outer_name(void **state)
{
    (void)state;
    struct turn_result r;
    start();
    work(TURN_KV_PROPOSE, 3);
    enum turn_work before = turn_enter(TURN_KV_APPLY);
    now_ns += 4 * MS;
    turn_enter(before);
    now_ns += 3 * MS;
    assert_true(turn_end(&r));
    assert_int_equal(r.ns, 10 * MS);
    assert_int_equal(r.work, TURN_KV_PROPOSE);
    assert_int_equal(r.work_ns, 6 * MS);
}

static void test_a_turn_without_work_is_none(void **state)
{
    (void)state;
    struct turn_result r;
    start();
    assert_false(turn_end(&r));
    work(TURN_DNS_QUERY, 1);
    assert_true(turn_end(&r));
    assert_false(turn_end(&r));
    /* The same work as in the previous turn begins a turn like any other. */
    loop_waits(50);
    work(TURN_DNS_QUERY, 2);
    assert_true(turn_end(&r));
    assert_int_equal(r.ns, 2 * MS);
}

/* Callbacks without a name run between the end of the wait and the first name. */
static void test_time_before_the_first_name_is_unnamed(void **state)
{
    (void)state;
    struct turn_result r;
    start();
    work(TURN_HTTP_REQUEST, 1);
    assert_true(turn_end(&r));
    loop_waits(100);
    now_ns += 7 * MS;
    work(TURN_KV_APPLY, 2);
    assert_true(turn_end(&r));
    assert_int_equal(r.ns, 9 * MS);
    assert_int_equal(r.work, TURN_UNNAMED);
    assert_int_equal(r.work_ns, 7 * MS);
    /* It is not the time of the work that ended the previous turn, nor of the work that begins this one. */
    loop_waits(100);
    now_ns += 1 * MS;
    work(TURN_KV_APPLY, 2);
    assert_true(turn_end(&r));
    assert_int_equal(r.ns, 3 * MS);
    assert_int_equal(r.work, TURN_KV_APPLY);
    assert_int_equal(r.work_ns, 2 * MS);
    /* A turn without a named work ends with the next one that names work. */
    loop_waits(100);
    now_ns += 4 * MS;
    assert_false(turn_end(&r));
    loop_waits(100);
    work(TURN_UNNAMED, 3);
    assert_true(turn_end(&r));
    assert_int_equal(r.ns, 7 * MS);
    assert_int_equal(r.work, TURN_UNNAMED);
}

/* The first turn begins with its first name: there was no loop before it. */
static void test_the_start_is_no_turn(void **state)
{
    (void)state;
    struct turn_result r;
    start();
    now_ns += 500 * (uint64_t)MS;
    work(TURN_KV_STORE, 2);
    assert_true(turn_end(&r));
    assert_int_equal(r.ns, 2 * MS);
    assert_int_equal(r.work, TURN_KV_STORE);
}

/* A turn before the member serves is not the longest of anything, and the next one does not contain it. */
static void test_a_discarded_turn_does_not_count(void **state)
{
    (void)state;
    struct turn_result r;
    struct buf out = {0};
    start();
    turn_discard(); /* none is under way */
    work(TURN_TIMER, 200);
    turn_discard();
    assert_false(turn_end(&r));
    loop_waits(10);
    work(TURN_TIMER, 3);
    assert_true(turn_end(&r));
    assert_int_equal(r.ns, 3 * MS);
    turn_print(&out);
    assert_non_null(strstr(buf_text(&out), "{work=\"timer\"} 0.003\n"));
    buf_done(&out);
}

static void test_naming_is_cheap(void **state)
{
    (void)state;
    struct turn_result r;
    start();
    for (int i = 0; i < 1000; i++)
        turn_enter(TURN_GRPC_CALL);
    assert_int_equal(clock_reads, 1);
    turn_enter(TURN_KV_RANGE);
    assert_int_equal(clock_reads, 2);
    assert_true(turn_end(&r));
    assert_int_equal(clock_reads, 3);
    turn_start(NULL, NULL, NULL);
    turn_enter(TURN_GRPC_CALL);
    assert_false(turn_end(&r));
    assert_int_equal(clock_reads, 3);
}

static void test_print(void **state)
{
    (void)state;
    struct turn_result r;
    struct buf b = {0};
    start();
    for (uint64_t ms = 1; ms <= 8; ms *= 2) {
        work(TURN_METRICS, 9 - ms);
        assert_true(turn_end(&r));
    }
    work(TURN_GRPC_CALL, 250);
    work(TURN_METRICS, 249);
    assert_true(turn_end(&r));
    turn_print(&b);
    const char *values = strstr(buf_text(&b), "# TYPE cairn_loop_turn_longest_seconds gauge\n");
    assert_non_null(values);
    assert_string_equal(strchr(values, '\n') + 1,
                        "cairn_loop_turn_longest_seconds{work=\"metrics\"} 0.008\n"
                        "cairn_loop_turn_longest_seconds{work=\"grpc_call\"} 0.499\n");
    buf_done(&b);
}

static void test_names_are_unique(void **state)
{
    (void)state;
    for (int i = 0; i < TURN_WORKS; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(turn_work_name((enum turn_work)i), turn_work_name((enum turn_work)k));
}

static void test_log_lines_are_limited(void **state)
{
    (void)state;
    struct turn_watch w = {0};
    struct turn_result at_bound = {.ns = 50 * MS}, over = {.ns = 50 * MS + 1};
    uint64_t left_out = 99, second = 1000 * (uint64_t)MS, t = 5 * second;
    assert_false(turn_watch_judge(&w, &at_bound, t, &left_out));
    assert_true(turn_watch_judge(&w, &over, t, &left_out));
    assert_int_equal(left_out, 0);
    assert_false(turn_watch_judge(&w, &over, t + 1, &left_out));
    assert_false(turn_watch_judge(&w, &over, t + second - 1, &left_out));
    assert_false(turn_watch_judge(&w, &at_bound, t + second - 1, &left_out));
    assert_true(turn_watch_judge(&w, &over, t + second, &left_out));
    assert_int_equal(left_out, 2);
    assert_true(turn_watch_judge(&w, &over, t + 2 * second, &left_out));
    assert_int_equal(left_out, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_longest_work_names_the_turn),
        cmocka_unit_test(test_nested_work_returns_to_the_outer_name),
        cmocka_unit_test(test_a_turn_without_work_is_none),
        cmocka_unit_test(test_time_before_the_first_name_is_unnamed),
        cmocka_unit_test(test_the_start_is_no_turn),
        cmocka_unit_test(test_a_discarded_turn_does_not_count),
        cmocka_unit_test(test_naming_is_cheap),
        cmocka_unit_test(test_print),
        cmocka_unit_test(test_names_are_unique),
        cmocka_unit_test(test_log_lines_are_limited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
