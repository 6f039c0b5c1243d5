/* SPDX-License-Identifier: Apache-2.0
 * Tests of the checkers with mutated histories. Random histories of a fake store pass all checkers; the same
 * histories with one mutation do not. The test prints the table of mutations and the rules that detected
 * them. On histories of single keys the search for a linearization, which ignores revisions, must give the
 * same result. */
#include "unit.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "check_mutate.h"
#include "tests/check/wgl.h"

enum { SEEDS = 200, SEEDS_MUTATED = 16, STEPS = 1000 };

static struct fake *make(uint64_t seed)
{
    struct fake *f = fake_new(seed);
    fake_run(f, STEPS);
    return f;
}

static void test_correct_histories_pass(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct fake *f = make(seed);
        struct check_report r = {0};
        if (!check_history(&f->history, &fake_options, &r))
            fail_msg("seed %lu:\n%s", (unsigned long)seed, buf_text(&r.text));
        check_report_done(&r);
        fake_free(f);
    }
}

/* A history that was written and read again gets the same verdict. */
static void test_correct_histories_pass_as_text(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct fake *f = make(seed);
        struct history again = {0};
        struct check_report r = {0};
        struct buf text = {0};
        size_t line;
        char error[200];
        history_write(&f->history, &text);
        assert_int_equal(history_read(&again, buf_slice(&text), &line, error, sizeof error), 0);
        assert_int_equal(again.op_count, f->history.op_count);
        assert_true(check_history(&again, &fake_options, &r));
        again.commit_count -= 3;
        assert_false(check_history(&again, &fake_options, &r));
        check_report_done(&r);
        buf_done(&text);
        history_done(&again);
        fake_free(f);
    }
}

/* Reading and checking a damaged file ends with a verdict, whatever its content is. */
static void test_damaged_text(void **state)
{
    (void)state;
    struct fake *f = fake_new(3);
    fake_run(f, 300);
    struct buf text = {0};
    size_t line, read = 0;
    char error[200];
    history_write(&f->history, &text);
    for (int round = 0; round < 400; round++) {
        struct buf damaged = {0};
        struct history h = {0};
        struct check_report r = {0};
        buf_add_slice(&damaged, buf_slice(&text));
        for (uint64_t n = 1 + rng_below(&f->rng, 3); n > 0; n--) {
            size_t at = rng_below(&f->rng, damaged.size);
            while (at < damaged.size && (damaged.data[at] < '0' || damaged.data[at] > '9'))
                at++; /* numbers: most other damage makes invalid JSON */
            if (at < damaged.size)
                damaged.data[at] = "0123456789-e,"[rng_below(&f->rng, 13)];
        }
        if (history_read(&h, buf_slice(&damaged), &line, error, sizeof error) == 0) {
            (void)check_history(&h, &fake_options, &r);
            read++;
        }
        check_report_done(&r);
        history_done(&h);
        buf_done(&damaged);
    }
    assert_in_range(read, 100, 399);
    buf_done(&text);
    fake_free(f);
}

static void print_rules(const size_t *rules)
{
    for (int rule = 0; rule < RULE_COUNT; rule++)
        if (rules[rule])
            printf(" %s:%zu", check_rule_name((enum check_rule)rule), rules[rule]);
    printf("\n");
}

static void test_mutations_are_found(void **state)
{
    (void)state;
    size_t missed = 0;
    for (size_t m = 0; m < mutation_count; m++) {
        size_t tried = 0, found = 0, rules[RULE_COUNT] = {0};
        for (uint64_t seed = 1; tried < SEEDS_MUTATED && seed < 40 * SEEDS_MUTATED; seed++) {
            struct fake *f = make(seed);
            f->rng.state = seed * 1000 + m;
            if (mutations[m].apply(f)) {
                struct check_report r = {0};
                tried++;
                if (!check_history(&f->history, &fake_options, &r))
                    found++;
                else
                    printf("  missed with seed %lu: %s\n", (unsigned long)seed, mutations[m].name);
                for (int rule = 0; rule < RULE_COUNT; rule++)
                    rules[rule] += r.counts[rule] > 0;
                check_report_done(&r);
            }
            fake_free(f);
        }
        printf("%-54s %2zu of %2zu by", mutations[m].name, found, tried);
        print_rules(rules);
        missed += tried - found;
        assert_true(tried >= SEEDS_MUTATED / 2);
    }
    assert_int_equal(missed, 0);
}

/* --- the second opinion ------------------------------------------------------------------------------- */

/* One key's value, as the number in its name; 0 = absent. */
static uint64_t value_number(struct slice value)
{
    uint64_t number = 0;
    bool is_number = value.size > 1 && text_to_u64(slice_of(value.data + 1, value.size - 1), &number) == 0;
    return is_number ? number : 99999;
}

static bool step_is_possible(const struct history_step *s, const struct history_result *r, uint64_t *value)
{
    uint64_t before = *value;
    if (s->kind == HISTORY_PUT)
        *value = value_number(s->value);
    else if (s->kind == HISTORY_DELETE)
        *value = 0;
    if (!r)
        return true;
    if (s->kind != HISTORY_PUT && r->count != (before != 0))
        return false;
    return r->kv_count == 0 ? s->kind != HISTORY_RANGE || before == 0
                            : value_number(r->kvs[0].value) == before;
}

static bool key_step(void *arg, uint64_t state, const struct wgl_op *w, uint64_t *ret_state)
{
    (void)arg;
    const struct history_op *op = w->data;
    const struct history_request *q = &op->request;
    bool is_ok = op->outcome == HISTORY_OK, holds = true;
    for (size_t i = 0; i < q->compare_count; i++)
        holds &= state != 0 &&
                 (value_number(q->compares[i].value) == state) == (q->compares[i].relation == HISTORY_EQUAL);
    if (is_ok && q->kind == HISTORY_TXN && holds != op->reply.succeeded)
        return false;
    const struct history_steps *steps = holds ? &q->then : &q->otherwise;
    *ret_state = state;
    return step_is_possible(&steps->items[0], is_ok ? &op->reply.results[0] : NULL, ret_state);
}

static uint64_t key_part(const struct wgl_op *w)
{
    const struct history_op *op = w->data;
    return op->request.then.items[0].key.data[1];
}

static enum wgl_verdict second_opinion(const struct history *h)
{
    struct wgl_op *ops = calloc(h->op_count, sizeof *ops);
    assert_non_null(ops);
    size_t count = 0;
    for (size_t i = 0; i < h->op_count; i++) {
        const struct history_op *op = h->ops[i];
        if (op->outcome != HISTORY_FAILED)
            ops[count++] =
                (struct wgl_op){op->call_ns, op->outcome == HISTORY_OK ? op->return_ns : WGL_NEVER, op};
    }
    const struct wgl_model model = {.step = key_step, .part = key_part};
    struct wgl_result r = wgl_check(&model, ops, count, (struct wgl_limits){.steps_max = 200000});
    free(ops);
    return r.verdict;
}

static void test_second_opinion(void **state)
{
    (void)state;
    size_t illegal = 0;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct fake *f = fake_new(seed);
        f->only_single_keys = true;
        fake_run(f, 400);
        struct check_report r = {0};
        assert_true(check_history(&f->history, &fake_options, &r));
        assert_int_not_equal(second_opinion(&f->history), WGL_ILLEGAL);
        /* A history that this search refuses must be refused by the revision checkers; they may detect more.
         */
        f->rng.state = seed;
        if (mutations[seed % 4].apply(f) && second_opinion(&f->history) == WGL_ILLEGAL) {
            illegal++;
            assert_false(check_history(&f->history, &fake_options, &r));
        }
        check_report_done(&r);
        fake_free(f);
    }
    printf("second opinion: refused %zu of 60 as well\n", illegal);
    assert_true(illegal > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_correct_histories_pass), cmocka_unit_test(test_correct_histories_pass_as_text),
        cmocka_unit_test(test_damaged_text),           cmocka_unit_test(test_mutations_are_found),
        cmocka_unit_test(test_second_opinion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
