/* SPDX-License-Identifier: Apache-2.0
 * Revision clock: the revision that a member's view had a minute ago. Keys that were created at or before
 * it are older than a minute, without a time in any document. One mark a second, 66 of them. Pure. */
#ifndef REGISTRY_REVISION_CLOCK_H
#define REGISTRY_REVISION_CLOCK_H

#include <stddef.h>
#include <stdint.h>

enum { REVISION_CLOCK_MARKS = 66 };

/* Valid when zeroed. */
struct revision_clock {
    struct {
        uint64_t at_ms;
        int64_t revision;
    } marks[REVISION_CLOCK_MARKS]; /* a ring, oldest at first */
    size_t first, count;
    int64_t begin; /* revision of the first mark ever */
};

void revision_clock_mark(struct revision_clock *c, uint64_t now_ms, int64_t revision);
/* The revision of the view at this time, or up to a second before; 0 = not known. */
int64_t revision_clock_at(const struct revision_clock *c, uint64_t at_ms);

#endif
