/* SPDX-License-Identifier: Apache-2.0
 * Requests that come over something else than a connection of this folder: the streams of HTTP/2 connections
 * (server/grpc). The carrier reads fields and the bytes of bodies from the wire and brings heads and bodies of
 * answers there. Everything between is as for HTTP/1.1: admission, routes, handlers, limits.
 *
 * Life of a carried request: open, begin, any number of body, body_end, and free when its stream has ended. */
#ifndef SERVER_HTTP_CARRIER_H
#define SERVER_HTTP_CARRIER_H

#include "base/buf.h"
#include "server/http/head.h"

enum http_answer {
    HTTP_ANSWER_INTERIM, /* 100: another head follows */
    HTTP_ANSWER_EMPTY,   /* without a body */
    HTTP_ANSWER_WHOLE,   /* the body follows at once */
    HTTP_ANSWER_STREAM,  /* it comes in pieces, perhaps for days */
};

/* Functions of the carrier. Only `reset` ends the stream at once. */
struct http_carrier {
    /* lines: "Name: value\r\n" each. */
    void (*head)(void *stream, int status, struct slice lines, enum http_answer answer);
    void (*send)(void *stream, struct buf *bytes, size_t at); /* bytes from `at` on; may take or empty it */
    /* The answer is complete. Not is_whole: it could not be completed, and the client must notice that. */
    void (*end)(void *stream, bool is_whole);
    void (*reset)(void *stream); /* ends the stream, which frees the request; called from timers only */
    void (*consumed)(void *stream, size_t size); /* bytes of the body that need no memory any more */
    size_t (*unsent)(const void *stream);
    bool (*is_congested)(const void *stream);
    void (*want_writable)(void *stream); /* `writable` is called once the client has taken some bytes */
};

struct http_carried_options {
    const struct http_carrier *carrier;
    void *stream; /* passed to the carrier's functions */
    enum http_role role;
    bool is_tls;
    const char *peer, *common_name; /* common_name: "" = none; it outlives the request */
    uint64_t source;
};

/* The functions for a carrier. Nothing here may be called from inside a function of the carrier. */
struct http_carried {
    struct http_conn *(*open)(struct http_server *s, const struct http_carried_options *options);
    /* text: what head's slices point into; taken. status: 0, or the one to reject the request with. */
    void (*begin)(struct http_conn *c, struct buf *text, const struct http_head *head, int status,
                  bool has_body);
    void (*body)(struct http_conn *c, struct slice bytes);
    void (*body_end)(struct http_conn *c);
    void (*took)(struct http_conn *c, size_t size); /* the client's socket has taken bytes */
    void (*writable)(struct http_conn *c);
    void (*free)(struct http_conn *c); /* in any state */
};
extern const struct http_carried http_carried;

#endif
