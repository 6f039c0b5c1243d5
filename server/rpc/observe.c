/* SPDX-License-Identifier: Apache-2.0
 * v3electionpb.Election.Observe: the value of an election's leader now, then each one that it proclaims, then
 * the next leader's. A stream may skip leaders and values, but always gets the newest.
 *
 *     LOOKING -> FOLLOWING (the leader's key) -> LOOKING ...
 *             -> EMPTY (the first key of the election) -> FOLLOWING
 *
 * Events are taken from the watch only when the transport accepts more. One difference to etcd: when the
 * leader cannot be read, the stream ends with the error; etcd's ends with OK. */
#include "proto/election.pb-c.h"
#include "server/rpc/service.h"

enum { RESPONSES_PER_TURN = 256 };

enum observe_state { OBSERVE_LOOKING, OBSERVE_EMPTY, OBSERVE_FOLLOWING };

struct observer {
    struct rpc_call *call;
    enum observe_state state;
    struct kv_request request;
    struct auth_who who;              /* the call's; its user is in `names` */
    Etcdserverpb__RangeRequest range; /* its keys are in `names` */
    struct arena names;
    struct watch_stream *watch;
    size_t name_size;
};

static void rpc_observe_look(struct observer *o);

void election_range(struct arena *a, struct slice name, Etcdserverpb__RangeRequest *ret_range)
{
    uint8_t *key = arena_alloc(a, name.size + 1), *end = arena_alloc(a, name.size + 1);
    if (name.size) {
        memcpy(key, name.data, name.size);
        memcpy(end, name.data, name.size);
    }
    key[name.size] = '/';
    end[name.size] = '/' + 1;
    etcdserverpb__range_request__init(ret_range);
    ret_range->key = (ProtobufCBinaryData){name.size + 1, key};
    ret_range->range_end = (ProtobufCBinaryData){name.size + 1, end};
    ret_range->limit = 1;
    ret_range->sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__ASCEND;
    ret_range->sort_target = ETCDSERVERPB__RANGE_REQUEST__SORT_TARGET__CREATE;
}

static size_t place_bytes(const struct observer *o)
{
    return sizeof *o + 2 * o->name_size;
}

static void unwatch(struct observer *o)
{
    if (o->watch)
        watch_stream_close(o->watch);
    o->watch = NULL;
}

static void observer_free(struct observer *o)
{
    unwatch(o);
    rpc_place_give(o->call->server, place_bytes(o));
    arena_done(&o->names);
    mem_free(o);
}

static void send_leader(struct observer *o, const Etcdserverpb__ResponseHeader *header, Mvccpb__KeyValue *kv)
{
    V3electionpb__LeaderResponse response = V3ELECTIONPB__LEADER_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader copy = *header;
    response.header = &copy;
    response.kv = kv;
    rpc_send(o->call, &response.base);
}

static void follow(struct observer *o, enum observe_state state, const Etcdserverpb__WatchCreateRequest *m)
{
    unwatch(o);
    o->state = state;
    o->watch = rpc_watch_open(o->call);
    watch_create(o->watch, m, NULL);
}

static void follow_key(struct observer *o, const Mvccpb__KeyValue *kv, int64_t revision)
{
    Etcdserverpb__WatchCreateRequest m = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    m.key = kv->key;
    m.start_revision = revision + 1;
    m.fragment = true; /* limits the bytes sent between two checks for congestion */
    follow(o, OBSERVE_FOLLOWING, &m);
}

static void follow_election(struct observer *o, int64_t revision)
{
    Etcdserverpb__WatchCreateRequest m = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest__FilterType filter =
        ETCDSERVERPB__WATCH_CREATE_REQUEST__FILTER_TYPE__NODELETE;
    m.key = o->range.key;
    m.range_end = o->range.range_end;
    m.start_revision = revision + 1;
    m.fragment = true; /* limits the bytes sent between two checks for congestion */
    m.n_filters = 1;
    m.filters = &filter;
    follow(o, OBSERVE_EMPTY, &m);
}

static void rpc_observe_on_looked(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct observer *o = container_of(r, struct observer, request);
    const Etcdserverpb__RangeResponse *range = (const Etcdserverpb__RangeResponse *)m;
    if (err == ERR_LEADER_CHANGED) {
        rpc_observe_look(o);
    } else if (err) {
        struct rpc_call *c = o->call;
        c->state = NULL;
        observer_free(o);
        rpc_finish(c, err);
    } else if (range->n_kvs) {
        follow_key(o, range->kvs[0], range->header->revision);
        send_leader(o, range->header, range->kvs[0]);
    } else {
        follow_election(o, range->header->revision);
    }
}

static void rpc_observe_look(struct observer *o)
{
    unwatch(o);
    o->state = OBSERVE_LOOKING;
    o->request = (struct kv_request){.done = rpc_observe_on_looked, .who = &o->who};
    o->call->server->store_requests++;
    kv_range(o->call->server->kv, &o->request, &o->range);
}

/* May open another watch in place of this one. */
static void rpc_observe_take(struct observer *o, const Etcdserverpb__WatchResponse *m, int64_t revision)
{
    Etcdserverpb__ResponseHeader header;
    if (m->canceled) { /* history was compacted before it could be read */
        rpc_observe_look(o);
        return;
    }
    for (size_t i = 0; i < m->n_events; i++) {
        const Mvccpb__Event *e = m->events[i];
        if (e->type == MVCCPB__EVENT__EVENT_TYPE__DELETE) {
            rpc_observe_look(o);
            return;
        }
        bool is_first = o->state == OBSERVE_EMPTY;
        kv_header(o->call->server->kv, is_first ? e->kv->mod_revision : revision, &header);
        if (is_first)
            follow_key(o, e->kv, e->kv->mod_revision);
        send_leader(o, &header, e->kv);
        if (is_first)
            return;
    }
}

void rpc_observe_writable(struct rpc_call *c)
{
    struct observer *o = c->state;
    struct watch_output out;
    for (unsigned i = 0; i < RESPONSES_PER_TURN; i++) {
        if (!o || !o->watch || rpc_is_congested(c) || !watch_next(o->watch, &out))
            return;
        struct arena a = {0};
        rpc_observe_take(o, rpc_watch_response(&out, &a), out.header_revision);
        arena_done(&a);
    }
    rpc_wake(c);
}

void rpc_observe_message(struct rpc_call *c, const ProtobufCMessage *m)
{
    ProtobufCBinaryData name = ((const V3electionpb__LeaderRequest *)m)->name;
    struct observer *o = mem_new(sizeof *o);
    o->call = c;
    o->name_size = name.len;
    if (!rpc_place_take(c->server, place_bytes(o))) {
        mem_free(o);
        rpc_finish(c, ERR_TOO_MANY_REQUESTS);
        return;
    }
    election_range(&o->names, slice_of(name.data, name.len), &o->range);
    o->who = c->who;
    o->who.user.data = arena_copy(&o->names, c->who.user.data, c->who.user.size);
    c->state = o;
    arena_done(&c->arena); /* the name is copied */
    rpc_observe_look(o);
}

void rpc_observe_half_close(struct rpc_call *c)
{
    (void)c;
}

void rpc_observe_cancel(struct rpc_call *c)
{
    struct observer *o = c->state;
    c->state = NULL;
    if (!o)
        return;
    if (o->state == OBSERVE_LOOKING)
        kv_cancel(c->server->kv, &o->request);
    observer_free(o);
}
