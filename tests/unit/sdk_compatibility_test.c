/* SPDX-License-Identifier: Apache-2.0
 * Tests of the SDK with newer servers and with files of other versions (docs/compatibility.md). It ignores
 * unknown fields and frames, refuses a cache of a later form, and accepts a cache of the oldest form. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "sdk/stream.h"
#include "tests/unit/unit.h"

static unsigned changes;

static void on_change(struct subscription *s)
{
    (void)s;
    changes++;
}

static void give(struct subscription *s, const char *type, const char *text)
{
    json_t *frame = json_loads(text, 0, NULL);
    assert_non_null(frame);
    subscription_frame(s, type, frame);
    json_decref(frame);
}

static void frames_and_fields_of_the_future_are_passed_over(void **state)
{
    (void)state;
    struct subscription s = {.kind = "service", .on_change = on_change};
    changes = 0;
    give(&s, "snapshot",
         "{\"sid\":1,\"revision\":5,\"part\":1,\"last\":true,\"mood\":{\"a\":[1]},"
         "\"items\":[{\"id\":\"i\",\"host\":\"h\",\"colour\":\"red\"}]}");
    assert_int_equal(changes, 1);
    assert_int_equal(s.revision, 5);
    assert_string_equal(json_string_value(json_object_get(json_object_get(s.items, "i"), "host")), "h");
    give(&s, "forecast", "{\"sid\":1,\"revision\":6,\"items\":[{\"id\":\"x\"}]}");
    assert_int_equal(changes, 1);
    assert_int_equal(s.revision, 5);
    assert_int_equal(json_object_size(s.items), 1);
    give(
        &s, "delta",
        "{\"sid\":1,\"revision\":7,\"previous\":5,\"put\":[{\"id\":\"j\"}],\"delete\":[],\"moved\":[\"i\"]}");
    assert_int_equal(changes, 2);
    assert_int_equal(json_object_size(s.items), 2);
    json_decref(s.items);
}

/* The only file of the folder gets this text. */
static void rewrite(const char *dir, const char *text)
{
    char path[600];
    DIR *d = opendir(dir);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        if (e->d_name[0] != '.')
            snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
    closedir(d);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static json_int_t cached(struct cairn_client *c)
{
    struct cache_state state = {0};
    json_t *items = cache_read(c, "service", "default", "g", "n", &state);
    if (!items)
        return -1;
    assert_int_equal(json_object_size(items), 1);
    json_decref(items);
    return state.revision;
}

#define REST                                                                                                 \
    "\"kind\":\"service\",\"namespace\":\"default\",\"group\":\"g\",\"name\":\"n\",\"revision\":9,"          \
    "\"items\":{\"i\":{\"id\":\"i\"}}"

static void the_oldest_cache_is_read_and_a_later_one_is_not(void **state)
{
    (void)state;
    char dir[] = "/tmp/cairn-cache-XXXXXX", ns[] = "default", group[] = "g", name[] = "n", command[64];
    assert_non_null(mkdtemp(dir));
    struct cairn_client c = {.cache_dir = dir};
    struct subscription s = {
        .client = &c, .kind = "service", .ns = ns, .group = group, .name = name, .revision = 8};
    s.items = json_pack("{s{ss}}", "i", "id", "i");
    cache_write(&s);
    assert_int_equal(cached(&c), 8);
    rewrite(dir, "{" REST "}"); /* before files had a version */
    assert_int_equal(cached(&c), 9);
    rewrite(dir, "{\"version\":1,\"colour\":1," REST "}");
    assert_int_equal(cached(&c), 9);
    rewrite(dir, "{\"version\":2," REST "}");
    assert_int_equal(cached(&c), -1);
    json_decref(s.items);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_and_fields_of_the_future_are_passed_over),
        cmocka_unit_test(the_oldest_cache_is_read_and_a_later_one_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
