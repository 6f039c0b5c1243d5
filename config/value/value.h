/* SPDX-License-Identifier: Apache-2.0
 * The values of a JSON, YAML or properties content as a tree, with the place of each in the text. Pure.
 *
 *   json         RFC 8259. Numbers keep their text.
 *   yaml         the core schema of YAML 1.2, so `yes` is a string. `.inf`, `.nan` and integers over 64 bits that
 *                are not decimal are strings. An alias is its target. `<<` merges the keys of mappings.
 *                A key that is a scalar is its text; one that is a collection is refused.
 *   properties   one object; its names are the whole keys, dots included. A value has no type: it is a string, and
 *                also true, false or a number if its text is one (`is_loose`).
 *
 * The caller has checked the format (format_check). The depth is at most FORMAT_DEPTH_MAX. */
#ifndef CONFIG_VALUE_VALUE_H
#define CONFIG_VALUE_VALUE_H

#include "base/json.h"
#include "base/mem.h"
#include "config/format/format.h"
#include "config/value/number.h"

#define VALUE_COUNT_MAX 100000 /* values of a content */
#define VALUE_PATH_MAX  1024   /* bytes of a path */

enum value_type { VALUE_NULL, VALUE_BOOL, VALUE_NUMBER, VALUE_STRING, VALUE_ARRAY, VALUE_OBJECT };

struct value;
struct value_member {
    struct slice name; /* OBJECT */
    size_t name_place;
    struct value *value;
};

struct value {
    enum value_type type;
    bool is_true;
    bool is_loose;               /* STRING of properties; `loose` has its other type */
    enum value_type loose;       /* STRING: no other type */
    size_t place;                /* see value_offset */
    struct slice text;           /* STRING; NUMBER: as JSON */
    struct number number;        /* NUMBER, loose NUMBER */
    struct value_member *list;   /* ARRAY, OBJECT: in the order of the text */
    struct value_member **names; /* OBJECT: sorted by name */
    size_t count;
    uint64_t hash; /* 0: value_hash has not run */
};

struct value_tree {
    struct arena arena;
    struct slice text;        /* borrowed */
    bool is_yaml;             /* places are characters, else bytes */
    struct value **documents; /* YAML: of the stream; else one. An empty YAML has none */
    size_t document_count, value_count;
};

/* True: contents of this format have values. */
bool value_has(enum format f);
/* Reads all values. ERR_MALFORMED: error has line, column and a sentence. In any case value_tree_done. */
MUST_CHECK int value_read(enum format f, struct slice text, struct value_tree *ret,
                          struct format_error *error);
void value_tree_done(struct value_tree *t);
/* Fills error: "line 1, column 2: " and the sentence. Returns ERR_MALFORMED. */
int value_refuse(const struct value_tree *t, size_t place, struct format_error *error, const char *format,
                 ...) __attribute__((format(printf, 4, 5)));

const char *value_type_name(enum value_type t);
/* NULL: the object has no such member. */
const struct value_member *value_member(const struct value *object, struct slice name);
/* Equal as JSON Schema defines it: 1 and 1.0 are equal, the order of members does not count. Linear. */
bool value_equal(const struct value *a, const struct value *b);
uint64_t value_hash(struct value *v); /* of equal values equal */

/* --- paths: a.b[2]["x.y"] --- */
/* Finds the value of a path: names separated by dots, [N] of an array from 0 on, ["NAME"] for any name, as a
 * JSON string. In properties the path is the whole key. ERR_INVALID: it is no path; ERR_NOT_FOUND; both with a
 * sentence in error (at least 200 bytes). */
MUST_CHECK int value_find(enum format f, const struct value *root, struct slice path,
                          const struct value **ret, char *error, size_t error_size);
/* Appends a name or an index to a path. */
void value_path_add_name(struct buf *path, struct slice name);
void value_path_add_index(struct buf *path, size_t index);

/* Writes it as JSON. A loose value is written as its other type. Stops at bytes_max: false. */
bool value_write(const struct value *v, struct json_writer *w, size_t bytes_max);

/* --- for the readers of the formats --- */
struct value *value_new(struct value_tree *t, enum value_type type, size_t place); /* NULL: too many */
/* Copies the members and sorts the names. */
void value_close(struct value_tree *t, struct value *v, const struct value_member *list, size_t count);
void value_set_number(struct value_tree *t, struct value *v, struct slice text);
int value_read_json(struct value_tree *t, struct format_error *error);
int value_read_yaml(struct value_tree *t, struct format_error *error);
int value_read_properties(struct value_tree *t, struct format_error *error);
struct slice value_keep(struct value_tree *t, struct slice s); /* a copy */
int value_refuse_count(const struct value_tree *t, size_t place, struct format_error *error);

#endif
