/* SPDX-License-Identifier: Apache-2.0
 * Machines and processes; see cluster.h. */
#include "tests/sim/cluster/cluster.h"

#include <inttypes.h>
#include <stdio.h>

#include "consensus/feature.h"
#include "consensus/node/boot.h"
#include "consensus/raft/core.h"
#include "consensus/store/backend.h"
#include "tests/scenario/render.h"
#include "tests/sim/cluster/faults.h"
#include "tests/sim/cluster/invariants.h"
#include "tests/sim/cluster/network.h"
#include "tests/sim/cluster/workload.h"

struct process *cluster_running;

static struct link ended; /* processes that are no longer a machine's */
static uint64_t last_serial;

void cluster_init(struct world *w)
{
    (void)w;
    list_init(&ended);
    last_serial = 0;
    cluster_running = NULL;
}

struct machine *cluster_add_machine(struct world *w)
{
    if (w->machine_count == MACHINES_MAX)
        return NULL;
    struct machine *m = mem_new(sizeof *m);
    uint64_t skew = w->plan.skew_ppm;
    m->world = w;
    m->slot = w->machine_count++;
    snprintf(m->name, sizeof m->name, "m%u", m->slot);
    snprintf(m->url, sizeof m->url, "http://m%u:2380", m->slot);
    snprintf(m->client_url, sizeof m->client_url, "http://m%u:2379", m->slot);
    snprintf(m->dir, sizeof m->dir, "/m%u", m->slot);
    m->disk = sim_disk_new();
    m->random = w->plan.seed * 1000003 + m->slot;
    m->rate_ppm = (int32_t)world_draw(&m->random, 0, 2 * skew) - (int32_t)skew;
    m->mono_offset_ns = world_draw(&m->random, 1, 1000000) * 1000000000;
    m->job_max_us = w->plan.job_us;
    w->machines[m->slot] = m;
    return m;
}

/* --- one run ------------------------------------------------------------------------------------------- */

bool process_is_up(const struct process *p)
{
    return p && p->state == PROCESS_RUNNING;
}

bool process_is_alive(const struct process *p)
{
    return p && (p->state == PROCESS_RUNNING || p->state == PROCESS_BOOTING);
}

uint64_t process_paused_until(const struct process *p)
{
    return sim_io_paused_until(p->io);
}

void process_touch(struct process *p)
{
    struct world *w = p->machine->world;
    if (p->has_turn || p->state != PROCESS_RUNNING)
        return;
    p->has_turn = true;
    sim_clock_add(&w->clock, &p->turn, world_draw(&p->machine->random, 500, w->plan.loop_us * 1000));
}

static void on_io_begins(void *arg)
{
    cluster_running = arg;
}

static void on_io_event(void *arg)
{
    struct process *p = arg;
    cluster_running = NULL;
    if (p->state == PROCESS_RUNNING)
        invariants_check(p); /* the member knows everything that its disk returned from here on, not from
                              * the turn on */
    process_touch(p);
}

/* The process read an entry that its build does not understand. That is correct if the member ran a newer
 * build before; then that build continues. */
static void stop_as_too_old(struct machine *m, const char *why)
{
    world_note(m->world, "%s ends: %s", m->name, why);
    if (!m->is_older)
        world_violated(m->world, "level", "%s (level %u) stops in a cluster of a level that it knows: %s",
                       m->name, m->level, why);
    m->is_older = false;
    m->level = FEATURE_LEVEL_TRIAL;
}

/* Selects the feature level of the build that starts next. Newer builds replace members over time. Now and
 * then an older build replaces one by mistake. A member that joins an existing cluster has the new build. */
static void choose_version(struct machine *m)
{
    if (!m->world->plan.versions)
        return;
    unsigned before = m->level;
    if (m->is_next_older)
        m->level = FEATURE_LEVEL_LAST;
    else if (m->world->plan.returns || m->is_added || m->was_wiped ||
             (before && world_chance(&m->random, 300000)))
        m->level = FEATURE_LEVEL_TRIAL;
    else if (!before || world_chance(&m->random, 100000))
        m->level = before || world_chance(&m->random, 300000) ? FEATURE_LEVEL_LAST : FEATURE_LEVEL_TRIAL;
    m->is_older = (m->is_older && m->level < FEATURE_LEVEL_TRIAL) || m->level < before;
    m->is_next_older = false;
    world_note(m->world, "%s has feature level %u", m->name, m->level);
}

static void handle_failure(struct process *p)
{
    struct machine *m = p->machine;
    int err = kv_failed(p->kv);
    unsigned level = kv_feature_level(p->kv);
    if (!err && m->level && level > m->level) {
        world_violated(m->world, "level", "%s (level %u) continues in a cluster of level %u", m->name,
                       m->level, level);
    } else if (err == ERR_LEVEL) {
        stop_as_too_old(m, kv_failed_at(p->kv));
        cluster_kill(m, false);
        faults_start_later(m->world->faults, m);
    } else if (err) {
        world_note(m->world, "%s ends: %s: %s", m->name, kv_failed_at(p->kv), err_text(err));
        if (!m->has_bad_disk)
            world_violated(m->world, "no_disk_error", "%s failed on a disk without faults: %s: %s", m->name,
                           kv_failed_at(p->kv), err_text(err));
        cluster_kill(m, false);
    } else if (p->is_terminating && !p->hands_over) {
        cluster_stop(m);
    } else if (kv_is_removed(p->kv)) {
        world_note(m->world, "%s was removed from its cluster and ends", m->name);
        m->is_member = false;
        cluster_stop(m);
    }
}

static void on_turn(struct sim_event *event)
{
    struct process *p = container_of(event, struct process, turn);
    struct world *w = p->machine->world;
    uint64_t until = process_paused_until(p);
    if (until) {
        sim_clock_add(&w->clock, event, until - w->clock.now_ns);
        return;
    }
    p->has_turn = false;
    cluster_running = p;
    kv_turn(p->kv);
    workload_flush(p);
    network_flush(p->port);
    cluster_running = NULL;
    invariants_check(p);
    faults_see_level(p->machine->world->faults, p->machine, kv_feature_level(p->kv));
    handle_failure(p);
}

static void on_ready(void *arg)
{
    struct process *p = arg;
    p->is_ready = true;
    world_note(p->machine->world, "%s is ready", p->machine->name);
}

static void on_leader(void *arg, bool has_leader)
{
    struct process *p = arg;
    world_note(p->machine->world, "%s %s", p->machine->name, has_leader ? "has a leader" : "has no leader");
}

static void fill_options(struct machine *m, struct process *p, struct kv_options *o)
{
    const struct plan *plan = &m->world->plan;
    *o = (struct kv_options){
        .io = p->io,
        .peers = port_peers(p->port),
        .backend_open = backend_memory_open,
        .wal_segment_bytes = plan->segment_bytes,
        .data_dir = m->dir,
        .name = m->name,
        .initial_cluster_token = "sim",
        .heartbeat_ms = plan->heartbeat_ms,
        .election_ms = plan->heartbeat_ms * plan->election_ticks,
        .snapshot_catchup_entries = plan->catchup_entries,
        .snapshot_catchup_bytes = plan->log_bytes,
        .snapshot_catchup_disk_bytes = plan->log_disk_bytes,
        .pending_bytes_max = plan->pending_bytes,
        .store_pending_bytes = plan->store_bytes,
        .request_bytes_max = 1572864,
        .txn_ops_max = 128,
        .quota_bytes = plan->quota_kb ? (int64_t)plan->quota_kb << 10 : -1,
        .commit_interval_ms = plan->commit_interval_ms,
        .commit_ops = plan->commit_ops,
        .compaction_batch = (int64_t)plan->compaction_batch,
        .compaction_sleep_ms = plan->compaction_sleep_ms,
        .auto_compaction_mode = "periodic",
        .progress_interval_ms = plan->progress_ms,
        .lease_checkpoint_ms = plan->checkpoint_ms,
        .pre_vote = true,
        .strict_reconfig_check = true,
        .advances_ticks = true,
        .promotes_learners = true,
        .max_learners = 1 + m->slot % 2, /* members may differ */
        .snapshot_bytes_per_s = plan->snapshot_rate,
        .corrupt_check_interval_ms = 5000,
        .feature_level = m->level,
        .long_units = (int64_t)plan->long_units,
        .slice_units = plan->long_units ? (int64_t)plan->slice_units : 0,
    };
}

/* The member's command line. */
struct flags {
    struct kv_member_option members[MACHINES_MAX];
    const char *peer_urls[1], *client_urls[1];
};

static void fill_flags(const struct machine *m, struct flags *f)
{
    for (unsigned i = 0; i < m->flag_count; i++) {
        const struct machine *other = m->world->machines[m->flags[i]];
        f->members[i] = (struct kv_member_option){other->name, other->url};
    }
    f->peer_urls[0] = m->url;
    f->client_urls[0] = m->client_url;
}

static int open_kv(struct machine *m, struct process *p, const struct kv_join *join, char *error,
                   size_t error_size)
{
    struct flags f;
    struct kv_options o;
    fill_flags(m, &f);
    fill_options(m, p, &o);
    o.join = join;
    o.initial_cluster = f.members;
    o.initial_cluster_count = m->flag_count;
    o.peer_urls = f.peer_urls;
    o.peer_url_count = 1;
    o.client_urls = f.client_urls;
    o.client_url_count = 1;
    return kv_open(&o, error, error_size, &p->kv);
}

/* The process has logged its reason and ends. */
static void refuse(struct process *p, const char *error, bool is_corrupt)
{
    struct machine *m = p->machine;
    world_note(m->world, "%s does not start: %s", m->name, error);
    if (!m->is_refused)
        m->refused_id = UINT64_MAX;
    m->is_refused = true;
    m->is_lost = m->is_flipped || (m->is_suspect && is_corrupt); /* as it should */
    bool is_new = !m->member_id && !m->world->plan.auto_join;    /* it may have begun, for all it knows */
    if (!m->has_bad_disk && !m->was_wiped && !m->is_flipped && !is_new && m->is_member)
        world_violated(m->world, "starts", "%s does not start on a disk without faults: %s", m->name, error);
    m->process = NULL;
    p->state = PROCESS_CLOSED;
    p->was_killed = true;
    p->raft = NULL;
    sim_io_kill(p->io);
    network_port_end(p->port);
    list_add_last(&ended, &p->link);
}

static void on_booted(void *arg, int err, const char *error, const struct boot_result *result)
{
    struct process *p = arg;
    struct machine *m = p->machine;
    char text[512];
    p->boot = NULL;
    if (err) {
        refuse(p, error, false);
        return;
    }
    err = open_kv(m, p, result->join, text, sizeof text);
    if (err == ERR_LEVEL) { /* nothing has changed: the newer build takes its place */
        stop_as_too_old(m, text);
        err = open_kv(m, p, result->join, text, sizeof text);
    }
    if (err) {
        refuse(p, text, err == ERR_CORRUPT);
        return;
    }
    p->state = PROCESS_RUNNING;
    m->member_id = kv_member_id(p->kv);
    m->was_wiped = m->is_refused = m->is_flipped = false;
    world_note(m->world, "%s runs as member %" PRIx64 "%s", m->name, m->member_id,
               result->join ? ", which joins" : "");
    kv_on_ready(p->kv, on_ready, p);
    kv_on_leader(p->kv, on_leader, p);
    invariants_started(p);
    process_touch(p);
}

/* Where disks are lost, a quorum of empty members must not begin (consensus/node/boot_rules.h). */
static bool loses_disks(const struct plan *p)
{
    return p->auto_join && (p->wipe_ms || p->flip_ms || p->member_ms);
}

static void start_boot(struct machine *m, struct process *p)
{
    struct flags f;
    fill_flags(m, &f);
    struct boot_options o = {
        .io = p->io,
        .peers = port_peers(p->port),
        .data_dir = m->dir,
        .name = m->name,
        .initial_cluster_token = "sim",
        .initial_cluster = m->boot_members,
        .initial_cluster_count = m->flag_count,
        .peer_urls = m->boot_urls,
        .peer_url_count = 1,
        .is_existing = m->is_added,
        .is_auto = !m->is_added && loses_disks(&m->world->plan),
        .auto_join = m->world->plan.auto_join,
        .feature_level = m->level,
    };
    memcpy(m->boot_members, f.members, sizeof m->boot_members);
    m->boot_urls[0] = m->url;
    cluster_running = p;
    p->boot = boot_start(&o, on_booted, p);
    cluster_running = NULL;
}

void cluster_start(struct machine *m)
{
    struct world *w = m->world;
    struct process *p = mem_new(sizeof *p);
    struct sim_io_options io = {
        .disk = m->disk,
        .clock = &w->clock,
        .seed = sim_random(&m->random),
        .job_min_ns = 1000,
        .job_max_ns = m->job_max_us * 1000 + 1001,
        .wall_offset_ns = m->wall_offset_ns,
        .mono_offset_ns = m->mono_offset_ns,
        .rate_ppm = m->rate_ppm,
        .before_event = on_io_begins,
        .on_event = on_io_event,
        .arg = p,
    };
    p->machine = m;
    p->serial = ++last_serial;
    p->turn.fire = on_turn;
    p->io = sim_io_new(&io);
    p->port = network_port_new(w->network, p);
    p->state = PROCESS_BOOTING;
    m->process = p;
    m->starts++;
    choose_version(m);
    world_note(w, "%s starts (run %" PRIu64 ")", m->name, m->starts);
    start_boot(m, p);
}

/* --- ends ---------------------------------------------------------------------------------------------- */

static void on_closed(void *arg)
{
    struct process *p = arg;
    p->state = PROCESS_CLOSED;
    p->kv = NULL;
}

static void end(struct process *p)
{
    struct machine *m = p->machine;
    p->state = PROCESS_CLOSING;
    sim_clock_remove(&m->world->clock, &p->turn);
    workload_process_ended(p);
    if (p->boot) /* its member RPCs are canceled through the port */
        network_port_mute(p->port);
    else
        network_port_end(p->port);
    p->raft = NULL;
    m->process = NULL;
    list_add_last(&ended, &p->link);
    cluster_running = p;
    if (p->boot) {
        boot_cancel(p->boot);
        network_port_end(p->port);
        p->boot = NULL;
        p->state = PROCESS_CLOSED;
    } else {
        kv_close(p->kv, on_closed, p);
    }
    cluster_running = NULL;
}

void cluster_kill(struct machine *m, bool is_power_cut)
{
    struct process *p = m->process;
    world_note(m->world, "%s %s", m->name, is_power_cut ? "loses power" : "is killed");
    if (p) {
        p->was_killed = true;
        sim_io_pause(p->io, 0);
        sim_io_kill(p->io);
        end(p);
    }
    if (!is_power_cut)
        return;
    sim_disk_crash(m->disk, sim_random(&m->random));
    m->mono_offset_ns = world_draw(&m->random, 1, 100) * 1000000000;
}

static void on_handed_over(void *arg)
{
    struct process *p = arg;
    p->hands_over = false;
    process_touch(p); /* the turn ends it: this function is called from inside kv */
}

void cluster_stop(struct machine *m)
{
    struct process *p = m->process;
    if (!p)
        return;
    world_note(m->world, "%s is stopped", m->name);
    sim_io_pause(p->io, 0);
    end(p);
}

void cluster_terminate(struct machine *m)
{
    struct process *p = m->process;
    if (!process_is_up(p) || p->is_terminating || process_paused_until(p)) {
        cluster_stop(m);
        return;
    }
    world_note(m->world, "%s is told to end", m->name);
    p->is_terminating = p->hands_over = true;
    cluster_running = p;
    kv_hand_over(p->kv, on_handed_over, p);
    cluster_running = NULL;
    process_touch(p);
}

bool cluster_is_closing(const struct machine *m)
{
    LIST_FOR_EACH (l, &ended) {
        const struct process *p = container_of(l, struct process, link);
        if (p->machine == m && !p->was_killed)
            return true;
    }
    return false;
}

void cluster_wipe(struct machine *m)
{
    world_note(m->world, "%s gets a new disk", m->name);
    sim_disk_free(m->disk);
    m->disk = sim_disk_new();
    m->member_id = 0;
    m->was_wiped = true;
    m->is_lost = m->has_bad_disk = m->is_refused = m->is_flipped = m->is_suspect = false;
    invariants_wiped(m);
}

struct machine *cluster_machine_of(struct world *w, uint64_t member_id)
{
    for (unsigned i = 0; i < w->machine_count; i++)
        if (w->machines[i]->member_id == member_id && w->machines[i]->is_member)
            return w->machines[i];
    return NULL;
}

static void reap(struct process *p)
{
    struct world *w = p->machine->world;
    size_t timers = sim_io_timer_count(p->io), files = sim_io_file_count(p->io);
    if (files)
        world_violated(w, "no_leaks", "%s has closed and left %zu files open", p->machine->name, files);
    if (timers && !p->was_killed)
        world_violated(w, "no_leaks", "%s has closed and left %zu timers running", p->machine->name, timers);
    if (files)
        return; /* its io cannot be freed; the run is over anyway */
    list_remove(&p->link);
    network_port_free(p->port);
    sim_io_free(p->io);
    mem_free(p);
}

void cluster_reap(struct world *w)
{
    (void)w;
    LIST_FOR_EACH_SAFE (l, &ended) {
        struct process *p = container_of(l, struct process, link);
        if (p->state == PROCESS_CLOSED && sim_io_is_idle(p->io))
            reap(p);
    }
}

void cluster_done(struct world *w)
{
    for (unsigned i = 0; i < w->machine_count; i++)
        cluster_stop(w->machines[i]);
    /* A process that was told to stop must have stopped within a minute. */
    uint64_t until = w->clock.now_ns + 60000000000;
    cluster_reap(w);
    while (!list_is_empty(&ended) && w->clock.now_ns < until && sim_clock_step(&w->clock))
        cluster_reap(w);
    if (!list_is_empty(&ended))
        world_violated(w, "ends", "a process did not stop on request");
    for (unsigned i = 0; i < w->machine_count; i++) {
        sim_disk_free(w->machines[i]->disk);
        mem_free(w->machines[i]);
    }
    w->machine_count = 0;
}

/* --- reading states ----------------------------------------------------------------------------------- */

struct process *cluster_find(struct world *w, unsigned slot, uint64_t serial)
{
    struct process *p = w->machines[slot]->process;
    return process_is_alive(p) && p->serial == serial ? p : NULL;
}

struct machine *cluster_leader(struct world *w)
{
    struct machine *leader = NULL;
    uint64_t term = 0;
    for (unsigned i = 0; i < w->machine_count; i++) {
        struct process *p = w->machines[i]->process;
        if (!p || !p->raft || raft_role(p->raft) != RAFT_LEADER || raft_term(p->raft) < term)
            continue;
        leader = w->machines[i];
        term = raft_term(p->raft);
    }
    return leader;
}

static void print_progress(struct world *w, const struct raft *r)
{
    struct raft_status *status = mem_new(sizeof *status);
    raft_get_status(r, status);
    for (uint32_t i = 0; i < status->progress_count; i++) {
        struct buf b = {0};
        render_progress(&b, &status->progress[i]);
        world_print(w, "    %" PRIx64 " %s", status->progress[i].id, buf_text(&b));
        buf_done(&b);
    }
    mem_free(status);
}

void cluster_print(struct world *w)
{
    static const char *const roles[] = {"follower", "candidate", "leader", "pre-candidate"};
    for (unsigned i = 0; i < w->machine_count; i++) {
        const struct machine *m = w->machines[i];
        const struct process *p = m->process;
        if (!p || !p->raft) {
            world_print(w, "%s: %s%s%s", m->name, p ? "boots" : "down", m->is_member ? "" : ", not a member",
                        m->is_lost ? ", lost" : "");
            continue;
        }
        const struct raft *r = p->raft;
        world_print(
            w,
            "%s: %s%s, id %" PRIx64 ", term %" PRIu64 ", leader %" PRIx64 ", log %" PRIu64 " to %" PRIu64
            ", stable %" PRIu64 ", committed %" PRIu64 ", applied %" PRIu64 ", revision %" PRId64 "%s",
            m->name, roles[r->role], r->learner ? " (learner)" : "", r->config.id, r->term, r->leader,
            raft_log_first(&r->log), raft_log_last(&r->log), r->log.unstable - 1, r->log.committed,
            r->log.applied, p->kv ? kv_revision(p->kv) : 0, process_paused_until(p) ? ", stands still" : "");
        if (r->role == RAFT_LEADER)
            print_progress(w, r);
    }
}
