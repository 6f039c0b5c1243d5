/* SPDX-License-Identifier: Apache-2.0
 * Results of reads: rendered in slices, shared by all reads with the same key, and kept for one turn.
 *
 * A missing result is rendered for the first read that waits for it, its leader: with the leader's query, one
 * slice of time a turn (api_slice_is_over). If the leader leaves, the next read in the queue leads and the
 * rendering begins anew. While results under rendering hold more than 64 MiB, only the oldest of them
 * continues. That bounds memory for any set of requests. */
#ifndef SERVER_API_RESULT_H
#define SERVER_API_RESULT_H

#include "base/hash.h"
#include "server/api/private.h"

struct api_read;
struct api_source;

struct api_shared {
    size_t references;
    struct buf key, body;
    /* The revision of the body; INT64_MAX: not fixed yet, but later than any that the view has had. */
    int64_t revision;
    int64_t last_change;  /* api_source.changed, as of this revision */
    enum api_error error; /* API_ERRORS = none */
    uint8_t digest[API_DIGEST_SIZE];
    bool is_done;
    size_t streams; /* number of answers that are being sent from it */
    /* While it is rendered. */
    struct link link;    /* in api->rendering */
    struct link readers; /* reads that wait for it, the leader first */
    const struct api_source *source;
    void *state; /* the source's */
    struct json_writer writer;
    struct sha256 *hash;
    size_t hashed;        /* bytes of the body that are in the hash */
    size_t counted_bytes; /* in api->rendering_bytes */
};

/* Calls resume(r, s) with a result of revision `oldest` or later. It does so within this call if the result
 * exists or takes at most one slice, else from api_polls_turn. The caller of resume holds a reference to s
 * until resume returns. */
void api_result_await(struct api_read *r, int64_t oldest,
                      void (*resume)(struct api_read *r, struct api_shared *s));
/* r stops waiting; does nothing if it does not wait. */
void api_result_leave(struct api_read *r);
/* For a read in api->rendered: resumes it, unless its key has changed (its rights have); then it waits
 * again. */
void api_result_resume(struct api_read *r);

/* For a source's render_on, called once: fixes the result's revision as the view's current one, and opens the
 * JSON object with it. */
void api_result_fix(struct api_read *r, struct api_shared *s);

/* Data of a rendering that takes long to free: freed in slices. */
struct api_garbage {
    struct link link;
    bool (*free_some)(struct api_garbage *g); /* frees for about 100 us; true: all is freed */
};
void api_result_discard(struct api *a, struct api_garbage *g);

struct api_shared *api_result_ref(struct api_shared *s);
void api_result_unref(struct api_shared *s);

/* Renders for a slice of time; true: there is more. */
bool api_results_turn(struct api *a);
/* Frees all garbage, however long it takes: at the end of the process. */
void api_results_done(struct api *a);
/* At the end of a turn: drops the results that were kept for reads with the same key. */
void api_results_drop_kept(struct api *a);

#endif
