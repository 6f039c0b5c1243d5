/* SPDX-License-Identifier: Apache-2.0
 * gzip (RFC 1952), piece by piece in both directions; only zlib's window is held in memory. Pure except for
 * that state. This file and server/http/deflate.c are the only users of zlib. */
#ifndef BASE_GZIP_H
#define BASE_GZIP_H

#include "base/buf.h"
#include "base/err.h"

/* A writer whose output depends on the input alone: the header has no time and no name. */
struct gzip_writer;
struct gzip_writer *gzip_writer_new(void);
void gzip_writer_free(struct gzip_writer *g); /* NULL is fine */
/* appends the compressed bytes that are ready */
void gzip_write(struct gzip_writer *g, struct slice in, struct buf *out);
void gzip_write_end(struct gzip_writer *g, struct buf *out);

enum { GZIP_STEP = 64 * 1024 };
struct gzip_reader;
/* limit: maximum number of decompressed bytes, in all. */
struct gzip_reader *gzip_reader_new(uint64_t limit);
void gzip_reader_free(struct gzip_reader *g); /* NULL is fine */
/* Consumes the front of *in and appends at most GZIP_STEP bytes. It needs more input if it appended nothing
 * and *in is empty. Several gzip members in a row are one file; zeros may follow. ERR_MALFORMED: not gzip,
 * or damaged. ERR_LIMIT. */
MUST_CHECK int gzip_read(struct gzip_reader *g, struct slice *in, struct buf *out);
/* ERR_TRUNCATED: the last gzip member is incomplete. */
MUST_CHECK int gzip_read_end(const struct gzip_reader *g);

#endif
