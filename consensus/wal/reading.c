/* SPDX-License-Identifier: Apache-2.0
 * Read-back of log entries; see reading.h. It walks the batches from a place on, segment after segment. It
 * takes each entry that has the next wanted index and the wanted term, and ends when it has enough. */
#include "consensus/wal/reading.h"

#include "base/mem.h"
#include "base/mutant.h"
#include "consensus/wal/recover.h"

static uint64_t next_index(const struct wal_reading *r)
{
    return r->range.from + r->entries.size / sizeof(struct wal_entry);
}

static bool has_enough(const struct wal_reading *r)
{
    return r->entries.size && (next_index(r) > r->range.to || r->bytes.size >= r->range.bytes_max);
}

static void take_entry(struct wal_reading *r, const struct wal_entry *entry)
{
    bool is_term = entry->term == r->range.term || MUTANT(READ_BACK_OLD_TERM);
    if (entry->index != next_index(r) || !is_term)
        return;
    if (r->entries.size && r->bytes.size + entry->data.size > r->range.bytes_max) {
        r->range.to = entry->index - 1; /* the next reading begins with it */
        return;
    }
    struct wal_entry e = *entry;
    e.data.data = NULL;
    buf_add(&r->entries, &e, sizeof e);
    buf_add_slice(&r->bytes, entry->data);
}

static int take_records(struct wal_reading *r, struct slice records)
{
    struct wal_record record;
    while (records.size && !has_enough(r)) {
        if (wal_record_take(&records, &record) != 0)
            return ERR_CORRUPT;
        if (record.kind == WAL_RECORD_ENTRY)
            take_entry(r, &record.entry);
    }
    return OK;
}

static int read_batches(struct wal_reading *r, struct wal_scan *s)
{
    if (r->place.at) {
        s->at = r->place.at;
        s->number = r->place.number;
        s->chain = r->place.chain;
    }
    while (!has_enough(r)) {
        struct slice records;
        bool found;
        struct wal_place here = {r->place.sequence, s->at, s->number, s->chain, 0};
        int err = wal_scan_next(s, &records, &found);
        if (!err && !found)
            return OK;
        if (!err)
            err = take_records(r, records);
        if (err)
            return err;
        r->place = here;
    }
    return OK;
}

static int read_segment(struct wal_reading *r)
{
    char name[WAL_SEGMENT_NAME_SIZE];
    const char *what;
    struct io_file *file = NULL;
    struct wal_scan s = {0};
    wal_segment_name(r->place.sequence, name);
    char *path = wal_path(r->dir, name);
    int err = r->io->ops->open(r->io, path, false, &file);
    if (!err)
        err = wal_scan_init(&s, r->io, file, &what);
    if (!err && s.header.sequence != r->place.sequence)
        err = ERR_NOT_FOUND; /* the file was reused for another segment meanwhile */
    if (!err)
        err = read_batches(r, &s);
    wal_scan_done(&s);
    if (file)
        r->io->ops->close(r->io, file);
    mem_free(path);
    return err;
}

void wal_reading_run(struct wal_reading *r)
{
    buf_clear(&r->entries);
    buf_clear(&r->bytes);
    r->err = read_segment(r);
    while (!r->err && !has_enough(r) && r->place.sequence < r->sequence_last) {
        r->place = (struct wal_place){.sequence = r->place.sequence + 1};
        r->err = read_segment(r);
    }
    r->place.next_index = next_index(r);
    if (r->entries.size)
        r->err = OK; /* the caller requests the following entries again */
    else if (!r->err)
        r->err = ERR_NOT_FOUND;
}

const struct wal_entry *wal_reading_finish(struct wal_reading *r, size_t *ret_count)
{
    struct wal_entry *e = (struct wal_entry *)(void *)r->entries.data;
    size_t count = r->entries.size / sizeof *e, at = 0;
    for (size_t i = 0; i < count; i++) {
        e[i].data.data = r->bytes.data + at;
        at += e[i].data.size;
    }
    *ret_count = count;
    return e;
}

void wal_reading_done(struct wal_reading *r)
{
    buf_done(&r->entries);
    buf_done(&r->bytes);
}
