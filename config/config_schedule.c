/* SPDX-License-Identifier: Apache-2.0
 * Scheduled publishes: schedule, cancel, and the leader's publish at the time.
 *
 * Exactly once: the transaction that publishes deletes the schedule, and compares its revision, the draft's and
 * the head's. A second attempt, of whichever leader, finds no schedule of that revision and does nothing. A
 * publish that is not possible is kept as failed, by a transaction with the same comparisons. */
#include "base/mutant.h"
#include "config/config_write.h"

#include <stdio.h>

static bool read_schedule(struct write *w, const struct target *t, struct workflow_schedule *ret)
{
    const struct side *s = &t->sides[SIDE_SCHEDULE];
    return s->revision && workflow_schedule_read(s->text, &w->op.pending_ops.arena, ret) == OK;
}

static void put_schedule(struct write *w, struct target *t, const struct workflow_schedule *s)
{
    struct buf text = {0};
    workflow_schedule_write(s, &text);
    write_change_side(w, t, SIDE_SCHEDULE, &text);
}

static uint64_t head_seq(const struct target *t)
{
    return t->head ? t->head->seq : 0;
}

/* --- schedule ------------------------------------------------------------------------------------------- */

static int decide_schedule(struct write *w, struct target *t)
{
    struct workflow_review review;
    struct workflow_schedule old;
    if (!t->has_source)
        return DECIDE_FETCH;
    if (!t->source_revision)
        return write_refuse(w, t, ERR_NOT_FOUND, "there is no draft of %.*s", (int)t->key.name.size,
                            (const char *)t->key.name.data);
    int err = write_check_review(w, t, &review);
    if (!err && read_schedule(w, t, &old) && old.state == SCHEDULE_PENDING)
        err = write_refuse(w, t, ERR_CONFLICT, "a publish of %.*s is scheduled already: cancel it first",
                           (int)t->key.name.size, (const char *)t->key.name.data);
    if (!err && !t->draft.is_deletion) {
        t->format = t->draft.format;
        t->content = t->draft.content;
        err = write_check_content(w, t, t->format);
    }
    if (err)
        return err;
    t->act = "schedule";
    put_schedule(w, t,
                 &(struct workflow_schedule){
                     .at_ms = (int64_t)t->wanted,
                     .draft_revision = t->source_revision,
                     .base_seq = head_seq(t),
                     .scheduled = {w->author, t->note, config_wall_ms(w->op.config)},
                     .title = t->title,
                 });
    return OK;
}

void config_schedule_draft(struct config *c, struct config_request *q, const struct config_id *key,
                           int64_t at_ms, struct slice title, struct slice note,
                           const struct config_condition *condition)
{
    struct write *w = write_new(c, q, 1);
    struct target *t = &w->targets[0];
    if (!write_target(w, 0, key, decide_schedule, condition) || !write_annotate(w, 0, title, note))
        return;
    t->source = SOURCE_DRAFT;
    t->wanted = (uint64_t)at_ms;
    t->needs_head = t->needs_draft = true;
    write_use_side(w, t, SIDE_REVIEW);
    write_use_side(w, t, SIDE_SCHEDULE);
    write_start(w);
}

/* --- cancel --------------------------------------------------------------------------------------------- */

static int decide_cancel(struct write *w, struct target *t)
{
    struct buf none = {0};
    if (!w->is_fresh)
        return DECIDE_FETCH;
    if (!t->sides[SIDE_SCHEDULE].revision)
        return write_refuse(w, t, ERR_NOT_FOUND, "no publish of %.*s is scheduled", (int)t->key.name.size,
                            (const char *)t->key.name.data);
    t->act = "cancel_schedule";
    write_change_side(w, t, SIDE_SCHEDULE, &none);
    return OK;
}

void config_cancel_schedule(struct config *c, struct config_request *q, const struct config_id *key)
{
    struct write *w = write_new(c, q, 1);
    struct target *t = &w->targets[0];
    if (!write_target(w, 0, key, decide_cancel, NULL))
        return;
    t->needs_head = true;
    write_use_side(w, t, SIDE_SCHEDULE);
    write_start(w);
}

/* --- the leader ----------------------------------------------------------------------------------------- */

static int keep_failed(struct write *w, struct target *t, struct workflow_schedule s, const char *reason)
{
    s.state = SCHEDULE_FAILED;
    s.error = config_copy(&w->op.pending_ops.arena, slice_text(reason));
    s.failed_ms = config_wall_ms(w->op.config);
    t->act = "schedule_failed";
    t->is_unchanged = t->deletes_draft = false;
    t->new_head = NULL;
    t->new_release = NULL;
    t->seq = 0;
    t->sides[SIDE_REVIEW].is_changed = false;
    put_schedule(w, t, &s);
    return OK;
}

/* Errors that may pass by themselves: the schedule stays, and is tried again. */
static bool is_passing(int err)
{
    return err == ERR_QUOTA || err == ERR_LIMIT || err == ERR_NO_SPACE || err == ERR_TOO_MANY_REQUESTS;
}

static const char *what_has_changed(struct write *w, const struct target *t,
                                    const struct workflow_schedule *s)
{
    if (t->source_revision != s->draft_revision)
        return "the draft has changed since the publish was scheduled";
    if (head_seq(t) != s->base_seq)
        return arena_printf(&w->op.pending_ops.arena,
                            "release %llu went live since the publish was scheduled, upon release %llu",
                            (unsigned long long)head_seq(t), (unsigned long long)s->base_seq);
    return NULL;
}

static int decide_run(struct write *w, struct target *t)
{
    struct workflow_schedule s = {0};
    if (!t->has_source)
        return DECIDE_FETCH;
    bool is_this = t->sides[SIDE_SCHEDULE].revision == (int64_t)t->wanted || MUTANT(SCHEDULE_OF_BEFORE);
    t->is_unchanged = !is_this || !read_schedule(w, t, &s) || s.state != SCHEDULE_PENDING;
    if (t->is_unchanged)
        return OK;
    const char *changed = what_has_changed(w, t, &s);
    if (changed && !MUTANT(SCHEDULE_BASE_IGNORED))
        return keep_failed(w, t, s, changed);
    w->author = s.scheduled.author;
    t->title = s.title;
    t->note = s.scheduled.note;
    int err = write_publish_draft(w, t);
    if (err == DECIDE_FETCH || err == DECIDE_CHECK || is_passing(err))
        return err;
    if (err)
        return keep_failed(w, t, s, w->error[0] ? w->error : err_text(err));
    t->act = "scheduled_publish";
    return OK;
}

void config_run_schedule(struct config *c, struct config_request *q, const struct config_id *key,
                         int64_t revision)
{
    struct write *w = write_new(c, q, 1);
    struct target *t = &w->targets[0];
    if (!write_target(w, 0, key, decide_run, NULL))
        return;
    t->source = SOURCE_DRAFT;
    t->wanted = (uint64_t)revision;
    write_use_side(w, t, SIDE_REVIEW);
    write_use_side(w, t, SIDE_SCHEDULE);
    write_start(w);
}
