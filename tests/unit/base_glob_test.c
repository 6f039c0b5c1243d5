/* SPDX-License-Identifier: Apache-2.0
 * Tests of patterns of names: what they match, against a plain recursive matcher; what is refused. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/glob.h"
#include "base/mem.h"

static char error[240];

static bool matches(const char *pattern, const char *name)
{
    struct glob g = {0};
    assert_int_equal(glob_read(&g, slice_text(pattern), 256, "name", error, sizeof error), OK);
    bool does = glob_matches(&g, slice_text(name));
    glob_done(&g);
    return does;
}

static void test_examples(void **state)
{
    (void)state;
    assert_true(matches("web", "web"));
    assert_false(matches("web", "web2"));
    assert_true(matches("*", "web"));
    assert_true(matches("app-*", "app-"));
    assert_true(matches("app-*", "app-a"));
    assert_false(matches("app-*", "app"));
    assert_true(matches("*-eu-*", "web-eu-1"));
    assert_false(matches("*-eu-*", "web-eu"));
    assert_true(matches("a*a", "aa"));
    assert_false(matches("a*a", "a"));
    assert_true(matches("a**b", "ab"));
    assert_true(matches("*.yaml", "app.yaml"));
    assert_false(matches("*.yaml", "app.yml"));
    /* An escaped star is a star; a text without any star has no escapes. */
    assert_true(matches("a\\*", "a*"));
    assert_false(matches("a\\*", "ab"));
    assert_true(matches("\\\\*", "\\x"));
    assert_true(matches("a\\b", "a\\b"));
    assert_true(matches("*\xc3\xa9*", "caf\xc3\xa9s"));
}

static void expect_refused(const char *pattern, const char *why)
{
    struct glob g = {0};
    assert_int_equal(glob_read(&g, slice_text(pattern), 16, "name", error, sizeof error), ERR_INVALID);
    if (!strstr(error, why))
        fail_msg("%s: %s", pattern, error);
    glob_done(&g);
}

static void test_refused(void **state)
{
    (void)state;
    expect_refused("", "name is empty");
    expect_refused("a/*", "holds a '/'");
    expect_refused("*\\", "a backslash before neither");
    expect_refused("\\a*", "a backslash before neither");
    expect_refused("*a*a*a*a*a*a*a*a*a", "is too long");
    expect_refused("*\xff", "UTF-8");
}

static void test_stars(void **state)
{
    struct glob g = {0};
    (void)state;
    assert_int_equal(glob_read(&g, slice_text("*a*a*a*a*a*a*a*"), 64, "name", error, sizeof error), OK);
    assert_int_equal(g.count, GLOB_STARS_MAX + 1);
    assert_int_equal(glob_read(&g, slice_text("*a*a*a*a*a*a*a*a*"), 64, "name", error, sizeof error),
                     ERR_INVALID);
    assert_non_null(strstr(error, "more than 8"));
    glob_done(&g);
}

static void test_prefix(void **state)
{
    struct glob g = {0};
    (void)state;
    glob_set_prefix(&g, slice_text("ab"));
    assert_true(glob_matches(&g, slice_text("ab")));
    assert_true(glob_matches(&g, slice_text("abc")));
    assert_false(glob_matches(&g, slice_text("a")));
    assert_true(slice_equal(glob_prefix(&g), slice_text("ab")));
    glob_set_prefix(&g, (struct slice){0});
    assert_true(glob_matches(&g, slice_text("x")));
    assert_false(glob_is_name(&g));
    glob_done(&g);
}

/* --- a plain matcher ----------------------------------------------------------------------------------- */

static bool plain(const char *p, const char *name)
{
    if (*p == 0)
        return *name == 0;
    if (*p == '*')
        return plain(p + 1, name) || (*name && plain(p, name + 1));
    return *p == *name && plain(p + 1, name + 1);
}

static uint64_t seed = 7;

static unsigned next_random(unsigned below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed % below);
}

static void fill(char *text, unsigned max, const char *letters)
{
    unsigned size = 1 + next_random(max);
    for (unsigned i = 0; i < size; i++)
        text[i] = letters[next_random((unsigned)strlen(letters))];
    text[size] = 0;
}

static void test_model(void **state)
{
    (void)state;
    size_t fits = 0;
    for (int i = 0; i < 200000; i++) {
        char pattern[16], name[16];
        fill(pattern, 8, "ab*");
        fill(name, 10, "ab");
        bool is_right = matches(pattern, name) == plain(pattern, name);
        if (!is_right)
            fail_msg("%s, %s", pattern, name);
        fits += plain(pattern, name);
    }
    assert_true(fits > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples), cmocka_unit_test(test_refused), cmocka_unit_test(test_stars),
        cmocka_unit_test(test_prefix),   cmocka_unit_test(test_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
