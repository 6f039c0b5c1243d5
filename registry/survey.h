/* SPDX-License-Identifier: Apache-2.0
 * Surveys: the subscribers of a service on all members. This member's watches, and those of the others by a
 * member RPC (kv_member_rpc_to_all).
 *
 * A member that does not answer is silent. A member that was never started is not expected to answer. */
#ifndef REGISTRY_SURVEY_H
#define REGISTRY_SURVEY_H

#include "registry/registry.h"
#include "registry/survey_wire.h"

struct survey_part { /* of one member */
    uint64_t member_id;
    struct survey_answer answer;
};

/* Zero it before the first start. Another start discards the last result. */
struct survey {
    struct registry *registry;
    void (*done)(struct survey *s); /* never from inside survey_start */
    struct survey_request request;  /* borrowed by survey_start's caller */
    struct survey_part *parts;      /* this member first; in the arena */
    size_t part_count;
    struct slice *silent; /* names of members */
    size_t silent_count;
    struct arena arena;
    /* Private. */
    struct kv_member_rpc ask;
    struct kv_request members;
    Etcdserverpb__MemberListRequest message;
};

void survey_start(struct survey *s, uint64_t timeout_ms);
void survey_done(struct survey *s); /* also cancels it */

/* The survey of this member alone, at once. */
void survey_local(struct registry *r, const struct survey_request *q, struct arena *a,
                  struct survey_answer *ret_answer);

/* From now on this member answers the surveys of the others. */
void survey_open(struct registry *r);
void survey_close(struct registry *r);

#endif
