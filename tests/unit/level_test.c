/* SPDX-License-Identifier: Apache-2.0
 * Tests of the cluster's feature level. A member that reads an entry which it does not know stops and loses
 * nothing. Nothing new is proposed before every member understands it. A downgrade lets older members join.
 */
#include "tests/unit/cluster_world.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "consensus/kv/kv_impl.h"
#include "proto/internal.pb-c.h"

enum { OLD = FEATURE_LEVEL_FIRST, THIS = FEATURE_LEVEL_LAST, NEW = FEATURE_LEVEL_TRIAL };

static int setup(void **state)
{
    (void)state;
    log_set_level(LOG_FATAL);
    world_check_interval_ms = 2000; /* a difference would be detected */
    return 0;
}

static int reset(void **state)
{
    (void)state;
    world_catchup_entries = 5000;
    return 0;
}

/* A cluster whose members have these levels. */
static struct world *cluster(unsigned count, const unsigned *levels)
{
    struct world *w = world_new(0);
    w->bootstrap = count;
    for (unsigned i = 0; i < count; i++) {
        w->machines[i].feature_level = levels[i];
        machine_start(&w->machines[i], false);
    }
    world_wait_for_leader(w);
    return w;
}

static unsigned level(const struct machine *m)
{
    return kv_feature_level(m->kv);
}

/* Waits until every running member shows this level. */
static void expect_level(struct world *w, unsigned expected)
{
    unsigned wrong = 1;
    for (unsigned round = 0; wrong && round < 100; round++) {
        world_run_ms(w, 100);
        wrong = 0;
        for (unsigned i = 0; i < WORLD_MACHINES; i++)
            wrong += w->machines[i].kv && level(&w->machines[i]) != expected;
    }
    assert_int_equal(wrong, 0);
}

static void restart_as(struct machine *m, unsigned feature_level)
{
    machine_stop(m);
    m->feature_level = feature_level;
    machine_start(m, false);
}

/* A Put of the kind that only a version of level NEW proposes. */
static int put_new(struct machine *m, const char *key, const char *value)
{
    struct question q = {.request.done = question_on_done};
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = world_bytes(key);
    put.value = world_bytes(value);
    kv_start_write(m->kv, &q.request, KV_PUT, ENTRY_TRIAL, &put.base, OK);
    world_wait_for(m->world, &q);
    int err = q.err;
    question_done(&q);
    return err;
}

static int downgrade(struct machine *m, bool is_enabled, const char *version)
{
    struct question q = {.request.done = question_on_done};
    Etcdserverpb__DowngradeInfoSetRequest set = ETCDSERVERPB__DOWNGRADE_INFO_SET_REQUEST__INIT;
    char ver[16];
    snprintf(ver, sizeof ver, "%s", version);
    set.enabled = is_enabled;
    set.ver = ver;
    kv_downgrade(m->kv, &q.request, &set);
    world_wait_for(m->world, &q);
    int err = q.err;
    question_done(&q);
    return err;
}

/* Bytes of an InternalRaftRequest: a header {ID: 7}, then these. */
static struct blob *raw_entry(const uint8_t *bytes, size_t size)
{
    static const uint8_t header[] = {0xa2, 0x06, 0x02, 0x08, 0x07};
    struct blob *b = blob_new(sizeof header + size);
    memcpy(b->data, header, sizeof header);
    memcpy(b->data + sizeof header, bytes, size);
    return b;
}

#define RAW(...) raw_entry((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

/* --- entries that a member does not know ------------------------------------------------------------ */

static void an_unknown_entry_stops_the_member(void **state)
{
    (void)state;
    struct world *w = world_new(1);
    struct machine *m = world_wait_for_leader(w);
    expect_level(w, THIS);
    assert_int_equal(world_put(m, "before", "1", 0), OK);
    uint64_t applied = store_applied_index(m->kv->store);
    assert_int_equal(node_propose(m->kv->node, RAW(0xfa, 0xe7, 0x07, 3, 'n', 'e', 'w')), OK); /* 15999 */
    world_run_ms(w, 500);
    assert_int_equal(store_applied_index(m->kv->store), applied);
    assert_int_equal(kv_failed(m->kv), ERR_LEVEL);
    assert_non_null(strstr(kv_failed_at(m->kv), "15999"));
    assert_non_null(strstr(kv_failed_at(m->kv), "start a newer version of cairnd"));
    machine_stop(m);
    machine_start(m, false); /* the same build stops at the same place */
    world_run_ms(w, 3000);
    assert_int_equal(kv_failed(m->kv), ERR_LEVEL);
    assert_int_equal(store_applied_index(m->kv->store), applied);
    world_free(w);
}

/* A header's field may restrict the effect of an entry: if a member skipped it, members would differ. */
static void an_unknown_field_of_the_header_stops_the_member(void **state)
{
    static const uint8_t bytes[] = {0xa2, 0x06, 5, 0x08, 7, 0xf8, 0x01, 1 /* 31 */, 0x22, 3, 0x0a, 1, 'k'};
    (void)state;
    struct world *w = world_new(1);
    struct machine *m = world_wait_for_leader(w);
    struct blob *b = blob_new(sizeof bytes);
    memcpy(b->data, bytes, sizeof bytes);
    assert_int_equal(node_propose(m->kv->node, b), OK);
    world_run_ms(w, 500);
    assert_int_equal(kv_failed(m->kv), ERR_LEVEL);
    assert_non_null(strstr(kv_failed_at(m->kv), "kind 31"));
    world_free(w);
}

static void skippable_fields_are_skipped(void **state)
{
    (void)state;
    struct world *w = world_new(1);
    struct machine *m = world_wait_for_leader(w);
    expect_level(w, THIS);
    uint64_t applied = store_applied_index(m->kv->store);
    assert_int_equal(node_propose(m->kv->node, RAW(0x82, 0xeb, 0x06, 1, 'x')), OK); /* 14000 */
    assert_int_equal(node_propose(m->kv->node, RAW(0x1a, 0)), OK);                  /* etcd's range */
    assert_int_equal(node_propose(m->kv->node, RAW(0xe2, 0xea, 0x04, 0)), OK); /* downgrade_version_test */
    world_run_ms(w, 500);
    assert_int_equal(kv_failed(m->kv), OK);
    assert_int_equal(store_applied_index(m->kv->store), applied + 3);
    world_free(w);
}

/* Clients may send unknown fields; they reach the log with the request and must stop no member. */
static void an_unknown_field_of_a_client_stops_no_member(void **state)
{
    (void)state;
    struct world *w = world_new(1);
    struct machine *m = world_wait_for_leader(w);
    expect_level(w, THIS);
    assert_int_equal(node_propose(m->kv->node, RAW(0x22, 9, 0x0a, 1, 'k', 0x12, 1, 'v', 0x98, 0x06, 1)), OK);
    world_run_ms(w, 500);
    assert_int_equal(kv_failed(m->kv), OK);
    world_expect(m, "k", "v");
    world_free(w);
}

/* --- the level ------------------------------------------------------------------------------------------ */

static void the_least_of_all_rules(void **state)
{
    (void)state;
    struct world *w = cluster(3, (unsigned[]){NEW, THIS, NEW});
    expect_level(w, THIS);
    world_run_ms(w, 10000);
    expect_level(w, THIS);
    assert_int_equal(put_new(world_leader(w), "k", "new"), ERR_NOT_CAPABLE);
    restart_as(&w->machines[1], NEW);
    world_wait_for_leader(w);
    expect_level(w, NEW);
    assert_int_equal(put_new(world_leader(w), "k", "new"), OK);
    for (unsigned i = 0; i < 3; i++)
        world_expect(&w->machines[i], "k", "new");
    world_run_ms(w, 6000);
    world_expect_equal_stores(w);
    world_free(w);
}

/* The leader cannot know the level of an unreachable member, nor of one that joins. */
static void a_silent_member_keeps_the_level(void **state)
{
    (void)state;
    struct world *w = world_new(0);
    w->bootstrap = 3;
    machine_start(&w->machines[0], false);
    machine_start(&w->machines[1], false);
    world_wait_for_leader(w);
    world_run_ms(w, 10000);
    assert_int_equal(level(world_leader(w)), OLD);
    machine_start(&w->machines[2], false);
    expect_level(w, THIS);
    world_free(w);
}

/* It was down when the level was raised, and restarts with its old build. */
static void an_old_member_stops_and_continues_with_a_new_build(void **state)
{
    char error[400] = "";
    (void)state;
    struct world *w = cluster(3, (unsigned[]){NEW, NEW, NEW});
    expect_level(w, NEW);
    struct machine *old = world_follower(w);
    machine_stop(old);
    old->feature_level = THIS;
    assert_false(machine_try_start(old, NULL, error, sizeof error));
    assert_non_null(strstr(error, "needs feature level"));
    assert_non_null(strstr(error, "start cairnd trial or later"));
    old->feature_level = NEW;
    machine_start(old, false);
    world_wait_for_leader(w);
    assert_int_equal(put_new(world_leader(w), "k", "new"), OK);
    world_expect(old, "k", "new");
    world_free(w);
}

/* The raise reaches it through the log: it stops before the raise, and applies nothing after it. */
static void an_old_member_stops_at_the_raise(void **state)
{
    (void)state;
    struct world *w = cluster(3, (unsigned[]){NEW, NEW, THIS});
    struct machine *old = &w->machines[2];
    expect_level(w, THIS);
    Etcdserverpb__ClusterVersionSetRequest m = ETCDSERVERPB__CLUSTER_VERSION_SET_REQUEST__INIT;
    uint64_t ids[3];
    char ver[] = "3.7.0", version[] = "9.9.9";
    for (unsigned i = 0; i < 3; i++)
        ids[i] = kv_member_id(w->machines[i].kv);
    m.ver = ver;
    m.level = NEW;
    m.version = version;
    m.members = ids;
    m.n_members = 3;
    assert_int_equal(kv_propose(world_leader(w)->kv, ENTRY_CLUSTER_VERSION, &m.base), OK);
    world_run_ms(w, 1000);
    assert_int_equal(kv_failed(old->kv), ERR_LEVEL);
    assert_non_null(strstr(kv_failed_at(old->kv), "start cairnd 9.9.9 or later"));
    assert_int_equal(level(old), THIS);
    machine_stop(old);
    world_wait_for_leader(w);
    assert_int_equal(put_new(world_leader(w), "k", "new"), OK);
    machine_start(old, false); /* again too old: it stops again */
    world_run_ms(w, 3000);
    assert_int_equal(kv_failed(old->kv), ERR_LEVEL);
    restart_as(old, NEW);
    world_wait_for_leader(w);
    world_expect(old, "k", "new");
    world_expect_equal_stores(w);
    world_free(w);
}

/* A raise is void when a member joined after the leader's query. */
static void a_raise_names_every_member(void **state)
{
    (void)state;
    struct world *w = cluster(3, (unsigned[]){NEW, NEW, THIS});
    expect_level(w, THIS);
    Etcdserverpb__ClusterVersionSetRequest m = ETCDSERVERPB__CLUSTER_VERSION_SET_REQUEST__INIT;
    uint64_t ids[2] = {kv_member_id(w->machines[0].kv), kv_member_id(w->machines[1].kv)};
    char ver[] = "3.7.0";
    m.ver = ver;
    m.level = NEW;
    m.members = ids;
    m.n_members = 2;
    struct machine *leader = world_leader(w);
    if (leader == &w->machines[2])
        leader = &w->machines[0];
    machine_stop(&w->machines[2]);
    world_wait_for_leader(w);
    assert_int_equal(kv_propose(world_leader(w)->kv, ENTRY_CLUSTER_VERSION, &m.base), OK);
    world_run_ms(w, 2000);
    expect_level(w, THIS);
    world_free(w);
}

/* An entry of a higher level than the cluster's is skipped: it was proposed before the level went down. */
static void an_entry_above_the_level_is_void_for_all(void **state)
{
    (void)state;
    struct world *w = cluster(3, (unsigned[]){NEW, THIS, NEW});
    expect_level(w, THIS);
    Etcdserverpb__PutRequest put = ETCDSERVERPB__PUT_REQUEST__INIT;
    put.key = world_bytes("k");
    put.value = world_bytes("new");
    assert_int_equal(kv_propose(w->machines[0].kv, ENTRY_TRIAL, &put.base), OK);
    world_run_ms(w, 1000);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(kv_failed(w->machines[i].kv), OK);
        world_expect(&w->machines[i], "k", "");
    }
    world_expect_equal_stores(w);
    world_free(w);
}

static void a_snapshot_brings_the_level(void **state)
{
    char value[16];
    (void)state;
    world_catchup_entries = 5;
    struct world *w = cluster(3, (unsigned[]){NEW, THIS, NEW});
    expect_level(w, THIS);
    struct machine *behind = &w->machines[2];
    machine_stop(behind);
    restart_as(&w->machines[1], NEW);
    world_wait_for_leader(w);
    /* The unreachable member would keep the level: the test acts as if it had answered before it was lost. */
    Etcdserverpb__ClusterVersionSetRequest m = ETCDSERVERPB__CLUSTER_VERSION_SET_REQUEST__INIT;
    uint64_t ids[3];
    char ver[] = "3.7.0", version[] = "9.9.9";
    for (unsigned i = 0; i < 3; i++)
        ids[i] = w->machines[0].kv->members.list[i].id;
    m.ver = ver;
    m.level = NEW;
    m.version = version;
    m.members = ids;
    m.n_members = 3;
    assert_int_equal(kv_propose(world_leader(w)->kv, ENTRY_CLUSTER_VERSION, &m.base), OK);
    world_run_ms(w, 500);
    for (int i = 0; i < 3000; i++) { /* the log is compacted 1,000 entries at a time */
        snprintf(value, sizeof value, "%d", i);
        if (i % 100 == 0)
            assert_int_equal(put_new(world_leader(w), "k", value), OK);
        else
            assert_int_equal(world_put(world_leader(w), "k", value, 0), OK);
    }
    behind->feature_level = NEW;
    machine_start(behind, false);
    world_run_ms(w, 5000);
    assert_int_equal(level(behind), NEW);
    assert_int_equal(put_new(world_leader(w), "k", "behind"), OK);
    world_expect(behind, "k", "behind");
    world_expect_equal_stores(w);
    world_free(w);
}

/* --- downgrade ------------------------------------------------------------------------------------------ */

static void expect_version(struct world *w, const char *version)
{
    struct arena a = {0};
    for (unsigned i = 0; i < WORLD_MACHINES; i++)
        if (w->machines[i].kv)
            assert_string_equal(kv_cluster_version(w->machines[i].kv, &a), version);
    arena_done(&a);
}

static void a_downgrade_makes_room_for_older_members(void **state)
{
    (void)state;
    struct world *w = cluster(3, (unsigned[]){NEW, NEW, NEW});
    expect_level(w, NEW);
    expect_version(w, "3.7.0");
    assert_int_equal(put_new(world_leader(w), "k", "1"), OK);
    assert_int_equal(downgrade(world_leader(w), true, "3.5.0"), ERR_DOWNGRADE_TARGET);
    assert_int_equal(downgrade(world_leader(w), false, ""), ERR_NO_INFLIGHT_DOWNGRADE);
    assert_int_equal(downgrade(world_follower(w), true, "3.6.0"), OK);
    expect_level(w, THIS);
    expect_version(w, "3.6.0");
    assert_int_equal(kv_check_downgrade(w->machines[0].kv, 3, 6), ERR_DOWNGRADE_TARGET);
    assert_int_equal(kv_check_downgrade(w->machines[0].kv, 3, 5), ERR_DOWNGRADE_IN_PROCESS);
    assert_int_equal(put_new(world_leader(w), "k", "2"), ERR_NOT_CAPABLE);
    for (unsigned i = 0; i < 3; i++) {
        restart_as(&w->machines[i], THIS);
        world_wait_for_leader(w);
        assert_int_equal(world_put(world_leader(w), "n", "1", 0), OK);
    }
    for (unsigned i = 0; i < 100 && w->machines[0].kv->feature_level.state.target_minor; i++)
        world_run_ms(w, 100);
    assert_int_equal(w->machines[0].kv->feature_level.state.target_minor, 0); /* all are as expected */
    world_run_ms(w, 6000);
    expect_level(w, THIS);
    for (unsigned i = 0; i < 3; i++) {
        restart_as(&w->machines[i], NEW);
        world_wait_for_leader(w);
    }
    expect_level(w, NEW);
    expect_version(w, "3.7.0");
    world_expect(world_leader(w), "k", "1");
    world_expect_equal_stores(w);
    world_free(w);
}

/* Levels of one version number fall together: members of the earlier version know none of them. */
static void a_downgrade_leads_below_all_levels_of_the_version(void **state)
{
    (void)state;
    assert_int_equal(feature_level_below(NEW), THIS);
    assert_int_equal(feature_level_below(THIS), OLD);
    assert_int_equal(feature_level_below(OLD), OLD);
}

static void a_downgrade_is_cancelled(void **state)
{
    (void)state;
    struct world *w = cluster(3, (unsigned[]){THIS, THIS, THIS});
    expect_level(w, THIS);
    assert_int_equal(downgrade(world_leader(w), true, "3.6.0"), OK);
    expect_level(w, OLD);
    expect_version(w, "3.6.0");
    world_run_ms(w, 10000);
    expect_level(w, OLD);
    assert_int_equal(downgrade(world_leader(w), false, ""), OK);
    expect_level(w, THIS);
    expect_version(w, "3.7.0");
    assert_int_equal(downgrade(world_leader(w), false, ""), ERR_NO_INFLIGHT_DOWNGRADE);
    world_free(w);
}

/* --- joining -------------------------------------------------------------------------------------------- */

static void an_older_member_gets_the_reason_of_its_refusal(void **state)
{
    (void)state;
    struct world *w = cluster(1, (unsigned[]){NEW});
    struct kv *kv = w->machines[0].kv;
    expect_level(w, NEW);
    assert_null(kv_feature_refusal(kv, NEW));
    assert_non_null(strstr(kv_feature_refusal(kv, THIS), "start a newer version"));
    assert_non_null(strstr(kv_feature_refusal(kv, 0), "this member has level 1"));
    world_free(w);
}

/* --- the form in the store ------------------------------------------------------------------------------ */

static void the_state_is_written_and_read(void **state)
{
    (void)state;
    struct feature_state in = {.level = 3, .minor = 7, .target_minor = 6, .version = "1.2.3"}, out;
    struct buf b = {0};
    feature_state_write(&b, &in);
    assert_int_equal(feature_state_read(buf_slice(&b), &out), OK);
    assert_true(out.level == 3 && out.minor == 7 && out.target_minor == 6);
    assert_string_equal(out.version, "1.2.3");
    for (size_t size = 0; size < 8; size++)
        assert_int_equal(feature_state_read(slice_of(b.data, size), &out), ERR_MALFORMED);
    b.data[0] = 2;
    assert_int_equal(feature_state_read(buf_slice(&b), &out), ERR_LEVEL);
    buf_done(&b);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, reset)
    const struct CMUnitTest tests[] = {
        TEST(an_unknown_entry_stops_the_member),
        TEST(an_unknown_field_of_the_header_stops_the_member),
        TEST(skippable_fields_are_skipped),
        TEST(an_unknown_field_of_a_client_stops_no_member),
        TEST(the_least_of_all_rules),
        TEST(a_silent_member_keeps_the_level),
        TEST(an_old_member_stops_and_continues_with_a_new_build),
        TEST(an_old_member_stops_at_the_raise),
        TEST(a_raise_names_every_member),
        TEST(an_entry_above_the_level_is_void_for_all),
        TEST(a_snapshot_brings_the_level),
        TEST(a_downgrade_makes_room_for_older_members),
        TEST(a_downgrade_leads_below_all_levels_of_the_version),
        TEST(a_downgrade_is_cancelled),
        TEST(an_older_member_gets_the_reason_of_its_refusal),
        TEST(the_state_is_written_and_read),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
