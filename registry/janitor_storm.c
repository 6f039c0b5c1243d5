/* SPDX-License-Identifier: Apache-2.0
 * Storm detection; see janitor_storm.h. The times at which deaths stop counting are rounded up to STEP_MS:
 * there are at most window_max_ms / STEP_MS of them, however many die. */
#include "registry/janitor_storm.h"

#include <string.h>

#include "base/mem.h"
#include "base/mutant.h"

#define STEP_MS             100
#define SECOND_MS           1000
#define USUAL_SECONDS       128 /* the average's time constant */
#define RETURNED_OF_HELD    10  /* fewer returns than 1 of so many held instances: it may be churn */
#define SUSPICIOUS_OF_BAR   8
#define SUSPICIOUS_OF_USUAL 3
#define SUSPICIOUS_SESSIONS 3
#define REARM_SLACK_MS      5000 /* leases end in steps, and the log adds a delay */

static uint64_t shorter(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* --- deaths that count -------------------------------------------------------------------------------- */

static void expire_deaths(struct storm *s, uint64_t now_ms)
{
    size_t n = 0;
    while (n < s->count && s->deaths[n].until_ms <= now_ms) {
        s->in_window -= s->deaths[n].count;
        s->sessions -= s->deaths[n].sessions;
        s->newcomers -= s->deaths[n++].newcomers;
    }
    if (!n)
        return;
    s->count -= n;
    memmove(s->deaths, s->deaths + n, s->count * sizeof *s->deaths);
}

/* The entry of the deaths that count up to until_ms, created if there is none; nearly always the last one. */
static struct storm_deaths *janitor_storm_place_of(struct storm *s, uint64_t until_ms)
{
    size_t at = s->count;
    while (at > 0 && s->deaths[at - 1].until_ms > until_ms)
        at--;
    if (at > 0 && s->deaths[at - 1].until_ms == until_ms)
        return &s->deaths[at - 1];
    if (s->count == s->capacity) {
        s->capacity = s->capacity ? s->capacity * 2 : 16;
        s->deaths = mem_resize(s->deaths, s->capacity * sizeof *s->deaths);
    }
    memmove(s->deaths + at + 1, s->deaths + at, (s->count - at) * sizeof *s->deaths);
    s->count++;
    s->deaths[at] = (struct storm_deaths){.until_ms = until_ms, .since_ms = UINT64_MAX};
    return &s->deaths[at];
}

static bool is_before(const struct storm_deaths *a, uint64_t since_ms, size_t at_risk)
{
    return a->since_ms != since_ms ? a->since_ms < since_ms : a->at_risk_then >= at_risk;
}

static void janitor_storm_add(struct storm *s, uint64_t now_ms, uint64_t counts_ms,
                              const struct storm_death *death)
{
    struct storm_deaths *d =
        janitor_storm_place_of(s, (now_ms + counts_ms + STEP_MS - 1) / STEP_MS * STEP_MS);
    bool is_newcomer = s->is_on && death->opened > s->horizon;
    bool is_other = !s->in_window || death->session != s->last_session;
    if (!is_before(d, now_ms, death->at_risk)) {
        d->since_ms = now_ms;
        d->at_risk_then = death->at_risk;
    }
    s->last_session = death->session;
    d->sessions += is_other;
    s->sessions += is_other;
    d->count++;
    d->newcomers += is_newcomer;
    s->in_window++;
    s->newcomers += is_newcomer;
}

size_t storm_at_risk(const struct storm *s)
{
    uint64_t since_ms = UINT64_MAX;
    size_t at_risk = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (!is_before(&s->deaths[i], since_ms, at_risk))
            continue;
        since_ms = s->deaths[i].since_ms;
        at_risk = s->deaths[i].at_risk_then;
    }
    return at_risk;
}

/* --- what is usual ---------------------------------------------------------------------------------- */

/* Moves the average by one second. It rounds down, so that without deaths the average reaches 0. */
static uint64_t approach(uint64_t from, uint64_t to)
{
    if (to > from)
        return from + (to - from) / USUAL_SECONDS;
    return from - (from - to + USUAL_SECONDS - 1) / USUAL_SECONDS;
}

/* Needs at most a few thousand steps, however long ago the last call was: then the average is 0. */
void storm_average(struct storm *s, const struct storm_rules *rules, uint64_t now_ms)
{
    if (!s->has_begun)
        storm_begin(s, rules, now_ms, NULL);
    while (s->averaged_ms + SECOND_MS <= now_ms) {
        s->averaged_ms += SECOND_MS;
        expire_deaths(s, s->averaged_ms);
        size_t counts = s->is_on ? s->newcomers : s->in_window;
        if (!counts && !s->usual) {
            s->averaged_ms = now_ms;
            break;
        }
        s->usual = approach(s->usual, (uint64_t)counts * STORM_ONE);
    }
    expire_deaths(s, now_ms);
    for (; s->raises && s->raise_until_ms <= now_ms; s->raises--)
        s->raise_until_ms += rules->raise_ms;
}

uint64_t storm_usual(const struct storm *s)
{
    return (s->usual + STORM_ONE - 1) / STORM_ONE;
}

/* A new leader gives every lease its whole TTL. So the deaths of up to one TTL come together after that
 * TTL, and count for one more window: twice the usual number, and more where the TTL is longer than a
 * window. */
static uint64_t usual_now(const struct storm *s, const struct storm_rules *rules, uint64_t now_ms)
{
    if (now_ms - s->begun_ms > s->longest_ms * 2 + REARM_SLACK_MS)
        return s->usual;
    return s->usual * (2 + s->longest_ms / rules->window_max_ms);
}

static size_t limit_of(const struct storm_rules *rules, size_t at_risk)
{
    size_t share = at_risk * rules->percent / 100;
    return share > rules->least ? share : rules->least;
}

size_t storm_bar(const struct storm *s, const struct storm_rules *rules, uint64_t now_ms, size_t at_risk)
{
    size_t bar = limit_of(rules, at_risk);
    uint64_t usual = (usual_now(s, rules, now_ms) * rules->multiple + STORM_ONE - 1) / STORM_ONE;
    if (usual > bar && !MUTANT(JANITOR_STORM_USUAL_IGNORED))
        bar = usual;
    return bar << (MUTANT(JANITOR_STORM_NOT_RAISED) ? 0 : s->raises);
}

/* --- the guard -------------------------------------------------------------------------------------- */

static void janitor_storm_go_on(struct storm *s, const struct storm_rules *rules, uint64_t now_ms,
                                size_t at_risk, int64_t revision)
{
    s->bar = storm_bar(s, rules, now_ms, at_risk);
    s->limit = limit_of(rules, at_risk);
    s->is_on = true;
    s->is_churn = s->is_suspicious = s->is_everyday = false;
    s->horizon = revision;
    s->fallen = s->held; /* dying instances that wait for the decision */
    s->returned = s->newcomers = 0;
    for (size_t i = 0; i < s->count; i++)
        s->deaths[i].newcomers = 0;
    s->hold_until_ms = now_ms + rules->hold_max_ms;
}

/* Prepares for a death at now_ms. Returns the time for which the death counts. */
static uint64_t janitor_storm_touch(struct storm *s, const struct storm_rules *rules, uint64_t now_ms,
                                    uint64_t ttl_ms)
{
    uint64_t counts_ms = shorter(ttl_ms, rules->window_max_ms);
    storm_average(s, rules, now_ms);
    if (!s->count && !s->is_on)
        s->quiet_ms = s->longest_ms = 0; /* the values are of deaths that do not count any more */
    if (counts_ms > s->quiet_ms)
        s->quiet_ms = counts_ms;
    if (ttl_ms > s->longest_ms)
        s->longest_ms = ttl_ms;
    return counts_ms;
}

/* True: sessions that were opened after the guard set off die as the held ones did. So the network works,
 * and the deaths are usual. Where the same instances come back and die again, the average must rise first. */
static bool is_churn(const struct storm *s)
{
    bool has_no_returns = s->returned * RETURNED_OF_HELD < s->fallen;
    return s->newcomers > s->bar && (has_no_returns || storm_usual(s) * 2 >= s->newcomers);
}

bool storm_death(struct storm *s, const struct storm_rules *rules, uint64_t now_ms,
                 const struct storm_death *death)
{
    uint64_t counts_ms = janitor_storm_touch(s, rules, now_ms, death->ttl_ms);
    bool is_held = storm_holds(s, death->created, STORM_UNKNOWN);
    janitor_storm_add(s, now_ms, counts_ms, death);
    if (is_held || !s->is_on)
        s->last_ms = now_ms;
    s->fallen += is_held;
    if (s->is_on) {
        s->is_churn = s->is_churn || is_churn(s);
        return false;
    }
    size_t before = storm_at_risk(s);
    size_t bar = storm_bar(s, rules, now_ms, before);
    uint64_t unusual = usual_now(s, rules, now_ms) * SUSPICIOUS_OF_USUAL / STORM_ONE;
    s->is_suspicious = s->in_window * SUSPICIOUS_OF_BAR > bar && s->in_window > unusual &&
                       s->sessions >= SUSPICIOUS_SESSIONS;
    s->is_everyday = rules->multiple && !s->is_suspicious && s->in_window <= bar &&
                     storm_usual(s) >= limit_of(rules, before);
    if (s->in_window <= bar + MUTANT(JANITOR_STORM_LATE))
        return false;
    janitor_storm_go_on(s, rules, now_ms, before, death->revision);
    s->fallen++;
    return true;
}

bool storm_holds(const struct storm *s, int64_t created, enum storm_verdict verdict)
{
    return s->is_on && created <= s->horizon && verdict != STORM_REFUSED;
}

void storm_return(struct storm *s, uint64_t now_ms)
{
    s->last_ms = now_ms;
    s->returned += s->is_on;
}

void storm_resume(struct storm *s, const struct storm_rules *rules, uint64_t now_ms,
                  const struct storm_death *death)
{
    janitor_storm_touch(s, rules, now_ms, death->ttl_ms);
    s->last_ms = now_ms;
    if (!s->is_on)
        janitor_storm_go_on(s, rules, now_ms, death->at_risk, death->revision);
    s->fallen++;
}

uint64_t storm_end_ms(const struct storm *s)
{
    if (!s->is_on)
        return UINT64_MAX;
    if (MUTANT(JANITOR_STORM_OPEN) && s->held)
        return UINT64_MAX;
    if (s->is_churn)
        return 0;
    return s->held > s->limit ? s->hold_until_ms : shorter(s->hold_until_ms, s->last_ms + s->quiet_ms);
}

/* Drops the deaths that the guard held. The others go on counting, as usual deaths. */
static void drop_held_deaths(struct storm *s)
{
    size_t kept = 0;
    s->in_window = s->newcomers;
    s->sessions = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (!s->deaths[i].newcomers)
            continue;
        s->deaths[kept] = s->deaths[i];
        s->deaths[kept].count = s->deaths[kept].newcomers;
        s->deaths[kept].sessions = 0;
        s->deaths[kept++].newcomers = 0;
    }
    s->count = kept;
    s->newcomers = 0;
}

void storm_end(struct storm *s, const struct storm_rules *rules, uint64_t now_ms)
{
    storm_average(s, rules, now_ms);
    if (s->returned * 2 < s->fallen) {
        s->raises += s->raises < rules->raises_max;
        s->raise_until_ms = now_ms + rules->raise_ms;
    }
    if (s->is_churn && s->usual < (uint64_t)s->in_window * STORM_ONE)
        s->usual = (uint64_t)s->in_window * STORM_ONE;
    s->is_on = s->is_churn = false;
    if (MUTANT(JANITOR_STORM_AGAIN))
        return;
    drop_held_deaths(s);
    if (!s->count)
        s->quiet_ms = s->longest_ms = 0;
}

/* --- the whole -------------------------------------------------------------------------------------- */

void storm_begin(struct storm *s, const struct storm_rules *rules, uint64_t now_ms,
                 const struct storm_history *history)
{
    s->has_begun = true;
    s->begun_ms = s->averaged_ms = now_ms;
    if (history && !MUTANT(JANITOR_STORM_USUAL_LOST)) {
        s->usual = history->usual * STORM_ONE;
        s->raises = (unsigned)shorter(history->raises, rules->raises_max);
        s->raise_until_ms = now_ms + rules->raise_ms;
    }
}

struct storm_history storm_history(const struct storm *s)
{
    return (struct storm_history){(s->usual + STORM_ONE / 2) / STORM_ONE, s->raises};
}

void storm_done(struct storm *s)
{
    mem_free(s->deaths);
    *s = (struct storm){0};
}
