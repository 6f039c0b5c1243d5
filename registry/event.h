/* SPDX-License-Identifier: Apache-2.0
 * Events of a service: what changed, when and why. They follow from the documents of a key before and after a
 * change, so every member derives the same ones. Pure.
 *
 * Events are stored in segments: up to EVENT_SEGMENT_COUNT events under one key,
 *
 *     /cairn/events/<ns>/<group>/<service>/<revision of its first event, 16 hex digits>
 *     {"last":<revision of its last event>,"time_ms":<of its last event>,"count":<events>,"events":[...]}
 *
 * The three numbers come first and in this form, so that a member reads them without parsing the rest. A
 * revision is never divided among segments. */
#ifndef REGISTRY_EVENT_H
#define REGISTRY_EVENT_H

#include "registry/catalog.h"

#define EVENTS_PREFIX       "/cairn/events/"
#define EVENTS_KEPT         100 /* of a service, at least, if there were so many */
#define EVENT_SEGMENT_COUNT 20
#define EVENT_SEGMENT_BYTES (16u << 10) /* a longer segment gets no further event */

enum event_cause {
#define EVENT(name, text, meaning) EVENT_##name,
#include "registry/event.def"
#undef EVENT
    EVENT_CAUSES
};

struct event {
    int64_t revision;
    int64_t time_ms; /* by the clock of the member that stored it */
    enum event_cause cause;
    struct slice id;                 /* empty: of the service itself */
    enum instance_state from, state; /* before, after; INSTANCE_STATES = none */
    /* Of an override. */
    bool has_enabled, is_enabled;
    bool has_weight;
    uint16_t weight;
    struct slice reason;  /* of an override, a drain; the output of a check */
    struct author author; /* without its address; empty where the documents name none */
};

const char *event_cause_name(enum event_cause cause);

/* The event of a change; false: there is none. Its slices are those of the documents. The revision and the time
 * are the caller's. */
bool event_derive(const struct catalog_replaced *change, struct event *ret_event);

/* The fields without braces. */
void event_write_members(const struct event *e, struct json_writer *w);
void event_write(const struct event *e, struct buf *out);

/* --- segments ------------------------------------------------------------------------------------------ */

struct event_segment {
    int64_t last, time_ms;
    size_t count;
    struct slice events; /* JSON, what is between the brackets */
};
/* Reads the three numbers. ERR_MALFORMED: it is not in the form of event_segment_write. */
MUST_CHECK int event_segment_read(struct slice text, struct event_segment *ret);
void event_segment_write(const struct event_segment *s, struct buf *out);
/* Reads all events of a segment into the arena. ERR_MALFORMED: the text, or one of them, does not parse. */
MUST_CHECK int event_segment_parse(struct slice text, struct arena *a, struct event **ret_list,
                                   size_t *ret_count);

/* Appends the prefix of the keys of a service's segments, which ends with '/'. */
void event_add_prefix(struct buf *out, struct slice ns, struct slice group, struct slice service);

#endif
