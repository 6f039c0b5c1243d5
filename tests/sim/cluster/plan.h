/* SPDX-License-Identifier: Apache-2.0
 * The plan of one seed, drawn before anything starts: the cluster's shape, every member's options, the kinds
 * of faults that are on, and their frequencies. This is swarm testing: most runs have few kinds of faults,
 * so that each kind has room. */
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
/* The same run without any fault. */
void plan_calm(struct plan *p);

#endif
