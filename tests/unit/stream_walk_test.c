/* SPDX-License-Identifier: Apache-2.0
 * Tests of the walks over names that snapshots are made of, a few hundred names at a time: each item of a
 * subscription comes exactly once, whatever its scope leaves open. */
#include <stdio.h>

#include "tests/unit/stream_fixture.h"
#include "tests/unit/unit.h"

enum { SERVICES = 60, INSTANCES = 4 };

static const char *const namespaces[] = {"default", "n1", "n2"}, *const groups[] = {"default", "g"};

/* Subscribes, and counts the different items of the whole snapshot, which has as many items. */
static size_t count_items(const char *kind, const char *more)
{
    struct stream_client c;
    json_t *ids = json_object();
    size_t items = 0;
    bool is_last = false;
    stream_client_hello(&c, &world, "");
    stream_client_subscribe(&c, 1, kind, more);
    while (!is_last) {
        json_t *frame = NULL, *one;
        char error[200];
        size_t i;
        const char *text = stream_client_expect_frame(&c, "snapshot", "");
        assert_int_equal(json_parse(slice_text(text), &frame, error, sizeof error), OK);
        json_array_foreach(json_object_get(frame, "items"), i, one)
        {
            json_object_set_new(ids, json_string_value(json_object_get(one, "id")), json_true());
            items++;
        }
        is_last = json_is_true(json_object_get(frame, "last"));
        json_decref(frame);
    }
    assert_int_equal(json_object_size(ids), items);
    json_decref(ids);
    stream_client_close(&c);
    return items;
}

struct scope {
    const char *more;
    size_t count;
};

static void test_registry(void **state)
{
    (void)state;
    char key[200];
    int64_t last = 0;
    for (int n = 0; n < 3; n++)
        for (int g = 0; g < 2; g++)
            for (int s = 0; s < SERVICES * INSTANCES; s++) {
                snprintf(key, sizeof key, "/cairn/registry/instances/%s/%s/s%02d/i%d", namespaces[n],
                         groups[g], s / INSTANCES, s % INSTANCES);
                last = one_node_put(&world.node, key, "{\"host\":\"h\",\"port\":1}", 0);
            }
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof key, "/cairn/registry/instances/default/default/large/i%03d", i);
        last = one_node_put(&world.node, key, "{\"host\":\"h\",\"port\":1}", 0);
    }
    while (registry_revision(world.registry) < last)
        stream_world_run_ms(&world, 1);
    const struct scope services[] = {
        {"", SERVICES + 1},
        {",\"prefix\":\"s1\"", 10},
        {",\"prefix\":\"s10\"", 1}, /* the very name of a service */
        {",\"name\":\"s10\"", 1},
        {",\"name\":\"*0\"", SERVICES / 10},
        {",\"group\":\"\"", 2 * SERVICES + 1},
        {",\"group\":\"g\",\"name\":\"*\"", SERVICES},
        {",\"namespace\":\"n*\"", 2 * SERVICES},
        {",\"namespace\":\"*\",\"group\":\"*\",\"name\":\"s*\"", 6 * SERVICES},
        {",\"namespace\":\"n1\",\"groups\":[\"g\",\"x\"],\"name\":\"s*\"", SERVICES},
        {",\"namespace\":\"none\",\"group\":\"\"", 0},
    };
    for (size_t i = 0; i < sizeof services / sizeof *services; i++)
        assert_int_equal(count_items("services", services[i].more), services[i].count);
    const struct scope instances[] = {
        {",\"name\":\"s*\"", SERVICES * INSTANCES},
        {",\"name\":\"*\"", SERVICES * INSTANCES + 1000},
        {",\"name\":\"large\"", 1000},
        {",\"prefix\":\"l\"", 1000},
        {",\"name\":\"s10\"", INSTANCES},
        {",\"namespace\":\"*\",\"group\":\"\"", 6 * SERVICES * INSTANCES + 1000},
        {",\"namespace\":\"*\",\"group\":\"g\",\"name\":\"*7\"", 3 * SERVICES / 10 * INSTANCES},
        {",\"namespace\":\"none\"", 0},
    };
    for (size_t i = 0; i < sizeof instances / sizeof *instances; i++)
        assert_int_equal(count_items("instances", instances[i].more), instances[i].count);
    assert_int_equal(count_items("service", ",\"name\":\"large\""), 1000);
    assert_int_equal(count_items("service", ",\"name\":\"s10\""), INSTANCES);
    assert_int_equal(count_items("service", ",\"name\":\"absent\""), 0);
}

static void test_configs(void **state)
{
    (void)state;
    enum { NAMES = 300 };
    for (int n = 0; n < 3; n++)
        for (int i = 0; i < NAMES; i++)
            stream_world_publish(&world, stream_text("%s/%s/c%03d", namespaces[n], groups[i % 2], i / 2),
                                 slice_text("x"));
    const struct scope configs[] = {
        {"", NAMES / 2},
        {",\"prefix\":\"c01\"", 10},
        {",\"prefix\":\"c010\"", 1},
        {",\"name\":\"*0\"", NAMES / 20},
        {",\"group\":\"\"", NAMES},
        {",\"namespace\":\"n*\"", NAMES},
        {",\"namespace\":\"*\",\"group\":\"*\"", 3 * NAMES},
        {",\"namespace\":\"*\",\"group\":\"g\",\"name\":\"c*9\"", 3 * NAMES / 20},
        {",\"namespace\":\"none\"", 0},
    };
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++)
        assert_int_equal(count_items("configs", configs[i].more), configs[i].count);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_world, close_world)
    const struct CMUnitTest tests[] = {TEST(test_registry), TEST(test_configs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
