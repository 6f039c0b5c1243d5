/* SPDX-License-Identifier: Apache-2.0
 * Tests of the range tree against a plain list: random ranges are added and removed, and every query gets
 * the same answer. */
#include "consensus/store/interval.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { RANGES = 400 };

struct range {
    struct interval_node node;
    bool is_in, is_hit;
    char start[8], end[8];
};

static struct range ranges[RANGES];
static uint64_t seed = 42;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(seed >> 33) % below;
}

static void draw_key(char *text)
{
    int size = 1 + (int)draw(4);
    for (int i = 0; i < size; i++)
        text[i] = (char)('a' + draw(3));
    text[size] = 0;
}

static void on_hit(void *arg, struct interval_node *n)
{
    struct range *r = (struct range *)(void *)n;
    const struct interval_node **last = arg;
    assert_false(r->is_hit);
    if (*last) /* in order of start */
        assert_true(slice_compare((*last)->start, n->start) <= 0);
    *last = n;
    r->is_hit = true;
}

static bool contains(const struct range *r, struct slice key)
{
    return r->is_in && slice_compare(r->node.start, key) <= 0 &&
           (!r->node.end.data || slice_compare(key, r->node.end) < 0);
}

/* Order, heap and reach hold everywhere; returns the number of nodes. */
static size_t check(const struct interval_node *n, size_t depth, size_t *deepest)
{
    if (!n)
        return 0;
    if (depth > *deepest)
        *deepest = depth;
    bool reach_is_known = n->reach == n;
    const struct interval_node *sides[2] = {n->left, n->right};
    for (int i = 0; i < 2; i++) {
        if (!sides[i])
            continue;
        assert_true(sides[i]->priority <= n->priority);
        int c = slice_compare(sides[i]->start, n->start);
        assert_true(i == 0 ? c <= 0 : c >= 0);
        reach_is_known |= n->reach == sides[i]->reach;
        if (n->reach->end.data) {
            assert_non_null(sides[i]->reach->end.data);
            assert_true(slice_compare(sides[i]->reach->end, n->reach->end) <= 0);
        }
    }
    assert_true(reach_is_known);
    return 1 + check(n->left, depth + 1, deepest) + check(n->right, depth + 1, deepest);
}

static void assert_queries(const struct interval_tree *t)
{
    char text[8];
    draw_key(text);
    struct slice key = draw(20) ? slice_text(text) : slice_text("");
    const struct interval_node *last = NULL;
    interval_stab(t, key, on_hit, &last);
    for (int i = 0; i < RANGES; i++) {
        assert_int_equal(ranges[i].is_hit, contains(&ranges[i], key));
        ranges[i].is_hit = false;
    }
}

static void test_random(void **state)
{
    (void)state;
    struct interval_tree t = {0};
    for (int step = 0; step < 30000; step++) {
        struct range *r = &ranges[draw(RANGES)];
        if (r->is_in) {
            assert_ptr_equal(interval_find(&t, r->node.start, r->node.end), &r->node);
            interval_remove(&t, &r->node);
            assert_null(interval_find(&t, r->node.start, r->node.end));
            r->is_in = false;
        } else {
            draw_key(r->start);
            draw_key(r->end);
            r->node.start = slice_text(r->start);
            r->node.end = draw(10) ? slice_text(r->end) : (struct slice){0};
            if (!interval_find(&t, r->node.start, r->node.end)) {
                interval_add(&t, &r->node);
                r->is_in = true;
            }
        }
        assert_queries(&t);
        if (step % 500 == 0) {
            size_t deepest = 0;
            assert_int_equal(check(t.root, 1, &deepest), t.count);
            assert_true(deepest < 40);
        }
    }
    for (int i = 0; i < RANGES; i++)
        if (ranges[i].is_in)
            interval_remove(&t, &ranges[i].node);
    assert_null(t.root);
    assert_int_equal(t.count, 0);
}

/* Ranges added in order, as clients number them, must not make a list of the tree. */
static void test_sorted_input_stays_flat(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    struct interval_tree t = {0};
    struct interval_node *nodes = calloc(MANY, sizeof *nodes);
    char(*texts)[2][16] = calloc(MANY, sizeof *texts);
    for (int i = 0; i < MANY; i++) {
        snprintf(texts[i][0], 16, "p/%06d/", i);
        snprintf(texts[i][1], 16, "p/%06d0", i);
        nodes[i].start = slice_text(texts[i][0]);
        nodes[i].end = slice_text(texts[i][1]);
        interval_add(&t, &nodes[i]);
    }
    size_t deepest = 0;
    assert_int_equal(check(t.root, 1, &deepest), MANY);
    assert_true(deepest < 60);
    free(nodes);
    free(texts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_sorted_input_stays_flat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
