/* SPDX-License-Identifier: Apache-2.0
 * Tables of the daemon's options, by group of server/options.def, and its manual page. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "server/version.h"
#include "tests/docs/docs.h"

enum effect { EFFECT_GROUP, EFFECT_WORKS, EFFECT_ACCEPTED, EFFECT_IGNORED };
enum kind { STRING, BOOL, INT, UINT, DURATION };

struct row {
    enum effect effect;
    const char *name; /* or the title of a group */
    enum kind kind;
    const char *default_text;
    int64_t min, max;
    const char *yaml, *help;
};

static const struct row rows[] = {
#define GROUP(title) {EFFECT_GROUP, title, STRING, NULL, 0, 0, NULL, NULL},
#define OPT(field, kind, name, default_text, min, max, yaml, help)                                           \
    {EFFECT_WORKS, name, kind, default_text, min, max, yaml, help},
#define ACCEPT(kind, name, default_text, yaml, help)                                                         \
    {EFFECT_ACCEPTED, name, kind, default_text, 0, 0, yaml, help},
#define IGNORE(name) {EFFECT_IGNORED, name, BOOL, NULL, 0, 0, NULL, NULL},
#include "server/options.def"
};

enum { ROW_COUNT = sizeof rows / sizeof *rows };
static unsigned printed[ROW_COUNT];

static void add_variable(struct buf *out, const char *name)
{
    buf_add_text(out, "ETCD_");
    for (; *name; name++)
        buf_add_byte(out, (uint8_t)(*name == '-' ? '_' : toupper((unsigned char)*name)));
}

static void add_default(struct buf *out, const struct row *row)
{
    if (row->default_text && *row->default_text)
        buf_addf(out, "`%s`", row->default_text);
    else
        buf_add_text(out, "none");
}

static void add_number(struct buf *out, const struct row *row, int64_t n)
{
    static const struct {
        int64_t ns;
        const char *unit;
    } units[] = {{3600000000000, "h"}, {60000000000, "m"}, {1000000000, "s"}, {1000000, "ms"}, {1, "ns"}};
    if (row->kind != DURATION || n == 0) {
        buf_addf(out, "%" PRId64, n);
        return;
    }
    size_t i = 0;
    while (n % units[i].ns)
        i++;
    buf_addf(out, "%" PRId64 "%s", n / units[i].ns, units[i].unit);
}

/* The bounds that say something: not "any number". */
static void add_bounds(struct buf *out, const struct row *row)
{
    bool has_max = row->max && row->max != INT64_MAX && row->max != UINT32_MAX;
    if (!has_max && row->min <= 0)
        return;
    buf_add_text(out, has_max ? " Allowed: " : " At least ");
    add_number(out, row, row->min);
    if (has_max) {
        buf_add_text(out, " to ");
        add_number(out, row, row->max);
    }
    buf_add_byte(out, '.');
}

static void add_row(struct buf *out, size_t i)
{
    const struct row *row = &rows[i];
    printed[i]++;
    buf_addf(out, "| `--%s`<br>`", row->name);
    add_variable(out, row->name);
    buf_add_text(out, "` | ");
    add_default(out, row);
    buf_add_text(out, " | ");
    docs_add_text(out, row->help);
    add_bounds(out, row);
    if (row->yaml)
        buf_addf(out, " In a file: `%s`.", row->yaml);
    buf_add_text(out, " |\n");
}

static void print_group(const char *title, struct buf *out)
{
    bool is_inside = false;
    buf_add_text(out, "| option, variable | default | what it does |\n|---|---|---|\n");
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].effect == EFFECT_GROUP)
            is_inside = strcmp(rows[i].name, title) == 0;
        else if (is_inside && rows[i].effect == EFFECT_WORKS)
            add_row(out, i);
    }
}

static void print_accepted(const char *argument, struct buf *out)
{
    (void)argument;
    buf_add_text(out, "| option | default | what it means to etcd |\n|---|---|---|\n");
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].effect != EFFECT_ACCEPTED)
            continue;
        printed[i]++;
        buf_addf(out, "| `--%s` | ", rows[i].name);
        add_default(out, &rows[i]);
        buf_add_text(out, " | ");
        docs_add_text(out, rows[i].help);
        buf_add_text(out, " |\n");
    }
}

static void print_ignored(const char *argument, struct buf *out)
{
    (void)argument;
    size_t column = 0;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].effect != EFFECT_IGNORED)
            continue;
        printed[i]++;
        size_t size = strlen(rows[i].name) + 4;
        if (column + size + 2 > 100) {
            buf_add_text(out, ",\n");
            column = 0;
        }
        buf_addf(out, "%s`--%s`", column ? ", " : "", rows[i].name);
        column += size + 2;
    }
    buf_add_text(out, ".\n");
}

static const struct {
    const char *name, *etcd, *test;
} etcd_flags[] = {
#define ETCD(name, etcd, test) {name, etcd, test},
#include "tests/docs/etcd_flag.def"
};

static const char *effect_of(const char *name)
{
    static const char *const texts[] = {[EFFECT_GROUP] = "refused",
                                        [EFFECT_WORKS] = "works",
                                        [EFFECT_ACCEPTED] = "no effect",
                                        [EFFECT_IGNORED] = "ignored"};
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (rows[i].effect != EFFECT_GROUP && strcmp(rows[i].name, name) == 0)
            return strstr(rows[i].help, "an error when given") ? "refused" : texts[rows[i].effect];
    return texts[EFFECT_GROUP];
}

static void print_etcd_flags(const char *argument, struct buf *out)
{
    (void)argument;
    buf_add_text(out, "| flag | etcd 3.7.1 | here | test |\n|---|---|---|---|\n");
    for (size_t i = 0; i < sizeof etcd_flags / sizeof *etcd_flags; i++)
        buf_addf(out, "| `--%s` | %s | %s | %s%s%s |\n", etcd_flags[i].name, etcd_flags[i].etcd,
                 effect_of(etcd_flags[i].name), *etcd_flags[i].test ? "`" : "", etcd_flags[i].test,
                 *etcd_flags[i].test ? "`" : "");
}

const struct docs_part docs_option_parts[] = {
    {"etcd-flags", print_etcd_flags},
    {"options", print_group},
    {"options-accepted", print_accepted},
    {"options-ignored", print_ignored},
    {NULL, NULL},
};

bool docs_options_are_complete(void)
{
    bool is_complete = true;
    for (size_t i = 0; i < ROW_COUNT; i++)
        if (rows[i].effect != EFFECT_GROUP)
            is_complete = docs_report_row(rows[i].name, printed[i]) && is_complete;
    return is_complete;
}

/* --- the manual page ------------------------------------------------------------------------------------ */

/* Text for troff: no request at the beginning of a line, no escapes. */
static void add_troff(struct buf *out, const char *text)
{
    for (bool is_first = true; *text; text++) {
        if (is_first && (*text == '.' || *text == '\''))
            buf_add_text(out, "\\&");
        if (*text == '\\')
            buf_add_text(out, "\\e");
        else if (*text == '-')
            buf_add_text(out, "\\-");
        else
            buf_add_byte(out, (uint8_t)*text);
        is_first = *text == '\n';
    }
}

static const char *value_name(enum kind kind)
{
    static const char *const names[] = {[STRING] = "TEXT",
                                        [BOOL] = "true|false",
                                        [INT] = "NUMBER",
                                        [UINT] = "NUMBER",
                                        [DURATION] = "DURATION"};
    return names[kind];
}

static void add_man_option(struct buf *out, const struct row *row)
{
    buf_add_text(out, ".TP\n.BI \\-\\-");
    add_troff(out, row->name);
    buf_addf(out, " \" %s\"\n", value_name(row->kind));
    add_troff(out, row->help);
    add_bounds(out, row);
    if (row->effect == EFFECT_ACCEPTED)
        buf_add_text(out, "\nAccepted for compatibility, without effect.");
    if (row->default_text && *row->default_text) {
        buf_add_text(out, "\nThe default is ");
        add_troff(out, row->default_text);
        buf_add_byte(out, '.');
    }
    buf_add_byte(out, '\n');
}

/* The ignored ones are on options-etcd.md alone. */
void docs_add_man(struct buf *out)
{
    const char *group = "";
    buf_add_text(out, ".\\\" Generated from server/options.def\n"
                      ".TH CAIRND 1 \"\" \"cairnd " CAIRN_VERSION "\" \"Cairn\"\n"
                      ".SH NAME\n"
                      "cairnd \\- service registry and config center that speaks the etcd v3 API\n"
                      ".SH SYNOPSIS\n"
                      ".B cairnd\n"
                      ".RI [ OPTIONS ]\n"
                      ".br\n"
                      ".B cairnd \\-\\-version\n"
                      ".br\n"
                      ".B cairnd waldump\n"
                      ".RI [ OPTIONS ]\n"
                      ".SH DESCRIPTION\n"
                      ".B cairnd\n"
                      "is one member of a Cairn cluster.\n"
                      "It serves the etcd v3 API over gRPC and JSON, the HTTP API of services and\n"
                      "configurations, streams of changes, DNS and a web console.\n"
                      ".PP\n"
                      ".B cairnd waldump\n"
                      "prints the records of a write\\-ahead log.\n"
                      ".SH OPTIONS\n"
                      "An option is given as a flag, or as a variable: ETCD_ and the name in upper case,\n"
                      "with _ for \\-.\n"
                      "An option that is given both as a flag and as a variable is an error.\n"
                      "With\n"
                      ".B \\-\\-config\\-file\n"
                      "all other flags and variables are ignored.\n");
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].effect == EFFECT_GROUP)
            group = rows[i].name;
        if (rows[i].effect == EFFECT_GROUP) {
            buf_addf(out, ".SS %s\n", group);
        } else if (rows[i].effect == EFFECT_WORKS || rows[i].effect == EFFECT_ACCEPTED) {
            add_man_option(out, &rows[i]);
        }
    }
    buf_add_text(out,
                 ".SH SIGNALS\n"
                 ".TP\n"
                 "SIGTERM, SIGINT\n"
                 "Stop: a leader first transfers its leadership.\n"
                 ".TP\n"
                 "SIGHUP\n"
                 "Read the join tokens of\n"
                 ".B \\-\\-join\\-token\\-file\n"
                 "again.\n"
                 ".SH EXIT STATUS\n"
                 "0: it was stopped. 1: an option is refused, or an error. 2: a value that no option can\n"
                 "have.\n"
                 ".SH SEE ALSO\n"
                 ".BR cairnctl (1)\n");
}
