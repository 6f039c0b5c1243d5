/* SPDX-License-Identifier: Apache-2.0
 * The received file becomes the store, in steps that a crash may fall between:
 *
 *   1. the file lies whole and durable under the name snapshot-in         (snapshot_receive.c)
 *   2. the log is cut behind the snapshot's index, durably                (node.c, one WAL batch)
 *   3. the member's own rows are written into the file, it is opened as a store and checked,
 *      renamed over the old store, and the folder synced                  (here, on the store worker)
 *   4. the new store takes the place of the old one, promises are released (kv/snapshot_transfer.c)
 *
 * After step 1 the next start deletes the file, after step 2 it does step 3: the log's mark tells them apart.
 * A log that was cut for a snapshot that is nowhere is refused: nothing can be made of it. */
#ifndef CONSENSUS_NODE_SNAPSHOT_INSTALL_H
#define CONSENSUS_NODE_SNAPSHOT_INSTALL_H

#include "consensus/raft/message.h"
#include "consensus/store/store.h"

/* The row of the META table that says whose store it is: cluster id, member id, 8 bytes big-endian each. The
 * log's metadata is the same. */
#define SNAPSHOT_IDENTITY_KEY  "identity"
#define SNAPSHOT_IDENTITY_SIZE 16

struct snapshot_install_options {
    struct io *io;
    const char *dir; /* where store and snapshot-in lie */
    /* NULL = LMDB */
    int (*backend_open)(struct io *io, const char *path, uint64_t map_size, char *error, size_t error_size,
                        struct backend **ret_backend);
    uint64_t map_size;
    uint8_t identity[SNAPSHOT_IDENTITY_SIZE]; /* of this member: the file bears its sender's */
    struct store_options store;               /* but its backend */
};

struct snapshot_install;

/* Step 3 on the store worker, while the old store goes on serving. done comes on the loop thread with the new
 * store, on which nothing was called yet, or with an error that is final, and one sentence. */
struct snapshot_install *
snapshot_install_start(const struct snapshot_install_options *options, const struct raft_snapshot *snapshot,
                       void (*done)(void *arg, int err, const char *error, struct store *store), void *arg);
/* done will not come; the new store closes itself. */
void snapshot_install_cancel(struct snapshot_install *i);

/* At start, before the store is opened: finishes what a crash interrupted, or deletes what nobody waits for.
 * Blocking. identity and store of the options are not used: the log says whose it is. ERR_CORRUPT, ERR_IO
 * with one sentence. */
MUST_CHECK int snapshot_install_recover(const struct snapshot_install_options *options, const char *wal_dir,
                                        char *error, size_t error_size);

#endif
