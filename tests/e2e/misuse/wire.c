/* SPDX-License-Identifier: Apache-2.0
 * HTTP/2 frames by hand; see wire.h. */
#include "tests/e2e/misuse/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int wire_connect(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        close(fd);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static uint8_t *reserve(struct wire *w, size_t more)
{
    if (w->out_size + more > w->out_capacity) {
        w->out_capacity = (w->out_size + more) * 2;
        w->out = realloc(w->out, w->out_capacity);
    }
    return w->out + w->out_size;
}

static void put_be32(uint8_t *p, uint32_t v)
{
    v = htonl(v);
    memcpy(p, &v, 4);
}

bool wire_open(struct wire *w, int port, uint32_t window)
{
    *w = (struct wire){.fd = wire_connect(port), .window = 65535, .initial_window = 65535, .next_id = 1};
    if (w->fd < 0)
        return false;
    memcpy(reserve(w, 24), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    w->out_size += 24;
    uint8_t settings[6] = {0, 4}, more[4];
    put_be32(settings + 2, window);
    wire_frame(w, WIRE_SETTINGS, 0, 0, settings, 6);
    if (window > 65535) {
        put_be32(more, window - 65535);
        wire_frame(w, WIRE_WINDOW, 0, 0, more, 4);
    }
    return wire_flush(w, 5000);
}

void wire_close(struct wire *w)
{
    if (w->fd >= 0)
        close(w->fd);
    free(w->out);
    free(w->in);
    *w = (struct wire){.fd = -1};
}

void wire_frame(struct wire *w, uint8_t type, uint8_t flags, uint32_t id, const void *data, size_t size)
{
    uint8_t *p = reserve(w, 9 + size);
    p[0] = (uint8_t)(size >> 16);
    p[1] = (uint8_t)(size >> 8);
    p[2] = (uint8_t)size;
    p[3] = type;
    p[4] = flags;
    put_be32(p + 5, id);
    if (size)
        memcpy(p + 9, data, size);
    w->out_size += 9 + size;
}

/* A header without indexing: by the static table's name, or by its own. */
static size_t literal(uint8_t *p, uint8_t index, const char *name, const char *value)
{
    size_t n = 0;
    p[n++] = index;
    if (name) {
        p[n++] = (uint8_t)strlen(name);
        memcpy(p + n, name, strlen(name));
        n += strlen(name);
    }
    p[n++] = (uint8_t)strlen(value);
    memcpy(p + n, value, strlen(value));
    return n + strlen(value);
}

uint32_t wire_headers(struct wire *w, const char *path, bool is_last)
{
    uint8_t block[256];
    size_t n = 0;
    block[n++] = 0x83; /* :method POST */
    block[n++] = 0x86; /* :scheme http */
    n += literal(block + n, 4, NULL, path);
    n += literal(block + n, 1, NULL, "127.0.0.1");
    block[n++] = 0x0f; /* content-type, entry 31 of the static table */
    n += literal(block + n, 31 - 15, NULL, "application/grpc");
    n += literal(block + n, 0, "te", "trailers");
    uint32_t id = w->next_id;
    w->next_id += 2;
    w->stream_window = w->initial_window;
    wire_frame(w, WIRE_HEADERS, (uint8_t)(WIRE_END_HEADERS | (is_last ? WIRE_END_STREAM : 0)), id, block, n);
    return id;
}

void wire_message(struct wire *w, uint32_t id, const void *message, size_t size, bool is_last)
{
    uint8_t prefix[5] = {0};
    const uint8_t *at = message;
    put_be32(prefix + 1, (uint32_t)size);
    if (size + 5 <= 16384) {
        uint8_t whole[16384];
        memcpy(whole, prefix, 5);
        if (size)
            memcpy(whole + 5, at, size);
        wire_frame(w, WIRE_DATA, is_last ? WIRE_END_STREAM : 0, id, whole, size + 5);
    } else {
        wire_frame(w, WIRE_DATA, 0, id, prefix, 5);
        for (size_t left = size; left;) {
            size_t n = left < 16384 ? left : 16384;
            left -= n;
            wire_frame(w, WIRE_DATA, !left && is_last ? WIRE_END_STREAM : 0, id, at, n);
            at += n;
        }
    }
    w->window -= (int64_t)size + 5;
    w->stream_window -= (int64_t)size + 5;
}

uint32_t wire_call(struct wire *w, const char *path, const void *message, size_t size, bool is_last)
{
    uint32_t id = wire_headers(w, path, false);
    wire_message(w, id, message, size, is_last);
    return id;
}

bool wire_flush(struct wire *w, int timeout_ms)
{
    size_t sent = 0;
    bool is_gone = false;
    while (sent < w->out_size && !is_gone) {
        ssize_t n = send(w->fd, w->out + sent, w->out_size - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            sent += (size_t)n;
            continue;
        }
        struct pollfd p = {.fd = w->fd, .events = POLLOUT};
        is_gone = (n < 0 && errno != EAGAIN && errno != EINTR) || poll(&p, 1, timeout_ms) <= 0;
    }
    if (sent)
        memmove(w->out, w->out + sent, w->out_size - sent);
    w->out_size -= sent;
    return !is_gone;
}

/* True if bytes came. */
static bool receive(struct wire *w, int timeout_ms)
{
    if (w->in_at) {
        memmove(w->in, w->in + w->in_at, w->in_size - w->in_at);
        w->in_size -= w->in_at;
        w->in_at = 0;
    }
    if (w->in_capacity - w->in_size < 65536) {
        w->in_capacity = w->in_size + 262144;
        w->in = realloc(w->in, w->in_capacity);
    }
    struct pollfd p = {.fd = w->fd, .events = POLLIN};
    if (poll(&p, 1, timeout_ms) <= 0)
        return false;
    ssize_t n = recv(w->fd, w->in + w->in_size, w->in_capacity - w->in_size, 0);
    if (n <= 0)
        return false;
    w->in_size += (size_t)n;
    return true;
}

static bool take(struct wire *w, struct wire_frame *f)
{
    const uint8_t *p = w->in + w->in_at;
    size_t left = w->in_size - w->in_at;
    if (left < 9)
        return false;
    size_t size = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
    if (left < 9 + size)
        return false;
    uint32_t id;
    memcpy(&id, p + 5, 4);
    *f = (struct wire_frame){p[3], p[4], ntohl(id) & 0x7fffffff, p + 9, size};
    w->in_at += 9 + size;
    return true;
}

bool wire_next(struct wire *w, struct wire_frame *ret_frame, int timeout_ms)
{
    while (true) {
        while (take(w, ret_frame)) {
            const struct wire_frame *f = ret_frame;
            uint32_t more;
            if (f->type == WIRE_SETTINGS && !(f->flags & WIRE_ACK)) {
                for (size_t i = 0; i + 6 <= f->size; i += 6)
                    if (f->data[i + 1] == 4) {
                        memcpy(&more, f->data + i + 2, 4);
                        w->stream_window += ntohl(more) - w->initial_window;
                        w->initial_window = ntohl(more);
                    }
                wire_frame(w, WIRE_SETTINGS, WIRE_ACK, 0, NULL, 0);
                wire_flush(w, 1000);
            } else if (f->type == WIRE_PING && !(f->flags & WIRE_ACK)) {
                wire_frame(w, WIRE_PING, WIRE_ACK, 0, f->data, 8);
                wire_flush(w, 1000);
            } else if (f->type == WIRE_WINDOW) {
                memcpy(&more, f->data, 4);
                if (!f->id)
                    w->window += ntohl(more) & 0x7fffffff;
                else if (f->id == w->next_id - 2)
                    w->stream_window += ntohl(more) & 0x7fffffff;
            } else if (f->type == WIRE_DATA || f->type == WIRE_HEADERS || f->type == WIRE_GOAWAY ||
                       f->type == WIRE_RST) {
                return true;
            }
        }
        if (!receive(w, timeout_ms))
            return false;
    }
}

void wire_give(struct wire *w, uint32_t id, size_t size)
{
    uint8_t more[4];
    put_be32(more, (uint32_t)size);
    wire_frame(w, WIRE_WINDOW, 0, 0, more, 4);
    wire_frame(w, WIRE_WINDOW, 0, id, more, 4);
}

bool wire_wait_closed(struct wire *w, int timeout_ms)
{
    uint8_t waste[65536];
    struct pollfd p = {.fd = w->fd, .events = POLLIN};
    while (poll(&p, 1, timeout_ms) > 0)
        if (recv(w->fd, waste, sizeof waste, 0) <= 0)
            return true;
    return false;
}
