/* SPDX-License-Identifier: Apache-2.0
 * The command `config watch`: the releases of a configuration, or of all that match a pattern, as they become
 * live. */
#include "sdk/ctl/config.h"
#include "sdk/ctl/ctl.h"

struct config_watch {
    const char **words;  /* command to run; NULL = show the content */
    const char *pattern; /* or a name, which is the id of its item */
    json_t *seqs;        /* id -> seq that was shown last; 0 = it does not exist */
    json_t *snapshot;    /* ids in a snapshot whose last part has not arrived */
};

/* An item of a selection has its group and namespace where the pattern leaves them open. */
static void add_names(const struct ctl *c, const json_t *item, struct ctl_call *call)
{
    static const char *const names[] = {"namespace", "group"};
    for (size_t i = 0; i < 2; i++) {
        const char *own = item ? json_string_value(ctl_json_at(item, names[i])) : NULL;
        ctl_query(call, names[i], own ? own : ctl_flag_value(&c->line, names[i]));
    }
}

/* Gets a content of more than 64 KiB, which is not in the frame. */
static enum ctl_exit get_release(struct ctl *c, const json_t *item, struct buf *ret_content)
{
    const json_t *content = ctl_json_at(item, "content");
    if (content && !json_is_true(ctl_json_at(item, "base64"))) {
        buf_add(ret_content, json_string_value(content), json_string_length(content));
        return CTL_DONE;
    }
    struct ctl_call call = {.method = "GET"};
    ctl_path(&call, "/api/v1/configs");
    ctl_segment(&call, ctl_json_text(item, "name"));
    add_names(c, item, &call);
    ctl_query_int(&call, "seq", ctl_json_int(item, "seq"));
    enum ctl_exit how = ctl_call(c, &call);
    if (!how)
        buf_add_slice(ret_content, buf_slice(&call.answer));
    ctl_call_done(&call);
    return how;
}

/* item NULL: the configuration with this id does not exist. */
static enum ctl_exit run_for(struct ctl *c, struct config_watch *w, const char *id, const json_t *item,
                             int64_t revision)
{
    struct buf content = {0};
    struct arena a = {0};
    const char *slash = strrchr(id, '/'); /* names have none */
    const char *const variables[] = {
        arena_printf(&a, "CAIRN_CONFIG_NAME=%s", slash ? slash + 1 : id),
        arena_printf(&a, "CAIRN_CONFIG_ID=%s", id),
        arena_printf(&a, "CAIRN_CONFIG_SEQ=%lld", (long long)ctl_json_int(item, "seq")),
        arena_printf(&a, "CAIRN_CONFIG_MD5=%s", ctl_json_text(item, "md5")),
        arena_printf(&a, "CAIRN_CONFIG_TYPE=%s", ctl_json_text(item, "format")),
        arena_printf(&a, "CAIRN_CONFIG_REVISION=%lld", (long long)revision),
        NULL};
    int status = 0;
    enum ctl_exit how = item ? get_release(c, item, &content) : CTL_DONE;
    struct slice input = buf_slice(&content);
    if (!how)
        how = ctl_run(c, w->words, &input, variables, &status);
    if (!how && status)
        ctl_note(c, "%s ended with %d", w->words[0], status);
    buf_done(&content);
    arena_done(&a);
    return how;
}

static void print_release(struct ctl *c, const char *id, const json_t *item)
{
    json_t *line = item ? json_deep_copy(item) : json_pack("{s:s, s:b}", "name", id, "deleted", 1);
    if (c->form == CTL_FORM_JSON || c->form == CTL_FORM_YAML) {
        if (c->form == CTL_FORM_YAML)
            buf_add_text(&c->out, "---\n");
        ctl_show_rows(&c->out, c->form, line, NULL, NULL, 0);
    } else if (!item) {
        buf_addf(&c->out, "%s\tdeleted\n", id);
    } else {
        static const struct ctl_column columns[] = {
            {"", "id", CTL_CELL_PLAIN},   {"", "seq", CTL_CELL_PLAIN}, {"", "format", CTL_CELL_PLAIN},
            {"", "size", CTL_CELL_PLAIN}, {"", "md5", CTL_CELL_PLAIN}, {"", "title", CTL_CELL_PLAIN}};
        ctl_show_rows(&c->out, c->form == CTL_FORM_NAME ? CTL_FORM_NAME : CTL_FORM_SIMPLE, line, NULL,
                      columns, 6);
    }
    json_decref(line);
}

/* A configuration that never existed is reported only if its name was asked for and it existed before. */
static enum ctl_exit show_release(struct ctl *c, struct config_watch *w, const char *id, const json_t *item,
                                  int64_t revision)
{
    const json_t *before = json_object_get(w->seqs, id);
    int64_t seq = item ? ctl_json_int(item, "seq") : 0;
    bool is_same = before ? json_integer_value(before) == seq : !item;
    json_object_set_new(w->seqs, id, json_integer(seq));
    if (is_same)
        return CTL_DONE;
    if (w->words)
        return run_for(c, w, id, item, revision);
    print_release(c, id, item);
    return CTL_DONE;
}

static enum ctl_exit show_items(struct ctl *c, struct config_watch *w, const json_t *items, int64_t revision)
{
    enum ctl_exit how = CTL_DONE;
    for (size_t i = 0; !how && i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        json_object_set_new(w->snapshot, ctl_json_text(item, "id"), json_true());
        how = show_release(c, w, ctl_json_text(item, "id"), item, revision);
    }
    return how;
}

/* A snapshot is complete: what it does not have is gone. */
static enum ctl_exit show_missing(struct ctl *c, struct config_watch *w, int64_t revision)
{
    enum ctl_exit how = CTL_DONE;
    const char *id;
    json_t *seq;
    json_t *known = json_copy(w->seqs);
    json_object_foreach(known, id, seq)
    {
        if (!how && json_integer_value(seq) && !json_object_get(w->snapshot, id))
            how = show_release(c, w, id, NULL, revision);
    }
    json_decref(known);
    return how;
}

static enum ctl_exit on_config_frame(struct ctl *c, const json_t *frame, void *arg)
{
    struct config_watch *w = arg;
    const char *type = ctl_json_text(frame, "type");
    int64_t revision = ctl_json_int(frame, "revision");
    enum ctl_exit how = CTL_DONE;
    if (strcmp(type, "snapshot") == 0) {
        if (ctl_json_int(frame, "part") == 1)
            json_object_clear(w->snapshot);
        how = show_items(c, w, ctl_json_at(frame, "items"), revision);
        if (!how && json_is_true(ctl_json_at(frame, "last")))
            how = show_missing(c, w, revision);
    } else if (strcmp(type, "delta") == 0) {
        const json_t *gone = ctl_json_at(frame, "delete");
        how = show_items(c, w, ctl_json_at(frame, "put"), revision);
        for (size_t i = 0; !how && i < json_array_size(gone); i++)
            how = show_release(c, w, json_string_value(json_array_get(gone, i)), NULL, revision);
    }
    return how;
}

static void add_pattern(const struct ctl *c, struct ctl_call *call, void *arg)
{
    const struct config_watch *w = arg;
    ctl_query(call, "name", w->pattern);
    ctl_query_names(c, call);
}

enum ctl_exit ctl_config_watch(struct ctl *c)
{
    const struct ctl_command_line *t = &c->line;
    struct config_watch w = {.pattern = t->args[0], .seqs = json_object(), .snapshot = json_object()};
    if (t->arg_count > t->dash_at) {
        w.words = arena_new(&c->arena, (t->arg_count - t->dash_at + 1) * sizeof *w.words);
        memcpy(w.words, t->args + t->dash_at, (t->arg_count - t->dash_at) * sizeof *w.words);
    }
    const struct ctl_subscription subscription = {.kind =
                                                      ctl_is_selection(c, w.pattern) ? "configs" : "config",
                                                  .labels = ctl_flag_value(t, "labels"),
                                                  .add = add_pattern,
                                                  .on_frame = on_config_frame,
                                                  .arg = &w};
    enum ctl_exit how = ctl_follow(c, &subscription);
    json_decref(w.seqs);
    json_decref(w.snapshot);
    return how;
}
