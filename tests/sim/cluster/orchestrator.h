/* SPDX-License-Identifier: Apache-2.0
 * The orchestrator of a cluster. It adds and removes members, moves the leader, replaces lost disks, and
 * keeps the processes in step with the member list. A real orchestrator does this by `member list`. Like a
 * real one, it reads only the answer of a member that is far ahead. */
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
/* Loses a disk, or a bit of one, when the other members can tolerate it: a majority of the voters stays
 * sound. */
bool orchestrator_may_lose(struct orchestrator *o, const struct machine *m); /* tolerable now */
bool orchestrator_wipe(struct orchestrator *o);
bool orchestrator_flip(struct orchestrator *o);
/* Promotes a learner that was added by hand, if there is one; nothing else promotes it. */
void orchestrator_promote(struct orchestrator *o);
/* Runs repeatedly: adapts the running processes to the member list. */
void orchestrator_reconcile(struct orchestrator *o);

#endif
