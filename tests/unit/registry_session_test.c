/* SPDX-License-Identifier: Apache-2.0
 * Tests of session ownership: which callers may register into a session, keep it alive and close it, with
 * users and with session keys. A write of an etcd client over a session's document ends nothing for its
 * owner. */
#include "tests/unit/registry_node.h"

#include <stdio.h>

#include "tests/unit/unit.h"

#define DOC "{\"host\":\"h\",\"port\":1,\"ttl\":60}"

enum how { HEARTBEAT, REGISTER, CLOSE };

static struct registry_node node;

static void open_node(bool session_keys)
{
    const struct registry_options options = {.session_keys = session_keys};
    node = (struct registry_node){0};
    registry_node_open(&node, &options);
}

static int setup(void **state)
{
    (void)state;
    open_node(false);
    return 0;
}

static int setup_keys(void **state)
{
    (void)state;
    open_node(true);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    registry_node_close(&node);
    return 0;
}

struct opened {
    int64_t id;
    char key[SESSION_KEY_SIZE + 1];
};

static void on_opened(struct registry_request *q, int err, const struct registry_result *result)
{
    struct registry_reply *a = container_of(q, struct registry_reply, request);
    if (!err && result->session_key)
        snprintf(a->error, sizeof a->error, "%s", result->session_key);
    a->err = err;
    a->result = *result;
    a->is_done = true;
}

static struct opened open_session(const struct registry_proof *proof)
{
    const struct session doc = {.ttl_s = 60, .client_id = slice_text("web-1")};
    struct registry_reply a = {.request = {.done = on_opened, .proof = proof}};
    struct opened o;
    registry_session_open(node.registry, &a.request, &doc);
    registry_node_wait(&node, &a);
    assert_int_equal(a.err, OK);
    assert_int_equal(strlen(a.error), SESSION_KEY_SIZE);
    o.id = a.result.session;
    memcpy(o.key, a.error, sizeof o.key);
    return o;
}

static int use_ttl(enum how how, int64_t session, const struct registry_proof *proof, unsigned ttl_s,
                   char error[256])
{
    struct registry_reply a = {.request = {.done = registry_reply_done, .proof = proof}};
    struct instance doc;
    struct arena arena = {0};
    char text[200];
    if (how == HEARTBEAT) {
        registry_session_heartbeat(node.registry, &a.request, session);
    } else if (how == CLOSE) {
        registry_session_close(node.registry, &a.request, session);
    } else {
        const struct registry_key key = registry_key_of("orders", "i");
        assert_int_equal(instance_read(slice_text(DOC), DOCUMENT_STRICT, &arena, &doc, text, sizeof text),
                         OK);
        doc.ttl_s = ttl_s;
        registry_register(node.registry, &a.request, &key, &doc, session);
    }
    registry_node_wait(&node, &a);
    arena_done(&arena);
    if (error)
        snprintf(error, 256, "%s", a.error);
    return a.err;
}

static int use(enum how how, int64_t session, const struct registry_proof *proof, char error[256])
{
    return use_ttl(how, session, proof, 60, error);
}

static void expect(int64_t session, const struct registry_proof *proof, int wanted)
{
    for (enum how how = HEARTBEAT; how <= CLOSE; how++)
        if (how != CLOSE || wanted != OK) /* a close that is allowed ends it */
            assert_int_equal(use(how, session, proof, NULL), wanted);
}

static char *session_path(int64_t id)
{
    static char text[80];
    snprintf(text, sizeof text, REGISTRY_PREFIX "sessions/%016llx", (unsigned long long)id);
    return text;
}

static struct registry_proof keyed(const char *key)
{
    return (struct registry_proof){.key = slice_text(key)};
}

static struct registry_proof user(const char *name)
{
    return (struct registry_proof){.user = slice_text(name), .has_users = true};
}

static void test_keys_are_asked_for(void **state)
{
    (void)state;
    const struct registry_proof nothing = {0};
    struct opened o = open_session(&nothing), other = open_session(&nothing);
    struct registry_proof right = keyed(o.key), wrong = keyed(other.key), shorter = keyed("ab");
    char error[256];
    assert_string_not_equal(o.key, other.key);
    expect(o.id, &nothing, ERR_PERMISSION_DENIED);
    expect(o.id, &wrong, ERR_PERMISSION_DENIED);
    expect(o.id, &shorter, ERR_PERMISSION_DENIED);
    use(HEARTBEAT, o.id, &nothing, error);
    assert_non_null(strstr(error, "X-Cairn-Session-Key"));
    expect(o.id, &right, OK);
    expect(o.id, NULL, OK); /* the process itself */
    /* The instance belongs to it now: an update that names no session joins it as well. */
    assert_int_equal(use(REGISTER, 0, &nothing, NULL), ERR_PERMISSION_DENIED);
    assert_int_equal(use_ttl(REGISTER, 0, &nothing, 90, NULL), ERR_PERMISSION_DENIED); /* nor removes it */
    assert_int_equal(use(REGISTER, 0, &right, NULL), OK);
    assert_int_equal(use(CLOSE, o.id, &right, NULL), OK);
    assert_int_equal(use(HEARTBEAT, o.id, &right, NULL), ERR_SESSION_GONE);
}

/* Off: no key is required, but a given one must be right. */
static void test_keys_are_optional(void **state)
{
    (void)state;
    const struct registry_proof nothing = {0};
    struct opened o = open_session(&nothing);
    struct registry_proof right = keyed(o.key), wrong = keyed("0123456789abcdef0123456789abcdef");
    expect(o.id, &nothing, OK);
    expect(o.id, &right, OK);
    expect(o.id, &wrong, ERR_PERMISSION_DENIED);
}

static void test_users(void **state)
{
    (void)state;
    struct registry_proof alice = user("alice"), bob = user("bob"), operator= user("op");
    struct opened o = open_session(&alice);
    expect(o.id, &alice, OK);
    expect(o.id, &bob, ERR_PERMISSION_DENIED);
    assert_int_equal(use(REGISTER, 0, &bob, NULL), ERR_PERMISSION_DENIED); /* instances of alice's session */
    bob.may_all_of = o.id; /* this counts only where no owner is known */
    expect(o.id, &bob, ERR_PERMISSION_DENIED);
    bob.key = slice_text(o.key);
    expect(o.id, &bob, OK);
    alice.key = slice_text("0123456789abcdef0123456789abcdef");
    expect(o.id, &alice, ERR_PERMISSION_DENIED); /* a given key must be right */
    operator.is_operator = true;
    expect(o.id, &operator, OK);
    assert_int_equal(use(CLOSE, o.id, &operator, NULL), OK);
    /* Opened before there were users. */
    const struct registry_proof nothing = {0};
    o = open_session(&nothing);
    bob = user("bob");
    expect(o.id, &bob, ERR_PERMISSION_DENIED);
    bob.may_all_of = o.id;
    expect(o.id, &bob, OK);
}

/* A session that was made for one instance ends with it for its owner alone. Another user that moves the
 * instance into its own session leaves the old session open. */
static void test_left(void **state)
{
    (void)state;
    struct registry_proof alice = user("alice"), bob = user("bob");
    assert_int_equal(use(REGISTER, 0, &alice, NULL), OK);
    const struct registry_key key = registry_key_of("orders", "i");
    int64_t of_alice = registry_session_of(node.registry, &key);
    assert_int_equal(use_ttl(REGISTER, 0, &bob, 90, NULL), ERR_PERMISSION_DENIED);
    struct opened of_bob = open_session(&bob);
    assert_int_equal(use(REGISTER, of_bob.id, &bob, NULL), OK);
    assert_true(registry_session_of(node.registry, &key) == of_bob.id);
    assert_int_equal(use(HEARTBEAT, of_alice, &alice, NULL), OK);
}

static int register_check(const struct registry_proof *proof, struct registry_result *ret)
{
    struct registry_reply a = {.request = {.done = registry_reply_done, .proof = proof}};
    struct check check = {.type = CHECK_TCP,
                          .interval_ms = 1000,
                          .timeout_ms = 1000,
                          .failures = 1,
                          .successes = 1,
                          .registered = INSTANCE_UP};
    const struct instance doc = {.host = slice_text("h"), .port = 1, .ttl_s = 60, .check = &check};
    const struct registry_key key = registry_key_of("orders", "i");
    registry_register(node.registry, &a.request, &key, &doc, 0);
    registry_node_wait(&node, &a);
    *ret = a.result;
    return a.err;
}

/* With a check an instance leaves its session, which only a client with the right to the session can do. */
static void test_a_check_takes_it_out_of_its_session(void **state)
{
    (void)state;
    struct registry_proof alice = user("alice"), bob = user("bob");
    struct registry_result result;
    const struct registry_key key = registry_key_of("orders", "i");
    assert_int_equal(use(REGISTER, 0, &alice, NULL), OK);
    int64_t of_alice = registry_session_of(node.registry, &key);
    assert_int_equal(register_check(&bob, &result), ERR_PERMISSION_DENIED);
    assert_null(registry_node_find(&node, "orders", "i")->doc->check);
    assert_int_equal(register_check(&alice, &result), OK);
    assert_true(result.session == 0 && !result.session_key);
    assert_non_null(registry_node_find(&node, "orders", "i")->doc->check);
    assert_int_equal(use(HEARTBEAT, of_alice, &alice, NULL), ERR_SESSION_GONE); /* it was for i alone */
    registry_node_settle(&node);
    assert_int_equal(registry_node_leases(&node), 0);
    assert_int_equal(register_check(&alice, &result), OK);
    assert_true(result.is_unchanged && result.session == 0);
    assert_int_equal(registry_node_leases(&node), 0);
    assert_int_equal(use(REGISTER, 0, &alice, NULL), OK); /* and back */
    assert_null(registry_node_find(&node, "orders", "i")->doc->check);
    assert_true(registry_session_of(node.registry, &key) > 0);
}

/* Only the digest is stored. */
static void test_stored(void **state)
{
    (void)state;
    struct registry_proof alice = user("alice");
    struct opened o = open_session(&alice);
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct arena arena = {0};
    char *path = session_path(o.id);
    m.key = (ProtobufCBinaryData){strlen(path), (uint8_t *)path};
    assert_int_equal(kv_range_now(node.node.kv, &m, &arena, &response), OK);
    assert_int_equal(response->n_kvs, 1);
    char text[600];
    snprintf(text, sizeof text, "%.*s", (int)response->kvs[0]->value.len,
             (char *)response->kvs[0]->value.data);
    assert_non_null(strstr(text, "\"owner\":\"alice\""));
    assert_non_null(strstr(text, "\"key_sha256\":\""));
    assert_null(strstr(text, o.key));
    arena_done(&arena);
}

/* A write of another client over the document ends nothing, gives no right, and is repaired. */
static void overwrite(const char *text, bool is_attached)
{
    struct registry_proof alice = user("alice"), bob = user("bob");
    struct opened o = open_session(&alice);
    assert_int_equal(use(REGISTER, o.id, &alice, NULL), OK);
    one_node_put(&node.node, session_path(o.id), text, is_attached ? o.id : 0);
    registry_node_settle(&node);
    struct catalog_session *s = catalog_session(registry_catalog(node.registry), o.id);
    assert_non_null(s);
    assert_true(s->is_damaged);
    assert_int_equal(registry_node_find(&node, "orders", "i")->doc->state, INSTANCE_UP);
    expect(o.id, &bob, ERR_PERMISSION_DENIED);
    assert_true(s->is_damaged);
    assert_int_equal(use(HEARTBEAT, o.id, &alice, NULL), OK);
    registry_node_settle(&node);
    assert_false(s->is_damaged);
    assert_true(slice_equal(s->doc.owner, slice_text("alice")));
    assert_true(slice_equal(s->doc.client_id, slice_text("web-1")));
    expect(o.id, &bob, ERR_PERMISSION_DENIED);
    /* A registration repairs it as well, though the instance is the same. */
    one_node_put(&node.node, session_path(o.id), text, is_attached ? o.id : 0);
    registry_node_settle(&node);
    assert_true(s->is_damaged);
    assert_int_equal(use(REGISTER, o.id, &alice, NULL), OK);
    registry_node_settle(&node);
    assert_false(s->is_damaged);
    /* It is attached to its lease again. */
    registry_node_revoke(&node, o.id);
    assert_int_equal(use(HEARTBEAT, o.id, &alice, NULL), ERR_SESSION_GONE);
}

static void test_overwritten(void **state)
{
    (void)state;
    overwrite("no JSON", false);
    overwrite("no JSON", true);
    overwrite("{\"ttl\":60,\"owner\":\"bob\"}", true);
    overwrite("{\"ttl\":60}", true);
    overwrite("{\"ttl\":60,\"owner\":\"alice\",\"implicit\":true}", true);
    overwrite("{\"ttl\":60,\"owner\":\"alice\",\"key_sha256\":\"x\"}", false);
}

/* The same document, but not attached to its lease any more: it would outlive the lease. */
static void test_detached(void **state)
{
    (void)state;
    struct registry_proof alice = user("alice");
    struct opened o = open_session(&alice);
    struct catalog_session *s = catalog_session(registry_catalog(node.registry), o.id);
    struct buf text = {0};
    session_write(&s->doc, &text);
    one_node_put(&node.node, session_path(o.id), buf_text(&text), 0);
    buf_done(&text);
    registry_node_settle(&node);
    assert_true(s->is_damaged);
    assert_int_equal(use(HEARTBEAT, o.id, &alice, NULL), OK);
    registry_node_revoke(&node, o.id);
    assert_int_equal(use(HEARTBEAT, o.id, &alice, NULL), ERR_SESSION_GONE);
}

static bool is_ready(void *arg)
{
    (void)arg;
    return registry_is_ready(node.registry);
}

/* A view that begins when the document is damaged already: a user that may write all instances of the session
 * repairs it, and is its owner then. */
static void test_overwritten_before(void **state)
{
    (void)state;
    const struct registry_options options = {.kv = node.node.kv, .member = "n1"};
    struct registry_proof alice = user("alice"), bob = user("bob");
    struct opened o = open_session(&alice);
    assert_int_equal(use(REGISTER, o.id, &alice, NULL), OK);
    one_node_put(&node.node, session_path(o.id), "no JSON", o.id);
    registry_node_settle(&node);
    registry_free(node.registry);
    node.registry = registry_new(&options);
    one_node_run(&node.node, is_ready, NULL);
    assert_non_null(catalog_session(registry_catalog(node.registry), o.id));
    expect(o.id, &bob, ERR_PERMISSION_DENIED);
    alice.may_all_of = o.id;
    assert_int_equal(use(HEARTBEAT, o.id, &alice, NULL), OK);
    registry_node_settle(&node);
    alice.may_all_of = 0;
    expect(o.id, &alice, OK);
    bob.may_all_of = o.id;
    expect(o.id, &bob, ERR_PERMISSION_DENIED);
}

#define TEST(fn)      cmocka_unit_test_setup_teardown(fn, setup, teardown)
#define TEST_KEYS(fn) cmocka_unit_test_setup_teardown(fn, setup_keys, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_KEYS(test_keys_are_asked_for),
        TEST(test_keys_are_optional),
        TEST(test_users),
        TEST(test_left),
        TEST(test_a_check_takes_it_out_of_its_session),
        TEST(test_detached),
        TEST(test_stored),
        TEST(test_overwritten),
        TEST(test_overwritten_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
