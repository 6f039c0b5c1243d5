/* SPDX-License-Identifier: Apache-2.0
 * The shell of the continuous backup: what is written when; see backup.h.
 *
 *   opening     the worker looks for a run that can go on
 *   following   entries queue; a job writes the queue each 20 ms, and syncs each second (backup_pace.h)
 *   reading     entries are missing between the run's end, or the queue's, and the store: they are read from the
 *               log, with their outcomes (backup_reading.c)
 *   gap         the log has been cut before they were read, or the log of the run is damaged: entries are left
 *               out until all that queued before is durable. Then a new run begins, at the present state.
 *
 * In all states but gap the outcome of each applied entry is noted. The notes are stored with each commit of the
 * store, and so survive a kill, as the entries in the log do.
 *
 * An entry stays in memory until it is durable; after an error all that is not is written again.
 * One thread, the worker, does all file work: a job of the log, then a block of a snapshot. */
#include "server/backup.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/buf_release.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/metric.h"
#include "base/turn.h"
#include "server/backup_impl.h"

enum {
    SEGMENT_BYTES = 16 << 20,
    SEGMENT_MS = 600000,
    ITEM_BYTES = 1 << 20,
    IDLE_MS = 1000,
    CLOSE_MS = 5000,
};

/* --- the queue --------------------------------------------------------------------------------------- */

static struct item *add_item(struct backup *b)
{
    struct item *i = mem_new(sizeof *i);
    list_add_last(&b->queue, &i->link);
    return i;
}

/* Under load the bytes of new items go where those of older ones were: fresh memory costs page faults. */
static void keep_memory(struct backup *b, struct buf *bytes)
{
    buf_clear(bytes);
    if (b->spare_count < BACKUP_SPARES_MAX && bytes->capacity >= ITEM_BYTES / 2)
        b->spares[b->spare_count++] = buf_move(bytes);
    else
        buf_release(bytes); /* a second of puts may be durable at once */
}

static void drop_memory(struct backup *b)
{
    while (b->spare_count)
        buf_release(&b->spares[--b->spare_count]);
}

static void free_item(struct backup *b, struct item *i)
{
    list_remove(&i->link);
    b->bytes -= i->bytes.size;
    keep_memory(b, &i->bytes);
    mem_free(i);
}

static void free_items(struct backup *b, struct link *items)
{
    while (!list_is_empty(items))
        free_item(b, container_of(items->next, struct item, link));
}

void backup_queue_record(struct backup *b, const struct backup_record *record)
{
    struct item *i = list_is_empty(&b->queue) ? NULL : container_of(b->queue.prev, struct item, link);
    if (!i || i->begins_run || i->epoch || i->bytes.size + record->data.size > ITEM_BYTES)
        i = add_item(b);
    if (!i->bytes.capacity && b->spare_count)
        i->bytes = buf_move(&b->spares[--b->spare_count]);
    if (!i->bytes.size)
        i->first_ms = record->time_ms;
    size_t before = i->bytes.size;
    backup_record_add(&i->bytes, record);
    i->index = record->index;
    i->revision = record->revision;
    b->bytes += i->bytes.size - before;
}

void backup_begin_gap(struct backup *b, const char *why)
{
    if (b->state == BACKUP_GAP)
        return;
    b->state = BACKUP_GAP;
    b->gap_ms = clock_mono_ms();
    backup_outcomes_reset(&b->outcomes, 0, 0);
    kv_keep_log(b->options.kv, 0);
    log_warn("the backup leaves out changes; it begins a new run when its folder can be written",
             F_STR("backup-dir", b->options.dir), F_STR("reason", why));
}

/* The outcomes after index are kept; they can be of entries that come after it. */
static void note_begin(struct backup *b, uint64_t index)
{
    int64_t revision;
    if (backup_outcomes_revision(&b->outcomes, index, &revision))
        backup_outcomes_drop(&b->outcomes, index);
    else if (b->outcomes.first <= index)
        backup_outcomes_reset(&b->outcomes, index, b->revision);
    kv_keep_log(b->options.kv, index);
}

static void begin_run(struct backup *b, uint64_t index, uint64_t term)
{
    struct item *i = add_item(b);
    i->begins_run = true;
    i->index = b->index = index;
    i->run = b->run = backup_wall_ms() << 16 | (random_u64() & 0xffff);
    i->first_ms = backup_wall_ms();
    i->revision = b->revision;
    b->term = term;
    b->state = BACKUP_FOLLOWING;
    b->is_run_made = false;
    note_begin(b, index);
    b->full_ms = 0;
    b->run_ms = clock_mono_ms();
    b->tail.count = 0;
    metric_add(METRIC_BACKUP_RUNS, 1);
    log_info("the backup begins a new run", F_STR("backup-dir", b->options.dir), F_UINT("index", index));
}

/* Without a snapshot nothing of a run can be restored. */
void backup_set_durable(struct backup *b, uint64_t index, int64_t revision)
{
    backup_outcomes_drop(&b->outcomes, index);
    kv_keep_log(b->options.kv, index);
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

bool backup_queue_entry(struct backup *b, const struct backup_record *record)
{
    if (record->index <= b->index) {
        if (b->tail.count && record->index <= b->tail.index && is_known(b, record)) {
            if (record->index == b->index)
                b->revision = record->revision;
            backup_set_durable(b, record->index, record->revision);
            return true;
        }
        begin_run(b, record->index - 1, 0);
    } else if (record->index != b->index + 1) { /* a snapshot of another member has replaced the others */
        begin_run(b, record->index - 1, 0);
    }
    if (b->bytes + record->data.size > BACKUP_QUEUE_MAX)
        return false;
    b->index = record->index;
    b->term = record->term;
    b->revision = record->revision;
    b->queued_ms = record->time_ms;
    backup_queue_record(b, record);
    return true;
}

static void backup_on_entry(void *arg, const struct kv_applied *e)
{
    struct backup *b = arg;
    if (b->state == BACKUP_GAP)
        return;
    if (!b->turn_ms)
        b->turn_ms = backup_wall_ms();
    if (b->turn_ms > b->time_ms)
        b->time_ms = b->turn_ms;
    const struct backup_outcome outcome = {e->revision, e->data.size != 0, b->time_ms};
    backup_outcomes_add(&b->outcomes, e->index, &outcome);
    if (b->state != BACKUP_FOLLOWING)
        return;
    const struct backup_record record = {.kind = BACKUP_ENTRY,
                                         .index = e->index,
                                         .term = e->term,
                                         .revision = e->revision,
                                         .time_ms = b->time_ms,
                                         .data = e->data};
    if (!backup_queue_entry(b, &record))
        backup_reading_start(b, b->index);
}

static void backup_on_commit(void *arg, struct buf *out)
{
    backup_outcomes_encode(&((struct backup *)arg)->outcomes, out);
}

/* --- opening ----------------------------------------------------------------------------------------- */

static void run_open(struct worker_job *job)
{
    struct open_job *o = container_of(job, struct open_job, job);
    o->err = backup_files_open(o->backup->files, o->from_index, o->applied_index, &o->tail);
}

void backup_set_error(struct backup *b, int *place, int err, const char *what)
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

/* Entries between the run's last one and the store's, and those that were applied again since the start, are
 * read from the log. */
static void go_on(struct backup *b)
{
    uint64_t index = b->tail.index < b->open.applied_index ? b->tail.index : b->open.applied_index;
    b->state = BACKUP_FOLLOWING;
    b->run = b->tail.run;
    b->index = b->tail.index;
    b->term = b->tail.term;
    b->full_ms = b->tail.full_ms;
    b->run_ms = clock_mono_ms();
    b->is_run_made = true;
    if (b->tail.time_ms > b->time_ms)
        b->time_ms = b->tail.time_ms;
    b->queued_ms = b->tail.time_ms;
    if (b->tail.revision)
        b->revision = b->tail.revision;
    else
        (void)backup_outcomes_revision(&b->outcomes, b->tail.index, &b->revision); /* its segment is new */
    metric_set(METRIC_BACKUP_LAST_FULL, (double)b->full_ms / 1000);
    if (index == b->tail.index)
        backup_set_durable(b, index, b->revision);
    log_info("the backup goes on", F_STR("backup-dir", b->options.dir), F_UINT("index", b->index),
             F_INT("revision", b->revision));
    backup_reading_start(b, index);
}

static void open_done(struct worker_job *job)
{
    struct backup *b = container_of(job, struct open_job, job)->backup;
    b->open.is_out = false;
    backup_set_error(b, &b->log_err, b->open.err, "the backup cannot be opened");
    if (b->open.err) {
        mem_free(b->open.tail.list);
        backup_pace_retry(&b->pace, clock_mono_ms());
        return;
    }
    b->tail = b->open.tail;
    if (b->tail.can_continue) {
        go_on(b);
    } else {
        uint64_t term, index = kv_applied_index(b->options.kv, &term);
        b->revision = kv_revision(b->options.kv);
        begin_run(b, index, term);
    }
}

static void start_open(struct backup *b)
{
    b->open.is_out = true;
    b->open.from_index = b->outcomes.first - 1;
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
    if (!j->err && j->step == BACKUP_STEP_SYNC)
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
        backup_set_durable(b, i->index, i->revision);
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

/* The items of a job that is under way are the worker's: their links are not looked at. */
static struct backup_waiting waiting(const struct backup *b)
{
    bool has_written = !list_is_empty(&b->unsynced), has_queued = !list_is_empty(&b->queue);
    struct link *first = has_written ? b->unsynced.next : b->queue.next;
    return (struct backup_waiting){
        .has_queued = has_queued,
        .has_written = has_written,
        .bytes = b->bytes,
        .oldest_ms = has_written || has_queued ? container_of(first, struct item, link)->first_ms : 0,
    };
}

static void log_done(struct worker_job *job)
{
    struct log_job *j = container_of(job, struct log_job, job);
    struct backup *b = j->backup;
    backup_pace_done(&b->pace, j->step, j->err, clock_mono_ms());
    metric_add(METRIC_BACKUP_BYTES, (double)j->bytes);
    move_written(b, j->written);
    release_items(b, &b->unsynced, j->epoch);
    backup_set_error(b, &b->log_err, j->err, "the backup cannot be written");
    if (!j->err)
        return;
    put_back(b, &j->items);
    put_back(b, &b->unsynced);
    if (j->err == ERR_CORRUPT || j->err == ERR_NOT_FOUND) { /* its log cannot go on */
        backup_begin_gap(b, err_text(j->err));
        free_items(b, &b->queue);
    }
}

static void submit_log(struct backup *b, enum backup_step step)
{
    struct log_job *j = &b->log;
    struct backup_waiting w = waiting(b);
    backup_pace_begin(&b->pace, &w);
    list_move_all(&j->items, &b->queue);
    j->step = step;
    j->now_ms = backup_wall_ms();
    j->job = (struct worker_job){.run = run_log, .done = log_done};
    worker_submit(b->worker, &j->job);
}

static void write_log(struct backup *b, uint64_t now)
{
    struct backup_waiting w = waiting(b);
    enum backup_step step =
        b->state == BACKUP_OPENING ? BACKUP_STEP_NONE : backup_pace_step(&b->pace, &w, now);
    if (step != BACKUP_STEP_NONE)
        submit_log(b, step);
}

/* --- the state for people ---------------------------------------------------------------------------- */

/* When the first entry was applied that is not even in the queue; 0 = none. */
static uint64_t first_missing_ms(const struct backup *b)
{
    if (b->state == BACKUP_OPENING && b->outcomes.count)
        return backup_outcomes_time(&b->outcomes, b->outcomes.first);
    return b->state == BACKUP_READING ? backup_outcomes_time(&b->outcomes, b->read_index + 1) : 0;
}

static uint64_t lag_ms(struct backup *b, uint64_t now)
{
    struct backup_waiting w = waiting(b);
    struct backup_missing missing = {first_missing_ms(b), b->state == BACKUP_GAP ? b->gap_ms : 0};
    if (b->state == BACKUP_FOLLOWING && !b->full_ms)
        missing.since_ms = b->run_ms; /* nothing of the run can be restored */
    return backup_pace_lag_ms(&b->pace, &w, &missing, backup_wall_ms(), now);
}

static void tell_state(struct backup *b, uint64_t now)
{
    char text[200];
    uint64_t lag = lag_ms(b, now);
    int err = b->log_err ? b->log_err : b->full_err;
    bool is_behind = lag > BACKUP_BEHIND_MS || err;
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
    return !list_is_empty(&b->queue) || !list_is_empty(&b->unsynced) || b->pace.is_out || b->export ||
           b->state == BACKUP_READING;
}

static void backup_on_timer(uv_timer_t *timer);

static void set_timer(struct backup *b)
{
    uint64_t wait_ms = is_busy(b) ? BACKUP_WRITE_MS : IDLE_MS;
    if (wait_ms == IDLE_MS)
        drop_memory(b);
    if (!uv_is_active((uv_handle_t *)&b->timer) || uv_timer_get_repeat(&b->timer) != wait_ms)
        uv_timer_start(&b->timer, backup_on_timer, wait_ms, wait_ms);
}

static void backup_on_timer(uv_timer_t *timer)
{
    struct backup *b = container_of(timer, struct backup, timer);
    uint64_t now = clock_mono_ms();
    turn_enter(TURN_BACKUP);
    if (b->state == BACKUP_OPENING && !b->open.is_out && now >= b->pace.retry_ms)
        start_open(b);
    bool has_items = !list_is_empty(&b->queue) || !list_is_empty(&b->unsynced) || b->pace.is_out;
    if (b->state == BACKUP_GAP && !b->open.is_out && now >= b->pace.retry_ms && !has_items) {
        uint64_t term, index = kv_applied_index(b->options.kv, &term);
        b->revision = kv_revision(b->options.kv);
        begin_run(b, index, term);
    }
    write_log(b, now);
    backup_full_timer(b, now);
    tell_state(b, now);
}

void backup_turn(struct backup *b)
{
    if (!b)
        return;
    b->turn_ms = 0;
    backup_reading_turn(b);
    backup_full_turn(b);
    set_timer(b);
}

/* --- the whole --------------------------------------------------------------------------------------- */

/* They must be of the store's own last commit. */
static void load_outcomes(struct backup *b)
{
    struct slice note;
    int err = kv_note(b->options.kv, &note);
    if (!err)
        err = backup_outcomes_decode(note, &b->outcomes);
    if (err || b->outcomes.first + b->outcomes.count - 1 != b->open.applied_index ||
        b->outcomes.last_revision != b->revision)
        backup_outcomes_reset(&b->outcomes, b->open.applied_index, b->revision);
}

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
    b->end.backup = b;
    b->open.applied_index = kv_applied_index(o->kv, &term);
    b->revision = kv_revision(o->kv);
    load_outcomes(b);
    b->worker = worker_start(o->loop, "backup");
    uv_timer_init(o->loop, &b->timer);
    kv_on_entry(o->kv, backup_on_entry, b);
    kv_on_commit(o->kv, backup_on_commit, b);
    kv_keep_log(o->kv, b->outcomes.first - 1);
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

/* --- closing ----------------------------------------------------------------------------------------- */

static void run_end(struct worker_job *job)
{
    struct backup *b = container_of(job, struct end_job, job)->backup;
    backup_files_full_abandon(b->files);
    backup_files_free(b->files);
    b->files = NULL;
}

static void end_done(struct worker_job *job)
{
    (void)job;
}

static bool wait_until(struct backup *b, uint64_t due_ms)
{
    uint64_t now = clock_mono_ms();
    return worker_wait(b->worker, due_ms > now ? due_ms - now : 0);
}

/* All file work is the worker's, also this: a folder that does not answer must not stop the process. */
static bool write_last(struct backup *b)
{
    uint64_t due_ms = clock_mono_ms() + CLOSE_MS;
    if (!wait_until(b, due_ms))
        return false;
    if (b->state != BACKUP_OPENING && !(list_is_empty(&b->queue) && list_is_empty(&b->unsynced))) {
        submit_log(b, BACKUP_STEP_SYNC);
        if (!wait_until(b, due_ms))
            return false;
    }
    b->end.job = (struct worker_job){.run = run_end, .done = end_done};
    worker_submit(b->worker, &b->end.job);
    return wait_until(b, due_ms);
}

static void backup_on_closed(uv_handle_t *handle)
{
    mem_free(container_of((uv_timer_t *)handle, struct backup, timer));
}

static struct backup *abandoned; /* its worker has not returned: its memory stays */

void backup_close(struct backup *b)
{
    if (!b)
        return;
    kv_on_entry(b->options.kv, NULL, NULL);
    kv_read_log_cancel(b->options.kv);
    kv_set_notice(b->options.kv, NULL);
    bool is_written = write_last(b);
    kv_on_commit(b->options.kv, NULL, NULL);
    kv_keep_log(b->options.kv, 0);
    backup_full_close(b);
    if (!is_written) {
        log_warn("the backup's folder does not answer; what is not written is written after the next start",
                 F_STR("backup-dir", b->options.dir), F_UINT("waited-ms", CLOSE_MS));
        abandoned = b;
        worker_abandon(b->worker);
        uv_close((uv_handle_t *)&b->timer, NULL);
        return;
    }
    worker_stop(b->worker);
    free_items(b, &b->queue);
    free_items(b, &b->unsynced);
    drop_memory(b);
    backup_outcomes_done(&b->outcomes);
    mem_free(b->tail.list);
    uv_close((uv_handle_t *)&b->timer, backup_on_closed);
}
