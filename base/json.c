/* SPDX-License-Identifier: Apache-2.0
 * jansson does the parsing; nesting is counted before, because jansson's own limit (2048) is fixed when it is
 * built. The writer is straight-line: each call adds its comma, then its text. */
#include "base/json.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/json_lex.h"
#include "base/text.h"

enum { JSON_DEPTH_MAX = 200 };

/* Deepest nesting of brackets outside strings. Malformed text may give any number; the parser decides. */
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

/* What a byte becomes inside a string: itself (0), a letter after a backslash, or \u00xx ('u'). */
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

void jw_string(struct json_writer *w, struct slice s)
{
    add_comma(w);
    buf_reserve(w->out, s.size + 2);
    buf_add_byte(w->out, '"');
    size_t plain = 0; /* start of what can be copied as it is */
    for (size_t i = 0; i < s.size;) {
        i += json_plain_size(s.data + i, s.size - i);
        if (i == s.size)
            break;
        uint8_t c = s.data[i];
        size_t n = 1;
        char escape = 0;
        if (c < 0x80)
            escape = escape_of(c);
        else
            n = utf8_length(slice_of(s.data + i, s.size - i));
        if (n && !escape) {
            i += n;
            continue;
        }
        buf_add(w->out, s.data + plain, i - plain);
        if (!n)
            buf_add_text(w->out, "\xef\xbf\xbd");
        else if (escape == 'u')
            buf_addf(w->out, "\\u%04x", c);
        else
            buf_add(w->out, (char[]){'\\', escape}, 2);
        plain = ++i;
    }
    if (plain < s.size)
        buf_add(w->out, s.data + plain, s.size - plain);
    buf_add_byte(w->out, '"');
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
