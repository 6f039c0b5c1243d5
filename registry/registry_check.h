/* SPDX-License-Identifier: Apache-2.0
 * Health checks that this member runs, and the writes of their results. registry.c calls it: on changes of
 * the catalog, and once a turn. Loop thread only. */
#ifndef REGISTRY_REGISTRY_CHECK_H
#define REGISTRY_REGISTRY_CHECK_H

#include "proto/txn.h"
#include "registry/check_prober.h"

struct checks;
struct registry;

/* After the catalog; options.prober NULL: this member runs none. */
struct checks *checks_new(struct registry *r);
/* After pending_ops_done, before the catalog is freed. */
void checks_free(struct checks *c);
void checks_changed(struct checks *c, const struct catalog_change *change);
void checks_turn(struct checks *c); /* with a complete view */
/* A report for the TTL check of this instance (check_plan_report). */
bool checks_report(struct checks *c, struct slice key, enum instance_state state);
/* The transaction's first put: the document with another result. A lease that a client attached to the key stays
 * attached. Returns the size of the document. */
size_t checks_put_result(struct txn *txn, struct slice at, const struct instance *before,
                         enum instance_state result, struct slice output);
void checks_metric_collect(const struct checks *c);

#endif
