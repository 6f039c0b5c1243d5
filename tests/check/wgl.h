/* SPDX-License-Identifier: Apache-2.0
 * Search for a linearization: an order of the operations that their times and a sequential model both
 * allow. It is the search of Wing and Gong with Lowe's memoization: a state reached twice with the same
 * set of operations done is not searched again. It needs no revisions, hence serves interfaces that have
 * none, and short histories as a second opinion. Exponential in the worst case, so every search has limits
 * and may give up.
 *
 * A model's state is one number; a model with larger states numbers them itself. */
#ifndef TESTS_CHECK_WGL_H
#define TESTS_CHECK_WGL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WGL_NEVER INT64_MAX

struct wgl_op {
    int64_t call, ret; /* ret WGL_NEVER: it takes effect at any time after the call, or never */
    const void *data;  /* the model's */
};

struct wgl_model {
    void *arg;
    uint64_t initial;
    /* True: the operation with its response is allowed in this state; sets the state after it. */
    bool (*step)(void *arg, uint64_t state, const struct wgl_op *op, uint64_t *ret_state);
    /* Operations on different parts do not affect each other and are searched apart. NULL: one part. */
    uint64_t (*part)(const struct wgl_op *op);
};

struct wgl_limits {
    uint64_t steps_max; /* 0 = a hundred million, together */
    size_t memory_max;  /* 0 = 512 MiB, for each part */
};

enum wgl_verdict { WGL_LINEARIZABLE, WGL_ILLEGAL, WGL_GAVE_UP };

struct wgl_result {
    enum wgl_verdict verdict;
    uint64_t steps;
    size_t memory; /* the most that one part took */
    size_t parts;
    const struct wgl_op *stuck; /* illegal: the longest orders found end before this operation */
};

struct wgl_result wgl_check(const struct wgl_model *m, const struct wgl_op *ops, size_t count,
                            struct wgl_limits limits);

#endif
