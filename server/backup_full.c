/* SPDX-License-Identifier: Apache-2.0
 * Snapshots of a continuous backup, block by block on the worker, and hashes in its log; see backup.h. */
#include "base/hash.h"
#include "base/log.h"
#include "base/metric.h"
#include "server/backup_impl.h"

enum { FULL_RETRY_MS = 30000, HASH_MS = 600000 };

/* --- hashes ------------------------------------------------------------------------------------------ */

static void backup_on_hash(struct kv_request *r, int err, const ProtobufCMessage *response)
{
    struct backup *b = container_of(r, struct backup, hash_request);
    const Etcdserverpb__HashKVResponse *hash = (const Etcdserverpb__HashKVResponse *)response;
    uint8_t bytes[BACKUP_HASH_SIZE];
    b->is_hashing = false;
    if (err || b->state != BACKUP_FOLLOWING)
        return;
    put_be32(bytes, hash->hash);
    put_be64(bytes + 4, (uint64_t)hash->compact_revision);
    const struct backup_record record = {.kind = BACKUP_HASH,
                                         .index = b->index,
                                         .term = b->term,
                                         .revision = hash->hash_revision,
                                         .time_ms = b->time_ms,
                                         .data = slice_of(bytes, sizeof bytes)};
    if (b->bytes < BACKUP_QUEUE_MAX)
        backup_queue_record(b, &record);
}

static void request_hash(struct backup *b, uint64_t now)
{
    b->hashed_ms = now;
    b->hashed_revision = kv_revision(b->options.kv);
    b->is_hashing = true;
    etcdserverpb__hash_kvrequest__init(&b->hash_message);
    b->hash_request = (struct kv_request){.done = backup_on_hash};
    kv_hash_kv(b->options.kv, &b->hash_request, &b->hash_message);
}

/* --- snapshots --------------------------------------------------------------------------------------- */

static void backup_on_export(void *arg)
{
    ((struct backup *)arg)->is_export_ready = true;
}

static void end_export(struct backup *b, int err, uint64_t now)
{
    if (b->export)
        kv_export_close(b->export);
    b->export = NULL;
    backup_set_error(b, &b->full_err, err, "a snapshot for the backup has failed");
    b->full_retry_ms = err ? now + FULL_RETRY_MS : 0;
}

static void run_full(struct worker_job *job)
{
    struct full_job *j = container_of(job, struct full_job, job);
    struct backup *b = j->backup;
    struct backup_files *f = b->files;
    if (j->is_abandoned) {
        backup_files_full_abandon(f);
        return;
    }
    j->err = j->is_last ? backup_files_full_end(f, j->digest, &j->file) : backup_files_full_add(f, j->block);
    if (j->is_last && !j->err)
        j->err_remove = backup_files_retain(f, j->now_ms, b->options.retention_ms, b->options.retention_bytes,
                                            &j->total_bytes);
}

static void full_done(struct worker_job *job)
{
    struct full_job *j = container_of(job, struct full_job, job);
    struct backup *b = j->backup;
    uint64_t now = clock_mono_ms();
    j->is_out = false;
    if (j->is_abandoned) {
        j->is_abandoned = false;
        return;
    }
    if (j->err) {
        end_export(b, j->err, now);
        return;
    }
    metric_add(METRIC_BACKUP_BYTES, (double)j->block.size);
    if (!j->is_last)
        return;
    end_export(b, OK, now);
    if (j->err_remove) /* the next snapshot tries it again */
        log_warn("old files of the backup cannot be removed", F_STR("backup-dir", b->options.dir),
                 F_ERR(j->err_remove));
    if (j->file.run != b->run)
        return; /* a gap came meanwhile */
    b->full_ms = j->file.time_ms;
    b->full_index = j->file.index;
    backup_set_durable(b, j->file.index,
                       b->durable_revision > j->file.revision ? b->durable_revision : j->file.revision);
    metric_set(METRIC_BACKUP_LAST_FULL, (double)b->full_ms / 1000);
    metric_set(METRIC_BACKUP_SIZE, (double)j->total_bytes);
    log_info("a snapshot for the backup is complete", F_INT("revision", j->file.revision),
             F_UINT("bytes", j->total_bytes));
    b->hashed_ms = 0;
}

static void submit_full(struct backup *b)
{
    struct full_job *j = &b->full;
    j->is_out = true;
    j->now_ms = backup_wall_ms();
    j->job = (struct worker_job){.run = run_full, .done = full_done};
    worker_submit(b->worker, &j->job);
}

static void abandon_full(struct backup *b)
{
    b->full.is_abandoned = true;
    submit_full(b);
}

static void take_block(struct backup *b, uint64_t now)
{
    struct full_job *j = &b->full;
    struct kv_export_progress progress;
    if (!b->export || j->is_out || !b->is_export_ready)
        return;
    int err = kv_export_next(b->export, &j->block, &progress);
    if (err) {
        end_export(b, err, now);
        abandon_full(b);
        return;
    }
    j->is_last = progress.is_done;
    if (j->is_last) {
        memcpy(j->digest, progress.digest, sizeof j->digest);
        j->file.index = progress.index;
        j->file.revision = progress.revision;
    }
    if (j->block.size || j->is_last)
        submit_full(b);
    else
        b->is_export_ready = false;
}

static bool is_full_due(const struct backup *b, uint64_t now)
{
    if (b->state != BACKUP_FOLLOWING || !b->is_run_made || b->export || b->full.is_out ||
        now < b->full_retry_ms || b->log_err)
        return false;
    if (b->full_ms && b->full_index == b->index)
        return false; /* nothing has changed */
    return !b->full_ms || backup_wall_ms() >= b->full_ms + b->options.full_interval_ms;
}

static void start_full(struct backup *b)
{
    b->is_export_ready = true;
    b->full.file = (struct backup_file){.kind = BACKUP_FILE_FULL, .run = b->run};
    b->export = kv_export_open(b->options.kv, backup_on_export, b);
    b->full.file.time_ms = b->time_ms = backup_wall_ms() > b->time_ms ? backup_wall_ms() : b->time_ms;
}

/* --- turns ------------------------------------------------------------------------------------------- */

void backup_full_timer(struct backup *b, uint64_t now)
{
    if (is_full_due(b, now))
        start_full(b);
    bool is_hash_due = !b->hashed_ms || now - b->hashed_ms >= HASH_MS;
    if (b->state == BACKUP_FOLLOWING && b->full_ms && !b->is_hashing && is_hash_due &&
        b->hashed_revision != kv_revision(b->options.kv))
        request_hash(b, now);
}

void backup_full_turn(struct backup *b)
{
    if (b->export && b->is_export_ready)
        take_block(b, clock_mono_ms());
}

void backup_full_close(struct backup *b)
{
    if (b->is_hashing)
        kv_cancel(b->options.kv, &b->hash_request);
    if (b->export)
        kv_export_close(b->export);
    b->export = NULL;
}
