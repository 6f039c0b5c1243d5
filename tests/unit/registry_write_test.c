/* SPDX-License-Identifier: Apache-2.0
 * Tests of writes through the registry's public API, each result: the state of the store afterwards,
 * sessions that keep instances alive, and limits. An outdated view must not cause wrong writes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "registry/view.h"
#include "tests/unit/registry_node.h"

#define UP   "{\"host\":\"h\",\"port\":1}"
#define UP_2 "{\"host\":\"h\",\"port\":2}"

static int setup(void **state)
{
    struct registry_node *n = mem_new(sizeof *n);
    registry_node_open(n, NULL);
    *state = n;
    return 0;
}

static int setup_limited(void **state)
{
    struct registry_node *n = mem_new(sizeof *n);
    struct registry_options options = {
        .namespaces_max = 3, .services_max = 2, .instances_max = 3, .sessions_max = 4, .txn_ops_max = 4};
    registry_node_open(n, &options);
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

static char deregister_error[256];

static int deregister(struct registry_node *n, const char *service, const char *id)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    struct registry_key key = registry_key_of(service, id);
    registry_deregister(n->registry, &a.request, &key);
    registry_node_wait(n, &a);
    memcpy(deregister_error, a.error, sizeof a.error);
    return a.err;
}

static struct registry_reply session_request(struct registry_node *n, int64_t session,
                                             void (*ask)(struct registry *r, struct registry_request *q,
                                                         int64_t session))
{
    struct registry_reply a = {.request.done = registry_reply_done};
    ask(n->registry, &a.request, session);
    assert_false(a.is_done);
    registry_node_wait(n, &a);
    return a;
}

static int heartbeat(struct registry_node *n, int64_t session)
{
    return session_request(n, session, registry_session_heartbeat).err;
}

/* A direct write to the store that is not awaited: the next request's view does not show it. */
struct raw {
    struct kv_request request;
    struct buf key, value;
    Etcdserverpb__PutRequest put;
    Etcdserverpb__DeleteRangeRequest removal;
    bool is_done;
};

static void on_raw(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    (void)response;
    assert_int_equal(err, OK);
    container_of(r, struct raw, request)->is_done = true;
}

static void raw_name(struct raw *w, enum name_kind kind, const char *service, const char *id, int64_t session)
{
    struct registry_key key = registry_key_of(service, id);
    struct name name = {kind, key.ns, key.group, key.service, key.id, session};
    buf_clear(&w->key);
    name_add_key(&w->key, &name);
    w->is_done = false;
    w->request.done = on_raw;
}

static void raw_put(struct registry_node *n, struct raw *w, const char *service, const char *id,
                    const char *text)
{
    raw_name(w, NAME_INSTANCE, service, id, 0);
    buf_clear(&w->value);
    buf_add_text(&w->value, text);
    etcdserverpb__put_request__init(&w->put);
    w->put.key = (ProtobufCBinaryData){w->key.size, w->key.data};
    w->put.value = (ProtobufCBinaryData){w->value.size, w->value.data};
    kv_put(n->node.kv, &w->request, &w->put);
}

static void raw_delete(struct registry_node *n, struct raw *w, enum name_kind kind, const char *service,
                       const char *id, int64_t session)
{
    raw_name(w, kind, service, id, session);
    etcdserverpb__delete_range_request__init(&w->removal);
    w->removal.key = (ProtobufCBinaryData){w->key.size, w->key.data};
    kv_delete_range(n->node.kv, &w->request, &w->removal);
}

static void raw_done(struct raw *w)
{
    buf_done(&w->key);
    buf_done(&w->value);
}

/* --- one instance, its own session --------------------------------------------------------------------- */

static void test_register(void **state)
{
    struct registry_node *n = *state;
    struct registry_result r = registry_node_registered(n, "web", "a", UP, 0);
    assert_true(r.revision > 1 && r.session && !r.is_unchanged);
    assert_int_equal(r.ttl_s, 15);
    /* Its writer reads it on this member without a barrier. */
    struct catalog_instance *i = registry_node_find(n, "web", "a");
    assert_non_null(i);
    assert_int_equal(i->mod_revision, r.revision);
    assert_int_equal(i->doc->session, r.session);
    assert_true(i->hangs_on->exists && i->hangs_on->doc.is_implicit);
    assert_int_equal(i->hangs_on->mod_revision, r.revision); /* in one revision */
    assert_int_equal(registry_node_leases(n), 1);
}

static void test_same_again(void **state)
{
    struct registry_node *n = *state;
    struct registry_result first = registry_node_registered(n, "web", "a", UP, 0);
    struct registry_result again = registry_node_registered(n, "web", "a", UP, 0);
    assert_true(again.is_unchanged);
    assert_int_equal(again.session, first.session);
    assert_int_equal(again.ttl_s, 15);
    assert_int_equal(kv_revision(n->node.kv), first.revision);
    again = registry_node_registered(n, "web", "a", UP, first.session);
    assert_true(again.is_unchanged);
    again = registry_node_registered(n, "web", "a", UP_2, 0);
    assert_false(again.is_unchanged);
    assert_int_equal(again.session, first.session);
    assert_int_equal(again.revision, first.revision + 1);
    assert_int_equal(registry_node_find(n, "web", "a")->doc->port, 2);
    assert_int_equal(registry_node_leases(n), 1);
}

/* A lease's time never changes: the instance moves to a new lease. */
static void test_other_ttl(void **state)
{
    struct registry_node *n = *state;
    int64_t first = registry_node_registered(n, "web", "a", UP, 0).session;
    struct registry_result r = registry_node_registered(n, "web", "a", "{\"host\":\"h\",\"ttl\":60}", 0);
    assert_int_not_equal(r.session, first);
    assert_int_equal(r.ttl_s, 60);
    assert_int_equal(heartbeat(n, first), ERR_SESSION_GONE);
    assert_int_equal(heartbeat(n, r.session), OK);
    assert_int_equal(registry_node_leases(n), 1);
    assert_int_equal(catalog_session_count(registry_catalog(n->registry)), 1);
}

static void test_deregister(void **state)
{
    struct registry_node *n = *state;
    int64_t session = registry_node_registered(n, "web", "a", UP, 0).session;
    int64_t before = kv_revision(n->node.kv);
    assert_int_equal(deregister(n, "web", "a"), OK);
    assert_null(registry_node_find(n, "web", "a"));
    assert_int_equal(deregister(n, "web", "a"), ERR_NOT_FOUND);
    assert_int_equal(deregister(n, "other", "a"), ERR_NOT_FOUND);
    assert_string_equal(deregister_error, "the service other has no instance a");
    assert_int_equal(heartbeat(n, session), ERR_SESSION_GONE);
    assert_int_equal(registry_node_leases(n), 0);
    assert_int_equal(kv_revision(n->node.kv), before + 1); /* instance and session in one */
}

/* The session ended: a new one, at once, without a request of the client. */
static void test_session_was_lost(void **state)
{
    struct registry_node *n = *state;
    int64_t first = registry_node_registered(n, "web", "a", UP, 0).session;
    registry_node_revoke(n, first);
    assert_false(registry_node_find(n, "web", "a")->hangs_on->exists);
    struct registry_result r = registry_node_registered(n, "web", "a", UP, 0);
    assert_false(r.is_unchanged);
    assert_int_not_equal(r.session, first);
    assert_true(registry_node_find(n, "web", "a")->hangs_on->exists);
}

static void register_again(struct registry_node *n, const char *words)
{
    char text[200];
    int64_t session = registry_node_session(n, 15);
    snprintf(text, sizeof text, "{\"host\":\"h\",\"port\":1,%s,\"session\":\"%llx\"}", words,
             (unsigned long long)session);
    registry_node_put(n, NAME_INSTANCE, "web", "a", text);
    registry_node_registered(n, "web", "a", UP, session); /* unless the janitor was faster */
    const struct instance *doc = registry_node_find(n, "web", "a")->doc;
    assert_int_equal(doc->state, INSTANCE_UP);
    assert_false(doc->is_guarded);
    assert_int_equal(doc->session, session);
}

static void test_lost_and_guarded_come_back(void **state)
{
    register_again(*state, "\"state\":\"lost\"");
    register_again(*state, "\"state\":\"up\",\"guarded\":true");
}

static void test_at_the_same_time(void **state)
{
    struct registry_node *n = *state;
    struct registry_reply a[4];
    for (int i = 0; i < 4; i++)
        registry_node_register(n, &a[i], "web", "a", i % 2 ? UP_2 : UP, 0);
    for (int i = 0; i < 4; i++) {
        registry_node_wait(n, &a[i]);
        assert_int_equal(a[i].err, OK);
        assert_int_equal(a[i].result.session, a[0].result.session);
    }
    assert_int_equal(registry_node_leases(n), 1);
    assert_int_equal(catalog_session_count(registry_catalog(n->registry)), 1);
}

/* --- an outdated view ------------------------------------------------------------------------------- */

static void test_behind(void **state)
{
    struct registry_node *n = *state;
    struct registry_reply a;
    struct raw raw = {0};
    struct registry_key key = registry_key_of("web", "a");
    /* It exists, and the view does not show it. */
    raw_put(n, &raw, "web", "a", "{\"host\":\"other\"}");
    registry_node_register(n, &a, "web", "a", UP, 0);
    registry_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    assert_string_equal(registry_node_find(n, "web", "a")->doc->host.data ? "h" : "", "h");
    assert_int_equal(registry_node_find(n, "web", "a")->mod_revision, a.result.revision);
    /* The view shows the very document, and an etcd client has just deleted it. */
    raw_delete(n, &raw, NAME_INSTANCE, "web", "a", 0);
    registry_node_register(n, &a, "web", "a", UP, 0);
    registry_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    assert_false(a.result.is_unchanged);
    registry_node_settle(n);
    assert_non_null(registry_node_find(n, "web", "a"));
    /* Deleted already. */
    raw_delete(n, &raw, NAME_INSTANCE, "web", "a", 0);
    a = (struct registry_reply){.request.done = registry_reply_done};
    registry_deregister(n->registry, &a.request, &key);
    registry_node_wait(n, &a);
    assert_int_equal(a.err, ERR_NOT_FOUND);
    /* It exists already. */
    raw_put(n, &raw, "web", "a", UP);
    a = (struct registry_reply){.request.done = registry_reply_done};
    registry_deregister(n->registry, &a.request, &key);
    registry_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    registry_node_settle(n);
    assert_null(registry_node_find(n, "web", "a"));
    raw_done(&raw);
}

static void test_session_goes_meanwhile(void **state)
{
    struct registry_node *n = *state;
    struct registry_reply a;
    struct raw raw = {0};
    int64_t session = registry_node_session(n, 15);
    raw_delete(n, &raw, NAME_SESSION, "-", NULL, session);
    registry_node_register(n, &a, "web", "a", UP, session);
    registry_node_wait(n, &a);
    assert_int_equal(a.err, ERR_SESSION_GONE);
    registry_node_settle(n);
    assert_null(registry_node_find(n, "web", "a"));
    /* The lease still exists, but it is not a session any more. */
    assert_int_equal(heartbeat(n, session), ERR_SESSION_GONE);
    raw_done(&raw);
}

/* An unreadable document is overwritten, and removed, like any other. */
static void test_unreadable(void **state)
{
    struct registry_node *n = *state;
    registry_node_put(n, NAME_INSTANCE, "web", "a", "rubbish");
    registry_node_registered(n, "web", "a", UP, 0);
    assert_non_null(registry_node_find(n, "web", "a"));
    registry_node_put(n, NAME_INSTANCE, "web", "b", "rubbish");
    registry_node_settle(n);
    assert_int_equal(deregister(n, "web", "b"), OK);
    assert_int_equal(deregister(n, "web", "b"), ERR_NOT_FOUND);
}

struct opponent {
    struct registry_watch watch;
    struct registry_node *node;
    struct raw raw;
    unsigned n;
};

/* It is notified before other waiters of the view: so it is always first. */
static void oppose(struct registry_watch *watch, const struct catalog_change *change)
{
    struct opponent *o = container_of(watch, struct opponent, watch);
    char text[64];
    (void)change;
    snprintf(text, sizeof text, "{\"host\":\"h\",\"port\":%u}", 1 + o->n++ % 1000);
    if (o->n < 100)
        raw_put(o->node, &o->raw, "web", "a", text);
}

/* Another client writes it all the time: the request ends with an error, and leaves nothing. */
static void test_conflict(void **state)
{
    struct registry_node *n = *state;
    struct opponent o = {.node = n, .watch.changed = oppose};
    struct registry_reply a;
    struct registry_key key = registry_key_of("web", NULL);
    registry_watch_service(n->registry, &o.watch, &key);
    oppose(&o.watch, NULL);
    registry_node_register(n, &a, "web", "a", UP, 0);
    registry_node_wait(n, &a);
    registry_unwatch(&o.watch);
    assert_int_equal(a.err, ERR_CONFLICT);
    assert_int_equal(registry_node_leases(n), 0);
    registry_node_settle(n);
    assert_int_equal(registry_node_find(n, "web", "a")->doc->session, 0);
    raw_done(&o.raw);
}

/* --- named sessions ------------------------------------------------------------------------------------- */

static void test_session(void **state)
{
    struct registry_node *n = *state;
    int64_t session = registry_node_session(n, 30);
    struct registry_reply beat = session_request(n, session, registry_session_heartbeat);
    assert_int_equal(beat.err, OK);
    assert_int_equal(beat.result.ttl_s, 30);
    assert_int_equal(beat.result.session, session);
    const char *const ids[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++)
        assert_int_equal(registry_node_registered(n, "web", ids[i], UP, session).session, session);
    assert_int_equal(registry_node_leases(n), 1);
    assert_int_equal(deregister(n, "web", "b"), OK);
    assert_int_equal(heartbeat(n, session), OK); /* it does not end with an instance */
    int64_t before = kv_revision(n->node.kv);
    struct registry_reply closed = session_request(n, session, registry_session_close);
    assert_int_equal(closed.err, OK);
    assert_int_equal(closed.result.instances, 2);
    assert_int_equal(closed.result.revision, before + 1);
    assert_null(registry_node_find(n, "web", "a"));
    assert_int_equal(heartbeat(n, session), ERR_SESSION_GONE);
    assert_int_equal(session_request(n, session, registry_session_close).err, ERR_SESSION_GONE);
    assert_int_equal(registry_node_leases(n), 0);
}

static void test_session_is_gone(void **state)
{
    struct registry_node *n = *state;
    struct registry_reply a;
    int64_t session = registry_node_session(n, 30);
    registry_node_registered(n, "web", "a", UP, session);
    registry_node_revoke(n, session);
    int64_t before = kv_revision(n->node.kv);
    registry_node_register(n, &a, "web", "a", UP, session);
    registry_node_wait(n, &a);
    assert_int_equal(a.err, ERR_SESSION_GONE);
    registry_node_register(n, &a, "web", "b", UP, 12345);
    registry_node_wait(n, &a);
    assert_int_equal(a.err, ERR_SESSION_GONE);
    assert_int_equal(registry_node_leases(n), 0);
    assert_int_equal(heartbeat(n, 12345), ERR_SESSION_GONE);
    if (!registry_node_find(n, "web", "a") || registry_node_find(n, "web", "a")->doc->state == INSTANCE_UP)
        assert_int_equal(kv_revision(n->node.kv), before);
}

/* A session that was made for one instance, and that another has joined, is not of the first one alone any
 * more. */
static void test_joined(void **state)
{
    struct registry_node *n = *state;
    int64_t session = registry_node_registered(n, "web", "a", UP, 0).session;
    assert_int_equal(registry_node_registered(n, "web", "b", UP, session).session, session);
    assert_false(registry_node_find(n, "web", "b")->hangs_on->doc.is_implicit);
    assert_int_equal(deregister(n, "web", "a"), OK);
    assert_int_equal(heartbeat(n, session), OK);
    assert_non_null(registry_node_find(n, "web", "b"));
    /* An instance that leaves its own session ends that session. */
    int64_t own = registry_node_registered(n, "web", "c", UP, 0).session;
    assert_int_equal(registry_node_registered(n, "web", "c", UP, session).session, session);
    assert_int_equal(heartbeat(n, own), ERR_SESSION_GONE);
    assert_int_equal(registry_node_leases(n), 1);
}

/* An etcd client has put an instance that names the session: then the session is not of one instance alone
 * either. */
static void test_named_by_others(void **state)
{
    struct registry_node *n = *state;
    char text[100];
    int64_t session = registry_node_registered(n, "web", "a", UP, 0).session;
    snprintf(text, sizeof text, "{\"host\":\"h\",\"session\":\"%llx\"}", (unsigned long long)session);
    registry_node_put(n, NAME_INSTANCE, "web", "b", text);
    registry_node_settle(n);
    assert_int_equal(deregister(n, "web", "a"), OK);
    assert_int_equal(heartbeat(n, session), OK);
}

struct mover {
    struct registry_watch watch;
    struct registry_node *node;
    struct raw raw;
    char text[100];
};

static void move(struct registry_watch *watch, const struct catalog_change *change)
{
    struct mover *m = container_of(watch, struct mover, watch);
    if (slice_equal(change->ids[0], slice_text("y")))
        raw_put(m->node, &m->raw, "web", "x", m->text);
}

/* Between the check of the session's instances and the transaction one of them moves: it stays. */
static void test_close_while_moved(void **state)
{
    struct registry_node *n = *state;
    struct mover m = {.node = n, .watch.changed = move};
    struct raw trigger = {0};
    struct registry_key key = registry_key_of("web", NULL);
    struct registry_reply a = {.request.done = registry_reply_done};
    int64_t session = registry_node_session(n, 30), other = registry_node_session(n, 30);
    registry_node_registered(n, "web", "w", UP, session);
    registry_node_registered(n, "web", "x", UP, session);
    snprintf(m.text, sizeof m.text, "{\"host\":\"h\",\"session\":\"%llx\"}", (unsigned long long)other);
    registry_watch_service(n->registry, &m.watch, &key);
    raw_put(n, &trigger, "web", "y", UP);
    registry_session_close(n->registry, &a.request, session);
    registry_node_wait(n, &a);
    registry_unwatch(&m.watch);
    assert_true(m.raw.is_done);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.instances, 1);
    assert_null(registry_node_find(n, "web", "w"));
    assert_non_null(registry_node_find(n, "web", "x"));
    raw_done(&m.raw);
    raw_done(&trigger);
}

static void test_close_while_joined(void **state)
{
    struct registry_node *n = *state;
    struct registry_reply close = {.request.done = registry_reply_done}, joins;
    int64_t session = registry_node_session(n, 30);
    registry_node_registered(n, "web", "a", UP, session);
    registry_session_close(n->registry, &close.request, session);
    registry_node_register(n, &joins, "web", "b", UP, session);
    registry_node_wait(n, &close);
    registry_node_wait(n, &joins);
    assert_int_equal(close.err, OK);
    assert_null(registry_node_find(n, "web", "a"));
    /* Either it was first, or it was notified. */
    assert_int_equal(joins.err == OK || joins.err == ERR_SESSION_GONE, true);
    if (joins.err)
        assert_null(registry_node_find(n, "web", "b"));
}

/* --- settings, overrides ---------------------------------------------------------------------------- */

static struct registry_reply put_settings(struct registry_node *n, const char *service, double threshold)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    struct registry_key key = registry_key_of(service, NULL);
    struct settings doc = {.protect_threshold = threshold};
    registry_put_settings(n->registry, &a.request, &key, threshold < 0 ? NULL : &doc);
    registry_node_wait(n, &a);
    return a;
}

static struct registry_reply put_override(struct registry_node *n, const char *service, const char *id,
                                          int weight)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    struct registry_key key = registry_key_of(service, id);
    struct override doc = {.has_weight = true, .weight = (uint16_t)weight, .reason = slice_text("r")};
    registry_put_override(n->registry, &a.request, &key, weight < 0 ? NULL : &doc);
    registry_node_wait(n, &a);
    return a;
}

static void test_settings(void **state)
{
    struct registry_node *n = *state;
    struct registry_key key = registry_key_of("web", NULL);
    struct registry_reply a = put_settings(n, "web", -1);
    assert_int_equal(a.err, ERR_NOT_FOUND);
    assert_string_equal(a.error, "the service web has no settings");
    a = put_settings(n, "web", 0.5);
    assert_int_equal(a.err, OK);
    struct catalog_service *s = catalog_find(registry_catalog(n->registry), key.ns, key.group, key.service);
    assert_true(s && s->settings.protect_threshold > 0.4);
    assert_true(put_settings(n, "web", 0.5).result.is_unchanged);
    assert_int_equal(kv_revision(n->node.kv), a.result.revision);
    assert_false(put_settings(n, "web", 0.6).result.is_unchanged);
    assert_int_equal(put_settings(n, "web", -1).err, OK);
    assert_null(catalog_find(registry_catalog(n->registry), key.ns, key.group, key.service));
}

static struct registry_reply override_by(struct registry_node *n, const char *author, int weight)
{
    struct registry_reply a = {.request.done = registry_reply_done};
    struct registry_key key = registry_key_of("web", "a");
    struct override doc = {.has_weight = true, .weight = (uint16_t)weight};
    a.request.author = (struct author){slice_text(author), slice_text("bob"), slice_text("10.0.0.5")};
    registry_put_override(n->registry, &a.request, &key, &doc);
    registry_node_wait(n, &a);
    assert_int_equal(a.err, OK);
    return a;
}

/* The same override by another author is no change. Readers do not get the author's address. */
static void test_author(void **state)
{
    struct registry_node *n = *state;
    struct buf text = {0};
    registry_node_registered(n, "web", "a", UP, 0);
    assert_false(override_by(n, "alice", 7).result.is_unchanged);
    const struct override *o = registry_node_find(n, "web", "a")->override;
    int64_t time_ms = o->time_ms;
    assert_true(slice_equal(o->author.name, slice_text("alice")) && time_ms > 0);
    assert_true(override_by(n, "eve", 7).result.is_unchanged);
    o = registry_node_find(n, "web", "a")->override;
    assert_true(slice_equal(o->author.name, slice_text("alice")) && o->time_ms == time_ms);
    assert_false(override_by(n, "eve", 8).result.is_unchanged);
    o = registry_node_find(n, "web", "a")->override;
    assert_true(slice_equal(o->author.name, slice_text("eve")));
    assert_true(slice_equal(o->author.address, slice_text("10.0.0.5")));
    struct json_writer w = {.out = &text};
    view_write_instance(registry_node_find(n, "web", "a"), &(struct inheritance){0}, &w);
    assert_non_null(strstr(buf_text(&text), "\"author\":\"eve\",\"on_behalf_of\":\"bob\",\"time_ms\":"));
    assert_null(strstr(buf_text(&text), "10.0.0.5"));
    buf_done(&text);
}

/* The operator override exists before the instance, while it changes, and after its deletion. */
static void test_override_outlives(void **state)
{
    struct registry_node *n = *state;
    struct registry_reply none = put_override(n, "web", "a", -1);
    assert_int_equal(none.err, ERR_NOT_FOUND);
    assert_string_equal(none.error, "the instance a has no override");
    assert_int_equal(put_override(n, "web", "a", 7).err, OK);
    for (int i = 0; i < 2; i++) {
        registry_node_registered(n, "web", "a", UP, 0);
        assert_int_equal(catalog_effect(registry_node_find(n, "web", "a")).weight, 7);
        registry_node_registered(n, "web", "a", UP_2, 0);
        assert_int_equal(catalog_effect(registry_node_find(n, "web", "a")).weight, 7);
        assert_int_equal(deregister(n, "web", "a"), OK);
    }
    assert_true(put_override(n, "web", "a", 7).result.is_unchanged);
    assert_int_equal(put_override(n, "web", "a", -1).err, OK);
    registry_node_registered(n, "web", "a", UP, 0);
    assert_int_equal(catalog_effect(registry_node_find(n, "web", "a")).weight, 100);
}

/* --- limits and refusals -------------------------------------------------------------------------------- */

static void test_names(void **state)
{
    struct registry_node *n = *state;
    static const struct {
        struct registry_key key;
        const char *error;
    } rows[] = {
        {{{NULL, 0}, {(const uint8_t *)"g", 1}, {(const uint8_t *)"s", 1}, {(const uint8_t *)"i", 1}},
         "the namespace is empty"},
        {{{(const uint8_t *)"n", 1}, {(const uint8_t *)"a/b", 3}, {(const uint8_t *)"s", 1}, {NULL, 0}},
         "the group holds a '/'"},
        {{{(const uint8_t *)"n", 1}, {(const uint8_t *)"g", 1}, {(const uint8_t *)"..", 2}, {NULL, 0}},
         "the service's name must not be"},
        {{{(const uint8_t *)"n", 1}, {(const uint8_t *)"g", 1}, {(const uint8_t *)"s", 1}, {NULL, 0}},
         "the instance's id is empty"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct registry_reply a = {.request.done = registry_reply_done};
        registry_deregister(n->registry, &a.request, &rows[i].key);
        assert_false(a.is_done);
        registry_node_wait(n, &a);
        assert_int_equal(a.err, ERR_INVALID);
        assert_non_null(strstr(a.error, rows[i].error));
    }
    struct registry_reply a = {.request.done = registry_reply_done};
    struct session doc = {.ttl_s = 2};
    registry_session_open(n->registry, &a.request, &doc);
    registry_node_wait(n, &a);
    assert_int_equal(a.err, ERR_INVALID);
    assert_int_equal(registry_node_leases(n), 0);
}

static int try(struct registry_node *n, const char *service, const char *id, int64_t session)
{
    struct registry_reply a;
    registry_node_register(n, &a, service, id, UP, session);
    registry_node_wait(n, &a);
    if (a.err)
        assert_int_not_equal(strlen(a.error), 0);
    return a.err;
}

static void test_limits(void **state)
{
    struct registry_node *n = *state; /* 2 services, 3 instances, 4 sessions */
    struct registry_reply a[4];
    for (int i = 0; i < 4; i++) { /* all at once: pending requests count */
        char id[2] = {(char)('a' + i), 0};
        registry_node_register(n, &a[i], "web", id, UP, 0);
    }
    for (int i = 0; i < 4; i++) {
        registry_node_wait(n, &a[i]);
        assert_int_equal(a[i].err, i < 3 ? OK : ERR_QUOTA);
    }
    assert_non_null(strstr(a[3].error, "3 instances"));
    for (int i = 0; i < 4; i++) {
        char service[16];
        snprintf(service, sizeof service, "n3/g/s%d", i);
        registry_node_register(n, &a[i], service, "a", UP, registry_node_find(n, "web", "a")->doc->session);
    }
    for (int i = 0; i < 4; i++) {
        registry_node_wait(n, &a[i]);
        assert_int_equal(a[i].err, i < 2 ? OK : ERR_QUOTA);
    }
    assert_int_equal(try(n, "web", "a", 0), OK); /* an existing instance may change */
    assert_int_equal(try(n, "n2/g/web", "a", 0), OK);
    assert_int_equal(try(n, "n2/g/web", "b", 0), ERR_QUOTA); /* sessions, of all namespaces */
    assert_int_equal(try(n, "n2/g/web", "b", a[0].result.session), OK);
    assert_int_equal(try(n, "n2/g/two", "a", a[0].result.session), OK);
    assert_int_equal(deregister(n, "n2/g/web", "b"), OK);
    assert_int_equal(try(n, "n2/g/three", "a", a[0].result.session), ERR_QUOTA); /* services */
    assert_int_equal(put_settings(n, "n2/g/three", 0.5).err, ERR_QUOTA);
    assert_int_equal(put_settings(n, "n2/g/two", 0.5).err, OK);
    for (int i = 0; i < 4; i++) {
        char id[2] = {(char)('a' + i), 0};
        assert_int_equal(put_override(n, "web", id, 1).err, i < 3 ? OK : ERR_QUOTA);
    }
    assert_int_equal(put_override(n, "web", "a", 2).err, OK);
    assert_int_equal(deregister(n, "web", "b"), OK);
    assert_int_equal(try(n, "web", "z", a[0].result.session), OK);
}

/* A session of a client at this source; instance NULL: opened by name, else for this instance alone. */
static struct registry_reply begin_from(struct registry_node *n, struct registry_reply *a, uint64_t source,
                                        const char *instance)
{
    const struct session session = {.ttl_s = 60};
    const struct instance doc = {.host = slice_text("h"), .ttl_s = 60};
    *a = (struct registry_reply){.request = {.done = registry_reply_done, .source = source}};
    struct registry_key key = registry_key_of("web", instance ? instance : "");
    if (instance)
        registry_register(n->registry, &a->request, &key, &doc, 0);
    else
        registry_session_open(n->registry, &a->request, &session);
    return *a;
}

static struct registry_reply open_from(struct registry_node *n, uint64_t source, const char *instance)
{
    struct registry_reply a;
    begin_from(n, &a, source, instance);
    registry_node_wait(n, &a);
    return a;
}

/* A source opens a session while it holds fewer than are free for all. */
static void test_sessions_of_sources(void **state)
{
    struct registry_node *n = *state; /* 4 sessions */
    struct registry_reply a[3], b;
    for (int i = 0; i < 3; i++) /* all at once: pending requests count, and both kinds of sessions */
        begin_from(n, &a[i], 1, i == 1 ? "a" : NULL);
    for (int i = 0; i < 3; i++) {
        registry_node_wait(n, &a[i]);
        assert_int_equal(a[i].err, i < 2 ? OK : ERR_QUOTA);
    }
    assert_non_null(strstr(a[2].error, "there are 2 sessions of this address"));
    assert_non_null(strstr(a[2].error, "--registry-max-sessions"));
    assert_int_equal(open_from(n, 1, NULL).err, ERR_QUOTA); /* they are open now */
    assert_int_equal(session_request(n, a[0].result.session, registry_session_heartbeat).err, OK);
    b = open_from(n, 2, "b");
    assert_int_equal(b.err, OK);
    assert_int_equal(open_from(n, 2, NULL).err, ERR_QUOTA);
    registry_node_revoke(n, a[0].result.session);
    registry_node_settle(n);
    assert_int_equal(open_from(n, 1, "b").err, OK); /* needs none: it belongs to a session already */
    assert_int_equal(open_from(n, 1, NULL).err, OK);
    assert_int_equal(deregister(n, "web", "a"), OK); /* its session ends with it */
    a[0] = open_from(n, 1, NULL);
    assert_int_equal(a[0].err, OK);
    assert_int_equal(open_from(n, 1, NULL).err, ERR_QUOTA);
    assert_int_equal(open_from(n, 0, NULL).err, OK); /* not counted by source */
    assert_int_equal(session_request(n, a[0].result.session, registry_session_close).err, OK);
    assert_int_equal(open_from(n, 1, NULL).err, ERR_QUOTA); /* it holds as many as are left */
    assert_int_equal(open_from(n, 3, NULL).err, OK);
}

static void test_namespaces(void **state)
{
    struct registry_node *n = *state; /* 3 of them */
    struct registry_reply a[5];
    for (int i = 0; i < 4; i++) { /* all at once: pending requests count */
        char service[16];
        snprintf(service, sizeof service, "ns%d/g/web", i);
        registry_node_register(n, &a[i], service, "a", UP, 0);
    }
    registry_node_register(n, &a[4], "ns0/g/web", "b", UP, 0);
    for (int i = 0; i < 5; i++) {
        registry_node_wait(n, &a[i]);
        assert_int_equal(a[i].err, i != 3 ? OK : ERR_QUOTA);
    }
    assert_non_null(strstr(a[3].error, "3 namespaces"));
    int64_t session = a[0].result.session;
    assert_int_equal(put_settings(n, "ns3/g/web", 0.5).err, ERR_QUOTA);
    assert_int_equal(put_override(n, "ns3/g/web", "a", 1).err, ERR_QUOTA);
    assert_int_equal(try(n, "ns1/g/two", "a", session), OK); /* an existing one may grow */
    assert_int_equal(put_override(n, "ns2/g/web", "a", 1).err, OK);
    assert_int_equal(deregister(n, "ns2/g/web", "a"), OK); /* the override stays */
    assert_int_equal(try(n, "ns3/g/web", "a", session), ERR_QUOTA);
    assert_int_equal(deregister(n, "ns0/g/web", "a"), OK);
    assert_int_equal(try(n, "ns3/g/web", "a", session), ERR_QUOTA);
    assert_int_equal(deregister(n, "ns0/g/web", "b"), OK); /* empty: makes room */
    assert_int_equal(put_settings(n, "ns3/g/web", 0.5).err, OK);
    assert_int_equal(try(n, "ns0/g/web", "a", session), ERR_QUOTA);
}

static void test_close_in_parts(void **state)
{
    struct registry_node *n = *state; /* 4 operations a transaction */
    int64_t session = registry_node_session(n, 30);
    for (int i = 0; i < 11; i++) {
        char id[16], text[100];
        snprintf(id, sizeof id, "i%d", i);
        snprintf(text, sizeof text, "{\"host\":\"h\",\"session\":\"%llx\"}", (unsigned long long)session);
        registry_node_put(n, NAME_INSTANCE, "web", id, text);
    }
    struct registry_reply a = session_request(n, session, registry_session_close);
    assert_int_equal(a.err, OK);
    assert_int_equal(a.result.instances, 11);
    registry_node_settle(n);
    assert_int_equal(catalog_all(registry_catalog(n->registry))->instances, 0);
    assert_int_equal(catalog_session_count(registry_catalog(n->registry)), 0);
    assert_int_equal(registry_node_leases(n), 0);
}

/* --- callers that disconnect ---------------------------------------------------------------------------- */

static bool is_registered(void *arg)
{
    return registry_node_find(arg, "web", "a") != NULL;
}

/* The write continues; the struct may be freed. */
static void test_cancel(void **state)
{
    struct registry_node *n = *state;
    struct registry_reply *a = mem_new(sizeof *a);
    registry_node_register(n, a, "web", "a", UP, 0);
    registry_cancel(n->registry, &a->request);
    mem_free(a);
    one_node_run(&n->node, is_registered, n);
    assert_int_equal(registry_node_leases(n), 1);
}

static void test_stopped(void **state)
{
    struct registry_node *n = *state;
    struct registry_reply a;
    int64_t session = registry_node_session(n, 30);
    registry_node_register(n, &a, "web", "a", UP, session);
    one_node_run_ms(&n->node, 0);
    registry_free(n->registry);
    n->registry = NULL;
    assert_true(a.is_done);
    assert_true(a.err == ERR_STOPPED || a.err == OK);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_register),
        TEST(test_same_again),
        TEST(test_other_ttl),
        TEST(test_deregister),
        TEST(test_session_was_lost),
        TEST(test_lost_and_guarded_come_back),
        TEST(test_at_the_same_time),
        TEST(test_behind),
        TEST(test_session_goes_meanwhile),
        TEST(test_unreadable),
        TEST(test_conflict),
        TEST(test_session),
        TEST(test_session_is_gone),
        TEST(test_joined),
        TEST(test_named_by_others),
        TEST(test_close_while_moved),
        TEST(test_close_while_joined),
        TEST(test_settings),
        TEST(test_override_outlives),
        TEST(test_author),
        TEST(test_names),
        cmocka_unit_test_setup_teardown(test_limits, setup_limited, teardown),
        cmocka_unit_test_setup_teardown(test_sessions_of_sources, setup_limited, teardown),
        cmocka_unit_test_setup_teardown(test_namespaces, setup_limited, teardown),
        cmocka_unit_test_setup_teardown(test_close_in_parts, setup_limited, teardown),
        TEST(test_cancel),
        TEST(test_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
