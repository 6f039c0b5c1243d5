/* SPDX-License-Identifier: Apache-2.0
 * etcdserverpb.KV without RangeStream: each call is one request to the store, and the store's response is
 * the call's answer. The hot path of the server: it allocates nothing beside the call's own memory. */
#include "server/rpc/service.h"

void rpc_kv_range(struct rpc_call *c, const ProtobufCMessage *m)
{
    const Etcdserverpb__RangeRequest *request = (const Etcdserverpb__RangeRequest *)m;
    if (!request->serializable && kv_is_learner(c->server->kv)) {
        rpc_finish(c, ERR_NOT_SUPPORTED_FOR_LEARNER);
        return;
    }
    kv_range(c->server->kv, rpc_store_request(c), request);
}

void rpc_kv_put(struct rpc_call *c, const ProtobufCMessage *m)
{
    kv_put(c->server->kv, rpc_store_request(c), (const Etcdserverpb__PutRequest *)m);
}

void rpc_kv_delete_range(struct rpc_call *c, const ProtobufCMessage *m)
{
    kv_delete_range(c->server->kv, rpc_store_request(c), (const Etcdserverpb__DeleteRangeRequest *)m);
}

void rpc_kv_txn(struct rpc_call *c, const ProtobufCMessage *m)
{
    kv_txn(c->server->kv, rpc_store_request(c), (const Etcdserverpb__TxnRequest *)m);
}

void rpc_kv_compact(struct rpc_call *c, const ProtobufCMessage *m)
{
    kv_compact(c->server->kv, rpc_store_request(c), (const Etcdserverpb__CompactionRequest *)m);
}
