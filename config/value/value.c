/* SPDX-License-Identifier: Apache-2.0
 * Trees of values: building, comparing, finding by path, writing as JSON; see value.h. */
#include "config/value/value.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/json_lex.h"
#include "base/text.h"

bool value_has(enum format f)
{
    return f == FORMAT_JSON || f == FORMAT_YAML || f == FORMAT_PROPERTIES;
}

int value_read(enum format f, struct slice text, struct value_tree *ret, struct format_error *error)
{
    *ret = (struct value_tree){.text = text.size ? text : slice_text(""), .is_yaml = f == FORMAT_YAML};
    if (f == FORMAT_JSON)
        return value_read_json(ret, error);
    if (f == FORMAT_YAML)
        return value_read_yaml(ret, error);
    if (f == FORMAT_PROPERTIES)
        return value_read_properties(ret, error);
    return value_refuse(ret, 0, error, "the format %s has no values", format_name(f));
}

void value_tree_done(struct value_tree *t)
{
    arena_done(&t->arena);
    *t = (struct value_tree){0};
}

/* --- places --------------------------------------------------------------------------------------------- */

static size_t offset_of(const struct value_tree *t, size_t place)
{
    size_t at = 0;
    if (!t->is_yaml)
        return place;
    for (; place && at < t->text.size; place--) {
        size_t n = utf8_length(slice_of(t->text.data + at, t->text.size - at));
        at += n ? n : 1;
    }
    return at;
}

int value_refuse(const struct value_tree *t, size_t place, struct format_error *error, const char *format,
                 ...)
{
    va_list args;
    format_place(t->text, offset_of(t, place), &error->line, &error->column);
    int n = snprintf(error->text, sizeof error->text, "line %zu, column %zu: ", error->line, error->column);
    va_start(args, format);
    vsnprintf(error->text + n, sizeof error->text - (size_t)n, format, args);
    va_end(args);
    error->text[utf8_valid_size(slice_text(error->text))] = 0; /* it may have been cut inside a character */
    return ERR_MALFORMED;
}

int value_refuse_count(const struct value_tree *t, size_t place, struct format_error *error)
{
    return value_refuse(t, place, error, "it has more than %d values", VALUE_COUNT_MAX);
}

/* --- building ------------------------------------------------------------------------------------------- */

struct slice value_keep(struct value_tree *t, struct slice s)
{
    return slice_of(s.size ? arena_copy(&t->arena, s.data, s.size) : (const void *)"", s.size);
}

struct value *value_new(struct value_tree *t, enum value_type type, size_t place)
{
    if (t->value_count == VALUE_COUNT_MAX)
        return NULL;
    struct value *v = arena_new(&t->arena, sizeof *v);
    t->value_count++;
    v->type = type;
    v->place = place;
    v->loose = VALUE_STRING;
    return v;
}

static int compare_names(const void *a, const void *b)
{
    const struct value_member *const *x = a, *const *y = b;
    int order = slice_compare((*x)->name, (*y)->name);
    return order ? order : (*x > *y) - (*x < *y);
}

void value_close(struct value_tree *t, struct value *v, const struct value_member *list, size_t count)
{
    v->count = count;
    if (!count)
        return;
    v->list = arena_copy(&t->arena, list, count * sizeof *list);
    if (v->type != VALUE_OBJECT)
        return;
    v->names = arena_alloc(&t->arena, count * sizeof *v->names);
    for (size_t i = 0; i < count; i++)
        v->names[i] = &v->list[i];
    qsort(v->names, count, sizeof *v->names, compare_names);
}

void value_set_number(struct value_tree *t, struct value *v, struct slice text)
{
    v->text = text;
    v->number = number_read(text, &t->arena);
}

/* --- comparing ------------------------------------------------------------------------------------------ */

const char *value_type_name(enum value_type t)
{
    static const char *const names[] = {"null", "boolean", "number", "string", "array", "object"};
    return names[t];
}

const struct value_member *value_member(const struct value *object, struct slice name)
{
    size_t from = 0, to = object->type == VALUE_OBJECT ? object->count : 0;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        int order = slice_compare(object->names[middle]->name, name);
        if (order == 0)
            return object->names[middle];
        if (order < 0)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

/* The loose value as its other type equals the other value. */
static bool equals_loosely(const struct value *loose, const struct value *other)
{
    if (!loose->is_loose || loose->loose != other->type)
        return false;
    if (other->type == VALUE_BOOL)
        return loose->is_true == other->is_true;
    return other->type == VALUE_NUMBER && number_compare(&loose->number, &other->number) == 0;
}

bool value_equal(const struct value *a, const struct value *b)
{
    if (a->type != b->type)
        return equals_loosely(a, b) || equals_loosely(b, a);
    if (a->count != b->count)
        return false;
    switch (a->type) {
    case VALUE_NULL:
        return true;
    case VALUE_BOOL:
        return a->is_true == b->is_true;
    case VALUE_NUMBER:
        return number_compare(&a->number, &b->number) == 0;
    case VALUE_STRING:
        return slice_equal(a->text, b->text);
    case VALUE_ARRAY:
        for (size_t i = 0; i < a->count; i++)
            if (!value_equal(a->list[i].value, b->list[i].value))
                return false;
        return true;
    case VALUE_OBJECT:
        for (size_t i = 0; i < a->count; i++)
            if (!slice_equal(a->names[i]->name, b->names[i]->name) ||
                !value_equal(a->names[i]->value, b->names[i]->value))
                return false;
        return true;
    }
    return false;
}

static uint64_t mix(uint64_t hash, uint64_t more)
{
    const uint64_t both[2] = {hash, more};
    return hash64(both, sizeof both);
}

uint64_t value_hash(struct value *v)
{
    if (v->hash)
        return v->hash;
    uint64_t hash = mix((uint64_t)v->type, v->type == VALUE_BOOL && v->is_true);
    if (v->type == VALUE_STRING)
        hash = mix(hash, hash64(v->text.data, v->text.size));
    if (v->type == VALUE_NUMBER)
        hash = mix(mix(hash, hash64(v->number.digits.data, v->number.digits.size)),
                   (uint64_t)v->number.exponent * 2 + v->number.is_negative);
    for (size_t i = 0; i < v->count; i++) {
        const struct value_member *m = v->type == VALUE_OBJECT ? v->names[i] : &v->list[i];
        if (v->type == VALUE_OBJECT)
            hash = mix(hash, hash64(m->name.data, m->name.size));
        hash = mix(hash, value_hash(m->value));
    }
    return v->hash = hash ? hash : 1;
}

/* --- writing -------------------------------------------------------------------------------------------- */

static bool write_scalar(const struct value *v, enum value_type as, struct json_writer *w)
{
    switch (as) {
    case VALUE_NULL:
        jw_raw(w, slice_text("null"));
        return true;
    case VALUE_BOOL:
        jw_bool(w, v->is_true);
        return true;
    case VALUE_NUMBER:
        jw_raw(w, v->text);
        return true;
    case VALUE_STRING:
        jw_string(w, v->text);
        return true;
    case VALUE_ARRAY:
    case VALUE_OBJECT:
        break;
    }
    return false;
}

bool value_write(const struct value *v, struct json_writer *w, size_t bytes_max)
{
    bool is_object = v->type == VALUE_OBJECT;
    if (w->out->size > bytes_max)
        return false;
    if (write_scalar(v, v->is_loose ? v->loose : v->type, w))
        return w->out->size <= bytes_max;
    jw_open(w, is_object ? '{' : '[');
    for (size_t i = 0; i < v->count; i++) {
        if (is_object)
            jw_string(w, v->list[i].name);
        if (is_object) {
            buf_add_byte(w->out, ':');
            w->needs_comma = false;
        }
        if (!value_write(v->list[i].value, w, bytes_max))
            return false;
    }
    jw_close(w, is_object ? '}' : ']');
    return w->out->size <= bytes_max;
}
