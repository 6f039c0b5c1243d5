/* SPDX-License-Identifier: Apache-2.0
 * Instances of many services as a topic: the source `instances`, the instances of a scope's services (scope.h)
 * that match a filter. Each is judged by the rights of its reader.
 *
 * An id is the id of the service in the scope, a '/', and the id of the instance. With healthy=true a service may
 * be protected (select.h): then all of its instances that match otherwise are items. `protected` has the services
 * for which that holds now; when it begins or ends, every instance of the service has changed. */
#include "registry/view.h"
#include "server/stream/private.h"

#include <string.h>

struct instances_view {
    struct registry_watch watch;
    struct registry *registry;
    struct stream_topic *topic;
    struct audience *audience; /* of all its readers */
    struct stream_scope scope;
    struct select_query filter; /* its texts are in `texts` */
    struct buf texts;
    struct strmap protected; /* "ns/group/name" -> the view */
    struct buf id, key;      /* scratch */
};

/* --- the reader's rights ----------------------------------------------------------------------------- */

static bool may_read(const struct instances_view *v, const struct catalog_service *s, struct slice id)
{
    return audience_may_read(v->audience, s->ns, s->group, s->name, id);
}

static bool sees(const struct instances_view *v, const struct catalog_instance *i)
{
    return i->doc && may_read(v, i->service, i->id) && audience_sees(v->audience, i);
}

/* --- names ------------------------------------------------------------------------------------------- */

static struct slice id_of(struct instances_view *v, const struct catalog_service *s, struct slice id)
{
    struct slice name = stream_scope_id(&v->scope, &v->id, s->ns, s->group, s->name);
    if (name.data != v->id.data) {
        buf_clear(&v->id);
        buf_add_slice(&v->id, name);
    }
    buf_add_byte(&v->id, '/');
    buf_add_slice(&v->id, id);
    return buf_slice(&v->id);
}

/* NULL: there is no such instance in this view. */
static struct catalog_instance *find_instance(const struct instances_view *v, struct slice id)
{
    size_t slashes = 1u + v->scope.many_groups + v->scope.many_namespaces, at = 0;
    struct stream_name n;
    for (; at < id.size; at++)
        if (id.data[at] == '/' && --slashes == 0)
            break;
    if (at >= id.size || !stream_scope_split(&v->scope, slice_of(id.data, at), &n))
        return NULL;
    const struct catalog_service *s = catalog_find(registry_catalog(v->registry), n.ns, n.group, n.name);
    return s ? catalog_instance(s, slice_of(id.data + at + 1, id.size - at - 1)) : NULL;
}

/* --- protection -------------------------------------------------------------------------------------- */

static struct slice service_key(struct buf *key, const struct catalog_service *s)
{
    buf_clear(key);
    stream_subscribe_add_part(key, s->ns);
    stream_subscribe_add_part(key, s->group);
    stream_subscribe_add_part(key, s->name);
    return buf_slice(key);
}

/* True: that has changed. */
static bool update_protection(struct instances_view *v, const struct catalog_service *s)
{
    struct arena a = {0};
    struct select_result result;
    if (!v->filter.only_serving)
        return false;
    select_run(&v->filter, s, &a, &result);
    arena_done(&a);
    struct slice key = service_key(&v->key, s);
    bool was = strmap_get(&v->protected, key) != NULL;
    if (result.is_protected && !was)
        strmap_put(&v->protected, key, v);
    else if (!result.is_protected && was)
        strmap_remove(&v->protected, key);
    return was != result.is_protected;
}

static void begin_protection(void *arg, struct catalog_service *s)
{
    (void)update_protection(arg, s);
}

/* --- the view ---------------------------------------------------------------------------------------- */

static int instances_key(const struct stream_frame *frame, struct buf *ret_key, char *error,
                         size_t error_size)
{
    struct stream_scope scope = {0};
    int err = stream_scope_read(&scope, frame, error, error_size);
    stream_scope_done(&scope);
    if (err)
        return err;
    stream_scope_key(frame, ret_key);
    stream_filter_key(&frame->filter, ret_key);
    stream_subscribe_add_audience(ret_key, frame->audience);
    return 0;
}

static struct audience *instances_audience(void *owner, const struct auth_who *who,
                                           const struct stream_frame *frame)
{
    const struct stream_server *s = owner;
    (void)frame;
    return guard_service_audience(s->options.identity, who, s->options.registry);
}

static bool instances_fits(const struct registry_watch *w, const struct catalog_service *s)
{
    const struct instances_view *v =
        (const struct instances_view *)((uintptr_t)w - offsetof(struct instances_view, watch));
    return stream_scope_fits(&v->scope, s->ns, s->group, s->name);
}

static void instances_changed(struct registry_watch *w, const struct catalog_change *change)
{
    struct instances_view *v = container_of(w, struct instances_view, watch);
    const struct catalog_service *s = change->service;
    bool is_whole = update_protection(v, s);
    is_whole = stream_inherited_as_delta(v->topic, change) || is_whole;
    for (size_t i = 0; is_whole && i < s->count; i++)
        if (sees(v, s->list[i]))
            stream_topic_changed(v->topic, id_of(v, s, s->list[i]->id), change->revision);
    for (size_t i = 0; i < change->id_count; i++)
        if (may_read(v, s, change->ids[i]) && audience_sees_change(v->audience, change, i))
            stream_topic_changed(v->topic, id_of(v, s, change->ids[i]), change->revision);
}

static void *instances_open(void *owner, struct stream_topic *topic, const struct stream_frame *frame)
{
    struct stream_server *s = owner;
    struct instances_view *v = mem_new(sizeof *v);
    char error[240];
    v->registry = s->options.registry;
    v->topic = topic;
    v->watch.changed = instances_changed;
    v->watch.fits = instances_fits;
    v->audience = audience_ref(frame->audience);
    int err = stream_scope_read(&v->scope, frame, error, sizeof error);
    (void)err; /* instances_key has read it before */
    stream_subscribe_copy_filter(&v->filter, &frame->filter, &v->texts);
    v->filter.audience = v->audience;
    registry_watch_services(v->registry, &v->watch, stream_scope_ns(&v->scope), stream_scope_group(&v->scope),
                            glob_prefix(&v->scope.name));
    if (v->filter.only_serving)
        stream_scope_each(registry_catalog(v->registry), &v->scope, begin_protection, v);
    return v;
}

static void instances_close(void *view)
{
    struct instances_view *v = view;
    registry_unwatch(&v->watch);
    audience_unref(v->audience);
    stream_scope_done(&v->scope);
    strmap_done(&v->protected);
    buf_done(&v->texts);
    buf_done(&v->id);
    buf_done(&v->key);
    mem_free(v);
}

static void instances_describe(const void *view, struct stream_frame *ret_frame)
{
    const struct instances_view *v = view;
    *ret_frame = v->scope.frame;
    ret_frame->filter = v->filter;
    ret_frame->audience = v->audience;
}

static int64_t instances_revision(const void *view)
{
    return registry_revision(((const struct instances_view *)view)->registry);
}

static int64_t instances_last_change(const void *view)
{
    const struct instances_view *v = view;
    return stream_scope_changed(registry_catalog(v->registry), &v->scope);
}

static bool instances_depend_on_rights(const void *view)
{
    (void)view;
    return true;
}

/* --- items ------------------------------------------------------------------------------------------- */

/* The instances of a service from *at on. False: fn has ended the walk. */
static bool visit_instances(struct instances_view *v, const struct catalog_service *s, size_t *at,
                            size_t *places, bool (*fn)(void *arg, struct slice id), void *arg)
{
    bool goes_on = true;
    for (; goes_on && *places && *at < s->count; ++*at, --*places)
        goes_on = fn(arg, id_of(v, s, s->list[*at]->id));
    return goes_on;
}

static bool instances_each(const void *view, struct buf *place, size_t places,
                           bool (*fn)(void *arg, struct slice id), void *arg)
{
    struct instances_view *v = (struct instances_view *)(uintptr_t)view; /* its scratch */
    const struct catalog *c = registry_catalog(v->registry);
    struct stream_place at = stream_place_get(place);
    bool goes_on = true;
    for (; goes_on && places; places -= places > 0) {
        const struct catalog_service *s =
            at.id.size ? catalog_find(c, at.name.ns, at.name.group, at.name.name) : NULL;
        size_t next = s ? catalog_place_behind(s, at.id) : 0;
        if (!s)
            s = stream_scope_next(c, &v->scope, &at.name); /* also if the service of the place is gone */
        if (!s)
            return false;
        if (stream_scope_fits(&v->scope, s->ns, s->group, s->name))
            goes_on = visit_instances(v, s, &next, &places, fn, arg);
        else
            next = s->count;
        at.name = stream_scope_name(s);
        at.id = next && next < s->count ? s->list[next - 1]->id : (struct slice){0};
    }
    stream_place_set(place, &at);
    return true;
}

static bool fits_filter(struct instances_view *v, const struct catalog_instance *i)
{
    if (v->filter.only_serving && !catalog_effect(i).serves &&
        !strmap_get(&v->protected, service_key(&v->key, i->service)))
        return false;
    return select_fits(&v->filter, i);
}

static int64_t instances_item(const void *view, struct slice id, uint32_t variant, struct json_writer *w)
{
    struct instances_view *v = (struct instances_view *)(uintptr_t)view; /* its scratch */
    const struct catalog_instance *i = find_instance(v, id);
    (void)variant;
    if (!i || !sees(v, i) || !fits_filter(v, i))
        return 0;
    if (w) {
        const struct catalog_service *s = i->service;
        const struct document_pair texts[] = {{slice_text("id"), id},
                                              {slice_text("namespace"), s->ns},
                                              {slice_text("group"), s->group},
                                              {slice_text("service"), s->name}};
        jw_open(w, '{');
        for (size_t n = 0; n < sizeof texts / sizeof *texts; n++) {
            jw_key(w, (const char *)texts[n].key.data);
            jw_string(w, texts[n].value);
        }
        if (strmap_get(&v->protected, service_key(&v->key, s))) {
            jw_key(w, "protected");
            jw_bool(w, true);
        }
        const struct inheritance inherited = inheritance_of(s);
        jw_key(w, "instance");
        view_write_instance(i, &inherited, w);
        jw_close(w, '}');
    }
    return i->mod_revision > i->override_revision ? i->mod_revision : i->override_revision;
}

static bool instances_are_known(const void *view, struct slice id, uint32_t variant,
                                const struct stream_known *known)
{
    (void)variant;
    return stream_inherited_is_known(find_instance(view, id), known);
}

/* --- subscribers: acknowledgements, one by one ------------------------------------------------------- */

struct subscriber {
    struct registry_watch watch;
    const struct instances_view *view; /* its topic outlives it */
};

static bool subscriber_fits(const struct registry_watch *w, const struct catalog_service *s)
{
    const struct subscriber *l =
        (const struct subscriber *)((uintptr_t)w - offsetof(struct subscriber, watch));
    return stream_scope_fits(&l->view->scope, s->ns, s->group, s->name);
}

static void ignore_change(struct registry_watch *w, const struct catalog_change *change)
{
    (void)w, (void)change; /* the view's own watch handles it */
}

static void *instances_attach(void *view, const struct registry_subscriber *subscriber)
{
    const struct instances_view *v = view;
    struct subscriber *l = mem_new(sizeof *l);
    l->view = v;
    l->watch.changed = ignore_change;
    l->watch.fits = subscriber_fits;
    l->watch.subscriber = subscriber;
    registry_watch_services(v->registry, &l->watch, stream_scope_ns(&v->scope), stream_scope_group(&v->scope),
                            glob_prefix(&v->scope.name));
    return l;
}

static void instances_detach(void *subscriber)
{
    struct subscriber *l = subscriber;
    registry_unwatch(&l->watch);
    mem_free(l);
}

static void instances_acknowledge(void *subscriber, int64_t revision)
{
    registry_acknowledge(&((struct subscriber *)subscriber)->watch, revision);
}

const struct stream_source stream_instances_source = {
    .kind = "instances",
    .key = instances_key,
    .open = instances_open,
    .close = instances_close,
    .audience = instances_audience,
    .describe = instances_describe,
    .depends_on_rights = instances_depend_on_rights,
    .is_known = instances_are_known,
    .reached = stream_registry_reached,
    .revision = instances_revision,
    .changed = instances_last_change,
    .each = instances_each,
    .item = instances_item,
    .attach = instances_attach,
    .detach = instances_detach,
    .acknowledge = instances_acknowledge,
};
