/* SPDX-License-Identifier: Apache-2.0
 * The cluster's feature level on one member: what it does with entries of other levels, and how a leader
 * raises and lowers the level. The answers of the other members come from the test. level_test has it between
 * real members. */
#define KV_PARTS_REAL_FEATURE_LEVEL
#include <stdio.h>

#include "kv_parts.h"

enum { FIRST = FEATURE_LEVEL_FIRST, LAST = FEATURE_LEVEL_LAST, NEWER = FEATURE_LEVEL_TRIAL };
enum { MINOR = FEATURE_ETCD_MINOR, CHECK_MS = 4000, RETRY_MS = 1000, ANSWER_SIZE = 5 };

/* --- the store, the node, the transport ------------------------------------------------------------------- */

static struct {
    struct buf saved; /* empty = nothing is in the store */
    unsigned saves, stops, questions, cancels;
    unsigned own, required; /* set_level */
    struct kv_member_rpc *rpc;
    void (*handler)(void *arg, struct kv_member_request *q, struct slice question);
    uint8_t answer[ANSWER_SIZE];
    int get_err;
} fake;

int store_get(struct store *s, enum backend_table table, struct slice key, struct arena *a,
              struct slice *ret_value)
{
    (void)s;
    assert_int_equal(table, BACKEND_META);
    assert_true(slice_equal(key, slice_text("feature")));
    if (fake.get_err)
        return fake.get_err;
    if (!fake.saved.size)
        return ERR_NOT_FOUND;
    *ret_value = slice_of(arena_copy(a, fake.saved.data, fake.saved.size), fake.saved.size);
    return OK;
}

void store_set(struct store *s, enum backend_table table, struct slice key, struct slice value)
{
    (void)s;
    (void)table;
    (void)key;
    fake.saves++;
    buf_clear(&fake.saved);
    buf_add(&fake.saved, value.data, value.size);
}

void node_stop(struct node *n)
{
    (void)n;
    fake.stops++;
}

static void set_level(struct peers *p, unsigned own, unsigned required)
{
    (void)p;
    fake.own = own;
    fake.required = required;
}

void kv_member_rpc_handle(struct kv *kv, unsigned topic,
                          void (*fn)(void *arg, struct kv_member_request *q, struct slice question),
                          void *arg)
{
    assert_int_equal(topic, KV_TOPIC_LEVEL);
    assert_true(!fn || arg == kv);
    fake.handler = fn;
}

void kv_member_rpc_to_all(struct kv *kv, struct kv_member_rpc *a, unsigned topic, struct slice question,
                          uint64_t timeout_ms)
{
    (void)kv;
    (void)question;
    assert_int_equal(topic, KV_TOPIC_LEVEL);
    assert_int_equal(timeout_ms, 1000);
    fake.questions++;
    fake.rpc = a;
}

void kv_member_rpc_cancel(struct kv *kv, struct kv_member_rpc *a)
{
    (void)kv;
    assert_ptr_equal(a, fake.rpc);
    fake.cancels++;
}

void kv_member_request_answer(struct kv *kv, struct kv_member_request *q, struct slice answer)
{
    (void)kv;
    (void)q;
    assert_int_equal(answer.size, ANSWER_SIZE);
    memcpy(fake.answer, answer.data, ANSWER_SIZE);
}

/* --- a member ------------------------------------------------------------------------------------------------ */

static void save(unsigned level, unsigned minor, unsigned target)
{
    struct feature_state s = {.level = level, .minor = minor, .target_minor = target, .version = "9.9.9"};
    buf_clear(&fake.saved);
    feature_state_write(&fake.saved, &s);
}

static struct kv *start(unsigned max)
{
    buf_done(&fake.saved);
    struct kv *kv = parts_start();
    memset(&fake, 0, sizeof fake);
    parts.peer_ops.set_level = set_level;
    kv_feature_open(kv, max);
    return kv;
}

/* A leader of three members in a cluster of this state. */
static struct kv *start_leader(unsigned level, unsigned minor, unsigned target)
{
    struct kv *kv = start(LAST);
    save(level, minor, target);
    assert_int_equal(kv_feature_load(kv), OK);
    parts_set_leader(PARTS_SELF);
    return kv;
}

static void answer(uint64_t member, unsigned level)
{
    uint8_t bytes[ANSWER_SIZE] = {1};
    put_le32(bytes + 1, level);
    fake.rpc->on_answer(fake.rpc, member, slice_of(bytes, sizeof bytes));
}

static void end_round(struct kv *kv, unsigned level_of_1, unsigned level_of_3)
{
    kv_feature_tick(kv);
    assert_non_null(fake.rpc);
    if (level_of_1)
        answer(1, level_of_1);
    if (level_of_3)
        answer(3, level_of_3);
    fake.rpc->done(fake.rpc, 2, 2);
}

static void assert_state(const struct kv *kv, unsigned level, unsigned minor, unsigned target)
{
    struct feature_state s;
    assert_int_equal(kv_feature_level(kv), level);
    assert_int_equal(kv->feature_level.state.minor, minor);
    assert_int_equal(kv_feature_target_minor(kv), target);
    assert_int_equal(feature_state_read(buf_slice(&fake.saved), &s), OK);
    assert_int_equal(s.level, level);
    assert_int_equal(s.minor, minor);
    assert_int_equal(s.target_minor, target);
    assert_int_equal(fake.required, level);
}

static void assert_version_proposed(size_t n, unsigned level, const char *version, size_t member_count)
{
    const Etcdserverpb__ClusterVersionSetRequest *m = parts_proposed(n, ENTRY_CLUSTER_VERSION);
    assert_true(parts.proposals[n].is_as_leader);
    assert_int_equal(m->level, level);
    assert_string_equal(m->ver, version);
    assert_int_equal(m->n_members, member_count);
}

/* --- the start ------------------------------------------------------------------------------------------------- */

static void test_load(void **state)
{
    (void)state;
    struct kv *kv = start(LAST);
    assert_int_equal(kv_feature_load(kv), OK); /* nothing is saved: the first level */
    assert_int_equal(kv_feature_level(kv), FIRST);
    assert_int_equal(fake.own, LAST);
    assert_int_equal(fake.required, FIRST);
    save(LAST, MINOR, MINOR - 1);
    assert_int_equal(kv_feature_load(kv), OK);
    assert_state(kv, LAST, MINOR, MINOR - 1);
    struct arena a = {0};
    assert_string_equal(kv_cluster_version(kv, &a), "3.7.0");
    arena_done(&a);
}

static void test_load_refuses(void **state)
{
    (void)state;
    struct kv *kv = start(LAST);
    save(NEWER, MINOR, 0);
    assert_int_equal(kv_feature_load(kv), ERR_LEVEL);
    assert_non_null(strstr(kv_feature_text(kv), "start cairnd 9.9.9 or later"));
    assert_int_equal(fake.own, 0); /* nothing is announced */
    kv = start(LAST);
    buf_add_text(&fake.saved, "\x7fnewer form");
    assert_int_equal(kv_feature_load(kv), ERR_LEVEL);
    assert_non_null(strstr(kv_feature_text(kv), "a newer version of cairnd"));
    kv = start(LAST);
    buf_add_text(&fake.saved, "\1");
    assert_int_equal(kv_feature_load(kv), ERR_MALFORMED);
    fake.get_err = ERR_IO;
    assert_int_equal(kv_feature_load(kv), ERR_IO);
}

/* --- entries -------------------------------------------------------------------------------------------------------- */

/* Void on all members alike: also on one that would understand it. */
static void test_void_entries(void **state)
{
    (void)state;
    struct kv *kv = start(NEWER);
    struct entry e = {.op = ENTRY_TRIAL, .level = NEWER};
    assert_int_equal(kv_feature_load(kv), OK);
    assert_true(kv_feature_is_void(kv, &e));
    assert_false(kv_feature_stops(kv, 5, &e, NULL));
    e.unknown = 16000; /* what it does not know is void, too */
    assert_false(kv_feature_stops(kv, 5, &e, NULL));
    e = (struct entry){.op = ENTRY_PUT};
    assert_false(kv_feature_is_void(kv, &e));
    assert_false(kv_feature_stops(kv, 5, &e, NULL));
    assert_int_equal(fake.stops, 0);
}

static void assert_stops(struct kv *kv, const struct entry *e, const ProtobufCMessage *m, const char *text)
{
    assert_true(kv_feature_stops(kv, 5, e, m));
    assert_int_equal(parts.failed_err, ERR_LEVEL);
    assert_int_equal(fake.stops, 1);
    assert_non_null(strstr(kv_feature_text(kv), text));
}

static void test_entries_that_stop(void **state)
{
    (void)state;
    struct kv *kv = start_leader(LAST, MINOR, 0);
    assert_stops(kv, &(struct entry){.unknown = 16000}, NULL, "the log entry 5 (kind 16000) needs");
    kv = start_leader(LAST, MINOR, 0);
    assert_stops(kv, &(struct entry){.op = ENTRY_TRIAL}, NULL, "(kind 15001)");
    kv = start_leader(LAST, MINOR, 0);
    Etcdserverpb__ClusterVersionSetRequest set = ETCDSERVERPB__CLUSTER_VERSION_SET_REQUEST__INIT;
    struct entry e = {.op = ENTRY_CLUSTER_VERSION};
    char version[] = "9.8.7";
    set.version = version;
    set.level = LAST;
    assert_false(kv_feature_stops(kv, 5, &e, &set.base));
    set.level = NEWER;
    char text[100];
    snprintf(text, sizeof text, "the cluster needs feature level %u, this build has %u: start cairnd 9.8.7",
             (unsigned)NEWER, (unsigned)LAST);
    assert_stops(kv, &e, &set.base, text);
}

static void apply_version(struct kv *kv, unsigned level, const char *ver, size_t member_count)
{
    Etcdserverpb__ClusterVersionSetRequest m = ETCDSERVERPB__CLUSTER_VERSION_SET_REQUEST__INIT;
    uint64_t ids[] = {1, 2, 3};
    char text[16];
    strcpy(text, ver);
    m.level = level;
    m.ver = text;
    m.members = ids;
    m.n_members = member_count;
    kv_feature_apply_version(kv, &m);
}

/* Only when each member of now was asked: one that came later may not understand the level. */
static void test_raise(void **state)
{
    (void)state;
    struct kv *kv = start_leader(FIRST, MINOR, 0);
    apply_version(kv, LAST, "3.7.0", 2);
    apply_version(kv, 0, "3.7.0", 3);    /* of etcd: without our fields */
    apply_version(kv, LAST, "4.7.0", 3); /* no version of ours */
    apply_version(kv, LAST, "3.999", 3); /* nor this */
    assert_int_equal(kv_feature_level(kv), FIRST);
    assert_int_equal(fake.saves, 0);
    apply_version(kv, LAST, "3.7.0", 3);
    assert_state(kv, LAST, MINOR, 0);
}

/* Lower only where a job leads to. A job that the proposer did not know of ends with a raise. */
static void test_lower(void **state)
{
    (void)state;
    struct kv *kv = start_leader(LAST, MINOR, 0);
    apply_version(kv, FIRST, "3.6.0", 3);
    assert_int_equal(fake.saves, 0);
    kv = start_leader(LAST, MINOR, MINOR - 1);
    apply_version(kv, FIRST, "3.5.0", 3);
    assert_int_equal(fake.saves, 0);
    apply_version(kv, FIRST, "3.6.0", 0); /* whoever was asked */
    assert_state(kv, FIRST, MINOR - 1, MINOR - 1);
    apply_version(kv, LAST, "3.7.0", 3);
    assert_state(kv, LAST, MINOR, 0);
}

static int apply_downgrade(struct kv *kv, bool is_enabled, const char *ver)
{
    Etcdserverpb__DowngradeInfoSetRequest m = ETCDSERVERPB__DOWNGRADE_INFO_SET_REQUEST__INIT;
    char text[16];
    strcpy(text, ver);
    m.enabled = is_enabled;
    m.ver = text;
    return kv_feature_apply_downgrade(kv, &m).err;
}

static void test_downgrade_jobs(void **state)
{
    (void)state;
    struct kv *kv = start_leader(LAST, MINOR, 0);
    kv->feature_level.due_ms = UINT64_MAX;
    assert_int_equal(apply_downgrade(kv, false, ""), ERR_NO_INFLIGHT_DOWNGRADE);
    assert_int_equal(apply_downgrade(kv, true, "3.5.0"), ERR_DOWNGRADE_TARGET);
    assert_int_equal(apply_downgrade(kv, true, "nothing"), ERR_DOWNGRADE_TARGET);
    assert_int_equal(apply_downgrade(kv, true, "3.7.0"), ERR_DOWNGRADE_TARGET);
    assert_int_equal(fake.saves, 0);
    assert_int_equal(apply_downgrade(kv, true, "3.6.0"), OK);
    assert_state(kv, LAST, MINOR, MINOR - 1);
    assert_int_equal(kv->feature_level.due_ms, 0); /* the leader acts on it now */
    assert_int_equal(apply_downgrade(kv, true, "3.6.0"), ERR_DOWNGRADE_IN_PROCESS);
    assert_int_equal(apply_downgrade(kv, false, ""), OK);
    assert_state(kv, LAST, MINOR, 0);
    kv = start_leader(FIRST, MINOR, 0); /* nothing older reads what is on our disks */
    assert_int_equal(apply_downgrade(kv, true, "3.6.0"), ERR_DOWNGRADE_TARGET);
}

/* --- the leader decides --------------------------------------------------------------------------------------------- */

static void test_lowest_level_of_all(void **state)
{
    (void)state;
    struct kv *kv = start_leader(FIRST, MINOR, 0);
    kv_feature_tick(kv);
    kv_feature_tick(kv); /* one round at a time */
    assert_int_equal(fake.questions, 1);
    answer(1, LAST);
    answer(3, NEWER);
    fake.rpc->on_answer(fake.rpc, 3, slice_text("old"));
    fake.rpc->done(fake.rpc, 2, 2);
    assert_version_proposed(0, LAST, "3.7.0", 3);
    parts.now_ms += CHECK_MS - 1;
    kv_feature_tick(kv);
    assert_int_equal(fake.questions, 1);
    parts.now_ms += 1;
    kv_feature_tick(kv); /* the proposal may be lost */
    assert_int_equal(fake.questions, 2);
}

/* A member that is alone is ready when it has its level, unless it is being downgraded. */
static void test_alone_is_ready_with_its_level(void **state)
{
    (void)state;
    struct kv *kv = start_leader(FIRST, MINOR, 0);
    assert_false(kv_feature_is_coming(kv)); /* three members: one of them may be older for long */
    size_t count = kv->members.count;
    kv->members.count = 1;
    assert_true(kv_feature_is_coming(kv));
    kv->feature_level.state.target_minor = MINOR - 1;
    assert_false(kv_feature_is_coming(kv));
    kv->feature_level.state.target_minor = 0;
    kv->feature_level.state.level = LAST;
    assert_false(kv_feature_is_coming(kv));
    kv->feature_level.state.level = FIRST;
    parts_set_leader(0);
    assert_false(kv_feature_is_coming(kv));
    kv->members.count = count;
}

/* A member of the first level, or one that is down, keeps the level; it is asked again soon. */
static void test_a_member_does_not_answer(void **state)
{
    (void)state;
    struct kv *kv = start_leader(FIRST, MINOR, 0);
    end_round(kv, LAST, 0);
    assert_int_equal(parts.proposal_count, 0);
    parts.now_ms += RETRY_MS - 1;
    kv_feature_tick(kv);
    assert_int_equal(fake.questions, 1);
    parts.now_ms += 1;
    end_round(kv, LAST, FIRST);
    assert_int_equal(fake.questions, 2);
    assert_int_equal(parts.proposal_count, 0); /* it stays at the lowest */
}

/* A new leader asks at its next tick, not before it has applied what its term began with. */
static void test_who_asks(void **state)
{
    (void)state;
    struct kv *kv = start_leader(FIRST, MINOR, 0);
    kv->state.term = 6;
    parts.applied_term = 5;
    kv_feature_tick(kv);
    parts_set_leader(1);
    parts.applied_term = 6;
    kv_feature_tick(kv);
    assert_int_equal(fake.questions, 0);
    parts_set_leader(PARTS_SELF);
    kv->feature_level.due_ms = UINT64_MAX;
    kv_feature_check_soon(kv);
    kv_feature_tick(kv);
    assert_int_equal(fake.questions, 1);
    parts_set_leader(1); /* the lead is lost while they answer */
    answer(1, LAST);
    answer(3, LAST);
    fake.rpc->done(fake.rpc, 2, 2);
    assert_int_equal(parts.proposal_count, 0);
}

static void test_settled(void **state)
{
    (void)state;
    struct kv *kv = start_leader(LAST, MINOR, 0);
    kv_feature_tick(kv);
    assert_int_equal(fake.questions, 0);
}

static void test_alone(void **state)
{
    (void)state;
    struct kv *kv = start_leader(FIRST, MINOR, 0);
    parts_set_voters(1);
    parts.members[0].id = PARTS_SELF;
    kv_feature_tick(kv);
    assert_int_equal(fake.questions, 0);
    assert_version_proposed(0, LAST, "3.7.0", 1);
}

/* The job: level and version go down at once; it ends when every member has the older level. */
static void test_downgrade(void **state)
{
    (void)state;
    struct kv *kv = start_leader(LAST, MINOR, MINOR - 1);
    end_round(kv, LAST, LAST);
    assert_version_proposed(0, FIRST, "3.6.0", 3);
    kv = start_leader(LAST, MINOR - 1, MINOR - 1);
    end_round(kv, LAST, NEWER);
    assert_int_equal(parts.proposal_count, 0);
    parts.now_ms += CHECK_MS;
    end_round(kv, LAST, LAST);
    const Etcdserverpb__DowngradeInfoSetRequest *m = parts_proposed(0, ENTRY_DOWNGRADE_INFO);
    assert_false(m->enabled);
    kv = start_leader(LAST, MINOR - 1, 0); /* canceled: up again */
    end_round(kv, LAST, LAST);
    assert_version_proposed(0, LAST, "3.7.0", 3);
}

/* --- questions, members that join, clients ------------------------------------------------------------------------------ */

static void test_answers_others(void **state)
{
    (void)state;
    struct kv *kv = start_leader(FIRST, MINOR, 0);
    fake.handler(kv, NULL, (struct slice){0});
    assert_int_equal(fake.answer[0], 1);
    assert_int_equal(get_le32(fake.answer + 1), LAST);
    kv_feature_tick(kv);
    kv_feature_close(kv);
    kv_feature_close(kv);
    assert_int_equal(fake.cancels, 1);
    assert_null(fake.handler);
}

static void test_members_that_join(void **state)
{
    (void)state;
    struct kv *kv = start_leader(LAST, MINOR, 0);
    assert_null(kv_feature_refusal(kv, LAST));
    assert_null(kv_feature_refusal(kv, NEWER));
    assert_non_null(strstr(kv_feature_refusal(kv, 0), "this member has level 1")); /* it announces none */
    kv = start_leader(FIRST, MINOR, 0);
    assert_null(kv_feature_refusal(kv, 0));
}

static void test_requests(void **state)
{
    (void)state;
    Etcdserverpb__DowngradeInfoSetRequest m = ETCDSERVERPB__DOWNGRADE_INFO_SET_REQUEST__INIT;
    struct kv *kv = start_leader(LAST, MINOR, 0);
    assert_int_equal(kv_check_downgrade(kv, 3, MINOR - 1), OK);
    assert_int_equal(kv_check_downgrade(kv, 3, MINOR), ERR_DOWNGRADE_TARGET);
    assert_int_equal(kv_check_downgrade(kv, 4, MINOR - 1), ERR_DOWNGRADE_TARGET);
    kv_downgrade(kv, parts_request(0), &m);
    assert_int_equal(parts.write_err, ERR_NO_INFLIGHT_DOWNGRADE);
    m.enabled = true;
    kv_downgrade(kv, parts_request(1), &m);
    assert_waits(1, KV_PROPOSED);
    assert_int_equal(parts.write_op, ENTRY_DOWNGRADE_INFO);
    kv = start_leader(LAST, MINOR, MINOR - 1);
    assert_int_equal(kv_check_downgrade(kv, 3, MINOR - 1), ERR_DOWNGRADE_IN_PROCESS);
    kv = start_leader(FIRST, MINOR, 0);
    assert_int_equal(kv_check_downgrade(kv, 3, MINOR - 1), ERR_DOWNGRADE_TARGET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_load_refuses),
        cmocka_unit_test(test_void_entries),
        cmocka_unit_test(test_entries_that_stop),
        cmocka_unit_test(test_raise),
        cmocka_unit_test(test_lower),
        cmocka_unit_test(test_downgrade_jobs),
        cmocka_unit_test(test_alone_is_ready_with_its_level),
        cmocka_unit_test(test_lowest_level_of_all),
        cmocka_unit_test(test_a_member_does_not_answer),
        cmocka_unit_test(test_who_asks),
        cmocka_unit_test(test_settled),
        cmocka_unit_test(test_alone),
        cmocka_unit_test(test_downgrade),
        cmocka_unit_test(test_answers_others),
        cmocka_unit_test(test_members_that_join),
        cmocka_unit_test(test_requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
