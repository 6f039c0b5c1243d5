/* SPDX-License-Identifier: Apache-2.0
 * Tests of the raft core's public API: one voter alone in both modes, restart, batches, hostile messages,
 * copies. The scenario files test clusters. */
#include "consensus/raft/raft.h"

#include "tests/unit/unit.h"

static struct raft_config config_of(uint64_t id)
{
    return (struct raft_config){
        .id = id,
        .election_tick = 10,
        .heartbeat_tick = 1,
        .seed = id,
        .max_size_per_message = RAFT_NO_LIMIT,
        .max_inflight_messages = 256,
        .check_quorum = true,
        .pre_vote = true,
        .async_storage_writes = true,
    };
}

static struct raft_conf_state voters(unsigned count)
{
    struct raft_conf_state state = {0};
    for (unsigned i = 1; i <= count; i++)
        assert_true(raft_ids_add(&state.voters, i));
    return state;
}

static struct raft *start(const struct raft_config *config, const struct raft_conf_state *state)
{
    struct raft_initial initial = {.conf_state = *state};
    struct raft *r;
    assert_int_equal(raft_new(config, &initial, &r), 0);
    return r;
}

/* A small host: storage is instant, messages to others are counted. */
struct host {
    uint64_t written, applied; /* last index */
    struct raft_hard_state hard;
    size_t appends, applies, sent, synced;
    struct raft_message last_sent;
    struct raft_read_state read;
    size_t reads;
};

static void answer(struct raft *r, struct host *h, const struct raft_message *m)
{
    for (size_t i = 0; i < m->response_count; i++) {
        if (m->responses[i].to == 1)
            (void)raft_step_local(r, &m->responses[i]);
        else
            h->sent++;
    }
}

static void turn(struct raft *r, struct host *h)
{
    struct raft_ready rd;
    while (raft_has_ready(r)) {
        raft_ready(r, &rd);
        h->synced += rd.must_sync;
        for (size_t i = 0; i < rd.read_state_count; i++, h->reads++)
            h->read = rd.read_states[i];
        for (size_t i = 0; i < rd.message_count; i++) {
            const struct raft_message *m = &rd.messages[i];
            if (m->to == RAFT_APPEND_THREAD) {
                h->appends++;
                if (m->term || m->vote || m->commit)
                    h->hard = (struct raft_hard_state){m->term, m->vote, m->commit};
                if (m->entry_count)
                    h->written = m->entries[m->entry_count - 1].index;
                answer(r, h, m);
            } else if (m->to == RAFT_APPLY_THREAD) {
                h->applies++;
                assert_int_equal(m->entries[0].index, h->applied + 1);
                h->applied = m->entries[m->entry_count - 1].index;
                assert_true(h->applied <= h->written);
                answer(r, h, m);
            } else {
                h->sent++;
                h->last_sent = *m;
            }
        }
    }
}

static void propose_text(struct raft *r, const char *text)
{
    struct raft_entry entry = {.data = blob_copy(slice_text(text))};
    assert_int_equal(raft_propose(r, &entry, 1), 0);
    blob_unref(entry.data);
}

static struct raft *lone_leader(struct host *h)
{
    struct raft_config config = config_of(1);
    struct raft_conf_state one = voters(1);
    struct raft *r = start(&config, &one);
    raft_campaign(r);
    turn(r, h);
    assert_int_equal(raft_role(r), RAFT_LEADER);
    return r;
}

static void test_single_voter_async(void **state)
{
    (void)state;
    struct host h = {0};
    struct raft *r = lone_leader(&h);
    assert_int_equal(h.applied, 1); /* the empty entry of the term */
    assert_int_equal(h.hard.term, 1);
    assert_int_equal(h.hard.vote, 1);
    propose_text(r, "a");
    turn(r, &h);
    assert_int_equal(h.applied, 2);
    assert_int_equal(raft_committed_index(r), 2);
    assert_int_equal(raft_applied_index(r), 2);
    assert_int_equal(h.hard.commit, 2);
    assert_int_equal(h.sent, 0);
    raft_free(r);
}

/* Nothing is committed before the host reports that it is durable, also alone (etcd #14370). */
static void test_single_voter_commits_only_durable_entries(void **state)
{
    (void)state;
    struct host h = {0};
    struct raft *r = lone_leader(&h);
    propose_text(r, "a");
    struct raft_ready rd;
    raft_ready(r, &rd);
    assert_int_equal(rd.entry_count, 1);
    assert_true(rd.must_sync);
    assert_int_equal(rd.message_count, 1);
    struct raft_message kept = raft_message_keep(&rd.messages[0]);
    for (int i = 0; i < 30; i++)
        raft_tick(r);
    turn(r, &h);
    assert_int_equal(raft_committed_index(r), 1);
    assert_int_equal(raft_role(r), RAFT_LEADER);
    answer(r, &h, &kept);
    h.written = 2;
    turn(r, &h);
    assert_int_equal(raft_committed_index(r), 2);
    assert_int_equal(h.applied, 2);
    raft_message_done(&kept);
    raft_free(r);
}

static void test_single_voter_sync(void **state)
{
    (void)state;
    struct raft_config config = config_of(1);
    config.async_storage_writes = false;
    struct raft_conf_state one = voters(1);
    struct raft *r = start(&config, &one);
    raft_campaign(r);
    uint64_t applied = 0;
    struct raft_ready rd;
    for (int proposals = 0; proposals < 3; proposals++) {
        while (raft_has_ready(r)) {
            raft_ready(r, &rd);
            assert_int_equal(rd.message_count, 0);
            if (rd.committed_count)
                applied = rd.committed[rd.committed_count - 1].index;
            raft_advance(r);
        }
        propose_text(r, "x");
    }
    assert_int_equal(raft_role(r), RAFT_LEADER);
    assert_int_equal(applied, 3);
    raft_free(r);
}

static void test_batch(void **state)
{
    (void)state;
    enum { BATCH = 1000 };
    struct host h = {0};
    struct raft *r = lone_leader(&h);
    static struct raft_entry batch[BATCH];
    for (size_t i = 0; i < BATCH; i++)
        batch[i] = (struct raft_entry){.data = blob_new(8)};
    size_t appends = h.appends;
    assert_int_equal(raft_propose(r, batch, BATCH), 0);
    assert_int_equal(raft_last_index(r), 1 + BATCH);
    assert_ptr_equal(raft_entry_at(r, 2)->data, batch[0].data);
    turn(r, &h);
    assert_int_equal(h.applied, 1 + BATCH);
    assert_int_equal(h.appends - appends, 2); /* the batch; the commit index */
    assert_int_equal(raft_compact(r, 501), 502);
    assert_null(raft_entry_at(r, 501));
    raft_free(r);
    for (size_t i = 0; i < BATCH; i++) {
        assert_int_equal(batch[i].data->references, 1);
        blob_unref(batch[i].data);
    }
}

static void test_uncommitted_limit(void **state)
{
    (void)state;
    struct host h = {0};
    struct raft_config config = config_of(1);
    config.max_uncommitted_size = 100;
    struct raft_conf_state one = voters(1);
    struct raft *r = start(&config, &one);
    raft_campaign(r);
    turn(r, &h);
    struct raft_entry big = {.data = blob_new(300)}, small = {.data = blob_new(1)}, empty = {0};
    assert_int_equal(raft_propose(r, &big, 1), 0); /* anything, while nothing else waits */
    assert_int_equal(raft_propose(r, &small, 1), ERR_PROPOSAL_DROPPED);
    assert_int_equal(raft_propose(r, &empty, 1), 0);
    assert_int_equal(raft_propose(r, NULL, 0), ERR_MALFORMED);
    turn(r, &h);
    assert_int_equal(raft_propose(r, &small, 1), 0);
    blob_unref(big.data);
    blob_unref(small.data);
    raft_free(r);
}

static struct raft_context context_of(uint64_t id)
{
    struct raft_context c = {.size = 8};
    put_le64(c.data, id);
    return c;
}

/* Alone, a read still waits for the first commit of the term: after a restart the commit index on disk may be
 * older than the acknowledged one. */
static void test_read_waits_for_the_term(void **state)
{
    (void)state;
    struct raft_entry stored[] = {{.index = 1, .term = 1}, {.index = 2, .term = 1}, {.index = 3, .term = 1}};
    struct raft_initial initial = {
        .hard_state = {.term = 1, .vote = 1, .commit = 1},
        .conf_state = voters(1),
        .entries = stored,
        .entry_count = 3,
    };
    struct raft_config config = config_of(1);
    struct raft *r;
    struct host h = {.written = 3};
    assert_int_equal(raft_new(&config, &initial, &r), 0);
    assert_int_equal(raft_read_index(r, context_of(1)), ERR_PROPOSAL_DROPPED); /* no leader */
    assert_int_equal(raft_read_index(r, (struct raft_context){0}), ERR_INVALID);
    raft_campaign(r);
    while (raft_role(r) != RAFT_LEADER) {
        struct raft_ready rd;
        raft_ready(r, &rd);
        for (size_t i = 0; i < rd.message_count; i++)
            answer(r, &h, &rd.messages[i]);
        for (size_t i = 0; i < rd.committed_count; i++)
            h.applied = rd.committed[i].index;
    }
    assert_int_equal(raft_committed_index(r), 1);
    assert_int_equal(raft_read_index(r, context_of(7)), 0);
    turn(r, &h);
    assert_int_equal(h.reads, 1);
    assert_int_equal(h.read.index, 4);
    assert_int_equal(get_le64(h.read.context.data), 7);
    raft_free(r);
}

static void test_restart(void **state)
{
    (void)state;
    struct raft_entry stored[] = {{.index = 6, .term = 2}, {.index = 7, .term = 3}, {.index = 8, .term = 3}};
    struct raft_initial initial = {
        .hard_state = {.term = 4, .vote = 2, .commit = 6},
        .conf_state = voters(3),
        .snapshot_index = 5,
        .snapshot_term = 2,
        .entries = stored,
        .entry_count = 3,
    };
    struct raft_config config = config_of(1);
    struct raft *r;
    uint64_t term;
    config.applied = 7; /* the store is ahead of the commit index on disk: applied entries are committed */
    assert_int_equal(raft_new(&config, &initial, &r), 0);
    assert_int_equal(raft_committed_index(r), 7);
    assert_int_equal(raft_applied_index(r), 7);
    assert_int_equal(raft_first_index(r), 6);
    assert_int_equal(raft_last_index(r), 8);
    assert_int_equal(raft_term_at(r, 5, &term), 0);
    assert_int_equal(term, 2);
    assert_int_equal(raft_term_at(r, 4, &term), ERR_NOT_FOUND);
    assert_false(raft_has_ready(r));
    raft_free(r);

    config.applied = 9; /* the log has lost entries */
    assert_int_equal(raft_new(&config, &initial, &r), ERR_INVALID);
    config.applied = 7;
    initial.hard_state.commit = 9;
    assert_int_equal(raft_new(&config, &initial, &r), ERR_INVALID);
    initial.hard_state.commit = 6;
    stored[1].index = 8;
    assert_int_equal(raft_new(&config, &initial, &r), ERR_INVALID);
    stored[1].index = 7;
    config.id = RAFT_NONE;
    assert_int_equal(raft_new(&config, &initial, &r), ERR_INVALID);
}

/* A follower of three that received its leader's message. */
static struct raft *follower(void)
{
    struct raft_config config = config_of(1);
    struct raft_conf_state three = voters(3);
    struct raft *r = start(&config, &three);
    struct raft_entry entries[] = {{.index = 1, .term = 1}, {.index = 2, .term = 1}};
    struct raft_message m = {.type = RAFT_MSG_APP,
                             .to = 1,
                             .from = 2,
                             .term = 1,
                             .entries = entries,
                             .entry_count = 2,
                             .commit = 1};
    assert_int_equal(raft_step(r, &m), 0);
    assert_int_equal(raft_leader(r), 2);
    return r;
}

static void test_hostile_messages(void **state)
{
    (void)state;
    struct raft *r = follower();
    struct raft_entry gap[] = {{.index = 4, .term = 1}}, old[] = {{.index = 3, .term = 0}},
                      new[] = {{.index = 3, .term = 9}};
    struct raft_entry bad[] = {{.type = RAFT_ENTRY_CONF_CHANGE, .data = blob_copy(slice_text("\xff\xff"))}};
    struct raft_snapshot snapshot = {
        .index = 5, .term = 1, .conf_state = {.learners = {.count = 1, .id = {1}}}};
    const struct {
        struct raft_message m;
        int err;
    } cases[] = {
        {{.type = RAFT_MSG_APP, .to = 9, .from = 2, .term = 1}, ERR_INVALID}, /* for another member */
        {{.type = RAFT_MSG_APP, .to = 1, .from = 0, .term = 1}, ERR_INVALID},
        {{.type = RAFT_MSG_APP, .to = 1, .from = 1, .term = 1}, ERR_STEP_LOCAL},
        {{.type = RAFT_MSG_HUP, .to = 1, .from = 2}, ERR_STEP_LOCAL},
        {{.type = RAFT_MSG_STORAGE_APPEND_RESP, .to = 1, .from = RAFT_APPEND_THREAD, .index = 2},
         ERR_STEP_LOCAL},
        {{.type = RAFT_MSG_APP_RESP, .to = 1, .from = 9, .term = 1}, ERR_STEP_PEER_NOT_FOUND},
        {{.type = RAFT_MSG_COUNT, .to = 1, .from = 2, .term = 1}, ERR_MALFORMED},
        {{.type = RAFT_MSG_VOTE, .to = 1, .from = 2}, ERR_MALFORMED}, /* without a term */
        {{.type = RAFT_MSG_VOTE, .to = 1, .from = 2, .term = UINT64_MAX}, ERR_MALFORMED},
        {{.type = RAFT_MSG_APP,
          .to = 1,
          .from = 2,
          .term = 1,
          .log_term = 1,
          .index = 2,
          .entries = gap,
          .entry_count = 1},
         ERR_MALFORMED},
        {{.type = RAFT_MSG_APP,
          .to = 1,
          .from = 2,
          .term = 1,
          .log_term = 1,
          .index = 2,
          .entries = old,
          .entry_count = 1},
         ERR_MALFORMED},
        {{.type = RAFT_MSG_APP,
          .to = 1,
          .from = 2,
          .term = 1,
          .log_term = 1,
          .index = 2,
          .entries = new,
          .entry_count = 1},
         ERR_MALFORMED},
        {{.type = RAFT_MSG_PROP, .to = 1, .from = 2}, ERR_MALFORMED},
        {{.type = RAFT_MSG_PROP, .to = 1, .from = 2, .entries = bad, .entry_count = 1}, ERR_MALFORMED},
        {{.type = RAFT_MSG_SNAP, .to = 1, .from = 2, .term = 1}, ERR_MALFORMED},
        {{.type = RAFT_MSG_SNAP, .to = 1, .from = 2, .term = 1, .snapshot = &snapshot}, ERR_MALFORMED},
        {{.type = RAFT_MSG_READ_INDEX, .to = 1, .from = 2}, ERR_MALFORMED},
        {{.type = RAFT_MSG_READ_INDEX, .to = 1, .from = 2, .context = {.size = 17}}, ERR_MALFORMED},
    };
    uint64_t before = raft_hash(r);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(raft_step(r, &cases[i].m), cases[i].err);
        assert_true(raft_hash(r) == before);
    }
    blob_unref(bad[0].data);
    raft_free(r);
}

/* etcd #21178: the leader counts on entries that are not here. */
static void test_heartbeat_beyond_the_log(void **state)
{
    (void)state;
    struct raft *r = follower();
    struct raft_message m = {.type = RAFT_MSG_HEARTBEAT, .to = 1, .from = 2, .term = 1, .commit = 100};
    assert_int_equal(raft_step(r, &m), 0);
    assert_int_equal(raft_committed_index(r), 1);
    m.commit = 2;
    assert_int_equal(raft_step(r, &m), 0);
    assert_int_equal(raft_committed_index(r), 2);
    raft_free(r);
}

/* An acknowledgement of an entry that the leader itself does not have. */
static void test_acknowledgement_beyond_the_log(void **state)
{
    (void)state;
    struct raft_config config = config_of(1);
    struct raft_conf_state three = voters(3);
    struct host h = {0};
    struct raft *r = start(&config, &three);
    raft_campaign(r);
    turn(r, &h);
    for (uint64_t from = 2; raft_role(r) != RAFT_LEADER;) {
        bool pre = raft_role(r) == RAFT_PRE_CANDIDATE;
        struct raft_message vote = {
            .type = pre ? RAFT_MSG_PRE_VOTE_RESP : RAFT_MSG_VOTE_RESP, .to = 1, .from = from, .term = 1};
        assert_int_equal(raft_step(r, &vote), 0);
        turn(r, &h);
    }
    struct raft_message m = {.type = RAFT_MSG_APP_RESP, .to = 1, .from = 2, .term = 1, .index = 50};
    assert_int_equal(raft_step(r, &m), ERR_MALFORMED);
    m.index = 1;
    assert_int_equal(raft_step(r, &m), 0);
    assert_int_equal(raft_committed_index(r), 1);
    struct raft_message read = {
        .type = RAFT_MSG_HEARTBEAT_RESP, .to = 1, .from = 2, .term = 1, .context = context_of(99)};
    assert_int_equal(raft_read_index(r, context_of(5)), 0);
    assert_int_equal(raft_step(r, &read), 0); /* confirms reads that were never requested */
    turn(r, &h);
    assert_int_equal(h.reads, 0);
    read.context = context_of(1);
    assert_int_equal(raft_step(r, &read), 0);
    turn(r, &h);
    assert_int_equal(h.reads, 1);
    raft_free(r);
}

/* --pre-vote: a member asks the others before it begins a term; without it the term begins at once. */
static void test_pre_vote_keeps_the_term(void **state)
{
    (void)state;
    struct raft_conf_state three = voters(3);
    for (unsigned pre = 0; pre < 2; pre++) {
        struct raft_config config = config_of(1);
        config.pre_vote = pre;
        struct host h = {0};
        struct raft *r = start(&config, &three);
        uint64_t term = raft_term(r);
        raft_campaign(r);
        turn(r, &h);
        assert_int_equal(raft_role(r), pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE);
        assert_int_equal(raft_term(r), pre ? term : term + 1);
        raft_free(r);
    }
}

/* Figure 8 of the paper, thesis 3.6.2: an entry of an older term is not committed by counting replicas. */
static void test_older_terms_are_not_counted(void **state)
{
    (void)state;
    struct raft_entry stored[] = {{.index = 1, .term = 1}, {.index = 2, .term = 1}};
    struct raft_initial initial = {
        .hard_state = {.term = 2, .commit = 1},
        .conf_state = voters(5),
        .entries = stored,
        .entry_count = 2,
    };
    struct raft_config config = config_of(1);
    config.pre_vote = false;
    struct host h = {.written = 2, .applied = 0};
    struct raft *r;
    assert_int_equal(raft_new(&config, &initial, &r), 0);
    raft_campaign(r);
    turn(r, &h);
    struct raft_message m = {.type = RAFT_MSG_VOTE_RESP, .to = 1, .term = 3};
    for (m.from = 2; m.from <= 3; m.from++)
        assert_int_equal(raft_step(r, &m), 0);
    turn(r, &h);
    assert_int_equal(raft_role(r), RAFT_LEADER);
    assert_int_equal(raft_last_index(r), 3);
    m.type = RAFT_MSG_APP_RESP;
    m.index = 2; /* every member has entry 2 of term 1 */
    for (m.from = 2; m.from <= 5; m.from++)
        assert_int_equal(raft_step(r, &m), 0);
    assert_int_equal(raft_committed_index(r), 1);
    m.index = 3;
    for (m.from = 2; m.from <= 3; m.from++)
        assert_int_equal(raft_step(r, &m), 0);
    assert_int_equal(raft_committed_index(r), 3);
    raft_free(r);
}

static void test_impossible_conf_change(void **state)
{
    (void)state;
    struct host h = {0};
    struct raft *r = lone_leader(&h);
    struct raft_conf_state out;
    struct raft_conf_change remove_all = {.count = 1, .changes = {{RAFT_REMOVE_NODE, 1}}};
    uint64_t before = raft_hash(r);
    assert_int_equal(raft_apply_conf_change(r, &remove_all, &out), ERR_INVALID);
    assert_true(raft_hash(r) == before);
    remove_all.changes[0].node_id = RAFT_NONE; /* the host refused it: no effect */
    assert_int_equal(raft_apply_conf_change(r, &remove_all, &out), 0);
    assert_int_equal(out.voters.count, 1);
    assert_int_equal(raft_propose_conf_change(r, &(struct raft_conf_change){.count = 2}, true), ERR_INVALID);
    raft_free(r);
}

/* A follower with an unknown log, when the log is compacted: raft requests a snapshot from the host. */
static void test_snapshot_is_wanted(void **state)
{
    (void)state;
    struct host h = {0};
    struct raft *r = lone_leader(&h);
    struct raft_conf_change add = {.count = 1, .changes = {{RAFT_ADD_LEARNER, 2}}};
    struct raft_snapshot snapshot = {.term = 1, .data = blob_new(1)};
    for (int i = 0; i < 10; i++)
        propose_text(r, "x");
    turn(r, &h);
    (void)raft_compact(r, 8);
    assert_int_equal(raft_propose_conf_change(r, &add, true), 0);
    turn(r, &h);
    assert_int_equal(raft_apply_conf_change(r, &add, &snapshot.conf_state), 0);
    turn(r, &h);
    struct raft_message m = {
        .type = RAFT_MSG_APP_RESP, .to = 1, .from = 2, .term = 1, .reject = true, .index = 11};
    assert_int_equal(raft_step(r, &m), 0);
    assert_true(raft_wants_snapshot(r));
    snapshot.index = 7; /* the log continues after 8 */
    raft_set_snapshot(r, &snapshot);
    m = (struct raft_message){.type = RAFT_MSG_HEARTBEAT_RESP, .to = 1, .from = 2, .term = 1};
    assert_int_equal(raft_step(r, &m), 0);
    assert_true(raft_wants_snapshot(r));
    snapshot.index = 10;
    raft_set_snapshot(r, &snapshot);
    assert_false(raft_wants_snapshot(r));
    assert_int_equal(raft_step(r, &m), 0);
    turn(r, &h);
    assert_int_equal(h.last_sent.type, RAFT_MSG_SNAP);
    struct raft_status status;
    raft_get_status(r, &status);
    assert_int_equal(status.progress[1].state, RAFT_SNAPSHOT);
    assert_int_equal(status.progress[1].pending_snapshot, 10);
    blob_unref(snapshot.data);
    raft_free(r);
}

/* Entries up to a snapshot that is being installed are not in the log any more. */
static void test_a_change_may_be_within_a_snapshot(void **state)
{
    (void)state;
    struct raft *r = follower();
    struct raft_snapshot snapshot = {.index = 50, .term = 1, .conf_state = voters(2)};
    struct raft_message m = {.type = RAFT_MSG_SNAP, .to = 1, .from = 2, .term = 1, .snapshot = &snapshot};
    assert_false(raft_has_change_waiting(r));
    assert_int_equal(raft_step(r, &m), OK);
    assert_true(raft_has_change_waiting(r));
    raft_free(r);
}

/* --- entries that are on disk only --- */

/* The leader of three, with entries 2 to 6 that member 2 has and member 3 does not, all applied and evicted.
 * Returns the written entries, as the host would read them from disk. */
static struct raft *leader_with_evicted(struct host *h, struct raft_entry disk[7])
{
    struct raft_config config = config_of(1);
    config.pre_vote = false;
    config.max_size_per_message = 30; /* two entries */
    struct raft_conf_state three = voters(3);
    struct raft *r = start(&config, &three);
    raft_campaign(r);
    turn(r, h);
    assert_int_equal(
        raft_step(r, &(struct raft_message){.type = RAFT_MSG_VOTE_RESP, .from = 2, .to = 1, .term = 1}), 0);
    turn(r, h);
    assert_int_equal(raft_role(r), RAFT_LEADER);
    for (int i = 0; i < 5; i++)
        propose_text(r, "entry");
    turn(r, h);
    for (uint64_t i = 1; i <= 6; i++) {
        disk[i] = *raft_entry_at(r, i);
        blob_ref(disk[i].data);
    }
    struct raft_message ack = {.type = RAFT_MSG_APP_RESP, .from = 2, .to = 1, .term = 1, .index = 6};
    assert_int_equal(raft_step(r, &ack), 0);
    turn(r, h);
    assert_int_equal(raft_applied_index(r), 6);
    raft_evict(r, 0);
    assert_null(raft_entry_at(r, 6));
    assert_int_equal(raft_held_bytes(r), 0);
    return r;
}

static void forget_disk(struct raft_entry disk[7])
{
    for (int i = 1; i <= 6; i++)
        blob_unref(disk[i].data);
}

/* Member 3 has the entry of this index and none after it: it refused a later append. */
static void third_is_at(struct raft *r, struct host *h, uint64_t index)
{
    struct raft_message ack = {.type = RAFT_MSG_APP_RESP, .from = 3, .to = 1, .term = 1, .index = index};
    assert_int_equal(raft_step(r, &ack), 0);
    turn(r, h);
}

static void test_read_back(void **state)
{
    (void)state;
    struct host h = {0};
    struct raft_entry disk[7];
    struct raft *r = leader_with_evicted(&h, disk);
    struct raft_wanted_entries wanted;
    assert_false(raft_wants_entries(r, &wanted));
    third_is_at(r, &h, 1);
    assert_true(raft_wants_entries(r, &wanted));
    assert_int_equal(wanted.from, 2);
    assert_int_equal(wanted.to, 6);
    assert_int_equal(wanted.term, 1);
    size_t sent = h.sent;
    assert_int_equal(raft_give_entries(r, disk + 2, 3), 0);
    turn(r, &h);
    assert_int_equal(h.sent, sent + 2); /* two and one: a message holds two */
    assert_int_equal(h.last_sent.type, RAFT_MSG_APP);
    assert_int_equal(h.last_sent.to, 3);
    assert_int_equal(h.last_sent.index, 3);
    assert_true(raft_wants_entries(r, &wanted));
    assert_int_equal(wanted.from, 5);
    struct raft *copy = raft_clone(r);
    assert_int_equal(raft_hash(copy), raft_hash(r));
    raft_free(copy);
    assert_int_equal(raft_give_entries(r, disk + 5, 2), 0);
    turn(r, &h);
    assert_false(raft_wants_entries(r, &wanted));
    raft_evict(r, 0); /* no follower needs the read entries */
    assert_int_equal(raft_held_bytes(r), 0);
    forget_disk(disk);
    raft_free(r);
}

/* An overwritten entry of an index does not replace the entry that was committed there. */
static void test_read_back_of_another_term(void **state)
{
    (void)state;
    struct host h = {0};
    struct raft_entry disk[7];
    struct raft *r = leader_with_evicted(&h, disk);
    third_is_at(r, &h, 1);
    struct raft_entry old = disk[2];
    old.term = 7;
    size_t sent = h.sent;
    assert_int_equal(raft_give_entries(r, &old, 1), ERR_CORRUPT);
    turn(r, &h);
    assert_int_equal(h.sent, sent);
    forget_disk(disk);
    raft_free(r);
}

/* The log is compacted while an entry is read: a snapshot is sent, and the late result of the read is
 * ignored. */
static void test_cut_while_reading(void **state)
{
    (void)state;
    struct host h = {0};
    struct raft_entry disk[7];
    struct raft *r = leader_with_evicted(&h, disk);
    struct raft_wanted_entries wanted;
    third_is_at(r, &h, 1);
    assert_true(raft_wants_entries(r, &wanted));
    raft_set_snapshot(r, &(struct raft_snapshot){.index = 6, .term = 1, .conf_state = voters(3)});
    (void)raft_compact(r, 6);
    assert_false(raft_wants_entries(r, &wanted));
    assert_int_equal(raft_give_entries(r, disk + 2, 5), 0);
    raft_tick(r);
    struct raft_message heard = {.type = RAFT_MSG_HEARTBEAT_RESP, .from = 3, .to = 1, .term = 1};
    assert_int_equal(raft_step(r, &heard), 0);
    turn(r, &h);
    assert_int_equal(h.last_sent.type, RAFT_MSG_SNAP);
    forget_disk(disk);
    raft_free(r);
}

/* Entries that are delivered to a former leader are ignored. */
static void test_deposed_while_reading(void **state)
{
    (void)state;
    struct host h = {0};
    struct raft_entry disk[7];
    struct raft *r = leader_with_evicted(&h, disk);
    struct raft_wanted_entries wanted;
    third_is_at(r, &h, 1);
    assert_int_equal(
        raft_step(r, &(struct raft_message){.type = RAFT_MSG_HEARTBEAT, .from = 2, .to = 1, .term = 5}), 0);
    turn(r, &h);
    assert_false(raft_wants_entries(r, &wanted));
    assert_int_equal(raft_give_entries(r, disk + 2, 5), 0);
    assert_int_equal(raft_held_bytes(r), 0);
    forget_disk(disk);
    raft_free(r);
}

/* Started with the newest entries alone. */
static void test_restart_without_the_oldest(void **state)
{
    (void)state;
    struct raft_config config = config_of(1);
    config.applied = 5;
    struct raft_term_run runs[] = {{3, 1}, {4, 2}};
    struct raft_entry entries[] = {{.index = 6, .term = 2}, {.index = 7, .term = 3}};
    struct raft_initial initial = {.hard_state = {3, 0, 6},
                                   .conf_state = voters(1),
                                   .snapshot_index = 2,
                                   .snapshot_term = 1,
                                   .runs = runs,
                                   .run_count = 2,
                                   .entries = entries,
                                   .entry_count = 2,
                                   .first_entry = 6};
    struct raft *r;
    uint64_t term;
    assert_int_equal(raft_new(&config, &initial, &r), 0);
    assert_int_equal(raft_first_index(r), 3);
    assert_int_equal(raft_last_index(r), 7);
    assert_int_equal(raft_term_at(r, 3, &term), 0);
    assert_int_equal(term, 1);
    assert_int_equal(raft_term_at(r, 5, &term), 0);
    assert_int_equal(term, 2);
    assert_int_equal(raft_term_at(r, 7, &term), 0);
    assert_int_equal(term, 3);
    raft_free(r);
    initial.first_entry = 5; /* the entries do not follow the runs */
    assert_int_equal(raft_new(&config, &initial, &r), ERR_INVALID);
    initial.first_entry = 6;
    config.applied = 4; /* an entry that is not applied is not there */
    assert_int_equal(raft_new(&config, &initial, &r), ERR_INVALID);
}

static void test_clone(void **state)
{
    (void)state;
    struct host h = {0}, h2;
    struct raft *r = lone_leader(&h);
    propose_text(r, "a");
    struct raft *copy = raft_clone(r);
    assert_true(raft_hash(copy) == raft_hash(r));
    h2 = h;
    propose_text(r, "b");
    assert_true(raft_hash(copy) != raft_hash(r));
    propose_text(copy, "b");
    assert_true(raft_hash(copy) == raft_hash(r));
    turn(r, &h);
    raft_free(r);
    turn(copy, &h2); /* continues alone */
    assert_int_equal(h2.applied, 3);
    raft_free(copy);
}

static void test_election_timeouts_spread(void **state)
{
    (void)state;
    unsigned seen[10] = {0};
    struct raft_conf_state three = voters(3);
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct raft_config config = config_of(1);
        config.seed = seed;
        struct raft *r = start(&config, &three);
        unsigned ticks = 0;
        for (; raft_role(r) == RAFT_FOLLOWER; ticks++)
            raft_tick(r);
        assert_in_range(ticks, 10, 19);
        seen[ticks - 10]++;
        raft_free(r);
    }
    for (size_t i = 0; i < COUNT_OF(seen); i++)
        assert_in_range(seen[i], 5, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_voter_async),
        cmocka_unit_test(test_single_voter_commits_only_durable_entries),
        cmocka_unit_test(test_single_voter_sync),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_uncommitted_limit),
        cmocka_unit_test(test_read_waits_for_the_term),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_hostile_messages),
        cmocka_unit_test(test_heartbeat_beyond_the_log),
        cmocka_unit_test(test_acknowledgement_beyond_the_log),
        cmocka_unit_test(test_pre_vote_keeps_the_term),
        cmocka_unit_test(test_older_terms_are_not_counted),
        cmocka_unit_test(test_impossible_conf_change),
        cmocka_unit_test(test_snapshot_is_wanted),
        cmocka_unit_test(test_a_change_may_be_within_a_snapshot),
        cmocka_unit_test(test_read_back),
        cmocka_unit_test(test_read_back_of_another_term),
        cmocka_unit_test(test_cut_while_reading),
        cmocka_unit_test(test_deposed_while_reading),
        cmocka_unit_test(test_restart_without_the_oldest),
        cmocka_unit_test(test_clone),
        cmocka_unit_test(test_election_timeouts_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
