/* SPDX-License-Identifier: Apache-2.0
 * The storm guard of one namespace: has more of it died within one TTL than dies by itself, and when is that
 * over? Counts and times in, verdicts out; which instances they are is janitor_plan.c's business. Pure.
 *
 * A death is an instance in traffic whose session went. It counts for the TTL of its session (at most
 * window_max_ms). When more than `least` count, and more than `percent` of what was in traffic before the
 * oldest of them, the guard is on. It is over `hold_max_ms` later at the latest; and before that as soon as
 * no more are held than may die without a guard, and for one TTL nothing died and nothing came back. */
#ifndef REGISTRY_JANITOR_STORM_H
#define REGISTRY_JANITOR_STORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct storm_rules {
    size_t least;           /* 10 */
    unsigned percent;       /* 15 */
    uint64_t window_max_ms; /* 60,000 */
    uint64_t hold_max_ms;   /* 300,000 */
};

struct storm_deaths {
    uint64_t until_ms;          /* they count up to here */
    uint64_t since_ms;          /* the first of them */
    size_t count, at_risk_then; /* in traffic before it */
};

/* Valid when zeroed: nothing has died. */
struct storm {
    struct storm_deaths *deaths; /* by until_ms, none twice */
    size_t count, capacity;
    size_t in_window; /* sum of their counts */
    bool is_on;
    size_t held;       /* kept by the owner: held or about to be decided upon */
    size_t limit;      /* as many may die without a guard */
    uint64_t last_ms;  /* of the last death or return */
    uint64_t quiet_ms; /* the longest TTL of this storm */
    uint64_t hold_until_ms;
};

/* at_risk: how many are in traffic, this one included. True: the guard went on with it. */
bool storm_death(struct storm *s, const struct storm_rules *rules, uint64_t now_ms, uint64_t ttl_ms,
                 size_t at_risk);
/* In traffic before the oldest death that counts. */
size_t storm_at_risk(const struct storm *s);
/* One that died came back. */
void storm_return(struct storm *s, uint64_t now_ms);
/* A guard that another leader has put on goes on, with its whole time. */
void storm_resume(struct storm *s, const struct storm_rules *rules, uint64_t now_ms, uint64_t ttl_ms,
                  size_t at_risk);
/* When it is over, if nothing happens; UINT64_MAX: it is not on. */
uint64_t storm_end_ms(const struct storm *s);
/* It is over: what died is forgotten, so that letting go does not begin the next one. */
void storm_end(struct storm *s);
void storm_done(struct storm *s);

#endif
