/* SPDX-License-Identifier: Apache-2.0
 * Slices of LeaseTimeToLive with very many keys, and of LeaseLeases with very many leases (scan.c runs them).
 * Times, revision, keys and leases of the answer are of the moment at which the walk over the lease table
 * began.
 *
 * Only the leader knows how much time a lease has left; its keys are the same on all members. A follower asks
 * the leader for the time, waits until it has applied the revision of that answer, and walks over the keys of
 * its own table. */
#include "consensus/auth/check.h"
#include "consensus/kv/kv_impl.h"

#define LEASES_FEW         512
#define CHECKED_LEASES_FEW 16 /* their keys are checked */
#define PART_ROWS          512

struct kv_lease_scan {
    struct lease_walk *walk;
    bool is_ready, is_admin, has_no_walk_yet;
    int64_t next_id; /* taken from the walk, and being checked; 0 = none */
    int64_t revision, ttl_s, granted_s;
};

/* Its permissions need no check; also while auth is not enabled. */
static bool is_admin(const struct kv *kv, const struct kv_request *r)
{
    return !r->who || kv_auth_check_admin(kv, r->who) == OK;
}

bool kv_lease_scan_is_needed(const struct kv *kv, const struct kv_request *r)
{
    if (!r->on_part)
        return false;
    if (r->kind == KV_LEASE_LEASES)
        return lease_count(kv->leases) > (is_admin(kv, r) ? LEASES_FEW : CHECKED_LEASES_FEW) ||
               (!is_admin(kv, r) && lease_is_any_long(kv->leases));
    const Etcdserverpb__LeaseTimeToLiveRequest *m = (const Etcdserverpb__LeaseTimeToLiveRequest *)r->message;
    return m->keys && !lease_has_few_keys(kv->leases, m->id);
}

void kv_lease_scan_free(struct kv_lease_scan *l)
{
    if (!l)
        return;
    lease_walk_free(l->walk);
    mem_free(l);
}

/* A lease that is not there, or not any more, has no walk. */
static struct kv_lease_scan *read_new(struct kv *kv, const struct kv_request *r)
{
    struct kv_lease_scan *l = mem_new(sizeof *l);
    l->revision = store_revision(kv->store);
    if (r->kind == KV_LEASE_LEASES) {
        l->is_admin = is_admin(kv, r);
        l->walk = lease_walk_all(kv->leases);
        return l;
    }
    int64_t id = ((const Etcdserverpb__LeaseTimeToLiveRequest *)r->message)->id;
    lease_time_to_live(kv->leases, id, kv_now_ms(kv), &l->ttl_s, &l->granted_s);
    l->walk = lease_walk_keys(kv->leases, id);
    return l;
}

struct kv_lease_scan *kv_lease_scan_here(int64_t revision, int64_t ttl_s, int64_t granted_s)
{
    struct kv_lease_scan *l = mem_new(sizeof *l);
    *l = (struct kv_lease_scan){
        .revision = revision, .ttl_s = ttl_s, .granted_s = granted_s, .has_no_walk_yet = true};
    return l;
}

/* Keys come and go while an entry is open. */
bool kv_lease_scan_must_wait(const struct kv *kv, const struct kv_lease_scan *l)
{
    return l->has_no_walk_yet && (store_revision(kv->store) < l->revision || store_is_paused(kv->store));
}

/* --- parts of the answer ------------------------------------------------------------------------------- */

static int add_keys(struct kv_request *r, struct lease_walk *walk, int64_t *units)
{
    struct slice keys[PART_ROWS];
    ProtobufCBinaryData rows[PART_ROWS];
    Etcdserverpb__LeaseTimeToLiveResponse part = ETCDSERVERPB__LEASE_TIME_TO_LIVE_RESPONSE__INIT;
    part.n_keys = lease_walk_take_keys(walk, units, keys, PART_ROWS);
    part.keys = rows;
    for (size_t i = 0; i < part.n_keys; i++)
        rows[i] = (ProtobufCBinaryData){keys[i].size, (uint8_t *)(uintptr_t)keys[i].data};
    return !part.n_keys || r->on_part(r, &part.base) ? OK : ERR_LIMIT;
}

/* The author must be allowed to read all keys of the lease. ERR_NOT_READY: the check goes on in the next
 * slice. A lease that is gone meanwhile has no keys. */
static int check_next(struct kv *kv, const struct kv_request *r, const struct kv_lease_scan *l,
                      int64_t *units)
{
    const struct auth_check c = {kv_rights(kv), kv->leases, r->who};
    if (l->is_admin)
        return OK;
    int err;
    bool is_decided = auth_check_lease_some(&c, l->next_id, false, (struct slice){0}, units, &err);
    return is_decided ? err : ERR_NOT_READY;
}

static int add_leases(struct kv *kv, struct kv_request *r, struct kv_lease_scan *l, int64_t *units)
{
    Etcdserverpb__LeaseStatus rows[PART_ROWS], *list[PART_ROWS];
    Etcdserverpb__LeaseLeasesResponse part = ETCDSERVERPB__LEASE_LEASES_RESPONSE__INIT;
    int err = OK;
    part.leases = list;
    while (part.n_leases<PART_ROWS && * units> 0) {
        if (!l->next_id && !lease_walk_take_ids(l->walk, units, &l->next_id, 1))
            break;
        err = check_next(kv, r, l, units);
        if (err)
            break;
        etcdserverpb__lease_status__init(&rows[part.n_leases]);
        rows[part.n_leases].id = l->next_id;
        list[part.n_leases] = &rows[part.n_leases];
        part.n_leases++;
        l->next_id = 0;
    }
    if (err && err != ERR_NOT_READY)
        return err;
    return !part.n_leases || r->on_part(r, &part.base) ? OK : ERR_LIMIT;
}

static void kv_lease_scan_finish(struct kv *kv, struct kv_request *r, const struct kv_lease_scan *l)
{
    Etcdserverpb__ResponseHeader header;
    Etcdserverpb__LeaseLeasesResponse leases = ETCDSERVERPB__LEASE_LEASES_RESPONSE__INIT;
    Etcdserverpb__LeaseTimeToLiveResponse one = ETCDSERVERPB__LEASE_TIME_TO_LIVE_RESPONSE__INIT;
    kv_header(kv, l->revision, &header);
    leases.header = one.header = &header;
    if (r->kind == KV_LEASE_LEASES) {
        kv_finish(kv, r, OK, &leases.base);
        return;
    }
    one.id = ((const Etcdserverpb__LeaseTimeToLiveRequest *)r->message)->id;
    one.ttl = l->ttl_s;
    one.grantedttl = l->granted_s;
    kv_finish(kv, r, OK, &one.base);
}

int kv_lease_scan_step(struct kv *kv, struct kv_request *r, struct kv_lease_scan **read, int64_t units,
                       bool *ret_is_finished)
{
    *ret_is_finished = false;
    if (!*read)
        *read = read_new(kv, r);
    struct kv_lease_scan *l = *read;
    int err = OK;
    if (r->who && !auth_prepare(kv_rights(kv), r->who, false, &units))
        return OK;
    if (l->has_no_walk_yet) {
        l->has_no_walk_yet = false;
        l->revision = store_revision(kv->store);
        l->walk = lease_walk_keys(kv->leases, ((const Etcdserverpb__LeaseTimeToLiveRequest *)r->message)->id);
    }
    if (l->walk && !l->is_ready)
        err = lease_walk_step(l->walk, &units, &l->is_ready);
    while (!err && l->is_ready && units > 0 && (l->next_id || !lease_walk_is_taken(l->walk)))
        err = r->kind == KV_LEASE_LEASES ? add_leases(kv, r, l, &units) : add_keys(r, l->walk, &units);
    if (err)
        return err;
    *ret_is_finished = !l->walk || (l->is_ready && lease_walk_is_taken(l->walk) && !l->next_id);
    if (*ret_is_finished)
        kv_lease_scan_finish(kv, r, l);
    return OK;
}
