/* SPDX-License-Identifier: Apache-2.0
 * Tests of inherited metadata: the merge, selectors, the view of an instance, snapshots that settings change during,
 * settings that are stored without and with it, registrations beside it. */
#include <stdio.h>

#include "consensus/feature.h"
#include "registry/service_snapshot.h"
#include "registry/view.h"
#include "tests/unit/registry_node.h"
#include "tests/unit/unit.h"

#define S(text) slice_text(text)

/* --- the merge ---------------------------------------------------------------------------------------- */

static struct document_map map_of(struct document_pair *list, size_t count)
{
    return (struct document_map){list, count};
}

static void test_merge(void **state)
{
    (void)state;
    struct document_pair theirs[] = {{S("a"), S("1")}, {S("c"), S("3")}, {S("e"), S("5")}};
    struct document_pair mine[] = {{S("b"), S("x")}, {S("c"), S("y")}, {S("f"), S("z")}};
    const struct inheritance h = {map_of(theirs, 3), 7}, none = {0};
    const struct document_map own = map_of(mine, 3), empty = {0};
    struct arena a = {0};
    struct buf text = {0};
    struct json_writer w = {.out = &text};
    struct document_map merged = inheritance_merge(&h, &own, &a);
    document_write_map(&merged, &w);
    assert_string_equal(buf_text(&text), "{\"a\":\"1\",\"b\":\"x\",\"c\":\"y\",\"e\":\"5\",\"f\":\"z\"}");
    assert_ptr_equal(inheritance_merge(&none, &own, &a).list, mine); /* no copy */
    assert_int_equal(inheritance_merge(&h, &empty, &a).count, 3);
    assert_int_equal(inheritance_merge(&none, &empty, &a).count, 0);
    struct slice value;
    assert_true(inheritance_find(&h, &own, S("c"), &value) && slice_equal(value, S("y")));
    assert_true(inheritance_find(&h, &own, S("e"), &value) && slice_equal(value, S("5")));
    assert_false(inheritance_find(&h, &own, S("d"), &value));
    assert_false(inheritance_find(&none, &empty, S("a"), &value));
    arena_done(&a);
    buf_done(&text);
}

/* --- views and selectors ------------------------------------------------------------------------------ */

static int setup_at(void **state, unsigned level)
{
    struct registry_node *n = mem_new(sizeof *n);
    n->node.feature_level = level;
    registry_node_open(n, NULL);
    *state = n;
    return 0;
}

static int setup(void **state)
{
    return setup_at(state, 0);
}

static int setup_older(void **state)
{
    return setup_at(state, FEATURE_LEVEL_CONTENTS - 1);
}

static int teardown(void **state)
{
    struct registry_node *n = *state;
    registry_node_close(n);
    mem_free(n);
    return 0;
}

/* text: as a client sends it; NULL deletes them. */
static struct registry_reply put_settings(struct registry_node *n, const char *text)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    struct registry_key key = registry_key_of("web", NULL);
    struct arena arena = {0};
    struct settings doc = {0};
    char error[200];
    if (text)
        assert_int_equal(settings_read(S(text), DOCUMENT_STRICT, &arena, &doc, error, sizeof error), OK);
    a.request.author.name = S("alice");
    registry_put_settings(n->registry, &a.request, &key, text ? &doc : NULL);
    registry_node_wait(n, &a);
    registry_node_settle(n);
    arena_done(&arena);
    return a;
}

static const char *view_of(struct registry_node *n, const char *id)
{
    static struct buf text;
    struct json_writer w = {.out = &text};
    const struct catalog_instance *i = registry_node_find(n, "web", id);
    const struct inheritance inherited = inheritance_of(i->service);
    buf_clear(&text);
    view_write_instance(i, &inherited, &w);
    return buf_text(&text);
}

static bool is_selected(struct registry_node *n, const char *id, const char *key, const char *value)
{
    const struct select_query q = {.labels = {{S(key), S(value)}}, .label_count = 1};
    return select_fits(&q, registry_node_find(n, "web", id));
}

#define TEAM "{\"metadata\":{\"team\":\"shop\",\"tier\":\"1\"}}"

static void assert_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no %s in %s", part, text);
}

static void test_view(void **state)
{
    struct registry_node *n = *state;
    registry_node_registered(n, "web", "a", "{\"host\":\"h\",\"metadata\":{\"team\":\"own\",\"x\":\"y\"}}",
                             0);
    registry_node_registered(n, "web", "b", "{\"host\":\"h\"}", 0);
    registry_node_registered(n, "web", "c", "{\"host\":\"h\",\"metadata\":{\"team\":\"own\",\"tier\":\"2\"}}",
                             0);
    registry_node_settle(n);
    assert_null(strstr(view_of(n, "b"), "metadata"));
    assert_null(strstr(view_of(n, "b"), "settings_revision"));
    assert_false(is_selected(n, "b", "team", "shop"));
    long long at = put_settings(n, TEAM).result.revision;
    char revision[64];
    snprintf(revision, sizeof revision, "\"settings_revision\":%lld,", at);
    assert_has(view_of(n, "a"), "\"metadata\":{\"team\":\"own\",\"tier\":\"1\",\"x\":\"y\"},");
    assert_has(view_of(n, "a"), "\"inherited\":[\"tier\"],\"settings_revision\":");
    assert_has(view_of(n, "b"), "\"metadata\":{\"team\":\"shop\",\"tier\":\"1\"},");
    assert_has(view_of(n, "b"), "\"inherited\":[\"team\",\"tier\"],");
    assert_has(view_of(n, "b"), revision);
    assert_has(view_of(n, "c"), revision); /* it hides all of them */
    assert_null(strstr(view_of(n, "c"), "inherited"));
    assert_true(is_selected(n, "a", "team", "own") && is_selected(n, "a", "tier", "1"));
    assert_false(is_selected(n, "a", "team", "shop"));
    assert_true(is_selected(n, "b", "team", "shop") && !is_selected(n, "c", "tier", "1"));
    /* The stored instance has its own alone. */
    assert_int_equal(registry_node_find(n, "web", "b")->doc->metadata.count, 0);
    assert_int_equal(put_settings(n, NULL).err, OK);
    assert_null(strstr(view_of(n, "b"), "metadata"));
    assert_false(is_selected(n, "b", "team", "shop"));
}

/* An instance that another framework registered inherits as well. */
static void test_projected(void **state)
{
    struct registry_node *n = *state;
    one_node_put(
        &n->node, "/microservices/web/k1",
        "{\"id\":\"k1\",\"name\":\"web\",\"metadata\":{\"tier\":\"2\"},\"endpoints\":[\"grpc://h:9\"]}", 0);
    put_settings(n, TEAM);
    assert_has(view_of(n, "kratos:k1"), "\"metadata\":{\"team\":\"shop\",\"tier\":\"2\"},");
    assert_has(view_of(n, "kratos:k1"), "\"inherited\":[\"team\"],");
    assert_true(is_selected(n, "kratos:k1", "team", "shop"));
}

/* A registration with the same document is a heartbeat, whatever the service has; and so is one settings' put. */
static void test_nothing_is_written(void **state)
{
    struct registry_node *n = *state;
    registry_node_registered(n, "web", "b", "{\"host\":\"h\"}", 0);
    assert_false(put_settings(n, TEAM).result.is_unchanged);
    int64_t now = kv_revision(n->node.kv);
    struct registry_result same = registry_node_registered(n, "web", "b", "{\"host\":\"h\"}", 0);
    assert_true(same.is_unchanged);
    assert_true(put_settings(n, TEAM).result.is_unchanged);
    assert_int_equal(kv_revision(n->node.kv), now);
    assert_int_equal(registry_node_find(n, "web", "b")->doc->metadata.count, 0);
    /* The service's pairs are no part of an instance: giving them as its own is a change. */
    assert_false(registry_node_registered(
                     n, "web", "b", "{\"host\":\"h\",\"metadata\":{\"team\":\"shop\",\"tier\":\"1\"}}", 0)
                     .is_unchanged);
    registry_node_settle(n);
    assert_null(strstr(view_of(n, "b"), "inherited"));
}

/* While older members are there, metadata of settings is what it was before: the service's alone. */
static void test_older_members(void **state)
{
    struct registry_node *n = *state;
    registry_node_registered(n, "web", "b", "{\"host\":\"h\"}", 0);
    assert_int_equal(put_settings(n, TEAM).err, OK);
    assert_null(strstr(view_of(n, "b"), "metadata"));
    assert_false(is_selected(n, "b", "team", "shop"));
    const struct catalog_service *s = registry_node_find(n, "web", "b")->service;
    assert_int_equal(s->settings.metadata.count, 2);
    assert_false(s->settings.is_inherited);
    assert_true(put_settings(n, TEAM).result.is_unchanged);
}

/* Settings of an older version are not inherited until they are put again. */
static void test_older_settings(void **state)
{
    struct registry_node *n = *state;
    registry_node_registered(n, "web", "b", "{\"host\":\"h\"}", 0);
    registry_node_put(n, NAME_SERVICE, "web", NULL, TEAM);
    registry_node_settle(n);
    assert_null(strstr(view_of(n, "b"), "metadata"));
    assert_false(put_settings(n, TEAM).result.is_unchanged);
    assert_has(view_of(n, "b"), "\"team\":\"shop\"");
    assert_false(put_settings(n, "{\"protect_threshold\":0.5}").result.is_unchanged);
    assert_null(strstr(view_of(n, "b"), "metadata"));
    assert_false(registry_node_find(n, "web", "b")->service->settings.is_inherited);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"{\"metadata\":{\"a\":1}}", "metadata"},
        {"{\"metadata\":[]}", "metadata"},
        {"{\"inherit\":true}", "inherit"},
        {"{\"metadata\":{\"a\":\"b\"},\"inherit\":false}", "inherit"},
    };
    struct arena a = {0};
    struct settings doc;
    struct buf large = {0};
    char error[200];
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        assert_int_equal(settings_read(S(wrong[i].text), DOCUMENT_STRICT, &a, &doc, error, sizeof error),
                         ERR_INVALID);
        assert_has(error, wrong[i].says);
    }
    for (int over = 0; over < 2; over++) { /* key and value together */
        buf_clear(&large);
        buf_add_text(&large, "{\"metadata\":{\"k\":\"");
        for (int i = 0; i < SETTINGS_METADATA_MAX - 1 + over; i++)
            buf_add_byte(&large, 'v');
        buf_add_text(&large, "\"}}");
        assert_int_equal(settings_read(buf_slice(&large), DOCUMENT_STRICT, &a, &doc, error, sizeof error),
                         over ? ERR_INVALID : OK);
    }
    buf_done(&large);
    arena_done(&a);
}

/* --- changes ------------------------------------------------------------------------------------------ */

struct noted {
    struct registry_watch watch;
    unsigned settings, inheritance;
};

static void on_changed(struct registry_watch *w, const struct catalog_change *change)
{
    struct noted *d = container_of(w, struct noted, watch);
    d->settings += change->are_settings_changed;
    d->inheritance += change->is_inheritance_changed;
}

/* Only a change of what is inherited is one: not other settings, nor the same pairs again. */
static void test_changes(void **state)
{
    struct registry_node *n = *state;
    struct noted d = {.watch.changed = on_changed};
    struct registry_key key = registry_key_of("web", NULL);
    registry_node_registered(n, "web", "b", "{\"host\":\"h\"}", 0);
    registry_node_settle(n);
    registry_watch_service(n->registry, &d.watch, &key);
    put_settings(n, "{\"protect_threshold\":0.5}");
    assert_true(d.settings == 1 && d.inheritance == 0);
    put_settings(n, TEAM);
    assert_true(d.settings == 2 && d.inheritance == 1);
    put_settings(n, "{\"protect_threshold\":0.5,\"metadata\":{\"tier\":\"1\",\"team\":\"shop\"}}");
    assert_true(d.settings == 3 && d.inheritance == 1);
    put_settings(n, "{\"metadata\":{\"tier\":\"1\",\"team\":\"shops\"}}");
    assert_true(d.settings == 4 && d.inheritance == 2);
    registry_node_put(n, NAME_SERVICE, "web", NULL, "no document");
    registry_node_settle(n);
    assert_true(d.settings == 5 && d.inheritance == 3);
    registry_node_registered(n, "web", "b", "{\"host\":\"h2\"}", 0);
    registry_node_settle(n);
    assert_true(d.settings == 5 && d.inheritance == 3);
    registry_unwatch(&d.watch);
}

/* --- snapshots ---------------------------------------------------------------------------------------- */

static struct service_snapshot *snapshot;

static void on_catalog_changed(void *arg, const struct catalog_change *change)
{
    (void)arg;
    if (snapshot)
        service_snapshot_change(snapshot, change);
}

static bool at_once(const void *arg)
{
    (void)arg;
    return true;
}

static void put_key(struct catalog *c, enum name_kind kind, const char *id, const char *text)
{
    struct name name = {kind, S("n"), S("g"), S("s"), S(id), 0};
    int64_t revision = catalog_revision(c) + 1;
    catalog_begin(c, revision);
    catalog_put(c, &name, S(text), revision, revision);
    catalog_end(c);
}

/* The settings change between two slices: the whole snapshot is of the revision at its end. */
static void test_snapshot(void **state)
{
    (void)state;
    const struct catalog_events events = {.changed = on_catalog_changed};
    const struct select_query q = {.labels = {{S("team"), S("shop")}}, .label_count = 1};
    for (int begins = 0; begins < 2; begins++) {
        struct catalog *c = catalog_new(&events);
        struct select_result result;
        char id[16];
        for (int i = 0; i < 200; i++) {
            snprintf(id, sizeof id, "i%03d", i);
            put_key(c, NAME_INSTANCE, id, "{\"host\":\"h\"}");
        }
        const char *with = "{\"metadata\":{\"team\":\"shop\"},\"inherit\":true}", *without = "{}";
        put_key(c, NAME_SERVICE, "", begins ? without : with);
        snapshot = service_snapshot_new(&q);
        assert_false(service_snapshot_take(snapshot, catalog_find(c, S("n"), S("g"), S("s")), at_once, NULL));
        put_key(c, NAME_SERVICE, "", begins ? with : without);
        while (!service_snapshot_take(snapshot, catalog_find(c, S("n"), S("g"), S("s")), at_once, NULL))
            continue;
        service_snapshot_choose(snapshot, 0, &result);
        assert_int_equal(result.count, begins ? 200 : 0);
        while (!service_snapshot_free_some(snapshot, 1000))
            continue;
        snapshot = NULL;
        catalog_free(c);
    }
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge),
        TEST(test_view),
        TEST(test_projected),
        TEST(test_nothing_is_written),
        cmocka_unit_test_setup_teardown(test_older_members, setup_older, teardown),
        TEST(test_older_settings),
        cmocka_unit_test(test_refused),
        TEST(test_changes),
        cmocka_unit_test(test_snapshot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
