/* SPDX-License-Identifier: Apache-2.0
 * See watch_events.h. Protobuf's wire format: a field is a tag (number and type) and a varint, or a length
 * and so many bytes. The fields of the response itself stand before its events. */
#include "consensus/watch_events.h"

#include <assert.h>

enum {
    FIELD_WATCH_ID = 2,
    FIELD_CREATED = 3,
    FIELD_CANCELED = 4,
    FIELD_FRAGMENT = 7,
    FIELD_EVENTS = 11,
    TYPE_VARINT = 0,
    TYPE_BYTES = 2
};

static uint64_t take_varint(struct watch_events *e)
{
    uint64_t value = 0;
    for (unsigned shift = 0; e->at < e->end && shift < 64; shift += 7) {
        uint8_t byte = *e->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            break;
    }
    return value;
}

/* The next field; of bytes, *ret_value is their number. */
static unsigned take_field(struct watch_events *e, uint64_t *ret_value)
{
    uint64_t tag = take_varint(e);
    assert((tag & 7) == TYPE_VARINT || (tag & 7) == TYPE_BYTES); /* our own encoding */
    *ret_value = take_varint(e);
    assert((tag & 7) != TYPE_BYTES || *ret_value <= (size_t)(e->end - e->at));
    return (unsigned)(tag >> 3);
}

struct watch_events watch_events_begin(struct slice response)
{
    struct watch_events e = {.at = response.data, .end = response.data + response.size};
    while (e.at < e.end) {
        const uint8_t *field_at = e.at;
        bool is_bytes = (*field_at & 7) == TYPE_BYTES;
        uint64_t value;
        unsigned field = take_field(&e, &value);
        if (field == FIELD_EVENTS) {
            e.at = field_at;
            break;
        }
        if (is_bytes)
            e.at += value; /* a reason, which is logged by nobody */
        else if (field == FIELD_WATCH_ID)
            e.watch_id = (int64_t)value;
        e.is_created |= field == FIELD_CREATED && value;
        e.is_canceled |= field == FIELD_CANCELED && value;
        e.is_fragment |= field == FIELD_FRAGMENT && value;
    }
    return e;
}

Mvccpb__Event *watch_events_next(struct watch_events *e, struct arena *a)
{
    while (e->at < e->end) {
        bool is_bytes = (*e->at & 7) == TYPE_BYTES;
        uint64_t size;
        unsigned field = take_field(e, &size);
        const uint8_t *data = e->at;
        if (is_bytes)
            e->at += size;
        if (field == FIELD_EVENTS) {
            Mvccpb__Event *event = mvccpb__event__unpack(arena_allocator(a), size, data);
            assert(event); /* our own encoding */
            return event;
        }
    }
    return NULL;
}
