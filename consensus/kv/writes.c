/* SPDX-License-Identifier: Apache-2.0
 * Writes: a request is checked, becomes a log entry with a number, and waits for that entry to be applied. */
#include "consensus/kv/kv_impl.h"

#include "base/failpoint.h"

#define PENDING_MAX (1u << 20) /* proposals of this member that may wait at once */
#define LEASE_COST  64         /* as etcd counts a lease against the quota */

static const struct entry_who own = {.is_own = true};

static int propose_for(struct kv *kv, uint64_t id, enum entry_op op, const ProtobufCMessage *m,
                       const struct entry_who *who)
{
    if (kv_is_closing(kv))
        return ERR_STOPPED;
    struct blob *data = entry_encode(kv->member_id, id, op, m, who);
    if (data->size > kv->settings.request_bytes_max) {
        blob_unref(data);
        return ERR_REQUEST_TOO_LARGE;
    }
    bool is_internal = who->is_own && id == 0;
    return is_internal ? node_propose_internal(kv->node, data) : node_propose(kv->node, data);
}

int kv_propose(struct kv *kv, enum entry_op op, const ProtobufCMessage *m)
{
    return propose_for(kv, 0, op, m, &own);
}

int kv_propose_as_leader(struct kv *kv, enum entry_op op, const ProtobufCMessage *m)
{
    return kv_is_closing(kv) ? ERR_STOPPED
                             : node_propose_as_leader(kv->node, entry_encode(kv->member_id, 0, op, m, &own));
}

void kv_start_write(struct kv *kv, struct kv_request *r, enum kv_kind kind, enum entry_op op,
                    const ProtobufCMessage *m, int err)
{
    r->kind = kind;
    r->message = m;
    r->slices = NULL;
    r->op = (int)op;
    r->begun_ns = kv_clock_ns(kv);
    r->started_ms = r->begun_ns / 1000000;
    if (!err && kv_is_diverged(kv))
        err = ERR_CORRUPT_CLUSTER;
    if (!err && feature_level_of(op) > kv_feature_level(kv))
        err = ERR_NOT_CAPABLE;
    if (!err && kv_pending_proposals(kv) >= PENDING_MAX)
        err = ERR_TOO_MANY_REQUESTS;
    if (err) {
        kv_fail(kv, r, err);
        return;
    }
    kv_assign_proposal_id(kv, r);
    struct entry_who who = kv_author_of(kv, r);
    err = propose_for(kv, r->id, op, m, &who);
    if (err) {
        kv_release_proposal_id(kv, r);
        kv_fail(kv, r, err);
        return;
    }
    kv_wait_for_entry(kv, r);
}

/* The decision to stop at the quota is made in the log, so that all members make it at the same entry: the
 * request is refused here, and the NOSPACE alarm is proposed. */
static int check_quota(struct kv *kv, uint64_t cost)
{
    if (kv->settings.quota_bytes <= 0 || cost == 0)
        return OK;
    if (alarms_has(&kv->alarms, ETCDSERVERPB__ALARM_TYPE__NOSPACE))
        return ERR_NO_SPACE;
    if (store_live_size(kv->store) + cost < (uint64_t)kv->settings.quota_bytes)
        return OK;
    if (!kv->writes.is_space_alarm_proposed) {
        Etcdserverpb__AlarmRequest alarm = ETCDSERVERPB__ALARM_REQUEST__INIT;
        alarm.action = ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE;
        alarm.memberid = kv->member_id;
        alarm.alarm = ETCDSERVERPB__ALARM_TYPE__NOSPACE;
        kv->writes.is_space_alarm_proposed = kv_propose(kv, ENTRY_ALARM, &alarm.base) == OK;
    }
    return ERR_NO_SPACE;
}

void kv_reset_space_alarm(struct kv *kv)
{
    kv->writes.is_space_alarm_proposed = false;
}

void kv_put(struct kv *kv, struct kv_request *r, const Etcdserverpb__PutRequest *m)
{
    int err = store_check_put(m);
    if (!err)
        err = check_quota(kv, store_put_cost(m));
    enum entry_op op = ENTRY_PUT;
    if (kv_feature_level(kv) == FEATURE_LEVEL_TRIAL && FAILPOINT(TRIAL_LEVEL))
        op = ENTRY_TRIAL;
    kv_start_write(kv, r, KV_PUT, op, &m->base, err);
}

void kv_delete_range(struct kv *kv, struct kv_request *r, const Etcdserverpb__DeleteRangeRequest *m)
{
    kv_start_write(kv, r, KV_DELETE_RANGE, ENTRY_DELETE_RANGE, &m->base, store_check_delete_range(m));
}

void kv_txn(struct kv *kv, struct kv_request *r, const Etcdserverpb__TxnRequest *m)
{
    int err = store_check_txn(m, kv->settings.txn_ops_max + r->extra_ops);
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
    if (kv->writes.lease_number == 0)
        kv->writes.lease_number = kv->io->ops->wall_ns(kv->io) / 1000000 << 8;
    do
        id = (kv->member_id & 0x7fff) << 48 | (++kv->writes.lease_number & UINT64_C(0xffffffffffff));
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
