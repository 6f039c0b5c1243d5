/* SPDX-License-Identifier: Apache-2.0
 * Private state of the janitor's plan, shared by janitor_plan.c, janitor_override.c and janitor_guard.c. */
#ifndef REGISTRY_JANITOR_STATE_H
#define REGISTRY_JANITOR_STATE_H

#include "base/heap.h"
#include "registry/janitor_plan.h"
#include "registry/revision_clock.h"

/* A copy of an instance's name, because the catalog frees its own. */
struct place {
    struct slice ns, group, service, id;
    uint8_t *bytes;
};

struct override_wait {
    struct place place;
    struct heap_node until; /* by the wall clock */
    struct heap_node look;
    uint64_t absent_ms; /* its instance is absent since then; UINT64_MAX: it exists */
    uint64_t until_ms;  /* wall clock; 0 = never */
    int64_t revision;
    uint64_t ticket; /* 0 = not given out */
};

struct overrides {
    struct strmap by_key;
    struct heap until, look;
    struct map tickets;
};

struct storm_guard { /* of a namespace, while this member leads */
    struct slice ns;
    struct storm storms[STORM_GROUPS];
    struct link orphans;   /* struct guard_entry: dying ones in traffic, and held ones */
    struct link walked;    /* in plan.guard_walks while its orphans are reviewed */
    uint64_t walk;         /* number of the walk; the orphans that it has visited are last in `orphans` */
    bool walk_reschedules; /* a storm is on, or may begin: dying orphans are held, or wait longer */
    bool walk_releases;    /* a storm is over: its orphans are released, unless another storm holds them */
    size_t released;
    struct heap_node end; /* in plan.ends while one of the storms is on */
    struct link active;   /* in plan.active while it has recent deaths or a history */
    uint64_t review_ms;   /* the time of the next review of its history */
    struct guard_history written;
    uint64_t written_ms;
    bool is_written;
};

/* An instance under a guard; part of its orphan. */
struct guard_entry {
    struct storm_guard *guard; /* NULL: none */
    struct link link;
    uint64_t died_ms, ttl_ms;
    int64_t created;
    uint64_t walk; /* the guard's last walk that visited it */
    bool is_established;
    bool is_in[STORM_GROUPS]; /* counted in this storm's held */
    enum storm_verdict verdict;
};

struct plan {
    const struct catalog *catalog;
    struct plan_rules rules;
    struct plan_events events;
    bool does_lead;
    uint64_t last_ticket;
    struct overrides overrides;
    struct buf key; /* scratch */
    struct revision_clock clock;
    struct strmap histories; /* by namespace: struct guard_history */

    /* Of the leader. */
    struct link session_walks; /* sessions that ended or returned: their instances are reviewed in slices */
    struct link guard_walks; /* guards that set off, may set off soon, or are over: likewise their orphans */
    uint64_t last_walk;
    size_t review_budget;  /* instances that may be reviewed before plan_step */
    struct strmap orphans; /* by the instance's key */
    struct strmap guards;  /* by namespace: struct storm_guard */
    struct link active;    /* guards with recent deaths or a history, by review_ms */
    struct map tickets;    /* orphans */
    struct heap due;       /* orphans that wait for their time */
    struct heap ends;      /* guards that are on */
    struct link ready[PLAN_CLASSES];
    size_t held;
};

void place_init(struct place *place, const struct catalog_instance *i);
struct catalog_instance *place_find(const struct place *place, const struct catalog *c);
void place_done(struct place *place);
/* The instance's key, in p->key: one string for one instance. */
struct slice plan_key(struct plan *p, const struct place *place);

struct storm_guard *storm_guard_of(struct plan *p, struct slice ns, uint64_t now_ms);
void storm_guards_begin(struct plan *p, uint64_t now_ms); /* this member leads */
void storm_guards_end(struct plan *p); /* this member does not lead any more; no orphan is under a guard */
void storm_guards_done(struct plan *p);
bool storm_guard_is_on(const struct storm_guard *g);
bool storm_guard_holds(const struct guard_entry *o);
/* An instance in traffic died, or a new leader has found it held in the store: it comes under its namespace's
 * guard. True: the caller must review all dying orphans, because a storm has begun or may be beginning. */
bool storm_guard_death(struct plan *p, struct guard_entry *o, const struct catalog_instance *i,
                       uint64_t now_ms);
bool storm_guard_held(struct plan *p, struct guard_entry *o, const struct catalog_instance *i, bool is_found,
                      uint64_t now_ms);
/* The time from the death to the decision: lost or held. */
uint64_t storm_guard_decision_delay_ms(const struct plan *p, const struct guard_entry *o);
void storm_guard_return(struct plan *p, struct guard_entry *o, uint64_t now_ms);
void storm_guard_leave(struct plan *p, struct guard_entry *o);
/* A guard with a storm that is over, until storm_guard_end; NULL: none. */
struct storm_guard *storm_guard_ending(struct plan *p, uint64_t now_ms);
void storm_guard_end(struct plan *p, struct storm_guard *g, uint64_t now_ms);
uint64_t storm_guards_wake_ms(const struct plan *p);

void overrides_changed(struct plan *p, const struct catalog_instance *i, struct slice key, uint64_t now_ms);
bool overrides_next(struct plan *p, uint64_t now_ms, uint64_t wall_ms, struct plan_action *ret_action);
void overrides_notified(struct plan *p, uint64_t ticket, enum plan_outcome outcome, uint64_t now_ms);
void overrides_forget_tickets(struct plan *p, uint64_t now_ms);
uint64_t overrides_wake_ms(const struct plan *p, uint64_t now_ms, uint64_t wall_ms);
void overrides_done(struct plan *p);

#endif
