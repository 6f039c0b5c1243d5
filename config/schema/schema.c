/* SPDX-License-Identifier: Apache-2.0
 * Compiles schemas: every keyword is checked, patterns are compiled, references are resolved; see schema.h.
 *
 * A schema that can reach itself without going into a value ($ref, allOf, …) would never end: it is refused here.
 * Each place is compiled once, whatever refers to it. */
#include <stdio.h>

#include "base/map.h"
#include "base/text.h"
#include "config/schema/schema_private.h"

enum form {
    FORM_TYPE,
    FORM_ENUM,
    FORM_ANY,
    FORM_NUMBER,
    FORM_DIVISOR,
    FORM_COUNT,
    FORM_PATTERN,
    FORM_BOOL,
    FORM_NAMES,
    FORM_NAME_LISTS,
    FORM_SCHEMA,
    FORM_SCHEMAS,
    FORM_SCHEMA_MAP,
    FORM_PATTERN_MAP,
    FORM_REF,
    FORM_ANCHOR,
    FORM_URI
};

static const struct {
    const char *text;
    enum form form;
} keywords[KEYWORDS] = {
#define KEYWORD(name, text, form, check) {text, FORM_##form},
#define REFUSED(text, why)
#include "config/schema/schema.def"
#undef KEYWORD
#undef REFUSED
};

static const struct {
    const char *text, *why;
} refused[] = {
#define KEYWORD(name, text, form, check)
#define REFUSED(text, why) {text, why},
#include "config/schema/schema.def"
#undef KEYWORD
#undef REFUSED
};

#define DIALECT "https://json-schema.org/draft/2020-12/schema"

struct compiler {
    struct schema *schema;
    struct map nodes; /* the address of a value -> struct schema_node */
    struct strmap anchors;
    struct buf refs; /* struct schema_rule *, to be resolved */
    struct slice id; /* of the root; empty = none */
    size_t count;
    uint32_t states_left; /* of all patterns */
    struct format_error *error;
};

static int compile(struct compiler *c, const struct value *v, unsigned depth, struct schema_node **ret);

static int refuse(const struct compiler *c, const struct value *v, const char *keyword, const char *why)
{
    return value_refuse(&c->schema->tree, v->place, c->error, "%s: %s", keyword, why);
}

/* --- the values of keywords ----------------------------------------------------------------------------- */

static unsigned type_of_name(struct slice name)
{
    if (slice_equal(name, slice_text("integer")))
        return SCHEMA_INTEGER;
    for (unsigned t = 0; t <= VALUE_OBJECT; t++)
        if (slice_equal(name, slice_text(value_type_name((enum value_type)t))))
            return 1u << t;
    return 0;
}

static int read_type(const struct compiler *c, struct schema_rule *r)
{
    const struct value *v = r->value;
    bool is_list = v->type == VALUE_ARRAY && v->count > 0;
    for (size_t i = 0; i < (is_list ? v->count : 1); i++) {
        const struct value *name = is_list ? v->list[i].value : v;
        unsigned type = name->type == VALUE_STRING ? type_of_name(name->text) : 0;
        if (!type)
            return refuse(c, name, "type",
                          "it is null, boolean, number, integer, string, array, object, or a list of these");
        r->types |= type;
    }
    return OK;
}

static int read_names(const struct compiler *c, const struct value *v, const char *keyword)
{
    for (size_t i = 0; v->type == VALUE_ARRAY && i < v->count; i++)
        if (v->list[i].value->type != VALUE_STRING)
            return refuse(c, v->list[i].value, keyword, "it is a list of names");
    return v->type == VALUE_ARRAY ? OK : refuse(c, v, keyword, "it is a list of names");
}

static int read_name_lists(const struct compiler *c, const struct schema_rule *r, const char *keyword)
{
    int err = r->value->type == VALUE_OBJECT
                  ? OK
                  : refuse(c, r->value, keyword, "it is an object of lists of names");
    for (size_t i = 0; !err && i < r->value->count; i++)
        err = read_names(c, r->value->list[i].value, keyword);
    return err;
}

static int read_regex(struct compiler *c, const struct value *place, struct slice text,
                      const struct regex **ret)
{
    char why[200];
    struct regex *regex = NULL;
    if (regex_compile(text, &c->schema->tree.arena, &c->states_left, &regex, why, sizeof why))
        return value_refuse(&c->schema->tree, place->place, c->error, "%s", why);
    *ret = regex;
    return OK;
}

static int read_number(const struct compiler *c, struct schema_rule *r, enum form form, const char *keyword)
{
    const struct value *v = r->value;
    if (v->type != VALUE_NUMBER)
        return refuse(c, v, keyword, "it is a number");
    if (form == FORM_COUNT && !number_to_count(&v->number, &r->number))
        return refuse(c, v, keyword, "it is an integer that is not negative");
    if (form == FORM_DIVISOR && (v->number.is_negative || !v->number.digits.size))
        return refuse(c, v, keyword, "it is a number above 0");
    if (form == FORM_DIVISOR && v->number.digits.size > NUMBER_DIVISOR_DIGITS)
        return refuse(c, v, keyword, "it has more than 18 digits");
    return OK;
}

/* --- schemas in schemas --------------------------------------------------------------------------------- */

static struct schema_child *new_children(struct compiler *c, struct schema_rule *r, size_t count)
{
    r->count = count;
    return r->list = arena_new(&c->schema->tree.arena, (count + 1) * sizeof *r->list);
}

static int read_schemas(struct compiler *c, struct schema_rule *r, enum form form, const char *keyword,
                        unsigned depth)
{
    const struct value *v = r->value;
    int err = OK;
    if (form == FORM_SCHEMA) {
        if (v->type == VALUE_ARRAY && r->keyword == KEYWORD_ITEMS)
            return refuse(c, v, keyword, "a list is of an older draft: use prefixItems");
        return compile(c, v, depth + 1, &new_children(c, r, 1)->node);
    }
    if (form == FORM_SCHEMAS && (v->type != VALUE_ARRAY || !v->count))
        return refuse(c, v, keyword, "it is a list of schemas that is not empty");
    if (form != FORM_SCHEMAS && v->type != VALUE_OBJECT)
        return refuse(c, v, keyword, "it is an object of schemas");
    struct schema_child *list = new_children(c, r, v->count);
    for (size_t i = 0; !err && i < v->count; i++) {
        list[i].name = v->list[i].name;
        if (form == FORM_PATTERN_MAP)
            err = read_regex(c, v->list[i].value, list[i].name, &list[i].regex);
        if (!err)
            err = compile(c, v->list[i].value, depth + 1, &list[i].node);
    }
    return err;
}

static int read_anchor(struct compiler *c, const struct value *v)
{
    if (v->type != VALUE_STRING || !v->text.size)
        return refuse(c, v, "$anchor", "it is a name");
    return OK;
}

static int read_uri(struct compiler *c, const struct schema_rule *r, const struct value *owner)
{
    const struct value *v = r->value;
    bool is_dialect = v->type == VALUE_STRING && (slice_equal(v->text, slice_text(DIALECT)) ||
                                                  slice_equal(v->text, slice_text(DIALECT "#")));
    if (r->keyword == KEYWORD_SCHEMA)
        return is_dialect ? OK : refuse(c, v, "$schema", "only " DIALECT " is known");
    if (v->type != VALUE_STRING)
        return refuse(c, v, "$id", "it is a string");
    if (owner != c->schema->tree.documents[0])
        return refuse(c, v, "$id", "only the whole schema has one: use $anchor");
    c->id = v->text;
    return OK;
}

static int read_rule(struct compiler *c, struct schema_rule *r, const struct value *owner, unsigned depth)
{
    const char *keyword = keywords[r->keyword].text;
    enum form form = keywords[r->keyword].form;
    switch (form) {
    case FORM_TYPE:
        return read_type(c, r);
    case FORM_ENUM:
        return r->value->type == VALUE_ARRAY ? OK : refuse(c, r->value, keyword, "it is a list of values");
    case FORM_ANY:
        return OK;
    case FORM_NUMBER:
    case FORM_DIVISOR:
    case FORM_COUNT:
        return read_number(c, r, form, keyword);
    case FORM_PATTERN:
        if (r->value->type != VALUE_STRING)
            return refuse(c, r->value, keyword, "it is a string");
        return read_regex(c, r->value, r->value->text, &r->regex);
    case FORM_BOOL:
        return r->value->type == VALUE_BOOL ? OK : refuse(c, r->value, keyword, "it is true or false");
    case FORM_NAMES:
        return read_names(c, r->value, keyword);
    case FORM_NAME_LISTS:
        return read_name_lists(c, r, keyword);
    case FORM_SCHEMA:
    case FORM_SCHEMAS:
    case FORM_SCHEMA_MAP:
    case FORM_PATTERN_MAP:
        return read_schemas(c, r, form, keyword, depth);
    case FORM_REF:
        if (r->value->type != VALUE_STRING)
            return refuse(c, r->value, keyword, "it is a string");
        new_children(c, r, 1);
        buf_add(&c->refs, &r, sizeof r);
        return OK;
    case FORM_ANCHOR:
        return read_anchor(c, r->value);
    case FORM_URI:
        return read_uri(c, r, owner);
    }
    return OK;
}

/* A keyword of an older draft, or one that is not supported, would be ignored without a word. */
static int check_refused(const struct compiler *c, const struct value *v)
{
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const struct value_member *m = value_member(v, slice_text(refused[i].text));
        if (m)
            return value_refuse(&c->schema->tree, m->name_place, c->error, "%s: %s", refused[i].text,
                                refused[i].why);
    }
    return OK;
}

static int compile_rules(struct compiler *c, const struct value *v, unsigned depth, struct schema_node *node)
{
    int err = check_refused(c, v);
    const struct value_member *anchor = value_member(v, slice_text("$anchor"));
    node->rules = arena_new(&c->schema->tree.arena, KEYWORDS * sizeof *node->rules);
    for (int k = 0; !err && k < KEYWORDS; k++) {
        const struct value_member *m = value_member(v, slice_text(keywords[k].text));
        if (!m)
            continue;
        struct schema_rule *r = &node->rules[node->rule_count++];
        *r = (struct schema_rule){.keyword = (enum keyword)k, .owner = node, .value = m->value};
        node->of[k] = r;
        err = read_rule(c, r, v, depth);
    }
    if (!err && anchor && strmap_put(&c->anchors, anchor->value->text, node))
        err = refuse(c, anchor->value, "$anchor", "the same name stands twice in the schema");
    return err;
}

static int compile(struct compiler *c, const struct value *v, unsigned depth, struct schema_node **ret)
{
    struct schema_node *node = map_get(&c->nodes, (uint64_t)(uintptr_t)v);
    *ret = node;
    if (node)
        return OK;
    if (v->type != VALUE_OBJECT && v->type != VALUE_BOOL)
        return refuse(c, v, value_type_name(v->type), "a schema is an object, true or false");
    if (depth > SCHEMA_DEPTH_MAX)
        return refuse(c, v, "schema", "nested deeper than 64 levels");
    if (++c->count > SCHEMA_COUNT_MAX)
        return refuse(c, v, "schema", "it has more than 5,000 schemas in it");
    *ret = node = arena_new(&c->schema->tree.arena, sizeof *node);
    map_put(&c->nodes, (uint64_t)(uintptr_t)v, node);
    node->source = v;
    node->is_constant = v->type == VALUE_BOOL;
    node->allows = v->is_true;
    return node->is_constant ? OK : compile_rules(c, v, depth, node);
}

/* --- references ----------------------------------------------------------------------------------------- */

static const struct value *step_into(const struct value *v, struct slice token)
{
    uint64_t index;
    const struct value_member *m;
    if (v->type == VALUE_OBJECT)
        return (m = value_member(v, token)) ? m->value : NULL;
    if (v->type != VALUE_ARRAY || text_to_u64(token, &index) || index >= v->count)
        return NULL;
    return v->list[index].value;
}

/* RFC 6901: "/a~1b/0", after percent-decoding. */
static const struct value *find_pointer(const struct value *v, struct slice pointer)
{
    struct buf token = {0};
    size_t at = 0;
    while (v && at < pointer.size) {
        if (pointer.data[at++] != '/')
            v = NULL;
        buf_clear(&token);
        for (; at < pointer.size && pointer.data[at] != '/'; at++) {
            uint8_t ch = pointer.data[at];
            if (ch == '~' && at + 1 < pointer.size)
                ch = pointer.data[++at] == '1' ? '/' : '~';
            buf_add_byte(&token, ch);
        }
        if (v)
            v = step_into(v, buf_slice(&token));
    }
    buf_done(&token);
    return v;
}

static int resolve(struct compiler *c, struct schema_rule *r)
{
    struct slice ref = r->value->text;
    struct buf fragment = {0};
    const struct value *target = NULL;
    struct schema_node *node = NULL;
    int err = OK;
    if (c->id.size && ref.size >= c->id.size && memcmp(ref.data, c->id.data, c->id.size) == 0)
        ref = slice_of(ref.data + c->id.size, ref.size - c->id.size);
    if (ref.size && ref.data[0] != '#')
        return refuse(c, r->value, "$ref",
                      "it must point into this schema, as in #/$defs/port: nothing is fetched");
    if (ref.size && percent_decode(slice_of(ref.data + 1, ref.size - 1), false, &fragment))
        err = refuse(c, r->value, "$ref", "a wrong escape");
    if (!err && fragment.size && fragment.data[0] != '/')
        node = strmap_get(&c->anchors, buf_slice(&fragment));
    else if (!err)
        target = find_pointer(c->schema->tree.documents[0], buf_slice(&fragment));
    if (!err && !node && !target)
        err = refuse(c, r->value, "$ref", "there is nothing at this place of the schema");
    if (!err && !node)
        err = compile(c, target, 0, &node);
    r->list[0].node = node;
    buf_done(&fragment);
    return err;
}

/* Resolving may compile more schemas with more references. */
static int resolve_all(struct compiler *c)
{
    int err = OK;
    for (size_t at = 0; !err && at < c->refs.size; at += sizeof(struct schema_rule *)) {
        struct schema_rule *r;
        memcpy(&r, c->refs.data + at, sizeof r);
        err = resolve(c, r);
    }
    return err;
}

static bool applies_in_place(enum keyword k)
{
    return k == KEYWORD_REF || k == KEYWORD_ALL_OF || k == KEYWORD_ANY_OF || k == KEYWORD_ONE_OF ||
           k == KEYWORD_NOT || k == KEYWORD_IF || k == KEYWORD_THEN || k == KEYWORD_ELSE ||
           k == KEYWORD_DEPENDENT_SCHEMAS;
}

/* Schemas that apply to the same value: a cycle of them never ends. */
static int check_cycles(const struct compiler *c, struct schema_node *node, unsigned depth)
{
    if (node->state == NODE_DONE)
        return OK;
    if (node->state == NODE_OPEN)
        return refuse(c, node->source, "$ref",
                      "this schema refers to itself for the same value: that has no end");
    if (depth > 4 * SCHEMA_DEPTH_MAX)
        return refuse(c, node->source, "$ref",
                      "more than 256 schemas apply to one value, each by the one before it");
    node->state = NODE_OPEN;
    for (size_t i = 0; i < node->rule_count; i++) {
        const struct schema_rule *r = &node->rules[i];
        for (size_t k = 0; applies_in_place(r->keyword) && k < r->count; k++) {
            int err = check_cycles(c, r->list[k].node, depth + 1);
            if (err)
                return err;
        }
    }
    node->state = NODE_DONE;
    return OK;
}

static int check_all_cycles(const struct compiler *c)
{
    uint64_t key;
    void *node;
    int err = check_cycles(c, c->schema->root, 0);
    for (size_t at = 0; !err && map_next(&c->nodes, &at, &key, &node);)
        err = check_cycles(c, node, 0);
    return err;
}

int schema_compile(struct slice text, struct schema **ret, struct format_error *error)
{
    struct schema *s = mem_new(sizeof *s);
    struct compiler c = {.schema = s, .states_left = SCHEMA_STATES_MAX, .error = error};
    struct value_tree *t = &s->tree;
    int err;
    *ret = NULL;
    s->text = slice_of(mem_copy(text.data, text.size), text.size);
    if (text.size > SCHEMA_SIZE_MAX)
        err = value_refuse(&(struct value_tree){.text = slice_text("")}, 0, error,
                           "a schema has at most 64 KiB");
    else
        err = format_check(FORMAT_JSON, s->text, error);
    if (!err)
        err = value_read(FORMAT_JSON, s->text, t, error);
    if (!err)
        err = compile(&c, t->documents[0], 0, &s->root);
    if (!err)
        err = resolve_all(&c);
    if (!err)
        err = check_all_cycles(&c);
    map_done(&c.nodes);
    strmap_done(&c.anchors);
    buf_done(&c.refs);
    if (err)
        schema_free(s);
    else
        *ret = s;
    return err;
}

void schema_free(struct schema *s)
{
    if (!s)
        return;
    value_tree_done(&s->tree);
    mem_free(s->text.data);
    mem_free(s);
}
