/* SPDX-License-Identifier: Apache-2.0
 * Sessions: a lease with a key attached to it that says whose it is. Opening grants the lease and puts the
 * key; a heartbeat is one keep-alive and goes through no log; closing deletes the instances and the key in
 * one revision (in parts, if they are more than a transaction may hold) and revokes the lease behind it.
 *
 * The key is the session: a lease alone is none, and a session whose key somebody took away is gone. */
#include "base/metric.h"
#include "registry/registry_private.h"

struct sessioning {
    struct registry_op op;
    int64_t session;
    struct slice text; /* opening: the document */
    Etcdserverpb__LeaseGrantRequest grant;
    Etcdserverpb__LeaseKeepAliveRequest keep_alive;
    struct txn txn;
    size_t part;       /* closing: instances in the transaction under way */
    bool is_last;      /* and the session itself */
    unsigned attempts; /* closing: lost compares in a row */
    bool is_confirmed; /* the view was behind a barrier */
    void (*confirmed)(struct sessioning *s);
};

static void on_view(struct feed_waiter *waiter)
{
    struct sessioning *s = container_of(waiter, struct sessioning, op.desk.waiter);
    s->is_confirmed = true;
    s->confirmed(s);
}

static void on_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct sessioning *s = container_of(kv, struct sessioning, op.desk.kv);
    (void)response;
    if (err)
        desk_op_end(&s->op.desk, err);
    else
        desk_op_view(&s->op.desk, kv_revision(s->op.registry->kv), on_view);
}

/* fn when the view shows what was committed before. */
static void confirm(struct sessioning *s, void (*fn)(struct sessioning *s))
{
    s->confirmed = fn;
    s->op.desk.kv.done = on_barrier;
    kv_barrier(s->op.registry->kv, &s->op.desk.kv);
    desk_come_again(&s->op.registry->desk);
}

/* --- opening ----------------------------------------------------------------------------------------------
 */

static void on_put(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct sessioning *s = container_of(kv, struct sessioning, op.desk.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (err && !registry_is_unknown(err))
        registry_revoke(s->op.registry, s->session);
    if (err) {
        desk_op_end(&s->op.desk, err);
        return;
    }
    metric_add(METRIC_REGISTRY_SESSIONS_OPENED, 1);
    s->op.result.session = s->session;
    registry_op_written(&s->op, response->header->revision);
}

static void on_granted(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct sessioning *s = container_of(kv, struct sessioning, op.desk.kv);
    const Etcdserverpb__LeaseGrantResponse *response = (const Etcdserverpb__LeaseGrantResponse *)message;
    if (err) {
        desk_op_end(&s->op.desk, err);
        return;
    }
    s->session = response->id;
    s->op.result.ttl_s = (uint32_t)response->ttl;
    txn_init(&s->txn, &s->op.desk.arena);
    txn_put(&s->txn, registry_session_key(&s->op.desk.arena, s->session), s->text, s->session);
    s->op.desk.kv.done = on_put;
    kv_txn(s->op.registry->kv, &s->op.desk.kv, &s->txn.message);
    desk_come_again(&s->op.registry->desk);
}

void registry_session_open(struct registry *r, struct registry_request *q, const struct session *doc)
{
    struct sessioning *s = registry_op_new(r, q, sizeof *s);
    struct session own = *doc;
    struct buf text = {0};
    char error[256];
    int err = OK;
    if (!registry_is_ready(r)) {
        desk_op_end(&s->op.desk, ERR_NOT_READY);
        return;
    }
    if (doc->ttl_s < INSTANCE_TTL_MIN_S || doc->ttl_s > INSTANCE_TIME_MAX_S) {
        desk_op_refuse(&s->op.desk, ERR_INVALID, "ttl must be %d to %d seconds", INSTANCE_TTL_MIN_S,
                       INSTANCE_TIME_MAX_S);
        return;
    }
    err = quota_claim_session(&r->quota, r->catalog, &s->op.claim, error, sizeof error);
    if (err) {
        desk_op_refuse(&s->op.desk, err, "%s", error);
        return;
    }
    own.is_implicit = false;
    session_write(&own, &text);
    s->text = registry_copy(&s->op.desk.arena, buf_slice(&text));
    buf_done(&text);
    s->op.desk.goes_on = true;
    etcdserverpb__lease_grant_request__init(&s->grant);
    s->grant.ttl = doc->ttl_s;
    s->op.desk.kv.done = on_granted;
    kv_lease_grant(r->kv, &s->op.desk.kv, &s->grant);
    desk_come_again(&r->desk);
}

/* --- heartbeats -------------------------------------------------------------------------------------------
 */

static void on_alive(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct sessioning *s = container_of(kv, struct sessioning, op.desk.kv);
    const Etcdserverpb__LeaseKeepAliveResponse *response =
        (const Etcdserverpb__LeaseKeepAliveResponse *)message;
    if (!err && response->ttl <= 0)
        err = ERR_SESSION_GONE;
    if (!err) {
        s->op.result.ttl_s = (uint32_t)response->ttl;
        s->op.result.session = s->session;
        s->op.result.revision = registry_revision(s->op.registry);
        metric_add(METRIC_REGISTRY_HEARTBEATS, 1);
    }
    desk_op_end(&s->op.desk, err);
}

/* A session that was opened on another member a moment ago may not be in this one's view yet. */
static void beat(struct sessioning *s)
{
    struct registry *r = s->op.registry;
    bool is_there = catalog_session(r->catalog, s->session);
    if (!is_there && s->is_confirmed) {
        desk_op_end(&s->op.desk, ERR_SESSION_GONE);
    } else if (!is_there) {
        confirm(s, beat);
    } else {
        etcdserverpb__lease_keep_alive_request__init(&s->keep_alive);
        s->keep_alive.id = s->session;
        s->op.desk.kv.done = on_alive;
        kv_lease_keep_alive(r->kv, &s->op.desk.kv, &s->keep_alive);
        desk_come_again(&r->desk);
    }
}

void registry_session_heartbeat(struct registry *r, struct registry_request *q, int64_t session)
{
    struct sessioning *s = registry_op_new(r, q, sizeof *s);
    s->session = session;
    if (registry_is_ready(r))
        beat(s);
    else
        desk_op_end(&s->op.desk, ERR_NOT_READY);
}

/* --- closing ----------------------------------------------------------------------------------------------
 */

static void close_part(struct sessioning *s);

static void on_newer_view(struct feed_waiter *waiter)
{
    close_part(container_of(waiter, struct sessioning, op.desk.waiter));
}

static void on_closed(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct sessioning *s = container_of(kv, struct sessioning, op.desk.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (!err && !response->succeeded) {
        metric_add(METRIC_REGISTRY_CONFLICTS, 1);
        if (++s->attempts == REGISTRY_ATTEMPTS_MAX)
            err = ERR_CONFLICT;
    }
    if (err) {
        desk_op_end(&s->op.desk, err);
        return;
    }
    if (response->succeeded) {
        s->attempts = 0;
        s->op.result.instances += s->part;
        metric_add(METRIC_REGISTRY_DEREGISTRATIONS, (double)s->part);
    }
    if (response->succeeded && s->is_last) {
        registry_revoke(s->op.registry, s->session);
        s->op.result.session = s->session;
        registry_op_written(&s->op, response->header->revision);
    } else {
        desk_op_view(&s->op.desk, response->header->revision, on_newer_view);
    }
}

/* As many instances as fit; with the last of them the session. An instance that moved to another session
 * since it was seen here has another mod revision, and stays. */
static void close_part(struct sessioning *s)
{
    struct registry *r = s->op.registry;
    const struct catalog_session *session = catalog_session(r->catalog, s->session);
    struct arena *a = &s->op.desk.arena;
    size_t room = r->options.txn_ops_max > 1 ? r->options.txn_ops_max - 1 : 1, ops = 0;
    if (!session) {
        desk_op_end(&s->op.desk, ERR_SESSION_GONE);
        return;
    }
    s->part = 0;
    txn_init(&s->txn, a);
    LIST_FOR_EACH (l, &session->instances) {
        const struct catalog_instance *i = container_of(l, struct catalog_instance, by_session);
        const struct catalog_service *service = i->service;
        struct registry_key name = {service->ns, service->group, service->name, i->id};
        size_t wanted = i->override && i->override->is_drain ? 2 : 1;
        if (ops && ops + wanted > room)
            break;
        struct slice key = registry_key_text(a, NAME_INSTANCE, &name);
        txn_if_revision(&s->txn, key, i->mod_revision);
        txn_delete(&s->txn, key);
        registry_end_drain(&s->txn, i, registry_key_text(a, NAME_OVERRIDE, &name));
        ops += wanted;
        s->part++;
    }
    s->is_last = s->part == session->instance_count && ops < r->options.txn_ops_max;
    if (s->is_last) {
        struct slice key = registry_session_key(a, s->session);
        txn_if_there(&s->txn, key);
        txn_delete(&s->txn, key);
    }
    s->op.desk.kv.done = on_closed;
    kv_txn(r->kv, &s->op.desk.kv, &s->txn.message);
    desk_come_again(&r->desk);
}

void registry_session_close(struct registry *r, struct registry_request *q, int64_t session)
{
    struct sessioning *s = registry_op_new(r, q, sizeof *s);
    s->session = session;
    s->op.desk.goes_on = true;
    if (registry_is_ready(r))
        confirm(s, close_part);
    else
        desk_op_end(&s->op.desk, ERR_NOT_READY);
}

bool registry_session_instances(const struct registry *r, int64_t session,
                                bool (*fn)(void *arg, const struct registry_key *key), void *arg)
{
    const struct catalog_session *s = catalog_session(r->catalog, session);
    if (!s || !s->exists)
        return false;
    LIST_FOR_EACH (l, &s->instances) {
        const struct catalog_instance *i = container_of(l, struct catalog_instance, by_session);
        const struct registry_key key = {i->service->ns, i->service->group, i->service->name, i->id};
        if (!fn(arg, &key))
            break;
    }
    return true;
}
