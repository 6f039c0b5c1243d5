/* SPDX-License-Identifier: Apache-2.0
 * Seals what is stored already: releases and drafts that a policy has covered since they were written, and
 * those that are sealed with another key than the first (after a rotation).
 *
 *   1. item    The next item of the view, in the order of group and name; deleted ones have a history, too.
 *   2. read    A batch of its documents from the store: the draft, then its releases, oldest first.
 *   3. seal    The content worker opens and seals them.
 *   4. write   One transaction puts the batch. It compares the revision of each document, and changes the head
 *              if the live release is among them, because the digest in the head is keyed.
 *
 * A release keeps its content, its seq and everything that its author wrote; only the stored bytes and the keyed
 * digest become others. Nothing depends on an earlier batch, so after a crash the same request continues. */
#include <stdio.h>

#include "base/mutant.h"
#include "base/turn.h"
#include "config/config_private.h"
#include "config/content.h"
#include "config/sealed.h"
#include "consensus/audit.h"
#include "consensus/write_limits.h"

enum {
    BATCH_COUNT = 32,         /* documents */
    BATCH_BYTES = 256 * 1024, /* after which no more is added */
    RESEAL_KEYS = 64,         /* of releases in one range read */
    RESEAL_PLACES = 1000,     /* items of the view between two looks at the clock */
    RESEAL_ATTEMPTS = 8,      /* of a batch that concurrent writes change */
    RESEAL_RUN_MS = 1000,     /* of a request: then the caller continues by another one */
};

struct stored {   /* a document of the batch */
    uint64_t seq; /* 0 = the draft */
    int64_t revision;
    struct slice text;
    uint8_t nonce[SEAL_NONCE_SIZE];
    /* Set by the worker. */
    bool is_changed;
    int err;
    char error[200];
    struct digest digest;
    struct buf sealed_text;
};

struct batch {
    struct arena arena;
    const struct seal_keys *keys;
    bool seals_clear; /* the policy covers the item */
    struct config_id id;
    size_t count, bytes;
    struct stored list[BATCH_COUNT];
};

struct reseal_task {
    struct task task; /* first */
    struct reseal *reseal;
    struct batch *batch; /* owned; NULL: taken */
};

struct reseal {
    struct config_op op; /* first */
    struct config_reseal *request;
    struct buf after; /* "group/name" of the last item that is done */
    struct buf texts; /* names of the current item */
    struct config_id id;
    bool has_item, has_draft; /* has_draft: the draft was read */
    uint64_t from;            /* the next release to read */
    uint64_t end_ms;
    unsigned attempts;
    struct txn txn;
    struct arena arena;       /* of the transaction */
    struct reseal_task *task; /* under way; NULL = none */
    struct batch *batch;      /* that is being written; NULL = none */
    struct slice record;
};

/* --- the worker ----------------------------------------------------------------------------------------- */

static int seal_stored(const struct batch *k, struct stored *s, struct slice content, bool has_digest,
                       struct buf *ret_encoded)
{
    const struct seal_key *key = seal_keys_first(k->keys);
    struct buf names = {0}, sealed = {0};
    uint8_t digest[SEAL_DIGEST_SIZE];
    struct json_writer w = {.out = ret_encoded};
    seal_add_names(&names, k->id.ns, k->id.group, k->id.name);
    int err = seal_add(key, s->nonce, buf_slice(&names), content, &sealed);
    if (!err)
        document_add_bytes(&w, "content", buf_slice(&sealed));
    if (!err && has_digest) {
        seal_digest(key, buf_slice(&names), content, digest);
        s->digest = digest_keyed(digest);
    }
    buf_done(&names);
    buf_done(&sealed);
    return err;
}

/* True: it is stored in another way than it should be. */
static bool needs_seal(const struct batch *k, struct slice sealed)
{
    return sealed.size ? !slice_equal(sealed, slice_text(seal_keys_first(k->keys)->id)) : k->seals_clear;
}

static int open_stored(const struct batch *k, struct stored *s, struct slice sealed, struct slice envelope,
                       struct arena *a, struct slice *content)
{
    if (!sealed.size)
        return OK;
    return sealed_open(k->keys, &k->id, sealed, envelope, a, content, s->error, sizeof s->error);
}

static int reseal_release(const struct batch *k, struct stored *s, struct arena *a)
{
    struct config_release r;
    struct buf encoded = {0};
    int err = config_release_read(s->text, a, &r, s->error, sizeof s->error);
    if (err || r.operation == CONFIG_DELETE || !needs_seal(k, r.sealed))
        return OK; /* unreadable: left alone */
    err = open_stored(k, s, r.sealed, r.envelope, a, &r.content);
    if (!err)
        err = seal_stored(k, s, r.content, true, &encoded);
    if (!err) {
        r.sealed = slice_text(seal_keys_first(k->keys)->id);
        r.digest = s->digest;
        r.encoded = buf_slice(&encoded);
        config_release_write(&r, &s->sealed_text);
        s->is_changed = true;
    }
    buf_done(&encoded);
    return err;
}

static int reseal_draft(const struct batch *k, struct stored *s, struct arena *a)
{
    struct config_draft d;
    struct buf encoded = {0};
    int err = config_draft_read(s->text, a, &d, s->error, sizeof s->error);
    if (err || d.is_deletion || !needs_seal(k, d.sealed))
        return OK;
    err = open_stored(k, s, d.sealed, d.envelope, a, &d.content);
    if (!err)
        err = seal_stored(k, s, d.content, false, &encoded);
    if (!err) {
        d.sealed = slice_text(seal_keys_first(k->keys)->id);
        d.encoded = buf_slice(&encoded);
        config_draft_write(&d, &s->sealed_text);
        s->is_changed = true;
    }
    buf_done(&encoded);
    return err;
}

static void run_reseal(struct task *t)
{
    struct batch *k = container_of(t, struct reseal_task, task)->batch;
    for (size_t i = 0; i < k->count; i++) {
        struct arena a = {0};
        struct stored *s = &k->list[i];
        s->err = s->seq ? reseal_release(k, s, &a) : reseal_draft(k, s, &a);
        arena_done(&a);
    }
}

static void free_batch(struct batch *k)
{
    for (size_t i = 0; k && i < k->count; i++)
        buf_done(&k->list[i].sealed_text);
    if (k)
        arena_done(&k->arena);
    mem_free(k);
}

static void release_reseal(struct task *t)
{
    struct reseal_task *k = container_of(t, struct reseal_task, task);
    free_batch(k->batch);
    mem_free(k);
}

/* --- the transaction ------------------------------------------------------------------------------------ */

static void reseal_go_on(struct pending_op *pending_ops);

/* Continues in the next turn. */
static void reseal_later(struct reseal *r)
{
    r->op.pending_ops.goes_on = false;
    pending_op_limit(&r->op.pending_ops, 0, reseal_go_on);
}

static void reseal_end(struct reseal *r, int err, bool has_more)
{
    struct config_reseal *q = r->request;
    if (r->op.pending_ops.handle) { /* else the caller is gone */
        q->last = buf_slice(&r->after);
        r->op.result.has_more = has_more;
        r->op.result.revision = kv_revision(r->op.config->kv);
    }
    pending_op_end(&r->op.pending_ops, err);
}

static void drop_batch(struct reseal *r)
{
    free_batch(r->batch);
    r->batch = NULL;
}

/* The batch is done with: the next one begins after it. */
static void pass_batch(struct reseal *r)
{
    const struct batch *k = r->batch;
    r->attempts = 0;
    for (size_t i = 0; i < k->count; i++) {
        r->has_draft |= k->list[i].seq == 0;
        r->from = k->list[i].seq ? k->list[i].seq + 1 : r->from;
    }
    drop_batch(r);
}

/* Adds the change of the head if s is the live release. */
static int add_head(struct reseal *r, const struct stored *s)
{
    struct config_head head;
    const Mvccpb__KeyValue *pair;
    struct buf text = {0};
    char error[256];
    const struct slice key = config_key(&r->arena, CONFIG_HEAD, &r->id, 0);
    int err = config_lookup(r->op.config, key, &r->arena, &pair);
    if (err || !pair || config_head_read(pair_value(pair), &r->arena, &head, error, sizeof error) != OK ||
        head.is_deleted || head.seq != s->seq)
        return err;
    head.digest = s->digest;
    head.sealed = slice_text(seal_keys_first(r->op.config->options.keys)->id);
    config_head_write(&head, &text);
    txn_if_revision(&r->txn, key, pair->mod_revision);
    txn_put(&r->txn, key, config_copy(&r->arena, buf_slice(&text)), 0);
    buf_done(&text);
    return OK;
}

static void sign_reseal(struct reseal *r, bool has_releases, bool has_draft)
{
    struct auth_need needs[2];
    size_t count = 0;
    if (has_releases)
        needs[count++] =
            (struct auth_need){.key = config_key(&r->arena, CONFIG_HEAD, &r->id, 0), .is_write = true};
    if (has_draft)
        needs[count++] =
            (struct auth_need){.key = config_key(&r->arena, CONFIG_DRAFT, &r->id, 0), .is_write = true};
    pending_op_sign(&r->op.pending_ops, needs, count);
}

static void count_failure(struct config_reseal *q, const struct reseal *r, const struct stored *s)
{
    metric_add(METRIC_CONFIG_OPEN_FAILURES, 1);
    if (!q->failed++)
        snprintf(q->error, sizeof q->error, "%.*s/%.*s, release %llu: %.150s", (int)r->id.group.size,
                 (const char *)r->id.group.data, (int)r->id.name.size, (const char *)r->id.name.data,
                 (unsigned long long)s->seq, *s->error ? s->error : err_text(s->err));
}

static void on_resealed(struct kv_request *kv, int err, const ProtobufCMessage *message);

static void send_reseal(struct reseal *r)
{
    struct config *c = r->op.config;
    struct audit_change change = {
        .kind = "config", .operation = "seal", .ns = r->id.ns, .group = r->id.group, .name = r->id.name};
    const struct audit_record record = {.author = r->op.request->author, .changes = &change, .count = 1};
    r->record = audit_add(c->options.audit, &r->txn, TXN_THEN, &record);
    r->op.pending_ops.kv.extra_ops = AUDIT_OPS;
    r->op.pending_ops.kv.done = on_resealed;
    r->op.pending_ops.goes_on = true;
    kv_txn(c->kv, &r->op.pending_ops.kv, &r->txn.message);
    pending_ops_schedule_turn(&c->pending_ops);
}

/* Builds and sends the transaction of the batch; nothing to do: the next batch follows. */
static void write_batch(struct reseal *r)
{
    struct config *c = r->op.config;
    struct batch *k = r->batch;
    bool has_releases = false, has_draft = false;
    size_t bytes = 0;
    char error[512] = "";
    int err = OK;
    arena_reset(&r->arena);
    txn_init(&r->txn, &r->arena);
    for (size_t i = 0; !err && i < k->count; i++) {
        struct stored *s = &k->list[i];
        if (s->err && r->op.pending_ops.handle)
            count_failure(r->request, r, s);
        if (!s->is_changed)
            continue;
        struct slice key = config_key(&r->arena, s->seq ? CONFIG_RELEASE : CONFIG_DRAFT, &r->id, s->seq);
        if (!MUTANT(RESEAL_UNFENCED))
            txn_if_revision(&r->txn, key, s->revision);
        txn_put(&r->txn, key, buf_slice(&s->sealed_text), 0);
        if (s->seq)
            err = add_head(r, s);
        bytes += s->sealed_text.size;
        has_releases |= s->seq > 0;
        has_draft |= s->seq == 0;
    }
    if (!err && bytes)
        err = write_limits_admit(c->options.limits, WRITE_CONTENT, r->id.ns, bytes, error, sizeof error);
    if (err) {
        pending_op_refuse(&r->op.pending_ops, err, "%s", *error ? error : err_text(err));
        return;
    }
    if (!bytes) {
        pass_batch(r);
        reseal_later(r);
        return;
    }
    sign_reseal(r, has_releases, has_draft);
    send_reseal(r);
}

static void count_sealed(struct reseal *r)
{
    for (size_t i = 0; i < r->batch->count; i++) {
        metric_add(METRIC_CONFIG_SEALS, r->batch->list[i].is_changed);
        if (r->op.pending_ops.handle)
            r->request->sealed += r->batch->list[i].is_changed;
    }
}

static void on_resealed(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct reseal *r = container_of(kv, struct reseal, op.pending_ops.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (!err && response->succeeded) {
        audit_written(r->op.config->options.audit, r->record);
        count_sealed(r);
        pass_batch(r);
    } else if (!err && ++r->attempts == RESEAL_ATTEMPTS) {
        err = ERR_CONFLICT;
    }
    drop_batch(r); /* after a failed compare it is read again */
    if (err || !r->op.pending_ops.handle)
        reseal_end(r, err, true);
    else
        reseal_later(r);
}

/* --- the batch ------------------------------------------------------------------------------------------ */

static void on_reseal_run(struct task *t)
{
    struct reseal_task *k = container_of(t, struct reseal_task, task);
    struct reseal *r = k->reseal;
    r->batch = k->batch;
    k->batch = NULL;
    r->task = NULL;
    write_batch(r);
}

/* A document that does not fit into the batch is left for the next one. */
static int add_stored(struct reseal *r, struct batch *k, enum config_key kind, uint64_t seq,
                      bool *ret_is_full)
{
    struct arena a = {0};
    const Mvccpb__KeyValue *pair;
    struct io *io = r->op.config->pending_ops.io;
    int err = config_lookup(r->op.config, config_key(&a, kind, &r->id, seq), &a, &pair);
    *ret_is_full = !err && pair && k->count && k->bytes + pair->value.len > BATCH_BYTES;
    if (!err && pair && !*ret_is_full) {
        struct stored *s = &k->list[k->count++];
        uint64_t random[2] = {io->ops->random(io), io->ops->random(io)};
        *s = (struct stored){.seq = seq, .revision = pair->mod_revision};
        memcpy(s->nonce, random, sizeof s->nonce);
        s->text = config_copy(&k->arena, pair_value(pair));
        k->bytes += s->text.size;
    }
    arena_done(&a);
    return err;
}

/* The seqs of the item's next releases. */
static int find_releases(struct reseal *r, uint64_t *list, size_t *ret_count)
{
    struct arena a = {0};
    struct buf scratch = {0};
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct slice first = config_key(&a, CONFIG_RELEASE, &r->id, r->from),
                 end = config_key(&a, CONFIG_RELEASE, &r->id, CONFIG_SEQ_MAX);
    m.key.len = first.size;
    memcpy(&m.key.data, &first.data, sizeof first.data);
    m.range_end.len = end.size;
    memcpy(&m.range_end.data, &end.data, sizeof end.data);
    m.keys_only = true;
    m.limit = RESEAL_KEYS;
    int err = kv_range_page(r->op.config->kv, &m, &a, &response);
    *ret_count = 0;
    for (size_t i = 0; !err && i < response->n_kvs && *ret_count < RESEAL_KEYS; i++) {
        struct config_name name;
        if (config_name_parse(slice_of(response->kvs[i]->key.data, response->kvs[i]->key.len), &scratch,
                              &name) == OK)
            list[(*ret_count)++] = name.seq;
    }
    buf_done(&scratch);
    arena_done(&a);
    return err;
}

static bool policy_covers(const struct reseal *r)
{
    const struct policy_entry *e = policies_find(&r->op.config->policies, r->id.ns);
    struct workflow_policy policy;
    struct arena a = {0};
    bool covers = e && workflow_policy_read(slice_of(e->text, e->size), &a, &policy) == OK &&
                  workflow_policy_seals(&policy, r->id.group, r->id.name);
    arena_done(&a);
    return covers;
}

/* Reads the next batch of the item; *ret is NULL: the item is done. */
static int read_batch(struct reseal *r, struct batch **ret)
{
    uint64_t seqs[RESEAL_KEYS];
    size_t count = 0, most = r->op.config->options.txn_ops_max / 2; /* one put each, and the head */
    bool is_full = false;
    struct batch *k = mem_new(sizeof *k);
    most = most < BATCH_COUNT ? most : BATCH_COUNT;
    int err = r->has_draft ? OK : add_stored(r, k, CONFIG_DRAFT, 0, &is_full);
    if (!err)
        err = find_releases(r, seqs, &count);
    for (size_t i = 0; !err && !is_full && i < count && k->count < most; i++)
        err = add_stored(r, k, CONFIG_RELEASE, seqs[i], &is_full);
    *ret = k->count && !err ? k : NULL;
    if (!*ret)
        free_batch(k);
    return err;
}

static void start_batch(struct reseal *r, struct batch *batch)
{
    struct reseal_task *k = mem_new(sizeof *k);
    batch->keys = r->op.config->options.keys;
    batch->seals_clear = policy_covers(r);
    batch->id = config_copy_id(&batch->arena, &r->id);
    k->reseal = r;
    k->batch = batch;
    k->task.bytes = batch->bytes;
    k->task.run = run_reseal;
    k->task.done = on_reseal_run;
    k->task.release = release_reseal;
    int err = config_task_add(r->op.config, &k->task, r->op.request);
    if (err) {
        release_reseal(&k->task);
        pending_op_refuse(&r->op.pending_ops, err,
                          "too many contents wait for the content worker of this member: try again later");
        return;
    }
    r->task = k;
}

/* --- items ---------------------------------------------------------------------------------------------- */

static bool take_item(void *arg, const struct config_item *item)
{
    struct reseal *r = arg;
    buf_clear(&r->texts);
    buf_add_slice(&r->texts, item->ns);
    buf_add_slice(&r->texts, item->group);
    buf_add_slice(&r->texts, item->name);
    r->id.ns = slice_of(r->texts.data, item->ns.size);
    r->id.group = slice_of(r->texts.data + item->ns.size, item->group.size);
    r->id.name = slice_of(r->texts.data + item->ns.size + item->group.size, item->name.size);
    r->has_item = true;
    r->has_draft = false;
    r->from = 1;
    r->attempts = 0;
    return false;
}

static void set_after(struct reseal *r, struct slice group, struct slice name)
{
    buf_clear(&r->after);
    buf_add_slice(&r->after, group);
    buf_add_byte(&r->after, '/');
    buf_add_slice(&r->after, name);
}

/* Looks at some items; false: there are no more. */
static bool find_item(struct reseal *r)
{
    const struct config_reseal *q = r->request;
    const struct config_item *last;
    if (!heads_each_some(r->op.config->heads, q->ns, q->group, q->prefix, buf_slice(&r->after), RESEAL_PLACES,
                         take_item, r, &last))
        return false;
    set_after(r, last->group, last->name);
    return true;
}

static void end_item(struct reseal *r)
{
    set_after(r, r->id.group, r->id.name);
    r->has_item = false;
    r->request->examined++;
}

static void reseal_go_on(struct pending_op *pending_ops)
{
    struct reseal *r = container_of(pending_ops, struct reseal, op.pending_ops);
    struct config *c = r->op.config;
    struct config_reseal *q = r->request;
    struct batch *k = NULL;
    int err = OK;
    turn_enter(TURN_CONFIG_RESEAL);
    while (!err && !k && !config_slice_is_over(c)) {
        if (!r->has_item && (q->examined >= q->limit || pending_ops_now_ms(&c->pending_ops) >= r->end_ms)) {
            reseal_end(r, OK, true);
            return;
        }
        bool has_more = !r->has_item && find_item(r);
        if (!r->has_item && !has_more) {
            reseal_end(r, OK, false);
            return;
        }
        if (r->has_item)
            err = read_batch(r, &k);
        if (r->has_item && !err && !k)
            end_item(r);
    }
    if (err)
        reseal_end(r, err, true);
    else if (k)
        start_batch(r, k);
    else
        reseal_later(r);
}

static void on_reseal_view(struct feed_waiter *w)
{
    struct reseal *r = container_of(w, struct reseal, op.pending_ops.waiter);
    r->end_ms = pending_ops_now_ms(&r->op.config->pending_ops) + RESEAL_RUN_MS;
    reseal_later(r);
}

static void on_reseal_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct reseal *r = container_of(kv, struct reseal, op.pending_ops.kv);
    (void)response;
    if (err)
        pending_op_end(&r->op.pending_ops, err);
    else
        pending_op_view(&r->op.pending_ops, kv_revision(r->op.config->kv), on_reseal_view);
}

static void free_reseal(struct pending_op *op)
{
    struct reseal *r = container_of(op, struct reseal, op.pending_ops);
    struct reseal_task *k = r->task;
    if (k)
        task_cancel(&k->task);
    drop_batch(r);
    buf_done(&r->after);
    buf_done(&r->texts);
    arena_done(&r->arena);
}

void config_reseal(struct config *c, struct config_reseal *q)
{
    struct reseal *r = config_op_new(c, &q->request, sizeof *r);
    r->op.pending_ops.on_free = free_reseal;
    r->request = q;
    q->examined = q->sealed = q->failed = 0;
    *q->error = 0;
    if (!seal_keys_first(c->options.keys)) {
        pending_op_refuse(&r->op.pending_ops, ERR_KEY_MISSING,
                          "this member has no key to seal contents with: see --encryption-key-file");
        return;
    }
    buf_add_slice(&r->after, q->after);
    config_op_barrier(&r->op, on_reseal_barrier);
}
