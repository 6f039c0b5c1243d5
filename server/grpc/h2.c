/* SPDX-License-Identifier: Apache-2.0
 * One HTTP/2 connection without its socket: h2_feed turns bytes into calls, h2_pull turns answers into frames.
 * The only clock is the loop's, for one limit. This file: streams, errors, the end. h2_read.c: frames in.
 * h2_write.c: frames out.
 *
 * The SDK and the tests use nghttp2's session; the server does not. That session took a tenth of a put's CPU,
 * and more than half of a range's over many streams: for weights, push, and callbacks that a gRPC server does
 * not need. nghttp2's HPACK decoder is still used.
 *
 * A stream is its call: it begins with HEADERS. call_free ends it, when both sides have ended it or one of them
 * has reset it. Frames for a stream that we have reset are ignored: the reset may have crossed them. Of streams
 * that have ended only the newest that we reset is known, so those of all older ones are ignored too. */
#include <assert.h>

#include "server/grpc/private.h"

/* --- streams ------------------------------------------------------------------------------------------- */
enum { STREAMS_FIRST = 8 };

static struct grpc_call **slot_of(const struct h2 *h, uint32_t stream_id)
{
    return &h->streams[stream_id >> 1 & (h->streams_size - 1)];
}

struct grpc_call *h2_find(struct grpc_conn *c, uint32_t stream_id)
{
    if (c->current && c->current->stream_id == stream_id)
        return c->current;
    struct grpc_call *call = *slot_of(&c->h2, stream_id);
    while (call && call->stream_id != stream_id)
        call = call->next_stream;
    if (call)
        c->current = call;
    return call;
}

static void h2_grow(struct h2 *h)
{
    struct grpc_call **old = h->streams;
    uint32_t old_size = h->streams_size;
    h->streams_size *= 2;
    h->streams = mem_new(h->streams_size * sizeof *h->streams);
    for (uint32_t i = 0; i < old_size; i++)
        for (struct grpc_call *call = old[i], *next; call; call = next) {
            next = call->next_stream;
            struct grpc_call **slot = slot_of(h, call->stream_id);
            call->next_stream = *slot;
            *slot = call;
        }
    mem_free(old);
}

struct grpc_call *h2_add(struct grpc_conn *c, uint32_t stream_id)
{
    struct h2 *h = &c->h2;
    if (c->call_count >= h->streams_size)
        h2_grow(h);
    struct grpc_call *call = call_new(c, stream_id);
    struct grpc_call **slot = slot_of(h, stream_id);
    call->next_stream = *slot;
    *slot = call;
    call->window = h->stream_window;
    c->current = call;
    return call;
}

void h2_forget(struct grpc_call *call)
{
    struct grpc_conn *c = call->conn;
    struct grpc_call **at = slot_of(&c->h2, call->stream_id);
    while (*at != call)
        at = &(*at)->next_stream;
    *at = call->next_stream;
    list_remove(&call->ready);
    if (c->current == call)
        c->current = NULL;
    if (c->h2.block_call == call)
        c->h2.block_call = NULL;
}

/* --- the rare frames ----------------------------------------------------------------------------------- */
void h2_add_frame(struct grpc_conn *c, enum frame_type type, uint8_t flags, uint32_t stream_id,
                  struct slice payload)
{
    frame_add(&c->h2.out, (struct frame){(uint32_t)payload.size, (uint8_t)type, flags, stream_id},
              payload.data);
}

static void h2_add_number(struct grpc_conn *c, enum frame_type type, uint32_t stream_id, uint32_t number)
{
    uint8_t bytes[4];
    put_be32(bytes, number);
    h2_add_frame(c, type, 0, stream_id, slice_of(bytes, sizeof bytes));
}

void h2_give_window(struct grpc_conn *c, uint32_t stream_id, uint32_t size)
{
    h2_add_number(c, FRAME_WINDOW_UPDATE, stream_id, size);
}

void h2_add_reset(struct grpc_conn *c, uint32_t stream_id, enum h2_error error)
{
    if (stream_id > c->h2.reset_max)
        c->h2.reset_max = stream_id;
    h2_add_number(c, FRAME_RST_STREAM, stream_id, error);
}

void h2_add_block(struct grpc_conn *c, uint32_t stream_id, uint8_t flags, struct slice block)
{
    struct h2 *h = &c->h2;
    struct buf announced = {0};
    if (h->hpack_sent.must_announce) {
        buf_add_byte(&announced, HPACK_TABLE_SIZE_0);
        buf_add_slice(&announced, block);
        block = buf_slice(&announced);
    }
    h->hpack_sent.must_announce = false;
    frame_add_block(&h->out, stream_id, flags, block);
    buf_done(&announced);
}

void h2_reset(struct grpc_call *call, enum h2_error error)
{
    h2_add_reset(call->conn, call->stream_id, error);
    call_free(call);
}

void h2_ping(struct grpc_conn *c)
{
    static const uint8_t zeros[8];
    h2_add_frame(c, FRAME_PING, 0, 0, slice_of(zeros, sizeof zeros));
}

static void add_goaway(struct grpc_conn *c, uint32_t last_stream, enum h2_error error, const char *text)
{
    uint8_t bytes[128];
    size_t size = strlen(text);
    assert(size <= sizeof bytes - 8);
    put_be32(bytes, last_stream);
    put_be32(bytes + 4, error);
    memcpy(bytes + 8, text, size);
    h2_add_frame(c, FRAME_GOAWAY, 0, 0, slice_of(bytes, 8 + size));
}

void h2_announce_end(struct grpc_conn *c)
{
    add_goaway(c, INT32_MAX, H2_NO_ERROR, "");
}

void h2_goaway(struct grpc_conn *c, enum h2_error error, const char *text)
{
    c->h2.is_leaving = true;
    add_goaway(c, c->h2.last_stream, error, text);
}

void h2_fail(struct grpc_conn *c, enum h2_error error, const char *text)
{
    if (c->h2.is_dead)
        return;
    h2_goaway(c, error, text);
    c->h2.is_dead = true;
}

bool h2_has_rare(const struct grpc_conn *c)
{
    return c->h2.out.size > c->h2.out_at;
}

bool h2_is_over(const struct grpc_conn *c)
{
    const struct h2 *h = &c->h2;
    if (h2_has_rare(c))
        return false;
    return h->is_dead || ((h->is_leaving || h->is_peer_leaving) && c->call_count == 0);
}

/* --- life ---------------------------------------------------------------------------------------------- */
static void add_setting(uint8_t **p, enum h2_setting setting, uint32_t value)
{
    (*p)[0] = 0;
    (*p)[1] = (uint8_t)setting;
    put_be32(*p + 2, value);
    *p += 6;
}

void h2_open(struct grpc_conn *c)
{
    struct h2 *h = &c->h2;
    int rc = nghttp2_hd_inflate_new(&h->inflater);
    assert(rc == 0);
    list_init(&h->ready);
    list_init(&h->starved);
    h->streams_size = STREAMS_FIRST;
    h->streams = mem_new(h->streams_size * sizeof *h->streams);
    h->window = h->stream_window = WINDOW_DEFAULT;
    h->resets = (struct h2_credit){RESET_BURST, server_now(c->server)};
    h->idle_frames = (struct h2_credit){IDLE_FRAME_BURST, server_now(c->server)};
    uint8_t settings[24], *p = settings;
    uint32_t streams = c->server->options.streams_max;
    add_setting(&p, H2_MAX_CONCURRENT_STREAMS, streams < STREAMS_MAX ? streams : STREAMS_MAX);
    add_setting(&p, H2_INITIAL_WINDOW_SIZE, STREAM_WINDOW);
    add_setting(&p, H2_MAX_HEADER_LIST_SIZE, HEADER_LIST_MAX);
    if (web_takes_websockets(c))
        add_setting(&p, H2_ENABLE_CONNECT_PROTOCOL, 1);
    h2_add_frame(c, FRAME_SETTINGS, 0, 0, slice_of(settings, (size_t)(p - settings)));
    h2_give_window(c, 0, CONN_WINDOW - WINDOW_DEFAULT);
}

/* Its calls are gone. */
void h2_close(struct grpc_conn *c)
{
    struct h2 *h = &c->h2;
    nghttp2_hd_inflate_del(h->inflater);
    h->inflater = NULL;
    mem_free(h->streams);
    h->streams = NULL;
    buf_done(&h->in);
    buf_done(&h->out);
}
