/* SPDX-License-Identifier: Apache-2.0
 * Interval tree: a set of key ranges [start, end) that finds the ranges which contain a key.
 *
 * It is a treap ordered by (start, end) in which each node knows the greatest end below it. Add and remove
 * cost O(log n); a search costs O(log n) and its matches (times log n at worst). The caller's structs hold
 * the nodes, and the bytes of start and end. */
#ifndef CONSENSUS_STORE_INTERVAL_H
#define CONSENSUS_STORE_INTERVAL_H

#include "base/buf.h"

struct interval_node {
    struct slice start, end; /* end.data NULL: no upper end */
    struct interval_node *left, *right;
    const struct interval_node *reach; /* the node with the greatest end in this subtree */
    uint64_t priority;                 /* a parent's is at least its children's */
};

/* Valid when zeroed. */
struct interval_tree {
    struct interval_node *root;
    size_t count;
    uint64_t added;
};

struct interval_node *interval_find(const struct interval_tree *t, struct slice start, struct slice end);
/* start and end are set; the same range must not be in the set yet. */
void interval_add(struct interval_tree *t, struct interval_node *n);
void interval_remove(struct interval_tree *t, struct interval_node *n);
/* Calls fn for each range that contains key, in order of (start, end). fn must not change the tree. */
void interval_stab(const struct interval_tree *t, struct slice key,
                   void (*fn)(void *arg, struct interval_node *n), void *arg);

#endif
