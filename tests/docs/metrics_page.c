/* SPDX-License-Identifier: Apache-2.0
 * Tables of metrics: those of base/metric.def, and labelled.def's. tests/e2e/docs.sh compares with a daemon.
 */
#include <stdio.h>
#include <string.h>

#include "tests/docs/docs.h"

struct row {
    const char *name, *type, *labels, *help;
};

static const struct row rows[] = {
#define COUNTER(id, name, help)                         {name, "counter", "", help},
#define GAUGE(id, name, help)                           {name, "gauge", "", help},
#define HISTOGRAM(id, name, help, first, factor, count) {name, "histogram", "", help},
#include "base/metric.def"
#define FAMILY(id, name, type, labels, help, first, factor, count) {name, type, labels, help},
#include "base/metric_family.def"
#define LABELLED(name, type, labels, help) {name, type, labels, help},
#include "tests/docs/labelled.def"
};

enum { ROW_COUNT = sizeof rows / sizeof *rows };
static unsigned printed[ROW_COUNT];

/* The argument is a list of prefixes of names. */
static bool has_prefix(const char *prefixes, const char *name)
{
    while (*prefixes) {
        size_t size = strcspn(prefixes, " ");
        if (strncmp(name, prefixes, size) == 0)
            return true;
        prefixes += size + strspn(prefixes + size, " ");
    }
    return false;
}

static void print_metrics(const char *prefixes, struct buf *out)
{
    buf_add_text(out, "| metric | type | help |\n|---|---|---|\n");
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (!has_prefix(prefixes, rows[i].name))
            continue;
        printed[i]++;
        buf_addf(out, "| `%s%s%s%s` | %s | ", rows[i].name, *rows[i].labels ? "{" : "", rows[i].labels,
                 *rows[i].labels ? "}" : "", rows[i].type);
        docs_add_text(out, rows[i].help);
        buf_add_text(out, " |\n");
    }
}

const struct docs_part docs_metric_parts[] = {{"metrics", print_metrics}, {NULL, NULL}};

bool docs_metrics_are_complete(void)
{
    bool is_complete = true;
    for (size_t i = 0; i < ROW_COUNT; i++)
        is_complete = docs_report_row(rows[i].name, printed[i]) && is_complete;
    return is_complete;
}
