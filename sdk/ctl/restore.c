/* SPDX-License-Identifier: Apache-2.0
 * The command `snapshot restore`: the data folder of a member of a new cluster, from a snapshot or database
 * file of etcd or Cairn, or from a continuous backup. Flags, checks and error texts are etcdutl's. restore_member is also the end of
 * `import etcd-data-dir`.
 *
 *   1. Check the flags and open the source; change nothing.
 *   2. Make DATA_DIR/member.restoring, and WAL_DIR.restoring if --wal-dir is given. What a killed run left
 *      under these names is deleted first.
 *   3. Write the store and the log there, and sync them. Meanwhile a thread computes the source's SHA-256, which must be
 *      right before step 4.
 *   4. Rename WAL_DIR.restoring, then member.restoring, and sync the folders.
 *
 * With --wal-dir, step 4 has two renames. The file member.restoring/log-folder names the folder of the log and its inode
 * before the first one; a run that is killed between them leaves it, and the next run deletes that log.
 *
 * After an error or a signal everything that was made is deleted. cairnd does not start in a folder that has
 * member.restoring and no member. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "base/text.h"
#include "consensus/io.h"
#include "sdk/ctl/backup.h"
#include "sdk/ctl/db_file.h"
#include "sdk/ctl/digest_thread.h"
#include "sdk/ctl/restore.h"
#include "sdk/ctl/restore_cluster.h"

struct restore_run {
    struct ctl *c;
    const char *name, *data_dir, *wal_dir; /* wal_dir NULL = within the data folder */
    const char *member_dir, *new_member_dir, *new_wal_dir;
    const char *log_record; /* the file that names the log's folder while the folders are renamed */
    const char *first_made; /* the uppermost folder that this run made, down to data_dir; NULL = none */
    bool has_begun;         /* the new folders may exist */
    bool is_renamed;        /* WAL_DIR has its name */
    int lock_fd;
    struct restore_cluster cluster;
    struct restore_input input;
    struct ctl_progress progress;
    uv_loop_t loop;
    struct io *io;
};

/* --- progress ---------------------------------------------------------------------------------------- */

void ctl_progress_show(struct ctl_progress *p, uint64_t bytes)
{
    uint64_t percent = bytes * 100 / (p->size + 1);
    if (percent == p->percent)
        return;
    p->percent = percent;
    if (p->is_silent || !isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r%s%3d %%", p->title, (int)(percent > 100 ? 100 : percent));
}

void ctl_progress_end(struct ctl_progress *p)
{
    if (p->percent && isatty(STDERR_FILENO) && !p->is_silent)
        fprintf(stderr, "\r%*s\r", (int)strlen(p->title) + 5, "");
    p->percent = 0;
}

/* --- folders ----------------------------------------------------------------------------------------- */

static int delete_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path) != 0 && errno != ENOENT;
}

/* Deletes a folder with its content. False: errno says why. */
static bool delete_tree(const char *path)
{
    return nftw(path, delete_one, 16, FTW_DEPTH | FTW_PHYS) == 0 || access(path, F_OK) != 0;
}

static bool path_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static const char *parent_of(struct ctl *c, const char *path)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    while (size && path[size - 1] != '/')
        size--;
    while (size > 1 && path[size - 1] == '/')
        size--;
    return size ? arena_string(&c->arena, path, size) : ".";
}

static bool sync_folder(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool is_synced = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return is_synced;
}

/* Makes a folder and those above it. *first_made becomes the uppermost new one. */
static bool make_folders(struct ctl *c, const char *path, const char **first_made)
{
    if (mkdir(path, 0700) == 0) {
        if (!*first_made)
            *first_made = path;
        return true;
    }
    if (errno == EEXIST)
        return true;
    if (errno != ENOENT || strcmp(path, ".") == 0 || strcmp(path, "/") == 0)
        return false;
    if (!make_folders(c, parent_of(c, path), first_made))
        return false;
    return make_folders(c, path, first_made);
}

/* Deletes data_dir and the folders above it that this run made, as far as they are empty. */
static void delete_made(const struct restore_run *r)
{
    const char *path = r->data_dir;
    while (r->first_made && rmdir(path) == 0 && strcmp(path, r->first_made) != 0)
        path = parent_of(r->c, path);
}

/* True if the folder is absent, or has nothing but what a killed restore left. */
static bool is_vacant(const char *path)
{
    uv_fs_t request;
    uv_dirent_t entry;
    int count = uv_fs_scandir(NULL, &request, path, 0, NULL);
    bool is_empty = count >= 0 || count == UV_ENOENT;
    while (count > 0 && uv_fs_scandir_next(&request, &entry) == 0)
        is_empty = is_empty && strcmp(entry.name, "member.restoring") == 0;
    uv_fs_req_cleanup(&request);
    return is_empty;
}

/* --- the record of a log elsewhere -------------------------------------------------------------------- */

/* Writes "DEVICE INODE PATH" of the new log's folder, which keeps its inode when it is renamed. */
static bool write_log_record(const struct restore_run *r)
{
    struct stat st;
    char folder[PATH_MAX];
    if (stat(r->new_wal_dir, &st) != 0 || !realpath(parent_of(r->c, r->wal_dir), folder))
        return false;
    const char *slash = strrchr(r->wal_dir, '/');
    FILE *file = fopen(r->log_record, "we");
    if (!file)
        return false;
    bool is_written = fprintf(file, "%ju %ju %s/%s", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino, folder,
                              slash ? slash + 1 : r->wal_dir) > 0;
    is_written = fflush(file) == 0 && fsync(fileno(file)) == 0 && is_written;
    return fclose(file) == 0 && is_written;
}

/* The folder of the log that a run left which was killed between its renames; NULL = none. */
static const char *abandoned_log(const struct restore_run *r)
{
    struct stat st;
    uintmax_t device, inode;
    char path[2 * PATH_MAX];
    FILE *file = fopen(r->log_record, "re");
    if (!file)
        return NULL;
    bool is_whole = fscanf(file, "%ju %ju %8191[^\n]", &device, &inode, path) == 3;
    (void)fclose(file);
    if (!is_whole || lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_dev != device ||
        st.st_ino != inode)
        return NULL;
    return arena_string(&r->c->arena, path, strlen(path));
}

/* True if a folder of this name is one that a killed restore left for us to delete. */
static bool is_abandoned_log(const struct restore_run *r, const char *path)
{
    struct stat a, b;
    const char *log = abandoned_log(r);
    return log && lstat(log, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

/* --- checks ------------------------------------------------------------------------------------------ */

static enum ctl_exit check_flags(struct restore_run *r)
{
    struct ctl *c = r->c;
    const struct ctl_command_line *t = &c->line;
    char error[512];
    if (restore_cluster_read(&c->arena, r->name, ctl_text(t, "initial-cluster"),
                             ctl_text(t, "initial-advertise-peer-urls"), &r->cluster, error,
                             sizeof error) != OK)
        return ctl_fail(c, CTL_ERROR, "%s", error);
    if (!is_vacant(r->data_dir))
        return ctl_fail(c, CTL_ERROR, "data-dir \"%s\" not empty or could not be read", r->data_dir);
    if (r->wal_dir && path_exists(r->wal_dir) && !is_abandoned_log(r, r->wal_dir))
        return ctl_fail(c, CTL_ERROR, "wal-dir \"%s\" exists", r->wal_dir);
    return CTL_DONE;
}

/* --- the run ----------------------------------------------------------------------------------------- */

/* Takes the data folder, so that two runs do not delete each other's work, and deletes what a killed run
 * left. */
static enum ctl_exit take_folder(struct restore_run *r)
{
    struct ctl *c = r->c;
    if (!make_folders(c, r->data_dir, &r->first_made))
        return ctl_fail_errno(c, CTL_ERROR, "mkdir", r->data_dir);
    r->lock_fd = open(r->data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (r->lock_fd < 0)
        return ctl_fail_errno(c, CTL_ERROR, "open", r->data_dir);
    if (flock(r->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return ctl_fail(c, CTL_ERROR, "another restore is writing in %s", r->data_dir);
    if (!is_vacant(r->data_dir)) /* another restore has ended meanwhile */
        return ctl_fail(c, CTL_ERROR, "data-dir \"%s\" not empty or could not be read", r->data_dir);
    const char *log = abandoned_log(r);
    if (log && !delete_tree(log)) /* before the record that names it */
        return ctl_fail_errno(c, CTL_ERROR, "remove", log);
    if (r->wal_dir && path_exists(r->wal_dir))
        return ctl_fail(c, CTL_ERROR, "wal-dir \"%s\" exists", r->wal_dir);
    r->has_begun = true;
    if (!delete_tree(r->new_member_dir))
        return ctl_fail_errno(c, CTL_ERROR, "remove", r->new_member_dir);
    if (r->wal_dir && !delete_tree(r->new_wal_dir))
        return ctl_fail_errno(c, CTL_ERROR, "remove", r->new_wal_dir);
    if (mkdir(r->new_member_dir, 0700) != 0)
        return ctl_fail_errno(c, CTL_ERROR, "mkdir", r->new_member_dir);
    if (!sync_folder(r->data_dir))
        return ctl_fail_errno(c, CTL_ERROR, "sync", r->data_dir);
    return CTL_DONE;
}

static void show_progress(void *arg, uint64_t bytes)
{
    ctl_progress_show(&((struct restore_run *)arg)->progress, bytes);
}

static void turn_loop(void *arg)
{
    (void)uv_run(arg, UV_RUN_ONCE);
}

static int replay_input(void *arg, const char *store_path, struct etcd_db_replayed *ret, char *error,
                        size_t error_size)
{
    struct restore_run *r = arg;
    const struct replay_options options = {.io = r->io,
                                           .store_path = store_path,
                                           .run_loop = turn_loop,
                                           .run_loop_arg = &r->loop,
                                           .error = error,
                                           .error_size = error_size};
    return r->input.replay(r->input.replay_arg, &options, ret);
}

static enum ctl_exit write_member(struct restore_run *r, const struct restore_source *source,
                                  struct etcd_db_restored *ret)
{
    struct ctl *c = r->c;
    const struct ctl_command_line *t = &c->line;
    char error[512] = "";
    if (uv_loop_init(&r->loop) != 0)
        return ctl_fail(c, CTL_ERROR, "cannot make an event loop");
    r->io = io_real_new(&r->loop, false);
    const struct etcd_db_restore options = {
        .store_path = arena_printf(&c->arena, "%s/store", r->new_member_dir),
        .wal_dir = r->new_wal_dir,
        .name = r->name,
        .token = ctl_text(t, "initial-cluster-token"),
        .cluster = r->cluster.list,
        .cluster_count = r->cluster.count,
        .until_revision = r->input.until_revision,
        .bump_revision = r->input.bump_revision,
        .tail = r->input.tail,
        .replay = r->input.replay ? replay_input : NULL,
        .on_progress = show_progress,
        .arg = r,
        .run_loop = turn_loop,
        .run_loop_arg = &r->loop,
    };
    r->progress = (struct ctl_progress){.title = "", .size = r->input.size, .is_silent = t->is_etcdutl};
    int err = etcd_db_restore(r->io, r->input.db, &options, ret, error, sizeof error);
    io_real_free(r->io); /* ends the work on the log */
    (void)uv_run(&r->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&r->loop);
    ctl_progress_end(&r->progress);
    if (!err && ctl_is_stopped(c))
        err = ERR_CANCELED;
    /* Of a damaged file the digest tells more than the row that could not be read. */
    enum ctl_exit how = source->check ? source->check(c, source->arg) : CTL_DONE;
    return err && !how ? ctl_db_file_fail(c, err, *error ? error : err_text(err)) : how;
}

/* Gives the new folders their names. From here on nothing is deleted. */
static enum ctl_exit publish_member(struct restore_run *r)
{
    struct ctl *c = r->c;
    (void)unlink(arena_printf(&c->arena, "%s/store-lock", r->new_member_dir)); /* LMDB makes it anew */
    if (!sync_folder(r->new_wal_dir))
        return ctl_fail_errno(c, CTL_ERROR, "sync", r->new_wal_dir);
    if (r->wal_dir && !write_log_record(r))
        return ctl_fail_errno(c, CTL_ERROR, "write", r->log_record);
    if (!sync_folder(r->new_member_dir))
        return ctl_fail_errno(c, CTL_ERROR, "sync", r->new_member_dir);
    if (r->wal_dir && (rename(r->new_wal_dir, r->wal_dir) != 0 || !sync_folder(parent_of(c, r->wal_dir))))
        return ctl_fail_errno(c, CTL_ERROR, "rename", r->new_wal_dir);
    r->is_renamed = r->wal_dir != NULL;
    if (rename(r->new_member_dir, r->member_dir) != 0)
        return ctl_fail_errno(c, CTL_ERROR, "rename", r->new_member_dir);
    r->has_begun = false;
    if (r->wal_dir)
        (void)unlink(arena_printf(&c->arena, "%s/log-folder", r->member_dir));
    if (!sync_folder(r->data_dir) || !sync_folder(parent_of(c, r->first_made ? r->first_made : r->data_dir)))
        return ctl_fail_errno(c, CTL_ERROR, "sync", r->data_dir);
    return CTL_DONE;
}

static void abandon(const struct restore_run *r)
{
    if (r->has_begun) {
        if (r->wal_dir) /* first, for the record of it is in the other folder */
            (void)delete_tree(r->is_renamed ? r->wal_dir : r->new_wal_dir);
        (void)delete_tree(r->new_member_dir);
    }
    delete_made(r);
}

static const char *without_slash(struct ctl *c, const char *path)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    return arena_string(&c->arena, path, size);
}

static void name_folders(struct restore_run *r)
{
    struct ctl *c = r->c;
    const char *data = ctl_text(&c->line, "data-dir"), *wal = ctl_text(&c->line, "wal-dir");
    r->data_dir = data && *data ? without_slash(c, data) : arena_printf(&c->arena, "%s.etcd", r->name);
    r->wal_dir = wal && *wal ? without_slash(c, wal) : NULL;
    r->member_dir = arena_printf(&c->arena, "%s/member", r->data_dir);
    r->new_member_dir = arena_printf(&c->arena, "%s/member.restoring", r->data_dir);
    r->log_record = arena_printf(&c->arena, "%s/log-folder", r->new_member_dir);
    r->new_wal_dir = r->wal_dir ? arena_printf(&c->arena, "%s.restoring", r->wal_dir)
                                : arena_printf(&c->arena, "%s/wal", r->new_member_dir);
}

enum ctl_exit restore_member(struct ctl *c, const struct restore_source *source)
{
    struct restore_run r = {.c = c, .name = ctl_text(&c->line, "name"), .lock_fd = -1};
    struct etcd_db_restored restored;
    name_folders(&r);
    enum ctl_exit how = check_flags(&r);
    if (!how)
        how = source->open(c, source->arg, &r.input);
    if (!how)
        how = take_folder(&r);
    if (!how)
        how = write_member(&r, source, &restored);
    if (!how)
        how = publish_member(&r);
    if (how)
        abandon(&r);
    else
        source->show(c, source->arg, &(struct restore_result){r.data_dir, r.name, &restored});
    if (r.lock_fd >= 0)
        close(r.lock_fd);
    return how;
}

/* --- snapshot restore -------------------------------------------------------------------------------- */

struct snapshot_source {
    struct ctl_db_file file;
    struct etcd_db *db;
    struct ctl_digest_thread digest;
};

static void add_go_bytes(struct buf *out, const uint8_t *bytes, size_t size)
{
    buf_add_byte(out, '[');
    for (size_t i = 0; i < size; i++)
        buf_addf(out, "%s%u", i ? " " : "", bytes[i]);
    buf_add_byte(out, ']');
}

static enum ctl_exit fail_digest_as_etcdutl(struct ctl *c, const struct ctl_digest_thread *d)
{
    struct buf text = {0};
    buf_add_text(&text, "expected sha256 ");
    add_go_bytes(&text, d->wanted, sizeof d->wanted);
    buf_add_text(&text, ", got ");
    add_go_bytes(&text, d->digest, sizeof d->digest);
    enum ctl_exit how = ctl_fail(c, CTL_ERROR, "%s", buf_text(&text));
    buf_done(&text);
    return how;
}

/* A file whose digest is wrong is opened again, for the sentence that names the damaged page. */
static enum ctl_exit check_digest(struct ctl *c, void *arg)
{
    struct snapshot_source *s = arg;
    struct ctl_digest_thread *d = &s->digest;
    struct etcd_db *db;
    char error[512];
    int err = ctl_digest_thread_end(d);
    if (err)
        return ctl_db_file_fail(c, err, err_text(err));
    if (memcmp(d->wanted, d->digest, sizeof d->digest) == 0)
        return CTL_DONE;
    if (c->line.is_etcdutl)
        return fail_digest_as_etcdutl(c, d);
    err = etcd_db_open(&s->file.source, s->file.path, ETCD_DB_CHECK, error, sizeof error, &db);
    if (!err) {
        etcd_db_close(db);
        return ctl_fail(c, CTL_ERROR, "%s has changed while it was read", s->file.path);
    }
    return ctl_db_file_fail(c, err, error);
}

/* The digest is begun here and looked at by check_digest, after the restore. */
static enum ctl_exit open_database(struct ctl *c, const char *path, struct snapshot_source *s,
                                   struct restore_input *ret_input)
{
    bool is_checked = !ctl_bool(&c->line, "skip-hash-check");
    char error[512];
    enum ctl_exit how = ctl_db_file_open(c, "open", path, &s->file);
    if (how)
        return how;
    bool has_digest = etcd_db_has_digest(s->file.source.size);
    if (is_checked && !has_digest && c->line.is_etcdutl)
        return ctl_fail(c, CTL_ERROR, "snapshot missing hash but --skip-hash-check=false");
    if (is_checked && has_digest)
        ctl_digest_thread_begin(&s->digest, &s->file);
    enum etcd_db_digest digest = is_checked && !has_digest ? ETCD_DB_CHECK : ETCD_DB_SKIP;
    int err = etcd_db_open(&s->file.source, s->file.path, digest, error, sizeof error, &s->db);
    *ret_input = (struct restore_input){.db = s->db, .size = s->file.source.size};
    if (err)
        how = check_digest(c, s);
    return err && !how ? ctl_db_file_fail(c, err, error) : how;
}

static enum ctl_exit open_snapshot(struct ctl *c, void *arg, struct restore_input *ret_input)
{
    enum ctl_exit how = open_database(c, c->line.args[0], arg, ret_input);
    ret_input->until_revision = (int64_t)ctl_uint(&c->line, "revision");
    ret_input->bump_revision = ctl_uint(&c->line, "bump-revision");
    return how;
}

static void show_restored(struct ctl *c, void *arg, const struct restore_result *r)
{
    const struct etcd_db_restored *d = r->restored;
    (void)arg;
    json_t *doc =
        json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "dir", r->data_dir, "name", r->name, "revision",
                  (json_int_t)d->revision, "changes", (json_int_t)d->keys, "leases", (json_int_t)d->leases,
                  "users", (json_int_t)d->users, "roles", (json_int_t)d->roles);
    if (!c->line.is_etcdutl)
        ctl_print_done(c, doc,
                       "%s: member %s (%" PRIx64 ") of the cluster %" PRIx64 " at revision %" PRId64
                       "; %" PRIu64 " changes, %" PRIu64 " leases, %" PRIu64 " users, %" PRIu64 " roles",
                       r->data_dir, r->name, d->member_id, d->cluster_id, d->revision, d->keys, d->leases,
                       d->users, d->roles);
    json_decref(doc);
}

/* --- a continuous backup ----------------------------------------------------------------------------- */

struct backup_source {
    struct snapshot_source snapshot;
    const char *dir;
    struct backup_target target;
    struct ctl_backup backup;
};

static int replay_backup(void *arg, const struct replay_options *options, struct etcd_db_replayed *ret)
{
    struct backup_source *s = arg;
    return ctl_backup_replay(&s->backup, options, ctl_uint(&s->backup.c->line, "bump-revision"), NULL, ret);
}

/* The full snapshot of the plan; its log is replayed into the store. */
static enum ctl_exit open_backup(struct ctl *c, void *arg, struct restore_input *ret_input)
{
    struct backup_source *s = arg;
    enum ctl_exit how = ctl_backup_choose(c, s->dir, &s->target, &s->backup);
    if (!how)
        how = open_database(c, ctl_backup_full(&s->backup, &s->backup.plan.full), &s->snapshot, ret_input);
    ret_input->replay = replay_backup;
    ret_input->replay_arg = s;
    return how;
}

static enum ctl_exit check_backup(struct ctl *c, void *arg)
{
    return check_digest(c, &((struct backup_source *)arg)->snapshot);
}

static void show_backup(struct ctl *c, void *arg, const struct restore_result *r)
{
    const struct backup_source *s = arg;
    const struct backup_plan *plan = &s->backup.plan;
    const struct etcd_db_restored *d = r->restored;
    struct buf at = {0};
    text_add_time(&at, (int64_t)(plan->time_ms / 1000));
    ctl_note(c, "%s and %" PRIu64 " entries of the log after it: revision %" PRId64 ", of %s",
             ctl_backup_full(&s->backup, &plan->full), s->backup.entries, plan->revision, buf_text(&at));
    if (plan->is_torn)
        ctl_note(c, "%s ends within a record at offset %" PRIu64 "; what is before it was taken",
                 plan->torn_name, plan->torn_offset);
    buf_done(&at);
    json_t *doc = json_pack("{s:s, s:s, s:I, s:I}", "dir", r->data_dir, "name", r->name, "revision",
                            (json_int_t)d->revision, "entries", (json_int_t)s->backup.entries);
    ctl_print_done(c, doc, "%s: member %s (%" PRIx64 ") of the cluster %" PRIx64 " at revision %" PRId64,
                   r->data_dir, r->name, d->member_id, d->cluster_id, d->revision);
    json_decref(doc);
}

/* --- the command ------------------------------------------------------------------------------------- */

static const char *text_or_empty(const struct ctl_command_line *t, const char *name)
{
    const char *text = ctl_text(t, name);
    return text ? text : "";
}

enum ctl_exit ctl_snapshot_restore(struct ctl *c)
{
    struct backup_source s = {.snapshot.file.fd = -1, .dir = text_or_empty(&c->line, "backup-dir")};
    bool is_backup = *s.dir != '\0';
    enum ctl_exit how = CTL_DONE;
    if (!is_backup && c->line.arg_count != 1)
        return ctl_fail(c, CTL_BAD_ARGS, "snapshot restore requires exactly one argument");
    if (is_backup && c->line.arg_count)
        return ctl_fail(c, CTL_BAD_ARGS, "snapshot restore takes a file or --backup-dir, not both");
    if (!is_backup && (ctl_uint(&c->line, "to-revision") || *text_or_empty(&c->line, "to-time")))
        return ctl_fail(c, CTL_BAD_ARGS,
                        "--to-revision and --to-time need --backup-dir; --revision is for a file");
    if (is_backup && ctl_uint(&c->line, "revision"))
        return ctl_fail(c, CTL_BAD_ARGS, "--revision is for a file; with --backup-dir use --to-revision");
    if (ctl_uint(&c->line, "revision") > INT64_MAX)
        return ctl_fail(c, CTL_BAD_ARGS, "--revision is %" PRIu64 "; it must be at most %" PRId64,
                        ctl_uint(&c->line, "revision"), INT64_MAX);
    if ((ctl_uint(&c->line, "bump-revision") > 0) != ctl_bool(&c->line, "mark-compacted"))
        return ctl_fail(c, CTL_BAD_ARGS, "--mark-compacted required if --revision-bump > 0");
    if (is_backup)
        how = ctl_backup_target(c, &s.target);
    if (!how && is_backup)
        how = restore_member(c, &(struct restore_source){open_backup, check_backup, show_backup, &s});
    else if (!how)
        how = restore_member(
            c, &(struct restore_source){open_snapshot, check_digest, show_restored, &s.snapshot});
    (void)ctl_digest_thread_end(&s.snapshot.digest);
    etcd_db_close(s.snapshot.db);
    ctl_db_file_close(&s.snapshot.file);
    ctl_backup_close(&s.backup);
    return how;
}
