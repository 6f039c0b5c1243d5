/* SPDX-License-Identifier: Apache-2.0
 * Readers and writers of policies, reviews and schedules; see workflow.h. */
#include "config/workflow.h"

#include <stdio.h>

#include "config/workflow_private.h"

static const char *const review_states[REVIEW_STATES] = {
    [REVIEW_SUBMITTED] = "submitted", [REVIEW_APPROVED] = "approved", [REVIEW_REJECTED] = "rejected"};
static const char *const schedule_states[SCHEDULE_STATES] = {
    [SCHEDULE_PENDING] = "pending", [SCHEDULE_FAILED] = "failed"};

const char *workflow_review_state_name(enum workflow_review_state s)
{
    return review_states[s];
}

const char *workflow_schedule_state_name(enum workflow_schedule_state s)
{
    return schedule_states[s];
}

/* --- shared --------------------------------------------------------------------------------------------- */

int workflow_read_state(struct document_reader *r, const char *const *names, int count)
{
    struct slice name = {0};
    document_text(r, "state", &name);
    for (int i = 0; i < count; i++)
        if (slice_equal(name, slice_text(names[i])))
            return i;
    document_refuse(r, "state", "is missing or unknown");
    return 0;
}

void workflow_read_act(struct document_reader *r, const char *field, struct workflow_act *ret)
{
    json_t *object = document_take(r, field);
    char error[200];
    if (!object)
        return;
    struct document_reader inner = document_reader_of(DOCUMENT_TOLERANT, r->arena, error, sizeof error);
    document_begin_value(&inner, object);
    author_read(&inner, &ret->author);
    document_string(&inner, "note", CONFIG_NOTE_MAX, &ret->note);
    document_number(&inner, "time_ms", 0, INT64_MAX, &ret->time_ms);
    if (document_end(&inner))
        document_refuse(r, field, "is not what it should be");
}

void workflow_add_act(struct json_writer *w, const char *field, const struct workflow_act *act)
{
    if (!act->time_ms)
        return;
    jw_key(w, field);
    jw_open(w, '{');
    author_write_members(&act->author, w);
    document_add_text(w, "note", act->note);
    document_add_number(w, "time_ms", act->time_ms);
    jw_close(w, '}');
}

bool workflow_begin(struct document_reader *r, struct slice text, struct arena *a, char *error,
                    size_t error_size)
{
    *r = document_reader_of(DOCUMENT_TOLERANT, a, error, error_size);
    if (text.size > WORKFLOW_SIZE_MAX)
        return false;
    document_begin(r, text);
    return true;
}

/* --- policies ------------------------------------------------------------------------------------------- */

/* A pattern is "name", "name*" or "*", with or without a group, in the same forms, before it. */
static const char *fault_of(struct slice pattern)
{
    size_t slashes = 0;
    for (size_t i = 0; i < pattern.size; i++) {
        bool is_end = i + 1 == pattern.size || pattern.data[i + 1] == '/';
        slashes += pattern.data[i] == '/';
        if (pattern.data[i] == '*' && !is_end)
            return "has a pattern with * before its end, where only names and prefixes are possible";
        if (pattern.data[i] == '/' && (i == 0 || i + 1 == pattern.size))
            return "has a pattern with an empty group or name";
    }
    if (!pattern.size || pattern.size > 2 * NAME_SIZE_MAX + 3 || slashes > 1)
        return "has a pattern that is no name, name*, * or group/name";
    return NULL;
}

static void read_list(struct document_reader *r, const char *field, json_t *list, struct slice **ret,
                      size_t *ret_count)
{
    size_t count = json_array_size(list);
    if (!json_is_array(list) || count > WORKFLOW_PATTERNS_MAX) {
        document_refuse(r, field, "is not a list of at most 64 patterns");
        return;
    }
    *ret = arena_alloc(r->arena, (count + 1) * sizeof **ret);
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_array_get(list, i);
        struct slice text = slice_of(json_string_value(item), json_string_length(item));
        const char *fault = json_is_string(item) ? fault_of(text) : "has a value that is no string";
        if (fault) {
            document_refuse(r, field, fault);
            return;
        }
        (*ret)[(*ret_count)++] = document_keep(r, item);
    }
}

static void read_patterns(struct document_reader *r, struct workflow_policy *ret)
{
    json_t *sealed = document_take(r, "encrypt");
    ret->has_sealed = sealed != NULL;
    read_list(r, "review", document_take(r, "review"), &ret->patterns, &ret->count);
    if (sealed)
        read_list(r, "encrypt", sealed, &ret->sealed, &ret->sealed_count);
}

int workflow_policy_request_read(struct slice text, struct arena *a, struct workflow_policy *ret, char *error,
                                 size_t error_size)
{
    struct document_reader r = document_reader_of(DOCUMENT_STRICT, a, error, error_size);
    struct workflow_policy p = {0};
    document_begin(&r, text);
    read_patterns(&r, &p);
    int err = document_end(&r);
    if (!err)
        *ret = p;
    return err;
}

int workflow_policy_read(struct slice text, struct arena *a, struct workflow_policy *ret)
{
    char error[200];
    struct document_reader r;
    struct workflow_policy p = {0};
    if (!workflow_begin(&r, text, a, error, sizeof error))
        return ERR_INVALID;
    read_patterns(&r, &p);
    author_read(&r, &p.author);
    document_number(&r, "time_ms", 0, INT64_MAX, &p.time_ms);
    int err = document_end(&r);
    if (!err)
        *ret = p;
    return err;
}

static void add_patterns(struct json_writer *w, const char *field, const struct slice *list, size_t count)
{
    jw_key(w, field);
    jw_open(w, '[');
    for (size_t i = 0; i < count; i++)
        jw_string(w, list[i]);
    jw_close(w, ']');
}

void workflow_policy_write_members(const struct workflow_policy *p, struct json_writer *w)
{
    add_patterns(w, "review", p->patterns, p->count);
    if (p->sealed_count)
        add_patterns(w, "encrypt", p->sealed, p->sealed_count);
    author_write_members(&p->author, w);
    document_add_number(w, "time_ms", p->time_ms);
}

void workflow_policy_write(const struct workflow_policy *p, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    workflow_policy_write_members(p, &w);
    jw_close(&w, '}');
}

static bool part_matches(struct slice pattern, struct slice text)
{
    if (pattern.size && pattern.data[pattern.size - 1] == '*') {
        pattern.size--;
        return text.size >= pattern.size && slice_equal(pattern, slice_of(text.data, pattern.size));
    }
    return slice_equal(pattern, text);
}

static bool any_matches(const struct slice *list, size_t count, struct slice group, struct slice name)
{
    for (size_t i = 0; i < count; i++) {
        struct slice pattern = list[i];
        const uint8_t *slash = memchr(pattern.data, '/', pattern.size);
        size_t group_size = slash ? (size_t)(slash - pattern.data) : 0;
        if (slash && !part_matches(slice_of(pattern.data, group_size), group))
            continue;
        if (slash)
            pattern = slice_of(slash + 1, pattern.size - group_size - 1);
        if (part_matches(pattern, name))
            return true;
    }
    return false;
}

bool workflow_policy_matches(const struct workflow_policy *p, struct slice group, struct slice name)
{
    return any_matches(p->patterns, p->count, group, name);
}

bool workflow_policy_seals(const struct workflow_policy *p, struct slice group, struct slice name)
{
    return any_matches(p->sealed, p->sealed_count, group, name);
}

/* --- reviews -------------------------------------------------------------------------------------------- */

int workflow_review_read(struct slice text, struct arena *a, struct workflow_review *ret)
{
    char error[200];
    struct document_reader r;
    struct workflow_review v = {0};
    if (!workflow_begin(&r, text, a, error, sizeof error))
        return ERR_INVALID;
    v.state = (enum workflow_review_state)workflow_read_state(&r, review_states, REVIEW_STATES);
    if (!document_number(&r, "draft_revision", 1, INT64_MAX, &v.draft_revision))
        document_refuse(&r, "draft_revision", "is missing");
    workflow_read_act(&r, "submitted", &v.submitted);
    workflow_read_act(&r, "decided", &v.decided);
    int err = document_end(&r);
    if (!err)
        *ret = v;
    return err;
}

void workflow_review_write_members(const struct workflow_review *r, struct json_writer *w)
{
    document_add_text(w, "state", slice_text(review_states[r->state]));
    document_add_number(w, "draft_revision", r->draft_revision);
    workflow_add_act(w, "submitted", &r->submitted);
    workflow_add_act(w, "decided", &r->decided);
}

void workflow_review_write(const struct workflow_review *r, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    workflow_review_write_members(r, &w);
    jw_close(&w, '}');
}

/* --- scheduled publishes -------------------------------------------------------------------------------- */

int workflow_schedule_read(struct slice text, struct arena *a, struct workflow_schedule *ret)
{
    char error[200];
    struct document_reader r;
    struct workflow_schedule s = {0};
    int64_t base = 0;
    if (!workflow_begin(&r, text, a, error, sizeof error))
        return ERR_INVALID;
    s.state = (enum workflow_schedule_state)workflow_read_state(&r, schedule_states, SCHEDULE_STATES);
    if (!document_number(&r, "at_ms", 0, INT64_MAX, &s.at_ms))
        document_refuse(&r, "at_ms", "is missing");
    if (!document_number(&r, "draft_revision", 1, INT64_MAX, &s.draft_revision))
        document_refuse(&r, "draft_revision", "is missing");
    document_number(&r, "base_seq", 0, INT64_MAX, &base);
    s.base_seq = (uint64_t)base;
    workflow_read_act(&r, "scheduled", &s.scheduled);
    document_text(&r, "title", &s.title);
    document_string(&r, "error", CONFIG_NOTE_MAX, &s.error);
    document_number(&r, "failed_ms", 0, INT64_MAX, &s.failed_ms);
    int err = document_end(&r);
    if (!err)
        *ret = s;
    return err;
}

void workflow_schedule_write_members(const struct workflow_schedule *s, struct json_writer *w)
{
    document_add_text(w, "state", slice_text(schedule_states[s->state]));
    document_add_number(w, "at_ms", s->at_ms);
    document_add_number(w, "draft_revision", s->draft_revision);
    document_add_number(w, "base_seq", (int64_t)s->base_seq);
    document_add_text(w, "title", s->title);
    workflow_add_act(w, "scheduled", &s->scheduled);
    document_add_text(w, "error", s->error);
    if (s->failed_ms)
        document_add_number(w, "failed_ms", s->failed_ms);
}

void workflow_schedule_write(const struct workflow_schedule *s, struct buf *out)
{
    struct json_writer w = {.out = out};
    jw_open(&w, '{');
    workflow_schedule_write_members(s, &w);
    jw_close(&w, '}');
}
