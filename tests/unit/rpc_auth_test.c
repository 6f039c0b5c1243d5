/* SPDX-License-Identifier: Apache-2.0
 * Tests of authorization: which caller may call which method, over a fake transport and a fake store with
 * the users alice and root. Passwords and JWTs go through the production code. */
#include "tests/unit/unit.h"

#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "base/log.h"
#include "base/metric.h"
#include "proto/election.pb-c.h"
#include "proto/lock.pb-c.h"
#include "server/auth/guard.h"
#include "server/auth/jwt.h"
#include "server/auth/password.h"
#include "server/rpc/service.h"
#include "tests/unit/fake_kv.h"
#include "tests/unit/fake_call.h"

static struct kv kv;
static struct rpc_server server;
static uv_loop_t loop;
static struct passwords *passwords; /* of a test; teardown frees them if it fails */

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
    if (passwords)
        passwords_free(passwords);
    passwords = NULL;
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

static struct fake_call *unary(const char *path, const char *token)
{
    struct fake_call *f = open_call(path, token);
    rpc_receive(&f->call, (struct slice){0});
    rpc_half_close(&f->call);
    fake_kv_turn(&kv);
    return f;
}

/* A server stream may stay open. */
static int end_of(struct fake_call *f, char *text, size_t size)
{
    int status = f->is_finished ? f->status : 0;
    snprintf(text, size, "%s", f->text);
    fake_call_free(f);
    return status;
}

static void the_table_grants_permissions(void **state)
{
    (void)state;
    char text[256];
    const struct rpc_method *m;
    for (size_t i = 0; (m = rpc_method_at(i)); i++) {
        bool is_skipped = m->kind == RPC_BIDI || m->access == RPC_NOBODY || strstr(m->path, "Snapshot") ||
                          strstr(m->path, "UserAdd") || strstr(m->path, "/MemberAdd") ||
                          strstr(m->path, "RangeStream") || strstr(m->path, "/v3") ||
                          strstr(m->path, "Downgrade");
        if (is_skipped)
            continue;
        assert_int_equal(end_of(unary(m->path, "wrong"), text, sizeof text), 16);
        assert_string_equal(text, "etcdserver: invalid auth token");
        if (strstr(m->path, "/Downgrade") || strstr(m->path, "v3electionpb"))
            continue; /* needs a version or a key: see a_waiting_call_has_its_callers_permissions */
        int none = end_of(unary(m->path, ""), text, sizeof text);
        assert_int_equal(none, m->access == RPC_KEYS ? 0 : 3);
        if (none)
            assert_string_equal(text, "etcdserver: user name is empty");
        int alices = end_of(unary(m->path, "alice"), text, sizeof text);
        assert_int_equal(alices, m->access == RPC_ROOT ? 7 : 0);
        assert_int_equal(end_of(unary(m->path, "root"), text, sizeof text), 0);
    }
}

/* A call that waits in a queue reads and writes with its own permissions, at every step. */
static void a_waiting_call_has_its_callers_permissions(void **state)
{
    (void)state;
    char name[] = "cashier";
    V3lockpb__LockRequest lock = V3LOCKPB__LOCK_REQUEST__INIT;
    V3electionpb__CampaignRequest campaign = V3ELECTIONPB__CAMPAIGN_REQUEST__INIT;
    V3electionpb__LeaderRequest leader = V3ELECTIONPB__LEADER_REQUEST__INIT;
    lock.name = campaign.name = leader.name = (ProtobufCBinaryData){strlen(name), (uint8_t *)name};
    lock.lease = campaign.lease = 7;
    const struct {
        const char *path;
        const void *message;
    } calls[] = {{"/v3lockpb.Lock/Lock", &lock},
                 {"/v3electionpb.Election/Campaign", &campaign},
                 {"/v3electionpb.Election/Leader", &leader},
                 {"/v3electionpb.Election/Observe", &leader}};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        struct fake_call *f = open_call(calls[i].path, "alice");
        size_t seen = 0;
        fake_receive(f, calls[i].message);
        for (; !list_is_empty(&kv.pending) && seen < 8; seen++) {
            LIST_FOR_EACH (l, &kv.pending) {
                const struct kv_request *r = container_of(l, struct kv_request, link);
                assert_non_null(r->who);
                assert_true(slice_equal(r->who->user, slice_text("alice")));
            }
            fake_kv_turn(&kv);
        }
        assert_true(seen > 0);
        fake_call_free(f);
        fake_kv_turn(&kv);
    }
}

/* Methods that must not be open, whatever the table says. */
static void methods_for_root(void **state)
{
    (void)state;
    static const char *const methods[] = {
        "KV/Compact",
        "Cluster/MemberAdd",
        "Cluster/MemberRemove",
        "Cluster/MemberUpdate",
        "Cluster/MemberPromote",
        "Maintenance/Defragment",
        "Maintenance/Hash",
        "Maintenance/HashKV",
        "Maintenance/Snapshot",
        "Maintenance/MoveLeader",
    };
    char path[80], text[256];
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        snprintf(path, sizeof path, "/etcdserverpb.%s", methods[i]);
        assert_int_equal(end_of(unary(path, "alice"), text, sizeof text), 7);
        assert_string_equal(text, "etcdserver: permission denied");
        assert_int_equal(end_of(unary(path, ""), text, sizeof text), 3);
    }
    assert_int_equal(kv.pending.next == &kv.pending, true);
}

/* Locks and elections are puts under their caller's name. */
static void recipes_need_a_user(void **state)
{
    (void)state;
    char text[256];
    const struct rpc_method *m;
    for (size_t i = 0; (m = rpc_method_at(i)); i++) {
        if (!strstr(m->path, "/v3"))
            continue;
        assert_int_equal(end_of(unary(m->path, "wrong"), text, sizeof text), 16);
        assert_int_equal(end_of(unary(m->path, ""), text, sizeof text), 3);
    }
    struct fake_call *f = open_call("/v3lockpb.Lock/Lock", "alice");
    rpc_receive(&f->call, (struct slice){0});
    const struct kv_request *r = container_of(kv.pending.next, struct kv_request, link);
    assert_non_null(r->who);
    assert_true(slice_equal(r->who->user, slice_text("alice")));
    fake_call_free(f);
    fake_kv_turn(&kv);
}

static void alarms_are_shown_and_not_cleared(void **state)
{
    (void)state;
    char text[256];
    Etcdserverpb__AlarmRequest m = ETCDSERVERPB__ALARM_REQUEST__INIT;
    for (int action = 0; action < 3; action++) {
        struct fake_call *f = open_call("/etcdserverpb.Maintenance/Alarm", "alice");
        m.action = (Etcdserverpb__AlarmRequest__AlarmAction)action;
        fake_receive(f, &m);
        fake_kv_turn(&kv);
        assert_int_equal(end_of(f, text, sizeof text), action == 0 ? 0 : 7);
    }
}

static void a_certificate_is_a_user(void **state)
{
    (void)state;
    char text[256];
    for (unsigned is_gateway = 0; is_gateway < 2; is_gateway++) {
        struct fake_call *f = open_call("/etcdserverpb.Maintenance/Status", "");
        f->call.common_name = "alice";
        f->call.is_gateway = is_gateway;
        rpc_receive(&f->call, (struct slice){0});
        assert_int_equal(end_of(f, text, sizeof text), is_gateway ? 3 : 0);
    }
    struct fake_call *f = open_call("/etcdserverpb.Maintenance/Status", "wrong"); /* after a token */
    f->call.common_name = "alice";
    rpc_receive(&f->call, (struct slice){0});
    assert_int_equal(end_of(f, text, sizeof text), 16);
}

/* The store reports when it knows the token; then the call continues as usual. */
static void a_token_may_be_ahead_of_this_member(void **state)
{
    (void)state;
    char text[256];
    struct fake_call *f = open_call("/etcdserverpb.Maintenance/Status", "late");
    rpc_receive(&f->call, (struct slice){0});
    rpc_half_close(&f->call);
    assert_false(f->is_finished);
    kv.is_late_known = true;
    fake_kv_turn(&kv);
    assert_true(f->is_finished);
    assert_int_equal(f->count, 1);
    assert_int_equal(end_of(f, text, sizeof text), 0);
    kv.is_late_known = false;
    f = open_call("/etcdserverpb.Maintenance/Status", "late");
    rpc_receive(&f->call, (struct slice){0});
    fake_kv_turn(&kv); /* waited for, and still unknown */
    assert_int_equal(end_of(f, text, sizeof text), 16);
    f = open_call("/etcdserverpb.Maintenance/Status", "late");
    rpc_receive(&f->call, (struct slice){0});
    fake_call_free(f); /* the client disconnects meanwhile */
    assert_true(list_is_empty(&kv.pending));
}

static void ask_for(struct fake_call *f, const char *key)
{
    Etcdserverpb__WatchRequest m = ETCDSERVERPB__WATCH_REQUEST__INIT;
    Etcdserverpb__WatchCreateRequest c = ETCDSERVERPB__WATCH_CREATE_REQUEST__INIT;
    c.key = (ProtobufCBinaryData){strlen(key), (uint8_t *)(uintptr_t)key};
    m.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    m.create_request = &c;
    fake_receive(f, &m);
    rpc_server_turn(&server);
}

static void expect_watch(struct fake_call *f, size_t at, const char *reason)
{
    assert_true(f->count > at);
    Etcdserverpb__WatchResponse *r =
        etcdserverpb__watch_response__unpack(NULL, f->messages[at].size, f->messages[at].data);
    assert_non_null(r);
    assert_true(r->created);
    assert_int_equal(r->canceled, *reason != 0);
    assert_string_equal(r->cancel_reason, reason);
    etcdserverpb__watch_response__free_unpacked(r, NULL);
}

static void watches_are_refused_one_by_one(void **state)
{
    (void)state;
    struct fake_call *f = open_call("/etcdserverpb.Watch/Watch", "alice");
    ask_for(f, "a");
    ask_for(f, "z");
    ask_for(f, "");
    expect_watch(f, 0, "");
    expect_watch(f, 1, "rpc error: code = PermissionDenied desc = etcdserver: permission denied");
    expect_watch(f, 2, "rpc error: code = PermissionDenied desc = etcdserver: permission denied");
    assert_false(f->is_finished);
    fake_call_free(f);
    f = open_call("/etcdserverpb.Watch/Watch", "wrong");
    ask_for(f, "a");
    expect_watch(f, 0, "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token");
    fake_call_free(f);
    f = open_call("/etcdserverpb.Watch/Watch", "");
    ask_for(f, "a");
    expect_watch(f, 0, "rpc error: code = InvalidArgument desc = etcdserver: user name is empty");
    fake_call_free(f);
}

/* Its requests wait for the token, in their order. */
static void a_stream_waits_for_its_token(void **state)
{
    (void)state;
    struct fake_call *f = open_call("/etcdserverpb.Watch/Watch", "late");
    ask_for(f, "a");
    ask_for(f, "z");
    rpc_half_close(&f->call);
    assert_int_equal(f->count, 0);
    kv.is_late_known = true;
    fake_kv_turn(&kv);
    rpc_server_turn(&server);
    expect_watch(f, 0, "");
    expect_watch(f, 1, "rpc error: code = PermissionDenied desc = etcdserver: permission denied");
    fake_call_free(f);
    kv.is_late_known = false;
    f = open_call("/etcdserverpb.Watch/Watch", "late");
    ask_for(f, "a");
    fake_call_free(f);
}

static void keep_alives_need_their_keys(void **state)
{
    (void)state;
    Etcdserverpb__LeaseKeepAliveRequest m = ETCDSERVERPB__LEASE_KEEP_ALIVE_REQUEST__INIT;
    static const struct {
        const char *token;
        int status;
    } samples[] = {{"", 3}, {"wrong", 16}, {"alice", 7}, {"root", 0}};
    char text[256];
    m.id = 7;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct fake_call *f = open_call("/etcdserverpb.Lease/LeaseKeepAlive", samples[i].token);
        fake_receive(f, &m);
        fake_kv_turn(&kv);
        rpc_server_turn(&server);
        assert_int_equal(f->is_finished, samples[i].status != 0);
        assert_int_equal(f->count, samples[i].status == 0);
        assert_int_equal(end_of(f, text, sizeof text), samples[i].status);
    }
}

/* --- passwords ----------------------------------------------------------------------------------------- */

struct answer {
    int err;
    char hash[200];
    unsigned count;
};

static void on_password(void *arg, int err, const char *hash)
{
    struct answer *a = arg;
    a->err = err;
    snprintf(a->hash, sizeof a->hash, "%s", hash ? hash : "");
    a->count++;
}

static void run_until(struct answer *a, unsigned count)
{
    while (a->count < count)
        uv_run(&loop, UV_RUN_ONCE);
}

static int compare(struct passwords *p, const char *password, const char *hash)
{
    int err;
    struct answer a = {0};
    if (!password_compare(p, 1, password, slice_text(hash), on_password, &a, &err))
        return err;
    run_until(&a, 1);
    return a.err;
}

static void passwords_are_bcrypt(void **state)
{
    (void)state;
    int err;
    struct answer a = {0}, b = {0};
    char longest[PASSWORD_BYTES_MAX + 2];
    struct passwords *p = passwords_new(&loop, 4);
    assert_non_null(password_hash(p, "secret", on_password, &a, &err));
    assert_non_null(password_hash(p, "secret", on_password, &b, &err));
    run_until(&a, 1);
    run_until(&b, 1);
    assert_memory_equal(a.hash, "$2a$04$", 7);
    assert_int_equal(strlen(a.hash), 60);
    assert_string_not_equal(a.hash, b.hash); /* salted */
    assert_int_equal(compare(p, "secret", a.hash), OK);
    assert_int_equal(compare(p, "Secret", a.hash), ERR_AUTH_FAILED);
    assert_int_equal(compare(p, "", a.hash), ERR_AUTH_FAILED);
    assert_int_equal(compare(p, "secret", ""), ERR_AUTH_FAILED);
    assert_int_equal(compare(p, "secret", "secret"), ERR_AUTH_FAILED);
    /* A hash of Go's bcrypt, from its own tests. */
    assert_int_equal(compare(p, "allmine", "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga"),
                     OK);
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    assert_null(password_hash(p, longest, on_password, &a, &err));
    assert_int_equal(err, ERR_PASSWORD_TOO_LONG);
    struct password_job *job = password_hash(p, "forgotten", on_password, &a, &err);
    password_forget(job);
    passwords_free(p);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(a.count, 1);
}

/* Jobs of two parties, with the order in which each was finished. */
struct turn {
    unsigned *finished, place;
    int err;
};

static void on_turn(void *arg, int err, const char *hash)
{
    struct turn *t = arg;
    (void)hash;
    t->err = err;
    t->place = ++*t->finished;
}

static struct password_job *try_password(struct passwords *p, uint64_t party, struct turn *t, int *ret_err)
{
    /* Another password, at cost 4. */
    static const char hash[] = "$2a$04$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga";
    return password_compare(p, party, "guess", slice_text(hash), on_turn, t, ret_err);
}

static void parties_take_turns(void **state)
{
    (void)state;
    enum { MANY = 100, FEW = 3, ALL = PASSWORD_WAITING_MAX };
    static struct turn flood[ALL + 1], other[FEW], third;
    static unsigned finished;
    int err;
    for (size_t i = 0; i <= ALL; i++)
        flood[i] = (struct turn){.finished = &finished};
    for (size_t i = 0; i < FEW; i++)
        other[i] = (struct turn){.finished = &finished};
    third = other[0];
    struct passwords *p = passwords = passwords_new(&loop, 4);
    for (size_t i = 0; i < MANY; i++)
        assert_non_null(try_password(p, 1, &flood[i], &err));
    for (size_t i = 0; i < FEW; i++)
        assert_non_null(try_password(p, 2, &other[i], &err));
    assert_non_null(try_password(p, 3, &third, &err));
    while (finished < MANY + FEW + 1)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(flood[0].place, 1); /* it ran already; then all three parties in each round */
    assert_int_equal(other[0].place, 2);
    assert_int_equal(third.place, 3);
    assert_int_equal(flood[1].place, 4);
    assert_int_equal(other[1].place, 5);
    assert_int_equal(flood[2].place, 6);
    assert_int_equal(other[2].place, 7);
    assert_int_equal(flood[MANY - 1].place, MANY + FEW + 1);

    /* One party takes all places: another party gets the last of them, the first party no more. */
    finished = 0;
    for (size_t i = 0; i <= ALL; i++)
        assert_non_null(try_password(p, 1, &flood[i], &err)); /* one runs */
    assert_null(try_password(p, 1, &third, &err));
    assert_int_equal(err, ERR_TOO_MANY_REQUESTS);
    for (size_t i = 0; i < FEW; i++)
        assert_non_null(try_password(p, 2, &other[i], &err));
    assert_int_equal(finished, 0); /* done never comes from inside a call */
    while (finished < ALL + 1 + FEW)
        uv_run(&loop, UV_RUN_ONCE);
    for (size_t i = 0; i <= ALL; i++)
        assert_int_equal(flood[i].err, i > ALL - FEW ? ERR_TOO_MANY_REQUESTS : ERR_AUTH_FAILED);
    for (size_t i = 0; i < FEW; i++) {
        assert_int_equal(other[i].err, ERR_AUTH_FAILED);
        assert_in_range(other[i].place, 2, 2 + FEW + 2 * FEW);
    }

    /* A forgotten check gives its place back, whether it was pending or rejected. */
    static struct password_job *jobs[ALL + 1];
    for (int round = 0; round < 3; round++) {
        finished = 0;
        for (size_t i = 0; i <= ALL; i++)
            assert_non_null(jobs[i] = try_password(p, 1, &flood[i], &err));
        assert_non_null(try_password(p, 2, &other[0], &err));
        for (size_t i = 0; i <= ALL; i++)
            password_forget(jobs[i]);
        while (finished < 1)
            uv_run(&loop, UV_RUN_ONCE);
        assert_int_equal(other[0].place, 1);
    }
    /* The end finishes all waiting ones. */
    finished = 0;
    for (size_t i = 0; i < MANY; i++)
        assert_non_null(try_password(p, 1, &flood[i], &err));
    passwords_free(p);
    passwords = NULL;
    assert_int_equal(finished, MANY);
    assert_int_equal(flood[MANY - 1].err, ERR_STOPPED);
    uv_run(&loop, UV_RUN_DEFAULT);
}

struct guess {
    struct identity_login login;
    struct turn turn;
};

static void on_guessed(struct identity_login *l, int err, const char *token)
{
    assert_null(token);
    on_turn(&container_of(l, struct guess, login)->turn, err, NULL);
}

/* One address that tries passwords delays others, and other users at that address, by one password each. */
static void a_flood_of_logins_delays_itself(void **state)
{
    (void)state;
    enum { FLOOD = 60, OTHERS = 9, ALL = FLOOD + OTHERS };
    static const struct {
        const char *peer, *user;
        unsigned place;
    } others[OTHERS] = {
        {"10.0.0.2:7", "root", 2},      {"10.0.0.1:9", "alice", 3},
        {"[2001:db8::1]:5", "root", 4}, {NULL, "root", 5},
        {"2001:db8:0:1::1", "root", 6}, {"::ffff:10.0.0.1", "root", 7},
        {"::ffff:10.0.0.3", "root", 8}, {"[2001:db8::2]:9", "root", 10}, /* of the /64 above */
        {"10.0.0.1", "root", ALL},                                       /* of the flood */
    };
    static struct guess all[ALL];
    unsigned finished = 0;
    kv.password_hash = "$2a$04$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga";
    for (unsigned i = 0; i < ALL; i++) {
        char peer[40];
        snprintf(peer, sizeof peer, "10.0.0.1:%u", i + 1);
        all[i] =
            (struct guess){.login = {.done = on_guessed, .peer = i < FLOOD ? peer : others[i - FLOOD].peer},
                           .turn = {.finished = &finished}};
        const char *user = i < FLOOD ? "root" : others[i - FLOOD].user;
        if (i % 2)
            identity_authenticate(server.identity, &all[i].login, user, "guess");
        else
            identity_check_password(server.identity, &all[i].login, user, "guess");
    }
    fake_kv_turn(&kv);
    while (finished < ALL)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(all[0].turn.place, 1);
    assert_int_equal(all[1].turn.place, 9);
    for (unsigned i = 0; i < ALL; i++) {
        assert_int_equal(all[i].turn.err, ERR_AUTH_FAILED);
        if (i >= FLOOD)
            assert_int_equal(all[i].turn.place, others[i - FLOOD].place);
    }
}

/* An unknown name, and a user without a password: a compare of the same cost runs for them as well. So the
 * time of an answer does not show which users exist. */
static void unknown_users_cost_as_much(void **state)
{
    (void)state;
    static const int errors[] = {OK, ERR_AUTH_FAILED, ERR_NO_PASSWORD_USER};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        unsigned finished = 0;
        struct guess g = {.login = {.done = on_guessed, .peer = "10.0.0.1:1"},
                          .turn = {.finished = &finished}};
        kv.password_hash = "$2a$04$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga";
        kv.password_err = errors[i];
        double failed = metric_get(METRIC_LOGINS_FAILED);
        identity_authenticate(server.identity, &g.login, "somebody", "guess");
        fake_kv_turn(&kv);
        assert_non_null(g.login.job); /* bcrypt is running */
        assert_int_equal(finished, 0);
        while (!finished)
            uv_run(&loop, UV_RUN_ONCE);
        assert_int_equal(g.turn.err, errors[i] ? errors[i] : ERR_AUTH_FAILED);
        assert_true(metric_get(METRIC_LOGINS_FAILED) == failed + 1);
    }
    kv.password_err = OK;
}

/* --- JWT ----------------------------------------------------------------------------------------------- */

static char folder[] = "/tmp/rpc_auth_test.XXXXXX";

static const char *path_of(const char *name)
{
    static char path[4][80];
    static unsigned next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

static __attribute__((format(printf, 1, 2))) void run_shell(const char *format, ...)
{
    struct buf command = {0};
    va_list args;
    va_start(args, format);
    buf_addv(&command, format, args);
    va_end(args);
    assert_int_equal(system(buf_text(&command)), 0);
    buf_done(&command);
}

static __attribute__((format(printf, 1, 2))) struct jwt_keys *keys_of(const char *format, ...)
{
    struct buf options = {0};
    char error[400] = "";
    struct jwt_keys *k = NULL;
    va_list args;
    va_start(args, format);
    buf_addv(&options, format, args);
    va_end(args);
    if (jwt_keys_new(buf_slice(&options), error, sizeof error, &k))
        fail_msg("%s: %s", buf_text(&options), error);
    buf_done(&options);
    return k;
}

static void expect_refused(const char *options)
{
    char error[400] = "";
    assert_int_not_equal(jwt_keys_new(slice_text(options), error, sizeof error, NULL), OK);
    assert_non_null(strstr(error, "--auth-token"));
}

static int read_jwt(const struct jwt_keys *k, struct slice token, uint64_t now_s, const char *want)
{
    struct buf user = {0};
    uint64_t revision = 0;
    int err = jwt_read(k, token, now_s, &user, &revision);
    if (!err) {
        assert_string_equal(buf_text(&user), want);
        assert_int_equal(revision, 42);
    }
    buf_done(&user);
    return err;
}

static void expect_round(struct jwt_keys *k)
{
    struct buf token = {0};
    assert_int_equal(jwt_make(k, "alice", 42, 1000, &token), OK);
    assert_int_equal(read_jwt(k, buf_slice(&token), 1000, "alice"), OK);
    assert_int_equal(read_jwt(k, buf_slice(&token), 1059, "alice"), OK);
    assert_int_equal(read_jwt(k, buf_slice(&token), 1060, "alice"), ERR_INVALID_AUTH_TOKEN);
    assert_int_equal(read_jwt(k, slice_of(token.data, token.size - 2), 1000, "alice"),
                     ERR_INVALID_AUTH_TOKEN);
    token.data[token.size / 2] ^= 1;
    assert_int_equal(read_jwt(k, buf_slice(&token), 1000, "alice"), ERR_INVALID_AUTH_TOKEN);
    buf_done(&token);
    jwt_keys_free(k);
}

static void jwts_are_signed(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    const char *rsa = path_of("rsa"), *rsa_pub = path_of("rsa.pub"), *ec = path_of("ec"), *hs = path_of("hs");
    run_shell("openssl genrsa -out %s 2048 2>/dev/null", rsa);
    run_shell("openssl rsa -in %s -pubout -out %s 2>/dev/null", rsa, rsa_pub);
    run_shell("openssl ecparam -name prime256v1 -genkey -noout -out %s; head -c 40 /dev/urandom > %s", ec,
              hs);
    expect_round(keys_of("priv-key=%s,sign-method=RS256,ttl=60s", rsa));
    expect_round(keys_of("priv-key=%s,pub-key=%s,sign-method=RS512,ttl=1m", rsa, rsa_pub));
    expect_round(keys_of("priv-key=%s,sign-method=ES256,ttl=60s", ec));
    expect_round(keys_of("priv-key=%s,sign-method=HS384,ttl=60s", hs));
    /* A public key alone verifies; another method or key does not. */
    struct jwt_keys *both = keys_of("priv-key=%s,sign-method=RS256", rsa),
                    *one = keys_of("pub-key=%s,sign-method=RS256", rsa_pub),
                    *other = keys_of("pub-key=%s,sign-method=RS384", rsa_pub),
                    *secret = keys_of("priv-key=%s,sign-method=HS256", rsa_pub);
    struct buf token = {0}, forged = {0};
    assert_int_equal(jwt_make(both, "alice", 42, 1000, &token), OK);
    assert_int_equal(read_jwt(one, buf_slice(&token), 1299, "alice"), OK); /* 5 min by default */
    assert_int_equal(read_jwt(one, buf_slice(&token), 1300, "alice"), ERR_INVALID_AUTH_TOKEN);
    assert_int_equal(read_jwt(other, buf_slice(&token), 1000, "alice"), ERR_INVALID_AUTH_TOKEN);
    assert_int_equal(jwt_make(one, "alice", 42, 1000, &forged), ERR_VERIFY_ONLY_KEY);
    assert_int_equal(jwt_make(secret, "root", 42, 1000, &forged), OK); /* the public key as a secret */
    assert_int_equal(read_jwt(one, buf_slice(&forged), 1000, "root"), ERR_INVALID_AUTH_TOKEN);
    assert_int_equal(read_jwt(one,
                              slice_text("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0."
                                         "eyJ1c2VybmFtZSI6InJvb3QiLCJyZXZpc2lvbiI6NDJ9."),
                              1000, "root"),
                     ERR_INVALID_AUTH_TOKEN);
    buf_done(&token);
    buf_done(&forged);
    jwt_keys_free(both);
    jwt_keys_free(one);
    jwt_keys_free(other);
    jwt_keys_free(secret);
    char options[300];
    snprintf(options, sizeof options, "priv-key=%s,sign-method=ES256", rsa);
    expect_refused(options);
    snprintf(options, sizeof options, "priv-key=%s,sign-method=RS256,ttl=-1s", rsa);
    expect_refused(options);
    snprintf(options, sizeof options, "priv-key=%s,pub-key=%s,sign-method=ES256", ec, rsa_pub);
    expect_refused(options);
    expect_refused("sign-method=RS256");
    expect_refused("sign-method=none,priv-key=/dev/null");
    expect_refused("sign-method=RS256,priv-key=/nonexistent");
    expect_refused("sign-method=RS256,sign-method=RS256");
    expect_refused("nothing");
    expect_refused("a=b");
    run_shell("rm -r %s", folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_table_grants_permissions, setup, teardown),
        cmocka_unit_test_setup_teardown(a_waiting_call_has_its_callers_permissions, setup, teardown),
        cmocka_unit_test_setup_teardown(methods_for_root, setup, teardown),
        cmocka_unit_test_setup_teardown(recipes_need_a_user, setup, teardown),
        cmocka_unit_test_setup_teardown(alarms_are_shown_and_not_cleared, setup, teardown),
        cmocka_unit_test_setup_teardown(a_certificate_is_a_user, setup, teardown),
        cmocka_unit_test_setup_teardown(a_token_may_be_ahead_of_this_member, setup, teardown),
        cmocka_unit_test_setup_teardown(watches_are_refused_one_by_one, setup, teardown),
        cmocka_unit_test_setup_teardown(a_stream_waits_for_its_token, setup, teardown),
        cmocka_unit_test_setup_teardown(keep_alives_need_their_keys, setup, teardown),
        cmocka_unit_test_setup_teardown(passwords_are_bcrypt, setup, teardown),
        cmocka_unit_test_setup_teardown(parties_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flood_of_logins_delays_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(unknown_users_cost_as_much, setup, teardown),
        cmocka_unit_test_setup_teardown(jwts_are_signed, setup, teardown),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
