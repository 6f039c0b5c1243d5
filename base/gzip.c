/* SPDX-License-Identifier: Apache-2.0
 * gzip compression and decompression through zlib. See gzip.h. */
#include "base/gzip.h"

#include <assert.h>
#include <zlib.h>

#include "base/mem.h"

enum { WITH_GZIP_HEAD = 16 + MAX_WBITS };

/* --- compression ---------------------------------------------------------------------------------------- */

struct gzip_writer {
    z_stream z;
};

struct gzip_writer *gzip_writer_new(void)
{
    struct gzip_writer *g = mem_new(sizeof *g);
    /* The fastest level takes 10 ms for a MiB of text. The best one would make the output a tenth smaller. */
    int rc = deflateInit2(&g->z, Z_BEST_SPEED, Z_DEFLATED, WITH_GZIP_HEAD, 8, Z_DEFAULT_STRATEGY);
    assert(rc == Z_OK); /* else there is no memory */
    (void)rc;
    return g;
}

void gzip_writer_free(struct gzip_writer *g)
{
    if (!g)
        return;
    deflateEnd(&g->z);
    mem_free(g);
}

static void write_all(struct gzip_writer *g, struct slice in, int flush, struct buf *out)
{
    int rc;
    g->z.next_in = (Bytef *)(uintptr_t)in.data;
    g->z.avail_in = (uInt)in.size;
    do {
        g->z.next_out = buf_reserve(out, GZIP_STEP);
        g->z.avail_out = GZIP_STEP;
        rc = deflate(&g->z, flush);
        assert(rc != Z_STREAM_ERROR);
        out->size += GZIP_STEP - g->z.avail_out;
    } while (g->z.avail_in || (flush == Z_FINISH && rc != Z_STREAM_END));
}

void gzip_write(struct gzip_writer *g, struct slice in, struct buf *out)
{
    if (in.size)
        write_all(g, in, Z_NO_FLUSH, out);
}

void gzip_write_end(struct gzip_writer *g, struct buf *out)
{
    write_all(g, (struct slice){0}, Z_FINISH, out);
}

/* --- decompression -------------------------------------------------------------------------------------- */

struct gzip_reader {
    z_stream z;
    uint64_t limit, total; /* decompressed bytes of all gzip members */
    enum { BEFORE, INSIDE, BETWEEN, PADDING } state;
};

struct gzip_reader *gzip_reader_new(uint64_t limit)
{
    struct gzip_reader *g = mem_new(sizeof *g);
    int rc = inflateInit2(&g->z, WITH_GZIP_HEAD);
    assert(rc == Z_OK); /* else there is no memory */
    (void)rc;
    g->limit = limit;
    return g;
}

void gzip_reader_free(struct gzip_reader *g)
{
    if (!g)
        return;
    inflateEnd(&g->z);
    mem_free(g);
}

static int take_zeros(struct slice *in)
{
    for (; in->size; *in = slice_of(in->data + 1, in->size - 1))
        if (*in->data)
            return ERR_MALFORMED;
    return OK;
}

/* Reads on behind a gzip member: another member, zeros, or an error. */
static int begin_next(struct gzip_reader *g, const struct slice *in)
{
    g->state = *in->data == 0 ? PADDING : INSIDE;
    return g->state == INSIDE && inflateReset(&g->z) != Z_OK ? ERR_MALFORMED : OK;
}

int gzip_read(struct gzip_reader *g, struct slice *in, struct buf *out)
{
    if (in->size && g->state == BETWEEN) {
        int err = begin_next(g, in);
        if (err)
            return err;
    } else if (in->size && g->state == BEFORE) {
        g->state = INSIDE;
    }
    if (g->state == PADDING)
        return take_zeros(in);
    if (g->state != INSIDE)
        return OK;
    g->z.next_in = (Bytef *)(uintptr_t)in->data;
    g->z.avail_in = (uInt)in->size;
    g->z.next_out = buf_reserve(out, GZIP_STEP);
    g->z.avail_out = GZIP_STEP;
    int rc = inflate(&g->z, Z_NO_FLUSH);
    size_t made = GZIP_STEP - g->z.avail_out;
    out->size += made;
    g->total += made;
    *in = slice_of(g->z.next_in, g->z.avail_in);
    if (rc == Z_STREAM_END)
        g->state = BETWEEN;
    else if (rc != Z_OK && rc != Z_BUF_ERROR)
        return ERR_MALFORMED;
    return g->total > g->limit ? ERR_LIMIT : OK;
}

int gzip_read_end(const struct gzip_reader *g)
{
    return g->state == BETWEEN || g->state == PADDING ? OK : ERR_TRUNCATED;
}
