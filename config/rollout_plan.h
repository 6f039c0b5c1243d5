/* SPDX-License-Identifier: Apache-2.0
 * The plan of a rollout: what the leader does with it next. Pure: it takes the documents, the counts of the
 * listeners and the time, and decides; config/runner.c carries it out.
 *
 *   - A step lasts its whole time, also after a change of leaders. A leader whose clock is behind the one that
 *     began the step counts from when it saw the step itself, so it waits at most once the step's time.
 *   - Before each step, and every ROLLOUT_SURVEY_MS with a limit, the listeners of all members are counted.
 *   - The percentages only rise. After the last step the release is promoted.
 *   - Over the limit the rule is deleted: its clients get the live release again.
 *   - A rule that differs from what the rollout made of it was changed by hand: the rollout ends and leaves
 *     it alone. */
#ifndef CONFIG_ROLLOUT_PLAN_H
#define CONFIG_ROLLOUT_PLAN_H

#include "config/workflow.h"

enum {
    ROLLOUT_SURVEY_MS = 5000,  /* between two counts */
    ROLLOUT_SILENT_MS = 60000, /* how long a member without an answer delays a step */
};

enum rollout_action {
    ROLLOUT_WAIT,    /* until until_ms */
    ROLLOUT_SURVEY,  /* count the listeners, then ask again */
    ROLLOUT_ADVANCE, /* begin the next step */
    ROLLOUT_PROMOTE,
    ROLLOUT_ABORT,
    ROLLOUT_END, /* it was changed by hand */
};

struct rollout_survey { /* zeroed: there is none yet */
    int64_t at_ms;
    size_t applied, rejected; /* clients with this answer about the rollout's release */
    size_t silent;            /* members without an answer */
};

struct rollout_state {
    const struct workflow_rollout *rollout;
    const struct config_head *head; /* NULL: the configuration is gone */
    struct rollout_survey survey;   /* the last one of this step */
    int64_t seen_ms;                /* when this leader has seen this step first */
    int64_t now_ms;
};

struct rollout_plan {
    enum rollout_action action;
    int64_t until_ms;
    char reason[200]; /* of ABORT and END */
};

struct rollout_plan rollout_plan(const struct rollout_state *s);
/* Why the rollout's gray rule is not the one that it made; NULL: it is. head NULL: there is no configuration. */
const char *rollout_changed(const struct workflow_rollout *r, const struct config_head *head);

#endif
