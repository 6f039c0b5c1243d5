/* SPDX-License-Identifier: Apache-2.0
 * Stable merge sort, bottom-up, that can stop after any element: for sorting in slices. The caller owns the
 * array until the first merge_sort_step; the sort owns it until merge_sort_done. */
#ifndef BASE_MERGE_SORT_H
#define BASE_MERGE_SORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct merge_sort {
    uint8_t *items, *spare; /* allocated by mem_alloc */
    size_t size, count;     /* bytes of one item; number of items */
    int (*compare)(const void *a, const void *b, void *arg);
    void *arg;
    size_t width, left, middle, right, end, out; /* the current merge; width 0 = not begun */
};

/* Moves at most *units items and subtracts them from it; true when the items are sorted. */
bool merge_sort_step(struct merge_sort *m, int64_t *units);
void merge_sort_done(struct merge_sort *m);

#endif
