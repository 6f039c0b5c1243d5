/* SPDX-License-Identifier: Apache-2.0
 * The plan of the janitor: actions on instances whose session ended, and on overrides that end. Pure:
 * events of the catalog and times go in; actions come out, each with the state that must still hold when it
 * is applied.
 *
 * An orphan is an instance whose session ended and which still names it. For the leader it is
 *
 *     dying     for the decision delay, so that a storm's first deaths are counted with the others. The delay
 *               is decision_delay_ms; TTL/3 (at most decision_delay_max_ms) while a storm may be beginning; 0
 *               where such deaths are usual. Then it is lost, or held if it is in traffic and the storm guard
 *               of its namespace is on
 *     held      `guarded` in its document, until the guard ends; then it is lost
 *     lost      for the `grace` of its document, from when this leader saw it lost; then it is deleted
 *     returned  its session exists again and its document still says guarded: the field is removed
 *
 *   - A registration with a living session ends all of these.
 *   - An instance that was lost before a guard set off stays lost.
 *   - A guard does not hold instances that were registered after it set off.
 *   - A lost instance whose session comes back by itself stays lost, and is kept, until its client registers.
 *
 * Overrides end at `until`, and when their instance has been absent for absent_max_ms; every member follows
 * them.
 *
 * An action is given out once; plan_done reports its outcome. An unknown outcome gives it out again. A done
 * or refused action shows in the catalog; if it does not within recheck_ms, the orphan is reviewed again.
 * janitor.c has the drawing of all states. */
#ifndef REGISTRY_JANITOR_PLAN_H
#define REGISTRY_JANITOR_PLAN_H

#include "registry/catalog.h"
#include "registry/janitor_guard.h"

struct plan;

struct plan_rules {
    struct storm_rules storm;
    uint64_t decision_delay_ms;     /* 1,000 */
    uint64_t decision_delay_max_ms; /* 10,000 */
    uint64_t recheck_ms;            /* 1,000 */
    uint64_t absent_max_ms;         /* 24 h */
    size_t review_budget;           /* instances reviewed by events before plan_step is called again: 1,000 */
    uint64_t established_ms;        /* 60,000; 0 = established sessions are not distinguished */
};
struct plan_rules plan_rules_default(void);

enum plan_kind {
    PLAN_LOSE,         /* state lost, guarded removed */
    PLAN_GUARD,        /* guarded; the state stays */
    PLAN_UNGUARD,      /* guarded removed; the state stays */
    PLAN_DELETE,       /* the instance, and its drain */
    PLAN_END_OVERRIDE, /* the override */
};
enum plan_class { PLAN_PUTS, PLAN_DELETES, PLAN_CLASSES }; /* a store without room refuses the first only */

struct plan_action {
    enum plan_kind kind;
    uint64_t ticket;
    const struct catalog_instance *instance; /* as it is: until the catalog's next batch */
    int64_t revision;                        /* the key's mod revision must be this */
    int64_t session;                         /* this session must not exist; 0 = not compared */
};

enum plan_outcome { PLAN_DONE, PLAN_REFUSED, PLAN_UNKNOWN };

struct plan_events {
    /* A guard set off: died of at_risk in traffic; is_resumed: a new leader continues it. */
    void (*storm)(void *arg, struct slice ns, size_t died, size_t at_risk, bool is_resumed);
    /* A guard is over, or one of its storms: `held` instances are released and become lost. */
    void (*storm_over)(void *arg, struct slice ns, size_t held);
    void *arg;
};

struct plan *plan_new(const struct catalog *catalog, const struct plan_rules *rules,
                      const struct plan_events *events);
void plan_free(struct plan *p);

/* does_lead becomes true: reviews the orphans in the catalog. False: forgets everything but the overrides. */
void plan_lead(struct plan *p, bool does_lead, uint64_t now_ms);
void plan_session_gone(struct plan *p, const struct catalog_session *session, uint64_t now_ms);
void plan_session_back(struct plan *p, const struct catalog_session *session, uint64_t now_ms);
void plan_changed(struct plan *p, const struct catalog_change *change, uint64_t now_ms);

/* Reviews at most `max` instances: a session or a storm may have 100,000 of them. Returns true if there are
 * more. plan_next first reviews the rest, however many: it never decides on a part of the deaths. */
bool plan_step(struct plan *p, uint64_t now_ms, size_t max);
/* The next action that is due, of this class; false: none now. */
bool plan_next(struct plan *p, enum plan_class class, uint64_t now_ms, uint64_t wall_ms,
               struct plan_action *ret_action);
/* Reports the outcome of an action. A ticket that an event has superseded is ignored. */
void plan_done(struct plan *p, uint64_t ticket, enum plan_outcome outcome, uint64_t now_ms);
/* The time of the next plan_next, if no event comes before; UINT64_MAX: nothing waits. */
uint64_t plan_wake_ms(const struct plan *p, uint64_t now_ms, uint64_t wall_ms);

/* The verdict of a server-run check on an instance whose session ended. STORM_REFUSED: it is lost at once,
 * also under a guard. The verdict is forgotten when the instance comes back, or dies again. No check exists
 * yet; only tests call this. */
void plan_verdict(struct plan *p, const struct catalog_instance *i, enum storm_verdict verdict,
                  uint64_t now_ms);

/* --- the history of guards -------------------------------------------------------------------------- */

/* The stored history of a namespace; NULL: none. Every member keeps it, for the time when it leads. */
void plan_history(struct plan *p, struct slice ns, const struct guard_history *history);
struct plan_handover {
    struct slice ns; /* until the next call */
    struct guard_history history;
    bool is_delete;
};
/* The next history to write; false: none now. It counts as written, unless plan_handover_failed. */
bool plan_next_handover(struct plan *p, uint64_t now_ms, struct plan_handover *ret);
void plan_handover_failed(struct plan *p, struct slice ns, uint64_t now_ms);
uint64_t plan_handover_wake_ms(const struct plan *p);

struct plan_guard_view {
    bool is_on;
    uint64_t usual[STORM_GROUPS]; /* deaths in a window */
    size_t bar[STORM_GROUPS];     /* more deaths than this in a window set off the guard */
};
/* Guards of namespaces with recent deaths or a history. */
void plan_each_guard(struct plan *p, uint64_t now_ms,
                     void (*fn)(void *arg, struct slice ns, const struct plan_guard_view *view), void *arg);

size_t plan_held(const struct plan *p);    /* instances in phase held */
size_t plan_waiting(const struct plan *p); /* instances that are dying, held or lost */

#endif
