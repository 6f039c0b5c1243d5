/* SPDX-License-Identifier: Apache-2.0
 * Lists of services and of configurations as views of the stream. */
#include "sdk/item.h"
#include "sdk/stream.h"

struct cairn_list_watch {
    struct object object;
    struct post post;
    struct subscription subscription;
    enum cairn_list_kind kind;
    char *ns, *group, *prefix;
    bool is_notifying, is_stopped;
    void (*callback)(struct cairn_list_watch *w, const struct cairn_list *now, void *arg);
    void *arg;
};

static void list_watch_free(struct cairn_list_watch *w)
{
    mem_free(w->ns);
    mem_free(w->group);
    mem_free(w->prefix);
    mem_free(w);
}

static int list_compare(const void *a, const void *b)
{
    return strcmp(((const struct cairn_item *)a)->id, ((const struct cairn_item *)b)->id);
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
    struct cairn_list_watch *w = container_of(p, struct cairn_list_watch, post);
    object_add(w->subscription.client, &w->object);
    subscription_start(&w->subscription, w->subscription.client,
                       w->kind == CAIRN_LIST_SERVICES ? "services" : "configs", w->ns, w->group, "");
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
    if (request->kind != CAIRN_LIST_SERVICES && request->kind != CAIRN_LIST_CONFIGS)
        return set_error(error, CAIRN_INVALID, "a list is of services or of configurations");
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
