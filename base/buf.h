/* SPDX-License-Identifier: Apache-2.0
 * Byte strings: `slice` borrows bytes, `buf` owns them. A zeroed buf is empty and valid; buf_done leaves it
 * so. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *data;
    size_t size;
};

struct buf {
    uint8_t *data;
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated */
};

static inline struct slice slice_of(const void *data, size_t size)
{
    return (struct slice){(const uint8_t *)data, size};
}

static inline struct slice slice_text(const char *text)
{
    return (struct slice){(const uint8_t *)text, strlen(text)};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Byte order as of memcmp; a prefix sorts before longer strings. etcd orders its keys so. */
static inline int slice_compare(struct slice a, struct slice b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int c = n ? memcmp(a.data, b.data, n) : 0;
    return c ? c : (a.size > b.size) - (a.size < b.size);
}

static inline struct slice buf_slice(const struct buf *b)
{
    return (struct slice){b->data, b->size};
}

/* Reserves room for `more` bytes at the end and returns the end, never NULL. The caller writes there and
 * adds to size. */
uint8_t *buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *data, size_t size);
void buf_add_slice(struct buf *b, struct slice s);
void buf_add_text(struct buf *b, const char *text);
void buf_add_byte(struct buf *b, uint8_t byte);
void buf_addf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_addv(struct buf *b, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
void buf_consume(struct buf *b, size_t size); /* drops bytes at the front */
void buf_clear(struct buf *b);                /* keeps the memory */
void buf_done(struct buf *b);
struct buf buf_move(struct buf *b);  /* the caller owns the returned bytes; b is empty after */
const char *buf_text(struct buf *b); /* NUL-terminated view, valid until the next change */

/* Fixed-width integers, for files and frames. */
static inline void put_be64(uint8_t *p, uint64_t v)
{
    v = __builtin_bswap64(v);
    memcpy(p, &v, 8);
}
static inline uint64_t get_be64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return __builtin_bswap64(v);
}
static inline void put_be32(uint8_t *p, uint32_t v)
{
    v = __builtin_bswap32(v);
    memcpy(p, &v, 4);
}
static inline uint32_t get_be32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return __builtin_bswap32(v);
}
static inline void put_le64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, 8);
}
static inline uint64_t get_le64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
static inline void put_le32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, 4);
}
static inline uint32_t get_le32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

#endif
