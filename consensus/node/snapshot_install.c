/* SPDX-License-Identifier: Apache-2.0
 * Installation of a received snapshot as the store. The header has the steps and the result of a crash
 * between them.
 *
 * The file is opened under the name it was received with, and renamed while it is open. Two LMDB environments
 * of one process must not share a lock file, and the old store is open under the other name until the loop
 * releases it. Opening builds the whole key index: about 0.6 s for a million keys. It runs on the worker, so
 * it delays only commits. Both indexes are in memory for that time. */
#include "base/failpoint.h"
#include "consensus/node/snapshot_install.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "consensus/node/snapshot_receive.h"
#include "consensus/wal/wal.h"

#define BOOTSTRAP_INDEX                                                                                      \
    1 /* where the log of a new cluster begins: every store has this entry from its creation */

struct snapshot_install {
    struct snapshot_install_options options;
    char *dir, *from, *to;
    uint64_t index, term;
    struct worker_job job;
    struct store *store;
    int err;
    char error[300];
    void (*done)(void *arg, int err, const char *error, struct store *store);
    void *arg;
};

static char *join_path(const char *dir, const char *name)
{
    struct buf b = {0};
    buf_addf(&b, "%s/%s", dir, name);
    char *path = mem_string(buf_text(&b));
    buf_done(&b);
    return path;
}

static int open_backend(const struct snapshot_install_options *o, const char *path, char *error,
                        size_t error_size, struct backend **ret_backend)
{
    return o->backend_open ? o->backend_open(o->io, path, o->map_size, error, error_size, ret_backend)
                           : backend_lmdb_open(path, o->map_size, error, error_size, ret_backend);
}

static int write_identity(struct backend *b, const uint8_t identity[SNAPSHOT_IDENTITY_SIZE])
{
    uint64_t freed;
    const struct backend_op op = {BACKEND_PUT, BACKEND_META, slice_text(SNAPSHOT_IDENTITY_KEY),
                                  slice_of(identity, SNAPSHOT_IDENTITY_SIZE)};
    return b->ops->commit(b, &op, 1, &freed);
}

/* From here on the file is the store, whatever happens. */
static int replace_store(struct io *io, const char *dir, const char *from, const char *to)
{
    int err = io->ops->rename(io, from, to);
    return err ? err : io->ops->sync_dir(io, dir);
}

/* --- while running ------------------------------------------------------------------------------ */

static int snapshot_install_fail(struct snapshot_install *i, int err, const char *what)
{
    snprintf(i->error, sizeof i->error, "the snapshot %s cannot become the store: %s: %s", i->from, what,
             err_text(err));
    return err;
}

static int install(struct snapshot_install *i)
{
    struct backend *b;
    struct store_options options = i->options.store;
    FAILPOINT(APPLY_BEFORE_OPEN_SNAPSHOT);
    int err = open_backend(&i->options, i->from, i->error, sizeof i->error, &b);
    if (err)
        return err;
    FAILPOINT(APPLY_AFTER_OPEN_SNAPSHOT);
    err = write_identity(b, i->options.identity);
    if (err) {
        b->ops->close(b);
        return snapshot_install_fail(i, err, "its owner cannot be written");
    }
    options.backend = b;
    err = store_open(&options, i->error, sizeof i->error, &i->store);
    if (err)
        return err;
    if (store_applied_index(i->store) != i->index || store_applied_term(i->store) != i->term)
        return snapshot_install_fail(i, ERR_CORRUPT,
                                     "its index or term is not the one that its sender announced");
    err = replace_store(i->options.io, i->dir, i->from, i->to);
    if (err)
        return snapshot_install_fail(i, err, "it cannot be renamed");
    store_moved(i->store, i->to);
    return 0;
}

static void install_run(struct worker_job *job)
{
    struct snapshot_install *i = container_of(job, struct snapshot_install, job);
    i->err = install(i);
}

static void install_done(struct worker_job *job)
{
    struct snapshot_install *i = container_of(job, struct snapshot_install, job);
    bool is_wanted = i->done && !i->err;
    if (!is_wanted && i->store)
        store_drop(i->store);
    if (i->done)
        i->done(i->arg, i->err, i->error, is_wanted ? i->store : NULL);
    mem_free(i->dir);
    mem_free(i->from);
    mem_free(i->to);
    mem_free(i);
}

struct snapshot_install *
snapshot_install_start(const struct snapshot_install_options *options, const struct raft_snapshot *snapshot,
                       void (*done)(void *arg, int err, const char *error, struct store *store), void *arg)
{
    struct snapshot_install *i = mem_new(sizeof *i);
    i->options = *options;
    i->dir = mem_string(options->dir);
    i->from = snapshot_received_path(options->dir);
    i->to = join_path(options->dir, "store");
    i->index = snapshot->index;
    i->term = snapshot->term;
    i->done = done;
    i->arg = arg;
    i->job = (struct worker_job){.run = install_run, .done = install_done};
    options->io->ops->submit(options->io, IO_WORKER_STORE, &i->job);
    return i;
}

void snapshot_install_cancel(struct snapshot_install *i)
{
    i->done = NULL;
}

/* --- at start ----------------------------------------------------------------------------------- */

/* Index and term of the log's last snapshot mark, or of the last entry that a store has applied. */
struct log_mark {
    uint64_t index, term;
};

static int snapshot_install_on_snapshot(void *arg, uint64_t index, uint64_t term)
{
    *(struct log_mark *)arg = (struct log_mark){index, term};
    return 0;
}

static int read_mark(struct io *io, const char *wal_dir, struct log_mark *ret_mark, struct buf *ret_metadata,
                     char *error, size_t error_size)
{
    bool exists;
    struct wal *wal;
    struct wal_options options = {
        .io = io, .dir = wal_dir, .segment_size = 8u << 20}; /* nothing is written */
    struct wal_replay replay = {.on_snapshot = snapshot_install_on_snapshot, .arg = ret_mark};
    *ret_mark = (struct log_mark){0};
    int err = wal_exists(io, wal_dir, &exists);
    if (err)
        snprintf(error, error_size, "%s: cannot look for a log there: %s", wal_dir, err_text(err));
    if (err || !exists)
        return err;
    err = wal_open(&options, &replay, ret_metadata, error, error_size, &wal);
    if (!err)
        wal_close(wal);
    return err;
}

static int file_exists(struct io *io, const char *path, bool *ret_exists)
{
    struct io_file *file;
    int err = io->ops->open(io, path, false, &file);
    if (!err)
        io->ops->close(io, file);
    *ret_exists = !err;
    return err == ERR_NOT_FOUND ? 0 : err;
}

/* Reads the applied index and term from a store file; zeros when there is no file. owner not NULL: it is
 * written into the file first. */
static int snapshot_install_peek(const struct snapshot_install_options *o, const char *path,
                                 const uint8_t *owner, struct log_mark *ret_applied, char *error,
                                 size_t error_size)
{
    bool exists;
    struct backend *b;
    *ret_applied = (struct log_mark){0};
    int err = file_exists(o->io, path, &exists);
    if (err)
        snprintf(error, error_size, "%s: cannot be opened: %s", path, err_text(err));
    if (err || !exists)
        return err;
    err = open_backend(o, path, error, error_size, &b);
    if (err)
        return err;
    if (owner)
        err = write_identity(b, owner);
    if (!err)
        err = store_peek(b, &ret_applied->index, &ret_applied->term);
    if (err)
        snprintf(error, error_size, "%s: cannot be read: %s", path, err_text(err));
    b->ops->close(b);
    return err;
}

static int snapshot_install_finish(const struct snapshot_install_options *o, const char *from, const char *to,
                                   const struct log_mark *mark, const uint8_t *owner, char *error,
                                   size_t error_size)
{
    struct log_mark held;
    int err = snapshot_install_peek(o, from, owner, &held, error, error_size);
    if (err)
        return err;
    if (held.index != mark->index || held.term != mark->term) {
        snprintf(error, error_size,
                 "%s: the log waits for the state as of entry %" PRIu64 ", the received snapshot holds "
                 "entry %" PRIu64 ": remove this member from the cluster, empty its folder, add it again",
                 from, mark->index, held.index);
        return ERR_CORRUPT;
    }
    err = replace_store(o->io, o->dir, from, to);
    if (err)
        snprintf(error, error_size, "%s cannot be renamed to %s: %s", from, to, err_text(err));
    else
        log_info("a snapshot that was being installed is the store now", F_UINT("index", mark->index),
                 F_UINT("term", mark->term));
    return err;
}

/* Removes LMDB's lock file of the received file. It exists only if LMDB opened that file. */
static void remove_lock(struct io *io, const char *path)
{
    struct buf lock = {0};
    buf_addf(&lock, "%s-lock", path);
    (void)io->ops->unlink(io, buf_text(&lock));
    buf_done(&lock);
}

int snapshot_install_recover(const struct snapshot_install_options *o, const char *wal_dir, char *error,
                             size_t error_size)
{
    char *from = snapshot_received_path(o->dir), *to = join_path(o->dir, "store");
    struct log_mark mark, applied = {0};
    struct buf metadata = {0};
    bool exists;
    int err = file_exists(o->io, from, &exists);
    if (err)
        snprintf(error, error_size, "%s: cannot be opened: %s", from, err_text(err));
    if (err || !exists)
        goto out;
    err = read_mark(o->io, wal_dir, &mark, &metadata, error, error_size);
    if (!err)
        err = snapshot_install_peek(o, to, NULL, &applied, error, error_size);
    if (err)
        goto out;
    /* Normally the log never begins after the applied index of the store. It does when it was cut for a
     * snapshot, and after a first start that was not completed (BOOTSTRAP_INDEX). */
    if (mark.index > applied.index && mark.index > BOOTSTRAP_INDEX &&
        metadata.size == SNAPSHOT_IDENTITY_SIZE) {
        err = snapshot_install_finish(o, from, to, &mark, metadata.data, error, error_size);
    } else {
        err = o->io->ops->unlink(o->io, from);
        if (err)
            snprintf(error, error_size, "%s cannot be deleted: %s", from, err_text(err));
    }
    if (!err)
        remove_lock(o->io, from);
out:
    buf_done(&metadata);
    mem_free(from);
    mem_free(to);
    return err;
}
