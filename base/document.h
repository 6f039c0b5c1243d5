/* SPDX-License-Identifier: Apache-2.0
 * JSON documents with known fields: read field by field, written canonically. The keys of the registry and
 * of the config center hold such documents, and clients send them.
 *
 * There are two modes of reading:
 *
 * - strict, for documents from clients: an unknown field is an error that names it.
 * - tolerant, for documents in the store: unknown fields are skipped, because a client of the etcd API may
 *   have written them.
 *
 * A reader remembers the first error; after it every call is a no-op. It also remembers which fields were
 * read, so the code that reads a document lists its fields. An absent field and a null are the same. */
#ifndef BASE_DOCUMENT_H
#define BASE_DOCUMENT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"

#define TEXT_SIZE_MAX       256 /* bytes of one text field */
#define DOCUMENT_FIELDS_MAX 24
#define DOCUMENT_VALUES_MAX 1024 /* of document_begin_map, beside those of the object */

enum document_reading { DOCUMENT_STRICT, DOCUMENT_TOLERANT };

struct document_pair {
    struct slice key, value;
};

/* Pairs sorted by key; keys are unique. */
struct document_map {
    struct document_pair *list;
    size_t count;
};

/* Binary search; NULL = no pair has this key. */
const struct document_pair *document_map_find(const struct document_map *m, struct slice key);
struct document_map document_map_copy(const struct document_map *m, struct arena *a); /* with its texts */

struct document_reader {
    json_t *root;
    struct arena *arena; /* holds the values that were read */
    /* of document_begin_long */
    const char *long_field; /* NULL = there is none */
    struct slice long_text;
    struct buf unescaped;
    /* of document_begin_map */
    const char *map_field; /* NULL = there is none */
    struct document_map map;
    bool is_strict;
    const char *taken[DOCUMENT_FIELDS_MAX];
    size_t taken_count;
    const char *last_field, *last_reason; /* of document_refuse_last; NULL = none */
    int err;
    char *error; /* one sentence that names the field */
    size_t error_size;
};

/* Makes a reader without a document. error has error_size bytes, at least 200. */
struct document_reader document_reader_of(enum document_reading how, struct arena *a, char *error,
                                          size_t error_size);
/* Four functions begin a reading:
 *
 * - document_begin takes a text. ERR_MALFORMED with line and column if it is not JSON.
 * - document_begin_long takes a text with one long field.
 * - document_begin_map takes a text with one field that is an object of many strings.
 * - document_begin_value takes an object that the caller owns.
 *
 * The caller must call document_end, also after an error. It returns the result of the whole reading. */
void document_begin(struct document_reader *r, struct slice text);
/* As document_begin, for a text whose field of this name may be a long string. The string is read
 * separately, at a small part of the cost. Lines and columns of errors after it are not those of the text. */
void document_begin_long(struct document_reader *r, struct slice text, const char *field);
/* As document_begin, for a text whose field of this name may be an object of thousands of strings, to be read
 * by document_strings with the same count_max. The object is read separately, at a quarter of the cost; if it
 * has more than count_max strings, or the rest of the text more than DOCUMENT_VALUES_MAX values, the text is
 * refused without more. */
void document_begin_map(struct document_reader *r, struct slice text, const char *field, size_t count_max);
void document_begin_value(struct document_reader *r, json_t *object);
MUST_CHECK int document_end(struct document_reader *r);

/* Reports the error "FIELD WHY", as in "weight is not a number". Only the first error is kept. */
void document_refuse(struct document_reader *r, const char *field, const char *why);
/* Reports an error that document_end returns only if there is no other one: a missing field. So a
 * misspelled field is reported first. Both texts are borrowed until document_end. */
void document_refuse_last(struct document_reader *r, const char *field, const char *why);

/* The functions that read a field do not change *ret when the field is absent or wrong. */
json_t *document_take(struct document_reader *r, const char *field); /* NULL if absent */
/* One line of at most 256 bytes. Returns whether the field is present; an empty text is present. */
bool document_text(struct document_reader *r, const char *field, struct slice *ret);
void document_string(struct document_reader *r, const char *field, size_t size_max, struct slice *ret);
/* Any bytes: a string, or base64 if "base64":true stands beside it. False if absent or wrong. */
bool document_bytes(struct document_reader *r, const char *field, size_t size_max, struct slice *ret);
bool document_number(struct document_reader *r, const char *field, int64_t min, int64_t max, int64_t *ret);
bool document_bool(struct document_reader *r, const char *field, bool *ret);
/* An object of strings. */
void document_strings(struct document_reader *r, const char *field, size_t count_max, size_t bytes_max,
                      struct document_map *ret);
struct slice document_keep(struct document_reader *r, const json_t *string); /* a copy in the arena */

/* Writers of canonical JSON: empty fields are left out. */
void document_add_text(struct json_writer *w, const char *key, struct slice value);
/* As base64 if the bytes are not UTF-8, or if the escapes would take more room: at most 4/3 of the size. */
void document_add_bytes(struct json_writer *w, const char *key, struct slice bytes);
void document_add_number(struct json_writer *w, const char *key, int64_t value);
void document_add_map(struct json_writer *w, const char *key, const struct document_map *m);
void document_key(struct json_writer *w, struct slice key); /* jw_key for a key that is not a literal */
void document_write_map(const struct document_map *m, struct json_writer *w);

#endif
