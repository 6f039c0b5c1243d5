/* SPDX-License-Identifier: Apache-2.0
 * One service as a topic: the source `service`, its instances that match a filter. A view reads the catalog; it
 * copies nothing but the filter. Frames have "absent":true while the service does not exist for the reader: it
 * has neither settings nor an instance that the reader may see. */
#include "registry/view.h"
#include "server/stream/private.h"

/* --- service ----------------------------------------------------------------------------------------- */

struct service_view {
    struct registry_watch watch;
    struct registry *registry;
    struct stream_topic *topic;
    struct audience *audience;  /* of all its readers */
    struct select_query filter; /* its texts are in `texts` */
    struct buf texts;
    bool has_filter, is_protected, is_absent;
};

static int service_key(const struct stream_frame *frame, struct buf *ret_key, char *error, size_t error_size)
{
    struct slice group = stream_subscribe_group(frame);
    if (stream_frame_has(frame, STREAM_HAS_PREFIX))
        return stream_subscribe_error(error, error_size,
                                      "subscribe: service needs a name; a prefix belongs to services");
    int err = stream_subscribe_check(frame, error, error_size);
    if (err)
        return err;
    stream_subscribe_add_part(ret_key, stream_subscribe_ns(frame));
    stream_subscribe_add_part(ret_key, group);
    stream_subscribe_add_part(ret_key, frame->name);
    stream_filter_key(&frame->filter, ret_key);
    stream_subscribe_add_audience(ret_key, frame->audience);
    return 0;
}

static struct audience *service_audience(void *owner, const struct auth_who *who,
                                         const struct stream_frame *frame)
{
    const struct stream_server *s = owner;
    (void)frame;
    return guard_audience(s->options.identity, who, s->options.registry);
}

/* For the audience of the view. */
static bool find_absence(const struct service_view *v)
{
    struct audience_counts counts;
    audience_count(v->audience, v->watch.service, &counts);
    return !counts.exists;
}

static bool find_protection(const struct service_view *v)
{
    struct arena a = {0};
    struct select_result result;
    if (!v->filter.only_serving)
        return false;
    select_run(&v->filter, v->watch.service, &a, &result);
    arena_done(&a);
    return result.is_protected;
}

static void service_changed(struct registry_watch *w, const struct catalog_change *change)
{
    struct service_view *v = container_of(w, struct service_view, watch);
    bool was_protected = v->is_protected;
    v->is_protected = find_protection(v);
    bool is_whole = was_protected != v->is_protected || stream_inherited_as_delta(v->topic, change);
    /* Storm protection began or ended, or what they inherit has changed: each instance has. Deleted ones are among
     * the ids below. */
    for (size_t i = 0; is_whole && i < change->service->count; i++)
        if (audience_sees(v->audience, change->service->list[i]))
            stream_topic_changed(v->topic, change->service->list[i]->id, change->revision);
    for (size_t i = 0; i < change->id_count; i++)
        if (audience_sees_change(v->audience, change, i))
            stream_topic_changed(v->topic, change->ids[i], change->revision);
    bool was_absent = v->is_absent;
    v->is_absent = find_absence(v);
    if (was_absent != v->is_absent) /* also by its settings alone */
        stream_topic_note_changed(v->topic, change->revision);
}

static struct registry_key stream_service_key_of(const struct stream_frame *frame)
{
    return (struct registry_key){
        .ns = stream_subscribe_ns(frame), .group = stream_subscribe_group(frame), .service = frame->name};
}

static void *service_open(void *owner, struct stream_topic *topic, const struct stream_frame *frame)
{
    struct stream_server *s = owner;
    struct service_view *v = mem_new(sizeof *v);
    struct registry_key key = stream_service_key_of(frame);
    v->registry = s->options.registry;
    v->topic = topic;
    v->watch.changed = service_changed;
    v->audience = audience_ref(frame->audience);
    v->has_filter = stream_subscribe_copy_filter(&v->filter, &frame->filter, &v->texts) || v->audience;
    v->filter.audience = v->audience;
    registry_watch_service(v->registry, &v->watch, &key);
    v->is_protected = find_protection(v);
    v->is_absent = find_absence(v);
    return v;
}

static void service_close(void *view)
{
    struct service_view *v = view;
    registry_unwatch(&v->watch);
    audience_unref(v->audience);
    buf_done(&v->texts);
    mem_free(v);
}

static void service_describe(const void *view, struct stream_frame *ret_frame)
{
    const struct service_view *v = view;
    const struct catalog_service *s = v->watch.service;
    *ret_frame = (struct stream_frame){.type = STREAM_SUBSCRIBE,
                                       .has = STREAM_FIELD(STREAM_HAS_GROUP),
                                       .kind = slice_text("service"),
                                       .ns = s->ns,
                                       .group = s->group,
                                       .name = s->name,
                                       .filter = v->filter,
                                       .audience = v->audience};
}

static int64_t service_revision(const void *view)
{
    return registry_revision(((const struct service_view *)view)->registry);
}

static int64_t service_last_change(const void *view)
{
    return ((const struct service_view *)view)->watch.service->revision;
}

/* The place is an id, with a byte before it. */
static bool service_each(const void *view, struct buf *place, size_t places,
                         bool (*fn)(void *arg, struct slice id), void *arg)
{
    const struct catalog_service *s = ((const struct service_view *)view)->watch.service;
    size_t i = place->size ? catalog_place_behind(s, slice_of(place->data + 1, place->size - 1)) : 0;
    bool goes_on = true;
    for (; goes_on && places && i < s->count; i++, places--)
        goes_on = fn(arg, s->list[i]->id);
    if (i == s->count)
        return false;
    buf_clear(place);
    buf_add_byte(place, 0);
    buf_add_slice(place, s->list[i - 1]->id);
    return true;
}

static bool is_in(const struct service_view *v, const struct catalog_instance *i)
{
    if (!v->has_filter)
        return true;
    if (v->filter.only_serving && !v->is_protected && !catalog_effect(i).serves)
        return false;
    return select_fits(&v->filter, i);
}

static int64_t service_item(const void *view, struct slice id, uint32_t variant, struct json_writer *w)
{
    const struct service_view *v = view;
    const struct catalog_instance *i = catalog_instance(v->watch.service, id);
    (void)variant;
    if (!i || !i->doc || !is_in(v, i))
        return 0;
    if (w) {
        const struct inheritance inherited = inheritance_of(i->service);
        view_write_instance(i, &inherited, w);
    }
    return i->mod_revision > i->override_revision ? i->mod_revision : i->override_revision;
}

static bool service_is_known(const void *view, struct slice id, uint32_t variant,
                             const struct stream_known *known)
{
    const struct service_view *v = view;
    (void)variant;
    return stream_inherited_is_known(catalog_instance(v->watch.service, id), known);
}

static bool service_is_doubtful(const void *view)
{
    return ((const struct service_view *)view)->watch.service->was_projected;
}

static void service_note(const void *view, uint32_t variant, struct json_writer *w)
{
    const struct service_view *v = view;
    (void)variant;
    if (v->is_protected) {
        jw_key(w, "protected");
        jw_bool(w, true);
    }
    if (v->is_absent) {
        jw_key(w, "absent");
        jw_bool(w, true);
    }
}

/* --- subscribers: acknowledgements, one by one ------------------------------------------------------- */

static void look_changed(struct registry_watch *w, const struct catalog_change *change)
{
    (void)w, (void)change; /* the view's own watch handles it */
}

static void *service_attach(void *view, const struct registry_subscriber *subscriber)
{
    const struct service_view *v = view;
    const struct catalog_service *s = v->watch.service;
    struct registry_watch *w = mem_new(sizeof *w);
    struct registry_key key = {.ns = s->ns, .group = s->group, .service = s->name};
    w->changed = look_changed;
    w->subscriber = subscriber;
    registry_watch_service(v->registry, w, &key);
    return w;
}

static void service_detach(void *subscriber)
{
    registry_unwatch(subscriber);
    mem_free(subscriber);
}

static void service_acknowledge(void *subscriber, int64_t revision)
{
    registry_acknowledge(subscriber, revision);
}

const struct stream_source stream_service_source = {
    .kind = "service",
    .key = service_key,
    .open = service_open,
    .close = service_close,
    .audience = service_audience,
    .describe = service_describe,
    .depends_on_rights = service_is_doubtful,
    .is_known = service_is_known,
    .reached = stream_registry_reached,
    .revision = service_revision,
    .changed = service_last_change,
    .each = service_each,
    .item = service_item,
    .note = service_note,
    .attach = service_attach,
    .detach = service_detach,
    .acknowledge = service_acknowledge,
};
