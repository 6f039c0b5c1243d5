/* SPDX-License-Identifier: Apache-2.0
 * One seed; see run.h. */
#include "tests/sim/cluster/run.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "tests/sim/cluster/faults.h"
#include "tests/sim/cluster/impostor.h"
#include "tests/sim/cluster/inspector.h"
#include "tests/sim/cluster/invariants.h"
#include "tests/sim/cluster/orchestrator.h"

enum { ACKNOWLEDGED_MIN = 30 }; /* less proves nothing */

static void add_members(struct world *w)
{
    for (unsigned i = 0; i < w->plan.members; i++)
        cluster_add_machine(w);
    for (unsigned i = 0; i < w->plan.members; i++) {
        struct machine *m = w->machines[i];
        m->is_member = true;
        for (unsigned k = 0; k < w->plan.members; k++)
            m->flags[m->flag_count++] = k;
    }
}

static void judge(struct world *w, struct run_result *r)
{
    r->load = workload_counts(w->workload);
    r->network = network_counts(w->network);
    r->faults = faults_count(w->faults);
    r->leaders = invariants_leader_count(w->invariants);
    r->commits = invariants_committed(w->invariants);
    if (!w->is_violated)
        workload_judge(w);
}

void run_seed(const struct plan *plan, const struct world_options *options, struct run_result *ret_result)
{
    struct world *w = mem_new(sizeof *w);
    struct run_result r = {0};
    w->plan = *plan;
    w->options = *options;
    w->network_random = plan->seed * 7 + 1;
    w->fault_random = plan->seed * 11 + 2;
    w->load_random = plan->seed * 13 + 3;
    w->disk_random = plan->seed * 17 + 4;
    hash_seed(plan->seed);
    cluster_init(w);
    w->network = network_new(w);
    w->invariants = invariants_new(w);
    w->workload = workload_new(w);
    w->faults = faults_new(w);
    w->orchestrator = orchestrator_new(w);
    add_members(w);
    workload_start(w->workload);
    faults_start(w->faults);
    struct inspector *inspector = inspector_new(w);
    inspector_start(inspector);
    struct impostor *impostor = impostor_new(w);
    impostor_start(impostor);
    world_run_until(w, plan->safety_ms * 1000000);
    if (!w->is_violated)
        liveness_run(w);
    workload_stop(w->workload, 0);
    inspector_stop(inspector);
    judge(w, &r);
    r.virtual_ms = world_now_ms(w);
    faults_free(w->faults); /* first, otherwise a supervisor would restart processes that end */
    cluster_done(w);
    inspector_free(inspector);
    orchestrator_free(w->orchestrator);
    network_free(w->network);
    impostor_free(impostor);
    workload_free(w->workload);
    invariants_free(w->invariants);
    sim_clock_done(&w->clock);
    r.hash = w->hash;
    r.events = w->events;
    r.verdict = w->is_violated                           ? RUN_VIOLATED
                : r.load.acknowledged < ACKNOWLEDGED_MIN ? RUN_VOID
                                                         : RUN_PASSED;
    memcpy(r.rule, w->rule, sizeof r.rule);
    r.text = buf_move(&w->violation);
    mem_free(w);
    *ret_result = r;
}
