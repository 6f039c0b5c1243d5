/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: a whole gRPC connection without a socket: preface, frames, HPACK, message prefixes,
 * deadlines. Byte 0 is the size of the pieces in which the rest is fed (0 = whole). Byte 1 says what else
 * happens on the way. The corpus holds real connections of etcdctl 3.4 and 3.7. No input causes a crash or a
 * leak. Every count is zero when the connection is closed, and every call that was started ends with one
 * cancel or finish. */
#include <assert.h>
#include <stdlib.h>

#include "server/grpc/private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PULL_OFTEN = 1, TIME_PASSES = 2, DRAIN = 4, ANSWER_LATE = 8, PULL_SIZE = 96 << 10 };

static void on_message(struct rpc_call *c, const ProtobufCMessage *m)
{
    (void)c;
    (void)m;
}
static const struct rpc_method methods[] = {
    {.path = "/etcdserverpb.KV/Put", .kind = RPC_UNARY, .on_message = on_message},
    {.path = "/etcdserverpb.KV/Range", .kind = RPC_UNARY},
    {.path = "/etcdserverpb.KV/Txn", .kind = RPC_UNARY},
    {.path = "/etcdserverpb.Lease/LeaseGrant", .kind = RPC_UNARY},
    {.path = "/etcdserverpb.Maintenance/Snapshot", .kind = RPC_SERVER_STREAM},
    {.path = "/etcdserverpb.Watch/Watch", .kind = RPC_BIDI},
};
static size_t running;
static struct rpc_call *late;
static bool answers_late;

const struct rpc_method *rpc_method_at(size_t i)
{
    return i < sizeof methods / sizeof *methods ? &methods[i] : NULL;
}
const struct rpc_method *rpc_method_find(struct slice path)
{
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (slice_equal(path, slice_text(methods[i].path)))
            return &methods[i];
    return NULL;
}
static void end(struct rpc_call *c, int status, const char *text)
{
    running--;
    if (late == c)
        late = NULL;
    c->transport->finish(c, status, text);
}
void rpc_start(struct rpc_call *c)
{
    running++;
    for (size_t i = 0; i < c->token.size; i++) /* the metadata must be readable */
        assert(c->token.data[i] != 0);
}
void rpc_receive(struct rpc_call *c, struct slice message)
{
    uint8_t *copy = arena_copy(&c->arena, message.data, message.size);
    struct slice piece = slice_of(copy, message.size);
    if (answers_late && !late && c->method->kind != RPC_BIDI) {
        late = c;
        return;
    }
    for (int i = 0; i < (c->method->kind == RPC_SERVER_STREAM ? 40 : 1) && !c->transport->is_congested(c);
         i++)
        c->transport->send(c, &piece, 1);
    if (c->method->kind != RPC_BIDI)
        end(c, (int)(message.size % 17), message.size % 3 ? "t\xc3\xa4xt" : NULL);
}
void rpc_half_close(struct rpc_call *c)
{
    if (c->method->kind == RPC_BIDI)
        end(c, 0, NULL);
}
void rpc_writable(struct rpc_call *c)
{
    (void)c;
}
void rpc_cancel(struct rpc_call *c)
{
    running--;
    if (late == c)
        late = NULL;
}

static void pull(struct grpc_conn *c)
{
    static uint8_t out[PULL_SIZE];
    for (int i = 0; i < 8; i++)
        if (h2_pull(c, out, sizeof out) == 0)
            break;
    call_wake_all(c);
}

/* Ends every call's deadline now. */
static void pass_time(struct grpc_conn *c)
{
    LIST_FOR_EACH_SAFE (l, &c->calls) {
        struct grpc_call *call = container_of(l, struct grpc_call, link);
        if (heap_contains(&call->deadline.node))
            call->deadline.fire(&call->deadline);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uv_loop_t loop;
    static struct rpc_server rpc;
    static struct grpc_server *server;
    if (!server) {
        uv_loop_init(&loop);
        server = grpc_server_new(&(struct grpc_options){.loop = &loop,
                                                        .rpc = &rpc,
                                                        .request_bytes_max = 4096,
                                                        .streams_max = 100,
                                                        .connections_max = 10,
                                                        .keepalive_min_ms = 5000,
                                                        .keepalive_interval_ms = 10000,
                                                        .keepalive_timeout_ms = 1000});
        server->message_max = 8192;
    }
    if (size < 2)
        return 0;
    size_t step = data[0] ? data[0] : size;
    uint8_t how = data[1];
    answers_late = how & ANSWER_LATE;
    struct grpc_conn *c = conn_new_memory(server);
    for (size_t at = 2; at < size; at += step) {
        size_t n = size - at < step ? size - at : step;
        uint8_t *piece = mem_copy(data + at, n); /* exact size, so that the sanitizer detects a read beyond
                                                  * it */
        int err = h2_feed(c, slice_of(piece, n));
        mem_free(piece);
        if (err)
            break;
        if (how & PULL_OFTEN)
            pull(c);
        if (how & TIME_PASSES && at > size / 2)
            pass_time(c);
        if (how & DRAIN && at > size / 2)
            conn_drain(c);
        if (late && at % 3 == 0)
            end(late, 0, NULL);
    }
    pull(c);
    conn_close(c);
    assert(running == 0 && server->conn_count == 0 && server->partial_bytes == 0);
    return 0;
}
