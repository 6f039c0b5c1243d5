/* SPDX-License-Identifier: Apache-2.0
 * The command `import etcd-data-dir`: the data folder of a stopped etcd becomes that of a member of a new
 * cluster, without a running etcd.
 *
 *   1. Lock member/snap/db as etcd does (flock): a running etcd has it.
 *   2. Read the log. If it names a snapshot that the database does not have, etcd was killed while it
 *      installed one from its leader: take member/snap/INDEX.snap.db, as etcd does at its start.
 *   3. Restore the database (restore.c), and append the committed entries behind it to the new log.
 *
 * The folder of etcd is only read. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "consensus/etcd_db/etcd_log.h"
#include "sdk/ctl/db_file.h"
#include "sdk/ctl/import_password.h"
#include "sdk/ctl/restore.h"

struct etcd_dir {
    struct ctl *c;
    const char *dir, *wal_dir;
    struct ctl_db_file file;     /* member/snap/db, locked */
    struct ctl_db_file received; /* INDEX.snap.db, if that is taken */
    struct etcd_db *db;
    struct ctl_db_file *segments;
    struct etcd_log_file *log_files;
    size_t segment_count, opened_count;
    struct etcd_log *log;
    struct etcd_db_marks marks;
    struct etcd_log_plan plan;
    struct etcd_db_tail tail;
    uint64_t counts[ETCD_ENTRY_KINDS]; /* by kind */
    struct buf hashed;                 /* an entry with the hash of its password */
    struct ctl_progress progress;
    char error[512];
};

/* --- database ---------------------------------------------------------------------------------------- */

static bool is_file(const char *path)
{
    return access(path, F_OK) == 0;
}

static enum ctl_exit lock_database(struct etcd_dir *d)
{
    struct ctl *c = d->c;
    const char *path = arena_printf(&c->arena, "%s/member/snap/db", d->dir);
    if (is_file(arena_printf(&c->arena, "%s/member/store", d->dir)))
        return ctl_fail(c, CTL_ERROR, "%s is a data folder of Cairn: start cairnd with it", d->dir);
    if (!is_file(path))
        return ctl_fail(c, CTL_ERROR, "%s is not a data folder of etcd: it has no member/snap/db", d->dir);
    enum ctl_exit how = ctl_db_file_open(c, "open", path, &d->file);
    if (how)
        return how;
    if (flock(d->file.fd, LOCK_SH | LOCK_NB) == 0)
        return CTL_DONE;
    if (errno != EWOULDBLOCK)
        return ctl_fail_errno(c, CTL_ERROR, "flock", path);
    return ctl_fail(c, CTL_ERROR,
                    "%s is in use by a running etcd: stop it first, or save a snapshot of it (\"cairnctl "
                    "snapshot save FILE\") and use \"cairnctl snapshot restore FILE\"",
                    d->dir);
}

static enum ctl_exit open_database(struct etcd_dir *d, struct ctl_db_file *file)
{
    etcd_db_close(d->db);
    d->db = NULL;
    int err =
        etcd_db_open(&file->source, file->path, ETCD_DB_CHECK_IF_ANY, d->error, sizeof d->error, &d->db);
    if (!err)
        err = etcd_db_read_marks(d->db, &d->marks, d->error, sizeof d->error);
    return err ? ctl_db_file_fail(d->c, err, d->error) : CTL_DONE;
}

/* The database ends before a snapshot that the log names. */
static enum ctl_exit take_received(struct etcd_dir *d, uint64_t index)
{
    struct ctl *c = d->c;
    const char *path = arena_printf(&c->arena, "%s/member/snap/%016" PRIx64 ".snap.db", d->dir, index);
    if (!is_file(path))
        return ctl_fail(c, CTL_ERROR,
                        "%s ends with entry %" PRIu64 " of the log, the log begins after a snapshot at entry "
                        "%" PRIu64 ", and %s is not there: the folder is incomplete",
                        d->file.path, d->marks.index, index, path);
    enum ctl_exit how = ctl_db_file_open(c, "open", path, &d->received);
    return how ? how : open_database(d, &d->received);
}

/* --- log --------------------------------------------------------------------------------------------- */

static bool read_segment_name(const char *name, uint64_t *ret_sequence)
{
    char again[48];
    uint64_t index;
    if (sscanf(name, "%16" SCNx64 "-%16" SCNx64 ".wal", ret_sequence, &index) != 2)
        return false;
    snprintf(again, sizeof again, "%016" PRIx64 "-%016" PRIx64 ".wal", *ret_sequence, index);
    return strcmp(name, again) == 0; /* not 0.tmp, not .broken */
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of the log's files in the arena, the oldest first. */
static enum ctl_exit list_segments(struct etcd_dir *d, const char ***ret_names)
{
    struct ctl *c = d->c;
    uint64_t sequence, previous = 0;
    DIR *folder = opendir(d->wal_dir);
    const char *reason = folder ? "" : strerror(errno);
    const char **names = NULL;
    size_t capacity = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (read_segment_name(entry->d_name, &sequence)) {
            if (d->segment_count == capacity) {
                const char **more = arena_alloc(&c->arena, (2 * capacity + 8) * sizeof *more);
                if (capacity)
                    memcpy(more, names, capacity * sizeof *more);
                names = more;
                capacity = 2 * capacity + 8;
            }
            names[d->segment_count++] = arena_string(&c->arena, entry->d_name, strlen(entry->d_name));
        }
    if (folder)
        closedir(folder);
    if (!d->segment_count)
        return ctl_fail(c, CTL_ERROR,
                        "%s has no log of etcd (*.wal)%s%s: name its folder with --etcd-wal-dir", d->wal_dir,
                        *reason ? ": " : "", reason);
    qsort(names, d->segment_count, sizeof *names, compare_names);
    for (size_t i = 0; i < d->segment_count; i++, previous = sequence) {
        (void)read_segment_name(names[i], &sequence);
        if (i && sequence != previous + 1)
            return ctl_fail(c, CTL_ERROR, "%s: a file is missing between %s and %s", d->wal_dir, names[i - 1],
                            names[i]);
    }
    *ret_names = names;
    return CTL_DONE;
}

static void show_log_progress(void *arg, uint64_t bytes)
{
    ctl_progress_show(&((struct etcd_dir *)arg)->progress, bytes);
}

static enum ctl_exit read_log(struct etcd_dir *d)
{
    struct ctl *c = d->c;
    const char **names = NULL;
    enum ctl_exit how = list_segments(d, &names);
    if (how)
        return how;
    d->segments = mem_new(d->segment_count * sizeof *d->segments);
    d->log_files = mem_new(d->segment_count * sizeof *d->log_files);
    d->progress = (struct ctl_progress){.title = "log "};
    for (size_t i = 0; !how && i < d->segment_count; i++) {
        struct ctl_db_file *f = &d->segments[i];
        how = ctl_db_file_open(c, "open", arena_printf(&c->arena, "%s/%s", d->wal_dir, names[i]), f);
        d->opened_count += !how;
        d->log_files[i] = (struct etcd_log_file){f->path, f->source};
        d->progress.size += how ? 0 : f->source.size;
    }
    if (how)
        return how;
    int err = etcd_log_read(d->log_files, d->segment_count, d->marks.index, show_log_progress, d, d->error,
                            sizeof d->error, &d->log);
    ctl_progress_end(&d->progress);
    return err ? ctl_db_file_fail(c, err, d->error) : CTL_DONE;
}

static const char *hash_password(void *arg, const char *password, const uint8_t salt[ETCD_ENTRY_SALT_SIZE])
{
    _Static_assert((int)ETCD_ENTRY_SALT_SIZE == (int)IMPORT_SALT_SIZE, "the same salt");
    (void)arg;
    return import_password_hash(password, salt);
}

static int read_entry(void *arg, size_t i, struct slice *ret_data, char *error, size_t error_size)
{
    struct etcd_dir *d = arg;
    enum etcd_entry_kind kind;
    int err = etcd_log_entry(d->log, d->plan.first + i, &kind, ret_data, error, error_size);
    if (err)
        return err;
    d->counts[kind]++;
    if (kind != ETCD_ENTRY_PASSWORD)
        return OK;
    err = etcd_entry_hash_password(*ret_data, hash_password, NULL, &d->hashed);
    if (err)
        snprintf(error, error_size, "cannot hash the password of a user in the log: %s", err_text(err));
    *ret_data = buf_slice(&d->hashed);
    return err;
}

/* --- the run ----------------------------------------------------------------------------------------- */

static enum ctl_exit open_etcd_dir(struct ctl *c, void *arg, struct restore_input *ret_input)
{
    struct etcd_dir *d = arg;
    enum ctl_exit how = lock_database(d);
    if (!how)
        how = open_database(d, &d->file);
    if (!how)
        how = read_log(d);
    if (!how && etcd_log_snapshot(d->log) > d->marks.index)
        how = take_received(d, etcd_log_snapshot(d->log));
    if (how)
        return how;
    int err = etcd_log_plan(d->log, &d->marks, &d->plan, d->error, sizeof d->error);
    if (err)
        return ctl_fail(c, CTL_ERROR, "%s: %s", d->wal_dir, d->error);
    d->tail = (struct etcd_db_tail){d->plan.after, d->plan.term, d->plan.count, read_entry, d};
    *ret_input = (struct restore_input){
        .db = d->db,
        .size = d->received.fd >= 0 ? d->received.source.size : d->file.source.size,
        .tail = &d->tail,
    };
    return CTL_DONE;
}

static void show_import(struct ctl *c, void *arg, const struct restore_result *r)
{
    const struct etcd_dir *d = arg;
    const struct etcd_db_restored *n = r->restored;
    struct buf notes = {0};
    uint64_t conf = d->counts[ETCD_ENTRY_CONF];
    if (conf)
        buf_addf(&notes, "; %" PRIu64 " changes of etcd's members are left out", conf);
    if (d->plan.dropped)
        buf_addf(&notes, "; %zu entries after them are not committed and are left out", d->plan.dropped);
    if (etcd_log_torn_at(d->log))
        buf_addf(&notes, "; the last record of the log was cut off at offset %" PRIu64,
                 etcd_log_torn_at(d->log));
    json_t *doc = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "dir", r->data_dir, "name",
                            r->name, "revision", (json_int_t)n->revision, "changes", (json_int_t)n->keys,
                            "leases", (json_int_t)n->leases, "users", (json_int_t)n->users, "roles",
                            (json_int_t)n->roles, "logEntries", (json_int_t)d->plan.count, "memberChanges",
                            (json_int_t)conf, "uncommitted", (json_int_t)d->plan.dropped);
    ctl_print_done(c, doc,
                   "%s: member %s (%" PRIx64 ") of the cluster %" PRIx64
                   "; the database is at revision %" PRId64 " with %" PRIu64 " changes, %" PRIu64
                   " leases, %" PRIu64 " users, %" PRIu64
                   " roles; cairnd applies %zu entries of the log to it at its first start%s",
                   r->data_dir, r->name, n->member_id, n->cluster_id, n->revision, n->keys, n->leases,
                   n->users, n->roles, d->plan.count, notes.size ? buf_text(&notes) : "");
    json_decref(doc);
    buf_done(&notes);
}

enum ctl_exit ctl_import_etcd_data_dir(struct ctl *c)
{
    struct etcd_dir d = {.c = c, .dir = c->line.args[0], .file = {.fd = -1}, .received = {.fd = -1}};
    const char *wal = ctl_text(&c->line, "etcd-wal-dir");
    d.wal_dir = wal && *wal ? wal : arena_printf(&c->arena, "%s/member/wal", d.dir);
    enum ctl_exit how = restore_member(c, &(struct restore_source){open_etcd_dir, NULL, show_import, &d});
    etcd_log_free(d.log);
    etcd_db_close(d.db);
    for (size_t i = 0; i < d.opened_count; i++)
        ctl_db_file_close(&d.segments[i]);
    mem_free(d.segments);
    mem_free(d.log_files);
    buf_done(&d.hashed);
    ctl_db_file_close(&d.received);
    ctl_db_file_close(&d.file); /* and its lock */
    return how;
}
