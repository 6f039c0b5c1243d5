/* SPDX-License-Identifier: Apache-2.0
 * A plan of health checks over a catalog, in virtual time, for the tests of the plan. */
#ifndef TESTS_UNIT_CHECK_PLAN_BENCH_H
#define TESTS_UNIT_CHECK_PLAN_BENCH_H

#include "registry/check_plan.h"
#include "tests/unit/unit.h"

#define SELF 7

struct bench {
    struct catalog *catalog;
    struct check_plan *plan;
    int64_t revision;
    uint64_t now_ms;
    size_t checks_max;
};

static void on_changed(void *arg, const struct catalog_change *change)
{
    struct bench *b = arg;
    for (size_t i = 0; b->plan && i < change->id_count; i++)
        check_plan_changed(b->plan, change->service, change->ids[i], b->checks_max, b->now_ms);
}

static void on_session(void *arg, struct catalog_session *session)
{
    (void)arg;
    (void)session;
}

HELPER static int setup(void **state)
{
    struct bench *b = mem_new(sizeof *b);
    const struct catalog_events events = {on_changed, on_session, on_session, b, NULL};
    b->catalog = catalog_new(&events);
    b->plan = check_plan_new(b->catalog, SELF, 1);
    b->now_ms = 1000000;
    *state = b;
    return 0;
}

HELPER static int teardown(void **state)
{
    struct bench *b = *state;
    check_plan_free(b->plan);
    catalog_free(b->catalog);
    mem_free(b);
    return 0;
}

HELPER static void divide(struct bench *b, uint64_t id1, uint64_t id2)
{
    struct check_share share = {.term = 1, .ids = {id1, id2}, .count = (size_t)(!!id1 + !!id2)};
    check_plan_divide(b->plan, &share, b->now_ms);
}

/* text NULL: it is deregistered. */
HELPER static void put(struct bench *b, const char *id, const char *text)
{
    struct name name = {NAME_INSTANCE, slice_text("n"), slice_text("g"), slice_text("s"), slice_text(id), 0};
    catalog_begin(b->catalog, ++b->revision);
    if (text)
        catalog_put(b->catalog, &name, slice_text(text), b->revision, b->revision);
    else
        catalog_delete(b->catalog, &name);
    catalog_end(b->catalog);
}

#endif
