/* SPDX-License-Identifier: Apache-2.0
 * Snapshot of one service: the instances that match a query, all as of one revision, taken in slices. It
 * serves responses that are too long for one turn of the loop. Pure.
 *
 * Invariant: the part that was taken equals the catalog up to the last id that was visited. A change in the
 * meantime is applied to that part (service_snapshot_change). A complete snapshot has the catalog's
 * revision at that time, and does not change any more. */
#ifndef REGISTRY_SERVICE_SNAPSHOT_H
#define REGISTRY_SERVICE_SNAPSHOT_H

#include "registry/select.h"

struct service_snapshot;

/* The query and its texts must live as long as the snapshot. */
struct service_snapshot *service_snapshot_new(const struct select_query *query);
/* Releases at most `max` instances. True: all are released, and x is freed. */
bool service_snapshot_free_some(struct service_snapshot *x, size_t max);

/* Continues until is_over returns true, which is checked now and then. s: the service as it is now; NULL =
 * it does not exist. True: the snapshot is complete. */
bool service_snapshot_take(struct service_snapshot *x, const struct catalog_service *s,
                           bool (*is_over)(const void *arg), const void *arg);
/* The service has changed between two calls of take. */
void service_snapshot_change(struct service_snapshot *x, const struct catalog_change *change);
/* Of a complete snapshot: the choice, which lives as long as the snapshot. */
void service_snapshot_choose(struct service_snapshot *x, double protect_threshold,
                             struct select_result *ret_result);
size_t service_snapshot_bytes(const struct service_snapshot *x);

#endif
