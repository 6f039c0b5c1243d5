/* SPDX-License-Identifier: Apache-2.0
 * The search for a format by the table, and functions shared by the checkers; see format.h and check.h. */
#include "config/format/format.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "base/text.h"
#include "config/format/check.h"

static const struct row {
    const char *name, *content_type, *other_types, *endings;
    int (*check)(const struct check *c);
} rows[FORMATS] = {
#define FORMAT(name, text, type, types, endings, check) {text, type, types, endings, check},
#include "config/format/format.def"
#undef FORMAT
};

const char *format_name(enum format f)
{
    return rows[f].name;
}

const char *format_content_type(enum format f)
{
    return rows[f].content_type;
}

/* --- the search for a format -------------------------------------------------------------------------- */

static bool is_same(struct slice s, const char *text, size_t size)
{
    return s.size == size && size > 0 && strncasecmp((const char *)s.data, text, size) == 0;
}

/* Whether s is one of the words, which are separated by blanks. */
static bool is_one_of(struct slice s, const char *words)
{
    while (*words) {
        size_t n = strcspn(words, " ");
        if (is_same(s, words, n))
            return true;
        words += n + strspn(words + n, " ");
    }
    return false;
}

int format_from_name(struct slice name, enum format *ret_format)
{
    for (int f = 0; f < FORMATS; f++) {
        if (!is_same(name, rows[f].name, strlen(rows[f].name)))
            continue;
        *ret_format = (enum format)f;
        return OK;
    }
    return ERR_NOT_FOUND;
}

/* "Text/HTML ; charset=x" -> "Text/HTML" */
static struct slice without_parameters(struct slice type)
{
    const uint8_t *end = type.size ? memchr(type.data, ';', type.size) : NULL;
    if (end)
        type.size = (size_t)(end - type.data);
    while (type.size && (type.data[type.size - 1] == ' ' || type.data[type.size - 1] == '\t'))
        type.size--;
    while (type.size && (type.data[0] == ' ' || type.data[0] == '\t'))
        type = slice_of(type.data + 1, type.size - 1);
    return type;
}

static bool find_type(struct slice type, enum format *ret_format)
{
    const uint8_t *plus = type.size ? memrchr(type.data, '+', type.size) : NULL;
    struct slice suffix = {0};
    if (plus)
        suffix = slice_of(plus + 1, type.size - (size_t)(plus + 1 - type.data));
    for (int f = 0; f < FORMATS; f++) {
        size_t n = strcspn(rows[f].content_type, ";");
        bool has_suffix = f == FORMAT_JSON || f == FORMAT_YAML || f == FORMAT_XML;
        if (!is_same(type, rows[f].content_type, n) && !is_one_of(type, rows[f].other_types) &&
            !(has_suffix && is_same(suffix, rows[f].name, strlen(rows[f].name))))
            continue;
        *ret_format = (enum format)f;
        return true;
    }
    return false;
}

static bool find_ending(struct slice name, enum format *ret_format)
{
    const uint8_t *dot = name.size ? memrchr(name.data, '.', name.size) : NULL;
    if (!dot)
        return false;
    struct slice ending = slice_of(dot + 1, name.size - (size_t)(dot + 1 - name.data));
    for (int f = 0; f < FORMATS; f++) {
        if (!is_one_of(ending, rows[f].endings))
            continue;
        *ret_format = (enum format)f;
        return true;
    }
    return false;
}

int format_find(struct slice explicit, struct slice content_type, struct slice name, enum format *ret_format)
{
    enum format typed = FORMAT_TEXT;
    if (explicit.size)
        return format_from_name(explicit, ret_format) ? ERR_INVALID : OK;
    bool is_typed = find_type(without_parameters(content_type), &typed);
    if (is_typed && typed != FORMAT_TEXT && typed != FORMAT_BIN)
        *ret_format = typed;
    else if (!find_ending(name, ret_format))
        *ret_format = typed;
    return OK;
}

/* --- shared by the checkers ------------------------------------------------------------------------- */

static size_t character_size(struct slice s, size_t offset)
{
    size_t n = utf8_length(slice_of(s.data + offset, s.size - offset));
    return n ? n : 1;
}

void format_place(struct slice text, size_t offset, size_t *ret_line, size_t *ret_column)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < offset && i < text.size;) {
        uint8_t c = text.data[i];
        size_t n = character_size(text, i);
        bool is_in_crlf = c == '\r' && i + 1 < text.size && text.data[i + 1] == '\n';
        column++;
        if ((c == '\n' || c == '\r') && !is_in_crlf) {
            line++;
            column = 1;
        }
        i += n;
    }
    *ret_line = line;
    *ret_column = column;
}

int check_refuse(const struct check *c, size_t offset, const char *format, ...)
{
    struct format_error *e = c->error;
    format_place(c->text, offset, &e->line, &e->column);
    int n = snprintf(e->text, sizeof e->text, "line %zu, column %zu: ", e->line, e->column);
    va_list args;
    va_start(args, format);
    vsnprintf(e->text + n, sizeof e->text - (size_t)n, format, args);
    va_end(args);
    return ERR_MALFORMED;
}

int check_refuse_utf8(const struct check *c, size_t offset)
{
    return check_refuse(c, offset, "byte 0x%02x is not UTF-8", c->text.data[offset]);
}

int check_characters(const struct check *c)
{
    struct slice s = c->text;
    size_t valid = utf8_valid_size(s);
    const uint8_t *nul = valid ? memchr(s.data, 0, valid) : NULL;
    if (nul)
        return check_refuse(c, (size_t)(nul - s.data), "a NUL character");
    return valid < s.size ? check_refuse_utf8(c, valid) : OK;
}

int check_refuse_duplicate(const struct check *c, const char *what, struct slice key, size_t offset,
                           size_t first)
{
    size_t line, column;
    format_place(c->text, first, &line, &column);
    return check_refuse(c, offset, "duplicate %s \"%s\", first at line %zu", what, check_quote(key).text,
                        line);
}

int check_unique(const struct check *c, struct strmap *keys, const char *what, struct slice key,
                 size_t offset)
{
    void *first = strmap_put(keys, key, (void *)(uintptr_t)(offset + 1));
    return first ? check_refuse_duplicate(c, what, key, offset, (uintptr_t)first - 1) : OK;
}

struct quote check_quote(struct slice s)
{
    struct quote q = {0};
    size_t size = 0, at = 0;
    while (at < s.size) {
        size_t n = utf8_length(slice_of(s.data + at, s.size - at));
        if (size + 4 + 4 > sizeof q.text) {
            memcpy(q.text + size, "...", 3);
            break;
        }
        if (n == 0 || s.data[at] < 0x20 || s.data[at] == 0x7f) {
            q.text[size++] = '?';
            at++;
            continue;
        }
        memcpy(q.text + size, s.data + at, n);
        size += n;
        at += n;
    }
    return q;
}

struct quote check_quote_at(const struct check *c, size_t offset)
{
    struct quote q = {0};
    if (offset >= c->text.size) {
        snprintf(q.text, sizeof q.text, "the end");
        return q;
    }
    uint8_t first = c->text.data[offset];
    if (first == '\n' || first == '\r')
        snprintf(q.text, sizeof q.text, "the end of the line");
    else if (first < 0x20 || first == 0x7f)
        snprintf(q.text, sizeof q.text, "control character 0x%02x", first);
    else if (utf8_length(slice_of(c->text.data + offset, c->text.size - offset)) == 0)
        snprintf(q.text, sizeof q.text, "byte 0x%02x, which is not UTF-8", first);
    else
        snprintf(q.text, sizeof q.text, "\"%.*s\"", (int)character_size(c->text, offset),
                 (const char *)c->text.data + offset);
    return q;
}

/* --- formats without a grammar ----------------------------------------------------------------- */

int format_check_text(const struct check *c)
{
    return check_characters(c);
}

int format_check_bin(const struct check *c)
{
    (void)c;
    return OK;
}

int format_check(enum format f, struct slice bytes, struct format_error *ret_error)
{
    /* No pointer below is NULL, so that offsets can be pointers. */
    struct check c = {bytes.size ? bytes : slice_text(""), ret_error};
    return rows[f].check(&c);
}
