/* SPDX-License-Identifier: Apache-2.0
 * Routes of the approval workflow: policies, reviews, scheduled publishes, rollouts; and of schemas. A handler reads the request
 * strictly and calls config/; an answer shows the stored document (config/workflow.h) with its names. */
#include <stdio.h>

#include "config/schemas.h"
#include "server/api/config_call.h"

/* --- documents ------------------------------------------------------------------------------------------ */

static void add_names(struct json_writer *w, const struct config_id *key)
{
    document_add_text(w, "name", key->name);
    document_add_text(w, "group", key->group);
}

static void add_current(struct json_writer *w, bool is_current)
{
    jw_key(w, "current");
    jw_bool(w, is_current);
}

/* The schema itself only where it is asked for alone; false: it is no JSON. */
static bool add_schema(struct json_writer *w, const struct schema_document *d, bool is_whole)
{
    struct format_error error;
    if (is_whole && format_check(FORMAT_JSON, d->schema, &error) != OK)
        return false;
    document_add_number(w, "size", (int64_t)d->schema.size);
    author_write_members(&d->author, w);
    document_add_number(w, "time_ms", d->time_ms);
    if (is_whole) {
        jw_key(w, "schema");
        jw_raw(w, d->schema);
    }
    return true;
}

/* Adds the document's fields; false: it cannot be read. */
static bool add_document(struct json_writer *w, struct arena *a, enum config_key kind, struct slice text,
                         bool is_whole)
{
    struct schema_document schema;
    struct workflow_policy policy;
    struct workflow_review review;
    struct workflow_schedule schedule;
    struct workflow_rollout rollout;
    if (kind == CONFIG_POLICY && workflow_policy_read(text, a, &policy) == OK)
        workflow_policy_write_members(&policy, w);
    else if (kind == CONFIG_REVIEW && workflow_review_read(text, a, &review) == OK)
        workflow_review_write_members(&review, w);
    else if (kind == CONFIG_SCHEDULE && workflow_schedule_read(text, a, &schedule) == OK)
        workflow_schedule_write_members(&schedule, w);
    else if (kind == CONFIG_ROLLOUT && workflow_rollout_read(text, a, &rollout) == OK)
        workflow_rollout_write_members(&rollout, w);
    else if (kind == CONFIG_SCHEMA && schema_document_read(text, a, &schema) == OK)
        return add_schema(w, &schema, is_whole);
    else
        return false;
    return true;
}

/* The revision of the draft that a review or a schedule is about; 0 = the kind has none. */
static int64_t draft_of(struct arena *a, enum config_key kind, struct slice text)
{
    struct workflow_review review;
    struct workflow_schedule schedule;
    if (kind == CONFIG_REVIEW && workflow_review_read(text, a, &review) == OK)
        return review.draft_revision;
    if (kind == CONFIG_SCHEDULE && workflow_schedule_read(text, a, &schedule) == OK)
        return schedule.draft_revision;
    return 0;
}

static void answer_document(struct api_call *c, enum config_key kind, const struct config_result *result)
{
    struct arena *a = &c->q->arena;
    struct json_writer *w = api_json(c, result->revision);
    const struct config_id key = api_config_id(c);
    int64_t draft = draft_of(a, kind, result->document);
    if (kind == CONFIG_POLICY)
        document_add_text(w, "namespace", c->ns);
    else
        add_names(w, &key);
    if (!add_document(w, a, kind, result->document, true)) {
        api_fail(c, API_CONFLICT, "the stored document cannot be read: it must be repaired");
        return;
    }
    if (draft)
        add_current(w, draft == result->draft_revision);
    api_answer(c, result->revision);
}

#define DOCUMENT_GET(name, kind)                                                                             \
    static void answer_##name(struct api_call *c, const struct config_result *result)                        \
    {                                                                                                        \
        answer_document(c, kind, result);                                                                    \
    }                                                                                                        \
    void api_##name##_get(struct api_call *c)                                                                \
    {                                                                                                        \
        const struct config_id key = api_config_id(c);                                                       \
        config_read_workflow(api_config(c), api_config_request(c, answer_##name), kind, &key);               \
    }
DOCUMENT_GET(policy, CONFIG_POLICY)
DOCUMENT_GET(review, CONFIG_REVIEW)
DOCUMENT_GET(schedule, CONFIG_SCHEDULE)
DOCUMENT_GET(rollout, CONFIG_ROLLOUT)
DOCUMENT_GET(schema, CONFIG_SCHEMA)

/* --- lists ---------------------------------------------------------------------------------------------- */

struct workflow_page {
    struct config_workflow_list list; /* first */
    struct api_call *call;
    struct api_page page;
    struct buf text;
    struct json_writer writer;
};

static void on_document(struct config_workflow_list *l, const struct config_id *key, struct slice text,
                        int64_t revision)
{
    struct workflow_page *p = container_of(l, struct workflow_page, list);
    struct arena a = {0};
    struct buf fields = {0};
    struct json_writer w = {.out = &fields};
    (void)revision;
    jw_open(&w, '{');
    add_names(&w, key);
    bool is_readable = add_document(&w, &a, l->kind, text, false);
    jw_close(&w, '}');
    if (is_readable)
        jw_raw(&p->writer, buf_slice(&fields));
    p->page.group =
        slice_of(arena_copy(&p->call->q->arena, key->group.data, key->group.size), key->group.size);
    p->page.name = slice_of(arena_copy(&p->call->q->arena, key->name.data, key->name.size), key->name.size);
    buf_done(&fields);
    arena_done(&a);
}

static void on_page(struct config_request *q, int err, const struct config_result *result)
{
    struct config_workflow_list *l = container_of(q, struct config_workflow_list, request);
    struct workflow_page *p = container_of(l, struct workflow_page, list);
    struct buf text = buf_move(&p->text);
    static const char *const names[CONFIG_KEYS] = {[CONFIG_REVIEW] = "reviews",
                                                   [CONFIG_SCHEDULE] = "schedules",
                                                   [CONFIG_ROLLOUT] = "rollouts",
                                                   [CONFIG_SCHEMA] = "schemas"};
    buf_done(&p->page.after);
    if (err) {
        buf_done(&text);
        api_config_fail(p->call, err, result);
        return;
    }
    buf_add_byte(&text, ']');
    struct json_writer *w = api_json(p->call, result->revision);
    jw_key(w, names[l->kind]);
    jw_raw(w, buf_slice(&text));
    buf_done(&text);
    api_page_end(&p->page, w, result->has_more);
    api_answer(p->call, result->revision);
}

static void cancel_page(struct api_call *c)
{
    struct workflow_page *p = c->state;
    config_cancel(api_config(c), &p->list.request);
    buf_done(&p->text);
    buf_done(&p->page.after);
}

static void list_documents(struct api_call *c, enum config_key kind)
{
    if (!api_page_check(c))
        return;
    struct workflow_page *p = arena_new(&c->q->arena, sizeof *p);
    p->call = c;
    p->writer = (struct json_writer){.out = &p->text};
    jw_open(&p->writer, '[');
    api_page_begin(&p->page, c);
    p->list = (struct config_workflow_list){
        .request = {.done = on_page, .who = api_who(c)},
        .document = on_document,
        .kind = kind,
        .ns = c->ns,
        .group = api_group_filter(c),
        .after = buf_slice(&p->page.after),
        .limit = p->page.left,
    };
    c->state = p;
    c->cancel = cancel_page;
    config_list_workflow(api_config(c), &p->list);
}

void api_review_list(struct api_call *c)
{
    list_documents(c, CONFIG_REVIEW);
}

void api_schedule_list(struct api_call *c)
{
    list_documents(c, CONFIG_SCHEDULE);
}

void api_rollout_list(struct api_call *c)
{
    list_documents(c, CONFIG_ROLLOUT);
}

/* --- schemas -------------------------------------------------------------------------------------------- */

void api_schema_list(struct api_call *c)
{
    list_documents(c, CONFIG_SCHEMA);
}

void api_schema_put(struct api_call *c)
{
    const struct config_id id = api_config_id(c);
    config_put_schema(api_config(c), api_config_request(c, api_answer_unreleased), &id,
                      buf_slice(&c->q->body));
}

void api_schema_delete(struct api_call *c)
{
    const struct config_id id = api_config_id(c);
    config_delete_schema(api_config(c), api_config_request(c, api_answer_unreleased), &id);
}

/* --- policies ------------------------------------------------------------------------------------------- */

void api_policy_put(struct api_call *c)
{
    struct workflow_policy policy;
    char error[200];
    int err =
        workflow_policy_request_read(buf_slice(&c->q->body), &c->q->arena, &policy, error, sizeof error);
    if (err)
        api_fail_err(c, err, error);
    else
        config_put_policy(api_config(c), api_config_request(c, api_answer_unreleased), c->ns, &policy);
}

void api_policy_delete(struct api_call *c)
{
    config_delete_policy(api_config(c), api_config_request(c, api_answer_unreleased), c->ns);
}

/* --- reviews -------------------------------------------------------------------------------------------- */

void api_draft_submit(struct api_call *c)
{
    const struct config_id key = api_config_id(c);
    struct api_annotation said;
    if (api_config_annotation(c, ANNOTATION_NOTE, &said))
        config_submit_draft(api_config(c), api_config_request(c, api_answer_unreleased), &key, said.note);
}

static void review(struct api_call *c, bool approves)
{
    const struct config_id key = api_config_id(c);
    struct api_annotation said;
    if (api_config_annotation(c, ANNOTATION_REVIEW, &said))
        config_review_draft(api_config(c), api_config_request(c, api_answer_unreleased), &key, approves,
                            said.draft_revision, said.note);
}

void api_draft_approve(struct api_call *c)
{
    review(c, true);
}

void api_draft_reject(struct api_call *c)
{
    review(c, false);
}

/* --- scheduled publishes, rollouts ---------------------------------------------------------------------- */

void api_schedule_delete(struct api_call *c)
{
    const struct config_id key = api_config_id(c);
    config_cancel_schedule(api_config(c), api_config_request(c, api_answer_unreleased), &key);
}

void api_rollout_put(struct api_call *c)
{
    const struct config_id key = api_config_id(c);
    struct workflow_rollout_request asked;
    struct config_condition condition;
    char error[200];
    int err =
        workflow_rollout_request_read(buf_slice(&c->q->body), &c->q->arena, &asked, error, sizeof error);
    if (err) {
        api_fail_err(c, err, error);
        return;
    }
    if (asked.source == ROLLOUT_OF_DRAFT && !api_authorize(c, GUARD_DRAFT, true, c->ns, c->group, c->name))
        return;
    if (api_config_condition(c, &condition))
        config_start_rollout(api_config(c), api_config_request(c, api_answer_written), &key, &asked,
                             &condition);
}

static void act(struct api_call *c, enum config_rollout_act act,
                void (*answer)(struct api_call *c, const struct config_result *result))
{
    const struct config_id key = api_config_id(c);
    struct api_annotation said;
    if (api_config_annotation(c, ANNOTATION_NOTE, &said))
        config_act_rollout(api_config(c), api_config_request(c, answer), &key, act, said.note);
}

void api_rollout_pause(struct api_call *c)
{
    act(c, CONFIG_ROLLOUT_PAUSE, api_answer_unreleased);
}

void api_rollout_resume(struct api_call *c)
{
    act(c, CONFIG_ROLLOUT_RESUME, api_answer_unreleased);
}

void api_rollout_promote(struct api_call *c)
{
    act(c, CONFIG_ROLLOUT_PROMOTE, api_answer_written);
}

void api_rollout_abort(struct api_call *c)
{
    act(c, CONFIG_ROLLOUT_ABORT, api_answer_unreleased);
}
