/* SPDX-License-Identifier: Apache-2.0
 * The door: checks requests, turns writes into log entries, keeps who waits for what, drives one turn. How
 * entries are applied is in kv_apply.c, reads in kv_read.c, opening and closing in kv_open.c, leadership and
 * the clock in kv_lead.c, what goes to other members in kv_peer.c, membership in kv_member.c. */
#include "consensus/kv_impl.h"

#include "base/failpoint.h"
#include "base/metric.h"
#include "base/turn.h"

#define PENDING_MAX     (1u << 20) /* proposals of this member that may wait at once */
#define LEASE_COST      64         /* as etcd counts a lease against the quota */
#define CLOCKS_PER_TURN 1000       /* of leases, after a promotion: about a millisecond */
#define REMOVED_LINGER_MS                                                                                    \
    300 /* a removed member tells the others that they have removed it, then it ends                         \
         */

/* --- who waits --------------------------------------------------------------------------------------- */

static void ring_grow(struct kv_ring *ring)
{
    size_t capacity = ring->capacity ? ring->capacity * 2 : 1024;
    struct kv_request **slots = mem_new(capacity * sizeof *slots);
    for (uint64_t n = ring->first; n < ring->next; n++)
        slots[n & (capacity - 1)] = ring->slots[n & (ring->capacity - 1)];
    mem_free(ring->slots);
    ring->slots = slots;
    ring->capacity = capacity;
}

uint64_t kv_ring_add(struct kv_ring *ring, struct kv_request *r)
{
    if (ring->next - ring->first == ring->capacity)
        ring_grow(ring);
    ring->slots[ring->next & (ring->capacity - 1)] = r;
    return ring->next++;
}

void kv_ring_clear(struct kv_ring *ring, uint64_t number)
{
    ring->slots[number & (ring->capacity - 1)] = NULL;
    while (ring->first < ring->next && !ring->slots[ring->first & (ring->capacity - 1)])
        ring->first++;
}

struct kv_request *kv_ring_find(const struct kv_ring *ring, uint64_t number)
{
    if (number < ring->first || number >= ring->next)
        return NULL;
    return ring->slots[number & (ring->capacity - 1)];
}

struct kv_request *kv_take_proposed(struct kv *kv, uint64_t member, uint64_t id)
{
    struct kv_ring *ring = &kv->ring;
    if (member != kv->member_id)
        return NULL;
    /* Never move the ring because of what an earlier run (under a clock that was ahead) has left in the log:
     * the next numbers of that run may be in the log too, and would find requests of this one. */
    struct kv_request *r = kv_ring_find(ring, id);
    if (r) {
        kv_ring_clear(ring, id);
        list_remove(&r->link);
        r->state = KV_IDLE;
    }
    return r;
}

/* Out of its list, and out of its ring. */
static void take_out(struct kv *kv, struct kv_request *r)
{
    if (r->state == KV_PROPOSED)
        kv_ring_clear(&kv->ring, r->id);
    else if (r->state == KV_CALLED && kv_ring_find(&kv->calls, r->id) == r)
        kv_ring_clear(&kv->calls, r->id);
    else if (r->state == KV_APPLYING)
        kv_forget_answer(kv);
    kv_drop_long(kv, r);
    list_remove(&r->link);
    r->state = KV_IDLE;
}

void kv_finish(struct kv *kv, struct kv_request *r, int err, const ProtobufCMessage *response)
{
    take_out(kv, r);
    r->done(r, err, response);
}

void kv_fail(struct kv *kv, struct kv_request *r, int err)
{
    r->state = KV_FAILED;
    r->slices = NULL;
    r->index = (uint64_t)-err;
    list_add_last(&kv->failed, &r->link);
}

void kv_add_waiting(struct kv *kv, struct kv_request *r)
{
    r->state = KV_WAITING;
    list_add_last(&kv->waiting, &r->link);
}

void kv_cancel(struct kv *kv, struct kv_request *r)
{
    if (r->state != KV_IDLE)
        take_out(kv, r);
}

static void answer_failed(struct kv *kv)
{
    struct link now;
    list_init(&now);
    list_move_all(&now, &kv->failed);
    struct link *l;
    while ((l = list_take_first(&now))) {
        struct kv_request *r = container_of(l, struct kv_request, link);
        r->state = KV_IDLE;
        r->done(r, -(int)r->index, NULL);
    }
}

/* --- writes ------------------------------------------------------------------------------------------ */

static const struct entry_who own = {.is_own = true};

/* A client's entry names its user, or nobody; whether that may be is looked at when it is applied. */
static struct entry_who author_of(const struct kv *kv, const struct kv_request *r)
{
    if (!r->who)
        return own;
    /* Nobody may do nothing once auth is enabled, whatever is needed; a role without a user writes nothing.
     */
    static const struct auth_needs none;
    bool is_nobody = r->who->is_role || !r->who->revision;
    const struct auth_needs *needs = r->needs && is_nobody ? &none : r->needs;
    if (r->who->is_role)
        return (struct entry_who){.needs = needs};
    /* With needs the entry carries the revision of the credential: unrelated changes do not make it old. */
    bool is_now =
        r->who->is_renewed && !r->needs && auth_check_user(&kv->auth, r->who) != ERR_AUTH_OLD_REVISION;
    uint64_t revision = is_now ? kv->auth.revision : r->who->revision;
    return (struct entry_who){.user = r->who->user, .auth_revision = revision, .needs = needs};
}

static int consensus_kv_propose(struct kv *kv, uint64_t id, enum entry_op op, const ProtobufCMessage *m,
                                const struct entry_who *who)
{
    if (kv->is_closing)
        return ERR_STOPPED;
    struct blob *data = entry_encode(kv->member_id, id, op, m, who);
    if (data->size > kv->request_bytes_max) {
        blob_unref(data);
        return ERR_REQUEST_TOO_LARGE;
    }
    bool is_internal = who->is_own && id == 0;
    return is_internal ? node_propose_internal(kv->node, data) : node_propose(kv->node, data);
}

int kv_propose(struct kv *kv, enum entry_op op, const ProtobufCMessage *m)
{
    return consensus_kv_propose(kv, 0, op, m, &own);
}

int kv_propose_as_leader(struct kv *kv, enum entry_op op, const ProtobufCMessage *m)
{
    return kv->is_closing ? ERR_STOPPED
                          : node_propose_as_leader(kv->node, entry_encode(kv->member_id, 0, op, m, &own));
}

void kv_wait_for_entry(struct kv *kv, struct kv_request *r)
{
    r->state = KV_PROPOSED;
    list_add_last(&kv->proposed, &r->link);
}

void kv_start_write(struct kv *kv, struct kv_request *r, enum kv_kind kind, enum entry_op op,
                    const ProtobufCMessage *m, int err)
{
    r->kind = kind;
    r->message = m;
    r->slices = NULL;
    r->started_ms = kv_now_ms(kv);
    if (!err && kv->diverged_since_ms)
        err = ERR_CORRUPT_CLUSTER;
    if (!err && feature_level_of(op) > kv->feature.level)
        err = ERR_NOT_CAPABLE;
    if (!err && kv->ring.next - kv->ring.first >= PENDING_MAX)
        err = ERR_TOO_MANY_REQUESTS;
    if (err) {
        kv_fail(kv, r, err);
        return;
    }
    r->id = kv_ring_add(&kv->ring, r);
    struct entry_who who = author_of(kv, r);
    err = consensus_kv_propose(kv, r->id, op, m, &who);
    if (err) {
        kv_ring_clear(&kv->ring, r->id);
        kv_fail(kv, r, err);
        return;
    }
    kv_wait_for_entry(kv, r);
}

/* The decision to stop at the quota is made in the log, so that all members make it at the same entry: the
 * request is refused here, and the alarm is proposed (reliability: never decide per member at apply). */
static int check_quota(struct kv *kv, uint64_t cost)
{
    if (kv->quota_bytes <= 0 || cost == 0)
        return OK;
    if (alarms_has(&kv->alarms, ETCDSERVERPB__ALARM_TYPE__NOSPACE))
        return ERR_NO_SPACE;
    if (store_live_size(kv->store) + cost < (uint64_t)kv->quota_bytes)
        return OK;
    if (!kv->is_space_alarm_proposed) {
        Etcdserverpb__AlarmRequest alarm = ETCDSERVERPB__ALARM_REQUEST__INIT;
        alarm.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
        alarm.memberid = kv->member_id;
        alarm.alarm = ETCDSERVERPB__ALARM_TYPE__NOSPACE;
        kv->is_space_alarm_proposed = kv_propose(kv, ENTRY_ALARM, &alarm.base) == OK;
    }
    return ERR_NO_SPACE;
}

void kv_put(struct kv *kv, struct kv_request *r, const Etcdserverpb__PutRequest *m)
{
    int err = store_check_put(m);
    if (!err)
        err = check_quota(kv, store_put_cost(m));
    enum entry_op op = ENTRY_PUT;
    if (kv->feature.level == FEATURE_LEVEL_TRIAL && FAILPOINT(TRIAL_LEVEL))
        op = ENTRY_TRIAL;
    kv_start_write(kv, r, KV_PUT, op, &m->base, err);
}

void kv_delete_range(struct kv *kv, struct kv_request *r, const Etcdserverpb__DeleteRangeRequest *m)
{
    kv_start_write(kv, r, KV_DELETE_RANGE, ENTRY_DELETE_RANGE, &m->base, store_check_delete_range(m));
}

void kv_txn(struct kv *kv, struct kv_request *r, const Etcdserverpb__TxnRequest *m)
{
    int err = store_check_txn(m, kv->txn_ops_max);
    if (!err && store_txn_is_read_only(m)) {
        kv_start_read(kv, r, KV_TXN_READ, &m->base, store_txn_is_serializable(m));
        return;
    }
    if (!err)
        err = check_quota(kv, store_txn_cost(m));
    kv_start_write(kv, r, KV_TXN, ENTRY_TXN, &m->base, err);
}

void kv_compact(struct kv *kv, struct kv_request *r, const Etcdserverpb__CompactionRequest *m)
{
    kv_start_write(kv, r, KV_COMPACT, ENTRY_COMPACTION, &m->base, OK);
}

/* Chosen here, once, so that every member applies the same one: a positive int63, as etcd's made of the
 * member, the milliseconds since 1970 when it started and a count. Ascending ids lie together in the store's
 * file: a commit of random ones touches nearly all pages that hold leases. */
static int64_t next_lease_id(struct kv *kv)
{
    uint64_t id;
    if (kv->lease_number == 0)
        kv->lease_number = kv->io->ops->wall_ns(kv->io) / 1000000 << 8;
    do
        id = (kv->member_id & 0x7fff) << 48 | (++kv->lease_number & UINT64_C(0xffffffffffff));
    while (id == 0 || lease_exists(kv->leases, (int64_t)id));
    return (int64_t)id;
}

void kv_lease_grant(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseGrantRequest *m)
{
    int err = m->ttl > LEASE_TTL_MAX ? ERR_LEASE_TTL_TOO_LARGE : check_quota(kv, LEASE_COST);
    if (err || m->id != 0) {
        kv_start_write(kv, r, KV_LEASE_GRANT, ENTRY_LEASE_GRANT, &m->base, err);
        return;
    }
    Etcdserverpb__LeaseGrantRequest with_id = *m;
    with_id.id = next_lease_id(kv);
    kv_start_write(kv, r, KV_LEASE_GRANT, ENTRY_LEASE_GRANT, &with_id.base, OK);
    r->message = &m->base;
}

void kv_lease_revoke(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseRevokeRequest *m)
{
    kv_start_write(kv, r, KV_LEASE_REVOKE, ENTRY_LEASE_REVOKE, &m->base, OK);
}

void kv_alarm(struct kv *kv, struct kv_request *r, const Etcdserverpb__AlarmRequest *m)
{
    kv_start_write(kv, r, KV_ALARM, ENTRY_ALARM, &m->base, OK);
}

/* --- what is known here at once ---------------------------------------------------------------------- */

void kv_header(const struct kv *kv, int64_t revision, Etcdserverpb__ResponseHeader *ret_header)
{
    etcdserverpb__response_header__init(ret_header);
    ret_header->cluster_id = kv->cluster_id;
    ret_header->member_id = kv->member_id;
    ret_header->revision = revision;
    ret_header->raft_term = kv->state.term;
}

struct io *kv_io(const struct kv *kv)
{
    return kv->io;
}

int64_t kv_revision(const struct kv *kv)
{
    return store_revision(kv->store);
}

uint64_t kv_leader(const struct kv *kv)
{
    return kv->state.leader;
}

bool kv_is_learner(const struct kv *kv)
{
    return kv->state.is_learner;
}

uint64_t kv_member_id(const struct kv *kv)
{
    return kv->member_id;
}

uint64_t kv_cluster_id(const struct kv *kv)
{
    return kv->cluster_id;
}

struct kv_space kv_space(const struct kv *kv)
{
    return (struct kv_space){store_live_size(kv->store), (uint64_t)kv->quota_bytes};
}

unsigned kv_alarms(const struct kv *kv)
{
    return (alarms_has(&kv->alarms, ETCDSERVERPB__ALARM_TYPE__NOSPACE) ? 1u : 0u) |
           (kv->diverged_since_ms ||
                    (alarms_has(&kv->alarms, ETCDSERVERPB__ALARM_TYPE__CORRUPT) && kv_is_stopped(kv))
                ? 2u
                : 0u);
}

int kv_failed(const struct kv *kv)
{
    return kv->failed_err ? kv->failed_err : store_failed(kv->store);
}

const char *kv_failed_at(const struct kv *kv)
{
    if (kv->diverged_since_ms)
        return "this member's state differs from that of the majority; at its next start it sets its folder "
               "aside "
               "and joins anew";
    if (kv->failed_err == ERR_LEVEL)
        return kv->level_text;
    return kv->failed_err ? "the log cannot be written" : "the store's file cannot be read or written";
}

void kv_on_ready(struct kv *kv, void (*fn)(void *arg), void *arg)
{
    kv->on_ready = fn;
    kv->on_ready_arg = arg;
}

void kv_on_leader(struct kv *kv, void (*fn)(void *arg, bool has_leader), void *arg)
{
    kv->on_leader = fn;
    kv->on_leader_arg = arg;
}

bool kv_is_removed(const struct kv *kv)
{
    return kv->removed_ms && kv->turn_ms >= kv->removed_ms + REMOVED_LINGER_MS;
}

void kv_on_query(struct kv *kv,
                 void (*fn)(void *arg, struct peer_served_query *question, const struct peer_query_sender *asker,
                            struct slice text),
                 void *arg)
{
    kv->on_query = fn;
    kv->on_query_arg = arg;
}

struct watch_stream *kv_watch_open(struct kv *kv, void (*on_ready)(void *arg), void *arg)
{
    return watch_stream_open(kv->hub, on_ready, arg);
}

/* etcd's Status: the errors are the leader's absence and each alarm in protobuf's text form. */
void kv_status(struct kv *kv, struct arena *a, Etcdserverpb__StatusResponse *r)
{
    struct store_sizes sizes = store_sizes(kv->store);
    etcdserverpb__status_response__init(r);
    r->header = arena_alloc(a, sizeof *r->header);
    kv_header(kv, store_revision(kv->store), r->header);
    r->version = arena_string(a, "3.7.1", 5);
    r->storageversion = (char *)(uintptr_t)kv_cluster_version(kv, a); /* follows it, as etcd's does */
    r->dbsize = (int64_t)sizes.file;
    r->dbsizeinuse = (int64_t)sizes.in_use;
    r->dbsizequota = kv->quota_bytes;
    r->leader = kv->state.leader;
    r->raftindex = kv->state.commit;
    r->raftterm = kv->state.term;
    r->raftappliedindex = store_applied_index(kv->store);
    r->islearner = kv->state.is_learner;
    r->downgradeinfo = arena_alloc(a, sizeof *r->downgradeinfo);
    etcdserverpb__downgrade_info__init(r->downgradeinfo);
    r->downgradeinfo->enabled = kv->feature.target_minor != 0;
    if (kv->feature.target_minor)
        r->downgradeinfo->targetversion = arena_printf(a, "3.%u.0", kv->feature.target_minor);
    r->errors = arena_alloc(a, (kv->alarms.count + 1) * sizeof(char *));
    if (!kv->state.leader)
        r->errors[r->n_errors++] = arena_printf(a, "%s", err_text(ERR_NO_LEADER));
    for (size_t i = 0; i < kv->alarms.count; i++) {
        const Etcdserverpb__AlarmMember *alarm = &kv->alarms.list[i];
        r->errors[r->n_errors++] =
            arena_printf(a, "memberID:%llu alarm:%s", (unsigned long long)alarm->memberid,
                         alarm->alarm == ETCDSERVERPB__ALARM_TYPE__NOSPACE ? "NOSPACE" : "CORRUPT");
    }
}

/* --- the turn ---------------------------------------------------------------------------------------- */

static void set_gauges(struct kv *kv)
{
    metric_set(METRIC_PROPOSALS_COMMITTED, (double)kv->state.commit);
    metric_set(METRIC_PROPOSALS_APPLIED, (double)store_applied_index(kv->store));
    metric_set(METRIC_PENDING_BYTES, (double)node_pending_bytes(kv->node));
    metric_set(METRIC_STORE_PENDING_BYTES, (double)store_pending_bytes(kv->store));
    metric_set(METRIC_PROPOSALS_PENDING, (double)(kv->ring.next - kv->ring.first));
}

void kv_schedule_turn(struct kv *kv)
{
    if (kv->is_turn_scheduled)
        return;
    kv->is_turn_scheduled = true;
    kv->io->ops->timer_start(kv->io, &kv->again, 0);
}

void kv_turn(struct kv *kv)
{
    turn_enter(TURN_KV_OTHER);
    kv_note_time(kv);
    answer_failed(kv);
    if (kv->is_closing)
        return;
    kv_member_rpc_turn(kv);
    turn_enter(TURN_KV_RANGE);
    kv_run_reads(kv);
    turn_enter(TURN_KV_PROPOSE);
    node_turn(kv->node);
    turn_enter(TURN_KV_RANGE);
    kv_run_reads(kv);
    turn_enter(TURN_KV_PEERS);
    if (kv->peers)
        kv_peer_turn(kv);
    kv_note_given(kv);
    if (!kv->is_ready)
        kv_check_ready(kv);
    answer_failed(kv);
    turn_enter(TURN_KV_OTHER);
    bool has_more = kv_auth_turn(kv);
    turn_enter(TURN_WATCH_DELIVER);
    has_more |= watch_turn(kv->hub, kv->turn_ms);
    has_more |= !list_is_empty(&kv->failed) || node_is_applying(kv->node);
    turn_enter(TURN_KV_LEASES);
    has_more |= lease_start_clocks(kv->leases, CLOCKS_PER_TURN);
    turn_enter(TURN_KV_STORE);
    store_turn(kv->store); /* last: it closes the read view of this turn */
    set_gauges(kv);
    if (has_more)
        kv_schedule_turn(kv);
}
