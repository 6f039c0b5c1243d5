/* SPDX-License-Identifier: Apache-2.0
 * Marks in a ring; see revision_clock.h. */
#include "registry/revision_clock.h"

#define MARK_EVERY_MS 1000

void revision_clock_mark(struct revision_clock *c, uint64_t now_ms, int64_t revision)
{
    if (!c->count) {
        c->begin = revision;
    } else {
        size_t newest = (c->first + c->count - 1) % REVISION_CLOCK_MARKS;
        if (now_ms < c->marks[newest].at_ms + MARK_EVERY_MS)
            return;
    }
    if (c->count == REVISION_CLOCK_MARKS) {
        c->first = (c->first + 1) % REVISION_CLOCK_MARKS;
        c->count--;
    }
    size_t at = (c->first + c->count++) % REVISION_CLOCK_MARKS;
    c->marks[at].at_ms = now_ms;
    c->marks[at].revision = revision;
}

int64_t revision_clock_at(const struct revision_clock *c, uint64_t at_ms)
{
    for (size_t n = c->count; n-- > 0;) {
        size_t at = (c->first + n) % REVISION_CLOCK_MARKS;
        if (c->marks[at].at_ms <= at_ms)
            return c->marks[at].revision;
    }
    return 0;
}
