/* SPDX-License-Identifier: Apache-2.0
 * Level-triggered subscriptions: named items with revisions, of which a reader may skip states but never the
 * last one. A topic is one view that all who asked for the same share. It remembers which items changed last,
 * each once, in the order of their last change (the journal), so that "what has changed after revision P" is
 * the end of a list: nothing is kept per subscriber but the revision it has. The answer is encoded once for
 * all who stand between the same two changes; so is the snapshot.
 *
 * A source may lack what an item needs (a content that is being read): what was being made then is void, the
 * answer is STREAM_WAIT, and stream_topic_ready brings the readers back.
 *
 * Bounds: the journal keeps CHANGES_MAX items; who is behind its floor gets a snapshot. Snapshots live as
 * long as somebody reads them or until they are old; beyond a budget the oldest are evicted, and who was
 * reading one begins again with part 1 of a newer one. Pure: views come from sources, time is an argument. */
#ifndef SERVER_STREAM_TOPIC_H
#define SERVER_STREAM_TOPIC_H

#include "base/cache_budget.h"
#include "base/list.h"
#include "base/map.h"
#include "server/http/request.h"
#include "server/stream/frame.h"

struct stream_topic;
struct stream_topics;

/* A kind of subscription. A view is the source's own idea of one topic. */
struct stream_source {
    const char *kind;
    /* Checks what a subscribe frame asks for and writes a key: equal keys share a topic. ERR_INVALID with a
     * sentence in error. */
    int (*key)(const struct stream_frame *ask, struct buf *ret_key, char *error, size_t error_size);
    /* Begins to look: from now on stream_topic_changed is called. owner: stream_topics_new's. */
    void *(*open)(void *owner, struct stream_topic *topic, const struct stream_frame *ask);
    void (*close)(void *view);
    /* What was asked for to open it, as far as the view is of it; its texts are the view's. NULL: what is
     * shown does not depend on the reader's audience. */
    void (*ask)(const void *view, struct stream_frame *ret_ask);
    int64_t (*reached)(void *owner);       /* what views of this kind can show by now */
    int64_t (*revision)(const void *view); /* what the view shows */
    int64_t (*changed)(const void *view);  /* its last change: nothing has changed after it */
    bool knows_past; /* changed is true of the time before this member's view began as well */
    /* Which of several forms of the items somebody gets (labels, address, id); NULL = there is one form, 0. A
     * number stands for one form until the next change. When the answer may have become another, the source
     * tells the items as changed. */
    uint32_t (*variant)(void *view, const struct registry_subscriber *who);
    /* Not all readers get the same now: who comes back may be another than he was, and his from_revision
     * alone says too little. NULL: never. */
    bool (*is_personal)(const void *view);
    /* What a reader is shown depends on its rights: who comes back, and had others, has another state than
     * his from_revision says. NULL: never. */
    bool (*is_doubtful)(const void *view);
    /* What a reader of this form has, as two numbers: while they stay, a change is nothing to him, and he is
     * not told. NULL: every change is told. */
    void (*state)(const void *view, uint32_t variant, uint64_t ret_state[2]);
    /* Around the making of a frame. begin false: items lack something now. end false: some did, and the frame
     * is void. Either way stream_topic_ready follows. NULL: nothing is ever lacking. */
    bool (*begin)(void *view);
    bool (*end)(void *view);
    void (*each)(const void *view, void (*fn)(void *arg, struct slice id), void *arg); /* all ids, in order */
    /* The item as one object into w (NULL: only look); its own revision. 0: there is no such item. */
    int64_t (*item)(const void *view, struct slice id, uint32_t variant, struct json_writer *w);
    /* Whether what the client says is the item as he gets it; NULL = when the revision is the item's. */
    bool (*is_known)(const void *view, struct slice id, uint32_t variant, const struct stream_known *known);
    void (*note)(const void *view, struct json_writer *w); /* members beside the items; may be NULL */
    /* Somebody looks at it, and what he has acknowledged; NULL when nobody wants to know. */
    void *(*attach)(void *view, const struct registry_subscriber *who);
    void (*detach)(void *subscriber);
    void (*acknowledge)(void *subscriber, int64_t revision); /* may be NULL */
    /* A frame with all up to this revision, in this form, is on its way to him; then: all that was on its way
     * has left. NULL = nobody wants to know. */
    void (*sent)(void *subscriber, const void *view, uint32_t variant, int64_t revision);
    void (*written)(void *subscriber);
    /* The client has taken an item, or cannot. ERR_INVALID: what is said makes no sense. NULL: nobody asks.
     */
    int (*applied)(void *subscriber, struct slice id, uint64_t seq, bool is_ok, struct slice error);
};

struct stream_topics_options {
    void *owner;                       /* for the sources */
    size_t snapshot_bytes_max;         /* budget of all snapshots; 0 = 64 MiB */
    struct cache_budget *cache_budget; /* borrowed; NULL = none */
    size_t idle_max;                   /* topics kept without a subscriber; 0 = 1,024 */
    uint64_t idle_ms;                  /* for so long; 0 = 60,000 */
};

struct stream_topics *stream_topics_new(const struct stream_topics_options *options);
void stream_topics_free(struct stream_topics *ts); /* nobody holds a topic */
/* The topic for what is asked, held by the caller. began: the revision before which nothing is known of what
 * went. */
MUST_CHECK int stream_topic_hold(struct stream_topics *ts, const struct stream_source *source,
                                 const struct stream_frame *ask, int64_t began, char *error,
                                 size_t error_size, struct stream_topic **ret_topic);
void stream_topic_release(struct stream_topic *t, uint64_t now_ms);
/* Frees what nobody needs any more. */
void stream_topics_sweep(struct stream_topics *ts, uint64_t now_ms);
size_t stream_topics_count(const struct stream_topics *ts);

/* --- from sources ------------------------------------------------------------------------------------ */
void stream_topic_changed(struct stream_topic *t, struct slice id, int64_t revision);
/* Items have changed that are not told yet: what was encoded is not what they are. */
void stream_topic_outdated(struct stream_topic *t);
/* It is not known what has changed: everybody needs a snapshot. */
void stream_topic_lost(struct stream_topic *t, int64_t revision);
/* What items lacked is there. */
void stream_topic_ready(struct stream_topic *t);

/* --- for subscribers --------------------------------------------------------------------------------- */
const struct stream_source *stream_topic_source(const struct stream_topic *t);
void *stream_topic_view(const struct stream_topic *t);
struct link *stream_topic_readers(struct stream_topic *t); /* a list of the callers' own links */
int64_t stream_topic_revision(const struct stream_topic *t);
/* Topics with news since they were last given, one by one; NULL: no more. */
struct stream_topic *stream_topics_next(struct stream_topics *ts);

enum stream_step {
    STREAM_LEVEL,    /* nothing has changed after `from` */
    STREAM_DELTA,    /* tail: the members of a delta; ret_revision: where the reader is behind it */
    STREAM_SNAPSHOT, /* too far behind */
    STREAM_WAIT,     /* the source lacks something: stream_topic_ready follows */
};
/* The tail is the topic's own: hold it to keep it. A large delta comes in several, cut between revisions. */
enum stream_step stream_topic_delta(struct stream_topic *t, int64_t from, uint32_t variant,
                                    struct http_shared **ret_tail, int64_t *ret_revision);
/* The difference to what the client says it knows; its id's revisions are those of the items.
 * STREAM_SNAPSHOT: too much for one frame. */
enum stream_step stream_topic_compare(struct stream_topic *t, const struct stream_known *known, size_t count,
                                      uint32_t variant, struct buf *ret_tail);

struct stream_snapshot {
    uint32_t references;
    uint32_t variant;
    size_t count, bytes;
    struct http_shared **parts; /* members of snapshot frames; NULL once it was evicted: begin again */
    struct stream_topics *topics;
    struct link link; /* in topics->snapshots, oldest first */
    uint64_t used_ms;
};
/* NULL: as STREAM_WAIT. */
struct stream_snapshot *stream_topic_snapshot(struct stream_topic *t, uint32_t variant, uint64_t now_ms);
void stream_snapshot_unref(struct stream_snapshot *s);

#endif
