/* SPDX-License-Identifier: Apache-2.0
 * Tests of locks, elections and Observe over a real store of one member: which call waits for which, the
 * state after a call ends, the error when a call's own key is deleted, the limits. */
#include "tests/unit/unit.h"

#include "proto/election.pb-c.h"
#include "proto/lock.pb-c.h"
#include "server/rpc/service.h"
#include "tests/unit/fake_call.h"
#include "tests/unit/one_node.h"

static struct one_node node;
static struct rpc_server server;

static void on_turn(void *arg)
{
    (void)arg;
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

static bool has_no_places(void *arg)
{
    (void)arg;
    return server.places == 0;
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(server.calls, 0);
    one_node_run(&node, has_no_places, NULL); /* a call that has ended gives its key back */
    assert_int_equal(server.place_bytes, 0);
    node.turn = NULL;
    one_node_close(&node);
    one_node_remove(&node);
    return 0;
}

static ProtobufCBinaryData bytes_of(const char *text)
{
    ProtobufCBinaryData b = {strlen(text), NULL};
    memcpy(&b.data, &text, sizeof text);
    return b;
}

static bool is_finished(void *arg)
{
    return ((struct fake_call *)arg)->is_finished;
}

static struct fake_call *start(const char *path, const void *message)
{
    struct fake_call *f = fake_call_new(&server, path);
    rpc_start(&f->call);
    if (!f->is_finished)
        fake_receive(f, message);
    return f;
}

static struct fake_call *ended(struct fake_call *f)
{
    one_node_run(&node, is_finished, f);
    return f;
}

static void expect_end(struct fake_call *f, int status, const char *text)
{
    ended(f);
    assert_string_equal(f->text, text);
    assert_int_equal(f->status, status);
    fake_call_free(f);
}

static struct fake_call *lock(const char *name, int64_t lease)
{
    V3lockpb__LockRequest m = V3LOCKPB__LOCK_REQUEST__INIT;
    m.name = bytes_of(name);
    m.lease = lease;
    return start("/v3lockpb.Lock/Lock", &m);
}

static struct fake_call *unlock(const char *key)
{
    V3lockpb__UnlockRequest m = V3LOCKPB__UNLOCK_REQUEST__INIT;
    m.key = bytes_of(key);
    return start("/v3lockpb.Lock/Unlock", &m);
}

static struct fake_call *put(const char *key)
{
    Etcdserverpb__PutRequest m = ETCDSERVERPB__PUT_REQUEST__INIT;
    m.key = bytes_of(key);
    return start("/etcdserverpb.KV/Put", &m);
}

/* Returns the header's revision. */
static int64_t expect_lock(struct fake_call *f, const char *key)
{
    ended(f);
    assert_string_equal(f->text, "");
    assert_int_equal(f->count, 1);
    V3lockpb__LockResponse *r =
        v3lockpb__lock_response__unpack(NULL, f->messages[0].size, f->messages[0].data);
    assert_int_equal(r->key.len, strlen(key));
    assert_memory_equal(r->key.data, key, r->key.len);
    int64_t revision = r->header->revision;
    v3lockpb__lock_response__free_unpacked(r, NULL);
    fake_call_free(f);
    return revision;
}

static void grant(int64_t id)
{
    Etcdserverpb__LeaseGrantRequest m = ETCDSERVERPB__LEASE_GRANT_REQUEST__INIT;
    m.id = id;
    m.ttl = 1000;
    expect_end(start("/etcdserverpb.Lease/LeaseGrant", &m), 0, "");
}

static void end_lease(int64_t id)
{
    Etcdserverpb__LeaseRevokeRequest m = ETCDSERVERPB__LEASE_REVOKE_REQUEST__INIT;
    m.id = id;
    expect_end(start("/etcdserverpb.Lease/LeaseRevoke", &m), 0, "");
}

/* The existing keys, each followed by one blank. */
static const char *keys(void)
{
    static char text[512];
    struct arena a = {0};
    Etcdserverpb__RangeRequest m = ETCDSERVERPB__RANGE_REQUEST__INIT;
    Etcdserverpb__RangeResponse *r;
    static char first[] = "\0", end[] = "\0";
    m.key = (ProtobufCBinaryData){1, (uint8_t *)first};
    m.range_end = (ProtobufCBinaryData){1, (uint8_t *)end};
    int err = kv_range_now(node.kv, &m, &a, &r);
    assert_int_equal(err, OK);
    text[0] = 0;
    for (size_t i = 0; i < r->n_kvs; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%.*s ", (int)r->kvs[i]->key.len,
                 (const char *)r->kvs[i]->key.data);
    arena_done(&a);
    return text;
}

static bool keys_are(void *arg)
{
    return strcmp(keys(), arg) == 0;
}

static void wait_for_keys(const char *text)
{
    char wanted[512];
    snprintf(wanted, sizeof wanted, "%s", text);
    one_node_run(&node, keys_are, wanted);
}

/* --- Lock --------------------------------------------------------------------------------------------- */

static void a_free_lock_is_taken_at_once(void **state)
{
    (void)state;
    grant(51);
    assert_int_equal(expect_lock(lock("l", 51), "l/33"), 2);
    assert_int_equal(expect_lock(lock("l", 51), "l/33"), 2); /* once more: the same place */
    assert_int_equal(expect_lock(lock("", 51), "/33"), 3);
    expect_end(lock("l", 99), 2, "etcdserver: requested lease not found");
    expect_end(lock("l", -1), 2, "etcdserver: requested lease not found");
    expect_end(unlock("l/33"), 0, "");
    expect_end(unlock("l/33"), 0, "");
    expect_end(unlock(""), 2, "etcdserver: key is not provided");
    one_node_put(&node, "n/-ff", "", 0); /* Go writes a negative number in this way */
    expect_lock(lock("n", -255), "n/-ff");
    assert_string_equal(keys(), "/33 n/-ff ");
}

static void without_a_lease_it_gets_one(void **state)
{
    (void)state;
    struct fake_call *f = ended(lock("l", 0));
    assert_int_equal(f->status, 0);
    fake_call_free(f);
    Etcdserverpb__LeaseLeasesRequest m = ETCDSERVERPB__LEASE_LEASES_REQUEST__INIT;
    f = ended(start("/etcdserverpb.Lease/LeaseLeases", &m));
    Etcdserverpb__LeaseLeasesResponse *r =
        etcdserverpb__lease_leases_response__unpack(NULL, f->messages[0].size, f->messages[0].data);
    assert_int_equal(r->n_leases, 1);
    char key[64];
    snprintf(key, sizeof key, "l/%llx ", (unsigned long long)r->leases[0]->id);
    assert_string_equal(keys(), key);
    etcdserverpb__lease_leases_response__free_unpacked(r, NULL);
    fake_call_free(f);
}

static void they_come_in_the_order_of_their_keys(void **state)
{
    (void)state;
    struct fake_call *waiting[4];
    for (int i = 0; i < 5; i++)
        grant(0x10 + i);
    expect_lock(lock("l", 0x14), "l/14"); /* the name does not count, the age does */
    for (int i = 0; i < 4; i++) {
        waiting[i] = lock("l", 0x13 - i);
        static const char *const all[] = {"l/13 l/14 ", "l/12 l/13 l/14 ", "l/11 l/12 l/13 l/14 ",
                                          "l/10 l/11 l/12 l/13 l/14 "};
        wait_for_keys(all[i]);
    }
    expect_end(unlock("l/14"), 0, "");
    assert_int_equal(expect_lock(waiting[0], "l/13"), kv_revision(node.kv));
    fake_call_free(waiting[2]); /* ends: it was not its turn */
    wait_for_keys("l/10 l/12 l/13 ");
    one_node_run_ms(&node, 20);
    assert_false(waiting[1]->is_finished || waiting[3]->is_finished);
    end_lease(0x13); /* the holder is dead */
    expect_lock(waiting[1], "l/12");
    assert_false(waiting[3]->is_finished);
    expect_end(unlock("l/12"), 0, "");
    expect_lock(waiting[3], "l/10");
}

static void a_canceled_call_leaves_no_key(void **state)
{
    (void)state;
    grant(1);
    grant(2);
    expect_lock(lock("l", 1), "l/1");
    struct fake_call *f = lock("l", 2);
    wait_for_keys("l/1 l/2 ");
    one_node_run_ms(&node, 20);
    fake_call_free(f);
    wait_for_keys("l/1 ");
    /* Before the key exists: it is created, and deleted. */
    int64_t revision = kv_revision(node.kv);
    fake_call_free(lock("l", 2));
    one_node_run(&node, has_no_places, NULL);
    assert_string_equal(keys(), "l/1 ");
    assert_int_equal(kv_revision(node.kv), revision + 2);
    /* A place that existed before the call is the lock of another holder. */
    fake_call_free(lock("l", 1));
    one_node_run(&node, has_no_places, NULL);
    assert_string_equal(keys(), "l/1 ");
    /* Before there is a lease. */
    fake_call_free(lock("l", 0));
    one_node_run_ms(&node, 20);
    assert_string_equal(keys(), "l/1 ");
}

static void a_waiter_whose_lease_ends_gets_an_error(void **state)
{
    (void)state;
    grant(1);
    grant(2);
    grant(3);
    expect_lock(lock("l", 1), "l/1");
    struct fake_call *f = lock("l", 2);
    wait_for_keys("l/1 l/2 ");
    one_node_run_ms(&node, 20); /* it has read, and waits */
    end_lease(2);
    expect_end(f, 2, "mutex: session is expired");
    /* Deleted and put by another client: that is not the place that was taken. */
    f = lock("l", 3);
    wait_for_keys("l/1 l/3 ");
    one_node_run_ms(&node, 20);
    struct fake_call *gone = unlock("l/3"), *there = put("l/3");
    expect_end(f, 2, "mutex: session is expired");
    expect_end(gone, 0, "");
    expect_end(there, 0, "");
    assert_string_equal(keys(), "l/1 l/3 ");
}

static void keys_of_other_clients_stay(void **state)
{
    (void)state;
    grant(1);
    grant(2);
    expect_lock(lock("l", 1), "l/1");
    struct fake_call *f = lock("l", 2);
    wait_for_keys("l/1 l/2 ");
    struct fake_call *gone = unlock("l/2"), *there = put("l/2");
    fake_call_free(f);
    expect_end(gone, 0, "");
    expect_end(there, 0, "");
    one_node_run(&node, has_no_places, NULL);
    assert_string_equal(keys(), "l/1 l/2 ");
}

static void compaction_does_not_lose_a_waiter(void **state)
{
    (void)state;
    grant(1);
    grant(2);
    expect_lock(lock("l", 1), "l/1");
    struct fake_call *f = lock("l", 2);
    wait_for_keys("l/1 l/2 ");
    for (int i = 0; i < 50; i++)
        one_node_put(&node, "other", "x", 0);
    one_node_compact(&node, kv_revision(node.kv));
    expect_end(unlock("l/1"), 0, "");
    one_node_compact(&node, kv_revision(node.kv));
    expect_lock(f, "l/2");
}

static void places_are_limited(void **state)
{
    (void)state;
    grant(1);
    server.places = 16384;
    expect_end(lock("l", 1), 2, "etcdserver: too many requests");
    server.places = 16383;
    expect_lock(lock("l", 1), "l/1");
    server.places = 1;
    server.place_bytes = (64 << 20) - 100;
    expect_end(lock("l", 1), 2, "etcdserver: too many requests");
    server.places = server.place_bytes = 0;
}

static void a_draining_server_ends_waiting_calls(void **state)
{
    (void)state;
    grant(1);
    grant(2);
    expect_lock(lock("l", 1), "l/1");
    struct fake_call *f = lock("l", 2);
    wait_for_keys("l/1 l/2 ");
    rpc_server_drain(&server);
    expect_end(f, 14, "etcdserver: server stopped");
    wait_for_keys("l/1 ");
    expect_end(lock("l", 2), 14, "etcdserver: server stopped");
    expect_end(unlock("l/1"), 0, ""); /* a call that ends by itself is still served */
}

static void the_store_closes_under_a_leaver(void **state)
{
    (void)state;
    grant(1);
    grant(2);
    expect_lock(lock("l", 1), "l/1");
    struct fake_call *f = lock("l", 2);
    wait_for_keys("l/1 l/2 ");
    fake_call_free(f); /* and at once, without a turn: */
    one_node_close(&node);
    assert_int_equal(server.places, 0);
    one_node_open(&node);
    server.kv = node.kv;
}

/* --- Election ------------------------------------------------------------------------------------------ */

static struct fake_call *campaign(const char *name, int64_t lease_id, const char *value)
{
    V3electionpb__CampaignRequest m = V3ELECTIONPB__CAMPAIGN_REQUEST__INIT;
    m.name = bytes_of(name);
    m.lease = lease_id;
    m.value = bytes_of(value);
    return start("/v3electionpb.Election/Campaign", &m);
}

struct leader_key {
    char key[64];
    int64_t rev, lease, header;
};

static struct leader_key expect_elected(struct fake_call *f)
{
    struct leader_key k;
    ended(f);
    assert_string_equal(f->text, "");
    V3electionpb__CampaignResponse *r =
        v3electionpb__campaign_response__unpack(NULL, f->messages[0].size, f->messages[0].data);
    assert_int_equal(r->leader->name.len, 1);
    snprintf(k.key, sizeof k.key, "%.*s", (int)r->leader->key.len, (const char *)r->leader->key.data);
    k.rev = r->leader->rev;
    k.lease = r->leader->lease;
    k.header = r->header->revision;
    v3electionpb__campaign_response__free_unpacked(r, NULL);
    fake_call_free(f);
    return k;
}

static struct fake_call *proclaim(const struct leader_key *k, const char *value)
{
    V3electionpb__ProclaimRequest m = V3ELECTIONPB__PROCLAIM_REQUEST__INIT;
    V3electionpb__LeaderKey leader = V3ELECTIONPB__LEADER_KEY__INIT;
    if (k) {
        leader.key = bytes_of(k->key);
        leader.rev = k->rev;
        leader.lease = k->lease;
        m.leader = &leader;
    }
    m.value = bytes_of(value);
    return start("/v3electionpb.Election/Proclaim", &m);
}

static struct fake_call *resign(const struct leader_key *k)
{
    V3electionpb__ResignRequest m = V3ELECTIONPB__RESIGN_REQUEST__INIT;
    V3electionpb__LeaderKey leader = V3ELECTIONPB__LEADER_KEY__INIT;
    if (k) {
        leader.key = bytes_of(k->key);
        leader.rev = k->rev;
        leader.lease = k->lease;
        m.leader = &leader;
    }
    return start("/v3electionpb.Election/Resign", &m);
}

static struct fake_call *ask_leader(const char *method, const char *name)
{
    V3electionpb__LeaderRequest m = V3ELECTIONPB__LEADER_REQUEST__INIT;
    m.name = bytes_of(name);
    return start(method, &m);
}

/* A LeaderResponse as "key=value@mod revision/header's revision" begins with the text: events that waited
 * together come with the header of the last. */
static void expect_leader(struct fake_call *f, size_t at, const char *text)
{
    char seen[128] = "";
    assert_true(at < f->count);
    V3electionpb__LeaderResponse *r =
        v3electionpb__leader_response__unpack(NULL, f->messages[at].size, f->messages[at].data);
    snprintf(seen, sizeof seen, "%.*s=%.*s@%lld/%lld", (int)r->kv->key.len, (const char *)r->kv->key.data,
             (int)r->kv->value.len, (const char *)r->kv->value.data, (long long)r->kv->mod_revision,
             (long long)r->header->revision);
    v3electionpb__leader_response__free_unpacked(r, NULL);
    seen[strlen(text)] = 0;
    assert_string_equal(seen, text);
}

static void one_is_elected_after_the_other(void **state)
{
    (void)state;
    grant(1);
    grant(2);
    expect_end(ask_leader("/v3electionpb.Election/Leader", "e"), 2, "election: no leader");
    struct leader_key one = expect_elected(campaign("e", 1, "a"));
    assert_string_equal(one.key, "e/1");
    assert_true(one.rev == 2 && one.header == 2 && one.lease == 1);
    /* The same again: only the value changes; the answer has the earlier header. */
    one = expect_elected(campaign("e", 1, "b"));
    assert_true(one.rev == 2 && one.header == 2);
    struct fake_call *f = ended(ask_leader("/v3electionpb.Election/Leader", "e"));
    expect_leader(f, 0, "e/1=b@3/3");
    fake_call_free(f);
    f = campaign("e", 2, "c");
    wait_for_keys("e/1 e/2 ");
    expect_end(proclaim(&one, "d"), 0, "");
    struct leader_key stale = one;
    stale.rev--;
    expect_end(proclaim(&stale, "x"), 2, "election: not leader");
    expect_end(proclaim(NULL, "x"), 2, "\"leader\" field must be provided");
    expect_end(resign(NULL), 2, "\"leader\" field must be provided");
    expect_end(resign(&stale), 0, ""); /* nothing to resign from */
    assert_false(f->is_finished);
    expect_end(resign(&one), 0, "");
    struct leader_key two = expect_elected(f);
    assert_true(two.rev == 4 && two.header == 4); /* as of joining */
    expect_end(proclaim(&one, "x"), 2, "election: not leader");
    /* A candidate whose lease ends is not elected. */
    f = campaign("e", 1, "again");
    wait_for_keys("e/1 e/2 ");
    end_lease(1);
    expect_end(f, 2, "election: not leader");
    /* Without a lease the leader's key gets one. */
    two.lease = 0;
    expect_end(proclaim(&two, "y"), 0, "");
    end_lease(2);
    assert_string_equal(keys(), "e/2 ");
}

static void a_canceled_candidate_resigns(void **state)
{
    (void)state;
    grant(1);
    grant(2);
    expect_elected(campaign("e", 1, "a"));
    struct fake_call *f = campaign("e", 2, "b");
    wait_for_keys("e/1 e/2 ");
    fake_call_free(f);
    wait_for_keys("e/1 ");
}

static bool has_count(void *arg)
{
    return ((struct fake_call *)arg)->count >= ((struct fake_call *)arg)->congested_at;
}

/* congested_at is also the number of awaited messages: the call takes no more until it is raised. */
static void wait_for_count(struct fake_call *f, size_t count)
{
    f->congested_at = count;
    rpc_writable(&f->call);
    one_node_run(&node, has_count, f);
    assert_int_equal(f->count, count);
}

static void observers_see_leaders_and_their_values(void **state)
{
    (void)state;
    grant(1);
    grant(2);
    struct fake_call *f = ask_leader("/v3electionpb.Election/Observe", "e");
    one_node_run_ms(&node, 20); /* there is no leader */
    assert_int_equal(f->count, 0);
    struct leader_key one = expect_elected(campaign("e", 1, "a"));
    wait_for_count(f, 1);
    expect_leader(f, 0, "e/1=a@2/2");
    expect_end(proclaim(&one, "b"), 0, "");
    wait_for_count(f, 2);
    expect_leader(f, 1, "e/1=b@3/3");
    struct fake_call *next = campaign("e", 2, "c");
    wait_for_keys("e/1 e/2 ");
    one_node_put(&node, "other", "x", 0);
    expect_end(resign(&one), 0, "");
    struct leader_key two = expect_elected(next);
    wait_for_count(f, 3);
    expect_leader(f, 2, "e/2=c@4/6");
    /* The client does not read: nothing is sent, nothing is lost. */
    expect_end(proclaim(&two, "d"), 0, "");
    expect_end(proclaim(&two, "f"), 0, "");
    one_node_run_ms(&node, 20);
    assert_int_equal(f->count, 3);
    wait_for_count(f, 5);
    expect_leader(f, 3, "e/2=d@7/");
    expect_leader(f, 4, "e/2=f@8/8");
    end_lease(2);
    one_node_run_ms(&node, 20);
    expect_elected(campaign("e", 1, "g"));
    wait_for_count(f, 6);
    expect_leader(f, 5, "e/1=g@10/10");
    /* A later observer begins with the present leader. */
    struct fake_call *late = ask_leader("/v3electionpb.Election/Observe", "e");
    wait_for_count(late, 1);
    expect_leader(late, 0, "e/1=g@10/10");
    fake_call_free(late);
    fake_call_free(ask_leader("/v3electionpb.Election/Observe", "e")); /* canceled before it has read */
    rpc_server_drain(&server);
    expect_end(f, 14, "etcdserver: server stopped");
}

static void an_observer_behind_a_compaction_continues(void **state)
{
    (void)state;
    grant(1);
    struct leader_key one = expect_elected(campaign("e", 1, "a"));
    struct fake_call *f = ask_leader("/v3electionpb.Election/Observe", "e");
    wait_for_count(f, 1);
    char *value = mem_new(65536);
    memset(value, 'v', 65535);
    for (int i = 0; i < 80; i++) /* more than a stream queues: its watch falls behind */
        expect_end(proclaim(&one, value), 0, "");
    mem_free(value);
    one_node_compact(&node, kv_revision(node.kv));
    f->congested_at = 0;
    rpc_writable(&f->call);
    expect_end(proclaim(&one, "last"), 0, "");
    size_t count = 0;
    while (count != f->count) {
        count = f->count;
        one_node_run_ms(&node, 20);
    }
    char text[64];
    snprintf(text, sizeof text, "e/1=last@%lld/%lld", (long long)kv_revision(node.kv),
             (long long)kv_revision(node.kv));
    expect_leader(f, f->count - 1, text);
    fake_call_free(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_free_lock_is_taken_at_once),
        TEST(without_a_lease_it_gets_one),
        TEST(they_come_in_the_order_of_their_keys),
        TEST(a_canceled_call_leaves_no_key),
        TEST(a_waiter_whose_lease_ends_gets_an_error),
        TEST(keys_of_other_clients_stay),
        TEST(compaction_does_not_lose_a_waiter),
        TEST(places_are_limited),
        TEST(a_draining_server_ends_waiting_calls),
        TEST(the_store_closes_under_a_leaver),
        TEST(one_is_elected_after_the_other),
        TEST(a_canceled_candidate_resigns),
        TEST(observers_see_leaders_and_their_values),
        TEST(an_observer_behind_a_compaction_continues),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
