/* SPDX-License-Identifier: Apache-2.0
 * When the continuous backup writes and syncs its log, and how far it is behind. Pure: times and the state of the
 * queue go in. backup.c carries the steps out, one job at a time.
 *
 * Invariants while each job ends within BACKUP_BEHIND_MS / 4: no change waits for more than BACKUP_BEHIND_MS until
 * it is durable. A job that does not end is reported BACKUP_BEHIND_MS after its oldest change, also when it is the
 * first one after a pause. */
#ifndef SERVER_BACKUP_PACE_H
#define SERVER_BACKUP_PACE_H

#include <stdbool.h>
#include <stdint.h>

enum {
    BACKUP_WRITE_MS = 20,    /* between two looks at the queue */
    BACKUP_BEHIND_MS = 10000 /* beyond it the backup is behind */
};

enum backup_step { BACKUP_STEP_NONE, BACKUP_STEP_WRITE, BACKUP_STEP_SYNC };

struct backup_pace {
    bool is_out;                  /* a job is under way */
    uint64_t synced_ms, retry_ms; /* monotonic */
    uint64_t oldest_ms;           /* wall clock: of the first change that is not durable; 0 = none */
};

/* The changes that are not durable, without those of a job that is under way. */
struct backup_waiting {
    bool has_queued, has_written;
    uint64_t bytes;
    uint64_t oldest_ms; /* wall clock; 0 = there is none */
};

/* Changes that are missing beside them. */
struct backup_missing {
    uint64_t entry_ms; /* wall clock: of the first entry that is not even queued; 0 = none */
    uint64_t since_ms; /* monotonic: since then nothing can be restored; 0 = it can */
};

/* The step that is to be carried out now. */
enum backup_step backup_pace_step(const struct backup_pace *p, const struct backup_waiting *w,
                                  uint64_t mono_ms);
/* A job with all of w begins. */
void backup_pace_begin(struct backup_pace *p, const struct backup_waiting *w);
/* The job has ended. */
void backup_pace_done(struct backup_pace *p, enum backup_step step, int err, uint64_t mono_ms);
/* An error of something else that the next job depends on. */
void backup_pace_retry(struct backup_pace *p, uint64_t mono_ms);
/* The age of the oldest missing change; 0 = none is missing. */
uint64_t backup_pace_lag_ms(struct backup_pace *p, const struct backup_waiting *w,
                            const struct backup_missing *m, uint64_t wall_ms, uint64_t mono_ms);

#endif
