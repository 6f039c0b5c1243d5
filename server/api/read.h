/* SPDX-License-Identifier: Apache-2.0
 * Reads and long polls, the same for every GET: linearizable or local, ETag and If-None-Match, wait_revision.
 * A struct api_source supplies the data (services, configurations).
 *
 * A long poll never misses a change. GET with `wait_revision=R` (the X-Cairn-Revision of an earlier answer):
 *   - Without If-None-Match it is answered at once if the data of the query may have changed after R.
 *   - With If-None-Match it is answered at once only if the current ETag is another one.
 *   - Without If-None-Match it is also answered at once if R is newer than every committed revision. Then R
 *     is not of this cluster's history (the cluster was restored from a backup).
 *   - Otherwise it is answered as soon as the query's result differs from the result that the client already
 *     has.
 *   - 304 at the timeout: nothing has changed up to the X-Cairn-Revision of that answer.
 * read.c has the life of a poll. */
#ifndef SERVER_API_READ_H
#define SERVER_API_READ_H

#include "server/api/result.h"

struct api_read;

struct api_source {
    /* Calls api_read_continue(r, err), never from inside, when the view shows all that was committed
     * before. */
    void (*barrier)(struct api_read *r);
    void (*cancel_barrier)(struct api_read *r);
    int64_t (*revision)(const struct api_read *r); /* of the view */
    /* The last change that may concern the query; INT64_MAX if that is unknown for a client whose data is of
     * revision `after`. */
    int64_t (*changed)(const struct api_read *r, int64_t after);
    /* Calls api_read_changed(r) at each change, never from inside. */
    void (*watch)(struct api_read *r);
    void (*unwatch)(struct api_read *r);
    /* For short results: writes the fields after "revision". API_NOT_FOUND: there is no such thing; no other
     * error is possible. */
    enum api_error (*render)(const struct api_read *r, struct json_writer *w);
    /* For long results (render is NULL): the same in slices. Each call continues where the last one ended,
     * until api_slice_is_over(r->call). It calls api_result_fix(r, s) once to fix the revision, and then
     * writes to s->writer; s->error is API_NOT_FOUND if there is no such thing. True: all is written. */
    bool (*render_on)(struct api_read *r, struct api_shared *s);
    void (*render_end)(struct api_shared *s);           /* frees s->state, complete or not */
    size_t (*render_bytes)(const struct api_shared *s); /* memory of s->state; may be NULL */
    const char *missing;                                /* the message of API_NOT_FOUND */
    /* The rest may be NULL. add_key: adds to the result's key what the result depends on beside path and
     * query. */
    void (*add_key)(const struct api_read *r, struct buf *key);
    /* The ETag, if it is not the rendering's digest; false: it is not known yet. */
    bool (*tag)(const struct api_read *r, uint8_t tag[API_DIGEST_SIZE]);
    /* Loads the ETag, then calls api_read_tag_loaded(r), never from inside; cancel_barrier cancels it. */
    void (*load_tag)(struct api_read *r);
    /* Answers the call by other means than the rendering; until then cancel_barrier cancels it. */
    void (*answer)(struct api_read *r, const struct api_shared *result);
};

/* Embedded in the source's struct, in the request's arena. */
struct api_read {
    struct api_call *call;
    const struct api_source *source;
    bool is_at_barrier; /* the source works for it: barrier, load_tag or answer */
    bool is_watching, is_local, has_loaded_tag;
    struct namespace_count *counted; /* while it watches: as a subscriber of its namespace */
    int64_t after;                   /* wait_revision */
    int64_t compared_revision;       /* the view's, at the last comparison */
    uint8_t digest[API_DIGEST_SIZE]; /* of the result that the client has */
    struct link poll;                /* in api->polls while it watches */
    struct link changed;             /* in api->changed: to be compared, as of changed_revision or later */
    int64_t changed_revision;
    bool has_barrier_failed; /* of a local read */
    bool is_draining;
    /* While it waits for a result: in the result's readers, or in api->rendered. */
    struct api_shared *awaited;
    struct link waiting;
    void (*resume)(struct api_read *r, struct api_shared *s);
    /* A long answer that is being sent. */
    struct api_shared *sent_from;
    size_t sent;
};

/* Takes r and starts the read: the call's state and callbacks are set. */
void api_read_start(struct api_call *c, struct api_read *r, const struct api_source *source);
/* The source calls these three; see struct api_source. */
void api_read_continue(struct api_read *r, int err);
void api_read_tag_loaded(struct api_read *r);
void api_read_changed(struct api_read *r);
/* Whether If-None-Match has this tag. */
bool api_has_tag(const struct api_call *c, const uint8_t tag[API_DIGEST_SIZE]);
void api_add_etag(struct api_call *c, const uint8_t tag[API_DIGEST_SIZE]);
/* Whether the call has consistency=local. */
bool api_is_local(const struct api_call *c);

#endif
