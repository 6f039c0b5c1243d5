/* SPDX-License-Identifier: Apache-2.0
 * A fake I/O table for unit tests; see fake_io.h. */
#include "fake_io.h"

#include <assert.h>

static uint64_t fake_mono_ns(struct io *io)
{
    return ((struct fake_io *)(void *)io)->now_ns;
}

static void fake_submit(struct io *io, enum io_worker worker, struct worker_job *job)
{
    struct fake_io *f = (struct fake_io *)(void *)io;
    assert(worker < IO_WORKER_COUNT && worker != IO_WORKER_WAL);
    list_add_last(&f->jobs, &job->link);
    f->job_count++;
}

static void fake_timer_stop(struct io *io, struct io_timer *timer)
{
    struct fake_io *f = (struct fake_io *)(void *)io;
    for (size_t i = 0; i < 8; i++) {
        if (f->timers[i].timer == timer)
            f->timers[i].timer = NULL;
    }
}

static void fake_timer_start(struct io *io, struct io_timer *timer, uint64_t after_ms)
{
    struct fake_io *f = (struct fake_io *)(void *)io;
    fake_timer_stop(io, timer);
    size_t i = 0;
    while (f->timers[i].timer)
        assert(++i < 8);
    f->timers[i].timer = timer;
    f->timers[i].at_ns = f->now_ns + after_ms * 1000000;
}

static uint64_t fake_wall_ns(struct io *io)
{
    return UINT64_C(1700000000000000000) + container_of(io, struct fake_io, io)->now_ns;
}

static const struct io_ops fake_ops = {
    .mono_ns = fake_mono_ns,
    .wall_ns = fake_wall_ns,
    .submit = fake_submit,
    .timer_start = fake_timer_start,
    .timer_stop = fake_timer_stop,
};

void fake_io_init(struct fake_io *f)
{
    *f = (struct fake_io){.io = {&fake_ops}};
    f->now_ns = 1000000000;
    list_init(&f->jobs);
    list_init(&f->ended);
}

bool fake_io_begin_job(struct fake_io *f)
{
    struct link *l = list_take_first(&f->jobs);
    if (!l)
        return false;
    struct worker_job *job = container_of(l, struct worker_job, link);
    job->run(job);
    list_add_last(&f->ended, l);
    return true;
}

bool fake_io_end_job(struct fake_io *f)
{
    struct link *l = list_take_first(&f->ended);
    if (!l)
        return false;
    struct worker_job *job = container_of(l, struct worker_job, link);
    job->done(job);
    return true;
}

bool fake_io_run_job(struct fake_io *f)
{
    return fake_io_end_job(f) || (fake_io_begin_job(f) && fake_io_end_job(f));
}

void fake_io_run_jobs(struct fake_io *f)
{
    while (fake_io_run_job(f))
        ;
}

void fake_io_drop_jobs(struct fake_io *f)
{
    list_init(&f->jobs);
    list_init(&f->ended);
}

void fake_io_pass(struct fake_io *f, uint64_t ms)
{
    f->now_ns += ms * 1000000;
    for (size_t i = 0; i < 8; i++) {
        struct io_timer *timer = f->timers[i].timer;
        if (!timer || f->timers[i].at_ns > f->now_ns)
            continue;
        f->timers[i].timer = NULL;
        timer->fire(timer);
    }
}
