/* SPDX-License-Identifier: Apache-2.0
 * Private state of watchers: hub, streams, groups, watchers. Only the watch*.c files include it.
 *
 *     watch_hub -- streams -------> watch_stream ----------- synced, unsynced --> watcher
 *        |                                                                           ^
 *        +-------- keys, ranges --> key_group, range_group -- synced, unsynced ------+
 *
 * Watchers of the same key or range form a group. Each watcher is in two lists of the same name: one of its
 * group, one of its stream. States of a watcher:
 *
 *     state      event                                             next state
 *     (created)  start revision 0, or above hub.revision           SYNCED
 *     (created)  start revision up to hub.revision                 UNSYNCED
 *     SYNCED     its stream is full, a large revision, new store   UNSYNCED
 *     UNSYNCED   re-read: next_revision > hub.revision             SYNCED
 *     UNSYNCED   next_revision < compact revision                  ended; keeps its id until a cancel
 *     any        cancel, lost permission, stream closed            freed
 *
 * Invariants:
 * - A synced watcher was offered every revision from its start up to hub.revision.
 * - An unsynced watcher was offered every revision below its next_revision, and none from there on.
 * - next_revision never decreases. */
#ifndef CONSENSUS_STORE_WATCH_STATE_H
#define CONSENSUS_STORE_WATCH_STATE_H

#include "base/heap.h"
#include "base/map.h"
#include "consensus/store/interval.h"
#include "consensus/store/keyset.h"
#include "consensus/store/store.h"
#include "consensus/store/watch_queue.h"
#include "consensus/store/watch_budget.h"

struct group {
    struct link synced, unsynced; /* watcher.in_group */
    bool is_range;
};

struct key_group {
    struct group group;
    struct keyset_node node; /* watch_hub.keys; the key follows */
};

struct range_group {
    struct group group;
    struct interval_node node; /* watch_hub.ranges; the bytes of start and end follow */
};

struct watcher {
    struct link in_group; /* as in_stream: in the list that is_unsynced names */
    struct watch_stream *stream;
    struct watch_item *open; /* the queued response that more events may join */
    int64_t id;
    int64_t next_revision; /* synced: no lower revision is for it; unsynced: the revision to re-read from */
    bool is_unsynced;
    bool is_in_scan;
    bool has_previous, no_put, no_delete, may_fragment;
    bool wants_progress, has_news; /* news: it got an event since the last progress tick */

    /* The fields below are not used when an event is delivered. */
    struct group *group; /* NULL: ended */
    struct link in_stream;
    int64_t start_revision; /* of the request; 0 = now */
    uint64_t checked_epoch; /* watch_hub.epoch when it was last allowed */
    uint64_t serial;        /* unlike the id, unique in the hub */
    const char *denial;     /* the reason while it is being canceled for its permissions */
    size_t bytes;           /* taken from watch_hub.memory */
};

struct watch_stream {
    struct watch_hub *hub;
    struct link link;            /* watch_hub.streams */
    struct watch_source *source; /* NULL: its watchers are not counted */
    void (*on_ready)(void *arg);
    void *arg;
    struct link synced, unsynced; /* watcher.in_stream */
    struct link ended; /* watchers that a compaction ended, not yet canceled; they are in no group */
    size_t count, unsynced_count, progress_count;
    const char *(*check)(void *arg, struct slice key, struct slice range_end);
    uint64_t checked_epoch; /* watch_hub.epoch when all its watchers were last checked */
    struct link turn;       /* watch_hub.checked or .unchecked; only with a permission check */
    struct map ids;         /* used when there are more than STREAM_IDS_MIN watchers */
    int64_t next_id;
    int64_t start_max; /* no watcher starts later */
    struct watch_queue queue;
    bool is_notified;          /* on_ready was called and watch_next has not returned false since */
    struct link ready;         /* watch_hub.ready */
    struct link rereading;     /* watch_hub.rereading: it has unsynced watchers and room for their events */
    struct heap_node progress; /* watch_hub.progress, while progress_count > 0; key 0: not scheduled yet */
};

struct watch_hub {
    struct watch_options options;
    int64_t revision; /* the last one that was delivered */
    struct keyset keys;
    struct interval_tree ranges;
    struct link streams, ready, rereading;
    struct link scanning;           /* streams of the scan under way; by the link `rereading` */
    struct link garbage;            /* of queues */
    uint64_t epoch;                 /* of permissions: watch_recheck_permissions increments it */
    uint64_t serial;                /* of the last watcher */
    size_t budget;                  /* watchers that may still be checked in this turn ... */
    uint64_t share;                 /* ... as long as this time is not spent (turn_queue.h) */
    struct link checked, unchecked; /* streams with a permission check */
    struct heap progress;
    uint64_t ticks; /* for the jitter */
    size_t stream_count, watcher_count, unsynced_count;
    struct watch_budget memory;
    size_t previous_count;        /* watchers with prev_kv; without any, the store does not read previous
                                     values */
    size_t scan_revisions;        /* length of the next scan */
    size_t scan_watchers;         /* watchers that took part in the last scan */
    size_t scan_offers;           /* offers that the running scan has made */
    size_t live_offers;           /* offers of new changes since the last turn */
    int64_t part_revision;        /* a large revision that is being delivered in parts; 0 = none */
    uint32_t part_sub;            /* the next of its changes */
    int64_t scan_last, scan_full; /* of the running scan: the last revision that it queued, the last that a
                                     full stream refused */
    size_t queued_bytes;          /* of all streams */
    struct watch_scratch scratch;
};

/* --- watch.c ------------------------------------------------------------------------------------ */
bool watch_stream_is_full(const struct watch_stream *s);
/* Schedules on_ready, now or in watch_turn. */
void watch_stream_make_ready(struct watch_stream *s);
void watch_stream_queue_control(struct watch_stream *s, const struct watch_head *head,
                                int64_t header_revision);
void watch_hub_notify_ready(struct watch_hub *h);
void watch_hub_notify_garbage(struct watch_hub *h); /* after responses were dropped: asks for a turn */

/* watch_permission.c. False: not all its watchers are checked, so watch_next gives no output now. */
bool watch_stream_check_permissions(struct watch_stream *s);
/* Checks some streams; true: there are more. */
bool watch_permission_turn(struct watch_hub *h);

void watch_stream_reread(struct watch_stream *s); /* if it has unsynced watchers, and room */
struct watcher *watcher_find(const struct watch_stream *s, int64_t id); /* or NULL */
void watcher_free(struct watcher *w);
void watcher_mark_unsynced(struct watcher *w, int64_t next_revision);
void watcher_mark_synced(struct watcher *w);
void watcher_end(struct watcher *w);
/* As in etcd: a watcher gets no progress response below its start revision. */
bool watcher_has_started(const struct watcher *w);

#endif
