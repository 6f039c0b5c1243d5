/* SPDX-License-Identifier: Apache-2.0
 * Somebody who looks at members without changing keys: status, member and lease lists, times to live, hashes,
 * snapshots, alarms. Not in the history; what can be judged at once is judged here. */
#ifndef TESTS_SIM_CLUSTER_INSPECTOR_H
#define TESTS_SIM_CLUSTER_INSPECTOR_H

#include "tests/sim/cluster/cluster.h"

struct inspector;

struct inspector *inspector_new(struct world *w);
void inspector_start(struct inspector *i);
void inspector_stop(struct inspector *i);
void inspector_free(struct inspector *i); /* after all processes have ended */

#endif
