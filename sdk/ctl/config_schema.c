/* SPDX-License-Identifier: Apache-2.0
 * The commands of configurations' JSON Schemas, by the native API. */
#include <unistd.h>

#include "sdk/ctl/config.h"

/* /api/v1/schemas[/PATTERN]?namespace=...&group=... */
static void schema_path(const struct ctl *c, struct ctl_call *call)
{
    ctl_path(call, "/api/v1/schemas");
    if (c->line.arg_count)
        ctl_segment(call, c->line.args[0]);
    ctl_query_names(c, call);
}

static enum ctl_exit schema_write(struct ctl *c, struct ctl_call *call)
{
    json_t *doc = NULL;
    schema_path(c, call);
    ctl_query_author(c, call);
    enum ctl_exit how = ctl_call_json(c, call, &doc);
    if (!how)
        ctl_print_written(c, doc, c->line.args[0]);
    json_decref(doc);
    ctl_call_done(call);
    return how;
}

enum ctl_exit ctl_config_schema_set(struct ctl *c)
{
    const char *file = c->line.arg_count > 1 ? c->line.args[1] : NULL;
    struct buf text = {0};
    if (!file && isatty(STDIN_FILENO))
        return ctl_fail(c, CTL_BAD_ARGS, "give a file, or the schema on standard input");
    enum ctl_exit how = ctl_read_file(c, file, CTL_CONTENT_MAX, &text);
    if (!how) {
        struct ctl_call call = {.method = "PUT", .body = buf_slice(&text), .has_body = true};
        how = schema_write(c, &call);
    }
    buf_done(&text);
    return how;
}

enum ctl_exit ctl_config_schema_rm(struct ctl *c)
{
    struct ctl_call call = {.method = "DELETE"};
    return schema_write(c, &call);
}

/* The schema itself, or with -o the whole document. */
enum ctl_exit ctl_config_schema_get(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"PATTERN", "name", CTL_CELL_PLAIN}, {"GROUP", "group", CTL_CELL_PLAIN},
        {"SIZE", "size", CTL_CELL_PLAIN},    {"AUTHOR", "author", CTL_CELL_PLAIN},
        {"TIME", "time_ms", CTL_CELL_TIME},
    };
    bool is_raw = c->form == CTL_FORM_NONE || c->form == CTL_FORM_SIMPLE;
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    schema_path(c, &call);
    enum ctl_exit how = ctl_call_json(c, &call, &doc);
    if (!how && is_raw)
        ctl_show_json(&c->out, ctl_json_at(doc, "schema"));
    if (!how && is_raw)
        buf_add_byte(&c->out, '\n');
    if (!how && !is_raw)
        ctl_print_rows(c, doc, NULL, columns, sizeof columns / sizeof *columns);
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}

enum ctl_exit ctl_config_schema_ls(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"PATTERN", "name", CTL_CELL_PLAIN}, {"GROUP", "group", CTL_CELL_PLAIN},
        {"SIZE", "size", CTL_CELL_PLAIN},    {"AUTHOR", "author", CTL_CELL_PLAIN},
        {"TIME", "time_ms", CTL_CELL_TIME},
    };
    struct ctl_call call = {.method = "GET"};
    json_t *doc = NULL;
    schema_path(c, &call);
    enum ctl_exit how = ctl_call_pages(c, &call, "schemas", &doc);
    if (!how)
        ctl_print_rows(c, doc, "schemas", columns, sizeof columns / sizeof *columns);
    json_decref(doc);
    ctl_call_done(&call);
    return how;
}
