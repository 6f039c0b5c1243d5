/* SPDX-License-Identifier: Apache-2.0
 * Tests of base/net/output.c: which connections are closed and why, and which are not. */
#include "tests/unit/unit.h"

#include "base/net/output.h"

enum { MAX = 1000, STALL_MS = 60000, MIB = 1 << 20 };

struct conn {
    struct output_account account;
    unsigned closed;
    enum output_reason why;
};

static void on_close(struct output_account *a, enum output_reason why)
{
    struct conn *c = container_of(a, struct conn, account);
    c->closed++;
    c->why = why;
    output_forget(a);
}

static void open_all(struct conn *conns, size_t count, struct output_budget *b)
{
    for (size_t i = 0; i < count; i++)
        output_open(&conns[i].account, b, on_close);
}

static void test_sums(void **state)
{
    (void)state;
    struct output_budget b;
    struct conn c[2] = {0};
    output_budget_init(&b, MAX, STALL_MS);
    open_all(c, 2, &b);
    output_set(&c[0].account, 100, 1);
    output_set(&c[1].account, 50, 1);
    assert_int_equal(150, b.bytes);
    output_set(&c[0].account, 30, 2);
    assert_int_equal(80, b.bytes);
    output_set(&c[0].account, 0, 3);
    output_set(&c[0].account, 7, 3);
    output_forget(&c[1].account);
    assert_int_equal(7, b.bytes);
    output_forget(&c[0].account);
    output_forget(&c[0].account);
    assert_int_equal(0, b.bytes);
    struct output_account uncounted = {0};
    output_set(&uncounted, 100, 1);
    output_took(&uncounted, 100, 1);
    output_forget(&uncounted);
    output_budget_done(&b);
}

static void test_largest_goes(void **state)
{
    (void)state;
    struct output_budget b;
    struct conn c[4] = {0};
    output_budget_init(&b, MAX, STALL_MS);
    open_all(c, 4, &b);
    output_set(&c[0].account, 400, 0);
    output_set(&c[1].account, 500, 0);
    output_set(&c[2].account, 300, 0);
    output_set(&c[3].account, 10, 0);
    assert_false(output_budget_turn(&b, 500)); /* their first second */
    assert_int_equal(0, c[1].closed);
    (void)output_budget_turn(&b, 1500);
    assert_int_equal(1, c[1].closed);
    assert_int_equal(OUTPUT_TOTAL, c[1].why);
    assert_int_equal(1, b.closed[OUTPUT_TOTAL]);
    assert_int_equal(710, b.bytes);
    assert_int_equal(0, c[0].closed + c[2].closed + c[3].closed);
    for (size_t i = 0; i < 4; i++)
        output_forget(&c[i].account);
    output_budget_done(&b);
}

/* A client that reads one long answer is not closed because of clients that read nothing, nor they because of
 * it. */
static void test_fast_reader_is_spared(void **state)
{
    (void)state;
    struct output_budget b;
    struct conn c[3] = {0};
    output_budget_init(&b, 8 * MIB, STALL_MS);
    open_all(c, 3, &b);
    output_set(&c[0].account, 20 * MIB, 0);
    output_set(&c[1].account, 5 * MIB, 0);
    for (uint64_t ms = 0; ms < 5000; ms += 100) {
        output_took(&c[0].account, MIB / 8, ms);
        (void)output_budget_turn(&b, ms);
    }
    assert_int_equal(0, c[0].closed + c[1].closed); /* 5 MiB alone are within the budget */
    output_set(&c[2].account, 4 * MIB, 5000);
    for (uint64_t ms = 5000; ms < 7000; ms += 100) {
        output_took(&c[0].account, MIB / 8, ms);
        (void)output_budget_turn(&b, ms);
    }
    assert_int_equal(0, c[0].closed + c[2].closed);
    assert_int_equal(1, c[1].closed); /* the largest of the slow ones */
    (void)output_budget_turn(&b, 9500);
    assert_int_equal(1, c[0].closed); /* it has stopped reading */
    output_forget(&c[2].account);
    output_budget_done(&b);
}

/* Beyond four times the budget every client may be closed. */
static void test_spared_bytes_are_bounded(void **state)
{
    (void)state;
    struct output_budget b;
    struct conn c[2] = {0};
    output_budget_init(&b, MAX, STALL_MS);
    open_all(c, 2, &b);
    output_set(&c[0].account, 4 * MAX, 0);
    (void)output_budget_turn(&b, 0);
    assert_int_equal(0, c[0].closed);
    output_set(&c[1].account, 1, 0);
    (void)output_budget_turn(&b, 30);
    assert_int_equal(1, c[0].closed);
    assert_int_equal(0, c[1].closed);
    output_forget(&c[1].account);
    output_budget_done(&b);
}

static void on_measure(struct output_account *a)
{
    output_took(a, 1, 2 * STALL_MS);
}

/* Before a close the code checks for bytes that the kernel has taken without a notification. */
static void test_measured_first(void **state)
{
    (void)state;
    struct output_budget b;
    struct conn c[1] = {0};
    output_budget_init(&b, 0, STALL_MS);
    open_all(c, 1, &b);
    c[0].account.measure = on_measure;
    output_set(&c[0].account, 10, 0);
    (void)output_budget_turn(&b, 2 * STALL_MS);
    assert_int_equal(0, c[0].closed);
    (void)output_budget_turn(&b, 3 * STALL_MS);
    assert_int_equal(1, c[0].closed);
    output_budget_done(&b);
}

static void test_stalled(void **state)
{
    (void)state;
    struct output_budget b;
    struct conn c[2] = {0};
    output_budget_init(&b, 0, STALL_MS);
    open_all(c, 2, &b);
    output_set(&c[0].account, 10, 0);
    output_set(&c[1].account, 10, 10);
    output_took(&c[0].account, 1, STALL_MS - 1);
    (void)output_budget_turn(&b, STALL_MS + 9);
    assert_int_equal(0, c[0].closed + c[1].closed);
    output_set(&c[1].account, 500, STALL_MS + 9); /* more output is no progress */
    (void)output_budget_turn(&b, STALL_MS + 10);
    assert_int_equal(1, c[1].closed);
    assert_int_equal(OUTPUT_STALLED, c[1].why);
    assert_int_equal(0, c[0].closed);
    (void)output_budget_turn(&b, 2 * STALL_MS - 1);
    assert_int_equal(1, c[0].closed);
    assert_int_equal(0, b.bytes);
    output_budget_done(&b);
}

/* Many at once: some in a turn, until the budget holds. */
static void test_many(void **state)
{
    (void)state;
    enum { COUNT = 3000 };
    static struct conn c[COUNT];
    struct output_budget b;
    unsigned closed = 0, turns = 0;
    output_budget_init(&b, MAX, STALL_MS);
    open_all(c, COUNT, &b);
    for (size_t i = 0; i < COUNT; i++)
        output_set(&c[i].account, 1, 0);
    (void)output_budget_turn(&b, 100); /* a check of all of them is cut short */
    while (output_budget_turn(&b, 5000))
        turns++;
    for (size_t i = 0; i < COUNT; i++)
        closed += c[i].closed;
    assert_int_equal(COUNT - MAX, closed);
    assert_int_equal(MAX, b.bytes);
    assert_true(turns >= (COUNT - MAX) / 64);
    for (size_t i = 0; i < COUNT; i++)
        output_forget(&c[i].account);
    output_budget_done(&b);
}

/* A member's stream counts, is never closed, and takes at most half of the limit from the clients. */
static void test_exempt(void **state)
{
    (void)state;
    struct output_budget b;
    struct conn member = {0}, c[3] = {0};
    output_budget_init(&b, MAX, STALL_MS);
    open_all(c, 3, &b);
    output_open(&member.account, &b, on_close);
    output_set(&member.account, 100, 0); /* before it has proved its identity */
    output_exempt(&member.account);
    output_exempt(&member.account);
    output_set(&member.account, 300, 0);
    output_took(&member.account, 10, 0);
    output_set(&c[0].account, 500, 0);
    output_set(&c[1].account, 150, 0);
    output_set(&c[2].account, 40, 0);
    (void)output_budget_turn(&b, 2000);
    assert_int_equal(990, b.bytes);
    assert_false(c[0].closed || c[1].closed || c[2].closed);
    output_set(&member.account, 400, 2000);
    (void)output_budget_turn(&b, 2100); /* 600 are left for 690 */
    assert_true(c[0].closed && c[0].why == OUTPUT_TOTAL);
    assert_false(member.closed || c[1].closed || c[2].closed);
    output_set(&member.account, 50 * MAX, 2100);
    (void)output_budget_turn(&b, 2200);
    assert_int_equal(50 * MAX + 190, b.bytes);
    assert_false(member.closed || c[1].closed || c[2].closed);
    output_set(&c[1].account, 470, 2200);
    (void)output_budget_turn(&b, 2300); /* half of it is theirs, however much members hold */
    assert_true(c[1].closed);
    assert_false(c[2].closed);
    (void)output_budget_turn(&b, 10 * STALL_MS);
    assert_false(member.closed);
    assert_true(c[2].closed && c[2].why == OUTPUT_STALLED);
    output_set(&member.account, 0, 3000);
    output_set(&member.account, 8, 3000);
    assert_int_equal(8, b.exempt_bytes);
    output_forget(&member.account);
    assert_int_equal(0, b.bytes);
    assert_int_equal(0, b.exempt_bytes);
    output_budget_done(&b);
}

/* Clients that read are not closed, however much members' streams hold. */
static void test_exempt_bytes_close_no_reader(void **state)
{
    (void)state;
    struct output_budget b;
    struct conn member = {0}, fast = {0};
    output_budget_init(&b, 8 * MIB, STALL_MS);
    open_all(&fast, 1, &b);
    open_all(&member, 1, &b);
    output_exempt(&member.account);
    output_set(&member.account, 100 * MIB, 0);
    output_set(&fast.account, 9 * MIB, 0);
    for (uint64_t ms = 0; ms < 5000; ms += 100) {
        output_took(&fast.account, MIB / 4, ms);
        (void)output_budget_turn(&b, ms);
    }
    assert_false(fast.closed || member.closed);
    output_forget(&fast.account);
    output_forget(&member.account);
    output_budget_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_largest_goes),
        cmocka_unit_test(test_fast_reader_is_spared),
        cmocka_unit_test(test_spared_bytes_are_bounded),
        cmocka_unit_test(test_stalled),
        cmocka_unit_test(test_measured_first),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_exempt),
        cmocka_unit_test(test_exempt_bytes_close_no_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
