/* SPDX-License-Identifier: Apache-2.0
 * Installation of a received snapshot as the store, in steps between which a crash may fall:
 *
 *   step                                                           | where
 *   ---------------------------------------------------------------+--------------------------------
 *   1. the file is complete and durable, its name is snapshot-in   | snapshot_receive.c
 *   2. the log is cut after the snapshot's index, durably          | node.c, one WAL batch
 *   3. this member's own rows are written into the file, it is     | here, on the store worker
 *      opened as a store and checked, renamed over the old store,  |
 *      and the folder is synced                                    |
 *   4. the new store replaces the old one, the after-append        | kv/snapshot_transfer.c, node.c
 *      messages leave                                              |
 *
 * After a crash between 1 and 2 the next start deletes the file. After a crash between 2 and 3 it does step
 * 3. The log's mark tells the two apart. A log that was cut for a snapshot whose file is missing is refused:
 * the state cannot be restored. */
#ifndef CONSENSUS_NODE_SNAPSHOT_INSTALL_H
#define CONSENSUS_NODE_SNAPSHOT_INSTALL_H

#include "consensus/raft/message.h"
#include "consensus/store/store.h"

/* Key of the META row with the store's owner: cluster id and member id, 8 bytes big-endian each. The log's
 * metadata is the same. */
#define SNAPSHOT_IDENTITY_KEY  "identity"
#define SNAPSHOT_IDENTITY_SIZE 16

struct snapshot_install_options {
    struct io *io;
    const char *dir; /* folder of the store and of snapshot-in */
    /* NULL = LMDB */
    int (*backend_open)(struct io *io, const char *path, uint64_t map_size, char *error, size_t error_size,
                        struct backend **ret_backend);
    uint64_t map_size;
    uint8_t identity[SNAPSHOT_IDENTITY_SIZE]; /* of this member: the file has its sender's */
    struct store_options store;               /* except its backend */
};

struct snapshot_install;

/* Step 3 on the store worker; the old store goes on serving. The callback comes on the loop thread with the
 * new store, on which nothing was called yet; the caller owns it. Or it comes with a final error and one
 * sentence. */
struct snapshot_install *
snapshot_install_start(const struct snapshot_install_options *options, const struct raft_snapshot *snapshot,
                       void (*done)(void *arg, int err, const char *error, struct store *store), void *arg);
/* done does not come; the new store is closed. */
void snapshot_install_cancel(struct snapshot_install *i);

/* Recovery at start, before the store is opened: finishes an interrupted installation, or deletes a file for
 * which the log does not wait. It blocks. identity and store of the options are not used: the log names the
 * owner. ERR_CORRUPT, ERR_IO, with one sentence in error. */
MUST_CHECK int snapshot_install_recover(const struct snapshot_install_options *options, const char *wal_dir,
                                        char *error, size_t error_size);

#endif
