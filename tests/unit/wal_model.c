/* SPDX-License-Identifier: Apache-2.0
 * The model, machine and scripts for the tests of the log; see wal_model.h. */
#include "tests/unit/wal_model.h"

#include "base/hash.h"
#include "base/mem.h"
#include "tests/unit/unit.h"

const char wal_machine_dir[] = "data/wal";

/* --- the model -------------------------------------------------------------------------------- */

int wal_model_entry(void *arg, const struct wal_entry *e)
{
    struct wal_model *m = arg;

    assert_true(e->index > 0 && e->index < WAL_MODEL_ENTRIES);
    if (m->first == 0 || e->index < m->first)
        m->first = e->index;
    else
        assert_true(e->index <= m->last + 1);
    m->last = e->index;
    m->entries[e->index] = (struct wal_model_entry){
        e->term, hash64_u64(hash64(e->data.data, e->data.size) + e->data.size * 256 + e->type)};
    return 0;
}

int wal_model_hard_state(void *arg, const struct wal_hard_state *s)
{
    ((struct wal_model *)arg)->hard_state = *s;
    return 0;
}

int wal_model_snapshot(void *arg, uint64_t index, uint64_t term)
{
    struct wal_model *m = arg;
    m->snapshot_index = index;
    m->snapshot_term = term;
    if (index > m->last) {
        m->last = index;
        m->first = 0;
    }
    return 0;
}

bool wal_model_matches(const struct wal_model *found, const struct wal_model *want)
{
    if (memcmp(&found->hard_state, &want->hard_state, sizeof(want->hard_state)) != 0 ||
        found->snapshot_index != want->snapshot_index || found->snapshot_term != want->snapshot_term)
        return false;
    if (want->first == 0 || want->last <= want->snapshot_index)
        return found->first == 0 || found->last == want->last;
    if (found->first == 0 || found->last != want->last || found->first > want->snapshot_index + 1)
        return false;
    for (uint64_t i = found->first; i <= found->last; i++) {
        if (memcmp(&found->entries[i], &want->entries[i], sizeof(want->entries[i])) != 0)
            return false;
    }
    return true;
}

/* --- a machine with a log --------------------------------------------------------------------- */

void wal_machine_start(struct wal_machine *m, struct sim_disk *disk, uint64_t seed)
{
    *m = (struct wal_machine){.disk = disk, .segment_size = 4096};
    m->io = sim_io_new(&(struct sim_io_options){.disk = disk, .clock = &m->clock, .seed = seed});
}

void wal_machine_stop(struct wal_machine *m)
{
    sim_clock_run(&m->clock);
    wal_close(m->wal);
    m->wal = NULL;
    sim_clock_run(&m->clock);
    sim_io_free(m->io);
    sim_clock_done(&m->clock);
}

static struct wal_options options_of(const struct wal_machine *m)
{
    return (struct wal_options){.io = m->io,
                                .dir = wal_machine_dir,
                                .segment_size = m->segment_size,
                                .entry_size_max = 32 << 10,
                                .metadata = slice_text("cluster 1 member 2")};
}

int wal_machine_create(struct wal_machine *m)
{
    struct wal_options options = options_of(m);
    return wal_create(&options, &m->wal);
}

int wal_machine_open(struct wal_machine *m, struct wal_model *found)
{
    struct wal_options options = options_of(m);
    struct wal_replay replay = {wal_model_entry, wal_model_hard_state, wal_model_snapshot, found};
    struct buf metadata = {0};

    memset(found, 0, sizeof(*found));
    int err = wal_open(&options, &replay, &metadata, m->error, sizeof(m->error), &m->wal);
    if (!err)
        assert_true(slice_equal(buf_slice(&metadata), options.metadata));
    buf_done(&metadata);
    return err;
}

static void on_done(void *arg, const struct wal_result *result)
{
    struct wal_machine *m = arg;
    m->result = *result;
    m->done_count++;
}

int wal_machine_submit(struct wal_machine *m, bool needs_sync)
{
    int before = m->done_count;

    wal_submit(m->wal, needs_sync, on_done, m);
    assert_true(wal_is_busy(m->wal));
    sim_clock_run(&m->clock);
    assert_int_equal(m->done_count, before + 1);
    assert_false(wal_is_busy(m->wal));
    return m->result.err;
}

void wal_machine_add(struct wal *w, uint64_t index, uint64_t term, size_t size)
{
    uint8_t *data = mem_new(size + 1);

    for (size_t i = 0; i < size; i++)
        data[i] = (uint8_t)(index * 31 + term * 7 + i * i);
    wal_add_entry(
        w, &(struct wal_entry){
               .index = index, .term = term, .type = (uint8_t)(index % 3), .data = slice_of(data, size)});
    mem_free(data);
}

/* --- scripts ---------------------------------------------------------------------------------- */

const struct wal_step wal_long_script[WAL_LONG_SCRIPT_STEPS] = {
    {.commit = 0, .index = 1, .term = 1, .count = 1, .size = 20},
    {.commit = 1, .is_lazy = true},
    {.index = 2, .term = 1, .count = 3, .size = 200, .commit = 1},
    {.index = 5, .term = 1, .count = 1, .size = 1500},
    {.commit = 4, .is_lazy = true},
    {.commit = 5, .is_lazy = true},
    {.index = 4, .term = 2, .count = 2, .size = 700, .commit = 3},
    {.index = 6, .term = 2, .count = 1, .size = 900},
    {.index = 7, .term = 2, .count = 4, .size = 10, .commit = 6, .release = 3},
    {.index = 11, .term = 2, .count = 1, .size = 2600, .commit = 10},
    {.commit = 11, .is_lazy = true},
    {.index = 12, .term = 3, .count = 1, .size = 1200, .commit = 11, .release = 11},
    {.index = 13, .term = 3, .count = 1, .size = 9000},
    {.index = 14, .term = 3, .count = 1, .size = 5, .commit = 13},
    {.index = 15, .term = 3, .count = 2, .size = 900, .release = 14},
    {.snapshot = 20, .commit = 20},
    {.index = 21, .term = 4, .count = 2, .size = 1500, .commit = 20},
    {.index = 22, .term = 5, .count = 1, .size = 1500, .release = 21},
    {.index = 23, .term = 5, .count = 1, .size = 3300, .commit = 22},
    {.index = 24, .term = 5, .count = 2, .size = 600, .commit = 22},
    {.index = 26, .term = 5, .count = 1, .size = 600, .commit = 23, .release = 25},
    {.index = 27, .term = 5, .count = 1, .size = 1600, .commit = 26},
    {.index = 28, .term = 5, .count = 1, .size = 1600, .is_lazy = true},
    {.index = 29, .term = 5, .count = 2, .size = 100, .release = 28},
    {.index = 31, .term = 5, .count = 1, .size = 2000},
    {.index = 32, .term = 5, .count = 1, .size = 2000, .release = 31},
    {.commit = 32, .is_lazy = true}, /* the mark is with this one: nothing may go yet */
    {.index = 33, .term = 5, .count = 1, .size = 2000},
    {.index = 34, .term = 5, .count = 1, .size = 20},
};

void wal_model_step(struct wal_model *m, const struct wal_step *s)
{
    struct wal_entry e = {.term = s->term};
    uint8_t *data = mem_new(s->size + 1);

    for (int k = 0; k < s->count; k++) {
        e.index = s->index + (uint64_t)k;
        e.type = (uint8_t)(e.index % 3);
        for (size_t i = 0; i < s->size; i++)
            data[i] = (uint8_t)(e.index * 31 + e.term * 7 + i * i);
        e.data = slice_of(data, s->size);
        wal_model_entry(m, &e);
    }
    mem_free(data);
    if (s->commit)
        m->hard_state = (struct wal_hard_state){s->term + 1, 7, s->commit};
    if (s->snapshot)
        wal_model_snapshot(m, s->snapshot, s->term);
}

void wal_run_init(struct wal_run *r, const struct wal_step *steps, size_t count)
{
    memset(r, 0, sizeof(*r));
    r->steps = steps;
    r->count = count;
    for (size_t i = 0; i < count; i++) {
        r->models[i + 1] = r->models[i];
        if (i > 0 && steps[i - 1].release)
            wal_model_snapshot(&r->models[i + 1], steps[i - 1].release, 1);
        wal_model_step(&r->models[i + 1], &steps[i]);
    }
}

int wal_run_script(struct wal_run *r, struct wal_machine *m)
{
    int err = 0;

    for (size_t i = 0; !err && i < r->count; i++) {
        const struct wal_step *s = &r->steps[i];

        for (int k = 0; k < s->count; k++)
            wal_machine_add(m->wal, s->index + (uint64_t)k, s->term, s->size);
        if (s->commit)
            wal_add_hard_state(m->wal, &(struct wal_hard_state){s->term + 1, 7, s->commit});
        if (s->snapshot)
            wal_add_snapshot(m->wal, s->snapshot, s->term);
        assert_true(wal_has_records(m->wal));
        r->submitted = i + 1;
        err = wal_machine_submit(m, !s->is_lazy);
        if (!err && !s->is_lazy)
            r->durable = i + 1;
        sim_disk_mark(m->disk, r->durable + 1);
        if (!err && s->release && i + 1 < r->count) { /* as the node does it */
            wal_add_snapshot(m->wal, s->release, 1);
            wal_release(m->wal, s->release);
        }
        sim_clock_run(&m->clock);
    }
    return err;
}

int wal_run_find(const struct wal_run *r, const struct wal_model *found, size_t durable)
{
    for (size_t n = durable; n <= r->count; n++) {
        if (wal_model_matches(found, &r->models[n]))
            return (int)n;
    }
    return -1;
}

void wal_run_once(struct wal_run *r, struct sim_disk *disk)
{
    struct wal_machine m;

    wal_machine_start(&m, disk, 1);
    assert_int_equal(wal_machine_create(&m), 0);
    sim_disk_mark(disk, 1);
    assert_int_equal(wal_run_script(r, &m), 0);
    wal_machine_stop(&m);
}
