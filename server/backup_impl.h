/* SPDX-License-Identifier: Apache-2.0
 * Private state of the continuous backup, shared by the backup*.c files of the loop's side. */
#ifndef SERVER_BACKUP_IMPL_H
#define SERVER_BACKUP_IMPL_H

#include <uv.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"
#include "base/worker.h"
#include "consensus/backup/outcomes.h"
#include "server/backup.h"
#include "server/backup_files.h"
#include "server/backup_pace.h"

enum { BACKUP_QUEUE_MAX = 32 << 20, BACKUP_SPARES_MAX = 12 };

struct backup_options {
    struct uv_loop_s *loop;
    struct kv *kv;
    const char *dir, *data_dir, *name;
    uint32_t election_ms;
    uint64_t full_interval_ms, retention_ms, retention_bytes;
    bool has_sync;
};

/* Records that are written with one call; or the begin of a run. */
struct item {
    struct link link;
    bool begins_run;
    uint64_t run, index; /* of its last entry; begins_run: of the entry before */
    struct buf bytes;
    uint64_t first_ms, epoch;
    int64_t revision; /* of its last record */
};

struct log_job {
    struct worker_job job;
    struct backup *backup;
    enum backup_step step;
    struct link items; /* in order */
    uint64_t now_ms;
    /* results */
    int err;
    size_t written; /* items */
    uint64_t bytes, epoch;
};

struct open_job {
    struct worker_job job;
    struct backup *backup;
    bool is_out;
    uint64_t from_index, applied_index; /* backup_files_open */
    int err;
    struct backup_tail tail;
};

/* The last one: nothing else is to be done. */
struct end_job {
    struct worker_job job;
    struct backup *backup;
};

struct full_job {
    struct worker_job job;
    struct backup *backup;
    bool is_out, is_last, is_abandoned;
    struct slice block; /* of the export */
    uint8_t digest[32];
    struct backup_file file;
    uint64_t now_ms;
    int err, err_remove;
    uint64_t total_bytes; /* after the retention */
};

struct backup {
    struct backup_options options;
    struct worker *worker;
    struct backup_files *files; /* the worker's */
    uv_timer_t timer;
    enum { BACKUP_OPENING, BACKUP_FOLLOWING, BACKUP_READING, BACKUP_GAP } state;
    struct open_job open;
    struct log_job log;
    struct full_job full;
    struct end_job end;
    struct backup_outcomes outcomes;      /* of the entries that are not durable in the backup */
    uint64_t read_index;                  /* reading: up to here the log was read again */
    bool is_reading;                      /* a read is under way */
    uint64_t queued_ms;                   /* the time of the last entry that was queued */
    uint64_t turn_ms;                     /* wall clock of this turn; 0 = not read yet */
    struct backup_tail tail;              /* entries that may come again after a start */
    struct link queue;                    /* to be written; */
    struct link unsynced;                 /* written */
    struct buf spares[BACKUP_SPARES_MAX]; /* memory of items that are durable */
    size_t spare_count;
    size_t bytes;                       /* of both, and of the job */
    uint64_t run, index, term, time_ms; /* of the last entry that was queued */
    int64_t revision, durable_revision;
    uint64_t run_ms;  /* since then the run has no snapshot; monotonic */
    bool is_run_made; /* its first segment is there */
    uint64_t gap_ms;  /* since then changes are left out; monotonic */
    struct backup_pace pace;
    /* snapshots */
    struct kv_export *export;
    bool is_export_ready;
    uint64_t full_ms, full_retry_ms; /* wall clock; monotonic */
    uint64_t full_index;             /* of the last one of this process */
    struct kv_request hash_request;
    Etcdserverpb__HashKVRequest hash_message;
    bool is_hashing;
    uint64_t hashed_ms;
    int64_t hashed_revision;
    /* state for people */
    int log_err, full_err;
    bool is_behind;
};

static inline uint64_t backup_wall_ms(void)
{
    return clock_wall_ns() / 1000000;
}

/* backup.c */
void backup_begin_gap(struct backup *b, const char *why);
/* False: the queue is full, and the entry is not in it. The state may be another one after it. */
bool backup_queue_entry(struct backup *b, const struct backup_record *record);
void backup_queue_record(struct backup *b, const struct backup_record *record);
void backup_set_durable(struct backup *b, uint64_t index, int64_t revision);
void backup_set_error(struct backup *b, int *place, int err, const char *what);

/* backup_full.c: snapshots, and hashes that are recorded in the log */
void backup_full_timer(struct backup *b, uint64_t now); /* starts what is due */
void backup_full_turn(struct backup *b);
void backup_full_close(struct backup *b);

/* backup_reading.c: entries that are not in memory any more are read from the log again */
void backup_reading_start(struct backup *b, uint64_t index); /* after this one */
void backup_reading_turn(struct backup *b);

#endif
