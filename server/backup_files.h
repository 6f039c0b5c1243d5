/* SPDX-License-Identifier: Apache-2.0
 * The files of a continuous backup, written: blocking, on the worker of backup.c. consensus/backup/format.h has
 * the formats. An object store would take the place of this file.
 *
 * After an error of a write or sync the segment is opened anew at the next call, and cut to its synced size:
 * the caller gives the records after it again. */
#ifndef SERVER_BACKUP_FILES_H
#define SERVER_BACKUP_FILES_H

#include "consensus/backup/format.h"

struct backup_files;

struct backup_files_options {
    const char *dir;    /* of this member; created 0700, with its parents */
    const char *marker; /* a file in the member's data folder: the run that goes on there */
    uint64_t cluster_id, member_id;
    uint32_t election_ms;
    uint64_t segment_bytes, segment_ms; /* a segment is sealed beyond one of them */
    bool has_sync;                      /* false: --unsafe-no-fsync */
};

struct backup_files *backup_files_new(const struct backup_files_options *options);
void backup_files_free(struct backup_files *f);

/* The last run, if it can go on: it is this data folder's, and has the entry from_index, after which all are
 * known. Of those after applied_index it has the checksums: they may be applied again. */
struct backup_tail {
    bool can_continue;
    uint64_t run, index, term; /* of its last entry */
    int64_t revision;
    uint64_t time_ms, full_ms; /* full_ms: of the last full of the run; 0 = none */
    struct backup_tail_entry {
        uint64_t term;
        uint32_t crc; /* CRC-32C of its data */
    } * list;         /* of the last `count` entries */
    size_t count;
};

/* Makes and locks the folder, deletes what is incomplete, and finds the last run; until it has returned OK,
 * nothing else may be called. ERR_EXISTS: another process writes here. */
MUST_CHECK int backup_files_open(struct backup_files *f, uint64_t from_index, uint64_t applied_index,
                                 struct backup_tail *ret_tail);
/* Begins a run whose first entry is index + 1. May be called again after an error. */
MUST_CHECK int backup_files_run(struct backup_files *f, uint64_t run, uint64_t index, uint64_t now_ms);
/* Appends whole records, and sets their checksums. */
MUST_CHECK int backup_files_append(struct backup_files *f, uint8_t *bytes, size_t size, uint64_t now_ms);
MUST_CHECK int backup_files_sync(struct backup_files *f);
/* Grows whenever everything that was appended before is durable. */
uint64_t backup_files_epoch(const struct backup_files *f);

/* A snapshot: its bytes in order; after an error it is given up. */
MUST_CHECK int backup_files_full_add(struct backup_files *f, struct slice bytes);
MUST_CHECK int backup_files_full_end(struct backup_files *f, const uint8_t digest[BACKUP_DIGEST_SIZE],
                                     const struct backup_file *file);
void backup_files_full_abandon(struct backup_files *f);

/* Removes what only times before now - keep_ms, or more bytes than bytes_max, need (0 = no limit); never the
 * newest snapshot and the log after it. */
MUST_CHECK int backup_files_retain(struct backup_files *f, uint64_t now_ms, uint64_t keep_ms,
                                   uint64_t bytes_max, uint64_t *ret_bytes);

#endif
