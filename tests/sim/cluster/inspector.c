/* SPDX-License-Identifier: Apache-2.0
 * The inspector; see inspector.h. It sends one request at a time, each of a drawn kind to a drawn member.
 * Hashes are compared over the whole run: at one revision and compaction every member reports the same hash
 * at all times. */
#include "tests/sim/cluster/inspector.h"

#include <inttypes.h>

#include "consensus/kv/kv_impl.h"
#include "tests/sim/cluster/rights.h"

enum { INSPECT_MS = 12000, HASHES_MAX = 4096 };

enum inspection_kind {
    INSPECT_MEMBERS,
    INSPECT_LEASES,
    INSPECT_TIME_TO_LIVE,
    INSPECT_HASH,
    INSPECT_BARRIER,
    INSPECT_ALARMS,
    INSPECT_DISARM,
    INSPECT_SNAPSHOT,
    INSPECT_STATUS,
    INSPECT_RIGHTS, /* only where the plan says so */
    INSPECT_KINDS
};

struct inspection {
    struct kv_request request;
    struct inspector *inspector;
    struct process *at;
    enum inspection_kind kind;
    struct kv_export *export;
    uint64_t got; /* bytes of it */
    struct arena arena;
};

struct inspector {
    struct world *world;
    struct sim_event next;
    struct inspection *inspection;
    uint64_t since_ns;
    struct hash {
        int64_t revision, compacted;
        uint32_t hash;
    } hashes[HASHES_MAX]; /* by revision; later ones replace older ones */
    bool is_stopped;
};

static uint64_t draw(struct inspector *i, uint64_t from, uint64_t to)
{
    return world_draw(&i->world->load_random, from, to);
}

static void inspection_free(struct inspection *l)
{
    l->inspector->inspection = NULL;
    arena_done(&l->arena);
    mem_free(l);
}

/* --- responses ---------------------------------------------------------------------------------------- */

static void judge_hash(struct inspector *i, const struct process *p, const Etcdserverpb__HashKVResponse *m)
{
    struct hash *known = &i->hashes[m->hash_revision % HASHES_MAX];
    bool is_same = known->revision == m->hash_revision && known->compacted == m->compact_revision;
    if (is_same && known->hash != m->hash)
        world_violated(i->world, "members_are_equal",
                       "%s hashes to %08x at revision %" PRId64 ", compacted %" PRId64
                       ", another did to %08x",
                       p->machine->name, m->hash, m->hash_revision, m->compact_revision, known->hash);
    *known = (struct hash){m->hash_revision, m->compact_revision, m->hash};
}

static void judge_members(struct inspector *i, const struct process *p,
                          const Etcdserverpb__MemberListResponse *m)
{
    for (size_t k = 1; k < m->n_members; k++)
        if (m->members[k]->id <= m->members[k - 1]->id)
            world_violated(i->world, "member_list", "%s lists member %" PRIx64 " after %" PRIx64,
                           p->machine->name, (uint64_t)m->members[k]->id, (uint64_t)m->members[k - 1]->id);
}

static void judge_time(struct inspector *i, const struct process *p,
                       const Etcdserverpb__LeaseTimeToLiveResponse *m)
{
    if (m->ttl >
        m->grantedttl + (int64_t)(i->world->plan.heartbeat_ms * i->world->plan.election_ticks) / 1000 + 1)
        world_violated(i->world, "lease_time", "%s tells %" PRId64 " s of a lease of %" PRId64,
                       p->machine->name, m->ttl, m->grantedttl);
}

static void on_inspected(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct inspection *l = container_of(r, struct inspection, request);
    struct inspector *i = l->inspector;
    if (!err && l->kind == INSPECT_HASH)
        judge_hash(i, l->at, (const Etcdserverpb__HashKVResponse *)response);
    else if (!err && l->kind == INSPECT_MEMBERS)
        judge_members(i, l->at, (const Etcdserverpb__MemberListResponse *)response);
    else if (!err && l->kind == INSPECT_TIME_TO_LIVE)
        judge_time(i, l->at, (const Etcdserverpb__LeaseTimeToLiveResponse *)response);
    world_mark(i->world, l->kind, (uint64_t)(int64_t)err);
    inspection_free(l);
}

/* The inspector takes blocks at its own pace. */
static void on_export_ready(void *arg)
{
    (void)arg;
}

static void end_export(struct inspection *l, uint64_t size, int err)
{
    kv_export_close(l->export);
    world_mark(l->inspector->world, size, (uint64_t)(int64_t)err);
    inspection_free(l);
}

/* The blocks of a snapshot that are ready; some snapshots are given up in the middle. Its process may be
 * closed: that is an error. */
static void read_export(struct inspection *l)
{
    struct inspector *i = l->inspector;
    struct kv_export_progress progress;
    struct slice block;
    int err;
    do {
        err = kv_export_next(l->export, &block, &progress);
        l->got += block.size;
    } while (!err && block.size);
    if (!err && progress.is_done && progress.size != l->got)
        world_violated(i->world, "snapshots", "a snapshot of %" PRIu64 " bytes has %" PRIu64, progress.size,
                       l->got);
    if (err == ERR_CORRUPT)
        world_violated(i->world, "snapshots", "the rows of a snapshot changed while it was read");
    if (err || progress.is_done || draw(i, 0, 19) == 0)
        end_export(l, l->got, err);
}

/* --- requests ----------------------------------------------------------------------------------------- */

static void ask_alarm(struct inspection *l, struct kv *kv)
{
    Etcdserverpb__AlarmRequest *m = arena_alloc(&l->arena, sizeof *m);
    etcdserverpb__alarm_request__init(m);
    if (l->kind == INSPECT_DISARM) {
        m->action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE;
        m->alarm = ETCDSERVERPB__ALARM_TYPE__NOSPACE;
        m->memberid = kv->alarms.count ? kv->alarms.list[0].memberid : kv_member_id(kv);
    }
    kv_alarm(kv, &l->request, m);
}

static void ask_time(struct inspection *l, struct kv *kv)
{
    Etcdserverpb__LeaseTimeToLiveRequest *m = arena_alloc(&l->arena, sizeof *m);
    etcdserverpb__lease_time_to_live_request__init(m);
    m->id = (int64_t)draw(l->inspector, 1000, 1040);
    m->keys = 1;
    kv_lease_time_to_live(kv, &l->request, m);
}

static void ask_members(struct inspection *l, struct kv *kv)
{
    Etcdserverpb__MemberListRequest *m = arena_alloc(&l->arena, sizeof *m);
    etcdserverpb__member_list_request__init(m);
    m->linearizable = draw(l->inspector, 0, 1) == 1;
    kv_member_list(kv, &l->request, m);
}

static void ask_hash(struct inspection *l, struct kv *kv)
{
    Etcdserverpb__HashKVRequest *m = arena_alloc(&l->arena, sizeof *m);
    etcdserverpb__hash_kvrequest__init(m);
    if (draw(l->inspector, 0, 1))
        m->revision = (int64_t)draw(l->inspector, 1, (uint64_t)kv_revision(kv));
    kv_hash_kv(kv, &l->request, m);
}

static void ask(struct inspection *l, struct kv *kv)
{
    Etcdserverpb__LeaseLeasesRequest *leases;
    Etcdserverpb__StatusResponse status;
    switch (l->kind) {
    case INSPECT_MEMBERS:
        ask_members(l, kv);
        return;
    case INSPECT_LEASES:
        leases = arena_alloc(&l->arena, sizeof *leases);
        etcdserverpb__lease_leases_request__init(leases);
        kv_lease_leases(kv, &l->request, leases);
        return;
    case INSPECT_TIME_TO_LIVE:
        ask_time(l, kv);
        return;
    case INSPECT_HASH:
        ask_hash(l, kv);
        return;
    case INSPECT_BARRIER:
        kv_barrier(kv, &l->request);
        return;
    case INSPECT_ALARMS:
    case INSPECT_DISARM:
        ask_alarm(l, kv);
        return;
    case INSPECT_SNAPSHOT:
        l->export = kv_export_open(kv, on_export_ready, l);
        return;
    case INSPECT_STATUS:
        kv_status(kv, &l->arena, &status);
        inspection_free(l);
        return;
    case INSPECT_RIGHTS:
        rights_ask(l->inspector->world, &l->arena, kv, &l->request);
        return;
    case INSPECT_KINDS:
        return;
    }
}

static void inspect(struct inspector *i)
{
    struct world *w = i->world;
    struct process *p = w->machines[draw(i, 0, w->machine_count - 1)]->process;
    if (!process_is_up(p) || process_paused_until(p))
        return;
    struct inspection *l = mem_new(sizeof *l);
    l->inspector = i;
    l->at = p;
    l->kind = (enum inspection_kind)draw(i, 0, INSPECT_KINDS - 1 - !w->plan.rights);
    l->request.done = on_inspected;
    i->inspection = l;
    i->since_ns = w->clock.now_ns;
    cluster_running = p;
    ask(l, p->kv);
    cluster_running = NULL;
    process_touch(p);
}

static void on_next(struct sim_event *event)
{
    struct inspector *i = container_of(event, struct inspector, next);
    struct world *w = i->world;
    if (!i->inspection)
        inspect(i);
    else if (i->inspection->kind == INSPECT_SNAPSHOT)
        read_export(i->inspection);
    else if (process_is_up(i->inspection->at) && !process_paused_until(i->inspection->at) &&
             w->clock.now_ns - i->since_ns > INSPECT_MS * 1000000ULL) {
        kv_cancel(i->inspection->at->kv, &i->inspection->request);
        inspection_free(i->inspection);
    }
    if (!i->is_stopped)
        sim_clock_add(&w->clock, event, draw(i, 20, 400) * 1000000);
}

/* --- life ---------------------------------------------------------------------------------------------- */

struct inspector *inspector_new(struct world *w)
{
    struct inspector *i = mem_new(sizeof *i);
    i->world = w;
    i->next.fire = on_next;
    return i;
}

void inspector_start(struct inspector *i)
{
    sim_clock_add(&i->world->clock, &i->next, draw(i, 20, 400) * 1000000);
}

void inspector_stop(struct inspector *i)
{
    i->is_stopped = true;
    sim_clock_remove(&i->world->clock, &i->next);
}

void inspector_free(struct inspector *i)
{
    if (i->inspection && i->inspection->kind == INSPECT_SNAPSHOT)
        end_export(i->inspection, 0, OK);
    else if (i->inspection && i->world->is_violated)
        inspection_free(i->inspection);
    else if (i->inspection)
        world_violated(i->world, "answers", "a request of the inspector was never answered");
    mem_free(i);
}
