/* SPDX-License-Identifier: Apache-2.0
 * WebSocket framing (RFC 6455): parser of a client's frames as events, writer of frame heads. Pure. */
#ifndef SERVER_HTTP_WS_H
#define SERVER_HTTP_WS_H

#include "base/buf.h"

enum ws_close_status {
    WS_NORMAL = 1000,
    WS_GOING_AWAY = 1001,
    WS_PROTOCOL_ERROR = 1002,
    WS_NO_STATUS = 1005, /* never on the wire */
    WS_BAD_TEXT = 1007,
    WS_TOO_LARGE = 1009,
    WS_TRY_LATER = 1013,
};

enum ws_opcode { WS_CONTINUE = 0, WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

struct ws_parser { /* valid when zeroed */
    uint8_t head[14], mask[4], control[125];
    unsigned head_size, control_size;
    uint64_t left, at; /* of the frame's payload */
    bool in_payload, is_final;
    bool takes_deflate;             /* set by the caller: permessage-deflate was negotiated */
    bool is_deflated;               /* the current message, or the one just completed, is compressed */
    uint8_t opcode, message_opcode; /* of the frame; of its message, 0 = no message has begun */
};

enum ws_event {
    WS_EVENT_NONE,    /* all input taken */
    WS_EVENT_MESSAGE, /* the message is complete in `message`: clear it before the next call */
    WS_EVENT_PING,    /* payload in p->control */
    WS_EVENT_PONG,
    WS_EVENT_CLOSE, /* ret_status: the client's, or WS_NO_STATUS */
    WS_EVENT_ERROR, /* ret_status: what to close with */
};

/* Takes bytes off the front of `in` until an event. limit: bytes of one message. */
enum ws_event ws_parse(struct ws_parser *p, struct slice *in, struct buf *message, size_t limit,
                       uint16_t *ret_status);

#define WS_HEAD_MAX    10
#define WS_IS_DEFLATED 0x40                                                    /* added to the opcode */
size_t ws_frame_head(uint8_t head[WS_HEAD_MAX], unsigned opcode, size_t size); /* its payload is unmasked */
void ws_accept_key(struct slice key, struct buf *out);                         /* Sec-WebSocket-Accept */

#endif
