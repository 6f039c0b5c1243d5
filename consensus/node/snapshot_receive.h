/* SPDX-License-Identifier: Apache-2.0
 * A snapshot that comes from the leader, all or nothing: pieces go into snapshot-in.tmp on the worker for
 * snapshots. How many there are, and the digest of the whole, may be told when some have come: the sender's
 * copy grows meanwhile. When all are there and the digest holds, the file is synced and gets the name
 * snapshot-in, durably, and only then raft hears of it. One at a time. What raft takes waits there until the
 * store has become it; what it does not want is deleted.
 *
 * A part that has come stays for keep_ms, so that the sender can go on with it after a broken connection.
 * What is not in order, not whole or not true is refused, and the sender told where to begin again. */
#ifndef CONSENSUS_NODE_SNAPSHOT_RECEIVE_H
#define CONSENSUS_NODE_SNAPSHOT_RECEIVE_H

#include "consensus/io.h"
#include "consensus/node/snapshot_wire.h"
#include "consensus/peer/peer.h"

struct snapshot_receive;

struct snapshot_receive_options {
    struct io *io;
    struct peers *peers;
    const char *dir;    /* of the store */
    uint64_t member_id; /* this member */
    uint64_t size_max;  /* of a file */
    uint64_t keep_ms;   /* a part that does not grow: 60,000 */

    /* The file snapshot-in is whole and durable. True: raft took it, and snapshot_receive_done is due when
     * the file has become the store. */
    bool (*deliver)(void *arg, const struct raft_message *m);
    /* A write or sync failed for another reason than space: final. */
    void (*failed)(void *arg, int err);
    void *arg;
};

struct snapshot_receive *snapshot_receive_new(const struct snapshot_receive_options *options);
/* What is out with the worker frees itself when it comes back: the io must live until then. */
void snapshot_receive_close(struct snapshot_receive *r);

void snapshot_receive_offer(struct snapshot_receive *r, uint64_t from, const struct snapshot_offer *offer);
void snapshot_receive_piece(struct snapshot_receive *r, uint64_t from, const struct snapshot_piece *piece);
/* The file snapshot-in is no longer needed under that name: the next transfer may begin. */
void snapshot_receive_done(struct snapshot_receive *r);

/* <dir>/snapshot-in; the caller frees. */
char *snapshot_received_path(const char *dir);
/* At start, before anything else runs here: a part that an earlier process left is deleted; a whole one only
 * if the log does not wait for it. */
MUST_CHECK int snapshot_receive_clean(struct io *io, const char *dir, bool keeps_whole);

#endif
