/* SPDX-License-Identifier: Apache-2.0
 * A gRPC client for load generators: raw HTTP/2 frames over plain TCP on epoll, one thread, so that the
 * measurement itself costs little. Headers are sent once and then by HPACK index, as real clients do. Every
 * status is checked. It has no TLS and no retries; anything unexpected ends the program
 * with a sentence. */
#ifndef TESTS_BENCH_H2CLIENT_H
#define TESTS_BENCH_H2CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct h2_stream {
    uint32_t id;  /* 0 = free slot */
    uint32_t tag; /* the caller's */
    bool has_message;
    bool is_ok;        /* grpc-status 0 was seen */
    uint64_t received; /* DATA bytes since the last WINDOW_UPDATE */
    uint8_t *data;     /* a message that spans frames */
    size_t size, capacity;
};

struct h2_client {
    int fd;
    uint32_t next_id;
    struct h2_stream *streams;
    size_t stream_capacity; /* a power of two */
    uint8_t *out;
    size_t out_size, out_capacity, out_sent;
    uint8_t *in;
    size_t in_size, in_capacity;
    int64_t send_window;
    uint64_t received; /* DATA bytes since the last WINDOW_UPDATE of the connection */
    struct nghttp2_hd_inflater *inflater;
    uint8_t known_ok[64]; /* a trailer block of indexed fields only that meant status 0 */
    size_t known_ok_size;
    const char *paths[8]; /* in the server's dynamic table, by age */
    size_t path_age[8], path_count, inserted, common_age;
    void *owner;

    /* One whole message; NULL data with size 0 is an empty one. */
    void (*on_message)(struct h2_client *c, uint32_t tag, const uint8_t *data, size_t size);
    /* The call is over with status 0 (others end the program). */
    void (*on_end)(struct h2_client *c, uint32_t tag);
    /* The connection broke. NULL: that ends the program. */
    void (*on_close)(struct h2_client *c);
    bool is_closed;
};

/* False (with on_close set) when no server listens there. */
bool h2_open(struct h2_client *c, const char *host, int port);
void h2_close(struct h2_client *c); /* frees all but the struct, which may be opened again */
/* Starts a call with one message; is_last ends the client's side. Returns the stream id. Sent by h2_flush. */
uint32_t h2_call(struct h2_client *c, const char *path, uint32_t tag, const uint8_t *message, size_t size,
                 bool is_last);
void h2_send(struct h2_client *c, uint32_t id, const uint8_t *message, size_t size);
void h2_flush(struct h2_client *c);
void h2_read(struct h2_client *c); /* after EPOLLIN */
bool h2_wants_write(const struct h2_client *c);

/* Protobuf by hand: a varint field, a bytes field; each returns the bytes written. */
size_t pb_varint(uint8_t *p, uint64_t v);
size_t pb_number(uint8_t *p, unsigned field, uint64_t v);
size_t pb_bytes(uint8_t *p, unsigned field, const void *data, size_t size);
/* Takes the next field of a message: false at its end. Bytes in data and size, or the number in size. */
struct pb_field {
    unsigned number;
    const uint8_t *data; /* NULL for a varint */
    uint64_t size;
};
bool pb_next(const uint8_t *message, size_t size, size_t *at, struct pb_field *ret_field);
_Noreturn void h2_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
