/* SPDX-License-Identifier: Apache-2.0
 * Write-ahead log: append-only segments of checksummed records. A batch is durable when its done callback
 * comes. One batch is one synced write (group commit), on the WAL worker.
 *
 * A record that does not check is a torn tail only if nothing valid follows it anywhere. Then it is cut,
 * zeroed and synced. Otherwise the log is corrupt and is not opened. Any error of write or sync is final: the
 * done callback reports it, and the owner must end the process.
 *
 * Not here: the meaning of entries. The WAL knows index, term, type and bytes. Loop thread only. */
#ifndef CONSENSUS_WAL_WAL_H
#define CONSENSUS_WAL_WAL_H

#include "base/buf.h"
#include "base/err.h"
#include "consensus/io.h"

struct wal;

/* An entry as the log stores it. */
struct wal_entry {
    uint64_t index, term;
    uint8_t type;
    struct slice data;
};

struct wal_hard_state {
    uint64_t term, vote, commit;
};

struct wal_options {
    struct io *io;
    const char *dir;
    uint64_t segment_size;   /* bytes; 8 MiB in production, small in tests */
    uint64_t entry_size_max; /* bytes; a larger entry is never written and never read: 0 = 64 MiB */
    struct slice metadata;   /* at creation: stored in every segment header (cluster id, member id) */
};

/* Callbacks of the replay, in log order. An entry with an index that was seen before replaces it and all
 * after it (a new leader overwrote the tail): the reader must truncate. A non-zero return stops the
 * replay. */
struct wal_replay {
    int (*on_entry)(void *arg, const struct wal_entry *entry);
    int (*on_hard_state)(void *arg, const struct wal_hard_state *state);
    int (*on_snapshot)(void *arg, uint64_t index, uint64_t term); /* the log before index is not needed */
    void *arg;
};

/* *ret_exists: the folder holds a WAL. ERR_IO. */
MUST_CHECK int wal_exists(struct io *io, const char *dir, bool *ret_exists);
/* Creates a WAL in an empty or absent folder; synced when it returns. ERR_EXISTS, ERR_IO,
 * ERR_NO_DISK_SPACE. */
MUST_CHECK int wal_create(const struct wal_options *options, struct wal **ret_wal);
/* Reads everything and repairs a torn tail; then the log can be appended to. ERR_CORRUPT with `error` (which
 * file, offset, what), ERR_NOT_FOUND, ERR_IO, or the error of a replay callback. ret_metadata (may be NULL)
 * is the metadata of wal_create. */
MUST_CHECK int wal_open(const struct wal_options *options, const struct wal_replay *replay,
                        struct buf *ret_metadata, char *error, size_t error_size, struct wal **ret_wal);
/* Only when no batch and no reading is under way. A piece of housekeeping may be: the folder stays locked
 * until it is done, within the loop's next turns. */
void wal_close(struct wal *w);

/* Collect records for the next batch. The bytes are copied (framed) at once. */
void wal_add_entry(struct wal *w, const struct wal_entry *entry);
void wal_add_hard_state(struct wal *w, const struct wal_hard_state *state);
void wal_add_snapshot(struct wal *w, uint64_t index, uint64_t term);
bool wal_has_records(const struct wal *w); /* collected and not yet submitted */
bool wal_is_busy(const struct wal *w);     /* a batch is with the worker */

/* Sends the collected records to the worker; not while busy. With needs_sync false they may stay in the page
 * cache (a hard state that only moves commit). The callback comes on the loop thread, err is 0 or an error
 * (final). */
struct wal_result {
    int err;
    size_t bytes;     /* written */
    uint64_t sync_ns; /* time in the synced write; 0 = none */
    uint64_t took_ns; /* time of the whole batch, sync_ns included */
};
void wal_submit(struct wal *w, bool needs_sync, void (*done)(void *arg, const struct wal_result *result),
                void *arg);

/* The same on this thread, with done called before it returns. For a small batch on a fast disk, where two
 * changes of thread cost more than the sync. False: nothing was done, use wal_submit. Then the worker is busy
 * with this log, or a new segment is due. */
bool wal_submit_here(struct wal *w, bool needs_sync, void (*done)(void *arg, const struct wal_result *result),
                     void *arg);

/* Entries up to and including index are in the store's last synced commit, and no follower needs them. Whole
 * segments before it are dropped on the worker, after the next synced batch. So records added before this
 * call (the snapshot mark) are durable first. One segment may stay to become the next. */
void wal_release(struct wal *w, uint64_t index);

/* Reads entries back that are durable and not released, on a worker of their own; one call at a time. `term`
 * is that of each of them: the log may hold others of the same indexes, which were overwritten.
 *
 * The callback comes on the loop thread, with as many entries as fit into bytes_max, at least the first one.
 * Their bytes are valid until it returns. ERR_NOT_FOUND: released meanwhile, or never here. ERR_IO,
 * ERR_CORRUPT: final. */
struct wal_range {
    uint64_t from, to, term; /* indexes, both included */
    size_t bytes_max;
};
void wal_read(struct wal *w, const struct wal_range *range,
              void (*done)(void *arg, int err, const struct wal_entry *entries, size_t count), void *arg);
bool wal_is_reading(const struct wal *w);

uint64_t wal_disk_size(const struct wal *w); /* bytes of all segments, with preallocated ones */
/* The lowest index that must be released for the other segments to have at most bytes_max; 0 when they have.
 * The last segment always stays. */
uint64_t wal_index_beyond(const struct wal *w, uint64_t bytes_max);

#endif
