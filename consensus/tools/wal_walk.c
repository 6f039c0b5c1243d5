/* SPDX-License-Identifier: Apache-2.0
 * Walk over a WAL folder that may belong to a running member. All segments are opened before the first is
 * read.
 *
 * Three things may happen meanwhile:
 *   - The last segment grows. Its checksums show a batch completely or not at all.
 *   - New segments come. They are not read.
 *   - Old segments are reused under another name. Their old records are gone. The folder has no file of the
 *     old name any more, so this is reported and not damage.
 *
 * The files are opened for reading only. So this does not use the operations of consensus/io.h, which open
 * for both. */
#include "consensus/tools/wal_walk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "consensus/wal/recover.h"

/* --- I/O operations, read-only ---------------------------------------------------------------- */

struct io_file {
    int fd;
};

static int file_size(struct io *io, struct io_file *file, uint64_t *ret_size)
{
    struct stat st;
    (void)io;
    if (fstat(file->fd, &st) != 0)
        return ERR_IO;
    *ret_size = (uint64_t)st.st_size;
    return OK;
}

static int file_read(struct io *io, struct io_file *file, uint64_t at, void *data, size_t size,
                     size_t *ret_got)
{
    size_t got = 0;
    (void)io;
    while (got < size) {
        ssize_t n = pread(file->fd, (char *)data + got, size - got, (off_t)(at + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return ERR_IO;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    *ret_got = got;
    return OK;
}

static const struct io_ops read_only_ops = {.size = file_size, .read = file_read};
static struct io read_only = {&read_only_ops};

/* --- folder ----------------------------------------------------------------------------------- */

struct segment {
    uint64_t sequence;
    char name[WAL_SEGMENT_NAME_SIZE];
    struct io_file file;
    struct wal_scan scan;
    bool is_readable; /* its header checks */
};

struct walk {
    const char *dir;
    const struct wal_visitor *visitor;
    struct segment *segments;
    size_t count, capacity;
    int err;
};

static int compare_sequence(const void *a, const void *b)
{
    uint64_t x = ((const struct segment *)a)->sequence, y = ((const struct segment *)b)->sequence;
    return x < y ? -1 : x > y;
}

static int open_segment(struct walk *w, const char *name)
{
    uint64_t sequence;
    if (!wal_segment_parse_name(name, &sequence))
        return OK;
    char *path = wal_path(w->dir, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    mem_free(path);
    if (fd < 0)
        return errno == ENOENT ? OK : ERR_IO; /* released a moment ago */
    if (w->count == w->capacity) {
        w->capacity = w->capacity ? 2 * w->capacity : 16;
        w->segments = mem_resize(w->segments, w->capacity * sizeof *w->segments);
    }
    struct segment *s = &w->segments[w->count++];
    *s = (struct segment){.sequence = sequence, .file = {fd}};
    wal_segment_name(sequence, s->name);
    return OK;
}

static int open_segments(struct walk *w)
{
    DIR *dir = opendir(w->dir);
    int err = OK;
    if (!dir)
        return errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO;
    for (struct dirent *entry; !err && (entry = readdir(dir));)
        err = open_segment(w, entry->d_name);
    closedir(dir);
    if (!err && w->count == 0)
        return ERR_NOT_FOUND;
    if (w->count)
        qsort(w->segments, w->count, sizeof *w->segments, compare_sequence);
    return err;
}

/* --- walk ------------------------------------------------------------------------------------- */

static bool has_same_name(const struct walk *w, const struct segment *s)
{
    struct stat named, opened;
    char *path = wal_path(w->dir, s->name);
    bool is_there = stat(path, &named) == 0 && fstat(s->file.fd, &opened) == 0 &&
                    named.st_ino == opened.st_ino && named.st_dev == opened.st_dev;
    mem_free(path);
    return is_there;
}

static void report_error(struct walk *w, const struct segment *s, uint64_t offset, int err, const char *what)
{
    bool is_released = !has_same_name(w, s);
    struct wal_place place = {s->name, offset};
    w->visitor->on_damage(
        w->visitor->arg, place,
        is_released ? "the member has released this segment meanwhile; its remaining records are not printed"
                    : what);
    if (!is_released)
        w->err = err;
}

static void visit_records(struct walk *w, struct segment *s, uint64_t at, struct slice records)
{
    const uint8_t *begin = records.data;
    struct wal_record record;
    while (records.size) {
        struct wal_place place = {s->name, at + WAL_BATCH_HEADER_SIZE + (uint64_t)(records.data - begin)};
        if (wal_record_take(&records, &record) != OK) {
            report_error(w, s, place.offset, ERR_CORRUPT,
                         "a record in a batch that checks has no known form");
            return;
        }
        w->visitor->on_record(w->visitor->arg, place, &record);
    }
}

static int visit_batches(struct walk *w, struct segment *s)
{
    for (;;) {
        struct slice records;
        bool found;
        uint64_t at = s->scan.at;
        int err = wal_scan_next(&s->scan, &records, &found);
        if (err || !found)
            return err;
        visit_records(w, s, at, records);
    }
}

/* The window may hold bytes of the file from before the member's last write. */
static void invalidate_window(struct segment *s)
{
    buf_clear(&s->scan.window);
    s->scan.window_at = 0;
}

/* The last segment ends where nothing checks any more. A later batch proves damage, unless it was written
 * while this one was read: then the missing bytes are there now. */
static void visit_last(struct walk *w, struct segment *s)
{
    uint64_t proof, failed_at = UINT64_MAX;
    for (;;) {
        int err = visit_batches(w, s);
        if (!err)
            err = wal_scan_find_proof(&s->scan, &proof);
        if (err) {
            report_error(w, s, s->scan.at, err, "cannot be read");
            return;
        }
        if (!proof)
            return;
        if (s->scan.at == failed_at) {
            report_error(w, s, s->scan.at, ERR_CORRUPT,
                         "a batch is damaged that was durable when a later one was written");
            return;
        }
        failed_at = s->scan.at;
        invalidate_window(s);
    }
}

static void visit_segment(struct walk *w, size_t i)
{
    struct segment *s = &w->segments[i], *next = i + 1 < w->count ? s + 1 : NULL;
    if (i > 0 && s[-1].sequence + 1 != s->sequence)
        report_error(w, s, 0, ERR_CORRUPT, "the segment before this one is missing");
    if (!s->is_readable)
        return;
    w->visitor->on_segment(w->visitor->arg, (struct wal_place){s->name, 0}, &s->scan.header);
    if (!next) {
        visit_last(w, s);
        return;
    }
    if (visit_batches(w, s) != OK)
        report_error(w, s, s->scan.at, ERR_IO, "cannot be read");
    else if (next->is_readable && next->sequence == s->sequence + 1 &&
             next->scan.header.previous_end != s->scan.at)
        report_error(w, s, s->scan.at, ERR_CORRUPT,
                     "a batch is damaged that was durable when the next segment was begun");
}

int wal_walk(const char *dir, const struct wal_visitor *visitor)
{
    struct walk w = {.dir = dir, .visitor = visitor};
    int err = open_segments(&w);
    if (err)
        goto out;
    for (size_t i = 0; i < w.count; i++) {
        const char *what;
        err = wal_scan_init(&w.segments[i].scan, &read_only, &w.segments[i].file, &what);
        w.segments[i].is_readable = err == OK;
        if (err)
            report_error(&w, &w.segments[i], 0, err, what);
    }
    for (size_t i = 0; i < w.count; i++)
        visit_segment(&w, i);
    err = w.err;
out:
    for (size_t i = 0; i < w.count; i++) {
        if (w.segments[i].is_readable)
            wal_scan_done(&w.segments[i].scan);
        close(w.segments[i].file.fd);
    }
    mem_free(w.segments);
    return err;
}
