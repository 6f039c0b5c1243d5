/* SPDX-License-Identifier: Apache-2.0
 * Encoder of a long response; see answer.h. */
#include "consensus/store/answer.h"

#include <assert.h>

#define WIRE_VARINT 0u
#define WIRE_BYTES  2u
#define LENGTH_SIZE 5u /* a varint of 35 bits */

static bool answer_has_room(struct answer *a, size_t more)
{
    if (!answer_is_wanted(a))
        return false;
    a->is_too_large = a->out->size + more > ANSWER_BYTES_MAX;
    return !a->is_too_large;
}

static uint8_t tag(unsigned field, unsigned wire)
{
    assert(field < 16);
    return (uint8_t)(field << 3 | wire);
}

size_t answer_open(struct answer *a, unsigned field)
{
    if (!answer_has_room(a, 1 + LENGTH_SIZE))
        return 0;
    buf_add_byte(a->out, tag(field, WIRE_BYTES));
    size_t place = a->out->size;
    (void)buf_reserve(a->out, LENGTH_SIZE);
    a->out->size += LENGTH_SIZE;
    return place;
}

void answer_close(struct answer *a, size_t place)
{
    if (!answer_is_wanted(a))
        return;
    size_t length = a->out->size - place - LENGTH_SIZE;
    uint8_t *at = a->out->data + place;
    for (unsigned i = 0; i < LENGTH_SIZE; i++, length >>= 7)
        at[i] = (uint8_t)((length & 0x7f) | (i + 1 < LENGTH_SIZE ? 0x80 : 0));
}

void answer_add(struct answer *a, const ProtobufCMessage *fields)
{
    size_t size = protobuf_c_message_get_packed_size(fields);
    if (!answer_has_room(a, size))
        return;
    protobuf_c_message_pack(fields, buf_reserve(a->out, size));
    a->out->size += size;
}

void answer_add_bool(struct answer *a, unsigned field, bool value)
{
    if (!value || !answer_has_room(a, 2))
        return;
    buf_add_byte(a->out, tag(field, WIRE_VARINT));
    buf_add_byte(a->out, 1);
}
