/* SPDX-License-Identifier: Apache-2.0
 * What janitor_plan.c and janitor_override.c share; nobody else includes it. */
#ifndef REGISTRY_JANITOR_STATE_H
#define REGISTRY_JANITOR_STATE_H

#include "base/heap.h"
#include "registry/janitor_plan.h"

struct place { /* an instance's name, copied: the catalog's own goes with it */
    struct slice ns, group, service, id;
    uint8_t *bytes;
};

struct override_wait {
    struct place place;
    struct heap_node until; /* by the wall clock */
    struct heap_node look;
    uint64_t absent_ms; /* since then its instance is not there; UINT64_MAX: it is */
    uint64_t until_ms;  /* wall clock; 0 = never */
    int64_t revision;
    uint64_t ticket; /* 0 = not given */
};

struct overrides {
    struct strmap by_key;
    struct heap until, look;
    struct map tickets;
};

struct plan {
    const struct catalog *catalog;
    struct plan_rules rules;
    struct plan_events events;
    bool does_lead;
    uint64_t last_ticket;
    struct overrides overrides;
    struct buf key; /* scratch */

    /* Of the leader. */
    struct strmap wards;  /* by the instance's key */
    struct strmap guards; /* by namespace */
    struct map tickets;   /* wards */
    struct heap due;      /* wards that wait for their time */
    struct heap ends;     /* guards that are on */
    struct link ready[PLAN_CLASSES];
    size_t held;
};

void place_init(struct place *place, const struct catalog_instance *i);
struct catalog_instance *place_find(const struct place *place, const struct catalog *c);
void place_done(struct place *place);
/* The instance's key, in p->key: one string for one instance. */
struct slice plan_key(struct plan *p, const struct place *place);

void overrides_changed(struct plan *p, const struct catalog_instance *i, struct slice key, uint64_t now_ms);
bool overrides_next(struct plan *p, uint64_t now_ms, uint64_t wall_ms, struct plan_action *ret_action);
void overrides_told(struct plan *p, uint64_t ticket, enum plan_outcome outcome, uint64_t now_ms);
void overrides_forget_tickets(struct plan *p, uint64_t now_ms);
uint64_t overrides_wake_ms(const struct plan *p, uint64_t now_ms, uint64_t wall_ms);
void overrides_done(struct plan *p);

#endif
