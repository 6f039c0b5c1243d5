/* SPDX-License-Identifier: Apache-2.0
 * Slices of LeaseTimeToLive with very many keys, and of LeaseLeases with very many leases (scan.c runs them).
 * Times, revision, keys and leases of the answer are of the moment at which the walk over the lease table
 * began. */
#include "consensus/kv/kv_impl.h"

#define LEASES_FEW 512
#define PART_ROWS  512

struct kv_lease_scan {
    struct lease_walk *walk;
    bool is_ready, is_admin;
    int64_t revision, ttl_s, granted_s;
};

bool kv_lease_scan_is_needed(const struct kv *kv, const struct kv_request *r)
{
    if (!r->on_part)
        return false;
    if (r->kind == KV_LEASE_LEASES)
        return lease_count(kv->leases) > LEASES_FEW;
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
        l->is_admin = !r->who || kv_auth_check_admin(kv, r->who) == OK;
        l->walk = lease_walk_all(kv->leases);
        return l;
    }
    int64_t id = ((const Etcdserverpb__LeaseTimeToLiveRequest *)r->message)->id;
    lease_time_to_live(kv->leases, id, kv_now_ms(kv), &l->ttl_s, &l->granted_s);
    l->walk = lease_walk_keys(kv->leases, id);
    return l;
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

static int add_leases(struct kv *kv, struct kv_request *r, const struct kv_lease_scan *l, int64_t *units)
{
    int64_t ids[PART_ROWS];
    Etcdserverpb__LeaseStatus rows[PART_ROWS], *list[PART_ROWS];
    Etcdserverpb__LeaseLeasesResponse part = ETCDSERVERPB__LEASE_LEASES_RESPONSE__INIT;
    part.n_leases = lease_walk_take_ids(l->walk, units, ids, PART_ROWS);
    part.leases = list;
    for (size_t i = 0; i < part.n_leases; i++) {
        int err = l->is_admin ? OK : kv_auth_check_lease(kv, r->who, ids[i], false, (struct slice){0}, NULL);
        if (err && err != ERR_LEASE_NOT_FOUND)
            return err;
        etcdserverpb__lease_status__init(&rows[i]);
        rows[i].id = ids[i];
        list[i] = &rows[i];
    }
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
    if (l->walk && !l->is_ready)
        err = lease_walk_step(l->walk, &units, &l->is_ready);
    while (!err && l->is_ready && units > 0 && !lease_walk_is_taken(l->walk))
        err = r->kind == KV_LEASE_LEASES ? add_leases(kv, r, l, &units) : add_keys(r, l->walk, &units);
    if (err)
        return err;
    *ret_is_finished = !l->walk || (l->is_ready && lease_walk_is_taken(l->walk));
    if (*ret_is_finished)
        kv_lease_scan_finish(kv, r, l);
    return OK;
}
