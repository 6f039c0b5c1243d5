/* SPDX-License-Identifier: Apache-2.0
 * Tests of the registry on three members, on virtual time. An instance that is registered through one member
 * is read through the others. The leader's death costs no session and no instance. A drain waits for
 * subscribers on every member and for members that do not answer. */
#include "tests/unit/registry_trio.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "registry/inherit.h"
#include "tests/unit/registry_node.h"

#define UP "{\"host\":\"h\",\"port\":1}"

static void *open_module(struct kv *kv, const char *member)
{
    struct registry_options o = {.kv = kv, .member = member};
    return registry_new(&o);
}

static const struct trio_kind kind = {open_module, registry_trio_close, registry_trio_turn,
                                      registry_trio_is_ready};

static struct registry *at(const struct trio *t, unsigned i)
{
    return t->modules[i];
}

static int setup(void **state)
{
    *state = trio_new(&kind);
    return 0;
}

static int teardown(void **state)
{
    trio_free(*state);
    return 0;
}

static void wait(struct trio *t, const struct registry_reply *a)
{
    trio_wait(t, &a->is_done);
}

static struct registry_reply put(struct trio *t, unsigned i, const char *id, int64_t session)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    struct registry_key key = registry_key_of("web", id);
    struct arena arena = {0};
    struct instance doc;
    char error[200];
    assert_int_equal(instance_read(slice_text(UP), DOCUMENT_STRICT, &arena, &doc, error, sizeof error), OK);
    registry_register(at(t, i), &a.request, &key, &doc, session);
    wait(t, &a);
    arena_done(&arena);
    return a;
}

static int beat(struct trio *t, unsigned i, int64_t session)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    registry_session_heartbeat(at(t, i), &a.request, session);
    wait(t, &a);
    return a.err;
}

static struct catalog_instance *find_here(struct trio *t, unsigned i, const char *id)
{
    struct registry_key key = registry_key_of("web", id);
    struct catalog_service *s = catalog_find(registry_catalog(at(t, i)), key.ns, key.group, key.service);
    struct catalog_instance *instance = s ? catalog_instance(s, key.id) : NULL;
    return instance && instance->doc ? instance : NULL;
}

/* A linearizable read. */
static struct catalog_instance *find(struct trio *t, unsigned i, const char *id)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    registry_barrier(at(t, i), &a.request);
    wait(t, &a);
    assert_int_equal(a.err, OK);
    return find_here(t, i, id);
}

static int64_t open_session(struct trio *t, unsigned i, uint32_t ttl_s)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    struct session doc = {.client_id = slice_text("c"), .ttl_s = ttl_s};
    registry_session_open(at(t, i), &a.request, &doc);
    wait(t, &a);
    assert_int_equal(a.err, OK);
    return a.result.session;
}

/* Each write goes through another member than the previous one, and is readable on all members at once. */
static void test_read_your_writes(void **state)
{
    struct trio *t = *state;
    int64_t session = open_session(t, 0, 60);
    for (unsigned n = 0; n < 30; n++) {
        char id[16];
        snprintf(id, sizeof id, "i%u", n);
        struct registry_reply a = put(t, (n + 1) % 3, id, session);
        assert_int_equal(a.err, OK);
        struct catalog_instance *here = find_here(t, (n + 1) % 3, id); /* without a barrier */
        assert_non_null(here);
        assert_int_equal(here->mod_revision, a.result.revision);
        assert_non_null(find(t, (n + 2) % 3, id));
        assert_non_null(find(t, n % 3, id));
        assert_int_equal(beat(t, n % 3, session), OK);
    }
    /* Closed on a member whose view does not show the last of them yet. */
    unsigned leader = trio_index(t, world_leader(t->world));
    assert_int_equal(put(t, leader, "last", session).err, OK);
    struct registry_reply close = {.request.done = registry_reply_done};
    registry_session_close(at(t, (leader + 1) % 3), &close.request, session);
    wait(t, &close);
    assert_int_equal(close.err, OK);
    assert_int_equal(close.result.instances, 31);
    assert_int_equal(beat(t, 0, session), ERR_SESSION_GONE);
    assert_int_equal(put(t, 1, "late", session).err, ERR_SESSION_GONE);
}

/* A session that was opened on one member a moment ago is known on another whose view is behind. */
static void test_session_elsewhere(void **state)
{
    struct trio *t = *state;
    for (unsigned n = 0; n < 20; n++) {
        int64_t session = open_session(t, n % 3, 60);
        assert_int_equal(beat(t, (n + 1) % 3, session), OK);
        session = open_session(t, n % 3, 60);
        assert_int_equal(put(t, (n + 1) % 3, "a", session).err, OK);
    }
}

/* Heartbeats continue through the remaining members: nothing is lost, no client registers anew. */
static void test_leader_dies(void **state)
{
    struct trio *t = *state;
    unsigned follower = trio_index(t, world_follower(t->world));
    int64_t session = open_session(t, follower, 10);
    struct registry_reply own = put(t, follower, "own", 0);
    assert_int_equal(put(t, follower, "a", session).err, OK);
    struct machine *leader = world_leader(t->world);
    trio_close(t, trio_index(t, leader));
    machine_crash(leader);
    world_wait_for_leader(t->world);
    unsigned beats = 0;
    for (uint64_t until = t->world->clock.now_ns + 30000000000; t->world->clock.now_ns < until;) {
        beats += beat(t, follower, session) == OK;
        struct registry_reply again = put(t, follower, "own", 0);
        if (!again.err)
            assert_int_equal(again.result.session, own.result.session);
        world_run_ms(t->world, 3000);
        const struct catalog_instance *a = find_here(t, follower, "a"), *b = find_here(t, follower, "own");
        assert_true(a && a->doc->state == INSTANCE_UP && a->doc->session == session);
        assert_true(b && b->doc->state == INSTANCE_UP);
    }
    assert_true(beats > 5);
    /* The opposite case: without heartbeats an instance dies, in two steps, by the present leader. */
    uint64_t silent_since = t->world->clock.now_ns;
    while (find_here(t, follower, "a") && find_here(t, follower, "a")->doc->state == INSTANCE_UP)
        world_run_ms(t->world, 100);
    assert_true(t->world->clock.now_ns - silent_since >= 6900000000); /* the last beat was 3 s before */
    while (find_here(t, follower, "a"))
        world_run_ms(t->world, 100);
    assert_int_equal(beat(t, follower, session), ERR_SESSION_GONE);
}

/* --- drains ----------------------------------------------------------------------------------------- */

struct client {
    struct registry_watch watch;
    struct registry_subscriber subscriber;
    int64_t told;
};

static void on_changed(struct registry_watch *watch, const struct catalog_change *change)
{
    container_of(watch, struct client, watch)->told = change->revision;
}

static void subscribe(struct trio *t, unsigned i, struct client *c, const char *id)
{
    struct registry_key key = registry_key_of("web", NULL);
    *c = (struct client){.subscriber = {.client_id = slice_text(id), .peer = "p", .transport = "sse"}};
    c->watch.changed = on_changed;
    c->watch.subscriber = &c->subscriber;
    registry_watch_service(at(t, i), &c->watch, &key);
}

struct drain {
    struct registry_reply asked; /* first */
    char waiting[200];
    size_t waiting_count, acknowledged;
};

static void on_drained(struct registry_request *q, int err, const struct registry_result *result)
{
    struct drain *d = container_of(q, struct drain, asked.request);
    size_t at = 0;
    d->waiting_count = result->waiting_count;
    d->acknowledged = result->acknowledged;
    for (size_t i = 0; i < result->waiting_count && at < 150; i++)
        at += (size_t)snprintf(d->waiting + at, sizeof d->waiting - at, "%.*s@%.*s ",
                               (int)result->waiting[i].client_id.size, result->waiting[i].client_id.data,
                               (int)result->waiting[i].member.size, result->waiting[i].member.data);
    registry_reply_done(q, err, result);
}

static void drain(struct trio *t, unsigned i, struct drain *d, uint64_t deadline_ms)
{
    struct registry_key key = registry_key_of("web", "a");
    *d = (struct drain){.asked.request.done = on_drained};
    registry_drain(at(t, i), &d->asked.request, &key, deadline_ms, true);
}

static void test_drain(void **state)
{
    struct trio *t = *state;
    struct client c[3];
    struct drain d;
    const char *const ids[] = {"c0", "c1", "c2"};
    assert_int_equal(put(t, 0, "a", open_session(t, 0, 600)).err, OK);
    for (unsigned i = 0; i < 3; i++) {
        find(t, i, "a");
        subscribe(t, i, &c[i], ids[i]);
    }
    drain(t, 1, &d, 20000);
    world_run_ms(t->world, 2000);
    assert_false(d.asked.is_done);
    for (unsigned i = 0; i < 2; i++)
        registry_acknowledge(&c[i].watch, c[i].told);
    world_run_ms(t->world, 5000);
    assert_false(d.asked.is_done);
    registry_acknowledge(&c[2].watch, c[2].told);
    wait(t, &d.asked);
    assert_int_equal(d.waiting_count, 0);
    assert_int_equal(d.acknowledged, 3);
    /* A member that cannot be reached counts as waiting, by name; so does a slow subscriber. */
    assert_int_equal(put(t, 0, "b", open_session(t, 0, 600)).err, OK);
    unsigned cut = trio_index(t, world_follower(t->world)), here = (cut + 1) % 3, slow = (cut + 2) % 3;
    struct registry_reply undo = {.request.done = registry_reply_done};
    struct registry_key key = registry_key_of("web", "a");
    registry_put_override(at(t, here), &undo.request, &key, NULL);
    wait(t, &undo);
    t->world->machines[cut].is_cut = true;
    drain(t, here, &d, 6000);
    world_run_ms(t->world, 500);
    registry_acknowledge(&c[here].watch, c[here].told);
    wait(t, &d.asked);
    assert_int_equal(d.asked.err, OK);
    char expected[100];
    snprintf(expected, sizeof expected, "@m%u c%u@m%u ", cut, slow, slow);
    assert_string_equal(d.waiting, expected);
    assert_int_equal(d.acknowledged, 1);
    registry_acknowledge(&c[slow].watch, c[slow].told); /* only the silent member is still awaited */
    drain(t, here, &d, 6000);
    world_run_ms(t->world, 3000);
    assert_false(d.asked.is_done);
    t->world->machines[cut].is_cut = false;
    for (unsigned n = 0; n < 100 && !d.asked.is_done; n++) {
        world_run_ms(t->world, 20);
        registry_acknowledge(&c[cut].watch, c[cut].told);
    }
    wait(t, &d.asked);
    assert_int_equal(d.waiting_count, 0);
    assert_int_equal(d.acknowledged, 3);
    for (unsigned i = 0; i < 3; i++)
        registry_unwatch(&c[i].watch);
}

static void on_seen(struct registry_subscribers *s, const struct registry_seen *seen)
{
    (void)s;
    assert_int_equal(seen->client_id.data[1], seen->member.data[1]); /* c1 is at m1 */
}

struct listing {
    struct registry_subscribers subscribers;
    size_t count;
    struct registry_reply asked;
};

static void count_seen(struct registry_subscribers *s, const struct registry_seen *seen)
{
    on_seen(s, seen);
    container_of(s, struct listing, subscribers)->count++;
}

static void on_listed(struct registry_request *q, int err, const struct registry_result *result)
{
    struct listing *l = container_of(q, struct listing, subscribers.request);
    registry_reply_done(&l->asked.request, err, result);
}

static void test_subscribers(void **state)
{
    struct trio *t = *state;
    struct client c[3];
    struct registry_key key = registry_key_of("web", NULL);
    const char *const ids[] = {"c0", "c1", "c2"};
    for (unsigned i = 0; i < 3; i++)
        subscribe(t, i, &c[i], ids[i]);
    struct listing l = {.subscribers = {.request.done = on_listed, .seen = count_seen}};
    registry_subscribers(at(t, 0), &l.subscribers, &key);
    wait(t, &l.asked);
    assert_int_equal(l.count, 3);
    assert_int_equal(l.subscribers.members_silent, 0);
    t->world->machines[2].is_cut = true;
    l = (struct listing){.subscribers = {.request.done = on_listed, .seen = count_seen}};
    registry_subscribers(at(t, 0), &l.subscribers, &key);
    wait(t, &l.asked);
    assert_int_equal(l.count, 2);
    assert_int_equal(l.subscribers.members_silent, 1);
    for (unsigned i = 0; i < 3; i++)
        registry_unwatch(&c[i].watch);
}

static struct slice inherited_by(struct trio *t, unsigned i, const char *id, const char *key)
{
    const struct catalog_instance *one = find(t, i, id);
    const struct inheritance inherited = inheritance_of(one ? one->service : NULL);
    struct slice value = {0};
    if (one)
        inheritance_find(&inherited, &one->doc->metadata, slice_text(key), &value);
    return value;
}

/* Inherited metadata is the same on every member, before and after a change of leaders, and on a member that
 * reads the state anew. */
static void test_inherited(void **state)
{
    struct trio *t = *state;
    struct document_pair pair = {slice_text("team"), slice_text("shop")};
    const struct settings doc = {.metadata = {&pair, 1}};
    struct registry_key key = registry_key_of("web", NULL);
    unsigned follower = trio_index(t, world_follower(t->world));
    struct registry_reply a = {.request.done = registry_reply_done};
    assert_int_equal(put(t, follower, "a", open_session(t, follower, 600)).err, OK);
    registry_put_settings(at(t, follower), &a.request, &key, &doc);
    wait(t, &a);
    assert_int_equal(a.err, OK);
    for (unsigned i = 0; i < 3; i++)
        assert_true(slice_equal(inherited_by(t, i, "a", "team"), pair.value));
    struct machine *leader = world_leader(t->world);
    unsigned old = trio_index(t, leader);
    trio_close(t, old);
    machine_crash(leader);
    world_wait_for_leader(t->world);
    pair.value = slice_text("pay");
    a = (struct registry_reply){.request.done = registry_reply_done};
    registry_put_settings(at(t, follower), &a.request, &key, &doc);
    wait(t, &a);
    assert_int_equal(a.err, OK);
    assert_true(slice_equal(inherited_by(t, follower, "a", "team"), pair.value));
    assert_true(slice_equal(inherited_by(t, 3 - follower - old, "a", "team"), pair.value));
    machine_start(leader, false);
    trio_open(t, old);
    for (unsigned n = 0; n < 1000 && !trio_is_ready(t); n++)
        world_run_ms(t->world, 20);
    assert_true(slice_equal(inherited_by(t, old, "a", "team"), pair.value));
}

/* Without a quorum nothing is written and no view is returned as current; the present view can be read. */
static void test_no_quorum(void **state)
{
    struct trio *t = *state;
    assert_int_equal(put(t, 0, "a", open_session(t, 0, 600)).err, OK);
    find(t, 1, "a");
    t->world->machines[0].is_cut = t->world->machines[2].is_cut = true;
    world_run_ms(t->world, 5000);
    assert_int_not_equal(put(t, 1, "b", 0).err, OK);
    struct registry_reply a = {.request.done = registry_reply_done};
    registry_barrier(at(t, 1), &a.request);
    wait(t, &a);
    assert_int_not_equal(a.err, OK);
    assert_true(registry_is_ready(at(t, 1)));
    assert_non_null(find_here(t, 1, "a"));
    t->world->machines[0].is_cut = t->world->machines[2].is_cut = false;
    world_wait_for_leader(t->world);
    assert_int_equal(put(t, 1, "b", 0).err, OK);
    assert_non_null(find(t, 0, "a"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_read_your_writes), TEST(test_session_elsewhere), TEST(test_leader_dies), TEST(test_drain),
        TEST(test_subscribers),      TEST(test_no_quorum),         TEST(test_inherited),
    };
    log_set_level(LOG_FATAL);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
