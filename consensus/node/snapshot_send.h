/* SPDX-License-Identifier: Apache-2.0
 * Snapshots to members whose entries are gone from the log. When raft asks for one, the store as it is now is
 * copied into a file (or a copy made a moment ago is shared), and the file goes over in pieces while it still
 * grows: a window of unacknowledged bytes, paced by the lane's queue and a rate, gone on with where the
 * receiver stands after anything was lost. That is why it is a file: a read transaction that is as long as a
 * slow link needs would let the store's own file grow, and a stream could not go back. Raft is told the end
 * once for each request, never from inside snapshot_send_start.
 *
 * The message that goes with the file carries the copy's own index, term and configuration: the log must go
 * on behind that, so the leader keeps it (snapshot_send_needs). The store copies on its own worker; reading
 * and digesting run on the worker for snapshots. */
#ifndef CONSENSUS_NODE_SNAPSHOT_SEND_H
#define CONSENSUS_NODE_SNAPSHOT_SEND_H

#include "consensus/io.h"
#include "consensus/node/snapshot_wire.h"
#include "consensus/peer/peer.h"

struct snapshot_send;

struct snapshot_send_options {
    struct io *io;
    struct peers *peers;
    const char *dir;      /* where copies lie: snapshot-out-*.tmp */
    uint64_t bytes_per_s; /* to one member; 0 = no limit */
    uint64_t give_up_ms;  /* without progress: 30,000 */
    uint64_t keep_ms;     /* a copy that nobody uses: 30,000 */

    /* Copies what is applied now into path, which does not exist; tells at once what that is. The file is
     * written from its beginning to its end, nothing twice: it is read meanwhile. done comes later, on the
     * loop thread. */
    void (*copy)(void *arg, const char *path, struct raft_snapshot *ret_state,
                 void (*done)(void *done_arg, int err), void *done_arg);
    /* The end of a transfer: the member has the snapshot and has given it to its raft, or not. */
    void (*report)(void *arg, uint64_t id, bool delivered);
    void *arg;
};

struct snapshot_send *snapshot_send_new(const struct snapshot_send_options *options);
/* Ends everything at once, nothing is reported. What is out with the worker frees itself when it comes back:
 * the io must live until then. */
void snapshot_send_close(struct snapshot_send *s);

/* m is raft's SNAP; log_begin: the log holds what follows this index, so an older copy is of no use. */
void snapshot_send_start(struct snapshot_send *s, const struct raft_message *m, uint64_t log_begin);
/* An answer that came from a member. */
void snapshot_send_answer(struct snapshot_send *s, uint64_t from, const struct snapshot_answer *answer);
/* The bulk lane to a member stands again. */
void snapshot_send_reachable(struct snapshot_send *s, uint64_t id);
/* No longer a member. */
void snapshot_send_forget(struct snapshot_send *s, uint64_t id);
/* No longer the leader: all transfers end, nothing is reported. */
void snapshot_send_stop(struct snapshot_send *s);
/* The log behind this index is needed for a transfer under way or just ended; UINT64_MAX = none. */
uint64_t snapshot_send_needs(const struct snapshot_send *s);
bool snapshot_send_is_busy(const struct snapshot_send *s);

/* At start, before anything else runs here: what an earlier process left is deleted, also the copies for
 * clients that older versions made (snapshot-*.tmp). */
MUST_CHECK int snapshot_send_clean(struct io *io, const char *dir);

#endif
