/* SPDX-License-Identifier: Apache-2.0
 * Tests of the janitor's decisions, rule by rule: scripts on virtual time against the decisions, second by
 * second. A script is lines of "MS WORD ARGUMENTS". A decision is applied at once, unless the script says
 * otherwise. registry_janitor_model_test.c tests random scripts against a model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"
#include "registry/janitor_plan.h"

#define WALL_S 1700000000

struct world {
    struct catalog *catalog;
    struct plan *plan;
    int64_t revision, wall_shift_s;
    uint64_t now_ms;
    unsigned unknown, deaf; /* the next actions are not applied; applied and not answered */
    struct buf log;
    char last[96]; /* the line that is counted */
    unsigned repeated;
};

/* --- the output ---------------------------------------------------------------------------------------- */

static void flush(struct world *w)
{
    if (w->repeated > 1)
        buf_addf(&w->log, "%s x%u\n", w->last, w->repeated);
    w->repeated = 0;
}

/* Several of one kind at one time are one line with their count; a single one has its name. */
static void record(struct world *w, const char *kind, struct slice id)
{
    char line[96];
    snprintf(line, sizeof line, "%llu %s", (unsigned long long)w->now_ms, kind);
    if (w->repeated && strcmp(line, w->last) == 0) {
        if (w->repeated++ == 1) /* remove the line of a single one */
            while (w->log.size && (w->log.size--, w->log.size) && w->log.data[w->log.size - 1] != '\n')
                ;
        return;
    }
    flush(w);
    snprintf(w->last, sizeof w->last, "%s", line);
    w->repeated = 1;
    buf_addf(&w->log, "%s %.*s\n", line, (int)id.size, id.data);
}

static void on_storm(void *arg, struct slice ns, size_t died, size_t at_risk, bool is_resumed)
{
    struct world *w = arg;
    char what[64];
    snprintf(what, sizeof what, "storm %zu/%zu%s", died, at_risk, is_resumed ? " resumed" : "");
    record(w, what, ns);
}

static void on_storm_over(void *arg, struct slice ns, size_t held)
{
    char what[64];
    snprintf(what, sizeof what, "over %zu", held);
    record(arg, what, ns);
}

/* --- the catalog -------------------------------------------------------------------------------------- */

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

static struct name name_of(enum name_kind kind, const char *id)
{
    return (struct name){kind, slice_text("n"), slice_text("g"), slice_text("s"), slice_text(id), 0};
}

static void begin(struct world *w)
{
    catalog_begin(w->catalog, ++w->revision);
}

static struct catalog_instance *find(struct world *w, const char *id)
{
    struct catalog_service *s = catalog_find(w->catalog, slice_text("n"), slice_text("g"), slice_text("s"));
    return s ? catalog_instance(s, slice_text(id)) : NULL;
}

static void put(struct world *w, const struct name *name, struct slice text)
{
    const struct catalog_instance *i =
        name->kind == NAME_INSTANCE ? find(w, (const char *)name->id.data) : NULL;
    catalog_put(w->catalog, name, text, i ? i->create_revision : w->revision, w->revision);
    assert_int_equal(catalog_unreadable(w->catalog), 0);
}

static void put_instance(struct world *w, const char *id, long session, const char *more)
{
    char text[256];
    struct name name = name_of(NAME_INSTANCE, id);
    char hangs_on[32] = "";
    if (session)
        snprintf(hangs_on, sizeof hangs_on, ",\"session\":\"%lx\"", session);
    snprintf(text, sizeof text, "{\"host\":\"h\"%s%s%s}", hangs_on, more[0] ? "," : "", more);
    put(w, &name, slice_text(text));
}

static void put_session(struct world *w, long id, int ttl_s)
{
    char text[64];
    struct name name = {.kind = NAME_SESSION, .session = id};
    snprintf(text, sizeof text, "{\"ttl\":%d}", ttl_s);
    put(w, &name, slice_text(text));
}

static void end_session(struct world *w, long id)
{
    catalog_delete(w->catalog, &(struct name){.kind = NAME_SESSION, .session = id});
}

/* --- actions ------------------------------------------------------------------------------------------- */

static void apply(struct world *w, const struct plan_action *a)
{
    struct buf text = {0};
    char id[64];
    snprintf(id, sizeof id, "%.*s", (int)a->instance->id.size, a->instance->id.data);
    struct name name = name_of(a->kind == PLAN_END_OVERRIDE ? NAME_OVERRIDE : NAME_INSTANCE, id);
    if (a->kind == PLAN_DELETE || a->kind == PLAN_END_OVERRIDE) {
        begin(w);
        catalog_delete(w->catalog, &name);
    } else {
        struct instance doc = *a->instance->doc;
        doc.state = a->kind == PLAN_LOSE ? INSTANCE_LOST : doc.state;
        doc.is_guarded = a->kind == PLAN_GUARD;
        instance_write(&doc, &text);
        begin(w);
        put(w, &name, buf_slice(&text));
    }
    catalog_end(w->catalog);
    buf_done(&text);
}

static void act(struct world *w, const struct plan_action *a)
{
    static const char *const kinds[] = {"lose", "guard", "unguard", "delete", "end-override"};
    const struct catalog_instance *i = a->instance;
    enum plan_outcome outcome = PLAN_DONE;
    record(w, kinds[a->kind], i->id);
    if (a->session)
        assert_null(catalog_session(w->catalog, a->session));
    assert_int_equal(a->revision, a->kind == PLAN_END_OVERRIDE ? i->override_revision : i->mod_revision);
    if (w->unknown) {
        w->unknown--;
        outcome = PLAN_UNKNOWN;
    } else if (w->deaf) {
        w->deaf--; /* refused, or the feed is behind: nothing of it is visible here */
    } else {
        apply(w, a);
    }
    plan_done(w->plan, a->ticket, outcome, w->now_ms);
}

static uint64_t wall_ms(const struct world *w)
{
    return (uint64_t)((WALL_S + w->wall_shift_s) * 1000) + w->now_ms;
}

static void run_to(struct world *w, uint64_t until_ms)
{
    struct plan_action a;
    for (;;) {
        uint64_t wake_ms = plan_wake_ms(w->plan, w->now_ms, wall_ms(w));
        if (wake_ms > until_ms)
            break;
        if (wake_ms > w->now_ms)
            w->now_ms = wake_ms;
        for (int class = PLAN_CLASSES - 1; class >= 0; class --)
            while (plan_next(w->plan, (enum plan_class) class, w->now_ms, wall_ms(w), &a))
                act(w, &a);
    }
    w->now_ms = until_ms;
}

/* --- scripts ------------------------------------------------------------------------------------------- */

/* n sessions from `first` on, each with an instance. */
static void many(struct world *w, long n, long first, const char *more)
{
    char id[16];
    for (long k = first; k < first + n; k++) {
        put_session(w, k, 15);
        snprintf(id, sizeof id, "i%03ld", k);
        put_instance(w, id, k, more);
    }
}

static void put_override(struct world *w, const char *id, long until_s)
{
    struct buf text = {0};
    struct name name = name_of(NAME_OVERRIDE, id);
    buf_add_text(&text, "{\"weight\":0");
    if (until_s) {
        buf_add_text(&text, ",\"until\":\"");
        text_add_time(&text, WALL_S + until_s);
        buf_add_text(&text, "\"");
    }
    buf_add_text(&text, "}");
    put(w, &name, buf_slice(&text));
    buf_done(&text);
}

static void change(struct world *w, const char *word, const char *id, long a, long b, const char *rest)
{
    struct name instance = name_of(NAME_INSTANCE, id), override = name_of(NAME_OVERRIDE, id);
    begin(w);
    if (strcmp(word, "put") == 0)
        put_instance(w, id, a, rest);
    else if (strcmp(word, "delete") == 0)
        catalog_delete(w->catalog, &instance);
    else if (strcmp(word, "override") == 0)
        put_override(w, id, a);
    else if (strcmp(word, "no-override") == 0)
        catalog_delete(w->catalog, &override);
    else if (strcmp(word, "session") == 0)
        put_session(w, a, (int)b);
    else if (strcmp(word, "end") == 0)
        for (long k = a; k <= (b ? b : a); k++)
            end_session(w, k);
    else if (strcmp(word, "many") == 0)
        many(w, a, b, rest);
    else
        fail_msg("unknown word: %s", word);
    catalog_end(w->catalog);
}

/* Everything is read anew, and is the same except for a deletion meanwhile: one session. */
static void read_anew(struct world *w, long without)
{
    struct catalog_session *list[64];
    size_t count = 0;
    for (long k = 1; k < 64; k++)
        if (k != without && catalog_session(w->catalog, k))
            list[count++] = catalog_session(w->catalog, k);
    struct catalog_service *s = catalog_find(w->catalog, slice_text("n"), slice_text("g"), slice_text("s"));
    catalog_begin_anew(w->catalog, ++w->revision);
    for (size_t n = 0; n < count; n++) {
        struct name name = {.kind = NAME_SESSION, .session = list[n]->id};
        catalog_put(w->catalog, &name, slice_text("{\"ttl\":15}"), 1, list[n]->mod_revision);
    }
    for (size_t n = 0; n < s->count; n++) {
        struct buf text = {0};
        struct name name = {NAME_INSTANCE, s->ns, s->group, s->name, s->list[n]->id, 0};
        instance_write(s->list[n]->doc, &text);
        catalog_put(w->catalog, &name, buf_slice(&text), 1, s->list[n]->mod_revision);
        buf_done(&text);
    }
    catalog_end(w->catalog);
}

static void obey(struct world *w, const char *line)
{
    char word[32] = "", id[32] = "";
    unsigned long long at_ms;
    long a = 0, b = 0;
    int used = 0, more = 0;
    assert_true(sscanf(line, "%llu %31s %n", &at_ms, word, &used) == 2);
    run_to(w, at_ms);
    const char *rest = line + used;
    bool has_id = !strcmp(word, "put") || !strcmp(word, "refuses") || !strcmp(word, "accepts") ||
                  !strcmp(word, "delete") || strstr(word, "override");
    if (has_id && sscanf(rest, "%31s %n", id, &more) == 1)
        rest += more;
    if (sscanf(rest, "%ld %n", &a, &more) == 1)
        rest += more;
    if (sscanf(rest, "%ld %n", &b, &more) == 1)
        rest += more;
    if (!strcmp(word, "lead") || !strcmp(word, "follow"))
        plan_lead(w->plan, word[0] == 'l', w->now_ms);
    else if (!strcmp(word, "unknown"))
        w->unknown = (unsigned)a;
    else if (!strcmp(word, "deaf"))
        w->deaf = (unsigned)a;
    else if (!strcmp(word, "wall"))
        w->wall_shift_s += a;
    else if (!strcmp(word, "refuses") || !strcmp(word, "accepts"))
        plan_verdict(w->plan, find(w, id), word[0] == 'r' ? STORM_REFUSED : STORM_ALIVE, w->now_ms);
    else if (!strcmp(word, "anew"))
        read_anew(w, a);
    else if (!strcmp(word, "waiting"))
        assert_int_equal(plan_waiting(w->plan), a);
    else if (!strcmp(word, "held"))
        assert_int_equal(plan_held(w->plan), a);
    else if (strcmp(word, "stop"))
        change(w, word, id, a, b, rest);
    while (plan_step(w->plan, w->now_ms, 3)) /* as the janitor's turn does, in slices */
        ;
}

static void run_script(const char *script, size_t review_budget, struct buf *ret_log)
{
    struct world w = {0};
    struct plan_rules rules = plan_rules_default();
    rules.review_budget = review_budget;
    const struct catalog_events events = {on_changed, on_gone, on_back, &w, NULL};
    const struct plan_events storms = {on_storm, on_storm_over, &w};
    w.catalog = catalog_new(&events);
    w.plan = plan_new(w.catalog, &rules, &storms);
    while (*script) {
        char line[256];
        size_t n = strcspn(script, "\n");
        assert_true(n < sizeof line);
        memcpy(line, script, n);
        line[n] = 0;
        obey(&w, line);
        script += n + (script[n] == '\n');
    }
    flush(&w);
    *ret_log = buf_move(&w.log);
    plan_free(w.plan);
    catalog_free(w.catalog);
}

static const struct {
    const char *name, *script, *expected;
} cases[] = {
    {"a session ends: lost, then deleted",
     "0 lead\n0 session 1 15\n0 put a 1\n"
     "20000 end 1\n20500 waiting 1\n60000 waiting 0",
     "21000 lose a\n36000 delete a\n"},
    {"the grace is the document's",
     "0 lead\n0 session 1 15\n0 put a 1 \"grace\":3\n0 put b 1 \"grace\":0\n0 put c 1 \"grace\":60\n"
     "1000 end 1\n99000 stop",
     "2000 lose x3\n2000 delete b\n5000 delete a\n62000 delete c\n"},
    {"a client that comes back before it is lost",
     "0 lead\n0 session 1 15\n0 put a 1\n1000 end 1\n"
     "1900 session 2 15\n1900 put a 2\n1900 waiting 0\n60000 stop",
     ""},
    {"a client that comes back while it is lost",
     "0 lead\n0 session 1 15\n0 put a 1\n1000 end 1\n"
     "16900 session 2 15\n16900 put a 2\n16900 waiting 0\n90000 stop",
     "2000 lose a\n"},
    {"and dies again: all times anew",
     "0 lead\n0 session 1 15\n0 put a 1\n1000 end 1\n"
     "16900 session 2 15\n16900 put a 2\n17000 end 2\n90000 stop",
     "2000 lose a\n18000 lose a\n33000 delete a\n"},
    {"deregistered while it is lost",
     "0 lead\n0 session 1 15\n0 put a 1\n1000 end 1\n5000 delete a\n5000 waiting 0\n90000 stop",
     "2000 lose a\n"},
    {"a persistent instance, and one without a session key yet",
     "0 lead\n0 put p 0\n0 put a 1\n900 session 1 15\n900 waiting 0\n90000 stop", ""},
    {"one that names a session that never comes", "0 lead\n0 put a 1\n90000 stop",
     "1000 lose a\n16000 delete a\n"},
    {"a lost one whose session comes back stays, until it dies again",
     "0 lead\n0 session 1 15\n0 put a 1\n1000 end 1\n3000 session 1 15\n3000 waiting 0\n"
     "50000 end 1\n90000 stop",
     "2000 lose a\n65000 delete a\n"},
    {"those out of traffic are lost too, and need no guard",
     "0 lead\n0 many 30 1 \"state\":\"draining\"\n1000 end 1 30\n5000 held 0\n90000 stop",
     "2000 lose x30\n17000 delete x30\n"},
    {"ten may die, and wait a third of their TTL for others",
     "0 lead\n0 many 20 1\n1000 end 1 10\n90000 stop", "6000 lose x10\n21000 delete x10\n"},
    {"two sessions are not waited for", "0 lead\n0 many 20 1\n1000 end 1 2\n90000 stop",
     "2000 lose x2\n17000 delete x2\n"},
    {"eleven of twenty are a storm: held, let go after five minutes",
     "0 lead\n0 many 20 1\n1000 end 1 11\n9000 held 11\n330000 stop",
     "1000 storm 11/20 n\n1000 guard x11\n301000 over 11 n\n301000 lose x11\n316000 delete x11\n"},
    {"15 % of 200 may die", "0 lead\n0 many 200 1\n1000 end 1 30\n90000 stop",
     "6000 lose x30\n21000 delete x30\n"},
    {"31 of 200 are a storm", "0 lead\n0 many 200 1\n1000 end 1 31\n90000 stop",
     "1000 storm 31/200 n\n1000 guard x31\n"},
    {"the first of a storm wait for the others",
     "0 lead\n0 many 40 1\n1000 end 1 4\n4000 end 5 8\n4500 end 9 11\n4500 held 11\n30000 stop",
     "4500 storm 11/40 n\n4500 guard x11\n"},
    {"what is lost when it begins stays lost, what is dying is held",
     "0 lead\n0 many 40 1\n1000 end 1 4\n6500 end 5 8\n7000 end 9 11\n7000 held 7\n30000 stop",
     "6000 lose x4\n7000 storm 11/40 n\n7000 guard x7\n21000 delete x4\n"
     "22000 over 7 n\n22000 lose x7\n"},
    {"deaths further apart than a TTL are no storm",
     "0 lead\n0 many 40 1\n1000 end 1 10\n16000 end 11 20\n60000 stop",
     "6000 lose x10\n21000 delete x10\n21000 lose x10\n36000 delete x10\n"},
    {"one TTL less a millisecond is",
     "0 lead\n0 many 40 1\n1000 end 1 10\n15999 end 11 20\n15999 held 10\n17500 stop",
     "6000 lose x10\n15999 storm 11/40 n\n15999 guard x10\n"},
    {"while it is on, all who die are held",
     "0 lead\n0 many 40 1\n1000 end 1 30\n200000 end 31 31\n200500 held 31\n302000 stop",
     "1000 storm 11/40 n\n1000 guard x30\n200000 guard i031\n301000 over 31 n\n301000 lose x31\n"},
    {"all come back: over one TTL later",
     "0 lead\n0 many 40 1\n1000 end 1 30\n5000 many 30 101\n5000 many 30 1\n5000 held 0\n"
     "19999 stop\n40000 stop",
     "1000 storm 11/40 n\n1000 guard x30\n20000 over 0 n\n"},
    {"all but a few come back: the few are let go one TTL later",
     "0 lead\n0 many 40 1\n1000 end 1 30\n5000 many 25 1\n5000 held 5\n60000 stop",
     "1000 storm 11/40 n\n1000 guard x30\n20000 over 5 n\n20000 lose x5\n35000 delete x5\n"},
    {"eleven do not: held to the end",
     "0 lead\n0 many 40 1\n1000 end 1 30\n5000 many 19 1\n5000 held 11\n302000 stop",
     "1000 storm 11/40 n\n1000 guard x30\n301000 over 11 n\n301000 lose x11\n"},
    {"letting go is not the next storm, later deaths are counted anew",
     "0 lead\n0 many 80 1\n1000 end 1 30\n305000 end 31 40\n311000 stop",
     "1000 storm 13/80 n\n1000 guard x30\n301000 over 30 n\n301000 lose x30\n310000 lose x10\n"},
    {"what is registered after a guard went on is not held by it",
     "0 lead\n0 many 40 1\n1000 end 1 30\n2000 many 5 101\n3000 end 101 105\n9000 held 30",
     "1000 storm 11/40 n\n1000 guard x30\n4000 lose x5\n"},
    {"who refuses a connection is lost at once, who accepts one is held on",
     "0 lead\n0 many 40 1\n1000 end 1 30\n2000 refuses i007\n3000 accepts i008\n9000 held 29",
     "1000 storm 11/40 n\n1000 guard x30\n2000 lose i007\n"},
    {"a verdict counts for one death",
     "0 lead\n0 many 40 1\n1000 end 1 30\n2000 refuses i007\n3000 many 1 7\n4000 end 7 7\n9000 held 30",
     "1000 storm 11/40 n\n1000 guard x30\n2000 lose i007\n4000 guard i007\n"},
    {"one that is only dying refuses a connection: it is lost when it would be",
     "0 lead\n0 many 40 1\n1000 end 1 1\n1500 refuses i001\n9000 stop", "2000 lose i001\n"},
    {"one that is held is deregistered",
     "0 lead\n0 many 40 1\n1000 end 1 30\n2000 delete i007\n2000 held 29\n3000 stop",
     "1000 storm 11/40 n\n1000 guard x30\n"},
    {"a held one's session comes back by itself: the flag goes",
     "0 lead\n0 many 40 1\n1000 end 1 30\n2000 session 7 15\n3000 held 29\n3000 waiting 29",
     "1000 storm 11/40 n\n1000 guard x30\n2000 unguard i007\n"},
    {"a new leader finds what is left over, and gives the whole grace",
     "0 lead\n0 session 1 15\n0 session 2 15\n0 put a 1\n0 put b 2\n1000 end 1\n"
     "10000 follow\n10000 waiting 0\n11000 end 2\n20000 lead\n90000 stop",
     "2000 lose a\n21000 lose b\n35000 delete a\n36000 delete b\n"},
    {"a new leader holds on, with the whole time",
     "0 lead\n0 many 40 1\n1000 end 1 30\n9000 follow\n100000 lead\n100000 held 30\n402000 stop",
     "1000 storm 11/40 n\n1000 guard x30\n100000 storm 0/40 resumed n\n400000 over 30 n\n400000 lose x30\n"},
    {"a flag that the last leader did not take back",
     "0 lead\n0 many 40 1\n1000 end 1 30\n2000 follow\n3000 session 7 15\n4000 lead\n5000 held 29",
     "1000 storm 11/40 n\n1000 guard x30\n4000 storm 0/40 resumed n\n4000 unguard i007\n"},
    {"who follows does nothing",
     "0 follow\n0 session 1 15\n0 put a 1\n0 override a 5\n1000 end 1\n99000 stop", ""},
    {"what is not known to be done is done again, at once",
     "0 lead\n0 session 1 15\n0 put a 1\n1000 end 1\n1500 unknown 3\n90000 stop",
     "2000 lose x4\n17000 delete a\n"},
    {"what shows no effect is looked at again a second later",
     "0 lead\n0 session 1 15\n0 put a 1\n1000 end 1\n1500 deaf 2\n10000 stop",
     "2000 lose a\n3000 lose a\n4000 lose a\n"},
    {"and it may have come to life meanwhile",
     "0 lead\n0 session 1 15\n0 put a 1\n1000 end 1\n1500 deaf 1\n2500 session 1 15\n90000 stop",
     "2000 lose a\n"},
    {"an override ends at its time, by the wall clock",
     "0 lead\n0 session 1 15\n0 put a 1\n0 put b 1\n0 override a 30\n0 override b 0\n90000 stop",
     "30000 end-override a\n"},
    {"the wall clock goes forward, and back",
     "0 lead\n0 put a 0\n0 put b 0\n0 override a 30\n0 override b 100\n10000 wall 20\n11000 wall -30\n90000 "
     "stop"
     "\n109000 stop\n111000 stop",
     "10000 end-override a\n110000 end-override b\n"},
    {"the wall clock goes back while an end is on its way",
     "0 lead\n0 put a 0\n0 override a 30\n0 deaf 1\n30500 wall -20\n90000 stop",
     "30000 end-override a\n50000 end-override a\n"},
    {"an override that was changed is not ended at its old time",
     "0 lead\n0 put a 0\n0 override a 30\n20000 override a 60\n90000 stop", "60000 end-override a\n"},
    {"one that was taken away is forgotten",
     "0 lead\n0 put a 0\n0 override a 30\n20000 no-override a\n90000 stop", ""},
    {"an override without an instance goes after a day",
     "0 lead\n0 put a 0\n0 override a 0\n5000 delete a\n86404999 stop\n86500000 stop",
     "86405000 end-override a\n"},
    {"a day anew when the instance was there meanwhile",
     "0 lead\n0 override a 0\n50000000 put a 0\n50001000 delete a\n86500000 stop\n136500000 stop",
     "136401000 end-override a\n"},
    {"an override's end is tried again, and by the next leader",
     "0 lead\n0 put a 0\n0 put b 0\n0 override a 30\n0 override b 40\n0 unknown 1\n35000 follow\n50000 lead\n"
     "90000 stop",
     "30000 end-override x2\n50000 end-override b\n"},
    {"a session that went while history was compacted", "0 lead\n0 many 3 1\n5000 anew 2\n90000 stop",
     "6000 lose i002\n21000 delete i002\n"},
};

static void test_scripts(void **state)
{
    (void)state;
    bool is_wrong = false;
    enum { WAYS = 3 };
    const size_t review_budget[WAYS] = {plan_rules_default().review_budget, 2, 0}; /* and in slices */
    for (size_t n = 0; n < WAYS * (sizeof cases / sizeof *cases); n++) {
        struct buf log;
        run_script(cases[n / WAYS].script, review_budget[n % WAYS], &log);
        if (strcmp(buf_text(&log), cases[n / WAYS].expected) != 0) {
            print_error("%s:\n%sexpected:\n%s\n", cases[n / WAYS].name, buf_text(&log),
                        cases[n / WAYS].expected);
            is_wrong = true;
        }
        buf_done(&log);
    }
    assert_false(is_wrong);
}

/* A session with many instances: they are due at once, and plan_next has nothing left to check. */
static void test_due_in_slices(void **state)
{
    enum { INSTANCES = 2000, AT_ONCE = 100 };
    struct world w = {0};
    struct plan_rules rules = plan_rules_default();
    const struct plan_events storms = {on_storm, on_storm_over, &w};
    struct plan_action a;
    char id[16];
    size_t looks = 0;
    (void)state;
    w.catalog = catalog_new(&(struct catalog_events){on_changed, on_gone, on_back, &w, NULL});
    w.plan = plan_new(w.catalog, &rules, &storms);
    plan_lead(w.plan, true, 0);
    begin(&w);
    put_session(&w, 1, 15);
    for (long k = 0; k < INSTANCES; k++) {
        snprintf(id, sizeof id, "i%05ld", k);
        put_instance(&w, id, 1, "\"state\":\"down\""); /* no storm guard: due later */
    }
    catalog_end(w.catalog);
    begin(&w);
    end_session(&w, 1);
    catalog_end(w.catalog);
    while (plan_step(w.plan, w.now_ms, AT_ONCE))
        ;
    w.now_ms = rules.decision_delay_max_ms;
    while (plan_step(w.plan, w.now_ms, AT_ONCE))
        looks++;
    assert_in_range(looks, INSTANCES / AT_ONCE - 1, INSTANCES / AT_ONCE + 1);
    assert_false(plan_next(w.plan, PLAN_DELETES, w.now_ms, wall_ms(&w), &a));
    assert_true(plan_next(w.plan, PLAN_PUTS, w.now_ms, wall_ms(&w), &a));
    plan_free(w.plan);
    catalog_free(w.catalog);
    buf_done(&w.log);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scripts), cmocka_unit_test(test_due_in_slices)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
