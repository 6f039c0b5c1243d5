/* SPDX-License-Identifier: Apache-2.0
 * Reader of the events of a WatchResponse, one at a time: a response may have 100,000 of them. It reads only
 * responses that this process has encoded itself (consensus/store/watch_encode.h). Pure. */
#ifndef CONSENSUS_WATCH_EVENTS_H
#define CONSENSUS_WATCH_EVENTS_H

#include "base/buf.h"
#include "base/mem.h"
#include "proto/rpc.pb-c.h"

struct watch_events {
    int64_t watch_id;
    bool is_created, is_canceled, is_fragment;
    struct slice rest;
};

/* The response is borrowed while its events are read. */
struct watch_events watch_events_begin(struct slice response);
/* The next event, in the arena; NULL at the end. */
Mvccpb__Event *watch_events_next(struct watch_events *e, struct arena *a);

#endif
