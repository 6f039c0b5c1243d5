/* SPDX-License-Identifier: Apache-2.0
 * Lexer for JSON strings and numbers. See json_lex.h. It copies nothing unless a string has escapes. */
#include "base/json_lex.h"

#include <string.h>

#include "base/text.h"

/* Tests of eight bytes at once. The highest bit of each byte of the result is set if the byte is zero,
 * below n, or not ASCII. Bytes above the first hit may be marked wrongly. */
#define EACH(byte)         (0x0101010101010101u * (byte))
#define HAS_ZERO(word)     (((word)-EACH(1)) & ~(word))
#define HAS_BELOW(word, n) (((word)-EACH(n)) & ~(word))
#define HIGHEST            EACH(0x80)

static bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

size_t json_plain_size(const uint8_t *p, size_t size)
{
    size_t at = 0;
    for (uint64_t word; size - at >= sizeof word; at += sizeof word) {
        memcpy(&word, p + at, sizeof word);
        uint64_t found = word | HAS_BELOW(word, 0x20) | HAS_ZERO(word ^ EACH('"')) |
                         HAS_ZERO(word ^ EACH('\\')) | HAS_ZERO(word ^ EACH(0x7f));
        if (found & HIGHEST) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ /* the first byte is the lowest */
            return at + (size_t)__builtin_ctzll(found & HIGHEST) / 8;
#else
            break;
#endif
        }
    }
    while (at < size && is_plain(p[at]))
        at++;
    return at;
}

/* Reads one escape at p (behind the backslash). Returns the position behind it; NULL: not an escape. */
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

/* DEL and what is not ASCII are allowed. */
static const uint8_t *plain_end(const uint8_t *p, const uint8_t *end, bool *is_ascii)
{
    for (;;) {
        p += json_plain_size(p, (size_t)(end - p));
        if (p == end || *p == '"' || *p == '\\' || *p < 0x20)
            return p;
        *is_ascii = *is_ascii && *p < 0x80;
        p++;
    }
}

enum json_string_fault json_lex_string(const uint8_t *p, const uint8_t *end, struct buf *unescaped,
                                       struct slice *ret_string, const uint8_t **ret_at)
{
    const uint8_t *first = p + 1, *begin = first;
    bool is_ascii = true;
    p = plain_end(begin, end, &is_ascii);
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
            p = plain_end(begin, end, &is_ascii);
        }
        buf_add(unescaped, begin, (size_t)(p - begin));
        s = buf_slice(unescaped);
    }
    *ret_at = p;
    if (p >= end)
        return JSON_STRING_ENDS;
    if (*p != '"')
        return JSON_STRING_CONTROL;
    if (!is_ascii && !utf8_is_valid(s)) { /* escapes give valid UTF-8 only */
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

bool json_has_more_values(struct slice text, size_t max)
{
    size_t count = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.size && count <= max; i++) {
        uint8_t c = text.data[i];
        if (c == '"')
            in_string = !in_string;
        else if (in_string)
            i += c == '\\';
        else
            count += c == ',' || c == '[' || c == '{';
    }
    return count > max;
}

/* --- fields ------------------------------------------------------------------------------------- */

const uint8_t *json_skip_blanks(const uint8_t *p, const uint8_t *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

const uint8_t *json_lex_value_end(const uint8_t *p, const uint8_t *end, struct buf *scratch)
{
    struct slice string;
    for (size_t depth = 0; p < end;) {
        if (*p == '"') {
            if (json_lex_string(p, end, scratch, &string, &p) != JSON_STRING_FINE)
                return NULL;
            continue;
        }
        bool does_close = *p == '}' || *p == ']';
        if (!depth && (*p == ',' || does_close))
            return p;
        depth += *p == '{' || *p == '[';
        depth -= does_close;
        p++;
    }
    return NULL;
}

const uint8_t *json_find_value(struct slice text, const char *name, struct buf *scratch)
{
    const struct slice wanted = slice_text(name);
    const uint8_t *end = text.data + text.size, *p = json_skip_blanks(text.data, end);
    if (p == end || *p != '{')
        return NULL;
    do {
        struct slice key;
        p = json_skip_blanks(p + 1, end);
        if (p == end || *p != '"' || json_lex_string(p, end, scratch, &key, &p) != JSON_STRING_FINE)
            return NULL;
        bool is_wanted = slice_equal(key, wanted);
        p = json_skip_blanks(p, end);
        if (p == end || *p != ':')
            return NULL;
        p = json_skip_blanks(p + 1, end);
        if (is_wanted)
            return p;
        p = json_lex_value_end(p, end, scratch);
    } while (p && *p == ',');
    return NULL;
}

bool json_find_string(struct slice text, const char *name, struct buf *unescaped, struct slice *ret_string,
                      size_t *ret_from, size_t *ret_to)
{
    const uint8_t *end = text.data + text.size, *from = json_find_value(text, name, unescaped), *to;
    if (!from || from == end || *from != '"' ||
        json_lex_string(from, end, unescaped, ret_string, &to) != JSON_STRING_FINE)
        return false;
    *ret_from = (size_t)(from - text.data);
    *ret_to = (size_t)(to - text.data);
    return true;
}
