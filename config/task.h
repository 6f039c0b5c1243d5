/* SPDX-License-Identifier: Apache-2.0
 * A queue of work on contents that takes milliseconds a mebibyte: format checks, digests, differences. It
 * runs on the content worker (consensus/io.h), one task at a time.
 *
 * 1. Clients take turns: each round runs one task of every client that has any. So a client with many or
 *    hostile contents makes another client wait for one of its tasks, not for all of them.
 * 2. What waits is limited in bytes and number, in all and for each client; beyond that a task is refused
 * with ERR_TOO_MANY_REQUESTS.
 * 3. A result depends on the bytes alone: the worker touches nothing but what the task owns.
 *
 * Everything but `run` is on the loop thread. */
#ifndef CONFIG_TASK_H
#define CONFIG_TASK_H

#include "base/buf.h"
#include "base/list.h"
#include "base/worker.h"

#define TASK_BYTES_MAX  (64u << 20) /* that wait or run, of all clients */
#define TASK_COUNT_MAX  4096u
#define TASK_SHARE      4u   /* one client may hold a quarter of each */
#define TASK_CLIENT_MAX 256u /* bytes of a client's name; the rest is not looked at */

struct io;
struct task_queue;
struct task_client;

/* On the heap, owned by the queue from task_add until `release`. */
struct task {
    size_t bytes;                 /* that it holds */
    void (*run)(struct task *t);  /* on the worker's thread */
    void (*done)(struct task *t); /* it has run; not called after task_cancel */
    void (*release)(
        struct task *t); /* frees it: after done, or after task_cancel when it does not run any more */
    /* The queue's own. */
    struct worker_job job;
    struct task_queue *queue;
    struct task_client *client;
    struct link link; /* waiting, of its client */
    bool is_running, is_canceled;
};

struct task_queue *task_queue_new(struct io *io);
/* What waits is released without done. A task that runs is released when it comes back, which may be after
 * this call: until the io is freed. */
void task_queue_free(struct task_queue *q);

/* client: whose turn it takes; empty = the process itself. `done` is never called from inside.
 * ERR_TOO_MANY_REQUESTS: the task is still the caller's. */
MUST_CHECK int task_add(struct task_queue *q, struct task *t, struct slice client);
void task_cancel(struct task *t);

struct task_sums {
    size_t count, bytes; /* that wait or run */
    uint64_t refused;
};
struct task_sums task_queue_sums(const struct task_queue *q);

#endif
