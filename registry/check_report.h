/* SPDX-License-Identifier: Apache-2.0
 * Messages that carry reports for TTL checks to the member that holds the check. Pure.
 *
 * The question has one or several reports; every other member gets it, and none needs to know the holder. The answer
 * says for each report whether that member holds the check and has moved its clock (check_plan_report). The
 * output is not in it: the asking member has compared it, and another output is written. */
#ifndef REGISTRY_CHECK_REPORT_H
#define REGISTRY_CHECK_REPORT_H

#include "base/buf.h"
#include "base/err.h"
#include "registry/state.h"

#define CHECK_REPORTS_MAX 256 /* of a question */

struct check_report {
    struct slice key; /* of the instance, in the store; borrowed from the message */
    enum instance_state state;
};
void check_report_write(const struct check_report *list, size_t count, struct buf *out);
/* ERR_MALFORMED. list has room for CHECK_REPORTS_MAX. */
MUST_CHECK int check_report_read_question(struct slice question, struct check_report *list,
                                          size_t *ret_count);

void check_report_write_answer(const bool *are_held, size_t count, struct buf *out);
/* are_held has room for CHECK_REPORTS_MAX. ERR_MALFORMED: it is not for so many reports, too. */
MUST_CHECK int check_report_read_answer(struct slice answer, size_t count, bool *are_held);

#endif
