/* SPDX-License-Identifier: Apache-2.0
 * What changed between two texts, by lines: Myers' shortest edit script, as a unified diff that patch(1)
 * applies, or as JSON. Pure.
 *
 * Lines end with LF; a last line without one differs from the same line with it. Bytes are compared as they
 * are: whether a diff of something makes sense is the caller's question. The cost is bounded (DIFF_EDITS_MAX,
 * DIFF_STEPS_MAX): two texts that differ by more get one change from the first line that differs to the last,
 * which is as right, only longer. */
#ifndef CONFIG_DIFF_H
#define CONFIG_DIFF_H

#include "base/buf.h"
#include "base/err.h"

struct json_writer;

#define DIFF_CONTEXT   3
#define DIFF_EDITS_MAX 1000     /* lines taken away and added */
#define DIFF_STEPS_MAX 20000000 /* lines compared */

/* Lines [from, from + removed) of the old text became [to, to + added) of the new one; counted from 0. */
struct diff_change {
    uint32_t from, removed, to, added;
};

/* Borrows the texts. Freed with diff_done. */
struct diff {
    struct slice *from, *to; /* lines, their LF included */
    uint32_t from_count, to_count;
    struct diff_change *changes; /* in order; lines between them are the same */
    uint32_t change_count;
    uint32_t removed, added; /* lines, in all */
    bool is_coarse;          /* the bound was met */
};

void diff_init(struct diff *d, struct slice from, struct slice to);
void diff_done(struct diff *d);

/* Appends "--- from_label", "+++ to_label" and the hunks; nothing at all if nothing changed. The labels hold
 * no control characters. ERR_LIMIT: it would be more than size_max bytes, and out is as it was. */
MUST_CHECK int diff_write(const struct diff *d, const char *from_label, const char *to_label, size_t size_max,
                          struct buf *out);

/* The same as a JSON object, for a program to show: {"removed":1,"added":1,"coarse":false,"hunks":[{"from":1,
 * "from_count":3,"to":1,"to_count":3,"lines":[" same","-old","+new"]}]}. Lines are without their LF (one that
 * has none is followed by "\ No newline at end of file"); what is no UTF-8 becomes U+FFFD. Stops within
 * size_max bytes (about), then with "truncated":true. */
void diff_write_json(const struct diff *d, size_t size_max, struct json_writer *w);

#endif
