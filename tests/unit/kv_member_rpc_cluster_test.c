/* SPDX-License-Identifier: Apache-2.0
 * Tests of member RPCs between real members: the members that are called, the calls that are accepted, and
 * that every call ends once. */
#include "tests/unit/cluster_world.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

enum { ECHO = 3, HELD = 4, SILENT = 5 };

struct asking {
    struct kv_member_rpc ask;
    struct kv *kv;
    bool is_done, is_impatient; /* impatient: cancels at the first answer */
    size_t asked, answered, heard, bytes;
    uint64_t from[8];
    char last[64];
};

static void on_answer(struct kv_member_rpc *a, uint64_t member_id, struct slice answer)
{
    struct asking *q = container_of(a, struct asking, ask);
    assert_false(q->is_done);
    q->from[q->heard++] = member_id;
    q->bytes += answer.size;
    size_t size = answer.size < sizeof q->last ? answer.size : sizeof q->last - 1;
    memcpy(q->last, answer.data, size);
    q->last[size] = '\0';
    if (q->is_impatient)
        kv_member_rpc_cancel(q->kv, a);
}

static void on_done(struct kv_member_rpc *a, size_t asked, size_t answered)
{
    struct asking *q = container_of(a, struct asking, ask);
    assert_false(q->is_done);
    q->is_done = true;
    q->asked = asked;
    q->answered = answered;
}

static void init(struct asking *q, struct machine *m)
{
    *q = (struct asking){.ask = {.on_answer = on_answer, .done = on_done}, .kv = m->kv};
}

static void run_until_done(struct world *w, struct asking *q)
{
    uint64_t until = w->clock.now_ns + 20000000000;
    while (!q->is_done && w->clock.now_ns < until)
        world_step(w);
    assert_true(q->is_done);
}

/* Answers with the request after the machine's name. */
static void echo(void *arg, struct kv_member_request *q, struct slice question)
{
    struct machine *m = arg;
    struct buf b = {0};
    buf_add_text(&b, m->name);
    buf_add_slice(&b, question);
    kv_member_request_answer(m->kv, q, buf_slice(&b));
    buf_done(&b);
}

static struct kv_member_request *held[512];
static size_t held_count;

static void hold(void *arg, struct kv_member_request *q, struct slice question)
{
    (void)arg, (void)question;
    held[held_count++] = q;
}

static struct world *new_world(unsigned count)
{
    struct world *w = world_new(count);
    held_count = 0;
    for (unsigned i = 0; i < count; i++) {
        kv_member_rpc_handle(w->machines[i].kv, ECHO, echo, &w->machines[i]);
        kv_member_rpc_handle(w->machines[i].kv, HELD, hold, &w->machines[i]);
    }
    world_wait_for_leader(w);
    world_run_ms(w, 500);
    return w;
}

/* --- tests ------------------------------------------------------------------------------------------- */

static void all_others_answer(void **state)
{
    (void)state;
    struct world *w = new_world(3);
    for (unsigned i = 0; i < 3; i++) {
        struct machine *m = &w->machines[i];
        struct asking q;
        init(&q, m);
        uint64_t before = w->clock.now_ns;
        kv_member_rpc_to_all(m->kv, &q.ask, ECHO, slice_text("?"), 5000);
        assert_false(q.is_done);
        run_until_done(w, &q);
        assert_true(w->clock.now_ns - before < 100000000);
        assert_true(q.asked == 2 && q.answered == 2 && q.heard == 2);
        assert_true(q.from[0] != m->id && q.from[1] != m->id && q.from[0] != q.from[1]);
        assert_true(q.last[0] == 'm' && q.last[2] == '?');
    }
    world_free(w);
}

static void large_answers_come_whole(void **state)
{
    (void)state;
    struct world *w = new_world(3);
    struct machine *m = &w->machines[0];
    struct asking q;
    init(&q, m);
    size_t size = KV_MEMBER_RPC_BYTES_MAX - 2;
    uint8_t *question = mem_new(size);
    kv_member_rpc_to_all(m->kv, &q.ask, ECHO, slice_of(question, size), 5000);
    run_until_done(w, &q);
    assert_int_equal(q.bytes, 2 * KV_MEMBER_RPC_BYTES_MAX);
    mem_free(question);
    world_free(w);
}

static void absent_members_do_not_delay_a_call(void **state)
{
    (void)state;
    struct world *w = new_world(3);
    struct machine *m = &w->machines[0], *other = &w->machines[1];
    struct asking q;
    init(&q, m);
    kv_member_rpc_to_all(m->kv, &q.ask, SILENT, slice_text("?"), 5000); /* this topic has no handler */
    run_until_done(w, &q);
    assert_true(q.asked == 2 && q.answered == 0 && q.heard == 0);
    /* One holds it back: the timeout decides. */
    init(&q, m);
    kv_member_rpc_handle(w->machines[2].kv, HELD, echo, &w->machines[2]);
    uint64_t before = w->clock.now_ns;
    kv_member_rpc_to_all(m->kv, &q.ask, HELD, slice_text("?"), 700);
    run_until_done(w, &q);
    assert_true(q.asked == 2 && q.answered == 1 && held_count == 1);
    assert_true(w->clock.now_ns - before >= 690000000 && w->clock.now_ns - before < 900000000);
    kv_member_request_answer(other->kv, held[0], slice_text("late")); /* its call has ended */
    world_run_ms(w, 50);
    /* The stream to the one that holds it back breaks. */
    init(&q, m);
    kv_member_rpc_to_all(m->kv, &q.ask, HELD, slice_text("?"), 60000);
    world_run_ms(w, 50);
    assert_false(q.is_done);
    m->events->on_unreachable(m->events_arg, other->id, PEER_STREAM_BULK);
    run_until_done(w, &q);
    assert_true(q.asked == 2 && q.answered == 1);
    /* Alone. */
    init(&q, m);
    m->is_cut = true;
    kv_member_rpc_to_all(m->kv, &q.ask, ECHO, slice_text("?"), 5000);
    assert_false(q.is_done);
    run_until_done(w, &q);
    assert_true(q.asked == 0 && q.answered == 0);
    world_free(w);
}

static void the_leader_is_queried(void **state)
{
    (void)state;
    struct world *w = new_world(3);
    struct machine *leader = world_leader(w);
    for (unsigned i = 0; i < 3; i++) {
        struct asking q;
        init(&q, &w->machines[i]);
        kv_member_rpc_to_leader(w->machines[i].kv, &q.ask, ECHO, slice_text("?"), 5000);
        assert_true(!q.is_done && q.heard == 0); /* also if it calls itself */
        run_until_done(w, &q);
        assert_true(q.asked == 1 && q.answered == 1 && q.from[0] == leader->id);
        assert_memory_equal(q.last, leader->name, 2);
    }
    /* There is no leader. */
    machine_stop(leader);
    struct machine *other = world_follower(w);
    while (kv_leader(other->kv))
        world_step(w);
    struct asking q;
    init(&q, other);
    kv_member_rpc_to_leader(other->kv, &q.ask, ECHO, slice_text("?"), 5000);
    run_until_done(w, &q);
    assert_true(q.asked == 0 && q.answered == 0);
    world_free(w);
}

static void many_are_refused_and_all_end(void **state)
{
    (void)state;
    enum { MANY = 70, OPEN = 64 };
    struct world *w = new_world(3);
    struct machine *m = &w->machines[0];
    struct asking *list = mem_new(MANY * sizeof *list);
    for (size_t i = 0; i < MANY; i++) {
        init(&list[i], m);
        kv_member_rpc_to_all(m->kv, &list[i].ask, HELD, slice_text("?"), 60000);
    }
    world_run_ms(w, 50);
    assert_int_equal(held_count, 2 * OPEN);
    size_t refused = 0, ended = 0;
    for (size_t i = 0; i < MANY; i++)
        refused += list[i].is_done && list[i].asked == 0;
    assert_int_equal(refused, MANY - OPEN);
    kv_member_rpc_cancel(m->kv, &list[0].ask);
    machine_stop(m); /* ends the others */
    for (size_t i = 0; i < MANY; i++)
        ended += list[i].is_done;
    assert_int_equal(ended, MANY - 1);
    mem_free(list);
    world_free(w);
}

static void a_call_may_be_canceled_in_a_callback(void **state)
{
    (void)state;
    struct world *w = new_world(3);
    struct asking q;
    init(&q, &w->machines[0]);
    q.is_impatient = true;
    kv_member_rpc_to_all(w->machines[0].kv, &q.ask, ECHO, slice_text("?"), 5000);
    world_run_ms(w, 6000);
    assert_true(!q.is_done && q.heard == 1);
    /* And itself, in its own handler's turn. */
    struct machine *leader = world_leader(w);
    init(&q, leader);
    q.is_impatient = true;
    kv_member_rpc_to_leader(leader->kv, &q.ask, ECHO, slice_text("?"), 5000);
    world_run_ms(w, 6000);
    assert_true(!q.is_done && q.heard == 1);
    init(&q, leader);
    kv_member_rpc_to_leader(leader->kv, &q.ask, ECHO, slice_text("?"), 5000);
    kv_member_rpc_cancel(leader->kv, &q.ask);
    world_run_ms(w, 100);
    assert_true(!q.is_done && q.heard == 0);
    world_free(w);
}

int main(void)
{
    log_set_level(getenv("VERBOSE") ? LOG_INFO : LOG_FATAL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_others_answer),
        cmocka_unit_test(large_answers_come_whole),
        cmocka_unit_test(absent_members_do_not_delay_a_call),
        cmocka_unit_test(the_leader_is_queried),
        cmocka_unit_test(many_are_refused_and_all_end),
        cmocka_unit_test(a_call_may_be_canceled_in_a_callback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
