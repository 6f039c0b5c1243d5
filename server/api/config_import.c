/* SPDX-License-Identifier: Apache-2.0
 * POST /api/v1/import: an archive (config/archive.h) arrives in pieces and is checked as it arrives. When it
 * is complete, config_import writes all of its configurations or reports why not.
 *
 *   1. unpack    Each piece of the body, in slices of a turn (slice.h). The rest of the body waits meanwhile:
 *                16 KiB of gzip may be 16 MiB of archive.
 *   2. match     Compare the manifest with the files, in slices.
 *   3. run       config_import.
 *   4. report    The outcome of each item. A long report is sent in slices, as fast as the client takes it.
 *
 * One option bounds the memory of all imports of this member together; an import beyond it gets 429. If the
 * client loses its permission meanwhile, the import ends before it writes. */
#include <inttypes.h>
#include <stdio.h>

#include "base/turn.h"
#include "config/archive.h"
#include "server/api/config_call.h"
#include "server/api/private.h"
#include "server/api/slice.h"

enum {
    UPLOAD_MS = 10 * 60 * 1000, /* timeout for the whole archive to arrive */
    REPORT_WHOLE = 256,         /* items of a report that is sent at once */
    REPORT_PIECE = 16 * 1024,   /* bytes of a piece of a longer report */
};

struct import {
    struct config_import run;
    struct api_call *call;
    struct archive *archive;
    struct buf piece; /* of the body, unpacked up to piece_at */
    size_t piece_at;
    uint64_t held; /* of api->import_bytes */
    bool is_whole, is_running, has_own_deadline;
    struct buf report; /* not sent yet */
    struct json_writer writer;
    size_t report_at; /* items */
    unsigned depth;   /* JSON objects around the report */
    bool is_reporting;
};

static void free_archive(void *archive)
{
    archive_free(archive);
}

static void import_release(struct import *i)
{
    i->call->api->import_bytes -= i->held;
    api_slice_never(i->call);
    if (i->is_running)
        config_import_cancel(&i->run);
    config_import_done(&i->run);
    config_free_later(api_config(i->call), free_archive, i->archive);
    buf_done(&i->piece);
    buf_done(&i->report);
}

static void api_config_import_fail(struct import *i, int err, const char *message)
{
    struct api_call *c = i->call;
    char text[600];
    snprintf(text, sizeof text, "%s", message);
    import_release(i);
    api_fail_err(c, err, text);
}

/* --- the answer ------------------------------------------------------------------------------------- */

static void api_config_import_add_item(struct json_writer *w, const struct config_import_item *item)
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

static void open_report(struct json_writer *w, const struct import *i)
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
}

static void add_report(struct json_writer *w, const struct import *i)
{
    open_report(w, i);
    for (size_t k = 0; k < i->run.count; k++)
        api_config_import_add_item(w, &i->run.items[k]);
    jw_close(w, ']');
}

static struct api_detail detail_of(const struct import *i)
{
    struct api_detail detail = {0};
    for (size_t k = 0; k < i->run.count && !detail.line; k++) {
        detail.line = i->run.items[k].line;
        detail.column = i->run.items[k].column;
    }
    return detail;
}

static void send_report(struct import *i)
{
    http_stream_send_bytes(i->call->q, buf_slice(&i->report));
    buf_clear(&i->report);
}

static void end_report(struct import *i)
{
    struct http_request *q = i->call->q;
    jw_close(&i->writer, ']');
    while (i->depth--)
        jw_close(&i->writer, '}');
    buf_add_byte(&i->report, '\n');
    send_report(i);
    q->state = NULL;
    import_release(i);
    http_stream_close(q);
}

static void report(struct api_call *c)
{
    struct import *i = c->state;
    turn_enter(TURN_CONFIG_IMPORT);
    while (i->report_at < i->run.count) {
        api_config_import_add_item(&i->writer, &i->run.items[i->report_at++]);
        if (i->report.size >= REPORT_PIECE) {
            send_report(i);
            if (http_is_congested(c->q))
                return;
        }
        if (i->report_at % 16 == 0 && api_slice_is_over(c)) {
            api_slice_later(c, report);
            return;
        }
    }
    end_report(i);
}

static void continue_report(struct api_call *c)
{
    struct import *i = c->state;
    if (i->is_reporting)
        api_slice_later(c, report);
}

static void begin_report(struct import *i, int status, int64_t revision)
{
    i->is_reporting = true;
    i->call->q->deadline_ms = 0; /* the deadline does not end an answer that has begun */
    open_report(&i->writer, i);
    api_stream_open(i->call, status, revision);
    api_slice_later(i->call, report);
}

/* Answers a failed import with the report of all items as `current`. */
static void report_failure(struct import *i, int err, const char *text)
{
    enum api_error error = api_error_of(err);
    struct api_detail detail = detail_of(i);
    i->writer = (struct json_writer){.out = &i->report};
    jw_open(&i->writer, '{');
    api_error_open(&i->writer, error, text, &detail);
    jw_key(&i->writer, "current");
    jw_open(&i->writer, '{');
    i->depth = 3;
    begin_report(i, api_errors[error].status, registry_revision(api_registry(i->call)));
}

static void answer_failed(struct import *i, int err)
{
    struct api_call *c = i->call;
    struct buf whole = {0};
    struct json_writer w = {.out = &whole};
    char text[600];
    snprintf(text, sizeof text, "%s", *i->run.error ? i->run.error : err_text(err));
    if (i->run.count > REPORT_WHOLE) {
        report_failure(i, err, text);
        return;
    }
    struct api_detail detail = detail_of(i);
    jw_open(&w, '{');
    add_report(&w, i);
    jw_close(&w, '}');
    detail.current = buf_slice(&whole);
    import_release(i);
    api_fail_with(c, api_error_of(err), text, &detail);
    buf_done(&whole);
}

static void on_imported(struct config_import *run, int err)
{
    struct import *i = container_of(run, struct import, run);
    struct api_call *c = i->call;
    int64_t revision = run->revision;
    i->is_running = false;
    if (err) {
        answer_failed(i, err);
    } else if (run->count > REPORT_WHOLE) {
        i->writer = (struct json_writer){.out = &i->report};
        jw_open(&i->writer, '{');
        jw_key(&i->writer, "revision");
        jw_int(&i->writer, revision);
        i->depth = 1;
        begin_report(i, 200, revision);
    } else {
        add_report(api_json(c, revision), i);
        import_release(i);
        api_answer(c, revision);
    }
}

/* --- reading: the end of the archive ---------------------------------------------------------------- */

/* Checks that the client still has its permissions; false: answered. */
static bool recheck_permissions(struct import *i)
{
    struct api_call *c = i->call;
    char error[500] = "";
    int err = api_recheck_rights(c, error, sizeof error);
    if (!err)
        return true;
    import_release(i);
    api_refuse(c, err, error);
    return false;
}

static void start_import(struct import *i)
{
    i->run.items = archive_items(i->archive, &i->run.count);
    i->run.done = on_imported;
    i->run.who = api_who(i->call);
    i->run.author = api_author(i->call);
    i->is_running = true;
    config_import(api_config(i->call), &i->run);
}

static void match_slice(struct api_call *c)
{
    struct import *i = c->state;
    bool is_done = false;
    turn_enter(TURN_CONFIG_IMPORT);
    if (!recheck_permissions(i))
        return;
    while (!is_done) {
        int err = archive_match(i->archive, &is_done);
        if (err) {
            api_config_import_fail(i, err, archive_error(i->archive));
            return;
        }
        if (!is_done && api_slice_is_over(c)) {
            api_slice_later(c, match_slice);
            return;
        }
    }
    start_import(i);
}

/* The whole body has arrived and is unpacked: starts to match it. */
static void begin_matching(struct import *i)
{
    struct api_call *c = i->call;
    int err = archive_end(i->archive);
    if (err) {
        api_config_import_fail(i, err, archive_error(i->archive));
        return;
    }
    if (!i->has_own_deadline)
        c->q->deadline_ms = 0;
    api_slice_later(c, match_slice);
}

/* --- reading: the archive in pieces ----------------------------------------------------------------- */

/* Does one step of unpacking; false: answered. */
static bool unpack_some(struct import *i, bool *ret_is_done)
{
    struct api *api = i->call->api;
    struct slice rest = slice_of(i->piece.data + i->piece_at, i->piece.size - i->piece_at);
    int err = archive_step(i->archive, &rest, ret_is_done);
    i->piece_at = i->piece.size - rest.size;
    api->import_bytes += archive_bytes(i->archive) - i->held;
    i->held = archive_bytes(i->archive);
    if (err)
        api_config_import_fail(i, err, archive_error(i->archive));
    else if (api->import_bytes > api->options.import_bytes_max)
        api_config_import_fail(i, ERR_TOO_MANY_REQUESTS,
                               "other imports on this member use all the memory for archives "
                               "(--config-import-max-bytes): try again later");
    else
        return true;
    return false;
}

static void unpack_slice(struct api_call *c)
{
    struct import *i = c->state;
    turn_enter(TURN_CONFIG_IMPORT);
    if (!recheck_permissions(i))
        return;
    for (bool is_done = false; !is_done;) {
        if (!unpack_some(i, &is_done))
            return;
        if (!is_done && api_slice_is_over(c)) {
            api_slice_later(c, unpack_slice);
            return;
        }
    }
    buf_clear(&i->piece);
    i->piece_at = 0;
    if (i->is_whole)
        begin_matching(i);
    else
        http_body_hold(c->q, false); /* the next piece may be refused at once */
}

static void api_config_import_take(struct api_call *c, struct slice piece)
{
    struct import *i = c->state;
    buf_add_slice(&i->piece, piece);
    http_body_hold(c->q, true);
    api_slice_later(c, unpack_slice);
}

static void api_config_import_end(struct api_call *c)
{
    struct import *i = c->state;
    i->is_whole = true;
    api_slice_later(c, unpack_slice);
}

static void api_config_import_cancel(struct api_call *c)
{
    import_release(c->state);
}

static void import_on_expired(struct api_call *c)
{
    struct import *i = c->state;
    bool is_running = i->is_running, is_whole = i->is_whole;
    import_release(i);
    api_fail(c, API_DEADLINE,
             is_running ? "the request's own deadline has passed; some of it may have been imported"
             : is_whole ? NULL
                        : "the archive did not arrive in time; nothing was imported");
}

static enum config_import_policy policy_of(struct slice text)
{
    if (slice_equal(text, slice_text("skip")))
        return CONFIG_IMPORT_SKIP;
    return slice_equal(text, slice_text("overwrite")) ? CONFIG_IMPORT_OVERWRITE : CONFIG_IMPORT_ABORT;
}

void api_config_import(struct api_call *c)
{
    /* The archive's names are not known yet: require the permission for all names that it may contain. */
    struct slice ns = api_param(c, PARAM_INTO_NAMESPACE), group = api_param(c, PARAM_INTO_GROUP);
    struct slice names_group = ns.size ? group : (struct slice){0};
    if (!api_authorize(c, GUARD_CONFIG, true, ns, names_group, (struct slice){0}) ||
        (api_has_param(c, PARAM_EMERGENCY) &&
         !api_authorize(c, GUARD_EMERGENCY, true, ns, names_group, (struct slice){0})))
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
    i->run.emergency = api_param(c, PARAM_EMERGENCY);
    i->run.is_dry = api_flag(api_param(c, PARAM_DRY_RUN));
    c->state = i;
    c->body = api_config_import_take;
    c->end = api_config_import_end;
    c->cancel = api_config_import_cancel;
    c->expired = import_on_expired;
    c->writable = continue_report;
    i->has_own_deadline = c->q->deadline_ms != 0;
    if (!i->has_own_deadline)
        c->q->deadline_ms = c->api->options.mono_ms() + UPLOAD_MS;
}
