/* SPDX-License-Identifier: Apache-2.0
 * Compaction. The request raises the compact revision at once and writes the scheduled mark with its entry.
 * The rest is a sweep in small steps; after a restart it begins again:
 *
 * 1. SWEEP_INDEX: the index is walked in key order, at most a millisecond a turn, and the revisions to drop
 *    are collected.
 * 2. SWEEP_SORT: they are sorted by revision (on the worker when there are many), so that neighbours on the
 *    disk are deleted together.
 * 3. SWEEP_DELETE: the records are deleted, one batch in a commit, with a pause in between.
 * 4. SWEEP_FINISH: the finished mark is committed.
 *
 * No reader sees dropped revisions: readers use the index, and those that read records by revision call
 * index_keeps. A compaction that arrives meanwhile gets a pass of its own afterwards. */
#include <stdlib.h>

#include "consensus/store/state.h"
#include "base/failpoint.h"
#include "base/mutant.h"

#define SLICE_KEYS  512u
#define SLICE_DROPS 16384u /* of one key: the rest of its history is moved each time */
#define SLICE_NS    UINT64_C(1000000)
#define SORT_INLINE 4096u
#define HELD_MS     100 /* between two checks whether exports still need the records */

struct waiter {
    struct link link;
    int64_t target;
    void (*fn)(void *arg, int err);
    void *arg;
};

static void set_mark(struct store *s, const char *name, int64_t revision)
{
    uint8_t value[8];
    put_be64(value, (uint64_t)revision);
    pending_add(&s->pending, BACKEND_PUT, BACKEND_META, slice_text(name), slice_of(value, sizeof value));
}

int store_compact(struct store *s, int64_t revision)
{
    assert(s->in_entry && s->sub == 0);
    if (revision <= s->compact_revision)
        return ERR_COMPACTED;
    if (revision > s->revision)
        return ERR_FUTURE_REV;
    s->compact_revision = revision;
    if (MUTANT(COMPACT_MARK_FORGOTTEN))
        return 0;
    FAILPOINT(COMPACT_BEFORE_COMMIT_SCHEDULED_COMPACT);
    set_mark(s, META_SCHEDULED, revision);
    FAILPOINT(COMPACT_AFTER_COMMIT_SCHEDULED_COMPACT);
    return 0;
}

static void compact_drop(void *arg, struct revision revision)
{
    struct sweep *w = arg;
    if (w->count == w->capacity) {
        w->capacity = w->capacity ? w->capacity * 2 : 1024;
        w->dropped = mem_resize(w->dropped, w->capacity * sizeof *w->dropped);
    }
    w->dropped[w->count++] = revision;
}

static int compare_revisions(const void *a, const void *b)
{
    const struct revision *x = a, *y = b;
    return revision_compare(*x, *y);
}

static void sort_dropped(struct sweep *w)
{
    if (w->count > 1)
        qsort(w->dropped, w->count, sizeof *w->dropped, compare_revisions);
}

static void sort_run(struct worker_job *job)
{
    sort_dropped(container_of(job, struct sweep, sort_job));
}

static void sort_done(struct worker_job *job)
{
    struct sweep *w = container_of(job, struct sweep, sort_job);
    struct store *s = container_of(w, struct store, sweep);
    w->phase = SWEEP_DELETE;
    store_job_done(s);
}

static void sweep_index(struct store *s)
{
    struct sweep *w = &s->sweep;
    uint64_t start = s->io->ops->mono_ns(s->io);
    uint64_t bytes = s->index.key_bytes;
    bool is_end;
    do {
        is_end = index_sweep(&s->index, &w->position, w->target, SLICE_KEYS, SLICE_DROPS, compact_drop, w);
    } while (!is_end && s->io->ops->mono_ns(s->io) - start < SLICE_NS);
    s->live_bytes -= bytes - s->index.key_bytes;
    w->index_ns += s->io->ops->mono_ns(s->io) - start;
    if (is_end)
        metric_observe(METRIC_INDEX_PAUSE, (double)w->index_ns / 1e6);
    if (!is_end) {
        store_wake(s, 1);
    } else if (w->count <= SORT_INLINE) {
        sort_dropped(w);
        w->phase = SWEEP_DELETE;
    } else {
        w->phase = SWEEP_SORT;
        w->sort_job = (struct worker_job){.run = sort_run, .done = sort_done};
        s->jobs++;
        s->io->ops->submit(s->io, IO_WORKER_STORE, &w->sort_job);
    }
}

static void sweep_delete(struct store *s, uint64_t now_ns)
{
    struct sweep *w = &s->sweep;
    if (!list_is_empty(&s->pending.batches))
        return; /* a commit is under way; its end starts the next turn */
    if (now_ns < w->next_ns) {
        store_wake(s, (w->next_ns - now_ns) / 1000000 + 1);
        return;
    }
    if (w->done < w->count && export_holds_sweep(s, now_ns)) {
        store_wake(s, HELD_MS);
        return;
    }
    size_t end = w->count - w->done > (size_t)s->options.compaction_batch
                     ? w->done + (size_t)s->options.compaction_batch
                     : w->count;
    if (end < w->count)
        FAILPOINT(COMPACT_BEFORE_COMMIT_BATCH);
    w->deleted += end - w->done;
    s->reads_since_trim += end - w->done; /* the worker reads the pages, too */
    for (; w->done < end; w->done++) {
        uint8_t key[REVISION_KEY_SIZE];
        revision_encode(w->dropped[w->done], key);
        cache_drop(&s->cache, w->dropped[w->done]);
        pending_add(&s->pending, BACKEND_DELETE, BACKEND_RECORDS, slice_of(key, sizeof key),
                    (struct slice){0});
    }
    s->pending.open->is_dirty = true;
    w->next_ns = now_ns + s->options.compaction_sleep_ms * 1000000;
    if (w->done == w->count) {
        FAILPOINT(COMPACT_BEFORE_SET_FINISHED_COMPACT);
        set_mark(s, META_FINISHED, w->target);
        FAILPOINT(COMPACT_AFTER_SET_FINISHED_COMPACT);
        s->pending.open->finishes_compact = true;
        w->phase = SWEEP_FINISH;
        mem_free(w->dropped);
        w->dropped = NULL;
        w->count = w->capacity = w->done = 0;
    }
    store_commit(s);
    metric_observe(METRIC_COMPACTION_PAUSE, (double)(s->io->ops->mono_ns(s->io) - now_ns) / 1e6);
}

/* Called only while the sweep has work left. */
void sweep_turn(struct store *s, uint64_t now_ns)
{
    struct sweep *w = &s->sweep;
    if (w->phase == SWEEP_IDLE) {
        w->target = s->compact_revision;
        w->phase = SWEEP_INDEX;
        w->begun_ns = now_ns;
        w->index_ns = w->deleted = 0;
        buf_clear(&w->position);
    }
    if (w->phase == SWEEP_INDEX)
        sweep_index(s);
    if (w->phase == SWEEP_DELETE)
        sweep_delete(s, now_ns);
}

static void notify_waiters(struct store *s, int64_t finished, int err)
{
    LIST_FOR_EACH_SAFE (l, &s->sweep.waiters) {
        struct waiter *waiter = container_of(l, struct waiter, link);
        if (!err && waiter->target > finished)
            continue;
        list_remove(l);
        waiter->fn(waiter->arg, err);
        mem_free(waiter);
    }
}

void sweep_committed(struct store *s)
{
    s->sweep.finished = s->sweep.target;
    metric_add(METRIC_COMPACTED_KEYS, (double)s->sweep.deleted);
    metric_observe(METRIC_COMPACTION_TOTAL, (double)(s->io->ops->mono_ns(s->io) - s->sweep.begun_ns) / 1e6);
    metric_set(METRIC_COMPACTION_LAST, (double)(s->io->ops->wall_ns(s->io) / 1000000000));
    s->sweep.phase = SWEEP_IDLE;
    export_sweep_is_done(s);
    notify_waiters(s, s->sweep.finished, 0);
}

void store_when_compacted(struct store *s, void (*fn)(void *arg, int err), void *arg)
{
    struct waiter *waiter = mem_new(sizeof *waiter);
    *waiter = (struct waiter){.target = s->compact_revision, .fn = fn, .arg = arg};
    list_add_last(&s->sweep.waiters, &waiter->link);
    store_wake(s, 1);
}

void sweep_check_waiters(struct store *s)
{
    if (!list_is_empty(&s->sweep.waiters))
        notify_waiters(s, s->sweep.finished, s->failed);
}

void sweep_finish_waiters(struct store *s)
{
    notify_waiters(s, INT64_MAX, 0);
}

void sweep_open(struct store *s, int64_t finished)
{
    s->sweep.finished = finished;
}

void sweep_stop(struct store *s)
{
    if (s->sweep.waiters.next)
        notify_waiters(s, 0, ERR_STOPPED);
}

void sweep_close(struct store *s)
{
    sweep_stop(s);
    buf_done(&s->sweep.position);
    mem_free(s->sweep.dropped);
}
