/* SPDX-License-Identifier: Apache-2.0
 * The gRPC client of the load generators; see h2client.h. */
#include "tests/bench/h2client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FRAME_DATA     0
#define FRAME_HEADERS  1
#define FRAME_RST      3
#define FRAME_SETTINGS 4
#define FRAME_PING     6
#define FRAME_GOAWAY   7
#define FRAME_WINDOW   8
#define END_STREAM     1
#define ACK            1
#define END_HEADERS    4
#define WINDOW_TOP_UP  (1u << 30)
#define STATIC_ENTRIES 61 /* HPACK's static table */

void h2_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static uint8_t *reserve(struct h2_client *c, size_t more)
{
    if (c->out_size + more > c->out_capacity) {
        c->out_capacity = (c->out_size + more) * 2;
        c->out = realloc(c->out, c->out_capacity);
    }
    return c->out + c->out_size;
}

static uint8_t *add_frame(struct h2_client *c, size_t size, uint8_t type, uint8_t flags, uint32_t id)
{
    uint8_t *p = reserve(c, 9 + size);
    p[0] = (uint8_t)(size >> 16);
    p[1] = (uint8_t)(size >> 8);
    p[2] = (uint8_t)size;
    p[3] = type;
    p[4] = flags;
    uint32_t be = htonl(id);
    memcpy(p + 5, &be, 4);
    c->out_size += 9 + size;
    return p + 9;
}

static bool broken(struct h2_client *c, const char *why)
{
    if (!c->on_close)
        h2_die("%s: %s", why, strerror(errno));
    if (!c->is_closed) {
        c->is_closed = true;
        c->on_close(c);
    }
    return false;
}

bool h2_open(struct h2_client *c, const char *host, int port)
{
    c->is_closed = false;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &a.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a) != 0)
        return broken(c, "cannot connect");
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->next_id = 1;
    c->stream_capacity = 256;
    c->streams = calloc(c->stream_capacity, sizeof *c->streams);
    c->send_window = 65535;
    nghttp2_hd_inflate_new(&c->inflater);
    memcpy(reserve(c, 24), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    c->out_size += 24;
    uint8_t *settings = add_frame(c, 6, FRAME_SETTINGS, 0, 0);
    memcpy(settings, "\0\4\x7f\xff\xff\xff", 6); /* INITIAL_WINDOW_SIZE 2^31-1 */
    uint8_t *window = add_frame(c, 4, FRAME_WINDOW, 0, 0);
    uint32_t more = htonl(0x7fffffff - 65535);
    memcpy(window, &more, 4);
    h2_flush(c);
    return !c->is_closed;
}

void h2_close(struct h2_client *c)
{
    if (c->fd > 0)
        close(c->fd);
    for (size_t i = 0; i < c->stream_capacity; i++)
        free(c->streams[i].data);
    free(c->streams);
    free(c->out);
    free(c->in);
    if (c->inflater)
        nghttp2_hd_inflate_del(c->inflater);
    struct h2_client kept = *c;
    *c = (struct h2_client){
        .owner = kept.owner, .on_message = kept.on_message, .on_end = kept.on_end, .on_close = kept.on_close};
}

/* --- protobuf -------------------------------------------------------------------------------------- */

size_t pb_varint(uint8_t *p, uint64_t v)
{
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        p[n++] = (uint8_t)(v | 0x80);
    p[n++] = (uint8_t)v;
    return n;
}

size_t pb_number(uint8_t *p, unsigned field, uint64_t v)
{
    size_t n = pb_varint(p, field << 3);
    return n + pb_varint(p + n, v);
}

size_t pb_bytes(uint8_t *p, unsigned field, const void *data, size_t size)
{
    size_t n = pb_varint(p, field << 3 | 2);
    n += pb_varint(p + n, size);
    memcpy(p + n, data, size);
    return n + size;
}

static uint64_t take_varint(const uint8_t *p, size_t size, size_t *at)
{
    uint64_t v = 0;
    for (unsigned shift = 0; *at < size && shift < 64; shift += 7) {
        uint8_t byte = p[(*at)++];
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            break;
    }
    return v;
}

bool pb_next(const uint8_t *message, size_t size, size_t *at, struct pb_field *ret_field)
{
    if (*at >= size)
        return false;
    uint64_t tag = take_varint(message, size, at);
    *ret_field = (struct pb_field){.number = (unsigned)(tag >> 3)};
    ret_field->size = take_varint(message, size, at);
    if ((tag & 7) == 2) {
        if (ret_field->size > size - *at)
            h2_die("a message is cut short");
        ret_field->data = message + *at;
        *at += ret_field->size;
    }
    return true;
}

/* --- streams --------------------------------------------------------------------------------------- */

static struct h2_stream *slot(struct h2_client *c, uint32_t id)
{
    return &c->streams[(id >> 1) & (c->stream_capacity - 1)];
}

static struct h2_stream *new_stream(struct h2_client *c, uint32_t id, uint32_t tag)
{
    while (slot(c, id)->id) {
        struct h2_stream *old = c->streams;
        size_t count = c->stream_capacity;
        c->stream_capacity *= 2;
        c->streams = calloc(c->stream_capacity, sizeof *c->streams);
        for (size_t i = 0; i < count; i++)
            if (old[i].id)
                *slot(c, old[i].id) = old[i];
        free(old);
    }
    struct h2_stream *s = slot(c, id);
    uint8_t *data = s->data;
    size_t capacity = s->capacity;
    *s = (struct h2_stream){.id = id, .tag = tag, .data = data, .capacity = capacity};
    return s;
}

/* --- sending ------------------------------------------------------------------------------------------ */

static size_t literal(uint8_t *p, uint8_t name_index, const char *name, const char *value)
{
    size_t n = 0;
    p[n++] = (uint8_t)(0x40 | name_index);
    if (name) {
        p[n++] = (uint8_t)strlen(name);
        memcpy(p + n, name, strlen(name));
        n += strlen(name);
    }
    p[n++] = (uint8_t)strlen(value);
    memcpy(p + n, value, strlen(value));
    return n + strlen(value);
}

static uint8_t indexed(const struct h2_client *c, size_t age)
{
    return (uint8_t)(0x80 | (STATIC_ENTRIES + (c->inserted - age)));
}

static size_t header_block(struct h2_client *c, const char *path, uint8_t *p)
{
    size_t n = 0, i = 0;
    p[n++] = 0x83; /* :method POST */
    p[n++] = 0x86; /* :scheme http */
    while (i < c->path_count && c->paths[i] != path)
        i++;
    if (i < c->path_count) {
        p[n++] = indexed(c, c->path_age[i]);
    } else {
        n += literal(p + n, 4, NULL, path);
        c->paths[c->path_count] = path;
        c->path_age[c->path_count++] = c->inserted++;
    }
    if (c->common_age) {
        for (size_t k = 0; k < 3; k++)
            p[n++] = indexed(c, c->common_age + k);
        return n;
    }
    c->common_age = c->inserted;
    n += literal(p + n, 1, NULL, "127.0.0.1");
    n += literal(p + n, 31, NULL, "application/grpc");
    n += literal(p + n, 0, "te", "trailers");
    c->inserted += 3;
    return n;
}

/* Sends frames of the size that every server accepts. */
static void add_message(struct h2_client *c, uint32_t id, const uint8_t *message, size_t size, bool is_last)
{
    enum { FRAME_MAX = 16384 };
    uint32_t be = htonl((uint32_t)size);
    for (size_t left = 5 + size; left;) {
        size_t n = left < FRAME_MAX ? left : FRAME_MAX, head = left == 5 + size ? 5 : 0;
        uint8_t *p = add_frame(c, n, FRAME_DATA, is_last && n == left ? END_STREAM : 0, id);
        if (head) {
            p[0] = 0;
            memcpy(p + 1, &be, 4);
        }
        memcpy(p + head, message, n - head);
        message += n - head;
        left -= n;
    }
    c->send_window -= (int64_t)(5 + size);
    if (c->send_window < 0)
        h2_die("the server's flow control window is used up");
}

uint32_t h2_call(struct h2_client *c, const char *path, uint32_t tag, const uint8_t *message, size_t size,
                 bool is_last)
{
    uint8_t block[512];
    size_t n = header_block(c, path, block);
    uint32_t id = c->next_id;
    c->next_id += 2;
    new_stream(c, id, tag);
    memcpy(add_frame(c, n, FRAME_HEADERS, END_HEADERS, id), block, n);
    if (message)
        add_message(c, id, message, size, is_last);
    return id;
}

void h2_send(struct h2_client *c, uint32_t id, const uint8_t *message, size_t size)
{
    add_message(c, id, message, size, false);
}

void h2_flush(struct h2_client *c)
{
    while (c->out_sent < c->out_size) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_size - c->out_sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            broken(c, "cannot send");
            return;
        }
        c->out_sent += (size_t)n;
    }
    c->out_size = c->out_sent = 0;
}

bool h2_wants_write(const struct h2_client *c)
{
    return c->out_sent < c->out_size;
}

/* --- receiving -------------------------------------------------------------------------------------- */

/* A block that was seen before and only refers to the table means the same again. */
static void read_headers(struct h2_client *c, struct h2_stream *s, const uint8_t *p, size_t size, bool is_end)
{
    bool is_plain = size <= sizeof c->known_ok;
    for (size_t i = 0; is_plain && i < size; i++)
        is_plain = p[i] & 0x80;
    if (is_plain && size == c->known_ok_size && memcmp(p, c->known_ok, size) == 0) {
        s->is_ok = true;
        return;
    }
    bool is_ok = false;
    int flags = 0;
    nghttp2_nv nv;
    const uint8_t *at = p;
    size_t left = size;
    while (true) {
        ssize_t n = nghttp2_hd_inflate_hd2(c->inflater, &nv, &flags, at, left, 1);
        if (n < 0)
            h2_die("bad header block");
        at += n;
        left -= (size_t)n;
        if (flags & NGHTTP2_HD_INFLATE_EMIT) {
            if (nv.namelen == 11 && memcmp(nv.name, "grpc-status", 11) == 0) {
                if (nv.valuelen != 1 || nv.value[0] != '0')
                    fprintf(stderr, "load: grpc-status %.*s\n", (int)nv.valuelen, nv.value);
                is_ok = nv.valuelen == 1 && nv.value[0] == '0';
            }
            if (nv.namelen == 12 && nv.valuelen && memcmp(nv.name, "grpc-message", 12) == 0)
                fprintf(stderr, "load: grpc-message %.*s\n", (int)nv.valuelen, nv.value);
        }
        if (flags & NGHTTP2_HD_INFLATE_FINAL) {
            nghttp2_hd_inflate_end_headers(c->inflater);
            break;
        }
    }
    s->is_ok = s->is_ok || is_ok;
    if (is_end && is_ok && is_plain) {
        memcpy(c->known_ok, p, size);
        c->known_ok_size = size;
    }
}

/* The connection and each stream have windows of their own. */
static void give_window(struct h2_client *c, uint64_t *received, size_t size, uint32_t id)
{
    *received += size;
    if (*received <= WINDOW_TOP_UP)
        return;
    uint32_t more = htonl((uint32_t)*received);
    memcpy(add_frame(c, 4, FRAME_WINDOW, 0, id), &more, 4);
    *received = 0;
}

static void read_data(struct h2_client *c, struct h2_stream *s, const uint8_t *p, size_t size)
{
    give_window(c, &c->received, size, 0);
    give_window(c, &s->received, size, s->id);
    while (size) {
        uint32_t length;
        if (!s->size && size >= 5) {
            memcpy(&length, p + 1, 4);
            length = ntohl(length);
            if (size >= 5 + (size_t)length) {
                c->on_message(c, s->tag, p + 5, length);
                p += 5 + length;
                size -= 5 + length;
                continue;
            }
        }
        if (s->size + size > s->capacity) {
            s->capacity = (s->size + size) * 2;
            s->data = realloc(s->data, s->capacity);
        }
        memcpy(s->data + s->size, p, size);
        s->size += size;
        size_t at = 0;
        while (s->size - at >= 5) {
            memcpy(&length, s->data + at + 1, 4);
            length = ntohl(length);
            if (s->size - at < 5 + (size_t)length)
                break;
            c->on_message(c, s->tag, s->data + at + 5, length);
            at += 5 + length;
        }
        memmove(s->data, s->data + at, s->size - at);
        s->size -= at;
        return;
    }
}

static void end_stream(struct h2_client *c, struct h2_stream *s)
{
    if (!s->is_ok)
        h2_die("a call failed");
    uint32_t tag = s->tag;
    s->id = 0;
    c->on_end(c, tag);
}

static void read_settings(struct h2_client *c, uint8_t flags)
{
    if (!(flags & ACK))
        add_frame(c, 0, FRAME_SETTINGS, ACK, 0);
}

static void read_frame(struct h2_client *c, uint8_t type, uint8_t flags, uint32_t id, const uint8_t *p,
                       size_t size)
{
    uint32_t number;
    struct h2_stream *s = id ? slot(c, id) : NULL;
    if (s && s->id != id)
        s = NULL;
    switch (type) {
    case FRAME_DATA:
        if (!s)
            h2_die("data for no stream");
        read_data(c, s, p, size);
        break;
    case FRAME_HEADERS:
        if (!s)
            h2_die("headers for no stream");
        read_headers(c, s, p, size, flags & END_STREAM);
        break;
    case FRAME_RST:
        if (s)
            h2_die("stream %u was reset", id);
        return;
    case FRAME_SETTINGS:
        read_settings(c, flags);
        return;
    case FRAME_PING:
        if (!(flags & ACK))
            memcpy(add_frame(c, 8, FRAME_PING, ACK, 0), p, 8);
        return;
    case FRAME_GOAWAY:
        h2_die("the server says goaway: %.*s", (int)(size > 8 ? size - 8 : 0), p + 8);
    case FRAME_WINDOW:
        memcpy(&number, p, 4);
        if (!id)
            c->send_window += ntohl(number) & 0x7fffffff;
        return;
    default:
        return;
    }
    if (flags & END_STREAM)
        end_stream(c, s);
}

void h2_read(struct h2_client *c)
{
    if (c->in_capacity - c->in_size < 256 << 10) {
        c->in_capacity = c->in_size + (512 << 10);
        c->in = realloc(c->in, c->in_capacity);
    }
    ssize_t n = recv(c->fd, c->in + c->in_size, c->in_capacity - c->in_size, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        broken(c, "the server closed the connection");
        return;
    }
    c->in_size += (size_t)n;
    size_t at = 0;
    while (c->in_size - at >= 9) {
        const uint8_t *p = c->in + at;
        size_t size = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        if (c->in_size - at < 9 + size)
            break;
        uint32_t id;
        memcpy(&id, p + 5, 4);
        read_frame(c, p[3], p[4], ntohl(id) & 0x7fffffff, p + 9, size);
        at += 9 + size;
    }
    memmove(c->in, c->in + at, c->in_size - at);
    c->in_size -= at;
}
