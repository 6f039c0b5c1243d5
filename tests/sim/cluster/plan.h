/* SPDX-License-Identifier: Apache-2.0
 * What one seed draws before anything starts: the cluster's shape, every member's options, which kinds of
 * faults are on and how often (swarm testing: most runs have few kinds, so that each gets its room). */
#ifndef TESTS_SIM_CLUSTER_PLAN_H
#define TESTS_SIM_CLUSTER_PLAN_H

#include "base/buf.h"

struct plan {
    uint64_t seed;
#define PLAN(name, how, what) uint64_t name;
#include "tests/sim/cluster/plan.def"
#undef PLAN
};

void plan_draw(struct plan *p, uint64_t seed);
/* False: there is no such line. */
bool plan_set(struct plan *p, const char *name, uint64_t value);
void plan_print(const struct plan *p, struct buf *out);
/* The same run without anything that goes wrong. */
void plan_calm(struct plan *p);

#endif
