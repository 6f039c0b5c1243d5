/* SPDX-License-Identifier: Apache-2.0
 * The content worker's queue; see task.h. A client exists while it has tasks. The ring of clients is the
 * order of turns. */
#include "config/task.h"

#include "base/map.h"
#include "base/mem.h"
#include "base/metric.h"
#include "consensus/kv.h"

struct task_client {
    struct slice name; /* owned */
    struct link link;  /* in the ring while it has queued tasks */
    struct link waiting;
    size_t count, bytes; /* queued and running */
};

struct task_queue {
    struct io *io;
    struct strmap clients;
    struct link ring; /* clients with queued tasks, the next one first */
    struct task *running;
    struct task_sums sums;
    bool is_closed;
};

/* --- clients -------------------------------------------------------------------------------------------- */

static struct task_client *find_client(struct task_queue *q, struct slice name)
{
    name.size = name.size < TASK_CLIENT_MAX ? name.size : TASK_CLIENT_MAX;
    struct task_client *c = strmap_get(&q->clients, name);
    if (c)
        return c;
    c = mem_new(sizeof *c);
    c->name = slice_of(mem_copy(name.data, name.size), name.size);
    list_init(&c->waiting);
    strmap_put(&q->clients, c->name, c);
    return c;
}

static void drop_client_if_idle(struct task_queue *q, struct task_client *c)
{
    if (c->count)
        return;
    list_remove(&c->link);
    strmap_remove(&q->clients, c->name);
    mem_free(c->name.data);
    mem_free(c);
}

/* A client without tasks has no limit but the total, and the first task of all has none: so one content of
 * any legal size is accepted. */
static bool task_has_room(const struct task_queue *q, const struct task_client *c, size_t bytes)
{
    const struct task_sums *s = &q->sums;
    if (s->count && (s->count >= TASK_COUNT_MAX || s->bytes + bytes > TASK_BYTES_MAX))
        return false;
    return !c->count ||
           (c->count < TASK_COUNT_MAX / TASK_SHARE && c->bytes + bytes <= TASK_BYTES_MAX / TASK_SHARE);
}

/* --- tasks ---------------------------------------------------------------------------------------------- */

static void task_release(struct task *t)
{
    struct task_queue *q = t->queue;
    struct task_client *c = t->client;
    list_remove(&t->link);
    c->count--;
    c->bytes -= t->bytes;
    q->sums.count--;
    q->sums.bytes -= t->bytes;
    if (list_is_empty(&c->waiting))
        list_remove(&c->link);
    drop_client_if_idle(q, c);
    t->release(t);
}

static void free_queue(struct task_queue *q)
{
    strmap_done(&q->clients);
    mem_free(q);
}

static void run_next(struct task_queue *q);

static void on_run(struct worker_job *job)
{
    struct task *t = container_of(job, struct task, job);
    t->run(t);
}

static void task_on_done(struct worker_job *job)
{
    struct task *t = container_of(job, struct task, job);
    struct task_queue *q = t->queue;
    q->running = NULL;
    t->is_running = false;
    run_next(q); /* before done, which may take long */
    if (!t->is_canceled)
        t->done(t);
    task_release(t);
    if (q->is_closed)
        free_queue(q);
}

static void run_next(struct task_queue *q)
{
    struct link *first = list_take_first(&q->ring);
    if (!first)
        return;
    struct task_client *c = container_of(first, struct task_client, link);
    struct task *t = container_of(list_take_first(&c->waiting), struct task, link);
    if (!list_is_empty(&c->waiting))
        list_add_last(&q->ring, &c->link);
    q->running = t;
    t->is_running = true;
    t->job.run = on_run;
    t->job.done = task_on_done;
    q->io->ops->submit(q->io, IO_WORKER_CONTENT, &t->job);
}

int task_add(struct task_queue *q, struct task *t, struct slice client)
{
    struct task_client *c = find_client(q, client);
    if (!task_has_room(q, c, t->bytes)) {
        q->sums.refused++;
        metric_add(METRIC_CONFIG_CHECKS_REFUSED, 1);
        drop_client_if_idle(q, c);
        return ERR_TOO_MANY_REQUESTS;
    }
    t->queue = q;
    t->client = c;
    t->is_running = t->is_canceled = false;
    c->count++;
    c->bytes += t->bytes;
    q->sums.count++;
    q->sums.bytes += t->bytes;
    list_add_last(&c->waiting, &t->link);
    if (!link_is_in_list(&c->link))
        list_add_last(&q->ring, &c->link);
    if (!q->running)
        run_next(q);
    return OK;
}

void task_cancel(struct task *t)
{
    t->is_canceled = true;
    if (!t->is_running)
        task_release(t);
}

struct task_sums task_queue_sums(const struct task_queue *q)
{
    return q->sums;
}

struct task_queue *task_queue_new(struct io *io)
{
    struct task_queue *q = mem_new(sizeof *q);
    q->io = io;
    list_init(&q->ring);
    return q;
}

void task_queue_free(struct task_queue *q)
{
    if (!q)
        return;
    struct link *l;
    while ((l = list_take_first(&q->ring))) {
        struct task_client *c = container_of(l, struct task_client, link);
        list_add_last(&q->ring, &c->link);
        task_cancel(container_of(c->waiting.next, struct task, link));
    }
    if (!q->running) {
        free_queue(q);
        return;
    }
    q->is_closed = true;
    q->running->is_canceled = true;
}
