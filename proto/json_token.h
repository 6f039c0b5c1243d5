/* SPDX-License-Identifier: Apache-2.0
 * Private to proto/json_*.c: the tokens of a JSON text and the error sentences. */
#ifndef PROTO_JSON_TOKEN_H
#define PROTO_JSON_TOKEN_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"

struct json_reader {
    const uint8_t *start, *at, *end;
    struct arena *arena;
    struct buf unescaped; /* the last string that had escapes */
    struct buf bytes;     /* the last base64 field */
    unsigned depth;
    char *error; /* empty until an error occurs */
    size_t error_size;
};

/* The token at a place, for an error sentence: ASCII only, cut short. */
struct json_quote {
    char text[40];
};
struct json_quote json_quote(const struct json_reader *r, const uint8_t *where);

/* Writes "proto: (line 1:8): …", with "syntax error " before the place if is_syntax. Both return
 * ERR_MALFORMED. */
int json_fail(struct json_reader *r, const uint8_t *where, bool is_syntax, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
int json_fail_token(struct json_reader *r);

uint8_t json_peek(struct json_reader *r); /* the next byte after blanks; 0 at the end */
/* The functions that may fail return ERR_MALFORMED; the message and its place are in r. */
MUST_CHECK int json_expect(struct json_reader *r, uint8_t c);
bool json_take_word(struct json_reader *r, const char *word); /* true, false, null */
/* Reads a string. It is borrowed from the text, or, if it had escapes, from r->unescaped until the next
 * string. ERR_MALFORMED. */
MUST_CHECK int json_read_string(struct json_reader *r, struct slice *ret_string);
MUST_CHECK int json_skip_value(struct json_reader *r); /* an ignored value, which must be well formed */

struct json_integer {
    bool is_negative;
    uint64_t magnitude;
};
/* Reads a whole number, or a string that holds one and nothing else: 12, "12", 1e3, 2.50e1. ERR_MALFORMED
 * without a sentence for anything else and for numbers beyond 64 bits. */
MUST_CHECK int json_read_integer(struct json_reader *r, struct json_integer *ret_integer);

#endif
