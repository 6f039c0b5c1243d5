/* SPDX-License-Identifier: Apache-2.0
 * Faults; see faults.h. The table has one row per kind: how often it happens, and what it does. Each kind
 * has one event on the clock. A repair that a fault must do later is an event of its own (struct repair). */
#include "tests/sim/cluster/faults.h"

#include <inttypes.h>
#include <stdio.h>

#include "tests/sim/cluster/invariants.h"
#include "tests/sim/cluster/network.h"
#include "tests/sim/cluster/orchestrator.h"

struct faults;

struct kind {
    struct sim_event event;
    struct faults *faults;
    const char *name;
    uint64_t mean_ms;
    bool (*strike)(struct faults *f); /* false: not now */
};

struct repair {
    struct sim_event event;
    struct link link;
    struct faults *faults;
    void (*fn)(struct faults *f, struct repair *r);
    unsigned slot;
    uint8_t cut[MACHINES_MAX][MACHINES_MAX]; /* links that this fault has cut */
};

enum { KINDS_MAX = 16 };

struct faults {
    struct world *world;
    struct kind kinds[KINDS_MAX];
    unsigned kind_count;
    struct link repairs;
    uint64_t count;
    unsigned level; /* the highest level that any member has had */
    bool is_stopped;
    bool is_in_core[MACHINES_MAX], is_doomed[MACHINES_MAX];
};

static uint64_t draw(struct faults *f, uint64_t from, uint64_t to)
{
    return world_draw(&f->world->fault_random, from, to);
}

static bool chance(struct faults *f, uint64_t percent)
{
    return draw(f, 0, 99) < percent;
}

/* --- things to undo ------------------------------------------------------------------------------------ */

static void on_repair(struct sim_event *event)
{
    struct repair *r = container_of(event, struct repair, event);
    list_remove(&r->link);
    r->fn(r->faults, r);
    mem_free(r);
}

static struct repair *repair_later(struct faults *f, void (*fn)(struct faults *f, struct repair *r),
                                   unsigned slot, uint64_t after_ms)
{
    struct repair *r = mem_new(sizeof *r);
    r->event.fire = on_repair;
    r->faults = f;
    r->fn = fn;
    r->slot = slot;
    list_add_last(&f->repairs, &r->link);
    sim_clock_add(&f->world->clock, &r->event, after_ms * 1000000 + draw(f, 0, 999999));
    return r;
}

/* A member drawn among those whose process is up or down; NULL = none. */
static struct machine *draw_machine(struct faults *f, bool is_up)
{
    struct world *w = f->world;
    struct machine *list[MACHINES_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < w->machine_count; i++) {
        struct machine *m = w->machines[i];
        if (m->is_member && process_is_up(m->process) == is_up)
            list[count++] = m;
    }
    return count ? list[draw(f, 0, count - 1)] : NULL;
}

/* Leaders are where mistakes become visible. */
static struct machine *draw_victim(struct faults *f)
{
    struct machine *leader = cluster_leader(f->world);
    return leader && process_is_up(leader->process) && chance(f, 40) ? leader : draw_machine(f, true);
}

/* --- processes ----------------------------------------------------------------------------------------- */

static void start_again(struct faults *f, struct repair *r);

static void start(struct faults *f, struct machine *m)
{
    if (m->process || !m->is_member || m->is_lost)
        return;
    if (cluster_is_closing(m)) {
        repair_later(f, start_again, m->slot, 20);
        return;
    }
    if (m->is_refused) { /* the operator has repaired the disk */
        sim_disk_fail(m->disk, 0, 0, 0, false);
        sim_disk_set_space(m->disk, 0);
    }
    cluster_start(m);
}

static void start_again(struct faults *f, struct repair *r)
{
    start(f, f->world->machines[r->slot]);
}

void faults_start_later(struct faults *f, struct machine *m)
{
    repair_later(f, start_again, m->slot, 20);
}

static void go_down(struct faults *f, struct machine *m, bool is_power_cut)
{
    if (!is_power_cut && chance(f, f->world->plan.stop_percent)) {
        cluster_terminate(m);
    } else {
        cluster_kill(m, is_power_cut);
    }
    repair_later(f, start_again, m->slot, draw(f, 1, f->world->plan.down_ms));
}

/* Its store does not hold the raise. The older build starts, and reads the raise in the log, or in a snapshot
 * when the others have compacted their logs meanwhile. */
void faults_see_level(struct faults *f, const struct machine *m, unsigned level)
{
    bool has_risen = f->level && level > f->level;
    if (level > f->level)
        f->level = level;
    if (!has_risen || f->is_stopped || !f->world->plan.returns)
        return;
    struct machine *victim = draw_machine(f, true);
    if (!victim || victim == m || kv_feature_level(victim->process->kv) == level)
        return;
    world_note(f->world, "%s is replaced by an older build", victim->name);
    victim->is_next_older = true;
    cluster_kill(victim, false);
    repair_later(f, start_again, victim->slot, draw(f, 1, chance(f, 50) ? 100 : f->world->plan.down_ms));
    f->count++;
}

static bool strike_crash(struct faults *f)
{
    struct world *w = f->world;
    bool is_power_cut = chance(f, w->plan.power_percent);
    if (chance(f, w->plan.crash_all_percent)) {
        for (unsigned i = 0; i < w->machine_count; i++)
            if (w->machines[i]->is_member && w->machines[i]->process)
                go_down(f, w->machines[i], is_power_cut);
        return true;
    }
    struct machine *m = draw_victim(f);
    if (!m)
        return false;
    go_down(f, m, is_power_cut);
    return true;
}

/* A process that ended by itself: a supervisor starts it again. */
static bool strike_supervisor(struct faults *f)
{
    struct world *w = f->world;
    orchestrator_reconcile(w->orchestrator);
    if (f->is_stopped)
        orchestrator_promote(w->orchestrator);
    for (unsigned i = 0; i < w->machine_count; i++) {
        struct machine *m = w->machines[i];
        bool is_awaited = false;
        if (!m->is_member || m->process || m->is_lost || (f->is_stopped && f->is_doomed[i]))
            continue;
        LIST_FOR_EACH (l, &f->repairs) {
            const struct repair *r = container_of(l, struct repair, link);
            is_awaited = is_awaited || (r->fn == start_again && r->slot == i);
        }
        if (!is_awaited)
            start(f, m);
    }
    return false;
}

static bool strike_pause(struct faults *f)
{
    struct machine *m = draw_victim(f);
    if (!m || process_paused_until(m->process))
        return false;
    uint64_t ms = draw(f, 1, f->world->plan.paused_ms);
    world_note(f->world, "%s stands still for %" PRIu64 " ms", m->name, ms);
    sim_io_pause(m->process->io, f->world->clock.now_ns + ms * 1000000);
    return true;
}

/* --- network ------------------------------------------------------------------------------------------- */

static void heal(struct faults *f, struct repair *r)
{
    for (unsigned i = 0; i < MACHINES_MAX; i++)
        for (unsigned k = 0; k < MACHINES_MAX; k++)
            if (r->cut[i][k])
                network_cut(f->world->network, i, k, false);
    world_note(f->world, "a cut is healed");
}

static void cut(struct faults *f, struct repair *r, unsigned from, unsigned to)
{
    if (from == to || r->cut[from][to])
        return;
    r->cut[from][to] = 1;
    network_cut(f->world->network, from, to, true);
}

static void cut_groups(struct faults *f, struct repair *r, unsigned count, bool both_ways)
{
    uint64_t side = draw(f, 1, (1ULL << count) - 2);
    for (unsigned i = 0; i < count; i++)
        for (unsigned k = 0; k < count; k++)
            if ((side >> i & 1) && !(side >> k & 1)) {
                cut(f, r, i, k);
                if (both_ways)
                    cut(f, r, k, i);
            }
}

/* Everyone reaches only the neighbours. */
static void cut_ring(struct faults *f, struct repair *r, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        for (unsigned k = 0; k < count; k++)
            if (k != (i + 1) % count && i != (k + 1) % count)
                cut(f, r, i, k);
}

/* All but the leader reach each other; or the leader is received and receives nothing. */
static void cut_leader(struct faults *f, struct repair *r, unsigned count)
{
    const struct machine *leader = cluster_leader(f->world);
    unsigned slot = leader ? leader->slot : (unsigned)draw(f, 0, count - 1);
    uint64_t ways = draw(f, 1, 3);
    for (unsigned i = 0; i < count; i++) {
        if (ways & 1)
            cut(f, r, slot, i);
        if (ways & 2)
            cut(f, r, i, slot);
    }
}

/* FoundationDB's swizzle: links stop one after the other and continue in another order. */
static void clog_links(struct faults *f, unsigned count)
{
    uint64_t now = f->world->clock.now_ns;
    unsigned slot = (unsigned)draw(f, 0, count - 1);
    for (unsigned i = 0; i < count; i++) {
        network_clog(f->world->network, slot, i, now + draw(f, 0, f->world->plan.cut_ms) * 1000000);
        network_clog(f->world->network, i, slot, now + draw(f, 0, f->world->plan.cut_ms) * 1000000);
    }
    world_note(f->world, "m%u is clogged", slot);
}

static bool strike_partition(struct faults *f)
{
    unsigned count = f->world->machine_count;
    uint64_t kind = draw(f, 0, 5);
    if (count < 2)
        return false;
    if (kind == 5) {
        clog_links(f, count);
        return true;
    }
    struct repair *r = repair_later(f, heal, 0, draw(f, 1, f->world->plan.cut_ms));
    if (kind == 0)
        cut_groups(f, r, count, true);
    else if (kind == 1)
        cut_groups(f, r, count, false);
    else if (kind == 2)
        cut_ring(f, r, count);
    else if (kind == 3)
        cut_leader(f, r, count);
    else {
        unsigned to = (unsigned)draw(f, 0, count - 1), from = (unsigned)draw(f, 0, count - 1);
        cut(f, r, from, to);
    }
    if (f->world->options.is_verbose)
        for (unsigned i = 0; i < count; i++)
            for (unsigned k = 0; k < count; k++)
                if (r->cut[i][k])
                    world_print(f->world, "cut: m%u -> m%u", i, k);
    return true;
}

static bool strike_reset(struct faults *f)
{
    network_reset_stream(f->world->network);
    return true;
}

/* --- disks and clocks ---------------------------------------------------------------------------------- */

static void set_disk_speed(struct machine *m, uint64_t max_us)
{
    m->job_max_us = max_us;
    if (m->process)
        sim_io_set_job_time(m->process->io, 1000, max_us * 1000 + 1001);
}

static void quick_disk(struct faults *f, struct repair *r)
{
    set_disk_speed(f->world->machines[r->slot], f->world->plan.job_us);
}

static bool strike_slow_disk(struct faults *f)
{
    struct machine *m = draw_victim(f);
    if (!m)
        return false;
    uint64_t max_us = draw(f, 20000, 3000000);
    world_note(f->world, "%s's disk takes up to %" PRIu64 " ms", m->name, max_us / 1000);
    set_disk_speed(m, max_us);
    repair_later(f, quick_disk, m->slot, draw(f, 500, 6000));
    return true;
}

static bool strike_disk_error(struct faults *f)
{
    static const unsigned kinds[] = {
        SIM_OP_SYNC,     SIM_OP_SYNC,   SIM_OP_WRITE, SIM_OP_CREATE, SIM_OP_RENAME | SIM_OP_UNLINK,
        SIM_OP_SYNC_DIR, SIM_OP_CHANGES};
    struct machine *m = draw_machine(f, chance(f, 80));
    if (!m)
        return false;
    unsigned kind = kinds[draw(f, 0, sizeof kinds / sizeof *kinds - 1)];
    bool stays = chance(f, 30);
    bool is_lossy = kind & (SIM_OP_SYNC | SIM_OP_SYNC_DIR);
    if (is_lossy && !m->is_suspect && f->world->plan.members >= 3 &&
        !orchestrator_may_lose(f->world->orchestrator, m))
        return false;
    m->is_suspect |= is_lossy;
    m->has_bad_disk = true;
    world_note(f->world, "%s's disk fails soon (operations 0x%x%s)", m->name, kind,
               stays ? ", for good" : "");
    sim_disk_fail(m->disk, kind, draw(f, 1, 20), ERR_IO, stays);
    return true;
}

static void empty_disk(struct faults *f, struct repair *r)
{
    sim_disk_set_space(f->world->machines[r->slot]->disk, 0);
}

static bool strike_disk_full(struct faults *f)
{
    struct machine *m = draw_machine(f, true);
    if (!m)
        return false;
    m->has_bad_disk = true;
    world_note(f->world, "%s's disk is nearly full", m->name);
    sim_disk_set_space(m->disk, sim_disk_size(m->disk) + draw(f, 0, 50000));
    repair_later(f, empty_disk, m->slot, draw(f, 500, 5000));
    return true;
}

static bool strike_wall(struct faults *f)
{
    struct machine *m = draw_machine(f, true);
    if (!m)
        return false;
    int64_t by_s = (int64_t)draw(f, 0, 7200) - 3600;
    world_note(f->world, "%s's wall clock goes %" PRId64 " s", m->name, by_s);
    m->wall_offset_ns += by_s * 1000000000;
    sim_io_step_wall(m->process->io, by_s * 1000000000);
    return true;
}

/* --- the orchestrator's ----------------------------------------------------------------------------- */

static bool strike_members(struct faults *f)
{
    return orchestrator_change_members(f->world->orchestrator);
}

static bool strike_leader(struct faults *f)
{
    return orchestrator_move_leader(f->world->orchestrator);
}

static bool strike_wipe(struct faults *f)
{
    return orchestrator_wipe(f->world->orchestrator);
}

static bool strike_flip(struct faults *f)
{
    return orchestrator_flip(f->world->orchestrator);
}

/* --- life ---------------------------------------------------------------------------------------------- */

static void strike_again(struct kind *k)
{
    struct faults *f = k->faults;
    if ((!f->is_stopped || k->strike == strike_supervisor) && k->mean_ms)
        sim_clock_add(&f->world->clock, &k->event,
                      1000000 + world_exponential(&f->world->fault_random, k->mean_ms * 1000000));
}

static void on_strike(struct sim_event *event)
{
    struct kind *k = container_of(event, struct kind, event);
    if (k->strike(k->faults))
        k->faults->count++;
    strike_again(k);
}

static void add_kind(struct faults *f, const char *name, uint64_t mean_ms, bool (*strike)(struct faults *f))
{
    f->kinds[f->kind_count++] = (struct kind){
        .event.fire = on_strike, .faults = f, .name = name, .mean_ms = mean_ms, .strike = strike};
}

struct faults *faults_new(struct world *w)
{
    const struct plan *p = &w->plan;
    struct faults *f = mem_new(sizeof *f);
    f->world = w;
    list_init(&f->repairs);
    add_kind(f, "supervisor", 400, strike_supervisor);
    add_kind(f, "crash", p->crash_ms, strike_crash);
    add_kind(f, "pause", p->pause_ms, strike_pause);
    add_kind(f, "partition", p->partition_ms, strike_partition);
    add_kind(f, "reset", p->reset_ms, strike_reset);
    add_kind(f, "slow disk", p->slow_disk_ms, strike_slow_disk);
    add_kind(f, "disk error", p->disk_error_ms, strike_disk_error);
    add_kind(f, "disk full", p->disk_full_ms, strike_disk_full);
    add_kind(f, "wall clock", p->wall_ms, strike_wall);
    add_kind(f, "move leader", p->move_leader_ms, strike_leader);
    add_kind(f, "members", p->member_ms, strike_members);
    add_kind(f, "wipe", p->wipe_ms, strike_wipe);
    add_kind(f, "flip", p->flip_ms, strike_flip);
    return f;
}

void faults_start(struct faults *f)
{
    for (unsigned i = 0; i < f->world->machine_count; i++)
        repair_later(f, start_again, i, draw(f, 0, f->world->plan.stagger_ms));
    for (unsigned i = 0; i < f->kind_count; i++)
        strike_again(&f->kinds[i]);
}

/* Links within the core are whole again; those to the rest stay as they are. */
static void heal_core(struct faults *f)
{
    struct world *w = f->world;
    for (unsigned i = 0; i < w->machine_count; i++) {
        for (unsigned k = 0; k < w->machine_count; k++) {
            if (!f->is_in_core[i] || !f->is_in_core[k])
                continue;
            network_clog(w->network, i, k, 0);
            while (network_is_cut(w->network, i, k))
                network_cut(w->network, i, k, false);
        }
    }
    w->plan.drop_ppm = w->plan.duplicate_ppm = w->plan.reorder_ppm = 0;
    uint64_t quick_us = w->plan.heartbeat_ms * w->plan.election_ticks * 1000 / 20;
    if (w->plan.delay_mean_us > quick_us)
        w->plan.delay_mean_us = quick_us;
    if (w->plan.job_us > quick_us)
        w->plan.job_us = quick_us;
}

void faults_stop(struct faults *f, const bool *is_in_core)
{
    struct world *w = f->world;
    f->is_stopped = true;
    memcpy(f->is_in_core, is_in_core, sizeof f->is_in_core);
    for (unsigned i = 1; i < f->kind_count; i++) /* the supervisor continues, for the core */
        sim_clock_remove(&w->clock, &f->kinds[i].event);
    LIST_FOR_EACH_SAFE (l, &f->repairs) {
        struct repair *r = container_of(l, struct repair, link);
        if (r->fn == start_again && f->is_in_core[r->slot])
            continue;
        sim_clock_remove(&w->clock, &r->event);
        list_remove(&r->link);
        mem_free(r);
    }
    heal_core(f);
    for (unsigned i = 0; i < w->machine_count; i++) {
        struct machine *m = w->machines[i];
        f->is_doomed[i] = !f->is_in_core[i];
        if (!f->is_in_core[i])
            continue;
        sim_disk_fail(m->disk, 0, 0, 0, false);
        sim_disk_set_space(m->disk, 0);
        set_disk_speed(m, w->plan.job_us);
    }
}

void faults_free(struct faults *f)
{
    for (unsigned i = 0; i < f->kind_count; i++)
        sim_clock_remove(&f->world->clock, &f->kinds[i].event);
    LIST_FOR_EACH_SAFE (l, &f->repairs) {
        struct repair *r = container_of(l, struct repair, link);
        sim_clock_remove(&f->world->clock, &r->event);
        mem_free(r);
    }
    mem_free(f);
}

uint64_t faults_count(const struct faults *f)
{
    return f->count;
}
