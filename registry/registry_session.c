/* SPDX-License-Identifier: Apache-2.0
 * Sessions: a lease with a key attached to it, whose document names the owner.
 *
 *   open        grants the lease, then puts the key
 *   heartbeat   one keep-alive of the lease; nothing is written to the log
 *   close       deletes the instances and the key in one revision (in parts, if they are more than a
 *               transaction may hold), then revokes the lease
 *
 * The key is the session: a lease alone is none, and a session whose key was deleted is gone. */
#include <inttypes.h>

#include "base/log.h"
#include "base/metric.h"
#include "consensus/audit.h"
#include "registry/registry_private.h"

struct session_op {
    struct registry_op op;
    int64_t session;
    struct slice text; /* opening: the document */
    Etcdserverpb__LeaseGrantRequest grant;
    Etcdserverpb__LeaseKeepAliveRequest keep_alive;
    struct txn txn;
    size_t part;         /* closing: instances in the transaction under way */
    bool is_last;        /* closing: that transaction also has the session itself */
    struct slice record; /* closing: of the audit trail; empty = none */
    unsigned attempts;   /* closing: failed compares in a row */
    bool is_confirmed;   /* the view has reached a barrier */
    void (*confirmed)(struct session_op *s);
    struct session_wait wait; /* for the check of the right to keep it alive */
};

static void registry_session_on_view(struct feed_waiter *waiter)
{
    struct session_op *s = container_of(waiter, struct session_op, op.pending_ops.waiter);
    s->is_confirmed = true;
    s->confirmed(s);
}

static void registry_session_on_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct session_op *s = container_of(kv, struct session_op, op.pending_ops.kv);
    (void)response;
    if (err)
        pending_op_end(&s->op.pending_ops, err);
    else
        pending_op_view(&s->op.pending_ops, kv_revision(s->op.registry->kv), registry_session_on_view);
}

/* Calls fn when the view shows all that was committed before. */
static void confirm(struct session_op *s, void (*fn)(struct session_op *s))
{
    s->confirmed = fn;
    s->op.pending_ops.kv.done = registry_session_on_barrier;
    kv_barrier(s->op.registry->kv, &s->op.pending_ops.kv);
    pending_ops_schedule_turn(&s->op.registry->pending_ops);
}

/* --- opening ---------------------------------------------------------------------------------------- */

static void registry_session_on_put(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct session_op *s = container_of(kv, struct session_op, op.pending_ops.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (err && !registry_is_unknown(err))
        registry_revoke(s->op.registry, s->session);
    if (err) {
        pending_op_end(&s->op.pending_ops, err);
        return;
    }
    metric_add(METRIC_REGISTRY_SESSIONS_OPENED, 1);
    s->op.opened = s->session;
    s->op.result.session = s->session;
    s->op.result.session_key = s->op.session_key;
    registry_op_written(&s->op, response->header->revision);
}

/* To open a session, a client needs WRITE on all sessions. */
static void sign_opening(struct session_op *s)
{
    static const char sessions[] = "/cairn/registry/sessions/", end[] = "/cairn/registry/sessions0";
    pending_op_sign(
        &s->op.pending_ops,
        &(struct auth_need){slice_of(sessions, sizeof sessions - 1), slice_of(end, sizeof end - 1), true}, 1);
}

static void on_granted(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct session_op *s = container_of(kv, struct session_op, op.pending_ops.kv);
    const Etcdserverpb__LeaseGrantResponse *response = (const Etcdserverpb__LeaseGrantResponse *)message;
    if (err) {
        pending_op_end(&s->op.pending_ops, err);
        return;
    }
    s->session = response->id;
    s->op.result.ttl_s = (uint32_t)response->ttl;
    txn_init(&s->txn, &s->op.pending_ops.arena);
    txn_put(&s->txn, registry_session_key(&s->op.pending_ops.arena, s->session), s->text, s->session);
    s->op.pending_ops.kv.done = registry_session_on_put;
    sign_opening(s);
    kv_txn(s->op.registry->kv, &s->op.pending_ops.kv, &s->txn.message);
    pending_ops_schedule_turn(&s->op.registry->pending_ops);
}

void registry_session_open(struct registry *r, struct registry_request *q, const struct session *doc)
{
    struct session_op *s = registry_op_new(r, q, sizeof *s);
    struct session own = *doc;
    struct buf text = {0};
    char error[256];
    int err = OK;
    if (!registry_is_ready(r)) {
        pending_op_end(&s->op.pending_ops, ERR_NOT_READY);
        return;
    }
    if (doc->ttl_s < INSTANCE_TTL_MIN_S || doc->ttl_s > INSTANCE_TIME_MAX_S) {
        pending_op_refuse(&s->op.pending_ops, ERR_INVALID, "ttl must be %d to %d seconds", INSTANCE_TTL_MIN_S,
                          INSTANCE_TIME_MAX_S);
        return;
    }
    err = quota_claim_session(&r->quota, r->catalog, s->op.source, &s->op.claim, error, sizeof error);
    if (err) {
        pending_op_refuse(&s->op.pending_ops, err, "%s", error);
        return;
    }
    own.is_implicit = false;
    registry_sign_session(&s->op, &own);
    session_write(&own, &text);
    s->text = registry_copy(&s->op.pending_ops.arena, buf_slice(&text));
    buf_done(&text);
    if (!registry_admit(&s->op, (struct slice){0}, s->text.size))
        return;
    s->op.pending_ops.goes_on = true;
    etcdserverpb__lease_grant_request__init(&s->grant);
    s->grant.ttl = doc->ttl_s;
    s->op.pending_ops.kv.done = on_granted;
    kv_lease_grant(r->kv, &s->op.pending_ops.kv, &s->grant);
    pending_ops_schedule_turn(&r->pending_ops);
}

/* --- heartbeats ------------------------------------------------------------------------------------- */

static void beat(struct session_op *s);

/* Ends the heartbeat also after an error: the session is alive, and the next heartbeat repairs it again. */
static void on_repaired(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct session_op *s = container_of(kv, struct session_op, op.pending_ops.kv);
    (void)message;
    if (err)
        log_warn("a session's document could not be repaired", F_HEX("session", (uint64_t)s->session),
                 F_ERR(err));
    pending_op_end(&s->op.pending_ops, OK);
}

/* Restores the document of a session that another client overwrote, on a heartbeat of the owner. False: the
 * document is intact. */
static bool repair(struct session_op *s)
{
    struct registry *r = s->op.registry;
    struct arena *a = &s->op.pending_ops.arena;
    const struct catalog_session *session = catalog_session(r->catalog, s->session);
    if (!session || !session->is_damaged)
        return false;
    struct slice key = registry_session_key(a, s->session);
    s->op.pending_ops.goes_on = true;
    txn_init(&s->txn, a);
    txn_if_revision(&s->txn, key, session->mod_revision);
    txn_put(&s->txn, key, registry_session_repair(&s->op, session, s->op.result.ttl_s, a), s->session);
    s->op.pending_ops.kv.done = on_repaired;
    kv_txn(r->kv, &s->op.pending_ops.kv, &s->txn.message);
    pending_ops_schedule_turn(&r->pending_ops);
    return true;
}

static void on_alive(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct session_op *s = container_of(kv, struct session_op, op.pending_ops.kv);
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
    if (err || !repair(s))
        pending_op_end(&s->op.pending_ops, err);
}

/* A client may keep a session alive if it may write every instance of the session, or the session's own
 * key. For a session without instances the proof is enough, which was checked before; without a proof the
 * client needs WRITE on the session's own key. ERR_NOT_READY: as registry_session_check. */
static int check_session(struct session_op *s)
{
    struct pending_op *op = &s->op.pending_ops;
    struct registry_key refused;
    size_t count = 0;
    int err = OK;
    if (!op->has_author || op->epoch == kv_auth_epoch(op->pending_ops->kv))
        return OK;
    bool is_operator = s->op.has_proof && s->op.proof.is_operator;
    if (!is_operator)
        err = registry_session_check(s->op.registry, s->session, &op->author, &count, &refused);
    if (is_operator || (!count && !s->op.has_proof))
        err = pending_op_check_key(op, registry_session_key(&op->arena, s->session));
    return err;
}

static void on_checkable(struct session_wait *w)
{
    beat(container_of(w, struct session_op, wait));
}

static void free_wait(struct registry_op *op)
{
    list_remove(&container_of(op, struct session_op, op)->wait.link);
}

static void wait_for_check(struct session_op *s, void (*ready)(struct session_wait *w))
{
    s->op.on_free = free_wait;
    s->wait = (struct session_wait){.session = s->session, .who = &s->op.pending_ops.author, .ready = ready};
    registry_session_wait(s->op.registry, &s->wait);
}

/* A session that another member has just opened may be missing in this member's view: it is looked up again
 * after a barrier. */
static void beat(struct session_op *s)
{
    struct registry *r = s->op.registry;
    const struct catalog_session *session = catalog_session(r->catalog, s->session);
    bool is_there = session;
    const char *refusal = session ? registry_session_refusal(&s->op, session) : NULL;
    int err = session ? check_session(s) : OK;
    if (err == ERR_NOT_READY) {
        wait_for_check(s, on_checkable);
    } else if (err) {
        pending_op_end(&s->op.pending_ops, err);
    } else if (refusal) {
        pending_op_refuse(&s->op.pending_ops, ERR_PERMISSION_DENIED, "%s", refusal);
    } else if (!is_there && s->is_confirmed) {
        pending_op_end(&s->op.pending_ops, ERR_SESSION_GONE);
    } else if (!is_there) {
        confirm(s, beat);
    } else {
        etcdserverpb__lease_keep_alive_request__init(&s->keep_alive);
        s->keep_alive.id = s->session;
        s->op.pending_ops.kv.done = on_alive;
        kv_lease_keep_alive(r->kv, &s->op.pending_ops.kv, &s->keep_alive);
        pending_ops_schedule_turn(&r->pending_ops);
    }
}

void registry_session_heartbeat(struct registry *r, struct registry_request *q, int64_t session)
{
    struct session_op *s = registry_op_new(r, q, sizeof *s);
    s->session = session;
    if (registry_is_ready(r))
        beat(s);
    else
        pending_op_end(&s->op.pending_ops, ERR_NOT_READY);
}

static void on_prepared(struct session_wait *w)
{
    pending_op_end(&container_of(w, struct session_op, wait)->op.pending_ops, OK);
}

void registry_session_prepare(struct registry *r, struct registry_request *q, int64_t session)
{
    struct session_op *s = registry_op_new(r, q, sizeof *s);
    s->session = session;
    wait_for_check(s, on_prepared);
}

/* --- closing ---------------------------------------------------------------------------------------- */

static void close_part(struct session_op *s);

static void on_newer_view(struct feed_waiter *waiter)
{
    close_part(container_of(waiter, struct session_op, op.pending_ops.waiter));
}

static void registry_session_on_closed(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct session_op *s = container_of(kv, struct session_op, op.pending_ops.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (!err && !response->succeeded) {
        metric_add(METRIC_REGISTRY_CONFLICTS, 1);
        if (++s->attempts == REGISTRY_ATTEMPTS_MAX)
            err = ERR_CONFLICT;
    }
    if (err) {
        pending_op_end(&s->op.pending_ops, err);
        return;
    }
    if (response->succeeded) {
        s->attempts = 0;
        s->op.result.instances += s->part;
        audit_written(s->op.registry->options.audit, s->record);
        metric_add(METRIC_REGISTRY_DEREGISTRATIONS, (double)s->part);
    }
    if (response->succeeded && s->is_last) {
        registry_revoke(s->op.registry, s->session);
        s->op.result.session = s->session;
        registry_op_written(&s->op, response->header->revision);
    } else {
        pending_op_view(&s->op.pending_ops, response->header->revision, on_newer_view);
    }
}

/* Sets the permissions that close_part needs, by the rule of session_check. needs: of the s->part
 * instances. */
static void sign_close(struct session_op *s, const struct auth_need *needs)
{
    struct pending_op *op = &s->op.pending_ops;
    bool is_operator = s->op.has_proof && s->op.proof.is_operator;
    bool is_bare = s->is_last && !s->part && !s->op.result.instances;
    if (is_operator || (is_bare && !s->op.has_proof))
        pending_op_sign_key(op, registry_session_key(&op->arena, s->session));
    else
        pending_op_sign(op, needs, s->part);
}

/* A record for each transaction: the instances that it deletes, and at last the session. Not of a session that
 * its holder closes. */
static void record_close(struct session_op *s, const struct catalog_session *session)
{
    struct arena *a = &s->op.pending_ops.arena;
    struct audit_change *changes = arena_new(a, (s->part + 1) * sizeof *changes);
    struct audit_record record = {.author = s->op.author, .changes = changes};
    s->record = (struct slice){0};
    if (!registry_is_by_operator(&s->op, session))
        return;
    LIST_FOR_EACH (l, &session->instances) {
        const struct catalog_instance *i = container_of(l, struct catalog_instance, by_session);
        if (record.count == s->part)
            break;
        changes[record.count++] = (struct audit_change){.kind = "instance",
                                                        .operation = "deregister",
                                                        .ns = i->service->ns,
                                                        .group = i->service->group,
                                                        .name = i->service->name,
                                                        .id = i->id};
    }
    if (s->is_last)
        changes[record.count++] =
            (struct audit_change){.kind = "session",
                                  .operation = "close",
                                  .id = slice_text(arena_printf(a, "%" PRIx64, (uint64_t)s->session))};
    if (!record.count)
        return;
    s->op.pending_ops.kv.extra_ops = AUDIT_OPS;
    s->record = audit_add(s->op.registry->options.audit, &s->txn, TXN_THEN, &record);
}

/* Deletes as many instances as fit into a transaction; with the last of them also the session. An instance
 * that has moved to another session in the meantime has another mod revision, and stays. */
static void close_part(struct session_op *s)
{
    struct registry *r = s->op.registry;
    const struct catalog_session *session = catalog_session(r->catalog, s->session);
    struct arena *a = &s->op.pending_ops.arena;
    size_t room = r->options.txn_ops_max > 1 ? r->options.txn_ops_max - 1 : 1, ops = 0;
    if (!session) {
        pending_op_end(&s->op.pending_ops, ERR_SESSION_GONE);
        return;
    }
    const char *refusal = registry_session_refusal(&s->op, session);
    if (refusal) {
        pending_op_refuse(&s->op.pending_ops, ERR_PERMISSION_DENIED, "%s", refusal);
        return;
    }
    s->part = 0;
    txn_init(&s->txn, a);
    struct auth_need *needs = arena_alloc(a, (session->instance_count + 1) * sizeof *needs);
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
        needs[s->part++] = (struct auth_need){.key = key, .is_write = true};
    }
    s->is_last = s->part == session->instance_count && ops < r->options.txn_ops_max;
    if (s->is_last) {
        struct slice key = registry_session_key(a, s->session);
        txn_if_there(&s->txn, key);
        txn_delete(&s->txn, key);
    }
    sign_close(s, needs);
    record_close(s, session);
    s->op.pending_ops.kv.done = registry_session_on_closed;
    kv_txn(r->kv, &s->op.pending_ops.kv, &s->txn.message);
    pending_ops_schedule_turn(&r->pending_ops);
}

void registry_session_close(struct registry *r, struct registry_request *q, int64_t session)
{
    struct session_op *s = registry_op_new(r, q, sizeof *s);
    s->session = session;
    s->op.pending_ops.goes_on = true;
    if (registry_is_ready(r))
        confirm(s, close_part);
    else
        pending_op_end(&s->op.pending_ops, ERR_NOT_READY);
}
