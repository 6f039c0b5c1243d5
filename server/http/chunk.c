/* SPDX-License-Identifier: Apache-2.0
 * Parser of the chunked transfer coding (RFC 9112, section 7.1). Pure. Strict: sizes are hex digits
 * without sign or blanks, and every line ends with CRLF. Extensions and trailers are skipped, within a
 * limit. */
#include "server/http/conn.h"

enum { LINE_BYTES_MAX = 4096, SIZE_DIGITS_MAX = 15 };

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Parses a byte of a size line; '\n' ends it. */
static int size_byte(struct http_chunks *p, uint8_t c)
{
    int digit = hex_digit(c);
    if (++p->line_bytes > LINE_BYTES_MAX)
        return ERR_MALFORMED;
    if (p->state == CHUNK_SIZE && digit >= 0 && p->digits < SIZE_DIGITS_MAX) {
        p->left = p->left << 4 | (unsigned)digit;
        p->digits++;
        return 0;
    }
    if (p->digits == 0 || (p->state == CHUNK_SIZE && c != ';' && c != '\r'))
        return ERR_MALFORMED;
    if (c == '\n') {
        p->state = p->left ? CHUNK_DATA : CHUNK_TRAILER;
        p->digits = p->line_bytes = 0;
        return 0;
    }
    p->state = CHUNK_EXTENSION;
    return 0;
}

/* Parses a byte of the trailer: lines up to an empty one. `digits` counts the bytes of the line. */
static int trailer_byte(struct http_chunks *p, uint8_t c)
{
    if (++p->line_bytes > LINE_BYTES_MAX)
        return ERR_MALFORMED;
    if (c == '\n') {
        if (p->digits == 0)
            p->state = CHUNK_DONE;
        p->digits = 0;
    } else if (c != '\r') {
        p->digits++;
    }
    return 0;
}

int http_chunk_next(struct http_chunks *p, struct slice *in, struct slice *ret_data)
{
    *ret_data = (struct slice){0};
    while (in->size && p->state != CHUNK_DONE) {
        uint8_t c = *in->data;
        int err = 0;
        if (p->state == CHUNK_DATA) {
            size_t n = p->left < in->size ? (size_t)p->left : in->size;
            *ret_data = slice_of(in->data, n);
            *in = slice_of(in->data + n, in->size - n);
            p->left -= n;
            if (p->left == 0)
                p->state = CHUNK_DATA_END;
            return 0;
        }
        if (p->state == CHUNK_DATA_END) {
            err = c == '\r' || c == '\n' ? 0 : ERR_MALFORMED;
            if (c == '\n')
                p->state = CHUNK_SIZE;
        } else if (p->state == CHUNK_TRAILER) {
            err = trailer_byte(p, c);
        } else {
            err = size_byte(p, c);
        }
        if (err)
            return err;
        *in = slice_of(in->data + 1, in->size - 1);
    }
    return 0;
}
