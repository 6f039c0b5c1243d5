/* SPDX-License-Identifier: Apache-2.0
 * Read-back of entries while the log is in use: a job for a worker. It opens the segments by name, reads and
 * checks them, and writes nothing. The owner requests only entries that are durable and not released.
 *
 * The log on disk may hold an index several times, when a new leader overwrote it. The term tells the entries
 * apart: two entries of the same index and term are the same. */
#ifndef CONSENSUS_WAL_READING_H
#define CONSENSUS_WAL_READING_H

#include "consensus/wal/segment.h"
#include "consensus/wal/wal.h"

/* A batch to begin at. All entries below next_index that are not overwritten later are before it. */
struct wal_place {
    uint64_t sequence; /* of the segment; 0 = none */
    uint64_t at;       /* of the batch in it; 0 = the first one */
    uint64_t number;
    uint32_t chain;
    uint64_t next_index;
};

struct wal_reading {
    struct worker_job job;
    struct io *io;
    const char *dir;
    /* The wanted entries. */
    struct wal_range range;
    struct wal_place place; /* where reading begins; afterwards where the search for the next entry begins */
    uint64_t sequence_last; /* of the newest segment that has a name */
    /* The result: contiguous from range.from on. */
    int err;            /* ERR_NOT_FOUND, ERR_CORRUPT, ERR_IO: there is no result */
    struct buf entries; /* struct wal_entry, data unset until wal_reading_finish */
    struct buf bytes;   /* the payloads, one after the other */
};

void wal_reading_run(struct wal_reading *r); /* on a worker */
/* The entries, valid until the buffers are used again. */
const struct wal_entry *wal_reading_finish(struct wal_reading *r, size_t *ret_count);
void wal_reading_done(struct wal_reading *r);

#endif
