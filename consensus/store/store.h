/* SPDX-License-Identifier: Apache-2.0
 * The multi-version store: every change has a revision (main per transaction, sub per operation), every kept
 * revision can be read. As etcd's mvcc: records keyed by revision in the backend, an ordered key index with
 * generations in memory.
 *
 * Writes come only from the log, one entry at a time between store_begin and store_end, and are a pure
 * function of (state, entry). They are visible at once; they reach the backend in batches on the store
 * worker, in one synced transaction together with the applied index of the last whole entry. Until then the
 * pending ring holds them, and reads look there first. A crash loses nothing: the WAL is cut only behind
 * store_durable_index.
 *
 * Loop thread only. Responses are filled into the caller's arena; keys and values in them may point into the
 * backend's map or the ring and are valid only until the next call of store_begin, store_turn or the return
 * to the loop: encode them before. Headers carry only the revision; the caller adds ids and term. */
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
    struct backend *backend;           /* taken */
    struct lease_table *leases;        /* borrowed: attach, detach, existence checks */
    uint64_t commit_interval_ms;       /* 100 */
    uint64_t commit_ops;               /* 10,000: commit earlier when this many wait */
    struct cache_budget *cache_budget; /* borrowed, of the record cache; NULL = none */
    size_t pending_bytes_max;          /* applied and not yet durable; 0 = 32 MiB: see store_is_full */
    int64_t compaction_batch;          /* revisions per sweep step: 1,000 */
    uint64_t compaction_sleep_ms;      /* 10 */
    uint64_t max_txn_ops;              /* 128 */
    size_t defrag_bytes;               /* copied in one step of a defrag; 0 = 512 KiB */
    int64_t long_units;                /* what store_*_is_long calls long; 0 = 8,192, about a millisecond */
};

/* One changed key, as watchers see it. */
struct store_event {
    bool is_delete;
    Mvccpb__KeyValue kv; /* delete: only key and mod_revision */
    bool has_previous;
    Mvccpb__KeyValue previous; /* the key before this transaction, when it existed and is not compacted */
};

/* All of one main revision, in operation order; valid during the callback only. */
struct store_change {
    int64_t revision;
    size_t count;
    const struct store_event *events;
    bool is_large; /* too many to be told in one turn: count is 0, store_changes_part reads them */
};

/* Opens, rebuilds the index from the records (lease attachments too). ERR_CORRUPT, ERR_IO with a sentence. */
MUST_CHECK int store_open(const struct store_options *options, char *error, size_t error_size,
                          struct store **ret_store);
/* What a file holds, without opening it as a store: 0 when it was never written. ERR_CORRUPT. */
MUST_CHECK int store_peek(struct backend *b, uint64_t *ret_applied_index, uint64_t *ret_applied_term);
/* Commits what is pending (blocking) and closes the backend. While a job is out with the worker the rest
 * happens in its done callback: the io must live until then; nothing else of the store may be called. */
void store_close(struct store *s);
/* As store_close, but what is not committed is forgotten: another store has taken this one's place. Who waits
 * for a sweep is told that all is well, since what it would remove is gone. Closing and freeing happen on the
 * worker: the io must live until then. */
void store_drop(struct store *s);
/* The owner has renamed the store's file. */
void store_moved(struct store *s, const char *path);
/* Forgets everything that is not committed, as a crash does, and gives the backend back, still open. For the
 * simulator: jobs that are out must never run or come back. */
struct backend *store_discard(struct store *s);

/* Called once per loop turn after applying: starts a commit when one is due, continues a compaction sweep. */
void store_turn(struct store *s);
/* A final error of the worker (disk full, EIO): the process must end. 0 while well. */
int store_failed(const struct store *s);
/* Applied and not yet durable. Full: whoever applies waits for a commit. */
size_t store_pending_bytes(const struct store *s);
bool store_is_full(const struct store *s);
void store_on_durable(struct store *s, void (*fn)(void *arg, uint64_t applied_index), void *arg);
/* fn is called inside store_end for each entry that changed keys. Called after the index has moved. */
void store_on_change(struct store *s, void (*fn)(void *arg, const struct store_change *change), void *arg);
/* Whether the changes told there bring the previous values, which costs a read for each. True at the start.
 */
void store_set_needs_previous(struct store *s, bool needs);
/* Whether there is anybody for them at all: without, on_change brings the revision and no events. */
void store_set_needs_events(struct store *s, bool needs);
/* Tells lease_attach for every key that has a lease: once, after the leases themselves were restored. The
 * first store_begin or store_turn does it otherwise. */
void store_attach_leases(struct store *s);

int64_t store_revision(const struct store *s);         /* 1 when empty */
int64_t store_compact_revision(const struct store *s); /* -1 = never compacted (etcd's own start value) */
uint64_t store_applied_index(const struct store *s);
uint64_t store_applied_term(const struct store *s);
uint64_t store_durable_index(const struct store *s);
/* CRC-32C carried on over every record that was ever written here and what store_digest_add was given, kept
 * with the applied index. Members that applied the same entries have the same, whatever they have compacted.
 */
uint32_t store_digest(const struct store *s);
void store_digest_add(struct store *s, struct slice bytes); /* while applying an entry */

/* --- reads: ERR_COMPACTED, ERR_FUTURE_REV -------------------------------------------------------- */
MUST_CHECK int store_range(struct store *s, const Etcdserverpb__RangeRequest *request, struct arena *a,
                           Etcdserverpb__RangeResponse **ret_response);
/* The same without `count` (0): the walk ends at the limit, so that reading a range page by page costs one
 * walk. */
MUST_CHECK int store_range_page(struct store *s, const Etcdserverpb__RangeRequest *request, struct arena *a,
                                Etcdserverpb__RangeResponse **ret_response);
/* A single-key range of the newest revision is about to run. Its four look-ups (slot, entry, cached record's
 * place, record) each miss the CPU's caches when there are many keys: a caller with a batch calls this for
 * all with step 0, then for all with 1, 2, 3, and pays for the misses once, together. */
#define STORE_PREFETCH_STEPS 4
void store_prefetch(struct store *s, struct slice key, unsigned step);
/* These keys are about to be put, at most STORE_PREFETCH_PUTS; empty ones are passed over. */
#define STORE_PREFETCH_PUTS 16
void store_prefetch_puts(struct store *s, const struct slice *keys, size_t count);
/* For catching up: calls fn for each change with from <= revision <= to, in order, at most max_revisions of
 * them and about max_bytes of events; needs_previous fills `previous`. *ret_next is the first revision not
 * delivered. ERR_COMPACTED when from < compact revision. The walk ends before a large revision, so that
 * *ret_next is that one; if it is `from`, store_changes_part is for it. */
MUST_CHECK int store_changes(struct store *s, int64_t from, int64_t to, size_t max_revisions,
                             size_t max_bytes, bool needs_previous,
                             void (*fn)(void *arg, const struct store_change *change), void *arg,
                             int64_t *ret_next);
/* A part of one revision: at most `max` changes (0 = what fits into a turn) from sub *sub on, which moves on;
 * true in *ret_is_last when the revision has no more. fn is called once at most. ERR_COMPACTED as above. */
MUST_CHECK int store_changes_part(struct store *s, int64_t revision, uint32_t *sub, size_t max,
                                  bool needs_previous,
                                  void (*fn)(void *arg, const struct store_change *change), void *arg,
                                  bool *ret_is_last);
/* CRC-32C over all records up to revision (0 = current) that survive the compaction; the same on all members.
 */
MUST_CHECK int store_hash_kv(struct store *s, int64_t revision, Etcdserverpb__HashKVResponse *ret_response);
uint32_t store_hash(struct store *s); /* of everything */

/* --- long reads, some of it at a time: other calls may come between two steps --------------------- */
/* As store_range, as long as that takes about `budget` steps from key to key; *ret_response is NULL when it
 * would take more. */
MUST_CHECK int store_range_short(struct store *s, const Etcdserverpb__RangeRequest *request, size_t budget,
                                 struct arena *a, Etcdserverpb__RangeResponse **ret_response);
/* A range that store_range_short found too long. The request must outlive the walk, the walk not the store.
 * Each step gives a part of the answer, the header first, more and count last; parts merged are the answer of
 * store_range at the time of store_walk_new. ERR_COMPACTED when a compaction went beyond its revision. */
struct store_walk;
struct store_walk *store_walk_new(struct store *s, const Etcdserverpb__RangeRequest *request,
                                  int64_t step_units);
MUST_CHECK int store_walk_step(struct store_walk *w, struct arena *a, Etcdserverpb__RangeResponse **ret_part,
                               bool *ret_is_last);
void store_walk_free(struct store_walk *w);
/* The two hashes. A step stops after about `units` records. The hash of everything is that of the moment in
 * which the last step ends. ERR_COMPACTED when a compaction came in between: start again. */
struct store_hash_walk;
MUST_CHECK int store_hash_walk_new(struct store *s, bool is_everything, int64_t revision,
                                   struct store_hash_walk **ret_walk);
MUST_CHECK int store_hash_walk_step(struct store_hash_walk *h, int64_t units, bool *ret_is_last);
void store_hash_walk_result(const struct store_hash_walk *h, Etcdserverpb__HashKVResponse *ret_response);
void store_hash_walk_free(struct store_hash_walk *h);

/* --- writes: only while applying an entry ------------------------------------------------------- */
/* ret_response may be NULL everywhere here: nobody waits for the answer, and ranges in a txn are not run. */
void store_begin(struct store *s, uint64_t index, uint64_t term);
/* Request checks that need no state (empty key, sort option, duplicate keys, op limits) are store_check_*;
 * the door calls them before proposing. These check the rest. On an error nothing of the request is applied.
 */
MUST_CHECK int store_put(struct store *s, const Etcdserverpb__PutRequest *request, struct arena *a,
                         Etcdserverpb__PutResponse **ret_response);
MUST_CHECK int store_delete_range(struct store *s, const Etcdserverpb__DeleteRangeRequest *request,
                                  struct arena *a, Etcdserverpb__DeleteRangeResponse **ret_response);
MUST_CHECK int store_txn(struct store *s, const Etcdserverpb__TxnRequest *request, struct arena *a,
                         Etcdserverpb__TxnResponse **ret_response);
/* Raises the compact revision at once, sweeps in the background. */
MUST_CHECK int store_compact(struct store *s, int64_t revision);
/* The keys of a lease that is revoked, those that exist: all in one revision, in byte order. No lease_detach
 * is called: lease_revoke, which must follow, forgets them all. */
void store_delete_keys(struct store *s, const struct slice *keys, size_t count);
/* Side tables, in the same transaction as everything else of this entry; value.size 0 deletes. Keys of
 * BACKEND_META that begin with "store." are the store's own. store_get walks what is pending: not for hot
 * paths. */
void store_set(struct store *s, enum backend_table table, struct slice key, struct slice value);
MUST_CHECK int store_get(struct store *s, enum backend_table table, struct slice key, struct arena *a,
                         struct slice *ret_value);
/* The committed state only: use at start, before anything was applied. */
MUST_CHECK int store_scan(struct store *s, enum backend_table table,
                          bool (*fn)(void *arg, struct slice key, struct slice value), void *arg);
void store_end(struct store *s); /* the entry is whole: applied index moves, on_change is called */
/* An entry that takes long stays open while others have their turn: between the two, readers see the state
 * before it, nothing is committed, nothing is swept. */
void store_pause(struct store *s);
void store_resume(struct store *s);
bool store_is_paused(const struct store *s);
/* The state that a store_copy asked for now will hold: it waits for the end of an entry that is open. */
void store_next_copy(const struct store *s, uint64_t *ret_index, uint64_t *ret_term);

/* --- long work, some of it at a time ----------------------------------------------------------------- */
/* Would the request take more than about a millisecond? is_awaited as below. */
bool store_txn_is_long(struct store *s, const Etcdserverpb__TxnRequest *request, bool is_awaited);
bool store_delete_is_long(struct store *s, const Etcdserverpb__DeleteRangeRequest *request);
bool store_lease_is_long(const struct store *s, int64_t id);
/* A long request, with the result of store_txn, store_delete_range, or store_txn_read; `out` gets the bytes
 * of the answer but for its header and `succeeded` or `deleted`, NULL = nobody waits. The request and `out`
 * must outlive it. All but the reading one: the steps happen while one entry is open, paused in between.
 * store_work_lease deletes the keys of a lease and detaches them; the lease is the caller's to revoke. */
struct store_work;
struct store_work *store_work_txn(struct store *s, const Etcdserverpb__TxnRequest *request, struct buf *out);
struct store_work *store_work_read(struct store *s, const Etcdserverpb__TxnRequest *request, struct buf *out);
struct store_work *store_work_delete(struct store *s, const Etcdserverpb__DeleteRangeRequest *request,
                                     struct buf *out);
struct store_work *store_work_lease(struct store *s, int64_t id);
/* About `units` steps from key to key. An error is what the request would have ended with: nothing of it was
 * applied. ERR_COMPACTED of a reading one: also when a compaction went beyond its revision. ERR_LIMIT, only
 * with the last step: it was applied, and the answer is larger than a message may be. */
MUST_CHECK int store_work_step(struct store_work *w, int64_t units, bool *ret_is_last);
/* The rest of the answer, after the last step. */
void store_work_result(const struct store_work *w, Etcdserverpb__TxnResponse *ret_txn,
                       Etcdserverpb__DeleteRangeResponse *ret_delete, int64_t *ret_revision);
/* Nobody waits any more: `out` is not touched again. */
void store_work_forget_answer(struct store_work *w);
/* A reading one, after ERR_COMPACTED: its own moment is compacted, not a revision that it asked for. */
bool store_work_is_overtaken(const struct store_work *w);
void store_work_free(struct store_work *w);

/* Read-only txn (only top-level ranges): runs outside begin/end. */
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
uint64_t store_txn_cost(const Etcdserverpb__TxnRequest *request); /* max of both branches, nested included */
bool store_txn_has_put(const Etcdserverpb__TxnRequest *request);

/* --- maintenance ------------------------------------------------------------------------------ */
struct store_sizes {
    uint64_t file, in_use, live; /* live: bytes of kept records and the index's keys; what the quota counts */
    uint64_t keys;
};
struct store_sizes store_sizes(const struct store *s); /* asks the file system: not for hot paths */
uint64_t store_live_size(const struct store *s);
/* fn(arg, err) when the sweep of the compaction up to now has finished and is committed (Compact physical).
 */
void store_when_compacted(struct store *s, void (*fn)(void *arg, int err), void *arg);
/* A consistent copy of everything applied so far into path, which must not exist (commits first), on the
 * worker, from the file's beginning to its end: what is there may be read while it grows. It is not synced.
 */
void store_copy(struct store *s, const char *path, void (*done)(void *arg, int err), void *arg);
void store_force_commit(struct store *s, void (*done)(void *arg, int err), void *arg);

#endif
