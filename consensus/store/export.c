/* SPDX-License-Identifier: Apache-2.0
 * Export of a store as one file; see export.h. The phases of an export:
 *
 *   pin     store worker: commits what was applied, and opens a read view of that commit
 *   side    copies the side tables out of that view, and closes it: milliseconds, even if nobody reads
 *   plan    gives all rows to the format once, which learns the size
 *   write   gives the same rows again: bytes, a block at a time, digested; waits while two blocks are full
 *
 * Rows are the records up to the pinned revision, then the copied side tables. A turn of the worker ends
 * after TURN_NS, TURN_ROWS or a whole block; one large record may be longer than a block.
 *
 * The sweep calls export_holds_sweep before it deletes. It waits HOLD_NS, or until the store has grown by a
 * quarter (at least HOLD_BYTES_MIN, at most HOLD_BYTES_MAX). Then it ends the exports and runs to its end. */
#include "consensus/store/export.h"

#include "base/hash.h"
#include "base/mutant.h"
#include "consensus/store/state.h"

#define BLOCK_BYTES    (256u << 10)
#define DIGEST_BYTES   (512u << 10) /* digested in one turn */
#define TURN_NS        UINT64_C(2000000)
#define TURN_ROWS      16384u
#define CLOCK_ROWS     16u        /* rows between two reads of the clock */
#define TRIM_BYTES     (8u << 20) /* bytes read through the map before its pages are returned to the kernel */
#define HOLD_NS        UINT64_C(300000000000)
#define HOLD_BYTES_MIN (16u << 20)
#define HOLD_BYTES_MAX (256u << 20)
#define ROW_HEAD       9 /* of a copied row: table, size of key, size of value */

enum export_phase { EXPORT_PIN, EXPORT_SIDE, EXPORT_PLAN, EXPORT_WRITE };

struct store_export {
    struct link link;    /* in store->exports until it has ended */
    struct store *store; /* NULL = the export has ended */
    struct store *job_store;
    void (*on_ready)(void *arg);
    void *arg;
    int err;
    bool is_out, is_closed;
    struct buf current_block; /* the block that was returned last */

    /* The worker's while is_out. */
    struct worker_job job;
    struct io *io;
    struct backend *backend;
    const struct export_format *format;
    struct export_writer *writer;
    enum export_phase phase;
    int job_err;
    int64_t revision;
    uint64_t size;
    struct backend_view *view; /* pinned, until the side tables are copied */
    struct buf side, side_key; /* copied rows; the key that was copied last */
    enum backend_table table;  /* where the rows, or the copy, continue */
    struct revision next;      /* record */
    size_t side_at;
    bool is_table_begun, is_row_end, is_whole;
    struct buf next_block; /* the block that grows; complete when is_ready */
    size_t digested;
    bool is_ready;
    struct sha256 *sha;
    uint8_t digest[EXPORT_DIGEST_SIZE];
    uint64_t turn_end_ns;
    size_t rows_left, mapped;
};

static void store_export_submit(struct store_export *x);

/* --- turns --------------------------------------------------------------------------------------- */

static void turn_begin(struct store_export *x)
{
    x->turn_end_ns = x->io->ops->mono_ns(x->io) + TURN_NS;
    x->rows_left = TURN_ROWS;
}

/* Called after each row. */
static bool turn_is_over(struct store_export *x)
{
    x->rows_left--;
    return x->rows_left == 0 ||
           (x->rows_left % CLOCK_ROWS == 0 && x->io->ops->mono_ns(x->io) >= x->turn_end_ns);
}

static void note_mapped(struct store_export *x, size_t size)
{
    x->mapped += size;
    if (x->mapped < TRIM_BYTES)
        return;
    x->mapped = 0;
    x->backend->ops->trim(x->backend);
}

/* --- side tables --------------------------------------------------------------------------------- */

static bool copy_row(void *arg, struct slice key, struct slice value)
{
    struct store_export *x = arg;
    uint8_t head[ROW_HEAD] = {(uint8_t)x->table};
    put_be32(head + 1, (uint32_t)key.size);
    put_be32(head + 5, (uint32_t)value.size);
    buf_add(&x->side, head, sizeof head);
    buf_add_slice(&x->side, key);
    buf_add_slice(&x->side, value);
    if (x->table == BACKEND_META && slice_equal(key, slice_text(META_APPLIED)) && value.size >= 24)
        x->revision = (int64_t)get_be64(value.data + 16);
    if (!turn_is_over(x))
        return true;
    buf_clear(&x->side_key);
    buf_add_slice(&x->side_key, key);
    buf_add_byte(&x->side_key, 0); /* the least key after it */
    x->is_row_end = false;
    return false;
}

static void unpin(struct store_export *x)
{
    if (x->view)
        x->backend->ops->unpin(x->view);
    x->view = NULL;
}

static int copy_side(struct store_export *x)
{
    turn_begin(x);
    while (x->table < BACKEND_TABLES) {
        x->is_row_end = true;
        int err = x->backend->ops->scan(x->view, x->table, buf_slice(&x->side_key), copy_row, x);
        if (err || !x->is_row_end)
            return err;
        x->table++;
        buf_clear(&x->side_key);
    }
    unpin(x);
    return 0;
}

/* --- rows ---------------------------------------------------------------------------------------- */

static bool block_is_full(const struct store_export *x)
{
    return x->next_block.size >= BLOCK_BYTES;
}

static bool add_record(void *arg, struct slice key, struct slice value)
{
    struct store_export *x = arg;
    struct revision revision = revision_decode(key.data);
    if (revision.main > x->revision && !MUTANT(EXPORT_READS_ON))
        return false;
    x->format->row(x->writer, key, value, &x->next_block);
    note_mapped(x, value.size);
    x->next = (struct revision){revision.main, revision.sub + 1};
    if (!turn_is_over(x) && !block_is_full(x))
        return true;
    x->is_row_end = false;
    return false;
}

/* *ret_end: the format got all rows of the table. */
static int add_records(struct store_export *x, bool *ret_end)
{
    uint8_t from[REVISION_KEY_SIZE];
    struct backend_view *view;
    int err = x->backend->ops->pin(x->backend, &view);
    if (err)
        return err;
    revision_encode(x->next, from);
    x->is_row_end = true;
    err = x->backend->ops->scan(view, BACKEND_RECORDS, slice_of(from, sizeof from), add_record, x);
    x->backend->ops->unpin(view);
    *ret_end = x->is_row_end;
    return err;
}

static bool add_side(struct store_export *x)
{
    while (x->side_at < x->side.size && x->side.data[x->side_at] == x->table) {
        const uint8_t *row = x->side.data + x->side_at;
        struct slice key = slice_of(row + ROW_HEAD, get_be32(row + 1));
        struct slice value = slice_of(key.data + key.size, get_be32(row + 5));
        x->format->row(x->writer, key, value, &x->next_block);
        x->side_at += ROW_HEAD + key.size + value.size;
        if (turn_is_over(x) || block_is_full(x))
            return false;
    }
    return true;
}

static void rows_begin(struct store_export *x)
{
    x->table = BACKEND_RECORDS;
    x->next = (struct revision){0};
    x->side_at = 0;
    x->is_table_begun = false;
}

/* Gives rows of this pass to the format, as many as the turn and the block allow; the table is BACKEND_TABLES
 * at the end. */
static int add_rows(struct store_export *x)
{
    turn_begin(x);
    while (x->table < BACKEND_TABLES) {
        bool is_end = false;
        int err = 0;
        if (!x->is_table_begun)
            x->format->table(x->writer, x->table, &x->next_block);
        x->is_table_begun = true;
        if (x->table == BACKEND_RECORDS)
            err = add_records(x, &is_end);
        else
            is_end = add_side(x);
        if (err || !is_end)
            return err;
        x->table++;
        x->is_table_begun = false;
    }
    return 0;
}

/* --- the worker ---------------------------------------------------------------------------------- */

static int run_plan(struct store_export *x)
{
    int err = add_rows(x);
    if (err || x->table < BACKEND_TABLES)
        return err;
    x->size = x->format->plan(x->writer, &x->next_block);
    x->sha = sha256_new();
    x->phase = EXPORT_WRITE;
    rows_begin(x);
    return 0;
}

static void digest_some(struct store_export *x)
{
    size_t size =
        x->next_block.size - x->digested < DIGEST_BYTES ? x->next_block.size - x->digested : DIGEST_BYTES;
    sha256_add(x->sha, x->next_block.data + x->digested, size);
    x->digested += size;
    x->is_ready = x->digested == x->next_block.size;
    if (!x->is_ready || !x->is_whole)
        return;
    sha256_finish(x->sha, x->digest);
    x->sha = NULL;
}

static int fill_block(struct store_export *x)
{
    int err = add_rows(x);
    if (err || x->table < BACKEND_TABLES)
        return err;
    x->is_whole = true;
    return x->format->finish(x->writer, &x->next_block);
}

static int run_write(struct store_export *x)
{
    bool had_block = x->is_whole || block_is_full(x);
    int err = had_block ? 0 : fill_block(x);
    bool has_block = x->is_whole || block_is_full(x);
    if (!err && has_block && (had_block || x->io->ops->mono_ns(x->io) < x->turn_end_ns))
        digest_some(x);
    return err;
}

static int run_side(struct store_export *x)
{
    int64_t expected = x->revision;
    int err = copy_side(x);
    if (err || x->view)
        return err;
    x->phase = EXPORT_PLAN;
    rows_begin(x);
    return x->revision == expected ? 0 : ERR_CORRUPT;
}

static void export_run(struct worker_job *job)
{
    struct store_export *x = container_of(job, struct store_export, job);
    switch (x->phase) {
    case EXPORT_PIN:
        x->job_err = x->backend->ops->pin(x->backend, &x->view);
        x->phase = EXPORT_SIDE;
        x->table = BACKEND_RECORDS + 1;
        break;
    case EXPORT_SIDE:
        x->job_err = run_side(x);
        break;
    case EXPORT_PLAN:
        x->job_err = run_plan(x);
        break;
    case EXPORT_WRITE:
        x->job_err = run_write(x);
        break;
    }
}

/* --- the loop ------------------------------------------------------------------------------------ */

static void free_memory(struct store_export *x)
{
    if (x->sha)
        sha256_finish(x->sha, x->digest);
    if (x->writer)
        x->format->free(x->writer);
    x->writer = NULL;
    x->sha = NULL;
    buf_done(&x->side);
    buf_done(&x->side_key);
    buf_done(&x->next_block);
}

/* Leaves the store: the sweep may continue. Not while a job is out. */
static void leave_store(struct store_export *x)
{
    if (!x->store)
        return;
    list_remove(&x->link);
    if (list_is_empty(&x->store->exports.list))
        store_wake(x->store, 1);
    x->store = NULL;
}

/* Ends the export: an error, or the end of the rows. */
static void export_end(struct store_export *x, int err)
{
    leave_store(x);
    if (!x->err)
        x->err = err;
    if (!x->is_out && x->err) {
        unpin(x);
        free_memory(x);
    }
}

static bool is_read(const struct store_export *x)
{
    return x->is_whole && x->is_ready;
}

static void export_done(struct worker_job *job)
{
    struct store_export *x = container_of(job, struct store_export, job);
    struct store *s = x->job_store;
    int err = x->job_err;
    x->is_out = false;
    if (!err)
        err = s->failed;
    if (x->is_closed || !x->store || err) {
        export_end(x, err);
        unpin(x);
        if (x->is_closed)
            store_export_close(x);
        else
            x->on_ready(x->arg);
    } else if (x->is_ready) {
        if (is_read(x))
            leave_store(x);
        x->on_ready(x->arg);
    } else {
        store_export_submit(x);
    }
    store_job_done(s);
}

static void store_export_submit(struct store_export *x)
{
    x->is_out = true;
    x->job_store = x->store;
    x->job = (struct worker_job){.run = export_run, .done = export_done};
    x->store->jobs++;
    x->io->ops->submit(x->io, x->phase == EXPORT_PIN ? IO_WORKER_STORE : IO_WORKER_SNAPSHOT, &x->job);
}

struct store_export *store_export_new(struct store *s, const struct export_format *format,
                                      void (*on_ready)(void *arg), void *arg)
{
    assert(!s->is_paused);
    struct store_export *x = mem_new(sizeof *x);
    x->store = s;
    x->io = s->io;
    x->backend = s->backend;
    x->format = format;
    x->writer = format->new ();
    x->on_ready = on_ready;
    x->arg = arg;
    x->revision = s->revision;
    list_add_last(&s->exports.list, &x->link);
    store_commit(s);
    store_export_submit(x);
    return x;
}

void store_export_close(struct store_export *x)
{
    x->is_closed = true;
    export_end(x, ERR_CANCELED);
    if (x->is_out)
        return;
    unpin(x);
    free_memory(x);
    buf_done(&x->current_block);
    mem_free(x);
}

int store_export_next(struct store_export *x, struct slice *ret_block)
{
    *ret_block = (struct slice){0};
    if (x->err)
        return x->err;
    if (!store_export_has_block(x))
        return 0;
    struct buf empty = x->current_block;
    x->current_block = x->next_block;
    x->next_block = empty;
    buf_clear(&x->next_block);
    x->digested = 0;
    x->is_ready = false;
    if (!x->is_whole)
        store_export_submit(x);
    *ret_block = buf_slice(&x->current_block);
    return 0;
}

bool store_export_has_block(const struct store_export *x)
{
    return !x->err && !x->is_out && x->is_ready;
}

bool store_export_is_done(const struct store_export *x)
{
    return !x->err && !x->is_out && x->is_whole && !x->is_ready;
}

void store_export_digest(const struct store_export *x, uint8_t ret_digest[EXPORT_DIGEST_SIZE])
{
    memcpy(ret_digest, x->digest, EXPORT_DIGEST_SIZE);
}

uint64_t store_export_size(const struct store_export *x)
{
    return x->size;
}

int64_t store_export_revision(const struct store_export *x)
{
    return x->revision;
}

/* --- the sweep ----------------------------------------------------------------------------------- */

static void end_all(struct store *s, int err)
{
    LIST_FOR_EACH_SAFE (l, &s->exports.list) {
        struct store_export *x = container_of(l, struct store_export, link);
        export_end(x, err);
        if (!x->is_out)
            x->on_ready(x->arg); /* else the job's done callback calls it */
    }
}

static uint64_t hold_bytes(const struct store *s)
{
    uint64_t bytes = s->exports.held_live / 4;
    if (bytes < HOLD_BYTES_MIN)
        return HOLD_BYTES_MIN;
    return bytes < HOLD_BYTES_MAX ? bytes : HOLD_BYTES_MAX;
}

bool export_holds_sweep(struct store *s, uint64_t now_ns)
{
    struct exports *e = &s->exports;
    if (list_is_empty(&e->list) || MUTANT(EXPORT_SWEPT)) {
        e->held_since_ns = 0;
        return false;
    }
    if (!e->held_since_ns) {
        e->held_since_ns = now_ns;
        e->held_live = s->live_bytes;
    }
    bool is_bearable = now_ns - e->held_since_ns < HOLD_NS && s->live_bytes < e->held_live + hold_bytes(s) &&
                       !e->is_sweep_first;
    if (is_bearable)
        return true;
    e->is_sweep_first = true;
    e->held_since_ns = 0;
    end_all(s, ERR_SNAPSHOT_SLOW);
    return false;
}

void export_sweep_is_done(struct store *s)
{
    s->exports.is_sweep_first = false;
    s->exports.held_since_ns = 0;
}

void export_store_ends(struct store *s, int err)
{
    end_all(s, err);
}

bool store_export_may_start(const struct store *s)
{
    return !s->exports.is_sweep_first && !s->is_paused;
}
