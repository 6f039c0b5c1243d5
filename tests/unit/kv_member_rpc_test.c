/* SPDX-License-Identifier: Apache-2.0
 * Tests of member RPCs over a fake transport that only records messages: each call ends once, numbers and
 * limits hold. kv_member_rpc_cluster_test.c tests them between real members. */
#include "base/mem.h"
#include "consensus/kv/kv_impl.h"
#include "consensus/peer/codec.h"
#include "unit.h"

enum { SELF = 1, OTHER = 2, THIRD = 3, TOPIC = 5, FIRST = 100, HEAD = 10, REFUSED = 1, FOR_LEADER = 0x80 };

/* --- the other parts ----------------------------------------------------------------------------------- */

static uint64_t now_ms, timer_ms;
static unsigned turns;
static bool is_closing;

uint64_t kv_now_ms(const struct kv *kv)
{
    (void)kv;
    return now_ms;
}

void kv_schedule_turn(struct kv *kv)
{
    (void)kv;
    turns++;
}

bool kv_is_closing(const struct kv *kv)
{
    (void)kv;
    return is_closing;
}

static void timer_start(struct io *io, struct io_timer *timer, uint64_t ms)
{
    (void)io;
    (void)timer;
    timer_ms = ms;
}

static void timer_stop(struct io *io, struct io_timer *timer)
{
    (void)io;
    (void)timer;
}

/* --- the transport ------------------------------------------------------------------------------------ */

static struct {
    size_t count;
    uint64_t to, unreachable;
    uint8_t head[HEAD], body[16];
    size_t body_size;
} sent;

static bool send_message(struct peers *peers, uint64_t to, enum peer_stream stream, struct slice head,
                         struct slice body)
{
    (void)peers;
    assert_int_equal(stream, PEER_STREAM_BULK);
    if (to == sent.unreachable)
        return false;
    sent.count++;
    sent.to = to;
    assert_int_equal(head.size, HEAD);
    memcpy(sent.head, head.data, HEAD);
    sent.body_size = body.size;
    if (body.size)
        memcpy(sent.body, body.data, body.size);
    return true;
}

/* --- a member ------------------------------------------------------------------------------------------ */

static struct kv kv;
static struct io_ops io_ops;
static struct io io;
static struct peer_ops peer_ops;
static struct peers peers;
static struct member list[3];
static struct kv_member_request *question; /* the last one that its handler got */

struct call {
    struct kv_member_rpc rpc;
    size_t answers, done, asked, answered;
};

static void on_answer(struct kv_member_rpc *a, uint64_t member_id, struct slice answer)
{
    (void)member_id;
    (void)answer;
    container_of(a, struct call, rpc)->answers++;
}

static void on_done(struct kv_member_rpc *a, size_t asked, size_t answered)
{
    struct call *c = container_of(a, struct call, rpc);
    c->done++;
    c->asked = asked;
    c->answered = answered;
}

static void handle(void *arg, struct kv_member_request *q, struct slice text)
{
    (void)arg;
    (void)text;
    question = q;
}

static void start(void)
{
    memset(&kv, 0, sizeof kv);
    memset(&sent, 0, sizeof sent);
    io_ops.timer_start = timer_start;
    io_ops.timer_stop = timer_stop;
    io.ops = &io_ops;
    peer_ops.send = send_message;
    peers.ops = &peer_ops;
    now_ms = 1000;
    turns = 0;
    is_closing = false;
    question = NULL;
    kv.io = &io;
    kv.peers = &peers;
    kv.member_id = SELF;
    for (uint64_t i = 0; i < 3; i++)
        list[i].id = i + 1;
    kv.members.list = list;
    kv.members.count = 3;
    kv_member_rpc_open(&kv, FIRST);
    kv_member_rpc_handle(&kv, TOPIC, handle, NULL);
}

static struct call new_call(void)
{
    return (struct call){.rpc = {.on_answer = on_answer, .done = on_done}};
}

static void message(uint64_t from, bool is_answer, uint8_t first, uint64_t number)
{
    uint8_t bytes[HEAD - 1] = {first};
    put_be64(bytes + 1, number);
    kv_member_rpc_on_message(&kv, from, is_answer, slice_of(bytes, sizeof bytes));
}

/* --- our calls ---------------------------------------------------------------------------------------- */

static void test_all_answer(void **state)
{
    (void)state;
    start();
    struct call c = new_call();
    kv_member_rpc_to_all(&kv, &c.rpc, TOPIC, slice_text("who?"), 500);
    assert_int_equal(sent.count, 2); /* not to itself */
    assert_int_equal(sent.head[0], CODEC_ASK);
    assert_int_equal(sent.head[1], TOPIC);
    assert_int_equal(get_be64(sent.head + 2), FIRST + 1);
    assert_memory_equal(sent.body, "who?", 4);
    message(OTHER, true, 0, FIRST + 1);
    message(OTHER, true, 0, FIRST + 1); /* twice: once is enough */
    message(THIRD, true, 0, FIRST + 9); /* of no call */
    kv_member_rpc_turn(&kv);
    assert_int_equal(c.done, 0);
    message(THIRD, true, 0, FIRST + 1);
    assert_int_equal(c.done, 0); /* in the turn, not from inside */
    kv_member_rpc_turn(&kv);
    kv_member_rpc_turn(&kv);
    assert_int_equal(c.done, 1);
    assert_int_equal(c.answers, 2);
    assert_int_equal(c.asked, 2);
    assert_int_equal(c.answered, 2);
    kv_member_rpc_close(&kv);
}

/* One is unreachable, one refuses or is lost: the call ends without waiting for its deadline. */
static void test_members_that_cannot_answer(void **state)
{
    (void)state;
    start();
    struct call refused = new_call(), lost = new_call();
    sent.unreachable = THIRD;
    kv_member_rpc_to_all(&kv, &refused.rpc, TOPIC, slice_text(""), 500);
    kv_member_rpc_to_all(&kv, &lost.rpc, TOPIC, slice_text(""), 500);
    message(OTHER, true, REFUSED, FIRST + 1);
    kv_member_rpc_unreachable(&kv, OTHER);
    kv_member_rpc_turn(&kv);
    assert_int_equal(refused.done + lost.done, 2);
    assert_int_equal(refused.asked, 1);
    assert_int_equal(refused.answered + lost.answered, 0);
    kv_member_rpc_close(&kv);
}

static void test_deadline_and_cancel(void **state)
{
    (void)state;
    start();
    struct call c = new_call(), canceled = new_call();
    kv_member_rpc_to_all(&kv, &c.rpc, TOPIC, slice_text(""), 500);
    kv_member_rpc_to_all(&kv, &canceled.rpc, TOPIC, slice_text(""), 100);
    kv_member_rpc_turn(&kv);
    assert_int_equal(timer_ms, 100);
    kv_member_rpc_cancel(&kv, &canceled.rpc);
    kv_member_rpc_cancel(&kv, &canceled.rpc); /* nothing more to do */
    now_ms += 499;
    kv_member_rpc_turn(&kv);
    assert_int_equal(c.done, 0);
    assert_int_equal(timer_ms, 1);
    now_ms += 1;
    kv_member_rpc_turn(&kv);
    assert_int_equal(c.done, 1);
    message(OTHER, true, 0, FIRST + 1); /* late: its call has ended */
    assert_int_equal(c.answers + canceled.answers + canceled.done, 0);
    kv_member_rpc_close(&kv);
}

/* The 65th call at once is sent to no member. */
static void test_too_many_calls(void **state)
{
    (void)state;
    static struct call calls[65];
    start();
    for (size_t i = 0; i < COUNT_OF(calls); i++) {
        calls[i] = new_call();
        kv_member_rpc_to_all(&kv, &calls[i].rpc, TOPIC, slice_text(""), 500);
    }
    assert_int_equal(sent.count, 2 * 64);
    kv_member_rpc_turn(&kv);
    assert_int_equal(calls[64].done, 1);
    assert_int_equal(calls[64].asked, 0);
    assert_int_equal(calls[63].done, 0);
    is_closing = true;
    kv_member_rpc_close(&kv); /* all of them end */
    assert_int_equal(calls[0].done, 1);
    assert_int_equal(calls[63].done, 1);
}

/* A leader calls its own handler, in the next turn. */
static void test_leader_calls_itself(void **state)
{
    (void)state;
    start();
    struct call c = new_call();
    kv.state.leader = SELF;
    kv.state.is_leader = true;
    kv_member_rpc_to_leader(&kv, &c.rpc, TOPIC, slice_text("x"), 500);
    assert_null(question);
    kv_member_rpc_turn(&kv);
    assert_non_null(question);
    kv_member_request_answer(&kv, question, slice_text("y"));
    kv_member_rpc_turn(&kv);
    assert_int_equal(c.done, 1);
    assert_int_equal(c.answered, 1);
    assert_int_equal(sent.count, 0);
    kv_member_rpc_close(&kv);
}

/* --- calls from others --------------------------------------------------------------------------------- */

static void test_answering(void **state)
{
    (void)state;
    start();
    message(OTHER, false, TOPIC, 7);
    assert_non_null(question);
    kv_member_request_answer(&kv, question, slice_text("yes"));
    assert_int_equal(sent.to, OTHER);
    assert_int_equal(sent.head[0], CODEC_ANSWER);
    assert_int_equal(sent.head[1], 0);
    assert_int_equal(get_be64(sent.head + 2), 7);
    assert_memory_equal(sent.body, "yes", 3);
    kv_member_rpc_close(&kv);
}

static void assert_refused(uint64_t from, uint8_t topic)
{
    sent.count = 0;
    message(from, false, topic, 7);
    assert_int_equal(sent.count, 1);
    assert_int_equal(sent.head[0], CODEC_ANSWER);
    assert_int_equal(sent.head[1], REFUSED);
}

/* A topic without a handler or out of range, a call for the leader, and the 65th of one member. */
static void test_refusals(void **state)
{
    (void)state;
    start();
    assert_refused(OTHER, TOPIC + 1);
    assert_refused(OTHER, KV_TOPICS_MAX);
    assert_refused(OTHER, TOPIC | FOR_LEADER);
    for (unsigned i = 0; i < 64; i++)
        message(OTHER, false, TOPIC, i);
    assert_refused(OTHER, TOPIC);
    sent.count = 0;
    message(THIRD, false, TOPIC, 7);
    assert_int_equal(sent.count, 0); /* another member's is still accepted */
    kv_member_rpc_close(&kv);        /* drops the waiting ones */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_answer),
        cmocka_unit_test(test_members_that_cannot_answer),
        cmocka_unit_test(test_deadline_and_cancel),
        cmocka_unit_test(test_too_many_calls),
        cmocka_unit_test(test_leader_calls_itself),
        cmocka_unit_test(test_answering),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
