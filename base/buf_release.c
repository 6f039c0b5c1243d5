/* SPDX-License-Identifier: Apache-2.0
 * A list of what is to be given back, which waits for turns as connections do. See buf_release.h. */
#include "base/buf_release.h"

#include "base/mem.h"
#include "base/turn_queue.h"

enum {
    AT_ONCE_MAX = 1 << 20,
    STEP = 1 << 20,
    STEPS = 2, /* of a turn */
};

struct released {
    struct link link;
    struct buf bytes; /* its pages from `capacity` on are gone */
};

static void release_some(struct turn_waiter *w);

static struct link waiting;
static struct turn_waiter waiter = {.resume = release_some};

/* From the end, so that what is left is a buffer still. */
static void release_step(struct released *r)
{
    size_t n = r->bytes.capacity < STEP ? r->bytes.capacity : STEP;
    mem_forget(r->bytes.data + r->bytes.capacity - n, n);
    r->bytes.capacity -= n;
    if (r->bytes.capacity)
        return;
    list_remove(&r->link);
    mem_free(r->bytes.data);
    mem_free(r);
}

static void release_some(struct turn_waiter *w)
{
    for (unsigned i = 0; i < STEPS && !list_is_empty(&waiting); i++)
        release_step(container_of(waiting.next, struct released, link));
    if (!list_is_empty(&waiting))
        turn_wait(w);
}

void buf_release(struct buf *b)
{
    if (b->capacity <= AT_ONCE_MAX || turn_elapsed_ns() == 0) { /* no turn is under way: nobody would come */
        buf_done(b);
        return;
    }
    if (!waiting.next)
        list_init(&waiting);
    struct released *r = mem_new(sizeof *r);
    r->bytes = buf_move(b);
    list_add_last(&waiting, &r->link);
    turn_wait(&waiter);
}
