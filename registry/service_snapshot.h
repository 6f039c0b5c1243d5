/* SPDX-License-Identifier: Apache-2.0
 * A snapshot of one service: the instances that fit a query, all as of one revision, taken in slices. For
 * answers that are too long for one turn of the loop.
 *
 * Invariant: what was taken so far is what the catalog holds now up to the last id that was looked at. A
 * change that comes meanwhile is applied to what was taken (service_snapshot_change), so that the snapshot
 * is of the revision that the catalog has when it is complete, and does not change any more after that. Pure.
 */
#ifndef REGISTRY_SERVICE_SNAPSHOT_H
#define REGISTRY_SERVICE_SNAPSHOT_H

#include "registry/select.h"

struct service_snapshot;

/* The query and its texts must live as long as the snapshot. */
struct service_snapshot *service_snapshot_new(const struct select_query *query);
/* Lets go of so many instances at most. True: all are, and x is freed. */
bool service_snapshot_free_some(struct service_snapshot *x, size_t max);

/* Goes on where it ended, until is_over says so, which is asked once in a while; s: the service as it is now,
 * NULL = it is not there. True: it is complete. */
bool service_snapshot_take(struct service_snapshot *x, const struct catalog_service *s,
                           bool (*is_over)(const void *arg), const void *arg);
/* The service has changed between two calls of take. */
void service_snapshot_change(struct service_snapshot *x, const struct catalog_change *change);
/* Of a complete one: the choice, which lives as long as the snapshot. */
void service_snapshot_choose(struct service_snapshot *x, double protect_threshold,
                             struct select_result *ret_result);
size_t service_snapshot_bytes(const struct service_snapshot *x);

#endif
