/* SPDX-License-Identifier: Apache-2.0
 * Java's .properties, as java.util.Properties.load(Reader) reads them:
 *   - comments begin with # or !
 *   - `=`, `:` or a blank follows the key
 *   - a backslash before a line's end continues the line
 *   - \uXXXX is a UTF-16 unit
 *
 * Java refuses only a malformed \uXXXX. Here a repeated key is refused too (Java silently keeps the last
 * one), and a byte order mark (Java makes it part of the first key). The text is UTF-8; only Java's
 * load(InputStream) reads another encoding.
 *
 * As in Java, a logical line is put together first and its escapes are read afterwards: an escape may
 * continue after a line continuation. */
#include "base/mem.h"
#include "base/text.h"
#include "config/format/check.h"
#include "config/format/properties.h"

struct properties {
    struct check check;
    struct slice text;
    size_t at;
    struct buf line;   /* the logical line, without comments and continuations */
    struct buf pieces; /* struct piece, in order: its place in the text */
    struct buf key, value;
};

struct piece {
    size_t at, offset; /* of its first byte, in the line and in the text */
};

static bool format_properties_is_blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\f';
}

static bool is_end(uint8_t c)
{
    return c == '\n' || c == '\r';
}

static void skip_to_end(struct properties *p)
{
    while (p->at < p->text.size && !is_end(p->text.data[p->at]))
        p->at++;
}

/* Takes the bytes up to the end of the line. */
static void take_bytes(struct properties *p)
{
    struct piece piece = {p->line.size, p->at};
    skip_to_end(p);
    buf_add(&p->line, p->text.data + piece.offset, p->at - piece.offset);
    buf_add(&p->pieces, &piece, sizeof piece);
}

static size_t offset_in_text(const struct properties *p, size_t at)
{
    struct piece piece = {0}, next;
    if (at >= p->line.size)
        return p->text.size;
    for (size_t i = 0; i < p->pieces.size; i += sizeof next) {
        memcpy(&next, p->pieces.data + i, sizeof next);
        if (next.at > at)
            break;
        piece = next;
    }
    return piece.offset + (at - piece.at);
}

/* An odd number of backslashes at its end continues the line: the last one is not part of it. */
static bool drop_backslash(struct properties *p)
{
    size_t n = 0;
    while (n < p->line.size && p->line.data[p->line.size - 1 - n] == '\\')
        n++;
    if (n % 2 == 0)
        return false;
    p->line.size--;
    return true;
}

/* Takes the next line that is not blank or a comment; false at the end. */
static bool next_line(struct properties *p)
{
    bool is_continued = false, at_begin = true;
    buf_clear(&p->line);
    buf_clear(&p->pieces);
    while (p->at < p->text.size) {
        uint8_t c = p->text.data[p->at];
        if (at_begin && (format_properties_is_blank(c) || (is_end(c) && !is_continued))) {
            p->at++;
            continue;
        }
        at_begin = is_continued = false;
        if (p->line.size == 0 && (c == '#' || c == '!')) {
            skip_to_end(p);
            at_begin = true;
        } else if (!is_end(c)) {
            take_bytes(p);
        } else if (p->line.size == 0) {
            p->at++;
            at_begin = true;
        } else {
            bool is_last =
                p->at + 1 == p->text.size; /* there is nothing to continue: a line even if it is empty */
            p->at += c == '\r' && !is_last && p->text.data[p->at + 1] == '\n' ? 2 : 1;
            if (!drop_backslash(p) || is_last)
                return true;
            at_begin = is_continued = true;
        }
    }
    bool is_line = p->line.size > 0;
    drop_backslash(p);
    return is_line;
}

/* The first half of a surrogate pair is stored as three bytes, invalid in UTF-8, until the second half
 * comes. */
static void add_unit(struct buf *out, uint32_t unit)
{
    uint8_t *last = out->size >= 3 ? out->data + out->size - 3 : NULL;
    bool is_low = unit >= 0xdc00 && unit < 0xe000;
    if (is_low && last && last[0] == 0xed && last[1] >= 0xa0 && last[1] < 0xb0) {
        uint32_t high = 0xd000u | (uint32_t)(last[1] & 0x3f) << 6 | (last[2] & 0x3f);
        out->size -= 3;
        unit = 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00);
    }
    utf8_add(out, unit);
}

/* The number of bytes before a backslash or, in a key, before its separator. */
static size_t plain_size(const uint8_t *line, size_t size, bool is_key)
{
    size_t n = 0;
    while (n < size && line[n] != '\\' &&
           !(is_key && (line[n] == '=' || line[n] == ':' || format_properties_is_blank(line[n]))))
        n++;
    return n;
}

/* Unescapes from *at to the end, or a key up to its separator. */
static int unescape(struct properties *p, size_t *at, bool is_key, struct buf *out)
{
    static const char from[] = "tnrf", to[] = "\t\n\r\f";
    const uint8_t *line = p->line.data;
    buf_clear(out);
    for (; *at < p->line.size; ++*at) {
        size_t n = plain_size(line + *at, p->line.size - *at, is_key);
        buf_add(out, line + *at, n);
        *at += n;
        if (*at == p->line.size || line[*at] != '\\' || ++*at == p->line.size)
            return OK;
        uint8_t c = line[*at];
        const char *known = c ? strchr(from, c) : NULL;
        uint32_t unit;
        if (c != 'u') {
            buf_add_byte(out, known ? (uint8_t)to[known - from] : c);
        } else if (text_hex(line + *at + 1, line + p->line.size, 4, &unit)) {
            add_unit(out, unit);
            *at += 4;
        } else {
            return check_refuse(&p->check, offset_in_text(p, *at - 1),
                                "\\u must be followed by four hexadecimal digits");
        }
    }
    return OK;
}

/* The separator of key and value: blanks, at most one `=` or `:`, blanks. */
static size_t skip_separator(const struct properties *p, size_t at)
{
    const uint8_t *line = p->line.data;
    bool has_sign = false;
    for (; at < p->line.size; at++) {
        bool is_sign = line[at] == '=' || line[at] == ':';
        if (!format_properties_is_blank(line[at]) && (has_sign || !is_sign))
            break;
        has_sign |= is_sign;
    }
    return at;
}

struct properties *properties_new(struct slice text, struct format_error *error)
{
    struct properties *p = mem_new(sizeof *p);
    p->text = text.size ? text : slice_text("");
    p->check = (struct check){p->text, error};
    return p;
}

void properties_free(struct properties *p)
{
    if (!p)
        return;
    buf_done(&p->line);
    buf_done(&p->pieces);
    buf_done(&p->key);
    buf_done(&p->value);
    mem_free(p);
}

int properties_next(struct properties *p, struct properties_pair *ret, bool *ret_has)
{
    size_t at = 0;
    *ret_has = next_line(p);
    if (!*ret_has)
        return OK;
    int err = unescape(p, &at, true, &p->key);
    if (err)
        return err;
    at = skip_separator(p, at);
    *ret = (struct properties_pair){.key = buf_slice(&p->key),
                                    .key_offset = offset_in_text(p, 0),
                                    .value_offset = offset_in_text(p, at < p->line.size ? at : 0)};
    err = unescape(p, &at, false, &p->value);
    ret->value = buf_slice(&p->value);
    return err;
}

int format_check_properties(const struct check *c)
{
    struct properties *p = properties_new(c->text, c->error);
    struct properties_pair pair;
    struct strmap keys = {0};
    bool has = true;
    int err = check_characters(c);
    if (!err && c->text.size >= 3 && memcmp(c->text.data, "\xef\xbb\xbf", 3) == 0)
        err = check_refuse(c, 0, "a byte order mark, which Java makes part of the first key");
    while (!err && has) {
        err = properties_next(p, &pair, &has);
        if (!err && has)
            err = check_unique(c, &keys, "key", pair.key, pair.key_offset);
    }
    strmap_done(&keys);
    properties_free(p);
    return err;
}
