/* SPDX-License-Identifier: Apache-2.0
 * Changes of leaders, and the work of a leader by its clock: which leases it ends and when, checkpoints,
 * compaction. The lease table and the compactor are linked as they are: both are pure. */
#define KV_PARTS_REAL_LEADERSHIP
#define KV_PARTS_REAL_PEER_EVENTS /* its kv_peer_is_active is below */
#include "kv_parts.h"

enum { ELECTION_MS = 1000, RETRY_MS = 3000, PUBLISH_MS = 2000, REVISION_STEP_MS = 300000 };
enum { LEASE = 70, TTL_S = 2, OTHER = 1 };

/* --- the other parts and the node ------------------------------------------------------------------------ */

static struct {
    unsigned advanced, ready, has_leader_calls;
    bool has_leader, is_level_coming;
    int read_err;
    int64_t compact_revision;
    uint64_t reachable[4]; /* members whose connections stand; ends with 0 */
} fake;

#define TRACED(name)                                                                                         \
    void kv_##name(struct kv *kv)                                                                            \
    {                                                                                                        \
        (void)kv;                                                                                            \
        parts_trace(#name);                                                                                  \
    }
TRACED(expire_proposals)
TRACED(expire_reads)
TRACED(lease_rights_expire)
TRACED(expire_calls)
TRACED(auth_tick)
TRACED(requeue_calls)
TRACED(read_index_forget)
TRACED(feature_check_soon)
TRACED(propose_alone)
TRACED(check_hand_over)
TRACED(snapshot_stop_sending)

bool kv_feature_is_coming(const struct kv *kv)
{
    (void)kv;
    return fake.is_level_coming;
}

void kv_read_index_fail(struct kv *kv, int err)
{
    (void)kv;
    parts_trace("read_index_fail");
    fake.read_err = err;
}

bool kv_peer_is_active(const struct kv *kv, uint64_t id, uint64_t since_ms)
{
    parts.active_since_asked = since_ms;
    for (size_t i = 0; i < COUNT_OF(fake.reachable); i++)
        if (fake.reachable[i] == id)
            return true;
    return id == kv->member_id;
}

void node_advance(struct node *n)
{
    (void)n;
    fake.advanced++;
}

int64_t store_compact_revision(const struct store *s)
{
    (void)s;
    return fake.compact_revision;
}

static void on_ready(void *arg)
{
    (void)arg;
    fake.ready++;
}

static void on_leader(void *arg, bool has_leader)
{
    (void)arg;
    fake.has_leader_calls++;
    fake.has_leader = has_leader;
}

/* --- a member ---------------------------------------------------------------------------------------------- */

static char name[] = "m";

static struct kv *start(void)
{
    if (parts.kv.leases) {
        lease_table_free(parts.kv.leases);
        kv_leadership_done(&parts.kv.leadership);
    }
    struct kv *kv = parts_start();
    memset(&fake, 0, sizeof fake);
    kv->leases = lease_table_new(1);
    kv->settings.name = name;
    kv_leadership_init(&kv->leadership, 0);
    kv_leadership_open(kv, &(struct kv_options){.auto_compaction_mode = "revision"});
    kv_on_ready(kv, on_ready, NULL);
    kv_on_leader(kv, on_leader, NULL);
    return kv;
}

static void report(struct kv *kv, uint64_t leader, uint64_t term)
{
    kv_on_state(kv, &(struct node_state){.term = term, .leader = leader, .is_leader = leader == PARTS_SELF});
}

static void tick(struct kv *kv)
{
    parts.trace_count = 0;
    kv_leadership_tick(kv);
}

/* --- leases --------------------------------------------------------------------------------------------------- */

static struct kv *start_with_lease(void)
{
    struct kv *kv = start();
    int64_t granted;
    assert_int_equal(lease_grant(kv->leases, LEASE, TTL_S, 0, &granted), OK);
    return kv;
}

static void assert_revoked_after(struct kv *kv, uint64_t begin_ms)
{
    uint64_t end_ms = begin_ms + 1 + 1000 * TTL_S + ELECTION_MS; /* the clock begins rounded up */
    size_t before = parts.proposal_count;
    parts.now_ms = end_ms - 1;
    tick(kv);
    assert_int_equal(parts.proposal_count, before);
    parts.now_ms = end_ms;
    tick(kv);
    const Etcdserverpb__LeaseRevokeRequest *m = parts_proposed(before, ENTRY_LEASE_REVOKE);
    assert_int_equal(m->id, LEASE);
    assert_true(parts.proposals[before].is_as_leader);
    assert_int_equal(parts.proposal_count, before + 1);
}

/* Each lease has its whole time, and an election timeout more, from the moment at which this member leads. A
 * proposal may be lost: it comes again. */
static void test_expiry(void **state)
{
    (void)state;
    struct kv *kv = start_with_lease();
    report(kv, PARTS_SELF, 5);
    assert_revoked_after(kv, parts.now_ms);
    parts.now_ms += RETRY_MS - 1;
    tick(kv);
    assert_int_equal(parts.proposal_count, 1);
    parts.now_ms += 1;
    tick(kv);
    assert_int_equal(parts.proposal_count, 2);
}

static void test_no_expiry_without_the_lead(void **state)
{
    (void)state;
    struct kv *kv = start_with_lease();
    report(kv, OTHER, 5);
    parts.now_ms += 60000;
    tick(kv);
    report(kv, PARTS_SELF, 6);
    report(kv, 0, 6); /* lost in the turn in which the lease would end */
    parts.now_ms += 60000;
    tick(kv);
    assert_int_equal(parts.proposal_count, 0);
    report(kv, PARTS_SELF, 7); /* from the begin again */
    assert_revoked_after(kv, parts.now_ms);
}

/* Lost and won again between two reports: another member may have led, and renewed the lease. */
static void test_two_terms_in_a_row(void **state)
{
    (void)state;
    struct kv *kv = start_with_lease();
    report(kv, PARTS_SELF, 5);
    parts.now_ms += 2500;
    report(kv, PARTS_SELF, 5); /* the same term: the clock goes on */
    report(kv, PARTS_SELF, 7);
    assert_revoked_after(kv, parts.now_ms);
}

/* When a proposal is refused, the other leases are not tried. */
static void test_expiry_is_refused(void **state)
{
    (void)state;
    struct kv *kv = start_with_lease();
    int64_t granted;
    assert_int_equal(lease_grant(kv->leases, LEASE + 1, TTL_S, 0, &granted), OK);
    report(kv, PARTS_SELF, 5);
    parts.now_ms += 60000;
    parts.propose_err = ERR_NOT_LEADER;
    tick(kv);
    ASSERT_TRACE("expire_proposals", "expire_reads", "lease_rights_expire", "expire_calls", "auth_tick",
                 "propose");
}

static void test_checkpoints(void **state)
{
    (void)state;
    struct kv *kv = start();
    int64_t granted;
    lease_table_set_checkpoint_interval(kv->leases, 10000);
    assert_int_equal(lease_grant(kv->leases, LEASE, 60, 0, &granted), OK);
    report(kv, PARTS_SELF, 5);
    parts.now_ms += 9000;
    tick(kv);
    assert_int_equal(parts.proposal_count, 0);
    parts.now_ms += 3000;
    tick(kv);
    const Etcdserverpb__LeaseCheckpointRequest *m = parts_proposed(0, ENTRY_LEASE_CHECKPOINT);
    assert_true(parts.proposals[0].is_as_leader);
    assert_int_equal(m->n_checkpoints, 1);
    assert_int_equal(m->checkpoints[0]->id, LEASE);
    assert_int_equal(m->checkpoints[0]->remaining_ttl, 60 + 1 - 12 + 1); /* 49.001 s, rounded up */
    report(kv, OTHER, 6);
    parts.now_ms += 30000;
    tick(kv);
    assert_int_equal(parts.proposal_count, 1);
}

/* --- compaction ---------------------------------------------------------------------------------------------- */

static void test_compaction(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_leadership_done(&kv->leadership);
    kv_leadership_open(
        kv, &(struct kv_options){.auto_compaction_mode = "revision", .auto_compaction_retention = 10});
    parts.revision = 100;
    report(kv, OTHER, 5);
    parts.now_ms += REVISION_STEP_MS;
    tick(kv);
    assert_int_equal(parts.proposal_count, 0);
    report(kv, PARTS_SELF, 6);
    tick(kv);
    const Etcdserverpb__CompactionRequest *m = parts_proposed(0, ENTRY_COMPACTION);
    assert_int_equal(m->revision, 90);
    assert_true(parts.proposals[0].is_as_leader);
    parts.now_ms += REVISION_STEP_MS;
    parts.revision = 120;
    fake.compact_revision = 110; /* a client was faster */
    tick(kv);
    assert_int_equal(parts.proposal_count, 1);
}

/* The retention of this mode is nanoseconds. */
static void test_periodic_compaction(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_leadership_done(&kv->leadership);
    kv_leadership_open(kv, &(struct kv_options){.auto_compaction_mode = "periodic",
                                                .auto_compaction_retention = 60000000000});
    report(kv, PARTS_SELF, 5);
    for (parts.revision = 2; parts.revision <= 12; parts.revision++, parts.now_ms += 6000)
        tick(kv);
    const Etcdserverpb__CompactionRequest *m = parts_proposed(0, ENTRY_COMPACTION);
    assert_int_equal(m->revision, 2);
    assert_int_equal(parts.proposal_count, 1);
}

/* --- names and URLs ------------------------------------------------------------------------------------------- */

static void test_publish(void **state)
{
    (void)state;
    struct kv *kv = start();
    char new_name[] = "new", url[] = "http://new:1", *urls[] = {url};
    kv->settings.name = new_name;
    kv->settings.client_urls = urls;
    kv->settings.client_url_count = 1;
    tick(kv);
    assert_int_equal(parts.proposal_count, 0); /* nobody leads */
    report(kv, OTHER, 5);
    const Etcdserverpb__ClusterMemberAttrSetRequest *m = parts_proposed(0, ENTRY_MEMBER_ATTRIBUTES);
    assert_int_equal(m->member_id, PARTS_SELF);
    assert_string_equal(m->member_attributes->name, "new");
    assert_string_equal(m->member_attributes->client_urls[0], url);
    parts.now_ms += PUBLISH_MS - 1;
    tick(kv);
    assert_int_equal(parts.proposal_count, 1);
    parts.now_ms += 1; /* it may be lost */
    tick(kv);
    assert_int_equal(parts.proposal_count, 2);
    report(kv, 3, 6); /* or have gone with its leader: at once */
    assert_int_equal(parts.proposal_count, 3);
    parts.members[PARTS_SELF - 1].name = new_name;
    parts.now_ms += PUBLISH_MS;
    tick(kv);
    assert_int_equal(parts.proposal_count, 4); /* the URL is not there yet */
    parts.members[PARTS_SELF - 1].client_urls = urls;
    parts.members[PARTS_SELF - 1].client_url_count = 1;
    parts.now_ms += PUBLISH_MS;
    tick(kv);
    assert_int_equal(parts.proposal_count, 4);
}

/* A refused proposal is tried at the next tick; a process that is no member publishes nothing. */
static void test_publish_fails(void **state)
{
    (void)state;
    struct kv *kv = start();
    char new_name[] = "new";
    kv->settings.name = new_name;
    parts.propose_err = ERR_TOO_MANY_REQUESTS;
    report(kv, OTHER, 5);
    parts.propose_err = OK;
    parts.now_ms += 100;
    tick(kv);
    assert_int_equal(parts.proposal_count, 1);
    kv->members.count = 1;
    parts.now_ms += PUBLISH_MS;
    tick(kv);
    assert_int_equal(parts.proposal_count, 1);
}

/* --- changes of leaders ------------------------------------------------------------------------------------------ */

static void test_a_new_leader(void **state)
{
    (void)state;
    struct kv *kv = start();
    report(kv, OTHER, 5);
    ASSERT_TRACE("requeue_calls", "leader loss", "read_index_fail", "reset space alarm", "feature_check_soon",
                 "check_hand_over");
    assert_int_equal(parts.loss_err, ERR_TIMEOUT_LEADER_FAIL);
    assert_int_equal(parts.loss_wait_ms, ELECTION_MS);
    assert_int_equal(fake.read_err, ERR_LEADER_CHANGED);
    report(kv, OTHER, 5); /* no change */
    report(kv, OTHER, 6); /* the same member again: nothing was lost */
    assert_int_equal(parts.trace_count, 0);
    report(kv, PARTS_SELF, 7);
    ASSERT_TRACE("requeue_calls", "leader loss", "read_index_fail", "reset space alarm", "feature_check_soon",
                 "propose_alone", "check_hand_over");
    report(kv, OTHER, 8); /* the lead is lost: nothing is sent as a leader any more */
    ASSERT_TRACE("snapshot_stop_sending", "requeue_calls", "leader loss", "read_index_fail",
                 "reset space alarm", "feature_check_soon", "check_hand_over");
}

static void test_no_leader(void **state)
{
    (void)state;
    struct kv *kv = start();
    report(kv, OTHER, 5);
    parts.trace_count = 0;
    report(kv, 0, 6);
    ASSERT_TRACE("requeue_calls", "leader loss", "read_index_forget", "check_hand_over");
}

/* Streams hear whether there is a leader, not which one. */
static void test_who_hears_of_leaders(void **state)
{
    (void)state;
    struct kv *kv = start();
    report(kv, 0, 4);
    assert_int_equal(fake.has_leader_calls, 0);
    report(kv, OTHER, 5);
    assert_true(fake.has_leader);
    report(kv, 3, 6);
    assert_int_equal(fake.has_leader_calls, 1);
    report(kv, 0, 7);
    assert_false(fake.has_leader);
    assert_int_equal(fake.has_leader_calls, 2);
}

/* Once, when the entry with which the leader's term began is applied. */
static void test_ready(void **state)
{
    (void)state;
    struct kv *kv = start();
    parts.applied_term = 5;
    report(kv, 0, 5);
    report(kv, OTHER, 6);
    kv_check_ready(kv);
    assert_int_equal(fake.ready, 0);
    parts.applied_term = 6;
    fake.is_level_coming = true; /* a member that is alone has its feature level first */
    kv_check_ready(kv);
    assert_int_equal(fake.ready, 0);
    fake.is_level_coming = false;
    kv_check_ready(kv);
    kv_check_ready(kv);
    report(kv, 3, 7);
    parts.applied_term = 7;
    kv_check_ready(kv);
    assert_int_equal(fake.ready, 1);
}

/* --- the first election -------------------------------------------------------------------------------------------- */

static struct kv *start_advancing(uint64_t until_ms)
{
    struct kv *kv = start();
    kv_leadership_init(&kv->leadership, until_ms);
    return kv;
}

static void test_ticks_advance_once(void **state)
{
    (void)state;
    struct kv *kv = start_advancing(100500);
    kv_advance_ticks(kv);
    assert_int_equal(fake.advanced, 0); /* one of three */
    fake.reachable[0] = 3;
    kv_advance_ticks(kv);
    assert_int_equal(fake.advanced, 1);
    assert_true(parts.active_since_asked == UINT64_MAX); /* for however short a time */
    kv_advance_ticks(kv);
    assert_int_equal(fake.advanced, 1);
}

static void test_ticks_do_not_advance(void **state)
{
    (void)state;
    struct kv *kv = start_advancing(0);
    fake.reachable[0] = 3;
    kv_advance_ticks(kv);
    kv = start_advancing(100500);
    fake.reachable[0] = 3;
    report(kv, OTHER, 5);
    kv_advance_ticks(kv); /* a leader is known */
    report(kv, 0, 6);
    kv_advance_ticks(kv); /* lost again: it is no start any more */
    kv = start_advancing(100500);
    fake.reachable[0] = 3;
    parts.now_ms = 100500;
    kv_advance_ticks(kv); /* too late */
    assert_int_equal(fake.advanced, 0);
}

static void test_ticks_in_a_joint_configuration(void **state)
{
    (void)state;
    struct kv *kv = start_advancing(100500);
    parts.conf.voters_outgoing = (struct raft_ids){.count = 3, .id = {PARTS_SELF, 7, 8}};
    fake.reachable[0] = 3;
    kv_advance_ticks(kv);
    assert_int_equal(fake.advanced, 0); /* a majority of one half is not enough */
    fake.reachable[1] = 8;
    kv_advance_ticks(kv);
    assert_int_equal(fake.advanced, 1);
}

/* --- limits of requests ----------------------------------------------------------------------------------------------- */

static int expiry_err(struct kv *kv, enum kv_request_state request_state, uint64_t started_ms)
{
    struct kv_request r = {.state = (int)request_state, .started_ms = started_ms};
    return kv_expiry_err(kv, &r);
}

/* Which of etcd's timeouts a proposal gets. */
static void test_expiry_errors(void **state)
{
    (void)state;
    struct kv *kv = start();
    assert_int_equal(expiry_err(kv, KV_READING, 1), ERR_TIMEOUT);
    assert_int_equal(expiry_err(kv, KV_CALL_QUEUED, 1), ERR_NO_LEADER);
    assert_int_equal(expiry_err(kv, KV_PROPOSED, 1), ERR_TIMEOUT);
    report(kv, OTHER, 5);
    assert_int_equal(expiry_err(kv, KV_CALL_QUEUED, 1), ERR_TIMEOUT);
    assert_int_equal(expiry_err(kv, KV_PROPOSED, 99), ERR_TIMEOUT_CONNECTION_LOST);
    assert_int_equal(parts.active_since_asked, 99);
    fake.reachable[0] = OTHER;
    assert_int_equal(expiry_err(kv, KV_PROPOSED, 99), ERR_TIMEOUT);
    fake.reachable[0] = 0;
    report(kv, PARTS_SELF, 6);
    uint64_t elected_ms = parts.now_ms;
    assert_int_equal(expiry_err(kv, KV_PROPOSED, elected_ms), ERR_TIMEOUT_CONNECTION_LOST); /* no quorum */
    fake.reachable[0] = 3;
    assert_int_equal(expiry_err(kv, KV_PROPOSED, elected_ms), ERR_TIMEOUT);
    /* It came in the two election timeouts before: the old leader may have had it. */
    assert_int_equal(expiry_err(kv, KV_PROPOSED, elected_ms - 1), ERR_TIMEOUT_LEADER_FAIL);
    assert_int_equal(expiry_err(kv, KV_PROPOSED, elected_ms - 2 * ELECTION_MS), ERR_TIMEOUT);
    kv->peers = NULL;
    assert_int_equal(expiry_err(kv, KV_PROPOSED, elected_ms), ERR_TIMEOUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_expiry),
        cmocka_unit_test(test_no_expiry_without_the_lead),
        cmocka_unit_test(test_two_terms_in_a_row),
        cmocka_unit_test(test_expiry_is_refused),
        cmocka_unit_test(test_checkpoints),
        cmocka_unit_test(test_compaction),
        cmocka_unit_test(test_periodic_compaction),
        cmocka_unit_test(test_publish),
        cmocka_unit_test(test_publish_fails),
        cmocka_unit_test(test_a_new_leader),
        cmocka_unit_test(test_no_leader),
        cmocka_unit_test(test_who_hears_of_leaders),
        cmocka_unit_test(test_ready),
        cmocka_unit_test(test_ticks_advance_once),
        cmocka_unit_test(test_ticks_do_not_advance),
        cmocka_unit_test(test_ticks_in_a_joint_configuration),
        cmocka_unit_test(test_expiry_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
