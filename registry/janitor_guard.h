/* SPDX-License-Identifier: Apache-2.0
 * The storm guard of a namespace: two storm counts (janitor_storm.h), the instances that it holds, and the
 * history that a leader hands over to the next one. Pure.
 *
 *   all          every instance in traffic whose session ended
 *   established  those whose session was at least established_ms old. Batch jobs that never deregister are
 *                not among them, so their deaths do not hide a network cut of everything else. The share of
 *                established deaths is computed without the usual deaths of younger sessions.
 *
 * The guard holds an instance while a storm to which it belongs is on and holds it. The leader writes the
 * history of a namespace, `/cairn/registry/guards/<ns>`, while there is something to remember; every member
 * reads it. It also names the revision that is older than established_ms, which a member that has just
 * started cannot know (revision_clock.h). */
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
