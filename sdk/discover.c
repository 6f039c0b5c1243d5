/* SPDX-License-Identifier: Apache-2.0
 * Discovery: the instances of a service as a view of the stream, and as a list of structs. */
#include "base/clock.h"
#include "sdk/item.h"
#include "sdk/stream.h"

struct cairn_discovery {
    struct object object;
    struct post post;
    struct subscription subscription;
    bool is_notifying, is_stopped;
    json_t *seen; /* by id: when an instance in traffic was first seen, ms; 0 = in the first state */
    char *ns, *group, *service, *selectors[SUBSCRIPTION_SELECTORS];
    void (*callback)(struct cairn_discovery *d, const struct cairn_instances *now, void *arg);
    void *arg;
};

/* Orders instances by id: a snapshot has this order, but deltas have the order of changes. */
static int cairn_discover_compare(const void *a, const void *b)
{
    return strcmp(((const struct cairn_instance *)a)->id, ((const struct cairn_instance *)b)->id);
}

/* Notes when each instance in traffic was first seen, and forgets those that left. */
static void discover_note_ages(struct cairn_discovery *d)
{
    json_t *seen = json_object(), *item;
    json_int_t now = d->seen ? (json_int_t)clock_mono_ms() : 0;
    const char *id;
    json_object_foreach(d->subscription.items, id, item)
    {
        json_t *before = json_object_get(d->seen, id);
        if (json_is_true(json_object_get(item, "serving")))
            json_object_set_new(seen, id, before ? json_incref(before) : json_integer(now));
    }
    json_decref(d->seen);
    d->seen = seen;
}

static void discover_set_ages(const struct cairn_discovery *d, struct cairn_instances *r, struct arena *a)
{
    uint64_t *ages = arena_new(a, (r->count + 1) * sizeof *ages), now = clock_mono_ms();
    for (size_t i = 0; i < r->count; i++) {
        uint64_t first = (uint64_t)json_integer_value(json_object_get(d->seen, r->list[i].id));
        ages[i] = first ? now - first : UINT64_MAX;
    }
    r->ages_ms = ages;
}

static struct cairn_instances *instances_of(const struct cairn_discovery *d)
{
    const struct subscription *s = &d->subscription;
    struct arena *a;
    struct cairn_instances *r = result_new(sizeof *r, &a);
    size_t count = json_object_size(s->items);
    struct cairn_instance *list = arena_new(a, (count + 1) * sizeof *list);
    const char *id;
    json_t *item, *items = s->items;
    json_object_foreach(items, id, item) list[r->count++] = instance_of(item, a);
    qsort(list, r->count, sizeof *list, cairn_discover_compare);
    r->list = list;
    r->revision = s->revision;
    r->is_current = s->items != NULL;
    r->is_cached = s->is_from_cache;
    r->is_absent = s->is_absent;
    r->cache_age_ms = s->is_from_cache ? s->cache_age_ms : 0;
    discover_set_ages(d, r, a);
    return r;
}

static void discovery_free(struct cairn_discovery *d)
{
    mem_free(d->ns);
    mem_free(d->group);
    mem_free(d->service);
    json_decref(d->seen);
    for (size_t i = 0; i < SUBSCRIPTION_SELECTORS; i++)
        mem_free(d->selectors[i]);
    mem_free(d);
}

static void cairn_discover_on_change(struct subscription *s)
{
    struct cairn_discovery *d = container_of(s, struct cairn_discovery, subscription);
    cache_write(s);
    discover_note_ages(d);
    if (!d->callback)
        return;
    struct cairn_instances *now = instances_of(d);
    d->is_notifying = true;
    d->callback(d, now, d->arg);
    d->is_notifying = false;
    cairn_result_free(now);
    if (d->is_stopped)
        discovery_free(d);
}

/* Handles a refused subscription. The request itself was valid before, so a token or a role has changed.
 * The view keeps its state and subscribes again on the next connection. */
static void on_refused(struct subscription *s, const struct cairn_error *error)
{
    stream_report(s->client, "subscription of a service", error);
}

static void cairn_discover_stop_here(struct object *o)
{
    struct cairn_discovery *d = container_of(o, struct cairn_discovery, object);
    list_remove(&o->link);
    subscription_done(&d->subscription);
    d->is_stopped = true;
    if (!d->is_notifying)
        discovery_free(d);
}

static void cairn_discover_start_here(struct post *p)
{
    struct cairn_discovery *d = container_of(p, struct cairn_discovery, post);
    object_add(d->subscription.client, &d->object);
    subscription_start(&d->subscription, d->subscription.client, "service", d->ns, d->group, d->service);
}

static char *cairn_discover_copy(const char *text)
{
    return mem_string(text ? text : "");
}

int cairn_discover_start(struct cairn_client *c, const struct cairn_discover_request *request,
                         void (*callback)(struct cairn_discovery *d, const struct cairn_instances *now,
                                          void *arg),
                         void *arg, struct cairn_discovery **ret_discovery, struct cairn_error *error)
{
    if (!request->service || !*request->service)
        return set_error(error, CAIRN_INVALID, "a discovery needs a service");
    struct cairn_discovery *d = mem_new(sizeof *d);
    d->ns = cairn_discover_copy(request->ns);
    d->group = cairn_discover_copy(request->group);
    d->service = cairn_discover_copy(request->service);
    d->callback = callback;
    d->arg = arg;
    d->object.stop = cairn_discover_stop_here;
    d->post.run = cairn_discover_start_here;
    d->subscription.client = c;
    d->subscription.only_serving = request->only_serving;
    d->subscription.no_guarded = request->no_guarded;
    const char *selectors[SUBSCRIPTION_SELECTORS] = {request->cluster, request->version, request->protocol,
                                                     request->tags, request->labels};
    for (size_t i = 0; i < SUBSCRIPTION_SELECTORS; i++)
        d->subscription.selectors[i] = d->selectors[i] = cairn_discover_copy(selectors[i]);
    d->subscription.on_change = cairn_discover_on_change;
    d->subscription.on_refused = on_refused;
    *ret_discovery = d; /* set before the callback can run */
    int err = client_start(c, &d->post);
    if (err) {
        *ret_discovery = NULL;
        discovery_free(d);
        return set_error(error, err, "%s", cairn_error_text(err));
    }
    return CAIRN_OK;
}

struct instances_query {
    struct cairn_discovery *discovery;
    struct cairn_instances *instances;
};

static void copy_instances_on_thread(void *arg)
{
    struct instances_query *l = arg;
    l->instances = instances_of(l->discovery);
}

int cairn_discover_now(struct cairn_discovery *d, struct cairn_instances **ret)
{
    struct instances_query l = {d, NULL};
    int err = client_run(d->subscription.client, copy_instances_on_thread, &l);
    if (!err)
        *ret = l.instances;
    return err;
}

void cairn_discover_stop(struct cairn_discovery *d)
{
    if (d)
        object_stop(d->subscription.client, &d->object);
}
