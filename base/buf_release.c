/* SPDX-License-Identifier: Apache-2.0
 * Release of large memory in slices: a list of allocations to release, which waits in the turn queue as
 * connections do. See buf_release.h. */
#include "base/buf_release.h"

#include "base/turn_queue.h"

enum {
    AT_ONCE_MAX = 1 << 20,
    STEP = 1 << 20,
    STEPS = 2, /* of a turn */
};

struct released {
    struct link link;
    uint8_t *bytes; /* NULL: the arena is released */
    size_t size;    /* pages from this offset on have been released */
    struct arena arena;
};

static void release_some(struct turn_waiter *w);

static struct link waiting;
static struct turn_waiter waiter = {.resume = release_some};

/* Releases pages from the end, so that the rest remains a valid allocation. */
static bool forget_step(struct released *r)
{
    size_t n = r->size < STEP ? r->size : STEP;
    mem_forget(r->bytes + r->size - n, n);
    r->size -= n;
    if (r->size)
        return false;
    mem_free(r->bytes);
    return true;
}

static void release_step(struct released *r)
{
    if (!(r->bytes ? forget_step(r) : arena_done_step(&r->arena, STEP)))
        return;
    list_remove(&r->link);
    mem_free(r);
}

static void release_some(struct turn_waiter *w)
{
    for (unsigned i = 0; i < STEPS && !list_is_empty(&waiting); i++)
        release_step(container_of(waiting.next, struct released, link));
    if (!list_is_empty(&waiting))
        turn_wait(w);
}

/* True for small sizes, and without a turn under way: the queue would not run then. */
static bool is_released_at_once(size_t size)
{
    return size <= AT_ONCE_MAX || turn_elapsed_ns() == 0;
}

static void release_later(struct released what)
{
    if (!waiting.next)
        list_init(&waiting);
    struct released *r = mem_alloc(sizeof *r);
    *r = what;
    list_add_last(&waiting, &r->link);
    turn_wait(&waiter);
}

void mem_release(void *allocation, size_t size)
{
    if (!allocation || is_released_at_once(size))
        mem_free(allocation);
    else
        release_later((struct released){.bytes = allocation, .size = size});
}

void buf_release(struct buf *b)
{
    mem_release(b->data, b->capacity);
    *b = (struct buf){0};
}

void arena_release(struct arena *a)
{
    if (is_released_at_once(a->total))
        arena_done(a);
    else
        release_later((struct released){.arena = *a});
    *a = (struct arena){0};
}
