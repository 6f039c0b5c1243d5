/* SPDX-License-Identifier: Apache-2.0
 * A thread that runs jobs in the order they were given and hands each back to the loop. A job goes over by
 * value of its pointer: while it is out, nobody else touches it. Results of one wake-up come in one batch. */
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
/* Waits for all jobs, runs their done callbacks, joins the thread, closes the handle (run the loop after).
 * What a done callback submits meanwhile still runs, on the loop's thread. NULL is fine. */
void worker_stop(struct worker *w);

#endif
