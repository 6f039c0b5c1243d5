/* SPDX-License-Identifier: Apache-2.0
 * The state of one HTTP/2 connection; private to server/grpc. Used by h2.c (both directions, the end),
 * h2_read.c (frames in) and h2_write.c (frames out). */
#ifndef SERVER_GRPC_H2_H
#define SERVER_GRPC_H2_H

#include <nghttp2/nghttp2.h>

#include "base/list.h"
#include "server/grpc/frame.h"

struct grpc_call;

struct h2 {
    /* Input. */
    nghttp2_hd_inflater *inflater;
    struct buf in;     /* the beginning of a frame that is not whole yet; never of a DATA frame */
    struct slice left; /* the rest of the last input of h2_feed: the turn had no time for it */
    uint8_t preface_size;
    struct frame data;           /* the DATA frame that is arriving */
    uint32_t data_left, padding; /* its bytes that are still to come */
    bool is_data_begun, is_padding_known;
    uint32_t block_stream; /* the stream whose header block continues in a CONTINUATION; 0 = none */
    bool block_ends_stream;
    unsigned block_frames;
    struct grpc_call *block_call; /* the call that gets its fields; NULL: only the table needs them */
    uint32_t last_stream;         /* the newest that the peer has opened */
    uint32_t reset_max; /* the newest that we have reset: frames of older ones may have crossed that */
    uint32_t received;  /* bytes that the peer's window has not been given back */
    struct h2_credit {
        uint64_t left, at_ms;
    } resets, idle_frames;

    /* Output. */
    struct buf out; /* control frames: everything but answers */
    size_t out_at;
    struct link ready;   /* calls with something to send */
    struct link starved; /* the same, but the connection's window is used up */
    int64_t window;
    uint32_t stream_window; /* of a new stream */
    struct hpack_state hpack_sent;

    struct grpc_call **streams; /* by number; chained */
    uint32_t streams_size;      /* a power of two */
    bool is_dead;               /* an error: GOAWAY goes out and nothing after it */
    bool is_leaving;            /* our final GOAWAY is queued: no new streams */
    bool is_peer_leaving;
};

#endif
