/* SPDX-License-Identifier: Apache-2.0
 * The runner: the leader publishes what was scheduled, and moves rollouts on. Every member knows what is due
 * and when; only the leader acts, one thing at a time. Each act is a transaction that compares the
 * document's revision, so it happens once, whoever leads meanwhile (config_schedule.c, config_rollout.c).
 *
 * The leader's clock decides when. A thing that fails because the store or the cluster cannot take it now is
 * tried again after RUNNER_RETRY_MS. Loop thread only. */
#ifndef CONFIG_RUNNER_H
#define CONFIG_RUNNER_H

#include "config/name.h"

#define RUNNER_RETRY_MS 5000

struct config;
struct runner;

struct runner *runner_new(struct config *c);
void runner_free(struct runner *r); /* before the pending operations of the config center end */
/* The feed's changes of schedules and rollouts. */
void runner_begin(struct runner *r, bool is_whole);
void runner_put(struct runner *r, const struct config_name *name, struct slice text, int64_t revision);
void runner_remove(struct runner *r, const struct config_name *name);
void runner_end(struct runner *r);
void runner_turn(struct runner *r); /* in each turn of the loop, while the view is complete */

#endif
