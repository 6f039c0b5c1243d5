/* SPDX-License-Identifier: Apache-2.0
 * The commands `backup list` and `backup verify`.
 *
 * Verify restores each run of each member into a temporary folder: its oldest snapshot, then all of the log.
 *   - The checksum of each snapshot and record is right.
 *   - After each entry the revision is the one that the member recorded.
 *   - Each hash that the member recorded is equal.
 *   - At each later snapshot of the run, HashKV of the restored state is that of the snapshot.
 * After damage it goes on with the next snapshot, so that every damaged place is reported. */
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <uv.h>

#include "base/text.h"
#include "consensus/io.h"
#include "sdk/ctl/backup.h"
#include "sdk/ctl/db_file.h"
#include "sdk/ctl/show.h"

static const char *time_text(struct ctl *c, uint64_t ms)
{
    struct buf text = {0};
    text_add_time(&text, (int64_t)(ms / 1000));
    const char *copy = arena_string(&c->arena, text.data, text.size);
    buf_done(&text);
    return copy;
}

/* --- list -------------------------------------------------------------------------------------------- */

/* A row: the snapshot, and how far the log after it reaches up to the next gap. */
static json_t *list_full(struct ctl_backup *b, const struct backup_file *full)
{
    const struct backup_target latest = {0};
    struct backup_plan plan;
    char error[512];
    int err = backup_plan_from(&b->folder, &b->catalog, &latest, full, &plan, error, sizeof error);
    json_t *row = json_pack("{s:s, s:s, s:I, s:s, s:I, s:I, s:s}", "file", ctl_backup_full(b, full), "run",
                            arena_printf(&b->c->arena, "%016" PRIx64, full->run), "revision",
                            (json_int_t)full->revision, "time", time_text(b->c, full->time_ms), "bytes",
                            (json_int_t)full->size, "toRevision", (json_int_t)plan.revision, "toTime",
                            time_text(b->c, plan.time_ms));
    json_object_set_new(row, "damage", json_string(err ? error : ""));
    return row;
}

enum ctl_exit ctl_backup_list(struct ctl *c)
{
    static const struct ctl_column columns[] = {
        {"FILE", "file", CTL_CELL_PLAIN},
        {"REVISION", "revision", CTL_CELL_PLAIN},
        {"TIME", "time", CTL_CELL_PLAIN},
        {"BYTES", "bytes", CTL_CELL_PLAIN},
        {"TO REVISION", "toRevision", CTL_CELL_PLAIN},
        {"TO TIME", "toTime", CTL_CELL_PLAIN},
        {"DAMAGE", "damage", CTL_CELL_PLAIN},
    };
    const char *list[CTL_BACKUP_MEMBERS_MAX];
    size_t count;
    enum ctl_exit how = ctl_backup_members(c, c->line.args[0], list, &count);
    json_t *rows = json_array();
    for (size_t i = 0; i < count && !how; i++) {
        struct ctl_backup b;
        how = ctl_backup_open(c, list[i], &b);
        for (size_t k = 0; k < b.catalog.count && !how; k++)
            if (b.catalog.list[k].kind == BACKUP_FILE_FULL)
                json_array_append_new(rows, list_full(&b, &b.catalog.list[k]));
        ctl_backup_close(&b);
    }
    json_t *doc = json_pack("{s:o}", "snapshots", rows);
    if (!how)
        ctl_print_rows(c, doc, "snapshots", columns, sizeof columns / sizeof *columns);
    json_decref(doc);
    return how;
}

/* --- verify ------------------------------------------------------------------------------------------ */

struct verify_run {
    struct ctl *c;
    struct ctl_backup backup;
    size_t next; /* in the catalog: the next snapshot to compare with */
    uint64_t fulls;
    uv_loop_t loop;
    struct io *io;
    const char *scratch;
    char error[700];
};

static int verify_delete_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path) != 0 && errno != ENOENT;
}

static void verify_turn_loop(void *arg)
{
    (void)uv_run(arg, UV_RUN_ONCE);
}

static int open_full(struct verify_run *v, const struct backup_file *full, struct ctl_db_file *file,
                     struct etcd_db **ret_db)
{
    if (ctl_db_file_open(v->c, "open", ctl_backup_full(&v->backup, full), file) != CTL_DONE)
        return ERR_IO;
    int err = etcd_db_open(&file->source, file->path, ETCD_DB_CHECK, v->error, sizeof v->error, ret_db);
    if (err)
        ctl_db_file_close(file);
    return err;
}

static int compare_full(struct verify_run *v, const struct backup_file *full, struct replay *replay)
{
    struct ctl_db_file file;
    struct etcd_db *db;
    struct etcd_db_hash hash, wanted;
    int err = open_full(v, full, &file, &db);
    if (err)
        return err;
    err = etcd_db_hash_kv(db, 0, &wanted, v->error, sizeof v->error);
    if (!err)
        err = replay_hash_kv(replay, &hash);
    if (!err && (hash.hash != wanted.hash || hash.revision != wanted.revision)) {
        snprintf(v->error, sizeof v->error,
                 "%s has the hash %" PRIu32 " at revision %" PRId64 "; the log before it leads to %" PRIu32
                 " at %" PRId64,
                 file.path, wanted.hash, wanted.revision, hash.hash, hash.revision);
        err = ERR_CORRUPT;
    }
    v->fulls += !err;
    etcd_db_close(db);
    ctl_db_file_close(&file);
    return err;
}

/* After each entry: the snapshots that were made after it. */
static int verify_record(void *arg, struct replay *replay, const struct backup_record *record)
{
    struct verify_run *v = arg;
    const struct backup_catalog *c = &v->backup.catalog;
    int err = OK;
    for (; !err && v->next < c->count; v->next++) {
        const struct backup_file *file = &c->list[v->next];
        if (file->kind != BACKUP_FILE_FULL || file->run != v->backup.plan.full.run ||
            file->index > record->index)
            break;
        if (file->index == record->index && record->kind == BACKUP_ENTRY)
            err = compare_full(v, file, replay);
    }
    return err;
}

static int verify_replay(void *arg, const char *store_path, struct etcd_db_replayed *ret, char *error,
                         size_t error_size)
{
    struct verify_run *v = arg;
    const struct replay_options options = {.io = v->io,
                                           .store_path = store_path,
                                           .run_loop = verify_turn_loop,
                                           .run_loop_arg = &v->loop,
                                           .error = error,
                                           .error_size = error_size};
    const struct ctl_backup_watch watch = {verify_record, v};
    return ctl_backup_replay(&v->backup, &options, 0, &watch, ret);
}

static int restore_scratch(struct verify_run *v, struct etcd_db *db)
{
    static const struct etcd_db_member member = {"verify", "http://127.0.0.1:2380"};
    struct etcd_db_restored restored;
    const char *store = arena_printf(&v->c->arena, "%s/store", v->scratch);
    if (uv_loop_init(&v->loop) != 0)
        return ERR_IO;
    v->io = io_real_new(&v->loop, true); /* nothing of it is kept: it need not be synced */
    const struct etcd_db_restore options = {.store_path = store,
                                            .wal_dir = arena_printf(&v->c->arena, "%s/wal", v->scratch),
                                            .name = member.name,
                                            .token = "verify",
                                            .cluster = &member,
                                            .cluster_count = 1,
                                            .replay = verify_replay,
                                            .arg = v,
                                            .run_loop = verify_turn_loop,
                                            .run_loop_arg = &v->loop};
    int err = etcd_db_restore(v->io, db, &options, &restored, v->error, sizeof v->error);
    io_real_free(v->io);
    (void)uv_run(&v->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&v->loop);
    return err;
}

/* From this snapshot to the end of its run. */
static int verify_from(struct verify_run *v, size_t at)
{
    const struct backup_target latest = {0};
    const struct backup_file *full = &v->backup.catalog.list[at];
    struct backup_plan *plan = &v->backup.plan;
    const char *where = ctl_text(&v->c->line, "scratch-dir");
    struct ctl_db_file file;
    struct etcd_db *db;
    *v->error = '\0';
    v->next = at + 1;
    v->fulls = 0;
    int err = backup_plan_from(&v->backup.folder, &v->backup.catalog, &latest, full, plan, v->error,
                               sizeof v->error);
    if (!err)
        err = open_full(v, full, &file, &db);
    if (err)
        return err;
    if (!where || !*where)
        where = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
    char *scratch = arena_printf(&v->c->arena, "%s/cairn-verify-XXXXXX", where);
    v->scratch = mkdtemp(scratch);
    if (v->scratch) {
        err = restore_scratch(v, db);
        (void)nftw(scratch, verify_delete_one, 16, FTW_DEPTH | FTW_PHYS);
    } else {
        err = err_from_errno(errno);
        snprintf(v->error, sizeof v->error, "cannot make %s: %s", scratch, err_text(err));
    }
    etcd_db_close(db);
    ctl_db_file_close(&file);
    return err;
}

static void show_verified(struct verify_run *v)
{
    const struct backup_plan *plan = &v->backup.plan;
    struct ctl *c = v->c;
    buf_addf(&c->out,
             "%s: revision %" PRId64 " to %" PRId64 " (%s): %" PRIu64 " entries, %" PRIu64
             " hashes and %" PRIu64 " later snapshots are equal\n",
             ctl_backup_full(&v->backup, &plan->full), plan->full.revision, plan->revision,
             time_text(c, plan->time_ms), v->backup.entries, v->backup.hashes, v->fulls);
    if (plan->is_torn)
        buf_addf(&c->out, "%s ends within a record at offset %" PRIu64 ": no more than that is lost\n",
                 plan->torn_name, plan->torn_offset);
}

static enum ctl_exit verify_member(struct ctl *c, const char *dir, size_t *ret_runs, size_t *ret_bad)
{
    struct verify_run v = {.c = c};
    enum ctl_exit how = ctl_backup_open(c, dir, &v.backup);
    uint64_t done_run = 0;
    for (size_t i = 0; i < v.backup.catalog.count && !how; i++) {
        const struct backup_file *f = &v.backup.catalog.list[i];
        if (f->kind != BACKUP_FILE_FULL || f->run == done_run)
            continue;
        int err = verify_from(&v, i);
        if (err == ERR_CANCELED) {
            how = ctl_fail(c, CTL_INTERRUPTED, "interrupted");
        } else if (err) {
            ++*ret_bad;
            ctl_note(c, "%s: %s", ctl_backup_full(&v.backup, f), *v.error ? v.error : err_text(err));
        } else {
            done_run = f->run;
            ++*ret_runs;
            show_verified(&v);
            (void)ctl_flush(c);
        }
    }
    ctl_backup_close(&v.backup);
    return how;
}

enum ctl_exit ctl_backup_verify(struct ctl *c)
{
    const char *list[CTL_BACKUP_MEMBERS_MAX];
    size_t count, runs = 0, bad = 0;
    enum ctl_exit how = ctl_backup_members(c, c->line.args[0], list, &count);
    for (size_t i = 0; i < count && !how; i++)
        how = verify_member(c, list[i], &runs, &bad);
    if (how)
        return how;
    if (bad)
        return ctl_fail(c, CTL_ERROR, "%zu snapshots, or the log after them, are damaged", bad);
    if (!runs)
        return ctl_fail(c, CTL_ERROR, "%s has no complete snapshot", c->line.args[0]);
    return CTL_DONE;
}
