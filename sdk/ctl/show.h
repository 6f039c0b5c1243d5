/* SPDX-License-Identifier: Apache-2.0
 * Output forms: lists as tables, lines, names, JSON and YAML; etcdctl's tables; bytes as text. Pure: all
 * functions write to a buf. */
#ifndef SDK_CTL_SHOW_H
#define SDK_CTL_SHOW_H

#include "base/buf.h"
#include "base/json.h"

enum ctl_form {
    CTL_FORM_NONE, /* no --output: each command has its default */
    CTL_FORM_SIMPLE,
    CTL_FORM_TABLE,
    CTL_FORM_JSON,
    CTL_FORM_YAML,
    CTL_FORM_NAME,
    CTL_FORM_FIELDS,
    CTL_FORM_PROTOBUF,
};
bool ctl_form_of(const char *text, enum ctl_form *ret_form);

/* The conversion of a JSON value to a cell. */
enum ctl_cell {
    CTL_CELL_PLAIN,   /* unchanged; lists and objects with commas */
    CTL_CELL_TIME,    /* milliseconds since 1970 */
    CTL_CELL_ADDRESS, /* host:port of an instance, or host and its ports */
    CTL_CELL_STATE,   /* an instance's state and its special conditions */
    CTL_CELL_YES,     /* "yes" if true, else nothing */
};

struct ctl_column {
    const char *title;
    const char
        /* path of the value in a row, as "states.up"; "" = the row itself. The first column is the name */
        *path;
    enum ctl_cell cell;
};

/* Shows a list, which is a field of doc (NULL: doc is one row). JSON and YAML show the whole document. */
void ctl_show_rows(struct buf *out, enum ctl_form form, const json_t *doc, const char *field,
                   const struct ctl_column *columns, size_t column_count);
void ctl_show_json(struct buf *out, const json_t *doc); /* one line, fields in the server's order */
void ctl_show_yaml(struct buf *out, const json_t *doc);
const json_t *ctl_json_at(const json_t *doc, const char *path); /* NULL = absent */
const char *ctl_json_text(const json_t *doc, const char *path); /* "" = absent, or not a string */
int64_t ctl_json_int(const json_t *doc, const char *path);

/* A table: cells are collected in rows, then aligned. Valid when zeroed. */
struct ctl_table {
    struct buf text; /* all cells, each NUL-terminated */
    size_t columns, cells;
};
void ctl_table_add(struct ctl_table *t, struct slice cell);
void ctl_table_addf(struct ctl_table *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ctl_table_show(const struct ctl_table *t,
                    struct buf *out); /* separated by blanks; the first row is the head */
void ctl_table_show_bordered(const struct ctl_table *t, struct buf *out); /* etcdctl's */
void ctl_table_show_boxed(const struct ctl_table *t, struct buf *out);    /* etcdutl's */
void ctl_table_show_joined(const struct ctl_table *t, const char *between,
                           struct buf *out); /* all rows, no head */
void ctl_table_done(struct ctl_table *t);

void ctl_add_hex(struct buf *out, struct slice s);    /* \x66\x6f, as etcdctl --hex */
void ctl_add_quoted(struct buf *out, struct slice s); /* Go's %q */
void ctl_add_bytes(struct buf *out, int64_t bytes);   /* Go's humanize.Bytes: "57 kB" */
void ctl_add_line(struct buf *out, struct slice s);   /* control characters as \x07: safe on a terminal */

#endif
