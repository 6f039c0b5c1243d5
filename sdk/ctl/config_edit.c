/* SPDX-License-Identifier: Apache-2.0
 * The commands `config edit` and `config diff`.
 *
 * An edit:
 *
 * 1. The live content is written to a file in a new folder.
 * 2. The editor changes it.
 * 3. diff shows the difference.
 * 4. The content is published only if the release from step 1 is still live.
 *
 * If a step fails, the file stays and its name is printed, so that no work is lost. diff(1) compares with
 * files; the server compares releases. */
#include "sdk/ctl/ctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sdk/ctl/config.h"

static const char *ctl_config_edit_arg(const struct ctl *c, size_t i)
{
    return c->line.args[i];
}

/* Gets the live content and its seq; 0 and an empty content if there is none. */
static enum ctl_exit get_live(struct ctl *c, const char *name, struct buf *ret_content, int64_t *ret_seq)
{
    struct ctl_call call = {.method = "GET"};
    char error[200];
    json_t *doc = NULL;
    *ret_seq = 0;
    ctl_config_path(c, &call, name, "");
    ctl_query(&call, "meta", "true");
    int err = ctl_send(c, &call);
    enum ctl_exit how = err ? ctl_fail_reach(c, err) : CTL_DONE;
    if (!how && call.status != 404) {
        if (call.status > 299 || json_parse(buf_slice(&call.answer), &doc, error, sizeof error) != OK)
            how = ctl_fail_status(c, &call);
    }
    if (doc) {
        const json_t *content = ctl_json_at(doc, "content");
        *ret_seq = ctl_json_int(doc, "seq");
        struct slice text = slice_of(json_string_value(content), json_string_length(content));
        if (json_is_true(ctl_json_at(doc, "base64")))
            how = ctl_fail(c, CTL_INVALID_INPUT, "%s is not text; save it to a file and publish that file",
                           name);
        else
            buf_add_slice(ret_content, text);
    }
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

enum ctl_exit ctl_run_diff(struct ctl *c, bool is_result, const char *old_label, const char *old_file,
                           const char *new_label, const char *new_file, int *ret_status)
{
    const char *colour = c->has_colour && is_result ? "--color=always" : "--color=never";
    const char *const words[] = {"sh",      "-c",      is_result ? "exec \"$@\"" : "exec \"$@\" >&2",
                                 "sh",      "diff",    "-u",
                                 colour,    "--label", old_label,
                                 "--label", new_label, "--",
                                 old_file,  new_file,  NULL};
    enum ctl_exit how = ctl_run(c, words, NULL, NULL, ret_status);
    if (!how && *ret_status > 1)
        how = ctl_fail(c, CTL_IO, "diff ended with %d; is it installed?", *ret_status);
    return how;
}

/* --- edit ----------------------------------------------------------------------------------------------- */

struct edit {
    const char *name;
    char *folder, *file, *old_file; /* file has the name's ending, so that editors know its type */
    struct buf before, after;
    int64_t seq;
    bool keeps_file;
};

static enum ctl_exit make_files(struct ctl *c, struct edit *e)
{
    const char *place = getenv("TMPDIR"), *dot = strrchr(e->name, '.');
    e->folder = arena_printf(&c->arena, "%s/cairn-XXXXXX", place && *place ? place : "/tmp");
    if (!mkdtemp(e->folder)) {
        enum ctl_exit how = ctl_fail(c, CTL_IO, "cannot make a folder %s: %s", e->folder, strerror(errno));
        e->folder = NULL;
        return how;
    }
    e->file = arena_printf(&c->arena, "%s/edit%s", e->folder, dot && !strchr(dot, '/') ? dot : "");
    e->old_file = arena_printf(&c->arena, "%s/before", e->folder);
    enum ctl_exit how = ctl_write_file(c, e->old_file, buf_slice(&e->before), 0600);
    return how ? how : ctl_write_file(c, e->file, buf_slice(&e->before), 0600);
}

static enum ctl_exit run_editor(struct ctl *c, struct edit *e)
{
    const char *editor = getenv("VISUAL");
    if (!editor || !*editor)
        editor = getenv("EDITOR");
    if (!editor || !*editor)
        editor = "vi";
    /* EDITOR may be a command with arguments: the shell splits it. */
    const char *const words[] = {"sh", "-c",    arena_printf(&c->arena, "%s \"$1\"", editor),
                                 "sh", e->file, NULL};
    int status;
    enum ctl_exit how = ctl_run(c, words, NULL, NULL, &status);
    if (!how && status)
        how = ctl_fail(c, CTL_ERROR, "the editor (%s) ended with %d; nothing is published", editor, status);
    if (!how) {
        buf_clear(&e->after);
        how = ctl_read_file(c, e->file, CTL_CONTENT_MAX, &e->after);
    }
    return how;
}

/* Prompts for confirmation at a terminal only; without a terminal it is given. */
static bool is_confirmed(struct ctl *c, const char *prompt)
{
    if (ctl_bool(&c->line, "yes") || !isatty(STDIN_FILENO))
        return true;
    (void)ctl_flush(c);
    fprintf(stderr, "%s [y/N] ", prompt);
    char line[16] = "";
    return fgets(line, sizeof line, stdin) && (line[0] == 'y' || line[0] == 'Y');
}

static enum ctl_exit publish(struct ctl *c, struct edit *e)
{
    struct ctl_call call = {.method = "PUT", .body = buf_slice(&e->after), .has_body = true};
    json_t *doc = NULL;
    ctl_config_path(c, &call, e->name, "");
    ctl_query(&call, "title", ctl_flag_value(&c->line, "title"));
    ctl_query(&call, "note", ctl_flag_value(&c->line, "note"));
    ctl_query_int(&call, "if_seq", e->seq);
    ctl_query_author(c, &call);
    enum ctl_exit how = ctl_call_json(c, &call, &doc);
    if (!how)
        ctl_print_written(c, doc, e->name);
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

enum ctl_exit ctl_config_edit(struct ctl *c)
{
    struct edit e = {.name = ctl_config_edit_arg(c, 0)};
    int status = 0;
    enum ctl_exit how = get_live(c, e.name, &e.before, &e.seq);
    if (!how)
        how = make_files(c, &e);
    if (how)
        goto out;
    e.keeps_file = true;
    how = run_editor(c, &e);
    if (!how)
        how = ctl_run_diff(c, c->form != CTL_FORM_JSON && c->form != CTL_FORM_YAML,
                           arena_printf(&c->arena, "%s (release %lld)", e.name, (long long)e.seq), e.old_file,
                           arena_printf(&c->arena, "%s (edited)", e.name), e.file, &status);
    if (how)
        goto out;
    if (status == 0) {
        ctl_note(c, "%s is unchanged; nothing is published", e.name);
        e.keeps_file = false;
    } else if (is_confirmed(c, "Publish this?")) {
        how = publish(c, &e);
        e.keeps_file = how != CTL_DONE;
    } else {
        how = ctl_fail(c, CTL_ERROR, "nothing is published");
    }
out:
    if (e.folder && e.keeps_file) {
        ctl_note(c, "the edited content is in %s; \"cairnctl config set %s %s\" publishes it", e.file, e.name,
                 e.file);
    } else if (e.folder) {
        (void)unlink(e.file);
    }
    if (e.folder)
        (void)unlink(e.old_file);
    if (e.folder && !e.keeps_file)
        (void)rmdir(e.folder);
    buf_done(&e.before);
    buf_done(&e.after);
    return how;
}

/* --- diff ----------------------------------------------------------------------------------------------- */

static enum ctl_exit diff_file(struct ctl *c)
{
    char file[] = "/tmp/cairn-XXXXXX";
    struct buf live = {0};
    int64_t seq;
    int status = 0;
    enum ctl_exit how = get_live(c, ctl_config_edit_arg(c, 0), &live, &seq);
    int fd = how ? -1 : mkstemp(file);
    if (fd >= 0)
        close(fd);
    if (!how)
        how = fd < 0 ? ctl_fail(c, CTL_IO, "cannot make a file in /tmp: %s", strerror(errno))
                     : ctl_write_file(c, file, buf_slice(&live), 0600);
    if (!how)
        how = ctl_run_diff(
            c, true, arena_printf(&c->arena, "%s (release %lld)", ctl_config_edit_arg(c, 0), (long long)seq),
            file, ctl_config_edit_arg(c, 1), ctl_config_edit_arg(c, 1), &status);
    if (fd >= 0)
        (void)unlink(file);
    buf_done(&live);
    return how ? how : status ? CTL_ERROR : CTL_DONE;
}

/* Appends the lines of a unified diff with colours. */
static void add_coloured(struct buf *out, struct slice text)
{
    while (text.size) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end ? (size_t)(end - text.data) : text.size;
        const char *colour = text.data[0] == '+'   ? "32"
                             : text.data[0] == '-' ? "31"
                             : text.data[0] == '@' ? "36"
                                                   : "0";
        buf_addf(out, "\033[%sm%.*s\033[0m\n", colour, (int)size, (const char *)text.data);
        size += end != NULL;
        text = slice_of(text.data + size, text.size - size);
    }
}

enum ctl_exit ctl_config_diff(struct ctl *c)
{
    if (c->line.arg_count > 1)
        return diff_file(c);
    bool is_raw = c->form != CTL_FORM_JSON && c->form != CTL_FORM_YAML;
    struct ctl_call call = {.method = "GET"};
    ctl_config_path(c, &call, ctl_config_edit_arg(c, 0), "/diff");
    ctl_query(&call, "from", ctl_flag_value(&c->line, "from"));
    ctl_query(&call, "to", ctl_flag_value(&c->line, "to"));
    ctl_query(&call, "meta", is_raw ? NULL : "true");
    json_t *doc = NULL;
    enum ctl_exit how = is_raw ? ctl_call(c, &call) : ctl_call_json(c, &call, &doc);
    bool differs = call.answer.size > 0;
    if (!how && is_raw && c->has_colour)
        add_coloured(&c->out, buf_slice(&call.answer));
    else if (!how && is_raw)
        buf_add_slice(&c->out, buf_slice(&call.answer));
    else if (!how)
        ctl_show_rows(&c->out, c->form, doc, NULL, NULL, 0);
    if (doc)
        differs = json_array_size(ctl_json_at(doc, "diff.hunks")) > 0;
    json_decref(doc);
    ctl_call_done(&call);
    return how ? how : differs ? CTL_ERROR : CTL_DONE;
}
