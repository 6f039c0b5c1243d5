/* SPDX-License-Identifier: Apache-2.0
 * A fake store for tests of server/. It takes every request of kv.h, records it, and answers in
 * fake_kv_turn. It never answers from inside the call, as kv.h promises. Ranges are over `key_count` keys
 * k000000, k000001 ... Include it in one .c file: it defines the symbols of kv.h, so that the archive's real
 * ones are not linked. */
#ifndef TESTS_UNIT_FAKE_KV_H
#define TESTS_UNIT_FAKE_KV_H

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "consensus/kv.h"

enum fake_kind {
    FAKE_RANGE,
    FAKE_PUT,
    FAKE_DELETE_RANGE,
    FAKE_TXN,
    FAKE_COMPACT,
    FAKE_LEASE_GRANT,
    FAKE_LEASE_REVOKE,
    FAKE_KEEP_ALIVE,
    FAKE_CHECKED_KEEP_ALIVE, /* only root keeps leases alive */
    FAKE_TIME_TO_LIVE,
    FAKE_LEASES,
    FAKE_ALARM,
    FAKE_HASH,
    FAKE_HASH_KV,
    FAKE_DEFRAGMENT,
    FAKE_MEMBER_ADD,
    FAKE_MEMBER_REMOVE,
    FAKE_MEMBER_UPDATE,
    FAKE_MEMBER_LIST,
    FAKE_MEMBER_PROMOTE,
    FAKE_MOVE_LEADER,
    FAKE_BARRIER,
    FAKE_DOWNGRADE,
    FAKE_AUTH,
};

struct fake_output {
    struct link link;
    int64_t revision;
    struct buf bytes;
};

struct watch_stream {
    struct kv *kv;
    void (*on_ready)(void *arg);
    void *arg;
    struct link queue;
    struct fake_output *last; /* handed out: freed at the next call */
    size_t last_at;           /* the number of bytes handed out */
    int64_t next_id;
    bool is_told;
    const char *(*judge)(void *arg, struct slice key, struct slice range_end);
    uint64_t judged, source;
    char keys[8][32]; /* of the watchers 0 to 7; empty = none */
};

struct kv {
    char downgrade[32]; /* the last entry of a job that was asked for */
    int64_t revision;
    uint64_t leader;
    bool is_learner, is_reverse; /* reverse: answers in the opposite order */
    int err;                     /* every request ends with this error */
    size_t key_count, value_size, done_count, canceled;
    struct link pending, parked; /* parked: ranges whose client has no room for an answer */
    struct watch_stream *stream; /* the newest */
    size_t streams_open;
    struct kv_export {
        void (*on_ready)(void *arg);
        void *arg;
        struct buf bytes; /* the bytes to come, in blocks of the given size */
        size_t block, at, size;
        bool is_whole, is_open;
        int err;
    } export;
    int64_t compact_revision;
    uint64_t auth_epoch;            /* a test increments it when rights change */
    bool is_alice_void;             /* her password has changed */
    bool is_root_lost;              /* the user root has lost its role */
    const char *alice_has_lost;     /* the first letter of keys that alice may not use any more */
    bool is_auth_on, is_late_known; /* the token "late" is pending until then */
    const char *password_hash;      /* of each user; NULL: there is none */
    int password_err;               /* or this */
    struct arena arena;
};

static void fake_kv_init(struct kv *kv)
{
    *kv = (struct kv){.revision = 7, .leader = 0x11, .key_count = 35, .value_size = 16};
    list_init(&kv->pending);
    list_init(&kv->parked);
}

static void fake_add(struct kv *kv, struct kv_request *r, enum fake_kind kind, const void *m)
{
    assert(r->done);
    r->kind = (int)kind;
    r->message = m;
    r->link = (struct link){0};
    list_add_last(&kv->pending, &r->link);
}

void kv_range(struct kv *kv, struct kv_request *r, const Etcdserverpb__RangeRequest *m)
{
    fake_add(kv, r, FAKE_RANGE, m);
}
void kv_put(struct kv *kv, struct kv_request *r, const Etcdserverpb__PutRequest *m)
{
    fake_add(kv, r, FAKE_PUT, m);
}
void kv_delete_range(struct kv *kv, struct kv_request *r, const Etcdserverpb__DeleteRangeRequest *m)
{
    fake_add(kv, r, FAKE_DELETE_RANGE, m);
}
void kv_txn(struct kv *kv, struct kv_request *r, const Etcdserverpb__TxnRequest *m)
{
    fake_add(kv, r, FAKE_TXN, m);
}
void kv_compact(struct kv *kv, struct kv_request *r, const Etcdserverpb__CompactionRequest *m)
{
    fake_add(kv, r, FAKE_COMPACT, m);
}
void kv_lease_grant(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseGrantRequest *m)
{
    fake_add(kv, r, FAKE_LEASE_GRANT, m);
}
void kv_lease_revoke(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseRevokeRequest *m)
{
    fake_add(kv, r, FAKE_LEASE_REVOKE, m);
}
void kv_lease_keep_alive(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseKeepAliveRequest *m)
{
    fake_add(kv, r, FAKE_KEEP_ALIVE, m);
}
void kv_lease_keep_alive_checked(struct kv *kv, struct kv_request *r,
                                 const Etcdserverpb__LeaseKeepAliveRequest *m)
{
    fake_add(kv, r, FAKE_CHECKED_KEEP_ALIVE, m);
}
void kv_lease_time_to_live(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseTimeToLiveRequest *m)
{
    fake_add(kv, r, FAKE_TIME_TO_LIVE, m);
}
void kv_lease_leases(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseLeasesRequest *m)
{
    fake_add(kv, r, FAKE_LEASES, m);
}
void kv_alarm(struct kv *kv, struct kv_request *r, const Etcdserverpb__AlarmRequest *m)
{
    fake_add(kv, r, FAKE_ALARM, m);
}
void kv_hash(struct kv *kv, struct kv_request *r, const Etcdserverpb__HashRequest *m)
{
    fake_add(kv, r, FAKE_HASH, m);
}
void kv_hash_kv(struct kv *kv, struct kv_request *r, const Etcdserverpb__HashKVRequest *m)
{
    fake_add(kv, r, FAKE_HASH_KV, m);
}
void kv_defrag_refusal(const struct kv *kv, char *ret_text, size_t size)
{
    (void)kv;
    snprintf(ret_text, size, "5 MiB are needed, 4 MiB are free");
}

void kv_defragment(struct kv *kv, struct kv_request *r, const Etcdserverpb__DefragmentRequest *m)
{
    fake_add(kv, r, FAKE_DEFRAGMENT, m);
}
void kv_member_list(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberListRequest *m)
{
    fake_add(kv, r, FAKE_MEMBER_LIST, m);
}
void kv_member_add(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberAddRequest *m)
{
    fake_add(kv, r, FAKE_MEMBER_ADD, m);
}
void kv_member_remove(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberRemoveRequest *m)
{
    fake_add(kv, r, FAKE_MEMBER_REMOVE, m);
}
void kv_member_update(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberUpdateRequest *m)
{
    fake_add(kv, r, FAKE_MEMBER_UPDATE, m);
}
void kv_member_promote(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberPromoteRequest *m)
{
    fake_add(kv, r, FAKE_MEMBER_PROMOTE, m);
}
void kv_move_leader(struct kv *kv, struct kv_request *r, const Etcdserverpb__MoveLeaderRequest *m)
{
    fake_add(kv, r, FAKE_MOVE_LEADER, m);
}
void kv_barrier(struct kv *kv, struct kv_request *r)
{
    fake_add(kv, r, FAKE_BARRIER, NULL);
}

/* A cluster of version 3.7 without a job. */
int kv_check_downgrade(const struct kv *kv, unsigned major, unsigned minor)
{
    (void)kv;
    return major == 3 && minor == 6 ? OK : ERR_DOWNGRADE_TARGET;
}
void kv_downgrade(struct kv *kv, struct kv_request *r, const Etcdserverpb__DowngradeInfoSetRequest *m)
{
    snprintf(kv->downgrade, sizeof kv->downgrade, "%s%s", m->enabled ? "enable " : "cancel", m->ver);
    if (m->enabled) {
        fake_add(kv, r, FAKE_DOWNGRADE, m);
        return;
    }
    r->done(r, ERR_NO_INFLIGHT_DOWNGRADE, NULL);
}
const char *kv_cluster_version(const struct kv *kv, struct arena *a)
{
    (void)kv;
    return arena_printf(a, "3.7.0");
}

void kv_resume(struct kv *kv, struct kv_request *r)
{
    list_remove(&r->link);
    list_add_last(&kv->pending, &r->link);
}

void kv_cancel(struct kv *kv, struct kv_request *r)
{
    assert(link_is_in_list(&r->link));
    list_remove(&r->link);
    kv->canceled++;
}

void kv_header(const struct kv *kv, int64_t revision, Etcdserverpb__ResponseHeader *ret_header)
{
    (void)kv;
    etcdserverpb__response_header__init(ret_header);
    ret_header->cluster_id = 0xcccc;
    ret_header->member_id = 0x11;
    ret_header->revision = revision;
    ret_header->raft_term = 3;
}
int64_t kv_revision(const struct kv *kv)
{
    return kv->revision;
}
uint64_t kv_leader(const struct kv *kv)
{
    return kv->leader;
}
bool kv_is_learner(const struct kv *kv)
{
    return kv->is_learner;
}

void kv_status(struct kv *kv, struct arena *a, Etcdserverpb__StatusResponse *ret_response)
{
    etcdserverpb__status_response__init(ret_response);
    ret_response->header = arena_new(a, sizeof *ret_response->header);
    kv_header(kv, kv->revision, ret_response->header);
    ret_response->version = arena_string(a, "3.7.1", 5);
    ret_response->dbsize = 4096;
}

static bool fake_in_range(const Etcdserverpb__RangeRequest *m, struct slice key)
{
    int low = slice_compare(key, slice_of(m->key.data, m->key.len));
    if (!m->range_end.len)
        return low == 0;
    bool is_open = m->range_end.len == 1 && m->range_end.data[0] == 0;
    return low >= 0 && (is_open || slice_compare(key, slice_of(m->range_end.data, m->range_end.len)) < 0);
}

int kv_range_now(struct kv *kv, const Etcdserverpb__RangeRequest *m, struct arena *a,
                 Etcdserverpb__RangeResponse **ret_response)
{
    if (m->revision > kv->revision)
        return ERR_FUTURE_REV;
    if (m->revision > 0 && m->revision < kv->compact_revision)
        return ERR_COMPACTED;
    Etcdserverpb__RangeResponse *r = arena_new(a, sizeof *r);
    etcdserverpb__range_response__init(r);
    r->header = arena_new(a, sizeof *r->header);
    kv_header(kv, kv->revision, r->header);
    r->kvs = arena_alloc(a, kv->key_count * sizeof(void *));
    for (size_t i = 0; i < kv->key_count; i++) {
        char *key = arena_printf(a, "k%06zu", i);
        if (!fake_in_range(m, slice_text(key)))
            continue;
        r->count++;
        if (m->count_only)
            continue;
        if (m->limit > 0 && (int64_t)r->n_kvs >= m->limit) {
            r->more = true;
            continue;
        }
        Mvccpb__KeyValue *kv_out = arena_new(a, sizeof *kv_out);
        mvccpb__key_value__init(kv_out);
        kv_out->key = (ProtobufCBinaryData){strlen(key), (uint8_t *)key};
        kv_out->value = (ProtobufCBinaryData){kv->value_size, arena_new(a, kv->value_size)};
        kv_out->mod_revision = 2;
        r->kvs[r->n_kvs++] = kv_out;
    }
    *ret_response = r;
    return 0;
}

/* Every condition holds; puts and deletes get an empty answer. */
static void fake_txn(struct kv *kv, const Etcdserverpb__TxnRequest *m, Etcdserverpb__TxnResponse *response)
{
    response->succeeded = true;
    response->n_responses = m->n_success;
    response->responses = arena_new(&kv->arena, (m->n_success + 1) * sizeof(void *));
    for (size_t i = 0; i < m->n_success; i++) {
        Etcdserverpb__ResponseOp *op = response->responses[i] = arena_new(&kv->arena, sizeof *op);
        etcdserverpb__response_op__init(op);
        if (m->success[i]->request_case != ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_RANGE)
            continue;
        op->response_case = ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE;
        int err = kv_range_now(kv, m->success[i]->request_range, &kv->arena, &op->response_range);
        assert(!err);
    }
}

static void fake_answer(struct kv *kv, struct kv_request *r)
{
    if (kv->err) {
        r->done(r, kv->err, NULL);
        return;
    }
    Etcdserverpb__ResponseHeader header;
    kv_header(kv, kv->revision, &header);
#define ANSWER(KIND, type, init, ...)                                                                        \
    case KIND: {                                                                                             \
        type response = init;                                                                                \
        response.header = &header;                                                                           \
        __VA_ARGS__;                                                                                         \
        r->done(r, 0, &response.base);                                                                       \
        break;                                                                                               \
    }
    switch ((enum fake_kind)r->kind) {
    case FAKE_RANGE: {
        Etcdserverpb__RangeResponse *response;
        int err = kv_range_now(kv, (const void *)r->message, &kv->arena, &response);
        r->done(r, err, err ? NULL : &response->base);
        arena_reset(&kv->arena);
        break;
    }
        ANSWER(FAKE_PUT, Etcdserverpb__PutResponse, ETCDSERVERPB__PUT_RESPONSE__INIT,
               header.revision = ++kv->revision)
        ANSWER(FAKE_DELETE_RANGE, Etcdserverpb__DeleteRangeResponse,
               ETCDSERVERPB__DELETE_RANGE_RESPONSE__INIT, response.deleted = 2)
        ANSWER(FAKE_TXN, Etcdserverpb__TxnResponse, ETCDSERVERPB__TXN_RESPONSE__INIT,
               fake_txn(kv, (const void *)r->message, &response))
        ANSWER(FAKE_COMPACT, Etcdserverpb__CompactionResponse, ETCDSERVERPB__COMPACTION_RESPONSE__INIT, )
        ANSWER(FAKE_LEASE_GRANT, Etcdserverpb__LeaseGrantResponse, ETCDSERVERPB__LEASE_GRANT_RESPONSE__INIT,
               response.id = 99;
               response.ttl = ((const Etcdserverpb__LeaseGrantRequest *)r->message)->ttl)
        ANSWER(FAKE_LEASE_REVOKE, Etcdserverpb__LeaseRevokeResponse,
               ETCDSERVERPB__LEASE_REVOKE_RESPONSE__INIT, )
        ANSWER(FAKE_KEEP_ALIVE, Etcdserverpb__LeaseKeepAliveResponse,
               ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT, response.ttl = 60)
        ANSWER(FAKE_CHECKED_KEEP_ALIVE, Etcdserverpb__LeaseKeepAliveResponse,
               ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT, response.ttl = 60)
        ANSWER(FAKE_TIME_TO_LIVE, Etcdserverpb__LeaseTimeToLiveResponse,
               ETCDSERVERPB__LEASE_TIME_TO_LIVE_RESPONSE__INIT, response.ttl = 5)
        ANSWER(FAKE_LEASES, Etcdserverpb__LeaseLeasesResponse, ETCDSERVERPB__LEASE_LEASES_RESPONSE__INIT, )
        ANSWER(FAKE_ALARM, Etcdserverpb__AlarmResponse, ETCDSERVERPB__ALARM_RESPONSE__INIT, )
        ANSWER(FAKE_HASH, Etcdserverpb__HashResponse, ETCDSERVERPB__HASH_RESPONSE__INIT, response.hash = 5)
        ANSWER(FAKE_HASH_KV, Etcdserverpb__HashKVResponse, ETCDSERVERPB__HASH_KVRESPONSE__INIT,
               response.hash = 6)
        ANSWER(FAKE_DEFRAGMENT, Etcdserverpb__DefragmentResponse, ETCDSERVERPB__DEFRAGMENT_RESPONSE__INIT, )
        ANSWER(FAKE_MEMBER_LIST, Etcdserverpb__MemberListResponse, ETCDSERVERPB__MEMBER_LIST_RESPONSE__INIT,
               header.revision = 0)
        ANSWER(FAKE_MEMBER_ADD, Etcdserverpb__MemberAddResponse, ETCDSERVERPB__MEMBER_ADD_RESPONSE__INIT, )
        ANSWER(FAKE_MEMBER_REMOVE, Etcdserverpb__MemberRemoveResponse,
               ETCDSERVERPB__MEMBER_REMOVE_RESPONSE__INIT, )
        ANSWER(FAKE_MEMBER_UPDATE, Etcdserverpb__MemberUpdateResponse,
               ETCDSERVERPB__MEMBER_UPDATE_RESPONSE__INIT, )
        ANSWER(FAKE_MEMBER_PROMOTE, Etcdserverpb__MemberPromoteResponse,
               ETCDSERVERPB__MEMBER_PROMOTE_RESPONSE__INIT, )
        ANSWER(FAKE_MOVE_LEADER, Etcdserverpb__MoveLeaderResponse, ETCDSERVERPB__MOVE_LEADER_RESPONSE__INIT, )
    case FAKE_BARRIER:
    case FAKE_DOWNGRADE:
        r->done(r, 0, NULL);
        break;
    case FAKE_AUTH: {
        Etcdserverpb__AuthStatusResponse m = ETCDSERVERPB__AUTH_STATUS_RESPONSE__INIT;
        m.header = &header;
        m.authrevision = 1;
        m.enabled = kv->is_auth_on;
        r->done(r, 0, &m.base);
        break;
    }
    }
#undef ANSWER
}

/* Answers every pending request. */
static void fake_kv_turn(struct kv *kv)
{
    while (!list_is_empty(&kv->pending)) {
        struct link *l = kv->is_reverse ? kv->pending.prev : kv->pending.next;
        struct kv_request *r = container_of(l, struct kv_request, link);
        list_remove(l);
        if (r->kind == FAKE_RANGE && r->has_room && !r->has_room(r)) {
            list_add_last(&kv->parked, l);
            continue;
        }
        kv->done_count++;
        int err = r->kind == FAKE_CHECKED_KEEP_ALIVE ? kv_auth_check_admin(kv, r->who) : OK;
        if (err)
            r->done(r, err, NULL);
        else
            fake_answer(kv, r);
    }
}

int kv_range_page(struct kv *kv, const Etcdserverpb__RangeRequest *m, struct arena *a,
                  Etcdserverpb__RangeResponse **ret_response)
{
    int err = kv_range_now(kv, m, a, ret_response);
    if (!err && !m->count_only)
        (*ret_response)->count = 0;
    return err;
}

/* --- watch ------------------------------------------------------------------------------------------ */
static void fake_push(struct watch_stream *s, int64_t revision, const Etcdserverpb__WatchResponse *m)
{
    struct fake_output *o = mem_new(sizeof *o);
    o->revision = revision;
    size_t size = protobuf_c_message_get_packed_size(&m->base);
    protobuf_c_message_pack(&m->base, buf_reserve(&o->bytes, size));
    o->bytes.size = size;
    bool was_empty = list_is_empty(&s->queue);
    list_add_last(&s->queue, &o->link);
    if (was_empty && !s->is_told) {
        s->is_told = true;
        s->on_ready(s->arg);
    }
}

static void fake_output_free(struct fake_output *o)
{
    if (!o)
        return;
    buf_done(&o->bytes);
    mem_free(o);
}

struct watch_stream *kv_watch_open(struct kv *kv, void (*on_ready)(void *arg), void *arg)
{
    struct watch_stream *s = mem_new(sizeof *s);
    s->kv = kv;
    s->on_ready = on_ready;
    s->arg = arg;
    list_init(&s->queue);
    kv->stream = s;
    kv->streams_open++;
    return s;
}

void watch_stream_close(struct watch_stream *s)
{
    for (struct link *l; (l = list_take_first(&s->queue));)
        fake_output_free(container_of(l, struct fake_output, link));
    fake_output_free(s->last);
    s->kv->streams_open--;
    if (s->kv->stream == s)
        s->kv->stream = NULL;
    mem_free(s);
}

void watch_create(struct watch_stream *s, const Etcdserverpb__WatchCreateRequest *request,
                  const char *refuse_reason)
{
    Etcdserverpb__WatchResponse m = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    if (!refuse_reason && s->next_id < 8)
        snprintf(s->keys[s->next_id], sizeof s->keys[0], "%.*s", (int)request->key.len,
                 (const char *)request->key.data);
    m.watch_id = refuse_reason ? -1 : s->next_id++;
    m.created = true;
    m.canceled = refuse_reason != NULL;
    if (refuse_reason)
        m.cancel_reason = (char *)(uintptr_t)refuse_reason;
    fake_push(s, s->kv->revision, &m);
}

void watch_cancel(struct watch_stream *s, int64_t watch_id)
{
    Etcdserverpb__WatchResponse m = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    m.watch_id = watch_id;
    m.canceled = true;
    fake_push(s, s->kv->revision, &m);
}

void watch_request_progress(struct watch_stream *s)
{
    Etcdserverpb__WatchResponse m = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    m.watch_id = -1;
    fake_push(s, s->kv->revision, &m);
}

bool watch_is_full(const struct watch_stream *s)
{
    size_t count = 0;
    LIST_FOR_EACH (l, &s->queue)
        count++;
    return count >= 50;
}

void watch_stream_set_source(struct watch_stream *s, uint64_t source)
{
    s->source = source;
}

void watch_stream_set_permission_check(struct watch_stream *s,
                                       const char *(*judge)(void *arg, struct slice key,
                                                            struct slice range_end))
{
    s->judge = judge;
    s->judged = kv_auth_epoch(s->kv);
}

/* As in the hub: a watch that lost its right is canceled, and its pending responses are dropped (here: all
 * pending ones). */
static void fake_judge(struct watch_stream *s)
{
    const char *reason;
    bool is_first = true;
    s->judged = kv_auth_epoch(s->kv);
    for (int i = 0; i < 8; i++) {
        if (!*s->keys[i] || !(reason = s->judge(s->arg, slice_text(s->keys[i]), (struct slice){0})))
            continue;
        for (struct link *l; is_first && (l = list_take_first(&s->queue));)
            fake_output_free(container_of(l, struct fake_output, link));
        is_first = false;
        s->last_at = SIZE_MAX; /* no more of it comes */
        Etcdserverpb__WatchResponse m = ETCDSERVERPB__WATCH_RESPONSE__INIT;
        m.watch_id = i;
        m.canceled = true;
        m.cancel_reason = (char *)(uintptr_t)reason;
        *s->keys[i] = 0;
        s->is_told = true; /* its owner is asking */
        fake_push(s, s->kv->revision, &m);
    }
}

bool watch_next_is_long(const struct watch_stream *s, size_t part_bytes)
{
    if (s->last && s->last_at < s->last->bytes.size)
        return true;
    return !list_is_empty(&s->queue) &&
           container_of(s->queue.next, struct fake_output, link)->bytes.size > part_bytes;
}

/* Long ones in parts, each in two pieces, as the hub hands out shared bytes. */
bool watch_next_part(struct watch_stream *s, size_t part_bytes, struct watch_output *ret_output)
{
    if (s->judge && s->judged != kv_auth_epoch(s->kv))
        fake_judge(s);
    ret_output->is_rest = s->last && s->last_at < s->last->bytes.size;
    if (!ret_output->is_rest) {
        fake_output_free(s->last);
        s->last = NULL;
        struct link *l = list_take_first(&s->queue);
        if (!l) {
            s->is_told = false;
            return false;
        }
        s->last = container_of(l, struct fake_output, link);
        s->last_at = 0;
    }
    size_t left = s->last->bytes.size - s->last_at, size = left > part_bytes ? part_bytes : left;
    const uint8_t *data = s->last->bytes.data + s->last_at;
    s->last_at += size;
    ret_output->left = left - size;
    ret_output->header_revision = s->last->revision;
    ret_output->count = 2;
    ret_output->pieces[0] = slice_of(data, size / 2);
    ret_output->pieces[1] = slice_of(data + size / 2, size - size / 2);
    return true;
}

bool watch_next(struct watch_stream *s, struct watch_output *ret_output)
{
    return watch_next_part(s, SIZE_MAX, ret_output);
}

/* --- snapshot ---------------------------------------------------------------------------------------- */
struct kv_export *kv_export_open(struct kv *kv, void (*on_ready)(void *arg), void *arg)
{
    assert(!kv->export.is_open);
    kv->export = (struct kv_export){.on_ready = on_ready, .arg = arg, .is_open = true};
    return &kv->export;
}

int kv_export_next(struct kv_export *e, struct slice *ret_block, struct kv_export_progress *ret_progress)
{
    size_t left = e->bytes.size - e->at;
    *ret_block =
        left ? slice_of(e->bytes.data + e->at, left < e->block ? left : e->block) : (struct slice){0};
    *ret_progress = (struct kv_export_progress){.size = e->size, .revision = 7};
    if (e->err) {
        ret_block->size = 0;
        return e->err;
    }
    e->at += ret_block->size;
    ret_progress->is_done = e->is_whole && left == 0;
    if (ret_progress->is_done) {
        struct sha256 *sha = sha256_new();
        sha256_add(sha, e->bytes.data, e->bytes.size);
        sha256_finish(sha, ret_progress->digest);
    }
    return 0;
}

void kv_export_close(struct kv_export *e)
{
    assert(e->is_open);
    e->is_open = false;
    buf_done(&e->bytes);
}

/* So many bytes of `size` are there, in blocks of so many. */
static inline void fake_export(struct kv *kv, size_t count, size_t size, size_t block)
{
    struct kv_export *e = &kv->export;
    e->size = size;
    e->block = block;
    while (e->bytes.size < count)
        buf_add_byte(&e->bytes, (uint8_t)(e->bytes.size * 7 + e->bytes.size / 4096));
    e->is_whole = count == size;
    e->on_ready(e->arg);
}

static inline void fake_export_fails(struct kv *kv, int err)
{
    kv->export.err = err;
    kv->export.on_ready(kv->export.arg);
}

/* --- users: alice may read and write keys that begin with 'a', root administers --------------------- */
void kv_auth(struct kv *kv, struct kv_request *r, const ProtobufCMessage *m)
{
    fake_add(kv, r, FAKE_AUTH, m);
}

void kv_authenticate(struct kv *kv, struct kv_request *r, const char *user, bool is_simple)
{
    (void)user, (void)is_simple;
    fake_add(kv, r, FAKE_AUTH, NULL);
}

bool kv_auth_is_enabled(const struct kv *kv)
{
    return kv->is_auth_on;
}

uint64_t kv_auth_revision(const struct kv *kv)
{
    (void)kv;
    return 1;
}

uint64_t kv_auth_epoch(const struct kv *kv)
{
    return kv->auth_epoch + 1;
}

int kv_auth_check_user(const struct kv *kv, const struct auth_who *who)
{
    if (!kv->is_auth_on)
        return OK;
    bool is_alice = slice_equal(who->user, slice_text("alice"));
    return !who->revision ? ERR_USER_EMPTY : is_alice && kv->is_alice_void ? ERR_AUTH_OLD_REVISION : OK;
}

int kv_auth_password(const struct kv *kv, const char *user, struct slice *ret_hash)
{
    (void)user;
    *ret_hash = slice_text(kv->password_hash ? kv->password_hash : "");
    if (kv->password_err)
        return kv->password_err;
    return kv->password_hash ? OK : ERR_AUTH_FAILED;
}

int kv_auth_token(struct kv *kv, struct slice token, struct auth_who *ret_who)
{
    bool is_late = slice_equal(token, slice_text("late"));
    bool is_known = slice_equal(token, slice_text("alice")) || slice_equal(token, slice_text("root"));
    if (is_late && !kv->is_late_known)
        return ERR_NOT_READY;
    *ret_who =
        (struct auth_who){.user = is_late ? slice_text("alice") : token, .revision = 1, .is_renewed = true};
    return is_known || is_late ? OK : ERR_INVALID_AUTH_TOKEN;
}

void kv_auth_wait(struct kv *kv, struct kv_request *r, struct slice token)
{
    (void)token;
    fake_add(kv, r, FAKE_BARRIER, NULL);
}

int kv_auth_check_admin(const struct kv *kv, const struct auth_who *who)
{
    if (!kv->is_auth_on)
        return OK;
    return slice_equal(who->user, slice_text("root")) && !kv->is_root_lost ? OK
           : who->revision                                                 ? ERR_PERMISSION_DENIED
                                                                           : ERR_USER_EMPTY;
}

int kv_auth_check_range(const struct kv *kv, const struct auth_who *who, struct slice key,
                        struct slice range_end, bool is_write)
{
    (void)range_end, (void)is_write;
    int err = kv_auth_check_admin(kv, who);
    if (err == ERR_PERMISSION_DENIED && kv->alice_has_lost && key.size && key.data[0] == *kv->alice_has_lost)
        return err;
    return err == ERR_PERMISSION_DENIED && key.size && key.data[0] == 'a' ? OK : err;
}

int kv_auth_readable(const struct kv *kv, const struct auth_who *who, const struct auth_ranges **ret_ranges)
{
    static const struct auth_ranges none;
    int err = kv_auth_check_admin(kv, who);
    *ret_ranges = err ? &none : NULL;
    return OK;
}

int kv_auth_check_lease(const struct kv *kv, const struct auth_who *who, int64_t lease, bool is_write,
                        struct slice except, size_t *ret_count)
{
    (void)lease, (void)is_write, (void)except, (void)ret_count;
    return kv_auth_check_admin(kv, who);
}

bool kv_auth_prepare_lease(const struct kv *kv, const struct auth_who *who, int64_t lease, bool is_write,
                           struct slice except, int64_t *units)
{
    (void)kv, (void)who, (void)lease, (void)is_write, (void)except, (void)units;
    return true;
}

#endif
