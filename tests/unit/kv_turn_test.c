/* SPDX-License-Identifier: Apache-2.0
 * The turn of a member: what runs in which order, when there is one more turn, ticks, and a process that
 * stood still. */
#define KV_PARTS_REAL_TURN
#define KV_PARTS_REAL_READ_INDEX /* its kv_run_reads is below: a turn runs reads twice */
#include "kv_parts.h"

enum { TICK_MS = 100, ELECTION_MS = 1000 };

static struct {
    bool has_rights, has_events, has_failed, is_applying, has_clocks, is_primary; /* what is left */
    bool closes; /* an answer closes the member */
    uint64_t promoted_ms;
    unsigned promotions, answers;
    struct io_timer *timers[2]; /* started, not fired: the tick, the next turn */
    uint64_t after_ms[2];
} fake;

#define TRACED(name)                                                                                         \
    void kv_##name(struct kv *kv)                                                                            \
    {                                                                                                        \
        (void)kv;                                                                                            \
        parts_trace(#name);                                                                                  \
    }
TRACED(member_rpc_turn)
TRACED(run_reads)
TRACED(peer_turn)
TRACED(note_handed_to_raft)
TRACED(check_ready)
TRACED(leadership_tick)
TRACED(state_check_tick)
TRACED(feature_tick)
TRACED(exports_tick)
TRACED(check_dropped)
TRACED(retry_calls)
TRACED(promote_learners)
TRACED(check_hand_over)
TRACED(disconnect_removed)

void kv_answer_failed(struct kv *kv)
{
    (void)kv;
    parts_trace("answer_failed");
    fake.answers++;
    parts.is_closing = parts.is_closing || fake.closes;
}

bool kv_auth_turn(struct kv *kv)
{
    (void)kv;
    parts_trace("auth_turn");
    return fake.has_rights;
}

bool kv_has_failed(const struct kv *kv)
{
    (void)kv;
    return fake.has_failed;
}

size_t kv_pending_proposals(const struct kv *kv)
{
    (void)kv;
    return 0;
}

void node_turn(struct node *n)
{
    (void)n;
    parts_trace("node_turn");
}

bool node_is_applying(const struct node *n)
{
    (void)n;
    return fake.is_applying;
}

uint64_t node_pending_bytes(const struct node *n)
{
    (void)n;
    return 0;
}

bool watch_turn(struct watch_hub *h, uint64_t now_ms)
{
    (void)h;
    assert_int_equal(now_ms, parts.now_ms);
    parts_trace("watch_turn");
    return fake.has_events;
}

void store_turn(struct store *s)
{
    (void)s;
    parts_trace("store_turn");
}

uint64_t store_pending_bytes(const struct store *s)
{
    (void)s;
    return 0;
}

bool lease_start_clocks(struct lease_table *t, size_t max)
{
    (void)t;
    assert_int_equal(max, 1000);
    parts_trace("lease_clocks");
    return fake.has_clocks;
}

bool lease_is_primary(const struct lease_table *t)
{
    (void)t;
    return fake.is_primary;
}

void lease_promote(struct lease_table *t, uint64_t now_ms, uint64_t extend_ms)
{
    (void)t;
    assert_int_equal(extend_ms, ELECTION_MS);
    fake.promoted_ms = now_ms;
    fake.promotions++;
}

/* --- a member ------------------------------------------------------------------------------------------------- */

enum { TICK, AGAIN };

static void timer_start(struct io *io, struct io_timer *timer, uint64_t after_ms)
{
    (void)io;
    size_t n = timer == &parts.kv.turn.tick ? TICK : AGAIN;
    fake.timers[n] = timer;
    fake.after_ms[n] = after_ms;
}

static void timer_stop(struct io *io, struct io_timer *timer)
{
    (void)io;
    fake.timers[timer == &parts.kv.turn.tick ? TICK : AGAIN] = NULL;
}

static struct kv *start(void)
{
    struct kv *kv = parts_start();
    memset(&fake, 0, sizeof fake);
    parts.io_ops.timer_start = timer_start;
    parts.io_ops.timer_stop = timer_stop;
    kv_turn_init(&kv->turn, parts.now_ms);
    kv_turn_open(kv);
    return kv;
}

static void fire(size_t n)
{
    struct io_timer *timer = fake.timers[n];
    assert_non_null(timer);
    fake.timers[n] = NULL;
    timer->fire(timer);
}

/* --- tests -------------------------------------------------------------------------------------------------------- */

static void test_order(void **state)
{
    (void)state;
    struct kv *kv = start();
    kv_turn(kv);
    ASSERT_TRACE("answer_failed", "member_rpc_turn", "run_reads", "node_turn", "run_reads", "peer_turn",
                 "note_handed_to_raft", "feature_tick", "check_ready", "answer_failed", "auth_turn",
                 "watch_turn", "lease_clocks", "store_turn");
    assert_null(fake.timers[AGAIN]); /* nothing is left */
    kv->peers = NULL;
    kv_turn(kv);
    ASSERT_TRACE("answer_failed", "member_rpc_turn", "run_reads", "node_turn", "run_reads",
                 "note_handed_to_raft", "feature_tick", "check_ready", "answer_failed", "auth_turn",
                 "watch_turn", "lease_clocks", "store_turn");
}

/* Work that is left makes one more turn, however much of it there is. */
static void test_one_more_turn(void **state)
{
    (void)state;
    bool *left[] = {&fake.has_rights, &fake.has_events, &fake.has_failed, &fake.is_applying,
                    &fake.has_clocks};
    for (size_t i = 0; i < COUNT_OF(left); i++) {
        struct kv *kv = start();
        *left[i] = true;
        for (unsigned turn = 0; turn < 2; turn++) {
            kv_turn(kv);
            assert_int_equal(fake.after_ms[AGAIN], 0);
            fire(AGAIN);
            parts.trace_count = 0;
        }
        *left[i] = false;
        kv_turn(kv);
        assert_null(fake.timers[AGAIN]);
    }
    struct kv *kv = start();
    kv_schedule_turn(kv);
    fake.timers[AGAIN] = NULL;
    kv_schedule_turn(kv); /* it is scheduled */
    assert_null(fake.timers[AGAIN]);
}

/* An answer to a request that failed may close the member: nothing of it runs any more. */
static void test_closing_in_a_turn(void **state)
{
    (void)state;
    struct kv *kv = start();
    fake.closes = true;
    kv_turn(kv);
    ASSERT_TRACE("answer_failed");
    fire(TICK);
    assert_int_equal(parts.trace_count, 0);
    assert_null(fake.timers[TICK]);
}

static void test_ticks(void **state)
{
    (void)state;
    struct kv *kv = start();
    assert_int_equal(fake.after_ms[TICK], TICK_MS);
    fire(TICK);
    ASSERT_TRACE("leadership_tick", "state_check_tick", "feature_tick", "exports_tick", "check_dropped",
                 "retry_calls", "promote_learners", "check_hand_over", "disconnect_removed");
    assert_int_equal(fake.after_ms[TICK], TICK_MS);
    kv->peers = NULL;
    fire(TICK);
    ASSERT_TRACE("leadership_tick", "state_check_tick", "feature_tick", "exports_tick");
    kv_schedule_turn(kv);
    kv_turn_close(kv);
    assert_null(fake.timers[TICK]);
    assert_null(fake.timers[AGAIN]);
}

/* Nobody could renew a lease meanwhile: as under a new leader, each has its time again. */
static void test_stood_still(void **state)
{
    (void)state;
    struct kv *kv = start();
    fake.is_primary = true;
    parts.now_ms += ELECTION_MS;
    fire(TICK);
    assert_int_equal(fake.promotions, 0);
    parts.now_ms += ELECTION_MS + 1;
    fire(TICK);
    assert_int_equal(fake.promotions, 1);
    assert_int_equal(fake.promoted_ms, parts.now_ms + 1); /* rounded up */
    parts.now_ms += ELECTION_MS + 1;
    parts.trace_count = 0;
    kv_turn(kv); /* a turn may come before the tick */
    assert_int_equal(fake.promotions, 2);
    fake.is_primary = false;
    parts.now_ms += ELECTION_MS + 1;
    fire(TICK);
    assert_int_equal(fake.promotions, 2);
}

static void test_clock(void **state)
{
    (void)state;
    struct kv *kv = start();
    uint64_t begin_ms = parts.now_ms;
    parts.now_ms += 50;
    assert_int_equal(kv_now_ms(kv), begin_ms + 50);
    assert_int_equal(kv_turn_ms(kv), begin_ms); /* of the last turn */
    assert_int_equal(kv_lease_start_ms(kv), begin_ms + 51);
    kv_turn(kv);
    assert_int_equal(kv_turn_ms(kv), begin_ms + 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_one_more_turn),
        cmocka_unit_test(test_closing_in_a_turn),
        cmocka_unit_test(test_ticks),
        cmocka_unit_test(test_stood_still),
        cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
