/* SPDX-License-Identifier: Apache-2.0
 * Append-only file of batches, for the memory backend that survives its process.
 *
 * Each batch is one checksummed record, which is on the disk before the append returns. So a crash leaves
 * whole batches and at most one torn batch at the end; opening drops it. A bad record before a good one is
 * corruption.
 *
 *     file    16 bytes of magic, then records
 *     record  magic 4 | CRC-32C of the next 24 bytes 4 | sequence 8 (1, 2, ...) | payload size 8 |
 *             CRC-32C of the payload 4 | number of changes 4 | payload | zeros up to a multiple of 8
 *     change  kind 1 | table 1 | zero 2 | key size 4 | value size 4 | key | value
 *
 * Integers are little-endian. All I/O goes through io.h: the simulated disk tears, loses and refuses writes.
 */
#ifndef CONSENSUS_STORE_BACKEND_FILE_H
#define CONSENSUS_STORE_BACKEND_FILE_H

#include "consensus/io.h"
#include "consensus/store/backend.h"

struct backend_file;

/* Begins a record. Its sequence is set when it is written. */
void backend_batch_begin(struct buf *batch);
void backend_batch_add(struct buf *batch, const struct backend_op *op);

/* Calls fn for each change of each whole batch; an error of fn ends it. *ret_end: the end of the last good
 * batch; less than size when a torn batch follows. Pure; any input is safe. */
MUST_CHECK int backend_file_replay(struct slice bytes, int (*fn)(void *arg, const struct backend_op *op),
                                   void *arg, size_t *ret_end, uint64_t *ret_batches);

/* Creates the file if there is none, else replays it; then call backend_file_replace before any append. */
MUST_CHECK int backend_file_open(struct io *io, const char *path,
                                 int (*fn)(void *arg, const struct backend_op *op), void *arg, char *error,
                                 size_t error_size, struct backend_file **ret_file);
bool backend_file_is_new(const struct backend_file *f); /* it was empty */
void backend_file_close(struct backend_file *f);
/* Writes and syncs the batch. An error is final: nothing more is written. */
MUST_CHECK int backend_file_append(struct backend_file *f, struct buf *batch);
/* Replaces the file's content with this one batch, atomically. */
MUST_CHECK int backend_file_replace(struct backend_file *f, struct buf *batch);
void backend_file_moved(struct backend_file *f, const char *path);
uint64_t backend_file_size(const struct backend_file *f);
/* Writes a new file with this one batch and syncs it, except its directory entry. ERR_EXISTS. */
MUST_CHECK int backend_file_write(struct io *io, const char *path, struct buf *batch);

#endif
