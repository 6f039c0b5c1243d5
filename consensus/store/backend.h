/* SPDX-License-Identifier: Apache-2.0
 * Backend of the store: ordered tables of key -> value with batch transactions.
 *
 *     backend_lmdb.c    the real one; with backend_lmdb_pack.c the only code that includes lmdb.h
 *     backend_memory.c  for tests and the simulator; a simulated crash separates synced from unsynced data
 *
 * Threads: commits run on the store worker and reads on the loop thread, at the same time. LMDB's readers do
 * not wait for its writer. A read view is never held across loop turns. */
#ifndef CONSENSUS_STORE_BACKEND_H
#define CONSENSUS_STORE_BACKEND_H

#include "base/buf.h"
#include "base/err.h"

struct io;

enum backend_table {
    BACKEND_RECORDS, /* revision (8-byte main, 4-byte sub, big-endian) -> record; only ever appended or
                        deleted */
    BACKEND_META,    /* applied index, term, conf state, compaction marks, members, cluster version ... */
    BACKEND_LEASES,  /* lease id (8-byte BE) -> ttl, remaining */
    BACKEND_ALARMS,
    BACKEND_AUTH, /* users, roles, enabled, revision */
    BACKEND_TABLES
};

/* One change; a batch is a list of changes, executed in order in one transaction. */
struct backend_op {
    enum {
        BACKEND_PUT,
        BACKEND_APPEND,
        BACKEND_DELETE
    } kind; /* APPEND: the key is greater than all keys of
                                                                  the table */
    enum backend_table table;
    struct slice key, value;
};

struct backend {
    const struct backend_ops *ops;
};

struct backend_view; /* a consistent read view */

struct backend_sizes {
    uint64_t file;   /* bytes on disk */
    uint64_t in_use; /* file minus free pages */
};

/* Progress of a pack. */
struct backend_pack {
    uint64_t needed, free; /* bytes of disk space: needed at most; free when last checked */
    uint64_t bytes;        /* copied so far, keys and values */
    bool is_copied;        /* all rows are in the packed file */
    bool is_renamed;       /* the packed file has the store's name */
};

struct backend_ops {
    void (*close)(struct backend *b);
    /* Store worker: executes all ops in one transaction and syncs it. ERR_NO_DISK_SPACE, ERR_IO: final.
     * *ret_freed: bytes (keys and values) that deletes removed from BACKEND_RECORDS. */
    int (*commit)(struct backend *b, const struct backend_op *ops, size_t count, uint64_t *ret_freed);
    /* Loop thread. */
    int (*view_open)(struct backend *b, struct backend_view **ret_view);
    void (*view_close)(struct backend *b, struct backend_view *view);
    /* Any thread, one at a time for each view: a second view, of the last commit. While it is open, pages
     * that later commits free are not reused, so it is closed within milliseconds. */
    int (*pin)(struct backend *b, struct backend_view **ret_view);
    void (*unpin)(struct backend_view *view);
    int (*get)(struct backend_view *view, enum backend_table table, struct slice key,
               struct slice *ret_value);
    /* Iterates from the first key >= from; fn returns false to stop. Slices live until the view closes. */
    int (*scan)(struct backend_view *view, enum backend_table table, struct slice from,
                bool (*fn)(void *arg, struct slice key, struct slice value), void *arg);
    uint64_t (*count)(struct backend_view *view, enum backend_table table);
    struct backend_sizes (*sizes)(struct backend *b);
    /* Store worker: writes a consistent, compacted copy to one file, from its beginning to its end, so that
     * it may be read while it grows. */
    int (*copy)(struct backend *b, const char *path);
    /* The owner has renamed the file while it is open; path is the new name. Loop thread, while no commit is
     * out. */
    void (*moved)(struct backend *b, const char *path);
    void (*trim)(struct backend *b); /* returns clean mapped pages to the kernel; any thread */
    /* A pack copies all rows into a new file without gaps, which then replaces the old file. Commits may run
     * between two calls. NULL: this backend has nothing to pack. All run on the store worker, except
     * pack_switch. The order:
     *
     *   1. pack_begin; ERR_NO_DISK_SPACE: less space is free than the pack needs beside a reserve for the log
     *   2. pack_step until is_copied
     *   3. pack_rename
     *   4. pack_switch
     *   5. pack_end; also after an error
     *
     * An error before is_renamed leaves the store as it was; an error after it is final. */
    int (*pack_begin)(struct backend *b, uint64_t live, struct backend_pack *p); /* live: bytes of rows */
    int (*pack_step)(struct backend *b, size_t bytes, struct backend_pack *p);
    int (*pack_rename)(struct backend *b, struct backend_pack *p);
    void (*pack_switch)(struct backend *b); /* loop thread, no view open: views read the new file from now
                                               on */
    void (*pack_end)(struct backend *b);    /* closes and deletes files that are no longer used */
};

/* The names of the tables in LMDB's file. */
extern const char *const backend_table_names[BACKEND_TABLES];
/* Opens an LMDB file. map_size: address space, neither memory nor disk. ERR_CORRUPT, ERR_IO or
 * ERR_NO_DISK_SPACE, with a sentence in error. */
MUST_CHECK int backend_lmdb_open(const char *path, uint64_t map_size, char *error, size_t error_size,
                                 struct backend **ret);
/* Sets whether commits of such a backend are synced, as they are at first. The first commit after it is set again
 * syncs all before it, too. For making a file that is deleted if its maker is interrupted. */
void backend_lmdb_set_synced(struct backend *b, bool is_synced);

/* Opens tables in memory that write every commit to one file through io (backend_file.h) and sync it. The
 * simulator uses it, so that its disk can tear, lose and refuse writes. Guarantees, errors and limits are
 * LMDB's; close frees it. One thread only: with io's workers on threads of their own, a commit would race
 * with a reader. */
MUST_CHECK int backend_memory_open(struct io *io, const char *path, uint64_t map_size, char *error,
                                   size_t error_size, struct backend **ret);

/* Creates tables in memory only. One thread; no view is open during a commit. It survives its store: close
 * only ends the views, so that a test can open a new store on it; free ends it. */
struct backend *backend_memory_new(void);
void backend_memory_free(struct backend *b);
/* A commit is synced when it returns. With `manual` it is synced only by backend_memory_sync. */
void backend_memory_set_manual_sync(struct backend *b, bool manual);
void backend_memory_sync(struct backend *b);
void backend_memory_crash(struct backend *b);         /* back to the last synced state */
void backend_memory_fail(struct backend *b, int err); /* every commit fails with err from now on */

#endif
