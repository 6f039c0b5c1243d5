/* SPDX-License-Identifier: Apache-2.0
 * Tests of the audit trail of the registry: deregistrations and closed sessions are recorded if they are another
 * client's than the holder's, and only then. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "consensus/audit.h"
#include "registry/registry_private.h"
#include "tests/unit/registry_node.h"
#include "tests/unit/unit.h"

#define DOC "{\"host\":\"h\",\"port\":1,\"ttl\":60}"

static struct registry_node node;
static struct audit *trail;
static unsigned lines;

static void count_line(void *arg, struct slice line)
{
    (void)arg, (void)line;
    lines++;
}

static int setup(void **state)
{
    (void)state;
    const struct registry_options options = {.txn_ops_max = 4};
    node = (struct registry_node){0};
    lines = 0;
    registry_node_open(&node, &options);
    trail = audit_new(&(struct audit_options){.kv = node.node.kv, .on_line = count_line});
    node.registry->options.audit = trail;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    node.registry->options.audit = NULL;
    audit_free(trail);
    registry_node_close(&node);
    return 0;
}

static struct registry_proof user(const char *name)
{
    return (struct registry_proof){.user = slice_text(name), .has_users = true};
}

static struct registry_request request_of(const struct registry_proof *proof)
{
    return (struct registry_request){.done = registry_reply_done,
                                     .proof = proof,
                                     .author = {.name = proof ? proof->user : (struct slice){0}}};
}

static int64_t put(const char *service, const char *id, const struct registry_proof *proof, int64_t session)
{
    struct registry_reply a = {.request = request_of(proof)};
    const struct registry_key key = registry_key_of(service, id);
    struct instance doc;
    struct arena arena = {0};
    char text[200];
    assert_int_equal(instance_read(slice_text(DOC), DOCUMENT_STRICT, &arena, &doc, text, sizeof text), OK);
    registry_register(node.registry, &a.request, &key, &doc, session);
    registry_node_wait(&node, &a);
    assert_int_equal(a.err, OK);
    arena_done(&arena);
    registry_node_settle(&node);
    return a.result.session;
}

static int deregister(const char *service, const char *id, const struct registry_proof *proof)
{
    struct registry_reply a = {.request = request_of(proof)};
    const struct registry_key key = registry_key_of(service, id);
    registry_deregister(node.registry, &a.request, &key);
    registry_node_wait(&node, &a);
    registry_node_settle(&node);
    return a.err;
}

static int close_session(int64_t session, const struct registry_proof *proof)
{
    struct registry_reply a = {.request = request_of(proof)};
    registry_session_close(node.registry, &a.request, session);
    registry_node_wait(&node, &a);
    registry_node_settle(&node);
    return a.err;
}

static char session_key[SESSION_KEY_SIZE + 1];

static void on_opened(struct registry_request *q, int err, const struct registry_result *result)
{
    assert_int_equal(err, OK);
    snprintf(session_key, sizeof session_key, "%s", result->session_key);
    registry_reply_done(q, err, result);
}

static int64_t open_session(const struct registry_proof *proof)
{
    const struct session doc = {.ttl_s = 60};
    struct registry_reply a = {.request = request_of(proof)};
    a.request.done = on_opened;
    registry_session_open(node.registry, &a.request, &doc);
    registry_node_wait(&node, &a);
    registry_node_settle(&node);
    return a.result.session;
}

/* The records, the oldest first: "author: kind operation name id, ...;" */
static const char *records(void)
{
    static char text[2000];
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *response;
    struct arena arena = {0};
    static uint8_t from[] = AUDIT_PREFIX, to[] = AUDIT_PREFIX;
    size_t size = 0;
    to[sizeof to - 2] = '/' + 1;
    m.key = (ProtobufCBinaryData){sizeof from - 1, from};
    m.range_end = (ProtobufCBinaryData){sizeof to - 1, to};
    assert_int_equal(kv_range_now(node.node.kv, &m, &arena, &response), OK);
    text[0] = 0;
    for (size_t i = response->n_kvs; i-- > 0;) {
        struct audit_record r;
        const Mvccpb__KeyValue *kv = response->kvs[i];
        assert_int_equal(audit_read(slice_of(kv->value.data, kv->value.len), &arena, &r), OK);
        size += (size_t)snprintf(text + size, sizeof text - size, "%.*s:", (int)r.author.name.size,
                                 (const char *)r.author.name.data);
        for (size_t k = 0; k < r.count; k++) {
            const struct audit_change *c = &r.changes[k];
            size += (size_t)snprintf(text + size, sizeof text - size, " %s %s %.*s %.*s", c->kind,
                                     c->operation, (int)c->name.size, (const char *)c->name.data,
                                     (int)c->id.size, (const char *)c->id.data);
        }
        size += (size_t)snprintf(text + size, sizeof text - size, ";");
    }
    assert_int_equal(response->n_kvs, lines);
    arena_done(&arena);
    return text;
}

static void test_own(void **state)
{
    (void)state;
    const struct registry_proof alice = user("alice"), nothing = {0};
    put("orders", "i", &alice, 0);
    assert_int_equal(deregister("orders", "i", &alice), OK);
    int64_t session = open_session(&alice);
    put("orders", "i", &alice, session);
    put("orders", "k", &alice, session);
    assert_int_equal(deregister("orders", "i", &alice), OK);
    struct registry_proof keyed = user("bob"); /* another user that was given the key holds it, too */
    keyed.key = slice_text(session_key);
    assert_int_equal(deregister("orders", "k", &keyed), OK);
    put("orders", "i", &alice, session);
    assert_int_equal(close_session(session, &alice), OK);
    session = open_session(&alice);
    keyed.key = slice_text(session_key);
    put("orders", "i", &alice, session);
    assert_int_equal(close_session(session, &keyed), OK);
    put("orders", "i", &nothing, 0); /* without users nobody is known to be another */
    assert_int_equal(deregister("orders", "i", &nothing), OK);
    put("orders", "i", NULL, 0); /* the process itself */
    assert_int_equal(deregister("orders", "i", NULL), OK);
    assert_int_equal(deregister("orders", "i", &alice), ERR_NOT_FOUND);
    assert_string_equal(records(), "");
}

static void test_of_another(void **state)
{
    (void)state;
    const struct registry_proof alice = user("alice"), bob = user("bob"), nothing = {0};
    put("orders", "i", &alice, 0);
    int64_t before = kv_revision(node.node.kv);
    assert_int_equal(deregister("orders", "i", &bob), OK);
    assert_int_equal(kv_revision(node.node.kv), before + 1); /* the record has the revision of the change */
    assert_string_equal(records(), "bob: instance deregister orders i;");
    assert_int_equal(deregister("orders", "i", &bob), ERR_NOT_FOUND);
    put("orders", "k", &nothing, 0); /* from before users were enabled: its holder is not known */
    assert_int_equal(deregister("orders", "k", &bob), OK);
    assert_string_equal(records(), "bob: instance deregister orders i;bob: instance deregister orders k;");
    struct registry_proof wrong = user("bob"); /* the key of another session */
    int64_t session = open_session(&bob);
    (void)session;
    wrong.key = slice_text(session_key);
    put("orders", "m", &alice, 0);
    assert_int_equal(deregister("orders", "m", &wrong), OK);
    assert_non_null(strstr(records(), "bob: instance deregister orders m;"));
}

/* More instances than a transaction has room for: a record for each part. */
static void test_session_of_another(void **state)
{
    (void)state;
    const struct registry_proof alice = user("alice");
    struct registry_proof op = user("op");
    int64_t session = open_session(&alice);
    op.is_operator = true;
    char expected[300], id[24];
    for (int i = 0; i < 4; i++) {
        snprintf(id, sizeof id, "i%d", i);
        put("orders", id, &alice, session);
    }
    assert_int_equal(close_session(session, &op), OK);
    snprintf(expected, sizeof expected,
             "op: instance deregister orders i0 instance deregister orders i1 instance deregister orders i2;"
             "op: instance deregister orders i3 session close  %" PRIx64 ";",
             (uint64_t)session);
    assert_string_equal(records(), expected);
    session = open_session(&alice); /* without an instance */
    assert_int_equal(close_session(session, &op), OK);
    snprintf(expected, sizeof expected, ";op: session close  %" PRIx64 ";", (uint64_t)session);
    assert_non_null(strstr(records(), expected));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {TEST(test_own), TEST(test_of_another), TEST(test_session_of_another)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
