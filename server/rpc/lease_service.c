/* SPDX-License-Identifier: Apache-2.0
 * etcdserverpb.Lease: grant, revoke, time to live, list and keep-alive streams.
 *
 * A client refreshes thousands of leases on one LeaseKeepAlive stream, many messages in a turn. Each message
 * becomes a renewal at once; answers keep the order of the messages. The rules are etcd's:
 *
 *   - The header has the revision at the moment when the message came. So a client never sees a renewal at a
 *     revision older than the end of the lease.
 *   - The answer for an unknown lease has TTL 0.
 *   - Any other error ends the stream. */
#include <assert.h>

#include "server/rpc/service.h"

void rpc_lease_grant(struct rpc_call *c, const ProtobufCMessage *m)
{
    kv_lease_grant(c->server->kv, rpc_store_request(c), (const Etcdserverpb__LeaseGrantRequest *)m);
}

void rpc_lease_revoke(struct rpc_call *c, const ProtobufCMessage *m)
{
    kv_lease_revoke(c->server->kv, rpc_store_request(c), (const Etcdserverpb__LeaseRevokeRequest *)m);
}

/* The state of a LeaseTimeToLive call. */
struct time_to_live {
    int64_t id;
    int err; /* of a key that the caller may not read */
    bool (*gather)(struct kv_request *r, const ProtobufCMessage *part);
};

/* The keys as the leader knows them, filtered by this member's users and roles; root sees all. */
static int may_see_keys(const struct rpc_call *c, const Etcdserverpb__LeaseTimeToLiveResponse *m)
{
    int err = OK;
    for (size_t i = 0; i < m->n_keys && !err; i++)
        err = kv_auth_check_range(c->server->kv, &c->who, slice_of(m->keys[i].data, m->keys[i].len),
                                  (struct slice){0}, false);
    return err;
}

static bool time_to_live_part(struct kv_request *r, const ProtobufCMessage *part)
{
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    struct time_to_live *t = c->state;
    if (part && !t->err)
        t->err = may_see_keys(c, (const Etcdserverpb__LeaseTimeToLiveResponse *)part);
    return !t->err && t->gather(r, part);
}

/* kv.h may return ERR_LEASE_NOT_FOUND; the client gets TTL -1. */
static void time_to_live_done(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    const struct time_to_live *t = c->state;
    if (!err)
        err = may_see_keys(c, (const Etcdserverpb__LeaseTimeToLiveResponse *)m);
    else if (t->err)
        err = t->err;
    if (err != ERR_LEASE_NOT_FOUND) {
        rpc_store_reply(c, err, m);
        return;
    }
    Etcdserverpb__LeaseTimeToLiveResponse response = ETCDSERVERPB__LEASE_TIME_TO_LIVE_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header;
    rpc_header_now(c, &header);
    response.header = &header;
    response.id = t->id;
    response.ttl = -1;
    rpc_store_reply(c, OK, &response.base);
}

void rpc_lease_time_to_live(struct rpc_call *c, const ProtobufCMessage *m)
{
    struct kv_request *r = rpc_store_request(c);
    const Etcdserverpb__LeaseTimeToLiveRequest *request = (const Etcdserverpb__LeaseTimeToLiveRequest *)m;
    struct time_to_live *t = arena_new(&c->arena, sizeof *t);
    t->id = request->id;
    t->gather = r->on_part;
    r->on_part = time_to_live_part;
    r->done = time_to_live_done;
    c->state = t;
    kv_lease_time_to_live(c->server->kv, r, request);
}

void rpc_lease_leases(struct rpc_call *c, const ProtobufCMessage *m)
{
    kv_lease_leases(c->server->kv, rpc_store_request(c), (const Etcdserverpb__LeaseLeasesRequest *)m);
}

/* --- keep-alive ------------------------------------------------------------------------------------- */
enum {
    RENEWALS_MAX = 16384, /* of one stream: running, or not yet sent */
    UNREAD_MAX = 1024,    /* the same while the client does not read its answers */
    POOL_MAX = 1024,      /* spare renewals kept */
};

struct renewal {
    struct link link; /* in keep_alive.renewals, or in the pool */
    struct rpc_call *call;
    struct kv_request request;
    Etcdserverpb__LeaseKeepAliveRequest message;
    Etcdserverpb__ResponseHeader header;
    int64_t ttl;
    int err;
    bool is_done;
};

struct keep_alive {
    struct link renewals; /* in the order of the messages */
    size_t count;
    bool is_half_closed;
};

static struct link pool;
static size_t pool_count;

static struct renewal *renewal_new(void)
{
    struct link *l = pool.next ? list_take_first(&pool) : NULL;
    if (!l)
        return mem_new(sizeof(struct renewal));
    pool_count--;
    struct renewal *r = container_of(l, struct renewal, link);
    memset(r, 0, sizeof *r);
    return r;
}

static void renewal_free(struct renewal *r)
{
    if (!pool.next)
        list_init(&pool);
    if (pool_count >= POOL_MAX) {
        mem_free(r);
        return;
    }
    list_add_first(&pool, &r->link);
    pool_count++;
}

void rpc_keep_alive_cancel(struct rpc_call *c)
{
    struct keep_alive *k = c->state;
    if (!k)
        return;
    for (struct link *l; (l = list_take_first(&k->renewals));) {
        struct renewal *r = container_of(l, struct renewal, link);
        if (!r->is_done)
            kv_cancel(c->server->kv, &r->request);
        renewal_free(r);
    }
    mem_free(k);
    c->state = NULL;
}

static void send_renewal(struct rpc_call *c, struct renewal *r)
{
    Etcdserverpb__LeaseKeepAliveResponse response = ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT;
    response.header = &r->header;
    response.id = r->message.id;
    response.ttl = r->ttl;
    rpc_send(c, &response.base);
}

/* Sends the complete renewals at the head of the queue. */
void rpc_keep_alive_writable(struct rpc_call *c)
{
    struct keep_alive *k = c->state;
    if (!k)
        return;
    while (!list_is_empty(&k->renewals)) {
        struct renewal *r = container_of(k->renewals.next, struct renewal, link);
        if (!r->is_done || rpc_is_congested(c))
            return;
        if (r->err) {
            rpc_abort(c, r->err);
            return;
        }
        send_renewal(c, r);
        list_remove(&r->link);
        k->count--;
        renewal_free(r);
    }
    if (k->is_half_closed) {
        rpc_keep_alive_cancel(c);
        rpc_finish(c, 0);
    }
}

static void renewal_done(struct kv_request *request, int err, const ProtobufCMessage *m)
{
    struct renewal *r = container_of(request, struct renewal, request);
    r->is_done = true;
    if (!err)
        r->ttl = ((const Etcdserverpb__LeaseKeepAliveResponse *)m)->ttl;
    else if (err != ERR_LEASE_NOT_FOUND)
        r->err = err;
    rpc_wake(r->call);
}

/* The caller must be a user. The right to write all keys of the lease is checked by the kv. */
static int check_caller(const struct rpc_call *c)
{
    return c->who_err ? c->who_err : c->who.revision ? OK : ERR_USER_EMPTY;
}

void rpc_keep_alive_message(struct rpc_call *c, const ProtobufCMessage *m)
{
    struct keep_alive *k = c->state;
    if (!k) {
        c->state = k = mem_new(sizeof *k);
        list_init(&k->renewals);
    }
    size_t most = rpc_is_congested(c) ? UNREAD_MAX : RENEWALS_MAX;
    int err = k->count >= most ? ERR_TOO_MANY_REQUESTS : OK;
    if (!err && kv_auth_is_enabled(c->server->kv))
        err = check_caller(c);
    if (err) {
        rpc_abort(c, err);
        return;
    }
    struct renewal *r = renewal_new();
    r->call = c;
    etcdserverpb__lease_keep_alive_request__init(&r->message);
    r->message.id = ((const Etcdserverpb__LeaseKeepAliveRequest *)m)->id;
    rpc_header_now(c, &r->header);
    r->request.done = renewal_done;
    /* The check may run in a later turn: the holder outlives the message, c->who does not. */
    r->request.who = &c->holder;
    list_add_last(&k->renewals, &r->link);
    k->count++;
    kv_lease_keep_alive_checked(c->server->kv, &r->request, &r->message);
}

void rpc_keep_alive_half_close(struct rpc_call *c)
{
    struct keep_alive *k = c->state;
    if (!k) {
        rpc_finish(c, 0);
        return;
    }
    k->is_half_closed = true;
    rpc_keep_alive_writable(c);
}
