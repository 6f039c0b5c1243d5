/* SPDX-License-Identifier: Apache-2.0
 * The job that deletes a namespace with all that it holds. The job is the stored deletion (document.h): every
 * member sees it, and the leader carries it out, batch by batch:
 *
 *   1. A page of keys of the first area (area.def) that has any. One transaction deletes the range from its
 *      first to its last key and adds their number to the deletion; it compares the deletion's revision.
 *   2. When no area has a key: one transaction compares that all areas are empty, deletes document, quotas and
 *      guard, and marks the deletion as done. If something was added meanwhile, back to 1.
 *
 * So a new leader goes on where the last one stopped, and each key is counted once: of two leaders only one
 * can use a revision of the deletion. Nothing is added to the namespace while its deletion runs
 * (namespace_view_admit); what a member with an older view lets in is found in step 2.
 *
 * Deletions that are done stay readable for a while. Loop thread only. */
#ifndef NAMESPACE_CASCADE_H
#define NAMESPACE_CASCADE_H

#include "namespace/namespace.h"

struct cascade;

/* Both must outlive it; the options are complete. */
struct cascade *cascade_new(const struct namespaces_options *options, const struct namespace_view *view);
void cascade_free(struct cascade *c); /* drops a request under way */
/* In each turn after the view's; wakes the loop by its own timer. */
void cascade_turn(struct cascade *c);

#endif
