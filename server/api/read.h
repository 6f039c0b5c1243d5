/* SPDX-License-Identifier: Apache-2.0
 * Reading and waiting, the same for every GET: linearizable or local, ETag and If-None-Match, and the long
 * poll. What is read (services, configs) is a struct api_source.
 *
 * The long poll, so that no change is ever missed: `wait_revision=R` is answered at once when the source
 * cannot rule out that what the query looks at has changed after R, and otherwise as soon as the query's
 * result differs from what it is now, which is what it was at R. With If-None-Match the client says what it
 * has, and is answered at once only if that is not the result. An R beyond everything that is committed is
 * not of this cluster (it was restored from a backup): answered at once. 304 says that nothing has changed up
 * to its X-Cairn-Revision. */
#ifndef SERVER_API_READ_H
#define SERVER_API_READ_H

#include "server/api/result.h"

struct api_read;

struct api_source {
    /* api_read_go(r, err) when the view shows all that was committed before, never from inside. */
    void (*barrier)(struct api_read *r);
    void (*cancel_barrier)(struct api_read *r);
    int64_t (*revision)(const struct api_read *r); /* of the view */
    /* The last change that the query may have seen, or INT64_MAX when that cannot be told for a client that
     * knows `after`. */
    int64_t (*changed)(const struct api_read *r, int64_t after);
    /* api_read_changed(r) with each change, never from inside. */
    void (*watch)(struct api_read *r);
    void (*unwatch)(struct api_read *r);
    /* Members behind "revision". API_NOT_FOUND: there is nothing; any other error cannot be. For what is
     * short. */
    enum api_error (*render)(const struct api_read *r, struct json_writer *w);
    /* The same in slices, where render is NULL: goes on where it ended, until api_slice_is_over(r->call). It
     * says what the result is of by api_result_fix(r, s), and writes to s->writer; s->error is API_NOT_FOUND
     * where there is nothing. True: all is written. */
    bool (*render_on)(struct api_read *r, struct api_shared *s);
    void (*render_end)(struct api_shared *s);           /* frees s->state, all written or not */
    size_t (*render_bytes)(const struct api_shared *s); /* that s->state holds; may be NULL */
    const char *missing;                                /* the message of API_NOT_FOUND */
    /* All NULL for what is answered as it is rendered. What else the result depends on than path and query.
     */
    void (*add_key)(const struct api_read *r, struct buf *key);
    /* The tag of what is answered, if it is another than the rendering's digest; false: it is not known yet.
     */
    bool (*tag)(const struct api_read *r, uint8_t tag[API_DIGEST_SIZE]);
    /* Makes it known, then api_read_learned(r), never from inside; as with barrier it may be canceled. */
    void (*learn)(struct api_read *r);
    /* Answers in place of the rendering, which stands for it; until then it may be canceled as a barrier. */
    void (*answer)(struct api_read *r, const struct api_shared *result);
};

/* Embedded in what the source needs; in the request's arena. */
struct api_read {
    struct api_call *call;
    const struct api_source *source;
    bool is_at_barrier, is_watching, is_local, has_learned;
    int64_t after, seen;             /* what is waited for; the view's revision at the last comparison */
    uint8_t digest[API_DIGEST_SIZE]; /* of the result that the client has */
    struct link poll;                /* in api->polls while it watches */
    struct link changed; /* in api->changed: it is to be looked at, as of this revision or later */
    int64_t changed_revision;
    bool has_failed; /* the barrier, of a local read */
    bool is_draining;
    /* It waits for a result: in its readers, or in api->rendered. */
    struct api_shared *awaited;
    struct link waiting;
    void (*resume)(struct api_read *r, struct api_shared *s);
    /* A long answer under way. */
    struct api_shared *sent_from;
    size_t sent;
};

void api_read_start(struct api_call *c, struct api_read *r, const struct api_source *source);
void api_read_go(struct api_read *r, int err);
void api_read_learned(struct api_read *r);
void api_read_changed(struct api_read *r);
/* Whether If-None-Match has this tag. */
bool api_has_tag(const struct api_call *c, const uint8_t tag[API_DIGEST_SIZE]);
void api_add_etag(struct api_call *c, const uint8_t tag[API_DIGEST_SIZE]);
/* Whether the call asks for consistency=local. */
bool api_is_local(const struct api_call *c);

#endif
