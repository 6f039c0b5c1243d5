/* SPDX-License-Identifier: Apache-2.0
 * Tests of the janitor on a real store: leases that expire, storms, concurrent writes of others, work that
 * another leader left, transactions that are too large. Tests that are not about leases delete sessions'
 * keys by hand: only the first test waits for a TTL. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/text.h"
#include "registry/registry_private.h"
#include "tests/unit/registry_node.h"

struct world {
    struct registry_node n;
    struct plan_rules rules;
    size_t serving, serving_min; /* of the service "s" */
    /* Written right before the janitor's turn in which the end of `session` is first seen. */
    int64_t session;
    const char *key, *value;
    struct kv_request put;
    bool is_put;
};

static struct plan_rules fast(void)
{
    struct plan_rules rules = plan_rules_default();
    rules.decision_delay_ms = 50;
    rules.recheck_ms = 100;
    rules.storm.hold_max_ms = 1500;
    return rules;
}

static void begin_janitor(struct world *w)
{
    struct registry *r = w->n.registry;
    janitor_free(r->janitor);
    r->janitor = janitor_new_with(r->kv, r->catalog, &w->rules);
}

static int setup(void **state)
{
    struct world *w = mem_new(sizeof *w);
    log_set_level(getenv("VERBOSE") ? LOG_INFO : LOG_FATAL);
    w->rules = fast();
    registry_node_open(&w->n, NULL);
    begin_janitor(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    registry_node_close(&w->n);
    mem_free(w);
    return 0;
}

/* --- helpers ---------------------------------------------------------------------------------------- */

static struct catalog_service *service(struct world *w)
{
    struct registry_key key = registry_key_of("s", NULL);
    return catalog_find(w->n.registry->catalog, key.ns, key.group, key.service);
}

static size_t count(struct world *w, enum instance_state state)
{
    struct catalog_service *s = service(w);
    return s ? s->by_state[state] : 0;
}

static size_t guarded(struct world *w)
{
    struct catalog_service *s = service(w);
    return s ? s->in->guarded : 0;
}

static bool is_lost(void *arg)
{
    struct catalog_instance *i = registry_node_find(&((struct world *)arg)->n, "s", "a");
    return i && i->doc->state == INSTANCE_LOST;
}

static bool is_deleted(void *arg)
{
    return !registry_node_find(&((struct world *)arg)->n, "s", "a");
}

static void wait_until(struct world *w, bool (*fn)(void *arg))
{
    one_node_run(&w->n.node, fn, w);
}

static void put_session(struct world *w, long id)
{
    char key[64];
    snprintf(key, sizeof key, "/cairn/registry/sessions/%016lx", (unsigned long)id);
    one_node_put(&w->n.node, key, "{\"ttl\":3}", 0);
}

static void end_sessions(struct world *w, long from, long to)
{
    char key[64], end[64];
    snprintf(key, sizeof key, "/cairn/registry/sessions/%016lx", (unsigned long)from);
    snprintf(end, sizeof end, "/cairn/registry/sessions/%016lx", (unsigned long)to + 1);
    one_node_delete(&w->n.node, key, end);
}

static void put_instance(struct world *w, const char *id, long session, const char *more)
{
    char text[200];
    snprintf(text, sizeof text, "{\"host\":\"h\",\"ttl\":3,\"session\":\"%lx\"%s}", (unsigned long)session,
             more);
    registry_node_put(&w->n, NAME_INSTANCE, "s", id, text);
}

static void many(struct world *w, long first, long last, const char *more)
{
    char id[16];
    for (long k = first; k <= last; k++) {
        put_session(w, k);
        snprintf(id, sizeof id, "i%ld", k);
        put_instance(w, id, k, more);
    }
    registry_node_settle(&w->n);
}

/* --- tests ------------------------------------------------------------------------------------------ */

/* Its client died without deregistering: the lease ends, the instance is lost, and after its grace time it is
 * deleted. */
static void test_lease_expires(void **state)
{
    struct world *w = *state;
    double lost = metric_get(METRIC_LOST), expired = metric_get(METRIC_EXPIRED);
    uint64_t start_ms = clock_mono_ms();
    registry_node_registered(&w->n, "s", "a", "{\"host\":\"h\",\"ttl\":3,\"grace\":1}", 0);
    assert_int_equal(registry_node_leases(&w->n), 1);
    wait_until(w, is_lost);
    assert_true(clock_mono_ms() - start_ms >= 3000);
    assert_false(catalog_effect(registry_node_find(&w->n, "s", "a")).serves);
    start_ms = clock_mono_ms();
    wait_until(w, is_deleted);
    assert_true(clock_mono_ms() - start_ms >= 900); /* seen as lost a moment later than it was */
    assert_true(metric_get(METRIC_LOST) == lost + 1);
    assert_true(metric_get(METRIC_EXPIRED) == expired + 1);
}

/* The client returns while the instance is lost: up again at once, on a session of its own. */
static void test_client_returns(void **state)
{
    struct world *w = *state;
    const char *doc = "{\"host\":\"h\",\"ttl\":60,\"grace\":1}";
    int64_t first = registry_node_registered(&w->n, "s", "a", doc, 0).session;
    registry_node_revoke(&w->n, first);
    wait_until(w, is_lost);
    int64_t second = registry_node_registered(&w->n, "s", "a", doc, 0).session;
    assert_int_not_equal(first, second);
    assert_int_equal(registry_node_find(&w->n, "s", "a")->doc->state, INSTANCE_UP);
    one_node_run_ms(&w->n.node, 1500); /* longer than the grace time: it is not deleted */
    assert_int_equal(registry_node_find(&w->n, "s", "a")->doc->state, INSTANCE_UP);
    assert_true(metric_get(METRIC_WARDS) == 0);
}

/* Checks in every turn, so that no view without them is missed. */
static void watch_serving(void *arg)
{
    struct world *w = arg;
    w->serving = count(w, INSTANCE_UP);
    if (w->serving < w->serving_min)
        w->serving_min = w->serving;
}

static bool are_30_guarded(void *arg)
{
    return guarded(arg) == 30;
}

static bool are_12_lost(void *arg)
{
    return count(arg, INSTANCE_LOST) == 12;
}

/* 30 of 40 die at once: all stay in traffic; 18 clients return; the rest is released when the time is over.
 */
static void test_storm(void **state)
{
    struct world *w = *state;
    double trips = metric_get(METRIC_GUARD_TRIPS), lost = metric_get(METRIC_LOST);
    many(w, 1, 40, "");
    assert_int_equal(count(w, INSTANCE_UP), 40);
    w->serving_min = 40;
    w->n.turn = watch_serving;
    w->n.arg = w;
    end_sessions(w, 1, 30);
    wait_until(w, are_30_guarded);
    assert_true(metric_get(METRIC_GUARDED) == 30);
    assert_true(metric_get(METRIC_GUARD_TRIPS) == trips + 1);
    for (long k = 1; k <= 18; k++) {
        char id[16];
        put_session(w, 100 + k);
        snprintf(id, sizeof id, "i%ld", k);
        put_instance(w, id, 100 + k, "");
    }
    registry_node_settle(&w->n);
    assert_int_equal(guarded(w), 12);
    assert_int_equal(w->serving_min, 40); /* not one was out of traffic for a moment */
    wait_until(w, are_12_lost);
    one_node_run_ms(&w->n.node, 200);
    assert_int_equal(count(w, INSTANCE_UP), 28);
    assert_int_equal(guarded(w), 0);
    assert_true(metric_get(METRIC_GUARDED) == 0);
    assert_true(metric_get(METRIC_GUARD_TRIPS) == trips + 1);
    assert_true(metric_get(METRIC_LOST) == lost + 12);
}

static void on_put(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    (void)response;
    assert_int_equal(err, OK);
    container_of(r, struct world, put)->is_put = true;
}

static ProtobufCBinaryData bytes(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

/* In the turn in which the session's end is seen, before the janitor proposes. */
static void put_first(void *arg)
{
    static Etcdserverpb__PutRequest m;
    struct world *w = arg;
    if (!w->key || catalog_session(w->n.registry->catalog, w->session))
        return;
    etcdserverpb__put_request__init(&m);
    m.key = bytes(w->key);
    m.value = bytes(w->value);
    w->put.done = on_put;
    kv_put(w->n.node.kv, &w->put, &m);
    w->key = NULL;
}

/* As registry_turn, with put_first in between: the janitor has not seen yet the log before its own proposal.
 */
static void turn_between(void *arg)
{
    struct world *w = arg;
    feed_turn(w->n.registry->feed);
    put_first(w);
    registry_turn(w->n.registry);
}

static bool is_put(void *arg)
{
    return ((struct world *)arg)->is_put;
}

static void race(struct world *w, const char *key, const char *value)
{
    w->rules.decision_delay_ms = 0; /* it proposes in the turn in which it sees the end */
    begin_janitor(w);
    put_session(w, 1);
    put_session(w, 2);
    put_instance(w, "a", 1, ",\"grace\":0");
    registry_node_settle(&w->n);
    w->session = 1;
    w->key = key;
    w->value = value;
    w->n.node.turn = turn_between;
    w->n.node.arg = w;
    double lost = metric_get(METRIC_LOST);
    end_sessions(w, 1, 1);
    wait_until(w, is_put);
    one_node_run_ms(&w->n.node, 500);
    w->n.node.turn = NULL;
    assert_int_equal(registry_node_find(&w->n, "s", "a")->doc->state, INSTANCE_UP);
    assert_true(metric_get(METRIC_LOST) == lost);
    assert_true(metric_get(METRIC_WARDS) == 0);
}

static void test_registered_in_the_same_moment(void **state)
{
    race(*state, "/cairn/registry/instances/default/default/s/a",
         "{\"host\":\"h\",\"ttl\":3,\"session\":\"2\",\"weight\":7}");
}

static void test_session_comes_back_in_the_same_moment(void **state)
{
    race(*state, "/cairn/registry/sessions/0000000000000001", "{\"ttl\":3}");
}

static bool are_all_lost(void *arg)
{
    return count(arg, INSTANCE_LOST) == 300;
}

static bool are_all_deleted(void *arg)
{
    return service(arg) == NULL;
}

/* Out of traffic, so that no guard holds them: 300 in few transactions. */
static void many_are_lost(struct world *w, int64_t transactions_max)
{
    put_session(w, 1);
    for (int k = 0; k < 300; k++) {
        char id[16];
        snprintf(id, sizeof id, "i%d", k);
        put_instance(w, id, 1, ",\"state\":\"draining\",\"grace\":1");
    }
    registry_node_settle(&w->n);
    int64_t revision = kv_revision(w->n.node.kv);
    end_sessions(w, 1, 1);
    wait_until(w, are_all_lost);
    assert_in_range(kv_revision(w->n.node.kv) - revision - 1, 1, (unsigned)transactions_max);
    wait_until(w, are_all_deleted);
    assert_in_range(kv_revision(w->n.node.kv) - revision - 1, 2, 3 * (unsigned)transactions_max);
}

static void test_batches(void **state)
{
    struct world *w = *state;
    w->rules.decision_delay_ms = 500; /* all of them are seen first */
    begin_janitor(w);
    many_are_lost(w, 300 / 64 + 1);
}

/* The operator allows ten operations in a transaction: the janitor learns it, and continues with fewer. */
static void test_small_transactions(void **state)
{
    struct world *w = mem_new(sizeof *w);
    log_set_level(getenv("VERBOSE") ? LOG_INFO : LOG_FATAL);
    w->rules = fast();
    w->rules.decision_delay_ms = 500;
    w->n.node.txn_ops_max = 10;
    registry_node_open(&w->n, NULL);
    begin_janitor(w);
    many_are_lost(w, 300 / 8 + 1);
    registry_node_close(&w->n);
    mem_free(w);
    (void)state;
}

/* A lease that an etcd client attached to the instance's key stays attached: it ends as in etcd. */
static void test_own_lease(void **state)
{
    struct world *w = *state;
    int64_t lease = registry_node_session(&w->n, 60);
    put_session(w, 1);
    one_node_put(&w->n.node, "/cairn/registry/instances/default/default/s/a",
                 "{\"host\":\"h\",\"session\":\"1\",\"grace\":60}", lease);
    registry_node_settle(&w->n);
    end_sessions(w, 1, 1);
    wait_until(w, is_lost);
    registry_node_revoke(&w->n, lease);
    assert_null(registry_node_find(&w->n, "s", "a"));
}

static bool is_ready(void *arg)
{
    return registry_is_ready(((struct world *)arg)->n.registry);
}

/* This leader completes the work that another leader has begun. */
static void test_left_over(void **state)
{
    struct world *w = *state;
    put_session(w, 1);
    put_instance(w, "a", 1, ",\"grace\":1");
    registry_node_settle(&w->n);
    end_sessions(w, 1, 1);
    wait_until(w, is_lost);
    registry_free(w->n.registry);
    w->n.registry = NULL;
    one_node_close(&w->n.node);
    one_node_open(&w->n.node);
    w->n.registry = registry_new(&(struct registry_options){.kv = w->n.node.kv, .member = "default"});
    begin_janitor(w);
    wait_until(w, is_ready);
    assert_true(is_lost(w)); /* its grace begins anew */
    wait_until(w, is_deleted);
}

static bool has_no_override(void *arg)
{
    struct catalog_instance *i = registry_node_find(&((struct world *)arg)->n, "s", "a");
    return i && !i->override;
}

static void test_override_ends(void **state)
{
    struct world *w = *state;
    struct buf text = {0};
    double ended = metric_get(METRIC_OVERRIDES_ENDED);
    put_session(w, 1);
    put_instance(w, "a", 1, "");
    buf_add_text(&text, "{\"enabled\":false,\"until\":\"");
    text_add_time(&text, (int64_t)(clock_wall_ns() / 1000000000) + 2);
    buf_add_text(&text, "\"}");
    registry_node_put(&w->n, NAME_OVERRIDE, "s", "a", buf_text(&text));
    registry_node_settle(&w->n);
    assert_false(catalog_effect(registry_node_find(&w->n, "s", "a")).serves);
    wait_until(w, has_no_override);
    assert_true(catalog_effect(registry_node_find(&w->n, "s", "a")).serves);
    assert_true(metric_get(METRIC_OVERRIDES_ENDED) == ended + 1);
    buf_done(&text);
}

/* The keys of an instance that exist: also when there is an override alone. */
static struct catalog_instance *rest_of(struct world *w, const char *id)
{
    struct registry_key key = registry_key_of("s", id);
    return registry_find(w->n.registry, &key);
}

/* A drain belongs to one registration of an instance, however that ends; other overrides of the operator
 * stay. */
static void test_dies_drained(void **state)
{
    struct world *w = *state;
    static const char *const overrides[] = {
        "{\"state\":\"draining\",\"drain\":true,\"reason\":\"drain\"}",
        "{\"state\":\"draining\",\"drain\":true,\"weight\":5}",
        "{\"state\":\"draining\"}",
    };
    for (int k = 0; k < 3; k++) {
        put_session(w, 1);
        put_instance(w, "a", 1, ",\"grace\":1");
        registry_node_put(&w->n, NAME_OVERRIDE, "s", "a", overrides[k]);
        registry_node_settle(&w->n);
        assert_int_equal(catalog_effect(registry_node_find(&w->n, "s", "a")).state, INSTANCE_DRAINING);
        end_sessions(w, 1, 1);
        wait_until(w, is_deleted);
        struct catalog_instance *i = rest_of(w, "a"); /* in the same revision */
        if (k == 0) {
            assert_null(i);
            continue;
        }
        assert_non_null(i);
        assert_false(i->override->is_drain);
        assert_true(k == 1 ? i->override->has_weight && !i->override->has_state : i->override->has_state);
    }
}

struct alarm {
    struct kv_request request;
    bool is_done;
};

static void on_alarm(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    (void)response;
    assert_int_equal(err, OK);
    container_of(r, struct alarm, request)->is_done = true;
}

static bool is_alarm_done(void *arg)
{
    return ((struct alarm *)arg)->is_done;
}

static void set_full(struct world *w, bool is_full)
{
    struct alarm a = {.request.done = on_alarm};
    Etcdserverpb__AlarmRequest m = ETCDSERVERPB__ALARM_REQUEST__INIT;
    m.action = is_full ? ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__ACTIVATE
                       : ETCDSERVERPB__ALARM_REQUEST__ALARM_ACTION__DEACTIVATE;
    m.memberid = kv_member_id(w->n.node.kv);
    m.alarm = ETCDSERVERPB__ALARM_TYPE__NOSPACE;
    kv_alarm(w->n.node.kv, &a.request, &m);
    one_node_run(&w->n.node, is_alarm_done, &a);
}

/* The store takes no puts, not even one that marks an instance as lost: the dead still leave traffic. */
static void test_full_store(void **state)
{
    struct world *w = *state;
    put_session(w, 1);
    put_session(w, 2);
    put_instance(w, "a", 1, ",\"grace\":3600");
    put_instance(w, "b", 2, "");
    registry_node_settle(&w->n);
    set_full(w, true);
    end_sessions(w, 1, 1);
    wait_until(w, is_deleted);
    assert_non_null(registry_node_find(&w->n, "s", "b"));
    set_full(w, false);
    put_session(w, 3);
    put_instance(w, "a", 3, ",\"grace\":3600");
    registry_node_settle(&w->n);
    end_sessions(w, 3, 3);
    wait_until(w, is_lost); /* with space it has its grace time again */
}

/* A proposal that is pending when the registry closes is forgotten, and never answered into freed memory. */
static void test_closed_in_flight(void **state)
{
    struct world *w = *state;
    w->rules.decision_delay_ms = 0;
    begin_janitor(w);
    many(w, 1, 9, "");
    end_sessions(w, 1, 9);
    (void)state; /* teardown closes at once */
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_lease_expires),
        TEST(test_client_returns),
        TEST(test_storm),
        TEST(test_dies_drained),
        TEST(test_full_store),
        TEST(test_registered_in_the_same_moment),
        TEST(test_session_comes_back_in_the_same_moment),
        TEST(test_batches),
        cmocka_unit_test(test_small_transactions),
        TEST(test_own_lease),
        TEST(test_left_over),
        TEST(test_override_ends),
        TEST(test_closed_in_flight),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
