/* SPDX-License-Identifier: Apache-2.0
 * Calls to the leader over a transport that only records what is sent: on the member that passes a request on
 * (sent again, late replies, other leaders), and on the leader that serves it. */
#define KV_PARTS_REAL_LEADER_CALLS
#include "kv_parts.h"

#include "consensus/peer/codec.h"

enum { LEADER = 1, OTHER = 3, FIRST = 100, RETRY_MS = 500, LEASE = 70, SENT_MAX = 8 };
enum { KEEP_ALIVE = 1, TIME_TO_LIVE = 2, PROMOTE = 3, FAILED = 4, LOG_END = 5, REFUSED = 6 };

/* --- the transport and the node -------------------------------------------------------------------------- */

static struct {
    uint64_t to;
    uint8_t kind, type, body[64];
    size_t size;
} sent[SENT_MAX];
static size_t sent_count;

static bool send_message(struct peers *peers, uint64_t to, enum peer_stream stream, struct slice head,
                         struct slice body)
{
    (void)peers;
    assert_int_equal(stream, PEER_STREAM_LOG);
    assert_int_equal(head.size, 2);
    assert_true(sent_count < SENT_MAX && body.size <= sizeof sent[0].body);
    sent[sent_count].to = to;
    sent[sent_count].kind = head.data[0];
    sent[sent_count].type = head.data[1];
    sent[sent_count].size = body.size;
    if (body.size)
        memcpy(sent[sent_count].body, body.data, body.size);
    sent_count++;
    return true;
}

uint64_t node_last_index(const struct node *n)
{
    (void)n;
    return 4711;
}

/* --- the other parts -------------------------------------------------------------------------------------- */

static struct {
    struct kv_request *served[4]; /* requests of other members, under way here */
    const ProtobufCMessage *messages[4];
    size_t count;
    uint64_t refused, log_end_number, log_end;
    int refused_err;
    unsigned promotions;
    int64_t scanned_revision, scanned_ttl_s, scanned_granted_s;
} fake;

static void serve(struct kv_request *r, const ProtobufCMessage *m)
{
    assert_true(fake.count < COUNT_OF(fake.served));
    fake.served[fake.count] = r;
    fake.messages[fake.count++] = m;
}

void kv_lease_keep_alive(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseKeepAliveRequest *m)
{
    (void)kv;
    serve(r, &m->base);
}

void kv_lease_time_to_live(struct kv *kv, struct kv_request *r, const Etcdserverpb__LeaseTimeToLiveRequest *m)
{
    (void)kv;
    serve(r, &m->base);
}

/* The keys are read here, at the leader's revision. */
void kv_scan_lease_keys(struct kv *kv, struct kv_request *r, int64_t revision, int64_t ttl_s,
                        int64_t granted_s)
{
    (void)kv;
    (void)r;
    fake.scanned_revision = revision;
    fake.scanned_ttl_s = ttl_s;
    fake.scanned_granted_s = granted_s;
}

void kv_member_promote(struct kv *kv, struct kv_request *r, const Etcdserverpb__MemberPromoteRequest *m)
{
    (void)kv;
    fake.promotions++;
    r->started_ms = parts.now_ms;
    if (kv_is_from_member(r))
        serve(r, &m->base);
}

void kv_fail_refused(struct kv *kv, uint64_t number, int err)
{
    (void)kv;
    fake.refused = number;
    fake.refused_err = err;
}

void kv_note_leader_log_end(struct kv *kv, uint64_t number, uint64_t index)
{
    (void)kv;
    fake.log_end_number = number;
    fake.log_end = index;
}

/* --- a member ------------------------------------------------------------------------------------------- */

static Etcdserverpb__LeaseKeepAliveRequest keep_alive;
static Etcdserverpb__LeaseTimeToLiveRequest time_to_live;
static Etcdserverpb__MemberPromoteRequest promote;

static struct kv *start(uint64_t leader)
{
    if (parts.kv.leader_calls.queued.next)
        kv_leader_calls_done(&parts.kv.leader_calls);
    struct kv *kv = parts_start();
    memset(&fake, 0, sizeof fake);
    memset(sent, 0, sizeof sent);
    sent_count = 0;
    parts.peer_ops.send = send_message;
    parts.revision = 9;
    parts_set_leader(leader);
    kv_leader_calls_init(&kv->leader_calls, FIRST);
    etcdserverpb__lease_keep_alive_request__init(&keep_alive);
    etcdserverpb__lease_time_to_live_request__init(&time_to_live);
    etcdserverpb__member_promote_request__init(&promote);
    keep_alive.id = time_to_live.id = LEASE;
    promote.id = OTHER;
    return kv;
}

static void call(struct kv *kv, unsigned n, enum kv_kind kind)
{
    const ProtobufCMessage *m = kind == KV_KEEP_ALIVE     ? &keep_alive.base
                                : kind == KV_TIME_TO_LIVE ? &time_to_live.base
                                                          : &promote.base;
    kv_start_call(kv, parts_request(n), kind, m);
    assert_waits(n, KV_CALL_QUEUED);
}

/* The number in the row `at` of the last message; a row has `width` bytes. */
static uint64_t last_number(size_t at, size_t width)
{
    assert_true(sent_count > 0 && (at + 1) * 8 <= sent[sent_count - 1].size);
    return get_be64(sent[sent_count - 1].body + at * width);
}

static void assert_sent(uint64_t to, uint8_t kind, uint8_t type)
{
    assert_true(sent_count > 0);
    assert_int_equal(sent[sent_count - 1].to, to);
    assert_int_equal(sent[sent_count - 1].kind, kind);
    assert_int_equal(sent[sent_count - 1].type, type);
}

/* A message of this type from a member: a number, then text. */
static void receive(struct kv *kv, uint64_t from, bool is_reply, uint8_t type, uint64_t number,
                    struct slice rest)
{
    uint8_t bytes[64] = {type};
    put_be64(bytes + 1, number);
    if (rest.size)
        memcpy(bytes + 9, rest.data, rest.size);
    kv_leader_calls_on_message(kv, from, is_reply, slice_of(bytes, 9 + rest.size));
}

static void receive_two_numbers(struct kv *kv, uint64_t from, bool is_reply, uint8_t type, uint64_t number,
                                uint64_t second)
{
    uint8_t rest[8];
    put_be64(rest, second);
    receive(kv, from, is_reply, type, number, slice_of(rest, sizeof rest));
}

static void receive_packed(struct kv *kv, uint64_t from, bool is_reply, uint8_t type, uint64_t number,
                           const ProtobufCMessage *m)
{
    uint8_t bytes[48];
    assert_true(protobuf_c_message_get_packed_size(m) <= sizeof bytes);
    receive(kv, from, is_reply, type, number, slice_of(bytes, protobuf_c_message_pack(m, bytes)));
}

/* --- passed on ------------------------------------------------------------------------------------------- */

/* Renewals share a message, all other calls have their own. */
static void test_calls_leave_together(void **state)
{
    (void)state;
    struct kv *kv = start(LEADER);
    assert_false(kv_send_calls(kv)); /* nothing is queued */
    call(kv, 0, KV_KEEP_ALIVE);
    call(kv, 1, KV_TIME_TO_LIVE);
    call(kv, 2, KV_KEEP_ALIVE);
    assert_true(kv_send_calls(kv));
    assert_int_equal(sent_count, 2);
    assert_int_equal(sent[0].type, TIME_TO_LIVE);
    assert_sent(LEADER, CODEC_CALL, KEEP_ALIVE);
    assert_int_equal(last_number(0, 16), FIRST + 1);
    assert_int_equal(get_be64(sent[1].body + 8), LEASE);
    assert_int_equal(last_number(1, 16), FIRST + 2);
    uint8_t rows[33] = {KEEP_ALIVE};
    put_be64(rows + 1, FIRST + 2);
    put_be64(rows + 9, 60);
    put_be64(rows + 17, FIRST + 1);
    put_be64(rows + 25, 30);
    kv_leader_calls_on_message(kv, LEADER, true, slice_of(rows, sizeof rows));
    assert_answered(0, OK);
    assert_int_equal(((Etcdserverpb__LeaseKeepAliveResponse *)parts.callers[0].response)->ttl, 30);
    assert_answered(2, OK);
    assert_int_equal(((Etcdserverpb__LeaseKeepAliveResponse *)parts.callers[2].response)->ttl, 60);
    assert_waits(1, KV_CALL_SENT);
    kv_leader_calls_stop(kv);
}

static bool take_part(struct kv_request *r, const ProtobufCMessage *part)
{
    (void)r;
    (void)part;
    return true;
}

/* The leader is asked for the time alone; the keys are read here, at its revision. */
static void test_keys_are_read_here(void **state)
{
    (void)state;
    struct kv *kv = start(LEADER);
    Etcdserverpb__LeaseTimeToLiveResponse lease = ETCDSERVERPB__LEASE_TIME_TO_LIVE_RESPONSE__INIT;
    Etcdserverpb__ResponseHeader header = ETCDSERVERPB__RESPONSE_HEADER__INIT;
    header.revision = 77;
    lease.header = &header;
    lease.id = LEASE;
    lease.ttl = 40;
    lease.grantedttl = 60;
    time_to_live.keys = true;
    parts_request(0)->on_part = take_part;
    call(kv, 0, KV_TIME_TO_LIVE);
    kv_send_calls(kv);
    receive_packed(kv, LEADER, true, TIME_TO_LIVE, FIRST, &lease.base);
    assert_int_equal(parts.callers[0].answers, 0);
    assert_int_equal(fake.scanned_revision, 77);
    assert_int_equal(fake.scanned_ttl_s, 40);
    assert_int_equal(fake.scanned_granted_s, 60);
    kv_leader_calls_stop(kv);
}

/* The header of the answer is this member's, not the leader's. */
static void test_answers(void **state)
{
    (void)state;
    struct kv *kv = start(LEADER);
    Etcdserverpb__LeaseTimeToLiveResponse lease = ETCDSERVERPB__LEASE_TIME_TO_LIVE_RESPONSE__INIT;
    Etcdserverpb__MemberPromoteResponse promoted = ETCDSERVERPB__MEMBER_PROMOTE_RESPONSE__INIT;
    lease.id = LEASE;
    lease.ttl = 40;
    call(kv, 0, KV_TIME_TO_LIVE);
    call(kv, 1, KV_MEMBER_PROMOTE);
    kv_send_calls(kv);
    receive_packed(kv, LEADER, true, TIME_TO_LIVE, FIRST + 1, &lease.base); /* of another kind: not heard */
    assert_waits(1, KV_CALL_SENT);
    receive_packed(kv, LEADER, true, TIME_TO_LIVE, FIRST, &lease.base);
    assert_answered(0, OK);
    const Etcdserverpb__LeaseTimeToLiveResponse *response = (void *)parts.callers[0].response;
    assert_int_equal(response->ttl, 40);
    assert_int_equal(response->header->member_id, PARTS_SELF);
    assert_int_equal(response->header->revision, 9);
    receive(kv, LEADER, true, PROMOTE, FIRST + 1, slice_text("\xff\xff")); /* does not decode: not heard */
    assert_waits(1, KV_CALL_SENT);
    receive_packed(kv, LEADER, true, PROMOTE, FIRST + 1, &promoted.base);
    assert_answered(1, OK);
}

static void test_no_leader(void **state)
{
    (void)state;
    struct kv *kv = start(0);
    call(kv, 0, KV_KEEP_ALIVE);
    assert_false(kv_send_calls(kv));
    assert_waits(0, KV_CALL_QUEUED);
    parts_set_leader(OTHER);
    assert_true(kv_send_calls(kv));
    assert_sent(OTHER, CODEC_CALL, KEEP_ALIVE);
    kv_leader_calls_stop(kv);
    assert_answered(0, ERR_STOPPED);
}

/* --- no answer, other leaders ------------------------------------------------------------------------------ */

/* Sent again under a new number; the late reply to the first attempt finds no request. */
static void test_no_answer(void **state)
{
    (void)state;
    struct kv *kv = start(LEADER);
    call(kv, 0, KV_KEEP_ALIVE);
    kv_send_calls(kv);
    parts.now_ms += RETRY_MS - 1;
    kv_retry_calls(kv);
    assert_waits(0, KV_CALL_SENT);
    call(kv, 1, KV_KEEP_ALIVE);
    kv_send_calls(kv);
    parts.now_ms += 1;
    kv_retry_calls(kv);
    assert_waits(0, KV_CALL_QUEUED);
    assert_waits(1, KV_CALL_SENT); /* it has waited for a millisecond only */
    receive_two_numbers(kv, LEADER, true, KEEP_ALIVE, FIRST, 60);
    assert_waits(0, KV_CALL_QUEUED);
    kv_send_calls(kv);
    assert_int_equal(last_number(0, 16), FIRST + 2);
    receive_two_numbers(kv, LEADER, true, KEEP_ALIVE, FIRST, 60);
    assert_waits(0, KV_CALL_SENT);
    receive_two_numbers(kv, LEADER, true, KEEP_ALIVE, FIRST + 2, 60);
    assert_answered(0, OK);
    receive_two_numbers(kv, LEADER, true, KEEP_ALIVE, FIRST + 2, 60); /* twice */
    kv_leader_calls_stop(kv);
    assert_answered(1, ERR_STOPPED);
}

static void test_new_leader(void **state)
{
    (void)state;
    struct kv *kv = start(LEADER);
    call(kv, 0, KV_TIME_TO_LIVE);
    call(kv, 1, KV_MEMBER_PROMOTE);
    kv_send_calls(kv);
    parts_set_leader(OTHER);
    kv_requeue_calls(kv);
    assert_waits(0, KV_CALL_QUEUED);
    kv_send_calls(kv);
    assert_sent(OTHER, CODEC_CALL, PROMOTE);
    assert_int_equal(last_number(0, 8), FIRST + 3);
    receive(kv, LEADER, true, FAILED, FIRST + 1, slice_text("ERR_LEARNER_NOT_READY")); /* of the old one */
    assert_waits(1, KV_CALL_SENT);
    receive(kv, OTHER, true, FAILED, FIRST + 3, slice_text("ERR_LEARNER_NOT_READY"));
    assert_answered(1, ERR_LEARNER_NOT_READY);
    kv_leader_calls_stop(kv);
}

/* This member is the new leader: it serves the calls itself, and their limit counts from their begin. */
static void test_this_member_is_the_new_leader(void **state)
{
    (void)state;
    struct kv *kv = start(LEADER);
    call(kv, 0, KV_TIME_TO_LIVE);
    call(kv, 1, KV_MEMBER_PROMOTE);
    uint64_t begin_ms = parts.now_ms;
    kv_send_calls(kv);
    parts.now_ms += 400;
    parts_set_leader(PARTS_SELF);
    kv_requeue_calls(kv);
    assert_true(kv_send_calls(kv));
    assert_int_equal(sent_count, 2);
    assert_waits(0, KV_READING);
    assert_false(parts.is_read_local);
    assert_int_equal(fake.promotions, 1);
    assert_int_equal(parts_request(0)->started_ms, begin_ms);
    assert_int_equal(parts_request(1)->started_ms, begin_ms);
    assert_true(list_is_empty(&kv->leader_calls.queued));
}

/* The member that was asked does not lead any more: again a moment later. Other errors are the answer. */
static void test_errors(void **state)
{
    (void)state;
    static const char *const passing[] = {"ERR_NOT_LEADER", "ERR_LEADER_CHANGED", "ERR_NOT_PRIMARY_LESSOR"};
    for (size_t i = 0; i < COUNT_OF(passing); i++) {
        struct kv *kv = start(LEADER);
        call(kv, 0, KV_KEEP_ALIVE);
        kv_send_calls(kv);
        receive(kv, LEADER, true, FAILED, FIRST, slice_text(passing[i]));
        assert_waits(0, KV_CALL_SENT);
        receive_two_numbers(kv, LEADER, true, KEEP_ALIVE, FIRST, 60); /* its number is used up */
        assert_waits(0, KV_CALL_SENT);
        parts.now_ms += RETRY_MS;
        kv_retry_calls(kv);
        kv_send_calls(kv);
        assert_int_equal(last_number(0, 16), FIRST + 1);
        receive(kv, LEADER, true, FAILED, FIRST + 1, slice_text("ERR_TIMEOUT"));
        assert_answered(0, ERR_TIMEOUT);
    }
    struct kv *kv = start(LEADER);
    call(kv, 0, KV_KEEP_ALIVE);
    kv_send_calls(kv);
    receive(kv, LEADER, true, FAILED, FIRST, slice_text("ERR_OF_A_LATER_VERSION"));
    assert_answered(0, ERR_UNKNOWN);
}

static void test_limits_and_cancel(void **state)
{
    (void)state;
    struct kv *kv = start(LEADER);
    call(kv, 0, KV_KEEP_ALIVE);
    call(kv, 1, KV_KEEP_ALIVE);
    call(kv, 2, KV_KEEP_ALIVE);
    kv_send_calls(kv);
    call(kv, 3, KV_TIME_TO_LIVE);
    kv_cancel(kv, parts_request(1));
    parts.now_ms += kv->settings.limit_ms - 1;
    kv_expire_calls(kv);
    assert_waits(0, KV_CALL_SENT);
    parts.now_ms += 1;
    kv_expire_calls(kv);
    assert_fails(0, ERR_TIMEOUT);
    assert_fails(3, ERR_TIMEOUT);
    for (uint64_t number = FIRST; number < FIRST + 3; number++)
        receive_two_numbers(kv, LEADER, true, KEEP_ALIVE, number, 60); /* late: finds nobody */
    assert_fails(2, ERR_TIMEOUT);
    assert_int_equal(parts.callers[1].answers, 0);
}

/* --- refused proposals, and the end of the leader's log --------------------------------------------------- */

static void test_refused_proposal(void **state)
{
    (void)state;
    struct kv *kv = start(LEADER);
    receive(kv, LEADER, true, REFUSED, 55, slice_text("ERR_TOO_MANY_REQUESTS"));
    assert_int_equal(fake.refused, 55);
    assert_int_equal(fake.refused_err, ERR_TOO_MANY_REQUESTS);
    kv_send_refusal(kv, OTHER, 56, ERR_TOO_MANY_REQUESTS);
    assert_sent(OTHER, CODEC_REPLY, REFUSED);
    assert_int_equal(last_number(0, 8), 56);
    assert_memory_equal(sent[0].body + 8, "ERR_TOO_MANY_REQUESTS", sent[0].size - 8);
}

/* Numbers of proposals and of calls are counted apart: a refusal ends no call. */
static void test_refusal_ends_no_call(void **state)
{
    (void)state;
    struct kv *kv = start(LEADER);
    call(kv, 0, KV_TIME_TO_LIVE);
    kv_send_calls(kv);
    receive(kv, LEADER, true, REFUSED, FIRST, slice_text("ERR_TOO_MANY_REQUESTS"));
    assert_waits(0, KV_CALL_SENT);
    kv_leader_calls_stop(kv);
}

static void test_log_end(void **state)
{
    (void)state;
    struct kv *kv = start(LEADER);
    call(kv, 0, KV_KEEP_ALIVE);
    kv_send_calls(kv);
    uint64_t number = kv_new_call_number(kv);
    assert_int_equal(number, FIRST + 1);
    kv_query_log_end(kv, number);
    assert_sent(LEADER, CODEC_CALL, LOG_END);
    assert_int_equal(last_number(0, 8), number);
    receive_two_numbers(kv, LEADER, true, LOG_END, number, 900);
    assert_int_equal(fake.log_end_number, number);
    assert_int_equal(fake.log_end, 900);
    kv_leader_calls_stop(kv);
    /* The leader's side: it holds proposals back, or it does not. */
    kv = start(PARTS_SELF);
    parts.has_queued = true;
    receive(kv, OTHER, false, LOG_END, 7, slice_text(""));
    assert_int_equal(sent_count, 0);
    parts.has_queued = false;
    receive(kv, OTHER, false, LOG_END, 7, slice_text(""));
    assert_sent(OTHER, CODEC_REPLY, LOG_END);
    assert_int_equal(last_number(0, 8), 7);
    assert_int_equal(last_number(1, 8), 4711);
}

/* --- the leader serves ----------------------------------------------------------------------------------- */

static void answer_served(size_t n, int err, const ProtobufCMessage *response)
{
    fake.served[n]->done(fake.served[n], err, response);
}

/* Rows of renewals are requests of their own. Answers of a turn share a message for each member. */
static void test_serves_renewals(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    Etcdserverpb__LeaseKeepAliveResponse response = ETCDSERVERPB__LEASE_KEEP_ALIVE_RESPONSE__INIT;
    uint8_t rows[33] = {KEEP_ALIVE};
    for (unsigned i = 0; i < 2; i++) {
        put_be64(rows + 1 + 16 * i, 500 + i);
        put_be64(rows + 9 + 16 * i, LEASE + i);
    }
    kv_leader_calls_on_message(kv, OTHER, false, slice_of(rows, sizeof rows));
    receive_two_numbers(kv, LEADER, false, KEEP_ALIVE, 600, LEASE);
    assert_int_equal(fake.count, 3);
    assert_true(kv_is_from_member(fake.served[0]));
    assert_false(kv_is_from_member(parts_request(0)));
    assert_int_equal(((const Etcdserverpb__LeaseKeepAliveRequest *)fake.messages[1])->id, LEASE + 1);
    response.ttl = 60;
    answer_served(1, OK, &response.base);
    answer_served(2, OK, &response.base);
    answer_served(0, ERR_NOT_LEADER, NULL); /* errors go at once, by name */
    assert_sent(OTHER, CODEC_REPLY, FAILED);
    assert_int_equal(last_number(0, 8), 500);
    kv_send_replies(kv);
    assert_int_equal(sent_count, 3);
    assert_int_equal(sent[1].to, OTHER);
    assert_int_equal(get_be64(sent[1].body), 501);
    assert_int_equal(get_be64(sent[1].body + 8), 60);
    assert_int_equal(sent[2].to, LEADER);
    kv_send_replies(kv);
    assert_int_equal(sent_count, 3); /* once */
}

static void test_serves_others(void **state)
{
    (void)state;
    struct kv *kv = start(PARTS_SELF);
    Etcdserverpb__LeaseTimeToLiveResponse response = ETCDSERVERPB__LEASE_TIME_TO_LIVE_RESPONSE__INIT;
    response.ttl = 40;
    receive_packed(kv, OTHER, false, TIME_TO_LIVE, 500, &time_to_live.base);
    receive_packed(kv, OTHER, false, PROMOTE, 501, &promote.base);
    receive(kv, OTHER, false, TIME_TO_LIVE, 502, slice_text("\xff\xff")); /* does not decode: not heard */
    receive(kv, OTHER, false, 99, 503, slice_text(""));                   /* of a later version */
    kv_leader_calls_on_message(kv, OTHER, false, slice_text(""));
    kv_leader_calls_on_message(kv, OTHER, false, slice_text("\1short"));
    assert_int_equal(fake.count, 2);
    assert_int_equal(((const Etcdserverpb__MemberPromoteRequest *)fake.messages[1])->id, OTHER);
    answer_served(0, OK, &response.base);
    assert_sent(OTHER, CODEC_REPLY, TIME_TO_LIVE);
    assert_int_equal(last_number(0, 8), 500);
    parts.is_closing = true; /* the transport takes nothing any more */
    answer_served(1, ERR_STOPPED, NULL);
    assert_int_equal(sent_count, 1);
}

/* A member that does not lead refuses each row, and never passes one on. */
static void test_does_not_lead(void **state)
{
    (void)state;
    struct kv *kv = start(LEADER);
    uint8_t rows[33] = {KEEP_ALIVE};
    put_be64(rows + 1, 500);
    put_be64(rows + 17, 501);
    kv_leader_calls_on_message(kv, OTHER, false, slice_of(rows, sizeof rows));
    receive_packed(kv, OTHER, false, PROMOTE, 502, &promote.base);
    assert_int_equal(fake.count + fake.promotions, 0);
    assert_int_equal(sent_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sent[i].type, FAILED);
        assert_int_equal(get_be64(sent[i].body), 500 + i);
        assert_memory_equal(sent[i].body + 8, "ERR_NOT_LEADER", sent[i].size - 8);
    }
    assert_false(kv_send_calls(kv));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_leave_together),
        cmocka_unit_test(test_keys_are_read_here),
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_no_leader),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_new_leader),
        cmocka_unit_test(test_this_member_is_the_new_leader),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_limits_and_cancel),
        cmocka_unit_test(test_refused_proposal),
        cmocka_unit_test(test_refusal_ends_no_call),
        cmocka_unit_test(test_log_end),
        cmocka_unit_test(test_serves_renewals),
        cmocka_unit_test(test_serves_others),
        cmocka_unit_test(test_does_not_lead),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
