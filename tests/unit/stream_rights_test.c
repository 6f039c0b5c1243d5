/* SPDX-License-Identifier: Apache-2.0
 * Tests of a stream's user, and of the stream when rights change: tokens in the Authorization header and in
 * hello, revoked roles, changed passwords, enabling of auth, writes in progress. */
#include "tests/unit/stream_world.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/text.h"
#include "server/auth/identity.h"
#include "server/http/ws.h"
#include "tests/unit/unit.h"

#define T(s)      ((char *)(uintptr_t)(s))
#define INSTANCES "/cairn/registry/instances/default/default/"
#define HEADS     "/cairn/config/heads/default/default/"

static struct stream_world world;
static uint64_t recheck_ns;

/* --- users ---------------------------------------------------------------------------------------------- */

struct login {
    struct password_job *job;
    char text[200];
    bool is_done;
};

static bool is_login_done(void *arg)
{
    return ((struct login *)arg)->is_done;
}

static void on_hash(void *arg, int err, const char *hash)
{
    struct login *l = arg;
    struct buf text = {0};
    assert_int_equal(err, OK);
    base64_encode(&text, slice_text(hash));
    snprintf(l->text, sizeof l->text, "%s", buf_text(&text));
    buf_done(&text);
    l->is_done = true;
}

static const char *hash_of(const char *password)
{
    static struct login l;
    int err;
    l = (struct login){0};
    assert_non_null(identity_hash(world.identity, password, on_hash, &l, &err));
    one_node_run(&world.node, is_login_done, &l);
    return l.text;
}

static void user_add(const char *name)
{
    Etcdserverpb__AuthUserAddRequest m = ETCDSERVERPB__AUTH_USER_ADD_REQUEST__INIT;
    m.name = T(name);
    m.hashedpassword = T(hash_of(name)); /* the password is the name */
    stream_world_auth(&world, &m.base);
}

static void change_password(const char *name)
{
    Etcdserverpb__AuthUserChangePasswordRequest m = ETCDSERVERPB__AUTH_USER_CHANGE_PASSWORD_REQUEST__INIT;
    m.name = T(name);
    m.hashedpassword = T(hash_of("another"));
    stream_world_auth(&world, &m.base);
}

static void user_delete(const char *name)
{
    Etcdserverpb__AuthUserDeleteRequest m = ETCDSERVERPB__AUTH_USER_DELETE_REQUEST__INIT;
    m.name = T(name);
    stream_world_auth(&world, &m.base);
}

static void user_grant(const char *name, const char *role)
{
    Etcdserverpb__AuthUserGrantRoleRequest m = ETCDSERVERPB__AUTH_USER_GRANT_ROLE_REQUEST__INIT;
    m.user = T(name);
    m.role = T(role);
    stream_world_auth(&world, &m.base);
}

static ProtobufCBinaryData bytes(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static char *end_of(const char *prefix)
{
    static char end[300];
    snprintf(end, sizeof end, "%s", prefix);
    end[strlen(end) - 1]++;
    return end;
}

/* All keys with this prefix. */
static void role_grant(const char *role, const char *prefix)
{
    Etcdserverpb__AuthRoleGrantPermissionRequest m = ETCDSERVERPB__AUTH_ROLE_GRANT_PERMISSION_REQUEST__INIT;
    Authpb__Permission p = AUTHPB__PERMISSION__INIT;
    p.permtype = AUTHPB__PERMISSION__TYPE__READWRITE;
    p.key = bytes(prefix);
    p.range_end = bytes(end_of(prefix));
    m.name = T(role);
    m.perm = &p;
    stream_world_auth(&world, &m.base);
}

static void role_revoke(const char *role, const char *prefix)
{
    Etcdserverpb__AuthRoleRevokePermissionRequest m = ETCDSERVERPB__AUTH_ROLE_REVOKE_PERMISSION_REQUEST__INIT;
    m.role = T(role);
    m.key = bytes(prefix);
    m.range_end = bytes(end_of(prefix));
    stream_world_auth(&world, &m.base);
}

static void enable(void)
{
    Etcdserverpb__AuthEnableRequest m = ETCDSERVERPB__AUTH_ENABLE_REQUEST__INIT;
    stream_world_auth(&world, &m.base);
}

/* root; alice with the role team: services and configurations that begin with "a", keys with "k/"; bob with
 * nothing. Passwords are the names. */
static void open_world(bool is_enabled)
{
    Etcdserverpb__AuthRoleAddRequest team = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
    const struct stream_options options = {.mark_ms = 600000, .recheck_ns = recheck_ns};
    world = (struct stream_world){.has_users = true};
    stream_world_open(&world, &options, NULL);
    team.name = T("team");
    user_add("root");
    user_add("alice");
    user_add("bob");
    stream_world_auth(&world, &team.base);
    user_grant("root", "root");
    role_grant("team", INSTANCES "a");
    role_grant("team", HEADS "a");
    role_grant("team", "k/");
    user_grant("alice", "team");
    if (is_enabled)
        enable();
}

struct asked {
    struct kv_request request;
    char token[80];
    bool is_done;
};

static void on_token(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct asked *a = container_of(r, struct asked, request);
    assert_int_equal(err, OK);
    snprintf(a->token, sizeof a->token, "%s", ((const Etcdserverpb__AuthenticateResponse *)m)->token);
    a->is_done = true;
}

static bool is_token_there(void *arg)
{
    return ((struct asked *)arg)->is_done;
}

static const char *token_of(const char *user)
{
    struct asked a = {.request.done = on_token};
    kv_authenticate(world.node.kv, &a.request, user, true);
    one_node_run(&world.node, is_token_there, &a);
    static char tokens[16][sizeof a.token];
    static unsigned next;
    char *token = tokens[next++ % 16];
    memcpy(token, a.token, sizeof a.token);
    return token;
}

static void put(const char *key)
{
    one_node_put(&world.node, key, "v", 0);
}

/* --- authentication --------------------------------------------------------------------------------- */

static void hello(struct stream_client *c, const char *header, const char *token)
{
    stream_client_open(c, &world, *header ? stream_text("Authorization: %s\r\n", header) : "");
    stream_client_say(c, *token ? stream_text("{\"type\":\"hello\",\"token\":\"%s\"}", token)
                                : "{\"type\":\"hello\"}");
}

static void expect_welcome(const char *header, const char *token)
{
    struct stream_client c;
    hello(&c, header, token);
    stream_client_expect_frame(&c, "welcome", "");
    stream_client_close(&c);
}

static void expect_refused(const char *header, const char *token)
{
    struct stream_client c;
    hello(&c, header, token);
    stream_client_expect_frame(&c, "error", "\"code\":\"invalid_auth_token\"");
    stream_client_expect_close(&c, 1008);
    stream_client_close(&c);
}

/* Shows which of the two users it was: alice may subscribe where bob may not. */
static void expect_user(const char *header, const char *token, bool is_alice)
{
    struct stream_client c;
    hello(&c, header, token);
    stream_client_expect_frame(&c, "welcome", "");
    stream_client_subscribe(&c, 1, "kv", ",\"name\":\"k/a\"");
    if (is_alice)
        stream_client_expect_frame(&c, "snapshot", "\"sid\":1");
    else
        stream_client_expect_frame(&c, "error", "\"code\":\"forbidden\"");
    stream_client_close(&c);
}

static void header_and_hello_both_count(void **state)
{
    (void)state;
    open_world(true);
    const char *alice = token_of("alice"), *bob = token_of("bob"), *wrong = "abcdefghijklmnop.1";
    expect_refused("", "");
    expect_welcome("", alice);
    expect_refused("", wrong);
    expect_welcome(stream_text("Bearer %s", alice), "");
    expect_welcome(alice, "");
    expect_welcome("Basic YWxpY2U6YWxpY2U=", "");
    expect_refused("Basic YWxpY2U6Ym9i", "");
    expect_refused(stream_text("Bearer %s", wrong), "");
    /* Two tokens: the header decides, also when it is wrong. */
    expect_user(stream_text("Bearer %s", alice), bob, true);
    expect_user(stream_text("Bearer %s", bob), alice, false);
    expect_user(stream_text("Bearer %s", alice), wrong, true);
    expect_refused(stream_text("Bearer %s", wrong), alice);
    /* One that was good. */
    change_password("alice");
    expect_refused("", alice);
    expect_refused(stream_text("Bearer %s", alice), "");
    expect_user("", bob, false);
    stream_world_close(&world);
}

static void a_token_in_the_url_is_refused(void **state)
{
    (void)state;
    open_world(true);
    const char *alice = token_of("alice");
    struct stream_client c;
    stream_client_ask(&c, &world,
                      stream_text("GET " STREAM_PATH "?token=%s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                                  "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                                  alice));
    assert_true(stream_client_has_text(&c, "a token in the URL is rejected"));
    stream_client_close(&c);
    stream_client_ask(&c, &world,
                      stream_text("GET " STREAM_PATH
                                  "?kind=kv&name=k/a&access_token=%s HTTP/1.1\r\nHost: x\r\n\r\n",
                                  alice));
    assert_true(stream_client_has_text(&c, "HTTP/1.1 400"));
    assert_true(stream_client_has_text(&c, "a token in the URL is rejected"));
    stream_client_close(&c);
    stream_client_ask(&c, &world,
                      stream_text("GET " STREAM_PATH "?kind=kv&name=k/a HTTP/1.1\r\nHost: x\r\n"
                                  "Authorization: Bearer %s\r\n\r\n",
                                  alice));
    assert_true(stream_client_has_text(&c, "event: snapshot"));
    stream_client_close(&c);
    stream_world_close(&world);
}

/* --- rights that change ----------------------------------------------------------------------------- */

static void open_alices(struct stream_client *c)
{
    hello(c, "", token_of("alice"));
    stream_client_expect_frame(c, "welcome", "");
}

/* A kind of subscription that loses its right while another one of the connection stays. */
static void expect_lost(const char *kind, const char *more, const char *prefix, void (*change)(void))
{
    struct stream_client c;
    open_alices(&c);
    stream_client_subscribe(&c, 1, kind, more);
    stream_client_expect_frame(&c, "snapshot", "\"sid\":1");
    const char *other = strncmp(prefix, "k/", 2) == 0 ? "service" : "kv";
    stream_client_subscribe(&c, 2, other, *other == 'k' ? ",\"name\":\"k/x\"" : ",\"name\":\"ax\"");
    stream_client_expect_frame(&c, "snapshot", "\"sid\":2");
    role_revoke("team", prefix);
    change();
    stream_client_expect_frame(&c, "error", "\"sid\":1,\"code\":\"forbidden\"");
    change();
    stream_client_expect_nothing(&c);
    /* The sid is free, the connection stays open, and a repeated request is refused as well. */
    stream_client_subscribe(&c, 1, kind, more);
    stream_client_expect_frame(&c, "error", "\"code\":\"forbidden\"");
    role_grant("team", prefix);
    stream_client_subscribe(&c, 1, kind, more);
    stream_client_expect_frame(&c, "snapshot", "\"sid\":1");
    stream_client_close(&c);
}

static void change_key(void)
{
    put("k/a");
}

static void change_service(void)
{
    static unsigned n;
    stream_world_put(&world, "ab", stream_text("i%u", n++), "{\"host\":\"h\",\"port\":1}");
}

static void change_config(void)
{
    static unsigned n;
    stream_world_publish(&world, "ab", slice_text(stream_text("v%u", n++)));
}

static void no_change(void)
{
}

static void a_right_that_is_taken_ends_its_subscription(void **state)
{
    (void)state;
    open_world(true);
    expect_lost("kv", ",\"name\":\"k/a\"", "k/", no_change);
    expect_lost("kv", ",\"prefix\":\"k/\"", "k/", change_key);
    expect_lost("service", ",\"name\":\"ab\"", INSTANCES "a", change_service);
    expect_lost("services", ",\"prefix\":\"a\"", INSTANCES "a", change_service);
    expect_lost("config", ",\"name\":\"ab\"", HEADS "a", change_config);
    expect_lost("configs", ",\"prefix\":\"a\"", HEADS "a", no_change);
    stream_world_close(&world);
}

static void a_change_that_concerns_others_is_not_noticed(void **state)
{
    (void)state;
    struct stream_client c;
    open_world(true);
    open_alices(&c);
    stream_client_subscribe(&c, 1, "kv", ",\"prefix\":\"k/\"");
    stream_client_expect_frame(&c, "snapshot", "\"sid\":1");
    user_add("carol");
    change_password("bob");
    stream_client_expect_nothing(&c);
    put("k/b");
    stream_client_expect_frame(&c, "delta", "k/b");
    stream_client_close(&c);
    stream_world_close(&world);
}

static void ignore(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    (void)r, (void)m;
    assert_int_equal(err, OK);
}

/* Proposed before the frame arrives, applied before the frame's write: the right exists when the frame
 * arrives. */
static void take_right_under_way(struct kv_request *r, const char *prefix)
{
    static const struct auth_who root = {
        .user = {(const uint8_t *)"root", 4}, .revision = AUTH_REVISION_ANY, .is_renewed = true};
    Etcdserverpb__AuthRoleRevokePermissionRequest m = ETCDSERVERPB__AUTH_ROLE_REVOKE_PERMISSION_REQUEST__INIT;
    m.role = T("team");
    m.key = bytes(prefix);
    m.range_end = bytes(end_of(prefix));
    *r = (struct kv_request){.done = ignore, .who = &root};
    kv_auth(world.node.kv, r, &m.base);
}

/* One connection is judged in a turn: the waiting ones get nothing either. */
static void nothing_is_sent_before_it_is_judged(void **state)
{
    (void)state;
    enum { MANY = 40 };
    static struct stream_client clients[MANY];
    recheck_ns = 1;
    open_world(true);
    recheck_ns = 0;
    const char *token = token_of("alice");
    for (size_t i = 0; i < MANY; i++) {
        hello(&clients[i], "", token);
        stream_client_expect_frame(&clients[i], "welcome", "");
        stream_client_subscribe(&clients[i], 1, i % 2 ? "kv" : "service",
                                i % 2 ? ",\"name\":\"k/a\"" : ",\"name\":\"ab\"");
        stream_client_expect_frame(&clients[i], "snapshot", "\"sid\":1");
    }
    struct kv_request first, second;
    take_right_under_way(&first, "k/");
    take_right_under_way(&second, INSTANCES "a");
    stream_world_put(&world, "ab", "i1", "{\"host\":\"h\",\"port\":1}");
    put("k/a");
    for (size_t i = 0; i < MANY; i++) {
        stream_client_expect_frame(&clients[i], "error", "\"sid\":1,\"code\":\"forbidden\"");
        stream_client_close(&clients[i]);
    }
    stream_world_close(&world);
}

static void expect_over(void (*change)(const char *user))
{
    struct stream_client c;
    open_world(true);
    open_alices(&c);
    stream_client_subscribe(&c, 1, "kv", ",\"prefix\":\"k/\"");
    stream_client_expect_frame(&c, "snapshot", "\"sid\":1");
    change("alice");
    put("k/b");
    stream_client_expect_frame(&c, "error", "\"code\":\"invalid_auth_token\"");
    stream_client_expect_close(&c, 1008);
    stream_client_close(&c);
    stream_world_close(&world);
}

static void a_connection_ends_with_its_user(void **state)
{
    (void)state;
    expect_over(change_password);
    expect_over(user_delete);
}

static void events_end_with_an_error_event(void **state)
{
    (void)state;
    struct stream_client c;
    open_world(true);
    stream_client_ask(&c, &world,
                      stream_text("GET " STREAM_PATH "?kind=kv&name=k/a HTTP/1.1\r\nHost: x\r\n"
                                  "Authorization: Bearer %s\r\n\r\n",
                                  token_of("alice")));
    assert_true(stream_client_has_text(&c, "event: snapshot"));
    role_revoke("team", "k/");
    put("k/a");
    assert_true(stream_client_has_text(&c, "event: error"));
    assert_true(stream_client_has_text(&c, "\"code\":\"forbidden\""));
    assert_true(stream_client_has_text(&c, "\r\n0\r\n\r\n")); /* it has no subscription left: it ends */
    assert_null(strstr(buf_text(&c.in), "event: delta"));
    stream_client_close(&c);
    stream_world_close(&world);
}

/* Opened before: it is anonymous from then on. Its connection stays; its subscriptions end. */
static void auth_that_is_enabled_makes_it_anonymous(void **state)
{
    (void)state;
    struct stream_client c;
    open_world(false);
    hello(&c, "", "");
    stream_client_expect_frame(&c, "welcome", "");
    stream_client_subscribe(&c, 1, "service", ",\"name\":\"ab\"");
    stream_client_expect_frame(&c, "snapshot", "\"sid\":1");
    stream_client_subscribe(&c, 2, "kv", ",\"name\":\"k/a\"");
    stream_client_expect_frame(&c, "snapshot", "\"sid\":2");
    enable();
    put("k/a");
    stream_client_expect_frame(&c, "error", "\"sid\":1,\"code\":\"invalid_auth_token\"");
    stream_client_expect_frame(&c, "error", "\"sid\":2,\"code\":\"invalid_auth_token\"");
    stream_client_say(&c, "{\"type\":\"publish\",\"rid\":5,\"name\":\"ab\",\"content\":\"x\"}");
    stream_client_expect_frame(&c, "error", "\"rid\":5,\"code\":\"invalid_auth_token\"");
    stream_client_close(&c);
    stream_world_close(&world);
}

/* --- writes ----------------------------------------------------------------------------------------- */

struct written {
    struct config_request config;
    struct registry_request registry;
    int err;
    bool is_done;
};

static void on_config(struct config_request *q, int err, const struct config_result *result)
{
    struct written *w = container_of(q, struct written, config);
    (void)result;
    w->err = err;
    w->is_done = true;
}

static void on_registry(struct registry_request *q, int err, const struct registry_result *result)
{
    struct written *w = container_of(q, struct written, registry);
    (void)result;
    w->err = err;
    w->is_done = true;
}

static bool is_written(void *arg)
{
    return ((struct written *)arg)->is_done;
}

static struct auth_who alice_now(void)
{
    return (struct auth_who){
        .user = slice_text("alice"), .revision = kv_auth_revision(world.node.kv), .is_renewed = true};
}

static struct registry_key key_of(const char *service, const char *id)
{
    return (struct registry_key){slice_text("default"), slice_text("default"), slice_text(service),
                                 slice_text(id)};
}

static void a_publish_is_judged_where_it_is_applied(void **state)
{
    (void)state;
    struct kv_request change;
    open_world(true);
    const struct auth_who alice = alice_now();
    struct written w = {.config = {.done = on_config, .who = &alice}};
    struct config_publish p = {.key = stream_world_config("ab"), .content = slice_text("one")};
    config_publish(world.config, &w.config, &p);
    one_node_run(&world.node, is_written, &w);
    assert_int_equal(w.err, OK); /* the head's permission covers its releases */
    w = (struct written){.config = {.done = on_config, .who = &alice}};
    p.content = slice_text("two");
    take_right_under_way(&change, HEADS "a");
    config_publish(world.config, &w.config, &p);
    one_node_run(&world.node, is_written, &w);
    assert_int_equal(w.err, ERR_PERMISSION_DENIED);
    stream_world_close(&world);
}

static void bundles_drafts_and_gray_rules_too(void **state)
{
    (void)state;
    struct kv_request change;
    open_world(true);
    const struct auth_who alice = alice_now();
    const struct config_publish list[] = {{.key = stream_world_config("ab"), .content = slice_text("one")},
                                          {.key = stream_world_config("bb"), .content = slice_text("one")}};
    struct written w = {.config = {.done = on_config, .who = &alice}};
    config_bundle(world.config, &w.config, list, 2, NULL, 0);
    one_node_run(&world.node, is_written, &w);
    assert_int_equal(w.err, ERR_PERMISSION_DENIED); /* one of them is not hers: none is written */
    w = (struct written){.config = {.done = on_config, .who = &alice}};
    config_put_draft(world.config, &w.config, &list[0]);
    one_node_run(&world.node, is_written, &w);
    assert_int_equal(w.err, ERR_PERMISSION_DENIED); /* the head's permission does not cover the draft */
    role_grant("team", "/cairn/config/drafts/");
    w = (struct written){.config = {.done = on_config, .who = &alice}};
    config_put_draft(world.config, &w.config, &list[0]);
    one_node_run(&world.node, is_written, &w);
    assert_int_equal(w.err, OK);
    w = (struct written){.config = {.done = on_config, .who = &alice}};
    take_right_under_way(&change, HEADS "a");
    config_publish_draft(world.config, &w.config, &list[0].key, (struct slice){0}, (struct slice){0},
                         &(struct config_condition){0});
    one_node_run(&world.node, is_written, &w);
    assert_int_equal(w.err, ERR_PERMISSION_DENIED); /* both are needed */
    stream_world_close(&world);
}

static void a_registration_is_judged_where_it_is_applied(void **state)
{
    (void)state;
    struct kv_request change;
    struct arena a = {0};
    struct instance doc;
    char error[200];
    open_world(true);
    const struct auth_who alice = alice_now();
    struct registry_key key = key_of("ab", "i1");
    assert_int_equal(instance_read(slice_text("{\"host\":\"h\",\"port\":1}"), DOCUMENT_STRICT, &a, &doc,
                                   error, sizeof error),
                     OK);
    struct written w = {.registry = {.done = on_registry, .who = &alice}};
    registry_register(world.registry, &w.registry, &key, &doc, 0);
    one_node_run(&world.node, is_written, &w);
    assert_int_equal(w.err, OK);
    w = (struct written){.registry = {.done = on_registry, .who = &alice}};
    const struct override out = {.has_state = true, .state = INSTANCE_DOWN};
    registry_put_override(world.registry, &w.registry, &key, &out);
    one_node_run(&world.node, is_written, &w);
    assert_int_equal(w.err, ERR_PERMISSION_DENIED); /* this needs its own key */
    w = (struct written){.registry = {.done = on_registry, .who = &alice}};
    registry_drain(world.registry, &w.registry, &key, 100, false);
    one_node_run(&world.node, is_written, &w);
    assert_int_equal(w.err, ERR_PERMISSION_DENIED);
    w = (struct written){.registry = {.done = on_registry, .who = &alice}};
    const struct session session = {.ttl_s = 30};
    registry_session_open(world.registry, &w.registry, &session);
    one_node_run(&world.node, is_written, &w);
    assert_int_equal(w.err, ERR_PERMISSION_DENIED);
    w = (struct written){.registry = {.done = on_registry, .who = &alice}};
    take_right_under_way(&change, INSTANCES "a");
    registry_deregister(world.registry, &w.registry, &key);
    one_node_run(&world.node, is_written, &w);
    assert_int_equal(w.err, ERR_PERMISSION_DENIED);
    w = (struct written){.registry = {.done = on_registry, .who = &alice}};
    registry_register(world.registry, &w.registry, &key, &doc, 0); /* the same again: a heartbeat */
    one_node_run(&world.node, is_written, &w);
    w = (struct written){.registry = {.done = on_registry, .who = &alice}};
    doc.port = 2;
    registry_register(world.registry, &w.registry, &key, &doc, 0);
    one_node_run(&world.node, is_written, &w);
    assert_int_equal(w.err, ERR_PERMISSION_DENIED);
    arena_done(&a);
    stream_world_close(&world);
}

/* A connection that may no longer write the instances of its session continues without the session. */
/* WRITE on the session's own key is enough to end it, also when its instances are not the user's. */
static void an_operator_ends_a_session_by_its_own_key(void **state)
{
    (void)state;
    open_world(true);
    const struct registry_key key = key_of("zz", "i1");
    stream_world_put(&world, "zz", "i1", "{\"host\":\"h\",\"port\":1}");
    int64_t session = registry_session_of(world.registry, &key);
    assert_true(session != 0);
    struct registry_proof proof = {.user = slice_text("alice"), .has_users = true, .is_operator = true};
    struct auth_who alice = alice_now();
    struct written w = {.registry = {.done = on_registry, .who = &alice, .proof = &proof}};
    registry_session_close(world.registry, &w.registry, session);
    one_node_run(&world.node, is_written, &w);
    assert_int_equal(w.err, ERR_PERMISSION_DENIED); /* judged again where it is applied */
    role_grant("team", "/cairn/registry/sessions/");
    alice = alice_now();
    w = (struct written){.registry = {.done = on_registry, .who = &alice, .proof = &proof}};
    registry_session_close(world.registry, &w.registry, session);
    one_node_run(&world.node, is_written, &w);
    assert_int_equal(w.err, OK);
    stream_world_close(&world);
}

static void a_session_is_lost_with_its_right(void **state)
{
    (void)state;
    struct stream_client c;
    open_world(true);
    open_alices(&c);
    stream_client_say(&c, "{\"type\":\"register\",\"rid\":1,\"name\":\"ab\",\"id\":\"i1\","
                          "\"instance\":{\"host\":\"h\",\"port\":1}}");
    stream_client_expect_frame(&c, "result", "\"rid\":1");
    role_revoke("team", INSTANCES "a");
    stream_client_expect_frame(&c, "error", "\"code\":\"forbidden\"");
    stream_client_say(&c, "{\"type\":\"register\",\"rid\":2,\"name\":\"ab\",\"id\":\"i1\","
                          "\"instance\":{\"host\":\"h\",\"port\":2}}");
    stream_client_expect_frame(&c, "error", "\"rid\":2,\"code\":\"forbidden\"");
    stream_client_close(&c);
    stream_world_close(&world);
}

/* --- long polls of the HTTP API --------------------------------------------------------------------- */

static void open_poll(struct stream_client *c, const char *path, const char *token)
{
    char *header = *token ? stream_text("Authorization: Bearer %s\r\n", token) : stream_text("%s", "");
    stream_client_ask(c, &world,
                      stream_text("GET %s%cwait_revision=%lld&timeout=60s HTTP/1.1\r\nHost: x\r\n%s\r\n",
                                  path, strchr(path, '?') ? '&' : '?', (long long)kv_revision(world.node.kv),
                                  header));
    stream_world_run_ms(&world, 50);
    assert_int_equal(c->in.size, 0);
}

static void expect_answer(struct stream_client *c, const char *status, const char *code)
{
    if (!stream_client_has_text(c, status) || !stream_client_has_text(c, code))
        fail_msg("not %s: %s", status, buf_text(&c->in));
    assert_null(strstr(buf_text(&c->in), "\"host\""));
    assert_null(strstr(buf_text(&c->in), "ETag"));
    stream_client_close(c);
}

static void a_poll_ends_with_its_right(void **state)
{
    (void)state;
    static const char *const paths[] = {"/api/v1/services/ab", "/api/v1/services?prefix=a",
                                        "/api/v1/configs/ab", "/api/v1/configs?prefix=a"};
    struct stream_client c;
    open_world(true);
    stream_world_put(&world, "ab", "i1", "{\"host\":\"h\",\"port\":1}");
    stream_world_publish(&world, "ab", slice_text("v1"));
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        const char *prefix = i < 2 ? INSTANCES "a" : HEADS "a";
        open_poll(&c, paths[i], token_of("alice"));
        user_grant("bob", "team"); /* of another: it continues */
        Etcdserverpb__AuthUserRevokeRoleRequest take = ETCDSERVERPB__AUTH_USER_REVOKE_ROLE_REQUEST__INIT;
        take.name = T("bob");
        take.role = T("team");
        stream_world_auth(&world, &take.base);
        stream_world_run_ms(&world, 50);
        assert_int_equal(c.in.size, 0);
        role_revoke("team", prefix);
        if (i % 2) { /* also with a change that it waits for */
            stream_world_put(&world, "ab", stream_text("j%zu", i), "{\"host\":\"h\",\"port\":1}");
            stream_world_publish(&world, "ab", slice_text(stream_text("w%zu", i)));
        }
        expect_answer(&c, "HTTP/1.1 403", "\"code\":\"forbidden\"");
        role_grant("team", prefix);
    }
    open_poll(&c, paths[0], token_of("alice"));
    change_password("alice");
    expect_answer(&c, "HTTP/1.1 401", "\"code\":\"unauthorized\"");
    stream_world_close(&world);
    open_world(false);
    stream_world_put(&world, "ab", "i1", "{\"host\":\"h\",\"port\":1}");
    open_poll(&c, paths[0], "");
    enable();
    expect_answer(&c, "HTTP/1.1 401", "\"code\":\"unauthorized\"");
    stream_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_and_hello_both_count),
        cmocka_unit_test(a_token_in_the_url_is_refused),
        cmocka_unit_test(a_right_that_is_taken_ends_its_subscription),
        cmocka_unit_test(a_change_that_concerns_others_is_not_noticed),
        cmocka_unit_test(nothing_is_sent_before_it_is_judged),
        cmocka_unit_test(a_connection_ends_with_its_user),
        cmocka_unit_test(events_end_with_an_error_event),
        cmocka_unit_test(auth_that_is_enabled_makes_it_anonymous),
        cmocka_unit_test(a_publish_is_judged_where_it_is_applied),
        cmocka_unit_test(an_operator_ends_a_session_by_its_own_key),
        cmocka_unit_test(bundles_drafts_and_gray_rules_too),
        cmocka_unit_test(a_registration_is_judged_where_it_is_applied),
        cmocka_unit_test(a_session_is_lost_with_its_right),
        cmocka_unit_test(a_poll_ends_with_its_right),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
