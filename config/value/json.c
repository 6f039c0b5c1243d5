/* SPDX-License-Identifier: Apache-2.0
 * The values of a JSON text. The text was checked; a fault is refused without a good sentence. Open objects and
 * arrays are on a stack; nothing recurses. */
#include "base/json_lex.h"
#include "config/value/value.h"

struct level {
    struct value *value;
    size_t first; /* of its members, in `members` */
    struct slice name;
    size_t name_place;
};

struct reader {
    struct value_tree *tree;
    const uint8_t *start, *at, *end;
    struct buf unescaped;
    struct buf members; /* struct value_member, of all open levels */
    unsigned depth;
    struct level levels[FORMAT_DEPTH_MAX];
    struct format_error *error;
};

static int refuse(const struct reader *r)
{
    return value_refuse(r->tree, (size_t)(r->at - r->start), r->error, "not JSON");
}

static uint8_t peek(struct reader *r)
{
    r->at = json_skip_blanks(r->at, r->end);
    return r->at < r->end ? *r->at : 0;
}

static bool take_string(struct reader *r, struct slice *ret)
{
    struct slice s;
    if (json_lex_string(r->at, r->end, &r->unescaped, &s, &r->at) != JSON_STRING_FINE)
        return false;
    *ret = s.data == r->unescaped.data ? value_keep(r->tree, s) : s;
    return true;
}

/* The name and the colon of the next member. */
static bool take_name(struct reader *r)
{
    struct level *top = &r->levels[r->depth - 1];
    if (peek(r) != '"')
        return false;
    top->name_place = (size_t)(r->at - r->start);
    if (!take_string(r, &top->name) || peek(r) != ':')
        return false;
    r->at++;
    return true;
}

/* Adds a complete value to its level, or makes it the document. */
static void add_value(struct reader *r, struct value *v)
{
    if (!r->depth) {
        r->tree->documents = arena_copy(&r->tree->arena, &v, sizeof v);
        r->tree->document_count = 1;
        return;
    }
    struct level *top = &r->levels[r->depth - 1];
    const struct value_member m = {top->name, top->name_place, v};
    buf_add(&r->members, &m, sizeof m);
}

static void close_level(struct reader *r)
{
    struct level *top = &r->levels[--r->depth];
    const struct value_member *list = (const struct value_member *)(const void *)r->members.data;
    size_t count = r->members.size / sizeof *list - top->first;
    value_close(r->tree, top->value, list ? list + top->first : NULL, count);
    r->members.size = top->first * sizeof *list;
    add_value(r, top->value);
}

/* After a value: closes the levels that end here, and stops after a comma. */
static bool close_levels(struct reader *r)
{
    while (r->depth) {
        bool is_object = r->levels[r->depth - 1].value->type == VALUE_OBJECT;
        uint8_t c = peek(r);
        if (c == ',') {
            r->at++;
            return !is_object || take_name(r);
        }
        if (c != (is_object ? '}' : ']'))
            return false;
        r->at++;
        close_level(r);
    }
    return true;
}

static bool take_word(struct reader *r, struct value *v)
{
    static const struct {
        const char *text;
        enum value_type type;
        bool is_true;
    } words[] = {{"true", VALUE_BOOL, true}, {"false", VALUE_BOOL, false}, {"null", VALUE_NULL, false}};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i].text);
        if ((size_t)(r->end - r->at) < n || memcmp(r->at, words[i].text, n) != 0)
            continue;
        r->at += n;
        v->type = words[i].type;
        v->is_true = words[i].is_true;
        return true;
    }
    return false;
}

static bool take_scalar(struct reader *r, struct value *v)
{
    if (*r->at == '"')
        return take_string(r, &v->text);
    if (take_word(r, v))
        return true;
    const uint8_t *end = json_lex_number(r->at, r->end);
    if (!end)
        return false;
    v->type = VALUE_NUMBER;
    value_set_number(r->tree, v, slice_of(r->at, (size_t)(end - r->at)));
    r->at = end;
    return true;
}

/* Takes one value, or one bracket and what must follow it up to the next value. */
static int step(struct reader *r)
{
    uint8_t c = peek(r);
    size_t place = (size_t)(r->at - r->start);
    if (r->at == r->end)
        return refuse(r);
    struct value *v = value_new(r->tree,
                                c == '{'   ? VALUE_OBJECT
                                : c == '[' ? VALUE_ARRAY
                                           : VALUE_STRING,
                                place);
    if (!v)
        return value_refuse_count(r->tree, place, r->error);
    if (v->type == VALUE_STRING) {
        if (!take_scalar(r, v))
            return refuse(r);
        add_value(r, v);
        return close_levels(r) ? OK : refuse(r);
    }
    if (r->depth == FORMAT_DEPTH_MAX)
        return refuse(r);
    r->at++;
    r->levels[r->depth++] =
        (struct level){.value = v, .first = r->members.size / sizeof(struct value_member)};
    if (peek(r) == (c == '{' ? '}' : ']')) {
        r->at++;
        close_level(r);
        return close_levels(r) ? OK : refuse(r);
    }
    return c == '[' || take_name(r) ? OK : refuse(r);
}

int value_read_json(struct value_tree *t, struct format_error *error)
{
    struct reader *r = mem_new(sizeof *r);
    int err;
    r->tree = t;
    r->error = error;
    r->start = r->at = t->text.data;
    r->end = t->text.data + t->text.size;
    do
        err = step(r);
    while (!err && r->depth > 0);
    if (!err) {
        peek(r);
        err = r->at < r->end ? refuse(r) : OK;
    }
    buf_done(&r->unescaped);
    buf_done(&r->members);
    mem_free(r);
    return err;
}
