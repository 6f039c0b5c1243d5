/* SPDX-License-Identifier: Apache-2.0
 * Tests of the rights of open calls, over a fake transport and a fake store: watches, keep-alives, locks,
 * elections, snapshots when the caller's rights change, its password changes, or auth is enabled. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <uv.h>

#include "base/log.h"
#include "proto/election.pb-c.h"
#include "proto/lock.pb-c.h"
#include "server/auth/identity.h"
#include "server/rpc/service.h"
#include "tests/unit/fake_kv.h"
#include "tests/unit/fake_call.h"

static struct kv kv;
static struct rpc_server server;
static uv_loop_t loop;

static int setup(void **state)
{
    (void)state;
    char error[300];
    fake_kv_init(&kv);
    kv.is_auth_on = true;
    server = (struct rpc_server){.kv = &kv, .mono_ms = fake_mono_ms};
    assert_int_equal(uv_loop_init(&loop), 0);
    const struct identity_options options = {
        .loop = &loop, .kv = &kv, .auth_token = "simple", .bcrypt_cost = 4, .client_cert_auth = true};
    assert_int_equal(identity_new(&options, error, sizeof error, &server.identity), OK);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(server.calls, 0);
    assert_true(list_is_empty(&kv.pending));
    assert_int_equal(kv.streams_open, 0);
    identity_free(server.identity);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    arena_done(&kv.arena);
    return 0;
}

static struct fake_call *open_call(const char *path, const char *token)
{
    struct fake_call *f = fake_call_new(&server, path);
    f->call.token = slice_text(token);
    rpc_start(&f->call);
    return f;
}

static void turn(void)
{
    fake_kv_turn(&kv);
    while (rpc_server_turn(&server))
        ;
}

/* The hub judges idle watches by itself, and notifies. */
static void rights_change(void)
{
    kv.auth_epoch++;
    if (kv.stream)
        kv.stream->on_ready(kv.stream->arg);
}

/* Of the watch that was opened last. */
static void fake_event(const char *key)
{
    Mvccpb__KeyValue pair = MVCCPB__KEY_VALUE__INIT;
    Mvccpb__Event event = MVCCPB__EVENT__INIT, *events[] = {&event};
    Etcdserverpb__WatchResponse m = ETCDSERVERPB__WATCH_RESPONSE__INIT;
    pair.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)(uintptr_t)key};
    event.kv = &pair;
    m.events = events;
    m.n_events = 1;
    fake_push(kv.stream, 5, &m);
}

static void ask_for(struct fake_call *f, const char *key)
{
    Etcdserverpb__WatchCreateRequest create = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    Etcdserverpb__WatchRequest m = ETCDSERVERPB__WATCH_REQUEST__INIT;
    create.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)(uintptr_t)key};
    m.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    m.create_request = &create;
    fake_receive(f, &m);
    turn();
}

static struct fake_call *watch(const char *token, const char *key)
{
    struct fake_call *f = open_call("/etcdserverpb.Watch/Watch", token);
    ask_for(f, key);
    assert_int_equal(f->count, 1);
    return f;
}

static void expect_canceled(struct fake_call *f, size_t at, int64_t id, const char *reason)
{
    assert_true(f->count > at);
    Etcdserverpb__WatchResponse *r =
        etcdserverpb__watch_response__unpack(NULL, f->messages[at].size, f->messages[at].data);
    assert_non_null(r);
    assert_true(r->canceled);
    assert_false(r->created);
    assert_true(r->watch_id == id);
    assert_string_equal(r->cancel_reason, reason);
    etcdserverpb__watch_response__free_unpacked(r, NULL);
}

static void expect_end(struct fake_call *f, int status, const char *text)
{
    assert_true(f->is_finished);
    assert_int_equal(f->status, status);
    assert_string_equal(f->text, text);
    fake_call_free(f);
}

static void a_right_that_is_taken_cancels_its_watch(void **state)
{
    (void)state;
    struct fake_call *f = watch("alice", "ab");
    ask_for(f, "ax");
    fake_event("ab");
    kv.alice_has_lost = "a";
    rights_change();
    turn();
    assert_int_equal(f->count, 4); /* two created, two canceled, no event */
    expect_canceled(f, 2, 0, "rpc error: code = PermissionDenied desc = etcdserver: permission denied");
    expect_canceled(f, 3, 1, "rpc error: code = PermissionDenied desc = etcdserver: permission denied");
    assert_false(f->is_finished); /* the stream lives: another watch may be allowed */
    kv.alice_has_lost = NULL;
    ask_for(f, "ab");
    assert_int_equal(f->count, 5);
    fake_call_free(f);
}

static void a_change_that_concerns_others_changes_nothing(void **state)
{
    (void)state;
    struct fake_call *f = watch("alice", "ab"), *roots = watch("root", "zz");
    rights_change();
    turn();
    fake_event("zz");
    turn();
    assert_int_equal(f->count, 1);
    assert_int_equal(roots->count, 2);
    assert_false(f->is_finished);
    assert_false(roots->is_finished);
    fake_call_free(f);
    fake_call_free(roots);
}

static void a_void_token_ends_the_stream(void **state)
{
    (void)state;
    struct fake_call *f = watch("alice", "ab");
    fake_event("ab");
    kv.is_alice_void = true;
    rights_change();
    turn();
    assert_int_equal(f->count, 1); /* not the event */
    expect_end(f, 16, "etcdserver: invalid auth token");
}

static void a_stream_of_before_auth_is_anonymous(void **state)
{
    (void)state;
    kv.is_auth_on = false;
    struct fake_call *f = watch("", "ab");
    kv.is_auth_on = true;
    rights_change();
    turn();
    expect_canceled(f, 1, 0, "rpc error: code = InvalidArgument desc = etcdserver: user name is empty");
    assert_false(f->is_finished);
    fake_call_free(f);
}

static void keep(struct fake_call *f)
{
    Etcdserverpb__LeaseKeepAliveRequest m = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    m.id = 7;
    fake_receive(f, &m);
    turn();
}

static void keep_alives_end_with_their_user(void **state)
{
    (void)state;
    struct fake_call *f = open_call("/etcdserverpb.Lease/LeaseKeepAlive", "root");
    keep(f);
    assert_int_equal(f->count, 1);
    rights_change();
    turn();
    assert_false(f->is_finished);
    fake_call_free(f);
    /* alice has no lease here, so the stream is opened before auth. */
    kv.is_auth_on = false;
    f = open_call("/etcdserverpb.Lease/LeaseKeepAlive", "");
    keep(f);
    kv.is_auth_on = true;
    rights_change();
    turn();
    assert_int_equal(f->count, 1);
    expect_end(f, 3, "etcdserver: user name is empty");
}

static struct fake_call *lock(const char *token)
{
    static char name[] = "about";
    V3lockpb__LockRequest m = V3LOCKPB__LOCK_REQUEST__INIT;
    m.name = (ProtobufCBinaryData){strlen(name), (uint8_t *)name};
    m.lease = 7;
    struct fake_call *f = open_call("/v3lockpb.Lock/Lock", token);
    fake_receive(f, &m);
    return f;
}

static struct fake_call *observe(const char *token)
{
    static char name[] = "about";
    V3electionpb__LeaderRequest m = V3ELECTIONPB__LEADER_REQUEST__INIT;
    m.name = (ProtobufCBinaryData){strlen(name), (uint8_t *)name};
    struct fake_call *f = open_call("/v3electionpb.Election/Observe", token);
    fake_receive(f, &m);
    return f;
}

static void locks_and_elections_end_with_their_user(void **state)
{
    (void)state;
    struct fake_call *locks = lock("alice"), *observes = observe("alice");
    assert_false(locks->is_finished);
    assert_false(observes->is_finished);
    kv.is_alice_void = true;
    rights_change();
    while (rpc_server_turn(&server))
        ;
    expect_end(observes, 16, "etcdserver: invalid auth token");
    expect_end(locks, 16, "etcdserver: invalid auth token");
    turn();
    turn(); /* the place is released */
}

static void a_snapshot_is_roots_until_its_end(void **state)
{
    (void)state;
    Etcdserverpb__SnapshotRequest m = ETCDSERVERPB__SNAPSHOT_REQUEST__INIT;
    struct fake_call *f = open_call("/etcdserverpb.Maintenance/Snapshot", "root");
    fake_receive(f, &m);
    fake_export(&kv, 1 << 20, 1 << 20, 256 << 10);
    f->congested_at = 2;
    rpc_server_turn(&server);
    assert_int_equal(f->count, 2);
    kv.is_root_lost = true;
    rights_change();
    f->congested_at = 0;
    rpc_writable(&f->call);
    assert_int_equal(f->count, 2);
    expect_end(f, 7, "etcdserver: permission denied");
    assert_false(kv.export.is_open);
    kv.is_root_lost = false;
}

/* 5,000 idle streams: a bounded number of them in a turn, each once. */
static void idle_streams_are_judged_in_slices(void **state)
{
    (void)state;
    enum { MANY = 5000 };
    static struct fake_call *calls[MANY];
    for (int i = 0; i < MANY; i++)
        calls[i] = watch(i % 10 ? "root" : "alice", "ab");
    kv.is_alice_void = true;
    rights_change();
    unsigned turns = 1, ended = 0;
    while (rpc_server_turn(&server))
        turns++;
    assert_true(turns >= 4 && turns <= 6);
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(calls[i]->is_finished, i % 10 == 0);
        ended += calls[i]->is_finished;
        fake_call_free(calls[i]);
    }
    assert_int_equal(ended, MANY / 10);
}

/* A long answer comes in parts; each part is judged. */
static void keys_of_a_lease_are_judged_in_each_part(void **state)
{
    (void)state;
    for (int has_secret = 0; has_secret < 2; has_secret++) {
        Etcdserverpb__LeaseTimeToLiveRequest m = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
        Etcdserverpb__LeaseTimeToLiveResponse part = ETCDSERVERPB__LEASE_TIME_TO_LIVE_RESPONSE__INIT;
        ProtobufCBinaryData key = {2, (uint8_t *)(uintptr_t)(has_secret ? "z1" : "a1")};
        struct fake_call *f = open_call("/etcdserverpb.Lease/LeaseTimeToLive", "alice");
        m.keys = 1;
        fake_receive(f, &m);
        struct kv_request *r = &f->call.request;
        part.keys = &key;
        part.n_keys = 1;
        assert_true(r->on_part(r, &part.base) == !has_secret);
        part.n_keys = 0;
        list_remove(&r->link);
        if (has_secret)
            r->done(r, ERR_LIMIT, NULL);
        else
            r->done(r, OK, &part.base);
        expect_end(f, has_secret ? 7 : 0, has_secret ? "etcdserver: permission denied" : "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_right_that_is_taken_cancels_its_watch, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_that_concerns_others_changes_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_void_token_ends_the_stream, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stream_of_before_auth_is_anonymous, setup, teardown),
        cmocka_unit_test_setup_teardown(keep_alives_end_with_their_user, setup, teardown),
        cmocka_unit_test_setup_teardown(locks_and_elections_end_with_their_user, setup, teardown),
        cmocka_unit_test_setup_teardown(a_snapshot_is_roots_until_its_end, setup, teardown),
        cmocka_unit_test_setup_teardown(idle_streams_are_judged_in_slices, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_of_a_lease_are_judged_in_each_part, setup, teardown),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
