/* SPDX-License-Identifier: Apache-2.0
 * The documents of the approval workflow: policies, reviews, scheduled publishes, rollouts. Ordinary keys
 * (config/name.h) hold them; the writes are in config_review.c, config_schedule.c and config_rollout.c. Pure.
 *
 *   policy    which names of a namespace need a review before anything of them goes live, and which are sealed
 *   review    that a draft was submitted, and what the reviewer decided; bound to one revision of the draft
 *   schedule  that a draft will be published at a time; deleted by the transaction that publishes it
 *   rollout   the steps of a gray release, and the one that it has reached
 *
 * They are read and written as config/document.h says: tolerantly, canonically. */
#ifndef CONFIG_WORKFLOW_H
#define CONFIG_WORKFLOW_H

#include "base/author.h"
#include "config/document.h"

#define WORKFLOW_PATTERNS_MAX 64 /* of a policy */
#define WORKFLOW_STEPS_MAX    16 /* of a rollout */
#define WORKFLOW_STEP_MIN_S   1
#define WORKFLOW_STEP_MAX_S   (30 * 86400)
#define WORKFLOW_SIZE_MAX     (1u << 16) /* bytes of a document; a longer one is unreadable */

/* One act of a user. */
struct workflow_act {
    struct author author;
    struct slice note;
    int64_t time_ms;
};

/* --- policies ------------------------------------------------------------------------------------------- */
struct workflow_policy {
    struct slice
        *patterns; /* that need a review: "name", "name*", "*", each with or without "group/" before it */
    size_t count;
    struct slice *sealed; /* that are stored sealed */
    size_t sealed_count;
    bool has_sealed;      /* of a request: it has the field; without it the patterns stay */
    struct author author; /* of the last change */
    int64_t time_ms;
};
/* The readers of stored documents: ERR_MALFORMED: not JSON; ERR_INVALID: a field. */
/* A client's {"review":["app-*","pay/x.yaml"],"encrypt":["db-*"]}, strictly. error (at least 200 bytes) gets one sentence. */
MUST_CHECK int workflow_policy_request_read(struct slice text, struct arena *a, struct workflow_policy *ret,
                                            char *error, size_t error_size);
MUST_CHECK int workflow_policy_read(struct slice text, struct arena *a, struct workflow_policy *ret);
void workflow_policy_write_members(const struct workflow_policy *p, struct json_writer *w);
void workflow_policy_write(const struct workflow_policy *p, struct buf *out);
/* True: changes of this configuration need a review. */
bool workflow_policy_matches(const struct workflow_policy *p, struct slice group, struct slice name);
/* True: its contents are stored sealed. */
bool workflow_policy_seals(const struct workflow_policy *p, struct slice group, struct slice name);

/* --- reviews -------------------------------------------------------------------------------------------- */
enum workflow_review_state { REVIEW_SUBMITTED, REVIEW_APPROVED, REVIEW_REJECTED, REVIEW_STATES };
struct workflow_review {
    enum workflow_review_state state;
    int64_t draft_revision; /* mod revision of the draft's key: another one is another change */
    struct workflow_act submitted, decided;
};
const char *workflow_review_state_name(enum workflow_review_state s);
/* ERR_MALFORMED, ERR_INVALID. */
MUST_CHECK int workflow_review_read(struct slice text, struct arena *a, struct workflow_review *ret);
void workflow_review_write_members(const struct workflow_review *r, struct json_writer *w);
void workflow_review_write(const struct workflow_review *r, struct buf *out);

/* --- scheduled publishes -------------------------------------------------------------------------------- */
enum workflow_schedule_state {
    SCHEDULE_PENDING,
    SCHEDULE_FAILED, /* its time has come, and it was not possible; `error` says why */
    SCHEDULE_STATES
};
struct workflow_schedule {
    enum workflow_schedule_state state;
    int64_t at_ms;          /* when the draft is published, by the leader's clock */
    int64_t draft_revision; /* of the draft that will be published */
    uint64_t base_seq;      /* the head's seq at that time; 0 = there was none */
    struct workflow_act scheduled;
    struct slice title;
    struct slice error;
    int64_t failed_ms;
};
const char *workflow_schedule_state_name(enum workflow_schedule_state s);
MUST_CHECK int workflow_schedule_read(struct slice text, struct arena *a, struct workflow_schedule *ret);
void workflow_schedule_write_members(const struct workflow_schedule *s, struct json_writer *w);
void workflow_schedule_write(const struct workflow_schedule *s, struct buf *out);

/* --- rollouts ------------------------------------------------------------------------------------------- */
enum workflow_rollout_state {
    ROLLOUT_RUNNING,
    ROLLOUT_PAUSED,
    ROLLOUT_PROMOTED, /* its release is live */
    ROLLOUT_ABORTED,  /* its rule was deleted */
    ROLLOUT_ENDED,    /* its rule was changed by hand: the rollout does nothing more */
    ROLLOUT_STATES
};
struct workflow_step {
    uint8_t percent; /* of the clients, as in a gray rule */
    int64_t for_s;
};
struct workflow_rollout {
    enum workflow_rollout_state state;
    struct slice rule;      /* its gray rule */
    uint64_t seq;           /* the rule's release */
    struct slice approved;  /* the reviewer that approved it; empty = there was no review */
    struct slice emergency; /* the reason, when it was begun without a review */
    struct workflow_step steps[WORKFLOW_STEPS_MAX];
    size_t step_count, step; /* step: the one that it has reached */
    int64_t step_ms;         /* when that began */
    bool has_limit;
    double rejected_over; /* share of the clients with an answer */
    struct workflow_act started;
    struct workflow_act changed; /* by hand: pause, resume, promote, abort; empty = never */
    struct slice reason;         /* of ABORTED, ENDED, PAUSED */
};
/* A client's request to start one. */
struct workflow_rollout_request {
    struct workflow_rollout rollout; /* rule, steps, the limit, the note */
    struct gray_rule rule;           /* match, priority; its percent is the first step's */
    enum { ROLLOUT_OF_CONTENT, ROLLOUT_OF_SEQ, ROLLOUT_OF_DRAFT } source;
    struct slice content;
};
const char *workflow_rollout_state_name(enum workflow_rollout_state s);
static inline bool workflow_rollout_is_open(const struct workflow_rollout *r)
{
    return r->state == ROLLOUT_RUNNING || r->state == ROLLOUT_PAUSED;
}
/* {"rule":"canary","match":{…},"priority":1,"seq":3|"content":"…"|"draft":true,
 *  "steps":[{"percent":5,"for":"10m"},…],"abort_if":{"rejected_over":0.02},"note":"…"}. */
MUST_CHECK int workflow_rollout_request_read(struct slice text, struct arena *a,
                                             struct workflow_rollout_request *ret, char *error,
                                             size_t error_size);
MUST_CHECK int workflow_rollout_read(struct slice text, struct arena *a, struct workflow_rollout *ret);
void workflow_rollout_write_members(const struct workflow_rollout *r, struct json_writer *w);
void workflow_rollout_write(const struct workflow_rollout *r, struct buf *out);

#endif
