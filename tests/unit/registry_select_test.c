/* SPDX-License-Identifier: Apache-2.0
 * Tests of the instances that a reader of one service gets: filters, protection, nearest first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "registry/select.h"

struct world {
    struct catalog *catalog;
    struct arena arena;
    int64_t revision;
    struct buf text;
};

static void put(struct world *w, enum name_kind kind, const char *id, const char *text)
{
    struct name name = {kind, slice_text("n"), slice_text("g"), slice_text("s"), slice_text(id), 0};
    catalog_begin(w->catalog, ++w->revision);
    catalog_put(w->catalog, &name, slice_text(text), w->revision, w->revision);
    catalog_end(w->catalog);
    assert_int_equal(catalog_unreadable(w->catalog), 0);
}

static int setup(void **state)
{
    struct world *w = mem_new(sizeof *w);
    const struct catalog_events events = {0};
    w->catalog = catalog_new(&events);
    put(w, NAME_INSTANCE, "a",
        "{\"host\":\"h\",\"zone\":\"z1\",\"region\":\"r1\",\"tags\":[\"x\",\"y\"],\"metadata\":{\"k\":\"v\"}"
        "}");
    put(w, NAME_INSTANCE, "b",
        "{\"host\":\"h\",\"zone\":\"z2\",\"region\":\"r1\",\"tags\":[\"x\"],\"cluster\":\"c\"}");
    put(w, NAME_INSTANCE, "c", "{\"host\":\"h\",\"zone\":\"z3\",\"region\":\"r2\",\"state\":\"lost\"}");
    put(w, NAME_INSTANCE, "d", "{\"host\":\"h\",\"zone\":\"z1\",\"state\":\"warn\",\"version\":\"2\"}");
    put(w, NAME_INSTANCE, "e", "{\"host\":\"h\",\"weight\":0,\"protocol\":\"grpc\"}");
    put(w, NAME_OVERRIDE, "f", "{\"enabled\":false}");
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    catalog_free(w->catalog);
    arena_done(&w->arena);
    buf_done(&w->text);
    mem_free(w);
    return 0;
}

/* The ids, each followed by '!' when it is protected. */
static const char *selected(struct world *w, const struct select_query *q)
{
    struct select_result r;
    select_run(q, catalog_find(w->catalog, slice_text("n"), slice_text("g"), slice_text("s")), &w->arena, &r);
    buf_clear(&w->text);
    for (size_t i = 0; i < r.count; i++)
        buf_add_slice(&w->text, r.list[i]->id);
    if (r.is_protected)
        buf_add_byte(&w->text, '!');
    return buf_text(&w->text);
}

#define SELECTED(w, expected, ...)                                                                           \
    do {                                                                                                     \
        struct select_query query = {__VA_ARGS__};                                                           \
        assert_string_equal(selected(w, &query), expected);                                                  \
    } while (0)

static void test_filters(void **state)
{
    struct world *w = *state;
    SELECTED(w, "abcde", 0);
    SELECTED(w, "b", .cluster = slice_text("c"));
    SELECTED(w, "d", .version = slice_text("2"));
    SELECTED(w, "e", .protocol = slice_text("grpc"));
    SELECTED(w, "ab", .tags = {slice_text("x")}, .tag_count = 1);
    SELECTED(w, "a", .tags = {slice_text("y"), slice_text("x")}, .tag_count = 2);
    SELECTED(w, "", .tags = {slice_text("z")}, .tag_count = 1);
    SELECTED(w, "a", .labels = {{slice_text("k"), slice_text("v")}}, .label_count = 1);
    SELECTED(w, "", .labels = {{slice_text("k"), slice_text("w")}}, .label_count = 1);
    SELECTED(w, "", .tags = {slice_text("x")}, .tag_count = 1, .version = slice_text("2"));
    SELECTED(w, "abd", .only_serving = true);
    struct select_result r;
    struct select_query all = {0};
    select_run(&all, NULL, &w->arena, &r);
    assert_int_equal(r.count, 0);
    select_run(&all, catalog_find(w->catalog, slice_text("n"), slice_text("g"), slice_text("s")), &w->arena,
               &r);
    assert_int_equal(r.serving, 3);
}

/* Each of many labels is found, whatever their order in the document was, and no absent one is. */
static void test_many_labels(void **state)
{
    enum { LABELS = 37 };
    struct world *w = *state;
    struct buf text = {0};
    char key[20], value[20];
    buf_add_text(&text, "{\"host\":\"h\",\"metadata\":{");
    for (int i = 0; i < LABELS; i++)
        buf_addf(&text, "%s\"k%02d\":\"v%d\"", i ? "," : "", i * 11 % LABELS, i * 11 % LABELS);
    buf_add_text(&text, "}}");
    put(w, NAME_INSTANCE, "many", buf_text(&text));
    for (int i = 0; i < LABELS; i++) {
        snprintf(key, sizeof key, "k%02d", i);
        snprintf(value, sizeof value, "v%d", i);
        SELECTED(w, "many", .labels = {{slice_text(key), slice_text(value)}}, .label_count = 1);
        SELECTED(w, "", .labels = {{slice_text(key), slice_text("v")}}, .label_count = 1);
        snprintf(key, sizeof key, "k%02d-", i);
        SELECTED(w, "", .labels = {{slice_text(key), slice_text(value)}}, .label_count = 1);
    }
    SELECTED(w, "", .labels = {{slice_text("a"), slice_text("v0")}}, .label_count = 1);
    buf_done(&text);
}

/* A storm guard keeps them in traffic: this is a filter of its own, beside all other filters. */
static void test_guarded(void **state)
{
    struct world *w = *state;
    put(w, NAME_INSTANCE, "b", "{\"host\":\"h\",\"tags\":[\"x\"],\"guarded\":true,\"session\":\"5\"}");
    SELECTED(w, "abcde", 0);
    SELECTED(w, "abd", .only_serving = true);
    SELECTED(w, "acde", .no_guarded = true);
    SELECTED(w, "ad", .no_guarded = true, .only_serving = true);
    SELECTED(w, "a", .no_guarded = true, .tags = {slice_text("x")}, .tag_count = 1);
    put(w, NAME_SERVICE, "", "{\"protect_threshold\":0.5}"); /* two of three of those that match */
    SELECTED(w, "ad", .no_guarded = true, .only_serving = true);
}

static void test_order(void **state)
{
    struct world *w = *state;
    SELECTED(w, "adbce", .zone = slice_text("z1"));
    SELECTED(w, "adbce", .zone = slice_text("z1"), .region = slice_text("r1"));
    SELECTED(w, "cabde", .zone = slice_text("z3"), .region = slice_text("r1"));
    SELECTED(w, "abcde", .region = slice_text("r1"));
    SELECTED(w, "adb", .zone = slice_text("z1"), .only_serving = true);
}

static void test_protection(void **state)
{
    struct world *w = *state;
    /* Three of four serve; e itself asks for no traffic. */
    put(w, NAME_SERVICE, "", "{\"protect_threshold\":0.7}");
    SELECTED(w, "abd", .only_serving = true);
    put(w, NAME_SERVICE, "", "{\"protect_threshold\":0.75}");
    SELECTED(w, "abcd!", .only_serving = true);
    SELECTED(w, "abcde", 0);
    SELECTED(w, "ab", .only_serving = true, .tags = {slice_text("x")}, .tag_count = 1); /* none is missing */
    /* An operator override is no failure, and protection does not undo it: two of three. */
    put(w, NAME_OVERRIDE, "d", "{\"enabled\":false}");
    SELECTED(w, "abc!", .only_serving = true);
    put(w, NAME_OVERRIDE, "c", "{\"state\":\"draining\"}");
    SELECTED(w, "ab", .only_serving = true);
    put(w, NAME_OVERRIDE, "c", "{\"state\":\"up\"}");
    SELECTED(w, "abc", .only_serving = true);
    put(w, NAME_OVERRIDE, "c", "{\"weight\":0}");
    put(w, NAME_INSTANCE, "b", "{\"host\":\"h\",\"state\":\"down\"}");
    SELECTED(w, "ab!", .only_serving = true);
    put(w, NAME_SERVICE, "", "{\"protect_threshold\":0}");
    put(w, NAME_INSTANCE, "a", "{\"host\":\"h\",\"state\":\"down\"}");
    SELECTED(w, "", .only_serving = true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_filters, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_labels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_guarded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_protection, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
