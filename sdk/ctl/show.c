/* SPDX-License-Identifier: Apache-2.0
 * Output forms. A table is collected cell by cell and written at its end, when the widths are known. Data
 * from a server may contain any byte: tables show control characters in escaped form and never send them to
 * the terminal; JSON escapes them. */
#include "sdk/ctl/show.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/text.h"

bool ctl_form_of(const char *text, enum ctl_form *ret_form)
{
    static const struct {
        const char *name;
        enum ctl_form form;
    } forms[] = {{"simple", CTL_FORM_SIMPLE},    {"table", CTL_FORM_TABLE}, {"json", CTL_FORM_JSON},
                 {"yaml", CTL_FORM_YAML},        {"name", CTL_FORM_NAME},   {"fields", CTL_FORM_FIELDS},
                 {"protobuf", CTL_FORM_PROTOBUF}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (strcmp(text, forms[i].name) == 0) {
            *ret_form = forms[i].form;
            return true;
        }
    }
    return false;
}

/* --- bytes ---------------------------------------------------------------------------------------------- */

void ctl_add_hex(struct buf *out, struct slice s)
{
    for (size_t i = 0; i < s.size; i++)
        buf_addf(out, "\\x%02x", s.data[i]);
}

/* Go's strconv.Quote: printable characters stay, others have Go's escapes. */
void ctl_add_quoted(struct buf *out, struct slice s)
{
    static const char plain[] = "abtnvfr\\\"", code[] = "\a\b\t\n\v\f\r\\\"";
    buf_add_byte(out, '"');
    while (s.size) {
        size_t size = utf8_length(s);
        const char *escape = s.data[0] ? strchr(code, s.data[0]) : NULL;
        if (size > 1)
            buf_add(out, s.data, size);
        else if (escape)
            buf_addf(out, "\\%c", plain[escape - code]);
        else if (size == 0 || s.data[0] < ' ' || s.data[0] == 0x7f)
            buf_addf(out, "\\x%02x", s.data[0]);
        else
            buf_add_byte(out, s.data[0]);
        size = size ? size : 1;
        s = slice_of(s.data + size, s.size - size);
    }
    buf_add_byte(out, '"');
}

void ctl_add_bytes(struct buf *out, int64_t bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1000 && unit < 6; unit++)
        value /= 1000;
    /* Rounded to one decimal digit as humanize does; the digit is shown below ten. */
    double rounded = (double)(int64_t)(value * 10 + 0.5) / 10;
    buf_addf(out,
             bytes < 10     ? "%.0f %s"
             : rounded < 10 ? "%.1f %s"
                            : "%.0f %s",
             bytes < 10 ? value : rounded, units[unit]);
}

void ctl_add_line(struct buf *out, struct slice s)
{
    while (s.size) {
        size_t size = utf8_length(s);
        /* U+0080 to U+009F are control characters too. */
        bool is_control = size == 0 || s.data[0] < ' ' || s.data[0] == 0x7f ||
                          (size == 2 && s.data[0] == 0xc2 && s.data[1] < 0xa0);
        size = size ? size : 1;
        if (is_control)
            ctl_add_hex(out, slice_of(s.data, size));
        else
            buf_add(out, s.data, size);
        s = slice_of(s.data + size, s.size - size);
    }
}

/* --- tables --------------------------------------------------------------------------------------------- */

enum { COLUMNS_MAX = 20 };

void ctl_table_done(struct ctl_table *t)
{
    buf_done(&t->text);
    *t = (struct ctl_table){0};
}

void ctl_table_add(struct ctl_table *t, struct slice cell)
{
    ctl_add_line(&t->text, cell);
    buf_add_byte(&t->text, 0);
    t->cells++;
}

void ctl_table_addf(struct ctl_table *t, const char *format, ...)
{
    struct buf cell = {0};
    va_list args;
    va_start(args, format);
    buf_addv(&cell, format, args);
    va_end(args);
    ctl_table_add(t, buf_slice(&cell));
    buf_done(&cell);
}

static size_t width_of(const char *cell)
{
    size_t width = 0;
    for (; *cell; cell++)
        width += (*cell & 0xc0) != 0x80;
    return width;
}

static void measure(const struct ctl_table *t, size_t *widths)
{
    memset(widths, 0, COLUMNS_MAX * sizeof *widths);
    const char *cell = (const char *)t->text.data;
    for (size_t i = 0; i < t->cells; i++, cell += strlen(cell) + 1) {
        size_t width = width_of(cell);
        if (width > widths[i % t->columns])
            widths[i % t->columns] = width;
    }
}

static void add_blanks(struct buf *out, size_t count)
{
    memset(buf_reserve(out, count), ' ', count);
    out->size += count;
}

void ctl_table_show(const struct ctl_table *t, struct buf *out)
{
    size_t widths[COLUMNS_MAX];
    measure(t, widths);
    const char *cell = (const char *)t->text.data;
    for (size_t i = 0; i < t->cells; i++, cell += strlen(cell) + 1) {
        bool is_last = i % t->columns == t->columns - 1;
        buf_add_text(out, cell);
        if (!is_last) {
            add_blanks(out, widths[i % t->columns] - width_of(cell) + 2);
            continue;
        }
        while (out->size && out->data[out->size - 1] == ' ') /* no blanks after an empty last cell */
            out->size--;
        buf_add_byte(out, '\n');
    }
}

static void add_rule(const struct ctl_table *t, const size_t *widths, struct buf *out)
{
    for (size_t i = 0; i < t->columns; i++) {
        buf_add_byte(out, '+');
        for (size_t k = 0; k < widths[i] + 2; k++)
            buf_add_byte(out, '-');
    }
    buf_add_text(out, "+\n");
}

static void add_box_rule(const struct ctl_table *t, const size_t *widths, const char *const corners[3],
                         struct buf *out)
{
    for (size_t i = 0; i < t->columns; i++) {
        buf_add_text(out, corners[i != 0]);
        for (size_t k = 0; k < widths[i] + 2; k++)
            buf_add_text(out, "─");
    }
    buf_addf(out, "%s\n", corners[2]);
}

void ctl_table_show_boxed(const struct ctl_table *t, struct buf *out)
{
    static const char *const top[] = {"┌", "┬", "┐"}, *const middle[] = {"├", "┼", "┤"},
                             *const bottom[] = {"└", "┴", "┘"};
    size_t widths[COLUMNS_MAX];
    measure(t, widths);
    add_box_rule(t, widths, top, out);
    const char *cell = (const char *)t->text.data;
    for (size_t i = 0; i < t->cells; i++, cell += strlen(cell) + 1) {
        size_t at = i % t->columns, left = widths[at] - width_of(cell), right = 0;
        if (i < t->columns) {
            right = left - left / 2; /* heads are centred, other cells right-aligned */
            left /= 2;
        }
        buf_add_text(out, "│ ");
        add_blanks(out, left);
        buf_add_text(out, cell);
        add_blanks(out, right + 1);
        if (at == t->columns - 1)
            buf_add_text(out, "│\n");
        if (i == t->columns - 1)
            add_box_rule(t, widths, middle, out);
    }
    add_box_rule(t, widths, bottom, out);
}

void ctl_table_show_bordered(const struct ctl_table *t, struct buf *out)
{
    size_t widths[COLUMNS_MAX];
    measure(t, widths);
    add_rule(t, widths, out);
    const char *cell = (const char *)t->text.data;
    for (size_t i = 0; i < t->cells; i++, cell += strlen(cell) + 1) {
        size_t at = i % t->columns, left = widths[at] - width_of(cell);
        if (i < t->columns)
            left /= 2; /* heads are centred, other cells right-aligned */
        buf_add_text(out, "| ");
        add_blanks(out, left);
        buf_add_text(out, cell);
        add_blanks(out, widths[at] - width_of(cell) - left + 1);
        if (at == t->columns - 1)
            buf_add_text(out, "|\n");
        if (i == t->columns - 1)
            add_rule(t, widths, out);
    }
    if (t->cells > t->columns)
        add_rule(t, widths, out);
}

void ctl_table_show_joined(const struct ctl_table *t, const char *between, struct buf *out)
{
    const char *cell = (const char *)t->text.data;
    for (size_t i = 0; i < t->cells; i++, cell += strlen(cell) + 1)
        buf_addf(out, "%s%s", cell, i % t->columns == t->columns - 1 ? "\n" : between);
}

/* --- JSON documents ------------------------------------------------------------------------------------- */

const json_t *ctl_json_at(const json_t *doc, const char *path)
{
    while (doc && *path) {
        const char *dot = strchr(path, '.');
        size_t size = dot ? (size_t)(dot - path) : strlen(path);
        doc = json_object_getn(doc, path, size);
        path += size + (dot != NULL);
    }
    return doc;
}

const char *ctl_json_text(const json_t *doc, const char *path)
{
    const json_t *value = ctl_json_at(doc, path);
    return json_is_string(value) ? json_string_value(value) : "";
}

int64_t ctl_json_int(const json_t *doc, const char *path)
{
    return json_integer_value(ctl_json_at(doc, path));
}

void ctl_show_json(struct buf *out, const json_t *doc)
{
    char *text = json_dumps(doc, JSON_COMPACT | JSON_ENCODE_ANY);
    buf_add_text(out, text ? text : "null");
    buf_add_byte(out, '\n');
    free(text);
}

/* False for a string that YAML would read as another type: it is written as JSON, which is valid YAML. */
static bool is_plain_in_yaml(const char *text)
{
    static const char *const words[] = {"true", "false", "null", "yes", "no", "on", "off", "~", "y", "n"};
    if (!*text || strchr("-?:,[]{}#&*!|>'\"%@` ", *text) || text[strlen(text) - 1] == ' ' ||
        text[strlen(text) - 1] == ':')
        return false;
    if (strspn(text, "0123456789+-.eExX_abcdefABCDEFinfINFaN:") == strlen(text) &&
        strpbrk(text, "0123456789.+"))
        return false;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i]) == 0)
            return false;
    }
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p < ' ' || (unsigned char)*p >= 0x7f || (*p == ':' && p[1] == ' ') ||
            (*p == '#' && p > text && p[-1] == ' '))
            return false;
    }
    return true;
}

static void add_yaml_text(struct buf *out, const char *text, size_t size)
{
    struct json_writer w = {.out = out};
    if (strlen(text) == size && is_plain_in_yaml(text))
        buf_add_text(out, text);
    else
        jw_string(&w, slice_of(text, size));
}

static void add_yaml(struct buf *out, const json_t *value, size_t indent, bool is_in_list);

static void add_yaml_child(struct buf *out, const json_t *value, size_t indent, bool is_in_list)
{
    bool is_long = (json_is_object(value) && json_object_size(value)) ||
                   (json_is_array(value) && json_array_size(value));
    if (is_long && !is_in_list)
        buf_add_byte(out, '\n');
    else
        buf_add_byte(out, ' ');
    add_yaml(out, value, indent, is_in_list && is_long);
}

static void add_yaml_object(struct buf *out, const json_t *value, size_t indent, bool is_in_list)
{
    void *at = json_object_iter((json_t *)(uintptr_t)value);
    for (; at; at = json_object_iter_next((json_t *)(uintptr_t)value, at)) {
        const char *key = json_object_iter_key(at);
        const json_t *child = json_object_iter_value(at);
        add_blanks(out, is_in_list ? 0 : indent); /* the first field follows the dash */
        is_in_list = false;
        add_yaml_text(out, key, strlen(key));
        buf_add_byte(out, ':');
        add_yaml_child(out, child, json_is_array(child) ? indent : indent + 2, false);
    }
}

static void add_yaml(struct buf *out, const json_t *value, size_t indent, bool is_in_list)
{
    if (json_is_object(value) && json_object_size(value)) {
        add_yaml_object(out, value, indent, is_in_list);
    } else if (json_is_array(value) && json_array_size(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            add_blanks(out, is_in_list && i == 0 ? 0 : indent);
            buf_add_byte(out, '-');
            add_yaml_child(out, json_array_get(value, i), indent + 2, true);
        }
    } else if (json_is_string(value)) {
        add_yaml_text(out, json_string_value(value), json_string_length(value));
        buf_add_byte(out, '\n');
    } else {
        ctl_show_json(out, value);
    }
}

void ctl_show_yaml(struct buf *out, const json_t *doc)
{
    add_yaml(out, doc, 0, false);
}

/* --- rows ----------------------------------------------------------------------------------------------- */

static void add_plain(struct buf *out, const json_t *value)
{
    if (json_is_string(value)) {
        buf_add(out, json_string_value(value), json_string_length(value));
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            buf_add_text(out, i ? "," : "");
            add_plain(out, json_array_get(value, i));
        }
    } else if (json_is_object(value)) {
        const char *separator = "";
        for (void *at = json_object_iter((json_t *)(uintptr_t)value); at;
             at = json_object_iter_next((json_t *)(uintptr_t)value, at)) {
            buf_addf(out, "%s%s=", separator, json_object_iter_key(at));
            add_plain(out, json_object_iter_value(at));
            separator = ",";
        }
    } else if (json_is_boolean(value)) {
        buf_add_text(out, json_is_true(value) ? "yes" : "no");
    } else if (json_is_integer(value)) {
        text_add_i64(out, json_integer_value(value));
    } else if (json_is_real(value)) {
        text_add_double(out, json_real_value(value));
    }
}

/* 10.0.0.5:8080, [::1]:8080, 10.0.0.5:metrics=9100 */
static void add_address(struct buf *out, const json_t *row)
{
    const char *host = ctl_json_text(row, "host");
    bool is_v6 = strchr(host, ':') != NULL;
    buf_addf(out, "%s%s%s", is_v6 ? "[" : "", host, is_v6 ? "]" : "");
    const json_t *port = ctl_json_at(row, "port"), *ports = ctl_json_at(row, "ports");
    if (port || ports)
        buf_add_byte(out, ':');
    add_plain(out, port ? port : ports);
}

/* Appends the state and the reasons that keep the instance in or out of traffic: overrides, storm guard. */
static void add_state(struct buf *out, const json_t *row)
{
    const json_t *enabled = ctl_json_at(row, "override.enabled");
    buf_add_text(out, ctl_json_text(row, "state"));
    if (json_is_false(enabled))
        buf_add_text(out, " (disabled)");
    else if (ctl_json_at(row, "override.drain"))
        buf_add_text(out, " (drained)");
    else if (ctl_json_at(row, "override"))
        buf_add_text(out, " (override)");
    if (json_is_true(ctl_json_at(row, "guarded")))
        buf_add_text(out, " (guarded)");
}

static void add_cell(struct buf *out, const json_t *row, const struct ctl_column *column)
{
    const json_t *value = ctl_json_at(row, column->path);
    switch (column->cell) {
    case CTL_CELL_PLAIN:
        add_plain(out, value);
        break;
    case CTL_CELL_TIME:
        if (value)
            text_add_time(out, json_integer_value(value) / 1000);
        break;
    case CTL_CELL_ADDRESS:
        add_address(out, row);
        break;
    case CTL_CELL_STATE:
        add_state(out, row);
        break;
    case CTL_CELL_YES:
        buf_add_text(out, json_is_true(value) ? "yes" : "");
        break;
    }
}

static void show_table(struct buf *out, const json_t *list, const struct ctl_column *columns, size_t count)
{
    struct ctl_table t = {.columns = count};
    struct buf cell = {0};
    for (size_t i = 0; i < count; i++)
        ctl_table_add(&t, slice_text(columns[i].title));
    for (size_t k = 0; k < json_array_size(list); k++) {
        for (size_t i = 0; i < count; i++) {
            buf_clear(&cell);
            add_cell(&cell, json_array_get(list, k), &columns[i]);
            ctl_table_add(&t, buf_slice(&cell));
        }
    }
    ctl_table_show(&t, out);
    ctl_table_done(&t);
    buf_done(&cell);
}

/* Shows lines for cut and awk: cells separated by tabs, no head; the form `name` has the first cell only. */
static void show_lines(struct buf *out, const json_t *list, const struct ctl_column *columns, size_t count)
{
    struct buf cell = {0};
    for (size_t k = 0; k < json_array_size(list); k++) {
        for (size_t i = 0; i < count; i++) {
            buf_clear(&cell);
            add_cell(&cell, json_array_get(list, k), &columns[i]);
            if (i)
                buf_add_byte(out, '\t');
            ctl_add_line(out, buf_slice(&cell));
        }
        buf_add_byte(out, '\n');
    }
    buf_done(&cell);
}

void ctl_show_rows(struct buf *out, enum ctl_form form, const json_t *doc, const char *field,
                   const struct ctl_column *columns, size_t column_count)
{
    if (form == CTL_FORM_JSON) {
        ctl_show_json(out, doc);
        return;
    }
    if (form == CTL_FORM_YAML) {
        ctl_show_yaml(out, doc);
        return;
    }
    json_t *one = field ? NULL : json_array();
    if (one)
        json_array_append(one, (json_t *)(uintptr_t)doc);
    const json_t *list = field ? ctl_json_at(doc, field) : one;
    if (form == CTL_FORM_NAME || form == CTL_FORM_SIMPLE)
        show_lines(out, list, columns, form == CTL_FORM_NAME ? 1 : column_count);
    else
        show_table(out, list, columns, column_count);
    json_decref(one);
}
