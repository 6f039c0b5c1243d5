/* SPDX-License-Identifier: Apache-2.0
 * B+tree of index entries in byte order of their keys. The nodes own neither entries nor keys.
 *
 * Each node stores, beside the pointers, eight bytes of every key. They begin after the prefix that all its
 * keys share. So a search reads one key for the prefix, and then only the keys whose eight bytes are equal.
 */
#ifndef CONSENSUS_STORE_TREE_H
#define CONSENSUS_STORE_TREE_H

#include "base/buf.h"

struct index_entry;
struct tree_node;

struct tree {
    struct tree_node *root;
};

/* A position between two entries of a leaf; any change of the tree invalidates it. */
struct tree_cursor {
    const struct tree_node *leaf;
    unsigned slot;
};

void tree_init(struct tree *t);
void tree_done(struct tree *t);
void tree_add(struct tree *t, struct index_entry *entry);    /* its key must not be there */
void tree_remove(struct tree *t, struct index_entry *entry); /* it must be there */
/* Fills an empty tree from entries in ascending order. */
void tree_build(struct tree *t, struct index_entry *const *entries, size_t count);
/* Sets the cursor to the first key >= key. */
struct tree_cursor tree_seek(const struct tree *t, struct slice key);
struct index_entry *tree_next(struct tree_cursor *c); /* NULL at the end */
/* Sorts entries by key, as tree_build needs them. */
void tree_sort(struct index_entry **entries, size_t count);
/* Asserts every invariant; for tests. Returns the number of entries. */
size_t tree_check(const struct tree *t);
size_t tree_leaves(const struct tree *t); /* their number */

#endif
