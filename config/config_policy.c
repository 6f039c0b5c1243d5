/* SPDX-License-Identifier: Apache-2.0
 * Policies of reviews and sealing: put and delete; and the reads of all documents of the workflow, one and many. */
#include "base/mutant.h"
#include "config/config_private.h"
#include "config/seal/keys.h"
#include "consensus/audit.h"

enum { ATTEMPTS_MAX = 8 };    /* of a put that keeps what is stored */
enum { DOCUMENTS_MAX = 100 }; /* of a page: 3 ms at most to read them */
#define PAGE_BYTES_MAX (256u << 10)

/* --- put, delete ---------------------------------------------------------------------------------------- */

struct policy_write {
    struct config_op op; /* first */
    struct txn txn;
    struct slice ns, key, record;
    struct workflow_policy policy; /* to put */
    bool keeps;                    /* the stored patterns of what is sealed stay */
    unsigned attempts;
};

static void keep_again(struct policy_write *w, const Etcdserverpb__TxnResponse *response);

static void on_policy_written(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct policy_write *w = container_of(kv, struct policy_write, op.pending_ops.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (err) {
        pending_op_end(&w->op.pending_ops, err);
        return;
    }
    w->op.result.revision = response->header->revision;
    if (!response->succeeded && w->keeps) {
        keep_again(w, response);
        return;
    }
    if (!response->succeeded) {
        pending_op_refuse(&w->op.pending_ops, ERR_NOT_FOUND, "the namespace has no policy");
        return;
    }
    audit_written(w->op.config->options.audit, w->record);
    pending_op_written(&w->op.pending_ops, response->header->revision);
}

static struct policy_write *begin_policy(struct config *c, struct config_request *q, struct slice ns)
{
    struct policy_write *w = config_op_new(c, q, sizeof *w);
    char error[256];
    int err = name_check(ns, NAMESPACE_SIZE_MAX, "the namespace", error, sizeof error);
    if (err) {
        pending_op_refuse(&w->op.pending_ops, err, "%s", error);
        return NULL;
    }
    txn_init(&w->txn, &w->op.pending_ops.arena);
    w->ns = config_copy(&w->op.pending_ops.arena, ns);
    w->key = config_key(&w->op.pending_ops.arena, CONFIG_POLICY, &(struct config_id){.ns = ns}, 0);
    return w;
}

static void send_policy(struct policy_write *w, const char *operation)
{
    struct arena *a = &w->op.pending_ops.arena;
    struct audit_change change = {.kind = "config", .operation = operation, .ns = w->ns};
    const struct audit_record record = {
        .author = author_copy(a, &w->op.request->author), .changes = &change, .count = 1};
    w->record = audit_add(w->op.config->options.audit, &w->txn, TXN_THEN, &record);
    w->op.pending_ops.kv.extra_ops = AUDIT_OPS;
    w->op.pending_ops.kv.done = on_policy_written;
    w->op.pending_ops.goes_on = true;
    pending_op_sign_key(&w->op.pending_ops, w->key);
    kv_txn(w->op.config->kv, &w->op.pending_ops.kv, &w->txn.message);
    pending_ops_schedule_turn(&w->op.config->pending_ops);
}

static void put_policy(struct policy_write *w)
{
    struct arena *a = &w->op.pending_ops.arena;
    struct buf text = {0};
    w->policy.author = author_copy(a, &w->op.request->author);
    w->policy.time_ms = config_wall_ms(w->op.config);
    workflow_policy_write(&w->policy, &text);
    txn_put(&w->txn, w->key, config_copy(a, buf_slice(&text)), 0);
    buf_done(&text);
    send_policy(w, "policy");
}

/* A request that does not name what is sealed, as older clients send it, keeps what is stored: it must not end
 * the encryption by accident. The transaction compares the document that the patterns are from. */
static void keep_sealed(struct policy_write *w, int64_t revision, struct slice text)
{
    struct workflow_policy stored = {0};
    txn_init(&w->txn, &w->op.pending_ops.arena);
    w->policy.sealed_count = 0;
    if (revision && workflow_policy_read(text, &w->op.pending_ops.arena, &stored) == OK &&
        !MUTANT(SEAL_POLICY_DROPPED)) {
        w->policy.sealed = stored.sealed;
        w->policy.sealed_count = stored.sealed_count;
    }
    txn_if_revision(&w->txn, w->key, revision);
    txn_range(&w->txn, TXN_ELSE, w->key, false);
    put_policy(w);
}

/* Another one was put meanwhile: begins again from it. */
static void keep_again(struct policy_write *w, const Etcdserverpb__TxnResponse *response)
{
    const Etcdserverpb__RangeResponse *r = response->responses[0]->response_range;
    const Mvccpb__KeyValue *pair = r->n_kvs ? r->kvs[0] : NULL;
    if (++w->attempts == ATTEMPTS_MAX)
        pending_op_end(&w->op.pending_ops, ERR_CONFLICT);
    else
        keep_sealed(w, pair ? pair->mod_revision : 0, pair ? pair_value(pair) : (struct slice){0});
}

static struct slice *copy_patterns(struct arena *a, const struct slice *list, size_t count)
{
    struct slice *copy = arena_alloc(a, (count + 1) * sizeof *copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = config_copy(a, list[i]);
    return copy;
}

void config_put_policy(struct config *c, struct config_request *q, struct slice ns,
                       const struct workflow_policy *policy)
{
    struct policy_write *w = begin_policy(c, q, ns);
    char error[512];
    if (!w)
        return;
    int err = namespace_view_admit(c->options.namespaces, ns, error, sizeof error);
    if (!err && policy->sealed_count)
        err = config_check_level(c, "policies that encrypt", error, sizeof error);
    if (err) {
        pending_op_refuse(&w->op.pending_ops, err, "%s", error);
        return;
    }
    struct arena *a = &w->op.pending_ops.arena;
    if (policy->sealed_count && !seal_keys_first(c->options.keys)) {
        pending_op_refuse(&w->op.pending_ops, ERR_INVALID,
                          "encrypt has patterns, and this member has no key to seal contents with: see "
                          "--encryption-key-file");
        return;
    }
    w->policy = (struct workflow_policy){.patterns = copy_patterns(a, policy->patterns, policy->count),
                                         .count = policy->count,
                                         .sealed = copy_patterns(a, policy->sealed, policy->sealed_count),
                                         .sealed_count = policy->sealed_count};
    w->keeps = !policy->has_sealed;
    if (!w->keeps) {
        put_policy(w);
        return;
    }
    const Mvccpb__KeyValue *pair;
    err = config_lookup(c, w->key, a, &pair);
    if (err)
        pending_op_end(&w->op.pending_ops, err);
    else
        keep_sealed(w, pair ? pair->mod_revision : 0, pair ? pair_value(pair) : (struct slice){0});
}

void config_delete_policy(struct config *c, struct config_request *q, struct slice ns)
{
    struct policy_write *w = begin_policy(c, q, ns);
    if (!w)
        return;
    txn_if_there(&w->txn, w->key);
    txn_delete(&w->txn, w->key);
    send_policy(w, "delete_policy");
}

/* --- reads ---------------------------------------------------------------------------------------------- */

struct workflow_read {
    struct config_op op; /* first */
    enum config_key kind;
    struct slice key, draft_key; /* draft_key empty: the kind has no draft */
};

static const char *const kind_texts[CONFIG_KEYS] = {
    [CONFIG_POLICY] = "the namespace has no policy",        [CONFIG_REVIEW] = "the draft was not submitted",
    [CONFIG_SCHEDULE] = "no publish is scheduled",          [CONFIG_ROLLOUT] = "there is no rollout",
    [CONFIG_SCHEMA] = "there is no schema of this pattern",
};

static void on_read_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct workflow_read *r = container_of(kv, struct workflow_read, op.pending_ops.kv);
    struct config *c = r->op.config;
    struct arena *a = &r->op.pending_ops.arena;
    const Mvccpb__KeyValue *pair = NULL;
    (void)response;
    if (!err)
        err = config_lookup(c, r->key, a, &pair);
    if (!err && r->draft_key.size)
        err = config_lookup_revision(c, r->draft_key, a, &r->op.result.draft_revision);
    r->op.result.revision = kv_revision(c->kv);
    if (err) {
        pending_op_end(&r->op.pending_ops, err);
    } else if (!pair) {
        pending_op_refuse(&r->op.pending_ops, ERR_NOT_FOUND, "%s", kind_texts[r->kind]);
    } else {
        r->op.result.document = config_copy(a, pair_value(pair));
        r->op.result.document_revision = pair->mod_revision;
        pending_op_end(&r->op.pending_ops, OK);
    }
}

void config_read_workflow(struct config *c, struct config_request *q, enum config_key kind,
                          const struct config_id *key)
{
    struct workflow_read *r = config_op_new(c, q, sizeof *r);
    r->kind = kind;
    r->key = config_key(&r->op.pending_ops.arena, kind, key, 0);
    if (kind == CONFIG_REVIEW || kind == CONFIG_SCHEDULE)
        r->draft_key = config_key(&r->op.pending_ops.arena, CONFIG_DRAFT, key, 0);
    config_op_barrier(&r->op, on_read_barrier);
}

/* --- many ----------------------------------------------------------------------------------------------- */

struct workflow_walk {
    struct config_op op; /* first */
    struct config_workflow_list *list;
    struct buf from, to;
};

static ProtobufCBinaryData bytes_of(const struct buf *b)
{
    return (ProtobufCBinaryData){b->size, b->data};
}

/* Reports the documents of the page. The caller may cancel from inside the callback: then it stops. */
static void report(struct workflow_walk *k, const Etcdserverpb__RangeResponse *response, size_t most)
{
    struct config_workflow_list *l = k->list;
    struct buf scratch = {0};
    struct config_name name;
    size_t bytes = 0, i = 0;
    for (; i < response->n_kvs && i < most && bytes < PAGE_BYTES_MAX && k->op.pending_ops.handle; i++) {
        const Mvccpb__KeyValue *pair = response->kvs[i];
        bytes += pair->value.len;
        if (config_name_parse(slice_of(pair->key.data, pair->key.len), &scratch, &name) == OK)
            l->document(l, &(struct config_id){name.ns, name.group, name.name}, pair_value(pair),
                        pair->mod_revision);
    }
    k->op.result.has_more = i < response->n_kvs;
    buf_done(&scratch);
}

static void on_walk_barrier(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct workflow_walk *k = container_of(kv, struct workflow_walk, op.pending_ops.kv);
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct arena a = {0};
    size_t most = k->list->limit < DOCUMENTS_MAX ? k->list->limit : DOCUMENTS_MAX;
    (void)message;
    m.key = bytes_of(&k->from);
    m.range_end = bytes_of(&k->to);
    m.limit = (int64_t)most + 1;
    if (!err)
        err = kv_range_page(k->op.config->kv, &m, &a, &response);
    k->op.result.revision = kv_revision(k->op.config->kv);
    k->op.pending_ops.goes_on = true; /* also if the caller cancels from inside */
    if (!err)
        report(k, response, most);
    arena_done(&a);
    pending_op_end(&k->op.pending_ops, err);
}

static void free_walk(struct pending_op *op)
{
    struct workflow_walk *k = container_of(op, struct workflow_walk, op.pending_ops);
    buf_done(&k->from);
    buf_done(&k->to);
}

void config_list_workflow(struct config *c, struct config_workflow_list *l)
{
    struct workflow_walk *k = config_op_new(c, &l->request, sizeof *k);
    const struct slice none = {0};
    k->op.pending_ops.on_free = free_walk;
    k->list = l;
    config_name_add_prefix(&k->to, l->kind, l->ns, l->group, none);
    k->to.data[k->to.size - 1]++; /* '/' */
    if (l->after.size) {
        const uint8_t *slash = memchr(l->after.data, '/', l->after.size);
        size_t size = slash ? (size_t)(slash - l->after.data) : 0;
        const struct slice name = slash ? slice_of(slash + 1, l->after.size - size - 1) : none;
        config_name_add_prefix(&k->from, l->kind, l->ns, slice_of(l->after.data, size), name);
        buf_add_byte(&k->from, 0);
    } else {
        config_name_add_prefix(&k->from, l->kind, l->ns, l->group, none);
    }
    config_op_barrier(&k->op, on_walk_barrier);
}
