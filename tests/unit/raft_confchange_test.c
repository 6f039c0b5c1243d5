/* SPDX-License-Identifier: Apache-2.0
 * Tests of configuration changes: refusals, random walks that keep the invariants, the codec. */
#include "consensus/raft/confchange.h"

#include "tests/unit/unit.h"

static enum raft_conf_error simple(struct raft_tracker *t, enum raft_conf_change_type type, uint64_t id)
{
    struct raft_conf_change_single one = {type, id};
    return raft_conf_simple(t, 10, &one, 1);
}

static void test_limits(void **state)
{
    (void)state;
    struct raft_tracker t = {.inflight_max = 4};
    assert_int_equal(raft_conf_enter_joint(&t, 10, true, NULL, 0), RAFT_CONF_NO_VOTERS);
    assert_int_equal(simple(&t, RAFT_ADD_LEARNER, 1), RAFT_CONF_REMOVED_ALL);
    for (uint64_t id = 1; id <= RAFT_MEMBERS_MAX; id++)
        assert_int_equal(simple(&t, id == 1 ? RAFT_ADD_NODE : RAFT_ADD_LEARNER, id), RAFT_CONF_OK);
    assert_int_equal(simple(&t, RAFT_ADD_NODE, 1000), RAFT_CONF_FULL);
    assert_int_equal(t.count, RAFT_MEMBERS_MAX);
    assert_int_equal(simple(&t, RAFT_REMOVE_NODE, 1), RAFT_CONF_REMOVED_ALL);
    assert_true(raft_tracker_is_voter(&t, 1)); /* refused changes change nothing */
    raft_tracker_done(&t);
}

/* A member that is removed and added in one change is new again; one that stays keeps its progress. */
static void test_progress_is_kept_or_forgotten(void **state)
{
    (void)state;
    struct raft_tracker t = {.inflight_max = 4};
    assert_int_equal(simple(&t, RAFT_ADD_NODE, 1), RAFT_CONF_OK);
    assert_int_equal(simple(&t, RAFT_ADD_NODE, 2), RAFT_CONF_OK);
    raft_tracker_find(&t, 1)->match = 7;
    raft_tracker_find(&t, 2)->match = 8;
    raft_inflights_add(&raft_tracker_find(&t, 2)->inflights, 8, 1);
    struct raft_conf_change_single again[] = {{RAFT_REMOVE_NODE, 2}, {RAFT_ADD_NODE, 2}};
    assert_int_equal(raft_conf_simple(&t, 20, again, 2), RAFT_CONF_OK);
    assert_int_equal(raft_tracker_find(&t, 1)->match, 7);
    assert_int_equal(raft_tracker_find(&t, 2)->match, 0);
    assert_int_equal(raft_tracker_find(&t, 2)->next, 20);
    assert_int_equal(raft_tracker_find(&t, 2)->inflights.count, 0);
    raft_tracker_done(&t);
}

static void check_invariants(const struct raft_tracker *t)
{
    assert_true(raft_conf_state_valid(&t->config));
    struct raft_ids all = t->config.voters;
    for (uint32_t i = 0; i < t->config.voters_outgoing.count; i++)
        assert_true(raft_ids_add(&all, t->config.voters_outgoing.id[i]));
    for (uint32_t i = 0; i < t->config.learners.count; i++)
        assert_true(raft_ids_add(&all, t->config.learners.id[i]));
    assert_int_equal(all.count, t->count);
    for (uint32_t i = 0; i < t->count; i++) {
        assert_int_equal(t->progress[i].id, all.id[i]);
        assert_int_equal(t->progress[i].learner, raft_ids_has(&t->config.learners, all.id[i]));
    }
}

static void test_random_walk(void **state)
{
    (void)state;
    struct raft_tracker t = {.inflight_max = 4}, copy = {.inflight_max = 4};
    uint64_t random = 3;
    unsigned done = 0;
    for (int i = 0; i < 20000; i++) {
        struct raft_conf_change change = {0};
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        unsigned r = (unsigned)(random >> 33);
        change.count = r % 4;
        change.transition = (enum raft_transition)(r / 4 % 3);
        for (uint32_t j = 0; j < change.count; j++)
            change.changes[j] = (struct raft_conf_change_single){
                (enum raft_conf_change_type)((r >> (8 + 4 * j)) % 4), (r >> (10 + 3 * j)) % 7};
        struct raft_conf_state before = t.config;
        enum raft_conf_error err = raft_conf_apply(&t, (uint64_t)i, &change);
        if (err)
            assert_true(raft_conf_state_equal(&before, &t.config));
        done += !err;
        check_invariants(&t);
        raft_conf_restore(&copy, 5, &t.config); /* any legal state can be restored */
        assert_true(raft_conf_state_equal(&copy.config, &t.config));
        check_invariants(&copy);
    }
    assert_true(done > 1000);
    raft_tracker_done(&t);
    raft_tracker_done(&copy);
}

static void test_invalid_states(void **state)
{
    (void)state;
    struct raft_ids one = {.count = 1, .id = {1}}, two = {.count = 1, .id = {2}};
    struct raft_conf_state s = {0};
    assert_true(raft_conf_state_valid(&s));
    s = (struct raft_conf_state){.learners = one};
    assert_false(raft_conf_state_valid(&s));
    s = (struct raft_conf_state){.voters = one, .learners = one};
    assert_false(raft_conf_state_valid(&s));
    s = (struct raft_conf_state){.voters = one, .auto_leave = true};
    assert_false(raft_conf_state_valid(&s));
    s = (struct raft_conf_state){.voters = one, .learners_next = two};
    assert_false(raft_conf_state_valid(&s));
    s = (struct raft_conf_state){.voters = one, .voters_outgoing = one, .learners_next = two};
    assert_false(raft_conf_state_valid(&s));
    s = (struct raft_conf_state){
        .voters = one, .voters_outgoing = two, .learners_next = two, .auto_leave = true};
    assert_true(raft_conf_state_valid(&s));
}

static void test_codec(void **state)
{
    (void)state;
    struct raft_conf_change v1 = {
        .count = 1, .changes = {{RAFT_ADD_LEARNER, 300}}, .id = 9, .context = slice_text("abc")};
    struct raft_conf_change v2 = {.transition = RAFT_TRANSITION_JOINT_EXPLICIT,
                                  .count = 2,
                                  .changes = {{RAFT_ADD_NODE, UINT64_MAX}, {RAFT_REMOVE_NODE, 1}},
                                  .context = slice_text("x")};
    struct raft_conf_change back;
    struct blob *bytes = raft_conf_change_encode(&v1, true);
    static const uint8_t want[] = {0x08, 9, 0x10, 3, 0x18, 0xac, 0x02, 0x22, 3, 'a', 'b', 'c'};
    assert_int_equal(bytes->size, sizeof want);
    assert_memory_equal(bytes->data, want, sizeof want);
    assert_int_equal(raft_conf_change_decode(blob_slice(bytes), true, &back), 0);
    assert_int_equal(back.changes[0].node_id, 300);
    assert_int_equal(back.changes[0].type, RAFT_ADD_LEARNER);
    assert_int_equal(back.id, 9);
    assert_true(slice_equal(back.context, v1.context));
    blob_unref(bytes);
    bytes = raft_conf_change_encode(&v2, false);
    assert_int_equal(raft_conf_change_decode(blob_slice(bytes), false, &back), 0);
    assert_int_equal(back.transition, RAFT_TRANSITION_JOINT_EXPLICIT);
    assert_int_equal(back.count, 2);
    assert_true(back.changes[0].node_id == UINT64_MAX);
    assert_int_equal(back.changes[1].type, RAFT_REMOVE_NODE);
    for (size_t size = 1; size < bytes->size; size++) { /* cut: an error or fewer changes */
        struct slice part = slice_of(bytes->data, size);
        if (raft_conf_change_decode(part, false, &back) == 0)
            assert_true(back.count <= 2);
    }
    blob_unref(bytes);
    assert_int_equal(raft_conf_change_decode((struct slice){0}, false, &back), 0);
    assert_true(raft_conf_wants_leave(&back));
    assert_int_equal(raft_conf_change_decode(slice_of("\x10\x04", 2), true, &back),
                     ERR_MALFORMED); /* type 4 */
    assert_int_equal(raft_conf_change_decode(slice_of("\x08\x03", 2), false, &back), ERR_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),      cmocka_unit_test(test_progress_is_kept_or_forgotten),
        cmocka_unit_test(test_random_walk), cmocka_unit_test(test_invalid_states),
        cmocka_unit_test(test_codec),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
