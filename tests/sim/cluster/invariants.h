/* SPDX-License-Identifier: Apache-2.0
 * Invariants that are checked after every event, from inside (raft's own state, the store) and from outside
 * (the messages that leave a process). The checks are incremental: an event costs what it changed.
 *
 * Each machine has a shadow: everything that its member has shown and promised so far. The shadow survives
 * the process, so that a start can be judged: nothing that relied on a sync may be lost. */
#ifndef TESTS_SIM_CLUSTER_INVARIANTS_H
#define TESTS_SIM_CLUSTER_INVARIANTS_H

#include "consensus/peer/peer.h"
#include "consensus/raft/raft.h"
#include "consensus/raft/trace.h"
#include "consensus/store/store.h"
#include "tests/sim/cluster/cluster.h"

struct invariants *invariants_new(struct world *w);
void invariants_free(struct invariants *v);

/* From cluster.c */
void invariants_started(struct process *p);
void invariants_wiped(struct machine *m);
void invariants_check(struct process *p); /* after each turn */
/* From network.c: a message that the process has sent. */
void invariants_sent(struct process *p, uint64_t to, enum peer_stream stream, struct slice bytes);

/* From hooks.c: inside production code. */
void invariants_recovered(struct process *p, const struct raft_initial *initial);
void invariants_applies(struct process *p, const struct raft_entry *entry); /* is about to */
void invariants_applied(struct process *p, const struct raft_entry *entry, int64_t revision_before);
void invariants_changed(struct process *p, const struct store_change *change);
void invariants_trace(void *arg, const struct raft_trace *event);

/* The configuration that was applied last by anyone; false: none was. */
bool invariants_config(const struct invariants *v, struct raft_conf_state *ret_config);
/* At the end, when all of the core have applied the same entries: their stores are equal. */
void invariants_compare(struct world *w, const bool *is_in_core);

uint64_t invariants_committed(const struct invariants *v); /* the highest index known as committed */
uint64_t invariants_leader_count(const struct invariants *v);

#endif
