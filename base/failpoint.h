/* SPDX-License-Identifier: Apache-2.0
 * Failpoints: named places where a test makes the process die, sleep or fail, in the way of Go's gofail and
 * with etcd's names (failpoint.def). They exist only in a build with -DFAILPOINTS (`make FAILPOINTS=1`); in
 * every other build FAILPOINT(...) is the constant false and leaves no code.
 *
 *     FAILPOINT(RAFT_BEFORE_SAVE);
 *     if (FAILPOINT(WAL_SYNC_ERROR))
 *         return ERR_IO;
 *
 * Any thread may pass one. A sleep holds up the thread that passes, on the loop thread the whole member; the
 * listener that turns them on and off (server/failpoint_http.c) has a thread of its own. */
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

/* From GOFAIL_FAILPOINTS: NAME=TERMS;NAME=TERMS. Names that are not ours are passed over, as in gofail.
 * ERR_MALFORMED. */
MUST_CHECK int failpoint_load(const char *text);
/* ERR_NOT_FOUND: no such name; ERR_MALFORMED: the terms. */
MUST_CHECK int failpoint_enable(struct slice name, struct slice terms);
/* ERR_NOT_FOUND; ERR_INVALID: it is off. */
MUST_CHECK int failpoint_disable(struct slice name);
/* What is set, and how often a term of it acted. Errors as of failpoint_disable. */
MUST_CHECK int failpoint_status(struct slice name, struct buf *ret_terms, uint64_t *ret_count);
void failpoint_list(struct buf *out); /* NAME=TERMS lines, sorted */
/* Between the two nobody dies at a failpoint: so the answer to the request that made one deadly gets out. */
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
