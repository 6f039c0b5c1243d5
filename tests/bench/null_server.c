/* SPDX-License-Identifier: Apache-2.0
 * A server that only answers: every gRPC call gets the same reply of 30 bytes and status 0, with the same
 * system calls as any server of this kind (epoll, one read and one send per connection that has something).
 * Its cost per call is the cost of the machine's kernel on that day. It is the unit for the cost of a
 * server: results in microseconds apply to another machine only in this unit. It stores nothing and knows
 * no method and no error: invalid frames end the connection. One argument, the port.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FRAME_DATA = 0, FRAME_HEADERS = 1, FRAME_SETTINGS = 4, FRAME_PING = 6 };
enum { FLAG_ACK = 1, FLAG_END_STREAM = 1, FLAG_END_HEADERS = 4 };
enum { IN_SIZE = 1 << 18, OUT_SIZE = 1 << 18, EVENTS_MAX = 256, PREFACE_SIZE = 24, MESSAGE_SIZE = 30 };
enum { WINDOW_STEP = 1 << 14 }; /* received bytes after which the connection's window is filled up */

struct client {
    int fd;
    bool has_preface;
    uint32_t received;
    size_t in_size, out_size;
    uint8_t in[IN_SIZE], out[OUT_SIZE];
};

/* :status 200, content-type application/grpc; grpc-status 0. */
static const char head[] = "\x88\x0f\x10\x10"
                           "application/grpc";
static const char trailer[] = "\0\x0bgrpc-status\1"
                              "0";

static void die(const char *what)
{
    fprintf(stderr, "null_server: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void add_frame(struct client *c, uint8_t type, uint8_t flags, uint32_t stream, const void *data,
                      size_t size)
{
    uint32_t id = htonl(stream);
    uint8_t frame[9] = {0, (uint8_t)(size >> 8), (uint8_t)size, type, flags};
    if (c->out_size + sizeof frame + size > OUT_SIZE) {
        fputs("null_server: a client that does not read\n", stderr);
        exit(1);
    }
    memcpy(frame + 5, &id, sizeof id);
    memcpy(c->out + c->out_size, frame, sizeof frame);
    if (size)
        memcpy(c->out + c->out_size + sizeof frame, data, size);
    c->out_size += sizeof frame + size;
}

static void add_window(struct client *c)
{
    uint32_t more = htonl(c->received);
    add_frame(c, 8, 0, 0, &more, sizeof more);
    c->received = 0;
}

static void answer(struct client *c, uint32_t stream)
{
    static const uint8_t message[5 + MESSAGE_SIZE] = {0, 0, 0, 0, MESSAGE_SIZE};
    add_frame(c, FRAME_HEADERS, FLAG_END_HEADERS, stream, head, sizeof head - 1);
    add_frame(c, FRAME_DATA, 0, stream, message, sizeof message);
    add_frame(c, FRAME_HEADERS, FLAG_END_HEADERS | FLAG_END_STREAM, stream, trailer, sizeof trailer - 1);
}

static void take_frame(struct client *c, const uint8_t *frame, size_t size)
{
    uint8_t type = frame[3], flags = frame[4];
    uint32_t stream;
    memcpy(&stream, frame + 5, sizeof stream);
    stream = ntohl(stream) & 0x7fffffff;
    if (type == FRAME_DATA && (c->received += (uint32_t)size) >= WINDOW_STEP)
        add_window(c);
    if ((type == FRAME_DATA || type == FRAME_HEADERS) && (flags & FLAG_END_STREAM))
        answer(c, stream);
    else if ((type == FRAME_SETTINGS || type == FRAME_PING) && !(flags & FLAG_ACK))
        add_frame(c, type, FLAG_ACK, 0, frame + 9, type == FRAME_PING ? size : 0);
}

/* Whole frames; false: the rest is none. */
static bool take_bytes(struct client *c)
{
    size_t at = 0;
    if (!c->has_preface) {
        if (c->in_size < PREFACE_SIZE)
            return true;
        if (memcmp(c->in, "PRI * HTTP/2.0", 14) != 0)
            return false;
        c->has_preface = true;
        at = PREFACE_SIZE;
        add_frame(c, FRAME_SETTINGS, 0, 0, NULL, 0);
    }
    while (c->in_size - at >= 9) {
        const uint8_t *frame = c->in + at;
        size_t size = (size_t)frame[0] << 16 | (size_t)frame[1] << 8 | frame[2];
        if (size > IN_SIZE / 2)
            return false;
        if (c->in_size - at < 9 + size)
            break;
        take_frame(c, frame, size);
        at += 9 + size;
    }
    memmove(c->in, c->in + at, c->in_size - at);
    c->in_size -= at;
    return true;
}

static bool send_all(struct client *c)
{
    size_t sent = 0;
    while (sent < c->out_size) {
        ssize_t n = send(c->fd, c->out + sent, c->out_size - sent, MSG_NOSIGNAL);
        if (n < 0)
            return false;
        sent += (size_t)n;
    }
    c->out_size = 0;
    return true;
}

static bool serve(struct client *c)
{
    ssize_t n = read(c->fd, c->in + c->in_size, IN_SIZE - c->in_size);
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    c->in_size += (size_t)n;
    return take_bytes(c) && send_all(c);
}

static void take_client(int listener, int poll)
{
    static const int on = 1;
    struct client *c = calloc(1, sizeof *c);
    if (!c || (c->fd = accept(listener, NULL, NULL)) < 0)
        die("accept");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &event) < 0)
        die("epoll_ctl");
}

static int listen_on(int port)
{
    static const int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, SOMAXCONN) < 0)
        die("listen");
    return fd;
}

int main(int argc, char **argv)
{
    int port = argc == 2 ? atoi(argv[1]) : 0;
    if (port < 1 || port > 65535) {
        fputs("usage: null_server PORT\n", stderr);
        return 2;
    }
    int listener = listen_on(port), poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN}, events[EVENTS_MAX];
    if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event) < 0)
        die("epoll");
    for (;;) {
        int n = epoll_wait(poll, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            struct client *c = events[i].data.ptr;
            if (!c) {
                take_client(listener, poll);
            } else if (!serve(c)) {
                close(c->fd);
                free(c);
            }
        }
    }
}
