/* SPDX-License-Identifier: Apache-2.0
 * A JSON object of known fields, read field by field and written canonically: what the keys of the registry
 * and of the config center hold, and what clients send to them.
 *
 * Two ways to read: strict, for what a client sends (an unknown field is refused, by name), and tolerant, for
 * what stands in the store (somebody may have written it through the etcd API: unknown fields are skipped). A
 * reader remembers the first thing wrong, after which every call is a no-op, and which fields were taken: so
 * who reads a document is a list of its fields. An absent field and a null are the same. */
#ifndef BASE_DOCUMENT_H
#define BASE_DOCUMENT_H

#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "base/mem.h"

#define TEXT_SIZE_MAX       256 /* of one field of text */
#define DOCUMENT_FIELDS_MAX 24

enum document_reading { DOCUMENT_STRICT, DOCUMENT_TOLERANT };

struct document_pair {
    struct slice key, value;
};

/* Sorted by key, no key twice. */
struct document_map {
    struct document_pair *list;
    size_t count;
};

struct document_reader {
    json_t *root;
    struct arena *arena; /* where what was read lies */
    /* document_begin_long's */
    const char *long_field; /* NULL = there is none */
    struct slice long_text;
    struct buf unescaped;
    bool is_strict;
    const char *taken[DOCUMENT_FIELDS_MAX];
    size_t taken_count;
    const char *late_field, *late_why; /* document_refuse_last; NULL = nothing */
    int err;
    char *error; /* one sentence that names the field */
    size_t error_size;
};

/* error has at least 200 bytes. */
struct document_reader document_reader_of(enum document_reading how, struct arena *a, char *error,
                                          size_t error_size);
/* One of the three begins: a text (ERR_MALFORMED with line and column if it is no JSON), or an object that
 * the caller holds. document_end must follow, also behind an error; its result is the reading's. */
void document_begin(struct document_reader *r, struct slice text);
/* The same for a text whose field of this name may be a long string: that is read by itself, at a small part
 * of the cost. Lines and columns of what is wrong behind it are not those of the text. */
void document_begin_long(struct document_reader *r, struct slice text, const char *field);
void document_begin_value(struct document_reader *r, json_t *object);
MUST_CHECK int document_end(struct document_reader *r);

/* "FIELD WHY", as in "weight is not a number": only the first one stays. */
void document_refuse(struct document_reader *r, const char *field, const char *why);
/* What is missing: said at the end, if nothing else is wrong. Who misspelled a field is told of that. Both
 * texts are kept as they are. */
void document_refuse_last(struct document_reader *r, const char *field, const char *why);

/* The readers leave *ret alone when the field is absent or wrong. */
json_t *document_take(struct document_reader *r, const char *field); /* NULL if absent */
/* One line of at most 256 bytes. Returns whether the field is there at all: an empty text is not an absent
 * one. */
bool document_text(struct document_reader *r, const char *field, struct slice *ret);
void document_string(struct document_reader *r, const char *field, size_t size_max, struct slice *ret);
/* Bytes of any kind: a string, which is base64 if there is "base64":true beside it. False if absent or wrong.
 */
bool document_bytes(struct document_reader *r, const char *field, size_t size_max, struct slice *ret);
bool document_number(struct document_reader *r, const char *field, int64_t min, int64_t max, int64_t *ret);
bool document_bool(struct document_reader *r, const char *field, bool *ret);
/* An object of strings. */
void document_strings(struct document_reader *r, const char *field, size_t count_max, size_t bytes_max,
                      struct document_map *ret);
struct slice document_keep(struct document_reader *r, const json_t *string); /* copied into the arena */

/* Canonical JSON; what is empty is left out. */
void document_add_text(struct json_writer *w, const char *key, struct slice value);
/* As base64 if it is no UTF-8, or if its escapes would take more room: never more than 4/3 of its size. */
void document_add_bytes(struct json_writer *w, const char *key, struct slice bytes);
void document_add_number(struct json_writer *w, const char *key, int64_t value);
void document_add_map(struct json_writer *w, const char *key, const struct document_map *m);
void document_key(struct json_writer *w, struct slice key); /* jw_key for a key that is no literal */
void document_write_map(const struct document_map *m, struct json_writer *w);

#endif
