/* SPDX-License-Identifier: Apache-2.0
 * v3lockpb.Lock, as etcd's: Lock waits in a queue (line.c); Unlock deletes the key that Lock has returned. */
#include "proto/lock.pb-c.h"
#include "server/rpc/service.h"

static void rpc_lock_service_on_turn(struct rpc_call *c, const struct line_place *place)
{
    V3lockpb__LockResponse response = V3LOCKPB__LOCK_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header = *place->header;
    response.header = &header;
    response.key = place->key;
    rpc_reply(c, OK, &response.base);
}

static const struct line_kind lock = {.lost = "mutex: session is expired",
                                      .on_turn = rpc_lock_service_on_turn};

void rpc_lock_message(struct rpc_call *c, const ProtobufCMessage *m)
{
    const V3lockpb__LockRequest *request = (const V3lockpb__LockRequest *)m;
    line_join(c, &lock, slice_of(request->name.data, request->name.len), request->lease, (struct slice){0});
}

void rpc_lock_writable(struct rpc_call *c)
{
    line_writable(c);
}

void rpc_lock_cancel(struct rpc_call *c)
{
    line_leave(c);
}

static void unlock_done(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct rpc_call *c = container_of(r, struct rpc_call, request);
    c->is_waiting = false;
    if (err) {
        rpc_recipe_fail(c, err);
        return;
    }
    V3lockpb__UnlockResponse response = V3LOCKPB__UNLOCK_RESPONSE__INIT;
    response.header = ((const Etcdserverpb__DeleteRangeResponse *)m)->header;
    rpc_reply(c, OK, &response.base);
}

void rpc_unlock(struct rpc_call *c, const ProtobufCMessage *m)
{
    struct kv_request *r = rpc_store_request(c);
    Etcdserverpb__DeleteRangeRequest *request = arena_alloc(&c->arena, sizeof *request);
    etcdserverpb__delete_range_request__init(request);
    request->key = ((const V3lockpb__UnlockRequest *)m)->key;
    r->done = unlock_done;
    r->on_part = NULL;
    r->answer = NULL;
    kv_delete_range(c->server->kv, r, request);
}
