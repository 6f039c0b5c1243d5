/* SPDX-License-Identifier: Apache-2.0
 * The steps of a write: decide, read, build the transaction, send; see config_write.h. */
#include "config/config_write.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/mutant.h"
#include "consensus/write_limits.h"

#define BLOCKED_BYTES_MAX (64u << 20) /* of writes that wait in queues */
#define BLOCKED_ROOM      2048        /* bytes of one of them beside its content */
#define POLICIES_SEARCHED 64

/* --- for deciders -------------------------------------------------------------------------------------- */

int write_refuse(struct write *w, struct target *t, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(w->error, sizeof w->error, format, args);
    va_end(args);
    w->failed_target = t;
    return err;
}

bool write_is_live(const struct target *t)
{
    return t->head && !t->head->is_deleted;
}

int write_check_condition(struct write *w, struct target *t)
{
    const struct config_condition *c = &t->condition;
    const struct config_head *head = t->head;
    if (t->is_unreadable)
        return write_refuse(w, t, ERR_CONFLICT, "the document under %.*s cannot be read: it must be repaired",
                            (int)t->head_key.size, (const char *)t->head_key.data);
    if (c->has_revision && t->revision > c->if_revision)
        return write_refuse(w, t, ERR_PRECONDITION, "it has changed after revision %lld",
                            (long long)c->if_revision);
    if (c->if_absent && write_is_live(t))
        return write_refuse(w, t, ERR_PRECONDITION, "it exists already, as release %llu",
                            (unsigned long long)head->seq);
    if (c->has_seq && c->if_seq != (head ? head->seq : 0))
        return write_refuse(w, t, ERR_PRECONDITION, "release %llu is not the live one",
                            (unsigned long long)c->if_seq);
    if (c->if_md5.size &&
        (!write_is_live(t) || !slice_equal(c->if_md5, slice_of(head->digest.md5, DIGEST_MD5_SIZE))))
        return write_refuse(w, t, ERR_PRECONDITION, "the live release has another md5, or there is none");
    return OK;
}

static int check_size(struct write *w, struct target *t)
{
    uint64_t max = w->op.config->options.content_bytes_max;
    w->is_final = t->content.size > max;
    if (!w->is_final)
        return OK;
    return write_refuse(w, t, ERR_REQUEST_TOO_LARGE,
                        "the content has %zu bytes; at most %llu are allowed (--config-max-bytes)",
                        t->content.size, (unsigned long long)max);
}

/* Checks a small content on the loop, as long as this turn has time for it. */
static int check_on_loop(struct write *w, struct target *t, enum format format, bool is_draft)
{
    struct config *c = w->op.config;
    bool is_small =
        t->content.size <= CONFIG_INLINE_MAX && t->content.size <= c->inline_left && !t->schema_revision;
    struct content_seal seal;
    int err = write_choose_seal(w, t, &seal);
    if (err)
        return err;
    if (content_is_of(&t->checked, t->content, format, t->schema_revision, &seal))
        return OK;
    content_done(&t->checked);
    t->checked.seal = seal;
    t->checked.bytes = t->content;
    t->checked.format = format;
    t->checked.schema = t->schema;
    t->checked.schema_revision = t->schema_revision;
    t->checked.is_draft = is_draft;
    t->checked.does_encode = !is_small;
    t->is_unchecked = !is_small;
    if (!is_small)
        return DECIDE_CHECK;
    c->inline_left -= t->content.size;
    content_run(&t->checked);
    return OK;
}

bool write_equals_live(const struct target *t)
{
    const struct content *c = &t->checked;
    if (!write_is_live(t) || t->head->format != t->format ||
        (c->seal.key != NULL) != (t->head->sealed.size > 0))
        return false;
    if (c->seal.key)
        return c->seal.live && digest_equal(&t->head->digest, &c->live_digest);
    return digest_equal(&t->head->digest, &c->digest);
}

int write_check_content(struct write *w, struct target *t, enum format format)
{
    int err = check_size(w, t);
    if (!err)
        err = write_find_schema(w, t);
    if (!err)
        err = check_on_loop(w, t, format, false);
    if (err)
        return err;
    w->is_final = t->checked.err && t->has_format && !t->schema_revision;
    w->where = t->checked.where;
    return t->checked.err ? write_refuse(w, t, t->checked.err, "%s", w->where.text) : OK;
}

int write_check_draft(struct write *w, struct target *t)
{
    int err = check_size(w, t);
    return err ? err : check_on_loop(w, t, t->format, true);
}

struct config_head *write_head(struct write *w, struct target *t)
{
    struct config_head *head = arena_new(&w->op.pending_ops.arena, sizeof *head);
    if (t->head) {
        *head = *t->head;
        head->title = config_copy(&w->op.pending_ops.arena, head->title);
        head->sealed = config_copy(&w->op.pending_ops.arena, head->sealed);
    }
    return t->new_head = head;
}

int write_release(struct write *w, struct target *t, enum config_operation operation)
{
    uint64_t last = t->head ? t->head->last_seq : 0;
    last = t->last > last ? t->last : last;
    if (last >= CONFIG_SEQ_MAX)
        return write_refuse(w, t, ERR_LIMIT,
                            "the highest release number is reached: no more releases are possible");
    t->seq = last + 1;
    struct config_release *r = t->new_release = arena_new(&w->op.pending_ops.arena, sizeof *r);
    r->operation = operation;
    r->title = t->title;
    r->note = t->note;
    r->author = w->author;
    r->emergency = w->emergency;
    r->time_ms = config_wall_ms(w->op.config);
    r->previous_seq = t->head ? t->head->seq : 0;
    r->format = t->format;
    struct config_head *head = write_head(w, t);
    head->seq = head->last_seq = t->seq;
    head->format = t->format;
    head->is_deleted = operation == CONFIG_DELETE;
    head->title = t->title;
    head->time_ms = r->time_ms;
    head->digest = (struct digest){{0}, {0}};
    head->sealed = (struct slice){0};
    head->size = 0;
    if (operation == CONFIG_DELETE)
        return OK;
    r->content = t->content;
    if (t->checked.seal.key)
        r->sealed = head->sealed = slice_text(t->checked.seal.key->id);
    r->encoded = buf_slice(&t->checked.encoded);
    r->digest = head->digest = t->checked.digest;
    head->size = t->content.size;
    return OK;
}

/* --- ends of a write -------------------------------------------------------------------------------- */

static void fill_written(struct write *w)
{
    struct config_result *r = &w->op.result;
    struct config_written *list = arena_new(&w->op.pending_ops.arena, w->count * sizeof *list);
    r->items = 0;
    for (size_t i = 0; i < w->count; i++) {
        const struct target *t = &w->targets[i];
        list[i] = (struct config_written){t->key, t->is_unchanged, t->new_head ? t->new_head : t->head};
        r->items += !t->is_unchanged;
    }
    const struct target *first = &w->targets[0];
    r->head = list[0].head;
    r->is_unchanged = r->items == 0;
    if (first->seq)
        r->seq = first->seq;
    else if (r->head)
        r->seq = r->head->seq;
    if (w->is_bundle) {
        r->written = list;
        r->written_count = w->count;
    }
}

static void end_refused(struct write *w, int err)
{
    struct config_result *r = &w->op.result;
    const struct target *t = w->failed_target;
    if (err == ERR_MALFORMED) {
        metric_add(METRIC_CONFIG_REFUSED, 1);
        r->where = w->where;
    }
    if (t) {
        r->head =
            w->is_fresh && !w->is_source_error ? t->head : NULL; /* else it is the view's, which may lag */
        if (w->is_bundle)
            r->key = t->key;
    }
    pending_op_refuse(&w->op.pending_ops, err, "%s", w->error[0] ? w->error : err_text(err));
}

static void free_write(struct pending_op *op)
{
    struct write *w = container_of(op, struct write, op.pending_ops);
    write_line_leave(w);
    list_remove(&w->ready);
    w->op.config->blocked_bytes -= w->blocked_bytes;
    for (size_t i = 0; i < w->count; i++) {
        heads_release(w->op.config->heads, &w->claims[i]);
        content_done(&w->targets[i].checked);
        buf_done(&w->targets[i].text);
    }
    write_check_cancel(w); /* last: it may take the arena, and the targets in it */
}

/* --- the stored state ---------------------------------------------------------------------------------- */

static void take_policy(struct write *w, struct write_policy *p, int64_t revision, struct slice text)
{
    struct workflow_policy *policy = arena_new(&w->op.pending_ops.arena, sizeof *policy);
    p->side.revision = revision;
    p->policy = NULL;
    if (revision && workflow_policy_read(text, &w->op.pending_ops.arena, policy) == OK)
        p->policy = policy;
}

/* Takes the heads and the policies from the view: heads are valid until the return to the loop. */
static void take_view(struct write *w)
{
    for (size_t i = 0; i < w->policy_count; i++) {
        struct policy_entry *e = policies_find(&w->op.config->policies, w->policies[i].ns);
        take_policy(w, &w->policies[i], e ? e->revision : 0,
                    e ? slice_of(e->text, e->size) : (struct slice){0});
    }
    for (size_t i = 0; i < w->count; i++) {
        struct target *t = &w->targets[i];
        const struct heads_item *item = heads_find(w->op.config->heads, &t->key);
        t->head = item ? item->item.head : NULL;
        t->revision = item ? item->key_revision : 0;
        t->is_unreadable = item && item->key_revision && !item->item.head;
    }
}

static void forget_view(struct write *w)
{
    for (size_t i = 0; i < w->count && !w->is_fresh; i++)
        w->targets[i].head = NULL;
}

static void add_reads(struct write *w, enum txn_side side)
{
    for (size_t i = 0; i < w->policy_count; i++)
        txn_range(&w->txn, side, w->policies[i].side.key, false);
    for (size_t i = 0; i < w->count; i++) {
        struct target *t = &w->targets[i];
        struct arena *a = &w->op.pending_ops.arena;
        for (int k = 0; k < SIDES; k++)
            if (t->sides[k].is_used)
                txn_range(&w->txn, side, t->sides[k].key, false);
        txn_range(&w->txn, side, t->head_key, false);
        txn_last(&w->txn, side, t->release_prefix);
        if (t->is_copy)
            txn_range(&w->txn, side, t->origin_head_key, false);
        if (t->source == SOURCE_DRAFT)
            txn_range(&w->txn, side, t->draft_key, false);
        else if (t->source != SOURCE_NONE)
            txn_range(&w->txn, side, config_key(a, CONFIG_RELEASE, write_source(t), t->source_seq),
                      t->source == SOURCE_EXISTS);
    }
}

static const Mvccpb__KeyValue *next_pair(const Etcdserverpb__TxnResponse *response, size_t *at)
{
    const Etcdserverpb__RangeResponse *r = response->responses[(*at)++]->response_range;
    return r->n_kvs ? r->kvs[0] : NULL;
}

/* NULL: there is none, or it cannot be read. */
static const struct config_head *read_head(struct write *w, const Mvccpb__KeyValue *pair)
{
    struct arena *a = &w->op.pending_ops.arena;
    struct config_head *head = arena_new(a, sizeof *head);
    char error[256];
    bool is_read = pair && config_head_read(pair_value(pair), a, head, error, sizeof error) == OK;
    return is_read ? head : NULL;
}

static void take_head(struct write *w, struct target *t, const Mvccpb__KeyValue *pair)
{
    t->head = read_head(w, pair);
    t->revision = pair ? pair->mod_revision : 0;
    t->is_unreadable = pair && !t->head;
}

static void take_origin(struct write *w, struct target *t, const Mvccpb__KeyValue *pair)
{
    t->has_origin = true;
    t->origin_head = read_head(w, pair);
    t->origin_revision = pair ? pair->mod_revision : 0;
}

static void take_source(struct write *w, struct target *t, const Mvccpb__KeyValue *pair)
{
    char error[256];
    int err = OK;
    t->has_source = true;
    t->source_revision = pair ? pair->mod_revision : 0;
    if (pair && t->source == SOURCE_RELEASE)
        err =
            config_release_read(pair_value(pair), &w->op.pending_ops.arena, &t->release, error, sizeof error);
    else if (pair && t->source == SOURCE_DRAFT)
        err = config_draft_read(pair_value(pair), &w->op.pending_ops.arena, &t->draft, error, sizeof error);
    if (err)
        t->source_revision = 0; /* unreadable: treated as missing */
    else if (pair)
        write_open_source(w, t);
}

static void take_side(struct write *w, struct side *s, const Mvccpb__KeyValue *pair)
{
    s->revision = pair ? pair->mod_revision : 0;
    s->text = pair ? config_copy(&w->op.pending_ops.arena, pair_value(pair)) : (struct slice){0};
}

static void take_reads(struct write *w, const Etcdserverpb__TxnResponse *response)
{
    size_t at = 0;
    w->is_fresh = true;
    for (size_t i = 0; i < w->policy_count; i++) {
        const Mvccpb__KeyValue *pair = next_pair(response, &at);
        take_policy(w, &w->policies[i], pair ? pair->mod_revision : 0,
                    pair ? pair_value(pair) : (struct slice){0});
    }
    for (size_t i = 0; i < w->count; i++) {
        struct target *t = &w->targets[i];
        struct buf scratch = {0};
        struct config_name name;
        for (int k = 0; k < SIDES; k++)
            if (t->sides[k].is_used)
                take_side(w, &t->sides[k], next_pair(response, &at));
        take_head(w, t, next_pair(response, &at));
        const Mvccpb__KeyValue *last = next_pair(response, &at);
        if (last && config_name_parse(slice_of(last->key.data, last->key.len), &scratch, &name) == OK)
            t->last = name.seq;
        if (t->is_copy)
            take_origin(w, t, next_pair(response, &at));
        if (t->source != SOURCE_NONE)
            take_source(w, t, next_pair(response, &at));
        buf_done(&scratch);
    }
}

/* The limit of operations is for what the client asks: a bundle may be as large as it allows with everything that
 * the write adds. */
static void allow_ops(struct write *w)
{
    w->op.pending_ops.kv.extra_ops =
        AUDIT_OPS + IDEMPOTENCY_OPS + SIDES + (unsigned)w->policy_count + w->schema_compares;
    if (w->count && w->targets[0].is_copy) /* the head and the release that each is copied from */
        w->op.pending_ops.kv.extra_ops += 2 * (unsigned)w->count;
}

static void config_write_on_read(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct write *w = container_of(kv, struct write, op.pending_ops.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (err) {
        write_line_release_all(w);
        pending_op_end(&w->op.pending_ops, err);
        return;
    }
    take_reads(w, response);
    w->op.result.revision = response->header->revision;
    write_resume(w, response->header->revision);
}

static void config_write_read(struct write *w)
{
    txn_init(&w->txn, &w->op.pending_ops.arena);
    add_reads(w, TXN_THEN);
    w->op.pending_ops.goes_on = true;
    w->op.pending_ops.kv.done = config_write_on_read;
    allow_ops(w);
    kv_txn(w->op.config->kv, &w->op.pending_ops.kv, &w->txn.message);
    pending_ops_schedule_turn(&w->op.config->pending_ops);
}

/* --- the transaction ----------------------------------------------------------------------------------- */

static struct slice config_write_take_text(struct write *w, struct buf *text)
{
    struct slice copy = config_copy(&w->op.pending_ops.arena, buf_slice(text));
    buf_done(text);
    return copy;
}

static void add_side(struct write *w, const struct side *s)
{
    if (s->is_used)
        txn_if_revision(&w->txn, s->key, s->revision);
    if (s->is_changed && s->change.size)
        txn_put(&w->txn, s->key, s->change, 0);
    else if (s->is_changed && s->revision)
        txn_delete(&w->txn, s->key);
}

static int add_target(struct write *w, struct target *t)
{
    struct arena *a = &w->op.pending_ops.arena;
    txn_if_revision(&w->txn, t->head_key, t->revision);
    for (int k = 0; k < SIDES; k++)
        add_side(w, &t->sides[k]);
    if (t->source == SOURCE_DRAFT)
        txn_if_revision(&w->txn, t->draft_key, t->source_revision);
    if (t->is_copy && !MUTANT(PROMOTE_UNPROVEN))
        txn_if_revision(&w->txn, t->origin_head_key, t->origin_revision);
    if (t->source == SOURCE_EXISTS)
        txn_if_there(&w->txn, config_key(a, CONFIG_RELEASE, &t->key, t->source_seq));
    if (t->new_release) {
        struct slice key = config_key(a, CONFIG_RELEASE, &t->key, t->seq);
        buf_clear(&t->text);
        config_release_write(t->new_release, &t->text);
        txn_if_revision(&w->txn, key, 0);
        txn_put(&w->txn, key, buf_slice(&t->text), 0);
    }
    if (t->new_head) {
        struct buf text = {0};
        config_head_write(t->new_head, &text);
        if (text.size > CONFIG_HEAD_MAX) {
            buf_done(&text);
            return write_refuse(w, t, ERR_REQUEST_TOO_LARGE, "its gray rules have more than %u KiB together",
                                CONFIG_HEAD_MAX >> 10);
        }
        txn_put(&w->txn, t->head_key, config_write_take_text(w, &text), 0);
    }
    if (t->new_draft.size)
        txn_put(&w->txn, t->draft_key, t->new_draft, 0);
    if (t->deletes_draft)
        txn_delete(&w->txn, t->draft_key);
    return OK;
}

static int claim_room(struct write *w, size_t at)
{
    const struct target *t = &w->targets[at];
    struct heads_claim *c = &w->claims[at];
    heads_release(w->op.config->heads, c);
    if (!t->new_head || t->new_head->is_deleted)
        return OK;
    size_t before = write_is_live(t) ? t->head->size : 0, after = t->new_head->size;
    const struct heads_limits limits = config_limits(w->op.config, t->key.ns);
    int err = heads_claim(w->op.config->heads, t->key.ns, !write_is_live(t),
                          after > before ? after - before : 0, &limits, c, w->error, sizeof w->error);
    if (err)
        w->failed_target = &w->targets[at];
    return err;
}

/* Signs the transaction with the keys that the author must be able to write: the head's key covers its
 * releases; a draft has its own. */
static void sign(struct write *w)
{
    struct arena *a = &w->op.pending_ops.arena;
    struct auth_need *needs = arena_alloc(a, 5 * w->count * sizeof *needs);
    size_t count = 0;
    for (size_t i = 0; i < w->count; i++) {
        const struct target *t = &w->targets[i];
        if (w->emergency.size)
            needs[count++] =
                (struct auth_need){.key = config_key(a, CONFIG_EMERGENCY, &t->key, 0), .is_write = true};
        if (t->is_copy)
            needs[count++] = (struct auth_need){.key = t->origin_head_key};
        if (t->needs_review_key)
            needs[count++] = (struct auth_need){.key = t->sides[SIDE_REVIEW].key, .is_write = true};
        if (t->new_head || t->new_release || t->needs_head)
            needs[count++] = (struct auth_need){.key = t->head_key, .is_write = true};
        if (t->new_draft.size || t->deletes_draft || t->needs_draft)
            needs[count++] = (struct auth_need){.key = t->draft_key, .is_write = true};
    }
    pending_op_sign(&w->op.pending_ops, needs, count);
}

/* A review, schedule or rollout that did not exist: it would be left over in a namespace that is being
 * deleted. One that exists may be changed, so that it can be canceled. */
static bool adds_document(const struct target *t)
{
    for (int k = 0; k < SIDES; k++)
        if (t->sides[k].is_changed && t->sides[k].change.size && !t->sides[k].revision)
            return true;
    return false;
}

/* Charges the write limits once for a write, however often its compares fail. A validation or a deletion adds
 * nothing. */
static int charge_limits(struct write *w)
{
    int err = OK;
    for (size_t i = 0; !err && i < w->count && !w->only_validate; i++) {
        struct target *t = &w->targets[i];
        size_t bytes = t->new_release || t->new_draft.size ? t->text.size : 0;
        if (t->new_release && t->new_release->operation == CONFIG_DELETE)
            bytes = 0;
        if (bytes || adds_document(t))
            err =
                namespace_view_admit(w->op.config->options.namespaces, t->key.ns, w->error, sizeof w->error);
        if (bytes && !err)
            err = write_limits_admit(w->op.config->options.limits, WRITE_CONTENT, t->key.ns, bytes, w->error,
                                     sizeof w->error);
        if (err)
            w->failed_target = t;
    }
    w->is_admitted = !err && !w->only_validate;
    return err;
}

static const char *operation_name(const struct target *t)
{
    if (t->act)
        return t->act;
    if (t->new_release)
        return config_operation_name(t->new_release->operation);
    return t->new_draft.size ? "draft" : t->deletes_draft ? "discard_draft" : "end_gray";
}

/* The answer is made before the write, without its revision, so that both are in one transaction. Without a
 * caller there is no answer: a write that lost a compare after its client has left ends without effect. */
static int add_once(struct write *w)
{
    struct buf answer = {0};
    if (!w->once.key.size || w->only_validate)
        return OK;
    if (!w->op.pending_ops.handle)
        return ERR_CANCELED;
    const struct config_result before = w->op.result; /* what fill_written refers to may not live so long */
    fill_written(w);
    w->once.answer(w->op.request, &w->op.result, &answer);
    w->op.result = before;
    const struct idempotency_record r = {.digest = w->once.digest,
                                         .answer = config_write_take_text(w, &answer)};
    if (r.answer.size > IDEMPOTENCY_ANSWER_MAX)
        return write_refuse(w, NULL, ERR_REQUEST_TOO_LARGE,
                            "the answer has more than %u KiB, which is too much for an idempotency key",
                            IDEMPOTENCY_ANSWER_MAX >> 10);
    idempotency_put(&w->txn, w->op.pending_ops.pending_ops->io, w->once.key, &r);
    return OK;
}

static void add_record(struct write *w)
{
    struct arena *a = &w->op.pending_ops.arena;
    struct audit_record r = {.author = w->author, .changes = arena_new(a, w->count * sizeof *r.changes)};
    for (size_t i = 0; i < w->count; i++) {
        const struct target *t = &w->targets[i];
        if (!t->is_unchanged)
            r.changes[r.count++] = (struct audit_change){.kind = "config",
                                                         .operation = operation_name(t),
                                                         .ns = t->key.ns,
                                                         .group = t->key.group,
                                                         .name = t->key.name,
                                                         .emergency = w->emergency,
                                                         .seq = t->seq};
    }
    w->record = r.count ? audit_add(w->op.config->options.audit, &w->txn, TXN_THEN, &r) : (struct slice){0};
    allow_ops(w);
}

static int build_transaction(struct write *w)
{
    uint64_t max = w->op.config->options.request_bytes_max;
    int err = OK;
    txn_init(&w->txn, &w->op.pending_ops.arena);
    for (size_t i = 0; i < w->policy_count; i++)
        txn_if_revision(&w->txn, w->policies[i].side.key, w->policies[i].side.revision);
    w->schema_compares = write_compare_schemas(w);
    for (size_t i = 0; !err && i < w->count; i++)
        err = add_target(w, &w->targets[i]);
    if (!err)
        err = add_once(w);
    if (!err) {
        size_t size = etcdserverpb__txn_request__get_packed_size(&w->txn.message);
        if (size > max)
            err = write_refuse(w, w->count == 1 ? &w->targets[0] : NULL, ERR_REQUEST_TOO_LARGE,
                               "the write has %zu bytes as JSON; the limit of a request is %llu "
                               "(--max-request-bytes)",
                               size, (unsigned long long)max);
    }
    for (size_t i = 0; !err && i < w->count; i++)
        err = claim_room(w, i);
    if (!err && !w->is_admitted)
        err = charge_limits(w);
    if (!err && !w->only_validate)
        add_record(w);
    add_reads(w, TXN_ELSE);
    if (w->once.key.size)
        txn_range(&w->txn, TXN_ELSE, w->once.key, true); /* the last read */
    return err;
}

/* Another write with the same idempotency key has been faster: the last read of build_transaction. */
static bool has_record(const struct write *w, const Etcdserverpb__TxnResponse *response)
{
    return w->once.key.size && response->responses[response->n_responses - 1]->response_range->n_kvs;
}

static void count_written(const struct target *t)
{
    metric_add(METRIC_CONFIG_RELEASES, t->new_release != NULL);
    metric_add(METRIC_CONFIG_SEALS, t->checked.seal.key && (t->new_release || t->new_draft.size));
}

static void on_sent(struct kv_request *kv, int err, const ProtobufCMessage *message)
{
    struct write *w = container_of(kv, struct write, op.pending_ops.kv);
    const Etcdserverpb__TxnResponse *response = (const Etcdserverpb__TxnResponse *)message;
    if (err) {
        write_line_release_all(w);
        pending_op_end(&w->op.pending_ops, err);
        return;
    }
    w->op.result.revision = response->header->revision;
    if (response->succeeded) {
        for (size_t i = 0; i < w->count; i++)
            count_written(&w->targets[i]);
        audit_written(w->op.config->options.audit, w->record);
        fill_written(w);
        pending_op_written(&w->op.pending_ops, response->header->revision);
        return;
    }
    metric_add(METRIC_CONFIG_CONFLICTS, 1);
    if (++w->attempts == CONFIG_ATTEMPTS_MAX || has_record(w, response)) {
        pending_op_end(&w->op.pending_ops, ERR_CONFLICT);
        return;
    }
    take_reads(w, response);
    write_resume(w, response->header->revision);
}

static void send_write(struct write *w)
{
    w->op.pending_ops.goes_on = true;
    w->op.pending_ops.kv.done = on_sent;
    sign(w);
    kv_txn(w->op.config->kv, &w->op.pending_ops.kv, &w->txn.message);
    pending_ops_schedule_turn(&w->op.config->pending_ops);
}

/* --- decisions -------------------------------------------------------------------------------------- */

static void end_unchanged(struct write *w)
{
    fill_written(w);
    if (w->only_validate && !w->op.result.is_unchanged) {
        w->op.result.head = w->targets[0].head;
        w->op.result.seq = 0;
    } else {
        metric_add(METRIC_CONFIG_UNCHANGED, (double)w->count);
    }
    pending_op_end(&w->op.pending_ops, OK);
}

/* Titles and gray rules of a view's head would not survive this turn: such a write reads the heads first. */
static bool needs_fresh(const struct write *w)
{
    for (size_t i = 0; i < w->count && !w->is_fresh; i++) {
        const struct config_head *head = w->targets[i].new_head;
        if (head && head->gray.count)
            return true;
    }
    return false;
}

/* A change of the head that nobody has approved. */
static int check_policy(struct write *w, struct target *t)
{
    if (!t->new_head || t->is_reviewed || w->emergency.size || w->only_validate ||
        !write_needs_review(w, t) || MUTANT(REVIEW_SKIPPED))
        return OK;
    return write_refuse(w, t, ERR_REVIEW_REQUIRED,
                        "%.*s needs a review: put a draft, submit it, have another user approve it, and "
                        "publish the draft",
                        (int)t->key.name.size, (const char *)t->key.name.data);
}

/* Decides all targets. An error in one target comes before what another one still needs. */
static int config_write_decide(struct write *w, size_t *ret_changed)
{
    int err = OK, needed = OK;
    *ret_changed = 0;
    for (size_t i = 0; !err && i < w->count; i++) {
        struct target *t = &w->targets[i];
        t->is_unchanged = t->deletes_draft = t->is_unchecked = t->is_reviewed = false;
        t->act = NULL;
        for (int k = 0; k < SIDES; k++)
            t->sides[k].is_changed = false;
        t->new_head = NULL;
        t->new_release = NULL;
        t->new_draft = (struct slice){0};
        t->seq = 0;
        err = write_check_condition(w, t);
        if (!err)
            err = t->decide(w, t);
        if (!err)
            err = check_policy(w, t);
        if (err == DECIDE_CHECK || (err == DECIDE_FETCH && needed != DECIDE_CHECK)) {
            needed = err;
            err = OK;
        }
        *ret_changed += !t->is_unchanged;
    }
    return err ? err : needed;
}

static void start_check(struct write *w)
{
    int err = write_check_start(w);
    if (err)
        pending_op_refuse(
            &w->op.pending_ops, err,
            "too many contents wait to be checked on this member, of this client or of all: try "
            "again later");
    else
        w->op.pending_ops.goes_on = false; /* nothing was sent: without a caller it ends */
}

void write_step(struct write *w)
{
    size_t changed;
    if (!w->is_fresh)
        take_view(w);
    int err = config_write_decide(w, &changed);
    if (!err && !w->is_fresh && (!changed || w->only_validate || needs_fresh(w)))
        err = DECIDE_FETCH;
    /* A write with an idempotency key leaves its record, also when it changes nothing. */
    bool is_sent = changed || (w->once.key.size && !w->only_validate && !MUTANT(IDEMPOTENCY_LATE));
    if (!err && is_sent)
        err = build_transaction(w);
    forget_view(w);
    if (err == DECIDE_FETCH && ++w->attempts == CONFIG_ATTEMPTS_MAX)
        pending_op_end(&w->op.pending_ops, ERR_CONFLICT);
    else if (err == DECIDE_CHECK)
        start_check(w);
    else if (err == DECIDE_FETCH || (err && !w->is_fresh && !w->is_final))
        config_write_read(w);
    else if (err)
        end_refused(w, err);
    else if (!is_sent || w->only_validate)
        end_unchanged(w);
    else
        send_write(w);
}

/* --- begin --------------------------------------------------------------------------------------------- */

struct write *write_new(struct config *c, struct config_request *q, size_t count)
{
    struct write *w = config_op_new(c, q, sizeof *w);
    w->count = count;
    w->targets = arena_new(&w->op.pending_ops.arena, (count + 1) * sizeof *w->targets);
    w->claims = arena_new(&w->op.pending_ops.arena, (count + 1) * sizeof *w->claims);
    w->client = config_client(&w->op.pending_ops.arena, q);
    w->author = author_copy(&w->op.pending_ops.arena, &q->author);
    w->emergency = config_copy(&w->op.pending_ops.arena, q->emergency);
    if (q->once)
        w->once =
            (struct config_once){config_copy(&w->op.pending_ops.arena, q->once->key),
                                 config_copy(&w->op.pending_ops.arena, q->once->digest), q->once->answer};
    w->policies = arena_new(&w->op.pending_ops.arena, (count + 1) * sizeof *w->policies);
    w->op.pending_ops.on_free = free_write;
    return w;
}

/* The policy of a namespace, once for all targets in it. Only the last ones are looked through: a policy that
 * stands there twice is compared twice. */
static struct write_policy *use_policy(struct write *w, struct slice ns)
{
    for (size_t i = w->policy_count; i > 0 && w->policy_count - i < POLICIES_SEARCHED; i--)
        if (slice_equal(w->policies[i - 1].ns, ns))
            return &w->policies[i - 1];
    struct write_policy *p = &w->policies[w->policy_count++];
    p->ns = ns;
    p->side.key = config_key(&w->op.pending_ops.arena, CONFIG_POLICY, &(struct config_id){.ns = ns}, 0);
    return p;
}

void write_use_side(struct write *w, struct target *t, enum write_side side)
{
    static const enum config_key kinds[SIDES] = {
        [SIDE_REVIEW] = CONFIG_REVIEW, [SIDE_SCHEDULE] = CONFIG_SCHEDULE, [SIDE_ROLLOUT] = CONFIG_ROLLOUT};
    t->sides[side] =
        (struct side){.key = config_key(&w->op.pending_ops.arena, kinds[side], &t->key, 0), .is_used = true};
}

void write_change_side(struct write *w, struct target *t, enum write_side side, struct buf *text)
{
    t->sides[side].is_changed = true;
    t->sides[side].change = config_write_take_text(w, text);
}

bool write_needs_review(const struct write *w, const struct target *t)
{
    const struct write_policy *p = t->policy;
    (void)w;
    if (p->side.revision && !p->policy)
        return true; /* it cannot be read: nothing passes until it is repaired */
    return p->policy && workflow_policy_matches(p->policy, t->key.group, t->key.name);
}

bool write_target(struct write *w, size_t at, const struct config_id *key,
                  int (*decide_it)(struct write *w, struct target *t),
                  const struct config_condition *condition)
{
    struct arena *a = &w->op.pending_ops.arena;
    struct target *t = &w->targets[at];
    if (!config_check_id(&w->op, key))
        return false;
    t->key = config_copy_id(a, key);
    t->head_key = config_key(a, CONFIG_HEAD, &t->key, 0);
    t->draft_key = config_key(a, CONFIG_DRAFT, &t->key, 0);
    t->release_prefix = config_prefix(a, CONFIG_RELEASE, &t->key);
    t->decide = decide_it;
    t->policy = use_policy(w, t->key.ns);
    if (condition) {
        t->condition = *condition;
        t->condition.if_md5 = config_copy(a, condition->if_md5);
    }
    return true;
}

bool write_annotate(struct write *w, size_t at, struct slice title, struct slice note)
{
    struct target *t = &w->targets[at];
    char error[256];
    int err = config_check_title(title, error, sizeof error);
    if (!err)
        err = config_check_note(note, error, sizeof error);
    if (err) {
        pending_op_refuse(&w->op.pending_ops, err, "%s", error);
        return false;
    }
    t->title = config_copy(&w->op.pending_ops.arena, title);
    t->note = config_copy(&w->op.pending_ops.arena, note);
    return true;
}

struct slice write_content(struct write *w, struct slice content)
{
    if (content.size > w->op.config->options.content_bytes_max)
        return slice_of(NULL, content.size);
    return config_copy(&w->op.pending_ops.arena, content);
}

/* A validation enters no queue: it writes nothing. */
void write_start(struct write *w)
{
    struct config *c = w->op.config;
    if (w->only_validate || write_line_enter(w)) {
        write_step(w);
        return;
    }
    for (size_t i = 0; i < w->count; i++)
        w->blocked_bytes += BLOCKED_ROOM + w->targets[i].content.size;
    c->blocked_bytes += w->blocked_bytes;
    w->is_blocked = c->blocked_bytes <= BLOCKED_BYTES_MAX;
    if (w->is_blocked)
        return;
    write_line_leave(w);
    pending_op_refuse(
        &w->op.pending_ops, ERR_TOO_MANY_REQUESTS,
        "too many writes wait on this member for others of the same configuration: try again later");
}
