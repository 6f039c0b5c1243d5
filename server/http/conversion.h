/* SPDX-License-Identifier: Apache-2.0
 * Conversions of large messages between JSON and protobuf's encoding, on worker threads: a body of 2 MiB
 * takes some tens of milliseconds, an answer of a long range seconds.
 *
 * A conversion owns its input and its result, so that its client may go meanwhile: conversion_cancel. One
 * that is canceled before the worker has it is freed at once. Conversions of one size run in the order in
 * which they came; very large ones have a thread of their own, so that nobody waits for them. */
#ifndef SERVER_HTTP_CONVERSION_H
#define SERVER_HTTP_CONVERSION_H

#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/worker.h"

struct uv_loop_s;

enum {
    CONVERSION_INLINE_MAX = 64 * 1024, /* smaller messages take less than handing them over */
    CONVERSION_LARGE = 4 << 20,        /* larger ones have the other thread */
    CONVERSION_THREADS = 2,
};

struct conversion {
    struct worker_job job;
    struct link link; /* in lane->waiting */
    struct conversion_thread *thread;
    const ProtobufCMessageDescriptor *type;
    bool is_to_json;
    struct buf from; /* JSON, or protobuf's encoding */
    size_t from_at;  /* it begins here */
    size_t room;     /* bytes that stay free at the begin of `json` */
    struct buf json; /* the result in one direction */
    struct arena arena;
    ProtobufCMessage *message; /* the result in the other, in the arena; NULL: error says why */
    char error[256];
    void (*done)(struct conversion *c); /* may take json and arena; NULL: canceled */
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

/* Takes `from`. done follows from the loop, unless the conversion is canceled before; then it is freed. */
struct conversion *conversion_to_message(struct conversions *s, const ProtobufCMessageDescriptor *type,
                                         struct buf *from, void (*done)(struct conversion *c), void *arg);
struct conversion *conversion_to_json(struct conversions *s, const ProtobufCMessageDescriptor *type,
                                      struct buf *from, size_t from_at, size_t room,
                                      void (*done)(struct conversion *c), void *arg);
void conversion_cancel(struct conversion *c);
void conversions_stop(struct conversions *s); /* all of them are canceled; run the loop afterwards */

#endif
