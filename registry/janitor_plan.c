/* SPDX-License-Identifier: Apache-2.0
 * The plan of the janitor: one `struct orphan` for each instance whose session ended; see janitor_plan.h.
 *
 * An orphan is in one phase, which follows from its document and its session (phase_of). It is in one place:
 *
 *     due      waits in the heap for the end of its phase
 *     ready    its action is next (plan_next)
 *     ticket   its action was given out and has no outcome yet (plan_done)
 *     none     held, until its guard ends
 *
 * A change of the document removes the ticket: the outcome of the old action is then ignored. */
#include "registry/janitor_plan.h"

#include <assert.h>

#include "base/mutant.h"
#include "registry/janitor_state.h"
#include "registry/session_mark.h"

enum phase { PHASE_NONE, PHASE_DYING, PHASE_HELD, PHASE_LOST, PHASE_RETURNED };

struct orphan {
    struct place place;
    enum phase phase;
    int64_t revision;
    uint64_t at_ms; /* its phase ends then; UINT64_MAX: with its guard */
    struct heap_node due;
    struct link ready;
    uint64_t ticket;
    struct guard_entry entry;
};

struct plan_rules plan_rules_default(void)
{
    return (struct plan_rules){
        .storm = {.least = 10,
                  .percent = 15,
                  .multiple = 4,
                  .raises_max = 2,
                  .raise_ms = 600000,
                  .window_max_ms = 60000,
                  .hold_max_ms = 300000},
        .decision_delay_ms = 1000,
        .decision_delay_max_ms = 10000,
        .recheck_ms = 1000,
        .absent_max_ms = 24 * 3600 * 1000,
        .established_ms = 60000,
        .review_budget = 1000,
    };
}

/* --- names of instances ----------------------------------------------------------------------------- */

static struct slice place_add(uint8_t **at, struct slice s)
{
    struct slice copy = slice_of(*at, s.size);
    if (s.size)
        memcpy(*at, s.data, s.size);
    *at += s.size;
    return copy;
}

void place_init(struct place *place, const struct catalog_instance *i)
{
    const struct catalog_service *s = i->service;
    uint8_t *at = mem_alloc(s->ns.size + s->group.size + s->name.size + i->id.size + 1);
    place->bytes = at;
    place->ns = place_add(&at, s->ns);
    place->group = place_add(&at, s->group);
    place->service = place_add(&at, s->name);
    place->id = place_add(&at, i->id);
}

struct catalog_instance *place_find(const struct place *place, const struct catalog *c)
{
    struct catalog_service *s = catalog_find(c, place->ns, place->group, place->service);
    return s ? catalog_instance(s, place->id) : NULL;
}

void place_done(struct place *place)
{
    mem_free(place->bytes);
}

static struct slice janitor_plan_key_of(struct plan *p, struct slice ns, struct slice group,
                                        struct slice service, struct slice id)
{
    struct name name = {NAME_INSTANCE, ns, group, service, id, 0};
    buf_clear(&p->key);
    name_add_key(&p->key, &name);
    return buf_slice(&p->key);
}

struct slice plan_key(struct plan *p, const struct place *place)
{
    return janitor_plan_key_of(p, place->ns, place->group, place->service, place->id);
}

/* --- phases of orphans ------------------------------------------------------------------------------ */

static bool has_session(const struct catalog_instance *i)
{
    return i->hangs_on && i->hangs_on->exists;
}

static enum phase phase_of(const struct catalog_instance *i)
{
    if (!i || !i->doc || !i->doc->session)
        return PHASE_NONE;
    if (has_session(i))
        return i->doc->is_guarded ? PHASE_RETURNED : PHASE_NONE;
    if (i->doc->state == INSTANCE_LOST)
        return PHASE_LOST;
    return i->doc->is_guarded ? PHASE_HELD : PHASE_DYING;
}

/* Removes it from the heap and the ready list, and drops its ticket. */
static void unschedule(struct plan *p, struct orphan *w)
{
    heap_remove(&p->due, &w->due);
    list_remove(&w->ready);
    if (w->ticket && !MUTANT(JANITOR_TICKET_OVERTAKEN))
        map_remove(&p->tickets, w->ticket);
    w->ticket = 0;
}

static void reschedule(struct plan *p, struct orphan *w, uint64_t at_ms)
{
    unschedule(p, w);
    if (at_ms != UINT64_MAX)
        heap_add(&p->due, &w->due, at_ms);
}

static void orphan_free(struct plan *p, struct orphan *w)
{
    unschedule(p, w);
    storm_guard_leave(p, &w->entry);
    p->held -= w->phase == PHASE_HELD;
    place_done(&w->place);
    mem_free(w);
}

static void schedule_decision(struct plan *p, struct orphan *w, uint64_t now_ms)
{
    uint64_t decision_delay_ms = MUTANT(JANITOR_NO_SETTLE) ? 0 : storm_guard_decision_delay_ms(p, &w->entry);
    w->at_ms = storm_guard_holds(&w->entry) ? now_ms : w->entry.died_ms + decision_delay_ms;
}

/* plan_step reviews all orphans of the guard. A walk that is under way starts again. */
static void begin_guard_walk(struct plan *p, struct storm_guard *g)
{
    g->walk = ++p->last_walk;
    g->released = 0;
    if (!link_is_in_list(&g->walked))
        list_add_last(&p->guard_walks, &g->walked);
}

static void reschedule_dying(struct plan *p, struct storm_guard *g)
{
    g->walk_reschedules = true;
    begin_guard_walk(p, g);
}

/* While the guard is on or suspected: dying orphans without a proposal are held at once, or wait longer.
 * When the guard is over: held orphans that no other storm holds are released. */
static void review_orphan(struct plan *p, struct storm_guard *g, struct orphan *w, uint64_t now_ms)
{
    if (g->walk_reschedules && w->phase == PHASE_DYING && !w->ticket) {
        schedule_decision(p, w, now_ms);
        reschedule(p, w, w->at_ms);
    } else if (g->walk_releases && w->phase == PHASE_HELD && !storm_guard_holds(&w->entry)) {
        g->released++;
        w->at_ms = now_ms;
        reschedule(p, w, now_ms);
    }
}

static void end_guard_walk(struct plan *p, struct storm_guard *g)
{
    size_t released = g->released;
    bool did_release = g->walk_releases;
    list_remove(&g->walked);
    g->walk_reschedules = g->walk_releases = false;
    g->released = 0;
    if (did_release && p->events.storm_over && (released || !storm_guard_is_on(g)))
        p->events.storm_over(p->events.arg, g->ns, released);
}

/* Reviewed orphans move to the end of the list: the walk ends at the first of them. */
static size_t step_guard_walk(struct plan *p, struct storm_guard *g, size_t max, uint64_t now_ms)
{
    size_t count = 0;
    for (; count < max; count++) {
        struct orphan *w =
            list_is_empty(&g->orphans) ? NULL : container_of(g->orphans.next, struct orphan, entry.link);
        if (!w || w->entry.walk == g->walk) {
            end_guard_walk(p, g);
            break;
        }
        w->entry.walk = g->walk;
        list_remove(&w->entry.link);
        list_add_last(&g->orphans, &w->entry.link);
        review_orphan(p, g, w, now_ms);
    }
    return count;
}

static void begin_dying(struct plan *p, struct orphan *w, const struct catalog_instance *i, uint64_t now_ms)
{
    w->at_ms = now_ms + (MUTANT(JANITOR_NO_SETTLE) ? 0 : p->rules.decision_delay_ms);
    if (!catalog_effect(i).serves)
        return; /* it is not in traffic: the guard does not hold it */
    bool is_changed = storm_guard_death(p, &w->entry, i, now_ms);
    schedule_decision(p, w, now_ms);
    if (is_changed)
        reschedule_dying(p, w->entry.guard);
}

/* A new leader that finds an instance held goes on holding it. An instance that this leader's guard released
 * meanwhile is released. */
static void begin_held(struct plan *p, struct orphan *w, const struct catalog_instance *i, bool is_found,
                       uint64_t now_ms)
{
    p->held++;
    bool begins = storm_guard_held(p, &w->entry, i, is_found, now_ms);
    w->at_ms = storm_guard_holds(&w->entry) ? UINT64_MAX : now_ms;
    if (begins)
        reschedule_dying(p, w->entry.guard);
}

static void begin_phase(struct plan *p, struct orphan *w, const struct catalog_instance *i, bool is_found,
                        uint64_t now_ms)
{
    switch (w->phase) {
    case PHASE_DYING:
        begin_dying(p, w, i, now_ms);
        break;
    case PHASE_HELD:
        begin_held(p, w, i, is_found, now_ms);
        break;
    case PHASE_LOST:
        w->at_ms = now_ms + (MUTANT(JANITOR_GRACE_FORGOTTEN) ? 0 : (uint64_t)i->doc->grace_s * 1000);
        break;
    case PHASE_RETURNED:
        w->at_ms = now_ms;
        break;
    case PHASE_NONE:
        assert(!"an orphan has a phase");
    }
    reschedule(p, w, w->at_ms);
}

/* i may be NULL: it was deleted. A follower remembers only returned instances, which a new leader could not
 * find by itself. */
static void update_orphan(struct plan *p, const struct catalog_instance *i, struct slice key, uint64_t now_ms)
{
    enum phase phase = phase_of(i);
    if (!p->does_lead && phase != PHASE_RETURNED && !MUTANT(JANITOR_FOLLOWER_ACTS))
        phase = PHASE_NONE;
    struct orphan *w = strmap_get(&p->orphans, key);
    bool is_found = !w;
    if (!w && phase == PHASE_NONE)
        return;
    if (w && (phase == PHASE_NONE || phase == PHASE_RETURNED))
        storm_guard_return(p, &w->entry, now_ms);
    if (phase == PHASE_NONE) {
        strmap_remove(&p->orphans, key);
        orphan_free(p, w);
        return;
    }
    if (!w) {
        w = mem_new(sizeof *w);
        place_init(&w->place, i);
        strmap_put(&p->orphans, key, w);
    }
    if (w->phase == phase) {
        if (w->revision != i->mod_revision)
            reschedule(p, w, w->at_ms); /* the proposal in flight will fail */
        w->revision = i->mod_revision;
        return;
    }
    p->held -= w->phase == PHASE_HELD;
    storm_guard_leave(p, &w->entry);
    w->phase = phase;
    w->revision = i->mod_revision;
    begin_phase(p, w, i, is_found, now_ms);
}

/* --- in slices ----------------------------------------------------------------------------------------- */

struct session_walk {
    struct link link;
    int64_t id; /* not a pointer: the session may be freed in the meantime */
    uint64_t number;
};

static void begin_session_walk(struct plan *p, const struct catalog_session *session)
{
    struct session_walk *walk = mem_new(sizeof *walk);
    walk->id = session->id;
    walk->number = ++p->last_walk;
    list_add_last(&p->session_walks, &walk->link);
}

static void end_session_walk(struct session_walk *walk)
{
    list_remove(&walk->link);
    mem_free(walk);
}

/* Reviewed instances move to the end of the session's list, as in step_guard_walk. New ones come after them;
 * plan_changed has reported those. */
static size_t step_session_walk(struct plan *p, struct session_walk *walk, size_t max, uint64_t now_ms)
{
    struct catalog_session *session = catalog_named_session(p->catalog, walk->id);
    size_t count = 0;
    for (; count < max; count++) {
        struct catalog_instance *i =
            !session || list_is_empty(&session->instances)
                ? NULL
                : container_of(session->instances.next, struct catalog_instance, by_session);
        if (!i || i->walk == walk->number) {
            if (session && !session->exists)
                session->doc.ttl_s = 0; /* a later death uses the instance's own TTL */
            end_session_walk(walk);
            break;
        }
        const struct catalog_service *s = i->service;
        i->walk = walk->number;
        session_remove(session, &i->by_session);
        session_add_last(session, &i->by_session);
        update_orphan(p, i, janitor_plan_key_of(p, s->ns, s->group, s->name, i->id), now_ms);
    }
    return count;
}

/* The storm is over: releases the orphans that no other storm holds. */
static void release_guard(struct plan *p, struct storm_guard *g, uint64_t now_ms)
{
    storm_guard_end(p, g, now_ms);
    g->walk_releases = true;
    begin_guard_walk(p, g);
}

/* The deletion of an instance also ends its drain. If a part of the override is left, that is a put, and a
 * store without room rejects it. */
static enum plan_class class_of(const struct plan *p, const struct orphan *w)
{
    struct override rest;
    if (w->phase != PHASE_LOST)
        return PLAN_PUTS;
    const struct catalog_instance *i = place_find(&w->place, p->catalog);
    bool is_kept = i && i->override && i->override->is_drain && override_without_drain(i->override, &rest);
    return is_kept ? PLAN_PUTS : PLAN_DELETES;
}

/* A storm may have 100,000 orphans that are due at once. */
static size_t collect_due(struct plan *p, size_t max, uint64_t now_ms)
{
    struct heap_node *n;
    size_t count = 0;
    for (; count < max && (n = heap_first(&p->due)) && n->key <= now_ms; count++) {
        struct orphan *w = container_of(n, struct orphan, due);
        heap_remove(&p->due, n);
        list_add_last(&p->ready[class_of(p, w)], &w->ready);
    }
    return count;
}

static bool is_more_due(const struct plan *p, uint64_t now_ms)
{
    const struct heap_node *n = heap_first(&p->due);
    return n && n->key <= now_ms;
}

/* Returns the number of reviews, at most max. */
static size_t review(struct plan *p, uint64_t now_ms, size_t max)
{
    size_t left = max;
    while (left && !list_is_empty(&p->session_walks)) {
        struct session_walk *walk = container_of(p->session_walks.next, struct session_walk, link);
        size_t n = step_session_walk(p, walk, left, now_ms);
        left -= n ? n : 1; /* a session without instances costs time, too */
    }
    while (left && !list_is_empty(&p->guard_walks)) {
        struct storm_guard *g = container_of(p->guard_walks.next, struct storm_guard, walked);
        size_t n = step_guard_walk(p, g, left, now_ms);
        left -= n ? n : 1;
    }
    return max - (left - collect_due(p, left, now_ms));
}

static void review_now(struct plan *p, uint64_t now_ms)
{
    p->review_budget -= review(p, now_ms, p->review_budget);
}

bool plan_step(struct plan *p, uint64_t now_ms, size_t max)
{
    struct storm_guard *g;
    p->review_budget = p->rules.review_budget;
    while ((g = storm_guard_ending(p, now_ms)))
        release_guard(p, g, now_ms);
    (void)review(p, now_ms, max);
    return !list_is_empty(&p->session_walks) || !list_is_empty(&p->guard_walks) || is_more_due(p, now_ms);
}

void plan_session_gone(struct plan *p, const struct catalog_session *session, uint64_t now_ms)
{
    revision_clock_mark(&p->clock, now_ms, catalog_revision(p->catalog));
    begin_session_walk(p, session);
    review_now(p, now_ms);
}

void plan_session_back(struct plan *p, const struct catalog_session *session, uint64_t now_ms)
{
    revision_clock_mark(&p->clock, now_ms, catalog_revision(p->catalog));
    begin_session_walk(p, session);
    review_now(p, now_ms);
}

void plan_changed(struct plan *p, const struct catalog_change *change, uint64_t now_ms)
{
    const struct catalog_service *s = change->service;
    revision_clock_mark(&p->clock, now_ms, catalog_revision(p->catalog));
    for (size_t n = 0; n < change->id_count; n++) {
        const struct catalog_instance *i = catalog_instance(s, change->ids[n]);
        bool is_followed =
            p->orphans.count || p->overrides.by_key.count || (i && i->override) || phase_of(i) != PHASE_NONE;
        if (!is_followed)
            continue; /* the common case: it was registered or deleted, nothing to do */
        struct slice key = janitor_plan_key_of(p, s->ns, s->group, s->name, change->ids[n]);
        overrides_changed(p, i, key, now_ms);
        update_orphan(p, i, key, now_ms);
    }
    review_now(p, now_ms);
}

/* --- leading ----------------------------------------------------------------------------------------- */

void plan_lead(struct plan *p, bool does_lead, uint64_t now_ms)
{
    struct slice key;
    void *value;
    if (p->does_lead == does_lead)
        return;
    p->does_lead = does_lead;
    for (size_t at = 0; strmap_next(&p->orphans, &at, &key, &value);) {
        struct orphan *w = value;
        if (w->phase == PHASE_RETURNED) {
            reschedule(p, w, now_ms);
        } else {
            strmap_remove(&p->orphans, key);
            orphan_free(p, w);
        }
    }
    storm_guards_end(p);
    overrides_forget_tickets(p, now_ms);
    if (does_lead)
        storm_guards_begin(p, now_ms);
    if (does_lead && !MUTANT(JANITOR_LEFT_OVER))
        LIST_FOR_EACH (l, catalog_absent_sessions(p->catalog))
            begin_session_walk(p, container_of(l, struct catalog_session, absent));
    review_now(p, now_ms);
}

/* --- actions ----------------------------------------------------------------------------------------- */

static enum plan_kind kind_of(const struct orphan *w)
{
    switch (w->phase) {
    case PHASE_DYING:
        return storm_guard_holds(&w->entry) ? PLAN_GUARD : PLAN_LOSE;
    case PHASE_HELD:
        return PLAN_LOSE;
    case PHASE_LOST:
        return PLAN_DELETE;
    case PHASE_RETURNED:
        return PLAN_UNGUARD;
    case PHASE_NONE:
        break;
    }
    assert(!"an orphan has a phase");
    return PLAN_LOSE;
}

bool plan_next(struct plan *p, enum plan_class class, uint64_t now_ms, uint64_t wall_ms,
               struct plan_action *ret_action)
{
    if (!p->does_lead && !MUTANT(JANITOR_FOLLOWER_ACTS))
        return false;
    while (plan_step(p, now_ms, SIZE_MAX))
        ;
    struct link *l = list_take_first(&p->ready[class]);
    if (!l)
        return class == PLAN_DELETES && overrides_next(p, now_ms, wall_ms, ret_action);
    struct orphan *w = container_of(l, struct orphan, ready);
    const struct catalog_instance *i = place_find(&w->place, p->catalog);
    assert(phase_of(i) == w->phase && i->mod_revision == w->revision); /* the catalog reports every change */
    w->ticket = ++p->last_ticket;
    map_put(&p->tickets, w->ticket, w);
    *ret_action = (struct plan_action){kind_of(w), w->ticket, i, w->revision,
                                       w->phase == PHASE_RETURNED ? 0 : i->doc->session};
    return true;
}

void plan_done(struct plan *p, uint64_t ticket, enum plan_outcome outcome, uint64_t now_ms)
{
    struct orphan *w = map_get(&p->tickets, ticket);
    if (w && outcome != PLAN_UNKNOWN && MUTANT(JANITOR_REFUSED_FORGOTTEN))
        return;
    if (w)
        reschedule(p, w, outcome == PLAN_UNKNOWN ? now_ms : now_ms + p->rules.recheck_ms);
    else
        overrides_notified(p, ticket, outcome, now_ms);
}

uint64_t plan_wake_ms(const struct plan *p, uint64_t now_ms, uint64_t wall_ms)
{
    if (!p->does_lead && !MUTANT(JANITOR_FOLLOWER_ACTS))
        return UINT64_MAX;
    for (int class = 0; class < PLAN_CLASSES; class ++)
        if (!list_is_empty(&p->ready[class]))
            return now_ms;
    if (!list_is_empty(&p->session_walks) || !list_is_empty(&p->guard_walks))
        return now_ms;
    uint64_t wake_ms = overrides_wake_ms(p, now_ms, wall_ms);
    const struct heap_node *due = heap_first(&p->due);
    if (due && due->key < wake_ms)
        wake_ms = due->key;
    if (storm_guards_wake_ms(p) < wake_ms)
        wake_ms = storm_guards_wake_ms(p);
    return wake_ms;
}

void plan_verdict(struct plan *p, const struct catalog_instance *i, enum storm_verdict verdict,
                  uint64_t now_ms)
{
    const struct catalog_service *s = i->service;
    struct orphan *w = strmap_get(&p->orphans, janitor_plan_key_of(p, s->ns, s->group, s->name, i->id));
    if (!w || !w->entry.guard)
        return;
    bool was_held = storm_guard_holds(&w->entry);
    w->entry.verdict = verdict;
    if (!was_held || storm_guard_holds(&w->entry))
        return;
    w->at_ms = now_ms;
    reschedule(p, w, now_ms);
}

size_t plan_held(const struct plan *p)
{
    return p->held;
}

size_t plan_waiting(const struct plan *p)
{
    return p->orphans.count;
}

/* --- the whole ---------------------------------------------------------------------------------------- */

struct plan *plan_new(const struct catalog *catalog, const struct plan_rules *rules,
                      const struct plan_events *events)
{
    struct plan *p = mem_new(sizeof *p);
    p->catalog = catalog;
    p->rules = *rules;
    p->review_budget = rules->review_budget;
    p->events = *events;
    list_init(&p->active);
    list_init(&p->session_walks);
    list_init(&p->guard_walks);
    for (int class = 0; class < PLAN_CLASSES; class ++)
        list_init(&p->ready[class]);
    return p;
}

void plan_free(struct plan *p)
{
    struct slice key;
    void *value;
    for (size_t at = 0; strmap_next(&p->orphans, &at, &key, &value);)
        orphan_free(p, value);
    while (!list_is_empty(&p->session_walks))
        end_session_walk(container_of(p->session_walks.next, struct session_walk, link));
    storm_guards_done(p);
    strmap_done(&p->orphans);
    map_done(&p->tickets);
    overrides_done(p);
    heap_done(&p->due);
    heap_done(&p->ends);
    buf_done(&p->key);
    mem_free(p);
}
