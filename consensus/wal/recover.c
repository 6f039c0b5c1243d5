/* SPDX-License-Identifier: Apache-2.0
 * Recovery of a log at open; see recover.h. Steps:
 *
 *   1. Read every segment: its header, its place in the sequence, then its batches, record by record to the
 *      reader.
 *   2. All but the last must end exactly where their successor's header says.
 *   3. The last may end anywhere, unless a later batch proves that the missing part was durable.
 *   4. Overwrite with zeros what follows the last good batch. Write again what is not known to be durable:
 *      after a failed sync the page cache shows data that the disk never got. Then sync all.
 *
 * A crash in step 4 leaves a folder that steps 1 to 3 read the same way. */
#include "consensus/wal/recover.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/mutant.h"

enum { PIECE = 64 << 10 };

struct recovery {
    const struct wal_options *options;
    const struct wal_replay *replay;
    struct wal_recovered out;
    char *error;
    size_t error_size;
    char name[WAL_SEGMENT_NAME_SIZE]; /* the segment being read */
};

__attribute__((format(printf, 3, 4))) static int fail(struct recovery *r, int err, const char *format, ...)
{
    va_list args;
    int n = snprintf(r->error, r->error_size, "%s/%s: ", r->options->dir, r->name);

    va_start(args, format);
    if (n > 0 && (size_t)n < r->error_size)
        vsnprintf(r->error + n, r->error_size - (size_t)n, format, args);
    va_end(args);
    return err;
}

static int fail_at(struct recovery *r, int err, uint64_t offset, const char *what)
{
    return fail(r, err, "offset %" PRIu64 ": %s", offset, what);
}

char *wal_path(const char *dir, const char *name)
{
    struct buf b = {0};
    buf_addf(&b, "%s/%s", dir, name);
    buf_add_byte(&b, 0);
    return (char *)buf_move(&b).data;
}

int wal_list_segments(struct io *io, const char *dir, struct buf *ret_sequences)
{
    struct buf names = {0};
    int err = io->ops->list(io, dir, &names);

    for (size_t at = 0; !err && at < names.size;) {
        const char *name = (const char *)names.data + at;
        uint64_t sequence;

        if (wal_segment_parse_name(name, &sequence))
            buf_add(ret_sequences, &sequence, sizeof(sequence));
        at += strlen(name) + 1;
    }
    buf_done(&names);
    return err;
}

/* --- replay ---------------------------------------------------------------------------------- */

static int replay_entry(struct recovery *r, const struct wal_entry *entry)
{
    struct wal_state *state = &r->out.state;

    if (entry->data.size > r->options->entry_size_max)
        return fail(r, ERR_CORRUPT, "entry %" PRIu64 " has %zu bytes, more than allowed", entry->index,
                    entry->data.size);
    if (entry->index == 0 || entry->index > state->last_index + 1)
        return fail(r, ERR_CORRUPT, "entry %" PRIu64 " follows entry %" PRIu64, entry->index,
                    state->last_index);
    state->last_index = entry->index;
    return r->replay->on_entry ? r->replay->on_entry(r->replay->arg, entry) : 0;
}

static int replay_hard_state(struct recovery *r, const struct wal_hard_state *hard_state)
{
    r->out.state.hard_state = *hard_state;
    return r->replay->on_hard_state ? r->replay->on_hard_state(r->replay->arg, hard_state) : 0;
}

static int replay_snapshot(struct recovery *r, const struct wal_snapshot *snapshot)
{
    struct wal_state *state = &r->out.state;

    state->snapshot = *snapshot;
    if (snapshot->index > state->last_index)
        state->last_index = snapshot->index;
    return r->replay->on_snapshot ? r->replay->on_snapshot(r->replay->arg, snapshot->index, snapshot->term)
                                  : 0;
}

static int replay_records(struct recovery *r, struct slice records, uint64_t at)
{
    struct wal_record record;
    int err = 0;

    while (!err && records.size) {
        if (wal_record_take(&records, &record) != 0)
            return fail_at(r, ERR_CORRUPT, at, "a record in a batch that checks has no known form");
        if (record.kind == WAL_RECORD_ENTRY)
            err = replay_entry(r, &record.entry);
        else if (record.kind == WAL_RECORD_HARD_STATE)
            err = replay_hard_state(r, &record.hard_state);
        else
            err = replay_snapshot(r, &record.snapshot);
    }
    return err;
}

static bool state_equal(const struct wal_state *a, const struct wal_state *b)
{
    return a->number == b->number && a->last_index == b->last_index && a->chain == b->chain &&
           a->hard_state.term == b->hard_state.term && a->hard_state.vote == b->hard_state.vote &&
           a->hard_state.commit == b->hard_state.commit && a->snapshot.index == b->snapshot.index &&
           a->snapshot.term == b->snapshot.term;
}

/* The oldest segment's header begins the state. Every later one must find the state in its header. */
static int replay_header(struct recovery *r, const struct wal_scan *s, uint64_t sequence,
                         uint64_t previous_end)
{
    const struct wal_segment_header *h = &s->header;
    struct slice metadata = buf_slice(&r->out.metadata);
    int err = 0;

    if (h->sequence != sequence)
        return fail_at(r, ERR_CORRUPT, 0, "the segment header belongs to another file");
    if (r->out.count > 0) {
        if (!slice_equal(metadata, h->metadata))
            return fail_at(r, ERR_CORRUPT, 0, "the segment belongs to another log");
        if (h->previous_end == previous_end && state_equal(&h->state, &r->out.state))
            return 0;
        wal_segment_name(sequence - 1, r->name);
        return fail(r, ERR_CORRUPT,
                    "offset %" PRIu64 ": a batch is damaged that was durable when the next segment was begun "
                    "(after offset %" PRIu64 ")",
                    previous_end, h->previous_end);
    }
    buf_add_slice(&r->out.metadata, h->metadata);
    r->out.state = h->state;
    if (h->state.hard_state.term || h->state.hard_state.vote || h->state.hard_state.commit)
        err = replay_hard_state(r, &h->state.hard_state);
    if (!err && h->state.snapshot.index)
        err = replay_snapshot(r, &h->state.snapshot);
    return err;
}

static int replay_batches(struct recovery *r, struct wal_scan *s)
{
    for (;;) {
        struct slice records;
        bool found;
        uint64_t at = s->at;

        int err = wal_scan_next(s, &records, &found);
        if (err)
            return fail_at(r, err, at, "cannot be read");
        if (!found)
            return 0;
        err = replay_records(r, records, at);
        if (err)
            return err;
        r->out.state.number = s->number;
        r->out.state.chain = s->chain;
    }
}

/* --- repair ---------------------------------------------------------------------------------- */

static int write_again(struct wal_scan *s)
{
    const uint8_t *p;
    uint64_t end = s->at < s->file_size ? s->at : s->file_size;

    for (uint64_t at = s->synced; at < end;) {
        size_t n = end - at < PIECE ? (size_t)(end - at) : PIECE;
        int err = wal_scan_read(s, at, n, &p);
        if (!err)
            err = s->io->ops->write(s->io, s->file, at, p, n);
        if (err)
            return err;
        at += n;
    }
    return 0;
}

static bool wal_recover_is_zero(const uint8_t *p, size_t size)
{
    return size == 0 || (p[0] == 0 && memcmp(p, p + 1, size - 1) == 0);
}

static int zero_rest(struct wal_scan *s)
{
    uint8_t *zeros = mem_new(PIECE);
    const uint8_t *p;
    int err = 0;

    for (uint64_t at = s->at; !err && at < s->file_size;) {
        size_t n = s->file_size - at < PIECE ? (size_t)(s->file_size - at) : PIECE;
        err = wal_scan_read(s, at, n, &p);
        if (!err && !wal_recover_is_zero(p, n))
            err = s->io->ops->write(s->io, s->file, at, zeros, n);
        at += n;
    }
    mem_free(zeros);
    return err;
}

static int repair_end(struct recovery *r, struct wal_scan *s)
{
    uint64_t proof;
    int err = wal_scan_find_proof(s, &proof);

    if (err)
        return fail_at(r, err, s->at, "cannot be read");
    if (proof && !MUTANT(WAL_DAMAGE_CUT))
        return fail(r, ERR_CORRUPT,
                    "offset %" PRIu64 ": a batch is damaged that was durable when the one at %" PRIu64
                    " was written",
                    s->at, proof);
    err = MUTANT(WAL_END_NOT_WRITTEN_AGAIN) ? OK : write_again(s);
    if (!err)
        err = zero_rest(s);
    if (!err)
        err = s->io->ops->sync(s->io, s->file);
    if (!err)
        err = s->io->ops->sync_dir(s->io, r->options->dir);
    return err ? fail_at(r, err, s->at, "the end of the log cannot be repaired") : 0;
}

/* --- open ----------------------------------------------------------------------------------- */

static int recover_segment(struct recovery *r, uint64_t sequence, bool last, uint64_t *previous_end)
{
    struct io *io = r->options->io;
    struct wal_scan s = {0};
    struct io_file *file = NULL;
    const char *what;

    wal_segment_name(sequence, r->name);
    char *path = wal_path(r->options->dir, r->name);
    int err = io->ops->open(io, path, false, &file);
    if (err) {
        err = fail(r, err, "cannot be opened");
        goto out;
    }
    err = wal_scan_init(&s, io, file, &what);
    if (err) {
        err = fail_at(r, err, 0, what);
        goto out;
    }
    err = replay_header(r, &s, sequence, *previous_end);
    if (err)
        goto out;
    r->out.segments[r->out.count++] = (struct wal_segment){sequence, s.header.state.last_index, s.file_size};
    err = replay_batches(r, &s);
    if (!err && last)
        err = repair_end(r, &s);
    if (err)
        goto out;
    *previous_end = s.at;
    if (last) {
        r->out.file = file;
        r->out.salt = s.header.salt;
        r->out.begin = s.header_bytes.size;
        r->out.at = s.at;
        file = NULL;
    }
out:
    wal_scan_done(&s);
    if (file)
        io->ops->close(io, file);
    mem_free(path);
    return err;
}

int wal_recover(const struct wal_options *options, const struct wal_replay *replay, char *error,
                size_t error_size, struct wal_recovered *ret)
{
    struct recovery r = {.options = options, .replay = replay, .error = error, .error_size = error_size};
    struct buf sequences = {0};
    uint64_t previous_end = 0;
    int err = wal_list_segments(options->io, options->dir, &sequences);
    size_t count = sequences.size / sizeof(uint64_t);
    const uint64_t *sequence = (const uint64_t *)(const void *)sequences.data;

    if (error_size)
        error[0] = 0;
    if (err || count == 0) {
        snprintf(error, error_size, "%s: %s", options->dir,
                 err ? "cannot be listed" : "there is no log here");
        err = err ? err : ERR_NOT_FOUND;
        goto out;
    }
    r.out.segments = mem_new(count * sizeof(*r.out.segments));
    for (size_t i = 0; !err && i < count; i++) {
        if (i > 0 && sequence[i] != sequence[i - 1] + 1) {
            wal_segment_name(sequence[i - 1] + 1, r.name);
            err = fail(&r, ERR_CORRUPT, "offset 0: the segment is missing");
        } else {
            err = recover_segment(&r, sequence[i], i + 1 == count, &previous_end);
        }
    }
    if (err && error_size && !error[0])
        fail(&r, err, "its records were not accepted: %s", err_text(err));
out:
    buf_done(&sequences);
    if (err)
        wal_recovered_done(&r.out, options->io);
    else
        *ret = r.out;
    return err;
}

void wal_recovered_done(struct wal_recovered *r, struct io *io)
{
    mem_free(r->segments);
    buf_done(&r->metadata);
    if (r->file)
        io->ops->close(io, r->file);
    *r = (struct wal_recovered){0};
}
