/* SPDX-License-Identifier: Apache-2.0
 * The storm guard of a namespace: two storm counts (janitor_storm.h), the instances that it holds, and the
 * history that a leader hands over to the next one. Pure.
 *
 *   all          every instance in traffic whose session ended
 *   established  those whose session was at least established_ms (60 s) old. Batch jobs that never deregister
 *                are not among them, so their deaths do not hide a network cut of everything else. The share
 *                of established deaths is computed without the usual deaths of younger sessions.
 *
 * The guard holds an instance while a storm to which it belongs is on and holds it: the instance was
 * registered before the guard set off, and is of the group that set it off.
 *
 * Readers see a held instance with `"guarded": true` in responses and stream frames, `guarded=true` in DNS
 * TXT and the label __meta_cairn_guarded="true" in http_sd. The beginning and the end of the hold are changes
 * of the instance. `guarded=false` in a query, or `no_guarded` in the SDK, leaves held instances out; DNS has
 * no such filter.
 *
 * History, `/cairn/registry/guards/<ns>`: the knowledge that a leader hands over to the next one. It has the
 * usual deaths, the raises, and the revision up to which sessions are established (a member that has just
 * started cannot know it: revision_clock.h). Members need no common clock for it.
 *   - Every member reads it. The leader writes it when a value has moved by a quarter, at most every 5 s, and
 *     once a minute while there is churn. It deletes it when fewer than 10 deaths are usual.
 *   - A leader that finds no history expects no churn; the sessions that its view began with count as
 *     established.
 *   - A new leader that finds held instances holds them for its own five minutes at most.
 *
 * Limits:
 *   - Services that were all registered within the last minute, in a namespace with churn of the same TTLs,
 *     are protected by the group `all` alone.
 *   - In the first window of churn that was never seen before, the guard sets off once. It ends when the
 *     second window proves it to be churn.
 *
 * registry_churn_test measures the guard in virtual time: 430 services and 60 jobs a second with TTLs of 3 to
 * 15 s, for ten minutes. One guard sets off, in the first 20 s; after the first minute no dead instance stays
 * in traffic. In 30 cases of cuts, pauses, leader changes and restarts, with churn and without, no living
 * instance leaves traffic. */
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
