/* SPDX-License-Identifier: Apache-2.0
 * Names as users write them, and names as segments of a key. A segment is percent-encoded ('/', '%',
 * control characters), so that every '/' of a key is a separator and each name has exactly one key. The
 * registry and the config center build their keys of these. Pure. */
#ifndef BASE_NAME_H
#define BASE_NAME_H

#include "base/buf.h"
#include "base/err.h"

#define NAME_SIZE_MAX      256 /* bytes of a name, not encoded */
#define NAMESPACE_SIZE_MAX 64

/* Checks a name: valid UTF-8, no control characters, no '/', 1 to max bytes, not "." or "..". ERR_INVALID
 * with a sentence in error that begins with `what` ("namespace", "service", ...). */
MUST_CHECK int name_check(struct slice name, size_t max, const char *what, char *error, size_t error_size);

void name_add_segment(struct buf *out, struct slice name);

/* Parses exactly count segments separated by '/', none of them empty, in the form of name_add_segment.
 * ERR_MALFORMED otherwise. The decoded names lie in scratch (cleared first). */
MUST_CHECK int name_parse_segments(struct slice text, size_t count, struct buf *scratch,
                                   struct slice *ret_names);

/* Appends 16 lower-case hexadecimal digits, so that keys sort in the order of their numbers. */
void name_add_hex16(struct buf *out, uint64_t value);
/* ERR_MALFORMED: not 16 such digits. */
MUST_CHECK int name_parse_hex16(struct slice text, uint64_t *ret_value);

/* Removes prefix from the front of *rest, if it is there and at least one byte follows. */
bool name_take_prefix(struct slice *rest, const char *prefix);

#endif
