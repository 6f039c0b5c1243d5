/* SPDX-License-Identifier: Apache-2.0
 * Who looks at a service, on all members: this one's watches, and the others' by a question (kv_member_rpc_to_all).
 * A member that does not answer is silent; of one that was never started nobody expects anything. */
#ifndef REGISTRY_SURVEY_H
#define REGISTRY_SURVEY_H

#include "registry/registry.h"
#include "registry/survey_wire.h"

struct survey_part { /* of one member */
    uint64_t member_id;
    struct survey_answer answer;
};

/* Zeroed before the first start; starting again throws the last result away. */
struct survey {
    struct registry *registry;
    void (*done)(struct survey *s);  /* never from inside survey_start */
    struct survey_question question; /* borrowed by survey_start's caller */
    struct survey_part *parts;       /* this member first; in the arena */
    size_t part_count;
    struct slice *silent; /* names of members */
    size_t silent_count;
    struct arena arena;
    /* Its own. */
    struct kv_member_rpc ask;
    struct kv_request members;
    Etcdserverpb__MemberListRequest message;
};

void survey_start(struct survey *s, uint64_t timeout_ms);
void survey_done(struct survey *s); /* also while it is under way */

/* On this member alone, at once. */
void survey_local(struct registry *r, const struct survey_question *q, struct arena *a,
                  struct survey_answer *ret_answer);

/* Answers the other members from now on. */
void survey_open(struct registry *r);
void survey_close(struct registry *r);

#endif
