/* SPDX-License-Identifier: Apache-2.0
 * Conversions on worker threads; see conversion.h. Each worker has one conversion at a time, so that the
 * waiting ones can be canceled. */
#include "server/http/conversion.h"

#include <assert.h>

#include "base/buf_release.h"
#include "proto/json.h"

static void to_message(struct conversion *c)
{
    struct slice text = slice_of(c->from.data + c->from_at, c->from.size - c->from_at);
    if (json_to_message(c->type, text, &c->arena, c->error, sizeof c->error, &c->message))
        c->message = NULL;
}

static void to_json(struct conversion *c)
{
    ProtobufCMessage *m = protobuf_c_message_unpack(c->type, arena_allocator(&c->arena),
                                                    c->from.size - c->from_at, c->from.data + c->from_at);
    assert(m); /* our own encoding */
    (void)buf_reserve(&c->json, c->room);
    c->json.size = c->room;
    message_to_json(m, &c->json);
    arena_done(&c->arena);
}

static void on_run(struct worker_job *job)
{
    struct conversion *c = container_of(job, struct conversion, job);
    if (c->is_to_json)
        to_json(c);
    else
        to_message(c);
    buf_done(&c->from);
}

static void conversion_free(struct conversion *c)
{
    buf_release(&c->from);
    buf_release(&c->json);
    arena_done(&c->arena);
    mem_free(c);
}

static void run_next(struct conversion_thread *thread)
{
    struct link *l = thread->running ? NULL : list_take_first(&thread->waiting);
    if (!l)
        return;
    thread->running = container_of(l, struct conversion, link);
    worker_submit(thread->worker, &thread->running->job);
}

static void conversion_on_done(struct worker_job *job)
{
    struct conversion *c = container_of(job, struct conversion, job);
    c->thread->running = NULL;
    run_next(c->thread);
    if (c->done)
        c->done(c);
    conversion_free(c);
}

static struct conversion *conversion_start(struct conversions *s, struct conversion c)
{
    bool is_large = c.from.size > CONVERSION_LARGE;
    struct conversion_thread *thread = &s->threads[is_large];
    struct conversion *kept = mem_new(sizeof *kept);
    if (!thread->worker) {
        list_init(&thread->waiting);
        thread->worker = worker_start(s->loop, is_large ? "gateway-large" : "gateway");
    }
    *kept = c;
    kept->thread = thread;
    kept->job.run = on_run;
    kept->job.done = conversion_on_done;
    list_add_last(&thread->waiting, &kept->link);
    run_next(thread);
    return kept;
}

struct conversion *conversion_to_message(struct conversions *s, const ProtobufCMessageDescriptor *type,
                                         struct buf *from, void (*done)(struct conversion *c), void *arg)
{
    return conversion_start(
        s, (struct conversion){.type = type, .from = buf_move(from), .done = done, .arg = arg});
}

struct conversion *conversion_to_json(struct conversions *s, const ProtobufCMessageDescriptor *type,
                                      struct buf *from, size_t from_at, size_t room,
                                      void (*done)(struct conversion *c), void *arg)
{
    return conversion_start(s, (struct conversion){.type = type,
                                                   .is_to_json = true,
                                                   .from = buf_move(from),
                                                   .from_at = from_at,
                                                   .room = room,
                                                   .done = done,
                                                   .arg = arg});
}

void conversion_cancel(struct conversion *c)
{
    c->done = NULL;
    if (c == c->thread->running)
        return;
    list_remove(&c->link);
    conversion_free(c);
}

void conversions_stop(struct conversions *s)
{
    for (size_t i = 0; i < CONVERSION_THREADS; i++) {
        struct conversion_thread *thread = &s->threads[i];
        if (!thread->worker)
            continue;
        while (!list_is_empty(&thread->waiting))
            conversion_cancel(container_of(thread->waiting.next, struct conversion, link));
        worker_stop(thread->worker);
        thread->worker = NULL;
    }
}
