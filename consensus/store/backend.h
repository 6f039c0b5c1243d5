/* SPDX-License-Identifier: Apache-2.0
 * Where the store keeps its bytes: ordered tables of key -> value with batch transactions. Two of them:
 * backend_lmdb.c (the only file that includes lmdb.h) and backend_memory.c (for tests and the simulator,
 * with committed and unsynced states that a simulated crash can tell apart).
 *
 * Threads: commit and sweep run on the store worker, reads on the loop thread, at the same time: LMDB's
 * readers do not wait for its writer. A read view is never held across loop turns. */
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

/* One change; a batch is a list of them, executed in order in one transaction. */
struct backend_op {
    enum { BACKEND_PUT, BACKEND_APPEND, BACKEND_DELETE } kind; /* APPEND: the key is the table's greatest */
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

/* How far a pack has come. */
struct backend_pack {
    uint64_t needed,
        free;        /* bytes on the disk that it needs at most, and that are free when last looked at */
    uint64_t bytes;  /* of keys and values that were copied */
    bool is_copied;  /* all rows are in the packed file */
    bool is_renamed; /* the packed file is the store's */
};

struct backend_ops {
    void (*close)(struct backend *b);
    /* Store worker: all ops, one transaction, synced when it returns. ERR_NO_DISK_SPACE, ERR_IO: final.
     * *ret_freed: bytes (keys and values) that deletes took out of BACKEND_RECORDS. */
    int (*commit)(struct backend *b, const struct backend_op *ops, size_t count, uint64_t *ret_freed);
    /* Loop thread. */
    int (*view_open)(struct backend *b, struct backend_view **ret_view);
    void (*view_close)(struct backend *b, struct backend_view *view);
    /* Any thread, one at a time for each view: a view beside the loop's, of the last commit. Pages that later
     * commits free are not used again while it is open, so it is closed within milliseconds. */
    int (*pin)(struct backend *b, struct backend_view **ret_view);
    void (*unpin)(struct backend_view *view);
    int (*get)(struct backend_view *view, enum backend_table table, struct slice key,
               struct slice *ret_value);
    /* Iterate from the first key >= from; fn returns false to stop. Slices live until the view closes. */
    int (*scan)(struct backend_view *view, enum backend_table table, struct slice from,
                bool (*fn)(void *arg, struct slice key, struct slice value), void *arg);
    uint64_t (*count)(struct backend_view *view, enum backend_table table);
    struct backend_sizes (*sizes)(struct backend *b);
    /* Store worker: a consistent copy into one file, compacted. Written from its beginning to its end, so
     * that others may read what is there while it grows. */
    int (*copy)(struct backend *b, const char *path);
    /* The owner has renamed the file while it is open; path is the new name. Loop thread, no commit out. */
    void (*moved)(struct backend *b, const char *path);
    void (*trim)(struct backend *b); /* gives clean mapped pages back to the kernel; any thread */
    /* A pack: all rows are copied into a new file without gaps, which then takes the place of the old one.
     * Commits go on between two calls. NULL: this backend has nothing to pack. Store worker, but for
     * pack_switch. In this order: begin, steps until is_copied, rename, switch, end; after an error, end.
     * No error before is_renamed concerns the store; one with it is final.
     * ERR_NO_DISK_SPACE: less is free than is needed beside a reserve for the log. */
    int (*pack_begin)(struct backend *b, uint64_t live, struct backend_pack *p); /* live: bytes of rows */
    int (*pack_step)(struct backend *b, size_t bytes, struct backend_pack *p);
    int (*pack_rename)(struct backend *b, struct backend_pack *p);
    void (*pack_switch)(struct backend *b); /* loop thread, no view open: views read the new file */
    void (*pack_end)(struct backend *b);    /* closes and deletes what is not used any more */
};

/* map_size: address space, not memory or disk. ERR_CORRUPT, ERR_IO, ERR_NO_DISK_SPACE with a sentence in
 * error. */
MUST_CHECK int backend_lmdb_open(const char *path, uint64_t map_size, char *error, size_t error_size,
                                 struct backend **ret);

/* Tables in memory, every commit in one file through io (backend_file.h) and synced: what the simulator runs,
 * so that its disk can tear, lose and refuse. The same promises, errors and limits as LMDB's; close frees.
 * One thread only: with io's workers on threads of their own, a commit would meet a reader. */
MUST_CHECK int backend_memory_open(struct io *io, const char *path, uint64_t map_size, char *error,
                                   size_t error_size, struct backend **ret);

/* One thread, no view open during a commit. Survives its store: close only ends the views, so that a test can
 * open a new store on it; free ends it. */
struct backend *backend_memory_new(void);
void backend_memory_free(struct backend *b);
/* A commit is synced when it returns, unless this is set: then it waits for backend_memory_sync. */
void backend_memory_set_manual_sync(struct backend *b, bool manual);
void backend_memory_sync(struct backend *b);
void backend_memory_crash(struct backend *b);         /* back to the last synced state */
void backend_memory_fail(struct backend *b, int err); /* every commit from now on fails with err */

#endif
