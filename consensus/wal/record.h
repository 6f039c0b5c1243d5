/* SPDX-License-Identifier: Apache-2.0
 * The bytes of a batch: what one write and one sync carry. Pure: bytes in, values out.
 *
 *     | batch header | record | record | ... | zeros to the next 512 bytes |
 *
 * A batch is taken whole or not at all. Its header has a checksum of its own, so that no length is believed
 * before it was checked; the records are covered by a chain value: CRC-32C over every record byte the log
 * ever held, carried on from batch to batch and from segment to segment. A batch that is not the true
 * successor of the one before it does not check, whatever it holds. */
#ifndef CONSENSUS_WAL_RECORD_H
#define CONSENSUS_WAL_RECORD_H

#include "base/buf.h"
#include "base/err.h"
#include "consensus/wal/wal.h"

enum {
    WAL_SECTOR = 512, /* the unit a disk writes whole; batches begin and end at it */
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

/* One record taken apart; only the member that `kind` names is set. */
struct wal_record {
    enum wal_record_kind kind;
    struct wal_entry entry; /* borrows its data */
    struct wal_hard_state hard_state;
    struct wal_snapshot snapshot;
};

struct wal_batch {
    uint64_t salt; /* of the segment's present life: what an earlier life or a client's value holds differs */
    uint64_t number;   /* 1, 2, 3 ... over the whole log */
    uint32_t size;     /* bytes of records, padding not included */
    uint32_t previous; /* chain value before the first record */
    uint32_t chain;    /* chain value after the last record */
    uint32_t synced; /* all sectors of this segment before this one were durable when the batch was written */
};

static inline uint64_t wal_sector_up(uint64_t size)
{
    return (size + WAL_SECTOR - 1) / WAL_SECTOR * WAL_SECTOR;
}

/* Appends one record and carries the chain on over it. */
void wal_record_add_entry(struct buf *b, uint32_t *chain, const struct wal_entry *entry);
void wal_record_add_hard_state(struct buf *b, uint32_t *chain, const struct wal_hard_state *state);
void wal_record_add_snapshot(struct buf *b, uint32_t *chain, const struct wal_snapshot *snapshot);

/* Takes the first record off `rest`, which is not empty. ERR_MALFORMED. */
MUST_CHECK int wal_record_take(struct slice *rest, struct wal_record *ret_record);

void wal_batch_encode(uint8_t data[WAL_BATCH_HEADER_SIZE], const struct wal_batch *batch);
/* False: there is no batch header here. */
MUST_CHECK bool wal_batch_decode(const uint8_t data[WAL_BATCH_HEADER_SIZE], struct wal_batch *ret_batch);

#endif
