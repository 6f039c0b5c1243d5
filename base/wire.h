/* SPDX-License-Identifier: Apache-2.0
 * Small binary messages between members: numbers big-endian, a text is its size (4) and its bytes. A reader
 * takes nothing on trust: it remembers the first thing wrong, after which everything it gives is empty, and a
 * count is believed as far as there are bytes for it. */
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

/* The first byte is the version; another one is malformed. */
struct wire_reader wire_begin(struct slice bytes, uint8_t version);
uint32_t wire_u32(struct wire_reader *r);
uint64_t wire_u64(struct wire_reader *r);
struct slice wire_text(struct wire_reader *r); /* borrowed */
size_t wire_count(struct wire_reader *r, size_t size_min);
/* ERR_MALFORMED: something was wrong, or something is left. */
MUST_CHECK int wire_end(const struct wire_reader *r);

#endif
