/* SPDX-License-Identifier: Apache-2.0
 * Test of the choice of instances on the vectors that all SDKs read (docs/picks.md). */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sdk/pick.h"
#include "tests/unit/unit.h"

static json_t *vectors;

static uint64_t number(const json_t *o, const char *key, uint64_t otherwise)
{
    const json_t *n = json_object_get(o, key);
    return n ? (uint64_t)json_integer_value(n) : otherwise;
}

static const char *text(const json_t *o, const char *key)
{
    const char *t = json_string_value(json_object_get(o, key));
    return t ? t : "";
}

static void hashes_and_costs(void **state)
{
    (void)state;
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(vectors, "murmur3"), i, v)
    {
        const json_t *t = json_object_get(v, "text");
        uint32_t h =
            pick_murmur3(json_string_value(t), json_string_length(t), (uint32_t)number(v, "seed", 0));
        assert_int_equal(h, number(v, "hash", 0));
    }
    assert_true(i >= 16);
    json_array_foreach(json_object_get(vectors, "costs"), i, v)
        assert_int_equal(pick_cost((uint32_t)number(v, "hash", 0)), number(v, "cost", 0));
    assert_true(i >= 20);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct pick_candidate *)a)->id, ((const struct pick_candidate *)b)->id);
}

static void check_case(const json_t *v)
{
    struct pick_candidate list[128];
    size_t n = 0, i;
    json_t *o;
    json_array_foreach(json_object_get(v, "instances"), i, o)
    {
        const json_t *serving = json_object_get(o, "serving");
        assert_true(n < 128);
        list[n++] = (struct pick_candidate){.id = text(o, "id"),
                                            .zone = text(o, "zone"),
                                            .region = text(o, "region"),
                                            .weight = (uint32_t)number(o, "weight", 100),
                                            .is_serving = !serving || json_is_true(serving),
                                            .age_ms = number(o, "age_ms", UINT64_MAX)};
    }
    qsort(list, n, sizeof *list, by_id);
    struct pick_query q = {.zone = text(v, "zone"),
                           .region = text(v, "region"),
                           .warm_up_ms = (uint32_t)number(v, "warm_up_ms", 0)};
    uint32_t loads[PICK_TIERS];
    pick_loads(list, n, &q, loads);
    for (size_t t = 0; t < PICK_TIERS; t++)
        assert_int_equal(loads[t], json_integer_value(json_array_get(json_object_get(v, "loads"), t)));
    for (i = 0; i < n; i++)
        assert_int_equal(pick_weight(&list[i], q.warm_up_ms),
                         number(json_object_get(v, "weights"), list[i].id, 0));
    json_array_foreach(json_object_get(v, "picks"), i, o)
    {
        q.key = json_string_value(json_object_get(o, "key"));
        q.draw_tier = (uint32_t)number(o, "draw_tier", 0);
        q.draw = number(o, "draw", 0);
        long at = pick_choose(list, n, &q);
        const char *wanted = json_string_value(json_object_get(o, "pick"));
        if ((at < 0) != !wanted || (wanted && strcmp(wanted, list[at].id) != 0))
            fail_msg("%s, pick %zu: %s, not %s", text(v, "name"), i, at < 0 ? "none" : list[at].id,
                     wanted ? wanted : "none");
    }
    assert_true(i >= 24);
}

static void all_cases(void **state)
{
    (void)state;
    size_t i;
    json_t *v;
    json_array_foreach(json_object_get(vectors, "cases"), i, v) check_case(v);
    assert_true(i >= 20);
}

/* One of n instances leaves: only its keys move. Shares follow the weights. */
static void keys_stay_and_shares_follow_weights(void **state)
{
    (void)state;
    enum { KEYS = 20000 };
    struct pick_candidate list[] = {
        {.id = "a", .zone = "", .region = "", .weight = 100, .is_serving = true, .age_ms = UINT64_MAX},
        {.id = "b", .zone = "", .region = "", .weight = 200, .is_serving = true, .age_ms = UINT64_MAX},
        {.id = "c", .zone = "", .region = "", .weight = 100, .is_serving = true, .age_ms = UINT64_MAX}};
    unsigned shares[3] = {0}, moved = 0;
    for (unsigned k = 0; k < KEYS; k++) {
        char key[20];
        snprintf(key, sizeof key, "k%u", k);
        struct pick_query q = {.zone = "", .region = "", .key = key};
        long before = pick_choose(list, 3, &q);
        list[2].is_serving = false;
        long after = pick_choose(list, 3, &q);
        list[2].is_serving = true;
        shares[before]++;
        moved += before != 2 && before != after;
        assert_true(after != 2);
    }
    assert_int_equal(moved, 0);
    assert_in_range(shares[0], KEYS / 4 - 400, KEYS / 4 + 400);
    assert_in_range(shares[1], KEYS / 2 - 400, KEYS / 2 + 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_and_costs),
        cmocka_unit_test(all_cases),
        cmocka_unit_test(keys_stay_and_shares_follow_weights),
    };
    vectors = json_load_file("sdk/pick_vectors.json", JSON_ALLOW_NUL, NULL);
    if (!vectors)
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(vectors);
    return failed;
}
