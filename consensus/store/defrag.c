/* SPDX-License-Identifier: Apache-2.0
 * Defragmentation: runs the backend's pack step by step; see defrag.h. Each step is a job of the store
 * worker:
 *
 *   DEFRAG_BEGIN   creates the new file
 *   DEFRAG_COPY    copies STEP_BYTES in each job, followed by a pause twice as long as the job, so that
 *                  commits and the log's syncs have at least two thirds of the disk and of a core
 *   DEFRAG_RENAME  its done callback closes the loop's views; from then on they read the new file
 *   DEFRAG_END     closes the old file, or deletes the new one after an error; then the caller is notified
 *
 * Done callbacks run in the order of the jobs. So the loop reads the new file before it is notified of a
 * commit that only the new file holds. */
#include "consensus/store/defrag.h"

#include "base/failpoint.h"
#include "base/mutant.h"
#include "consensus/store/state.h"

#define STEP_BYTES   (256u << 10) /* one transaction */
#define PAUSE_MS_MAX 100

static void defrag_run(struct worker_job *job)
{
    struct defrag *d = container_of(job, struct defrag, job);
    struct store *s = container_of(d, struct store, defrag);
    const struct backend_ops *ops = s->backend->ops;
    uint64_t begin_ns = s->io->ops->mono_ns(s->io);
    size_t bytes = s->options.defrag_bytes ? s->options.defrag_bytes : STEP_BYTES;
    switch (d->phase) {
    case DEFRAG_IDLE:
        break;
    case DEFRAG_BEGIN:
        d->err = ops->pack_begin(s->backend, d->live, &d->pack);
        break;
    case DEFRAG_COPY:
        d->err = ops->pack_step(s->backend, bytes, &d->pack);
        break;
    case DEFRAG_RENAME:
        d->err = ops->pack_rename(s->backend, &d->pack);
        break;
    case DEFRAG_END:
        ops->pack_end(s->backend);
        break;
    }
    d->took_ns = s->io->ops->mono_ns(s->io) - begin_ns;
}

static void store_defrag_answer(struct defrag *d, int err)
{
    void (*done)(void *, int) = d->done;
    d->done = NULL;
    if (done)
        done(d->done_arg, err);
}

static void defrag_done(struct worker_job *job);

static void store_defrag_submit(struct store *s, enum defrag_phase phase)
{
    struct defrag *d = &s->defrag;
    d->phase = phase;
    d->is_out = true;
    d->reported = d->pack;
    d->job = (struct worker_job){.run = defrag_run, .done = defrag_done};
    s->jobs++;
    s->io->ops->submit(s->io, IO_WORKER_STORE, &d->job);
}

/* The pause is over. */
static void timer_fire(struct io_timer *timer)
{
    struct defrag *d = container_of(timer, struct defrag, timer);
    store_defrag_submit(container_of(d, struct store, defrag), DEFRAG_COPY);
}

static void pause_copying(struct store *s)
{
    uint64_t ms = 2 * s->defrag.took_ns / 1000000 + 1;
    s->io->ops->timer_start(s->io, &s->defrag.timer, ms < PAUSE_MS_MAX ? ms : PAUSE_MS_MAX);
}

/* Switches the store to the new file. */
static void switch_to_new_file(struct store *s)
{
    store_view_close(s);
    if (MUTANT(DEFRAG_KEEPS_OLD_VIEW))
        return;
    s->backend->ops->pack_switch(s->backend);
    FAILPOINT(DEFRAG_AFTER_SWITCH);
    if (s->defrag.err)
        store_fail(s, s->defrag.err);
}

static void defrag_done(struct worker_job *job)
{
    struct defrag *d = container_of(job, struct defrag, job);
    struct store *s = container_of(d, struct store, defrag);
    d->is_out = false;
    if (d->phase == DEFRAG_RENAME && d->pack.is_renamed)
        switch_to_new_file(s);
    if (d->phase == DEFRAG_END) {
        d->phase = DEFRAG_IDLE;
        s->io->ops->timer_stop(s->io, &d->timer); /* also after it has fired: see store_stop_timers */
        store_defrag_answer(d, d->result);
    } else if (!s->is_closing) { /* else the close of the backend ends the pack */
        d->result = d->err ? d->err : s->failed;
        if (!d->result && d->is_canceled && !d->pack.is_renamed && !MUTANT(DEFRAG_OUTLIVES_CANCEL))
            d->result = ERR_CANCELED;
        if (d->result || d->phase == DEFRAG_RENAME)
            store_defrag_submit(s, DEFRAG_END);
        else if (d->pack.is_copied)
            store_defrag_submit(s, DEFRAG_RENAME);
        else if (d->phase == DEFRAG_BEGIN)
            store_defrag_submit(s, DEFRAG_COPY);
        else
            pause_copying(s);
    }
    store_job_done(s);
}

void store_defrag(struct store *s, void (*done)(void *arg, int err), void *arg)
{
    struct defrag *d = &s->defrag;
    assert(d->phase == DEFRAG_IDLE && !s->is_closing);
    *d = (struct defrag){.done = done, .done_arg = arg, .live = s->live_bytes};
    d->timer.fire = timer_fire;
    if (s->failed || !s->backend->ops->pack_begin) {
        store_defrag_answer(d, s->failed);
        return;
    }
    store_defrag_submit(s, DEFRAG_BEGIN);
}

bool store_defrag_is_running(const struct store *s)
{
    return s->defrag.phase != DEFRAG_IDLE;
}

void store_defrag_cancel(struct store *s)
{
    struct defrag *d = &s->defrag;
    if (d->phase == DEFRAG_IDLE)
        return;
    d->is_canceled = true;
    if (d->is_out)
        return;
    s->io->ops->timer_stop(s->io, &d->timer);
    d->result = ERR_CANCELED;
    store_defrag_submit(s, DEFRAG_END);
}

struct backend_pack store_defrag_progress(const struct store *s)
{
    return s->defrag.is_out ? s->defrag.reported : s->defrag.pack;
}

void defrag_store_ends(struct store *s, int err)
{
    struct defrag *d = &s->defrag;
    if (d->phase == DEFRAG_IDLE)
        return;
    s->io->ops->timer_stop(s->io, &d->timer);
    store_defrag_answer(d, err);
}
