/* SPDX-License-Identifier: Apache-2.0
 * Storm detection for one group of instances: deaths are compared with the usual number, and a guard sets
 * off when they are a change. Counts, revisions and times in; verdicts out. janitor_guard.c knows the
 * instances. Pure; integers only.
 *
 * A death is an instance in traffic whose session ended. It counts for the TTL of its session (at most
 * window_max_ms). The guard sets off when the deaths that count exceed the threshold, the bar:
 *
 *   bar = max(least, percent of the instances in traffic before the oldest of them, multiple * usual) *
 *   2^raises
 *
 *   usual   a decaying average of the deaths that count: each second it moves 1/128 of the way to them.
 *           While the guard is on, only deaths of sessions that were opened since enter the average
 *   raises  each guard less than half of whose instances came back adds one, up to raises_max; one is taken
 *           back every raise_ms
 *
 * Each value, and its reason:
 *
 *     a death counts for the TTL, 60 s at most  a network cut ends all sessions within one TTL
 *     least: 10 deaths                          a few clients of a small namespace may stop together
 *     percent: 15 % of the instances            Eureka keeps all instances below 85 % of the renewals
 *     multiple: 4 times the usual deaths        a leader change alone doubles them: each lease gets its whole
 *                                               TTL, and all leases of dead clients end together
 *     usual: 1/128 of the way each second       it follows a new rate in about two minutes; a storm of one
 *                                               window moves it by a tenth
 *     after a leader change: twice the usual    the same burst, also where leaders change twice. Once more
 *     deaths count as usual                     for each 60 s of TTL; for twice the longest TTL and 5 s
 *     raises: 2 at most, one less each 10 min   the last guard was wrong. At 60 % of the instances a guard
 *                                               sets off whatever happened before
 *     hold: 5 min at most                       dead instances in traffic cost every caller
 *
 * Deaths are suspicious far below the bar: more than 1/8 of it, three times the usual number, and of three
 * sessions. The deaths of a storm are spread over the heartbeat interval of its clients. So the first ones
 * wait for the others: TTL/3, at most 10 s.
 *
 * While it is on, the guard holds the instances that were registered before it set off. It ends
 *   - after hold_max_ms at the latest;
 *   - as soon as no more instances are held than may die without a guard, and for one TTL none of them died
 *     or came back;
 *   - as soon as the deaths prove to be churn. Then more deaths than the bar are of sessions that were opened
 *     *after* the guard set off: clients can register, and go on dying. Besides, fewer than 1/10 of the held
 *     instances came back, or the average has come up to half of these deaths. They become the usual rate
 *     at once.
 *
 * Eureka's self-preservation has one threshold (85 % of the expected renewals) and no end. */
#ifndef REGISTRY_JANITOR_STORM_H
#define REGISTRY_JANITOR_STORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct storm_rules {
    size_t least;           /* 10 */
    unsigned percent;       /* 15 */
    unsigned multiple;      /* 4; 0 = usual deaths are ignored */
    unsigned raises_max;    /* 2 */
    uint64_t raise_ms;      /* 600,000 */
    uint64_t window_max_ms; /* 60,000 */
    uint64_t hold_max_ms;   /* 300,000 */
};

struct storm_death {
    uint64_t ttl_ms; /* of its session */
    size_t at_risk;  /* instances in traffic, this one included */
    int64_t created; /* the instance's key was created at this revision */
    int64_t session;
    int64_t opened;   /* the session, at this one */
    int64_t revision; /* of the view, now */
};

/* The verdict of a server-run check on an instance whose session ended. */
enum storm_verdict {
    STORM_UNKNOWN, /* nobody has checked it */
    STORM_ALIVE,   /* it accepts connections: held like an unknown one */
    STORM_REFUSED, /* it refuses connections: not held */
};

/* The knowledge that a leader hands over to the next one. */
struct storm_history {
    uint64_t usual; /* deaths in a window, rounded */
    uint64_t raises;
};

struct storm_deaths {
    uint64_t until_ms;          /* they count up to here */
    uint64_t since_ms;          /* the first of them */
    size_t count, at_risk_then; /* in traffic before it */
    size_t sessions;            /* that ended; one may be counted twice */
    size_t newcomers;           /* of count: sessions opened after the guard set off */
};

/* Valid when zeroed: nothing has died. */
struct storm {
    struct storm_deaths *deaths; /* by until_ms, none twice */
    size_t count, capacity;
    size_t in_window, newcomers, sessions; /* sums */
    int64_t last_session;
    bool has_begun;
    uint64_t begun_ms;    /* this member became leader, and every lease got its whole TTL */
    uint64_t longest_ms;  /* the longest TTL that counts, not cut to window_max_ms */
    uint64_t usual;       /* in 1/STORM_ONE deaths */
    uint64_t averaged_ms; /* up to here */
    unsigned raises;
    uint64_t raise_until_ms; /* one of them is taken back then */

    /* As of the last death: a storm may be beginning; such deaths are usual. */
    bool is_suspicious, is_everyday;
    bool is_on, is_churn;
    int64_t horizon;         /* it holds what was registered up to this revision */
    size_t held;             /* kept by the owner: instances that are held or wait for the decision */
    size_t fallen, returned; /* since the guard set off: instances that were held; that came back */
    size_t limit;            /* so many instances may die without a guard */
    size_t bar;              /* the bar when the guard set off */
    uint64_t last_ms;        /* of the last death or return */
    uint64_t quiet_ms;       /* the longest TTL of this storm */
    uint64_t hold_until_ms;
};
#define STORM_ONE 1024

/* This member has become leader; history NULL: none is known. */
void storm_begin(struct storm *s, const struct storm_rules *rules, uint64_t now_ms,
                 const struct storm_history *history);
/* Counts a death. True: it set the guard off. */
bool storm_death(struct storm *s, const struct storm_rules *rules, uint64_t now_ms,
                 const struct storm_death *death);
/* True: the guard holds an instance that was created at this revision. */
bool storm_holds(const struct storm *s, int64_t created, enum storm_verdict verdict);
/* In traffic before the oldest death that counts. */
size_t storm_at_risk(const struct storm *s);
/* An instance that died came back. */
void storm_return(struct storm *s, uint64_t now_ms);
/* Continues a guard that another leader set off, for its whole time. */
void storm_resume(struct storm *s, const struct storm_rules *rules, uint64_t now_ms,
                  const struct storm_death *death);
/* The time when the guard ends if no event comes; UINT64_MAX: it is off. */
uint64_t storm_end_ms(const struct storm *s);
/* Ends the guard. The deaths of instances that it held are dropped, so that their release sets off no new
 * guard. */
void storm_end(struct storm *s, const struct storm_rules *rules, uint64_t now_ms);
/* Brings the average up to now. */
void storm_average(struct storm *s, const struct storm_rules *rules, uint64_t now_ms);
uint64_t storm_usual(const struct storm *s); /* deaths in a window, rounded up */
size_t storm_bar(const struct storm *s, const struct storm_rules *rules, uint64_t now_ms, size_t at_risk);
struct storm_history storm_history(const struct storm *s);
void storm_done(struct storm *s);

#endif
