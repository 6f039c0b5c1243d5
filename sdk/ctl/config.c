/* SPDX-License-Identifier: Apache-2.0
 * The commands `config ...` except edit, diff and watch: the config center, by the native API. Contents
 * pass unchanged. */
#include "sdk/ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "sdk/ctl/config.h"
#include "sdk/http_client.h"

static const char *ctl_config_arg(const struct ctl *c, size_t i)
{
    return c->line.args[i];
}

void ctl_config_path(const struct ctl *c, struct ctl_call *call, const char *name, const char *rest)
{
    ctl_path(call, "/api/v1/configs");
    if (name)
        ctl_segment(call, name);
    ctl_path(call, rest);
    ctl_query_names(c, call);
}

static enum ctl_exit print_list(struct ctl *c, struct ctl_call *call, const char *field,
                                const struct ctl_column *columns, size_t count)
{
    json_t *doc = NULL;
    enum ctl_exit how = ctl_call_json(c, call, &doc);
    if (!how)
        ctl_print_rows(c, doc, field, columns, count);
    if (!how && ctl_json_int(doc, "members_silent"))
        ctl_note(c, "%lld members did not respond: their data is missing here",
                 (long long)ctl_json_int(doc, "members_silent"));
    json_decref(doc);
    ctl_call_done(call);
    return how;
}

enum ctl_exit ctl_config_ls(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"NAME", "name", CTL_CELL_PLAIN},   {"GROUP", "group", CTL_CELL_PLAIN},
        {"SEQ", "seq", CTL_CELL_PLAIN},     {"TYPE", "type", CTL_CELL_PLAIN},
        {"SIZE", "size", CTL_CELL_PLAIN},   {"MD5", "md5", CTL_CELL_PLAIN},
        {"TIME", "time_ms", CTL_CELL_TIME}, {"DELETED", "deleted", CTL_CELL_YES},
        {"TITLE", "title", CTL_CELL_PLAIN}};
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    ctl_config_path(c, &call, NULL, "");
    ctl_query(&call, "prefix", c->line.arg_count ? ctl_config_arg(c, 0) : NULL);
    ctl_query(&call, "deleted", ctl_bool(&c->line, "deleted") ? "true" : NULL);
    enum ctl_exit how = ctl_call_pages(c, &call, "configs", &doc);
    if (!how)
        ctl_print_rows(c, doc, "configs", columns, sizeof columns / sizeof *columns);
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

enum ctl_exit ctl_config_get(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"NAME", "name", CTL_CELL_PLAIN},           {"SEQ", "seq", CTL_CELL_PLAIN},
        {"OPERATION", "operation", CTL_CELL_PLAIN}, {"TYPE", "type", CTL_CELL_PLAIN},
        {"SIZE", "size", CTL_CELL_PLAIN},           {"MD5", "md5", CTL_CELL_PLAIN},
        {"TIME", "time_ms", CTL_CELL_TIME},         {"TITLE", "title", CTL_CELL_PLAIN}};
    bool is_raw = c->form == CTL_FORM_NONE || c->form == CTL_FORM_SIMPLE;
    struct ctl_call call = {.method = "GET"};
    ctl_config_path(c, &call, ctl_config_arg(c, 0), "");
    ctl_query(&call, "seq", ctl_flag_value(&c->line, "seq"));
    ctl_query(&call, "labels", ctl_flag_value(&c->line, "labels"));
    ctl_query(&call, "key", ctl_flag_value(&c->line, "path"));
    ctl_query(&call, "render", ctl_bool(&c->line, "render") ? "true" : NULL);
    is_raw |= ctl_bool(&c->line, "render");
    is_raw |= ctl_flag_value(&c->line, "path") != NULL; /* a value is JSON in every form */
    if (!is_raw) {
        ctl_query(&call, "meta", "true");
        return print_list(c, &call, NULL, columns, sizeof columns / sizeof *columns);
    }
    enum ctl_exit how = ctl_call(c, &call);
    if (!how)
        buf_add_slice(&c->out, buf_slice(&call.answer));
    if (!how && ctl_flag_value(&c->line, "path"))
        buf_add_byte(&c->out, '\n');
    ctl_call_done(&call);
    return how;
}

/* --- publishing ----------------------------------------------------------------------------------------- */

void ctl_print_written(struct ctl *c, const json_t *doc, const char *name)
{
    if (json_is_true(ctl_json_at(doc, "valid")))
        ctl_print_done(c, doc, "%s is valid", name);
    else if (json_is_true(ctl_json_at(doc, "unchanged")))
        ctl_print_done(c, doc, "%s is unchanged: release %lld has this content", name,
                       (long long)ctl_json_int(doc, "seq"));
    else if (ctl_json_at(doc, "seq"))
        ctl_print_done(c, doc, "%s: release %lld, revision %lld", name, (long long)ctl_json_int(doc, "seq"),
                       (long long)ctl_json_int(doc, "revision"));
    else
        ctl_print_done(c, doc, "%s: done, revision %lld", name, (long long)ctl_json_int(doc, "revision"));
}

static enum ctl_exit call_write(struct ctl *c, struct ctl_call *call)
{
    json_t *doc = NULL;
    ctl_query_author(c, call);
    enum ctl_exit how = ctl_call_json(c, call, &doc);
    if (!how)
        ctl_print_written(c, doc, ctl_config_arg(c, 0));
    json_decref(doc);
    ctl_call_done(call);
    return how;
}

enum ctl_exit ctl_config_set(struct ctl *c)
{
    static const char *const same[] = {"type", "title", "note"};
    const struct ctl_command_line *t = &c->line;
    const char *file = t->arg_count > 1 ? ctl_config_arg(c, 1) : NULL;
    if (!file && isatty(STDIN_FILENO))
        return ctl_fail(c, CTL_BAD_ARGS, "give a file, or the content on standard input");
    struct buf content = {0};
    enum ctl_exit how = ctl_read_file(c, file, CTL_CONTENT_MAX, &content);
    if (!how) {
        struct ctl_call call = {.method = "PUT", .body = buf_slice(&content), .has_body = true};
        ctl_config_path(c, &call, ctl_config_arg(c, 0), "");
        for (size_t i = 0; i < sizeof same / sizeof *same; i++)
            ctl_query(&call, same[i], ctl_flag_value(t, same[i]));
        ctl_query(&call, "if_seq", ctl_flag_value(t, "if-seq"));
        ctl_query(&call, "emergency", ctl_flag_value(t, "emergency"));
        ctl_query(&call, "validate", ctl_bool(t, "check") ? "only" : NULL);
        if (ctl_flag_value(t, "if-md5"))
            buf_addf(&call.fields, "If-Match: \"%s\"\r\n", ctl_flag_value(t, "if-md5"));
        how = call_write(c, &call);
    }
    buf_done(&content);
    return how;
}

enum ctl_exit ctl_config_rollback(struct ctl *c)
{
    uint64_t seq;
    if (text_to_u64(slice_text(ctl_config_arg(c, 1)), &seq) != OK || seq == 0 || seq > INT64_MAX)
        return ctl_fail(c, CTL_BAD_ARGS, "\"%s\" is no release; \"cairnctl config history %s\" lists them",
                        ctl_config_arg(c, 1), ctl_config_arg(c, 0));
    json_t *body = json_pack("{s:I}", "seq", (json_int_t)seq);
    if (ctl_flag_value(&c->line, "note"))
        json_object_set_new(body, "note", json_string(ctl_flag_value(&c->line, "note")));
    struct buf text = {0};
    ctl_show_json(&text, body);
    struct ctl_call call = {.method = "POST", .body = buf_slice(&text), .has_body = true};
    ctl_config_path(c, &call, ctl_config_arg(c, 0), "/rollback");
    ctl_query(&call, "if_seq", ctl_flag_value(&c->line, "if-seq"));
    ctl_query(&call, "emergency", ctl_flag_value(&c->line, "emergency"));
    enum ctl_exit how = call_write(c, &call);
    buf_done(&text);
    json_decref(body);
    return how;
}

enum ctl_exit ctl_config_rm(struct ctl *c)
{
    struct ctl_call call = {.method = "DELETE"};
    ctl_config_path(c, &call, ctl_config_arg(c, 0), "");
    ctl_query(&call, "note", ctl_flag_value(&c->line, "note"));
    ctl_query(&call, "if_seq", ctl_flag_value(&c->line, "if-seq"));
    ctl_query(&call, "emergency", ctl_flag_value(&c->line, "emergency"));
    return call_write(c, &call);
}

/* --- history -------------------------------------------------------------------------------------------- */

enum ctl_exit ctl_config_history(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"SEQ", "seq", CTL_CELL_PLAIN},       {"OPERATION", "operation", CTL_CELL_PLAIN},
        {"TIME", "time_ms", CTL_CELL_TIME},   {"TYPE", "type", CTL_CELL_PLAIN},
        {"SIZE", "size", CTL_CELL_PLAIN},     {"MD5", "md5", CTL_CELL_PLAIN},
        {"AUTHOR", "author", CTL_CELL_PLAIN}, {"TITLE", "title", CTL_CELL_PLAIN},
        {"NOTE", "note", CTL_CELL_PLAIN}};
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    ctl_config_path(c, &call, ctl_config_arg(c, 0), "/history");
    enum ctl_exit how = ctl_call_some(c, &call, "releases", ctl_int(&c->line, "limit"), &doc);
    if (!how)
        ctl_print_rows(c, doc, "releases", columns, sizeof columns / sizeof *columns);
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

enum ctl_exit ctl_config_listeners(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"CLIENT", "client_id", CTL_CELL_PLAIN}, {"PEER", "peer", CTL_CELL_PLAIN},
        {"MEMBER", "member", CTL_CELL_PLAIN},    {"TRANSPORT", "transport", CTL_CELL_PLAIN},
        {"CHOSEN", "chosen", CTL_CELL_PLAIN},    {"SENT", "sent", CTL_CELL_PLAIN},
        {"APPLIED", "applied", CTL_CELL_PLAIN},  {"REJECTED", "rejected", CTL_CELL_PLAIN},
        {"ERROR", "error", CTL_CELL_PLAIN}};
    struct ctl_call call = {.method = "GET"};
    ctl_config_path(c, &call, ctl_config_arg(c, 0), "/listeners");
    return print_list(c, &call, "listeners", columns, sizeof columns / sizeof *columns);
}

/* --- archives ------------------------------------------------------------------------------------------- */

/* Writes the pieces of the response to the file as they arrive. */
static enum ctl_exit save_stream(struct ctl *c, struct http_client *client, int fd, const char *path,
                                 uint64_t *ret_size)
{
    struct buf piece = {0};
    enum ctl_exit how = CTL_DONE;
    bool is_end = false;
    for (*ret_size = 0; !how && !is_end;) {
        buf_clear(&piece);
        int err = http_client_read(client, 60000, -1, &piece, &is_end);
        if (err)
            how = ctl_fail_reach(c, err);
        for (size_t at = 0; !how && at < piece.size;) {
            ssize_t n = write(fd, piece.data + at, piece.size - at);
            if (n < 0 && errno != EINTR)
                how = ctl_fail(c, CTL_IO, "cannot write %s: %s", path, strerror(errno));
            at += n > 0 ? (size_t)n : 0;
        }
        *ret_size += piece.size;
    }
    buf_done(&piece);
    return how;
}

enum ctl_exit ctl_config_export(struct ctl *c)
{
    const char *path = ctl_config_arg(c, 0);
    bool is_stdout = strcmp(path, "-") == 0;
    char *beside = arena_printf(&c->arena, "%s.part", path);
    struct ctl_call call = {.method = "GET"};
    struct http_client *client = NULL;
    ctl_path(&call, "/api/v1/export");
    ctl_query_names(c, &call);
    ctl_query(&call, "prefix", ctl_flag_value(&c->line, "prefix"));
    ctl_query(&call, "decrypt", ctl_bool(&c->line, "decrypt") ? "true" : NULL);
    int err = ctl_open_stream(c, &call, &client), fd = -1;
    uint64_t size = 0;
    enum ctl_exit how = err                  ? ctl_fail_reach(c, err)
                        : call.status != 200 ? ctl_fail_status(c, &call)
                                             : CTL_DONE;
    if (how)
        goto out;
    fd = is_stdout ? STDOUT_FILENO : open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        how = ctl_fail(c, CTL_IO, "cannot write %s: %s", beside, strerror(errno));
    if (!how)
        how = save_stream(c, client, fd, path, &size);
    if (!how && !is_stdout && (fsync(fd) != 0 || rename(beside, path) != 0))
        how = ctl_fail(c, CTL_IO, "cannot write %s: %s", path, strerror(errno));
    if (how && fd >= 0 && !is_stdout)
        (void)unlink(beside);
    if (!how && !is_stdout) {
        struct buf text = {0};
        ctl_add_bytes(&text, (int64_t)size);
        ctl_print_done(c, NULL, "exported to %s, %s", path, buf_text(&text));
        buf_done(&text);
    }
out:
    if (fd >= 0 && !is_stdout)
        close(fd);
    http_client_free(client);
    ctl_call_done(&call);
    return how;
}

static void print_imported(struct ctl *c, const json_t *report)
{
    static const struct ctl_column columns[] = {{"NAME", "name", CTL_CELL_PLAIN},
                                                {"GROUP", "group", CTL_CELL_PLAIN},
                                                {"NAMESPACE", "namespace", CTL_CELL_PLAIN},
                                                {"ACTION", "action", CTL_CELL_PLAIN},
                                                {"SEQ", "seq", CTL_CELL_PLAIN},
                                                {"ERROR", "error", CTL_CELL_PLAIN}};
    ctl_print_rows(c, report, "items", columns, sizeof columns / sizeof *columns);
}

enum ctl_exit ctl_config_import(struct ctl *c)
{
    struct buf archive = {0};
    char error[200];
    json_t *doc = NULL;
    enum ctl_exit how = ctl_read_file(c, ctl_config_arg(c, 0), CTL_ARCHIVE_MAX, &archive);
    struct ctl_call call = {
        .method = "POST", .body = buf_slice(&archive), .has_body = true, .timeout_ms = 600000};
    ctl_path(&call, "/api/v1/import");
    ctl_query_author(c, &call);
    ctl_query_names(c, &call);
    ctl_query(&call, "policy", ctl_flag_value(&c->line, "policy"));
    ctl_query(&call, "emergency", ctl_flag_value(&c->line, "emergency"));
    ctl_query(&call, "dry_run", ctl_bool(&c->line, "dry-run") ? "true" : NULL);
    int err = how ? OK : ctl_send(c, &call);
    if (err)
        how = ctl_fail_reach(c, err);
    if (how)
        goto out;
    if (call.status < 300) {
        how = json_parse(buf_slice(&call.answer), &doc, error, sizeof error) == OK
                  ? CTL_DONE
                  : ctl_fail_status(c, &call);
        if (!how)
            print_imported(c, doc);
        goto out;
    }
    /* The server refused the import and reports the conflicts. */
    if (json_parse(buf_slice(&call.answer), &doc, error, sizeof error) == OK &&
        ctl_json_at(doc, "error.current.items") && c->form <= CTL_FORM_TABLE)
        print_imported(c, ctl_json_at(doc, "error.current"));
    how = ctl_fail_status(c, &call);
out:
    json_decref(doc);
    buf_done(&archive);
    ctl_call_done(&call);
    return how;
}
