/* SPDX-License-Identifier: Apache-2.0
 * Defragmenting a store: its file is packed while the store goes on, and the end of the file is given back to
 * the disk. See backend_lmdb_pack.c for how. Loop thread only. */
#ifndef CONSENSUS_STORE_DEFRAG_H
#define CONSENSUS_STORE_DEFRAG_H

#include "consensus/store/store.h"

/* One at a time: not while store_defrag_is_running. done comes from the loop, also from store_close and
 * store_drop; the store must not be closed in it. 0: the packed file is the store's and the old one is gone.
 * ERR_NO_DISK_SPACE, ERR_IO, ERR_CORRUPT: the store is as it was. ERR_CANCELED, ERR_STOPPED,
 * ERR_NOT_READY (another store took this one's place). */
void store_defrag(struct store *s, void (*done)(void *arg, int err), void *arg);
bool store_defrag_is_running(const struct store *s);
/* Another file is about to take the name of this store's: after this call nothing is submitted that renames.
 * done comes when what was made is deleted. Nothing when none is running. */
void store_defrag_cancel(struct store *s);
/* Of the one that is running, or of the last one. */
struct backend_pack store_defrag_progress(const struct store *s);

#endif
