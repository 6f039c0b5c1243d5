/* SPDX-License-Identifier: Apache-2.0
 * Who runs the cluster: adds and removes members, moves the leader, replaces what was lost, and keeps the
 * processes in step with the member list (what an orchestrator does by `member list`). Like one, it looks
 * only at what a member that is far ahead says. */
#ifndef TESTS_SIM_CLUSTER_ORCHESTRATOR_H
#define TESTS_SIM_CLUSTER_ORCHESTRATOR_H

#include "tests/sim/cluster/cluster.h"

struct orchestrator;

struct orchestrator *orchestrator_new(struct world *w);
void orchestrator_free(struct orchestrator *o);
bool orchestrator_is_busy(const struct orchestrator *o); /* an order is under way */

/* Each starts one order, or returns false: not now. */
bool orchestrator_change_members(struct orchestrator *o);
bool orchestrator_move_leader(struct orchestrator *o);
/* Loses a disk, or a bit of one, when the rest can bear it: a majority of the voters must stay sound. */
bool orchestrator_may_lose(struct orchestrator *o, const struct machine *m); /* the rest can bear it */
bool orchestrator_wipe(struct orchestrator *o);
bool orchestrator_flip(struct orchestrator *o);
/* Again and again: what the list says and what runs are brought together. */
void orchestrator_reconcile(struct orchestrator *o);

#endif
