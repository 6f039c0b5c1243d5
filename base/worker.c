/* SPDX-License-Identifier: Apache-2.0
 * A worker thread with two lists under one mutex: waiting jobs and finished jobs. The thread takes all
 * waiting jobs at once and returns each when it ends. It wakes the loop only if the finished list was
 * empty, so that a busy worker costs the loop one wake-up a turn. No other code of the daemon takes a lock,
 * except the log.
 *
 * An eventfd wakes the loop, not uv_async: its receiver spins until the sender has returned from its write,
 * which on a busy machine often takes long. */
#include "base/worker.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include "base/mem.h"
#include "base/turn.h"

struct worker {
    uv_poll_t wake; /* first: freed in its close callback */
    int wake_fd;
    pthread_t thread;
    pthread_mutex_t mutex;
    sem_t has_work; /* posted when `waiting` was empty, and to stop */
    struct link waiting;
    struct link finished;
    unsigned out; /* jobs that are not finished */
    pthread_cond_t idle;
    bool is_stopping;
};

static void wait_for_work(struct worker *w)
{
    int rc;
    do
        rc = sem_wait(&w->has_work);
    while (rc != 0 && errno == EINTR);
    assert(rc == 0);
}

static void wake_loop(struct worker *w)
{
    uint64_t one = 1;
    ssize_t n = write(w->wake_fd, &one, sizeof one);
    assert(n == sizeof one);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct link batch;
    list_init(&batch);
    pthread_mutex_lock(&w->mutex);
    for (;;) {
        while (list_is_empty(&w->waiting) && !w->is_stopping) {
            pthread_mutex_unlock(&w->mutex);
            wait_for_work(w);
            pthread_mutex_lock(&w->mutex);
        }
        if (list_is_empty(&w->waiting))
            break;
        list_move_all(&batch, &w->waiting);
        for (struct link *l; (l = list_take_first(&batch));) {
            pthread_mutex_unlock(&w->mutex);
            struct worker_job *job = container_of(l, struct worker_job, link);
            job->run(job);
            pthread_mutex_lock(&w->mutex);
            bool was_empty = list_is_empty(&w->finished);
            list_add_last(&w->finished, l);
            if (--w->out == 0)
                pthread_cond_signal(&w->idle);
            if (!was_empty)
                continue;
            pthread_mutex_unlock(&w->mutex);
            wake_loop(w); /* without the lock: the loop takes it first when it wakes */
            pthread_mutex_lock(&w->mutex);
        }
    }
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

static void worker_deliver(struct worker *w)
{
    struct link batch;
    list_init(&batch);
    pthread_mutex_lock(&w->mutex);
    list_move_all(&batch, &w->finished);
    pthread_mutex_unlock(&w->mutex);
    for (struct link *l; (l = list_take_first(&batch));) {
        struct worker_job *job = container_of(l, struct worker_job, link);
        turn_enter(TURN_WORKER_RESULT); /* the previous job's callback may have named other work */
        job->done(job);
    }
}

static void on_wake(uv_poll_t *wake, int status, int events)
{
    struct worker *w = container_of(wake, struct worker, wake);
    (void)status;
    (void)events;
    turn_enter(TURN_WORKER_RESULT);
    uint64_t count;
    ssize_t n = read(w->wake_fd, &count, sizeof count);
    (void)n; /* an empty eventfd is harmless: the list is checked anyway */
    worker_deliver(w);
}

static void on_wake_closed(uv_handle_t *handle)
{
    struct worker *w = container_of((uv_poll_t *)handle, struct worker, wake);
    close(w->wake_fd);
    sem_destroy(&w->has_work);
    pthread_cond_destroy(&w->idle);
    pthread_mutex_destroy(&w->mutex);
    mem_free(w);
}

struct worker *worker_start(struct uv_loop_s *loop, const char *name)
{
    struct worker *w = mem_new(sizeof *w);
    list_init(&w->waiting);
    list_init(&w->finished);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&w->idle, &clock);
    pthread_condattr_destroy(&clock);
    sem_init(&w->has_work, 0, 0);
    w->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert(w->wake_fd >= 0);
    int rc = uv_poll_init(loop, &w->wake, w->wake_fd);
    assert(rc == 0);
    rc = uv_poll_start(&w->wake, UV_READABLE, on_wake);
    assert(rc == 0);
    /* The loop's thread handles signals: a worker starts with all of them blocked. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&w->thread, NULL, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert(rc == 0);
    pthread_setname_np(w->thread, name);
    return w;
}

void worker_submit(struct worker *w, struct worker_job *job)
{
    pthread_mutex_lock(&w->mutex);
    bool was_empty = list_is_empty(&w->waiting);
    list_add_last(&w->waiting, &job->link);
    w->out++;
    pthread_mutex_unlock(&w->mutex);
    if (was_empty)
        sem_post(&w->has_work);
}

void worker_stop(struct worker *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->mutex);
    w->is_stopping = true;
    pthread_mutex_unlock(&w->mutex);
    sem_post(&w->has_work);
    pthread_join(w->thread, NULL);
    worker_deliver(w);
    /* Runs the jobs that the last done callbacks submitted; the thread has ended. */
    for (struct link *l; (l = list_take_first(&w->waiting));) {
        struct worker_job *job = container_of(l, struct worker_job, link);
        job->run(job);
        job->done(job);
    }
    uv_close((uv_handle_t *)&w->wake, on_wake_closed);
}

bool worker_wait(struct worker *w, uint64_t timeout_ms)
{
    struct timespec due;
    int rc = 0;
    clock_gettime(CLOCK_MONOTONIC, &due);
    due.tv_sec += (time_t)(timeout_ms / 1000);
    due.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (due.tv_nsec >= 1000000000) {
        due.tv_nsec -= 1000000000;
        due.tv_sec++;
    }
    pthread_mutex_lock(&w->mutex);
    while (w->out && rc == 0)
        rc = pthread_cond_timedwait(&w->idle, &w->mutex, &due);
    bool is_idle = w->out == 0;
    pthread_mutex_unlock(&w->mutex);
    worker_deliver(w);
    return is_idle;
}

void worker_abandon(struct worker *w)
{
    pthread_detach(w->thread);
    uv_close((uv_handle_t *)&w->wake, NULL);
}
