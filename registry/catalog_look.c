/* SPDX-License-Identifier: Apache-2.0
 * Lookups in the view: pages of services, sessions, counts. See catalog.h. */
#include "registry/catalog_state.h"

int64_t catalog_revision(const struct catalog *c)
{
    return c->revision;
}

int64_t catalog_absent_revision(const struct catalog *c)
{
    return c->absent_revision;
}

int64_t catalog_whole_since(const struct catalog *c)
{
    return c->whole_since;
}

uint64_t catalog_edition(const struct catalog *c)
{
    return c->is_open || c->is_ending ? 0 : c->edition;
}

bool catalog_is_settled(const struct catalog *c)
{
    return !c->is_open && !c->is_ending;
}

size_t catalog_unreadable(const struct catalog *c)
{
    return c->unreadable.count;
}

const struct catalog_namespace *catalog_namespace(const struct catalog *c, struct slice ns)
{
    return strmap_get(&c->namespaces, ns);
}

void catalog_each_namespace(const struct catalog *c, bool (*fn)(void *arg, const struct catalog_namespace *n),
                            void *arg)
{
    struct slice name;
    void *value;
    for (size_t at = 0; strmap_next(&c->namespaces, &at, &name, &value);)
        if (!fn(arg, value))
            return;
}

size_t catalog_namespace_count(const struct catalog *c)
{
    return c->used_namespaces;
}

const struct catalog_namespace *catalog_all(const struct catalog *c)
{
    return &c->all;
}

struct catalog_session *catalog_session(const struct catalog *c, int64_t id)
{
    struct catalog_session *s = map_get(&c->sessions, (uint64_t)id);
    return s && s->exists ? s : NULL;
}

struct catalog_session *catalog_named_session(const struct catalog *c, int64_t id)
{
    return map_get(&c->sessions, (uint64_t)id);
}

size_t catalog_session_count(const struct catalog *c)
{
    return c->session_count;
}

const struct link *catalog_absent_sessions(const struct catalog *c)
{
    return &c->absent;
}

static bool begins_with(struct slice s, struct slice prefix)
{
    return s.size >= prefix.size && (prefix.size == 0 || memcmp(s.data, prefix.data, prefix.size) == 0);
}

/* The first place of the walk: after `after`, and not before group and prefix. */
static size_t first_place(const struct catalog *c, struct slice ns, struct slice group, struct slice prefix,
                          struct slice after)
{
    size_t at = catalog_place(c, ns, group, group.size ? prefix : (struct slice){0});
    const uint8_t *slash = after.size ? memchr(after.data, '/', after.size) : NULL;
    if (!slash)
        return at;
    size_t group_size = (size_t)(slash - after.data);
    struct slice last_group = slice_of(after.data, group_size);
    struct slice last = slice_of(slash + 1, after.size - group_size - 1);
    size_t behind = catalog_place(c, ns, last_group, last);
    if (behind < c->service_count && catalog_compare(c->services[behind], ns, last_group, last) == 0)
        behind++;
    return behind > at ? behind : at;
}

bool catalog_each_some(const struct catalog *c, struct slice ns, struct slice group, struct slice prefix,
                       struct slice after, size_t places, bool (*fn)(void *arg, struct catalog_service *s),
                       void *arg, const struct catalog_service **ret_last)
{
    for (size_t i = first_place(c, ns, group, prefix, after); i < c->service_count; i++) {
        struct catalog_service *s = c->services[i];
        if (!slice_equal(s->ns, ns))
            return false;
        if (group.size && (!slice_equal(s->group, group) || !begins_with(s->name, prefix)))
            return false;
        if (catalog_exists(s) && begins_with(s->name, prefix) && !fn(arg, s))
            return false;
        *ret_last = s;
        if (--places == 0)
            return true;
    }
    return false;
}

void catalog_each(const struct catalog *c, struct slice ns, struct slice group, struct slice prefix,
                  struct slice after, bool (*fn)(void *arg, struct catalog_service *s), void *arg)
{
    const struct catalog_service *last;
    catalog_each_some(c, ns, group, prefix, after, SIZE_MAX, fn, arg, &last);
}

struct catalog_service *catalog_next(const struct catalog *c, struct slice ns, struct slice group,
                                     struct slice name)
{
    size_t at = catalog_place(c, ns, group, name);
    if (at < c->service_count && catalog_compare(c->services[at], ns, group, name) == 0)
        at++;
    while (at < c->service_count && !catalog_exists(c->services[at]))
        at++;
    return at < c->service_count ? c->services[at] : NULL;
}
