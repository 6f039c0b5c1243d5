/* SPDX-License-Identifier: Apache-2.0
 * POST /api/v1/import: an archive (config/archive.h) comes in pieces, is checked as far as it has come, and
 * when it is whole its configurations go to the door of config/, which writes all of them or says why not.
 *
 * What an archive may take in memory is one option for all imports of this member together: who finds the
 * room taken is told to come again. */
#include <stdio.h>

#include "config/archive.h"
#include "server/api/config_call.h"
#include "server/api/private.h"

enum {
    UPLOAD_MS = 10 * 60 * 1000, /* for the whole archive to come */
    TURN_MS = 10000,
};

struct import {
    struct config_import run;
    struct config_request step; /* matching goes on in the next turn */
    struct api_call *call;
    struct archive *archive;
    uint64_t held; /* of api->import_bytes */
    bool is_whole, is_running, has_own_deadline;
};

static void let_go(struct import *i)
{
    i->call->api->import_bytes -= i->held;
    if (i->is_running)
        config_import_cancel(&i->run);
    config_cancel(api_config(i->call), &i->step);
    config_import_done(&i->run);
    archive_free(i->archive);
}

static void fail(struct import *i, int err, const char *message)
{
    struct api_call *c = i->call;
    char text[600];
    snprintf(text, sizeof text, "%s", message);
    let_go(i);
    api_fail_err(c, err, text);
}

/* --- the answer
 * ------------------------------------------------------------------------------------------------ */

static void add_item(struct json_writer *w, const struct config_import_item *item)
{
    jw_open(w, '{');
    document_add_text(w, "name", item->key.name);
    document_add_text(w, "group", item->key.group);
    document_add_text(w, "namespace", item->key.ns);
    document_add_text(w, "action", slice_text(config_import_action_name(item->action)));
    document_add_text(w, "type", slice_text(format_name(item->format)));
    document_add_text(w, "md5", slice_text(item->digest.md5));
    if (item->seq) {
        jw_key(w, "seq");
        jw_uint(w, item->seq);
    }
    if (item->error)
        document_add_text(w, "error", slice_text(item->error));
    if (item->line) {
        jw_key(w, "line");
        jw_uint(w, item->line);
        jw_key(w, "column");
        jw_uint(w, item->column);
    }
    jw_close(w, '}');
}

static void add_report(struct json_writer *w, const struct import *i)
{
    const struct config_import *run = &i->run;
    jw_key(w, "policy");
    jw_string(w, api_param(i->call, PARAM_POLICY));
    jw_key(w, "dry_run");
    jw_bool(w, run->is_dry);
    jw_key(w, "transactions");
    jw_uint(w, run->transactions);
    jw_key(w, "actions");
    jw_open(w, '{');
    for (int a = 0; a < CONFIG_ACTIONS; a++) {
        jw_key(w, config_import_action_name((enum config_import_action)a));
        jw_uint(w, run->actions[a]);
    }
    jw_close(w, '}');
    jw_key(w, "items");
    jw_open(w, '[');
    for (size_t k = 0; k < run->count; k++)
        add_item(w, &run->items[k]);
    jw_close(w, ']');
}

/* What would have been done, and what is wrong, item by item. */
static void answer_failed(struct import *i, int err)
{
    struct api_call *c = i->call;
    struct buf report = {0};
    struct json_writer w = {.out = &report};
    char text[600];
    struct api_detail detail = {0};
    for (size_t k = 0; k < i->run.count && !detail.line; k++) {
        detail.line = i->run.items[k].line;
        detail.column = i->run.items[k].column;
    }
    jw_open(&w, '{');
    add_report(&w, i);
    jw_close(&w, '}');
    detail.current = buf_slice(&report);
    snprintf(text, sizeof text, "%s", *i->run.error ? i->run.error : err_text(err));
    let_go(i);
    api_fail_with(c, api_error_of(err), text, &detail);
    buf_done(&report);
}

static void on_imported(struct config_import *run, int err)
{
    struct import *i = container_of(run, struct import, run);
    struct api_call *c = i->call;
    int64_t revision = run->revision;
    i->is_running = false;
    if (err) {
        answer_failed(i, err);
        return;
    }
    add_report(api_json(c, revision), i);
    let_go(i);
    api_answer(c, revision);
}

/* --- the archive is whole
 * ---------------------------------------------------------------------------------------- */

static void run(struct import *i)
{
    i->run.items = archive_items(i->archive, &i->run.count);
    i->run.done = on_imported;
    i->run.who = api_author(i->call);
    i->run.address = gray_address(i->call->q->peer);
    i->is_running = true;
    config_import(api_config(i->call), &i->run);
}

static void on_turn(struct config_request *q, int err, const struct config_result *result)
{
    struct import *i = container_of(q, struct import, step);
    bool is_done = false;
    (void)result;
    if (err) {
        fail(i, err, err_text(err));
        return;
    }
    err = archive_match(i->archive, &is_done);
    if (err)
        fail(i, err, archive_error(i->archive));
    else if (is_done)
        run(i);
    else
        config_wait_revision(api_config(i->call), &i->step, 0, TURN_MS);
}

static void end(struct api_call *c)
{
    struct import *i = c->state;
    int err = archive_end(i->archive);
    if (err) {
        fail(i, err, archive_error(i->archive));
        return;
    }
    i->is_whole = true;
    if (!i->has_own_deadline)
        c->q->deadline_ms = 0;
    i->step.done = on_turn;
    config_wait_revision(api_config(c), &i->step, 0, TURN_MS);
}

/* --- the archive comes
 * --------------------------------------------------------------------------------------------- */

static void take(struct api_call *c, struct slice piece)
{
    struct import *i = c->state;
    struct api *api = c->api;
    int err = archive_add(i->archive, piece);
    api->import_bytes += archive_bytes(i->archive) - i->held;
    i->held = archive_bytes(i->archive);
    if (err)
        fail(i, err, archive_error(i->archive));
    else if (api->import_bytes > api->options.import_bytes_max)
        fail(i, ERR_TOO_MANY_REQUESTS,
             "other imports under way on this member hold the room for archives "
             "(--config-import-max-bytes): try again later");
}

static void cancel(struct api_call *c)
{
    let_go(c->state);
}

static void expired(struct api_call *c)
{
    struct import *i = c->state;
    bool is_running = i->is_running, is_whole = i->is_whole;
    let_go(i);
    api_fail(c, API_DEADLINE,
             is_running ? "the request's own deadline has passed; some of it may have been imported"
             : is_whole ? NULL
                        : "the archive did not come within its time; nothing was imported");
}

static enum config_import_policy policy_of(struct slice text)
{
    if (slice_equal(text, slice_text("skip")))
        return CONFIG_IMPORT_SKIP;
    return slice_equal(text, slice_text("overwrite")) ? CONFIG_IMPORT_OVERWRITE : CONFIG_IMPORT_ABORT;
}

void api_config_import(struct api_call *c)
{
    /* What the archive names is not known yet: all that it might. */
    struct slice ns = api_param(c, PARAM_INTO_NAMESPACE), group = api_param(c, PARAM_INTO_GROUP);
    if (!api_may(c, GUARD_CONFIG, true, ns, ns.size ? group : (struct slice){0}, (struct slice){0}))
        return;
    struct import *i = arena_new(&c->q->arena, sizeof *i);
    const struct archive_options options = {
        .content_bytes_max = config_content_bytes_max(api_config(c)),
        .bytes_max = c->api->options.import_bytes_max,
        .ns = api_param(c, PARAM_INTO_NAMESPACE),
        .group = api_param(c, PARAM_INTO_GROUP),
    };
    i->call = c;
    i->archive = archive_new(&options);
    i->run.policy = policy_of(api_param(c, PARAM_POLICY));
    i->run.is_dry = api_flag(api_param(c, PARAM_DRY_RUN));
    c->state = i;
    c->body = take;
    c->end = end;
    c->cancel = cancel;
    c->expired = expired;
    i->has_own_deadline = c->q->deadline_ms != 0;
    if (!i->has_own_deadline)
        c->q->deadline_ms = c->api->options.mono_ms() + UPLOAD_MS;
}
