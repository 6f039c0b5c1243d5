/* SPDX-License-Identifier: Apache-2.0
 * JSON Schema, draft 2020-12: schemas are compiled once and check the values of contents. The public API of
 * config/schema. Pure: it reads no file and fetches nothing.
 *
 * schema.def lists the keywords. `format` and the content keywords are annotations. `$ref` points into the schema
 * itself: "#", "#/json/pointer", "#anchor".
 *
 * The time is limited: a check takes at most SCHEMA_STEPS_MAX steps, then it is refused. One step is a keyword, a
 * name or a character of a pattern; 10 million take some 100 ms. */
#ifndef CONFIG_SCHEMA_SCHEMA_H
#define CONFIG_SCHEMA_SCHEMA_H

#include "config/value/value.h"

#define SCHEMA_SIZE_MAX   (64u << 10) /* bytes of a schema */
#define SCHEMA_DEPTH_MAX  64          /* values inside each other, in a schema */
#define SCHEMA_COUNT_MAX  5000        /* schemas in it */
#define SCHEMA_STATES_MAX 20000       /* parts of its patterns together, repetitions written out */
#define SCHEMA_STEPS_MAX  5000000
#define SCHEMA_CALLS_MAX  1000 /* schemas and values inside each other while it checks */

struct schema;

/* ERR_MALFORMED: it is no JSON, or no schema; error has line, column and a sentence. The text is copied. */
MUST_CHECK int schema_compile(struct slice text, struct schema **ret, struct format_error *error);
void schema_free(struct schema *s);

/* Checks a content whose format was checked (format_check): each document of a YAML stream. ERR_MALFORMED: error
 * has the place in the content and the rule that it breaks. Formats without values (value_has) are refused. */
MUST_CHECK int schema_check(const struct schema *s, enum format f, struct slice content,
                            struct format_error *error);
/* The same for values that were read. */
MUST_CHECK int schema_check_tree(const struct schema *s, const struct value_tree *t,
                                 struct format_error *error);

#endif
