/* SPDX-License-Identifier: Apache-2.0
 * Tests of gofail's failpoint terms: accepted and refused terms, and which term of a chain acts when. */
#include "base/failpoint_terms.h"
#include "base/text.h"
#include "tests/unit/unit.h"

static struct failpoint_terms *terms(const char *text)
{
    struct failpoint_terms *t;
    assert_int_equal(failpoint_terms_new(slice_text(text), &t), OK);
    assert_true(slice_equal(failpoint_terms_text(t), slice_text(text)));
    return t;
}

static void single_terms(void **state)
{
    static const struct {
        const char *text;
        enum failpoint_action action;
        uint64_t sleep_ms;
    } cases[] = {
        {"panic", FAILPOINT_PANIC, 0},
        {"panic(\"why -> not\")", FAILPOINT_PANIC, 0},
        {"panic(\"a \\\" b)\")", FAILPOINT_PANIC, 0},
        {"off", FAILPOINT_NOTHING, 0},
        {"print", FAILPOINT_PRINT, 0},
        {"return", FAILPOINT_RETURN, 0},
        {"return()", FAILPOINT_RETURN, 0},
        {"return(\"x\")", FAILPOINT_RETURN, 0},
        {"return(true)", FAILPOINT_RETURN, 0},
        {"sleep(100)", FAILPOINT_SLEEP, 100},
        {"sleep(\"1.5s\")", FAILPOINT_SLEEP, 1500},
        {"sleep(\"10ms\")", FAILPOINT_SLEEP, 10},
        {"100%panic", FAILPOINT_PANIC, 0},
        {"0%panic", FAILPOINT_NOTHING, 0},
        {"0*panic", FAILPOINT_NOTHING, 0},
        {"5%1*panic->return", FAILPOINT_RETURN, 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct failpoint_terms *t = terms(cases[i].text);
        struct failpoint_step step = failpoint_terms_pass(t, 0.5);
        assert_int_equal(step.action, cases[i].action);
        assert_int_equal(step.sleep_ms, cases[i].sleep_ms);
        failpoint_terms_free(t);
    }
}

static void refused(void **state)
{
    static const char *const cases[] = {"",
                                        "pan",
                                        "panic->",
                                        "->panic",
                                        "panic-return",
                                        "3panic",
                                        "3*",
                                        "3*4",
                                        "1.*panic panic",
                                        "sleep",
                                        "sleep()",
                                        "sleep(-1)",
                                        "sleep(\"x\")",
                                        "sleep(99999999999)",
                                        "return(",
                                        "return(\")",
                                        "panic ",
                                        "99999999999999999999*panic"};
    struct failpoint_terms *t;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_int_equal(failpoint_terms_new(slice_text(cases[i]), &t), ERR_MALFORMED);
}

static void a_chain_continues_after_a_count_ends(void **state)
{
    static const enum failpoint_action want[] = {FAILPOINT_NOTHING, FAILPOINT_NOTHING, FAILPOINT_SLEEP,
                                                 FAILPOINT_RETURN, FAILPOINT_RETURN};
    struct failpoint_terms *t = terms("2*off->1*sleep(5)->return");
    (void)state;
    for (size_t i = 0; i < COUNT_OF(want); i++)
        assert_int_equal(failpoint_terms_pass(t, 0).action, want[i]);
    assert_int_equal(failpoint_terms_count(t), 5);
    failpoint_terms_free(t);

    t = terms("1*panic");
    assert_int_equal(failpoint_terms_pass(t, 0).action, FAILPOINT_PANIC);
    assert_int_equal(failpoint_terms_pass(t, 0).action, FAILPOINT_NOTHING);
    assert_int_equal(failpoint_terms_count(t), 1);
    failpoint_terms_free(t);
}

static void chances(void **state)
{
    struct failpoint_terms *t = terms("12.5%panic");
    (void)state;
    assert_int_equal(failpoint_terms_pass(t, 0.12).action, FAILPOINT_PANIC);
    assert_int_equal(failpoint_terms_pass(t, 0.13).action, FAILPOINT_NOTHING);
    failpoint_terms_free(t);
    t = terms("50%1*return"); /* a refused chance uses up no count */
    assert_int_equal(failpoint_terms_pass(t, 0.9).action, FAILPOINT_NOTHING);
    assert_int_equal(failpoint_terms_pass(t, 0.1).action, FAILPOINT_RETURN);
    assert_int_equal(failpoint_terms_pass(t, 0.1).action, FAILPOINT_NOTHING);
    failpoint_terms_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(single_terms),
        cmocka_unit_test(refused),
        cmocka_unit_test(a_chain_continues_after_a_count_ends),
        cmocka_unit_test(chances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
