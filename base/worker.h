/* SPDX-License-Identifier: Apache-2.0
 * A worker thread that runs jobs in the order of submission and returns each to the loop. While a job is
 * out, only the worker touches it. The results of one wake-up arrive in one batch. */
#ifndef BASE_WORKER_H
#define BASE_WORKER_H

#include <stdint.h>

#include "base/err.h"
#include "base/list.h"

struct uv_loop_s;
struct worker;

struct worker_job {
    struct link link;
    void (*run)(struct worker_job *job);  /* on the worker's thread */
    void (*done)(struct worker_job *job); /* on the loop's thread */
};

struct worker *worker_start(struct uv_loop_s *loop, const char *name);
void worker_submit(struct worker *w, struct worker_job *job); /* loop thread only */
/* Stops the worker:
 *
 * 1. It waits for all jobs and runs their done callbacks.
 * 2. Jobs that these callbacks submit run on the loop's thread.
 * 3. It joins the thread and closes the handle; run the loop once more after it.
 *
 * NULL is allowed. */
void worker_stop(struct worker *w);

/* Waits until no job is out, at most so long, and runs done callbacks. False: a job has not returned. */
bool worker_wait(struct worker *w, uint64_t timeout_ms);
/* For a job that does not return, such as a write to a folder that hangs: its callbacks are never called. The
 * memory of the worker, of its jobs and of all they use must stay. Run the loop once more after it. */
void worker_abandon(struct worker *w);

#endif
