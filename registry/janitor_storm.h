/* SPDX-License-Identifier: Apache-2.0
 * Storm detection for one group of instances: deaths are counted against what is usual, and the guard goes on
 * when they are a change. Counts, revisions and times in, verdicts out; which instances they are is
 * janitor_guard.c's business. Pure; integers only.
 *
 * A death is an instance in traffic whose session ended. It counts for the TTL of its session (at most
 * window_max_ms). The guard goes on when the deaths that count exceed the bar:
 *
 *   bar = max(least, percent of what was in traffic before the oldest of them, multiple * usual) * 2^raises
 *
 * usual   a decaying average of the deaths that count: each second it moves 1/128 of the way to them. While
 *         the guard is on, only deaths of sessions that were opened since enter it.
 * raises  each guard less than half of whose instances came back adds one, up to raises_max; one is taken
 *         back every raise_ms.
 *
 * Long before that the deaths are suspicious: more than an eighth of the bar, three times what is usual, and
 * three sessions. A storm's deaths are spread over the heartbeat interval of its clients; its first ones are
 * to wait for the others.
 *
 * While it is on, the guard holds the instances that were registered before it went on. The guard is over
 *   - hold_max_ms later at the latest;
 *   - as soon as no more are held than may die without a guard, and for one TTL none of them died or came
 *     back;
 *   - as soon as the deaths prove to be churn: more of them than the bar belong to sessions that were opened
 *     *after* the guard went on, so clients can register and go on dying. Besides, fewer than a tenth of
 * those that were held came back, or the average has come up to half of these deaths. They become the usual
 *     rate at once.
 * Eureka's self-preservation has one threshold (85 % of the expected renewals) and no end; see README.md. */
#ifndef REGISTRY_JANITOR_STORM_H
#define REGISTRY_JANITOR_STORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct storm_rules {
    size_t least;           /* 10 */
    unsigned percent;       /* 15 */
    unsigned multiple;      /* 4; 0 = what is usual is ignored */
    unsigned raises_max;    /* 2 */
    uint64_t raise_ms;      /* 600,000 */
    uint64_t window_max_ms; /* 60,000 */
    uint64_t hold_max_ms;   /* 300,000 */
};

struct storm_death {
    uint64_t ttl_ms; /* of its session */
    size_t at_risk;  /* in traffic, this one included */
    int64_t created; /* the instance's key was created at this revision */
    int64_t session;
    int64_t opened;   /* the session, at this one */
    int64_t revision; /* of the view, now */
};

/* What a server-run check says about an instance whose session ended. */
enum storm_verdict {
    STORM_UNKNOWN, /* nobody has checked it */
    STORM_ALIVE,   /* it accepts connections: held like an unknown one */
    STORM_REFUSED, /* it refuses connections: not held */
};

/* What a leader hands over to the next. */
struct storm_history {
    uint64_t usual; /* deaths in a window, rounded */
    uint64_t raises;
};

struct storm_deaths {
    uint64_t until_ms;          /* they count up to here */
    uint64_t since_ms;          /* the first of them */
    size_t count, at_risk_then; /* in traffic before it */
    size_t sessions;            /* that ended; one may be counted twice */
    size_t newcomers;           /* of count: sessions opened after the guard went on */
};

/* Valid when zeroed: nothing has died. */
struct storm {
    struct storm_deaths *deaths; /* by until_ms, none twice */
    size_t count, capacity;
    size_t in_window, newcomers, sessions; /* sums */
    int64_t last_session;
    bool has_begun;
    uint64_t begun_ms;    /* the lead was taken, and every lease got its whole TTL */
    uint64_t longest_ms;  /* the longest TTL that counts, not cut to window_max_ms */
    uint64_t usual;       /* in 1/STORM_ONE deaths */
    uint64_t averaged_ms; /* up to here */
    unsigned raises;
    uint64_t raise_until_ms; /* one of them is taken back then */

    /* As of the last death: a storm may be beginning; or they are what dies every day. */
    bool is_suspicious, is_everyday;
    bool is_on, is_churn;
    int64_t horizon;         /* it holds what was registered up to this revision */
    size_t held;             /* kept by the owner: held or about to be decided upon */
    size_t fallen, returned; /* since it went on: to be held; came back */
    size_t limit;            /* as many may die without a guard */
    size_t bar;              /* when it went on */
    uint64_t last_ms;        /* of the last death or return */
    uint64_t quiet_ms;       /* the longest TTL of this storm */
    uint64_t hold_until_ms;
};
#define STORM_ONE 1024

/* This member has become leader; history NULL: none is known. */
void storm_begin(struct storm *s, const struct storm_rules *rules, uint64_t now_ms,
                 const struct storm_history *history);
/* True: the guard went on with it. */
bool storm_death(struct storm *s, const struct storm_rules *rules, uint64_t now_ms,
                 const struct storm_death *death);
/* Does the guard hold an instance that was created at this revision? */
bool storm_holds(const struct storm *s, int64_t created, enum storm_verdict verdict);
/* In traffic before the oldest death that counts. */
size_t storm_at_risk(const struct storm *s);
/* One that died came back. */
void storm_return(struct storm *s, uint64_t now_ms);
/* A guard that another leader has put on goes on, with its whole time. */
void storm_resume(struct storm *s, const struct storm_rules *rules, uint64_t now_ms,
                  const struct storm_death *death);
/* When it is over, if nothing happens; UINT64_MAX: it is not on. */
uint64_t storm_end_ms(const struct storm *s);
/* It is over: what it held is forgotten, so that letting go does not begin the next one. */
void storm_end(struct storm *s, const struct storm_rules *rules, uint64_t now_ms);
/* Brings the average up to now. */
void storm_average(struct storm *s, const struct storm_rules *rules, uint64_t now_ms);
uint64_t storm_usual(const struct storm *s); /* deaths in a window, rounded up */
size_t storm_bar(const struct storm *s, const struct storm_rules *rules, uint64_t now_ms, size_t at_risk);
struct storm_history storm_history(const struct storm *s);
void storm_done(struct storm *s);

#endif
