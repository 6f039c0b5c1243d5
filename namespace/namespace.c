/* SPDX-License-Identifier: Apache-2.0
 * The namespaces: the turn, the view's feed, watches, and requests that only wait. Writes are in write.c, the
 * leader's job in cascade.c. */
#include "namespace/namespace.h"

#include "base/metric.h"
#include "base/turn.h"
#include "namespace/private.h"

enum { DONE_MAX = 1000, BATCH_KEYS = 100 };
#define DONE_KEPT_MS (UINT64_C(24) * 3600 * 1000)

/* --- the view ------------------------------------------------------------------------------------------- */

static void namespaces_on_begin(void *arg, int64_t revision, bool is_whole)
{
    namespace_view_begin(((struct namespaces *)arg)->view, revision, is_whole);
}

static void namespaces_on_put(void *arg, const Mvccpb__KeyValue *pair)
{
    namespace_view_put(((struct namespaces *)arg)->view, slice_of(pair->key.data, pair->key.len),
                       slice_of(pair->value.data, pair->value.len), pair->mod_revision);
}

static void namespaces_on_remove(void *arg, struct slice key, int64_t revision)
{
    namespace_view_remove(((struct namespaces *)arg)->view, key, revision);
}

static bool namespaces_on_end(void *arg, uint64_t until_ns)
{
    (void)until_ns;
    namespace_view_end(((struct namespaces *)arg)->view);
    return true;
}

static const struct feed_events namespaces_events = {namespaces_on_begin, namespaces_on_put,
                                                     namespaces_on_remove, namespaces_on_end, false};
static const char *const namespaces_prefixes[] = {NAMESPACE_PREFIX};

static void namespaces_on_changed(void *arg, const struct namespace_entry *e)
{
    struct namespaces *n = arg;
    for (struct link *l = n->watches.next; l != &n->watches; l = l->next) {
        struct namespaces_watch *w = container_of(l, struct namespaces_watch, link);
        if (!w->ns.size || slice_equal(w->ns, e->name))
            w->changed(w);
    }
}

bool namespaces_is_ready(const struct namespaces *n)
{
    return feed_is_following(n->feed);
}

int64_t namespaces_revision(const struct namespaces *n)
{
    int64_t feed_at = feed_revision(n->feed), view_at = namespace_view_revision(n->view);
    bool is_ahead = feed_is_following(n->feed) && view_at > feed_at; /* while watches are notified */
    return is_ahead ? view_at : feed_at;
}

struct namespace_view *namespaces_view(struct namespaces *n)
{
    return n->view;
}

void namespaces_watch(struct namespaces *n, struct namespaces_watch *w)
{
    list_add_last(&n->watches, &w->link);
}

void namespaces_unwatch(struct namespaces_watch *w)
{
    list_remove(&w->link);
}

/* --- requests ------------------------------------------------------------------------------------------- */

static void namespaces_on_answer(struct pending_op *pending)
{
    struct namespaces_op *op = container_of(pending, struct namespaces_op, pending_ops);
    op->result.error = pending->error;
    op->result.entry = namespace_view_find(op->namespaces->view, op->ns);
    op->request->done(op->request, pending->err, &op->result);
}

void *namespaces_op_new(struct namespaces *n, struct namespaces_request *q, size_t size)
{
    struct namespaces_op *op = pending_op_new(&n->pending_ops, &q->impl, size);
    op->namespaces = n;
    op->request = q;
    op->pending_ops.on_answer = namespaces_on_answer;
    pending_op_set_author(&op->pending_ops, q->who);
    op->author = author_copy(&op->pending_ops.arena, &q->author);
    return op;
}

static void namespaces_on_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct namespaces_op *op = container_of(kv, struct namespaces_op, pending_ops.kv);
    (void)response;
    if (err)
        pending_op_end(&op->pending_ops, err);
    else
        pending_op_view(&op->pending_ops, kv_revision(op->namespaces->options.kv), op->pending_ops.waiter.fn);
}

void namespaces_op_barrier(struct namespaces_op *op, void (*fn)(struct feed_waiter *w))
{
    op->pending_ops.waiter.fn = fn;
    op->pending_ops.kv = (struct kv_request){.done = namespaces_on_barrier};
    kv_barrier(op->namespaces->options.kv, &op->pending_ops.kv);
    pending_ops_schedule_turn(&op->namespaces->pending_ops);
}

static void namespaces_on_view(struct feed_waiter *w)
{
    struct namespaces_op *op = container_of(w, struct namespaces_op, pending_ops.waiter);
    op->result.revision = w->revision;
    pending_op_end(&op->pending_ops, OK);
}

void namespaces_barrier(struct namespaces *n, struct namespaces_request *q)
{
    namespaces_op_barrier(namespaces_op_new(n, q, sizeof(struct namespaces_op)), namespaces_on_view);
}

void namespaces_cancel(struct namespaces *n, struct namespaces_request *q)
{
    (void)n;
    if (q->impl)
        pending_op_cancel(q->impl);
}

int64_t namespaces_wall_ms(const struct namespaces *n)
{
    return (int64_t)(n->pending_ops.io->ops->wall_ns(n->pending_ops.io) / 1000000);
}

/* --- init, turn and free -------------------------------------------------------------------------------- */

void namespaces_turn(struct namespaces *n)
{
    turn_enter(TURN_NAMESPACES);
    if (feed_turn(n->feed))
        pending_ops_schedule_turn(&n->pending_ops);
    if (namespaces_is_ready(n))
        cascade_turn(n->cascade);
    pending_ops_turn(&n->pending_ops);
}

static void namespaces_collect(void *arg, struct buf *out)
{
    const struct namespaces *n = arg;
    (void)out;
    metric_set(METRIC_NAMESPACES, (double)namespace_view_count(n->view));
    metric_set(METRIC_NAMESPACE_DELETIONS, (double)namespace_view_running_count(n->view));
    metric_set(METRIC_NAMESPACE_UNREADABLE, (double)namespace_view_unreadable(n->view));
}

struct namespaces *namespaces_new(const struct namespaces_options *options)
{
    struct namespaces *n = mem_new(sizeof *n);
    struct namespaces_options *o = &n->options;
    *o = *options;
    o->done_kept_ms = o->done_kept_ms ? o->done_kept_ms : DONE_KEPT_MS;
    o->done_max = o->done_max ? o->done_max : DONE_MAX;
    o->batch_keys = o->batch_keys ? o->batch_keys : BATCH_KEYS;
    list_init(&n->watches);
    pending_ops_init(&n->pending_ops, o->kv);
    n->view = namespace_view_new(namespaces_on_changed, n);
    n->cascade = cascade_new(o, n->view);
    metric_collector_add(namespaces_collect, n);
    n->feed = n->pending_ops.feed = feed_new(o->kv, namespaces_prefixes, 1, &namespaces_events, n);
    return n;
}

void namespaces_free(struct namespaces *n)
{
    if (!n)
        return;
    metric_collector_remove(namespaces_collect, n);
    pending_ops_done(&n->pending_ops);
    feed_free(n->feed);
    cascade_free(n->cascade);
    namespace_view_free(n->view);
    mem_free(n);
}
