/* SPDX-License-Identifier: Apache-2.0
 * TOML 1.0: lines, keys, arrays and inline tables. toml_scalar.c has the scalars, toml_table.c the rules of
 * definition. Arrays and inline tables recurse, at most 200 levels. */
#include "config/format/toml.h"

int toml_refuse(const struct toml *t, const uint8_t *where, const char *what)
{
    return check_refuse(t->check, (size_t)(where - t->start), "%s", what);
}

int toml_refuse_here(const struct toml *t, const char *wanted)
{
    size_t at = (size_t)(t->at - t->start);
    return check_refuse(t->check, at, "%s, where %s should be", check_quote_at(t->check, at).text, wanted);
}

/* --- blanks ---------------------------------------------------------------------------------- */

static void toml_skip_blanks(struct toml *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\t'))
        t->at++;
}

static uint8_t toml_peek(struct toml *t)
{
    toml_skip_blanks(t);
    return t->at < t->end ? *t->at : 0;
}

static int skip_comment(struct toml *t)
{
    if (toml_peek(t) != '#')
        return OK;
    while (t->at < t->end && *t->at != '\n' && *t->at != '\r') {
        if ((*t->at < 0x20 && *t->at != '\t') || *t->at == 0x7f)
            return toml_refuse(t, t->at, "a control character in a comment");
        t->at++;
    }
    return OK;
}

/* Skips blanks, comments and line ends, as within an array. */
static int skip_lines(struct toml *t)
{
    int err;
    do {
        err = skip_comment(t);
        if (err)
            return err;
    } while (toml_take_newline(t));
    return OK;
}

/* --- keys ------------------------------------------------------------------------------------ */

static bool is_bare(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '-' || c == '_';
}

/* Takes one part of a key; its text may lie in t->text. */
static int take_part(struct toml *t, struct slice *ret_key, const uint8_t **ret_where)
{
    uint8_t c = toml_peek(t);
    int err = OK;
    *ret_where = t->at;
    if (c == '"' || c == '\'') {
        err = toml_take_string(t, false, &t->text);
    } else {
        buf_clear(&t->text);
        while (t->at < t->end && is_bare(*t->at))
            buf_add_byte(&t->text, *t->at++);
        if (t->text.size == 0)
            err = toml_refuse_here(t, "a key");
    }
    *ret_key = buf_slice(&t->text);
    return err;
}

/* Takes a dot after a part. True: another part follows. */
static bool take_dot(struct toml *t)
{
    if (toml_peek(t) != '.')
        return false;
    t->at++;
    return true;
}

/* --- values ---------------------------------------------------------------------------------- */

static int toml_take_value(struct toml *t, struct toml_node *node);

static int take_pair(struct toml *t, struct toml_node *table)
{
    struct slice key;
    const uint8_t *where;
    struct toml_node *node = NULL;
    for (;;) {
        int err = take_part(t, &key, &where);
        if (err)
            return err;
        if (!take_dot(t))
            break;
        err = toml_pass_dotted(t, table, key, where, &table);
        if (err)
            return err;
    }
    int err = toml_define_value(t, table, key, where, &node);
    if (err)
        return err;
    if (toml_peek(t) != '=')
        return toml_refuse_here(t, "=");
    t->at++;
    return toml_take_value(t, node);
}

static int take_inline_table(struct toml *t, struct toml_node *table)
{
    t->at++;
    if (toml_peek(t) == '}') {
        t->at++;
        return OK;
    }
    for (;;) {
        int err = take_pair(t, table);
        if (err)
            return err;
        uint8_t c = toml_peek(t);
        if (c != ',' && c != '}')
            return toml_refuse_here(t, "a comma or }");
        t->at++;
        if (c == '}')
            return OK;
    }
}

static int take_array(struct toml *t, const struct toml_node *node)
{
    t->at++;
    for (bool needs_comma = false;;) {
        int err = skip_lines(t);
        if (err)
            return err;
        uint8_t c = t->at < t->end ? *t->at : 0;
        if (c == ']') {
            t->at++;
            return OK;
        }
        if (needs_comma) {
            if (c != ',')
                return toml_refuse_here(t, "a comma or ]");
            t->at++;
            needs_comma = false;
            continue;
        }
        if (node->depth >= FORMAT_DEPTH_MAX)
            return toml_refuse(t, t->at, "nested deeper than 200 levels");
        struct toml_node element = {.kind = TOML_VALUE, .depth = node->depth + 1, .id = ++t->next_id};
        err = toml_take_value(t, &element);
        if (err)
            return err;
        needs_comma = true;
    }
}

static int toml_take_value(struct toml *t, struct toml_node *node)
{
    switch (toml_peek(t)) {
    case '"':
    case '\'':
        return toml_take_string(t, true, &t->text);
    case '[':
        return take_array(t, node);
    case '{':
        node->kind = TOML_INLINE;
        return take_inline_table(t, node);
    default:
        return toml_take_word(t);
    }
}

/* --- lines ----------------------------------------------------------------------------------- */

static int take_header(struct toml *t, struct toml_node **ret_table)
{
    struct toml_node *table = t->root;
    bool is_element = t->end - t->at > 1 && t->at[1] == '[';
    t->at += is_element ? 2 : 1;
    struct slice key;
    const uint8_t *where;
    for (;;) {
        int err = take_part(t, &key, &where);
        if (err)
            return err;
        if (!take_dot(t))
            break;
        err = toml_pass_header(t, table, key, where, &table);
        if (err)
            return err;
    }
    size_t brackets = is_element ? 2 : 1;
    if (toml_peek(t) != ']' || (size_t)(t->end - t->at) < brackets || t->at[brackets - 1] != ']')
        return toml_refuse_here(t, is_element ? "]]" : "]");
    t->at += brackets;
    return is_element ? toml_define_element(t, table, key, where, ret_table)
                      : toml_define_table(t, table, key, where, ret_table);
}

static int take_lines(struct toml *t)
{
    struct toml_node *table = t->root;
    for (;;) {
        int err = skip_lines(t);
        if (err || t->at == t->end)
            return err;
        err = *t->at == '[' ? take_header(t, &table) : take_pair(t, table);
        if (!err)
            err = skip_comment(t);
        if (!err && t->at < t->end && !toml_take_newline(t))
            err = toml_refuse_here(t, "the end of the line");
        if (err)
            return err;
    }
}

int format_check_toml(const struct check *c)
{
    int err = check_characters(c);
    if (err)
        return err;
    struct toml t = {.check = c, .start = c->text.data, .at = c->text.data};
    t.end = c->text.data + c->text.size;
    if (t.end - t.at >= 3 && memcmp(t.at, "\xef\xbb\xbf", 3) == 0)
        t.at += 3;
    t.root = toml_new_node(&t, TOML_HEADER, 0, t.start);
    err = take_lines(&t);
    strmap_done(&t.children);
    buf_done(&t.child_key);
    buf_done(&t.text);
    arena_done(&t.arena);
    return err;
}
