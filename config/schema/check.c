/* SPDX-License-Identifier: Apache-2.0
 * Checks values by a compiled schema; see schema.h. It stops at the first fault.
 *
 * A check of a schema inside anyOf, oneOf, not, if or contains is quiet: its fault is not the content's. Each
 * schema counts a step, and so does each member, element and character of a pattern. */
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"
#include "config/schema/schema_private.h"

struct trail { /* the way from the document to a value, from its end */
    const struct trail *up;
    struct slice name; /* data NULL: an index */
    size_t index;
};

struct run {
    const struct value_tree *tree;
    struct format_error *error;
    int64_t steps;   /* that are left; below 0: over */
    unsigned calls;  /* inside each other */
    unsigned quiet;  /* above 0: faults are not worded */
    bool is_stopped; /* a limit was passed: everything ends */
};

static bool check(struct run *r, const struct schema_node *s, const struct value *v,
                  const struct trail *trail);

/* --- faults --------------------------------------------------------------------------------------------- */

static void add_trail(struct buf *path, const struct trail *trail)
{
    if (!trail)
        return;
    add_trail(path, trail->up);
    if (trail->name.data)
        value_path_add_name(path, trail->name);
    else
        value_path_add_index(path, trail->index);
}

struct shown {
    char text[72];
};

/* A value, short. */
static struct shown show(const struct value *v)
{
    struct shown s;
    size_t size = utf8_valid_size(slice_of(v->text.data, v->text.size > 40 ? 40 : v->text.size));
    const char *more = v->text.size > size ? "…" : "";
    switch (v->type) {
    case VALUE_NULL:
        snprintf(s.text, sizeof s.text, "null");
        break;
    case VALUE_BOOL:
        snprintf(s.text, sizeof s.text, v->is_true ? "true" : "false");
        break;
    case VALUE_NUMBER:
        snprintf(s.text, sizeof s.text, "%.*s%s", (int)size, (const char *)v->text.data, more);
        break;
    case VALUE_STRING:
        snprintf(s.text, sizeof s.text, "\"%.*s%s\"", (int)size, (const char *)v->text.data, more);
        break;
    case VALUE_ARRAY:
        snprintf(s.text, sizeof s.text, "an array of %zu", v->count);
        break;
    case VALUE_OBJECT:
        snprintf(s.text, sizeof s.text, "an object of %zu", v->count);
        break;
    }
    for (char *p = s.text; *p; p++)
        *p = (unsigned char)*p < ' ' ? '?' : *p;
    return s;
}

/* Words the fault at a place; returns false. */
static bool fail_at(struct run *r, size_t place, const struct trail *trail, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static bool fail_at(struct run *r, size_t place, const struct trail *trail, const char *format, ...)
{
    char why[256];
    struct buf path = {0};
    va_list args;
    if (r->quiet || r->is_stopped)
        return false;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    add_trail(&path, trail);
    size_t size = utf8_valid_size(slice_of(path.data, path.size > 120 ? 120 : path.size));
    int err = value_refuse(r->tree, place, r->error, "%.*s%s%s", (int)size, (const char *)path.data,
                           size ? ": " : "", why);
    (void)err;
    buf_done(&path);
    return false;
}

#define FAIL(r, v, trail, ...) fail_at(r, (v)->place, trail, __VA_ARGS__)

/* True: the check goes on. */
static bool step(struct run *r, int64_t count)
{
    r->steps -= count;
    if (r->steps >= 0 || r->is_stopped)
        return !r->is_stopped;
    r->quiet = 0;
    fail_at(r, 0, NULL, "the check takes more than %d steps: the schema is too costly for this content",
            SCHEMA_STEPS_MAX);
    r->is_stopped = true;
    return false;
}

/* --- scalars -------------------------------------------------------------------------------------------- */

static const struct number *number_of(const struct value *v)
{
    return v->type == VALUE_NUMBER || (v->is_loose && v->loose == VALUE_NUMBER) ? &v->number : NULL;
}

static unsigned types_of(const struct value *v)
{
    const struct number *n = number_of(v);
    unsigned types = 1u << v->type;
    if (v->is_loose)
        types |= 1u << v->loose;
    return types | (n && number_is_integer(n) ? SCHEMA_INTEGER : 0);
}

static bool check_type(struct run *r, const struct schema_rule *rule, const struct value *v,
                       const struct trail *trail)
{
    char wanted[80] = "";
    if (types_of(v) & rule->types)
        return true;
    for (unsigned t = 0; t <= VALUE_OBJECT; t++)
        if (rule->types & 1u << t)
            snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "%s%s", *wanted ? " or " : "",
                     value_type_name((enum value_type)t));
    if (rule->types & SCHEMA_INTEGER)
        snprintf(wanted + strlen(wanted), sizeof wanted - strlen(wanted), "%sinteger", *wanted ? " or " : "");
    return FAIL(r, v, trail, "%s is of type %s; it must be %s", show(v).text, value_type_name(v->type),
                wanted);
}

static bool check_enum(struct run *r, const struct schema_rule *rule, const struct value *v,
                       const struct trail *trail)
{
    for (size_t i = 0; i < rule->value->count; i++) {
        if (!step(r, (int64_t)v->count + 1))
            return false;
        if (value_equal(v, rule->value->list[i].value))
            return true;
    }
    return FAIL(r, v, trail, "%s is none of the %zu allowed values", show(v).text, rule->value->count);
}

static bool check_const(struct run *r, const struct schema_rule *rule, const struct value *v,
                        const struct trail *trail)
{
    return value_equal(v, rule->value) ||
           FAIL(r, v, trail, "%s must be %s", show(v).text, show(rule->value).text);
}

static bool check_multiple(struct run *r, const struct schema_rule *rule, const struct value *v,
                           const struct trail *trail)
{
    const struct number *n = number_of(v);
    return !n || number_is_multiple(n, &rule->value->number) ||
           FAIL(r, v, trail, "%s is no multiple of %s", show(v).text, show(rule->value).text);
}

static bool check_limit(struct run *r, const struct schema_rule *rule, const struct value *v,
                        const struct trail *trail)
{
    const struct number *n = number_of(v);
    enum keyword k = rule->keyword;
    bool is_max = k == KEYWORD_MAXIMUM || k == KEYWORD_EXCLUSIVE_MAXIMUM;
    int order = n ? number_compare(n, &rule->value->number) : -1;
    if (!n || (is_max ? order < 0 : order > 0))
        return true;
    if (order == 0 && (k == KEYWORD_MAXIMUM || k == KEYWORD_MINIMUM))
        return true;
    return FAIL(r, v, trail, "%s must be %s %s%s", show(v).text,
                k == KEYWORD_MAXIMUM || k == KEYWORD_MINIMUM ? "at"
                : is_max                                     ? "below"
                                                             : "above",
                k == KEYWORD_MAXIMUM   ? "most "
                : k == KEYWORD_MINIMUM ? "least "
                                       : "",
                show(rule->value).text);
}

static size_t length_of(struct slice s)
{
    size_t count = 0;
    for (size_t i = 0; i < s.size; i++)
        count += (s.data[i] & 0xc0) != 0x80;
    return count;
}

static bool check_pattern(struct run *r, const struct schema_rule *rule, const struct value *v,
                          const struct trail *trail)
{
    bool matches = v->type != VALUE_STRING || regex_matches(rule->regex, v->text, &r->steps);
    return step(r, 1) && (matches || FAIL(r, v, trail, "%s does not match the pattern %s", show(v).text,
                                          show(rule->value).text));
}

static bool check_length(struct run *r, const struct schema_rule *rule, const struct value *v,
                         const struct trail *trail)
{
    size_t length = length_of(v->text);
    bool is_max = rule->keyword == KEYWORD_MAX_LENGTH;
    if (v->type != VALUE_STRING || (is_max ? length <= rule->number : length >= rule->number))
        return step(r, (int64_t)(v->text.size / 64));
    return FAIL(r, v, trail, "it has %zu characters; at %s %u are allowed", length, is_max ? "most" : "least",
                rule->number);
}

static bool check_count(struct run *r, const struct schema_rule *rule, const struct value *v,
                        const struct trail *trail)
{
    bool is_of_items = rule->keyword == KEYWORD_MAX_ITEMS || rule->keyword == KEYWORD_MIN_ITEMS;
    bool is_max = rule->keyword == KEYWORD_MAX_ITEMS || rule->keyword == KEYWORD_MAX_PROPERTIES;
    if (v->type != (is_of_items ? VALUE_ARRAY : VALUE_OBJECT))
        return true;
    if (is_max ? v->count <= rule->number : v->count >= rule->number)
        return true;
    return FAIL(r, v, trail, "it has %zu %s; at %s %u are allowed", v->count,
                is_of_items ? "elements" : "names", is_max ? "most" : "least", rule->number);
}

/* --- arrays --------------------------------------------------------------------------------------------- */

static int compare_hashes(const void *a, const void *b)
{
    const struct value *const *x = a, *const *y = b;
    return ((*x)->hash > (*y)->hash) - ((*x)->hash < (*y)->hash);
}

static bool check_unique(struct run *r, const struct schema_rule *rule, const struct value *v,
                         const struct trail *trail)
{
    bool is_unique = true;
    if (v->type != VALUE_ARRAY || !rule->value->is_true || v->count < 2)
        return true;
    struct value **list = mem_alloc(v->count * sizeof *list);
    for (size_t i = 0; i < v->count; i++) {
        list[i] = v->list[i].value;
        (void)value_hash(list[i]);
    }
    qsort(list, v->count, sizeof *list, compare_hashes);
    for (size_t i = 0; i + 1 < v->count && is_unique && step(r, 4); i++)
        is_unique = list[i]->hash != list[i + 1]->hash || !value_equal(list[i], list[i + 1]);
    mem_free(list);
    return !r->is_stopped && (is_unique || FAIL(r, v, trail, "two of its %zu elements are equal", v->count));
}

static bool check_elements(struct run *r, const struct schema_node *s, const struct value *v,
                           const struct trail *trail)
{
    const struct schema_rule *prefix = s->of[KEYWORD_PREFIX_ITEMS], *items = s->of[KEYWORD_ITEMS];
    size_t prefix_count = prefix ? prefix->count : 0;
    for (size_t i = 0; v->type == VALUE_ARRAY && i < v->count; i++) {
        const struct schema_node *of = i < prefix_count ? prefix->list[i].node
                                       : items          ? items->list[0].node
                                                        : NULL;
        if (of && !check(r, of, v->list[i].value, &(struct trail){trail, {0}, i}))
            return false;
    }
    return true;
}

static bool check_contains(struct run *r, const struct schema_rule *rule, const struct value *v,
                           const struct trail *trail)
{
    const struct schema_node *s = rule->owner;
    const struct schema_rule *min = s->of[KEYWORD_MIN_CONTAINS], *max = s->of[KEYWORD_MAX_CONTAINS];
    const struct schema_node *of = rule->list[0].node;
    size_t count = 0, least = min ? min->number : 1;
    if (v->type != VALUE_ARRAY)
        return true;
    r->quiet++;
    for (size_t i = 0; i < v->count && !r->is_stopped; i++)
        count += check(r, of, v->list[i].value, NULL);
    r->quiet -= r->quiet > 0;
    if (r->is_stopped)
        return false;
    if (count < least)
        return FAIL(r, v, trail, "%zu of its elements are as `contains` asks; at least %zu must be", count,
                    least);
    if (max && count > max->number)
        return FAIL(r, v, trail, "%zu of its elements are as `contains` asks; at most %u may be", count,
                    max->number);
    return true;
}

/* --- objects -------------------------------------------------------------------------------------------- */

static bool require(struct run *r, const struct value *names, const struct value *v,
                    const struct trail *trail, struct slice because)
{
    for (size_t i = 0; i < names->count; i++) {
        struct slice name = names->list[i].value->text;
        if (!step(r, 1))
            return false;
        if (value_member(v, name))
            continue;
        return because.data ? FAIL(r, v, trail, "%s is missing, which %.60s requires",
                                   show(names->list[i].value).text, (const char *)because.data)
                            : FAIL(r, v, trail, "%s is missing", show(names->list[i].value).text);
    }
    return true;
}

static bool check_required(struct run *r, const struct schema_rule *rule, const struct value *v,
                           const struct trail *trail)
{
    return v->type != VALUE_OBJECT || require(r, rule->value, v, trail, (struct slice){0});
}

static bool check_dependent(struct run *r, const struct schema_rule *rule, const struct value *v,
                            const struct trail *trail)
{
    for (size_t i = 0; v->type == VALUE_OBJECT && i < rule->value->count; i++) {
        const struct value_member *m = &rule->value->list[i];
        char because[64];
        snprintf(because, sizeof because, "%.*s", (int)(m->name.size < 60 ? m->name.size : 0),
                 (const char *)m->name.data);
        if (!step(r, 1))
            return false;
        if (value_member(v, m->name) && !require(r, m->value, v, trail, slice_text(because)))
            return false;
    }
    return true;
}

static bool check_dependent_schemas(struct run *r, const struct schema_rule *rule, const struct value *v,
                                    const struct trail *trail)
{
    for (size_t i = 0; v->type == VALUE_OBJECT && i < rule->count; i++)
        if (!step(r, 1) || (value_member(v, rule->list[i].name) && !check(r, rule->list[i].node, v, trail)))
            return false;
    return true;
}

/* properties, patternProperties and additionalProperties of one member. */
static bool check_member(struct run *r, const struct schema_node *s, const struct value_member *m,
                         const struct trail *trail)
{
    const struct schema_rule *properties = s->of[KEYWORD_PROPERTIES],
                             *patterns = s->of[KEYWORD_PATTERN_PROPERTIES],
                             *others = s->of[KEYWORD_ADDITIONAL_PROPERTIES];
    const struct trail here = {trail, m->name.data ? m->name : slice_text(""), 0};
    const struct value_member *known = properties ? value_member(properties->value, m->name) : NULL;
    bool is_known = known != NULL;
    if (known && !check(r, properties->list[known - properties->value->list].node, m->value, &here))
        return false;
    for (size_t i = 0; patterns && i < patterns->count; i++) {
        if (!regex_matches(patterns->list[i].regex, m->name, &r->steps))
            continue;
        is_known = true;
        if (!check(r, patterns->list[i].node, m->value, &here))
            return false;
    }
    if (!step(r, 1))
        return false;
    if (is_known || !others)
        return true;
    if (others->list[0].node->is_constant && !others->list[0].node->allows)
        return fail_at(r, m->name_place, &here, "this name is not allowed here (additionalProperties)");
    return check(r, others->list[0].node, m->value, &here);
}

static bool check_members(struct run *r, const struct schema_node *s, const struct value *v,
                          const struct trail *trail)
{
    for (size_t i = 0; v->type == VALUE_OBJECT && i < v->count; i++)
        if (!check_member(r, s, &v->list[i], trail))
            return false;
    return true;
}

static bool check_names(struct run *r, const struct schema_rule *rule, const struct value *v,
                        const struct trail *trail)
{
    for (size_t i = 0; v->type == VALUE_OBJECT && i < v->count; i++) {
        const struct value_member *m = &v->list[i];
        const struct value name = {.type = VALUE_STRING, .text = m->name, .place = m->name_place};
        if (!check(r, rule->list[0].node, &name,
                   &(struct trail){trail, m->name.data ? m->name : slice_text(""), 0}))
            return false;
    }
    return true;
}

/* --- several schemas for one value ---------------------------------------------------------------------- */

static bool holds_quietly(struct run *r, const struct schema_node *s, const struct value *v)
{
    r->quiet++;
    bool holds = check(r, s, v, NULL);
    r->quiet -= r->quiet > 0;
    return holds;
}

static bool check_some(struct run *r, const struct schema_rule *rule, const struct value *v,
                       const struct trail *trail)
{
    bool is_one = rule->keyword == KEYWORD_ONE_OF;
    size_t count = 0;
    for (size_t i = 0; i < rule->count && !r->is_stopped && count < (is_one ? 2 : 1); i++)
        count += holds_quietly(r, rule->list[i].node, v);
    if (r->is_stopped)
        return false;
    if (!count && rule->count == 1)
        return check(r, rule->list[0].node, v, trail); /* says why */
    if (!count)
        return FAIL(r, v, trail, "%s fits none of the %zu schemas of %s", show(v).text, rule->count,
                    is_one ? "oneOf" : "anyOf");
    return !is_one || count == 1 || FAIL(r, v, trail, "%s fits more than one schema of oneOf", show(v).text);
}

static bool check_if(struct run *r, const struct schema_rule *rule, const struct value *v,
                     const struct trail *trail)
{
    bool holds = holds_quietly(r, rule->list[0].node, v);
    const struct schema_rule *then = rule->owner->of[holds ? KEYWORD_THEN : KEYWORD_ELSE];
    return !r->is_stopped && (!then || check(r, then->list[0].node, v, trail));
}

static bool check_all(struct run *r, const struct schema_rule *rule, const struct value *v,
                      const struct trail *trail)
{
    for (size_t i = 0; i < rule->count; i++)
        if (!check(r, rule->list[i].node, v, trail))
            return false;
    return true;
}

static bool check_not(struct run *r, const struct schema_rule *rule, const struct value *v,
                      const struct trail *trail)
{
    bool holds = holds_quietly(r, rule->list[0].node, v);
    return !r->is_stopped && (!holds || FAIL(r, v, trail, "%s is as the schema of `not` says", show(v).text));
}

/* --- one keyword, one schema ---------------------------------------------------------------------------- */

static bool (*const checks[KEYWORDS])(struct run *r, const struct schema_rule *rule, const struct value *v,
                                      const struct trail *trail) = {
#define KEYWORD(name, text, form, check) check,
#define REFUSED(text, why)
#include "config/schema/schema.def"
#undef KEYWORD
#undef REFUSED
};
static bool check(struct run *r, const struct schema_node *s, const struct value *v,
                  const struct trail *trail)
{
    bool holds = true;
    if (!step(r, 1))
        return false;
    if (s->is_constant)
        return s->allows || FAIL(r, v, trail, "%s: no value is allowed here", show(v).text);
    if (++r->calls > SCHEMA_CALLS_MAX) {
        r->quiet = 0;
        fail_at(r, v->place, NULL, "schema and content are nested deeper than %d levels together",
                SCHEMA_CALLS_MAX);
        r->is_stopped = true;
    }
    for (size_t i = 0; i < s->rule_count && holds && !r->is_stopped; i++)
        if (checks[s->rules[i].keyword])
            holds = step(r, 1) && checks[s->rules[i].keyword](r, &s->rules[i], v, trail);
    if (holds && !r->is_stopped && (s->of[KEYWORD_ITEMS] || s->of[KEYWORD_PREFIX_ITEMS]))
        holds = check_elements(r, s, v, trail);
    if (holds && !r->is_stopped &&
        (s->of[KEYWORD_PROPERTIES] || s->of[KEYWORD_PATTERN_PROPERTIES] ||
         s->of[KEYWORD_ADDITIONAL_PROPERTIES]))
        holds = check_members(r, s, v, trail);
    r->calls--;
    return holds && !r->is_stopped;
}

int schema_check_tree(const struct schema *s, const struct value_tree *t, struct format_error *error)
{
    struct run r = {.tree = t, .error = error, .steps = SCHEMA_STEPS_MAX};
    for (size_t i = 0; i < t->document_count; i++)
        if (!check(&r, s->root, t->documents[i], NULL))
            return ERR_MALFORMED;
    return OK;
}

int schema_check(const struct schema *s, enum format f, struct slice content, struct format_error *error)
{
    struct value_tree t;
    int err = value_read(f, content, &t, error);
    if (!err)
        err = schema_check_tree(s, &t, error);
    value_tree_done(&t);
    return err;
}
