/* SPDX-License-Identifier: Apache-2.0
 * Topics: named items with revisions, delivered level-triggered.
 *
 * Level-triggered means: a reader may miss states between two frames, but never the last state. (Etcd's
 * watch is edge-triggered: every event is delivered; see kv.c.)
 *
 * A topic is one view of a source. All subscriptions with the same parameters share it. It keeps a
 * journal: the items that changed last, each once, in the order of their last change. "What has changed
 * after revision P" is the end of that list, so a subscription keeps nothing but the revision that it has.
 * A delta is encoded once for all readers that are between the same two changes; a snapshot is encoded
 * once for all readers, in steps (stream_snapshot_step), and is of one revision: it begins again when the topic
 * changes between two steps. After three times it goes on with each item as it is then. Such an item may be newer
 * than the snapshot; it is in the journal, so it comes again in the delta after the snapshot.
 *
 * A source may lack what an item needs, for instance a content that is still being read. Then:
 *   1. the frame that is being made is void, and the reader gets STREAM_WAIT;
 *   2. the source calls stream_topic_ready when it has what it lacked;
 *   3. the topic is in stream_topics_next again, and its readers try again.
 *
 * Bounds: the journal keeps CHANGES_MAX items; a reader before its floor gets a snapshot. A snapshot lives
 * while a connection sends it, or until it was unused for a while. Beyond the budget the oldest snapshots
 * are evicted; a reader of an evicted one begins again with part 1 of a newer one.
 *
 * Pure: views come from sources, and time is an argument. */
#ifndef SERVER_STREAM_TOPIC_H
#define SERVER_STREAM_TOPIC_H

#include "base/cache_budget.h"
#include "base/list.h"
#include "base/map.h"
#include "server/http/request.h"
#include "server/stream/frame.h"

struct auth_who;
struct stream_topic;
struct stream_topics;

/* A source of topics: one kind of subscription on named items. A view is the source's own part of one
 * topic. */
struct stream_source {
    const char *kind;
    /* Checks the parameters of a subscribe frame and appends a key to ret_key: equal keys share a topic.
     * ERR_INVALID with a sentence in error. */
    int (*key)(const struct stream_frame *frame, struct buf *ret_key, char *error, size_t error_size);
    /* Makes the view; from now on the source calls stream_topic_changed. owner: of stream_topics_options. The
     * view copies what it needs of the frame. */
    void *(*open)(void *owner, struct stream_topic *topic, const struct stream_frame *frame);
    void (*close)(void *view);
    /* The audience of a reader that subscribes with this frame, which `open` and `key` get as frame->audience;
     * valid until the return to the loop. NULL: the items do not depend on the reader. */
    struct audience *(*audience)(void *owner, const struct auth_who *who, const struct stream_frame *frame);
    /* With audience: the frame that would open this view again; its texts are the view's. */
    void (*describe)(const void *view, struct stream_frame *ret_frame);
    int64_t (*reached)(void *owner);       /* the revision that all views of this kind can show now */
    int64_t (*revision)(const void *view); /* the revision that this view shows */
    int64_t (*changed)(const void *view);  /* of its last change: nothing has changed after it */
    bool knows_past; /* `changed` also covers the time before this member's view began */
    /* Which form of the items a client gets, by its labels, address and id. NULL = there is one form, 0. A
     * number stands for the same form until the next change. When the form of a client may have changed, the
     * source reports the items as changed. */
    uint32_t (*variant)(void *view, const struct registry_subscriber *subscriber);
    /* True: not all readers get the same items now. A client that resumes may have other labels than before,
     * so its from_revision does not say what it has. NULL: never. */
    bool (*is_personal)(const void *view);
    /* True: the items depend on the reader's permissions. A client that resumes may have had others, so its
     * from_revision does not say what it has. NULL: never. */
    bool (*depends_on_rights)(const void *view);
    /* The state that a reader of this form has, as two numbers. A change that leaves them equal is not
     * sent to the reader. NULL: every change is sent. */
    void (*state)(const void *view, uint32_t variant, uint64_t ret_state[2]);
    /* Called before and after a frame is made, or a step of a snapshot that has `bytes` already. begin returns
     * false: the source lacks something now. end returns false: the frame or step is void, because an item
     * lacked something. stream_topic_ready follows both. NULL: the source never lacks anything. */
    bool (*begin)(void *view, size_t bytes);
    bool (*end)(void *view);
    /* Calls fn for ids in order, from `place` on, until it returns false or `places` names were visited, also
     * those that are not of the view. place: empty = the beginning; the source's own text. True: there may be
     * more, from the place on that it has then. */
    bool (*each)(const void *view, struct buf *place, size_t places, bool (*fn)(void *arg, struct slice id),
                 void *arg);
    /* Writes the item as one JSON object into w (NULL: writes nothing). Returns the item's revision; 0:
     * there is no such item. */
    int64_t (*item)(const void *view, struct slice id, uint32_t variant, struct json_writer *w);
    /* True: the client has the item as it is now. NULL = the item's revision is compared. */
    bool (*is_known)(const void *view, struct slice id, uint32_t variant, const struct stream_known *known);
    /* JSON fields beside the items, in this form; may be NULL. */
    void (*note)(const void *view, uint32_t variant, struct json_writer *w);
    /* Counts a subscriber and what it has acknowledged. Returns the source's own handle, which detach frees;
     * NULL when the source does not count subscribers. `subscriber` outlives the handle. */
    void *(*attach)(void *view, const struct registry_subscriber *subscriber);
    void (*detach)(void *subscriber);
    void (*acknowledge)(void *subscriber, int64_t revision); /* may be NULL */
    /* sent: a frame with everything up to this revision, in this form, was queued for the subscriber.
     * written: the socket has taken all that was queued. NULL = the source does not need it. */
    void (*sent)(void *subscriber, const void *view, uint32_t variant, int64_t revision);
    void (*written)(void *subscriber);
    /* The client has applied an item, or could not (is_ok). ERR_INVALID: no item has this id or seq. NULL:
     * the kind has no such report. */
    int (*applied)(void *subscriber, struct slice id, uint64_t seq, bool is_ok, struct slice error);
};

struct stream_topics_options {
    void *owner;                       /* for the sources */
    size_t snapshot_bytes_max;         /* budget of all snapshots; 0 = 64 MiB */
    struct cache_budget *cache_budget; /* borrowed; NULL = none */
    size_t idle_max;                   /* topics that are kept without a subscriber; 0 = 1,024 */
    uint64_t idle_ms;                  /* how long they are kept; 0 = 60,000 */
};

struct stream_topics *stream_topics_new(const struct stream_topics_options *options);
void stream_topics_free(struct stream_topics *ts); /* every topic must be released before */
/* The topic for a subscribe frame; the caller holds a reference and gives it back with stream_topic_release.
 * began: deletes before this revision are not known (0: all are). ERR_INVALID with a sentence in error. */
MUST_CHECK int stream_topic_hold(struct stream_topics *ts, const struct stream_source *source,
                                 const struct stream_frame *frame, int64_t began, char *error,
                                 size_t error_size, struct stream_topic **ret_topic);
void stream_topic_release(struct stream_topic *t, uint64_t now_ms);
/* Frees topics without subscribers and snapshots without readers that are older than their limits. */
void stream_topics_sweep(struct stream_topics *ts, uint64_t now_ms);
size_t stream_topics_count(const struct stream_topics *ts);

/* --- from sources ------------------------------------------------------------------------------------ */
void stream_topic_changed(struct stream_topic *t, struct slice id, int64_t revision);
/* A field beside the items has changed, and no item has. */
void stream_topic_note_changed(struct stream_topic *t, int64_t revision);
/* Frees encoded deltas and snapshots: items have changed, but the change is not reported yet. */
void stream_topic_drop_encodings(struct stream_topic *t);
/* It is not known what has changed: every reader gets a snapshot. */
void stream_topic_invalidate(struct stream_topic *t, int64_t revision);
/* The source has what its items lacked: readers that got STREAM_WAIT try again. */
void stream_topic_ready(struct stream_topic *t);

/* --- for subscribers --------------------------------------------------------------------------------- */
const struct stream_source *stream_topic_source(const struct stream_topic *t);
void *stream_topic_view(const struct stream_topic *t);
struct link *stream_topic_readers(struct stream_topic *t); /* a list of the callers' own links */
int64_t stream_topic_revision(const struct stream_topic *t);
/* The next topic that has changed or became ready since this call returned it last; NULL: no more. */
struct stream_topic *stream_topics_next(struct stream_topics *ts);

enum stream_step {
    STREAM_UP_TO_DATE, /* nothing has changed after `from` */
    STREAM_DELTA,      /* tail: the fields of a delta; ret_revision: the reader's revision after it */
    STREAM_SNAPSHOT,   /* the journal does not reach back to `from` */
    STREAM_WAIT,       /* the source lacks something: stream_topic_ready follows */
};
/* The next delta for a reader that has everything up to `from`. The tail is borrowed from the topic: take a
 * reference to keep it. A large delta is cut into several between revisions, never inside one. */
enum stream_step stream_topic_delta(struct stream_topic *t, int64_t from, uint32_t variant,
                                    struct http_shared **ret_tail, int64_t *ret_revision);
/* The difference to the items that the client knows, appended to ret_tail. STREAM_DELTA; STREAM_WAIT;
 * STREAM_SNAPSHOT: the difference is too large for one frame. */
enum stream_step stream_topic_compare(struct stream_topic *t, const struct stream_known *known, size_t count,
                                      uint32_t variant, struct buf *ret_tail);

struct stream_snapshot {
    uint32_t references;
    uint32_t variant;
    size_t count, bytes;
    struct http_shared **parts; /* fields of snapshot frames; to be read when is_complete */
    int64_t revision;           /* of the view at its first step; 0 = there was none yet */
    unsigned restarts;
    bool is_complete;
    bool is_mixed;   /* its items may be newer than its revision */
    bool is_evicted; /* it has no parts any more: begin again with another one */
    struct stream_topic *topic;
    struct link link; /* in topics->snapshots, oldest first */
    uint64_t used_ms;
    /* Until it is complete. */
    struct link building; /* in its topic's list */
    struct buf place;     /* of the source's walk */
    struct buf open;      /* the part under way */
    struct json_writer writer;
};
/* A snapshot of the view as it is now, complete or not; give it back with stream_snapshot_unref (NULL is fine). */
struct stream_snapshot *stream_topic_snapshot(struct stream_topic *t, uint32_t variant, uint64_t now_ms);
/* Encodes on: at most one part, or STEP_PLACES names of the view's walk; or all of it, if its readers do not
 * all get the same items (is_personal); nothing if it is complete. Call it also before the first part of a
 * complete one is sent. False: as STREAM_WAIT. */
bool stream_snapshot_step(struct stream_snapshot *s);
void stream_snapshot_unref(struct stream_snapshot *s);

#endif
