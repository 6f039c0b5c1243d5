/* SPDX-License-Identifier: Apache-2.0
 * Registration of one instance or of a list of instances, and deregistration of one.
 *
 *   register
 *     1. choose the session: the given one, the one that the instances have, or a new one
 *     2. grant a lease for a new session, or keep the session alive
 *     3. if the same documents exist: barrier, compare again, end
 *     4. one transaction; end when the view shows it
 *   deregister
 *     1. one transaction, which also ends the drain and a session of this instance alone; end when the view
 *        shows it
 *
 * A list is registered whole or not at all: its quotas are claimed before the first step, and its transaction
 * compares every instance, also those that it does not write because they are as wanted.
 * registry_private.h has the steps that all writes share.
 *
 * Invariant: a lease that was granted here ends in one of three ways:
 *   - the instances' session has it;
 *   - it is revoked;
 *   - the outcome of the write is unknown: nobody keeps it alive, and it expires. */
#include "base/metric.h"
#include "base/mutant.h"
#include "consensus/audit.h"
#include "consensus/feature.h"
#include "registry/registry_private.h"

struct register_item {
    struct registry_key key;
    struct slice at; /* the instance's key in the store */
    struct instance *doc;
    struct slice text; /* of doc with text_session; empty = not written yet */
    int64_t text_session;
    int64_t left_session;      /* the session of this instance alone that the instance leaves */
    int64_t compared_revision; /* mod revision of the instance's key that is compared */
    int64_t unparsed_revision; /* mod revision of the stored document, which does not parse */
    struct quota_claim claim;
    const struct catalog_instance *now; /* in the view, within registry_register_decide; NULL = none */
    bool is_same;                       /* the view has the wanted document */
};

struct register_op {
    struct registry_op op;
    struct register_item *items;
    size_t count;
    bool is_list;      /* errors name the place in the list; a new session is not of one instance alone */
    bool has_sessions; /* there is an item without a check */
    uint32_t ttl_s;    /* of a new session */
    int64_t wanted_session;  /* the session that the caller gave; 0 = none, the registry chooses one */
    int64_t session;         /* the chosen session */
    int64_t granted_session; /* the lease that this request granted */
    int64_t renewed_session; /* the session that this request kept alive */
    int64_t gone_session;    /* a session that is not alive, whatever the view shows */
    unsigned attempts;
    bool is_confirmed; /* the view has reached a barrier */
    struct txn txn;
    Etcdserverpb__LeaseGrantRequest grant;
    Etcdserverpb__LeaseKeepAliveRequest keep_alive;
};

static void registry_register_decide(struct register_op *w);

static void free_register_op(struct registry_op *op)
{
    struct register_op *w = container_of(op, struct register_op, op);
    for (size_t k = 0; k < w->count; k++) {
        mem_free(w->items[k].doc);
        quota_release(&op->registry->quota, &w->items[k].claim);
    }
}

static void registry_register_end(struct register_op *w, int err)
{
    if (w->granted_session && err && !registry_is_unknown(err))
        registry_revoke(w->op.registry, w->granted_session);
    pending_op_end(&w->op.pending_ops, err);
}

/* The op has ended with a sentence about this item: puts its place in the list before it. */
static void name_item(struct register_op *w, const struct register_item *item)
{
    struct pending_op *op = &w->op.pending_ops;
    if (w->is_list && op->error)
        op->error = arena_printf(&op->arena, "instances[%zu]: %s", (size_t)(item - w->items), op->error);
}

static int64_t item_session(const struct register_op *w, const struct register_item *item)
{
    return item->doc->check ? 0 : w->session;
}

/* --- documents ------------------------------------------------------------------------------------------ */

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
static struct slice instance_text(struct register_op *w, struct register_item *item)
{
    struct instance doc = *item->doc;
    struct check check;
    struct buf text = {0};
    if (item->text.size && item->text_session == w->session && !doc.check)
        return item->text;
    if (doc.check) {
        doc.check = &check;
        keep_check_result(&doc, item->doc->check, item->now ? item->now->doc : NULL);
    }
    item->text_session = w->session;
    doc.session = item_session(w, item);
    doc.is_guarded = false;
    doc.source = (struct slice){0};
    instance_write(&doc, &text);
    item->text = registry_copy(&w->op.pending_ops.arena, buf_slice(&text));
    buf_done(&text);
    return item->text;
}

static bool is_there(const struct register_op *w, const struct register_item *item, struct slice text)
{
    const struct instance *doc = item->now ? item->now->doc : NULL, *wanted = item->doc;
    struct buf now = {0};
    if (!doc || doc->session != item_session(w, item) || doc->port != wanted->port ||
        (doc->state != wanted->state && !wanted->check) || doc->metadata.count != wanted->metadata.count)
        return false; /* without writing it */
    instance_write(doc, &now);
    bool is_same = slice_equal(buf_slice(&now), text);
    buf_done(&now);
    return is_same;
}

/* Checks the bytes of each namespace against the write limits, once a request. False: the op has ended. */
static bool admit_items(struct register_op *w)
{
    if (w->op.is_admitted)
        return true;
    for (size_t k = 0; k < w->count; k++) {
        struct slice ns = w->items[k].key.ns;
        size_t bytes = 0;
        bool is_counted = false;
        for (size_t other = 0; other < w->count && !is_counted; other++) {
            struct register_item *item = &w->items[other];
            if (!slice_equal(item->key.ns, ns))
                continue;
            is_counted = other < k;
            bytes += item->at.size + instance_text(w, item).size;
        }
        w->op.is_admitted = false;
        if (!is_counted && !registry_admit(&w->op, ns, bytes)) {
            name_item(w, &w->items[k]);
            return false;
        }
    }
    w->op.is_admitted = true;
    return true;
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
    if (!admit_items(w))
        return;
    etcdserverpb__lease_grant_request__init(&w->grant);
    w->grant.ttl = w->ttl_s;
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
    int err = OK;
    for (size_t k = 0; k < w->count && !err; k++)
        err = pending_op_check_key(&w->op.pending_ops, w->items[k].at);
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

/* The living session that all instances without a check belong to; 0 = none. A session of one instance alone,
 * and any session of a list, does not count if its TTL differs from the wanted one: the TTL of a lease never
 * changes. */
static int64_t own_session(const struct register_op *w)
{
    const struct catalog_session *own = NULL;
    for (size_t k = 0; k < w->count; k++) {
        const struct register_item *item = &w->items[k];
        const struct catalog_session *s = item->now && item->now->doc ? item->now->hangs_on : NULL;
        if (item->doc->check)
            continue;
        if (!s || !s->exists || s->id == w->gone_session || (own && own != s) ||
            ((w->is_list || s->doc.is_implicit) && s->doc.ttl_s != w->ttl_s))
            return 0;
        own = s;
    }
    return own ? own->id : 0;
}

static void confirm(struct register_op *w);

static void refuse_session(struct register_op *w, const char *refusal)
{
    if (w->granted_session)
        registry_revoke(w->op.registry, w->granted_session);
    pending_op_refuse(&w->op.pending_ops, ERR_PERMISSION_DENIED, "%s", refusal);
}

/* The reason why the client may not take the instance out of its session; NULL: it may, or there is none. */
static const char *refuse_to_leave(const struct register_op *w, const struct register_item *item)
{
    const struct catalog_session *s = item->now && item->now->doc ? item->now->hangs_on : NULL;
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

/* Of the instances with a check, which have no session, or of those without one. False: the request has
 * ended. */
static bool may_leave_sessions(struct register_op *w, bool has_check)
{
    for (size_t k = 0; k < w->count; k++) {
        struct register_item *item = &w->items[k];
        const char *refusal = !item->doc->check == !has_check ? refuse_to_leave(w, item) : NULL;
        if (refusal) {
            refuse_session(w, refusal);
            name_item(w, item);
            return false;
        }
    }
    return true;
}

/* False: the request has ended, or continues when a response has come. */
static bool choose_session(struct register_op *w)
{
    int64_t own = own_session(w);
    if (!w->wanted_session && !own && !may_leave_sessions(w, false))
        return false;
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
    for (size_t k = 0; k < w->count; k++)
        w->items[k].unparsed_revision = txn_mod_revision_of(response, w->items[k].at);
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
        for (size_t k = 0; k < w->count; k++)
            if (w->items[k].left_session)
                registry_revoke(r, w->items[k].left_session);
        metric_add(METRIC_REGISTRY_REGISTRATIONS, (double)w->op.result.changed);
        w->op.result.session = w->session;
        bool is_new = w->session && w->session == w->granted_session;
        w->op.result.session_key = is_new ? w->op.session_key : NULL;
        w->op.opened = is_new ? w->granted_session : 0;
        registry_op_written(&w->op, response->header->revision);
    }
}

static struct slice session_text(struct arena *a, const struct session *doc)
{
    struct buf text = {0};
    session_write(doc, &text);
    struct slice copy = registry_copy(a, buf_slice(&text));
    buf_done(&text);
    return copy;
}

/* An instance that does not belong to the session yet is among them. */
static bool does_join(const struct register_op *w, const struct catalog_session *s)
{
    for (size_t k = 0; k < w->count; k++)
        if (!w->items[k].doc->check && !(w->items[k].now && w->items[k].now->hangs_on == s))
            return true;
    return false;
}

/* Adds the session's part, if it has one: puts the new session, or compares that the session exists. A session that was made
 * for another instance alone becomes a shared one, so that it does not end with that instance. */
static void add_session(struct register_op *w)
{
    struct arena *a = &w->op.pending_ops.arena;
    if (!w->session)
        return;
    struct slice key = registry_session_key(a, w->session);
    if (w->session == w->granted_session) {
        struct session doc = {.ttl_s = w->ttl_s, .is_implicit = !w->is_list};
        registry_sign_session(&w->op, &doc);
        txn_put(&w->txn, key, session_text(a, &doc), w->session);
        return;
    }
    const struct catalog_session *s = catalog_session(w->op.registry->catalog, w->session);
    if (s->is_damaged) {
        txn_if_revision(&w->txn, key, s->mod_revision);
        txn_put(&w->txn, key, registry_session_repair(&w->op, s, w->op.result.ttl_s, a), w->session);
    } else if (s->doc.is_implicit && does_join(w, s)) {
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

/* Compares the instance's key and, unless it is as wanted, puts it. */
static void add_item(struct register_op *w, struct register_item *item)
{
    const struct catalog_instance *i = item->now;
    item->compared_revision = i && i->doc ? i->mod_revision : item->unparsed_revision;
    item->left_session = 0;
    txn_else_get(&w->txn, item->at);
    if (item->is_same && MUTANT(LIST_UNCOMPARED))
        return;
    txn_if_revision(&w->txn, item->at, item->compared_revision);
    if (item->is_same)
        return;
    if (!refuse_to_leave(w, item))
        item->left_session = add_left_session(&w->txn, i, w->session);
    txn_put(&w->txn, item->at, item->text, 0);
    w->op.result.changed++;
}

static void registry_register_propose(struct register_op *w)
{
    struct pending_op *op = &w->op.pending_ops;
    struct auth_need *needs = arena_alloc(&op->arena, w->count * sizeof *needs);
    w->op.result.changed = 0;
    txn_init(&w->txn, &op->arena);
    add_session(w);
    op->kv.extra_ops = 1; /* the session, and those that are left: --max-txn-ops is for the client's own */
    for (size_t k = 0; k < w->count; k++) {
        add_item(w, &w->items[k]);
        op->kv.extra_ops += w->items[k].left_session != 0;
        needs[k] = (struct auth_need){.key = w->items[k].at, .is_write = true};
    }
    if (!admit_items(w))
        return;
    op->kv.done = on_registered;
    pending_op_sign(op, needs, w->count);
    kv_txn(w->op.registry->kv, &op->kv, &w->txn.message);
    pending_ops_schedule_turn(&w->op.registry->pending_ops);
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

/* Sets is_same of each item; a damaged session is written again with all of them. True: all are the same. */
static bool compare_items(struct register_op *w, const struct catalog_session *session)
{
    bool are_same = true;
    for (size_t k = 0; k < w->count; k++) {
        struct register_item *item = &w->items[k];
        struct slice text = instance_text(w, item);
        item->is_same = is_there(w, item, text) && !(session && session->is_damaged);
        are_same = are_same && item->is_same;
    }
    return are_same;
}

/* Decides on the view as it is now. Every step returns here until everything that the transaction needs is
 * known. */
static void registry_register_decide(struct register_op *w)
{
    struct registry *r = w->op.registry;
    for (size_t k = 0; k < w->count; k++)
        w->items[k].now = registry_find(r, &w->items[k].key);
    if (!may_leave_sessions(w, true) || (w->has_sessions && !choose_session(w)))
        return;
    const struct catalog_session *session = catalog_session(r->catalog, w->session);
    bool is_known = w->session == w->granted_session || session; /* both are 0 with checks alone */
    bool is_same = compare_items(w, session);
    if (w->is_confirmed && !is_known) {
        lose_session(w);
    } else if (w->is_confirmed && is_same) {
        w->op.result.session = w->session;
        w->op.result.is_unchanged = true;
        w->op.result.changed = 0;
        w->op.result.revision = registry_revision(r);
        if (w->granted_session)
            registry_revoke(r, w->granted_session);
        pending_op_end(&w->op.pending_ops, OK);
    } else if (is_same || !is_known) {
        confirm(w);
    } else {
        registry_register_propose(w);
    }
}

/* --- the request ---------------------------------------------------------------------------------------- */

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

/* False: the op has ended with a sentence. */
static bool begin_item(struct register_op *w, struct register_item *item, const struct registry_key *key,
                       const struct instance *doc)
{
    struct registry *r = w->op.registry;
    char error[512];
    if (!registry_write_begin(&w->op, key, NAME_INSTANCE, &item->key, &item->at))
        return false;
    const struct catalog_instance *i = registry_find(r, &item->key);
    const char *wrong = what_is_wrong(doc, w->wanted_session);
    int err = OK;
    if (wrong) {
        pending_op_refuse(&w->op.pending_ops, ERR_INVALID, "%s", wrong);
        return false;
    }
    if (is_projected(&w->op, i))
        return false;
    struct quota_key place = registry_quota_key(&item->key);
    if (doc->check && doc->check->type == CHECK_TTL)
        err = kv_check_feature_level(r->kv, FEATURE_LEVEL_CONTENTS, "TTL checks", error, sizeof error);
    if (!err && (!i || !i->doc))
        err = quota_claim_instance(&r->quota, r->catalog, &place, &item->claim, error, sizeof error);
    if (!err && doc->check && !(i && i->doc && i->doc->check))
        err = quota_claim_check(&r->quota, r->catalog, &place, &item->claim, error, sizeof error);
    if (err) {
        pending_op_refuse(&w->op.pending_ops, err, "%s", error);
        return false;
    }
    item->doc = instance_copy(doc);
    w->has_sessions = w->has_sessions || !doc->check;
    return true;
}

static struct register_op *register_op_new(struct registry *r, struct registry_request *q, size_t count,
                                           int64_t session, uint32_t ttl_s)
{
    struct register_op *w = registry_op_new(r, q, sizeof *w);
    w->items = arena_new(&w->op.pending_ops.arena, (count + 1) * sizeof *w->items);
    w->count = count;
    w->wanted_session = session;
    w->ttl_s = ttl_s;
    w->op.on_free = free_register_op;
    return w;
}

void registry_register(struct registry *r, struct registry_request *q, const struct registry_key *key,
                       const struct instance *doc, int64_t session)
{
    struct register_op *w = register_op_new(r, q, 1, session, doc->ttl_s);
    if (begin_item(w, &w->items[0], key, doc))
        registry_register_decide(w);
}

/* Names the same instance as an earlier item: its place; else SIZE_MAX. */
static size_t find_twin(const struct register_op *w, size_t k)
{
    for (size_t other = 0; other < k; other++)
        if (slice_equal(w->items[other].at, w->items[k].at))
            return other;
    return SIZE_MAX;
}

void registry_register_list(struct registry *r, struct registry_request *q, const struct registry_item *list,
                            size_t count, uint32_t ttl_s, int64_t session)
{
    struct register_op *w = register_op_new(r, q, count, session, ttl_s);
    size_t count_max = REGISTRY_LIST_MAX;
    if (count_max > r->options.txn_ops_max)
        count_max = r->options.txn_ops_max;
    w->is_list = true;
    if (!count || count > count_max) {
        w->count = 0;
        pending_op_refuse(&w->op.pending_ops, ERR_INVALID,
                          "there are %zu instances in the list; it must have 1 to %zu", count, count_max);
        return;
    }
    for (size_t k = 0; k < count; k++) {
        struct instance doc = *list[k].doc;
        doc.ttl_s = ttl_s;
        size_t twin = SIZE_MAX;
        bool is_fine = begin_item(w, &w->items[k], &list[k].key, &doc);
        if (is_fine && (twin = find_twin(w, k)) != SIZE_MAX)
            pending_op_refuse(&w->op.pending_ops, ERR_INVALID, "this is the same instance as instances[%zu]",
                              twin);
        if (!is_fine || twin != SIZE_MAX) {
            name_item(w, &w->items[k]);
            return;
        }
    }
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
    if (!err && !w->compared_revision) {
        registry_refuse_absent(&w->op, &w->key);
        return;
    }
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
