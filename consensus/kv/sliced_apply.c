/* SPDX-License-Identifier: Apache-2.0
 * Entries that are applied over many turns: transactions over very many keys, DeleteRange, the end of a lease
 * with very many keys. The entry stays open meanwhile (store_pause, store_resume), and no later entry is
 * applied before it ends. The result is that of apply.c in one piece: one store transaction, one revision,
 * one event for the watchers. Only the answer is made of bytes.
 *
 * While an entry is open the visible state is the one before it:
 *   go on   reads whose index is applied, keep-alives, heartbeats, raft's messages, sockets
 *   wait    later writes, and reads that must see this entry */
#include <assert.h>

#include "base/metric.h"
#include "consensus/kv/kv_impl.h"

#define SLICE_UNITS 2048
#define SLICE_NS    1500000

bool kv_entry_is_long(struct kv *kv, const struct entry *e, const ProtobufCMessage *m, bool is_awaited)
{
    if (e->op == ENTRY_TXN)
        return store_txn_is_long(kv->store, (const Etcdserverpb__TxnRequest *)m, is_awaited);
    if (e->op == ENTRY_DELETE_RANGE)
        return store_delete_is_long(kv->store, (const Etcdserverpb__DeleteRangeRequest *)m);
    return e->op == ENTRY_LEASE_REVOKE &&
           store_lease_is_long(kv->store, ((const Etcdserverpb__LeaseRevokeRequest *)m)->id);
}

void kv_sliced_apply_drop_answer(struct kv *kv)
{
    store_work_forget_answer(kv->sliced_apply.work);
}

/* The request may be canceled meanwhile, and its message go with it: so the entry's bytes are decoded. */
void kv_sliced_apply_begin(struct kv *kv, const struct entry *e, struct kv_request *r)
{
    struct kv_sliced_apply *a = &kv->sliced_apply;
    struct buf *out = NULL;
    a->begun_ns = kv_time_entry_begin(kv);
    a->entry = *e;
    a->message = protobuf_c_message_unpack(entry_descriptor(e->op), arena_allocator(&a->arena), e->body.size,
                                           e->body.data);
    if (r) {
        r->state = KV_APPLYING;
        list_add_last(&a->waiting, &r->link);
        out = r->answer ? r->answer(r) : &a->own;
    }
    if (e->op == ENTRY_TXN)
        a->work = store_work_txn(kv->store, (const Etcdserverpb__TxnRequest *)a->message, out);
    else if (e->op == ENTRY_DELETE_RANGE)
        a->work = store_work_delete(kv->store, (const Etcdserverpb__DeleteRangeRequest *)a->message, out);
    else
        a->work = store_work_lease(kv->store, ((const Etcdserverpb__LeaseRevokeRequest *)a->message)->id);
}

static Etcdserverpb__ResponseHeader *new_header(struct kv *kv, int64_t revision)
{
    Etcdserverpb__ResponseHeader *h = arena_alloc(&kv->arena, sizeof *h);
    kv_header(kv, revision, h);
    return h;
}

/* The fields that the answer's bytes do not hold yet. is_here: the bytes are ours, and all of it is
 * returned. */
static const ProtobufCMessage *txn_response(struct kv *kv, bool is_here,
                                            const Etcdserverpb__TxnResponse *rest, int64_t revision)
{
    const struct buf *own = &kv->sliced_apply.own;
    Etcdserverpb__TxnResponse *r = arena_alloc(&kv->arena, sizeof *r);
    *r = *rest;
    if (is_here)
        r = etcdserverpb__txn_response__unpack(arena_allocator(&kv->arena), own->size, own->data);
    r->succeeded = rest->succeeded;
    r->header = new_header(kv, revision);
    return &r->base;
}

static const ProtobufCMessage *
delete_response(struct kv *kv, bool is_here, const Etcdserverpb__DeleteRangeResponse *rest, int64_t revision)
{
    const struct buf *own = &kv->sliced_apply.own;
    Etcdserverpb__DeleteRangeResponse *r = arena_alloc(&kv->arena, sizeof *r);
    *r = *rest;
    if (is_here)
        r = etcdserverpb__delete_range_response__unpack(arena_allocator(&kv->arena), own->size, own->data);
    r->deleted = rest->deleted;
    r->header = new_header(kv, revision);
    return &r->base;
}

static const ProtobufCMessage *response_of(struct kv *kv, const struct kv_request *r)
{
    const struct kv_sliced_apply *a = &kv->sliced_apply;
    Etcdserverpb__TxnResponse txn;
    Etcdserverpb__DeleteRangeResponse delete;
    int64_t revision;
    bool is_here = !r->answer && a->own.size;
    store_work_result(a->work, &txn, &delete, &revision);
    if (a->entry.op == ENTRY_TXN)
        return txn_response(kv, is_here, &txn, revision);
    if (a->entry.op == ENTRY_DELETE_RANGE)
        return delete_response(kv, is_here, &delete, revision);
    Etcdserverpb__LeaseRevokeResponse *revoke = arena_alloc(&kv->arena, sizeof *revoke);
    etcdserverpb__lease_revoke_response__init(revoke);
    revoke->header = new_header(kv, revision);
    return &revoke->base;
}

static void end_long(struct kv *kv, const struct raft_entry *entry, int err)
{
    struct kv_sliced_apply *a = &kv->sliced_apply;
    if (a->entry.op == ENTRY_LEASE_REVOKE) {
        int64_t id = ((const Etcdserverpb__LeaseRevokeRequest *)a->message)->id;
        err = lease_revoke(kv->leases, id);
        assert(!err);
        kv_save_lease(kv, id, 0, 0);
        metric_add(METRIC_LEASE_REVOKED, 1);
        store_digest_add(kv->store, blob_slice(entry->data));
    }
    store_end(kv->store);
    kv_archive_entry(kv, entry, !err || err == ERR_LIMIT);
    kv_time_entry_resume(kv, a->begun_ns);
    kv_time_apply(kv, a->entry.op, err);
    if (!list_is_empty(&a->waiting)) {
        struct kv_request *r = container_of(a->waiting.next, struct kv_request, link);
        const ProtobufCMessage *response = err ? NULL : response_of(kv, r);
        list_remove(&r->link);
        r->state = KV_IDLE;
        kv_time_request(kv, r, true);
        r->done(r, err, response);
    }
    kv_sliced_apply_end(kv);
}

void kv_sliced_apply_end(struct kv *kv)
{
    struct kv_sliced_apply *a = &kv->sliced_apply;
    store_work_free(a->work);
    a->work = NULL;
    arena_done(&a->arena);
    buf_done(&a->own);
}

/* For about a slice; true when the entry is whole. */
bool kv_sliced_apply_step(struct kv *kv, const struct raft_entry *entry)
{
    uint64_t begin = kv->io->ops->mono_ns(kv->io);
    bool is_last = false, is_over = false;
    int err = OK;
    while (!is_last && !is_over) {
        err = store_work_step(kv->sliced_apply.work,
                              kv->settings.slice_units ? kv->settings.slice_units : SLICE_UNITS, &is_last);
        is_over = kv->settings.slice_units || kv->io->ops->mono_ns(kv->io) - begin >= SLICE_NS;
    }
    if (is_last) {
        end_long(kv, entry, err);
        return true;
    }
    store_pause(kv->store);
    return false;
}

bool kv_sliced_apply_is_open(const struct kv *kv)
{
    return kv->sliced_apply.work != NULL;
}

void kv_sliced_apply_init(struct kv_sliced_apply *a)
{
    list_init(&a->waiting);
}

void kv_sliced_apply_stop(struct kv *kv)
{
    kv_stop_list(kv, &kv->sliced_apply.waiting);
}
