/* SPDX-License-Identifier: Apache-2.0
 * Sorting in pieces: the same order as a sort at once, whatever the pieces, and stable. */
#include "tests/unit/unit.h"

#include "base/mem.h"
#include "base/sort.h"

static uint32_t values[1000];
static size_t compared;

static bool comes_after(const void *arg, size_t a, size_t b)
{
    const uint32_t *list = arg;
    compared++;
    return list[a] > list[b];
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static void check(size_t count, size_t piece)
{
    struct sort s;
    sort_init(&s, count, comes_after, values);
    compared = 0;
    for (size_t before = 0; !sort_step(&s, piece); before = compared)
        assert_true(compared - before <= piece);
    for (size_t i = 1; i < count; i++) {
        uint32_t a = s.order[i - 1], b = s.order[i];
        assert_true(values[a] < values[b] || (values[a] == values[b] && a < b));
    }
    sort_done(&s);
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
            check(count, SIZE_MAX);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_piece),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
