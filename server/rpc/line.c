/* SPDX-License-Identifier: Apache-2.0
 * The queue of a lock or an election: etcd's recipe, for Lock and Campaign. One transaction takes a place. The
 * turn of a place comes when no key of the queue is older. A waiter watches two keys: the youngest of the older
 * ones, and its own. Nothing here blocks; between two steps a waiter is a few hundred bytes and a watch stream.
 *
 *     GRANTING -> JOINING -> (RENAMING ->) LOOKING <-> WAITING -> the turn
 *
 * Invariants:
 *   - The call owns the waiter (call->state) until the call ends. Then the waiter's own request owns it, until
 *     the place is given up (LEAVING).
 *   - A place is given up only if it is the one that was taken: its create revision is compared.
 *
 * Beyond etcd's recipe:
 *   - A waiter whose own key is deleted is notified at once, not when its turn would have come.
 *   - A key that another call has put there meanwhile does not count as the waiter's own.
 *   - When the leader is lost during a read, the waiter reads again; the call does not end. */
#include <assert.h>
#include <stdio.h>

#include "base/log.h"
#include "proto/txn.h"
#include "server/rpc/service.h"

enum {
    LEASE_TTL_S = 60,
    LEASE_TEXT_MAX = 18, /* "-8000000000000000" and a NUL */
};

enum line_state { LINE_GRANTING, LINE_JOINING, LINE_RENAMING, LINE_LOOKING, LINE_WAITING, LINE_LEAVING };

struct waiter {
    struct rpc_server *server;
    struct rpc_call *call; /* NULL: gone */
    const struct line_kind *kind;
    enum line_state state;
    struct kv_request request;
    struct auth_who who; /* the call's; its user is in `user` */
    void *user;
    Etcdserverpb__LeaseGrantRequest grant;
    struct arena arena; /* of the step under way */
    struct txn txn;
    struct watch_stream *watch;
    Etcdserverpb__ResponseHeader joined;
    int64_t lease, revision;
    size_t name_size, key_size;
    struct buf value; /* until it is stored */
    uint8_t key[];    /* <name>/<lease>; room for the longest */
};

static struct slice prefix_of(const struct waiter *w)
{
    return slice_of(w->key, w->name_size + 1);
}

static struct slice line_key_of(const struct waiter *w)
{
    return slice_of(w->key, w->key_size);
}

static size_t place_bytes(const struct waiter *w)
{
    return sizeof *w + w->name_size + 1 + LEASE_TEXT_MAX;
}

static void waiter_free(struct waiter *w)
{
    if (w->watch)
        watch_stream_close(w->watch);
    rpc_place_give(w->server, place_bytes(w));
    buf_done(&w->value);
    mem_free(w->user);
    arena_done(&w->arena);
    mem_free(w);
}

/* All requests to the store for the caller are sent here. */
static void line_run(struct waiter *w, enum line_state state,
                     void (*done)(struct kv_request *r, int err, const ProtobufCMessage *response))
{
    w->state = state;
    /* The server itself deletes the key: the caller needs no right for that. */
    w->request = (struct kv_request){.done = done, .who = state == LINE_LEAVING ? NULL : &w->who};
    w->server->store_requests++;
    kv_txn(w->server->kv, &w->request, &w->txn.message);
}

static void line_begin(struct waiter *w)
{
    arena_reset(&w->arena);
    txn_init(&w->txn, &w->arena);
}

/* The first key in the answer to operation number `at`; NULL if none. */
static const Mvccpb__KeyValue *found(const Etcdserverpb__TxnResponse *response, size_t at)
{
    if (at >= response->n_responses)
        return NULL;
    const Etcdserverpb__ResponseOp *op = response->responses[at];
    if (op->response_case != ETCDSERVERPB__RESPONSE_OP__RESPONSE_RESPONSE_RANGE || !op->response_range->n_kvs)
        return NULL;
    return op->response_range->kvs[0];
}

/* --- leaving ---------------------------------------------------------------------------------------- */

static void on_left(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct waiter *w = container_of(r, struct waiter, request);
    (void)response;
    if (err)
        log_debug("a place in a line stays until its lease ends", F_ERR(err));
    waiter_free(w);
}

/* The call is gone: only the pending request keeps the waiter. */
static void give_up_place(struct waiter *w)
{
    w->call = NULL;
    if (w->watch)
        watch_stream_close(w->watch);
    w->watch = NULL;
    line_begin(w);
    txn_if_created(&w->txn, line_key_of(w), w->revision);
    txn_delete(&w->txn, line_key_of(w));
    line_run(w, LINE_LEAVING, on_left);
}

/* text NULL: the text of the error. */
static void line_fail(struct waiter *w, bool has_place, int err, const char *text)
{
    struct rpc_call *c = w->call;
    c->state = NULL;
    if (has_place)
        give_up_place(w);
    else
        waiter_free(w);
    rpc_recipe_refuse(c, text ? text : err_text(err));
}

void line_leave(struct rpc_call *c)
{
    struct waiter *w = c->state;
    c->state = NULL;
    if (!w)
        return;
    switch (w->state) {
    case LINE_JOINING: /* the entry may be in the log: on_joined deletes the key */
        w->call = NULL;
        return;
    case LINE_GRANTING:
        kv_cancel(w->server->kv, &w->request);
        waiter_free(w);
        return;
    case LINE_RENAMING:
    case LINE_LOOKING:
        kv_cancel(w->server->kv, &w->request);
        give_up_place(w);
        return;
    case LINE_WAITING:
        give_up_place(w);
        return;
    case LINE_LEAVING:
    default:
        assert(0); /* has no call */
    }
}

/* --- waiting ---------------------------------------------------------------------------------------- */

static void line_read_queue(struct waiter *w);

static void take_turn(struct waiter *w, const Etcdserverpb__ResponseHeader *header)
{
    struct rpc_call *c = w->call;
    c->state = NULL;
    struct line_place place = {
        .header = w->kind->is_answered_as_of_joining ? &w->joined : header,
        .name = {w->name_size, w->key},
        .key = {w->key_size, w->key},
        .revision = w->revision,
        .lease = w->lease,
    };
    w->kind->on_turn(c, &place);
    waiter_free(w);
}

static void watch_key(struct waiter *w, ProtobufCBinaryData key, int64_t revision)
{
    Etcdserverpb__WatchCreateRequest m = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest__FilterType filter =
        ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NOPUT;
    m.key = key;
    m.start_revision = revision;
    m.n_filters = 1;
    m.filters = &filter;
    watch_create(w->watch, &m, NULL);
}

static void line_wait_for(struct waiter *w, const Mvccpb__KeyValue *older, int64_t revision)
{
    w->state = LINE_WAITING;
    w->watch = rpc_watch_open(w->call);
    watch_key(w, older->key, revision + 1);
    watch_key(w, (ProtobufCBinaryData){w->key_size, w->key}, revision + 1);
    arena_done(&w->arena); /* it may take days */
}

/* True: one of the two keys is deleted, or the watch ended because history was compacted. */
static bool has_news(struct waiter *w)
{
    struct watch_output out;
    bool is_news = false;
    while (!is_news && watch_next(w->watch, &out)) {
        const Etcdserverpb__WatchResponse *m = rpc_watch_response(&out, &w->arena);
        is_news = m->canceled || m->n_events;
        arena_done(&w->arena);
    }
    return is_news;
}

void line_writable(struct rpc_call *c)
{
    struct waiter *w = c->state;
    if (!w || w->state != LINE_WAITING || !has_news(w))
        return;
    watch_stream_close(w->watch);
    w->watch = NULL;
    line_read_queue(w);
}

static void line_on_queue_read(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct waiter *w = container_of(r, struct waiter, request);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)m;
    if (err == ERR_LEADER_CHANGED) {
        line_read_queue(w);
        return;
    }
    if (err) {
        line_fail(w, true, err, NULL);
        return;
    }
    const Mvccpb__KeyValue *older = found(response, 0), *own = found(response, 1);
    if (!own || own->create_revision != w->revision)
        line_fail(w, false, OK, w->kind->lost);
    else if (!older)
        take_turn(w, response->header);
    else
        line_wait_for(w, older, response->header->revision);
}

static void line_read_queue(struct waiter *w)
{
    line_begin(w);
    txn_last_created(&w->txn, TXN_THEN, prefix_of(w), w->revision - 1);
    txn_range(&w->txn, TXN_THEN, line_key_of(w), true);
    line_run(w, LINE_LOOKING, line_on_queue_read);
}

/* --- joining ---------------------------------------------------------------------------------------- */

static void on_renamed(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct waiter *w = container_of(r, struct waiter, request);
    if (err) {
        line_fail(w, true, err, NULL);
    } else if (!((const Etcdserverpb__TxnResponse *)m)->succeeded) {
        line_fail(w, false, OK, w->kind->lost);
    } else {
        buf_done(&w->value);
        line_read_queue(w);
    }
}

static void rename_place(struct waiter *w)
{
    line_begin(w);
    txn_if_created(&w->txn, line_key_of(w), w->revision);
    txn_put(&w->txn, line_key_of(w), buf_slice(&w->value), w->lease);
    line_run(w, LINE_RENAMING, on_renamed);
}

static void joined(struct waiter *w, const Etcdserverpb__TxnResponse *response)
{
    const Mvccpb__KeyValue *own = response->succeeded ? NULL : found(response, 0),
                           *first = found(response, 1);
    w->joined = *response->header;
    w->revision = own ? own->create_revision : response->header->revision;
    if (own && w->kind->updates_value &&
        !slice_equal(slice_of(own->value.data, own->value.len), buf_slice(&w->value))) {
        rename_place(w);
        return;
    }
    buf_done(&w->value);
    if (!first || first->create_revision == w->revision)
        take_turn(w, response->header);
    else
        line_read_queue(w);
}

static void on_joined(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct waiter *w = container_of(r, struct waiter, request);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)m;
    if (w->call && err) {
        line_fail(w, false, err, NULL);
    } else if (w->call) {
        joined(w, response);
    } else if (!err && response->succeeded) {
        w->revision = response->header->revision;
        give_up_place(w);
    } else {
        waiter_free(w);
    }
}

static void join(struct waiter *w)
{
    uint64_t size = w->lease < 0 ? -(uint64_t)w->lease : (uint64_t)w->lease;
    w->key_size = w->name_size + 1;
    w->key_size += (size_t)snprintf((char *)w->key + w->key_size, LEASE_TEXT_MAX, "%s%llx",
                                    w->lease < 0 ? "-" : "", (unsigned long long)size);
    line_begin(w);
    txn_if_created(&w->txn, line_key_of(w), 0);
    txn_put(&w->txn, line_key_of(w), buf_slice(&w->value), w->lease);
    txn_first_created(&w->txn, TXN_THEN, prefix_of(w));
    txn_range(&w->txn, TXN_ELSE, line_key_of(w), !w->kind->updates_value);
    txn_first_created(&w->txn, TXN_ELSE, prefix_of(w));
    line_run(w, LINE_JOINING, on_joined);
}

static void on_granted(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct waiter *w = container_of(r, struct waiter, request);
    if (err) {
        line_fail(w, false, err, NULL);
        return;
    }
    w->lease = ((const Etcdserverpb__LeaseGrantResponse *)m)->id;
    join(w);
}

static void grant(struct waiter *w)
{
    w->state = LINE_GRANTING;
    w->request = (struct kv_request){.done = on_granted, .who = &w->who};
    etcdserverpb__lease_grant_request__init(&w->grant);
    w->grant.ttl = LEASE_TTL_S;
    kv_lease_grant(w->server->kv, &w->request, &w->grant);
}

void line_join(struct rpc_call *c, const struct line_kind *kind, struct slice name, int64_t lease,
               struct slice value)
{
    size_t size = sizeof(struct waiter) + name.size + 1 + LEASE_TEXT_MAX;
    if (!rpc_place_take(c->server, size)) {
        rpc_finish(c, ERR_TOO_MANY_REQUESTS);
        return;
    }
    struct waiter *w = mem_new(size);
    *w =
        (struct waiter){.server = c->server, .call = c, .kind = kind, .lease = lease, .name_size = name.size};
    if (name.size)
        memcpy(w->key, name.data, name.size);
    w->key[name.size] = '/';
    buf_add_slice(&w->value, value);
    w->who = c->who;
    w->user = mem_copy(c->who.user.data, c->who.user.size);
    w->who.user.data = w->user;
    c->state = w;
    arena_done(&c->arena); /* the request is copied */
    if (lease)
        join(w);
    else
        grant(w);
}
