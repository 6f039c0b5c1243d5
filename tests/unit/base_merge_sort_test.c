/* SPDX-License-Identifier: Apache-2.0
 * Tests of the sort in steps: it is stable, and gives the same order as a sort at once, whatever the size of
 * the steps. */
#include "tests/unit/unit.h"

#include "base/mem.h"
#include "base/merge_sort.h"

struct item {
    uint32_t value, number;
};

static uint32_t values[1000];

static int compare(const void *a, const void *b, void *arg)
{
    const struct item *x = a, *y = b;
    assert_ptr_equal(arg, values);
    return (x->value > y->value) - (x->value < y->value);
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void check(size_t count, int64_t piece)
{
    struct item *items = mem_new((count + 1) * sizeof *items);
    for (size_t i = 0; i < count; i++)
        items[i] = (struct item){values[i], (uint32_t)i};
    struct merge_sort s = {
        .items = (uint8_t *)items, .size = sizeof *items, .count = count, .compare = compare, .arg = values};
    size_t calls = 0, calls_max = 1;
    for (size_t width = 1; width < count; width *= 2)
        calls_max += count / (size_t)piece + 1;
    for (int64_t left = piece; !merge_sort_step(&s, &left); left = piece) {
        assert_int_equal(left, 0); /* it stops only when the piece is used up */
        calls++;
    }
    assert_true(calls <= calls_max);
    items = (struct item *)(void *)s.items;
    for (size_t i = 1; i < count; i++) {
        const struct item *x = &items[i - 1], *y = &items[i];
        assert_true(x->value < y->value || (x->value == y->value && x->number < y->number));
    }
    merge_sort_done(&s);
}

static void test_any_piece(void **state)
{
    uint32_t random = 1;
    (void)state;
    for (size_t count = 0; count < COUNT_OF(values); count = count * 3 / 2 + 1)
        for (uint32_t different = 1; different < 2000; different *= 7) {
            for (size_t i = 0; i < count; i++)
                values[i] = next_random(&random) % different;
            check(count, 1);
            check(count, 13);
            check(count, INT32_MAX);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
