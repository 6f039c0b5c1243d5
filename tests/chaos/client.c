/* SPDX-License-Identifier: Apache-2.0
 * The gRPC client of client.h: sockets, epoll and gRPC's messages; nghttp2 implements HTTP/2. */
#include "tests/chaos/client.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECT_MS_MAX = 1000, WINDOW = 1 << 24, EVENTS = 64 };

static int epoll_fd;
static nghttp2_session_callbacks *callbacks;

int64_t client_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

uint64_t client_now_ms(void)
{
    return (uint64_t)client_now_ns() / 1000000;
}

bool endpoint_parse(const char *text, struct endpoint *ret_endpoint)
{
    struct endpoint e = {.address.sin_family = AF_INET};
    char host[40];
    int port;
    if (strncmp(text, "http://", 7) == 0)
        text += 7;
    if (sscanf(text, "%39[0-9.]:%d", host, &port) != 2 || port <= 0 || port > 65535 ||
        inet_pton(AF_INET, host, &e.address.sin_addr) != 1)
        return false;
    e.address.sin_port = htons((uint16_t)port);
    snprintf(e.name, sizeof e.name, "%s:%d", host, port);
    *ret_endpoint = e;
    return true;
}

/* --- calls ------------------------------------------------------------------------------------ */

static void end_call(struct call *call, int status, const char *text)
{
    char copy[160];
    snprintf(copy, sizeof copy, "%s", text);
    list_remove(&call->link);
    call->connection = NULL;
    buf_done(&call->in);
    buf_done(&call->out);
    call->on_end(call, status, copy);
}

static void add_message(struct call *call, const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *p = buf_reserve(&call->out, 5 + size);
    p[0] = 0;
    put_be32(p + 1, (uint32_t)size);
    protobuf_c_message_pack(message, p + 5);
    call->out.size += 5 + size;
}

static ssize_t read_out(nghttp2_session *session, int32_t stream, uint8_t *data, size_t size, uint32_t *flags,
                        nghttp2_data_source *source, void *arg)
{
    struct call *call = nghttp2_session_get_stream_user_data(session, stream);
    (void)source;
    (void)arg;
    if (!call) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        return 0;
    }
    size_t n = call->out.size < size ? call->out.size : size;
    if (n)
        memcpy(data, call->out.data, n);
    buf_consume(&call->out, n);
    if (call->out.size == 0 && call->is_last_sent)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return n || call->is_last_sent ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
}

static void flush(struct connection *c);

#define HEADER(name, value)                                                                                  \
    {                                                                                                        \
        (uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value), strlen(name), strlen(value), 0          \
    }

void call_start(struct connection *c, struct call *call, const char *path, const ProtobufCMessage *message,
                bool is_last, bool require_leader)
{
    nghttp2_nv headers[] = {HEADER(":method", "POST"),
                            HEADER(":scheme", "http"),
                            HEADER(":path", path),
                            HEADER(":authority", c->endpoint.name),
                            HEADER("content-type", "application/grpc"),
                            HEADER("te", "trailers"),
                            HEADER("hasleader", "true")};
    nghttp2_data_provider body = {.read_callback = read_out};
    assert(c->state == CONNECTION_UP && !call->connection);
    call->connection = c;
    call->status = STATUS_UNAVAILABLE;
    call->text[0] = 0;
    call->has_status = false;
    call->is_last_sent = is_last;
    list_add_last(&c->calls, &call->link);
    if (message)
        add_message(call, message);
    call->stream = nghttp2_submit_request(c->session, NULL, headers,
                                          sizeof headers / sizeof *headers - !require_leader, &body, call);
    assert(call->stream > 0);
    flush(c);
}

void call_send(struct call *call, const ProtobufCMessage *message)
{
    add_message(call, message);
    nghttp2_session_resume_data(call->connection->session, call->stream);
    flush(call->connection);
}

void call_drop(struct call *call)
{
    struct connection *c = call->connection;
    if (!c)
        return;
    nghttp2_session_set_stream_user_data(c->session, call->stream, NULL);
    nghttp2_submit_rst_stream(c->session, 0, call->stream, NGHTTP2_CANCEL);
    list_remove(&call->link);
    call->connection = NULL;
    buf_done(&call->in);
    buf_done(&call->out);
    flush(c);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_size, const uint8_t *value, size_t value_size, uint8_t flags, void *arg)
{
    struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    (void)flags;
    (void)arg;
    if (!call)
        return 0;
    if (name_size == 11 && memcmp(name, "grpc-status", 11) == 0) {
        call->status = atoi((const char *)value);
        call->has_status = true;
    } else if (name_size == 12 && memcmp(name, "grpc-message", 12) == 0) {
        snprintf(call->text, sizeof call->text, "%.*s", (int)value_size, (const char *)value);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t size,
                   void *arg)
{
    struct call *call = nghttp2_session_get_stream_user_data(session, stream);
    (void)flags;
    (void)arg;
    if (!call)
        return 0;
    buf_add(&call->in, data, size);
    size_t at = 0;
    struct buf in = buf_move(&call->in); /* the caller may drop the call */
    while (call->connection && in.size - at >= 5 && in.size - at - 5 >= get_be32(in.data + at + 1)) {
        size_t message = get_be32(in.data + at + 1);
        if (call->on_message)
            call->on_message(call, slice_of(in.data + at + 5, message));
        at += 5 + message;
    }
    if (call->connection)
        buf_add(&call->in, in.data + at, in.size - at);
    buf_done(&in);
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t code, void *arg)
{
    struct call *call = nghttp2_session_get_stream_user_data(session, stream);
    (void)code;
    (void)arg;
    if (call)
        end_call(call, call->has_status ? call->status : STATUS_UNAVAILABLE,
                 call->has_status ? call->text : "the stream was reset");
    return 0;
}

/* --- connections ------------------------------------------------------------------------------ */

static void set_interest(struct connection *c, bool wants_write)
{
    struct epoll_event e = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0), .data.ptr = c};
    if (wants_write != c->wants_write)
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
    c->wants_write = wants_write;
}

void connection_close(struct connection *c, const char *why)
{
    if (c->state == CONNECTION_DOWN)
        return;
    c->state = CONNECTION_DOWN;
    close(c->fd);
    nghttp2_session_del(c->session);
    c->session = NULL;
    buf_done(&c->out);
    while (!list_is_empty(&c->calls))
        end_call(container_of(c->calls.next, struct call, link), STATUS_UNAVAILABLE, why);
    if (c->on_down)
        c->on_down(c);
}

/* Not called from inside nghttp2's callbacks: the reader flushes after them. */
static void flush(struct connection *c)
{
    const uint8_t *data;
    ssize_t n;
    if (c->state != CONNECTION_UP || c->is_reading)
        return;
    while ((n = nghttp2_session_mem_send(c->session, &data)) > 0)
        buf_add(&c->out, data, (size_t)n);
    while (c->out.size) {
        n = send(c->fd, c->out.data, c->out.size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0)
            break; /* the next read finds the error */
        buf_consume(&c->out, (size_t)n);
    }
    set_interest(c, c->out.size > 0);
}

static void begin_session(struct connection *c)
{
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW},
                                         {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    nghttp2_session_client_new(&c->session, callbacks, c);
    nghttp2_submit_settings(c->session, 0, settings, 2);
    nghttp2_session_set_local_window_size(c->session, 0, 0, WINDOW);
}

void connection_open(struct connection *c, const struct endpoint *endpoint)
{
    int one = 1;
    assert(c->state == CONNECTION_DOWN);
    c->endpoint = *endpoint;
    c->began_ms = c->heard_ms = c->pinged_ms = client_now_ms();
    list_init(&c->calls);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert(c->fd >= 0);
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)connect(c->fd, (const struct sockaddr *)&endpoint->address, sizeof endpoint->address);
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
    c->wants_write = true;
    begin_session(c);
    c->state = CONNECTION_CONNECTING;
}

static void finish_connect(struct connection *c)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) {
        connection_close(c, "cannot connect");
        return;
    }
    c->state = CONNECTION_UP;
    c->heard_ms = client_now_ms();
    flush(c);
    if (c->on_up)
        c->on_up(c);
}

static void read_some(struct connection *c)
{
    static uint8_t data[256 << 10];
    ssize_t n = recv(c->fd, data, sizeof data, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        connection_close(c, "the connection was lost");
        return;
    }
    c->heard_ms = client_now_ms();
    c->is_reading = true;
    n = nghttp2_session_mem_recv(c->session, data, (size_t)n);
    c->is_reading = false;
    if (n < 0) {
        connection_close(c, "the server does not speak HTTP/2");
        return;
    }
    flush(c);
    if (!nghttp2_session_want_read(c->session) && !nghttp2_session_want_write(c->session))
        connection_close(c, "the server said goodbye");
}

/* A server that shuts down lets streams end and accepts no new ones: the client connects elsewhere. */
static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
    struct connection *c = arg;
    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        shutdown(c->fd, SHUT_RD); /* the next read finds it */
    return 0;
}

void connection_check(struct connection *c, uint64_t silence_max_ms)
{
    uint64_t now = client_now_ms();
    if (c->state == CONNECTION_CONNECTING && now - c->began_ms > CONNECT_MS_MAX)
        connection_close(c, "cannot connect in time");
    if (c->state != CONNECTION_UP)
        return;
    if (now - c->heard_ms > silence_max_ms) {
        connection_close(c, "nothing is heard any more");
    } else if (now - c->heard_ms > silence_max_ms / 3 && now - c->pinged_ms > silence_max_ms / 3) {
        c->pinged_ms = now;
        nghttp2_submit_ping(c->session, 0, NULL);
        flush(c);
    }
}

void client_init(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
}

/* An event of a connection that was closed, and perhaps opened again, in the same round does no harm: reads
 * and connects find out for themselves what there is. */
void client_wait(int timeout_ms)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epoll_fd, events, EVENTS, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->state == CONNECTION_CONNECTING && events[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
            finish_connect(c);
        if (c->state == CONNECTION_UP && events[i].events & EPOLLOUT)
            flush(c);
        if (c->state == CONNECTION_UP && events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
            read_some(c);
    }
}
