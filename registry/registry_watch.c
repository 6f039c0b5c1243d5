/* SPDX-License-Identifier: Apache-2.0
 * Watches: notification of changes, and acknowledgements. A watch of one service is linked to its place in
 * the catalog, a watch of many services to their namespace ("" = all). The cost of a change is proportional to
 * the watches of its service, of its namespace and of all namespaces.
 *
 * A callback may begin and end any watch while the list is walked:
 *   - a new watch goes to the front, which the walk has passed;
 *   - if the next watch of the walk ends, the walk moves on to the one after it;
 *   - a list that becomes empty is freed after the walk. */
#include "registry/registry_private.h"

struct watch_list {
    struct link watches;
    struct slice ns; /* of a watch of many services; owned */
};

static struct watch_list *watch_list_new(void)
{
    struct watch_list *d = mem_new(sizeof *d);
    list_init(&d->watches);
    return d;
}

static void registry_watch_begin(struct registry *r, struct registry_watch *w, struct watch_list *d)
{
    w->registry = r;
    w->watched = d;
    w->since = registry_revision(r);
    w->acknowledged = 0;
    list_add_first(&d->watches, &w->link);
    r->subscriber_count += w->subscriber != NULL;
}

void registry_watch_service(struct registry *r, struct registry_watch *w, const struct registry_key *key)
{
    w->service = catalog_hold(r->catalog, key->ns, key->group, key->service);
    if (!w->service->watched)
        w->service->watched = watch_list_new();
    registry_watch_begin(r, w, w->service->watched);
}

static struct slice registry_watch_copy_slice(struct slice s)
{
    return slice_of(s.size ? mem_copy(s.data, s.size) : NULL, s.size);
}

void registry_watch_services(struct registry *r, struct registry_watch *w, struct slice ns,
                             struct slice group, struct slice prefix)
{
    struct watch_list *d = strmap_get(&r->watched, ns);
    if (!d) {
        d = watch_list_new();
        d->ns = registry_watch_copy_slice(ns);
        strmap_put(&r->watched, ns, d);
    }
    w->service = NULL;
    w->group = registry_watch_copy_slice(group);
    w->prefix = registry_watch_copy_slice(prefix);
    registry_watch_begin(r, w, d);
}

/* Frees the list if it has no watch and no walk is under way in it. */
static void drop_if_unused(struct registry *r, struct watch_list *d, struct catalog_service *s)
{
    if (!list_is_empty(&d->watches) || r->notify_list == d)
        return;
    if (s)
        s->watched = NULL;
    else
        strmap_remove(&r->watched, d->ns);
    mem_free(d->ns.data);
    mem_free(d);
}

void registry_unwatch(struct registry_watch *w)
{
    struct registry *r = w->registry;
    if (!link_is_in_list(&w->link))
        return;
    if (r->notify_next == &w->link)
        r->notify_next = w->link.next;
    list_remove(&w->link);
    r->subscriber_count -= w->subscriber != NULL;
    r->was_acknowledged |= w->subscriber != NULL;
    if (w->subscriber && !list_is_empty(&r->draining))
        pending_ops_schedule_turn(&r->pending_ops);
    drop_if_unused(r, w->watched, w->service);
    if (w->service) {
        catalog_release(r->catalog, w->service);
    } else {
        mem_free(w->group.data);
        mem_free(w->prefix.data);
    }
    w->service = NULL;
    w->watched = NULL;
    w->group = w->prefix = (struct slice){0};
}

void registry_acknowledge(struct registry_watch *w, int64_t revision)
{
    struct registry *r = w->registry;
    if (revision <= w->acknowledged || !link_is_in_list(&w->link))
        return;
    w->acknowledged = revision;
    r->was_acknowledged |= w->subscriber != NULL;
    if (w->subscriber && !list_is_empty(&r->draining))
        pending_ops_schedule_turn(&r->pending_ops);
}

/* For a watch of many services: the service is one of them. */
static bool is_among(const struct registry_watch *w, struct slice group, struct slice service)
{
    return (!w->group.size || slice_equal(w->group, group)) && service.size >= w->prefix.size &&
           (!w->prefix.size || !memcmp(service.data, w->prefix.data, w->prefix.size));
}

static bool registry_watch_fits(const struct registry_watch *w, const struct catalog_service *s)
{
    return w->service == s || (!w->service && is_among(w, s->group, s->name) && (!w->fits || w->fits(w, s)));
}

void registry_each_subscriber(const struct registry *r, const struct registry_key *key,
                              void (*fn)(void *arg, const struct registry_watch *w), void *arg)
{
    const struct catalog_service *s = catalog_find(r->catalog, key->ns, key->group, key->service);
    struct watch_list *lists[] = {s ? s->watched : NULL, strmap_get(&r->watched, key->ns),
                                  strmap_get(&r->watched, (struct slice){0})};
    for (size_t i = 0; i < 3; i++) {
        if (!lists[i])
            continue;
        LIST_FOR_EACH (l, &lists[i]->watches) {
            const struct registry_watch *w = container_of(l, struct registry_watch, link);
            bool fits =
                w->service || (is_among(w, key->group, key->service) && (!w->fits || (s && w->fits(w, s))));
            if (w->subscriber && fits)
                fn(arg, w);
        }
    }
}

static void registry_watch_notify(struct registry *r, struct watch_list *d,
                                  const struct catalog_change *change, bool is_of_many)
{
    if (!d)
        return;
    r->notify_list = d;
    r->notify_next = d->watches.next;
    while (r->notify_next != &d->watches) {
        struct registry_watch *w = container_of(r->notify_next, struct registry_watch, link);
        r->notify_next = r->notify_next->next;
        if (registry_watch_fits(w, change->service))
            w->changed(w, change);
    }
    r->notify_list = NULL;
    r->notify_next = NULL;
    drop_if_unused(r, d, is_of_many ? NULL : change->service);
}

void registry_notify(struct registry *r, const struct catalog_change *change)
{
    registry_watch_notify(r, change->service->watched, change, false);
    registry_watch_notify(r, strmap_get(&r->watched, change->service->ns), change, true);
    registry_watch_notify(r, strmap_get(&r->watched, (struct slice){0}), change, true); /* of all */
}

/* Frees the lists. The front ends have ended their watches before. */
void registry_watch_done(struct registry *r)
{
    struct slice key;
    void *value;
    for (size_t at = 0; strmap_next(&r->watched, &at, &key, &value);) {
        mem_free(((struct watch_list *)value)->ns.data);
        mem_free(value);
    }
    strmap_done(&r->watched);
}
