/* SPDX-License-Identifier: Apache-2.0
 * Tests of draining on one member, and of the list of subscribers. A drain ends when the last subscriber has
 * acknowledged, has disconnected, or began with a view that shows it. After its timeout it names the
 * subscribers that have not acknowledged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/unit/registry_node.h"

#define UP "{\"host\":\"h\",\"port\":1}"

struct client {
    struct registry_watch watch;
    struct registry_subscriber subscriber;
    int64_t told;
};

struct world {
    struct registry_node node;
    struct client clients[3];
    struct registry_request request;
    bool is_done;
    int err;
    struct registry_result result;
    char waiting[400];
};

static void on_changed(struct registry_watch *watch, const struct catalog_change *change)
{
    container_of(watch, struct client, watch)->told = change->revision;
}

static void on_done(struct registry_request *q, int err, const struct registry_result *result)
{
    struct world *w = container_of(q, struct world, request);
    size_t at = 0;
    w->is_done = true;
    w->err = err;
    w->result = *result;
    w->waiting[0] = '\0';
    for (size_t i = 0; i < result->waiting_count && i < 100 && at < 300; i++)
        at += (size_t)snprintf(w->waiting + at, sizeof w->waiting - at, "%.*s@%.*s/%.*s ",
                               (int)result->waiting[i].client_id.size, result->waiting[i].client_id.data,
                               (int)result->waiting[i].peer.size, result->waiting[i].peer.data,
                               (int)result->waiting[i].member.size, result->waiting[i].member.data);
}

static bool is_done(void *arg)
{
    return ((struct world *)arg)->is_done;
}

static int setup(void **state)
{
    struct world *w = mem_new(sizeof *w);
    static const char *const ids[] = {"c0", "c1", "c2"};
    registry_node_open(&w->node, NULL);
    for (int i = 0; i < 3; i++) {
        w->clients[i].subscriber = (struct registry_subscriber){
            .client_id = slice_text(ids[i]), .peer = "1.2.3.4:5", .transport = "websocket"};
        w->clients[i].watch.changed = on_changed;
        w->clients[i].watch.subscriber = &w->clients[i].subscriber;
    }
    registry_node_registered(&w->node, "web", "a", UP, 0);
    *state = w;
    return 0;
}

static void watch(struct world *w, int i)
{
    struct registry_key key = registry_key_of("web", NULL);
    registry_watch_service(w->node.registry, &w->clients[i].watch, &key);
}

static int teardown(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 3; i++)
        if (w->clients[i].watch.registry)
            registry_unwatch(&w->clients[i].watch);
    registry_node_close(&w->node);
    mem_free(w);
    return 0;
}

static void start(struct world *w, const char *id, uint64_t deadline_ms, bool does_wait)
{
    struct registry_key key = registry_key_of("web", id);
    w->is_done = false;
    w->request.done = on_done;
    registry_drain(w->node.registry, &w->request, &key, deadline_ms, does_wait);
    assert_false(w->is_done);
}

static void wait(struct world *w)
{
    one_node_run(&w->node.node, is_done, w);
}

static void test_nobody(void **state)
{
    struct world *w = *state;
    start(w, "a", 0, true);
    wait(w);
    assert_int_equal(w->err, OK);
    assert_int_equal(w->result.waiting_count, 0);
    assert_false(w->result.is_unchanged);
    struct catalog_effect e = catalog_effect(registry_node_find(&w->node, "web", "a"));
    assert_int_equal(e.state, INSTANCE_DRAINING);
    assert_false(e.serves);
    int64_t revision = w->result.revision;
    start(w, "a", 0, true);
    wait(w);
    assert_true(w->result.is_unchanged);
    assert_int_equal(w->result.revision, revision);
    start(w, "nobody", 0, true);
    wait(w);
    assert_int_equal(w->err, ERR_NOT_FOUND);
    start(w, "a", 600001, true);
    wait(w);
    assert_int_equal(w->err, ERR_INVALID);
}

static void on_raw(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    (void)response;
    assert_int_equal(err, OK);
    r->done = NULL;
}

/* It is deleted before the view knows: nothing is written for an instance that does not exist. */
static void test_gone_meanwhile(void **state)
{
    struct world *w = *state;
    struct kv_request raw = {.done = on_raw};
    char key[] = REGISTRY_PREFIX "instances/default/default/web/a";
    Etcdserverpb__DeleteRangeRequest m = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    m.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)key};
    kv_delete_range(w->node.node.kv, &raw, &m);
    start(w, "a", 0, true);
    wait(w);
    assert_int_equal(w->err, ERR_NOT_FOUND);
    assert_null(raw.done);
    registry_node_settle(&w->node);
    assert_int_equal(catalog_all(registry_catalog(w->node.registry))->overrides, 0);
}

/* An earlier override of the operator is kept. */
static void test_keeps_override(void **state)
{
    struct world *w = *state;
    registry_node_put(&w->node, NAME_OVERRIDE, "web", "a", "{\"weight\":5,\"reason\":\"slow\"}");
    start(w, "a", 0, false);
    wait(w);
    assert_int_equal(w->err, OK);
    const struct override *o = registry_node_find(&w->node, "web", "a")->override;
    assert_true(o->has_weight && o->weight == 5 && o->has_state && o->state == INSTANCE_DRAINING);
    assert_true(slice_equal(o->reason, slice_text("slow")));
}

static bool is_asked(void *arg)
{
    return ((struct registry_reply *)arg)->is_done;
}

static int deregister(struct world *w, const char *id)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    struct registry_key key = registry_key_of("web", id);
    registry_deregister(w->node.registry, &a.request, &key);
    one_node_run(&w->node.node, is_asked, &a);
    return a.err;
}

static void drained(struct world *w, const char *id)
{
    start(w, id, 0, false);
    wait(w);
    assert_int_equal(w->err, OK);
    assert_true(registry_node_find(&w->node, "web", id)->override->is_drain);
}

static enum instance_state state_again(struct world *w, const char *id)
{
    registry_node_registered(&w->node, "web", id, UP, 0);
    return catalog_effect(registry_node_find(&w->node, "web", id)).state;
}

/* A drain belongs to one registration of an instance: the next one under the same name is in traffic again.
 */
static void test_ends_with_registration(void **state)
{
    struct world *w = *state;
    drained(w, "a");
    assert_int_equal(state_again(w, "a"), INSTANCE_DRAINING); /* the same registration continues */
    int64_t before = kv_revision(w->node.node.kv);
    assert_int_equal(deregister(w, "a"), OK);
    registry_node_settle(&w->node);
    assert_int_equal(kv_revision(w->node.node.kv), before + 1);
    assert_null(registry_node_find(&w->node, "web", "a"));
    assert_int_equal(state_again(w, "a"), INSTANCE_UP);
    /* Other overrides of the operator stay; so does a drain that the operator set. */
    registry_node_put(&w->node, NAME_OVERRIDE, "web", "a", "{\"weight\":5}");
    drained(w, "a");
    assert_int_equal(deregister(w, "a"), OK);
    assert_int_equal(state_again(w, "a"), INSTANCE_UP);
    const struct override *o = registry_node_find(&w->node, "web", "a")->override;
    assert_true(o->has_weight && o->weight == 5 && !o->has_state && !o->is_drain && !o->reason.size);
    registry_node_put(&w->node, NAME_OVERRIDE, "web", "a", "{\"state\":\"draining\"}");
    start(w, "a", 0, false);
    wait(w);
    assert_true(w->result.is_unchanged);
    assert_int_equal(deregister(w, "a"), OK);
    assert_int_equal(state_again(w, "a"), INSTANCE_DRAINING);
    /* A drain that does not parse is ignored, and blocks nothing. */
    registry_node_put(&w->node, NAME_OVERRIDE, "web", "a", "{\"state\":7}");
    assert_int_equal(deregister(w, "a"), OK);
}

/* The drain is committed, and the view of the deregistering member does not show it yet. */
static void test_ends_unseen(void **state)
{
    struct world *w = *state;
    struct kv_request raw = {.done = on_raw};
    char key[] = REGISTRY_PREFIX "overrides/default/default/web/a";
    char value[] = "{\"state\":\"draining\",\"drain\":true}";
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    m.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)key};
    m.value = (ProtobufCBinaryData){strlen(value), (uint8_t *)value};
    kv_put(w->node.node.kv, &raw, &m);
    assert_int_equal(deregister(w, "a"), OK);
    assert_null(raw.done);
    assert_int_equal(state_again(w, "a"), INSTANCE_UP);
}

static void test_ends_with_session(void **state)
{
    struct world *w = *state;
    static const char *const ids[] = {"p", "q"};
    int64_t session = registry_node_session(&w->node, 30);
    for (int i = 0; i < 2; i++)
        registry_node_registered(&w->node, "web", ids[i], UP, session);
    drained(w, "p");
    registry_node_put(&w->node, NAME_OVERRIDE, "web", "q", "{\"enabled\":false}");
    struct registry_reply a = {.request.done = registry_reply_done};
    int64_t before = kv_revision(w->node.node.kv);
    registry_session_close(w->node.registry, &a.request, session);
    one_node_run(&w->node.node, is_asked, &a);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.instances, 2);
    assert_int_equal(a.result.revision, before + 1);
    assert_int_equal(state_again(w, "p"), INSTANCE_UP);
    assert_null(registry_node_find(&w->node, "web", "p")->override);
    registry_node_registered(&w->node, "web", "q", UP, 0);
    assert_false(catalog_effect(registry_node_find(&w->node, "web", "q")).is_enabled);
}

static void test_all_acknowledge(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 3; i++)
        watch(w, i);
    start(w, "a", 10000, true);
    one_node_run_ms(&w->node.node, 30);
    assert_false(w->is_done);
    int64_t revision = w->clients[0].told;
    registry_acknowledge(&w->clients[0].watch, revision);
    registry_acknowledge(&w->clients[1].watch, revision - 1); /* older: not yet */
    registry_unwatch(&w->clients[2].watch);
    one_node_run_ms(&w->node.node, 30);
    assert_false(w->is_done);
    watch(w, 2); /* returns, with the present view */
    registry_acknowledge(&w->clients[1].watch, revision + 1);
    wait(w);
    assert_int_equal(w->err, OK);
    assert_int_equal(w->result.acknowledged, 3);
    assert_int_equal(w->result.waiting_count, 0);
    assert_int_equal(w->result.revision, revision);
}

static void test_deadline(void **state)
{
    struct world *w = *state;
    struct client other = {.watch.changed = on_changed};
    watch(w, 0);
    registry_watch_services(w->node.registry, &w->clients[1].watch, slice_text("default"), (struct slice){0},
                            slice_text("we"));
    registry_watch_services(w->node.registry, &w->clients[2].watch, slice_text("default"), (struct slice){0},
                            slice_text("x"));
    struct registry_key key = registry_key_of("web", NULL);
    registry_watch_service(w->node.registry, &other.watch, &key); /* no subscriber is behind it */
    start(w, "a", 50, true);
    one_node_run_ms(&w->node.node, 10);
    registry_acknowledge(&w->clients[0].watch, w->clients[0].told);
    wait(w);
    assert_int_equal(w->err, OK);
    assert_int_equal(w->result.acknowledged, 1);
    assert_int_equal(w->result.waiting_count, 1);
    assert_string_equal(w->waiting, "c1@1.2.3.4:5/default ");
    registry_unwatch(&other.watch);
}

static void test_cancel_and_stop(void **state)
{
    struct world *w = *state;
    watch(w, 0);
    start(w, "a", 10000, true);
    one_node_run_ms(&w->node.node, 20);
    registry_cancel(w->node.registry, &w->request);
    registry_acknowledge(&w->clients[0].watch, w->clients[0].told);
    one_node_run_ms(&w->node.node, 20);
    assert_false(w->is_done);
    registry_unwatch(&w->clients[0].watch);
    watch(w, 0);
    registry_node_registered(&w->node, "web", "b", UP, 0);
    start(w, "b", 10000, true);
    one_node_run_ms(&w->node.node, 20);
    registry_unwatch(&w->clients[0].watch);
    registry_free(w->node.registry);
    w->node.registry = NULL;
    w->clients[0].watch.registry = NULL;
    assert_true(w->is_done);
    assert_int_equal(w->err, ERR_STOPPED);
}

/* --- the list --------------------------------------------------------------------------------------- */

struct listing {
    struct registry_subscribers subscribers;
    struct world *world;
    char seen[400];
    size_t count, end_after;
    bool is_done;
    int err;
};

static void on_seen(struct registry_subscribers *s, const struct registry_seen *seen)
{
    struct listing *l = container_of(s, struct listing, subscribers);
    size_t at = strlen(l->seen);
    snprintf(l->seen + at, sizeof l->seen - at, "%.*s@%.*s/%.*s=%lld ", (int)seen->client_id.size,
             seen->client_id.data, (int)seen->transport.size, seen->transport.data, (int)seen->member.size,
             seen->member.data, (long long)seen->revision);
    assert_int_equal(seen->labels.count, slice_equal(seen->client_id, slice_text("c0")) ? 1 : 0);
    if (++l->count == l->end_after)
        registry_cancel(l->world->node.registry, &s->request);
}

static void on_listed(struct registry_request *q, int err, const struct registry_result *result)
{
    struct listing *l = container_of(q, struct listing, subscribers.request);
    l->is_done = true;
    l->err = err;
    assert_true(result->revision > 0);
}

static bool is_listed(void *arg)
{
    return ((struct listing *)arg)->is_done;
}

static void test_list(void **state)
{
    struct world *w = *state;
    struct document_pair label = {slice_text("zone"), slice_text("b")};
    struct listing l = {.subscribers = {.request.done = on_listed, .seen = on_seen}, .world = w};
    struct registry_key key = registry_key_of("web", NULL);
    w->clients[0].subscriber.labels = (struct document_map){&label, 1};
    watch(w, 0);
    watch(w, 1);
    registry_acknowledge(&w->clients[1].watch, 1);
    registry_subscribers(w->node.registry, &l.subscribers, &key);
    one_node_run(&w->node.node, is_listed, &l);
    assert_int_equal(l.err, OK);
    assert_string_equal(l.seen, "c1@websocket/default=1 c0@websocket/default=0 ");
    assert_int_equal(l.subscribers.members_silent + l.subscribers.left_out, 0);
    /* A page whose client has enough entries. */
    l = (struct listing){
        .subscribers = {.request.done = on_listed, .seen = on_seen}, .world = w, .end_after = 1};
    registry_subscribers(w->node.registry, &l.subscribers, &key);
    one_node_run_ms(&w->node.node, 30);
    assert_int_equal(l.count, 1);
    assert_false(l.is_done);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_gone_meanwhile),         TEST(test_nobody),
        TEST(test_keeps_override),         TEST(test_all_acknowledge),
        TEST(test_ends_with_registration), TEST(test_ends_unseen),
        TEST(test_ends_with_session),      TEST(test_deadline),
        TEST(test_cancel_and_stop),        TEST(test_list),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
