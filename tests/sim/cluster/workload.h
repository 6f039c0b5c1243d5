/* SPDX-License-Identifier: Apache-2.0
 * Clients that call members through kv.h as the front ends do, wait, give up and go to another member. One
 * history holds all their requests and responses, and the checkers of tests/check judge it at the end. */
#ifndef TESTS_SIM_CLUSTER_WORKLOAD_H
#define TESTS_SIM_CLUSTER_WORKLOAD_H

#include "consensus/store/store.h"
#include "tests/check/check.h"
#include "tests/sim/cluster/cluster.h"

struct workload *workload_new(struct world *w);
void workload_free(struct workload *l);
void workload_start(struct workload *l);
/* From now on only members of the core get requests, and the prober lets a lease expire. */
void workload_keep_to(struct workload *l, const bool *is_in_core);
/* No new requests; pending ones end or are given up. False: some are still pending. */
bool workload_drain(struct workload *l);
/* Watchers that are with a member of the core have had time to receive everything up to revision; 0 = not so.
 */
void workload_stop(struct workload *l, int64_t complete_to);

/* Results that the core has shown since workload_keep_to. */
struct workload_progress {
    bool has_written, lease_has_expired, watchers_are_level;
    bool has_read[MACHINES_MAX]; /* linearizably, by members */
};
struct workload_progress workload_progress(const struct workload *l);
void workload_print(const struct workload *l); /* which watchers lag */

/* From cluster.c */
void workload_flush(struct process *p); /* end of a turn: the responses that watchers of this member get */
void workload_process_ended(struct process *p);
/* From invariants.c: a revision that no member had before. */
void workload_committed(struct world *w, const struct store_change *change, int64_t ended_lease);

struct workload_counts {
    uint64_t acknowledged, failed, unknown, events;
};
struct workload_counts workload_counts(const struct workload *l);
int64_t workload_revision(const struct workload *l); /* the last one that was committed */
struct history *workload_history(struct workload *l);
/* True if the findings of the checkers count as a violation; then it is reported. */
void workload_judge(struct world *w);

/* watchers.c */
struct watchers;
struct watchers *watchers_new(struct world *w, struct history *h);
void watchers_free(struct watchers *t);
void watchers_start(struct watchers *t);
void watchers_keep_to(struct watchers *t, const bool *is_in_core);
void watchers_stop(struct watchers *t, int64_t complete_to);
void watchers_flush(struct watchers *t, struct process *p);
void watchers_process_ended(struct watchers *t, struct process *p);
uint64_t watchers_events(const struct watchers *t);
/* All have a stream and have received everything up to revision. */
bool watchers_are_level(const struct watchers *t, int64_t revision);
void watchers_print(const struct watchers *t, int64_t revision); /* those that are not */

#endif
