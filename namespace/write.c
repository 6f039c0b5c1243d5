/* SPDX-License-Identifier: Apache-2.0
 * Writes of a namespace: put and delete. Their steps:
 *
 *   1. wait     for the view to show all that was committed: the decision is on current state
 *   2. count    (delete) the keys of each area that is data, one linearizable read each
 *   3. decide   refuse, answer "unchanged", or build one transaction that compares the revisions of all three
 *               keys, and (delete) that the areas are empty
 *   4. send     a failed compare leads back to 1, NAMESPACES_ATTEMPTS_MAX times; then ERR_CONFLICT
 *
 * A deletion with cascade only writes its document here; cascade.c carries it out. */
#include <inttypes.h>
#include <stdio.h>

#include "base/name.h"
#include "namespace/private.h"

struct namespaces_write {
    struct namespaces_op op; /* first */
    struct namespaces_condition condition;
    unsigned attempts;
    bool is_admitted;
    struct txn txn;
    struct slice record, keys[NAMESPACE_KEYS];
    struct auth_need needs[AREAS + NAMESPACE_KEYS];
    size_t need_count;
    void (*decide)(struct namespaces_write *w);
    /* put */
    struct namespace_change change;
    /* delete */
    bool is_cascade, is_dry;
    int area; /* that is being counted */
    Etcdserverpb__RangeRequest range;
    struct slice area_keys[AREAS], area_ends[AREAS];
};

static struct slice keep(struct namespaces_write *w, struct slice s)
{
    return slice_of(s.size ? arena_copy(&w->op.pending_ops.arena, s.data, s.size) : NULL, s.size);
}

static struct slice keep_text(struct namespaces_write *w, struct buf *text)
{
    struct slice copy = keep(w, buf_slice(text));
    buf_done(text);
    return copy;
}

static const struct namespace_entry *entry_of(const struct namespaces_write *w)
{
    return namespace_view_find(w->op.namespaces->view, w->op.ns);
}

static int64_t revision_of(const struct namespaces_write *w, enum namespace_key k)
{
    const struct namespace_entry *e = entry_of(w);
    return e ? e->revisions[k] : 0;
}

static void write_refuse(struct namespaces_write *w, int err, const char *why)
{
    pending_op_refuse(&w->op.pending_ops, err, "namespace %.*s %s", (int)w->op.ns.size,
                      (const char *)w->op.ns.data, why);
}

static void need(struct namespaces_write *w, struct slice key, struct slice end)
{
    w->needs[w->need_count++] = (struct auth_need){.key = key, .range_end = end, .is_write = true};
}

/* The document's own key and that of the quotas, as far as they exist. False: the write has ended. */
static bool check_condition(struct namespaces_write *w)
{
    const struct namespaces_condition *c = &w->condition;
    int64_t document = revision_of(w, KEY_DOCUMENT), quotas = revision_of(w, KEY_QUOTAS);
    if (c->if_absent && (document || quotas))
        write_refuse(w, ERR_PRECONDITION, "exists");
    else if (c->has_revision && (document > c->if_revision || quotas > c->if_revision))
        pending_op_refuse(&w->op.pending_ops, ERR_PRECONDITION,
                          "namespace %.*s has changed at revision %" PRId64 ", after if_revision %" PRId64,
                          (int)w->op.ns.size, (const char *)w->op.ns.data,
                          document > quotas ? document : quotas, c->if_revision);
    else
        return true;
    return false;
}

/* Begins a transaction that compares the three keys with their revisions in the view. */
static void txn_begin(struct namespaces_write *w)
{
    txn_init(&w->txn, &w->op.pending_ops.arena);
    w->need_count = 0;
    for (int k = 0; k < NAMESPACE_KEYS; k++)
        txn_if_revision(&w->txn, w->keys[k], revision_of(w, (enum namespace_key)k));
}

static void on_view(struct feed_waiter *waiter)
{
    struct namespaces_write *w = container_of(waiter, struct namespaces_write, op.pending_ops.waiter);
    w->op.result.revision = waiter->revision;
    w->decide(w);
}

static void on_sent(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct namespaces_write *w = container_of(kv, struct namespaces_write, op.pending_ops.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (err) {
        pending_op_end(&w->op.pending_ops, err);
    } else if (response->succeeded) {
        audit_written(w->op.namespaces->options.audit, w->record);
        w->op.result.revision = response->header->revision;
        pending_op_written(&w->op.pending_ops, response->header->revision);
    } else if (++w->attempts == NAMESPACES_ATTEMPTS_MAX) {
        write_refuse(w, ERR_CONFLICT, "is changed by others all the time: try again");
    } else {
        namespaces_op_barrier(&w->op, on_view);
    }
}

static void txn_send(struct namespaces_write *w, const char *operation)
{
    struct namespaces *n = w->op.namespaces;
    struct audit_change change = {.kind = "namespace", .operation = operation, .ns = w->op.ns};
    const struct audit_record record = {.author = w->op.author, .changes = &change, .count = 1};
    w->record = audit_add(n->options.audit, &w->txn, TXN_THEN, &record);
    w->op.pending_ops.goes_on = true;
    w->op.pending_ops.kv = (struct kv_request){.done = on_sent, .extra_ops = AUDIT_OPS};
    pending_op_sign(&w->op.pending_ops, w->needs, w->need_count);
    kv_txn(n->options.kv, &w->op.pending_ops.kv, &w->txn.message);
    pending_ops_schedule_turn(&n->pending_ops);
}

/* NULL: the op has ended with a sentence. */
static struct namespaces_write *write_new(struct namespaces *n, struct namespaces_request *q, struct slice ns,
                                          void (*decide)(struct namespaces_write *w),
                                          const struct namespaces_condition *condition)
{
    struct namespaces_write *w = namespaces_op_new(n, q, sizeof *w);
    static const enum namespace_area areas[NAMESPACE_KEYS] = {AREA_DOCUMENT, AREA_QUOTAS, AREA_DELETION};
    char error[256];
    int err = name_check(ns, NAMESPACE_SIZE_MAX, "the namespace", error, sizeof error);
    if (err)
        pending_op_refuse(&w->op.pending_ops, err, "%s", error);
    else if (!namespaces_is_ready(n))
        pending_op_end(&w->op.pending_ops, err = ERR_NOT_READY);
    if (err)
        return NULL;
    w->op.ns = keep(w, ns);
    w->decide = decide;
    w->condition = *condition;
    for (int k = 0; k < NAMESPACE_KEYS; k++) {
        struct buf key = {0};
        namespace_area_add_key(areas[k], ns, &key);
        w->keys[k] = keep_text(w, &key);
    }
    return w;
}

/* --- put ------------------------------------------------------------------------------------------------ */

static bool is_document_same(const struct namespaces_write *w)
{
    const struct namespace_entry *e = entry_of(w);
    return e && e->document && namespace_document_equal(e->document, &w->change.document);
}

/* Quotas that limit nothing are no key. */
static bool are_limits_same(const struct namespaces_write *w)
{
    const struct namespace_entry *e = entry_of(w);
    if (!w->change.has_limits)
        return true;
    if (!e || !e->revisions[KEY_QUOTAS])
        return !namespace_limits_any(&w->change.limits);
    return e->limits && namespace_limits_any(&w->change.limits) &&
           namespace_limits_equal(e->limits, &w->change.limits);
}

static bool put_is_admitted(struct namespaces_write *w, size_t bytes)
{
    struct namespaces *n = w->op.namespaces;
    const struct namespace_entry *e = entry_of(w);
    size_t max = n->options.documents_max, count = namespace_view_count(n->view);
    bool is_new = !e || (!e->revisions[KEY_DOCUMENT] && !e->revisions[KEY_QUOTAS]);
    if (is_new && max && count >= max) {
        pending_op_refuse(&w->op.pending_ops, ERR_QUOTA,
                          "there are %zu namespaces with a document; at most %zu are allowed "
                          "(--registry-max-namespaces, --config-max-namespaces)",
                          count, max);
        return false;
    }
    int err = w->is_admitted ? OK
                             : write_limits_admit(n->options.limits, WRITE_REGISTRATION, w->op.ns, bytes,
                                                  w->op.error, sizeof w->op.error);
    if (err)
        pending_op_refuse(&w->op.pending_ops, err, "%s", w->op.error);
    w->is_admitted = !err;
    return !err;
}

static struct slice document_text_of(struct namespaces_write *w)
{
    struct namespace_document d = w->change.document;
    struct buf text = {0};
    d.author = w->op.author;
    d.time_ms = namespaces_wall_ms(w->op.namespaces);
    namespace_document_write(&d, &text);
    return keep_text(w, &text);
}

static struct slice limits_text_of(struct namespaces_write *w)
{
    struct namespace_limits l = w->change.limits;
    struct buf text = {0};
    l.author = w->op.author;
    l.time_ms = namespaces_wall_ms(w->op.namespaces);
    namespace_limits_write(&l, &text);
    return keep_text(w, &text);
}

static void decide_put(struct namespaces_write *w)
{
    bool writes_document = !is_document_same(w), writes_limits = !are_limits_same(w);
    int err = namespace_view_admit(w->op.namespaces->view, w->op.ns, w->op.error, sizeof w->op.error);
    if (err) {
        pending_op_refuse(&w->op.pending_ops, err, "%s", w->op.error);
        return;
    }
    if (!check_condition(w))
        return;
    w->op.result.is_unchanged = !writes_document && !writes_limits;
    if (w->op.result.is_unchanged) {
        pending_op_end(&w->op.pending_ops, OK);
        return;
    }
    struct slice text = document_text_of(w);
    if (!put_is_admitted(w, text.size))
        return;
    txn_begin(w);
    if (writes_document) {
        txn_put(&w->txn, w->keys[KEY_DOCUMENT], text, 0);
        need(w, w->keys[KEY_DOCUMENT], (struct slice){0});
    }
    if (writes_limits) {
        if (namespace_limits_any(&w->change.limits))
            txn_put(&w->txn, w->keys[KEY_QUOTAS], limits_text_of(w), 0);
        else
            txn_delete(&w->txn, w->keys[KEY_QUOTAS]);
        need(w, w->keys[KEY_QUOTAS], (struct slice){0});
    }
    txn_send(w, writes_limits ? "put_quotas" : "put");
}

static struct namespace_document keep_document(struct namespaces_write *w, const struct namespace_document *d)
{
    struct arena *a = &w->op.pending_ops.arena;
    struct namespace_document copy = {
        .title = keep(w, d->title), .description = keep(w, d->description), .owner = keep(w, d->owner)};
    copy.labels.list = arena_new(a, (d->labels.count + 1) * sizeof *copy.labels.list);
    copy.labels.count = d->labels.count;
    for (size_t i = 0; i < d->labels.count; i++)
        copy.labels.list[i] =
            (struct document_pair){keep(w, d->labels.list[i].key), keep(w, d->labels.list[i].value)};
    return copy;
}

void namespaces_put(struct namespaces *n, struct namespaces_request *q, struct slice ns,
                    const struct namespace_change *change, const struct namespaces_condition *condition)
{
    struct namespaces_write *w = write_new(n, q, ns, decide_put, condition);
    if (!w)
        return;
    w->change = *change;
    w->change.document = keep_document(w, &change->document);
    namespaces_op_barrier(&w->op, on_view);
}

/* --- delete --------------------------------------------------------------------------------------------- */

static void refuse_left(struct namespaces_write *w)
{
    struct buf left = {0};
    namespace_counts_text(w->op.result.counts, &left);
    w->op.result.is_left = true;
    pending_op_refuse(&w->op.pending_ops, ERR_CONFLICT,
                      "namespace %.*s is not empty, it has %s: delete these first, or all with cascade=true",
                      (int)w->op.ns.size, (const char *)w->op.ns.data, buf_text(&left));
    buf_done(&left);
}

/* Writes the job. The author must be allowed all that the leader will remove. */
static void start_cascade(struct namespaces_write *w)
{
    struct namespace_deletion d = {.author = w->op.author, .time_ms = namespaces_wall_ms(w->op.namespaces)};
    struct buf text = {0};
    memcpy(d.found, w->op.result.counts, sizeof d.found);
    namespace_deletion_write(&d, &text);
    txn_begin(w);
    txn_put(&w->txn, w->keys[KEY_DELETION], keep_text(w, &text), 0);
    need(w, w->keys[KEY_DOCUMENT], (struct slice){0});
    if (revision_of(w, KEY_QUOTAS))
        need(w, w->keys[KEY_QUOTAS], (struct slice){0});
    for (int a = 0; a < AREAS; a++)
        if (namespace_areas[a].form == AREA_ALL)
            need(w, w->area_keys[a], w->area_ends[a]);
    w->op.result.is_running = true;
    txn_send(w, "cascade");
}

static void delete_empty(struct namespaces_write *w)
{
    bool has_document = revision_of(w, KEY_DOCUMENT), has_quotas = revision_of(w, KEY_QUOTAS);
    if (!has_document && !has_quotas) {
        write_refuse(w, ERR_NOT_FOUND, "does not exist");
        return;
    }
    txn_begin(w);
    for (int a = 0; a < AREAS; a++)
        if (namespace_areas[a].form == AREA_ALL)
            txn_if_empty(&w->txn, w->area_keys[a], w->area_ends[a]);
    need(w, w->keys[KEY_DOCUMENT], (struct slice){0});
    if (has_document)
        txn_delete(&w->txn, w->keys[KEY_DOCUMENT]);
    if (has_quotas) {
        txn_delete(&w->txn, w->keys[KEY_QUOTAS]);
        need(w, w->keys[KEY_QUOTAS], (struct slice){0});
    }
    txn_delete(&w->txn, w->area_keys[AREA_GUARD]);
    txn_delete_range(&w->txn, w->area_keys[AREA_EVENTS], w->area_ends[AREA_EVENTS]);
    txn_send(w, "delete");
}

static void decide_delete(struct namespaces_write *w)
{
    struct namespaces_op *op = &w->op;
    const struct namespace_entry *e = entry_of(w);
    uint64_t left = namespace_counts_sum(op->result.counts);
    bool is_running = e && e->deletion && !e->deletion->is_done;
    if (!check_condition(w))
        return;
    if (w->is_dry) {
        if (!left && !revision_of(w, KEY_DOCUMENT) && !revision_of(w, KEY_QUOTAS))
            write_refuse(w, ERR_NOT_FOUND, "does not exist");
        else
            pending_op_end(&op->pending_ops, OK);
    } else if (is_running) {
        op->result.is_running = op->result.is_unchanged = true;
        pending_op_end(&op->pending_ops, OK);
    } else if (left && !w->is_cascade) {
        refuse_left(w);
    } else if (left) {
        start_cascade(w);
    } else {
        delete_empty(w);
    }
}

static bool on_part(struct kv_request *r, const ProtobufCMessage *part)
{
    (void)r;
    (void)part; /* a count has no parts; with this it runs in slices */
    return true;
}

static void count_area(struct namespaces_write *w);

static void on_counted(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct namespaces_write *w = container_of(kv, struct namespaces_write, op.pending_ops.kv);
    const Etcdserverpb__RangeResponse *response = (const Etcdserverpb__RangeResponse *)message;
    if (err) {
        pending_op_end(&w->op.pending_ops, err);
        return;
    }
    w->op.result.counts[w->area++] = (uint64_t)response->count;
    count_area(w);
}

/* Counts from w->area on, then decides. */
static void count_area(struct namespaces_write *w)
{
    struct namespaces *n = w->op.namespaces;
    while (w->area < AREAS && namespace_areas[w->area].form != AREA_ALL)
        w->area++;
    if (w->area == AREAS) {
        decide_delete(w);
        return;
    }
    struct slice key = w->area_keys[w->area], end = w->area_ends[w->area];
    etcdserverpb__range_request__init(&w->range);
    w->range.count_only = true;
    w->range.key.len = key.size;
    memcpy(&w->range.key.data, &key.data, sizeof key.data); /* protobuf-c's type is not const */
    w->range.range_end.len = end.size;
    memcpy(&w->range.range_end.data, &end.data, sizeof end.data);
    w->op.pending_ops.kv = (struct kv_request){.done = on_counted, .on_part = on_part};
    kv_range(n->options.kv, &w->op.pending_ops.kv, &w->range);
    pending_ops_schedule_turn(&n->pending_ops);
}

static void decide_count(struct namespaces_write *w)
{
    w->area = 0;
    memset(w->op.result.counts, 0, sizeof w->op.result.counts);
    count_area(w);
}

void namespaces_delete(struct namespaces *n, struct namespaces_request *q, struct slice ns,
                       const struct namespaces_removal *removal)
{
    struct namespaces_write *w = write_new(n, q, ns, decide_count, &removal->condition);
    if (!w)
        return;
    w->is_cascade = removal->is_cascade;
    w->is_dry = removal->is_dry;
    for (int a = 0; a < AREAS; a++) {
        struct buf key = {0}, end = {0};
        namespace_area_range((enum namespace_area)a, ns, &key, &end);
        w->area_keys[a] = keep_text(w, &key);
        w->area_ends[a] = keep_text(w, &end);
    }
    namespaces_op_barrier(&w->op, on_view);
}
