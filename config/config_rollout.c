/* SPDX-License-Identifier: Apache-2.0
 * Writes of rollouts: start, what a user does with one, and the leader's steps.
 *
 * Each changes the rollout's document and the head in one transaction that compares both. So a step happens
 * once, whichever leader takes it, and what a user does meanwhile is never overwritten. A percentage only rises
 * (workflow_rollout_request_read). */
#include "base/mutant.h"
#include "config/config_write.h"

static bool read_rollout(struct write *w, const struct target *t, struct workflow_rollout *ret)
{
    const struct side *s = &t->sides[SIDE_ROLLOUT];
    return s->revision && workflow_rollout_read(s->text, &w->op.pending_ops.arena, ret) == OK;
}

static void put_rollout(struct write *w, struct target *t, const struct workflow_rollout *r)
{
    struct buf text = {0};
    workflow_rollout_write(r, &text);
    write_change_side(w, t, SIDE_ROLLOUT, &text);
}

static const struct gray_rule *find_rule(const struct target *t, struct slice name)
{
    for (size_t i = 0; t->head && i < t->head->gray.count; i++)
        if (slice_equal(t->head->gray.list[i].name, name))
            return &t->head->gray.list[i];
    return NULL;
}

/* --- start ---------------------------------------------------------------------------------------------- */

static int check_start(struct write *w, struct target *t)
{
    struct workflow_rollout old;
    if (!write_is_live(t))
        return write_refuse(w, t, ERR_NOT_FOUND, "there is no live configuration %.*s", (int)t->key.name.size,
                            (const char *)t->key.name.data);
    if (read_rollout(w, t, &old) && workflow_rollout_is_open(&old))
        return write_refuse(w, t, ERR_CONFLICT, "a rollout of %.*s is under way: promote or abort it first",
                            (int)t->key.name.size, (const char *)t->key.name.data);
    if (find_rule(t, t->rollout->rule))
        return write_refuse(w, t, ERR_CONFLICT, "it has a gray rule %.*s already", (int)t->rollout->rule.size,
                            (const char *)t->rollout->rule.data);
    if (t->source == SOURCE_DRAFT && !t->source_revision)
        return write_refuse(w, t, ERR_NOT_FOUND, "there is no draft of %.*s", (int)t->key.name.size,
                            (const char *)t->key.name.data);
    if (t->source == SOURCE_EXISTS && !t->source_revision)
        return write_refuse(w, t, ERR_NOT_FOUND, "there is no release %llu (any more)",
                            (unsigned long long)t->source_seq);
    return OK;
}

/* Makes the release of the draft for the rule's clients, and consumes the draft. */
static int take_draft(struct write *w, struct target *t, struct workflow_rollout *r)
{
    struct workflow_review review;
    struct buf none = {0};
    int err = write_check_review(w, t, &review);
    if (err)
        return err;
    t->content = t->draft.content;
    t->title = t->draft.title;
    err = write_gray_release(w, t, t->draft.is_deletion);
    if (err)
        return err;
    r->approved = t->new_release->approved = review.decided.author.name;
    t->is_reviewed = t->deletes_draft = true;
    write_change_side(w, t, SIDE_REVIEW, &none);
    write_change_side(w, t, SIDE_SCHEDULE, &none);
    return OK;
}

static int decide_start(struct write *w, struct target *t)
{
    struct workflow_rollout r = *t->rollout;
    struct gray_rule rule = t->rules.list[0];
    if (!w->is_fresh || (t->source != SOURCE_NONE && !t->has_source))
        return DECIDE_FETCH;
    int err = check_start(w, t);
    if (!err && t->source == SOURCE_DRAFT)
        err = take_draft(w, t, &r);
    else if (!err && t->source == SOURCE_NONE)
        err = write_gray_release(w, t, false);
    else if (!err)
        write_head(w, t);
    if (err)
        return err;
    r.seq = rule.seq = t->seq ? t->seq : t->source_seq;
    r.step_ms = r.started.time_ms = config_wall_ms(w->op.config);
    r.emergency = w->emergency;
    if (gray_rules_put(&t->head->gray, &rule, &w->op.pending_ops.arena, &t->new_head->gray))
        return write_refuse(w, t, ERR_LIMIT, "it has %d gray rules, the maximum", GRAY_RULES_MAX);
    t->act = "rollout_start";
    put_rollout(w, t, &r);
    return OK;
}

void config_start_rollout(struct config *c, struct config_request *q, const struct config_id *key,
                          const struct workflow_rollout_request *rollout,
                          const struct config_condition *condition)
{
    struct write *w = write_new(c, q, 1);
    struct target *t = &w->targets[0];
    struct arena *a = &w->op.pending_ops.arena;
    if (!write_target(w, 0, key, decide_start, condition) ||
        !write_annotate(w, 0, (struct slice){0}, rollout->rollout.started.note) ||
        !write_copy_rule(w, &rollout->rule))
        return;
    struct workflow_rollout *r = arena_new(a, sizeof *r);
    *r = rollout->rollout;
    r->rule = config_copy(a, r->rule);
    r->started = (struct workflow_act){.author = w->author, .note = t->note};
    t->rollout = r;
    if (rollout->source == ROLLOUT_OF_SEQ) {
        t->source = SOURCE_EXISTS;
        t->source_seq = rollout->rule.seq;
    } else if (rollout->source == ROLLOUT_OF_DRAFT) {
        t->source = SOURCE_DRAFT;
        write_use_side(w, t, SIDE_REVIEW);
        write_use_side(w, t, SIDE_SCHEDULE);
    } else {
        t->content = write_content(w, rollout->content);
    }
    write_use_side(w, t, SIDE_ROLLOUT);
    write_start(w);
}

/* --- what changes the head ------------------------------------------------------------------------------ */

static int end_rule(struct write *w, struct target *t, const struct workflow_rollout *r)
{
    struct config_head *head = write_head(w, t);
    t->is_reviewed = true; /* its clients get what is live */
    return gray_rules_remove(&t->head->gray, r->rule, &w->op.pending_ops.arena, &head->gray);
}

static int promote(struct write *w, struct target *t, struct workflow_rollout *r)
{
    struct gray_rules rest = {0};
    if (!t->has_source || t->source_seq != r->seq) {
        t->source = SOURCE_RELEASE;
        t->source_seq = r->seq;
        return DECIDE_FETCH;
    }
    if (!t->source_revision)
        return write_refuse(w, t, ERR_NOT_FOUND, "there is no release %llu (any more)",
                            (unsigned long long)r->seq);
    bool is_deletion = t->release.operation == CONFIG_DELETE;
    int err = gray_rules_remove(&t->head->gray, r->rule, &w->op.pending_ops.arena, &rest);
    t->format = t->release.format;
    t->content = t->release.content;
    t->title = t->release.title;
    t->is_published_content = true;
    if (!err && !is_deletion)
        err = write_check_content(w, t, t->format);
    if (!err)
        err = write_release(w, t, is_deletion ? CONFIG_DELETE : CONFIG_PROMOTE);
    if (err)
        return err;
    t->new_release->origin_seq = r->seq;
    t->new_release->approved = r->approved;
    if (r->emergency.size)
        t->new_release->emergency = r->emergency;
    t->new_head->gray = is_deletion ? (struct gray_rules){0} : rest;
    t->is_reviewed = r->approved.size || r->emergency.size || t->is_reviewed;
    r->state = ROLLOUT_PROMOTED;
    return OK;
}

static int advance(struct write *w, struct target *t, struct workflow_rollout *r)
{
    struct gray_rule rule = *find_rule(t, r->rule);
    r->step++;
    r->step_ms = config_wall_ms(w->op.config);
    rule.percent = r->steps[r->step].percent;
    write_head(w, t);
    t->is_reviewed = true; /* the beginning was */
    return gray_rules_put(&t->head->gray, &rule, &w->op.pending_ops.arena, &t->new_head->gray);
}

/* --- by hand -------------------------------------------------------------------------------------------- */

static const char *const act_names[] = {
    [CONFIG_ROLLOUT_PAUSE] = "rollout_pause",
    [CONFIG_ROLLOUT_RESUME] = "rollout_resume",
    [CONFIG_ROLLOUT_PROMOTE] = "rollout_promote",
    [CONFIG_ROLLOUT_ABORT] = "rollout_abort",
};

static int set_state(struct target *t, struct workflow_rollout *r, enum workflow_rollout_state state)
{
    t->is_unchanged = r->state == state;
    r->state = state;
    return OK;
}

static int apply_act(struct write *w, struct target *t, struct workflow_rollout *r)
{
    if (t->action == CONFIG_ROLLOUT_PAUSE)
        return set_state(t, r, ROLLOUT_PAUSED);
    if (t->action == CONFIG_ROLLOUT_RESUME) {
        r->step_ms = config_wall_ms(w->op.config); /* the step begins again */
        return set_state(t, r, ROLLOUT_RUNNING);
    }
    if (t->action == CONFIG_ROLLOUT_PROMOTE)
        return promote(w, t, r);
    r->state = ROLLOUT_ABORTED;
    return end_rule(w, t, r);
}

static int decide_act(struct write *w, struct target *t)
{
    struct workflow_rollout r;
    if (!w->is_fresh)
        return DECIDE_FETCH;
    if (!read_rollout(w, t, &r))
        return write_refuse(w, t, ERR_NOT_FOUND, "there is no rollout of %.*s", (int)t->key.name.size,
                            (const char *)t->key.name.data);
    const char *changed = rollout_changed(&r, t->head);
    if (!workflow_rollout_is_open(&r))
        return write_refuse(w, t, ERR_CONFLICT, "the rollout of %.*s has ended: it is %s",
                            (int)t->key.name.size, (const char *)t->key.name.data,
                            workflow_rollout_state_name(r.state));
    if (changed)
        return write_refuse(w, t, ERR_CONFLICT, "the rollout of %.*s was changed by hand: %s",
                            (int)t->key.name.size, (const char *)t->key.name.data, changed);
    r.changed = (struct workflow_act){w->author, t->note, config_wall_ms(w->op.config)};
    r.reason = (struct slice){0};
    int err = apply_act(w, t, &r);
    if (err || t->is_unchanged)
        return err;
    if (w->emergency.size)
        r.emergency = w->emergency;
    t->act = act_names[t->action];
    put_rollout(w, t, &r);
    return OK;
}

void config_act_rollout(struct config *c, struct config_request *q, const struct config_id *key,
                        enum config_rollout_act act, struct slice note)
{
    struct write *w = write_new(c, q, 1);
    struct target *t = &w->targets[0];
    if (!write_target(w, 0, key, decide_act, NULL) || !write_annotate(w, 0, (struct slice){0}, note))
        return;
    t->action = (int)act;
    t->needs_head = true;
    write_use_side(w, t, SIDE_ROLLOUT);
    write_start(w);
}

/* --- the leader ----------------------------------------------------------------------------------------- */

/* A promotion that a policy does not allow waits for a user: the policy is younger than the rollout. */
static bool must_wait(const struct write *w, const struct target *t, const struct workflow_rollout *r)
{
    return t->action == ROLLOUT_PROMOTE && write_needs_review(w, t) && !r->approved.size &&
           !r->emergency.size;
}

static int apply_action(struct write *w, struct target *t, struct workflow_rollout *r)
{
    const char *changed = rollout_changed(r, t->head);
    if (changed || t->action == ROLLOUT_END) {
        t->act = "rollout_end";
        r->state = ROLLOUT_ENDED;
        r->reason = changed ? slice_text(changed) : t->reason;
        return OK;
    }
    if (must_wait(w, t, r)) {
        t->act = "rollout_pause";
        r->state = ROLLOUT_PAUSED;
        r->reason = slice_text("a policy needs a review by now, and the rollout began without one");
        return OK;
    }
    if (t->action == ROLLOUT_ADVANCE) {
        t->act = "rollout_step";
        return advance(w, t, r);
    }
    if (t->action == ROLLOUT_PROMOTE) {
        t->act = "rollout_promote";
        return promote(w, t, r);
    }
    t->act = "rollout_abort";
    r->state = ROLLOUT_ABORTED;
    r->reason = t->reason;
    return end_rule(w, t, r);
}

static int decide_run(struct write *w, struct target *t)
{
    struct workflow_rollout r;
    if (!w->is_fresh)
        return DECIDE_FETCH;
    bool is_this = t->sides[SIDE_ROLLOUT].revision == (int64_t)t->wanted || MUTANT(ROLLOUT_STEP_TWICE);
    t->is_unchanged = !is_this || !read_rollout(w, t, &r) || !workflow_rollout_is_open(&r) ||
                      (r.state == ROLLOUT_PAUSED && t->action != ROLLOUT_END);
    if (t->is_unchanged)
        return OK;
    if (t->action == ROLLOUT_ADVANCE && r.step + 1 >= r.step_count) {
        t->is_unchanged = true;
        return OK;
    }
    w->author = r.started.author;
    int err = apply_action(w, t, &r);
    if (err)
        return err;
    put_rollout(w, t, &r);
    return OK;
}

void config_run_rollout(struct config *c, struct config_request *q, const struct config_id *key,
                        int64_t revision, enum rollout_action action, struct slice reason)
{
    struct write *w = write_new(c, q, 1);
    struct target *t = &w->targets[0];
    if (!write_target(w, 0, key, decide_run, NULL))
        return;
    t->action = (int)action;
    t->wanted = (uint64_t)revision;
    t->reason = config_copy(&w->op.pending_ops.arena, reason);
    write_use_side(w, t, SIDE_ROLLOUT);
    write_start(w);
}
