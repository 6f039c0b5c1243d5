/* SPDX-License-Identifier: Apache-2.0
 * See janitor_storm.h. The ends of the deaths' times are rounded up to STEP_MS, so that there are at most
 * window_max_ms / STEP_MS of them, however many die. */
#include "registry/janitor_storm.h"

#include <string.h>

#include "base/mem.h"
#include "base/plant.h"

#define STEP_MS 100

static uint64_t shorter(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void forget_old(struct storm *s, uint64_t now_ms)
{
    size_t n = 0;
    while (n < s->count && s->deaths[n].until_ms <= now_ms)
        s->in_window -= s->deaths[n++].count;
    if (!n)
        return;
    s->count -= n;
    memmove(s->deaths, s->deaths + n, s->count * sizeof *s->deaths);
}

/* The place of those that count up to until_ms, made if there are none; nearly always the last. */
static struct storm_deaths *place_of(struct storm *s, uint64_t until_ms)
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

static void add(struct storm *s, uint64_t now_ms, uint64_t counts_ms, size_t at_risk)
{
    struct storm_deaths *d = place_of(s, (now_ms + counts_ms + STEP_MS - 1) / STEP_MS * STEP_MS);
    if (!is_before(d, now_ms, at_risk)) {
        d->since_ms = now_ms;
        d->at_risk_then = at_risk;
    }
    d->count++;
    s->in_window++;
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

static size_t limit_of(const struct storm_rules *rules, size_t at_risk)
{
    size_t share = at_risk * rules->percent / 100;
    return share > rules->least ? share : rules->least;
}

static void begin(struct storm *s, const struct storm_rules *rules, uint64_t now_ms, size_t at_risk)
{
    s->is_on = true;
    s->limit = limit_of(rules, at_risk);
    s->hold_until_ms = now_ms + rules->hold_max_ms;
}

/* Something died now; returns how long that counts. */
static uint64_t touch(struct storm *s, const struct storm_rules *rules, uint64_t now_ms, uint64_t ttl_ms)
{
    uint64_t counts_ms = shorter(ttl_ms, rules->window_max_ms);
    forget_old(s, now_ms);
    if (!s->count && !s->is_on)
        s->quiet_ms = 0; /* of another time */
    if (counts_ms > s->quiet_ms)
        s->quiet_ms = counts_ms;
    s->last_ms = now_ms;
    return counts_ms;
}

bool storm_death(struct storm *s, const struct storm_rules *rules, uint64_t now_ms, uint64_t ttl_ms,
                 size_t at_risk)
{
    uint64_t counts_ms = touch(s, rules, now_ms, ttl_ms);
    add(s, now_ms, counts_ms, at_risk);
    size_t before = storm_at_risk(s);
    if (s->is_on || s->in_window <= limit_of(rules, before) + PLANTED(JANITOR_STORM_LATE))
        return false;
    begin(s, rules, now_ms, before);
    return true;
}

void storm_return(struct storm *s, uint64_t now_ms)
{
    s->last_ms = now_ms;
}

void storm_resume(struct storm *s, const struct storm_rules *rules, uint64_t now_ms, uint64_t ttl_ms,
                  size_t at_risk)
{
    touch(s, rules, now_ms, ttl_ms);
    if (!s->is_on)
        begin(s, rules, now_ms, at_risk);
}

uint64_t storm_end_ms(const struct storm *s)
{
    if (!s->is_on)
        return UINT64_MAX;
    if (PLANTED(JANITOR_STORM_OPEN) && s->held)
        return UINT64_MAX;
    return s->held > s->limit ? s->hold_until_ms : shorter(s->hold_until_ms, s->last_ms + s->quiet_ms);
}

void storm_end(struct storm *s)
{
    s->is_on = false;
    if (PLANTED(JANITOR_STORM_AGAIN))
        return;
    s->count = s->in_window = 0;
    s->quiet_ms = 0;
}

void storm_done(struct storm *s)
{
    mem_free(s->deaths);
    *s = (struct storm){0};
}
