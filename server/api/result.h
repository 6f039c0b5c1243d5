/* SPDX-License-Identifier: Apache-2.0
 * Results of reads: rendered in slices, once for all who ask the same, and kept for the turn.
 *
 * A result that is not there is rendered for the first read that waits for it, which is its leader: with the
 * leader's query, a slice of time a turn (api_slice_is_over). When the leader leaves, the next read in the
 * queue leads, and the rendering begins anew. While results under way hold more than 64 MiB, only the
 * oldest of them goes on, so that memory is bounded whatever is asked. */
#ifndef SERVER_API_RESULT_H
#define SERVER_API_RESULT_H

#include "base/hash.h"
#include "server/api/private.h"

struct api_read;
struct api_source;

struct api_shared {
    size_t references;
    struct buf key, body;
    /* The body is of this revision; INT64_MAX: what it is of is not fixed yet, but it is a later one than any
     * that the view has had. */
    int64_t revision;
    int64_t last_change;  /* api_source.changed, of this revision */
    enum api_error error; /* API_ERRORS = none */
    uint8_t digest[API_DIGEST_SIZE];
    bool is_done;
    size_t streams; /* answers that are being sent from it */
    /* While it is rendered. */
    struct link link;    /* in api->rendering */
    struct link readers; /* that wait for it, the leader first */
    const struct api_source *source;
    void *state; /* the source's */
    struct json_writer writer;
    struct sha256 *hash;
    size_t hashed;        /* so much of the body is in the hash */
    size_t counted_bytes; /* in api->rendering_bytes */
};

/* resume(r, s) with a result of the revision `oldest` or a later one: within this call if it is there or
 * takes no more than a slice, else from api_polls_turn. The caller of resume holds s until it returns. */
void api_result_await(struct api_read *r, int64_t oldest,
                      void (*resume)(struct api_read *r, struct api_shared *s));
/* r does not wait any more; nothing if it does not. */
void api_result_leave(struct api_read *r);
/* Of a read in api->rendered: resumes it, unless what it may see is another by now; then it waits anew. */
void api_result_take(struct api_read *r);

/* Of a source's render_on, once: what it is going to write is as the view is now. Opens the object, with its
 * revision. */
void api_result_fix(struct api_read *r, struct api_shared *s);

/* What a rendering held, where letting go of it takes long: freed in slices. */
struct api_garbage {
    struct link link;
    bool (*free_some)(struct api_garbage *g); /* some 100 us of it; true: it is gone */
};
void api_result_discard(struct api *a, struct api_garbage *g);

struct api_shared *api_result_ref(struct api_shared *s);
void api_result_unref(struct api_shared *s);

/* A slice for those that are being rendered; true: there are more. */
bool api_results_turn(struct api *a);
/* All garbage, however long it takes: at the end of the process. */
void api_results_done(struct api *a);
/* The end of a turn: what was kept for others who ask the same. */
void api_results_drop_kept(struct api *a);

#endif
