/* SPDX-License-Identifier: Apache-2.0
 * Reads of one release, a draft, the history. Head and content come from the store at one instant, after a
 * barrier unless the read is local. */
#include <stdio.h>

#include "config/config_private.h"
#include "config/sealed.h"

#define HISTORY_LIMIT_MAX 1000
#define HISTORY_KEYS      256          /* of releases in one range read */
#define HISTORY_BYTES     (256u << 10) /* read in one turn */

/* --- one release --------------------------------------------------------------------------------------- */

struct release_read {
    struct config_op op; /* first */
    struct config_id key;
    uint64_t seq; /* 0 = the live one */
    bool is_draft;
    struct config_head head;
    struct recent_release *release; /* owned */
    struct config_draft draft;
    char error[256]; /* of one that does not open */
};

/* Copies the view's head if it is of this revision. Gray rules would not survive the turn. */
static bool copy_head(struct config_op *op, const struct config_id *key, int64_t revision,
                      struct config_head *head)
{
    const struct heads_item *item = heads_find(op->config->heads, key);
    if (!revision || !item || item->key_revision != revision || !item->item.head ||
        item->item.head->gray.count)
        return false;
    *head = *item->item.head;
    head->title = config_copy(&op->pending_ops.arena, head->title);
    head->sealed = config_copy(&op->pending_ops.arena, head->sealed);
    return true;
}

/* *ret is NULL if the head does not exist or cannot be read. */
static int config_read_head(struct config_op *op, const struct config_id *key, struct config_head *head,
                            const struct config_head **ret)
{
    struct arena *a = &op->pending_ops.arena;
    const struct slice name = config_key(a, CONFIG_HEAD, key, 0);
    const Mvccpb__KeyValue *pair;
    int64_t revision;
    char error[256];
    int err = config_lookup_revision(op->config, name, a, &revision);
    *ret = !err && copy_head(op, key, revision, head) ? head : NULL;
    if (err || *ret || !revision)
        return err;
    err = config_lookup(op->config, name, a, &pair);
    if (!err && pair && config_head_read(pair_value(pair), a, head, error, sizeof error) == OK)
        *ret = head;
    return err;
}

/* ERR_NOT_FOUND also for a release that cannot be read: it is treated as missing. One that does not open is
 * there, and the result has it. */
static int read_release(struct release_read *r, uint64_t seq)
{
    struct config *c = r->op.config;
    struct arena *a = &r->op.pending_ops.arena;
    const struct slice name = config_key(a, CONFIG_RELEASE, &r->key, seq);
    const Mvccpb__KeyValue *pair;
    int64_t revision;
    int err = config_lookup_revision(c, name, a, &revision);
    if (err)
        return err;
    r->release = recent_get(&c->recent, name, revision);
    if (!r->release)
        err = config_lookup(c, name, a, &pair);
    if (!r->release && !err && pair)
        r->release = recent_read(&c->recent, name, pair->mod_revision, pair_value(pair));
    if (!err && !r->release)
        err = ERR_NOT_FOUND;
    return err ? err : r->release->open_err;
}

static int read_draft(struct release_read *r)
{
    struct arena *a = &r->op.pending_ops.arena;
    const Mvccpb__KeyValue *pair;
    char error[256];
    int err = config_lookup(r->op.config, config_key(a, CONFIG_DRAFT, &r->key, 0), a, &pair);
    if (!err && (!pair || config_draft_read(pair_value(pair), a, &r->draft, error, sizeof error)))
        err = ERR_NOT_FOUND;
    if (!err)
        err = sealed_open_draft(r->op.config->options.keys, &r->key, &r->draft, a, r->error, sizeof r->error);
    if (!err)
        r->op.result.draft = &r->draft;
    return err;
}

static int read_live_or_old(struct release_read *r)
{
    struct config_result *result = &r->op.result;
    int err = config_read_head(&r->op, &r->key, &r->head, &result->head);
    if (!err && !r->seq && (!result->head || result->head->is_deleted))
        err = ERR_NOT_FOUND;
    if (!err && r->seq > CONFIG_SEQ_MAX)
        err = ERR_NOT_FOUND;
    result->seq = r->seq ? r->seq : result->head ? result->head->seq : 0;
    if (!err)
        err = read_release(r, result->seq);
    if (r->release)
        result->release = &r->release->release;
    if (r->release && r->release->open_err)
        snprintf(r->error, sizeof r->error, "%s", r->release->open_error);
    return err;
}

static void read_now(struct release_read *r)
{
    r->op.result.revision = kv_revision(r->op.config->kv);
    int err = r->is_draft ? read_draft(r) : read_live_or_old(r);
    if (err == ERR_NOT_FOUND && r->is_draft)
        pending_op_refuse(&r->op.pending_ops, err, "there is no draft of %.*s", (int)r->key.name.size,
                          (const char *)r->key.name.data);
    else if (err == ERR_NOT_FOUND && r->seq)
        pending_op_refuse(&r->op.pending_ops, err, "there is no release %llu of %.*s (any more)",
                          (unsigned long long)r->seq, (int)r->key.name.size, (const char *)r->key.name.data);
    else if (err == ERR_NOT_FOUND)
        pending_op_refuse(&r->op.pending_ops, err, "there is no configuration %.*s", (int)r->key.name.size,
                          (const char *)r->key.name.data);
    else if (err && *r->error)
        pending_op_refuse(&r->op.pending_ops, err, "%.*s: %s", (int)r->key.name.size,
                          (const char *)r->key.name.data, r->error);
    else
        pending_op_end(&r->op.pending_ops, err);
}

static void config_read_on_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct release_read *r = container_of(kv, struct release_read, op.pending_ops.kv);
    (void)response;
    if (err)
        pending_op_end(&r->op.pending_ops, err);
    else
        read_now(r);
}

static void free_release_read(struct pending_op *op)
{
    recent_unref(container_of(op, struct release_read, op.pending_ops)->release);
}

static struct release_read *config_read_begin(struct config *c, struct config_request *q,
                                              const struct config_id *key)
{
    struct release_read *r = config_op_new(c, q, sizeof *r);
    r->op.pending_ops.on_free = free_release_read;
    if (!config_check_id(&r->op, key))
        return NULL;
    r->key = config_copy_id(&r->op.pending_ops.arena, key);
    return r;
}

void config_read(struct config *c, struct config_request *q, const struct config_id *key, uint64_t seq,
                 bool is_local)
{
    struct release_read *r = config_read_begin(c, q, key);
    if (!r)
        return;
    r->seq = seq;
    if (is_local)
        read_now(r);
    else
        config_op_barrier(&r->op, config_read_on_barrier);
}

const struct config_release *config_read_recent(struct config *c, const struct config_id *key, uint64_t seq)
{
    struct arena a = {0};
    struct recent_release *e = NULL;
    int64_t revision;
    const struct slice name = config_key(&a, CONFIG_RELEASE, key, seq);
    if (config_lookup_revision(c, name, &a, &revision) == OK)
        e = recent_get(&c->recent, name, revision);
    recent_unref(e); /* the cache keeps its own reference */
    arena_done(&a);
    return e && !e->open_err ? &e->release : NULL;
}

void config_read_draft(struct config *c, struct config_request *q, const struct config_id *key)
{
    struct release_read *r = config_read_begin(c, q, key);
    if (!r)
        return;
    r->is_draft = true;
    config_op_barrier(&r->op, config_read_on_barrier);
}

/* --- history ------------------------------------------------------------------------------------------- */

/* A history page under way. Releases include their contents, so a page is read in several turns, each
 * bounded. A release that is collected meanwhile is left out. */
struct history_read {
    struct config_op op; /* first */
    struct config_history *history;
    struct config_id key;
    uint64_t oldest, before; /* 0 = there are no releases */
    size_t left;
    uint64_t seqs[HISTORY_KEYS]; /* existing ones below `before`, ascending */
    size_t count;
    struct config_head head;
};

static int find_keys(struct history_read *t, uint64_t from, uint64_t to, int64_t limit, bool last_first)
{
    struct arena a = {0};
    struct buf scratch = {0};
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct slice first = config_key(&a, CONFIG_RELEASE, &t->key, from),
                 end = config_key(&a, CONFIG_RELEASE, &t->key, to);
    m.key.len = first.size;
    memcpy(&m.key.data, &first.data, sizeof first.data);
    m.range_end.len = end.size;
    memcpy(&m.range_end.data, &end.data, sizeof end.data);
    m.keys_only = true;
    m.limit = limit;
    if (last_first)
        m.sort_order = ETCDSERVERPB__RANGE_REQUEST__SORT_ORDER__DESCEND;
    t->count = 0;
    int err = last_first ? kv_range_now(t->op.config->kv, &m, &a, &response)
                         : kv_range_page(t->op.config->kv, &m, &a, &response);
    for (size_t i = 0; !err && i < response->n_kvs && t->count < HISTORY_KEYS; i++) {
        struct config_name name;
        struct slice key = slice_of(response->kvs[i]->key.data, response->kvs[i]->key.len);
        if (config_name_parse(key, &scratch, &name) == OK)
            t->seqs[t->count++] = name.seq;
    }
    buf_done(&scratch);
    arena_done(&a);
    return err;
}

/* Finds the newest releases below `before`. Seqs are dense except where releases were collected: a wide gap
 * is crossed by a range read for the last key before it. */
static int find_more(struct history_read *t)
{
    int err = OK;
    while (!err && t->count == 0 && t->oldest && t->before > t->oldest) {
        uint64_t from = t->before > HISTORY_KEYS ? t->before - HISTORY_KEYS : 1;
        err = find_keys(t, from > t->oldest ? from : t->oldest, t->before, HISTORY_KEYS, false);
        if (err || t->count)
            break;
        err = find_keys(t, t->oldest, t->before, 1, true);
        t->before = t->count ? t->seqs[0] + 1 : t->oldest;
        t->count = 0;
    }
    return err;
}

/* Reports one release; returns the bytes read. The caller may have canceled when it returns. */
static size_t report_one(struct history_read *t, uint64_t seq)
{
    struct config_op *op = &t->op;
    struct config_release release;
    struct arena a = {0};
    const Mvccpb__KeyValue *pair;
    char error[256];
    size_t size = 1;
    t->before = seq;
    if (config_lookup(op->config, config_key(&a, CONFIG_RELEASE, &t->key, seq), &a, &pair) == OK && pair) {
        size += pair->value.len;
        if (config_release_read(pair_value(pair), &a, &release, error, sizeof error) == OK) {
            release.content.data = NULL;
            release.envelope = (struct slice){0};
            op->result.seq = seq;
            op->result.items++;
            t->left--;
            t->history->release(t->history, seq, &release);
            if (op->pending_ops.handle && t->history->is_full)
                t->left = 0;
        }
    }
    arena_done(&a);
    return size;
}

static void config_read_go_on(struct pending_op *pending_ops)
{
    struct history_read *t = container_of(pending_ops, struct history_read, op.pending_ops);
    size_t bytes = 0;
    bool is_over = false;
    int err = OK;
    pending_ops->goes_on = true; /* the caller may cancel from inside the callback */
    while (!err && pending_ops->handle && t->left && !is_over) {
        err = find_more(t);
        if (err || !t->count)
            break;
        bytes += report_one(t, t->seqs[--t->count]);
        is_over = bytes >= HISTORY_BYTES || config_slice_is_over(t->op.config);
    }
    if (!err && pending_ops->handle && t->left && is_over) {
        pending_ops->goes_on = false;
        pending_op_limit(pending_ops, 0, config_read_go_on);
        return;
    }
    if (!err && pending_ops->handle)
        err = find_more(t);
    t->op.result.has_more = t->count > 0;
    pending_op_end(pending_ops, err);
}

static void on_history(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct history_read *t = container_of(kv, struct history_read, op.pending_ops.kv);
    (void)response;
    if (!err)
        err = config_read_head(&t->op, &t->key, &t->head, &t->op.result.head);
    if (!err)
        err = find_keys(t, 1, CONFIG_SEQ_MAX, 1, false);
    if (!err && !t->count && !t->op.result.head)
        err = ERR_NOT_FOUND;
    if (err == ERR_NOT_FOUND)
        pending_op_refuse(&t->op.pending_ops, err, "there is no configuration %.*s", (int)t->key.name.size,
                          (const char *)t->key.name.data);
    else if (err)
        pending_op_end(&t->op.pending_ops, err);
    if (err)
        return;
    t->oldest = t->count ? t->seqs[0] : 0;
    t->count = 0;
    t->op.result.revision = kv_revision(t->op.config->kv);
    if (!t->before || t->before > CONFIG_SEQ_MAX)
        t->before = CONFIG_SEQ_MAX;
    if (t->op.result.head && t->before > t->op.result.head->last_seq)
        t->before = t->op.result.head->last_seq + 1; /* keys above it are from other writers */
    config_read_go_on(&t->op.pending_ops);
}

void config_history(struct config *c, struct config_history *h)
{
    struct history_read *t = config_op_new(c, &h->request, sizeof *t);
    if (!config_check_id(&t->op, &h->key))
        return;
    t->history = h;
    t->key = config_copy_id(&t->op.pending_ops.arena, &h->key);
    t->before = h->before;
    t->left = h->limit < 1 ? 1 : h->limit > HISTORY_LIMIT_MAX ? HISTORY_LIMIT_MAX : h->limit;
    config_op_barrier(&t->op, on_history);
}
