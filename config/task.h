/* SPDX-License-Identifier: Apache-2.0
 * The task queue of the content worker: format checks, digests and diffs, which take milliseconds a MiB. It
 * runs one task at a time (consensus/io.h).
 *
 * 1. Clients take turns: each round runs one task of every client that has any. A client with many or hostile
 *    contents delays another client by one task, not by all of them.
 * 2. The queue is limited in bytes and number, in all and for each client. A task beyond that is refused with
 *    ERR_TOO_MANY_REQUESTS.
 * 3. A result depends on the bytes alone: the worker touches nothing but what the task owns.
 *
 * Everything except `run` is on the loop thread. */
#ifndef CONFIG_TASK_H
#define CONFIG_TASK_H

#include "base/buf.h"
#include "base/list.h"
#include "base/worker.h"

#define TASK_BYTES_MAX  (64u << 20) /* queued or running, of all clients */
#define TASK_COUNT_MAX  4096u
#define TASK_SHARE      4u   /* one client may hold a quarter of each */
#define TASK_CLIENT_MAX 256u /* bytes of a client's name; the rest is ignored */

struct io;
struct task_queue;
struct task_client;

/* On the heap; the queue owns it from task_add until `release`. */
struct task {
    size_t bytes;                 /* that it holds */
    void (*run)(struct task *t);  /* on the worker's thread */
    void (*done)(struct task *t); /* after run; not called after task_cancel */
    /* Frees it: after done, or after task_cancel once it is not running. */
    void (*release)(struct task *t);
    /* Private to task.c. */
    struct worker_job job;
    struct task_queue *queue;
    struct task_client *client;
    struct link link; /* in its client's queue */
    bool is_running, is_canceled;
};

struct task_queue *task_queue_new(struct io *io);
/* Releases queued tasks without done. A running task is released when it returns, which may be after this
 * call, at the latest when the io is freed. */
void task_queue_free(struct task_queue *q);

/* client: the name for the turns; empty = the process itself. Never calls `done` from inside.
 * ERR_TOO_MANY_REQUESTS: the task is still the caller's. */
MUST_CHECK int task_add(struct task_queue *q, struct task *t, struct slice client);
void task_cancel(struct task *t);

struct task_sums {
    size_t count, bytes; /* queued or running */
    uint64_t refused;
};
struct task_sums task_queue_sums(const struct task_queue *q);

#endif
