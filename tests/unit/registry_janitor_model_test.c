/* SPDX-License-Identifier: Apache-2.0
 * Tests of the janitor's decisions against a slow model. The model has no heaps and no tickets, and looks at
 * everything in every tick of 100 ms. Usual sizes and established sessions do not count here:
 * registry_storm_test.c and registry_churn_test.c test both. Sessions end and return, instances come, change
 * and go, leaders too; answers are late, lost or refused. In each tick the plan gives exactly the actions
 * that are due in the model, and it has named this time as its next one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"
#include "registry/janitor_plan.h"

enum { TICK_MS = 100, TICKS = 3000, SUBJECTS = 60, SESSIONS = 24, SPACES = 2, DEATHS_MAX = 4096 };
#define NEVER UINT64_MAX

static const struct plan_rules rules = {
    .storm = {.least = 3, .percent = 15, .window_max_ms = 20000, .hold_max_ms = 30000},
    .decision_delay_ms = 1000,
    .decision_delay_max_ms = 1000,
    .recheck_ms = 700,
    .absent_max_ms = 40000};
static const uint64_t wall_start_ms = 1700000000000;

enum what { NOTHING, DYING, HELD, LOST, RETURNED };

struct subject {
    bool exists, is_guarded, is_either;
    int session; /* 0 = none */
    enum instance_state state;
    unsigned grace_s, weight;
    int64_t revision, seen_revision;
    enum what what;
    bool does_count; /* for the guard */
    uint64_t at_ms, next_ms, ticket;
    uint64_t held_ms; /* since then it is protected, and no longer found so */
    /* The override. */
    int64_t override_revision, override_seen;
    uint64_t until_ms, absent_ms, override_next_ms, override_ticket;
};

struct space {
    bool is_on;
    size_t limit, deaths;
    uint64_t on_ms, hold_until_ms, last_ms, quiet_ms;
    struct {
        uint64_t at_ms, until_ms;
        size_t at_risk;
    } list[DEATHS_MAX];
};

struct answer {
    uint64_t at_ms, ticket;
    enum plan_outcome outcome;
};

struct world {
    struct catalog *catalog;
    struct plan *plan;
    uint64_t random, now_ms, wall_shift_ms;
    int64_t revision;
    bool does_lead;
    struct subject subjects[SUBJECTS];
    unsigned session_ttl_s[SESSIONS + 1]; /* 0 = not there */
    struct space spaces[SPACES];
    bool is_touched[SUBJECTS], did_end[SESSIONS + 1], did_begin[SESSIONS + 1];
    struct answer answers[256];
    size_t answer_count;
    unsigned given[8], storms, resumed, over;
};

static unsigned draw(struct world *w, unsigned n)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(w->random >> 33) % n;
}

static struct name name_of(enum name_kind kind, int subject)
{
    static char ids[SUBJECTS][8];
    snprintf(ids[subject], sizeof ids[subject], "i%02d", subject);
    return (struct name){kind,
                         slice_text(subject % SPACES ? "n1" : "n0"),
                         slice_text("g"),
                         slice_text(subject % 3 ? "a" : "b"),
                         slice_text(ids[subject]),
                         0};
}

static int subject_of(const struct catalog_instance *i)
{
    return (i->id.data[1] - '0') * 10 + i->id.data[2] - '0';
}

/* --- the model ----------------------------------------------------------------------------------------- */

static bool serves(const struct subject *s)
{
    bool has_override = s->override_revision != 0; /* weight 0, always */
    return s->exists && instance_state_serves(s->state) && s->weight && !has_override;
}

static size_t at_risk(const struct world *w, int space)
{
    size_t n = 0;
    for (int k = space; k < SUBJECTS; k += SPACES)
        n += serves(&w->subjects[k]) && w->subjects[k].session;
    return n;
}

static size_t held(const struct world *w, int space)
{
    size_t n = 0;
    for (int k = space; k < SUBJECTS; k += SPACES)
        n += w->subjects[k].what == HELD || (w->subjects[k].what == DYING && w->subjects[k].does_count);
    return n;
}

static size_t limit_of(size_t n)
{
    size_t share = n * rules.storm.percent / 100;
    return share > rules.storm.least ? share : rules.storm.least;
}

static enum what what_is(const struct world *w, const struct subject *s)
{
    enum what what = NOTHING;
    if (s->exists && s->session && w->session_ttl_s[s->session])
        what = s->is_guarded ? RETURNED : NOTHING;
    else if (s->exists && s->session)
        what = s->state == INSTANCE_LOST ? LOST : s->is_guarded ? HELD : DYING;
    return w->does_lead || what == RETURNED ? what : NOTHING;
}

static void guard_on(struct world *w, int space, size_t of)
{
    struct space *g = &w->spaces[space];
    g->is_on = true;
    g->limit = limit_of(of);
    g->on_ms = w->now_ms;
    g->hold_until_ms = w->now_ms + rules.storm.hold_max_ms;
    for (int k = space; k < SUBJECTS; k += SPACES) {
        struct subject *s = &w->subjects[k];
        if (s->what == DYING && s->does_count && !s->ticket)
            s->at_ms = s->next_ms = w->now_ms;
    }
}

static uint64_t window_ms(uint64_t ttl_ms)
{
    return ttl_ms < rules.storm.window_max_ms ? ttl_ms : rules.storm.window_max_ms;
}

/* Quiet is one TTL long, the longest of those that died since the last quiet time. */
static void note_ttl(struct world *w, struct space *g, uint64_t ttl_ms)
{
    bool is_alone = true;
    for (size_t n = 0; n < g->deaths; n++)
        is_alone = is_alone && g->list[n].until_ms <= w->now_ms;
    if (is_alone && !g->is_on)
        g->quiet_ms = 0;
    if (window_ms(ttl_ms) > g->quiet_ms)
        g->quiet_ms = window_ms(ttl_ms);
    g->last_ms = w->now_ms;
}

static void die(struct world *w, int k, uint64_t ttl_ms)
{
    struct space *g = &w->spaces[k % SPACES];
    struct subject *s = &w->subjects[k];
    s->at_ms = w->now_ms + rules.decision_delay_ms;
    s->does_count = serves(s);
    if (!s->does_count)
        return;
    size_t alive = 0, first = 0;
    uint64_t oldest_ms = NEVER;
    assert_true(g->deaths < DEATHS_MAX);
    note_ttl(w, g, ttl_ms);
    g->list[g->deaths].at_ms = w->now_ms;
    g->list[g->deaths].until_ms = w->now_ms + window_ms(ttl_ms);
    g->list[g->deaths++].at_risk = at_risk(w, k % SPACES);
    for (size_t n = 0; n < g->deaths; n++) {
        if (g->list[n].until_ms <= w->now_ms)
            continue;
        alive++;
        if (g->list[n].at_ms < oldest_ms || (g->list[n].at_ms == oldest_ms && g->list[n].at_risk > first))
            first = g->list[n].at_risk;
        oldest_ms = g->list[n].at_ms < oldest_ms ? g->list[n].at_ms : oldest_ms;
    }
    if (!g->is_on && alive > limit_of(first))
        guard_on(w, k % SPACES, first);
    if (g->is_on)
        s->at_ms = w->now_ms;
}

static void hold(struct world *w, int k, bool is_found, uint64_t ttl_ms)
{
    struct space *g = &w->spaces[k % SPACES];
    if (is_found) {
        note_ttl(w, g, ttl_ms);
        if (!g->is_on)
            guard_on(w, k % SPACES, at_risk(w, k % SPACES));
    }
    w->subjects[k].at_ms = g->is_on ? NEVER : w->now_ms;
    w->subjects[k].held_ms = is_found ? NEVER : w->now_ms;
}

/* The document says protected, and the guard starts, in one batch: released or protected, by their order. The
 * plan's next action on it shows which. */
static void note_either(struct world *w)
{
    for (int k = 0; k < SUBJECTS; k++) {
        struct subject *s = &w->subjects[k];
        const struct space *g = &w->spaces[k % SPACES];
        bool is_new = s->held_ms == w->now_ms && g->is_on && g->on_ms == w->now_ms;
        s->is_either = s->what == HELD && (s->is_either || is_new);
    }
}

static void see(struct world *w, int k, unsigned ttl_s)
{
    struct subject *s = &w->subjects[k];
    enum what before = s->what, now = what_is(w, s);
    if ((now == NOTHING || now == RETURNED) && (before == HELD || (before == DYING && s->does_count)))
        w->spaces[k % SPACES].last_ms = w->now_ms;
    if (now == before) {
        if (s->revision != s->seen_revision) {
            s->next_ms = s->at_ms;
            s->ticket = 0;
        }
    } else {
        s->what = now;
        s->ticket = 0;
        s->does_count = false;
        if (now == DYING)
            die(w, k, ttl_s * 1000);
        else if (now == HELD)
            hold(w, k, before == NOTHING, ttl_s * 1000);
        else
            s->at_ms = w->now_ms + (now == LOST ? s->grace_s * 1000 : 0);
        s->next_ms = s->at_ms;
    }
    s->seen_revision = s->revision;
}

static void see_override(struct world *w, int k)
{
    struct subject *s = &w->subjects[k];
    bool is_absent = s->override_revision && !s->exists;
    uint64_t absent_ms = !is_absent ? NEVER : s->absent_ms == NEVER ? w->now_ms : s->absent_ms;
    if (absent_ms != s->absent_ms || s->override_revision != s->override_seen)
        s->override_ticket = s->override_next_ms = 0;
    s->absent_ms = absent_ms;
    s->override_seen = s->override_revision;
}

/* After a batch, in the catalog's order: ended sessions, returned sessions, changes. ttl_s 20 is the
 * documents' own. */
static void see_batch(struct world *w, const unsigned *ttl_before_s)
{
    for (int k = 0; k < SUBJECTS; k++) {
        int session = w->subjects[k].exists ? w->subjects[k].session : 0;
        if (session && w->did_end[session])
            see(w, k, ttl_before_s[session]);
        else if (session && w->did_begin[session])
            see(w, k, 0);
    }
    for (int k = 0; k < SUBJECTS; k++) {
        if (!w->is_touched[k])
            continue;
        see(w, k, 20);
        see_override(w, k);
    }
    note_either(w);
}

static bool is_override_over(const struct world *w, const struct subject *s, uint64_t wall_ms)
{
    return (s->until_ms && s->until_ms <= wall_ms) ||
           (s->absent_ms != NEVER && w->now_ms - s->absent_ms >= rules.absent_max_ms);
}

/* The actions that are due now: as kind + 1, per subject; overrides apart. */
static void expect(struct world *w, int *ret_kinds, bool *ret_overrides)
{
    for (int n = 0; n < SPACES; n++) {
        struct space *g = &w->spaces[n];
        uint64_t quiet_ms = g->last_ms + g->quiet_ms;
        uint64_t end_ms = held(w, n) > g->limit || quiet_ms > g->hold_until_ms ? g->hold_until_ms : quiet_ms;
        if (!w->does_lead || !g->is_on || w->now_ms < end_ms)
            continue;
        g->is_on = false;
        g->deaths = 0;
        g->quiet_ms = 0;
        for (int k = n; k < SUBJECTS; k += SPACES)
            if (w->subjects[k].what == HELD) {
                w->subjects[k].at_ms = w->subjects[k].next_ms = w->now_ms;
                w->subjects[k].ticket = 0;
            }
    }
    for (int k = 0; k < SUBJECTS; k++) {
        struct subject *s = &w->subjects[k];
        bool is_on = w->spaces[k % SPACES].is_on;
        ret_kinds[k] = 0;
        ret_overrides[k] = w->does_lead && s->override_revision && !s->override_ticket &&
                           s->override_next_ms <= w->now_ms &&
                           is_override_over(w, s, wall_start_ms + w->wall_shift_ms + w->now_ms);
        if (!w->does_lead || s->what == NOTHING || s->ticket || s->next_ms > w->now_ms)
            continue;
        ret_kinds[k] = 1 + (s->what == DYING  ? is_on && s->does_count ? PLAN_GUARD : PLAN_LOSE
                            : s->what == HELD ? PLAN_LOSE
                            : s->what == LOST ? PLAN_DELETE
                                              : PLAN_UNGUARD);
    }
}

static void answer_model(struct world *w, uint64_t ticket, enum plan_outcome outcome)
{
    uint64_t next_ms = outcome == PLAN_UNKNOWN ? w->now_ms : w->now_ms + rules.recheck_ms;
    for (int k = 0; k < SUBJECTS; k++) {
        struct subject *s = &w->subjects[k];
        if (s->ticket == ticket) {
            s->ticket = 0;
            s->next_ms = next_ms;
        }
        if (s->override_ticket == ticket) {
            s->override_ticket = 0;
            s->override_next_ms = next_ms;
        }
    }
}

/* --- both worlds ------------------------------------------------------------------------------------ */

static void on_changed(void *arg, const struct catalog_change *change)
{
    struct world *w = arg;
    plan_changed(w->plan, change, w->now_ms);
}

static void on_gone(void *arg, struct catalog_session *session)
{
    struct world *w = arg;
    plan_session_gone(w->plan, session, w->now_ms);
}

static void on_back(void *arg, struct catalog_session *session)
{
    struct world *w = arg;
    plan_session_back(w->plan, session, w->now_ms);
}

static void on_storm(void *arg, struct slice ns, size_t died, size_t of, bool is_resumed)
{
    struct world *w = arg;
    assert_true(is_resumed || died > limit_of(of));
    assert_true(w->spaces[ns.data[1] - '0'].is_on || !is_resumed);
    w->storms += !is_resumed;
    w->resumed += is_resumed;
}

static void on_storm_over(void *arg, struct slice ns, size_t count)
{
    (void)ns;
    (void)count;
    ((struct world *)arg)->over++;
}

static void begin(struct world *w, unsigned *ret_ttl_s)
{
    memcpy(ret_ttl_s, w->session_ttl_s, sizeof w->session_ttl_s);
    memset(w->is_touched, 0, sizeof w->is_touched);
    memset(w->did_end, 0, sizeof w->did_end);
    memset(w->did_begin, 0, sizeof w->did_begin);
    catalog_begin(w->catalog, ++w->revision);
}

/* The model first: the plan's events read it. */
static void end(struct world *w, const unsigned *ttl_before_s)
{
    see_batch(w, ttl_before_s);
    catalog_end(w->catalog);
    while (plan_step(w->plan, w->now_ms, 2)) /* as the janitor's turn does */
        ;
}

static void put_subject(struct world *w, int k)
{
    struct subject *s = &w->subjects[k];
    char text[200], session[40] = "";
    struct name name = name_of(NAME_INSTANCE, k);
    s->exists = true;
    s->revision = w->revision;
    if (s->session)
        snprintf(session, sizeof session, ",\"session\":\"%x\"", (unsigned)s->session);
    snprintf(text, sizeof text,
             "{\"host\":\"h\",\"ttl\":20,\"weight\":%u,\"grace\":%u,\"state\":\"%s\",\"guarded\":%s%s}",
             s->weight, s->grace_s, instance_state_name(s->state), s->is_guarded ? "true" : "false", session);
    catalog_put(w->catalog, &name, slice_text(text), 1, w->revision);
    w->is_touched[k] = true;
}

static void delete_subject(struct world *w, int k)
{
    struct name name = name_of(NAME_INSTANCE, k);
    w->subjects[k].exists = false;
    catalog_delete(w->catalog, &name);
    w->is_touched[k] = true;
}

static void put_override(struct world *w, int k)
{
    struct buf text = {0};
    struct subject *s = &w->subjects[k];
    struct name name = name_of(NAME_OVERRIDE, k);
    uint64_t until_s = (wall_start_ms + w->now_ms) / 1000 + draw(w, 60);
    bool has_until = draw(w, 2);
    buf_add_text(&text, "{\"weight\":0,\"until\":\"");
    if (has_until)
        text_add_time(&text, (int64_t)until_s);
    buf_add_text(&text, "\"}");
    s->until_ms = has_until ? until_s * 1000 : 0;
    s->override_revision = w->revision;
    catalog_put(w->catalog, &name, buf_slice(&text), 1, w->revision);
    assert_int_equal(catalog_unreadable(w->catalog), 0);
    buf_done(&text);
    w->is_touched[k] = true;
}

static void delete_override(struct world *w, int k)
{
    struct name name = name_of(NAME_OVERRIDE, k);
    catalog_delete(w->catalog, &name);
    w->subjects[k].override_revision = 0;
    w->is_touched[k] = true;
}

static void begin_session(struct world *w, int id)
{
    char text[40];
    w->session_ttl_s[id] = 3 + draw(w, 30);
    snprintf(text, sizeof text, "{\"ttl\":%u}", w->session_ttl_s[id]);
    catalog_put(w->catalog, &(struct name){.kind = NAME_SESSION, .session = id}, slice_text(text), 1,
                w->revision);
    w->did_begin[id] = true;
}

static void end_session(struct world *w, int id)
{
    w->session_ttl_s[id] = 0;
    catalog_delete(w->catalog, &(struct name){.kind = NAME_SESSION, .session = id});
    w->did_end[id] = true;
}

/* A client registers, as its owner would write it. */
static void register_one(struct world *w, int k)
{
    struct subject *s = &w->subjects[k];
    int session = (int)draw(w, SESSIONS + 1);
    for (int n = 0; n < 8 && session && !w->session_ttl_s[session]; n++)
        session = 1 + (int)draw(w, SESSIONS);
    s->session = session;
    s->is_guarded = draw(w, 40) == 0;
    s->state = draw(w, 6) ? INSTANCE_UP : (enum instance_state)draw(w, INSTANCE_STATES);
    s->grace_s = draw(w, 8);
    s->weight = draw(w, 8) ? 100 : 0;
    put_subject(w, k);
}

static void change_one(struct world *w)
{
    int k = (int)draw(w, SUBJECTS);
    if (w->is_touched[k])
        return; /* a revision changes a key once */
    if (draw(w, 5) == 0)
        put_override(w, k);
    else if (draw(w, 8) == 0 && w->subjects[k].override_revision)
        delete_override(w, k);
    else if (draw(w, 6) == 0 && w->subjects[k].exists)
        delete_subject(w, k);
    else
        register_one(w, k);
}

static void change_session(struct world *w)
{
    int id = 1 + (int)draw(w, SESSIONS);
    if (w->did_end[id] || w->did_begin[id])
        return;
    if (!w->session_ttl_s[id])
        begin_session(w, id);
    else if (draw(w, 3) == 0)
        end_session(w, id);
}

/* A whole part of the network is cut off. */
static void storm(struct world *w)
{
    for (int id = 1; id <= SESSIONS; id++)
        if (w->session_ttl_s[id] && !w->did_end[id] && !w->did_begin[id] && draw(w, 3))
            end_session(w, id);
}

static void random_batch(struct world *w)
{
    unsigned ttl_s[SESSIONS + 1];
    begin(w, ttl_s);
    if (draw(w, 60) == 0)
        storm(w);
    for (unsigned n = draw(w, 3); n-- > 0;)
        change_one(w);
    for (unsigned n = draw(w, 3); n-- > 0;)
        change_session(w);
    end(w, ttl_s);
}

static void change_leader(struct world *w)
{
    w->does_lead = !w->does_lead;
    memset(w->spaces, 0, sizeof w->spaces);
    for (int k = 0; k < SUBJECTS; k++) {
        struct subject *s = &w->subjects[k];
        if (s->override_ticket)
            s->override_next_ms = w->now_ms;
        s->ticket = s->override_ticket = 0;
        s->next_ms = w->now_ms;
        if (s->what != RETURNED)
            s->what = NOTHING;
    }
    for (int k = 0; w->does_lead && k < SUBJECTS; k++)
        see(w, k, 20);
    plan_lead(w->plan, w->does_lead, w->now_ms);
}

/* --- actions ------------------------------------------------------------------------------------------- */

struct taken {
    enum plan_kind kind;
    int subject;
    uint64_t ticket;
    int64_t revision;
    int session;
};

static size_t take(struct world *w, struct taken *ret_list)
{
    struct plan_action a;
    int kinds[SUBJECTS];
    bool overrides[SUBJECTS];
    size_t count = 0;
    uint64_t wall_ms = wall_start_ms + w->wall_shift_ms + w->now_ms;
    bool is_asked = plan_wake_ms(w->plan, w->now_ms, wall_ms) <= w->now_ms;
    expect(w, kinds, overrides);
    for (int class = 0; is_asked && class < PLAN_CLASSES; class ++)
        while (plan_next(w->plan, (enum plan_class) class, w->now_ms, wall_ms, &a)) {
            int k = subject_of(a.instance);
            assert_int_equal(class == PLAN_DELETES, a.kind == PLAN_DELETE || a.kind == PLAN_END_OVERRIDE);
            if (a.kind == PLAN_END_OVERRIDE) {
                assert_true(overrides[k]);
                overrides[k] = false;
                w->subjects[k].override_ticket = a.ticket;
            } else {
                if (w->subjects[k].is_either && !kinds[k] && a.kind == PLAN_LOSE) {
                    w->subjects[k].at_ms = w->subjects[k].next_ms = w->now_ms;
                    kinds[k] = 1 + PLAN_LOSE;
                }
                assert_int_equal(kinds[k], 1 + a.kind);
                kinds[k] = 0;
                w->subjects[k].ticket = a.ticket;
                assert_int_equal(a.session, a.kind == PLAN_UNGUARD ? 0 : w->subjects[k].session);
            }
            w->given[a.kind]++;
            ret_list[count++] = (struct taken){a.kind, k, a.ticket, a.revision, (int)a.session};
        }
    for (int k = 0; k < SUBJECTS; k++) {
        if (kinds[k] && w->subjects[k].is_either)
            w->subjects[k].at_ms = w->subjects[k].next_ms = NEVER, kinds[k] = 0;
        assert_int_equal(kinds[k], 0); /* no due action was left out */
        assert_false(overrides[k]);
        w->subjects[k].is_either = w->subjects[k].is_either && !is_asked;
    }
    return count;
}

/* As the store does: the compared values must still be the same. */
static bool apply(struct world *w, const struct taken *t)
{
    struct subject *s = &w->subjects[t->subject];
    bool is_override = t->kind == PLAN_END_OVERRIDE;
    unsigned ttl_s[SESSIONS + 1];
    if (is_override ? s->override_revision != t->revision : !s->exists || s->revision != t->revision)
        return false;
    if (t->session && w->session_ttl_s[t->session])
        return false;
    begin(w, ttl_s);
    if (is_override) {
        delete_override(w, t->subject);
    } else if (t->kind == PLAN_DELETE) {
        assert_int_equal(s->state, INSTANCE_LOST);
        delete_subject(w, t->subject);
    } else {
        s->state = t->kind == PLAN_LOSE ? INSTANCE_LOST : s->state;
        s->is_guarded = t->kind == PLAN_GUARD;
        put_subject(w, t->subject);
    }
    end(w, ttl_s);
    return true;
}

static void answer(struct world *w, uint64_t ticket, enum plan_outcome outcome)
{
    if (draw(w, 3) == 0 && w->answer_count < sizeof w->answers / sizeof *w->answers) {
        w->answers[w->answer_count++] =
            (struct answer){w->now_ms + TICK_MS * (1 + draw(w, 20)), ticket, outcome};
        return;
    }
    answer_model(w, ticket, outcome);
    plan_done(w->plan, ticket, outcome, w->now_ms);
}

static void late_answers(struct world *w)
{
    for (size_t n = 0; n < w->answer_count;) {
        struct answer a = w->answers[n];
        if (a.at_ms > w->now_ms) {
            n++;
            continue;
        }
        w->answers[n] = w->answers[--w->answer_count];
        answer_model(w, a.ticket, a.outcome);
        plan_done(w->plan, a.ticket, a.outcome, w->now_ms);
    }
}

static void act(struct world *w)
{
    struct taken list[2 * SUBJECTS];
    size_t count = take(w, list);
    for (size_t n = 0; n < count; n++) {
        bool is_applied = false;
        if (draw(w, 10) == 0)
            random_batch(w);
        if (draw(w, 8))
            is_applied = apply(w, &list[n]);
        bool is_known = draw(w, 8);
        answer(w, list[n].ticket, !is_known ? PLAN_UNKNOWN : is_applied ? PLAN_DONE : PLAN_REFUSED);
    }
}

static void run(uint64_t seed, unsigned *ret_given)
{
    struct world *w = mem_new(sizeof *w);
    const struct catalog_events events = {on_changed, on_gone, on_back, w, NULL};
    const struct plan_events storms = {on_storm, on_storm_over, w};
    w->random = seed;
    for (int k = 0; k < SUBJECTS; k++)
        w->subjects[k].absent_ms = NEVER;
    w->catalog = catalog_new(&events);
    w->plan = plan_new(w->catalog, &rules, &storms);
    for (int tick = 0; tick < TICKS; tick++) {
        if (tick == 5 || draw(w, 400) == 0)
            change_leader(w);
        if (draw(w, 4) == 0)
            random_batch(w);
        if (draw(w, 200) == 0)
            w->wall_shift_ms = draw(w, 60) * 1000;
        late_answers(w);
        act(w);
        assert_true(plan_held(w->plan) <= SUBJECTS);
        w->now_ms += TICK_MS;
    }
    for (int n = 0; n <= PLAN_END_OVERRIDE; n++)
        ret_given[n] += w->given[n];
    ret_given[5] += w->storms;
    ret_given[6] += w->resumed;
    ret_given[7] += w->over;
    plan_free(w->plan);
    catalog_free(w->catalog);
    mem_free(w);
}

static void test_random(void **state)
{
    (void)state;
    unsigned given[8] = {0};
    const char *seeds = getenv("SEEDS");
    for (uint64_t seed = 1; seed <= (uint64_t)(seeds ? atoi(seeds) : 12); seed++)
        run(seed, given);
    print_message("lose %u guard %u unguard %u delete %u end-override %u storms %u resumed %u over %u\n",
                  given[0], given[1], given[2], given[3], given[4], given[5], given[6], given[7]);
    for (int n = 0; n < 8; n++)
        assert_true(given[n] > 10); /* all of it happened */
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
