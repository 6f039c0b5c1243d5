/* SPDX-License-Identifier: Apache-2.0
 * Proposals that come to nothing: when the leader is asked for the end of its log, when requests end, and who
 * hears of a refused proposal. The loss tracker is linked as it is (kv_loss_tracker_test). */
#define KV_PARTS_REAL_DROPPED_PROPOSALS
#include "kv_parts.h"

enum { LEADER = 1, OTHER = 3, OLDEST = 10, NEXT = 20, WAIT_MS = 1000, RETRY_MS = 500, QUERY = 900 };

static struct {
    uint64_t oldest, next; /* proposals that wait here */
    unsigned queries;
    uint64_t query;
    uint64_t lost_before;
    int lost_err;
    unsigned lost;
    uint64_t told, told_number;
    int told_err;
    uint64_t change_member, change_number; /* of kv_change_proposer */
} fake;

uint64_t kv_oldest_proposal(const struct kv *kv)
{
    (void)kv;
    return fake.oldest;
}

uint64_t kv_next_proposal(const struct kv *kv)
{
    (void)kv;
    return fake.next;
}

void kv_fail_proposals_before(struct kv *kv, uint64_t id, int err)
{
    (void)kv;
    fake.lost++;
    fake.lost_before = id;
    fake.lost_err = err;
}

uint64_t kv_new_call_number(struct kv *kv)
{
    (void)kv;
    return QUERY + fake.queries;
}

void kv_query_log_end(struct kv *kv, uint64_t number)
{
    (void)kv;
    fake.queries++;
    fake.query = number;
}

void kv_send_refusal(struct kv *kv, uint64_t member, uint64_t number, int err)
{
    (void)kv;
    fake.told = member;
    fake.told_number = number;
    fake.told_err = err;
}

void kv_change_proposer(const struct raft_entry *entry, uint64_t *ret_member, uint64_t *ret_number)
{
    assert_int_not_equal(entry->type, RAFT_ENTRY_NORMAL);
    *ret_member = fake.change_member;
    *ret_number = fake.change_number;
}

/* --- a member whose requests OLDEST to NEXT - 1 wait and were handed to raft ------------------------------------- */

static struct kv *start(void)
{
    struct kv *kv = parts_start();
    memset(&fake, 0, sizeof fake);
    fake.oldest = OLDEST;
    fake.next = NEXT;
    parts_set_leader(LEADER);
    kv_note_handed_to_raft(kv);
    return kv;
}

static void check(struct kv *kv, uint64_t after_ms)
{
    parts.now_ms += after_ms;
    kv_check_dropped(kv);
}

/* --- losses ----------------------------------------------------------------------------------------------------- */

/* The query waits as long as the old leader may still pass entries on; then this member applies as far as the
 * new leader's log reaches. */
static void test_lost_with_a_leader(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_note_leader_loss(kv, ERR_TIMEOUT_LEADER_FAIL, WAIT_MS);
    fake.next = NEXT + 5; /* requests of after the loss are not concerned */
    check(kv, WAIT_MS - 1);
    assert_int_equal(fake.queries, 0);
    check(kv, 1);
    assert_int_equal(fake.query, QUERY);
    kv_note_leader_log_end(kv, QUERY + 1, 1); /* of another query */
    parts.applied_index = 50;
    check(kv, 10);
    assert_int_equal(fake.lost, 0);
    kv_note_leader_log_end(kv, QUERY, 51);
    check(kv, 10);
    assert_int_equal(fake.lost, 0);
    parts.applied_index = 51;
    check(kv, 10);
    assert_int_equal(fake.lost_before, NEXT);
    assert_int_equal(fake.lost_err, ERR_TIMEOUT_LEADER_FAIL);
    check(kv, 10);
    assert_int_equal(fake.lost, 1);
}

/* A lost query is sent again, under a new number. */
static void test_no_answer(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_note_leader_loss(kv, ERR_TIMEOUT_CONNECTION_LOST, 0);
    check(kv, 0);
    check(kv, RETRY_MS - 1);
    assert_int_equal(fake.queries, 1);
    check(kv, 1);
    assert_int_equal(fake.queries, 2);
    assert_int_equal(fake.query, QUERY + 1);
    kv_note_leader_log_end(kv, QUERY, 1); /* late */
    check(kv, 0);
    assert_int_equal(fake.lost, 0);
    kv_note_leader_log_end(kv, QUERY + 1, 0);
    check(kv, 0);
    assert_int_equal(fake.lost, 1);
}

static void test_no_leader_to_ask(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_note_leader_loss(kv, ERR_TIMEOUT_LEADER_FAIL, 0);
    parts_set_leader(0);
    check(kv, 0);
    check(kv, RETRY_MS);
    assert_int_equal(fake.queries + fake.lost, 0);
    parts_set_leader(OTHER);
    check(kv, RETRY_MS);
    assert_int_equal(fake.queries, 1);
}

/* This member leads now: it knows the end of its log, once it holds nothing back. */
static void test_this_member_leads(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_note_leader_loss(kv, ERR_TIMEOUT_LEADER_FAIL, 0);
    parts_set_leader(PARTS_SELF);
    parts.has_queued = true;
    kv->state.last_index = 40;
    parts.applied_index = 40;
    check(kv, 0);
    assert_int_equal(fake.lost, 0);
    parts.has_queued = false;
    check(kv, RETRY_MS);
    assert_int_equal(fake.lost, 1);
    assert_int_equal(fake.queries, 0);
}

/* A proposal that raft does not have yet goes to the next leader: it is not lost. */
static void test_what_was_not_handed_over(void **state)
{
    (void)state;
    struct kv *kv = start();
    fake.next = NEXT + 5;
    parts.has_queued = true; /* the new ones */
    kv_note_handed_to_raft(kv);
    kv_note_leader_loss(kv, ERR_TIMEOUT_LEADER_FAIL, 0);
    parts_set_leader(PARTS_SELF);
    parts.has_queued = false;
    check(kv, 0);
    assert_int_equal(fake.lost_before, NEXT);
    kv = start();
    fake.oldest = NEXT; /* none waits */
    kv_note_leader_loss(kv, ERR_TIMEOUT_LEADER_FAIL, 0);
    check(kv, 0);
    assert_int_equal(fake.queries, 0);
    kv = start();
    kv_note_leader_loss(kv, ERR_TIMEOUT_LEADER_FAIL, 0);
    fake.oldest = NEXT; /* all were applied meanwhile */
    check(kv, 0);
    assert_int_equal(fake.queries, 0);
}

/* --- refused proposals --------------------------------------------------------------------------------------------- */

static struct raft_entry new_entry(uint64_t member, uint64_t id, bool is_own)
{
    Etcdserverpb__CompactionRequest m = ETCDSERVERPB__COMPACTION_REQUEST__INIT;
    struct entry_who who = {.is_own = is_own};
    return (struct raft_entry){.data = entry_encode(member, id, ENTRY_COMPACTION, &m.base, &who)};
}

static void refuse(struct kv *kv, struct raft_entry entry)
{
    kv_on_refused(kv, &entry, ERR_TOO_MANY_REQUESTS);
    blob_unref(entry.data);
}

static void test_refused_here(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_assign_proposal_id(kv, parts_request(0));
    kv_wait_for_entry(kv, parts_request(0));
    uint64_t id = parts_request(0)->id;
    refuse(kv, new_entry(PARTS_SELF, id + 1, false)); /* of a request that was canceled */
    refuse(kv, new_entry(OTHER, id, false));
    assert_waits(0, KV_PROPOSED);
    assert_int_equal(fake.told, OTHER);
    assert_int_equal(fake.told_number, id);
    assert_int_equal(fake.told_err, ERR_TOO_MANY_REQUESTS);
    refuse(kv, new_entry(PARTS_SELF, id, false));
    assert_fails(0, ERR_TOO_MANY_REQUESTS);
    kv_fail_refused(kv, id, ERR_TOO_MANY_REQUESTS); /* the leader says it twice */
    assert_fails(0, ERR_TOO_MANY_REQUESTS);
}

/* Nobody waits for a member's own entries. */
static void test_refused_without_a_request(void **state)
{
    (void)state;
    struct kv *kv = start();
    refuse(kv, new_entry(OTHER, 0, true));
    refuse(kv, (struct raft_entry){.data = blob_copy(slice_text("\xff\xff"))});
    assert_int_equal(fake.told, 0);
    fake.change_member = OTHER;
    fake.change_number = 33;
    refuse(kv, (struct raft_entry){.type = RAFT_ENTRY_CONF_CHANGE_V2});
    assert_int_equal(fake.told, OTHER);
    assert_int_equal(fake.told_number, 33);
}

static bool is_internal(struct raft_entry entry)
{
    bool result = kv_is_internal(NULL, &entry);
    blob_unref(entry.data);
    return result;
}

/* Which entries have the reserve of the cluster's own. */
static void test_internal_entries(void **state)
{
    (void)state;
    assert_true(is_internal(new_entry(OTHER, 0, true)));
    assert_false(is_internal(new_entry(OTHER, 5, true)));  /* of a request */
    assert_false(is_internal(new_entry(OTHER, 0, false))); /* of a client */
    assert_true(is_internal((struct raft_entry){.type = RAFT_ENTRY_CONF_CHANGE}));
    assert_false(is_internal((struct raft_entry){.data = blob_copy(slice_text("\xff\xff"))}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lost_with_a_leader),        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_no_leader_to_ask),          cmocka_unit_test(test_this_member_leads),
        cmocka_unit_test(test_what_was_not_handed_over),  cmocka_unit_test(test_refused_here),
        cmocka_unit_test(test_refused_without_a_request), cmocka_unit_test(test_internal_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
