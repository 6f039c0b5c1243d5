/* SPDX-License-Identifier: Apache-2.0
 * Faults and their times: each kind of fault that the plan enables repeats at drawn times. */
#ifndef TESTS_SIM_CLUSTER_FAULTS_H
#define TESTS_SIM_CLUSTER_FAULTS_H

#include "tests/sim/cluster/cluster.h"

struct faults *faults_new(struct world *w);
void faults_start_later(struct faults *f, struct machine *m); /* its process has ended by itself */
/* A member is at this feature level now: when the cluster's rises, another may be replaced by an older build.
 */
void faults_see_level(struct faults *f, const struct machine *m, unsigned level);
void faults_free(struct faults *f);
void faults_start(struct faults *f);
/* No new faults. Present ones stay outside of the core, and end inside it. */
void faults_stop(struct faults *f, const bool *is_in_core);
uint64_t faults_count(const struct faults *f);

#endif
