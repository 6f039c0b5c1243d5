/* SPDX-License-Identifier: Apache-2.0
 * Schemas of configurations: put and delete; and what a write of a configuration has to do with them.
 *
 * A write takes the schema from the view and compares in its transaction that this schema is still the one that
 * decides: no schema of the namespace was put after the ones that the view has, and the one that was used was not
 * deleted. So a schema holds from its own revision on. Contents that were published before (rollback, promotion) are
 * not checked again. The content worker compiles schemas and checks contents. */
#include <stdio.h>

#include "base/mutant.h"
#include "config/config_write.h"
#include "config/schema/schema.h"
#include "consensus/write_limits.h"

/* --- for writes of configurations ----------------------------------------------------------------------- */

int write_find_schema(struct write *w, struct target *t)
{
    struct arena *a = &w->op.pending_ops.arena;
    const struct schemas *all = &w->op.config->schemas;
    const struct schema_entry *e = schemas_find(all, t->key.ns, t->key.group, t->key.name);
    if (t->is_published_content || MUTANT(SCHEMA_SKIPPED))
        return OK;
    t->policy->checks_schemas = true;
    t->policy->schemas_revision = schemas_revision(all, t->key.ns);
    if (e && e->is_unreadable)
        return write_refuse(w, t, ERR_CONFLICT,
                            "the schema %.*s of this configuration cannot be read: it must be repaired",
                            (int)e->pattern.size, (const char *)e->pattern.data);
    if (t->schema_revision == (e ? e->revision : 0))
        return OK;
    t->schema = (struct slice){0};
    t->schema_revision = 0;
    if (!e)
        return OK;
    t->schema = config_copy(a, e->schema);
    t->schema_revision = e->revision;
    t->schema_key = config_key(a, CONFIG_SCHEMA, &(struct config_id){t->key.ns, e->group, e->pattern}, 0);
    return OK;
}

unsigned write_compare_schemas(struct write *w)
{
    struct arena *a = &w->op.pending_ops.arena;
    unsigned count = 0;
    for (size_t i = 0; i < w->policy_count; i++) {
        const struct write_policy *p = &w->policies[i];
        struct slice from, to;
        if (!p->checks_schemas || MUTANT(SCHEMA_OVERTAKEN))
            continue;
        from = config_prefix(a, CONFIG_SCHEMA, &(struct config_id){.ns = p->ns});
        uint8_t *end = arena_copy(a, from.data, from.size);
        end[from.size - 1]++; /* '/' */
        to = slice_of(end, from.size);
        txn_if_older(&w->txn, from, to, p->schemas_revision);
        count++;
    }
    for (size_t i = 0; i < w->count && !MUTANT(SCHEMA_OVERTAKEN); i++) {
        const struct target *t = &w->targets[i];
        if (!t->schema_revision)
            continue;
        txn_if_revision(&w->txn, t->schema_key, t->schema_revision);
        count++;
    }
    return count;
}

static void on_schemas_seen(struct feed_waiter *waiter)
{
    write_step(container_of(waiter, struct write, op.pending_ops.waiter));
}

void write_resume(struct write *w, int64_t revision)
{
    bool does_wait = false;
    for (size_t i = 0; i < w->policy_count; i++)
        does_wait |= w->policies[i].checks_schemas;
    if (!does_wait) {
        write_step(w);
        return;
    }
    w->op.pending_ops.goes_on = false; /* nothing is under way: without a caller it ends */
    pending_op_view(&w->op.pending_ops, revision, on_schemas_seen);
}

struct slice config_schema_of(const struct config *c, const struct config_id *key)
{
    const struct schema_entry *e = schemas_find(&c->schemas, key->ns, key->group, key->name);
    return e ? e->schema : (struct slice){0};
}

/* --- put, delete ---------------------------------------------------------------------------------------- */

struct schema_check;

struct schema_write {
    struct config_op op; /* first */
    struct txn txn;
    struct config_id id; /* name: the pattern */
    struct slice key, record, schema;
    struct schema_check *check; /* under way; NULL = none */
};

struct schema_check {
    struct task task;           /* first */
    struct schema_write *write; /* NULL: it has ended */
    struct slice text;          /* owned */
    int err;
    struct format_error where;
};

static void on_schema_written(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct schema_write *w = container_of(kv, struct schema_write, op.pending_ops.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (err) {
        pending_op_end(&w->op.pending_ops, err);
        return;
    }
    w->op.result.revision = response->header->revision;
    if (!response->succeeded) {
        pending_op_refuse(&w->op.pending_ops, ERR_NOT_FOUND, "there is no schema %.*s", (int)w->id.name.size,
                          (const char *)w->id.name.data);
        return;
    }
    audit_written(w->op.config->options.audit, w->record);
    pending_op_written(&w->op.pending_ops, response->header->revision);
}

static int check_pattern(const struct config_id *id, char *error, size_t error_size)
{
    int err = name_check(id->ns, NAMESPACE_SIZE_MAX, "the namespace", error, error_size);
    if (!err)
        err = name_check(id->group, NAME_SIZE_MAX, "the group", error, error_size);
    if (!err)
        err = name_check(id->name, NAME_SIZE_MAX, "the schema's pattern", error, error_size);
    const uint8_t *star = err ? NULL : memchr(id->name.data, '*', id->name.size);
    if (!star || star == id->name.data + id->name.size - 1)
        return err;
    snprintf(error, error_size, "the schema's pattern is a name, or a beginning of names and * at the end");
    return ERR_INVALID;
}

static void free_schema_write(struct pending_op *op)
{
    struct schema_write *w = container_of(op, struct schema_write, op.pending_ops);
    if (!w->check)
        return;
    w->check->write = NULL;
    task_cancel(&w->check->task);
}

static struct schema_write *begin_schema(struct config *c, struct config_request *q,
                                         const struct config_id *id)
{
    struct schema_write *w = config_op_new(c, q, sizeof *w);
    char error[256];
    w->op.pending_ops.on_free = free_schema_write;
    int err = check_pattern(id, error, sizeof error);
    if (!err && !config_is_ready(c)) {
        pending_op_end(&w->op.pending_ops, ERR_NOT_READY);
        return NULL;
    }
    if (err) {
        pending_op_refuse(&w->op.pending_ops, err, "%s", error);
        return NULL;
    }
    w->id = config_copy_id(&w->op.pending_ops.arena, id);
    txn_init(&w->txn, &w->op.pending_ops.arena);
    w->key = config_key(&w->op.pending_ops.arena, CONFIG_SCHEMA, &w->id, 0);
    return w;
}

static void send_schema(struct schema_write *w, const char *operation)
{
    struct arena *a = &w->op.pending_ops.arena;
    struct audit_change change = {
        .kind = "config", .operation = operation, .ns = w->id.ns, .group = w->id.group, .name = w->id.name};
    const struct audit_record record = {
        .author = author_copy(a, &w->op.request->author), .changes = &change, .count = 1};
    w->record = audit_add(w->op.config->options.audit, &w->txn, TXN_THEN, &record);
    w->op.pending_ops.kv.extra_ops = AUDIT_OPS;
    w->op.pending_ops.kv.done = on_schema_written;
    w->op.pending_ops.goes_on = true;
    pending_op_sign_key(&w->op.pending_ops, w->key);
    kv_txn(w->op.config->kv, &w->op.pending_ops.kv, &w->txn.message);
    pending_ops_schedule_turn(&w->op.config->pending_ops);
}

/* The limits of the namespace; each member checks them for its own requests, as those of configurations. */
static int check_room(struct schema_write *w, size_t bytes, char *error, size_t error_size)
{
    struct config *c = w->op.config;
    const struct schemas_namespace *n = schemas_of(&c->schemas, w->id.ns);
    size_t count = n ? n->count : 0, used = n ? n->bytes : 0;
    for (size_t i = 0; n && i < n->count; i++)
        if (slice_equal(n->list[i]->pattern, w->id.name) && slice_equal(n->list[i]->group, w->id.group)) {
            count--;
            used -= n->list[i]->schema.size;
        }
    if (count >= SCHEMAS_MAX || used + w->schema.size > SCHEMAS_BYTES_MAX) {
        snprintf(error, error_size,
                 "the namespace has %zu other schemas of %zu bytes; it may have %d of %u bytes: delete some",
                 count, used, SCHEMAS_MAX, SCHEMAS_BYTES_MAX);
        return ERR_QUOTA;
    }
    int err = config_check_level(c, "schemas", error, error_size);
    if (!err)
        err = namespace_view_admit(c->options.namespaces, w->id.ns, error, error_size);
    return err ? err
               : write_limits_admit(c->options.limits, WRITE_CONTENT, w->id.ns, bytes, error, error_size);
}

static void put_schema(struct schema_write *w)
{
    struct arena *a = &w->op.pending_ops.arena;
    struct buf text = {0};
    char error[300];
    schema_document_write(&(struct schema_document){.schema = w->schema,
                                                    .author = author_copy(a, &w->op.request->author),
                                                    .time_ms = config_wall_ms(w->op.config)},
                          &text);
    int err = check_room(w, text.size, error, sizeof error);
    if (!err)
        txn_put(&w->txn, w->key, config_copy(a, buf_slice(&text)), 0);
    buf_done(&text);
    if (err)
        pending_op_refuse(&w->op.pending_ops, err, "%s", error);
    else
        send_schema(w, "schema");
}

static void run_compile(struct task *t)
{
    struct schema_check *k = container_of(t, struct schema_check, task);
    struct schema *s;
    k->err = schema_compile(k->text, &s, &k->where);
    schema_free(s);
}

static void on_compiled(struct task *t)
{
    struct schema_check *k = container_of(t, struct schema_check, task);
    struct schema_write *w = k->write;
    w->check = NULL;
    k->write = NULL;
    if (!k->err) {
        put_schema(w);
        return;
    }
    w->op.result.where = k->where;
    pending_op_refuse(&w->op.pending_ops, k->err, "%s", k->where.text);
}

static void release_compile(struct task *t)
{
    struct schema_check *k = container_of(t, struct schema_check, task);
    mem_free(k->text.data);
    mem_free(k);
}

void config_put_schema(struct config *c, struct config_request *q, const struct config_id *id,
                       struct slice text)
{
    struct schema_write *w = begin_schema(c, q, id);
    if (!w)
        return;
    if (text.size > SCHEMA_SIZE_MAX) {
        pending_op_refuse(&w->op.pending_ops, ERR_REQUEST_TOO_LARGE,
                          "the schema has %zu bytes; at most %u are allowed", text.size, SCHEMA_SIZE_MAX);
        return;
    }
    w->schema = config_copy(&w->op.pending_ops.arena, text);
    struct schema_check *k = mem_new(sizeof *k);
    k->write = w;
    k->text = slice_of(mem_copy(text.data, text.size), text.size);
    k->task = (struct task){
        .bytes = text.size, .run = run_compile, .done = on_compiled, .release = release_compile};
    int err = task_add(c->tasks, &k->task, config_client(&w->op.pending_ops.arena, q));
    if (!err) {
        w->check = k;
        return;
    }
    release_compile(&k->task);
    pending_op_refuse(&w->op.pending_ops, err,
                      "too many contents wait to be checked on this member: try again later");
}

void config_delete_schema(struct config *c, struct config_request *q, const struct config_id *id)
{
    struct schema_write *w = begin_schema(c, q, id);
    if (!w)
        return;
    txn_if_there(&w->txn, w->key);
    txn_delete(&w->txn, w->key);
    send_schema(w, "delete_schema");
}
