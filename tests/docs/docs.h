/* SPDX-License-Identifier: Apache-2.0
 * Generated pages of docs/: a template beside this file, whose @...@ lines are replaced by tables.
 *
 * A line is `@word argument@`. Each word is one struct docs_part. A part that prints rows of a table counts
 * each row that it printed, so that `docs check` finds rows that no page shows, or that two pages show. */
#ifndef TESTS_DOCS_DOCS_H
#define TESTS_DOCS_DOCS_H

#include "base/buf.h"

struct docs_part {
    const char *word;
    /* The argument is the rest of the line, "" if there is none. */
    void (*print)(const char *argument, struct buf *out);
};

/* Lists end with a part whose word is NULL. */
extern const struct docs_part docs_option_parts[], docs_metric_parts[], docs_api_parts[], docs_frame_parts[];

/* Prints each row that was not printed exactly once, one line each; false if there are any. */
bool docs_options_are_complete(void);
bool docs_metrics_are_complete(void);
bool docs_routes_are_complete(void);

void docs_add_man(struct buf *out); /* cairnd.1 */

/* For Markdown tables: | < * and newlines do not act, `x` stays code, and a word that begins with --
 * becomes code. */
void docs_add_text(struct buf *out, const char *text);
bool docs_report_row(const char *name, unsigned printed);

#endif
