/* SPDX-License-Identifier: Apache-2.0
 * Patterns of names: `*` stands for any characters, also for none. Pure.
 *
 *   web          the name web
 *   web-*        names that begin with web-
 *   *-eu-*       names with -eu- in them
 *   a\*b, a\\*   `\*` and `\\` are the characters themselves; a backslash stands before nothing else
 *
 * A text without `*` is a name as it is, backslashes included. At most GLOB_STARS_MAX `*`. A match takes time
 * that is linear in the name for each part between two `*`. */
#ifndef BASE_GLOB_H
#define BASE_GLOB_H

#include "base/buf.h"
#include "base/err.h"

enum { GLOB_STARS_MAX = 8 };

struct glob {                               /* zeroed by the caller; glob_done frees it */
    struct slice parts[GLOB_STARS_MAX + 1]; /* the texts between the `*`, in memory */
    size_t count;                           /* 1 = one name alone */
    struct buf memory;
};

/* Reads a pattern of at most max bytes. ERR_INVALID with a sentence in error (at least 200 bytes) that begins
 * with `what`. */
MUST_CHECK int glob_read(struct glob *g, struct slice text, size_t max, const char *what, char *error,
                         size_t error_size);
/* The pattern of all names with this prefix ("" = all names). */
void glob_set_prefix(struct glob *g, struct slice prefix);
void glob_done(struct glob *g);
bool glob_matches(const struct glob *g, struct slice name);
/* The part before the first `*`: all matching names begin with it. Of one name: the name. */
struct slice glob_prefix(const struct glob *g);
/* True: it stands for this one name alone. */
static inline bool glob_is_name(const struct glob *g)
{
    return g->count == 1;
}

#endif
