/* SPDX-License-Identifier: Apache-2.0
 * Writer of a log in etcd's WAL format, for tools that read that: one file, the records in our order. Only
 * for a log at rest: the file is not synced and cannot be appended to. */
#ifndef CONSENSUS_TOOLS_ETCD_WAL_H
#define CONSENSUS_TOOLS_ETCD_WAL_H

#include "consensus/wal/segment.h"

struct etcd_wal;

/* Creates the folder if it is absent. ERR_EXISTS when there is a log in it; ERR_IO, ERR_NO_DISK_SPACE. */
MUST_CHECK int etcd_wal_create(const char *dir, struct etcd_wal **ret_wal);
void etcd_wal_begin(struct etcd_wal *w, const struct wal_segment_header *header); /* a segment of ours */
void etcd_wal_add(struct etcd_wal *w, const struct wal_record *record);
/* Closes and frees. Returns the first error of any write. */
MUST_CHECK int etcd_wal_finish(struct etcd_wal *w);

#endif
