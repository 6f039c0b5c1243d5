/* SPDX-License-Identifier: Apache-2.0
 * LMDB backend: one data file and its lock file. Every commit is fully synced; no WRITEMAP, no DUPSORT. So a
 * commit that returned is on the disk, and a crash at any moment leaves the last commit that returned.
 *
 * The file has no checksums of its own; the records have theirs. No disk space and every other write error
 * are final: LMDB's state after them is not trusted. */
#include "consensus/store/backend_lmdb.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/failpoint.h"
#include "consensus/store/export_format.h"

const char *const backend_table_names[BACKEND_TABLES] = {
    [BACKEND_RECORDS] = "records", [BACKEND_META] = "meta", [BACKEND_LEASES] = "leases",
    [BACKEND_ALARMS] = "alarms",   [BACKEND_AUTH] = "auth",
};

int lmdb_err(int rc)
{
    switch (rc) {
    case MDB_SUCCESS:
        return 0;
    case MDB_NOTFOUND:
        return ERR_NOT_FOUND;
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
        return ERR_NO_DISK_SPACE;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE:
    case MDB_KEYEXIST: /* an appended key was not the greatest */
        return ERR_CORRUPT;
    default:
        return ERR_IO;
    }
}

static struct lmdb *lmdb_of(struct backend *b)
{
    return (struct lmdb *)(void *)b;
}

static MDB_val lmdb_val(struct slice s)
{
    return (MDB_val){.mv_size = s.size, .mv_data = (void *)(uintptr_t)s.data};
}

/* --- environments -------------------------------------------------------------------------------- */

struct lmdb_env *lmdb_env_use(struct lmdb *l)
{
    pthread_mutex_lock(&l->lock);
    struct lmdb_env *e = l->store;
    e->users++;
    pthread_mutex_unlock(&l->lock);
    return e;
}

static void env_close(struct lmdb_env *e)
{
    if (e->env)
        mdb_env_close(e->env);
    mem_free(e);
}

void lmdb_env_release(struct lmdb *l, struct lmdb_env *e)
{
    pthread_mutex_lock(&l->lock);
    bool is_last = --e->users == 0;
    pthread_mutex_unlock(&l->lock);
    if (is_last)
        env_close(e);
}

/* Counts the pages of the tables and of the free list. */
void lmdb_count_pages(struct lmdb_env *e, MDB_txn *txn)
{
    uint64_t pages = 2;
    for (unsigned i = 0; i < BACKEND_TABLES + 2u; i++) {
        MDB_stat stat;
        MDB_dbi dbi = i < 2 ? i : e->tables[i - 2]; /* 0 and 1 are LMDB's own: free pages, names */
        if (mdb_stat(txn, dbi, &stat) == 0)
            pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
    }
    atomic_store_explicit(&e->in_use, pages * e->page_size, memory_order_relaxed);
}

/* --- commits -------------------------------------------------------------------------------------- */

static int commit_delete(MDB_cursor *cursor, MDB_val *key, bool counts, uint64_t *freed)
{
    MDB_val value;
    int rc = mdb_cursor_get(cursor, key, &value, MDB_SET);
    if (rc)
        return rc == MDB_NOTFOUND ? 0 : rc;
    if (counts)
        *freed += key->mv_size + value.mv_size;
    return mdb_cursor_del(cursor, 0);
}

int lmdb_run_ops(struct lmdb_env *e, MDB_txn *txn, const struct lmdb_pack *copied,
                 const struct backend_op *ops, size_t count, uint64_t *freed)
{
    MDB_cursor *cursors[BACKEND_TABLES] = {0};
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        const struct backend_op *op = &ops[i];
        if (copied && !lmdb_pack_has_copied(copied, op))
            continue;
        MDB_cursor **cursor = &cursors[op->table];
        MDB_val key = lmdb_val(op->key), value = lmdb_val(op->value);
        if (!*cursor && (rc = mdb_cursor_open(txn, e->tables[op->table], cursor)) != 0)
            break;
        switch (op->kind) {
        case BACKEND_PUT:
            rc = mdb_cursor_put(*cursor, &key, &value, 0);
            break;
        case BACKEND_APPEND:
            rc = mdb_cursor_put(*cursor, &key, &value, MDB_APPEND);
            break;
        case BACKEND_DELETE:
            rc = commit_delete(*cursor, &key, op->table == BACKEND_RECORDS, freed);
            break;
        }
    }
    for (unsigned i = 0; i < BACKEND_TABLES; i++) {
        if (cursors[i])
            mdb_cursor_close(cursors[i]);
    }
    return rc;
}

/* LMDB reports a write that a full disk cut short as EIO. */
static bool is_disk_full(const struct lmdb_env *e)
{
    struct statvfs space;
    return fstatvfs(e->fd, &space) == 0 && space.f_bavail * space.f_frsize < e->page_size * 16ULL;
}

static int lmdb_commit(struct backend *b, const struct backend_op *ops, size_t count, uint64_t *ret_freed)
{
    struct lmdb *l = lmdb_of(b);
    struct lmdb_env *e = l->store;
    MDB_txn *txn;
    uint64_t freed = 0;
    int rc = mdb_txn_begin(e->env, NULL, 0, &txn);
    if (rc)
        return lmdb_err(rc);
    FAILPOINT(AFTER_START_DB_TXN);
    rc = lmdb_run_ops(e, txn, NULL, ops, count, &freed);
    if (rc) {
        mdb_txn_abort(txn);
        return lmdb_err(rc);
    }
    lmdb_count_pages(e, txn);
    FAILPOINT(BEFORE_COMMIT);
    rc = mdb_txn_commit(txn);
    if (rc == 0) {
        *ret_freed = freed;
        if (l->pack)
            lmdb_pack_follow(l, ops, count);
        if (l->is_unsynced) /* the disk begins now, so that the sync at the end is short */
            (void)sync_file_range(e->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    }
    if (rc == EIO && is_disk_full(e))
        return ERR_NO_DISK_SPACE;
    return lmdb_err(rc);
}

/* --- reading -------------------------------------------------------------------------------------- */

static int lmdb_view_open(struct backend *b, struct backend_view **ret_view)
{
    struct lmdb *l = lmdb_of(b);
    l->view.env = l->loop_env;
    int rc = l->view.txn ? mdb_txn_renew(l->view.txn)
                         : mdb_txn_begin(l->loop_env->env, NULL, MDB_RDONLY, &l->view.txn);
    if (rc)
        return lmdb_err(rc);
    *ret_view = &l->view;
    return 0;
}

static void lmdb_view_close(struct backend *b, struct backend_view *view)
{
    (void)b;
    mdb_txn_reset(view->txn);
}

static int lmdb_pin(struct backend *b, struct backend_view **ret_view)
{
    struct backend_view *view = mem_new(sizeof *view);
    view->owner = lmdb_of(b);
    view->env = lmdb_env_use(view->owner);
    int rc = mdb_txn_begin(view->env->env, NULL, MDB_RDONLY, &view->txn);
    if (rc) {
        lmdb_env_release(view->owner, view->env);
        mem_free(view);
        return lmdb_err(rc);
    }
    *ret_view = view;
    return 0;
}

static void lmdb_unpin(struct backend_view *view)
{
    mdb_txn_abort(view->txn);
    lmdb_env_release(view->owner, view->env);
    mem_free(view);
}

static int lmdb_get(struct backend_view *view, enum backend_table table, struct slice key,
                    struct slice *ret_value)
{
    MDB_val k = lmdb_val(key), v;
    int rc = mdb_get(view->txn, view->env->tables[table], &k, &v);
    if (rc == 0)
        *ret_value = slice_of(v.mv_data, v.mv_size);
    return lmdb_err(rc);
}

static int lmdb_scan(struct backend_view *view, enum backend_table table, struct slice from,
                     bool (*fn)(void *arg, struct slice key, struct slice value), void *arg)
{
    MDB_cursor *cursor;
    MDB_val k = lmdb_val(from), v;
    int rc = mdb_cursor_open(view->txn, view->env->tables[table], &cursor);
    if (rc)
        return lmdb_err(rc);
    rc = mdb_cursor_get(cursor, &k, &v, from.size ? MDB_SET_RANGE : MDB_FIRST);
    while (rc == 0) {
        if (!fn(arg, slice_of(k.mv_data, k.mv_size), slice_of(v.mv_data, v.mv_size)))
            break;
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : lmdb_err(rc);
}

static uint64_t lmdb_count(struct backend_view *view, enum backend_table table)
{
    MDB_stat stat;
    return mdb_stat(view->txn, view->env->tables[table], &stat) == 0 ? stat.ms_entries : 0;
}

static struct backend_sizes lmdb_sizes(struct backend *b)
{
    struct lmdb *l = lmdb_of(b);
    struct stat st;
    struct backend_sizes sizes = {.in_use = atomic_load_explicit(&l->loop_env->in_use, memory_order_relaxed)};
    if (fstat(l->loop_env->fd, &st) == 0)
        sizes.file = (uint64_t)st.st_size;
    if (sizes.in_use > sizes.file)
        sizes.in_use = sizes.file;
    return sizes;
}

/* Writes through the page cache. LMDB's own copy bypasses it, and the next reader of the copy would wait for
 * the disk again. */
static int lmdb_copy(struct backend *b, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_from_errno(errno);
    int rc = mdb_env_copyfd2(lmdb_of(b)->store->env, fd, MDB_CP_COMPACT);
    if (close(fd) < 0 && rc == 0)
        rc = errno;
    return lmdb_err(rc);
}

static void lmdb_trim(struct backend *b)
{
    struct lmdb *l = lmdb_of(b);
    struct lmdb_env *e = lmdb_env_use(l);
    lmdb_env_trim(e);
    lmdb_env_release(l, e);
}

/* The lock file keeps the old name. Another environment may be opened under that name in this process and
 * must not share this lock file. No other process opens this environment: the folder has a lock of its own.
 */
static void lmdb_moved(struct backend *b, const char *path)
{
    struct lmdb *l = lmdb_of(b);
    struct buf lock = {0};
    buf_addf(&lock, "%s-lock", l->path);
    (void)unlink(buf_text(&lock));
    buf_done(&lock);
    mem_free(l->path);
    l->path = mem_string(path);
}

static void lmdb_close(struct backend *b)
{
    struct lmdb *l = lmdb_of(b);
    if (l->view.txn)
        mdb_txn_abort(l->view.txn);
    if (l->pack)
        lmdb_pack_end(b);
    if (l->loop_env)
        lmdb_env_release(l, l->loop_env);
    if (l->store)
        lmdb_env_release(l, l->store);
    pthread_mutex_destroy(&l->lock);
    mem_free(l->path);
    mem_free(l);
}

static const struct backend_ops lmdb_ops = {
    .close = lmdb_close,
    .commit = lmdb_commit,
    .view_open = lmdb_view_open,
    .view_close = lmdb_view_close,
    .pin = lmdb_pin,
    .unpin = lmdb_unpin,
    .get = lmdb_get,
    .scan = lmdb_scan,
    .count = lmdb_count,
    .sizes = lmdb_sizes,
    .copy = lmdb_copy,
    .moved = lmdb_moved,
    .trim = lmdb_trim,
    .pack_begin = lmdb_pack_begin,
    .pack_step = lmdb_pack_step,
    .pack_rename = lmdb_pack_rename,
    .pack_switch = lmdb_pack_switch,
    .pack_end = lmdb_pack_end,
};

/* --- opening -------------------------------------------------------------------------------------- */

/* LMDB has no call that returns the address of its map; the kernel's list of maps has it. */
static void find_map(struct lmdb_env *e)
{
    struct stat st;
    char line[512];
    FILE *f = fopen("/proc/self/maps", "re");
    if (!f || fstat(e->fd, &st) != 0)
        goto out;
    while (fgets(line, sizeof line, f)) {
        unsigned long from, to, inode;
        if (sscanf(line, "%lx-%lx %*s %*s %*s %lu", &from, &to, &inode) == 3 && inode == st.st_ino) {
            e->map = (void *)(uintptr_t)from;
            e->map_size = to - from;
            break;
        }
    }
out:
    if (f)
        fclose(f);
}

void lmdb_env_trim(const struct lmdb_env *e)
{
    if (e->map)
        (void)madvise(e->map, e->map_size, MADV_DONTNEED);
}

static int open_env(struct lmdb_env *e, const char *path, uint64_t map_size, unsigned flags)
{
    int rc = mdb_env_create(&e->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(e->env, map_size);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(e->env, BACKEND_TABLES);
    if (rc == 0)
        rc = mdb_env_open(e->env, path, MDB_NOTLS | MDB_NORDAHEAD | MDB_NOSUBDIR | flags, 0600);
    int dead;
    if (rc == 0)
        rc = mdb_reader_check(e->env, &dead);
    if (rc == 0)
        rc = mdb_env_get_fd(e->env, &e->fd);
    return rc;
}

static int open_tables(struct lmdb_env *e)
{
    MDB_txn *txn;
    MDB_stat stat;
    int rc = mdb_env_stat(e->env, &stat);
    if (rc == 0)
        rc = mdb_txn_begin(e->env, NULL, 0, &txn);
    if (rc)
        return rc;
    e->page_size = stat.ms_psize;
    for (unsigned i = 0; i < BACKEND_TABLES && rc == 0; i++)
        rc = mdb_dbi_open(txn, backend_table_names[i], MDB_CREATE, &e->tables[i]);
    if (rc) {
        mdb_txn_abort(txn);
        return rc;
    }
    lmdb_count_pages(e, txn);
    return mdb_txn_commit(txn);
}

int lmdb_env_open(const char *path, uint64_t map_size, unsigned flags, struct lmdb_env **ret)
{
    struct lmdb_env *e = mem_new(sizeof *e);
    e->users = 1;
    int rc = open_env(e, path, map_size, flags);
    if (rc == 0)
        rc = open_tables(e);
    if (rc) {
        env_close(e);
        return rc;
    }
    find_map(e);
    *ret = e;
    return 0;
}

/* A new file is durable only when its folder is synced. */
int lmdb_sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? mem_string(path) : mem_string(".");
    if (slash)
        dir[slash == path ? 1 : slash - path] = 0;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) != 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    mem_free(dir);
    return rc;
}

int backend_lmdb_open(const char *path, uint64_t map_size, char *error, size_t error_size,
                      struct backend **ret)
{
    struct lmdb *l = mem_new(sizeof *l);
    l->base.ops = &lmdb_ops;
    l->view.owner = l;
    l->path = mem_string(path);
    l->map_size = map_size;
    pthread_mutex_init(&l->lock, NULL);
    lmdb_pack_clean(path);
    int rc = lmdb_env_open(path, map_size, 0, &l->store);
    if (rc == 0) {
        l->loop_env = lmdb_env_use(l);
        rc = lmdb_sync_folder(path);
    }
    if (rc) {
        snprintf(error, error_size, "cannot open the store %s: %s", path, mdb_strerror(rc));
        lmdb_close(&l->base);
        return lmdb_err(rc);
    }
    *ret = &l->base;
    return 0;
}

void backend_lmdb_set_synced(struct backend *b, bool is_synced)
{
    int rc = mdb_env_set_flags(lmdb_of(b)->store->env, MDB_NOSYNC, !is_synced);
    assert(rc == 0); /* the flag may change at any time */
    (void)rc;
    lmdb_of(b)->is_unsynced = !is_synced;
}
