/* SPDX-License-Identifier: Apache-2.0
 * Writing of a continuous backup's files; see backup_files.h.
 *
 *   open segment:  created, synced, folder synced -> records, synced -> seal, synced -> renamed, folder synced
 *   snapshot:      snapshot.tmp, synced -> renamed, folder synced
 *   run:           marker in the data folder, synced -> its first segment
 *
 * So a name without .open and .tmp means a whole file, wherever the process is killed. */
#include "server/backup_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/hash.h"
#include "base/mem.h"

#define FULL_TMP "snapshot.tmp"

enum { READ_MAX = 1 << 30 };

struct backup_files {
    struct backup_files_options options;
    char *dir, *marker;
    int dir_fd, lock_fd, fd, full_fd; /* -1 = not open */
    struct backup_header header;      /* of the open segment, or of the one to be made */
    bool has_run;                     /* there is a header */
    bool is_sealed;                   /* the segment of `header` is not made yet */
    uint64_t size, synced;            /* of the open segment */
    struct sha256 *digest;            /* of its bytes; NULL = not known: sealing reads them */
    uint64_t index, term, begun_ms;   /* last entry of the open segment */
    uint64_t epoch;
};

struct backup_files *backup_files_new(const struct backup_files_options *options)
{
    struct backup_files *f = mem_new(sizeof *f);
    f->options = *options;
    f->dir = mem_string(options->dir);
    f->marker = mem_string(options->marker);
    f->dir_fd = f->lock_fd = f->fd = f->full_fd = -1;
    f->epoch = 1;
    return f;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void drop_digest(struct backup_files *f)
{
    uint8_t unused[BACKUP_DIGEST_SIZE];
    if (f->digest)
        sha256_finish(f->digest, unused);
    f->digest = NULL;
}

void backup_files_free(struct backup_files *f)
{
    if (!f)
        return;
    drop_digest(f);
    close_fd(&f->fd);
    close_fd(&f->full_fd);
    close_fd(&f->lock_fd);
    close_fd(&f->dir_fd);
    mem_free(f->dir);
    mem_free(f->marker);
    mem_free(f);
}

/* --- system calls ------------------------------------------------------------------------------------ */

static int last_error(void)
{
    return err_from_errno(errno);
}

static int sync_fd(const struct backup_files *f, int fd)
{
    return f->options.has_sync && fdatasync(fd) != 0 ? last_error() : OK;
}

static int sync_dir(const struct backup_files *f)
{
    return f->options.has_sync && fsync(f->dir_fd) != 0 ? last_error() : OK;
}

static int write_at(int fd, const uint8_t *bytes, size_t size, uint64_t at)
{
    while (size) {
        ssize_t n = pwrite(fd, bytes, size, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? last_error() : ERR_IO;
        bytes += n;
        at += (uint64_t)n;
        size -= (size_t)n;
    }
    return OK;
}

static int read_all(int fd, struct buf *ret_bytes)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return last_error();
    if (st.st_size > READ_MAX)
        return ERR_LIMIT;
    uint8_t *at = buf_reserve(ret_bytes, (size_t)st.st_size);
    while (ret_bytes->size < (size_t)st.st_size) {
        ssize_t n =
            pread(fd, at + ret_bytes->size, (size_t)st.st_size - ret_bytes->size, (off_t)ret_bytes->size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? last_error() : ERR_TRUNCATED;
        ret_bytes->size += (size_t)n;
    }
    return OK;
}

static int make_folders(char *path)
{
    for (char *p = path + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        int rc = mkdir(path, 0700);
        *p = '/';
        if (rc != 0 && errno != EEXIST)
            return last_error();
    }
    return mkdir(path, 0700) != 0 && errno != EEXIST ? last_error() : OK;
}

/* --- the open segment -------------------------------------------------------------------------------- */

static void segment_name(const struct backup_files *f, bool is_open, char ret_name[BACKUP_NAME_SIZE])
{
    const struct backup_file file = {.kind = is_open ? BACKUP_FILE_OPEN : BACKUP_FILE_LOG,
                                     .run = f->header.run,
                                     .sequence = f->header.sequence,
                                     .index = f->header.index};
    backup_file_name(&file, ret_name);
}

static int make_segment(struct backup_files *f, uint64_t now_ms)
{
    char name[BACKUP_NAME_SIZE];
    uint8_t bytes[BACKUP_HEADER_SIZE];
    segment_name(f, true, name);
    f->header.time_ms = now_ms;
    backup_header_write(&f->header, bytes);
    f->fd = openat(f->dir_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int err = f->fd < 0 ? last_error() : write_at(f->fd, bytes, sizeof bytes, 0);
    if (!err)
        err = sync_fd(f, f->fd);
    if (!err)
        err = sync_dir(f);
    if (err) {
        close_fd(&f->fd);
        return err;
    }
    f->size = f->synced = BACKUP_HEADER_SIZE;
    f->index = f->header.index;
    f->term = f->header.term;
    f->begun_ms = now_ms;
    f->is_sealed = false;
    f->epoch++;
    drop_digest(f);
    f->digest = sha256_new();
    sha256_add(f->digest, bytes, sizeof bytes);
    return OK;
}

/* After an error: what was not synced may be there or not. */
static int reopen_segment(struct backup_files *f)
{
    char name[BACKUP_NAME_SIZE];
    segment_name(f, true, name);
    f->fd = openat(f->dir_fd, name, O_RDWR | O_CLOEXEC);
    if (f->fd < 0)
        return last_error();
    if (ftruncate(f->fd, (off_t)f->synced) != 0) {
        close_fd(&f->fd);
        return last_error();
    }
    f->size = f->synced;
    drop_digest(f);
    return OK;
}

static int have_segment(struct backup_files *f, uint64_t now_ms)
{
    if (f->fd >= 0)
        return OK;
    return f->is_sealed ? make_segment(f, now_ms) : reopen_segment(f);
}

/* The end of the open segment and its digest: as it was written, or as the disk has kept it. */
static int find_end(struct backup_files *f, struct backup_segment_end *end)
{
    struct stat st;
    if (f->digest) {
        if (fstat(f->fd, &st) != 0)
            return last_error();
        end->index = f->index;
        end->term = f->term;
        sha256_finish(f->digest, end->digest);
        f->digest = NULL;
        return (uint64_t)st.st_size == f->size ? OK : ERR_CORRUPT;
    }
    struct buf bytes = {0};
    int err = read_all(f->fd, &bytes);
    if (!err)
        err = backup_segment_walk(buf_slice(&bytes), true, NULL, NULL, end);
    if (!err && (end->is_torn || end->is_sealed))
        err = ERR_CORRUPT;
    buf_done(&bytes);
    return err;
}

/* Seals the open segment. The header becomes that of the next one. */
static int seal_segment(struct backup_files *f, uint64_t now_ms)
{
    struct buf seal = {0};
    struct backup_segment_end end = {0};
    char from[BACKUP_NAME_SIZE], to[BACKUP_NAME_SIZE];
    FAILPOINT(BACKUP_BEFORE_SEAL);
    int err = ftruncate(f->fd, (off_t)f->size) != 0 ? last_error() : find_end(f, &end);
    if (!err) {
        const struct backup_record record = {.kind = BACKUP_SEAL,
                                             .index = end.index,
                                             .term = end.term,
                                             .time_ms = now_ms,
                                             .data = slice_of(end.digest, sizeof end.digest)};
        backup_record_add(&seal, &record);
        backup_records_sum(seal.data, seal.size, &f->header);
        err = write_at(f->fd, seal.data, seal.size, f->size);
    }
    if (!err)
        err = sync_fd(f, f->fd);
    segment_name(f, true, from);
    segment_name(f, false, to);
    if (!err) {
        FAILPOINT(BACKUP_AFTER_SEAL);
        err = renameat(f->dir_fd, from, f->dir_fd, to) != 0 ? last_error() : OK;
    }
    if (!err) {
        FAILPOINT(BACKUP_AFTER_RENAME);
        (void)sync_dir(f); /* after a crash it has one of the two names: both are understood */
        close_fd(&f->fd);
        f->is_sealed = true;
        f->epoch++;
        f->header.sequence++;
        f->header.index = end.index;
        f->header.term = end.term;
        memcpy(f->header.previous, end.digest, sizeof end.digest);
    }
    buf_done(&seal);
    return err;
}

int backup_files_append(struct backup_files *f, uint8_t *bytes, size_t size, uint64_t now_ms)
{
    int err = have_segment(f, now_ms);
    bool is_due = f->size > BACKUP_HEADER_SIZE &&
                  (f->size + size > f->options.segment_bytes || now_ms - f->begun_ms > f->options.segment_ms);
    if (FAILPOINT(BACKUP_SMALL_SEGMENT))
        is_due = f->size > BACKUP_HEADER_SIZE;
    if (!err && is_due)
        err = seal_segment(f, now_ms);
    if (!err)
        err = have_segment(f, now_ms);
    if (!err && FAILPOINT(BACKUP_BEFORE_WRITE))
        err = ERR_NO_DISK_SPACE;
    if (!err) {
        backup_records_sum(bytes, size, &f->header);
        err = write_at(f->fd, bytes, size, f->size);
    }
    if (err) {
        close_fd(&f->fd);
        return err;
    }
    f->size += size;
    backup_records_end(slice_of(bytes, size), &f->index, &f->term);
    if (f->digest)
        sha256_add(f->digest, bytes, size);
    return OK;
}

int backup_files_sync(struct backup_files *f)
{
    if (f->fd < 0)
        return OK;
    struct stat st;
    int err = FAILPOINT(BACKUP_BEFORE_SYNC) ? ERR_IO : sync_fd(f, f->fd);
    if (!err && fstat(f->fd, &st) == 0 && st.st_nlink == 0)
        err = ERR_NOT_FOUND; /* somebody has removed it */
    if (err) {
        close_fd(&f->fd);
        return err;
    }
    f->synced = f->size;
    f->epoch++;
    return OK;
}

uint64_t backup_files_epoch(const struct backup_files *f)
{
    return f->epoch;
}

/* --- runs -------------------------------------------------------------------------------------------- */

static int write_marker(const struct backup_files *f, uint64_t run)
{
    char text[32], tmp[4096];
    int size = snprintf(text, sizeof text, "%016" PRIx64 "\n", run);
    snprintf(tmp, sizeof tmp, "%s.tmp", f->marker);
    int fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int err = fd < 0 ? last_error() : write_at(fd, (const uint8_t *)text, (size_t)size, 0);
    if (!err)
        err = sync_fd(f, fd);
    close_fd(&fd);
    return err ? err : rename(tmp, f->marker) != 0 ? last_error() : OK;
}

static uint64_t read_marker(const struct backup_files *f)
{
    char text[32] = "";
    int fd = open(f->marker, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    close_fd(&fd);
    return n == 17 ? strtoull(text, NULL, 16) : 0;
}

static int take_folder(struct backup_files *f)
{
    int err = f->dir_fd < 0 ? make_folders(f->dir) : OK;
    if (!err && f->dir_fd < 0) {
        f->dir_fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        err = f->dir_fd < 0 ? last_error() : OK;
    }
    if (!err && f->lock_fd < 0) {
        f->lock_fd = openat(f->dir_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        err = f->lock_fd < 0 ? last_error() : OK;
        if (!err && flock(f->lock_fd, LOCK_EX | LOCK_NB) != 0) {
            err = errno == EWOULDBLOCK ? ERR_EXISTS : last_error();
            close_fd(&f->lock_fd);
        }
    }
    return err;
}

int backup_files_run(struct backup_files *f, uint64_t run, uint64_t index, uint64_t now_ms)
{
    int err = take_folder(f);
    if (err)
        return err;
    if (f->has_run && !f->is_sealed && f->header.run != run) {
        err = have_segment(f, now_ms);
        if (!err)
            err = backup_files_sync(f);
        if (!err)
            err = seal_segment(f, now_ms);
        if (err && err != ERR_CORRUPT && err != ERR_NOT_FOUND) {
            close_fd(&f->fd);
            return err;
        }
        close_fd(&f->fd); /* a damaged one stays as it is */
    }
    err = write_marker(f, run);
    if (err)
        return err;
    FAILPOINT(BACKUP_BEFORE_RUN);
    f->header = (struct backup_header){.election_ms = f->options.election_ms,
                                       .cluster_id = f->options.cluster_id,
                                       .member_id = f->options.member_id,
                                       .run = run,
                                       .sequence = 1,
                                       .index = index};
    f->has_run = f->is_sealed = true;
    err = have_segment(f, now_ms);
    if (err == ERR_NOT_FOUND) { /* the folder was removed: the next call makes it again */
        close_fd(&f->lock_fd);
        close_fd(&f->dir_fd);
    }
    return err;
}

/* --- start ------------------------------------------------------------------------------------------- */

struct file_list {
    struct backup_file *list;
    size_t count, capacity;
};

static int list_files(struct backup_files *f, struct file_list *files)
{
    int fd = openat(f->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct backup_file file;
    struct stat st;
    if (!dir) {
        close_fd(&fd);
        return last_error();
    }
    for (struct dirent *e; (e = readdir(dir));) {
        if (!backup_file_parse(e->d_name, &file) || fstatat(f->dir_fd, e->d_name, &st, 0) != 0)
            continue;
        file.size = (uint64_t)st.st_size;
        if (files->count == files->capacity) {
            files->capacity = files->capacity ? files->capacity * 2 : 64;
            files->list = mem_resize(files->list, files->capacity * sizeof *files->list);
        }
        files->list[files->count++] = file;
    }
    closedir(dir);
    if (files->count)
        qsort(files->list, files->count, sizeof *files->list, backup_file_compare);
    return OK;
}

struct tail_reader {
    struct backup_tail *tail;
    uint64_t after;
    size_t capacity;
};

static int take_tail(void *arg, const struct backup_record *record)
{
    struct tail_reader *t = arg;
    if (record->kind != BACKUP_ENTRY || record->index <= t->after)
        return OK;
    if (t->tail->count == t->capacity) {
        t->capacity = t->capacity ? t->capacity * 2 : 256;
        t->tail->list = mem_resize(t->tail->list, t->capacity * sizeof *t->tail->list);
    }
    t->tail->list[t->tail->count++] =
        (struct backup_tail_entry){record->term, crc32c(0, record->data.data, record->data.size)};
    return OK;
}

/* The last segment of a run, and what can be appended to it. */
static int recover(struct backup_files *f, const struct backup_file *file, uint64_t from_index,
                   uint64_t applied_index, struct backup_tail *tail)
{
    char name[BACKUP_NAME_SIZE];
    struct buf bytes = {0};
    struct backup_segment_end end;
    struct tail_reader reader = {.tail = tail, .after = applied_index};
    backup_file_name(file, name);
    int fd = openat(f->dir_fd, name, O_RDWR | O_CLOEXEC);
    int err = fd < 0 ? last_error() : read_all(fd, &bytes);
    if (!err)
        err =
            backup_segment_walk(buf_slice(&bytes), file->kind == BACKUP_FILE_OPEN, take_tail, &reader, &end);
    bool is_right = !err && end.good_size && end.header.cluster_id == f->options.cluster_id &&
                    end.header.member_id == f->options.member_id &&
                    end.header.election_ms == f->options.election_ms;
    if (is_right && end.index >= from_index) {
        f->header = end.header;
        f->has_run = tail->can_continue = true;
        f->size = f->synced = end.good_size;
        f->index = end.index;
        f->term = end.term;
        f->begun_ms = end.header.time_ms;
        f->is_sealed = end.is_sealed;
        tail->run = end.header.run;
        tail->index = end.index;
        tail->term = end.term;
        tail->revision = end.revision;
        tail->time_ms = end.time_ms;
    }
    if (tail->can_continue && end.is_sealed) {
        if (file->kind == BACKUP_FILE_OPEN) { /* killed before its new name */
            char to[BACKUP_NAME_SIZE];
            segment_name(f, false, to);
            err = renameat(f->dir_fd, name, f->dir_fd, to) != 0 ? last_error() : OK;
        }
        f->header.sequence++;
        f->header.index = end.index;
        f->header.term = end.term;
        memcpy(f->header.previous, end.digest, sizeof end.digest);
    }
    close_fd(&fd);
    buf_done(&bytes);
    return err;
}

static int find_run(struct backup_files *f, uint64_t from_index, uint64_t applied_index,
                    struct backup_tail *tail)
{
    struct file_list files = {0};
    const struct backup_file *last = NULL;
    uint64_t run = read_marker(f);
    int err = list_files(f, &files);
    for (size_t i = 0; i < files.count && run; i++) {
        if (files.list[i].run != run)
            continue;
        if (files.list[i].kind == BACKUP_FILE_FULL)
            tail->full_ms = files.list[i].time_ms;
        else
            last = &files.list[i];
    }
    /* A new run can begin after any error of the old one. */
    if (!err && last && recover(f, last, from_index, applied_index, tail) != OK)
        tail->can_continue = false;
    if (!tail->can_continue)
        f->has_run = false;
    mem_free(files.list);
    return err;
}

int backup_files_open(struct backup_files *f, uint64_t from_index, uint64_t applied_index,
                      struct backup_tail *tail)
{
    *tail = (struct backup_tail){0};
    int err = take_folder(f);
    if (!err) {
        (void)unlinkat(f->dir_fd, FULL_TMP, 0);
        err = find_run(f, from_index, applied_index, tail);
    }
    return err;
}

/* --- snapshots --------------------------------------------------------------------------------------- */

void backup_files_full_abandon(struct backup_files *f)
{
    close_fd(&f->full_fd);
    if (f->dir_fd >= 0)
        (void)unlinkat(f->dir_fd, FULL_TMP, 0);
}

static int write_full(const struct backup_files *f, struct slice bytes)
{
    off_t at = lseek(f->full_fd, 0, SEEK_END);
    if (FAILPOINT(BACKUP_FULL_BLOCK))
        return ERR_NO_DISK_SPACE;
    int err = at < 0 ? last_error() : write_at(f->full_fd, bytes.data, bytes.size, (uint64_t)at);
    /* Now and then, so that the end does not wait for all of it. */
    if (!err && (uint64_t)at >> 23 != ((uint64_t)at + bytes.size) >> 23)
        err = sync_fd(f, f->full_fd);
    return err;
}

int backup_files_full_add(struct backup_files *f, struct slice bytes)
{
    if (f->full_fd < 0)
        f->full_fd = openat(f->dir_fd, FULL_TMP, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int err = f->full_fd < 0 ? last_error() : write_full(f, bytes);
    if (err)
        backup_files_full_abandon(f);
    return err;
}

int backup_files_full_end(struct backup_files *f, const uint8_t digest[BACKUP_DIGEST_SIZE],
                          const struct backup_file *file)
{
    char name[BACKUP_NAME_SIZE];
    backup_file_name(file, name);
    int err = write_full(f, slice_of(digest, BACKUP_DIGEST_SIZE));
    if (!err)
        err = sync_fd(f, f->full_fd);
    if (!err) {
        FAILPOINT(BACKUP_FULL_RENAME);
        err = renameat(f->dir_fd, FULL_TMP, f->dir_fd, name) != 0 ? last_error() : OK;
    }
    if (!err)
        err = sync_dir(f);
    if (err) {
        backup_files_full_abandon(f);
        return err;
    }
    FAILPOINT(BACKUP_AFTER_FULL);
    close_fd(&f->full_fd);
    return OK;
}

/* --- retention --------------------------------------------------------------------------------------- */

/* True if a restore from the snapshot `oldest`, or from a newer one, needs the file at i. */
static bool is_needed(const struct file_list *files, size_t i, const struct backup_file *oldest)
{
    const struct backup_file *file = &files->list[i];
    if (file->run != oldest->run)
        return file->run > oldest->run;
    if (file->kind == BACKUP_FILE_FULL)
        return file->index >= oldest->index;
    const struct backup_file *next = i + 1 < files->count ? &files->list[i + 1] : NULL;
    return !next || next->run != file->run || next->index > oldest->index;
}

static uint64_t bytes_needed(const struct file_list *files, const struct backup_file *oldest)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < files->count; i++)
        if (is_needed(files, i, oldest))
            bytes += files->list[i].size;
    return bytes;
}

/* The oldest snapshot that is kept; NULL: there is none, and everything is. */
static const struct backup_file *oldest_kept(const struct file_list *files, uint64_t before_ms,
                                             uint64_t bytes_max)
{
    const struct backup_file *oldest = NULL;
    for (size_t i = 0; i < files->count; i++) {
        const struct backup_file *file = &files->list[i];
        if (file->kind != BACKUP_FILE_FULL)
            continue;
        /* The one before is needed for the times up to this one. */
        bool is_old = oldest && file->time_ms <= before_ms;
        bool is_large = oldest && bytes_max && bytes_needed(files, oldest) > bytes_max;
        if (!oldest || is_old || is_large)
            oldest = file;
        else
            break;
    }
    return oldest;
}

int backup_files_retain(struct backup_files *f, uint64_t now_ms, uint64_t keep_ms, uint64_t bytes_max,
                        uint64_t *ret_bytes)
{
    struct file_list files = {0};
    char name[BACKUP_NAME_SIZE];
    *ret_bytes = 0;
    int err = list_files(f, &files);
    uint64_t before_ms = keep_ms && keep_ms < now_ms ? now_ms - keep_ms : 0;
    const struct backup_file *oldest = oldest_kept(&files, before_ms, bytes_max);
    for (size_t i = 0; i < files.count && !err; i++) {
        if (!oldest || is_needed(&files, i, oldest)) {
            *ret_bytes += files.list[i].size;
            continue;
        }
        FAILPOINT(BACKUP_REMOVE);
        backup_file_name(&files.list[i], name);
        if (unlinkat(f->dir_fd, name, 0) != 0 && errno != ENOENT)
            err = last_error();
    }
    mem_free(files.list);
    return err;
}
