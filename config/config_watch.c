/* SPDX-License-Identifier: Apache-2.0
 * Watches of configurations, and the state that each client reports. A watch of one item is in the list of
 * its name, a watch of many in the list of its namespace ("" = all). A change costs as much as there are watches
 * of its item, of its namespace and of all namespaces.
 *
 * A callback may begin and end any watch while the list is walked:
 *   - A new watch goes to the front, which the walk has passed.
 *   - When the next watch of the walk ends, the walk continues with the one after it.
 *   - A list that becomes empty is kept until the walk is over. */
#include "config/config_private.h"

#define STATES_MAX 100000 /* items of one watch whose state is kept */

struct watched {
    struct link watches;
    struct strmap *in;
    struct slice key; /* owned */
};

static struct slice config_watch_copy_slice(struct slice s)
{
    return slice_of(s.size ? mem_copy(s.data, s.size) : NULL, s.size);
}

static struct watched *watched_of(struct strmap *in, struct slice key)
{
    struct watched *d = strmap_get(in, key);
    if (d)
        return d;
    d = mem_new(sizeof *d);
    list_init(&d->watches);
    d->in = in;
    d->key = config_watch_copy_slice(key);
    strmap_put(in, key, d);
    return d;
}

void config_watch(struct config *c, struct config_watch *w, const struct config_id *key, bool is_prefix)
{
    struct buf text = {0};
    config_add_id(&text, key);
    w->config = c;
    w->ns = config_watch_copy_slice(key->ns);
    w->group = config_watch_copy_slice(key->group);
    w->name = config_watch_copy_slice(key->name);
    w->is_prefix = is_prefix;
    w->states = (struct strmap){0};
    w->since_ms = config_wall_ms(c);
    w->sent_revision = 0;
    w->watched = is_prefix ? watched_of(&c->watched_namespaces, key->ns)
                           : watched_of(&c->watched_items, buf_slice(&text));
    list_add_first(&w->watched->watches, &w->link);
    c->listener_count += w->subscriber != NULL;
    buf_done(&text);
}

/* Frees the list if it has no watches and is not being walked. */
static void drop_if_unused(struct config *c, struct watched *d)
{
    if (!list_is_empty(&d->watches) || c->notified == d)
        return;
    strmap_remove(d->in, d->key);
    mem_free(d->key.data);
    mem_free(d);
}

static void free_state(struct config_state *s)
{
    if (s)
        mem_free(s->error);
    mem_free(s);
}

void config_unwatch(struct config_watch *w)
{
    struct config *c = w->config;
    struct slice key;
    void *value;
    if (!link_is_in_list(&w->link))
        return;
    if (c->notify_next == &w->link)
        c->notify_next = w->link.next;
    list_remove(&w->link);
    c->listener_count -= w->subscriber != NULL;
    drop_if_unused(c, w->watched);
    for (size_t at = 0; strmap_next(&w->states, &at, &key, &value);)
        free_state(value);
    strmap_done(&w->states);
    mem_free(w->ns.data);
    mem_free(w->group.data);
    mem_free(w->name.data);
    w->ns = w->group = w->name = (struct slice){0};
    w->watched = NULL;
}

static bool config_watch_matches(const struct config_watch *w, const struct config_id *key)
{
    if (w->group.size && !slice_equal(w->group, key->group))
        return false;
    if (!w->is_prefix)
        return slice_equal(w->name, key->name);
    return key->name.size >= w->name.size &&
           (!w->name.size || memcmp(key->name.data, w->name.data, w->name.size) == 0) &&
           (!w->fits || w->fits(w, key));
}

/* --- the state that clients report --------------------------------------------------------------------- */

static struct slice state_key(struct buf *text, const struct config_id *key)
{
    buf_clear(text);
    buf_add_slice(text, key->ns);
    buf_add_byte(text, '/');
    buf_add_slice(text, key->group);
    buf_add_byte(text, '/');
    buf_add_slice(text, key->name);
    return buf_slice(text);
}

/* NULL: the watch does not match it, or there is no such item: a client cannot make a member store names. */
static struct config_state *state_of(struct config_watch *w, const struct config_id *key)
{
    struct buf text = {0};
    struct config_state *s = NULL;
    bool is_there = link_is_in_list(&w->link) && (!w->ns.size || slice_equal(w->ns, key->ns)) &&
                    config_watch_matches(w, key) && config_find(w->config, key);
    if (is_there) {
        s = strmap_get(&w->states, state_key(&text, key));
        if (!s && w->states.count < STATES_MAX)
            strmap_put(&w->states, buf_slice(&text), s = mem_new(sizeof *s));
    }
    buf_done(&text);
    return s;
}

void config_sent(struct config_watch *w, const struct config_id *key, uint64_t seq)
{
    struct config_state *s = state_of(w, key);
    if (s)
        s->sent = seq;
}

void config_sent_all(struct config_watch *w, int64_t revision)
{
    w->sent_revision = revision;
}

void config_applied(struct config_watch *w, const struct config_id *key, uint64_t seq, bool is_ok,
                    struct slice error)
{
    struct config_state *s = state_of(w, key);
    if (!s)
        return;
    mem_free(s->error);
    s->error = NULL;
    s->rejected = is_ok ? 0 : seq;
    if (is_ok) {
        s->applied = seq;
        return;
    }
    size_t size = error.size < CONFIG_ERROR_MAX ? error.size : CONFIG_ERROR_MAX;
    s->error = mem_new(size + 1);
    if (size)
        memcpy(s->error, error.data, size);
    s->error[utf8_valid_size(slice_of(s->error, size))] = 0;
}

static void forget_state(struct config_watch *w, const struct config_id *key)
{
    struct buf text = {0};
    if (w->states.count)
        free_state(strmap_remove(&w->states, state_key(&text, key)));
    buf_done(&text);
}

/* --- notification -------------------------------------------------------------------------------------- */

static struct watched *watched_item(const struct config *c, const struct config_id *key)
{
    struct buf text = {0};
    config_add_id(&text, key);
    struct watched *d = strmap_get(&c->watched_items, buf_slice(&text));
    buf_done(&text);
    return d;
}

void config_each_listener(const struct config *c, const struct config_id *key,
                          void (*fn)(void *arg, const struct config_watch *w, const struct config_state *s),
                          void *arg)
{
    struct watched *lists[] = {watched_item(c, key), strmap_get(&c->watched_namespaces, key->ns),
                               strmap_get(&c->watched_namespaces, (struct slice){0})};
    struct buf text = {0};
    state_key(&text, key);
    for (size_t i = 0; i < 3; i++) {
        if (!lists[i])
            continue;
        LIST_FOR_EACH (l, &lists[i]->watches) {
            const struct config_watch *w = container_of(l, struct config_watch, link);
            if (w->subscriber && config_watch_matches(w, key))
                fn(arg, w, strmap_get(&w->states, buf_slice(&text)));
        }
    }
    buf_done(&text);
}

static void config_watch_notify(struct config *c, struct watched *d, const struct heads_item *i,
                                const struct config_id *key)
{
    if (!d)
        return;
    c->notified = d;
    c->notify_next = d->watches.next;
    while (c->notify_next != &d->watches) {
        struct config_watch *w = container_of(c->notify_next, struct config_watch, link);
        c->notify_next = c->notify_next->next;
        if (!config_watch_matches(w, key))
            continue;
        if (!i->item.head)
            forget_state(w, key);
        w->changed(w, i->item.head ? &i->item : NULL, key);
    }
    c->notified = NULL;
    c->notify_next = NULL;
    drop_if_unused(c, d);
}

void config_notify(struct config *c, const struct heads_item *i)
{
    struct config_id key = {i->item.ns, i->item.group, i->item.name};
    config_watch_notify(c, watched_item(c, &key), i, &key);
    config_watch_notify(c, strmap_get(&c->watched_namespaces, key.ns), i, &key);
    config_watch_notify(c, strmap_get(&c->watched_namespaces, (struct slice){0}), i, &key); /* of all */
}

/* Frees lists that are left. The front ends have ended their watches by now. */
static void drop_all(struct strmap *map)
{
    struct slice key;
    void *value;
    for (size_t at = 0; strmap_next(map, &at, &key, &value);) {
        mem_free(((struct watched *)value)->key.data);
        mem_free(value);
    }
    strmap_done(map);
}

void config_watch_done(struct config *c)
{
    drop_all(&c->watched_items);
    drop_all(&c->watched_namespaces);
}
