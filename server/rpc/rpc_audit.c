/* SPDX-License-Identifier: Apache-2.0
 * Administrative operations in the audit trail: who the client is, attempts that were refused, and what is no
 * entry of the log. Changes that are log entries are reported by consensus/audit_etcd.c when they are applied;
 * this file only gives them their client. Reads are not reported, also refused ones. */
#include "server/rpc/service.h"

#include <string.h>

/* "127.0.0.1:50123" or "[::1]:50123" without the port, as the native API has it. */
static struct slice address_of(const char *peer)
{
    const char *colon = peer ? strrchr(peer, ':') : NULL;
    size_t size = colon ? (size_t)(colon - peer) : 0;
    if (size > 2 && peer[0] == '[' && peer[size - 1] == ']')
        return slice_of((const uint8_t *)peer + 1, size - 2);
    return slice_of((const uint8_t *)(peer ? peer : ""), size);
}

static bool is_administrative(const struct rpc_method *m)
{
    return m->need == ACCESS_ROOT || m->on_message == rpc_alarm || m->on_message == rpc_authenticate;
}

void rpc_audit_begin(struct rpc_call *c, const ProtobufCMessage *m)
{
    struct audit_change change;
    if (!c->server->on_audit || !is_administrative(c->method) || c->change ||
        !audit_describe(m, &c->arena, &change))
        return;
    c->change = arena_copy(&c->arena, &change, sizeof change);
    c->author = arena_new(&c->arena, sizeof *c->author);
}

void rpc_audit_identified(struct rpc_call *c)
{
    if (!c->author)
        return;
    struct slice name = slice_text(AUTHOR_ANONYMOUS);
    if (c->who.user.size)
        name = c->who.user;
    else if (c->common_name && *c->common_name)
        name = slice_text(c->common_name);
    const struct author author = {.name = name, .address = address_of(c->peer)};
    *c->author = author_copy(&c->arena, &author);
}

/* NULL: it was not refused. */
static const char *refusal_of(int err)
{
    switch (err) {
    case ERR_PERMISSION_DENIED:
        return "forbidden";
    case ERR_USER_EMPTY:
    case ERR_INVALID_AUTH_TOKEN:
    case ERR_AUTH_OLD_REVISION:
    case ERR_AUTH_FAILED:
    case ERR_NO_PASSWORD_USER:
        return "unauthorized";
    default:
        return NULL;
    }
}

static bool is_unlogged(const struct rpc_call *c)
{
    return c->method->on_message == rpc_defragment || c->method->on_message == rpc_move_leader ||
           c->method->on_message == rpc_snapshot_message || c->request.is_forwarded;
}

void rpc_audit_end(struct rpc_call *c, int err)
{
    const char *refusal = refusal_of(err);
    struct audit_record r = {.author = *c->author, .changes = c->change, .count = 1};
    if (refusal)
        r.error = slice_text(refusal);
    if (refusal || (!err && is_unlogged(c)))
        c->server->on_audit(c->server->audit_arg, &r);
    c->change = NULL; /* once */
}
