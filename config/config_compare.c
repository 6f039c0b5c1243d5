/* SPDX-License-Identifier: Apache-2.0
 * Compares the live configurations of two namespaces, by group and name: a merge of the two ordered lists of the
 * view.
 *
 *   1. find     The next live item of each side.
 *   2. compare  Digests and formats, if both contents are clear. Sizes alone may tell sealed ones apart.
 *   3. open     Else both releases are read, one after the other, each in a turn of its own.
 *
 * Digests of sealed contents are keyed by their names, so those of two namespaces never match. */
#include <stdio.h>

#include "base/turn.h"
#include "config/config_private.h"

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
    struct config_request read;
    struct buf content; /* of `from` */
    char error[300];
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
static void compare_unknown(struct comparison *x, const struct config_result *result, int err)
{
    x->opened += x->result.from.size + x->result.to.size;
    snprintf(x->error, sizeof x->error, "%s", result->error ? result->error : err_text(err));
    compare_report(x, CONFIG_UNKNOWN, x->error);
    compare_later(x);
}

static bool is_about_content(int err)
{
    return err == ERR_KEY_MISSING || err == ERR_CORRUPT || err == ERR_NOT_FOUND;
}

static void on_to_read(struct config_request *q, int err, const struct config_result *result)
{
    struct comparison *x = container_of(q, struct comparison, read);
    turn_enter(TURN_CONFIG_REQUESTS);
    if (is_about_content(err)) {
        compare_unknown(x, result, err);
        return;
    }
    if (err) {
        pending_op_end(&x->op.pending_ops, err);
        return;
    }
    bool is_same = slice_equal(buf_slice(&x->content), result->release->content);
    x->opened += x->result.from.size + x->result.to.size;
    buf_clear(&x->content);
    compare_report(x, is_same ? CONFIG_SAME : CONFIG_DIFFERS, NULL);
    compare_later(x);
}

static void on_from_read(struct config_request *q, int err, const struct config_result *result)
{
    struct comparison *x = container_of(q, struct comparison, read);
    const struct config_id key = {x->to.ns, x->result.group, x->result.name};
    turn_enter(TURN_CONFIG_REQUESTS);
    if (is_about_content(err)) {
        compare_unknown(x, result, err);
        return;
    }
    if (err) {
        pending_op_end(&x->op.pending_ops, err);
        return;
    }
    buf_clear(&x->content);
    buf_add_slice(&x->content, result->release->content);
    x->read = (struct config_request){.done = on_to_read};
    config_read(x->op.config, &x->read, &key, x->result.to.seq, true);
}

static void compare_contents(struct comparison *x)
{
    const struct config_id key = {x->from.ns, x->result.group, x->result.name};
    x->read = (struct config_request){.done = on_from_read};
    config_read(x->op.config, &x->read, &key, x->result.from.seq, true);
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
    if (x->read.impl)
        config_cancel(x->op.config, &x->read);
    buf_done(&x->content);
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
