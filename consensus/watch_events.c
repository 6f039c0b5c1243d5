/* SPDX-License-Identifier: Apache-2.0
 * Reader of watch events; see watch_events.h. The other fields of the response come before its events. */
#include "consensus/watch_events.h"

#include <assert.h>

#include "base/varint.h"

enum { FIELD_WATCH_ID = 2, FIELD_CREATED = 3, FIELD_CANCELED = 4, FIELD_FRAGMENT = 7, FIELD_EVENTS = 11 };

/* Takes the next field off s. */
static struct wire_field take_field(struct slice *s)
{
    struct wire_field f = {0};
    bool is_whole = wire_field_take(s, &f);
    assert(is_whole); /* this process has encoded it */
    (void)is_whole;
    return f;
}

struct watch_events watch_events_begin(struct slice response)
{
    struct watch_events e = {.rest = response};
    while (e.rest.size) {
        struct slice rest = e.rest;
        struct wire_field f = take_field(&rest);
        if (f.number == FIELD_EVENTS)
            break;
        e.rest = rest; /* the reason of a cancel, a field of bytes, is not needed */
        if (f.number == FIELD_WATCH_ID)
            e.watch_id = (int64_t)f.value;
        e.is_created |= f.number == FIELD_CREATED && f.value;
        e.is_canceled |= f.number == FIELD_CANCELED && f.value;
        e.is_fragment |= f.number == FIELD_FRAGMENT && f.value;
    }
    return e;
}

Mvccpb__Event *watch_events_next(struct watch_events *e, struct arena *a)
{
    while (e->rest.size) {
        struct wire_field f = take_field(&e->rest);
        if (f.number == FIELD_EVENTS) {
            Mvccpb__Event *event = mvccpb__event__unpack(arena_allocator(a), f.bytes.size, f.bytes.data);
            assert(event); /* this process has encoded it */
            return event;
        }
    }
    return NULL;
}
