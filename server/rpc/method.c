/* SPDX-License-Identifier: Apache-2.0
 * The method table and its two indexes: gRPC paths and gateway paths. Both are open-addressing tables that are
 * built at the first lookup. The hash of a path is made from its length and last eight bytes, which distinguish
 * nearly all paths; then the path is compared once. */
#include <assert.h>
#include <stdio.h>

#include "proto/election.pb-c.h"
#include "proto/health.pb-c.h"
#include "proto/lock.pb-c.h"
#include "server/rpc/service.h"

static const struct rpc_method methods[] = {
#define UNARY(service, name, web, request_type, response_type, handler, who, needs)                          \
    {                                                                                                        \
        .path = "/" service "/" #name,                                                                       \
        .gateway = web,                                                                                      \
        .kind = RPC_UNARY,                                                                                   \
        .request = &request_type##__descriptor,                                                              \
        .response = &response_type##__descriptor,                                                            \
        .access = RPC_##who,                                                                                 \
        .need = ACCESS_##needs,                                                                              \
        .on_message = handler,                                                                               \
    },
#define STREAM(service, name, its_kind, web, request_type, response_type, prefix, who, needs)                \
    {                                                                                                        \
        .path = "/" service "/" #name,                                                                       \
        .gateway = web,                                                                                      \
        .kind = its_kind,                                                                                    \
        .request = &request_type##__descriptor,                                                              \
        .response = &response_type##__descriptor,                                                            \
        .access = RPC_##who,                                                                                 \
        .need = ACCESS_##needs,                                                                              \
        .on_message = prefix##_message,                                                                      \
        .on_half_close = prefix##_half_close,                                                                \
        .on_writable = prefix##_writable,                                                                    \
        .on_cancel = prefix##_cancel,                                                                        \
    },
#define WAITS(service, name, web, request_type, response_type, prefix, who, needs)                           \
    {                                                                                                        \
        .path = "/" service "/" #name,                                                                       \
        .gateway = web,                                                                                      \
        .kind = RPC_UNARY,                                                                                   \
        .request = &request_type##__descriptor,                                                              \
        .response = &response_type##__descriptor,                                                            \
        .access = RPC_##who,                                                                                 \
        .need = ACCESS_##needs,                                                                              \
        .on_message = prefix##_message,                                                                      \
        .on_writable = prefix##_writable,                                                                    \
        .on_cancel = prefix##_cancel,                                                                        \
    },
#include "server/rpc/methods.def"
#undef UNARY
#undef STREAM
#undef WAITS
};

enum { METHOD_COUNT = sizeof methods / sizeof methods[0], SLOTS = 256 };
_Static_assert((int)METHOD_COUNT <= (int)RPC_METHODS_MAX, "the arrays of rpc_metrics.c are too short");
_Static_assert(METHOD_COUNT * 2 < SLOTS, "the indexes are too full");

/* etcd's own second names of three gateway paths. */
static const struct {
    const char *alias, *path;
} aliases[] = {
    {"/v3/kv/lease/revoke", "/v3/lease/revoke"},
    {"/v3/kv/lease/timetolive", "/v3/lease/timetolive"},
    {"/v3/kv/lease/leases", "/v3/lease/leases"},
};

struct path_index {
    struct {
        struct slice path;
        const struct rpc_method *method;
    } slots[SLOTS];
};

static struct path_index by_path, by_gateway;
static bool is_built;

static size_t path_hash(struct slice path)
{
    if (path.size < 8)
        return path.size;
    uint64_t h = get_le64(path.data + path.size - 8) ^ path.size * 0x9e3779b97f4a7c15u;
    return (h * 0xd6e8feb86659fd93u) >> 56;
}

static void index_add(struct path_index *index, const char *path, const struct rpc_method *m)
{
    struct slice p = slice_text(path);
    size_t at = path_hash(p);
    while (index->slots[at].method)
        at = (at + 1) % SLOTS;
    index->slots[at].path = p;
    index->slots[at].method = m;
}

static const struct rpc_method *index_find(const struct path_index *index, struct slice path)
{
    for (size_t at = path_hash(path); index->slots[at].method; at = (at + 1) % SLOTS)
        if (slice_equal(index->slots[at].path, path))
            return index->slots[at].method;
    return NULL;
}

static void build(void)
{
    is_built = true;
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        index_add(&by_path, methods[i].path, &methods[i]);
        if (methods[i].gateway)
            index_add(&by_gateway, methods[i].gateway, &methods[i]);
    }
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        index_add(&by_gateway, aliases[i].alias, index_find(&by_gateway, slice_text(aliases[i].path)));
}

const struct rpc_method *rpc_method_find(struct slice path)
{
    if (!is_built)
        build();
    return index_find(&by_path, path);
}

const struct rpc_method *rpc_gateway_find(struct slice path)
{
    if (!is_built)
        build();
    static const char beta[] = "/v3beta/";
    enum { BETA = sizeof beta - 1, PATH_MAX_BYTES = 64 };
    if (path.size < BETA || memcmp(path.data, beta, BETA) != 0)
        return index_find(&by_gateway, path);
    char stable[PATH_MAX_BYTES];
    int size = snprintf(stable, sizeof stable, "/v3/%.*s", (int)(path.size < 80 ? path.size - BETA : 80),
                        (const char *)path.data + BETA);
    if ((size_t)size >= sizeof stable)
        return NULL;
    return index_find(&by_gateway, slice_of(stable, (size_t)size));
}

const struct rpc_method *rpc_method_at(size_t index)
{
    return index < METHOD_COUNT ? &methods[index] : NULL;
}

size_t rpc_method_index(const struct rpc_method *m)
{
    assert(m >= methods && m < methods + METHOD_COUNT);
    return (size_t)(m - methods);
}

/* As grpc-go: splits at the last slash, and has different texts for unknown services and methods. */
void rpc_unknown_path_text(struct slice path, char *ret_text, size_t size)
{
    struct slice rest = path;
    if (rest.size && rest.data[0] == '/')
        rest = slice_of(rest.data + 1, rest.size - 1);
    size_t slash = rest.size;
    while (slash > 0 && rest.data[slash - 1] != '/')
        slash--;
    if (slash == 0) {
        snprintf(ret_text, size, "malformed method name: \"%.*s\"", (int)(path.size < 200 ? path.size : 200),
                 (const char *)path.data);
        return;
    }
    struct slice service = slice_of(rest.data, slash - 1),
                 method = slice_of(rest.data + slash, rest.size - slash);
    int service_size = (int)(service.size < 200 ? service.size : 200);
    int method_size = (int)(method.size < 200 ? method.size : 200);
    for (size_t i = 0; i < METHOD_COUNT; i++) {
        const char *known = methods[i].path + 1;
        if (strlen(known) > service.size && known[service.size] == '/' &&
            memcmp(known, service.data, service.size) == 0) {
            snprintf(ret_text, size, "unknown method %.*s for service %.*s", method_size,
                     (const char *)method.data, service_size, (const char *)service.data);
            return;
        }
    }
    snprintf(ret_text, size, "unknown service %.*s", service_size, (const char *)service.data);
}
