/* SPDX-License-Identifier: Apache-2.0
 * Reads in slices: those that would hold the loop for longer than a turn lasts. These are a Range of very
 * many keys, HashKV, Hash, a transaction that only reads, a lease with very many keys, and a list of very
 * many leases (lease_scan.c).
 *
 * A slice lasts about a millisecond. After it the read goes to the end of the ready ones, so that writes,
 * heartbeats and short reads have their turn. The answer is that of one moment: its revision is pinned when
 * the first slice runs.
 *
 * A compaction may pass that revision meanwhile:
 *   a Range that names a revision   ends with ERR_COMPACTED, as in etcd
 *   any other                       begins anew; after RESTARTS_MAX times a Range runs without a break
 *
 * At most LONG_READS_MAX are under way, because each holds its answer so far; others wait in
 * `parked`. A Range or a read of leases without on_part runs in one piece, however long. */
#include "base/metric.h"
#include "consensus/kv/kv_impl.h"

#define LONG_READS_MAX 4
#define SLICE_UNITS    4096
#define RESTARTS_MAX   3

struct kv_scan {
    bool is_under_way; /* counted in kv->scans.count */
    unsigned restarts;
    uint64_t begun_ns;
    struct store_walk *walk;
    struct store_hash_walk *hash;
    struct store_work *txn;
    struct kv_lease_scan *leases;
    struct buf own; /* a txn's answer, if the request has no place for it */
};

static bool is_range(const struct kv_request *r)
{
    return r->kind == KV_RANGE;
}

static void kv_scan_clear(struct kv_scan *l)
{
    store_walk_free(l->walk);
    store_hash_walk_free(l->hash);
    store_work_free(l->txn);
    kv_lease_scan_free(l->leases);
    buf_done(&l->own);
    l->txn = NULL;
    l->walk = NULL;
    l->hash = NULL;
    l->leases = NULL;
}

void kv_scan_drop(struct kv *kv, struct kv_request *r)
{
    struct kv_scan *l = r->slices;
    if (!l)
        return;
    r->slices = NULL;
    kv_scan_clear(l);
    if (l->is_under_way) {
        kv->scans.count--;
        kv_resume_scan(kv);
    }
    mem_free(l);
}

static bool is_of_leases(const struct kv_request *r)
{
    return r->kind == KV_TIME_TO_LIVE || r->kind == KV_LEASE_LEASES;
}

/* A read of leases that waited for its place, or begins anew, checks again which member leads and whether an
 * entry is open. The place that it was resumed for goes to the next one, should it not come back. */
void kv_scan_leave_queue(struct kv *kv, struct kv_request *r)
{
    if (!r->slices || !is_of_leases(r) || r->slices->leases)
        return;
    kv_scan_drop(kv, r);
    kv_resume_scan(kv);
}

/* --- ranges ------------------------------------------------------------------------------------------ */

static void finish_range_at_once(struct kv *kv, struct kv_request *r)
{
    Etcdserverpb__RangeResponse *response;
    int err = store_range(kv->store, (const Etcdserverpb__RangeRequest *)r->message, &kv->arena, &response);
    if (!err)
        kv_header(kv, response->header->revision, response->header);
    kv_finish(kv, r, err, err ? NULL : &response->base);
}

/* OK with the request finished or in some list again; else what it is to be finished with. */
static int range_slice(struct kv *kv, struct kv_request *r, struct kv_scan *l)
{
    Etcdserverpb__RangeResponse *part;
    bool is_last = false;
    if (!l->walk)
        l->walk = store_walk_new(kv->store, (const Etcdserverpb__RangeRequest *)r->message, SLICE_UNITS);
    int64_t units = kv_slice_units(kv, SLICE_UNITS);
    int err = store_walk_step_units(l->walk, &kv->arena, &units, &part, &is_last);
    if (err)
        return err;
    if (part->header)
        kv_header(kv, part->header->revision, part->header);
    if (is_last) {
        kv_time_long_range(kv, l->begun_ns, true);
        kv_finish(kv, r, OK, &part->base);
        return OK;
    }
    if ((part->header || part->n_kvs) && !r->on_part(r, &part->base))
        return ERR_LIMIT;
    kv_yield_read(kv, r);
    return OK;
}

/* --- hashes ------------------------------------------------------------------------------------------ */

static void finish_hash(struct kv *kv, struct kv_request *r, const struct kv_scan *l)
{
    Etcdserverpb__ResponseHeader header;
    Etcdserverpb__HashKVResponse kv_response = ETCDSERVERPB__HASH_KVRESPONSE__INIT;
    Etcdserverpb__HashResponse response = ETCDSERVERPB__HASH_RESPONSE__INIT;
    kv_header(kv, store_revision(kv->store), &header);
    kv_response.header = response.header = &header;
    double took_s = (double)(kv_clock_ns(kv) - l->begun_ns) / 1e9;
    metric_observe(r->kind == KV_HASH ? METRIC_HASH_TIME : METRIC_HASH_KV_TIME, took_s);
    store_hash_walk_result(l->hash, &kv_response);
    response.hash = kv_response.hash;
    kv_finish(kv, r, OK, r->kind == KV_HASH ? &response.base : &kv_response.base);
}

static int hash_slice(struct kv *kv, struct kv_request *r, struct kv_scan *l)
{
    const Etcdserverpb__HashKVRequest *m = (const Etcdserverpb__HashKVRequest *)r->message;
    bool is_last = false;
    int err = OK;
    if (!l->hash)
        err = store_hash_walk_new(kv->store, r->kind == KV_HASH, r->kind == KV_HASH ? 0 : m->revision,
                                  &l->hash);
    if (!err)
        err = store_hash_walk_step(l->hash, l->restarts < RESTARTS_MAX ? SLICE_UNITS : INT64_MAX, &is_last);
    if (err)
        return err;
    if (is_last) {
        finish_hash(kv, r, l);
        return OK;
    }
    kv_yield_read(kv, r);
    return OK;
}

/* --- transactions that only read --------------------------------------------------------------------- */

static void finish_txn(struct kv *kv, struct kv_request *r, const struct kv_scan *l)
{
    Etcdserverpb__ResponseHeader header;
    Etcdserverpb__TxnResponse rest, *response = &rest;
    Etcdserverpb__DeleteRangeResponse none;
    int64_t revision;
    store_work_result(l->txn, &rest, &none, &revision);
    if (!r->answer && l->own.size)
        response = etcdserverpb__txn_response__unpack(arena_allocator(&kv->arena), l->own.size, l->own.data);
    kv_header(kv, revision, &header);
    response->header = &header;
    response->succeeded = rest.succeeded;
    kv_finish(kv, r, OK, &response->base);
}

static int txn_slice(struct kv *kv, struct kv_request *r, struct kv_scan *l)
{
    bool is_last = false;
    if (!l->txn)
        l->txn = store_work_read(kv->store, (const Etcdserverpb__TxnRequest *)r->message,
                                 r->answer ? r->answer(r) : &l->own);
    int err =
        store_work_step(l->txn, kv->settings.slice_units ? kv->settings.slice_units : SLICE_UNITS, &is_last);
    if (err)
        return err;
    if (is_last)
        finish_txn(kv, r, l);
    else
        kv_yield_read(kv, r);
    return OK;
}

/* --- leases ------------------------------------------------------------------------------------------ */

static int lease_slice(struct kv *kv, struct kv_request *r, struct kv_scan *l)
{
    bool is_finished = false;
    if (l->leases && kv_lease_scan_must_wait(kv, l->leases)) { /* until a later turn has applied more */
        list_remove(&r->link);
        kv_add_ready(kv, r);
        return OK;
    }
    int err = kv_lease_scan_step(
        kv, r, &l->leases, kv->settings.slice_units ? kv->settings.slice_units : SLICE_UNITS, &is_finished);
    if (!err && !is_finished)
        kv_yield_read(kv, r);
    return err;
}

/* --- all of them ------------------------------------------------------------------------------------- */

/* Every hash is of what the compaction left, so that only its own revision can be gone: the first step of a
 * new attempt says so. */
static bool may_begin_anew(const struct kv_request *r, const struct kv_scan *l)
{
    if (is_range(r))
        return l->walk && ((const Etcdserverpb__RangeRequest *)r->message)->revision <= 0;
    if (is_of_leases(r))
        return l->leases != NULL;
    return r->kind == KV_TXN_READ ? store_work_is_compacted(l->txn) : l->hash != NULL;
}

/* The data that it reads is gone. */
static bool is_overtaken(const struct kv_request *r, int err)
{
    return err == (is_of_leases(r) ? ERR_LEASE_NOT_FOUND : ERR_COMPACTED);
}

static int slice(struct kv *kv, struct kv_request *r, struct kv_scan *l)
{
    if (is_range(r))
        return range_slice(kv, r, l);
    if (is_of_leases(r))
        return lease_slice(kv, r, l);
    return r->kind == KV_TXN_READ ? txn_slice(kv, r, l) : hash_slice(kv, r, l);
}

/* The parts that the caller has gathered are dropped. */
static void clear_answer(struct kv_request *r)
{
    if (r->on_part)
        (void)r->on_part(r, NULL);
}

void kv_scan_run(struct kv *kv, struct kv_request *r)
{
    struct kv_scan *l = r->slices;
    if (!l->is_under_way && kv->scans.count >= LONG_READS_MAX) {
        kv_park_read(kv, r);
        return;
    }
    kv->scans.count += !l->is_under_way;
    l->is_under_way = true;
    int err = slice(kv, r, l);
    if (is_overtaken(r, err) && may_begin_anew(r, l)) {
        kv_scan_clear(l);
        l->restarts++;
        clear_answer(r);
        if (is_range(r) && l->restarts >= RESTARTS_MAX) {
            finish_range_at_once(kv, r);
            return;
        }
        kv_yield_read(kv, r);
    } else if (err) {
        if (is_range(r))
            kv_time_long_range(kv, l->begun_ns, false);
        kv_finish(kv, r, err, NULL);
    }
}

static void restart_one(struct kv_request *r)
{
    struct kv_scan *l = r->slices;
    if (!l || (!l->walk && !l->hash && !l->txn && !l->leases))
        return;
    kv_scan_clear(l);
    clear_answer(r);
}

void kv_scan_restart_all(struct kv *kv)
{
    kv_visit_reads(kv, restart_one);
}

void kv_scan_lease_keys(struct kv *kv, struct kv_request *r, int64_t revision, int64_t ttl_s,
                        int64_t granted_s)
{
    r->slices = mem_new(sizeof *r->slices);
    r->slices->leases = kv_lease_scan_here(revision, ttl_s, granted_s);
    r->index = 0;
    kv_add_ready(kv, r);
    kv_schedule_turn(kv);
}

void kv_scan_start(struct kv *kv, struct kv_request *r)
{
    r->slices = mem_new(sizeof *r->slices);
    r->slices->begun_ns = kv_clock_ns(kv);
    kv_scan_run(kv, r);
}
