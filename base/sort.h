/* SPDX-License-Identifier: Apache-2.0
 * Sorting in pieces: a bottom-up merge sort of places in an array, stable, that stops after any number of
 * comparisons and goes on later. It does not move the array's elements: `order` says where each belongs. */
#ifndef BASE_SORT_H
#define BASE_SORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sort {
    uint32_t *order; /* once it is done: order[k] is the place of what belongs at k */
    size_t count;
    /* Its own: runs of `width` places are in order; of the two runs that begin at `from` the places before
     * left and right were merged into scratch, up to `out`. */
    uint32_t *scratch;
    size_t width, from, left, right, out;
    bool (*comes_after)(const void *arg, size_t a, size_t b);
    const void *arg;
};

/* comes_after: whether the element at place a belongs behind the one at b; the elements stay as they are
 * until the sort is done. */
void sort_init(struct sort *s, size_t count, bool (*comes_after)(const void *arg, size_t a, size_t b),
               const void *arg);
void sort_done(struct sort *s); /* zeroed is fine */
/* At most so many comparisons; true: it is done. */
bool sort_step(struct sort *s, size_t comparisons);

#endif
