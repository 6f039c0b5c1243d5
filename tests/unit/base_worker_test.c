/* SPDX-License-Identifier: Apache-2.0
 * Tests of worker: order, threads, jobs that submit jobs, stopping with jobs left. */
#include "tests/unit/unit.h"

#include <pthread.h>
#include <signal.h>
#include <uv.h>

#include "base/worker.h"

enum { JOBS = 1000 };

struct test_job {
    struct worker_job job;
    int number;
    pthread_t ran_on;
    int again; /* how often done submits it anew */
};

static struct worker *worker;
static pthread_t loop_thread;
static int run_count, done_count; /* run_count belongs to the worker while a job runs */
static bool runs_on_loop;

static void on_run(struct worker_job *job)
{
    struct test_job *t = container_of(job, struct test_job, job);
    t->ran_on = pthread_self();
    t->number = run_count++;
}

static void on_done(struct worker_job *job)
{
    struct test_job *t = container_of(job, struct test_job, job);
    assert_int_equal(t->number, done_count++);
    assert_true(pthread_equal(pthread_self(), loop_thread));
    runs_on_loop = pthread_equal(t->ran_on, loop_thread);
    if (t->again-- > 0)
        worker_submit(worker, job);
}

static void start(uv_loop_t *loop)
{
    run_count = done_count = 0;
    loop_thread = pthread_self();
    assert_int_equal(uv_loop_init(loop), 0);
    worker = worker_start(loop, "test-worker");
}

static void finish(uv_loop_t *loop)
{
    worker_stop(worker);
    uv_run(loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(loop), 0);
}

static void test_order(void **state)
{
    (void)state;
    static struct test_job jobs[JOBS];
    uv_loop_t loop;
    start(&loop);
    for (int i = 0; i < JOBS; i++) {
        jobs[i].job = (struct worker_job){.run = on_run, .done = on_done};
        worker_submit(worker, &jobs[i].job);
    }
    while (done_count < JOBS)
        uv_run(&loop, UV_RUN_ONCE);
    for (int i = 0; i < JOBS; i++)
        assert_int_equal(jobs[i].number, i);
    assert_false(runs_on_loop);
    finish(&loop);
}

static void test_chain(void **state)
{
    (void)state;
    uv_loop_t loop;
    start(&loop);
    struct test_job t = {.job = {.run = on_run, .done = on_done}, .again = 999};
    worker_submit(worker, &t.job);
    while (done_count < 1000)
        uv_run(&loop, UV_RUN_ONCE);
    finish(&loop);
}

static void test_stop_runs_all(void **state)
{
    (void)state;
    static struct test_job jobs[JOBS];
    uv_loop_t loop;
    start(&loop);
    for (int i = 0; i < JOBS; i++) {
        jobs[i] = (struct test_job){.job = {.run = on_run, .done = on_done}, .again = i == 500 ? 2 : 0};
        worker_submit(worker, &jobs[i].job);
    }
    finish(&loop);
    assert_int_equal(done_count, JOBS + 2);
    worker_stop(NULL);
}

static void on_run_mask(struct worker_job *job)
{
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    container_of(job, struct test_job, job)->number = sigismember(&mask, SIGTERM);
}

static void on_done_mask(struct worker_job *job)
{
    assert_int_equal(container_of(job, struct test_job, job)->number, 1);
    done_count++;
}

static void test_signals_blocked(void **state)
{
    (void)state;
    uv_loop_t loop;
    start(&loop);
    struct test_job t = {.job = {.run = on_run_mask, .done = on_done_mask}};
    worker_submit(worker, &t.job);
    finish(&loop);
    assert_int_equal(done_count, 1);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    assert_int_equal(sigismember(&mask, SIGTERM), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_stop_runs_all),
        cmocka_unit_test(test_signals_blocked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
