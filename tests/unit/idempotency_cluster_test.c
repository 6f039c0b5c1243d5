/* SPDX-License-Identifier: Apache-2.0
 * Tests of idempotency keys on three members, on virtual time: a client repeats a request at another member
 * after the one that has it, or the leader, died. The request has its effect exactly once. */
#include "tests/unit/trio.h"

#include <stdio.h>
#include <string.h>

#include "consensus/idempotency.h"
#include "tests/unit/config_node.h"

static void *open_module(struct kv *kv, const char *member)
{
    return config_new(&(struct config_options){.kv = kv, .member = member});
}

static void close_module(void *module)
{
    config_free(module);
}

static void turn(void *module)
{
    config_turn(module);
}

static bool is_ready(const void *module)
{
    return config_is_ready(module);
}

static const struct trio_kind kind = {open_module, close_module, turn, is_ready};

static int setup(void **state)
{
    *state = trio_new(&kind);
    return 0;
}

static int teardown(void **state)
{
    trio_free(*state);
    return 0;
}

static void write_answer(struct config_request *q, const struct config_result *result, struct buf *out)
{
    (void)q;
    buf_addf(out, ",\"seq\":%d}", (int)result->seq);
}

static void begin_rollback(struct trio *t, unsigned i, struct config_reply *a, const struct config_once *once)
{
    struct config_id key = config_id_of("a.txt");
    *a = config_reply();
    a->request.once = once;
    config_rollback(t->modules[i], &a->request, &key, 1, (struct slice){0}, &(struct config_condition){0});
}

/* Until its outcome is known. */
static int rollback(struct trio *t, unsigned i, const struct config_once *once)
{
    static struct config_reply a;
    for (unsigned n = 0; n < 100; n++) {
        begin_rollback(t, i, &a, once);
        trio_wait(t, &a.is_done);
        if (a.err == OK || a.err == ERR_CONFLICT)
            return a.err;
        world_run_ms(t->world, 100);
    }
    fail_msg("no answer: %s", err_text(a.err));
    return a.err;
}

static void publish(struct trio *t, unsigned i, const char *content)
{
    static struct config_reply a;
    for (unsigned n = 0; n < 100; n++) {
        a = config_reply();
        config_publish(
            t->modules[i], &a.request,
            &(struct config_publish){.key = config_id_of("a.txt"), .content = slice_text(content)});
        trio_wait(t, &a.is_done);
        if (a.err == OK)
            return;
        world_run_ms(t->world, 100);
    }
    fail_msg("%s is not published: %s", content, err_text(a.err));
}

/* The releases that a rollback made. */
static unsigned rollbacks(struct trio *t, unsigned i, unsigned last)
{
    unsigned count = 0;
    for (unsigned seq = 2; seq <= last; seq++) {
        struct config_reply a = config_reply();
        struct config_id key = config_id_of("a.txt");
        config_read(t->modules[i], &a.request, &key, seq, true);
        trio_wait(t, &a.is_done);
        assert_int_equal(a.err, OK);
        count += a.release.operation == CONFIG_ROLLBACK;
    }
    return count;
}

static void settle(struct trio *t, unsigned i)
{
    struct config_reply a = {.err = ERR_TIMEOUT};
    for (unsigned n = 0; n < 100 && a.err; n++) {
        a = config_reply();
        config_barrier(t->modules[i], &a.request);
        trio_wait(t, &a.is_done);
        world_run_ms(t->world, a.err ? 100 : 0);
    }
    assert_int_equal(a.err, OK);
}

static void restart(struct trio *t, unsigned i)
{
    machine_start(&t->world->machines[i], false);
    trio_open(t, i);
    world_wait_for_leader(t->world);
    for (unsigned n = 0; n < 400 && !trio_is_ready(t); n++)
        world_run_ms(t->world, 50);
    assert_true(trio_is_ready(t));
}

/* A member gets the request and dies some steps later: the leader in every other round. Then another client
 * changes the configuration, so that a second effect of the request could be seen. */
static void test_member_dies(void **state)
{
    enum { ROUNDS = 24 };
    struct trio *t = *state;
    static struct config_reply first;
    unsigned conflicts = 0;
    publish(t, 0, "first");
    for (unsigned round = 0; round < ROUNDS; round++) {
        char text[32];
        struct buf key = {0};
        unsigned leader = trio_index(t, world_wait_for_leader(t->world)), other = (leader + 1) % TRIO;
        unsigned dies = round % 2 ? leader : other, asked = round % 4 < 2 ? dies : leader;
        snprintf(text, sizeof text, "round %u", round);
        publish(t, asked, text);
        idempotency_add_key(slice_text("user"), slice_text(text), &key);
        const struct config_once once = {buf_slice(&key), slice_text("digest"), write_answer};
        begin_rollback(t, asked, &first, &once);
        for (unsigned step = 0; step < round * 3 && !first.is_done; step++)
            world_step(t->world);
        trio_close(t, dies);
        machine_crash(&t->world->machines[dies]);
        if (!first.is_done && asked != dies)
            config_cancel(t->modules[asked], &first.request); /* its client has left */
        unsigned next = (dies + 1) % TRIO;
        world_wait_for_leader(t->world);
        snprintf(text, sizeof text, "another %u", round);
        publish(t, next, text);
        conflicts += rollback(t, next, &once) == ERR_CONFLICT;
        buf_done(&key);
        restart(t, dies);
    }
    settle(t, 0);
    struct config_id id = config_id_of("a.txt");
    unsigned last = (unsigned)config_find(t->modules[0], &id)->head->last_seq;
    assert_int_equal(last, 1 + 3 * ROUNDS);
    assert_int_equal(rollbacks(t, 0, last), ROUNDS);
    assert_in_range(conflicts, 1, ROUNDS - 1); /* both happened: it was applied before, and it was not */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_member_dies, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
