/* SPDX-License-Identifier: Apache-2.0
 * Tests of the content worker's queue: turns of clients, limits, and cancellation before, during and after a
 * task runs. */
#include "tests/unit/unit.h"

#include "base/mem.h"
#include "config/task.h"
#include "tests/unit/fake_io.h"

struct step {
    struct task task; /* first */
    int number;
};

static struct fake_io io;
static int ran[64], ran_count, done[64], done_count, released;

static void run_step(struct task *t)
{
    ran[ran_count++] = container_of(t, struct step, task)->number;
}

static void on_step(struct task *t)
{
    done[done_count++] = container_of(t, struct step, task)->number;
}

static void release_step(struct task *t)
{
    released++;
    mem_free(container_of(t, struct step, task));
}

static struct step *step_of(int number, size_t bytes)
{
    struct step *s = mem_new(sizeof *s);
    s->number = number;
    s->task.bytes = bytes;
    s->task.run = run_step;
    s->task.done = on_step;
    s->task.release = release_step;
    return s;
}

static struct step *add(struct task_queue *q, const char *client, int number)
{
    struct step *s = step_of(number, 1000);
    assert_int_equal(task_add(q, &s->task, slice_text(client)), OK);
    return s;
}

static int refused(struct task_queue *q, const char *client, size_t bytes)
{
    struct step *s = step_of(0, bytes);
    int err = task_add(q, &s->task, slice_text(client));
    if (err)
        mem_free(s);
    return err;
}

static int setup(void **state)
{
    fake_io_init(&io);
    ran_count = done_count = released = 0;
    *state = task_queue_new(&io.io);
    return 0;
}

static int teardown(void **state)
{
    task_queue_free(*state);
    fake_io_run_jobs(&io);
    return 0;
}

/* A client with many tasks delays no other client: each round takes one task of each. */
static void test_turns(void **state)
{
    struct task_queue *q = *state;
    for (int i = 0; i < 5; i++)
        add(q, "many", 10 + i);
    add(q, "few", 20);
    add(q, "one", 30);
    assert_int_equal(io.job_count, 1); /* one at a time */
    add(q, "few", 21);
    fake_io_run_jobs(&io);
    const int expected[] = {10, 11, 20, 30, 12, 21, 13, 14};
    assert_int_equal(ran_count, 8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(ran[i], expected[i]);
    assert_int_equal(done_count, 8);
    assert_int_equal(released, 8);
    assert_int_equal(task_queue_sums(q).count, 0);
    assert_int_equal(task_queue_sums(q).bytes, 0);
}

static void test_limits(void **state)
{
    struct task_queue *q = *state;
    const size_t share = TASK_BYTES_MAX / TASK_SHARE;
    assert_int_equal(refused(q, "a", share - 1), OK);
    assert_int_equal(refused(q, "a", 2), ERR_TOO_MANY_REQUESTS);
    assert_int_equal(refused(q, "a", 1), OK);
    /* A content of any size, from a client that has no other task. */
    assert_int_equal(refused(q, "b", 2 * share), OK);
    assert_int_equal(refused(q, "b", 1), ERR_TOO_MANY_REQUESTS);
    assert_int_equal(refused(q, "c", share), OK);
    assert_int_equal(refused(q, "d", 1), ERR_TOO_MANY_REQUESTS); /* all together */
    assert_int_equal(task_queue_sums(q).refused, 3);
    fake_io_run_jobs(&io);
    assert_int_equal(refused(q, "d", 1), OK);
    fake_io_run_jobs(&io);
    for (size_t i = 0; i < TASK_COUNT_MAX / TASK_SHARE; i++)
        assert_int_equal(task_add(q, &step_of(0, 0)->task, slice_text("a")), OK);
    assert_int_equal(refused(q, "a", 0), ERR_TOO_MANY_REQUESTS);
    assert_int_equal(refused(q, "b", 0), OK);
    task_queue_free(q);
    fake_io_run_jobs(&io); /* the one that was out */
    fake_io_init(&io);
    *state = task_queue_new(&io.io);
}

static void test_cancel(void **state)
{
    struct task_queue *q = *state;
    struct step *running = add(q, "a", 1), *waiting = add(q, "a", 2);
    add(q, "b", 3);
    task_cancel(&waiting->task);
    assert_int_equal(released, 1);
    task_cancel(&running->task);
    assert_int_equal(released, 1); /* the worker runs it */
    fake_io_run_job(&io);
    assert_int_equal(released, 2);
    fake_io_run_jobs(&io);
    assert_int_equal(ran_count, 2);
    assert_int_equal(done_count, 1);
    assert_int_equal(done[0], 3);
}

/* A waiting task ends at once, a running one when the worker returns. */
static void test_queue_free(void **state)
{
    struct task_queue *q = *state;
    add(q, "a", 1);
    add(q, "a", 2);
    add(q, "b", 3);
    task_queue_free(q);
    assert_int_equal(released, 2);
    fake_io_run_jobs(&io);
    assert_int_equal(released, 3);
    assert_int_equal(done_count, 0);
    *state = task_queue_new(&io.io);
}

int main(void)
{
#define WITH(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        WITH(test_turns),
        WITH(test_limits),
        WITH(test_cancel),
        WITH(test_queue_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
