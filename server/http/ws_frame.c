/* SPDX-License-Identifier: Apache-2.0
 * WebSocket framing: checks of a client's frames, and heads of our frames; see ws.h. A compressed message
 * is returned as received; the caller inflates it and checks its UTF-8. */
#include "server/http/ws.h"

#include "base/hash.h"
#include "base/text.h"

/* The size of the frame's head, as far as its first bytes determine it. */
static unsigned head_length(const struct ws_parser *p)
{
    if (p->head_size < 2)
        return 2;
    if (!(p->head[1] & 0x80))
        return 2; /* not masked: refused without waiting for the rest */
    uint8_t length = p->head[1] & 0x7f;
    return 2 + (length == 126 ? 2 : length == 127 ? 8 : 0) + 4;
}

/* The head is complete: 0, or the status of the error. */
static uint16_t ws_frame_read_head(struct ws_parser *p, size_t message_size, size_t limit)
{
    bool is_masked = p->head[1] & 0x80;
    uint8_t length = p->head[1] & 0x7f;
    const uint8_t *at = p->head + 2;
    p->is_final = p->head[0] & 0x80;
    p->opcode = p->head[0] & 0x0f;
    p->left = length;
    if (length == 126) {
        p->left = (uint64_t)at[0] << 8 | at[1];
        at += 2;
    } else if (length == 127) {
        p->left = get_be64(at);
        at += 8;
    }
    memcpy(p->mask, at, 4);
    p->at = 0;
    p->control_size = 0;
    /* RSV1 means compressed; only a message's first frame may have it. */
    bool is_deflated = p->takes_deflate && p->opcode && p->opcode < WS_CLOSE && (p->head[0] & 0x40);
    if ((p->head[0] & (is_deflated ? 0x30 : 0x70)) || !is_masked)
        return WS_PROTOCOL_ERROR;
    if (p->opcode >= WS_CLOSE)
        return p->opcode > WS_PONG || !p->is_final || length > 125 ? WS_PROTOCOL_ERROR : 0;
    if (p->opcode > WS_BINARY || (p->opcode == WS_CONTINUE) != (p->message_opcode != 0))
        return WS_PROTOCOL_ERROR;
    if (p->opcode != WS_CONTINUE) {
        p->message_opcode = p->opcode;
        p->is_deflated = is_deflated;
    }
    return p->left > limit || message_size + p->left > limit ? WS_TOO_LARGE : 0;
}

static void unmask(struct ws_parser *p, uint8_t *to, const uint8_t *from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = from[i] ^ p->mask[(p->at + i) & 3];
    p->at += size;
    p->left -= size;
}

static bool is_close_status(uint16_t status)
{
    return (status >= 1000 && status <= 1014 && (status < 1004 || status > 1006)) ||
           (status >= 3000 && status <= 4999);
}

static enum ws_event close_event(const struct ws_parser *p, uint16_t *ret_status)
{
    struct slice reason = slice_of(p->control + 2, p->control_size > 2 ? p->control_size - 2 : 0);
    uint16_t status = (uint16_t)(p->control[0] << 8 | p->control[1]);
    *ret_status = p->control_size == 0 ? WS_NO_STATUS : status;
    if (p->control_size && (p->control_size == 1 || !is_close_status(status) || !utf8_is_valid(reason))) {
        *ret_status = WS_PROTOCOL_ERROR;
        return WS_EVENT_ERROR;
    }
    return WS_EVENT_CLOSE;
}

/* The frame's payload is complete. */
static enum ws_event frame_event(struct ws_parser *p, const struct buf *message, uint16_t *ret_status)
{
    p->in_payload = false;
    p->head_size = 0;
    if (p->opcode == WS_CLOSE)
        return close_event(p, ret_status);
    if (p->opcode >= WS_PING)
        return p->opcode == WS_PING ? WS_EVENT_PING : WS_EVENT_PONG;
    if (!p->is_final)
        return WS_EVENT_NONE;
    bool is_text = p->message_opcode == WS_TEXT;
    p->message_opcode = 0;
    if (is_text && !p->is_deflated && !utf8_is_valid(buf_slice(message))) {
        *ret_status = WS_BAD_TEXT;
        return WS_EVENT_ERROR;
    }
    return WS_EVENT_MESSAGE;
}

enum ws_event ws_parse(struct ws_parser *p, struct slice *in, struct buf *message, size_t limit,
                       uint16_t *ret_status)
{
    while (in->size || (p->in_payload && p->left == 0)) {
        if (!p->in_payload) {
            p->head[p->head_size++] = *in->data;
            *in = slice_of(in->data + 1, in->size - 1);
            if (p->head_size < head_length(p))
                continue;
            *ret_status = ws_frame_read_head(p, message->size, limit);
            if (*ret_status)
                return WS_EVENT_ERROR;
            p->in_payload = true;
        }
        size_t n = p->left < in->size ? (size_t)p->left : in->size;
        if (n && p->opcode >= WS_CLOSE) {
            unmask(p, p->control + p->control_size, in->data, n);
            p->control_size += (unsigned)n;
        } else if (n) {
            unmask(p, buf_reserve(message, n), in->data, n);
            message->size += n;
        }
        *in = slice_of(in->data + n, in->size - n);
        if (p->left == 0) {
            enum ws_event event = frame_event(p, message, ret_status);
            if (event != WS_EVENT_NONE)
                return event;
        }
    }
    return WS_EVENT_NONE;
}

size_t ws_frame_head(uint8_t head[WS_HEAD_MAX], unsigned opcode, size_t size)
{
    head[0] = (uint8_t)(0x80 | opcode);
    if (size < 126) {
        head[1] = (uint8_t)size;
        return 2;
    }
    if (size < 65536) {
        head[1] = 126;
        head[2] = (uint8_t)(size >> 8);
        head[3] = (uint8_t)size;
        return 4;
    }
    head[1] = 127;
    put_be64(head + 2, size);
    return 10;
}

void ws_accept_key(struct slice key, struct buf *out)
{
    struct buf text = {0};
    uint8_t digest[20];
    buf_add_slice(&text, key);
    buf_add_text(&text, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    sha1(text.data, text.size, digest);
    base64_encode(out, slice_of(digest, sizeof digest));
    buf_done(&text);
}
