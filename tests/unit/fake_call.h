/* SPDX-License-Identifier: Apache-2.0
 * A fake transport that keeps everything a call sends, for tests of server/rpc. Include it after fake_kv.h.
 */
#ifndef TESTS_UNIT_FAKE_CALL_H
#define TESTS_UNIT_FAKE_CALL_H

#include <assert.h>
#include <stdio.h>

#include "server/rpc/rpc.h"

struct fake_call {
    struct rpc_call call;
    struct buf *messages;
    size_t count;
    size_t congested_at; /* congested after that many messages; 0 = never */
    bool is_finished;
    int *freed_status; /* set: finish frees the call, as transports may, and stores its status here */
    int status;
    char text[256];
};

static void fake_send(struct rpc_call *c, const struct slice *pieces, size_t count)
{
    struct fake_call *f = container_of(c, struct fake_call, call);
    assert(!f->is_finished);
    f->messages = mem_resize(f->messages, (f->count + 1) * sizeof *f->messages);
    f->messages[f->count] = (struct buf){0};
    for (size_t i = 0; i < count; i++)
        buf_add_slice(&f->messages[f->count], pieces[i]);
    f->count++;
}

static void fake_call_free(struct fake_call *f);

static void fake_finish(struct rpc_call *c, int grpc_status, const char *text)
{
    struct fake_call *f = container_of(c, struct fake_call, call);
    assert(!f->is_finished);
    f->is_finished = true;
    f->status = grpc_status;
    snprintf(f->text, sizeof f->text, "%s", text);
    if (f->freed_status) {
        *f->freed_status = grpc_status;
        fake_call_free(f);
    }
}

static bool fake_congested(const struct rpc_call *c)
{
    const struct fake_call *f = (const void *)c; /* the function's first member */
    return f->congested_at && f->count >= f->congested_at;
}

static const struct rpc_transport fake_transport = {
    .send = fake_send, .finish = fake_finish, .is_congested = fake_congested};

static uint64_t fake_mono_ms(void)
{
    return 1000;
}

static struct fake_call *fake_call_new(struct rpc_server *s, const char *path)
{
    struct fake_call *f = mem_new(sizeof *f);
    f->call.transport = &fake_transport;
    f->call.server = s;
    f->call.method = rpc_method_find(slice_text(path));
    f->call.peer = "127.0.0.1:1";
    assert(f->call.method);
    return f;
}

/* Cancels it if it still runs. */
static void fake_call_free(struct fake_call *f)
{
    if (!f->call.is_finished)
        rpc_cancel(&f->call);
    for (size_t i = 0; i < f->count; i++)
        buf_done(&f->messages[i]);
    mem_free(f->messages);
    arena_done(&f->call.arena);
    memset(f, 0xdd, sizeof *f);
    mem_free(f);
}

static inline void fake_receive(struct fake_call *f, const void *message)
{
    const ProtobufCMessage *m = message;
    struct buf b = {0};
    size_t size = protobuf_c_message_get_packed_size(m);
    buf_reserve(&b, size);
    b.size = size;
    protobuf_c_message_pack(m, b.data);
    rpc_receive(&f->call, buf_slice(&b));
    buf_done(&b);
}

#endif
