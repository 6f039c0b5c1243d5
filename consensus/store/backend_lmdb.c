/* SPDX-License-Identifier: Apache-2.0
 * The backend on LMDB, one file and its lock file. Full sync on every commit, no WRITEMAP, no DUPSORT: a
 * commit that returned is on the disk, and a crash at any moment leaves the last one that did.
 *
 * The file has no checksums of its own; records bring theirs. A disk that is full and any other write error
 * are final: LMDB's state after them is not trusted. */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/failpoint.h"
#include "consensus/store/backend.h"
#include "consensus/store/export_format.h"

const char *const backend_table_names[BACKEND_TABLES] = {
    [BACKEND_RECORDS] = "records", [BACKEND_META] = "meta", [BACKEND_LEASES] = "leases",
    [BACKEND_ALARMS] = "alarms",   [BACKEND_AUTH] = "auth",
};

struct backend_view {
    MDB_txn *txn; /* reset while the view is closed */
    struct lmdb *owner;
};

struct lmdb {
    struct backend base;
    MDB_env *env;
    MDB_dbi tables[BACKEND_TABLES];
    struct backend_view view; /* the loop thread needs one at a time */
    unsigned page_size;
    int fd;
    char *path;
    void *map; /* found at opening; NULL = not found */
    size_t map_size;
    _Atomic uint64_t in_use; /* bytes; written by the worker */
};

static int lmdb_err(int rc)
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
    case MDB_KEYEXIST: /* an append that was not the greatest */
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

/* Pages that the tables and the free list use. */
static void count_pages(struct lmdb *l, MDB_txn *txn)
{
    uint64_t pages = 2;
    for (unsigned i = 0; i < BACKEND_TABLES + 2u; i++) {
        MDB_stat stat;
        MDB_dbi dbi = i < 2 ? i : l->tables[i - 2]; /* 0 and 1 are LMDB's own: free pages, names */
        if (mdb_stat(txn, dbi, &stat) == 0)
            pages += stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
    }
    atomic_store_explicit(&l->in_use, pages * l->page_size, memory_order_relaxed);
}

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

static int commit_ops(struct lmdb *l, MDB_txn *txn, const struct backend_op *ops, size_t count,
                      uint64_t *freed)
{
    MDB_cursor *cursors[BACKEND_TABLES] = {0};
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        const struct backend_op *op = &ops[i];
        MDB_cursor **cursor = &cursors[op->table];
        MDB_val key = lmdb_val(op->key), value = lmdb_val(op->value);
        if (!*cursor && (rc = mdb_cursor_open(txn, l->tables[op->table], cursor)) != 0)
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

/* LMDB tells a write that was cut short by a full disk as EIO. */
static bool is_disk_full(const struct lmdb *l)
{
    struct statvfs space;
    return fstatvfs(l->fd, &space) == 0 && space.f_bavail * space.f_frsize < l->page_size * 16ULL;
}

static int lmdb_commit(struct backend *b, const struct backend_op *ops, size_t count, uint64_t *ret_freed)
{
    struct lmdb *l = lmdb_of(b);
    MDB_txn *txn;
    uint64_t freed = 0;
    int rc = mdb_txn_begin(l->env, NULL, 0, &txn);
    if (rc)
        return lmdb_err(rc);
    FAILPOINT(AFTER_START_DB_TXN);
    rc = commit_ops(l, txn, ops, count, &freed);
    if (rc) {
        mdb_txn_abort(txn);
        return lmdb_err(rc);
    }
    count_pages(l, txn);
    FAILPOINT(BEFORE_COMMIT);
    rc = mdb_txn_commit(txn);
    if (rc == 0)
        *ret_freed = freed;
    if (rc == EIO && is_disk_full(l))
        return ERR_NO_DISK_SPACE;
    return lmdb_err(rc);
}

static int lmdb_view_open(struct backend *b, struct backend_view **ret_view)
{
    struct lmdb *l = lmdb_of(b);
    int rc = l->view.txn ? mdb_txn_renew(l->view.txn) : mdb_txn_begin(l->env, NULL, MDB_RDONLY, &l->view.txn);
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
    int rc = mdb_txn_begin(view->owner->env, NULL, MDB_RDONLY, &view->txn);
    if (rc) {
        mem_free(view);
        return lmdb_err(rc);
    }
    *ret_view = view;
    return 0;
}

static void lmdb_unpin(struct backend_view *view)
{
    mdb_txn_abort(view->txn);
    mem_free(view);
}

static int lmdb_get(struct backend_view *view, enum backend_table table, struct slice key,
                    struct slice *ret_value)
{
    MDB_val k = lmdb_val(key), v;
    int rc = mdb_get(view->txn, view->owner->tables[table], &k, &v);
    if (rc == 0)
        *ret_value = slice_of(v.mv_data, v.mv_size);
    return lmdb_err(rc);
}

static int lmdb_scan(struct backend_view *view, enum backend_table table, struct slice from,
                     bool (*fn)(void *arg, struct slice key, struct slice value), void *arg)
{
    MDB_cursor *cursor;
    MDB_val k = lmdb_val(from), v;
    int rc = mdb_cursor_open(view->txn, view->owner->tables[table], &cursor);
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
    return mdb_stat(view->txn, view->owner->tables[table], &stat) == 0 ? stat.ms_entries : 0;
}

static struct backend_sizes lmdb_sizes(struct backend *b)
{
    struct lmdb *l = lmdb_of(b);
    struct stat st;
    struct backend_sizes sizes = {.in_use = atomic_load_explicit(&l->in_use, memory_order_relaxed)};
    if (fstat(l->fd, &st) == 0)
        sizes.file = (uint64_t)st.st_size;
    if (sizes.in_use > sizes.file)
        sizes.in_use = sizes.file;
    return sizes;
}

/* Through the page cache: LMDB's own file would be written past it, and whoever reads the copy next waits for
 * the disk twice. */
static int lmdb_copy(struct backend *b, const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_from_errno(errno);
    int rc = mdb_env_copyfd2(lmdb_of(b)->env, fd, MDB_CP_COMPACT);
    if (close(fd) < 0 && rc == 0)
        rc = errno;
    return lmdb_err(rc);
}

/* LMDB does not tell where its map is; the kernel does. */
static void find_map(struct lmdb *l)
{
    struct stat st;
    char line[512];
    FILE *f = fopen("/proc/self/maps", "re");
    if (!f || fstat(l->fd, &st) != 0)
        goto out;
    while (fgets(line, sizeof line, f)) {
        unsigned long from, to, inode;
        if (sscanf(line, "%lx-%lx %*s %*s %*s %lu", &from, &to, &inode) == 3 && inode == st.st_ino) {
            l->map = (void *)(uintptr_t)from;
            l->map_size = to - from;
            break;
        }
    }
out:
    if (f)
        fclose(f);
}

static void lmdb_trim(struct backend *b)
{
    const struct lmdb *l = lmdb_of(b);
    if (l->map)
        (void)madvise(l->map, l->map_size, MADV_DONTNEED);
}

/* The lock file keeps the old name, under which another environment may be opened in this process: it must
 * not share this one's. Nobody else opens ours: the folder has a lock of its own. */
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
    if (l->env)
        mdb_env_close(l->env);
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
};

static int open_env(struct lmdb *l, const char *path, uint64_t map_size)
{
    int rc = mdb_env_create(&l->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(l->env, map_size);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(l->env, BACKEND_TABLES);
    if (rc == 0)
        rc = mdb_env_open(l->env, path, MDB_NOTLS | MDB_NORDAHEAD | MDB_NOSUBDIR, 0600);
    int dead;
    if (rc == 0)
        rc = mdb_reader_check(l->env, &dead);
    if (rc == 0)
        rc = mdb_env_get_fd(l->env, &l->fd);
    return rc;
}

static int open_tables(struct lmdb *l)
{
    MDB_txn *txn;
    MDB_stat stat;
    int rc = mdb_env_stat(l->env, &stat);
    if (rc == 0)
        rc = mdb_txn_begin(l->env, NULL, 0, &txn);
    if (rc)
        return rc;
    l->page_size = stat.ms_psize;
    for (unsigned i = 0; i < BACKEND_TABLES && rc == 0; i++)
        rc = mdb_dbi_open(txn, backend_table_names[i], MDB_CREATE, &l->tables[i]);
    if (rc) {
        mdb_txn_abort(txn);
        return rc;
    }
    count_pages(l, txn);
    return mdb_txn_commit(txn);
}

/* A file that was just made is durable only when its folder is. */
static int sync_folder(const char *path)
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
    int rc = open_env(l, path, map_size);
    if (rc == 0)
        rc = open_tables(l);
    if (rc == 0)
        rc = sync_folder(path);
    if (rc) {
        snprintf(error, error_size, "cannot open the store %s: %s", path, mdb_strerror(rc));
        lmdb_close(&l->base);
        return lmdb_err(rc);
    }
    find_map(l);
    *ret = &l->base;
    return 0;
}
