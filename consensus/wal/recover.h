/* SPDX-License-Identifier: Apache-2.0
 * Recovery: from a folder of segments to a log that can be appended to. It checks all segments, replays them,
 * and decides what a bad end is: a batch that never became durable (cut), or a damaged one (ERR_CORRUPT).
 * Recovery may be interrupted anywhere and run again. */
#ifndef CONSENSUS_WAL_RECOVER_H
#define CONSENSUS_WAL_RECOVER_H

#include "consensus/wal/segment.h"

/* A segment file as the log remembers it. */
struct wal_segment {
    uint64_t sequence;
    uint64_t index_before; /* of the last entry before its first batch */
    uint64_t size;         /* of the file */
};

struct wal_recovered {
    struct wal_segment *segments; /* oldest first */
    size_t count;
    struct io_file *file;   /* the last one */
    uint64_t salt;          /* of the last one */
    uint64_t begin;         /* where its first batch is */
    uint64_t at;            /* where its next batch goes; all before it is durable */
    struct wal_state state; /* after the last batch */
    struct buf metadata;
};

/* The folder is locked. Files that are no segments are ignored. On success the caller owns the contents of
 * *ret. ERR_NOT_FOUND, ERR_CORRUPT, ERR_IO, or the error of a replay callback; `error` gets a sentence. */
MUST_CHECK int wal_recover(const struct wal_options *options, const struct wal_replay *replay, char *error,
                           size_t error_size, struct wal_recovered *ret);
void wal_recovered_done(struct wal_recovered *r, struct io *io);

/* The sequences of the segments in a folder, ascending: an array of uint64_t in `ret_sequences`. ERR_IO. */
MUST_CHECK int wal_list_segments(struct io *io, const char *dir, struct buf *ret_sequences);
char *wal_path(const char *dir, const char *name); /* the caller frees it */

#endif
