/* SPDX-License-Identifier: Apache-2.0
 * Defragmentation of a store: packs its file while the store stays in use, and returns the end of the file to
 * the disk. backend_lmdb_pack.c has the method. Loop thread only. */
#ifndef CONSENSUS_STORE_DEFRAG_H
#define CONSENSUS_STORE_DEFRAG_H

#include "consensus/store/store.h"

/* Starts a defrag; only one at a time (store_defrag_is_running). done is called from the loop, also by
 * store_close and store_drop; it must not close the store. Its results:
 * - OK: the packed file is the store's, and the old one is deleted.
 * - ERR_NO_DISK_SPACE, ERR_IO, ERR_CORRUPT: the store is as it was.
 * - ERR_CANCELED, ERR_STOPPED, ERR_NOT_READY (another store replaced this one). */
void store_defrag(struct store *s, void (*done)(void *arg, int err), void *arg);
bool store_defrag_is_running(const struct store *s);
/* Cancels because another file is about to take the name of this store's file: after this call no job that
 * renames is submitted. done is called when the new file is deleted. Does nothing when no defrag runs. */
void store_defrag_cancel(struct store *s);
/* Progress of the running defrag, or of the last one. */
struct backend_pack store_defrag_progress(const struct store *s);

#endif
