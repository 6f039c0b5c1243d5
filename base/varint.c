/* SPDX-License-Identifier: Apache-2.0
 * Reader of protobuf's wire format; see varint.h. */
#include "base/varint.h"

enum { FIELD_NUMBER_MAX = 0x1fffffff };

bool varint_take_long(struct slice *s, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < VARINT_SIZE_MAX && i < s->size; i++) {
        uint8_t byte = s->data[i];
        if (i == VARINT_SIZE_MAX - 1 && byte > 1)
            return false; /* 9 * 7 bits are taken: one is left */
        value |= (uint64_t)(byte & 0x7f) << 7 * i;
        if (byte < 0x80) {
            *s = slice_of(s->data + i + 1, s->size - i - 1);
            *ret_value = value;
            return true;
        }
    }
    return false;
}

bool wire_field_take(struct slice *s, struct wire_field *ret_field)
{
    uint64_t tag, size = 0;
    if (!varint_take(s, &tag) || tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX)
        return false;
    *ret_field = (struct wire_field){.number = (uint32_t)(tag >> 3), .type = (enum wire_type)(tag & 7)};
    switch (tag & 7) {
    case WIRE_VARINT:
        return varint_take(s, &ret_field->value);
    case WIRE_64:
        size = 8;
        break;
    case WIRE_32:
        size = 4;
        break;
    case WIRE_BYTES:
        if (!varint_take(s, &size))
            return false;
        break;
    default: /* groups: in no message of etcd or of this program */
        return false;
    }
    if (size > s->size)
        return false;
    ret_field->bytes = slice_of(s->data, (size_t)size);
    *s = slice_of(s->data + size, s->size - (size_t)size);
    return true;
}
