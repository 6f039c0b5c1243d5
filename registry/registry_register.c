/* SPDX-License-Identifier: Apache-2.0
 * Registration and deregistration of one instance.
 *
 *   register
 *     1. choose the session: the given one, the instance's, or a new one
 *     2. grant a lease for a new session, or keep the session alive
 *     3. if the same document exists: barrier, compare again, end
 *     4. one transaction; end when the view shows it
 *   deregister
 *     1. one transaction, which also ends the drain and a session of this instance alone; end when the view
 *        shows it
 *
 * registry_private.h has the steps that all writes share.
 *
 * Invariant: a lease that was granted here ends in one of three ways:
 *   - the instance's session has it;
 *   - it is revoked;
 *   - the outcome of the write is unknown: nobody keeps it alive, and it expires. */
#include "base/metric.h"
#include "consensus/audit.h"
#include "registry/registry_private.h"

struct register_op {
    struct registry_op op;
    struct registry_key key;
    struct slice at; /* the instance's key in the store */
    struct instance *doc;
    struct slice text; /* of doc with text_session; empty = not written yet */
    int64_t text_session;
    int64_t wanted_session;    /* the session that the caller gave; 0 = none, the registry chooses one */
    int64_t session;           /* the chosen session */
    int64_t granted_session;   /* the lease that this request granted */
    int64_t renewed_session;   /* the session that this request kept alive */
    int64_t gone_session;      /* a session that is not alive, whatever the view shows */
    int64_t left_session;      /* the session of this instance alone that the instance leaves */
    int64_t compared_revision; /* mod revision of the instance's key that is compared */
    int64_t unparsed_revision; /* mod revision of the stored document, which does not parse */
    unsigned attempts;
    bool is_confirmed; /* the view has reached a barrier */
    struct txn txn;
    Etcdserverpb__LeaseGrantRequest grant;
    Etcdserverpb__LeaseKeepAliveRequest keep_alive;
};

static void registry_register_decide(struct register_op *w);

static void free_register_op(struct registry_op *op)
{
    mem_free(container_of(op, struct register_op, op)->doc);
}

static void registry_register_end(struct register_op *w, int err)
{
    if (w->granted_session && err && !registry_is_unknown(err))
        registry_revoke(w->op.registry, w->granted_session);
    pending_op_end(&w->op.pending_ops, err);
}

/* --- the session ---------------------------------------------------------------------------------------- */

static void on_granted(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct register_op *w = container_of(kv, struct register_op, op.pending_ops.kv);
    const Etcdserverpb__LeaseGrantResponse *response = (const Etcdserverpb__LeaseGrantResponse *)message;
    if (err) {
        registry_register_end(w, err);
        return;
    }
    w->granted_session = response->id;
    w->op.result.ttl_s = (uint32_t)response->ttl;
    registry_register_decide(w);
}

static struct slice instance_text(struct register_op *w);

static void grant(struct register_op *w)
{
    struct registry *r = w->op.registry;
    char error[256];
    int err = quota_claim_session(&r->quota, r->catalog, w->op.source, &w->op.claim, error, sizeof error);
    if (err) {
        pending_op_refuse(&w->op.pending_ops, err, "%s", error);
        return;
    }
    /* Check the write before the lease is granted, so that a rejected write leaves no lease. */
    if (!registry_admit(&w->op, w->key.ns, w->at.size + instance_text(w).size))
        return;
    etcdserverpb__lease_grant_request__init(&w->grant);
    w->grant.ttl = w->doc->ttl_s;
    w->op.pending_ops.kv.done = on_granted;
    kv_lease_grant(r->kv, &w->op.pending_ops.kv, &w->grant);
    pending_ops_schedule_turn(&r->pending_ops);
}

/* The session has ended. If the caller gave it, the request ends with ERR_SESSION_GONE; else the registry
 * chooses another session. */
static void lose_session(struct register_op *w)
{
    if (w->wanted_session) {
        registry_register_end(w, ERR_SESSION_GONE);
        return;
    }
    w->gone_session = w->session;
    registry_register_decide(w);
}

static void on_alive(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct register_op *w = container_of(kv, struct register_op, op.pending_ops.kv);
    const Etcdserverpb__LeaseKeepAliveResponse *response =
        (const Etcdserverpb__LeaseKeepAliveResponse *)message;
    if (err) {
        registry_register_end(w, err);
    } else if (response->ttl <= 0) {
        lose_session(w);
    } else {
        w->renewed_session = w->session;
        w->op.result.ttl_s = (uint32_t)response->ttl;
        registry_register_decide(w);
    }
}

static void keep_alive(struct register_op *w)
{
    struct registry *r = w->op.registry;
    int err = pending_op_check_key(&w->op.pending_ops, w->at);
    if (err) {
        registry_register_end(w, err);
        return;
    }
    etcdserverpb__lease_keep_alive_request__init(&w->keep_alive);
    w->keep_alive.id = w->session;
    w->op.pending_ops.kv.done = on_alive;
    kv_lease_keep_alive(r->kv, &w->op.pending_ops.kv, &w->keep_alive);
    pending_ops_schedule_turn(&r->pending_ops);
}

/* The living session that the instance belongs to; 0 = none. A session of this instance alone does not
 * count if its TTL differs from the document's: the TTL of a lease never changes. */
static int64_t own_session(const struct register_op *w, const struct catalog_instance *i)
{
    const struct catalog_session *s = i && i->doc ? i->hangs_on : NULL;
    if (!s || !s->exists || s->id == w->gone_session || (s->doc.is_implicit && s->doc.ttl_s != w->doc->ttl_s))
        return 0;
    return s->id;
}

static void confirm(struct register_op *w);

static void refuse_session(struct register_op *w, const char *refusal)
{
    if (w->granted_session)
        registry_revoke(w->op.registry, w->granted_session);
    pending_op_refuse(&w->op.pending_ops, ERR_PERMISSION_DENIED, "%s", refusal);
}

/* The reason why the client may not take the instance out of its session; NULL: it may, or there is none. */
static const char *refuse_to_leave(const struct register_op *w, const struct catalog_instance *i)
{
    const struct catalog_session *s = i && i->doc ? i->hangs_on : NULL;
    return s && s->exists && s->id != w->gone_session ? registry_session_refusal(&w->op, s) : NULL;
}

/* False: the request has ended, or continues after a barrier. The owner of a session that the view does not
 * show is not known, so the session is not kept alive before the barrier. */
static bool may_use_session(struct register_op *w)
{
    const struct catalog_session *s = catalog_session(w->op.registry->catalog, w->session);
    const char *refusal = s ? registry_session_refusal(&w->op, s) : NULL;
    if (s && !refusal)
        return true;
    if (refusal)
        refuse_session(w, refusal);
    else if (w->is_confirmed)
        lose_session(w);
    else
        confirm(w);
    return false;
}

/* An instance with a check has no session. False: the request has ended. */
static bool may_leave_session(struct register_op *w, const struct catalog_instance *i)
{
    const char *refusal = refuse_to_leave(w, i);
    if (refusal)
        refuse_session(w, refusal);
    return !refusal;
}

/* False: the request has ended, or continues when a response has come. */
static bool choose_session(struct register_op *w, const struct catalog_instance *i)
{
    int64_t own = own_session(w, i);
    const char *refusal = w->wanted_session || own ? NULL : refuse_to_leave(w, i);
    if (refusal) {
        refuse_session(w, refusal);
        return false;
    }
    w->session = w->wanted_session ? w->wanted_session : own ? own : w->granted_session;
    if (w->session && w->session != w->granted_session && !may_use_session(w))
        return false;
    if (!w->session)
        grant(w);
    else if (w->session != w->granted_session && w->session != w->renewed_session)
        keep_alive(w);
    else
        return true;
    return false;
}

/* --- the transaction -------------------------------------------------------------------------------- */

static void on_confirmed_view(struct feed_waiter *waiter)
{
    struct register_op *w = container_of(waiter, struct register_op, op.pending_ops.waiter);
    w->is_confirmed = true;
    registry_register_decide(w);
}

static void registry_register_on_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct register_op *w = container_of(kv, struct register_op, op.pending_ops.kv);
    (void)response;
    if (err)
        registry_register_end(w, err);
    else
        pending_op_view(&w->op.pending_ops, kv_revision(w->op.registry->kv), on_confirmed_view);
}

static void confirm(struct register_op *w)
{
    w->op.pending_ops.kv.done = registry_register_on_barrier;
    kv_barrier(w->op.registry->kv, &w->op.pending_ops.kv);
    pending_ops_schedule_turn(&w->op.registry->pending_ops);
}

/* The compare failed: another write was faster, or the view was behind. A view that shows the revision of
 * this transaction is as good as a view after a barrier, because the transaction began after the request. */
static void lose(struct register_op *w, const Etcdserverpb__TxnResponse *response)
{
    metric_add(METRIC_REGISTRY_CONFLICTS, 1);
    if (++w->attempts == REGISTRY_ATTEMPTS_MAX) {
        registry_register_end(w, ERR_CONFLICT);
        return;
    }
    w->unparsed_revision = txn_mod_revision(response);
    pending_op_view(&w->op.pending_ops, response->header->revision, on_confirmed_view);
}

static void on_registered(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct register_op *w = container_of(kv, struct register_op, op.pending_ops.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    struct registry *r = w->op.registry;
    if (err == ERR_LEASE_NOT_FOUND && ++w->attempts < REGISTRY_ATTEMPTS_MAX) {
        if (w->session == w->granted_session)
            w->granted_session = 0;
        lose_session(w);
    } else if (err) {
        registry_register_end(w, err);
    } else if (!response->succeeded) {
        lose(w, response);
    } else {
        if (w->granted_session && w->granted_session != w->session)
            registry_revoke(r, w->granted_session);
        if (w->left_session)
            registry_revoke(r, w->left_session);
        metric_add(METRIC_REGISTRY_REGISTRATIONS, 1);
        w->op.result.session = w->session;
        bool is_new = w->session && w->session == w->granted_session;
        w->op.result.session_key = is_new ? w->op.session_key : NULL;
        w->op.opened = is_new ? w->granted_session : 0;
        registry_op_written(&w->op, response->header->revision);
    }
}

/* The result of the same check of the same address stays; any other check begins anew. */
static void keep_check_result(struct instance *doc, const struct check *wanted, const struct instance *before)
{
    bool is_same = before && before->check && check_equal(before->check, wanted) &&
                   before->port == doc->port && slice_equal(before->host, doc->host);
    *doc->check = *wanted;
    doc->check->result = is_same ? before->check->result : INSTANCE_STARTING;
    doc->check->output = is_same ? before->check->output : (struct slice){0};
    doc->state = check_effect(wanted->registered, doc->check->result);
}

/* Written once for a session: an instance may have 4,096 keys of metadata. With a check it is written again
 * for each view, because it has the result that the view has. */
static struct slice instance_text(struct register_op *w)
{
    struct instance doc = *w->doc;
    struct check check;
    struct buf text = {0};
    if (w->text.size && w->text_session == w->session && !doc.check)
        return w->text;
    if (doc.check) {
        const struct catalog_instance *i = registry_find(w->op.registry, &w->key);
        doc.check = &check;
        keep_check_result(&doc, w->doc->check, i ? i->doc : NULL);
    }
    doc.session = w->text_session = w->session;
    doc.is_guarded = false;
    doc.source = (struct slice){0};
    instance_write(&doc, &text);
    w->text = registry_copy(&w->op.pending_ops.arena, buf_slice(&text));
    buf_done(&text);
    return w->text;
}

static bool is_there(const struct catalog_instance *i, const struct register_op *w, struct slice text)
{
    struct buf now = {0};
    if (!i || !i->doc || i->doc->session != w->session || i->doc->port != w->doc->port ||
        (i->doc->state != w->doc->state && !w->doc->check) ||
        i->doc->metadata.count != w->doc->metadata.count)
        return false; /* without writing it */
    instance_write(i->doc, &now);
    bool is_same = slice_equal(buf_slice(&now), text);
    buf_done(&now);
    return is_same;
}

static struct slice session_text(struct arena *a, const struct session *doc)
{
    struct buf text = {0};
    session_write(doc, &text);
    struct slice copy = registry_copy(a, buf_slice(&text));
    buf_done(&text);
    return copy;
}

/* Adds the session's part, if it has one: puts the new session, or compares that the session exists. A session that was made
 * for another instance alone becomes a shared one, so that it does not end with that instance. */
static void add_session(struct register_op *w, const struct catalog_instance *i)
{
    struct arena *a = &w->op.pending_ops.arena;
    if (!w->session)
        return;
    struct slice key = registry_session_key(a, w->session);
    if (w->session == w->granted_session) {
        struct session doc = {.ttl_s = w->doc->ttl_s, .is_implicit = true};
        registry_sign_session(&w->op, &doc);
        txn_put(&w->txn, key, session_text(a, &doc), w->session);
        return;
    }
    const struct catalog_session *s = catalog_session(w->op.registry->catalog, w->session);
    if (s->is_damaged) {
        txn_if_revision(&w->txn, key, s->mod_revision);
        txn_put(&w->txn, key, registry_session_repair(&w->op, s, w->op.result.ttl_s, a), w->session);
    } else if (s->doc.is_implicit && !(i && i->hangs_on == s)) {
        struct session doc = s->doc;
        doc.is_implicit = false;
        txn_if_revision(&w->txn, key, s->mod_revision);
        txn_put(&w->txn, key, session_text(a, &doc), w->session);
    } else {
        txn_if_there(&w->txn, key);
    }
}

/* If the instance leaves a session of its own, deletes the session's key in the same revision. The caller
 * revokes the lease afterwards. Returns that session; 0 = none. */
static int64_t add_left_session(struct txn *txn, const struct catalog_instance *i, int64_t stays_on)
{
    const struct catalog_session *s = i ? i->hangs_on : NULL;
    if (!s || !s->exists || s->id == stays_on || !s->doc.is_implicit || s->instance_count != 1)
        return 0;
    struct slice key = registry_session_key(txn->arena, s->id);
    txn_if_revision(txn, key, s->mod_revision);
    txn_delete(txn, key);
    return s->id;
}

static void registry_register_propose(struct register_op *w, const struct catalog_instance *i,
                                      struct slice text)
{
    struct registry *r = w->op.registry;
    w->compared_revision = i && i->doc ? i->mod_revision : w->unparsed_revision;
    txn_init(&w->txn, &w->op.pending_ops.arena);
    txn_if_revision(&w->txn, w->at, w->compared_revision);
    add_session(w, i);
    w->left_session = refuse_to_leave(w, i) ? 0 : add_left_session(&w->txn, i, w->session);
    txn_put(&w->txn, w->at, text, 0);
    txn_else_get(&w->txn, w->at);
    if (!registry_admit(&w->op, w->key.ns, w->at.size + text.size))
        return;
    w->op.pending_ops.kv.done = on_registered;
    pending_op_sign_key(&w->op.pending_ops, w->at);
    kv_txn(r->kv, &w->op.pending_ops.kv, &w->txn.message);
    pending_ops_schedule_turn(&r->pending_ops);
}

static bool is_projected(struct registry_op *op, const struct catalog_instance *i)
{
    if (!i || !i->doc || !i->doc->source.size)
        return false;
    pending_op_refuse(&op->pending_ops, ERR_CONFLICT,
                      "this instance is a registration of %.*s and read-only here: change it there",
                      (int)i->doc->source.size, i->doc->source.data);
    return true;
}

/* Decides on the view as it is now. Every step returns here until everything that the transaction needs is
 * known. */
static void registry_register_decide(struct register_op *w)
{
    struct registry *r = w->op.registry;
    const struct catalog_instance *i = registry_find(r, &w->key);
    if (w->doc->check ? !may_leave_session(w, i) : !choose_session(w, i))
        return;
    const struct catalog_session *session = catalog_session(r->catalog, w->session);
    bool is_known = w->session == w->granted_session || session; /* both are 0 with a check */
    struct slice text = instance_text(w);
    bool is_same = is_there(i, w, text) && !(session && session->is_damaged);
    if (w->is_confirmed && !is_known) {
        lose_session(w);
    } else if (w->is_confirmed && is_same) {
        w->op.result.session = w->session;
        w->op.result.is_unchanged = true;
        w->op.result.revision = registry_revision(r);
        if (w->granted_session)
            registry_revoke(r, w->granted_session);
        pending_op_end(&w->op.pending_ops, OK);
    } else if (is_same || !is_known) {
        confirm(w);
    } else {
        registry_register_propose(w, i, text);
    }
}

/* The checks of instance_read, for callers that have built the document themselves. */
static const char *what_is_wrong(const struct instance *doc, int64_t session)
{
    if (doc->check && session)
        return "an instance with a check belongs to no session: register it without one, or without check";
    if (doc->check && !check_is_valid(doc->check))
        return "check has a number that is out of its range";
    if (!doc->host.size)
        return "host is missing";
    if (doc->state == INSTANCE_LOST)
        return "state \"lost\" is set by the registry only: use \"down\"";
    if (doc->ttl_s < INSTANCE_TTL_MIN_S || doc->ttl_s > INSTANCE_TIME_MAX_S)
        return "ttl must be 3 to 86400 seconds";
    return NULL;
}

void registry_register(struct registry *r, struct registry_request *q, const struct registry_key *key,
                       const struct instance *doc, int64_t session)
{
    struct register_op *w = registry_op_new(r, q, sizeof *w);
    char error[512];
    if (!registry_write_begin(&w->op, key, NAME_INSTANCE, &w->key, &w->at))
        return;
    const struct catalog_instance *i = registry_find(r, &w->key);
    const char *wrong = what_is_wrong(doc, session);
    int err = OK;
    if (wrong) {
        pending_op_refuse(&w->op.pending_ops, ERR_INVALID, "%s", wrong);
        return;
    }
    if (is_projected(&w->op, i))
        return;
    struct quota_key place = registry_quota_key(&w->key);
    if (!i || !i->doc)
        err = quota_claim_instance(&r->quota, r->catalog, &place, &w->op.claim, error, sizeof error);
    if (!err && doc->check && !(i && i->doc && i->doc->check))
        err = quota_claim_check(&r->quota, r->catalog, &place, &w->op.claim, error, sizeof error);
    if (err) {
        pending_op_refuse(&w->op.pending_ops, err, "%s", error);
        return;
    }
    w->op.on_free = free_register_op;
    w->doc = instance_copy(doc);
    w->wanted_session = session;
    registry_register_decide(w);
}

/* --- deregistering -------------------------------------------------------------------------------------- */

struct deregister_op {
    struct registry_op op;
    struct registry_key key;
    struct slice at, override_at, record; /* record: of the audit trail; empty = none */
    int64_t compared_revision, unparsed_revision, left_session;
    int64_t override_unparsed_revision; /* mod revision of an override that does not parse */
    unsigned attempts;
    struct txn txn;
};

static void propose_removal(struct deregister_op *w);

static void on_newer_view_of_removal(struct feed_waiter *waiter)
{
    propose_removal(container_of(waiter, struct deregister_op, op.pending_ops.waiter));
}

static void on_deregistered(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct deregister_op *w = container_of(kv, struct deregister_op, op.pending_ops.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (!err && !response->succeeded && ++w->attempts < REGISTRY_ATTEMPTS_MAX) {
        w->unparsed_revision = txn_mod_revision_of(response, w->at);
        w->override_unparsed_revision = txn_mod_revision_of(response, w->override_at);
        metric_add(METRIC_REGISTRY_CONFLICTS, 1);
        pending_op_view(&w->op.pending_ops, response->header->revision, on_newer_view_of_removal);
        return;
    }
    if (!err && !response->succeeded)
        err = ERR_CONFLICT;
    else if (!err && !w->compared_revision)
        err = ERR_NOT_FOUND;
    if (err) {
        pending_op_end(&w->op.pending_ops, err);
        return;
    }
    if (w->left_session)
        registry_revoke(w->op.registry, w->left_session);
    audit_written(w->op.registry->options.audit, w->record);
    metric_add(METRIC_REGISTRY_DEREGISTRATIONS, 1);
    registry_op_written(&w->op, response->header->revision);
}

/* Also ends a drain that this view does not show yet: the transaction compares the override's mod revision. */
static void end_drain(struct deregister_op *w, const struct catalog_instance *i)
{
    bool is_shown = i && i->override;
    if (!is_shown || !registry_end_drain(&w->txn, i, w->override_at))
        txn_if_revision(&w->txn, w->override_at,
                        is_shown ? i->override_revision : w->override_unparsed_revision);
}

/* Proposes also if the view has no instance: the store decides that it does not exist. */
static void propose_removal(struct deregister_op *w)
{
    struct registry *r = w->op.registry;
    const struct catalog_instance *i = registry_find(r, &w->key);
    if (is_projected(&w->op, i))
        return;
    w->compared_revision = i && i->doc ? i->mod_revision : w->unparsed_revision;
    w->left_session = 0;
    txn_init(&w->txn, &w->op.pending_ops.arena);
    txn_if_revision(&w->txn, w->at, w->compared_revision);
    if (w->compared_revision) {
        w->left_session = add_left_session(&w->txn, i, 0);
        txn_delete(&w->txn, w->at);
        end_drain(w, i);
    }
    txn_else_get(&w->txn, w->at);
    txn_else_get(&w->txn, w->override_at);
    w->record = (struct slice){0};
    if (w->compared_revision && registry_is_by_operator(&w->op, i ? i->hangs_on : NULL))
        w->record = registry_audit(&w->op, &w->txn, TXN_THEN, "instance", "deregister", &w->key);
    w->op.pending_ops.kv.done = on_deregistered;
    pending_op_sign_key(&w->op.pending_ops, w->at);
    kv_txn(r->kv, &w->op.pending_ops.kv, &w->txn.message);
    pending_ops_schedule_turn(&r->pending_ops);
}

void registry_deregister(struct registry *r, struct registry_request *q, const struct registry_key *key)
{
    struct deregister_op *w = registry_op_new(r, q, sizeof *w);
    if (!registry_write_begin(&w->op, key, NAME_INSTANCE, &w->key, &w->at))
        return;
    w->override_at = registry_key_text(&w->op.pending_ops.arena, NAME_OVERRIDE, &w->key);
    propose_removal(w);
}
