/* SPDX-License-Identifier: Apache-2.0
 * Tests of diffs: the exact text of small ones, and thousands of random ones that turn the old text into the
 * new one. The test's own reader of changes and patch(1) check them. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "config/diff.h"

static void assert_diff(const char *from, const char *to, const char *expected)
{
    struct diff d;
    struct buf out = {0};
    diff_init(&d, slice_text(from), slice_text(to));
    assert_int_equal(diff_write(&d, "a", "b", 1 << 20, &out), OK);
    assert_string_equal(buf_text(&out), expected);
    buf_done(&out);
    diff_done(&d);
}

static void test_text(void **state)
{
    (void)state;
    assert_diff("", "", "");
    assert_diff("x\n", "x\n", "");
    assert_diff("x", "x", "");
    assert_diff("", "a\n", "--- a\n+++ b\n@@ -0,0 +1 @@\n+a\n");
    assert_diff("a\nb\n", "", "--- a\n+++ b\n@@ -1,2 +0,0 @@\n-a\n-b\n");
    assert_diff("a", "a\n", "--- a\n+++ b\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n");
    assert_diff("a\n", "b", "--- a\n+++ b\n@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n");
    assert_diff("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nx\n6\n7\n8\n9\n",
                "--- a\n+++ b\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+x\n 6\n 7\n 8\n");
    /* Six lines between two changes: one hunk; seven: two. */
    assert_diff("a\n1\n2\n3\n4\n5\n6\nb\n", "1\n2\n3\n4\n5\n6\n",
                "--- a\n+++ b\n@@ -1,8 +1,6 @@\n-a\n 1\n 2\n 3\n 4\n 5\n 6\n-b\n");
    assert_diff("a\n1\n2\n3\n4\n5\n6\n7\nb\n", "1\n2\n3\n4\n5\n6\n7\n",
                "--- a\n+++ b\n@@ -1,4 +1,3 @@\n-a\n 1\n 2\n 3\n@@ -6,4 +5,3 @@\n 5\n 6\n 7\n-b\n");
}

static void test_shortest(void **state)
{
    (void)state;
    struct diff d;
    diff_init(&d, slice_text("a\nb\nc\na\nb\nb\na\n"), slice_text("c\nb\na\nb\na\nc\n"));
    assert_int_equal(d.removed + d.added, 5); /* the example of Myers' paper */
    assert_false(d.is_coarse);
    diff_done(&d);
}

static void test_json(void **state)
{
    (void)state;
    struct diff d;
    struct buf out = {0};
    struct json_writer w = {.out = &out};
    diff_init(&d, slice_text("a\nb\xff"), slice_text("a\nc\n"));
    diff_write_json(&d, 1 << 20, &w);
    assert_string_equal(buf_text(&out),
                        "{\"removed\":1,\"added\":1,\"coarse\":false,\"hunks\":[{\"from\":1,\"from_count\":2,"
                        "\"to\":1,\"to_count\":2,\"lines\":[\" a\",\"-b\xef\xbf\xbd\","
                        "\"\\\\ No newline at end of file\",\"+c\"]}]}");
    buf_clear(&out);
    w = (struct json_writer){.out = &out};
    diff_write_json(&d, 60, &w);
    assert_non_null(strstr(buf_text(&out), "\"truncated\":true}"));
    char error[200];
    json_t *root;
    assert_int_equal(json_parse(buf_slice(&out), &root, error, sizeof error), OK);
    json_decref(root);
    diff_done(&d);
    buf_done(&out);
}

/* --- the bound ------------------------------------------------------------------------------- */

static void apply(const struct diff *d, struct buf *out)
{
    uint32_t at = 0, to = 0;
    for (uint32_t i = 0; i <= d->change_count; i++) {
        const struct diff_change *c = i < d->change_count ? &d->changes[i] : NULL;
        for (; at < (c ? c->from : d->from_count); at++, to++)
            buf_add_slice(out, d->from[at]);
        if (!c)
            break;
        assert_int_equal(c->to, to);
        assert_true(c->removed || c->added);
        at += c->removed;
        for (uint32_t n = 0; n < c->added; n++)
            buf_add_slice(out, d->to[to++]);
    }
    assert_int_equal(to, d->to_count);
}

static void is_right(struct slice from, struct slice to, bool is_coarse, const char *what)
{
    struct diff d;
    struct buf out = {0};
    clock_t start = clock();
    diff_init(&d, from, to);
    if (what)
        printf("  %-28s %7zu and %7zu bytes %6.1f ms, %u lines\n", what, from.size, to.size,
               (double)(clock() - start) * 1e3 / CLOCKS_PER_SEC, d.removed + d.added);
    assert_int_equal(d.is_coarse, is_coarse);
    apply(&d, &out);
    assert_true(slice_equal(buf_slice(&out), to));
    buf_done(&out);
    diff_done(&d);
}

static void test_bound(void **state)
{
    (void)state;
    struct buf a = {0}, b = {0};
    for (int i = 0; i < 499; i++) {
        buf_addf(&a, "a%d\nsame\n", i);
        buf_addf(&b, "b%d\nsame\n", i);
    }
    is_right(buf_slice(&a), buf_slice(&b), false, "998 edits");
    for (int i = 0; i < 2; i++) {
        buf_addf(&a, "A%d\nsame\n", i);
        buf_addf(&b, "B%d\nsame\n", i);
    }
    is_right(buf_slice(&a), buf_slice(&b), true, "1002 edits");
    buf_clear(&a);
    buf_clear(&b);
    for (int i = 0; i < 1 << 18; i++) { /* every line fits everywhere */
        buf_add_text(&a, i % 2 ? "\n" : "x\n");
        buf_add_text(&b, i % 3 ? "\n" : "x\n");
    }
    is_right(buf_slice(&a), buf_slice(&b), true, "262,144 lines of two kinds");
    struct diff d;
    struct buf out = {0};
    diff_init(&d, buf_slice(&a), buf_slice(&b));
    buf_add_text(&out, "kept");
    assert_int_equal(diff_write(&d, "a", "b", 100000, &out), ERR_LIMIT);
    assert_string_equal(buf_text(&out), "kept");
    diff_done(&d);
    diff_init(&d, slice_text("a\n"), slice_text("b\n"));
    buf_clear(&out);
    size_t whole = strlen("--- a\n+++ b\n@@ -1 +1 @@\n-a\n+b\n");
    assert_int_equal(diff_write(&d, "a", "b", whole - 1, &out), ERR_LIMIT);
    assert_int_equal(diff_write(&d, "a", "b", whole, &out), OK);
    diff_done(&d);
    buf_done(&out);
    buf_done(&a);
    buf_done(&b);
}

/* --- random pairs ---------------------------------------------------------------------------- */

static uint64_t seed;

static unsigned below(unsigned n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % n;
}

static void add_line(struct buf *b)
{
    static const char *const lines[] = {"\n",
                                        "a\n",
                                        "b\n",
                                        "port: 1\n",
                                        "- x\n",
                                        "+ y\n",
                                        "--- z\n",
                                        "@@ -1 +1 @@\n",
                                        "\\ No newline at end of file\n",
                                        "tab\there\r\n",
                                        " lead\n"};
    if (below(4))
        buf_add_text(b, lines[below(COUNT_OF(lines))]);
    else
        buf_addf(b, "line %u\n", below(50));
}

/* A text, and the same text with some lines removed and some added; either may end without LF. */
static void random_pair(struct buf *from, struct buf *to)
{
    unsigned lines = below(below(10) ? 30 : 300), rate = 1 + below(40);
    buf_clear(from);
    buf_clear(to);
    for (unsigned i = 0; i < lines; i++) {
        size_t before = from->size;
        add_line(from);
        if (below(rate))
            buf_add(to, from->data + before, from->size - before);
        if (!below(rate))
            add_line(to);
    }
    if (from->size && !below(3))
        from->size--;
    if (to->size && !below(3))
        to->size--;
}

static void write_file(const char *folder, int i, const struct buf *b)
{
    char path[300];
    snprintf(path, sizeof path, "%s/f%d", folder, i);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b->size ? b->data : (const uint8_t *)"", 1, b->size, f), b->size);
    assert_int_equal(fclose(f), 0);
}

static bool file_is(const char *folder, int i, const struct buf *b)
{
    char path[300];
    struct buf found = {0};
    snprintf(path, sizeof path, "%s/f%d", folder, i);
    FILE *f = fopen(path, "rb");
    if (f) {
        found.size = fread(buf_reserve(&found, b->size + 1), 1, b->size + 1, f);
        fclose(f);
    }
    bool is = f && slice_equal(buf_slice(&found), buf_slice(b));
    buf_done(&found);
    unlink(path);
    return is;
}

enum { PAIRS = 500 };

/* PAIRS files and one patch for all of them. */
static void patch_pairs(const char *folder, struct buf *news)
{
    struct buf from = {0}, patch = {0};
    for (int i = 0; i < PAIRS; i++) {
        struct diff d;
        char label[16];
        random_pair(&from, &news[i]);
        write_file(folder, i, &from);
        is_right(buf_slice(&from), buf_slice(&news[i]), false, NULL);
        snprintf(label, sizeof label, "f%d", i);
        diff_init(&d, buf_slice(&from), buf_slice(&news[i]));
        assert_int_equal(diff_write(&d, label, label, 1 << 24, &patch), OK);
        diff_done(&d);
    }
    write_file(folder, PAIRS, &patch);
    char command[700];
    snprintf(command, sizeof command,
             "cd '%s' && patch --binary --quiet --force --fuzz=0 -p0 <f%d >log 2>&1 || { cat log; exit 1; }",
             folder, PAIRS);
    assert_int_equal(system(command), 0);
    for (int i = 0; i < PAIRS; i++)
        if (!file_is(folder, i, &news[i]))
            fail_msg("pair %d differs from the output of patch", i);
    file_is(folder, PAIRS, &patch);
    buf_done(&from);
    buf_done(&patch);
}

static void test_patch(void **state)
{
    (void)state;
    struct buf *news = calloc(PAIRS, sizeof *news);
    char folder[] = "/tmp/cairn-diff-XXXXXX", log[64];
    assert_non_null(news);
    if (system("command -v patch >/dev/null") != 0) {
        free(news);
        skip();
    }
    assert_non_null(mkdtemp(folder));
    for (seed = 1; seed <= 8; seed++) {
        uint64_t kept = seed;
        patch_pairs(folder, news);
        seed = kept;
    }
    snprintf(log, sizeof log, "%s/log", folder);
    unlink(log);
    assert_int_equal(rmdir(folder), 0);
    for (int i = 0; i < PAIRS; i++)
        buf_done(&news[i]);
    free(news);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),  cmocka_unit_test(test_shortest), cmocka_unit_test(test_json),
        cmocka_unit_test(test_bound), cmocka_unit_test(test_patch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
