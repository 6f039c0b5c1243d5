/* SPDX-License-Identifier: Apache-2.0
 * Reading of a backup's folder: what is there, and which files give the state at a revision or a time.
 *
 * The folder is a pair of functions, so that it may be something else than a folder of this machine. Nothing
 * that the files say is trusted. */
#ifndef CONSENSUS_BACKUP_ARCHIVE_H
#define CONSENSUS_BACKUP_ARCHIVE_H

#include "consensus/backup/format.h"

struct backup_folder {
    /* fn for each name, in any order. */
    int (*list)(void *arg, void (*fn)(void *fn_arg, const char *name, uint64_t size), void *fn_arg);
    /* A whole file. ERR_NOT_FOUND. */
    int (*read)(void *arg, const char *name, struct buf *ret_bytes);
    void *arg;
};

struct backup_catalog {
    struct backup_file *list; /* backup_file_compare */
    size_t count, capacity;
};

/* An error is the folder's. */
MUST_CHECK int backup_catalog_read(const struct backup_folder *folder, struct backup_catalog *ret_catalog);
void backup_catalog_done(struct backup_catalog *c);

struct backup_target {
    enum { BACKUP_LATEST, BACKUP_AT_REVISION, BACKUP_AT_TIME } kind;
    int64_t revision;
    uint64_t time_ms;
};

/* The full, then all records up to the entry `index`. */
struct backup_plan {
    struct backup_file full;
    uint32_t election_ms;
    uint64_t index;
    int64_t revision;
    uint64_t time_ms; /* of the last record, or of the full */
    bool is_end;      /* the log of the run ends here */
    bool is_torn;     /* and has a torn tail at torn_offset of torn_name */
    char torn_name[BACKUP_NAME_SIZE];
    uint64_t torn_offset;
};

/* The newest full from which the target can be reached; `skip`: but for so many of them. The log from there to
 * the target is read and checked, the full is not. ERR_NOT_FOUND: the target is not in the backup. ERR_CORRUPT,
 * ERR_LEVEL, or an error of the folder. Each comes with a sentence. */
MUST_CHECK int backup_plan_make(const struct backup_folder *folder, const struct backup_catalog *c,
                                const struct backup_target *target, size_t skip, struct backup_plan *ret_plan,
                                char *error, size_t error_size);
/* The same from this full. */
MUST_CHECK int backup_plan_from(const struct backup_folder *folder, const struct backup_catalog *c,
                                const struct backup_target *target, const struct backup_file *full,
                                struct backup_plan *ret_plan, char *error, size_t error_size);
/* Calls fn for each record of the plan. Errors as above, or fn's, which has its own sentence. */
MUST_CHECK int backup_plan_walk(const struct backup_folder *folder, const struct backup_catalog *c,
                                const struct backup_plan *plan,
                                int (*fn)(void *arg, const struct backup_record *record), void *arg,
                                char *error, size_t error_size);

#endif
