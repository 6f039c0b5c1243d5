/* SPDX-License-Identifier: Apache-2.0
 * Tests of the search for a linearization: small histories with an obvious verdict, the formats of the
 * readers, and random histories of a register against a trial of every order. */
#include "unit.h"

#include <stdio.h>

#include "tests/check/wgl_models.h"
#include "tests/unit/store_model.h"

static enum wgl_verdict verdict_of(struct wgl_history *h)
{
    struct wgl_result r = wgl_check(&h->model, h->ops, h->count, (struct wgl_limits){0});
    wgl_history_done(h);
    return r.verdict;
}

static enum wgl_verdict register_verdict(const char *text)
{
    struct wgl_history h = {0};
    size_t line = 0;
    assert_int_equal(wgl_read_register(&h, slice_text(text), &line), 0);
    return verdict_of(&h);
}

static enum wgl_verdict append_verdict(const char *text)
{
    struct wgl_history h = {0};
    size_t line = 0;
    assert_int_equal(wgl_read_append(&h, slice_text(text), &line), 0);
    return verdict_of(&h);
}

#define AT "INFO  jepsen.util - "

static void test_register(void **state)
{
    (void)state;
    assert_int_equal(register_verdict(""), WGL_LINEARIZABLE);
    /* A read returns a value that was written before it... */
    assert_int_equal(register_verdict(AT "0 :invoke :write 1\n" AT "0 :ok :write 1\n" AT
                                         "1 :invoke :read nil\n" AT "1 :ok :read 1\n"),
                     WGL_LINEARIZABLE);
    assert_int_equal(register_verdict(AT "0 :invoke :write 1\n" AT "0 :ok :write 1\n" AT
                                         "1 :invoke :read nil\n" AT "1 :ok :read nil\n"),
                     WGL_ILLEGAL);
    /* ...or not, when they overlap. */
    assert_int_equal(register_verdict(AT "0 :invoke :write 1\n" AT "1 :invoke :read nil\n" AT
                                         "1 :ok :read nil\n" AT "0 :ok :write 1\n"),
                     WGL_LINEARIZABLE);
    /* But two reads may not disagree about the order. */
    assert_int_equal(register_verdict(AT "0 :invoke :write 1\n" AT "1 :invoke :read nil\n" AT
                                         "1 :ok :read 1\n" AT "1 :invoke :read nil\n" AT
                                         "1 :ok :read nil\n" AT "0 :ok :write 1\n"),
                     WGL_ILLEGAL);
}

static void test_register_unknown(void **state)
{
    (void)state;
    /* A write of unknown outcome may become visible much later, or never. It may not be visible and then
     * disappear. */
    const char *lost = AT "0\t:invoke\t:write\t7\n" AT "0\t:info\t:write\t:timed-out\n" AT
                          "1\t:invoke\t:read\tnil\n" AT "1\t:ok\t:read\tnil\n";
    assert_int_equal(register_verdict(lost), WGL_LINEARIZABLE);
    assert_int_equal(register_verdict(AT "0 :invoke :write 7\n" AT "0 :info :write :timed-out\n" AT
                                         "1 :invoke :read nil\n" AT "1 :ok :read nil\n" AT
                                         "1 :invoke :read nil\n" AT "1 :ok :read 7\n"),
                     WGL_LINEARIZABLE);
    assert_int_equal(register_verdict(AT "0 :invoke :write 7\n" AT "0 :info :write :timed-out\n" AT
                                         "1 :invoke :read nil\n" AT "1 :ok :read 7\n" AT
                                         "1 :invoke :read nil\n" AT "1 :ok :read nil\n"),
                     WGL_ILLEGAL);
    /* A failed read proves nothing. */
    assert_int_equal(register_verdict(AT "1 :invoke :read nil\n" AT "1 :fail :read :timed-out\n"),
                     WGL_LINEARIZABLE);
}

static void test_register_cas(void **state)
{
    (void)state;
    const char *start = AT "0 :invoke :write 1\n" AT "0 :ok :write 1\n" AT "0 :invoke :cas [1 2]\n";
    char text[512];
    snprintf(text, sizeof text, "%s" AT "0 :ok :cas [1 2]\n" AT "1 :invoke :read nil\n" AT "1 :ok :read 2\n",
             start);
    assert_int_equal(register_verdict(text), WGL_LINEARIZABLE);
    snprintf(text, sizeof text, "%s" AT "0 :fail :cas [1 2]\n", start);
    assert_int_equal(register_verdict(text), WGL_ILLEGAL);
    snprintf(text, sizeof text,
             "%s" AT "0 :ok :cas [1 2]\n" AT "1 :invoke :cas [1 3]\n" AT "1 :ok :cas [1 3]\n", start);
    assert_int_equal(register_verdict(text), WGL_ILLEGAL);
    snprintf(text, sizeof text,
             "%s" AT "0 :ok :cas [1 2]\n" AT "1 :invoke :cas [1 3]\n" AT "1 :fail :cas [1 3]\n", start);
    assert_int_equal(register_verdict(text), WGL_LINEARIZABLE);
}

#define KV(process, type, f, key, value)                                                                     \
    "{:process " #process ", :type :" #type ", :f :" #f ", :key \"" key "\", :value " value "}\n"

static void test_append(void **state)
{
    (void)state;
    const char *both = KV(0, invoke, append, "a", "\"x y\"") KV(1, invoke, append, "a", "\"z\"")
        KV(0, ok, append, "a", "\"x y\"") KV(1, ok, append, "a", "\"z\"") KV(0, invoke, get, "a", "nil");
    char text[1024];
    snprintf(text, sizeof text, "%s%s", both, KV(0, ok, get, "a", "\"x yz\""));
    assert_int_equal(append_verdict(text), WGL_LINEARIZABLE);
    snprintf(text, sizeof text, "%s%s", both, KV(0, ok, get, "a", "\"zx y\""));
    assert_int_equal(append_verdict(text), WGL_LINEARIZABLE);
    snprintf(text, sizeof text, "%s%s", both, KV(0, ok, get, "a", "\"z\""));
    assert_int_equal(append_verdict(text), WGL_ILLEGAL);
    /* Another key is another part. */
    snprintf(text, sizeof text, "%s%s%s", KV(2, invoke, put, "b", "\"z\"") KV(2, ok, put, "b", "\"z\""), both,
             KV(0, ok, get, "a", "\"x yz\""));
    assert_int_equal(append_verdict(text), WGL_LINEARIZABLE);
    snprintf(text, sizeof text, "%s%s", KV(2, invoke, put, "b", "\"z\"") KV(2, ok, put, "b", "\"z\""),
             KV(0, invoke, get, "b", "nil") KV(0, ok, get, "b", "\"\""));
    assert_int_equal(append_verdict(text), WGL_ILLEGAL);
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const registers[] = {AT "0 :ok :read 1\n", AT "0 :invoke :swap 1\n",
                                            AT "0 :invoke :cas [1]\n", AT ":invoke\n",
                                            AT "1 :invoke :write 1\n" AT "1 :fail :write 1\n"};
    for (size_t i = 0; i < COUNT_OF(registers); i++) {
        struct wgl_history h = {0};
        size_t line = 0;
        assert_int_equal(wgl_read_register(&h, slice_text(registers[i]), &line), ERR_MALFORMED);
        assert_int_equal(line, i == 4 ? 2 : 1);
        wgl_history_done(&h);
    }
    static const char *const appends[] = {"{}\n", KV(0, ok, get, "a", "nil"), KV(0, invoke, pop, "a", "nil")};
    for (size_t i = 0; i < COUNT_OF(appends); i++) {
        struct wgl_history h = {0};
        size_t line = 0;
        assert_int_equal(wgl_read_append(&h, slice_text(appends[i]), &line), ERR_MALFORMED);
        wgl_history_done(&h);
    }
}

/* --- against every order -------------------------------------------------------------------------- */

/* Operations in `left` after the taken ones, in the state reached. It tries each operation that no other one
 * left must precede. */
static bool any_order(const struct wgl_history *h, unsigned left, uint64_t state)
{
    bool is_forced = false;
    for (size_t i = 0; i < h->count; i++)
        is_forced |= (left >> i & 1) && h->ops[i].ret != WGL_NEVER;
    if (!is_forced)
        return true;
    for (size_t i = 0; i < h->count; i++) {
        bool is_free = left >> i & 1;
        for (size_t j = 0; is_free && j < h->count; j++)
            is_free = !(left >> j & 1) || h->ops[j].ret >= h->ops[i].call;
        uint64_t next;
        if (is_free && h->model.step(h->model.arg, state, &h->ops[i], &next) &&
            any_order(h, left & ~(1u << i), next))
            return true;
    }
    return false;
}

static void test_against_every_order(void **state)
{
    (void)state;
    struct rng rng = {7};
    size_t legal = 0;
    for (int round = 0; round < 3000; round++) {
        struct register_op ops[7];
        struct wgl_history h = {0};
        wgl_register_model(&h);
        for (size_t i = 0; i < COUNT_OF(ops); i++) {
            int64_t call = (int64_t)rng_below(&rng, 30), ret = call + 1 + (int64_t)rng_below(&rng, 12);
            ops[i] = (struct register_op){.kind = (enum register_kind)rng_below(&rng, 3)};
            ops[i].from = (int64_t)rng_below(&rng, 3);
            ops[i].to = (int64_t)rng_below(&rng, 3);
            ops[i].is_unknown = rng_below(&rng, 6) == 0;
            ops[i].is_refused = rng_below(&rng, 2);
            wgl_history_add(&h, call, ops[i].is_unknown ? WGL_NEVER : ret, &ops[i]);
        }
        bool want = any_order(&h, (1u << COUNT_OF(ops)) - 1, h.model.initial);
        legal += want;
        assert_int_equal(verdict_of(&h), want ? WGL_LINEARIZABLE : WGL_ILLEGAL);
    }
    assert_in_range(legal, 300, 2700); /* both verdicts are well represented */
}

static void test_gives_up(void **state)
{
    (void)state;
    struct register_op ops[40];
    struct wgl_history h = {0};
    wgl_register_model(&h);
    for (int i = 0; i < 40; i++) {
        ops[i] = (struct register_op){.kind = i ? REGISTER_WRITE : REGISTER_READ, .to = i ? i : 100};
        wgl_history_add(&h, i, 1000 + i, &ops[i]);
    }
    struct wgl_result r = wgl_check(&h.model, h.ops, h.count, (struct wgl_limits){.steps_max = 100000});
    assert_int_equal(r.verdict, WGL_GAVE_UP);
    assert_int_equal(r.steps, 100001);
    r = wgl_check(&h.model, h.ops, h.count, (struct wgl_limits){.memory_max = 1 << 20});
    assert_int_equal(r.verdict, WGL_GAVE_UP);
    assert_true(r.memory < (size_t)4 << 20);
    wgl_history_done(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_register),     cmocka_unit_test(test_register_unknown),
        cmocka_unit_test(test_register_cas), cmocka_unit_test(test_append),
        cmocka_unit_test(test_malformed),    cmocka_unit_test(test_against_every_order),
        cmocka_unit_test(test_gives_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
