/* SPDX-License-Identifier: Apache-2.0
 * Key ranges that one user may read, or write: a union of half-open ranges. Pure.
 *
 * A range is etcd's (key, range_end): no end = that key alone, "\0" = from the key on, else up to the end
 * without it. Ranges that touch are one, so a request over both is allowed, as in etcd. */
#ifndef CONSENSUS_AUTH_RANGES_H
#define CONSENSUS_AUTH_RANGES_H

#include "base/buf.h"
#include "base/mem.h"

struct auth_range {
    struct slice begin, end;
    bool is_open; /* has no end */
};

struct auth_ranges {
    struct auth_range *list; /* after merging: ascending, none touches the next */
    size_t count, capacity;
    struct arena arena; /* the ends of single keys; everything else is borrowed */
};

void auth_ranges_add(struct auth_ranges *r, struct slice key, struct slice range_end);
void auth_ranges_append(struct auth_ranges *r, const struct auth_ranges *more); /* borrows from it */
void auth_ranges_merge(struct auth_ranges *r); /* once, after the last one was added */
void auth_ranges_join(struct auth_ranges *r);  /* the same where they were added in order */
/* The range that holds the key, or NULL. */
const struct auth_range *auth_ranges_at(const struct auth_ranges *r, struct slice key);
bool auth_ranges_allow(const struct auth_ranges *r, struct slice key, struct slice range_end);
/* True when a key of [key, range_end) is in one of the ranges. range_end as above, but never empty. */
bool auth_ranges_overlap(const struct auth_ranges *r, struct slice key, struct slice range_end);
void auth_ranges_done(struct auth_ranges *r);

/* The steps of a merge: the order to sort by, then each range but the first joins list[0 ... kept]. Returns
 * the new kept. */
int auth_range_compare(const void *a, const void *b);
size_t auth_range_join(struct auth_range *list, size_t kept, const struct auth_range *next);

bool auth_is_open(struct slice range_end);
/* True when a permission for this range may be granted. */
bool auth_range_is_valid(struct slice key, struct slice range_end);

#endif
