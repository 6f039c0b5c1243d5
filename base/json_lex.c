/* SPDX-License-Identifier: Apache-2.0
 * Strings and numbers of JSON; see json_lex.h. Nothing is copied unless a string has escapes. */
#include "base/json_lex.h"

#include "base/text.h"

/* One escape at p (behind the backslash); returns where it ends, NULL if it is none. */
static const uint8_t *read_escape(struct buf *out, const uint8_t *p, const uint8_t *end)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (p >= end)
        return NULL;
    const char *simple = *p ? strchr(from, *p) : NULL;
    if (simple) {
        buf_add_byte(out, (uint8_t)to[simple - from]);
        return p + 1;
    }
    uint32_t code, low;
    if (*p != 'u' || !text_hex(p + 1, end, 4, &code))
        return NULL;
    p += 5;
    if (code >= 0xd800 && code < 0xe000) {
        if (code >= 0xdc00 || end - p < 6 || p[0] != '\\' || p[1] != 'u' || !text_hex(p + 2, end, 4, &low) ||
            low < 0xdc00 || low >= 0xe000)
            return NULL;
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    utf8_add(out, code);
    return p;
}

static const uint8_t *plain_end(const uint8_t *p, const uint8_t *end)
{
    while (p < end && *p != '"' && *p != '\\' && *p >= 0x20)
        p++;
    return p;
}

enum json_string_fault json_lex_string(const uint8_t *p, const uint8_t *end, struct buf *unescaped,
                                       struct slice *ret_string, const uint8_t **ret_at)
{
    const uint8_t *first = p + 1, *begin = first;
    p = plain_end(begin, end);
    struct slice s = {begin, (size_t)(p - begin)};
    if (p < end && *p == '\\') {
        buf_clear(unescaped);
        while (p < end && *p == '\\') {
            buf_add(unescaped, begin, (size_t)(p - begin));
            begin = read_escape(unescaped, p + 1, end);
            if (!begin) {
                *ret_at = p;
                return JSON_STRING_ESCAPE;
            }
            p = plain_end(begin, end);
        }
        buf_add(unescaped, begin, (size_t)(p - begin));
        s = buf_slice(unescaped);
    }
    *ret_at = p;
    if (p >= end)
        return JSON_STRING_ENDS;
    if (*p != '"')
        return JSON_STRING_CONTROL;
    if (!utf8_is_valid(s)) {
        *ret_at = first + utf8_valid_size(slice_of(first, (size_t)(p - first)));
        return JSON_STRING_UTF8;
    }
    *ret_at = p + 1;
    *ret_string = s;
    return JSON_STRING_FINE;
}

/* --- numbers ------------------------------------------------------------------------------- */

bool json_is_word(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '+' || c == '.' || c == '_';
}

static const uint8_t *digits_end(const uint8_t *p, const uint8_t *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

const uint8_t *json_lex_number(const uint8_t *p, const uint8_t *end)
{
    const uint8_t *q;
    if (p < end && *p == '-')
        p++;
    q = digits_end(p, end);
    if (q == p || (*p == '0' && q - p > 1))
        return NULL;
    p = q;
    if (p < end && *p == '.') {
        q = digits_end(++p, end);
        if (q == p)
            return NULL;
        p = q;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        q = digits_end(p, end);
        if (q == p)
            return NULL;
        p = q;
    }
    return p < end && json_is_word(*p) ? NULL : p;
}
