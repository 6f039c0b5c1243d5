/* SPDX-License-Identifier: Apache-2.0
 * Tokens of a JSON text (RFC 8259), read in place. Strings must be UTF-8. It copies nothing unless a string
 * has escapes, and does not know messages (json_read.c). */
#include "proto/json_token.h"

#include <stdio.h>

#include "base/json_lex.h"
#include "proto/json.h"

/* Words an error. It counts line and column (in characters) only here, because errors are rare. */
int json_fail(struct json_reader *r, const uint8_t *where, bool is_syntax, const char *format, ...)
{
    size_t line = 1, column = 1;
    for (const uint8_t *p = r->start; p < where; p++) {
        if (*p == '\n') {
            line++;
            column = 1;
        } else if ((*p & 0xc0) != 0x80) {
            column++;
        }
    }
    int n = snprintf(r->error, r->error_size, "proto: %s(line %zu:%zu): ", is_syntax ? "syntax error " : "",
                     line, column);
    if (n < 0 || (size_t)n >= r->error_size)
        return ERR_MALFORMED;
    va_list args;
    va_start(args, format);
    vsnprintf(r->error + n, r->error_size - (size_t)n, format, args);
    va_end(args);
    return ERR_MALFORMED;
}

struct json_quote json_quote(const struct json_reader *r, const uint8_t *where)
{
    struct json_quote t = {0};
    size_t n = 0;
    bool is_string = where < r->end && *where == '"';
    for (const uint8_t *p = where; p < r->end && n < sizeof t.text - 1; p++) {
        if (*p < 0x20 || *p >= 0x7f || (!is_string && p > where && !json_is_word(*p)))
            break;
        t.text[n++] = (char)*p;
        if (is_string ? p > where && *p == '"' : !json_is_word(*p))
            break;
    }
    return t;
}

int json_fail_token(struct json_reader *r)
{
    if (r->at < r->end)
        return json_fail(r, r->at, true, "unexpected token %s", json_quote(r, r->at).text);
    snprintf(r->error, r->error_size, "unexpected EOF");
    return ERR_MALFORMED;
}

uint8_t json_peek(struct json_reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        r->at++;
    return r->at < r->end ? *r->at : 0;
}

int json_expect(struct json_reader *r, uint8_t c)
{
    if (json_peek(r) != c)
        return json_fail_token(r);
    r->at++;
    return 0;
}

bool json_take_word(struct json_reader *r, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0)
        return false;
    if (r->at + n < r->end && json_is_word(r->at[n]))
        return false;
    r->at += n;
    return true;
}

/* --- strings ------------------------------------------------------------------------------ */

int json_read_string(struct json_reader *r, struct slice *ret_string)
{
    if (json_peek(r) != '"')
        return json_fail_token(r);
    const uint8_t *at;
    switch (json_lex_string(r->at, r->end, &r->unescaped, ret_string, &at)) {
    case JSON_STRING_FINE:
        r->at = at;
        return 0;
    case JSON_STRING_ENDS:
        r->at = r->end;
        return json_fail_token(r);
    case JSON_STRING_CONTROL:
        return json_fail(r, at, true, "invalid character in string");
    case JSON_STRING_ESCAPE:
        return json_fail(r, at, true, "invalid escape in string");
    case JSON_STRING_UTF8:
        break;
    }
    return json_fail(r, r->at, true, "invalid UTF-8 in string");
}

/* --- numbers ------------------------------------------------------------------------------- */

/* Computes the exact value of a well-formed number, if it is whole. */
static int parse_integer(struct slice s, struct json_integer *ret_integer)
{
    const uint8_t *p = s.data, *end = s.data + s.size;
    struct json_integer v = {0};
    if (*p == '-') {
        v.is_negative = true;
        p++;
    }
    const uint8_t *exponent = p;
    long point = 0, shift = 0; /* digits before the point as written; the exponent moves it */
    while (exponent < end && *exponent != 'e' && *exponent != 'E')
        exponent++;
    while (p + point < exponent && p[point] != '.')
        point++;
    if (exponent < end) {
        for (const uint8_t *q = exponent + 1; q < end; q++)
            if (*q >= '0' && *q <= '9' && shift < 1000000)
                shift = shift * 10 + (*q - '0');
        if (exponent[1] == '-')
            shift = -shift;
    }
    long whole = point + shift, at = 0;
    for (; p < exponent; p++) {
        if (*p == '.')
            continue;
        uint64_t digit = (uint64_t)(*p - '0');
        if (at++ >= whole) {
            if (digit)
                return ERR_MALFORMED;
        } else if (__builtin_mul_overflow(v.magnitude, 10u, &v.magnitude) ||
                   __builtin_add_overflow(v.magnitude, digit, &v.magnitude)) {
            return ERR_MALFORMED;
        }
    }
    for (; at < whole && v.magnitude; at++)
        if (__builtin_mul_overflow(v.magnitude, 10u, &v.magnitude))
            return ERR_MALFORMED;
    *ret_integer = v;
    return 0;
}

int json_read_integer(struct json_reader *r, struct json_integer *ret_integer)
{
    struct slice s;
    if (json_peek(r) == '"') {
        int err = json_read_string(r, &s);
        if (err)
            return err;
    } else {
        const uint8_t *end = json_lex_number(r->at, r->end);
        s = slice_of(r->at, end ? (size_t)(end - r->at) : 0);
        r->at += s.size;
    }
    if (s.size == 0 || json_lex_number(s.data, s.data + s.size) != s.data + s.size)
        return ERR_MALFORMED;
    return parse_integer(s, ret_integer);
}

/* --- ignored values ---------------------------------------------------------------------- */

static int skip_members(struct json_reader *r, uint8_t last)
{
    struct slice key;
    if (json_peek(r) == last) {
        r->at++;
        return 0;
    }
    for (;;) {
        int err = 0;
        if (last == '}' && ((err = json_read_string(r, &key)) || (err = json_expect(r, ':'))))
            return err;
        if ((err = json_skip_value(r)))
            return err;
        if (json_peek(r) != ',')
            return json_expect(r, last);
        r->at++;
    }
}

int json_skip_value(struct json_reader *r)
{
    struct slice s;
    uint8_t first = json_peek(r);
    if (first == '"')
        return json_read_string(r, &s);
    if (first == '{' || first == '[') {
        if (++r->depth > JSON_DEPTH_MAX)
            return json_fail(r, r->at, false, "exceeded max recursion depth");
        r->at++;
        int err = skip_members(r, first == '{' ? '}' : ']');
        r->depth--;
        return err;
    }
    if (json_take_word(r, "true") || json_take_word(r, "false") || json_take_word(r, "null"))
        return 0;
    const uint8_t *end = json_lex_number(r->at, r->end);
    if (!end)
        return json_fail_token(r);
    r->at = end;
    return 0;
}
