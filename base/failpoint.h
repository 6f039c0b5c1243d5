/* SPDX-License-Identifier: Apache-2.0
 * Failpoints: named places where a test makes the process die, sleep or fail, in the way of Go's gofail and
 * with etcd's names (failpoint.def). They exist only in a build with -DFAILPOINTS (`make FAILPOINTS=1`). In
 * every other build FAILPOINT(...) is the constant false and leaves no code.
 *
 *     FAILPOINT(RAFT_BEFORE_SAVE);
 *     if (FAILPOINT(WAL_SYNC_ERROR))
 *         return ERR_IO;
 *
 * Any thread may execute one. A sleep blocks this thread; on the loop thread it blocks the whole member.
 * The listener that enables and disables failpoints (server/failpoint_http.c) has its own thread. */
#ifndef BASE_FAILPOINT_H
#define BASE_FAILPOINT_H

#include "base/buf.h"
#include "base/err.h"

enum failpoint {
#define FAILPOINT(name, text, where) FAILPOINT_##name,
#include "base/failpoint.def"
#undef FAILPOINT
    FAILPOINT_COUNT
};

#define FAILPOINT(name) failpoint_pass(FAILPOINT_##name)

#ifdef FAILPOINTS
bool failpoint_pass(enum failpoint which); /* true: its terms say "return" */

/* Enables failpoints from GOFAIL_FAILPOINTS: NAME=TERMS;NAME=TERMS. Unknown names are skipped, as in
 * gofail. ERR_MALFORMED. */
MUST_CHECK int failpoint_load(const char *text);
/* ERR_NOT_FOUND: unknown name; ERR_MALFORMED: the terms. */
MUST_CHECK int failpoint_enable(struct slice name, struct slice terms);
/* ERR_NOT_FOUND; ERR_INVALID: the failpoint is disabled. */
MUST_CHECK int failpoint_disable(struct slice name);
/* The terms that are set, and how often one of them acted. Errors as of failpoint_disable. */
MUST_CHECK int failpoint_status(struct slice name, struct buf *ret_terms, uint64_t *ret_count);
void failpoint_list(struct buf *out); /* NAME=TERMS lines, sorted */
/* Between the two calls no thread dies at a failpoint, so that the response to a request that enables a
 * panic is sent. */
void failpoint_hold_panics(void);
void failpoint_let_panics(void);
#else
static inline bool failpoint_pass(enum failpoint which)
{
    (void)which;
    return false;
}
#endif

#endif
