/* SPDX-License-Identifier: Apache-2.0
 * WebSocket frames (RFC 6455), as a client writes and reads them. The client offers no extension, so the
 * server must use none. Pure. */
#ifndef SDK_WS_H
#define SDK_WS_H

#include "base/buf.h"
#include "base/err.h"

enum { WS_MESSAGE_MAX = 64 << 20 };

enum ws_event { WS_NOTHING, WS_TEXT, WS_PING, WS_PONG, WS_CLOSED };
enum ws_opcode {
    WS_OP_CONTINUATION = 0,
    WS_OP_TEXT = 1,
    WS_OP_BINARY = 2,
    WS_OP_CLOSE = 8,
    WS_OP_PING = 9,
    WS_OP_PONG = 10,
};

/* Valid when zeroed. The caller appends received bytes to `in`. */
struct ws_reader {
    struct buf in;
    struct buf message; /* the text message so far */
    size_t taken;       /* bytes of `in` that the last event used */
    bool is_open;       /* a text message has begun and not ended */
    bool is_handed_out; /* the last event's payload is `message` */
};

void ws_write(struct buf *out, enum ws_opcode opcode, struct slice payload, const uint8_t mask[4]);
/* The next complete event; WS_NOTHING: more bytes are needed. The payload lives until the next call.
 * ERR_MALFORMED, ERR_LIMIT. */
MUST_CHECK int ws_next(struct ws_reader *r, enum ws_event *ret_event, struct slice *ret_payload);
void ws_done(struct ws_reader *r);

/* The value that the server must send in Sec-WebSocket-Accept, 28 characters and a NUL. */
void ws_accept(const char *key, char ret[29]);

#endif
