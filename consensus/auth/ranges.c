/* SPDX-License-Identifier: Apache-2.0
 * Key ranges, merged once and then searched often; see ranges.h. */
#include "consensus/auth/ranges.h"

#include <stdlib.h>

#include "base/buf_release.h"

bool auth_is_open(struct slice range_end)
{
    return range_end.size == 1 && range_end.data[0] == 0;
}

bool auth_range_is_valid(struct slice key, struct slice range_end)
{
    return key.size && (!range_end.size || auth_is_open(range_end) || slice_compare(key, range_end) < 0);
}

void auth_ranges_add(struct auth_ranges *r, struct slice key, struct slice range_end)
{
    if (r->count == r->capacity) {
        r->capacity = r->capacity ? r->capacity * 2 : 8;
        r->list = mem_resize(r->list, r->capacity * sizeof *r->list);
    }
    struct auth_range *range = &r->list[r->count++];
    *range = (struct auth_range){.begin = key, .end = range_end, .is_open = auth_is_open(range_end)};
    if (range_end.size)
        return;
    /* The end of a single key is the smallest key after it: the key and a zero byte. */
    range->end = slice_of(arena_string(&r->arena, key.data, key.size), key.size + 1);
}

void auth_ranges_append(struct auth_ranges *r, const struct auth_ranges *more)
{
    size_t count = r->count + more->count;
    if (count > r->capacity) {
        r->capacity = count > 2 * r->capacity ? count : 2 * r->capacity;
        r->list = mem_resize(r->list, r->capacity * sizeof *r->list);
    }
    if (more->count)
        memcpy(r->list + r->count, more->list, more->count * sizeof *r->list);
    r->count = count;
}

int auth_range_compare(const void *a, const void *b)
{
    return slice_compare(((const struct auth_range *)a)->begin, ((const struct auth_range *)b)->begin);
}

static bool reaches(const struct auth_range *r, struct slice key)
{
    return r->is_open || slice_compare(key, r->end) <= 0;
}

size_t auth_range_join(struct auth_range *list, size_t kept, const struct auth_range *next)
{
    struct auth_range *last = &list[kept];
    if (!reaches(last, next->begin)) {
        list[++kept] = *next;
    } else if (next->is_open || (!last->is_open && slice_compare(next->end, last->end) > 0)) {
        last->end = next->end;
        last->is_open = next->is_open;
    }
    return kept;
}

void auth_ranges_join(struct auth_ranges *r)
{
    size_t kept = 0;
    for (size_t i = 1; i < r->count; i++)
        kept = auth_range_join(r->list, kept, &r->list[i]);
    r->count = r->count ? kept + 1 : 0;
}

void auth_ranges_merge(struct auth_ranges *r)
{
    if (r->count)
        qsort(r->list, r->count, sizeof *r->list, auth_range_compare);
    auth_ranges_join(r);
}

/* The number of ranges that begin at the key or before it. */
static size_t count_begun(const struct auth_ranges *r, struct slice key)
{
    size_t low = 0, high = r->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_compare(r->list[middle].begin, key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct auth_range *auth_ranges_at(const struct auth_ranges *r, struct slice key)
{
    size_t begun = count_begun(r, key);
    const struct auth_range *last = begun ? &r->list[begun - 1] : NULL;
    return last && (last->is_open || slice_compare(key, last->end) < 0) ? last : NULL;
}

bool auth_ranges_overlap(const struct auth_ranges *r, struct slice key, struct slice range_end)
{
    size_t begun = count_begun(r, key);
    if (auth_ranges_at(r, key))
        return true;
    return begun < r->count &&
           (auth_is_open(range_end) || slice_compare(r->list[begun].begin, range_end) < 0);
}

bool auth_ranges_allow(const struct auth_ranges *r, struct slice key, struct slice range_end)
{
    const struct auth_range *range = auth_ranges_at(r, key);
    if (!range || range->is_open)
        return range;
    return !range_end.size || (!auth_is_open(range_end) && slice_compare(range_end, range->end) <= 0);
}

void auth_ranges_done(struct auth_ranges *r)
{
    mem_release(r->list, r->capacity * sizeof *r->list);
    arena_release(&r->arena);
    *r = (struct auth_ranges){0};
}
