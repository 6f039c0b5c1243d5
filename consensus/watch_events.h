/* SPDX-License-Identifier: Apache-2.0
 * The events of a WatchResponse, unpacked one at a time: a response of one revision may have 100,000 of them.
 * For responses that this process has encoded itself (consensus/store/watch_encode.h). Pure. */
#ifndef CONSENSUS_WATCH_EVENTS_H
#define CONSENSUS_WATCH_EVENTS_H

#include "base/buf.h"
#include "base/mem.h"
#include "proto/rpc.pb-c.h"

struct watch_events {
    int64_t watch_id;
    bool is_created, is_canceled, is_fragment;
    const uint8_t *at, *end;
};

/* The bytes stay as long as the events are read. */
struct watch_events watch_events_begin(struct slice response);
/* In the arena; NULL at the end. */
Mvccpb__Event *watch_events_next(struct watch_events *e, struct arena *a);

#endif
