/* SPDX-License-Identifier: Apache-2.0
 * Small binary messages between members. Numbers are big-endian; a text is its size (4 bytes) and its
 * bytes. The reader does not trust its input: after the first error all its results are empty. It accepts a
 * count only if enough bytes follow for it. */
#ifndef BASE_WIRE_H
#define BASE_WIRE_H

#include "base/buf.h"
#include "base/err.h"

void wire_add_u32(struct buf *out, size_t value);
void wire_add_u64(struct buf *out, uint64_t value);
void wire_add_text(struct buf *out, struct slice text);

struct wire_reader {
    struct slice rest;
    bool is_bad;
};

/* Begins reading. The first byte is the version; any other version is malformed. */
struct wire_reader wire_begin(struct slice bytes, uint8_t version);
uint32_t wire_u32(struct wire_reader *r);
uint64_t wire_u64(struct wire_reader *r);
struct slice wire_text(struct wire_reader *r); /* borrowed */
size_t wire_count(struct wire_reader *r, size_t size_min);
/* ERR_MALFORMED: there was an error, or bytes are left. */
MUST_CHECK int wire_end(const struct wire_reader *r);

#endif
