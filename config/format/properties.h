/* SPDX-License-Identifier: Apache-2.0
 * A reader of Java's .properties, pair by pair; properties.c has the rules. Pure. */
#ifndef CONFIG_FORMAT_PROPERTIES_H
#define CONFIG_FORMAT_PROPERTIES_H

#include "base/buf.h"
#include "config/format/format.h"

struct properties;

struct properties_pair { /* both without escapes, until the next call */
    struct slice key, value;
    size_t key_offset, value_offset; /* bytes of the text before them */
};

/* Both are borrowed. */
struct properties *properties_new(struct slice text, struct format_error *error);
void properties_free(struct properties *p);
/* *ret_has is false at the end. A key twice is given twice. ERR_MALFORMED: error is filled. */
MUST_CHECK int properties_next(struct properties *p, struct properties_pair *ret, bool *ret_has);

#endif
