/* SPDX-License-Identifier: Apache-2.0
 * Conversions of large messages between JSON and protobuf, on worker threads: a body of 2 MiB takes tens
 * of milliseconds, the response of a long range takes seconds.
 *
 * A conversion owns its input and its result, so its client may disconnect meanwhile (conversion_cancel).
 * A conversion that is canceled before it has begun is freed at once. Conversions run in order of arrival;
 * those over CONVERSION_LARGE run on a thread of their own, so that they do not delay the others. */
#ifndef SERVER_HTTP_CONVERSION_H
#define SERVER_HTTP_CONVERSION_H

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/worker.h"

struct uv_loop_s;

enum {
    CONVERSION_INLINE_MAX =
        64 * 1024, /* bytes; smaller messages are converted on the loop, which is faster than a thread */
    CONVERSION_LARGE = 4 << 20, /* bytes; larger ones use the second thread */
    CONVERSION_THREADS = 2,
};

struct conversion {
    struct worker_job job;
    struct link link; /* in queue->waiting */
    struct conversion_thread *thread;
    const ProtobufCMessageDescriptor *type;
    bool is_to_json;
    struct buf from; /* JSON, or protobuf's encoding */
    size_t from_at;  /* offset where the message begins */
    size_t room;     /* bytes that stay free at the beginning of `json` */
    struct buf json; /* the result of protobuf to JSON */
    struct arena arena;
    ProtobufCMessage *message; /* the result of JSON to protobuf, in the arena; NULL: error says why */
    char error[256];
    void (*done)(struct conversion *c); /* it may take json and arena; NULL: canceled */
    void *arg;                          /* the caller's */
};

/* Valid when zeroed, but for the loop. */
struct conversions {
    struct uv_loop_s *loop;
    struct conversion_thread {
        struct worker *worker; /* NULL until the first one */
        struct conversion *running;
        struct link waiting;
    } threads[CONVERSION_THREADS];
};

/* Starts a conversion; takes `from`. done is called from the loop, unless the conversion was canceled. It
 * is freed afterwards. */
struct conversion *conversion_to_message(struct conversions *s, const ProtobufCMessageDescriptor *type,
                                         struct buf *from, void (*done)(struct conversion *c), void *arg);
struct conversion *conversion_to_json(struct conversions *s, const ProtobufCMessageDescriptor *type,
                                      struct buf *from, size_t from_at, size_t room,
                                      void (*done)(struct conversion *c), void *arg);
void conversion_cancel(struct conversion *c);
void conversions_stop(struct conversions *s); /* all conversions must be canceled; run the loop afterwards */

#endif
