/* SPDX-License-Identifier: Apache-2.0
 * HTTP/2's numbers (RFC 9113), and the bytes of its frames and of the few header blocks that we write. Pure:
 * bytes in and out, no connection. nghttp2's inflater reads HPACK (h2_read.c). Writing needs no encoder,
 * because a gRPC server sends only a few different fields. */
#ifndef SERVER_GRPC_FRAME_H
#define SERVER_GRPC_FRAME_H

#include "base/buf.h"

enum frame_type {
    FRAME_DATA = 0,
    FRAME_HEADERS = 1,
    FRAME_PRIORITY = 2,
    FRAME_RST_STREAM = 3,
    FRAME_SETTINGS = 4,
    FRAME_PUSH_PROMISE = 5,
    FRAME_PING = 6,
    FRAME_GOAWAY = 7,
    FRAME_WINDOW_UPDATE = 8,
    FRAME_CONTINUATION = 9,
};

enum frame_flag {
    FRAME_ACK = 0x1,
    FRAME_END_STREAM = 0x1,
    FRAME_END_HEADERS = 0x4,
    FRAME_PADDED = 0x8,
    FRAME_HAS_PRIORITY = 0x20,
};

enum h2_error {
    H2_NO_ERROR = 0,
    H2_PROTOCOL_ERROR = 1,
    H2_INTERNAL_ERROR = 2,
    H2_FLOW_CONTROL_ERROR = 3,
    H2_STREAM_CLOSED = 5,
    H2_FRAME_SIZE_ERROR = 6,
    H2_REFUSED_STREAM = 7,
    H2_CANCEL = 8,
    H2_COMPRESSION_ERROR = 9,
    H2_ENHANCE_YOUR_CALM = 11,
};

enum h2_setting {
    H2_HEADER_TABLE_SIZE = 1,
    H2_ENABLE_PUSH = 2,
    H2_MAX_CONCURRENT_STREAMS = 3,
    H2_INITIAL_WINDOW_SIZE = 4,
    H2_MAX_FRAME_SIZE = 5,
    H2_MAX_HEADER_LIST_SIZE = 6,
    H2_ENABLE_CONNECT_PROTOCOL = 8, /* RFC 8441 */
};

enum {
    FRAME_HEAD = 9,
    FRAME_MAX = 16384, /* of a payload, both ways: the default of SETTINGS */
    FRAME_MAX_MAX = (1 << 24) - 1,
    WINDOW_DEFAULT = 65535,
    H2_PREFACE_SIZE = 24,
};
#define WINDOW_MAX INT32_MAX
#define H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

struct frame {
    uint32_t size; /* of the payload */
    uint8_t type, flags;
    uint32_t stream_id;
};

struct frame frame_read_head(const uint8_t *p);
void frame_write_head(uint8_t *p, struct frame f);
void frame_add(struct buf *out, struct frame f, const void *payload); /* f.size bytes */

/* HPACK literals that no table remembers. */
void hpack_add_literal(struct buf *out, const char *name, struct slice value);
/* A block as HEADERS and, when it is long, CONTINUATION. `flags` may hold FRAME_END_STREAM. */
void frame_add_block(struct buf *out, uint32_t stream_id, uint8_t flags, struct slice block);

/* Our fields in the peer's HPACK table: two at most. Each is put there when it is first sent, and takes one
 * byte from then on. The peer's decoder follows the order of our blocks, so these are written in that order
 * only. A peer that changes the size of its table gets literals from then on, and a size update to 0. */
struct hpack_state {
    uint8_t content_type, status; /* the index, 0 = not in the table */
    bool is_off, must_announce;
};
enum { HPACK_TABLE_SIZE_0 = 0x20 }; /* the announcement: the first byte of the next block */
enum { HEADERS_OK_MAX = FRAME_HEAD + 32, TRAILERS_OK_MAX = FRAME_HEAD + 32 };
void hpack_table_changed(struct hpack_state *h);
/* ":status: 200" and the content type; "grpc-status: 0" with END_STREAM. Whole frames; return their sizes. */
size_t frame_write_headers_ok(uint8_t *p, struct hpack_state *h, uint32_t stream_id, bool is_proto);
size_t frame_write_trailers_ok(uint8_t *p, struct hpack_state *h, uint32_t stream_id);

#endif
