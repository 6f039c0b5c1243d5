/* SPDX-License-Identifier: Apache-2.0
 * Orders to the cluster, and the processes that follow from the member list; see orchestrator.h. */
#include "tests/sim/cluster/orchestrator.h"

#include <inttypes.h>
#include <stdio.h>

#include "consensus/kv/kv_impl.h"
#include "consensus/wal/record.h"
#include "tests/sim/cluster/invariants.h"

enum { MEMBERS_MAX = 7, ORDER_MS = 9000, CALM_MS = 1500 };

/* A request to one member; its result is read from the list, later. */
struct order {
    struct kv_request request;
    struct orchestrator *orchestrator;
    struct process *at;
    struct arena arena;
    struct sim_event timeout;
    char what[64];
};

struct orchestrator {
    struct world *world;
    struct order *order; /* one at a time */
    uint64_t last_ns;    /* when the last one ended */
};

static uint64_t draw(struct orchestrator *o, uint64_t from, uint64_t to)
{
    return world_draw(&o->world->fault_random, from, to);
}

/* --- reading states ----------------------------------------------------------------------------------- */

static struct process *furthest(struct orchestrator *o)
{
    struct process *best = NULL;
    for (unsigned i = 0; i < o->world->machine_count; i++) {
        struct process *p = o->world->machines[i]->process;
        if (process_is_up(p) &&
            (!best || store_applied_index(p->kv->store) > store_applied_index(best->kv->store)))
            best = p;
    }
    return best;
}

static const struct member *member_at(const struct members *list, const char *url)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->list[i].peer_url_count && strcmp(list->list[i].peer_urls[0], url) == 0)
            return &list->list[i];
    return NULL;
}

/* The voters all have their disks, and would still be a majority without this one (NULL: without any one). */
bool orchestrator_may_lose(struct orchestrator *o, const struct machine *lost)
{
    struct raft_conf_state config;
    if (!invariants_config(o->world->invariants, &config) || config.voters_outgoing.count)
        return false;
    for (uint32_t i = 0; i < config.voters.count; i++) {
        const struct machine *m = cluster_machine_of(o->world, config.voters.id[i]);
        if (!m || (m != lost && (m->is_lost || m->is_refused || m->was_wiped || m->is_suspect)))
            return false;
    }
    return config.voters.count >= 3;
}

bool orchestrator_is_busy(const struct orchestrator *o)
{
    return o->order || o->world->clock.now_ns - o->last_ns < CALM_MS * 1000000ULL;
}

/* --- orders -------------------------------------------------------------------------------------------- */

static void end_order(struct order *d)
{
    struct orchestrator *o = d->orchestrator;
    sim_clock_remove(&o->world->clock, &d->timeout);
    o->order = NULL;
    o->last_ns = o->world->clock.now_ns;
    arena_done(&d->arena);
    mem_free(d);
}

static void on_order_done(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct order *d = container_of(r, struct order, request);
    (void)response;
    world_note(d->orchestrator->world, "orchestrator: %s: %s", d->what, err ? err_text(err) : "done");
    end_order(d);
}

static void on_order_timeout(struct sim_event *event)
{
    struct order *d = container_of(event, struct order, timeout);
    struct world *w = d->orchestrator->world;
    uint64_t until = process_paused_until(d->at);
    if (until) {
        sim_clock_add(&w->clock, event, until - w->clock.now_ns);
        return;
    }
    world_note(w, "orchestrator: %s: given up", d->what);
    kv_cancel(d->at->kv, &d->request);
    end_order(d);
}

static struct order *new_order(struct orchestrator *o, struct process *at)
{
    struct order *d = mem_new(sizeof *d);
    d->orchestrator = o;
    d->at = at;
    d->request.done = on_order_done;
    d->timeout.fire = on_order_timeout;
    o->order = d;
    sim_clock_add(&o->world->clock, &d->timeout, ORDER_MS * 1000000ULL);
    return d;
}

/* A member that runs and is not paused. */
static struct process *draw_process(struct orchestrator *o)
{
    struct world *w = o->world;
    struct process *list[MACHINES_MAX];
    unsigned count = 0;
    for (unsigned i = 0; i < w->machine_count; i++) {
        struct process *p = w->machines[i]->process;
        if (process_is_up(p) && !process_paused_until(p) && !kv_is_learner(p->kv))
            list[count++] = p;
    }
    return count ? list[draw(o, 0, count - 1)] : NULL;
}

static void announce(struct order *d)
{
    world_note(d->orchestrator->world, "orchestrator: %s, at %s", d->what, d->at->machine->name);
    process_touch(d->at);
}

static bool order_add(struct orchestrator *o, const struct machine *m, bool is_learner)
{
    struct process *at = draw_process(o);
    if (!at)
        return false;
    struct order *d = new_order(o, at);
    Etcdserverpb__MemberAddRequest *r = arena_alloc(&d->arena, sizeof *r);
    etcdserverpb__member_add_request__init(r);
    r->peerurls = arena_alloc(&d->arena, sizeof *r->peerurls);
    r->peerurls[0] = arena_string(&d->arena, m->url, strlen(m->url));
    r->n_peerurls = 1;
    r->islearner = is_learner;
    snprintf(d->what, sizeof d->what, "add %s%s", m->name, is_learner ? " as a learner" : "");
    announce(d);
    kv_member_add(at->kv, &d->request, r);
    return true;
}

static bool order_remove(struct orchestrator *o, uint64_t id)
{
    struct process *at = draw_process(o);
    if (!at)
        return false;
    struct order *d = new_order(o, at);
    Etcdserverpb__MemberRemoveRequest *r = arena_alloc(&d->arena, sizeof *r);
    etcdserverpb__member_remove_request__init(r);
    r->id = id;
    snprintf(d->what, sizeof d->what, "remove %" PRIx64, id);
    announce(d);
    kv_member_remove(at->kv, &d->request, r);
    return true;
}

static bool order_promote(struct orchestrator *o, uint64_t id)
{
    struct process *at = draw_process(o);
    if (!at)
        return false;
    struct order *d = new_order(o, at);
    Etcdserverpb__MemberPromoteRequest *r = arena_alloc(&d->arena, sizeof *r);
    etcdserverpb__member_promote_request__init(r);
    r->id = id;
    snprintf(d->what, sizeof d->what, "promote %" PRIx64, id);
    announce(d);
    kv_member_promote(at->kv, &d->request, r);
    return true;
}

bool orchestrator_move_leader(struct orchestrator *o)
{
    struct machine *leader = cluster_leader(o->world);
    struct process *p = leader ? leader->process : NULL;
    if (o->order || !process_is_up(p) || process_paused_until(p) || p->kv->members.count < 2)
        return false;
    struct order *d = new_order(o, p);
    Etcdserverpb__MoveLeaderRequest *r = arena_alloc(&d->arena, sizeof *r);
    etcdserverpb__move_leader_request__init(r);
    r->targetid = p->kv->members.list[draw(o, 0, p->kv->members.count - 1)].id;
    snprintf(d->what, sizeof d->what, "move the leader to %" PRIx64, (uint64_t)r->targetid);
    announce(d);
    kv_move_leader(p->kv, &d->request, r);
    return true;
}

/* --- membership ---------------------------------------------------------------------------------------- */

/* The member's command line: the existing members, and itself. */
static void set_flags(struct orchestrator *o, struct machine *m, const struct members *list)
{
    m->is_added = true;
    m->flag_count = 0;
    for (unsigned i = 0; i < o->world->machine_count; i++) {
        const struct machine *other = o->world->machines[i];
        if (other == m || member_at(list, other->url))
            m->flags[m->flag_count++] = i;
    }
}

static struct machine *free_machine(struct orchestrator *o, const struct members *list)
{
    struct world *w = o->world;
    for (unsigned i = 0; i < w->machine_count; i++) {
        struct machine *m = w->machines[i];
        if (m->is_member || m->process || cluster_is_closing(m) || member_at(list, m->url))
            continue;
        cluster_wipe(m);
        return m;
    }
    return cluster_add_machine(w);
}

static bool add_one(struct orchestrator *o, const struct members *list)
{
    struct machine *m = list->count < MEMBERS_MAX ? free_machine(o, list) : NULL;
    if (!m)
        return false;
    if (o->world->plan.auto_join && draw(o, 0, 1)) {
        set_flags(o, m, list);
        m->is_member = m->was_wiped = true; /* it requests its seat by itself */
        world_note(o->world, "orchestrator: %s is to join by itself", m->name);
        return true;
    }
    return order_add(o, m, draw(o, 0, 1));
}

bool orchestrator_change_members(struct orchestrator *o)
{
    const struct process *p = furthest(o);
    if (!p || orchestrator_is_busy(o))
        return false;
    const struct members *list = &p->kv->members;
    uint64_t what = draw(o, 0, 9);
    for (size_t i = 0; i < list->count; i++)
        if (list->list[i].is_learner && what < 4)
            return order_promote(o, list->list[i].id);
    if (what < 5 || list->count == 1)
        return add_one(o, list);
    if (list->count == 2 ? draw(o, 0, 3) : !orchestrator_may_lose(o, NULL))
        return false;
    return order_remove(o, list->list[draw(o, 0, list->count - 1)].id);
}

/* While there is a learner, no other member can join. */
void orchestrator_promote(struct orchestrator *o)
{
    const struct process *p = furthest(o);
    if (!p || orchestrator_is_busy(o))
        return;
    for (size_t i = 0; i < p->kv->members.count; i++)
        if (p->kv->members.list[i].is_learner && !p->kv->members.list[i].promotes_itself) {
            (void)order_promote(o, p->kv->members.list[i].id);
            return;
        }
}

/* A seat whose member has lost its disk: the old member is removed, a new one is added. */
static void restore(struct orchestrator *o, struct machine *m, const struct members *list)
{
    const struct member *seat = member_at(list, m->url);
    if (seat && seat->id == m->refused_id) {
        (void)order_remove(o, seat->id);
    } else if (!seat) {
        (void)order_add(o, m, draw(o, 0, 1));
    } else {
        set_flags(o, m, list);
        m->is_refused = false;
    }
}

/* The flags must name at least half of the present members. With fewer, an empty disk would begin another
 * cluster, as with etcd. So the orchestrator of a growing cluster names all members. */
static void lose_disk(struct orchestrator *o, struct machine *m, const struct members *list)
{
    cluster_wipe(m);
    if (o->world->plan.members < 3)
        set_flags(o, m, list);
}

static void look_at_machine(struct orchestrator *o, struct machine *m, const struct members *list)
{
    const struct member *seat = member_at(list, m->url);
    if (!m->is_member && seat && !m->process && !cluster_is_closing(m)) {
        if (m->member_id && m->member_id != seat->id)
            cluster_wipe(m);
        set_flags(o, m, list);
        m->is_member = true;
    }
    if (!m->is_member)
        return;
    if (m->is_lost && !m->process && !cluster_is_closing(m))
        lose_disk(o, m, list);
    bool has_lost = m->is_refused && (m->was_wiped || !m->member_id);
    if (has_lost && m->refused_id == UINT64_MAX)
        m->refused_id = seat ? seat->id : 0;
    if (has_lost && !seat && !m->is_added)
        set_flags(o, m, list); /* it was removed before it ever began */
    if (has_lost && !o->world->plan.auto_join && !orchestrator_is_busy(o))
        restore(o, m, list);
    if (m->member_id && member_is_removed(list, m->member_id) && draw(o, 0, 4) == 0) {
        if (m->process)
            cluster_kill(m, false);
        m->is_member = false;
    }
}

void orchestrator_reconcile(struct orchestrator *o)
{
    unsigned count = o->world->machine_count, first = (unsigned)draw(o, 0, count - 1);
    for (unsigned i = 0; i < count && !o->world->is_violated;
         i++) { /* another seat may have its order first */
        const struct process *p = furthest(o);
        if (p)
            look_at_machine(o, o->world->machines[(first + i) % count], &p->kv->members);
    }
}

/* --- losses -------------------------------------------------------------------------------------------- */

static struct machine *draw_victim(struct orchestrator *o)
{
    struct world *w = o->world;
    struct machine *m = w->machines[draw(o, 0, w->machine_count - 1)];
    if (!m->is_member || !m->member_id || m->is_refused || m->was_wiped || orchestrator_is_busy(o) ||
        !orchestrator_may_lose(o, m) || cluster_is_closing(m))
        return NULL;
    return m;
}

bool orchestrator_wipe(struct orchestrator *o)
{
    struct machine *m = draw_victim(o);
    const struct process *p = furthest(o);
    if (!m || !p || p == m->process)
        return false;
    cluster_kill(m, true);
    lose_disk(o, m, &p->kv->members);
    o->last_ns = o->world->clock.now_ns;
    return true;
}

/* Where the last batch of a segment begins; 0 = there is no batch. A flipped bit in it cannot be told from a torn write,
 * and behind it may be bytes of an earlier use (consensus/wal/README.md, rules 7 and 12). */
static uint64_t last_batch(struct slice segment)
{
    struct wal_batch batch;
    uint64_t last = 0, salt = 0;
    uint64_t at =
        segment.size < WAL_SECTOR ? 0 : get_le32(segment.data + 16); /* behind the segment's header */
    while (at && at + WAL_BATCH_HEADER_SIZE <= segment.size && wal_batch_decode(segment.data + at, &batch) &&
           (!last || batch.salt == salt)) {
        salt = batch.salt;
        last = at;
        at = wal_sector_up(at + WAL_BATCH_HEADER_SIZE + batch.size);
    }
    return last;
}

bool orchestrator_flip(struct orchestrator *o)
{
    struct machine *m = draw_victim(o);
    struct buf names = {0}, path = {0};
    if (!m)
        return false;
    cluster_kill(m, false);
    buf_addf(&path, "%s/member/wal", m->dir);
    sim_disk_list(m->disk, buf_text(&path), &names);
    const char *name = (const char *)names.data, *end = name + names.size;
    for (uint64_t skip = draw(o, 0, 2); name && name < end && skip; skip--)
        name = name + strlen(name) + 1 < end ? name + strlen(name) + 1 : name;
    size_t inode;
    uint64_t last = 0;
    if (names.size) {
        buf_addf(&path, "/%s", name);
        if (sim_disk_find(m->disk, buf_text(&path), &inode))
            last = last_batch(sim_disk_content(m->disk, inode));
    }
    if (last) {
        uint64_t at = draw(o, 0, last - 1);
        world_note(o->world, "a bit of %s turns at %" PRIu64, buf_text(&path), at);
        sim_disk_flip(m->disk, buf_text(&path), at, (uint8_t)(1u << draw(o, 0, 7)));
        m->is_flipped = true;
    }
    buf_done(&names);
    buf_done(&path);
    o->last_ns = o->world->clock.now_ns;
    return true;
}

/* --- life ---------------------------------------------------------------------------------------------- */

struct orchestrator *orchestrator_new(struct world *w)
{
    struct orchestrator *o = mem_new(sizeof *o);
    o->world = w;
    return o;
}

void orchestrator_free(struct orchestrator *o)
{
    if (o->order)
        end_order(o->order); /* its process has ended: no callback follows */
    mem_free(o);
}
