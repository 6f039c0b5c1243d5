/* SPDX-License-Identifier: Apache-2.0
 * The command watch, as of etcdctl: on one key or range, or on several that are read from standard input.
 * Each change is shown, or a command runs for it. When a connection ends, the watch resumes at the next
 * endpoint after the last revision. */
#include "sdk/ctl/kv.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "proto/json.h"
#include "sdk/http_client.h"

struct watch {
    Etcdserverpb__WatchCreateRequest request;
    const char **command; /* NULL = show the events */
    bool is_once;         /* ends after the first change, as in API v2 */
    bool is_over;
};

/* --- arguments ------------------------------------------------------------------------------------------ */

/* Finds the key and the end of the range: arguments, or ETCDCTL_WATCH_KEY and ETCDCTL_WATCH_RANGE_END. */
static enum ctl_exit read_watch_keys(struct ctl *c, const struct ctl_command_line *t, const char *keys[2])
{
    size_t count = t->dash_at;
    const char *key = getenv("ETCDCTL_WATCH_KEY"), *range_end = getenv("ETCDCTL_WATCH_RANGE_END");
    bool has_key = key && *key, has_end = range_end && *range_end;
    if (!has_key && has_end)
        return ctl_fail(c, CTL_BAD_ARGS, "ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=\"%s\"",
                        range_end);
    if (t->has_dash && t->arg_count == t->dash_at)
        return ctl_fail(c, CTL_BAD_ARGS, "bad number of arguments (found separator --, but no commands)");
    if (has_key && count)
        return ctl_fail(c, CTL_BAD_ARGS, "bad number of arguments (found conflicting environment key)");
    if (!has_key && (count == 0 || count > 2))
        return ctl_fail(c, CTL_BAD_ARGS, "bad number of arguments");
    keys[0] = has_key ? key : t->args[0];
    keys[1] = has_key ? (has_end ? range_end : NULL) : count == 2 ? t->args[1] : NULL;
    return CTL_DONE;
}

/* All keys below KEY/, as --recursive of API v2 means. */
static void use_folder(struct ctl *c, struct watch *w, const char *key)
{
    size_t size = strlen(key);
    w->request.key = ctl_bytes(size && key[size - 1] != '/' ? arena_printf(&c->arena, "%s/", key) : key);
    ctl_prefix_range(c, &w->request.key, &w->request.range_end);
}

static enum ctl_exit read_watch(struct ctl *c, const struct ctl_command_line *t, struct watch *w)
{
    const char *keys[2] = {NULL, NULL};
    etcdserverpb__watch_create_request__init(&w->request);
    enum ctl_exit how = read_watch_keys(c, t, keys);
    if (how)
        return how;
    w->request.key = ctl_bytes(keys[0]);
    if (keys[1]) {
        if (ctl_bool(t, "prefix"))
            return ctl_fail(c, CTL_BAD_ARGS, "`range_end` and `--prefix` are mutually exclusive");
        w->request.range_end = ctl_bytes(keys[1]);
    }
    if (ctl_bool(t, "recursive"))
        use_folder(c, w, keys[0]);
    else if (ctl_bool(t, "prefix"))
        ctl_prefix_range(c, &w->request.key, &w->request.range_end);
    w->is_once = ctl_bool(t, "recursive") && !ctl_bool(t, "forever");
    w->request.start_revision = ctl_int(t, "rev");
    if (ctl_int(t, "after-index") > 0)
        w->request.start_revision = ctl_int(t, "after-index") + 1;
    w->request.prev_kv = ctl_bool(t, "prev-kv");
    w->request.progress_notify = ctl_bool(t, "progress-notify");
    if (t->arg_count > t->dash_at) {
        w->command = arena_new(&c->arena, (t->arg_count - t->dash_at + 1) * sizeof *w->command);
        memcpy(w->command, t->args + t->dash_at, (t->arg_count - t->dash_at) * sizeof *w->command);
    }
    return CTL_DONE;
}

/* --- output --------------------------------------------------------------------------------------------- */

static const char *type_of(const Mvccpb__Event *e)
{
    return e->type == MVCCPB__EVENT__EVENT_TYPE__DELETE ? "DELETE" : "PUT";
}

static void show_json(struct ctl *c, const Etcdserverpb__WatchResponse *r)
{
    buf_add_text(&c->out, "{\"Header\":");
    ctl_add_go_json(&c->out, &r->header->base);
    buf_add_text(&c->out, r->n_events ? ",\"Events\":[" : ",\"Events\":null");
    for (size_t i = 0; i < r->n_events; i++) {
        buf_add_text(&c->out, i ? "," : "");
        ctl_add_go_json(&c->out, &r->events[i]->base);
    }
    buf_addf(&c->out, "%s,\"CompactRevision\":%" PRId64 ",\"Canceled\":%s,\"Created\":%s,\"CancelReason\":",
             r->n_events ? "]" : "", r->compact_revision, r->canceled ? "true" : "false",
             r->created ? "true" : "false");
    struct json_writer w = {.out = &c->out};
    jw_text(&w, r->cancel_reason);
    buf_add_text(&c->out, "}\n");
}

static void show(struct ctl *c, const Etcdserverpb__WatchResponse *r)
{
    static const Mvccpb__KeyValue none = MVCCPB__KEY_VALUE__INIT;
    if (c->form == CTL_FORM_JSON || c->form == CTL_FORM_YAML) {
        show_json(c, r);
        return;
    }
    if (c->form == CTL_FORM_PROTOBUF) {
        ctl_show_message(c, &r->base);
        return;
    }
    bool is_fields = c->form == CTL_FORM_FIELDS;
    if (is_fields)
        ctl_show_header_fields(c, r->header);
    for (size_t i = 0; i < r->n_events; i++) {
        const Mvccpb__Event *e = r->events[i];
        const Mvccpb__KeyValue *kv = e->kv ? e->kv : &none;
        buf_addf(&c->out, is_fields ? "\"Type\" : %s\n" : "%s\n", type_of(e));
        if (e->prev_kv && is_fields)
            ctl_show_kv_fields(c, "Prev", e->prev_kv);
        else if (e->prev_kv)
            ctl_show_kv(c, e->prev_kv, true, true);
        if (is_fields)
            ctl_show_kv_fields(c, "", kv);
        else
            ctl_show_kv(c, kv, true, true);
    }
}

static char *quoted_variable(struct ctl *c, const char *name, ProtobufCBinaryData value)
{
    struct buf text = {0};
    buf_addf(&text, "%s=", name);
    ctl_add_quoted(&text, slice_of(value.data, value.len));
    char *variable = arena_string(&c->arena, text.data, text.size);
    buf_done(&text);
    return variable;
}

static enum ctl_exit run_commands(struct ctl *c, const struct watch *w, const Etcdserverpb__WatchResponse *r)
{
    for (size_t i = 0; i < r->n_events; i++) {
        const Mvccpb__Event *e = r->events[i];
        if (!e->kv)
            continue;
        const char *const variables[] = {
            arena_printf(&c->arena, "ETCD_WATCH_REVISION=%" PRId64, r->header->revision),
            arena_printf(&c->arena, "ETCD_WATCH_EVENT_TYPE=\"%s\"", type_of(e)),
            quoted_variable(c, "ETCD_WATCH_KEY", e->kv->key),
            quoted_variable(c, "ETCD_WATCH_VALUE", e->kv->value), NULL};
        const char *const of_v2[] = {
            e->type == MVCCPB__EVENT__EVENT_TYPE__DELETE ? "ETCD_WATCH_ACTION=delete"
                                                         : "ETCD_WATCH_ACTION=set",
            arena_printf(&c->arena, "ETCD_WATCH_MODIFIED_INDEX=%" PRId64, e->kv->mod_revision),
            arena_printf(&c->arena, "ETCD_WATCH_KEY=%.*s", (int)e->kv->key.len,
                         (const char *)e->kv->key.data),
            arena_printf(&c->arena, "ETCD_WATCH_VALUE=%.*s", (int)e->kv->value.len,
                         (const char *)e->kv->value.data),
            NULL};
        bool is_v2 = c->line.command == CTL_COMMAND_v2_exec_watch;
        int status = 0;
        enum ctl_exit how = ctl_run(c, w->command, NULL, is_v2 ? of_v2 : variables, &status);
        if (!how && status)
            how = ctl_fail(c, CTL_ERROR, "command \"%s\" exited with %d", w->command[0], status);
        if (how)
            return how;
    }
    return CTL_DONE;
}

static enum ctl_exit on_response(struct ctl *c, struct watch *w, const Etcdserverpb__WatchResponse *r)
{
    if (!r->header || (r->created && !r->canceled))
        return CTL_DONE;
    if (r->canceled) {
        const char *why =
            r->compact_revision ? "etcdserver: mvcc: required revision has been compacted" : r->cancel_reason;
        ctl_note(c, "watch was canceled (%s)", why);
    } else if (r->n_events == 0) {
        buf_addf(&c->out, "progress notify: %" PRId64 "\n", r->header->revision);
    }
    show(c, r);
    if (!ctl_flush(c))
        return CTL_IO;
    if (r->canceled)
        return ctl_fail(c, CTL_INTERRUPTED, "watch is canceled by the server");
    if (w->request.start_revision <= r->header->revision && r->n_events)
        w->request.start_revision = r->events[r->n_events - 1]->kv->mod_revision + 1;
    w->is_over = w->is_once && r->n_events;
    return w->command ? run_commands(c, w, r) : CTL_DONE;
}

/* --- one watch ------------------------------------------------------------------------------------------ */

/* Runs until the connection ends, or returns the exit code. *ret_has_begun: the server accepted the watch. */
static enum ctl_exit watch_once(struct ctl *c, struct watch *w, bool *ret_has_begun)
{
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
    request.create_request = &w->request;
    struct ctl_rpc rpc = {
        .path = "/v3/watch", .request = &request.base, .answer = &etcdserverpb__watch_response__descriptor};
    struct ctl_stream s = {0};
    Etcdserverpb__WatchResponse *r = NULL;
    rpc.is_quiet = *ret_has_begun;
    enum ctl_exit how = ctl_stream_open(c, &rpc, &s);
    bool is_lost = how == CTL_ERROR || how == CTL_BAD_CONNECTION;
    if (how && is_lost && *ret_has_begun)
        how = CTL_DONE; /* the next endpoint may work */
    else if (!how)
        do {
            how = ctl_stream_next(c, &s, -1, &r);
            if (!how && r) {
                *ret_has_begun = true;
                how = on_response(c, w, r);
            }
        } while (!how && r && !w->is_over);
    if (how == CTL_BAD_CONNECTION)
        how = CTL_DONE;
    ctl_stream_done(&s);
    return how;
}

static enum ctl_exit watch_one(struct ctl *c, struct watch *w)
{
    bool has_begun = false;
    enum ctl_exit how = CTL_DONE;
    for (int64_t pause_ms = 100; !how && !w->is_over; pause_ms = pause_ms < 1000 ? 2 * pause_ms : 2000) {
        how = watch_once(c, w, &has_begun);
        if (!how && !w->is_over && ctl_pause(c, pause_ms))
            how = CTL_INTERRUPTED;
        c->at = (c->at + 1) % c->endpoint_count;
    }
    return how;
}

/* --- several watches from standard input ---------------------------------------------------------------- */

/* "watch KEY [FLAGS] [-- COMMAND]" or "progress". *ret_is_one: a watch was read. */
static enum ctl_exit read_watch_line(struct ctl *c, const char *line, struct watch *w, bool *ret_is_progress,
                                     bool *ret_is_one)
{
    int count = 0;
    char **words = ctl_cut_line(&c->arena, line, &count);
    *ret_is_one = *ret_is_progress = false;
    if (!words || count == 0) {
        ctl_note(c, "Invalid command: %s (watch and progress supported)", line);
        return CTL_DONE;
    }
    if (strcmp(words[0], "progress") == 0) {
        *ret_is_progress = true;
        return CTL_DONE;
    }
    if (strcmp(words[0], "watch") != 0) {
        ctl_note(c, "Invalid command %s (only support watch)", words[0]);
        return CTL_DONE;
    }
    const char *key = getenv("ETCDCTL_WATCH_KEY");
    if (count < 2 && !(key && *key)) {
        ctl_note(c, "Invalid command %s (command type or key is not provided)", line);
        return CTL_DONE;
    }
    const char **argv = arena_alloc(&c->arena, ((size_t)count + 1) * sizeof *argv);
    argv[0] = c->line.program;
    memcpy(argv + 1, words, (size_t)count * sizeof *argv);
    struct ctl_command_line t;
    enum ctl_exit how = CTL_DONE;
    if (ctl_parse(count + 1, argv, &t, &how) == OK && t.command == CTL_COMMAND_watch && !t.wants_help)
        *ret_is_one = read_watch(c, &t, w) == CTL_DONE;
    else
        ctl_note(c, "Invalid command %s", line);
    ctl_command_line_done(&t);
    return CTL_DONE;
}

struct pending_ops {
    struct ctl_stream stream;
    struct buf input; /* bytes of standard input without an end of line */
    struct watch last;
    bool is_open;
};

static enum ctl_exit send_request(struct ctl *c, struct pending_ops *d,
                                  const Etcdserverpb__WatchRequest *request)
{
    if (!d->is_open) {
        struct ctl_rpc rpc = {.path = "/v3/watch",
                              .request = &request->base,
                              .answer = &etcdserverpb__watch_response__descriptor};
        d->is_open = true;
        return ctl_stream_open_two_way(c, &rpc, &d->stream);
    }
    struct buf body = {0};
    message_to_json(&request->base, &body);
    int err = http_client_send_piece(d->stream.client, buf_slice(&body), c->command_ms);
    buf_done(&body);
    return err ? ctl_fail(c, CTL_BAD_CONNECTION, "the connection broke: %s",
                          http_client_error(d->stream.client))
               : CTL_DONE;
}

static enum ctl_exit on_input_line(struct ctl *c, struct pending_ops *d, const char *line)
{
    bool is_one, is_progress;
    enum ctl_exit how = read_watch_line(c, line, &d->last, &is_progress, &is_one);
    Etcdserverpb__WatchRequest request = ETCDSERVERPB__WATCH_REQUEST__INIT;
    Etcdserverpb__WatchProgressRequest progress = ETCDSERVERPB__WATCH_PROGRESS_REQUEST__INIT;
    if (!how && is_one) {
        request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_CREATE_REQUEST;
        request.create_request = &d->last.request;
        how = send_request(c, d, &request);
    } else if (!how && is_progress && d->is_open) {
        request.request_union_case = ETCDSERVERPB__WATCH_REQUEST__REQUEST_UNION_PROGRESS_REQUEST;
        request.progress_request = &progress;
        how = send_request(c, d, &request);
    }
    return how;
}

static enum ctl_exit on_standard_input(struct ctl *c, struct pending_ops *d)
{
    ssize_t n = read(STDIN_FILENO, buf_reserve(&d->input, 4096), 4096);
    if (n <= 0)
        return ctl_fail(c, CTL_INVALID_INPUT, "error reading watch request line: EOF");
    d->input.size += (size_t)n;
    enum ctl_exit how = CTL_DONE;
    for (uint8_t *end; !how && d->input.size && (end = memchr(d->input.data, '\n', d->input.size));) {
        size_t size = (size_t)(end - d->input.data);
        how = on_input_line(c, d, arena_string(&c->arena, d->input.data, size));
        buf_consume(&d->input, size + 1);
    }
    return how;
}

static enum ctl_exit watch_many(struct ctl *c)
{
    struct pending_ops d = {0};
    enum ctl_exit how = CTL_DONE;
    while (!how) {
        struct pollfd fds[] = {{STDIN_FILENO, POLLIN, 0}, {c->stop_fd, POLLIN, 0}};
        bool is_typed = poll(fds, 2, d.is_open ? 0 : -1) > 0 && fds[0].revents;
        if (fds[1].revents)
            how = CTL_INTERRUPTED;
        else if (is_typed)
            how = on_standard_input(c, &d);
        Etcdserverpb__WatchResponse *r = NULL;
        if (!how && d.is_open)
            how = ctl_stream_poll(c, &d.stream, STDIN_FILENO, &r);
        if (!how && r)
            how = on_response(c, &d.last, r);
    }
    ctl_stream_done(&d.stream);
    buf_done(&d.input);
    return how;
}

enum ctl_exit ctl_watch(struct ctl *c)
{
    struct watch w = {0};
    enum ctl_exit how = ctl_no_table_ever(c);
    if (how)
        return how;
    if (ctl_bool(&c->line, "interactive"))
        return watch_many(c);
    how = read_watch(c, &c->line, &w);
    if (!how && (ctl_bool(&c->line, "recursive") || ctl_bool(&c->line, "forever")))
        ctl_note(c, "note: -r and -f are flags of etcd's API v2; \"watch --prefix KEY/\" is used");
    return how ? how : watch_one(c, &w);
}

/* API v2's exec-watch: its variables have other names, and no quotes. */
enum ctl_exit ctl_v2_exec_watch(struct ctl *c)
{
    const struct ctl_command_line *t = &c->line;
    struct watch w = {0};
    if (t->arg_count < 2)
        return ctl_fail(c, CTL_BAD_ARGS,
                        "exec-watch needs a key and a command: exec-watch KEY -- COMMAND ...");
    ctl_note(c, "note: \"exec-watch\" is a word of etcd's API v2; \"watch%s KEY -- COMMAND\" is used",
             ctl_bool(t, "recursive") ? " --prefix" : "");
    etcdserverpb__watch_create_request__init(&w.request);
    w.request.key = ctl_bytes(t->args[0]);
    if (ctl_bool(t, "recursive"))
        use_folder(c, &w, t->args[0]);
    if (ctl_int(t, "after-index") > 0)
        w.request.start_revision = ctl_int(t, "after-index") + 1;
    w.command = arena_new(&c->arena, t->arg_count * sizeof *w.command);
    memcpy(w.command, t->args + 1, (t->arg_count - 1) * sizeof *w.command);
    return watch_one(c, &w);
}
