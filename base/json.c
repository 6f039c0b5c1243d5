/* SPDX-License-Identifier: Apache-2.0
 * JSON parser and writer. jansson parses. The nesting is counted before, because jansson's own limit (2048)
 * is fixed when it is built. Each call of the writer adds its comma, then its text. */
#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json_lex.h"
#include "base/text.h"

enum { JSON_DEPTH_MAX = 200 };

/* True if brackets outside strings are nested too deep. The result for malformed text is arbitrary: the
 * parser rejects it. */
static bool is_too_deep(struct slice text, unsigned *ret_line, unsigned *ret_column)
{
    unsigned depth = 0, line = 1;
    size_t line_start = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '\n') {
            line++;
            line_start = i + 1;
        } else if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = false;
        } else if (c == '"') {
            in_string = true;
        } else if (c == '[' || c == '{') {
            if (++depth > JSON_DEPTH_MAX) {
                *ret_line = line;
                *ret_column = (unsigned)(i - line_start) + 1;
                return true;
            }
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return false;
}

int json_parse(struct slice text, json_t **ret_root, char *error, size_t error_size)
{
    unsigned line, column;
    if (is_too_deep(text, &line, &column)) {
        snprintf(error, error_size, "line %u, column %u: nested deeper than %d levels", line, column,
                 JSON_DEPTH_MAX);
        return ERR_MALFORMED;
    }
    json_error_t e;
    const char *data = text.size ? (const char *)text.data : "";
    json_t *root = json_loadb(data, text.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY, &e);
    if (!root) {
        snprintf(error, error_size, "line %d, column %d: %.100s", e.line, e.column, e.text);
        return ERR_MALFORMED;
    }
    *ret_root = root;
    return OK;
}

/* --- writer ---------------------------------------------------------------------------------- */

static void add_comma(struct json_writer *w)
{
    if (w->needs_comma)
        buf_add_byte(w->out, ',');
    w->needs_comma = true;
}

void jw_open(struct json_writer *w, char bracket)
{
    add_comma(w);
    buf_add_byte(w->out, (uint8_t)bracket);
    w->needs_comma = false;
}

void jw_close(struct json_writer *w, char bracket)
{
    buf_add_byte(w->out, (uint8_t)bracket);
    w->needs_comma = true;
}

void jw_key(struct json_writer *w, const char *key)
{
    jw_text(w, key);
    buf_add_byte(w->out, ':');
    w->needs_comma = false;
}

/* The form of a byte inside a string: itself (0), a letter after a backslash, or \u00xx ('u'). */
static char escape_of(uint8_t c)
{
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return c < 0x20 || c == 0x7f ? 'u' : 0;
    }
}

/* Appends bytes that need an escape, and whole characters after them, from the start of s. Returns the
 * number of bytes of s that it used. */
static size_t add_escapes(struct buf *out, struct slice s)
{
    enum { AT_ONCE = 1024, ESCAPE_SIZE = 6 };
    static const char digits[] = "0123456789abcdef";
    size_t end = s.size < AT_ONCE ? s.size : AT_ONCE, at = 0;
    uint8_t *first = buf_reserve(out, end * ESCAPE_SIZE), *to = first;
    while (at < end) {
        uint8_t c = s.data[at];
        char escape = c < 0x80 ? escape_of(c) : 0;
        size_t n = c < 0x80 ? 1 : utf8_length(slice_of(s.data + at, s.size - at));
        if (c < 0x80 && !escape)
            break;
        if (!n || at + n > AT_ONCE) {
            if (n) /* cut by AT_ONCE: the next call takes it */
                break;
            memcpy(to, "\xef\xbf\xbd", 3);
            to += 3;
            n = 1;
        } else if (!escape) {
            memcpy(to, s.data + at, n);
            to += n;
        } else {
            *to++ = '\\';
            *to++ = (uint8_t)escape;
            if (escape == 'u') {
                *to++ = '0';
                *to++ = '0';
                *to++ = (uint8_t)digits[c >> 4];
                *to++ = (uint8_t)digits[c & 15];
            }
        }
        at += n;
    }
    out->size += (size_t)(to - first);
    return at;
}

/* Most strings need no escape: one reservation for them. */
void jw_string(struct json_writer *w, struct slice s)
{
    size_t at = json_plain_size(s.data, s.size);
    uint8_t *first = buf_reserve(w->out, s.size + 3), *to = first;
    if (w->needs_comma)
        *to++ = ',';
    w->needs_comma = true;
    *to++ = '"';
    if (at)
        memcpy(to, s.data, at);
    to += at;
    if (at == s.size)
        *to++ = '"';
    w->out->size += (size_t)(to - first);
    if (at == s.size)
        return;
    while (at < s.size) {
        at += add_escapes(w->out, slice_of(s.data + at, s.size - at));
        size_t plain = json_plain_size(s.data + at, s.size - at);
        buf_add(w->out, s.data + at, plain);
        at += plain;
    }
    buf_add_byte(w->out, '"');
}

size_t json_string_size(struct slice s)
{
    size_t size = s.size + 2;
    for (size_t at = 0; at < s.size;) {
        at += json_plain_size(s.data + at, s.size - at);
        for (; at < s.size && (s.data[at] >= 0x80 || escape_of(s.data[at])); at++)
            if (s.data[at] < 0x80)
                size += escape_of(s.data[at]) == 'u' ? 5 : 1;
    }
    return size;
}

void jw_text(struct json_writer *w, const char *text)
{
    jw_string(w, slice_text(text));
}

void jw_int(struct json_writer *w, int64_t v)
{
    add_comma(w);
    text_add_i64(w->out, v);
}

void jw_uint(struct json_writer *w, uint64_t v)
{
    add_comma(w);
    text_add_u64(w->out, v);
}

void jw_int_string(struct json_writer *w, int64_t v)
{
    add_comma(w);
    buf_add_byte(w->out, '"');
    text_add_i64(w->out, v);
    buf_add_byte(w->out, '"');
}

void jw_uint_string(struct json_writer *w, uint64_t v)
{
    add_comma(w);
    buf_add_byte(w->out, '"');
    text_add_u64(w->out, v);
    buf_add_byte(w->out, '"');
}

void jw_base64(struct json_writer *w, struct slice s)
{
    add_comma(w);
    buf_add_byte(w->out, '"');
    base64_encode(w->out, s);
    buf_add_byte(w->out, '"');
}

void jw_bool(struct json_writer *w, bool v)
{
    add_comma(w);
    buf_add_text(w->out, v ? "true" : "false");
}

void jw_raw(struct json_writer *w, struct slice s)
{
    add_comma(w);
    buf_add_slice(w->out, s);
}
