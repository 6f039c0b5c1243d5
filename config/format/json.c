/* SPDX-License-Identifier: Apache-2.0
 * JSON, strictly as RFC 8259 defines it, with unique names within an object. Two more things are refused
 * because programs read them differently: half a surrogate pair, and a byte order mark. Numbers may have any
 * size. Open objects and arrays are on a stack; nothing recurses. */
#include "base/json_lex.h"
#include "base/mem.h"
#include "config/format/check.h"

struct level {
    bool is_object;
    struct strmap names;
};

struct json {
    const struct check *check;
    const uint8_t *start, *at, *end;
    struct buf unescaped;
    unsigned depth;
    struct level levels[FORMAT_DEPTH_MAX];
};

static int format_json_refuse(const struct json *j, const uint8_t *where, const char *what)
{
    return check_refuse(j->check, (size_t)(where - j->start), "%s", what);
}

/* The next byte after blanks; 0 at the end. */
static uint8_t format_json_peek(struct json *j)
{
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\n' || *j->at == '\r' || *j->at == '\t'))
        j->at++;
    return j->at < j->end ? *j->at : 0;
}

static int refuse_here(const struct json *j, const char *wanted)
{
    size_t at = (size_t)(j->at - j->start);
    return check_refuse(j->check, at, "%s, where %s should be", check_quote_at(j->check, at).text, wanted);
}

static int take_string(struct json *j, struct slice *ret_string)
{
    const uint8_t *at;
    switch (json_lex_string(j->at, j->end, &j->unescaped, ret_string, &at)) {
    case JSON_STRING_FINE:
        j->at = at;
        return OK;
    case JSON_STRING_ENDS:
        return format_json_refuse(j, j->at, "this string has no end");
    case JSON_STRING_CONTROL:
        return format_json_refuse(j, at, "a line break or control character in a string must be escaped");
    case JSON_STRING_ESCAPE:
        return format_json_refuse(j, at, "not a JSON escape, or half a surrogate pair");
    case JSON_STRING_UTF8:
        break;
    }
    return check_refuse_utf8(j->check, (size_t)(at - j->start));
}

static int format_json_take_name(struct json *j)
{
    struct slice name;
    if (format_json_peek(j) != '"')
        return refuse_here(j, "a name in double quotes");
    size_t offset = (size_t)(j->at - j->start);
    int err = take_string(j, &name);
    if (!err)
        err = check_unique(j->check, &j->levels[j->depth - 1].names, "key", name, offset);
    if (err)
        return err;
    if (format_json_peek(j) != ':')
        return refuse_here(j, "a colon");
    j->at++;
    return OK;
}

static bool take_word(struct json *j)
{
    static const char *const words[] = {"true", "false", "null"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(j->end - j->at) < n || memcmp(j->at, words[i], n) != 0)
            continue;
        if (j->at + n < j->end && json_is_word(j->at[n]))
            continue;
        j->at += n;
        return true;
    }
    return false;
}

static int take_scalar(struct json *j)
{
    struct slice s;
    if (*j->at == '"')
        return take_string(j, &s);
    if (take_word(j))
        return OK;
    const uint8_t *end = json_lex_number(j->at, j->end);
    if (!end && ((*j->at >= '0' && *j->at <= '9') || *j->at == '-'))
        return format_json_refuse(j, j->at, "not a JSON number");
    if (!end)
        return refuse_here(j, "a value");
    j->at = end;
    return OK;
}

static int open_level(struct json *j, bool is_object)
{
    if (j->depth == FORMAT_DEPTH_MAX)
        return format_json_refuse(j, j->at, "nested deeper than 200 levels");
    j->at++;
    j->levels[j->depth++] = (struct level){.is_object = is_object};
    return OK;
}

/* After a value: closes the levels that end here, and stops after a comma. */
static int close_levels(struct json *j)
{
    while (j->depth > 0) {
        struct level *top = &j->levels[j->depth - 1];
        uint8_t c = format_json_peek(j);
        if (c == ',') {
            j->at++;
            return top->is_object ? format_json_take_name(j) : OK;
        }
        if (c != (top->is_object ? '}' : ']'))
            return refuse_here(j, top->is_object ? "a comma or }" : "a comma or ]");
        j->at++;
        strmap_done(&top->names);
        j->depth--;
    }
    return OK;
}

/* Takes one value, or one bracket and what must follow it up to the next value. */
static int format_json_step(struct json *j)
{
    uint8_t c = format_json_peek(j);
    if (j->at == j->end)
        return refuse_here(j, "a value");
    if (c != '{' && c != '[') {
        int err = take_scalar(j);
        return err ? err : close_levels(j);
    }
    int err = open_level(j, c == '{');
    if (err)
        return err;
    if (format_json_peek(j) == (c == '{' ? '}' : ']')) {
        j->at++;
        j->depth--;
        return close_levels(j);
    }
    return c == '{' ? format_json_take_name(j) : OK;
}

static int check_all(struct json *j)
{
    if (j->end - j->at >= 3 && memcmp(j->at, "\xef\xbb\xbf", 3) == 0)
        return format_json_refuse(j, j->at, "a byte order mark, which JSON does not have");
    int err;
    do
        err = format_json_step(j);
    while (!err && j->depth > 0);
    if (err)
        return err;
    format_json_peek(j);
    return j->at < j->end ? refuse_here(j, "the end") : OK;
}

int format_check_json(const struct check *c)
{
    struct json *j = mem_new(sizeof *j);
    j->check = c;
    j->start = j->at = c->text.data;
    j->end = c->text.data + c->text.size;
    int err = check_all(j);
    while (j->depth > 0)
        strmap_done(&j->levels[--j->depth].names);
    buf_done(&j->unescaped);
    mem_free(j);
    return err;
}
