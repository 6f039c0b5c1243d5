/* SPDX-License-Identifier: Apache-2.0
 * Tests of a service's snapshot that is taken in slices. It has one revision, the one at which it is
 * complete, and later changes do not alter it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "registry/service_snapshot.h"

enum { IDS = 300 };

struct world {
    struct catalog *catalog;
    struct service_snapshot *snapshot;
    int64_t revision;
    uint64_t seed;
};

static unsigned draw(struct world *w, unsigned n)
{
    w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(w->seed >> 33) % n;
}

static void on_changed(void *arg, const struct catalog_change *change)
{
    struct world *w = arg;
    if (w->snapshot)
        service_snapshot_change(w->snapshot, change);
}

static const struct catalog_service *service_of(const struct world *w)
{
    return catalog_find(w->catalog, slice_text("n"), slice_text("g"), slice_text("s"));
}

static void change_one(struct world *w, unsigned n)
{
    static const char *const zones[] = {"z1", "z2", "z3"};
    char id[16], text[200];
    snprintf(id, sizeof id, "i%03u", n);
    struct name name = {NAME_INSTANCE, slice_text("n"), slice_text("g"), slice_text("s"), slice_text(id), 0};
    switch (draw(w, 5)) {
    case 0:
        catalog_delete(w->catalog, &name);
        return;
    case 1:
        name.kind = NAME_OVERRIDE;
        if (draw(w, 2))
            catalog_delete(w->catalog, &name);
        else
            catalog_put(w->catalog, &name, slice_text("{\"weight\":0,\"reason\":\"because\"}"), w->revision,
                        w->revision);
        return;
    default:
        snprintf(text, sizeof text, "{\"host\":\"h%lld\",\"zone\":\"%s\",\"state\":\"%s\"}",
                 (long long)w->revision, zones[draw(w, 3)], draw(w, 3) ? "up" : "down");
        catalog_put(w->catalog, &name, slice_text(text), w->revision, w->revision);
    }
}

/* One revision with so many changes. */
static void change(struct world *w, unsigned count)
{
    catalog_begin(w->catalog, ++w->revision);
    for (unsigned i = 0; i < count; i++)
        change_one(w, draw(w, IDS));
    catalog_end(w->catalog);
}

static bool at_once(const void *arg)
{
    (void)arg;
    return true;
}

static void describe(const struct select_result *r, struct buf *out)
{
    buf_clear(out);
    buf_addf(out, "%d %zu:", r->is_protected, r->serving);
    for (size_t i = 0; i < r->count; i++) {
        const struct catalog_instance *one = r->list[i];
        buf_add_slice(out, one->id);
        buf_add_byte(out, '@');
        buf_add_slice(out, one->doc->host);
        if (one->override)
            buf_add_slice(out, one->override->reason);
        buf_addf(out, "/%lld/%lld ", (long long)one->mod_revision, (long long)one->override_revision);
    }
}

static void take_one(struct world *w, const struct select_query *query)
{
    struct buf expected = {0}, found = {0};
    struct arena a = {0};
    struct select_result now, taken;
    unsigned slices = 1;
    w->snapshot = service_snapshot_new(query);
    for (; !service_snapshot_take(w->snapshot, service_of(w), at_once, NULL); slices++) {
        for (unsigned n = draw(w, 3); n > 0; n--)
            change(w, draw(w, 20) ? 1 + draw(w, 3) : 200);
        assert_true(slices < 10000);
    }
    const struct catalog_service *s = service_of(w);
    select_run(query, s, &a, &now);
    describe(&now, &expected);
    for (unsigned n = draw(w, 20); n > 0; n--)
        change(w, draw(w, 200));
    service_snapshot_choose(w->snapshot, 0, &taken);
    describe(&taken, &found);
    assert_string_equal(buf_text(&found), buf_text(&expected));
    struct service_snapshot *old = w->snapshot;
    w->snapshot = NULL;
    while (!service_snapshot_free_some(old, 1 + draw(w, 100)))
        change(w, 3);
    arena_done(&a);
    buf_done(&expected);
    buf_done(&found);
}

static void test_one_revision(void **state)
{
    (void)state;
    const struct select_query queries[] = {
        {.zone = slice_text("z1")},
        {.only_serving = true},
        {0},
    };
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct world w = {.seed = seed};
        const struct catalog_events events = {.changed = on_changed, .arg = &w};
        w.catalog = catalog_new(&events);
        change(&w, 500);
        for (int i = 0; i < 10; i++)
            take_one(&w, &queries[i % 3]);
        catalog_free(w.catalog);
    }
}

/* The service does not exist, or is deleted during the snapshot. */
static void test_absent(void **state)
{
    (void)state;
    struct world w = {.seed = 3};
    const struct catalog_events events = {.changed = on_changed, .arg = &w};
    const struct select_query query = {0};
    struct select_result result;
    w.catalog = catalog_new(&events);
    w.snapshot = service_snapshot_new(&query);
    assert_true(service_snapshot_take(w.snapshot, NULL, at_once, NULL));
    service_snapshot_choose(w.snapshot, 0, &result);
    assert_int_equal(result.count, 0);
    assert_true(service_snapshot_free_some(w.snapshot, 1));
    w.snapshot = NULL;
    change(&w, 500);
    w.snapshot = service_snapshot_new(&query);
    assert_false(service_snapshot_take(w.snapshot, service_of(&w), at_once, NULL));
    catalog_begin(w.catalog, ++w.revision);
    for (unsigned i = 0; i < IDS; i++) {
        char id[16];
        snprintf(id, sizeof id, "i%03u", i);
        struct name name = {NAME_INSTANCE,   slice_text("n"), slice_text("g"),
                            slice_text("s"), slice_text(id),  0};
        catalog_delete(w.catalog, &name);
        name.kind = NAME_OVERRIDE;
        catalog_delete(w.catalog, &name);
    }
    catalog_end(w.catalog);
    assert_null(service_of(&w));
    assert_true(service_snapshot_take(w.snapshot, NULL, at_once, NULL));
    service_snapshot_choose(w.snapshot, 0, &result);
    assert_int_equal(result.count, 0);
    assert_true(service_snapshot_free_some(w.snapshot, 1000));
    catalog_free(w.catalog);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_revision),
        cmocka_unit_test(test_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
