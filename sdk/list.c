/* SPDX-License-Identifier: Apache-2.0
 * Lists of services, of configurations and of instances as views of the stream. */
#include "sdk/item.h"
#include "sdk/stream.h"

struct cairn_list_watch {
    struct object object;
    struct post post;
    struct subscription subscription;
    enum cairn_list_kind kind;
    char *ns, *group, *prefix, *selectors[SUBSCRIPTION_SELECTORS];
    bool is_notifying, is_stopped;
    void (*callback)(struct cairn_list_watch *w, const struct cairn_list *now, void *arg);
    void *arg;
};

static void list_watch_free(struct cairn_list_watch *w)
{
    mem_free(w->ns);
    mem_free(w->group);
    mem_free(w->prefix);
    for (size_t i = 0; i < SUBSCRIPTION_SELECTORS; i++)
        mem_free(w->selectors[i]);
    mem_free(w);
}

static int list_compare(const void *a, const void *b)
{
    return strcmp(((const struct cairn_item *)a)->id, ((const struct cairn_item *)b)->id);
}

/* After the items are sorted: their instances, in the same order. */
static const struct cairn_instance *list_instances(const struct subscription *s, struct cairn_item *items,
                                                   size_t count, struct arena *a)
{
    struct cairn_instance *list = arena_new(a, (count + 1) * sizeof *list);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_object_get(s->items, items[i].id);
        const char *service = json_string_value(json_object_get(item, "service"));
        list[i] = instance_of(json_object_get(item, "instance"), a);
        items[i].name = arena_string(a, service ? service : "", strlen(service ? service : ""));
    }
    return list;
}

static void list_on_change(struct subscription *s)
{
    struct cairn_list_watch *w = container_of(s, struct cairn_list_watch, subscription);
    struct arena a = {0};
    struct cairn_item *items = arena_new(&a, (json_object_size(s->items) + 1) * sizeof *items);
    struct cairn_list now = {.items = items,
                             .revision = s->revision,
                             .is_cached = s->is_from_cache,
                             .cache_age_ms = s->is_from_cache ? s->cache_age_ms : 0};
    const char *id;
    json_t *item;
    cache_write(s);
    json_object_foreach(s->items, id, item) items[now.count++] = item_of(item, &a);
    qsort(items, now.count, sizeof *items, list_compare);
    if (w->kind == CAIRN_LIST_INSTANCES)
        now.instances = list_instances(s, items, now.count, &a);
    w->is_notifying = true;
    w->callback(w, &now, w->arg);
    w->is_notifying = false;
    arena_done(&a);
    if (w->is_stopped)
        list_watch_free(w);
}

static void list_on_refused(struct subscription *s, const struct cairn_error *error)
{
    stream_report(s->client, "subscription of a list", error);
}

static void list_stop_here(struct object *o)
{
    struct cairn_list_watch *w = container_of(o, struct cairn_list_watch, object);
    list_remove(&o->link);
    subscription_done(&w->subscription);
    w->is_stopped = true;
    if (!w->is_notifying)
        list_watch_free(w);
}

static void list_start_here(struct post *p)
{
    static const char *const kinds[] = {[CAIRN_LIST_SERVICES] = "services",
                                        [CAIRN_LIST_CONFIGS] = "configs",
                                        [CAIRN_LIST_INSTANCES] = "instances"};
    struct cairn_list_watch *w = container_of(p, struct cairn_list_watch, post);
    object_add(w->subscription.client, &w->object);
    subscription_start(&w->subscription, w->subscription.client, kinds[w->kind], w->ns, w->group, "");
}

static char *list_copy(const char *text, const char *otherwise)
{
    return mem_string(text ? text : otherwise);
}

int cairn_list_start(struct cairn_client *c, const struct cairn_list_request *request,
                     void (*callback)(struct cairn_list_watch *w, const struct cairn_list *now, void *arg),
                     void *arg, struct cairn_list_watch **ret_watch, struct cairn_error *error)
{
    if (!callback || (request->all_groups && request->group))
        return set_error(error, CAIRN_INVALID, "a list needs a callback, and either group or all_groups");
    if ((unsigned)request->kind > CAIRN_LIST_INSTANCES)
        return set_error(error, CAIRN_INVALID, "a list is of services, of configurations or of instances");
    const char *selectors[SUBSCRIPTION_SELECTORS] = {request->cluster, request->version, request->protocol,
                                                     request->tags, request->labels};
    bool has_labels = request->labels && *request->labels;
    bool has_more = request->only_serving || request->no_guarded;
    for (size_t i = 0; i + 1 < SUBSCRIPTION_SELECTORS; i++)
        has_more |= selectors[i] && *selectors[i];
    if ((has_more && request->kind != CAIRN_LIST_INSTANCES) ||
        (has_labels && request->kind == CAIRN_LIST_CONFIGS))
        return set_error(error, CAIRN_INVALID,
                         "selectors are of lists of instances; a list of services has labels alone");
    struct cairn_list_watch *w = mem_new(sizeof *w);
    w->kind = request->kind;
    w->ns = list_copy(request->ns, "");
    w->group = list_copy(request->group, request->all_groups ? "" : "default");
    w->prefix = list_copy(request->prefix, "");
    w->callback = callback;
    w->arg = arg;
    w->object.stop = list_stop_here;
    w->post.run = list_start_here;
    w->subscription.client = c;
    w->subscription.all_groups = request->all_groups;
    w->subscription.prefix = w->prefix;
    w->subscription.only_serving = request->only_serving;
    w->subscription.no_guarded = request->no_guarded;
    for (size_t i = 0; i < SUBSCRIPTION_SELECTORS; i++)
        w->subscription.selectors[i] = w->selectors[i] = list_copy(selectors[i], "");
    w->subscription.on_change = list_on_change;
    w->subscription.on_refused = list_on_refused;
    *ret_watch = w; /* set before the callback can run */
    int err = client_start(c, &w->post);
    if (err) {
        *ret_watch = NULL;
        list_watch_free(w);
        return set_error(error, err, "%s", cairn_error_text(err));
    }
    return CAIRN_OK;
}

struct list_applied {
    struct cairn_list_watch *watch;
    const char *id, *problem;
    uint64_t seq;
};

static void list_apply_here(void *arg)
{
    const struct list_applied *a = arg;
    subscription_send_applied(&a->watch->subscription, a->id, a->seq, a->problem);
}

void cairn_list_applied(struct cairn_list_watch *w, const char *id, uint64_t seq, const char *problem)
{
    struct list_applied a = {w, id, problem, seq};
    (void)client_run(w->subscription.client, list_apply_here, &a);
}

void cairn_list_stop(struct cairn_list_watch *w)
{
    if (w)
        object_stop(w->subscription.client, &w->object);
}
