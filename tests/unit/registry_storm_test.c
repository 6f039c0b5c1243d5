/* SPDX-License-Identifier: Apache-2.0
 * Tests of storms alone: the threshold case by case, windows and ends, what is handed over to the next
 * leader. Random runs are compared with a model that counts every death anew. registry_churn_test.c tests
 * churn, cuts and leaders with the whole janitor. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "registry/janitor_guard.h"
#include "registry/revision_clock.h"

static const struct storm_rules rules = {10, 15, 4, 2, 600000, 60000, 300000};

static bool die(struct storm *s, unsigned n, uint64_t now_ms, uint64_t ttl_ms, size_t at_risk)
{
    bool did_begin = false;
    const struct storm_death death = {
        .ttl_ms = ttl_ms, .at_risk = at_risk, .created = 1, .opened = 1, .revision = 5};
    while (n-- > 0)
        did_begin = storm_death(s, &rules, now_ms, &death) || did_begin;
    return did_begin;
}

/* Sessions and instances that arrived after the guard started. */
static void die_late(struct storm *s, unsigned n, uint64_t now_ms)
{
    const struct storm_death death = {
        .ttl_ms = 15000, .at_risk = 200, .created = 6, .opened = 6, .revision = 9};
    while (n-- > 0)
        storm_death(s, &rules, now_ms, &death);
}

static void test_limits(void **state)
{
    (void)state;
    static const struct {
        size_t at_risk, may_die;
    } list[] = {{1, 10}, {10, 10}, {40, 10}, {66, 10}, {73, 10}, {74, 11}, {100, 15}, {100000, 15000}};
    for (size_t n = 0; n < sizeof list / sizeof *list; n++) {
        struct storm s = {0};
        assert_false(die(&s, (unsigned)list[n].may_die, 5, 15000, list[n].at_risk));
        assert_true(die(&s, 1, 5, 15000, list[n].at_risk));
        assert_int_equal(s.limit, list[n].may_die);
        assert_false(die(&s, 100, 5, 15000, list[n].at_risk)); /* it begins once */
        storm_done(&s);
    }
}

static void test_window(void **state)
{
    (void)state;
    struct storm s = {0};
    /* Each counts for its own TTL, a long one for a minute. */
    assert_false(die(&s, 5, 0, 86400000, 40));
    assert_false(die(&s, 5, 1000, 3000, 40));
    assert_false(die(&s, 1, 4000, 3000, 40));
    assert_int_equal(s.in_window, 6);
    storm_done(&s);
    /* The number in traffic before the first death counts, not the number that is left. */
    assert_false(die(&s, 20, 0, 15000, 200));
    assert_false(die(&s, 10, 2000, 3000, 180));
    assert_int_equal(storm_at_risk(&s), 200);
    assert_true(die(&s, 1, 4000, 15000, 170));
    assert_int_equal(s.limit, 30);
    storm_done(&s);
    assert_false(die(&s, 1, 0, 3000, 200));
    assert_false(die(&s, 1, 2000, 15000, 180));
    assert_false(die(&s, 1, 3000, 15000, 170));
    assert_int_equal(storm_at_risk(&s), 180);
    storm_done(&s);
}

/* The threshold by the usual rate, by raises and by the number in traffic. */
static void test_bar(void **state)
{
    (void)state;
    static const struct {
        uint64_t usual, raises;
        size_t at_risk, bar;
    } list[] = {
        {0, 0, 0, 10},        {0, 0, 430, 64},
        {2, 0, 40, 10},       {3, 0, 40, 12},
        {540, 0, 1000, 2160}, {30, 0, 1000, 150},
        {0, 1, 40, 20},       {0, 2, 40, 40},
        {0, 9, 40, 40},       /* never more than two */ {540, 1, 1000, 4320},
        {0, 2, 430, 256},
    };
    for (size_t n = 0; n < sizeof list / sizeof *list; n++) {
        struct storm s = {0};
        storm_begin(&s, &rules, 0, &(struct storm_history){list[n].usual, list[n].raises});
        assert_int_equal(storm_bar(&s, &rules, 6000, list[n].at_risk), list[n].bar);
        storm_done(&s);
    }
}

/* A new leader gave every lease its full TTL. Until that is over, twice as many may die, and more where a TTL
 * is longer than the window. */
static void test_bar_rearmed(void **state)
{
    (void)state;
    struct storm s = {0};
    storm_begin(&s, &rules, 1000000, &(struct storm_history){100, 0});
    die(&s, 1, 1014000, 15000, 100);
    assert_in_range(storm_bar(&s, &rules, 1014000, 100), 700, 800); /* the average has dropped a little */
    assert_in_range(storm_bar(&s, &rules, 1035001, 100), 280, 400);
    storm_done(&s);
    storm_begin(&s, &rules, 1000000, &(struct storm_history){100, 0});
    die(&s, 1, 1014000, 300000, 100);
    assert_in_range(storm_bar(&s, &rules, 1014000, 100), 4 * 7 * 88, 4 * 7 * 100);
    storm_done(&s);
}

/* The average approaches the rate of deaths, and returns, in about two minutes; after an hour nothing is left
 * of it. */
static void test_usual(void **state)
{
    (void)state;
    struct storm s = {0};
    storm_begin(&s, &rules, 0, NULL);
    for (uint64_t t = 0; t < 128000; t += 1000)
        die(&s, 10, t + 500, 10000, 10000);
    assert_in_range(storm_usual(&s), 60, 64); /* 100 (1 - 1/e) */
    for (uint64_t t = 128000; t < 900000; t += 1000)
        die(&s, 10, t + 500, 10000, 10000);
    assert_in_range(storm_usual(&s), 99, 101);
    assert_false(s.is_on);
    storm_average(&s, &rules, 900000 + 128000);
    assert_in_range(storm_usual(&s), 36, 42);
    storm_average(&s, &rules, 4500000);
    assert_int_equal(storm_usual(&s), 0);
    die(&s, 5, 5000000, 10000, 10000);
    storm_average(&s, &rules, 5000000ull + 86400000ull * 365); /* a year is no longer than an hour */
    assert_int_equal(storm_usual(&s), 0);
    storm_done(&s);
}

/* The next leader knows everything that an old leader knew. */
static void test_history(void **state)
{
    (void)state;
    struct storm s = {0}, next = {0};
    storm_begin(&s, &rules, 0, NULL);
    for (uint64_t t = 0; t < 600000; t += 1000)
        die(&s, 60, t + 500, 9000, 100000);
    struct storm_history h = storm_history(&s);
    assert_in_range(h.usual, 530, 550);
    storm_begin(&next, &rules, 777, &h);
    assert_int_equal(storm_usual(&next), h.usual);
    assert_false(die(&next, 1000, 9777, 9000, 1000));
    storm_done(&next);
    assert_true(die(&next, 1000, 9777, 9000, 1000)); /* it knows nothing */
    storm_done(&next);
    storm_done(&s);
}

/* No instance returned: the next guard needs twice as many, the third four times; both are taken back. */
static void test_raises(void **state)
{
    (void)state;
    struct storm s = {0};
    uint64_t t = 1000;
    static const unsigned may_die[] = {10, 20, 40, 40};
    for (size_t n = 0; n < 4; n++, t += 400000) {
        storm_average(&s, &rules, t);
        s.usual = 0; /* the usual rate has its own test */
        assert_false(die(&s, may_die[n], t, 3000, 40));
        assert_true(die(&s, 1, t, 3000, 40));
        storm_end(&s, &rules, t + 300000);
    }
    t -= 100000; /* of the last end */
    storm_average(&s, &rules, t + rules.raise_ms - 1);
    assert_int_equal(s.raises, 2);
    storm_average(&s, &rules, t + rules.raise_ms);
    assert_int_equal(s.raises, 1);
    storm_average(&s, &rules, t + 2 * rules.raise_ms);
    assert_int_equal(s.raises, 0);
    /* Half of them returned: the guard was right. */
    s.usual = 0;
    t += 3 * rules.raise_ms;
    assert_true(die(&s, 20, t, 3000, 40));
    assert_int_equal(s.fallen, 10);
    for (int n = 0; n < 5; n++)
        storm_return(&s, t + 1000);
    storm_end(&s, &rules, t + 300000);
    assert_int_equal(s.raises, 0);
    storm_done(&s);
}

/* Sessions that were opened since die as well, as many as started the guard: churn, which is usual from then
 * on. */
static void test_churn(void **state)
{
    (void)state;
    struct storm s = {0};
    assert_true(die(&s, 40, 1000, 15000, 200));
    assert_int_equal(s.bar, 30);
    die_late(&s, 30, 20000);
    assert_int_equal(storm_end_ms(&s), 16000); /* quiet: none of those that it protects died */
    s.held = 40;
    assert_int_equal(storm_end_ms(&s), 301000);
    die_late(&s, 1, 21000);
    assert_int_equal(storm_end_ms(&s), 0);
    storm_end(&s, &rules, 21000);
    assert_int_equal(storm_usual(&s), 31);
    assert_int_equal(s.in_window, 31); /* they were not protected, and count */
    assert_int_equal(s.raises, 1);
    storm_done(&s);
    /* A tenth of those that it protects returned: an unstable network. */
    s.held = 0;
    assert_true(die(&s, 40, 1000, 15000, 200));
    s.held = 40;
    storm_return(&s, 2000);
    die_late(&s, 300, 20000);
    assert_int_equal(storm_end_ms(&s), 301000);
    storm_done(&s);
}

static void test_holds(void **state)
{
    (void)state;
    struct storm s = {0};
    assert_false(storm_holds(&s, 1, STORM_UNKNOWN));
    assert_true(die(&s, 11, 1000, 15000, 40));
    assert_int_equal(s.horizon, 5);
    assert_true(storm_holds(&s, 5, STORM_UNKNOWN));
    assert_true(storm_holds(&s, 5, STORM_ALIVE));
    assert_false(storm_holds(&s, 5, STORM_REFUSED));
    assert_false(storm_holds(&s, 6, STORM_UNKNOWN)); /* registered since */
    storm_done(&s);
}

/* Deaths of one client do not start a storm; those of three may. */
static void test_suspicious(void **state)
{
    (void)state;
    struct storm s = {0};
    struct storm_death death = {.ttl_ms = 15000, .at_risk = 200, .created = 1, .opened = 1, .revision = 5};
    for (death.session = 1; death.session <= 3; death.session++) {
        assert_false(s.is_suspicious);
        for (int n = 0; n < 5; n++)
            storm_death(&s, &rules, 1000, &death);
    }
    assert_true(s.is_suspicious);
    storm_done(&s);
    storm_begin(&s, &rules, 0, &(struct storm_history){100, 0}); /* where so many die every day they do not */
    for (death.session = 1; death.session <= 100; death.session++)
        storm_death(&s, &rules, 60000, &death);
    assert_false(s.is_suspicious);
    storm_done(&s);
}

/* --- a history's document --------------------------------------------------------------------------- */

static void test_document(void **state)
{
    (void)state;
    const struct guard_history h = {{{540, 1}, {3, 2}}, 123456789012};
    struct guard_history back = {0};
    struct buf text = {0};
    guard_history_write(&h, &text);
    assert_string_equal(buf_text(&text), "{\"usual\":540,\"raises\":1,\"usual_established\":3,"
                                         "\"raises_established\":2,\"settled\":123456789012}");
    assert_int_equal(guard_history_read(buf_slice(&text), &back), OK);
    assert_memory_equal(&h, &back, sizeof h);
    assert_int_equal(guard_history_read(slice_text("{\"usual\":1,\"later\":[]}"), &back), OK);
    assert_int_equal(back.groups[STORM_ALL].usual, 1);
    static const char *const wrong[] = {
        "",           "[]", "{\"usual\":-1}", "{\"usual\":1e30}", "{\"raises\":17}", "{\"settled\":\"x\"}",
        "{\"usual\":"};
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++)
        assert_int_not_equal(guard_history_read(slice_text(wrong[n]), &back), OK);
    buf_done(&text);
}

static void test_clock(void **state)
{
    (void)state;
    struct revision_clock c = {0};
    assert_int_equal(revision_clock_at(&c, 5000), 0);
    for (uint64_t t = 500; t <= 200000; t += 100)
        revision_clock_mark(&c, t, (int64_t)t);
    assert_int_equal(c.begin, 500);
    for (uint64_t ago = 0; ago <= 60000; ago += 10)
        assert_in_range(revision_clock_at(&c, 200000 - ago), 200000 - ago - 1000, 200000 - ago);
    assert_int_equal(revision_clock_at(&c, 500), 0); /* forgotten */
    revision_clock_mark(&c, 9000000, 9);
    assert_int_equal(revision_clock_at(&c, 8000000), 199500);
}

/* --- against a model ------------------------------------------------------------------------------------ */

/* Keeps every death for ever, and counts everything anew each time: the rules of the header, word by word. */
struct model_death {
    uint64_t at_ms, until_ms;
    size_t at_risk;
    bool is_new, is_forgotten;
};

struct model {
    struct model_death list[6000];
    size_t count;
    double usual;
    uint64_t averaged_ms, raise_ms;
    uint64_t mixed_until_ms; /* protected deaths are forgotten, but not the number in traffic before them */
    unsigned raises;
    bool is_on;
    int64_t horizon;
    size_t fallen, returned, bar;
};

static size_t model_window(const struct model *m, uint64_t now_ms, bool only_new)
{
    size_t n = 0;
    for (size_t i = 0; i < m->count; i++)
        n += !m->list[i].is_forgotten && m->list[i].until_ms > now_ms && (m->list[i].is_new || !only_new);
    return n;
}

static void model_average(struct model *m, uint64_t now_ms)
{
    for (; m->averaged_ms + 1000 <= now_ms;) {
        m->averaged_ms += 1000;
        m->usual += ((double)model_window(m, m->averaged_ms, m->is_on) - m->usual) / 128;
    }
    while (m->raises && m->raise_ms <= now_ms) {
        m->raises--;
        m->raise_ms += rules.raise_ms;
    }
}

static size_t model_before(const struct model *m, uint64_t now_ms)
{
    const struct model_death *first = NULL;
    for (size_t i = 0; i < m->count; i++) {
        const struct model_death *d = &m->list[i];
        if (d->is_forgotten || d->until_ms <= now_ms)
            continue;
        if (!first || d->at_ms < first->at_ms || (d->at_ms == first->at_ms && d->at_risk > first->at_risk))
            first = d;
    }
    return first ? first->at_risk : 0;
}

static unsigned draw(uint64_t *random, unsigned n)
{
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*random >> 33) % n;
}

/* A rate that changes, bursts, returns, ends by time or by churn. The thresholds agree within integer
 * rounding. */
static void run_model(uint64_t seed, unsigned *ret_guards, unsigned *ret_churns)
{
    struct storm s = {0};
    struct model *m = mem_new(sizeof *m);
    uint64_t random = seed, now_ms = 1000000;
    unsigned rate = 0;
    size_t returned_max = 0;
    storm_begin(&s, &rules, now_ms, NULL);
    s.begun_ms = 0; /* the first TTL has its own test */
    m->averaged_ms = now_ms;
    for (int step = 0; step < 4000 && m->count < 5500; step++) {
        now_ms += 100 * (1 + draw(&random, 20));
        if (draw(&random, 200) == 0)
            rate = draw(&random, 4);
        unsigned deaths = draw(&random, 3) ? draw(&random, rate + 1) : 0;
        if (draw(&random, 300) == 0)
            deaths += 20 + draw(&random, 80);
        for (; deaths && m->count < 5500; deaths--) {
            struct storm_death d = {.ttl_ms = 1000 * (3 + draw(&random, 70)),
                                    .at_risk = 100 + draw(&random, 300)};
            d.created = d.opened = 1 + draw(&random, (unsigned)step + 1);
            d.revision = step + 1;
            uint64_t counts_ms = d.ttl_ms < 60000 ? d.ttl_ms : 60000;
            model_average(m, now_ms);
            m->list[m->count++] = (struct model_death){now_ms, (now_ms + counts_ms + 99) / 100 * 100,
                                                       d.at_risk, m->is_on && d.opened > m->horizon, false};
            m->fallen += m->is_on && d.created <= m->horizon;
            size_t before = model_before(m, now_ms);
            bool did_begin = storm_death(&s, &rules, now_ms, &d);
            size_t share = (now_ms < m->mixed_until_ms ? storm_at_risk(&s) : before) * 15 / 100;
            double bar = share > 10 ? (double)share : 10;
            bar = (m->usual * 4 > bar ? m->usual * 4 : bar) * (double)(1u << m->raises);
            assert_int_equal(s.in_window, model_window(m, now_ms, false));
            if (now_ms >= m->mixed_until_ms)
                assert_int_equal(storm_at_risk(&s), before);
            double off = (double)storm_usual(&s) - m->usual;
            assert_true(off > -3 && off < 3);
            if (m->is_on) {
                assert_false(did_begin);
            } else if (did_begin) {
                assert_true((double)s.in_window > bar - 14 * (double)(1u << m->raises));
                m->is_on = true;
                m->horizon = d.revision;
                m->bar = s.bar;
                m->fallen = 1;
                m->returned = returned_max = 0;
                for (size_t i = 0; i < m->count; i++)
                    m->list[i].is_new = false;
                ++*ret_guards;
            } else {
                assert_true((double)s.in_window <= bar + 14 * (double)(1u << m->raises));
            }
            assert_int_equal(s.is_on, m->is_on);
            assert_int_equal(s.fallen, m->is_on ? m->fallen : s.fallen);
        }
        if (m->is_on && draw(&random, 10) == 0 && seed % 3) {
            storm_return(&s, now_ms);
            m->returned++;
        }
        model_average(m, now_ms);
        storm_average(&s, &rules, now_ms);
        s.held = m->is_on ? 1000 : 0; /* to the last moment */
        if (storm_end_ms(&s) > now_ms)
            continue;
        bool is_late = now_ms >= s.hold_until_ms;
        if (!is_late) {
            assert_true(model_window(m, now_ms, true) <= 5500);
            ++*ret_churns;
        }
        if (m->returned * 2 < m->fallen) {
            m->raises += m->raises < 2;
            m->raise_ms = now_ms + rules.raise_ms;
        }
        size_t all = model_window(m, now_ms, false);
        if (!is_late && m->usual < (double)all)
            m->usual = (double)all;
        for (size_t i = 0; i < m->count; i++) {
            m->list[i].is_forgotten = m->list[i].is_forgotten || !m->list[i].is_new;
            m->list[i].is_new = false;
        }
        m->is_on = false;
        m->mixed_until_ms = now_ms + 60000;
        storm_end(&s, &rules, now_ms);
        assert_int_equal(s.raises, m->raises);
        assert_int_equal(s.in_window, model_window(m, now_ms, false));
        s.held = 0;
    }
    storm_done(&s);
    mem_free(m);
}

static void test_model(void **state)
{
    (void)state;
    unsigned guards = 0, churns = 0;
    const char *seeds = getenv("SEEDS");
    for (uint64_t seed = 1; seed <= (uint64_t)(seeds ? atoi(seeds) : 40); seed++)
        run_model(seed, &guards, &churns);
    print_message("%u guards, %u of them churn\n", guards, churns);
    assert_true(guards > 20 && churns > 5 && churns < guards);
}

/* --- windows and ends ----------------------------------------------------------------------------------- */

/* Many deaths at many times. */
static void test_long_window(void **state)
{
    (void)state;
    struct storm s = {0};
    for (uint64_t t = 0; t < 100000; t += 10) {
        die(&s, 1, t, 15000, 1000000);
        size_t alive = t < 15000 ? t / 10 + 1 : 1500;
        assert_in_range(s.in_window, alive, alive + 10);
        assert_true(s.capacity <= 1024); /* for any number: the times are rounded */
    }
    assert_false(s.is_on);
    storm_done(&s);
}

static void test_end(void **state)
{
    (void)state;
    struct storm s = {0};
    const struct storm_death found = {
        .ttl_ms = 15000, .at_risk = 40, .created = 1, .opened = 1, .revision = 9};
    assert_true(storm_end_ms(&s) == UINT64_MAX);
    assert_true(die(&s, 30, 1000, 15000, 40));
    s.held = 30;
    assert_int_equal(storm_end_ms(&s), 301000);
    s.held = 11;
    storm_return(&s, 7000);
    assert_int_equal(storm_end_ms(&s), 301000);
    s.held = 10;
    assert_int_equal(storm_end_ms(&s), 22000);
    die(&s, 1, 8000, 20000, 40); /* a longer TTL: quiet is longer */
    assert_int_equal(storm_end_ms(&s), 28000);
    die_late(&s, 1, 9000); /* it does not wait for those that it does not protect */
    assert_int_equal(storm_end_ms(&s), 28000);
    storm_return(&s, 295000);
    assert_int_equal(storm_end_ms(&s), 301000); /* never later */
    storm_end(&s, &rules, 301000);
    assert_true(storm_end_ms(&s) == UINT64_MAX);
    storm_resume(&s, &rules, 400000, &found);
    assert_int_equal(storm_end_ms(&s), 415000);
    assert_true(storm_holds(&s, 9, STORM_UNKNOWN));
    s.held = 30;
    assert_int_equal(storm_end_ms(&s), 700000);
    storm_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),      cmocka_unit_test(test_bar),
        cmocka_unit_test(test_bar_rearmed), cmocka_unit_test(test_usual),
        cmocka_unit_test(test_history),     cmocka_unit_test(test_raises),
        cmocka_unit_test(test_churn),       cmocka_unit_test(test_holds),
        cmocka_unit_test(test_suspicious),  cmocka_unit_test(test_window),
        cmocka_unit_test(test_long_window), cmocka_unit_test(test_end),
        cmocka_unit_test(test_document),    cmocka_unit_test(test_clock),
        cmocka_unit_test(test_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
