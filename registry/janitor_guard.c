/* SPDX-License-Identifier: Apache-2.0
 * Storm guards and histories of namespaces; see janitor_guard.h. A guard exists while this member leads.
 * Guards with a history are in a ring, the next one to review first. */
#include "registry/janitor_guard.h"

#include <assert.h>

#include "base/mutant.h"
#include "registry/janitor_state.h"

#define REVIEW_EVERY_MS  5000
#define REFRESH_EVERY_MS 60000 /* the established revision in the history is this old at most */

/* --- histories, known to every member --------------------------------------------------------------- */

void plan_history(struct plan *p, struct slice ns, const struct guard_history *history)
{
    struct guard_history *h = strmap_get(&p->histories, ns);
    if (!history) {
        strmap_remove(&p->histories, ns);
        mem_free(h);
        return;
    }
    if (!h) {
        h = mem_new(sizeof *h);
        strmap_put(&p->histories, ns, h);
    }
    *h = *history;
}

static int64_t established_revision(const struct plan *p, struct slice ns, uint64_t now_ms)
{
    uint64_t age_ms = p->rules.established_ms;
    if (!age_ms)
        return 0; /* established sessions are not distinguished */
    int64_t revision = now_ms >= age_ms ? revision_clock_at(&p->clock, now_ms - age_ms) : 0;
    const struct guard_history *h = strmap_get(&p->histories, ns);
    if (revision)
        return revision;
    /* This member's view is younger than established_ms. Without a history no young sessions have died: then
     * the sessions that existed when the view began count as established. */
    return h && h->established_revision ? h->established_revision : p->clock.begin;
}

/* --- guards ----------------------------------------------------------------------------------------- */

static void begin_guard(struct plan *p, struct storm_guard *g, uint64_t now_ms)
{
    const struct guard_history *h = strmap_get(&p->histories, g->ns);
    for (int k = 0; k < STORM_GROUPS; k++)
        storm_begin(&g->storms[k], &p->rules.storm, now_ms, h ? &h->groups[k] : NULL);
    if (!h)
        return;
    g->written = *h;
    g->written_ms = now_ms;
    g->is_written = true;
}

static void janitor_guard_remember(struct plan *p, struct storm_guard *g, uint64_t now_ms)
{
    if (link_is_in_list(&g->active))
        return;
    g->review_ms = now_ms + REVIEW_EVERY_MS;
    list_add_last(&p->active, &g->active);
}

struct storm_guard *storm_guard_of(struct plan *p, struct slice ns, uint64_t now_ms)
{
    struct storm_guard *g = strmap_get(&p->guards, ns);
    if (!g) {
        g = mem_new(sizeof *g);
        g->ns = slice_of(mem_copy(ns.data, ns.size), ns.size);
        list_init(&g->orphans);
        strmap_put(&p->guards, ns, g);
        begin_guard(p, g, now_ms);
    }
    janitor_guard_remember(p, g, now_ms);
    return g;
}

/* Creates the guards of namespaces with a history, so that the history is refreshed, and deleted in the
 * end. */
void storm_guards_begin(struct plan *p, uint64_t now_ms)
{
    struct slice ns;
    void *value;
    for (size_t at = 0; strmap_next(&p->histories, &at, &ns, &value);)
        storm_guard_of(p, ns, now_ms);
}

static void guard_free(struct plan *p, struct storm_guard *g)
{
    heap_remove(&p->ends, &g->end);
    list_remove(&g->active);
    list_remove(&g->walked);
    for (int k = 0; k < STORM_GROUPS; k++)
        storm_done(&g->storms[k]);
    mem_free(g->ns.data);
    mem_free(g);
}

void storm_guards_end(struct plan *p)
{
    struct slice key;
    void *value;
    for (size_t at = 0; strmap_next(&p->guards, &at, &key, &value);)
        guard_free(p, value);
    strmap_done(&p->guards);
}

void storm_guards_done(struct plan *p)
{
    struct slice key;
    void *value;
    storm_guards_end(p);
    for (size_t at = 0; strmap_next(&p->histories, &at, &key, &value);)
        mem_free(value);
    strmap_done(&p->histories);
}

static uint64_t end_ms(const struct storm_guard *g)
{
    uint64_t end = UINT64_MAX;
    for (int k = 0; k < STORM_GROUPS; k++)
        if (storm_end_ms(&g->storms[k]) < end)
            end = storm_end_ms(&g->storms[k]);
    return end;
}

/* Sets the time when the guard ends; called after every change of its storms. */
static void guard_time(struct plan *p, struct storm_guard *g)
{
    uint64_t end = end_ms(g);
    heap_remove(&p->ends, &g->end);
    if (end != UINT64_MAX)
        heap_add(&p->ends, &g->end, end);
}

bool storm_guard_is_on(const struct storm_guard *g)
{
    return g->storms[STORM_ALL].is_on || g->storms[STORM_ESTABLISHED].is_on;
}

/* --- instances under a guard ------------------------------------------------------------------------ */

static bool belongs_to(const struct guard_entry *o, int group)
{
    return group == STORM_ALL || o->is_established;
}

bool storm_guard_holds(const struct guard_entry *o)
{
    for (int k = 0; o->guard && k < STORM_GROUPS; k++)
        if (o->is_in[k] && storm_holds(&o->guard->storms[k], o->created, o->verdict))
            return true;
    return false;
}

static void join(struct plan *p, struct storm_guard *g, struct guard_entry *o)
{
    assert(!o->guard);
    o->guard = g;
    o->walk = g->walk; /* the walk under way need not visit it: it joins with the storms as they are now */
    list_add_last(&g->orphans, &o->link);
    for (int k = 0; k < STORM_GROUPS; k++) {
        bool is_newcomer = g->storms[k].is_on && o->created > g->storms[k].horizon;
        o->is_in[k] = belongs_to(o, k) && !is_newcomer;
        g->storms[k].held += o->is_in[k];
    }
    guard_time(p, g);
}

void storm_guard_leave(struct plan *p, struct guard_entry *o)
{
    struct storm_guard *g = o->guard;
    if (!g)
        return;
    list_remove(&o->link);
    o->guard = NULL;
    for (int k = 0; k < STORM_GROUPS; k++)
        g->storms[k].held -= o->is_in[k];
    guard_time(p, g);
}

void storm_guard_return(struct plan *p, struct guard_entry *o, uint64_t now_ms)
{
    for (int k = 0; o->guard && k < STORM_GROUPS; k++)
        if (o->is_in[k])
            storm_return(&o->guard->storms[k], now_ms);
    storm_guard_leave(p, o);
}

static uint64_t ttl_ms(const struct catalog_instance *i)
{
    uint32_t of_session = i->hangs_on ? i->hangs_on->doc.ttl_s : 0;
    return (uint64_t)(of_session ? of_session : i->doc->ttl_s) * 1000;
}

/* The revision at which the instance's session was opened. If the session ended before this member's view
 * began, that is not known: the instance's create revision stands for it. */
static int64_t opened(const struct catalog_instance *i)
{
    bool is_known = i->hangs_on && i->hangs_on->create_revision;
    return is_known ? i->hangs_on->create_revision : i->create_revision;
}

static struct storm_death death_of(struct plan *p, struct storm_guard *g, const struct catalog_instance *i,
                                   struct guard_entry *o, uint64_t now_ms)
{
    o->created = i->create_revision;
    o->is_established = opened(i) <= established_revision(p, g->ns, now_ms);
    return (struct storm_death){.ttl_ms = ttl_ms(i),
                                .at_risk = i->service->in->at_risk,
                                .created = i->create_revision,
                                .session = i->doc->session,
                                .opened = opened(i),
                                .revision = catalog_revision(p->catalog)};
}

/* Instances in traffic, without the usual number of deaths of young sessions. */
static size_t established_at_risk(struct plan *p, struct storm_guard *g, size_t at_risk, uint64_t now_ms)
{
    for (int k = 0; k < STORM_GROUPS; k++)
        storm_average(&g->storms[k], &p->rules.storm, now_ms);
    uint64_t all = storm_usual(&g->storms[STORM_ALL]), of = storm_usual(&g->storms[STORM_ESTABLISHED]);
    uint64_t young = all > of ? all - of : 0;
    return at_risk > young ? at_risk - young : 0;
}

bool storm_guard_death(struct plan *p, struct guard_entry *o, const struct catalog_instance *i,
                       uint64_t now_ms)
{
    struct storm_guard *g = storm_guard_of(p, i->service->ns, now_ms);
    struct storm_death death = death_of(p, g, i, o, now_ms);
    bool was_on = storm_guard_is_on(g), begins = false, alarms = false;
    size_t at_risk = death.at_risk;
    o->died_ms = now_ms;
    o->ttl_ms = death.ttl_ms;
    o->verdict = STORM_UNKNOWN;
    for (int k = 0; k < STORM_GROUPS; k++) {
        if (!belongs_to(o, k))
            continue;
        death.at_risk = k == STORM_ALL ? at_risk : established_at_risk(p, g, at_risk, now_ms);
        bool was_suspicious = g->storms[k].is_suspicious;
        begins = storm_death(&g->storms[k], &p->rules.storm, now_ms, &death) || begins;
        alarms = alarms || (g->storms[k].is_suspicious && !was_suspicious);
    }
    join(p, g, o);
    if (begins && !was_on && p->events.storm) {
        const struct storm *s = &g->storms[g->storms[STORM_ALL].is_on ? STORM_ALL : STORM_ESTABLISHED];
        p->events.storm(p->events.arg, g->ns, s->in_window, storm_at_risk(s), false);
    }
    return begins || alarms;
}

uint64_t storm_guard_decision_delay_ms(const struct plan *p, const struct guard_entry *o)
{
    const struct storm *s = &o->guard->storms[o->is_established ? STORM_ESTABLISHED : STORM_ALL];
    uint64_t beat_ms = o->ttl_ms / 3, most_ms = p->rules.decision_delay_max_ms;
    if (s->is_suspicious && beat_ms > p->rules.decision_delay_ms)
        return beat_ms < most_ms ? beat_ms : most_ms;
    return s->is_everyday ? 0 : p->rules.decision_delay_ms;
}

bool storm_guard_held(struct plan *p, struct guard_entry *o, const struct catalog_instance *i, bool is_found,
                      uint64_t now_ms)
{
    struct storm_guard *g = storm_guard_of(p, i->service->ns, now_ms);
    bool was_on = storm_guard_is_on(g);
    if (is_found) {
        struct storm_death death = death_of(p, g, i, o, now_ms);
        enum storm_group group = o->is_established ? STORM_ESTABLISHED : STORM_ALL;
        storm_resume(&g->storms[group], &p->rules.storm, now_ms, &death);
    }
    join(p, g, o);
    bool begins = !was_on && storm_guard_is_on(g);
    if (begins && p->events.storm)
        p->events.storm(p->events.arg, g->ns, 0, i->service->in->at_risk, true);
    return begins;
}

/* --- the end ---------------------------------------------------------------------------------------- */

struct storm_guard *storm_guard_ending(struct plan *p, uint64_t now_ms)
{
    struct heap_node *n = heap_first(&p->ends);
    return n && n->key <= now_ms ? container_of(n, struct storm_guard, end) : NULL;
}

void storm_guard_end(struct plan *p, struct storm_guard *g, uint64_t now_ms)
{
    for (int k = 0; k < STORM_GROUPS; k++)
        if (storm_end_ms(&g->storms[k]) <= now_ms)
            storm_end(&g->storms[k], &p->rules.storm, now_ms);
    guard_time(p, g);
}

uint64_t storm_guards_wake_ms(const struct plan *p)
{
    const struct heap_node *n = heap_first(&p->ends);
    return n ? n->key : UINT64_MAX;
}

/* --- handover of the history ------------------------------------------------------------------------ */

static bool is_worth_writing(const struct plan *p, const struct guard_history *h)
{
    return h->groups[STORM_ALL].usual >= p->rules.storm.least || h->groups[STORM_ALL].raises ||
           h->groups[STORM_ESTABLISHED].raises;
}

static bool is_idle(const struct storm_guard *g)
{
    for (int k = 0; k < STORM_GROUPS; k++) {
        const struct storm *s = &g->storms[k];
        if (s->is_on || s->held || s->count || s->usual || s->raises)
            return false;
    }
    return !g->is_written;
}

/* True: the value has moved by a quarter, and by at least half of the deaths that any namespace may have. */
static bool has_moved(const struct plan *p, const struct storm_history *a, const struct storm_history *b)
{
    uint64_t more = a->usual > b->usual ? a->usual : b->usual;
    uint64_t less = a->usual > b->usual ? b->usual : a->usual;
    return a->raises != b->raises || more - less > more / 4 + p->rules.storm.least / 2;
}

static bool is_due(const struct plan *p, const struct storm_guard *g, const struct guard_history *h,
                   uint64_t now_ms)
{
    if (!g->is_written || now_ms - g->written_ms >= REFRESH_EVERY_MS)
        return true;
    for (int k = 0; k < STORM_GROUPS; k++)
        if (has_moved(p, &h->groups[k], &g->written.groups[k]))
            return true;
    return false;
}

/* True: the history must be written or deleted now; *ret says which. */
static bool review_history(struct plan *p, struct storm_guard *g, uint64_t now_ms, struct plan_handover *ret)
{
    struct guard_history h = {.established_revision = established_revision(p, g->ns, now_ms)};
    for (int k = 0; k < STORM_GROUPS; k++) {
        storm_average(&g->storms[k], &p->rules.storm, now_ms);
        h.groups[k] = storm_history(&g->storms[k]);
    }
    bool is_worth = is_worth_writing(p, &h);
    if (is_worth ? !is_due(p, g, &h, now_ms) : !g->is_written)
        return false;
    g->written = h;
    g->written_ms = now_ms;
    g->is_written = is_worth;
    *ret = (struct plan_handover){g->ns, h, !is_worth};
    return true;
}

static struct link *janitor_guard_first_of(const struct link *head)
{
    return list_is_empty(head) ? NULL : head->next;
}

bool plan_next_handover(struct plan *p, uint64_t now_ms, struct plan_handover *ret)
{
    struct link *l;
    while (p->does_lead && (l = janitor_guard_first_of(&p->active))) {
        struct storm_guard *g = container_of(l, struct storm_guard, active);
        if (g->review_ms > now_ms)
            return false;
        list_remove(&g->active);
        bool is_due_now = review_history(p, g, now_ms, ret);
        if (is_due_now || !is_idle(g))
            janitor_guard_remember(p, g, now_ms);
        if (is_due_now)
            return true;
    }
    return false;
}

void plan_handover_failed(struct plan *p, struct slice ns, uint64_t now_ms)
{
    struct storm_guard *g = strmap_get(&p->guards, ns);
    if (!g)
        return;
    g->is_written = true; /* the key may exist, so it must be deleted in the end */
    g->written = (struct guard_history){0};
    g->written_ms = 0;
    janitor_guard_remember(p, g, now_ms);
}

uint64_t plan_handover_wake_ms(const struct plan *p)
{
    struct link *l = p->does_lead ? janitor_guard_first_of(&p->active) : NULL;
    return l ? container_of(l, struct storm_guard, active)->review_ms : UINT64_MAX;
}

/* --- metrics ---------------------------------------------------------------------------------------- */

void plan_each_guard(struct plan *p, uint64_t now_ms,
                     void (*fn)(void *arg, struct slice ns, const struct plan_guard_view *view), void *arg)
{
    LIST_FOR_EACH (l, &p->active) {
        struct storm_guard *g = container_of(l, struct storm_guard, active);
        const struct catalog_namespace *n = catalog_namespace(p->catalog, g->ns);
        size_t at_risk = n ? n->at_risk : 0;
        struct plan_guard_view view = {.is_on = storm_guard_is_on(g)};
        for (int k = 0; k < STORM_GROUPS; k++) {
            size_t of = k == STORM_ALL ? at_risk : established_at_risk(p, g, at_risk, now_ms);
            view.usual[k] = storm_usual(&g->storms[k]);
            view.bar[k] = storm_bar(&g->storms[k], &p->rules.storm, now_ms, of);
        }
        fn(arg, g->ns, &view);
    }
}
