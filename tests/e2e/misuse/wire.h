/* SPDX-License-Identifier: Apache-2.0
 * HTTP/2 by hand, blocking: it sends frames as given, valid or invalid, for clients that misbehave. It
 * checks nothing, and only wire_next answers anything (SETTINGS and PING). tests/bench/h2client.h is for
 * well-behaved clients. */
#ifndef TESTS_E2E_MISUSE_WIRE_H
#define TESTS_E2E_MISUSE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WIRE_DATA = 0,
    WIRE_HEADERS = 1,
    WIRE_RST = 3,
    WIRE_SETTINGS = 4,
    WIRE_PING = 6,
    WIRE_GOAWAY = 7,
    WIRE_WINDOW = 8,
    WIRE_END_STREAM = 1,
    WIRE_ACK = 1,
    WIRE_END_HEADERS = 4,
};

struct wire {
    int fd;
    uint8_t *out; /* collected until wire_flush */
    size_t out_size, out_capacity;
    uint8_t *in; /* received, [in_at, in_size) not yet taken */
    size_t in_at, in_size, in_capacity;
    int64_t window;        /* what we may send on the connection, as the server gave it */
    int64_t stream_window; /* and on the last stream opened */
    int64_t initial_window;
    uint32_t next_id;
};

struct wire_frame {
    uint8_t type, flags;
    uint32_t id;
    const uint8_t *data; /* until the next call */
    size_t size;
};

/* A TCP connection, or -1. */
int wire_connect(int port);
/* Connects and greets; a window for what we receive, of each stream and (if more than the default) of the
 * connection. */
bool wire_open(struct wire *w, int port, uint32_t window);
void wire_close(struct wire *w);
void wire_frame(struct wire *w, uint8_t type, uint8_t flags, uint32_t id, const void *data, size_t size);
/* The metadata of a call, uncompressed; returns the stream's id. */
uint32_t wire_headers(struct wire *w, const char *path, bool is_last);
/* One gRPC message in one frame. */
void wire_message(struct wire *w, uint32_t id, const void *message, size_t size, bool is_last);
uint32_t wire_call(struct wire *w, const char *path, const void *message, size_t size, bool is_last);
/* Sends what is collected; false when the connection is gone or nothing moves for timeout_ms. */
bool wire_flush(struct wire *w, int timeout_ms);
/* The next frame; false after timeout_ms without one or when the connection is gone (fd stays open). Answers
 * SETTINGS and PING, and counts WINDOW_UPDATE, by itself. */
bool wire_next(struct wire *w, struct wire_frame *ret_frame, int timeout_ms);
/* Gives windows back for `size` received bytes. */
void wire_give(struct wire *w, uint32_t id, size_t size);
/* Reads until the server closes, for timeout_ms at most; true if it closed. */
bool wire_wait_closed(struct wire *w, int timeout_ms);

#endif
