/* SPDX-License-Identifier: Apache-2.0
 * Lists of services as topics: the source `services`, the services of a scope (scope.h) with the counts of
 * their instances. A view reads the catalog; it copies nothing but the frame.
 *
 * `filter` of a selection has labels alone: a service fits if its settings have all of them in their metadata. A
 * change of the settings is a change of the service, so a service that no longer fits becomes a delete. */
#include "server/stream/private.h"

#include <string.h>

struct services_view {
    struct registry_watch watch;
    struct registry *registry;
    struct stream_topic *topic;
    struct audience *audience; /* of all its readers */
    struct stream_scope scope;
    struct select_query filter; /* labels alone; its texts are in `texts` */
    struct buf texts;
    struct buf id; /* scratch */
};

/* --- scopes over the catalog ------------------------------------------------------------------------- */

static bool begins_with(struct slice s, struct slice prefix)
{
    return s.size >= prefix.size && (!prefix.size || memcmp(s.data, prefix.data, prefix.size) == 0);
}

static bool is_in_range(const struct stream_scope *scope, const struct catalog_service *s)
{
    struct slice ns = stream_scope_ns(scope), group = stream_scope_group(scope);
    if (!ns.size)
        return begins_with(s->ns, glob_prefix(&scope->ns));
    return slice_equal(s->ns, ns) &&
           (!group.size || (slice_equal(s->group, group) && begins_with(s->name, glob_prefix(&scope->name))));
}

struct catalog_service *stream_scope_next(const struct catalog *c, const struct stream_scope *scope,
                                          const struct stream_name *after)
{
    struct slice ns = stream_scope_ns(scope), group = stream_scope_group(scope);
    struct catalog_service *s = NULL;
    if (after->ns.size) {
        s = catalog_next(c, after->ns, after->group, after->name);
    } else if (ns.size && group.size) { /* no service has an empty group or name */
        struct slice first = glob_prefix(&scope->name);
        s = first.size ? catalog_find(c, ns, group, first) : NULL;
        if (!s || !catalog_exists(s))
            s = catalog_next(c, ns, group, first);
    } else {
        s = catalog_next(c, ns.size ? ns : glob_prefix(&scope->ns), (struct slice){0}, (struct slice){0});
    }
    return s && is_in_range(scope, s) ? s : NULL;
}

struct stream_name stream_scope_name(const struct catalog_service *s)
{
    return (struct stream_name){s->ns, s->group, s->name};
}

void stream_scope_each(const struct catalog *c, const struct stream_scope *scope,
                       void (*fn)(void *arg, struct catalog_service *s), void *arg)
{
    struct stream_name at = {0};
    struct catalog_service *s;
    for (; (s = stream_scope_next(c, scope, &at)); at = stream_scope_name(s))
        if (stream_scope_fits(scope, s->ns, s->group, s->name))
            fn(arg, s);
}

struct latest {
    const struct stream_scope *scope;
    int64_t revision;
};

static bool note_namespace(void *arg, const struct catalog_namespace *n)
{
    struct latest *l = arg;
    if (n->revision > l->revision && glob_matches(&l->scope->ns, n->name))
        l->revision = n->revision;
    return true;
}

/* Services and namespaces that are gone from the catalog have changed at catalog_absent_revision or before. */
int64_t stream_scope_changed(const struct catalog *c, const struct stream_scope *s)
{
    struct latest l = {s, catalog_absent_revision(c)};
    struct slice ns = stream_scope_ns(s);
    const struct catalog_namespace *n = ns.size ? catalog_namespace(c, ns) : NULL;
    if (ns.size)
        return n ? n->revision : catalog_revision(c);
    catalog_each_namespace(c, note_namespace, &l);
    return l.revision;
}

int64_t stream_registry_reached(void *owner)
{
    return registry_revision(((struct stream_server *)owner)->options.registry);
}

/* --- the view ---------------------------------------------------------------------------------------- */

static int services_key(const struct stream_frame *frame, struct buf *ret_key, char *error, size_t error_size)
{
    const struct select_query *q = &frame->filter;
    struct stream_scope scope = {0};
    int err = stream_scope_read(&scope, frame, error, error_size);
    stream_scope_done(&scope);
    if (!err && (q->only_serving || q->no_guarded || q->cluster.size || q->version.size || q->protocol.size ||
                 q->tag_count))
        err = stream_subscribe_error(error, error_size,
                                     "subscribe: the filter of services has labels alone, of the settings' "
                                     "metadata; kind instances takes the rest");
    if (err)
        return err;
    stream_scope_key(frame, ret_key);
    stream_filter_key(q, ret_key);
    buf_add_byte(ret_key, stream_scope_is_selection(frame) ? 's' : 'l');
    stream_subscribe_add_audience(ret_key, frame->audience);
    return 0;
}

static struct audience *services_audience(void *owner, const struct auth_who *who,
                                          const struct stream_frame *frame)
{
    const struct stream_server *s = owner;
    return stream_scope_is_selection(frame)
               ? guard_service_audience(s->options.identity, who, s->options.registry)
               : guard_audience(s->options.identity, who, s->options.registry);
}

/* The reader of a list may read all its services. */
static bool may_read(const struct services_view *v, const struct catalog_service *s)
{
    return !v->scope.is_selection ||
           audience_may_read(v->audience, s->ns, s->group, s->name, (struct slice){0});
}

static bool services_fits(const struct registry_watch *w, const struct catalog_service *s)
{
    const struct services_view *v =
        (const struct services_view *)((uintptr_t)w - offsetof(struct services_view, watch));
    return stream_scope_fits(&v->scope, s->ns, s->group, s->name);
}

static struct slice id_of(struct services_view *v, const struct catalog_service *s)
{
    return stream_scope_id(&v->scope, &v->id, s->ns, s->group, s->name);
}

static void services_changed(struct registry_watch *w, const struct catalog_change *change)
{
    struct services_view *v = container_of(w, struct services_view, watch);
    if (may_read(v, change->service) && audience_sees_any(v->audience, change))
        stream_topic_changed(v->topic, id_of(v, change->service), change->revision);
}

static void *services_open(void *owner, struct stream_topic *topic, const struct stream_frame *frame)
{
    struct stream_server *s = owner;
    struct services_view *v = mem_new(sizeof *v);
    char error[240];
    v->registry = s->options.registry;
    v->topic = topic;
    v->watch.changed = services_changed;
    v->watch.fits = services_fits;
    v->audience = audience_ref(frame->audience);
    int err = stream_scope_read(&v->scope, frame, error, sizeof error);
    (void)err; /* services_key has read it before */
    stream_subscribe_copy_filter(&v->filter, &frame->filter, &v->texts);
    registry_watch_services(v->registry, &v->watch, stream_scope_ns(&v->scope), stream_scope_group(&v->scope),
                            glob_prefix(&v->scope.name));
    return v;
}

static void services_close(void *view)
{
    struct services_view *v = view;
    registry_unwatch(&v->watch);
    audience_unref(v->audience);
    stream_scope_done(&v->scope);
    buf_done(&v->texts);
    buf_done(&v->id);
    mem_free(v);
}

static void services_describe(const void *view, struct stream_frame *ret_frame)
{
    const struct services_view *v = view;
    *ret_frame = v->scope.frame;
    ret_frame->filter = v->filter;
    ret_frame->audience = v->audience;
}

static int64_t services_revision(const void *view)
{
    return registry_revision(((const struct services_view *)view)->registry);
}

static int64_t services_last_change(const void *view)
{
    const struct services_view *v = view;
    return stream_scope_changed(registry_catalog(v->registry), &v->scope);
}

/* --- items ------------------------------------------------------------------------------------------- */

static bool services_each(const void *view, struct buf *place, size_t places,
                          bool (*fn)(void *arg, struct slice id), void *arg)
{
    struct services_view *v = (struct services_view *)(uintptr_t)view; /* its scratch */
    struct stream_place at = stream_place_get(place);
    bool goes_on = true;
    for (; goes_on && places; places--) {
        const struct catalog_service *s =
            stream_scope_next(registry_catalog(v->registry), &v->scope, &at.name);
        if (!s)
            return false;
        if (stream_scope_fits(&v->scope, s->ns, s->group, s->name))
            goes_on = fn(arg, id_of(v, s));
        at.name = stream_scope_name(s);
    }
    stream_place_set(place, &at);
    return true;
}

static bool fits_filter(const struct services_view *v, const struct catalog_service *s)
{
    for (size_t i = 0; i < v->filter.label_count; i++)
        if (!s->has_settings || !select_has_pair(&s->settings.metadata, &v->filter.labels[i]))
            return false;
    return true;
}

/* NULL: there is no such service for this view. */
static struct catalog_service *find_service(const struct services_view *v, struct slice id)
{
    struct stream_name n;
    if (!stream_scope_split(&v->scope, id, &n))
        return NULL;
    struct catalog_service *s = catalog_find(registry_catalog(v->registry), n.ns, n.group, n.name);
    return s && may_read(v, s) && fits_filter(v, s) ? s : NULL;
}

static void add_text(struct json_writer *w, const char *key, struct slice value)
{
    jw_key(w, key);
    jw_string(w, value);
}

static int64_t services_item(const void *view, struct slice id, uint32_t variant, struct json_writer *w)
{
    const struct services_view *v = view;
    const struct catalog_service *s = find_service(v, id);
    struct audience_counts counts = {0};
    (void)variant;
    if (s)
        audience_count(v->audience, s, &counts);
    if (!counts.exists || !w)
        return counts.exists ? counts.revision : 0;
    jw_open(w, '{');
    add_text(w, "id", id);
    add_text(w, "name", s->name);
    add_text(w, "group", s->group);
    if (v->scope.many_namespaces)
        add_text(w, "namespace", s->ns);
    jw_key(w, "instances");
    jw_uint(w, counts.instances);
    jw_key(w, "states");
    jw_open(w, '{');
    for (int state = 0; state < INSTANCE_STATES; state++) {
        if (!counts.by_state[state])
            continue;
        jw_key(w, instance_state_name((enum instance_state)state));
        jw_uint(w, counts.by_state[state]);
    }
    jw_close(w, '}');
    jw_key(w, "revision");
    jw_int(w, counts.revision);
    jw_close(w, '}');
    return counts.revision;
}

/* With an audience the revision does not change when instances are removed: it cannot be compared. */
static bool services_is_known(const void *view, struct slice id, uint32_t variant,
                              const struct stream_known *known)
{
    const struct services_view *v = view;
    const struct catalog_service *s = find_service(v, id);
    (void)variant;
    return s && s->revision == known->revision && !(v->audience && s->was_projected);
}

static void note_projected(void *arg, struct catalog_service *s)
{
    *(bool *)arg |= s->was_projected;
}

static bool services_is_doubtful(const void *view)
{
    const struct services_view *v = view;
    bool depends_on_rights = v->scope.is_selection;
    if (!depends_on_rights)
        stream_scope_each(registry_catalog(v->registry), &v->scope, note_projected, &depends_on_rights);
    return depends_on_rights;
}

const struct stream_source stream_services_source = {
    .kind = "services",
    .key = services_key,
    .open = services_open,
    .close = services_close,
    .audience = services_audience,
    .describe = services_describe,
    .depends_on_rights = services_is_doubtful,
    .is_known = services_is_known,
    .reached = stream_registry_reached,
    .revision = services_revision,
    .changed = services_last_change,
    .each = services_each,
    .item = services_item,
};
