/* SPDX-License-Identifier: Apache-2.0
 * Frames from a client (RFC 9113). DATA goes to its call in the pieces in which it arrives. Any other frame is
 * handled when it is complete, and waits in h2.in until then (16 KiB at most). A connection error ends the
 * connection with GOAWAY, after which nothing is read; a stream error resets the stream.
 *
 * Limits:
 *   - the size of a frame, CONTINUATIONs of a block, the bytes of a call's fields, streams
 *   - resets, those that a client provokes included
 *   - frames of ours that a client requests and does not read */
#include "server/grpc/private.h"

static void grpc_h2_read_fail(struct grpc_conn *c, enum h2_error error, const char *text)
{
    h2_fail(c, error, text);
}

static bool is_idle(const struct grpc_conn *c, uint32_t stream_id)
{
    return stream_id > c->h2.last_stream || stream_id % 2 == 0;
}

/* False: the limit is used up. */
static bool spend(struct h2_credit *k, uint64_t cost, uint64_t burst, uint64_t per_second, uint64_t now)
{
    uint64_t more = (now - k->at_ms) * per_second / 1000;
    if (more) {
        k->left = k->left + more < burst ? k->left + more : burst;
        k->at_ms = now;
    }
    if (k->left < cost)
        return false;
    k->left -= cost;
    return true;
}

/* Opening and resetting streams is cheaper for a client than for us (CVE-2023-44487). */
static void count_reset(struct grpc_conn *c)
{
    if (!spend(&c->h2.resets, 1, RESET_BURST, RESET_RATE, server_now(c->server)))
        grpc_h2_read_fail(c, H2_ENHANCE_YOUR_CALM, "too many resets");
}

/* Counts frames that request nothing and are cheaper to send than to read: SETTINGS, PRIORITY, empty DATA,
 * unknown ones, and header blocks of ended streams (CVE-2019-9511 to 9518). PINGs have a rule of their
 * own. */
static void count_idle_frame(struct grpc_conn *c, uint64_t cost)
{
    if (!spend(&c->h2.idle_frames, cost, IDLE_FRAME_BURST, IDLE_FRAME_RATE, server_now(c->server)))
        grpc_h2_read_fail(c, H2_ENHANCE_YOUR_CALM, "too many frames that ask for nothing");
}

void h2_fail_stream(struct grpc_conn *c, uint32_t stream_id, enum h2_error error)
{
    struct grpc_call *call = h2_find(c, stream_id);
    if (call)
        h2_reset(call, error);
    else
        h2_add_reset(c, stream_id, error);
    count_reset(c);
}

/* --- DATA ---------------------------------------------------------------------------------------------- */
static void end_data(struct grpc_conn *c)
{
    struct h2 *h = &c->h2;
    h->is_data_begun = false;
    if (!(h->data.flags & FRAME_END_STREAM))
        return;
    struct grpc_call *call = h2_find(c, h->data.stream_id);
    if (call)
        call_half_close(call);
}

/* Opens a window again when half of it is used: call.c bounds the received bytes. */
static void count_received(struct grpc_conn *c, struct grpc_call *call, struct frame f)
{
    struct h2 *h = &c->h2;
    h->received += f.size;
    if (h->received > CONN_WINDOW) {
        grpc_h2_read_fail(c, H2_FLOW_CONTROL_ERROR, "more than the connection's window");
        return;
    }
    if (h->received >= CONN_WINDOW / 2) {
        h2_give_window(c, 0, h->received);
        h->received = 0;
    }
    if (!call || (call->is_web && call->state == CALL_ANSWERED))
        return;
    call->received += f.size;
    if (call->received > STREAM_WINDOW) {
        h2_fail_stream(c, f.stream_id, H2_FLOW_CONTROL_ERROR);
    } else if (!call->is_web && call->received >= STREAM_WINDOW / 2 && !(f.flags & FRAME_END_STREAM)) {
        h2_give_window(c, f.stream_id, call->received);
        call->received = 0;
    }
}

static void begin_data(struct grpc_conn *c, struct frame f)
{
    struct h2 *h = &c->h2;
    if (is_idle(c, f.stream_id) || h->block_stream) {
        grpc_h2_read_fail(c, H2_PROTOCOL_ERROR, "DATA out of place");
        return;
    }
    struct grpc_call *call = h2_find(c, f.stream_id);
    if (call && call->is_half_closed) {
        h2_fail_stream(c, f.stream_id, H2_STREAM_CLOSED);
        call = NULL;
    }
    if (!call && f.stream_id > h->reset_max)
        h2_fail_stream(c, f.stream_id, H2_STREAM_CLOSED); /* the client itself has ended it */
    count_received(c, call, f);
    if (f.size == 0 && !(f.flags & FRAME_END_STREAM))
        count_idle_frame(c, 1);
    h->data = f;
    h->data_left = f.size;
    h->padding = 0;
    h->is_data_begun = true;
    h->is_padding_known = !(f.flags & FRAME_PADDED);
    if (f.size == 0 && !h->is_padding_known)
        grpc_h2_read_fail(c, H2_FRAME_SIZE_ERROR, "DATA without its padding");
    else if (f.size == 0)
        end_data(c);
}

/* Padding of a request of HTTP is used as soon as it is known: its window opens by what is used. */
static void give_padding(struct grpc_conn *c)
{
    struct grpc_call *call = h2_find(c, c->h2.data.stream_id);
    if (call && call->is_web)
        call->received -= call->received < c->h2.padding + 1 ? call->received : c->h2.padding + 1;
    if (call && call->is_web)
        h2_give_window(c, call->stream_id, c->h2.padding + 1);
}

/* Returns how much was used. */
static size_t take_data(struct grpc_conn *c, struct slice in)
{
    struct h2 *h = &c->h2;
    if (!h->is_padding_known) {
        h->is_padding_known = true;
        h->padding = in.data[0];
        h->data_left--;
        if (h->padding > h->data_left)
            grpc_h2_read_fail(c, H2_PROTOCOL_ERROR, "more padding than DATA");
        else
            give_padding(c);
        if (h->data_left == 0 && !h->is_dead)
            end_data(c);
        return 1;
    }
    uint32_t content = h->data_left - h->padding;
    size_t n = content ? content : h->data_left;
    n = in.size < n ? in.size : n;
    struct grpc_call *call = content ? h2_find(c, h->data.stream_id) : NULL;
    bool is_stream =
        call && call->state == CALL_RUNNING && !call->is_web && call->rpc.method->kind == RPC_BIDI;
    if (is_stream && n > STREAM_PIECE) {
        n = STREAM_PIECE;
        c->has_read_large = true;
    }
    h->data_left -= (uint32_t)n;
    h->padding = h->padding < h->data_left ? h->padding : h->data_left;
    if (call)
        call_data(call, slice_of(in.data, n));
    if (h->data_left == 0)
        end_data(c);
    return n;
}

/* --- header blocks ------------------------------------------------------------------------------------- */
static void end_block(struct grpc_conn *c)
{
    struct h2 *h = &c->h2;
    struct grpc_call *call = h->block_call;
    (void)nghttp2_hd_inflate_end_headers(h->inflater);
    h->block_stream = 0;
    h->block_call = NULL;
    if (!call)
        return;
    if (call->is_malformed) {
        h2_fail_stream(c, call->stream_id, H2_PROTOCOL_ERROR);
        return;
    }
    call->ends_in_block = h->block_ends_stream;
    bool is_open = call->state != CALL_HEADERS || call_begin(call);
    if (is_open && h->block_ends_stream)
        call_half_close(call);
}

static void take_block(struct grpc_conn *c, struct slice in, bool is_last)
{
    struct h2 *h = &c->h2;
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t n = nghttp2_hd_inflate_hd2(h->inflater, &nv, &flags, in.data, in.size, is_last);
        if (n < 0) {
            grpc_h2_read_fail(c, H2_COMPRESSION_ERROR, "a header block that cannot be read");
            return;
        }
        in = slice_of(in.data + n, in.size - (size_t)n);
        struct grpc_call *call = h->block_call;
        if (flags & NGHTTP2_HD_INFLATE_EMIT && call && call->state == CALL_HEADERS) {
            call->header_bytes += nv.namelen + nv.valuelen + 32;
            if (call->header_bytes > HEADER_LIST_MAX)
                h2_fail_stream(c, call->stream_id,
                               H2_ENHANCE_YOUR_CALM); /* and decodes the rest only for the table */
            else
                call_header(call, slice_of(nv.name, nv.namelen), slice_of(nv.value, nv.valuelen));
        } else if (flags & NGHTTP2_HD_INFLATE_EMIT && call && nv.namelen && nv.name[0] == ':') {
            call->is_malformed = true; /* a pseudo-header field among trailers */
        }
        if (flags & NGHTTP2_HD_INFLATE_FINAL)
            break;
        if (!(flags & NGHTTP2_HD_INFLATE_EMIT) && in.size == 0)
            break;
    }
    if (is_last)
        end_block(c);
}

/* Removes the padding and the priority. False: they are longer than the frame. */
static bool strip_headers(struct frame f, struct slice *payload)
{
    size_t padding = 0, head = 0;
    if (f.flags & FRAME_PADDED) {
        if (payload->size < 1)
            return false;
        padding = payload->data[0];
        head = 1;
    }
    if (f.flags & FRAME_HAS_PRIORITY)
        head += 5;
    if (head + padding > payload->size)
        return false;
    if ((f.flags & FRAME_HAS_PRIORITY) && (get_be32(payload->data + head - 5) & INT32_MAX) == f.stream_id)
        return false; /* it depends on itself */
    *payload = slice_of(payload->data + head, payload->size - head - padding);
    return true;
}

/* The call of the block. NULL: none, or rejected. */
static struct grpc_call *grpc_h2_read_open_stream(struct grpc_conn *c, struct frame f)
{
    struct h2 *h = &c->h2;
    struct grpc_call *call = h2_find(c, f.stream_id);
    if (call && (call->is_half_closed || !(f.flags & FRAME_END_STREAM))) {
        h2_fail_stream(c, f.stream_id, call->is_half_closed ? H2_STREAM_CLOSED : H2_PROTOCOL_ERROR);
        return NULL;
    }
    if (!call && f.stream_id <= h->last_stream && f.stream_id > h->reset_max) {
        /* The client has ended it, or has passed over it. */
        bool is_last = f.stream_id == h->last_stream;
        grpc_h2_read_fail(c, is_last ? H2_STREAM_CLOSED : H2_PROTOCOL_ERROR, "HEADERS of an ended stream");
        return NULL;
    }
    if (call || f.stream_id <= h->last_stream) {
        count_idle_frame(c, 1);
        return call; /* trailers, which are ignored */
    }
    if (h->is_leaving)
        return NULL;
    h->last_stream = f.stream_id;
    uint32_t streams_max = c->server->options.streams_max;
    if (c->call_count >= (streams_max < STREAMS_MAX ? streams_max : STREAMS_MAX)) {
        h2_fail_stream(c, f.stream_id, H2_REFUSED_STREAM);
        return NULL;
    }
    return h2_add(c, f.stream_id);
}

static void take_headers(struct grpc_conn *c, struct frame f, struct slice payload)
{
    struct h2 *h = &c->h2;
    if (f.stream_id % 2 == 0 || !strip_headers(f, &payload)) {
        grpc_h2_read_fail(c, H2_PROTOCOL_ERROR, "bad HEADERS");
        return;
    }
    h->block_call = grpc_h2_read_open_stream(c, f);
    if (h->is_dead)
        return;
    h->block_stream = f.stream_id;
    h->block_ends_stream = f.flags & FRAME_END_STREAM;
    h->block_frames = 0;
    take_block(c, payload, f.flags & FRAME_END_HEADERS);
}

static void take_continuation(struct grpc_conn *c, struct frame f, struct slice payload)
{
    if (++c->h2.block_frames > CONTINUATIONS_MAX)
        grpc_h2_read_fail(c, H2_ENHANCE_YOUR_CALM, "too many CONTINUATION frames");
    else
        take_block(c, payload, f.flags & FRAME_END_HEADERS);
}

/* --- the others ---------------------------------------------------------------------------------------- */
/* Also changes the windows of existing streams, which may go below zero. */
static void change_windows(struct grpc_conn *c, uint32_t size)
{
    int64_t more = (int64_t)size - c->h2.stream_window;
    c->h2.stream_window = size;
    LIST_FOR_EACH (l, &c->calls) {
        struct grpc_call *call = container_of(l, struct grpc_call, link);
        call->window += more;
        if (call->window > WINDOW_MAX) {
            grpc_h2_read_fail(c, H2_FLOW_CONTROL_ERROR, "a stream's window is too large");
            return;
        }
        h2_wake(call);
    }
}

/* Of several values of INITIAL_WINDOW_SIZE in a frame the last one counts. */
static void take_setting(struct grpc_conn *c, unsigned setting, uint32_t value, uint32_t *window)
{
    switch (setting) {
    case H2_HEADER_TABLE_SIZE:
        hpack_table_changed(&c->h2.hpack_sent);
        return;
    case H2_ENABLE_PUSH:
        if (value > 1)
            grpc_h2_read_fail(c, H2_PROTOCOL_ERROR, "bad ENABLE_PUSH");
        return;
    case H2_INITIAL_WINDOW_SIZE:
        if (value > WINDOW_MAX)
            grpc_h2_read_fail(c, H2_FLOW_CONTROL_ERROR, "bad INITIAL_WINDOW_SIZE");
        else
            *window = value;
        return;
    case H2_MAX_FRAME_SIZE: /* ours are never larger than the least it may be */
        if (value < FRAME_MAX || value > FRAME_MAX_MAX)
            grpc_h2_read_fail(c, H2_PROTOCOL_ERROR, "bad MAX_FRAME_SIZE");
        return;
    default:
        return;
    }
}

static void take_settings(struct grpc_conn *c, struct frame f, struct slice payload)
{
    bool is_ack = f.flags & FRAME_ACK;
    if (payload.size % 6 != 0 || (is_ack && payload.size)) {
        grpc_h2_read_fail(c, H2_FRAME_SIZE_ERROR, "bad SETTINGS");
        return;
    }
    count_idle_frame(c, 1);
    if (is_ack)
        return;
    uint32_t window = c->h2.stream_window;
    for (size_t i = 0; i < payload.size && !c->h2.is_dead; i += 6) {
        const uint8_t *p = payload.data + i;
        take_setting(c, (unsigned)p[0] << 8 | p[1], get_be32(p + 2), &window);
    }
    if (window != c->h2.stream_window && !c->h2.is_dead) {
        count_idle_frame(c, c->call_count / CALLS_PER_FRAME);
        change_windows(c, window);
    }
    if (c->h2.is_dead)
        return;
    h2_add_frame(c, FRAME_SETTINGS, FRAME_ACK, 0, (struct slice){0});
    if (!c->is_greeted)
        conn_on_greeting(c);
}

static void take_ping(struct grpc_conn *c, struct frame f, struct slice payload)
{
    if (f.flags & FRAME_ACK) {
        count_idle_frame(c, 1);
        conn_on_ping_answer(c);
        return;
    }
    h2_add_frame(c, FRAME_PING, FRAME_ACK, 0, payload);
    conn_on_ping(c);
}

static void take_window(struct grpc_conn *c, struct frame f, struct slice payload)
{
    struct h2 *h = &c->h2;
    uint32_t more = get_be32(payload.data) & INT32_MAX;
    if (f.stream_id == 0) {
        h->window += more;
        if (more == 0)
            grpc_h2_read_fail(c, H2_PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing");
        else if (h->window > WINDOW_MAX)
            grpc_h2_read_fail(c, H2_FLOW_CONTROL_ERROR, "the connection's window is too large");
        list_move_all(&h->ready, &h->starved);
        return;
    }
    struct grpc_call *call = h2_find(c, f.stream_id);
    if (!call)
        return;
    call->window += more;
    if (more == 0)
        h2_fail_stream(c, f.stream_id, H2_PROTOCOL_ERROR);
    else if (call->window > WINDOW_MAX)
        h2_fail_stream(c, f.stream_id, H2_FLOW_CONTROL_ERROR);
    else
        h2_wake(call);
}

static void take_reset(struct grpc_conn *c, struct frame f)
{
    struct grpc_call *call = h2_find(c, f.stream_id);
    if (call)
        call_free(call);
    count_reset(c);
}

/* --- any frame ----------------------------------------------------------------------------------------- */
static const struct frame_rule {
    uint32_t size_min, size_max;
    enum { OF_STREAM, OF_CONNECTION, OF_EITHER } of;
    bool may_be_idle; /* of a stream that has not begun */
} rules[] = {
    [FRAME_HEADERS] = {0, FRAME_MAX, OF_STREAM, true}, [FRAME_PRIORITY] = {5, 5, OF_STREAM, true},
    [FRAME_RST_STREAM] = {4, 4, OF_STREAM, false},     [FRAME_SETTINGS] = {0, FRAME_MAX, OF_CONNECTION, true},
    [FRAME_PING] = {8, 8, OF_CONNECTION, true},        [FRAME_GOAWAY] = {8, FRAME_MAX, OF_CONNECTION, true},
    [FRAME_WINDOW_UPDATE] = {4, 4, OF_EITHER, false},  [FRAME_CONTINUATION] = {0, FRAME_MAX, OF_STREAM, true},
};

/* False: the connection has failed. */
static bool check_frame(struct grpc_conn *c, struct frame f)
{
    bool goes_on = f.type == FRAME_CONTINUATION && f.stream_id == c->h2.block_stream;
    bool is_out_of_place = c->h2.block_stream ? !goes_on : f.type == FRAME_CONTINUATION;
    if (is_out_of_place || f.type == FRAME_PUSH_PROMISE) {
        grpc_h2_read_fail(c, H2_PROTOCOL_ERROR, "a frame out of place");
    } else if (f.type < sizeof rules / sizeof *rules) {
        const struct frame_rule *r = &rules[f.type];
        bool is_idle_stream = f.stream_id && is_idle(c, f.stream_id);
        if ((r->of == OF_STREAM && f.stream_id == 0) || (r->of == OF_CONNECTION && f.stream_id) ||
            (is_idle_stream && !r->may_be_idle))
            grpc_h2_read_fail(c, H2_PROTOCOL_ERROR, "a frame of the wrong stream");
        else if (f.size < r->size_min || f.size > r->size_max)
            grpc_h2_read_fail(c, H2_FRAME_SIZE_ERROR, "a frame of the wrong size");
    }
    return !c->h2.is_dead;
}

static void take_frame(struct grpc_conn *c, struct frame f, struct slice payload)
{
    if (!check_frame(c, f))
        return;
    switch (f.type) {
    case FRAME_HEADERS:
        take_headers(c, f, payload);
        return;
    case FRAME_CONTINUATION:
        take_continuation(c, f, payload);
        return;
    case FRAME_RST_STREAM:
        take_reset(c, f);
        return;
    case FRAME_SETTINGS:
        take_settings(c, f, payload);
        return;
    case FRAME_PING:
        take_ping(c, f, payload);
        return;
    case FRAME_GOAWAY:
        c->h2.is_peer_leaving = true;
        return;
    case FRAME_WINDOW_UPDATE:
        take_window(c, f, payload);
        return;
    case FRAME_PRIORITY:
        if ((get_be32(payload.data) & INT32_MAX) == f.stream_id)
            grpc_h2_read_fail(c, H2_PROTOCOL_ERROR, "a stream that depends on itself");
        count_idle_frame(c, 1);
        return;
    default: /* unknown frames */
        count_idle_frame(c, 1);
        return;
    }
}

/* Handles a complete frame head. False: the connection has failed. */
static bool check_head(struct grpc_conn *c, struct frame f)
{
    if (f.size > FRAME_MAX)
        grpc_h2_read_fail(c, H2_FRAME_SIZE_ERROR, "a frame larger than MAX_FRAME_SIZE");
    else if (!c->is_greeted && f.type != FRAME_SETTINGS)
        grpc_h2_read_fail(c, H2_PROTOCOL_ERROR, "SETTINGS expected");
    return !c->h2.is_dead;
}

/* --- bytes --------------------------------------------------------------------------------------------- */
/* Gathers a frame that comes in several reads. Returns how much was used. */
static size_t grpc_h2_read_gather(struct grpc_conn *c, struct slice in)
{
    struct buf *b = &c->h2.in;
    size_t wanted = FRAME_HEAD;
    if (b->size >= FRAME_HEAD)
        wanted += frame_read_head(b->data).size;
    size_t n = wanted - b->size < in.size ? wanted - b->size : in.size;
    buf_add(b, in.data, n);
    if (b->size < FRAME_HEAD)
        return n;
    struct frame f = frame_read_head(b->data);
    if (b->size == FRAME_HEAD) {
        if (!check_head(c, f))
            return n;
        if (f.type == FRAME_DATA) {
            buf_clear(b);
            begin_data(c, f);
            return n;
        }
    }
    if (b->size < FRAME_HEAD + f.size)
        return n;
    take_frame(c, f, slice_of(b->data + FRAME_HEAD, f.size));
    if (f.size > KEPT_FRAME_MAX)
        buf_done(b);
    else
        buf_clear(b);
    return n;
}

/* One step; returns how much was used, never 0. */
static size_t grpc_h2_read_take(struct grpc_conn *c, struct slice in)
{
    struct h2 *h = &c->h2;
    if (h->is_data_begun)
        return take_data(c, in);
    if (h->in.size || in.size < FRAME_HEAD)
        return grpc_h2_read_gather(c, in);
    struct frame f = frame_read_head(in.data);
    if (f.type != FRAME_DATA && in.size < FRAME_HEAD + f.size)
        return grpc_h2_read_gather(c, in);
    if (!check_head(c, f))
        return in.size;
    if (f.type == FRAME_DATA) {
        begin_data(c, f);
        return FRAME_HEAD;
    }
    take_frame(c, f, slice_of(in.data + FRAME_HEAD, f.size));
    return FRAME_HEAD + f.size;
}

int h2_feed(struct grpc_conn *c, struct slice in)
{
    struct h2 *h = &c->h2;
    while (in.size && h->preface_size < H2_PREFACE_SIZE) {
        if (in.data[0] != (uint8_t)H2_PREFACE[h->preface_size++])
            return ERR_MALFORMED;
        in = slice_of(in.data + 1, in.size - 1);
    }
    h->left = (struct slice){0};
    for (unsigned steps = 1; in.size && !h->is_dead; steps++) {
        size_t n = grpc_h2_read_take(c, in);
        in = slice_of(in.data + n, in.size - n);
        bool must_look = steps % CLOCK_STEPS == 0 || c->has_read_large;
        c->has_read_large = false;
        if (must_look && in.size && turn_is_spent()) {
            h->left = in;
            break;
        }
    }
    return h->out.size - h->out_at > RARE_BYTES_MAX ? ERR_MALFORMED : 0;
}
