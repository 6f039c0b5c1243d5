/* SPDX-License-Identifier: Apache-2.0
 * Export: the state of a store as one file, read in blocks. Nothing is written to the disk, and memory is
 * bounded: two blocks, a page for each level of a tree, and a copy of the side tables (leases, users,
 * members: about 50 bytes a row).
 *
 * All bytes are of the state after one log entry: the last that was applied when the export began. Records
 * are read by revision, in many short transactions. They are only appended or swept, and the sweep of a
 * compaction waits, within limits of time and growth, while an export needs the records. A slower export ends
 * with ERR_SNAPSHOT_SLOW.
 *
 * Loop thread only; the reads run on the workers, in turns of at most about two milliseconds. */
#ifndef CONSENSUS_STORE_EXPORT_H
#define CONSENSUS_STORE_EXPORT_H

#include "consensus/store/export_format.h"
#include "consensus/store/store.h"

struct store_export;

enum { EXPORT_DIGEST_SIZE = 32 };

/* Begins with the state that is applied now (commits it first), if store_export_may_start. on_ready:
 * store_export_next has something new. It is called from the loop, also by store_close and store_drop, and
 * must not call this file. */
struct store_export *store_export_new(struct store *s, const struct export_format *format,
                                      void (*on_ready)(void *arg), void *arg);
/* May be called at any time; a job at the worker frees itself. */
void store_export_close(struct store_export *x);

/* The next block, valid until the next call. Size 0: no block is ready, or all were returned. An error is
 * final: ERR_SNAPSHOT_SLOW, ERR_NOT_READY (another store replaced this one), ERR_STOPPED, ERR_IO,
 * ERR_CORRUPT. */
MUST_CHECK int store_export_next(struct store_export *x, struct slice *ret_block);
bool store_export_has_block(const struct store_export *x);
/* True: all blocks were returned. Then the SHA-256 of all blocks is known. */
bool store_export_is_done(const struct store_export *x);
void store_export_digest(const struct store_export *x, uint8_t ret_digest[EXPORT_DIGEST_SIZE]);
/* Known when there is a first block. */
uint64_t store_export_size(const struct store_export *x);
int64_t store_export_revision(const struct store_export *x);

/* False between two parts of an entry, and while a sweep that waited too long for exports catches up: an
 * export that began then would end soon. */
bool store_export_may_start(const struct store *s);

#endif
