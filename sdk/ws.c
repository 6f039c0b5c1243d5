/* SPDX-License-Identifier: Apache-2.0
 * Encoder and decoder of WebSocket frames. See ws.h. */
#include "sdk/ws.h"

#include "base/hash.h"
#include "base/text.h"

enum { FIN = 0x80, RESERVED = 0x70, MASKED = 0x80, CONTROL_MAX = 125 };

void ws_write(struct buf *out, enum ws_opcode opcode, struct slice payload, const uint8_t mask[4])
{
    uint8_t head[14] = {(uint8_t)(FIN | opcode)};
    size_t n = 2;
    if (payload.size < 126) {
        head[1] = (uint8_t)(MASKED | payload.size);
    } else if (payload.size < 65536) {
        head[1] = MASKED | 126;
        head[2] = (uint8_t)(payload.size >> 8);
        head[3] = (uint8_t)payload.size;
        n = 4;
    } else {
        head[1] = MASKED | 127;
        put_be64(head + 2, payload.size);
        n = 10;
    }
    memcpy(head + n, mask, 4);
    buf_add(out, head, n + 4);
    uint8_t *p = buf_reserve(out, payload.size);
    for (size_t i = 0; i < payload.size; i++)
        p[i] = payload.data[i] ^ mask[i & 3];
    out->size += payload.size;
}

struct frame {
    bool is_final;
    unsigned opcode;
    struct slice payload;
    size_t size; /* bytes of the whole frame; 0 = incomplete */
};

static int read_frame(struct slice in, struct frame *f)
{
    *f = (struct frame){0};
    if (in.size < 2)
        return OK;
    size_t head = 2;
    uint64_t size = in.data[1] & 0x7f;
    f->is_final = in.data[0] & FIN;
    f->opcode = in.data[0] & 0xf;
    if (in.data[0] & RESERVED || in.data[1] & MASKED)
        return ERR_MALFORMED;
    if (f->opcode >= WS_OP_CLOSE && (!f->is_final || size > CONTROL_MAX))
        return ERR_MALFORMED;
    if (size == 126) {
        if (in.size < 4)
            return OK;
        size = (uint64_t)in.data[2] << 8 | in.data[3];
        head = 4;
    } else if (size == 127) {
        if (in.size < 10)
            return OK;
        size = get_be64(in.data + 2);
        head = 10;
    }
    if (size > WS_MESSAGE_MAX)
        return ERR_LIMIT;
    if (in.size - head < size)
        return OK;
    f->payload = slice_of(in.data + head, size);
    f->size = head + size;
    return OK;
}

/* Adds a fragment of a text message; *ret_whole when it is the last one. */
static int take_piece(struct ws_reader *r, const struct frame *f, bool *ret_whole)
{
    if (r->is_open != (f->opcode == WS_OP_CONTINUATION))
        return ERR_MALFORMED;
    if (r->message.size + f->payload.size > WS_MESSAGE_MAX)
        return ERR_LIMIT;
    buf_add_slice(&r->message, f->payload);
    r->is_open = !f->is_final;
    *ret_whole = f->is_final;
    return OK;
}

int ws_next(struct ws_reader *r, enum ws_event *ret_event, struct slice *ret_payload)
{
    struct frame f;
    *ret_event = WS_NOTHING;
    buf_consume(&r->in, r->taken);
    r->taken = 0;
    if (r->is_handed_out)
        buf_clear(&r->message);
    r->is_handed_out = false;
    for (size_t at = 0;;) {
        int err = read_frame(slice_of(r->in.data ? r->in.data + at : NULL, r->in.size - at), &f);
        if (err || !f.size) {
            buf_consume(&r->in, at);
            r->taken = 0;
            return err;
        }
        at += f.size;
        r->taken = at; /* dropped at the next call */
        *ret_payload = f.payload;
        bool is_whole = true;
        switch (f.opcode) {
        case WS_OP_CONTINUATION:
        case WS_OP_TEXT:
            err = take_piece(r, &f, &is_whole);
            if (!err && is_whole) {
                *ret_event = WS_TEXT;
                *ret_payload = buf_slice(&r->message);
                r->is_handed_out = true;
            }
            break;
        case WS_OP_PING:
            *ret_event = WS_PING;
            break;
        case WS_OP_PONG:
            *ret_event = WS_PONG;
            break;
        case WS_OP_CLOSE:
            *ret_event = WS_CLOSED;
            break;
        default:
            err = ERR_MALFORMED;
        }
        if (err || is_whole)
            return err;
    }
}

void ws_done(struct ws_reader *r)
{
    buf_done(&r->in);
    buf_done(&r->message);
    *r = (struct ws_reader){0};
}

void ws_accept(const char *key, char ret[29])
{
    struct buf text = {0}, encoded = {0};
    uint8_t digest[20];
    buf_addf(&text, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    sha1(text.data, text.size, digest);
    base64_encode(&encoded, slice_of(digest, sizeof digest));
    memcpy(ret, encoded.data, 28);
    ret[28] = 0;
    buf_done(&text);
    buf_done(&encoded);
}
