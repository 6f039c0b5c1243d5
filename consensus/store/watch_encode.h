/* SPDX-License-Identifier: Apache-2.0
 * WatchResponse and its events as protobuf bytes, encoded by hand. An event is encoded once and shared by all
 * streams, so the parts of a response must be encoded separately. It does not know watchers. */
#ifndef CONSENSUS_STORE_WATCH_ENCODE_H
#define CONSENSUS_STORE_WATCH_ENCODE_H

#include "base/blob.h"
#include "base/buf.h"
#include "consensus/store/store.h"

/* A WatchResponse without its header and events. */
struct watch_head {
    int64_t watch_id;
    int64_t compact_revision;
    const char *cancel_reason; /* NULL = none */
    uint64_t serial;           /* of the watcher whose events follow; not encoded */
    bool is_created, is_canceled, is_fragment;
};

#define WATCH_HEAD_SIZE_MAX 32 /* without cancel_reason */

void watch_encode_head(const struct watch_head *head, struct buf *out);

/* Encodes one element of the `events` field with tag and length. with_previous adds prev_kv if
 * watch_event_has_previous. The caller owns the blob's reference. */
struct blob *watch_encode_event(const struct store_event *e, bool with_previous);
/* False: a client that requested prev_kv gets none, because this event created the key or its previous
 * revision is compacted. */
bool watch_event_has_previous(const struct store_event *e);

#endif
