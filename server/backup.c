/* SPDX-License-Identifier: Apache-2.0
 * The shell of the continuous backup: what is written when; see backup.h.
 *
 *   opening     the worker looks for a run that can go on. Entries queue.
 *   following   entries queue; a job writes the queue each 20 ms, and syncs each second
 *   gap         the queue was full, or the log of the run is damaged: entries are left out until all that
 *               queued before is durable. Then a new run begins, at the present state.
 *
 * An entry stays in memory until it is durable; after an error all that is not is written again.
 * One thread, the worker, does all file work: a job of the log, then a block of a snapshot. */
#include "server/backup.h"

#include <inttypes.h>
#include <stdio.h>
#include <uv.h>

#include "base/buf_release.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/turn.h"
#include "base/worker.h"
#include "server/backup_files.h"

enum {
    QUEUE_MAX = 32 << 20,
    SEGMENT_BYTES = 16 << 20,
    SEGMENT_MS = 600000,
    ITEM_BYTES = 1 << 20,
    WRITE_MS = 20,
    IDLE_MS = 1000,
    SYNC_MS = 1000,
    RETRY_MS = 1000,
    FULL_RETRY_MS = 30000,
    BEHIND_MS = 10000,
    HASH_MS = 600000,
};

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
    uint64_t run, index; /* begins_run: of the entry before */
    struct buf bytes;
    uint64_t first_ms, epoch;
    int64_t revision; /* of its last record */
};

struct log_job {
    struct worker_job job;
    struct backup *backup;
    bool is_out, syncs;
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
    uint64_t applied_index;
    int err;
    struct backup_tail tail;
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
    enum { BACKUP_OPENING, BACKUP_FOLLOWING, BACKUP_GAP } state;
    struct open_job open;
    struct log_job log;
    struct full_job full;
    struct backup_tail tail;            /* entries that may come again after a start */
    struct link queue;                  /* to be written; */
    struct link unsynced;               /* written */
    size_t bytes;                       /* of both, and of the job */
    uint64_t run, index, term, time_ms; /* of the last entry that was queued */
    int64_t revision, durable_revision;
    uint64_t run_ms;  /* since then the run has no snapshot; monotonic */
    bool is_run_made; /* its first segment is there */
    uint64_t synced_ms, retry_ms, oldest_ms,
        gap_ms; /* gap_ms: since then; monotonic clock but for oldest_ms */
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

static uint64_t wall_ms(void)
{
    return clock_wall_ns() / 1000000;
}

/* --- the queue --------------------------------------------------------------------------------------- */

static struct item *add_item(struct backup *b)
{
    struct item *i = mem_new(sizeof *i);
    list_add_last(&b->queue, &i->link);
    return i;
}

static void free_item(struct backup *b, struct item *i)
{
    list_remove(&i->link);
    b->bytes -= i->bytes.size;
    buf_release(&i->bytes); /* a second of puts may be durable at once */
    mem_free(i);
}

static void free_items(struct backup *b, struct link *items)
{
    while (!list_is_empty(items))
        free_item(b, container_of(items->next, struct item, link));
}

static void queue_record(struct backup *b, const struct backup_record *record)
{
    struct item *i = list_is_empty(&b->queue) ? NULL : container_of(b->queue.prev, struct item, link);
    if (!i || i->begins_run || i->epoch || i->bytes.size + record->data.size > ITEM_BYTES)
        i = add_item(b);
    if (!i->bytes.size)
        i->first_ms = record->time_ms;
    size_t before = i->bytes.size;
    backup_record_add(&i->bytes, record);
    i->revision = record->revision;
    b->bytes += i->bytes.size - before;
}

static void begin_gap(struct backup *b, const char *why)
{
    if (b->state == BACKUP_GAP)
        return;
    b->state = BACKUP_GAP;
    b->gap_ms = clock_mono_ms();
    log_warn("the backup leaves out changes; it begins a new run when its folder can be written",
             F_STR("backup-dir", b->options.dir), F_STR("reason", why));
}

static void begin_run(struct backup *b, uint64_t index, uint64_t term)
{
    struct item *i = add_item(b);
    i->begins_run = true;
    i->index = b->index = index;
    i->run = b->run = wall_ms() << 16 | (random_u64() & 0xffff);
    i->first_ms = wall_ms();
    i->revision = b->revision;
    b->term = term;
    b->state = BACKUP_FOLLOWING;
    b->is_run_made = false;
    b->full_ms = 0;
    b->run_ms = clock_mono_ms();
    b->tail.count = 0;
    metric_add(METRIC_BACKUP_RUNS, 1);
    log_info("the backup begins a new run", F_STR("backup-dir", b->options.dir), F_UINT("index", index));
}

/* Without a snapshot nothing of a run can be restored. */
static void set_durable(struct backup *b, int64_t revision)
{
    b->durable_revision = revision;
    if (b->full_ms)
        metric_set(METRIC_BACKUP_REVISION, (double)revision);
}

/* An entry that the run has already: after a start, the log since the store's last commit is applied again. */
static bool is_known(const struct backup *b, const struct backup_record *record)
{
    uint64_t back = b->tail.index - record->index;
    if (back >= b->tail.count)
        return true; /* too old to be compared */
    const struct backup_tail_entry *e = &b->tail.list[b->tail.count - 1 - back];
    return e->term == record->term && e->crc == crc32c(0, record->data.data, record->data.size);
}

static void queue_entry(struct backup *b, const struct backup_record *record)
{
    if (record->index <= b->index) {
        if (b->tail.count && record->index <= b->tail.index && is_known(b, record)) {
            if (record->index == b->index)
                set_durable(b, b->revision = record->revision);
            return;
        }
        begin_run(b, record->index - 1, 0);
    } else if (record->index != b->index + 1) { /* a snapshot of another member has replaced the others */
        begin_run(b, record->index - 1, 0);
    }
    if (b->bytes + record->data.size > QUEUE_MAX) {
        begin_gap(b, "too many changes wait");
        return;
    }
    b->index = record->index;
    b->term = record->term;
    b->revision = record->revision;
    queue_record(b, record);
}

static void backup_on_entry(void *arg, const struct kv_applied *e)
{
    struct backup *b = arg;
    if (b->state == BACKUP_GAP)
        return;
    uint64_t now_ms = wall_ms();
    if (now_ms > b->time_ms)
        b->time_ms = now_ms;
    const struct backup_record record = {.kind = BACKUP_ENTRY,
                                         .index = e->index,
                                         .term = e->term,
                                         .revision = e->revision,
                                         .time_ms = b->time_ms,
                                         .data = e->data};
    if (b->state == BACKUP_FOLLOWING)
        queue_entry(b, &record);
    else if (b->bytes + record.data.size > QUEUE_MAX)
        begin_gap(b, "too many changes wait");
    else
        queue_record(b, &record);
}

/* --- opening ----------------------------------------------------------------------------------------- */

static void run_open(struct worker_job *job)
{
    struct open_job *o = container_of(job, struct open_job, job);
    o->err = backup_files_open(o->backup->files, o->applied_index, &o->tail);
}

/* The entries that came meanwhile are queued again, behind the run's. */
static void queue_again(struct backup *b)
{
    struct link waiting;
    struct backup_record record;
    size_t size;
    list_init(&waiting);
    list_move_all(&waiting, &b->queue);
    if (!b->tail.can_continue) {
        uint64_t index = b->open.applied_index, term = 0;
        if (list_is_empty(&waiting))
            index = kv_applied_index(b->options.kv, &term);
        begin_run(b, index, term);
    }
    while (!list_is_empty(&waiting)) {
        struct item *i = container_of(waiting.next, struct item, link);
        struct slice rest = buf_slice(&i->bytes);
        while (backup_record_read(rest, NULL, &record, &size) == OK) {
            if (b->state == BACKUP_FOLLOWING)
                queue_entry(b, &record);
            rest = slice_of(rest.data + size, rest.size - size);
        }
        free_item(b, i);
    }
}

static void set_error(struct backup *b, int *place, int err, const char *what)
{
    if (err)
        metric_add(METRIC_BACKUP_ERRORS, 1);
    if (err == *place)
        return;
    *place = err;
    if (err)
        log_warn(
            what, F_STR("backup-dir", b->options.dir),
            F_STR("reason", err == ERR_EXISTS ? "another process writes in this folder" : err_text(err)));
    else
        log_info("the backup can be written again", F_STR("backup-dir", b->options.dir));
}

static void open_done(struct worker_job *job)
{
    struct backup *b = container_of(job, struct open_job, job)->backup;
    b->open.is_out = false;
    set_error(b, &b->log_err, b->open.err, "the backup cannot be opened");
    if (b->open.err) {
        mem_free(b->open.tail.list);
        b->retry_ms = clock_mono_ms() + RETRY_MS;
        return;
    }
    b->tail = b->open.tail;
    if (b->state == BACKUP_GAP) { /* what had queued has no run to stand in */
        b->tail.can_continue = false;
        free_items(b, &b->queue);
        return;
    }
    b->state = BACKUP_FOLLOWING;
    if (b->tail.can_continue) {
        b->run = b->tail.run;
        b->index = b->tail.index;
        b->term = b->tail.term;
        b->full_ms = b->tail.full_ms;
        b->run_ms = clock_mono_ms();
        if (b->tail.revision)
            b->revision = b->tail.revision; /* else of the store: its segment is new */
        b->is_run_made = true;
        if (b->tail.time_ms > b->time_ms)
            b->time_ms = b->tail.time_ms;
        metric_set(METRIC_BACKUP_LAST_FULL, (double)b->full_ms / 1000);
        if (b->tail.revision || b->tail.index == b->open.applied_index)
            set_durable(b, b->revision);
        log_info("the backup goes on", F_STR("backup-dir", b->options.dir), F_UINT("index", b->index),
                 F_INT("revision", b->revision));
    }
    queue_again(b);
}

static void start_open(struct backup *b)
{
    b->open.is_out = true;
    b->open.job = (struct worker_job){.run = run_open, .done = open_done};
    worker_submit(b->worker, &b->open.job);
}

/* --- the log ----------------------------------------------------------------------------------------- */

static void run_log(struct worker_job *job)
{
    struct log_job *j = container_of(job, struct log_job, job);
    struct backup_files *f = j->backup->files;
    j->err = OK;
    j->written = j->bytes = 0;
    LIST_FOR_EACH_SAFE (l, &j->items) {
        struct item *i = container_of(l, struct item, link);
        j->err = i->begins_run ? backup_files_run(f, i->run, i->index, j->now_ms)
                               : backup_files_append(f, i->bytes.data, i->bytes.size, j->now_ms);
        if (j->err)
            break;
        i->epoch = i->begins_run ? 0 : backup_files_epoch(f);
        j->bytes += i->bytes.size;
        j->written++;
    }
    if (!j->err && j->syncs)
        j->err = backup_files_sync(f);
    j->epoch = backup_files_epoch(f);
}

static void put_back(struct backup *b, struct link *items)
{
    struct link rest;
    list_init(&rest);
    list_move_all(&rest, &b->queue);
    LIST_FOR_EACH_SAFE (l, items) {
        struct item *i = container_of(l, struct item, link);
        list_remove(l);
        i->epoch = 1; /* nothing is added to it */
        list_add_last(&b->queue, l);
    }
    LIST_FOR_EACH_SAFE (l, &rest) {
        list_remove(l);
        list_add_last(&b->queue, l);
    }
}

/* Frees what is durable. */
static void release_items(struct backup *b, struct link *items, uint64_t epoch)
{
    LIST_FOR_EACH_SAFE (l, items) {
        struct item *i = container_of(l, struct item, link);
        if (i->epoch >= epoch)
            break;
        b->is_run_made |= i->begins_run;
        set_durable(b, i->revision);
        free_item(b, i);
    }
}

static void move_written(struct backup *b, size_t count)
{
    for (; count; count--) {
        struct link *l = b->log.items.next;
        list_remove(l);
        list_add_last(&b->unsynced, l);
    }
}

/* Of the first change that is not durable; 0 = none. */
static uint64_t oldest_ms(const struct backup *b)
{
    const struct link *lists[] = {&b->unsynced, &b->log.items, &b->queue};
    for (size_t i = 0; i < 3; i++)
        if (!list_is_empty(lists[i]))
            return container_of(lists[i]->next, struct item, link)->first_ms;
    return 0;
}

static void log_done(struct worker_job *job)
{
    struct log_job *j = container_of(job, struct log_job, job);
    struct backup *b = j->backup;
    uint64_t now = clock_mono_ms();
    j->is_out = false;
    metric_add(METRIC_BACKUP_BYTES, (double)j->bytes);
    move_written(b, j->written);
    release_items(b, &b->unsynced, j->epoch);
    set_error(b, &b->log_err, j->err, "the backup cannot be written");
    if (!j->err) {
        if (j->syncs)
            b->synced_ms = now;
        b->oldest_ms = oldest_ms(b); /* here, because under load the next job begins at once */
        return;
    }
    b->retry_ms = now + RETRY_MS;
    put_back(b, &j->items);
    put_back(b, &b->unsynced);
    if (j->err == ERR_CORRUPT || j->err == ERR_NOT_FOUND) { /* its log cannot go on */
        begin_gap(b, err_text(j->err));
        free_items(b, &b->queue);
    }
}

static void write_log(struct backup *b, uint64_t now)
{
    struct log_job *j = &b->log;
    bool has_queue = !list_is_empty(&b->queue), has_unsynced = !list_is_empty(&b->unsynced);
    j->syncs = now - b->synced_ms >= SYNC_MS && (has_queue || has_unsynced);
    if (j->is_out || b->state == BACKUP_OPENING || now < b->retry_ms || (!has_queue && !j->syncs))
        return;
    list_move_all(&j->items, &b->queue);
    j->is_out = true;
    j->now_ms = wall_ms();
    j->job = (struct worker_job){.run = run_log, .done = log_done};
    worker_submit(b->worker, &j->job);
}

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
    if (b->bytes < QUEUE_MAX)
        queue_record(b, &record);
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
    set_error(b, &b->full_err, err, "a snapshot for the backup has failed");
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
    set_durable(b, b->durable_revision > j->file.revision ? b->durable_revision : j->file.revision);
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
    j->now_ms = wall_ms();
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
    return !b->full_ms || wall_ms() >= b->full_ms + b->options.full_interval_ms;
}

static void start_full(struct backup *b)
{
    b->is_export_ready = true;
    b->full.file = (struct backup_file){.kind = BACKUP_FILE_FULL, .run = b->run};
    b->export = kv_export_open(b->options.kv, backup_on_export, b);
    b->full.file.time_ms = b->time_ms = wall_ms() > b->time_ms ? wall_ms() : b->time_ms;
}

/* --- the state for people ---------------------------------------------------------------------------- */

/* The items of a job are the worker's: their link is not looked at. */
static uint64_t lag_ms(struct backup *b, uint64_t now)
{
    if (!b->log.is_out)
        b->oldest_ms = oldest_ms(b);
    uint64_t wall = wall_ms();
    uint64_t lag = b->oldest_ms && wall > b->oldest_ms ? wall - b->oldest_ms : 0;
    uint64_t gap = b->state == BACKUP_GAP ? now - b->gap_ms : 0;
    if (b->state == BACKUP_FOLLOWING && !b->full_ms)
        gap = now - b->run_ms; /* nothing of the run can be restored */
    return gap > lag ? gap : lag;
}

static void tell_state(struct backup *b, uint64_t now)
{
    char text[200];
    uint64_t lag = lag_ms(b, now);
    int err = b->log_err ? b->log_err : b->full_err;
    bool is_behind = lag > BEHIND_MS || err;
    metric_set(METRIC_BACKUP_LAG, (double)lag / 1000);
    metric_set(METRIC_BACKUP_QUEUED, (double)b->bytes);
    metric_set(METRIC_BACKUP_BEHIND, is_behind);
    if (is_behind) {
        snprintf(text, sizeof text, "the backup is behind by %" PRIu64 " s%s%s", lag / 1000, err ? ": " : "",
                 err ? err_text(err) : "");
        kv_set_notice(b->options.kv, text);
    } else if (b->is_behind) {
        kv_set_notice(b->options.kv, NULL);
    }
    if (is_behind != b->is_behind && is_behind)
        log_warn("the backup is behind", F_UINT("lag-ms", lag), F_UINT("queued-bytes", b->bytes));
    else if (is_behind != b->is_behind)
        log_info("the backup has caught up", F_INT("revision", b->revision));
    b->is_behind = is_behind;
}

/* --- turns ------------------------------------------------------------------------------------------- */

static bool is_busy(const struct backup *b)
{
    return !list_is_empty(&b->queue) || !list_is_empty(&b->unsynced) || b->log.is_out || b->export;
}

static void backup_on_timer(uv_timer_t *timer);

static void set_timer(struct backup *b)
{
    uint64_t wait_ms = is_busy(b) ? WRITE_MS : IDLE_MS;
    if (!uv_is_active((uv_handle_t *)&b->timer) || uv_timer_get_repeat(&b->timer) != wait_ms)
        uv_timer_start(&b->timer, backup_on_timer, wait_ms, wait_ms);
}

static void backup_on_timer(uv_timer_t *timer)
{
    struct backup *b = container_of(timer, struct backup, timer);
    uint64_t now = clock_mono_ms();
    turn_enter(TURN_BACKUP);
    if (b->state == BACKUP_OPENING && !b->open.is_out && now >= b->retry_ms)
        start_open(b);
    bool has_items = !list_is_empty(&b->queue) || !list_is_empty(&b->unsynced) || b->log.is_out;
    if (b->state == BACKUP_GAP && !b->open.is_out && now >= b->retry_ms && !has_items) {
        uint64_t term, index = kv_applied_index(b->options.kv, &term);
        b->revision = kv_revision(b->options.kv);
        begin_run(b, index, term);
    }
    write_log(b, now);
    if (is_full_due(b, now))
        start_full(b);
    bool is_hash_due = !b->hashed_ms || now - b->hashed_ms >= HASH_MS;
    if (b->state == BACKUP_FOLLOWING && b->full_ms && !b->is_hashing && is_hash_due &&
        b->hashed_revision != kv_revision(b->options.kv))
        request_hash(b, now);
    tell_state(b, now);
}

void backup_turn(struct backup *b)
{
    if (!b)
        return;
    if (b->export && b->is_export_ready)
        take_block(b, clock_mono_ms());
    set_timer(b);
}

/* --- the whole --------------------------------------------------------------------------------------- */

static struct backup *backup_new(const struct backup_options *o)
{
    struct backup *b = mem_new(sizeof *b);
    struct buf dir = {0}, marker = {0};
    uint64_t term;
    b->options = *o;
    buf_addf(&dir, "%s/%016" PRIx64 "/%s", o->dir, kv_cluster_id(o->kv), o->name);
    buf_addf(&marker, "%s/member/backup", o->data_dir);
    const struct backup_files_options files = {.dir = buf_text(&dir),
                                               .marker = buf_text(&marker),
                                               .cluster_id = kv_cluster_id(o->kv),
                                               .member_id = kv_member_id(o->kv),
                                               .election_ms = o->election_ms,
                                               .segment_bytes = SEGMENT_BYTES,
                                               .segment_ms = SEGMENT_MS,
                                               .has_sync = o->has_sync};
    b->files = backup_files_new(&files);
    buf_done(&dir);
    buf_done(&marker);
    list_init(&b->queue);
    list_init(&b->unsynced);
    list_init(&b->log.items);
    b->open.backup = b->log.backup = b->full.backup = b;
    b->open.applied_index = kv_applied_index(o->kv, &term);
    b->revision = kv_revision(o->kv);
    b->worker = worker_start(o->loop, "backup");
    uv_timer_init(o->loop, &b->timer);
    kv_on_entry(o->kv, backup_on_entry, b);
    start_open(b);
    return b;
}

static uint64_t to_ms(int64_t ns)
{
    return ns <= 0 ? 0 : (uint64_t)(ns + 999999) / 1000000;
}

struct backup *backup_open(struct uv_loop_s *loop, struct kv *kv, const struct options *o)
{
    const struct backup_options options = {
        .loop = loop,
        .kv = kv,
        .dir = o->backup_dir,
        .data_dir = o->dir,
        .name = o->name,
        .election_ms = (uint32_t)o->election_ms,
        .full_interval_ms = to_ms(o->backup_full_ns),
        .retention_ms = to_ms(o->backup_retention_ns),
        .retention_bytes = o->backup_retention_bytes,
        .has_sync = !o->unsafe_no_fsync,
    };
    return *o->backup_dir ? backup_new(&options) : NULL;
}

/* The worker has ended: this thread does its work. */
static void write_last(struct backup *b)
{
    if (b->state == BACKUP_OPENING || (list_is_empty(&b->queue) && list_is_empty(&b->unsynced)))
        return;
    list_move_all(&b->log.items, &b->queue);
    b->log.syncs = true;
    b->log.now_ms = wall_ms();
    run_log(&b->log.job);
    log_done(&b->log.job);
}

static void backup_on_closed(uv_handle_t *handle)
{
    mem_free(container_of((uv_timer_t *)handle, struct backup, timer));
}

void backup_close(struct backup *b)
{
    if (!b)
        return;
    kv_on_entry(b->options.kv, NULL, NULL);
    kv_set_notice(b->options.kv, NULL);
    if (b->is_hashing)
        kv_cancel(b->options.kv, &b->hash_request);
    worker_stop(b->worker); /* the jobs that are out */
    write_last(b);
    if (b->export)
        kv_export_close(b->export);
    backup_files_full_abandon(b->files);
    backup_files_free(b->files);
    free_items(b, &b->queue);
    free_items(b, &b->unsynced);
    mem_free(b->tail.list);
    uv_close((uv_handle_t *)&b->timer, backup_on_closed);
}
