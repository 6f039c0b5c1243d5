/* SPDX-License-Identifier: Apache-2.0
 * The files of a continuous backup: their names, headers and records. Pure.
 *
 * One member writes one folder. A run is a stretch of the raft log without a gap:
 *
 *   full-RUN-INDEX-REVISION-TIME.db   a snapshot in etcd's format: the state after the entry INDEX
 *   log-RUN-SEQUENCE-PREVIOUS.log     a sealed segment: the entries after PREVIOUS
 *   log-RUN-SEQUENCE-PREVIOUS.open    the segment that is being written
 *   NAME.tmp                          not complete, ignored
 *
 * RUN has 16 hexadecimal digits: the time of its begin in milliseconds, then 16 random bits. The other numbers
 * are decimal. TIME is in milliseconds since 1970.
 *
 * A segment is a header of 128 bytes and records of 48 bytes and their data, all numbers big-endian:
 *
 *   header  0 magic, 8 version, 12 election timeout, 16 cluster, 24 member, 32 run, 40 sequence,
 *           48 index, 56 term of the entry before, 64 time, 72 SHA-256 of the segment before (0 = none),
 *           124 CRC-32C of all before
 *   record  0 magic, 4 size of the data, 8 CRC-32C of run, sequence and all that follows, 12 kind, 13 flags,
 *           16 index, 24 term, 32 revision after it, 40 time, 48 data
 *
 * The last record of a sealed segment is a seal. Its data is the SHA-256 of all bytes before it. */
#ifndef CONSENSUS_BACKUP_FORMAT_H
#define CONSENSUS_BACKUP_FORMAT_H

#include "base/buf.h"
#include "base/err.h"

enum {
    BACKUP_VERSION = 1,
    BACKUP_HEADER_SIZE = 128,
    BACKUP_RECORD_SIZE = 48,
    BACKUP_DIGEST_SIZE = 32,
    BACKUP_DATA_MAX = 64 << 20,
    BACKUP_NAME_SIZE = 96,
};

struct backup_header {
    uint32_t election_ms; /* of the member; the shortest TTL of a lease follows from it */
    uint64_t cluster_id, member_id, run, sequence;
    uint64_t index, term; /* of the entry before the first record */
    uint64_t time_ms;
    uint8_t previous[BACKUP_DIGEST_SIZE]; /* SHA-256 of the segment before, without its seal */
};

enum backup_kind {
    BACKUP_ENTRY = 1, /* an applied entry of the raft log; data: its bytes, or nothing */
    BACKUP_HASH = 2,  /* HashKV at `revision`; data: the hash (4 bytes), the compact revision (8 bytes) */
    BACKUP_SEAL = 3,  /* the end of the segment */
};

enum { BACKUP_HASH_SIZE = 12 };

struct backup_record {
    enum backup_kind kind;
    uint64_t index, term;
    int64_t revision;
    uint64_t time_ms;
    struct slice data; /* borrowed; an entry that changed nothing has none */
};

void backup_header_write(const struct backup_header *h, uint8_t ret_bytes[BACKUP_HEADER_SIZE]);
/* ERR_TRUNCATED, ERR_CORRUPT; ERR_LEVEL: a newer version has written it. */
MUST_CHECK int backup_header_read(struct slice bytes, struct backup_header *ret_header);

/* Adds a record without its checksum. */
void backup_record_add(struct buf *out, const struct backup_record *record);
/* Sets the checksums of all records of `bytes`, which are records of this segment. */
void backup_records_sum(uint8_t *bytes, size_t size, const struct backup_header *h);
/* The place of the last entry or hash of whole records. */
void backup_records_end(struct slice bytes, uint64_t *ret_index, uint64_t *ret_term);
/* The first record of bytes. h NULL: its checksum is not checked. ERR_TRUNCATED: the bytes end within it.
 * ERR_CORRUPT. */
MUST_CHECK int backup_record_read(struct slice bytes, const struct backup_header *h,
                                  struct backup_record *ret_record, size_t *ret_size);

/* --- a whole segment --------------------------------------------------------------------------------- */
struct backup_segment_end {
    struct backup_header header;
    uint64_t index, term; /* of the last entry, or of the header */
    int64_t revision;     /* after it; 0 = the segment has no record */
    uint64_t time_ms;
    uint64_t good_size;  /* bytes up to the last good record; 0 = not even the header is whole */
    uint64_t bad_offset; /* of ERR_CORRUPT */
    bool is_sealed, is_torn;
    uint8_t digest[BACKUP_DIGEST_SIZE]; /* of all bytes before the seal */
};

/* Calls fn for each entry and hash, in order; it returns an error to stop, which is returned. In an open
 * segment the bytes after the last good record may be anything but a good record: that is a torn tail, not an
 * error. ERR_CORRUPT: bad_offset says where. ERR_LEVEL. fn may be NULL. */
MUST_CHECK int backup_segment_walk(struct slice bytes, bool is_open,
                                   int (*fn)(void *arg, const struct backup_record *record), void *arg,
                                   struct backup_segment_end *ret_end);

/* --- names ------------------------------------------------------------------------------------------- */
struct backup_file {
    enum { BACKUP_FILE_FULL, BACKUP_FILE_LOG, BACKUP_FILE_OPEN } kind;
    uint64_t run;
    uint64_t sequence; /* of a segment */
    uint64_t index;    /* of a full; of the entry before a segment */
    int64_t revision;  /* of a full */
    uint64_t time_ms;  /* of a full */
    uint64_t size;     /* set by the caller */
};

void backup_file_name(const struct backup_file *f, char ret_name[BACKUP_NAME_SIZE]);
/* False: another file. */
bool backup_file_parse(const char *name, struct backup_file *ret_file);
/* Runs ascending; in a run the fulls by index, then the segments by sequence. For qsort. */
int backup_file_compare(const void *a, const void *b);

/* The time at which a run began. */
static inline uint64_t backup_run_time_ms(uint64_t run)
{
    return run >> 16;
}

#endif
