/* SPDX-License-Identifier: Apache-2.0
 * The checkers in turn, and their report; see check.h. */
#include "tests/check/check.h"

#include "tests/check/leases.h"
#include "tests/check/revisions.h"
#include "tests/check/watches.h"

static const struct {
    const char *name, *checker, *text;
} rules[RULE_COUNT] = {
#define RULE(name, checker, text) {#name, #checker, text},
#include "tests/check/rules.def"
#undef RULE
};

const char *check_rule_name(enum check_rule rule)
{
    return rules[rule].name;
}

const char *check_rule_text(enum check_rule rule)
{
    return rules[rule].text;
}

const char *check_rule_checker(enum check_rule rule)
{
    return rules[rule].checker;
}

void check_found(struct check_report *r, enum check_rule rule, const char *format, ...)
{
    r->counts[rule]++;
    if (r->count++ >= CHECK_FINDINGS_SHOWN)
        return;
    va_list args;
    va_start(args, format);
    buf_addf(&r->text, "%s: ", rules[rule].name);
    buf_addv(&r->text, format, args);
    buf_add_byte(&r->text, '\n');
    va_end(args);
}

void check_report_done(struct check_report *r)
{
    buf_done(&r->text);
    *r = (struct check_report){0};
}

bool check_history(const struct history *h, const struct check_options *options, struct check_report *report)
{
    struct revisions r;
    if (revisions_check(&r, h, options, report)) {
        watches_check(h, &r, report);
        leases_check(h, &r, options, report);
    }
    revisions_done(&r);
    return report->count == 0 && !report->is_undecided;
}
