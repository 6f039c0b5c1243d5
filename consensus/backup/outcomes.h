/* SPDX-License-Identifier: Apache-2.0
 * Outcomes of applied entries that are not durable in the backup: for each, whether it was accepted, whether
 * it made a revision, and when it was applied. Pure.
 *
 * The log has the bytes of an entry, but not what became of it. With its outcome an entry that is read from
 * the log again becomes the same record of the backup. Two bits an entry, and a time for each 10 ms: small
 * enough to be stored with each commit of the store. */
#ifndef CONSENSUS_BACKUP_OUTCOMES_H
#define CONSENSUS_BACKUP_OUTCOMES_H

#include "base/buf.h"
#include "base/err.h"

enum {
    BACKUP_OUTCOMES_MAX = 1 << 19, /* entries; beyond them the older half is dropped */
    BACKUP_TIMES_MAX = 4096,       /* beyond them every second one is dropped */
    BACKUP_TIME_STEP_MS = 10,
};

struct backup_outcome_time {
    uint64_t index, time_ms;
};

/* The entries first .. first + count - 1. Zeroed is valid. */
struct backup_outcomes {
    uint64_t first, count;
    int64_t revision, last_revision; /* before the first entry, after the last one */
    uint64_t base;                   /* the entry of the first bits, at most `first` */
    struct buf bits;                 /* four entries in a byte */
    struct backup_outcome_time *times;
    size_t time_count, time_capacity;
    uint64_t cursor; /* of the last backup_outcomes_get; 0 = none */
    int64_t cursor_revision;
};

struct backup_outcome {
    int64_t revision; /* after the entry */
    bool is_kept;     /* its bytes are in the backup */
    uint64_t time_ms;
};

void backup_outcomes_done(struct backup_outcomes *o);
/* Nothing is known of the entries after `index`, which left this revision. */
void backup_outcomes_reset(struct backup_outcomes *o, uint64_t index, int64_t revision);
/* An entry that does not follow the last one resets everything before. */
void backup_outcomes_add(struct backup_outcomes *o, uint64_t index, const struct backup_outcome *outcome);
/* The entries up to index are durable in the backup. */
void backup_outcomes_drop(struct backup_outcomes *o, uint64_t index);
/* False: not known. Fast for ascending indexes. */
bool backup_outcomes_get(struct backup_outcomes *o, uint64_t index, struct backup_outcome *ret_outcome);
uint64_t backup_outcomes_time(const struct backup_outcomes *o, uint64_t index); /* of one of them */
/* The revision after the entry `index`; also of the one before the first. */
bool backup_outcomes_revision(struct backup_outcomes *o, uint64_t index, int64_t *ret_revision);

/* At most 200 KiB; nothing when there is no entry. */
void backup_outcomes_encode(const struct backup_outcomes *o, struct buf *out);
/* ERR_CORRUPT; ERR_LEVEL: a newer version has written it. Then o is empty. */
MUST_CHECK int backup_outcomes_decode(struct slice bytes, struct backup_outcomes *ret_o);

#endif
