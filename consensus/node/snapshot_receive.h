/* SPDX-License-Identifier: Apache-2.0
 * Receiver of a snapshot from the leader, all or nothing.
 *
 *   1. Pieces are written to snapshot-in.tmp on the snapshot worker. Size and digest may come after the first
 *      pieces, since the sender's copy still grows.
 *   2. When all bytes are there and the digest is right, the file is synced and renamed to snapshot-in.
 *   3. When the name is durable it is delivered to raft. An accepted file stays until the store has become
 *      it. Any other is deleted.
 *
 * One transfer at a time. A received part is kept for keep_ms, so that the sender can continue after a broken
 * connection. A piece out of order, incomplete or wrong is refused, and the sender is notified where to
 * continue. Files: sizes in bytes, times in milliseconds. */
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
    uint64_t keep_ms;   /* a part without progress: 60,000 */

    /* The file snapshot-in is complete and durable. True: raft accepted it, and snapshot_receive_done follows
     * when the file has become the store. */
    bool (*deliver)(void *arg, const struct raft_message *m);
    /* A write or sync failed, for another reason than space: final. */
    void (*failed)(void *arg, int err);
    void *arg;
};

struct snapshot_receive *snapshot_receive_new(const struct snapshot_receive_options *options);
/* A job that is running frees the receiver when it ends: the io must live until then. */
void snapshot_receive_close(struct snapshot_receive *r);

void snapshot_receive_offer(struct snapshot_receive *r, uint64_t from, const struct snapshot_offer *offer);
void snapshot_receive_piece(struct snapshot_receive *r, uint64_t from, const struct snapshot_piece *piece);
/* The file snapshot-in is no longer needed under that name: the next transfer may begin. */
void snapshot_receive_done(struct snapshot_receive *r);

/* <dir>/snapshot-in; the caller frees it. */
char *snapshot_received_path(const char *dir);
/* At start, before anything else runs here: deletes a part that an earlier process left, and a complete file
 * only without keeps_whole (the log does not wait for it). ERR_IO. */
MUST_CHECK int snapshot_receive_clean(struct io *io, const char *dir, bool keeps_whole);

#endif
