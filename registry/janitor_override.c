/* SPDX-License-Identifier: Apache-2.0
 * Overrides that end: at `until`, by the wall clock, or when their instance has been absent for
 * absent_max_ms. Only such overrides are followed; two heaps have the times. See janitor_plan.h. */
#include <assert.h>

#include "base/mutant.h"
#include "registry/janitor_state.h"

static bool janitor_override_is_over(const struct plan *p, const struct override_wait *o, uint64_t now_ms,
                                     uint64_t wall_ms)
{
    if (o->until_ms && o->until_ms <= wall_ms)
        return true;
    return o->absent_ms != UINT64_MAX && now_ms - o->absent_ms >= p->rules.absent_max_ms;
}

static void look_at(struct plan *p, struct override_wait *o, uint64_t at_ms)
{
    heap_remove(&p->overrides.look, &o->look);
    heap_add(&p->overrides.look, &o->look, at_ms);
}

static void reschedule(struct plan *p, struct override_wait *o)
{
    heap_remove(&p->overrides.until, &o->until);
    heap_remove(&p->overrides.look, &o->look);
    if (o->until_ms)
        heap_add(&p->overrides.until, &o->until, o->until_ms);
    if (o->absent_ms != UINT64_MAX)
        heap_add(&p->overrides.look, &o->look, o->absent_ms + p->rules.absent_max_ms);
}

static void drop_ticket(struct plan *p, struct override_wait *o)
{
    if (o->ticket)
        map_remove(&p->overrides.tickets, o->ticket);
    o->ticket = 0;
}

static void janitor_override_forget(struct plan *p, struct override_wait *o)
{
    drop_ticket(p, o);
    heap_remove(&p->overrides.until, &o->until);
    heap_remove(&p->overrides.look, &o->look);
    place_done(&o->place);
    mem_free(o);
}

/* Negative times are in the past: 1 stands for them, because 0 means "none". */
static uint64_t until_of(const struct override *o)
{
    return o->until_s < 0 ? 1 : (uint64_t)o->until_s * 1000;
}

void overrides_changed(struct plan *p, const struct catalog_instance *i, struct slice key, uint64_t now_ms)
{
    bool is_followed = i && i->override && (i->override->until_s || !i->doc);
    struct override_wait *o = strmap_get(&p->overrides.by_key, key);
    if (!is_followed) {
        if (o) {
            strmap_remove(&p->overrides.by_key, key);
            janitor_override_forget(p, o);
        }
        return;
    }
    if (!o) {
        o = mem_new(sizeof *o);
        place_init(&o->place, i);
        o->absent_ms = UINT64_MAX;
        strmap_put(&p->overrides.by_key, key, o);
    }
    uint64_t absent_ms = i->doc ? UINT64_MAX : o->absent_ms == UINT64_MAX ? now_ms : o->absent_ms;
    if (o->revision == i->override_revision && o->absent_ms == absent_ms)
        return;
    drop_ticket(p, o);
    o->absent_ms = absent_ms;
    o->until_ms = until_of(i->override);
    o->revision = i->override_revision;
    reschedule(p, o);
}

static struct override_wait *take_due(struct plan *p, uint64_t now_ms, uint64_t wall_ms)
{
    struct heap_node *n = heap_first(&p->overrides.until);
    if (n && n->key <= wall_ms) {
        heap_remove(&p->overrides.until, n);
        return container_of(n, struct override_wait, until);
    }
    n = heap_first(&p->overrides.look);
    if (!n || n->key > now_ms)
        return NULL;
    heap_remove(&p->overrides.look, n);
    return container_of(n, struct override_wait, look);
}

bool overrides_next(struct plan *p, uint64_t now_ms, uint64_t wall_ms, struct plan_action *ret_action)
{
    struct override_wait *o;
    while ((o = take_due(p, now_ms, wall_ms))) {
        if (!janitor_override_is_over(p, o, now_ms, wall_ms)) {
            if (!MUTANT(JANITOR_OVERRIDE_STAYS))
                reschedule(p, o); /* the wall clock was set back */
            continue;
        }
        heap_remove(&p->overrides.until, &o->until);
        heap_remove(&p->overrides.look, &o->look);
        o->ticket = ++p->last_ticket;
        map_put(&p->overrides.tickets, o->ticket, o);
        *ret_action = (struct plan_action){PLAN_END_OVERRIDE, o->ticket, place_find(&o->place, p->catalog),
                                           o->revision, 0};
        assert(ret_action->instance && ret_action->instance->override_revision == o->revision);
        return true;
    }
    return false;
}

void overrides_notified(struct plan *p, uint64_t ticket, enum plan_outcome outcome, uint64_t now_ms)
{
    struct override_wait *o = map_remove(&p->overrides.tickets, ticket);
    if (!o)
        return;
    o->ticket = 0;
    look_at(p, o, outcome == PLAN_UNKNOWN ? now_ms : now_ms + p->rules.recheck_ms);
}

void overrides_forget_tickets(struct plan *p, uint64_t now_ms)
{
    uint64_t ticket;
    void *value;
    for (size_t at = 0; map_next(&p->overrides.tickets, &at, &ticket, &value);) {
        struct override_wait *o = value;
        o->ticket = 0;
        look_at(p, o, now_ms);
    }
    map_done(&p->overrides.tickets);
}

uint64_t overrides_wake_ms(const struct plan *p, uint64_t now_ms, uint64_t wall_ms)
{
    const struct heap_node *until = heap_first(&p->overrides.until), *look = heap_first(&p->overrides.look);
    uint64_t wake_ms = look ? look->key : UINT64_MAX;
    if (until) {
        uint64_t left_ms = until->key > wall_ms ? until->key - wall_ms : 0;
        wake_ms = now_ms + left_ms < wake_ms ? now_ms + left_ms : wake_ms;
    }
    return wake_ms;
}

void overrides_done(struct plan *p)
{
    struct slice key;
    void *value;
    for (size_t at = 0; strmap_next(&p->overrides.by_key, &at, &key, &value);)
        janitor_override_forget(p, value);
    strmap_done(&p->overrides.by_key);
    map_done(&p->overrides.tickets);
    heap_done(&p->overrides.until);
    heap_done(&p->overrides.look);
}
