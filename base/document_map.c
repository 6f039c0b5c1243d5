/* SPDX-License-Identifier: Apache-2.0
 * Objects of strings in documents, sorted by key; see document.h.
 *
 * An object may have 4,096 strings, and jansson allocates each of them, and an entry of a table for it. So
 * document_begin_map reads the object with the lexer alone, and jansson reads the text without it. A text
 * that is not simply right is left to jansson, which words the error: document_begin reads all of it then. */
#include "base/document.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_lex.h"

#define ENTRY_BYTES_MIN 6 /* "":"", */

static const char TOO_MANY[] = "is not an object of strings, or has too many";

/* --- order -------------------------------------------------------------------------------------- */

/* Most comparisons end with the first eight bytes of the keys. */
struct sort_key {
    uint64_t first;
    const struct document_pair *pair;
};

static uint64_t first_bytes(struct slice key)
{
    uint64_t first = 0;
    size_t size = key.size < sizeof first ? key.size : sizeof first;
    for (size_t i = 0; i < size; i++)
        first |= (uint64_t)key.data[i] << (8 * (sizeof first - 1 - i));
    return first;
}

static int compare_keys(const void *a, const void *b)
{
    const struct sort_key *x = a, *y = b;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return slice_compare(x->pair->key, y->pair->key);
}

/* A text that the registry wrote is in order already. */
static bool is_in_order(const struct document_map *m)
{
    for (size_t i = 1; i < m->count; i++)
        if (slice_compare(m->list[i - 1].key, m->list[i].key) >= 0)
            return false;
    return true;
}

static void sort_map(struct arena *a, struct document_map *m)
{
    if (is_in_order(m))
        return;
    struct sort_key *keys = arena_alloc(a, m->count * sizeof *keys);
    struct document_pair *sorted = arena_alloc(a, m->count * sizeof *sorted);
    for (size_t i = 0; i < m->count; i++)
        keys[i] = (struct sort_key){first_bytes(m->list[i].key), &m->list[i]};
    qsort(keys, m->count, sizeof *keys, compare_keys);
    for (size_t i = 0; i < m->count; i++)
        sorted[i] = *keys[i].pair;
    m->list = sorted;
}

static bool has_duplicates(const struct document_map *m)
{
    for (size_t i = 1; i < m->count; i++)
        if (slice_equal(m->list[i - 1].key, m->list[i].key))
            return true;
    return false;
}

/* --- without a tree ------------------------------------------------------------------------------ */

/* Reads the string at *p, and moves *p behind it and the blanks after it. The text is in the arena. */
static bool take_string(struct document_reader *r, const uint8_t **p, const uint8_t *end, struct slice *ret)
{
    if (*p == end || **p != '"' || json_lex_string(*p, end, &r->unescaped, ret, p) != JSON_STRING_FINE)
        return false;
    if (ret->size && ret->data == r->unescaped.data)
        ret->data = arena_copy(r->arena, ret->data, ret->size);
    *p = json_skip_blanks(*p, end);
    return true;
}

static bool take_byte(const uint8_t **p, const uint8_t *end, uint8_t byte)
{
    if (*p == end || **p != byte)
        return false;
    *p = json_skip_blanks(*p + 1, end);
    return true;
}

/* Reads the object of strings at p into r->map. NULL: it is none, or has too many, which is refused. */
static const uint8_t *read_pairs(struct document_reader *r, const uint8_t *p, const uint8_t *end,
                                 size_t count_max)
{
    struct document_map *m = &r->map;
    if (!take_byte(&p, end, '{'))
        return NULL;
    if (p < end && *p == '}')
        return p + 1;
    do {
        struct slice key, value;
        if (m->count == count_max) {
            document_refuse(r, r->map_field, TOO_MANY);
            return NULL;
        }
        if (!take_string(r, &p, end, &key) || memchr(key.data, 0, key.size) || !take_byte(&p, end, ':') ||
            !take_string(r, &p, end, &value))
            return NULL;
        m->list[m->count++] = (struct document_pair){key, value};
    } while (take_byte(&p, end, ','));
    return p < end && *p == '}' ? p + 1 : NULL;
}

/* jansson takes up to a microsecond for a value: 256 KiB of unknown fields took 20 ms to be refused. */
static void begin_if_small(struct document_reader *r, struct slice text, size_t values_max)
{
    if (json_has_more_values(text, values_max))
        document_refuse(r, "the document", "has too many values");
    else
        document_begin(r, text);
}

/* Reads the field's object, and the text without it. False: neither is read. */
static bool begin_apart(struct document_reader *r, struct slice text, size_t count_max)
{
    const uint8_t *at = text.size ? json_find_value(text, r->map_field, &r->unescaped) : NULL;
    if (!at)
        return false;
    size_t from = (size_t)(at - text.data), size = text.size - from;
    const uint8_t *copy = arena_copy(r->arena, at, size);
    size_t most = size / ENTRY_BYTES_MIN + 1;
    r->map.list = arena_alloc(r->arena, (most < count_max ? most : count_max) * sizeof *r->map.list);
    const uint8_t *to = read_pairs(r, copy, copy + size, count_max);
    if (!to)
        return false;
    sort_map(r->arena, &r->map);
    if (has_duplicates(&r->map))
        return false;
    struct buf rest = {0};
    buf_reserve(&rest, text.size - (size_t)(to - copy) + 2);
    buf_add(&rest, text.data, from);
    buf_add_text(&rest, "{}");
    buf_add(&rest, to, size - (size_t)(to - copy));
    begin_if_small(r, buf_slice(&rest), DOCUMENT_VALUES_MAX);
    buf_done(&rest);
    if (r->err == ERR_MALFORMED)
        r->err = OK; /* its line and column are not those of the text */
    return r->root != NULL;
}

void document_begin_map(struct document_reader *r, struct slice text, const char *field, size_t count_max)
{
    r->map_field = field;
    if (begin_apart(r, text, count_max) || r->err)
        return;
    size_t of_map = r->map.list ? count_max : 0;
    r->map_field = NULL;
    r->map = (struct document_map){0};
    begin_if_small(r, text, DOCUMENT_VALUES_MAX + of_map);
}

/* --- fields -------------------------------------------------------------------------------------- */

static size_t bytes_of(const struct document_map *m)
{
    size_t bytes = 0;
    for (size_t i = 0; i < m->count; i++)
        bytes += m->list[i].key.size + m->list[i].value.size;
    return bytes;
}

/* False: refused. */
static bool keep_object(struct document_reader *r, const char *field, json_t *object, size_t count_max,
                        struct document_map *ret)
{
    const char *key;
    json_t *value;
    if (!json_is_object(object) || json_object_size(object) > count_max) {
        document_refuse(r, field, TOO_MANY);
        return false;
    }
    ret->list = arena_alloc(r->arena, (json_object_size(object) + 1) * sizeof *ret->list);
    json_object_foreach(object, key, value)
    {
        if (!json_is_string(value)) {
            document_refuse(r, field, "holds a value that is not a string");
            return false;
        }
        size_t size = strlen(key);
        struct slice name = slice_of(arena_copy(r->arena, key, size), size);
        ret->list[ret->count++] = (struct document_pair){name, document_keep(r, value)};
    }
    sort_map(r->arena, ret);
    return true;
}

void document_strings(struct document_reader *r, const char *field, size_t count_max, size_t bytes_max,
                      struct document_map *ret)
{
    json_t *object = document_take(r, field);
    struct document_map m = {0};
    if (!object)
        return;
    if (r->map_field && strcmp(r->map_field, field) == 0)
        m = r->map;
    else if (!keep_object(r, field, object, count_max, &m))
        return;
    if (bytes_of(&m) > bytes_max) {
        char why[64];
        snprintf(why, sizeof why, "is larger than its limit of %zu bytes", bytes_max);
        document_refuse(r, field, why);
        return;
    }
    *ret = m;
}
