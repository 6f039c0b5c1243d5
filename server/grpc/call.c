/* SPDX-License-Identifier: Apache-2.0
 * One gRPC call on one HTTP/2 stream: metadata to struct rpc_call, DATA to messages, messages to a queue of
 * framed bytes.
 *
 *   CALL_HEADERS --call_begin--> CALL_RUNNING --the service's finish, or call_fail--> CALL_ANSWERED
 *
 * The call is freed when its stream ends, in any state; a running call is canceled then. A message that lies
 * within one DATA frame goes to the service from the read buffer; any other is collected in `in` first.
 *
 * Limits:
 *   - the queue of a stream and of a connection (congestion, with hysteresis)
 *   - the bytes of incomplete requests, and of requests that are being worked on
 *   - the bytes of unary answers that the client does not read: further unary requests are held back */
#include <assert.h>

#include "base/gzip.h"
#include "base/buf_release.h"
#include "base/metric.h"
#include "base/net/tls.h"
#include "base/turn.h"
#include "server/grpc/private.h"

static const struct rpc_transport transport;

static bool is_streaming(const struct grpc_call *call)
{
    return call->is_web ? call->is_web_stream : call->rpc.method && call->rpc.method->kind != RPC_UNARY;
}

/* --- life ------------------------------------------------------------------------------------------ */
static void on_deadline(struct grpc_timer *t);

struct grpc_call *call_new(struct grpc_conn *c, uint32_t stream_id)
{
    struct grpc_call *call = server_call_take(c->server);
    call->conn = c;
    call->stream_id = stream_id;
    call->deadline.fire = on_deadline;
    call->rpc.transport = &transport;
    call->rpc.server = c->server->options.rpc;
    call->rpc.peer = c->peer;
    call->rpc.source = source_conn_id(&c->source);
    call->rpc.common_name = c->tls ? tls_peer_name(c->tls) : NULL;
    list_add_last(&c->calls, &call->link);
    c->call_count++;
    return call;
}

static void count_partial(struct grpc_call *call, size_t more)
{
    if (!call->partial_bytes)
        call->partial_ms = server_now(call->conn->server);
    server_watch_slow(call->conn->server);
    call->partial_bytes += more;
    call->conn->partial_bytes += more;
    call->conn->server->partial_bytes += more;
}

bool call_hold_bytes(struct grpc_call *call, size_t size)
{
    struct grpc_conn *c = call->conn;
    if (c->partial_bytes + size > CONN_PARTIAL_MAX || c->server->partial_bytes + size > SERVER_PARTIAL_MAX)
        return false;
    count_partial(call, size);
    return true;
}

void call_drop_partial(struct grpc_call *call)
{
    call->conn->partial_bytes -= call->partial_bytes;
    call->conn->server->partial_bytes -= call->partial_bytes;
    call->partial_bytes = 0;
    buf_clear(&call->in);
}

static void drop_running(struct grpc_call *call)
{
    if (!call->running_bytes)
        return;
    call->conn->running_bytes -= call->running_bytes;
    call->running_bytes = 0;
    conn_check_reading(call->conn);
}

size_t call_unsent(const struct grpc_call *call)
{
    return call->out.size - call->out_at + call->next.size;
}

/* A huge answer counts as HELD_SHARE_MAX only: a client may read a long Range slowly and put meanwhile. */
static void recount_unary(struct grpc_call *call)
{
    size_t left = call_unsent(call);
    size_t share = is_streaming(call) ? 0 : left < HELD_SHARE_MAX ? left : HELD_SHARE_MAX;
    call->conn->queued_unary += share - call->unary_share;
    if (call->conn->queued_unary > CONN_QUEUE_MAX)
        call->conn->is_unary_over = true;
    call->unary_share = share;
}

/* The limit shrinks as the total grows, as in the watch hub: of n streams that are not read, each holds an
 * nth of the total at most. */
size_t call_queue_max(const struct grpc_server *s)
{
    uint64_t left = s->queued_streams < SERVER_QUEUE_MAX ? SERVER_QUEUE_MAX - s->queued_streams : 0;
    return left > STREAM_QUEUE_MAX ? STREAM_QUEUE_MAX : left < STREAM_QUEUE_MIN ? STREAM_QUEUE_MIN : left;
}

void call_queue(struct grpc_call *call, size_t more)
{
    struct grpc_conn *c = call->conn;
    c->queued += more;
    if (is_streaming(call))
        c->server->queued_streams += more;
    recount_unary(call);
    if (c->queued > CONN_QUEUE_MAX)
        c->is_over = true;
    if (!call->is_full && call_unsent(call) > call_queue_max(c->server)) {
        call->is_full = true;
        list_add_last(&c->full, &call->wait);
    }
    if (c->queued > COUNTED_BYTES)
        conn_count_output(c);
}

/* `size` bytes are no longer queued. */
static void uncount_queued(struct grpc_call *call, size_t size)
{
    call->conn->queued -= size;
    if (is_streaming(call))
        call->conn->server->queued_streams -= size;
    recount_unary(call);
}

/* Ends the service's part of the call: rpc does not touch the call afterwards. */
static void stop_running(struct grpc_call *call)
{
    server_timer_clear(call->conn->server, &call->deadline);
    call->state = CALL_ANSWERED;
    if (call->is_held) {
        call->is_held = false;
        list_remove(&call->wait);
    }
    call_drop_partial(call);
    drop_running(call);
}

void call_free(struct grpc_call *call)
{
    struct grpc_conn *c = call->conn;
    if (call->state == CALL_RUNNING) {
        stop_running(call);
        if (!call->is_web)
            rpc_cancel(&call->rpc);
    }
    if (call->is_web) {
        server_timer_clear(c->server, &call->deadline);
        web_free(call);
    }
    size_t left = call_unsent(call);
    call->out_at = call->out.size;
    buf_release(&call->next);
    uncount_queued(call, left);
    list_remove(&call->wait);
    list_remove(&call->link);
    h2_forget(call);
    c->call_count--;
    server_call_give(c->server, call);
}

/* --- answering ----------------------------------------------------------------------------------------- */
/* Sends the status after all messages; without any message it travels in the headers alone. */
static void call_answer(struct grpc_call *call, int status, const char *text)
{
    call->status = status;
    buf_clear(&call->status_text);
    if (text)
        header_percent(&call->status_text, text);
    if (call->is_submitted || call->out.size || status == 0)
        h2_answer(call);
    else
        h2_answer_error(call, "200");
    conn_touch(call->conn);
}

/* Ends a running call from the side of the transport. */
static void call_fail(struct grpc_call *call, int status, const char *text)
{
    stop_running(call);
    rpc_cancel(&call->rpc);
    call_answer(call, status, text);
}

/* The client has given up by now. An answer that it does not read would only use memory. */
static void on_deadline(struct grpc_timer *t)
{
    struct grpc_call *call = container_of(t, struct grpc_call, deadline);
    if (call->is_web) {
        conn_touch(call->conn);
        h2_reset(call, H2_NO_ERROR); /* the rest of a body after its answer takes too long */
        return;
    }
    call_fail(call, err_grpc(ERR_DEADLINE), err_text(ERR_DEADLINE));
    if (call->out.size > call->out_at)
        h2_reset(call, H2_CANCEL);
}

static void call_send(struct rpc_call *rpc, const struct slice *pieces, size_t count)
{
    struct grpc_call *call = (struct grpc_call *)rpc;
    size_t size = 0;
    for (size_t i = 0; i < count; i++)
        size += pieces[i].size;
    assert(call->state == CALL_RUNNING);
    if (size > INT32_MAX) {
        call->is_unsendable = true;
        return;
    }
    struct buf *out = call->next.size ? &call->next : &call->out;
    if (call->out_at > call->out.size / 2) {
        buf_consume(&call->out, call->out_at);
        call->out_at = 0;
    }
    uint8_t *p = buf_reserve(out, 5 + size);
    *p = 0;
    put_be32(p + 1, (uint32_t)size);
    p += 5;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].size)
            memcpy(p, pieces[i].data, pieces[i].size);
        p += pieces[i].size;
    }
    out->size += 5 + size;
    metric_add(METRIC_GRPC_SENT, (double)size);
    call_queue(call, 5 + size);
    h2_answer(call);
    conn_touch(call->conn);
}

static void call_send_whole(struct rpc_call *rpc, struct buf *message)
{
    struct grpc_call *call = (struct grpc_call *)rpc;
    size_t size = message->size - RPC_FRAME_ROOM;
    assert(call->state == CALL_RUNNING && (is_streaming(call) || call->out.size == 0));
    if (size > INT32_MAX) {
        call->is_unsendable = true;
        buf_done(message);
        return;
    }
    message->data[0] = 0;
    put_be32(message->data + 1, (uint32_t)size);
    size_t framed = message->size;
    if (call->next.size) {
        buf_add_slice(&call->next, buf_slice(message));
        buf_done(message);
    } else if (call->out.size) {
        call->next = buf_move(message);
    } else {
        buf_done(&call->out);
        call->out = buf_move(message);
    }
    metric_add(METRIC_GRPC_SENT, (double)size);
    call_queue(call, framed);
    h2_answer(call);
    conn_touch(call->conn);
}

static void call_finish(struct rpc_call *rpc, int grpc_status, const char *text)
{
    struct grpc_call *call = (struct grpc_call *)rpc;
    assert(call->state == CALL_RUNNING);
    stop_running(call);
    if (call->is_unsendable)
        call_answer(call, err_grpc(ERR_LIMIT), "grpc: trying to send message larger than max");
    else
        call_answer(call, grpc_status, text);
}

static bool call_is_congested(const struct rpc_call *rpc)
{
    const struct grpc_call *call = (const struct grpc_call *)rpc;
    return is_streaming(call) ? call->is_full || call->conn->is_over : call->conn->is_unary_over;
}

static const struct rpc_transport transport = {call_send, call_send_whole, call_finish, call_is_congested};

void call_taken(struct grpc_call *call, size_t size)
{
    size_t before = call->out_at;
    call->out_at += size;
    uncount_queued(call, size);
    if (size == 0)
        return;
    if (call->out_at < call->out.size) {
        size_t from = before - before % FORGET_STEP, to = call->out_at - call->out_at % FORGET_STEP;
        if (from < to)
            mem_forget(call->out.data + from, to - from);
        return;
    }
    call->out_at = 0;
    if (call->next.size) {
        buf_done(&call->out);
        call->out = buf_move(&call->next);
    } else if (call->out.capacity > POOL_BUF_MAX) {
        buf_done(&call->out);
    } else {
        buf_clear(&call->out);
    }
    if (call->is_web)
        web_taken(call, size);
}

/* --- metadata -------------------------------------------------------------------------------------- */
static bool is_name(struct slice s, const char *name, size_t size)
{
    return s.size == size && memcmp(s.data, name, size) == 0;
}
/* Copies the value: the bytes of a field are overwritten when the next one is read. */
static struct slice call_keep(struct buf *b, struct slice value)
{
    buf_clear(b);
    buf_add_slice(b, value);
    return slice_of(buf_text(b), value.size);
}

#define IS(s, literal) is_name(s, literal, sizeof(literal) - 1)

/* The first of several tokens counts. */
static void take_token(struct grpc_call *call, struct slice value, bool is_final)
{
    if (call->is_token_final || (call->rpc.token.data && !is_final))
        return;
    call->is_token_final = is_final;
    if (value.size >= 7 && memcmp(value.data, "Bearer ", 7) == 0)
        value = slice_of(value.data + 7, value.size - 7);
    call->rpc.token = call_keep(&call->token, value);
}

/* Keeps the text that an error will quote, cut to a limit: it comes from the client. */
static void keep_text(struct grpc_call *call, struct slice value)
{
    buf_clear(&call->text);
    buf_add(&call->text, value.data, value.size < 256 ? value.size : 256);
}

void call_header(struct grpc_call *call, struct slice name, struct slice value)
{
    struct rpc_call *rpc = &call->rpc;
    web_field(call, name, value);
    switch (name.size) {
    case 5:
        if (IS(name, ":path")) {
            rpc->method = rpc_method_find(value);
            if (!rpc->method)
                keep_text(call, value);
        } else if (IS(name, "token")) {
            take_token(call, value, true);
        }
        return;
    case 7:
        if (IS(name, ":method"))
            call->is_post = IS(value, "POST");
        return;
    case 9:
        if (IS(name, "hasleader"))
            rpc->has_leader_required = IS(value, "true");
        return;
    case 12:
        if (IS(name, "content-type")) {
            call->is_grpc_type = header_is_grpc(value);
            call->is_proto_type = IS(value, "application/grpc+proto");
            call->is_any_grpc =
                call->is_grpc_type || (value.size && memmem(value.data, value.size, "application/grpc", 16));
            if (!call->is_grpc_type)
                keep_text(call, value);
        } else if (IS(name, "grpc-timeout")) {
            call->has_timeout = true;
            call->is_timeout_bad = header_timeout(value, &call->timeout_ms) != 0;
        }
        return;
    case 13:
        if (IS(name, "authorization")) {
            take_token(call, value, false);
        } else if (IS(name, "grpc-encoding") && IS(value, "gzip")) {
            call->is_gzip = true;
        } else if (IS(name, "grpc-encoding") && value.size && !IS(value, "identity")) {
            call->is_encoded = true;
            if (!call->text.size)
                keep_text(call, value);
        }
        return;
    case 18:
        if (IS(name, "client-api-version") && !rpc->client_api_version.data) {
            rpc->client_api_version = call_keep(&call->version, value);
        } else if (IS(name, "grpcgateway-accept")) {
            rpc->is_gateway = true;
        }
        return;
    default:
        return;
    }
}

/* True if a method's path begins with "/service/". */
static bool has_service(struct slice path_to_slash)
{
    const struct rpc_method *m;
    for (size_t i = 0; (m = rpc_method_at(i)); i++)
        if (strlen(m->path) > path_to_slash.size &&
            memcmp(m->path, path_to_slash.data, path_to_slash.size) == 0)
            return true;
    return false;
}

static void grpc_call_reject(struct grpc_call *call, const char *http_status, int status, struct buf *text)
{
    call->state = CALL_ANSWERED;
    call->status = status;
    buf_clear(&call->status_text);
    header_percent(&call->status_text, buf_text(text));
    h2_answer_error(call, http_status);
    conn_touch(call->conn);
    buf_done(text);
}

static void reject_path(struct grpc_call *call)
{
    struct buf text = {0};
    struct slice path = buf_slice(&call->text);
    const uint8_t *slash = path.size > 1 ? memrchr(path.data + 1, '/', path.size - 1) : NULL;
    if (!slash || path.data[0] != '/') {
        buf_add_text(&text, "malformed method name: ");
        header_quote(&text, path);
    } else {
        struct slice service = slice_of(path.data + 1, (size_t)(slash - path.data) - 1);
        struct slice method = slice_of(slash + 1, path.size - service.size - 2);
        if (has_service(slice_of(path.data, service.size + 2))) {
            buf_add_text(&text, "unknown method ");
            buf_add_slice(&text, method);
            buf_add_text(&text, " for service ");
        } else {
            buf_add_text(&text, "unknown service ");
        }
        buf_add_slice(&text, service);
    }
    grpc_call_reject(call, "200", err_grpc(ERR_UNIMPLEMENTED), &text);
}

/* True if the headers of the request were rejected. Order and texts are grpc-go's. */
static bool check_headers(struct grpc_call *call)
{
    struct buf text = {0};
    if (!call->is_grpc_type) {
        buf_add_text(&text, "invalid gRPC request content-type ");
        header_quote(&text, buf_slice(&call->text));
        grpc_call_reject(call, "415", err_grpc(ERR_INVALID), &text);
    } else if (call->is_timeout_bad) {
        buf_add_text(&text, "malformed grpc-timeout");
        grpc_call_reject(call, "400", err_grpc(ERR_INTERNAL), &text);
    } else if (!call->is_post) {
        buf_add_text(&text, "Received a HEADERS frame with a :method which should be POST");
        grpc_call_reject(call, "405", err_grpc(ERR_INTERNAL), &text);
    } else if (call->has_timeout && call->timeout_ms == 0) {
        buf_add_text(&text, err_text(ERR_DEADLINE));
        grpc_call_reject(call, "200", err_grpc(ERR_DEADLINE), &text);
    } else if (!call->rpc.method) {
        reject_path(call);
    } else if (call->is_encoded) {
        buf_add_text(&text, "grpc: Decompressor is not installed for grpc-encoding ");
        header_quote(&text, buf_slice(&call->text));
        grpc_call_reject(call, "200", err_grpc(ERR_UNIMPLEMENTED), &text);
    } else {
        return false;
    }
    return true;
}

bool call_begin(struct grpc_call *call)
{
    if (web_takes(call))
        return web_begin(call);
    if (check_headers(call))
        return true;
    struct grpc_server *s = call->conn->server;
    call->state = CALL_RUNNING;
    sources_serve(&call->conn->source);
    if (call->has_timeout) {
        call->rpc.deadline_ms = server_now(s) + call->timeout_ms;
        server_timer_set(s, &call->deadline, call->rpc.deadline_ms);
    }
    rpc_start(&call->rpc);
    return true;
}

/* --- messages in ----------------------------------------------------------------------------------- */
static void call_deliver(struct grpc_call *call, struct slice message)
{
    metric_add(METRIC_GRPC_RECEIVED, (double)message.size);
    call->conn->has_read_large |= message.size >= LARGE_MESSAGE;
    if (call->rpc.method->kind != RPC_BIDI) {
        call->running_bytes = message.size;
        call->conn->running_bytes += message.size;
        conn_check_reading(call->conn);
    }
    rpc_receive(&call->rpc, message);
    call_drop_partial(call);
    if (call->in.capacity > POOL_BUF_MAX)
        buf_done(&call->in);
}

/* A client that sends requests and does not read answers gets no further ones: the request waits in `in`. */
static bool must_hold(const struct grpc_call *call)
{
    return call->rpc.method->kind != RPC_BIDI && call->conn->is_unary_over;
}

static void hold_message(struct grpc_call *call, struct slice message)
{
    if (message.data != call->in.data) {
        buf_clear(&call->in);
        buf_add_slice(&call->in, message);
        count_partial(call, message.size);
    }
    call->is_held = true;
    list_add_last(&call->conn->held, &call->wait);
}

/* False: the call has failed. */
static bool check_prefix(struct grpc_call *call)
{
    struct grpc_server *s = call->conn->server;
    char text[128];
    uint32_t size = get_be32(call->prefix + 1);
    call->message_size = size;
    if (call->is_complete) {
        call_fail(call, err_grpc(ERR_INTERNAL),
                  "cardinality violation: received multiple request messages for non-client-streaming RPC");
        return false;
    }
    if (size > s->message_max) {
        snprintf(text, sizeof text, "grpc: received message larger than max (%u vs. %llu)", size,
                 (unsigned long long)s->message_max);
        call_fail(call, err_grpc(ERR_LIMIT), text);
        return false;
    }
    if (call->prefix[0] == 0 || (call->prefix[0] == 1 && call->is_gzip))
        return true;
    if (call->prefix[0] == 1)
        snprintf(text, sizeof text, "grpc: compressed flag set with identity or empty encoding");
    else
        snprintf(text, sizeof text, "grpc: received unexpected payload format %u", call->prefix[0]);
    call_fail(call, err_grpc(ERR_INTERNAL), text);
    return false;
}

/* False: the call has failed, with the texts of grpc-go. At most message_max bytes and a step come out. */
static bool unzip_message(struct grpc_call *call, struct slice message, struct buf *ret_plain)
{
    uint64_t max = call->conn->server->message_max;
    char text[128];
    bool is_headless = message.size < 2 || message.data[0] != 0x1f || message.data[1] != 0x8b;
    struct gzip_reader *g = gzip_reader_new(max);
    int err = is_headless ? ERR_MALFORMED : OK;
    for (size_t before = 1; !err && (message.size || ret_plain->size > before);) {
        before = ret_plain->size;
        err = gzip_read(g, &message, ret_plain);
    }
    if (!err)
        err = gzip_read_end(g);
    gzip_reader_free(g);
    if (!err)
        return true;
    snprintf(text, sizeof text, "grpc: received message after decompression larger than max %llu",
             (unsigned long long)max);
    if (err == ERR_LIMIT)
        call_fail(call, err_grpc(ERR_LIMIT), text);
    else if (is_headless)
        call_fail(call, err_grpc(ERR_INTERNAL),
                  "grpc: failed to decompress the message: gzip: invalid header");
    else
        call_fail(call, err_grpc(ERR_INTERNAL),
                  err == ERR_TRUNCATED ? "grpc: failed to read decompressed data: unexpected EOF"
                                       : "grpc: failed to read decompressed data: gzip: invalid checksum");
    return false;
}

static void complete_message(struct grpc_call *call, struct slice message)
{
    struct buf plain = {0};
    call->prefix_size = 0;
    call->is_complete = call->rpc.method->kind != RPC_BIDI;
    if (call->prefix[0] == 1) {
        bool is_plain = unzip_message(call, message, &plain);
        if (!is_plain) {
            buf_done(&plain);
            return;
        }
        call_drop_partial(call); /* the compressed bytes */
        message = buf_slice(&plain);
    }
    if (must_hold(call))
        hold_message(call, message);
    else
        call_deliver(call, message);
    buf_done(&plain);
}

/* Collects bytes of an incomplete message. Returns how many were used. */
static size_t call_collect(struct grpc_call *call, struct slice chunk)
{
    struct grpc_conn *c = call->conn;
    size_t missing = call->message_size - call->in.size;
    size_t n = chunk.size < missing ? chunk.size : missing;
    if (c->partial_bytes + n > CONN_PARTIAL_MAX || c->server->partial_bytes + n > SERVER_PARTIAL_MAX) {
        call_fail(call, err_grpc(ERR_LIMIT), "grpc: too many bytes of unfinished requests");
        return chunk.size;
    }
    count_partial(call, n);
    buf_add(&call->in, chunk.data, n);
    if (call->in.size == call->message_size)
        complete_message(call, buf_slice(&call->in));
    return n;
}

void call_data(struct grpc_call *call, struct slice chunk)
{
    if (call->is_web) {
        web_data(call, chunk);
        return;
    }
    while (chunk.size && call->state == CALL_RUNNING) {
        size_t used = 0;
        if (call->is_complete && call->rpc.method->kind == RPC_UNARY)
            return; /* grpc-go reads one message and does not look further */
        if (call->prefix_size < 5) {
            used = chunk.size < 5u - call->prefix_size ? chunk.size : 5u - call->prefix_size;
            memcpy(call->prefix + call->prefix_size, chunk.data, used);
            call->prefix_size = (uint8_t)(call->prefix_size + used);
            if (call->prefix_size < 5 || !check_prefix(call))
                return;
            chunk = slice_of(chunk.data + used, chunk.size - used);
        }
        if (call->in.size == 0 && chunk.size >= call->message_size) {
            used = call->message_size;
            complete_message(call, slice_of(chunk.data, used));
        } else {
            used = call_collect(call, chunk);
        }
        chunk = slice_of(chunk.data + used, chunk.size - used);
    }
}

void call_half_close(struct grpc_call *call)
{
    if (call->is_web) {
        web_half_close(call);
        return;
    }
    call->is_half_closed = true;
    if (call->state != CALL_RUNNING || call->is_held)
        return;
    if (call->prefix_size)
        call_fail(call, err_grpc(ERR_INTERNAL), "unexpected EOF");
    else if (call->rpc.method->kind == RPC_UNARY && !call->is_complete)
        call_fail(call, err_grpc(ERR_UNKNOWN), "EOF"); /* grpc-go's answer to a call without request */
    else if (call->rpc.method->kind != RPC_BIDI && !call->is_complete)
        call_fail(call, err_grpc(ERR_INTERNAL),
                  "cardinality violation: received no request message from non-client-streaming RPC");
    else
        rpc_half_close(&call->rpc);
}

/* Ends requests that come too slowly: the bytes of incomplete requests are bounded, and a client that
 * sends a byte now and then would keep its share for ever. */
void call_end_slow(struct grpc_conn *c, uint64_t now)
{
    LIST_FOR_EACH_SAFE (l, &c->calls) {
        struct grpc_call *call = container_of(l, struct grpc_call, link);
        uint64_t end = call->partial_ms + PARTIAL_WAIT_MS + call->partial_bytes * 1000 / PARTIAL_BYTES_PER_S;
        if (call->partial_bytes && !call->is_held && call->state == CALL_RUNNING && now > end)
            call_fail(call, err_grpc(ERR_DEADLINE), "grpc: the request comes too slowly");
    }
}

/* --- after a write --------------------------------------------------------------------------------- */
static void call_writable(struct grpc_call *call)
{
    if (call->is_web)
        web_writable(call);
    else
        rpc_writable(&call->rpc);
}

static void release_held(struct grpc_conn *c)
{
    struct link *l;
    if (c->is_unary_over && c->queued_unary <= CONN_QUEUE_MAX / 2) {
        c->is_unary_over = false;
        LIST_FOR_EACH_SAFE (at, &c->calls) { /* reads that wait for room */
            struct grpc_call *call = container_of(at, struct grpc_call, link);
            if (call->state == CALL_RUNNING && !call->is_held && !is_streaming(call))
                call_writable(call);
        }
    }
    while (!c->is_unary_over && (l = list_take_first(&c->held))) {
        struct grpc_call *call = container_of(l, struct grpc_call, wait);
        call->is_held = false;
        if (call->is_web) {
            web_open(call);
            if (!turn_is_spent() || list_is_empty(&c->held))
                continue;
            conn_touch(c); /* the others in the next turn */
            break;
        }
        call_deliver(call, buf_slice(&call->in));
        if (call->state == CALL_RUNNING && call->is_half_closed)
            rpc_half_close(&call->rpc);
    }
}

void call_wake_all(struct grpc_conn *c)
{
    release_held(c);
    bool was_over = c->is_over;
    if (c->is_over && c->queued <= CONN_QUEUE_MAX / 2)
        c->is_over = false;
    LIST_FOR_EACH_SAFE (l, &c->full) {
        struct grpc_call *call = container_of(l, struct grpc_call, wait);
        size_t max = call_queue_max(c->server) / 2;
        if (call_unsent(call) > (call->is_web && max > WEB_WRITABLE ? WEB_WRITABLE : max))
            continue;
        list_remove(&call->wait);
        call->is_full = false;
        if (!c->is_over && !was_over && call->state == CALL_RUNNING)
            call_writable(call);
    }
    if (!was_over || c->is_over)
        return;
    LIST_FOR_EACH_SAFE (l, &c->calls) {
        struct grpc_call *call = container_of(l, struct grpc_call, link);
        if (c->is_over)
            return;
        if (!call->is_full && call->state == CALL_RUNNING && is_streaming(call))
            call_writable(call);
    }
}
