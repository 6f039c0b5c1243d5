/* SPDX-License-Identifier: Apache-2.0
 * A registry on a store of one member; see registry_node.h. */
#include "tests/unit/registry_node.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static void turn(void *arg)
{
    struct registry_node *n = arg;
    if (n->registry)
        registry_turn(n->registry);
    if (n->turn)
        n->turn(n->arg);
}

static bool is_ready(void *arg)
{
    return registry_is_ready(((struct registry_node *)arg)->registry);
}

void registry_node_open(struct registry_node *n, const struct registry_options *options)
{
    struct registry_options o = options ? *options : (struct registry_options){0};
    n->node.turn = turn;
    n->node.arg = n;
    one_node_open(&n->node);
    o.kv = n->node.kv;
    o.member = o.member ? o.member : "default";
    if (!o.projections) { /* as in the daemon */
        char error[300];
        int err = projections_parse(slice_text(PROJECTIONS_DEFAULT), error, sizeof error, &o.projections);
        assert(err == OK);
    }
    n->registry = registry_new(&o);
    one_node_run(&n->node, is_ready, n);
}

void registry_node_close(struct registry_node *n)
{
    registry_free(n->registry);
    n->registry = NULL;
    one_node_close(&n->node);
    one_node_remove(&n->node);
}

void registry_reply_done(struct registry_request *q, int err, const struct registry_result *result)
{
    struct registry_reply *a = container_of(q, struct registry_reply, request);
    assert(!a->is_done);
    a->is_done = true;
    a->err = err;
    a->result = *result;
    snprintf(a->error, sizeof a->error, "%s", result->error ? result->error : "");
    a->result.error = a->error;
    a->result.waiting = NULL;
}

static bool is_done(void *arg)
{
    return ((struct registry_reply *)arg)->is_done;
}

void registry_node_wait(struct registry_node *n, struct registry_reply *a)
{
    one_node_run(&n->node, is_done, a);
}

int64_t registry_node_settle(struct registry_node *n)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    registry_barrier(n->registry, &a.request);
    registry_node_wait(n, &a);
    assert(a.err == OK);
    return a.result.revision;
}

void registry_node_register(struct registry_node *n, struct registry_reply *a, const char *service,
                            const char *id, const char *text, int64_t session)
{
    struct registry_key key = registry_key_of(service, id);
    struct arena arena = {0};
    struct instance doc;
    char error[200];
    *a = (struct registry_reply){.request.done = registry_reply_done};
    int err = instance_read(slice_text(text), DOCUMENT_STRICT, &arena, &doc, error, sizeof error);
    assert(err == OK);
    registry_register(n->registry, &a->request, &key, &doc, session);
    assert(!a->is_done);
    arena_done(&arena); /* the arguments are copied */
}

struct registry_result registry_node_registered(struct registry_node *n, const char *service, const char *id,
                                                const char *text, int64_t session)
{
    struct registry_reply a;
    registry_node_register(n, &a, service, id, text, session);
    registry_node_wait(n, &a);
    if (a.err)
        fprintf(stderr, "register: %s %s\n", err_text(a.err), a.error);
    assert(a.err == OK);
    return a.result;
}

int64_t registry_node_session(struct registry_node *n, uint32_t ttl_s)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    struct session doc = {.client_id = slice_text("client"), .ttl_s = ttl_s};
    registry_session_open(n->registry, &a.request, &doc);
    registry_node_wait(n, &a);
    assert(a.err == OK && a.result.session);
    return a.result.session;
}

struct asked_kv {
    struct kv_request request;
    bool is_done;
    int err;
    size_t leases;
};

static void on_leases(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct asked_kv *a = container_of(r, struct asked_kv, request);
    assert(err == OK);
    a->is_done = true;
    a->leases = ((const Etcdserverpb__LeaseLeasesResponse *)response)->n_leases;
}

static void on_kv(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct asked_kv *a = container_of(r, struct asked_kv, request);
    (void)response;
    a->is_done = true;
    a->err = err;
}

static bool is_kv_done(void *arg)
{
    return ((struct asked_kv *)arg)->is_done;
}

size_t registry_node_leases(struct registry_node *n)
{
    struct asked_kv a = {.request.done = on_leases};
    Etcdserverpb__LeaseLeasesRequest m = ETCDSERVERPB__LEASE_LEASES_REQUEST__INIT;
    one_node_run_ms(&n->node, 1); /* leases that are revoked in the background */
    kv_lease_leases(n->node.kv, &a.request, &m);
    one_node_run(&n->node, is_kv_done, &a);
    return a.leases;
}

void registry_node_revoke(struct registry_node *n, int64_t lease)
{
    struct asked_kv a = {.request.done = on_kv};
    Etcdserverpb__LeaseRevokeRequest m = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    m.id = lease;
    kv_lease_revoke(n->node.kv, &a.request, &m);
    one_node_run(&n->node, is_kv_done, &a);
    assert(a.err == OK);
    registry_node_settle(n);
}

struct registry_key registry_key_of(const char *service, const char *id)
{
    const char *slash = strchr(service, '/'), *second = slash ? strchr(slash + 1, '/') : NULL;
    struct registry_key key = {.ns = slice_text("default"), .group = slice_text("default")};
    if (second) {
        key.ns = slice_of(service, (size_t)(slash - service));
        service = slash + 1;
        slash = second;
    }
    if (slash) {
        key.group = slice_of(service, (size_t)(slash - service));
        service = slash + 1;
    }
    key.service = slice_text(service);
    if (id)
        key.id = slice_text(id);
    return key;
}

static char *key_text(enum name_kind kind, const char *service, const char *id)
{
    struct registry_key key = registry_key_of(service, id);
    struct name name = {kind, key.ns, key.group, key.service, key.id, 0};
    struct buf text = {0};
    name_add_key(&text, &name);
    char *copy = mem_string(buf_text(&text));
    buf_done(&text);
    return copy;
}

int64_t registry_node_put(struct registry_node *n, enum name_kind kind, const char *service, const char *id,
                          const char *text)
{
    char *key = key_text(kind, service, id);
    int64_t revision = one_node_put(&n->node, key, text, 0);
    mem_free(key);
    return revision;
}

int64_t registry_node_remove(struct registry_node *n, enum name_kind kind, const char *service,
                             const char *id)
{
    char *key = key_text(kind, service, id);
    int64_t revision = one_node_delete(&n->node, key, NULL);
    mem_free(key);
    return revision;
}

struct catalog_instance *registry_node_find(struct registry_node *n, const char *service, const char *id)
{
    struct registry_key key = registry_key_of(service, id);
    struct catalog_service *s = catalog_find(registry_catalog(n->registry), key.ns, key.group, key.service);
    struct catalog_instance *i = s ? catalog_instance(s, key.id) : NULL;
    return i && i->doc ? i : NULL;
}
