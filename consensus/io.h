/* SPDX-License-Identifier: Apache-2.0
 * The seam: all time, randomness, files, threads and timers of consensus/ go through this one table, so that
 * the simulator can run the production code in one thread on virtual time over faulty disks. Nothing below
 * consensus/ calls libc for any of these (LMDB is the known exception; the simulator runs the store on its
 * memory backend). The real table is io_real.c (libuv); errors are enum err, never errno. */
#ifndef CONSENSUS_IO_H
#define CONSENSUS_IO_H

#include "base/buf.h"
#include "base/err.h"
#include "base/worker.h"

/* SNAPSHOT: the bytes of snapshots, so that neither commits nor the copy that is being sent stand in their
 * way. CONTENT: computing on bytes by value, no files: checks of configurations (config/task.h). */
enum io_worker { IO_WORKER_WAL, IO_WORKER_STORE, IO_WORKER_SNAPSHOT, IO_WORKER_CONTENT, IO_WORKER_COUNT };

struct io_file; /* one open file; owned by whoever opened it */

struct io_timer {
    void (*fire)(struct io_timer *timer); /* loop thread; one shot, may start itself again */
    void *impl;                           /* the table's own */
};

struct io {
    const struct io_ops *ops;
};

struct io_ops {
    uint64_t (*mono_ns)(struct io *io); /* never goes back; stands still while the machine sleeps */
    uint64_t (*wall_ns)(struct io *io);
    uint64_t (*random)(struct io *io);

    /* Jobs of one worker run in order; done comes on the loop thread. */
    void (*submit)(struct io *io, enum io_worker worker, struct worker_job *job);
    void (*timer_start)(struct io *io, struct io_timer *timer, uint64_t after_ms);
    void (*timer_stop)(struct io *io, struct io_timer *timer); /* then the timer may be freed */

    /* Files: blocking, callable from any thread, one thread per file at a time. */
    int (*mkdir)(struct io *io, const char *path);                      /* with parents, 0700; exists = OK */
    int (*list)(struct io *io, const char *dir, struct buf *ret_names); /* NUL-separated, sorted */
    int (*open)(struct io *io, const char *path, bool create,
                struct io_file **ret_file); /* read-write; ERR_NOT_FOUND */
    void (*close)(struct io *io, struct io_file *file);
    int (*size)(struct io *io, struct io_file *file, uint64_t *ret_size);
    int (*read)(struct io *io, struct io_file *file, uint64_t at, void *data, size_t size, size_t *ret_got);
    int (*write)(struct io *io, struct io_file *file, uint64_t at, const void *data,
                 size_t size); /* all or an error */
    int (*truncate)(struct io *io, struct io_file *file, uint64_t size);
    /* These bytes may go to the disk now, so that a sync later has less to wait for. Promises nothing. */
    void (*write_back)(struct io *io, struct io_file *file, uint64_t at, uint64_t size);
    int (*sync)(struct io *io, struct io_file *file); /* fdatasync; any error is final */
    /* These bytes are on the disk when it returns, and what was written before and not synced need not be. As
     * a write and a sync, but cheaper where disk and alignment allow. Any error is final. */
    int (*write_synced)(struct io *io, struct io_file *file, uint64_t at, const void *data, size_t size);
    int (*sync_dir)(struct io *io, const char *dir);
    int (*rename)(struct io *io, const char *from, const char *to);
    int (*unlink)(struct io *io, const char *path);
    int (*lock)(struct io *io, const char *path,
                struct io_file **ret_file); /* exclusive, ERR_EXISTS when held */
};

struct uv_loop_s;
/* Starts the workers. unsafe_no_fsync skips sync (the --unsafe-no-fsync option). */
struct io *io_real_new(struct uv_loop_s *loop, bool unsafe_no_fsync);
void io_real_free(struct io *io); /* joins the workers; run the loop until it is empty afterwards */

#endif
