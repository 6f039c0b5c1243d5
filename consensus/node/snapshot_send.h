/* SPDX-License-Identifier: Apache-2.0
 * Sender of snapshots to members whose entries are no longer in the log.
 *
 *   1. raft needs a snapshot for a member: the store is copied into a file, or a recent copy is shared.
 *   2. The file goes over in pieces while it still grows: a window of unacknowledged bytes, limited by the
 *      stream's queue and by a rate. After a loss it continues where the receiver stands.
 *   3. The outcome is reported to raft once for each request, never from inside snapshot_send_start.
 *
 * It is a file for two reasons. A read transaction as long as a slow link needs would let the store's own
 * file grow. A stream out of the store could not go back after a loss.
 *
 * raft's message that goes with the file has the copy's own index, term and configuration. The log must go on
 * after that index, so the leader keeps it (snapshot_send_needs). The store copies on its own worker. Reading
 * and digesting run on the snapshot worker. */
#ifndef CONSENSUS_NODE_SNAPSHOT_SEND_H
#define CONSENSUS_NODE_SNAPSHOT_SEND_H

#include "consensus/io.h"
#include "consensus/node/snapshot_wire.h"
#include "consensus/peer/peer.h"

struct snapshot_send;

struct snapshot_send_options {
    struct io *io;
    struct peers *peers;
    const char *dir;      /* folder of the copies, snapshot-out-*.tmp */
    uint64_t bytes_per_s; /* to one member; 0 = no limit */
    uint64_t give_up_ms;  /* without progress: 30,000 */
    uint64_t keep_ms;     /* a copy without users: 60,000 */

    /* Copies the applied state into path, which does not exist, and sets *ret_state at once. The file is read
     * meanwhile, so it is written from beginning to end, and no byte twice. done comes later, on the loop
     * thread. */
    void (*copy)(void *arg, const char *path, struct raft_snapshot *ret_state,
                 void (*done)(void *done_arg, int err), void *done_arg);
    /* The end of a transfer. delivered: the member has the snapshot and its raft has it. */
    void (*report)(void *arg, uint64_t id, bool delivered);
    void *arg;
};

struct snapshot_send *snapshot_send_new(const struct snapshot_send_options *options);
/* Ends all transfers at once, without reports. Running jobs free the sender when they end: the io must live
 * until then. */
void snapshot_send_close(struct snapshot_send *s);

/* m is raft's SNAP. log_begin: the log holds the entries after this index, so an older copy is useless. A
 * transfer to the same member that is under way is replaced. */
void snapshot_send_start(struct snapshot_send *s, const struct raft_message *m, uint64_t log_begin);
/* An answer that came from a member. */
void snapshot_send_answer(struct snapshot_send *s, uint64_t from, const struct snapshot_answer *answer);
/* The bulk stream to a member is connected again. */
void snapshot_send_reachable(struct snapshot_send *s, uint64_t id);
/* It is no longer a member: its transfer ends without a report. */
void snapshot_send_forget(struct snapshot_send *s, uint64_t id);
/* This member no longer leads: all transfers end without a report. */
void snapshot_send_stop(struct snapshot_send *s);
/* The log after this index is needed for a transfer under way or just ended; UINT64_MAX = none. */
uint64_t snapshot_send_needs(const struct snapshot_send *s);
bool snapshot_send_is_busy(const struct snapshot_send *s);

/* At start, before anything else runs here: deletes the copies that an earlier process left. Also those for
 * clients that older versions made (snapshot-*.tmp). ERR_IO. */
MUST_CHECK int snapshot_send_clean(struct io *io, const char *dir);

#endif
