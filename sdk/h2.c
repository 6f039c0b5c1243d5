/* SPDX-License-Identifier: Apache-2.0
 * gRPC over HTTP/2 by nghttp2's session: one stream for each call. The one file that includes nghttp2.
 *
 * - Received bytes go through the session at once, but no owner is called inside it. A call keeps what its
 *   stream received; h2_deliver calls the owners after the session. So an owner may start and cancel calls
 *   in its callbacks.
 * - Only h2_flush writes; the turn calls it.
 * - A connection that ends is only marked; channel_turn (channel.c) closes it. */
#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/text.h"
#include "sdk/private.h"

enum { STREAM_WINDOW = 1 << 20, CONNECTION_WINDOW = 16 << 20 };

static void end_connection(struct h2 *h, const char *why)
{
    if (h->is_closed)
        return;
    h->is_closed = true;
    snprintf(h->why, sizeof h->why, "%s", why);
}

/* --- a call's response ---------------------------------------------------------------------------------- */
static void h2_touch(struct h2 *h, struct rpc *r)
{
    if (!link_is_in_list(&r->touched))
        list_add_last(&h->touched, &r->touched);
}

static struct rpc *rpc_of(struct nghttp2_session *session, int32_t stream)
{
    return nghttp2_session_get_stream_user_data(session, stream);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags, void *arg)
{
    (void)flags;
    (void)arg;
    struct rpc *r = rpc_of(session, frame->hd.stream_id);
    struct slice field = slice_of(name, name_size), text = slice_of(value, value_size);
    uint64_t number;
    if (!r)
        return 0;
    if (slice_equal(field, slice_text(":status")) && text_to_u64(text, &number) == OK && number < 1000)
        r->http_status = (int)number;
    else if (slice_equal(field, slice_text("grpc-status")))
        r->grpc_status = text_to_u64(text, &number) == OK && number <= 16 ? (int)number : 2;
    else if (slice_equal(field, slice_text("grpc-message")) && value_size <= HEADER_TEXT_MAX) {
        buf_clear(&r->grpc_message);
        if (percent_decode(text, false, &r->grpc_message) != OK) {
            buf_clear(&r->grpc_message);
            buf_add_slice(&r->grpc_message, text);
        }
    }
    return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
                         size_t size, void *arg)
{
    (void)flags;
    struct rpc *r = rpc_of(session, stream);
    if (r) {
        buf_add(&r->in, data, size);
        h2_touch(arg, r);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code, void *arg)
{
    struct rpc *r = rpc_of(session, stream);
    if (r) {
        r->is_stream_over = true;
        r->is_refused = code == NGHTTP2_REFUSED_STREAM;
        h2_touch(arg, r);
    }
    return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)session;
    struct h2 *h = arg;
    if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK) && !h->is_ready) {
        h->is_ready = true;
        channel_opened(h);
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        channel_draining(h);
    } else if (frame->hd.type == NGHTTP2_PING && frame->hd.flags & NGHTTP2_FLAG_ACK) {
        h->is_ping_out = false;
    }
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    (void)arg;
    struct rpc *r = frame->hd.type == NGHTTP2_HEADERS ? rpc_of(session, frame->hd.stream_id) : NULL;
    if (r)
        r->is_sent = true;
    return 0;
}

/* Computes the call's result; code 0 for success. */
static int outcome(struct rpc *r, struct cairn_error *e)
{
    if (r->grpc_status >= 0)
        return error_of_grpc(e, r->grpc_status, buf_slice(&r->grpc_message));
    if (r->is_refused)
        return set_error(e, CAIRN_UNAVAILABLE, "the server refused the stream");
    if (r->http_status > 0 && r->http_status != 200) {
        bool is_proxy = r->http_status >= 502 && r->http_status <= 504;
        set_error(e, is_proxy ? CAIRN_UNAVAILABLE : CAIRN_PROTOCOL, "the server answered with HTTP status %d",
                  r->http_status);
        e->status = r->http_status;
        return e->code;
    }
    return set_error(e, CAIRN_UNAVAILABLE, "the server ended the call without a status");
}

static void end_call(struct h2 *h, struct rpc *r)
{
    struct cairn_error e = {0};
    int code = outcome(r, &e);
    h2_drop(h, r);
    bool is_refusal = !r->is_first_on_h2 && is_token_refusal(code, e.message);
    if (!is_refusal && r->grpc_status >= 0)
        token_accepted(h->client, r->token_serial);
    if (is_refusal && token_refused(h->client, r->token_serial)) {
        if (r->kind == RPC_STREAM)
            set_error(&e, CAIRN_UNAVAILABLE, "the token has expired"); /* its owner opens a new one */
        rpc_attempt_over(r, &e, true);
    } else if (code == CAIRN_UNAVAILABLE && !r->is_first_on_h2) {
        if (!r->is_refused && h->client->endpoints.count > 1 && r->kind != RPC_WRITE)
            channel_draining(h);
        rpc_attempt_over(r, &e, r->is_refused);
    } else {
        sdk_rpc_finish(r, &e);
    }
}

static void protocol_error(struct rpc *r, const char *what)
{
    struct cairn_error e = {0};
    set_error(&e, CAIRN_PROTOCOL, "%s", what);
    sdk_rpc_finish(r, &e);
}

/* Delivers all complete messages, then the end. The call may be freed after it. */
static void deliver_call(struct h2 *h, struct rpc *r)
{
    size_t at = 0;
    const char *wrong = NULL;
    r->is_delivering = true;
    while (!wrong && !r->is_canceled && r->in.size - at >= 5) {
        uint32_t size = get_be32(r->in.data + at + 1);
        if (r->in.data[at] != 0)
            wrong = "the server sent a compressed message, but the client accepts none";
        else if (size > (uint32_t)ANSWER_SIZE_MAX)
            wrong = "the server announced a message that is too large";
        else if (r->in.size - at - 5 < size)
            break;
        else {
            at += 5;
            r->on_message(r, slice_of(r->in.data + at, size));
            if (!r->is_canceled)
                token_accepted(h->client, r->token_serial);
            at += size;
        }
    }
    r->is_delivering = false;
    if (r->is_canceled) {
        rpc_free(r);
        return;
    }
    buf_consume(&r->in, at);
    if (wrong)
        protocol_error(r, wrong);
    else if (r->is_stream_over)
        end_call(h, r);
}

static void sdk_h2_deliver(struct h2 *h)
{
    for (struct link *l; (l = list_take_first(&h->touched));)
        deliver_call(h, container_of(l, struct rpc, touched));
}

/* --- a call's request ----------------------------------------------------------------------------------- */
static ssize_t on_read_request(nghttp2_session *session, int32_t stream, uint8_t *to, size_t size,
                               uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    (void)source;
    (void)arg;
    struct rpc *r = rpc_of(session, stream);
    if (!r)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    size_t n = r->out.size - r->out_taken < size ? r->out.size - r->out_taken : size;
    if (n)
        memcpy(to, r->out.data + r->out_taken, n);
    r->out_taken += n;
    if (r->kind == RPC_STREAM) {
        buf_consume(&r->out, r->out_taken);
        r->out_taken = 0;
    }
    if (r->out_taken < r->out.size)
        return (ssize_t)n;
    if (r->is_half_closed)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    else if (!n) {
        r->is_out_deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)n;
}

static nghttp2_nv field_of(const char *name, const char *value)
{
    nghttp2_nv nv = {.namelen = strlen(name), .valuelen = strlen(value)};
    memcpy(&nv.name, &name, sizeof name); /* nghttp2's type is not const, but the bytes are only read */
    memcpy(&nv.value, &value, sizeof value);
    return nv;
}

void h2_submit(struct h2 *h, struct rpc *r)
{
    struct cairn_client *c = h->client;
    nghttp2_nv fields[12];
    size_t n = 0;
    char timeout[24];
    fields[n++] = field_of(":method", "POST");
    fields[n++] = field_of(":scheme", c->tls ? "https" : "http");
    fields[n++] = field_of(":path", r->path);
    fields[n++] = field_of(":authority", c->endpoints.list[h->endpoint].authority);
    fields[n++] = field_of("content-type", "application/grpc");
    fields[n++] = field_of("te", "trailers");
    fields[n++] = field_of("user-agent", "libcairn/" CAIRN_SDK_VERSION);
    r->token_serial = c->token_serial;
    if (r->deadline_ms) {
        uint64_t now = clock_mono_ms(), left = r->deadline_ms > now ? r->deadline_ms - now : 1;
        snprintf(timeout, sizeof timeout, "%llum", (unsigned long long)(left < 99999999 ? left : 99999999));
        fields[n++] = field_of("grpc-timeout", timeout);
    }
    if (c->token && !r->is_first_on_h2)
        fields[n++] = field_of("token", c->token);
    if (r->needs_leader)
        fields[n++] = field_of("hasleader", "true");
    nghttp2_data_provider provider = {.read_callback = on_read_request};
    list_remove(&r->link);
    timer_stop(c, &r->pause);
    list_add_last(&h->running, &r->link);
    r->h2 = h;
    if (list_is_empty(&h->running) || !heap_contains(&h->keepalive.node))
        timer_start(c, &h->keepalive, c->keepalive_interval_ms);
    r->stream_id = nghttp2_submit_request(h->session, NULL, fields, n, &provider, r);
    if (r->stream_id < 0) { /* all stream ids are used: treated as GOAWAY */
        r->stream_id = 0;
        r->is_stream_over = r->is_refused = true;
        h2_touch(h, r);
        channel_draining(h);
    }
}

void h2_resume(struct h2 *h, struct rpc *r)
{
    if (r->is_out_deferred) {
        r->is_out_deferred = false;
        /* fails if the stream is over; harmless */
        (void)nghttp2_session_resume_data(h->session, r->stream_id);
    }
}

void h2_drop(struct h2 *h, struct rpc *r)
{
    if (r->stream_id) {
        (void)nghttp2_session_set_stream_user_data(h->session, r->stream_id, NULL);
        if (!r->is_stream_over && !h->is_closed)
            (void)nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, r->stream_id, NGHTTP2_CANCEL);
    }
    r->stream_id = 0;
    r->h2 = NULL;
    list_remove(&r->link);
    list_remove(&r->touched);
}

/* --- the connection ------------------------------------------------------------------------------------- */
void h2_flush(struct h2 *h)
{
    while (!h->is_closed && sock_queued(h->sock) < QUEUED_BYTES_HIGH) {
        const uint8_t *bytes;
        ssize_t n = nghttp2_session_mem_send(h->session, &bytes);
        if (n < 0)
            end_connection(h, nghttp2_strerror((int)n));
        if (n <= 0)
            break;
        sock_write(h->sock, slice_of(bytes, (size_t)n));
    }
    sdk_h2_deliver(h); /* delivers calls that could not be sent */
    if (!h->is_closed && !nghttp2_session_want_read(h->session) && !nghttp2_session_want_write(h->session))
        end_connection(h, "closed by the server");
}

static void h2_on_open(void *owner)
{
    struct h2 *h = owner;
    h->received_ms = clock_mono_ms();
}

static void on_data(void *owner, struct slice bytes)
{
    struct h2 *h = owner;
    h->received_ms = clock_mono_ms();
    h->is_ping_out = false;
    if (h->is_closed)
        return;
    ssize_t n = nghttp2_session_mem_recv(h->session, bytes.data, bytes.size);
    if (n < 0)
        end_connection(h, h->is_ready ? nghttp2_strerror((int)n) : "the server does not speak gRPC");
    sdk_h2_deliver(h);
}

static void h2_on_drain(void *owner)
{
    (void)owner; /* the turn flushes */
}

static void h2_on_close(void *owner, const char *why)
{
    struct h2 *h = owner;
    h->sock = NULL;
    end_connection(h, why);
}

static void on_keepalive(struct timer *t)
{
    struct h2 *h = container_of(t, struct h2, keepalive);
    struct cairn_client *c = h->client;
    uint64_t now = clock_mono_ms(), silent_ms = now - h->received_ms;
    if (list_is_empty(&h->running))
        return;
    if (h->is_ping_out && silent_ms >= c->keepalive_timeout_ms) {
        end_connection(h, "the server does not answer a ping");
    } else if (silent_ms >= c->keepalive_interval_ms) {
        /* fails only without memory; then no ping is sent */
        (void)nghttp2_submit_ping(h->session, NGHTTP2_FLAG_NONE, NULL);
        h->is_ping_out = true;
        h->received_ms = now;
        timer_start(c, t, c->keepalive_timeout_ms);
    } else {
        timer_start(c, t, c->keepalive_interval_ms - silent_ms);
    }
}

static const struct sock_ops sock_ops = {h2_on_open, on_data, h2_on_drain, h2_on_close};

static void set_callbacks(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
}

struct h2 *h2_dial(struct cairn_client *c, size_t endpoint)
{
    struct h2 *h = mem_new(sizeof *h);
    h->client = c;
    h->endpoint = endpoint;
    h->keepalive.run = on_keepalive;
    list_init(&h->running);
    list_init(&h->touched);
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int rc = nghttp2_session_callbacks_new(&callbacks);
    if (!rc)
        rc = nghttp2_option_new(&option);
    if (!rc) {
        set_callbacks(callbacks);
        nghttp2_option_set_no_http_messaging(option, 0);
        rc = nghttp2_session_client_new2(&h->session, callbacks, h, option);
    }
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(option);
    if (rc) {
        end_connection(h, nghttp2_strerror(rc));
        return h;
    }
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
                                         {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    (void)nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, settings,
                                  sizeof settings / sizeof *settings);
    (void)nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW);
    h->sock = sock_dial(&c->loop, &c->endpoints.list[endpoint], c->tls, &sock_ops, h);
    return h;
}

void h2_free(struct h2 *h)
{
    list_remove(&h->link);
    timer_stop(h->client, &h->keepalive);
    sock_close(h->sock);
    nghttp2_session_del(h->session);
    mem_free(h);
}
