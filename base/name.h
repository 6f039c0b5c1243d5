/* SPDX-License-Identifier: Apache-2.0
 * Names as people write them, and names as segments of a key: percent-encoded ('/', '%', control characters),
 * so that every '/' of a key separates and one name has one key. What the registry's and the config center's
 * keys are made of. Pure. */
#ifndef BASE_NAME_H
#define BASE_NAME_H

#include "base/buf.h"
#include "base/err.h"

#define NAME_SIZE_MAX      256 /* bytes of a name, not encoded */
#define NAMESPACE_SIZE_MAX 64

/* A name that may stand in a key: valid UTF-8, no control characters, no '/', 1 to max bytes, not "." or
 * "..". what ("namespace", "service", ...) begins the sentence in error. */
MUST_CHECK int name_check(struct slice name, size_t max, const char *what, char *error, size_t error_size);

void name_add_segment(struct buf *out, struct slice name);

/* Exactly count segments with a '/' between, as name_add_segment writes them and none empty; ERR_MALFORMED
 * otherwise. The decoded names lie in scratch (cleared first). */
MUST_CHECK int name_parse_segments(struct slice text, size_t count, struct buf *scratch,
                                   struct slice *ret_names);

/* 16 lower-case hexadecimal digits, so that keys sort as their numbers do. */
void name_add_hex16(struct buf *out, uint64_t value);
MUST_CHECK int name_parse_hex16(struct slice text, uint64_t *ret_value);

/* Takes prefix away from the front of *rest, if it is there and something follows. */
bool name_take_prefix(struct slice *rest, const char *prefix);

#endif
