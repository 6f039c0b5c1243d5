/* SPDX-License-Identifier: Apache-2.0
 * Tests of LeaseTimeToLive of a lease with very many keys, and of LeaseLeases of very many leases, over a
 * real store of one member. The answer takes many turns, and shows one moment. */
#include "tests/unit/unit.h"

#include "base/log.h"
#include "server/rpc/service.h"
#include "tests/unit/fake_call.h"
#include "tests/unit/one_node.h"

enum { KEYS = 10000, LEASES = 1500, AT_ONCE = 100 };

static struct one_node node;
static struct rpc_server server;
static unsigned turns;

static void on_turn(void *arg)
{
    (void)arg;
    turns++;
    while (rpc_server_turn(&server))
        ;
}

static int setup(void **state)
{
    (void)state;
    node = (struct one_node){.turn = on_turn};
    one_node_open(&node);
    server = (struct rpc_server){.kv = node.kv, .mono_ms = fake_mono_ms};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(server.calls, 0);
    node.turn = NULL;
    one_node_close(&node);
    one_node_remove(&node);
    return 0;
}

static bool is_finished(void *arg)
{
    return ((struct fake_call *)arg)->is_finished;
}

static struct fake_call *start(const char *path, const void *message)
{
    struct fake_call *f = fake_call_new(&server, path);
    rpc_start(&f->call);
    fake_receive(f, message);
    return f;
}

static struct fake_call *ended(struct fake_call *f)
{
    one_node_run(&node, is_finished, f);
    assert_string_equal(f->text, "");
    assert_int_equal(f->status, 0);
    assert_int_equal(f->count, 1);
    return f;
}

static void grant(int64_t id, int64_t ttl_s)
{
    Etcdserverpb__LeaseGrantRequest m = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    m.id = id;
    m.ttl = ttl_s;
    fake_call_free(ended(start("/etcdserverpb.Lease/LeaseGrant", &m)));
}

/* The keys key/00000 to key/09999, the last ones first. */
static void fill(int64_t lease)
{
    for (int first = KEYS - AT_ONCE; first >= 0; first -= AT_ONCE) {
        static char text[AT_ONCE][16];
        Etcdserverpb__PutRequest puts[AT_ONCE];
        Etcdserverpb__RequestOp ops[AT_ONCE], *list[AT_ONCE];
        Etcdserverpb__TxnRequest m = ETCDSERVERPB__TXN_REQUEST__INIT;
        for (int i = 0; i < AT_ONCE; i++) {
            snprintf(text[i], sizeof text[i], "key/%05d", first + i);
            etcdserverpb__put_request__init(&puts[i]);
            puts[i].key = (ProtobufCBinaryData){strlen(text[i]), (uint8_t *)text[i]};
            puts[i].lease = lease;
            etcdserverpb__request_op__init(&ops[i]);
            ops[i].request_case = ETCDSERVERPB__REQUEST_OP__REQUEST_REQUEST_PUT;
            ops[i].request_put = &puts[i];
            list[i] = &ops[i];
        }
        m.success = list;
        m.n_success = AT_ONCE;
        fake_call_free(ended(start("/etcdserverpb.KV/Txn", &m)));
    }
}

static struct fake_call *ask_for_keys(int64_t id)
{
    Etcdserverpb__LeaseTimeToLiveRequest m = ETCDSERVERPB__LEASE_TIME_TO_LIVE_REQUEST__INIT;
    m.id = id;
    m.keys = 1;
    return start("/etcdserverpb.Lease/LeaseTimeToLive", &m);
}

static void expect_keys(struct fake_call *f, int64_t revision)
{
    char text[16];
    ended(f);
    Etcdserverpb__LeaseTimeToLiveResponse *r =
        etcdserverpb__lease_time_to_live_response__unpack(NULL, f->messages[0].size, f->messages[0].data);
    assert_non_null(r);
    assert_int_equal(r->header->revision, revision);
    assert_int_equal(r->id, 7);
    assert_int_equal(r->grantedttl, 1000);
    assert_true(r->ttl > 900);
    assert_int_equal(r->n_keys, KEYS);
    for (int i = 0; i < KEYS; i++) {
        snprintf(text, sizeof text, "key/%05d", i);
        assert_true(slice_equal(slice_of(r->keys[i].data, r->keys[i].len), slice_text(text)));
    }
    etcdserverpb__lease_time_to_live_response__free_unpacked(r, NULL);
    fake_call_free(f);
}

static bool has_turned(void *arg)
{
    (void)arg;
    return turns >= 2; /* the reads have begun */
}

static void keys_of_a_lease(void **state)
{
    (void)state;
    grant(7, 1000);
    fill(7);
    int64_t revision = kv_revision(node.kv);
    turns = 0;
    expect_keys(ask_for_keys(7), revision);
    assert_true(turns > 2 + KEYS / 4096);

    /* Changes while the answers are gathered are in none of them. More than four requests wait for the
     * others. */
    struct fake_call *calls[7];
    for (size_t i = 0; i < 7; i++)
        calls[i] = ask_for_keys(7);
    turns = 0;
    one_node_run(&node, has_turned, NULL);
    Etcdserverpb__DeleteRangeRequest m = ETCDSERVERPB__DELETE_RANGE_REQUEST__INIT;
    m.key = (ProtobufCBinaryData){9, (uint8_t *)(uintptr_t) "key/05000"};
    struct fake_call *deletion = start("/etcdserverpb.KV/DeleteRange", &m);
    for (size_t i = 0; i < 4; i++)
        expect_keys(calls[i], revision);
    fake_call_free(ended(deletion));
    for (size_t i = 4; i < 6; i++) {
        ended(calls[i]);
        Etcdserverpb__LeaseTimeToLiveResponse *r = etcdserverpb__lease_time_to_live_response__unpack(
            NULL, calls[i]->messages[0].size, calls[i]->messages[0].data);
        assert_int_equal(r->n_keys, KEYS - (r->header->revision > revision));
        etcdserverpb__lease_time_to_live_response__free_unpacked(r, NULL);
        fake_call_free(calls[i]);
    }
    fake_call_free(calls[6]); /* its client disconnects */
}

static void leases(void **state)
{
    (void)state;
    for (int64_t id = 1; id <= LEASES; id++)
        grant(id, 1000 + (id * 7) % LEASES * 10);
    Etcdserverpb__LeaseLeasesRequest m = ETCDSERVERPB__LEASE_LEASES_REQUEST__INIT;
    struct fake_call *f = ended(start("/etcdserverpb.Lease/LeaseLeases", &m));
    Etcdserverpb__LeaseLeasesResponse *r =
        etcdserverpb__lease_leases_response__unpack(NULL, f->messages[0].size, f->messages[0].data);
    assert_non_null(r);
    assert_non_null(r->header);
    assert_int_equal(r->n_leases, LEASES);
    for (size_t i = 1; i < r->n_leases; i++) /* the next one to end first */
        assert_true(r->leases[i - 1]->id * 7 % LEASES < r->leases[i]->id * 7 % LEASES);
    etcdserverpb__lease_leases_response__free_unpacked(r, NULL);
    fake_call_free(f);
}

/* --- rights ----------------------------------------------------------------------------------------- */

struct question {
    struct kv_request request;
    bool is_done;
    int err;
    size_t rows;
};

static bool is_answered(void *arg)
{
    return ((struct question *)arg)->is_done;
}

static void on_done(struct kv_request *r, int err, const ProtobufCMessage *m)
{
    struct question *q = container_of(r, struct question, request);
    (void)m;
    q->is_done = true;
    q->err = err;
}

static bool on_part(struct kv_request *r, const ProtobufCMessage *part)
{
    container_of(r, struct question, request)->rows +=
        ((const Etcdserverpb__LeaseLeasesResponse *)part)->n_leases;
    return true;
}

static void administer(const ProtobufCMessage *m)
{
    struct question q = {.request.done = on_done};
    kv_auth(node.kv, &q.request, m);
    one_node_run(&node, is_answered, &q);
    assert_int_equal(q.err, OK);
}

static int list_as(const char *user, size_t *ret_rows)
{
    const struct auth_who who = {.user = slice_text(user), .revision = kv_auth_revision(node.kv)};
    Etcdserverpb__LeaseLeasesRequest m = ETCDSERVERPB__LEASE_LEASES_REQUEST__INIT;
    struct question q = {.request = {.done = on_done, .on_part = on_part, .who = &who}};
    kv_lease_leases(node.kv, &q.request, &m);
    one_node_run(&node, is_answered, &q);
    *ret_rows = q.rows;
    return q.err;
}

#define TEXT(s) ((char *)(uintptr_t)(s))

static void add_user(const char *name)
{
    Etcdserverpb__AuthUserAddRequest user = ETCDSERVERPB__AUTH_USER_ADD_REQUEST__INIT;
    Etcdserverpb__AuthRoleAddRequest role = ETCDSERVERPB__AUTH_ROLE_ADD_REQUEST__INIT;
    Etcdserverpb__AuthUserGrantRoleRequest has = ETCDSERVERPB__AUTH_USER_GRANT_ROLE_REQUEST__INIT;
    user.name = role.name = has.user = has.role = TEXT(name);
    user.hashedpassword = TEXT("aGFzaA==");
    administer(&user.base);
    administer(&role.base);
    administer(&has.base);
}

/* A user that may not read all keys of all leases gets none of them. */
static void every_lease_of_the_list_is_checked(void **state)
{
    (void)state;
    size_t rows;
    Etcdserverpb__AuthEnableRequest enable = ETCDSERVERPB__AUTH_ENABLE_REQUEST__INIT;
    for (int64_t id = 1; id <= LEASES; id++)
        grant(id, 1000 + id * 10);
    one_node_put(&node, "a", "", LEASES - 1);
    add_user("root");
    add_user("alice");
    Etcdserverpb__AuthRoleGrantPermissionRequest may = ETCDSERVERPB__AUTH_ROLE_GRANT_PERMISSION_REQUEST__INIT;
    Authpb__Permission permission = AUTHPB__PERMISSION__INIT;
    permission.permtype = AUTHPB__PERMISSION__TYPE__READ;
    permission.key = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "a"};
    may.name = TEXT("alice");
    may.perm = &permission;
    administer(&may.base);
    administer(&enable.base);
    assert_int_equal(list_as("alice", &rows), OK);
    assert_int_equal(rows, LEASES);
    one_node_put(&node, "b", "", LEASES);
    assert_int_equal(list_as("alice", &rows), ERR_PERMISSION_DENIED);
    assert_int_equal(list_as("root", &rows), OK);
    assert_int_equal(rows, LEASES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_of_a_lease, setup, teardown),
        cmocka_unit_test_setup_teardown(leases, setup, teardown),
        cmocka_unit_test_setup_teardown(every_lease_of_the_list_is_checked, setup, teardown),
    };
    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
