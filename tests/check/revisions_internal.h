/* SPDX-License-Identifier: Apache-2.0
 * Shared declarations of revisions.c and authors.c. */
#ifndef TESTS_CHECK_REVISIONS_INTERNAL_H
#define TESTS_CHECK_REVISIONS_INTERNAL_H

#include "tests/check/revisions.h"

/* Assigns every entry its author; acknowledged ones have theirs already. */
void revisions_find_authors(struct revisions *r, struct check_report *report);

/* A finding that begins with the operation's description. */
void revisions_found(struct check_report *report, enum check_rule rule, const struct history_op *op,
                     const char *format, ...) __attribute__((format(printf, 4, 5)));
void revisions_describe_changes(struct buf *b, const struct history_change *changes, size_t count);

#endif
