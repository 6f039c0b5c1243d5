/* SPDX-License-Identifier: Apache-2.0
 * Applying: one log entry becomes one store transaction, and the request that waits for it is answered.
 *
 * The result is a pure function of (state, entry), so that members cannot differ. No clock, no random number
 * and no option of this member decides here. etcd's order of rules is kept: a CORRUPT alarm refuses every
 * change, NOSPACE those that grow the store. */
#include <assert.h>

#include "base/log.h"
#include "base/metric.h"
#include "base/failpoint.h"
#include "base/mutant.h"
#include "consensus/kv/kv_impl.h"

static Etcdserverpb__ResponseHeader *new_header(struct kv *kv)
{
    Etcdserverpb__ResponseHeader *h = arena_alloc(&kv->arena, sizeof *h);
    etcdserverpb__response_header__init(h);
    return h;
}

static int check_alarms(const struct kv *kv, enum entry_op op, const ProtobufCMessage *m)
{
    if (kv->alarms.count == 0 || op == ENTRY_ALARM || op == ENTRY_STATE_CHECK)
        return OK;
    if (alarms_has(&kv->alarms, ETCDSERVERPB__ALARM_TYPE__CORRUPT) && kv_is_stopped(kv))
        return ERR_CORRUPT_CLUSTER;
    if (!alarms_has(&kv->alarms, ETCDSERVERPB__ALARM_TYPE__NOSPACE))
        return OK;
    bool grows = op == ENTRY_PUT || op == ENTRY_TRIAL || op == ENTRY_LEASE_GRANT ||
                 (op == ENTRY_TXN && store_txn_cost((const Etcdserverpb__TxnRequest *)m) > 0);
    return grows ? ERR_NO_SPACE : OK;
}

/* A response is built only when a request of this member waits for it. */
static struct kv_outcome apply_put(struct kv *kv, const ProtobufCMessage *m, bool is_awaited)
{
    Etcdserverpb__PutResponse *r = NULL;
    const Etcdserverpb__PutRequest *put = (const Etcdserverpb__PutRequest *)m;
    int err = store_put(kv->store, put, &kv->arena, is_awaited ? &r : NULL);
    return (struct kv_outcome){err, r ? &r->base : NULL, r ? r->header : NULL};
}

static struct kv_outcome apply_delete_range(struct kv *kv, const ProtobufCMessage *m, bool is_awaited)
{
    Etcdserverpb__DeleteRangeResponse *r = NULL;
    const Etcdserverpb__DeleteRangeRequest *range = (const Etcdserverpb__DeleteRangeRequest *)m;
    int err = store_delete_range(kv->store, range, &kv->arena, is_awaited ? &r : NULL);
    return (struct kv_outcome){err, r ? &r->base : NULL, r ? r->header : NULL};
}

static struct kv_outcome apply_txn(struct kv *kv, const ProtobufCMessage *m, bool is_awaited)
{
    Etcdserverpb__TxnResponse *r = NULL;
    const Etcdserverpb__TxnRequest *txn = (const Etcdserverpb__TxnRequest *)m;
    int err = store_txn(kv->store, txn, &kv->arena, is_awaited ? &r : NULL);
    return (struct kv_outcome){err, r ? &r->base : NULL, r ? r->header : NULL};
}

static struct kv_outcome apply_compaction(struct kv *kv, const ProtobufCMessage *m)
{
    Etcdserverpb__CompactionResponse *r = arena_alloc(&kv->arena, sizeof *r);
    etcdserverpb__compaction_response__init(r);
    int err = store_compact(kv->store, ((const Etcdserverpb__CompactionRequest *)m)->revision);
    r->header = new_header(kv);
    return (struct kv_outcome){err, &r->base, r->header};
}

void kv_save_lease(struct kv *kv, int64_t id, int64_t ttl_s, int64_t remaining_s)
{
    uint8_t key[8], value[16];
    put_be64(key, (uint64_t)id);
    put_be64(value, (uint64_t)ttl_s);
    put_be64(value + 8, (uint64_t)remaining_s);
    store_set(kv->store, BACKEND_LEASES, slice_of(key, 8), ttl_s ? slice_of(value, 16) : (struct slice){0});
}

static struct kv_outcome apply_lease_grant(struct kv *kv, const ProtobufCMessage *m)
{
    const Etcdserverpb__LeaseGrantRequest *grant = (const Etcdserverpb__LeaseGrantRequest *)m;
    Etcdserverpb__LeaseGrantResponse *r = arena_alloc(&kv->arena, sizeof *r);
    etcdserverpb__lease_grant_response__init(r);
    r->id = grant->id;
    int err = lease_grant(kv->leases, grant->id, grant->ttl, kv_lease_start_ms(kv), &r->ttl);
    if (!err) {
        kv_save_lease(kv, grant->id, r->ttl, 0);
        metric_add(METRIC_LEASE_GRANTED, 1);
        metric_observe(METRIC_LEASE_TTL, (double)r->ttl);
    }
    r->header = new_header(kv);
    return (struct kv_outcome){err, &r->base, r->header};
}

/* All keys of the lease go in one revision, in byte order; a lease without keys leaves the revision as it is.
 */
static struct kv_outcome apply_lease_revoke(struct kv *kv, const ProtobufCMessage *m)
{
    int64_t id = ((const Etcdserverpb__LeaseRevokeRequest *)m)->id;
    Etcdserverpb__LeaseRevokeResponse *r = arena_alloc(&kv->arena, sizeof *r);
    etcdserverpb__lease_revoke_response__init(r);
    struct slice *keys = NULL;
    size_t count = 0;
    int err = lease_keys(kv->leases, id, &keys, &count);
    if (MUTANT(LEASE_REVOKED_BY_HALVES))
        count /= 2;
    if (!err) {
        store_delete_keys(kv->store, keys, count);
        err = lease_revoke(kv->leases, id);
        assert(!err);
        kv_save_lease(kv, id, 0, 0);
        metric_add(METRIC_LEASE_REVOKED, 1);
    }
    mem_free(keys);
    r->header = new_header(kv);
    return (struct kv_outcome){err, &r->base, r->header};
}

static struct kv_outcome apply_alarm(struct kv *kv, const ProtobufCMessage *m)
{
    const Etcdserverpb__AlarmRequest *alarm = (const Etcdserverpb__AlarmRequest *)m;
    Etcdserverpb__AlarmResponse *r = arena_alloc(&kv->arena, sizeof *r);
    etcdserverpb__alarm_response__init(r);
    alarms_apply(&kv->alarms, kv->store, alarm, &kv->arena, r);
    if (alarm->action != ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__GET) {
        kv_reset_space_alarm(kv);
        log_warn(alarm->action == ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE ? "alarm raised"
                                                                                      : "alarm disarmed",
                 F_HEX("alarm-member-id", alarm->memberid), F_INT("alarm", alarm->alarm));
    }
    r->header = new_header(kv);
    return (struct kv_outcome){OK, &r->base, r->header};
}

static struct kv_outcome apply_lease_checkpoint(struct kv *kv, const ProtobufCMessage *m)
{
    const Etcdserverpb__LeaseCheckpointRequest *checkpoint = (const Etcdserverpb__LeaseCheckpointRequest *)m;
    for (size_t i = 0; i < checkpoint->n_checkpoints; i++) {
        const Etcdserverpb__LeaseCheckpoint *c = checkpoint->checkpoints[i];
        int64_t remaining_s, granted_s;
        if (!lease_exists(kv->leases, c->id))
            continue;
        lease_time_to_live(kv->leases, c->id, 0, &remaining_s, &granted_s);
        if (MUTANT(LEASE_CHECKPOINT_IGNORED))
            continue;
        lease_set_remaining(kv->leases, c->id, c->remaining_ttl);
        kv_save_lease(kv, c->id, granted_s, c->remaining_ttl);
    }
    return (struct kv_outcome){0};
}

static struct kv_outcome apply_member_attributes(struct kv *kv, const ProtobufCMessage *m)
{
    const Etcdserverpb__ClusterMemberAttrSetRequest *set =
        (const Etcdserverpb__ClusterMemberAttrSetRequest *)m;
    struct member *member = member_find(&kv->members, set->member_id);
    const Etcdserverpb__Attributes *a = set->member_attributes;
    /* A claim (bootstrap.c) is a name alone. A member without a name can be claimed once. */
    if (member && a && !a->n_client_urls && *member->name)
        return (struct kv_outcome){.err = ERR_MEMBER_EXISTS};
    if (!member)
        return (struct kv_outcome){.err = ERR_MEMBER_NOT_FOUND};
    if (a) {
        member_set_attributes(member, a->name, (const char *const *)a->client_urls, a->n_client_urls);
        member_save(member, kv->store);
        log_info("published member attributes through the log", F_HEX("member-id", set->member_id),
                 F_STR("name", a->name));
    }
    return (struct kv_outcome){0};
}

static int check_operation(struct kv *kv, const struct entry *e, const ProtobufCMessage *m)
{
    int err = check_alarms(kv, e->op, m);
    if (!err && kv_auth_is_enabled(kv) && !e->who.is_own && !MUTANT(AUTH_UNCHECKED_AT_APPLY))
        err = kv_check_entry(kv, e, m);
    if (MUTANT(APPLY_BY_LOCAL_STATE) && e->op == ENTRY_COMPACTION && !kv->state.is_leader)
        err = ERR_NOT_LEADER;
    return err;
}

static struct kv_outcome apply_operation(struct kv *kv, const struct entry *e, const ProtobufCMessage *m,
                                         bool is_awaited)
{
    switch (e->op) {
    case ENTRY_PUT:
    case ENTRY_TRIAL:
        return apply_put(kv, m, is_awaited);
    case ENTRY_DELETE_RANGE:
        return apply_delete_range(kv, m, is_awaited);
    case ENTRY_TXN:
        return apply_txn(kv, m, is_awaited);
    case ENTRY_COMPACTION:
        return apply_compaction(kv, m);
    case ENTRY_LEASE_GRANT:
        return apply_lease_grant(kv, m);
    case ENTRY_LEASE_REVOKE:
        return apply_lease_revoke(kv, m);
    case ENTRY_ALARM:
        return apply_alarm(kv, m);
    case ENTRY_LEASE_CHECKPOINT:
        return apply_lease_checkpoint(kv, m);
    case ENTRY_MEMBER_ATTRIBUTES:
        return apply_member_attributes(kv, m);
    case ENTRY_STATE_CHECK:
        kv_apply_state_check(kv, store_applied_index(kv->store) + 1,
                             (const Etcdserverpb__StateCheckRequest *)m);
        break;
    case ENTRY_AUTH_ENABLE:
    case ENTRY_AUTH_DISABLE:
    case ENTRY_AUTHENTICATE:
    case ENTRY_AUTH_STATUS:
    case ENTRY_AUTH_USER_ADD:
    case ENTRY_AUTH_USER_DELETE:
    case ENTRY_AUTH_USER_GET:
    case ENTRY_AUTH_USER_CHANGE_PASSWORD:
    case ENTRY_AUTH_USER_GRANT_ROLE:
    case ENTRY_AUTH_USER_REVOKE_ROLE:
    case ENTRY_AUTH_USER_LIST:
    case ENTRY_AUTH_ROLE_LIST:
    case ENTRY_AUTH_ROLE_ADD:
    case ENTRY_AUTH_ROLE_DELETE:
    case ENTRY_AUTH_ROLE_GET:
    case ENTRY_AUTH_ROLE_GRANT_PERMISSION:
    case ENTRY_AUTH_ROLE_REVOKE_PERMISSION:
        return kv_apply_auth(kv, e, m);
    case ENTRY_CLUSTER_VERSION:
        kv_feature_apply_version(kv, (const Etcdserverpb__ClusterVersionSetRequest *)m);
        break;
    case ENTRY_DOWNGRADE_INFO:
        return kv_feature_apply_downgrade(kv, (const Etcdserverpb__DowngradeInfoSetRequest *)m);
    }
    return (struct kv_outcome){0};
}

/* Physical compactions wait for the sweep. All that wait when it ends are answered, with the header of that
 * moment. */
static void answer_compaction(void *arg, int err)
{
    struct kv *kv = arg;
    struct link now;
    kv_take_waiting(kv, KV_COMPACT, &now);
    while (!list_is_empty(&now)) {
        struct kv_request *r = container_of(now.next, struct kv_request, link);
        Etcdserverpb__ResponseHeader header;
        Etcdserverpb__CompactionResponse response = ETCDSERVERPB__COMPACTION_RESPONSE__INIT;
        kv_header(kv, store_revision(kv->store), &header);
        response.header = &header;
        /* The entry is in the log whatever became of the sweep: no error may deny it. */
        kv_finish(kv, r, err ? ERR_STOPPED : OK, &response.base);
    }
}

static void kv_apply_answer(struct kv *kv, struct kv_request *r, const struct entry *e,
                            const ProtobufCMessage *m, const struct kv_outcome *o)
{
    if (!o->err && e->op == ENTRY_COMPACTION && ((const Etcdserverpb__CompactionRequest *)m)->physical) {
        kv_add_waiting(kv, r);
        store_when_compacted(kv->store, answer_compaction, kv);
        return;
    }
    kv_time_request(kv, r, true); /* as etcd counts: the entry was applied, whatever came of it */
    if (r->kind == KV_KEEP_ALIVE) {
        kv_start_read(kv, r, KV_KEEP_ALIVE, r->message, false);
        return;
    }
    if (o->header)
        kv_header(kv, store_revision(kv->store), o->header);
    kv_finish(kv, r, o->err, o->err ? NULL : o->response);
}

/* The entry of a request of this member need not be decoded: its bytes were made from the request's message.
 * Entries of leases are: the id of a lease is chosen on the way. */
static bool is_same_message(const struct kv_request *r, enum entry_op op)
{
    return r && (op == ENTRY_PUT || op == ENTRY_TRIAL || op == ENTRY_TXN || op == ENTRY_DELETE_RANGE);
}

/* An entry that does not decode was never proposed by any version: it is skipped on every member alike. One
 * that decodes and is not understood stops the member (feature_level.c). */
static const ProtobufCMessage *kv_apply_decode(struct kv *kv, const struct raft_entry *entry,
                                               struct entry *ret_entry, struct kv_request **ret_request)
{
    if (entry_decode(blob_slice(entry->data), ret_entry) != OK)
        return NULL;
    struct kv_request *r = kv_take_proposed(kv, ret_entry->member, ret_entry->id);
    *ret_request = r;
    if (!ret_entry->op)
        return NULL;
    if (is_same_message(r, ret_entry->op))
        return r->message;
    return protobuf_c_message_unpack(entry_descriptor(ret_entry->op), arena_allocator(&kv->arena),
                                     ret_entry->body.size, ret_entry->body.data);
}

/* The key of a Put stands first in its message, as every encoder writes it; a guess is enough here. */
static struct slice put_key(const struct raft_entry *entry)
{
    struct entry e;
    if (!entry->data || entry_decode(blob_slice(entry->data), &e) != OK || e.op != ENTRY_PUT ||
        e.body.size < 2 || e.body.data[0] != (1 << 3 | 2) || e.body.data[1] > 127 ||
        e.body.data[1] > e.body.size - 2)
        return (struct slice){0};
    return slice_of(e.body.data + 2, e.body.data[1]);
}

/* Entries, index slots and index entries are not in the CPU's caches. Fetched together, the misses
 * overlap. */
void kv_will_apply(void *arg, const struct raft_entry *entries, size_t count)
{
    struct kv *kv = arg;
    struct slice keys[NODE_WILL_APPLY_MAX];
    kv_time_chain(kv, count);
    _Static_assert(NODE_WILL_APPLY_MAX <= STORE_PREFETCH_PUTS, "all of them at once");
    _Static_assert((int)NODE_WILL_APPLY_MAX <= (int)WATCH_WILL_DELIVER_MAX, "all of them at once");
    for (size_t i = 0; i < count; i++) {
        __builtin_prefetch(entries[i].data);
        __builtin_prefetch((const char *)entries[i].data + 64);
    }
    for (size_t i = 0; i < count; i++)
        keys[i] = put_key(&entries[i]);
    store_prefetch_puts(kv->store, keys, count);
    watch_will_deliver(kv->hub, keys, count);
}

/* Entries that change keys are in the store's digest by their records. The others are in it by their bytes,
 * except those that members of the first feature level skip when they go on with a log of later members. */
static void digest_entry(struct kv *kv, const struct raft_entry *entry, enum entry_op op)
{
    if (op != ENTRY_PUT && op != ENTRY_TRIAL && op != ENTRY_DOWNGRADE_INFO && op != ENTRY_TXN &&
        op != ENTRY_DELETE_RANGE && op != ENTRY_STATE_CHECK)
        store_digest_add(kv->store, blob_slice(entry->data));
}

bool kv_apply(void *arg, const struct raft_entry *entry)
{
    struct kv *kv = arg;
    arena_reset(&kv->arena);
    if (kv_sliced_apply_is_open(kv)) {
        store_resume(kv->store);
        return kv_sliced_apply_step(kv, entry);
    }
    struct entry e = {0};
    struct kv_outcome o = {0};
    const ProtobufCMessage *m = NULL;
    struct kv_request *r = NULL;
    bool is_request = entry->type == RAFT_ENTRY_NORMAL && entry->data && entry->data->size;
    kv_time_entry(kv);
    if (is_request && kv_auth_is_enabled(kv) && !kv_prepare_author(kv, entry))
        return false;
    if (is_request) {
        FAILPOINT(BEFORE_APPLY_ONE_ENTRY_NORMAL);
        m = kv_apply_decode(kv, entry, &e, &r);
        if (kv_feature_stops(kv, entry->index, &e, m))
            return false; /* nothing of it was begun */
    }
    store_begin(kv->store, entry->index, entry->term);
    if (is_request) {
        if (kv_feature_is_void(kv, &e)) {
            o.err = ERR_NOT_CAPABLE;
        } else if (m && e.op == ENTRY_PUT && FAILPOINT(APPLY_IS_SKIPPED)) {
            o.err = ERR_INTERNAL;
        } else if (m) {
            o.err = check_operation(kv, &e, m);
            if (!o.err && kv_entry_is_long(kv, &e, m, r != NULL)) {
                kv_sliced_apply_begin(kv, &e, r);
                return kv_sliced_apply_step(kv, entry);
            }
            if (!o.err)
                o = apply_operation(kv, &e, m, r != NULL);
            digest_entry(kv, entry, e.op);
        } else if (!e.is_skipped) {
            o.err = ERR_INTERNAL;
            log_error("log entry does not decode, skipped", F_UINT("index", entry->index));
        }
    } else if (entry->type != RAFT_ENTRY_NORMAL) {
        o.err = kv_apply_membership(kv, entry);
        if (entry->data)
            store_digest_add(kv->store, blob_slice(entry->data));
    }
    store_end(kv->store);
    if (!o.err)
        kv_report_admin(kv, entry, m ? &e : NULL, m);
    kv_archive_entry(kv, entry, m && !o.err && e.op != ENTRY_AUTHENTICATE);
    if (m)
        kv_time_apply(kv, e.op, o.err);
    if (entry->type != RAFT_ENTRY_NORMAL)
        kv_answer_membership(kv, entry, o.err);
    /* The response borrows from the store; that lives until the next entry. */
    if (r)
        kv_apply_answer(kv, r, &e, m, &o);
    return true;
}
