/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: the documents of the approval workflow, stored ones and clients' requests. A stored document that
 * can be read is written in its canonical form, and that form reads and writes as the same bytes again. A
 * request that can be read holds the limits of config/workflow.h. */
#include <assert.h>

#include "config/name.h"
#include "config/workflow.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROUND_TRIP(type)                                                                                     \
    static void type##_round_trip(struct slice text)                                                         \
    {                                                                                                        \
        struct arena a = {0};                                                                                \
        struct buf once = {0}, twice = {0};                                                                  \
        struct type first, second;                                                                           \
        int err = type##_read(text, &a, &first);                                                             \
        assert(err == OK || err == ERR_MALFORMED || err == ERR_INVALID);                                     \
        if (!err) {                                                                                          \
            type##_write(&first, &once);                                                                     \
            err = type##_read(buf_slice(&once), &a, &second);                                                \
            assert(err == OK);                                                                               \
            type##_write(&second, &twice);                                                                   \
            assert(slice_equal(buf_slice(&once), buf_slice(&twice)));                                        \
        }                                                                                                    \
        buf_done(&once);                                                                                     \
        buf_done(&twice);                                                                                    \
        arena_done(&a);                                                                                      \
    }

ROUND_TRIP(workflow_policy)
ROUND_TRIP(workflow_review)
ROUND_TRIP(workflow_schedule)
ROUND_TRIP(workflow_rollout)

static void policy_request(struct slice text)
{
    struct arena a = {0};
    struct workflow_policy p;
    char error[200] = "";
    int err = workflow_policy_request_read(text, &a, &p, error, sizeof error);
    assert(!err || *error);
    assert(err || p.count <= WORKFLOW_PATTERNS_MAX);
    if (!err)
        (void)workflow_policy_matches(&p, slice_text("default"), slice_text("app.yaml"));
    arena_done(&a);
}

static void rollout_request(struct slice text)
{
    struct arena a = {0};
    struct workflow_rollout_request q;
    char error[200] = "";
    int err = workflow_rollout_request_read(text, &a, &q, error, sizeof error);
    assert(!err || *error);
    for (size_t i = 0; !err && i < q.rollout.step_count; i++) {
        const struct workflow_step *s = &q.rollout.steps[i];
        assert(s->for_s >= WORKFLOW_STEP_MIN_S && s->for_s <= WORKFLOW_STEP_MAX_S && s->percent <= 100);
        assert(i == 0 || s->percent > q.rollout.steps[i - 1].percent);
    }
    assert(err || (q.rollout.step_count > 0 && q.rollout.step_count <= WORKFLOW_STEPS_MAX));
    arena_done(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    workflow_policy_round_trip(text);
    workflow_review_round_trip(text);
    workflow_schedule_round_trip(text);
    workflow_rollout_round_trip(text);
    policy_request(text);
    rollout_request(text);
    return 0;
}
