/* SPDX-License-Identifier: Apache-2.0
 * Store: opening and rebuilding the index, entries, commits, closing.
 *
 * A commit:
 * 1. store_turn finds it due and closes the open batch, with the applied index, term and revision as its last
 *    op.
 * 2. The worker runs the ops in one synced transaction.
 * 3. On the loop, the durable index moves, reads of these revisions go to the backend, and the batch is
 *    reused.
 *
 * Batches are committed in order. If one fails, the store has failed: nothing is committed any more. */
#include "consensus/store/store.h"

#include <stdio.h>

#include "consensus/store/lease.h"
#include "consensus/store/state.h"
#include "base/failpoint.h"
#include "base/hash.h"
#include "base/mutant.h"
#include "base/turn.h"

#define COMMIT_BYTES      (8u << 20)
#define PENDING_BYTES_MAX (32u << 20) /* a few commits */
#define CACHE_BYTES       (16u << 20) /* when there is no budget */
#define RELEASE_BYTES     (32u << 20) /* a larger batch is freed on the worker */
#define LONG_UNITS        8192        /* as for a range that is read in parts */
#define TRIM_READS        20000u
#define TRIM_BYTES        (32u << 20)
#define TRIM_INTERVAL_NS  UINT64_C(10000000000)

int store_fail(struct store *s, int err)
{
    if (!s->failed)
        s->failed = err;
    return err;
}

int store_view(struct store *s, struct backend_view **ret_view)
{
    if (!s->view) {
        int err = s->backend->ops->view_open(s->backend, &s->view);
        if (err) {
            s->view = NULL;
            return store_fail(s, err);
        }
    }
    *ret_view = s->view;
    return 0;
}

void store_view_close(struct store *s)
{
    if (s->view)
        s->backend->ops->view_close(s->backend, s->view);
    s->view = NULL;
    cache_turn(&s->cache);
}

static int fetch(struct store *s, struct revision revision, bool keeps, struct record *ret_record)
{
    struct slice value;
    uint8_t key[REVISION_KEY_SIZE];
    if (revision.main > s->committed_revision) {
        bool found = pending_find(&s->pending, revision, &value);
        assert(found);
        return record_decode(value, revision, false, ret_record);
    }
    if (cache_get(&s->cache, revision, &value))
        return record_decode(value, revision, false, ret_record);
    struct backend_view *view;
    int err = store_view(s, &view);
    if (err)
        return err;
    revision_encode(revision, key);
    s->reads_since_trim++;
    err = s->backend->ops->get(view, BACKEND_RECORDS, slice_of(key, sizeof key), &value);
    if (err == ERR_NOT_FOUND)
        err = ERR_CORRUPT;
    if (!err)
        err = record_decode(value, revision, true, ret_record);
    if (err)
        return store_fail(s, err);
    if (keeps)
        cache_add(&s->cache, revision, value);
    return 0;
}

void store_prefetch(struct store *s, struct slice key, unsigned step)
{
    if (step < 2) {
        keymap_prefetch(&s->index.map, key, step);
        return;
    }
    const struct index_entry *e = index_find(&s->index, key);
    if (e && !e->is_deleted && index_entry_revision(e).main <= s->committed_revision)
        cache_prefetch(&s->cache, index_entry_revision(e), step - 2);
}

void store_prefetch_puts(struct store *s, const struct slice *keys, size_t count)
{
    keymap_prefetch_all(&s->index.map, keys, count);
}

int store_fetch(struct store *s, struct revision revision, struct record *ret_record)
{
    return fetch(s, revision, false, ret_record);
}

int store_fetch_one(struct store *s, struct revision revision, struct record *ret_record)
{
    return fetch(s, revision, true, ret_record);
}

/* --- opening ----------------------------------------------------------------------------------- */

struct loading {
    struct store *s;
    struct revision last;
    int64_t limit; /* a record beyond it is corruption */
    size_t mapped; /* bytes read since the last trim */
    int err;
    /* Checked records that are not in the index yet: their cache misses overlap with other inserts. */
    struct load_item {
        struct record record; /* borrowed from the view */
        struct revision revision;
    } waiting[KEYMAP_PREFETCH_MAX];
    size_t waiting_count;
};

static void load_waiting(struct loading *l)
{
    struct slice keys[KEYMAP_PREFETCH_MAX];
    for (size_t i = 0; i < l->waiting_count; i++)
        keys[i] = l->waiting[i].record.key;
    keymap_prefetch_all(&l->s->index.map, keys, l->waiting_count);
    for (size_t i = 0; i < l->waiting_count; i++) {
        const struct record *r = &l->waiting[i].record;
        index_load(&l->s->index, r->key, l->waiting[i].revision, r->create_revision, r->version,
                   r->lease != 0);
    }
    l->waiting_count = 0;
}

static bool load_record(void *arg, struct slice key, struct slice value)
{
    struct loading *l = arg;
    struct load_item *next = &l->waiting[l->waiting_count];
    l->err = ERR_CORRUPT;
    if (key.size != REVISION_KEY_SIZE)
        return false;
    struct revision revision = revision_decode(key.data);
    if (revision.main <= 0 || revision.main > l->limit || revision_compare(l->last, revision) >= 0)
        return false;
    l->last = revision;
    if (record_decode(value, revision, true, &next->record) != 0)
        return false;
    next->revision = revision;
    if (++l->waiting_count == KEYMAP_PREFETCH_MAX)
        load_waiting(l);
    l->s->live_bytes += key.size + value.size;
    l->mapped += value.size;
    if (l->mapped > TRIM_BYTES) {
        l->mapped = 0;
        l->s->backend->ops->trim(l->s->backend);
    }
    l->err = 0;
    return true;
}

/* Only its latest record has the lease of a key; most keys have none. */
static int load_leases(struct store *s)
{
    struct tree_cursor c = tree_seek(&s->index.tree, (struct slice){0});
    for (struct index_entry *e; (e = tree_next(&c));) {
        struct record record;
        if (!e->has_lease)
            continue;
        int err = store_fetch(s, index_entry_revision(e), &record);
        if (err)
            return err;
        if (s->unattached_count == s->unattached_capacity) {
            s->unattached_capacity = s->unattached_capacity ? s->unattached_capacity * 2 : 64;
            s->unattached = mem_resize(s->unattached, s->unattached_capacity * sizeof *s->unattached);
        }
        s->unattached[s->unattached_count++] = (struct lease_item){e, record.lease};
    }
    return 0;
}

void store_attach_leases(struct store *s)
{
    /* A key of a restored file may name a lease that the file does not have. As in etcd, it stays. */
    for (size_t i = 0; i < s->unattached_count; i++)
        if (lease_exists(s->leases, s->unattached[i].lease))
            lease_attach(s->leases, s->unattached[i].lease, index_entry_key(s->unattached[i].entry));
    mem_free(s->unattached);
    s->unattached = NULL;
    s->unattached_count = s->unattached_capacity = 0;
}

/* Reads a number of 8 bytes in BACKEND_META; -1 when it is missing. */
static int meta_number(struct backend *b, struct backend_view *view, const char *name, int64_t *ret_value)
{
    struct slice value;
    int err = b->ops->get(view, BACKEND_META, slice_text(name), &value);
    if (err == ERR_NOT_FOUND) {
        *ret_value = -1;
        return 0;
    }
    if (err)
        return err;
    if (value.size != 8)
        return ERR_CORRUPT;
    *ret_value = (int64_t)get_be64(value.data);
    return 0;
}

/* Reads the marks: what was applied, and what was compacted. */
static int load_meta(struct store *s, struct backend_view *view, int64_t *ret_revision, int64_t *ret_finished)
{
    struct slice value;
    int64_t format, scheduled;
    *ret_revision = 1;
    int err = meta_number(s->backend, view, META_FORMAT, &format);
    if (!err && format != -1 && format != META_FORMAT_VERSION)
        err = ERR_CORRUPT;
    if (!err)
        err = meta_number(s->backend, view, META_SCHEDULED, &scheduled);
    if (!err)
        err = meta_number(s->backend, view, META_FINISHED, ret_finished);
    if (err)
        return err;
    s->has_note = s->backend->ops->get(view, BACKEND_META, slice_text(META_NOTE), &value) == OK;
    s->compact_revision = scheduled;
    err = s->backend->ops->get(view, BACKEND_META, slice_text(META_APPLIED), &value);
    if (err == ERR_NOT_FOUND)
        return format == -1 ? 0 : ERR_CORRUPT;
    if (err)
        return err;
    struct meta_applied applied;
    if (!meta_applied_read(value, &applied))
        return ERR_CORRUPT;
    s->applied_index = applied.index;
    s->applied_term = applied.term;
    *ret_revision = applied.revision;
    s->digest = (uint32_t)applied.digest;
    return 0;
}

int store_peek(struct backend *b, uint64_t *ret_applied_index, uint64_t *ret_applied_term)
{
    struct backend_view *view;
    struct slice value = {0};
    struct meta_applied applied = {0};
    int err = b->ops->view_open(b, &view);
    if (err)
        return err;
    err = b->ops->get(view, BACKEND_META, slice_text(META_APPLIED), &value);
    if (err == ERR_NOT_FOUND)
        err = 0;
    else if (!err && !meta_applied_read(value, &applied))
        err = ERR_CORRUPT;
    if (!err) {
        *ret_applied_index = applied.index;
        *ret_applied_term = applied.term;
    }
    b->ops->view_close(b, view);
    return err;
}

static int store_load(struct store *s)
{
    struct backend_view *view;
    struct loading l = {.s = s};
    int64_t finished;
    int err = store_view(s, &view);
    if (!err)
        err = load_meta(s, view, &l.limit, &finished);
    if (err)
        return err;
    index_init(&s->index, s->backend->ops->count(view, BACKEND_RECORDS));
    err = s->backend->ops->scan(view, BACKEND_RECORDS, (struct slice){0}, load_record, &l);
    if (!err)
        err = l.err;
    if (err)
        return err;
    load_waiting(&l);
    index_load_end(&s->index);
    s->revision = l.limit;
    /* All records of a revision are deleted only when it is compacted: then the mark shows it. */
    if (l.last.main < s->revision && s->revision > 1 && s->revision > s->compact_revision)
        return ERR_CORRUPT;
    if (s->compact_revision > s->revision)
        return ERR_CORRUPT;
    s->committed_revision = s->revision;
    s->durable_index = s->applied_index;
    s->live_bytes += s->index.key_bytes;
    err = load_leases(s);
    if (!err)
        sweep_open(s, finished);
    return err;
}

static void timer_fire(struct io_timer *timer)
{
    struct store *s = container_of(timer, struct store, timer);
    s->timer_at_ns = 0;
    store_turn(s);
}

/* Removes what others hold of the store: loop thread. */
static void store_stop_timers(struct store *s)
{
    s->io->ops->timer_stop(s->io,
                           &s->timer); /* also after it has fired: io's timer table may keep an entry for
                                          it */
    sweep_close(s);
}

static void store_free_memory(struct store *s)
{
    index_done(&s->index);
    pending_done(&s->pending);
    cache_done(&s->cache);
    mem_free(s->unattached);
    mem_free(s->events);
    buf_done(&s->note);
    mem_free(s);
}

static void store_free(struct store *s)
{
    store_stop_timers(s);
    store_free_memory(s);
}

int store_open(const struct store_options *options, char *error, size_t error_size, struct store **ret_store)
{
    struct store *s = mem_new(sizeof *s);
    s->options = *options;
    if (!s->options.long_units)
        s->options.long_units = LONG_UNITS;
    s->large = (size_t)s->options.long_units / 4;
    s->io = options->io;
    s->backend = options->backend;
    s->leases = options->leases;
    s->timer.fire = timer_fire;
    s->needs_previous = s->needs_events = true;
    pending_init(&s->pending);
    cache_init(&s->cache, options->cache_budget ? options->cache_budget->bytes_max : CACHE_BYTES,
               options->cache_budget);
    list_init(&s->sweep.waiters);
    list_init(&s->exports.list);
    list_init(&s->deferred);
    int err = store_load(s);
    store_view_close(s);
    if (err) {
        snprintf(error, error_size, "the store cannot be read: %s", err_text(err));
        s->backend->ops->close(s->backend);
        store_free(s);
        return err;
    }
    s->backend->ops->trim(s->backend);
    *ret_store = s;
    return 0;
}

/* --- commits ----------------------------------------------------------------------------------- */

/* The timer only starts a turn of an idle loop: an earlier time is kept. */
void store_wake(struct store *s, uint64_t after_ms)
{
    uint64_t at_ns = s->io->ops->mono_ns(s->io) + (after_ms ? after_ms : 1) * 1000000;
    if (s->timer_at_ns && s->timer_at_ns <= at_ns)
        return;
    s->timer_at_ns = at_ns;
    s->io->ops->timer_start(s->io, &s->timer, after_ms ? after_ms : 1);
}

static void commit_run(struct worker_job *job)
{
    struct pending_batch *b = container_of(job, struct pending_batch, job);
    struct store *s = b->owner;
    uint64_t begin_ns = s->io->ops->mono_ns(s->io);
    FAILPOINT(BEFORE_START_DB_TXN);
    b->err = s->backend->ops->commit(s->backend, b->ops, b->count, &b->freed);
    b->took_ns = s->io->ops->mono_ns(s->io) - begin_ns;
    FAILPOINT(AFTER_COMMIT);
}

struct release_job {
    struct worker_job job;
    struct store *s;
    struct pending_batch *batch;
};

static void release_run(struct worker_job *job)
{
    pending_free(container_of(job, struct release_job, job)->batch);
}

static void release_done(struct worker_job *job)
{
    struct release_job *r = container_of(job, struct release_job, job);
    struct store *s = r->s;
    mem_free(r);
    store_job_done(s);
}

/* Freeing hundreds of megabytes takes longer than a turn may. */
static void store_release(struct store *s, struct pending_batch *b)
{
    if (b->bytes < RELEASE_BYTES) {
        pending_release(&s->pending, b);
        return;
    }
    struct release_job *r = mem_new(sizeof *r);
    pending_detach(&s->pending, b);
    *r = (struct release_job){.s = s, .batch = b};
    r->job = (struct worker_job){.run = release_run, .done = release_done};
    s->jobs++;
    s->io->ops->submit(s->io, IO_WORKER_STORE, &r->job);
}

static void commit_done(struct worker_job *job)
{
    struct pending_batch *b = container_of(job, struct pending_batch, job);
    struct store *s = b->owner;
    store_view_close(s);
    metric_observe(METRIC_BACKEND_COMMIT, (double)b->took_ns / 1e9);
    if (b->err)
        store_fail(s, b->err);
    if (!s->failed) {
        s->durable_index = MUTANT(STORE_DURABLE_TOO_SOON) ? s->applied_index : b->applied_index;
        if (b->first_main)
            s->committed_revision = b->first_main + (int64_t)b->main_count - 1;
        s->live_bytes -= b->freed < s->live_bytes ? b->freed : s->live_bytes;
        s->reads_since_trim += b->count; /* the commit has read the pages that it replaced */
        bool finishes_compact = b->finishes_compact;
        store_release(s, b);
        if (finishes_compact)
            sweep_committed(s);
        else if (s->sweep.phase == SWEEP_DELETE && s->sweep.done)
            FAILPOINT(COMPACT_AFTER_COMMIT_BATCH);
        if (s->on_durable && !s->is_closing)
            s->on_durable(s->on_durable_arg, s->durable_index);
    }
    store_job_done(s);
}

static void add_note(struct store *s)
{
    buf_clear(&s->note);
    if (s->on_commit)
        s->on_commit(s->on_commit_arg, &s->note);
    if (s->note.size || s->has_note)
        pending_add(&s->pending, s->note.size ? BACKEND_PUT : BACKEND_DELETE, BACKEND_META,
                    slice_text(META_NOTE), buf_slice(&s->note));
    s->has_note = s->note.size != 0;
}

/* Closes the open batch with the marks from which a store can start. */
static struct pending_batch *batch_seal(struct store *s)
{
    uint8_t applied[META_APPLIED_SIZE], format[8];
    const struct meta_applied mark = {s->applied_index, s->applied_term, s->revision, s->digest};
    FAILPOINT(COMMIT_BEFORE_PRE_COMMIT_HOOK);
    meta_applied_write(&mark, applied);
    if (s->durable_index == 0) {
        put_be64(format, META_FORMAT_VERSION);
        pending_add(&s->pending, BACKEND_PUT, BACKEND_META, slice_text(META_FORMAT), slice_of(format, 8));
    }
    add_note(s);
    struct pending_batch *b = MUTANT(STORE_INDEX_APART) ? pending_submit(&s->pending) : NULL;
    pending_add(&s->pending, BACKEND_PUT, BACKEND_META, slice_text(META_APPLIED),
                slice_of(applied, sizeof applied));
    FAILPOINT(COMMIT_AFTER_PRE_COMMIT_HOOK);
    if (!b)
        b = pending_submit(&s->pending);
    b->applied_index = s->applied_index;
    b->owner = s;
    return b;
}

void store_commit(struct store *s)
{
    assert(!s->in_entry && !s->is_paused);
    if (!s->pending.open->is_dirty || s->failed)
        return;
    FAILPOINT(BEFORE_WRITEBACK_BUF);
    struct pending_batch *b = batch_seal(s);
    b->job = (struct worker_job){.run = commit_run, .done = commit_done};
    s->jobs++;
    FAILPOINT(AFTER_WRITEBACK_BUF);
    s->io->ops->submit(s->io, IO_WORKER_STORE, &b->job);
}

/* LMDB's transactions must stay small, and many entries can come in one turn, above all at the start. */
static bool batch_is_full(const struct store *s)
{
    const struct pending_batch *open = s->pending.open;
    return open->count >= s->options.commit_ops || open->bytes >= COMMIT_BYTES;
}

size_t store_pending_bytes(const struct store *s)
{
    size_t bytes = s->pending.open->bytes;
    LIST_FOR_EACH (l, &s->pending.batches)
        bytes += container_of(l, struct pending_batch, link)->bytes;
    return bytes;
}

bool store_is_full(const struct store *s)
{
    return store_pending_bytes(s) >=
           (s->options.pending_bytes_max ? s->options.pending_bytes_max : PENDING_BYTES_MAX);
}

void store_turn(struct store *s)
{
    store_view_close(s);
    store_attach_leases(s);
    sweep_check_waiters(s);
    /* An open entry keeps the batch open, and the entries of the index in place. */
    if (s->failed || s->is_closing || s->is_paused)
        return;
    uint64_t now_ns = s->io->ops->mono_ns(s->io);
    uint64_t interval_ns = s->options.commit_interval_ms * 1000000;
    turn_enter(TURN_KV_COMPACT);
    if (s->compact_revision > s->sweep.finished)
        sweep_turn(s, now_ns);
    turn_enter(TURN_KV_STORE);
    struct pending_batch *open = s->pending.open;
    if (open->is_dirty) {
        if (open->opened_ns == 0)
            open->opened_ns = now_ns;
        bool is_late = now_ns - open->opened_ns >= interval_ns;
        /* Nothing is applied while the store is full, so the commit does not wait for its interval. */
        bool is_due = is_late || store_is_full(s);
        if (batch_is_full(s) || (is_due && list_is_empty(&s->pending.batches)))
            store_commit(s);
        else
            store_wake(s, is_late ? 1 : (interval_ns - (now_ns - open->opened_ns)) / 1000000 + 1);
    }
    if (s->reads_since_trim >= TRIM_READS && now_ns >= s->next_trim_ns) {
        s->reads_since_trim = 0;
        s->next_trim_ns = now_ns + TRIM_INTERVAL_NS;
        s->backend->ops->trim(s->backend);
    }
}

/* --- other jobs of the worker ---------------------------------------------------------------- */

struct store_task {
    struct worker_job job;
    struct link link; /* in store.deferred */
    struct store *s;
    char *path; /* of a copy; NULL = only wait for the earlier commits */
    int err;
    void (*done)(void *arg, int err);
    void *arg;
};

static void task_run(struct worker_job *job)
{
    struct store_task *t = container_of(job, struct store_task, job);
    if (t->path)
        t->err = t->s->backend->ops->copy(t->s->backend, t->path);
}

static void finish_task(struct store_task *t)
{
    if (t->done)
        t->done(t->arg, t->s->failed ? t->s->failed : t->err);
    mem_free(t->path);
    mem_free(t);
}

static void task_done(struct worker_job *job)
{
    struct store_task *t = container_of(job, struct store_task, job);
    struct store *s = t->s;
    finish_task(t);
    store_job_done(s);
}

/* Jobs run in order: when the task runs, everything that was applied before is committed. */
static void start_deferred(struct store *s)
{
    for (struct link *l; (l = list_take_first(&s->deferred));) {
        store_commit(s);
        s->io->ops->submit(s->io, IO_WORKER_STORE, &container_of(l, struct store_task, link)->job);
    }
}

static void task_start(struct store *s, const char *path, void (*done)(void *arg, int err), void *arg)
{
    struct store_task *t = mem_new(sizeof *t);
    *t = (struct store_task){.s = s, .done = done, .arg = arg, .path = path ? mem_string(path) : NULL};
    t->job = (struct worker_job){.run = task_run, .done = task_done};
    s->jobs++;
    list_add_last(&s->deferred, &t->link);
    if (!s->is_paused)
        start_deferred(s);
}

void store_copy(struct store *s, const char *path, void (*done)(void *arg, int err), void *arg)
{
    task_start(s, path, done, arg);
}

void store_force_commit(struct store *s, void (*done)(void *arg, int err), void *arg)
{
    task_start(s, NULL, done, arg);
}

/* --- closing ----------------------------------------------------------------------------------- */

static void drop_run(struct worker_job *job)
{
    struct store *s = container_of(job, struct store, drop_job);
    s->backend->ops->close(s->backend);
    s->backend = NULL;
    index_done(&s->index);
    s->index = (struct index){0};
}

static void drop_done(struct worker_job *job)
{
    store_free_memory(container_of(job, struct store, drop_job));
}

static void close_now(struct store *s)
{
    store_view_close(s);
    if (s->is_dropped) {
        /* Freeing a million keys takes a second: not on the loop. */
        store_stop_timers(s);
        s->drop_job = (struct worker_job){.run = drop_run, .done = drop_done};
        s->io->ops->submit(s->io, IO_WORKER_STORE, &s->drop_job);
        return;
    }
    /* The log has everything that was applied since the last commit. With half an entry after it, it stays in
     * the log only. */
    if (s->pending.open->is_dirty && !s->failed && !s->is_paused) {
        struct pending_batch *b = batch_seal(s);
        int err = s->backend->ops->commit(s->backend, b->ops, b->count, &b->freed);
        if (err)
            store_fail(s, err);
    }
    s->backend->ops->close(s->backend);
    store_free(s);
}

void store_job_done(struct store *s)
{
    if (--s->jobs == 0 && s->is_closing)
        close_now(s);
}

void store_close(struct store *s)
{
    if (!s)
        return;
    assert(!s->in_entry);
    s->is_closing = true;
    export_store_ends(s, s->is_dropped ? ERR_NOT_READY : ERR_STOPPED);
    defrag_store_ends(s, s->is_dropped ? ERR_NOT_READY : ERR_STOPPED);
    for (struct link *l; (l = list_take_first(&s->deferred));) {
        struct store_task *t = container_of(l, struct store_task, link);
        t->err = ERR_STOPPED;
        finish_task(t);
        s->jobs--;
    }
    sweep_stop(s); /* now: when a job is out, the callers that wait may be freed before it returns */
    store_view_close(s);
    if (s->jobs == 0)
        close_now(s);
}

void store_drop(struct store *s)
{
    s->is_dropped = true;
    cache_leave(&s->cache);
    sweep_finish_waiters(s);
    store_close(s);
}

void store_moved(struct store *s, const char *path)
{
    s->backend->ops->moved(s->backend, path);
}

struct backend *store_discard(struct store *s)
{
    struct backend *backend = s->backend;
    store_view_close(s);
    store_free(s);
    return backend;
}

/* --- entries ----------------------------------------------------------------------------------- */

void store_begin(struct store *s, uint64_t index, uint64_t term)
{
    assert(!s->in_entry && !s->is_paused && index > s->applied_index);
    s->aside.applied_index = s->applied_index;
    s->aside.applied_term = s->applied_term;
    store_attach_leases(s);
    s->in_entry = true;
    s->applied_index = index;
    s->applied_term = term;
    s->sub = 0;
    s->entry_first_main = s->revision;
    s->pending.open->is_dirty = true;
}

void store_end(struct store *s)
{
    assert(s->in_entry && s->sub == 0);
    s->in_entry = false;
    if (s->revision > s->entry_first_main && s->on_change)
        store_notify_changes(s);
    if (batch_is_full(s))
        store_commit(s);
    start_deferred(s);
}

/* Hides an open entry. Its changes so far have the revision after the current one, so that no reader sees
 * them. Only the state that is stored beside the revisions must be restored. */
static void hide_open_entry(struct store *s)
{
    uint64_t index = s->applied_index, term = s->applied_term;
    uint32_t sub = s->sub;
    s->applied_index = s->aside.applied_index;
    s->applied_term = s->aside.applied_term;
    if (!MUTANT(APPLY_HALF_IS_SEEN))
        s->sub = s->aside.sub;
    s->aside.applied_index = index;
    s->aside.applied_term = term;
    s->aside.sub = sub;
}

void store_pause(struct store *s)
{
    assert(s->in_entry);
    s->in_entry = false;
    s->is_paused = true;
    s->aside.sub = 0;
    hide_open_entry(s);
}

void store_resume(struct store *s)
{
    assert(s->is_paused);
    hide_open_entry(s);
    s->in_entry = true;
    s->is_paused = false;
}

bool store_is_paused(const struct store *s)
{
    return s->is_paused;
}

void store_next_copy(const struct store *s, uint64_t *ret_index, uint64_t *ret_term)
{
    *ret_index = s->is_paused ? s->aside.applied_index : s->applied_index;
    *ret_term = s->is_paused ? s->aside.applied_term : s->applied_term;
}

void store_set(struct store *s, enum backend_table table, struct slice key, struct slice value)
{
    assert(s->in_entry && table != BACKEND_RECORDS);
    pending_add(&s->pending, value.size ? BACKEND_PUT : BACKEND_DELETE, table, key, value);
}

int store_get(struct store *s, enum backend_table table, struct slice key, struct arena *a,
              struct slice *ret_value)
{
    struct slice value;
    assert(table != BACKEND_RECORDS);
    if (pending_find_side(&s->pending, table, key, &value)) {
        if (value.size == 0)
            return ERR_NOT_FOUND;
    } else {
        struct backend_view *view;
        int err = store_view(s, &view);
        if (!err)
            err = s->backend->ops->get(view, table, key, &value);
        if (err)
            return err;
    }
    *ret_value = slice_of(arena_copy(a, value.data, value.size), value.size);
    return 0;
}

int store_scan(struct store *s, enum backend_table table,
               bool (*fn)(void *arg, struct slice key, struct slice value), void *arg)
{
    struct backend_view *view;
    int err = store_view(s, &view);
    return err ? err : s->backend->ops->scan(view, table, (struct slice){0}, fn, arg);
}

/* --- accessors ------------------------------------------------------------------------------- */

int store_failed(const struct store *s)
{
    return s->failed;
}

void store_on_durable(struct store *s, void (*fn)(void *arg, uint64_t applied_index), void *arg)
{
    s->on_durable = fn;
    s->on_durable_arg = arg;
}

void store_on_commit(struct store *s, void (*fn)(void *arg, struct buf *out), void *arg)
{
    s->on_commit = fn;
    s->on_commit_arg = arg;
}

int store_note(struct store *s, struct arena *a, struct slice *ret_note)
{
    *ret_note = (struct slice){0};
    int err = store_get(s, BACKEND_META, slice_text(META_NOTE), a, ret_note);
    return err == ERR_NOT_FOUND ? OK : err;
}

void store_on_change(struct store *s, void (*fn)(void *arg, const struct store_change *change), void *arg)
{
    s->on_change = fn;
    s->on_change_arg = arg;
}

void store_set_needs_events(struct store *s, bool needs)
{
    s->needs_events = needs;
}

void store_set_needs_previous(struct store *s, bool needs)
{
    s->needs_previous = needs;
}

int64_t store_revision(const struct store *s)
{
    return s->revision;
}

int64_t store_compact_revision(const struct store *s)
{
    return s->compact_revision;
}

uint64_t store_applied_index(const struct store *s)
{
    return s->applied_index;
}

uint64_t store_applied_term(const struct store *s)
{
    return s->applied_term;
}

uint64_t store_durable_index(const struct store *s)
{
    return s->durable_index;
}

uint32_t store_digest(const struct store *s)
{
    return s->digest;
}

void store_digest_add(struct store *s, struct slice bytes)
{
    assert(s->in_entry);
    s->digest = crc32c(s->digest, bytes.data, bytes.size);
}

uint64_t store_live_size(const struct store *s)
{
    return s->live_bytes;
}

struct store_sizes store_sizes(const struct store *s)
{
    struct backend_sizes b = s->backend->ops->sizes(s->backend);
    return (struct store_sizes){
        .file = b.file, .in_use = b.in_use, .live = s->live_bytes, .keys = s->index.live};
}
