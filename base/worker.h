/* SPDX-License-Identifier: Apache-2.0
 * A worker thread that runs jobs in the order of submission and returns each to the loop. While a job is
 * out, only the worker touches it. The results of one wake-up arrive in one batch. */
#ifndef BASE_WORKER_H
#define BASE_WORKER_H

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

#endif
