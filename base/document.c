/* SPDX-License-Identifier: Apache-2.0
 * Reading and writing of documents field by field. See document.h. */
#include "base/document.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json_lex.h"
#include "base/text.h"

struct document_reader document_reader_of(enum document_reading how, struct arena *a, char *error,
                                          size_t error_size)
{
    return (struct document_reader){
        .is_strict = how == DOCUMENT_STRICT, .arena = a, .error = error, .error_size = error_size};
}

void document_refuse(struct document_reader *r, const char *field, const char *why)
{
    if (r->err)
        return;
    r->err = ERR_INVALID;
    snprintf(r->error, r->error_size, "%s %s", field, why);
}

void document_refuse_last(struct document_reader *r, const char *field, const char *why)
{
    if (r->last_field)
        return;
    r->last_field = field;
    r->last_reason = why;
}

void document_begin(struct document_reader *r, struct slice text)
{
    r->err = json_parse(text, &r->root, r->error, r->error_size);
    if (!r->err && !json_is_object(r->root))
        document_refuse(r, "the document", "is not a JSON object");
}

void document_begin_long(struct document_reader *r, struct slice text, const char *field)
{
    size_t from, to;
    if (!json_find_string(text, field, &r->unescaped, &r->long_text, &from, &to)) {
        document_begin(r, text);
        return;
    }
    struct buf rest = {0};
    r->long_field = field;
    buf_reserve(&rest, text.size - (to - from) + 2);
    buf_add(&rest, text.data, from);
    buf_add_text(&rest, "\"\"");
    buf_add(&rest, text.data + to, text.size - to);
    document_begin(r, buf_slice(&rest));
    buf_done(&rest);
}

void document_begin_value(struct document_reader *r, json_t *object)
{
    r->root = json_incref(object);
    if (!json_is_object(object))
        document_refuse(r, "the document", "is not a JSON object");
}

json_t *document_take(struct document_reader *r, const char *field)
{
    if (r->err)
        return NULL;
    assert(r->taken_count < DOCUMENT_FIELDS_MAX);
    r->taken[r->taken_count++] = field;
    json_t *value = json_object_get(r->root, field);
    return json_is_null(value) ? NULL : value;
}

/* A strict reading fails if a field was not read. */
int document_end(struct document_reader *r)
{
    const char *key;
    json_t *value;
    if (!r->err && r->is_strict) {
        json_object_foreach(r->root, key, value)
        {
            bool is_known = false;
            for (size_t i = 0; i < r->taken_count; i++)
                is_known = is_known || strcmp(r->taken[i], key) == 0;
            if (!is_known && !r->err) {
                r->err = ERR_INVALID;
                snprintf(r->error, r->error_size, "unknown field \"%.64s\"", key);
            }
        }
    }
    if (r->last_field)
        document_refuse(r, r->last_field, r->last_reason);
    json_decref(r->root);
    r->root = NULL;
    buf_done(&r->unescaped);
    return r->err;
}

struct slice document_keep(struct document_reader *r, const json_t *string)
{
    size_t size = json_string_length(string);
    return slice_of(arena_copy(r->arena, json_string_value(string), size), size);
}

static bool has_control(struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        if (s.data[i] < 0x20 || s.data[i] == 0x7f)
            return true;
    return false;
}

bool document_text(struct document_reader *r, const char *field, struct slice *ret)
{
    json_t *value = document_take(r, field);
    if (!value)
        return false;
    if (!json_is_string(value) || json_string_length(value) > TEXT_SIZE_MAX)
        document_refuse(r, field, "is not a string of at most 256 bytes");
    else if (has_control(slice_of(json_string_value(value), json_string_length(value))))
        document_refuse(r, field, "holds a control character");
    else
        *ret = document_keep(r, value);
    return true;
}

void document_string(struct document_reader *r, const char *field, size_t size_max, struct slice *ret)
{
    json_t *value = document_take(r, field);
    if (!value)
        return;
    bool is_long = r->long_field && strcmp(r->long_field, field) == 0;
    size_t size = is_long ? r->long_text.size : json_string_length(value);
    if (json_is_string(value) && size <= size_max) {
        *ret =
            is_long ? slice_of(arena_copy(r->arena, r->long_text.data, size), size) : document_keep(r, value);
        return;
    }
    char why[64];
    snprintf(why, sizeof why, "is not a string of at most %zu bytes", size_max);
    document_refuse(r, field, why);
}

bool document_bytes(struct document_reader *r, const char *field, size_t size_max, struct slice *ret)
{
    bool is_base64 = false;
    struct slice text = {0};
    struct buf bytes = {0};
    document_bool(r, "base64", &is_base64);
    document_string(r, field, is_base64 ? size_max / 3 * 4 + 4 : size_max, &text);
    if (r->err || !text.data)
        return false;
    if (is_base64 && (base64_decode(text, &bytes) || bytes.size > size_max))
        document_refuse(r, field, "is no base64, or too long");
    else if (is_base64)
        text = slice_of(arena_copy(r->arena, bytes.data, bytes.size), bytes.size);
    buf_done(&bytes);
    if (!r->err)
        *ret = text;
    return !r->err;
}

bool document_number(struct document_reader *r, const char *field, int64_t min, int64_t max, int64_t *ret)
{
    json_t *value = document_take(r, field);
    if (!value)
        return false;
    if (!json_is_integer(value) || json_integer_value(value) < min || json_integer_value(value) > max) {
        char why[96];
        snprintf(why, sizeof why, "is not a whole number from %" PRId64 " to %" PRId64, min, max);
        document_refuse(r, field, why);
        return false;
    }
    *ret = json_integer_value(value);
    return true;
}

bool document_bool(struct document_reader *r, const char *field, bool *ret)
{
    json_t *value = document_take(r, field);
    if (value && !json_is_boolean(value))
        document_refuse(r, field, "is not true or false");
    if (!value || r->err)
        return false;
    *ret = json_is_true(value);
    return true;
}

/* --- writing ----------------------------------------------------------------------------------- */

void document_add_text(struct json_writer *w, const char *key, struct slice value)
{
    if (!value.size)
        return;
    jw_key(w, key);
    jw_string(w, value);
}

void document_add_bytes(struct json_writer *w, const char *key, struct slice bytes)
{
    size_t base64_size = (bytes.size + 2) / 3 * 4;
    jw_key(w, key);
    if (utf8_is_valid(bytes) && json_string_size(bytes) <= base64_size + 64) {
        jw_string(w, bytes);
        return;
    }
    jw_base64(w, bytes);
    jw_key(w, "base64");
    jw_bool(w, true);
}

void document_add_number(struct json_writer *w, const char *key, int64_t value)
{
    jw_key(w, key);
    jw_int(w, value);
}

void document_key(struct json_writer *w, struct slice key)
{
    jw_string(w, key);
    buf_add_byte(w->out, ':');
    w->needs_comma = false;
}

const struct document_pair *document_map_find(const struct document_map *m, struct slice key)
{
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = slice_compare(m->list[middle].key, key);
        if (order == 0)
            return &m->list[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static struct slice copy_text(struct slice s, struct arena *a)
{
    return slice_of(s.size ? arena_copy(a, s.data, s.size) : NULL, s.size);
}

struct document_map document_map_copy(const struct document_map *m, struct arena *a)
{
    struct document_map copy = {0};
    if (m->count)
        copy.list = arena_alloc(a, m->count * sizeof *copy.list);
    for (; copy.count < m->count; copy.count++)
        copy.list[copy.count] = (struct document_pair){copy_text(m->list[copy.count].key, a),
                                                       copy_text(m->list[copy.count].value, a)};
    return copy;
}

void document_write_map(const struct document_map *m, struct json_writer *w)
{
    jw_open(w, '{');
    for (size_t i = 0; i < m->count; i++) {
        document_key(w, m->list[i].key);
        jw_string(w, m->list[i].value);
    }
    jw_close(w, '}');
}

void document_add_map(struct json_writer *w, const char *key, const struct document_map *m)
{
    if (!m->count)
        return;
    jw_key(w, key);
    document_write_map(m, w);
}
