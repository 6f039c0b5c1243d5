/* SPDX-License-Identifier: Apache-2.0
 * The plan of a rollout; see rollout_plan.h. */
#include "config/rollout_plan.h"

#include <stdio.h>

#include "base/mutant.h"

static const struct gray_rule *find_rule(const struct workflow_rollout *r, const struct config_head *head)
{
    for (size_t i = 0; i < head->gray.count; i++)
        if (slice_equal(head->gray.list[i].name, r->rule))
            return &head->gray.list[i];
    return NULL;
}

const char *rollout_changed(const struct workflow_rollout *r, const struct config_head *head)
{
    if (!head || head->is_deleted)
        return "the configuration was deleted";
    const struct gray_rule *rule = find_rule(r, head);
    if (!rule)
        return "its gray rule was deleted";
    if (rule->seq != r->seq)
        return "its gray rule has another release";
    if (rule->percent != r->steps[r->step].percent)
        return "its gray rule has another percentage";
    return NULL;
}

static bool is_over_limit(const struct rollout_state *s)
{
    const struct rollout_survey *v = &s->survey;
    size_t answers = v->applied + v->rejected;
    if (!s->rollout->has_limit || !answers || MUTANT(ROLLOUT_REJECTIONS_IGNORED))
        return false;
    return (double)v->rejected > s->rollout->rejected_over * (double)answers;
}

static struct rollout_plan act(enum rollout_action action, int64_t until_ms)
{
    return (struct rollout_plan){.action = action, .until_ms = until_ms};
}

/* A count is due every ROLLOUT_SURVEY_MS, and once more when the step has lasted its time. */
static bool needs_survey(const struct rollout_state *s, int64_t due)
{
    int64_t at = s->survey.at_ms <= s->now_ms ? s->survey.at_ms : 0; /* the clock was set back */
    return s->rollout->has_limit && (at + ROLLOUT_SURVEY_MS <= s->now_ms || (s->now_ms >= due && at < due));
}

struct rollout_plan rollout_plan(const struct rollout_state *s)
{
    const struct workflow_rollout *r = s->rollout;
    const struct rollout_survey *v = &s->survey;
    const char *changed = rollout_changed(r, s->head);
    if (!workflow_rollout_is_open(r))
        return act(ROLLOUT_WAIT, INT64_MAX);
    if (changed) {
        struct rollout_plan plan = act(ROLLOUT_END, s->now_ms);
        snprintf(plan.reason, sizeof plan.reason, "%s", changed);
        return plan;
    }
    if (r->state == ROLLOUT_PAUSED)
        return act(ROLLOUT_WAIT, INT64_MAX);
    if (is_over_limit(s)) {
        struct rollout_plan plan = act(ROLLOUT_ABORT, s->now_ms);
        snprintf(plan.reason, sizeof plan.reason,
                 "%zu of %zu clients with an answer have rejected release %llu", v->rejected,
                 v->applied + v->rejected, (unsigned long long)r->seq);
        return plan;
    }
    int64_t begun = r->step_ms < s->seen_ms ? r->step_ms : s->seen_ms;
    int64_t due = begun + r->steps[r->step].for_s * 1000, again = v->at_ms + ROLLOUT_SURVEY_MS;
    if (needs_survey(s, due))
        return act(ROLLOUT_SURVEY, s->now_ms);
    if (s->now_ms < due)
        return act(ROLLOUT_WAIT, r->has_limit && again < due ? again : due);
    if (r->has_limit && v->silent && s->now_ms < due + ROLLOUT_SILENT_MS)
        return act(ROLLOUT_WAIT, again);
    return act(r->step + 1 < r->step_count ? ROLLOUT_ADVANCE : ROLLOUT_PROMOTE, s->now_ms);
}
