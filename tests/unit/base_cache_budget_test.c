/* SPDX-License-Identifier: Apache-2.0
 * Tests of the one budget for all caches. The sum is kept, the cache that holds most evicts first, and a
 * cache that has nothing to evict does not stop the others. */
#include "base/cache_budget.h"

#include "tests/unit/unit.h"

struct fake {
    struct cache_share share;
    size_t kept; /* that it does not give */
};

static bool evict(struct cache_share *share)
{
    const struct fake *f = container_of(share, struct fake, share);
    if (share->bytes < f->kept + 10)
        return false;
    cache_share_sub(share, 10);
    return true;
}

static void test_largest_gives_first(void **state)
{
    (void)state;
    struct cache_budget b;
    struct fake one = {0}, two = {0};
    cache_budget_init(&b, 100);
    cache_share_init(&one.share, &b, METRIC_CACHE_RECORDS, evict);
    cache_share_init(&two.share, &b, METRIC_CACHE_RELEASES, evict);
    double before = metric_get(METRIC_CACHE_RECORDS);
    cache_share_add(&one.share, 30);
    cache_share_add(&two.share, 70);
    cache_budget_trim(&b);
    assert_int_equal(b.bytes, 100);
    cache_share_add(&two.share, 40);
    cache_budget_trim(&b);
    assert_int_equal(one.share.bytes, 30);
    assert_int_equal(two.share.bytes, 70);
    two.kept = 70; /* it evicts no more */
    cache_share_add(&one.share, 20);
    cache_budget_trim(&b);
    assert_int_equal(one.share.bytes, 30);
    one.kept = 100;
    cache_share_add(&one.share, 20);
    cache_budget_trim(&b); /* no cache evicts: it ends */
    assert_int_equal(b.bytes, 120);
    assert_int_equal((int)(metric_get(METRIC_CACHE_RECORDS) - before), 50);
    cache_share_done(&one.share);
    assert_int_equal(b.bytes, 70);
    cache_share_done(&two.share);
    assert_int_equal(b.bytes, 0);
}

static void test_without_a_budget(void **state)
{
    (void)state;
    struct cache_share s;
    cache_share_init(&s, NULL, METRIC_CACHE_RECORDS, evict);
    cache_share_add(&s, 10);
    assert_int_equal(s.bytes, 10);
    cache_share_done(&s);
    assert_int_equal(s.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_largest_gives_first),
        cmocka_unit_test(test_without_a_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
