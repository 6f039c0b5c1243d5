/* SPDX-License-Identifier: Apache-2.0
 * A real loop and real sockets, with raw bytes on the client's side and fake methods and a fake store on the
 * other, for tests of the HTTP server. A program includes this file once. */
#ifndef TESTS_UNIT_HTTP_FAKE_H
#define TESTS_UNIT_HTTP_FAKE_H

#include "tests/unit/http_client.h"
#include "tests/unit/no_auth.h"

/* --- the fake store --------------------------------------------------------------------------- */

static struct {
    uint64_t leader;
    unsigned alarms;
    bool is_learner;
    int range_error;
    struct kv_request *barrier;
    unsigned canceled;
} store;

uint64_t kv_leader(const struct kv *kv)
{
    (void)kv;
    return store.leader;
}
unsigned kv_alarms(const struct kv *kv)
{
    (void)kv;
    return store.alarms;
}
bool kv_is_learner(const struct kv *kv)
{
    (void)kv;
    return store.is_learner;
}
int kv_range_now(struct kv *kv, const Etcdserverpb__RangeRequest *m, struct arena *a,
                 Etcdserverpb__RangeResponse **ret_response)
{
    (void)kv, (void)m, (void)a, (void)ret_response;
    return store.range_error;
}
void kv_barrier(struct kv *kv, struct kv_request *r)
{
    (void)kv;
    store.barrier = r;
}
void kv_resume(struct kv *kv, struct kv_request *r)
{
    (void)kv;
    (void)r;
}

void kv_cancel(struct kv *kv, struct kv_request *r)
{
    (void)kv, (void)r;
    store.canceled++;
    store.barrier = NULL;
}

/* --- fake methods ----------------------------------------------------------------------------- */

static struct {
    struct rpc_call *waiting; /* a range that is not answered yet, or a stream */
    unsigned started, messages, half_closed, canceled, finished, writable;
    char token[600];
    bool has_leader_required;
    size_t flood;       /* messages that a snapshot still sends */
    size_t flood_bytes; /* of every other one; 0: as the rest, 32 KiB */
} rpc;

static void reply(struct rpc_call *c, const ProtobufCMessage *m)
{
    uint8_t bytes[256 * 1024];
    struct slice pieces[2];
    size_t n = protobuf_c_message_pack(m, bytes);
    pieces[0] = slice_of(bytes, n / 2);
    pieces[1] = slice_of(bytes + n / 2, n - n / 2);
    c->transport->send(c, pieces, 2);
}

static void finish(struct rpc_call *c, int status, const char *text)
{
    rpc.finished++;
    c->is_finished = true;
    c->transport->finish(c, status, text);
}

static void on_put(struct rpc_call *c, const ProtobufCMessage *m)
{
    const Etcdserverpb__PutRequest *put = (const void *)m;
    Etcdserverpb__PutResponse response;
    etcdserverpb__put_response__init(&response);
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    Mvccpb__KeyValue kv = MVCCPB__KEY_VALUE__INIT;
    header.revision = (int64_t)put->value.len;
    kv.key = put->key;
    response.header = &header;
    response.prev_kv = put->prev_kv ? &kv : NULL;
    if (put->key.len == 0) {
        finish(c, 3, "etcdserver: key is not provided");
        return;
    }
    reply(c, &response.base);
    finish(c, 0, "");
}

static void on_wait(struct rpc_call *c, const ProtobufCMessage *m)
{
    (void)m;
    rpc.waiting = c;
}

static void on_watch(struct rpc_call *c, const ProtobufCMessage *m)
{
    const Etcdserverpb__WatchRequest *watch = (const void *)m;
    rpc.waiting = c;
    Etcdserverpb__WatchResponse response;
    etcdserverpb__watch_response__init(&response);
    response.created = watch->request_union_case == ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    response.watch_id = rpc.messages;
    if (watch->request_union_case == ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CANCEL_REQUEST) {
        finish(c, 14, "etcdserver: no leader");
        return;
    }
    reply(c, &response.base);
}

static void on_flood(struct rpc_call *c)
{
    static char blob[200 * 1024];
    Etcdserverpb__SnapshotResponse response;
    etcdserverpb__snapshot_response__init(&response);
    rpc.writable++;
    while (rpc.flood && !c->transport->is_congested(c)) {
        rpc.flood--;
        response.remaining_bytes = rpc.flood;
        size_t size = rpc.flood_bytes && rpc.flood % 2 ? rpc.flood_bytes : 32 * 1024;
        response.blob = (ProtobufCBinaryData){size, (uint8_t *)blob};
        reply(c, &response.base);
    }
    if (rpc.flood == 0)
        finish(c, 0, "");
}

static void on_snapshot(struct rpc_call *c, const ProtobufCMessage *m)
{
    (void)m;
    rpc.waiting = c;
    on_flood(c);
}

static const struct rpc_method methods[] = {
    {.gateway = "/v3/kv/put",
     .request = &etcdserverpb__put_request__descriptor,
     .response = &etcdserverpb__put_response__descriptor,
     .on_message = on_put},
    {.gateway = "/v3/lock/lock",
     .request = &etcdserverpb__put_request__descriptor,
     .response = &etcdserverpb__put_response__descriptor,
     .on_message = on_wait},
    {.gateway = "/v3/watch",
     .kind = RPC_BIDI,
     .request = &etcdserverpb__watch_request__descriptor,
     .response = &etcdserverpb__watch_response__descriptor,
     .on_message = on_watch},
    {.gateway = "/v3/maintenance/snapshot",
     .kind = RPC_SERVER_STREAM,
     .request = &etcdserverpb__snapshot_request__descriptor,
     .response = &etcdserverpb__snapshot_response__descriptor,
     .on_message = on_snapshot,
     .on_writable = on_flood},
};

const struct rpc_method *rpc_gateway_find(struct slice path)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (slice_equal(path, slice_text(methods[i].gateway)))
            return &methods[i];
    return NULL;
}
void rpc_start(struct rpc_call *c)
{
    rpc.started++;
    rpc.has_leader_required = c->has_leader_required;
    snprintf(rpc.token, sizeof rpc.token, "%.*s", (int)c->token.size,
             c->token.size ? (const char *)c->token.data : "");
    if (strcmp(rpc.token, "bad") == 0)
        finish(c, 16, "etcdserver: invalid auth token");
}
void rpc_receive_message(struct rpc_call *c, const ProtobufCMessage *m)
{
    if (c->is_finished)
        return;
    rpc.messages++;
    bool is_bidi = c->method->kind == RPC_BIDI;
    unsigned finished = rpc.finished;
    c->method->on_message(c, m);
    if (is_bidi && finished == rpc.finished)
        arena_reset(&c->arena);
}
void rpc_half_close(struct rpc_call *c)
{
    rpc.half_closed++;
    if (c->method->kind == RPC_BIDI)
        finish(c, 0, "");
}
void rpc_writable(struct rpc_call *c)
{
    c->method->on_writable(c);
}
void rpc_cancel(struct rpc_call *c)
{
    rpc.canceled++;
    c->is_finished = true;
    rpc.waiting = NULL;
}

HELPER static int start_server(void **state)
{
    (void)state;
    memset(&store, 0, sizeof store);
    memset(&rpc, 0, sizeof rpc);
    store.leader = 1;
    open_server(NULL, 0);
    return 0;
}

HELPER static void wait_for_cancel(unsigned times)
{
    uint64_t end = clock_mono_ms() + 10000;
    while (rpc.canceled < times && clock_mono_ms() < end)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(rpc.canceled, times);
}

#endif
