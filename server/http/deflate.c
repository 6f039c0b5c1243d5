/* SPDX-License-Identifier: Apache-2.0
 * Compression of WebSocket messages; see deflate.h. */
#include "server/http/deflate.h"

#include <assert.h>
#include <strings.h>
#include <zlib.h>

#include "base/mem.h"

enum { STEP_BYTES = 16 * 1024 };

struct deflater {
    z_stream in, out;
    bool has_in, has_out;
};

static struct deflater *made(struct deflater **d)
{
    if (!*d)
        *d = mem_new(sizeof **d);
    return *d;
}

void deflater_free(struct deflater *d)
{
    if (!d)
        return;
    if (d->has_in)
        inflateEnd(&d->in);
    if (d->has_out)
        deflateEnd(&d->out);
    mem_free(d);
}

/* --- in ---------------------------------------------------------------------------------------------- */

static z_stream *unpacker(struct deflater *d)
{
    int rc = d->has_in ? inflateReset(&d->in) : inflateInit2(&d->in, -MAX_WBITS);
    assert(rc == Z_OK); /* else there is no memory */
    (void)rc;
    d->has_in = true;
    return &d->in;
}

/* One piece of input, to its end. */
static int unpack_piece(z_stream *z, struct slice in, size_t limit, struct buf *out)
{
    z->next_in = (Bytef *)(uintptr_t)in.data;
    z->avail_in = (uInt)in.size;
    for (;;) {
        size_t room = limit - out->size + 1; /* one byte more, to notice a message over the limit */
        room = room < STEP_BYTES ? room : STEP_BYTES;
        z->next_out = buf_reserve(out, room);
        z->avail_out = (uInt)room;
        int rc = inflate(z, Z_SYNC_FLUSH);
        out->size += room - z->avail_out;
        if (out->size > limit)
            return ERR_LIMIT;
        if (rc == Z_STREAM_END) /* a block marked as the last; others may follow (RFC 7692, 7.2.3.4) */
            rc = z->avail_in ? inflateReset(z) : Z_BUF_ERROR;
        if (rc == Z_BUF_ERROR || (rc == Z_OK && z->avail_in == 0 && z->avail_out > 0))
            return 0;
        if (rc != Z_OK)
            return ERR_MALFORMED;
    }
}

int deflate_unpack(struct deflater **d, struct slice in, size_t limit, struct buf *out)
{
    static const uint8_t marker[] = {0, 0, 0xff, 0xff};
    z_stream *z = unpacker(made(d));
    limit += out->size;
    int err = unpack_piece(z, in, limit, out);
    if (!err)
        err = unpack_piece(z, slice_of(marker, sizeof marker), limit, out);
    return err;
}

/* --- out --------------------------------------------------------------------------------------------- */

void deflate_pack(struct deflater **d, struct slice in, struct buf *out)
{
    struct deflater *state = made(d);
    z_stream *z = &state->out;
    int rc = state->has_out
                 ? deflateReset(z)
                 : deflateInit2(z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    assert(rc == Z_OK);
    (void)rc;
    state->has_out = true;
    z->next_in = (Bytef *)(uintptr_t)in.data;
    z->avail_in = (uInt)in.size;
    do {
        z->next_out = buf_reserve(out, STEP_BYTES);
        z->avail_out = STEP_BYTES;
        deflate(z, Z_SYNC_FLUSH);
        out->size += STEP_BYTES - z->avail_out;
    } while (z->avail_out == 0);
    assert(out->size >= 4);
    out->size -= 4; /* the empty block's length, which the reader puts back */
}

void deflate_stored_head(uint8_t head[DEFLATE_STORED_HEAD], size_t size)
{
    assert(size <= 0xffff);
    head[0] = 0; /* not the last block; stored */
    head[1] = (uint8_t)size;
    head[2] = (uint8_t)(size >> 8);
    head[3] = (uint8_t)~head[1];
    head[4] = (uint8_t)~head[2];
}

/* --- negotiation ------------------------------------------------------------------------------------- */

static struct slice deflate_trim(struct slice s)
{
    while (s.size && (*s.data == ' ' || *s.data == '\t'))
        s = slice_of(s.data + 1, s.size - 1);
    while (s.size && (s.data[s.size - 1] == ' ' || s.data[s.size - 1] == '\t'))
        s.size--;
    return s;
}

/* Takes the piece before the next mark, and the mark, off the front. */
static struct slice take_until(struct slice *s, char mark)
{
    const uint8_t *end = s->size ? memchr(s->data, mark, s->size) : NULL;
    size_t n = end ? (size_t)(end - s->data) : s->size;
    struct slice piece = slice_of(s->data, n);
    n += end != NULL;
    *s = slice_of(s->data + n, s->size - n);
    return deflate_trim(piece);
}

static bool is_name(struct slice s, const char *name)
{
    return s.size == strlen(name) && strncasecmp((const char *)s.data, name, s.size) == 0;
}

static struct slice unquote(struct slice s)
{
    return s.size >= 2 && s.data[0] == '"' && s.data[s.size - 1] == '"' ? slice_of(s.data + 1, s.size - 2)
                                                                        : s;
}

/* "8" to "15", without leading zeros; 0 = none of them. */
static unsigned window_bits(struct slice s)
{
    s = unquote(s);
    if (s.size == 1 && s.data[0] >= '8' && s.data[0] <= '9')
        return (unsigned)(s.data[0] - '0');
    return s.size == 2 && s.data[0] == '1' && s.data[1] >= '0' && s.data[1] <= '5' ? 10u + s.data[1] - '0'
                                                                                   : 0;
}

static bool can_take(struct slice offer)
{
    static const char *const names[] = {"server_no_context_takeover", "client_no_context_takeover",
                                        "server_max_window_bits", "client_max_window_bits"};
    unsigned seen = 0;
    if (!is_name(take_until(&offer, ';'), "permessage-deflate"))
        return false;
    while (offer.size) {
        struct slice value = take_until(&offer, ';');
        bool has_value = value.size && memchr(value.data, '=', value.size);
        struct slice name = take_until(&value, '=');
        unsigned i = 0;
        while (i < 4 && !is_name(name, names[i]))
            i++;
        if (i == 4 || (seen & 1u << i) || (i < 2 && has_value))
            return false;
        seen |= 1u << i;
        if (i == 2 && window_bits(value) != MAX_WBITS)
            return false;
        if (i == 3 && has_value && !window_bits(value))
            return false;
    }
    return true;
}

bool deflate_is_offered(struct slice extensions)
{
    while (extensions.size)
        if (can_take(take_until(&extensions, ',')))
            return true;
    return false;
}
