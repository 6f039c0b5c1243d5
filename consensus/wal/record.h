/* SPDX-License-Identifier: Apache-2.0
 * Batch format: the bytes of one write and one sync. Pure: bytes in, values out.
 *
 *     | batch header | record | record | ... | zeros to the next 512 bytes |
 *
 * A batch is accepted whole or not at all.
 *
 *   - Its header has its own checksum, so no length is used before it was checked.
 *   - A chain value covers the records: the CRC-32C over every record byte that the log ever held, continued
 *     from batch to batch and from segment to segment.
 *   - A batch that is not the true successor of the one before it does not check, whatever it holds. */
#ifndef CONSENSUS_WAL_RECORD_H
#define CONSENSUS_WAL_RECORD_H

#include "base/buf.h"
#include "base/err.h"
#include "consensus/wal/wal.h"

enum {
    WAL_SECTOR = 512, /* the unit that a disk writes whole; batches begin and end at it */
    WAL_BATCH_HEADER_SIZE = 40,
    WAL_RECORD_HEADER_SIZE = 8,
};

/* On disk: do not renumber. */
enum wal_record_kind {
    WAL_RECORD_ENTRY = 1,
    WAL_RECORD_HARD_STATE = 2,
    WAL_RECORD_SNAPSHOT = 3,
};

struct wal_snapshot {
    uint64_t index, term;
};

/* One decoded record; only the field that `kind` names is set. */
struct wal_record {
    enum wal_record_kind kind;
    struct wal_entry entry; /* borrows its data */
    struct wal_hard_state hard_state;
    struct wal_snapshot snapshot;
};

struct wal_batch {
    uint64_t salt;     /* random, of the segment's present use; an earlier use has another one */
    uint64_t number;   /* 1, 2, 3 ... over the whole log */
    uint32_t size;     /* bytes of records, without padding */
    uint32_t previous; /* chain value before the first record */
    uint32_t chain;    /* chain value after the last record */
    uint32_t synced; /* all sectors of this segment before this one were durable when the batch was written */
};

static inline uint64_t wal_sector_up(uint64_t size)
{
    return (size + WAL_SECTOR - 1) / WAL_SECTOR * WAL_SECTOR;
}

/* Appends one record and continues the chain over it. */
void wal_record_add_entry(struct buf *b, uint32_t *chain, const struct wal_entry *entry);
void wal_record_add_hard_state(struct buf *b, uint32_t *chain, const struct wal_hard_state *state);
void wal_record_add_snapshot(struct buf *b, uint32_t *chain, const struct wal_snapshot *snapshot);

/* Removes the first record from `rest`, which is not empty. ERR_MALFORMED. */
MUST_CHECK int wal_record_take(struct slice *rest, struct wal_record *ret_record);

void wal_batch_encode(uint8_t data[WAL_BATCH_HEADER_SIZE], const struct wal_batch *batch);
/* False: there is no batch header here. */
MUST_CHECK bool wal_batch_decode(const uint8_t data[WAL_BATCH_HEADER_SIZE], struct wal_batch *ret_batch);

#endif
