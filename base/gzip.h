/* SPDX-License-Identifier: Apache-2.0
 * gzip (RFC 1952), piece by piece in both directions: nothing is held but zlib's window. Pure but for that
 * state; with server/http/deflate.c the only doors to zlib. */
#ifndef BASE_GZIP_H
#define BASE_GZIP_H

#include "base/buf.h"
#include "base/err.h"

/* The same bytes in give the same bytes out: no time, no name. */
struct gzip_writer;
struct gzip_writer *gzip_writer_new(void);
void gzip_writer_free(struct gzip_writer *g);                             /* NULL is fine */
void gzip_write(struct gzip_writer *g, struct slice in, struct buf *out); /* out gets what is ready */
void gzip_write_end(struct gzip_writer *g, struct buf *out);

enum { GZIP_STEP = 64 * 1024 };
struct gzip_reader;
/* limit: bytes that may come out, in all. */
struct gzip_reader *gzip_reader_new(uint64_t limit);
void gzip_reader_free(struct gzip_reader *g); /* NULL is fine */
/* Consumes the front of *in and appends at most GZIP_STEP bytes; nothing appended and nothing left of *in:
 * more input is needed. Several gzip files behind each other are one, zeros may follow. ERR_MALFORMED: no
 * gzip, or a damaged one; ERR_LIMIT. */
MUST_CHECK int gzip_read(struct gzip_reader *g, struct slice *in, struct buf *out);
/* ERR_TRUNCATED: the last one is not whole. */
MUST_CHECK int gzip_read_end(const struct gzip_reader *g);

#endif
