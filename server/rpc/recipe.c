/* SPDX-License-Identifier: Apache-2.0
 * Shared parts of locks (lock_service.c) and elections (election_service.c, observe.c): errors, places for
 * calls that wait for long, decoding of watch responses. */
#include <assert.h>

#include "server/rpc/service.h"

enum {
    PLACES_MAX = 16384,
    PLACE_BYTES_MAX = 64 << 20, /* names and keys of all of them */
    GRPC_UNKNOWN = 2,
};

void rpc_recipe_fail(struct rpc_call *c, int err)
{
    rpc_finish_text(c, GRPC_UNKNOWN, err_text(err));
}

void rpc_recipe_refuse(struct rpc_call *c, const char *text)
{
    rpc_finish_text(c, GRPC_UNKNOWN, text);
}

bool rpc_place_take(struct rpc_server *s, size_t bytes)
{
    if (s->places >= PLACES_MAX || bytes > PLACE_BYTES_MAX - s->place_bytes)
        return false;
    s->places++;
    s->place_bytes += bytes;
    return true;
}

void rpc_place_give(struct rpc_server *s, size_t bytes)
{
    assert(s->places && s->place_bytes >= bytes);
    s->places--;
    s->place_bytes -= bytes;
}

Etcdserverpb__WatchResponse *rpc_watch_response(const struct watch_output *out, struct arena *a)
{
    size_t size = 0;
    for (size_t i = 0; i < out->count; i++)
        size += out->pieces[i].size;
    uint8_t *bytes = arena_alloc(a, size + 1), *at = bytes;
    for (size_t i = 0; i < out->count; i++) {
        if (out->pieces[i].size)
            memcpy(at, out->pieces[i].data, out->pieces[i].size);
        at += out->pieces[i].size;
    }
    Etcdserverpb__WatchResponse *m = etcdserverpb__watch_response__unpack(arena_allocator(a), size, bytes);
    assert(m); /* our own encoding */
    return m;
}
