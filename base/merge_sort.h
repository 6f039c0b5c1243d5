/* SPDX-License-Identifier: Apache-2.0
 * A merge sort from the bottom up that can stop after any element: stable, for sorting in slices. The array
 * belongs to the caller until merge_sort_step, then to the sort until merge_sort_done. */
#ifndef BASE_MERGE_SORT_H
#define BASE_MERGE_SORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct merge_sort {
    uint8_t *items, *spare; /* of mem_alloc */
    size_t size, count;     /* of one item; of items */
    int (*compare)(const void *a, const void *b, void *arg);
    void *arg;
    size_t width, left, middle, right, end, out; /* the merge under way; width 0 = not begun */
};

/* Moves at most *units items and takes them from it; true when the items are in order. */
bool merge_sort_step(struct merge_sort *m, int64_t *units);
void merge_sort_done(struct merge_sort *m);

#endif
