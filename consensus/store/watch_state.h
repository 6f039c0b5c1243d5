/* SPDX-License-Identifier: Apache-2.0
 * What watch.c and watch_deliver.c share: hub, streams, watchers. Nobody else includes this.
 *
 * Watchers of the same key or range form a group with two lists, level and behind; each watcher is also in
 * the list of the same name of its stream.
 *
 * Invariants: a level watcher has been offered every revision from its start up to hub.revision. A behind one
 * has been offered all below its next_revision and nothing from there on. next_revision never decreases. */
#ifndef CONSENSUS_STORE_WATCH_STATE_H
#define CONSENSUS_STORE_WATCH_STATE_H

#include "base/heap.h"
#include "base/map.h"
#include "consensus/store/interval.h"
#include "consensus/store/keyset.h"
#include "consensus/store/store.h"
#include "consensus/store/watch_queue.h"
#include "consensus/store/watch_room.h"

struct group {
    struct link level, behind; /* watcher.in_group */
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
    struct link in_group; /* like in_stream in the list that is_behind says */
    struct watch_stream *stream;
    struct watch_item *open; /* the queued response that further events may join */
    int64_t id;
    int64_t next_revision; /* level: nothing below this is for it; behind: where to re-read from */
    bool is_behind;
    bool is_in_scan;
    bool has_previous, no_put, no_delete, may_fragment;
    bool wants_progress, has_news; /* news: an event went out since the last progress tick */

    /* not needed on the way of an event */
    struct group *group; /* NULL: ended */
    struct link in_stream;
    int64_t start_revision; /* as asked for; 0 = now */
    uint64_t judged;        /* watch_hub.epoch when it was last allowed */
    uint64_t serial;        /* that of no other watcher of the hub, unlike id */
    const char *refused;    /* the judge's reason, while it is being canceled */
    size_t bytes;           /* that it has taken of watch_hub.room */
};

struct watch_stream {
    struct watch_hub *hub;
    struct link link;            /* watch_hub.streams */
    struct watch_source *source; /* NULL: its watchers are not counted */
    void (*on_ready)(void *arg);
    void *arg;
    struct link level, behind; /* watcher.in_stream */
    struct link ended;         /* the same, by a compaction, and not yet canceled: in no group */
    size_t count, behind_count, progress_count;
    const char *(*judge)(void *arg, struct slice key, struct slice range_end);
    uint64_t judged;  /* watch_hub.epoch when all of its watchers were last judged */
    struct link turn; /* watch_hub.judged or .unjudged, with a judge */
    struct map ids;   /* once there are more than STREAM_IDS_MIN */
    int64_t next_id;
    int64_t start_max; /* no watcher starts later */
    struct watch_queue queue;
    bool is_told;              /* on_ready was called, watch_next has not yet returned false */
    struct link ready;         /* watch_hub.ready */
    struct link rereading;     /* watch_hub.rereading: has watchers behind and room for their events */
    struct heap_node progress; /* watch_hub.progress, while progress_count; key 0: not yet scheduled */
};

struct watch_hub {
    struct watch_options options;
    int64_t revision; /* the last one delivered */
    struct keyset keys;
    struct interval_tree ranges;
    struct link streams, ready, rereading;
    uint64_t epoch;               /* of rights: watch_rejudge moves it on */
    uint64_t serial;              /* of the last watcher */
    size_t budget;                /* watchers that may still be judged in this turn ... */
    uint64_t share;               /* ... as long as this is not spent (turn_queue.h) */
    struct link judged, unjudged; /* streams with a judge */
    struct heap progress;
    uint64_t ticks; /* for the jitter */
    size_t stream_count, watcher_count, behind_count;
    struct watch_room room;
    size_t previous_count;        /* watchers with prev_kv: without them the store need not look for it */
    size_t scan_revisions;        /* how far a scan goes */
    size_t scan_watchers;         /* how many took part in the last one */
    size_t scan_offers;           /* what the running one has cost */
    int64_t part_revision;        /* a large revision that is being told in parts; 0 = none */
    uint32_t part_sub;            /* the next of its changes */
    int64_t scan_last, scan_full; /* the last revision it queued, the last that a full stream refused */
    size_t queued_bytes;          /* of all streams */
    struct watch_scratch scratch;
};

/* --- watch.c ------------------------------------------------------------------------------------ */
bool watch_stream_is_full(const struct watch_stream *s);
/* on_ready is due, now or in watch_turn. */
void watch_stream_make_ready(struct watch_stream *s);
void watch_stream_queue_control(struct watch_stream *s, const struct watch_head *head,
                                int64_t header_revision);
void watch_hub_notify_ready(struct watch_hub *h);

/* watch_judge.c: False: not all of its watchers are judged, nothing may be given out now. */
bool watch_stream_is_judged(struct watch_stream *s);
/* Judges some streams; true: there are more. */
bool watch_judge_turn(struct watch_hub *h);

void watch_stream_reread(struct watch_stream *s); /* if it has watchers behind, and room */
struct watcher *watcher_find(const struct watch_stream *s, int64_t id); /* or NULL */
void watcher_free(struct watcher *w);
void watcher_fall_behind(struct watcher *w, int64_t next_revision);
void watcher_become_level(struct watcher *w);
void watcher_end(struct watcher *w);
/* As etcd: no bookmark below the revision a watcher starts at. */
bool watcher_has_started(const struct watcher *w);

#endif
