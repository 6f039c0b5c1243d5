/* SPDX-License-Identifier: Apache-2.0
 * The walk over the configurations of a scope, some at a time, for snapshots that are made in steps. */
#include "server/stream/private.h"

struct walk {
    const struct config *config;
    const struct stream_scope *scope;
    bool (*fn)(void *arg, const struct config_item *item);
    void *arg;
    const struct config_item *last; /* visited */
    bool is_stopped;                /* by fn */
};

static bool walk_item(void *arg, const struct config_item *item)
{
    struct walk *walk = arg;
    walk->last = item;
    walk->is_stopped = !walk->fn(walk->arg, item);
    return !walk->is_stopped;
}

/* Some items of one namespace. True: there may be more in it, after walk->last. */
static bool walk_namespace(struct walk *walk, const struct stream_name *at, size_t places)
{
    struct buf after = {0};
    const struct config_item *last = NULL;
    if (at->name.size) {
        buf_add_slice(&after, at->group);
        buf_add_byte(&after, '/');
        buf_add_slice(&after, at->name);
    }
    bool has_more =
        config_each_some(walk->config, at->ns, stream_scope_group(walk->scope),
                         glob_prefix(&walk->scope->name), buf_slice(&after), places, walk_item, walk, &last);
    buf_done(&after);
    if (!walk->is_stopped)
        walk->last = last;
    return has_more || walk->is_stopped;
}

/* The first namespace of the scope after this one; empty = none. */
static struct slice next_namespace(const struct walk *walk, struct slice after)
{
    struct slice one = stream_scope_ns(walk->scope);
    if (one.size)
        return after.size ? (struct slice){0} : one;
    do
        after = config_next_namespace(walk->config, after);
    while (after.size && !glob_matches(&walk->scope->ns, after));
    return after;
}

bool stream_config_walk(const struct config *c, const struct stream_scope *scope, struct buf *place,
                        size_t places, bool (*fn)(void *arg, const struct config_item *item), void *arg)
{
    struct walk walk = {.config = c, .scope = scope, .fn = fn, .arg = arg};
    struct stream_place at = stream_place_get(place);
    bool is_whole = places == SIZE_MAX;
    if (!at.name.ns.size)
        at.name.ns = next_namespace(&walk, (struct slice){0});
    do {
        if (!at.name.ns.size)
            break;
        if (walk_namespace(&walk, &at.name, places))
            at.name = (struct stream_name){walk.last->ns, walk.last->group, walk.last->name};
        else
            at.name = (struct stream_name){.ns = next_namespace(&walk, at.name.ns)};
    } while (is_whole && !walk.is_stopped);
    if (at.name.ns.size)
        stream_place_set(place, &at);
    return at.name.ns.size > 0;
}
