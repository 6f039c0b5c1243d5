/* SPDX-License-Identifier: Apache-2.0
 * Reading and writing of a backup's names, headers and records; see format.h. */
#include "consensus/backup/format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"

#define HEADER_MAGIC "CAIRNBK1"
#define RECORD_MAGIC "CREC"

enum {
    AT_VERSION = 8,
    AT_ELECTION = 12,
    AT_CLUSTER = 16,
    AT_MEMBER = 24,
    AT_RUN = 32,
    AT_SEQUENCE = 40,
    AT_INDEX = 48,
    AT_TERM = 56,
    AT_TIME = 64,
    AT_PREVIOUS = 72,
    AT_HEADER_CRC = BACKUP_HEADER_SIZE - 4,

    AT_SIZE = 4,
    AT_CRC = 8,
    AT_KIND = 12,
    AT_RECORD_INDEX = 16,
    AT_RECORD_TERM = 24,
    AT_RECORD_REVISION = 32,
    AT_RECORD_TIME = 40,
};

/* --- header and records ------------------------------------------------------------------------------ */

void backup_header_write(const struct backup_header *h, uint8_t at[BACKUP_HEADER_SIZE])
{
    memset(at, 0, BACKUP_HEADER_SIZE);
    memcpy(at, HEADER_MAGIC, 8);
    put_be32(at + AT_VERSION, BACKUP_VERSION);
    put_be32(at + AT_ELECTION, h->election_ms);
    put_be64(at + AT_CLUSTER, h->cluster_id);
    put_be64(at + AT_MEMBER, h->member_id);
    put_be64(at + AT_RUN, h->run);
    put_be64(at + AT_SEQUENCE, h->sequence);
    put_be64(at + AT_INDEX, h->index);
    put_be64(at + AT_TERM, h->term);
    put_be64(at + AT_TIME, h->time_ms);
    memcpy(at + AT_PREVIOUS, h->previous, BACKUP_DIGEST_SIZE);
    put_be32(at + AT_HEADER_CRC, crc32c(0, at, AT_HEADER_CRC));
}

int backup_header_read(struct slice bytes, struct backup_header *h)
{
    const uint8_t *at = bytes.data;
    if (bytes.size < BACKUP_HEADER_SIZE)
        return ERR_TRUNCATED;
    if (memcmp(at, HEADER_MAGIC, 8) != 0 || get_be32(at + AT_HEADER_CRC) != crc32c(0, at, AT_HEADER_CRC))
        return ERR_CORRUPT;
    if (get_be32(at + AT_VERSION) != BACKUP_VERSION)
        return ERR_LEVEL;
    h->election_ms = get_be32(at + AT_ELECTION);
    h->cluster_id = get_be64(at + AT_CLUSTER);
    h->member_id = get_be64(at + AT_MEMBER);
    h->run = get_be64(at + AT_RUN);
    h->sequence = get_be64(at + AT_SEQUENCE);
    h->index = get_be64(at + AT_INDEX);
    h->term = get_be64(at + AT_TERM);
    h->time_ms = get_be64(at + AT_TIME);
    memcpy(h->previous, at + AT_PREVIOUS, BACKUP_DIGEST_SIZE);
    return OK;
}

void backup_record_add(struct buf *out, const struct backup_record *r)
{
    uint8_t *at = buf_reserve(out, BACKUP_RECORD_SIZE + r->data.size);
    memset(at, 0, BACKUP_RECORD_SIZE);
    memcpy(at, RECORD_MAGIC, 4);
    put_be32(at + AT_SIZE, (uint32_t)r->data.size);
    at[AT_KIND] = (uint8_t)r->kind;
    put_be64(at + AT_RECORD_INDEX, r->index);
    put_be64(at + AT_RECORD_TERM, r->term);
    put_be64(at + AT_RECORD_REVISION, (uint64_t)r->revision);
    put_be64(at + AT_RECORD_TIME, r->time_ms);
    if (r->data.size)
        memcpy(at + BACKUP_RECORD_SIZE, r->data.data, r->data.size);
    out->size += BACKUP_RECORD_SIZE + r->data.size;
}

/* A record that was left over in a file of another segment is not valid in this one. */
static uint32_t record_crc(const uint8_t *at, size_t size, const struct backup_header *h)
{
    uint8_t place[16];
    put_be64(place, h->run);
    put_be64(place + 8, h->sequence);
    return crc32c(crc32c(0, place, sizeof place), at + AT_KIND, size - AT_KIND);
}

void backup_records_sum(uint8_t *at, size_t size, const struct backup_header *h)
{
    while (size) {
        size_t n = BACKUP_RECORD_SIZE + get_be32(at + AT_SIZE);
        put_be32(at + AT_CRC, record_crc(at, n, h));
        at += n;
        size -= n;
    }
}

void backup_records_end(struct slice bytes, uint64_t *ret_index, uint64_t *ret_term)
{
    const uint8_t *at = bytes.data, *end = at + bytes.size, *last = at;
    for (; at < end; at += BACKUP_RECORD_SIZE + get_be32(at + AT_SIZE))
        last = at;
    *ret_index = get_be64(last + AT_RECORD_INDEX);
    *ret_term = get_be64(last + AT_RECORD_TERM);
}

int backup_record_read(struct slice bytes, const struct backup_header *h, struct backup_record *r,
                       size_t *ret_size)
{
    const uint8_t *at = bytes.data;
    if (bytes.size < BACKUP_RECORD_SIZE)
        return ERR_TRUNCATED;
    uint32_t size = get_be32(at + AT_SIZE);
    if (memcmp(at, RECORD_MAGIC, 4) != 0 || size > BACKUP_DATA_MAX || at[AT_KIND] < BACKUP_ENTRY ||
        at[AT_KIND] > BACKUP_SEAL)
        return ERR_CORRUPT;
    if (bytes.size - BACKUP_RECORD_SIZE < size)
        return ERR_TRUNCATED;
    if (h && get_be32(at + AT_CRC) != record_crc(at, BACKUP_RECORD_SIZE + size, h))
        return ERR_CORRUPT;
    r->kind = at[AT_KIND];
    r->index = get_be64(at + AT_RECORD_INDEX);
    r->term = get_be64(at + AT_RECORD_TERM);
    r->revision = (int64_t)get_be64(at + AT_RECORD_REVISION);
    r->time_ms = get_be64(at + AT_RECORD_TIME);
    r->data = slice_of(at + BACKUP_RECORD_SIZE, size);
    *ret_size = BACKUP_RECORD_SIZE + size;
    return OK;
}

/* --- a whole segment --------------------------------------------------------------------------------- */

static void sha256_of(struct slice bytes, uint8_t ret_digest[BACKUP_DIGEST_SIZE])
{
    struct sha256 *s = sha256_new();
    sha256_add(s, bytes.data, bytes.size);
    sha256_finish(s, ret_digest);
}

static bool has_good_record(struct slice bytes, const struct backup_header *h)
{
    const uint8_t *at = bytes.data, *end = bytes.data + bytes.size;
    struct backup_record record;
    size_t size;
    while (at < end && (at = memchr(at, RECORD_MAGIC[0], (size_t)(end - at)))) {
        if (backup_record_read(slice_of(at, (size_t)(end - at)), h, &record, &size) == OK)
            return true;
        at++;
    }
    return false;
}

/* Bytes at `offset` are no good record. */
static int end_badly(struct slice bytes, size_t offset, bool is_open, struct backup_segment_end *end)
{
    end->is_torn = true;
    end->bad_offset = offset;
    struct slice rest = slice_of(bytes.data + offset, bytes.size - offset);
    return is_open && !has_good_record(rest, &end->header) ? OK : ERR_CORRUPT;
}

static bool takes_place(const struct backup_record *r, const struct backup_segment_end *end)
{
    uint64_t wanted = r->kind == BACKUP_ENTRY ? end->index + 1 : end->index;
    if (r->kind == BACKUP_HASH && r->data.size != BACKUP_HASH_SIZE)
        return false;
    return r->index == wanted && r->term >= end->term && r->revision >= 0 &&
           (r->kind != BACKUP_ENTRY || r->revision >= end->revision);
}

static bool is_right_seal(const struct backup_record *r, struct slice before, struct backup_segment_end *end)
{
    sha256_of(before, end->digest);
    return r->data.size == BACKUP_DIGEST_SIZE && memcmp(r->data.data, end->digest, BACKUP_DIGEST_SIZE) == 0;
}

int backup_segment_walk(struct slice bytes, bool is_open,
                        int (*fn)(void *arg, const struct backup_record *record), void *arg,
                        struct backup_segment_end *end)
{
    size_t offset = BACKUP_HEADER_SIZE, size;
    struct backup_record record;
    *end = (struct backup_segment_end){0};
    int err = backup_header_read(bytes, &end->header);
    if (err) {
        end->is_torn = true;
        return err == ERR_TRUNCATED && is_open ? OK : err == ERR_TRUNCATED ? ERR_CORRUPT : err;
    }
    end->index = end->header.index;
    end->term = end->header.term;
    end->good_size = offset;
    while (offset < bytes.size) {
        struct slice rest = slice_of(bytes.data + offset, bytes.size - offset);
        if (backup_record_read(rest, &end->header, &record, &size) != OK)
            return end_badly(bytes, offset, is_open, end);
        end->bad_offset = offset;
        if (record.kind == BACKUP_SEAL) {
            end->is_sealed = is_right_seal(&record, slice_of(bytes.data, offset), end);
            end->good_size = offset + size;
            return end->is_sealed && offset + size == bytes.size ? OK : ERR_CORRUPT;
        }
        if (!takes_place(&record, end))
            return ERR_CORRUPT;
        err = fn ? fn(arg, &record) : OK;
        if (err)
            return err;
        offset += size;
        end->good_size = offset;
        end->time_ms = record.time_ms;
        if (record.kind != BACKUP_ENTRY)
            continue;
        end->index = record.index;
        end->term = record.term;
        end->revision = record.revision;
    }
    end->bad_offset = offset;
    if (!is_open)
        return ERR_CORRUPT; /* its seal is missing */
    sha256_of(bytes, end->digest);
    return OK;
}

/* --- names ------------------------------------------------------------------------------------------- */

void backup_file_name(const struct backup_file *f, char ret_name[BACKUP_NAME_SIZE])
{
    if (f->kind == BACKUP_FILE_FULL)
        snprintf(ret_name, BACKUP_NAME_SIZE, "full-%016" PRIx64 "-%" PRIu64 "-%" PRId64 "-%" PRIu64 ".db",
                 f->run, f->index, f->revision, f->time_ms);
    else
        snprintf(ret_name, BACKUP_NAME_SIZE, "log-%016" PRIx64 "-%06" PRIu64 "-%" PRIu64 ".%s", f->run,
                 f->sequence, f->index, f->kind == BACKUP_FILE_OPEN ? "open" : "log");
}

bool backup_file_parse(const char *name, struct backup_file *f)
{
    char again[BACKUP_NAME_SIZE], suffix[8] = "";
    *f = (struct backup_file){0};
    if (sscanf(name, "full-%16" SCNx64 "-%20" SCNu64 "-%19" SCNd64 "-%20" SCNu64 ".db", &f->run, &f->index,
               &f->revision, &f->time_ms) == 4) {
        f->kind = BACKUP_FILE_FULL;
    } else if (sscanf(name, "log-%16" SCNx64 "-%20" SCNu64 "-%20" SCNu64 ".%7s", &f->run, &f->sequence,
                      &f->index, suffix) == 4) {
        f->kind = strcmp(suffix, "open") == 0 ? BACKUP_FILE_OPEN : BACKUP_FILE_LOG;
    } else {
        return false;
    }
    backup_file_name(f, again);
    return strcmp(again, name) == 0;
}

int backup_file_compare(const void *a, const void *b)
{
    const struct backup_file *x = a, *y = b;
    bool x_is_log = x->kind != BACKUP_FILE_FULL, y_is_log = y->kind != BACKUP_FILE_FULL;
    if (x->run != y->run)
        return x->run < y->run ? -1 : 1;
    if (x_is_log != y_is_log)
        return x_is_log ? 1 : -1;
    if (x->sequence != y->sequence)
        return x->sequence < y->sequence ? -1 : 1;
    if (x->index != y->index)
        return x->index < y->index ? -1 : 1;
    return (x->kind > y->kind) - (x->kind < y->kind);
}
