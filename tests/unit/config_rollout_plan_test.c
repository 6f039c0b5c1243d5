/* SPDX-License-Identifier: Apache-2.0
 * Tests of a rollout's plan: when a step begins, what stops it, and what clocks and silent members do to it. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "config/rollout_plan.h"

enum { MIN = 60000, START = 1000000 };

struct plan_world {
    struct workflow_rollout rollout;
    struct gray_rule rule;
    struct config_head head;
    struct rollout_state state;
};

static struct plan_world world(void)
{
    return (struct plan_world){
        .rollout = {.state = ROLLOUT_RUNNING,
                    .rule = slice_text("r"),
                    .seq = 7,
                    .steps = {{5, 60}, {50, 120}, {100, 60}},
                    .step_count = 3,
                    .step_ms = START,
                    .has_limit = true,
                    .rejected_over = 0.02},
        .rule = {.name = slice_text("r"), .percent = 5, .seq = 7},
        .head = {.seq = 6, .last_seq = 7},
        .state = {.seen_ms = START, .survey = {.at_ms = START}},
    };
}

static struct rollout_plan plan(struct plan_world *w, int64_t now_ms)
{
    w->head.gray = (struct gray_rules){&w->rule, 1};
    w->state.rollout = &w->rollout;
    w->state.head = &w->head;
    w->state.now_ms = now_ms;
    return rollout_plan(&w->state);
}

static void test_steps(void **state)
{
    (void)state;
    struct plan_world w = world();
    w.rollout.has_limit = false;
    struct rollout_plan p = plan(&w, START + MIN - 1);
    assert_int_equal(p.action, ROLLOUT_WAIT);
    assert_int_equal(p.until_ms, START + MIN);
    assert_int_equal(plan(&w, START + MIN).action, ROLLOUT_ADVANCE);
    w.rollout.step = 1;
    w.rule.percent = 50;
    assert_int_equal(plan(&w, START + MIN).action, ROLLOUT_WAIT);
    assert_int_equal(plan(&w, START + 2 * MIN).action, ROLLOUT_ADVANCE);
    w.rollout.step = 2;
    w.rule.percent = 100;
    assert_int_equal(plan(&w, START + MIN).action, ROLLOUT_PROMOTE);
    w.rollout.state = ROLLOUT_PAUSED;
    p = plan(&w, START + 100 * MIN);
    assert_int_equal(p.action, ROLLOUT_WAIT);
    assert_true(p.until_ms == INT64_MAX);
    w.rollout.state = ROLLOUT_PROMOTED;
    assert_int_equal(plan(&w, START + 100 * MIN).action, ROLLOUT_WAIT);
}

static void test_surveys(void **state)
{
    (void)state;
    struct plan_world w = world();
    w.state.survey.at_ms = 0;
    assert_int_equal(plan(&w, START).action, ROLLOUT_SURVEY); /* there is none yet */
    w.state.survey.at_ms = START;
    struct rollout_plan p = plan(&w, START + 1);
    assert_int_equal(p.action, ROLLOUT_WAIT);
    assert_int_equal(p.until_ms, START + ROLLOUT_SURVEY_MS);
    assert_int_equal(plan(&w, START + ROLLOUT_SURVEY_MS).action, ROLLOUT_SURVEY);
    /* One more when the step has lasted its time, however young the last one is. */
    w.state.survey.at_ms = START + MIN - 1;
    assert_int_equal(plan(&w, START + MIN).action, ROLLOUT_SURVEY);
    w.state.survey.at_ms = START + MIN;
    assert_int_equal(plan(&w, START + MIN).action, ROLLOUT_ADVANCE);
    /* The clock was set back. */
    assert_int_equal(plan(&w, START).action, ROLLOUT_SURVEY);
}

static void test_limit(void **state)
{
    (void)state;
    struct plan_world w = world();
    w.state.survey = (struct rollout_survey){.at_ms = START, .applied = 98, .rejected = 2};
    assert_int_equal(plan(&w, START).action, ROLLOUT_WAIT); /* 0.02 is not over 0.02 */
    w.state.survey.rejected = 3;
    struct rollout_plan p = plan(&w, START);
    assert_int_equal(p.action, ROLLOUT_ABORT);
    assert_string_equal(p.reason, "3 of 101 clients with an answer have rejected release 7");
    w.rollout.state = ROLLOUT_PAUSED;
    assert_int_equal(plan(&w, START).action, ROLLOUT_WAIT); /* a user has stopped it */
    w = world();
    w.rollout.rejected_over = 0;
    w.state.survey.rejected = 1;
    assert_int_equal(plan(&w, START).action, ROLLOUT_ABORT);
    w.rollout.has_limit = false;
    assert_int_equal(plan(&w, START).action, ROLLOUT_WAIT);
}

static void test_silent(void **state)
{
    (void)state;
    struct plan_world w = world();
    int64_t due = START + MIN;
    w.state.survey = (struct rollout_survey){.at_ms = due, .applied = 9, .silent = 1};
    struct rollout_plan p = plan(&w, due);
    assert_int_equal(p.action, ROLLOUT_WAIT);
    assert_int_equal(p.until_ms, due + ROLLOUT_SURVEY_MS);
    assert_int_equal(plan(&w, due + ROLLOUT_SURVEY_MS).action, ROLLOUT_SURVEY);
    w.state.survey.at_ms = due + ROLLOUT_SILENT_MS;
    assert_int_equal(plan(&w, due + ROLLOUT_SILENT_MS).action, ROLLOUT_ADVANCE);
    w.state.survey = (struct rollout_survey){.at_ms = due, .applied = 9};
    assert_int_equal(plan(&w, due).action, ROLLOUT_ADVANCE);
}

/* The leader that began the step had a clock an hour ahead: the next one waits once the step's time. */
static void test_clocks(void **state)
{
    (void)state;
    struct plan_world w = world();
    w.rollout.has_limit = false;
    w.rollout.step_ms = START + 60 * MIN;
    assert_int_equal(plan(&w, START + MIN - 1).action, ROLLOUT_WAIT);
    assert_int_equal(plan(&w, START + MIN).action, ROLLOUT_ADVANCE);
    /* It had one behind: the step's time is over. */
    w.rollout.step_ms = START - 60 * MIN;
    assert_int_equal(plan(&w, START).action, ROLLOUT_ADVANCE);
}

static void test_by_hand(void **state)
{
    (void)state;
    struct plan_world w = world();
    w.rule.percent = 80;
    struct rollout_plan p = plan(&w, START);
    assert_int_equal(p.action, ROLLOUT_END);
    assert_string_equal(p.reason, "its gray rule has another percentage");
    w.rule.percent = 5;
    w.rule.seq = 3;
    assert_string_equal(plan(&w, START).reason, "its gray rule has another release");
    w.rule.name = slice_text("other");
    assert_string_equal(plan(&w, START).reason, "its gray rule was deleted");
    w.head.is_deleted = true;
    assert_string_equal(plan(&w, START).reason, "the configuration was deleted");
    w.state.rollout = &w.rollout;
    w.state.head = NULL;
    assert_int_equal(rollout_plan(&w.state).action, ROLLOUT_END);
    w.rollout.state = ROLLOUT_PAUSED; /* also while it is paused */
    assert_int_equal(rollout_plan(&w.state).action, ROLLOUT_END);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),  cmocka_unit_test(test_surveys), cmocka_unit_test(test_limit),
        cmocka_unit_test(test_silent), cmocka_unit_test(test_clocks),  cmocka_unit_test(test_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
