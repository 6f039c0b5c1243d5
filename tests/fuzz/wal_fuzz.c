/* SPDX-License-Identifier: Apache-2.0
 * Fuzz target: folders of log segments with arbitrary content, through wal_open on the simulated disk. The
 * first byte says how the rest is read: as files as they are, or as a script that builds segments. The
 * script's checksums are valid, so that the input reaches the code after the checksum test. A log that opens
 * must take a batch, and open again with it. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "consensus/wal/segment.h"
#include "tests/sim/sim_io.h"

/* Fuzz targets link with an archive that does not include the simulated disk. */
#include "tests/sim/crash.c"
#include "tests/sim/disk.c"
#include "tests/sim/sim_io.c"

static const char dir[] = "d";

struct input {
    const uint8_t *data;
    size_t size;
};

static uint8_t take(struct input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

static struct slice take_slice(struct input *in, size_t size)
{
    struct slice s = slice_of(in->data, size < in->size ? size : in->size);
    in->data += s.size;
    in->size -= s.size;
    return s;
}

static void put_file(struct sim_disk *disk, uint64_t sequence, struct slice content)
{
    char name[WAL_SEGMENT_NAME_SIZE], path[64];

    wal_segment_name(sequence, name);
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    sim_disk_put(disk, path, content);
}

static void put_raw(struct sim_disk *disk, struct input *in)
{
    for (uint64_t sequence = 1; in->size && sequence < 8; sequence++) {
        size_t size = take(in) | (size_t)take(in) << 8;
        put_file(disk, sequence, take_slice(in, size));
    }
}

/* The segments that the script has built so far. */
struct builder {
    struct sim_disk *disk;
    struct wal_segment_header header;
    struct buf file;
    struct wal_state state;
    uint64_t synced;
};

static void begin_segment(struct builder *b, struct input *in)
{
    if (b->file.size) {
        put_file(b->disk, b->header.sequence, buf_slice(&b->file));
        b->header.previous_end = wal_sector_up(b->file.size);
    }
    b->header.sequence++;
    b->header.salt++;
    b->header.state = b->state;
    uint8_t odd = take(in); /* usually nothing */
    if (odd == 255)
        b->header.state.last_index += take(in);
    if (odd == 254)
        b->header.state.chain ^= take(in);
    if (odd == 253)
        b->header.state.snapshot.index = take(in);
    buf_clear(&b->file);
    wal_segment_header_encode(&b->file, &b->header);
    b->synced = b->file.size;
}

/* Follows the state as a true writer would, so that the next header fits. */
static void follow(struct wal_state *state, struct slice records)
{
    struct wal_record r;

    while (records.size && wal_record_take(&records, &r) == 0) {
        if (r.kind == WAL_RECORD_ENTRY)
            state->last_index = r.entry.index;
        else if (r.kind == WAL_RECORD_HARD_STATE)
            state->hard_state = r.hard_state;
        else
            state->snapshot = r.snapshot;
        if (r.kind == WAL_RECORD_SNAPSHOT && r.snapshot.index > state->last_index)
            state->last_index = r.snapshot.index;
    }
}

static void add_batch(struct builder *b, struct slice records, uint8_t kind)
{
    struct wal_batch batch = {
        .salt = b->header.salt,
        .number = b->state.number,
        .size = (uint32_t)records.size,
        .previous = b->state.chain,
        .chain = crc32c(b->state.chain, records.data, records.size),
        .synced = (uint32_t)(b->synced / WAL_SECTOR),
    };
    uint8_t header[WAL_BATCH_HEADER_SIZE];

    if (b->file.size == 0)
        return;
    if (kind & 1)
        b->synced = wal_sector_up(b->file.size + sizeof(header) + records.size);
    if (kind & 2)
        batch.size += kind;
    if (kind & 4)
        batch.number += kind;
    wal_batch_encode(header, &batch);
    buf_add(&b->file, header, sizeof(header));
    buf_add_slice(&b->file, records);
    size_t padding = (size_t)wal_sector_up(b->file.size) - b->file.size;
    memset(buf_reserve(&b->file, padding), 0, padding);
    b->file.size += padding;
    b->state.number++;
    b->state.chain = batch.chain;
    follow(&b->state, records);
}

static struct slice next_entry(struct builder *b, struct buf *record, struct slice data)
{
    uint32_t unused = 0;

    buf_clear(record);
    wal_record_add_entry(record, &unused,
                         &(struct wal_entry){.index = b->state.last_index + 1, .term = 1, .data = data});
    return buf_slice(record);
}

static void put_script(struct sim_disk *disk, struct input *in)
{
    struct builder b = {.disk = disk, .header.salt = 7, .state.number = 1};
    struct buf record = {0};

    begin_segment(&b, in);
    for (int steps = 0; in->size && steps < 64; steps++) {
        uint8_t op = take(in);
        switch (op % 5) {
        case 0:
            begin_segment(&b, in);
            break;
        case 1:
            add_batch(&b, next_entry(&b, &record, take_slice(in, take(in))), op >> 4);
            break;
        case 2:
            add_batch(&b, take_slice(in, take(in)), op >> 4);
            break;
        case 3:
            if (b.file.size)
                b.file.data[((size_t)take(in) << 8 | take(in)) % b.file.size] ^= op;
            break;
        default:
            b.file.size -= take(in) % (b.file.size + 1);
        }
    }
    put_file(disk, b.header.sequence, buf_slice(&b.file));
    buf_done(&b.file);
    buf_done(&record);
}

static uint64_t last_index;

static int on_entry(void *arg, const struct wal_entry *entry)
{
    volatile uint8_t sum = 0;

    (void)arg;
    for (size_t i = 0; i < entry->data.size; i++)
        sum = (uint8_t)(sum + entry->data.data[i]);
    last_index = entry->index;
    return 0;
}

static int on_snapshot(void *arg, uint64_t index, uint64_t term)
{
    (void)arg;
    (void)term;
    if (index > last_index)
        last_index = index;
    return 0;
}

static void on_done(void *arg, const struct wal_result *result)
{
    (void)arg;
    assert(result->err == 0);
}

/* Opens the log; appends and opens again when it can. */
static bool open_once(struct sim_disk *disk, uint64_t append_term)
{
    struct sim_clock clock = {0};
    struct io *io = sim_io_new(&(struct sim_io_options){.disk = disk, .clock = &clock, .seed = 1});
    struct wal_options options = {.io = io, .dir = dir, .segment_size = 4096, .entry_size_max = 4096};
    struct wal_replay replay = {.on_entry = on_entry, .on_snapshot = on_snapshot};
    char error[200] = "";
    struct wal *w = NULL;

    last_index = 0;
    int err = wal_open(&options, &replay, NULL, error, sizeof(error), &w);
    assert(err || !error[0]);
    assert(!err || error[0]);
    if (!err && append_term) {
        wal_add_snapshot(w, 1, 1);
        wal_add_hard_state(w, &(struct wal_hard_state){append_term, 1, 1});
        wal_submit(w, true, on_done, NULL);
        sim_clock_run(&clock);
    }
    sim_clock_run(&clock);
    wal_close(w);
    sim_io_free(io);
    sim_clock_done(&clock);
    return !err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sim_disk *disk = sim_disk_new();
    struct input in = {data, size};

    if (take(&in) & 1)
        put_script(disk, &in);
    else
        put_raw(disk, &in);
    if (open_once(disk, 5)) {
        uint64_t last = last_index;
        bool opens = open_once(disk, 0);
        assert(opens && last_index >= last);
    }
    sim_disk_free(disk);
    return 0;
}
