/* SPDX-License-Identifier: Apache-2.0
 * The storm guard of a namespace: two storm counts (janitor_storm.h), the instances that it holds, and what a
 * leader hands over to the next one. Pure.
 *
 *   all          every instance in traffic whose session ended
 *   established  those of them whose session was at least established_ms old. Batch jobs that never
 * deregister are not among them, so that their deaths do not hide a network cut of everybody else. What
 *                usually dies young is no part of what established deaths are a share of.
 *
 * An instance is held while one of the storms that it belongs to is on and holds it. The history of a
 * namespace, `/cairn/registry/guards/<ns>`, is written by the leader while there is something to remember;
 * every member reads it. It says which revision is older than established_ms, too: a member that has just
 * started cannot know it by itself (revision_clock.h). */
#ifndef REGISTRY_JANITOR_GUARD_H
#define REGISTRY_JANITOR_GUARD_H

#include "base/buf.h"
#include "base/err.h"
#include "registry/janitor_storm.h"

enum storm_group { STORM_ALL, STORM_ESTABLISHED, STORM_GROUPS };

struct guard_history {
    struct storm_history groups[STORM_GROUPS];
    int64_t established_revision; /* sessions that were opened up to this revision are established */
};

/* The document of a history. ERR_MALFORMED, ERR_INVALID; unknown fields are skipped. */
MUST_CHECK int guard_history_read(struct slice text, struct guard_history *ret);
void guard_history_write(const struct guard_history *h, struct buf *out);

#endif
