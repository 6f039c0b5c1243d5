/* SPDX-License-Identifier: Apache-2.0
 * Tests of the record cache. It returns what was added under that revision, its bytes are bounded, and an
 * evicted record stays readable until the turn ends. */
#include "consensus/store/cache.h"

#include <stdio.h>

#include "unit.h"

static struct slice content(struct revision r, char *at, size_t size)
{
    int n = snprintf(at, size, "%lld.%u and then %200s", (long long)r.main, r.sub, "some");
    return slice_of(at, (size_t)n);
}

static void test_hits_are_right(void **state)
{
    (void)state;
    struct cache c;
    char text[256];
    struct slice got;
    size_t hits = 0;
    cache_init(&c, 1000000, NULL);
    assert_false(cache_get(&c, (struct revision){1, 0}, &got));
    for (int64_t main = 1; main < 20000; main++) {
        struct revision r = {main, (uint32_t)main % 3};
        cache_add(&c, r, content(r, text, sizeof text));
        assert_true(c.bytes <= 1000000);
        assert_true(main > 500 || cache_get(&c, r, &got)); /* as long as there is room in every set */
        cache_turn(&c);
    }
    assert_true(c.bytes > 800000);
    for (int64_t main = 1; main < 20000; main++) {
        for (uint32_t sub = 0; sub < 3; sub++) {
            struct revision r = {main, sub};
            if (!cache_get(&c, r, &got))
                continue;
            assert_true(slice_equal(got, content(r, text, sizeof text)));
            hits++;
        }
    }
    assert_true(hits > 2000 && hits < 20000);
    cache_done(&c);
}

static void test_evicted_lives_until_the_turn(void **state)
{
    (void)state;
    struct cache c;
    struct slice first;
    char text[256];
    struct revision r = {1, 0};
    cache_init(&c, 300, NULL);
    cache_add(&c, r, content(r, text, sizeof text));
    assert_true(cache_get(&c, r, &first));
    for (int64_t main = 2; main < 50; main++)
        cache_add(&c, (struct revision){main, 0}, slice_of("0123456789012345678901234567890123456789", 40));
    struct slice again;
    assert_false(cache_get(&c, r, &again));
    assert_true(slice_equal(first, content(r, text, sizeof text))); /* the address sanitizer checks this */
    cache_turn(&c);
    cache_done(&c);
}

/* Compacted records are dropped at once; their bytes stay readable until the turn ends. */
static void test_dropped_ones_are_gone(void **state)
{
    (void)state;
    struct cache c;
    struct slice got;
    char text[256];
    cache_init(&c, 1000000, NULL);
    cache_drop(&c, (struct revision){1, 0}); /* before any record was kept */
    for (int64_t main = 1; main < 100; main++)
        cache_add(&c, (struct revision){main, 0}, content((struct revision){main, 0}, text, sizeof text));
    for (int64_t main = 1; main < 100; main++) {
        struct revision r = {main, 0};
        assert_true(cache_get(&c, r, &got));
        cache_drop(&c, (struct revision){main, 1}); /* of another change */
        cache_drop(&c, r);
        assert_true(slice_equal(got, content(r, text, sizeof text)));
        assert_false(cache_get(&c, r, &got));
    }
    assert_int_equal(c.bytes, 0);
    cache_turn(&c);
    cache_done(&c);
}

static void test_large_ones_are_refused(void **state)
{
    (void)state;
    static uint8_t large[CACHE_RECORD_MAX + 1];
    struct cache c;
    struct slice got;
    cache_init(&c, 1 << 20, NULL);
    cache_add(&c, (struct revision){1, 0}, slice_of(large, sizeof large));
    assert_false(cache_get(&c, (struct revision){1, 0}, &got));
    cache_add(&c, (struct revision){1, 0}, slice_of(large, CACHE_RECORD_MAX));
    assert_true(cache_get(&c, (struct revision){1, 0}, &got));
    cache_done(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hits_are_right),
        cmocka_unit_test(test_evicted_lives_until_the_turn),
        cmocka_unit_test(test_dropped_ones_are_gone),
        cmocka_unit_test(test_large_ones_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
