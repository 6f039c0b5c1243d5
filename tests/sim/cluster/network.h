/* SPDX-License-Identifier: Apache-2.0
 * The simulated network: a `struct peers` (consensus/peer/peer.h) for each process, carrying bytes.
 *
 * The network keeps this part of the contract: on one stream, from one run of a member, messages arrive
 * whole, in order, at most once. Beyond it the network has these faults:
 * - delays, and lost messages in the middle of a stream,
 * - streams that break with the messages in them, or stop and continue much later,
 * - full queues and one-way cuts,
 * - messages of a dead process that arrive after the process has restarted.
 * If the plan says so, raft's own messages may also arrive twice and out of order: raft must tolerate that.
 */
#ifndef TESTS_SIM_CLUSTER_NETWORK_H
#define TESTS_SIM_CLUSTER_NETWORK_H

#include "consensus/peer/peer.h"
#include "tests/sim/cluster/cluster.h"

struct network *network_new(struct world *w);
void network_free(struct network *n);

struct port *network_port_new(struct network *n, struct process *p);
struct peers *port_peers(struct port *port);
void network_flush(struct port *port);
void network_port_mute(struct port *port); /* nothing is sent or received any more; then network_port_end */
void network_port_end(struct port *port);  /* the process has ended: others notice */
void network_port_free(struct port *port);

/* Cuts add up: a link is open again when every cut was removed. */
void network_cut(struct network *n, unsigned from, unsigned to, bool is_cut);
bool network_is_cut(const struct network *n, unsigned from, unsigned to);
void network_clog(struct network *n, unsigned from, unsigned to, uint64_t until_ns);
void network_reset_stream(struct network *n); /* one open link, drawn */
void network_heal_all(struct network *n);

/* For impostor.c: processes that are no members. */
bool network_may_be_asked(struct process *p);
uint64_t network_peer_of(const struct process *p, uint64_t drawn); /* an id that it knows; 0 = none */
void network_ask_as_impostor(struct network *n, struct process *p, struct slice text,
                             void (*on_answer)(void *arg, struct slice answer), void *arg);
void network_say_as_impostor(struct network *n, struct process *p, uint64_t from, struct slice bytes);

struct network_counts {
    uint64_t sent, delivered, lost, duplicated, late, refused;
};
struct network_counts network_counts(const struct network *n);

#endif
