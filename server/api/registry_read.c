/* SPDX-License-Identifier: Apache-2.0
 * What the registry shows: services and their counts, the instances of one, a single one, and who looks. All
 * over the catalog, which read.c waits for. */
#include "base/text.h"
#include "registry/view.h"
#include "server/api/read.h"

/* --- a source over the catalog ---------------------------------------------------------------------------
 */

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

static void on_barrier(struct registry_request *q, int err, const struct registry_result *result)
{
    (void)result;
    api_read_go(&container_of(q, struct view, barrier)->read, err);
}

static void view_barrier(struct api_read *r)
{
    struct view *v = view_of(r);
    v->barrier.done = on_barrier;
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

static void on_change(struct registry_watch *w, const struct catalog_change *change)
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
    v->watch.changed = on_change;
    registry_watch_service(api_registry(r->call), &v->watch, &key);
}

/* Callers of one audience share a rendering. */
static void view_add_key(const struct api_read *r, struct buf *key)
{
    const struct audience *a = api_audience(r->call);
    if (!a)
        return;
    buf_add_byte(key, 0);
    buf_add(key, a->digest, sizeof a->digest);
}

static void start(struct api_call *c, const struct api_source *source)
{
    struct view *v = arena_new(&c->q->arena, sizeof *v);
    api_read_start(c, &v->read, source);
}

/* --- one service ------------------------------------------------------------------------------------------
 */

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

static enum api_error service_render(const struct api_read *r, struct json_writer *w)
{
    const struct catalog_service *s = service_of(r);
    struct select_query query = view_of(r)->query;
    struct select_result found;
    struct audience_counts counts = {0};
    struct arena scratch = {0};
    query.audience = api_audience(r->call);
    if (s)
        audience_count(query.audience, s, &counts);
    if (!counts.exists)
        return API_NOT_FOUND;
    select_run(&query, s, &scratch, &found);
    jw_key(w, "protected");
    jw_bool(w, found.is_protected);
    jw_key(w, "instances");
    jw_open(w, '[');
    for (size_t i = 0; i < found.count; i++)
        view_write_instance(found.list[i], w);
    jw_close(w, ']');
    if (s->has_settings) {
        struct buf text = {0};
        settings_write(&s->settings, &text);
        jw_key(w, "settings");
        jw_raw(w, buf_slice(&text));
        buf_done(&text);
    }
    arena_done(&scratch);
    return API_ERRORS;
}

static const struct api_source service_source = {
    .barrier = view_barrier,
    .cancel_barrier = view_cancel_barrier,
    .revision = view_revision,
    .changed = service_changed,
    .watch = service_watch,
    .unwatch = view_unwatch,
    .render = service_render,
    .add_key = view_add_key,
    .missing = "there is no such service",
};

void api_service_get(struct api_call *c)
{
    struct view *v = arena_new(&c->q->arena, sizeof *v);
    take_query(c, &v->query);
    api_read_start(c, &v->read, &service_source);
}

/* --- one instance -----------------------------------------------------------------------------------------
 */

static enum api_error instance_render(const struct api_read *r, struct json_writer *w)
{
    const struct catalog_service *s = service_of(r);
    const struct catalog_instance *i = s ? catalog_instance(s, r->call->id) : NULL;
    if (!i || !audience_sees(api_audience(r->call), i))
        return API_NOT_FOUND;
    jw_key(w, "instance");
    view_write_instance(i, w);
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
    start(c, &instance_source);
}

/* --- the list of services ---------------------------------------------------------------------------------
 */

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
    v->watch.changed = on_change;
    registry_watch_services(api_registry(c), &v->watch, c->ns, api_group_asked(c),
                            api_param(c, PARAM_PREFIX));
}

struct listing {
    struct api_page page;
    const struct audience *audience;
};

static bool add_service(void *arg, struct catalog_service *s)
{
    struct listing *l = arg;
    struct api_page *p = &l->page;
    struct audience_counts counts;
    audience_count(l->audience, s, &counts);
    if (!counts.exists)
        return true;
    if (!api_page_take(p, s->group, s->name))
        return false;
    jw_key(p->w, "instances");
    jw_uint(p->w, counts.instances);
    jw_key(p->w, "states");
    jw_open(p->w, '{');
    for (int i = 0; i < INSTANCE_STATES; i++) {
        jw_key(p->w, instance_state_name((enum instance_state)i));
        jw_uint(p->w, counts.by_state[i]);
    }
    jw_close(p->w, '}');
    jw_close(p->w, '}');
    return true;
}

static enum api_error list_render(const struct api_read *r, struct json_writer *w)
{
    const struct api_call *c = r->call;
    struct listing listing = {.audience = api_audience(c)};
    struct api_page *page = &listing.page;
    api_page_open(page, c, w, "services");
    catalog_each(catalog_of(r), c->ns, api_group_asked(c), api_param(c, PARAM_PREFIX),
                 buf_slice(&page->after), add_service, &listing);
    api_page_close(page);
    return API_ERRORS;
}

static const struct api_source list_source = {
    .barrier = view_barrier,
    .cancel_barrier = view_cancel_barrier,
    .revision = view_revision,
    .changed = list_changed,
    .watch = list_watch,
    .unwatch = view_unwatch,
    .render = list_render,
    .add_key = view_add_key,
};

void api_service_list(struct api_call *c)
{
    if (api_page_check(c))
        start(c, &list_source);
}

/* --- who looks --------------------------------------------------------------------------------------------
 */

/* Those that have been told so far, as JSON. */
struct looking {
    struct registry_subscribers subscribers;
    struct api_call *call;
    struct buf list;
    struct json_writer writer;
};

static void on_seen(struct registry_subscribers *s, const struct registry_seen *seen)
{
    struct json_writer *w = &container_of(s, struct looking, subscribers)->writer;
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

static void on_all_seen(struct registry_request *q, int err, const struct registry_result *result)
{
    struct registry_subscribers *s = container_of(q, struct registry_subscribers, request);
    struct looking *l = container_of(s, struct looking, subscribers);
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

static void cancel_looking(struct api_call *c)
{
    struct looking *l = c->state;
    registry_cancel(api_registry(c), &l->subscribers.request);
    buf_done(&l->list);
}

void api_subscribers_get(struct api_call *c)
{
    struct looking *l = arena_new(&c->q->arena, sizeof *l);
    const struct registry_key key = api_key(c);
    l->call = c;
    l->writer = (struct json_writer){.out = &l->list};
    jw_open(&l->writer, '[');
    l->subscribers.request.done = on_all_seen;
    l->subscribers.seen = on_seen;
    c->state = l;
    c->cancel = cancel_looking;
    registry_subscribers(api_registry(c), &l->subscribers, &key);
}
