/* SPDX-License-Identifier: Apache-2.0
 * What time does to the registry: decided here, proposed by janitor.c. Pure: the catalog's events and times
 * go in, actions come out, each with what must still be so when it is applied.
 *
 * An instance whose session went and which names it still is an orphan. For the leader:
 *   dying     settle_ms long, so that a storm's first deaths are seen among the others: a third of the TTL
 *             (settle_max_ms at most) while a storm may be beginning, not at all where such deaths are what
 *             happens every day. Then it is made lost, or held while its namespace's storm guard is on and it
 *             is in traffic
 *   held      `guarded` in its document; when the guard is over it is made lost
 *   lost      grace_s of its document long, from when this leader saw it lost; then it is deleted
 *   returned  its session is there again, and its document still says guarded: that is taken back
 * A registration that hangs on a living session ends all of these. What was lost when a guard went on stays
 * lost: it is no more than dies without one. What was registered after a guard went on is not held by it. An
 * instance that is lost and whose session comes back by itself stays lost, and is kept, until its client says
 * what it is.
 *
 * Overrides end at `until`, and when their instance has not been there for absent_max_ms; every member
 * follows them.
 *
 * An action is given once. Its end is told by plan_done: what is not known to be done is given again; what
 * was done, or was refused because somebody else changed it, shows in the catalog, and is looked at again
 * after recheck_ms if it does not. */
#ifndef REGISTRY_JANITOR_PLAN_H
#define REGISTRY_JANITOR_PLAN_H

#include "registry/catalog.h"
#include "registry/janitor_guard.h"

struct plan;

struct plan_rules {
    struct storm_rules storm;
    uint64_t settle_ms;      /* 1,000 */
    uint64_t settle_max_ms;  /* 10,000 */
    uint64_t recheck_ms;     /* 1,000 */
    uint64_t absent_max_ms;  /* 24 h */
    size_t look_at_once;     /* 1,000 instances that went are looked at before plan_step is called again */
    uint64_t established_ms; /* 60,000; 0 = established sessions are not told apart */
};
struct plan_rules plan_rules_default(void);

enum plan_kind {
    PLAN_LOSE,         /* state lost, guarded taken away */
    PLAN_GUARD,        /* guarded; the state stays */
    PLAN_UNGUARD,      /* guarded taken away; the state stays */
    PLAN_DELETE,       /* the instance, and its drain */
    PLAN_END_OVERRIDE, /* the override */
};
enum plan_class { PLAN_PUTS, PLAN_DELETES, PLAN_CLASSES }; /* a full disk refuses the first only */

struct plan_action {
    enum plan_kind kind;
    uint64_t ticket;
    const struct catalog_instance *instance; /* as it is: until the catalog's next batch */
    int64_t revision;                        /* the key's mod revision must be this */
    int64_t session;                         /* this one must not be there; 0 = whatever */
};

enum plan_outcome { PLAN_DONE, PLAN_REFUSED, PLAN_UNKNOWN };

struct plan_events {
    /* A guard went on: died of at_risk in traffic; is_resumed: found on by a new leader. */
    void (*storm)(void *arg, struct slice ns, size_t died, size_t at_risk, bool is_resumed);
    /* It is over, or lets those go that it held without need: they are made lost. */
    void (*storm_over)(void *arg, struct slice ns, size_t held);
    void *arg;
};

struct plan *plan_new(const struct catalog *catalog, const struct plan_rules *rules,
                      const struct plan_events *events);
void plan_free(struct plan *p);

/* Gained: looks at what is left over in the catalog. Lost: forgets everything but the overrides. */
void plan_lead(struct plan *p, bool does_lead, uint64_t now_ms);
void plan_session_gone(struct plan *p, const struct catalog_session *session, uint64_t now_ms);
void plan_session_back(struct plan *p, const struct catalog_session *session, uint64_t now_ms);
void plan_changed(struct plan *p, const struct catalog_change *change, uint64_t now_ms);

/* A session may have a hundred thousand instances, and so may a storm: what went or came back is looked at in
 * slices, and so is what has become due. Looks at `max` instances at the most; true: there is more to look
 * at. plan_next looks at the rest first, however many they are: nothing is decided by half of what died. */
bool plan_step(struct plan *p, uint64_t now_ms, size_t max);
/* The next that is due, of this class; false: none now. */
bool plan_next(struct plan *p, enum plan_class class, uint64_t now_ms, uint64_t wall_ms,
               struct plan_action *ret_action);
/* A ticket that was overtaken by an event is ignored. */
void plan_done(struct plan *p, uint64_t ticket, enum plan_outcome outcome, uint64_t now_ms);
/* When plan_next is to be asked again, if nothing happens; UINT64_MAX: nothing waits. */
uint64_t plan_wake_ms(const struct plan *p, uint64_t now_ms, uint64_t wall_ms);

/* A server-run check says something about an instance whose session ended. STORM_REFUSED: it is lost at once,
 * guard or not. The verdict is forgotten when the instance comes back, or dies again. */
void plan_verdict(struct plan *p, const struct catalog_instance *i, enum storm_verdict verdict,
                  uint64_t now_ms);

/* --- the history of guards -------------------------------------------------------------------------------
 */

/* What stands in the store about a namespace, NULL: nothing. Every member is told; the next to lead needs it.
 */
void plan_history(struct plan *p, struct slice ns, const struct guard_history *history);
struct plan_handover {
    struct slice ns; /* until the next call */
    struct guard_history history;
    bool is_delete;
};
/* The next history that is to be written; false: none now. It counts as written. */
bool plan_next_handover(struct plan *p, uint64_t now_ms, struct plan_handover *ret);
void plan_handover_failed(struct plan *p, struct slice ns, uint64_t now_ms);
uint64_t plan_handover_wake_ms(const struct plan *p);

struct plan_guard_view {
    bool is_on;
    uint64_t usual[STORM_GROUPS]; /* deaths in a window */
    size_t bar[STORM_GROUPS];     /* so many may die now without a guard */
};
/* Guards of namespaces in which something died lately, or is remembered. */
void plan_each_guard(struct plan *p, uint64_t now_ms,
                     void (*fn)(void *arg, struct slice ns, const struct plan_guard_view *view), void *arg);

size_t plan_held(const struct plan *p);    /* dying or guarded under a guard that is on, or not yet let go */
size_t plan_waiting(const struct plan *p); /* instances that are dying, held or lost */

#endif
