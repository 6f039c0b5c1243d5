/* SPDX-License-Identifier: Apache-2.0
 * The registry's turn, and the requests that only wait (barriers, revisions). registry_write.c,
 * registry_register.c and registry_session.c have the writes, registry_watch.c the watches.
 *
 * A turn:
 *   1. The feed's changes go into the catalog. Watches are notified at the end of each batch.
 *   2. The janitor proposes the actions that are due.
 *   3. Requests that have ended are answered.
 *
 * Invariant: between turns the catalog shows whole revisions, up to registry_revision. Nothing here depends
 * on the leader; the janitor does. */
#include "base/metric.h"
#include "base/turn.h"
#include "registry/registry_private.h"
#include "registry/survey.h"

/* --- the view ---------------------------------------------------------------------------------------- */

static void registry_on_begin(void *arg, int64_t revision, bool is_whole)
{
    struct registry *r = arg;
    events_begin(r->events, is_whole);
    if (is_whole)
        catalog_begin_anew(r->catalog, revision);
    else
        catalog_begin(r->catalog, revision);
}

/* A key that is neither the registry's nor of a projected layout is ignored. */
static void registry_on_put(void *arg, const Mvccpb__KeyValue *pair)
{
    struct registry *r = arg;
    struct name name;
    struct slice key = slice_of(pair->key.data, pair->key.len);
    if (events_put(r->events, key, slice_of(pair->value.data, pair->value.len), pair->mod_revision))
        return;
    if (name_parse(key, &r->names, &name) != OK)
        projections_put(r->projections, r->catalog, pair);
    else if (name.kind == NAME_SESSION)
        catalog_put_session(r->catalog, &name, slice_of(pair->value.data, pair->value.len), pair->lease,
                            pair->create_revision, pair->mod_revision);
    else if (name.kind == NAME_GUARD)
        janitor_history(r->janitor, name.ns, slice_of(pair->value.data, pair->value.len));
    else if (name.kind != NAME_INSTANCE || !projection_is_reserved(name.id))
        catalog_put(r->catalog, &name, slice_of(pair->value.data, pair->value.len), pair->create_revision,
                    pair->mod_revision);
}

static void on_remove(void *arg, struct slice key, int64_t revision)
{
    struct registry *r = arg;
    struct name name;
    if (events_remove(r->events, key, revision))
        return;
    if (name_parse(key, &r->names, &name) != OK)
        projections_remove(r->projections, r->catalog, key);
    else if (name.kind == NAME_GUARD)
        janitor_history(r->janitor, name.ns, (struct slice){0});
    else if (name.kind != NAME_INSTANCE || !projection_is_reserved(name.id))
        catalog_delete(r->catalog, &name);
}

struct pace {
    struct io *io;
    uint64_t until_ns;
};

static bool registry_is_over(const void *arg)
{
    const struct pace *p = arg;
    return p->io->ops->mono_ns(p->io) >= p->until_ns;
}

static bool registry_on_end(void *arg, uint64_t until_ns)
{
    struct registry *r = arg;
    const struct pace pace = {kv_io(r->kv), until_ns};
    r->is_notifying = true;
    bool has_ended = catalog_end_some(r->catalog, registry_is_over, &pace);
    r->is_notifying = false;
    if (has_ended)
        events_end(r->events);
    return has_ended;
}

static const struct feed_events feed_events = {registry_on_begin, registry_on_put, on_remove, registry_on_end,
                                               true};

static void on_changed(void *arg, const struct catalog_change *change)
{
    struct registry *r = arg;
    janitor_changed(r->janitor, change);
    checks_changed(r->checks, change);
    registry_notify(r, change);
}

static void on_replaced(void *arg, const struct catalog_replaced *change)
{
    events_replaced(((struct registry *)arg)->events, change);
}

static void on_session_gone(void *arg, struct catalog_session *session)
{
    struct registry *r = arg;
    quota_session_gone(&r->quota, session);
    if (session->instance_count)
        janitor_session_gone(r->janitor, session);
}

static void on_session_back(void *arg, struct catalog_session *session)
{
    janitor_session_back(((struct registry *)arg)->janitor, session);
}

bool registry_is_ready(const struct registry *r)
{
    return feed_is_following(r->feed);
}

bool registry_is_settled(const struct registry *r)
{
    return catalog_is_settled(r->catalog);
}

int64_t registry_revision(const struct registry *r)
{
    int64_t fed = feed_revision(r->feed), seen = catalog_revision(r->catalog);
    if (fed > seen || !feed_is_following(r->feed))
        return fed;
    /* During the notification of a batch the catalog is ahead of the feed. Between the turns of a batch the
     * revision before it counts: no client has been promised the batch yet. */
    return r->is_notifying || catalog_is_settled(r->catalog) ? seen : fed;
}

const struct registry_options *registry_defaults(const struct registry *r)
{
    return &r->options;
}

struct catalog *registry_catalog(struct registry *r)
{
    return r->catalog;
}

struct audience *registry_audience(const struct registry *r, const struct auth_ranges *readable,
                                   bool with_services)
{
    const char *prefixes[PROJECTIONS_MAX];
    size_t count = projections_count(r->projections);
    for (size_t i = 0; i < count; i++)
        prefixes[i] = projections_prefix(r->projections, i);
    return with_services ? audience_new_with_services(readable, prefixes, count)
                         : audience_new(readable, prefixes, count);
}

/* --- requests ------------------------------------------------------------------------------------------ */

static void registry_on_answer(struct pending_op *pending_ops)
{
    struct registry_op *op = container_of(pending_ops, struct registry_op, pending_ops);
    op->result.error = pending_ops->error;
    op->request->done(op->request, pending_ops->err, &op->result);
}

static void on_free(struct pending_op *pending_ops)
{
    struct registry_op *op = container_of(pending_ops, struct registry_op, pending_ops);
    if (op->on_free)
        op->on_free(op);
    if (op->opened)
        quota_keep_session(&op->registry->quota, catalog_session(op->registry->catalog, op->opened),
                           &op->claim);
    quota_release(&op->registry->quota, &op->claim);
}

int64_t registry_wall_ms(const struct registry *r)
{
    return (int64_t)(r->pending_ops.io->ops->wall_ns(r->pending_ops.io) / 1000000);
}

void *registry_op_new(struct registry *r, struct registry_request *q, size_t size)
{
    struct registry_op *op = pending_op_new(&r->pending_ops, q ? &q->impl : NULL, size);
    op->registry = r;
    op->request = q;
    op->pending_ops.on_answer = registry_on_answer;
    op->pending_ops.on_free = on_free;
    pending_op_set_author(&op->pending_ops, q ? q->who : NULL);
    op->source = q ? q->source : 0;
    if (q)
        op->author = author_copy(&op->pending_ops.arena, &q->author);
    op->has_proof = q && q->proof;
    if (op->has_proof) {
        op->proof = *q->proof;
        op->proof.user = registry_copy(&op->pending_ops.arena, q->proof->user);
        op->proof.key = registry_copy(&op->pending_ops.arena, q->proof->key);
    }
    return op;
}

void registry_op_written(struct registry_op *op, int64_t revision)
{
    op->result.revision = revision;
    pending_op_written(&op->pending_ops, revision);
}

void registry_refuse_absent(struct registry_op *op, const struct registry_key *key)
{
    pending_op_refuse(&op->pending_ops, ERR_NOT_FOUND, "the service %.*s has no instance %.*s",
                      (int)key->service.size, (const char *)key->service.data, (int)key->id.size,
                      (const char *)key->id.data);
}

void registry_cancel(struct registry *r, struct registry_request *q)
{
    (void)r;
    if (q->impl)
        pending_op_cancel(q->impl);
}

/* --- waiting for the view --------------------------------------------------------------------------- */

static void registry_on_view(struct feed_waiter *w)
{
    struct registry_op *op = container_of(w, struct registry_op, pending_ops.waiter);
    op->result.revision = w->revision;
    pending_op_end(&op->pending_ops, OK);
}

static void registry_on_barrier(struct kv_request *kv, int err, const ProtobufCMessage *response)
{
    struct registry_op *op = container_of(kv, struct registry_op, pending_ops.kv);
    (void)response;
    if (err)
        pending_op_end(&op->pending_ops, err);
    else
        pending_op_view(&op->pending_ops, kv_revision(op->registry->kv), registry_on_view);
}

void registry_barrier(struct registry *r, struct registry_request *q)
{
    struct registry_op *op = registry_op_new(r, q, sizeof *op);
    op->pending_ops.kv.done = registry_on_barrier;
    kv_barrier(r->kv, &op->pending_ops.kv);
    pending_ops_schedule_turn(&r->pending_ops);
}

static void on_late(struct pending_op *op)
{
    feed_forget(&op->waiter);
    pending_op_end(op, ERR_TIMEOUT);
}

void registry_wait_revision(struct registry *r, struct registry_request *q, int64_t revision,
                            uint64_t timeout_ms)
{
    struct registry_op *op = registry_op_new(r, q, sizeof *op);
    pending_op_limit(&op->pending_ops, timeout_ms, on_late);
    pending_op_view(&op->pending_ops, revision, registry_on_view);
}

/* --- turn, init and free ---------------------------------------------------------------------------- */

void registry_turn(struct registry *r)
{
    turn_enter(TURN_REGISTRY_VIEW);
    if (feed_turn(r->feed))
        pending_ops_schedule_turn(&r->pending_ops);
    turn_enter(TURN_REGISTRY_JANITOR);
    if (registry_is_ready(r) && catalog_is_settled(r->catalog)) /* it plans with complete batches */
        janitor_turn(r->janitor);
    turn_enter(TURN_REGISTRY_CHECKS);
    if (registry_is_ready(r) && catalog_is_settled(r->catalog))
        checks_turn(r->checks);
    reports_turn(r->reports);
    turn_enter(TURN_REGISTRY_EVENTS);
    if (registry_is_ready(r) && catalog_is_settled(r->catalog))
        events_turn(r->events);
    turn_enter(TURN_REGISTRY_REQUESTS);
    if (r->was_acknowledged) {
        r->was_acknowledged = false;
        registry_drain_again(r);
    }
    registry_session_checks(r);
    pending_ops_turn(&r->pending_ops);
}

static void follow(struct registry *r)
{
    const char *prefixes[PROJECTIONS_MAX + 2] = {REGISTRY_PREFIX};
    size_t count = 1;
    if (r->events)
        prefixes[count++] = EVENTS_PREFIX;
    for (size_t i = 0; i < projections_count(r->projections); i++)
        prefixes[count++] = projections_prefix(r->projections, i);
    r->pending_ops.feed = r->feed = feed_new(r->kv, prefixes, count, &feed_events, r);
}

struct registry *registry_new(const struct registry_options *options)
{
    struct registry *r = mem_new(sizeof *r);
    r->options = *options;
    r->options.member = mem_string(options->member);
    if (!r->options.txn_ops_max)
        r->options.txn_ops_max = 128;
    r->quota = (struct quota){.namespaces_max = options->namespaces_max,
                              .services_max = options->services_max,
                              .instances_max = options->instances_max,
                              .sessions_max = options->sessions_max,
                              .checks_max = options->checks_max,
                              .namespace_checks_max = options->namespace_checks_max,
                              .view = options->namespaces};
    r->kv = options->kv;
    r->projections = options->projections;
    pending_ops_init(&r->pending_ops, options->kv);
    list_init(&r->draining);
    list_init(&r->checking);
    const struct catalog_events events = {on_changed, on_session_gone, on_session_back, r, on_replaced};
    r->catalog = catalog_new(&events);
    r->janitor = janitor_new(r->kv, r->catalog);
    r->checks = checks_new(r);
    r->reports = reports_new(r);
    r->events = options->has_events ? events_new(r) : NULL;
    metric_collector_add(registry_metric_collect, r);
    survey_open(r);
    follow(r);
    return r;
}

void registry_free(struct registry *r)
{
    if (!r)
        return;
    metric_collector_remove(registry_metric_collect, r);
    survey_close(r);
    pending_ops_done(&r->pending_ops);
    reports_free(r->reports);
    checks_free(r->checks);
    events_free(r->events);
    r->events = NULL;
    feed_free(r->feed);
    janitor_free(r->janitor);
    registry_watch_done(r);
    quota_done(&r->quota);
    projections_free(r->projections);
    catalog_free(r->catalog);
    buf_done(&r->names);
    mem_free(r->options.member);
    mem_free(r);
}
