/* SPDX-License-Identifier: Apache-2.0
 * Routes of the registry with long polls: the list of services, the instances of a service, one instance.
 * They are sources over the catalog (read.h). Also the subscribers of a service, which cannot be polled. */
#include "base/text.h"
#include "registry/service_snapshot.h"
#include "registry/view.h"
#include "server/api/read.h"
#include "server/api/slice.h"

/* --- a source over the catalog ---------------------------------------------------------------------- */

struct view {
    struct api_read read;
    struct registry_request barrier;
    struct registry_watch watch;
    struct select_query query;
};

static struct view *view_of(const struct api_read *r)
{
    return (struct view *)((uintptr_t)r - offsetof(struct view, read));
}

static struct catalog *catalog_of(const struct api_read *r)
{
    return registry_catalog(api_registry(r->call));
}

static struct catalog_service *service_of(const struct api_read *r)
{
    const struct api_call *c = r->call;
    return catalog_find(catalog_of(r), c->ns, c->group, c->service);
}

static void api_registry_read_on_barrier(struct registry_request *q, int err,
                                         const struct registry_result *result)
{
    (void)result;
    api_read_continue(&container_of(q, struct view, barrier)->read, err);
}

static void view_barrier(struct api_read *r)
{
    struct view *v = view_of(r);
    v->barrier.done = api_registry_read_on_barrier;
    registry_barrier(api_registry(r->call), &v->barrier);
}

static void view_cancel_barrier(struct api_read *r)
{
    registry_cancel(api_registry(r->call), &view_of(r)->barrier);
}

static int64_t view_revision(const struct api_read *r)
{
    return registry_revision(api_registry(r->call));
}

static void api_registry_read_on_change(struct registry_watch *w, const struct catalog_change *change)
{
    (void)change;
    api_read_changed(&container_of(w, struct view, watch)->read);
}

static void view_unwatch(struct api_read *r)
{
    registry_unwatch(&view_of(r)->watch);
}

static int64_t service_changed(const struct api_read *r, int64_t after)
{
    const struct catalog *catalog = catalog_of(r);
    const struct catalog_service *s = service_of(r);
    if (after < catalog_whole_since(catalog))
        return INT64_MAX;
    return s ? s->revision : catalog_absent_revision(catalog);
}

static void service_watch(struct api_read *r)
{
    struct view *v = view_of(r);
    const struct registry_key key = {r->call->ns, r->call->group, r->call->service, {0}};
    v->watch.changed = api_registry_read_on_change;
    registry_watch_service(api_registry(r->call), &v->watch, &key);
}

/* Clients with the same audience share a rendering. */
static void view_add_key(const struct api_read *r, struct buf *key)
{
    const struct audience *a = api_audience(r->call);
    if (!a)
        return;
    buf_add_byte(key, 0);
    buf_add(key, a->digest, sizeof a->digest);
}

static void api_registry_read_start(struct api_call *c, const struct api_source *source)
{
    struct view *v = arena_new(&c->q->arena, sizeof *v);
    api_read_start(c, &v->read, source);
}

/* --- one service ------------------------------------------------------------------------------------ */

static void take_query(const struct api_call *c, struct select_query *q)
{
    struct slice value;
    *q = (struct select_query){
        .only_serving = api_has_param(c, PARAM_HEALTHY) && api_flag(api_param(c, PARAM_HEALTHY)),
        .no_guarded = api_has_param(c, PARAM_GUARDED) && !api_flag(api_param(c, PARAM_GUARDED)),
        .cluster = api_param(c, PARAM_CLUSTER),
        .version = api_param(c, PARAM_VERSION),
        .protocol = api_param(c, PARAM_PROTOCOL),
        .zone = api_param(c, PARAM_ZONE),
        .region = api_param(c, PARAM_REGION),
    };
    for (size_t at = 0; q->tag_count < SELECT_TERMS_MAX && api_next_param(c, PARAM_TAG, &at, &value);)
        q->tags[q->tag_count++] = value;
    for (size_t at = 0; q->label_count < SELECT_TERMS_MAX && api_next_param(c, PARAM_LABEL, &at, &value);) {
        const uint8_t *equals = memchr(value.data, '=', value.size);
        size_t n = (size_t)(equals - value.data); /* a PAIR has one */
        q->labels[q->label_count++] =
            (struct document_pair){slice_of(value.data, n), slice_of(equals + 1, value.size - n - 1)};
    }
}

enum { SNAPSHOT_FREE_MAX = 1000 }; /* instances freed at once: about 100 us */

/* A service under rendering: its documents are collected as of one revision, then written. */
struct service_rendering {
    struct api_garbage garbage;
    struct api *api;
    struct registry_watch watch; /* while it is collected, if that takes more than a slice */
    bool is_watched;
    struct audience *audience; /* shared by all readers of this result */
    struct select_query query; /* the leader's */
    struct service_snapshot *snapshot;
    struct select_result result;
    size_t next; /* index of the next instance to write */
    struct buf settings;
    struct inheritance inherited; /* a copy: the settings may change while the instances are written */
    struct arena arena;           /* of it */
    bool is_fixed;
};

static bool api_registry_read_is_over(const void *call)
{
    return api_slice_is_over(call);
}

static void on_change_while_taken(struct registry_watch *w, const struct catalog_change *change)
{
    service_snapshot_change(container_of(w, struct service_rendering, watch)->snapshot, change);
}

static struct service_rendering *service_begin(const struct api_read *r)
{
    struct service_rendering *x = mem_new(sizeof *x);
    x->api = r->call->api;
    x->audience = audience_ref((struct audience *)(uintptr_t)api_audience(r->call));
    x->query = view_of(r)->query;
    x->query.audience = x->audience;
    x->snapshot = service_snapshot_new(&x->query);
    return x;
}

static void service_unwatch(struct service_rendering *x)
{
    if (x->is_watched)
        registry_unwatch(&x->watch);
    x->is_watched = false;
}

/* Everything is collected: fixes the revision. False: there is no such service. */
static bool service_fix(struct service_rendering *x, struct api_read *r, struct api_shared *s)
{
    const struct catalog_service *service = service_of(r);
    struct audience_counts counts = {0};
    service_unwatch(x);
    api_result_fix(r, s);
    x->is_fixed = true;
    service_snapshot_choose(x->snapshot, service ? service->settings.protect_threshold : 0, &x->result);
    if (service && !x->result.count)
        audience_count(x->audience, service, &counts);
    if (!x->result.count && !counts.exists)
        return false;
    if (service->has_settings)
        settings_write_view(&service->settings, &x->settings);
    x->inherited = inheritance_of(service);
    x->inherited.metadata = document_map_copy(&x->inherited.metadata, &x->arena);
    jw_key(&s->writer, "protected");
    jw_bool(&s->writer, x->result.is_protected);
    jw_key(&s->writer, "instances");
    jw_open(&s->writer, '[');
    return true;
}

static bool service_take(struct service_rendering *x, const struct api_read *r)
{
    const struct api_call *c = r->call;
    const struct registry_key key = {c->ns, c->group, c->service, {0}};
    if (service_snapshot_take(x->snapshot, service_of(r), api_registry_read_is_over, c))
        return true;
    if (!x->is_watched) {
        x->watch.changed = on_change_while_taken;
        registry_watch_service(api_registry(c), &x->watch, &key);
        x->is_watched = true;
    }
    return false;
}

static bool service_render(struct api_read *r, struct api_shared *s)
{
    struct json_writer *w = &s->writer;
    if (!s->state)
        s->state = service_begin(r);
    struct service_rendering *x = s->state;
    if (!x->is_fixed) {
        if (!service_take(x, r))
            return false;
        if (!service_fix(x, r, s)) {
            s->error = API_NOT_FOUND;
            return true;
        }
    }
    while (x->next < x->result.count) {
        view_write_instance(x->result.list[x->next++], &x->inherited, w);
        if (api_slice_is_over(r->call))
            return false;
    }
    jw_close(w, ']');
    if (x->settings.size) {
        jw_key(w, "settings");
        jw_raw(w, buf_slice(&x->settings));
    }
    return true;
}

static bool service_free_some(struct api_garbage *g)
{
    struct service_rendering *x = container_of(g, struct service_rendering, garbage);
    if (!service_snapshot_free_some(x->snapshot, SNAPSHOT_FREE_MAX))
        return false;
    audience_unref(x->audience);
    buf_done(&x->settings);
    arena_done(&x->arena);
    mem_free(x);
    return true;
}

static void service_render_end(struct api_shared *s)
{
    struct service_rendering *x = s->state;
    if (!x)
        return;
    service_unwatch(x);
    if (!service_free_some(&x->garbage)) {
        x->garbage.free_some = service_free_some;
        api_result_discard(x->api, &x->garbage);
    }
}

static size_t service_render_bytes(const struct api_shared *s)
{
    const struct service_rendering *x = s->state;
    return x ? service_snapshot_bytes(x->snapshot) + arena_bytes(&x->arena) : 0;
}

static const struct api_source service_source = {
    .barrier = view_barrier,
    .cancel_barrier = view_cancel_barrier,
    .revision = view_revision,
    .changed = service_changed,
    .watch = service_watch,
    .unwatch = view_unwatch,
    .render_on = service_render,
    .render_end = service_render_end,
    .render_bytes = service_render_bytes,
    .add_key = view_add_key,
    .missing = "there is no such service",
};

void api_service_get(struct api_call *c)
{
    struct view *v = arena_new(&c->q->arena, sizeof *v);
    take_query(c, &v->query);
    api_read_start(c, &v->read, &service_source);
}

/* --- one instance ----------------------------------------------------------------------------------- */

static enum api_error instance_render(const struct api_read *r, struct json_writer *w)
{
    const struct catalog_service *s = service_of(r);
    const struct catalog_instance *i = s ? catalog_instance(s, r->call->id) : NULL;
    if (!i || !audience_sees(api_audience(r->call), i))
        return API_NOT_FOUND;
    const struct inheritance inherited = inheritance_of(s);
    jw_key(w, "instance");
    view_write_instance(i, &inherited, w);
    return API_ERRORS;
}

static const struct api_source instance_source = {
    .barrier = view_barrier,
    .cancel_barrier = view_cancel_barrier,
    .revision = view_revision,
    .changed = service_changed,
    .watch = service_watch,
    .unwatch = view_unwatch,
    .render = instance_render,
    .add_key = view_add_key,
    .missing = "there is no such instance",
};

void api_instance_get(struct api_call *c)
{
    api_registry_read_start(c, &instance_source);
}

/* --- the list of services --------------------------------------------------------------------------- */

static int64_t list_changed(const struct api_read *r, int64_t after)
{
    const struct catalog *catalog = catalog_of(r);
    const struct catalog_namespace *in = catalog_namespace(catalog, r->call->ns);
    if (after < catalog_whole_since(catalog))
        return INT64_MAX;
    return in ? in->revision : catalog_absent_revision(catalog);
}

static void list_watch(struct api_read *r)
{
    struct view *v = view_of(r);
    const struct api_call *c = r->call;
    v->watch.changed = api_registry_read_on_change;
    registry_watch_services(api_registry(c), &v->watch, c->ns, api_group_filter(c),
                            api_param(c, PARAM_PREFIX));
}

enum {
    PLACES_PER_CLOCK = 64, /* services visited between two reads of the clock */
    RESTARTS_MAX = 3       /* then each service is shown as it is now, at the answer's revision or later */
};

struct listed_service {
    struct slice group, name;
    struct audience_counts counts;
};

/* A page under rendering: services are collected as of one revision, then written. */
struct list_rendering {
    struct api_page page;
    struct audience *audience;
    struct arena arena;
    struct listed_service *list;
    size_t count, capacity, next;
    struct buf after; /* "group/name" of the last service that was visited */
    int64_t revision; /* of the namespace, when this attempt began */
    unsigned begun;   /* number of attempts */
    bool is_fixed;
};

static bool take_service(void *arg, struct catalog_service *s)
{
    struct list_rendering *x = arg;
    struct audience_counts counts;
    audience_count(x->audience, s, &counts);
    if (!counts.exists)
        return true;
    if (x->count == x->capacity) {
        x->capacity = x->capacity ? 2 * x->capacity : 64;
        x->list = mem_resize(x->list, x->capacity * sizeof *x->list);
    }
    x->list[x->count++] = (struct listed_service){
        slice_of(arena_copy(&x->arena, s->group.data, s->group.size), s->group.size),
        slice_of(arena_copy(&x->arena, s->name.data, s->name.size), s->name.size), counts};
    return x->count <= x->page.left; /* one service more than the page holds shows that there are more */
}

static struct list_rendering *list_begin(const struct api_read *r)
{
    struct list_rendering *x = mem_new(sizeof *x);
    x->audience = audience_ref((struct audience *)(uintptr_t)api_audience(r->call));
    api_page_begin(&x->page, r->call);
    return x;
}

/* Begins the page again. */
static void list_restart(struct list_rendering *x, int64_t revision)
{
    x->begun++;
    x->revision = revision;
    x->count = 0;
    arena_reset(&x->arena);
    buf_clear(&x->after);
    buf_add_slice(&x->after, buf_slice(&x->page.after));
}

static bool list_take(struct list_rendering *x, const struct api_read *r)
{
    const struct api_call *c = r->call;
    int64_t revision = list_changed(r, INT64_MAX);
    const struct catalog_service *last;
    if (!x->begun || (revision != x->revision && x->begun <= RESTARTS_MAX))
        list_restart(x, revision);
    while (catalog_each_some(catalog_of(r), c->ns, api_group_filter(c), api_param(c, PARAM_PREFIX),
                             buf_slice(&x->after), x->audience ? 1 : PLACES_PER_CLOCK, take_service, x,
                             &last)) {
        buf_clear(&x->after);
        buf_add_slice(&x->after, last->group);
        buf_add_byte(&x->after, '/');
        buf_add_slice(&x->after, last->name);
        if (api_slice_is_over(c))
            return false;
    }
    return true;
}

static void write_service(const struct listed_service *s, struct json_writer *w)
{
    jw_key(w, "instances");
    jw_uint(w, s->counts.instances);
    jw_key(w, "states");
    jw_open(w, '{');
    for (int i = 0; i < INSTANCE_STATES; i++) {
        jw_key(w, instance_state_name((enum instance_state)i));
        jw_uint(w, s->counts.by_state[i]);
    }
    jw_close(w, '}');
    jw_close(w, '}');
}

static bool list_render(struct api_read *r, struct api_shared *s)
{
    if (!s->state)
        s->state = list_begin(r);
    struct list_rendering *x = s->state;
    if (!x->is_fixed) {
        if (!list_take(x, r))
            return false;
        api_result_fix(r, s);
        api_page_array(&x->page, &s->writer, "services");
        x->is_fixed = true;
    }
    while (x->next < x->count) {
        const struct listed_service *one = &x->list[x->next++];
        if (api_page_take(&x->page, one->group, one->name))
            write_service(one, &s->writer);
        if (api_slice_is_over(r->call))
            return false;
    }
    api_page_close(&x->page);
    return true;
}

static void list_render_end(struct api_shared *s)
{
    struct list_rendering *x = s->state;
    if (!x)
        return;
    audience_unref(x->audience);
    buf_done(&x->page.after);
    buf_done(&x->after);
    arena_done(&x->arena);
    mem_free(x->list);
    mem_free(x);
}

static size_t list_render_bytes(const struct api_shared *s)
{
    const struct list_rendering *x = s->state;
    return x ? arena_bytes(&x->arena) + x->capacity * sizeof *x->list : 0;
}

static const struct api_source list_source = {
    .barrier = view_barrier,
    .cancel_barrier = view_cancel_barrier,
    .revision = view_revision,
    .changed = list_changed,
    .watch = list_watch,
    .unwatch = view_unwatch,
    .render_on = list_render,
    .render_end = list_render_end,
    .render_bytes = list_render_bytes,
    .add_key = view_add_key,
};

void api_service_list(struct api_call *c)
{
    if (api_page_check(c))
        api_registry_read_start(c, &list_source);
}

/* --- subscribers ------------------------------------------------------------------------------------ */

/* A list of subscribers under way: those reported so far, as JSON. */
struct subscribers_query {
    struct registry_subscribers subscribers;
    struct api_call *call;
    struct buf list;
    struct json_writer writer;
};

static void on_subscriber(struct registry_subscribers *s, const struct registry_seen *seen)
{
    struct json_writer *w = &container_of(s, struct subscribers_query, subscribers)->writer;
    jw_open(w, '{');
    jw_key(w, "client_id");
    jw_string(w, seen->client_id);
    jw_key(w, "peer");
    jw_string(w, seen->peer);
    jw_key(w, "member");
    jw_string(w, seen->member);
    jw_key(w, "transport");
    jw_string(w, seen->transport);
    jw_key(w, "labels");
    document_write_map(&seen->labels, w);
    jw_key(w, "revision");
    jw_int(w, seen->revision);
    jw_close(w, '}');
}

static void on_subscribers_done(struct registry_request *q, int err, const struct registry_result *result)
{
    struct registry_subscribers *s = container_of(q, struct registry_subscribers, request);
    struct subscribers_query *l = container_of(s, struct subscribers_query, subscribers);
    struct buf list = buf_move(&l->list);
    if (err) {
        api_fail_err(l->call, err, result->error);
    } else {
        struct json_writer *w = api_json(l->call, result->revision);
        jw_key(w, "subscribers");
        buf_add_byte(&list, ']');
        jw_raw(w, buf_slice(&list));
        jw_key(w, "members_silent");
        jw_uint(w, s->members_silent);
        api_answer(l->call, result->revision);
    }
    buf_done(&list);
}

static void cancel_subscribers(struct api_call *c)
{
    struct subscribers_query *l = c->state;
    registry_cancel(api_registry(c), &l->subscribers.request);
    buf_done(&l->list);
}

void api_subscribers_get(struct api_call *c)
{
    struct subscribers_query *l = arena_new(&c->q->arena, sizeof *l);
    const struct registry_key key = api_key(c);
    l->call = c;
    l->writer = (struct json_writer){.out = &l->list};
    jw_open(&l->writer, '[');
    l->subscribers.request.done = on_subscribers_done;
    l->subscribers.seen = on_subscriber;
    c->state = l;
    c->cancel = cancel_subscribers;
    registry_subscribers(api_registry(c), &l->subscribers, &key);
}
