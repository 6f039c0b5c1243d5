/* SPDX-License-Identifier: Apache-2.0
 * Shared by call.c, rights.c, read.c, result.c and slice.c; private to them. */
#ifndef SERVER_API_PRIVATE_H
#define SERVER_API_PRIVATE_H

#include "base/map.h"
#include "server/api/call.h"

enum { API_SHARED = 8, API_DIGEST_SIZE = 16, API_SLICE_NS = 1000000 };

struct api_shared;
struct api_polled;

struct api {
    struct api_options options;
    struct buf out; /* scratch: one answer */
    struct json_writer writer;
    struct buf openapi, asyncapi;          /* the documents, after the first request for each */
    struct api_shared *shared[API_SHARED]; /* results that are kept for a turn: result.c */
    size_t next_shared;                    /* the index to replace next */
    struct strmap rendering_by_key;        /* key -> the newest result under rendering */
    struct link rendering;                 /* results under rendering, in the order of their slices */
    struct link rendered;                  /* reads whose result is complete: api_polls_turn */
    struct link garbage;                   /* of renderings, to be freed */
    size_t rendering_bytes;                /* memory of the results under rendering */
    struct link polls;     /* reads that wait for a change; those with the oldest rights check come first */
    struct link changed;   /* polls whose source has changed: api_polls_turn */
    struct link sliced;    /* calls that continue in this turn: slice.c */
    uint64_t slice_end_ns; /* of the slice under way */
    uint64_t early_end_ns; /* of rendering before api_turn; 0 = no request has begun it since the last turn */
    struct api_polled *polled; /* polls of many configurations: poll.c; NULL = there was none yet */
    unsigned exports;          /* under way */
    uint64_t import_bytes;     /* held by all archives under import */
    bool has_read;             /* once.c: the store has got a read in this turn */
};

/* read.c: after rights have changed, checks them again for some of the waiting reads. True: there are
 * more. */
bool api_recheck_polls(struct api *a);
/* read.c: continues reads whose result is complete and polls whose source has changed, as many as the turn
 * has time for. True: there are more. */
bool api_polls_turn(struct api *a);
/* slice.c: continues the long calls. True: there is more to do. */
bool api_slices_turn(struct api *a);
uint64_t api_now_ns(const struct api *a);
/* Adds the CORS header that lets a page of an allowed other origin read the answer's headers. */
void api_expose_headers(struct api_call *c);

/* rights.c: answers with the status of a failed check of a guard; message: its sentence. Returns false. */
bool api_refuse_unauthorized(struct api_call *c, int err, const char *message);
/* rights.c: checks the permissions of the row's OF_ flags. false: answered. */
bool api_authorize_route(struct api_call *c);

#endif
