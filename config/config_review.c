/* SPDX-License-Identifier: Apache-2.0
 * Reviews of drafts: submit, approve, reject; and the check of a draft's publish.
 *
 *      submit ──► submitted ── approve ──► approved ──► published
 *                     │ reject                 │ reject
 *                     └──────► rejected ◄──────┘
 *
 * A review names the revision of the draft. So any change of the draft voids it, whoever made it and how. */
#include "base/mutant.h"
#include "config/config_write.h"

static const char *review_fault(const struct target *t, const struct workflow_review *r, bool exists)
{
    if (!exists)
        return "its draft was not submitted";
    if (r->draft_revision != t->source_revision)
        return "its draft has changed after it was submitted";
    return r->state == REVIEW_SUBMITTED ? "nobody has approved its draft yet" : "its draft was rejected";
}

/* The review of the target's draft; false: there is none, or it cannot be read. */
static bool read_review(struct write *w, const struct target *t, struct workflow_review *ret)
{
    const struct side *s = &t->sides[SIDE_REVIEW];
    *ret = (struct workflow_review){0};
    return s->revision && workflow_review_read(s->text, &w->op.pending_ops.arena, ret) == OK;
}

int write_check_review(struct write *w, struct target *t, struct workflow_review *ret_review)
{
    struct workflow_review review;
    bool exists = read_review(w, t, &review);
    bool is_current =
        exists && (review.draft_revision == t->source_revision || MUTANT(REVIEW_OUTLIVES_DRAFT));
    *ret_review = (struct workflow_review){0};
    if (is_current && review.state == REVIEW_APPROVED) {
        *ret_review = review;
        return OK;
    }
    if (w->emergency.size || !write_needs_review(w, t))
        return OK;
    return write_refuse(w, t, ERR_REVIEW_REQUIRED, "%.*s needs a review: %s", (int)t->key.name.size,
                        (const char *)t->key.name.data, review_fault(t, &review, exists));
}

static int no_draft(struct write *w, struct target *t)
{
    return write_refuse(w, t, ERR_NOT_FOUND, "there is no draft of %.*s", (int)t->key.name.size,
                        (const char *)t->key.name.data);
}

static void put_review(struct write *w, struct target *t, const struct workflow_review *review)
{
    struct buf text = {0};
    workflow_review_write(review, &text);
    write_change_side(w, t, SIDE_REVIEW, &text);
}

/* --- submit --------------------------------------------------------------------------------------------- */

/* A content that is not well formed is not worth a reviewer's time: it is refused here already. */
static int decide_submit(struct write *w, struct target *t)
{
    struct workflow_review review;
    if (!t->has_source)
        return DECIDE_FETCH;
    if (!t->source_revision)
        return no_draft(w, t);
    bool exists = read_review(w, t, &review);
    t->is_unchanged =
        exists && review.draft_revision == t->source_revision && review.state != REVIEW_REJECTED;
    if (t->is_unchanged)
        return OK;
    if (!t->draft.is_deletion) {
        t->format = t->draft.format;
        t->content = t->draft.content;
        int err = write_check_content(w, t, t->format);
        if (err)
            return err;
    }
    t->act = "submit";
    put_review(w, t,
               &(struct workflow_review){
                   .state = REVIEW_SUBMITTED,
                   .draft_revision = t->source_revision,
                   .submitted = {w->author, t->note, config_wall_ms(w->op.config)},
               });
    return OK;
}

void config_submit_draft(struct config *c, struct config_request *q, const struct config_id *key,
                         struct slice note)
{
    struct write *w = write_new(c, q, 1);
    struct target *t = &w->targets[0];
    if (!write_target(w, 0, key, decide_submit, NULL) || !write_annotate(w, 0, (struct slice){0}, note))
        return;
    t->source = SOURCE_DRAFT;
    t->needs_draft = true;
    write_use_side(w, t, SIDE_REVIEW);
    write_start(w);
}

/* --- approve, reject ------------------------------------------------------------------------------------ */

static bool is_named(const struct author *a, struct slice name)
{
    return name.size && (slice_equal(a->name, name) || slice_equal(a->on_behalf_of, name));
}

/* The same person, as far as the names say: the user, or the one for whom a tool says that it writes. */
static bool is_same(const struct author *a, const struct author *b)
{
    return is_named(a, b->name) || is_named(a, b->on_behalf_of);
}

static int check_reviewer(struct write *w, struct target *t, const struct workflow_review *review)
{
    const struct author *a = &w->author;
    if (!a->name.size || slice_equal(a->name, slice_text(AUTHOR_ANONYMOUS)))
        return write_refuse(w, t, ERR_PERMISSION_DENIED,
                            "a review needs a reviewer with a name: an authenticated user, or a client "
                            "certificate");
    if (!MUTANT(REVIEW_OWN_CHANGE) && (is_same(a, &review->submitted.author) || is_same(a, &t->draft.author)))
        return write_refuse(w, t, ERR_PERMISSION_DENIED,
                            "%.*s has written or submitted this draft: another user must approve it",
                            (int)a->name.size, (const char *)a->name.data);
    return OK;
}

static int decide_review(struct write *w, struct target *t)
{
    struct workflow_review review;
    bool approves = t->approves;
    if (!t->has_source)
        return DECIDE_FETCH;
    if (!t->source_revision)
        return no_draft(w, t);
    if (!read_review(w, t, &review))
        return write_refuse(w, t, ERR_CONFLICT, "the draft of %.*s was not submitted", (int)t->key.name.size,
                            (const char *)t->key.name.data);
    if (review.draft_revision != t->source_revision || (int64_t)t->wanted != t->source_revision)
        return write_refuse(w, t, ERR_CONFLICT,
                            "the draft has changed: its revision is %lld, that of the review %lld, the "
                            "reviewer's %lld; read it again",
                            (long long)t->source_revision, (long long)review.draft_revision,
                            (long long)t->wanted);
    int err = approves ? check_reviewer(w, t, &review) : OK;
    if (err)
        return err;
    t->is_unchanged = review.state == (approves ? REVIEW_APPROVED : REVIEW_REJECTED);
    if (t->is_unchanged)
        return OK;
    if (approves && review.state != REVIEW_SUBMITTED)
        return write_refuse(w, t, ERR_CONFLICT, "the draft was rejected: it must be submitted again");
    review.state = approves ? REVIEW_APPROVED : REVIEW_REJECTED;
    review.decided = (struct workflow_act){w->author, t->note, config_wall_ms(w->op.config)};
    t->act = approves ? "approve" : "reject";
    put_review(w, t, &review);
    return OK;
}

void config_review_draft(struct config *c, struct config_request *q, const struct config_id *key,
                         bool approves, int64_t draft_revision, struct slice note)
{
    struct write *w = write_new(c, q, 1);
    struct target *t = &w->targets[0];
    if (!write_target(w, 0, key, decide_review, NULL) || !write_annotate(w, 0, (struct slice){0}, note))
        return;
    t->source = SOURCE_DRAFT;
    t->approves = approves;
    t->wanted = (uint64_t)draft_revision;
    t->needs_review_key = true;
    write_use_side(w, t, SIDE_REVIEW);
    write_start(w);
}
