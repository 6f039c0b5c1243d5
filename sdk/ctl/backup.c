/* SPDX-License-Identifier: Apache-2.0
 * Reading of a backup's folder; see backup.h. */
#include "sdk/ctl/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text.h"
#include "sdk/ctl/db_file.h"

enum { FILE_MAX = 1 << 30 };

/* --- one member's folder ----------------------------------------------------------------------------- */

static int backup_list(void *arg, void (*fn)(void *fn_arg, const char *name, uint64_t size), void *fn_arg)
{
    const struct ctl_backup *b = arg;
    struct stat st;
    DIR *dir = opendir(b->dir);
    if (!dir)
        return err_from_errno(errno);
    for (struct dirent *e; (e = readdir(dir));)
        if (fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
            fn(fn_arg, e->d_name, (uint64_t)st.st_size);
    closedir(dir);
    return OK;
}

static int backup_read(void *arg, const char *name, struct buf *ret_bytes)
{
    const struct ctl_backup *b = arg;
    struct stat st;
    if (ctl_is_stopped(b->c))
        return ERR_CANCELED;
    int fd = open(arena_printf(&b->c->arena, "%s/%s", b->dir, name), O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return err_from_errno(errno);
    int err = fstat(fd, &st) != 0 ? err_from_errno(errno) : OK;
    if (!err && (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX))
        err = ERR_LIMIT;
    size_t size = err ? 0 : (size_t)st.st_size;
    uint8_t *at = buf_reserve(ret_bytes, size);
    while (!err && ret_bytes->size < size) {
        ssize_t n = read(fd, at + ret_bytes->size, size - ret_bytes->size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            err = n < 0 ? err_from_errno(errno) : ERR_TRUNCATED;
        else
            ret_bytes->size += (size_t)n;
    }
    close(fd);
    return err;
}

enum ctl_exit ctl_backup_open(struct ctl *c, const char *dir, struct ctl_backup *b)
{
    *b = (struct ctl_backup){.c = c, .dir = dir};
    b->folder = (struct backup_folder){.list = backup_list, .read = backup_read, .arg = b};
    int err = backup_catalog_read(&b->folder, &b->catalog);
    return err ? ctl_fail(c, CTL_IO, "cannot read %s: %s", dir, err_text(err)) : CTL_DONE;
}

void ctl_backup_close(struct ctl_backup *b)
{
    backup_catalog_done(&b->catalog);
    b->catalog = (struct backup_catalog){0};
}

const char *ctl_backup_full(const struct ctl_backup *b, const struct backup_file *full)
{
    char name[BACKUP_NAME_SIZE];
    backup_file_name(full, name);
    return arena_printf(&b->c->arena, "%s/%s", b->dir, name);
}

/* --- which member ------------------------------------------------------------------------------------ */

static bool has_backup(const char *path)
{
    struct backup_file file;
    bool has_file = false;
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && !has_file && (e = readdir(dir));)
        has_file = backup_file_parse(e->d_name, &file);
    if (dir)
        closedir(dir);
    return has_file;
}

static void find_members(struct ctl *c, const char *path, unsigned depth, const char **list, size_t *count)
{
    struct stat st;
    if (*count == CTL_BACKUP_MEMBERS_MAX)
        return;
    if (has_backup(path)) {
        list[(*count)++] = path;
        return;
    }
    DIR *dir = depth ? opendir(path) : NULL;
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (*e->d_name == '.' || fstatat(dirfd(dir), e->d_name, &st, 0) != 0 || !S_ISDIR(st.st_mode))
            continue;
        find_members(c, arena_printf(&c->arena, "%s/%s", path, e->d_name), depth - 1, list, count);
    }
    if (dir)
        closedir(dir);
}

enum ctl_exit ctl_backup_members(struct ctl *c, const char *dir, const char **list, size_t *ret_count)
{
    struct stat st;
    *ret_count = 0;
    if (stat(dir, &st) != 0)
        return ctl_fail_errno(c, CTL_IO, "open", dir);
    find_members(c, dir, 2, list, ret_count);
    if (!*ret_count)
        return ctl_fail(c, CTL_ERROR, "%s has no backup that cairnd --backup-dir has written", dir);
    return CTL_DONE;
}

static bool is_whole(struct ctl_backup *b, const struct backup_file *full)
{
    uint8_t wanted[ETCD_DB_DIGEST_SIZE], digest[ETCD_DB_DIGEST_SIZE];
    struct ctl_db_file file;
    if (ctl_db_file_open(b->c, "open", ctl_backup_full(b, full), &file) != CTL_DONE)
        return false;
    bool is_good = etcd_db_has_digest(file.source.size) &&
                   etcd_db_digests(&file.source, wanted, digest) == OK &&
                   memcmp(wanted, digest, sizeof digest) == 0;
    ctl_db_file_close(&file);
    return is_good;
}

/* The plan from the newest snapshot that is whole. */
static int choose_full(struct ctl_backup *b, const struct backup_target *target, char *error,
                       size_t error_size)
{
    for (size_t skip = 0;; skip++) {
        char why[512];
        int err = backup_plan_make(&b->folder, &b->catalog, target, skip, &b->plan, why, sizeof why);
        if (err && skip && err == ERR_NOT_FOUND)
            return ERR_CORRUPT; /* the error of the one before */
        snprintf(error, error_size, "%s", why);
        if (err)
            return err;
        if (is_whole(b, &b->plan.full))
            return OK;
        snprintf(error, error_size, "%s is damaged", ctl_backup_full(b, &b->plan.full));
        ctl_note(b->c, "%s; the snapshot before it is used, if there is one", error);
    }
}

/* The folder of the cluster's folder: with several clusters the user must name one. */
static enum ctl_exit check_one_cluster(struct ctl *c, const char *dir, const char *const *list, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        size_t size = (size_t)(strrchr(list[0], '/') - list[0]);
        if ((size_t)(strrchr(list[i], '/') - list[i]) != size || strncmp(list[0], list[i], size) != 0)
            return ctl_fail(c, CTL_ERROR, "%s has backups of several clusters: name one of %s and %s", dir,
                            list[0], list[i]);
    }
    return CTL_DONE;
}

enum ctl_exit ctl_backup_choose(struct ctl *c, const char *dir, const struct backup_target *target,
                                struct ctl_backup *ret_backup)
{
    const char *list[CTL_BACKUP_MEMBERS_MAX];
    char error[700] = "", first_error[700] = "";
    size_t count;
    bool has_one = false;
    *ret_backup = (struct ctl_backup){.c = c};
    enum ctl_exit how = ctl_backup_members(c, dir, list, &count);
    if (!how)
        how = check_one_cluster(c, dir, list, count);
    for (size_t i = 0; i < count && !how; i++) {
        struct ctl_backup b;
        how = ctl_backup_open(c, list[i], &b);
        if (how)
            break;
        int err = choose_full(&b, target, error, sizeof error);
        if (err == OK && (!has_one || b.plan.revision > ret_backup->plan.revision)) {
            ctl_backup_close(ret_backup);
            *ret_backup = b;
            ret_backup->folder.arg = ret_backup;
            has_one = true;
            continue;
        }
        if (err && !*first_error)
            snprintf(first_error, sizeof first_error, "%s", error);
        ctl_backup_close(&b);
    }
    if (!how && !has_one)
        how = ctl_fail(c, CTL_ERROR, "%s", first_error);
    return how;
}

/* --- the target -------------------------------------------------------------------------------------- */

/* RFC 3339, seconds since 1970, or a duration before now. The whole second is included. */
static bool read_time(const char *text, uint64_t *ret_ms)
{
    int64_t value;
    if (*text == '-' && text_to_duration_ns(slice_text(text), &value) == OK) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        *ret_ms = (uint64_t)((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + value / 1000000);
        return true;
    }
    const char *dot = strchr(text, '.');
    bool is_number = *text >= '0' && *text <= '9' && text[strspn(text, "0123456789.")] == '\0';
    size_t size = is_number && dot ? (size_t)(dot - text) : strlen(text);
    int err = is_number ? text_to_i64(slice_of(text, size), &value) : text_to_time(slice_text(text), &value);
    if (err || value < 0 || value > INT64_MAX / 1000 - 1)
        return false;
    unsigned ms = 999;
    if (dot) {
        ms = 0;
        for (unsigned i = 1, unit = 100; unit && dot[i] >= '0' && dot[i] <= '9'; i++, unit /= 10)
            ms += (unsigned)(dot[i] - '0') * unit;
    }
    *ret_ms = (uint64_t)value * 1000 + ms;
    return true;
}

enum ctl_exit ctl_backup_target(struct ctl *c, struct backup_target *t)
{
    const char *text = ctl_text(&c->line, "to-time");
    *t = (struct backup_target){.revision = (int64_t)ctl_uint(&c->line, "to-revision")};
    if (t->revision > 0 && text && *text)
        return ctl_fail(c, CTL_BAD_ARGS, "--to-revision and --to-time exclude each other");
    if (t->revision > 0)
        t->kind = BACKUP_AT_REVISION;
    if (!text || !*text)
        return CTL_DONE;
    t->kind = BACKUP_AT_TIME;
    if (!read_time(text, &t->time_ms))
        return ctl_fail(c, CTL_BAD_ARGS,
                        "--to-time is \"%s\"; it must be a time as 2026-11-21T10:00:00Z, seconds since 1970, "
                        "or a time before now as -10m",
                        text);
    return CTL_DONE;
}

/* --- replay ------------------------------------------------------------------------------------------ */

struct replay_run {
    struct ctl_backup *backup;
    struct replay *replay;
    const struct ctl_backup_watch *watch;
};

static int replay_one(void *arg, const struct backup_record *record)
{
    struct replay_run *r = arg;
    int err = replay_record(r->replay, record);
    r->backup->entries += record->kind == BACKUP_ENTRY;
    if (!err && r->watch)
        err = r->watch->fn(r->watch->arg, r->replay, record);
    if (!err && r->backup->entries % 4096 == 0 && ctl_is_stopped(r->backup->c))
        err = ERR_CANCELED;
    return err;
}

int ctl_backup_replay(struct ctl_backup *b, const struct replay_options *given, uint64_t bump_revision,
                      const struct ctl_backup_watch *watch, struct etcd_db_replayed *ret)
{
    struct replay_options options = *given;
    struct replay_run run = {.backup = b, .watch = watch};
    options.index = b->plan.full.index;
    options.term = ret->term - 1;
    options.election_ms = b->plan.election_ms;
    b->hashes = b->entries = 0;
    if (ret->index != b->plan.full.index + ETCD_DB_FIRST_INDEX) {
        snprintf(options.error, options.error_size, "%s has another index than its name",
                 ctl_backup_full(b, &b->plan.full));
        return ERR_CORRUPT;
    }
    log_set_level(LOG_ERROR); /* a replay logs as the member did: users, alarms */
    int err = replay_open(&options, &run.replay);
    if (!err)
        err = backup_plan_walk(&b->folder, &b->catalog, &b->plan, replay_one, &run, options.error,
                               options.error_size);
    if (!err)
        err = replay_finish(run.replay, bump_revision, ret);
    b->hashes = run.replay ? replay_hashes(run.replay) : 0;
    replay_close(run.replay);
    return err;
}
