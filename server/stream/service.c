/* SPDX-License-Identifier: Apache-2.0
 * Services as topics: the sources `service` (the instances of one service that match a filter) and
 * `services` (the services of a namespace with their counts). Views read the catalog; they copy nothing
 * but the filter. */
#include "registry/view.h"
#include "server/stream/private.h"

/* All readers of a topic have one audience: readers with other permissions need another topic. */
static void add_audience(struct buf *key, const struct audience *a)
{
    buf_add_byte(key, 0);
    if (a)
        buf_add(key, a->digest, sizeof a->digest);
}

/* --- service ----------------------------------------------------------------------------------------- */

struct service_view {
    struct registry_watch watch;
    struct registry *registry;
    struct stream_topic *topic;
    struct audience *audience;  /* of all its readers */
    struct select_query filter; /* its texts are in `texts` */
    struct buf texts;
    bool has_filter, is_protected;
};

static int service_key(const struct stream_frame *frame, struct buf *ret_key, char *error, size_t error_size)
{
    struct slice group = stream_subscribe_group(frame);
    if (stream_frame_has(frame, STREAM_HAS_PREFIX))
        return stream_subscribe_error(error, error_size,
                                      "subscribe: service needs a name; a prefix belongs to services");
    int err = stream_subscribe_check(frame, false, error, error_size);
    if (err)
        return err;
    stream_subscribe_add_part(ret_key, stream_subscribe_ns(frame));
    stream_subscribe_add_part(ret_key, group);
    stream_subscribe_add_part(ret_key, frame->name);
    stream_filter_key(&frame->filter, ret_key);
    add_audience(ret_key, frame->audience);
    return 0;
}

/* Copies the filter: the frame is freed after it was handled. */
static void copy_filter(struct service_view *v, const struct select_query *q)
{
    size_t size = q->cluster.size + q->version.size + q->protocol.size;
    for (size_t i = 0; i < q->tag_count; i++)
        size += q->tags[i].size;
    for (size_t i = 0; i < q->label_count; i++)
        size += q->labels[i].key.size + q->labels[i].value.size;
    v->filter = *q;
    v->filter.audience = v->audience;
    v->has_filter = v->audience || size || q->only_serving || q->no_guarded || q->tag_count || q->label_count;
    buf_reserve(&v->texts, size + 1); /* so that it does not move while texts are added */
    v->filter.cluster = stream_subscribe_copy(&v->texts, q->cluster);
    v->filter.version = stream_subscribe_copy(&v->texts, q->version);
    v->filter.protocol = stream_subscribe_copy(&v->texts, q->protocol);
    for (size_t i = 0; i < q->tag_count; i++)
        v->filter.tags[i] = stream_subscribe_copy(&v->texts, q->tags[i]);
    for (size_t i = 0; i < q->label_count; i++) {
        v->filter.labels[i].key = stream_subscribe_copy(&v->texts, q->labels[i].key);
        v->filter.labels[i].value = stream_subscribe_copy(&v->texts, q->labels[i].value);
    }
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
    /* Storm protection began or ended, which changes each instance. Deleted ones are among the ids below. */
    for (size_t i = 0; was_protected != v->is_protected && i < change->service->count; i++)
        if (audience_sees(v->audience, change->service->list[i]))
            stream_topic_changed(v->topic, change->service->list[i]->id, change->revision);
    for (size_t i = 0; i < change->id_count; i++)
        if (audience_sees_change(v->audience, change, i))
            stream_topic_changed(v->topic, change->ids[i], change->revision);
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
    copy_filter(v, &frame->filter);
    registry_watch_service(v->registry, &v->watch, &key);
    v->is_protected = find_protection(v);
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

static int64_t reached(void *owner)
{
    return registry_revision(((struct stream_server *)owner)->options.registry);
}

static int64_t service_revision(const void *view)
{
    return registry_revision(((const struct service_view *)view)->registry);
}

static int64_t service_last_change(const void *view)
{
    return ((const struct service_view *)view)->watch.service->revision;
}

static void service_each(const void *view, void (*fn)(void *arg, struct slice id), void *arg)
{
    const struct catalog_service *s = ((const struct service_view *)view)->watch.service;
    for (size_t i = 0; i < s->count; i++)
        fn(arg, s->list[i]->id);
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
    if (w)
        view_write_instance(i, w);
    return i->mod_revision > i->override_revision ? i->mod_revision : i->override_revision;
}

static bool service_is_doubtful(const void *view)
{
    return ((const struct service_view *)view)->watch.service->was_projected;
}

static void service_note(const void *view, struct json_writer *w)
{
    if (!((const struct service_view *)view)->is_protected)
        return;
    jw_key(w, "protected");
    jw_bool(w, true);
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
    .describe = service_describe,
    .depends_on_rights = service_is_doubtful,
    .reached = reached,
    .revision = service_revision,
    .changed = service_last_change,
    .each = service_each,
    .item = service_item,
    .note = service_note,
    .attach = service_attach,
    .detach = service_detach,
    .acknowledge = service_acknowledge,
};

/* --- services ---------------------------------------------------------------------------------------- */

/* An item's id is the service's name, or "group/name" if the view has all groups. */
struct services_view {
    struct registry_watch watch;
    struct registry *registry;
    struct stream_topic *topic;
    struct audience *audience; /* of all its readers */
    struct buf texts;
    struct slice ns, group, prefix; /* group empty = all */
    struct buf id;                  /* scratch */
};

static int services_key(const struct stream_frame *frame, struct buf *ret_key, char *error, size_t error_size)
{
    struct slice group = stream_subscribe_group(frame);
    if (stream_frame_has(frame, STREAM_HAS_NAME) || stream_frame_has(frame, STREAM_HAS_FILTER))
        return stream_subscribe_error(error, error_size,
                                      "subscribe: services needs a prefix and takes neither name nor filter");
    int err = stream_subscribe_check(frame, true, error, error_size);
    if (err)
        return err;
    stream_subscribe_add_part(ret_key, stream_subscribe_ns(frame));
    stream_subscribe_add_part(ret_key, group);
    stream_subscribe_add_part(ret_key, frame->prefix);
    add_audience(ret_key, frame->audience);
    return 0;
}

static struct slice id_of(struct buf *id, const struct services_view *v, const struct catalog_service *s)
{
    if (v->group.size)
        return s->name;
    buf_clear(id);
    buf_add_slice(id, s->group);
    buf_add_byte(id, '/');
    buf_add_slice(id, s->name);
    return buf_slice(id);
}

static void services_changed(struct registry_watch *w, const struct catalog_change *change)
{
    struct services_view *v = container_of(w, struct services_view, watch);
    if (audience_sees_any(v->audience, change))
        stream_topic_changed(v->topic, id_of(&v->id, v, change->service), change->revision);
}

static void *services_open(void *owner, struct stream_topic *topic, const struct stream_frame *frame)
{
    struct stream_server *s = owner;
    struct services_view *v = mem_new(sizeof *v);
    v->registry = s->options.registry;
    v->topic = topic;
    v->watch.changed = services_changed;
    v->audience = audience_ref(frame->audience);
    buf_reserve(&v->texts, stream_subscribe_ns(frame).size + stream_subscribe_group(frame).size +
                               frame->prefix.size + 1);
    v->ns = stream_subscribe_copy(&v->texts, stream_subscribe_ns(frame));
    v->group = stream_subscribe_copy(&v->texts, stream_subscribe_group(frame));
    v->prefix = stream_subscribe_copy(&v->texts, frame->prefix);
    registry_watch_services(v->registry, &v->watch, v->ns, v->group, v->prefix);
    return v;
}

static void services_close(void *view)
{
    struct services_view *v = view;
    registry_unwatch(&v->watch);
    audience_unref(v->audience);
    buf_done(&v->texts);
    buf_done(&v->id);
    mem_free(v);
}

static void services_describe(const void *view, struct stream_frame *ret_frame)
{
    const struct services_view *v = view;
    *ret_frame = (struct stream_frame){.type = STREAM_SUBSCRIBE,
                                       .has = STREAM_FIELD(STREAM_HAS_GROUP),
                                       .kind = slice_text("services"),
                                       .ns = v->ns,
                                       .group = v->group,
                                       .prefix = v->prefix,
                                       .audience = v->audience};
}

static int64_t services_revision(const void *view)
{
    return registry_revision(((const struct services_view *)view)->registry);
}

/* A namespace that does not exist has no revision: the registry's revision is used. */
static int64_t services_last_change(const void *view)
{
    const struct services_view *v = view;
    const struct catalog_namespace *n = catalog_namespace(registry_catalog(v->registry), v->ns);
    return n ? n->revision : registry_revision(v->registry);
}

struct walk {
    const struct services_view *view;
    struct buf id;
    void (*fn)(void *arg, struct slice id);
    void *arg;
};

static bool walk_one(void *arg, struct catalog_service *s)
{
    struct walk *walk = arg;
    walk->fn(walk->arg, id_of(&walk->id, walk->view, s));
    return true;
}

static void services_each(const void *view, void (*fn)(void *arg, struct slice id), void *arg)
{
    const struct services_view *v = view;
    struct walk walk = {.view = v, .fn = fn, .arg = arg};
    catalog_each(registry_catalog(v->registry), v->ns, v->group, v->prefix, (struct slice){0}, walk_one,
                 &walk);
    buf_done(&walk.id);
}

static struct catalog_service *find_service(const struct services_view *v, struct slice id)
{
    struct slice group = v->group, name = id;
    if (!group.size) {
        const uint8_t *slash = memchr(id.data, '/', id.size); /* names have none */
        if (!slash)
            return NULL;
        size_t n = (size_t)(slash - id.data);
        group = slice_of(id.data, n);
        name = slice_of(slash + 1, id.size - n - 1);
    }
    return catalog_find(registry_catalog(v->registry), v->ns, group, name);
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
    jw_key(w, "id");
    jw_string(w, id);
    jw_key(w, "name");
    jw_string(w, s->name);
    jw_key(w, "group");
    jw_string(w, s->group);
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

static bool is_projected(void *arg, struct catalog_service *s)
{
    *(bool *)arg = s->was_projected;
    return !s->was_projected;
}

static bool services_is_doubtful(const void *view)
{
    const struct services_view *v = view;
    bool depends_on_rights = false;
    catalog_each(registry_catalog(v->registry), v->ns, v->group, v->prefix, (struct slice){0}, is_projected,
                 &depends_on_rights);
    return depends_on_rights;
}

const struct stream_source stream_services_source = {
    .kind = "services",
    .key = services_key,
    .open = services_open,
    .close = services_close,
    .describe = services_describe,
    .depends_on_rights = services_is_doubtful,
    .is_known = services_is_known,
    .reached = reached,
    .revision = services_revision,
    .changed = services_last_change,
    .each = services_each,
    .item = services_item,
};
