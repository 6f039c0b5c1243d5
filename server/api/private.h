/* SPDX-License-Identifier: Apache-2.0
 * Shared by call.c and read.c. */
#ifndef SERVER_API_PRIVATE_H
#define SERVER_API_PRIVATE_H

#include "server/api/call.h"

enum { API_SHARED = 8, API_DIGEST_SIZE = 16 };

/* A result that was rendered in this turn: the next request that asks the same gets it too. */
struct api_shared {
    struct buf key, body;
    int64_t revision;
    enum api_error error; /* API_ERRORS = none */
    uint8_t digest[API_DIGEST_SIZE];
    bool is_set;
};

struct api {
    struct api_options options;
    struct buf out; /* scratch: one answer */
    struct json_writer writer;
    struct api_shared shared[API_SHARED];
    size_t next_shared;    /* to be replaced */
    struct link polls;     /* reads that wait for a change; those that must be judged come first */
    struct link sliced;    /* calls that go on in this turn: slice.c */
    uint64_t slice_end_ns; /* of this turn */
    unsigned exports;      /* under way */
    uint64_t import_bytes; /* held by archives that come in, together */
};

/* read.c: after rights have changed, some of those that wait. True: there are more. */
bool api_judge_polls(struct api *a);
/* slice.c: the calls that take long. True: there is more to do. */
bool api_slices_turn(struct api *a);
/* What a page of another origin may read of an answer. */
void api_expose_headers(struct api_call *c);

#endif
