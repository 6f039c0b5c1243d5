/* SPDX-License-Identifier: Apache-2.0
 * Public API of the checkers: a history goes in, findings come out. Each finding has the rule that is broken
 * and a sentence with the operation, the expectation and the proof. */
#ifndef TESTS_CHECK_CHECK_H
#define TESTS_CHECK_CHECK_H

#include "tests/check/history.h"

enum check_rule {
#define RULE(name, checker, text) RULE_##name,
#include "tests/check/rules.def"
#undef RULE
    RULE_COUNT
};

const char *check_rule_name(enum check_rule rule);
const char *check_rule_text(enum check_rule rule);
const char *check_rule_checker(enum check_rule rule);

enum { CHECK_FINDINGS_SHOWN = 50 };

/* Valid when zeroed: nothing found. */
struct check_report {
    struct buf text; /* a line for each of the first findings */
    size_t counts[RULE_COUNT];
    size_t count;
    bool is_undecided; /* the order of mutations is not known: no replay, and operations of unknown outcome */
};

void check_found(struct check_report *r, enum check_rule rule, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void check_report_done(struct check_report *r);

struct check_options {
    bool is_replay_complete;     /* false: without a replay the acknowledged mutations make the order */
    bool was_healthy;            /* no change of leader and no fault: leases must end in time */
    int64_t lease_late_bound_ns; /* within this after the TTL, when healthy */
    int64_t clock_fast_ppm;      /* members' clocks may run faster than the history's by so much */
};

/* All checkers; true when nothing was found and the order was decided. */
bool check_history(const struct history *h, const struct check_options *options, struct check_report *report);

#endif
