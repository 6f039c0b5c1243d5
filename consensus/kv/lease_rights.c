/* SPDX-License-Identifier: Apache-2.0
 * Permission checks over all keys of a lease, prepared in slices.
 *
 * Two kinds of requests need the right to write every key of a lease: entries (a Put with the lease, a
 * transaction with such Puts, LeaseRevoke), and LeaseKeepAlive. A lease may have very many keys, so the check
 * is prepared first: the lease table remembers for each author how many keys are OK (lease_check_some), and
 * the check itself looks at the few others.
 *
 *   an entry       waits at the head of the node's queue, as while its author's rights are merged. No entry
 *                  is applied meanwhile, so neither keys nor permissions change.
 *   a keep-alive   waits in `waiting`. Keys that are added meanwhile are checked, too. If permissions change,
 *                  the preparation begins again.
 *
 * The preparation changes no state and gives no verdict. The verdict is that of the check, which has the same
 * result without a preparation. So each member prepares when it likes. */
#include "consensus/kv/lease_rights.h"

#include "consensus/auth/check.h"
#include "consensus/kv/kv_impl.h"

#define AT_ONCE_UNITS 256 /* of a keep-alive that does not wait */

/* --- entries ------------------------------------------------------------------------------------------- */

static void forget_entry(struct kv_lease_rights *l)
{
    arena_done(&l->arena);
    l->message = NULL;
    l->index = 0;
}

/* The message may be NULL: an entry that does not decode needs no check. */
static void decode_entry(struct kv_lease_rights *l, const struct raft_entry *raw, const struct entry *e)
{
    forget_entry(l);
    l->index = raw->index;
    l->message = protobuf_c_message_unpack(entry_descriptor(e->op), arena_allocator(&l->arena), e->body.size,
                                           e->body.data);
}

bool kv_prepare_leases(struct kv *kv, const struct raft_entry *raw, const struct entry *e,
                       const struct auth_who *who, int64_t *units)
{
    struct kv_lease_rights *l = &kv->lease_rights;
    const struct auth_check check = {kv_rights(kv), kv->leases, who};
    bool is_ready = true;
    bool names_leases = e->op == ENTRY_PUT || e->op == ENTRY_TXN || e->op == ENTRY_LEASE_REVOKE;
    if (!names_leases || e->has_needs || !lease_is_any_long(kv->leases))
        return true;
    if (l->index != raw->index)
        decode_entry(l, raw, e);
    if (l->message && e->op == ENTRY_PUT)
        is_ready = auth_prepare_put(&check, (const Etcdserverpb__PutRequest *)l->message, units);
    else if (l->message && e->op == ENTRY_TXN)
        is_ready = auth_prepare_txn(&check, (const Etcdserverpb__TxnRequest *)l->message, units);
    else if (l->message)
        is_ready = auth_prepare_lease(&check, ((const Etcdserverpb__LeaseRevokeRequest *)l->message)->id,
                                      true, (struct slice){0}, units);
    if (is_ready)
        forget_entry(l);
    return is_ready;
}

/* --- keep-alives --------------------------------------------------------------------------------------- */

static int64_t lease_of(const struct kv_request *r)
{
    return ((const Etcdserverpb__LeaseKeepAliveRequest *)r->message)->id;
}

/* False: it is not decided yet. */
static bool check_keep_alive(struct kv *kv, const struct kv_request *r, int64_t *units, int *ret_err)
{
    const struct auth_check check = {kv_rights(kv), kv->leases, r->who};
    return auth_check_lease_some(&check, lease_of(r), true, (struct slice){0}, units, ret_err);
}

static void wait_for_check(struct kv *kv, struct kv_request *r)
{
    r->kind = KV_KEEP_ALIVE;
    r->slices = NULL;
    r->begun_ns = 0; /* none of the requests that etcd times */
    r->started_ms = kv_now_ms(kv);
    r->state = KV_CHECKING;
    list_add_last(&kv->lease_rights.waiting, &r->link);
    kv_schedule_turn(kv);
}

void kv_lease_keep_alive_checked(struct kv *kv, struct kv_request *r,
                                 const Etcdserverpb__LeaseKeepAliveRequest *m)
{
    int64_t units = kv->settings.slice_units ? kv->settings.slice_units : AT_ONCE_UNITS;
    bool needs_check = kv_auth_is_enabled(kv) && r->who;
    int err = OK;
    r->message = &m->base;
    if (needs_check && (!list_is_empty(&kv->lease_rights.waiting) || !check_keep_alive(kv, r, &units, &err)))
        wait_for_check(kv, r);
    else if (err)
        kv_fail(kv, r, err);
    else
        kv_lease_keep_alive(kv, r, m);
}

/* The first one that waits is checked until it is decided: two of them do not displace each other's progress
 * in the lease table. */
bool kv_pass_keep_alives(struct kv *kv, int64_t *units)
{
    struct link *waiting = &kv->lease_rights.waiting;
    for (; *units > 0 && !list_is_empty(waiting); --*units) {
        struct kv_request *r = container_of(waiting->next, struct kv_request, link);
        int err;
        if (!check_keep_alive(kv, r, units, &err))
            return false;
        if (err) {
            kv_finish(kv, r, err, NULL);
            continue;
        }
        list_remove(&r->link);
        kv_lease_keep_alive(kv, r, (const Etcdserverpb__LeaseKeepAliveRequest *)r->message);
        kv_schedule_turn(kv);
    }
    return list_is_empty(waiting);
}

/* --- limits, begin and end ----------------------------------------------------------------------------- */

void kv_lease_rights_expire(struct kv *kv)
{
    kv_expire_list(kv, &kv->lease_rights.waiting);
}

void kv_lease_rights_stop(struct kv *kv)
{
    kv_stop_list(kv, &kv->lease_rights.waiting);
}

void kv_lease_rights_init(struct kv_lease_rights *l)
{
    list_init(&l->waiting);
}

void kv_lease_rights_done(struct kv_lease_rights *l)
{
    forget_entry(l);
}
