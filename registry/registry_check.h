/* SPDX-License-Identifier: Apache-2.0
 * Health checks that this member runs, and the writes of their results. registry.c calls it: on changes of
 * the catalog, and once a turn. Loop thread only. */
#ifndef REGISTRY_REGISTRY_CHECK_H
#define REGISTRY_REGISTRY_CHECK_H

#include "registry/check_prober.h"

struct checks;
struct registry;

/* After the catalog; options.prober NULL: this member runs none. */
struct checks *checks_new(struct registry *r);
/* After pending_ops_done, before the catalog is freed. */
void checks_free(struct checks *c);
void checks_changed(struct checks *c, const struct catalog_change *change);
void checks_turn(struct checks *c); /* with a complete view */
void checks_metric_collect(const struct checks *c);

#endif
