/* SPDX-License-Identifier: Apache-2.0
 * Readers and writers of rollouts; see workflow.h. The plan of their steps is in rollout_plan.c. */
#include <stdio.h>

#include "base/text.h"
#include "config/workflow_private.h"

#define NS_PER_S INT64_C(1000000000)

static const char *const states[ROLLOUT_STATES] = {[ROLLOUT_RUNNING] = "running",
                                                   [ROLLOUT_PAUSED] = "paused",
                                                   [ROLLOUT_PROMOTED] = "promoted",
                                                   [ROLLOUT_ABORTED] = "aborted",
                                                   [ROLLOUT_ENDED] = "ended"};

const char *workflow_rollout_state_name(enum workflow_rollout_state s)
{
    return states[s];
}

/* --- reading -------------------------------------------------------------------------------------------- */

/* Reads one step; false: it is not valid. Unknown fields are refused in requests and in the store: nobody
 * else may write this key. */
static bool read_step(json_t *object, struct arena *a, struct workflow_step *ret)
{
    char error[200];
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, a, error, sizeof error);
    struct slice text = {0};
    int64_t percent = 0, ns = 0;
    document_begin_value(&r, object);
    document_number(&r, "percent", 1, 100, &percent);
    document_text(&r, "for", &text);
    if (document_end(&r) || text_to_duration_ns(text, &ns))
        return false;
    *ret = (struct workflow_step){(uint8_t)percent, ns / NS_PER_S};
    return percent && ret->for_s >= WORKFLOW_STEP_MIN_S && ret->for_s <= WORKFLOW_STEP_MAX_S;
}

static void read_steps(struct document_reader *r, struct workflow_rollout *ret)
{
    json_t *list = document_take(r, "steps");
    size_t count = json_array_size(list);
    if (!json_is_array(list) || !count || count > WORKFLOW_STEPS_MAX) {
        document_refuse(r, "steps", "is not a list of 1 to 16 steps");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        struct workflow_step *step = &ret->steps[i];
        if (!read_step(json_array_get(list, i), r->arena, step)) {
            document_refuse(r, "steps",
                            "has one that is not {\"percent\":1 to 100,\"for\":\"1s\" to \"720h\"}");
            return;
        }
        if (i && step->percent <= ret->steps[i - 1].percent) {
            document_refuse(r, "steps", "has a percentage that is not above the one before it");
            return;
        }
    }
    ret->step_count = count;
}

static void read_limit(struct document_reader *r, struct workflow_rollout *ret)
{
    json_t *object = document_take(r, "abort_if"), *value;
    char error[200];
    if (!object)
        return;
    struct document_reader inner = document_reader_of(DOCUMENT_STRICT, r->arena, error, sizeof error);
    document_begin_value(&inner, object);
    value = document_take(&inner, "rejected_over");
    ret->rejected_over = json_number_value(value);
    ret->has_limit = json_is_number(value) && ret->rejected_over >= 0 && ret->rejected_over < 1;
    if (document_end(&inner) || !ret->has_limit)
        document_refuse(r, "abort_if", "is not {\"rejected_over\":a number from 0 to below 1}");
}

int workflow_rollout_request_read(struct slice text, struct arena *a, struct workflow_rollout_request *ret,
                                  char *error, size_t error_size)
{
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, a, error, error_size);
    struct workflow_rollout_request q = {.rollout.rule = slice_text("rollout")};
    int64_t seq = 0;
    bool is_draft = false;
    document_begin(&r, text);
    document_text(&r, "rule", &q.rollout.rule);
    gray_match_read(&r, &q.rule);
    read_steps(&r, &q.rollout);
    read_limit(&r, &q.rollout);
    document_string(&r, "note", CONFIG_NOTE_MAX, &q.rollout.started.note);
    bool has_seq = document_number(&r, "seq", 1, INT64_MAX, &seq);
    bool has_content = document_bytes(&r, "content", GRAY_CONTENT_MAX, &q.content);
    document_bool(&r, "draft", &is_draft);
    if (has_seq + has_content + is_draft != 1)
        document_refuse_last(&r, "the rollout", "needs one of seq, content and \"draft\":true");
    q.rule.name = q.rollout.rule;
    q.rule.percent = q.rollout.steps[0].percent;
    q.rule.seq = q.rollout.seq = (uint64_t)seq;
    q.source = has_seq ? ROLLOUT_OF_SEQ : is_draft ? ROLLOUT_OF_DRAFT : ROLLOUT_OF_CONTENT;
    int err = document_end(&r);
    if (!err)
        *ret = q;
    return err;
}

int workflow_rollout_read(struct slice text, struct arena *a, struct workflow_rollout *ret)
{
    char error[200];
    struct document_reader r;
    struct workflow_rollout v = {0};
    int64_t seq = 0, step = 0;
    if (!workflow_begin(&r, text, a, error, sizeof error))
        return ERR_INVALID;
    v.state = (enum workflow_rollout_state)workflow_read_state(&r, states, ROLLOUT_STATES);
    document_text(&r, "rule", &v.rule);
    document_number(&r, "seq", 1, INT64_MAX, &seq);
    document_text(&r, "approved_by", &v.approved);
    document_text(&r, "emergency", &v.emergency);
    read_steps(&r, &v);
    read_limit(&r, &v);
    document_number(&r, "step", 0, WORKFLOW_STEPS_MAX - 1, &step);
    document_number(&r, "step_ms", 0, INT64_MAX, &v.step_ms);
    workflow_read_act(&r, "started", &v.started);
    workflow_read_act(&r, "changed", &v.changed);
    document_string(&r, "reason", CONFIG_NOTE_MAX, &v.reason);
    v.seq = (uint64_t)seq;
    v.step = (size_t)step;
    if (!v.rule.size || !v.seq || v.step >= v.step_count)
        document_refuse(&r, "the rollout", "lacks its rule, its seq or its step");
    int err = document_end(&r);
    if (!err)
        *ret = v;
    return err;
}

/* --- writing -------------------------------------------------------------------------------------------- */

static void add_steps(const struct workflow_rollout *r, struct json_writer *w)
{
    struct buf text = {0};
    jw_key(w, "steps");
    jw_open(w, '[');
    for (size_t i = 0; i < r->step_count; i++) {
        buf_clear(&text);
        text_add_duration(&text, r->steps[i].for_s * NS_PER_S);
        jw_open(w, '{');
        document_add_number(w, "percent", r->steps[i].percent);
        document_add_text(w, "for", buf_slice(&text));
        jw_close(w, '}');
    }
    jw_close(w, ']');
    buf_clear(&text);
    if (r->has_limit) {
        text_add_double(&text, r->rejected_over);
        jw_key(w, "abort_if");
        jw_open(w, '{');
        jw_key(w, "rejected_over");
        jw_raw(w, buf_slice(&text));
        jw_close(w, '}');
    }
    buf_done(&text);
}

void workflow_rollout_write_members(const struct workflow_rollout *r, struct json_writer *w)
{
    document_add_text(w, "state", slice_text(states[r->state]));
    document_add_text(w, "rule", r->rule);
    document_add_number(w, "seq", (int64_t)r->seq);
    document_add_text(w, "approved_by", r->approved);
    document_add_text(w, "emergency", r->emergency);
    add_steps(r, w);
    document_add_number(w, "step", (int64_t)r->step);
    document_add_number(w, "step_ms", r->step_ms);
    workflow_add_act(w, "started", &r->started);
    workflow_add_act(w, "changed", &r->changed);
    document_add_text(w, "reason", r->reason);
}

void workflow_rollout_write(const struct workflow_rollout *r, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    workflow_rollout_write_members(r, &w);
    jw_close(&w, '}');
}
