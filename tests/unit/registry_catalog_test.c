/* SPDX-License-Identifier: Apache-2.0
 * Tests of the registry's view against a plain model. After every batch of random changes the counts are
 * those of a full walk, sessions know their instances, and the notifications are exactly the differences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <malloc.h>

#include "registry/catalog.h"

enum { SERVICES = 5, IDS = 6, SESSIONS = 4, KEYS = SERVICES * IDS };

struct world {
    struct catalog *catalog;
    int64_t revision;
    uint64_t random;
    /* The model: mod revision (0 = absent), the document's content. */
    struct {
        int64_t doc, override;
        int session; /* 0 = none */
        enum instance_state state;
        unsigned weight, override_weight;
    } keys[KEYS];
    int64_t sessions[SESSIONS + 1], settings[SERVICES];
    bool expected[KEYS], told[KEYS], settings_expected[SERVICES], settings_notified[SERVICES];
    int64_t service_revision[SERVICES];
    unsigned gone, back;
    bool is_back[SESSIONS + 1];
};

static unsigned draw(struct world *w, unsigned n)
{
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(w->random >> 33) % n;
}

static struct name name_of(enum name_kind kind, int service, int id)
{
    static const char *const services[SERVICES] = {"a", "ab", "b", "orders", "z"};
    static const char *const ids[IDS] = {"1", "10", "2", "x", "y", "z/"};
    return (struct name){kind,
                         slice_text(service % 2 ? "n1" : "n2"),
                         slice_text("g"),
                         slice_text(services[service]),
                         kind == NAME_SERVICE ? (struct slice){0} : slice_text(ids[id]),
                         0};
}

static int service_at(const struct catalog_service *s)
{
    for (int i = 0; i < SERVICES; i++)
        if (slice_equal(s->name, name_of(NAME_SERVICE, i, 0).service))
            return i;
    fail();
    return 0;
}

static void on_changed(void *arg, const struct catalog_change *change)
{
    struct world *w = arg;
    int service = service_at(change->service);
    assert_int_equal(change->revision, w->revision);
    assert_int_equal(change->previous, w->service_revision[service]);
    w->service_revision[service] = w->revision;
    w->settings_notified[service] = change->are_settings_changed;
    for (size_t i = 0; i < change->id_count; i++) {
        assert_true(i == 0 || slice_compare(change->ids[i - 1], change->ids[i]) < 0);
        for (int id = 0; id < IDS; id++)
            if (slice_equal(change->ids[i], name_of(NAME_INSTANCE, service, id).id))
                w->told[service * IDS + id] = true;
    }
}

static void on_gone(void *arg, struct catalog_session *session)
{
    struct world *w = arg;
    assert_false(session->exists);
    w->gone += session->instance_count > 0;
}

static void on_back(void *arg, struct catalog_session *session)
{
    struct world *w = arg;
    assert_true(session->exists);
    assert_true(session->instance_count > 0);
    assert_false(w->is_back[session->id]);
    w->is_back[session->id] = true;
    w->back++;
}

static void put_doc(struct world *w, int key)
{
    struct name name = name_of(NAME_INSTANCE, key / IDS, key % IDS);
    char text[200], session[32] = "";
    w->keys[key].session = (int)draw(w, SESSIONS + 1);
    w->keys[key].state = (enum instance_state)draw(w, INSTANCE_STATES);
    w->keys[key].weight = draw(w, 3);
    w->keys[key].doc = w->revision;
    if (w->keys[key].session)
        snprintf(session, sizeof session, ",\"session\":\"%x\"", (unsigned)w->keys[key].session);
    snprintf(text, sizeof text, "{\"host\":\"h\",\"weight\":%u,\"state\":\"%s\"%s}", w->keys[key].weight,
             instance_state_name(w->keys[key].state), session);
    catalog_put(w->catalog, &name, slice_text(text), 1, w->revision);
    w->expected[key] = true;
}

static void change_instance(struct world *w, int key)
{
    struct name name = name_of(NAME_INSTANCE, key / IDS, key % IDS);
    if (w->expected[key])
        return; /* a revision changes a key once */
    if (draw(w, 3)) {
        put_doc(w, key);
    } else if (w->keys[key].doc) {
        if (draw(w, 2))
            catalog_delete(w->catalog, &name);
        else
            catalog_put(w->catalog, &name, slice_text("{\"port\":1}"), 1,
                        w->revision); /* unreadable: as if deleted */
        w->keys[key].doc = 0;
        w->expected[key] = true;
    }
}

static void change_override(struct world *w, int key)
{
    struct name name = name_of(NAME_OVERRIDE, key / IDS, key % IDS);
    char text[64];
    if (w->keys[key].override && draw(w, 2)) {
        catalog_delete(w->catalog, &name);
        w->keys[key].override = 0;
    } else if (w->keys[key].override != w->revision) {
        w->keys[key].override_weight = draw(w, 3);
        snprintf(text, sizeof text, "{\"weight\":%u}", w->keys[key].override_weight);
        catalog_put(w->catalog, &name, slice_text(text), 1, w->revision);
        w->keys[key].override = w->revision;
    }
    w->expected[key] = true;
}

static void change_session(struct world *w, int id)
{
    struct name name = {.kind = NAME_SESSION, .session = id};
    if (w->sessions[id]) {
        catalog_delete(w->catalog, &name);
        w->sessions[id] = 0;
    } else {
        catalog_put(w->catalog, &name, slice_text("{\"client_id\":\"c\",\"ttl\":15}"), 1, w->revision);
        w->sessions[id] = w->revision;
    }
}

static void change_settings(struct world *w, int service)
{
    struct name name = name_of(NAME_SERVICE, service, 0);
    if (w->settings_expected[service])
        return;
    if (w->settings[service] && draw(w, 2)) {
        catalog_delete(w->catalog, &name);
        w->settings[service] = 0;
    } else {
        catalog_put(w->catalog, &name, slice_text("{\"protect_threshold\":0.5,\"metadata\":{\"k\":\"v\"}}"),
                    1, w->revision);
        w->settings[service] = w->revision;
    }
    w->settings_expected[service] = true;
}

static void check_service(struct world *w, int service, size_t *services)
{
    struct name name = name_of(NAME_SERVICE, service, 0);
    struct catalog_service *s = catalog_find(w->catalog, name.ns, name.group, name.service);
    size_t by_state[INSTANCE_STATES] = {0}, docs = 0;
    for (int id = 0; id < IDS; id++) {
        int key = service * IDS + id;
        struct catalog_instance *i = s ? catalog_instance(s, name_of(NAME_INSTANCE, service, id).id) : NULL;
        assert_int_equal(i && i->doc, w->keys[key].doc != 0);
        assert_int_equal(i && i->override, w->keys[key].override != 0);
        if (!i || !i->doc)
            continue;
        struct catalog_effect e = catalog_effect(i);
        unsigned weight = i->override ? w->keys[key].override_weight : w->keys[key].weight;
        assert_int_equal(e.weight, weight);
        assert_int_equal(e.serves, weight > 0 && instance_state_serves(w->keys[key].state));
        assert_int_equal(i->mod_revision, w->keys[key].doc);
        assert_int_equal(i->hangs_on ? i->hangs_on->id : 0, w->keys[key].session);
        by_state[w->keys[key].state]++;
        docs++;
    }
    assert_int_equal(s ? s->instances : 0, docs);
    for (int k = 0; s && k < INSTANCE_STATES; k++)
        assert_int_equal(s->by_state[k], by_state[k]);
    assert_int_equal(s && s->has_settings, w->settings[service] != 0);
    *services += docs || w->settings[service];
}

static bool count_one(void *arg, struct catalog_service *s)
{
    assert_true(catalog_exists(s));
    ++*(size_t *)arg;
    return true;
}

/* Sessions that arrived after their instance, which did not change. */
static void check_back(struct world *w)
{
    for (int k = 0; k < KEYS; k++) {
        int id = w->keys[k].session;
        if (w->keys[k].doc && id && !w->expected[k] && w->sessions[id] == w->revision)
            assert_true(w->is_back[id]);
    }
}

static size_t at_risk(struct world *w, struct slice ns)
{
    size_t n = 0;
    for (int k = 0; k < KEYS; k++) {
        struct name name = name_of(NAME_INSTANCE, k / IDS, k % IDS);
        unsigned weight = w->keys[k].override ? w->keys[k].override_weight : w->keys[k].weight;
        n += w->keys[k].doc && slice_equal(name.ns, ns) && w->keys[k].session && weight > 0 &&
             instance_state_serves(w->keys[k].state);
    }
    return n;
}

static void check_world(struct world *w)
{
    size_t services = 0, listed = 0, hanging = 0, named = 0, sessions = 0;
    for (int i = 0; i < SERVICES; i++) {
        check_service(w, i, &services);
        assert_int_equal(w->settings_notified[i], w->settings_expected[i]);
    }
    for (int k = 0; k < KEYS; k++) {
        assert_int_equal(w->told[k], w->expected[k]);
        named += w->keys[k].doc && w->keys[k].session;
    }
    const char *const spaces[] = {"n1", "n2"};
    size_t counted = 0, places = 0;
    struct catalog_namespace sums = {0};
    for (int n = 0; n < 2; n++) {
        const struct catalog_namespace *ns = catalog_namespace(w->catalog, slice_text(spaces[n]));
        counted += ns ? ns->services : 0;
        places += ns ? ns->places : 0;
        assert_true(!ns || ns->places > 0);
        sums.overrides += ns ? ns->overrides : 0;
        sums.instances += ns ? ns->instances : 0;
        sums.by_state[INSTANCE_DOWN] += ns ? ns->by_state[INSTANCE_DOWN] : 0;
        assert_int_equal(ns ? ns->at_risk : 0, at_risk(w, slice_text(spaces[n])));
        catalog_each(w->catalog, slice_text(spaces[n]), (struct slice){0}, (struct slice){0},
                     (struct slice){0}, count_one, &listed);
    }
    assert_int_equal(counted, services);
    const struct catalog_namespace *all = catalog_all(w->catalog);
    assert_int_equal(all->services, services);
    assert_int_equal(all->places, places);
    assert_int_equal(all->overrides, sums.overrides);
    assert_int_equal(all->instances, sums.instances);
    assert_int_equal(all->by_state[INSTANCE_DOWN], sums.by_state[INSTANCE_DOWN]);
    size_t overridden = 0;
    for (int k = 0; k < KEYS; k++)
        overridden += w->keys[k].override != 0;
    assert_int_equal(all->overrides, overridden);
    assert_int_equal(listed, services);
    for (int id = 1; id <= SESSIONS; id++) {
        struct catalog_session *s = catalog_session(w->catalog, id);
        assert_int_equal(s != NULL, w->sessions[id] != 0);
        sessions += s != NULL;
        hanging += s ? s->instance_count : 0;
    }
    assert_int_equal(catalog_session_count(w->catalog), sessions);
    LIST_FOR_EACH (l, catalog_absent_sessions(w->catalog)) {
        struct catalog_session *s = container_of(l, struct catalog_session, absent);
        assert_true(!s->exists && s->instance_count > 0);
        hanging += s->instance_count;
    }
    assert_int_equal(hanging, named);
}

static void begin(struct world *w)
{
    w->revision++;
    memset(w->expected, 0, sizeof w->expected);
    memset(w->told, 0, sizeof w->told);
    memset(w->is_back, 0, sizeof w->is_back);
    memset(w->settings_expected, 0, sizeof w->settings_expected);
    memset(w->settings_notified, 0, sizeof w->settings_notified);
}

static void run(uint64_t seed)
{
    struct world w = {.random = seed, .revision = 1};
    struct catalog_events events = {on_changed, on_gone, on_back, &w, NULL};
    w.catalog = catalog_new(&events);
    struct catalog_service *held[SERVICES];
    for (int i = 0; i < SERVICES; i++) { /* protected: their places and revisions stay */
        struct name n = name_of(NAME_SERVICE, i, 0);
        held[i] = catalog_hold(w.catalog, n.ns, n.group, n.service);
    }
    for (int batch = 0; batch < 400; batch++) {
        begin(&w);
        catalog_begin(w.catalog, w.revision);
        bool session_changed[SESSIONS + 1] = {0};
        for (unsigned n = 1 + draw(&w, 8); n-- > 0;) {
            unsigned kind = draw(&w, 10);
            int session = 1 + (int)draw(&w, SESSIONS);
            if (kind < 6)
                change_instance(&w, (int)draw(&w, KEYS));
            else if (kind < 8)
                change_override(&w, (int)draw(&w, KEYS));
            else if (kind < 9)
                change_settings(&w, (int)draw(&w, SERVICES));
            else if (!session_changed[session])
                session_changed[session] = true, change_session(&w, session);
        }
        catalog_end(w.catalog);
        check_world(&w);
        check_back(&w);
    }
    assert_true(w.gone > 0);
    assert_true(w.back > 0);
    for (int i = 0; i < SERVICES; i++)
        catalog_release(w.catalog, held[i]);
    check_world(&w);
    catalog_free(w.catalog);
}

static void test_random_changes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        run(seed);
}

struct seen {
    size_t services, ids;
};

static void see(void *arg, const struct catalog_change *change)
{
    struct seen *s = arg;
    s->services++;
    s->ids += change->id_count;
}

static void put(struct catalog *c, int service, int id, int64_t revision)
{
    struct name name = name_of(NAME_INSTANCE, service, id);
    catalog_put(c, &name, slice_text("{\"host\":\"h\",\"session\":\"7\"}"), revision, revision);
}

static bool count_namespace(void *arg, const struct catalog_namespace *n)
{
    assert_true(n->name.size > 0);
    ++*(size_t *)arg;
    return true;
}

/* The history was compacted before the feed read it: everything is read anew. Unchanged items are not
 * notified, deleted items are. */
static void test_read_anew(void **state)
{
    (void)state;
    struct seen seen = {0};
    struct catalog *c = catalog_new(&(struct catalog_events){.changed = see, .arg = &seen});
    catalog_begin(c, 5);
    put(c, 0, 0, 3);
    put(c, 0, 1, 4);
    put(c, 1, 0, 5);
    catalog_end(c);
    assert_int_equal(seen.services, 2);
    assert_int_equal(catalog_whole_since(c), 5);
    catalog_begin(c, 6);
    catalog_end(c);
    assert_int_equal(catalog_whole_since(c), 5);
    seen = (struct seen){0};
    catalog_begin_anew(c, 20);
    put(c, 0, 0, 3);
    put(c, 1, 0, 9);
    catalog_end(c);
    assert_int_equal(seen.services, 2);
    assert_int_equal(seen.ids, 2);
    struct name name = name_of(NAME_INSTANCE, 0, 0);
    struct catalog_service *s = catalog_find(c, name.ns, name.group, name.service);
    assert_int_equal(s->instances, 1);
    assert_int_equal(s->revision, 20);
    seen = (struct seen){0};
    catalog_begin_anew(c, 21);
    put(c, 0, 0, 3);
    put(c, 1, 0, 9);
    catalog_end(c);
    assert_int_equal(seen.services, 0);
    assert_int_equal(s->revision, 20);
    /* A deleted service is known by the revision of its deletion. */
    catalog_begin_anew(c, 30);
    put(c, 1, 0, 9);
    catalog_end(c);
    assert_null(catalog_find(c, name.ns, name.group, name.service));
    assert_int_equal(catalog_absent_revision(c), 30);
    assert_int_equal(catalog_whole_since(c), 30);
    size_t namespaces = 0;
    catalog_each_namespace(c, count_namespace, &namespaces);
    assert_int_equal(namespaces, 1); /* those that became empty are forgotten */
    catalog_free(c);
}

/* --- one revision that deletes thousands of instances --------------------------------------------------- */

enum { MANY = 3000 };

struct large {
    struct catalog *catalog;
    size_t told[2]; /* ids of each service */
    int64_t before;
};

static bool at_once(const void *arg)
{
    (void)arg;
    return true;
}

static struct name name_of_many(int service, unsigned n, char id[20])
{
    struct name name = name_of(NAME_INSTANCE, service, 0);
    snprintf(id, 20, "%08u", n);
    name.id = slice_text(id);
    return name;
}

static void on_large(void *arg, const struct catalog_change *change)
{
    struct large *l = arg;
    if (!l->before)
        return;
    assert_true(change->id_count > 0);
    assert_int_equal(change->revision, l->before + 1);
    assert_int_equal(change->previous, l->before);
    for (size_t i = 0; i < change->id_count; i++) {
        assert_null(catalog_instance(change->service, change->ids[i]));
        assert_true(i == 0 || slice_compare(change->ids[i - 1], change->ids[i]) < 0);
    }
    l->told[service_at(change->service)] += change->id_count;
    /* A watcher that is notified of one service reads the other in its present state. */
    for (int k = 0; k < 2; k++) {
        struct name name = name_of(NAME_INSTANCE, k, 0);
        const struct catalog_service *s = catalog_find(l->catalog, name.ns, name.group, name.service);
        assert_true(s->gaps == 0 && s->count == 1 && s->revision == l->before + 1);
    }
}

enum order { ONE_AFTER_THE_OTHER, BY_TURNS, BACKWARDS, ORDERS };

/* All but the first instance of two services are deleted; order is the order of their keys. */
static void take_many_away(struct catalog *c, enum order order)
{
    char id[20];
    for (unsigned i = 0; i < 2 * MANY; i++) {
        int service = order == BY_TURNS ? (int)(i % 2) : (int)(i / MANY);
        unsigned n = order == BY_TURNS ? i / 2 : order == BACKWARDS ? MANY - 1 - i % MANY : i % MANY;
        struct name name = name_of_many(service, n, id);
        if (n > 0)
            catalog_delete(c, &name);
    }
}

static void end_in_slices(enum order order)
{
    char id[20];
    struct large l = {0};
    const struct catalog_events events = {.changed = on_large, .arg = &l};
    struct catalog *c = l.catalog = catalog_new(&events);
    catalog_begin(c, 5);
    for (unsigned i = 0; i < 2 * MANY; i++) {
        struct name name = name_of_many((int)(i / MANY), i % MANY, id);
        catalog_put(c, &name, slice_text("{\"host\":\"h\"}"), 5, 5);
    }
    catalog_end(c);
    l.before = 5;
    struct name name = name_of_many(0, 1, id);
    const struct catalog_service *s = catalog_find(c, name.ns, name.group, name.service);
    catalog_begin(c, 6);
    take_many_away(c, order);
    assert_null(catalog_instance(s, name.id)); /* though its place in the list is there still */
    assert_int_equal(s->instances, 1);
    assert_int_equal(s->revision, 5);
    unsigned slices = 1;
    for (; !catalog_end_some(c, at_once, NULL); slices++) {
        assert_false(catalog_is_settled(c));
        assert_int_equal(catalog_edition(c), 0);
    }
    assert_true(catalog_is_settled(c));
    assert_true(slices > 10);
    assert_int_equal(l.told[0], MANY - 1);
    assert_int_equal(l.told[1], MANY - 1);
    assert_int_equal(s->count, 1);
    assert_int_equal(s->revision, 6);
    name = name_of_many(0, 0, id);
    assert_non_null(catalog_instance(s, name.id));
    catalog_free(c);
}

static void test_end_in_slices(void **state)
{
    (void)state;
    for (enum order order = 0; order < ORDERS; order++)
        end_in_slices(order);
}

/* The cost of a typical instance; sanitizers have an allocator of their own, which measures nothing. */
static void test_memory(void **state)
{
    (void)state;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    enum { COUNT = 20000 };
    const struct catalog_events none = {0};
    size_t before = mallinfo2().uordblks;
    struct catalog *c = catalog_new(&none);
    catalog_begin(c, 5);
    for (int i = 0; i < COUNT; i++) {
        char service[32], id[32], text[400];
        snprintf(service, sizeof service, "service-%05d", i / 10);
        snprintf(id, sizeof id, "10.1.%d.%d:8080", i >> 8, i & 255);
        snprintf(text, sizeof text,
                 "{\"host\":\"10.1.%d.%d\",\"port\":8080,\"zone\":\"zone-1\",\"version\":\"1.2.3\",\"tags\":"
                 "[\"http\",\"v2\"],\"metadata\":{\"owner\":\"team-7\",\"commit\":\"0123456789abcdef\","
                 "\"k8s.pod\":\"pod-%d\"},\"session\":\"%x\"}",
                 i >> 8, i & 255, i, 1 + i % 400);
        struct name name = {NAME_INSTANCE,       slice_text("default"), slice_text("default"),
                            slice_text(service), slice_text(id),        0};
        catalog_put(c, &name, slice_text(text), 5, 5);
    }
    catalog_end(c);
    assert_int_equal(catalog_all(c)->instances, COUNT);
    assert_true((mallinfo2().uordblks - before) / COUNT <= 1024);
    catalog_free(c);
#endif
}

static bool note_name(void *arg, struct catalog_service *s)
{
    struct buf *out = arg;
    buf_add_slice(out, s->group);
    buf_add_byte(out, '/');
    buf_add_slice(out, s->name);
    buf_add_byte(out, ' ');
    return out->size < 12;
}

static void test_pages(void **state)
{
    (void)state;
    struct catalog *c = catalog_new(&(struct catalog_events){0});
    static const char *const names[][2] = {{"a", "x"}, {"a", "xy"}, {"a", "y"}, {"b", "x"}, {"b", "z"}};
    catalog_begin(c, 2);
    for (size_t i = 0; i < 5; i++) {
        struct name name = {
            NAME_SERVICE, slice_text("n"), slice_text(names[i][0]), slice_text(names[i][1]), {0}, 0};
        catalog_put(c, &name, slice_text("{}"), 2, 2);
    }
    catalog_end(c);
    struct slice n = slice_text("n"), none = {0};
    struct buf out = {0};
    catalog_each(c, n, none, none, none, note_name, &out);
    assert_string_equal(buf_text(&out), "a/x a/xy a/y ");
    buf_clear(&out);
    catalog_each(c, n, none, none, slice_text("a/xy"), note_name, &out);
    assert_string_equal(buf_text(&out), "a/y b/x b/z ");
    buf_clear(&out);
    catalog_each(c, n, slice_text("a"), slice_text("x"), none, note_name, &out);
    assert_string_equal(buf_text(&out), "a/x a/xy ");
    buf_clear(&out);
    catalog_each(c, n, none, slice_text("z"), none, note_name, &out);
    assert_string_equal(buf_text(&out), "b/z ");
    buf_clear(&out);
    catalog_each(c, slice_text("m"), none, none, none, note_name, &out);
    assert_int_equal(out.size, 0);
    buf_done(&out);
    catalog_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_changes), cmocka_unit_test(test_end_in_slices),
        cmocka_unit_test(test_memory),         cmocka_unit_test(test_read_anew),
        cmocka_unit_test(test_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
