/* SPDX-License-Identifier: Apache-2.0
 * Compares the live configurations of two namespaces, by group and name: a merge of the two ordered lists of the
 * view.
 *
 *   1. find     The next live item of each side.
 *   2. compare  Digests and formats, if both contents are clear. Sizes alone may tell sealed ones apart.
 *   3. open     Else the content worker opens both, and compares them.
 *
 * Digests of sealed contents are keyed by their names, so those of two namespaces never match. */
#include <stdio.h>

#include "base/turn.h"
#include "config/config_private.h"
#include "config/sealed.h"

enum {
    COMPARE_PLACES = 256,                /* items of the view between two looks at the clock */
    COMPARE_LIMIT_MAX = 1000,            /* configurations of a page */
    COMPARE_OPENED_MAX = 8 * 1024 * 1024 /* bytes of opened contents, after which a page ends */
};

struct compare_side {
    struct slice ns;
    struct buf after; /* "group/name" of the last item that was looked at */
    struct buf names; /* of the item that was found */
    struct slice group, name;
    bool has_item, is_at_end;
    struct config_compared_side item;
};

struct comparison {
    struct config_op op; /* first */
    struct config_compare *request;
    struct slice group, prefix;
    struct compare_side from, to;
    size_t left, opened;
    struct config_compared result; /* under way, while its contents are read */
    struct compare_task *task;     /* under way; NULL = none */
    char error[300];
};

/* The worker's data: copies of both stored releases. Index 1 is the second side. */
struct compare_task {
    struct task task; /* first */
    struct comparison *comparison;
    const struct seal_keys *keys;
    struct arena arena;
    struct config_id id[2];
    struct slice text[2];
    /* Set by the worker. */
    bool is_same;
    int err;
    char error[256];
};

/* --- the items ------------------------------------------------------------------------------------------ */

static void set_after(struct compare_side *s, struct slice group, struct slice name)
{
    buf_clear(&s->after);
    buf_add_slice(&s->after, group);
    buf_add_byte(&s->after, '/');
    buf_add_slice(&s->after, name);
}

static bool take_live(void *arg, const struct config_item *item)
{
    struct compare_side *s = arg;
    const struct config_head *h = item->head;
    if (!h || h->is_deleted)
        return true;
    buf_clear(&s->names);
    buf_add_slice(&s->names, item->group);
    buf_add_slice(&s->names, item->name);
    buf_add_slice(&s->names, h->sealed);
    s->group = slice_of(s->names.data, item->group.size);
    s->name = slice_of(s->names.data + item->group.size, item->name.size);
    s->item = (struct config_compared_side){.is_live = true,
                                            .seq = h->seq,
                                            .format = h->format,
                                            .digest = h->digest,
                                            .size = h->size,
                                            .time_ms = h->time_ms};
    s->item.sealed = slice_of(s->name.data + s->name.size, h->sealed.size);
    s->has_item = true;
    return false;
}

/* Looks at some places of the view. */
static void compare_find(struct comparison *x, struct compare_side *s)
{
    const struct config_item *last = NULL;
    if (s->has_item || s->is_at_end)
        return;
    bool has_more = heads_each_some(x->op.config->heads, s->ns, x->group, x->prefix, buf_slice(&s->after),
                                    COMPARE_PLACES, take_live, s, &last);
    if (s->has_item)
        set_after(s, s->group, s->name);
    else if (has_more)
        set_after(s, last->group, last->name);
    else
        s->is_at_end = true;
}

static int compare_slices(struct slice a, struct slice b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int order = n ? memcmp(a.data, b.data, n) : 0;
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* Below 0: the item of `from` is alone; above 0: the one of `to` is. */
static int compare_order(const struct comparison *x)
{
    if (!x->to.has_item)
        return -1;
    if (!x->from.has_item)
        return 1;
    int order = compare_slices(x->from.group, x->to.group);
    return order ? order : compare_slices(x->from.name, x->to.name);
}

/* --- one configuration ---------------------------------------------------------------------------------- */

static void compare_go_on(struct pending_op *pending_ops);

static void compare_later(struct comparison *x)
{
    x->op.pending_ops.goes_on = false;
    pending_op_limit(&x->op.pending_ops, 0, compare_go_on);
}

/* The caller may cancel from inside the callback: compare_later or compare_end follows in any case. */
static void compare_report(struct comparison *x, enum config_compared_state state, const char *error)
{
    struct config_compared *r = &x->result;
    x->op.pending_ops.goes_on = true;
    r->state = state;
    r->error = error;
    x->op.result.items++;
    x->left--;
    if (r->from.is_live)
        x->from.has_item = false;
    if (r->to.is_live)
        x->to.has_item = false;
    if (x->op.pending_ops.handle)
        x->request->compared(x->request, r);
}

static bool is_sealed(const struct config_compared *r)
{
    return r->from.sealed.size || r->to.sealed.size;
}

/* True: contents must be read. */
static bool compare_heads(struct comparison *x)
{
    struct config_compared *r = &x->result;
    int order = compare_order(x);
    const struct compare_side *s = order > 0 ? &x->to : &x->from;
    *r = (struct config_compared){.group = s->group, .name = s->name};
    if (order <= 0)
        r->from = x->from.item;
    if (order >= 0)
        r->to = x->to.item;
    if (order)
        compare_report(x, order < 0 ? CONFIG_ONLY_FROM : CONFIG_ONLY_TO, NULL);
    else if (r->from.format != r->to.format || r->from.size != r->to.size)
        compare_report(x, CONFIG_DIFFERS, NULL);
    else if (is_sealed(r))
        return true;
    else
        compare_report(x, digest_equal(&r->from.digest, &r->to.digest) ? CONFIG_SAME : CONFIG_DIFFERS, NULL);
    return false;
}

/* A content that does not open, or a release that was replaced and collected meanwhile. */
static void compare_unknown(struct comparison *x, const char *error)
{
    x->opened += x->result.from.size + x->result.to.size;
    snprintf(x->error, sizeof x->error, "%s", error);
    compare_report(x, CONFIG_UNKNOWN, x->error);
    compare_later(x);
}

/* --- two contents, on the worker ------------------------------------------------------------------------ */

static int open_compared(struct compare_task *k, bool is_to, struct slice *ret, char *error, size_t size)
{
    struct config_release r;
    struct arena *a = &k->arena;
    int err = config_release_read(k->text[is_to], a, &r, error, size);
    if (!err && r.sealed.size)
        err = sealed_open(k->keys, &k->id[is_to], r.sealed, r.envelope, a, &r.content, error, size);
    if (!err)
        *ret = r.content;
    return err;
}

static void run_compare(struct task *t)
{
    struct compare_task *k = container_of(t, struct compare_task, task);
    struct slice from = {0}, to = {0};
    k->err = open_compared(k, false, &from, k->error, sizeof k->error);
    if (!k->err)
        k->err = open_compared(k, true, &to, k->error, sizeof k->error);
    k->is_same = !k->err && slice_equal(from, to);
}

static void on_compare_run(struct task *t)
{
    struct compare_task *k = container_of(t, struct compare_task, task);
    struct comparison *x = k->comparison;
    turn_enter(TURN_CONFIG_REQUESTS);
    x->task = NULL;
    if (k->err) {
        metric_add(METRIC_CONFIG_OPEN_FAILURES, k->err == ERR_KEY_MISSING || k->err == ERR_CORRUPT);
        compare_unknown(x, *k->error ? k->error : err_text(k->err));
        return;
    }
    x->opened += x->result.from.size + x->result.to.size;
    compare_report(x, k->is_same ? CONFIG_SAME : CONFIG_DIFFERS, NULL);
    compare_later(x);
}

static void release_compare(struct task *t)
{
    struct compare_task *k = container_of(t, struct compare_task, task);
    arena_done(&k->arena);
    mem_free(k);
}

/* Reads the stored release; OK with an empty text: there is none any more. */
static int take_stored(struct comparison *x, struct compare_task *k, bool is_to)
{
    const struct compare_side *s = is_to ? &x->to : &x->from;
    const struct config_id id = {s->ns, x->result.group, x->result.name};
    const struct config_compared_side *item = is_to ? &x->result.to : &x->result.from;
    struct arena *a = &k->arena;
    const Mvccpb__KeyValue *pair;
    k->id[is_to] = config_copy_id(a, &id);
    int err = config_lookup(x->op.config, config_key(a, CONFIG_RELEASE, &id, item->seq), a, &pair);
    if (!err && pair)
        k->text[is_to] = pair_value(pair);
    return err;
}

static void compare_contents(struct comparison *x)
{
    struct compare_task *k = mem_new(sizeof *k);
    k->comparison = x;
    k->keys = x->op.config->options.keys;
    int err = take_stored(x, k, false);
    if (!err)
        err = take_stored(x, k, true);
    bool is_there = k->text[0].size && k->text[1].size;
    k->task = (struct task){.bytes = k->text[0].size + k->text[1].size,
                            .run = run_compare,
                            .done = on_compare_run,
                            .release = release_compare};
    if (!err && is_there)
        err = config_task_add(x->op.config, &k->task, &x->request->request);
    if (!err && is_there) {
        x->task = k;
        return;
    }
    release_compare(&k->task);
    if (err == ERR_TOO_MANY_REQUESTS)
        pending_op_refuse(&x->op.pending_ops, err,
                          "too many contents wait for the content worker of this member: try again later");
    else if (err)
        pending_op_end(&x->op.pending_ops, err);
    else
        compare_unknown(x, "a release was deleted during the comparison: compare again");
}

/* --- the request ---------------------------------------------------------------------------------------- */

static void compare_end(struct comparison *x, bool has_more)
{
    x->op.result.has_more = has_more;
    x->op.result.revision = heads_revision(x->op.config->heads);
    pending_op_end(&x->op.pending_ops, OK);
}

static void compare_go_on(struct pending_op *pending_ops)
{
    struct comparison *x = container_of(pending_ops, struct comparison, op.pending_ops);
    bool is_first = true;
    turn_enter(TURN_CONFIG_REQUESTS);
    while (is_first || !config_slice_is_over(x->op.config)) {
        is_first = false;
        compare_find(x, &x->from);
        compare_find(x, &x->to);
        if ((!x->from.has_item && !x->from.is_at_end) || (!x->to.has_item && !x->to.is_at_end))
            continue;
        bool has_item = x->from.has_item || x->to.has_item;
        if (!has_item || !x->left || x->opened >= COMPARE_OPENED_MAX || !pending_ops->handle) {
            compare_end(x, has_item);
            return;
        }
        if (compare_heads(x)) {
            pending_ops->goes_on = false;
            compare_contents(x);
            return;
        }
    }
    compare_later(x);
}

static void on_compare_view(struct feed_waiter *w)
{
    compare_go_on(&container_of(w, struct comparison, op.pending_ops.waiter)->op.pending_ops);
}

static void on_compare_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct comparison *x = container_of(kv, struct comparison, op.pending_ops.kv);
    (void)response;
    if (err)
        pending_op_end(&x->op.pending_ops, err);
    else
        pending_op_view(&x->op.pending_ops, kv_revision(x->op.config->kv), on_compare_view);
}

static void free_comparison(struct pending_op *op)
{
    struct comparison *x = container_of(op, struct comparison, op.pending_ops);
    if (x->task)
        task_cancel(&x->task->task);
    buf_done(&x->from.after);
    buf_done(&x->from.names);
    buf_done(&x->to.after);
    buf_done(&x->to.names);
}

void config_compare(struct config *c, struct config_compare *q)
{
    struct comparison *x = config_op_new(c, &q->request, sizeof *x);
    struct arena *a = &x->op.pending_ops.arena;
    x->op.pending_ops.on_free = free_comparison;
    x->request = q;
    x->from.ns = config_copy(a, q->from);
    x->to.ns = config_copy(a, q->to);
    x->group = config_copy(a, q->group);
    x->prefix = config_copy(a, q->prefix);
    x->left = q->limit < 1 ? 1 : q->limit > COMPARE_LIMIT_MAX ? COMPARE_LIMIT_MAX : q->limit;
    buf_add_slice(&x->from.after, q->after);
    buf_add_slice(&x->to.after, q->after);
    if (slice_equal(q->from, q->to))
        pending_op_refuse(&x->op.pending_ops, ERR_INVALID, "the two namespaces are the same one");
    else
        config_op_barrier(&x->op, on_compare_barrier);
}
