/* SPDX-License-Identifier: Apache-2.0
 * One seed from beginning to end: safety with faults, then liveness of a healed core, then the checkers. */
#ifndef TESTS_SIM_CLUSTER_RUN_H
#define TESTS_SIM_CLUSTER_RUN_H

#include "tests/sim/cluster/network.h"
#include "tests/sim/cluster/workload.h"
#include "tests/sim/cluster/world.h"

enum run_verdict { RUN_PASSED, RUN_VIOLATED, RUN_VOID }; /* the program's exit codes */

struct run_result {
    enum run_verdict verdict;
    char rule[48];
    struct buf text; /* what was violated */
    uint64_t hash, events, virtual_ms, faults, leaders, commits;
    struct workload_counts load;
    struct network_counts network;
};

void run_seed(const struct plan *plan, const struct world_options *options, struct run_result *ret_result);

extern int64_t hooks_live_blocks; /* hooks.c: memory that our own code has allocated and not freed */

/* liveness.c: draws a core, heals it for ever, waits until it is available. */
void liveness_run(struct world *w);

#endif
