/* SPDX-License-Identifier: Apache-2.0
 * The registry's turn: the keys' changes become the view (feed -> catalog), watchers are told, requests end.
 * Here are also the requests that only wait: barriers, revisions. Writes are registry_write.c and
 * registry_session.c, watches registry_watch.c.
 *
 * Invariant: between turns the catalog shows whole revisions, up to registry_revision. Nothing here knows who
 * leads: what only the leader does, by the clock, is the janitor's. */
#include <stdarg.h>

#include "base/metric.h"
#include "registry/registry_private.h"
#include "registry/survey.h"

#define VIEW_MS 2000 /* how long a write waits for the view before it is answered */

/* --- the view ---------------------------------------------------------------------------------------- */

static void on_begin(void *arg, int64_t revision, bool is_whole)
{
    struct registry *r = arg;
    if (is_whole)
        catalog_begin_anew(r->catalog, revision);
    else
        catalog_begin(r->catalog, revision);
}

/* A key that is none of ours, nor of a layout that is projected, is left alone. */
static void on_put(void *arg, const Mvccpb__KeyValue *pair)
{
    struct registry *r = arg;
    struct name name;
    if (name_parse(slice_of(pair->key.data, pair->key.len), &r->names, &name) != OK)
        projections_put(r->projections, r->catalog, pair);
    else if (name.kind != NAME_INSTANCE || !projection_is_reserved(name.id))
        catalog_put(r->catalog, &name, slice_of(pair->value.data, pair->value.len), pair->create_revision,
                    pair->mod_revision);
}

static void on_remove(void *arg, struct slice key, int64_t revision)
{
    struct registry *r = arg;
    struct name name;
    (void)revision;
    if (name_parse(key, &r->names, &name) != OK)
        projections_remove(r->projections, r->catalog, key);
    else if (name.kind != NAME_INSTANCE || !projection_is_reserved(name.id))
        catalog_delete(r->catalog, &name);
}

static void on_end(void *arg)
{
    catalog_end(((struct registry *)arg)->catalog);
}

static const struct feed_events feed_events = {on_begin, on_put, on_remove, on_end};

static void on_changed(void *arg, const struct catalog_change *change)
{
    struct registry *r = arg;
    janitor_changed(r->janitor, change);
    registry_tell(r, change);
}

static void on_session_gone(void *arg, struct catalog_session *session)
{
    janitor_session_gone(((struct registry *)arg)->janitor, session);
}

static void on_session_back(void *arg, struct catalog_session *session)
{
    janitor_session_back(((struct registry *)arg)->janitor, session);
}

bool registry_is_ready(const struct registry *r)
{
    return feed_is_following(r->feed);
}

int64_t registry_revision(const struct registry *r)
{
    int64_t fed = feed_revision(r->feed), seen = catalog_revision(r->catalog);
    return fed > seen || !feed_is_following(r->feed) ? fed : seen; /* while a batch is told it is ahead */
}

struct catalog *registry_catalog(struct registry *r)
{
    return r->catalog;
}

/* --- requests ------------------------------------------------------------------------------------------ */

uint64_t registry_now_ms(const struct registry *r)
{
    return r->io->ops->mono_ns(r->io) / 1000000;
}

void registry_come_again(struct registry *r)
{
    if (r->is_again_set)
        return;
    r->is_again_set = true;
    r->io->ops->timer_start(r->io, &r->again, 0);
}

static void on_again(struct io_timer *timer)
{
    container_of(timer, struct registry, again)->is_again_set = false;
}

void *registry_op_new(struct registry *r, struct registry_request *q, size_t size)
{
    struct registry_op *op = mem_new(size);
    op->registry = r;
    op->request = q;
    if (q)
        q->impl = op;
    list_add_last(&r->ops, &op->link);
    r->op_count++;
    return op;
}

/* Nothing calls it any more. */
static void stop_waiting(struct registry_op *op)
{
    kv_cancel(op->registry->kv, &op->kv);
    feed_forget(&op->waiter);
    heap_remove(&op->registry->deadlines, &op->deadline);
}

static void free_op(struct registry_op *op)
{
    stop_waiting(op);
    list_remove(&op->link);
    if (op->on_free)
        op->on_free(op);
    quota_release(&op->registry->quota, &op->claim);
    arena_done(&op->arena);
    op->registry->op_count--;
    mem_free(op);
}

void registry_op_end(struct registry_op *op, int err)
{
    op->err = err;
    heap_remove(&op->registry->deadlines, &op->deadline);
    list_remove(&op->link);
    list_add_last(&op->registry->ended, &op->link);
    registry_come_again(op->registry);
}

void registry_op_refuse(struct registry_op *op, int err, const char *format, ...)
{
    struct buf text = {0};
    va_list args;
    va_start(args, format);
    buf_addv(&text, format, args);
    va_end(args);
    op->result.error = arena_string(&op->arena, text.data, text.size);
    buf_done(&text);
    registry_op_end(op, err);
}

static void start_timer(struct registry *r)
{
    const struct heap_node *first = heap_first(&r->deadlines);
    uint64_t now = registry_now_ms(r);
    if (first)
        r->io->ops->timer_start(r->io, &r->timer, first->key > now ? first->key - now : 0);
}

void registry_op_limit(struct registry_op *op, uint64_t ms, void (*on_deadline)(struct registry_op *op))
{
    struct registry *r = op->registry;
    op->on_deadline = on_deadline;
    heap_remove(&r->deadlines, &op->deadline);
    heap_add(&r->deadlines, &op->deadline, registry_now_ms(r) + ms);
    if (heap_first(&r->deadlines) == &op->deadline)
        start_timer(r);
}

static void on_timer(struct io_timer *timer)
{
    struct registry *r = container_of(timer, struct registry, timer);
    uint64_t now = registry_now_ms(r);
    struct heap_node *first;
    while ((first = heap_first(&r->deadlines)) && first->key <= now) {
        struct registry_op *op = container_of(first, struct registry_op, deadline);
        heap_remove(&r->deadlines, first);
        op->on_deadline(op);
    }
    start_timer(r);
}

void registry_op_view(struct registry_op *op, int64_t revision, void (*fn)(struct feed_waiter *w))
{
    op->waiter.fn = fn;
    feed_wait(op->registry->feed, &op->waiter, revision);
}

static void on_written(struct feed_waiter *w)
{
    registry_op_end(container_of(w, struct registry_op, waiter), OK);
}

/* The view is being read anew and there is no leader: the write is there all the same. */
static void on_view_late(struct registry_op *op)
{
    feed_forget(&op->waiter);
    registry_op_end(op, OK);
}

void registry_op_written(struct registry_op *op, int64_t revision)
{
    op->result.revision = revision;
    registry_op_limit(op, VIEW_MS, on_view_late);
    registry_op_view(op, revision, on_written);
}

void registry_cancel(struct registry *r, struct registry_request *q)
{
    struct registry_op *op = q->impl;
    (void)r;
    if (!op)
        return;
    q->impl = NULL;
    op->request = NULL;
    if (!op->goes_on)
        free_op(op);
}

static void answer(struct registry_op *op)
{
    struct registry_request *q = op->request;
    list_remove(&op->link);
    op->goes_on = true; /* a cancel from inside on_answer must not free it */
    if (q && op->on_answer && !op->err)
        op->on_answer(op);
    q = op->request;
    if (q) {
        q->impl = NULL;
        q->done(q, op->err, &op->result);
    }
    free_op(op);
}

/* What ends meanwhile is answered in the next turn. */
static void answer_ended(struct registry *r)
{
    struct link now;
    list_init(&now);
    list_move_all(&now, &r->ended);
    while (!list_is_empty(&now))
        answer(container_of(now.next, struct registry_op, link));
}

/* --- waiting for the view --------------------------------------------------------------------------------
 */

static void on_view(struct feed_waiter *w)
{
    struct registry_op *op = container_of(w, struct registry_op, waiter);
    op->result.revision = w->revision;
    registry_op_end(op, OK);
}

static void on_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct registry_op *op = container_of(kv, struct registry_op, kv);
    (void)response;
    if (err)
        registry_op_end(op, err);
    else
        registry_op_view(op, kv_revision(op->registry->kv), on_view);
}

void registry_barrier(struct registry *r, struct registry_request *q)
{
    struct registry_op *op = registry_op_new(r, q, sizeof *op);
    op->kv.done = on_barrier;
    kv_barrier(r->kv, &op->kv);
    registry_come_again(r);
}

static void on_late(struct registry_op *op)
{
    feed_forget(&op->waiter);
    registry_op_end(op, ERR_TIMEOUT);
}

void registry_wait_revision(struct registry *r, struct registry_request *q, int64_t revision,
                            uint64_t timeout_ms)
{
    struct registry_op *op = registry_op_new(r, q, sizeof *op);
    registry_op_limit(op, timeout_ms, on_late);
    registry_op_view(op, revision, on_view);
}

/* --- the whole -------------------------------------------------------------------------------------------
 */

void registry_turn(struct registry *r)
{
    if (feed_turn(r->feed))
        registry_come_again(r);
    if (registry_is_ready(r))
        janitor_turn(r->janitor);
    if (r->was_acknowledged) {
        r->was_acknowledged = false;
        registry_drain_again(r);
    }
    answer_ended(r);
}

static void follow(struct registry *r)
{
    const char *prefixes[PROJECTIONS_MAX + 1] = {REGISTRY_PREFIX};
    size_t count = 1;
    for (size_t i = 0; i < projections_count(r->projections); i++)
        prefixes[count++] = projections_prefix(r->projections, i);
    r->feed = feed_new(r->kv, prefixes, count, &feed_events, r);
}

struct registry *registry_new(const struct registry_options *options)
{
    struct registry *r = mem_new(sizeof *r);
    r->options = *options;
    r->options.member = mem_string(options->member);
    if (!r->options.txn_ops_max)
        r->options.txn_ops_max = 128;
    r->quota = (struct quota){.services_max = options->services_max,
                              .instances_max = options->instances_max,
                              .sessions_max = options->sessions_max};
    r->kv = options->kv;
    r->projections = options->projections;
    r->io = kv_io(options->kv);
    r->again.fire = on_again;
    r->timer.fire = on_timer;
    list_init(&r->ops);
    list_init(&r->ended);
    list_init(&r->draining);
    const struct catalog_events events = {on_changed, on_session_gone, on_session_back, r};
    r->catalog = catalog_new(&events);
    r->janitor = janitor_new(r->kv, r->catalog);
    metric_collector_add(registry_metric_collect, r);
    survey_open(r);
    follow(r);
    return r;
}

/* What a done starts now ends here as well, some times over; a caller that never stops is not asked again. */
static void end_all(struct registry *r)
{
    for (unsigned n = 0; n < 8 && !list_is_empty(&r->ops); n++) {
        while (!list_is_empty(&r->ops)) {
            struct registry_op *op = container_of(r->ops.next, struct registry_op, link);
            stop_waiting(op);
            registry_op_end(op, ERR_STOPPED);
        }
        answer_ended(r);
    }
    answer_ended(r);
    while (!list_is_empty(&r->ops))
        free_op(container_of(r->ops.next, struct registry_op, link));
    while (!list_is_empty(&r->ended))
        free_op(container_of(r->ended.next, struct registry_op, link));
}

void registry_free(struct registry *r)
{
    if (!r)
        return;
    metric_collector_remove(registry_metric_collect, r);
    survey_close(r);
    end_all(r);
    feed_free(r->feed);
    r->io->ops->timer_stop(r->io, &r->again);
    r->io->ops->timer_stop(r->io, &r->timer);
    janitor_free(r->janitor);
    registry_watch_done(r);
    quota_done(&r->quota);
    projections_free(r->projections);
    catalog_free(r->catalog);
    heap_done(&r->deadlines);
    buf_done(&r->names);
    mem_free(r->options.member);
    mem_free(r);
}
