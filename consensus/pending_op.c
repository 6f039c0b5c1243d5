/* SPDX-License-Identifier: Apache-2.0
 * Pending operations; see pending_op.h. */
#include "consensus/pending_op.h"

#include <stdarg.h>

#define VIEW_MS 2000 /* how long a write waits for the view before it is answered */

uint64_t pending_ops_now_ms(const struct pending_ops *d)
{
    return d->io->ops->mono_ns(d->io) / 1000000;
}

void pending_ops_schedule_turn(struct pending_ops *d)
{
    if (d->is_turn_scheduled)
        return;
    d->is_turn_scheduled = true;
    d->io->ops->timer_start(d->io, &d->again, 0);
}

static void pending_op_on_again(struct io_timer *timer)
{
    container_of(timer, struct pending_ops, again)->is_turn_scheduled = false;
}

void *pending_op_new(struct pending_ops *d, void **handle, size_t size)
{
    struct pending_op *op = mem_new(size);
    op->pending_ops = d;
    op->handle = handle;
    if (handle)
        *handle = op;
    list_add_last(&d->ops, &op->link);
    d->op_count++;
    return op;
}

/* The permissions at the time of the apply count, also for a request that came with a token. */
void pending_op_set_author(struct pending_op *op, const struct auth_who *who)
{
    op->has_author = who != NULL;
    op->epoch = kv_auth_epoch(op->pending_ops->kv);
    if (!who)
        return;
    op->author = *who;
    op->author.user.data = arena_copy(&op->arena, who->user.data, who->user.size);
    op->author.is_renewed = who->revision != 0;
}

void pending_op_sign(struct pending_op *op, const struct auth_need *needs, size_t count)
{
    if (!op->has_author)
        return;
    op->needs = (struct auth_needs){arena_copy(&op->arena, needs, count * sizeof *needs), count};
    op->kv.who = &op->author;
    op->kv.needs = &op->needs;
}

void pending_op_sign_key(struct pending_op *op, struct slice key)
{
    pending_op_sign(op, &(struct auth_need){.key = key, .is_write = true}, 1);
}

int pending_op_check_key(const struct pending_op *op, struct slice key)
{
    if (!op->has_author || op->epoch == kv_auth_epoch(op->pending_ops->kv))
        return OK;
    return kv_auth_check_range(op->pending_ops->kv, &op->author, key, (struct slice){0}, true);
}

/* Stops everything that could call the op. */
static void stop_waiting(struct pending_op *op)
{
    kv_cancel(op->pending_ops->kv, &op->kv);
    feed_forget(&op->waiter);
    heap_remove(&op->pending_ops->deadlines, &op->deadline);
}

static void free_op(struct pending_op *op)
{
    stop_waiting(op);
    list_remove(&op->link);
    if (op->on_free)
        op->on_free(op);
    arena_done(&op->arena);
    op->pending_ops->op_count--;
    mem_free(op);
}

void pending_op_end(struct pending_op *op, int err)
{
    op->err = err;
    heap_remove(&op->pending_ops->deadlines, &op->deadline);
    list_remove(&op->link);
    list_add_last(&op->pending_ops->ended, &op->link);
    pending_ops_schedule_turn(op->pending_ops);
}

void pending_op_refuse(struct pending_op *op, int err, const char *format, ...)
{
    struct buf text = {0};
    va_list args;
    va_start(args, format);
    buf_addv(&text, format, args);
    va_end(args);
    op->error = arena_string(&op->arena, text.data, text.size);
    buf_done(&text);
    pending_op_end(op, err);
}

static void start_timer(struct pending_ops *d)
{
    const struct heap_node *first = heap_first(&d->deadlines);
    uint64_t now = pending_ops_now_ms(d);
    if (first)
        d->io->ops->timer_start(d->io, &d->timer, first->key > now ? first->key - now : 0);
}

void pending_op_limit(struct pending_op *op, uint64_t ms, void (*on_deadline)(struct pending_op *op))
{
    struct pending_ops *d = op->pending_ops;
    op->on_deadline = on_deadline;
    heap_remove(&d->deadlines, &op->deadline);
    heap_add(&d->deadlines, &op->deadline, pending_ops_now_ms(d) + ms);
    if (heap_first(&d->deadlines) == &op->deadline)
        start_timer(d);
}

/* Handles the deadlines that were due when the timer fired. A new limit of 0 ms waits for the next time. */
static void pending_op_on_timer(struct io_timer *timer)
{
    struct pending_ops *d = container_of(timer, struct pending_ops, timer);
    uint64_t now = pending_ops_now_ms(d), order = d->deadlines.next_order;
    struct heap_node *first;
    while ((first = heap_first(&d->deadlines)) && first->key <= now && first->order < order) {
        struct pending_op *op = container_of(first, struct pending_op, deadline);
        heap_remove(&d->deadlines, first);
        op->on_deadline(op);
    }
    start_timer(d);
}

void pending_op_view(struct pending_op *op, int64_t revision, void (*fn)(struct feed_waiter *w))
{
    op->waiter.fn = fn;
    feed_wait(op->pending_ops->feed, &op->waiter, revision);
}

static void pending_op_on_written(struct feed_waiter *w)
{
    pending_op_end(container_of(w, struct pending_op, waiter), OK);
}

/* The view does not get there in time (it is read again, without a leader). The write succeeded all the
 * same. */
static void on_view_late(struct pending_op *op)
{
    feed_forget(&op->waiter);
    pending_op_end(op, OK);
}

void pending_op_written(struct pending_op *op, int64_t revision)
{
    pending_op_limit(op, VIEW_MS, on_view_late);
    pending_op_view(op, revision, pending_op_on_written);
}

void pending_op_cancel(struct pending_op *op)
{
    if (op->handle)
        *op->handle = NULL;
    op->handle = NULL;
    if (!op->goes_on)
        free_op(op);
}

static void pending_op_answer(struct pending_op *op)
{
    list_remove(&op->link);
    op->goes_on = true; /* a cancel from inside the callback must not free it */
    if (op->handle && op->before_answer && !op->err)
        op->before_answer(op);
    if (op->handle) {
        *op->handle = NULL;
        op->handle = NULL;
        op->on_answer(op);
    }
    free_op(op);
}

void pending_ops_turn(struct pending_ops *d)
{
    struct link now;
    list_init(&now);
    list_move_all(&now, &d->ended);
    while (!list_is_empty(&now))
        pending_op_answer(container_of(now.next, struct pending_op, link));
}

void pending_ops_init(struct pending_ops *d, struct kv *kv)
{
    *d = (struct pending_ops){.kv = kv, .io = kv_io(kv)};
    d->again.fire = pending_op_on_again;
    d->timer.fire = pending_op_on_timer;
    list_init(&d->ops);
    list_init(&d->ended);
}

/* An answer may start new requests. They end here as well, a bounded number of times. */
void pending_ops_done(struct pending_ops *d)
{
    for (unsigned n = 0; n < 8 && !list_is_empty(&d->ops); n++) {
        while (!list_is_empty(&d->ops)) {
            struct pending_op *op = container_of(d->ops.next, struct pending_op, link);
            stop_waiting(op);
            pending_op_end(op, ERR_STOPPED);
        }
        pending_ops_turn(d);
    }
    pending_ops_turn(d);
    while (!list_is_empty(&d->ops))
        free_op(container_of(d->ops.next, struct pending_op, link));
    while (!list_is_empty(&d->ended))
        free_op(container_of(d->ended.next, struct pending_op, link));
    d->io->ops->timer_stop(d->io, &d->again);
    d->io->ops->timer_stop(d->io, &d->timer);
    heap_done(&d->deadlines);
}
