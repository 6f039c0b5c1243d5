/* SPDX-License-Identifier: Apache-2.0
 * Shared parts of all writes, and the writes of one document under one key: a service's settings, an
 * operator override. Each is one transaction. If the same text exists already, nothing is written. */
#include "registry/registry_private.h"

#include "base/mutant.h"
#include "consensus/audit.h"
#include "consensus/feature.h"
#include "consensus/write_limits.h"

/* --- shared ------------------------------------------------------------------------------------------- */

struct slice registry_copy(struct arena *a, struct slice s)
{
    return slice_of(s.size ? arena_copy(a, s.data, s.size) : NULL, s.size);
}

static struct slice name_text(struct arena *a, const struct name *name)
{
    struct buf text = {0};
    name_add_key(&text, name);
    struct slice copy = registry_copy(a, buf_slice(&text));
    buf_done(&text);
    return copy;
}

struct slice registry_key_text(struct arena *a, enum name_kind kind, const struct registry_key *key)
{
    return name_text(a, &(struct name){kind, key->ns, key->group, key->service, key->id, 0});
}

struct slice registry_session_key(struct arena *a, int64_t session)
{
    return name_text(a, &(struct name){.kind = NAME_SESSION, .session = session});
}

struct catalog_instance *registry_find(const struct registry *r, const struct registry_key *key)
{
    struct catalog_service *s = catalog_find(r->catalog, key->ns, key->group, key->service);
    return s ? catalog_instance(s, key->id) : NULL;
}

struct quota_key registry_quota_key(const struct registry_key *key)
{
    return (struct quota_key){key->ns, key->group, key->service};
}

static int check_key(const struct registry_key *key, bool has_id, char *error, size_t size)
{
    int err = name_check(key->ns, NAMESPACE_SIZE_MAX, "the namespace", error, size);
    if (!err)
        err = name_check(key->group, NAME_SIZE_MAX, "the group", error, size);
    if (!err)
        err = name_check(key->service, NAME_SIZE_MAX, "the service's name", error, size);
    if (!err && has_id)
        err = name_check(key->id, NAME_SIZE_MAX, "the instance's id", error, size);
    return err;
}

bool registry_write_begin(struct registry_op *op, const struct registry_key *key, enum name_kind kind,
                          struct registry_key *ret_key, struct slice *ret_at)
{
    char error[256];
    bool has_id = kind == NAME_INSTANCE || kind == NAME_OVERRIDE;
    struct arena *a = &op->pending_ops.arena;
    int err = check_key(key, has_id, error, sizeof error);
    if (!err && kind == NAME_INSTANCE && projection_is_reserved(key->id)) {
        err = ERR_INVALID;
        snprintf(error, sizeof error,
                 "the instance's id \"%.*s\" begins as those that frameworks register through the etcd API, "
                 "which are read-only here: choose another id",
                 (int)(key->id.size < 64 ? key->id.size : 64), (const char *)key->id.data);
    }
    if (err) {
        pending_op_refuse(&op->pending_ops, err, "%s", error);
        return false;
    }
    if (!registry_is_ready(op->registry)) {
        pending_op_end(&op->pending_ops, ERR_NOT_READY);
        return false;
    }
    *ret_key = (struct registry_key){
        registry_copy(a, key->ns), registry_copy(a, key->group), registry_copy(a, key->service), {0}};
    if (has_id)
        ret_key->id = registry_copy(a, key->id);
    *ret_at = registry_key_text(a, kind, ret_key);
    op->pending_ops.goes_on = true;
    return true;
}

bool registry_end_drain(struct txn *txn, const struct catalog_instance *i, struct slice override_key)
{
    struct override rest;
    if (!i->override || !i->override->is_drain)
        return false;
    txn_if_revision(txn, override_key, i->override_revision);
    if (override_without_drain(i->override, &rest)) {
        struct buf text = {0};
        override_write(&rest, &text);
        txn_put(txn, override_key, registry_copy(txn->arena, buf_slice(&text)), 0);
        buf_done(&text);
    } else {
        txn_delete(txn, override_key);
    }
    return true;
}

struct slice registry_audit(struct registry_op *op, struct txn *txn, enum txn_side side, const char *kind,
                            const char *operation, const struct registry_key *key)
{
    struct audit_change change = {.kind = kind,
                                  .operation = operation,
                                  .ns = key->ns,
                                  .group = key->group,
                                  .name = key->service,
                                  .id = key->id};
    const struct audit_record record = {.author = op->author, .changes = &change, .count = 1};
    op->pending_ops.kv.extra_ops = AUDIT_OPS;
    return audit_add(op->registry->options.audit, txn, side, &record);
}

bool registry_is_unknown(int err)
{
    return err == ERR_TIMEOUT || err == ERR_TIMEOUT_LEADER_FAIL || err == ERR_TIMEOUT_CONNECTION_LOST ||
           err == ERR_TIMEOUT_APPLIED_INDEX || err == ERR_STOPPED;
}

bool registry_admit(struct registry_op *op, struct slice ns, size_t bytes)
{
    char error[512];
    if (op->is_admitted)
        return true;
    int err = namespace_view_admit(op->registry->options.namespaces, ns, error, sizeof error);
    if (!err)
        err = write_limits_admit(op->registry->options.limits, WRITE_REGISTRATION, ns, bytes, error,
                                 sizeof error);
    if (err)
        pending_op_refuse(&op->pending_ops, err, "%s", error);
    op->is_admitted = !err;
    return !err;
}

struct revoke_op {
    struct registry_op op;
    Etcdserverpb__LeaseRevokeRequest message;
};

static void on_revoked(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    (void)err;
    (void)response;
    pending_op_end(container_of(kv, struct pending_op, kv), OK);
}

void registry_revoke(struct registry *r, int64_t lease)
{
    struct revoke_op *v = registry_op_new(r, NULL, sizeof *v);
    etcdserverpb__lease_revoke_request__init(&v->message);
    v->message.id = lease;
    v->op.pending_ops.kv.done = on_revoked;
    kv_lease_revoke(r->kv, &v->op.pending_ops.kv, &v->message);
    pending_ops_schedule_turn(&r->pending_ops);
}

/* --- one document ----------------------------------------------------------------------------------- */

struct document_write {
    struct registry_op op;
    struct registry_key key;
    struct slice at;
    const char *kind; /* of the audit trail */
    struct slice record;
    struct txn txn;
};

static void registry_write_on_put(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct registry_op *op = container_of(kv, struct registry_op, pending_ops.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (err) {
        pending_op_end(&op->pending_ops, err);
        return;
    }
    op->result.is_unchanged = response->succeeded;
    if (!response->succeeded)
        audit_written(op->registry->options.audit, container_of(op, struct document_write, op)->record);
    registry_op_written(op, response->header->revision);
}

static void on_removed(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct registry_op *op = container_of(kv, struct registry_op, pending_ops.kv);
    const struct document_write *w = container_of(op, struct document_write, op);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (err) {
        pending_op_end(&op->pending_ops, err);
        return;
    }
    if (!response->succeeded) {
        bool is_override = w->key.id.size > 0;
        struct slice of = is_override ? w->key.id : w->key.service;
        pending_op_refuse(&op->pending_ops, ERR_NOT_FOUND, "the %s %.*s has no %s",
                          is_override ? "instance" : "service", (int)of.size, (const char *)of.data,
                          is_override ? "override" : "settings");
        return;
    }
    audit_written(op->registry->options.audit, w->record);
    registry_op_written(op, response->header->revision);
}

/* The same content with the stored author and time is `present`: nothing is written then. */
static void put(struct document_write *w, struct slice present, struct slice value)
{
    struct registry *r = w->op.registry;
    txn_init(&w->txn, &w->op.pending_ops.arena);
    txn_if_value(&w->txn, w->at, present);
    txn_else_put(&w->txn, w->at, value);
    if (!registry_admit(&w->op, w->key.ns, w->at.size + value.size))
        return;
    w->record = registry_audit(&w->op, &w->txn, TXN_ELSE, w->kind, "put", &w->key);
    w->op.pending_ops.kv.done = registry_write_on_put;
    pending_op_sign_key(&w->op.pending_ops, w->at);
    kv_txn(r->kv, &w->op.pending_ops.kv, &w->txn.message);
    pending_ops_schedule_turn(&r->pending_ops);
}

static void take_away(struct document_write *w)
{
    txn_init(&w->txn, &w->op.pending_ops.arena);
    txn_if_there(&w->txn, w->at);
    txn_delete(&w->txn, w->at);
    w->record = registry_audit(&w->op, &w->txn, TXN_THEN, w->kind, "delete", &w->key);
    w->op.pending_ops.kv.done = on_removed;
    pending_op_sign_key(&w->op.pending_ops, w->at);
    kv_txn(w->op.registry->kv, &w->op.pending_ops.kv, &w->txn.message);
    pending_ops_schedule_turn(&w->op.registry->pending_ops);
}

static struct slice registry_write_take_text(struct document_write *w, struct buf *text)
{
    struct slice copy = registry_copy(&w->op.pending_ops.arena, buf_slice(text));
    buf_done(text);
    return copy;
}

static struct slice settings_text(struct document_write *w, const struct settings *s)
{
    struct buf text = {0};
    settings_write(s, &text);
    return registry_write_take_text(w, &text);
}

static struct slice override_text(struct document_write *w, const struct override *o)
{
    struct buf text = {0};
    override_write(o, &text);
    return registry_write_take_text(w, &text);
}

void registry_put_settings(struct registry *r, struct registry_request *q, const struct registry_key *key,
                           const struct settings *doc)
{
    struct document_write *w = registry_op_new(r, q, sizeof *w);
    char error[512];
    w->kind = "service";
    if (!registry_write_begin(&w->op, key, NAME_SERVICE, &w->key, &w->at))
        return;
    if (!doc) {
        take_away(w);
        return;
    }
    struct quota_key place = registry_quota_key(&w->key);
    int err = quota_claim_service(&r->quota, r->catalog, &place, &w->op.claim, error, sizeof error);
    if (err) {
        pending_op_refuse(&w->op.pending_ops, err, "%s", error);
        return;
    }
    const struct catalog_service *s = catalog_find(r->catalog, w->key.ns, w->key.group, w->key.service);
    struct settings present = *doc, changed = *doc;
    /* Older members would show the instances without it: before that level it is stored as they store it. */
    present.is_inherited = changed.is_inherited =
        doc->metadata.count &&
        (kv_feature_level(r->kv) >= FEATURE_LEVEL_CONTENTS || MUTANT(INHERITED_BEFORE_LEVEL));
    present.author = s ? s->settings.author : (struct author){0};
    present.time_ms = s ? s->settings.time_ms : 0;
    changed.author = w->op.author;
    changed.time_ms = registry_wall_ms(r);
    put(w, settings_text(w, &present), settings_text(w, &changed));
}

void registry_put_override(struct registry *r, struct registry_request *q, const struct registry_key *key,
                           const struct override *doc)
{
    struct document_write *w = registry_op_new(r, q, sizeof *w);
    char error[512];
    int err = OK;
    w->kind = "override";
    if (!registry_write_begin(&w->op, key, NAME_OVERRIDE, &w->key, &w->at))
        return;
    if (!doc) {
        take_away(w);
        return;
    }
    const struct catalog_instance *i = registry_find(r, &w->key);
    struct quota_key place = registry_quota_key(&w->key);
    if (!i || !i->override)
        err = quota_claim_override(&r->quota, r->catalog, &place, &w->op.claim, error, sizeof error);
    if (err) {
        pending_op_refuse(&w->op.pending_ops, err, "%s", error);
        return;
    }
    struct override present = *doc, changed = *doc;
    present.author = i && i->override ? i->override->author : (struct author){0};
    present.time_ms = i && i->override ? i->override->time_ms : 0;
    changed.author = w->op.author;
    changed.time_ms = registry_wall_ms(r);
    put(w, override_text(w, &present), override_text(w, &changed));
}
