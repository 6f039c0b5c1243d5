/* SPDX-License-Identifier: Apache-2.0
 * etcdserverpb.Auth: requests about users, roles and tokens. Each request becomes a log entry, which
 * consensus/auth checks when it is applied.
 *
 * Passwords are hashed, or compared with a hash, here (server/auth), before anything is proposed: that costs
 * CPU time and must not be in the log. Then they are wiped from the message. */
#include <string.h>

#include "base/text.h"
#include "server/auth/identity.h"
#include "server/auth/password.h"
#include "server/rpc/service.h"

void rpc_auth(struct rpc_call *c, const ProtobufCMessage *m)
{
    kv_auth(c->server->kv, rpc_store_request(c), m);
}

static void wipe(char *text)
{
    if (text && *text)
        explicit_bzero(text, strlen(text));
}

/* --- passwords ----------------------------------------------------------------------------------------- */

/* The password is being hashed: the store has no request, but the call waits. */
struct hashing {
    struct rpc_call *call;
    struct password_job *job;
    const ProtobufCMessage *message;
    char **hashed; /* in the message: the place for the hash */
};

static void on_hashed(void *arg, int err, const char *hash)
{
    struct hashing *h = arg;
    struct rpc_call *c = h->call;
    h->job = NULL;
    c->cancel = NULL;
    if (err) {
        rpc_finish(c, err);
        return;
    }
    struct buf text = {0};
    base64_encode(&text, slice_text(hash));
    *h->hashed = arena_string(&c->arena, text.data, text.size);
    buf_done(&text);
    rpc_auth(c, h->message);
}

static void hash_cancel(struct rpc_call *c)
{
    struct hashing *h = c->state;
    if (h)
        password_forget(h->job);
    c->state = NULL;
}

static void hash_first(struct rpc_call *c, const ProtobufCMessage *m, char *password, char **hashed)
{
    int err;
    if (!c->server->identity) {
        rpc_finish(c, ERR_AUTH_NOT_ENABLED);
        return;
    }
    struct hashing *h = arena_new(&c->arena, sizeof *h);
    *h = (struct hashing){.call = c, .message = m, .hashed = hashed};
    c->state = h;
    c->cancel = hash_cancel;
    h->job = identity_hash(c->server->identity, password, on_hashed, h, &err);
    wipe(password);
    if (!h->job)
        rpc_finish(c, err);
}

void rpc_auth_user_add(struct rpc_call *c, const ProtobufCMessage *m)
{
    Etcdserverpb__AuthUserAddRequest *r = (Etcdserverpb__AuthUserAddRequest *)(uintptr_t)m;
    if (r->options && r->options->no_password) {
        wipe(r->password);
        rpc_auth(c, m);
    } else {
        hash_first(c, m, r->password, &r->hashedpassword);
    }
}

void rpc_auth_change_password(struct rpc_call *c, const ProtobufCMessage *m)
{
    Etcdserverpb__AuthUserChangePasswordRequest *r =
        (Etcdserverpb__AuthUserChangePasswordRequest *)(uintptr_t)m;
    /* As in etcd: an empty password matches a user without a password. */
    if (*r->password)
        hash_first(c, m, r->password, &r->hashedpassword);
    else
        rpc_auth(c, m);
}

/* --- logging in ---------------------------------------------------------------------------------------- */

struct logging_in {
    struct identity_login login;
    struct rpc_call *call;
};

static void on_login(struct identity_login *l, int err, const char *token)
{
    struct rpc_call *c = container_of(l, struct logging_in, login)->call;
    Etcdserverpb__AuthenticateResponse response = ETCDSERVERPB__AUTHENTICATE_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header;
    c->state = NULL;
    c->cancel = NULL;
    rpc_header_now(c, &header);
    response.header = &header;
    if (token)
        response.token = (char *)(uintptr_t)token;
    rpc_reply(c, err, &response.base);
}

static void login_cancel(struct rpc_call *c)
{
    struct logging_in *l = c->state;
    if (l)
        identity_cancel(&l->login);
    c->state = NULL;
}

void rpc_authenticate(struct rpc_call *c, const ProtobufCMessage *m)
{
    const Etcdserverpb__AuthenticateRequest *r = (const Etcdserverpb__AuthenticateRequest *)m;
    if (!c->server->identity) {
        rpc_finish(c, ERR_AUTH_NOT_ENABLED);
        return;
    }
    struct logging_in *l = arena_new(&c->arena, sizeof *l);
    l->call = c;
    l->login.done = on_login;
    l->login.peer = c->peer;
    c->state = l;
    c->cancel = login_cancel;
    identity_authenticate(c->server->identity, &l->login, r->name, r->password);
    wipe(r->password);
}
