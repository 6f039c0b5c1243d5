/* SPDX-License-Identifier: Apache-2.0
 * Batches of changes in one append-only file, for the memory backend that outlives its process. Every batch
 * is one checksummed record, on the disk before the append returns, so a crash leaves whole batches and at
 * most a torn last one, which opening drops. A bad record with a good one behind it is corruption.
 *
 *   file    16 bytes of magic, then records
 *   record  magic 4, CRC-32C of the next 24 bytes 4, sequence 8 (1, 2, ...), payload size 8, CRC-32C of the
 *           payload 4, number of changes 4; the payload; zeros up to 8 bytes. Integers are little-endian.
 *   change  kind 1, table 1, zero 2, key size 4, value size 4, key, value
 *
 * Everything goes through io.h: the simulated disk tears, loses and refuses. */
#ifndef CONSENSUS_STORE_BACKEND_FILE_H
#define CONSENSUS_STORE_BACKEND_FILE_H

#include "consensus/io.h"
#include "consensus/store/backend.h"

struct backend_file;

/* A record under construction. The sequence is set when it is written. */
void backend_batch_begin(struct buf *batch);
void backend_batch_add(struct buf *batch, const struct backend_op *op);

/* Calls fn for each change of each whole batch; fn's error ends it. *ret_end: where the last good batch ends;
 * less than size when a torn one follows. Pure; any bytes are survived. */
MUST_CHECK int backend_file_replay(struct slice bytes, int (*fn)(void *arg, const struct backend_op *op),
                                   void *arg, size_t *ret_end, uint64_t *ret_batches);

/* Makes the file when there is none, else replays it: then backend_file_replace is due before any append. */
MUST_CHECK int backend_file_open(struct io *io, const char *path,
                                 int (*fn)(void *arg, const struct backend_op *op), void *arg, char *error,
                                 size_t error_size, struct backend_file **ret_file);
bool backend_file_is_new(const struct backend_file *f); /* it was empty */
void backend_file_close(struct backend_file *f);
/* Written and synced, or an error that is final: nothing more is written. */
MUST_CHECK int backend_file_append(struct backend_file *f, struct buf *batch);
/* The file is from now on this one batch: a new one takes its place in one step. */
MUST_CHECK int backend_file_replace(struct backend_file *f, struct buf *batch);
void backend_file_moved(struct backend_file *f, const char *path);
uint64_t backend_file_size(const struct backend_file *f);
/* A new file of this one batch, synced but for its name. ERR_EXISTS. */
MUST_CHECK int backend_file_write(struct io *io, const char *path, struct buf *batch);

#endif
