/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: messages of every method of server/rpc. The first byte is the method, then (size, bytes)
 * messages follow. An odd size makes the store and the streams run in between, and changes what the
 * transport accepts. */
#include "server/rpc/service.h"
#include "tests/unit/fake_kv.h"
#include "tests/unit/fake_call.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void finish_snapshot(struct kv *kv)
{
    if (kv->export.is_open && !kv->export.is_whole)
        fake_export(kv, 40960, 40960, 10000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    const struct rpc_method *m = rpc_method_at(data[0]);
    if (!m)
        return 0;
    struct kv kv;
    fake_kv_init(&kv);
    struct rpc_server server = {.kv = &kv, .mono_ms = fake_mono_ms};
    struct fake_call *f = fake_call_new(&server, m->path);
    rpc_start(&f->call);
    for (size_t at = 1; at < size && !f->call.is_finished;) {
        size_t n = data[at++];
        bool is_diverged = n & 1;
        if (n == 255)
            n = size - at; /* the rest: one long message */
        if (n > size - at)
            n = size - at;
        rpc_receive(&f->call, slice_of(data + at, n));
        at += n;
        if (!is_diverged)
            continue;
        f->congested_at = f->count + n % 3;
        fake_kv_turn(&kv);
        finish_snapshot(&kv);
        rpc_server_turn(&server);
    }
    rpc_half_close(&f->call);
    fake_kv_turn(&kv);
    f->congested_at = 0;
    rpc_writable(&f->call);
    while (rpc_server_turn(&server))
        ;
    fake_call_free(f);
    finish_snapshot(&kv);
    assert(list_is_empty(&kv.pending) && !kv.streams_open && !server.calls);
    arena_done(&kv.arena);
    return 0;
}
