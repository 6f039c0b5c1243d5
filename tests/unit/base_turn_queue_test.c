/* SPDX-License-Identifier: Apache-2.0
 * Tests of turn_queue: when input has to wait, the order in which waiting clients are resumed, and the
 * shares of a turn. */
#include "tests/unit/unit.h"

#include "base/turn_queue.h"

enum { WAITERS = 4 };

static uint64_t now_ns;

static struct client {
    struct turn_waiter wait;
    uint64_t cost_ns;
    unsigned steps_left, resumed;
} clients[WAITERS];
static char order[64];

static uint64_t fake_clock(void)
{
    return now_ns;
}

static void resume(struct turn_waiter *w)
{
    struct client *c = container_of(w, struct client, wait);
    char name[2] = {(char)('a' + (c - clients)), 0};
    strcat(order, name);
    assert_false(link_is_in_list(&w->link));
    assert_false(turn_must_wait()); /* it has its turn, however many wait after it */
    now_ns += c->cost_ns;
    c->resumed++;
    if (--c->steps_left > 0)
        turn_wait(w);
}

static void next_turn(void)
{
    struct turn_result r;
    turn_end(&r);
    turn_enter(TURN_OTHER);
}

static void start(uint64_t cost_ns, unsigned steps)
{
    now_ns = 1000000000;
    turn_start(fake_clock, NULL, NULL);
    turn_enter(TURN_OTHER);
    order[0] = 0;
    for (int i = 0; i < WAITERS; i++)
        clients[i] = (struct client){.wait.resume = resume, .cost_ns = cost_ns, .steps_left = steps};
}

static void stop(void)
{
    for (int i = 0; i < WAITERS; i++)
        turn_leave(&clients[i].wait);
    assert_false(turn_queue_is_waiting());
    turn_start(NULL, NULL, NULL);
}

static void test_no_wait_without_measured_turns(void **state)
{
    (void)state;
    turn_start(NULL, NULL, NULL);
    turn_enter(TURN_GRPC_CALL);
    now_ns += 3600 * (uint64_t)1000000000;
    assert_false(turn_is_spent());
    assert_false(turn_must_wait());
    assert_false(turn_share_is_spent(turn_share()));
    turn_queue_run();
}

static void test_input_waits_when_its_share_is_spent(void **state)
{
    (void)state;
    start(0, 1);
    now_ns += TURN_INPUT_NS - 1;
    assert_false(turn_must_wait());
    now_ns++;
    assert_true(turn_is_spent());
    assert_true(turn_must_wait());
    next_turn();
    assert_false(turn_is_spent());
    assert_false(turn_must_wait());
    stop();
}

static void test_newcomers_wait_behind_others(void **state)
{
    (void)state;
    start(0, 1);
    turn_wait(&clients[0].wait);
    assert_true(turn_queue_is_waiting());
    assert_false(turn_is_spent());
    assert_true(turn_must_wait());
    turn_queue_run();
    assert_false(turn_must_wait());
    assert_string_equal(order, "a");
    stop();
}

/* Each has one share before any has a second; a waiting one keeps its place however often it asks. */
static void test_shares_go_round(void **state)
{
    (void)state;
    start(TURN_INPUT_NS / 2, 3);
    for (int i = 0; i < WAITERS; i++)
        turn_wait(&clients[i].wait);
    for (int turn = 0; turn < 6; turn++) {
        turn_wait(&clients[1].wait);
        turn_queue_run();
        next_turn();
    }
    assert_string_equal(order, "abcdabcdabcd");
    stop();
}

/* None is resumed twice in one turn, even if there is time. */
static void test_a_turn_has_one_share_for_each(void **state)
{
    (void)state;
    start(1, 5);
    turn_wait(&clients[0].wait);
    turn_wait(&clients[1].wait);
    turn_queue_run();
    assert_string_equal(order, "ab");
    assert_true(turn_queue_is_waiting());
    stop();
}

static void test_one_is_resumed_in_a_turn_that_is_spent(void **state)
{
    (void)state;
    start(10 * (uint64_t)TURN_INPUT_NS, 1);
    turn_wait(&clients[0].wait);
    turn_wait(&clients[1].wait);
    turn_wait(&clients[2].wait);
    now_ns += TURN_INPUT_NS;
    turn_queue_run();
    assert_string_equal(order, "a");
    turn_leave(&clients[1].wait);
    next_turn();
    turn_queue_run();
    assert_string_equal(order, "ac");
    stop();
}

static void test_each_kind_of_work_has_a_share(void **state)
{
    (void)state;
    start(0, 1);
    uint64_t share = turn_share();
    now_ns += TURN_BUDGET_NS - 1;
    assert_false(turn_share_is_spent(share));
    now_ns++;
    assert_true(turn_share_is_spent(share));
    share = turn_share();
    now_ns += TURN_SHARE_NS - 1;
    assert_false(turn_share_is_spent(share));
    now_ns++;
    assert_true(turn_share_is_spent(share));
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_wait_without_measured_turns),
        cmocka_unit_test(test_input_waits_when_its_share_is_spent),
        cmocka_unit_test(test_newcomers_wait_behind_others),
        cmocka_unit_test(test_shares_go_round),
        cmocka_unit_test(test_a_turn_has_one_share_for_each),
        cmocka_unit_test(test_one_is_resumed_in_a_turn_that_is_spent),
        cmocka_unit_test(test_each_kind_of_work_has_a_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
