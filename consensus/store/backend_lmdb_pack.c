/* SPDX-License-Identifier: Apache-2.0
 * Packing of LMDB's file: all rows are copied in key order into a new file beside the old one, which then
 * replaces the old one. LMDB fills pages completely when keys ascend, and the new file has no free pages.
 *
 *   begin    creates <store>.defrag; ERR_NO_DISK_SPACE when the disk has too little room for it
 *   step     copies rows from a position (table, key) on; a transaction of each file, both short
 *   rename   syncs the new file, renames it over the old one, and syncs the folder
 *   switch   the loop's views read the new file
 *   end      closes the old file
 *
 * Invariant: after each commit and each step, the new file holds exactly the rows before the position.
 * - A commit repeats its changes there for rows before the position (lmdb_pack_follow). Rows after it are
 *   copied later.
 * - At the last position both files hold the same.
 * - Commits and steps run on one thread. So no commit runs inside a step, and a step's read transaction
 *   blocks the reuse of no page.
 *
 * The new file is handed to the disk every SYNC_BYTES, so that its writes do not accumulate before the log's
 * syncs; it is synced at the end. It counts only after the rename: a kill before it leaves the old file and a
 * rest, which the next opening deletes. After the rename, commits go to the new file. The loop reads the old
 * one until `switch`; everything that it reads there was committed before. */
#include "consensus/store/backend_lmdb.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/failpoint.h"
#include "base/mem.h"
#include "base/mutant.h"

#define SYNC_BYTES    (512u << 10)
#define TRIM_BYTES    (8u << 20)  /* bytes read through the map before its pages are returned to the kernel */
#define RESERVE_BYTES (96u << 20) /* disk space that stays free: a segment of the log, and uncommitted data */

struct lmdb_pack {
    struct lmdb_env *target;  /* the new file; NULL = it is the store's already */
    struct lmdb_env *retired; /* the old file, after the switch */
    char *path;
    enum backend_table table; /* the position: rows before it are in the target */
    struct buf next;          /* the least key that is not copied; empty = no key of the table is copied */
    size_t unsynced, mapped;
    int err; /* final: nothing more is copied */
    bool is_renamed;
};

/* One step's slice of rows. */
struct copy_slice {
    struct lmdb_pack *pack;
    struct backend_pack *progress;
    MDB_cursor *from, *to;
    size_t left; /* bytes */
};

static struct lmdb *lmdb_of(struct backend *b)
{
    return (struct lmdb *)(void *)b;
}

static char *path_beside(const char *path, const char *end)
{
    struct buf b = {0};
    buf_addf(&b, "%s%s", path, end);
    char *beside = mem_string(buf_text(&b));
    buf_done(&b);
    return beside;
}

static void remove_file(const char *path, const char *end)
{
    char *beside = path_beside(path, end);
    (void)unlink(beside);
    mem_free(beside);
}

void lmdb_pack_clean(const char *path)
{
    remove_file(path, ".defrag");
    remove_file(path, ".defrag-lock");
}

static uint64_t free_bytes(const struct lmdb *l)
{
    struct statvfs space;
    return fstatvfs(l->store->fd, &space) == 0 ? space.f_bavail * space.f_frsize : UINT64_MAX;
}

/* --- begin ---------------------------------------------------------------------------------------- */

/* A value of more than half a page has pages of its own, so that in the worst case half of each is unused. */
static uint64_t needed_bytes(const struct lmdb *l, uint64_t live)
{
    uint64_t in_use = atomic_load_explicit(&l->store->in_use, memory_order_relaxed);
    uint64_t most = 2 * live + SYNC_BYTES;
    return in_use < most ? in_use : most;
}

int lmdb_pack_begin(struct backend *b, uint64_t live, struct backend_pack *p)
{
    struct lmdb *l = lmdb_of(b);
    FAILPOINT(DEFRAG_BEFORE_COPY);
    *p = (struct backend_pack){.needed = needed_bytes(l, live) + RESERVE_BYTES, .free = free_bytes(l)};
    if (p->free < p->needed)
        return ERR_NO_DISK_SPACE;
    struct lmdb_pack *pack = mem_new(sizeof *pack);
    l->pack = pack;
    pack->path = path_beside(l->path, ".defrag");
    lmdb_pack_clean(l->path);
    return lmdb_err(lmdb_env_open(pack->path, l->map_size, MDB_NOSYNC, &pack->target));
}

/* --- rows ----------------------------------------------------------------------------------------- */

bool lmdb_pack_has_copied(const struct lmdb_pack *pack, const struct backend_op *op)
{
    if (op->table != pack->table)
        return op->table < pack->table;
    return slice_compare(op->key, buf_slice(&pack->next)) < 0;
}

void lmdb_pack_follow(struct lmdb *l, const struct backend_op *ops, size_t count)
{
    struct lmdb_pack *pack = l->pack;
    MDB_txn *txn;
    uint64_t freed = 0;
    if (!pack->target || pack->err || MUTANT(DEFRAG_MISSES_COMMITS))
        return;
    int rc = mdb_txn_begin(pack->target->env, NULL, 0, &txn);
    if (rc == 0)
        rc = lmdb_run_ops(pack->target, txn, pack, ops, count, &freed);
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    pack->err = lmdb_err(rc);
}

/* Copies rows of the table at the position until `left` is used up or the table ends. */
static int copy_table(struct copy_slice *c, bool *ret_end)
{
    struct lmdb_pack *pack = c->pack;
    MDB_val key = {pack->next.size, pack->next.data}, value;
    int rc = mdb_cursor_get(c->from, &key, &value, key.mv_size ? MDB_SET_RANGE : MDB_FIRST);
    MDB_val last = {0};
    while (rc == 0) {
        size_t size = key.mv_size + value.mv_size;
        if (!(rc = mdb_cursor_put(c->to, &key, &value, MDB_APPEND))) {
            last = key;
            c->progress->bytes += size;
            pack->mapped += size;
            pack->unsynced += size;
        }
        if (rc || c->left <= size)
            break;
        c->left -= size;
        rc = mdb_cursor_get(c->from, &key, &value, MDB_NEXT);
    }
    *ret_end = rc == MDB_NOTFOUND;
    if (last.mv_size && !*ret_end) {
        buf_clear(&pack->next);
        buf_add(&pack->next, last.mv_data, last.mv_size);
        buf_add_byte(&pack->next, 0); /* the least key after it */
    }
    return *ret_end ? 0 : rc;
}

static int copy_some(struct lmdb *l, struct copy_slice *c, MDB_txn *from, MDB_txn *to)
{
    struct lmdb_pack *pack = c->pack;
    bool is_end = true;
    int rc = 0;
    while (rc == 0 && is_end && pack->table < BACKEND_TABLES) {
        rc = mdb_cursor_open(from, l->store->tables[pack->table], &c->from);
        if (rc)
            break;
        rc = mdb_cursor_open(to, pack->target->tables[pack->table], &c->to);
        if (rc == 0) {
            rc = copy_table(c, &is_end);
            mdb_cursor_close(c->to);
        }
        mdb_cursor_close(c->from);
        if (rc == 0 && is_end) {
            pack->table++;
            buf_clear(&pack->next);
        }
    }
    return rc;
}

static int backend_lmdb_pack_copy_slice(struct lmdb *l, size_t bytes, struct backend_pack *p)
{
    struct copy_slice c = {.pack = l->pack, .progress = p, .left = bytes};
    MDB_txn *from, *to;
    int rc = mdb_txn_begin(l->store->env, NULL, MDB_RDONLY, &from);
    if (rc)
        return rc;
    rc = mdb_txn_begin(l->pack->target->env, NULL, 0, &to);
    if (rc == 0) {
        rc = copy_some(l, &c, from, to);
        lmdb_count_pages(l->pack->target, to);
        if (rc == 0)
            rc = mdb_txn_commit(to);
        else
            mdb_txn_abort(to);
    }
    mdb_txn_abort(from);
    return rc;
}

/* Hands the bytes written so far to the disk, and waits for those handed over before. Unlike a sync it causes
 * no commit of the file system's journal, for which the log's syncs would wait. */
static int begin_writing(MDB_env *env)
{
    int fd;
    int err = lmdb_err(mdb_env_get_fd(env, &fd));
    if (err || sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE) == 0)
        return err;
    return lmdb_err(mdb_env_sync(env, 1)); /* the file system does not support it */
}

static int sync_target(struct lmdb *l, struct backend_pack *p, bool is_end)
{
    p->free = free_bytes(l);
    if (p->free < RESERVE_BYTES)
        return ERR_NO_DISK_SPACE;
    l->pack->unsynced = 0;
    if (!is_end)
        return begin_writing(l->pack->target->env);
    return lmdb_err(mdb_env_sync(l->pack->target->env, 1));
}

int lmdb_pack_step(struct backend *b, size_t bytes, struct backend_pack *p)
{
    struct lmdb *l = lmdb_of(b);
    struct lmdb_pack *pack = l->pack;
    if (pack->err)
        return pack->err;
    if (FAILPOINT(DEFRAG_COPY))
        return pack->err = ERR_NO_DISK_SPACE;
    bool is_end = pack->table == BACKEND_TABLES;
    if (is_end || pack->unsynced >= SYNC_BYTES) {
        p->is_copied = is_end;
        return sync_target(l, p, is_end);
    }
    pack->err = lmdb_err(backend_lmdb_pack_copy_slice(l, bytes, p));
    if (pack->mapped >= TRIM_BYTES) {
        pack->mapped = 0;
        lmdb_env_trim(l->store);
    }
    return pack->err;
}

/* --- replacing the old file ----------------------------------------------------------------------- */

/* ERR_CORRUPT: a table has more or fewer rows than the store's. */
static int compare_counts(const struct lmdb *l)
{
    MDB_txn *a, *b;
    MDB_stat x, y;
    int rc = mdb_txn_begin(l->store->env, NULL, MDB_RDONLY, &a);
    if (rc)
        return lmdb_err(rc);
    rc = mdb_txn_begin(l->pack->target->env, NULL, MDB_RDONLY, &b);
    if (rc) {
        mdb_txn_abort(a);
        return lmdb_err(rc);
    }
    bool is_equal = true;
    for (unsigned i = 0; i < BACKEND_TABLES && rc == 0; i++) {
        rc = mdb_stat(a, l->store->tables[i], &x);
        if (rc == 0)
            rc = mdb_stat(b, l->pack->target->tables[i], &y);
        is_equal = rc == 0 && is_equal && x.ms_entries == y.ms_entries;
    }
    mdb_txn_abort(a);
    mdb_txn_abort(b);
    return rc ? lmdb_err(rc) : is_equal ? 0 : ERR_CORRUPT;
}

static void replace_store_file(struct lmdb *l)
{
    struct lmdb_pack *pack = l->pack;
    struct lmdb_env *old = l->store;
    pthread_mutex_lock(&l->lock);
    l->store = pack->target;
    pthread_mutex_unlock(&l->lock);
    pack->target = NULL;
    lmdb_env_release(l, old); /* the views still use it */
    /* The lock file keeps the name under which the next pack opens another environment, which must not share
     * it. */
    remove_file(pack->path, "-lock");
}

int lmdb_pack_rename(struct backend *b, struct backend_pack *p)
{
    struct lmdb *l = lmdb_of(b);
    struct lmdb_pack *pack = l->pack;
    int err = pack->err ? pack->err : compare_counts(l);
    if (!err)
        err = lmdb_err(mdb_env_sync(pack->target->env, 1));
    FAILPOINT(DEFRAG_BEFORE_RENAME);
    if (!err)
        err = lmdb_err(mdb_env_set_flags(pack->target->env, MDB_NOSYNC, 0));
    if (!err && rename(pack->path, l->path) != 0)
        err = lmdb_err(errno);
    if (err)
        return err;
    p->is_renamed = pack->is_renamed = true;
    FAILPOINT(DEFRAG_AFTER_RENAME);
    replace_store_file(l);
    return lmdb_err(lmdb_sync_folder(l->path));
}

void lmdb_pack_switch(struct backend *b)
{
    struct lmdb *l = lmdb_of(b);
    if (l->view.txn)
        mdb_txn_abort(l->view.txn);
    l->view.txn = NULL;
    l->pack->retired = l->loop_env;
    l->loop_env = lmdb_env_use(l);
}

void lmdb_pack_end(struct backend *b)
{
    struct lmdb *l = lmdb_of(b);
    struct lmdb_pack *pack = l->pack;
    if (!pack)
        return;
    l->pack = NULL;
    if (pack->retired)
        lmdb_env_release(l, pack->retired);
    if (pack->target)
        lmdb_env_release(l, pack->target);
    if (!pack->is_renamed)
        lmdb_pack_clean(l->path);
    buf_done(&pack->next);
    mem_free(pack->path);
    mem_free(pack);
}
