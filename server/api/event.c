/* SPDX-License-Identifier: Apache-2.0
 * GET /api/v1/services/{service}/events: the last changes of a service with their causes. A source (read.h) over
 * the stored events, so it has long polls and ETags. A service without events, or one that does not exist, has an
 * empty list. */
#include <assert.h>

#include "server/api/read.h"

struct event_view {
    struct api_read read;
    struct registry_request barrier;
    struct journal_watch watch;
};

static struct event_view *event_view_of(const struct api_read *r)
{
    return (struct event_view *)((uintptr_t)r - offsetof(struct event_view, read));
}

static struct registry_key event_service(const struct api_read *r)
{
    return (struct registry_key){r->call->ns, r->call->group, r->call->service, {0}};
}

static void event_on_barrier(struct registry_request *q, int err, const struct registry_result *result)
{
    (void)result;
    api_read_continue(&container_of(q, struct event_view, barrier)->read, err);
}

static void event_barrier(struct api_read *r)
{
    struct event_view *v = event_view_of(r);
    v->barrier.done = event_on_barrier;
    registry_barrier(api_registry(r->call), &v->barrier);
}

static void event_cancel_barrier(struct api_read *r)
{
    registry_cancel(api_registry(r->call), &event_view_of(r)->barrier);
}

static int64_t event_revision(const struct api_read *r)
{
    return registry_revision(api_registry(r->call));
}

static int64_t event_changed(const struct api_read *r, int64_t after)
{
    struct registry *registry = api_registry(r->call);
    const struct registry_key key = event_service(r);
    if (after < catalog_whole_since(registry_catalog(registry)))
        return INT64_MAX;
    return registry_events_changed(registry, &key);
}

static void event_on_change(struct journal_watch *w)
{
    api_read_changed(&container_of(w, struct event_view, watch)->read);
}

static void event_watch(struct api_read *r)
{
    struct event_view *v = event_view_of(r);
    const struct registry_key key = event_service(r);
    v->watch.changed = event_on_change;
    registry_watch_events(api_registry(r->call), &v->watch, &key);
}

static void event_unwatch(struct api_read *r)
{
    registry_unwatch_events(api_registry(r->call), &event_view_of(r)->watch);
}

static void add_event(void *arg, const struct event *e)
{
    struct json_writer *w = arg;
    jw_open(w, '{');
    event_write_members(e, w);
    jw_close(w, '}');
}

static enum api_error event_render(const struct api_read *r, struct json_writer *w)
{
    const struct registry_key key = event_service(r);
    jw_key(w, "events");
    jw_open(w, '[');
    int err = registry_events(api_registry(r->call), &key, add_event, w);
    jw_close(w, ']');
    assert(!err); /* a read of the present state */
    (void)err;
    return API_ERRORS;
}

static const struct api_source event_source = {
    .barrier = event_barrier,
    .cancel_barrier = event_cancel_barrier,
    .revision = event_revision,
    .changed = event_changed,
    .watch = event_watch,
    .unwatch = event_unwatch,
    .render = event_render,
};

void api_service_events(struct api_call *c)
{
    struct event_view *v = arena_new(&c->q->arena, sizeof *v);
    api_read_start(c, &v->read, &event_source);
}
