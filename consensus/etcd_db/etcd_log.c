/* SPDX-License-Identifier: Apache-2.0
 * Reader of etcd's write-ahead log. The frames are described in consensus/tools/etcd_wal.c, which writes them.
 *
 *   end of a file    a length of 0, or the end: the next file goes on
 *   torn record      only in the last file, as in etcd: its length goes beyond the file, or a sector of it is
 *                    all zeros. The log ends before it. etcd also takes a damaged length for this; here the
 *                    file is refused if records follow that belong together.
 *   anything else    damage
 *
 * An entry replaces the one of the same index and all after it. A gap is allowed only where the log names a
 * snapshot that closes it: a follower got one from its leader. */
#include "consensus/etcd_db/etcd_log.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/varint.h"

enum { WINDOW = 1 << 20, FRAME = 8, SECTOR = 512 };

#define SIZE_BITS ((UINT64_C(1) << 56) - 1)

enum etcd_record_type {
    ETCD_METADATA = 1,
    ETCD_ENTRY = 2,
    ETCD_STATE = 3,
    ETCD_CRC = 4,
    ETCD_SNAPSHOT = 5,
};

struct etcd_record {
    uint64_t type;
    uint32_t crc;
    struct slice data;
};

struct entry_place {
    uint64_t offset;
    uint32_t file;
    bool is_conf_change;
};

struct etcd_log {
    const struct etcd_log_file *files;
    size_t file_count;
    uint64_t after; /* entries up to here are not kept */
    /* the window into the present file */
    struct buf window;
    size_t window_file;
    uint64_t window_at, read_bytes;
    void (*on_progress)(void *arg, uint64_t bytes);
    void *arg;
    /* where the walk is */
    size_t file;
    uint64_t offset;
    uint32_t crc;
    bool has_metadata;
    struct buf metadata;
    /* the result */
    uint64_t term, commit, torn_at, first, last; /* first: index of places[0]; last: of all entries */
    struct entry_place *places;
    size_t place_count, place_capacity;
    uint64_t *snapshots;
    size_t snapshot_count, snapshot_capacity;
    char *error;
    size_t error_size;
};

/* --- bytes ------------------------------------------------------------------------------------------- */

/* The bytes of the present file from `offset` on; they live until the next call. The caller has checked that
 * they are there. */
static int log_bytes(struct etcd_log *log, size_t file, uint64_t offset, uint64_t size,
                     const uint8_t **ret_bytes)
{
    const struct etcd_log_file *f = &log->files[file];
    uint64_t left = f->source.size - offset;
    if (log->window_file != file || offset < log->window_at ||
        offset + size > log->window_at + log->window.size) {
        uint64_t wanted = size > WINDOW ? size : WINDOW;
        wanted = wanted < left ? wanted : left;
        log->window.size = 0;
        int err = f->source.read(f->source.arg, offset, buf_reserve(&log->window, wanted), wanted);
        if (err) {
            snprintf(log->error, log->error_size, "cannot read %s: %s", f->name, err_text(err));
            return err;
        }
        log->window.size = wanted;
        log->window_file = file;
        log->window_at = offset;
        log->read_bytes += wanted;
        if (log->on_progress)
            log->on_progress(log->arg, log->read_bytes);
    }
    *ret_bytes = log->window.data + (offset - log->window_at);
    return OK;
}

static int log_refuse(const struct etcd_log *log, const char *reason)
{
    snprintf(log->error, log->error_size, "%s is damaged at offset %" PRIu64 ": %s",
             log->files[log->file].name, log->offset, reason);
    return ERR_CORRUPT;
}

/* Numbers 1 to 3 of a message, and the bytes of field 4: the messages of a log have no more that matter. */
struct small_message {
    uint64_t numbers[5];
    struct slice bytes[5];
};

static bool read_message(struct slice s, struct small_message *ret)
{
    struct wire_field f;
    *ret = (struct small_message){0};
    while (s.size) {
        if (!wire_field_take(&s, &f))
            return false;
        if (f.number < sizeof ret->numbers / sizeof *ret->numbers) {
            ret->numbers[f.number] = f.value;
            ret->bytes[f.number] = f.bytes;
        }
    }
    return true;
}

static bool read_record(struct slice bytes, struct etcd_record *ret)
{
    struct small_message m;
    if (!read_message(bytes, &m) || m.numbers[1] < ETCD_METADATA || m.numbers[1] > ETCD_SNAPSHOT ||
        m.numbers[2] > UINT32_MAX)
        return false;
    *ret = (struct etcd_record){m.numbers[1], (uint32_t)m.numbers[2], m.bytes[3]};
    return true;
}

/* --- frames ------------------------------------------------------------------------------------------ */

static void frame_size(uint64_t length, uint64_t *ret_size, uint64_t *ret_padding)
{
    *ret_size = length & SIZE_BITS;
    *ret_padding = length >> 63 ? (length >> 56) & 7 : 0;
}

/* Reads a whole frame at any offset. *ret_next is 0 if there is none. */
static int try_frame(struct etcd_log *log, uint64_t offset, struct etcd_record *ret, uint64_t *ret_next)
{
    const uint8_t *bytes;
    uint64_t end = log->files[log->file].source.size, size, padding;
    *ret_next = 0;
    if (offset > end || end - offset < FRAME)
        return OK;
    int err = log_bytes(log, log->file, offset, FRAME, &bytes);
    if (err)
        return err;
    frame_size(get_le64(bytes), &size, &padding);
    if (!size || (size + padding) % FRAME || size > end - offset - FRAME ||
        padding > end - offset - FRAME - size)
        return OK;
    err = log_bytes(log, log->file, offset + FRAME, size, &bytes);
    if (!err && read_record(slice_of(bytes, size), ret))
        *ret_next = offset + FRAME + size + padding;
    return err;
}

/* Two records of which the second continues the first one's checksum: they were not written by chance. */
static int find_records(struct etcd_log *log, bool *ret_found)
{
    uint64_t end = log->files[log->file].source.size;
    int err = OK;
    *ret_found = false;
    for (uint64_t at = log->offset + FRAME; !err && !*ret_found && at + FRAME < end; at += FRAME) {
        struct etcd_record one, two;
        uint64_t next = 0, after = 0;
        err = try_frame(log, at, &one, &next);
        uint32_t crc = one.crc;
        if (!err && next)
            err = try_frame(log, next, &two, &after);
        *ret_found = !err && next && after && two.data.size && two.type != ETCD_CRC &&
                     two.crc == crc32c(crc, two.data.data, two.data.size);
    }
    return err;
}

static bool is_last_file(const struct etcd_log *log)
{
    return log->file + 1 == log->file_count;
}

/* A length that cannot be right. */
static int end_torn(struct etcd_log *log, bool *ret_is_end)
{
    bool is_found;
    if (!is_last_file(log))
        return log_refuse(log, "a record is longer than the rest of the file, and another file follows");
    int err = find_records(log, &is_found);
    if (!err && is_found)
        return log_refuse(log, "a record has a wrong length, and whole records follow it");
    log->torn_at = log->offset;
    *ret_is_end = true;
    return err;
}

/* etcd's rule for a record that was written only in part: a sector of it is all zeros. */
static bool has_empty_sector(const struct etcd_log *log, const uint8_t *bytes, uint64_t size)
{
    for (uint64_t at = 0; at < size;) {
        uint64_t piece = SECTOR - (log->offset + FRAME + at) % SECTOR, sum = 0;
        piece = piece < size - at ? piece : size - at;
        for (uint64_t i = 0; i < piece; i++)
            sum |= bytes[at + i];
        if (!sum)
            return true;
        at += piece;
    }
    return false;
}

/* The next record of the present file; checks its checksum. */
static int next_record(struct etcd_log *log, struct etcd_record *ret, uint64_t *ret_next, bool *ret_is_end)
{
    const uint8_t *bytes;
    uint64_t left = log->files[log->file].source.size - log->offset, size, padding;
    *ret_is_end = left == 0;
    if (left == 0)
        return OK;
    if (left < FRAME)
        return end_torn(log, ret_is_end);
    int err = log_bytes(log, log->file, log->offset, FRAME, &bytes);
    if (err)
        return err;
    uint64_t length = get_le64(bytes);
    *ret_is_end = length == 0;
    if (length == 0)
        return OK;
    frame_size(length, &size, &padding);
    if ((size + padding) % FRAME || size > left - FRAME || padding > left - FRAME - size)
        return end_torn(log, ret_is_end);
    err = log_bytes(log, log->file, log->offset + FRAME, size + padding, &bytes);
    if (err)
        return err;
    bool is_read = read_record(slice_of(bytes, size), ret);
    if (is_read && ret->type != ETCD_CRC) {
        uint32_t crc = crc32c(log->crc, ret->data.data, ret->data.size);
        is_read = crc == ret->crc;
        log->crc = is_read ? crc : log->crc;
    }
    if (!is_read && is_last_file(log) && has_empty_sector(log, bytes, size + padding)) {
        log->torn_at = log->offset;
        *ret_is_end = true;
    } else if (!is_read) {
        return log_refuse(log, "the checksum of a record is wrong");
    }
    *ret_next = log->offset + FRAME + size + padding;
    return OK;
}

/* --- records ----------------------------------------------------------------------------------------- */

static bool has_snapshot_at(const struct etcd_log *log, uint64_t index)
{
    for (size_t i = 0; i < log->snapshot_count; i++)
        if (log->snapshots[i] == index)
            return true;
    return false;
}

static int keep_entry(struct etcd_log *log, const struct small_message *m)
{
    uint64_t index = m->numbers[3];
    if (index == 0 || index > INT64_MAX)
        return log_refuse(log, "an entry has an index that cannot be right");
    if (log->last && index > log->last + 1 && !has_snapshot_at(log, index - 1))
        return log_refuse(log, "entries are missing before this one");
    bool is_gap = log->last && index > log->last + 1;
    log->last = index;
    if (is_gap || index <= log->after)
        log->place_count = 0;
    if (index <= log->after)
        return OK;
    if (log->place_count == 0 || index < log->first) {
        log->place_count = 0;
        log->first = index;
    }
    log->place_count = index - log->first;
    if (log->place_count == log->place_capacity) {
        log->place_capacity = log->place_capacity ? 2 * log->place_capacity : 256;
        log->places = mem_resize(log->places, log->place_capacity * sizeof *log->places);
    }
    log->places[log->place_count++] =
        (struct entry_place){log->offset, (uint32_t)log->file, m->numbers[1] != 0};
    return OK;
}

static void keep_snapshot(struct etcd_log *log, uint64_t index)
{
    if (log->snapshot_count == log->snapshot_capacity) {
        log->snapshot_capacity = log->snapshot_capacity ? 2 * log->snapshot_capacity : 16;
        log->snapshots = mem_resize(log->snapshots, log->snapshot_capacity * sizeof *log->snapshots);
    }
    log->snapshots[log->snapshot_count++] = index;
}

static int take_metadata(struct etcd_log *log, struct slice data)
{
    if (log->has_metadata && !slice_equal(buf_slice(&log->metadata), data))
        return log_refuse(log, "it belongs to another member than the files before it");
    log->has_metadata = true;
    buf_clear(&log->metadata);
    buf_add_slice(&log->metadata, data);
    return OK;
}

static int take_record(struct etcd_log *log, const struct etcd_record *r)
{
    struct small_message m = {0};
    if (r->type == ETCD_METADATA)
        return take_metadata(log, r->data);
    if (r->type == ETCD_CRC) {
        if (log->crc != 0 && log->crc != r->crc)
            return log_refuse(log, "its checksum does not continue that of the file before it, which is cut "
                                   "off or damaged");
        log->crc = r->crc;
        return OK;
    }
    if (!read_message(r->data, &m))
        return log_refuse(log, "a record cannot be read");
    if (r->type == ETCD_ENTRY)
        return keep_entry(log, &m);
    if (r->type == ETCD_STATE) {
        log->term = m.numbers[1];
        log->commit = m.numbers[3];
    } else {
        keep_snapshot(log, m.numbers[1]);
    }
    return OK;
}

static int read_file(struct etcd_log *log)
{
    struct etcd_record record = {0};
    uint64_t next = 0;
    bool is_end = false;
    log->offset = 0;
    while (!is_end) {
        int err = next_record(log, &record, &next, &is_end);
        if (!err && !is_end)
            err = take_record(log, &record);
        if (err)
            return err;
        log->offset = is_end ? log->offset : next;
    }
    return OK;
}

int etcd_log_read(const struct etcd_log_file *files, size_t count, uint64_t after,
                  void (*on_progress)(void *arg, uint64_t bytes), void *arg, char *error, size_t error_size,
                  struct etcd_log **ret_log)
{
    struct etcd_log *log = mem_new(sizeof *log);
    int err = OK;
    log->files = files;
    log->file_count = count;
    log->after = after;
    log->window_file = SIZE_MAX;
    log->on_progress = on_progress;
    log->arg = arg;
    log->error = error;
    log->error_size = error_size;
    for (; !err && log->file < count; log->file++)
        err = read_file(log);
    *ret_log = err ? NULL : log;
    if (err)
        etcd_log_free(log);
    return err;
}

void etcd_log_free(struct etcd_log *log)
{
    if (!log)
        return;
    buf_done(&log->window);
    buf_done(&log->metadata);
    mem_free(log->places);
    mem_free(log->snapshots);
    mem_free(log);
}

/* --- the result -------------------------------------------------------------------------------------- */

uint64_t etcd_log_snapshot(const struct etcd_log *log)
{
    uint64_t index = 0;
    for (size_t i = 0; i < log->snapshot_count; i++)
        if (log->snapshots[i] <= log->commit && log->snapshots[i] > index)
            index = log->snapshots[i];
    return index;
}

uint64_t etcd_log_torn_at(const struct etcd_log *log)
{
    return log->torn_at;
}

static bool has_conf_change(const struct etcd_log *log, size_t from)
{
    for (size_t i = from; i < log->place_count; i++)
        if (log->places[i].is_conf_change)
            return true;
    return false;
}

int etcd_log_plan(struct etcd_log *log, const struct etcd_db_marks *marks, struct etcd_log_plan *ret_plan,
                  char *error, size_t error_size)
{
    uint64_t snapshot = etcd_log_snapshot(log), commit = log->commit;
    struct etcd_log_plan p = {.after = marks->index > snapshot ? marks->index : snapshot, .term = log->term};
    uint64_t end = log->first + log->place_count; /* index after the last entry */
    bool has_next = log->place_count && log->first <= p.after + 1 && end > p.after + 1;
    *ret_plan = p;
    if (log->place_count && log->first > p.after + 1) {
        snprintf(error, error_size,
                 "the log has the entries from %" PRIu64 " on, and the database ends with entry %" PRIu64
                 ": the entries between are missing",
                 log->first, p.after);
        return ERR_CORRUPT;
    }
    if (!has_next && commit > p.after) {
        snprintf(error, error_size,
                 "the log has no entry after %" PRIu64 ", which the database has, but entries up to %" PRIu64
                 " are committed",
                 p.after, commit);
        return ERR_CORRUPT;
    }
    if (!has_next)
        return OK;
    p.first = (size_t)(p.after + 1 - log->first);
    p.is_alone = marks->members == 1 && !has_conf_change(log, p.first);
    if (p.is_alone && commit < end - 1)
        commit = end - 1;
    if (commit >= end) {
        snprintf(error, error_size,
                 "the log ends with entry %" PRIu64 ", but entries up to %" PRIu64 " are committed", end - 1,
                 commit);
        return ERR_CORRUPT;
    }
    p.count = commit > p.after ? (size_t)(commit - p.after) : 0;
    p.dropped = log->place_count - p.first - p.count;
    *ret_plan = p;
    return OK;
}

int etcd_log_entry(struct etcd_log *log, size_t i, enum etcd_entry_kind *ret_kind, struct slice *ret_data,
                   char *error, size_t error_size)
{
    const struct entry_place *place = &log->places[i];
    struct etcd_record record;
    struct small_message m;
    uint64_t next;
    const char *reason = "it cannot be read";
    log->error = error;
    log->error_size = error_size;
    log->file = place->file;
    int err = try_frame(log, place->offset, &record, &next);
    if (err)
        return err;
    if (!next || !read_message(record.data, &m))
        err = ERR_CORRUPT;
    if (!err)
        err = etcd_entry_check((unsigned)m.numbers[1], m.bytes[4], ret_kind, &reason);
    if (err)
        snprintf(error, error_size, "%s: entry %" PRIu64 " at offset %" PRIu64 ": %s",
                 log->files[place->file].name, log->first + i, place->offset, reason);
    else
        *ret_data = *ret_kind <= ETCD_ENTRY_PASSWORD ? m.bytes[4] : (struct slice){0};
    return err;
}
