/* SPDX-License-Identifier: Apache-2.0
 * Pending linearizable reads: they wait for a majority to confirm that this leader still leads (dissertation
 * 6.4).
 *
 * Reads are numbered within a term in the order they came. A heartbeat has the number of the newest. An
 * answer to it confirms that one and all before, so many reads share a round. A read that came before the
 * leader has committed in its term waits without a number: the leader does not know yet what is committed
 * (etcd #7331). */
#ifndef CONSENSUS_RAFT_READ_ONLY_H
#define CONSENSUS_RAFT_READ_ONLY_H

#include "consensus/raft/raft.h"

#define RAFT_READS_MAX 65536 /* waiting at one leader; the host should batch long before */

struct raft_read {
    struct raft_context context;
    uint64_t from;  /* RAFT_NONE = this member */
    uint64_t index; /* the commit index when it came */
};

struct raft_read_queue {
    struct raft_read *items;
    size_t head, count, capacity;
};

struct raft_reads {
    struct raft_read_queue early; /* no commit in this term yet */
    struct raft_read_queue numbered;
    uint64_t confirmed; /* number of the last read that was answered */
};

void raft_reads_reset(struct raft_reads *r); /* new term or role: all are dropped */
void raft_reads_done(struct raft_reads *r);
bool raft_read_queue_add(struct raft_read_queue *q, const struct raft_read *read); /* false = full */
bool raft_read_queue_take(struct raft_read_queue *q, struct raft_read *ret_read);
uint64_t raft_reads_newest(const struct raft_reads *r); /* number of the newest; 0 = none waits */
/* A majority confirmed all reads up to number: takes the next such read. */
bool raft_reads_take_confirmed(struct raft_reads *r, uint64_t number, struct raft_read *ret_read);
struct raft_context raft_reads_context(uint64_t number); /* none for 0 */
uint64_t raft_reads_number(const struct raft_context *context);

#endif
