/* SPDX-License-Identifier: Apache-2.0
 * The view of the namespaces; see view.h. Entries lie in one list sorted by name; they are as few as the
 * namespaces with a document (--registry-max-namespaces, --config-max-namespaces). */
#include "namespace/view.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/name.h"

struct namespace_count {
    struct slice name; /* owned */
    size_t subscribers;
};

struct namespace_view {
    void (*changed)(void *arg, const struct namespace_entry *e);
    void *arg;
    struct namespace_entry **list;
    size_t count, capacity;
    size_t defined, running; /* entries with a document or quotas; deletions that run */
    struct strmap subscribers;
    int64_t revision, absent_revision, whole_since;
    uint64_t generation;
    bool is_whole;
    struct slice *dirty; /* names, owned; in the batch */
    size_t dirty_count, dirty_capacity;
    struct buf scratch;
};

static const char *const folders[NAMESPACE_KEYS] = {
    [KEY_DOCUMENT] = NAMESPACE_PREFIX "documents/",
    [KEY_QUOTAS] = NAMESPACE_PREFIX "quotas/",
    [KEY_DELETION] = NAMESPACE_PREFIX "deletions/",
};

/* --- places --------------------------------------------------------------------------------------------- */

static size_t position_of(const struct namespace_view *v, struct slice ns)
{
    size_t low = 0, high = v->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slice_compare(v->list[middle]->name, ns) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct namespace_entry *entry_at(const struct namespace_view *v, struct slice ns)
{
    size_t at = v ? position_of(v, ns) : 0;
    return v && at < v->count && slice_equal(v->list[at]->name, ns) ? v->list[at] : NULL;
}

static struct namespace_entry *entry_make(struct namespace_view *v, struct slice ns)
{
    size_t at = position_of(v, ns);
    if (at < v->count && slice_equal(v->list[at]->name, ns))
        return v->list[at];
    if (v->count == v->capacity) {
        v->capacity = v->capacity ? 2 * v->capacity : 16;
        v->list = mem_resize(v->list, v->capacity * sizeof(struct namespace_entry *));
    }
    memmove(v->list + at + 1, v->list + at, (v->count - at) * sizeof(struct namespace_entry *));
    struct namespace_entry *e = mem_new(sizeof *e);
    e->name = slice_of(mem_copy(ns.data, ns.size), ns.size);
    v->list[at] = e;
    v->count++;
    return e;
}

static void entry_free(struct namespace_entry *e)
{
    for (int k = 0; k < NAMESPACE_KEYS; k++)
        arena_done(&e->arenas[k]);
    mem_free(e->name.data);
    mem_free(e);
}

static bool is_defined(const struct namespace_entry *e)
{
    return e->revisions[KEY_DOCUMENT] || e->revisions[KEY_QUOTAS];
}

static bool is_running(const struct namespace_entry *e)
{
    return e->deletion && !e->deletion->is_done;
}

static void entry_count(struct namespace_view *v, const struct namespace_entry *e, bool is_in)
{
    size_t one = is_in ? 1 : SIZE_MAX; /* adds or subtracts */
    v->defined += is_defined(e) ? one : 0;
    v->running += is_running(e) ? one : 0;
}

/* --- changes -------------------------------------------------------------------------------------------- */

static void note_dirty(struct namespace_view *v, struct slice ns)
{
    if (v->dirty_count == v->dirty_capacity) {
        v->dirty_capacity = v->dirty_capacity ? 2 * v->dirty_capacity : 8;
        v->dirty = mem_resize(v->dirty, v->dirty_capacity * sizeof *v->dirty);
    }
    v->dirty[v->dirty_count++] = slice_of(mem_copy(ns.data, ns.size), ns.size);
}

static void clear_dirty(struct namespace_view *v)
{
    for (size_t i = 0; i < v->dirty_count; i++)
        mem_free(v->dirty[i].data);
    v->dirty_count = 0;
}

/* The name in a key of this module; false: it is another key. */
static bool parse_key(struct namespace_view *v, struct slice key, enum namespace_key *ret_kind,
                      struct slice *ret_ns)
{
    for (int k = 0; k < NAMESPACE_KEYS; k++) {
        struct slice rest = key;
        if (!name_take_prefix(&rest, folders[k]))
            continue;
        *ret_kind = (enum namespace_key)k;
        return name_parse_segments(rest, 1, &v->scratch, ret_ns) == OK && ret_ns->size <= NAMESPACE_SIZE_MAX;
    }
    return false;
}

static void entry_clear(struct namespace_entry *e, enum namespace_key k)
{
    arena_done(&e->arenas[k]);
    if (k == KEY_DOCUMENT)
        e->document = NULL;
    else if (k == KEY_QUOTAS)
        e->limits = NULL;
    else
        e->deletion = NULL;
}

static void entry_read(struct namespace_entry *e, enum namespace_key k, struct slice value)
{
    struct arena *a = &e->arenas[k];
    if (k == KEY_DOCUMENT) {
        struct namespace_document *d = arena_new(a, sizeof *d);
        e->document = namespace_document_read(value, a, d) ? NULL : d;
    } else if (k == KEY_QUOTAS) {
        struct namespace_limits *l = arena_new(a, sizeof *l);
        e->limits = namespace_limits_read(value, a, l) ? NULL : l;
    } else {
        struct namespace_deletion *d = arena_new(a, sizeof *d);
        e->deletion = namespace_deletion_read(value, a, d) ? NULL : d;
    }
}

void namespace_view_begin(struct namespace_view *v, int64_t revision, bool is_whole)
{
    v->revision = revision;
    v->is_whole = is_whole;
    v->generation += is_whole;
}

void namespace_view_put(struct namespace_view *v, struct slice key, struct slice value, int64_t mod_revision)
{
    enum namespace_key k;
    struct slice ns;
    if (!parse_key(v, key, &k, &ns))
        return;
    struct namespace_entry *e = entry_make(v, ns);
    bool is_new = e->revisions[k] != mod_revision;
    e->generations[k] = v->generation;
    if (!is_new)
        return;
    entry_count(v, e, false);
    entry_clear(e, k);
    entry_read(e, k, value);
    e->revisions[k] = mod_revision;
    e->revision = e->revision > mod_revision ? e->revision : mod_revision;
    entry_count(v, e, true);
    note_dirty(v, e->name);
}

static void entry_remove(struct namespace_view *v, struct namespace_entry *e, enum namespace_key k,
                         int64_t revision)
{
    if (!e->revisions[k])
        return;
    entry_count(v, e, false);
    entry_clear(e, k);
    e->revisions[k] = 0;
    e->revision = revision;
    entry_count(v, e, true);
    note_dirty(v, e->name);
}

void namespace_view_remove(struct namespace_view *v, struct slice key, int64_t revision)
{
    enum namespace_key k;
    struct slice ns;
    struct namespace_entry *e = parse_key(v, key, &k, &ns) ? entry_at(v, ns) : NULL;
    if (e)
        entry_remove(v, e, k, revision);
}

/* A key that was not put in a whole state does not exist. */
static void sweep(struct namespace_view *v)
{
    for (size_t i = 0; v->is_whole && i < v->count; i++)
        for (int k = 0; k < NAMESPACE_KEYS; k++)
            if (v->list[i]->generations[k] != v->generation)
                entry_remove(v, v->list[i], (enum namespace_key)k, v->revision);
    if (v->is_whole) /* what went before it is not known */
        v->absent_revision = v->whole_since = v->revision;
}

static void drop_if_empty(struct namespace_view *v, struct namespace_entry *e)
{
    size_t at = position_of(v, e->name);
    for (int k = 0; k < NAMESPACE_KEYS; k++)
        if (e->revisions[k])
            return;
    v->absent_revision = v->absent_revision > e->revision ? v->absent_revision : e->revision;
    v->count--;
    memmove(v->list + at, v->list + at + 1, (v->count - at) * sizeof(struct namespace_entry *));
    entry_free(e);
}

void namespace_view_end(struct namespace_view *v)
{
    sweep(v);
    for (size_t i = 0; i < v->dirty_count; i++) {
        struct namespace_entry *e = entry_at(v, v->dirty[i]);
        if (!e)
            continue; /* dirty twice, and gone */
        v->changed(v->arg, e);
        drop_if_empty(v, e);
    }
    clear_dirty(v);
}

/* --- lookups -------------------------------------------------------------------------------------------- */

int64_t namespace_view_revision(const struct namespace_view *v)
{
    return v ? v->revision : 0;
}

int64_t namespace_view_whole_since(const struct namespace_view *v)
{
    return v ? v->whole_since : 0;
}

int64_t namespace_view_absent_revision(const struct namespace_view *v)
{
    return v ? v->absent_revision : 0;
}

const struct namespace_entry *namespace_view_find(const struct namespace_view *v, struct slice ns)
{
    return entry_at(v, ns);
}

const struct namespace_entry *namespace_view_next(const struct namespace_view *v, struct slice after)
{
    size_t at = v ? position_of(v, after) : 0;
    if (v && after.size && at < v->count && slice_equal(v->list[at]->name, after))
        at++;
    return v && at < v->count ? v->list[at] : NULL;
}

size_t namespace_view_count(const struct namespace_view *v)
{
    return v ? v->defined : 0;
}

size_t namespace_view_running_count(const struct namespace_view *v)
{
    return v->running;
}

size_t namespace_view_unreadable(const struct namespace_view *v)
{
    size_t count = 0;
    for (size_t i = 0; v && i < v->count; i++) {
        const struct namespace_entry *e = v->list[i];
        count += e->revisions[KEY_DOCUMENT] && !e->document;
        count += e->revisions[KEY_QUOTAS] && !e->limits;
        count += e->revisions[KEY_DELETION] && !e->deletion;
    }
    return count;
}

const struct namespace_entry *namespace_view_running(const struct namespace_view *v)
{
    for (size_t i = 0; v->running && i < v->count; i++)
        if (is_running(v->list[i]))
            return v->list[i];
    return NULL;
}

const struct namespace_entry *namespace_view_ended(const struct namespace_view *v, int64_t before_ms,
                                                   size_t kept_max)
{
    const struct namespace_entry *oldest = NULL;
    size_t ended = 0;
    for (size_t i = 0; i < v->count; i++) {
        const struct namespace_entry *e = v->list[i];
        if (!e->deletion || !e->deletion->is_done)
            continue;
        ended++;
        if (!oldest || e->deletion->done_ms < oldest->deletion->done_ms)
            oldest = e;
    }
    return oldest && (ended > kept_max || oldest->deletion->done_ms < before_ms) ? oldest : NULL;
}

uint64_t namespace_view_limit(const struct namespace_view *v, struct slice ns, enum namespace_quota q,
                              uint64_t standard, const char **ret_setting)
{
    const struct namespace_entry *e = namespace_view_find(v, ns);
    bool has_own = e && e->limits && e->limits->has[q];
    if (ret_setting)
        *ret_setting = has_own ? "the namespace's quota" : namespace_quotas[q].option;
    return has_own ? e->limits->value[q] : standard;
}

int namespace_view_admit(const struct namespace_view *v, struct slice ns, char *error, size_t error_size)
{
    const struct namespace_entry *e = v && v->running ? namespace_view_find(v, ns) : NULL;
    if (!e || !is_running(e))
        return OK;
    snprintf(error, error_size, "namespace %.*s is being deleted: wait until its deletion is done",
             (int)ns.size, (const char *)ns.data);
    return ERR_CONFLICT;
}

/* --- subscribers ---------------------------------------------------------------------------------------- */

int namespace_subscribe(struct namespace_view *v, struct slice ns, struct namespace_count **ret, char *error,
                        size_t error_size)
{
    *ret = NULL;
    if (!v)
        return OK;
    struct namespace_count *c = strmap_get(&v->subscribers, ns);
    uint64_t max = namespace_view_limit(v, ns, NAMESPACE_SUBSCRIBERS, 0, NULL);
    if (max && c && c->subscribers >= max) {
        snprintf(error, error_size,
                 "namespace %.*s has %zu subscribers on this member; at most %" PRIu64
                 " are allowed (the namespace's quota)",
                 (int)ns.size, (const char *)ns.data, c->subscribers, max);
        return ERR_QUOTA;
    }
    if (!c) {
        c = mem_new(sizeof *c);
        c->name = slice_of(mem_copy(ns.data, ns.size), ns.size);
        strmap_put(&v->subscribers, ns, c);
    }
    c->subscribers++;
    *ret = c;
    return OK;
}

void namespace_unsubscribe(struct namespace_view *v, struct namespace_count *c)
{
    if (!c || --c->subscribers)
        return;
    strmap_remove(&v->subscribers, c->name);
    mem_free(c->name.data);
    mem_free(c);
}

size_t namespace_view_subscribers(const struct namespace_view *v, struct slice ns)
{
    const struct namespace_count *c = v ? strmap_get(&v->subscribers, ns) : NULL;
    return c ? c->subscribers : 0;
}

/* --- init and free -------------------------------------------------------------------------------------- */

struct namespace_view *namespace_view_new(void (*changed)(void *arg, const struct namespace_entry *e),
                                          void *arg)
{
    struct namespace_view *v = mem_new(sizeof *v);
    v->changed = changed;
    v->arg = arg;
    return v;
}

void namespace_view_free(struct namespace_view *v)
{
    assert(!v->subscribers.count);
    for (size_t i = 0; i < v->count; i++)
        entry_free(v->list[i]);
    clear_dirty(v);
    strmap_done(&v->subscribers);
    buf_done(&v->scratch);
    mem_free(v->dirty);
    mem_free(v->list);
    mem_free(v);
}
