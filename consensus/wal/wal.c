/* SPDX-License-Identifier: Apache-2.0
 * Append path of the log: collect, submit, rotate, release, and the spare segment. See wal.h.
 *
 *   loop thread                              WAL worker
 *   wal_add_*: frame into `collect`
 *   wal_submit: header, place, rotate? ----> write, sync          (a new segment: write its header and the
 *   batch_done: report to the owner <------                        batch into the spare file, sync, rename,
 *   start_housekeeping: one piece --------> fill the spare         sync the folder)
 *                                           or drop the oldest segment
 *
 * A batch needs one write and one sync. Each of them can fail: `disk.err` keeps the first error for good, and
 * every later batch returns it. Only a spare without space is no error. It is tried again after the next
 * batch, and a batch that needs the space reports the error.
 *
 * Housekeeping runs as jobs of the same worker, one at a time and each small. It comes after a batch that was
 * submitted before it: a batch waits for at most one such piece. */
#include "consensus/wal/wal.h"

#include <assert.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/failpoint.h"
#include "base/mutant.h"
#include "consensus/wal/reading.h"
#include "consensus/wal/recover.h"

enum {
    PLACES = 4,               /* readers at different places do not begin anew each time */
    FILL_PIECE = 256 << 10,   /* zeros written to the spare at once ... */
    FILL_PIECE_MAX = 1 << 20, /* ... and when batches are large */
    COLLECT_KEEP = 1 << 20,   /* a larger buffer is freed after its batch */
    ENTRY_SIZE_MAX = 64 << 20,
};

static const char lock_name[] = "LOCK", spare_name[] = "spare";

/* A batch under way. The loop thread owns it before submit and from done on, the worker in between. */
struct batch_job {
    struct worker_job job;
    struct buf data;
    uint64_t at;
    uint64_t rotate_to; /* sequence of the new segment; 0 = the present one */
    struct buf header;  /* of the new segment */
    bool needs_sync;
    uint64_t release;   /* the wal_release that came before it */
    uint64_t file_size; /* result, after a rotation */
    struct wal_result result;
    void (*done)(void *arg, const struct wal_result *result);
    void *arg;
};

/* One piece of housekeeping. */
struct housekeeping_job {
    struct worker_job job;
    enum { TEND_FILL, TEND_DROP } kind;
    size_t piece;      /* FILL: bytes */
    uint64_t sequence; /* DROP: the segment to drop */
    uint64_t size;     /* DROP: of its file */
    int err;
    uint64_t spare_size; /* result */
};

struct wal {
    struct io *io;
    char *dir;
    uint64_t segment_size;
    uint64_t entry_size_max;
    struct buf metadata;
    struct io_file *lock;

    /* Loop thread. */
    struct wal_state state;  /* with the collected records */
    struct wal_state before; /* without them */
    struct buf collect;      /* room for the batch header, then records */
    struct wal_segment *segments;
    size_t segment_count, segment_capacity;
    uint64_t salt;       /* of the last segment */
    uint64_t begin;      /* where its first batch is */
    uint64_t at;         /* where its next batch goes */
    uint64_t synced;     /* all before it is durable */
    uint64_t spare_size; /* as of the last job that ended */
    uint64_t release_asked;
    uint64_t release_index;     /* all records added before this request are durable */
    bool busy, is_housekeeping; /* the batch, the housekeeping job is with the worker */
    bool in_done;               /* the owner's callback is running */
    bool spare_blocked;         /* no space for it: not again before the next batch */
    bool failed, closing;
    struct batch_job batch;
    struct housekeeping_job housekeeping;
    struct wal_reading reading; /* owned by the snapshot worker while is_reading */
    bool is_reading;
    void (*read_done)(void *arg, int err, const struct wal_entry *entries, size_t count);
    void *read_arg;
    struct wal_place places[PLACES]; /* where the last readings ended */
    size_t place_next;

    /* Worker, or the loop thread while no job is running. */
    struct {
        struct io_file *file;  /* the last segment */
        struct io_file *spare; /* NULL: none yet */
        uint64_t spare_size;
        bool dirty; /* file has writes that were not synced */
        int err;
    } disk;
};

static void start_housekeeping(struct wal *w);

/* --- open and close -------------------------------------------------------------------------- */

int wal_exists(struct io *io, const char *dir, bool *ret_exists)
{
    struct buf sequences = {0};
    int err = wal_list_segments(io, dir, &sequences);

    if (!err || err == ERR_NOT_FOUND) {
        *ret_exists = sequences.size > 0;
        err = 0;
    }
    buf_done(&sequences);
    return err;
}

static struct wal *wal_new(const struct wal_options *options)
{
    struct wal *w = mem_new(sizeof(*w));

    assert(options->segment_size % WAL_SECTOR == 0 && options->segment_size >= 4 * (uint64_t)WAL_SECTOR);
    assert(options->segment_size / WAL_SECTOR <= UINT32_MAX);
    assert(options->entry_size_max <= UINT32_MAX / 4);
    w->io = options->io;
    w->dir = mem_string(options->dir);
    w->segment_size = options->segment_size;
    w->entry_size_max = options->entry_size_max ? options->entry_size_max : ENTRY_SIZE_MAX;
    return w;
}

static void wal_free(struct wal *w)
{
    if (w->disk.file)
        w->io->ops->close(w->io, w->disk.file);
    if (w->disk.spare)
        w->io->ops->close(w->io, w->disk.spare);
    if (w->lock)
        w->io->ops->close(w->io, w->lock);
    buf_done(&w->metadata);
    buf_done(&w->collect);
    buf_done(&w->batch.data);
    buf_done(&w->batch.header);
    wal_reading_done(&w->reading);
    mem_free(w->segments);
    mem_free(w->dir);
    mem_free(w);
}

/* Takes the lock and deletes the spare of an earlier process: its contents are unknown. */
static int lock_folder(struct wal *w)
{
    char *lock = wal_path(w->dir, lock_name), *spare = wal_path(w->dir, spare_name);
    int err = w->io->ops->lock(w->io, lock, &w->lock);

    if (!err)
        err = w->io->ops->unlink(w->io, spare);
    if (err == ERR_NOT_FOUND)
        err = 0;
    mem_free(lock);
    mem_free(spare);
    return err;
}

static void add_segment(struct wal *w, struct wal_segment segment)
{
    if (w->segment_count == w->segment_capacity) {
        w->segment_capacity = w->segment_capacity ? 2 * w->segment_capacity : 8;
        w->segments = mem_resize(w->segments, w->segment_capacity * sizeof(*w->segments));
    }
    w->segments[w->segment_count++] = segment;
}

/* Makes the spare the segment after the last one; its first batch is at w->at. */
static void plan_segment(struct wal *w, struct buf *ret_header, uint64_t *ret_sequence)
{
    uint64_t last = w->segment_count ? w->segments[w->segment_count - 1].sequence : 0;
    struct wal_segment_header header = {
        .sequence = last + 1,
        .salt = w->io->ops->random(w->io),
        .previous_end = w->segment_count ? w->at : 0,
        .state = w->before,
        .metadata = buf_slice(&w->metadata),
    };

    buf_clear(ret_header);
    wal_segment_header_encode(ret_header, &header);
    add_segment(w, (struct wal_segment){header.sequence, header.state.last_index, 0});
    w->salt = header.salt;
    w->begin = w->at = w->synced = ret_header->size;
    *ret_sequence = header.sequence;
}

static int spare_open(struct wal *w)
{
    if (w->disk.spare)
        return 0;
    char *path = wal_path(w->dir, spare_name);
    int err = w->io->ops->open(w->io, path, true, &w->disk.spare);
    w->disk.spare_size = 0;
    mem_free(path);
    return err;
}

static int spare_fill(struct wal *w, size_t size)
{
    int err = spare_open(w);
    if (err)
        return err;
    uint8_t *zeros = mem_new(size);
    err = w->io->ops->write(w->io, w->disk.spare, w->disk.spare_size, zeros, size);
    mem_free(zeros);
    if (!err)
        err = w->io->ops->sync(w->io, w->disk.spare);
    if (!err)
        w->disk.spare_size += size;
    return err;
}

/* Writes header and first batch into the spare, syncs it, and only then gives it its name. */
static int install_spare(struct wal *w, struct slice header, struct slice data, uint64_t sequence,
                         uint64_t *ret_sync_ns, uint64_t *ret_size)
{
    const struct io_ops *ops = w->io->ops;
    char name[WAL_SEGMENT_NAME_SIZE];
    uint64_t start, end = header.size + data.size;

    wal_segment_name(sequence, name);
    char *from = wal_path(w->dir, spare_name), *to = wal_path(w->dir, name);
    int err = spare_open(w);
    if (!err)
        err = ops->write(w->io, w->disk.spare, 0, header.data, header.size);
    if (!err && data.size)
        err = ops->write(w->io, w->disk.spare, header.size, data.data, data.size);
    start = ops->mono_ns(w->io);
    if (!err)
        err = MUTANT(WAL_SEGMENT_NOT_SYNCED) ? OK : ops->sync(w->io, w->disk.spare);
    if (!err)
        err = ops->rename(w->io, from, to);
    if (!err && !MUTANT(WAL_FOLDER_NOT_SYNCED))
        err = ops->sync_dir(w->io, w->dir);
    if (!err) {
        *ret_sync_ns = ops->mono_ns(w->io) - start;
        *ret_size = end > w->disk.spare_size ? end : w->disk.spare_size;
        if (w->disk.file)
            ops->close(w->io, w->disk.file);
        w->disk.file = w->disk.spare;
        w->disk.spare = NULL;
        w->disk.spare_size = 0;
    }
    mem_free(from);
    mem_free(to);
    return err;
}

int wal_create(const struct wal_options *options, struct wal **ret_wal)
{
    struct wal *w = wal_new(options);
    struct buf header = {0};
    uint64_t sequence, sync_ns, size;
    bool exists = false;
    int err = w->io->ops->mkdir(w->io, w->dir);

    if (!err)
        err = lock_folder(w);
    if (!err)
        err = wal_exists(w->io, w->dir, &exists);
    if (!err && exists)
        err = ERR_EXISTS;
    if (err)
        goto out;
    w->state.number = w->before.number = 1;
    buf_add_slice(&w->metadata, options->metadata);
    plan_segment(w, &header, &sequence);
    while (!err && w->disk.spare_size < w->segment_size) {
        uint64_t rest = w->segment_size - w->disk.spare_size;
        err = spare_fill(w, rest < FILL_PIECE_MAX ? (size_t)rest : FILL_PIECE_MAX);
    }
    if (!err)
        err = install_spare(w, buf_slice(&header), (struct slice){0}, sequence, &sync_ns, &size);
    if (err)
        goto out;
    w->segments[0].size = size;
    start_housekeeping(w);
    *ret_wal = w;
out:
    buf_done(&header);
    if (err)
        wal_free(w);
    return err;
}

int wal_open(const struct wal_options *options, const struct wal_replay *replay, struct buf *ret_metadata,
             char *error, size_t error_size, struct wal **ret_wal)
{
    struct wal *w = wal_new(options);
    struct wal_options checked = *options;
    struct wal_recovered r;
    int err = lock_folder(w);

    if (err) {
        snprintf(error, error_size, "%s: %s", w->dir,
                 err == ERR_EXISTS      ? "the log is in use by another process"
                 : err == ERR_NOT_FOUND ? "there is no log here"
                                        : "the log cannot be locked");
        goto out;
    }
    checked.entry_size_max = w->entry_size_max;
    err = wal_recover(&checked, replay, error, error_size, &r);
    if (err)
        goto out;
    w->segments = r.segments;
    w->segment_count = w->segment_capacity = r.count;
    w->disk.file = r.file;
    w->salt = r.salt;
    w->begin = r.begin;
    w->at = w->synced = r.at;
    w->state = w->before = r.state;
    w->metadata = r.metadata;
    if (ret_metadata)
        buf_add_slice(ret_metadata, buf_slice(&w->metadata));
    start_housekeeping(w);
    *ret_wal = w;
out:
    if (err)
        wal_free(w);
    return err;
}

void wal_close(struct wal *w)
{
    if (!w)
        return;
    assert(!w->busy && !w->is_reading);
    w->closing = true;
    if (!w->is_housekeeping && !w->in_done)
        wal_free(w);
}

/* --- collect --------------------------------------------------------------------------------- */

/* Room for the batch header comes first, so that a batch is one piece of memory and one write. */
static struct buf *collect(struct wal *w)
{
    if (w->collect.size == 0) {
        buf_reserve(&w->collect, WAL_BATCH_HEADER_SIZE);
        w->collect.size = WAL_BATCH_HEADER_SIZE;
    }
    assert(w->collect.size <= UINT32_MAX / 2);
    return &w->collect;
}

void wal_add_entry(struct wal *w, const struct wal_entry *entry)
{
    assert(entry->data.size <= w->entry_size_max);
    assert(entry->index > 0 && entry->index <= w->state.last_index + 1);
    wal_record_add_entry(collect(w), &w->state.chain, entry);
    w->state.last_index = entry->index;
}

void wal_add_hard_state(struct wal *w, const struct wal_hard_state *state)
{
    wal_record_add_hard_state(collect(w), &w->state.chain, state);
    w->state.hard_state = *state;
}

void wal_add_snapshot(struct wal *w, uint64_t index, uint64_t term)
{
    struct wal_snapshot snapshot = {index, term};

    wal_record_add_snapshot(collect(w), &w->state.chain, &snapshot);
    w->state.snapshot = snapshot;
    if (index > w->state.last_index)
        w->state.last_index = index;
}

bool wal_has_records(const struct wal *w)
{
    return w->collect.size > 0;
}

bool wal_is_busy(const struct wal *w)
{
    return w->busy;
}

/* --- submit ---------------------------------------------------------------------------------- */

static int batch_write(struct wal *w, struct batch_job *b)
{
    if (!b->data.size)
        return OK;
    w->disk.dirty = true;
    return w->io->ops->write(w->io, w->disk.file, b->at, b->data.data, b->data.size);
}

/* In one call if all before it is synced: then that call covers everything. */
static int batch_write_synced(struct wal *w, struct batch_job *b)
{
    const struct io_ops *ops = w->io->ops;
    bool is_one = !w->disk.dirty && b->data.size;
    int err = OK;

    if (!is_one)
        err = batch_write(w, b);
    if (err || (!is_one && !w->disk.dirty))
        return err;
    w->disk.dirty = true;
    uint64_t start = ops->mono_ns(w->io);
    FAILPOINT(WAL_BEFORE_SYNC);
    if (FAILPOINT(WAL_SYNC_ERROR))
        err = ERR_IO;
    else if (is_one)
        err = ops->write_synced(w->io, w->disk.file, b->at, b->data.data, b->data.size);
    else
        err = ops->sync(w->io, w->disk.file);
    FAILPOINT(WAL_AFTER_SYNC);
    b->result.sync_ns = ops->mono_ns(w->io) - start;
    if (!err)
        w->disk.dirty = false;
    return err;
}

static int batch_append(struct wal *w, struct batch_job *b)
{
    return b->needs_sync && !MUTANT(WAL_NOT_SYNCED) ? batch_write_synced(w, b) : batch_write(w, b);
}

/* A visible successor proves that this segment is complete: so this one must be durable before. */
static int batch_rotate(struct wal *w, struct batch_job *b)
{
    int err = w->disk.dirty ? w->io->ops->sync(w->io, w->disk.file) : 0;

    if (!err)
        err = install_spare(w, buf_slice(&b->header), buf_slice(&b->data), b->rotate_to, &b->result.sync_ns,
                            &b->file_size);
    if (!err)
        w->disk.dirty = false;
    return err;
}

static void batch_run(struct worker_job *job)
{
    struct wal *w = container_of(job, struct wal, batch.job);
    struct batch_job *b = &w->batch;

    uint64_t start = w->io->ops->mono_ns(w->io);
    if (!w->disk.err)
        w->disk.err = b->rotate_to ? batch_rotate(w, b) : batch_append(w, b);
    if (MUTANT(WAL_ERROR_FORGOTTEN))
        w->disk.err = OK;
    b->result.err = w->disk.err;
    b->result.took_ns = w->io->ops->mono_ns(w->io) - start;
}

static void batch_done(struct worker_job *job)
{
    struct wal *w = container_of(job, struct wal, batch.job);
    struct batch_job *b = &w->batch;
    struct wal_segment *last = &w->segments[w->segment_count - 1];
    struct wal_result result = b->result;
    void (*done)(void *, const struct wal_result *) = b->done;
    void *arg = b->arg;

    w->failed = result.err != 0;
    if (!w->failed) {
        if (b->rotate_to) {
            last->size = b->file_size;
            w->spare_size = 0;
        }
        if (b->needs_sync || b->rotate_to) {
            w->synced = w->at;
            w->release_index = b->release;
        }
        if (w->at > last->size)
            last->size = w->at;
    }
    if (b->data.capacity > COLLECT_KEEP)
        buf_done(&b->data);
    buf_clear(&b->data);
    w->busy = false;
    w->spare_blocked = false;
    w->in_done = true; /* the owner goes first: its next batch does not wait for the housekeeping */
    done(arg, &result);
    w->in_done = false;
    start_housekeeping(w);
}

/* Writes the header before the records and zeros after them. */
static void batch_seal(struct wal *w, struct buf *data, uint32_t size)
{
    struct wal_batch batch = {
        .salt = w->salt,
        .number = w->before.number,
        .size = size,
        .previous = w->before.chain,
        .chain = w->state.chain,
        .synced = (uint32_t)(w->synced / WAL_SECTOR),
    };
    size_t padded = (size_t)wal_sector_up(data->size);

    wal_batch_encode(data->data, &batch);
    memset(buf_reserve(data, padded - data->size), 0, padded - data->size);
    data->size = padded;
}

/* False: the batch begins the next segment. */
static bool fits_segment(const struct wal *w, size_t size)
{
    return w->at + wal_sector_up(size) <= w->segment_size || w->at <= w->begin;
}

/* Makes a batch of the collected records. */
static void batch_begin(struct wal *w, bool needs_sync,
                        void (*done)(void *arg, const struct wal_result *result), void *arg)
{
    struct batch_job *b = &w->batch;
    struct buf spent = b->data;

    assert(!w->busy && !w->closing);
    b->data = w->collect;
    w->collect = spent;
    b->needs_sync = needs_sync;
    b->release = w->release_asked;
    b->rotate_to = 0;
    b->done = done;
    b->arg = arg;
    if (b->data.size) {
        uint32_t size = (uint32_t)(b->data.size - WAL_BATCH_HEADER_SIZE);

        if (!fits_segment(w, b->data.size))
            plan_segment(w, &b->header, &b->rotate_to);
        batch_seal(w, &b->data, size);
        w->state.number++;
        w->before = w->state;
    }
    b->at = w->at;
    w->at += b->data.size;
    b->result = (struct wal_result){.bytes = b->data.size};
    w->busy = true;
    b->job.run = batch_run;
    b->job.done = batch_done;
}

void wal_submit(struct wal *w, bool needs_sync, void (*done)(void *arg, const struct wal_result *result),
                void *arg)
{
    batch_begin(w, needs_sync, done, arg);
    w->io->ops->submit(w->io, IO_WORKER_WAL, &w->batch.job);
}

bool wal_submit_here(struct wal *w, bool needs_sync, void (*done)(void *arg, const struct wal_result *result),
                     void *arg)
{
    if (w->is_housekeeping || !fits_segment(w, w->collect.size))
        return false;
    batch_begin(w, needs_sync, done, arg);
    batch_run(&w->batch.job);
    batch_done(&w->batch.job);
    return true;
}

/* --- housekeeping ---------------------------------------------------------------------------- */

/* The folder is synced after each removal, so that no crash can leave a gap in the sequence of segments. A
 * file of the usual size becomes the spare: its bytes have another salt and never check again. */
static int drop_segment(struct wal *w, const struct housekeeping_job *t)
{
    const struct io_ops *ops = w->io->ops;
    char name[WAL_SEGMENT_NAME_SIZE];
    bool recycle = !w->disk.spare && t->size == w->segment_size;

    wal_segment_name(t->sequence, name);
    char *path = wal_path(w->dir, name), *spare = wal_path(w->dir, spare_name);
    int err = recycle ? ops->rename(w->io, path, spare) : ops->unlink(w->io, path);
    if (!err)
        err = ops->sync_dir(w->io, w->dir);
    if (!err && recycle) {
        err = spare_open(w);
        w->disk.spare_size = t->size;
    }
    mem_free(path);
    mem_free(spare);
    return err;
}

static void housekeeping_run(struct worker_job *job)
{
    struct wal *w = container_of(job, struct wal, housekeeping.job);
    struct housekeeping_job *t = &w->housekeeping;

    t->err = w->disk.err;
    if (!t->err)
        t->err = t->kind == TEND_DROP ? drop_segment(w, t) : spare_fill(w, t->piece);
    if (t->err && !(t->kind == TEND_FILL && t->err == ERR_NO_DISK_SPACE))
        w->disk.err = t->err;
    t->spare_size = w->disk.spare_size;
}

static void housekeeping_done(struct worker_job *job)
{
    struct wal *w = container_of(job, struct wal, housekeeping.job);
    struct housekeeping_job *t = &w->housekeeping;

    w->is_housekeeping = false;
    w->spare_size = t->spare_size;
    if (!t->err && t->kind == TEND_DROP) {
        w->segment_count--;
        memmove(w->segments, w->segments + 1, w->segment_count * sizeof(*w->segments));
    }
    if (t->err == ERR_NO_DISK_SPACE && t->kind == TEND_FILL)
        w->spare_blocked = true;
    else if (t->err)
        w->failed = true;
    start_housekeeping(w);
}

/* The piece size that keeps the spare ahead of the log when batches are large. */
static size_t fill_piece(const struct wal *w)
{
    uint64_t rest = w->segment_size - w->spare_size;
    uint64_t piece = 2 * (uint64_t)w->batch.result.bytes;

    piece = piece < FILL_PIECE ? FILL_PIECE : piece > FILL_PIECE_MAX ? FILL_PIECE_MAX : wal_sector_up(piece);
    return (size_t)(piece < rest ? piece : rest);
}

/* Oldest segments that are no longer needed. */
static size_t count_releasable(const struct wal *w)
{
    size_t n = 0;

    while (n + 1 < w->segment_count && w->segments[n + 1].index_before <= w->release_index)
        n++;
    if (MUTANT(WAL_RELEASED_EARLY) && w->release_index && n + 1 < w->segment_count)
        n++;
    return n;
}

/* The spare is made when the last segment is half full. Until then one released segment of the usual size is
 * kept to become it: a log in steady use writes no zeros and creates no files. */
static bool plan_piece(const struct wal *w, struct housekeeping_job *t)
{
    bool wants_spare = w->at >= w->segment_size / 2 && w->spare_size < w->segment_size && !w->spare_blocked;
    size_t releasable = count_releasable(w);

    if (releasable > 1 || (releasable == 1 &&
                           ((wants_spare && w->spare_size == 0) || w->segments[0].size != w->segment_size))) {
        t->kind = TEND_DROP;
        t->sequence = w->segments[0].sequence;
        t->size = w->segments[0].size;
        return true;
    }
    if (wants_spare) {
        t->kind = TEND_FILL;
        t->piece = fill_piece(w);
        return true;
    }
    return false;
}

/* Starts the next piece of housekeeping, if there is any. Also completes a close of the log. */
static void start_housekeeping(struct wal *w)
{
    if (w->is_housekeeping || w->in_done)
        return;
    if (w->closing) {
        wal_free(w);
        return;
    }
    if (w->failed || !plan_piece(w, &w->housekeeping))
        return;
    w->is_housekeeping = true;
    w->housekeeping.job.run = housekeeping_run;
    w->housekeeping.job.done = housekeeping_done;
    w->io->ops->submit(w->io, IO_WORKER_WAL, &w->housekeeping.job);
}

/* --- reading back ---------------------------------------------------------------------------- */

/* The last entry of an index is after the beginning of the newest segment that starts below the index. */
static struct wal_place segment_place(const struct wal *w, uint64_t index)
{
    size_t i = w->segment_count;
    while (i > 1 && w->segments[i - 1].index_before >= index)
        i--;
    return (struct wal_place){.sequence = w->segments[i - 1].sequence};
}

/* A nearer place, if an earlier reading ended before it. */
static struct wal_place wal_place_of(const struct wal *w, uint64_t index)
{
    struct wal_place best = segment_place(w, index);
    for (size_t i = 0; i < PLACES; i++) {
        const struct wal_place *p = &w->places[i];
        bool is_usable = p->sequence >= best.sequence && p->next_index <= index;
        if (is_usable && p->next_index > best.next_index)
            best = *p;
    }
    return best;
}

/* Replaces the place that this reading continued from, else the oldest one. */
static void keep_place(struct wal *w, uint64_t from, const struct wal_place *place)
{
    for (size_t i = 0; i < PLACES; i++)
        if (w->places[i].sequence && w->places[i].next_index == from) {
            w->places[i] = *place;
            return;
        }
    w->places[w->place_next++ % PLACES] = *place;
}

static void read_run(struct worker_job *job)
{
    wal_reading_run(container_of(job, struct wal_reading, job));
}

static void read_done(struct worker_job *job)
{
    struct wal *w = container_of(job, struct wal, reading.job);
    struct wal_reading *r = &w->reading;
    size_t count;
    const struct wal_entry *entries = wal_reading_finish(r, &count);

    if (!r->err)
        keep_place(w, r->range.from, &r->place);
    w->is_reading = false;
    w->in_done = true;
    w->read_done(w->read_arg, r->err, entries, count);
    w->in_done = false;
    wal_reading_done(r);
    start_housekeeping(w);
}

void wal_read(struct wal *w, const struct wal_range *range,
              void (*done)(void *arg, int err, const struct wal_entry *entries, size_t count), void *arg)
{
    assert(!w->is_reading && !w->closing);
    bool has_planned = w->busy && w->batch.rotate_to; /* its file may not have its name yet */
    w->reading.io = w->io;
    w->reading.dir = w->dir;
    w->reading.range = *range;
    w->reading.place = wal_place_of(w, range->from);
    w->reading.sequence_last = w->segments[w->segment_count - 1].sequence - (has_planned ? 1 : 0);
    w->reading.job.run = read_run;
    w->reading.job.done = read_done;
    w->read_done = done;
    w->read_arg = arg;
    w->is_reading = true;
    w->io->ops->submit(w->io, IO_WORKER_SNAPSHOT, &w->reading.job);
}

bool wal_is_reading(const struct wal *w)
{
    return w->is_reading;
}

void wal_release(struct wal *w, uint64_t index)
{
    if (index > w->release_asked)
        w->release_asked = index;
}

uint64_t wal_disk_size(const struct wal *w)
{
    uint64_t size = w->spare_size;

    for (size_t i = 0; i < w->segment_count; i++)
        size += w->segments[i].size;
    return size;
}

uint64_t wal_index_beyond(const struct wal *w, uint64_t bytes_max)
{
    uint64_t size = 0;
    for (size_t i = w->segment_count; i > 0; i--) {
        size += w->segments[i - 1].size;
        if (size > bytes_max && i < w->segment_count)
            return w->segments[i].index_before;
    }
    return 0;
}
