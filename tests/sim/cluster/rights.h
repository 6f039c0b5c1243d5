/* SPDX-License-Identifier: Apache-2.0
 * Changes of users and roles, drawn. Auth stays off, so that nobody else is refused anything: what is tried
 * is that every member holds the same users, roles and auth revision after the same entry, also after
 * restarts and snapshots. */
#ifndef TESTS_SIM_CLUSTER_RIGHTS_H
#define TESTS_SIM_CLUSTER_RIGHTS_H

#include "base/mem.h"
#include "consensus/kv/kv_impl.h"
#include "tests/sim/cluster/world.h"

/* Asks one of them; what it needs is in the arena. r->done says how it ended: refusals are answers, too. */
void rights_ask(struct world *w, struct arena *a, struct kv *kv, struct kv_request *r);
/* Of all that the log has said of users and roles. */
uint64_t rights_hash(const struct auth *auth);

#endif
