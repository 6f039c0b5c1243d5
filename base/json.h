/* SPDX-License-Identifier: Apache-2.0
 * JSON: a parser (jansson; the one file that includes it) and a streaming writer. The writer adds commas
 * itself and does not check that the calls balance. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

/* Limits of json_parse: nesting 200 levels; duplicate keys refused; NUL inside strings allowed. On error
 * writes one sentence with line and column into error (at least 160 bytes) and returns ERR_MALFORMED. */
MUST_CHECK int json_parse(struct slice text, json_t **ret_root, char *error, size_t error_size);

struct json_writer {
    struct buf *out;
    bool needs_comma;
};

void jw_open(struct json_writer *w, char bracket);  /* '{' or '[' */
void jw_close(struct json_writer *w, char bracket); /* '}' or ']' */
void jw_key(struct json_writer *w, const char *key);
void jw_string(struct json_writer *w, struct slice s); /* escapes; invalid UTF-8 becomes U+FFFD */
/* bytes that jw_string writes, quotes included, if s is valid UTF-8 */
size_t json_string_size(struct slice s);
void jw_text(struct json_writer *w, const char *text);
void jw_int(struct json_writer *w, int64_t v);
void jw_uint(struct json_writer *w, uint64_t v);
void jw_int_string(struct json_writer *w, int64_t v); /* proto3 JSON: "12" */
void jw_uint_string(struct json_writer *w, uint64_t v);
void jw_base64(struct json_writer *w, struct slice s);
void jw_bool(struct json_writer *w, bool v);
void jw_raw(struct json_writer *w, struct slice s); /* already JSON */

#endif
