/* SPDX-License-Identifier: Apache-2.0
 * Writers and the reader of small binary messages. See wire.h. */
#include "base/wire.h"

void wire_add_u32(struct buf *out, size_t value)
{
    put_be32(buf_reserve(out, 4), (uint32_t)value);
    out->size += 4;
}

void wire_add_u64(struct buf *out, uint64_t value)
{
    put_be64(buf_reserve(out, 8), value);
    out->size += 8;
}

void wire_add_text(struct buf *out, struct slice text)
{
    wire_add_u32(out, text.size);
    buf_add_slice(out, text);
}

static const uint8_t *base_wire_take(struct wire_reader *r, size_t size)
{
    if (r->is_bad || r->rest.size < size) {
        r->is_bad = true;
        return NULL;
    }
    const uint8_t *at = r->rest.data;
    r->rest = slice_of(at + size, r->rest.size - size);
    return at;
}

struct wire_reader wire_begin(struct slice bytes, uint8_t version)
{
    struct wire_reader r = {bytes, false};
    const uint8_t *at = base_wire_take(&r, 1);
    if (at && *at != version)
        r.is_bad = true;
    return r;
}

uint32_t wire_u32(struct wire_reader *r)
{
    const uint8_t *at = base_wire_take(r, 4);
    return at ? get_be32(at) : 0;
}

uint64_t wire_u64(struct wire_reader *r)
{
    const uint8_t *at = base_wire_take(r, 8);
    return at ? get_be64(at) : 0;
}

struct slice wire_text(struct wire_reader *r)
{
    size_t size = wire_u32(r);
    const uint8_t *at = base_wire_take(r, size);
    return at ? slice_of(at, size) : (struct slice){0};
}

size_t wire_count(struct wire_reader *r, size_t size_min)
{
    size_t count = wire_u32(r);
    if (count > r->rest.size / size_min)
        r->is_bad = true;
    return r->is_bad ? 0 : count;
}

int wire_end(const struct wire_reader *r)
{
    return r->is_bad || r->rest.size ? ERR_MALFORMED : OK;
}
