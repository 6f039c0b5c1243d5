/* SPDX-License-Identifier: Apache-2.0
 * Growing byte buffers. The capacity doubles, so that adding n bytes one by one costs O(n). */
#include "base/buf.h"

#include <assert.h>
#include <stdio.h>

#include "base/mem.h"

enum { BUF_MIN = 64 };

uint8_t *buf_reserve(struct buf *b, size_t more)
{
    if (more > b->capacity - b->size || !b->data) {
        assert(more <= SIZE_MAX / 2 - b->size);
        size_t capacity = b->capacity * 2 < BUF_MIN ? BUF_MIN : b->capacity * 2;
        if (capacity < b->size + more)
            capacity = b->size + more;
        b->data = mem_resize(b->data, capacity);
        b->capacity = capacity;
    }
    return b->data + b->size;
}

void buf_add(struct buf *b, const void *data, size_t size)
{
    if (size == 0)
        return;
    memcpy(buf_reserve(b, size), data, size);
    b->size += size;
}

void buf_add_slice(struct buf *b, struct slice s)
{
    buf_add(b, s.data, s.size);
}

void buf_add_text(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}

void buf_add_byte(struct buf *b, uint8_t byte)
{
    *buf_reserve(b, 1) = byte;
    b->size++;
}

void buf_addf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    buf_addv(b, format, args);
    va_end(args);
}

void buf_addv(struct buf *b, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    size_t room = b->capacity - b->size;
    int n = vsnprintf(room ? (char *)b->data + b->size : NULL, room, format, args);
    assert(n >= 0);
    if ((size_t)n >= room)
        vsnprintf((char *)buf_reserve(b, (size_t)n + 1), (size_t)n + 1, format, again);
    va_end(again);
    b->size += (size_t)n;
}

void buf_consume(struct buf *b, size_t size)
{
    assert(size <= b->size);
    b->size -= size;
    if (b->size && size)
        memmove(b->data, b->data + size, b->size);
}

void buf_clear(struct buf *b)
{
    b->size = 0;
}

void buf_done(struct buf *b)
{
    mem_free(b->data);
    *b = (struct buf){0};
}

struct buf buf_move(struct buf *b)
{
    struct buf moved = *b;
    *b = (struct buf){0};
    return moved;
}

const char *buf_text(struct buf *b)
{
    *buf_reserve(b, 1) = 0;
    return (const char *)b->data;
}
