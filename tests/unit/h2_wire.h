/* SPDX-License-Identifier: Apache-2.0
 * A connection of server/grpc without a socket: frames in by hand, and what came out. Included, as grpc_fake.h is. */
#ifndef TESTS_UNIT_H2_WIRE_H
#define TESTS_UNIT_H2_WIRE_H

#include "tests/unit/grpc_fake.h"

/* --- a connection fed by hand -------------------------------------------------------------------------- */
struct wire {
    struct grpc_conn *conn;
    struct buf to;
    int err;
    nghttp2_hd_inflater *inflater;
    /* The server's output. */
    int goaway, reset; /* codes, -1 = none */
    uint32_t reset_stream, goaway_last;
    unsigned settings_acks, pings, headers, ended, windows;
    bool takes_connect; /* SETTINGS_ENABLE_CONNECT_PROTOCOL */
    size_t data;
    char last_status[8];
};

static void add(struct wire *w, uint8_t type, uint8_t flags, uint32_t stream_id, const void *payload,
                size_t size)
{
    frame_add(&w->to, (struct frame){(uint32_t)size, type, flags, stream_id}, payload);
}
#define ADD(w, type, flags, id, literal) add(w, type, flags, id, literal, sizeof(literal) - 1)

static void read_block(struct wire *w, struct slice in)
{
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t n = nghttp2_hd_inflate_hd2(w->inflater, &nv, &flags, in.data, in.size, 1);
        assert_true(n >= 0);
        in = slice_of(in.data + n, in.size - (size_t)n);
        if (flags & NGHTTP2_HD_INFLATE_EMIT && nv.namelen == 11 && memcmp(nv.name, "grpc-status", 11) == 0)
            snprintf(w->last_status, sizeof w->last_status, "%.*s", (int)nv.valuelen, (const char *)nv.value);
        if (flags & NGHTTP2_HD_INFLATE_FINAL)
            break;
    }
    nghttp2_hd_inflate_end_headers(w->inflater);
}

static void record_frame(struct wire *w, struct frame f, const uint8_t *payload)
{
    switch (f.type) {
    case FRAME_GOAWAY:
        w->goaway_last = get_be32(payload);
        w->goaway = (int)get_be32(payload + 4);
        break;
    case FRAME_RST_STREAM:
        w->reset = (int)get_be32(payload);
        w->reset_stream = f.stream_id;
        break;
    case FRAME_SETTINGS:
        w->settings_acks += f.flags & FRAME_ACK;
        for (size_t i = 0; i + 6 <= f.size; i += 6)
            w->takes_connect |= payload[i + 1] == 8 && get_be32(payload + i + 2) == 1;
        break;
    case FRAME_PING:
        w->pings += f.flags & FRAME_ACK;
        break;
    case FRAME_WINDOW_UPDATE:
        w->windows++;
        break;
    case FRAME_DATA:
        w->data += f.size;
        break;
    case FRAME_HEADERS:
        w->headers++;
        w->ended += (f.flags & FRAME_END_STREAM) != 0;
        read_block(w, slice_of(payload, f.size));
        break;
    default:
        fail_msg("an unexpected frame of type %u", f.type);
    }
}

static void pull(struct wire *w)
{
    static uint8_t out[64 << 10];
    size_t size;
    while (w->conn->state == CONN_OPEN && (size = h2_pull(w->conn, out, sizeof out)) > 0)
        for (size_t at = 0; at < size;) {
            struct frame f = frame_read_head(out + at);
            assert_true(at + FRAME_HEAD + f.size <= size); /* frames of ours fit one pull here */
            record_frame(w, f, out + at + FRAME_HEAD);
            at += FRAME_HEAD + f.size;
        }
}

/* Feeds the added bytes, in pieces of `step`. */
static void feed(struct wire *w, size_t step)
{
    for (size_t at = 0; at < w->to.size && !w->err; at += step) {
        size_t n = w->to.size - at < step ? w->to.size - at : step;
        uint8_t *piece = mem_copy(w->to.data + at, n);
        w->err = h2_feed(w->conn, slice_of(piece, n));
        mem_free(piece);
    }
    buf_clear(&w->to);
    pull(w);
}

static void wire_open(struct wire *w, struct fixture *f)
{
    *w = (struct wire){.conn = conn_new_memory(f->server), .goaway = -1, .reset = -1};
    nghttp2_hd_inflate_new(&w->inflater);
    buf_add(&w->to, H2_PREFACE, H2_PREFACE_SIZE);
    ADD(w, FRAME_SETTINGS, 0, 0, "");
}

static void wire_close(struct wire *w)
{
    conn_close(w->conn);
    nghttp2_hd_inflate_del(w->inflater);
    buf_done(&w->to);
}

#endif
