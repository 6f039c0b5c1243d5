/* SPDX-License-Identifier: Apache-2.0
 * The terms of a failpoint in gofail's language: parsing and evaluation. Pure: randomness is an argument,
 * and the caller performs the action.
 *
 *     terms = term { "->" term }          the first term that still allows it acts
 *     term  = { count "*" | percent "%" } action [ "(" value ")" ]
 *     action = panic, sleep, return, off, print; value: a number, "text", true or false, or nothing */
#ifndef BASE_FAILPOINT_TERMS_H
#define BASE_FAILPOINT_TERMS_H

#include "base/buf.h"
#include "base/err.h"

enum failpoint_action {
    FAILPOINT_NOTHING, /* no term allows it, or "off" */
    FAILPOINT_PANIC,
    FAILPOINT_SLEEP,
    FAILPOINT_RETURN,
    FAILPOINT_PRINT,
};

struct failpoint_step {
    enum failpoint_action action;
    uint64_t sleep_ms;
};

struct failpoint_terms;

MUST_CHECK int failpoint_terms_new(struct slice text, struct failpoint_terms **ret_terms); /* ERR_MALFORMED */
void failpoint_terms_free(struct failpoint_terms *t);
/* Evaluates the terms for one execution and decrements counts. `chance` in [0, 1). */
struct failpoint_step failpoint_terms_pass(struct failpoint_terms *t, double chance);
struct slice failpoint_terms_text(const struct failpoint_terms *t);
uint64_t failpoint_terms_count(const struct failpoint_terms *t); /* executions at which a term acted */

#endif
