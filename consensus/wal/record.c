/* SPDX-License-Identifier: Apache-2.0
 * Encoding and decoding of batches and records; README.md has the format byte by byte. */
#include "consensus/wal/record.h"

#include <assert.h>

#include "base/hash.h"

static const uint32_t batch_magic = 0x48544257; /* "WBTH" */

/* Writes the record's header. The caller has reserved room for it and `size` bytes more. */
static uint8_t *wal_record_begin(uint8_t *p, enum wal_record_kind kind, uint8_t type, size_t size)
{
    assert(size <= UINT32_MAX);
    p[0] = (uint8_t)kind;
    p[1] = type;
    p[2] = p[3] = 0;
    put_le32(p + 4, (uint32_t)size);
    return p + WAL_RECORD_HEADER_SIZE;
}

static void wal_record_finish(struct buf *b, uint32_t *chain, const uint8_t *start, size_t size)
{
    *chain = crc32c(*chain, start, WAL_RECORD_HEADER_SIZE + size);
    b->size += WAL_RECORD_HEADER_SIZE + size;
}

void wal_record_add_entry(struct buf *b, uint32_t *chain, const struct wal_entry *entry)
{
    size_t size = 16 + entry->data.size;
    uint8_t *start = buf_reserve(b, WAL_RECORD_HEADER_SIZE + size);
    uint8_t *p = wal_record_begin(start, WAL_RECORD_ENTRY, entry->type, size);

    put_le64(p, entry->index);
    put_le64(p + 8, entry->term);
    if (entry->data.size)
        memcpy(p + 16, entry->data.data, entry->data.size);
    wal_record_finish(b, chain, start, size);
}

void wal_record_add_hard_state(struct buf *b, uint32_t *chain, const struct wal_hard_state *state)
{
    uint8_t *start = buf_reserve(b, WAL_RECORD_HEADER_SIZE + 24);
    uint8_t *p = wal_record_begin(start, WAL_RECORD_HARD_STATE, 0, 24);

    put_le64(p, state->term);
    put_le64(p + 8, state->vote);
    put_le64(p + 16, state->commit);
    wal_record_finish(b, chain, start, 24);
}

void wal_record_add_snapshot(struct buf *b, uint32_t *chain, const struct wal_snapshot *snapshot)
{
    uint8_t *start = buf_reserve(b, WAL_RECORD_HEADER_SIZE + 16);
    uint8_t *p = wal_record_begin(start, WAL_RECORD_SNAPSHOT, 0, 16);

    put_le64(p, snapshot->index);
    put_le64(p + 8, snapshot->term);
    wal_record_finish(b, chain, start, 16);
}

int wal_record_take(struct slice *rest, struct wal_record *ret_record)
{
    if (rest->size < WAL_RECORD_HEADER_SIZE)
        return ERR_MALFORMED;
    const uint8_t *p = rest->data + WAL_RECORD_HEADER_SIZE;
    size_t size = get_le32(rest->data + 4);
    if (size > rest->size - WAL_RECORD_HEADER_SIZE)
        return ERR_MALFORMED;

    struct wal_record r = {.kind = (enum wal_record_kind)rest->data[0]};
    switch (r.kind) {
    case WAL_RECORD_ENTRY:
        if (size < 16)
            return ERR_MALFORMED;
        r.entry = (struct wal_entry){.index = get_le64(p), .term = get_le64(p + 8), .type = rest->data[1]};
        r.entry.data = slice_of(p + 16, size - 16);
        break;
    case WAL_RECORD_HARD_STATE:
        if (size != 24)
            return ERR_MALFORMED;
        r.hard_state = (struct wal_hard_state){get_le64(p), get_le64(p + 8), get_le64(p + 16)};
        break;
    case WAL_RECORD_SNAPSHOT:
        if (size != 16)
            return ERR_MALFORMED;
        r.snapshot = (struct wal_snapshot){get_le64(p), get_le64(p + 8)};
        break;
    default:
        return ERR_MALFORMED;
    }
    *rest = slice_of(p + size, rest->size - WAL_RECORD_HEADER_SIZE - size);
    *ret_record = r;
    return 0;
}

void wal_batch_encode(uint8_t data[WAL_BATCH_HEADER_SIZE], const struct wal_batch *batch)
{
    put_le32(data, batch_magic);
    put_le64(data + 8, batch->salt);
    put_le64(data + 16, batch->number);
    put_le32(data + 24, batch->size);
    put_le32(data + 28, batch->previous);
    put_le32(data + 32, batch->chain);
    put_le32(data + 36, batch->synced);
    put_le32(data + 4, crc32c(0, data + 8, WAL_BATCH_HEADER_SIZE - 8));
}

bool wal_batch_decode(const uint8_t data[WAL_BATCH_HEADER_SIZE], struct wal_batch *ret_batch)
{
    if (get_le32(data) != batch_magic || get_le32(data + 4) != crc32c(0, data + 8, WAL_BATCH_HEADER_SIZE - 8))
        return false;
    *ret_batch = (struct wal_batch){
        .salt = get_le64(data + 8),
        .number = get_le64(data + 16),
        .size = get_le32(data + 24),
        .previous = get_le32(data + 28),
        .chain = get_le32(data + 32),
        .synced = get_le32(data + 36),
    };
    return true;
}
