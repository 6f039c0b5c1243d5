/* SPDX-License-Identifier: Apache-2.0
 * Reader of protobuf's wire format: varints and fields. A varint is a number in groups of 7 bits, the lowest
 * first; the top bit of a byte says that another byte follows. A field is a varint with number and type, and
 * a value.
 *
 * The reader accepts what Go's protobuf accepts: padded varints of up to 10 bytes, no number above 64 bits,
 * field numbers from 1 to 2^29 - 1, no groups. After an error the rest of the input is unspecified. */
#ifndef BASE_VARINT_H
#define BASE_VARINT_H

#include "base/buf.h"

enum { VARINT_SIZE_MAX = 10 };

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct wire_field {
    uint32_t number;
    enum wire_type type;
    uint64_t value;     /* of WIRE_VARINT; 0 of the others */
    struct slice bytes; /* of the others, borrowed; 8 or 4 bytes of WIRE_64 and WIRE_32 */
};

bool varint_take_long(struct slice *s, uint64_t *ret_value);

/* Takes a number off s. False: s ends too early, or the number has more than 64 bits. */
static inline bool varint_take(struct slice *s, uint64_t *ret_value)
{
    if (!s->size || s->data[0] >= 0x80)
        return varint_take_long(s, ret_value);
    *ret_value = s->data[0]; /* most of them */
    s->data++;
    s->size--;
    return true;
}

/* Takes a field off s. False: malformed. */
bool wire_field_take(struct slice *s, struct wire_field *ret_field);

#endif
