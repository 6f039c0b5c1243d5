/* SPDX-License-Identifier: Apache-2.0
 * Shared by call.c, read.c, result.c and slice.c. */
#ifndef SERVER_API_PRIVATE_H
#define SERVER_API_PRIVATE_H

#include "base/map.h"
#include "server/api/call.h"

enum { API_SHARED = 8, API_DIGEST_SIZE = 16, API_SLICE_NS = 1000000 };

struct api_shared;

struct api {
    struct api_options options;
    struct buf out; /* scratch: one answer */
    struct json_writer writer;
    struct buf openapi;                    /* /openapi.json, once somebody has asked for it */
    struct api_shared *shared[API_SHARED]; /* results that are kept for a turn: result.c */
    size_t next_shared;                    /* to be replaced */
    struct strmap making;                  /* key -> the last one that is being rendered */
    struct link rendering;                 /* results, in the order in which they have their slices */
    struct link rendered;                  /* reads whose result is there: api_polls_turn */
    struct link garbage;                   /* of renderings, to be freed */
    size_t rendering_bytes;                /* that those which are being rendered hold */
    struct link polls;     /* reads that wait for a change; those that must be judged come first */
    struct link changed;   /* polls whose source has changed: api_polls_turn */
    struct link sliced;    /* calls that go on in this turn: slice.c */
    uint64_t slice_end_ns; /* of what is in its slice now */
    uint64_t early_end_ns; /* of what requests do before api_turn; 0 = none has come since the last one */
    unsigned exports;      /* under way */
    uint64_t import_bytes; /* held by archives that come in, together */
};

/* read.c: after rights have changed, some of those that wait. True: there are more. */
bool api_judge_polls(struct api *a);
/* read.c: reads whose result is there and polls whose source has changed are looked at and answered, as many
 * as a turn has time for. True: there are more. */
bool api_polls_turn(struct api *a);
/* slice.c: the calls that take long. True: there is more to do. */
bool api_slices_turn(struct api *a);
uint64_t api_now_ns(const struct api *a);
/* What a page of another origin may read of an answer. */
void api_expose_headers(struct api_call *c);

#endif
