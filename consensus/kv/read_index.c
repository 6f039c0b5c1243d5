/* SPDX-License-Identifier: Apache-2.0
 * Linearizable reads: all that came in one turn share one ReadIndex round.
 *
 * 1. The round gets an id that is never used twice. (etcd #20418: a re-used id let a paused leader answer
 * stale.)
 * 2. A quorum confirms the leader; the round's index is the commit index at its begin.
 * 3. When that index is applied here, the reads run together on the store.
 *
 * Local (serializable) reads begin at step 3. */
#include "consensus/kv/kv_impl.h"

#include <assert.h>

#include "base/metric.h"
#include "base/mutant.h"
#include "base/turn_queue.h"

#define READS_NS       2000000 /* twice in a turn */
#define LONG_READS_NS  1000000 /* less for what goes on in the next turn anyway */
#define RANGE_UNITS    8192    /* a range that takes more steps from key to key is cut into slices */
#define CLOCK_EVERY    8
#define SHORT_SLICES   64 /* after a small read */
#define SHORT_DIVISOR  8
#define PREFETCH_BATCH 16
#define PREFETCH_WORTH 4   /* fewer than this: the misses are not worth a second look */
#define ROUND_RETRY_MS 500 /* a round without an answer starts again under a fresh id, as in etcd */

void kv_start_read(struct kv *kv, struct kv_request *r, enum kv_kind kind, const ProtobufCMessage *m,
                   bool is_local)
{
    r->kind = kind;
    r->message = m;
    r->slices = NULL;
    r->op = 0;
    r->begun_ns = kv_clock_ns(kv);
    r->started_ms = r->begun_ns / 1000000;
    r->index = 0;
    if (kv_is_diverged(kv)) {
        kv_fail(kv, r, ERR_CORRUPT_CLUSTER);
        return;
    }
    if (is_local) {
        r->state = KV_READY;
        list_add_last(&kv->read_index.ready, &r->link);
    } else {
        r->state = KV_READING;
        list_add_last(&kv->read_index.next_round, &r->link);
    }
}

void kv_range(struct kv *kv, struct kv_request *r, const Etcdserverpb__RangeRequest *m)
{
    int err = store_check_range(m);
    if (err)
        kv_fail(kv, r, err);
    else
        kv_start_read(kv, r, KV_RANGE, &m->base, m->serializable);
}

void kv_barrier(struct kv *kv, struct kv_request *r)
{
    kv_start_read(kv, r, KV_BARRIER, NULL, false);
}

/* Requests that only the leader can answer: how much time a lease has left. */
static void start_at_leader(struct kv *kv, struct kv_request *r, enum kv_kind kind, const ProtobufCMessage *m)
{
    if (kv->state.is_leader || !kv->peers || kv_is_from_member(r))
        kv_start_read(kv, r, kind, m, MUTANT(KEEP_ALIVE_OF_DEPOSED));
    else
        kv_start_call(kv, r, kind, m);
}

void kv_lease_keep_alive(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseKeepAliveRequest *m)
{
    /* The round proves that this member still leads after the request came in: a former leader never renews a
     * lease (etcd #15247). A lease that was granted just before is applied by then. */
    start_at_leader(kv, r, KV_KEEP_ALIVE, &m->base);
}

void kv_lease_time_to_live(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseTimeToLiveRequest *m)
{
    start_at_leader(kv, r, KV_TIME_TO_LIVE, &m->base);
}

void kv_lease_leases(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseLeasesRequest *m)
{
    kv_start_read(kv, r, KV_LEASE_LEASES, &m->base, true);
}

void kv_member_list(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberListRequest *m)
{
    kv_start_read(kv, r, KV_MEMBER_LIST, &m->base, !m->linearizable);
}

void kv_hash(struct kv *kv, struct kv_request *r, const Etcdserverpb__HashRequest *m)
{
    kv_start_read(kv, r, KV_HASH, &m->base, true);
}

void kv_hash_kv(struct kv *kv, struct kv_request *r, const Etcdserverpb__HashKVRequest *m)
{
    kv_start_read(kv, r, KV_HASH_KV, &m->base, true);
}

void kv_defragment(struct kv *kv, struct kv_request *r, const Etcdserverpb__DefragmentRequest *m)
{
    kv_start_read(kv, r, KV_DEFRAGMENT, &m->base, true);
}

int kv_range_now(struct kv *kv, const Etcdserverpb__RangeRequest *m, struct arena *a,
                 Etcdserverpb__RangeResponse **ret_response)
{
    int err = store_check_range(m);
    if (err)
        return err;
    Etcdserverpb__RangeResponse *response;
    err = store_range(kv->store, m, a, &response);
    if (err)
        return err;
    kv_header(kv, response->header->revision, response->header);
    *ret_response = response;
    return OK;
}

int kv_range_page(struct kv *kv, const Etcdserverpb__RangeRequest *m, struct arena *a,
                  Etcdserverpb__RangeResponse **ret_response)
{
    int err = store_check_range(m);
    if (!err)
        err = store_range_page(kv->store, m, a, ret_response);
    if (!err)
        kv_header(kv, (*ret_response)->header->revision, (*ret_response)->header);
    return err;
}

/* --- one read, on the applied state ------------------------------------------------------------------ */

static void run_range(struct kv *kv, struct kv_request *r)
{
    Etcdserverpb__RangeResponse *response = NULL;
    const Etcdserverpb__RangeRequest *m = (const Etcdserverpb__RangeRequest *)r->message;
    int err = store_range_short(kv->store, m, r->on_part ? RANGE_UNITS : 0, &kv->arena, &response);
    if (!err && !response) {
        kv_scan_start(kv, r);
        return;
    }
    if (!err)
        kv_header(kv, response->header->revision, response->header);
    kv_time_range(kv, !err);
    kv_finish(kv, r, err, response ? &response->base : NULL);
}

static void run_txn(struct kv *kv, struct kv_request *r)
{
    Etcdserverpb__TxnResponse *response = NULL;
    if (store_txn_is_long(kv->store, (const Etcdserverpb__TxnRequest *)r->message, true)) {
        kv_scan_start(kv, r);
        return;
    }
    int err = store_txn_read(kv->store, (const Etcdserverpb__TxnRequest *)r->message, &kv->arena, &response);
    if (!err)
        kv_header(kv, response->header->revision, response->header);
    kv_finish(kv, r, err, response ? &response->base : NULL);
}

/* r is in no list: it goes to the leader as a call; if another member passed it on, it fails. */
static void pass_to_leader(struct kv *kv, struct kv_request *r)
{
    uint64_t started_ms = r->started_ms;
    if (kv_is_from_member(r)) {
        kv_fail(kv, r, ERR_NOT_LEADER);
        return;
    }
    kv_start_call(kv, r, (enum kv_kind)r->kind, r->message);
    r->started_ms = started_ms;
}

/* No other member can have been elected within an election timeout of the moment at which a quorum last heard
 * of this one. That was after the round began (r->id). If that time is over, or this member does not lead,
 * the request goes back: into a new round, to the leader, or to the member that sent it. */
static bool goes_elsewhere(struct kv *kv, struct kv_request *r)
{
    if (!kv->peers || MUTANT(KEEP_ALIVE_OF_DEPOSED))
        return false;
    bool leads = kv->state.is_leader && node_is_leader(kv->node);
    if (leads && kv_now_ms(kv) - r->id < kv->settings.election_ms)
        return false;
    list_remove(&r->link);
    if (leads) {
        r->state = KV_READING;
        list_add_last(&kv->read_index.next_round, &r->link);
    } else {
        pass_to_leader(kv, r);
    }
    return true;
}

/* The log knows a shorter rest of this lease than the renewal gives it. The checkpoint must be gone before
 * the client is answered, or the next leader would end the lease early. The request comes back here when that
 * entry is applied. */
static void forget_checkpoint(struct kv *kv, struct kv_request *r, int64_t id)
{
    Etcdserverpb__LeaseCheckpoint row = ETCDSERVERPB__LEASE_CHECKPOINT__INIT, *rows[] = {&row};
    Etcdserverpb__LeaseCheckpointRequest m = ETCDSERVERPB__LEASE_CHECKPOINT_REQUEST__INIT;
    row.id = id;
    m.checkpoints = rows;
    m.n_checkpoints = 1;
    const ProtobufCMessage *keep_alive = r->message;
    list_remove(&r->link);
    kv_start_write(kv, r, KV_KEEP_ALIVE, ENTRY_LEASE_CHECKPOINT, &m.base, OK);
    r->message = keep_alive;
}

/* An unknown or expired lease is answered with TTL 0 and no error. */
static void run_keep_alive(struct kv *kv, struct kv_request *r)
{
    const Etcdserverpb__LeaseKeepAliveRequest *m = (const Etcdserverpb__LeaseKeepAliveRequest *)r->message;
    if (goes_elsewhere(kv, r))
        return;
    if (lease_is_checkpointed(kv->leases, m->id) && !MUTANT(LEASE_REST_KEPT)) {
        forget_checkpoint(kv, r, m->id);
        return;
    }
    Etcdserverpb__ResponseHeader header;
    Etcdserverpb__LeaseKeepAliveResponse response = ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT;
    kv_header(kv, store_revision(kv->store), &header);
    response.header = &header;
    response.id = m->id;
    int err = lease_renew(kv->leases, m->id, kv_lease_start_ms(kv), &response.ttl);
    if (err == ERR_LEASE_NOT_FOUND)
        err = OK;
    else if (!err)
        metric_add(METRIC_LEASE_RENEWED, 1);
    kv_finish(kv, r, err, &response.base);
}

static void run_time_to_live(struct kv *kv, struct kv_request *r)
{
    const Etcdserverpb__LeaseTimeToLiveRequest *m = (const Etcdserverpb__LeaseTimeToLiveRequest *)r->message;
    if (goes_elsewhere(kv, r))
        return;
    if (m->keys && store_is_paused(kv->store)) { /* keys come and go while an entry is open */
        list_remove(&r->link);
        list_add_last(&kv->read_index.ready, &r->link);
        return;
    }
    if (kv_lease_scan_is_needed(kv, r)) {
        kv_scan_start(kv, r);
        return;
    }
    Etcdserverpb__ResponseHeader header;
    Etcdserverpb__LeaseTimeToLiveResponse response = ETCDSERVERPB__LEASE_TIME_TO_LIVE_RESPONSE__INIT;
    kv_header(kv, store_revision(kv->store), &header);
    response.header = &header;
    response.id = m->id;
    lease_time_to_live(kv->leases, m->id, kv_now_ms(kv), &response.ttl, &response.grantedttl);
    struct slice *keys = NULL;
    size_t count = 0;
    if (m->keys && lease_keys(kv->leases, m->id, &keys, &count) == OK && count) {
        response.keys = arena_alloc(&kv->arena, count * sizeof *response.keys);
        response.n_keys = count;
        for (size_t i = 0; i < count; i++)
            response.keys[i] =
                (ProtobufCBinaryData){keys[i].size, arena_copy(&kv->arena, keys[i].data, keys[i].size)};
    }
    mem_free(keys);
    kv_finish(kv, r, OK, &response.base);
}

static void run_leases(struct kv *kv, struct kv_request *r)
{
    if (kv_lease_scan_is_needed(kv, r)) {
        kv_scan_start(kv, r);
        return;
    }
    Etcdserverpb__ResponseHeader header;
    Etcdserverpb__LeaseLeasesResponse response = ETCDSERVERPB__LEASE_LEASES_RESPONSE__INIT;
    kv_header(kv, store_revision(kv->store), &header);
    response.header = &header;
    int64_t *ids;
    size_t count = lease_list(kv->leases, &ids);
    Etcdserverpb__LeaseStatus *rows = arena_alloc(&kv->arena, (count + 1) * sizeof *rows);
    response.leases = arena_alloc(&kv->arena, (count + 1) * sizeof(Etcdserverpb__LeaseStatus *));
    response.n_leases = count;
    for (size_t i = 0; i < count; i++) {
        etcdserverpb__lease_status__init(&rows[i]);
        rows[i].id = ids[i];
        response.leases[i] = &rows[i];
    }
    mem_free(ids);
    kv_finish(kv, r, OK, &response.base);
}

/* The Cluster service's headers carry no revision (etcd's own habit). */
static void run_member_list(struct kv *kv, struct kv_request *r)
{
    Etcdserverpb__ResponseHeader header;
    Etcdserverpb__MemberListResponse response = ETCDSERVERPB__MEMBER_LIST_RESPONSE__INIT;
    kv_header(kv, 0, &header);
    response.header = &header;
    members_fill(&kv->members, &kv->arena, &response.n_members, &response.members);
    kv_finish(kv, r, OK, &response.base);
}

static void kv_read_run(struct kv *kv, struct kv_request *r)
{
    arena_reset(&kv->arena);
    kv_scan_leave_queue(kv, r);
    if (kv_auth_is_enabled(kv) && r->who) {
        int err = kv_check_read(kv, r);
        if (err) {
            kv_finish(kv, r, err, NULL);
            return;
        }
    }
    if (r->slices) {
        kv_scan_run(kv, r);
        return;
    }
    switch ((enum kv_kind)r->kind) {
    case KV_RANGE:
        run_range(kv, r);
        return;
    case KV_TXN_READ:
        run_txn(kv, r);
        return;
    case KV_KEEP_ALIVE:
        run_keep_alive(kv, r);
        return;
    case KV_TIME_TO_LIVE:
        run_time_to_live(kv, r);
        return;
    case KV_LEASE_LEASES:
        run_leases(kv, r);
        return;
    case KV_MEMBER_LIST:
        run_member_list(kv, r);
        return;
    case KV_HASH:
    case KV_HASH_KV:
        kv_scan_start(kv, r);
        return;
    case KV_DEFRAGMENT:
        list_remove(&r->link);
        kv_defrag_add(kv, r);
        return;
    case KV_BARRIER:
        kv_finish(kv, r, OK, NULL);
        return;
    case KV_PUT:
    case KV_DELETE_RANGE:
    case KV_TXN:
    case KV_COMPACT:
    case KV_LEASE_GRANT:
    case KV_LEASE_REVOKE:
    case KV_ALARM:
    case KV_MEMBER_ADD:
    case KV_MEMBER_REMOVE:
    case KV_MEMBER_UPDATE:
    case KV_MEMBER_PROMOTE:
    case KV_MEMBER_REPLACE:
    case KV_MOVE_LEADER:
    case KV_MEMBER_CLAIM:
    case KV_AUTH:
    case KV_DOWNGRADE:
        break;
    }
    assert(!"a write is never in the list of reads");
}

/* --- rounds ------------------------------------------------------------------------------------------ */

static void start_round(struct kv *kv)
{
    uint64_t now = kv_now_ms(kv);
    if (kv->read_index.round_id && now - kv->read_index.round_started_ms < ROUND_RETRY_MS)
        return;
    uint64_t id = kv->io->ops->random(kv->io) | 1;
    if (MUTANT(READ_ID_REUSED))
        id = kv->member_id | 1;
    if (node_read(kv->node, id) != OK) {
        kv->read_index.round_id = 0; /* no leader now: they wait for one, until their limit passes */
        return;
    }
    if (kv->read_index.round_id)
        metric_add(METRIC_SLOW_READ_INDEX, 1);
    list_move_all(&kv->read_index.round, &kv->read_index.next_round);
    kv->read_index.round_id = id;
    kv->read_index.round_started_ms = now;
}

void kv_read_done(void *arg, uint64_t read_id, uint64_t index)
{
    struct kv *kv = arg;
    if (read_id != kv->read_index.round_id)
        return; /* an answer to an attempt that was given up */
    kv->read_index.round_id = 0;
    LIST_FOR_EACH (l, &kv->read_index.round) {
        struct kv_request *r = container_of(l, struct kv_request, link);
        r->state = KV_READY;
        r->index = index;
        r->id = kv->read_index.round_started_ms;
    }
    list_move_all(&kv->read_index.ready, &kv->read_index.round);
}

/* A single key, a lease: so little that the clock is not read each time. */
static bool is_small(const struct kv_request *r)
{
    if (r->kind == KV_RANGE)
        return ((const Etcdserverpb__RangeRequest *)r->message)->range_end.len == 0;
    return r->kind == KV_KEEP_ALIVE || r->kind == KV_BARRIER;
}

void kv_add_ready(struct kv *kv, struct kv_request *r)
{
    r->state = KV_READY;
    list_add_last(&kv->read_index.ready, &r->link);
}

void kv_park_read(struct kv *kv, struct kv_request *r)
{
    list_remove(&r->link);
    r->state = KV_PARKED;
    list_add_last(&kv->read_index.parked, &r->link);
}

void kv_resume(struct kv *kv, struct kv_request *r)
{
    if (r->state != KV_PARKED)
        return;
    list_remove(&r->link);
    r->state = KV_READY;
    r->started_ms = kv_turn_ms(kv); /* the time its client took is not ours */
    list_add_last(&kv->read_index.ready, &r->link);
    kv_schedule_turn(kv);
}

/* The first requests of the list are about to run: what single-key ranges need is fetched for all of them
 * together. */
static void prefetch(struct store *store, struct link *requests)
{
    for (unsigned step = 0; step < STORE_PREFETCH_STEPS; step++) {
        size_t count = 0;
        for (struct link *l = requests->next; l != requests && count < PREFETCH_BATCH; l = l->next) {
            const struct kv_request *r = container_of(l, struct kv_request, link);
            const Etcdserverpb__RangeRequest *m = (const Etcdserverpb__RangeRequest *)r->message;
            if (r->kind == KV_RANGE && m->range_end.len == 0 && m->revision == 0)
                store_prefetch(store, slice_of(m->key.data, m->key.len), step);
            count++;
        }
        if (count < PREFETCH_WORTH)
            break;
    }
}

/* The rest goes on in the next turn, after writes and other reads had theirs. */
static bool is_time_over(struct kv *kv, uint64_t begin_ns, uint64_t share, bool is_long)
{
    uint64_t now_ns = kv_clock_ns(kv);
    kv_time_reads_note(kv, now_ns);
    if (now_ns - begin_ns >= (is_long ? LONG_READS_NS : READS_NS))
        return true;
    return turn_share_is_spent(share);
}

/* Reads that go on in slices leave the others: these come first. */
static void split_long(struct link *now, struct link *ret_long)
{
    struct link all;
    list_init(&all);
    list_init(ret_long);
    list_move_all(&all, now);
    for (struct link *l; (l = list_take_first(&all));)
        list_add_last(container_of(l, struct kv_request, link)->slices ? ret_long : now, l);
}

struct reads_pass {
    uint64_t applied, begin_ns, share;
    unsigned count;
};

/* False: the time is over. */
static bool run_one_read(struct kv *kv, struct reads_pass *p, struct kv_request *r)
{
    bool is_long = r->slices != NULL;
    bool must_look = ++p->count % CLOCK_EVERY == 0 || !is_small(r);
    if (r->index > p->applied && !MUTANT(READ_BEFORE_APPLY)) {
        list_remove(&r->link);
        list_add_last(&kv->read_index.ready, &r->link);
        return true;
    }
    if (!r->slices && r->has_room && !r->has_room(r)) {
        kv_park_read(kv, r);
        return true;
    }
    if (!is_long && is_small(r))
        kv->read_index.slices_short = SHORT_SLICES;
    else if (is_long && kv->read_index.slices_short)
        kv->read_index.slices_short--;
    kv_read_run(kv, r);
    return !must_look || !is_time_over(kv, p->begin_ns, p->share, is_long);
}

int64_t kv_slice_units(const struct kv *kv, int64_t units)
{
    bool has_others = kv->read_index.slices_short || kv_pending_proposals(kv);
    return has_others ? units / SHORT_DIVISOR : units;
}

void kv_run_reads(struct kv *kv)
{
    if (!list_is_empty(&kv->read_index.next_round) || !list_is_empty(&kv->read_index.round))
        start_round(kv);
    if (list_is_empty(&kv->read_index.ready))
        return;
    struct reads_pass p = {
        .applied = store_applied_index(kv->store), .begin_ns = kv_clock_ns(kv), .share = turn_share()};
    kv_time_reads_begin(kv, p.begin_ns);
    if (MUTANT(READ_BEFORE_INSTALL) && kv_is_installing(kv))
        p.applied = UINT64_MAX;
    struct link now, slices;
    list_init(&now);
    list_move_all(&now, &kv->read_index.ready);
    split_long(&now, &slices);
    bool has_time = true;
    while (has_time && !list_is_empty(&now)) {
        if (p.count % PREFETCH_BATCH == 0)
            prefetch(kv->store, &now);
        has_time = run_one_read(kv, &p, container_of(now.next, struct kv_request, link));
    }
    /* One slice runs in any case, so small reads cannot hold long ones up for ever. */
    for (has_time = true; has_time && !list_is_empty(&slices);)
        has_time = run_one_read(kv, &p, container_of(slices.next, struct kv_request, link));
    kv_time_reads_end(kv);
    if (list_is_empty(&now) && list_is_empty(&slices))
        return;
    list_move_all(&now, &slices);
    list_move_all(&now, &kv->read_index.ready);
    list_move_all(&kv->read_index.ready, &now);
    kv_schedule_turn(kv);
}

void kv_read_index_fail(struct kv *kv, int err)
{
    struct link *l;
    kv->read_index.round_id = 0;
    if (list_is_empty(&kv->read_index.round))
        return;
    while ((l = list_take_first(&kv->read_index.round))) {
        struct kv_request *r = container_of(l, struct kv_request, link);
        kv_time_request(kv, r, false);
        if (r->kind == KV_KEEP_ALIVE || r->kind == KV_TIME_TO_LIVE)
            pass_to_leader(kv, r);
        else
            kv_fail(kv, r, err);
    }
    metric_add(METRIC_READ_INDEX_FAILED, 1);
}

void kv_read_index_forget(struct kv *kv)
{
    kv->read_index.round_id = 0;
}

/* --- for the reads in slices (scan.c) ----------------------------------------------------------------- */

void kv_yield_read(struct kv *kv, struct kv_request *r)
{
    list_remove(&r->link);
    list_add_last(&kv->read_index.ready, &r->link);
    r->started_ms = kv_turn_ms(kv);
    kv_schedule_turn(kv);
}

void kv_resume_scan(struct kv *kv)
{
    LIST_FOR_EACH (link, &kv->read_index.parked) {
        struct kv_request *r = container_of(link, struct kv_request, link);
        if (!r->slices)
            continue;
        kv_resume(kv, r);
        return;
    }
}

void kv_visit_reads(struct kv *kv, void (*fn)(struct kv_request *r))
{
    LIST_FOR_EACH (link, &kv->read_index.ready)
        fn(container_of(link, struct kv_request, link));
    LIST_FOR_EACH (link, &kv->read_index.parked)
        fn(container_of(link, struct kv_request, link));
}

/* --- limits, begin and end ----------------------------------------------------------------------------- */

void kv_expire_reads(struct kv *kv)
{
    const struct link *oldest =
        !list_is_empty(&kv->read_index.round) ? &kv->read_index.round : &kv->read_index.next_round;
    if (!list_is_empty(oldest) &&
        kv_now_ms(kv) - container_of(oldest->next, struct kv_request, link)->started_ms >=
            kv->settings.limit_ms)
        metric_add(METRIC_SLOW_READ_INDEX, 1); /* once for all that wait, as one round would serve them */
    kv_expire_list(kv, &kv->read_index.next_round);
    kv_expire_list(kv, &kv->read_index.round);
    kv_expire_list(kv, &kv->read_index.ready);
}

void kv_read_index_init(struct kv_read_index *q)
{
    list_init(&q->next_round);
    list_init(&q->round);
    list_init(&q->ready);
    list_init(&q->parked);
}

void kv_read_index_stop(struct kv *kv)
{
    kv_stop_list(kv, &kv->read_index.next_round);
    kv_stop_list(kv, &kv->read_index.round);
    kv_stop_list(kv, &kv->read_index.ready);
    kv_stop_list(kv, &kv->read_index.parked);
}
