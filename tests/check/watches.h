/* SPDX-License-Identifier: Apache-2.0
 * etcd's promises about watches, checked against the order of all committed transactions: filtered, ordered,
 * unique, atomic, bookmarkable, resumable, reliable, with true previous pairs and create revisions, and
 * canceled by compaction when, and only when, something needed was removed. Compactions are found among the
 * operations: one that the server makes by itself must be recorded as one. */
#ifndef TESTS_CHECK_WATCHES_H
#define TESTS_CHECK_WATCHES_H

#include "tests/check/revisions.h"

void watches_check(const struct history *h, const struct revisions *r, struct check_report *report);

#endif
