/* SPDX-License-Identifier: Apache-2.0
 * Impostors: processes without a proof that try to speak as members. None may ever get in. */
#ifndef TESTS_SIM_CLUSTER_IMPOSTOR_H
#define TESTS_SIM_CLUSTER_IMPOSTOR_H

#include "tests/sim/cluster/world.h"

struct impostor;

struct impostor *impostor_new(struct world *w);
void impostor_start(struct impostor *i);
void impostor_free(struct impostor *i); /* after the network */

#endif
