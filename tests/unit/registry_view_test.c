/* SPDX-License-Identifier: Apache-2.0
 * Tests of the registry's view and its watchers: reads after a barrier, waits and their length, which
 * watcher is notified of what, and watches that begin and end during a notification. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/metric.h"
#include "registry/view.h"
#include "tests/unit/registry_node.h"

#define UP "{\"host\":\"h\",\"port\":1}"

static int setup(void **state)
{
    struct registry_node *n = mem_new(sizeof *n);
    registry_node_open(n, NULL);
    *state = n;
    return 0;
}

static int teardown(void **state)
{
    struct registry_node *n = *state;
    registry_node_close(n);
    mem_free(n);
    return 0;
}

static void test_read_your_writes(void **state)
{
    struct registry_node *n = *state;
    for (int i = 0; i < 50; i++) {
        char id[16];
        snprintf(id, sizeof id, "i%d", i);
        int64_t revision = registry_node_put(n, NAME_INSTANCE, "web", id, UP);
        assert_true(registry_node_settle(n) >= revision);
        assert_non_null(registry_node_find(n, "web", id));
        assert_true(registry_revision(n->registry) >= revision);
    }
    registry_node_remove(n, NAME_INSTANCE, "web", "i7");
    registry_node_settle(n);
    assert_null(registry_node_find(n, "web", "i7"));
}

static void test_guarded_is_shown(void **state)
{
    struct registry_node *n = *state;
    struct buf text = {0};
    struct json_writer w = {.out = &text};
    registry_node_put(n, NAME_INSTANCE, "web", "a", "{\"host\":\"h\",\"guarded\":true,\"session\":\"5\"}");
    registry_node_settle(n);
    view_write_instance(registry_node_find(n, "web", "a"), &(struct inheritance){0}, &w);
    assert_non_null(strstr(buf_text(&text), "\"guarded\":true"));
    assert_non_null(strstr(buf_text(&text), "\"serving\":true"));
    buf_done(&text);
}

/* Keys outside of the registry are ignored; documents that do not parse are counted. */
static void test_strange_keys(void **state)
{
    struct registry_node *n = *state;
    one_node_put(&n->node, "/cairn/registry/instances/a", "x", 0);
    one_node_put(&n->node, "/cairn/registry/other/a/b/c/d", "x", 0);
    one_node_put(&n->node, "/cairn/registry/sessions/1", "{}", 0);
    registry_node_put(n, NAME_INSTANCE, "web", "a", "not json");
    registry_node_settle(n);
    assert_null(registry_node_find(n, "web", "a"));
    assert_int_equal(catalog_unreadable(registry_catalog(n->registry)), 1);
    registry_node_put(n, NAME_INSTANCE, "web", "a", UP);
    registry_node_settle(n);
    assert_non_null(registry_node_find(n, "web", "a"));
    assert_int_equal(catalog_unreadable(registry_catalog(n->registry)), 0);
}

/* Revisions of other keys count too: a barrier's end does not depend on a change of ours. */
static void test_wait_revision(void **state)
{
    struct registry_node *n = *state;
    struct registry_reply a = {.request.done = registry_reply_done}, late = a, past = a;
    int64_t now = one_node_put(&n->node, "/elsewhere", "x", 0);
    registry_wait_revision(n->registry, &past.request, now, 10000);
    assert_false(past.is_done); /* never from inside the call */
    registry_node_wait(n, &past);
    assert_int_equal(past.err, OK);
    registry_wait_revision(n->registry, &a.request, now + 1, 10000);
    registry_wait_revision(n->registry, &late.request, now + 2, 50);
    registry_node_wait(n, &late);
    assert_int_equal(late.err, ERR_TIMEOUT);
    assert_false(a.is_done);
    one_node_put(&n->node, "/elsewhere", "y", 0);
    registry_node_wait(n, &a);
    assert_int_equal(a.err, OK);
}

static void test_cancel(void **state)
{
    struct registry_node *n = *state;
    struct registry_reply a = {.request.done = registry_reply_done}, b = a, c = a;
    registry_barrier(n->registry, &a.request);
    registry_wait_revision(n->registry, &b.request, 1000000, 10);
    registry_wait_revision(n->registry, &c.request, 0, 10); /* ended, not yet notified */
    registry_cancel(n->registry, &a.request);
    registry_cancel(n->registry, &b.request);
    registry_cancel(n->registry, &c.request);
    registry_cancel(n->registry, &c.request);
    one_node_run_ms(&n->node, 30);
    registry_node_settle(n);
    assert_false(a.is_done || b.is_done || c.is_done);
}

/* A waiter that is pending when the registry closes gets the error. */
static void test_stopped(void **state)
{
    struct registry_node *n = *state;
    struct registry_reply a = {.request.done = registry_reply_done}, b = a;
    registry_barrier(n->registry, &a.request);
    registry_wait_revision(n->registry, &b.request, 1000000, 100000);
    registry_free(n->registry);
    n->registry = NULL;
    assert_int_equal(a.err, ERR_STOPPED);
    assert_true(a.is_done && b.is_done);
}

/* --- watches ------------------------------------------------------------------------------------------ */

struct watcher {
    struct registry_watch watch;
    struct registry_node *node;
    struct buf log;
    struct watcher *ends, *begins; /* the callback's action */
    unsigned told;
};

static void on_changed(struct registry_watch *watch, const struct catalog_change *change)
{
    struct watcher *w = container_of(watch, struct watcher, watch);
    w->told++;
    buf_addf(&w->log, "[%.*s", (int)change->service->name.size, change->service->name.data);
    for (size_t i = 0; i < change->id_count; i++)
        buf_addf(&w->log, " %.*s", (int)change->ids[i].size, change->ids[i].data);
    buf_add_text(&w->log, change->are_settings_changed ? " settings]" : "]");
    assert_int_equal(change->revision, registry_revision(w->node->registry));
    if (w->ends)
        registry_unwatch(&w->ends->watch);
    if (w->begins) {
        struct registry_key key = registry_key_of("web", NULL);
        registry_watch_service(w->node->registry, &w->begins->watch, &key);
    }
    w->begins = NULL;
}

static const char *notifications(struct watcher *w)
{
    static struct buf copy;
    buf_clear(&copy);
    buf_add_slice(&copy, buf_slice(&w->log));
    buf_clear(&w->log);
    return buf_text(&copy);
}

static struct watcher *watch(struct registry_node *n, const char *service)
{
    struct watcher *w = mem_new(sizeof *w);
    struct registry_key key = registry_key_of(service ? service : "-", NULL);
    w->watch.changed = on_changed;
    w->node = n;
    if (service)
        registry_watch_service(n->registry, &w->watch, &key);
    return w;
}

static void unwatch(struct watcher *w)
{
    registry_unwatch(&w->watch);
    buf_done(&w->log);
    mem_free(w);
}

/* The service need not exist. */
static void test_watch_one(void **state)
{
    struct registry_node *n = *state;
    struct watcher *w = watch(n, "web");
    registry_node_put(n, NAME_INSTANCE, "web", "a", UP);
    registry_node_put(n, NAME_INSTANCE, "other", "a", UP);
    registry_node_put(n, NAME_INSTANCE, "g2/web", "a", UP);
    registry_node_put(n, NAME_INSTANCE, "n2/default/web", "a", UP);
    registry_node_settle(n);
    assert_string_equal(notifications(w), "[web a]");
    registry_node_put(n, NAME_SERVICE, "web", NULL, "{}");
    registry_node_put(n, NAME_OVERRIDE, "web", "b", "{\"enabled\":false}");
    registry_node_settle(n);
    assert_string_equal(notifications(w), "[web settings][web b]");
    one_node_delete(&n->node, "/cairn/registry/", "/cairn/registry0");
    registry_node_settle(n);
    assert_string_equal(notifications(w), "[web a b settings]");
    unwatch(w);
    struct registry_key key = registry_key_of("web", NULL);
    assert_null(catalog_find(registry_catalog(n->registry), key.ns, key.group, key.service));
}

static void test_watch_many(void **state)
{
    struct registry_node *n = *state;
    struct watcher *all = watch(n, NULL), *some = watch(n, NULL), *group = watch(n, NULL);
    registry_watch_services(n->registry, &all->watch, slice_text("default"), (struct slice){0},
                            (struct slice){0});
    registry_watch_services(n->registry, &some->watch, slice_text("default"), (struct slice){0},
                            slice_text("we"));
    registry_watch_services(n->registry, &group->watch, slice_text("default"), slice_text("g2"),
                            (struct slice){0});
    registry_node_put(n, NAME_INSTANCE, "web", "a", UP);
    registry_node_put(n, NAME_INSTANCE, "w", "a", UP);
    registry_node_put(n, NAME_INSTANCE, "g2/x", "a", UP);
    registry_node_put(n, NAME_INSTANCE, "n2/default/web", "a", UP);
    registry_node_settle(n);
    assert_string_equal(notifications(all), "[web a][w a][x a]");
    assert_string_equal(notifications(some), "[web a]");
    assert_string_equal(notifications(group), "[x a]");
    unwatch(all);
    unwatch(some);
    unwatch(group);
}

/* Watches that end themselves, the previous one, the next one; those that begin meanwhile are not notified of
 * it any more. */
static void test_watch_during_a_notification(void **state)
{
    struct registry_node *n = *state;
    struct watcher *w[6];
    for (int i = 0; i < 6; i++)
        w[i] = i < 5 ? watch(n, "web") : watch(n, NULL);
    /* Notified from the newest to the oldest: 4, 3, 2, 1, 0. */
    w[4]->ends = w[4];
    w[3]->ends = w[2];
    w[1]->ends = w[3];
    w[0]->begins = w[5];
    w[5]->watch.changed = on_changed;
    registry_node_put(n, NAME_INSTANCE, "web", "a", UP);
    registry_node_settle(n);
    const unsigned expected[] = {1, 1, 0, 1, 1, 0};
    for (int i = 0; i < 6; i++)
        assert_int_equal(w[i]->told, expected[i]);
    w[0]->ends = w[0];
    w[1]->ends = w[1];
    w[5]->ends = w[5];
    registry_node_put(n, NAME_INSTANCE, "web", "b", UP);
    registry_node_settle(n);
    const unsigned at_last[] = {2, 2, 0, 1, 1, 1};
    for (int i = 0; i < 6; i++)
        assert_int_equal(w[i]->told, at_last[i]);
    registry_node_put(n, NAME_INSTANCE, "web", "c", UP);
    registry_node_settle(n);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(w[i]->told, at_last[i]);
        unwatch(w[i]);
    }
}

/* --- metrics ------------------------------------------------------------------------------------------ */

static void ignore(struct registry_watch *watch, const struct catalog_change *change)
{
    (void)watch;
    (void)change;
}

static void test_metrics(void **state)
{
    struct registry_node *n = *state;
    struct watcher *w = watch(n, "web");
    const struct registry_subscriber subscriber = {.client_id = slice_text("c")};
    struct registry_watch seen = {.changed = ignore, .subscriber = &subscriber};
    struct registry_key key = registry_key_of("web", NULL);
    struct buf text = {0};
    registry_watch_service(n->registry, &seen, &key);
    registry_node_registered(n, "web", "a", "{\"host\":\"h\"}", 0);
    registry_node_put(n, NAME_INSTANCE, "web", "b", "{\"host\":\"h\",\"state\":\"down\"}");
    registry_node_put(n, NAME_INSTANCE, "web", "c", "rubbish");
    registry_unwatch(&seen);
    registry_watch_service(n->registry, &seen, &key);
    registry_node_settle(n);
    metric_print(&text);
    static const char *const lines[] = {
        "\ncairn_registry_instances{state=\"up\"} 1\n",
        "\ncairn_registry_instances{state=\"down\"} 1\n",
        "\ncairn_registry_services 1\n",
        "\ncairn_registry_sessions 1\n",
        "\ncairn_registry_unreadable_documents 1\n",
        "\ncairn_registry_subscribers 1\n",
        "\ncairn_registry_ready 1\n",
        "\ncairn_registry_registrations_total ",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(buf_text(&text), lines[i]))
            fail_msg("no %s", lines[i]);
    registry_unwatch(&seen);
    unwatch(w);
    buf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_guarded_is_shown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_your_writes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strange_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wait_revision, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cancel, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch_one, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_watch_during_a_notification, setup, teardown),
        cmocka_unit_test_setup_teardown(test_metrics, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
