/* SPDX-License-Identifier: Apache-2.0
 * Tests of yaml: the tree, its limits one below and one above, and the place that each refusal names. */
#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/yaml.h"

static struct arena arena;
static char error[256];

static struct yaml_node *parse(const char *text)
{
    struct yaml_node *root = NULL;
    error[0] = 0;
    int err = yaml_parse(slice_text(text), &arena, &root, error, sizeof error);
    if (err)
        fail_msg("%s: %s", text, error);
    return root;
}

static void refused(struct slice text, const char *why)
{
    struct yaml_node *root = (struct yaml_node *)1;
    int err = yaml_parse(text, &arena, &root, error, sizeof error);
    if (err != ERR_MALFORMED || root != (struct yaml_node *)1 || !strstr(error, why) ||
        strncmp(error, "line ", 5) != 0)
        fail_msg("%.60s: err %d, \"%s\", wanted \"%s\"", (const char *)text.data, err, error, why);
    arena_reset(&arena);
}

static void is_text(const struct yaml_node *n, const char *text)
{
    assert_non_null(n);
    assert_int_equal(n->kind, YAML_SCALAR);
    assert_true(slice_equal(n->text, slice_text(text)));
}

static void test_tree(void **state)
{
    (void)state;
    struct yaml_node *root = parse("name: node-1 # comment\n"
                                   "urls: [\"http://a:1\", b]\n"
                                   "tls:\n  cert-file: 'x'\n  on: true\n"
                                   "text: |\n  two\n  lines\n"
                                   "empty:\n");
    assert_int_equal(root->kind, YAML_MAPPING);
    is_text(yaml_get(root, "name"), "node-1");
    assert_false(yaml_get(root, "name")->is_quoted);
    struct yaml_node *urls = yaml_get(root, "urls");
    assert_int_equal(urls->kind, YAML_SEQUENCE);
    is_text(urls->child, "http://a:1");
    assert_true(urls->child->is_quoted);
    is_text(urls->child->next, "b");
    assert_null(urls->child->next->next);
    assert_int_equal(urls->line, 2);
    assert_int_equal(urls->column, 7);
    assert_int_equal(urls->key->column, 1);
    struct yaml_node *tls = yaml_get(root, "tls");
    is_text(yaml_get(tls, "cert-file"), "x");
    assert_true(yaml_get(tls, "cert-file")->is_quoted);
    is_text(yaml_get(tls, "on"), "true");
    is_text(yaml_get(root, "text"), "two\nlines\n");
    assert_true(yaml_get(root, "text")->is_quoted);
    is_text(yaml_get(root, "empty"), "");
    assert_null(yaml_get(root, "nothing"));
    assert_null(yaml_get(urls, "x"));
    assert_null(yaml_get(NULL, "x"));
    arena_reset(&arena);
    assert_null(parse(""));
    assert_null(parse("# only a comment\n"));
    is_text(parse("plain"), "plain");
    is_text(parse("\xef\xbb\xbfplain"), "plain");
    assert_true(parse("!!str 12")->is_quoted);
    assert_true(parse("! 12")->is_quoted);
    assert_false(parse("!!int 12")->is_quoted);
    assert_int_equal(parse("\"a\\0b\"")->text.size, 3);
    assert_null(parse("[]")->child);
    is_text(yaml_get(parse("{\"a\": {b: c}}"), "a")->child, "c");
    arena_reset(&arena);
}

static void test_aliases(void **state)
{
    (void)state;
    struct yaml_node *root = parse("a: &x {k: v}\nb: *x\nc: [*x, &y 1, *y]\n*y : z\n&w d: *w\n");
    struct yaml_node *a = yaml_get(root, "a"), *b = yaml_get(root, "b"), *c = yaml_get(root, "c");
    assert_ptr_not_equal(a, b);
    assert_ptr_equal(a->child, b->child);
    is_text(b->key, "b");
    assert_int_equal(b->line, 2);
    is_text(yaml_get(c->child, "k"), "v");
    assert_null(c->child->key);
    is_text(c->child->next->next, "1");
    is_text(yaml_get(root, "1"), "z");
    is_text(yaml_get(root, "d"), "d");
    is_text(parse("[&a 1, &a 2, *a]")->child->next->next, "2");
    arena_reset(&arena);
}

static void test_refusals(void **state)
{
    (void)state;
    refused(slice_text("a: 1\nb: 2\na: 3\n"), "line 3, column 1: duplicate key \"a\"");
    refused(slice_text("a: 1\n'a': 3\n"), "duplicate key");
    refused(slice_text("a: *x\n"), "line 1, column 4: undefined alias \"x\"");
    refused(slice_text("a: &x [1, *x]\n"), "alias inside its own anchor");
    refused(slice_text("&x a: {b: &y {c: *y}}\n"), "alias inside its own anchor");
    refused(slice_text("a: 1\n---\nb: 2\n"), "line 2, column 1: a second document");
    refused(slice_text("? [a]\n: b\n"), "key must be a scalar");
    refused(slice_text("{{a: b}: c}\n"), "key must be a scalar");
    refused(slice_text("a: !foo b\n"), "unknown tag");
    refused(slice_text("a: !!binary b\n"), "unknown tag");
    refused(slice_text("a: [1\n"), "line 2");
    refused(slice_text("a: b: c\n"), "line 1, column 5");
    refused(slice_text("a: 1\nb: \xff\n"), "line 2, column 4");
    refused(slice_text("a: \x01\n"), "control characters");
    refused(slice_of("a: \0b\n", 6), "control characters");
    refused(slice_text("\ta: b\n\t- c"), "line ");
    refused(slice_of("\xff\xfe"
                     "a\0",
                     4),
            "line 1");
}

static void test_depth(void **state)
{
    (void)state;
    char text[200];
    for (int depth = 63; depth <= 65; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        text[2 * depth] = 0;
        if (depth <= 64)
            parse(text);
        else
            refused(slice_text(text), "line 1, column 65: nested deeper than 64 levels");
    }
    /* Depth through aliases counts as if it were written out. */
    struct buf b = {0};
    buf_add_text(&b, "- &a0 [[x]]\n");
    for (int i = 1; i <= 70; i++)
        buf_addf(&b, "- &a%d [*a%d]\n", i, i - 1);
    refused(buf_slice(&b), "line 63, column 9: nested deeper than 64 levels");
    buf_done(&b);
    arena_reset(&arena);
}

static void test_nodes(void **state)
{
    (void)state;
    struct buf b = {0};
    for (int i = 0; i < 99999; i++)
        buf_add_text(&b, "- 1\n");
    struct yaml_node *root;
    assert_int_equal(yaml_parse(buf_slice(&b), &arena, &root, error, sizeof error), OK);
    buf_add_text(&b, "- 1\n");
    refused(buf_slice(&b), "line 100000, column 3: more than 100000 nodes");
    buf_clear(&b);
    buf_add_text(&b, "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for (int i = 1; i < 12; i++)
        buf_addf(&b, "a%d: &a%d [*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d,*a%d]\n", i, i, i - 1, i - 1, i - 1,
                 i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    refused(buf_slice(&b), "line 6");
    buf_done(&b);
}

static double refused_in(struct buf *b, const char *why)
{
    clock_t start = clock();
    refused(buf_slice(b), why);
    return (double)(clock() - start) / CLOCKS_PER_SEC;
}

/* Texts that make libyaml itself slow must hit our limits first. */
static void test_fast_refusal(void **state)
{
    (void)state;
    static const char deep[] = "nested deeper than 64 levels", key[] = "key must be a scalar";
    static const char *const units[] = {"[", "{", "[\n", "{a: ", "? ", "- ", "&a [", "[[],", "? - "};
    static const char *const reasons[] = {deep, key, deep, deep, key, deep, deep, deep, key};
    for (size_t i = 0; i < COUNT_OF(units); i++) {
        struct buf b = {0};
        while (b.size + strlen(units[i]) <= 1 << 20)
            buf_add_text(&b, units[i]);
        double seconds = refused_in(&b, reasons[i]);
        if (seconds > 0.5)
            fail_msg("%s took %f s", units[i], seconds);
        buf_add_text(&b, "                                                                              ");
        refused(buf_slice(&b), "more than 1 MiB");
        buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree),  cmocka_unit_test(test_aliases), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_depth), cmocka_unit_test(test_nodes),   cmocka_unit_test(test_fast_refusal),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_done(&arena);
    return failed;
}
