/* SPDX-License-Identifier: Apache-2.0
 * Interval tree as a treap (Seidel and Aragon, 1996): a search tree by range that is also a heap by random
 * priority, and so balanced in expectation. Priorities come from the keyed hash of a counter, so that clients
 * cannot choose them. */
#include "consensus/store/interval.h"

#include <assert.h>

#include "base/hash.h"

static int compare_end(struct slice a, struct slice b)
{
    if (!a.data || !b.data)
        return !a.data - !b.data;
    return slice_compare(a, b);
}

static int interval_compare(struct slice start, struct slice end, const struct interval_node *n)
{
    int c = slice_compare(start, n->start);
    return c ? c : compare_end(end, n->end);
}

static void update(struct interval_node *n)
{
    n->reach = n;
    if (n->left && compare_end(n->left->reach->end, n->reach->end) > 0)
        n->reach = n->left->reach;
    if (n->right && compare_end(n->right->reach->end, n->reach->end) > 0)
        n->reach = n->right->reach;
}

/* Moves the nodes before `at` to *left and the others to *right. */
static void interval_split(struct interval_node *n, const struct interval_node *at,
                           struct interval_node **left, struct interval_node **right)
{
    if (!n) {
        *left = *right = NULL;
        return;
    }
    if (interval_compare(at->start, at->end, n) > 0) {
        interval_split(n->right, at, &n->right, right);
        *left = n;
    } else {
        interval_split(n->left, at, left, &n->left);
        *right = n;
    }
    update(n);
}

/* Joins two trees; all of left is before all of right. */
static struct interval_node *merge(struct interval_node *left, struct interval_node *right)
{
    if (!left || !right)
        return left ? left : right;
    if (left->priority >= right->priority) {
        left->right = merge(left->right, right);
        update(left);
        return left;
    }
    right->left = merge(left, right->left);
    update(right);
    return right;
}

static void add_below(struct interval_node **at, struct interval_node *n)
{
    if (!*at || (*at)->priority < n->priority) {
        interval_split(*at, n, &n->left, &n->right);
        *at = n;
    } else {
        int c = interval_compare(n->start, n->end, *at);
        assert(c != 0);
        add_below(c < 0 ? &(*at)->left : &(*at)->right, n);
    }
    update(*at);
}

static void remove_below(struct interval_node **at, struct interval_node *n)
{
    assert(*at);
    if (*at == n) {
        *at = merge(n->left, n->right);
        return;
    }
    remove_below(interval_compare(n->start, n->end, *at) < 0 ? &(*at)->left : &(*at)->right, n);
    update(*at);
}

struct interval_node *interval_find(const struct interval_tree *t, struct slice start, struct slice end)
{
    struct interval_node *n = t->root;
    int c;
    while (n && (c = interval_compare(start, end, n)) != 0)
        n = c < 0 ? n->left : n->right;
    return n;
}

void interval_add(struct interval_tree *t, struct interval_node *n)
{
    n->left = n->right = NULL;
    n->priority = hash64_u64(t->added++);
    add_below(&t->root, n);
    t->count++;
}

void interval_remove(struct interval_tree *t, struct interval_node *n)
{
    remove_below(&t->root, n);
    n->left = n->right = NULL;
    t->count--;
}

static bool is_above(struct slice end, struct slice key)
{
    return !end.data || slice_compare(key, end) < 0;
}

static void stab(struct interval_node *n, struct slice key, void (*fn)(void *arg, struct interval_node *n),
                 void *arg)
{
    while (n && is_above(n->reach->end, key)) {
        stab(n->left, key, fn, arg);
        if (slice_compare(n->start, key) > 0)
            return;
        if (is_above(n->end, key))
            fn(arg, n);
        n = n->right;
    }
}

void interval_stab(const struct interval_tree *t, struct slice key,
                   void (*fn)(void *arg, struct interval_node *n), void *arg)
{
    stab(t->root, key, fn, arg);
}
