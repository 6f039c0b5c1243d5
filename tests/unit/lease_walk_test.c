/* SPDX-License-Identifier: Apache-2.0
 * Tests of walks over the keys of a lease, and over all leases, while both change: the result is that of the
 * moment at which the walk began. */
#include "consensus/store/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/mem.h"

enum { LEASES = 12, KEYS = 150, TAKEN_MAX = 2000 };

static uint64_t seed;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(seed >> 33) % below;
}

static void grant(struct lease_table *t, int64_t id, int64_t ttl_s)
{
    int64_t granted = 0;
    assert_int_equal(lease_grant(t, id, ttl_s, 0, &granted), OK);
}

static struct slice key_of(unsigned k)
{
    static char text[16];
    snprintf(text, sizeof text, "key/%03u", k);
    return slice_text(text);
}

static void change(struct lease_table *t, int64_t spared)
{
    int64_t id = 1 + draw(LEASES), ttl_s;
    switch (draw(12)) {
    case 0:
        if (lease_grant(t, id, 1 + draw(20), 0, &ttl_s) != OK)
            return;
        break;
    case 1:
        if (id != spared && draw(4) == 0 && lease_revoke(t, id) != OK)
            return;
        break;
    case 2:
    case 3:
    case 4:
    case 5:
        lease_detach(t, id, key_of(draw(KEYS)));
        break;
    case 6:
        if (lease_is_primary(t) && lease_renew(t, id, 10, &ttl_s) != OK)
            return;
        break;
    case 7:
        if (draw(10))
            break;
        if (lease_is_primary(t))
            lease_demote(t);
        else
            lease_promote(t, 5, 0);
        break;
    default:
        if (lease_exists(t, id))
            lease_attach(t, id, key_of(draw(KEYS)));
    }
}

/* One small step, after some changes. */
static bool step(struct lease_table *t, struct lease_walk *w, int64_t spared)
{
    bool is_ready = false;
    int64_t units = 1 + draw(spared ? 8 : 2);
    for (unsigned n = draw(spared ? 6 : 30); n > 0; n--)
        change(t, spared);
    assert_int_equal(lease_walk_step(w, &units, &is_ready), OK);
    return is_ready;
}

static size_t take_keys(struct lease_walk *w, struct slice *ret_keys)
{
    size_t count = 0;
    while (!lease_walk_is_taken(w)) {
        int64_t units = 1 + draw(20);
        count += lease_walk_take_keys(w, &units, ret_keys + count, 1 + draw(5));
        assert_true(count < TAKEN_MAX);
    }
    return count;
}

static struct lease_table *drawn_table(void)
{
    struct lease_table *t = lease_table_new(1);
    if (draw(2))
        lease_promote(t, 0, 0);
    for (int i = 0; i < 400; i++)
        change(t, 0);
    if (!lease_exists(t, 1))
        grant(t, 1, 10);
    for (unsigned n = draw(KEYS); n > 0; n--)
        lease_attach(t, 1, key_of(draw(KEYS)));
    return t;
}

static void keys_are_those_of_the_begin(void **state)
{
    (void)state;
    for (uint64_t run = 1; run <= 500; run++) {
        static char text[TAKEN_MAX][16];
        struct slice *keys, taken[TAKEN_MAX];
        size_t count;
        seed = run;
        struct lease_table *t = drawn_table();
        assert_int_equal(lease_keys(t, 1, &keys, &count), OK);
        for (size_t i = 0; i < count; i++)
            snprintf(text[i], sizeof text[i], "%.*s", (int)keys[i].size, (const char *)keys[i].data);
        mem_free(keys);
        struct lease_walk *w = lease_walk_keys(t, 1);
        while (!step(t, w, 1))
            ;
        assert_int_equal(take_keys(w, taken), count);
        for (size_t i = 0; i < count; i++)
            assert_true(slice_equal(taken[i], slice_text(text[i])));
        lease_walk_free(w);
        lease_table_free(t);
    }
}

static int compare_ids(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* The order is not defined where ends move meanwhile. */
static void leases_are_those_of_the_begin(void **state)
{
    (void)state;
    for (uint64_t run = 1; run <= 500; run++) {
        int64_t *ids, taken[LEASES + 1];
        size_t n = 0;
        seed = run;
        struct lease_table *t = drawn_table();
        size_t count = lease_list(t, &ids);
        struct lease_walk *w = lease_walk_all(t);
        while (!step(t, w, 0))
            ;
        while (!lease_walk_is_taken(w)) {
            int64_t units = 1 + draw(5);
            assert_true(n < LEASES);
            n += lease_walk_take_ids(w, &units, taken + n, LEASES + 1 - n);
        }
        assert_int_equal(n, count);
        qsort(ids, count, sizeof *ids, compare_ids);
        qsort(taken, count, sizeof *taken, compare_ids);
        assert_memory_equal(taken, ids, count * sizeof *ids);
        mem_free(ids);
        lease_walk_free(w);
        lease_table_free(t);
    }
}

static void leases_are_in_the_order_of_their_ends(void **state)
{
    (void)state;
    int64_t *ids, taken[100], units = 0;
    struct lease_table *t = lease_table_new(1);
    bool is_ready = false;
    lease_promote(t, 0, 0);
    for (int64_t id = 1; id <= 100; id++)
        grant(t, id * 7 % 101, 1 + id * 13 % 30);
    struct lease_walk *w = lease_walk_all(t);
    while (!is_ready) {
        units = 10;
        assert_int_equal(lease_walk_step(w, &units, &is_ready), OK);
    }
    units = 1000;
    assert_int_equal(lease_walk_take_ids(w, &units, taken, 100), 100);
    assert_int_equal(units, 900);
    assert_int_equal(lease_list(t, &ids), 100);
    assert_memory_equal(taken, ids, sizeof taken);
    mem_free(ids);
    lease_walk_free(w);
    lease_table_free(t);
}

static void a_walk_ends_with_its_lease(void **state)
{
    (void)state;
    struct lease_table *t = lease_table_new(1);
    bool is_ready;
    int64_t units = 10;
    assert_null(lease_walk_keys(t, 1));
    for (int64_t id = 1; id <= 2; id++) {
        grant(t, id, 10);
        for (unsigned k = 0; k < 100; k++)
            lease_attach(t, id, slice_of(&(uint32_t){k << 2 | (unsigned)id}, 4));
    }
    struct lease_walk *first = lease_walk_keys(t, 1), *second = lease_walk_keys(t, 2),
                      *all = lease_walk_all(t);
    assert_int_equal(lease_walk_step(first, &units, &is_ready), OK);
    assert_int_equal(units, 0);
    assert_false(is_ready);
    assert_int_equal(lease_revoke(t, 1), OK);
    units = 10;
    assert_int_equal(lease_walk_step(first, &units, &is_ready), ERR_LEASE_NOT_FOUND);
    assert_int_equal(lease_walk_step(second, &units, &is_ready), OK);
    lease_table_reset(t);
    units = 10;
    assert_int_equal(lease_walk_step(second, &units, &is_ready), ERR_LEASE_NOT_FOUND);
    assert_int_equal(lease_walk_step(all, &units, &is_ready), ERR_LEASE_NOT_FOUND);
    grant(t, 3, 10);
    lease_table_free(t);
    lease_walk_free(first);
    lease_walk_free(second);
    lease_walk_free(all);
}

/* The number does not matter: a large key costs as much as many small ones. */
static void large_keys_cost_more(void **state)
{
    (void)state;
    static uint8_t large[100000];
    struct lease_table *t = lease_table_new(1);
    bool is_ready;
    int64_t units = 100;
    struct slice taken[4];
    grant(t, 1, 10);
    for (uint8_t i = 0; i < 4; i++) {
        large[0] = i;
        lease_attach(t, 1, slice_of(large, sizeof large));
    }
    assert_false(lease_has_few_keys(t, 1));
    assert_true(lease_has_few_keys(t, 2));
    struct lease_walk *w = lease_walk_keys(t, 1);
    assert_int_equal(lease_walk_step(w, &units, &is_ready), OK);
    assert_false(is_ready);
    units = 100000;
    assert_int_equal(lease_walk_step(w, &units, &is_ready), OK);
    assert_true(is_ready);
    units = 100;
    assert_int_equal(lease_walk_take_keys(w, &units, taken, 4), 1);
    lease_walk_free(w);
    lease_table_free(t);
}

/* Twenty of them are added while seven are gathered. */
static void new_keys_do_not_prolong_a_walk(void **state)
{
    (void)state;
    struct lease_table *t = lease_table_new(1);
    bool is_ready = false;
    uint32_t key = 0;
    unsigned steps = 0;
    grant(t, 1, 10);
    for (; key < 100; key++)
        lease_attach(t, 1, slice_of(&key, sizeof key));
    struct lease_walk *w = lease_walk_keys(t, 1);
    for (; !is_ready; steps++) {
        int64_t units = 7;
        assert_true(steps < 2000);
        assert_int_equal(lease_walk_step(w, &units, &is_ready), OK);
        for (uint32_t more = key + 20; key < more; key++)
            lease_attach(t, 1, slice_of(&key, sizeof key));
    }
    lease_walk_free(w);
    lease_table_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_those_of_the_begin),
        cmocka_unit_test(leases_are_those_of_the_begin),
        cmocka_unit_test(leases_are_in_the_order_of_their_ends),
        cmocka_unit_test(a_walk_ends_with_its_lease),
        cmocka_unit_test(large_keys_cost_more),
        cmocka_unit_test(new_keys_do_not_prolong_a_walk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
