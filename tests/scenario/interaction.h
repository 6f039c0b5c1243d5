/* SPDX-License-Identifier: Apache-2.0
 * Scenarios of whole clusters: members, the messages between them, their storage, driven step by step. The
 * commands are listed in tests/scenario/README.md. */
#ifndef TESTS_SCENARIO_INTERACTION_H
#define TESTS_SCENARIO_INTERACTION_H

#include "tests/scenario/datadriven.h"

struct interaction;

struct interaction *interaction_new(void);
void interaction_free(struct interaction *env);
void interaction_run(void *env, const struct directive *d, struct buf *out);

/* The two arithmetic kinds: stateless, and on one tracker. */
void quorum_run(void *unused, const struct directive *d, struct buf *out);
struct confchange;
struct confchange *confchange_new(void);
void confchange_free(struct confchange *c);
void confchange_run(void *confchange, const struct directive *d, struct buf *out);

#endif
