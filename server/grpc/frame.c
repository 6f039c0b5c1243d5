/* SPDX-License-Identifier: Apache-2.0
 * The bytes of HTTP/2 frames and of our header blocks; see frame.h. */
#include "server/grpc/frame.h"

#include <assert.h>

/* --- frames -------------------------------------------------------------------------------------------- */
struct frame frame_read_head(const uint8_t *p)
{
    return (struct frame){
        .size = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2],
        .type = p[3],
        .flags = p[4],
        .stream_id = get_be32(p + 5) & 0x7fffffff,
    };
}

void frame_write_head(uint8_t *p, struct frame f)
{
    p[0] = (uint8_t)(f.size >> 16);
    p[1] = (uint8_t)(f.size >> 8);
    p[2] = (uint8_t)f.size;
    p[3] = f.type;
    p[4] = f.flags;
    put_be32(p + 5, f.stream_id);
}

void frame_add(struct buf *out, struct frame f, const void *payload)
{
    uint8_t *p = buf_reserve(out, FRAME_HEAD + f.size);
    frame_write_head(p, f);
    if (f.size)
        memcpy(p + FRAME_HEAD, payload, f.size);
    out->size += FRAME_HEAD + f.size;
}

void frame_add_block(struct buf *out, uint32_t stream_id, uint8_t flags, struct slice block)
{
    uint8_t type = FRAME_HEADERS;
    do {
        size_t n = block.size < FRAME_MAX ? block.size : FRAME_MAX;
        if (n == block.size)
            flags |= FRAME_END_HEADERS;
        frame_add(out, (struct frame){(uint32_t)n, type, flags, stream_id}, block.data);
        block = slice_of(block.data + n, block.size - n);
        type = FRAME_CONTINUATION;
        flags = 0;
    } while (block.size);
}

/* --- header blocks ------------------------------------------------------------------------------------- */
/* A string literal of RFC 7541, 5.1 and 5.2: a length of 7 bits, continued in further bytes; no Huffman
 * code. */
static void add_string(struct buf *out, struct slice s)
{
    size_t rest = s.size;
    if (rest < 127) {
        buf_add_byte(out, (uint8_t)rest);
    } else {
        buf_add_byte(out, 127);
        for (rest -= 127; rest >= 128; rest >>= 7)
            buf_add_byte(out, (uint8_t)(rest | 128));
        buf_add_byte(out, (uint8_t)rest);
    }
    buf_add_slice(out, s);
}

void hpack_add_literal(struct buf *out, const char *name, struct slice value)
{
    buf_add_byte(out, 0);
    add_string(out, slice_text(name));
    add_string(out, value);
}

enum {
    INDEXED = 0x80,
    STATUS_200 = INDEXED | 8,
    CONTENT_TYPE_KEPT = 0x40 | 31, /* a literal that enters the table; name 31 of the static one */
    FIRST_INDEX = 62,              /* the youngest field in the table */
};

void hpack_table_changed(struct hpack_state *h)
{
    *h = (struct hpack_state){.is_off = true, .must_announce = true};
}

static size_t announce(uint8_t *p, struct hpack_state *h)
{
    if (!h->must_announce)
        return 0;
    h->must_announce = false;
    *p = HPACK_TABLE_SIZE_0;
    return 1;
}

/* `field` enters the table: it is the youngest, the other one moves. */
static void frame_keep(uint8_t *field, uint8_t *other)
{
    *field = FIRST_INDEX;
    if (*other)
        ++*other;
}

static size_t frame_copy(uint8_t *p, const char *bytes, size_t size)
{
    memcpy(p, bytes, size);
    return size;
}
#define COPY(p, literal) frame_copy(p, literal, sizeof(literal) - 1)

static size_t add_content_type(uint8_t *p, struct hpack_state *h, bool is_proto)
{
    if (is_proto)
        return COPY(p, "\x0f\x10\x16"
                       "application/grpc+proto");
    if (h->content_type) {
        *p = INDEXED | h->content_type;
        return 1;
    }
    if (h->is_off)
        return COPY(p, "\x0f\x10\x10"
                       "application/grpc");
    frame_keep(&h->content_type, &h->status);
    *p = CONTENT_TYPE_KEPT;
    return 1 + COPY(p + 1, "\x10"
                           "application/grpc");
}

size_t frame_write_headers_ok(uint8_t *p, struct hpack_state *h, uint32_t stream_id, bool is_proto)
{
    uint8_t *block = p + FRAME_HEAD;
    size_t n = announce(block, h);
    block[n++] = STATUS_200;
    n += add_content_type(block + n, h, is_proto);
    assert(FRAME_HEAD + n <= HEADERS_OK_MAX);
    frame_write_head(p, (struct frame){(uint32_t)n, FRAME_HEADERS, FRAME_END_HEADERS, stream_id});
    return FRAME_HEAD + n;
}

static size_t frame_add_status(uint8_t *p, struct hpack_state *h)
{
    if (h->status) {
        *p = INDEXED | h->status;
        return 1;
    }
    *p = h->is_off ? 0 : 0x40;
    if (!h->is_off)
        frame_keep(&h->status, &h->content_type);
    return 1 + COPY(p + 1, "\x0bgrpc-status\x01"
                           "0");
}

size_t frame_write_trailers_ok(uint8_t *p, struct hpack_state *h, uint32_t stream_id)
{
    uint8_t *block = p + FRAME_HEAD;
    size_t n = announce(block, h);
    n += frame_add_status(block + n, h);
    assert(FRAME_HEAD + n <= TRAILERS_OK_MAX);
    frame_write_head(
        p, (struct frame){(uint32_t)n, FRAME_HEADERS, FRAME_END_HEADERS | FRAME_END_STREAM, stream_id});
    return FRAME_HEAD + n;
}
