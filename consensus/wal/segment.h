/* SPDX-License-Identifier: Apache-2.0
 * Segment: one file of the log, its name, its header, and the walk over its batches. It reads and never
 * writes.
 *
 *     | segment header, padded to 512 | batch | batch | ... | zeros, or bytes of an earlier use |
 *
 * The header repeats everything that a reader would otherwise need from the segments before it: hard state,
 * last snapshot, chain value. So any suffix of the segments can be read alone. A segment gets its name only
 * after its header is durable: a bad header is never a torn write. */
#ifndef CONSENSUS_WAL_SEGMENT_H
#define CONSENSUS_WAL_SEGMENT_H

#include "consensus/wal/record.h"

enum {
    WAL_SEGMENT_NAME_SIZE = 21, /* 16 hex digits, ".wal", NUL */
    WAL_SEGMENT_HEADER_SIZE_MAX = 64 << 10,
};

/* The log's state at one point of it. */
struct wal_state {
    uint64_t number;     /* of the next batch */
    uint64_t last_index; /* of the last entry, or of a snapshot beyond it */
    uint32_t chain;
    struct wal_hard_state hard_state;
    struct wal_snapshot snapshot; /* index 0 = there was none */
};

struct wal_segment_header {
    uint64_t sequence;      /* 1, 2, 3 ... and the file's name */
    uint64_t salt;          /* random, of the file's present use */
    uint64_t previous_end;  /* where the batches of the segment before this one end; 0 = there was none */
    struct wal_state state; /* before the first batch */
    struct slice metadata;
};

void wal_segment_name(uint64_t sequence, char ret_name[WAL_SEGMENT_NAME_SIZE]);
MUST_CHECK bool wal_segment_parse_name(const char *name, uint64_t *ret_sequence);

void wal_segment_header_encode(struct buf *b, const struct wal_segment_header *header); /* sector-sized */

/* A walk over one segment. Zeroed is not valid: begin with wal_scan_init. */
struct wal_scan {
    struct io *io;
    struct io_file *file; /* borrowed */
    uint64_t file_size;
    struct wal_segment_header header; /* its metadata is in header_bytes */
    struct buf header_bytes;
    struct buf window; /* a piece of the file */
    uint64_t window_at;
    uint64_t at;     /* of the next batch */
    uint64_t number; /* of the next batch */
    uint32_t chain;  /* before the next batch */
    uint64_t synced; /* all before it is known to be durable */
};

/* Reads and checks the header. ERR_CORRUPT with *ret_what a short text, ERR_IO. */
MUST_CHECK int wal_scan_init(struct wal_scan *s, struct io *io, struct io_file *file, const char **ret_what);
void wal_scan_done(struct wal_scan *s);
/* The records of the next batch, valid until the next call; *ret_found false where no batch checks.
 * ERR_IO. */
MUST_CHECK int wal_scan_next(struct wal_scan *s, struct slice *ret_records, bool *ret_found);
/* After the last batch that checks: searches a later one that was written when `at` was already durable.
 * *ret_at is its place. 0: there is none, so the bytes at `at` never were durable. ERR_IO. */
MUST_CHECK int wal_scan_find_proof(struct wal_scan *s, uint64_t *ret_at);
/* Bytes of the file, valid until the next call; at + size must be within the file. ERR_IO. */
MUST_CHECK int wal_scan_read(struct wal_scan *s, uint64_t at, size_t size, const uint8_t **ret_data);

#endif
