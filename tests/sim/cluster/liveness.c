/* SPDX-License-Identifier: Apache-2.0
 * Liveness of a core; see run.h. The core is a drawn majority of the voters. Inside the core everything is
 * healed for ever. Outside everything stays as bad as it is, or gets worse: down, unable to receive, unable
 * to send, or cut off. The core must become available again whatever the other members do. */
#include "tests/sim/cluster/run.h"

#include <inttypes.h>

#include "consensus/kv/kv_impl.h"
#include "consensus/raft/core.h"
#include "tests/sim/cluster/faults.h"
#include "tests/sim/cluster/invariants.h"

enum { STEP_NS = 20000000, QUIET_MS = 20000 };

static uint64_t draw(struct world *w, uint64_t from, uint64_t to)
{
    return world_draw(&w->fault_random, from, to);
}

/* --- the core ------------------------------------------------------------------------------------------ */

/* Draws a majority of these; false: too many are lost for ever. */
static bool draw_majority(struct world *w, const struct raft_ids *voters, bool *is_in_core)
{
    unsigned need = voters->count / 2 + 1, have = 0, sound = 0;
    for (uint32_t i = 0; i < voters->count; i++) {
        const struct machine *m = cluster_machine_of(w, voters->id[i]);
        sound += m && !m->is_lost;
        have += m && is_in_core[m->slot];
    }
    if (sound < need)
        return false;
    unsigned want = (unsigned)draw(w, need, sound);
    while (have < want) {
        const struct machine *m = cluster_machine_of(w, voters->id[draw(w, 0, voters->count - 1)]);
        if (!m || m->is_lost || is_in_core[m->slot])
            continue;
        is_in_core[m->slot] = true;
        have++;
    }
    return true;
}

/* The other members keep for ever the faults that they had when the core was healed. */
static void doom(struct world *w, struct machine *m, const bool *is_in_core)
{
    uint64_t fate = draw(w, 0, 4);
    if (fate == 1 && m->process)
        cluster_kill(m, true);
    for (unsigned i = 0; i < w->machine_count; i++) {
        if (!is_in_core[i])
            continue;
        if (fate == 2 || fate == 4)
            network_cut(w->network, i, m->slot, true); /* it receives nothing */
        if (fate == 3 || fate == 4)
            network_cut(w->network, m->slot, i, true);
    }
    static const char *const fates[] = {"stays as it is", "goes down", "becomes deaf", "becomes dumb",
                                        "is cut off"};
    world_note(w, "%s is not in the core and %s", m->name, fates[fate]);
}

/* While members join and leave it is unknown which ones will be needed: the core holds all sound members. */
static bool takes_all(const struct world *w, const struct raft_conf_state *config)
{
    for (unsigned i = 0; i < w->machine_count; i++) {
        const struct machine *m = w->machines[i];
        if (!m->member_id || m->is_refused || m->was_wiped || m->is_lost || m->is_suspect)
            return true;
    }
    return config->learners.count || w->plan.member_ms || w->plan.wipe_ms || w->plan.flip_ms;
}

static bool choose_core(struct world *w, bool *is_in_core)
{
    struct raft_conf_state config;
    if (!invariants_config(w->invariants, &config) || !draw_majority(w, &config.voters, is_in_core) ||
        (config.voters_outgoing.count && !draw_majority(w, &config.voters_outgoing, is_in_core)))
        return false;
    bool is_all = takes_all(w, &config);
    for (unsigned i = 0; i < w->machine_count && is_all; i++)
        is_in_core[i] = true;
    w->is_untouched = true;
    for (unsigned i = 0; i < w->machine_count; i++) {
        if (is_in_core[i])
            continue;
        w->is_untouched = false;
        doom(w, w->machines[i], is_in_core);
    }
    return true;
}

static void note_core(struct world *w, const bool *is_in_core)
{
    for (unsigned i = 0; i < w->machine_count; i++)
        if (is_in_core[i])
            world_note(w, "%s is in the core", w->machines[i]->name);
}

/* --- availability ------------------------------------------------------------------------------------- */

/* A leader outside of the core stays if all members receive its messages and it receives a majority's. It
 * stays also if some of the core cannot reach it, or if its disk is slow: raft has no rule against that. Then
 * a write and a read must succeed on some member; otherwise everything must succeed on every member. */
static bool is_led_from_outside(struct world *w, const bool *is_in_core)
{
    const struct machine *leader = cluster_leader(w);
    return leader && !is_in_core[leader->slot];
}

static bool has_read_anywhere(const struct workload_progress *progress)
{
    for (unsigned i = 0; i < MACHINES_MAX; i++)
        if (progress->has_read[i])
            return true;
    return false;
}

/* A member that joins by itself queries the members on its command line. When all of them have left the
 * cluster, it cannot join. */
static bool knows_a_member(const struct world *w, const struct machine *m)
{
    if (m->member_id)
        return true;
    for (unsigned i = 0; i < m->flag_count; i++)
        if (m->flags[i] != m->slot && w->machines[m->flags[i]]->is_member)
            return true;
    return false;
}

static const char *missing(struct world *w, const bool *is_in_core)
{
    struct workload_progress progress = workload_progress(w->workload);
    bool is_led = is_led_from_outside(w, is_in_core);
    if (!cluster_leader(w))
        return "a leader";
    if (!has_read_anywhere(&progress))
        return "a linearizable read";
    for (unsigned i = 0; i < w->machine_count; i++) {
        const struct process *p = w->machines[i]->process;
        if (!is_in_core[i] || !w->machines[i]->is_member)
            continue;
        if (!process_is_up(p) && !knows_a_member(w, w->machines[i]))
            continue;
        if (!process_is_up(p))
            return "a process of the core";
        if (is_led || kv_is_learner(p->kv))
            continue;
        if (!kv_leader(p->kv))
            return "a leader that all of the core know";
        if (!progress.has_read[i])
            return "a linearizable read at each member of the core";
    }
    if (w->plan.quota_kb) /* a full store takes no writes */
        return NULL;
    if (!progress.has_written)
        return "a write";
    if (!is_led && !progress.lease_has_expired)
        return "the end of a lease";
    return NULL;
}

/* Paused processes of the core continue by themselves; the time counts from then on. */
static void wait_for_pauses(struct world *w, const bool *is_in_core)
{
    for (;;) {
        uint64_t until = 0;
        for (unsigned i = 0; i < w->machine_count; i++) {
            const struct process *p = w->machines[i]->process;
            uint64_t paused = is_in_core[i] && p ? process_paused_until(p) : 0;
            until = paused > until ? paused : until;
        }
        if (!until || w->is_violated)
            return;
        world_run_until(w, until + 1);
    }
}

static bool is_level(struct world *w, const bool *is_in_core)
{
    uint64_t applied = 0;
    for (unsigned i = 0; i < w->machine_count; i++) {
        const struct process *p = w->machines[i]->process;
        if (!is_in_core[i] || !w->machines[i]->is_member)
            continue;
        if (!process_is_up(p) && !knows_a_member(w, w->machines[i]))
            continue;
        if (!process_is_up(p))
            return false;
        uint64_t index = store_applied_index(p->kv->store);
        if ((applied && index != applied) || index != invariants_committed(w->invariants))
            return false;
        applied = index;
    }
    return applied != 0;
}

static void wait_until_useful(struct world *w, const bool *is_in_core)
{
    uint64_t until = w->clock.now_ns + w->plan.liveness_ms * 1000000;
    const char *what;
    while ((what = missing(w, is_in_core)) && w->clock.now_ns < until && !w->is_violated)
        world_run_until(w, w->clock.now_ns + STEP_NS);
    if (what && !w->is_violated)
        world_violated(w, "liveness", "a healed core has not shown %s within %" PRIu64 " ms", what,
                       w->plan.liveness_ms);
}

/* Clients stop; everything must become equal: members to each other, watchers to members. */
static void settle(struct world *w, const bool *is_in_core)
{
    uint64_t until = w->clock.now_ns + QUIET_MS * 1000000ULL;
    bool is_drained = false, is_equal = false, has_watched = false;
    while (w->clock.now_ns < until && !w->is_violated) {
        is_drained = workload_drain(w->workload);
        is_equal = is_level(w, is_in_core);
        has_watched = workload_progress(w->workload).watchers_are_level;
        if (is_led_from_outside(w, is_in_core))
            is_equal = has_watched = true;
        if (is_drained && is_equal && has_watched)
            break;
        world_run_until(w, w->clock.now_ns + STEP_NS);
    }
    if (w->is_violated)
        return;
    if (!is_equal)
        world_violated(w, "liveness", "the members of the core do not become equal");
    else if (!has_watched)
        world_violated(w, "liveness", "watchers at the core do not receive everything");
    else if (is_level(w, is_in_core))
        invariants_compare(w, is_in_core);
}

void liveness_run(struct world *w)
{
    bool is_in_core[MACHINES_MAX] = {0};
    bool has_core = choose_core(w, is_in_core);
    if (!has_core) {
        world_note(w, "no core: too many members are lost for ever");
        faults_stop(w->faults, is_in_core);
        workload_stop(w->workload, 0);
        return;
    }
    note_core(w, is_in_core);
    faults_stop(w->faults, is_in_core);
    workload_keep_to(w->workload, is_in_core);
    wait_for_pauses(w, is_in_core);
    wait_until_useful(w, is_in_core);
    if (!w->is_violated)
        settle(w, is_in_core);
    bool is_complete = !w->is_violated && workload_progress(w->workload).watchers_are_level;
    workload_stop(w->workload, is_complete ? workload_revision(w->workload) : 0);
}
