/* SPDX-License-Identifier: Apache-2.0
 * Tests of the storm guard in virtual time, with services that live on and batch jobs that register and
 * never deregister. Network cuts, frozen machines, new leaders and restarted members affect both. Leases end
 * as the store ends them, and the janitor's decisions are applied 100 ms later. Each second the test
 * measures:
 * - how many dead instances are in traffic (at most a tenth of all, after the start-up),
 * - how many living instances are not (none, ever).
 * A case is a row of the table; ten minutes of virtual time take a second. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "registry/janitor_plan.h"

enum {
    TICK_MS = 100,
    MEMBERS = 2,
    SERVICES_MAX = 1000, /* clients that live on */
    JOBS_MAX = 200000,
    BEAT_MS = 5000,
    SERVICE_TTL_S = 15,
    JOB_ID = 10000, /* ids of jobs begin here */
    EVENTS_MAX = 12,
    ELECTION_MS = 1000,
};

enum what {
    END,     /* of the list */
    CUT,     /* percent of the services cannot reach any member */
    HEAL,    /* all can, each within a heartbeat */
    THAW,    /* the same, all at once: a hypervisor continues */
    LEADER,  /* the other member leads; every lease gets its whole TTL */
    RESTART, /* the other member restarts, reads everything, and leads 1 s later */
    RESTART_ALL,
    RATE, /* jobs a second from now on */
    BURN, /* percent of the services die for good */
};

struct event {
    unsigned at_s;
    enum what what;
    unsigned value;
};

struct scenario {
    const char *name;
    unsigned services, jobs; /* jobs: a second */
    unsigned ttl_min_s, ttl_max_s;
    unsigned work_s; /* a job sends heartbeats this long */
    unsigned slots;  /* jobs reuse this many ids; 0 = each has its own */
    unsigned seconds;
    unsigned bound_from_s; /* from then on at most a tenth of the traffic is dead; 0 = not checked */
    unsigned trips_min, trips_max;
    struct event events[EVENTS_MAX];
};

struct client {
    int64_t session; /* 0 = not opened yet, or known to be gone */
    unsigned id, ttl_s;
    uint64_t expires_ms, beat_ms, ends_ms; /* ends: its work; then it dies without deregistering */
    bool is_cut, is_dead;
};

struct member {
    struct catalog *catalog;
    struct plan *plan;
    struct world *world;
};

struct world {
    const struct scenario *is;
    struct member members[MEMBERS];
    int leader, elected; /* leader -1 = none, elected is the next */
    uint64_t now_ms, elected_ms;
    int64_t revision, sessions;
    struct client services[SERVICES_MAX];
    struct client *jobs; /* those that have a lease */
    size_t job_count, last_id;
    unsigned rate;
    bool has_history;
    struct guard_history history;
    uint64_t random;
    unsigned trips, dead_max, dead_max_s, percent_max, out_max, history_writes;
};

static unsigned draw(struct world *w, unsigned n)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(w->random >> 33) % n;
}

/* --- both catalogs ---------------------------------------------------------------------------------- */

static void on_changed(void *arg, const struct catalog_change *change)
{
    struct member *m = arg;
    plan_changed(m->plan, change, m->world->now_ms);
}

static void on_gone(void *arg, struct catalog_session *session)
{
    struct member *m = arg;
    plan_session_gone(m->plan, session, m->world->now_ms);
}

static void on_back(void *arg, struct catalog_session *session)
{
    struct member *m = arg;
    plan_session_back(m->plan, session, m->world->now_ms);
}

static void on_storm(void *arg, struct slice ns, size_t died, size_t at_risk, bool is_resumed)
{
    struct member *m = arg;
    (void)ns;
    m->world->trips += !is_resumed;
    if (getenv("VERBOSE"))
        print_message("%6.1f storm %zu of %zu%s\n", (double)m->world->now_ms / 1000, died, at_risk,
                      is_resumed ? ", resumed" : "");
}

static void on_storm_over(void *arg, struct slice ns, size_t held)
{
    struct member *m = arg;
    (void)ns;
    if (getenv("VERBOSE"))
        print_message("%6.1f over, %zu released\n", (double)m->world->now_ms / 1000, held);
}

static void open_member(struct world *w, int k)
{
    struct member *m = &w->members[k];
    struct plan_rules rules = plan_rules_default();
    const struct catalog_events events = {on_changed, on_gone, on_back, m, NULL};
    const struct plan_events storms = {on_storm, on_storm_over, m};
    m->world = w;
    m->catalog = catalog_new(&events);
    m->plan = plan_new(m->catalog, &rules, &storms);
}

static void close_member(struct member *m)
{
    plan_free(m->plan);
    catalog_free(m->catalog);
}

static struct name name_of(enum name_kind kind, char *id_space, unsigned id)
{
    snprintf(id_space, 16, "i%06u", id);
    return (struct name){kind, slice_text("n"), slice_text("g"), slice_text("s"), slice_text(id_space), 0};
}

static void begin(struct world *w)
{
    w->revision++;
    for (int k = 0; k < MEMBERS; k++)
        catalog_begin(w->members[k].catalog, w->revision);
}

static void end(struct world *w)
{
    for (int k = 0; k < MEMBERS; k++) {
        catalog_end(w->members[k].catalog);
        while (plan_step(w->members[k].plan, w->now_ms, 100)) /* as each janitor's turn does */
            ;
    }
}

static struct catalog_instance *find(struct world *w, unsigned id)
{
    char space[16];
    struct name name = name_of(NAME_INSTANCE, space, id);
    struct catalog_service *s = catalog_find(w->members[0].catalog, name.ns, name.group, name.service);
    return s ? catalog_instance(s, name.id) : NULL;
}

static void put_instance(struct world *w, unsigned id, struct slice text)
{
    char space[16];
    struct name name = name_of(NAME_INSTANCE, space, id);
    const struct catalog_instance *i = find(w, id);
    int64_t created = i ? i->create_revision : w->revision;
    for (int k = 0; k < MEMBERS; k++)
        catalog_put(w->members[k].catalog, &name, text, created, w->revision);
}

static void register_client(struct world *w, struct client *c)
{
    char text[96];
    c->session = ++w->sessions;
    c->expires_ms = w->now_ms + c->ttl_s * 1000;
    c->beat_ms = w->now_ms + BEAT_MS;
    snprintf(text, sizeof text, "{\"ttl\":%u}", c->ttl_s);
    for (int k = 0; k < MEMBERS; k++)
        catalog_put(w->members[k].catalog, &(struct name){.kind = NAME_SESSION, .session = c->session},
                    slice_text(text), w->revision, w->revision);
    snprintf(text, sizeof text, "{\"host\":\"h\",\"session\":\"%llx\",\"ttl\":%u}",
             (unsigned long long)c->session, c->ttl_s);
    put_instance(w, c->id, slice_text(text));
}

static void end_session(struct world *w, int64_t session)
{
    for (int k = 0; k < MEMBERS; k++)
        catalog_delete(w->members[k].catalog, &(struct name){.kind = NAME_SESSION, .session = session});
}

static bool has_session(struct world *w, int64_t session)
{
    return session && catalog_session(w->members[0].catalog, session);
}

/* --- the janitor ---------------------------------------------------------------------------------------- */

struct taken {
    enum plan_kind kind;
    uint64_t ticket;
    unsigned id;
    int64_t revision, session;
};

static void apply(struct world *w, const struct taken *t)
{
    char space[16];
    struct buf text = {0};
    struct name name = name_of(NAME_INSTANCE, space, t->id);
    const struct catalog_instance *i = find(w, t->id);
    bool is_refused = !i || i->mod_revision != t->revision || has_session(w, t->session);
    if (!is_refused) {
        begin(w);
        if (t->kind == PLAN_DELETE) {
            for (int k = 0; k < MEMBERS; k++)
                catalog_delete(w->members[k].catalog, &name);
        } else {
            struct instance doc = *i->doc;
            doc.state = t->kind == PLAN_LOSE ? INSTANCE_LOST : doc.state;
            doc.is_guarded = t->kind == PLAN_GUARD;
            instance_write(&doc, &text);
            put_instance(w, t->id, buf_slice(&text));
        }
        end(w);
    }
    plan_done(w->members[w->leader].plan, t->ticket, is_refused ? PLAN_REFUSED : PLAN_DONE, w->now_ms);
    buf_done(&text);
}

/* "i17": 17. */
static unsigned number_of(struct slice id)
{
    unsigned n = 0;
    for (size_t k = 1; k < id.size; k++)
        n = n * 10 + (unsigned)(id.data[k] - '0');
    return n;
}

static void act(struct world *w)
{
    static struct taken list[20000];
    size_t count = 0;
    struct plan_action a;
    struct plan_handover next;
    struct plan *p = w->members[w->leader].plan;
    uint64_t wall_ms = 1700000000000 + w->now_ms;
    for (int class = 0; class < PLAN_CLASSES; class ++)
        while (count < sizeof list / sizeof *list &&
               plan_next(p, (enum plan_class) class, w->now_ms, wall_ms, &a))
            list[count++] =
                (struct taken){a.kind, a.ticket, number_of(a.instance->id), a.revision, a.session};
    for (size_t n = 0; n < count; n++)
        apply(w, &list[n]);
    while (plan_next_handover(p, w->now_ms, &next)) {
        w->has_history = !next.is_delete;
        w->history = next.history;
        w->history_writes++;
        for (int k = 0; k < MEMBERS; k++)
            plan_history(w->members[k].plan, next.ns, next.is_delete ? NULL : &w->history);
    }
}

/* --- members -------------------------------------------------------------------------------------------- */

static void copy_state(struct world *w, int from, int to)
{
    struct catalog *c = w->members[to].catalog;
    struct catalog_service *s =
        catalog_find(w->members[from].catalog, slice_text("n"), slice_text("g"), slice_text("s"));
    if (w->has_history)
        plan_history(w->members[to].plan, slice_text("n"), &w->history);
    catalog_begin_anew(c, w->revision);
    for (int64_t id = 1; id <= w->sessions; id++) {
        const struct catalog_session *one = catalog_session(w->members[from].catalog, id);
        char text[32];
        if (!one)
            continue;
        snprintf(text, sizeof text, "{\"ttl\":%u}", one->doc.ttl_s);
        catalog_put(c, &(struct name){.kind = NAME_SESSION, .session = id}, slice_text(text),
                    one->create_revision, one->mod_revision);
    }
    for (size_t n = 0; s && n < s->count; n++) {
        struct buf text = {0};
        struct name name = {NAME_INSTANCE, s->ns, s->group, s->name, s->list[n]->id, 0};
        instance_write(s->list[n]->doc, &text);
        catalog_put(c, &name, buf_slice(&text), s->list[n]->create_revision, s->list[n]->mod_revision);
        buf_done(&text);
    }
    catalog_end(c);
}

static void restart(struct world *w, int k)
{
    struct member old = w->members[k];
    open_member(w, k);
    copy_state(w, 1 - k, k);
    close_member(&old);
}

static void rearm(struct client *c, uint64_t now_ms)
{
    if (c->session && c->expires_ms)
        c->expires_ms = now_ms + c->ttl_s * 1000;
}

static void elect(struct world *w, int k)
{
    if (w->leader >= 0)
        plan_lead(w->members[w->leader].plan, false, w->now_ms);
    w->leader = -1;
    w->elected_ms = w->now_ms + ELECTION_MS;
    w->elected = k;
}

static void take_lead(struct world *w, int k)
{
    w->leader = k;
    w->elected_ms = 0;
    for (unsigned n = 0; n < w->is->services; n++)
        rearm(&w->services[n], w->now_ms);
    for (size_t n = 0; n < w->job_count; n++)
        rearm(&w->jobs[n], w->now_ms);
    plan_lead(w->members[k].plan, true, w->now_ms);
}

/* --- clients -------------------------------------------------------------------------------------------- */

static bool beat(struct world *w, struct client *c)
{
    if (!has_session(w, c->session))
        return false; /* 410 */
    c->expires_ms = w->now_ms + c->ttl_s * 1000;
    c->beat_ms = w->now_ms + BEAT_MS;
    return true;
}

static void services(struct world *w)
{
    for (unsigned n = 0; n < w->is->services; n++) {
        struct client *c = &w->services[n];
        if (c->is_dead || c->is_cut || w->now_ms < c->beat_ms || beat(w, c))
            continue;
        begin(w);
        register_client(w, c);
        end(w);
    }
}

static void start_jobs(struct world *w)
{
    unsigned count = w->rate / 10 + (w->now_ms / TICK_MS % 10 < w->rate % 10);
    if (!count)
        return;
    begin(w);
    for (; count; count--) {
        assert_true(w->job_count < JOBS_MAX);
        struct client *c = &w->jobs[w->job_count++];
        unsigned id = (unsigned)(w->is->slots ? w->last_id++ % w->is->slots : w->last_id++);
        *c = (struct client){.id = JOB_ID + id};
        c->ttl_s = w->is->ttl_min_s + draw(w, w->is->ttl_max_s - w->is->ttl_min_s + 1);
        c->ends_ms = w->now_ms + w->is->work_s * 1000;
        register_client(w, c);
    }
    end(w);
}

static void jobs_beat(struct world *w)
{
    for (size_t n = 0; n < w->job_count; n++) {
        struct client *c = &w->jobs[n];
        if (w->now_ms >= c->beat_ms && w->now_ms < c->ends_ms)
            beat(w, c);
    }
}

static bool does_expire(struct world *w, struct client *c)
{
    if (!c->session || !c->expires_ms || c->expires_ms > w->now_ms)
        return false;
    c->expires_ms = 0; /* once; the client does not know */
    end_session(w, c->session);
    return true;
}

static void expire(struct world *w)
{
    size_t kept = 0;
    begin(w);
    for (unsigned n = 0; n < w->is->services; n++)
        does_expire(w, &w->services[n]);
    for (size_t n = 0; n < w->job_count; n++)
        if (!does_expire(w, &w->jobs[n]))
            w->jobs[kept++] = w->jobs[n];
    w->job_count = kept;
    end(w);
}

/* --- events --------------------------------------------------------------------------------------------- */

static int next_leader(const struct world *w)
{
    return w->leader == 0 ? 1 : 0;
}

static void happen(struct world *w, const struct event *e)
{
    unsigned few = w->is->services * e->value / 100;
    int next;
    switch (e->what) {
    case CUT:
        for (unsigned n = 0; n < few; n++)
            w->services[n].is_cut = true;
        break;
    case BURN: /* the last ones: not those that are cut */
        for (unsigned n = 0; n < few; n++)
            w->services[w->is->services - 1 - n].is_dead = true;
        break;
    case HEAL:
    case THAW:
        for (unsigned n = 0; n < w->is->services; n++) {
            struct client *c = &w->services[n];
            if (c->is_cut)
                c->beat_ms = w->now_ms + (e->what == HEAL ? draw(w, BEAT_MS) : 0);
            c->is_cut = false;
        }
        break;
    case LEADER:
        elect(w, next_leader(w));
        break;
    case RESTART:
        restart(w, next_leader(w));
        elect(w, next_leader(w));
        break;
    case RESTART_ALL:
        next = next_leader(w);
        plan_lead(w->members[w->leader].plan, false, w->now_ms);
        w->leader = -1;
        restart(w, 0);
        restart(w, 1);
        elect(w, next);
        break;
    case RATE:
        w->rate = e->value;
        break;
    case END:
        break;
    }
}

static void measure(struct world *w)
{
    unsigned serving = 0, dead = 0, out = 0;
    struct catalog_service *s =
        catalog_find(w->members[0].catalog, slice_text("n"), slice_text("g"), slice_text("s"));
    for (size_t n = 0; s && n < s->count; n++) {
        const struct catalog_instance *i = s->list[n];
        bool serves = i->doc && catalog_effect(i).serves;
        unsigned id = number_of(i->id);
        bool is_alive = i->hangs_on && i->hangs_on->exists;
        is_alive = is_alive || (id < JOB_ID && !w->services[id].is_dead); /* cut off, or frozen */
        serving += serves;
        dead += serves && !is_alive;
    }
    for (unsigned n = 0; n < w->is->services; n++) {
        const struct catalog_instance *i = find(w, n);
        out += !w->services[n].is_dead && !(i && i->doc && catalog_effect(i).serves);
    }
    if (out > w->out_max)
        w->out_max = out;
    unsigned second = (unsigned)(w->now_ms / 1000);
    unsigned percent = serving ? dead * 100 / serving : 0;
    if (second >= w->is->bound_from_s && percent > w->percent_max) {
        w->percent_max = percent;
        w->dead_max_s = second;
        w->dead_max = dead;
    }
    if (getenv("VERBOSE") && second % 10 == 0)
        print_message("%6u s: %u in traffic, %u dead, %u living are out of traffic\n", second, serving, dead,
                      out);
}

static void tick(struct world *w)
{
    for (size_t n = 0; n < EVENTS_MAX && w->is->events[n].what != END; n++)
        if (w->is->events[n].at_s * 1000 == w->now_ms)
            happen(w, &w->is->events[n]);
    if (w->leader < 0 && w->elected_ms <= w->now_ms)
        take_lead(w, w->elected);
    if (w->leader >= 0) {
        services(w);
        jobs_beat(w);
        start_jobs(w);
        expire(w);
        act(w);
    }
    if (w->now_ms % 1000 == 0)
        measure(w);
    w->now_ms += TICK_MS;
}

static void begin_world(struct world *w, const struct scenario *is)
{
    w->is = is;
    w->random = 1;
    w->rate = is->jobs;
    w->jobs = mem_alloc(JOBS_MAX * sizeof *w->jobs);
    for (int k = 0; k < MEMBERS; k++)
        open_member(w, k);
    begin(w);
    for (unsigned n = 0; n < is->services; n++) {
        w->services[n] = (struct client){.id = n, .ttl_s = SERVICE_TTL_S};
        register_client(w, &w->services[n]);
        w->services[n].beat_ms = n * 37 % BEAT_MS;
    }
    end(w);
    take_lead(w, 0);
}

static bool run(const struct scenario *is)
{
    struct world *w = mem_new(sizeof *w);
    begin_world(w, is);
    while (w->now_ms < is->seconds * 1000)
        tick(w);
    bool is_right = w->out_max == 0 && (!is->bound_from_s || w->percent_max <= 10) &&
                    w->trips >= is->trips_min && w->trips <= is->trips_max;
    print_message("%s %-58s %2u trips; at most %u %% dead in traffic (%u, at %u s); %u living out; "
                  "%u histories\n",
                  is_right ? "  ok " : "WRONG", is->name, w->trips, w->percent_max, w->dead_max,
                  w->dead_max_s, w->out_max, w->history_writes);
    for (int k = 0; k < MEMBERS; k++)
        close_member(&w->members[k]);
    mem_free(w->jobs);
    mem_free(w);
    return is_right;
}

/* The service of the issue: 430 living ones, 60 jobs a second with TTLs of 3 to 15 s. */
#define CHURN .services = 430, .jobs = 60, .ttl_min_s = 3, .ttl_max_s = 15

static const struct scenario scenarios[] = {
    {"ten minutes of churn", CHURN, .seconds = 660, .bound_from_s = 60, .trips_max = 1},
    {"half an hour of churn, a leader every ten minutes", CHURN, .seconds = 1800, .bound_from_s = 60,
     .trips_max = 1, .events = {{600, LEADER, 0}, {1200, LEADER, 0}}},
    {"churn of one TTL", .services = 430, .jobs = 60, .ttl_min_s = 15, .ttl_max_s = 15, .seconds = 660,
     .bound_from_s = 60, .trips_max = 1, .events = {{300, LEADER, 0}}},
    {"churn of jobs that work for a minute and a half", .services = 430, .jobs = 20, .ttl_min_s = 3,
     .ttl_max_s = 15, .work_s = 90, .seconds = 900, .bound_from_s = 180, .trips_max = 2},
    {"churn that uses 800 ids again and again", .services = 430, .jobs = 40, .ttl_min_s = 3, .ttl_max_s = 15,
     .slots = 800, .seconds = 900, .bound_from_s = 240, .trips_max = 1},
    {"200 jobs a second", .services = 430, .jobs = 200, .ttl_min_s = 3, .ttl_max_s = 15, .seconds = 400,
     .bound_from_s = 60, .trips_max = 1},
    {"churn beside ten services", .services = 10, .jobs = 60, .ttl_min_s = 3, .ttl_max_s = 15, .seconds = 400,
     .bound_from_s = 60, .trips_max = 1},
    {"churn that grows and falls", CHURN, .seconds = 900, .bound_from_s = 60, .trips_max = 1,
     .events = {{200, RATE, 120}, {400, RATE, 30}, {600, RATE, 90}}},
    {"churn that stops and begins again", CHURN, .seconds = 900, .bound_from_s = 60, .trips_max = 1,
     .events = {{200, RATE, 0}, {320, RATE, 60}}},
    {"leaders that change during churn", CHURN, .seconds = 400, .bound_from_s = 60, .trips_max = 1,
     .events = {{120, LEADER, 0}, {130, LEADER, 0}, {200, LEADER, 0}, {300, LEADER, 0}}},
    {"a leader that has just started, during churn", CHURN, .seconds = 400, .bound_from_s = 60,
     .trips_max = 1, .events = {{120, RESTART, 0}, {240, RESTART, 0}}},
    {"all members start anew during churn", CHURN, .seconds = 400, .bound_from_s = 60, .trips_max = 1,
     .events = {{120, RESTART_ALL, 0}, {240, RESTART_ALL, 0}}},
    {"a cut of half", .services = 430, .seconds = 400, .trips_min = 1, .trips_max = 1,
     .events = {{100, CUT, 50}, {180, HEAL, 0}}},
    {"a cut of half of twelve minutes' old sessions by a new leader", .services = 430, .seconds = 1000,
     .trips_min = 1, .trips_max = 1, .events = {{700, LEADER, 0}, {720, CUT, 50}, {800, HEAL, 0}}},
    {"a cut of half when all have just started", .services = 430, .seconds = 400, .trips_min = 1,
     .trips_max = 1, .events = {{100, RESTART_ALL, 0}, {102, CUT, 50}, {180, HEAL, 0}}},
    {"a cut of half, and the leader changes meanwhile", .services = 430, .seconds = 500, .trips_min = 1,
     .trips_max = 2, .events = {{100, CUT, 50}, {117, LEADER, 0}, {180, HEAL, 0}}},
    {"a cut of half, and a member that has just started leads", .services = 430, .seconds = 500,
     .trips_min = 1, .trips_max = 2, .events = {{100, CUT, 50}, {117, RESTART, 0}, {180, HEAL, 0}}},
    {"a cut of everybody", .services = 430, .seconds = 400, .trips_min = 1, .trips_max = 1,
     .events = {{100, CUT, 100}, {180, HEAL, 0}}},
    {"a second cut half a minute after the first", .services = 430, .seconds = 500, .trips_min = 1,
     .trips_max = 2, .events = {{100, CUT, 50}, {150, HEAL, 0}, {190, CUT, 50}, {240, HEAL, 0}}},
    {"a cut in two steps", .services = 430, .seconds = 500, .trips_min = 1, .trips_max = 1,
     .events = {{100, CUT, 50}, {140, CUT, 100}, {220, HEAL, 0}}},
    {"a hypervisor that stands still for a minute", .services = 430, .seconds = 400, .trips_min = 1,
     .trips_max = 1, .events = {{100, CUT, 30}, {160, THAW, 0}}},
    {"a leader change alone", .services = 430, .seconds = 300,
     .events = {{100, LEADER, 0}, {110, LEADER, 0}}},
    {"all members start anew", .services = 430, .seconds = 300, .events = {{100, RESTART_ALL, 0}}},
    {"a cut of half during churn", CHURN, .seconds = 500, .bound_from_s = 60, .trips_min = 1, .trips_max = 2,
     .events = {{200, CUT, 50}, {280, HEAL, 0}}},
    {"a cut of a fifth during 200 jobs a second", .services = 430, .jobs = 200, .ttl_min_s = 3,
     .ttl_max_s = 15, .seconds = 500, .bound_from_s = 60, .trips_min = 2, .trips_max = 2,
     .events = {{200, CUT, 30}, {280, HEAL, 0}}},
    {"a cut of half during churn, and another leader", CHURN, .seconds = 500, .bound_from_s = 60,
     .trips_min = 1, .trips_max = 3, .events = {{200, CUT, 50}, {217, LEADER, 0}, {280, HEAL, 0}}},
    {"a cut of half during churn when all have just started", CHURN, .seconds = 500, .bound_from_s = 60,
     .trips_min = 1, .trips_max = 3, .events = {{200, RESTART_ALL, 0}, {203, CUT, 50}, {280, HEAL, 0}}},
    {"a hypervisor stands still during churn", CHURN, .seconds = 500, .bound_from_s = 60, .trips_min = 1,
     .trips_max = 2, .events = {{200, CUT, 40}, {260, THAW, 0}}},
    {"a cut of half while churn starts up", CHURN, .seconds = 500, .trips_min = 1, .trips_max = 3,
     .events = {{20, CUT, 50}, {80, HEAL, 0}}},
    {"churn that begins while a guard is on, and another leader", .services = 430, .ttl_min_s = 3,
     .ttl_max_s = 15, .seconds = 500, .bound_from_s = 200, .trips_min = 1, .trips_max = 2,
     .events = {{100, CUT, 50}, {125, HEAL, 0}, {130, RATE, 60}, {190, LEADER, 0}, {300, LEADER, 0}}},
    {"a fifth burns down, and half of the rest is cut off later", .services = 430, .seconds = 900,
     .trips_min = 2, .trips_max = 2, .events = {{100, BURN, 20}, {450, CUT, 50}, {520, HEAL, 0}}},
};

static void test_scenarios(void **state)
{
    (void)state;
    bool is_right = true;
    const char *only = getenv("ONLY");
    for (size_t n = 0; n < sizeof scenarios / sizeof *scenarios; n++)
        if (!only || strstr(scenarios[n].name, only))
            is_right = run(&scenarios[n]) && is_right;
    assert_true(is_right);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scenarios)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
