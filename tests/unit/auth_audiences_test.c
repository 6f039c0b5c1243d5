/* SPDX-License-Identifier: Apache-2.0
 * Tests of the cache of audiences. The memory of its entries counts against the budget of all caches. An
 * entry that was evicted is made again. An audience that is in use stays. */
#include "server/auth/audiences.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "tests/unit/stream_world.h"
#include "tests/unit/unit.h"

enum { USERS = 8, RANGES = 20, RANGE_BYTES = 200 };

static struct stream_world world;
static struct stream_options options;
static char users[USERS][8];

/* Each user reads its own ranges, with long keys, of the projected instances. */
static int open_world(void **state)
{
    char prefix[RANGE_BYTES + 40];
    (void)state;
    memset(&world, 0, sizeof world);
    world.has_users = true;
    options = (struct stream_options){.mark_ms = 3600 * 1000};
    stream_world_open(&world, &options, "");
    for (unsigned u = 0; u < USERS; u++) {
        snprintf(users[u], sizeof users[u], "user%u", u);
        stream_world_add_user(&world, users[u]);
        for (unsigned i = 0; i < RANGES; i++) {
            snprintf(prefix, sizeof prefix, "/microservices/%u-%u-%0*d/", u, i, RANGE_BYTES, 0);
            stream_world_grant(&world, users[u], prefix, false);
        }
    }
    stream_world_enable(&world);
    return 0;
}

static int close_world(void **state)
{
    (void)state;
    stream_world_close(&world);
    one_node_remove(&world.node);
    return 0;
}

static struct audience *get(struct audiences *as, unsigned user)
{
    const struct auth_who who = {.user = slice_text(users[user]), .revision = 1, .is_renewed = true};
    struct audience *a = audiences_get(as, world.node.kv, world.registry, &who, false);
    assert_non_null(a);
    return a;
}

static void test_entries_are_counted(void **state)
{
    (void)state;
    struct cache_budget budget;
    cache_budget_init(&budget, USERS * 100000);
    struct audiences *as = audiences_new(&budget);
    double gauge = metric_get(METRIC_CACHE_AUDIENCES);
    size_t sum = 0;
    for (unsigned u = 0; u < USERS; u++) {
        struct audience *a = get(as, u);
        assert_true(audience_bytes(a) > RANGES * RANGE_BYTES);
        sum += audience_bytes(a) + cache_block_bytes(strlen(users[u]));
        assert_int_equal(budget.bytes, sum); /* no two of these names collide */
        assert_ptr_equal(get(as, u), a);     /* not made again */
        assert_int_equal(budget.bytes, sum);
    }
    assert_true(metric_get(METRIC_CACHE_AUDIENCES) - gauge == (double)sum);
    audiences_free(as);
    assert_int_equal(budget.bytes, 0);
    assert_true(metric_get(METRIC_CACHE_AUDIENCES) == gauge);
}

static void test_the_budget_is_kept(void **state)
{
    (void)state;
    struct cache_budget budget;
    cache_budget_init(&budget, 3 * RANGES * RANGE_BYTES);
    struct audiences *as = audiences_new(&budget);
    struct audience *held = audience_ref(get(as, 0));
    for (unsigned round = 0; round < 3; round++)
        for (unsigned u = 0; u < USERS; u++) {
            (void)get(as, u);
            cache_budget_trim(&budget);
            assert_in_range(budget.bytes, 1, budget.bytes_max);
        }
    assert_true(audience_is_same(held, get(as, 0)));
    audiences_free(as);
    assert_int_equal(budget.bytes, 0);
    assert_int_equal(held->references, 1);
    audience_unref(held);
}

/* A change of users or roles makes each entry anew; the memory of the old one is freed. */
static void test_a_new_entry_takes_the_old_one_s_place(void **state)
{
    (void)state;
    struct cache_budget budget;
    cache_budget_init(&budget, USERS * 100000);
    struct audiences *as = audiences_new(&budget);
    for (unsigned u = 0; u < USERS; u++)
        (void)get(as, u);
    size_t before = budget.bytes;
    stream_world_add_user(&world, "other");
    for (unsigned u = 0; u < USERS; u++)
        (void)get(as, u);
    assert_int_equal(budget.bytes, before);
    audiences_free(as);
}

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries_are_counted),
        cmocka_unit_test(test_the_budget_is_kept),
        cmocka_unit_test(test_a_new_entry_takes_the_old_one_s_place),
    };
    return cmocka_run_group_tests(tests, open_world, close_world);
}
