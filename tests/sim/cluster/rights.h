/* SPDX-License-Identifier: Apache-2.0
 * Random changes of users and roles. Auth stays off, so that no other request is refused. The check is that
 * every member holds the same users, roles and auth revision after the same entry, also after restarts and
 * snapshots. */
#ifndef TESTS_SIM_CLUSTER_RIGHTS_H
#define TESTS_SIM_CLUSTER_RIGHTS_H

#include "base/mem.h"
#include "consensus/kv/kv_impl.h"
#include "tests/sim/cluster/world.h"

/* Sends one of them; its data are in the arena. r->done says how it ended: a refusal is an answer, too. */
void rights_ask(struct world *w, struct arena *a, struct kv *kv, struct kv_request *r);
/* Of all entries of the log about users and roles. */
uint64_t rights_hash(const struct auth *auth);

#endif
