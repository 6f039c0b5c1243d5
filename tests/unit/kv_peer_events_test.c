/* SPDX-License-Identifier: Apache-2.0
 * Events of the transport: which part gets a message, who hears of connections that come and go, and when a
 * removed member is disconnected. */
#define KV_PARTS_REAL_PEER_EVENTS
#include "kv_parts.h"

#include "consensus/peer/codec.h"

enum { LEADER = 1, OTHER = 3, UNKNOWN = 9, LEAVING_MS = 500 };

/* --- the transport -------------------------------------------------------------------------------------------- */

static struct {
    const struct peer_events *events;
    void *arg;
    uint64_t set[8], removed[8];
    size_t set_count, removed_count;
    struct peer_round_trip connections[4];
    size_t connection_count;
} transport;

static void set_events(struct peers *p, const struct peer_events *events, void *arg)
{
    (void)p;
    parts_trace("set events");
    transport.events = events;
    transport.arg = arg;
}

static void set_identity(struct peers *p, uint64_t cluster_id, uint64_t member_id)
{
    (void)p;
    parts_trace("set identity");
    assert_int_equal(cluster_id, PARTS_CLUSTER);
    assert_int_equal(member_id, PARTS_SELF);
}

static void set_member(struct peers *p, uint64_t id, const char *const *urls, size_t count)
{
    (void)p;
    (void)urls;
    (void)count;
    transport.set[transport.set_count++] = id;
}

static void remove_member(struct peers *p, uint64_t id)
{
    (void)p;
    transport.removed[transport.removed_count++] = id;
}

static void flush(struct peers *p)
{
    (void)p;
    parts_trace("flush");
}

static size_t round_trips(struct peers *p, struct peer_round_trip *ret_list, size_t max)
{
    (void)p;
    assert_true(transport.connection_count <= max);
    memcpy(ret_list, transport.connections, transport.connection_count * sizeof *ret_list);
    return transport.connection_count;
}

/* --- the node and the other parts -------------------------------------------------------------------------------- */

static struct {
    unsigned notes; /* kv_note_removed was true */
    bool has_work, sends_calls, is_reply;
    uint64_t forgotten, unreachable;
    size_t size; /* of the last message's body */
} fake;

void node_receive(struct node *n, uint64_t from, struct slice bytes)
{
    (void)n;
    assert_int_equal(from, OTHER);
    fake.size = bytes.size;
    parts_trace("raft");
}

void node_report_unreachable(struct node *n, uint64_t id)
{
    (void)n;
    fake.unreachable = id;
    parts_trace("raft unreachable");
}

bool node_has_work(const struct node *n)
{
    (void)n;
    return fake.has_work;
}

void node_turn(struct node *n)
{
    (void)n;
    parts_trace("node turn");
}

void kv_leader_calls_on_message(struct kv *kv, uint64_t from, bool is_reply, struct slice body)
{
    (void)kv;
    (void)from;
    fake.is_reply = is_reply;
    fake.size = body.size;
    parts_trace("call");
}

void kv_on_snapshot_message(struct kv *kv, uint64_t from, struct slice bytes)
{
    (void)kv;
    (void)from;
    fake.size = bytes.size;
    parts_trace("snapshot");
}

void kv_member_rpc_on_message(struct kv *kv, uint64_t from, bool is_answer, struct slice bytes)
{
    (void)kv;
    (void)from;
    fake.is_reply = is_answer;
    fake.size = bytes.size;
    parts_trace("member rpc");
}

void kv_member_rpc_unreachable(struct kv *kv, uint64_t id)
{
    (void)kv;
    fake.unreachable = id;
    parts_trace("rpc unreachable");
}

void kv_snapshot_on_reachable(struct kv *kv, uint64_t id)
{
    (void)kv;
    (void)id;
    parts_trace("snapshot reachable");
}

void kv_snapshot_forget(struct kv *kv, uint64_t id)
{
    (void)kv;
    fake.forgotten = id;
}

void kv_advance_ticks(struct kv *kv)
{
    (void)kv;
    parts_trace("advance ticks");
}

void kv_requeue_calls(struct kv *kv)
{
    (void)kv;
    parts_trace("requeue calls");
}

bool kv_send_calls(struct kv *kv)
{
    (void)kv;
    parts_trace("send calls");
    return fake.sends_calls;
}

void kv_send_replies(struct kv *kv)
{
    (void)kv;
    parts_trace("send replies");
}

void kv_dispatch_query(struct kv *kv, struct peer_served_query *question,
                       const struct peer_query_sender *asker, struct slice text)
{
    (void)kv;
    (void)question;
    (void)asker;
    (void)text;
    parts_trace("query");
}

void kv_peer_listing_start(struct kv *kv)
{
    (void)kv;
    parts_trace("list members");
}

bool kv_note_removed(struct kv *kv)
{
    (void)kv;
    fake.notes++;
    parts.removed_ms = parts.now_ms;
    return true;
}

/* --- a member -------------------------------------------------------------------------------------------------------- */

static struct kv *start(void)
{
    kv_peer_events_done(&parts.kv.peer_events);
    struct kv *kv = parts_start();
    memset(&transport, 0, sizeof transport);
    memset(&fake, 0, sizeof fake);
    parts.peer_ops.set_events = set_events;
    parts.peer_ops.set_identity = set_identity;
    parts.peer_ops.set_member = set_member;
    parts.peer_ops.remove_member = remove_member;
    parts.peer_ops.flush = flush;
    parts.peer_ops.round_trips = round_trips;
    parts_set_leader(LEADER);
    kv_peers_announce(kv);
    ASSERT_TRACE("set events", "set identity"); /* the identity opens the streams: it comes last */
    return kv;
}

static void receive(uint64_t from, const char *bytes, size_t size)
{
    transport.events->on_message(transport.arg, from, PEER_STREAM_LOG,
                                 slice_of((const uint8_t *)bytes, size));
}

static void lose(uint64_t id, enum peer_stream stream)
{
    transport.events->on_unreachable(transport.arg, id, stream);
}

static void reach(uint64_t id, enum peer_stream stream)
{
    transport.events->on_reachable(transport.arg, id, stream);
}

/* --- members --------------------------------------------------------------------------------------------------------- */

static void test_announce(void **state)
{
    (void)state;
    struct kv *kv = start();
    uint64_t gone[] = {7, 8};
    assert_int_equal(transport.set_count, 2); /* not itself */
    assert_int_equal(transport.set[0], 1);
    assert_int_equal(transport.set[1], 3);
    kv->members.removed = gone;
    kv->members.removed_count = 2;
    kv_peers_set(kv);
    assert_int_equal(transport.removed_count, 2);
    assert_int_equal(transport.removed[1], 8);
}

/* In the order in which they were removed, each a moment later. */
static void test_disconnected_later(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_disconnect_removed(kv);
    kv_disconnect_later(kv, OTHER);
    parts.now_ms += 100;
    kv_disconnect_later(kv, LEADER);
    parts.now_ms += LEAVING_MS - 101;
    kv_disconnect_removed(kv);
    assert_int_equal(transport.removed_count, 0);
    parts.now_ms += 1;
    kv_disconnect_removed(kv);
    assert_int_equal(transport.removed_count, 1);
    assert_int_equal(transport.removed[0], OTHER);
    assert_int_equal(fake.forgotten, OTHER);
    parts.now_ms += 100;
    kv_disconnect_removed(kv);
    kv_disconnect_removed(kv);
    assert_int_equal(transport.removed_count, 2);
    assert_int_equal(fake.forgotten, LEADER);
}

/* --- messages --------------------------------------------------------------------------------------------------------- */

static void test_each_kind_has_its_part(void **state)
{
    (void)state;
    static const struct {
        char kind;
        const char *part;
        bool is_reply;
    } rows[] = {
        {CODEC_RAFT, "raft", false},        {CODEC_CALL, "call", false},
        {CODEC_REPLY, "call", true},        {CODEC_ASK, "member rpc", false},
        {CODEC_ANSWER, "member rpc", true}, {CODEC_SNAPSHOT, "snapshot", false},
    };
    (void)start();
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        fake.is_reply = false;
        receive(OTHER, (char[]){rows[i].kind, 'a', 'b'}, 3);
        ASSERT_TRACE(rows[i].part);
        assert_int_equal(fake.is_reply, rows[i].is_reply);
        assert_int_equal(fake.size, 2); /* without its kind */
    }
    receive(OTHER, (char[]){99, 'a'}, 2); /* of a later version */
    receive(OTHER, "", 0);
    assert_int_equal(parts.trace_count, 0);
}

static void test_closing(void **state)
{
    (void)state;
    (void)start();
    parts.is_closing = true;
    receive(OTHER, (char[]){CODEC_RAFT, 'a'}, 2);
    lose(LEADER, PEER_STREAM_LOG);
    lose(LEADER, PEER_STREAM_BULK);
    reach(LEADER, PEER_STREAM_LOG);
    reach(LEADER, PEER_STREAM_BULK);
    assert_int_equal(parts.trace_count, 0);
}

/* --- connections -------------------------------------------------------------------------------------------------------- */

/* Only the log's connection to the leader carries proposals and calls. */
static void test_lost_connections(void **state)
{
    (void)state;
    (void)start();
    lose(OTHER, PEER_STREAM_LOG);
    ASSERT_TRACE("raft unreachable");
    lose(LEADER, PEER_STREAM_BULK);
    ASSERT_TRACE("rpc unreachable");
    lose(LEADER, PEER_STREAM_LOG);
    ASSERT_TRACE("raft unreachable", "leader loss");
    assert_int_equal(fake.unreachable, LEADER);
    assert_int_equal(parts.loss_err, ERR_TIMEOUT_CONNECTION_LOST);
    assert_int_equal(parts.loss_wait_ms, 0);
}

static void test_new_connections(void **state)
{
    (void)state;
    struct kv *kv = start();
    reach(OTHER, PEER_STREAM_BULK);
    ASSERT_TRACE("snapshot reachable");
    assert_false(member_find(&kv->members, OTHER)->was_heard);
    reach(OTHER, PEER_STREAM_LOG);
    ASSERT_TRACE("advance ticks");
    assert_true(member_find(&kv->members, OTHER)->was_heard);
    reach(LEADER, PEER_STREAM_LOG); /* what was under way is lost */
    ASSERT_TRACE("advance ticks", "requeue calls");
    reach(UNKNOWN, PEER_STREAM_LOG);
    ASSERT_TRACE("advance ticks");
}

static void test_is_active(void **state)
{
    (void)state;
    struct kv *kv = start();
    transport.connections[0] = (struct peer_round_trip){.id = LEADER, .active_since_ms = 500};
    transport.connections[1] = (struct peer_round_trip){.id = OTHER}; /* down */
    transport.connection_count = 2;
    assert_true(kv_peer_is_active(kv, PARTS_SELF, 0));
    assert_true(kv_peer_is_active(kv, LEADER, 500));
    assert_false(kv_peer_is_active(kv, LEADER, 499));
    assert_false(kv_peer_is_active(kv, OTHER, UINT64_MAX));
    assert_false(kv_peer_is_active(kv, UNKNOWN, UINT64_MAX));
    kv->peers = NULL;
    assert_false(kv_peer_is_active(kv, LEADER, UINT64_MAX));
}

/* --- processes that are no members --------------------------------------------------------------------------------------- */

static void test_queries(void **state)
{
    (void)state;
    struct kv *kv = start();
    transport.events->on_query(transport.arg, NULL, NULL, slice_text(""));
    transport.events->on_unconfirmed(transport.arg, UNKNOWN);
    ASSERT_TRACE("query", "list members");
    transport.events->on_removed(transport.arg, OTHER);
    transport.events->on_removed(transport.arg, OTHER);
    assert_int_equal(fake.notes, 1);
    assert_int_equal(kv_removed_ms(kv), parts.now_ms);
}

static struct kv *start_sole_voter(void)
{
    struct kv *kv = start();
    parts_set_voters(1);
    parts.conf.voters.id[0] = parts.members[0].id = PARTS_SELF;
    return kv;
}

/* A sole voter that somebody else knows has lost its disk: it hears nothing and ends. */
static void test_earlier_life(void **state)
{
    (void)state;
    (void)start_sole_voter();
    receive(UNKNOWN, (char[]){CODEC_RAFT, 'a'}, 2);
    receive(UNKNOWN, (char[]){CODEC_RAFT, 'a'}, 2);
    assert_int_equal(parts.trace_count, 0);
    assert_int_equal(fake.notes, 1);
    (void)start_sole_voter();
    reach(UNKNOWN, PEER_STREAM_LOG);
    assert_int_equal(fake.notes, 1);
}

static void assert_heard(void)
{
    receive(OTHER, (char[]){CODEC_RAFT, 'a'}, 2);
    ASSERT_TRACE("raft");
    assert_int_equal(fake.notes, 0);
}

/* No sign of an earlier life: the other one was removed here, is being added, or is one of several voters. */
static void test_no_earlier_life(void **state)
{
    (void)state;
    uint64_t gone[] = {OTHER};
    struct kv *kv = start_sole_voter();
    kv->members.removed = gone;
    kv->members.removed_count = 1;
    assert_heard();
    (void)start_sole_voter();
    parts.has_change_waiting = true;
    assert_heard();
    (void)start_sole_voter();
    parts.conf.voters_outgoing = (struct raft_ids){.count = 1, .id = {OTHER}};
    assert_heard();
    kv = start();
    kv->members.count = 2;
    assert_heard();
    (void)start_sole_voter();
    parts.conf.voters.id[0] = LEADER; /* a learner */
    assert_heard();
}

/* --- the turn --------------------------------------------------------------------------------------------------------------- */

static void test_turn(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_peer_turn(kv);
    ASSERT_TRACE("send calls", "send replies", "flush");
    fake.sends_calls = fake.has_work =
        true; /* calls that are ours to answer by now, and a round that they began */
    kv_peer_turn(kv);
    ASSERT_TRACE("send calls", "run reads", "node turn", "run reads", "send replies", "flush");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_announce),
        cmocka_unit_test(test_disconnected_later),
        cmocka_unit_test(test_each_kind_has_its_part),
        cmocka_unit_test(test_closing),
        cmocka_unit_test(test_lost_connections),
        cmocka_unit_test(test_new_connections),
        cmocka_unit_test(test_is_active),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_earlier_life),
        cmocka_unit_test(test_no_earlier_life),
        cmocka_unit_test(test_turn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
