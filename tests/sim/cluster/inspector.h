/* SPDX-License-Identifier: Apache-2.0
 * An inspector that reads members without changing keys: status, member and lease lists, times to live,
 * hashes, snapshots, alarms. Its requests are not in the history. The inspector judges here what can be
 * judged at once. */
#ifndef TESTS_SIM_CLUSTER_INSPECTOR_H
#define TESTS_SIM_CLUSTER_INSPECTOR_H

#include "tests/sim/cluster/cluster.h"

struct inspector;

struct inspector *inspector_new(struct world *w);
void inspector_start(struct inspector *i);
void inspector_stop(struct inspector *i);
void inspector_free(struct inspector *i); /* after all processes have ended */

#endif
