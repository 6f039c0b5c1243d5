/* SPDX-License-Identifier: Apache-2.0
 * Reader of one segment; see segment.h. No byte of the file is used before its checksum was verified, and no
 * length reaches beyond the file. */
#include "consensus/wal/segment.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mutant.h"

enum {
    HEADER_FIXED = 112, /* then the metadata */
    VERSION = 1,
    WINDOW = 256 << 10,
};

static const char magic[8] = {'C', 'A', 'I', 'R', 'N', 'W', 'A', 'L'};

void wal_segment_name(uint64_t sequence, char ret_name[WAL_SEGMENT_NAME_SIZE])
{
    snprintf(ret_name, WAL_SEGMENT_NAME_SIZE, "%016" PRIx64 ".wal", sequence);
}

bool wal_segment_parse_name(const char *name, uint64_t *ret_sequence)
{
    uint64_t sequence = 0;

    if (strlen(name) != WAL_SEGMENT_NAME_SIZE - 1 || strcmp(name + 16, ".wal") != 0)
        return false;
    for (int i = 0; i < 16; i++) {
        char c = name[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
            return false;
        sequence = sequence << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    *ret_sequence = sequence;
    return true;
}

void wal_segment_header_encode(struct buf *b, const struct wal_segment_header *header)
{
    const struct wal_state *s = &header->state;
    size_t size = (size_t)wal_sector_up(HEADER_FIXED + header->metadata.size);
    uint8_t *p = buf_reserve(b, size);

    assert(size <= WAL_SEGMENT_HEADER_SIZE_MAX);
    memset(p, 0, size);
    memcpy(p, magic, sizeof(magic));
    put_le32(p + 8, VERSION);
    put_le32(p + 16, (uint32_t)size);
    put_le32(p + 20, (uint32_t)header->metadata.size);
    put_le64(p + 24, header->sequence);
    put_le64(p + 32, header->salt);
    put_le64(p + 40, s->last_index);
    put_le64(p + 48, s->number);
    put_le64(p + 56, header->previous_end);
    put_le32(p + 64, s->chain);
    put_le64(p + 72, s->hard_state.term);
    put_le64(p + 80, s->hard_state.vote);
    put_le64(p + 88, s->hard_state.commit);
    put_le64(p + 96, s->snapshot.index);
    put_le64(p + 104, s->snapshot.term);
    if (header->metadata.size)
        memcpy(p + HEADER_FIXED, header->metadata.data, header->metadata.size);
    put_le32(p + 12, crc32c(0, p + 16, size - 16));
    b->size += size;
}

static void header_decode(const uint8_t *p, struct wal_segment_header *ret_header)
{
    *ret_header = (struct wal_segment_header){
        .sequence = get_le64(p + 24),
        .salt = get_le64(p + 32),
        .previous_end = get_le64(p + 56),
        .state =
            {
                .number = get_le64(p + 48),
                .last_index = get_le64(p + 40),
                .chain = get_le32(p + 64),
                .hard_state = {get_le64(p + 72), get_le64(p + 80), get_le64(p + 88)},
                .snapshot = {get_le64(p + 96), get_le64(p + 104)},
            },
        .metadata = slice_of(p + HEADER_FIXED, get_le32(p + 20)),
    };
}

/* Checks the header as a whole before any field of it is used. Its own size only says how much to check. */
static int header_read(struct wal_scan *s, const char **ret_what)
{
    const uint8_t *p;

    *ret_what = "the segment header is cut off";
    if (s->file_size < WAL_SECTOR)
        return ERR_CORRUPT;
    int err = wal_scan_read(s, 0, WAL_SECTOR, &p);
    if (err)
        return err;
    *ret_what = "this is not a log segment";
    if (memcmp(p, magic, sizeof(magic)) != 0)
        return ERR_CORRUPT;
    *ret_what = "the segment has a version this program does not know";
    if (get_le32(p + 8) != VERSION)
        return ERR_CORRUPT;
    uint32_t size = get_le32(p + 16);
    *ret_what = "the checksum of the segment header is wrong";
    if (size < WAL_SECTOR || size % WAL_SECTOR || size > WAL_SEGMENT_HEADER_SIZE_MAX || size > s->file_size)
        return ERR_CORRUPT;
    err = wal_scan_read(s, 0, size, &p);
    if (err)
        return err;
    if (get_le32(p + 12) != crc32c(0, p + 16, size - 16) || get_le32(p + 20) > size - HEADER_FIXED)
        return ERR_CORRUPT;
    buf_add(&s->header_bytes, p, size);
    header_decode(s->header_bytes.data, &s->header);
    return 0;
}

int wal_scan_init(struct wal_scan *s, struct io *io, struct io_file *file, const char **ret_what)
{
    *s = (struct wal_scan){.io = io, .file = file};
    *ret_what = "cannot be read";
    int err = io->ops->size(io, file, &s->file_size);
    if (!err)
        err = header_read(s, ret_what);
    if (err) {
        wal_scan_done(s);
        return err;
    }
    s->at = s->synced = s->header_bytes.size;
    s->number = s->header.state.number;
    s->chain = s->header.state.chain;
    return 0;
}

void wal_scan_done(struct wal_scan *s)
{
    buf_done(&s->header_bytes);
    buf_done(&s->window);
}

int wal_scan_read(struct wal_scan *s, uint64_t at, size_t size, const uint8_t **ret_data)
{
    assert(at <= s->file_size && size <= s->file_size - at);
    if (at < s->window_at || at + size > s->window_at + s->window.size) {
        uint64_t rest = s->file_size - at;
        size_t want = size > WINDOW ? size : WINDOW;
        size_t got;

        if (want > rest)
            want = (size_t)rest;
        buf_clear(&s->window);
        int err = s->io->ops->read(s->io, s->file, at, buf_reserve(&s->window, want), want, &got);
        if (err)
            return err;
        if (got < size) /* the file got shorter although we hold the lock */
            return ERR_IO;
        s->window.size = got;
        s->window_at = at;
    }
    *ret_data = s->window.data + (at - s->window_at);
    return 0;
}

/* Reads a batch header at `at`; false when it is not of this segment's present use. */
static int batch_at(struct wal_scan *s, uint64_t at, struct wal_batch *ret_batch, bool *ret_found)
{
    const uint8_t *p;

    *ret_found = false;
    if (at > s->file_size || s->file_size - at < WAL_BATCH_HEADER_SIZE)
        return 0;
    int err = wal_scan_read(s, at, WAL_BATCH_HEADER_SIZE, &p);
    if (err)
        return err;
    *ret_found = wal_batch_decode(p, ret_batch) && ret_batch->salt == s->header.salt;
    return 0;
}

int wal_scan_next(struct wal_scan *s, struct slice *ret_records, bool *ret_found)
{
    struct wal_batch batch;
    const uint8_t *p;
    bool found;

    *ret_found = false;
    int err = batch_at(s, s->at, &batch, &found);
    if (err || !found)
        return err;
    uint64_t start = s->at + WAL_BATCH_HEADER_SIZE;
    if (batch.number != s->number || batch.previous != s->chain || batch.size > s->file_size - start ||
        (uint64_t)batch.synced * WAL_SECTOR > s->at)
        return 0;
    err = wal_scan_read(s, start, batch.size, &p);
    if (err)
        return err;
    if (crc32c(batch.previous, p, batch.size) != batch.chain && !MUTANT(WAL_CHECKSUM_IGNORED))
        return 0;
    s->at = wal_sector_up(start + batch.size);
    s->number++;
    s->chain = batch.chain;
    s->synced = (uint64_t)batch.synced * WAL_SECTOR;
    *ret_records = slice_of(p, batch.size);
    *ret_found = true;
    return 0;
}

/* Only the later batch's header is read. It was written after the sync that it reports, whatever then became
 * of its records. */
int wal_scan_find_proof(struct wal_scan *s, uint64_t *ret_at)
{
    *ret_at = 0;
    for (uint64_t at = s->at + WAL_SECTOR; at < s->file_size; at += WAL_SECTOR) {
        struct wal_batch batch;
        bool found;
        int err = batch_at(s, at, &batch, &found);
        if (err)
            return err;
        if (found && batch.number > s->number && (uint64_t)batch.synced * WAL_SECTOR > s->at) {
            *ret_at = at;
            return 0;
        }
    }
    return 0;
}
