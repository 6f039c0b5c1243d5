/* SPDX-License-Identifier: Apache-2.0
 * The commands of the approval workflow: drafts, reviews, scheduled publishes, gray releases in steps, policies;
 * by the native API. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "sdk/ctl/config.h"

static const char *workflow_arg(const struct ctl *c, size_t i)
{
    return i < c->line.arg_count ? c->line.args[i] : NULL;
}

/* Sends a write whose answer is "done" or a release, and says so. Frees the call. */
static enum ctl_exit send_write(struct ctl *c, struct ctl_call *call, const char *what)
{
    json_t *doc = NULL;
    ctl_query_author(c, call);
    enum ctl_exit how = ctl_call_json(c, call, &doc);
    if (!how)
        ctl_print_written(c, doc, what);
    json_decref(doc);
    ctl_call_done(call);
    return how;
}

static void set_text(json_t *body, const char *field, const char *text)
{
    if (text)
        json_object_set_new(body, field, json_string(text));
}

/* POST or PUT of a JSON body to /api/v1/configs/NAME/REST. Takes the body. emergency: the reason, or NULL. */
static enum ctl_exit send_body(struct ctl *c, const char *method, const char *rest, json_t *body,
                               const char *emergency)
{
    struct buf text = {0};
    ctl_show_json(&text, body);
    struct ctl_call call = {.method = method, .body = buf_slice(&text), .has_body = true};
    ctl_config_path(c, &call, workflow_arg(c, 0), rest);
    ctl_query(&call, "emergency", emergency);
    enum ctl_exit how = send_write(c, &call, workflow_arg(c, 0));
    buf_done(&text);
    json_decref(body);
    return how;
}

static json_t *note_body(const struct ctl *c)
{
    json_t *body = json_object();
    set_text(body, "note", ctl_flag_value(&c->line, "note"));
    return body;
}

static enum ctl_exit print_one(struct ctl *c, const char *rest, const struct ctl_column *columns,
                               size_t count)
{
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    ctl_config_path(c, &call, workflow_arg(c, 0), rest);
    enum ctl_exit how = ctl_call_json(c, &call, &doc);
    if (!how)
        ctl_print_rows(c, doc, NULL, columns, count);
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

static enum ctl_exit print_many(struct ctl *c, const char *path, const char *field,
                                const struct ctl_column *columns, size_t count)
{
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    ctl_path(&call, path);
    ctl_query_names(c, &call);
    enum ctl_exit how = ctl_call_pages(c, &call, field, &doc);
    if (!how)
        ctl_print_rows(c, doc, field, columns, count);
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

/* --- drafts and reviews --------------------------------------------------------------------------------- */

enum ctl_exit ctl_config_draft(struct ctl *c)
{
    static const char *const same[] = {"type", "title", "note"};
    const struct ctl_command_line *t = &c->line;
    bool is_deletion = ctl_bool(t, "deletion");
    struct buf content = {0};
    enum ctl_exit how = CTL_DONE;
    if (is_deletion && workflow_arg(c, 1))
        return ctl_fail(c, CTL_BAD_ARGS, "a deletion has no content: leave out the file");
    if (!is_deletion && !workflow_arg(c, 1) && isatty(STDIN_FILENO))
        return ctl_fail(c, CTL_BAD_ARGS, "give a file, or the content on standard input");
    if (!is_deletion)
        how = ctl_read_file(c, workflow_arg(c, 1), CTL_CONTENT_MAX, &content);
    if (!how) {
        struct ctl_call call = {.method = "PUT", .body = buf_slice(&content), .has_body = true};
        ctl_config_path(c, &call, workflow_arg(c, 0), "/draft");
        for (size_t i = 0; i < sizeof same / sizeof *same; i++)
            ctl_query(&call, same[i], ctl_flag_value(t, same[i]));
        ctl_query(&call, "deletion", is_deletion ? "true" : NULL);
        how = send_write(c, &call, workflow_arg(c, 0));
    }
    buf_done(&content);
    return how;
}

enum ctl_exit ctl_config_submit(struct ctl *c)
{
    return send_body(c, "POST", "/draft/submit", note_body(c), NULL);
}

enum ctl_exit ctl_config_reviews(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"NAME", "name", CTL_CELL_PLAIN},
        {"GROUP", "group", CTL_CELL_PLAIN},
        {"STATE", "state", CTL_CELL_PLAIN},
        {"DRAFT", "draft_revision", CTL_CELL_PLAIN},
        {"SUBMITTED BY", "submitted.author", CTL_CELL_PLAIN},
        {"SUBMITTED", "submitted.time_ms", CTL_CELL_TIME},
        {"DECIDED BY", "decided.author", CTL_CELL_PLAIN},
        {"NOTE", "decided.note", CTL_CELL_PLAIN},
    };
    size_t count = sizeof columns / sizeof *columns;
    if (workflow_arg(c, 0))
        return print_one(c, "/draft/review", columns, count);
    return print_many(c, "/api/v1/reviews", "reviews", columns, count);
}

/* The revision of the draft that is decided upon: the flag's, or else that of the review as it is now. */
static enum ctl_exit find_draft(struct ctl *c, int64_t *ret_revision)
{
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    enum ctl_exit how = CTL_DONE;
    if (ctl_flag_value(&c->line, "draft-revision")) {
        *ret_revision = ctl_int(&c->line, "draft-revision");
        return CTL_DONE;
    }
    ctl_config_path(c, &call, workflow_arg(c, 0), "/draft/review");
    how = ctl_call_json(c, &call, &doc);
    if (!how)
        *ret_revision = ctl_json_int(doc, "draft_revision");
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

static enum ctl_exit decide(struct ctl *c, const char *rest)
{
    int64_t revision = 0;
    enum ctl_exit how = find_draft(c, &revision);
    if (how)
        return how;
    json_t *body = note_body(c);
    json_object_set_new(body, "draft_revision", json_integer((json_int_t)revision));
    return send_body(c, "POST", rest, body, NULL);
}

enum ctl_exit ctl_config_approve(struct ctl *c)
{
    return decide(c, "/draft/approve");
}

enum ctl_exit ctl_config_reject(struct ctl *c)
{
    return decide(c, "/draft/reject");
}

/* --- publishing a draft --------------------------------------------------------------------------------- */

static json_t *publish_body(const struct ctl *c)
{
    json_t *body = note_body(c);
    set_text(body, "title", ctl_flag_value(&c->line, "title"));
    return body;
}

enum ctl_exit ctl_config_publish(struct ctl *c)
{
    return send_body(c, "POST", "/publish", publish_body(c), ctl_flag_value(&c->line, "emergency"));
}

enum ctl_exit ctl_config_schedule(struct ctl *c)
{
    int64_t s;
    const char *at = workflow_arg(c, 1);
    struct buf text = {0};
    json_t *doc = NULL, *body = NULL;
    if (text_to_time(slice_text(at), &s) != OK)
        return ctl_fail(c, CTL_BAD_ARGS, "\"%s\" is no time as in 2030-01-31T12:00:00Z", at);
    body = publish_body(c);
    set_text(body, "at", at);
    ctl_show_json(&text, body);
    struct ctl_call call = {.method = "POST", .body = buf_slice(&text), .has_body = true};
    ctl_config_path(c, &call, workflow_arg(c, 0), "/publish");
    ctl_query_author(c, &call);
    enum ctl_exit how = ctl_call_json(c, &call, &doc);
    if (!how)
        ctl_print_done(c, doc, "%s: its draft will be published at %s", workflow_arg(c, 0),
                       ctl_json_text(doc, "at"));
    ctl_call_done(&call);
    buf_done(&text);
    json_decref(doc);
    json_decref(body);
    return how;
}

enum ctl_exit ctl_config_unschedule(struct ctl *c)
{
    struct ctl_call call = {.method = "DELETE"};
    ctl_config_path(c, &call, workflow_arg(c, 0), "/schedule");
    return send_write(c, &call, workflow_arg(c, 0));
}

enum ctl_exit ctl_config_schedules(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"NAME", "name", CTL_CELL_PLAIN},
        {"GROUP", "group", CTL_CELL_PLAIN},
        {"STATE", "state", CTL_CELL_PLAIN},
        {"AT", "at_ms", CTL_CELL_TIME},
        {"SCHEDULED BY", "scheduled.author", CTL_CELL_PLAIN},
        {"TITLE", "title", CTL_CELL_PLAIN},
        {"ERROR", "error", CTL_CELL_PLAIN},
    };
    size_t count = sizeof columns / sizeof *columns;
    if (workflow_arg(c, 0))
        return print_one(c, "/schedule", columns, count);
    return print_many(c, "/api/v1/schedules", "schedules", columns, count);
}

/* --- gray releases in steps ----------------------------------------------------------------------------- */

/* "5:10m" as {"percent":5,"for":"10m"}; NULL: it is not that. */
static json_t *step_of(const char *text)
{
    const char *colon = strchr(text, ':');
    uint64_t percent = 0;
    int64_t ns;
    if (!colon || text_to_u64(slice_of(text, (size_t)(colon - text)), &percent) != OK || percent > 100 ||
        text_to_duration_ns(slice_text(colon + 1), &ns) != OK)
        return NULL;
    return json_pack("{s:i,s:s}", "percent", (int)percent, "for", colon + 1);
}

static enum ctl_exit add_steps(struct ctl *c, json_t *body)
{
    json_t *steps = json_array();
    json_object_set_new(body, "steps", steps);
    for (size_t i = 0; i < ctl_list(&c->line, "step")->count; i++) {
        const char *text = ctl_list(&c->line, "step")->list[i];
        json_t *step = step_of(text);
        if (!step)
            return ctl_fail(c, CTL_BAD_ARGS, "\"%s\" is no step as in 5:10m, percent and time", text);
        json_array_append_new(steps, step);
    }
    return json_array_size(steps)
               ? CTL_DONE
               : ctl_fail(c, CTL_BAD_ARGS, "give the steps, as in --step 5:10m --step 50:1h");
}

/* --match zone=b, repeated: the accepted values of each label. */
static enum ctl_exit add_match(struct ctl *c, json_t *body)
{
    json_t *match = json_object();
    for (size_t i = 0; i < ctl_list(&c->line, "match")->count; i++) {
        const char *pair = ctl_list(&c->line, "match")->list[i], *equals = strchr(pair, '=');
        char label[257];
        if (!equals || equals == pair || (size_t)(equals - pair) >= sizeof label) {
            json_decref(match);
            return ctl_fail(c, CTL_BAD_ARGS, "\"%s\" is no label as in zone=b", pair);
        }
        snprintf(label, sizeof label, "%.*s", (int)(equals - pair), pair);
        json_t *values = json_object_get(match, label);
        if (!values) {
            values = json_array();
            json_object_set_new(match, label, values);
        }
        json_array_append_new(values, json_string(equals + 1));
    }
    if (json_object_size(match))
        json_object_set_new(body, "match", match);
    else
        json_decref(match);
    return CTL_DONE;
}

/* Exactly one of a file (or standard input), --seq and --draft. */
static enum ctl_exit add_source(struct ctl *c, json_t *body)
{
    const struct ctl_command_line *t = &c->line;
    struct buf content = {0};
    if (ctl_bool(t, "draft")) {
        json_object_set_new(body, "draft", json_true());
        return CTL_DONE;
    }
    if (ctl_flag_value(t, "seq")) {
        json_object_set_new(body, "seq", json_integer((json_int_t)ctl_int(t, "seq")));
        return CTL_DONE;
    }
    if (!workflow_arg(c, 1) && isatty(STDIN_FILENO))
        return ctl_fail(c, CTL_BAD_ARGS, "give a file, the content on standard input, --seq or --draft");
    enum ctl_exit how = ctl_read_file(c, workflow_arg(c, 1), CTL_CONTENT_MAX, &content);
    if (!how && utf8_is_valid(buf_slice(&content))) {
        json_object_set_new(body, "content", json_stringn((const char *)content.data, content.size));
    } else if (!how) {
        struct buf text = {0};
        base64_encode(&text, buf_slice(&content));
        json_object_set_new(body, "content", json_string(buf_text(&text)));
        json_object_set_new(body, "base64", json_true());
        buf_done(&text);
    }
    buf_done(&content);
    return how;
}

enum ctl_exit ctl_config_gray_start(struct ctl *c)
{
    const char *limit = ctl_flag_value(&c->line, "abort-over");
    json_t *body = note_body(c);
    set_text(body, "rule", ctl_flag_value(&c->line, "rule"));
    enum ctl_exit how = add_steps(c, body);
    if (!how)
        how = add_match(c, body);
    if (!how && limit) {
        char *end;
        double share = strtod(limit, &end);
        if (*end || end == limit || !(share >= 0 && share < 1))
            how =
                ctl_fail(c, CTL_BAD_ARGS, "--abort-over is %s; it must be a share from 0 to below 1", limit);
        else
            json_object_set_new(body, "abort_if", json_pack("{s:f}", "rejected_over", share));
    }
    if (!how)
        how = add_source(c, body);
    if (!how)
        return send_body(c, "PUT", "/rollout", body, ctl_flag_value(&c->line, "emergency"));
    json_decref(body);
    return how;
}

enum ctl_exit ctl_config_gray_pause(struct ctl *c)
{
    return send_body(c, "POST", "/rollout/pause", note_body(c), NULL);
}

enum ctl_exit ctl_config_gray_resume(struct ctl *c)
{
    return send_body(c, "POST", "/rollout/resume", note_body(c), NULL);
}

enum ctl_exit ctl_config_gray_promote(struct ctl *c)
{
    return send_body(c, "POST", "/rollout/promote", note_body(c), ctl_flag_value(&c->line, "emergency"));
}

enum ctl_exit ctl_config_gray_abort(struct ctl *c)
{
    return send_body(c, "POST", "/rollout/abort", note_body(c), NULL);
}

enum ctl_exit ctl_config_gray_ls(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"NAME", "name", CTL_CELL_PLAIN},         {"GROUP", "group", CTL_CELL_PLAIN},
        {"STATE", "state", CTL_CELL_PLAIN},       {"RULE", "rule", CTL_CELL_PLAIN},
        {"SEQ", "seq", CTL_CELL_PLAIN},           {"STEP", "step", CTL_CELL_PLAIN},
        {"STEP BEGAN", "step_ms", CTL_CELL_TIME}, {"STARTED BY", "started.author", CTL_CELL_PLAIN},
        {"REASON", "reason", CTL_CELL_PLAIN},
    };
    size_t count = sizeof columns / sizeof *columns;
    if (workflow_arg(c, 0))
        return print_one(c, "/rollout", columns, count);
    return print_many(c, "/api/v1/rollouts", "rollouts", columns, count);
}

/* --- policies ------------------------------------------------------------------------------------------- */

static void policy_path(const struct ctl *c, struct ctl_call *call)
{
    ctl_path(call, "/api/v1/policy");
    ctl_query(call, "namespace", ctl_flag_value(&c->line, "namespace"));
}

enum ctl_exit ctl_config_policy_get(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"NAMESPACE", "namespace", CTL_CELL_PLAIN}, {"REVIEW", "review", CTL_CELL_PLAIN},
        {"ENCRYPT", "encrypt", CTL_CELL_PLAIN},     {"AUTHOR", "author", CTL_CELL_PLAIN},
        {"TIME", "time_ms", CTL_CELL_TIME},
    };
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    policy_path(c, &call);
    enum ctl_exit how = ctl_call_json(c, &call, &doc);
    if (!how)
        ctl_print_rows(c, doc, NULL, columns, sizeof columns / sizeof *columns);
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

/* Without the flag the server keeps what is sealed; an empty pattern ends it. */
static void add_encrypt(const struct ctl *c, json_t *body)
{
    const struct ctl_value *given = ctl_list(&c->line, "encrypt");
    json_t *list = json_array();
    for (size_t i = 0; i < given->count; i++)
        if (*given->list[i])
            json_array_append_new(list, json_string(given->list[i]));
    if (given->count)
        json_object_set(body, "encrypt", list);
    json_decref(list);
}

/* Without patterns those that need a review stay. */
static enum ctl_exit keep_review(struct ctl *c, json_t *body)
{
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    char error[200];
    policy_path(c, &call);
    int err = ctl_send(c, &call);
    enum ctl_exit how = err ? ctl_fail_reach(c, err) : CTL_DONE;
    if (!how && call.status != 404 &&
        (call.status != 200 || json_parse(buf_slice(&call.answer), &doc, error, sizeof error) != OK))
        how = ctl_fail_status(c, &call);
    if (!how && json_object_get(doc, "review"))
        json_object_set(body, "review", json_object_get(doc, "review"));
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

enum ctl_exit ctl_config_policy_set(struct ctl *c)
{
    json_t *patterns = json_array(), *body = json_pack("{s:o}", "review", patterns);
    struct buf text = {0};
    enum ctl_exit how = CTL_DONE;
    for (size_t i = 0; i < c->line.arg_count; i++)
        json_array_append_new(patterns, json_string(c->line.args[i]));
    if (!c->line.arg_count && !ctl_list(&c->line, "encrypt")->count)
        how = ctl_fail(c, CTL_BAD_ARGS, "give patterns of names that need a review, or --encrypt");
    else if (!c->line.arg_count)
        how = keep_review(c, body);
    if (!how) {
        add_encrypt(c, body);
        ctl_show_json(&text, body);
        struct ctl_call call = {.method = "PUT", .body = buf_slice(&text), .has_body = true};
        policy_path(c, &call);
        how = send_write(c, &call, "policy");
    }
    buf_done(&text);
    json_decref(body);
    return how;
}

enum ctl_exit ctl_config_policy_rm(struct ctl *c)
{
    struct ctl_call call = {.method = "DELETE"};
    policy_path(c, &call);
    return send_write(c, &call, "policy");
}
