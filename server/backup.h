/* SPDX-License-Identifier: Apache-2.0
 * Continuous backup of this member (--backup-dir): its applied log entries, and now and then a snapshot.
 *
 * Nothing here can stop the member: a folder that cannot be written is tried again, and the backup says that it
 * is behind (metrics, one log line for each change, an error in Status). Memory is bounded: beyond QUEUE_MAX
 * bytes that are not durable, entries are left out, and a new run with a new snapshot begins when the folder
 * can be written again. */
#ifndef SERVER_BACKUP_H
#define SERVER_BACKUP_H

#include "consensus/kv.h"
#include "server/options.h"

struct backup;
struct uv_loop_s;

/* Before the first kv_turn. NULL without --backup-dir, which the other functions allow. */
struct backup *backup_open(struct uv_loop_s *loop, struct kv *kv, const struct options *o);
/* After kv_turn. */
void backup_turn(struct backup *b);
/* Before kv_close: writes what is queued, waits for the disk, and frees b; run the loop once more. */
void backup_close(struct backup *b);

#endif
