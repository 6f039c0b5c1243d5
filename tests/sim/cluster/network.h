/* SPDX-License-Identifier: Apache-2.0
 * The simulated network: a `struct peers` (consensus/peer/peer.h) for each process, carrying bytes.
 *
 * What it keeps of the contract: on one lane, from one run of a member, messages come whole, in order, at
 * most once. What it does beyond: delays, lost messages in the middle of a lane, lanes that break with what
 * is in them, lanes that stand still and go on much later, full queues, one-way cuts, messages of a dead
 * process that arrive after it is back. Raft's own messages may also come twice and out of order, when the
 * plan says so: raft must bear that. */
#ifndef TESTS_SIM_CLUSTER_NETWORK_H
#define TESTS_SIM_CLUSTER_NETWORK_H

#include "consensus/peer/peer.h"
#include "tests/sim/cluster/cluster.h"

struct network *network_new(struct world *w);
void network_free(struct network *n);

struct port *network_port_new(struct network *n, struct process *p);
struct peers *port_peers(struct port *port);
void network_flush(struct port *port);
void network_port_mute(struct port *port); /* nothing goes out or comes in any more; then network_port_end */
void network_port_end(struct port *port);  /* the process is gone: others notice */
void network_port_free(struct port *port);

/* Cuts add up: a link is open again when every cut was taken back. */
void network_cut(struct network *n, unsigned from, unsigned to, bool is_cut);
bool network_is_cut(const struct network *n, unsigned from, unsigned to);
void network_clog(struct network *n, unsigned from, unsigned to, uint64_t until_ns);
void network_reset_stream(struct network *n); /* one that stands, drawn */
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
