/* SPDX-License-Identifier: Apache-2.0
 * Line diffs of two texts: Myers' shortest edit script, as a unified diff that patch(1) applies, or as JSON.
 * Pure.
 *
 * Lines end with LF; a last line without one differs from the same line with it. Bytes are compared as they
 * are; the caller decides whether a diff makes sense. The cost is bounded (DIFF_EDITS_MAX, DIFF_STEPS_MAX):
 * texts that differ by more get one change from the first different line to the last. That diff is correct,
 * only longer. */
#ifndef CONFIG_DIFF_H
#define CONFIG_DIFF_H

#include "base/buf.h"
#include "base/err.h"

struct json_writer;

#define DIFF_CONTEXT   3
#define DIFF_EDITS_MAX 1000     /* removed and added lines */
#define DIFF_STEPS_MAX 20000000 /* lines compared */

/* Lines [from, from + removed) of the old text became [to, to + added) of the new one; counted from 0. */
struct diff_change {
    uint32_t from, removed, to, added;
};

/* Borrows the texts. Freed with diff_done. */
struct diff {
    struct slice *from, *to; /* lines, with their LF */
    uint32_t from_count, to_count;
    struct diff_change *changes; /* in order; lines between them are the same */
    uint32_t change_count;
    uint32_t removed, added; /* lines, in all */
    bool is_coarse;          /* a bound was reached */
};

void diff_init(struct diff *d, struct slice from, struct slice to);
void diff_done(struct diff *d);

/* Appends "--- from_label", "+++ to_label" and the hunks; nothing at all if nothing changed. The labels must
 * have no control characters. ERR_LIMIT: it needs more than size_max bytes, and out is unchanged. */
MUST_CHECK int diff_write(const struct diff *d, const char *from_label, const char *to_label, size_t size_max,
                          struct buf *out);

/* The same as a JSON object, for programs:
 *
 *   {"removed":1,"added":1,"coarse":false,"hunks":[
 *     {"from":1,"from_count":3,"to":1,"to_count":3,"lines":[" same","-old","+new"]}]}
 *
 * Lines are without their LF; a line that has none is followed by "\ No newline at end of file". Bytes that
 * are no UTF-8 become U+FFFD. Stops after about size_max bytes, then with "truncated":true. */
void diff_write_json(const struct diff *d, size_t size_max, struct json_writer *w);

#endif
