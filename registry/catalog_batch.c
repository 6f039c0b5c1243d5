/* SPDX-License-Identifier: Apache-2.0
 * The end of a batch, in slices: one revision may delete 100,000 instances. See catalog.h.
 *
 *   1. Sessions that ended and began are reported.
 *   2. Each changed service gets its final list and its revision.
 *   3. All of them are notified: a subscriber finds the whole batch in the view. */
#include <assert.h>
#include <stdlib.h>

#include "registry/catalog_state.h"

enum {
    GAPS_AT_ONCE = 256,    /* gaps that one move of the later entries removes */
    CHANGES_AT_ONCE = 1024 /* changes in one event */
};

struct pace {
    bool (*is_over)(const void *arg); /* NULL: never */
    const void *arg;
};

static bool is_over(const struct pace *p)
{
    return p->is_over && p->is_over(p->arg);
}

/* --- sessions --------------------------------------------------------------------------------------- */

/* A session that begins and ends within one batch never existed. */
static bool end_sessions(struct catalog *c, const struct pace *pace)
{
    struct link *l;
    while ((l = list_take_first(&c->gone))) {
        struct catalog_session *s = container_of(l, struct catalog_session, gone);
        list_remove(&s->back);
        s->exists = false;
        c->session_count--;
        list_add_last(&c->absent, &s->absent);
        if (c->events.session_gone)
            c->events.session_gone(c->events.arg, s);
        uint32_t ttl_s = s->doc.ttl_s;
        catalog_free_session_doc(s);
        s->doc.ttl_s = ttl_s; /* kept until the janitor has reviewed all of its instances */
        catalog_drop_session_if_unused(c, s);
        if (is_over(pace))
            return false;
    }
    return true;
}

static bool begin_sessions(struct catalog *c, const struct pace *pace)
{
    struct link *l;
    while ((l = list_take_first(&c->back))) {
        struct catalog_session *s = container_of(l, struct catalog_session, back);
        if (s->instance_count && c->events.session_back)
            c->events.session_back(c->events.arg, s);
        if (is_over(pace))
            return false;
    }
    return true;
}

/* --- the order of changes --------------------------------------------------------------------------- */

static int compare_changed(const void *a, const void *b)
{
    const struct catalog_changed *x = a, *y = b;
    if (x->service != y->service)
        return catalog_compare(x->service, y->service->ns, y->service->group, y->service->name);
    int order = slice_compare(x->id, y->id);
    return order ? order : x->number < y->number ? -1 : 1;
}

/* Sorts the changes by service and id, and keeps the first change of each id, which has the state before the
 * batch. Keys mostly come in this order already, except for encoded names and requests of several parts. */
static void sort_changes(struct catalog *c)
{
    size_t kept = 0;
    if (!c->is_scattered)
        return;
    qsort(c->changed, c->changed_count, sizeof *c->changed, compare_changed);
    for (size_t i = 0; i < c->changed_count; i++) {
        struct catalog_service *s = c->changed[i].service;
        bool is_first = i == 0 || c->changed[i - 1].service != s;
        if (is_first) {
            s->first_change = kept;
            s->change_count = 0;
        } else if (slice_equal(c->changed[kept - 1].id, c->changed[i].id)) {
            continue;
        }
        c->changed[kept++] = c->changed[i];
        s->change_count++;
    }
    c->changed_count = kept;
    c->is_scattered = false;
}

/* --- services --------------------------------------------------------------------------------------- */

/* Removes these places, which are sorted, from the list. */
static void close_gaps(struct catalog_service *s, const size_t *places, size_t count)
{
    size_t to = count ? places[0] : 0;
    for (size_t i = 0; i < count; i++) {
        size_t from = places[i] + 1, end = i + 1 < count ? places[i + 1] : s->count;
        catalog_free_instance(s->list[places[i]]);
        memmove(s->list + to, s->list + from, (end - from) * sizeof(struct catalog_instance *));
        to += end - from;
    }
    s->count -= count;
    s->gaps -= count;
}

/* c->notified: how many changes of the service were visited. */
static bool close_all_gaps(struct catalog *c, struct catalog_service *s, const struct pace *pace)
{
    size_t places[GAPS_AT_ONCE];
    while (s->gaps) {
        size_t count = 0;
        for (; c->notified < s->change_count && count < GAPS_AT_ONCE && count < s->gaps; c->notified++) {
            struct slice id = c->changed[s->first_change + c->notified].id;
            size_t at = catalog_instance_place(s, id);
            if (at < s->count && s->list[at]->is_gap && slice_equal(s->list[at]->id, id))
                places[count++] = at;
        }
        assert(count); /* each gap is one of the changes */
        close_gaps(s, places, count);
        if (is_over(pace))
            return false;
    }
    return true;
}

/* Gives each changed service its final list and revision. */
static bool catalog_batch_settle(struct catalog *c, const struct pace *pace)
{
    while (!list_is_empty(&c->dirty)) {
        struct catalog_service *s = container_of(c->dirty.next, struct catalog_service, dirty);
        if (s->gaps && !close_all_gaps(c, s, pace))
            return false;
        c->notified = 0;
        s->before = s->revision;
        s->revision = c->revision;
        s->in->revision = c->revision;
        list_remove(&s->dirty);
        list_add_last(&c->settled, &s->dirty);
        if (is_over(pace))
            return false;
    }
    return true;
}

static void tell_some(struct catalog *c, struct catalog_service *s)
{
    struct slice ids[CHANGES_AT_ONCE], origins[CHANGES_AT_ONCE];
    size_t left = s->change_count - c->notified, n = left < CHANGES_AT_ONCE ? left : CHANGES_AT_ONCE;
    const struct catalog_changed *changed = c->changed + s->first_change + c->notified;
    for (size_t i = 0; i < n; i++) {
        ids[i] = changed[i].id;
        origins[i] = changed[i].origin;
    }
    struct catalog_change change = {.service = s,
                                    .revision = c->revision,
                                    .previous = s->before,
                                    .ids = ids,
                                    .origins = origins,
                                    .id_count = n,
                                    .are_settings_changed = s->are_settings_changed,
                                    .is_inheritance_changed = s->is_inheritance_changed};
    s->is_inheritance_changed = false;
    c->notified += n;
    if (c->events.changed)
        c->events.changed(c->events.arg, &change);
}

static bool catalog_batch_tell(struct catalog *c, const struct pace *pace)
{
    while (!list_is_empty(&c->settled)) {
        struct catalog_service *s = container_of(c->settled.next, struct catalog_service, dirty);
        tell_some(c, s);
        if (c->notified == s->change_count) {
            c->notified = 0;
            s->are_settings_changed = false;
            list_remove(&s->dirty);
            catalog_drop_if_unused(c, s);
        }
        if (is_over(pace))
            return false;
    }
    return true;
}

bool catalog_end_some(struct catalog *c, bool (*is_over_now)(const void *arg), const void *arg)
{
    const struct pace pace = {is_over_now, arg};
    assert(c->is_open || c->is_ending);
    if (c->is_open) {
        if (c->is_anew)
            catalog_sweep(c);
        c->is_anew = c->is_open = false;
        c->is_ending = true;
        sort_changes(c);
    }
    if (!end_sessions(c, &pace) || !begin_sessions(c, &pace) || !catalog_batch_settle(c, &pace) ||
        !catalog_batch_tell(c, &pace))
        return false;
    c->changed_count = 0;
    arena_reset(&c->batch);
    c->is_ending = false;
    return true;
}

void catalog_end(struct catalog *c)
{
    bool has_ended = catalog_end_some(c, NULL, NULL);
    assert(has_ended);
    (void)has_ended;
}
