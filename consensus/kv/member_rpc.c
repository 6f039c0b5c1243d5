/* SPDX-License-Identifier: Apache-2.0
 * Member RPCs: questions of one member to the memory of others (kv.h). Nothing goes through the log, and
 * nothing is sent again: an answer that is lost with a connection does not come. The call ends when the
 * connection breaks or its time is over.
 *
 *   ASK     flags and topic (1), number (8), question        on the bulk connection, after CODEC_ASK
 *   ANSWER  status (1), number (8), answer                    after CODEC_ANSWER
 *
 * Numbers are 8 bytes big-endian and never used twice in one run. */
#include <assert.h>

#include "consensus/kv/kv_impl.h"
#include "consensus/peer/codec.h"

#define CALLS_MAX        64  /* of ours, under way at once */
#define QUESTIONS_MAX    256 /* of all others, not answered yet */
#define QUESTIONS_OF_ONE 64  /* of one other */
#define FOR_LEADER       0x80
#define HEAD_SIZE        10

enum { ANSWERED = 0, REFUSED = 1 };

/* A question that waits for its handler; from this very member while it leads: with the question itself. */
struct kv_member_request {
    struct link link;
    uint64_t from, number;
    unsigned topic;
    struct blob *own;
};

static bool send_head(struct kv *kv, uint64_t to, enum codec_kind kind, unsigned first, uint64_t number,
                      struct slice body)
{
    uint8_t head[HEAD_SIZE] = {(uint8_t)kind, (uint8_t)first};
    put_be64(head + 2, number);
    return kv->peers->ops->send(kv->peers, to, PEER_STREAM_BULK, slice_of(head, HEAD_SIZE), body);
}

/* --- calls ------------------------------------------------------------------------------------------- */

static void kv_member_rpc_start(struct kv *kv, struct kv_member_rpc *a, size_t members_max,
                                uint64_t timeout_ms)
{
    a->number = ++kv->member_rpcs.last_number;
    a->asked = a->answered = a->left = 0;
    a->waiting = mem_new((members_max + 1) * sizeof *a->waiting);
    a->due_ms = kv_now_ms(kv) + timeout_ms;
    list_add_last(&kv->member_rpcs.calls, &a->link);
    kv->member_rpcs.call_count++;
    kv_schedule_turn(kv); /* messages leave, a call to no member ends, the timer starts */
}

static void note_sent(struct kv_member_rpc *a, uint64_t id)
{
    a->waiting[a->left++] = id;
    a->asked++;
}

static bool is_allowed(const struct kv *kv, unsigned topic, struct slice question)
{
    assert(topic < KV_TOPICS_MAX && question.size <= KV_MEMBER_RPC_BYTES_MAX);
    return !kv_is_closing(kv) && kv->member_rpcs.call_count <= CALLS_MAX;
}

void kv_member_rpc_to_all(struct kv *kv, struct kv_member_rpc *a, unsigned topic, struct slice question,
                          uint64_t timeout_ms)
{
    kv_member_rpc_start(kv, a, kv->members.count, timeout_ms);
    if (!is_allowed(kv, topic, question) || !kv->peers)
        return;
    for (size_t i = 0; i < kv->members.count; i++) {
        uint64_t id = kv->members.list[i].id;
        if (id != kv->member_id && send_head(kv, id, CODEC_ASK, topic, a->number, question))
            note_sent(a, id);
    }
}

static struct kv_member_request *add_question(struct kv *kv, uint64_t from, uint64_t number, unsigned topic)
{
    struct kv_member_request *q = mem_new(sizeof *q);
    *q = (struct kv_member_request){.from = from, .number = number, .topic = topic};
    list_add_last(&kv->member_rpcs.questions, &q->link);
    kv->member_rpcs.question_count++;
    return q;
}

void kv_member_rpc_to_leader(struct kv *kv, struct kv_member_rpc *a, unsigned topic, struct slice question,
                             uint64_t timeout_ms)
{
    uint64_t leader = kv->state.leader;
    kv_member_rpc_start(kv, a, 1, timeout_ms);
    if (!is_allowed(kv, topic, question) || !leader)
        return;
    if (kv->state.is_leader) {
        if (!kv->member_rpcs.handlers[topic].fn)
            return;
        struct kv_member_request *q = add_question(kv, kv->member_id, a->number, topic);
        q->own = blob_copy(question);
        note_sent(a, leader);
    } else if (kv->peers && send_head(kv, leader, CODEC_ASK, topic | FOR_LEADER, a->number, question)) {
        note_sent(a, leader);
    }
}

static void kv_member_rpc_end(struct kv *kv, struct kv_member_rpc *a)
{
    list_remove(&a->link);
    kv->member_rpcs.call_count--;
    mem_free(a->waiting);
    a->waiting = NULL;
}

void kv_member_rpc_cancel(struct kv *kv, struct kv_member_rpc *a)
{
    if (link_is_in_list(&a->link))
        kv_member_rpc_end(kv, a);
}

static struct kv_member_rpc *find_call(struct kv *kv, uint64_t number)
{
    LIST_FOR_EACH (l, &kv->member_rpcs.calls) {
        struct kv_member_rpc *a = container_of(l, struct kv_member_rpc, link);
        if (a->number == number)
            return a;
    }
    return NULL;
}

static bool stop_waiting_for(struct kv_member_rpc *a, uint64_t id)
{
    for (size_t i = 0; i < a->left; i++) {
        if (a->waiting[i] == id) {
            a->waiting[i] = a->waiting[--a->left];
            return true;
        }
    }
    return false;
}

/* done comes in the turn: no callback runs inside another one. */
static void take_answer(struct kv *kv, uint64_t from, uint64_t number, unsigned status, struct slice body)
{
    struct kv_member_rpc *a = find_call(kv, number);
    if (!a || !stop_waiting_for(a, from))
        return;
    if (a->left == 0)
        kv_schedule_turn(kv);
    if (status == ANSWERED) {
        a->answered++;
        a->on_answer(a, from, body);
    }
}

void kv_member_rpc_unreachable(struct kv *kv, uint64_t id)
{
    LIST_FOR_EACH (l, &kv->member_rpcs.calls) {
        struct kv_member_rpc *a = container_of(l, struct kv_member_rpc, link);
        if (stop_waiting_for(a, id) && a->left == 0)
            kv_schedule_turn(kv);
    }
}

/* --- questions --------------------------------------------------------------------------------------- */

void kv_member_rpc_handle(struct kv *kv, unsigned topic,
                          void (*fn)(void *arg, struct kv_member_request *q, struct slice question),
                          void *arg)
{
    assert(topic < KV_TOPICS_MAX);
    kv->member_rpcs.handlers[topic].fn = fn;
    kv->member_rpcs.handlers[topic].arg = arg;
}

static size_t count_questions_of(const struct kv *kv, uint64_t from)
{
    size_t count = 0;
    LIST_FOR_EACH (l, &kv->member_rpcs.questions)
        count += container_of(l, struct kv_member_request, link)->from == from;
    return count;
}

static void take_question(struct kv *kv, uint64_t from, uint64_t number, unsigned topic, struct slice body)
{
    bool is_for_leader = topic & FOR_LEADER;
    topic &= ~(unsigned)FOR_LEADER;
    if (topic >= KV_TOPICS_MAX || !kv->member_rpcs.handlers[topic].fn ||
        (is_for_leader && !kv->state.is_leader) || kv->member_rpcs.question_count >= QUESTIONS_MAX ||
        count_questions_of(kv, from) >= QUESTIONS_OF_ONE) {
        (void)send_head(kv, from, CODEC_ANSWER, REFUSED, number, (struct slice){0});
        return;
    }
    struct kv_member_request *q = add_question(kv, from, number, topic);
    kv->member_rpcs.handlers[topic].fn(kv->member_rpcs.handlers[topic].arg, q, body);
}

static void free_question(struct kv *kv, struct kv_member_request *q)
{
    list_remove(&q->link);
    kv->member_rpcs.question_count--;
    if (q->own)
        blob_unref(q->own);
    mem_free(q);
}

void kv_member_request_answer(struct kv *kv, struct kv_member_request *q, struct slice answer)
{
    assert(answer.size <= KV_MEMBER_RPC_BYTES_MAX);
    uint64_t from = q->from, number = q->number;
    free_question(kv, q);
    if (from == kv->member_id)
        take_answer(kv, from, number, ANSWERED, answer);
    else
        (void)send_head(kv, from, CODEC_ANSWER, ANSWERED, number, answer);
    kv_schedule_turn(kv);
}

void kv_member_rpc_on_message(struct kv *kv, uint64_t from, bool is_answer, struct slice bytes)
{
    if (bytes.size < HEAD_SIZE - 1 || bytes.size > HEAD_SIZE - 1 + KV_MEMBER_RPC_BYTES_MAX)
        return;
    struct slice body = slice_of(bytes.data + HEAD_SIZE - 1, bytes.size - (HEAD_SIZE - 1));
    if (is_answer)
        take_answer(kv, from, get_be64(bytes.data + 1), bytes.data[0], body);
    else
        take_question(kv, from, get_be64(bytes.data + 1), bytes.data[0], body);
}

/* --- the turn ---------------------------------------------------------------------------------------- */

static struct kv_member_request *find_own_question(struct kv *kv, uint64_t last)
{
    LIST_FOR_EACH (l, &kv->member_rpcs.questions) {
        struct kv_member_request *q = container_of(l, struct kv_member_request, link);
        if (q->own && q->number <= last)
            return q;
    }
    return NULL;
}

/* Calls that a handler starts wait for the next turn. */
static void call_itself(struct kv *kv)
{
    uint64_t last = kv->member_rpcs.last_number;
    struct kv_member_request *q;
    while ((q = find_own_question(kv, last))) {
        struct blob *question = q->own;
        q->own = NULL;
        kv->member_rpcs.handlers[q->topic].fn(kv->member_rpcs.handlers[q->topic].arg, q,
                                              blob_slice(question));
        blob_unref(question);
    }
}

static struct kv_member_rpc *find_ended(struct kv *kv, uint64_t now)
{
    LIST_FOR_EACH (l, &kv->member_rpcs.calls) {
        struct kv_member_rpc *a = container_of(l, struct kv_member_rpc, link);
        if (a->left == 0 || now >= a->due_ms)
            return a;
    }
    return NULL;
}

static void set_timer(struct kv *kv)
{
    uint64_t now = kv_now_ms(kv), first = UINT64_MAX;
    LIST_FOR_EACH (l, &kv->member_rpcs.calls) {
        const struct kv_member_rpc *a = container_of(l, struct kv_member_rpc, link);
        first = a->due_ms < first ? a->due_ms : first;
    }
    kv->io->ops->timer_start(kv->io, &kv->member_rpcs.timer, first > now ? first - now : 0);
}

void kv_member_rpc_turn(struct kv *kv)
{
    struct kv_member_rpc *a;
    if (!list_is_empty(&kv->member_rpcs.questions))
        call_itself(kv);
    while ((a = find_ended(kv, kv_is_closing(kv) ? UINT64_MAX : kv_now_ms(kv)))) {
        kv_member_rpc_end(kv, a);
        a->done(a, a->asked, a->answered);
    }
    if (!list_is_empty(&kv->member_rpcs.calls))
        set_timer(kv);
}

static void kv_member_rpc_on_timer(struct io_timer *timer)
{
    struct kv *kv = container_of(timer, struct kv, member_rpcs.timer);
    kv_schedule_turn(kv);
}

void kv_member_rpc_open(struct kv *kv, uint64_t first_number)
{
    list_init(&kv->member_rpcs.calls);
    list_init(&kv->member_rpcs.questions);
    kv->member_rpcs.last_number = first_number;
    kv->member_rpcs.timer.fire = kv_member_rpc_on_timer;
}

void kv_member_rpc_close(struct kv *kv)
{
    while (!list_is_empty(&kv->member_rpcs.questions))
        free_question(kv, container_of(kv->member_rpcs.questions.next, struct kv_member_request, link));
    kv_member_rpc_turn(kv);
    kv->io->ops->timer_stop(kv->io, &kv->member_rpcs.timer);
}
