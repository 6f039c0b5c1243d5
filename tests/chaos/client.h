/* SPDX-License-Identifier: Apache-2.0
 * A gRPC client for servers that fail, on nghttp2 and one thread: it handles broken and renewed connections,
 * calls with any status, time limits and pings by the caller's clock. Plain TCP only.
 *
 * A call's end comes exactly once unless it was dropped, never from inside the function that began it. In
 * callbacks calls may be started and dropped, but no connection may be opened or closed. */
#ifndef TESTS_CHAOS_CLIENT_H
#define TESTS_CHAOS_CLIENT_H

#include <netinet/in.h>
#include <protobuf-c/protobuf-c.h>

#include "base/buf.h"
#include "base/list.h"

enum {
    STATUS_OK = 0,
    STATUS_INVALID = 3,
    STATUS_DEADLINE = 4,
    STATUS_NOT_FOUND = 5,
    STATUS_FAILED_PRECONDITION = 9,
    STATUS_OUT_OF_RANGE = 11,
    STATUS_UNAVAILABLE = 14,
};

struct nghttp2_session;
struct connection;

struct endpoint {
    struct sockaddr_in address;
    char name[64]; /* host:port */
};
bool endpoint_parse(const char *text, struct endpoint *ret_endpoint);

struct call {
    /* The caller's, before call_start. */
    void (*on_message)(struct call *c, struct slice message); /* may be NULL */
    void (*on_end)(struct call *c, int status, const char *text);
    void *arg;
    /* The module's own. */
    struct connection *connection; /* NULL = not under way */
    struct link link;
    int32_t stream;
    int status;
    char text[160];
    struct buf in, out;
    bool is_last_sent, has_status;
};

enum connection_state { CONNECTION_DOWN, CONNECTION_CONNECTING, CONNECTION_UP };

struct connection {
    enum connection_state state;
    void (*on_up)(struct connection *c); /* may be NULL; so may the other */
    void (*on_down)(struct connection *c);
    void *arg;
    struct endpoint endpoint;
    int fd;
    bool wants_write, is_reading;
    struct nghttp2_session *session;
    struct link calls; /* under way */
    struct buf out;
    uint64_t began_ms, heard_ms, pinged_ms;
};

void client_init(void); /* once */
/* Waits for events, at most the given time, and handles them. */
void client_wait(int timeout_ms);
uint64_t client_now_ms(void);
int64_t client_now_ns(void);

/* From CONNECTION_DOWN: starts to connect. */
void connection_open(struct connection *c, const struct endpoint *endpoint);
/* Ends pending calls with STATUS_UNAVAILABLE and calls on_down. Harmless when down. */
void connection_close(struct connection *c, const char *why);
/* Sends a ping, and closes the connection when nothing was received for the given time. Call it
 * periodically. */
void connection_check(struct connection *c, uint64_t silence_max_ms);

/* Starts a call with one message (or none: NULL); is_last ends our side. */
void call_start(struct connection *c, struct call *call, const char *path, const ProtobufCMessage *message,
                bool is_last, bool require_leader);
void call_send(struct call *call, const ProtobufCMessage *message);
/* Drops the call without a callback. Harmless when the call is not pending. */
void call_drop(struct call *call);

#endif
