/* SPDX-License-Identifier: Apache-2.0
 * Multi-version store: the data of one member, with the semantics of etcd's mvcc.
 *
 * Every change has a revision (main: one for each transaction; sub: one for each operation in it), and every
 * kept revision can be read. The backend holds records keyed by revision; an ordered key index with
 * generations is in memory.
 *
 * Life of a put:
 * 1. store_begin(index, term) opens an entry of the log. Changes happen only between it and store_end.
 * 2. store_put checks the request, appends the record to the pending queue and updates the index. Readers see
 *    it at once.
 * 3. store_end calls on_change, which delivers to the watchers.
 * 4. store_turn submits the pending batch to the store worker: one synced transaction with the applied index
 *    of its last whole entry.
 * 5. After the commit the record is read from the backend; before, from the pending queue.
 *
 * Invariants:
 * - Writes are a pure function of (state, entry).
 * - A crash loses nothing: the WAL is cut only before store_durable_index.
 *
 * Loop thread only. Responses are allocated in the caller's arena. Keys and values in them may point into the
 * backend's map or the pending queue. They are valid until the next store_begin, store_turn or the return to
 * the loop: encode them before. Headers carry only the revision; the caller adds ids and term. */
#ifndef CONSENSUS_STORE_STORE_H
#define CONSENSUS_STORE_STORE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "consensus/io.h"
#include "consensus/store/backend.h"
#include "proto/internal.pb-c.h"
#include "proto/rpc.pb-c.h"

struct store;
struct lease_table;

struct store_options {
    struct io *io;
    struct backend *backend;           /* the store takes it */
    struct lease_table *leases;        /* borrowed: attach, detach, existence checks */
    uint64_t commit_interval_ms;       /* 100 */
    uint64_t commit_ops;               /* 10,000: a batch with so many ops is committed before its interval
                                          ends; not 0 */
    struct cache_budget *cache_budget; /* of the record cache; borrowed; NULL = none */
    size_t pending_bytes_max;          /* applied and not durable yet; 0 = 32 MiB: see store_is_full */
    int64_t compaction_batch;          /* revisions in one step of the sweep: 1,000; not 0 */
    uint64_t compaction_sleep_ms;      /* 10 */
    uint64_t max_txn_ops;              /* 128 */
    size_t defrag_bytes;               /* bytes copied in one step of a defrag; 0 = 256 KiB */
    int64_t long_units;                /* a request with more units is "long"; 0 = 8,192, about a
                                          millisecond */
};

/* A changed key, as watchers see it. */
struct store_event {
    bool is_delete;
    Mvccpb__KeyValue kv; /* delete: only key and mod_revision */
    bool has_previous;
    Mvccpb__KeyValue previous; /* the key before this transaction, if it existed and is not compacted */
};

/* The changes of one main revision, in the order of the operations; valid during the callback only. */
struct store_change {
    int64_t revision;
    size_t count;
    const struct store_event *events;
    bool is_large; /* too many for one turn: count is 0, and store_changes_part reads them */
};

/* Opens a store and rebuilds the index, with lease attachments, from the records. ERR_CORRUPT or ERR_IO, with
 * a sentence in error. */
MUST_CHECK int store_open(const struct store_options *options, char *error, size_t error_size,
                          struct store **ret_store);
/* Reads the applied index and term of a file without opening it as a store; 0 when it was never written.
 * ERR_CORRUPT. */
MUST_CHECK int store_peek(struct backend *b, uint64_t *ret_applied_index, uint64_t *ret_applied_term);
/* Commits what is pending (blocks) and closes the backend. If the worker has a job of the store, the rest
 * happens in the job's done callback: the io must live until then, and no other function of the store may be
 * called. */
void store_close(struct store *s);
/* Closes without a commit: another store has replaced this one. Callbacks that wait for a sweep are called
 * with OK, because the data it would remove is gone. Closing and freeing run on the worker: the io must live
 * until then. */
void store_drop(struct store *s);
/* The owner has renamed the store's file to path. */
void store_moved(struct store *s, const char *path);
/* Drops everything that is not committed, as a crash does, and returns the backend, still open. For the
 * simulator: jobs at the worker must never run or return. */
struct backend *store_discard(struct store *s);

/* Runs once a loop turn, after entries were applied: starts a commit when one is due, and continues the sweep
 * of a compaction. */
void store_turn(struct store *s);
/* The final error of the worker (no disk space, EIO): the process must end. 0 = none. */
int store_failed(const struct store *s);
/* Bytes that are applied and not durable yet. store_is_full: the caller applies nothing until a commit is
 * done. */
size_t store_pending_bytes(const struct store *s);
bool store_is_full(const struct store *s);
void store_on_durable(struct store *s, void (*fn)(void *arg, uint64_t applied_index), void *arg);
/* Before each commit, fn writes bytes that become durable with it, in place of those of the commit before.
 * They are in no hash. Without fn they are removed. */
void store_on_commit(struct store *s, void (*fn)(void *arg, struct buf *out), void *arg);
/* These bytes, as of the last commit before the store was opened; none: empty. */
MUST_CHECK int store_note(struct store *s, struct arena *a, struct slice *ret_note);
/* Sets the function that store_end calls for each entry that changed keys, after the index was updated. */
void store_on_change(struct store *s, void (*fn)(void *arg, const struct store_change *change), void *arg);
/* Sets whether changes carry previous values, which costs one read each. True at the start. */
void store_set_needs_previous(struct store *s, bool needs);
/* Sets whether changes carry events. If not, on_change gets only the revision. */
void store_set_needs_events(struct store *s, bool needs);
/* Calls lease_attach for every key with a lease: once, after the leases themselves were restored. Otherwise
 * the first store_begin or store_turn does it. */
void store_attach_leases(struct store *s);

int64_t store_revision(const struct store *s);         /* 1 when empty */
int64_t store_compact_revision(const struct store *s); /* -1 = never compacted (etcd's own start value) */
uint64_t store_applied_index(const struct store *s);
uint64_t store_applied_term(const struct store *s);
uint64_t store_durable_index(const struct store *s);
/* CRC-32C over all records that were ever written here and all bytes of store_digest_add; stored with the
 * applied index. Members that applied the same entries have the same digest, whatever they have compacted. */
uint32_t store_digest(const struct store *s);
void store_digest_add(struct store *s, struct slice bytes); /* while applying an entry */

/* --- reads: ERR_COMPACTED, ERR_FUTURE_REV -------------------------------------------------------- */
MUST_CHECK int store_range(struct store *s, const Etcdserverpb__RangeRequest *request, struct arena *a,
                           Etcdserverpb__RangeResponse **ret_response);
/* store_range without `count` (0): the walk ends at the limit, so that reading a range page by page costs one
 * walk. */
MUST_CHECK int store_range_page(struct store *s, const Etcdserverpb__RangeRequest *request, struct arena *a,
                                Etcdserverpb__RangeResponse **ret_response);
/* Prefetches for a single-key range of the newest revision. Its four look-ups (slot, entry, place of the
 * cached record, record) each miss the CPU's caches when there are many keys. A caller with a batch calls
 * this for all keys with step 0, then with 1, 2 and 3, so that the misses overlap. */
#define STORE_PREFETCH_STEPS 4
void store_prefetch(struct store *s, struct slice key, unsigned step);
/* Prefetches for keys that are about to be put, at most STORE_PREFETCH_PUTS; empty keys are skipped. */
#define STORE_PREFETCH_PUTS 16
void store_prefetch_puts(struct store *s, const struct slice *keys, size_t count);
/* Reads past changes for watchers that re-read: calls fn for each change with from <= revision <= to, in
 * order, for at most max_revisions and about max_bytes of events. needs_previous fills `previous`. *ret_next
 * is the first revision that was not delivered. ERR_COMPACTED when from < compact revision. The walk ends
 * before a large revision. If *ret_next is `from`, that revision is large: use store_changes_part. */
MUST_CHECK int store_changes(struct store *s, int64_t from, int64_t to, size_t max_revisions,
                             size_t max_bytes, bool needs_previous,
                             void (*fn)(void *arg, const struct store_change *change), void *arg,
                             int64_t *ret_next);
/* Reads a part of one revision: at most `max` changes (0 = as many as fit into a turn) from sub *sub on,
 * which is advanced. *ret_is_last: the revision has no more. fn is called at most once. ERR_COMPACTED as
 * above. */
MUST_CHECK int store_changes_part(struct store *s, int64_t revision, uint32_t *sub, size_t max,
                                  bool needs_previous,
                                  void (*fn)(void *arg, const struct store_change *change), void *arg,
                                  bool *ret_is_last);
/* CRC-32C over all records up to revision (0 = current) that compaction keeps; equal on all members. */
MUST_CHECK int store_hash_kv(struct store *s, int64_t revision, Etcdserverpb__HashKVResponse *ret_response);
uint32_t store_hash(struct store *s); /* of all data */

/* --- long reads in parts: other calls may come between two steps ----------------------------- */
/* store_range, if it takes at most about `budget` steps from key to key; otherwise *ret_response is NULL. */
MUST_CHECK int store_range_short(struct store *s, const Etcdserverpb__RangeRequest *request, size_t budget,
                                 struct arena *a, Etcdserverpb__RangeResponse **ret_response);
/* A range that is too long for store_range_short, read in parts. The request must outlive the walk, and the
 * store must, too. Each step returns a part of the response: the header first, `more` and `count` last. The
 * parts merged are the response of store_range at the time of store_walk_new. ERR_COMPACTED: a compaction
 * passed its revision. */
struct store_walk;
struct store_walk *store_walk_new(struct store *s, const Etcdserverpb__RangeRequest *request,
                                  int64_t step_units);
MUST_CHECK int store_walk_step(struct store_walk *w, struct arena *a, Etcdserverpb__RangeResponse **ret_part,
                               bool *ret_is_last);
/* The same with a step of *units from key to key; its cost is subtracted. Errors as for store_walk_step. */
MUST_CHECK int store_walk_step_units(struct store_walk *w, struct arena *a, int64_t *units,
                                     Etcdserverpb__RangeResponse **ret_part, bool *ret_is_last);
void store_walk_free(struct store_walk *w);
/* The two hashes, in steps of about `units` records. The hash of all data is that of the moment when the last
 * step ends. ERR_COMPACTED: a compaction happened meanwhile; start again. */
struct store_hash_walk;
MUST_CHECK int store_hash_walk_new(struct store *s, bool is_everything, int64_t revision,
                                   struct store_hash_walk **ret_walk);
MUST_CHECK int store_hash_walk_step(struct store_hash_walk *h, int64_t units, bool *ret_is_last);
void store_hash_walk_result(const struct store_hash_walk *h, Etcdserverpb__HashKVResponse *ret_response);
void store_hash_walk_free(struct store_hash_walk *h);

/* --- writes: only while applying an entry ------------------------------------------------------- */
/* In the functions below ret_response may be NULL: then nobody waits for the response, and the ranges of a
 * txn are skipped. */
void store_begin(struct store *s, uint64_t index, uint64_t term);
/* Checks that need no state (empty key, sort option, duplicate keys, op limits) are store_check_*; the caller
 * runs them before it proposes the request. The functions here check the rest. After an error nothing of the
 * request is applied. */
MUST_CHECK int store_put(struct store *s, const Etcdserverpb__PutRequest *request, struct arena *a,
                         Etcdserverpb__PutResponse **ret_response);
MUST_CHECK int store_delete_range(struct store *s, const Etcdserverpb__DeleteRangeRequest *request,
                                  struct arena *a, Etcdserverpb__DeleteRangeResponse **ret_response);
MUST_CHECK int store_txn(struct store *s, const Etcdserverpb__TxnRequest *request, struct arena *a,
                         Etcdserverpb__TxnResponse **ret_response);
/* Raises the compact revision at once; the sweep runs in the background. */
MUST_CHECK int store_compact(struct store *s, int64_t revision);
/* Deletes the existing ones of these keys, which belong to a lease that is revoked: all in one revision, in
 * byte order. It does not call lease_detach: the caller calls lease_revoke after it, which removes them all.
 */
void store_delete_keys(struct store *s, const struct slice *keys, size_t count);
/* Writes a side table, in the same transaction as everything else of this entry; value.size 0 deletes. Keys
 * of BACKEND_META that begin with "store." belong to the store. store_get walks the pending queue: not for
 * hot paths. */
void store_set(struct store *s, enum backend_table table, struct slice key, struct slice value);
MUST_CHECK int store_get(struct store *s, enum backend_table table, struct slice key, struct arena *a,
                         struct slice *ret_value);
/* Reads the committed state only: for the start, before anything is applied. */
MUST_CHECK int store_scan(struct store *s, enum backend_table table,
                          bool (*fn)(void *arg, struct slice key, struct slice value), void *arg);
void store_end(struct store *s); /* the entry is complete: the applied index moves, on_change is called */
/* Keeps a long entry open while other work runs. Between the two calls readers see the state before the
 * entry, and nothing is committed or swept. */
void store_pause(struct store *s);
void store_resume(struct store *s);
bool store_is_paused(const struct store *s);
/* The state that a store_copy requested now will hold: the copy waits for the end of an open entry. */
void store_next_copy(const struct store *s, uint64_t *ret_index, uint64_t *ret_term);

/* --- long requests in parts --------------------------------------------------------------------- */
/* True if the request would take more than about a millisecond. is_awaited as below. */
bool store_txn_is_long(struct store *s, const Etcdserverpb__TxnRequest *request, bool is_awaited);
bool store_delete_is_long(struct store *s, const Etcdserverpb__DeleteRangeRequest *request);
bool store_lease_is_long(const struct store *s, int64_t id);
/* A long request, in parts, with the result of store_txn, store_delete_range or store_txn_read. `out` gets
 * the bytes of the response except its header and `succeeded` or `deleted`; NULL = nobody waits. The request
 * and `out` must outlive it. All steps of a write happen while one entry is open, paused in between; a read
 * needs no entry. store_work_lease deletes the keys of a lease and detaches them; the caller revokes the
 * lease. */
struct store_work;
struct store_work *store_work_txn(struct store *s, const Etcdserverpb__TxnRequest *request, struct buf *out);
struct store_work *store_work_read(struct store *s, const Etcdserverpb__TxnRequest *request, struct buf *out);
struct store_work *store_work_delete(struct store *s, const Etcdserverpb__DeleteRangeRequest *request,
                                     struct buf *out);
struct store_work *store_work_lease(struct store *s, int64_t id);
/* Runs about `units` steps from key to key. An error is the error of the request, and nothing of it was
 * applied. ERR_COMPACTED of a read: also when a compaction passed its revision. ERR_LIMIT, only with the last
 * step: it was applied, but the response is larger than a message may be. */
MUST_CHECK int store_work_step(struct store_work *w, int64_t units, bool *ret_is_last);
/* The rest of the response, after the last step. */
void store_work_result(const struct store_work *w, Etcdserverpb__TxnResponse *ret_txn,
                       Etcdserverpb__DeleteRangeResponse *ret_delete, int64_t *ret_revision);
/* Nobody waits any more: `out` is not used again. */
void store_work_forget_answer(struct store_work *w);
/* After ERR_COMPACTED of a read: true when its pinned revision was compacted, not a revision that the request
 * names. */
bool store_work_is_compacted(const struct store_work *w);
void store_work_free(struct store_work *w);

/* Runs a read-only txn (only top-level ranges) outside of store_begin and store_end. ERR_INVALID: it
 * writes; other errors as for store_range. */
MUST_CHECK int store_txn_read(struct store *s, const Etcdserverpb__TxnRequest *request, struct arena *a,
                              Etcdserverpb__TxnResponse **ret_response);

/* --- checks without state: etcd's v3rpc checks, with etcd's errors ------------------------------------- */
MUST_CHECK int store_check_range(const Etcdserverpb__RangeRequest *request);
MUST_CHECK int store_check_put(const Etcdserverpb__PutRequest *request);
MUST_CHECK int store_check_delete_range(const Etcdserverpb__DeleteRangeRequest *request);
MUST_CHECK int store_check_txn(const Etcdserverpb__TxnRequest *request, uint64_t max_ops);
bool store_txn_is_read_only(const Etcdserverpb__TxnRequest *request);
bool store_txn_is_serializable(const Etcdserverpb__TxnRequest *request);
uint64_t store_put_cost(const Etcdserverpb__PutRequest *request);
uint64_t store_txn_cost(const Etcdserverpb__TxnRequest *request); /* of the more expensive branch, nested txns
                                                                     included */
bool store_txn_has_put(const Etcdserverpb__TxnRequest *request);

/* --- maintenance ------------------------------------------------------------------------------ */
struct store_sizes {
    uint64_t file, in_use, live; /* live: bytes of kept records and of the index's keys; the quota counts
                                    them */
    uint64_t keys;
};
struct store_sizes store_sizes(const struct store *s); /* calls the file system: not for hot paths */
uint64_t store_live_size(const struct store *s);
/* Calls fn(arg, err) when the sweep of the compaction up to now is finished and committed (Compact with
 * physical). */
void store_when_compacted(struct store *s, void (*fn)(void *arg, int err), void *arg);
/* Writes a consistent copy of everything that is applied so far to path, which must not exist. It commits
 * first. The worker writes the file from its beginning to its end, so that it may be read while it grows. It
 * is not synced. */
void store_copy(struct store *s, const char *path, void (*done)(void *arg, int err), void *arg);
void store_force_commit(struct store *s, void (*done)(void *arg, int err), void *arg);

#endif
