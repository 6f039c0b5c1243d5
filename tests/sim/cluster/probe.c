/* SPDX-License-Identifier: Apache-2.0
 * The copy of a disk that loses power; see probe.h. */
#include "tests/sim/cluster/probe.h"

#include "consensus/wal/wal.h"
#include "tests/sim/disk_internal.h"

struct reading {
    struct probe probe;
    uint64_t index;
};

static int on_entry(void *arg, const struct wal_entry *entry)
{
    struct reading *r = arg;
    r->probe.last = entry->index; /* an index that was already read truncates everything after it */
    if (entry->index == r->index)
        r->probe.entry_term = entry->term;
    else if (entry->index < r->index)
        r->probe.entry_term = 0;
    return OK;
}

static int on_hard_state(void *arg, const struct wal_hard_state *state)
{
    struct reading *r = arg;
    r->probe.term = state->term;
    r->probe.vote = state->vote;
    return OK;
}

static int on_snapshot(void *arg, uint64_t index, uint64_t term)
{
    struct reading *r = arg;
    (void)term;
    if (index > r->probe.snapshot_index)
        r->probe.snapshot_index = index;
    return OK;
}

/* The durable image without the pending operations. */
static struct sim_disk *cut_power(const struct sim_disk *d)
{
    struct sim_fate *fates = mem_new((d->pending.count + 1) * sizeof *fates);
    for (size_t i = 0; i < d->pending.count; i++)
        fates[i] = (struct sim_fate){.is_lost = true};
    struct sim_disk *copy = sim_disk_after_crash(d, fates, NULL);
    mem_free(fates);
    return copy;
}

bool probe_log(const struct machine *m, uint64_t index, struct probe *ret_probe)
{
    struct sim_clock clock = {0};
    struct sim_disk *disk = cut_power(m->disk);
    struct sim_io_options io_options = {.disk = disk, .clock = &clock};
    struct io *io = sim_io_new(&io_options);
    struct buf dir = {0};
    buf_addf(&dir, "%s/member/wal", m->dir);
    struct reading r = {.index = index};
    struct wal_options options = {
        .io = io, .dir = buf_text(&dir), .segment_size = m->world->plan.segment_bytes};
    struct wal_replay replay = {on_entry, on_hard_state, on_snapshot, &r};
    struct wal *wal = NULL;
    char error[256];
    int err = wal_open(&options, &replay, NULL, error, sizeof error, &wal);
    if (!err)
        wal_close(wal);
    sim_clock_run(&clock);
    sim_io_free(io);
    sim_clock_done(&clock);
    sim_disk_free(disk);
    buf_done(&dir);
    *ret_probe = r.probe;
    return !err;
}
