/* SPDX-License-Identifier: Apache-2.0
 * Checks, encoding and decoding of names. See name.h. */
#include "base/name.h"

#include <stdio.h>

#include "base/text.h"

int name_check(struct slice name, size_t max, const char *what, char *error, size_t error_size)
{
    const char *wrong = NULL;
    if (name.size == 0)
        wrong = "is empty";
    else if (name.size > max)
        wrong = "is too long";
    else if (!utf8_is_valid(name))
        wrong = "is not valid UTF-8";
    else if (slice_equal(name, slice_text(".")) || slice_equal(name, slice_text("..")))
        wrong = "must not be \".\" or \"..\"";
    for (size_t i = 0; !wrong && i < name.size; i++)
        if (name.data[i] < 0x20 || name.data[i] == 0x7f || name.data[i] == '/')
            wrong = "holds a '/' or a control character";
    if (!wrong)
        return OK;
    snprintf(error, error_size, "%s %s (1 to %zu bytes of UTF-8 without '/')", what, wrong, max);
    return ERR_INVALID;
}

static bool must_encode(uint8_t c)
{
    return c == '/' || c == '%' || c < 0x20 || c == 0x7f;
}

void name_add_segment(struct buf *out, struct slice name)
{
    size_t plain = 0; /* where the bytes begin that are not added yet */
    for (size_t i = 0; i < name.size; i++) {
        if (!must_encode(name.data[i]))
            continue;
        buf_add(out, name.data + plain, i - plain);
        buf_addf(out, "%%%02X", name.data[i]);
        plain = i + 1;
    }
    if (plain < name.size)
        buf_add(out, name.data + plain, name.size - plain);
}

/* Accepts only the encoding of name_add_segment, so that each name has one key. */
static int decode_segment(struct slice segment, struct buf *scratch)
{
    uint8_t *out = buf_reserve(scratch, segment.size);
    for (size_t i = 0; i < segment.size; i++) {
        uint8_t c = segment.data[i];
        if (c == '%') {
            static const char digits[] = "0123456789ABCDEF";
            if (segment.size - i < 3)
                return ERR_MALFORMED;
            const char *high = memchr(digits, segment.data[i + 1], 16),
                       *low = memchr(digits, segment.data[i + 2], 16);
            if (!high || !low)
                return ERR_MALFORMED;
            c = (uint8_t)((high - digits) << 4 | (low - digits));
            if (!must_encode(c))
                return ERR_MALFORMED;
            i += 2;
        } else if (must_encode(c)) {
            return ERR_MALFORMED;
        }
        *out++ = c;
    }
    scratch->size = (size_t)(out - scratch->data);
    return segment.size ? OK : ERR_MALFORMED;
}

int name_parse_segments(struct slice text, size_t count, struct buf *scratch, struct slice *ret_names)
{
    /* A decoded name is at most as long as its segment, so scratch never moves. */
    buf_clear(scratch);
    buf_reserve(scratch, text.size);
    for (size_t i = 0; i < count; i++) {
        const uint8_t *end = text.size ? memchr(text.data, '/', text.size) : NULL;
        if ((i + 1 == count) != (end == NULL))
            return ERR_MALFORMED;
        size_t size = end ? (size_t)(end - text.data) : text.size, start = scratch->size;
        int err = decode_segment(slice_of(text.data, size), scratch);
        if (err)
            return err;
        ret_names[i] = slice_of(scratch->data + start, scratch->size - start);
        if (end)
            text = slice_of(end + 1, text.size - size - 1);
    }
    return OK;
}

void name_add_hex16(struct buf *out, uint64_t value)
{
    buf_addf(out, "%016llx", (unsigned long long)value);
}

int name_parse_hex16(struct slice text, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (text.size != 16)
        return ERR_MALFORMED;
    for (size_t i = 0; i < 16; i++) {
        uint8_t c = text.data[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return ERR_MALFORMED;
        value = value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *ret_value = value;
    return OK;
}

bool name_take_prefix(struct slice *rest, const char *prefix)
{
    size_t n = strlen(prefix);
    if (rest->size <= n || memcmp(rest->data, prefix, n) != 0)
        return false;
    *rest = slice_of(rest->data + n, rest->size - n);
    return true;
}
